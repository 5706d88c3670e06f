"""The edge of chaos: gains and biases for which gradients keep their norm at the fixed point of the length."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import brentq

from theory.activations.activation import NumericActivation
from theory.depth.fixed_points import MARGINAL, Stability, stability
from theory.depth.length_map import length_map, length_map_slope, slope_map
from theory.errors import UsageError

_GRID = 61


@dataclass(frozen=True, slots=True)
class EdgePoint:
    """A point of the edge of chaos.

    Args:
        gain, bias: g and sigma_b.
        q: the fixed point of the variance of the pre-activations; None if every variance is one.
        stability: whether that fixed point attracts.
    """

    gain: float
    bias: float
    q: float | None
    stability: Stability


def edge_point(activation: NumericActivation, q: float) -> EdgePoint | None:
    r"""The point of the edge of chaos whose pre-activations have variance q.

    .. math:: g^2 = 1 / E\, \phi'(\sqrt q z)^2, \qquad \sigma_b^2 = q - g^2 E\, \phi(\sqrt q z)^2

    (Poole et al. 2016; Hayou, Doucet, Rousseau 2019, "On the impact of the activation function on deep neural networks
    training", algorithm 1.)

    Args:
        activation: phi without jumps.
        q: variance of the pre-activations, > 0.

    Returns:
        The point, or None where sigma_b^2 would be negative or phi' vanishes. A sigma_b^2 within 1e-9 q of 0 is 0.

    >>> from theory.activations.specification import activation
    >>> point = edge_point(activation("erf"), 1.0)
    >>> bool(abs(point.gain**2 - np.pi * np.sqrt(5) / 4) < 1e-12), round(point.bias, 6)
    (True, 0.429115)
    """
    if not q > 0:
        raise UsageError(f"a point of the edge of chaos needs a variance q > 0, not {q}")
    steepness = slope_map(activation, q).value
    if not (np.isfinite(steepness) and steepness > 0):
        return None
    gain = float(1 / np.sqrt(steepness))
    rest = q - length_map(activation, q, gain).value
    if not rest > -MARGINAL * q:
        return None
    bias = float(np.sqrt(rest)) if rest > MARGINAL * q else 0.0
    return EdgePoint(gain, bias, q, stability(length_map_slope(activation, q, gain).value))


def edge_of_chaos(
    activation: NumericActivation, gain: float, lowest: float = 1e-4, highest: float = 1e4
) -> tuple[EdgePoint, ...]:
    r"""The points of the edge of chaos with a given gain.

    .. math:: g^2 E\, \phi'(\sqrt q z)^2 = 1, \qquad \sigma_b^2 = q - g^2 E\, \phi(\sqrt q z)^2 \ge 0

    Sign changes of the first condition on a logarithmic grid of q are refined by Brent's method; the limit q = 0, that
    is g |phi'(0)| = 1 with phi(0) = 0 and no biases, is tested itself. Points with lengths closer together than the
    grid (a factor 1.36 at the default range) can be missed.

    Args:
        activation: phi without jumps.
        gain: g > 0.
        lowest, highest: range of q that is searched.

    Returns:
        The points by ascending q; none where the gain lies off the curve.

    >>> from theory.activations.specification import activation
    >>> edge_of_chaos(activation("relu"), 2**0.5)
    (EdgePoint(gain=1.4142135623730951, bias=0.0, q=None, stability='marginal'),)
    >>> [round(point.bias, 6) for point in edge_of_chaos(activation("tanh"), 1.3)]
    [0.195823]
    """

    def excess(x: float) -> float:
        with np.errstate(divide="ignore"):
            return float(np.clip(np.log(slope_map(activation, float(np.exp(x)), gain).value), -1e3, 1e3))

    grid = np.linspace(np.log(lowest), np.log(highest), _GRID)
    values = np.array([excess(x) for x in grid])
    values[np.abs(values) < MARGINAL] = 0.0  # of phi that oscillates the excess tends to 0: rounding changes its sign
    middle = edge_point(activation, 1.0)
    if not values.any():
        homogeneous = middle is not None and middle.bias == 0
        return (EdgePoint(gain, 0.0, None, "marginal"),) if homogeneous else ()
    ends = np.flatnonzero(values)
    brackets = [(grid[i], grid[j]) for i, j in pairwise(ends) if values[i] * values[j] < 0]
    points = [edge_point(activation, float(np.exp(brentq(excess, *bracket)))) for bracket in brackets]
    found = [EdgePoint(gain, point.bias, point.q, point.stability) for point in points if point is not None]
    at_zero = length_map(activation, 0.0).value < 1e-190 and abs(slope_map(activation, 0.0, gain).value - 1) < MARGINAL
    return (*([EdgePoint(gain, 0.0, 0.0, "marginal")] if at_zero else []), *found)
