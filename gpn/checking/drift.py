"""Cost of published constants over depth, in the mean-field limit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath

from theory.activations.activation import Activation
from theory.gaussian.expectations import Functional, expectations
from theory.gaussian.moments import FUNCTIONALS

_MOST_STEPS = 3000
NEVER = float("inf")
_LEVELS = (2, 10)


INTEGRANDS: Mapping[str, Functional] = {name: FUNCTIONALS[name] for name in ("mean", "second", "slope_second")}
"""The integrands of E phi, E phi^2 and E phi'^2."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of published constants over depth: mean field, from unit length, in a plain network.

    Args:
        signal_factor, gradient_factor: factor of the squared length and of the squared backward norm in the
            first layer; 1 is perfect. The gradient's is None for an activation that jumps.
        settled_length: the squared length at which the signal settles; None if it does not, or not before it
            has changed thousandfold.
        settled_gradient_factor: the factor of the squared backward norm in each layer from then on.
        depth_2, depth_10: the first depth at which a norm that the convention promises to keep has changed by
            a factor 2 (10) in its square; infinite if that never happens.
        norm: which norm reaches the factor 2 first, "signal" or "gradient"; empty if none does. The pairs
            (a, b) and the gains promise both norms, the other conventions the signal.
    """

    signal_factor: float
    gradient_factor: float | None
    settled_length: float | None
    settled_gradient_factor: float | None
    depth_2: float
    depth_10: float
    norm: str


@dataclass(frozen=True, slots=True)
class ExactMoments:
    """E phi, E phi^2 and E phi'^2 (None if phi jumps) as mpf."""

    mean: mpmath.mpf
    second: mpmath.mpf
    slope: mpmath.mpf | None
    certified: bool

    @property
    def variance(self) -> mpmath.mpf:
        return self.second - self.mean * self.mean


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer scale*phi + shift in mean field; centred weights pass on the variance only."""

    phi: Activation
    moments: ExactMoments
    scale: mpmath.mpf
    shift: mpmath.mpf
    centred: bool

    @property
    def first_factors(self) -> tuple[mpmath.mpf, mpmath.mpf | None]:
        """Factors of the signal and of the gradient at unit length, in full precision."""
        gradient = None if self.moments.slope is None else self.scale * self.scale * self.moments.slope
        return self._signal(self.moments.mean, self.moments.second), gradient

    def rates(self, log_length: float) -> tuple[float, float]:
        """Logarithms of the factors of the signal and the gradient at the logarithm of a squared length."""
        if log_length == 0:
            signal, gradient = self.first_factors
        else:
            mean, second, slope = float_moments(self.phi, math.exp(log_length))
            scale = float(self.scale)
            signal, gradient = float(self._signal(mean, second)) * math.exp(-log_length), scale * scale * slope
        return _logarithm(signal), 0.0 if gradient is None or self.phi.jumps else _logarithm(gradient)

    def _signal(self, mean: Any, second: Any) -> Any:
        if self.centred:
            return self.scale * self.scale * (second - mean * mean)
        return self.scale * self.scale * second + 2 * self.scale * self.shift * mean + self.shift * self.shift


def float_moments(phi: Activation, length: float) -> tuple[float, float, float]:
    estimates = expectations(phi, INTEGRANDS, deviation=math.sqrt(length))
    mean, second, slope = (estimate.value for estimate in estimates.values())
    return mean, second, slope


def _logarithm(factor: Any) -> float:
    return float(mpmath.log(factor)) if factor > 0 else -NEVER


class _Crossings:
    """The first depths at which the logarithm of a norm has left [-log c, log c], c = 2 and 10."""

    def __init__(self) -> None:
        self.logarithm = 0.0
        self.depths = dict.fromkeys(_LEVELS, NEVER)

    def advance(self, depth: float, rate: float, layers: float) -> None:
        """Change the logarithm by `rate` in each of some layers from a depth on (maybe infinitely many)."""
        for level in _LEVELS:
            remaining = math.log(level) - math.copysign(1, rate) * self.logarithm
            if self.depths[level] == NEVER and rate != 0 and abs(rate) * layers >= remaining:
                self.depths[level] = depth + max(1, math.ceil(remaining / abs(rate)))
        if layers < NEVER:
            self.logarithm += rate * layers

    @property
    def done(self) -> bool:
        return NEVER not in self.depths.values()


def depth_cost(layer: Layer, *, both: bool) -> Cost:
    """Follow signal and gradient from unit length; `both` norms count, or only the signal."""
    signal_factor, gradient_factor = layer.first_factors
    signal, gradient = _Crossings(), _Crossings()
    known = gradient_factor is not None
    counted = {"signal": signal, "gradient": gradient} if both and known else {"signal": signal}
    if layer.phi.is_positively_homogeneous and layer.shift == 0:  # every layer has the same factors
        noise = 10.0 ** (5 - mpmath.mp.dps)
        rates = [0.0 if abs(rate) < noise else rate for rate in layer.rates(0.0)]
        signal.advance(0, rates[0], NEVER)
        gradient.advance(0, rates[1], NEVER)
        settled = (0.0, rates[1]) if rates[0] == 0 else None
    else:
        settled = _follow(layer, signal, gradient, list(counted.values()))
    first = min(counted, key=lambda name: counted[name].depths[2])
    depth_2, depth_10 = (min(crossings.depths[level] for crossings in counted.values()) for level in _LEVELS)
    return Cost(
        signal_factor=float(signal_factor),
        gradient_factor=None if gradient_factor is None else float(gradient_factor),
        settled_length=math.exp(settled[0]) if settled else None,
        settled_gradient_factor=math.exp(settled[1]) if settled and known else None,
        depth_2=depth_2,
        depth_10=depth_10,
        norm=first if depth_2 < NEVER else "",
    )


def _follow(
    layer: Layer, signal: _Crossings, gradient: _Crossings, counted: Sequence[_Crossings]
) -> tuple[float, float] | None:
    """Propagate until the length settles, or all levels are passed and it has run away.

    Returns:
        The logarithm of the settled length and of the gradient's factor there, or None.
    """
    depth = 0
    previous: tuple[float, float] | None = None
    for _ in range(_MOST_STEPS):
        length = signal.logarithm
        rates = layer.rates(length)
        passed = all(crossings.done for crossings in counted)
        if not all(map(math.isfinite, rates)) or (passed and abs(length) > math.log(1000)):
            return None
        settled = _fixed_point(layer, length, rates[0]) if abs(rates[0]) < 1e-6 else None
        if settled is not None:
            gradient.advance(depth, settled[1], NEVER)
            return settled
        layers = _leap(length, rates[0], previous)
        previous = length, rates[0]
        if layers > 1:  # by the midpoint rule where the rate hardly changes
            rates = layer.rates(length + rates[0] * layers / 2)
        signal.advance(depth, rates[0], layers)
        gradient.advance(depth, rates[1], layers)
        depth += layers
    return None


def _leap(length: float, rate: float, previous: tuple[float, float] | None) -> int:
    """How many layers may be taken in one step: the length and its rate must hardly change."""
    if previous is None or previous[0] == length or rate == 0:
        return 1
    stiffness = abs((rate - previous[1]) / (length - previous[0]))
    return max(1, int(min(0.02 / abs(rate), 0.1 / max(stiffness, 1e-9))))


def _fixed_point(layer: Layer, length: float, rate: float) -> tuple[float, float] | None:
    """The attracting fixed point next to a log length that hardly moves, and the gradient's rate there."""
    step = 1e-4
    slope = (layer.rates(length + step)[0] - layer.rates(length - step)[0]) / (2 * step)
    if rate != 0 and not -2 < slope < -1e-6:  # the length map would have a slope 1 + this at its fixed point
        return None
    point = length - rate / slope if rate else length
    for _ in range(6):
        if abs(point) < 1e-13:  # the published constants are exact in float64
            return point, layer.rates(0.0)[1]
        point -= layer.rates(point)[0] / slope
    return point, layer.rates(point)[1]


def length_fixed_point(layer: Layer) -> tuple[float, float] | None:
    """The fixed point of the squared length that Newton's method reaches from 1, and the slope of the length map there.

    None for a homogeneous activation, whose length map is linear, and where there is no fixed point near 1.
    """
    if layer.phi.is_positively_homogeneous and layer.shift == 0:
        return None
    step, point = 1e-4, 0.0
    for _ in range(40):
        rate = layer.rates(point)[0]
        slope = (layer.rates(point + step)[0] - layer.rates(point - step)[0]) / (2 * step)
        if not (math.isfinite(rate) and math.isfinite(slope)) or slope == 0 or abs(point) > math.log(1000):
            return None
        if abs(rate) < 1e-12 * max(1.0, abs(slope)):
            return math.exp(point), 1 + slope
        point -= max(-0.5, min(0.5, rate / slope))
    return None
