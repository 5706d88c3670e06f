"""Speed of the matrix-free sampler of batches, as ratios measured in one run, on one thread.

    python benchmarks/batch.py
    python benchmarks/batch.py --repeats 9 --widths 1024 4096

Three questions: does the cost of a layer grow as n k^2; how far is it from drawing the random numbers it needs, two
standard normals per neuron, input and layer; how does it compare with explicit Haar matrices. Times are processor
times; the two sides of a ratio are timed in turns, so that other work on the machine touches both alike. A ratio is the
median over neighbouring timings, beside its extremes.
"""

from measure import alternate  # first, for the number of BLAS threads

# isort: split
import argparse
import platform
import statistics

import numpy as np

import gpn
from gpn.engine.evaluation import ElementwiseActivation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 1024, 4096, 16384])
    parser.add_argument("--batches", type=int, nargs="+", default=[2, 8, 32, 128])
    parser.add_argument("--depth", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dense-width", type=int, default=1024)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, one thread, {options.repeats} repeats")
    phi = gpn.normalize(gpn.activation("tanh"))
    print_scaling(options, phi)
    print_dense(options, phi)


def print_scaling(options: argparse.Namespace, phi: ElementwiseActivation) -> None:
    """Cost of a layer for each width and batch, over its floor and over n k^2."""
    print(f"\nMatrix-free batches, tanh, depth {options.depth}, one network at a time")
    print(" width batch  ms per layer  ns per n k^2  over the normals")
    for width in options.widths:
        for batch in options.batches:
            rng = np.random.Generator(np.random.SFC64(1))
            buffer = np.empty((2 * options.depth, batch, width))
            draw = lambda rng=rng, buffer=buffer: rng.standard_normal(out=buffer)  # noqa: E731
            run = lambda n=width, k=batch: gpn.simulate(phi, n, options.depth, 1, seed=1, batch=k)  # noqa: E731
            normals, own = alternate([draw, run], options.repeats)
            ratio = summary([b / a for a, b in zip(normals, own, strict=True)])
            layer = statistics.median(own) / options.depth
            print(
                f"{width:>6} {batch:>5} {1e3 * layer:>13.2f} {1e9 * layer / (width * batch**2):>13.2f}"
                f"  {ratio[0]:>6.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})"
            )


def print_dense(options: argparse.Namespace, phi: ElementwiseActivation) -> None:
    """The same networks with explicit Haar matrices."""
    width, depth = options.dense_width, 2
    print(f"\nDense Haar matrices over matrix-free, tanh, width {width}, depth {depth}")
    for batch in [*options.batches, width]:
        methods = [
            lambda method=method, k=batch: gpn.simulate(phi, width, depth, 1, seed=1, batch=k, method=method)
            for method in ("dense", "matrix-free")
        ]
        dense, free = alternate(methods, min(options.repeats, 5))
        ratio = summary([a / b for a, b in zip(dense, free, strict=True)])
        print(
            f"  batch {batch:>5}: dense {1e3 * statistics.median(dense):.1f} ms, "
            f"matrix-free {1e3 * statistics.median(free):.1f} ms, ratio {ratio[0]:.1f} "
            f"({ratio[1]:.1f} to {ratio[2]:.1f})"
        )


def summary(ratios: list[float]) -> tuple[float, float, float]:
    return statistics.median(ratios), min(ratios), max(ratios)


if __name__ == "__main__":
    main()
