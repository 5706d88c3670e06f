"""Importance sampling of rare one-step events: unbiased, and in agreement with exact laws and with counting.

Every random test compares a mean of independent unbiased estimates with a known number, within five standard errors:
a false alarm has probability below 6e-7 each, so below 3e-5 for the whole file.
"""

import numpy as np
import pytest
from scipy import stats

from gpn.sampling import sampler
from gpn.sampling.rare_events import TailEvent, Tilt, _TiltedLaw, importance_sample, log_largest_estimate
from gpn.statistics.evidence import Weighted
from gpn.verification.questions import Event as Key
from gpn.verification.questions import rare_tilt
from theory.activations.specification import activation
from theory.claims.counted import ONE_LAYER
from theory.errors import UsageError
from theory.layer.law import layer_law
from theory.layer.tails import one_step
from theory.normalization import normalize as normalize_module


def normalized(name, root="auto"):
    return normalize_module.normalize(activation(name), root)


def estimates(phi, claim, width, epsilon, side, *, tilt=None, draws=4000, seed=0):
    tilt = tilt or rare_tilt(layer_law(phi, width), Key(claim, width, 1, epsilon, side))
    logs = importance_sample(phi, TailEvent(claim, width, epsilon, side), tilt, draws, np.random.default_rng(seed))
    return np.exp(logs)


def assert_mean(values, expected, error=0.0):
    deviation = values.std(ddof=1) / np.sqrt(len(values))
    assert abs(values.mean() - expected) <= 5 * deviation + error
    assert deviation < 0.2 * expected  # or the comparison would say little


@pytest.mark.parametrize("claim", ONE_LAYER)
@pytest.mark.parametrize("side", ["upper", "lower"])
@pytest.mark.parametrize(
    ("name", "width", "epsilon"), [("tanh", 200, 0.4), ("gelu", 400, 0.35), ("hard_tanh", 150, 0.2)]
)
def test_estimates_agree_with_the_exact_tail(name, width, epsilon, claim, side):
    """Down to 1e-40; the slope of hard_tanh jumps."""
    phi = normalized(name)
    exact = one_step(claim, layer_law(phi, width), epsilon, side).exact
    assert_mean(estimates(phi, claim, width, epsilon, side), exact.probability, exact.probability * exact.error)


@pytest.mark.parametrize(("side", "epsilon"), [("upper", 0.4), ("lower", 0.5)])
def test_estimates_agree_with_the_beta_mixture_of_relu(side, epsilon):
    """q_1 = 2 Beta(k/2, (n-k)/2), k ~ Bin(n, 1/2)."""
    n, k = 300, np.arange(1, 300)
    law = stats.beta(k / 2, (n - k) / 2)
    tail = law.sf((1 + epsilon) / 2) if side == "upper" else law.cdf((1 - epsilon) / 2)
    expected = float(stats.binom.pmf(k, n, 0.5) @ tail)
    assert_mean(estimates(normalized("relu"), "forward-one-step", n, epsilon, side), expected)


@pytest.mark.parametrize("claim", ONE_LAYER)
def test_estimates_agree_with_counting_where_both_see_the_event(claim):
    phi, width, epsilon = normalized("tanh"), 24, 0.3
    ratios = sampler.one_step(phi, width, 100_000, np.random.default_rng(1))
    column = {"forward-one-step": ratios.forward, "backward-one-step-random": ratios.backward_random}
    hits = column.get(claim, ratios.backward_fixed) >= 1 + epsilon
    values = estimates(phi, claim, width, epsilon, "upper", draws=20_000)
    deviation = np.hypot(hits.std() / np.sqrt(len(hits)), values.std() / np.sqrt(len(values)))
    assert abs(hits.mean() - values.mean()) <= 5 * deviation


def test_any_tilt_is_unbiased():
    """At a narrow width, half the tilt and a wrong radial exponent only cost variance."""
    phi = normalized("silu")
    best = rare_tilt(layer_law(phi, 16), Key("forward-one-step", 16, 1, 0.4, "upper"))
    exact = one_step("forward-one-step", layer_law(phi, 16), 0.4, "upper").exact.probability
    for tilt in (best, Tilt(0.5 * best.exponent, 0.8 * best.radial), Tilt(0.0, 0.0)):
        assert_mean(estimates(phi, "forward-one-step", 16, 0.4, "upper", tilt=tilt, draws=20_000), exact)


def test_underflowing_probabilities_keep_their_logarithms():
    phi = normalized("tanh")
    tilt = rare_tilt(layer_law(phi, 20_000), Key("backward-one-step-fixed", 20_000, 1, 0.2, "lower"))
    event = TailEvent("backward-one-step-fixed", 20_000, 0.2, "lower")
    logs = importance_sample(phi, event, tilt, 300, np.random.default_rng(2))
    exact = one_step("backward-one-step-fixed", layer_law(phi, 20_000), 0.2, "lower").exact.log
    assert exact < -800
    log_largest = log_largest_estimate(phi, event, tilt)
    assert logs.max() <= log_largest
    lower, upper = Weighted(logs - exact, log_largest - exact).limits(1e-6)  # in units of the probability
    assert lower <= 1 <= upper


def test_bits_depend_on_the_generator_alone():
    first, second = (estimates(normalized("tanh"), ONE_LAYER[1], 50, 0.5, "upper", draws=50) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("event", "tilt", "message"),
    [
        (TailEvent("sideways", 8, 0.5, "upper"), Tilt(0, 0), "claim"),
        (TailEvent(ONE_LAYER[0], 8, 0.5, "left"), Tilt(0, 0), "side"),
        (TailEvent(ONE_LAYER[0], 1, 0.5, "upper"), Tilt(0, 0), "width"),
        (TailEvent(ONE_LAYER[1], 8, 0.5, "upper"), Tilt(100.0, 0), "no law"),
    ],
)
def test_misuse_is_a_usage_error(event, tilt, message):
    with pytest.raises(UsageError, match=message):
        importance_sample(normalized("tanh"), event, tilt, 5, np.random.default_rng(0))


def mean_is(shares):
    return Weighted(np.log(np.maximum(shares, 1e-300)), 0.0)


@pytest.mark.parametrize(("draws", "mean"), [(50, 0.02), (200, 0.1), (400, 0.5), (1000, 0.003)])
@pytest.mark.parametrize("alpha", [0.05, 1e-3])
def test_limits_by_betting_cover_exactly(draws, mean, alpha):
    """Shares 0 and 1: the probability that a limit is wrong, by summing the binomial law."""
    counts = np.arange(draws + 1)
    pmf = stats.binom.pmf(counts, draws, mean)
    likely = counts[pmf > 1e-12]
    limits = [mean_is((np.arange(draws) < k).astype(float)).limits(alpha) for k in likely]
    lower, upper = np.array(limits).T
    assert pmf[likely][lower > mean].sum() <= alpha
    assert pmf[likely][upper < mean].sum() <= alpha
    assert (lower <= likely / draws + 1e-12).all()
    assert (upper >= likely / draws - 1e-12).all()
    if draws * mean > 20:
        assert pmf[likely][lower > mean / 2].sum() > 0.5 or alpha < 0.01  # and they are not idle
    assert len(likely) > 3


@pytest.mark.parametrize(("runs", "alpha"), [(300, 0.05), pytest.param(4000, 0.01, marks=pytest.mark.slow)])
def test_limits_of_weights_at_the_saddle_cover(runs, alpha):
    """Shares exp(-c X) on X > 0 for a normal X, of which 6 % count: errors Bin(runs, alpha), false alarm below 1e-6."""
    rng, wrong = np.random.default_rng(4), np.zeros(2)
    truth = np.exp(0.5 * 6.0**2 + stats.norm.logcdf(-6.0))
    for _ in range(runs):
        x = rng.standard_normal(1000)
        lower, upper = mean_is(np.where(x >= 0, np.exp(-6 * np.abs(x)), 0.0)).limits(alpha)
        wrong += (lower > truth, upper < truth)
    assert (wrong <= stats.binom.isf(1e-6, runs, alpha)).all()


@pytest.mark.parametrize("top", [1.0, 1 + 5e-10])
def test_limits_of_rounded_shares_enclose_those_of_the_shares(top):
    """The limits by the formula as it stands, found by bisection; 12 bits cost less than one part in 2,000."""
    shares = np.append(np.random.default_rng(4).beta(0.3, 20, size=3000), top)

    def refuted(mean, side):
        bets = 2.0 ** np.arange(-7, 4 if side > 0 else 1)
        bets = bets[bets * mean < 1] if side > 0 else -bets
        products = np.log1p(bets[:, None] * (np.minimum(shares, 1) - mean)).sum(axis=1)
        return np.logaddexp.reduce(products) - np.log(11 if side > 0 else 8) >= np.log(1000)

    for side, limit in zip((1, -1), mean_is(shares).limits(1e-3), strict=True):
        refutable, possible = (0.0, shares.mean()) if side > 0 else (0.9, shares.mean())
        for _ in range(50):
            middle = 0.5 * (refutable + possible)
            refutable, possible = (middle, possible) if refuted(middle, side) else (refutable, middle)
        assert 0 <= side * (possible - limit) <= possible / 2000


def test_limits_that_forgot_the_largest_weight_would_miss():
    """A weight of 1 once in 2000 draws, else nothing: of 500 draws most see none, and the limit must know of it."""
    assert mean_is(np.zeros(500)).limits(0.01)[1] > 1 / 2000
    assert Weighted(np.full(500, -np.inf), -30.0).limits(0.01)[1] == pytest.approx(np.exp(-30.0) * 0.0128, rel=0.2)


def test_an_estimate_above_the_largest_one_refutes_it():
    lower, upper = Weighted(np.log(np.full(100, 0.2)), np.log(0.1)).limits(0.01)
    assert upper == 1.0
    assert lower <= 0.2


def test_estimates_that_are_not_numbers_are_refused():
    for logs in (np.array([]), np.array([np.nan]), np.array([np.inf])):
        with pytest.raises(UsageError, match="importance sampling"):
            Weighted(logs, 0.0)


@pytest.mark.parametrize("claim", ONE_LAYER)
@pytest.mark.parametrize("side", ["upper", "lower"])
@pytest.mark.parametrize(("name", "width", "epsilon"), [("tanh", 64, 0.4), ("hard_tanh", 150, 0.2), ("gelu", 100, 0.5)])
def test_no_estimate_exceeds_the_largest_one(name, width, epsilon, claim, side):
    """And the largest one is less than 300 times the probability, or few draws would say nothing."""
    phi, event = normalized(name), TailEvent(claim, width, epsilon, side)
    law = layer_law(phi, width)
    tilt = rare_tilt(law, Key(claim, width, 1, epsilon, side))
    logs = importance_sample(phi, event, tilt, 3000, np.random.default_rng(3))
    log_largest = log_largest_estimate(phi, event, tilt)
    assert logs.max() <= log_largest
    assert log_largest - one_step(claim, law, epsilon, side).exact.log < np.log(300)


def test_the_step_density_lies_above_the_tilted_law():
    """On a finer grid than its own, and its cells have the probabilities that it says."""
    phi = normalized("hard_tanh")
    tilt = rare_tilt(layer_law(phi, 150), Key(ONE_LAYER[2], 150, 1, 0.2, "upper"))
    law = _TiltedLaw(phi, TailEvent(ONE_LAYER[2], 150, 0.2, "upper"), tilt)
    x = np.random.default_rng(1).uniform(-law.end, law.end, 100_000)
    cell = np.searchsorted(law.edges, x, side="right") - 1
    log_total = (law.log_largest + law.log_volume) / 148 - 0.5 + tilt.radial
    assert (law.log_density[cell] >= law._log_weight(x) - log_total - 1e-9).all()
    masses = np.exp(law.log_density) * law.size
    assert masses.sum() == pytest.approx(1, abs=1e-12)
    drawn = law.keep + np.bincount(law.alias, 1 - law.keep, len(law.keep))
    np.testing.assert_allclose(drawn / len(drawn), masses, atol=1e-15, rtol=1e-9)


def test_an_impossible_event_is_refused():
    """|tanh'| is at most 1 and the mean of phi^2 at most a^2: neither reaches a mean square of 9."""
    for claim in ONE_LAYER:
        with pytest.raises(UsageError, match="impossible"):
            importance_sample(
                normalized("tanh"), TailEvent(claim, 20, 8.0, "upper"), Tilt(1e-3, 0), 5, np.random.default_rng(0)
            )
