"""Where the gradient e_L = dE/dx_L of a block of networks comes from."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpn.engine.arguments import count
from gpn.engine.losses import class_labels, cross_entropy_of_logits
from gpn.engine.norms import FloatArray, row_dots, row_norms
from gpn.sampling.laws import Gaussian, reciprocals
from gpn.sampling.normals import fill_normals
from gpn.sampling.passes import Drawn, Readout, Source, Tile, Top, Transposed, tiles, total
from theory.errors import UsageError


def readout(
    choice: str | npt.ArrayLike, width: int, trials: int, labels: npt.ArrayLike | None, classes: int | None
) -> Readout:
    """Read the arguments `readout`, `labels` and `classes` of `gpn.sampling.sampler.sample`.

    Raises:
        UsageError: arguments outside of what is described there.
    """
    if isinstance(choice, str) and choice == "loss":
        if labels is None or classes is None:
            raise UsageError("readout='loss' needs labels, one for each trial, and the number of classes")
        classes = count("classes", classes, minimum=2)
        checked = class_labels(labels, trials, classes)
        return _Loss(checked, classes, Gaussian(float(1.0 / np.sqrt(width))))
    if labels is not None or classes is not None:
        raise UsageError(f"labels and classes belong to readout='loss', not to readout={choice!r}")
    if isinstance(choice, str):
        choices: dict[str, Readout] = {"random": _random, "aligned": _aligned}
        if choice not in choices:
            raise UsageError(f"readout must be 'random', 'aligned', 'loss' or an array ({width},), not {choice!r}")
        return choices[choice]
    direction = np.asarray(choice, dtype=np.float64)
    if direction.shape != (width,) or not np.isfinite(direction).all():
        raise UsageError(f"a readout array must be finite with shape ({width},), not {direction.shape}")
    norm = float(row_norms(direction[None, :])[0])
    if norm == 0.0:
        raise UsageError("a readout array must not be zero: every gradient would vanish")
    return _Fixed(direction / norm, float(np.log(norm)))


def _random(top: Top) -> tuple[Source, FloatArray]:
    return _Uniform(), np.zeros(len(top.radius))


def _aligned(top: Top) -> tuple[Source, FloatArray]:
    return _Outputs(top.inverse), np.log(top.radius)


@dataclass(frozen=True, slots=True)
class _Fixed:
    direction: FloatArray
    log_norm: float

    def __call__(self, top: Top) -> tuple[Source, FloatArray]:
        return _Given(self.direction), np.full(len(top.radius), self.log_norm)


@dataclass(frozen=True, slots=True)
class _Loss:
    """Softmax cross-entropy of Gaussian logits: W_out acts forward and backward like any other layer."""

    labels: npt.NDArray[np.int64]
    classes: int
    law: Gaussian

    def __call__(self, top: Top) -> tuple[Source, FloatArray]:
        logits = top.rng.standard_normal((len(top.radius), self.classes))
        logits *= self.law.stretch(top.radius, top.radius)[:, None]
        _, residuals = cross_entropy_of_logits(logits, self.labels[top.block])
        size = row_norms(residuals)
        along = row_dots(residuals, logits) * reciprocals(size) * top.inverse
        return Transposed(self.law, along, top.inverse), np.log(size)


class _Uniform:
    """A fresh unit vector."""

    def draw(self, layer: Iterator[Tile], rng: np.random.Generator, /) -> Drawn:
        drawn, squares = [], []
        for tile in layer:
            fill_normals(rng, tile.e)
            squares.append(row_dots(tile.e, tile.e))
            drawn.append(tile)
        return Drawn(drawn, 1.0 / np.sqrt(total(squares)))


@dataclass(frozen=True, slots=True)
class _Outputs:
    """x_L / |x_L|."""

    inverse: FloatArray

    def draw(self, layer: Iterator[Tile], _rng: np.random.Generator, /) -> Drawn:
        drawn = []
        for tile in layer:
            np.multiply(tile.x, self.inverse[:, None], out=tile.e)
            drawn.append(tile)
        return Drawn(drawn, np.ones(len(self.inverse)))


@dataclass(frozen=True, slots=True)
class _Given:
    """One vector for all trials."""

    direction: FloatArray

    def draw(self, layer: Iterator[Tile], _rng: np.random.Generator, /) -> Drawn:
        drawn = list(layer)
        for tile, part in zip(drawn, tiles(self.direction[None, :]), strict=True):
            tile.e[...] = part
        return Drawn(drawn, np.ones(len(drawn[0].e)))
