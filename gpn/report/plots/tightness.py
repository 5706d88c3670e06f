"""How far the bounds of a verification lie above the exact or predicted probability."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from gpn.report.plots.style import GREY, PALETTE, legend_below, log_scale, one_panel, style_axes, title
from gpn.report.words.findings import kind_name, tightness_finding
from gpn.report.words.selection import tight_rows
from gpn.verification.kinds import KINDS

if TYPE_CHECKING:
    from gpn.verification.results import VerificationReport

_MARKERS = (("o", "none"), ("s", "full"), ("D", "none"), ("^", "none"))
"""Marker and filling of each kind of bound, in the order of the register."""


def bound_tightness(report: "VerificationReport", *, ax: Axes | None = None) -> Figure:
    """Draw every bound below 1 against the exact (or, for whole networks, the predicted) probability of its event.

    Both axes are logarithmic; on the diagonal a bound would be sharp.
    """
    figure, axes = one_panel(5.6, 5.2, ax)
    kinds, bounds = tight_rows(report), [kind.name for kind in KINDS if kind.is_bound]
    for kind, rows in kinds.items():
        order = bounds.index(kind) if kind in bounds else len(bounds)
        colour, (marker, fill) = PALETTE[order % len(PALETTE)], _MARKERS[order % len(_MARKERS)]
        points = np.array([(row.prediction, row.bound) for row in rows], dtype=float)
        label = f"{kind_name(kind)} ({len(rows)})"
        axes.plot(*points.T, marker, color=colour, fillstyle=fill, markersize=6, label=label, zorder=3)
    shown = [row for rows in kinds.values() for row in rows]
    lowest = float(min((min(row.prediction or 1.0, row.bound or 1.0) for row in shown), default=0.1))
    axes.plot([lowest, 1], [lowest, 1], color=GREY, linewidth=1.0, label="bound = probability")
    log_scale(axes, "xy")
    axes.set(xlim=(lowest**1.04, lowest**-0.04), ylim=(lowest**1.04, lowest**-0.04))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(numticks=8))
        axis.set_minor_formatter(NullFormatter())
    style_axes(axes)
    axes.set(xlabel="exact or predicted probability of the event", ylabel="bound")
    title(axes, tightness_finding(report))
    legend_below(axes, 2)
    return figure
