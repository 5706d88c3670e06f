"""The probability of leaving the tolerance against what is solved for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpn.report.plots.style import (
    BOUND_STYLES,
    GREY,
    PALETTE,
    as_list,
    literal,
    log_scale,
    one_panel,
    style_axes,
    title,
)
from gpn.report.words.findings import kind_name, width_finding
from gpn.verification.width_results import NETWORK
from theory.errors import UsageError

if TYPE_CHECKING:
    from gpn.verification.width_results import Requirement, WidthReport

_LEAST_DRAWN = 1e-12


def probability_against_unknown(reports: "WidthReport | Sequence[WidthReport]", *, ax: Axes | None = None) -> Figure:
    """Draw the probability of leaving the tolerance against the width (or depth, or epsilon), one line for each method.

    Points are the values that the search evaluated; a diamond marks where a method meets the accepted probability.
    Of several reports it shows the whole networks, with a colour for each report and a line style for each method.

    Args:
        reports: what `gpn.required_width` returned, or one of its inverses, for one activation or several.
        ax: axes to draw in; None for a new figure.

    Raises:
        UsageError: the reports solve for different things.
    """
    figure, axes = one_panel(7.4, 4.9, ax)
    several = as_list(reports)
    unknowns = sorted({report.unknown for report in several})
    if len(unknowns) != 1:
        raise UsageError(
            f"one figure shows reports that solve for the same thing; these: {', '.join(unknowns) or 'none'}"
        )
    for place, report in enumerate(several):
        whose = f"{literal(report.activation)}: " * (len(several) > 1)
        drawn = [each for each in report.requirements if each.points and (not whose or each.scope == NETWORK)]
        for order, requirement in enumerate(drawn):
            colour = PALETTE[(place if whose else order) % len(PALETTE)]
            _search(axes, requirement, colour, BOUND_STYLES[order % len(BOUND_STYLES)], whose)
        axes.axhline(report.probability, color=GREY, linewidth=0.9, zorder=1)
    least = min(report.probability for report in several)
    log_scale(axes, "xy")
    axes.set_ylim(least / 100, 1.5)
    style_axes(axes)
    named = {"width": "width n (neurons)", "depth": "depth L (layers)", "epsilon": "tolerance ε"}
    axes.set(xlabel=named[unknowns[0]], ylabel="probability, or bound, of leaving the tolerance")
    title(axes, "\n".join(width_finding(report) for report in several))
    axes.legend(fontsize=8.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _search(axes: Axes, requirement: "Requirement", colour: str, style: Any, whose: str) -> None:
    """What one method evaluated, and where it meets the accepted probability."""
    points = np.array([(point.at, max(point.probability, _LEAST_DRAWN)) for point in requirement.points])
    label = f"{whose}{kind_name(requirement.kind)}, {requirement.scope}"
    axes.plot(*points.T, color=colour, linestyle=style, linewidth=1.5, marker=".", markersize=4, label=label)
    if requirement.value is not None and requirement.probability is not None:
        axes.plot(requirement.value, requirement.probability, "D", color=colour, markersize=6)
