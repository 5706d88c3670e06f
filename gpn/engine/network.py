"""Dense networks with explicit weights: forward, backward and the norms that the theory speaks of."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gpn.engine.batch_normalization import BatchNormalization, BatchStatistics, layers
from gpn.engine.evaluation import ElementwiseActivation, check_activation, evaluation
from gpn.engine.norms import FloatArray, frobenius_norm, product_norm, quiet, row_dots, row_norms, row_norms_unguarded
from gpn.engine.records import BackwardNorms, Forward, Gradients, LayerGradient
from gpn.engine.weights import draw
from theory.errors import UsageError


class Network:
    """A fully connected network with explicit weights.

    With x_0 the input, for l = 1..L
        h_l = W_l x_{l-1} + b_l,   x_l = phi_l(h_l);
    backward, with e_L = dE/dx_L,
        d_l = phi_l'(h_l) * e_l,   e_{l-1} = W_l^T d_l,   dE/dW_l = d_l x_{l-1}^T,   dE/db_l = d_l.
    Samples are rows: an input array has shape (batch, n_0). With batch normalization in layer l, phi_l is applied
    to the normalized h_l; see `gpn.engine.batch_normalization`.

    Source: D. Rumelhart, G. Hinton, R. Williams, Learning representations by back-propagating errors (1986);
    notation of Y. Lu, S. Gould, T. Ajanthan (2020), arXiv 2006.12169, section 2.

    Args:
        weights: W_1, ..., W_L, each an array (n_l, n_{l-1}); arrays of the dtype are used without a copy, so that
            a change in place (training) is seen.
        activation: one for all layers, or a sequence of L.
        biases: None, or b_1, ..., b_L, each (n_l,).
        normalizations: None, or for each layer its batch normalization or None.
        dtype: float64, or float32 for all arrays but norms and losses: half the memory, and quicker.

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

    __slots__ = ("_evaluations", "activations", "biases", "dtype", "normalizations", "weights")

    def __init__(
        self,
        weights: Sequence[npt.ArrayLike],
        activation: ElementwiseActivation | Sequence[ElementwiseActivation],
        biases: Sequence[npt.ArrayLike] | None = None,
        normalizations: Sequence[BatchNormalization | None] | None = None,
        *,
        dtype: npt.DTypeLike = np.float64,
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.weights = _chain([np.asarray(matrix, dtype=self.dtype) for matrix in weights])
        self.activations = _per_layer(activation, len(self.weights))
        self._evaluations = tuple(evaluation(phi) for phi in self.activations)
        self.biases = () if biases is None else _biases(biases, self.weights, self.dtype)
        self.normalizations = () if normalizations is None else _normalizations(normalizations, self.weights)

    @classmethod
    def random(
        cls,
        widths: Sequence[int],
        activation: ElementwiseActivation | Sequence[ElementwiseActivation],
        rng: np.random.Generator,
        ensemble: str = "haar",
        *,
        batch_normalization: bool = False,
    ) -> "Network":
        """Draw a network without biases, its matrices independent from one ensemble of `gpn.engine.weights`.

        Args:
            widths: n_0, n_1, ..., n_L.
            activation: one for all layers, or a sequence of L.
            rng: where the randomness comes from.
            ensemble: a key of `gpn.engine.weights.ENSEMBLES`.
            batch_normalization: in every layer, with gain 1 and shift 0 that are not trained.

        Raises:
            UsageError: fewer than two widths, or an unknown ensemble.
        """
        if len(widths) < 2:
            raise UsageError(f"a network has the widths n_0, ..., n_L of at least one layer, not {list(widths)}")
        weights = [draw(ensemble, rng, rows, columns) for columns, rows in pairwise(widths)]
        return cls(weights, activation, normalizations=layers(widths[1:]) if batch_normalization else None)

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

    def forward(self, inputs: npt.ArrayLike, *, out: Forward | None = None, keep: bool = False) -> Forward:
        """Compute h_l and x_l for a batch of inputs.

        Args:
            inputs: x_0, array (batch, n_0).
            out: an earlier result for the same batch size, whose arrays are overwritten and returned again.
                Then nothing is allocated but the value of one layer at a time.
            keep: keep x_l and phi'(h_l) too, three arrays per layer in place of one, so that `backward` need not
                evaluate the activations again (training).

        Raises:
            UsageError: inputs of another shape or not finite, or an `out` that does not fit.
        """
        x = self._rows("inputs", inputs, self.widths[0])
        kept = list(self._buffers(len(x)) if out is None else self._reuse(out, len(x)))
        norms = np.empty((len(x), self.depth)) if out is None else out.signal_norms
        evaluated = self._kept(out, len(x)) if keep else ()
        statistics: list[BatchStatistics | None] = []
        input_norms = row_norms(x)
        first, signal = None, x
        with quiet():
            for index, matrix in enumerate(self.weights):
                # Samples are rows, so W_l acts from the right as its transpose.
                h = np.matmul(signal, matrix.T, out=kept[index])
                if self.biases:
                    h += self.biases[index]
                if self.normalizations:
                    normalization = self.normalizations[index]
                    kept[index], moments = normalization.normalize(h) if normalization else (h, None)
                    statistics.append(moments)
                signal = self._value(index, kept[index], evaluated)
                norms[:, index] = row_norms_unguarded(signal)
                # Both: phi may map an infinite preactivation to a finite value, as tanh does.
                if first is None and not (np.isfinite(norms[:, index]).all() and _is_finite(kept[index])):
                    first = index + 1
        return Forward(x, tuple(kept), signal, norms, input_norms, first, tuple(statistics), evaluated)

    def backward(self, forward: Forward, output_gradients: npt.ArrayLike, *, out: Gradients | None = None) -> Gradients:
        """Compute the gradient for every weight matrix, every bias and the input.

        Args:
            forward: the result of `forward` for the batch.
            output_gradients: dE_i/dx_L for each sample i, array (batch, n_L), as the losses return it.
            out: an earlier result, whose weight and bias gradients are overwritten and returned again.

        Raises:
            UsageError: gradients of another shape.
        """
        weights, biases = self._gradient_buffers(out)
        normalizations: list[tuple[FloatArray, FloatArray] | None] = [None] * len(self.normalizations)
        recorder = _Recorder(forward, self.depth)
        with quiet():
            for layer in self.sweep(forward, output_gradients):
                np.matmul(layer.d.T, layer.x, out=weights[layer.index])
                recorder.add(layer.index, layer.d, float(frobenius_norm(weights[layer.index])))
                if biases:
                    np.sum(layer.d, axis=0, out=biases[layer.index])
                if normalizations:
                    normalizations[layer.index] = layer.normalization
            gradients = layer.d @ self.weights[0]
        return Gradients(tuple(weights), tuple(biases), gradients, recorder.norms(), tuple(normalizations))

    def backward_norms(
        self,
        forward: Forward,
        output_gradients: npt.ArrayLike,
        watch: Callable[[LayerGradient], None] | None = None,
    ) -> BackwardNorms:
        """Compute the norms of a backward pass without keeping any gradient matrix.

        For a batch, |D^T X|_F^2 = sum_ij (d_i . d_j)(x_i . x_j) wherever that is cheaper than the matrix.

        Args:
            forward, output_gradients: as for `backward`.
            watch: called with every layer, from the top down; None for nothing.

        Raises:
            UsageError: gradients of another shape.
        """
        recorder = _Recorder(forward, self.depth)
        with quiet():
            for layer in self.sweep(forward, output_gradients):
                recorder.add(layer.index, layer.d, product_norm(layer.d, layer.x))
                if watch is not None:
                    watch(layer)
        return recorder.norms()

    def sweep(self, forward: Forward, output_gradients: npt.ArrayLike) -> Iterator[LayerGradient]:
        """Go down from the top layer, giving what dE/dW_l is made of.

        W_l has been used when its layer is given, so the caller may change it before asking for the next.
        Floating-point warnings are the caller's to silence.

        Args:
            forward, output_gradients: as for `backward`.

        Raises:
            UsageError: gradients of another shape.
        """
        e = self._rows("output_gradients", output_gradients, self.widths[-1], len(forward.inputs), finite=False)
        _, slope = self._evaluated(forward, self.depth - 1)
        for index in range(self.depth - 1, -1, -1):
            d = np.multiply(slope, e)
            normalization = self.normalizations[index] if self.normalizations else None
            statistics = forward.statistics[index] if normalization else None
            trained = normalization.backward(d, statistics) if normalization and statistics else None
            if index == 0:
                yield LayerGradient(index, d, forward.inputs, e, trained)
                return
            # W_l is read before the layer is given away: the caller may change it in place.
            x, slope = self._evaluated(forward, index - 1)
            below = d @ self.weights[index]
            yield LayerGradient(index, d, x, e, trained)
            e = below

    def folded(self) -> "Network":
        """The network without batch normalization that does the same by the running statistics; see `folded` there.

        A network that has none is returned as it is.
        """
        if not any(self.normalizations):
            return self
        weights, biases = list(self.weights), list(self.biases or (np.zeros(n) for n in self.widths[1:]))
        for index, normalization in enumerate(self.normalizations):
            if normalization is not None:
                weights[index], biases[index] = normalization.folded(weights[index], biases[index])
        return Network(weights, self.activations, biases, dtype=self.dtype)

    def _value(self, index: int, h: FloatArray, evaluated: tuple[tuple[FloatArray, FloatArray], ...]) -> FloatArray:
        """x_l, in its place if values and slopes are kept."""
        if evaluated:
            value, slope = evaluated[index]
            self._evaluations[index].value_and_slope_into(h, value, slope)
        else:
            value = np.empty_like(h)
            self._evaluations[index].value_into(h, value)
        return value

    def _evaluated(self, forward: Forward, index: int) -> tuple[FloatArray, FloatArray]:
        if forward.evaluated:
            return forward.evaluated[index]
        h = forward.preactivations[index]
        value, slope = np.empty_like(h), np.empty_like(h)
        self._evaluations[index].value_and_slope_into(h, value, slope)
        return value, slope

    def _kept(self, out: Forward | None, batch: int) -> tuple[tuple[FloatArray, FloatArray], ...]:
        if out is not None and out.evaluated:
            return out.evaluated
        return tuple(zip(self._buffers(batch), self._buffers(batch), strict=True))

    def _gradient_buffers(self, out: Gradients | None) -> tuple[list[FloatArray], list[FloatArray]]:
        if out is None:
            return [np.empty_like(w) for w in self.weights], [np.empty_like(b) for b in self.biases]
        held = [g.shape for g in (*out.weights, *out.biases)]
        if held != [array.shape for array in (*self.weights, *self.biases)]:
            raise UsageError(f"out holds gradients of shapes {held}, of another network; leave out=None")
        return list(out.weights), list(out.biases)

    def _buffers(self, batch: int) -> tuple[FloatArray, ...]:
        return tuple(np.empty((batch, width), dtype=self.dtype) for width in self.widths[1:])

    def _reuse(self, out: Forward, batch: int) -> tuple[FloatArray, ...]:
        shapes = [h.shape for h in out.preactivations]
        wanted = [(batch, width) for width in self.widths[1:]]
        if shapes != wanted:
            raise UsageError(f"out holds layers of shapes {shapes}, the batch needs {wanted}; leave out=None")
        return out.preactivations

    def _rows(
        self, name: str, array: npt.ArrayLike, columns: int, rows: int | None = None, finite: bool = True
    ) -> FloatArray:
        values = np.asarray(array, dtype=self.dtype)
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


def _is_finite(array: FloatArray) -> bool:
    """Whether all entries are finite; their squares, taken first, tell it in one pass unless they overflow."""
    return bool(np.isfinite(row_dots(array, array)).all() or np.isfinite(array).all())


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
    # Most networks have one activation in all layers: it is checked once.
    for distinct in {id(phi): phi for phi in activations}.values():
        check_activation(distinct)
    return activations


def _normalizations(
    normalizations: Sequence[BatchNormalization | None], weights: tuple[FloatArray, ...]
) -> tuple[BatchNormalization | None, ...]:
    wanted = [len(matrix) for matrix in weights]
    if len(normalizations) != len(wanted):
        raise UsageError(f"{len(normalizations)} normalizations for {len(wanted)} layers; None is for a layer without")
    widths = [n if layer is None else layer.width for layer, n in zip(normalizations, wanted, strict=True)]
    if widths != wanted:
        raise UsageError(f"batch normalization must have the widths {wanted} of the layers, not {widths}")
    return tuple(normalizations)


def _biases(
    biases: Sequence[npt.ArrayLike], weights: tuple[FloatArray, ...], dtype: npt.DTypeLike
) -> tuple[FloatArray, ...]:
    arrays = tuple(np.asarray(bias, dtype=dtype) for bias in biases)
    wanted = [(matrix.shape[0],) for matrix in weights]
    if [bias.shape for bias in arrays] != wanted:
        raise UsageError(f"biases must have shapes {wanted}, not {[bias.shape for bias in arrays]}")
    return arrays
