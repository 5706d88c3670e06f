"""Where the gradient e_L = dE/dx_L of a block of networks comes from."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

from gpn.engine.losses import cross_entropy_of_logits
from gpn.engine.norms import FloatArray, row_dots, row_norms
from gpn.sampling.batch_ends import Ends
from gpn.sampling.laws import Gaussian, reciprocals
from gpn.sampling.normals import fill_normals
from gpn.sampling.passes import Drawn, ReadoutLaw, Source, Tile, Top, Transposed, tiles, total


def readout_of(ends: Ends) -> ReadoutLaw:
    """Return how e_L arises from the outputs of networks with one input each.

    Args:
        ends: the checked readout, labels and classes.
    """
    if not isinstance(ends.readout, str):
        direction = ends.readout[0]
        norm = float(row_norms(direction[None, :])[0])
        return partial(_fixed, direction / norm, float(np.log(norm)))
    if ends.readout == "loss":
        return partial(_loss, ends.labels[:, 0], ends.classes, Gaussian(float(1.0 / np.sqrt(ends.width))))
    return _random if ends.readout == "random" else _aligned


def _random(top: Top) -> tuple[Source, FloatArray]:
    return _uniform, np.zeros(len(top.radius))


def _aligned(top: Top) -> tuple[Source, FloatArray]:
    return partial(_outputs, top.inverse), np.log(top.radius)


def _fixed(direction: FloatArray, log_norm: float, top: Top) -> tuple[Source, FloatArray]:
    return partial(_given, direction), np.full(len(top.radius), log_norm)


def _loss(labels: npt.NDArray[np.int64], classes: int, law: Gaussian, top: Top) -> tuple[Source, FloatArray]:
    """Softmax cross-entropy of Gaussian logits: W_out acts forward and backward like any other layer."""
    logits = top.rng.standard_normal((len(top.radius), classes))
    logits *= law.stretch(top.radius, top.radius)[:, None]
    _, residuals = cross_entropy_of_logits(logits, labels[top.block])
    size = row_norms(residuals)
    along = row_dots(residuals, logits) * reciprocals(size) * top.inverse
    return Transposed(law, along, top.inverse).draw, np.log(size)


def _uniform(layer: Iterator[Tile], rng: np.random.Generator) -> Drawn:
    """A fresh unit vector for each trial."""
    drawn, squares = [], []
    for tile in layer:
        fill_normals(rng, tile.e)
        squares.append(row_dots(tile.e, tile.e))
        drawn.append(tile)
    return Drawn(drawn, 1.0 / np.sqrt(total(squares)))


def _outputs(inverse: FloatArray, layer: Iterator[Tile], _rng: np.random.Generator) -> Drawn:
    """x_L / |x_L|."""
    drawn = list(layer)
    for tile in drawn:
        np.multiply(tile.x, inverse[:, None], out=tile.e)
    return Drawn(drawn, np.ones(len(inverse)))


def _given(direction: FloatArray, layer: Iterator[Tile], _rng: np.random.Generator) -> Drawn:
    """One vector for all trials."""
    drawn = list(layer)
    for tile, part in zip(drawn, tiles(direction[None, :]), strict=True):
        tile.e[...] = part
    return Drawn(drawn, np.ones(len(drawn[0].e)))
