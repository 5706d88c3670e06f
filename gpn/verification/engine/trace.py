"""The vectors of some networks, as the engine drew them, beside the activation evaluated apart from the engine."""

from dataclasses import dataclass

import numpy as np

from gpn.engine.norms import FloatArray, quiet
from gpn.experiment.cells import Deep

_LEAST, _MOST = 1e-140, 1e140  # lengths whose squares lose nothing to under- or overflow
_FARTHEST = 600.0  # of the logarithm of a product of slopes over all layers below the top: e^-600 is a number


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Networks, layer by layer; the gradients are over |dE/dh| of the layer above, see `gpn.sampling.passes.Watch`.

    Attributes:
        h, e, d: preactivations, gradients with respect to x and to h, as the engine drew them, (trials, L, n).
        x, slope: phi(h) and phi'(h), evaluated here, (trials, L, n).
        lengths: |x_0|, ..., |x_L| that the engine reports, (trials, L + 1).
        log_gradients: log(|dE/dW_l|_F / sqrt(n)) that the engine reports, (trials, L).
        haar: whether the weights are orthogonal.
        known_top: whether |dE/dx_L| = 1.
    """

    h: FloatArray
    e: FloatArray
    d: FloatArray
    x: FloatArray
    slope: FloatArray
    lengths: FloatArray
    log_gradients: FloatArray
    haar: bool
    known_top: bool

    @property
    def usable(self) -> FloatArray:
        """1 for the layers of a network that is finite and neither dead nor nearly so, else nan, (trials, L)."""
        sizes = np.stack([lengths(array) for array in (self.h, self.x, self.slope)])
        with quiet():
            whole = ((sizes > _LEAST) & (sizes < _MOST)).all(axis=(0, 2))
            factors = np.log(sizes[2] / np.sqrt(self.h.shape[-1]))  # explicit networks multiply gradients by them
            whole &= np.abs(np.cumsum(factors[:, ::-1], axis=1)).max(axis=1) < _FARTHEST
        return np.broadcast_to(np.where(whole, 1.0, np.nan)[:, None], self.log_gradients.shape)


def lengths(vectors: FloatArray) -> FloatArray:
    """Euclidean lengths along the last axis."""
    with quiet():
        norms: FloatArray = np.linalg.norm(vectors, axis=-1)
    return norms


def dots(left: FloatArray, right: FloatArray) -> FloatArray:
    """Inner products along the last axis."""
    with quiet():
        products: FloatArray = np.einsum("...i,...i->...", left, right)
    return products


def trace(networks: Deep, rng: np.random.Generator, trials: int) -> Trace:
    """Draw networks as a verification draws them, and keep their vectors.

    Args:
        networks: what is drawn, and how.
        rng, trials: the randomness, and how many.
    """
    shape = (trials, networks.depth, networks.width)
    h, e, d = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)

    def keep(layer: int, block: slice, *vectors: FloatArray) -> None:
        for kept, vector in zip((h, e, d), vectors, strict=True):
            kept[block, layer] = vector

    sample = networks.sample(rng, trials, keep)
    with quiet():
        x, slope = networks.activation.value_and_slope(h)
        reported = np.sqrt(sample.squared_lengths * networks.width)
        log_gradients = networks.log_gradients(sample)
    known_top = networks.inputs is None or networks.inputs.labels is None
    return Trace(h, e, d, x, slope, reported, log_gradients, networks.weights == "haar", known_top)
