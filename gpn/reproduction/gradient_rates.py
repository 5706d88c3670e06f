"""How fast gradients vanish or explode in depth: measured in networks, beside the mean-field prediction."""

from collections.abc import Mapping

import numpy as np

from gpn.engine.norms import FloatArray
from gpn.reproduction.gradient_results import Growth, Rate
from gpn.reproduction.gradient_settings import BATCH_NORMALIZED, Settings, Variant
from gpn.statistics.limits import mean_interval
from theory.activations.specification import Phi
from theory.depth.batch_normalization import large_batch_growth, small_batch_growth
from theory.depth.fixed_points import gradient_rate
from theory.depth.horizon import depth_horizon
from theory.depth.length_map import mean_field_path, slope_map

AGREES, ON_THE_WAY, DIFFERS, UNDECIDED = "agrees", "on the way", "differs", "undecided"
NO_RATE, NO_PREDICTION, LOST = "unstable", "no theory", "lost"
UNSTABLE = "unstable length"
"""The kind of `theory.depth.horizon.depth_horizon` for which there is no single rate."""

_PER_WIDTH, _PER_BATCH = 5.0, 5.0  # corrections of finite width and batch: 5/n and 5/k^2 bound those seen in trials
_LEAST_BATCH = 8  # below, corrections are as large as the prediction
_FARTHEST, _NEARER = 1e6, 1e5  # squared lengths that stand for infinity
_BESIDE = 1e-3  # how far from 1 a length starts that shows to which side it flows


_Predicted = dict[str, float | None]  # the predicted ones of a `Rate`; `below` and `above` only where it is unstable


def window(depth: int) -> tuple[int, int]:
    """Return the layers between which a rate is measured: the upper three quarters, where q has mostly settled.

    >>> window(200), window(2)
    ((50, 200), (1, 2))
    """
    return max(1, depth // 4), depth


def rate(variant: Variant, arrays: Mapping[str, FloatArray], settings: Settings, *, lost: bool = False) -> Rate:
    """Return the rate of one kind of network, measured and predicted.

    Args:
        variant: the kind of network.
        arrays: "log_gradients" and, for one input, "log_backward", arrays (trials, L).
        settings: the settings of the run.
        lost: whether gradients of some network are unknown.
    """
    first, last = window(settings.depth)
    single = variant.treatment != BATCH_NORMALIZED
    logs = arrays["log_backward" if single else "log_gradients"]
    with np.errstate(invalid="ignore"):  # -inf - -inf: both vanished
        rates = 2 * (logs[:, first - 1] - logs[:, last - 1]) / (last - first)
    known = rates[np.isfinite(rates)]
    expected = _single(variant, settings) if single else _batch(variant, settings.batch)
    tolerance = _PER_WIDTH / settings.width + (0.0 if single else _PER_BATCH / settings.batch**2)
    lost = lost or len(known) < len(rates)
    centre, lower, upper = mean_interval(known, settings.level) if len(known) > 1 and not lost else (None, None, None)
    low, high = (None, None) if lost else (float(q) for q in np.quantile(known, [0.05, 0.95], method="nearest"))
    return Rate(
        activation=variant.name,
        treatment=variant.treatment,
        root=variant.root,
        weights=variant.weights,
        chi=variant.chi,
        first=first,
        last=last,
        **expected,
        measured=centre,
        lower=lower,
        upper=upper,
        low=low,
        high=high,
        trials=len(rates),
        tolerance=tolerance,
        verdict=_verdict(expected, lower, upper, tolerance),
    )


def growth(variant: Variant, log_gradients: FloatArray, level: float) -> Growth:
    """Return the growth through a whole network with batch normalization.

    Args:
        variant: with its batch size.
        log_gradients: log |dE/dW_l|_F up to a constant, array (trials, L).
        level: confidence level of the interval.
    """
    depth = log_gradients.shape[1]
    ratios = log_gradients[:, 0] - log_gradients[:, -1]
    measured, lower, upper = mean_interval(2 * ratios / (depth - 1), level)
    large = large_batch_growth(variant.phi)
    with np.errstate(over="ignore"):  # reported as an overflow
        factor = float(np.exp(np.median(ratios)))
    return Growth(
        activation=variant.name,
        batch=variant.batch or 0,
        depth=depth,
        trials=len(ratios),
        measured=measured,
        lower=lower,
        upper=upper,
        large_batch=large,
        predicted=large + small_batch_growth(variant.batch or 0),
        factor=factor,
    )


def _single(variant: Variant, settings: Settings) -> _Predicted:
    horizon = depth_horizon(variant.phi, settings.width)
    if horizon.kind == UNSTABLE:
        starts = {"below": 1 - _BESIDE, "above": 1 + _BESIDE}
        sides = {name: gradient_rate(variant.phi, start) for name, start in starts.items()}
        return {name: _limit(variant.phi, side.q, side.rate) for name, side in sides.items()}
    first, last = window(settings.depth)
    path = mean_field_path(variant.phi, settings.depth)
    layers = float(path.log_factors[first - 1 : last - 1].mean()) if np.isfinite(path.squared_lengths).all() else None
    limit = _limit(variant.phi, horizon.q, horizon.rate)
    return {"q": horizon.q, "fixed_point": limit, "predicted": layers}


def _limit(phi: Phi, q: float, rate: float) -> float | None:
    """The rate at a fixed point; none at infinity if that of a large length, which stands for it, still changes."""
    if np.isfinite(q):
        return rate
    far, near = (slope_map(phi, length).value for length in (_FARTHEST, _NEARER))
    return rate if np.isfinite(rate) and abs(far / near - 1) < _BESIDE else None


def _batch(variant: Variant, batch: int) -> _Predicted:
    large = large_batch_growth(variant.phi)
    return {"fixed_point": large, "predicted": large + small_batch_growth(batch) if batch >= _LEAST_BATCH else None}


def _verdict(expected: _Predicted, lower: float | None, upper: float | None, tolerance: float) -> str:
    if lower is None or upper is None:
        return LOST
    if "below" in expected:
        return NO_RATE
    predicted, fixed_point = expected["predicted"], expected["fixed_point"]
    if predicted is None or fixed_point is None:
        return NO_PREDICTION
    if predicted - tolerance <= lower and upper <= predicted + tolerance:
        settled = expected.get("q") is None or abs(predicted - fixed_point) <= tolerance
        return AGREES if settled else ON_THE_WAY
    return DIFFERS if upper < predicted - tolerance or lower > predicted + tolerance else UNDECIDED
