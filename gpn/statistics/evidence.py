"""What the trials of one event say of its probability: by counting, or by importance sampling."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from scipy import special

from gpn.statistics.limits import FloatArray, lower_limit, upper_limit
from theory.errors import UsageError

COUNTING, COUNTING_ANYTIME, IMPORTANCE_SAMPLING = "counting", "counting, anytime", "importance sampling"
"""How a probability was estimated."""

LEAST_EFFECTIVE = 100.0
"""Draws of equal weight that weighted draws must be worth; with fewer the normal approximation is not trusted."""


class Evidence(Protocol):
    """Trials of one event that are counted, and the limits that they put on its probability."""

    @property
    def method(self) -> str: ...
    @property
    def trials(self) -> int: ...
    @property
    def exceedances(self) -> int: ...
    @property
    def estimate(self) -> float: ...
    def limits(self, alpha: float) -> tuple[float, float]: ...


@dataclass(frozen=True, slots=True)
class Counted:
    """How many of the independent trials showed the event.

    >>> Counted(exceedances=3, trials=1000).estimate
    0.003
    """

    exceedances: int
    trials: int
    method: ClassVar[str] = COUNTING

    @property
    def estimate(self) -> float:
        """The frequency."""
        return self.exceedances / self.trials

    def limits(self, alpha: float) -> tuple[float, float]:
        """The one-sided exact limits (Clopper and Pearson 1934), each wrong with probability at most alpha."""
        return (
            float(lower_limit(self.exceedances, self.trials, alpha)),
            float(upper_limit(self.exceedances, self.trials, alpha)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Weighted:
    """Independent unbiased estimates of the probability, one for each draw of an importance sampler.

    Args:
        log_estimates: their logarithms, array (draws,), minus infinity where the event was missed.

    Raises:
        UsageError: no draws, or a logarithm that is not a number or plus infinity.

    >>> round(Weighted(np.log([0.1, 0.2, 0.3])).estimate, 12)
    0.2
    """

    log_estimates: FloatArray
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
        return float(np.exp(self._log_scale()) * self._scaled().mean())

    @property
    def effective_draws(self) -> float:
        r"""Draws of equal weight that these are worth, :math:`(\sum w)^2 / \sum w^2` (Kish 1965)."""
        scaled = self._scaled()
        return float(scaled.sum() ** 2 / max((scaled**2).sum(), 1e-300))

    def limits(self, alpha: float) -> tuple[float, float]:
        r"""One-sided limits for the mean of skewed estimates, each wrong with probability about alpha.

        .. math:: \mu = m - \frac{s}{\sqrt N}\, g^{-1}(\pm z_{1-\alpha}), \qquad
                  g^{-1}(x) = \frac3a \left[(1 + a (x - a/6))^{1/3} - 1\right], \quad a = \hat\gamma / \sqrt N

        the normal approximation with its skewness removed by a cubic transformation (Hall 1992, JRSS B 54, 221-228):
        asymptotic in the number of draws, unlike the limits of a count. Draws worth fewer than `LEAST_EFFECTIVE` give
        no limits, (0, 1).

        Args:
            alpha: one-sided error probability.
        """
        if self.effective_draws < LEAST_EFFECTIVE:
            return 0.0, 1.0
        scaled = self._scaled()
        mean, deviation = scaled.mean(), scaled.std(ddof=1)
        if deviation == 0:
            return self.estimate, self.estimate
        root = np.sqrt(scaled.size)
        skewness = ((scaled - mean) ** 3).mean() / deviation**3 / root
        quantile = float(special.ndtri(1 - alpha))
        ends = [mean - deviation / root * _unskewed(x, skewness) for x in (quantile, -quantile)]
        lower, upper = (float(np.clip(end * np.exp(self._log_scale()), 0.0, 1.0)) for end in ends)
        return lower, upper

    def _log_scale(self) -> float:
        largest = float(self.log_estimates.max())
        return largest if np.isfinite(largest) else 0.0

    def _scaled(self) -> FloatArray:
        """The estimates over the largest of them."""
        return np.exp(self.log_estimates - self._log_scale())


def _unskewed(x: float, skewness: float) -> float:
    """Hall's inverse transformation; x itself without skewness."""
    if abs(skewness) < 1e-9:
        return x
    return 3 / skewness * (float(np.cbrt(1 + skewness * (x - skewness / 6))) - 1)
