"""Exact sampling of a deep network's signals and gradients for a batch of inputs, without any weight matrix.

Let the rows of X (k x n) be the signals of k inputs before a layer with a Haar matrix W, and those of D (k x n) the
signals dE/dh that come back to it. X = C F with C lower triangular (k x r, r = min(k, n)) and F the first r rows of an
orthogonal Q_X^T. The matrix is used once forward, once backward:

    Forward: H = X W^T = C U with a uniform frame U, the first r rows of an orthogonal Q_U^T.
    Backward: D W = (D U^T) F + (M V) F_rest,   M = D U_rest^T,
        with V a Haar matrix of size n - r: the forward step again, for the triangular factor of M.

For i.i.d. N(0, s^2) entries H = s C G with G an r x n normal matrix, and, with A the triangular factor of D and G'
another normal matrix, D W = (s D G^T) F + (s A G') F_rest.

Both are exact in law, jointly over all layers and inputs, with batch normalization too, and cost O(n k^2) per layer.
No rank is needed: reflections give an orthogonal Q_X for dependent, equal and zero rows too. W must be asked for the
same directions twice, so that Q_X and U are kept from forward to backward: computed again from a nearly deficient X,
another Q_X would come out. Equal inputs are kept equal in every bit, or a chaotic network would tear them apart.

Source: theorem 3 of docs/matrix-free.md, with its references.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpn.engine.arguments import check_generator, count
from gpn.engine.batch_normalization import BatchNormalization, BatchStatistics
from gpn.engine.evaluation import ElementwiseActivation, check_activation
from gpn.engine.norms import FloatArray, quiet, row_norms
from gpn.engine.weights import standard_deviation
from gpn.sampling.ends import Ends, ends_of
from gpn.sampling.laws import check_ensemble
from gpn.sampling.reflections import Reflections, coordinates_alone, factorize
from gpn.sampling.sampler import Sample

BLOCK_NEURONS = 2**15
"""Neurons of one layer, over all trials and inputs, that are worked on together: 256 KiB per array."""

BLOCK_STORAGE = 2**24
"""Numbers of all layers kept from forward to backward: 128 MiB, or one trial if that needs more."""

_SMALL, _LARGE = 1e-280, 2.0**600  # shorter vectors are made longer before they are scaled to length one


def sample_batch(
    activation: ElementwiseActivation,
    width: int,
    depth: int,
    trials: int,
    batch: int,
    rng: np.random.Generator,
    *,
    weights: str = "haar",
    inputs: npt.ArrayLike | None = None,
    readout: str | npt.ArrayLike = "random",
    labels: npt.ArrayLike | None = None,
    classes: int | None = None,
    grams: bool = False,
    batch_normalization: bool = False,
) -> Sample:
    r"""Draw forward and backward norms of independent random networks with k inputs each, exactly in law.

    The formulas and their sources are those of the module. The norm of the gradient of the whole batch,
        |D^T X|_F^2 = sum_ij <d_i, d_j> <x_i, x_j>,
    is computed as |D^T C|_F, where nothing cancels that does not cancel in the gradient itself, in logarithms: a norm
    beyond float64 is inf or 0, its logarithm right.

    Args:
        activation: any object with `value_and_slope(x) -> (value, slope)`, two fresh float64 arrays.
        width, depth, trials, rng, weights: as for `gpn.sampling.sampler.sample`.
        batch: k, the inputs of each network; k > n is allowed, but then the matrices are no larger than the signals.
        inputs, readout, labels, classes, grams: as for `gpn.simulate`. Inputs of any rank, repeated and zero ones too.
            For the readout "random" the directions of the inputs are independent, for "loss" they share one W_out.
        batch_normalization: standardize h_l over the batch before phi, in every layer
            (`gpn.engine.batch_normalization`, gain 1 and shift 0); then d_l is dE/dh_l before it.

    Returns:
        `gpn.sampling.sampler.Sample`; for k > 1 its arrays for single inputs have a last axis of length k.

    Raises:
        UsageError: an argument outside of what is described here.

    >>> class Tanh:
    ...     def value_and_slope(self, x):
    ...         t = np.tanh(x)
    ...         return t, 1.0 - t * t
    >>> result = sample_batch(Tanh(), 64, 3, 20, 5, np.random.default_rng(0), grams=True)
    >>> result.gradient_norms.shape, result.batch_gradient_norms.shape, result.grams.shape
    ((20, 3, 5), (20, 3), (20, 4, 5, 5))
    """
    width, depth = count("width", width), count("depth", depth)
    trials, batch = count("trials", trials), count("batch", batch)
    check_generator(rng)
    check_activation(activation)
    ends = ends_of(width, trials, batch, inputs, readout, labels, classes)
    check_ensemble(weights)
    haar, columns = weights == "haar", [ends.input_width] + [width] * (depth - 1)
    laws = [_Haar() if haar else _Gaussian(standard_deviation(weights, width, entries)) for entries in columns]
    normalization = BatchNormalization.of_width(width) if batch_normalization else None
    network = _BatchNetworkLaw(activation, laws, ends, normalization)
    records = _BatchNorms.empty(trials, depth, batch, grams, batch_normalization)
    rows = block_trials(width, depth, batch)
    with quiet():
        for start in range(0, trials, rows):
            members = range(start, min(start + rows, trials))
            block = records.block(members)
            # in one expression, so that no layer of this block outlives it
            _backward(network, members, *_forward(network, members, block, rng), block, rng)
        return records.collect(width)


def block_trials(width: int, depth: int, batch: int) -> int:
    """Give the number of trials that are worked on together, a function of the sizes only.

    >>> block_trials(1024, 50, 8), block_trials(8, 3, 2)
    (4, 2048)
    """
    kept = 3 * batch * (width + batch)  # of each layer, from forward to backward
    return max(1, min(BLOCK_NEURONS // (batch * width), BLOCK_STORAGE // (kept * depth)))


class _Haar:
    """How a Haar matrix acts on a frame, and its transpose on other vectors, without the matrix."""

    def forward(
        self, coordinates: FloatArray, width: int, rng: np.random.Generator, /
    ) -> tuple[FloatArray, tuple[Reflections, FloatArray]]:
        """Return H = C U (trials, k, width) for the coordinates C, and what `backward` must know of U."""
        trials, _, size = coordinates.shape
        triangle, turn = factorize(rng.standard_normal((trials, size, width)))
        signs = np.where(np.diagonal(triangle, axis1=-2, axis2=-1) < 0.0, -1.0, 1.0)[:, None, :]
        return turn.embed(coordinates * signs), (turn, signs)

    def backward(
        self, image: tuple[Reflections, FloatArray], d: FloatArray, width: int, rng: np.random.Generator, /
    ) -> FloatArray:
        """Return the coordinates of the rows of D W in the rows of Q_X^T, (trials, k, width)."""
        turn, signs = image
        size = signs.shape[-1]
        turned = turn.turn_back(d)
        turned[..., :size] *= signs
        if size < width:
            rest = coordinates_alone(turned[..., size:])
            turned[..., size:], _ = self.forward(rest, width - size, rng)
        return turned


@dataclass(frozen=True, slots=True)
class _Gaussian:
    """The same for independent entries N(0, deviation^2)."""

    deviation: float

    def forward(
        self, coordinates: FloatArray, width: int, rng: np.random.Generator, /
    ) -> tuple[FloatArray, FloatArray]:
        trials, _, size = coordinates.shape
        image = rng.standard_normal((trials, size, width))
        image *= self.deviation
        return coordinates @ image, image

    def backward(self, image: FloatArray, d: FloatArray, width: int, rng: np.random.Generator, /) -> FloatArray:
        seen = d @ image.swapaxes(-1, -2)
        if seen.shape[-1] == width:
            return seen
        rest, _ = self.forward(coordinates_alone(d), width - seen.shape[-1], rng)
        return np.concatenate([seen, rest], axis=-1)


@dataclass(frozen=True, slots=True)
class _BatchNetworkLaw:
    activation: ElementwiseActivation
    laws: list[_Haar | _Gaussian]
    ends: Ends
    normalization: BatchNormalization | None

    def normalize(self, h: FloatArray) -> list[BatchStatistics]:
        """Normalize each trial of (trials, k, n) over its batch, in place; what `normalize_back` must know."""
        return [] if self.normalization is None else [self.normalization.normalize(trial)[1] for trial in h]

    def normalize_back(self, d: FloatArray, log_scale: FloatArray, statistics: list[BatchStatistics]) -> FloatArray:
        """Take directions d (trials, k, n) of lengths exp(log_scale) back through the normalization, in place.

        It mixes the inputs of a batch, which therefore get a common scale first; the logarithm of that is returned.
        """
        if self.normalization is None:
            return log_scale
        largest = log_scale.max(axis=1, keepdims=True)
        largest = np.where(np.isfinite(largest), largest, 0.0)
        d *= np.exp(log_scale - largest)[..., None]
        for trial, kept in zip(d, statistics, strict=True):
            self.normalization.backward(trial, kept)
        return np.broadcast_to(largest, log_scale.shape)


@dataclass(frozen=True, slots=True)
class _ForwardLayer:
    """What the backward pass needs of layer l.

    Attributes:
        coordinates, frame: the factors of the directions of x_{l-1}.
        image: what the law of W_l keeps of the image of the frame.
        slope: phi'(h_l).
        statistics: the statistics of batch normalization, one for each trial; empty without.
    """

    coordinates: FloatArray
    frame: Reflections
    image: Any
    slope: FloatArray
    statistics: list[BatchStatistics]


@dataclass(frozen=True, slots=True)
class _BatchNorms:
    """Results of all trials, or views of those of a block: norms of signals, logarithms of backward norms.

    With `coupled` inputs (batch normalization) one that is lost takes the others of its batch with it.
    """

    norms: FloatArray
    log_backward: FloatArray
    log_batch: FloatArray
    grams: FloatArray | None
    coupled: bool

    @classmethod
    def empty(cls, trials: int, depth: int, batch: int, grams: bool, coupled: bool) -> "_BatchNorms":
        kept = np.empty((trials, depth + 1, batch, batch)) if grams else None
        backward = np.empty((trials, depth, batch))
        return cls(np.empty((trials, depth + 1, batch)), backward, np.empty((trials, depth)), kept, coupled)

    def block(self, members: range) -> "_BatchNorms":
        part = slice(members.start, members.stop)
        grams = None if self.grams is None else self.grams[part]
        return _BatchNorms(self.norms[part], self.log_backward[part], self.log_batch[part], grams, self.coupled)

    def record_signals(self, layer: int, x: FloatArray, width: int) -> None:
        """Record |x_l|; a signal that overflowed is nan from the next layer on, and zero for the other inputs' sake."""
        norms = _norms(x)
        if layer > 0:
            norms[self._lost(layer - 1)] = np.nan
        self.norms[:, layer] = norms
        lost = ~np.isfinite(norms)
        x[lost] = 0.0
        if self.grams is not None:
            gram = x @ x.swapaxes(-1, -2) / width
            gram[lost[:, :, None] | lost[:, None, :]] = np.nan
            self.grams[:, layer] = gram

    def mark_lost_gradients(self) -> None:
        """The overflow of a signal makes its gradients unknown, and those of the batch."""
        lost = self._lost(-1)
        self.log_backward[np.broadcast_to(lost[:, None, :], self.log_backward.shape)] = np.nan
        self.log_batch[lost.any(axis=1)] = np.nan

    def _lost(self, layer: int) -> npt.NDArray[np.bool_]:
        """Whose signal overflowed up to a layer, array (trials, k)."""
        lost: npt.NDArray[np.bool_] = ~np.isfinite(self.norms[:, layer])
        return np.broadcast_to(lost.any(axis=1, keepdims=True), lost.shape) if self.coupled else lost

    def collect(self, width: int) -> Sample:
        norms, log_backward = self.norms, self.log_backward
        if norms.shape[-1] == 1:
            norms, log_backward = norms[..., 0], log_backward[..., 0]
        return Sample.of_norms(width, norms, log_backward, self.log_batch, self.grams)


def _forward(
    network: _BatchNetworkLaw, members: range, block: _BatchNorms, rng: np.random.Generator
) -> tuple[list[_ForwardLayer], FloatArray]:
    """Draw h_1, ..., h_L for a block of trials; give what the backward pass needs, and x_L."""
    ends, layers = network.ends, []
    x = np.array([ends.signals(trial, rng) for trial in members])
    firsts = None if ends.inputs is None else _first_equal(x)
    block.record_signals(0, x, ends.width)
    for index, law in enumerate(network.laws):
        norms = _normalize(x)  # factors of directions neither over- nor underflow
        coordinates, frame = factorize(x)
        h, image = law.forward(coordinates * norms[..., None], ends.width, rng)
        statistics = network.normalize(h)
        x, slope = (part.reshape(h.shape) for part in network.activation.value_and_slope(h.reshape(-1, ends.width)))
        if firsts is not None:
            x, slope = (np.take_along_axis(part, firsts, axis=1) for part in (x, slope))
        layers.append(_ForwardLayer(coordinates, frame, image, slope, statistics))
        block.record_signals(index + 1, x, ends.width)
    return layers, x


def _backward(
    network: _BatchNetworkLaw,
    members: range,
    layers: list[_ForwardLayer],
    outputs: FloatArray,
    block: _BatchNorms,
    rng: np.random.Generator,
) -> None:
    """Draw log |d_L|, ..., log |d_1|; only directions are carried down, their scales as logarithms."""
    ends = network.ends
    e = np.array([ends.gradients(x, trial, rng) for x, trial in zip(outputs, members, strict=True)])
    log_scale = np.log(_normalize(e))
    for index in range(len(layers) - 1, -1, -1):
        layer = layers.pop()  # its memory is free from here on
        d = np.multiply(layer.slope, e, out=e)
        log_scale = network.normalize_back(d, log_scale, layer.statistics)
        log_scale = log_scale + np.log(_normalize(d))
        block.log_backward[:, index] = log_scale
        log_gradients = log_scale + np.log(block.norms[:, index])
        block.log_batch[:, index] = _log_sum_norm(log_gradients, d, layer.coordinates)
        if index > 0:
            e = layer.frame.turn(network.laws[index].backward(layer.image, d, ends.width, rng))
    block.mark_lost_gradients()


def _normalize(rows: FloatArray) -> FloatArray:
    """Scale the rows (trials, k, n) to length one, in place, and give their norms (trials, k).

    A zero row stays zero; a row that is not finite becomes zero, for the sake of the others.
    """
    norms = _norms(rows)
    lost = ~np.isfinite(norms)
    rows[lost] = 0.0
    sizes = np.where(lost | (norms == 0.0), 1.0, norms)
    small = sizes < _SMALL  # its reciprocal would overflow
    rows[small] *= _LARGE
    sizes[small] *= _LARGE
    rows /= sizes[..., None]
    return norms


def _log_sum_norm(logs: FloatArray, d: FloatArray, coordinates: FloatArray) -> FloatArray:
    """log |sum_i exp(s_i) d_i c_i^T|_F, arrays s (trials, k), d (trials, k, n) and c (trials, k, r)."""
    largest = logs.max(axis=1)
    shares = np.exp(logs - largest[:, None])
    matrix = d.swapaxes(-1, -2) @ (coordinates * shares[..., None])
    log_norm: FloatArray = largest + np.log(row_norms(matrix.reshape(len(d), -1)))
    return np.where(np.isfinite(largest), log_norm, largest)


def _norms(rows: FloatArray) -> FloatArray:
    return row_norms(rows.reshape(-1, rows.shape[-1])).reshape(rows.shape[:-1])


def _first_equal(x: FloatArray) -> npt.NDArray[np.intp] | None:
    """For each input the index of the first one equal to it, (trials, k, 1); None if no two are equal."""
    firsts = np.empty((*x.shape[:2], 1), dtype=np.intp)
    for indices, rows in zip(firsts, x, strict=True):
        _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        indices[:, 0] = first[inverse.ravel()]
    return firsts if (firsts[..., 0] != np.arange(x.shape[1])).any() else None
