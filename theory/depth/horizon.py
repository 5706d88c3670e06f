"""How deep a network of a given activation and width can be before its lengths or gradients are lost."""

from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np

from theory.activations.activation import NumericActivation
from theory.depth.fixed_points import gradient_rate
from theory.depth.length_map import follow_length, length_map, length_map_slope, mean_field_layer, slope_map
from theory.errors import UsageError
from theory.layer.pairs import squared_length_variance

Kind = Literal["stable", "marginal", "unstable length", "vanishing", "exploding"]
_FIXED = 1e-9  # |Q(1) - 1| and |rate| below this count as 0
MOST_LAYERS = 2_000  # that are followed: a millisecond or two for each
_TENFOLD = 2 * float(np.log(10.0))  # of a norm, in the logarithm of its square
_TWOFOLD = float(np.log(2.0))


@dataclass(frozen=True, slots=True)
class DepthHorizon:
    r"""The class of a network in depth, its rate, and two numbers of layers.

    Args:
        kind: "stable", "marginal" or "unstable length" where q = 1 is a fixed point of the length map with
            E phi'^2 = 1 and |chi| below, at or above 1; else "vanishing" or "exploding" by the sign of the rate at
            the length that q = 1 flows to, or "stable" or "marginal" if that rate is 0.
        q: the squared length per neuron that the network flows to; for an unstable length, the one it
            flows to from just below 1.
        rate: natural logarithm, per layer, of the factor of the squared gradient norm at q.
        width: n, for which the layers are counted.
        gradient_layers: layers through which the gradient norm changes by a factor 10; infinite if it does not, nan
            if more than `MOST_LAYERS`.
        length_layers: layers after which the squared length per neuron leaves [1/2, 2]; infinite and nan likewise.
        length_scale: xi_q, layers in which a deviation of the length shrinks (or, negative, grows) by e.
    """

    kind: Kind
    q: float
    rate: float
    width: int
    gradient_layers: float
    length_layers: float
    length_scale: float


def depth_horizon(activation: NumericActivation, width: int = 1024) -> DepthHorizon:
    r"""Compute how deep a network can be, in mean field with the fluctuation of one width.

    .. math:: \log E\,\phi'(\sqrt{q_*}\,z)^2, \qquad \xi_q = -1/\log|Q'(q_*)|, \qquad
        \sigma_l^2 = \frac{\chi^{2l} - 1}{\chi^2 - 1} Var\, q_1

    (Schoenholz et al. 2017, equations 7 and 17, for the first two.) Where q = 1 is a fixed point the length leaves
    [1/2, 2] when its standard deviation sigma_l, linearized (derived for this project, docs/finite-width.md), reaches
    log 2: at finite width this is the typical depth, not a bound. Else the length map is followed from q = 1. The
    gradient follows the mean-field product, for an unstable length from one standard deviation beside 1, on
    the side on which it changes sooner.

    Args:
        activation: phi without jumps.
        width: n >= 2.

    Raises:
        UsageError: a width below 2.

    >>> from theory.activations.catalog import build
    >>> from theory.normalization.normalize import normalize
    >>> depth_horizon(normalize(build("tanh"))).kind, depth_horizon(build("tanh")).kind
    ('stable', 'marginal')
    """
    if width < 2 or width != int(width):
        raise UsageError(f"the width must be a whole number of at least 2 neurons, not {width}")
    if abs(length_map(activation, 1.0).value - 1) < _FIXED:
        return _at_one(activation, width)
    settled = gradient_rate(activation)
    kind: Kind = "vanishing" if settled.rate < 0 else "exploding"
    if abs(settled.rate) < _FIXED:
        kind = "stable" if 0 < settled.q < np.inf else "marginal"
    gradient, length = _layers_until_lost(activation, 1.0)
    return DepthHorizon(kind, settled.q, settled.rate, width, gradient, length, _length_scale(activation, settled.q))


def _at_one(activation: NumericActivation, width: int) -> DepthHorizon:
    chi = length_map_slope(activation).value
    variance = squared_length_variance(activation, width).value
    rate = float(np.log(slope_map(activation, 1.0).value))
    length = length_layers(chi, variance)
    if abs(chi) > 1 + _FIXED:
        deviation = float(np.sqrt(variance))
        sides = [_layers_until_lost(activation, float(np.exp(sign * deviation)))[0] for sign in (-1.0, 1.0)]
        beside = gradient_rate(activation, 1 - 1e-3)
        scale = _length_scale(activation, 1.0)
        return DepthHorizon(
            "unstable length", beside.q, beside.rate, width, float(np.fmin(sides[0], sides[1])), length, scale
        )
    kind: Kind = "marginal" if abs(abs(chi) - 1) <= _FIXED else "stable"
    if abs(rate) > _FIXED:
        kind = "vanishing" if rate < 0 else "exploding"
    gradient = float(np.ceil(_TENFOLD / abs(rate))) if abs(rate) > _FIXED else np.inf
    return DepthHorizon(kind, 1.0, rate, width, gradient, length, _length_scale(activation, 1.0))


def length_layers(chi: float, variance: float) -> float:
    r"""Layers until the linearized standard deviation of the log length reaches log 2.

    .. math:: l = \log\Big(1 + \frac{(\chi^2 - 1) \log^2 2}{Var\, q_1}\Big) \Big/ \log \chi^2

    and :math:`\log^2 2 / Var\, q_1` for chi = 1 (derived for this project, docs/finite-width.md); infinite where
    the deviation stays below.

    Args:
        chi: slope of the length map at its fixed point 1.
        variance: Var q_1 of one layer.

    >>> length_layers(0.5, 0.01), length_layers(1.0, 0.01)
    (inf, 49.0)
    """
    if variance <= 0:
        return np.inf
    target, growth = _TWOFOLD**2 / variance, chi * chi - 1
    if abs(growth) < 1e-9:
        return float(np.ceil(target))
    inside = 1 + growth * target
    if inside <= 0:
        return np.inf
    return 1.0 if chi == 0 else max(1.0, float(np.ceil(np.log(inside) / np.log(chi * chi))))


def _layers_until_lost(activation: NumericActivation, start: float) -> tuple[float, float]:
    """Layers of the mean-field maps until the gradient norm has changed by 10, and until the length has by 2."""
    log_gradient = 0.0
    gradient = length = np.inf
    passages = islice(follow_length(mean_field_layer(activation), start), MOST_LAYERS)
    for layer, passage in enumerate(passages, 1):
        (before, after, rate) = (float(array[0]) for array in (passage.before, passage.after, passage.log_factors))
        log_gradient += rate
        if not 0.5 <= after <= 2 and length == np.inf:
            length = float(layer)
        if abs(log_gradient) >= _TENFOLD and gradient == np.inf:
            gradient = float(layer)
        settled = abs(after - before) <= 1e-12 * before or not 1e-12 < after < 1e12
        if settled and gradient == np.inf and abs(rate) > _FIXED:
            ahead = np.sign(rate) * _TENFOLD - log_gradient
            gradient = layer + float(np.ceil(ahead / rate))
        if settled or (np.isfinite(gradient) and np.isfinite(length)):
            return gradient, length
    return (gradient if np.isfinite(gradient) else np.nan), (length if np.isfinite(length) else np.nan)


def _length_scale(activation: NumericActivation, q: float) -> float:
    if not 0 < q < 1e6:
        return float("nan")
    size = abs(length_map_slope(activation, q).value)
    if abs(size - 1) < _FIXED:
        return np.inf
    return -1 / float(np.log(size)) if size > 0 else 0.0
