"""The interface of a law of gradient norms by layer, whatever the activation."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from theory.depth.coefficients import DepthCoefficients
from theory.errors import UsageError
from theory.numerics.arithmetic import FloatArray


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LogRatioLaw(ABC):
    r"""Predicted law of gradient norms by layer, for a random readout, to leading order in 1/width.

    .. math:: Y_l = \log \frac{|\partial E/\partial W_l|_F^2}{|\partial E/\partial W_L|_F^2}, \qquad
              H_l = \log \frac{|\partial E/\partial W_l|_F^2}{n}, \quad |e_L| = 1, \qquad l = 1, \dots, L

    Derived for this project, docs/fluctuation-law.md.

    Args:
        coefficients: the coefficients of the activation.
        width: n.
        depth: L.
        q0: squared length per neuron of the input.
        mean, variance: mean and variance of Y_l, arrays (L,); both 0 at l = L.
        gradient_mean, gradient_variance: mean and variance of H_l, arrays (L,). H_l is asymptotically normal.
    """

    coefficients: DepthCoefficients[float]
    width: int
    depth: int
    q0: float
    mean: FloatArray
    variance: FloatArray
    gradient_mean: FloatArray
    gradient_variance: FloatArray

    def __repr__(self) -> str:
        return f"{type(self).__name__}(width={self.width}, depth={self.depth}, q0={self.q0})"

    @abstractmethod
    def quantiles(self, probabilities: Sequence[float]) -> FloatArray:
        """Quantiles of Y_l, array (L, number of probabilities)."""

    @abstractmethod
    def spread_probability(self, epsilon: float) -> float:
        """P(max_l |Y_l| >= epsilon) for a checked epsilon > 0."""

    def gradient_bands(self, probabilities: Sequence[float]) -> FloatArray:
        r"""Quantiles of the natural logarithm of the gradient norm by layer, ready to be drawn as bands.

        .. math:: \log(|\partial E/\partial W_l|_F / \sqrt n) = H_l / 2

        Args:
            probabilities: the probabilities of the quantiles, in (0, 1).

        Returns:
            Array (L, number of probabilities); divide by log 10 for decimal logarithms.
        """
        z = special.ndtri(checked_probabilities(probabilities))
        bands: FloatArray = (self.gradient_mean[:, None] + np.sqrt(self.gradient_variance)[:, None] * z) / 2
        return bands


def checked_probabilities(probabilities: Sequence[float]) -> FloatArray:
    """Probabilities strictly between 0 and 1 as an array.

    Raises:
        UsageError: any other number.
    """
    array = np.atleast_1d(np.asarray(probabilities, dtype=np.float64))
    if not ((array > 0) & (array < 1)).all():
        raise UsageError(f"every probability must lie strictly between 0 and 1, not {probabilities}; try 0.05,0.5,0.95")
    return array
