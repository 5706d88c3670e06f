"""The matrix-free sampler: same law as explicit matrices, exact laws of one layer, limits of float64."""

import math
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from scipy import stats

from gpn.engine.norms import row_dots
from gpn.sampling import laws
from gpn.sampling.sampler import block_trials, one_step, sample
from tests.gpn.stubs import Linear, Tanh
from theory.activations import catalog
from theory.errors import UsageError

FALSE_ALARM = 1e-6  # of each two-sample test, all its comparisons together (Bonferroni)
GPN_TANH = catalog.build("tanh").affine(1.4674135916, 0.3885416701, "gpn-tanh")
GPN_RELU = catalog.build("relu").affine(float(np.sqrt(2.0)), 0.0, "gpn-relu")
BENT = catalog.build("elu").affine(1.3, -0.4, "bent")


def matrices(weights, rng, trials, rows, columns):
    """A stack of weight matrices, straight from the definitions."""
    normals = rng.standard_normal((trials, rows, columns))
    if weights != "haar":
        variance = {"gaussian": 1 / columns, "he": 2 / columns, "glorot": 2 / (rows + columns)}[weights]
        return np.sqrt(variance) * normals
    q, r = np.linalg.qr(normals)
    return q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]


def dense_norms(phi, width, depth, trials, rng, weights="haar", x0=None, top=None):
    """q_0..q_L and |d_1|..|d_L| with explicit matrices, in the words of the definition.

    `top(x_L, rng)` makes e_L (trials, n) from x_L; left out, uniform unit vectors.
    """
    x = np.tile(np.ones(width) if x0 is None else x0, (trials, 1))
    lengths, stacks, slopes = [(x**2).sum(axis=1) / width], [], []
    for _ in range(depth):
        stacks.append(matrices(weights, rng, trials, width, x.shape[1]))
        x, slope = phi.value_and_slope(np.einsum("tij,tj->ti", stacks[-1], x))
        slopes.append(slope)
        lengths.append((x**2).sum(axis=1) / width)
    e = unit(rng.standard_normal((trials, width))) if top is None else top(x, rng)
    backward = []
    for stack, slope in zip(stacks[::-1], slopes[::-1], strict=True):
        d = slope * e
        backward.append(np.sqrt((d**2).sum(axis=1)))
        e = np.einsum("tij,ti->tj", stack, d)
    return np.array(lengths).T, np.array(backward[::-1]).T


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def statistics_of(lengths, backward):
    """Marginal and joint statistics of every layer, one array (trials,) for each."""
    gradients = backward * np.sqrt(lengths[:, :-1])
    ratio = gradients[:, 0] / np.maximum(gradients[:, 0] + gradients[:, -1], 1e-300)
    return [
        *lengths[:, 1:].T,
        *backward.T,
        *gradients.T,
        ratio,
        *(lengths[:, 1:] * backward).T,
        *(lengths[:, :-1] - 2 * backward).T,
        lengths[:, -1] * backward[:, 0],
        lengths[:, 1] - backward[:, -1],
        backward[:, 0] / np.maximum(backward[:, 0] + backward[:, -1], 1e-300),
    ]


def same_law_p_value(first, second):
    """Bonferroni-corrected Kolmogorov-Smirnov p value over all statistics (ties make it conservative)."""
    pairs = zip(statistics_of(*first), statistics_of(*second), strict=True)
    p_values = [stats.ks_2samp(rounded(a), rounded(b), method="asymp").pvalue for a, b in pairs]
    return min(1.0, len(p_values) * min(p_values))


def rounded(values):
    """Nine digits: values that are equal but for rounding (isometries, say) count as equal."""
    return np.round(values, 9)


def free_norms(*args, **kwargs):
    result = sample(*args, **kwargs)
    return result.squared_lengths, result.backward_norms


TRIALS = {1: 2500, 2: 2500, 3: 2500, 8: 2500, 40: 1200}


@pytest.mark.parametrize("width", TRIALS)
@pytest.mark.parametrize("weights", ["haar", "gaussian"])
@pytest.mark.parametrize("phi", [GPN_TANH, GPN_RELU, BENT], ids=lambda phi: phi.name)
def test_same_law_as_explicit_matrices(phi, weights, width):
    """Forward, backward and jointly, random readout; ReLU has dead layers at small widths."""
    depth, trials = 4, TRIALS[width]
    rng = np.random.default_rng([1, width])
    dense = dense_norms(phi, width, depth, trials, rng, weights)
    assert same_law_p_value(dense, free_norms(phi, width, depth, 4 * trials, rng, weights=weights)) > FALSE_ALARM


@pytest.mark.parametrize("width", [1, 2, 3, 8, 40])
@pytest.mark.parametrize("weights", ["haar", "gaussian"])
def test_same_law_with_an_aligned_readout(weights, width):
    depth, trials = 4, TRIALS[width]
    rng = np.random.default_rng([2, width])
    dense = dense_norms(GPN_TANH, width, depth, trials, rng, weights, top=lambda x, _: x)
    free = free_norms(GPN_TANH, width, depth, 4 * trials, rng, weights=weights, readout="aligned")
    assert same_law_p_value(dense, free) > FALSE_ALARM


@pytest.mark.parametrize("width", [2, 3, 8])
def test_same_law_of_relu_with_an_aligned_readout(width):
    rng = np.random.default_rng([3, width])
    dense = dense_norms(GPN_RELU, width, 3, 2500, rng, top=lambda x, _: x)
    free = free_norms(GPN_RELU, width, 3, 10_000, rng, readout="aligned")
    assert same_law_p_value(dense, free) > FALSE_ALARM


@pytest.mark.parametrize("weights", ["haar", "gaussian", "he", "glorot"])
def test_same_law_with_a_rectangular_first_matrix(weights):
    """Five inputs, nine neurons, an input off the thin shell."""
    rng = np.random.default_rng(4)
    x0 = np.array([3.0, -1.0, 0.5, 0.0, 2.0])
    dense = dense_norms(BENT, 9, 3, 2500, rng, weights, x0)
    free = free_norms(BENT, 9, 3, 10_000, rng, weights=weights, inputs=x0)
    np.testing.assert_allclose(free[0][:, 0], x0 @ x0 / 9)
    assert same_law_p_value(dense, free) > FALSE_ALARM


@pytest.mark.parametrize("weights", ["haar", "gaussian"])
def test_same_law_with_a_fixed_readout(weights):
    rng = np.random.default_rng(5)
    e = np.array([2.0, 0.0, -1.0, 0.5])
    dense = dense_norms(GPN_TANH, 4, 3, 2500, rng, weights, top=lambda x, _: np.tile(e, (len(x), 1)))
    free = free_norms(GPN_TANH, 4, 3, 10_000, rng, weights=weights, readout=e)
    assert same_law_p_value(dense, free) > FALSE_ALARM


@pytest.mark.parametrize("width", [2, 6])
@pytest.mark.parametrize("phi", [GPN_TANH, GPN_RELU], ids=lambda phi: phi.name)
def test_same_law_with_a_classification_loss(phi, width):
    """Softmax cross-entropy over three classes; the dense side has an explicit Gaussian readout matrix."""
    rng = np.random.default_rng([6, width])

    def top(x, rng):
        readouts = rng.standard_normal((len(x), 3, width)) / np.sqrt(width)
        p = np.exp(np.einsum("tij,tj->ti", readouts, x))
        residuals = p / p.sum(axis=1, keepdims=True) - np.eye(3)[1]
        return np.einsum("tij,ti->tj", readouts, residuals)

    dense = dense_norms(phi, width, 3, 2500, rng, top=top)
    free = free_norms(phi, width, 3, 10_000, rng, readout="loss", labels=np.ones(10_000, int), classes=3)
    assert same_law_p_value(dense, free) > FALSE_ALARM


@pytest.mark.parametrize("name", sorted(catalog.names()))
def test_same_law_for_every_catalog_activation(name):
    """Shallow and narrow, with fewer trials: 400 dense against 4,000 matrix-free."""
    phi = catalog.build(name)
    rng = np.random.default_rng(7)
    dense = dense_norms(phi, 5, 3, 400, rng)
    assert same_law_p_value(dense, free_norms(phi, 5, 3, 4000, rng)) > FALSE_ALARM


def without_the_part_along_x(law, along, overlap, squares):
    return right_transposed(law, np.zeros_like(along), overlap, squares)


def without_the_projection(_law, along, _overlap, squares):
    across = np.sqrt(np.maximum(1.0 - along**2, 1e-40) / squares)
    return along / across, across


def with_a_length_that_grows(law, along, overlap, squares):
    """The whole of |d| orthogonal to x, and the part along x on top."""
    coefficient, share = right_transposed(law, along, overlap, squares)
    return coefficient, share * np.sqrt(1.0 + along**2)


right_transposed = laws.Haar.transposed


@pytest.mark.parametrize("wrong", [without_the_part_along_x, without_the_projection, with_a_length_that_grows])
def test_the_same_test_catches_a_wrong_sampler(wrong, monkeypatch):
    rng = np.random.default_rng(8)
    dense = dense_norms(GPN_TANH, 3, 4, 2500, rng, top=lambda x, _: x)
    free = free_norms(GPN_TANH, 3, 4, 10_000, rng, readout="aligned")
    assert same_law_p_value(dense, free) > FALSE_ALARM
    monkeypatch.setattr(laws.Haar, "transposed", wrong)
    assert same_law_p_value(dense, free_norms(GPN_TANH, 3, 4, 10_000, rng, readout="aligned")) < FALSE_ALARM


def test_the_part_along_x_matters_under_a_random_readout_too(monkeypatch):
    rng = np.random.default_rng(8)
    dense = dense_norms(GPN_TANH, 2, 6, 10_000, rng)
    assert same_law_p_value(dense, free_norms(GPN_TANH, 2, 6, 20_000, rng)) > FALSE_ALARM
    monkeypatch.setattr(laws.Haar, "transposed", without_the_part_along_x)
    assert same_law_p_value(dense, free_norms(GPN_TANH, 2, 6, 20_000, rng)) < FALSE_ALARM


def test_the_same_test_tells_gaussian_from_orthogonal_weights():
    rng = np.random.default_rng(9)
    dense = dense_norms(GPN_TANH, 8, 4, 2500, rng, "gaussian")
    assert same_law_p_value(dense, free_norms(GPN_TANH, 8, 4, 10_000, rng)) < FALSE_ALARM


def test_the_component_along_x_is_what_the_matrix_gives():
    """<W^T d, x> = <d, h> holds draw by draw, and |W^T d| = |d| for orthogonal W."""
    rng = np.random.default_rng(10)
    x, d, h = rng.standard_normal((3, 6, 5))
    h *= (np.linalg.norm(x, axis=1) / np.linalg.norm(h, axis=1))[:, None]
    radius, size = np.linalg.norm(x, axis=1), np.linalg.norm(d, axis=1)
    along = np.einsum("ij,ij->i", d, h) / (size * radius)
    normals, unit_x = rng.standard_normal((6, 5)), x / radius[:, None]
    overlap, squares = np.einsum("ij,ij->i", normals, unit_x), np.einsum("ij,ij->i", normals, normals)
    coefficient, share = laws.Haar(5).transposed(along, overlap, squares)
    e = (normals + coefficient[:, None] * unit_x) * (size * share)[:, None]
    np.testing.assert_allclose(np.einsum("ij,ij->i", e, x), np.einsum("ij,ij->i", d, h), rtol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(e, axis=1), size, rtol=1e-12)


# One layer, exact laws


@pytest.mark.parametrize("weights", ["haar", "gaussian"])
def test_variance_of_relu_lengths(weights):
    """GPN ReLU: E q_1 = 1; Var q_1 = 3/(n+2) for Haar weights, 5/n for Gaussian ones; 5.2 standard errors."""
    n, trials = 10, 200_000
    q = one_step(GPN_RELU, n, trials, np.random.default_rng(11), weights=weights).forward
    exact = 3 / (n + 2) if weights == "haar" else 5 / n
    squares = (q - 1.0) ** 2
    assert abs(q.mean() - 1.0) < 5.2 * np.sqrt(exact / trials)
    assert abs(squares.mean() - exact) < 5.2 * squares.std() / np.sqrt(trials)


@pytest.mark.parametrize("width", [2, 5, 16])
def test_exact_law_of_relu_lengths(width):
    """q_1 = 2 Beta(k/2, (n-k)/2) with k ~ Bin(n, 1/2) positive coordinates; false alarm 1e-6."""

    def cdf(q):
        chances = stats.binom(width, 0.5).pmf(np.arange(width + 1))
        inner = sum(p * stats.beta(k / 2, (width - k) / 2).cdf(q / 2) for k, p in enumerate(chances) if 0 < k < width)
        return inner + chances[0] * (q >= 0.0) + chances[-1] * (q >= 2.0)

    q = one_step(GPN_RELU, width, 100_000, np.random.default_rng(12)).forward
    inside = q[(q > 1e-12) & (q < 2.0 - 1e-12)]  # the law has atoms at 0 and 2, tested apart
    low, high = cdf(1e-12), 2.0**-width
    assert stats.kstest(inside, lambda x: (cdf(x) - low) / (1 - low - high)).pvalue > FALSE_ALARM / 3
    for count in ((q <= 1e-12).sum(), (q >= 2.0 - 1e-12).sum()):
        assert stats.binomtest(int(count), len(q), high).pvalue > FALSE_ALARM / 3


@pytest.mark.parametrize(
    ("width", "moments"),
    [
        (16, (1.02365907997594, 0.04129032988, 0.97119214555573, 0.08005928088)),
        (64, (1.00580176779334, 0.01029810366, 0.992971528051574, 0.02200773756)),
    ],
)
def test_exact_moments_of_tanh(width, moments):
    """Mean and variance of q_1 and of the backward ratio by quadrature on the sphere; 5.2 standard errors."""
    step = one_step(GPN_TANH, width, 100_000, np.random.default_rng([13, width]))
    mean, variance, slope_mean, slope_variance = moments
    for values, m, v in (
        (step.forward, mean, variance),
        (step.backward_random, slope_mean, slope_variance),
    ):
        squares = (values - m) ** 2
        assert abs(values.mean() - m) < 5.2 * np.sqrt(v / len(values))
        assert abs(squares.mean() - v) < 5.2 * squares.std() / np.sqrt(len(values))
    fixed = step.backward_fixed
    assert abs(fixed.mean() - slope_mean) < 5.2 * fixed.std() / np.sqrt(len(fixed))


def test_one_step_is_the_first_layer_and_the_top_layer_of_a_network():
    """q_1 and, under a random readout, |d_L|^2 of a network of depth one have the laws of one_step."""
    rng = np.random.default_rng(14)
    step = one_step(BENT, 6, 10_000, rng, q=1.7)
    x0 = np.full(6, np.sqrt(1.7))
    deep = sample(BENT, 6, 1, 10_000, rng, inputs=x0)
    assert stats.ks_2samp(step.forward, deep.squared_lengths[:, 1]).pvalue > FALSE_ALARM / 2
    assert stats.ks_2samp(step.backward_random, deep.backward_norms[:, 0] ** 2).pvalue > FALSE_ALARM / 2


def test_relu_layers_die_with_the_exact_probability():
    """All n preactivations negative: 2^-n in each layer that is reached; a dead network has no gradient."""
    result = sample(GPN_RELU, 2, 2, 20_000, np.random.default_rng(15))
    dead = (result.squared_lengths == 0.0).sum(axis=0)
    assert stats.binomtest(int(dead[1]), 20_000, 0.25).pvalue > FALSE_ALARM
    assert stats.binomtest(int(dead[2]), 20_000, 1 - 0.75**2).pvalue > FALSE_ALARM
    gone = result.squared_lengths[:, 2] == 0.0
    assert (result.gradient_norms[gone] == 0.0).all()
    assert (result.log_gradient_norms[gone] == -np.inf).all()
    assert (result.gradient_norms[~gone] > 0.0).any()


# Deterministic properties


@pytest.mark.parametrize("width", [1, 2, 3, 10, 200])
@pytest.mark.parametrize("readout", ["random", "aligned"])
def test_an_orthogonal_linear_network_is_an_isometry(width, readout):
    """At n = 2 a random direction is nearly parallel to x once in a while, and rounding shows: 1e-7 there."""
    result = sample(Linear(), width, 30, 40, np.random.default_rng(16), readout=readout)
    np.testing.assert_allclose(result.squared_lengths, 1.0, rtol=1e-12)
    tolerance = 1e-7 if width == 2 else 1e-11
    np.testing.assert_allclose(result.backward_norms, result.backward_norms[:, -1:].repeat(30, 1), rtol=tolerance)


def test_gradient_norms_are_products_of_the_other_norms():
    result = sample(GPN_TANH, 12, 6, 20, np.random.default_rng(17))
    below = np.sqrt(12 * result.squared_lengths[:, :-1])
    np.testing.assert_allclose(result.gradient_norms, result.backward_norms * below, rtol=1e-13)
    np.testing.assert_allclose(np.exp(result.log_gradient_norms), result.gradient_norms, rtol=1e-14)
    np.testing.assert_allclose(result.signal_norms**2 / 12, result.squared_lengths[:, 1:], rtol=1e-14)
    np.testing.assert_array_equal(result.batch_gradient_norms, result.gradient_norms)


def test_a_generator_gives_the_same_numbers_again():
    first, second = (sample(GPN_TANH, 50, 4, 2000, np.random.default_rng(18)) for _ in range(2))
    np.testing.assert_array_equal(first.gradient_norms, second.gradient_norms)
    block = block_trials(50, 4)
    assert block < 2000
    start = sample(GPN_TANH, 50, 4, block, np.random.default_rng(18))
    np.testing.assert_array_equal(start.gradient_norms, first.gradient_norms[:block])


def test_an_activation_may_offer_its_value_alone():
    class WithValue(Tanh):
        def value(self, x):
            return np.tanh(x)

    plain, quick = (sample(phi, 20, 3, 50, np.random.default_rng(19)) for phi in (Tanh(), WithValue()))
    np.testing.assert_array_equal(plain.gradient_norms, quick.gradient_norms)


@pytest.mark.parametrize(("width", "depth"), [(1, 1), (100, 50), (10**6, 200), (10, 10**6)])
def test_blocks_are_bounded(width, depth):
    block = block_trials(width, depth)
    assert block >= 1
    assert block == 1 or (block * width <= 2**16 and block * width * depth <= 2**25)


def test_each_trial_may_have_its_own_input():
    """A linear orthogonal network keeps each length."""
    x = np.random.default_rng(21).standard_normal((2500, 7))
    assert block_trials(30, 2) < 2500
    result = sample(Linear(), 30, 2, 2500, np.random.default_rng(22), inputs=x)
    expected = (x**2).sum(axis=1, keepdims=True) / 30
    np.testing.assert_allclose(result.squared_lengths, np.tile(expected, 3), rtol=1e-13)


# The limits of float64


def test_gradients_beyond_the_range_of_float64():
    """Linear with gain 10^2 backward only: |d_1| = 1e600; the norm is inf, its logarithm exact."""

    class Steep:
        def value_and_slope(self, x):
            return x.copy(), np.full_like(x, 100.0)

    result = sample(Steep(), 20, 300, 5, np.random.default_rng(23))
    assert np.isinf(result.gradient_norms[:, 0]).all()
    assert not result.overflowed.any()
    expected = np.log(100.0) * np.arange(300, 0, -1) + np.log(np.sqrt(20.0))
    np.testing.assert_allclose(result.log_gradient_norms, np.tile(expected, (5, 1)), rtol=1e-12)


def test_gradients_below_the_range_of_float64():
    class Flat:
        def value_and_slope(self, x):
            return x.copy(), np.full_like(x, 0.01)

    result = sample(Flat(), 20, 300, 5, np.random.default_rng(24))
    assert (result.gradient_norms[:, 0] == 0.0).all()
    expected = np.log(0.01) * 300 + np.log(np.sqrt(20.0))
    np.testing.assert_allclose(result.log_gradient_norms[:, 0], expected, rtol=1e-12)


@pytest.mark.parametrize("weights", ["haar", "gaussian"])
def test_an_overflowing_signal_is_reported(weights):
    result = sample(Linear(1e4), 8, 100, 5, np.random.default_rng(25), weights=weights)
    assert result.overflowed.all()
    assert repr(result) == "Sample(trials=5, depth=100, overflowed=5)"
    assert np.isfinite(result.signal_norms[:, 50]).all()
    assert not np.isfinite(result.signal_norms[:, 90:]).any()
    assert np.isnan(result.gradient_norms).all()


@pytest.mark.parametrize("name", sorted(catalog.names()))
def test_deep_networks_of_every_catalog_activation_are_honest(name):
    """Whatever explodes or dies over 60 layers: no warning, and nan only in trials that are told."""
    result = sample(catalog.build(name), 6, 60, 30, np.random.default_rng(28))
    np.testing.assert_array_equal(np.isnan(result.gradient_norms).any(axis=1), result.overflowed)
    finite = ~result.overflowed
    assert not np.isnan(result.squared_lengths[finite]).any()
    assert (result.gradient_norms[finite] >= 0.0).all()


def test_a_signal_that_underflows_becomes_zero():
    result = sample(Linear(1e-4), 8, 100, 5, np.random.default_rng(26))
    np.testing.assert_allclose(result.signal_norms[:, 49], np.sqrt(8) * 1e-200, rtol=1e-10)
    assert (result.squared_lengths[:, 80:] == 0.0).all()
    assert np.isfinite(result.gradient_norms).all()


@pytest.mark.parametrize("readout", ["random", "aligned"])
@pytest.mark.parametrize("weights", ["haar", "he"])
def test_the_zero_input(weights, readout):
    """A linear network: no signal, so no gradient for a weight, but |d_l| goes through."""
    result = sample(Linear(), 4, 3, 10, np.random.default_rng(27), weights=weights, inputs=np.zeros(4), readout=readout)
    assert (result.squared_lengths == 0.0).all()
    assert (result.gradient_norms == 0.0).all()
    if weights == "haar" and readout == "random":
        np.testing.assert_allclose(result.backward_norms, 1.0, rtol=1e-12)


def test_misuse_is_an_error():
    rng = np.random.default_rng(0)
    for changes, message in [
        ({"width": 0}, "width must be"),
        ({"depth": 1.5}, "depth must be"),
        ({"trials": -3}, "trials must be"),
        ({"rng": 5}, "numpy.random.default_rng"),
        ({"activation": np.tanh}, "gpn.activation"),
        ({"weights": "he_uniform"}, "method='dense'"),
        ({"inputs": np.ones(5)}, "at least 5"),
        ({"inputs": np.ones((3, 4))}, r"\(2, m\)"),
        ({"inputs": [np.nan, 1.0]}, "not finite"),
        ({"readout": "up"}, "'random', 'aligned', 'loss'"),
        ({"readout": np.ones(3)}, r"shape \(4,\)"),
        ({"readout": np.zeros(4)}, "zero"),
        ({"readout": "loss"}, "needs labels"),
        ({"readout": "loss", "labels": [0, 3], "classes": 3}, "allowed are 0 to 2"),
        ({"readout": "loss", "labels": [0, 0], "classes": 1}, "classes must be"),
        ({"labels": [0, 1]}, "readout='loss'"),
    ]:
        arguments = {"activation": Tanh(), "width": 4, "depth": 2, "trials": 2, "rng": rng} | changes
        with pytest.raises(UsageError, match=message):
            sample(**arguments)
    with pytest.raises(UsageError, match=r"\bq\b"):
        one_step(Tanh(), 4, 2, rng, q=-1.0)


# The machinery


@pytest.mark.parametrize("width", [8, 300, 30_000, 300_000])
def test_a_block_of_trials_does_not_see_the_others(width):
    """With tiles, rows and row products: trials in one call of `row_dots` have the bits they have alone."""
    rows = np.random.default_rng(29).standard_normal((3, width))
    together = row_dots(rows, rows[::-1])
    alone = [row_dots(rows[i : i + 1], rows[::-1][i : i + 1])[0] for i in range(3)]
    np.testing.assert_array_equal(together, alone)
    exact = [math.fsum(a * b) for a, b in zip(rows, rows[::-1], strict=True)]
    np.testing.assert_allclose(together, exact, atol=1e-13 * width)


def test_the_number_of_blas_threads_changes_no_bit():
    """OpenBLAS splits long vectors among its threads; the blocks of `row_dots` are too short for that."""
    code = (
        "import numpy as np; from gpn import simulate; import hashlib; "
        "r = simulate('tanh', 60_000, 2, 2, seed=0); print(hashlib.sha256(r.gradient_norms.tobytes()).hexdigest())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2", "4")
    ]
    assert len(set(runs)) == 1
    assert len(runs[0].strip()) == 64


def test_numpy_is_left_as_it_was():
    """The size of NumPy's buffers and its error handling, also after an error and while another thread samples."""

    class Failing:
        def __init__(self):
            self.sizes, self.left = [], 3

        def value_and_slope(self, x):
            self.sizes.append(np.getbufsize())
            self.left -= 1
            if self.left < 0:
                raise KeyError("on purpose")
            other = threading.Thread(target=lambda: self.sizes.append(-np.getbufsize()))
            other.start()
            other.join()
            return x.copy(), np.ones_like(x)

    before, errors = np.getbufsize(), np.geterr()
    phi = Failing()
    with pytest.raises(KeyError):
        sample(phi, 1000, 9, 5, np.random.default_rng(30))
    assert np.getbufsize() == before
    assert np.geterr() == errors
    assert set(phi.sizes) == {before, -before}  # in this thread, in another
