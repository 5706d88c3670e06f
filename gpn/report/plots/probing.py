"""The figure of `gpn probe`: measured lengths and gradients by layer in their predicted bands."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpn.report.plots.style import GREY, PALETTE, literal, log_scale, many_panels, panel_title, style_axes
from gpn.report.words.probing import layer_rows, probe_finding
from theory.numerics.arithmetic import FloatArray

if TYPE_CHECKING:
    from gpn.probing.judging import Judgement
    from gpn.probing.results import ProbeReport


def scales_by_layer(report: "ProbeReport", *, ax: Axes | None = None) -> Figure:
    """Draw |x_l|^2/n and |dE/dh_l|^2, and below each its ratio to the law of the step in the band of that law."""
    figure = many_panels(8.0, 6.0, ax)
    panels = figure.subplots(2, 2, sharex=True, height_ratios=(3, 2))
    pairs = layer_rows(report)
    numbers = np.array([pair[0].layer for pair in pairs])
    tops = [pair[1] or pair[0] for pair in pairs]
    _scales(panels[0, 0], numbers, np.array([row.length for row in tops]), "|x|²/n after the layer")
    _scales(panels[0, 1], numbers, np.array([pair[0].gradient for pair in pairs]), "|∂E/∂h|² before the activation")
    _ratios(panels[1, 0], numbers, [row.forward for row in tops], "squared length over its law")
    _ratios(panels[1, 1], numbers, [pair[1].backward if pair[1] else None for pair in pairs], "factor over its law")
    figure.suptitle(literal(probe_finding(report)), fontsize=11, fontweight="bold", x=0.01, ha="left", wrap=True)
    return figure.figure


def _scales(axes: Axes, numbers: FloatArray, values: FloatArray, words: str) -> None:
    known = np.isfinite(values) & (values > 0)
    axes.plot(numbers[known], values[known], "o-", color=PALETTE[0], markersize=4, linewidth=0.8)
    axes.axhline(1.0, color=GREY, linewidth=0.8, linestyle="--")
    style_axes(axes)
    if known.any():
        log_scale(axes, "y")
    panel_title(axes, words)


def _ratios(axes: Axes, numbers: FloatArray, judgements: "Sequence[Judgement | None]", words: str) -> None:
    """Measured over predicted; a point outside of its band is red."""
    known = [(n, j) for n, j in zip(numbers, judgements, strict=True) if j is not None and j.predicted > 0]
    for number, judgement in known:
        low, high, seen = (end / judgement.predicted for end in (judgement.lower, judgement.upper, judgement.measured))
        axes.plot([number, number], [low, high], color=PALETTE[4], linewidth=4, alpha=0.7, solid_capstyle="butt")
        axes.plot(number, seen, "o", color=PALETTE[0] if low <= seen <= high else PALETTE[5], markersize=4)
    axes.axhline(1.0, color=GREY, linewidth=0.8, linestyle="--")
    style_axes(axes)
    axes.set(xlabel="layer")
    panel_title(axes, words)
