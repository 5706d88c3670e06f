"""The probability of leaving the tolerance against what is solved for."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from gpn.report.plots.style import BOUND_STYLES, GREY, PALETTE, one_panel, style_axes, title
from gpn.report.words.findings import kind_name, width_finding

if TYPE_CHECKING:
    from gpn.verification.width_results import WidthReport

_LEAST_DRAWN = 1e-12


def probability_against_unknown(report: "WidthReport") -> Figure:
    """Draw the probability of leaving the tolerance against the width (or depth, or epsilon), one line for each method.

    Points are the values that the search evaluated; a diamond marks where a method meets the accepted probability.
    """
    figure, axes = one_panel(7.4, 4.9)
    drawn = [requirement for requirement in report.requirements if requirement.points]
    for order, requirement in enumerate(drawn):
        colour, style = PALETTE[order % len(PALETTE)], BOUND_STYLES[order % len(BOUND_STYLES)]
        points = np.array([(point.at, max(point.probability, _LEAST_DRAWN)) for point in requirement.points])
        label = f"{kind_name(requirement.kind)}, {requirement.scope}"
        axes.plot(*points.T, color=colour, linestyle=style, linewidth=1.5, marker=".", markersize=4, label=label)
        if requirement.value is not None and requirement.probability is not None:
            axes.plot(requirement.value, requirement.probability, "D", color=colour, markersize=6)
    axes.axhline(report.probability, color=GREY, linewidth=0.9, zorder=1)
    axes.set(xscale="log", yscale="log", ylim=(report.probability / 100, 1.5))
    style_axes(axes)
    unknown = {"width": "width n (neurons)", "depth": "depth L (layers)", "epsilon": "tolerance ε"}
    axes.set(xlabel=unknown[report.unknown], ylabel="probability, or bound, of leaving the tolerance")
    title(axes, width_finding(report))
    axes.legend(fontsize=8.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
