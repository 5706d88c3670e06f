"""The singular values of the Jacobian of a deep network, sampled and predicted: `gpn.spectrum` and its report."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from gpn.checking.depth_conditions import laws_hold, length_condition
from gpn.checking.laws import LAWS, LawRow, Pairs, draw_pairs, law_rows
from gpn.engine.arguments import count, vocabulary
from gpn.engine.weights import canonical, draw
from gpn.experiment.files import finite
from gpn.experiment.result import Result
from gpn.experiment.runs import generator
from gpn.experiment.streams import SPECTRUM, SPECTRUM_PAIRS, cell_number
from gpn.statistics.limits import Verdict, combine, row_alpha
from theory.activations.specification import activation
from theory.errors import UsageError, layer_count
from theory.gaussian.expectations import expectations
from theory.normalization.normalize import normalize
from theory.numerics.arithmetic import FloatArray
from theory.numerics.threads import one_blas_thread
from theory.trainability.isometry import JacobianSpectrum, finite_width_variance, jacobian_spectrum

_LARGEST = 1e75  # of an entry: the fourth power of a singular value is still finite
_KEPT = 1e-3  # change of the squared length over all layers that no network shows
SMALL = 1e-3
"""Squared singular values below this share of their mean count as vanished."""

_JUDGED = ("allowed_lower", "allowed_upper", "lower", "upper", "verdict", "claim")


@dataclass(frozen=True, repr=False, eq=False)
class SpectrumReport(Result):
    """Squared singular values of Jacobians, and pairs of inputs, beside their laws at infinite width.

    Args:
        activation: what was sampled.
        width, depth: n and L.
        weights: the ensemble of the weights.
        seed: of the networks.
        law: the limit law.
        squares: squared singular values of each network, descending, array (networks, n).
        pairs: pairs of inputs, None where they have no law.
        level: confidence level of all verdicts together.
        length: E phi^2. The laws are those of squared length 1 in every layer: unless it is 1, they are not tested.
        unstable: chi, where the length leaves 1 within this depth, so that the laws are not tested; else None.
    """

    activation: str
    width: int
    depth: int
    weights: str
    seed: int
    law: JacobianSpectrum
    squares: FloatArray
    pairs: Pairs | None = None
    level: float = 0.99
    length: float = 1.0
    unstable: float | None = None

    @property
    def keeps_length(self) -> bool:
        """Whether E phi^2 is 1 as nearly as the length of the networks can show, and the length stays there."""
        return self.depth * abs(self.length - 1) < _KEPT and self.unstable is None

    @property
    def laws(self) -> dict[str, float]:
        """Mean, relative variance at this width, third moment over the cubed mean; the two predictions for pairs."""
        fourth = float(self.law.weights @ self.law.slopes**2)
        return {
            "mean": self.law.mean,
            "relative_variance": finite_width_variance(
                float(self.law.weights @ self.law.slopes), fourth, self.width, self.depth
            ),
            "third_moment": float(self.law.moments(3)[2] / self.law.mean**3),
            **(self.pairs.predicted if self.pairs else {}),
        }

    @cached_property
    def predicted(self) -> dict[str, float]:
        """The laws, the effective rank and the share of small values."""
        laws = self.laws
        small = self.law.share_below(SMALL * self.law.mean) if self.depth > 1 else float("nan")
        return laws | {"effective_rank": self.width / (1 + laws["relative_variance"]), "share_below": small}

    @property
    def measured(self) -> dict[str, FloatArray]:
        """The same of each network, arrays (networks,); pairs of inputs have networks of their own.

        Of a Jacobian that is 0 only mean and rank are known, as 0; the others are nan.
        """
        mean = self.squares.mean(axis=1)
        scaled = self.squares / np.where(mean > 0, mean, np.nan)[:, None]  # the square of the mean may overflow
        variance = scaled.var(axis=1)
        return {
            "mean": mean,
            "relative_variance": variance,
            "third_moment": (scaled**3).mean(axis=1),
            "effective_rank": np.where(mean > 0, self.width / (1 + variance), 0.0),
            "share_below": np.where(mean > 0, np.mean(scaled < SMALL, axis=1), np.nan),
            **(self.pairs.measured if self.pairs else {}),
        }

    @cached_property
    def rows(self) -> tuple[LawRow, ...]:
        """What each law allows at this width, exact limits of the median over networks, and the verdict."""
        unit = self.law.relative_variance / self.width if self.keeps_length else np.inf
        kinked = self.pairs is not None and self.pairs.kinked
        return law_rows(self.laws, self.measured, unit, kinked, self.level)

    @property
    def verdict(self) -> Verdict:
        """The verdict of all rows together."""
        return combine(row.verdict for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return what was asked, what is predicted and what was measured, as plain data."""
        given = {name: getattr(self, name) for name in ("activation", "width", "depth", "weights", "seed")}
        predicted = {name: number if np.isfinite(number) else None for name, number in self.predicted.items()}
        return {
            **given,
            "threshold": SMALL,
            "predicted": predicted,
            "measured": {name: [finite(value) for value in values.tolist()] for name, values in self.measured.items()},
            "level": self.level,
            "unstable": self.unstable,
            "rows": [row.to_dict() for row in self.rows],
            "verdict": str(self.verdict),
        }

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each quantity: predicted, the mean over networks, its standard error, and the verdict."""
        rows, predicted, judged = [], self.predicted, {row.quantity: row for row in self.rows}
        for name, values in self.measured.items():
            error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
            found = [getattr(judged.get(name), column, None) for column in _JUDGED]
            rows.append((name, predicted[name], values.mean(), error, np.median(values), *found))
        return pd.DataFrame(rows, columns=["quantity", "predicted", "measured", "standard_error", "median", *_JUDGED])

    def __repr__(self) -> str:
        rank = np.median(self.measured["effective_rank"])
        return f"<SpectrumReport {self.activation}: effective rank {rank:.3g} of {self.width} at depth {self.depth}>"


@one_blas_thread
@vocabulary("depth", "width")
def spectrum(
    spec: object,
    depth: int,
    width: int = 256,
    networks: int = 20,
    *,
    root: str | None = "auto",
    weights: str = "haar",
    seed: int = 0,
    level: float = 0.99,
    progress: Callable[[float, float, str], None] | None = None,
) -> SpectrumReport:
    r"""Sample the singular values of the Jacobian of a network, its activation normalized as `root` says.

    .. math:: J = D_L W_L \cdots D_1 W_1, \qquad D_l = \operatorname{diag} \phi'(h_l)

    Beside them stands their law at infinite width, that of Haar weights at squared length 1 per
    neuron. Each network takes L matrix products, O(L n^3), and 3 n^2 numbers of memory. 100 networks with a pair of
    orthogonal inputs, drawn without matrices, show how far the inputs stay apart. `.rows` says whether both follow
    their laws (`gpn.checking.laws`).

    Args:
        spec: phi: a name, a formula, a SymPy expression or a function on arrays.
        depth: L, from 1 to a million.
        width: n >= 2, neurons.
        networks: how many are drawn.
        root: which normalization; None leaves phi as it is.
        weights: an ensemble of `gpn.engine.weights`.
        seed: of the networks: the same seed gives the same bits.
        level: confidence level of all verdicts together.
        progress: called with networks done, of how many, and words.

    Raises:
        UsageError: an argument out of range, or singular values that are not finite.

    >>> spectrum("relu", 4, 32, 3).measured["effective_rank"].shape
    (3,)
    """
    depth, width, networks = layer_count(depth), count("width", width, 2), count("networks", networks)
    weights = canonical(weights)
    row_alpha(level, len(LAWS))  # a wrong level is refused before the work
    phi = activation(spec) if root is None else normalize(activation(spec), root)
    law = jacobian_spectrum(phi, depth)
    squares = np.empty((networks, width))
    for index in range(networks):
        if progress is not None:
            progress(index, networks, "Jacobians")
        squares[index] = _squares(
            phi, width, depth, weights, generator(seed, SPECTRUM, cell_number(width, depth), index)
        )
    if progress is not None:
        progress(networks, networks, "pairs of inputs")
    pairs = draw_pairs(phi, width, depth, weights, generator(seed, SPECTRUM_PAIRS, cell_number(width, depth), 0))
    second = expectations(phi, {"": lambda _z, value, _slope: value * value})[""].value
    unstable = None
    if depth * abs(second - 1) < _KEPT and not laws_hold(phi, kept := length_condition(phi, depth, width)):
        unstable = kept.value
    return SpectrumReport(phi.name, width, depth, weights, seed, law, squares, pairs, level, second, unstable)


def _squares(phi: Any, width: int, depth: int, weights: str, rng: np.random.Generator) -> FloatArray:
    """Squared singular values of the Jacobian of one network at an input of squared length n."""
    x = rng.standard_normal(width)
    x *= np.sqrt(width) / np.linalg.norm(x)
    jacobian = np.eye(width)
    for layer in range(depth):
        matrix = draw(weights, rng, width)
        with np.errstate(all="ignore"):
            x, slope = phi.value_and_slope(matrix @ x)
            jacobian = slope[:, None] * (matrix @ jacobian)
        largest = np.abs(jacobian).max()
        if not (1 / _LARGEST < largest < _LARGEST or largest == 0):
            happens = "underflows" if largest < 1 else "overflows"
            raise UsageError(
                f"the Jacobian of {phi.name} {happens} in layer {layer + 1}; normalize phi, or take fewer layers"
            )
    return np.asarray(np.linalg.svd(jacobian, compute_uv=False) ** 2)
