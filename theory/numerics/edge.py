"""The edge of a set of numbers that is reached from one side: the least width, or the largest depth, that is enough."""

import math
from collections.abc import Callable

import numpy as np

_NEAR_ENOUGH = 0.05  # of a logarithm below the one that is wanted


def edge(
    good: Callable[[float], bool],
    start: float,
    ends: tuple[float, float],
    *,
    towards_good: float = 2.0,
    step: float = 0.0,
    whole: bool = True,
) -> float | None:
    """The last good number on the way from good to bad ones, None where none is good.

    By multiplication from a start, then bisection of the logarithm. Only good numbers are returned; that all numbers
    beyond the edge are bad is assumed, not checked.

    Args:
        good: whether a number is enough.
        start: where to begin.
        ends: least and largest number to try.
        towards_good: the factor that leads to good numbers; below 1 if small numbers are good.
        step: the largest logarithm of the ratio of the edge and the next bad number that is left.
        whole: whether the numbers are whole.

    >>> edge(lambda width: width >= 285, 8, (8, 10**7))
    285.0
    >>> edge(lambda depth: depth <= 13, 50, (2, 100), towards_good=0.5)
    13.0
    """

    def clip(value: float) -> float:
        bounded = min(max(value, ends[0]), ends[1])
        return float(round(bounded)) if whole else float(bounded)

    inside = outside = clip(start)
    if good(inside):
        while good(outside):
            inside, outside = outside, clip(outside / towards_good)
            if outside == inside:  # good up to the end of the range
                return inside
    else:
        while not good(inside):
            outside, inside = inside, clip(inside * towards_good)
            if inside == outside:
                return None
    while abs(math.log(inside / outside)) > step:
        middle = clip(math.sqrt(inside * outside))
        if middle in (inside, outside):
            break
        inside, outside = (middle, outside) if good(middle) else (inside, middle)
    return inside


def crossing(
    log_bound: Callable[[float], float], wanted: float, start: float, ends: tuple[float, float]
) -> float | None:
    """The least whole number, to two per cent, at which a logarithm that is about linear in it is below another.

    Like `edge`, for functions of which the value says how far the edge is, so that few are computed; None where none of
    the range is below.

    Args:
        log_bound: of a whole number, such as a width; 0 where there is no bound.
        wanted: the logarithm.
        start: the first number that is tried.
        ends: least and largest number.

    >>> crossing(lambda width: min(math.log(2) - width / 100, 0.0), math.log(0.05), 200, (16, 10**6))  # 369
    372.0
    """
    width, (low, above), (high, below) = start, (0.0, 0.0), (math.inf, -math.inf)
    while True:
        log = log_bound(width)
        if log < wanted:
            high, below = width, log
        else:
            low, above = width, log
        if high <= max(1.02 * low, low + 1, ends[0]) or wanted - below < _NEAR_ENOUGH:
            return high
        if low >= ends[1]:
            return None
        aim = wanted - 0.5 * _NEAR_ENOUGH
        if low and math.isfinite(high):
            share = (aim - above) / (below - above) if above < 0 else 0.5
            width = min(math.ceil(low + (high - low) * np.clip(share, 0.1, 0.95)), high - 1)
        else:  # as if the bound were 2 at width 0
            width *= np.clip((aim - math.log(2)) / (log - math.log(2)), 0.5, 2.0) if log < 0 else 1.3
            width = float(math.ceil(np.clip(width, *ends)))
