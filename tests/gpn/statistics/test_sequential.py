"""Limits that hold at every number of trials: exactly a martingale, exactly within their error, however one stops."""

import math

import mpmath
import numpy as np
import pytest

from gpn.statistics import limits as statistics
from gpn.statistics.sequential import SHAPE, Watched, log_evidence, lower_limit, upper_limit
from theory.errors import UsageError


def literal_evidence(k, n, p):
    """The average over the odds ratio u, to 30 digits: u = t^2 takes the root out of the density."""
    with mpmath.workdps(30):
        p = mpmath.mpf(p)
        frequency = mpmath.mpf(k) / n
        centre = mpmath.sqrt(frequency * (1 - p) / (p * (1 - frequency))) if k < n else mpmath.mpf(1)
        spread = 1 / mpmath.sqrt(1 + n * frequency * (1 - frequency))
        peak = [t for j in (-30, -8, -2, 0, 2, 8, 30) if 0 < (t := centre * mpmath.exp(j * spread)) < 1]
        return mpmath.quad(lambda t: 2 * SHAPE * t ** (2 * k) / (1 - (1 - t * t) * p) ** n, [0, *peak, 1])


@pytest.mark.parametrize(
    ("k", "n", "p"),
    [
        (0, 1, 0.3),
        (3, 10, 0.5),
        (3, 10, 1e-9),
        (9, 10, 0.999),
        (0, 1000, 1e-5),
        (50, 1000, 0.1),
        (600, 1000, 0.65),
        (100, 10**9, 1.5e-7),
        (500_000, 10**6, 0.5015),
        (10, 10**12, 3.5e-11),
        (10**6, 10**12, 1.006e-6),
        (3 * 10**11, 10**12, 0.3000023),
    ],
)
def test_the_evidence_is_the_literal_average(k, n, p):
    """Up to 1e12 trials; of powers like 0.3^(3e11) not a digit may be lost to cancellation."""
    assert float(log_evidence(k, n, p)) == pytest.approx(float(mpmath.log(literal_evidence(k, n, p))), abs=2e-9)


def test_the_evidence_is_a_martingale():
    """p M(k+1, n+1) + (1-p) M(k, n+1) = M(k, n), exactly, and M is 1 before the first trial."""
    n, k = (grid.ravel() for grid in np.meshgrid(np.arange(1, 60), np.arange(0, 59)))
    n, k = n[k < n], k[k < n]
    for p in (1e-4, 0.02, 0.3, 0.77, 0.999):
        later = p * np.exp(log_evidence(k + 1, n + 1, p)) + (1 - p) * np.exp(log_evidence(k, n + 1, p))
        np.testing.assert_allclose(later, np.exp(log_evidence(k, n, p)), rtol=1e-12)
        first = p * literal_evidence(1, 1, p) + (1 - p) * np.exp(float(log_evidence(0, 1, p)))
        assert float(first) == pytest.approx(1, abs=1e-12)


def test_the_evidence_grows_with_the_probability_and_falls_with_the_count():
    p = np.geomspace(1e-8, 1 - 1e-8, 400)[:, None]
    k = np.array([0, 1, 2, 17, 400, 998, 999])
    evidence = np.maximum(log_evidence(k, 1000, p), -20)  # with p far below k/n there is none, minus infinity
    assert (evidence[1:] > evidence[:-1])[evidence[1:] > 0].all()
    assert (evidence[:, 1:] < evidence[:, :-1])[evidence[:, :-1] > 0].all()
    assert (evidence[p[:, 0] < 0.001, 1:] < 0.0).all()


def chance_of_ever_being_wrong(limit_is_wrong, p, most):
    """P(the limit is wrong at some n <= most), summed over all counts: paths that were wrong once are taken out."""
    alive, wrong = np.array([1.0]), 0.0
    for n in range(1, most + 1):
        alive = np.append(alive * (1 - p), 0) + np.insert(alive * p, 0, 0)
        bad = np.array([limit_is_wrong(k, n) for k in range(n + 1)])
        wrong += alive[bad].sum()
        alive[bad] = 0
    return wrong


@pytest.mark.parametrize("alpha", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("p", [0.01, 0.05, 0.3, 0.5, 0.9])
def test_exact_error_of_the_whole_run_by_enumeration(p, alpha):
    above = chance_of_ever_being_wrong(lambda k, n: upper_limit(k, n, alpha) < p, p, most=60)
    below = chance_of_ever_being_wrong(lambda k, n: lower_limit(k, n, alpha) > p, p, most=60)
    assert above <= alpha
    assert below <= alpha


def test_the_error_of_a_long_run_is_nearly_used_up():
    """Evidence that jumps over 1/alpha wastes a little; limits that were far too wide would waste most."""
    threshold, p, alpha = np.log(10), 0.5, 0.1
    tables = {n: np.append(log_evidence(np.arange(n), n, p) >= threshold, False) for n in range(1, 1001)}
    wrong = chance_of_ever_being_wrong(lambda k, n: tables[n][k], p, most=1000)
    assert 0.5 * alpha < wrong <= alpha


def test_the_exact_error_of_limits_for_one_number_is_far_larger_if_one_may_stop():
    """What the limits are for: those of Clopper and Pearson, looked at after each trial, are wrong much more often."""
    p, alpha = 0.3, 0.1
    fixed = {n: statistics.upper_limit(np.arange(n + 1), n, alpha) < p for n in range(1, 201)}
    assert chance_of_ever_being_wrong(lambda k, n: fixed[n][k], p, most=200) > 3 * alpha


@pytest.mark.parametrize("alpha", [0.5, 0.01, 1e-9])
@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 1000), (1, 1000), (999, 1000), (40, 100), (7, 10**6), (3, 10**12)])
def test_at_its_limit_a_probability_has_evidence_of_one_over_alpha(k, n, alpha):
    upper = upper_limit(k, n, alpha)
    if upper < 1 - 1e-9:
        assert float(log_evidence(k, n, upper)) == pytest.approx(-math.log(alpha), rel=1e-9)
    if k:
        lower = lower_limit(k, n, alpha)
        if lower > 1e-9:  # 1 - p has lost the digits of a smaller one
            assert float(log_evidence(n - k, n, 1 - lower)) == pytest.approx(-math.log(alpha), abs=1e-6)
        assert 0 < lower < k / n
    assert k / n < upper <= 1


def test_limits_of_rare_events_keep_their_digits():
    """After one exceedance in n the evidence against p or less is a B(n - 1/2, 1/2) / p^(1/2), for small n p."""
    for n in (10**4, 10**8, 10**12):
        lower = lower_limit(1, n, 1e-3)
        with mpmath.workdps(40):
            evidence = SHAPE * mpmath.beta(n - 0.5, 0.5) / mpmath.sqrt(lower)
        assert float(evidence) == pytest.approx(1000, rel=1e-3)
    assert lower_limit(3, 10**12, 1e-4) == pytest.approx(lower_limit(3, 10**9, 1e-4) * 1e-3, rel=1e-6)


def test_nothing_seen_and_nothing_else_seen():
    assert (lower_limit(0, 50, 0.01), upper_limit(50, 50, 0.01)) == (0.0, 1.0)
    assert lower_limit(50, 50, 0.01) == pytest.approx(1 - upper_limit(0, 50, 0.01), rel=1e-12)
    assert upper_limit(1, 2, 1e-300) == 1.0


@pytest.mark.parametrize(("alpha", "most"), [(1e-4, 1.5), (0.01, 2.0)])
def test_limits_are_wider_than_those_of_one_number_but_not_by_much(alpha, most):
    """How much farther from the frequency than Clopper's and Pearson's: 1.14 for nothing seen, 1.4 for 30 %."""
    n = 100_000
    for k in (0, 1, 5, 20, 100, 1000, 30_000):
        fixed = float(statistics.upper_limit(k, n, alpha))
        assert 1 < (upper_limit(k, n, alpha) - k / n) / (fixed - k / n) < most
        if k:
            fixed = float(statistics.lower_limit(k, n, alpha))
            assert 1 < (k / n - lower_limit(k, n, alpha)) / (k / n - fixed) < most


def ever_wrong(rng, runs, most, p, alpha):
    """Of simulated runs looked at after every trial, how many find the truth above the upper, below the lower limit."""
    n = np.arange(1, most + 1)
    wrong = np.zeros(2, dtype=int)
    for _ in range(runs):
        k = np.cumsum(rng.random(most) < p)
        for side, (count, truth) in enumerate(((k, p), (n - k, 1 - p))):
            some = count < n
            wrong[side] += (log_evidence(count[some], n[some], truth) >= -np.log(alpha)).any()
    return wrong


def test_simulated_runs_that_stop_when_they_are_wrong_seldom_can():
    """An adversary stops as soon as the limits exclude the truth. P(Bin(500, 0.1) > 88) < 1e-7 for each of 4 counts."""
    rng = np.random.default_rng(20)
    for p in (0.05, 0.6):
        assert (ever_wrong(rng, runs=500, most=600, p=p, alpha=0.1) <= 88).all()


@pytest.mark.slow
def test_simulated_long_runs_that_stop_when_they_are_wrong_seldom_can():
    """P(Bin(1000, 0.1) > 155) < 3e-8 for each of 6 counts; at p = 1/2 more than half of the error is used."""
    rng = np.random.default_rng(21)
    for p in (0.002, 0.05, 0.5):
        wrong = ever_wrong(rng, runs=1000, most=10_000, p=p, alpha=0.1)
        assert (wrong <= 155).all()
        if p == 0.5:
            assert (wrong > 50).all()


def test_limits_of_several_looks_never_widen():
    rng = np.random.default_rng(3)
    n = 100 * 2 ** np.arange(8)
    k = np.cumsum(rng.random(n[-1]) < 0.02)[n - 1]
    looks = tuple(zip(k.tolist(), n.tolist(), strict=True))
    limits = np.array([Watched(looks[: i + 1]).limits(1e-3) for i in range(len(looks))])
    assert (np.diff(limits[:, 0]) >= 0).all()
    assert (np.diff(limits[:, 1]) <= 0).all()
    for (lower, upper), (count, trials) in zip(limits, looks, strict=True):
        assert lower >= lower_limit(count, trials, 1e-3)
        assert upper <= upper_limit(count, trials, 1e-3)
    last = Watched(looks)
    assert (last.exceedances, last.trials, last.method) == (*looks[-1], "counting, anytime")
    assert last.estimate == k[-1] / n[-1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: upper_limit(11, 10, 0.1), "between 0 and that of trials"),
        (lambda: lower_limit(1, 0, 0.1), "trials"),
        (lambda: upper_limit(1, 10, 0.7), "at most 0.5"),
        (lambda: log_evidence(10, 10, 0.5), "every trial"),
        (lambda: log_evidence(1, 10, 0.0), "strictly between"),
        (lambda: log_evidence(1, 10, np.nan), "strictly between"),
        (lambda: Watched(()), "never"),
        (lambda: Watched(((2, 10), (1, 20))), "grow"),
        (lambda: Watched(((2, 10), (2, 10))), "grow"),
        (lambda: Watched(((2, 10), (14, 20))), "grow"),
    ],
)
def test_misuse_is_a_usage_error(wrong, message):
    with pytest.raises(UsageError, match=message):
        wrong()
