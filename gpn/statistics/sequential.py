"""Limits for a counted probability that hold at every number of trials at once, so that a run may stop when it likes.

The evidence against a probability is a martingale in the number of trials; by Ville's inequality it ever exceeds
1/alpha with probability at most alpha. Derivation: docs/sequential.md.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from gpn.statistics.evidence import COUNTING_ANYTIME
from gpn.statistics.limits import FloatArray, checked_counts
from theory.errors import UsageError

SHAPE = 0.5
"""a: the odds ratio u has the density a u^(a-1) on (0, 1), on the scale of p itself, however rare the event."""

_MOST_LOGIT = 700.0  # exp(-700) is a number still
_TOLERANCE = 1e-13  # of the logit of a limit; a limit is moved outward by as much
_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def log_evidence(exceedances: npt.ArrayLike, trials: npt.ArrayLike, probability: npt.ArrayLike) -> FloatArray:
    r"""The logarithm of the evidence that k exceedances in n trials give against a probability of p or more.

    .. math:: M_n(p) = \int_0^1 a u^{a-1} \frac{u^k}{(1 - (1-u) p)^n}\, du
              = \frac{a\, B_p(k + a,\, n - k - a)}{p^{k+a} (1-p)^{n-k-a}}, \qquad a = \tfrac12

    the likelihood of the trials under smaller odds, averaged over the odds ratio u, over that under p: a one-sided
    beta-binomial mixture (Robbins 1970, Ann. Math. Statist. 41, 1397-1409; Howard, Ramdas, McAuliffe and Sekhon 2021,
    Ann. Statist. 49, 1055-1080; in the odds ratio derived for this project, docs/sequential.md). B is the incomplete
    beta function. For trials of probability p it is a martingale of mean 1, for those of
    a larger probability a supermartingale; and it increases in p.

    The evidence against a probability of p or less is that of the trials that did not show the event:
    `log_evidence(n - k, n, 1 - p)`.

    Args:
        exceedances: k, integers in 0..n-1, any shape that broadcasts with the others. (With k = n the evidence is
            below 1 for every p, none at all.)
        trials: n, integers in 1..2^53.
        probability: p, strictly between 0 and 1.

    Returns:
        log M, array of the broadcast shape, 0-dimensional for scalars. Where p is so far below k/n that the incomplete
        beta function underflows, minus infinity stands for a number below 0: there is no evidence.

    Raises:
        UsageError: an argument outside its range.

    >>> bool(log_evidence(0, 2000, 0.01) > np.log(1e6) > log_evidence(5, 2000, 0.01))
    True
    """
    k, n, _ = checked_counts(exceedances, trials, 0.5)
    p = np.asarray(probability, dtype=np.float64)
    if not np.all(k < n):
        raise UsageError("where every trial showed the event there is no evidence against any p; look at fewer than n")
    if not np.all((p > 0) & (p < 1)):
        raise UsageError("a probability that is tested must lie strictly between 0 and 1; 0 and 1 need no statistics")
    return np.asarray(_log_mixture(k, n, p, 1 - p))


def upper_limit(exceedances: int, trials: int, alpha: float) -> float:
    r"""The upper limit of a probability after n trials of a run that may continue.

    .. math:: \overline p_n = \sup \{p : M_n(p) < 1/\alpha\}, \qquad
              P(\overline p_n < p \text{ for some } n \geq 1) \leq \alpha

    with M of `log_evidence` (Ville 1939). The limit of Clopper and Pearson, which lies a little lower, has this
    property for one n only, fixed in advance.

    Args:
        exceedances: k, of the first n trials.
        trials: n.
        alpha: one-sided error probability of the whole run, in (0, 0.5].

    Raises:
        UsageError: an argument outside its range.

    >>> round(upper_limit(0, 1000, 0.01), 6), upper_limit(7, 7, 0.01)
    (0.005573, 1.0)
    """
    checked_counts(exceedances, trials, alpha)
    return float(special.expit(_logit_of_limit(exceedances, trials, alpha)))


def lower_limit(exceedances: int, trials: int, alpha: float) -> float:
    r"""The lower limit of a probability after n trials of a run that may continue.

    .. math:: \underline p_n(k) = 1 - \overline p_n(n - k)

    the upper limit of the complement, without loss of digits where it is small; see `upper_limit`.

    Args:
        exceedances, trials, alpha: as for `upper_limit`.

    Raises:
        UsageError: an argument outside its range.

    >>> round(lower_limit(20, 100_000, 0.01), 8), lower_limit(0, 7, 0.01)
    (8.01e-05, 0.0)
    """
    checked_counts(exceedances, trials, alpha)
    return float(special.expit(-_logit_of_limit(trials - exceedances, trials, alpha)))


@dataclass(frozen=True, slots=True)
class Watched:
    """Trials of one event that were counted several times on the way, to stop when they decide.

    Args:
        looks: (exceedances, trials) of all trials so far, at every look; trials increase from look to look.
        unclear: of how many of the trials so far float64 cannot tell, at every look, as for `Counted`; none by default.

    Raises:
        UsageError: no look, or counts that do not grow.

    >>> Watched(looks=((2, 1000), (3, 2000))).estimate
    0.0015
    """

    looks: tuple[tuple[int, int], ...]
    unclear: tuple[int, ...] = ()
    method: ClassVar[str] = COUNTING_ANYTIME

    def __post_init__(self) -> None:
        if not self.looks:
            raise UsageError("trials that were never looked at say nothing")
        for (k, n), (next_k, next_n) in zip(self.looks, self.looks[1:], strict=False):
            if next_n <= n or not 0 <= next_k - k <= next_n - n:
                raise UsageError(f"counts grow from look to look, but {next_k} of {next_n} came after {k} of {n}")

    @property
    def trials(self) -> int:
        """Number of trials at the last look."""
        return self.looks[-1][1]

    @property
    def exceedances(self) -> int:
        """How many of them showed the event."""
        return self.looks[-1][0]

    @property
    def unknown(self) -> int:
        """Of how many of them float64 cannot tell."""
        return self.unclear[-1] if self.unclear else 0

    @property
    def estimate(self) -> float:
        """The frequency."""
        return self.exceedances / self.trials

    def limits(self, alpha: float) -> tuple[float, float]:
        r"""The sharpest one-sided limits of all looks, each ever wrong with probability at most alpha.

        .. math:: \max_i \underline p_{n_i}, \qquad \min_i \overline p_{n_i}

        Limits that hold at all looks at once hold together, so a row that is decided stays decided.

        Args:
            alpha: one-sided error probability of the whole run.
        """
        lower = max(lower_limit(k, n, alpha) for k, n in self.looks)
        unclear = self.unclear or (0,) * len(self.looks)
        upper = min(upper_limit(k + u, n, alpha) for (k, n), u in zip(self.looks, unclear, strict=True))
        return lower, upper


@lru_cache(maxsize=10_000)  # rows about one event, and later looks, ask again
def _logit_of_limit(k: int, n: int, alpha: float) -> float:
    """log(p/(1-p)) of the upper limit p, where the evidence, which increases in p, is 1/alpha; infinite for p = 1."""
    if k == n:
        return math.inf

    def excess(logit: float) -> float:
        p, q = special.expit([logit, -logit])
        return float(_log_mixture(np.asarray(k), np.asarray(n), p, q)) + math.log(alpha)

    # No mixture is more likely than the frequency k/n, nor than probability 0 if nothing was seen.
    low = max(float(special.logit(k / n)), math.log(math.expm1(-math.log(alpha) / n)))
    high = low + 1.0
    while excess(high) < 0:
        if high == _MOST_LOGIT:
            return math.inf
        high = min(low + 2 * (high - low), _MOST_LOGIT)
    return float(optimize.brentq(excess, low, high, xtol=_TOLERANCE)) + _TOLERANCE


def _log_mixture(k: FloatArray, n: FloatArray, p: FloatArray, q: FloatArray) -> FloatArray:
    """log M for k < n and q = 1 - p, by Stirling's formula: nothing as large as n cancels.

    With x = k + a, y = n - k - a, the beta function and the powers of p and q combine to n times the relative
    entropy of x/n to p, which is the sum of two deviances (Loader 2000), and to corrections of order log n.
    """
    x, y = k + SHAPE, n - k - SHAPE
    with np.errstate(divide="ignore"):
        inside = np.log(special.betainc(x, y, p))
    entropy = _deviance(x, n * p) + _deviance(y, n * q)
    stirling = _stirling_error(x) + _stirling_error(y) - _stirling_error(n)
    constants = math.log(SHAPE) + _HALF_LOG_TWO_PI + 0.5 * (np.log(n) - np.log(x) - np.log(y))
    total: FloatArray = entropy + stirling + constants + inside
    return total


def _deviance(x: FloatArray, mean: FloatArray) -> FloatArray:
    """x log(x/m) - x + m, accurate where x is near m."""
    relative = (x - mean) / mean
    deviance: FloatArray = mean * ((1 + relative) * np.log1p(relative) - relative)
    return deviance


def _stirling_error(x: FloatArray) -> FloatArray:
    """log Gamma(x) less Stirling's formula (x - 1/2) log x - x + log(2 pi)/2, to 1e-14."""
    large = np.maximum(x, 16.0)
    inverse = 1 / (large * large)
    series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse * (1 / 1680 - inverse / 1188)))) / large
    direct = special.gammaln(x) - (x - 0.5) * np.log(x) + x - _HALF_LOG_TWO_PI
    error: FloatArray = np.where(x < 16, direct, series)
    return error
