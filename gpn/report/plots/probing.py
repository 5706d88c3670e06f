"""The figure of `gpn probe`: measured lengths and gradients by layer in their predicted bands."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpn.report.plots.style import GREY, PALETTE, literal, panel_title, style_axes
from gpn.report.words.probing import layer_rows, probe_finding

if TYPE_CHECKING:
    from gpn.probing.results import PartRow, ProbeReport


def scales_by_layer(report: "ProbeReport") -> Figure:
    """Draw |x_l|^2/n and |dE/dh_l|^2; the bands are those of each step given what arrives at it."""
    figure = Figure(figsize=(8.0, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    pairs = layer_rows(report)
    tops = [pair[1] or pair[0] for pair in pairs]
    numbers = np.array([row.layer for row in tops])
    _panel(left, numbers, np.array([row.length for row in tops]), _forward_bands(tops), "|x|²/n after the layer")
    maps = [pair[0] for pair in pairs]
    _panel(
        right,
        numbers,
        np.array([row.gradient for row in maps]),
        _backward_bands(pairs),
        "|∂E/∂h|² before the activation",
    )
    departing = [row.layer for row in report.rows if row.follows == "no" and row.layer]
    for axes in (left, right):
        for layer in departing:
            axes.axvline(layer, color=PALETTE[5], linewidth=0.8, linestyle=":")
    figure.suptitle(literal(probe_finding(report)), fontsize=11, fontweight="bold", x=0.01, ha="left", wrap=True)
    return figure


def _panel(axes: Axes, numbers: np.ndarray, values: np.ndarray, bands: np.ndarray, words: str) -> None:
    known = np.isfinite(values) & (values > 0)
    lower, upper = bands
    drawn = np.isfinite(lower) & np.isfinite(upper) & (upper > 0)
    if drawn.any():
        middle = (lower + upper)[drawn] / 2
        ends = np.abs(np.stack([middle - np.maximum(lower[drawn], middle * 1e-6), upper[drawn] - middle]))
        axes.errorbar(
            numbers[drawn],
            middle,
            yerr=ends,
            fmt="none",
            ecolor=PALETTE[4],
            elinewidth=5,
            alpha=0.6,
            label="predicted from what arrives",
        )
    axes.plot(numbers[known], values[known], "o", color=PALETTE[0], markersize=4, label="measured")
    axes.axhline(1.0, color=GREY, linewidth=0.8, linestyle="--")
    style_axes(axes)
    axes.set(xlabel="layer", yscale="log" if known.any() else "linear")
    panel_title(axes, words)
    if known.any():
        axes.legend(fontsize=8, frameon=False, loc="best")


def _forward_bands(rows: "list[PartRow]") -> np.ndarray:
    missing = (np.nan, np.nan)
    ends = [missing if row.forward is None else (row.forward.lower, row.forward.upper) for row in rows]
    sizes = np.array([row.width * row.rows for row in rows])
    return np.asarray(np.array(ends).T / sizes)


def _backward_bands(pairs: object) -> np.ndarray:
    """|dE/dh|^2 as the factor of the activation says, times the gradient above it."""
    ends = []
    for _, after in pairs:  # type: ignore[attr-defined]
        known = after is not None and after.backward is not None
        ends.append(
            (after.backward.lower * after.gradient, after.backward.upper * after.gradient)
            if known
            else (np.nan, np.nan)
        )
    return np.array(ends).T
