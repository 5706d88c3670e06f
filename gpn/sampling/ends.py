"""The two ends of simulated networks: what goes in at the bottom, and where the gradient at the top comes from."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from gpn.engine.arguments import count
from gpn.engine.losses import class_labels, cross_entropy_of_logits
from gpn.engine.norms import FloatArray, quiet, row_dots, row_norms
from gpn.sampling.laws import Gaussian, reciprocals
from gpn.sampling.normals import fill_normals
from gpn.sampling.passes import Drawn, ReadoutLaw, Source, Tile, Top, Transposed, tiles, total
from theory.errors import UsageError


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Ends:
    """Checked inputs and readouts of independent networks; `ends_of` makes them.

    Attributes:
        width: n, neurons in each layer.
        batch: k, inputs of each network.
        inputs: x_0, array (trials, k, m), or None for uniform directions on the thin shell |x_0|^2 = n.
        readout: "random", "aligned", "loss", or e_L, array (k, n).
        classes, labels: for "loss", how many classes there are, and the class of each input, (trials, k).
        top: n_L, neurons of the last layer; None for n.
    """

    width: int
    batch: int
    inputs: FloatArray | None
    readout: str | FloatArray
    classes: int
    labels: npt.NDArray[np.int64]
    top: int | None = None

    @property
    def output_width(self) -> int:
        """n_L."""
        return self.top or self.width

    @property
    def input_width(self) -> int:
        """m, the number of entries of an input."""
        return self.width if self.inputs is None else self.inputs.shape[-1]

    def signals(self, trial: int, rng: np.random.Generator) -> FloatArray:
        """Give x_0 of one trial, array (k, m)."""
        if self.inputs is not None:
            given: FloatArray = self.inputs[trial]
            return given
        x = rng.standard_normal((self.batch, self.width))
        x *= (np.sqrt(self.width) / row_norms(x))[:, None]
        return x

    def gradients(self, outputs: FloatArray, trial: int, rng: np.random.Generator) -> FloatArray:
        """Give e_L = dE/dx_L of one trial from x_L, both arrays (k, n)."""
        if not isinstance(self.readout, str):
            return self.readout
        if self.readout == "aligned":
            return outputs
        if self.readout == "random":
            e = rng.standard_normal(outputs.shape)
            return e / row_norms(e)[:, None]
        matrix = rng.standard_normal((self.classes, self.output_width)) / np.sqrt(self.output_width)
        with quiet():
            logits = outputs @ matrix.T
        _, residuals = cross_entropy_of_logits(logits, self.labels[trial])
        gradients: FloatArray = residuals @ matrix
        return gradients


def ends_of(
    width: int,
    trials: int,
    batch: int,
    inputs: npt.ArrayLike | None,
    readout: str | npt.ArrayLike,
    labels: npt.ArrayLike | None,
    classes: int | None,
    top: int | None = None,
) -> Ends:
    """Check the inputs, the readout and the labels of a batch.

    Args:
        width: n, or n_0 where the widths differ.
        trials: independent networks.
        batch: k.
        inputs, readout, labels, classes: as for `gpn.simulate`.
        top: n_L where the widths differ; then an input has n_0 entries, not fewer.

    Raises:
        UsageError: shapes that do not fit, values that are not finite, an unknown readout.

    >>> ends_of(4, 3, 2, [[1.0, 0.0], [0.0, 2.0]], "aligned", None, None).inputs.shape
    (3, 2, 2)
    """
    checked = None if inputs is None else _inputs(inputs, width, trials, batch)
    if checked is not None and top is not None and checked.shape[-1] != width:
        raise UsageError(f"inputs have {checked.shape[-1]} entries, and layers begin with {width}; make them equal")
    above = top or width
    way = readout if isinstance(readout, str) else _directions(readout, above, batch)
    if isinstance(way, str) and way not in ("random", "aligned", "loss"):
        raise UsageError(f"readout must be 'random', 'aligned', 'loss' or an array ({above},), not {way!r}")
    if isinstance(way, str) and way == "loss":
        return Ends(width, batch, checked, way, *_labels(labels, classes, trials, batch), top)
    if labels is not None or classes is not None:
        raise UsageError("labels and classes belong to readout='loss'")
    return Ends(width, batch, checked, way, 0, np.empty(0, dtype=np.int64), top)


def _inputs(inputs: npt.ArrayLike, width: int, trials: int, batch: int) -> FloatArray:
    x = np.asarray(inputs, dtype=np.float64)
    entries = x.shape[-1] if x.ndim else 0
    wanted = [(entries,), (trials, entries)] if batch == 1 else [(batch, entries), (trials, batch, entries)]
    if entries == 0 or x.shape not in wanted:
        allowed = f"(m,) or ({trials}, m), one row for each trial"
        if batch > 1:
            allowed = f"(batch, m) or (trials, batch, m), trials = {trials}, batch = {batch}"
        raise UsageError(f"inputs must have shape {allowed}, not {x.shape}")
    if not np.isfinite(x).all():
        raise UsageError("inputs hold values that are not finite; drop or replace them first")
    if entries > width:
        raise UsageError(
            f"inputs have {entries} entries, more than the width {width}: the first matrix cannot "
            f"keep their length; use a width of at least {entries}, or fewer entries"
        )
    if batch == 1 and x.ndim == 2:
        return x[:, None, :]
    return np.broadcast_to(x, (trials, batch, entries))


def _directions(readout: npt.ArrayLike, width: int, batch: int) -> FloatArray:
    e = np.asarray(readout, dtype=np.float64)
    if e.shape not in ((width,), (batch, width)) or not np.isfinite(e).all():
        raise UsageError(f"a readout array must be finite with shape ({width},), not {e.shape}")
    if not np.abs(e).max(axis=-1).all():
        raise UsageError("a readout array must not be zero: every gradient would vanish")
    return np.broadcast_to(e, (batch, width))


def _labels(
    labels: npt.ArrayLike | None, classes: int | None, trials: int, batch: int
) -> tuple[int, npt.NDArray[np.int64]]:
    if labels is None or classes is None:
        raise UsageError("readout='loss' needs labels, one for each trial, and the number of classes")
    classes = count("classes", classes, minimum=2)
    y = np.asarray(labels)
    if batch == 1:
        return classes, class_labels(y, trials, classes)[:, None]
    if y.shape == (batch,):
        return classes, np.tile(class_labels(y, batch, classes), (trials, 1))
    if y.shape != (trials, batch):
        raise UsageError(f"labels must have shape ({batch},) or ({trials}, {batch}), not {y.shape}")
    return classes, class_labels(y.ravel(), y.size, classes).reshape(y.shape)


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
        return partial(_loss, ends.labels[:, 0], ends.classes, Gaussian(float(1.0 / np.sqrt(ends.output_width))))
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
