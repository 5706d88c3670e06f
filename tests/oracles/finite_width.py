"""Approximate means in deep networks of one finite width: of the squared lengths, and of the backward factors.

No part of the product uses them; tests compare them with simulated networks (docs/finite-width.md).
"""

from dataclasses import dataclass

import numpy as np

from theory.activations.activation import NumericActivation
from theory.depth.alignment import alignments
from theory.depth.coefficients import DepthCoefficients, depth_coefficients
from theory.errors import UsageError
from theory.gaussian.expectations import Functional
from theory.layer.pairs import squared_length_variance
from theory.layer.sphere import mean_squared_length, mean_squared_slope, sphere_expectations
from theory.numerics.arithmetic import FloatArray

_STEP = 1e-3
_NORMALIZED = 1e-6  # how far E phi^2 and E phi'^2 of a normalized activation may be from 1


@dataclass(frozen=True, slots=True)
class FiniteWidthLengths:
    """The iterated length map of one width, and the first two moments of q_l around it.

    Args:
        width: n.
        iterated: Q_n(...Q_n(q_0)), l = 0 ... L, shape (L + 1,).
        variance: approximate Var q_l, to leading order in 1/n, with Var q_0 = 0.
        correction: approximate E q_l - iterated, to leading order in 1/n; 0 at l = 0 and l = 1, where the
            iterated map is exact.
    """

    width: int
    iterated: FloatArray
    variance: FloatArray
    correction: FloatArray

    @property
    def mean(self) -> FloatArray:
        """Approximate E q_l, up to O(1/n^2) at fixed depth."""
        return np.asarray(self.iterated + self.correction)


def finite_width_lengths(activation: NumericActivation, width: int, depth: int, q0: float = 1.0) -> FiniteWidthLengths:
    r"""The squared lengths of a network of finite width: the iterated map Q_n and what it leaves out.

    .. math:: \bar q_l = Q_n(\bar q_{l-1}), \quad v_l = Q_n'^2 v_{l-1} + Var\,q_1(\bar q_{l-1}), \quad
        m_l = Q_n' m_{l-1} + \tfrac12 Q_n'' v_{l-1}

    Q_n(q) is the exact mean of one layer. Iterated, it is not the mean E q_l: q_l fluctuates and Q_n is not
    linear, so that E q_l = E Q_n(q_{l-1}) differs from it by m_l, which is of order 1/n like Q_n(1) - 1 itself. It
    is exact for l = 1 and, at every depth, for an affine Q_n (homogeneous phi). The last two recursions linearize
    around the iterated map (derived for this project, docs/finite-width.md).

    Args:
        activation: phi.
        width: n >= 2.
        depth: L >= 1 layers.
        q0: squared length per neuron of the input, > 0.

    Raises:
        UsageError: a width below 2, no layer, or q0 not positive.

    >>> from theory.activations.catalog import build
    >>> from theory.normalization.normalize import normalize
    >>> lengths = finite_width_lengths(normalize(build("relu")), 30, 4)
    >>> lengths.iterated.round(12), bool(abs(lengths.correction).max() < 1e-6)
    (array([1., 1., 1., 1., 1.]), True)
    """
    if depth < 1 or depth != int(depth):
        raise UsageError(f"the depth must be a whole number of at least 1 layer, not {depth}")
    iterated, variance, correction = np.full((3, depth + 1), np.nan)
    iterated[0], variance[0], correction[0] = q0, 0.0, 0.0
    settled: tuple[float, _Local] | None = None
    for layer in range(1, depth + 1):
        q = float(iterated[layer - 1])
        value, local = settled or (mean_squared_length(activation, width, q).value, _local(activation, width, q))
        iterated[layer] = value
        variance[layer] = local.slope**2 * variance[layer - 1] + local.noise
        correction[layer] = local.slope * correction[layer - 1] + local.bend * variance[layer - 1] / 2
        if not (np.isfinite(value) and value > 0):
            break
        if abs(value - q) <= 1e-14 * q:
            settled = value, local
    return FiniteWidthLengths(width, iterated, variance, correction)


def inner_layer_mean(activation: NumericActivation, width: int, layers: int) -> FloatArray:
    r"""Approximate mean factor by which each layer changes the squared norm of the backward signal.

    .. math:: E B_l \approx S_n(1) + \frac{(A_l - 1) c + \kappa m_{l-1} + \tfrac12 S_2 \sigma_{l-1}^2}{n}

    with :math:`\sigma_l^2 = \chi^2 \sigma_{l-1}^2 + Var\,\phi^2 - 2\chi^2`, :math:`m_l = \chi m_{l-1} +
    Q_2 (\sigma_{l-1}^2/2 - 1)`, sigma_0 = m_0 = 0, Q_2 and S_2 the curvatures in `DepthCoefficients`
    (derived for this project, docs/finite-width.md). An approximation: the error is O(1/n^2) at fixed depth, and
    grows with depth where |chi| >= 1. With one layer it is S_n, which is exact.

    Args:
        activation: a normalized phi.
        width: n >= 2.
        layers: L; the input has q_0 = 1, the readout a random direction.

    Returns:
        Approximations of E B_1 ... E B_L, shape (L,), B_l = |d_l|^2/|e_l|^2.

    Raises:
        UsageError: a width below 2, fewer than one layer, or an activation that is not normalized.

    >>> from theory.activations.catalog import build
    >>> from theory.normalization.normalize import normalize
    >>> inner_layer_mean(normalize(build("relu")), 64, 3).round(12)
    array([1., 1., 1.])
    """
    found = alignment_coefficients(activation)
    aligned = alignment(found, layers).values
    mean, variance = np.zeros(layers), np.zeros(layers)  # of q_(l-1), times n
    for layer in range(1, layers):
        mean[layer] = found.chi * mean[layer - 1] + found.length_curvature * (variance[layer - 1] / 2 - 1)
        variance[layer] = found.chi**2 * variance[layer - 1] + found.length_noise
    drift = found.kappa * mean + found.backward_curvature * variance / 2
    correction = (aligned - 1) * found.alignment_excess + drift
    return np.asarray(mean_squared_slope(activation, width).value + correction / width)


@dataclass(frozen=True, slots=True)
class _Local:
    """Q_n'(q), Q_n''(q) and Var q_1 at one q."""

    slope: float
    bend: float
    noise: float


def _local(activation: NumericActivation, width: int, q: float) -> _Local:
    """The second derivative is a central difference of the first."""
    low, slope, high = (_slope(activation, width, q * (1 + shift)) for shift in (-_STEP, 0.0, _STEP))
    bend = (high - low) / (2 * _STEP * q)
    return _Local(slope, bend, squared_length_variance(activation, width, q).value)


def _slope(activation: NumericActivation, width: int, q: float) -> float:
    """Q_n'(q) = E phi phi' h / q, since h = sqrt(q) times a vector whose law does not depend on q."""
    functional: dict[str, Functional] = {"": lambda h, value, slope: value * slope * h / q}
    return sphere_expectations(activation, width, functional, q)[""].value


def alignment_coefficients(activation: NumericActivation) -> DepthCoefficients[float]:
    """The coefficients of a normalized activation, in float64.

    Args:
        activation: phi with E phi^2 = E phi'^2 = 1.

    Raises:
        UsageError: an activation that is not normalized to within 1e-6.

    >>> from theory.activations.catalog import build
    >>> from theory.normalization.normalize import normalize
    >>> found = alignment_coefficients(normalize(build("relu")))
    >>> round(found.chi, 12), round(abs(found.kappa), 12), round(found.alignment_excess, 12)
    (1.0, 0.0, 1.0)
    """
    found = depth_coefficients(activation)
    if not (abs(found.second - 1) < _NORMALIZED and abs(found.slope_second - 1) < _NORMALIZED):
        raise UsageError(
            f"{activation.name} has E phi^2 = {found.second:.6g} and E phi'^2 = {found.slope_second:.6g}, but the "
            "alignment recursion holds for normalized activations; try theory.normalization.normalize.normalize"
        )
    return found


@dataclass(frozen=True, slots=True)
class Alignment:
    r"""The alignment constants of a network under a random readout, to leading order in 1/n.

    Args:
        values: A_1 ... A_L, shape (L,); A_L = 1.
        stationary: the limit far below the top, :math:`1 + 2\kappa/(1 - \chi^2)`; for |chi| = 1 it is 1 if kappa = 0
            (homogeneous phi), else infinite, as for |chi| > 1 unless kappa = 0.
    """

    values: FloatArray
    stationary: float


def alignment(activation: NumericActivation | DepthCoefficients[float], layers: int) -> Alignment:
    r"""The mean squared cosine between the backward and the forward signal, times n, in each layer.

    .. math:: A_l = n E \alpha_l^2, \qquad A_L = 1, \qquad A_l = \chi^2 A_{l+1} + 1 + 2\kappa - \chi^2

    for a readout of random direction, up to O(1/n) (derived for this project, docs/finite-width.md).

    Args:
        activation: a normalized phi, or its `alignment_coefficients`.
        layers: L >= 1.

    Raises:
        UsageError: fewer than one layer, or an activation that is not normalized.

    >>> from theory.activations.catalog import build
    >>> from theory.normalization.normalize import normalize
    >>> found = alignment(normalize(build("tanh")), 30)
    >>> bool(abs(found.values[0] - found.stationary) < 1e-12), float(found.values[-1])
    (True, 1.0)
    """
    if layers < 1 or layers != int(layers):
        raise UsageError(f"a network has a whole number of at least 1 layer, not {layers}")
    if not isinstance(activation, DepthCoefficients):
        activation = alignment_coefficients(activation)
    return Alignment(alignments(activation, layers), _stationary(activation.chi**2, activation.kappa))


def _stationary(square: float, kappa: float) -> float:
    if abs(kappa) < 1e-12:
        return 1.0
    return 1 + 2 * kappa / (1 - square) if square < 1 - 1e-12 else float(np.copysign(np.inf, kappa))
