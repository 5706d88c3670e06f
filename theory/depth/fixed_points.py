"""Fixed points of the length map: where they are, which of them attract, and where a network ends up in depth.

A normalized activation has the fixed point q = 1, but only the slope chi = Q'(1) decides whether depth holds the
length there.
"""

from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal, Protocol

import numpy as np
from scipy.optimize import brentq

from theory.activations.activation import NumericActivation
from theory.depth.length_map import follow_length, length_map, length_map_slope, slope_map
from theory.errors import UsageError
from theory.numerics.arithmetic import FloatArray

MARGINAL = 1e-9  # |slope| this close to 1, and Q(q)/q this close to 1 on a whole range, count as equal to 1
_GRID = 241
_OVERFLOW = 1e3  # of log(Q(q)/q)
_CREEP = 1e-4  # change of log q in one layer that cannot step over the next fixed point
_NO_SLOPE = 1e-190  # E phi'^2 of a phi with phi'(0) = 0, at the deviation that stands for q = 0
HIGHEST = 1e6
"""The largest q that is followed; what grows beyond counts as infinite."""
BESIDE = 1e-3
"""How far, relatively, the sides of a fixed point lie from it."""
_MANY_LAYERS = 2000  # after which a length on the grid counts as arrived
Stability = Literal["attracting", "marginal", "repelling"]


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """A fixed point q = Q(q) of the length map with its slope Q'(q): attracting for |slope| < 1."""

    q: float
    slope: float
    stability: Stability


@dataclass(frozen=True, slots=True)
class LengthDynamics:
    """Fixed points and basin of the squared length in depth.

    Args:
        fixed_points: those with q in the range that was searched, ascending.
        basin: ends of the interval of q around 1 from which the length converges to 1; None if q = 1 does not
            attract. An end at the edge of the searched range means: at least so far.
        continuum: every q is (to within 1e-9) a fixed point, as for a normalized positively homogeneous phi.
    """

    fixed_points: tuple[FixedPoint, ...]
    basin: tuple[float, float] | None
    continuum: bool

    @property
    def at_one(self) -> Stability | None:
        """Whether q = 1 attracts; None if it is no fixed point."""
        if self.continuum:
            return "marginal"
        return next((point.stability for point in self.fixed_points if abs(point.q - 1) < MARGINAL), None)


def length_dynamics(
    activation: NumericActivation,
    lowest: float = 1e-6,
    highest: float = 1e6,
    points: int = _GRID,
    *,
    gain: float = 1.0,
    bias: float = 0.0,
) -> LengthDynamics:
    """Fixed points of the length map in a range of q, their stability, and the basin of q = 1.

    Sign changes of log(Q(q)/q) on a logarithmic grid are refined by Brent's method; q = 1 is tested itself,
    since a marginal fixed point may have no sign change, and so is q = 0. The basin comes from iterating the
    map, interpolated on the grid. Fixed points closer together than the grid (a factor 1.12 at the default
    range and number of points) can be missed.

    Args:
        activation: phi without jumps.
        lowest, highest: range of q, with lowest < 1 < highest.
        points: the points of the grid, at least 3.
        gain, bias: g and sigma_b of the length map, whose q is the variance of the pre-activations.

    Raises:
        UsageError: a range that does not contain 1, or a grid of fewer points.

    >>> from theory.activations.specification import activation
    >>> length_dynamics(activation("sin")).fixed_points
    (FixedPoint(q=0.0, slope=1.0, stability='marginal'),)
    """
    return dynamics_of(_LengthMap(activation, gain, bias), lowest, highest, points)


class LengthFunction(Protocol):
    """A length map that is computed elsewhere: Q(q), nan where it is infinite, and its derivative."""

    def value(self, q: float) -> float:
        """Return Q(q)."""

    def slope(self, q: float) -> float:
        """Return Q'(q)."""


def dynamics_of(lengths: LengthFunction, lowest: float, highest: float, points: int = _GRID) -> LengthDynamics:
    """`length_dynamics` of a length map that is given as a function.

    Args:
        lengths: the map.
        lowest, highest, points: as in `length_dynamics`, with its errors.
    """
    if not 0 < lowest < 1 < highest < np.inf:
        raise UsageError(f"the range of q must be positive and contain 1, not [{lowest}, {highest}]")
    if points < 3:
        raise UsageError(f"the grid needs at least 3 points, not {points}")
    return _dynamics(lengths, *_tabulate(lengths, lowest, highest, points))


def dynamics_and_rates(
    activation: NumericActivation, start: float = 1.0, *, gain: float = 1.0, bias: float = 0.0
) -> tuple[LengthDynamics, "GradientRate", tuple["GradientRate", ...]]:
    """Both `length_dynamics` and `gradient_rate` from one table of the map, on a grid of a factor 1.26.

    Where q = 1 repels, also the rates from just below and just above it; else none.

    >>> from theory.activations.specification import activation
    >>> dynamics, rate, _ = dynamics_and_rates(activation("identity"), gain=2.0)
    >>> [point.q for point in dynamics.fixed_points], rate.q
    ([0.0], inf)
    >>> [side.q for side in dynamics_and_rates(activation("relu(x)^2"), gain=(2 / 3) ** 0.5)[2]]
    [0.0, inf]
    """
    phi = _LengthMap(activation, gain, bias)
    table = _tabulate(phi, 1e-6, HIGHEST, _GRID // 2 + 1)
    dynamics = _dynamics(phi, *table)
    starts = (1 - BESIDE, 1 + BESIDE) if dynamics.at_one == "repelling" else ()
    return dynamics, _rate(phi, start, *table), tuple(_rate(phi, beside, *table) for beside in starts)


@dataclass(frozen=True, slots=True)
class _LengthMap:
    """The length map Q of an activation with a gain and biases."""

    activation: NumericActivation
    gain: float
    bias: float

    def value(self, q: float) -> float:
        return length_map(self.activation, q, self.gain, self.bias).value

    def slope(self, q: float) -> float:
        derivative = length_map_slope if q > 0 else slope_map
        return derivative(self.activation, q, self.gain).value

    def log_factor(self, q: float) -> float:
        """Logarithm of the factor of a squared gradient; infinite where it overflows or is 0."""
        factor = slope_map(self.activation, q, self.gain).value
        with np.errstate(divide="ignore"):
            return np.inf if np.isnan(factor) else float(np.log(factor if factor > _NO_SLOPE else 0.0))


def _growth(phi: LengthFunction, x: float) -> float:
    """log(Q(q)/q) at q = e^x, within +-1000; the top where Q overflows, the bottom where it is 0."""
    squared = phi.value(float(np.exp(x)))
    with np.errstate(divide="ignore"):
        growth = _OVERFLOW if np.isnan(squared) else float(np.log(squared)) - x
    return float(np.clip(growth, -_OVERFLOW, _OVERFLOW))


def _tabulate(phi: LengthFunction, lowest: float, highest: float, points: int = _GRID) -> tuple[FloatArray, FloatArray]:
    """log q on a grid that holds 1 and its immediate neighbours, and log(Q(q)/q) there."""
    beside = np.array([-1e-5, 0.0, 1e-5])
    grid = np.union1d(np.linspace(np.log(lowest), np.log(highest), points), beside)
    grid = grid[(np.abs(grid) > 1e-2) | np.isin(grid, beside)]
    return grid, _without_overflow(phi, grid, np.array([_growth(phi, x) for x in grid]))


def _without_overflow(phi: LengthFunction, grid: FloatArray, growth: FloatArray) -> FloatArray:
    """The table, its last trusted growth kept where phi overflows although Q does not, as log(1 + exp(x)) does.

    Q is continuous, so it reaches q before it exceeds it: where it seems to jump across, float64 has overflowed.
    """
    for i in np.flatnonzero((growth[:-1] < 0) & (growth[1:] >= _OVERFLOW)):
        crossing = brentq(partial(_growth, phi), grid[i], grid[i + 1], xtol=1e-13)
        if abs(_growth(phi, crossing)) > 1e-3:
            return np.where(np.arange(len(grid)) > i, growth[i], growth)
    return growth


def _dynamics(phi: LengthFunction, grid: FloatArray, growth: FloatArray) -> LengthDynamics:
    if np.all(np.abs(growth) < MARGINAL):
        return LengthDynamics((), None, continuum=True)
    fixed = tuple(_fixed_point(phi, q) for q in _roots(phi, grid, growth))
    return LengthDynamics(fixed, _basin(grid, growth, fixed), continuum=False)


def _roots(phi: LengthFunction, grid: FloatArray, growth: FloatArray) -> list[float]:
    """Fixed points, ascending: 0, sign changes on the grid, and 1 on its own."""
    at_one = int(np.flatnonzero(grid == 0)[0])
    one_is_fixed = abs(growth[at_one]) < MARGINAL
    if one_is_fixed:
        grid, growth = np.delete(grid, at_one), np.delete(growth, at_one)
    changes = np.flatnonzero(growth[:-1] * growth[1:] < 0)
    roots = [
        brentq(partial(_growth, phi), grid[i], grid[i + 1], xtol=1e-13)
        for i in changes
        if not (one_is_fixed and i == at_one - 1)
    ]
    lengths = [float(np.exp(root)) for root in roots] + ([1.0] if one_is_fixed else [])
    return sorted(lengths + ([0.0] if phi.value(0.0) < 1e-190 else []))


def _fixed_point(phi: LengthFunction, q: float) -> FixedPoint:
    slope = phi.slope(q)
    return FixedPoint(q, slope, stability(slope))


def stability(slope: float) -> Stability:
    """Return the kind of a fixed point at which a map has this slope."""
    if abs(abs(slope) - 1) < MARGINAL:
        return "marginal"
    return "attracting" if abs(slope) < 1 else "repelling"


def _limits(starts: FloatArray, grid: FloatArray, growth: FloatArray) -> FloatArray:
    """Follow log q through many layers by interpolation; beyond the grid it stays at the edge."""

    def layer(x: FloatArray) -> tuple[FloatArray, FloatArray]:
        return np.clip(x + np.interp(x, grid, growth), grid[0], grid[-1]), np.zeros_like(x)

    # tolerance 0: only an exact standstill may end the iteration early
    return next(islice(follow_length(layer, starts, tolerance=0.0), _MANY_LAYERS - 1, None)).after


def _basin(grid: FloatArray, growth: FloatArray, points: tuple[FixedPoint, ...]) -> tuple[float, float] | None:
    if not any(point.q == 1.0 and point.stability == "attracting" for point in points):
        return None
    last = _limits(grid, grid, growth)
    drift = np.interp(last, grid, growth)
    others = [np.log(point.q) for point in points if point.q not in (0.0, 1.0)]
    clear = np.all([(last - other) * (0.0 - other) > 0 for other in others], axis=0) if others else True
    creeps = (drift * last < 0) & (np.abs(drift) < _CREEP) & clear  # 2000 layers may be too few, as for relu6
    returns = (np.abs(last) < 0.02) | creeps
    center = int(np.flatnonzero(grid == 0)[0])
    if not returns[center]:
        return None
    low = center - int(np.append(returns[center::-1], False).argmin()) + 1
    high = center + int(np.append(returns[center:], False).argmin()) - 1
    ends = [_end(grid, low, low - 1, points), _end(grid, high, high + 1, points)]
    return ends[0], ends[1]


def _end(grid: FloatArray, inside: int, outside: int, points: tuple[FixedPoint, ...]) -> float:
    """The fixed point that ends the basin between two grid points, else the last grid point inside."""
    edge = float(np.exp(grid[inside]))
    if not 0 <= outside < len(grid):
        return edge
    low, high = sorted((edge, float(np.exp(grid[outside]))))
    return next((point.q for point in points if low <= point.q <= high and point.q != 1.0), edge)


@dataclass(frozen=True, slots=True)
class GradientRate:
    """Limit of the squared length in depth, and the effect of a layer there on gradients.

    Args:
        q: limit of the squared length, 0 and infinity included.
        rate: natural logarithm, per layer, of the mean-field factor of the squared gradient norm: negative
            means vanishing, positive exploding.
    """

    q: float
    rate: float


def gradient_rate(
    activation: NumericActivation, start: float = 1.0, *, gain: float = 1.0, bias: float = 0.0
) -> GradientRate:
    r"""Vanishing or exploding rate of a deep network whose activation need not be normalized.

    .. math:: \log g^2 E\, \phi'(\sqrt{q_*}\, z)^2

    at the fixed point :math:`q_*` of the length map that q = `start` flows to (Schoenholz et al. 2017). Where
    the length runs off to 0 or infinity it is the rate at q = 0 or at q = 1e6 (`HIGHEST`). It never cycles: the
    logarithmic slope of Q is :math:`E \phi^2 (z^2-1)/(2 E \phi^2)` without biases, at least -1/2, and biases bring it
    nearer to 0. A repelling fixed point holds an infinitely wide network, but no finite one: start beside it.

    Args:
        activation: phi without jumps.
        start: variance of the first pre-activations, between 1e-6 and 1e6: with g = 1 and no biases the squared
            length per neuron of the input.
        gain, bias: g and sigma_b of the length map.

    >>> from theory.activations.specification import activation
    >>> half = gradient_rate(activation("x/2"))
    >>> half.q, round(half.rate, 10)  # -log 4
    (0.0, -1.3862943611)
    """
    phi = _LengthMap(activation, gain, bias)
    return _rate(phi, start, *_tabulate(phi, 1e-6, 1e6))


def _rate(phi: _LengthMap, start: float, grid: FloatArray, growth: FloatArray) -> GradientRate:
    if not 1e-6 <= start <= 1e6:
        raise UsageError(f"the start must be between 1e-6 and 1e6, not {start}")
    if np.all(np.abs(growth) < MARGINAL):
        return GradientRate(start, phi.log_factor(start))
    limits = np.array([*_roots(phi, grid, growth), np.inf])
    last = float(_limits(np.array([np.log(start)]), grid, growth)[0])
    q = _limit(float(np.exp(last)), float(np.interp(last, grid, growth)), limits)
    return GradientRate(q, phi.log_factor(min(q, HIGHEST)))


def _limit(q: float, drift: float, limits: FloatArray) -> float:
    """The fixed point beside q, or else the next one in the direction in which q still drifts."""
    nearest = limits[np.argmin(np.abs(np.log(np.maximum(limits, 1e-300) / q)))]
    if abs(nearest / q - 1) < 0.1:
        return float(nearest)
    ahead = limits[limits < q] if drift < 0 else limits[limits > q]
    return float(ahead[-1] if drift < 0 else ahead[0]) if len(ahead) else float(nearest)
