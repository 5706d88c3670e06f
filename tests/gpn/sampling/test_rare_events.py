"""Importance sampling of rare one-step events: unbiased, and in agreement with exact laws and with counting.

Every random test compares a mean of independent unbiased estimates with a known number, within five standard errors:
a false alarm has probability below 6e-7 each, so below 3e-5 for the whole file.
"""

import numpy as np
import pytest
from scipy import special, stats

from gpn.sampling import sampler
from gpn.sampling.rare_events import TailEvent, Tilt, importance_sample
from gpn.statistics.evidence import LEAST_EFFECTIVE, Weighted
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
    hits = logs[np.isfinite(logs)]
    mean = np.log(np.exp(hits - hits.max()).sum() / len(logs)) + hits.max()
    assert abs(mean - exact) < 1.5  # 300 draws of relative deviation below 6: five standard errors are 1.7 above


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


def skewed(rng, shape):
    """Mean 1; half of them missed, the others with the tail of a log-normal law."""
    return 2 * rng.integers(2, size=shape) * np.exp(rng.normal(-0.5, 1.0, size=shape))


def coverage(runs, draws, alpha, seed):
    rng = np.random.default_rng(seed)
    too_high = too_low = 0
    for _ in range(runs):
        with np.errstate(divide="ignore"):
            lower, upper = Weighted(np.log(skewed(rng, draws) / 1e9)).limits(alpha)
        too_high += lower > 1e-9
        too_low += upper < 1e-9
    return too_high / runs, too_low / runs


@pytest.mark.parametrize("runs", [400, pytest.param(20_000, marks=pytest.mark.slow)])
def test_limits_of_skewed_estimates_cover(runs):
    """One-sided errors of 5 % each: at most 8 % seen on either side, false alarm below 5e-3 (400 runs: Bin(400, 0.05)

    exceeds 32 with probability 4e-3 a side; the seed is fixed), below 1e-30 in the slow version.
    """
    too_high, too_low = coverage(runs, 2000, 0.05, seed=4)
    assert max(too_high, too_low) <= 0.08


def errors_at_the_saddle(steepness, runs, alpha, seed):
    """How many lower and upper limits are wrong, for estimates with the law that they have at the saddle point.

    There the event's sum is about X > 0 for a normal X, and its weight exp(-cX): of N draws 2N / (c sqrt(2 pi)) count.
    """
    rng = np.random.default_rng(seed)
    log_truth = 0.5 * steepness**2 + stats.norm.logcdf(-steepness)
    reach = stats.norm.cdf(min(40 / steepness, 8)) - 0.5  # beyond, a weight is below e^-40
    wrong = np.zeros(2, dtype=int)
    for _ in range(runs):
        hits = rng.binomial(10_000, reach)
        logs = np.full(10_000, -np.inf)
        logs[:hits] = -steepness * special.ndtri(0.5 + reach * rng.random(hits)) - log_truth
        lower, upper = Weighted(logs - 20).limits(alpha)  # far from where limits are cut off at 1
        wrong += (lower > np.exp(-20.0), upper < np.exp(-20.0))
    return wrong


@pytest.mark.parametrize("steepness", [3, 60])
@pytest.mark.parametrize(
    ("runs", "alpha", "least", "most"),
    [(1_000, 0.01, 1, 27), pytest.param(10_000, 1e-3, 1, 28, marks=pytest.mark.slow)],
    ids=["small", "full"],
)
def test_limits_cover_at_small_errors_however_few_draws_count(steepness, runs, alpha, least, most):
    """Both sides, with 2,300 and with 130 of 10,000 draws that count.

    If each limit errs with probability alpha, Bin(1000, 0.01) > 27 has probability 2e-6 and Bin(10000, 0.001) > 28
    1e-6, for each of 4 counts; no error at all, which limits that are far too wide would make, 5e-5.
    """
    wrong = errors_at_the_saddle(steepness, runs, alpha, seed=6)
    assert (wrong >= least).all()
    assert (wrong <= most).all()


def test_normal_limits_without_the_correction_would_miss_more():
    """The reason for the cubic transformation: the plain upper limit errs clearly more often than 1 %."""
    rng = np.random.default_rng(5)
    values = skewed(rng, (3000, 1000))
    quantile = stats.norm.ppf(0.99)
    plain = values.mean(axis=1) + quantile * values.std(axis=1) / np.sqrt(1000)
    corrected = [Weighted(np.log(np.maximum(row, 1e-300))).limits(0.01)[1] for row in values]
    with np.errstate(divide="ignore"):
        assert np.mean(plain < 1) > 1.5 * np.mean(np.array(corrected) * 1.0 < 1)


def test_few_effective_draws_give_no_limits():
    logs = np.full(1000, -5.0)
    logs[0] = 5.0
    weighted = Weighted(logs)
    assert weighted.effective_draws < LEAST_EFFECTIVE
    assert weighted.limits(0.01) == (0.0, 1.0)


def test_estimates_that_are_not_numbers_are_refused():
    for logs in (np.array([]), np.array([np.nan]), np.array([np.inf])):
        with pytest.raises(UsageError, match="importance sampling"):
            Weighted(logs)
