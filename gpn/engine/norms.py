"""Euclidean and Frobenius norms that are right also where their squares would over- or underflow."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
_DOT_ENTRIES = 8192
_TINY, _HUGE = 1e-280, 1e280  # squares in between lose nothing to under- or overflow


def quiet() -> np.errstate:
    """Silence floating-point warnings where an overflow is reported as a value (inf, nan, a layer number)."""
    return np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore")


def row_norms(rows: FloatArray) -> FloatArray:
    """Compute the Euclidean norm of each row, right also where its square would over- or underflow.

    Args:
        rows: array (k, n).

    Returns:
        Array (k,); inf for a row with an infinite entry, nan for a row with a nan.

    >>> row_norms(np.array([[3.0, 4.0], [3e200, 4e200], [3e-200, 4e-200]]))
    array([5.e+000, 5.e+200, 5.e-200])
    """
    with quiet():
        return row_norms_unguarded(rows)


def row_norms_unguarded(rows: FloatArray) -> FloatArray:
    """Compute `row_norms` where floating-point errors are silenced already; twice as fast for short arrays."""
    # The plain sum of squares is right for almost every row; only the others are scaled first.
    squares = row_dots(rows, rows)
    norms: FloatArray = np.sqrt(squares)
    if not (np.minimum.reduce(squares, initial=1.0) > _TINY and np.maximum.reduce(squares, initial=1.0) < _HUGE):
        extreme = ~((squares > _TINY) & (squares < _HUGE))
        norms[extreme] = _scaled_norms(rows[extreme])
    return norms


def row_dots(left: FloatArray, right: FloatArray) -> FloatArray:
    """Compute the inner product of each row of one array with that of the other.

    Args:
        left, right: arrays (k, n).

    Returns:
        Array (k,), with bits that do not depend on the number of BLAS threads: OpenBLAS splits only vectors of more
        than 10,000 entries. An overflow is warned of like that of any NumPy function.

    >>> row_dots(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]))
    array([11.])
    """
    rows, columns = left.shape
    if columns <= _DOT_ENTRIES:
        products: FloatArray = np.vecdot(left, right)
        return products
    whole = columns - columns % _DOT_ENTRIES
    blocks = [array[:, :whole].reshape(rows, -1, _DOT_ENTRIES) for array in (left, right)]
    products = np.add.reduce(np.vecdot(*blocks), axis=1)
    if whole < columns:
        products += np.vecdot(left[:, whole:], right[:, whole:])
    return products


def frobenius_norm(matrix: FloatArray) -> float:
    """Compute the Frobenius norm, right also where its square would over- or underflow.

    >>> frobenius_norm(np.array([[3.0, 0.0], [0.0, 4.0]]))
    5.0
    """
    return float(row_norms(row_norms(matrix)[None, :])[0])


def product_norm(left: FloatArray, right: FloatArray) -> float:
    """Compute the Frobenius norm of sum_i d_i x_i^T for the rows d_i of `left` and x_i of `right`.

        |D^T X|_F^2 = sum_ij (d_i . d_j)(x_i . x_j),
    by this sum if it is cheaper, from the matrix otherwise. Where the terms of a large batch cancel, so that
    the sum loses more than half of its digits, the matrix is formed after all.

    Args:
        left, right: arrays (batch, m) and (batch, n).

    >>> product_norm(np.array([[3.0, 4.0]]), np.array([[2.0]]))
    10.0
    """
    batch, m, n = len(left), left.shape[1], right.shape[1]
    if batch == 1:
        return float(row_norms(left)[0] * row_norms(right)[0])
    if batch * (m + n) < m * n:
        # k (m + n) < m n: the Gram matrices of the batch are smaller than the gradient.
        terms = (left @ left.T) * (right @ right.T)
        square, size = float(terms.sum()), float(np.abs(terms).sum())
        if _TINY < size < _HUGE and square > 1e-8 * size:
            return float(np.sqrt(square))
    return frobenius_norm(left.T @ right)


def _scaled_norms(rows: FloatArray) -> FloatArray:
    """Norms by the largest entry: (max) |row / max|."""
    largest = np.abs(rows).max(axis=1)
    usable = (largest > 0.0) & np.isfinite(largest)
    norms: FloatArray = largest.copy()
    scaled = rows[usable] / largest[usable, None]
    with quiet():
        norms[usable] *= np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
    return norms
