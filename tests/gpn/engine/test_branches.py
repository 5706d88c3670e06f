"""Branches, biases and an activation for each layer in the dense engine, and formats of fewer digits."""

import numpy as np
import pytest

from gpn.engine.network import Network
from gpn.engine.precision import FORMATS, round_to
from gpn.engine.shape import Shape
from tests.gpn.stubs import Linear, Tanh
from theory.errors import UsageError

SHAPE = Shape.read([3, 4, 4, 4, 2], gain=[1.0, 1.3, 0.7, 2.0], bias=[0.0, 0.2, 0.1, 0.3], residual=-0.6)


def network(precision="float64"):
    phis = [Tanh(), Linear(0.8), Tanh(), Tanh()]
    return Network.random(SHAPE, phis, np.random.default_rng(0), "gaussian", precision=precision)


def test_gradients_are_those_of_differences():
    """Central differences of E = <c, x_L>, the sum over a batch of two, for weights, biases and inputs."""
    net, rng = network(), np.random.default_rng(1)
    x, c = rng.standard_normal((2, 3)), rng.standard_normal((2, 2))
    forward = net.forward(x)
    gradients = net.backward(forward, c)
    np.testing.assert_array_equal(net.forward(x, out=forward).outputs, forward.outputs)
    numbers = [*zip(net.weights, gradients.weights, strict=True), *zip(net.biases, gradients.biases, strict=True)]
    for array, gradient in [*numbers, (x, gradients.inputs)]:
        for index in np.ndindex(array.shape):
            old, ends = array[index], []
            for step in (1e-5, -1e-5):
                array[index] = old + step
                ends.append(float((c * net.forward(x).outputs).sum()))
            array[index] = old
            assert gradient[index] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-8)
    totals = [np.linalg.norm(g) for g in gradients.weights]
    np.testing.assert_allclose(net.backward_norms(net.forward(x), c).batch_gradient_norms, totals, rtol=1e-12)


def test_a_branch_is_what_it_says():
    """x_l = x_{l-1} + alpha phi(h_l) where the width stays, x_l = phi(h_l) where it changes."""
    net, x = network(), np.array([[0.3, -1.0, 2.0]])
    signal = x
    for index, (matrix, bias, phi) in enumerate(zip(net.weights, net.biases, net.activations, strict=True)):
        value, _ = phi.value_and_slope(signal @ matrix.T + bias)
        signal = value if index in (0, 3) else signal - 0.6 * value
    np.testing.assert_allclose(net.forward(x).outputs, signal, rtol=1e-14)
    assert list(map(len, net.signals(net.forward(x)))) == [1] * 4
    with pytest.raises(UsageError, match="None where the width changes"):
        Network([np.ones((2, 3))], Tanh(), branches=[0.5])


def test_bfloat16_is_the_nearest_number_of_eight_digits():
    """Every bfloat16 stays as it is; what lies between goes to the nearer, and from the middle to the even one."""
    every = (np.arange(2**16, dtype=np.uint32) << 16).view(np.float32)
    patterns = every[~np.isnan(every)].astype(np.float64)
    np.testing.assert_array_equal(round_to("bfloat16", patterns.copy()), patterns)
    finite = np.sort(patterns[np.isfinite(patterns) & (patterns > 1e-30)])
    low, high = finite[:-1], finite[1:]
    even = (low.astype(np.float32).view(np.uint32) >> 16) % 2 == 0
    np.testing.assert_array_equal(round_to("bfloat16", (low + high) / 2), np.where(even, low, high))
    np.testing.assert_array_equal(round_to("bfloat16", low + 0.51 * (high - low)), high)
    assert np.isinf(round_to("bfloat16", np.array([3.4e38]))[0])
    assert np.isnan(round_to("bfloat16", np.array([np.nan]))[0])


def test_formats_are_those_of_ml_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    numbers = np.random.default_rng(2).standard_normal(10_000) * 10.0 ** np.random.default_rng(3).uniform(-9, 9, 10_000)
    with np.errstate(over="ignore"):
        for name, dtype in (("bfloat16", ml_dtypes.bfloat16), ("float16", np.float16), ("float32", np.float32)):
            expected = numbers.astype(np.float32).astype(dtype) if name == "bfloat16" else numbers.astype(dtype)
            np.testing.assert_array_equal(round_to(name, numbers.copy()), expected.astype(np.float64))


def test_a_network_of_few_digits_holds_only_numbers_of_its_format():
    for name in FORMATS:
        net = network(name)
        forward = net.forward(np.array([[0.3, -1.0, 2.0]]))
        gradients = list(net.sweep(forward, np.ones((1, 2))))
        held = [*net.weights, *net.biases, *forward.preactivations, *net.signals(forward), forward.inputs]
        for array in [*held, *(layer.d for layer in gradients), *(layer.e for layer in gradients)]:
            np.testing.assert_array_equal(round_to(name, array.copy()), array)
    with pytest.raises(UsageError, match="bfloat16"):
        network("float8")
