"""Words about a training run that failed: what its depth does to inputs and gradients before the first step."""

from typing import TYPE_CHECKING

from gpn.training.settings import ORTHOGONAL
from theory.errors import UsageError

if TYPE_CHECKING:
    from gpn.checking.depth_conditions import DepthConditions
    from gpn.training.results import TrainingReport


def lost_conditions(report: "TrainingReport") -> "DepthConditions | None":
    """The conditions of depth of a network that learned little, if separation or isometry is not kept at its depth.

    None for a network that learned, with other than orthogonal weights or batch normalization, whose depth has other
    laws, or of an activation that is not normalized.

    Args:
        report: the run.
    """
    config = report.config
    if report.learned or config.batch_normalization or config.weights not in ORTHOGONAL:
        return None
    from gpn.checking.depth_conditions import depth_conditions

    try:
        found = depth_conditions(report.network.activations[0], config.depth)  # type: ignore[arg-type]
    except (UsageError, AttributeError):  # not normalized, or an object that gives only values and slopes
        return None
    return None if found.separation.light == found.isometry.light == "kept" else found


def why_it_failed(report: "TrainingReport") -> str:
    """What the depth leaves of distances and directions, in one sentence; empty where that is not the reason.

    Args:
        report: the run.
    """
    lost = lost_conditions(report)
    if lost is None:
        return ""
    if not lost.laws_hold:
        return f"Through {report.config.depth} layers the length is not kept (chi = {lost.length.value:.3g})."
    return (
        f"{report.config.depth} layers of this activation leave {lost.separation.value:.2g} of the distance of two "
        f"orthogonal inputs, and {lost.isometry.value:.2g} of the directions of a gradient survive: its curvature is "
        "too large for the depth. A flatter member of its family keeps both."
    )
