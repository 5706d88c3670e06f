"""Householder reflections, many factorizations at once: orthogonal matrices that are never written out.

Vectors are rows here, as everywhere in `gpn`; the leading axis counts independent trials.
"""

from dataclasses import dataclass

import numpy as np

from gpn.engine.norms import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Reflections:
    r"""An orthogonal matrix for each trial, the product of r Householder reflections, in 2 r n numbers at most.

        Q = H_1 H_2 ... H_r = I - Y^T T Y,   T^{-1} = diag(1 / tau) + (the part of Y Y^T above its diagonal).

    Source: T. Joffrain, T. Low, E. Quintana-Orti, R. van de Geijn, F. Van Zee, Accumulating Householder
    transformations, revisited, ACM Trans. Math. Softw. 32 (2006), 169-179.

    Attributes:
        vectors: Y, the Householder vectors in rows, array (trials, r, n).
        mixing: T, upper triangular, array (trials, r, r).
    """

    vectors: FloatArray
    mixing: FloatArray

    def turn(self, rows: FloatArray) -> FloatArray:
        """Give Q v for each row v of an array (trials, k, n)."""
        return self._reflect(rows, self.mixing.swapaxes(-1, -2))

    def turn_back(self, rows: FloatArray) -> FloatArray:
        """Give Q^T v for each row v of an array (trials, k, n)."""
        return self._reflect(rows, self.mixing)

    def embed(self, coordinates: FloatArray) -> FloatArray:
        """Give sum_i c_i q_i, with q_i the first r columns of Q, for each row c of an array (trials, k, r)."""
        size = coordinates.shape[-1]
        seen = coordinates @ self.vectors[..., :size].swapaxes(-1, -2)
        rows = (seen @ -self.mixing.swapaxes(-1, -2)) @ self.vectors
        rows[..., :size] += coordinates
        return rows

    def _reflect(self, rows: FloatArray, mixing: FloatArray) -> FloatArray:
        turned = ((rows @ self.vectors.swapaxes(-1, -2)) @ -mixing) @ self.vectors
        turned += rows
        return turned


def factorize(rows: FloatArray) -> tuple[FloatArray, Reflections]:
    r"""Factorize the rows of a matrix into coordinates and an orthonormal frame.

        X = C F,   C lower triangular (k x r),   F the first r = min(k, n) columns of Q, transposed.

    It is the QR factorization of X^T by Householder reflections, which needs no rank: Q is orthogonal to rounding
    whatever X is, and the error of each row of C F is a rounding of that row alone, so that rows of very
    different lengths, equal rows and zero rows keep their digits.

    Source: N. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition (2002), theorem 19.4.

    Args:
        rows: X, finite, array (trials, k, n).

    Returns:
        C, array (trials, k, r), and Q.

    >>> x = np.array([[[3.0, 4.0, 0.0], [6.0, 8.0, 0.0]]])
    >>> coordinates, frame = factorize(x)
    >>> bool(np.allclose(frame.embed(coordinates), x))
    True
    """
    packed, factors = np.linalg.qr(rows.swapaxes(-1, -2), mode="raw")  # LAPACK's: vectors beside the triangle
    size = factors.shape[-1]
    diagonal = np.arange(size)
    vectors = np.triu(packed[..., :size, :], 1)
    vectors[..., diagonal, diagonal] = 1.0
    idle = factors == 0.0  # no reflection was needed: H = I
    vectors[idle] = 0.0
    inverse = np.triu(vectors @ vectors.swapaxes(-1, -2), 1)
    inverse[..., diagonal, diagonal] = 1.0 / np.where(idle, 1.0, factors)
    return np.tril(packed[..., :size]), Reflections(vectors, np.linalg.inv(inverse))


def coordinates_alone(rows: FloatArray) -> FloatArray:
    """Give C of `factorize` without the frame: C C^T is the Gram matrix of the rows.

    Args:
        rows: finite, array (trials, k, n).

    >>> coordinates_alone(np.array([[[3.0, 4.0], [0.0, 0.0]]])).round(12) ** 2
    array([[[25.,  0.],
            [ 0.,  0.]]])
    """
    triangle = np.asarray(np.linalg.qr(rows.swapaxes(-1, -2), mode="r"))
    return triangle.swapaxes(-1, -2)
