"""The exact law of deep positively homogeneous networks, beside networks and beside another sampler of it."""

import numpy as np
import pytest
from scipy import stats

import gpn
from gpn.experiment.cells import Deep, spread
from gpn.sampling import passes
from gpn.verification.engine.homogeneous import HomogeneousPairs, exact_norms, squared_slopes
from gpn.verification.verify import verify
from tests.oracles.homogeneous_law import sample_homogeneous_ratios
from theory.activations.specification import activation
from theory.normalization.normalize import normalize

ALL_AGREE = 1e-6
"""Kolmogorov and Smirnov's p-value of a comparison of true laws is below it with this probability."""


def one_law(drawn, exact):
    """Whether two samples agree; ratios of networks that died count as large, and ratios of 1 have no rounding."""
    capped = [np.round(np.minimum(values, 1e30), 9) for values in (drawn, exact)]
    return stats.ks_2samp(*capped).pvalue > ALL_AGREE


@pytest.mark.parametrize("slopes", [(1.4, 0.0), (1.3, -0.5), (0.3, 1.0)])
@pytest.mark.parametrize("width", [2, 3, 8])
def test_the_law_is_that_of_dense_networks(slopes, width):
    """Dead networks, and layers with all neurons on one side, included."""
    rng, depth = np.random.default_rng(width), 4
    phi = activation(f"{slopes[0]}*relu(x) - {slopes[1]}*relu(-x)")
    networks = Deep(phi, width, depth, "haar", method="dense")
    sample = networks.sample(rng, 3000)
    law = exact_norms(width, depth, 100_000, squared_slopes(networks), rng)
    seen = [sample.signal_norms[:, -1], sample.backward_norms[:, 0], np.exp(spread(networks.log_gradients(sample)))]
    for drawn, name in zip(seen, ("forward", "backward", "both"), strict=True):
        assert not np.isnan(law[name]).any()
        assert one_law(drawn, law[name])


@pytest.mark.parametrize(("plus", "minus"), [(1.0, 0.0), (1.0, 0.2)])
def test_ratios_agree_with_the_chain_of_squared_cosines(plus, minus):
    rng = np.random.default_rng(5)
    exact = exact_norms(16, 12, 20_000, (plus**2, minus**2), rng)["both"]
    chain = spread(sample_homogeneous_ratios(plus, minus, 16, 12, 20_000, rng) / 2)
    assert one_law(exact, np.nan_to_num(np.exp(chain), nan=np.inf))  # nan: a network that died


def test_means_and_deaths_in_closed_form():
    """E |x_L|^2 = n ((S + s)/2)^L, E |d_1|^2 = ((S + s)/2)^L; ReLU dies in a layer with probability 2^-n."""
    rng, trials = np.random.default_rng(6), 200_000
    norms = exact_norms(12, 3, trials, (1.5, 0.5), rng)
    for values, mean in ((norms["forward"] ** 2 / 12, 1.0), (norms["backward"] ** 2, 1.0)):
        assert abs(values.mean() - mean) < 5 * values.std() / np.sqrt(trials)
    died = (exact_norms(3, 4, trials, (2.0, 0.0), rng)["backward"] == 0).mean()
    expected = 1 - (1 - 1 / 8) ** 4
    assert abs(died - expected) < 5 * np.sqrt(expected / trials)


def test_only_homogeneous_activations_that_are_no_isometries_have_the_law():
    found = {
        name: squared_slopes(Deep(activation(name), 8, 2, "haar")) for name in ("relu", "abs", "x", "tanh", "3*relu(x)")
    }
    assert found == {"relu": (1.0, 0.0), "abs": None, "x": None, "tanh": None, "3*relu(x)": (9.0, 0.0)}
    claims = {
        (name, weights): {row.claim for row in verify(name, 16, 3, 1.0, 20, claims="engine", weights=weights).engine}
        for name, weights in (("relu", "haar"), ("relu", "gaussian"), ("abs", "haar"))
    }
    assert [key for key, present in claims.items() if "engine-homogeneous" in present] == [("relu", "haar")]


def heads(networks, squares, trials=400):
    """Coins of each number, with how far the share of heads lies from 1/2 in standard deviations."""
    found = HomogeneousPairs(networks, squares)(np.random.default_rng(7), trials)
    return {name: abs(np.nanmean(coins) - 0.5) * 2 * np.sqrt(np.isfinite(coins).sum()) for name, coins in found.items()}


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("relu", "matrix-free"),
        ("leaky_relu(0.2)", "matrix-free"),
        ("leaky_relu(0.2)", "dense"),
        pytest.param("relu", "dense", marks=pytest.mark.slow),
    ],
)
def test_coins_are_fair_and_see_what_a_deep_network_adds_up(name, method):
    """A slope 3 % off in every layer is far off after 40 of them. Five standard deviations: false alarm below 1e-5."""
    networks = Deep(normalize(activation(name)), 12, 40, "haar", method=method)
    squares = squared_slopes(networks)
    assert max(heads(networks, squares).values()) < 5
    wrong = heads(networks, (1.06 * squares[0], 1.06 * squares[1]))
    assert wrong["law forward"] > 5
    assert wrong["law backward"] > 5
    assert heads(networks, (squares[0], squares[1] + 0.3))["law both"] > 5


def test_signs_that_are_slightly_biased_are_seen_by_these_rows_alone(monkeypatch):
    """Of 50 negative preactivations one is turned: too little for a layer, and 200 layers add it up."""
    honest = passes.draw_normals

    def biased(law, radius, h, rng):
        scale = honest(law, radius, h, rng)
        h[(h < 0) & (rng.random(h.shape) < 0.02)] *= -1
        return scale

    monkeypatch.setattr(passes, "draw_normals", biased)
    monkeypatch.setattr(passes.StoredLayers, "generator_for_redraw", lambda *_: None)
    report = gpn.verify("relu", 64, 200, 1.0, 20, claims="engine", workers=1)
    wrong = {row.claim for row in report.engine if str(row.verdict) == "violated"}
    assert "engine-homogeneous" in wrong
    assert wrong <= {"engine-homogeneous", "engine-preactivation"}
    assert "exact law" in report.engine_finding


def test_the_rows_of_a_run():
    report = gpn.verify("relu", 64, 200, 1.0, 20, claims="engine")
    rows = [row for row in report.engine if row.claim == "engine-homogeneous"]
    assert [(row.side, row.width, row.depth, row.bound) for row in rows] == [
        (side, 64, 200, 0.5) for side in ("forward", "backward", "both")
    ]
    assert {str(row.verdict) for row in report.engine} == {"holds"}
