"""Batch normalization: exact forward and backward, running statistics, and the growth of gradients with depth."""

from itertools import pairwise

import numpy as np
import pytest

from gpn.engine.batch_normalization import BatchNormalization, layers
from gpn.engine.network import Network
from gpn.engine.weights import draw
from tests.gpn.stubs import Linear, Tanh
from tests.oracles.losses import softmax_cross_entropy
from theory.errors import UsageError


class Relu:
    def value_and_slope(self, x):
        return np.maximum(x, 0.0), (x > 0).astype(float)


def network_of(seed, affine, widths=(4, 6, 5, 3)):
    """Biases, batch normalization in all layers but the last."""
    rng = np.random.default_rng(seed)
    weights = [draw("gaussian", rng, n, m) for m, n in pairwise(widths)]
    normalizations = [*layers(widths[1:-1], affine=affine), None]
    if affine:
        for each in normalizations[:-1]:
            each.gains[...] = rng.uniform(0.5, 2.0, each.width)
            each.shifts[...] = rng.standard_normal(each.width)
    biases = [rng.standard_normal(n) for n in widths[1:]]
    return Network(weights, Tanh(), biases, normalizations), rng.standard_normal((7, widths[0]))


def central_difference(array, index, loss):
    """Sixth-order difference for one entry of an array that is changed in place."""
    kept, step, total = array[index], 2e-3, 0.0
    for k, weight in ((1, 45.0), (2, -9.0), (3, 1.0)):
        for sign in (1.0, -1.0):
            array[index] = kept + sign * k * step
            total += sign * weight * loss()
    array[index] = kept
    return total / (60.0 * step)


def test_forward_against_a_literal_transcription():
    network, x = network_of(0, affine=True)
    forward = network.forward(x)
    for w, b, layer, g in zip(
        network.weights, network.biases, network.normalizations, forward.preactivations, strict=True
    ):
        h = x @ w.T + b
        if layer is not None:
            for j in range(h.shape[1]):
                column = [float(entry) for entry in h[:, j]]
                mean = sum(column) / len(column)
                variance = sum((entry - mean) ** 2 for entry in column) / len(column)
                h[:, j] = [(e - mean) / (variance + 1e-5) ** 0.5 * layer.gains[j] + layer.shifts[j] for e in column]
        np.testing.assert_allclose(g, h, rtol=1e-12, atol=1e-13)
        x = np.tanh(h)
    np.testing.assert_allclose(forward.outputs, x, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("keep", [True, False])
def test_every_gradient_against_finite_differences(affine, keep):
    """Weights, biases, gains, shifts and inputs; the samples are coupled through the statistics."""
    network, inputs = network_of(1, affine)
    labels = np.arange(len(inputs)) % 3

    def loss():
        return float(softmax_cross_entropy(network.forward(inputs).outputs, labels)[0].sum())

    forward = network.forward(inputs, keep=keep)
    gradients = network.backward(forward, softmax_cross_entropy(forward.outputs, labels)[1])
    pairs = [*zip(network.weights, gradients.weights, strict=True), *zip(network.biases, gradients.biases, strict=True)]
    pairs.append((inputs, gradients.inputs))
    if affine:
        for layer, found in zip(network.normalizations[:-1], gradients.normalizations[:-1], strict=True):
            pairs += [(layer.gains, found[0]), (layer.shifts, found[1])]
    scale = max(np.abs(gradient).max() for _, gradient in pairs)
    for array, gradient in pairs:
        for index in np.ndindex(array.shape):
            assert central_difference(array, index, loss) == pytest.approx(gradient[index], abs=1e-10 * scale, rel=1e-8)


def test_a_shift_or_a_scale_of_the_preactivations_has_no_gradient():
    """sum_i dE/dh_i = 0 and sum_i <dE/dh_i, h_i> = 0 (epsilon = 0), the two directions that are normalized away."""
    rng = np.random.default_rng(2)
    layer = BatchNormalization.of_width(5, epsilon=0.0)
    h, d = rng.standard_normal((2, 9, 5))
    original = h.copy()
    _, statistics = layer.normalize(h)
    layer.backward(d, statistics)
    np.testing.assert_allclose(d.sum(axis=0), 0.0, atol=1e-14)
    np.testing.assert_allclose((d * original).sum(axis=0), 0.0, atol=1e-13)


def test_kept_values_and_slopes_give_the_same_bits():
    network, inputs = network_of(3, affine=True)
    e = np.random.default_rng(4).standard_normal((7, 3))
    plain = network.backward(network.forward(inputs), e)
    first = network.forward(inputs, keep=True)
    for forward in (first, network.forward(inputs, out=first, keep=True)):
        for _ in range(2):  # the backward pass must leave what the forward pass kept
            kept = network.backward(forward, e)
            for a, b in zip(plain.weights, kept.weights, strict=True):
                np.testing.assert_array_equal(a, b)


def test_running_statistics_are_exponential_averages():
    rng = np.random.default_rng(5)
    layer = BatchNormalization.of_width(3)
    mean, variance = np.zeros(3), np.ones(3)
    for _ in range(4):
        h = rng.standard_normal((6, 3))
        mean = 0.9 * mean + 0.1 * h.mean(axis=0)
        variance = 0.9 * variance + 0.1 * h.var(axis=0, ddof=1)
        layer.track(layer.normalize(h)[1])
    np.testing.assert_allclose(layer.means, mean, rtol=1e-13)
    np.testing.assert_allclose(layer.variances, variance, rtol=1e-12)


@pytest.mark.parametrize("affine", [True, False])
def test_a_folded_layer_uses_the_running_statistics(affine):
    rng = np.random.default_rng(6)
    layer = BatchNormalization.of_width(3, affine=affine)
    layer.means[...], layer.variances[...] = rng.standard_normal(3), rng.uniform(0.5, 2.0, 3)
    gains, shifts = np.ones(3), np.zeros(3)
    if affine:
        layer.gains[...], layer.shifts[...] = gains, shifts = rng.standard_normal((2, 3))
    w, b, x = rng.standard_normal((3, 4)), rng.standard_normal(3), rng.standard_normal((5, 4))
    wanted = (x @ w.T + b - layer.means) / np.sqrt(layer.variances + layer.epsilon) * gains + shifts
    weights, biases = layer.folded(w, b)
    np.testing.assert_allclose(x @ weights.T + biases, wanted, rtol=1e-12, atol=1e-13)
    weights, biases = layer.folded(w)
    np.testing.assert_allclose(x @ weights.T + biases, wanted - b * gains / np.sqrt(layer.variances + 1e-5), atol=1e-13)


def growth(phi, ensemble, batch, width, depth, networks, seed):
    """Mean factor per layer by which |dE/dW_l|_F^2 grows downwards, and its standard error over the networks."""
    rng = np.random.default_rng(seed)
    rates = []
    for _ in range(networks):
        network = Network.random([width] * (depth + 1), phi, rng, ensemble, batch_normalization=True)
        forward = network.forward(rng.standard_normal((batch, width)))
        norms = network.backward_norms(forward, rng.standard_normal((batch, width))).batch_gradient_norms
        rates.append(2.0 * np.log(norms[1] / norms[-6]) / (depth - 7))
    return np.exp(np.mean(rates)), np.std(rates, ddof=1) / np.sqrt(networks)


@pytest.mark.parametrize("ensemble", ["haar", "gaussian"])
def test_relu_gradients_explode_under_batch_normalization(ensemble):
    r"""Yang et al. (2019): |dE/dW_l|^2 grows by \pi/(\pi - 1) = 1.467 per layer as the batch grows."""
    rate, error = growth(Relu(), ensemble, batch=256, width=128, depth=20, networks=2, seed=7)
    assert error < 0.02
    assert 1.40 < rate < 1.50


@pytest.mark.parametrize("ensemble", ["haar", "gaussian"])
@pytest.mark.parametrize("batch", [8, 16])
def test_linear_gradients_explode_by_the_batch_size(ensemble, batch):
    r"""Yang et al. (2019): |dE/dW_l|^2 grows by (k - 2)/(k - 3) per layer for a batch of k, as the width grows.

    (k - 2)/(k - 1) is what the projection leaves of a gradient, (k - 1)/(k - 3) the mean of 1/v for
    v ~ \chi^2_{k-1}/(k - 1). The rate measured here is the mean of logarithms, lower by O(1/n): 0.015 is
    granted for that, and six standard errors of six networks (false alarm below 2e-3; the seed is fixed).
    """
    rate, error = growth(Linear(), ensemble, batch, width=128, depth=16, networks=6, seed=8)
    assert error < 0.02
    assert abs(np.log(rate * (batch - 3) / (batch - 2))) < 0.015 + 6.0 * error


def test_misuse_is_an_error():
    network, inputs = network_of(8, affine=False)
    two = np.zeros(2)
    for wrong, message in [
        (lambda: network.forward(inputs[:1]), "at least 2 samples"),
        (lambda: BatchNormalization(two, two, gains=two), "together"),
        (lambda: BatchNormalization(two, np.zeros(3)), "one shape"),
        (lambda: BatchNormalization(two, two, epsilon=-1.0), "at least 0"),
        (lambda: Network([np.eye(2)], Tanh(), normalizations=layers([2, 2])), "2 normalizations for 1 layers"),
        (lambda: Network([np.eye(2)], Tanh(), normalizations=layers([3])), "widths"),
    ]:
        with pytest.raises(UsageError, match=message):
            wrong()
