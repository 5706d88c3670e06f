"""How far the fluctuation law of layers that differ is off, in units of its margin, at widths near 100.

    python benchmarks/shapes.py
    python benchmarks/shapes.py --networks 200000

For each shape the tolerances are the quantiles of the spread of networks drawn without matrices; c is the constant that
the margin of `theory.initialization.shaped` would need there. It has c = 0.5. At p = 0.01 the networks alone leave
about 4 % of p uncertain.
"""

import argparse
from itertools import pairwise

import numpy as np

import gpn
from gpn.engine.shape import Shape
from gpn.engine.weights import is_orthogonal, mean_factor
from gpn.sampling.sampler import sample
from theory.activations.activation import Activation
from theory.depth.absorption import brownian_level
from theory.depth.coefficients import NoPrediction
from theory.initialization.path import Layer
from theory.initialization.shaped import ShapedLaw, shaped_law

PROBABILITIES = (0.9, 0.5, 0.1, 0.01)
CASES = {
    "narrowing, GPN tanh": ("tanh*", Shape.read([160, 120, 100, 80, 120, 100]), "haar"),
    "tanh, gain and bias": ("tanh", Shape.read([100] * 9, 1.4, 0.3), "haar"),
    "relu, gain and bias": ("relu", Shape.read([300] * 5, 2**0.5, 0.2), "haar"),
    "Gaussian, GPN tanh": ("tanh*", Shape.read([200] * 6), "gaussian"),
    "He, relu": ("relu", Shape.read([300] * 5, 1.0, 0.1), "he"),
    "two widths, GPN gelu": ("gelu*", Shape.read([150, 100] * 3 + [150]), "scaled_orthogonal"),
    "selu as it is": ("selu", Shape.read([100] * 11), "haar"),
    "gains and biases, GPN selu": (
        "selu*",
        Shape.read([150, 100, 120, 90, 110], [1.5, 1.4, 1, 1], [0.2, 0.1, 0, 0.3]),
        "haar",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=60_000)
    options = parser.parse_args()
    print(f"{'shape':<28} {'noise':>6}  " + "  ".join(f"{f'p = {p}: predicted, c':>24}" for p in PROBABILITIES))
    for name, (spec, shape, weights) in CASES.items():
        phi = gpn.activation(spec.rstrip("*"))
        print(
            line(name, gpn.normalize(phi) if spec.endswith("*") else phi, shape, weights, options.networks), flush=True
        )


def line(name: str, phi: Activation, shape: Shape, weights: str, networks: int) -> str:
    """Predicted probabilities at the quantiles of the networks, and the constants that make them right."""
    law = law_of(phi, shape, weights)
    if isinstance(law, NoPrediction):
        return f"{name:<28} {law.reason}"
    rng = np.random.Generator(np.random.SFC64(5))
    drawn = sample(phi, shape.widths[0], shape.depth, networks, rng, shape=shape, weights=weights)
    logs = 2 * drawn.log_gradient_norms - np.log(shape.widths[:-1])
    spreads = np.abs(logs - logs[:, -1:]).max(axis=1)
    cells = []
    for probability in PROBABILITIES:
        predicted = law.spread_probability(float(np.quantile(spreads, 1 - probability)))
        level, other = brownian_level(probability), brownian_level(predicted)
        needed = abs(np.log(other / level)) / (law.largest_noise * (1 + level**2))
        cells.append(f"{predicted:>18.4f}, {needed:.2f}")
    return f"{name:<28} {law.largest_noise:.4f}  " + "  ".join(cells)


def law_of(phi: Activation, shape: Shape, weights: str) -> ShapedLaw | NoPrediction:
    factors = [mean_factor(weights, rows, columns) for columns, rows in pairwise(shape.widths)]
    gains = [gain * factor for gain, factor in zip(shape.gains, factors, strict=True)]
    layers = [Layer(phi, gain, bias) for gain, bias in zip(gains, shape.biases, strict=True)]
    return shaped_law(layers, shape.widths, orthogonal=is_orthogonal(weights))


if __name__ == "__main__":
    main()
