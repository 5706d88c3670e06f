r"""How the backward signal aligns with the forward one below the top layer, and what that does to its mean growth.

Below the top layer the direction of e_l is not independent of x_l: given x_l and e_l's cosine alpha with it, the rest
is uniform in the complement of x_l,

.. math:: e_l/|e_l| = \alpha\, \hat x_l + \sqrt{1 - \alpha^2}\, v

The squared cosine is of order 1/n, as for an independent direction, but with another constant A_l = n E alpha_l^2.
"""

import numpy as np
import numpy.typing as npt

from theory.activations.activation import NumericActivation
from theory.depth.coefficients import DepthCoefficients
from theory.errors import UsageError
from theory.numerics.arithmetic import FloatArray


def alignments(coefficients: DepthCoefficients[float], layers: int) -> FloatArray:
    r"""Mean squared cosine between the backward and the forward signal, times n, in each layer.

    .. math:: A_l = n E \alpha_l^2, \qquad A_L = 1, \qquad A_l = \chi^2 A_{l+1} + 1 + 2\kappa - \chi^2

    for a readout of random direction, up to O(1/n) (derived for this project, docs/finite-width.md).

    Args:
        coefficients: the coefficients of a normalized phi.
        layers: L >= 1.

    Returns:
        A_1, ..., A_L, shape (L,).

    >>> from theory.activations.catalog import build
    >>> from theory.depth.coefficients import depth_coefficients
    >>> from theory.normalization.normalize import normalize
    >>> alignments(depth_coefficients(normalize(build("relu"))), 3).round(12)
    array([1., 1., 1.])
    """
    values = np.ones(layers)
    for layer in range(layers - 2, -1, -1):
        values[layer] = coefficients.chi**2 * (values[layer + 1] - 1) + 1 + 2 * coefficients.kappa
    return values


def conditional_growth(
    pre_activations: npt.ArrayLike, activation: NumericActivation, cosine: npt.ArrayLike
) -> FloatArray:
    r"""Exact mean growth of the squared backward norm in one layer, given the forward pass and the cosine.

    .. math:: E_v B = \bar s + \Big(\alpha^2 - \frac1n\Big) \frac{n}{n-1} (\tau - \bar s), \qquad
        \bar s = \frac1n \sum_i \phi'(h_i)^2, \quad \tau = \frac{\sum_i \phi'(h_i)^2 x_i^2}{|x|^2}, \quad x = \phi(h)

    over the uniform direction v of the part of e_l orthogonal to x_l (derived for this project,
    docs/finite-width.md). Nothing is approximate here.

    Args:
        pre_activations: h_l, shape (..., n) with n >= 2.
        activation: phi.
        cosine: alpha, the cosine between e_l and x_l, broadcast against the leading axes.

    Returns:
        E_v B, shape (...); where x = 0 the cosine means nothing and it is the mean of phi'^2.

    Raises:
        UsageError: fewer than two neurons, or a cosine outside [-1, 1].

    >>> from theory.activations.catalog import build
    >>> float(conditional_growth([1.0, 2.0, -3.0], build("relu"), 1.0))  # e along x, which ReLU lets pass
    1.0
    """
    h, alpha = np.asarray(pre_activations, dtype=np.float64), np.asarray(cosine, dtype=np.float64)
    if h.ndim < 1 or h.shape[-1] < 2:
        raise UsageError(f"the last axis must hold at least 2 neurons, unlike shape {h.shape}")
    if not np.all(np.abs(alpha) <= 1):
        raise UsageError("a cosine lies in [-1, 1]")
    n = h.shape[-1]
    x, slope = activation.value_and_slope(h)
    s, square = slope**2, x**2
    mean, size = s.mean(axis=-1), square.sum(axis=-1)
    along = np.where(size > 0, (s * square).sum(axis=-1) / np.where(size > 0, size, 1.0), mean)
    return np.asarray(mean + (alpha**2 - 1 / n) * (n / (n - 1)) * (along - mean))
