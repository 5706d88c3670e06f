"""Figures of separation and isometry: the path of a family, and the law of singular values."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpn.report.plots.style import (
    GREY,
    PALETTE,
    as_list,
    legend_below,
    literal,
    log_scale,
    one_panel,
    plain_numbers,
    style_axes,
    title,
)
from gpn.report.words.trainability import design_finding, spectrum_finding

if TYPE_CHECKING:
    from gpn.checking.designing import DesignReport
    from gpn.checking.spectrum import SpectrumReport

_CROWDED = 0.9  # members that keep more are not labelled: they lie on each other
_LEAST = 1e-6  # squared singular values below are drawn as this


def design_path(report: "DesignReport", *, ax: Axes | None = None) -> Figure:
    """Draw the members of the family in the plane of separation and effective rank, the chosen one marked."""
    figure, axes = one_panel(7.0, 5.1, ax)
    frame = report.to_frame()
    axes.plot(frame["separation"], frame["rank"], color=PALETTE[0], marker="o", markersize=4, linewidth=1.5)
    for point in report.path:
        if point.separation > _CROWDED and point.value != report.chosen.value:
            continue
        axes.annotate(
            f"{report.chosen.family.parameter} = {point.value:g}",
            (point.separation, point.rank),
            xytext=(6, -10),
            textcoords="offset points",
            fontsize=8,
            color=GREY,
        )
    axes.plot(
        report.conditions.separation.value,
        report.conditions.isometry.value,
        "D",
        color=PALETTE[5],
        markersize=9,
        label=literal(f"chosen: {report.spec}"),
    )
    if report.plain is not None:
        axes.plot(
            report.plain.separation.value,
            report.plain.isometry.value,
            "s",
            color=PALETTE[6],
            markersize=7,
            label="the activation itself, normalized",
        )
    style_axes(axes)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="distance left of two orthogonal inputs, 1 − ρ",
        ylabel="effective rank of the Jacobian over n",
    )
    plain_numbers(axes.xaxis)
    plain_numbers(axes.yaxis)
    title(axes, design_finding(report))
    legend_below(axes, 2)
    return figure


def jacobian_spectrum(reports: "SpectrumReport | Sequence[SpectrumReport]", *, ax: Axes | None = None) -> Figure:
    """Draw the distribution of the squared singular values: networks as steps, the law as a line.

    Args:
        reports: what `gpn.spectrum` returned, once or several times.
        ax: axes to draw in; None for a new figure.
    """
    figure, axes = one_panel(7.0, 4.8, ax)
    several = as_list(reports)
    for order, report in enumerate(several):
        whose = f"{literal(report.activation)}, L = {report.depth}: " * (len(several) > 1)
        colour = PALETTE[order % len(PALETTE)]
        _singular_values(axes, report, whose, (colour, colour) if whose else (PALETTE[4], PALETTE[5]))
    axes.axvline(1.0, color=GREY, linewidth=0.8, linestyle=":")
    style_axes(axes)
    log_scale(axes, "x")
    axes.set(xlim=(_LEAST, None), ylim=(0, 1))
    axes.set(xlabel="squared singular value of the Jacobian, over its mean", ylabel="share of directions below")
    title(axes, " ".join(spectrum_finding(report) for report in several))
    legend_below(axes, 2)
    return figure


def _singular_values(axes: Axes, report: "SpectrumReport", whose: str, colours: tuple[str, str]) -> None:
    shares = (np.arange(report.width) + 0.5) / report.width
    for index, squares in enumerate(report.squares / report.law.mean):
        label = f"{whose}networks" if index == 0 else None
        values = np.maximum(squares[::-1], _LEAST)
        axes.plot(values, shares, color=colours[0], linewidth=0.8, alpha=0.6, label=label)
    if report.depth > 1 and not report.law.is_point:
        log_x, masses = report.law.curve(lowest=_LEAST * report.law.mean)
        below = 1 - np.concatenate([[0.0], np.cumsum(masses)])
        x = np.exp(log_x) / report.law.mean
        label = f"{whose}law at infinite width"
        axes.plot(x[x >= _LEAST], below[x >= _LEAST], color=colours[1], linewidth=2, label=label)
