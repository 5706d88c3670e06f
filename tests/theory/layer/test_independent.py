"""Sums over normal pre-activations against chi-squared and binomial laws; coordinates of W x against an integral."""

from itertools import pairwise, product

import numpy as np
import pytest
from scipy import integrate, stats

import gpn
from gpn.statistics.limits import Verdict
from theory.activations.specification import activation
from theory.claims.counted import NORMAL, ONE_LAYER, SIDES, CountedClaim
from theory.layer.independent import LEAST_WIDTH, coordinate_count, densest_shell, distance_to_normal
from theory.layer.law import gaussian_law
from theory.layer.tails import one_step
from theory.normalization.lipschitz import missing_hypotheses
from theory.normalization.normalize import normalize

FORWARD, BACKWARD = NORMAL


def tail(claim, spec, width, epsilon, side):
    return one_step(claim, gaussian_law(normalize(activation(spec)), width), epsilon, side)


def relu_forward(width, epsilon, side):
    """2 sum of z_i^2 over positive z_i: a binomial mixture of chi-squared laws."""
    k = np.arange(width + 1)
    at = width * (1 + epsilon if side == "upper" else 1 - epsilon) / 2
    inside = (stats.chi2.sf if side == "upper" else stats.chi2.cdf)(at, np.maximum(k, 1))
    inside[0] = side == "lower"
    return float(stats.binom.pmf(k, width, 0.5) @ inside)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("epsilon", [0.1, 0.5])
@pytest.mark.parametrize("width", [LEAST_WIDTH, 100, 2000])
def test_the_exact_tail_is_a_chi_squared_law(width, epsilon, side):
    found = one_step(FORWARD, gaussian_law(activation("identity"), width), epsilon, side).exact
    at = width * (1 + epsilon if side == "upper" else 1 - epsilon)
    expected = (stats.chi2.logsf if side == "upper" else stats.chi2.logcdf)(at, width)
    assert found.log == pytest.approx(expected, rel=1e-11, abs=1e-11 + found.error)
    assert found.error < (1e-10 if width >= 100 else 1e-6)  # where few coordinates leave more at the rim


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("width", [32, 100, 1001])
def test_relu_is_a_mixture(width, side):
    """The mass at 0 of a coordinate leaves an error that is estimated, and is no larger than that."""
    found = tail(FORWARD, "relu", width, 0.2, side).exact
    assert found.error < 1e-4
    assert found.log == pytest.approx(np.log(relu_forward(width, 0.2, side)), abs=found.error + 1e-13 * width)


@pytest.mark.parametrize("width", [1, 2, 3, 8, 64, 512, 1000])
@pytest.mark.parametrize(("claim", "side"), [(FORWARD, "lower"), (BACKWARD, "lower"), (BACKWARD, "upper")])
def test_at_the_edge_the_bound_of_relu_is_the_probability(claim, side, width):
    """All of n signs are alike: 2^-n. Of the others no coordinate is 0, but with probability 0."""
    found = tail(claim, "relu", width, 1.0, side)
    assert found.exact.log == pytest.approx(-width * np.log(2), rel=1e-12)
    assert found.cramer.log == pytest.approx(found.exact.log, rel=1e-12)
    for name in ("identity", "abs", "leaky_relu"):
        assert tail(FORWARD, name, width, 1.0, "lower").exact.log == -np.inf


@pytest.mark.parametrize("width", [LEAST_WIDTH, 100, 1001])
def test_a_random_direction_weights_the_slopes_of_relu(width):
    """Of k active neurons the share of a random direction is Beta(k/2, (n - k)/2), on the sphere and off it."""
    found = tail(CountedClaim.BACKWARD_RANDOM, "relu", width, 0.3, "upper")
    k = np.arange(1, width)
    inside = np.append(stats.beta.sf(0.65, k / 2, (width - k) / 2), 1.0)
    expected = np.log(stats.binom.pmf(np.append(k, width), width, 0.5) @ inside)
    assert found.exact.log == pytest.approx(expected, abs=1e-8)
    assert found.exact.error < 1e-9
    assert found.cramer.log > expected
    assert found.levy.kind == "none"


@pytest.mark.parametrize("claim", ONE_LAYER)
@pytest.mark.parametrize(("spec", "variance"), [("tanh", 1.0), ("gelu", 2.0)])
def test_gaussian_weights_have_the_law_of_independent_pre_activations(claim, spec, variance):
    """100,000 draws of 24 neurons; with 8 limits of 5 standard deviations a false alarm has probability 5e-6."""
    phi, n, draws = normalize(activation(spec)), 24, 100_000
    law, rng = gaussian_law(phi, n, variance), np.random.default_rng(31)
    value, slope = phi.value_and_slope(np.sqrt(variance) * rng.standard_normal((draws, n)))
    u = np.ones(n) if claim == CountedClaim.BACKWARD_FIXED else rng.standard_normal((draws, n))
    ratio = np.mean(value**2, 1) if claim == CountedClaim.FORWARD else np.sum((slope * u) ** 2, 1) / np.sum(u * u, -1)
    for side, epsilon in product(SIDES, (0.3, 0.5)):
        found = one_step(claim, law, epsilon, side)
        p = found.exact.probability
        seen = np.mean(ratio >= 1 + epsilon) if side == "upper" else np.mean(ratio <= 1 - epsilon)
        assert seen == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / draws))
        assert p <= found.cramer.probability <= found.levy.probability


@pytest.mark.parametrize("width", [3, 64, 101])
def test_the_slopes_of_relu_are_coins(width):
    """The event is closed: at ε = 0.5 and width 64 exactly 48 coins of 64 belong to it."""
    upper, lower = (tail(BACKWARD, "relu", width, 0.5, side).exact.probability for side in SIDES)
    assert upper == pytest.approx(stats.binom.sf(np.ceil(0.75 * width) - 1, width, 0.5), rel=1e-10)
    assert lower == pytest.approx(stats.binom.cdf(np.floor(0.25 * width), width, 0.5), rel=1e-10)


@pytest.mark.parametrize("claim", NORMAL)
@pytest.mark.parametrize("spec", ["tanh", "selu", "gelu"])
def test_bounds_lie_above_the_exact_tail(claim, spec):
    law = gaussian_law(normalize(activation(spec)), 200)
    for side in SIDES:
        for epsilon in (0.1, 0.4):
            found = one_step(claim, law, epsilon, side)
            assert found.exact.log < found.cramer.log <= 0
            assert found.levy.kind == "none" or found.cramer.log < found.levy.log <= 0


def test_the_bound_of_the_identity_is_its_formula():
    """Chernoff's bound of chi-squared is (1 + ε)^(n/2) e^(-n ε/2), the other one e^(-n (sqrt(1 + ε) - 1)^2/2)."""
    found = one_step(FORWARD, gaussian_law(activation("identity"), 100), 0.44, "upper")
    assert found.cramer.log == pytest.approx(50 * np.log(1.44) - 22, rel=1e-9)
    assert found.levy.log == pytest.approx(-50 * 0.2**2, rel=1e-9)


def test_an_event_out_of_reach_is_impossible():
    found = one_step(BACKWARD, gaussian_law(activation("identity"), 100), 0.1, "upper")
    assert found.exact.log == found.cramer.log == -np.inf
    assert "width" in tail(FORWARD, "tanh", LEAST_WIDTH - 1, 0.1, "upper").exact.reason


@pytest.mark.parametrize(("width", "count"), [(5, 1), (64, 7), (1000, 2), (1000, 900)])
def test_the_distance_lies_below_the_bound(width, count):
    exact, bound = distance_to_normal(width, count)
    assert 0 < exact < bound


@pytest.mark.parametrize(("width", "count"), [(10, 1), (10, 4), (64, 7), (300, 2)])
def test_the_distance_is_the_integral_of_the_densities(width, count):
    """Half the integral of the distance of the densities of the squared length."""

    def apart(s):
        on_sphere = stats.beta.pdf(s / width, count / 2, (width - count) / 2) / width
        return abs(on_sphere - stats.chi2.pdf(s, count))

    ends = [0.0, *densest_shell(width, count), float(width)]
    parts = [integrate.quad(apart, low, high, epsabs=1e-12)[0] for low, high in pairwise(ends)]
    beyond = stats.chi2.sf(width, count)
    assert distance_to_normal(width, count)[0] == pytest.approx((sum(parts) + beyond) / 2, abs=1e-9)


def test_a_share_of_the_coordinates():
    assert coordinate_count(64, 0.1) == 7
    assert coordinate_count(10, 0.6) == 6
    assert coordinate_count(10, 0.7) is None


def test_hypotheses_of_the_paper():
    assert missing_hypotheses(activation("tanh")) == ()
    assert missing_hypotheses(activation("relu")) == ("phi' is not Lipschitz",)
    assert missing_hypotheses(activation("x**2")) == ("phi is not Lipschitz",)
    report = gpn.verify("relu", widths=64, depth=3, epsilons=0.3, trials=100, claims="lemmas")
    assert any("outside the paper's theorems" in note for note in report.notes)


def test_verify_counts_what_theory_gives():
    """With 20,000 draws of each event at level 0.999; a false alarm has probability 0.001."""
    report = gpn.verify("tanh", widths=(64, 200), epsilons=(0.1, 0.2), trials=20_000, claims="lemmas", level=0.999)
    assert {row.claim for row in report.rows} == {*NORMAL, CountedClaim.COORDINATES}
    assert Verdict.VIOLATED not in report.verdicts.values()
    exact = [row for row in report.rows if row.kind.role == "exact"]
    assert all(row.lower <= row.prediction <= row.upper for row in exact)
    likely = [row for row in exact if row.prediction > 0.02]
    assert {row.claim for row in likely} == {*NORMAL, CountedClaim.COORDINATES}
    assert all(row.verdict is Verdict.HOLDS for row in likely)


def test_a_wrong_sampler_is_caught(monkeypatch):
    """Norms that are 4 % too large, and coordinates of N(0, I) itself: each is many standard deviations away."""
    from gpn.experiment import cells

    real = cells.NormalLayer._block

    def larger(self, rng, trials):
        found = {name: values * 1.04 for name, values in real(self, rng, trials).items()}
        return found | {cells.coordinates(k): rng.chisquare(k, trials) for k in self.counts}

    monkeypatch.setattr(cells.NormalLayer, "_block", larger)
    report = gpn.verify("tanh", widths=200, epsilons=0.1, trials=20_000, claims="lemmas")
    violated = {row.claim for row in report.rows if row.verdict is Verdict.VIOLATED}
    assert violated == {*NORMAL, CountedClaim.COORDINATES}
