"""Lengths, correlations and gradients in depth, for an activation as it is and for its normalizations."""

from dataclasses import asdict, dataclass
from typing import Any

from gpn.engine.arguments import vocabulary
from gpn.experiment.files import finite_record
from theory.activations.specification import Phi, activation
from theory.depth.correlation import CorrelationDynamics, correlation_dynamics
from theory.depth.fixed_points import LengthDynamics, length_dynamics
from theory.depth.horizon import DepthHorizon, depth_horizon
from theory.normalization.normalize import normalization

_LONGEST = 1e6
_SHORTEST = 1e-6


@dataclass(frozen=True, slots=True)
class DepthProfile:
    """Lengths, correlations and gradients of one network in depth.

    Args:
        label: "as given", "b_plus" or "b_minus".
        lengths: fixed points of the length map with their stability, and the basin of q = 1.
        correlation: fixed points of the correlation map at the length that the network flows to, or at q = 1 for an
            unstable length; None where the length runs off to 0 or infinity.
        horizon: the class of the network, its rate, and the layers until gradients or lengths are lost.
    """

    label: str
    lengths: LengthDynamics
    correlation: CorrelationDynamics | None
    horizon: DepthHorizon

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a number that is infinite or not known is null."""
        horizon = finite_record(asdict(self.horizon))
        return {
            "network": self.label,
            **{"log_rate" if name == "rate" else name: value for name, value in horizon.items()},
            "continuum": self.lengths.continuum,
            "fixed_points": [asdict(point) for point in self.lengths.fixed_points],
            "basin": None if self.lengths.basin is None else list(self.lengths.basin),
            "correlation": None if self.correlation is None else finite_record(asdict(self.correlation)),
        }


@vocabulary("width")
def depth_profiles(spec: object, width: int = 1024) -> tuple[DepthProfile, ...]:
    """Return what depth does to an activation as it is and, unless it is GPN already, to both of its normalizations.

    Args:
        spec: a name, a formula, a SymPy expression or a function on arrays, as for `gpn.activation`; one that can be
            normalized.
        width: n, for which layers are counted.

    Returns:
        The profile "as given", and "b_plus" and "b_minus" where they differ from it.

    Raises:
        UsageError: a specification that cannot be read, a width below 2, or an activation without normalization.

    >>> [(profile.label, profile.horizon.kind) for profile in depth_profiles("gelu")]
    [('as given', 'vanishing'), ('b_plus', 'unstable length'), ('b_minus', 'stable')]
    """
    phi = activation(spec)
    profiles = [_profile("as given", phi, width)]
    for root in ("plus", "minus"):
        chosen = normalization(phi, root)
        if chosen.root != root or (abs(chosen.a - 1) < 1e-9 and abs(chosen.b) < 1e-9):
            continue
        profiles.append(_profile(f"b_{root}", phi.affine(chosen.a, chosen.b), width))
    return tuple(profiles)


def _profile(label: str, phi: Phi, width: int) -> DepthProfile:
    horizon = depth_horizon(phi, width)
    at = 1.0 if horizon.kind == "unstable length" else horizon.q
    correlation = correlation_dynamics(phi, at) if _SHORTEST < at < _LONGEST else None
    return DepthProfile(label, length_dynamics(phi), correlation, horizon)
