"""One entry point to the simulation of random networks: matrix-free for one input, dense for the rest."""

from typing import Any

import numpy as np
import numpy.typing as npt

from gpn.engine import (
    FloatArray,
    Network,
    class_labels,
    quiet,
    row_norms,
    softmax_cross_entropy,
)
from gpn.evaluation import ElementwiseActivation
from gpn.memory import budget, check_dense
from gpn.sampler import Sample, sample
from gpn.weights import count
from theory.errors import UsageError


def simulate(
    activation: Any,
    width: int,
    depth: int,
    trials: int,
    *,
    seed: int | np.random.Generator,
    weights: str = "haar",
    method: str = "matrix-free",
    inputs: npt.ArrayLike | None = None,
    readout: str | npt.ArrayLike = "random",
    batch: int = 1,
    labels: npt.ArrayLike | None = None,
    classes: int | None = None,
    memory: int | str | None = None,
) -> Sample:
    """Simulate signals and gradients of independent random networks.

        h_l = W_l x_{l-1},   x_l = phi(h_l),   d_l = phi'(h_l) * e_l,   e_{l-1} = W_l^T d_l,
        dE/dW_l = d_l x_{l-1}^T.

    "matrix-free" draws the norms of one input exactly in law without any matrix (`gpn.sampler`), in O(n) per
    layer; "dense" draws every weight matrix and runs `gpn.Network`, in O(n^3) per layer, for any ensemble and
    any batch. Both have the same law where both apply.

    Source: Y. Lu, S. Gould, T. Ajanthan (2020), arXiv 2006.12169, section 2; for the matrix-free law see
    `gpn.sampler`.

    Args:
        activation: a name ("tanh"), a formula ("x*sigmoid(x)"), a SymPy expression, a callable, or an
            activation object. It is taken as it is, not normalized.
        width: n >= 2, neurons in each layer.
        depth: L >= 1, layers.
        trials: independent networks.
        seed: a whole number, or a numpy Generator to go on with.
        weights: an ensemble of `gpn.weights`; matrix-free "haar", "gaussian", "he" or "glorot".
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
        memory: what all arrays may take at the worst moment, as bytes or a text such as "4GiB"; None for half of what
            is free. Matrix-free, layers that do not fit are drawn twice, which changes no bit of the result.

    Returns:
        `gpn.sampler.Sample` with squared_lengths (trials, L + 1), signal_norms, backward_norms and
        gradient_norms (trials, L); for a batch of k > 1 inputs each with a last axis of length k, beside
        batch_gradient_norms (trials, L) of the summed loss.

    Raises:
        UsageError: an argument outside of what is described here, or a network that needs more memory.

    >>> result = simulate("tanh", width=32, depth=5, trials=10, seed=0)
    >>> result
    Sample(trials=10, depth=5, overflowed=0)
    >>> result.gradient_norms.shape
    (10, 5)
    """
    width, depth = count("width", width, minimum=2), count("depth", depth)
    trials, batch = count("trials", trials), count("batch", batch)
    rng = _generator(seed)
    phi = _activation(activation)
    if method == "dense":
        check_dense(width, depth, trials, batch, budget(memory))
        setup = _Dense(width, depth, trials, batch, inputs, readout, labels, classes)
        return setup.run(phi, weights, rng)
    if method != "matrix-free":
        raise UsageError(f"method must be 'matrix-free' or 'dense', not {method!r}")
    if batch > 1:
        raise UsageError(f"the matrix-free sampler follows one input, not a batch of {batch}; use method='dense'")
    return sample(
        phi,
        width,
        depth,
        trials,
        rng,
        weights=weights,
        inputs=inputs,
        readout=readout,
        labels=labels,
        classes=classes,
        memory=memory,
    )


class _Dense:
    """A checked description of a dense simulation."""

    def __init__(
        self,
        width: int,
        depth: int,
        trials: int,
        batch: int,
        inputs: npt.ArrayLike | None,
        readout: str | npt.ArrayLike,
        labels: npt.ArrayLike | None,
        classes: int | None,
    ) -> None:
        self.width, self.depth, self.trials, self.batch = width, depth, trials, batch
        self.inputs = None if inputs is None else self._inputs(inputs)
        self.readout = readout if isinstance(readout, str) else self._directions(readout)
        if isinstance(readout, str) and readout not in ("random", "aligned", "loss"):
            raise UsageError(f"readout must be 'random', 'aligned', 'loss' or an array ({width},), not {readout!r}")
        self.classes, self.labels = self._labels(labels, classes)

    def run(self, phi: ElementwiseActivation, weights: str, rng: np.random.Generator) -> Sample:
        """Draw every network in turn; only norms are kept."""
        norms = np.empty((self.trials, self.depth + 1, self.batch))
        backward = np.empty((self.trials, self.depth, self.batch))
        totals = np.empty((self.trials, self.depth))
        forward = None
        for trial in range(self.trials):
            x = self._thin_shell(rng) if self.inputs is None else self.inputs[trial]
            sizes = [x.shape[1]] + [self.width] * self.depth
            network = Network.random(sizes, phi, rng, weights)
            forward = network.forward(x, out=forward)
            found = network.backward_norms(forward, self._output_gradients(forward.outputs, trial, rng))
            norms[trial, 0], norms[trial, 1:] = forward.input_norms, forward.signal_norms.T
            backward[trial], totals[trial] = found.backward_norms.T, found.batch_gradient_norms
            del network  # before the next one is drawn
        return self._collect(norms, backward, totals)

    def _collect(self, norms: FloatArray, backward: FloatArray, totals: FloatArray) -> Sample:
        """The overflow of a signal makes its gradients unknown, as in the matrix-free sampler."""
        overflowed = ~np.isfinite(norms).all(axis=1, keepdims=True)
        backward[np.broadcast_to(overflowed, backward.shape)] = np.nan
        totals[~np.isfinite(norms).all(axis=(1, 2))] = np.nan
        if self.batch == 1:
            norms, backward = norms[..., 0], backward[..., 0]
        with quiet():
            gradients = backward * norms[:, :-1]
            logs = np.log(backward) + np.log(norms[:, :-1])
            lengths = norms * (norms / self.width)
        return Sample(lengths, norms[:, 1:], backward, gradients, logs, totals)

    def _thin_shell(self, rng: np.random.Generator) -> FloatArray:
        x = rng.standard_normal((self.batch, self.width))
        x *= (np.sqrt(self.width) / row_norms(x))[:, None]
        return x

    def _output_gradients(self, outputs: FloatArray, trial: int, rng: np.random.Generator) -> FloatArray:
        if not isinstance(self.readout, str):
            return self.readout
        if self.readout == "aligned":
            return outputs
        if self.readout == "random":
            e = rng.standard_normal(outputs.shape)
            return e / row_norms(e)[:, None]
        matrix = rng.standard_normal((self.classes, self.width)) / np.sqrt(self.width)
        return softmax_cross_entropy(outputs, self.labels[trial], matrix)[1]

    def _inputs(self, inputs: npt.ArrayLike) -> FloatArray:
        x = np.asarray(inputs, dtype=np.float64)
        entries = x.shape[-1] if x.ndim else 0
        wanted = [(self.batch, entries), (self.trials, self.batch, entries)]
        if self.batch == 1:
            wanted = [(entries,), (self.trials, entries)]
        if entries == 0 or x.shape not in wanted:
            head = "(m,) or (trials, m)" if self.batch == 1 else "(batch, m) or (trials, batch, m)"
            raise UsageError(
                f"inputs must have shape {head}, trials = {self.trials}, batch = {self.batch}, not {x.shape}"
            )
        if not np.isfinite(x).all():
            raise UsageError("inputs hold values that are not finite; drop or replace them first")
        if entries > self.width:
            raise UsageError(
                f"inputs have {entries} entries, more than the width {self.width}: the first matrix cannot "
                f"keep their length; use a width of at least {entries}, or fewer entries"
            )
        if self.batch == 1 and x.ndim == 2:
            return x[:, None, :]
        return np.broadcast_to(x, (self.trials, self.batch, entries))

    def _directions(self, readout: npt.ArrayLike) -> FloatArray:
        e = np.asarray(readout, dtype=np.float64)
        if e.shape not in ((self.width,), (self.batch, self.width)) or not np.isfinite(e).all():
            raise UsageError(f"a readout array must be finite with shape ({self.width},), not {e.shape}")
        if not np.abs(e).max(axis=-1).all():
            raise UsageError("a readout array must not be zero: every gradient would vanish")
        return np.broadcast_to(e, (self.batch, self.width))

    def _labels(self, labels: npt.ArrayLike | None, classes: int | None) -> tuple[int, npt.NDArray[np.int64]]:
        if not (isinstance(self.readout, str) and self.readout == "loss"):
            if labels is not None or classes is not None:
                raise UsageError("labels and classes belong to readout='loss'")
            return 0, np.empty(0, dtype=np.int64)
        if labels is None or classes is None:
            raise UsageError("readout='loss' needs labels, one for each trial, and the number of classes")
        classes = count("classes", classes, minimum=2)
        y = np.asarray(labels)
        if self.batch == 1:
            return classes, class_labels(y, self.trials, classes)[:, None]
        if y.shape == (self.batch,):
            return classes, np.tile(class_labels(y, self.batch, classes), (self.trials, 1))
        if y.shape != (self.trials, self.batch):
            raise UsageError(f"labels must have shape ({self.batch},) or ({self.trials}, {self.batch}), not {y.shape}")
        return classes, class_labels(y.ravel(), y.size, classes).reshape(y.shape)


def _generator(seed: int | np.random.Generator) -> np.random.Generator:
    """The fastest of NumPy's bit generators for a seed; a generator is used as it is."""
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.Generator(np.random.SFC64(count("seed", seed, minimum=0)))


def _activation(spec: Any) -> ElementwiseActivation:
    """Read a specification; an object that evaluates itself needs no symbolic library."""
    if hasattr(spec, "value_and_slope"):
        evaluated: ElementwiseActivation = spec
        return evaluated
    from theory.specification import activation  # loads SymPy

    return activation(spec)
