"""What depth leaves of separation and isometry, in sentences."""

from typing import TYPE_CHECKING

import numpy as np

from gpn.report.words.text import plain, short_number
from gpn.statistics.limits import Verdict

if TYPE_CHECKING:
    from gpn.checking.depth_conditions import DepthConditions
    from gpn.checking.designing import DesignReport
    from gpn.checking.spectrum import SpectrumReport
    from theory.balls.decimal import DecimalNumber
    from theory.gaussian.moments import Normalization


_ALMOST_EQUAL = 0.9


def loss_warning(root: "Normalization[DecimalNumber]") -> str:
    """A warning where a normalization makes orthogonal inputs almost equal in one layer; else empty.

    Their correlation after one layer is (E(a phi + b))^2.
    """
    correlation = float(root.mean) ** 2
    if correlation < _ALMOST_EQUAL:
        return ""
    return (
        f"The root {root.root} destroys what tells inputs apart: two inputs of correlation 0 have correlation "
        f"{correlation:.4g} after one layer."
    )


def depth_sentence(found: "DepthConditions", whose: str = "") -> str:
    """Separation and isometry in one sentence, for the default report of an activation.

    Args:
        found: the conditions.
        whose: what they are of, "a φ + b (root minus)"; empty where that is the activation as it was given.
    """
    start = f"In depth, with {whose}" if whose else "In depth"
    if not found.laws_hold:
        return f"{start}, {lost_length(found.length.value, found.depth)}."
    layers = found.layers_to_99
    if layers == float("inf"):
        together = "two inputs of correlation 0 stay apart"
    else:
        together = f"two inputs of correlation 0 have correlation 0.99 after {layers:,.0f} layer{'s' * (layers != 1)}"
    slope = short_number(found.variance_per_layer)
    loss = "L" if slope == "1" else f"{slope} L"
    rank = "n" if found.variance_per_layer < 1e-12 else f"n/(1 + {loss})"
    return f"{start}, {together}; the effective rank of the Jacobian is {rank} after L layers."


def lost_length(chi: float, depth: int) -> str:
    """Why the laws of depth say nothing, as a clause."""
    lost = f"the length is not kept through {layers_text(depth)} (chi = {short_number(chi)})"
    return f"{lost}, so the laws of correlation and rank do not hold"


def layers_text(depth: int) -> str:
    """A number of layers.

    >>> layers_text(1), layers_text(20)
    ('1 layer', '20 layers')
    """
    return f"{depth} layer{'s' * (depth != 1)}"


def design_finding(report: "DesignReport") -> str:
    """The member and what it keeps."""
    conditions = report.conditions
    if not conditions.laws_hold:
        tried, lost = (plain(" or ".join(report.chosen.tried)), lost_length(conditions.length.value, conditions.depth))
        return f"No member found in {tried} keeps the length. {plain(report.spec)}: {lost}."
    return (
        f"{plain(report.spec)} keeps {short_number(conditions.separation.value)} of the distance of two orthogonal "
        f"inputs and {short_number(conditions.isometry.value)} of the directions of a gradient through "
        f"{layers_text(report.chosen.depth)}."
    )


def spectrum_finding(report: "SpectrumReport") -> str:
    """How many directions survive, in the median network and predicted."""
    measured = np.median(report.measured["effective_rank"])
    return (
        f"Effective rank {short_number(float(measured))} of {report.width} at depth {report.depth} "
        f"(predicted {short_number(report.predicted['effective_rank'])})."
    )


def laws_finding(report: "SpectrumReport") -> str:
    """How many of the laws the networks follow, to within the error at their width."""
    if not report.keeps_length:
        if report.unstable is not None:
            return f"Not tested: {lost_length(report.unstable, report.depth)}."
        square = short_number(report.length)
        return f"The laws hold at squared length 1 in every layer, but E phi^2 = {square}: not tested."
    tested = [row.verdict for row in report.rows if row.verdict is not Verdict.VACUOUS]
    if not tested:
        return "At this width and depth the laws of infinite width say nothing: take more neurons or fewer layers."
    words = f"{tested.count(Verdict.HOLDS)} of {len(tested)} laws of infinite width hold at this width"
    for other in (Verdict.VIOLATED, Verdict.UNDECIDED):
        if other in tested:
            words += f", {tested.count(other)} {'is' if tested.count(other) == 1 else 'are'} {other}"
    more = "; more networks decide" if Verdict.UNDECIDED in tested else ""
    return f"{words}{more}."
