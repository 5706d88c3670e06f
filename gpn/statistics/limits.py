"""Exact limits for counted probabilities, and verdicts on claimed bounds."""

import math
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt
from scipy import special

from theory.errors import UsageError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]
MAX_TRIALS = 2**53  # counts up to here are exact in float64


class Verdict(StrEnum):
    """What the trials say about the claim: probability <= bound.

    * HOLDS: the upper limit is at most the bound.
    * VIOLATED: the lower limit is above the bound.
    * UNDECIDED: the bound lies between the limits.
    * VACUOUS: the bound is 1 or more, or there is none, so that no count could contradict it.

    A verdict has four values, so it is neither true nor false; compare it, as below.

    >>> str(Verdict.HOLDS), Verdict("violated") is Verdict.VIOLATED
    ('holds', True)
    """

    HOLDS = "holds"
    VIOLATED = "violated"
    UNDECIDED = "undecided"
    VACUOUS = "vacuous"

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"the verdict {str(self)!r} is one of four values, neither true nor false; "
            "write `verdict is Verdict.HOLDS` or `verdict == 'holds'`"
        )


class Decision(NamedTuple):
    """The exact one-sided limits of a probability and the verdict on its bound."""

    lower: float
    upper: float
    verdict: Verdict


def lower_limit(exceedances: npt.ArrayLike, trials: npt.ArrayLike, alpha: npt.ArrayLike) -> FloatArray:
    r"""The exact lower confidence limit of a probability of which k of N independent trials showed the event.

    $$\underline p: \quad P(X \ge k) = \alpha, \quad X \sim \mathrm{Bin}(N, \underline p), \qquad
    \underline p = I^{-1}_{\alpha}(k, N - k + 1),$$

    0 for k = 0 and $\alpha^{1/N}$ for k = N (Clopper and Pearson 1934, Biometrika 26, 404-413). Whatever the
    true probability, the limit lies above it with probability at most alpha.

    Args:
        exceedances: k, integers in 0..N, any shape that broadcasts with the others.
        trials: N, integers in 1..2^53.
        alpha: one-sided error probability, in (0, 0.5].

    Returns:
        Array of the broadcast shape, 0-dimensional for scalars.

    Raises:
        UsageError: an argument outside its range.

    >>> round(float(lower_limit(3, 100, 0.01)), 6)
    0.004395
    """
    k, n, a = checked_counts(exceedances, trials, alpha)
    first, second = np.maximum(k, 1.0), n - np.maximum(k, 1.0) + 1
    guess = special.betaincinv(first, second, a)
    limit = _newton(guess, lambda p: special.betainc(first, second, p), first, second, a, sign=1)
    limit = np.where(k == 0, 0.0, limit)
    return np.where(k == n, np.exp(np.log(a) / n), limit)


def upper_limit(exceedances: npt.ArrayLike, trials: npt.ArrayLike, alpha: npt.ArrayLike) -> FloatArray:
    r"""The exact upper confidence limit of a probability of which k of N independent trials showed the event.

    $$\overline p: \quad P(X \le k) = \alpha, \quad X \sim \mathrm{Bin}(N, \overline p), \qquad
    1 - I_{\overline p}(k + 1, N - k) = \alpha,$$

    $1 - \alpha^{1/N}$ for k = 0 and 1 for k = N (Clopper and Pearson 1934, Biometrika 26, 404-413). Whatever
    the true probability, the limit lies below it with probability at most alpha.

    Args:
        exceedances, trials, alpha: as for `lower_limit`.

    Raises:
        UsageError: an argument outside its range.

    >>> round(float(upper_limit(0, 1000, 0.01)), 6)
    0.004595
    """
    k, n, a = checked_counts(exceedances, trials, alpha)
    first, second = np.minimum(k, n - 1) + 1, n - np.minimum(k, n - 1)
    guess = special.betainccinv(first, second, a)
    limit = _newton(guess, lambda p: special.betaincc(first, second, p), first, second, a, sign=-1)
    limit = np.where(k == 0, -np.expm1(np.log(a) / n), limit)
    return np.where(k == n, 1.0, limit)


def _newton(
    guess: Floats,
    tail: Callable[[Floats], Floats],
    first: FloatArray,
    second: FloatArray,
    alpha: FloatArray,
    sign: int,
) -> FloatArray:
    """Sharpen SciPy's inverse of a beta tail: of few events in 1e9 trials it has 8 digits.

    Newton steps on the logarithm of the tail, whose slope at p is sign * density / tail. Limits that round to
    1 are left alone, and those for many events, where the guess is good and the density is not.
    """
    limit = np.asarray(guess, dtype=np.float64)
    for _ in range(8):
        with np.errstate(all="ignore"):
            log_density = (first - 1) * np.log(limit) + (second - 1) * np.log1p(-limit)
            density = np.exp(log_density - special.betaln(first, second))
            value = tail(limit)
            step = (np.log(value) - np.log(alpha)) * value / (sign * density)
        usable = np.isfinite(step) & (np.abs(step) <= 0.5 * limit) & (first <= 1e6)
        limit = np.where(usable, limit - step, limit)
        if not np.any(usable & (np.abs(step) > 1e-9 * limit)):
            break
    return limit


def checked_counts(
    exceedances: npt.ArrayLike, trials: npt.ArrayLike, alpha: npt.ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The validated arguments of a limit as float64 arrays of one shape."""
    n = _integers("the number of trials", trials)
    k = _integers("the number of exceedances", exceedances)
    a = np.asarray(alpha, dtype=np.float64)
    if not np.all((n >= 1) & (n <= MAX_TRIALS)):
        raise UsageError(f"the number of trials is {_shown(n)}; it must lie between 1 and 2**53")
    if not np.all((k >= 0) & (k <= n)):
        raise UsageError(
            f"the number of exceedances is {_shown(k)}; it must lie between 0 and that of trials, {_shown(n)}"
        )
    if not np.all((a > 0) & (a <= 0.5)):
        raise UsageError(f"alpha is {_shown(a)}; an error probability must lie above 0 and be at most 0.5")
    counts, totals, alphas = np.broadcast_arrays(k.astype(np.float64), n.astype(np.float64), a)
    return counts, totals, alphas


def _integers(what: str, values: npt.ArrayLike) -> IntArray:
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise UsageError(f"{what} is {_shown(array)}; it must be a whole number (an integer type)")
    return array.astype(np.int64)


def _shown(array: npt.NDArray[np.generic]) -> str:
    if array.size > 1 and array.dtype.kind in "iuf":
        return f"one of {array.size} values from {array.min()} to {array.max()}"
    return str(array.tolist())


def row_alpha(level: float, rows: int) -> float:
    r"""The error probability that each of several verdicts may have, so that all are right together.

    $$\alpha_{\mathrm{row}} = (1 - \mathrm{level}) / m \qquad \text{(Bonferroni; Dunn 1961, JASA 56, 52-64)}$$

    One-sided limits are enough: a claim is either true, and then only `violated` is wrong, or false, and then
    only `holds` is wrong. Rows may share their trials, as several epsilons do: the union bound needs no
    independence (docs/statistics.md).

    Args:
        level: simultaneous confidence level of the report, in [0.5, 1).
        rows: m, the number of rows of the report, at least 1.

    Raises:
        UsageError: an argument outside its range.

    >>> row_alpha(0.75, 10)
    0.025
    """
    if not 0.5 <= level < 1:
        raise UsageError(f"the confidence level is {level}; it must be at least 0.5 and below 1, such as 0.99")
    if rows < 1:
        raise UsageError(f"a report of {rows} rows has nothing to decide; it needs at least one")
    return (1 - level) / rows


def bounded(lower: float, upper: float, bound: float | None) -> Verdict:
    """The verdict of two limits of a probability on the claim that it is at most `bound`.

    Args:
        lower, upper: the limits.
        bound: the claimed upper bound of the probability; None or nan where there is none.

    Raises:
        UsageError: a negative bound.

    >>> [str(bounded(0.1, 0.2, bound)) for bound in (0.05, 0.15, 0.25, 1.5)]
    ['violated', 'undecided', 'holds', 'vacuous']
    """
    if bound is not None and bound < 0:
        raise UsageError(f"the bound is {bound}; a bound of a probability is not negative")
    if bound is None or math.isnan(bound) or bound >= 1:
        return Verdict.VACUOUS
    if lower > bound:
        return Verdict.VIOLATED
    return Verdict.HOLDS if upper <= bound else Verdict.UNDECIDED


FACTOR = 2.0
"""Limits within this factor of a probability, with complements within it of the complement, confirm it."""


def equals(lower: float, upper: float, probability: float, error: float = 0.0) -> Verdict:
    """The verdict of two limits of a probability on the claim that it is exactly `probability`.

    `violated` if the claimed value lies outside the limits, else `holds` if they pin the probability down to within
    the factor `FACTOR`, and 1 - p too, and `undecided` if they are wider. With exact limits of
    error probability alpha/2 each this is an exact two-sided test at level alpha (Clopper and Pearson 1934).

    Args:
        lower, upper: the limits.
        probability: p, known exactly.
        error: by how much the number given for p may be off.

    Raises:
        UsageError: a probability outside [0, 1].

    >>> [str(equals(0.01, 0.03, p)) for p in (0.009, 0.016, 0.019, 0.029)]
    ['violated', 'holds', 'holds', 'undecided']
    """
    if not 0 <= probability <= 1:
        raise UsageError(f"the probability is {probability}; it must lie between 0 and 1")
    if not lower - error <= probability <= upper + error:
        return Verdict.VIOLATED
    low, high = near(probability, FACTOR)
    return Verdict.HOLDS if low <= lower and upper <= high else Verdict.UNDECIDED


def equivalent(lower: float, upper: float, prediction: float, factor: float = FACTOR) -> Verdict:
    """The verdict of two limits of a probability on the claim that it is close to a predicted one.

    Close means that p is within a factor of the predicted one, and 1 - p too: `holds` if both limits are, `violated`
    if they lie beyond it on one side, else `undecided`. With limits of error probability alpha each these are the two
    one-sided tests of Schuirmann (1987) and their converse (docs/statistics.md). A prediction carries an error of its
    own, so that a test of exact equality would reject it, however good it is, once the trials are many.

    Args:
        lower, upper: the limits.
        prediction: p.
        factor: above 1.

    Raises:
        UsageError: a prediction outside [0, 1], or a factor that is not above 1.

    >>> [str(equivalent(0.01, 0.03, p)) for p in (0.004, 0.016, 0.03, 0.07)]
    ['violated', 'holds', 'undecided', 'violated']
    """
    if not 0 <= prediction <= 1:
        raise UsageError(f"the prediction is {prediction}; it must lie between 0 and 1")
    if not factor > 1:
        raise UsageError(f"the factor is {factor}; it must be above 1, such as 2")
    return within(lower, upper, *near(prediction, factor))


def within(lower: float, upper: float, low: float, high: float) -> Verdict:
    """The verdict of two limits of a probability on the claim that it lies in an interval.

    Args:
        lower, upper: the limits.
        low, high: the ends of the interval, which belong to it.

    >>> [str(within(0.1, 0.2, *ends)) for ends in ((0.1, 0.3), (0.15, 0.3), (0.21, 0.3))]
    ['holds', 'undecided', 'violated']
    """
    if upper < low or lower > high:
        return Verdict.VIOLATED
    return Verdict.HOLDS if low <= lower and upper <= high else Verdict.UNDECIDED


def near(probability: float, factor: float = FACTOR) -> tuple[float, float]:
    """The probabilities that are within a factor of p, and whose complements are within it of 1 - p.

    Args:
        probability: p.
        factor: above 1.

    >>> near(0.1), near(0.5)
    ((0.05, 0.2), (0.25, 0.75))
    """
    rest = 1 - probability
    return max(probability / factor, 1 - factor * rest), min(factor * probability, 1 - rest / factor)


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict of several rows together.

    `violated` if any row is; else `undecided` if any row is; else `holds` if at least one row does. Vacuous
    rows count neither for nor against: they could not have come out otherwise. If all rows are vacuous, or
    there are none, nothing was tested, and the answer is `undecided`, never `holds`.

    >>> combine([Verdict.HOLDS, Verdict.VACUOUS]), combine([Verdict.VACUOUS])
    (<Verdict.HOLDS: 'holds'>, <Verdict.UNDECIDED: 'undecided'>)
    """
    seen = {Verdict(verdict) for verdict in verdicts}
    for verdict in (Verdict.VIOLATED, Verdict.UNDECIDED, Verdict.HOLDS):
        if verdict in seen:
            return verdict
    return Verdict.UNDECIDED


def mean_interval(values: FloatArray, level: float) -> tuple[float, float, float]:
    r"""The mean of independent values with Student's interval, exact for normal ones.

    $$\bar x \pm t_{(1 + level)/2,\, N - 1}\, s / \sqrt N$$

    (Student 1908.)

    Args:
        values: array (N,), N >= 2, finite.
        level: the confidence level.

    >>> [round(number, 3) for number in mean_interval(np.array([1.0, 2.0, 3.0]), 0.95)]
    [2.0, -0.484, 4.484]
    """
    centre = float(values.mean())
    half = float(special.stdtrit(len(values) - 1, (1 + level) / 2) * values.std(ddof=1) / np.sqrt(len(values)))
    return centre, centre - half, centre + half


def median_limits(values: FloatArray, alpha: float) -> tuple[float, float]:
    r"""Exact limits of the median of the law of independent values, each wrong with probability at most alpha.

    $$[x_{(k)}, x_{(N + 1 - k)}], \qquad k = \max\{k : P(\mathrm{Bin}(N, \tfrac12) < k) \le \alpha\}$$

    (Thompson 1936, Annals of Mathematical Statistics 7, 122-128.) No limit is known, and it is infinite, where N is
    below log2(1/alpha), nor where as many values are unknown (nan) as would be needed.

    Args:
        values: array (N,).
        alpha: one-sided error probability.

    >>> median_limits(np.arange(1.0, 12.0), 0.01), median_limits(np.ones(5), 0.01)
    ((2.0, 10.0), (-inf, inf))
    """
    count = len(values)
    rank = int(np.sum(special.bdtr(np.arange(count), count, 0.5) <= alpha))
    if rank == 0:
        return -math.inf, math.inf
    low = np.sort(np.where(np.isnan(values), -np.inf, values))[rank - 1]
    high = np.sort(np.where(np.isnan(values), np.inf, values))[count - rank]
    return float(low), float(high)
