"""Losses of a batch and their gradients for the outputs of a network."""

import numpy as np
import numpy.typing as npt

from gpn.engine.norms import quiet
from theory.errors import UsageError

FloatArray = npt.NDArray[np.float64]


def softmax_cross_entropy(
    outputs: npt.ArrayLike, labels: npt.ArrayLike, readout: npt.ArrayLike | None = None
) -> tuple[FloatArray, FloatArray]:
    """Evaluate the cross-entropy of a softmax readout, stable for logits of any size.

    With the logits z = R x and the label y,
        E = log sum_k exp(z_k) - z_y,   dE/dz = softmax(z) - onehot(y),   e = R^T dE/dz.
    The entry of dE/dz at y is minus the sum of the others, so that it keeps its digits when the network is
    sure. Logits that are not finite give nan.

    Args:
        outputs: x_L, array (batch, n_L).
        labels: y, whole numbers (batch,) from 0 to classes - 1.
        readout: R, array (classes, n_L); left out, the identity (then classes = n_L).

    Returns:
        Losses (batch,) and dE/dx_L (batch, n_L).

    Raises:
        UsageError: shapes that do not fit, labels out of range or not whole numbers.

    >>> softmax_cross_entropy([[1000.0, 0.0]], [0])
    (array([0.]), array([[0., 0.]]))
    """
    x = _matrix("outputs", outputs)
    r = _readout(readout, x)
    with quiet():
        logits = x if r is None else x @ r.T
    losses, residuals = cross_entropy_of_logits(logits, class_labels(labels, len(x), logits.shape[1]))
    return losses, residuals if r is None else residuals @ r


def cross_entropy_of_logits(logits: FloatArray, labels: npt.NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Evaluate E = log sum_k exp(z_k) - z_y and dE/dz for checked labels; see `softmax_cross_entropy`.

    Args:
        logits: z, array (batch, classes).
        labels: y, integers (batch,) in range.
    """
    rows = np.arange(len(logits))
    with quiet():
        shifted = logits - logits.max(axis=1, keepdims=True)
        exponentials = np.exp(shifted)
        totals = exponentials.sum(axis=1)
        losses = np.log(totals) - shifted[rows, labels]
        residuals = exponentials / totals[:, None]
    residuals[rows, labels] = 0.0
    residuals[rows, labels] = 0.0 - residuals.sum(axis=1)
    return losses, residuals


def class_labels(labels: npt.ArrayLike, samples: int, classes: int) -> npt.NDArray[np.int64]:
    """Check class labels: whole numbers from 0 to classes - 1, one for each sample.

    Raises:
        UsageError: anything else.

    >>> class_labels([2, 0], 2, 3)
    array([2, 0])
    """
    values = np.asarray(labels)
    if values.shape != (samples,):
        raise UsageError(f"labels must have shape ({samples},), one for each sample, not {values.shape}")
    if not np.issubdtype(values.dtype, np.integer):
        raise UsageError(f"labels must be whole numbers, not {values.dtype}; try labels.astype(int)")
    if values.min() < 0 or values.max() >= classes:
        raise UsageError(f"labels run from {values.min()} to {values.max()}, allowed are 0 to {classes - 1}")
    return values.astype(np.int64)


def _matrix(name: str, array: npt.ArrayLike) -> FloatArray:
    values = np.asarray(array, dtype=np.float64)
    if values.ndim != 2:
        raise UsageError(f"{name} must have shape (batch, n), samples in rows, not {values.shape}")
    return values


def _readout(readout: npt.ArrayLike | None, outputs: FloatArray) -> FloatArray | None:
    if readout is None:
        return None
    matrix = _matrix("readout", readout)
    if matrix.shape[1] != outputs.shape[1]:
        raise UsageError(f"readout must have {outputs.shape[1]} columns, one for each output, not {matrix.shape[1]}")
    return matrix
