"""Probabilities of one-step events at widths 2 and 3, integrated directly over the circle and the sphere."""

from collections.abc import Callable

import numpy as np

from theory.activation import FloatArray
from theory.layer_law import Event

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
        event: of `theory.layer_law`.
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
