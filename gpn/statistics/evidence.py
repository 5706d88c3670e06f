"""What the trials of one event say about its probability: by counting, or by importance sampling."""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
from scipy import optimize, special

from gpn.statistics.limits import FloatArray, lower_limit, upper_limit
from theory.errors import UsageError

COUNTING, COUNTING_ANYTIME, IMPORTANCE_SAMPLING = "counting", "counting, anytime", "importance sampling"
"""How a probability was estimated."""

_ROUNDING = 1e-9  # relative, of a share of the largest estimate


class Evidence(Protocol):
    """Trials of one event that are counted, and the limits that they put on its probability."""

    @property
    def method(self) -> str: ...
    @property
    def trials(self) -> int: ...
    @property
    def exceedances(self) -> int: ...
    @property
    def unknown(self) -> int: ...
    @property
    def estimate(self) -> float: ...
    def limits(self, alpha: float) -> tuple[float, float]: ...


@dataclass(frozen=True, slots=True)
class Counted:
    """How many of the independent trials showed the event.

    Args:
        exceedances: those of which it is known.
        trials: all of them.
        unknown: those of which float64 cannot tell. The upper limit holds even if all of them showed the event, the
            lower one even if none did.

    >>> Counted(exceedances=3, trials=1000).estimate
    0.003
    >>> Counted(exceedances=0, trials=16, unknown=16).limits(0.01)
    (0.0, 1.0)
    """

    exceedances: int
    trials: int
    unknown: int = 0
    method: ClassVar[str] = COUNTING

    @property
    def estimate(self) -> float:
        """The frequency."""
        return self.exceedances / self.trials

    def limits(self, alpha: float) -> tuple[float, float]:
        """The one-sided exact limits (Clopper and Pearson 1934), each wrong with probability at most alpha."""
        return (
            float(lower_limit(self.exceedances, self.trials, alpha)),
            float(upper_limit(self.exceedances + self.unknown, self.trials, alpha)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Weighted:
    """Independent unbiased estimates of the probability, one for each draw of an importance sampler.

    Args:
        log_estimates: their logarithms, array (draws,), minus infinity where the event was missed.
        log_largest: the logarithm of a number that no estimate can exceed.

    Raises:
        UsageError: no draws, or a logarithm that is not a number or plus infinity.

    >>> weighted = Weighted(np.log(np.repeat([0.1, 0.2, 0.3], 1000)), log_largest=0.0)
    >>> round(weighted.estimate, 12), [round(limit, 3) for limit in weighted.limits(0.001)]
    (0.2, [0.194, 0.206])
    """

    log_estimates: FloatArray
    log_largest: float
    _known: dict[float, tuple[float, float]] = field(default_factory=dict, init=False, repr=False)
    method: ClassVar[str] = IMPORTANCE_SAMPLING

    def __post_init__(self) -> None:
        if self.log_estimates.size == 0 or not (self.log_estimates < np.inf).all():
            raise UsageError("importance sampling gave no draws, or an estimate that is not a number")

    @property
    def draws(self) -> int:
        """Their number."""
        return self.log_estimates.size

    @property
    def estimate(self) -> float:
        """The mean of the estimates, 0 where it underflows."""
        return self._times_largest(float(self._shares().mean()))

    @property
    def effective_draws(self) -> float:
        r"""Draws of equal weight that these are worth, :math:`(\sum w)^2 / \sum w^2` (Kish 1965)."""
        shares = self._shares()
        return float(shares.sum() ** 2 / max((shares**2).sum(), 1e-300))

    def limits(self, alpha: float) -> tuple[float, float]:
        r"""One-sided limits of the probability, each wrong with probability at most alpha.

        .. math:: \underline m = \min \Bigl\{m : \sum_c \frac1k \prod_i (1 + c (x_i - m)) < \frac1\alpha\Bigr\}

        for the shares x_i of the largest estimate, of mean m, and k bets c with c m < 1; for the upper limit -c in the
        place of c. Under the true mean each product has mean 1, so Markov's inequality bounds the error, whatever the
        law and the number of draws (betting: Waudby-Smith and Ramdas, JRSS B 86, 2024, 1-27; proof:
        docs/statistics.md#rare-events). If an estimate exceeds the largest one, the upper limit is 1.

        Args:
            alpha: one-sided error probability.
        """
        if alpha not in self._known:  # every bound on the event asks for the same limits
            self._known[alpha] = self._limits(alpha)
        return self._known[alpha]

    def _limits(self, alpha: float) -> tuple[float, float]:
        shares = self._shares()
        lower, upper = _limit_by_betting(shares, alpha, 1), 1.0
        if shares.max() <= 1 + _ROUNDING:
            upper = min(self._times_largest(_limit_by_betting(shares, alpha, -1)), 1.0)
        return min(self._times_largest(lower), 1.0), upper

    def _times_largest(self, share: float) -> float:
        """A share as a probability, without overflow."""
        return math.exp(min(math.log(share) + self.log_largest, 700.0)) if share > 0 else 0.0

    def _shares(self) -> FloatArray:
        """The estimates over the largest one."""
        return np.exp(self.log_estimates - self.log_largest)


def _limit_by_betting(shares: FloatArray, alpha: float, side: int) -> float:
    """The lower (side 1) or upper (side -1) limit of the mean of values in [0, 1]."""
    bets = 2.0 ** np.arange(-7, 4 if side > 0 else 1)
    values, repeats = _rounded(shares, side)

    def evidence(mean: float) -> float:  # against this mean; it falls with it on side 1, and rises on the other
        placed = bets[bets * mean < 1] if side > 0 else -bets
        with np.errstate(divide="ignore"):
            logs = np.log1p(placed[:, None] * (values - mean)) @ repeats
        return float(special.logsumexp(logs)) - math.log(bets.size) + math.log(alpha)

    # By Jensen's inequality no bet wins against the mean of the values, so the limit lies on one side of it.
    inner = min(float(values @ repeats) / shares.size, 1 - _ROUNDING)
    outer = 0.0 if side > 0 else 1 - _ROUNDING
    if evidence(outer) < 0:
        return 0.5 - 0.5 * side
    if evidence(inner) >= 0:  # all values are equal, to rounding
        return inner
    return float(optimize.brentq(evidence, min(inner, outer), max(inner, outer), xtol=1e-16))


def _rounded(shares: FloatArray, side: int) -> tuple[FloatArray, FloatArray]:
    """The values at 12 bits, each once, and how often each is there.

    They are rounded down for a lower limit and up, to 1 at most, for an upper one: each product falls, so the limit
    stays valid.

    >>> [part.tolist() for part in _rounded(np.array([0.5, 0.0, 0.5 + 2**-30]), 1)]
    [[0.0, 0.5], [1.0, 2.0]]
    """
    mantissas, exponents = np.frexp(shares)
    rounding = np.floor if side > 0 else np.ceil
    rounded = np.ldexp(rounding(mantissas * 2**12), exponents - 12)
    values, repeats = np.unique(rounded if side > 0 else np.minimum(rounded, 1.0), return_counts=True)
    return values, repeats.astype(np.float64)
