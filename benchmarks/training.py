"""Time of a training step of 200 layers x 128 units x batch 64 over that of its bare matrix products.

    python benchmarks/training.py
    python benchmarks/training.py --repeats 40 --depth 50

One thread, processor times, ratios of neighbouring runs (benchmarks/measure.py). The bare products are those of the
same shapes with results in arrays that exist: X W^T forward, D^T X and D W backward. A step reads a batch, maps it to
the thin shell, goes forward and backward with all norms of the forward pass, and changes every array.
"""

from measure import alternate, median, ratio  # first, for the number of BLAS threads

# isort: split
import argparse
import platform
from collections.abc import Callable

import numpy as np

import gpn
from gpn.engine.batch_normalization import layers
from gpn.engine.weights import haar
from gpn.training.optimizers import OPTIMIZERS, optimizer
from gpn.training.start import Identity
from gpn.training.step import CONSTRAINTS, Stepper

CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--depth", type=int, default=200)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    shape = (options.depth, options.width, options.batch)
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, one thread, {options.repeats} repeats")
    print(f"{options.depth} layers of {options.width} units, batch {options.batch}")
    print("\n                             products ms  ratio   quartiles")
    for name in ("relu", "tanh", "leaky_relu", "elu", "selu", "gelu"):
        show(f"{name}, sgd", *shape, name, "sgd", "none", options.repeats)
    for rule in OPTIMIZERS:
        if rule != "sgd":
            show(f"tanh, {rule}", *shape, "tanh", rule, "none", options.repeats)
    for constraint in CONSTRAINTS:
        if constraint != "none":
            show(f"tanh, sgd, {constraint}", *shape, "tanh", "sgd", constraint, max(3, options.repeats // 4))
    show("tanh, sgd, norms recorded", *shape, "tanh", "sgd", "none", options.repeats, recorded=True)
    show("tanh, sgd, batch norm.", *shape, "tanh", "sgd", "none", options.repeats, normalized=True)


def show(
    words: str,
    depth: int,
    width: int,
    batch: int,
    name: str,
    rule: str,
    constraint: str,
    repeats: int,
    *,
    recorded: bool = False,
    normalized: bool = False,
) -> None:
    """One line of the table."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, width))
    labels = rng.integers(0, CLASSES, batch)
    weights = [haar(rng, width) for _ in range(depth)] + [haar(rng, CLASSES, width)]
    phi = gpn.normalize(name)
    normalizations = [*layers([width] * depth, affine=True), None] if normalized else None
    network = gpn.Network(weights, [phi] * depth + [Identity()], normalizations=normalizations)
    stepper = Stepper(network, optimizer(rule), constraint)
    norms = np.empty(depth + 1) if recorded else None
    above, below = alternate(
        [lambda: stepper.step(x, labels, 1e-9, norms), products([w.copy() for w in weights], batch, rng)], repeats
    )
    print(f"{words:<28} {median(below, 1e3):>11.2f} {ratio(above, below)}")


def products(weights: list[np.ndarray], batch: int, rng: np.random.Generator) -> Callable[[], None]:
    """The matrix products of a step, and nothing else."""
    inputs = [rng.standard_normal((batch, w.shape[1])) for w in weights]
    outputs = [rng.standard_normal((batch, w.shape[0])) for w in weights]
    matrices = [np.empty_like(w) for w in weights]

    def run() -> None:
        for w, x, y in zip(weights, inputs, outputs, strict=True):
            np.matmul(x, w.T, out=y)
        for w, x, y, matrix in zip(weights, inputs, outputs, matrices, strict=True):
            np.matmul(y.T, x, out=matrix)
            np.matmul(y, w, out=x)

    return run


if __name__ == "__main__":
    main()
