"""Forward and backward pass of a block of networks with residual branches, one input each, without weight matrices.

    x_l = x_{l-1} + alpha phi(h_l),   d_l = alpha phi'(h_l) * e_l,   e_{l-1} = e_l + W_l^T d_l.

Each matrix acts twice, as without branches, so that the laws are those of `gpn.sampling.laws`. But a signal is no
longer a function of the layer below alone, and what passes by on the branch must be added to what went through the
matrix. So signals are kept beside the preactivations, and the backward pass carries vectors, their scale as a
logarithm.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from gpn.engine.norms import FloatArray, row_dots, row_norms_unguarded
from gpn.sampling import passes
from gpn.sampling.laws import Biased, reciprocals
from gpn.sampling.passes import Drawn, NetworkLaw, Tile, Top, Transposed, tiles

_OFTEN = 8  # layers after which gradients get unit length again: in between none leaves the range of float64


class Kept:
    """The memory of a block of trials: preactivations and signals of all layers, and the work on one.

    Args:
        widths: n_0, ..., n_L.
        rows: trials of a block, at most.
    """

    def __init__(self, widths: Sequence[int], rows: int) -> None:
        self.preactivations = [np.empty((rows, width)) for width in widths[1:]]
        self.signals = [np.empty((rows, width)) for width in widths]
        self._work = np.empty((4, rows * max(widths)))
        self._turn = 0

    def scratch(self, like: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Two arrays of the shape of another one, which are overwritten at the next call."""
        first, second, *_ = (each[: like.size].reshape(like.shape) for each in self._work)
        return first, second

    def gradient(self, like: FloatArray) -> FloatArray:
        """An array of the shape of another one, which is overwritten at the call after the next."""
        self._turn ^= 1
        return self._work[2 + self._turn, : like.size].reshape(like.shape)


def forward(network: NetworkLaw, kept: Kept, norms: FloatArray, rng: np.random.Generator) -> list[Biased | None]:
    """Draw the layers from below, as `gpn.sampling.passes.forward` does.

    Args:
        network: the law of the networks.
        kept: with x_0 in its signals.
        norms: |x_0|, ..., |x_L| are written to it, array (L + 1, trials).
        rng: the source of randomness.
    """
    trials, known = norms.shape[1], []
    norms[0] = row_norms_unguarded(kept.signals[0][:trials])
    for index, layer in enumerate(network.layers):
        h, below, value = (
            each[:trials] for each in (kept.preactivations[index], kept.signals[index], kept.signals[index + 1])
        )
        scale, biased = passes.draw_normals(layer, norms[index], h, rng)
        h *= scale
        layer.activation.value_into(h, value)
        if layer.branch is not None:
            value *= layer.branch
            value += below
        norms[index + 1] = row_norms_unguarded(value)
        known.append(biased)
    return known


def backward(
    network: NetworkLaw,
    kept: Kept,
    norms: FloatArray,
    known: Sequence[Biased | None],
    block: slice,
    rng: np.random.Generator,
) -> FloatArray:
    """Draw the gradients of the preactivations and give log |d_1|, ..., log |d_L|, array (L, trials).

    Args:
        network, kept, norms, known: after the forward pass.
        block: which trials these are.
        rng: as the forward pass left it.
    """
    trials, inverses, logs = norms.shape[1], reciprocals(norms), np.empty((len(network.layers), norms.shape[1]))
    source, log_scale = network.readout(Top(norms[-1], inverses[-1], block, rng))
    x = kept.signals[-1][:trials]
    e = _resolved(source(_tiles(x, kept.gradient(x)), rng), kept)
    for index in range(len(network.layers) - 1, -1, -1):
        layer, h, x = network.layers[index], kept.preactivations[index][:trials], kept.signals[index][:trials]
        value, d = kept.scratch(h)
        layer.activation.value_and_slope_into(h, value, d)
        d *= e
        size = row_norms_unguarded(d) * abs(1.0 if layer.branch is None else layer.branch)
        logs[index] = log_scale + np.log(size)
        if index == 0:
            break
        overlap = row_dots(d, h) * (1.0 if layer.branch is None else layer.branch)
        cosine = passes.along(layer, known[index], overlap, reciprocals(size), inverses[index], rng)
        through = Transposed(layer.matrix, cosine, inverses[index]).draw(_tiles(x, kept.gradient(x)), rng)
        below = _resolved(through._replace(scale=through.scale * size), kept)
        if layer.branch is not None:
            below += e
        e = below
        if index % _OFTEN == 0:
            length = row_norms_unguarded(e)
            e *= reciprocals(length)[:, None]
            log_scale = log_scale + np.log(length)
    logs[:, ~np.isfinite(norms).all(axis=0)] = np.nan
    return logs


def _tiles(x: FloatArray, e: FloatArray) -> Iterator[Tile]:
    """A layer with values x as the sources of gradients take it; they write to e and leave x as it is."""
    return (Tile(part, part, part, buffer) for part, buffer in zip(tiles(x), tiles(e), strict=True))


def _resolved(drawn: Drawn, kept: Kept) -> FloatArray:
    """The gradient with respect to the values of a layer, (trials, n), in the array of its tiles."""
    for tile in drawn.tiles:
        if drawn.along is not None:
            along, _ = kept.scratch(tile.x)
            tile.e += np.multiply(tile.x, drawn.along[:, None], out=along)
        tile.e *= drawn.scale[:, None]
    first, *others = (tile.e for tile in drawn.tiles)
    return first if not others else np.concatenate([first, *others], axis=1)
