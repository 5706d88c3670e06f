"""Speed and memory of the matrix-free sampler, as ratios measured in one run, on one thread.

    python benchmarks/sampler.py
    python benchmarks/sampler.py --repeats 20 --widths 1024 4096

Three questions: how far is it from its floor, the time to draw two standard normals per neuron, layer and
trial with the same generator; which of NumPy's generators is the fastest; how does it compare with explicit
Haar matrices. Times are processor times. The two sides of a ratio are timed in turns, so that other work on
the machine touches both alike; a ratio is the median over neighbouring timings, beside its extremes.
"""

import argparse
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[variable] = "1"  # one BLAS thread; it has to be said before NumPy is imported

import numpy as np  # noqa: E402

import gpn  # noqa: E402
from gpn.engine import ElementwiseActivation  # noqa: E402
from gpn.sampler import BLOCK_NEURONS, block_trials, sample  # noqa: E402

GENERATORS = {
    "SFC64": np.random.SFC64,
    "PCG64DXSM": np.random.PCG64DXSM,
    "PCG64": np.random.PCG64,
    "Philox": np.random.Philox,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 1024, 4096, 16384])
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--neurons", type=int, default=2**18, help="neurons per layer, over all trials of a run")
    parser.add_argument("--generator", choices=GENERATORS, default="SFC64", help="for the floor and the dense part")
    parser.add_argument("--dense-width", type=int, default=512)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, one thread, {options.repeats} repeats")
    activations: dict[str, ElementwiseActivation] = {
        name: gpn.normalize(gpn.activation(name)) for name in ("tanh", "relu")
    }
    print_generators(options, activations["tanh"])
    print_floor(options, activations)
    print_dense(options, activations["tanh"])


def print_floor(options: argparse.Namespace, activations: dict[str, ElementwiseActivation]) -> None:
    """Time over floor for each width and activation."""
    print(f"\nMatrix-free over its floor, depth {options.depth}, {options.generator}; ns per neuron and layer")
    print("activation  width trials floor ns     ns  ratio   spread       peak MiB")
    for name, phi in activations.items():
        for width in options.widths:
            trials = max(1, options.neurons // width)
            ratio, floor, own = against_floor(phi, width, trials, options, options.generator)
            print(
                f"{name:>10} {width:>6} {trials:>6} {floor:>8.1f} {own:>6.1f} {ratio[0]:>6.2f}   "
                f"{ratio[1]:.2f} to {ratio[2]:.2f}  {peak_mebibytes(phi, width, trials, options.depth):>8.1f}"
            )


def print_generators(options: argparse.Namespace, phi: ElementwiseActivation) -> None:
    """The same at one width for each bit generator."""
    width = 1024
    print(f"\nGenerators, tanh, width {width}: ns per standard normal, ns per neuron and layer of the sampler")
    print(f"{'generator':>10} {'normal ns':>9} {'sampler ns':>10} {'ratio':>6}")
    for generator in GENERATORS:
        ratio, floor, own = against_floor(phi, width, options.neurons // width, options, generator)
        print(f"{generator:>10} {floor / 2:>9.2f} {own:>10.1f} {ratio[0]:>6.2f}")


def print_dense(options: argparse.Namespace, phi: ElementwiseActivation) -> None:
    """One network with explicit Haar matrices against one without, per trial."""
    width, depth = options.dense_width, 4
    trials = block_trials(width, depth)
    dense, free = alternate(
        lambda: gpn.simulate(phi, width, depth, 1, seed=1, method="dense"),
        lambda: gpn.simulate(phi, width, depth, trials, seed=1),
        min(options.repeats, 5),
    )
    ratio = summary([trials * a / b for a, b in zip(dense, free, strict=True)])
    print(f"\nDense Haar matrices, tanh, width {width}, depth {depth}: ms per network")
    print(f"  dense       {1e3 * statistics.median(dense):.3f}")
    print(f"  matrix-free {1e3 * statistics.median(free) / trials:.3f}")
    print(f"  ratio       {ratio[0]:.0f}   ({ratio[1]:.0f} to {ratio[2]:.0f})")


def against_floor(
    phi: ElementwiseActivation, width: int, trials: int, options: argparse.Namespace, generator: str
) -> tuple[tuple[float, float, float], float, float]:
    """(median, least, greatest ratio), and the nanoseconds of floor and sampler per neuron and layer."""
    rng = np.random.Generator(GENERATORS[generator](1))
    neurons = width * trials * options.depth
    buffer = np.empty(BLOCK_NEURONS)

    def floor() -> None:
        for _ in range(2 * neurons // len(buffer)):
            rng.standard_normal(out=buffer)

    floors, own = alternate(floor, lambda: sample(phi, width, options.depth, trials, rng), options.repeats)
    ratios = [b / a for a, b in zip(floors, own, strict=True)]
    scale = 1e9 / neurons
    return summary(ratios), scale * statistics.median(floors), scale * statistics.median(own)


def alternate(
    first: Callable[[], object], second: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of two functions called in turns, after one call each to warm up."""
    first(), second()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for function, kept in zip((first, second), times, strict=True):
            start = time.process_time()
            function()
            kept.append(time.process_time() - start)
    return times


def summary(ratios: list[float]) -> tuple[float, float, float]:
    return statistics.median(ratios), min(ratios), max(ratios)


def peak_mebibytes(phi: ElementwiseActivation, width: int, trials: int, depth: int) -> float:
    """Peak of the arrays that one call allocates, results included."""
    tracemalloc.start()
    sample(phi, width, depth, trials, np.random.default_rng(1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


if __name__ == "__main__":
    main()
