"""How many trials a verification needs, from exact binomial probabilities."""

import math
from fractions import Fraction

from scipy import optimize, special

from gpn.statistics.limits import FACTOR, MAX_TRIALS, checked_counts, upper_limit
from theory.errors import UsageError

POWER = 0.95
"""Probability with which a run should decide a true claim."""


def trials_to_decide(bound: float | None, alpha: float) -> int | None:
    r"""The smallest number of trials after which no exceedance at all makes the verdict `holds`.

    $$N = \lceil \log\alpha / \log(1 - \mathrm{bound}) \rceil,$$

    the k = 0 case of Clopper and Pearson (1934). With fewer trials the verdict `holds` is out of reach. With
    N trials it is reached only if nothing is seen: `trials_with_power` says how many a run should have.

    Args:
        bound: the claimed upper bound of a probability; None or nan where there is none.
        alpha: error probability of the verdict.

    Returns:
        N, or None where no number of trials decides: bound 0, bound 1 or more, no bound.

    Raises:
        UsageError: bound negative, or alpha outside (0, 0.5].

    >>> trials_to_decide(0.001, 0.01), trials_to_decide(1.0, 0.01)
    (4603, None)
    """
    if not _decidable(bound, alpha):
        return None
    assert bound is not None
    # As a fraction, the quotient cannot overflow, however small the bound.
    trials = max(1, math.ceil(Fraction(-math.log(alpha)) / Fraction(-math.log1p(-bound))))
    return _exactly(trials, 0, bound, alpha) if trials < MAX_TRIALS else trials


def trials_with_power(bound: float | None, alpha: float, truth: float, power: float = POWER) -> int | None:
    r"""The smallest number of trials N with which the verdict is `holds` with probability `power` or more.

    $$\min\{N : P(\overline p(X, N) \le \mathrm{bound}) \ge \mathrm{power}\}, \qquad
    X \sim \mathrm{Bin}(N, \mathrm{truth}),$$

    from exact binomial probabilities and the upper limit of Clopper and Pearson (1934). The probability is a
    saw-tooth in N: with a few trials more it can be slightly less than asked for, until the next tooth
    (docs/statistics.md). Where more than a hundred teeth in a row just miss the power, not every tooth is tried, and
    N may exceed the smallest one by a percent of their distance.

    Args:
        bound: the claimed upper bound of the probability; None or nan where there is none.
        alpha: error probability of the verdict.
        truth: the true probability, or what theory predicts for it.
        power: the wanted probability that the verdict is `holds`, above alpha and below 1.

    Returns:
        N, or None where no number of trials up to 2^53 has that power: truth >= bound, bound 0 or vacuous.

    Raises:
        UsageError: an argument outside its range.

    >>> trials_with_power(0.001, 0.01, 0.000125), trials_with_power(0.001, 0.01, 0.002)
    (10042, None)
    """
    if not alpha < power < 1:
        raise UsageError(f"the power is {power}; it must lie above alpha = {alpha} and below 1, such as 0.95")
    if not 0 <= truth <= 1:
        raise UsageError(f"the true probability is {truth}; it must lie between 0 and 1")
    if not _decidable(bound, alpha) or truth >= (bound or 0.0):
        return None
    assert bound is not None
    if (1 - truth / bound) ** 2 * bound * MAX_TRIALS < 1:  # closer together than any such number of trials can tell
        return None
    if (trials_to_decide(bound, alpha) or MAX_TRIALS) >= MAX_TRIALS:
        return None
    first = _first_tolerated(bound, alpha, truth, power)
    tolerated = first
    while tolerated is not None and first is not None:
        trials = math.ceil(_crossing(tolerated, bound, alpha))
        if trials >= MAX_TRIALS:
            return None
        trials = _exactly(trials, tolerated, bound, alpha)
        if _at_most(tolerated, trials, truth) >= power:
            return trials
        # Rounding N up to an integer costs a little power: try the next teeth, first one by one.
        tolerated += 1 + (tolerated - first) // 100
    return None


def trials_for_factor(probability: float, alpha: float, power: float = POWER) -> int | None:
    r"""Trials after which exact limits of error alpha/2 each lie within a factor 2 of a probability p.

    .. math:: N = \left(\frac{z_{1-\alpha/2} + z_{power}}{2 (1 - 1/\sqrt2)}\right)^2 \frac1{\min(p, 1-p)}

    in normal approximation: the root of a count has standard deviation 1/2 whatever its mean Np, so the lower limit
    is above Np/2 with the wanted probability once sqrt(Np) (1 - 1/sqrt 2) is half the sum of the two quantiles. The
    upper limit needs fewer.

    Args:
        probability: p.
        alpha: error probability of the two limits together.
        power: the wanted probability.

    Returns:
        N, or None where it is beyond 2^53.

    >>> trials_for_factor(0.01, 0.01)
    5192
    """
    rarer = min(probability, 1 - probability)
    quantiles = special.ndtri(1 - alpha / 2) + special.ndtri(power)
    scaled = (quantiles / (2 * (1 - FACTOR**-0.5))) ** 2
    return math.ceil(scaled / rarer) if rarer > scaled / MAX_TRIALS else None


def _first_tolerated(bound: float, alpha: float, truth: float, power: float) -> int | None:
    """The first k whose tooth could reach the power if the number of trials could be a fraction.

    At the fractional N where k exceedances just decide, the power increases with k (for rare events because
    gamma laws are ordered by the star order, van Zwet 1964; otherwise a matter of observation); rounding N up
    to an integer only lowers it. So no smaller k can do, and the bisection overlooks none.
    """

    def reaches(tolerated: int) -> bool:
        return _at_most(tolerated, _crossing(tolerated, bound, alpha), truth) >= power

    low, high = -1, 0
    while not reaches(high):
        low, high = high, 2 * high + 1
        if high / bound > MAX_TRIALS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high


def _crossing(tolerated: int, bound: float, alpha: float) -> float:
    """The real N at which P(X <= k) = alpha for X ~ Bin(N, bound), through the incomplete beta function."""
    high = max((tolerated + 1) / bound, tolerated + 1.0)
    while _at_most(tolerated, high, bound) > alpha:
        high *= 2
    low = float(tolerated)
    return float(optimize.brentq(lambda n: _at_most(tolerated, n, bound) - alpha, low, high, rtol=1e-14))


def _exactly(trials: int, tolerated: int, bound: float, alpha: float) -> int:
    """Move N to the first integer at which `holds` is the verdict; a closed form may round the other way."""
    while float(upper_limit(tolerated, trials, alpha)) > bound:
        trials += 1
    while trials > tolerated + 1 and float(upper_limit(tolerated, trials - 1, alpha)) <= bound:
        trials -= 1
    return trials


def _at_most(tolerated: int, trials: float, probability: float) -> float:
    """P(X <= k) for X ~ Bin(N, p), continued to real N >= k."""
    if trials <= tolerated:
        return 1.0
    return float(special.betaincc(tolerated + 1.0, trials - tolerated, probability))


def _decidable(bound: float | None, alpha: float) -> bool:
    """Whether enough trials could confirm the bound."""
    checked_counts(0, 1, alpha)
    if bound is not None and bound < 0:
        raise UsageError(f"the bound is {bound}; a bound of a probability is not negative")
    return bound is not None and 0 < bound < 1
