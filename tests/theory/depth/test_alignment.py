"""The backward signal below the top layer, and the iterated length map: formulas against simulated networks."""

import numpy as np
import pytest

import gpn
from tests.oracles.finite_width import (
    alignment,
    alignment_coefficients,
    finite_width_lengths,
    inner_layer_mean,
)
from theory.activations.specification import activation
from theory.depth.alignment import conditional_growth
from theory.errors import UsageError
from theory.layer.pairs import squared_length_variance
from theory.layer.sphere import mean_squared_length, mean_squared_slope
from theory.normalization.normalize import normalize

NAMES = ("tanh", "selu", "gelu")


def test_recursion_written_out():
    found = alignment_coefficients(normalize(activation("gelu")))
    square, kappa = found.chi**2, found.kappa
    step = 1 + 2 * kappa - square
    values = alignment(found, 4).values
    assert values == pytest.approx(
        [square * (square * (square + step) + step) + step, square * (square + step) + step, square + step, 1.0]
    )
    far = alignment(found, 200)
    assert far.values[0] == pytest.approx(far.stationary, rel=1e-12)
    assert far.stationary == pytest.approx(1 + 2 * kappa / (1 - square))


def test_marginal_and_unstable_networks():
    relu = alignment(normalize(activation("relu")), 50)
    assert relu.stationary == 1.0
    np.testing.assert_allclose(relu.values, 1.0, atol=1e-12)
    assert abs(alignment(normalize(activation("gelu"), "plus"), 5).stationary) == np.inf


@pytest.fixture(scope="module")
def networks():
    """Squared lengths and backward growth factors of 40000 networks of width 32 and depth 6 for each activation."""
    found = {}
    for name in NAMES:
        run = gpn.simulate(normalize(activation(name)), 32, 6, 40_000, seed=11)
        backward = run.backward_norms**2
        found[name] = run.squared_lengths, backward[:, :-1] / backward[:, 1:]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_approximate_means_against_simulation(name, networks):
    """Within 5 standard errors (a false alarm has probability 6e-7 in each of 36 comparisons) and 2/n^2 beside."""
    phi = normalize(activation(name))
    lengths, factors = networks[name]
    expected = finite_width_lengths(phi, 32, 6)
    for sample, mean in ((lengths[:, 1:], expected.mean[1:]), (factors, inner_layer_mean(phi, 32, 6)[:-1])):
        error = sample.std(axis=0) / np.sqrt(len(sample))
        assert np.all(np.abs(sample.mean(axis=0) - mean) < 5 * error + 2 / 32**2)
    assert lengths.var(axis=0)[1:] == pytest.approx(expected.variance[1:], rel=0.2)


def test_the_corrections_are_needed(networks):
    """The plain iterated map and the plain S_n miss the simulated means by far: the test above can fail."""
    phi = normalize(activation("tanh"))
    lengths, factors = networks["tanh"]
    error = lengths[:, -1].std() / np.sqrt(len(lengths))
    assert abs(lengths[:, -1].mean() - finite_width_lengths(phi, 32, 6).iterated[-1]) > 9 * error
    error = factors[:, 0].std() / np.sqrt(len(factors))
    assert abs(factors[:, 0].mean() - mean_squared_slope(phi, 32).value) > 9 * error


def test_iterated_map_layer_by_layer():
    phi = normalize(activation("gelu"))
    found = finite_width_lengths(phi, 20, 40, 1.4)
    q = 1.4
    for layer in range(1, 41):
        q = mean_squared_length(phi, 20, q).value
        assert found.iterated[layer] == pytest.approx(q, rel=1e-12)
    assert found.variance[1] == squared_length_variance(phi, 20, 1.4).value
    assert found.correction[1] == 0.0
    relu = finite_width_lengths(normalize(activation("relu")), 20, 30)
    assert relu.mean == pytest.approx(np.ones(31), abs=1e-6)
    assert relu.variance[1:] == pytest.approx(np.arange(1, 31) * 3 / 22, rel=1e-3)  # to leading order in 1/n


def test_exact_growth_given_the_forward_pass():
    """Against 200000 uniform directions v: 5 standard errors, false alarm 6e-7 in each of 6 comparisons."""
    rng = np.random.default_rng(5)
    for name in ("tanh", "relu"):
        phi = activation(name)
        h = rng.standard_normal(7)
        x, slope = phi.value_and_slope(h)
        unit = x / np.linalg.norm(x)
        v = rng.standard_normal((200_000, 7))
        v -= np.outer(v @ unit, unit)
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        for alpha in (-0.6, 0.0, 1.0):
            sample = ((slope * (alpha * unit + np.sqrt(1 - alpha**2) * v)) ** 2).sum(axis=1)
            exact = float(conditional_growth(h, phi, alpha))
            assert abs(sample.mean() - exact) < 5 * sample.std() / np.sqrt(len(v)) + 1e-12


def test_growth_of_a_dead_layer_is_the_mean_slope():
    assert float(conditional_growth([-1.0, -2.0], activation("relu"), 0.3)) == 0.0


def test_misuse_is_refused():
    tanh = normalize(activation("tanh"))
    with pytest.raises(UsageError, match="normalized"):
        alignment(activation("tanh"), 3)
    with pytest.raises(UsageError, match="layer"):
        alignment(tanh, 0)
    with pytest.raises(UsageError, match="width"):
        inner_layer_mean(tanh, 1, 3)
    with pytest.raises(UsageError, match="cosine"):
        conditional_growth([1.0, 2.0], tanh, 1.2)
    with pytest.raises(UsageError, match="2 neurons"):
        conditional_growth([1.0], tanh, 0.2)
    with pytest.raises(UsageError, match="depth"):
        finite_width_lengths(tanh, 8, 0)
