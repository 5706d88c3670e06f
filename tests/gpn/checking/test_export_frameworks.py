"""Exported PyTorch, JAX and Keras code runs, agrees with the activation and its slope, and is normalized.

Each framework is optional: its tests are skipped where it is not installed.
"""

import importlib.util
import os

import numpy as np
import pytest

from gpn.checking.snippets import export
from tests.gpn.checking.exported import NORMALIZABLE
from theory.activations.specification import activation
from theory.normalization.normalize import normalization

MORE = [
    "x*erfc(x)/2 + cosh(x/9)",
    "min(max(x, -2), 1)**3 + log1p(x**2)",
    "arctan(x)**2 - 2**(-x**2)",
]
CASES = [(spec, root) for spec in (*NORMALIZABLE, *MORE) for root in ("plus", "minus")]
BOTH_PRECISIONS = [(*case, "float64") for case in CASES] + [(*case, "float32") for case in CASES if case[1] == "plus"]
FAR = [-1e4, -700.0, -40.0, 40.0, 700.0, 1e4]


def arguments(phi):
    """Points everywhere, the kinks among them and next to them, and far out as far as phi is finite there."""
    kinks = phi.breakpoint_values
    near = kinks - 1e-6, kinks, kinks + 1e-6  # no nearer: XLA takes 5e-324 for 0
    x = np.concatenate([np.linspace(-9, 9, 361), *near, FAR])
    return x[np.isfinite(phi.value(x)) & (np.abs(phi.value(x)) < 1e30)]


def quadrature():
    """Nodes and weights of Gauss-Legendre panels for the normal density, cut at the multiples of 1/8: every kink."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    starts = np.arange(-12, 12, 0.125)
    z = (starts[:, None] + (nodes + 1) / 16).ravel()
    return z, np.tile(weights / 16, len(starts)) * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


def check(spec, root, run, dtype):
    """Compare (value, slope) of `run` with the activation, and the two moments with 1.

    Rounding: 8 units in the last place of the number, of its largest term and of the argument (times the slope).
    """
    phi = activation(spec)
    chosen = normalization(phi, root)
    x = arguments(phi).astype(dtype).astype(np.float64)
    value, slope = run(x)
    size = np.abs(chosen.a) * (1 + np.abs(x)) * (1 + np.abs(phi.slope(x))) + abs(chosen.b) + np.abs(phi.value(x))
    unit = float(np.finfo(dtype).eps)
    assert np.all(np.isfinite(value) & np.isfinite(slope))
    assert np.max(np.abs(value - (chosen.a * phi.value(x) + chosen.b)) / size) < 8 * unit
    rough = chosen.a * (np.abs(phi.slope(x)) + (1 + np.abs(x)) * (1 + np.abs(phi.curvature(x))))
    assert np.max(np.abs(slope - chosen.a * phi.slope(x)) / rough) < 8 * unit
    z, weights = quadrature()
    moments = [float(weights @ part**2) for part in run(z)]
    assert moments == pytest.approx([1, 1], abs=1000 * unit)


def load(code):
    """The function of a snippet and its class, if any."""
    names = {"__name__": "snippet"}
    exec(compile(code, "snippet", "exec"), names)
    function = next(names[name] for name in names if name.startswith("gpn_"))
    return function, next((names[name] for name in names if name.startswith("GPN")), None)


@pytest.mark.parametrize(("spec", "root", "dtype"), BOTH_PRECISIONS)
def test_torch(spec, root, dtype):
    torch = pytest.importorskip("torch")
    function, module = load(export(spec, "torch", root))

    def run(x):
        argument = torch.tensor(x, dtype=getattr(torch, dtype), requires_grad=True)
        value = module()(argument)
        value.sum().backward()
        assert value.dtype == argument.dtype == function(argument).dtype
        return value.detach().numpy().astype(float), argument.grad.numpy().astype(float)

    check(spec, root, run, dtype)
    assert torch.isnan(function(torch.tensor([float("nan")])))


@pytest.mark.parametrize(("spec", "root", "dtype"), BOTH_PRECISIONS)
def test_jax(spec, root, dtype):
    jax = pytest.importorskip("jax")
    function, _ = load(export(spec, "jax", root))
    both = jax.jit(jax.vmap(jax.value_and_grad(function)))

    def run(x):
        with jax.enable_x64(dtype == "float64"):
            value, slope = both(jax.numpy.asarray(x, dtype=dtype))
            assert value.dtype == slope.dtype == dtype
            return np.asarray(value, dtype=float), np.asarray(slope, dtype=float)

    check(spec, root, run, dtype)
    assert np.isnan(function(float("nan")))


@pytest.fixture(scope="module")
def keras():
    """Keras on a backend that is installed."""
    backends = [name for name in ("jax", "torch") if importlib.util.find_spec(name)]
    if not backends:
        pytest.skip("Keras needs JAX or PyTorch here")
    os.environ.setdefault("KERAS_BACKEND", backends[0])
    return pytest.importorskip("keras")


@pytest.mark.parametrize(("spec", "root"), CASES)
def test_keras(keras, spec, root):
    _, layer = load(export(spec, "keras", root))

    def run(x):
        if keras.backend.backend() == "torch":
            import torch

            argument = torch.tensor(x, dtype=torch.float32, requires_grad=True)
            value = layer(dtype="float32")(argument)
            value.sum().backward()
            return value.detach().numpy().astype(float), argument.grad.numpy().astype(float)
        import jax

        argument = keras.ops.convert_to_tensor(x, dtype="float32")
        value, pull = jax.vjp(layer(dtype="float32"), argument)
        return np.asarray(value, dtype=float), np.asarray(pull(np.ones_like(value))[0], dtype=float)

    check(spec, root, run, "float32")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras itself, reading its weights
def test_a_keras_model_with_the_layer_is_saved_and_read_back(keras, tmp_path):
    _, layer = load(export("gelu", "keras"))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), layer()])
    model.save(tmp_path / "model.keras")
    x = np.linspace(-2, 2, 6, dtype="float32").reshape(2, 3)
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
