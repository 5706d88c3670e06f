"""Milliseconds for a one-step bound and for an exact one-step tail, over the width.

    python benchmarks/tails.py
    python benchmarks/tails.py --repeats 9 --activations tanh gelu

Processor time on one thread. For each width the median and the extremes over claims, sides, tolerances and repeats;
"once" is the time to prepare a layer, which serves them all.
"""

import measure  # noqa: F401  (first, for the number of BLAS threads)

# isort: split
import argparse
import statistics
import time
from collections.abc import Callable

from theory.activations.specification import activation
from theory.layer.cramer import cramer
from theory.layer.exact import exact_tail
from theory.layer.law import event, layer_law
from theory.layer.levy import CLAIMS
from theory.normalization.normalize import normalize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--activations", nargs="+", default=["tanh", "relu", "gelu"])
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16, 64, 256, 1024, 10**4, 10**6])
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.01, 0.2, 0.5])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print("activation   width  once ms   bound ms (range)       exact ms (range)")
    for name in options.activations:
        phi = normalize(activation(name))
        for width in options.widths:
            start = time.process_time()
            law = layer_law(phi, width)
            once = 1e3 * (time.process_time() - start)
            sides = ("upper", "lower")
            events = [event(claim, law, eps, side) for claim in CLAIMS for eps in options.epsilons for side in sides]
            bound, exact = (
                [timed(lambda: method(happening)) for happening in events for _ in range(options.repeats)]  # noqa: B023
                for method in (cramer, exact_tail)
            )
            print(f"{name:10} {width:7d} {once:8.1f}   {shown(bound)}   {shown(exact)}", flush=True)


def timed(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return 1e3 * (time.process_time() - start)


def shown(times: list[float]) -> str:
    return f"{statistics.median(times):6.1f} ({min(times):.1f}-{max(times):.1f})"


if __name__ == "__main__":
    main()
