"""Forward and backward pass of a block of independent networks, one input each, without weight matrices.

The laws are those of `gpn.sampling.laws`. A layer is worked on in tiles of columns, so that what is done with a tile
finds it in the cache: all columns of many trials, or a stretch of one trial of a wide network. Preactivations are kept
for the backward pass as far as memory allows; the others are drawn again from the state that the generator had, which
gives the same bits.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gpn.engine.evaluation import Evaluation
from gpn.engine.norms import FloatArray, row_dots, row_norms, row_norms_unguarded
from gpn.sampling.laws import Biased, Law, chi_square, reciprocals
from gpn.sampling.normals import fill_normals

TILE_NEURONS = 2**17
"""Columns of a wide network that are worked on together: 1 MiB per array."""


@dataclass(slots=True)
class Tile:
    """A stretch of the columns of one layer, all arrays (trials, columns).

    Attributes:
        h: preactivations.
        x, slope: phi(h) and phi'(h), overwritten in time.
        e: the gradient with respect to x, up to a factor of each trial and what `Drawn.along` adds; at first a buffer.
    """

    h: FloatArray
    x: FloatArray
    slope: FloatArray
    e: FloatArray


class Drawn(NamedTuple):
    """The gradient with respect to the values x of one layer: scale * (e + along * x) for the e of its tiles.

    Attributes:
        tiles: the layer.
        scale: a factor of each trial, (trials,).
        along: (trials,), or None for 0.
    """

    tiles: list[Tile]
    scale: FloatArray
    along: FloatArray | None = None

    def vectors(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """h, and once the slopes were applied the gradients with respect to x and to h, each (trials, n)."""
        h, e, d = (np.concatenate([getattr(tile, name) for tile in self.tiles], axis=1) for name in ("h", "e", "slope"))
        return h, e * self.scale[:, None], d * self.scale[:, None]


Watch = Callable[[int, slice, FloatArray, FloatArray, FloatArray], None]
"""Looks at a layer of the backward pass: its number from 0, which trials, h, dE/dx and dE/dh, each (trials, n).

The gradients are given over |dE/dh| of the layer above, in the top layer over the factor that the readout leaves out.
"""

Source = Callable[[Iterator[Tile], np.random.Generator], Drawn]
"""Draws the gradient of a layer's values: goes through the tiles once and fills their `e`."""


class Transposed(NamedTuple):
    """W^T d for the matrix W of the layer above, up to the factor |d|.

    Attributes:
        law: the law of W, with its gain.
        along: <d, W x> / (|d| |x|), (trials,).
        inverse: 1 / |x|, (trials,).
    """

    law: Law
    along: FloatArray
    inverse: FloatArray

    def draw(self, tiles: Iterator[Tile], rng: np.random.Generator) -> Drawn:
        drawn, overlaps, squares = [], [], []
        for tile in tiles:
            fill_normals(rng, tile.e)
            overlaps.append(row_dots(tile.e, tile.x))
            if self.law.needs_squares:
                squares.append(row_dots(tile.e, tile.e))
            drawn.append(tile)
        overlap = total(overlaps) * self.inverse
        every = with_hidden(total(squares), self.law.hidden[1], rng)
        coefficient, share = self.law.transposed(self.along, overlap, every)
        return Drawn(drawn, share, coefficient * self.inverse)


@dataclass(frozen=True, slots=True)
class Top:
    """The outputs of a block of networks, from which a readout makes the gradient with respect to them.

    Attributes:
        radius, inverse: |x_L| and its reciprocal, (trials,).
        block: which trials these are.
    """

    radius: FloatArray
    inverse: FloatArray
    block: slice
    rng: np.random.Generator


ReadoutLaw = Callable[[Top], tuple[Source, FloatArray]]
"""Gives the source of e_L and the logarithm of a factor of each trial that it leaves out."""


@dataclass(frozen=True, slots=True)
class LayerLaw:
    """The law of one layer.

    Attributes:
        activation: phi.
        matrix: the law of W, with its gain.
        bias: the standard deviation of the entries of b.
        branch: alpha of a residual branch, None without one.
    """

    activation: Evaluation
    matrix: Law
    bias: float = 0.0
    branch: float | None = None


@dataclass(frozen=True, slots=True)
class NetworkLaw:
    """The law of the networks that are simulated.

    Attributes:
        layers: those of the layers, from below.
        readout: how e_L arises.
    """

    layers: Sequence[LayerLaw]
    readout: ReadoutLaw


class StoredLayers:
    """The preactivations of one block of trials: the upper layers are kept, the lower ones are drawn again.

    This class is all that redrawing takes. It lets networks run whose layers do not fit into memory: width 10^6 and
    depth 200 in 50 MB in place of 1.6 GB. A layer that is not kept costs the state of the generator, and later its
    random numbers a second time. Beside them it holds the values, slopes and gradients of one layer, used for all
    layers in turn.

    Args:
        widths: n_1, ..., n_L.
        rows: trials of a block, at most.
        kept: how many layers are kept, at most L.
    """

    def __init__(self, widths: Sequence[int], rows: int, kept: int) -> None:
        self._missing = len(widths) - kept
        self._widths = widths
        self._kept = [np.empty((rows, width)) for width in widths[self._missing :]]
        self._spare = np.empty(rows * max(widths[: self._missing], default=0))
        self._work = np.empty((3, rows * max(widths)))
        self._states: list[Any] = []

    def array(self, layer: int, trials: int) -> FloatArray:
        """Return the array of h_{layer + 1}, (trials, n)."""
        if layer >= self._missing:
            return self._kept[layer - self._missing][:trials]
        width = self._widths[layer]
        return self._spare[: trials * width].reshape(trials, width)

    def save_state(self, layer: int, rng: np.random.Generator) -> None:
        """Save the state of the generator before a layer is drawn, unless the layer is kept."""
        if layer < self._missing:
            self._states.append(rng.bit_generator.state)

    def generator_for_redraw(self, layer: int, rng: np.random.Generator) -> np.random.Generator | None:
        """Return the generator that draws a layer again, None for a layer that is kept; call from the top down."""
        if layer >= self._missing:
            return None
        again = copy.deepcopy(rng)
        again.bit_generator.state = self._states.pop()
        return again

    def work(self, layer: int, trials: int) -> list[list[FloatArray]]:
        """Return the tiles of the arrays for values, slopes and gradients of a layer, which the next overwrites."""
        width = self._widths[layer]
        return [tiles(array[: trials * width].reshape(trials, width)) for array in self._work]


def forward(
    network: NetworkLaw, layers: StoredLayers, norms: FloatArray, rng: np.random.Generator
) -> list[Biased | None]:
    """Draw h_1, ..., h_L into `layers` and |x_1|, ..., |x_L| into norms[1:], from norms[0] = |x_0|.

    Returns:
        What the biases leave to be known of W_l x_{l-1}, None for a layer without one.
    """
    known = []
    for index, layer in enumerate(network.layers):
        h = layers.array(index, norms.shape[1])
        space, *_ = layers.work(index, norms.shape[1])
        layers.save_state(index, rng)
        scale, biased = draw_normals(layer, norms[index], h, rng)
        known.append(biased)
        parts = []
        for tile, out in zip(tiles(h), space, strict=True):
            tile *= scale
            layer.activation.value_into(tile, out)
            parts.append(row_norms_unguarded(out))
        norms[index + 1] = total_norm(parts)
    return known


def backward(
    network: NetworkLaw,
    layers: StoredLayers,
    norms: FloatArray,
    known: Sequence[Biased | None],
    block: slice,
    rng: np.random.Generator,
    watch: Watch | None = None,
) -> FloatArray:
    """Draw the gradients of the preactivations and give log |d_1|, ..., log |d_L|, array (L, trials).

    Only directions are carried down, their scale as a logarithm. The value x_l is computed again from h_l, with the
    slope: no dearer than to keep three arrays.

    Args:
        network, layers, norms, known: after the forward pass.
        block: which trials these are.
        rng: as the forward pass left it.
        watch: called with the vectors of every layer, from the top down; None for nothing.
    """
    depth, trials = len(norms) - 1, norms.shape[1]
    inverses = reciprocals(norms)
    sizes, scales = np.empty((depth, trials)), np.empty((depth, trials))
    source, log_scale = network.readout(Top(norms[-1], inverses[-1], block, rng))
    for index in range(depth - 1, -1, -1):
        layer, h = network.layers[index], layers.array(index, trials)
        again = layers.generator_for_redraw(index, rng)
        if again is not None:
            h *= draw_normals(layer, norms[index], h, again)[0]
        drawn = source(evaluated(layer.activation, h, layers.work(index, trials)), rng)
        sizes[index], overlap = _through_slopes(drawn)
        scales[index] = drawn.scale
        if watch is not None:
            watch(index, block, *drawn.vectors())
        cosine = along(layer, known[index], overlap, reciprocals(sizes[index]), inverses[index], rng)
        source = Transposed(layer.matrix, cosine, inverses[index]).draw
    logs: FloatArray = log_scale + np.cumsum((np.log(sizes) + np.log(scales))[::-1], axis=0)[::-1]
    logs[:, ~np.isfinite(norms).all(axis=0)] = np.nan
    return logs


def evaluated(activation: Evaluation, h: FloatArray, work: list[list[FloatArray]]) -> Iterator[Tile]:
    """Evaluate a layer with preactivations `h` tile by tile into work arrays; their `e` is yet to be filled."""
    for tile, x, slope, e in zip(tiles(h), *work, strict=True):
        activation.value_and_slope_into(tile, x, slope)
        yield Tile(tile, x, slope, e)


def draw_normals(
    layer: LayerLaw, radius: FloatArray, h: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, Biased | None]:
    """Fill `h` with standard normals.

    Returns:
        The factors (trials, 1) that make them W x + b for |x| = radius, and what a bias leaves to be known of W x.
    """
    squares = []
    for tile in tiles(h):
        fill_normals(rng, tile)
        if layer.matrix.needs_squares:
            squares.append(row_dots(tile, tile))
    visible = total(squares)
    every = with_hidden(visible, layer.matrix.hidden[0], rng)
    if not layer.bias:
        return layer.matrix.stretch(radius, every)[:, None], None
    scale, biased = layer.matrix.biased(layer.bias, radius, visible, every, rng)
    return scale[:, None], biased


def along(
    layer: LayerLaw,
    biased: Biased | None,
    overlap: FloatArray,
    inverse_d: FloatArray,
    inverse_x: FloatArray,
    rng: np.random.Generator,
) -> FloatArray:
    """<d, W x> / (|d| |x|) from overlap = <d, h>, exactly where there is no bias, else drawn given h and d.

    Args:
        layer, biased: the law of the layer, and what its bias leaves to be known.
        overlap, inverse_d, inverse_x: <d, h>, 1 / |d| and 1 / |x|, arrays (trials,).
    """
    if biased is None:
        return overlap * inverse_x * inverse_d
    share = overlap * inverse_d
    return biased.part * share + biased.rest * layer.matrix.unseen(share * biased.inverse, rng)


def with_hidden(squares: FloatArray, hidden: int, rng: np.random.Generator) -> FloatArray:
    """|g|^2 with that of so many more coordinates that nobody sees."""
    return squares + chi_square(rng, hidden, len(squares)) if hidden else squares


def tiles(rows: FloatArray) -> list[FloatArray]:
    """Views of stretches of columns; more than one only for a single row, so that each is contiguous.

    >>> [tile.shape for tile in tiles(np.empty((1, 200_000)))]
    [(1, 131072), (1, 68928)]
    """
    if rows.shape[1] <= TILE_NEURONS:
        return [rows]
    return [rows[:, start : start + TILE_NEURONS] for start in range(0, rows.shape[1], TILE_NEURONS)]


def total(parts: list[FloatArray]) -> FloatArray:
    """The sum over the tiles of a layer; 0 for none.

    >>> total([np.array([1.0, 2.0]), np.array([3.0, 4.0])])
    array([4., 6.])
    """
    return parts[0] if len(parts) == 1 else np.sum(parts, axis=0)


def total_norm(parts: list[FloatArray]) -> FloatArray:
    """The norms of rows from those of their tiles.

    >>> total_norm([np.array([3.0]), np.array([4.0])])
    array([5.])
    """
    return parts[0] if len(parts) == 1 else row_norms(np.column_stack(parts))


def _through_slopes(drawn: Drawn) -> tuple[FloatArray, FloatArray]:
    """|d| and <d, h> for d = phi'(h) * (e + along x); values, slopes and gradients are overwritten."""
    sizes, overlaps = [], []
    for tile in drawn.tiles:
        if drawn.along is not None:
            tile.x *= drawn.along[:, None]
            tile.e += tile.x
        tile.slope *= tile.e
        sizes.append(row_norms_unguarded(tile.slope))
        overlaps.append(row_dots(tile.slope, tile.h))
    return total_norm(sizes), total(overlaps)
