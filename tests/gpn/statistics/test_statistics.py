"""Limits, verdicts, plans: coverage by summing the binomial, high precision, brute force, simulation."""

import copy
import json
import math
import pickle
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gpn.statistics.evidence import Counted
from gpn.statistics.limits import (
    MAX_TRIALS,
    Decision,
    Verdict,
    bounded,
    combine,
    equals,
    equivalent,
    lower_limit,
    median_limits,
    row_alpha,
    upper_limit,
)
from gpn.statistics.sample_size import trials_to_decide, trials_with_power
from tests.oracles.binomial import exact_test, power
from theory.errors import UsageError


def decide(exceedances, trials, bound, alpha):
    """The limits of a count and their verdict on a bound, as rows of a report come by them."""
    lower, upper = Counted(exceedances, trials).limits(alpha)
    return Decision(lower, upper, bounded(lower, upper, bound))


ALPHAS = [0.3, 0.05, 1e-2, 1e-5, 1e-12]

# ---------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("alpha", [0.2, 0.01, 1e-4])
def test_limits_of_a_median_have_the_coverage_of_the_binomial(alpha):
    """The lower limit exceeds the median of a continuous law if fewer than k values lie below: P(Bin(N, 1/2) < k)."""
    for count in range(1, 40):
        low, high = median_limits(np.random.default_rng(count).permutation(np.arange(1.0, count + 1)), alpha)
        if low == -np.inf:
            assert high == np.inf
            assert 0.5**count > alpha
            continue
        assert high == count + 1 - low
        assert stats.binom.cdf(low - 1, count, 0.5) <= alpha < stats.binom.cdf(low, count, 0.5)
    unknown = np.array([np.nan, *np.arange(30.0)])
    assert median_limits(unknown, 0.01) == (
        7.0,
        22.0,
    )  # 31 values: the 9th from each end, the unknown one counted twice


@pytest.mark.parametrize("trials", [1, 2, 3, 10, 57, 400])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_exact_coverage_by_summing_the_binomial(trials, alpha):
    """P(a limit fails) <= alpha at every p, with equality approached where p reaches the limit of some k."""
    k = np.arange(trials + 1)
    lower, upper = lower_limit(k, trials, alpha), upper_limit(k, trials, alpha)
    edges = np.concatenate([lower * (1 - 1e-9), lower, upper, 1 - (1 - upper) * (1 - 1e-9)])
    for p in np.concatenate([np.linspace(0, 1, 101), edges]):
        chances = stats.binom.pmf(k, trials, p)
        assert chances[lower > p].sum() <= alpha * (1 + 1e-9)
        assert chances[upper < p].sum() <= alpha * (1 + 1e-9)
    for count in k[1:]:
        p = lower[count] * (1 - 1e-9)
        assert stats.binom.pmf(k, trials, p)[lower > p].sum() >= alpha * (1 - 1e-5)


@pytest.mark.parametrize("trials", [10**4, 10**6])
@pytest.mark.parametrize("p", [1e-5, 1e-3, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("alpha", [0.01, 1e-6])
def test_exact_coverage_of_many_trials(trials, p, alpha):
    """The limits increase with k, so they fail on a tail, whose probability SciPy knows."""
    first_failing = smallest(lambda k: float(lower_limit(k, trials, alpha)) > p, trials)
    assert stats.binom.sf(first_failing - 1, trials, p) <= alpha
    assert stats.binom.sf(first_failing - 2, trials, p) > alpha
    first_covering = smallest(lambda k: float(upper_limit(k, trials, alpha)) >= p, trials)
    assert stats.binom.cdf(first_covering - 1, trials, p) <= alpha
    assert stats.binom.cdf(first_covering, trials, p) > alpha


def smallest(predicate, stop):
    start = 0
    while start < stop:
        middle = (start + stop) // 2
        start, stop = (start, middle) if predicate(middle) else (middle + 1, stop)
    return start


@pytest.mark.parametrize("trials", [1, 7, 100, 12345])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_against_scipy(trials, alpha):
    for k in sorted({0, 1, trials // 50, trials // 3, trials - 1, trials}):
        for alternative, limit in (("greater", lower_limit), ("less", upper_limit)):
            interval = stats.binomtest(k, trials, alternative=alternative).proportion_ci(1 - alpha, "exact")
            theirs = interval.low if alternative == "greater" else interval.high
            # SciPy's root finder stops at 2e-12, and 1 - alpha has lost digits of alpha.
            assert float(limit(k, trials, alpha)) == pytest.approx(theirs, rel=1e-16 / alpha, abs=4e-12)


def beta_tail(first, second, p):
    """I_p(a, b) to 30 digits by its continued fraction (DLMF 8.17.22), in 40-digit arithmetic."""
    a, b, x = mpmath.mpf(first), mpmath.mpf(second), mpmath.mpf(p)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_tail(second, first, 1 - x)
    numerator, denominator, fraction = mpmath.mpf(1), 1 / (1 - (a + b) * x / (a + 1)), mpmath.mpf(1)
    fraction, m, change = denominator, 0, mpmath.mpf(0)
    while abs(change - 1) > mpmath.mpf(10) ** -32:
        m += 1
        change = mpmath.mpf(1)
        for coefficient in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            denominator = 1 / (1 + coefficient * denominator)
            numerator = 1 + coefficient / numerator
            change *= denominator * numerator
        fraction *= change
    log_front = a * mpmath.log(x) + b * mpmath.log1p(-x) - mpmath.log(a)
    log_beta = mpmath.loggamma(a) + mpmath.loggamma(b) - mpmath.loggamma(a + b)
    return mpmath.exp(log_front - log_beta) * fraction


@pytest.mark.parametrize("trials", [2, 30, 10**3, 10**6, 10**9, MAX_TRIALS])
@pytest.mark.parametrize("alpha", ALPHAS)
def test_against_high_precision(trials, alpha):
    """The limits are right to 1e-10 relative: error of the tail, divided by its slope at the limit."""
    counts = {1, 2, 5, 17, 300, trials // 1000, trials // 30, trials // 2, trials - 2, trials - 1}
    if trials > 10**9:  # the continued fraction is too long for many events of so many trials
        counts = {1, 2, 17, 300}
    with mpmath.workdps(40):
        for k in sorted(count for count in counts if 0 < count < trials):
            for first, second, limit, sign in (
                (k, trials - k + 1, lower_limit(k, trials, alpha), 1),
                (k + 1, trials - k, upper_limit(k, trials, alpha), -1),
            ):
                p = mpmath.mpf(float(limit))
                if p == 1:  # the true limit rounds to 1
                    continue
                tail = beta_tail(first, second, p) if sign > 0 else beta_tail(second, first, 1 - p)
                log_beta = mpmath.loggamma(first) + mpmath.loggamma(second) - mpmath.loggamma(first + second)
                log_density = (first - 1) * mpmath.log(p) + (second - 1) * mpmath.log1p(-p) - log_beta
                assert abs((tail - mpmath.mpf(alpha)) / mpmath.exp(log_density)) <= 1e-10 * p


def test_literal_sums_of_the_binomial():
    for trials, k, alpha in [(5, 2, 0.05), (20, 19, 1e-3), (40, 7, 1e-8)]:
        low = Fraction(float(lower_limit(k, trials, alpha)))
        high = Fraction(float(upper_limit(k, trials, alpha)))

        def chance(j, p, n=trials):
            return math.comb(n, j) * p**j * (1 - p) ** (n - j)

        assert float(sum(chance(j, low) for j in range(k, trials + 1))) == pytest.approx(alpha, rel=1e-12)
        assert float(sum(chance(j, high) for j in range(k + 1))) == pytest.approx(alpha, rel=1e-12)


@pytest.mark.parametrize("trials", [1, 13, 10**5, 10**9, MAX_TRIALS])
@pytest.mark.parametrize("alpha", [0.5, *ALPHAS])
def test_closed_forms_at_the_ends(trials, alpha):
    with mpmath.workdps(40):
        root = mpmath.mpf(alpha) ** (mpmath.mpf(1) / trials)
        assert float(upper_limit(0, trials, alpha)) == pytest.approx(float(1 - root), rel=1e-14)
        assert float(lower_limit(trials, trials, alpha)) == pytest.approx(float(root), rel=1e-15)
    assert float(lower_limit(0, trials, alpha)) == 0
    assert float(upper_limit(trials, trials, alpha)) == 1


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_limits_are_ordered_and_mirror_each_other(data):
    trials = data.draw(st.integers(1, 10**9))
    k = data.draw(st.integers(0, trials))
    alpha = data.draw(st.floats(1e-12, 0.5))
    low, high = float(lower_limit(k, trials, alpha)), float(upper_limit(k, trials, alpha))
    assert 0 <= low <= k / trials <= high <= 1
    assert low < high
    assert high == pytest.approx(1 - float(lower_limit(trials - k, trials, alpha)), rel=1e-9, abs=1e-15)
    if k < trials:
        assert float(lower_limit(k + 1, trials, alpha)) > low
    assert float(lower_limit(k, trials, alpha / 10)) <= low


def test_limits_broadcast_like_numpy():
    k, n = np.arange(4), np.array([[5], [9]])
    for limit in (lower_limit, upper_limit):
        table = limit(k, n, 0.05)
        assert table.shape == (2, 4)
        assert table.dtype == np.float64
        for row in range(2):
            for column in range(4):
                assert table[row, column] == limit(column, n[row, 0], 0.05)
        assert limit(np.zeros((0,), int), 5, 0.05).shape == (0,)
        assert limit(1, 5, 0.05).shape == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 0, 0.01), "between 1 and"),
        ((0, -5, 0.01), "between 1 and"),
        ((0, MAX_TRIALS + 1, 0.01), "between 1 and"),
        ((-1, 5, 0.01), "between 0 and"),
        ((6, 5, 0.01), "between 0 and"),
        ((1.0, 5, 0.01), "whole number"),
        ((1, 5.0, 0.01), "whole number"),
        ((True, 5, 0.01), "whole number"),
        ((1, 5, 0.0), "above 0 and be at most 0.5"),
        ((1, 5, 0.6), "above 0 and be at most 0.5"),
        ((1, 5, math.nan), "above 0 and be at most 0.5"),
        ((np.array([1, 7]), 5, 0.1), "one of 2 values from 1 to 7"),
    ],
)
def test_wrong_counts(arguments, words):
    for function in (lower_limit, upper_limit):
        with pytest.raises(UsageError, match=words):
            function(*arguments)


# ---------------------------------------------------------------------------------------- verdicts


def test_a_verdict_is_neither_true_nor_false():
    for verdict in Verdict:
        with pytest.raises(TypeError, match="true"):
            bool(verdict)
        with pytest.raises(TypeError, match=r"verdict is Verdict\.HOLDS"):
            assert not verdict


def test_a_verdict_travels_as_a_lower_case_word():
    for verdict in Verdict:
        assert str(verdict) == f"{verdict}" == verdict.value == verdict.name.lower()
        assert json.loads(json.dumps({"verdict": verdict})) == {"verdict": str(verdict)}
        assert pickle.loads(pickle.dumps(verdict)) is verdict
        assert copy.deepcopy(verdict) is verdict
        assert Verdict(str(verdict)) is verdict
    assert len(set(Verdict)) == 4
    assert np.array(list(Verdict)).dtype.kind == "U"


@pytest.mark.parametrize("bound", [1.0, 1.5, math.inf, math.nan, None])
def test_without_a_bound_below_one_a_row_is_vacuous(bound):
    for k in (0, 50, 100):
        decision = decide(k, 100, bound, 0.01)
        assert decision.verdict is Verdict.VACUOUS
        assert decision.lower <= k / 100 <= decision.upper


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 500), st.integers(1, 500), st.floats(0, 1, exclude_max=True), st.floats(1e-9, 0.5))
def test_the_verdict_is_that_of_the_exact_tests(k, extra, bound, alpha):
    """holds: so few events would have probability <= alpha were p = bound; violated: so many likewise."""
    trials = k + extra
    few, many = stats.binom.cdf(k, trials, bound), stats.binom.sf(k - 1, trials, bound)
    if min(abs(few / alpha - 1), abs(many / alpha - 1)) < 1e-9:
        return
    expected = Verdict.VIOLATED if many < alpha else Verdict.HOLDS if few < alpha and bound > 0 else Verdict.UNDECIDED
    lower, upper, verdict = decide(k, trials, bound, alpha)
    assert verdict is expected
    assert isinstance(lower, float)
    assert isinstance(upper, float)


def test_an_event_in_spite_of_bound_zero():
    assert decide(1, 10**6, 0.0, 0.01).verdict is Verdict.VIOLATED
    assert decide(0, 10**9, 0.0, 0.01).verdict is Verdict.UNDECIDED


def test_the_limit_on_the_bound_holds_and_does_not_violate():
    upper, lower = float(upper_limit(3, 100, 0.01)), float(lower_limit(3, 100, 0.01))
    assert decide(3, 100, upper, 0.01).verdict is Verdict.HOLDS
    assert decide(3, 100, lower, 0.01).verdict is Verdict.UNDECIDED


def test_numpy_scalars_are_counts():
    assert decide(np.int64(3), np.int32(100), np.float64(0.5), 0.01).verdict is Verdict.HOLDS


def test_a_negative_bound_is_a_mistake():
    for call in (lambda: decide(0, 10, -0.1, 0.1), lambda: trials_to_decide(-0.1, 0.1)):
        with pytest.raises(UsageError, match="not negative"):
            call()


H, V, U, N = Verdict.HOLDS, Verdict.VIOLATED, Verdict.UNDECIDED, Verdict.VACUOUS


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        ([], U),
        ([N], U),
        ([N, N], U),
        ([H], H),
        ([H, N], H),
        ([H, U], U),
        ([H, U, V, N], V),
        ([V, N], V),
        ([U], U),
    ],
)
def test_verdicts_together(verdicts, together):
    assert combine(verdicts) is together
    assert combine(reversed(verdicts)) is together
    assert combine(str(verdict) for verdict in verdicts) is together


@pytest.mark.parametrize(("level", "rows"), [(0.4, 1), (1.0, 1), (-1, 3), (math.nan, 1), (0.99, 0)])
def test_wrong_levels(level, rows):
    with pytest.raises(UsageError):
        row_alpha(level, rows)


# ---------------------------------------------------------------------------------------- whole verifications


EPSILONS = np.array([0.5, 1.0, 1.5, 2.0, 2.5])


def reports_with_a_wrong_verdict(repetitions, trials, cells, alpha, wrong, seed):
    """How many verifications have a wrong row. In each cell all epsilons are counted in the same trials.

    The claims P(|z| >= epsilon) <= bound are true with equality (wrong: violated), or false by one part in
    1e9 (wrong: holds); both are where a wrong verdict is most likely.
    """
    rng = np.random.default_rng(seed)
    truths = 2 * stats.norm.sf(EPSILONS)
    bounds = truths if wrong is Verdict.VIOLATED else truths * (1 - 1e-9)
    count = 0
    for _ in range(repetitions):
        deviations = np.abs(rng.standard_normal((cells, trials, 1)))
        counts = (deviations >= EPSILONS).sum(axis=1)
        verdicts = {
            decide(int(k), trials, float(bound), alpha).verdict
            for row in counts
            for k, bound in zip(row, bounds, strict=True)
        }
        count += wrong in verdicts
    return count


@pytest.mark.parametrize("wrong", [Verdict.VIOLATED, Verdict.HOLDS])
@pytest.mark.parametrize(
    ("repetitions", "cells"), [(150, 2), pytest.param(1000, 6, marks=pytest.mark.slow)], ids=["small", "full"]
)
def test_wrong_verdicts_stay_within_the_level(repetitions, cells, wrong):
    """Simulated verifications; if the level is kept, this fails for a fraction 1e-6 of seeds at most."""
    level, rows = 0.9, cells * len(EPSILONS)
    found = reports_with_a_wrong_verdict(repetitions, 1000, cells, row_alpha(level, rows), wrong, seed=1)
    assert found <= stats.binom.isf(1e-6, repetitions, 1 - level)
    # The same without Bonferroni breaks the level: the simulation is able to see a wrong level.
    broken = reports_with_a_wrong_verdict(repetitions, 1000, cells, 1 - level, wrong, seed=1)
    assert broken > stats.binom.isf(1e-6, repetitions, 1 - level)


def test_the_probability_of_a_wrong_row_is_within_its_share_exactly():
    """No simulation: P(violated | p = bound) and P(holds | p just above bound) by summing the binomial."""
    for trials, bound, alpha in [(50, 0.1, 0.01), (300, 0.01, 1e-3), (1000, 0.5, 1e-4)]:
        verdicts = np.array([decide(k, trials, bound, alpha).verdict.value for k in range(trials + 1)])
        chances = stats.binom.pmf(np.arange(trials + 1), trials, bound)
        assert 0 < chances[verdicts == "violated"].sum() <= alpha
        assert chances[verdicts == "holds"].sum() <= alpha


# ---------------------------------------------------------------------------------------- planning


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-14, 1, exclude_max=True), st.floats(1e-12, 0.5))
def test_the_smallest_number_of_trials_that_can_decide(bound, alpha):
    trials = trials_to_decide(bound, alpha)
    assert decide(0, trials, bound, alpha).verdict is Verdict.HOLDS
    if trials > 1:
        assert decide(0, trials - 1, bound, alpha).verdict is Verdict.UNDECIDED
    with mpmath.workdps(30):
        exact = mpmath.log(alpha) / mpmath.log1p(-mpmath.mpf(bound))
    assert abs(trials - float(exact)) <= 1 + 1e-15 * trials


@pytest.mark.parametrize("bound", [0.0, 1.0, 2.0, math.nan, None])
def test_bounds_that_no_number_of_trials_decides(bound):
    assert trials_to_decide(bound, 0.01) is None
    assert trials_with_power(bound, 0.01, 0.0) is None


def test_tiny_bounds_do_not_overflow():
    for bound in (1e-20, 1e-300, 5e-324):
        assert trials_to_decide(bound, 0.01) == pytest.approx(Fraction(-math.log(0.01)) / Fraction(bound), rel=1e-15)
        assert trials_with_power(bound, 0.01, 0.0) is None  # beyond 2^53


def literal_power(trials, bound, alpha, truth):
    k = np.arange(trials + 1)
    return float(stats.binom.pmf(k, trials, truth)[stats.binom.cdf(k, trials, bound) <= alpha].sum())


@pytest.mark.parametrize("alpha", [0.05, 0.001])
@pytest.mark.parametrize(
    ("bound", "ratio"),
    [(0.9, 0.0), (0.9, 0.5), (0.9, 0.9), (0.5, 0.125), (0.5, 0.8), (0.1, 0.125), (0.1, 0.5), (0.02, 0.125)],
)
def test_the_first_number_of_trials_with_power_by_brute_force(bound, alpha, ratio):
    truth, wanted = ratio * bound, 0.9
    planned = trials_with_power(bound, alpha, truth, wanted)
    first = next(n for n in range(1, 2_000) if literal_power(n, bound, alpha, truth) >= wanted)
    assert planned == first
    for trials in (1, first // 2 + 1, first, first + 1, first + 7):
        literal = literal_power(trials, bound, alpha, truth)
        assert power(trials, bound, alpha, truth) == pytest.approx(literal, rel=1e-9, abs=1e-12)


def test_power_is_a_saw_tooth():
    planned = trials_with_power(0.1, 0.01, 0.0125)
    assert power(planned, 0.1, 0.01, 0.0125) >= 0.95 > power(planned - 1, 0.1, 0.01, 0.0125)
    assert any(power(planned + more, 0.1, 0.01, 0.0125) < 0.95 for more in range(1, 20))


@pytest.mark.parametrize("bound", [1e-2, 1e-4, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize(
    ("alpha", "constant"), [(1e-2, 10.05), (1e-3, 14.79), (2.5e-4, 18.35), (1e-4, 19.57), (1e-5, 24.36)]
)
def test_trials_for_a_truth_of_an_eighth_of_the_bound(bound, alpha, constant):
    """About 15/bound trials where ten rows share the level 0.99; the Poisson limit gives the constant."""
    planned = trials_with_power(bound, alpha, bound / 8)
    # Poisson limit: k events decide from the mean m_k on, P(Poisson(m_k) <= k) = alpha.
    means = stats.gamma.isf(alpha, np.arange(1, 30))
    reached = stats.poisson.cdf(np.arange(29), means / 8) >= 0.95
    assert means[np.argmax(reached)] == pytest.approx(constant, abs=0.005)
    assert planned * bound == pytest.approx(means[np.argmax(reached)], rel=max(5 * bound, 1e-9))
    assert power(planned, bound, alpha, bound / 8) >= 0.95
    assert power(planned - 1, bound, alpha, bound / 8) < 0.95


@pytest.mark.parametrize(("bound", "ratio"), [(0.5, 0.9999), (0.9, 0.999), (0.001, 0.9999), (1e-9, 0.99)])
def test_plans_for_a_truth_close_to_the_bound(bound, ratio):
    planned = trials_with_power(bound, 1e-3, ratio * bound)
    assert 0.95 <= power(planned, bound, 1e-3, ratio * bound) < 0.9501
    normal = (stats.norm.isf(1e-3) + stats.norm.isf(0.05)) ** 2 * (1 - bound) / (bound * (1 - ratio) ** 2)
    assert planned == pytest.approx(normal, rel=0.02)


def test_a_truth_that_no_number_of_trials_shows():
    assert trials_with_power(0.1, 0.01, 0.1) is None
    assert trials_with_power(0.1, 0.01, 0.3) is None
    assert trials_with_power(0.1, 0.01, 0.1 * (1 - 1e-12)) is None  # beyond 2^53


@pytest.mark.parametrize(("truth", "wanted"), [(-0.1, 0.9), (1.1, 0.9), (0.01, 1.0), (0.01, 0.01), (0.01, math.nan)])
def test_wrong_plans(truth, wanted):
    with pytest.raises(UsageError):
        trials_with_power(0.1, 0.01, truth, wanted)


# ---------------------------------------------------------------------------------------- exact laws


@pytest.mark.parametrize(("trials", "probability"), [(1, 0.5), (9, 0.3), (20, 0.01), (33, 0.5)])
def test_exact_test_by_literal_sums(trials, probability):
    p = Fraction(str(probability))
    chances = [math.comb(trials, j) * p**j * (1 - p) ** (trials - j) for j in range(trials + 1)]
    values = [float(sum(other for other in chances if other <= chance)) for chance in chances]
    for k, value in enumerate(values):
        assert exact_test(k, trials, probability) == pytest.approx(value, rel=1e-6)
    for alpha in (0.01, 0.05, 0.3):
        assert sum(chance for chance, value in zip(chances, values, strict=True) if value <= alpha) <= alpha


def test_exact_test_at_the_ends():
    assert exact_test(0, 10, 0.0) == 1
    assert exact_test(1, 10, 0.0) == 0
    assert exact_test(10, 10, 1.0) == 1
    assert exact_test(np.int64(500_000), 10**6, 0.5) == 1
    for wrong in ((11, 10, 0.5), (1, 10, 1.5), (1, 10, math.nan), (1, 0, 0.5)):
        with pytest.raises(UsageError):
            exact_test(*wrong)


def verdicts_of_counts(probability, trials, alpha, judge):
    """Verdict -> its exact probability, over all counts."""
    found = dict.fromkeys(Verdict, 0.0)
    for k in range(trials + 1):
        verdict = judge(float(lower_limit(k, trials, alpha)), float(upper_limit(k, trials, alpha)))
        found[verdict] += stats.binom.pmf(k, trials, probability)
    return found


@pytest.mark.parametrize(("truth", "predicted"), [(0.2001, 0.1), (0.0499, 0.1), (0.9, 0.96), (0.99, 0.975)])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_a_prediction_off_by_more_than_the_factor_is_rarely_called_equivalent(truth, predicted, alpha):
    found = verdicts_of_counts(truth, 400, alpha, lambda low, high: equivalent(low, high, predicted))
    assert found[Verdict.HOLDS] <= alpha


@pytest.mark.parametrize("truth", [0.055, 0.1, 0.19])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_a_prediction_within_the_factor_is_rarely_called_different(truth, alpha):
    found = verdicts_of_counts(truth, 400, alpha, lambda low, high: equivalent(low, high, 0.1))
    assert found[Verdict.VIOLATED] <= 2 * alpha
    assert verdicts_of_counts(0.1, 2000, alpha, lambda low, high: equivalent(low, high, 0.1))[Verdict.HOLDS] > 0.99


@pytest.mark.parametrize("probability", [0.003, 0.1, 0.5, 0.98])
def test_an_exact_law_is_contradicted_with_its_error_probability_at_most(probability):
    """Limits of error alpha/2 each."""
    found = verdicts_of_counts(probability, 500, 0.02, lambda low, high: equals(low, high, probability))
    assert found[Verdict.VIOLATED] <= 0.04
    wrong = min(1.0, 3 * probability) if probability < 0.3 else 0.8 * probability
    assert verdicts_of_counts(wrong, 5000, 0.02, lambda low, high: equals(low, high, probability))[Verdict.HOLDS] < 0.04


def test_half_is_not_within_a_factor_two_of_one_or_of_little():
    assert equivalent(0.95, 1.0, 0.5) is Verdict.VIOLATED
    assert equivalent(0.01, 0.02, 0.501) is Verdict.VIOLATED
    assert equals(0.3, 1.0, 0.5) is Verdict.UNDECIDED
    assert equals(0.45, 0.55, 0.5) is Verdict.HOLDS
