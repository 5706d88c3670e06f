"""Dense networks with explicit weights: forward, backward and the norms that the theory is about."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gpn.engine.batch_normalization import BatchNormalization, BatchStatistics, layers
from gpn.engine.evaluation import ElementwiseActivation, evaluation
from gpn.engine.norms import FloatArray, frobenius_norm, product_norm, quiet, row_dots, row_norms, row_norms_unguarded
from gpn.engine.parts import chained, checked_biases, checked_branches, checked_normalizations, per_layer
from gpn.engine.precision import round_to
from gpn.engine.records import BackwardNorms, Forward, Gradients, LayerGradient
from gpn.engine.shape import Shape
from gpn.engine.weights import Weights, draw
from theory.errors import UsageError


class Network:
    """A fully connected network with explicit weights.

    With x_0 the input, for l = 1..L
        h_l = W_l x_{l-1} + b_l,   x_l = phi_l(h_l);
    backward, with e_L = dE/dx_L,
        d_l = phi_l'(h_l) * e_l,   e_{l-1} = W_l^T d_l,   dE/dW_l = d_l x_{l-1}^T,   dE/db_l = d_l.
    Samples are rows: an input array has shape (batch, n_0). With batch normalization in layer l, phi_l is applied
    to the normalized h_l; see `gpn.engine.batch_normalization`. Around a layer with a branch
        x_l = x_{l-1} + alpha phi_l(h_l),   d_l = alpha phi_l'(h_l) * e_l,   e_{l-1} = e_l + W_l^T d_l.

    Source: D. Rumelhart, G. Hinton, R. Williams, Learning representations by back-propagating errors (1986);
    notation of Y. Lu, S. Gould, T. Ajanthan (2020), arXiv 2006.12169, section 2.

    Args:
        weights: W_1, ..., W_L, each an array (n_l, n_{l-1}); arrays of the dtype are used without a copy, so that
            a change in place (training) is seen.
        activation: one for all layers, or a sequence of L.
        biases: None, or b_1, ..., b_L, each (n_l,).
        normalizations: None, or for each layer its batch normalization or None.
        dtype: float64, or float32 for all arrays but norms and losses: half the memory, and quicker.
        branches: None, or for each layer its alpha, None for a layer without a branch.
        precision: a key of `gpn.engine.precision.FORMATS`: to what weights, h_l, x_l, d_l and e_l are rounded.

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

    __slots__ = ("_evaluations", "activations", "biases", "branches", "dtype", "normalizations", "precision", "weights")

    def __init__(
        self,
        weights: Sequence[npt.ArrayLike],
        activation: ElementwiseActivation | Sequence[ElementwiseActivation],
        biases: Sequence[npt.ArrayLike] | None = None,
        normalizations: Sequence[BatchNormalization | None] | None = None,
        *,
        dtype: npt.DTypeLike = np.float64,
        branches: Sequence[float | None] | None = None,
        precision: str = "float64",
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.precision = precision
        self.weights = chained([self._held(matrix) for matrix in weights])
        self.activations = per_layer(activation, len(self.weights))
        self._evaluations = tuple(evaluation(phi) for phi in self.activations)
        self.biases = () if biases is None else checked_biases(biases, self.weights, self.dtype)
        self.normalizations = () if normalizations is None else checked_normalizations(normalizations, self.weights)
        self.branches = () if branches is None else checked_branches(branches, self.weights)
        self.biases = tuple(self._held(bias) for bias in self.biases)

    @classmethod
    def random(
        cls,
        widths: Sequence[int] | Shape,
        activation: ElementwiseActivation | Sequence[ElementwiseActivation],
        rng: np.random.Generator,
        ensemble: Weights = "haar",
        *,
        batch_normalization: bool = False,
        precision: str = "float64",
    ) -> "Network":
        """Draw a network, its matrices independent from one ensemble of `gpn.engine.weights`.

        Args:
            widths: n_0, n_1, ..., n_L, or a shape with gains, biases and branches.
            activation: one for all layers, or a sequence of L.
            rng: where the randomness comes from.
            ensemble: a name or a function, as `gpn.engine.weights.draw` takes it.
            batch_normalization: in every layer, with gain 1 and shift 0 that are not trained.
            precision: as for a network.

        Raises:
            UsageError: fewer than two widths, or an unknown ensemble.
        """
        shape = widths if isinstance(widths, Shape) else Shape.read(widths)
        weights = [draw(ensemble, rng, rows, columns) for columns, rows in pairwise(shape.widths)]
        for matrix, gain in zip(weights, shape.gains, strict=True):
            matrix *= gain
        biases = None
        if any(shape.biases):
            biases = [rng.normal(0.0, sigma, n) for n, sigma in zip(shape.widths[1:], shape.biases, strict=True)]
        normalized = layers(shape.widths[1:]) if batch_normalization else None
        branches = None if shape.residual is None else shape.branches
        return cls(weights, activation, biases, normalized, branches=branches, precision=precision)

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
        x = self._held(self._rows("inputs", inputs, self.widths[0]))
        kept = list(self._buffers(len(x)) if out is None else self._reuse(out, len(x)))
        norms = np.empty((len(x), self.depth)) if out is None else out.signal_norms
        evaluated = self._kept(out, len(x)) if keep or self.branches else ()
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
                round_to(self.precision, kept[index])
                signal = self._value(index, kept[index], evaluated, signal)
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
            gradients = self._below(0, layer.d, layer.e)
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
            d = round_to(self.precision, np.multiply(slope, e))
            normalization = self.normalizations[index] if self.normalizations else None
            statistics = forward.statistics[index] if normalization else None
            trained = normalization.backward(d, statistics) if normalization and statistics else None
            if index == 0:
                yield LayerGradient(index, d, forward.inputs, e, trained)
                return
            # W_l is read before the layer is given away: the caller may change it in place.
            x, slope = self._evaluated(forward, index - 1)
            below = self._below(index, d, e)
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
        return Network(weights, self.activations, biases, dtype=self.dtype, branches=self.branches or None)

    def _held(self, array: npt.ArrayLike) -> FloatArray:
        """The array as it is, or a rounded copy."""
        if self.precision == "float64":
            return np.asarray(array, dtype=self.dtype)
        return round_to(self.precision, np.array(array, dtype=self.dtype))

    def signals(self, forward: Forward) -> Iterator[FloatArray]:
        """Give x_1, ..., x_L of a forward pass, each (batch, n_l), in fresh arrays unless they were kept.

        Args:
            forward: the result of `forward`.
        """
        return (self._evaluated(forward, index)[0] for index in range(self.depth))

    def _value(
        self, index: int, h: FloatArray, evaluated: tuple[tuple[FloatArray, FloatArray], ...], below: FloatArray
    ) -> FloatArray:
        """x_l, in its place if values and slopes are kept, as they are where there are branches."""
        if evaluated:
            value, slope = evaluated[index]
            self._evaluations[index].value_and_slope_into(h, value, slope)
            alpha = self.branches[index] if self.branches else None
            if alpha is not None:
                slope *= alpha
                value *= alpha
                value += below
        else:
            value = np.empty_like(h)
            self._evaluations[index].value_into(h, value)
        return round_to(self.precision, value)

    def _below(self, index: int, d: FloatArray, e: FloatArray) -> FloatArray:
        """e_{l-1}, with what passes the layer by on a branch."""
        below = d @ self.weights[index]
        if self.branches and self.branches[index] is not None:
            below += e
        return round_to(self.precision, below)

    def _evaluated(self, forward: Forward, index: int) -> tuple[FloatArray, FloatArray]:
        if forward.evaluated:
            return forward.evaluated[index]
        h = forward.preactivations[index]
        value, slope = np.empty_like(h), np.empty_like(h)
        self._evaluations[index].value_and_slope_into(h, value, slope)
        round_to(self.precision, value)
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
