"""The edge of a set of numbers that is reached from one side: the least width, or the largest depth, that is enough."""

import math
from collections.abc import Callable


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
