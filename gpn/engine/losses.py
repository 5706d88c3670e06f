"""The loss of a classifier and its gradient for the logits."""

import numpy as np
import numpy.typing as npt

from gpn.engine.norms import FloatArray, quiet
from theory.errors import UsageError


def cross_entropy_of_logits(logits: FloatArray, labels: npt.NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Evaluate the cross-entropy of the softmax of logits, stable for logits of any size.

        E = log sum_k exp(z_k) - z_y,   dE/dz = softmax(z) - onehot(y).

    The entry of dE/dz at y is minus the sum of the others, so that it keeps its digits when the network is sure. Logits
    that are not finite give nan.

    Args:
        logits: z, array (batch, classes).
        labels: y, integers (batch,) in range, see `class_labels`.

    >>> cross_entropy_of_logits(np.array([[1000.0, 0.0]]), np.array([0]))
    (array([0.]), array([[0., 0.]]))
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
