"""Adaptive quadrature of several functions together, with an error bound that holds at integrable singularities."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from theory.numerics.arithmetic import FloatArray

_EPS = float(np.finfo(np.float64).eps)
_NODES = 16
_GENERATIONS = 160  # bisections: enough for x**-0.5 to settle at a breakpoint at 0
MOST_PANELS = 20_000
_ROUNDING = 8 * _EPS  # of the density, the activation and the sum, relative to the integral of the modulus


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with a bound on its absolute error (infinite where nothing is known)."""

    value: float
    error: float


def integrate(
    integrands: Callable[[FloatArray], FloatArray],
    edges: FloatArray,
    breakpoints: FloatArray,
    floor: FloatArray | None = None,
    most_panels: int = MOST_PANELS,
) -> tuple[FloatArray, FloatArray]:
    """Integrate several functions together over consecutive panels, bisecting where they are not resolved.

    Args:
        integrands: points (panels, nodes) -> values (functions, panels, nodes).
        edges: ascending ends of the first panels.
        breakpoints: edges at which the integrands may be singular.
        floor: for each function the difference that counts as none on a panel, where the values themselves carry
            rounding of that size; else only what float64 resolves counts as none.
        most_panels: bisection ends when it would take more panels than these at once.

    Returns:
        Values and error bounds, one for each function.
    """
    left, right = edges[:-1], edges[1:]
    coarse, size = _panel_sums(integrands, left, right)
    scale = np.nansum(size, axis=1, keepdims=True)
    noise = np.zeros_like(scale) if floor is None else floor[:, None]
    previous = np.full_like(coarse, np.inf)
    value, error, total = np.zeros((3, len(coarse)))
    for generation in range(_GENERATIONS):
        middle = 0.5 * (left + right)
        halves = np.concatenate([left, middle]), np.concatenate([middle, right])
        fine, size = _panel_sums(integrands, *halves)
        refined, modulus = _pair(fine), _pair(size)
        with np.errstate(all="ignore"):
            difference = np.abs(refined - coarse)
        enough = np.all(difference <= _EPS * (0.25 * scale + 4 * modulus) + noise, axis=0)
        tiny = right - left < 1e3 * np.spacing(np.maximum(np.abs(left), np.abs(right)))
        at_end = np.isin(left, breakpoints) | np.isin(right, breakpoints)
        hopeless = ~np.isfinite(difference).all(axis=0) & ~at_end
        done = enough | tiny | hopeless
        if 2 * np.count_nonzero(~done) > most_panels or generation == _GENERATIONS - 1:
            done[:] = True
        with np.errstate(all="ignore"):  # infinities of both signs give nan, which the result reports
            value += refined[:, done].sum(axis=1)
            total += modulus[:, done].sum(axis=1)
            error += _remaining(difference, previous, modulus, at_end, scale, noise)[:, done].sum(axis=1)
        keep = np.concatenate([~done, ~done])
        left, right, coarse = halves[0][keep], halves[1][keep], fine[:, keep]
        previous = np.concatenate([difference, difference], axis=1)[:, keep]
        if not left.size:
            break
    error += _ROUNDING * total
    return np.where(np.isfinite(value), value, np.nan), np.where(np.isfinite(error), error, np.inf)


def _panel_sums(
    integrands: Callable[[FloatArray], FloatArray], left: FloatArray, right: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre sums of the integrands and of their moduli, (functions, panels) each."""
    nodes, weights = gauss_legendre(_NODES)
    half = 0.5 * (right - left)
    points = (0.5 * (left + right))[:, None] + half[:, None] * nodes
    values = integrands(points)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is seen by the caller
        return (values @ weights) * half, (np.abs(values) @ weights) * half


@lru_cache(maxsize=3)
def gauss_legendre(count: int) -> tuple[FloatArray, FloatArray]:
    """Return the nodes in (-1, 1) and the weights of the Gauss-Legendre rule, exact for degree 2 count - 1."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return nodes, weights


def _pair(halves: FloatArray) -> FloatArray:
    """Add the left and the right half of each panel."""
    count = halves.shape[1] // 2
    return halves[:, :count] + halves[:, count:]


def _remaining(
    difference: FloatArray,
    previous: FloatArray,
    modulus: FloatArray,
    at_end: np.ndarray,
    scale: FloatArray,
    noise: FloatArray,
) -> FloatArray:
    """Error of a panel: its last difference, summed as a geometric series where it ends at a breakpoint.

    At an integrable singularity the differences shrink by a fixed factor r < 1 from one bisection to the
    next, so that r/(1 - r) of the last one remains. Differences that do not shrink are rounding noise where
    they are a small part of the panel's integral, or that is a small part of the whole, else the integral does not
    settle. The whole panel counts as error then, or, if they are also below the rounding of the whole, as many of them
    as there may be bisections.
    """
    with np.errstate(all="ignore"):
        ratio = difference / previous
        series = difference * np.maximum(ratio / (1 - ratio), 1.0)
        is_noise = difference < 0.05 * modulus
        stuck = np.where(is_noise | (modulus < _EPS * scale), modulus, np.inf)
        stuck = np.where(is_noise & (difference < _EPS * scale), np.minimum(_GENERATIONS * difference, stuck), stuck)
        extrapolated = np.where(ratio < 1, series, stuck)
        return np.where(at_end & (difference > 4 * _EPS * modulus + noise), extrapolated, difference)
