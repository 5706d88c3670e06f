"""Weights that stay orthogonal while they are trained: a penalty, or steps on the manifold itself.

A matrix W (n x p) with p <= n is orthogonal here if its columns are orthonormal, W^T W = I_p (the Stiefel manifold;
for n = p the orthogonal group); with p > n if its rows are.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from gpn.engine.norms import FloatArray, frobenius_norm
from theory.errors import UsageError

_FIRST_ORDER, _SECOND_ORDER = 1e-8, 5e-6  # defects from which a correction of that order leaves only rounding
_FAR = 0.5  # beyond this the series for the polar factor is left for the singular value decomposition


def deviation(weights: FloatArray) -> float:
    r"""Compute how far a matrix is from orthogonal.

    $$\|W^\top W - I\|_F \quad (\text{rows} \ge \text{columns}), \qquad \|W W^\top - I\|_F \quad \text{else}$$

    Args:
        weights: W, a matrix.

    >>> deviation(np.array([[1.0, 0.0], [0.0, 2.0]]))
    3.0
    """
    return frobenius_norm(_defect(_tall(weights)))


def penalty(weights: FloatArray, strength: float) -> tuple[float, FloatArray]:
    r"""Evaluate the soft penalty and its gradient.

    $$P = \lambda \|W^\top W - I\|_F^2, \qquad \frac{\partial P}{\partial W} = 4 \lambda W (W^\top W - I)$$

    and the transposed form if there are more columns than rows.

    Source: E. Vorontsov, C. Trabelsi, S. Kadoury, C. Pal (2017), arXiv 1702.00071, equation 4, among others.

    Args:
        weights: W, a matrix.
        strength: \lambda.

    Returns:
        P and its gradient, of the shape of W.

    >>> penalty(np.array([[2.0]]), 1.0)
    (9.0, array([[24.]]))
    """
    tall = _tall(weights)
    defect = _defect(tall)
    value = strength * float(np.vdot(defect, defect))
    gradient = tall @ defect
    gradient *= 4.0 * strength
    return value, gradient if tall is weights else gradient.T


def tangent(weights: FloatArray, direction: FloatArray) -> FloatArray:
    r"""Project a direction to the tangent space of the orthogonal matrices at W.

    $$\Pi_W(G) = G - W\, \mathrm{sym}(W^\top G), \qquad \mathrm{sym}(A) = (A + A^\top)/2$$

    For G = dE/dW it is the Riemannian gradient of the Euclidean metric.

    Source: P.-A. Absil, R. Mahony, R. Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), example 3.6.2.

    Args:
        weights: W, orthogonal.
        direction: G, of the same shape.

    >>> tangent(np.eye(2), np.array([[1.0, 2.0], [0.0, 1.0]]))
    array([[ 0.,  1.],
           [-1.,  0.]])
    """
    if weights.shape[0] < weights.shape[1]:
        return tangent(weights.T, direction.T).T
    product = weights.T @ direction
    symmetric = product + product.T
    symmetric *= 0.5
    projected: FloatArray = direction - weights @ symmetric
    return projected


def polar(matrix: FloatArray) -> FloatArray:
    r"""Compute the nearest orthogonal matrix, the polar factor.

    $$Y (Y^\top Y)^{-1/2} = Y \bigl(I - \tfrac12 D + \tfrac38 D^2 - \dots\bigr), \qquad D = Y^\top Y - I$$

    Near the manifold, where a retraction is asked for, one or two terms leave only rounding; they are repeated until
    they do. Far from it the singular value decomposition gives U V^T.

    Source: Absil, Mahony, Sepulchre (2008), example 4.1.3; N. Higham, Functions of Matrices (2008), chapter 8.

    Args:
        matrix: Y, of full rank.

    Raises:
        UsageError: an entry that is not finite.

    >>> polar(np.array([[1.0, 0.0], [0.0, 1.001]]))
    array([[1., 0.],
           [0., 1.]])
    """
    if matrix.shape[0] < matrix.shape[1]:
        return polar(matrix.T).T
    while True:
        defect = _defect(matrix)
        size = frobenius_norm(defect)
        if not np.isfinite(size):
            raise UsageError("the matrix to be made orthogonal holds values that are not finite; take smaller steps")
        if size > _FAR:
            left, _, right = np.linalg.svd(matrix, full_matrices=False)
            far: FloatArray = left @ right
            return far
        correction = -0.5 * defect
        if size > _FIRST_ORDER:
            correction += 0.375 * (defect @ defect)
        matrix = matrix + matrix @ correction
        if size <= _SECOND_ORDER:
            return matrix


def orthonormalized(matrix: FloatArray) -> FloatArray:
    r"""Compute Q of Y = Q R with the diagonal of R positive, which is unique.

    Source: Absil, Mahony, Sepulchre (2008), example 4.1.3, the QR retraction.

    Args:
        matrix: Y, of full rank.

    Raises:
        UsageError: an entry that is not finite.

    >>> np.abs(orthonormalized(np.array([[1.0, 5.0], [0.0, 2.0]])))
    array([[1., 0.],
           [0., 1.]])
    """
    if matrix.shape[0] < matrix.shape[1]:
        return orthonormalized(matrix.T).T
    if not np.isfinite(matrix).all():
        raise UsageError("the matrix to be made orthogonal holds values that are not finite; take smaller steps")
    q, r = np.linalg.qr(matrix)
    factor: FloatArray = q * np.where(np.diagonal(r) < 0.0, -1.0, 1.0)
    return factor


RETRACTIONS: Mapping[str, Callable[[FloatArray], FloatArray]] = MappingProxyType(
    {"polar": polar, "qr": orthonormalized}
)
"""Ways back to the manifold from a point W + xi beside it."""


def _tall(weights: FloatArray) -> FloatArray:
    return weights if weights.shape[0] >= weights.shape[1] else weights.T


def _defect(tall: FloatArray) -> FloatArray:
    """Y^T Y - I."""
    defect: FloatArray = tall.T @ tall
    defect[np.diag_indices_from(defect)] -= 1.0
    return defect
