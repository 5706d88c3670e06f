r"""How far apart two inputs stay in depth: the loss of separation, and the curvature that sets its rate.

For a Gaussian-Poincaré normalized phi the correlation map C has C(1) = C'(1) = 1, so two inputs approach each other
only by what C bends away from its tangent at 1.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.polynomial import chebyshev

from theory.activations.activation import NumericActivation, steps
from theory.depth.correlation import squared_distance, step_heights
from theory.depth.length_map import length_map, slope_map
from theory.errors import UsageError, layer_count
from theory.gaussian.hermite import correlation_slopes
from theory.numerics.arithmetic import FloatArray

_NODES = (12, 24, 48, 96)
_ACCURACY = 1e-7
_UNIT = 1e-6  # how far E phi^2 may lie from 1


@dataclass(frozen=True)
class CorrelationMap:
    r"""The correlation map of an activation with E phi^2 = 1, interpolated in the angle.

    .. math:: 1 - C(\cos\theta) = (1 - \cos\theta)\, g(\theta)

    g is smooth on [0, pi/2], at 0 too, for a phi with kinks as well (Chebyshev interpolation; its last coefficients
    state the accuracy).

    Args:
        coefficients: of g in Chebyshev polynomials on [0, pi/2].
        error: of g, relative to 1, by the last coefficients.
    """

    coefficients: FloatArray
    error: float

    def next(self, loss: FloatArray) -> FloatArray:
        """1 - C(rho) from the loss 1 - rho in [0, 1]."""
        return np.asarray(loss * chebyshev.chebval(self._place(loss), self.coefficients))

    def slope(self, loss: FloatArray) -> FloatArray:
        r"""C'(rho) = g(theta) + tan(theta/2) g'(theta) from the loss 1 - rho in [0, 1]."""
        place = self._place(loss)
        derivative = chebyshev.chebval(place, chebyshev.chebder(self.coefficients)) * 4 / np.pi
        half = np.sqrt(np.asarray(loss) / (2 - np.asarray(loss)))
        return np.asarray(chebyshev.chebval(place, self.coefficients) + half * derivative)

    @staticmethod
    def _place(loss: FloatArray) -> FloatArray:
        return np.asarray(8 / np.pi * np.arcsin(np.sqrt(np.asarray(loss) / 2)) - 1)

    def path(self, depth: int, loss: float = 1.0) -> FloatArray:
        """1 - rho_l for l = 0, ..., L, array (L + 1,), from the loss of the two inputs."""
        losses = [loss]
        for _ in range(depth):
            losses.append(min(max(self.after(losses[-1]), 0.0), 1.0))
        return np.array(losses)

    def after(self, loss: float) -> float:
        """The same as `next` of one number, by Clenshaw's recurrence without arrays: layers are many."""
        first, *others = self._numbers
        place = 8 / math.pi * math.asin(math.sqrt(loss / 2)) - 1
        one, two = 0.0, 0.0
        for number in reversed(others):
            one, two = number + 2 * place * one - two, one
        return loss * (first + place * one - two)

    @cached_property
    def _numbers(self) -> list[float]:
        return list(map(float, self.coefficients))


def correlation_map(activation: NumericActivation, accuracy: float = _ACCURACY) -> CorrelationMap:
    """Tabulate the correlation map of an activation with E phi^2 = 1 on correlations in [0, 1].

    Args:
        activation: phi without jumps, such as a Gaussian-Poincaré normalized one.
        accuracy: of g, at which the table is fine enough.

    Raises:
        UsageError: phi jumps, or E phi^2 is not 1.

    >>> from theory.activations.specification import activation
    >>> relu = correlation_map(activation("sqrt(2)*max(x, 0)"))
    >>> bool(abs(relu.next(np.array(1.0)) - (1 - 1 / np.pi)) < 1e-7)  # Cho and Saul 2009
    True
    """
    if steps(activation, "value"):
        raise UsageError(f"{activation.name} jumps: two inputs are torn apart at once, and the map has no slope at 1")
    size = length_map(activation, 1.0).value
    if not abs(size - 1) < _UNIT:
        raise UsageError(
            f"{activation.name} has E phi^2 = {size:.6g}, not 1: its squared length changes from layer to layer; "
            "normalize it first"
        )
    tangent = slope_map(activation, 1.0).value
    known: dict[float, float] = {-1.0: tangent}
    for count in _NODES:
        places = chebyshev.chebpts2(count + 1)  # nested: every second node is known
        for place in map(float, places):
            key = round(place, 12)
            if key not in known:
                angle = np.pi / 4 * (place + 1)
                known[key] = squared_distance(activation, angle, 0.01 * accuracy).value / (2 * np.sin(angle / 2) ** 2)
        values = np.array([known[round(float(place), 12)] for place in places])
        coefficients = chebyshev.chebfit(places, values, count)
        error = float(np.abs(coefficients[-3:]).max())
        if error < accuracy:
            break
    return CorrelationMap(coefficients, error)


@dataclass(frozen=True)
class Separation:
    r"""Loss of separation of one activation in depth.

    .. math:: \delta_{l+1} = \delta_l - \tfrac12 C''(1) \delta_l^2 + \dots \qquad
              \frac1{\delta_L} = \frac1{\delta_0} + \tfrac12 C''(1) L\,(1 + o(1))

    for a phi without kinks, with delta = 1 - rho and C''(1) = E phi''^2 (Poole et al. 2016; Schoenholz et al. 2017).
    With kinks, where phi' has steps J_k at t_k,

    .. math:: C'(\rho) = 1 - K \sqrt{\delta/\pi}\,(1 + o(1)), \quad K = \sum_k J_k^2 p(t_k), \qquad
              \delta_L = \frac{9 \pi}{K^2 L^2} (1 + o(1)),

    p the normal density (derived for this project, docs/trainability.md; for ReLU the limit 9 pi^2/(2 L^2) of Hayou,
    Doucet, Rousseau 2019).

    Args:
        map: the correlation map.
        curvature: C''(1) = E phi''^2; infinite where phi has a kink.
        kinks: K, 0 where phi has none.
    """

    map: CorrelationMap
    curvature: float
    kinks: float

    def losses(self, depth: int, correlation: float = 0.0) -> FloatArray:
        """1 - rho_l for l = 0, ..., L, array (L + 1,), of two inputs with a correlation in [0, 1].

        Raises:
            UsageError: a correlation outside [0, 1] or a depth out of range.
        """
        if not 0 <= correlation <= 1:
            raise UsageError(f"the correlation of the two inputs must lie in [0, 1], not {correlation}")
        return self.map.path(layer_count(depth, 0), 1 - correlation)

    def layers_until(self, correlation: float, most: int = 100_000) -> float:
        """The first layer after which orthogonal inputs have at least this correlation; infinite beyond the most."""
        loss, target = 1.0, 1 - correlation
        for layer in range(most + 1):
            if loss <= target:
                return float(layer)
            after = self.map.after(loss)
            if loss - after < 1e-15:
                break
            loss = after
        return np.inf

    def spent(self, depth: int) -> float:
        r"""The curvature that a depth spends: the tau with :math:`1 - \rho_L = 1/(1 + \tau/2)` for orthogonal inputs.

        For a phi without kinks it is of the size of C''(1) L (exactly so while rho is near 1, and 2/3 of it for an odd
        phi while rho is near 0); the definition covers kinks as well.
        """
        left = float(self.losses(depth)[-1])
        return 2 * (1 / left - 1) if left > 0 else np.inf


def separation(activation: NumericActivation, accuracy: float = _ACCURACY) -> Separation:
    """Return the laws of separation of one activation with E phi^2 = 1.

    Args:
        activation: phi without jumps, such as a Gaussian-Poincaré normalized one.
        accuracy: of the correlation map, see `correlation_map`.

    Raises:
        UsageError: phi jumps, or E phi^2 is not 1.

    >>> from theory.activations.specification import activation
    >>> relu = separation(activation("sqrt(2)*max(x, 0)"))
    >>> float(round(relu.kinks**2 * np.pi, 9)), float(relu.losses(1)[1].round(5))  # K^2 = 2/pi, 1 - 1/pi
    (2.0, 0.68169)
    """
    return Separation(
        correlation_map(activation, accuracy), correlation_slopes(activation)[1].value, kink_constant(activation)
    )


def kink_constant(activation: NumericActivation) -> float:
    r"""The sum K of squared steps of phi', each times the normal density at its kink."""
    points = np.array([float(point) for point in steps(activation, "slope")])
    if not len(points):
        return 0.0
    heights = step_heights(activation, points, 1)
    return float(heights**2 @ np.exp(-0.5 * points**2) / np.sqrt(2 * np.pi))
