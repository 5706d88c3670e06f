"""Exact sampling of a deep network's signals and gradients, one input, without any weight matrix.

The laws of W_l on a signal and of its transpose on a gradient are those of `gpn.sampling.laws`: both exact, jointly
over all layers, in O(n) per layer. The passes through the network are in `gpn.sampling.passes`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gpn.engine.arguments import check_generator, count
from gpn.engine.evaluation import ElementwiseActivation, Evaluation, check_activation, evaluation
from gpn.engine.norms import FloatArray, quiet, row_dots, row_norms
from gpn.engine.parts import per_layer
from gpn.engine.shape import Shape
from gpn.engine.weights import Weights
from gpn.sampling import passes, residual
from gpn.sampling.ends import Ends, ends_of, readout_of
from gpn.sampling.laws import LEAST_LENGTH, law
from gpn.sampling.memory import budget, check_branches, layers_that_fit
from gpn.sampling.normals import fill_normals
from theory.errors import UsageError

BLOCK_NEURONS = 2**16
"""Neurons of one layer, over several trials, that are worked on together: 512 KiB per array, not far from the
processor, and enough that the calls themselves cost little."""

_DIED_FROM = 1e-100  # a signal that falls from this length to 0 in one layer has not underflowed

BLOCK_STORAGE = 2**25
"""Neurons of all layers kept from forward to backward: 256 MiB, or one trial if that needs more."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Sample:
    """Norms of many independent networks; E is the loss, L the depth, n the width.

    A trial whose signal overflows float64 has inf or nan in `signal_norms` at that layer and nan in
    every gradient, which then cannot be known; one that underflows has gradients of 0, and `lost_in` names the layer of
    either. A gradient alone beyond float64 is inf; matrix-free, its logarithm
    right. With a batch of k > 1 inputs (`gpn.sampling.batch_sampler`, or dense) every array beside those of the batch
    has a last axis of length k.

    Attributes:
        squared_lengths: q_l = |x_l|^2 / n for l = 0..L, array (trials, L + 1).
        signal_norms: |x_l| for l = 1..L, array (trials, L).
        backward_norms: |d_l| = |dE/dh_l| for l = 1..L, array (trials, L).
        gradient_norms: |dE/dW_l|_F = |d_l| |x_{l-1}| for l = 1..L, array (trials, L).
        log_gradient_norms: their natural logarithms, (trials, L).
        batch_gradient_norms: |dE/dW_l|_F of the loss summed over the batch, array (trials, L); for one input
            the same as `gradient_norms`.
        log_batch_gradient_norms: their natural logarithms, (trials, L).
        grams: <x_l^i, x_l^j> / n for l = 0..L and each pair of inputs, array (trials, L + 1, k, k), if they were
            asked for; otherwise None.
    """

    squared_lengths: FloatArray
    signal_norms: FloatArray
    backward_norms: FloatArray
    gradient_norms: FloatArray
    log_gradient_norms: FloatArray
    batch_gradient_norms: FloatArray
    log_batch_gradient_norms: FloatArray
    grams: FloatArray | None = None

    @classmethod
    def of_norms(
        cls,
        width: int | FloatArray,
        norms: FloatArray,
        log_backward: FloatArray,
        log_batch: FloatArray | None = None,
        grams: FloatArray | None = None,
    ) -> "Sample":
        """Make a sample of what the matrix-free passes draw, in logarithms: a norm beyond float64 is inf or 0.

        Args:
            width: n, or an array of n_0, ..., n_L.
            norms: |x_l| for l = 0..L, array (trials, L + 1) or (trials, L + 1, k).
            log_backward: log |d_l| for l = 1..L, (trials, L) or (trials, L, k); it is overwritten.
            log_batch: log |dE/dW_l|_F of the summed loss, (trials, L); None for one input.
            grams: as in the sample.
        """
        # In place where possible: memory.least_memory counts five arrays of this size, the results themselves.
        lengths = norms / width
        lengths *= norms
        backward = np.exp(log_backward)
        log_backward += np.log(norms[:, :-1])
        gradients = np.exp(log_backward)
        batch, log_batch = (gradients, log_backward) if log_batch is None else (np.exp(log_batch), log_batch)
        return cls(lengths, norms[:, 1:], backward, gradients, log_backward, batch, log_batch, grams)

    @property
    def correlations(self) -> FloatArray:
        r"""The cosines between the signals of each pair of inputs, array (trials, L + 1, k, k).

            rho_l^{ij} = <x_l^i, x_l^j> / (|x_l^i| |x_l^j|);
        nan where a signal is zero or overflowed. In wide networks of a GPN activation rho_l = C(rho_{l-1}), with C of
        `theory.gaussian.hermite.HermiteSpectrum.correlation`.

        Raises:
            UsageError: the Gram matrices were not asked for.
        """
        if self.grams is None:
            raise UsageError("correlations need the Gram matrices; simulate with grams=True")
        with quiet():
            lengths = np.sqrt(np.diagonal(self.grams, axis1=-2, axis2=-1))
            cosines: FloatArray = self.grams / lengths[..., :, None] / lengths[..., None, :]
        return cosines

    @property
    def overflowed(self) -> npt.NDArray[np.bool_]:
        """Whether the forward signal of a trial overflowed (or met a point where phi is nan), (trials,)."""
        return np.array([not np.isfinite(norms).all() for norms in self.signal_norms])

    @property
    def lost_in(self) -> npt.NDArray[np.int64]:
        """The first layer 1..L whose signal float64 cannot hold, 0 where there is none, (trials,) for one input.

        It overflowed, or underflowed: it is shorter than 1e-280, or 0 after a layer that was shorter than 1e-100. A
        signal that is 0 after a longer one has died, and is known. Nothing is known about the ratios of gradients in
        networks that are lost.
        """
        norms = self.signal_norms
        before = np.concatenate([np.ones_like(norms[:, :1]), norms[:, :-1]], axis=1)
        faint = (norms < LEAST_LENGTH) & ((norms > 0) | ((before > 0) & (before < _DIED_FROM)))
        lost = ~np.isfinite(norms) | faint
        return np.where(lost.any(axis=1), lost.argmax(axis=1) + 1, 0)

    def __repr__(self) -> str:
        trials, depth = self.batch_gradient_norms.shape
        return f"Sample(trials={trials}, depth={depth}, overflowed={int(self.overflowed.sum())})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LayerRatios:
    """Squared lengths after one layer, over those before, in many independent trials.

    Attributes:
        forward: q_1 = |phi(h)|^2 / n, array (trials,).
        backward_random: |phi'(h) * u|^2 for a fresh Haar-random unit vector u, array (trials,).
        backward_fixed: the same for the flat unit vector u_i = +-1/sqrt(n), the mean of phi'(h_i)^2, array
            (trials,).
    """

    forward: FloatArray
    backward_random: FloatArray
    backward_fixed: FloatArray

    def __repr__(self) -> str:
        return f"LayerRatios(trials={len(self.forward)})"


def block_trials(width: int, depth: int) -> int:
    """Give the number of trials that are worked on together.

    A function of the width and the depth only, never of the memory or the cores of the machine: with the same
    NumPy on the same kind of processor a generator gives the same bits (NumPy's tanh may differ in the last bit
    between processors).

    >>> block_trials(1024, 50), block_trials(10**6, 200)
    (64, 1)
    """
    return max(1, min(BLOCK_NEURONS // width, BLOCK_STORAGE // (width * depth)))


def sample(
    activation: ElementwiseActivation | Sequence[ElementwiseActivation],
    width: int,
    depth: int,
    trials: int,
    rng: np.random.Generator,
    *,
    shape: Shape | None = None,
    weights: Weights = "haar",
    inputs: npt.ArrayLike | None = None,
    readout: str | npt.ArrayLike = "random",
    labels: npt.ArrayLike | None = None,
    classes: int | None = None,
    memory: int | str | None = None,
    watch: passes.Watch | None = None,
) -> Sample:
    """Draw forward and backward norms of independent random networks with one input each, exactly in law.

    The formulas and their sources are those of the module. Without residual branches only the length of the input
    matters, not its direction: h_1 = W_1 x_0 is uniform on a sphere (or isotropic Gaussian) whatever the direction of
    x_0, and W_1^T, which would see it, is not needed for dE/dW_1 = d_1 x_0^T.

    Args:
        activation: any object with `value_and_slope(x) -> (value, slope)`, two fresh float64 arrays, or one for each
            layer; if it has `value(x)` too, the forward pass calls that; if it has `value_into(x, out)` and
            `value_and_slope_into(x, value, slope)`, those are called instead of both and save memory traffic.
        width: n, neurons in each layer; here 1 is allowed.
        depth, trials, inputs, readout, labels, classes: as for `gpn.simulate` with a batch of 1.
        rng: the source of randomness.
        shape: widths, gains, biases and branches, with `width` n_0 and `depth` layers; None for square layers.
        weights: "haar", "scaled_orthogonal", or i.i.d. "gaussian" (variance 1/n_in), "he" (2/n_in), "glorot"
            (2/(n_in + n_out)).
        memory: what the arrays may take at the worst moment, results included and inputs not, as for `gpn.simulate`.
        watch: called with the vectors of every layer of the backward pass, see `gpn.sampling.passes.Watch`; not where
            there are branches.

    Raises:
        UsageError: an argument outside of what is described here, or less memory than one layer and the results need.

    >>> class Tanh:
    ...     def value_and_slope(self, x):
    ...         t = np.tanh(x)
    ...         return t, 1.0 - t * t
    >>> result = sample(Tanh(), width=64, depth=3, trials=100, rng=np.random.default_rng(0))
    >>> result.gradient_norms.shape, result.squared_lengths.shape
    ((100, 3), (100, 4))
    """
    width, depth, trials = count("width", width), count("depth", depth), count("trials", trials)
    check_generator(rng)
    top = None if shape is None else shape.widths[-1]
    shape = shape or Shape.square(width, depth)
    activations = [evaluation(phi) for phi in per_layer(activation, depth)]
    ends = ends_of(width, trials, 1, inputs, readout, labels, classes, top)
    network = passes.NetworkLaw(_layer_laws(shape.fed_by(ends.input_width), activations, weights), readout_of(ends))
    widest = max(shape.widths[1:])
    rows = min(block_trials(widest, depth), trials)
    if shape.residual is not None:
        return _residual(network, ends, shape, trials, rows, rng, budget(memory))
    kept = layers_that_fit(widest, depth, trials, rows, budget(memory))
    layers = passes.StoredLayers(shape.widths[1:], rows, kept)
    norms, log_backward = np.empty((trials, depth + 1)), np.empty((trials, depth))
    norms[:, 0] = np.sqrt(width) if ends.inputs is None else row_norms(ends.inputs[:, 0])
    with quiet():
        for start in range(0, trials, rows):
            block = slice(start, min(start + rows, trials))
            signals = np.ascontiguousarray(norms[block].T)
            known = passes.forward(network, layers, signals, rng)
            log_backward[block] = passes.backward(network, layers, signals, known, block, rng, watch).T
            norms[block] = signals.T
        del layers
        return Sample.of_norms(np.array(shape.widths), norms, log_backward)


def _layer_laws(shape: Shape, activations: Sequence[Evaluation], weights: Weights) -> list[passes.LayerLaw]:
    """The law of each layer of a shape; layers that are alike have one."""
    laws = {(rows, columns): law(weights, rows, columns) for columns, rows in pairwise(shape.widths)}
    sizes = [laws[rows, columns] for columns, rows in pairwise(shape.widths)]
    matrices = [matrix.scaled(gain) for matrix, gain in zip(sizes, shape.gains, strict=True)]
    return list(map(passes.LayerLaw, activations, matrices, shape.biases, shape.branches))


def _residual(
    network: passes.NetworkLaw,
    ends: Ends,
    shape: Shape,
    trials: int,
    rows: int,
    rng: np.random.Generator,
    memory: int,
) -> Sample:
    """Networks with branches: signals are kept beside the preactivations, and no layer is drawn twice."""
    check_branches(max(shape.widths), shape.depth, trials, rows, memory)
    norms, log_backward = np.empty((trials, shape.depth + 1)), np.empty((trials, shape.depth))
    kept = residual.Kept(shape.widths, rows)
    with quiet():
        for start in range(0, trials, rows):
            block = slice(start, min(start + rows, trials))
            signals = np.empty((shape.depth + 1, block.stop - start))
            _inputs(ends, block, kept.signals[0][: block.stop - start], rng)
            known = residual.forward(network, kept, signals, rng)
            log_backward[block] = residual.backward(network, kept, signals, known, block, rng).T
            norms[block] = signals.T
        return Sample.of_norms(np.array(shape.widths), norms, log_backward)


def _inputs(ends: Ends, block: slice, x: FloatArray, rng: np.random.Generator) -> None:
    """Write x_0 of a block of trials."""
    if ends.inputs is not None:
        x[...] = ends.inputs[block, 0]
        return
    fill_normals(rng, x)
    x *= (np.sqrt(ends.width) / row_norms(x))[:, None]


def one_step(
    activation: ElementwiseActivation,
    width: int,
    trials: int,
    rng: np.random.Generator,
    *,
    weights: Weights = "haar",
    q: float = 1.0,
) -> LayerRatios:
    """Draw what one layer does to the squared length, forward and backward, from an input with |x|^2 = n q.

        h = W x,   forward |phi(h)|^2 / n,   backward |phi'(h) * u|^2,
    u a fresh uniform unit vector, or the flat vector u_i = +-1/sqrt(n). For Haar weights h is uniform on the
    sphere of radius sqrt(n q); for Gaussian weights of variance s^2 it has i.i.d. entries N(0, n s^2 q).

    Source: the one-step statements of Y. Lu, S. Gould, T. Ajanthan (2020), arXiv 2006.12169, section 3.

    Args:
        activation, width, trials, rng, weights: as for `sample`.
        q: squared length per neuron of the input.

    Raises:
        UsageError: an argument outside of what is described here.

    >>> class Linear:
    ...     def value_and_slope(self, x):
    ...         return x.copy(), np.ones_like(x)
    >>> step = one_step(Linear(), 8, 3, np.random.default_rng(0))
    >>> bool(np.allclose(step.forward, 1.0)), bool(np.allclose(step.backward_random, 1.0))
    (True, True)
    """
    width, trials = count("width", width), count("trials", trials)
    check_generator(rng)
    check_activation(activation)
    if not (np.isfinite(q) and q >= 0.0):
        raise UsageError(f"q must be a squared length, finite and not negative, not {q!r}")
    matrix = law(weights, width, width)
    rows = min(block_trials(width, 1), trials)
    layers = passes.StoredLayers([width], rows, 1)
    layer = passes.LayerLaw(evaluation(activation), matrix)
    forward, fixed, random = np.empty(trials), np.empty(trials), np.empty(trials)
    radius = np.full(rows, np.sqrt(width * q))
    with quiet():
        for start in range(0, trials, rows):
            block = slice(start, min(start + rows, trials))
            size = block.stop - block.start
            h = layers.array(0, size)
            h *= passes.draw_normals(layer, radius[:size], h, rng)[0]
            parts = [_squares(tile, rng) for tile in passes.evaluated(layer.activation, h, layers.work(0, size))]
            value, slope, product, direction = (passes.total(list(squares)) for squares in zip(*parts, strict=True))
            forward[block], fixed[block], random[block] = value / width, slope / width, product / direction
    return LayerRatios(forward, random, fixed)


def _squares(tile: passes.Tile, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """|phi(h)|^2, |phi'(h)|^2, |phi'(h) * g|^2 and |g|^2 for fresh normals g, row by row."""
    value, slope = row_dots(tile.x, tile.x), row_dots(tile.slope, tile.slope)
    fill_normals(rng, tile.e)
    tile.slope *= tile.e
    return value, slope, row_dots(tile.slope, tile.slope), row_dots(tile.e, tile.e)
