"""Length maps of a phi + b at many lengths from one evaluation of phi, so that they follow a slider."""

from dataclasses import dataclass

import numpy as np

from theory.activations.specification import Phi
from theory.depth.length_map import length_map, slope_map
from theory.numerics.arithmetic import FloatArray
from theory.numerics.quadrature import gauss_legendre

_NODES = 16
_EDGES = np.concatenate([np.arange(0, 9, 0.25), np.arange(9, 36, 1.0), np.arange(36, 151, 4.0)])
"""Panels of one deviation at most, for squared lengths from 1/16 to 16, as far as 37 deviations."""
_FAR = 100.0  # what is still felt beyond has no known end
_NEGLIGIBLE = 1e-12


class Values:
    """phi at the nodes of a quadrature that serves all lengths.

    Args:
        phi: the activation as given.
    """

    def __init__(self, phi: Phi) -> None:
        breakpoints = phi.breakpoint_values[np.abs(phi.breakpoint_values) < _EDGES[-1]]
        edges = np.unique(np.concatenate([-_EDGES, _EDGES, breakpoints]))
        nodes, weights = gauss_legendre(_NODES)
        half = 0.5 * np.diff(edges)[:, None]
        self.y = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * nodes).ravel()
        self.weights = (half * weights).ravel()
        self.phi = phi.value(self.y)

    def density(self, q: float) -> FloatArray:
        """The normal density of variance q at the nodes, times the weights of the quadrature."""
        return np.asarray(self.weights * np.exp(-0.5 * self.y**2 / q) / np.sqrt(2 * np.pi * q))


@dataclass(frozen=True, slots=True)
class QuickLengths:
    r"""The length map of a phi + b: :math:`Q(q) = \int (a \phi(y) + b)^2\, p_q(y)\, dy`, p_q normal of variance q.

    Args:
        values: phi at the nodes.
        normalized: a phi + b, for q = 0.
        a, b: the constants.
    """

    values: Values
    normalized: Phi
    a: float
    b: float

    def value(self, q: float) -> float:
        """Q(q); nan where the square is not integrable within what floats and the nodes reach."""
        return self._integral(q, 1.0) if q > 0 else length_map(self.normalized, q).value

    def slope(self, q: float) -> float:
        """Q'(q), by the derivative of the density."""
        if q == 0:
            return slope_map(self.normalized, q).value
        return self._integral(q, 0.5 * (self.values.y**2 / q - 1) / q)

    def _integral(self, q: float, factor: FloatArray | float) -> float:
        with np.errstate(all="ignore"):
            parts = (self.a * self.values.phi + self.b) ** 2 * self.values.density(q)
            far = float(parts[np.abs(self.values.y) > _FAR].sum())
            whole = float((parts * factor).sum())
        return whole if far <= _NEGLIGIBLE * float(parts.sum()) else np.nan
