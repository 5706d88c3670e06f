"""Sharpness and time of the deep bound: the width it asks for over the width at which 5 % of all networks leave.

    python benchmarks/deep.py
    python benchmarks/deep.py --activations tanh gelu:minus --depths 50 200 --epsilons 1
    python benchmarks/deep.py --weights gaussian

The true width is that of the fluctuation law, which simulations confirm (docs/deep-bound.md#figures,
docs/gaussian-deep-bound.md#figures). Seconds are processor time on one thread: of the search for the width, and of one
bound at that width.
"""

import measure  # noqa: F401  (first, for the number of BLAS threads)

# isort: split
import argparse
import time

from theory.activations.specification import activation
from theory.bounds.deep import deep_bound, required_width_deep
from theory.bounds.network import predicted
from theory.normalization.normalize import normalize
from theory.numerics.edge import edge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--activations", nargs="+", default=["tanh", "selu:plus", "gelu:minus", "elu:minus", "silu:minus"]
    )
    parser.add_argument("--depths", type=int, nargs="+", default=[10, 50, 200, 1000])
    parser.add_argument("--epsilons", type=float, nargs="+", default=[1.0, 0.5])
    parser.add_argument("--weights", choices=["haar", "gaussian"], default="haar")
    options = parser.parse_args()
    print("activation    depth  epsilon  required     true  ratio  search s  bound s")
    for name in options.activations:
        word, _, root = name.partition(":")
        phi = normalize(activation(word), root or "auto")
        for depth in options.depths:
            for epsilon in options.epsilons:
                row(name, phi, depth, epsilon, options.weights)


def row(name, phi, depth: int, epsilon: float, weights: str) -> None:  # type: ignore[no-untyped-def]
    """Print one line."""

    def rare(width: float) -> bool:
        return predicted(phi, int(width), depth, epsilon, weights).probability <= 0.05

    true = edge(rare, 64, (8, 10**7), step=0.002)
    start = time.process_time()
    found = required_width_deep(phi, depth, epsilon, 0.05, weights=weights)
    search = time.process_time() - start
    if found.width is None or true is None:
        print(f"{name:12} {depth:6} {epsilon:8g}  {found.reason}")
        return
    start = time.process_time()
    deep_bound(phi, found.width, depth, epsilon, weights=weights)
    once, ratio = time.process_time() - start, found.width / true
    widths = f"{found.width:9} {true:8.0f} {ratio:6.2f}"
    print(f"{name:12} {depth:6} {epsilon:8g} {widths} {search:9.1f} {once:8.2f}", flush=True)


if __name__ == "__main__":
    main()
