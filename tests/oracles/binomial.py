"""Exact binomial tests that the product does without: a two-sided p-value, and the power of a verdict."""

import math

from scipy import stats

from gpn.statistics.limits import checked_counts, upper_limit
from theory.errors import UsageError


def exact_test(exceedances: int, trials: int, probability: float) -> float:
    r"""Two-sided exact p-value for a probability that is known exactly (Freeman and Halton 1951).

    $$\sum_{j:\, P(X = j) \le P(X = k)} P(X = j), \qquad X \sim \mathrm{Bin}(N, p)$$

    >>> round(exact_test(10, 10, 0.5), 12)
    0.001953125
    """
    checked_counts(exceedances, trials, 0.5)
    if not 0 <= probability <= 1:
        raise UsageError(f"the probability is {probability}; it must lie between 0 and 1")
    return float(stats.binomtest(int(exceedances), int(trials), float(probability)).pvalue)


def power(trials: int, bound: float, alpha: float, truth: float) -> float:
    r"""Exact probability that the verdict is `holds` after N trials, if the true probability is `truth`.

    $$P(X \le c), \quad X \sim \mathrm{Bin}(N, \mathrm{truth}), \qquad
    c = \max\{k : \overline p(k, N) \le \mathrm{bound}\}$$

    >>> round(power(10_000, 0.001, 0.01, 0.000125), 4)
    0.8685
    """
    # The upper limit is at least k/N, the median of Bin(N, k/N) being k: it is above the bound once k/N is.
    holds, fails = -1, math.floor(trials * bound) + 1
    while fails - holds > 1:
        middle = (holds + fails) // 2
        if float(upper_limit(middle, trials, alpha)) <= bound:
            holds = middle
        else:
            fails = middle
    return float(stats.binom.cdf(holds, trials, truth))
