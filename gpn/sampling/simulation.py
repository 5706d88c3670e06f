"""One entry point to the simulation of random networks: matrix-free or dense, one input or a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from gpn.engine.arguments import count, vocabulary
from gpn.engine.evaluation import ElementwiseActivation
from gpn.engine.network import Network
from gpn.engine.norms import FloatArray, quiet, row_norms
from gpn.engine.records import Forward, LayerGradient
from gpn.engine.shape import Numbers, Shape
from gpn.engine.uniformity import check_claim
from gpn.engine.weights import Weights, canonical, draw
from gpn.sampling.batch_sampler import block_trials, sample_batch
from gpn.sampling.ends import Ends, ends_of
from gpn.sampling.memory import budget, check_batch, check_dense
from gpn.sampling.passes import Watch
from gpn.sampling.sampler import LayerRatios, Sample, sample
from theory.errors import UsageError
from theory.numerics.threads import one_blas_thread


@one_blas_thread
@vocabulary("width", "depth")
def simulate(
    activation: object,
    width: int | None = None,
    depth: int | None = None,
    trials: int | None = None,
    *,
    layers: Sequence[int] | None = None,
    gain: Numbers = 1.0,
    bias: Numbers = 0.0,
    residual: float | None = None,
    seed: int | np.random.Generator = 0,
    weights: Weights = "haar",
    method: str = "matrix-free",
    inputs: npt.ArrayLike | None = None,
    readout: str | npt.ArrayLike = "random",
    batch: int = 1,
    labels: npt.ArrayLike | None = None,
    classes: int | None = None,
    grams: bool = False,
    memory: int | str | None = None,
    batch_normalization: bool = False,
    precision: str = "float64",
) -> Sample:
    """Simulate signals and gradients of independent random networks, the activation as it is.

        h_l = g_l W_l x_{l-1} + b_l,   x_l = phi(h_l),   d_l = phi'(h_l) * e_l,   e_{l-1} = g_l W_l^T d_l,
        dE/d(g_l W_l) = d_l x_{l-1}^T,
    by default without gain (g = 1) and bias; with `residual` alpha the layers that keep their width have branches,
    x_l = x_{l-1} + alpha phi(h_l), see `gpn.engine.shape`.

    "matrix-free" draws the same quantities exactly in law without any matrix: of one input in O(n) per layer
    (`gpn.sampling.sampler`), of k inputs in O(n k^2) (`gpn.sampling.batch_sampler`, for square layers without gain,
    bias and branches); "dense" draws every weight matrix and runs `gpn.Network`, in O(n^3) per layer, for any
    ensemble. Both have the same law where both apply.

    Source: Y. Lu, S. Gould, T. Ajanthan (2020), arXiv 2006.12169, section 2; for the matrix-free laws see
    `gpn.sampling.sampler` and `gpn.sampling.batch_sampler`.

    Args:
        activation: a name ("tanh"), a formula ("x*sigmoid(x)"), a SymPy expression, a callable, or an
            activation object; or a list of L of them, one for each layer. It is taken as it is, not normalized.
        width: n >= 2, neurons in each layer.
        depth: L >= 1, layers.
        trials: independent networks.
        layers: n_0, ..., n_L, instead of width and depth, if the widths differ.
        gain: g_l, a number or one for each layer.
        bias: the standard deviation of the entries of b_l, a number or one for each layer.
        residual: alpha, or None for no branches.
        seed: a whole number, or a numpy Generator to draw from.
        weights: an ensemble of `gpn.engine.weights`, or a word of the frameworks ("orthogonal", "lecun", "kaiming",
            "xavier"); matrix-free "haar", "scaled_orthogonal", "gaussian", "he" or "glorot". Dense, also a function
            (rng, rows, columns) -> array; if its attribute `ensemble` is "haar", that is tested.
        method: "matrix-free" or "dense".
        inputs: x_0, used as given, with m <= n entries (then W_1 is n x m): (m,) for all trials or
            (trials, m); for a batch of k > 1 inputs (k, m) or (trials, k, m). None: uniform on the thin shell
            |x_0|^2 = n.
        readout: e_L = dE/dx_L: "random" (a Haar-random unit vector, independent of everything), "aligned"
            (e_L = x_L), "loss" (softmax cross-entropy of the logits W_out x_L, W_out with N(0, 1/n) entries),
            or an array (n,); for a batch also (k, n).
        batch: k, the number of inputs of each network.
        labels, classes: for "loss", whole numbers (trials,), and how many classes there are; for a batch (k,)
            or (trials, k).
        grams: keep the Gram matrices <x_l^i, x_l^j> / n of the inputs' signals in every layer.
        memory: what all arrays may take at the worst moment, as bytes or a text such as "4GiB"; None for half of what
            is free. Of one input, matrix-free, layers that do not fit are drawn twice, which changes no bit of the
            result; batches and dense networks that do not fit are refused.
        batch_normalization: standardize h_l over the batch before phi, in every layer; needs a batch of 2 or more.
        precision: dense, "float64", or "float32", "bfloat16", "float16": to what each result of a layer is rounded.

    Returns:
        `gpn.sampling.sampler.Sample` with squared_lengths (trials, L + 1), signal_norms, backward_norms and
        gradient_norms (trials, L); for a batch of k > 1 inputs each with a last axis of length k, beside
        batch_gradient_norms (trials, L) of the summed loss; with `grams` also the Gram matrices,
        (trials, L + 1, k, k), and `.correlations`.

    Raises:
        UsageError: an argument outside of what is described here, or a network that needs more memory.

    >>> result = simulate("tanh", width=32, depth=5, trials=10, seed=0)
    >>> result
    Sample(trials=10, depth=5, overflowed=0)
    >>> result.gradient_norms.shape
    (10, 5)
    >>> pair = simulate("tanh", width=32, depth=5, trials=10, seed=0, batch=2, grams=True)
    >>> pair.batch_gradient_norms.shape, pair.correlations.shape
    ((10, 5), (10, 6, 2, 2))
    >>> simulate("relu", layers=[784, 512, 10], gain=2**0.5, bias=0.1, trials=10).signal_norms.shape
    (10, 2)
    """
    if trials is None:
        raise UsageError("how many networks? give trials, such as trials=100")
    shape = _shape(width, depth, layers, gain, bias, residual)
    trials, batch = count("trials", trials), count("batch", batch)
    rng = _generator(seed)
    phi = _activations(activation)
    weights = canonical(weights) if isinstance(weights, str) else weights
    if batch_normalization and batch < 2:
        raise UsageError("batch normalization needs a batch of at least 2 inputs: give batch=32, say")
    ends_given: dict[str, Any] = {"inputs": inputs, "readout": readout, "labels": labels, "classes": classes}
    own = layers is not None or not shape.is_square
    ends_given["top"] = shape.widths[-1] if own else None
    if method == "dense":
        check_claim(weights, np.random.default_rng(0))
        ends = ends_of(shape.widths[0], trials, batch, **ends_given)
        dense_options: dict[str, Any] = {"grams": grams, "batch_normalization": batch_normalization}
        return dense(phi, ends, shape, trials, rng, weights, memory, precision=precision, **dense_options)
    if method != "matrix-free":
        raise UsageError(f"method must be 'matrix-free' or 'dense', not {method!r}")
    if precision != "float64":
        raise UsageError(f"precision={precision!r:.40} is for method='dense': matrix-free nothing is rounded")
    if batch > 1:
        if own or isinstance(phi, list) or weights == "scaled_orthogonal":
            raise UsageError(
                "matrix-free, a batch of inputs needs square layers of one activation without gain, bias and branches; "
                "use method='dense'"
            )
        del ends_given["top"]
        width, depth = shape.widths[0], shape.depth
        rows = min(block_trials(width, depth, batch), trials)
        sizes = (width, depth, trials, batch, rows, budget(memory))
        check_batch(*sizes, grams=grams, normalized=batch_normalization)
        options: dict[str, Any] = {"weights": weights, "grams": grams, "batch_normalization": batch_normalization}
        return sample_batch(phi, width, depth, trials, batch, rng, **options, **ends_given)
    del ends_given["top"]
    sizes_given = (shape.widths[0], shape.depth, trials)
    result = sample(phi, *sizes_given, rng, shape=shape if own else None, weights=weights, memory=memory, **ends_given)
    return replace(result, grams=result.squared_lengths[..., None, None]) if grams else result


def dense(
    phi: ElementwiseActivation | Sequence[ElementwiseActivation],
    ends: Ends,
    shape: Shape,
    trials: int,
    rng: np.random.Generator,
    weights: Weights = "haar",
    memory: int | str | None = None,
    *,
    grams: bool = False,
    batch_normalization: bool = False,
    precision: str = "float64",
    watch: Watch | None = None,
) -> Sample:
    """Draw every weight matrix and run the networks that have them.

    Args:
        phi: the activation, or one for each layer.
        ends: the checked inputs and readout, of as many networks as are drawn.
        shape: widths, gains, biases and branches; the first matrix takes inputs of any number of entries.
        trials, rng, weights, memory, grams, batch_normalization, precision: as for `simulate`.
        watch: of one input, called with the vectors of every layer, see `gpn.sampling.passes.Watch`.

    Raises:
        UsageError: networks that need more memory, or an unknown ensemble.
    """
    check_dense(shape.widths, trials, ends.batch, budget(memory), grams=grams)
    network = partial(
        Network.random,
        shape.fed_by(ends.input_width),
        phi,
        rng,
        weights,
        batch_normalization=batch_normalization,
        precision=precision,
    )
    return _Dense(ends, shape.widths, trials, grams, watch).run(network, rng)


def dense_one_step(
    phi: ElementwiseActivation, width: int, trials: int, rng: np.random.Generator, *, weights: str = "haar"
) -> LayerRatios:
    """Draw what one layer does to the squared length as `gpn.sampling.sampler.one_step`, with explicit matrices.

    Args:
        phi, width, trials, rng, weights: as there, and any ensemble of `gpn.engine.weights`.

    >>> from theory.activations.catalog import build
    >>> bool(np.allclose(dense_one_step(build("identity"), 8, 3, np.random.default_rng(0)).forward, 1.0))
    True
    """
    inputs, directions = (rng.standard_normal((trials, width)) for _ in range(2))
    inputs *= (np.sqrt(width) / row_norms(inputs))[:, None]
    h = np.stack([draw(weights, rng, width) @ x for x in inputs])
    with quiet():
        value, slope = phi.value_and_slope(h)
        random = row_norms(slope * directions) / row_norms(directions)
        return LayerRatios(row_norms(value) ** 2 / width, random**2, row_norms(slope) ** 2 / width)


@dataclass(frozen=True, slots=True)
class _Dense:
    """A checked description of a dense simulation."""

    ends: Ends
    widths: tuple[int, ...]
    trials: int
    grams: bool
    watch: Watch | None

    def run(self, draw_network: Callable[[], Network], rng: np.random.Generator) -> Sample:
        """Draw every network in turn; only norms and Gram matrices are kept."""
        batch, depth = self.ends.batch, len(self.widths) - 1
        norms = np.empty((self.trials, depth + 1, batch))
        backward = np.empty((self.trials, depth, batch))
        totals = np.empty((self.trials, depth))
        grams = np.empty((self.trials, depth + 1, batch, batch)) if self.grams else None
        forward = None
        for trial in range(self.trials):
            x = self.ends.signals(trial, rng)
            network = draw_network()
            forward = network.forward(x, out=forward)
            gradients = self.ends.gradients(forward.outputs, trial, rng)
            down = network.backward_norms(forward, gradients, self._watch(trial, forward, gradients))
            norms[trial, 0], norms[trial, 1:] = forward.input_norms, forward.signal_norms.T
            backward[trial], totals[trial] = down.backward_norms.T, down.batch_gradient_norms
            if grams is not None:
                with quiet():
                    for layer, signal in enumerate((x, *network.signals(forward))):
                        grams[trial, layer] = signal @ signal.T / self.widths[layer]
            del network  # before the next one is drawn
        return self._collect(norms, backward, totals, grams)

    def _watch(self, trial: int, forward: Forward, gradients: FloatArray) -> Callable[[LayerGradient], None] | None:
        """The watch of one network, which is given gradients over |d| of the layer above."""
        if self.watch is None:
            return None
        watch, unit = self.watch, row_norms(gradients)

        def look(layer: LayerGradient) -> None:
            nonlocal unit
            scale = 1.0 / unit[:, None]
            h = forward.preactivations[layer.index]
            watch(layer.index, slice(trial, trial + 1), h, layer.e * scale, layer.d * scale)
            unit = row_norms(layer.d)

        return look

    def _collect(self, norms: FloatArray, backward: FloatArray, totals: FloatArray, grams: FloatArray | None) -> Sample:
        """The overflow of a signal makes its gradients unknown, as in the matrix-free sampler."""
        overflowed = ~np.isfinite(norms).all(axis=1, keepdims=True)
        backward[np.broadcast_to(overflowed, backward.shape)] = np.nan
        totals[~np.isfinite(norms).all(axis=(1, 2))] = np.nan
        if self.ends.batch == 1:
            norms, backward = norms[..., 0], backward[..., 0]
        with quiet():
            gradients = backward * norms[:, :-1]
            logs = np.log(backward) + np.log(norms[:, :-1])
            lengths = norms * (norms / np.array(self.widths)[:, *[None] * (norms.ndim - 2)])
            log_totals = np.log(totals)
        return Sample(lengths, norms[:, 1:], backward, gradients, logs, totals, log_totals, grams)


def _generator(seed: int | np.random.Generator) -> np.random.Generator:
    """The fastest of NumPy's bit generators for a seed; a generator is used as it is."""
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.Generator(np.random.SFC64(count("seed", seed, minimum=0)))


def _shape(
    width: int | None,
    depth: int | None,
    layers: Sequence[int] | None,
    gain: Numbers,
    bias: Numbers,
    residual: float | None,
) -> Shape:
    """The shape of the networks, from layers or from width and depth."""
    if layers is not None:
        if width is not None or depth is not None:
            raise UsageError("layers are the widths n_0, ..., n_L of all layers; leave width and depth out")
        return Shape.read(layers, gain, bias, residual)
    if width is None or depth is None:
        raise UsageError("a network needs its width and its depth, or its layers, such as layers=[784, 512, 10]")
    width, depth = count("width", width, minimum=2), count("depth", depth)
    return Shape.read([width] * (depth + 1), gain, bias, residual)


def _activations(spec: object) -> ElementwiseActivation | list[ElementwiseActivation]:
    """Read the activation of all layers, or a list with one for each."""
    if isinstance(spec, list | tuple):
        return [_activation(each) for each in spec]
    return _activation(spec)


def _activation(spec: object) -> ElementwiseActivation:
    """Read a specification; an object that evaluates itself needs no symbolic library."""
    if hasattr(spec, "value_and_slope"):
        evaluated: ElementwiseActivation = spec
        return evaluated
    from theory.activations.specification import activation  # loads SymPy

    return activation(spec)
