"""What a model did in one forward and one backward pass: operations on values, whatever the library.

A value is an array (samples, ...) that depends on the inputs of the model. An operation makes one value of others. A
library (`torch_model`, `jax_model`) writes the tape; recognition and prediction read it and know no library.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from theory.numerics.arithmetic import FloatArray

Kind = Literal["input", "linear", "convolution", "elementwise", "normalization", "dropout", "reshape", "add", "other"]
"""What an operation is to the theory; "other" is what it knows nothing of."""

MOST_ROWS = 16
"""So many lengths stand for the rows of a sample (tokens, pixels): the means of as many quantile classes."""


@dataclass(slots=True, eq=False)
class Value:
    """What was measured of one value.

    Args:
        size: n, entries of a row: neurons, channels.
        rows: of one sample: 1 for a vector, else tokens or pixels.
        lengths: squared length per entry of the rows, ascending, array (samples, at most `MOST_ROWS`).
        correlation: cosine of the first two samples; nan for one.
        nonfinite: entries that are infinite or no number.
        dtype: as in "float32".
        gradient: squared norm of dE/dvalue of each sample, array (samples,); nan where no gradient arrives.
    """

    size: int
    rows: int
    lengths: FloatArray
    correlation: float
    nonfinite: int
    dtype: str
    gradient: FloatArray

    @property
    def squares(self) -> FloatArray:
        """Squared norm of each sample, array (samples,)."""
        return np.asarray(self.lengths.mean(axis=1) * self.size * self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    r"""What the theory needs to know of a weight matrix W, n_out by n_in, as it was found.

    Args:
        rows, columns: n_out and n_in; of a convolution, channels and the entries of one patch.
        traces: :math:`\operatorname{tr} (W^T W)^k` for k = 1, 2, 3, array (3,).
        residual: largest entry of :math:`|W^T W / c - 1|`, or of W W^T if it is smaller, c the mean of the diagonal.
        mean, kurtosis: of the entries, the kurtosis in excess of 3.
        zeros: share of the entries that are 0.
        key: the same for equal matrices, and for a matrix and its transpose.
    """

    rows: int
    columns: int
    traces: FloatArray
    residual: float
    mean: float
    kurtosis: float
    zeros: float
    key: int

    @classmethod
    def of(cls, matrix: FloatArray) -> "Weights":
        """Measure a matrix (n_out, n_in).

        >>> found = Weights.of(np.eye(3, 2))
        >>> found.traces.tolist(), found.residual
        ([2.0, 2.0, 2.0], 0.0)
        """
        rows, columns = matrix.shape
        with np.errstate(all="ignore"):
            gram = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
            square = gram @ gram
            scale = float(np.trace(gram)) / len(gram)
            traces = np.array([np.trace(gram), np.trace(square), np.sum(square * gram)])
            residual = float(np.abs(gram / scale - np.eye(len(gram))).max()) if scale > 0 else np.inf
            mean, variance = float(matrix.mean()), float(matrix.var())
            fourth = float(np.mean((matrix - mean) ** 4))
            kurtosis = fourth / variance**2 - 3 if variance > 0 else np.nan
        zeros = float(np.mean(matrix == 0))
        key = min(hash(one.tobytes()) for one in (matrix, matrix.T))
        return cls(rows, columns, traces, residual, mean, kurtosis, zeros, key)

    @property
    def gain(self) -> float:
        r"""The factor of the length: :math:`\sqrt{|W|_F^2/n_{out}}`, 1 for square orthogonal ones."""
        return float(np.sqrt(self.traces[0] / self.rows))


@dataclass(slots=True, eq=False)
class Operation:
    """One operation.

    Args:
        kind: what it is to the theory.
        name: the module that it belongs to, as "blocks.3.mlp.fc1"; empty for the model itself.
        label: the function, as "linear".
        inputs: positions of the values that it takes.
        output: the value that it makes.
        call: of an elementwise operation, the same on arrays of the library in float64.
        weights: of a linear map or a convolution.
        bias: its bias, array (n_out,); None without one.
        parameter: the name of its weight.
        core: squared lengths per entry of the rows without the bias, as `Value.lengths`.
        patches: of a convolution, sums of the squares in all patches of each sample, array (samples,); and
        back_patches: the same for its backward pass.
        pulled: squared norm of what it sends back to its input, array (samples,).
        weight_gradient: |dE/dW|_F.
        rate: of dropout, the share of entries that is dropped.
        groups, channels: of a convolution, how many groups, and the channels before it.
    """

    kind: Kind
    name: str
    label: str
    inputs: tuple[int, ...]
    output: int
    call: Callable[..., Any] | None = None
    weights: Weights | None = None
    bias: FloatArray | None = None
    parameter: str = ""
    core: FloatArray | None = None
    patches: FloatArray | None = None
    back_patches: FloatArray | None = None
    pulled: FloatArray | None = None
    weight_gradient: float = float("nan")
    rate: float = 0.0
    groups: int = 1
    channels: int = 0


@dataclass(slots=True, eq=False)
class Tape:
    """One initialization: its operations in the order in which they ran, and their values.

    Args:
        library: "PyTorch" or "JAX".
        evaluate: the values of an elementwise function on arrays of the library, at points of an array, in float64.
        operations, values: as they were made; value 0 is the input, made by no operation.
        epsilon: the rounding unit of the coarsest type among the values.
    """

    library: str
    evaluate: Callable[[Callable[..., Any], FloatArray], FloatArray]
    operations: list[Operation] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    epsilon: float = 0.0

    def makers(self) -> dict[int, Operation]:
        """The operation that made each value."""
        return {operation.output: operation for operation in self.operations}

    def consumers(self) -> dict[int, list[int]]:
        """For each value, the positions of the operations that take it."""
        taken: dict[int, list[int]] = {}
        for position, operation in enumerate(self.operations):
            for value in set(operation.inputs):
                taken.setdefault(value, []).append(position)
        return taken


def measured_rows(squares: FloatArray, size: int) -> FloatArray:
    """Squared lengths per entry of at most `MOST_ROWS` classes of rows.

    Args:
        squares: squared lengths of the rows, array (samples, rows).
        size: entries of a row.

    >>> measured_rows(np.array([[8.0, 2.0]]), 2)
    array([[1., 4.]])
    """
    ordered = np.sort(squares, axis=1) / size
    if ordered.shape[1] <= MOST_ROWS:
        return ordered
    classes = np.array_split(ordered, MOST_ROWS, axis=1)
    weights = np.array([part.shape[1] for part in classes]) * MOST_ROWS / ordered.shape[1]
    return np.asarray(np.stack([part.mean(axis=1) for part in classes], axis=1) * weights)
