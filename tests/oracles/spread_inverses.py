"""The inverses of the predicted spread: width, depth or epsilon at a given probability, to the last whole number.

The product searches with `gpn.verification.width_search`, to a relative step; these are exact and independent of it.
"""

from collections.abc import Callable

import numpy as np
from scipy import special

from theory.depth.coefficients import NoPrediction
from theory.depth.fluctuation import Source, log_ratio_law, spread_probability, spread_quantile
from theory.errors import UsageError

_WIDEST, _DEEPEST = 10**9, 4096


def width_for(source: Source, depth: int, epsilon: float, probability: float) -> int | NoPrediction:
    r"""Smallest width at which the predicted probability of a spread of epsilon is at most p.

    .. math:: \min \{ n : P(\max_l |Y_l| \ge \epsilon) \le p \}

    It grows like v L/epsilon^2 (docs/fluctuation-law.md, section 5).

    Args:
        source: phi, or its coefficients.
        depth: L >= 2; one layer has no ratio.
        epsilon: > 0.
        probability: p in [1e-9, 1).

    Returns:
        The width, or `NoPrediction`: no law for this activation, or one for larger widths only.

    Raises:
        UsageError: an argument outside its range.
    """
    if depth < 2:
        raise UsageError(f"the ratio of gradients needs a depth of at least 2, not {depth}")
    widest = log_ratio_law(source, _WIDEST, depth)
    if isinstance(widest, NoPrediction):
        return widest
    numbers = widest.coefficients

    def chance(width: int) -> float:
        law = log_ratio_law(numbers, width, depth)
        return 1.0 if isinstance(law, NoPrediction) else spread_probability(law, epsilon)

    guess = widest.variance.max() * _WIDEST * (special.ndtri(probability / 4) / epsilon) ** 2
    found = _smallest(lambda width: _probit(chance(width)) - special.ndtri(probability), guess, 2, _WIDEST)
    if found is None:
        return NoPrediction(f"not even a width of {_WIDEST:.0e} suffices")
    if isinstance(log_ratio_law(numbers, max(found - 1, 2), depth), NoPrediction):
        return NoPrediction(f"the law covers widths from {found} only, where the probability is already smaller")
    return found


def depth_for(source: Source, width: int, epsilon: float, probability: float) -> int | NoPrediction:
    r"""Largest depth at which the predicted probability of a spread of epsilon is at most p.

    .. math:: \max \{ L : P(\max_l |Y_l| \ge \epsilon) \le p \}

    Args:
        source: phi, or its coefficients.
        width: n >= 2.
        epsilon: > 0.
        probability: p in [1e-9, 1).

    Returns:
        The depth, at least 1, or `NoPrediction`: no law, or a depth beyond 4096.

    Raises:
        UsageError: an argument outside its range.
    """
    shallow = log_ratio_law(source, width, 2)
    if isinstance(shallow, NoPrediction):
        return shallow
    numbers = shallow.coefficients

    def excess(depth: int) -> float:
        law = log_ratio_law(numbers, width, depth)
        chance = 1.0 if isinstance(law, NoPrediction) else spread_probability(law, epsilon)
        return special.ndtri(probability) * (1 + 1e-12) - _probit(chance)

    variance = shallow.variance.max()
    guess = (epsilon / special.ndtri(probability / 4)) ** 2 / variance if variance > 0 else _DEEPEST
    too_deep = _smallest(lambda depth: excess(depth), guess, 1, _DEEPEST)
    if too_deep is None:
        return NoPrediction(f"at a depth of {_DEEPEST} the probability is still smaller")
    law = log_ratio_law(numbers, width, too_deep)
    return law if isinstance(law, NoPrediction) else too_deep - 1


def epsilon_for(source: Source, width: int, depth: int, probability: float) -> float | NoPrediction:
    r"""The spread that is reached with a predicted probability at a width and a depth.

    .. math:: P(\max_l |Y_l| \ge \epsilon) = p

    Args:
        source: phi, or its coefficients.
        width, depth: n >= 2 and L >= 1.
        probability: p in [1e-9, 1).

    Raises:
        UsageError: an argument outside its range.
    """
    law = log_ratio_law(source, width, depth)
    return law if isinstance(law, NoPrediction) else spread_quantile(law, probability)


def _probit(probability: float) -> float:
    return float(special.ndtri(np.clip(probability, 1e-15, 1 - 1e-15)))


def _smallest(excess: Callable[[int], float], guess: float, least: int, largest: int) -> int | None:
    """Smallest whole number at which a decreasing function is at most 0, None if it is above the largest.

    A bracket grows from the guess; interpolation in the logarithm, guarded by bisection, shrinks it.
    """
    low, high = least - 1, largest + 1  # excess > 0 at low, <= 0 at high
    values: dict[int, float] = {}
    probe = int(np.clip(guess, least, largest))
    while high - low > 1:
        values[probe] = excess(probe)
        if values[probe] > 0:
            low = probe
        else:
            high = probe
        probe = _next_probe(low, high, values, least, largest, len(values))
    return high if high <= largest else None


def _next_probe(low: int, high: int, values: dict[int, float], least: int, largest: int, count: int) -> int:
    if high > largest:
        return min(2 * low, largest)
    if low < least:
        return max(high // 2, least)
    slope = values[low] - values[high]
    share = values[low] / slope if slope > 0 and count % 4 else 0.5
    between = low * (high / low) ** share
    return int(np.clip(round(between), low + 1, high - 1))
