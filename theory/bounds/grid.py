"""Two grids on which the verifier computes: quadrature nodes for a normal variable, and cells of squared lengths."""

from dataclasses import dataclass

import numpy as np

from theory.activations.activation import NumericActivation
from theory.errors import UsageError
from theory.gaussian.expectations import expectations
from theory.layer.conditioning import normal_nodes
from theory.numerics.arithmetic import FloatArray

_REACH = 0.9  # half-width of a cell in standard deviations of the tilted length
_BULK = 14.0  # the guard nodes begin here
_DEGREE = 10  # of the Gauss rule on each panel


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """A quadrature rule for the standard normal law with an activation evaluated on it.

    Args:
        z: the nodes, (K,), on |z| <= radius: beyond it no coordinate of the sphere lies.
        log_weight: logarithms of the weights, the density included, (K,).
        value, slope: phi(z) and phi'(z), (K,).
        guard: which nodes lie so far out that the rule is coarse there; their tilted mass must be negligible.
        slope_bound: a number that is no less than phi'^2 on |z| <= radius.
    """

    z: FloatArray
    log_weight: FloatArray
    value: FloatArray
    slope: FloatArray
    guard: np.ndarray
    slope_bound: float


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Consecutive intervals of q: centres and half-widths, (C,) each."""

    centre: FloatArray
    half: FloatArray


def gaussian_nodes(activation: NumericActivation, radius: float, slope_bound: float) -> Nodes:
    r"""Gauss rules between the breakpoints of an activation, fine enough for its second moments.

    .. math:: E\, g(z) \approx \sum_k e^{\omega_k} g(z_k), \qquad z \sim N(0, 1), |z| \le R

    The panels are halved until the means of phi^2, phi'^2 and their product agree with
    `theory.gaussian.expectations.expectations`.

    Args:
        activation: phi.
        radius: R = sqrt(n q) for the largest q in question.
        slope_bound: K^2, no less than phi'^2 on |z| <= R.

    Raises:
        UsageError: the rule does not settle (an activation too rough for it).

    >>> from theory.activations.specification import activation
    >>> nodes = gaussian_nodes(activation("identity"), 20.0, 1.0)
    >>> round(float(np.exp(nodes.log_weight) @ nodes.value**2), 12)
    1.0
    """
    wanted = expectations(
        activation,
        {
            "forward": lambda _z, value, _slope: value**2,
            "backward": lambda _z, _value, slope: slope**2,
            "both": lambda _z, value, slope: (value * slope) ** 2,
        },
    )
    exact = np.array([estimate.value for estimate in wanted.values()])
    for panel in (1.0, 0.5, 0.25, 0.125):
        rule = normal_nodes(radius, activation.breakpoint_values, panel=panel, order=_DEGREE)
        value, slope = activation.value_and_slope(rule.points)
        nodes = Nodes(rule.points, rule.log_weights, value, slope, np.abs(rule.points) > _BULK, slope_bound)
        forward, backward = nodes.value**2, nodes.slope**2
        found = np.stack([forward, backward, forward * backward]) @ np.exp(nodes.log_weight)
        if np.all(np.abs(found - exact) <= 1e-11 * (1 + exact)):
            return nodes
    raise UsageError(f"the quadrature rule does not settle for {activation.name}; it needs a piecewise smooth phi")


def cells(low: float, high: float, width: int) -> Cells:
    """Intervals that cover [low, high], each about as wide as the tilted length of a layer is spread.

    >>> grid = cells(0.8, 1.25, 200)
    >>> round(float(grid.centre[0] - grid.half[0]), 12), round(float(grid.centre[-1] + grid.half[-1]), 12)
    (0.8, 1.25)
    """
    count = max(1, int(np.ceil(np.log(high / low) / (2 * _REACH * np.sqrt(2.0 / width)))))
    edges = np.geomspace(low, high, count + 1)
    edges[0], edges[-1] = low, high
    return Cells(0.5 * (edges[1:] + edges[:-1]), 0.5 * np.diff(edges))


def points(q: FloatArray) -> Cells:
    """Cells of width zero: single values of q."""
    return Cells(np.asarray(q, dtype=np.float64), np.zeros(len(q)))
