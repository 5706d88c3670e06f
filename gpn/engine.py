"""Dense networks with explicit weights: forward, backward and the norms that the theory speaks of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gpn.evaluation import ElementwiseActivation, check_activation, evaluation, keep_freed_memory
from gpn.weights import draw
from theory.errors import UsageError

FloatArray = npt.NDArray[np.float64]

_DOT_ENTRIES = 8192


def quiet() -> np.errstate:
    """Silence floating-point warnings where an overflow is reported as a value (inf, nan, a layer number)."""
    return np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Forward:
    """What a forward pass keeps.

    Attributes:
        inputs: x_0, array (batch, n_0); the caller's array, not a copy.
        preactivations: h_1, ..., h_L, each (batch, n_l); nothing else is kept per layer, since x_l and
            phi'(h_l) come together from h_l when the backward pass needs them.
        outputs: x_L, array (batch, n_L).
        signal_norms: |x_l| for l = 1..L, array (batch, L).
        input_norms: |x_0|, array (batch,).
        first_nonfinite_layer: the first layer l (1..L) in which h_l or x_l overflowed or is not a number for
            some sample; None if all is finite.
    """

    inputs: FloatArray
    preactivations: tuple[FloatArray, ...]
    outputs: FloatArray
    signal_norms: FloatArray
    input_norms: FloatArray
    first_nonfinite_layer: int | None

    def __repr__(self) -> str:
        batch, depth = self.signal_norms.shape
        return f"Forward(batch={batch}, depth={depth}, first_nonfinite_layer={self.first_nonfinite_layer})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BackwardNorms:
    """Norms of a backward pass, d_l = dE/dh_l, all for the loss E summed over the batch.

    Attributes:
        backward_norms: |d_l| for l = 1..L, array (batch, L).
        gradient_norms: |dE_i/dW_l|_F = |d_l| |x_{l-1}| of each sample i alone, array (batch, L).
        batch_gradient_norms: |dE/dW_l|_F of the summed loss, array (L,).
        first_nonfinite_layer: the first layer met on the way down (the largest l) whose d_l is not finite for
            some sample; None if all is finite.
    """

    backward_norms: FloatArray
    gradient_norms: FloatArray
    batch_gradient_norms: FloatArray
    first_nonfinite_layer: int | None

    def __repr__(self) -> str:
        batch, depth = self.backward_norms.shape
        return f"BackwardNorms(batch={batch}, depth={depth}, first_nonfinite_layer={self.first_nonfinite_layer})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Gradients:
    """Exact gradients of the loss summed over the batch.

    Attributes:
        weights: dE/dW_l = sum_i d_l x_{l-1}^T for l = 1..L, each of the shape of W_l.
        biases: dE/db_l = sum_i d_l for l = 1..L, each (n_l,); empty if the network has no biases.
        inputs: dE_i/dx_0 for each sample i, array (batch, n_0).
        norms: the norms met on the way.
    """

    weights: tuple[FloatArray, ...]
    biases: tuple[FloatArray, ...]
    inputs: FloatArray
    norms: BackwardNorms

    def __repr__(self) -> str:
        return f"Gradients({self.norms!r}, biases={bool(self.biases)})"


class Network:
    """A fully connected network with explicit weights.

    With x_0 the input, for l = 1..L
        h_l = W_l x_{l-1} + b_l,   x_l = phi_l(h_l);
    backward, with e_L = dE/dx_L,
        d_l = phi_l'(h_l) * e_l,   e_{l-1} = W_l^T d_l,   dE/dW_l = d_l x_{l-1}^T,   dE/db_l = d_l.
    Samples are rows: an input array has shape (batch, n_0).

    Source: D. Rumelhart, G. Hinton, R. Williams, Learning representations by back-propagating errors (1986);
    notation of Y. Lu, S. Gould, T. Ajanthan (2020), arXiv 2006.12169, section 2.

    Args:
        weights: W_1, ..., W_L, each an array (n_l, n_{l-1}); float64 arrays are used without a copy, so that
            a change in place (training) is seen.
        activation: one for all layers, or a sequence of L.
        biases: None, or b_1, ..., b_L, each (n_l,).

    Raises:
        UsageError: shapes that do not fit together, or an activation without `value_and_slope`.

    >>> class Square:
    ...     def value_and_slope(self, x):
    ...         return x * x, 2 * x
    >>> network = Network([np.array([[1.0, 2.0]])], Square())
    >>> forward = network.forward(np.array([[3.0, 1.0]]))
    >>> forward.outputs
    array([[25.]])
    >>> network.backward(forward, np.ones((1, 1))).weights
    (array([[30., 10.]]),)
    """

    __slots__ = ("_evaluations", "activations", "biases", "weights")

    def __init__(
        self,
        weights: Sequence[npt.ArrayLike],
        activation: ElementwiseActivation | Sequence[ElementwiseActivation],
        biases: Sequence[npt.ArrayLike] | None = None,
    ) -> None:
        self.weights = _chain([np.asarray(matrix, dtype=np.float64) for matrix in weights])
        self.activations = _per_layer(activation, len(self.weights))
        self._evaluations = tuple(evaluation(each) for each in self.activations)
        self.biases = () if biases is None else _biases(biases, self.weights)

    @classmethod
    def random(
        cls,
        widths: Sequence[int],
        activation: ElementwiseActivation | Sequence[ElementwiseActivation],
        rng: np.random.Generator,
        ensemble: str = "haar",
    ) -> "Network":
        """Draw a network without biases, its matrices independent from one ensemble of `gpn.weights`.

        Args:
            widths: n_0, n_1, ..., n_L.
            activation: one for all layers, or a sequence of L.
            rng: where the randomness comes from.
            ensemble: a key of `gpn.weights.ENSEMBLES`.

        Raises:
            UsageError: fewer than two widths, or an unknown ensemble.
        """
        if len(widths) < 2:
            raise UsageError(f"a network has the widths n_0, ..., n_L of at least one layer, not {list(widths)}")
        return cls([draw(ensemble, rng, rows, columns) for columns, rows in pairwise(widths)], activation)

    @property
    def depth(self) -> int:
        """The number of layers L."""
        return len(self.weights)

    @property
    def widths(self) -> tuple[int, ...]:
        """n_0, n_1, ..., n_L."""
        return (self.weights[0].shape[1], *(matrix.shape[0] for matrix in self.weights))

    def __repr__(self) -> str:
        return f"Network(widths={self.widths}, biases={bool(self.biases)})"

    def forward(self, inputs: npt.ArrayLike, *, out: Forward | None = None) -> Forward:
        """Compute h_l and x_l for a batch of inputs.

        Args:
            inputs: x_0, array (batch, n_0).
            out: an earlier result for the same batch size, whose arrays are overwritten and returned again.
                Then nothing is allocated but the value of one layer at a time.

        Raises:
            UsageError: inputs of another shape or not finite, or an `out` that does not fit.
        """
        x = self._rows("inputs", inputs, self.widths[0])
        keep_freed_memory(len(x) * max(self.widths))
        kept = self._buffers(len(x)) if out is None else self._reuse(out, len(x))
        norms = np.empty((len(x), self.depth)) if out is None else out.signal_norms
        input_norms = row_norms(x)
        first, signal = None, x
        with quiet():
            for index, (matrix, phi, h) in enumerate(zip(self.weights, self._evaluations, kept, strict=True)):
                np.matmul(signal, matrix.T, out=h)
                if self.biases:
                    h += self.biases[index]
                signal = np.empty_like(h)
                phi.value_into(h, signal)
                norms[:, index] = row_norms_unguarded(signal)
                if first is None and not (np.isfinite(norms[:, index]).all() and _is_finite(h)):
                    first = index + 1
        return Forward(x, kept, signal, norms, input_norms, first)

    def backward(self, forward: Forward, output_gradients: npt.ArrayLike, *, out: Gradients | None = None) -> Gradients:
        """Compute the gradient for every weight matrix, every bias and the input.

        Args:
            forward: the result of `forward` for the batch.
            output_gradients: dE_i/dx_L for each sample i, array (batch, n_L), as the losses return it.
            out: an earlier result, whose weight and bias gradients are overwritten and returned again.

        Raises:
            UsageError: gradients of another shape.
        """
        e = self._rows("output_gradients", output_gradients, self.widths[-1], len(forward.inputs), finite=False)
        weights, biases = self._gradient_buffers(out)
        recorder = _Recorder(forward, self.depth)
        with quiet():
            for index, d, x in self._sweep(forward, e):
                np.matmul(d.T, x, out=weights[index])
                recorder.add(index, d, float(frobenius_norm(weights[index])))
                if biases:
                    np.sum(d, axis=0, out=biases[index])
            gradients = d @ self.weights[0]
        return Gradients(tuple(weights), tuple(biases), gradients, recorder.norms())

    def backward_norms(self, forward: Forward, output_gradients: npt.ArrayLike) -> BackwardNorms:
        """Compute the norms of a backward pass without keeping any gradient matrix.

        For a batch, |D^T X|_F^2 = sum_ij (d_i . d_j)(x_i . x_j) wherever that is cheaper than the matrix.

        Args:
            forward: the result of `forward` for the batch.
            output_gradients: dE_i/dx_L for each sample i, array (batch, n_L).

        Raises:
            UsageError: gradients of another shape.
        """
        e = self._rows("output_gradients", output_gradients, self.widths[-1], len(forward.inputs), finite=False)
        recorder = _Recorder(forward, self.depth)
        with quiet():
            for index, d, x in self._sweep(forward, e):
                recorder.add(index, d, product_norm(d, x))
        return recorder.norms()

    def _sweep(self, forward: Forward, e: FloatArray) -> Iterator[tuple[int, FloatArray, FloatArray]]:
        """(l - 1, d_l, x_{l-1}) from the top layer down; x_{l-1} comes together with the slope below."""
        last = self.depth - 1
        keep_freed_memory(len(e) * max(self.widths))
        _, slope = self._evaluated(forward, last)
        for index in range(last, -1, -1):
            d = np.multiply(slope, e, out=slope)
            if index == 0:
                yield index, d, forward.inputs
                return
            x, slope = self._evaluated(forward, index - 1)
            yield index, d, x
            e = d @ self.weights[index]

    def _evaluated(self, forward: Forward, index: int) -> tuple[FloatArray, FloatArray]:
        h = forward.preactivations[index]
        value, slope = np.empty_like(h), np.empty_like(h)
        self._evaluations[index].value_and_slope_into(h, value, slope)
        return value, slope

    def _gradient_buffers(self, out: Gradients | None) -> tuple[list[FloatArray], list[FloatArray]]:
        if out is None:
            return [np.empty_like(w) for w in self.weights], [np.empty_like(b) for b in self.biases]
        held = [g.shape for g in (*out.weights, *out.biases)]
        if held != [array.shape for array in (*self.weights, *self.biases)]:
            raise UsageError(f"out holds gradients of shapes {held}, of another network; leave out=None")
        return list(out.weights), list(out.biases)

    def _buffers(self, batch: int) -> tuple[FloatArray, ...]:
        return tuple(np.empty((batch, width)) for width in self.widths[1:])

    def _reuse(self, out: Forward, batch: int) -> tuple[FloatArray, ...]:
        shapes = [h.shape for h in out.preactivations]
        wanted = [(batch, width) for width in self.widths[1:]]
        if shapes != wanted:
            raise UsageError(f"out holds layers of shapes {shapes}, the batch needs {wanted}; leave out=None")
        return out.preactivations

    def _rows(
        self, name: str, array: npt.ArrayLike, columns: int, rows: int | None = None, finite: bool = True
    ) -> FloatArray:
        values = np.asarray(array, dtype=np.float64)
        if values.ndim != 2 or len(values) == 0 or values.shape != (rows or len(values), columns):
            wanted = f"({rows or 'batch'}, {columns})"
            raise UsageError(f"{name} must have shape {wanted}, samples in rows, not {values.shape}")
        if finite and not np.isfinite(values).all():
            raise UsageError(f"{name} holds values that are not finite; drop or replace them first")
        return values


class _Recorder:
    """Collects the norms of a backward sweep."""

    def __init__(self, forward: Forward, depth: int) -> None:
        self._below = np.column_stack([forward.input_norms, forward.signal_norms[:, :-1]])
        self._backward = np.empty((len(forward.inputs), depth))
        self._batch = np.empty(depth)
        self._first: int | None = None

    def add(self, index: int, d: FloatArray, batch_norm: float) -> None:
        self._backward[:, index] = row_norms_unguarded(d)
        self._batch[index] = batch_norm
        if self._first is None and not np.isfinite(self._backward[:, index]).all():
            self._first = index + 1

    def norms(self) -> BackwardNorms:
        with quiet():
            gradients = self._backward * self._below
        return BackwardNorms(self._backward, gradients, self._batch, self._first)


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
        terms = (left @ left.T) * (right @ right.T)
        square, size = float(terms.sum()), float(np.abs(terms).sum())
        if _TINY < size < _HUGE and square > 1e-8 * size:
            return float(np.sqrt(square))
    return frobenius_norm(left.T @ right)


def linear_readout(outputs: npt.ArrayLike, directions: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Evaluate the linear loss E_i = <c_i, x_i>, whose gradient is e_i = c_i.

    Args:
        outputs: x_L, array (batch, n_L).
        directions: c, array (n_L,) for all samples or (batch, n_L).

    Returns:
        Losses (batch,) and dE/dx_L (batch, n_L).

    Raises:
        UsageError: shapes that do not fit.

    >>> linear_readout([[1.0, 2.0]], [3.0, 4.0])
    (array([11.]), array([[3., 4.]]))
    """
    x = _matrix("outputs", outputs)
    gradients = np.array(_broadcast("directions", directions, x.shape))
    with quiet():
        return np.einsum("ij,ij->i", x, gradients), gradients


def squared_error(
    outputs: npt.ArrayLike, targets: npt.ArrayLike, readout: npt.ArrayLike | None = None
) -> tuple[FloatArray, FloatArray]:
    """Evaluate the squared error E_i = |R x_i - t_i|^2 / 2, with gradient e_i = R^T (R x_i - t_i).

    Args:
        outputs: x_L, array (batch, n_L).
        targets: t, array (k,) for all samples or (batch, k), where k = n_L without a readout matrix.
        readout: R, array (k, n_L); left out, the identity.

    Returns:
        Losses (batch,) and dE/dx_L (batch, n_L).

    Raises:
        UsageError: shapes that do not fit.

    >>> squared_error([[1.0, 2.0]], [0.0, 0.0])
    (array([2.5]), array([[1., 2.]]))
    """
    x = _matrix("outputs", outputs)
    r = _readout(readout, x)
    with quiet():
        predictions = x if r is None else x @ r.T
        residuals = predictions - _broadcast("targets", targets, predictions.shape)
        losses = 0.5 * np.einsum("ij,ij->i", residuals, residuals)
        return losses, residuals if r is None else residuals @ r


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


def _is_finite(array: FloatArray) -> bool:
    """Whether all entries are finite; their squares, taken first, tell it in one pass unless they overflow."""
    return bool(np.isfinite(row_dots(array, array)).all() or np.isfinite(array).all())


_TINY, _HUGE = 1e-280, 1e280  # squares in between lose nothing to under- or overflow


def _scaled_norms(rows: FloatArray) -> FloatArray:
    """Norms by the largest entry: (max) |row / max|."""
    largest = np.abs(rows).max(axis=1)
    usable = (largest > 0.0) & np.isfinite(largest)
    norms: FloatArray = largest.copy()
    scaled = rows[usable] / largest[usable, None]
    with quiet():
        norms[usable] *= np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
    return norms


def _chain(matrices: list[FloatArray]) -> tuple[FloatArray, ...]:
    if not matrices:
        raise UsageError("a network needs at least one weight matrix")
    for layer, matrix in enumerate(matrices, start=1):
        if matrix.ndim != 2 or matrix.size == 0:
            raise UsageError(f"W_{layer} must be a matrix (n_out, n_in), not an array of shape {matrix.shape}")
    for layer, (lower, upper) in enumerate(pairwise(matrices), start=1):
        if upper.shape[1] != lower.shape[0]:
            raise UsageError(
                f"W_{layer + 1} has {upper.shape[1]} columns but W_{layer} has {lower.shape[0]} rows; "
                "W_l must be (n_l, n_{l-1})"
            )
    return tuple(matrices)


def _per_layer(
    activation: ElementwiseActivation | Sequence[ElementwiseActivation], depth: int
) -> tuple[ElementwiseActivation, ...]:
    activations = tuple(activation) if isinstance(activation, Sequence) else (activation,) * depth
    if len(activations) != depth:
        raise UsageError(f"{len(activations)} activations for {depth} layers; give one for all, or one for each")
    for distinct in {id(each): each for each in activations}.values():
        check_activation(distinct)
    return activations


def _biases(biases: Sequence[npt.ArrayLike], weights: tuple[FloatArray, ...]) -> tuple[FloatArray, ...]:
    arrays = tuple(np.asarray(bias, dtype=np.float64) for bias in biases)
    wanted = [(matrix.shape[0],) for matrix in weights]
    if [bias.shape for bias in arrays] != wanted:
        raise UsageError(f"biases must have shapes {wanted}, not {[bias.shape for bias in arrays]}")
    return arrays


def _matrix(name: str, array: npt.ArrayLike) -> FloatArray:
    values = np.asarray(array, dtype=np.float64)
    if values.ndim != 2:
        raise UsageError(f"{name} must have shape (batch, n), samples in rows, not {values.shape}")
    return values


def _broadcast(name: str, array: npt.ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    values = np.asarray(array, dtype=np.float64)
    if values.shape not in {shape, shape[1:]}:
        raise UsageError(f"{name} must have shape {shape} or {shape[1:]}, not {values.shape}")
    return np.broadcast_to(values, shape)


def _readout(readout: npt.ArrayLike | None, outputs: FloatArray) -> FloatArray | None:
    if readout is None:
        return None
    matrix = _matrix("readout", readout)
    if matrix.shape[1] != outputs.shape[1]:
        raise UsageError(f"readout must have {outputs.shape[1]} columns, one for each output, not {matrix.shape[1]}")
    return matrix
