"""Which gain of the weights suits an activation, and where depth leads with it: `gpn.gain` and its report."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from gpn.engine.arguments import vocabulary
from gpn.experiment.files import finite, finite_record
from gpn.experiment.result import Result
from theory.activations.specification import Phi, activation
from theory.balls.decimal import DecimalNumber
from theory.depth.fixed_points import FixedPoint, Stability
from theory.errors import UsageError, unknown
from theory.initialization.edge import EdgePoint, edge_of_chaos
from theory.initialization.gains import DEFINITIONS, Gains, gains
from theory.initialization.regime import End, Regime, regime
from theory.normalization.invariants import last_place
from theory.numerics.budget import Budget

LINES: Mapping[str, Mapping[str, str]] = {
    "torch": {
        "orthogonal": "torch.nn.init.orthogonal_(layer.weight, gain={gain!r})",
        "gaussian": "torch.nn.init.normal_(layer.weight, std={gain!r} / layer.weight[0].numel() ** 0.5)",
    },
    "jax": {
        "orthogonal": "kernel_init = jax.nn.initializers.orthogonal(scale={gain!r})",
        "gaussian": 'kernel_init = jax.nn.initializers.variance_scaling({gain!r} ** 2, "fan_in", "normal")',
    },
    "keras": {
        "orthogonal": "kernel_initializer = keras.initializers.Orthogonal(gain={gain!r})",
        "gaussian": 'kernel_initializer = keras.initializers.VarianceScaling({gain!r} ** 2, "fan_in", '
        '"untruncated_normal")',
    },
}
"""The line to paste, by framework and ensemble of the weights."""
WEIGHTS = tuple(LINES["torch"])
"""The ensembles for which there are lines."""

_SIDES = ("below", "above")
_LED, _SECONDS = "where depth leads", 10.0
_NEAR = 1e-9  # relative; gains this close agree


@dataclass(frozen=True, slots=True)
class GainRow:
    """One gain of an activation.

    Args:
        name: a key of `theory.initialization.gains.DEFINITIONS`.
        gain: g; None where its moment is infinite, zero or not known.
        chi: g^2 E phi'^2, the factor of squared gradients per layer where pre-activations have variance 1; None where
            it is not known.
        regime: where depth leads with it and no biases; None without a gain, where E phi'^2 is infinite, for gains
            outside [1e-3, 1e3], and for the gain that keeps the variance, which is meant for weights that take the
            mean away.
        edge: points of the edge of chaos with this gain, and their biases.
    """

    name: str
    gain: DecimalNumber | None
    chi: float | None
    regime: Regime | None
    edge: tuple[EdgePoint, ...]

    @property
    def at_one(self) -> Stability | None:
        """Whether the variance 1 of the pre-activations attracts under this gain; None if it is not a fixed point."""
        return None if self.regime is None else self.regime.lengths.at_one

    @property
    def ends(self) -> tuple[End, ...]:
        """Where depth leads: from just below and just above 1 if that repels, else an input of squared length 1."""
        return () if self.regime is None else self.regime.sides or (self.regime.end,)


@dataclass(frozen=True, slots=True, repr=False)
class GainReport(Result):
    """The gains of one activation; `gain` makes it.

    Args:
        phi: the activation.
        gains: the gains with their digits, and whether they are certified.
        rows: one for each definition.
    """

    phi: Phi
    gains: Gains
    rows: tuple[GainRow, ...]

    @property
    def activation(self) -> str:
        """The name of the activation."""
        return self.phi.name

    def row(self, keeps: str) -> GainRow:
        """The row of a gain by what it keeps: "length", "variance" or "gradient".

        Raises:
            UsageError: another name.
        """
        if keeps not in DEFINITIONS:
            raise unknown("gain", keeps, DEFINITIONS)
        return next(row for row in self.rows if row.name == keeps)

    @property
    def keeps_both(self) -> bool:
        """Whether one gain keeps the length and gradients, to the digits of float64 and to those that are known."""
        length, gradient = self.row("length").gain, self.row("gradient").gain
        if length is None or gradient is None:
            return False
        return abs(length - gradient) < _NEAR * length + last_place(length) + last_place(gradient)

    def code(self, target: str = "torch", *, keeps: str = "length", weights: str = "orthogonal") -> str:
        """Return the line that initializes weights with a gain.

        Args:
            target: "torch", "jax" or "keras".
            keeps: which gain.
            weights: "orthogonal" or "gaussian".

        Raises:
            UsageError: another target, gain or ensemble, or a gain that is not known.
        """
        for name, value, allowed in (("target", target, LINES), ("weights", weights, WEIGHTS)):
            if value not in allowed:
                raise unknown(name, value, allowed)
        found = self.row(keeps).gain
        if found is None:
            raise UsageError(f"{self.activation} has no gain that keeps the {keeps}: {self.gains.reason}")
        return LINES[target][weights].format(gain=float(found))

    def to_dict(self) -> dict[str, Any]:
        """Return the gains and where they lead as plain data; gains are decimal texts."""
        return {
            "activation": self.activation,
            "certified": self.gains.certified,
            "reason": self.gains.reason,
            "keeps_both": self.keeps_both,
            "gains": [_plain(row) for row in self.rows],
        }

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each gain."""
        return pd.DataFrame(
            {
                "keeps": row.name,
                "definition": DEFINITIONS[row.name].formula,
                "gain": np.nan if row.gain is None else float(row.gain),
                "chi": row.chi,
                "stability_of_1": row.at_one,
                "q": np.nan if row.regime is None else row.regime.q,
                "chi_at_q": np.nan if row.regime is None else row.regime.chi,
                **{f"q_from_{side}": end.q for side, end in zip(_SIDES, _sides(row), strict=False)},
                "edge_bias": row.edge[0].bias if row.edge else np.nan,
            }
            for row in self.rows
        )

    def __repr__(self) -> str:
        shown = ", ".join(f"{row.name} {row.gain:.6g}" for row in self.rows if row.gain is not None)
        return f"<GainReport {self.activation}: {shown or 'no gain'}>"


def _plain(row: GainRow) -> dict[str, Any]:
    where = row.regime
    sides = zip(_SIDES, _sides(row), strict=False)
    return {
        "keeps": row.name,
        "definition": DEFINITIONS[row.name].formula,
        "gain": None if row.gain is None else row.gain.digits,
        "chi": row.chi,
        "stability_of_1": row.at_one,
        "fixed_points": None if where is None else [_plain_point(point) for point in where.lengths.fixed_points],
        "continuum": None if where is None else where.lengths.continuum,
        "q": None if where is None else finite(where.q),
        "chi_at_q": None if where is None else finite(where.chi),
        "chi_is_at": None if where is None else where.end.chi_q,
        "phase": None if where is None else where.phase,
        "beside_1": {side: finite_record(asdict(end) | {"chi_is_at": end.chi_q}) for side, end in sides},
        "edge": [{"q": point.q, "bias": point.bias, "stability": point.stability} for point in row.edge],
    }


def _sides(row: GainRow) -> tuple[End, ...]:
    return () if row.regime is None else row.regime.sides


def _plain_point(point: FixedPoint) -> dict[str, Any]:
    return {"q": point.q, "slope": finite(point.slope), "stability": point.stability}


@vocabulary()
def gain(spec: object, digits: int = 15, *, derivative: object = None) -> GainReport:
    r"""The gains of an activation as it is: which one keeps the length, which one gradients, and where each one leads.

    $$g = (E\,\phi^2)^{-1/2}, \quad (\mathrm{Var}\,\phi)^{-1/2}, \quad (E\,\phi'^2)^{-1/2}, \qquad z \sim N(0, 1)$$

    For each of them: the fixed points of the variance q of the pre-activations,
    $q = g^2 E\,\phi(\sqrt q z)^2$, the one to which depth leads an input of squared length 1 per neuron (where q = 1
    repels, also those to which it leads from just below and just above 1), the factor
    $\chi = g^2 E\,\phi'(\sqrt q z)^2$ of squared gradients per layer there, and the standard deviation of Gaussian
    biases that brings the network to the edge of chaos (Poole et al. 2016; Schoenholz et al. 2017). At infinite width
    all of this is the same for orthogonal and for Gaussian weights.

    Args:
        spec, derivative: as for `gpn.check`.
        digits: significant digits of the gains, 1 to 100.

    Raises:
        UsageError: a specification that cannot be read, or digits out of range.

    >>> found = gain("tanh")
    >>> found, found.keeps_both
    (<GainReport tanh: length 1.59254, variance 1.59254, gradient 1.46741>, False)
    >>> print(gain("relu").code("torch"))
    torch.nn.init.orthogonal_(layer.weight, gain=1.4142135623730951)
    """
    phi = activation(spec, derivative=derivative)
    found = gains(phi, digits)
    backward = found.values["gradient"]
    known: dict[float, tuple[Regime | None, tuple[EdgePoint, ...]]] = {}  # by gain: they may agree
    budget = Budget(_SECONDS)
    rows = []
    for name, value in found.values.items():
        where: Regime | None = None
        edge: tuple[EdgePoint, ...] = ()
        if value is not None and backward is not None and name != "variance" and 1e-3 <= value <= 1e3:
            if float(value) not in known:
                known[float(value)] = budget.attempt(_LED, 1.0, partial(_led, phi, float(value)), (None, ()))
            where, edge = known[float(value)]
        chi = None if value is None or backward is None else float(value / backward) ** 2
        rows.append(GainRow(name, value, chi, where, edge))
    if budget.given_up:
        reasons = (found.reason, f"{_LED} was not found in {_SECONDS:g} s of processor time")
        found = replace(found, reason="; ".join(filter(None, reasons)))
    return GainReport(phi, found, tuple(rows))


def _led(phi: Phi, gain: float) -> tuple[Regime | None, tuple[EdgePoint, ...]]:
    return regime(phi, gain), edge_of_chaos(phi, gain)
