"""One entry point to the simulation of random networks: matrix-free or dense, one input or a batch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gpn.engine.arguments import count, vocabulary
from gpn.engine.evaluation import ElementwiseActivation
from gpn.engine.network import Network
from gpn.engine.norms import FloatArray, quiet, row_norms
from gpn.engine.records import Forward, LayerGradient
from gpn.engine.weights import draw
from gpn.sampling.batch_ends import Ends, ends_of
from gpn.sampling.batch_sampler import block_trials, sample_batch
from gpn.sampling.memory import budget, check_batch, check_dense
from gpn.sampling.passes import Watch
from gpn.sampling.sampler import LayerRatios, Sample, sample
from theory.errors import UsageError
from theory.numerics.threads import one_blas_thread


@one_blas_thread
@vocabulary("width", "depth")
def simulate(
    activation: object,
    width: int,
    depth: int,
    trials: int,
    *,
    seed: int | np.random.Generator = 0,
    weights: str = "haar",
    method: str = "matrix-free",
    inputs: npt.ArrayLike | None = None,
    readout: str | npt.ArrayLike = "random",
    batch: int = 1,
    labels: npt.ArrayLike | None = None,
    classes: int | None = None,
    grams: bool = False,
    memory: int | str | None = None,
    batch_normalization: bool = False,
) -> Sample:
    """Simulate signals and gradients of independent random networks, the activation as it is.

        h_l = W_l x_{l-1},   x_l = phi(h_l),   d_l = phi'(h_l) * e_l,   e_{l-1} = W_l^T d_l,
        dE/dW_l = d_l x_{l-1}^T.

    "matrix-free" draws the same quantities exactly in law without any matrix: of one input in O(n) per layer
    (`gpn.sampling.sampler`), of k inputs in O(n k^2) (`gpn.sampling.batch_sampler`); "dense" draws every weight matrix
    and runs `gpn.Network`, in O(n^3) per layer, for any ensemble. Both have the same law where both apply.

    Source: Y. Lu, S. Gould, T. Ajanthan (2020), arXiv 2006.12169, section 2; for the matrix-free laws see
    `gpn.sampling.sampler` and `gpn.sampling.batch_sampler`.

    Args:
        activation: a name ("tanh"), a formula ("x*sigmoid(x)"), a SymPy expression, a callable, or an
            activation object. It is taken as it is, not normalized.
        width: n >= 2, neurons in each layer.
        depth: L >= 1, layers.
        trials: independent networks.
        seed: a whole number, or a numpy Generator to draw from.
        weights: an ensemble of `gpn.engine.weights`; matrix-free "haar", "gaussian", "he" or "glorot".
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
    """
    width, depth = count("width", width, minimum=2), count("depth", depth)
    trials, batch = count("trials", trials), count("batch", batch)
    rng = _generator(seed)
    phi = _activation(activation)
    if batch_normalization and batch < 2:
        raise UsageError("batch normalization needs a batch of at least 2 inputs: give batch=32, say")
    if method == "dense":
        ends = ends_of(width, trials, batch, inputs, readout, labels, classes)
        dense_options: dict[str, Any] = {"grams": grams, "batch_normalization": batch_normalization}
        return dense(phi, ends, depth, trials, rng, weights, memory, **dense_options)
    if method != "matrix-free":
        raise UsageError(f"method must be 'matrix-free' or 'dense', not {method!r}")
    ends_given: dict[str, Any] = {"inputs": inputs, "readout": readout, "labels": labels, "classes": classes}
    if batch > 1:
        rows = min(block_trials(width, depth, batch), trials)
        sizes = (width, depth, trials, batch, rows, budget(memory))
        check_batch(*sizes, grams=grams, normalized=batch_normalization)
        options: dict[str, Any] = {"weights": weights, "grams": grams, "batch_normalization": batch_normalization}
        return sample_batch(phi, width, depth, trials, batch, rng, **options, **ends_given)
    result = sample(phi, width, depth, trials, rng, weights=weights, memory=memory, **ends_given)
    return replace(result, grams=result.squared_lengths[..., None, None]) if grams else result


def dense(
    phi: ElementwiseActivation,
    ends: Ends,
    depth: int,
    trials: int,
    rng: np.random.Generator,
    weights: str = "haar",
    memory: int | str | None = None,
    *,
    grams: bool = False,
    batch_normalization: bool = False,
    watch: Watch | None = None,
) -> Sample:
    """Draw every weight matrix and run the networks that have them.

    Args:
        phi: the activation.
        ends: the checked inputs and readout, of as many networks as are drawn.
        depth, trials, rng, weights, memory, grams, batch_normalization: as for `simulate`.
        watch: of one input, called with the vectors of every layer, see `gpn.sampling.passes.Watch`.

    Raises:
        UsageError: networks that need more memory, or an unknown ensemble.
    """
    check_dense(ends.width, depth, trials, ends.batch, budget(memory), grams=grams)
    return _Dense(ends, depth, trials, grams, batch_normalization, watch).run(phi, weights, rng)


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
    depth: int
    trials: int
    grams: bool
    batch_normalization: bool
    watch: Watch | None

    def run(self, phi: ElementwiseActivation, weights: str, rng: np.random.Generator) -> Sample:
        """Draw every network in turn; only norms and Gram matrices are kept."""
        batch = self.ends.batch
        norms = np.empty((self.trials, self.depth + 1, batch))
        backward = np.empty((self.trials, self.depth, batch))
        totals = np.empty((self.trials, self.depth))
        grams = np.empty((self.trials, self.depth + 1, batch, batch)) if self.grams else None
        forward = None
        for trial in range(self.trials):
            x = self.ends.signals(trial, rng)
            sizes = [x.shape[1]] + [self.ends.width] * self.depth
            network = Network.random(sizes, phi, rng, weights, batch_normalization=self.batch_normalization)
            forward = network.forward(x, out=forward)
            gradients = self.ends.gradients(forward.outputs, trial, rng)
            down = network.backward_norms(forward, gradients, self._watch(trial, forward, gradients))
            norms[trial, 0], norms[trial, 1:] = forward.input_norms, forward.signal_norms.T
            backward[trial], totals[trial] = down.backward_norms.T, down.batch_gradient_norms
            if grams is not None:
                with quiet():
                    grams[trial, 0] = x @ x.T / self.ends.width
                    for layer, h in enumerate(forward.preactivations, start=1):
                        signal, _ = phi.value_and_slope(h)
                        grams[trial, layer] = signal @ signal.T / self.ends.width
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
            lengths = norms * (norms / self.ends.width)
            log_totals = np.log(totals)
        return Sample(lengths, norms[:, 1:], backward, gradients, logs, totals, log_totals, grams)


def _generator(seed: int | np.random.Generator) -> np.random.Generator:
    """The fastest of NumPy's bit generators for a seed; a generator is used as it is."""
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.Generator(np.random.SFC64(count("seed", seed, minimum=0)))


def _activation(spec: object) -> ElementwiseActivation:
    """Read a specification; an object that evaluates itself needs no symbolic library."""
    if hasattr(spec, "value_and_slope"):
        evaluated: ElementwiseActivation = spec
        return evaluated
    from theory.activations.specification import activation  # loads SymPy

    return activation(spec)
