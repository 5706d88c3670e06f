"""Exact sampling of a deep network's signals and gradients, one input, without any weight matrix.

In a network with independent Haar-orthogonal weights each matrix W_l acts twice on one input: forward on
x_{l-1}, backward (transposed) on d_l. Both results can be drawn directly.

    Forward: h_l = W_l x_{l-1} is uniform on the sphere of radius |x_{l-1}|, so
        h_l = |x_{l-1}| g / |g|,   g ~ N(0, I_n).
    Backward: given x_{l-1}, h_l and a d_l that depends on W_l through h_l alone,
        W_l^T d_l = alpha x_{l-1} + v,   alpha = <d_l, h_l> / |h_l|^2,
    with v uniform on the sphere of radius sqrt(|d_l|^2 - alpha^2 |h_l|^2) in the orthogonal complement of
    x_{l-1}, because W_l restricted to that complement is Haar onto the complement of h_l.

For i.i.d. N(0, s^2) entries instead: h_l = s |x_{l-1}| g, and, with P the projection on x_{l-1},
        W_l^T d_l = <d_l, h_l> / |x_{l-1}|^2 x_{l-1} + s |d_l| (I - P) g'.

Both are exact in law, jointly over all layers, and cost O(n) per layer. A zero vector x_{l-1} (a layer that
died) tells nothing about W_l: then h_l = 0 and the term along x_{l-1} is absent.

Sources: both condition a random matrix on what it has done. M. Bayati, A. Montanari, The dynamics of message
passing on dense graphs, IEEE Trans. Inf. Theory 57 (2011), for Gaussian matrices; S. Rangan, P. Schniter,
A. Fletcher, Vector approximate message passing, IEEE Trans. Inf. Theory 65 (2019), for orthogonal ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gpn.engine import (
    ElementwiseActivation,
    FloatArray,
    check_activation,
    class_labels,
    cross_entropy_of_logits,
    quiet,
    row_norms,
)
from gpn.weights import count, standard_deviation
from theory.errors import UsageError

BLOCK_NEURONS = 2**15
"""Neurons of one layer that are worked on together: 256 KiB per array, a handful of which fit a L2 cache."""

BLOCK_STORAGE = 2**24
"""Neurons of all layers kept from forward to backward: 128 MiB, or one trial if that needs more."""

ENSEMBLES = ("haar", "gaussian", "he", "glorot")
"""The weights whose law is known without the matrix."""

_ZERO = 1e-280  # a vector shorter than this has underflowed and has no direction any more
_LEAST_SHARE = 1e-25  # far below one rounding of the other component; keeps its reciprocal finite


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Sample:
    """Norms of many independent networks; E is the loss, L the depth, n the width.

    A trial whose signal overflows float64 has inf or nan in `signal_norms` at that layer and nan in
    every gradient, which then cannot be known. A gradient alone beyond float64 is inf; matrix-free, its logarithm
    right. With a batch of k > 1 inputs (`gpn.batch_sampler`, or dense) every array beside those of the batch has a
    last axis of length k.

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

    @property
    def correlations(self) -> FloatArray:
        r"""The cosines between the signals of each pair of inputs, array (trials, L + 1, k, k).

            rho_l^{ij} = <x_l^i, x_l^j> / (|x_l^i| |x_l^j|);
        nan where a signal is zero or overflowed. In wide networks of a GPN activation rho_l = C(rho_{l-1}), with C of
        `theory.hermite.HermiteSpectrum.correlation`.

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
        finite: npt.NDArray[np.bool_] = np.isfinite(self.signal_norms)
        return np.array([not trial.all() for trial in finite])

    def __repr__(self) -> str:
        trials, depth = self.batch_gradient_norms.shape
        return f"Sample(trials={trials}, depth={depth}, overflowed={int(self.overflowed.sum())})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class OneStep:
    """One layer in many independent trials.

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
        return f"OneStep(trials={len(self.forward)})"


def block_trials(width: int, depth: int) -> int:
    """Give the number of trials that are worked on together.

    A function of the width and the depth only, never of the memory or the cores of the machine: with the same
    NumPy on the same kind of processor a generator gives the same bits (NumPy's tanh may differ in the last bit
    between processors).

    >>> block_trials(1024, 50), block_trials(10**6, 200)
    (32, 1)
    """
    return max(1, min(BLOCK_NEURONS // width, BLOCK_STORAGE // (width * depth)))


def sample(
    activation: ElementwiseActivation,
    width: int,
    depth: int,
    trials: int,
    rng: np.random.Generator,
    *,
    weights: str = "haar",
    inputs: npt.ArrayLike | None = None,
    readout: str | npt.ArrayLike = "random",
    labels: npt.ArrayLike | None = None,
    classes: int | None = None,
) -> Sample:
    """Draw forward and backward norms of independent random networks with one input each, exactly in law.

    The formulas and their sources are those of the module. Only the length of the input matters, not its
    direction: h_1 = W_1 x_0 is uniform on a sphere (or isotropic Gaussian) whatever the direction of x_0, and
    W_1^T, which would see it, is not needed for dE/dW_1 = d_1 x_0^T.

    Args:
        activation: any object with `value_and_slope(x) -> (value, slope)`, two fresh float64 arrays; if it
            has `value(x)` too, the forward pass calls that.
        width: n, neurons in each layer.
        depth: L, layers.
        trials: independent networks.
        rng: where the randomness comes from.
        weights: "haar", or i.i.d. "gaussian" (variance 1/n_in), "he" (2/n_in), "glorot" (2/(n_in + n_out)).
        inputs: None for x_0 on the thin shell, |x_0|^2 = n; or x_0 itself, (m,) for all trials or
            (trials, m), with m <= n; it is used as given, and W_1 is n x m (orthonormal columns for "haar").
        readout: e_L = dE/dx_L. "random": a Haar-random unit vector, independent of everything. "aligned":
            e_L = x_L. "loss": the gradient of the softmax cross-entropy of the logits W_out x_L, the matrix
            W_out (classes, n) with entries N(0, 1/n) drawn anew in each trial. Or an array (n,): e_L itself.
        labels: for "loss": the class of each trial, whole numbers, (trials,).
        classes: for "loss": the number of classes.

    Raises:
        UsageError: an argument outside of what is described here.

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
    check_activation(activation)
    input_norms, input_width = _input_norms(inputs, width, trials)
    network = _Network(
        activation,
        _value_function(activation),
        _law(weights, width, input_width),
        _law(weights, width, width),
        _readout(readout, width, trials, labels, classes),
    )
    rows = min(block_trials(width, depth), trials)
    _keep_freed_memory(rows * width)
    preactivations, normals = np.empty((depth, rows, width)), np.empty((rows, width))
    norms = np.empty((depth + 1, trials))
    log_backward = np.empty((depth, trials))
    norms[0] = input_norms
    with quiet():
        for start in range(0, trials, rows):
            block = slice(start, min(start + rows, trials))
            size = block.stop - block.start
            kept = [layer[:size] for layer in preactivations]
            _forward(network, kept, norms[:, block], rng)
            _backward(network, kept, norms[:, block], log_backward[:, block], normals[:size], block, rng)
        return _collect(norms, log_backward, width)


def one_step(
    activation: ElementwiseActivation,
    width: int,
    trials: int,
    rng: np.random.Generator,
    *,
    weights: str = "haar",
    q: float = 1.0,
) -> OneStep:
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
    law = _law(weights, width, width)
    rows = min(block_trials(width, 1), trials)
    _keep_freed_memory(rows * width)
    normals = np.empty((rows, width))
    forward, fixed, random = np.empty(trials), np.empty(trials), np.empty(trials)
    radius = np.full(rows, np.sqrt(width * q))
    with quiet():
        for start in range(0, trials, rows):
            block = slice(start, min(start + rows, trials))
            g = normals[: block.stop - block.start]
            rng.standard_normal(out=g)
            g *= law.stretch(radius[: len(g)], g)[:, None]
            value, slope = activation.value_and_slope(g)
            forward[block] = _dot(value, value) / width
            fixed[block] = _dot(slope, slope) / width
            rng.standard_normal(out=g)
            slope *= g
            random[block] = _dot(slope, slope) / _dot(g, g)
    return OneStep(forward, random, fixed)


def check_generator(rng: np.random.Generator) -> None:
    """Check that the source of randomness is a NumPy generator.

    Raises:
        UsageError: anything else, a seed for instance.
    """
    if not isinstance(rng, np.random.Generator):
        raise UsageError(f"rng must be a numpy.random.Generator, not {rng!r}; try numpy.random.default_rng(seed)")


class _Law(Protocol):
    """How one random matrix acts on a vector, and its transpose on another, without the matrix."""

    def stretch(self, radius: FloatArray, normals: FloatArray, /) -> FloatArray:
        """The factors, one for each row, by which standard normals become W x for |x| = radius."""

    def share(self, along: FloatArray, normals: FloatArray, overlap: FloatArray, /) -> FloatArray:
        """The factor c > 0 in W^T d = |d| (along xhat + c (I - P) g) for normals g, <g, xhat> = overlap."""


class _Haar:
    def stretch(self, radius: FloatArray, normals: FloatArray, /) -> FloatArray:
        scale: FloatArray = radius / np.sqrt(_dot(normals, normals))
        return scale

    def share(self, along: FloatArray, normals: FloatArray, overlap: FloatArray, /) -> FloatArray:
        across = 1.0 - along * along  # the share of |d|^2 that is orthogonal to x
        if normals.shape[1] == 1:  # nothing is orthogonal to x, and rounding must not invent it
            across[overlap != 0.0] = 0.0
        squares = _dot(normals, normals)
        # |(I - P) g|^2; the floor acts with probability 2e-8 at n = 2, 5e-16 at n = 3
        rest = np.maximum(squares - overlap * overlap, 1e-15 * squares)
        share: FloatArray = np.sqrt(np.maximum(across / rest, _LEAST_SHARE**2))
        return share


@dataclass(frozen=True, slots=True)
class _Gaussian:
    deviation: float

    def stretch(self, radius: FloatArray, _normals: FloatArray, /) -> FloatArray:
        return self.deviation * radius

    def share(self, along: FloatArray, _normals: FloatArray, _overlap: FloatArray, /) -> FloatArray:
        return np.full(len(along), self.deviation)


@dataclass(frozen=True, slots=True)
class _Top:
    """The top of a block of networks, from which a readout makes e_L.

    Attributes:
        outputs, radius, inverse: x_L (may be overwritten), |x_L| and its reciprocal.
        normals: a buffer of the shape of x_L.
        block: which trials these are.
    """

    outputs: FloatArray
    radius: FloatArray
    inverse: FloatArray
    normals: FloatArray
    block: slice
    rng: np.random.Generator


_Readout = Callable[[_Top], tuple[FloatArray, FloatArray]]
"""Gives a vector in the direction of e_L for each row, and the logarithm of |e_L| over its length."""


def _random_readout(top: _Top) -> tuple[FloatArray, FloatArray]:
    top.rng.standard_normal(out=top.normals)
    return top.normals, -0.5 * np.log(_dot(top.normals, top.normals))


def _aligned_readout(top: _Top) -> tuple[FloatArray, FloatArray]:
    top.outputs[:] *= top.inverse[:, None]
    return top.outputs, np.log(top.radius)


@dataclass(frozen=True, slots=True)
class _FixedReadout:
    direction: FloatArray
    log_norm: float

    def __call__(self, top: _Top) -> tuple[FloatArray, FloatArray]:
        return np.broadcast_to(self.direction, top.outputs.shape), np.full(len(top.outputs), self.log_norm)


@dataclass(frozen=True, slots=True)
class _LossReadout:
    """Softmax cross-entropy of Gaussian logits: W_out acts forward and backward like any other layer."""

    labels: npt.NDArray[np.int64]
    classes: int
    law: _Gaussian

    def __call__(self, top: _Top) -> tuple[FloatArray, FloatArray]:
        logits = top.rng.standard_normal((len(top.outputs), self.classes))
        logits *= self.law.stretch(top.radius, logits)[:, None]
        _, residuals = cross_entropy_of_logits(logits, self.labels[top.block])
        size = row_norms(residuals)
        along = _dot(residuals, logits) * _reciprocals(size) * top.inverse
        log_share = _transpose(self.law, along, top.outputs, top.inverse, top.normals, top.rng)
        return top.normals, np.log(size) + log_share


@dataclass(frozen=True, slots=True)
class _Network:
    activation: ElementwiseActivation
    value: Callable[[FloatArray], FloatArray]
    first_law: _Law
    law: _Law
    readout: _Readout


def _forward(network: _Network, kept: list[FloatArray], norms: FloatArray, rng: np.random.Generator) -> None:
    """Draw h_1, ..., h_L into `kept` and |x_1|, ..., |x_L| into norms[1:], from norms[0] = |x_0|."""
    for layer, h in enumerate(kept):
        law = network.law if layer else network.first_law
        rng.standard_normal(out=h)
        h *= law.stretch(norms[layer], h)[:, None]
        norms[layer + 1] = row_norms(network.value(h))


def _backward(
    network: _Network,
    kept: list[FloatArray],
    norms: FloatArray,
    log_backward: FloatArray,
    normals: FloatArray,
    block: slice,
    rng: np.random.Generator,
) -> None:
    """Draw log |d_L|, ..., log |d_1|; only directions are carried down, their scale as a logarithm.

    The value x_{l-1} is computed again from h_{l-1}, with the slope: no dearer than to keep three arrays.
    """
    inverses = _reciprocals(norms)
    x, slope = network.activation.value_and_slope(kept[-1])
    e, log_scale = network.readout(_Top(x, norms[-1], inverses[-1], normals, block, rng))
    for layer in range(len(kept) - 1, -1, -1):
        d = np.multiply(slope, e, out=slope)
        size = row_norms(d)
        log_scale = log_scale + np.log(size)
        log_backward[layer] = log_scale
        if layer == 0:
            break
        along = _dot(d, kept[layer]) * _reciprocals(size) * inverses[layer]
        x, slope = network.activation.value_and_slope(kept[layer - 1])
        log_scale = log_scale + _transpose(network.law, along, x, inverses[layer], normals, rng)
        e = normals
    log_backward[:, ~np.isfinite(norms).all(axis=0)] = np.nan


def _transpose(
    law: _Law,
    along: FloatArray,
    x: FloatArray,
    inverse: FloatArray,
    normals: FloatArray,
    rng: np.random.Generator,
) -> FloatArray:
    """Draw W^T d / (|d| c) into `normals` and return log c; `x` is overwritten.

    With along = <d, W x> / (|d| |x|) and c of the law, W^T d / (|d| c) = g + (along / c - <g, xhat>) xhat:
    the projection, the rescaling and the component along x in one pass. `inverse` is 1 / |x|.
    """
    rng.standard_normal(out=normals)
    overlap = _dot(normals, x) * inverse
    share = law.share(along, normals, overlap)
    x *= ((along / share - overlap) * inverse)[:, None]
    normals += x
    return np.log(share)


def _collect(norms: FloatArray, log_backward: FloatArray, width: int) -> Sample:
    log_gradients = np.ascontiguousarray((log_backward + np.log(norms[:-1])).T)
    gradients = np.exp(log_gradients)
    return Sample(
        squared_lengths=np.ascontiguousarray((norms * (norms / width)).T),
        signal_norms=np.ascontiguousarray(norms[1:].T),
        backward_norms=np.ascontiguousarray(np.exp(log_backward).T),
        gradient_norms=gradients,
        log_gradient_norms=log_gradients,
        batch_gradient_norms=gradients,
        log_batch_gradient_norms=log_gradients,
    )


def _dot(left: FloatArray, right: FloatArray) -> FloatArray:
    """Row-wise inner products, with bits that do not depend on the number of BLAS threads."""
    products: FloatArray = np.einsum("ij,ij->i", left, right)
    return products


def _reciprocals(norms: FloatArray) -> FloatArray:
    """1 / norm, but finite for a zero vector: its products with it are zero, as if nothing lay along it."""
    return 1.0 / np.maximum(norms, _ZERO)


def _keep_freed_memory(neurons: int) -> None:
    """Have the allocator keep freed arrays, by freeing a large one that was never touched.

    glibc gives freed memory above a threshold back to the system, and raises the threshold to the largest
    array freed so far (mallopt(3), M_MMAP_THRESHOLD). Otherwise every temporary array of an activation is
    fetched page by page again, which costs more than tanh itself.
    """
    np.empty(min(8 * neurons, 2**21))


def _value_function(activation: ElementwiseActivation) -> Callable[[FloatArray], FloatArray]:
    """phi alone for the forward pass, if the activation offers it."""
    value = getattr(activation, "value", None)
    return value if callable(value) else lambda x: activation.value_and_slope(x)[0]


def check_ensemble(weights: str) -> None:
    """Check that the law of a matrix is known without the matrix.

    Raises:
        UsageError: weights that are not in `ENSEMBLES`.
    """
    if weights not in ENSEMBLES:
        raise UsageError(
            f"matrix-free sampling knows the weights {', '.join(ENSEMBLES)}, not {weights!r}; for the other "
            "ensembles of gpn.weights use method='dense' of gpn.simulate"
        )


def _law(weights: str, rows: int, columns: int) -> _Law:
    check_ensemble(weights)
    return _Haar() if weights == "haar" else _Gaussian(standard_deviation(weights, rows, columns))


def _input_norms(inputs: npt.ArrayLike | None, width: int, trials: int) -> tuple[FloatArray | float, int]:
    """|x_0| for each trial, and the number of entries of x_0."""
    if inputs is None:
        return float(np.sqrt(width)), width
    x = np.asarray(inputs, dtype=np.float64)
    if x.ndim not in (1, 2) or x.size == 0 or (x.ndim == 2 and len(x) != trials):
        raise UsageError(f"inputs must have shape (m,) or ({trials}, m), one row for each trial, not {x.shape}")
    if not np.isfinite(x).all():
        raise UsageError("inputs hold values that are not finite; drop or replace them first")
    if x.shape[-1] > width:
        raise UsageError(
            f"inputs have {x.shape[-1]} entries, more than the width {width}: the first matrix cannot keep "
            f"their length; use a width of at least {x.shape[-1]}, or fewer entries"
        )
    return row_norms(np.atleast_2d(x)), x.shape[-1]


def _readout(
    readout: str | npt.ArrayLike, width: int, trials: int, labels: npt.ArrayLike | None, classes: int | None
) -> _Readout:
    if isinstance(readout, str) and readout == "loss":
        if labels is None or classes is None:
            raise UsageError("readout='loss' needs labels, one for each trial, and the number of classes")
        classes = count("classes", classes, minimum=2)
        checked = class_labels(labels, trials, classes)
        return _LossReadout(checked, classes, _Gaussian(float(1.0 / np.sqrt(width))))
    if labels is not None or classes is not None:
        raise UsageError(f"labels and classes belong to readout='loss', not to readout={readout!r}")
    if isinstance(readout, str):
        choices: dict[str, _Readout] = {"random": _random_readout, "aligned": _aligned_readout}
        if readout not in choices:
            raise UsageError(f"readout must be 'random', 'aligned', 'loss' or an array ({width},), not {readout!r}")
        return choices[readout]
    direction = np.asarray(readout, dtype=np.float64)
    if direction.shape != (width,) or not np.isfinite(direction).all():
        raise UsageError(f"a readout array must be finite with shape ({width},), not {direction.shape}")
    norm = float(row_norms(direction[None, :])[0])
    if norm == 0.0:
        raise UsageError("a readout array must not be zero: every gradient would vanish")
    return _FixedReadout(direction / norm, float(np.log(norm)))
