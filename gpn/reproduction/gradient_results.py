"""What the experiment on gradient profiles returns: profiles, rates, the growth under batch normalization, files."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gpn.experiment.files import finite_record
from gpn.experiment.result import Result
from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation

Phi = Activation | CallableActivation
FloatArray = npt.NDArray[np.float64]
UNSTABLE = "unstable length"


@dataclass(frozen=True, slots=True)
class Variant:
    """One kind of network: an activation, what is done to it, and the weights.

    Args:
        name: of the activation as it is.
        phi: what the network applies.
        treatment: "as it is", "GPN" or "batch norm".
        weights: "haar" or "gaussian".
        root, chi: of a normalization; with batch normalization chi is `theory.depth.batch_normalization.length_slope`.
        batch: of a growth measurement.
    """

    name: str
    phi: Phi
    treatment: str
    weights: str
    root: str | None = None
    chi: float | None = None
    batch: int | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    r"""Growth per layer, downwards, of the logarithm of a squared gradient norm.

    .. math:: r = \frac{1}{l_2 - l_1} \log \frac{|d_{l_1}|^2}{|d_{l_2}|^2}

    with d_l = dE/dh_l; with batch normalization |dE/dW_l|_F in its place. Negative: vanishing, positive: exploding.

    Args:
        activation, treatment, root, weights, chi: as for `Variant`.
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
    q: float | None
    fixed_point: float | None
    predicted: float | None
    below: float | None
    above: float | None
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


PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the quantiles of every profile."""


_LOG10 = math.log(10.0)


@dataclass(frozen=True, slots=True)
class Settings:
    """What was run.

    Args:
        width, depth: n and L.
        trials: networks of each kind with one input.
        batch, batch_trials: inputs of each network with batch normalization, and how many such networks.
        batches: sizes in the table of growth.
        level: of each interval.
        seed: of the run.
    """

    width: int
    depth: int
    trials: int
    batch: int
    batch_trials: int
    batches: tuple[int, ...]
    level: float
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class GradientProfile:
    r"""Gradient norms of one kind of network by layer: logarithms of :math:`|\partial E/\partial W_l|_F/\sqrt n`.

    With batch normalization of the loss summed over k inputs, divided by sqrt(n k).

    Args:
        activation, treatment, root, weights: as for `gpn.reproduction.gradient_results.Rate`.
        trials: networks.
        overflowed: networks whose signal overflowed float64: their gradients are unknown and not in the quantiles.
        vanished: networks in which some gradient is 0, its signal being 0 in float64: minus infinity in the quantiles.
        log_quantiles: natural logarithms, array (L, 5) for `PROBABILITIES`; nan where every network overflowed.
        predicted: the same by the fluctuation law, or None for the reason in `no_prediction`.
        no_prediction: why there is no predicted band, else empty.
        inside: networks whose gradient in layer 1 lies within the outermost predicted quantiles, None without them.
        mean_field: the profile in the limit of infinite width, array (L,), for activations as they are; else None.
    """

    activation: str
    treatment: str
    root: str | None
    weights: str
    trials: int
    overflowed: int
    vanished: int
    log_quantiles: FloatArray
    predicted: FloatArray | None
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
        """The share of networks within the predicted 5 % to 95 % band in layer 1."""
        return self.inside / self._known if self.inside is not None and self._known else None

    @property
    def _known(self) -> int:
        return self.trials - self.overflowed


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class GradientReport(Result):
    """What `gpn.reproduce("gradients")` returns.

    Args:
        settings: what was run.
        profiles: one for each kind of network.
        rates: one for each profile, in the same order.
        growth: linear and ReLU under batch normalization, for each batch size and depth.
        notes: what a reader must know, one or two sentences each.
    """

    settings: Settings
    profiles: tuple[GradientProfile, ...]
    rates: tuple[Rate, ...]
    growth: tuple[Growth, ...]
    notes: tuple[str, ...]

    def find(self, activation: str, treatment: str, weights: str = "haar", *, main_root: bool = True) -> int | None:
        """Where in `profiles` and `rates` a kind of network is; None if it was not run.

        Args:
            activation, treatment, weights: as the profiles have them.
            main_root: the recommended root of a normalization (it stands first), else the other one.
        """
        places = [
            index
            for index, profile in enumerate(self.profiles)
            if (profile.activation, profile.treatment, profile.weights) == (activation, treatment, weights)
        ]
        wanted = 0 if main_root else 1
        return places[wanted] if len(places) > wanted else None

    @property
    def activations(self) -> tuple[str, ...]:
        """Names in the order in which they were asked for."""
        return tuple(dict.fromkeys(profile.activation for profile in self.profiles))

    def to_frame(self) -> "pd.DataFrame":
        """One row for each kind of network: the rate, and what became of layer 1."""
        import pandas as pd

        records = [asdict(rate) | _bottom(profile) for rate, profile in zip(self.rates, self.profiles, strict=True)]
        return pd.DataFrame(records)

    def layers_frame(self) -> "pd.DataFrame":
        """One row for each kind of network and layer: decimal logarithms of the quantiles, measured and predicted."""
        import pandas as pd

        return pd.concat([_layers(profile) for profile in self.profiles], ignore_index=True)

    def growth_frame(self) -> "pd.DataFrame":
        """One row for each batch size and depth under batch normalization."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.growth], columns=[field.name for field in fields(Growth)])

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; None where a number is missing or infinite (see `vanished` and `overflowed`)."""
        from gpn.experiment.versions import versions

        networks = [
            finite_record(asdict(rate) | _bottom(profile) | {"log10_quantiles": _decimal(profile.log_quantiles)})
            | {"log10_predicted": None if profile.predicted is None else _decimal(profile.predicted)}
            | {"log10_mean_field": None if profile.mean_field is None else _decimal(profile.mean_field)}
            for rate, profile in zip(self.rates, self.profiles, strict=True)
        ]
        return {
            "experiment": "gradients",
            "settings": asdict(self.settings) | {"probabilities": list(PROBABILITIES)},
            "networks": networks,
            "batch_normalization": [finite_record(asdict(row)) for row in self.growth],
            "notes": list(self.notes),
            "versions": versions(),
        }

    def __repr__(self) -> str:
        names = ", ".join(self.activations)
        return f"<GradientReport {names}: width {self.settings.width}, depth {self.settings.depth}>"


def _bottom(profile: GradientProfile) -> dict[str, Any]:
    """What became of the gradient of layer 1, and how many networks lost theirs."""
    low, _, middle, _, high = profile.log_quantiles[0] / _LOG10
    return {
        "overflowed": profile.overflowed,
        "vanished": profile.vanished,
        "layer_1_log10_low": float(low),
        "layer_1_log10_median": float(middle),
        "layer_1_log10_high": float(high),
        "in_predicted_band": profile.coverage,
        "no_predicted_band": profile.no_prediction,
    }


def _layers(profile: GradientProfile) -> "pd.DataFrame":
    import pandas as pd

    depth = len(profile.log_quantiles)
    columns: dict[str, Any] = {
        "activation": profile.activation,
        "treatment": profile.treatment,
        "root": profile.root,
        "weights": profile.weights,
        "layer": np.arange(1, depth + 1),
    }
    missing = np.full((depth, len(PROBABILITIES)), np.nan)
    predicted = missing if profile.predicted is None else profile.predicted
    for place, probability in enumerate(PROBABILITIES):
        columns[f"log10_q{100 * probability:g}"] = profile.log_quantiles[:, place] / _LOG10
        columns[f"log10_predicted_q{100 * probability:g}"] = predicted[:, place] / _LOG10
    columns["log10_mean_field"] = (missing[:, 0] if profile.mean_field is None else profile.mean_field) / _LOG10
    return pd.DataFrame(columns)


def _decimal(logs: FloatArray) -> Any:
    """Decimal logarithms as nested lists, six digits, None where they are not finite."""
    if logs.ndim == 2:
        return [_decimal(row) for row in logs]
    return [round(number / _LOG10, 6) if math.isfinite(number) else None for number in logs.tolist()]
