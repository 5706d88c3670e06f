"""The singular values of the Jacobian of a deep network, sampled and predicted: `gpn.spectrum` and its report."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gpn.engine.arguments import count, vocabulary
from gpn.engine.weights import canonical, draw
from gpn.experiment.result import Result
from gpn.experiment.runs import generator
from gpn.experiment.streams import SPECTRUM, cell_number
from theory.activations.specification import activation
from theory.errors import UsageError
from theory.normalization.normalize import normalize
from theory.numerics.arithmetic import FloatArray
from theory.numerics.threads import one_blas_thread
from theory.trainability.isometry import JacobianSpectrum, finite_width_variance, jacobian_spectrum

_LARGEST = 1e75  # of an entry: the fourth power of a singular value is still finite
SMALL = 1e-3
"""Squared singular values below this share of their mean count as vanished."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SpectrumReport(Result):
    """Squared singular values of Jacobians beside their law at infinite width.

    Args:
        activation: what was sampled.
        width, depth: n and L.
        weights: the ensemble of the weights.
        seed: of the networks.
        law: the limit law.
        squares: squared singular values of each network, descending, array (networks, n).
    """

    activation: str
    width: int
    depth: int
    weights: str
    seed: int
    law: JacobianSpectrum
    squares: FloatArray

    @property
    def predicted(self) -> dict[str, float]:
        """Mean, relative variance at this width, effective rank and share of small values, by the law."""
        fourth = float(self.law.weights @ self.law.slopes**2)
        variance = finite_width_variance(float(self.law.weights @ self.law.slopes), fourth, self.width, self.depth)
        small = self.law.share_below(SMALL * self.law.mean) if self.depth > 1 else float("nan")
        return {
            "mean": self.law.mean,
            "relative_variance": variance,
            "effective_rank": self.width / (1 + variance),
            "share_below": small,
        }

    @property
    def measured(self) -> dict[str, FloatArray]:
        """The same of each network, arrays (networks,)."""
        mean = self.squares.mean(axis=1)
        variance = (self.squares / mean[:, None]).var(axis=1)  # the square of the mean may overflow
        return {
            "mean": mean,
            "relative_variance": variance,
            "effective_rank": self.width / (1 + variance),
            "share_below": np.mean(self.squares < SMALL * mean[:, None], axis=1),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return what was asked, what is predicted and what was measured, as plain data."""
        given = {name: getattr(self, name) for name in ("activation", "width", "depth", "weights", "seed")}
        predicted = {name: number if np.isfinite(number) else None for name, number in self.predicted.items()}
        return {
            **given,
            "threshold": SMALL,
            "predicted": predicted,
            "measured": {name: values.tolist() for name, values in self.measured.items()},
        }

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each quantity: predicted, the mean over networks, its standard error."""
        rows, predicted = [], self.predicted  # the share of small values follows a whole curve
        for name, values in self.measured.items():
            error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
            rows.append((name, predicted[name], values.mean(), error))
        return pd.DataFrame(rows, columns=["quantity", "predicted", "measured", "standard_error"])

    def __repr__(self) -> str:
        rank = self.measured["effective_rank"].mean()
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
    progress: Callable[[float, float, str], None] | None = None,
) -> SpectrumReport:
    r"""Sample the singular values of the Jacobian of a network, its activation normalized as `root` says.

    .. math:: J = D_L W_L \cdots D_1 W_1, \qquad D_l = \operatorname{diag} \phi'(h_l)

    Beside them stands their law at infinite width, that of Haar weights at squared length 1 per
    neuron. Each network takes L matrix products, O(L n^3), and 3 n^2 numbers of memory.

    Args:
        spec: phi: a name, a formula, a SymPy expression or a function on arrays.
        depth: L >= 1, layers.
        width: n >= 2, neurons.
        networks: how many are drawn.
        root: which normalization; None leaves phi as it is.
        weights: an ensemble of `gpn.engine.weights`.
        seed: of the networks: the same seed gives the same bits.
        progress: called with networks done, of how many, and words.

    Raises:
        UsageError: an argument out of range, or singular values that are not finite.

    >>> spectrum("relu", 4, 32, 3).measured["effective_rank"].shape
    (3,)
    """
    depth, width, networks = count("depth", depth), count("width", width, 2), count("networks", networks)
    weights = canonical(weights)
    phi = activation(spec) if root is None else normalize(activation(spec), root)
    law = jacobian_spectrum(phi, depth)
    squares = np.empty((networks, width))
    for index in range(networks):
        if progress is not None:
            progress(index, networks, "Jacobians")
        squares[index] = _squares(
            phi, width, depth, weights, generator(seed, SPECTRUM, cell_number(width, depth), index)
        )
    return SpectrumReport(phi.name, width, depth, weights, seed, law, squares)


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
