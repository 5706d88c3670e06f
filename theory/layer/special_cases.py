"""One-step tails that need no inversion: laws of signs, constant sums, targets at the edge of what can be reached."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy  # scipy.stats is loaded on first use: it is the slowest of its parts
from scipy.special import logsumexp

from theory.layer.conditioning import SMALLEST_WIDTH, log_sphere_mean
from theory.layer.law import Event
from theory.layer.saddle import find_saddle
from theory.numerics.arithmetic import FloatArray

ACCEPTED = 1e-2
"""Largest relative error at which a probability is given at all."""


_MOST_TERMS = 2000  # of a mixture of Beta laws; at larger widths the inversion is quicker and as good
_SLACK = 1e-12
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class ExactTail:
    """The probability of a one-step event.

    Args:
        log: its natural logarithm; -inf for an impossible event, nan where it is not available.
        error: estimate of the absolute error of `log`, that is, of the relative error of the probability.
        reason: why it is not available, or by what it is known without inversion, else empty.
    """

    log: float
    error: float
    reason: str = ""

    @property
    def available(self) -> bool:
        """Whether there is a number at all."""
        return not np.isnan(self.log)

    @property
    def probability(self) -> float:
        """The probability itself; nan where it is not available, 0 also where it underflows."""
        return float(np.exp(self.log))


def unavailable(reason: str) -> ExactTail:
    return ExactTail(np.nan, np.inf, reason)


def constant_sum(event: Event) -> ExactTail | None:
    """A constant sum that is within rounding of the target: for phi linear."""
    levels = event.profile.levels
    spread = event.profile.highest - event.profile.lowest
    inside = not event.weighted and spread > 0 and event.highest > 0
    constant = len(levels) == 1 or (inside and find_saddle(event) is None)
    return unavailable("the sum is a constant, at the target within rounding") if constant else None


def law_of_signs(event: Event) -> ExactTail | None:
    r"""Functions that are c_+ on one side of 0 and c_- on the other, or c_+- x^2: exact laws of the signs.

    The number k of positive coordinates is binomial and independent of the moduli, and the share of k coordinates in a
    squared norm is Beta(k/2, (n-k)/2).
    """
    profile, n = event.profile, event.width
    if np.any(profile.breakpoints != 0):
        return None
    quadratic = not event.weighted and len(profile.levels) != 2
    values = profile.values / profile.nodes.squares if quadratic else profile.values
    right, left = values[profile.nodes.points > 0], values[profile.nodes.points < 0]
    size = 1e-12 * np.abs(values).max()
    if np.ptp(right) > size or np.ptp(left) > size:
        return None
    plus, minus = float(np.median(right)), float(np.median(left))
    if abs(plus - minus) <= size:
        return None
    share = (event.target - minus) / (plus - minus)  # of the positive coordinates, to be reached or not exceeded
    share = float(np.round(share)) if abs(share - np.round(share)) < _SLACK else share  # 1 - 1e-16 is 1
    continuous = quadratic or event.weighted
    if continuous and 0 < share < 1 and n > _MOST_TERMS:
        return None
    above = (event.sign > 0) == (plus > minus)
    k = np.arange(n + 1)
    log_binomial = scipy.stats.binom.logpmf(k, n, 0.5)
    if not continuous:
        slack = 1e-9 * n
        reached = k >= n * share - slack if above else k <= n * share + slack
        log_share = np.where(reached, 0.0, -np.inf)
    else:
        log_share = _log_beta_tail(k, n, share, above)
    total = float(logsumexp(log_binomial + log_share))
    return ExactTail(min(total, 0.0), 1e-12 + 4 * _EPS * n, "the law of the signs")


def _log_beta_tail(k: npt.NDArray[np.integer], n: int, share: float, above: bool) -> FloatArray:
    """log P(B >= share), or <=, for B ~ Beta(k/2, (n-k)/2), a point mass at 0 or 1 for k = 0 and n."""
    inner = k[1:-1]
    if 0 < share < 1:
        tail = scipy.stats.beta.logsf if above else scipy.stats.beta.logcdf
        with np.errstate(divide="ignore"):
            inside = tail(share, inner / 2, (n - inner) / 2)
    else:
        inside = np.full(len(inner), 0.0 if (share <= 0) == above else -np.inf)
    ends = [0.0 if (end >= share if above else end <= share) else -np.inf for end in (0.0, 1.0)]
    return np.concatenate([ends[:1], inside, ends[1:]])


def at_edge(event: Event) -> ExactTail | None:
    """A target at the end of the range of g: every coordinate must lie where g takes its largest value."""
    if event.highest > 4 * _EPS * max(1.0, abs(event.target)):
        return None
    nodes, gains = event.profile.nodes, event.gain(event.profile.values)
    masses = [float(np.exp(nodes.log_weights[gains >= -gap]).sum()) for gap in (1e-4, 1e-12)]
    if masses[1] < 1e-2 * masses[0] or masses[1] == 0:  # the set shrinks to points
        return ExactTail(-np.inf, 0.0, "the target is reached on a set of measure zero at most")
    logs = [
        log_sphere_mean(nodes, np.where(gains >= -gap, 0.0, -np.inf), event.width)
        for gap in (1e-4, 1e-12)
        if event.width >= SMALLEST_WIDTH
    ]
    if logs and logs[0].log == -np.inf:
        return ExactTail(-np.inf, 0.0, "the target cannot be reached on the sphere")
    if not logs or masses[0] != masses[1] or not logs[1].error < ACCEPTED:
        return unavailable("the target is at the edge of what can be reached")
    return ExactTail(logs[1].log, logs[1].error + 1e-7, "every coordinate at the edge")


_ANGLES = 20_000  # of the circle
_PLAIN = (160, 400)  # latitudes and longitudes of the sphere
_WEIGHTED = (50, 100)  # the same where a direction is integrated too
_SHARES = 24


def small_probability(event: Event) -> tuple[float, float] | None:
    r"""P(sum G >= 0) for n = 2 or 3, and an estimate of its absolute error; None for other widths.

    For n = 2, x = sqrt(2)(cos a, sin a) with a uniform; for n = 3, x_1 = sqrt(3) t with t uniform on
    [-1, 1] (Archimedes) and the others on the circle that remains. A uniform direction u splits its squared norm in the
    same way, and given x a weighted sum of two squares has an arc sine law. Midpoint sums on two grids are compared.

    Args:
        event: an event of `theory.layer.law`.
    """
    if event.width not in (2, 3):
        return None
    coarse, fine = (_probability(event, factor) for factor in (1, 2))
    longitudes = _ANGLES if event.width == 2 else (_WEIGHTED if event.weighted else _PLAIN)[1]
    return fine, 4 * abs(fine - coarse) + 0.25 / longitudes  # a jump is placed to half a step of the finer grid


def _probability(event: Event, factor: int) -> float:
    function: Callable[[FloatArray], FloatArray] = event.profile.function
    if event.width == 2:
        angle = _midpoints(_ANGLES * factor) * 2 * np.pi
        gains = np.stack([event.gain(function(np.sqrt(2) * part)) for part in (np.cos(angle), np.sin(angle))])
        return float(_arc_sine(gains[0], gains[1]).mean() if event.weighted else _crossing(gains.sum(axis=0)[None]))
    latitudes, longitudes = _WEIGHTED if event.weighted else _PLAIN
    latitude = 2 * _midpoints(latitudes * factor) - 1
    angle = _midpoints(longitudes * factor) * 2 * np.pi
    circle = np.sqrt(3 * (1 - latitude**2))[:, None]
    first = event.gain(function(np.sqrt(3) * latitude))[:, None]
    second, third = (event.gain(function(circle * part)) for part in (np.cos(angle), np.sin(angle)))
    if not event.weighted:
        return _crossing(first + second + third)
    total = 0.0
    shares = _midpoints(_SHARES * factor) ** 2  # u_1^2, as |u_1| is uniform on [0, 1]
    for share in shares:
        need = -share * first / (1 - share)
        total += float(_arc_sine(second - need, third - need).mean())
    return total / len(shares)


def _midpoints(count: int) -> FloatArray:
    return (np.arange(count) + 0.5) / count


def _arc_sine(one: FloatArray, other: FloatArray) -> FloatArray:
    """P(one cos^2 b + other sin^2 b >= 0) for a uniform angle b."""
    high, low = np.maximum(one, other), np.minimum(one, other)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.clip(-low / (high - low), 0, 1)
        inside = 2 / np.pi * np.arccos(np.sqrt(ratio))
    return np.where(low >= 0, 1.0, np.where(high < 0, 0.0, inside))


def _crossing(values: FloatArray) -> float:
    """Fraction of each row's periodic line where it is >= 0, its crossings placed linearly, averaged over rows."""
    following = np.roll(values, -1, axis=1)
    rising = np.maximum(values, following)
    span = np.abs(following - values)
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(span > 0, np.clip(rising / span, 0, 1), values >= 0)
    return float(np.where((values >= 0) & (following >= 0), 1.0, part).mean())
