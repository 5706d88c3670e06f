"""Speed of the dense engine against its matrix products, of Haar sampling against LAPACK's QR, and beside PyTorch.

    python benchmarks/dense.py
    python benchmarks/dense.py --repeats 20

One thread, processor times, ratios as in benchmarks/sampler.py. The bare products are those of the same shapes with
results in arrays that exist: X W^T forward; D^T X and D W backward. The part with PyTorch (float64, the same weights
and batch, one thread) is left out where PyTorch is not installed.
"""

from measure import alternate, median, ratio  # first, for the number of BLAS threads

# isort: split
import argparse
import importlib.util
import platform
from typing import Any

import numpy as np

import gpn
from gpn.engine.network import Network
from gpn.engine.records import Gradients
from gpn.engine.weights import haar

SHAPES = [(256, 256, 10), (512, 64, 10), (512, 256, 10), (1024, 256, 6), (1024, 16, 6), (512, 1, 10)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, one thread, {options.repeats} repeats")
    phi = gpn.normalize(gpn.activation("tanh"))
    print("\nDense engine, tanh: time over that of the matrix products")
    print("  width batch depth  products ms  ratio   quartiles")
    for shape in SHAPES:
        print_engine(phi, *shape, options.repeats)
    print_haar(options.repeats)
    if importlib.util.find_spec("torch") is None:
        print("\nPyTorch is not installed: no comparison with it")
    else:
        print_torch(phi, options.repeats)


def print_engine(phi: Any, width: int, batch: int, depth: int, repeats: int) -> None:
    """Forward and backward of one shape."""
    rng = np.random.default_rng(0)
    network = Network.random([width] * (depth + 1), phi, rng)
    x, e = rng.standard_normal((2, batch, width))
    forward = network.forward(x)
    gradients = network.backward(forward, e)
    layers = [np.empty((batch, width)) for _ in range(depth)]
    matrices = [np.empty((width, width)) for _ in range(depth)]

    def products_forward() -> None:
        for weights, out in zip(network.weights, layers, strict=True):
            np.matmul(x, weights.T, out=out)

    def products_backward() -> None:
        for weights, out, matrix in zip(network.weights, layers, matrices, strict=True):
            np.matmul(e.T, x, out=matrix)
            np.matmul(e, weights, out=out)

    def backward(out: Gradients = gradients) -> Gradients:
        return network.backward(forward, e, out=out)

    for name, own, bare in (
        ("forward", lambda: network.forward(x, out=forward), products_forward),
        ("backward", backward, products_backward),
    ):
        above, below = alternate([own, bare], repeats)
        print(f"{width:>7} {batch:>5} {depth:>5} {median(below, 1e3):>12.2f} {ratio(above, below)}   {name}")


def print_haar(repeats: int) -> None:
    """A Haar matrix against the QR decomposition that it needs, and the share of its normal numbers."""
    rng = np.random.Generator(np.random.SFC64(0))
    print("\nHaar matrices: time over that of numpy.linalg.qr, and of drawing the normals alone over the same")
    print("  width    QR ms  ratio   quartiles      normals")
    for width in (64, 128, 256, 512, 1024):
        normals = rng.standard_normal((width, width))
        count = max(1, 512 // width)
        own, drawn, qr = alternate(
            [
                lambda n=width, k=count: [haar(rng, n) for _ in range(k)],
                lambda n=width, k=count: [rng.standard_normal((n, n)) for _ in range(k)],
                lambda a=normals, k=count: [np.linalg.qr(a) for _ in range(k)],
            ],
            repeats,
        )
        print(f"{width:>7} {median(qr, 1e3 / count):>8.2f} {ratio(own, qr)}   {ratio(drawn, qr)}")


def print_torch(phi: Any, repeats: int) -> None:
    """Forward and backward with all gradients, against PyTorch's automatic differentiation of the same network."""
    import torch

    torch.set_num_threads(1)
    print(f"\nForward and backward: time over that of PyTorch {torch.__version__} on the CPU, float64")
    print("  width batch depth  PyTorch ms  ratio   quartiles")
    a, b = (float(each) for each in (phi.slope(np.zeros(1))[0], phi.value(np.zeros(1))[0]))  # a tanh + b
    for width, batch, depth in SHAPES:
        rng = np.random.default_rng(0)
        network = Network.random([width] * (depth + 1), phi, rng)
        x, e = rng.standard_normal((2, batch, width))
        forward = network.forward(x)
        gradients = network.backward(forward, e)
        weights = [torch.tensor(each, requires_grad=True) for each in network.weights]
        inputs, top = torch.tensor(x), torch.tensor(e)

        def by_torch(weights: Any = weights, inputs: Any = inputs, top: Any = top) -> list[Any]:
            signal = inputs
            for each in weights:
                signal = a * torch.tanh(signal @ each.T) + b
            return list(torch.autograd.grad(signal, weights, top))

        def by_engine(network: Any = network, x: Any = x, e: Any = e, f: Any = forward, g: Any = gradients) -> Any:
            return network.backward(network.forward(x, out=f), e, out=g)

        for one, other in zip(by_engine().weights, by_torch(), strict=True):
            np.testing.assert_allclose(one, other.numpy(), rtol=1e-8, atol=1e-8 * np.abs(one).max())
        above, below = alternate([by_engine, by_torch], repeats)
        print(f"{width:>7} {batch:>5} {depth:>5} {median(below, 1e3):>11.2f} {ratio(above, below)}")


if __name__ == "__main__":
    main()
