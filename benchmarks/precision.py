"""What arithmetic of few digits does to the norms of deep orthogonal networks: the table of docs/guides/shapes.md.

    python benchmarks/precision.py
    python benchmarks/precision.py --width 256 --networks 40 --activation gelu

The same networks, by the same seed, are computed in float64 and in a format: with rounded weights alone, and with all
of weights, pre-activations, signals and gradients rounded. Printed is what the format adds to the logarithm of a
squared norm, of the signal in the last layer and of the gradient in the first: its median, and the root of its mean
square, over the networks.
"""

import argparse

import numpy as np

import gpn
from gpn.engine.precision import round_to
from gpn.engine.weights import haar
from gpn.sampling.sampler import Sample
from theory.activations.activation import Activation

FORMATS = ("float32", "bfloat16", "float16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--activation", default="tanh")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depths", type=int, nargs="+", default=[10, 50, 200])
    parser.add_argument("--networks", type=int, default=20)
    options = parser.parse_args()
    phi = gpn.normalize(gpn.activation(options.activation))
    print(f"GPN {options.activation}, width {options.width}, {options.networks} networks; median, root mean square")
    print(
        "| format | rounded | depth | signal of the last layer | gradient of the first layer |\n|---|---|---|---|---|"
    )
    for depth in options.depths:
        exact = simulate(phi, options, depth)
        for precision in FORMATS:
            print(row(precision, "weights", depth, simulate(phi, options, depth, weights=precision), exact))
            print(row(precision, "all", depth, simulate(phi, options, depth, precision=precision), exact))


def simulate(
    phi: Activation, options: argparse.Namespace, depth: int, weights: str = "float64", precision: str = "float64"
) -> Sample:
    """Networks of one seed, with rounded weights, or with all of their arrays rounded."""

    def rounded(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
        return round_to(weights, haar(rng, rows, columns))

    sizes = (options.width, depth, options.networks)
    return gpn.simulate(phi, *sizes, seed=1, method="dense", weights=rounded, precision=precision)


def row(precision: str, what: str, depth: int, sample: Sample, exact: Sample) -> str:
    """A line of the table."""
    moves = (
        2 * np.log(sample.signal_norms[:, -1] / exact.signal_norms[:, -1]),
        2 * np.log(sample.gradient_norms[:, 0] / exact.gradient_norms[:, 0]),
    )
    cells = [f"{np.median(move):+.1e}, {np.sqrt(np.mean(move**2)):.1e}" for move in moves]
    return f"| {precision} | {what} | {depth} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
