"""The dense engine: exact gradients, norms, buffers, losses, and honest overflow."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpn.engine.evaluation import check_activation
from gpn.engine.network import Network
from gpn.engine.norms import frobenius_norm, product_norm, row_norms
from gpn.engine.weights import draw
from tests.gpn.stubs import Linear, Tanh
from tests.oracles.losses import linear_readout, softmax_cross_entropy, squared_error
from theory.activations import catalog
from theory.errors import UsageError


class Cube:
    def value_and_slope(self, x):
        return x**3, 3 * x**2


def network_of(activation, seed=0, widths=(4, 6, 5, 3), biases=True):
    rng = np.random.default_rng(seed)
    matrices = [draw("gaussian", rng, n, m) for m, n in pairwise(widths)]
    shifts = [0.3 * rng.standard_normal(n) for n in widths[1:]] if biases else None
    return Network(matrices, activation, shifts), rng.standard_normal((2, widths[0]))


def losses_of(rng, width, samples):
    readout = rng.standard_normal((4, width))
    return {
        "linear": lambda x: linear_readout(x, np.linspace(-1, 1, width)),
        "squared": lambda x: squared_error(x, np.linspace(0, 1, width)),
        "squared-readout": lambda x: squared_error(x, np.zeros(4), readout),
        "softmax": lambda x: softmax_cross_entropy(x, np.arange(samples) % width),
        "softmax-readout": lambda x: softmax_cross_entropy(x, np.arange(samples) % 4, readout),
    }


def distance_to_breakpoints(network, forward):
    """The smallest distance of any preactivation to a point where its activation is not smooth."""
    return min(
        np.abs(h[..., None] - points).min(initial=np.inf)
        for h, activation in zip(forward.preactivations, network.activations, strict=True)
        for points in [np.asarray(getattr(activation, "breakpoint_values", np.empty(0)))]
    )


def directional_derivative(loss_at, step):
    """Fourth-order central difference at 0 of a function of one variable."""
    near = loss_at(step) - loss_at(-step)
    far = loss_at(2 * step) - loss_at(-2 * step)
    return (8 * near - far) / (12 * step)


def check_directional_derivatives(network, inputs, loss, rng, tolerance):
    forward = network.forward(inputs)
    gradients = network.backward(forward, loss(forward.outputs)[1])
    directions = [rng.standard_normal(w.shape) for w in network.weights]
    shifts = [rng.standard_normal(b.shape) for b in network.biases]
    moved = rng.standard_normal(inputs.shape)
    exact = (
        sum(float((g * v).sum()) for g, v in zip(gradients.weights, directions, strict=True))
        + sum(float((g * v).sum()) for g, v in zip(gradients.biases, shifts, strict=True))
        + float((gradients.inputs * moved).sum())
    )

    def total(t):
        there = Network(
            [w + t * v for w, v in zip(network.weights, directions, strict=True)],
            network.activations,
            [b + t * v for b, v in zip(network.biases, shifts, strict=True)] or None,
        )
        return float(loss(there.forward(inputs + t * moved).outputs)[0].sum())

    scale = 1.0 + abs(exact) + abs(total(0.0))
    assert abs(directional_derivative(total, 1e-4) - exact) < tolerance * scale


SMOOTH_SEEDS = range(200)


@pytest.mark.parametrize("name", sorted(catalog.names()))
def test_gradients_of_every_catalog_activation(name):
    """All gradients at once, along a random direction, against central differences.

    The first seed is taken whose preactivations keep clear of kinks and jumps, where no gradient exists.
    """
    activation = catalog.build(name)
    for seed in SMOOTH_SEEDS:
        network, inputs = network_of(activation, seed)
        if distance_to_breakpoints(network, network.forward(inputs)) > 2e-3:
            break
    else:
        pytest.fail("every seed lands near a breakpoint")
    loss = losses_of(np.random.default_rng(1), 3, 2)["squared"]
    check_directional_derivatives(network, inputs, loss, np.random.default_rng(2), 1e-9)


@pytest.mark.parametrize("kind", ["linear", "squared", "squared-readout", "softmax", "softmax-readout"])
@pytest.mark.parametrize("biases", [True, False])
def test_gradients_of_every_loss(kind, biases):
    network, inputs = network_of(Tanh(), 3, biases=biases)
    loss = losses_of(np.random.default_rng(1), 3, 2)[kind]
    check_directional_derivatives(network, inputs, loss, np.random.default_rng(2), 1e-10)


def test_every_single_entry_of_the_gradients():
    network, inputs = network_of(Tanh(), 4)
    loss = losses_of(np.random.default_rng(1), 3, 2)["softmax-readout"]
    forward = network.forward(inputs)
    gradients = network.backward(forward, loss(forward.outputs)[1])
    arrays = [*network.weights, *network.biases]
    for array, gradient in zip(arrays, [*gradients.weights, *gradients.biases], strict=True):
        for index in np.ndindex(array.shape):
            kept = array[index]

            def moved(t, array=array, index=index, kept=kept):
                array[index] = kept + t
                return float(loss(network.forward(inputs).outputs)[0].sum())

            assert directional_derivative(moved, 1e-3) == pytest.approx(gradient[index], rel=1e-8, abs=1e-10)
            array[index] = kept


def test_forward_against_a_literal_transcription():
    network, inputs = network_of([Tanh(), Cube(), Linear()], 5)
    forward = network.forward(inputs)
    for row, x in enumerate(inputs):
        for layer, (w, b, phi) in enumerate(zip(network.weights, network.biases, network.activations, strict=True)):
            h = np.array([sum(w[i, j] * x[j] for j in range(len(x))) + b[i] for i in range(len(b))])
            np.testing.assert_allclose(forward.preactivations[layer][row], h, rtol=1e-13)
            x = phi.value_and_slope(h)[0]
            assert forward.signal_norms[row, layer] == pytest.approx(np.linalg.norm(x), rel=1e-13)
        np.testing.assert_allclose(forward.outputs[row], x, rtol=1e-13)
    np.testing.assert_allclose(forward.input_norms, np.linalg.norm(inputs, axis=1), rtol=1e-14)


def test_a_batch_is_the_sum_of_its_samples():
    network, _ = network_of(Tanh(), 6)
    rng = np.random.default_rng(7)
    inputs, e = rng.standard_normal((5, 4)), rng.standard_normal((5, 3))
    whole = network.backward(network.forward(inputs), e)
    singles = [network.backward(network.forward(inputs[i : i + 1]), e[i : i + 1]) for i in range(5)]
    for layer in range(3):
        np.testing.assert_allclose(whole.weights[layer], sum(one.weights[layer] for one in singles), atol=1e-14)
        np.testing.assert_allclose(whole.biases[layer], sum(one.biases[layer] for one in singles), atol=1e-14)
        each = [frobenius_norm(one.weights[layer]) for one in singles]
        np.testing.assert_allclose(whole.norms.gradient_norms[:, layer], each, rtol=1e-13)
    np.testing.assert_allclose(whole.inputs, np.concatenate([one.inputs for one in singles]), atol=1e-14)


@pytest.mark.parametrize("batch", [1, 3, 40])
def test_norms_without_matrices_are_the_norms_of_the_matrices(batch):
    rng = np.random.default_rng(8)
    network = Network.random([30, 60, 50, 20], Tanh(), rng, "he")
    forward = network.forward(rng.standard_normal((batch, 30)))
    e = rng.standard_normal((batch, 20))
    gradients, norms = network.backward(forward, e), network.backward_norms(forward, e)
    formed = [np.linalg.norm(matrix) for matrix in gradients.weights]
    np.testing.assert_allclose(norms.batch_gradient_norms, formed, rtol=1e-12)
    np.testing.assert_allclose(gradients.norms.batch_gradient_norms, formed, rtol=1e-13)
    np.testing.assert_allclose(norms.backward_norms, gradients.norms.backward_norms, rtol=1e-14)
    np.testing.assert_allclose(norms.gradient_norms, gradients.norms.gradient_norms, rtol=1e-14)


def test_a_product_that_cancels_keeps_its_digits():
    """d_1 = -d_2 and x_1 nearly x_2: the sum of inner products has no digit left, the matrix has them."""
    rng = np.random.default_rng(9)
    d, x, change = rng.standard_normal(50), rng.standard_normal(60), 1e-9 * rng.standard_normal(60)
    left, right = np.array([d, -d]), np.array([x, x + change])
    exact = np.linalg.norm(d) * np.linalg.norm((x + change) - x)
    assert product_norm(left, right) == pytest.approx(exact, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    widths=st.lists(st.integers(1, 12), min_size=2, max_size=5).map(sorted),
    seed=st.integers(0, 2**32),
)
def test_an_orthogonal_linear_network_is_an_isometry(widths, seed):
    """Widths that grow keep every length forward; equal widths keep it backward as well."""
    rng = np.random.default_rng(seed)
    network = Network.random(widths, Linear(), rng)
    inputs = rng.standard_normal((3, widths[0]))
    forward = network.forward(inputs)
    np.testing.assert_allclose(forward.signal_norms, np.tile(forward.input_norms[:, None], network.depth), rtol=1e-12)
    square = Network.random([widths[-1]] * 4, Linear(), rng)
    e = rng.standard_normal((3, widths[-1]))
    norms = square.backward_norms(square.forward(rng.standard_normal((3, widths[-1]))), e)
    np.testing.assert_allclose(norms.backward_norms, np.tile(row_norms(e)[:, None], 3), rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 2**32))
def test_gradients_scale_as_they_should(scale, seed):
    """Linear in e_L; for phi(x) = x^3 and L = 2 the output is homogeneous of degree 9 (Euler)."""
    rng = np.random.default_rng(seed)
    network = Network.random([4, 5, 3], Cube(), rng, "gaussian")
    inputs, e = rng.standard_normal((2, 4)), rng.standard_normal((2, 3))
    forward = network.forward(inputs)
    plain, scaled = network.backward(forward, e), network.backward(forward, scale * e)
    for a, b in zip(plain.weights, scaled.weights, strict=True):
        np.testing.assert_allclose(b, scale * a, rtol=1e-10)
    larger = network.forward(scale * inputs)
    np.testing.assert_allclose(larger.outputs, scale**9 * forward.outputs, rtol=1e-10)
    np.testing.assert_allclose(network.backward(larger, e).inputs, scale**8 * plain.inputs, rtol=1e-10)
    euler = np.einsum("ij,ij->i", plain.inputs, inputs)
    np.testing.assert_allclose(euler, 9 * np.einsum("ij,ij->i", e, forward.outputs), rtol=1e-8, atol=1e-12)


def test_a_second_forward_reuses_the_buffers():
    """The first pass needs one array per layer; with `out` only a few arrays of one layer are ever alive."""
    depth, width, batch = 12, 64, 128
    layer_bytes = width * batch * 8
    rng = np.random.default_rng(10)
    network = Network.random([width] * (depth + 1), Tanh(), rng)
    inputs = rng.standard_normal((batch, width))

    def peak(out):
        tracemalloc.start()
        result = network.forward(inputs, out=out)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result, used

    first, fresh = peak(None)
    copies = [h.copy() for h in first.preactivations]
    second, reused = peak(first)
    assert depth * layer_bytes < fresh < (depth + 6) * layer_bytes
    assert reused < 6 * layer_bytes
    for a, b, c in zip(first.preactivations, second.preactivations, copies, strict=True):
        assert a is b
        np.testing.assert_array_equal(a, c)


def test_a_second_backward_reuses_the_gradients():
    rng = np.random.default_rng(11)
    network, inputs = network_of(Tanh(), 11)
    forward, e = network.forward(inputs), rng.standard_normal((2, 3))
    first = network.backward(forward, e)
    copies = [g.copy() for g in (*first.weights, *first.biases)]
    second = network.backward(forward, e, out=first)
    for a, b, c in zip((*first.weights, *first.biases), (*second.weights, *second.biases), copies, strict=True):
        assert a is b
        np.testing.assert_array_equal(b, c)


def test_results_print_on_one_line():
    network, inputs = network_of(Tanh())
    forward = network.forward(inputs)
    assert repr(network) == "Network(widths=(4, 6, 5, 3), biases=True)"
    assert repr(forward) == "Forward(batch=2, depth=3, first_nonfinite_layer=None)"
    assert repr(network.backward(forward, np.ones((2, 3)))) == (
        "Gradients(BackwardNorms(batch=2, depth=3, first_nonfinite_layer=None), biases=True)"
    )


def test_weights_are_shared_with_the_caller():
    matrix = np.eye(2)
    network = Network([matrix], Linear())
    matrix[0, 0] = 5.0
    assert network.forward([[1.0, 1.0]]).outputs[0, 0] == 5.0


def test_overflow_is_reported_with_its_layer():
    """x -> x^3 from 1e20: 1e60, 1e180, then inf in layer 3, without a warning."""
    network = Network([np.eye(2)] * 5, Cube())
    forward = network.forward([[1e20, 0.0], [1.0, 0.0]])
    assert forward.first_nonfinite_layer == 3
    assert np.isfinite(forward.signal_norms[0]).tolist() == [True, True, False, False, False]
    assert np.isfinite(forward.signal_norms[1]).all()
    gradients = network.backward(forward, np.ones((2, 2)))
    assert gradients.norms.first_nonfinite_layer == 5
    assert np.isfinite(gradients.norms.backward_norms[1]).all()


def test_a_gradient_alone_can_overflow():
    class Steep:
        def value_and_slope(self, x):
            return np.sin(x), np.full_like(x, 1e60)

    network = Network([np.eye(1)] * 8, Steep())
    forward = network.forward([[1.0]])
    assert forward.first_nonfinite_layer is None
    norms = network.backward_norms(forward, [[1.0]])
    assert norms.first_nonfinite_layer == 3
    assert np.isinf(norms.backward_norms[0]).tolist() == [True, True, True, False, False, False, False, False]


@pytest.mark.parametrize("name", sorted(catalog.names()))
def test_deep_networks_of_every_catalog_activation_are_honest(name):
    """60 layers: no warning, and a signal that is not finite is told by its layer."""
    network = Network.random([6] * 61, catalog.build(name), np.random.default_rng(13))
    forward = network.forward(3.0 * np.random.default_rng(14).standard_normal((5, 6)))
    bad = ~np.isfinite(forward.signal_norms).all(axis=0)
    assert forward.first_nonfinite_layer == (int(bad.argmax()) + 1 if bad.any() else None)
    norms = network.backward_norms(forward, np.ones((5, 6)))
    if forward.first_nonfinite_layer is None and norms.first_nonfinite_layer is None:
        assert np.isfinite(norms.gradient_norms).all()


def test_norms_beyond_the_range_of_squares():
    rows = np.array([[3e200, 4e200], [3e-200, 4e-200], [0.0, 0.0], [np.inf, 1.0], [np.nan, 1.0], [5e-324, 0.0]])
    np.testing.assert_allclose(row_norms(rows), [5e200, 5e-200, 0.0, np.inf, np.nan, 5e-324], rtol=1e-15)


def test_cross_entropy_is_stable():
    """Logits 1e4 apart, and a residual of 1e-300 that 1 - p would round to zero."""
    loss, gradient = softmax_cross_entropy([[1e4, 0.0], [1e4, 0.0], [690.0, 0.0]], [0, 1, 0])
    np.testing.assert_allclose(loss[:2], [0.0, 1e4])
    np.testing.assert_allclose(gradient[1], [1.0, -1.0])
    np.testing.assert_allclose(gradient[2], [-np.exp(-690.0), np.exp(-690.0)], rtol=1e-12)
    uniform, flat = softmax_cross_entropy(np.zeros((1, 5)), [2])
    assert uniform[0] == pytest.approx(np.log(5))
    np.testing.assert_allclose(flat, [[0.2, 0.2, -0.8, 0.2, 0.2]])
    assert np.isnan(softmax_cross_entropy([[np.inf, 0.0]], [0])[0][0])


def test_losses_against_literal_formulas():
    rng = np.random.default_rng(12)
    x, r, t = rng.standard_normal((3, 4)), rng.standard_normal((5, 4)), rng.standard_normal((3, 5))
    loss, gradient = squared_error(x, t, r)
    for i in range(3):
        residual = r @ x[i] - t[i]
        assert loss[i] == pytest.approx(residual @ residual / 2)
        np.testing.assert_allclose(gradient[i], r.T @ residual)
    loss, gradient = softmax_cross_entropy(x, [4, 0, 2], r)
    for i, label in enumerate([4, 0, 2]):
        p = np.exp(r @ x[i]) / np.exp(r @ x[i]).sum()
        assert loss[i] == pytest.approx(-np.log(p[label]))
        np.testing.assert_allclose(gradient[i], r.T @ (p - np.eye(5)[label]))


def test_misuse_is_an_error():
    network, inputs = network_of(Tanh())
    forward = network.forward(inputs)
    small = Network([np.eye(4)], Tanh())
    other = small.backward(small.forward(inputs), inputs)
    for wrong, message in [
        (lambda: Network([], Tanh()), "one weight matrix"),
        (lambda: Network([np.ones((2, 3)), np.ones((2, 3))], Tanh()), "3 columns"),
        (lambda: Network([np.ones(3)], Tanh()), "W_1"),
        (lambda: Network([np.eye(2)], [Tanh(), Tanh()]), "2 activations for 1 layers"),
        (lambda: Network([np.eye(2)], np.tanh), "gpn.activation"),
        (lambda: Network([np.eye(2)], Tanh(), [np.ones(3)]), "biases"),
        (lambda: Network.random([3], Tanh(), np.random.default_rng(0)), "one layer"),
        (lambda: network.forward(inputs[0]), r"shape \(batch, 4\)"),
        (lambda: network.forward(np.empty((0, 4))), r"shape \(batch, 4\)"),
        (lambda: network.forward(inputs * np.nan), "not finite"),
        (lambda: network.forward(inputs[:1], out=forward), "leave out=None"),
        (lambda: network.backward(forward, np.ones((1, 3))), r"shape \(2, 3\)"),
        (lambda: network.backward(forward, np.ones((2, 3)), out=other), "another network"),
        (lambda: softmax_cross_entropy(np.ones((2, 3)), [0, 3]), "allowed are 0 to 2"),
        (lambda: softmax_cross_entropy(np.ones((2, 3)), [0.0, 1.0]), "whole numbers"),
        (lambda: softmax_cross_entropy(np.ones((2, 3)), [0]), "each sample"),
    ]:
        with pytest.raises(UsageError, match=message):
            wrong()


def test_an_activation_must_return_fresh_arrays():
    class Shares:
        def value_and_slope(self, x):
            return x, np.ones_like(x)

    class Scalar:
        def value_and_slope(self, x):
            return x.copy(), 1.0

    with pytest.raises(UsageError, match="fresh"):
        check_activation(Shares())
    with pytest.raises(UsageError, match="float64"):
        check_activation(Scalar())
