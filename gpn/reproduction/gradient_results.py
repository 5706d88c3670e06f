"""What the experiment on gradients returns: a record for each kind of network, the growth with batch normalization."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from gpn.engine.norms import FloatArray
from gpn.experiment.files import finite_record
from gpn.experiment.result import Result
from gpn.experiment.versions import versions
from gpn.reproduction.gradient_settings import Settings

PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Probabilities of the quantiles of every profile."""

_LOG10 = math.log(10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    r"""Growth per layer, downwards, of the logarithm of a squared gradient norm, in one kind of network.

    .. math:: r = \frac{1}{l_2 - l_1} \log \frac{|d_{l_1}|^2}{|d_{l_2}|^2}

    with d_l = dE/dh_l; with batch normalization |dE/dW_l|_F in its place. Negative: vanishing, positive: exploding.

    Args:
        activation, treatment, root, weights, chi: as for `gpn.reproduction.gradient_settings.Variant`.
        first, last: the layers l_1 and l_2, the upper three quarters.
        q: the squared length per neuron that mean field settles at, 0 and infinity included; None with batch
            normalization.
        fixed_point: log E phi'(sqrt(q) z)^2 there (Schoenholz et al. 2017); with batch normalization that of large
            batches; None where there is no single one.
        predicted: the mean-field rate in these very layers, on the way to q; with batch normalization the large
            batch's with what the size of the batch adds.
        above: for an unstable length the rate at the length that a start just above 1 flows to; `fixed_point` is
            None then, and `below` the one just below.
        below: see `above`.
        measured: mean over networks; None where gradients were lost.
        lower, upper: t interval of that mean.
        low, high: 5 % and 95 % quantiles over single networks.
        trials: networks behind it.
        tolerance: what corrections of finite width (5/n) and of finite batches (5/k^2) may add to the prediction.
        verdict: "agrees": the interval lies within the tolerance of both predictions; "on the way":
            of that for these layers only, q not being settled; "differs": it lies outside; "undecided";
            "unstable": there is no single rate; "no theory"; "lost".
    """

    activation: str
    treatment: str
    root: str | None
    weights: str
    chi: float | None
    first: int
    last: int
    q: float | None = None
    fixed_point: float | None = None
    predicted: float | None = None
    below: float | None = None
    above: float | None = None
    measured: float | None
    lower: float | None
    upper: float | None
    low: float | None
    high: float | None
    trials: int
    tolerance: float
    verdict: str


@dataclass(frozen=True, slots=True)
class Growth:
    r"""Growth of gradients through a whole network with batch normalization.

    .. math:: r = \frac{1}{L - 1} \log \frac{|\partial E/\partial W_1|_F^2}{|\partial E/\partial W_L|_F^2}

    Args:
        activation: "linear" or a name.
        batch, depth: k and L.
        trials: networks.
        measured, lower, upper: mean of r with its t interval.
        large_batch: log(E phi'^2 / Var phi), the prediction for k to infinity.
        predicted: with log((k - 2)/(k - 3)) added: the limit of infinite width for a linear network, else a heuristic.
        factor: the median of |dE/dW_1|_F / |dE/dW_L|_F.
    """

    activation: str
    batch: int
    depth: int
    trials: int
    measured: float
    lower: float
    upper: float
    large_batch: float
    predicted: float
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkGradients(Rate):
    r"""Gradient norms of one kind of network by layer: its rate, and logarithms of
    :math:`|\partial E/\partial W_l|_F/\sqrt n`.

    With batch normalization the gradients are those of the loss summed over k inputs, divided by sqrt(n k).

    Args:
        overflowed: networks whose signal overflowed float64: their gradients are unknown and not in the quantiles.
        vanished: networks in which some gradient is 0, its signal being 0 in float64: minus infinity in the quantiles.
        log_quantiles: natural logarithms, array (L, 5) for `PROBABILITIES`; nan where every network overflowed.
        log_band: the same by the fluctuation law, or None for the reason in `no_prediction`.
        no_prediction: why there is no predicted band, else empty.
        inside: networks whose gradient in layer 1 lies within the outermost predicted quantiles, None without them.
        mean_field: the profile in the limit of infinite width, array (L,), for activations as they are; else None.
    """

    overflowed: int
    vanished: int
    log_quantiles: FloatArray
    log_band: FloatArray | None
    no_prediction: str
    inside: int | None
    mean_field: FloatArray | None

    @property
    def log_median(self) -> FloatArray:
        """The median of each layer, array (L,)."""
        median: FloatArray = self.log_quantiles[:, PROBABILITIES.index(0.5)]
        return median

    @property
    def coverage(self) -> float | None:
        """The share of networks within the predicted 5 % to 95 % band in layer 1; None if it is not known."""
        known = self.trials - self.overflowed
        return self.inside / known if self.inside is not None and known else None

    def record(self) -> dict[str, Any]:
        """Return the row of `GradientReport.to_frame`: the rate, and what became of layer 1."""
        low, _, middle, _, high = (self.log_quantiles[0] / _LOG10).tolist()
        return {field.name: getattr(self, field.name) for field in fields(Rate)} | {
            "overflowed": self.overflowed,
            "vanished": self.vanished,
            "layer_1_log10_low": low,
            "layer_1_log10_median": middle,
            "layer_1_log10_high": high,
            "in_predicted_band": self.coverage,
            "no_predicted_band": self.no_prediction,
        }

    def profiles(self) -> dict[str, list[Any] | None]:
        """Return decimal logarithms by layer: quantiles, predicted quantiles and mean field, ready for JSON."""
        logs = {"quantiles": self.log_quantiles, "predicted": self.log_band, "mean_field": self.mean_field}
        return {f"log10_{name}": None if log is None else _decimal(log) for name, log in logs.items()}

    def layers_frame(self) -> pd.DataFrame:
        """Return a row for each layer, as in `GradientReport.layers_frame`."""
        names = ("activation", "treatment", "root", "weights")
        columns: dict[str, Any] = {name: getattr(self, name) for name in names}
        columns["layer"] = np.arange(1, len(self.log_quantiles) + 1)
        missing = np.full_like(self.log_quantiles, np.nan)
        band = missing if self.log_band is None else self.log_band
        for place, probability in enumerate(PROBABILITIES):
            columns[f"log10_q{100 * probability:g}"] = self.log_quantiles[:, place] / _LOG10
            columns[f"log10_predicted_q{100 * probability:g}"] = band[:, place] / _LOG10
        columns["log10_mean_field"] = (missing[:, 0] if self.mean_field is None else self.mean_field) / _LOG10
        return pd.DataFrame(columns)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class GradientReport(Result):
    """Result of `gpn.reproduce("gradients")`.

    Args:
        settings: what was run.
        networks: one record for each kind of network.
        growth: linear and ReLU networks with batch normalization, for each batch size and depth.
        notes: what a reader must know, one or two sentences each.
    """

    settings: Settings
    networks: tuple[NetworkGradients, ...]
    growth: tuple[Growth, ...]
    notes: tuple[str, ...]

    def find(
        self, activation: str, treatment: str, weights: str = "haar", *, main_root: bool = True
    ) -> NetworkGradients | None:
        """Return one kind of network; None if it was not run.

        Args:
            activation, treatment, weights: as the records have them.
            main_root: the recommended root of a normalization (it stands first), else the other one.
        """
        wanted = (activation, treatment, weights)
        matches = [kind for kind in self.networks if (kind.activation, kind.treatment, kind.weights) == wanted]
        return next(iter(matches if main_root else matches[1:]), None)

    @property
    def activations(self) -> tuple[str, ...]:
        """Names in the order in which they were asked for."""
        return tuple(dict.fromkeys(network.activation for network in self.networks))

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each kind of network: the rate, and what became of layer 1."""
        return pd.DataFrame([network.record() for network in self.networks])

    def layers_frame(self) -> pd.DataFrame:
        """Return a row for each kind of network and layer: decimal logarithms of quantiles, measured and predicted."""
        return pd.concat([network.layers_frame() for network in self.networks], ignore_index=True)

    def growth_frame(self) -> pd.DataFrame:
        """Return a row for each batch size and depth with batch normalization."""
        return pd.DataFrame(self.growth, columns=[field.name for field in fields(Growth)])

    def to_dict(self) -> dict[str, Any]:
        """Return all of the report, ready for JSON; None where a number is missing or infinite."""
        return {
            "experiment": "gradients",
            "settings": asdict(self.settings) | {"probabilities": list(PROBABILITIES)},
            "networks": [finite_record(network.record()) | network.profiles() for network in self.networks],
            "batch_normalization": [finite_record(asdict(row)) for row in self.growth],
            "notes": list(self.notes),
            "versions": versions(),
        }

    def __repr__(self) -> str:
        names = ", ".join(self.activations)
        return f"<GradientReport {names}: width {self.settings.width}, depth {self.settings.depth}>"


def _decimal(logs: FloatArray) -> list[Any]:
    """Decimal logarithms as nested lists, six digits, None where they are not finite."""
    if logs.ndim == 2:
        return [_decimal(row) for row in logs]
    return [round(number / _LOG10, 6) if math.isfinite(number) else None for number in logs.tolist()]
