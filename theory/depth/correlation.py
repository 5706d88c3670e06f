r"""What depth does to the correlation of two inputs in an infinitely wide network.

Two inputs of equal squared length q whose directions have cosine rho have pre-activations that are jointly normal
with variance q and correlation rho. In the variables :math:`u, v = \sqrt{(1+\rho)/2}\, x \pm \sqrt{(1-\rho)/2}\, y`
with x, y independent standard normal, the map is an integral that stays regular as rho goes to 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special
from scipy.optimize import brentq

from theory.activations.activation import Activation, NumericActivation, steps
from theory.activations.callable import CallableActivation
from theory.depth.fixed_points import MARGINAL, Stability, stability
from theory.depth.length_map import length_map, slope_map
from theory.errors import UsageError
from theory.gaussian.expectations import expectations
from theory.numerics.arithmetic import FloatArray, constant_value
from theory.numerics.nested import Inner, nested_integrals
from theory.numerics.quadrature import Estimate, gauss_legendre

_REACH = 16.0  # |x|, |y| <= 16 leaves 1e-57 of the probability out
_NEAR = 10.0  # the same for differences
_SETTLED = 1e-9
_OCTAVES = 24  # of angles, towards 0, where kinks that are near to each other are resolved
_TRAPEZOIDS = (40, 63, 101, 163, 263, 421, 677)  # on half an axis; no multiples, which would share what they miss
Order = Literal[0, 1, 2]


def correlation(activation: NumericActivation, rho: float, *, q: float = 1.0, order: Order = 0) -> Estimate:
    r"""The correlation map C or one of its first two derivatives.

    .. math:: C(\rho) = E\,\phi(\sqrt q u) \phi(\sqrt q v), \quad C' = q E\,\phi' \phi', \quad
        C'' = q^2 E\,\phi'' \phi''

    (u, v) standard normal with correlation rho (Poole et al. 2016; Daniely, Frostig, Singer 2016). At a kink phi''
    has a point mass, so that C'' holds the joint density of (u, v) at the kinks and is infinite at rho = 1. The
    integrand is taken to be negligible beyond 16 standard deviations.

    Args:
        activation: phi.
        rho: the correlation, in [-1, 1].
        q: squared length per neuron of both inputs, > 0.
        order: 0 for C, 1 for C', 2 for C''.

    Returns:
        The value with an error bound; infinite where the derivative is: C' for a function that jumps, at |rho| = 1,
        and C'' for one with a kink, at rho = 1; C'' of a function that jumps, or whose slope is unbounded at a kink,
        is (nan, inf): it is not computed.

    Raises:
        UsageError: rho outside [-1, 1], q not positive, or an order other than 0, 1, 2.

    >>> from theory.activations.catalog import build
    >>> angle = np.arccos(0.99)  # Cho and Saul 2009: the arc-cosine kernel of degree 1, here over 2
    >>> exact = (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    >>> bool(abs(correlation(build("relu"), 0.99).value - exact) < 1e-15)
    True
    """
    _check(rho, q, order)
    jumps = steps(activation, "value")
    if order == 2 and jumps:
        return Estimate(float("nan"), np.inf)
    points = steps(activation, "slope") if order == 2 else jumps if order else ()
    if points and (rho == 1 or (rho == -1 and jumps)):
        return Estimate(np.inf, 0.0)
    mass, error = 0.0, 0.0
    if points:  # where the derivative has point masses
        mass, error = _masses(activation, np.array([float(point) for point in points]), rho, q, order - 1)
        if not np.isfinite(mass):
            return Estimate(mass, error)
    scale, factor = float(np.sqrt(q)), q**order
    halves = float(np.sqrt((1 + rho) / 2)), float(np.sqrt((1 - rho) / 2))
    panels = int(np.clip(np.ceil(2 * _REACH * max(1.0, scale)), 32, 400))
    smooth = _plane(activation, halves, scale=scale, order=order, panels=panels)
    return Estimate(factor * smooth.value + mass, factor * smooth.error + error)


def _check(rho: float, q: float, order: int) -> None:
    if not abs(rho) <= 1:
        raise UsageError(f"a correlation lies in [-1, 1], unlike {rho}")
    if not (np.isfinite(q) and q > 0):
        raise UsageError(f"q, the squared length per neuron, must be a positive number, not {q}")
    if order not in (0, 1, 2):
        raise UsageError(f"the order of the derivative is 0, 1 or 2, not {order}")


def _derivative(activation: NumericActivation, order: int, x: FloatArray) -> FloatArray:
    if order == 0 and isinstance(activation, CallableActivation):
        return activation.value(x)  # a slope by differences costs many times as much
    return activation.curvature(x) if order == 2 else activation.value_and_slope(x)[order]


def squared_distance(activation: NumericActivation, angle: float, accuracy: float = _SETTLED) -> Estimate:
    r"""Half the squared distance of the images of two inputs of squared length 1 per neuron, by their angle.

    .. math:: \tfrac12 E (\phi(u) - \phi(v))^2 = C(1) - C(\cos\theta)

    (u, v) standard normal with correlation cos theta. Unlike the difference of two values of `correlation` it keeps
    its relative precision where the angle is small.

    Args:
        activation: phi without jumps.
        angle: theta in (0, pi].
        accuracy: the panels of the quadrature on |x|, |y| <= 10 are doubled until the error bound is below this part of
            the value. Without breakpoints the trapezoidal rule is tried first.

    >>> from theory.activations.catalog import build
    >>> round(squared_distance(build("identity"), 1e-3).value * 2e6, 6)  # 1 - cos theta is about theta^2/2
    1.0
    """
    common, apart = float(np.cos(angle / 2)), float(np.sin(angle / 2))
    if isinstance(activation, Activation) and activation.is_piecewise_linear:
        return _of_lines(activation, angle)
    settled = None if len(activation.breakpoint_values) else _by_trapezoids(activation, common, apart)
    if settled is not None:
        return settled

    def half_square(first: FloatArray, second: FloatArray) -> FloatArray:
        return 0.5 * (first - second) ** 2

    panels = 12 if accuracy <= _SETTLED else 6
    while True:
        integral = _plane(activation, (common, apart), half_square, reach=_NEAR, panels=panels)
        if panels >= 400 or integral.error <= accuracy * abs(integral.value):
            return integral
        panels *= 2


def _of_lines(activation: Activation, angle: float) -> Estimate:
    r"""The same for a piecewise linear phi whose slope rises by J_k at t_k.

    .. math:: (1 - \cos\theta) E \phi'^2 - \frac{1}{2\pi} \int_0^\theta (\cos\psi - \cos\theta) \sum_{kl} J_k J_l
        \exp\Bigl(-\frac{(t_k - t_l)^2}{4 (1 - \cos\psi)} - \frac{(t_k + t_l)^2}{4 (1 + \cos\psi)}\Bigr) d\psi

    since C'' = E phi'' phi'' is the joint density of the kinks (Price 1958), and is integrated twice from rho = 1.
    """
    kinks = activation.breakpoint_values
    slopes = np.array([float(constant_value(piece.slope, 20)) for piece in activation.pieces])
    tangent = float(slopes**2 @ np.diff(special.ndtr(np.concatenate([[-np.inf], kinks, [np.inf]]))))
    rises = np.diff(slopes)
    edges = np.concatenate([[0.0], angle * 0.5 ** np.arange(_OCTAVES, -1, -1)])
    half = 0.5 * np.diff(edges)[:, None]

    def bend(order: int) -> float:
        nodes, weights = gauss_legendre(order)
        psi = (edges[:-1, None] + half * (1 + nodes)).ravel()[:, None, None]
        near, far = (kinks[:, None] - kinks) ** 2, (kinks[:, None] + kinks) ** 2
        masses = np.exp(-near / (8 * np.sin(psi / 2) ** 2) - far / (8 * np.cos(psi / 2) ** 2))
        arms = 2 * np.sin((angle + psi) / 2) * np.sin((angle - psi) / 2)
        return float((half * weights).ravel() @ (arms.ravel() * (masses @ rises @ rises))) / (2 * np.pi)

    fine, coarse = bend(24), bend(16)
    return Estimate(2 * float(np.sin(angle / 2)) ** 2 * tangent - fine, abs(fine - coarse))


def _by_trapezoids(activation: NumericActivation, common: float, apart: float) -> Estimate | None:
    """The same by the trapezoidal rule, which converges exponentially for an analytic phi; None where it does not."""
    value = np.nan
    for count in _TRAPEZOIDS:
        step = _NEAR / count
        x, y = (
            step * np.arange(-count, count + 1)[:, None],
            step * np.arange(1, count + 1),
        )  # the integrand is even in y
        high, low = (_derivative(activation, 0, common * x + sign * apart * y) for sign in (1, -1))
        weights = step * np.exp(-0.5 * x.ravel() ** 2), step * np.exp(-0.5 * y**2)
        previous, value = value, float(weights[0] @ (high - low) ** 2 @ weights[1]) / (2 * np.pi)
        if abs(value - previous) <= _SETTLED * value:
            return Estimate(value, abs(value - previous))
    return None


def _product(first: FloatArray, second: FloatArray) -> FloatArray:
    return first * second


def _plane(
    activation: NumericActivation,
    halves: tuple[float, float],
    combine: Callable[[FloatArray, FloatArray], FloatArray] = _product,
    *,
    scale: float = 1.0,
    order: int = 0,
    reach: float = _REACH,
    panels: int = 32,
) -> Estimate:
    """E of a symmetric combination of f(scale u) and f(scale v), f a derivative of phi between the breakpoints.

    The halves are sqrt((1 + rho)/2) and sqrt((1 - rho)/2), the cosine and sine of half the angle. Half of the plane is
    enough: y -> -y exchanges u and v, or x -> -x does where the halves were exchanged.
    """
    points = activation.breakpoint_values / scale
    common, apart = halves
    if common < apart:  # the wide panels go along the longer axis; v -> -v exchanges them
        sign, common, apart = -1.0, apart, common
    else:
        sign = 1.0

    def integrand(x: FloatArray, y: FloatArray) -> FloatArray:
        density = np.exp(-0.5 * (x * x + y * y)) / (2 * np.pi)
        first = _derivative(activation, order, scale * (common * x + apart * y))
        second = _derivative(activation, order, scale * sign * (common * x - apart * y))
        return np.asarray((combine(first, second) * density)[None])

    seconds = sign * points

    def lines(x: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            crossings = [(points - common * x[:, None]) / apart, (common * x[:, None] - seconds) / apart]
            return np.asarray(np.nan_to_num(np.concatenate(crossings, axis=1), nan=0.0))

    crossings = ((points[:, None] + seconds) / (2 * common)).ravel()
    breakpoints = np.unique(np.concatenate([crossings, points / common, seconds / common]))
    breakpoints = breakpoints[np.abs(breakpoints) < reach]
    # Near rho = 1 the inner integral changes within the distance `apart` of a breakpoint.
    steps_off = apart * 2.0 ** np.arange(-1, max(0, int(np.ceil(-np.log2(max(apart, 1e-12))))))
    close = (breakpoints[:, None] + np.concatenate([steps_off, -steps_off])).ravel()
    whole, half = np.linspace(-reach, reach, panels + 1), np.linspace(0, reach, (panels + 1) // 2 + 1)
    edges, across = (whole, half) if sign > 0 else (half, whole)
    outer = np.unique(np.concatenate([edges, breakpoints, close[np.abs(close) < reach]]))
    first = edges[0]
    value, error = nested_integrals(
        integrand, outer[outer >= first], breakpoints[breakpoints >= first], Inner(across, lines)
    )
    return Estimate(2 * float(value[0]), 2 * float(error[0]))


def _masses(activation: NumericActivation, points: FloatArray, rho: float, q: float, order: int) -> tuple[float, float]:
    r"""2 sum_k D_k p(x_k) E[f(v) | u = x_k] + sum_kl D_k D_l p_2(x_k, x_l; rho), times q^(order+1).

    D_k is the height of the step of the derivative of the given order at the breakpoint, f the next derivative.
    """
    scale, deviation = float(np.sqrt(q)), float(np.sqrt((1 - rho) * (1 + rho)))
    x = points / scale
    heights = step_heights(activation, points, order, 1e-7) / scale
    if not np.allclose(heights, step_heights(activation, points, order, 1e-5) / scale, rtol=1e-3):
        return float("nan"), np.inf  # an infinite step
    density = np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)
    total = error = 0.0
    for height, place, weight in zip(heights, x, density, strict=True):
        shifted = _Shifted(activation, order + 1, scale * rho * place)
        estimate = shifted.expectation(scale * deviation)
        total += float(2 * height * weight * estimate.value)
        error += float(2 * abs(height) * weight * estimate.error)
        if deviation > 0:
            beside = (x - rho * place) / deviation
            joint = weight * np.exp(-0.5 * beside**2) / (np.sqrt(2 * np.pi) * deviation)
            total += float(height * heights @ joint)
    if deviation == 0 and np.any(np.abs(x[:, None] + x) < 1e-12):  # rho = -1: a kink on its own mirror image
        return np.inf, 0.0
    factor = q ** (order + 1)
    return float(factor * total), float(factor * (error + 1e-13 * abs(total)))


def step_heights(activation: NumericActivation, points: FloatArray, order: int, distance: float = 1e-7) -> FloatArray:
    """Steps of phi (order 0) or phi' (order 1) at the breakpoints, from values a hair to both sides."""
    step = distance * np.maximum(1.0, np.abs(points))
    sides = [[_derivative(activation, order, points + k * s) for k in (1, 2, 3)] for s in (step, -step)]
    right, left = (3 * near - 3 * middle + far for near, middle, far in sides)
    return np.asarray(right - left)


@dataclass(frozen=True, slots=True)
class _Shifted:
    """A derivative of phi as an activation of x - mean."""

    activation: NumericActivation
    order: int
    mean: float

    @property
    def name(self) -> str:
        return self.activation.name

    @property
    def breakpoint_values(self) -> FloatArray:
        return self.activation.breakpoint_values - self.mean

    def value_and_slope(self, x: object) -> tuple[FloatArray, FloatArray]:
        values = _derivative(self.activation, self.order, np.asarray(x, dtype=np.float64) + self.mean)
        return values, values

    def curvature(self, x: object) -> FloatArray:
        return self.value_and_slope(x)[0]

    def expectation(self, deviation: float) -> Estimate:
        """E f(mean + deviation z) for the derivative f of phi."""
        if deviation == 0:
            return Estimate(float(self.value_and_slope([0.0])[0][0]), 0.0)
        return expectations(self, {"": lambda _z, value, _slope: value}, deviation=deviation)[""]


@dataclass(frozen=True, slots=True)
class CorrelationPoint:
    """A fixed point of the correlation map: the cosine rho, the slope of the map there, and its stability."""

    rho: float
    slope: float
    stability: Stability


@dataclass(frozen=True, slots=True)
class CorrelationDynamics:
    r"""Limits of the correlation of two inputs in depth.

    Args:
        q: squared length per neuron at which the map is taken.
        fixed_points: ascending; 1 is always the last. Empty if every correlation is a fixed point (a linear phi).
        depth_scale: layers in which the distance to the attracting fixed point shrinks by e; infinite at the edge of
            chaos, where it decays like a power of depth.
        curvature: C''(1)/Q, which sets that power law: 1 - rho_l is about 2/(curvature l) where it is finite, and of
            order l^-2 for a function with a kink, where it is infinite.
    """

    q: float
    fixed_points: tuple[CorrelationPoint, ...]
    depth_scale: float
    curvature: float


def correlation_dynamics(
    activation: NumericActivation, q: float = 1.0, *, gain: float = 1.0, bias: float = 0.0
) -> CorrelationDynamics:
    r"""Fixed points of the normalized correlation map, their stability, and the depth scale of correlations.

    .. math:: \rho \mapsto \frac{g^2 C(\rho) + \sigma_b^2}{g^2 C(1) + \sigma_b^2}, \qquad
        \xi_c = -1/\log \frac{g^2 |C'(\rho_*)|}{g^2 C(1) + \sigma_b^2}

    (Schoenholz et al. 2017, for xi_c.) Both inputs meet the same biases. The map is a power series with coefficients
    p_k >= 0 of sum 1 (the shares of the Hermite degrees, that of the biases in p_0). So it is convex on [0, 1], and
    besides 1 there is a fixed point in [0, 1) exactly if its slope at 1 exceeds 1; a slope closer to 1 than 1e-9 counts
    as 1. Below 0 it lies above the diagonal, as the odd degrees alone give at least rho, and only an odd phi without
    biases has the fixed point -1.

    Args:
        activation: phi without jumps.
        q: variance of the pre-activations, normally a fixed point of the length map.
        gain, bias: g and sigma_b, as for `theory.depth.length_map.length_map`.

    Raises:
        UsageError: q not positive, or a function that jumps.

    >>> from theory.activations.catalog import build
    >>> [point.rho for point in correlation_dynamics(build("relu")).fixed_points]
    [1.0]
    """
    if steps(activation, "value"):
        raise UsageError(f"{activation.name} jumps: its correlation map has no slope at 1")
    _check(1.0, q, 0)
    size = length_map(activation, q, gain, bias).value

    def derivative(rho: float, order: Order) -> float:
        if rho == 1 and order == 1:
            return q * slope_map(activation, q, gain).value / size
        return gain * gain * correlation(activation, rho, q=q, order=order).value / size

    def drift(rho: float) -> float:
        return derivative(rho, 0) + bias * bias / size - rho

    curvature, excess = derivative(1.0, 2), derivative(1.0, 1) - 1
    odd = drift(-1.0) < MARGINAL
    if odd and abs(excess) < MARGINAL:
        return CorrelationDynamics(q, (), np.inf, curvature)
    roots = [-1.0] if odd else []
    if excess > MARGINAL:
        roots += _inner_root(drift, excess / max(curvature, 1.0))
    slopes_at = [(rho, derivative(rho, 1)) for rho in sorted([*roots, 1.0])]
    points = tuple(CorrelationPoint(rho, slope, stability(slope)) for rho, slope in slopes_at)
    slopes = [abs(point.slope) for point in points if point.stability == "attracting"]
    scale = np.inf  # without an attracting point
    if slopes:
        scale = -1 / float(np.log(slopes[-1])) if slopes[-1] > 0 else 0.0
    return CorrelationDynamics(q, points, scale, curvature)


def _inner_root(drift: Callable[[float], float], gap: float) -> list[float]:
    """The fixed point in [0, 1), where the convex drift falls from >= 0 to below 0; none if it is not told from 1."""
    if abs(drift(0.0)) < MARGINAL:
        return [0.0]
    gap = min(max(gap, 1e-3), 0.5)
    while drift(1 - gap) >= 0:
        gap /= 4
        if gap < 1e-13:
            return []
    return [float(brentq(drift, 0.0, 1 - gap, xtol=1e-14))]
