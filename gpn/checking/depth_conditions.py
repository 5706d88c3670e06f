"""Four conditions of depth for one network: norms, length, separation, isometry."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from gpn.experiment.files import finite
from theory.activations.specification import Phi
from theory.depth.horizon import length_layers
from theory.depth.length_map import length_map_slope, slope_map
from theory.layer.pairs import squared_length_variance
from theory.trainability.isometry import jacobian_spectrum
from theory.trainability.lengths import LONG, RUNAWAY, length_growth
from theory.trainability.separation import Separation, separation

Light = Literal["kept", "weak", "lost", "not known"]
_TOLERANCE = 1e-6
_DISTANCE = (0.1, 0.02)  # of two orthogonal inputs: above the first kept, below the second lost
_RANK = (0.05, 0.01)  # effective rank over n; both limits are those of the study in docs/reproduce-training.md
_POINTS = np.array([-31.7, -6.3, -2.1, -0.77, -0.013, 0.019, 0.58, 1.9, 5.2, 37.1])
_TENFOLD = 2 * float(np.log(10.0))  # of a norm, in the logarithm of its square


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of depth.

    Args:
        name: "norms", "length", "separation" or "isometry".
        light: "kept", "weak" or "lost" at the depth; "not known" where the length is lost that its law asks for.
        value: the number behind it.
        words: what the number is.
    """

    name: str
    light: Light
    value: float
    words: str


@dataclass(frozen=True, slots=True)
class DepthConditions:
    r"""The four conditions of depth of an activation with E phi^2 = 1.

    Norms: :math:`(E\phi'^2)^L`, the factor of the squared gradient norm. Length: :math:`\chi`, where |chi| > 1 drives
    the squared length away from 1; with |chi| < 1 it is weak where a squared length of 4 grows tenfold. Separation:
    :math:`1 - \rho_L` of two orthogonal inputs. Isometry: the effective rank over the width,
    :math:`1/(1 + \sigma^2)`. The limits between kept, weak and lost are 0.1 and 0.02 for the separation, 0.05 and 0.01
    for the rank: above the first networks train, below the second they learn next to nothing, as far as was measured
    (docs/reproduce-training.md).

    Args:
        depth: L.
        norms, length, separation, isometry: the conditions.
        layers_to_99: the layers after which two orthogonal inputs have a correlation of 0.99; infinite if never.
        variance_per_layer: sigma^2/L, so that the effective rank is n/(1 + this times L).
        laws_hold: whether the squared length stays near 1, as the laws of the other numbers ask.
    """

    depth: int
    norms: Condition
    length: Condition
    separation: Condition
    isometry: Condition
    layers_to_99: float
    variance_per_layer: float
    laws_hold: bool = True

    def all(self) -> tuple[Condition, ...]:
        """The four conditions in order."""
        return self.norms, self.length, self.separation, self.isometry

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; an infinite number is null."""
        conditions = {one.name: {"light": one.light, "value": finite(one.value)} for one in self.all()}
        return {
            "depth": self.depth,
            "laws_hold": self.laws_hold,
            **conditions,
            "layers_to_correlation_0.99": finite(self.layers_to_99),
            "relative_variance_per_layer": finite(self.variance_per_layer),
        }


def depth_conditions(phi: Phi, depth: int, laws: Separation | None = None, width: int = 1024) -> DepthConditions:
    """Judge the four conditions of depth for an activation with E phi^2 = 1.

    Args:
        phi: the activation, normally Gaussian-Poincaré normalized.
        depth: L >= 1.
        laws: its laws of separation, if they are known.
        width: n, at which an unstable length is followed.

    Raises:
        UsageError: phi jumps, E phi^2 is not 1, or a depth below 1.

    >>> from theory.activations.specification import activation
    >>> from theory.normalization.normalize import normalize
    >>> found = depth_conditions(normalize(activation("tanh")), 200)
    >>> [(one.name, one.light) for one in found.all()]
    [('norms', 'kept'), ('length', 'kept'), ('separation', 'lost'), ('isometry', 'lost')]
    """
    spectrum = jacobian_spectrum(phi, depth)
    laws = separation(phi) if laws is None else laws
    left = float(laws.losses(depth)[-1])
    share = spectrum.effective_rank
    length = length_condition(phi, depth, width)
    found = [
        _norms(slope_map(phi, 1.0).value, depth),
        Condition("separation", _light(left, _DISTANCE), left, "of the distance of two orthogonal inputs is left"),
        Condition(
            "isometry", _light(share, _RANK), share, "of the directions of a gradient survive (effective rank/n)"
        ),
    ]
    holds = laws_hold(phi, length)
    if not holds:
        found = [replace(one, words=f"{one.words}, if the length stayed 1") for one in found]
        found = [one if one is found[0] and one.light != "kept" else replace(one, light="not known") for one in found]
    norms, separated, isometric = found
    layers, variance = laws.layers_until(0.99), spectrum.relative_variance / depth
    return DepthConditions(depth, norms, length, separated, isometric, layers, variance, holds)


def laws_hold(phi: Phi, length: Condition) -> bool:
    r"""Whether the laws of norms, correlation and rank hold: they are those of squared length 1 in every layer.

    They ask for |chi| <= 1, and at |chi| = 1 for a depth at which the length is not lost; a positively homogeneous phi,
    such as ReLU, has the same laws at every length.

    Args:
        phi: the activation.
        length: its condition of length at the depth and width in question.
    """
    if abs(length.value) <= 1 + _TOLERANCE and length.light != "lost":
        return True
    at, twice = (phi.value_and_slope(scale * _POINTS)[0] for scale in (1.0, 2.0))
    return bool(np.allclose(twice, 2 * at, rtol=1e-9, atol=1e-12))


def _norms(slope_second: float, depth: int) -> Condition:
    log_factor = depth * float(np.log(slope_second)) if slope_second > 0 else -np.inf
    if abs(slope_second - 1) < _TOLERANCE:
        light: Light = "kept"
    else:
        light = "weak" if abs(log_factor) < _TENFOLD else "lost"
    return Condition(
        "norms", light, float(np.exp(min(log_factor, 700.0))), "is the factor of the squared gradient norm"
    )


def length_condition(phi: Phi, depth: int, width: int) -> Condition:
    """Whether the squared length stays at 1 through a depth; arguments as for `depth_conditions`."""
    chi = length_map_slope(phi).value
    is_exact = bool(np.allclose(np.abs(phi.value_and_slope(_POINTS)[0]), np.abs(_POINTS), rtol=1e-9, atol=1e-12))
    layers = np.inf if is_exact else length_layers(chi, squared_length_variance(phi, width).value)
    if is_exact or abs(chi) < 1 - _TOLERANCE:
        light: Light = "kept"
    else:
        light = "weak" if depth < layers else "lost"
    words = "is chi, the slope of the length map at 1"
    if is_exact:
        return Condition("length", light, chi, f"{words}; |a φ + b| = |x|: orthogonal weights keep the length exactly")
    if light == "kept" and (growth := length_growth(phi, depth)) > RUNAWAY:
        light = "weak"
        words += f"; but a squared length of {LONG:g} grows to {LONG * growth:.2g}: narrow networks diverge in training"
    if np.isfinite(layers):
        words += f"; at width {width} the squared length drifts by a factor 2 in about {layers:,.0f} layers"
    return Condition("length", light, chi, words)


def _light(value: float, limits: tuple[float, float]) -> Light:
    kept, weak = limits
    return "kept" if value >= kept else "weak" if value >= weak else "lost"
