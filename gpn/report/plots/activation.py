"""Figures of one activation: value and slope before and after normalization, length map, Hermite spectrum."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gpn.engine.norms import FloatArray
from gpn.report.plots.style import (
    CURVE_STYLES,
    GREY,
    PALETTE,
    as_list,
    legend_below,
    literal,
    log_scale,
    many_panels,
    one_panel,
    style_axes,
    title,
)
from gpn.report.words.text import ROOT_NAMES, short_number
from theory.depth.fixed_points import FixedPoint, length_dynamics
from theory.depth.length_map import length_map
from theory.initialization.edge import edge_point

if TYPE_CHECKING:
    from gpn.probing.gain import GainReport
    from theory.activations.specification import Phi
    from theory.gaussian.hermite import HermiteSpectrum

REACH = 4.0
"""How far the argument goes either way, in standard deviations."""
LENGTHS = (1 / 4, 4.0)
"""The squared lengths per neuron that a length map is drawn for."""
_STARTS = (0.5, 2.0)
_STEPS = 40
_EDGE_LENGTHS = (1e-3, 10.0)  # of the pre-activations, along the edge of chaos
_FILLS = {"attracting": "full", "marginal": "left", "repelling": "none"}
_SHOWN_DEGREES = 24
_LEAST_POWER = 1e-12


def activation_and_slope(curves: "Sequence[tuple[str, Phi]]", finding: str, *, ax: Axes | None = None) -> Figure:
    """Draw activations over their slopes, where z ~ N(0, 1) is likely to be.

    Args:
        curves: label and activation, the one as given first, then its normalizations.
        finding: the title.
        ax: axes whose place is taken; None for a new figure.
    """
    figure = many_panels(6.4, 5.2, ax)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for order, (label, phi) in enumerate(curves):
        look: dict[str, Any] = {"color": PALETTE[order], "linestyle": CURVE_STYLES[order], "linewidth": 1.8}
        look["label"] = literal(ROOT_NAMES.get(label, label))
        points, *curves_of_phi = drawable(phi)
        for axes, values in zip((upper, lower), curves_of_phi, strict=True):
            axes.plot(points, values, **look)
    for axes, name in ((upper, r"$\phi(z)$"), (lower, r"$\phi'(z)$")):
        style_axes(axes)
        show_density(axes, "0.85")
        axes.set(ylabel=name, xlim=(-REACH, REACH))
    lower.set_xlabel("z (standard deviations)")
    title(upper, finding)
    upper.legend(fontsize=9, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure.figure


def length_map_cobweb(phi: "Phi", finding: str, *, ax: Axes | None = None) -> Figure:
    """Draw the length map with its fixed points, and the way of the squared length through the layers.

    Args:
        phi: the activation, as it stands in the network.
        finding: the title.
        ax: axes to draw in; None for a new figure.
    """
    figure, axes = one_panel(6.0, 5.0, ax)
    lengths = np.geomspace(*LENGTHS, 97)
    axes.plot(lengths, lengths, color=GREY, linewidth=1.0, label="no change")
    axes.plot(lengths, [length_map(phi, q).value for q in lengths], color=PALETTE[0], linewidth=2.0, label="Q(q)")
    for start, colour, style in zip(_STARTS, (PALETTE[1], PALETTE[2]), ("--", "-."), strict=True):
        path = _cobweb(phi, start)
        axes.plot(*path.T, color=colour, linestyle=style, linewidth=1.1, label=f"layer by layer from q = {start:g}")
    for point in length_dynamics(phi).fixed_points:
        if LENGTHS[0] <= point.q <= LENGTHS[1]:
            _fixed_point(axes, point)
    lengths_across(axes)
    lengths_upwards(axes)
    style_axes(axes)
    axes.set(xlabel="squared length per neuron q before a layer", ylabel="after it, at infinite width")
    title(axes, finding)
    legend_below(axes, 2)
    return figure


def edge_of_chaos(reports: "GainReport | Sequence[GainReport]", *, ax: Axes | None = None) -> Figure:
    """Draw the curve of gains and biases at the edge of chaos, and the gains without biases below it.

    Args:
        reports: what `gpn.gain` returned, for one activation or several.
        ax: axes to draw in; None for a new figure.
    """
    figure, axes = one_panel(5.8, 5.2, ax)
    several = as_list(reports)
    for order, report in enumerate(several):
        whose = f"{literal(report.activation)}: " * (len(several) > 1)
        _edge_curve(axes, report, PALETTE[order % len(PALETTE)], whose)
        for row, marker in ((report.row("length"), "o"), (report.row("gradient"), "s")):
            if row.gain is not None:
                colour = PALETTE[(order if whose else 5 if marker == "o" else 2) % len(PALETTE)]
                label = f"{whose}gain {row.gain:.5g} keeps the {row.name}"
                axes.plot(
                    [float(row.gain)], [0.0], marker, color=colour, markersize=8 if marker == "o" else 6, label=label
                )
                for point in row.edge:
                    axes.plot([point.gain] * 2, [0.0, point.bias], color=colour, linewidth=1.0)
    style_axes(axes)
    axes.set(xlabel="gain g of the weights", ylabel=r"standard deviation $\sigma_b$ of the biases")
    axes.set_ylim(bottom=0.0)
    names = ", ".join(report.activation for report in several)
    title(axes, f"{names}: gains and biases that keep gradients")
    legend_below(axes)
    return figure


def _edge_curve(axes: Axes, report: "GainReport", colour: str, whose: str) -> None:
    points = [edge_point(report.phi, float(q)) for q in np.geomspace(*_EDGE_LENGTHS, 61)]
    for kind, style in (("attracting", "-"), ("repelling", ":"), ("marginal", "D")):  # of ReLU it is one point
        there = [(p.gain, p.bias) if p is not None and (p.stability == kind) else (np.nan, np.nan) for p in points]
        if np.isfinite(there).any():
            words = f"{whose}edge of chaos (χ = 1), {kind} length"
            axes.plot(*np.transpose(there), style, color=colour, linewidth=2.0, markersize=14, label=words)


def hermite_spectrum(spectrum: "HermiteSpectrum", finding: str, *, ax: Axes | None = None) -> Figure:
    """Draw the Hermite powers of an activation, plainly and weighted by the degree.

    Args:
        spectrum: its spectrum, as it stands in the network.
        finding: the title.
        ax: axes to draw in; None for a new figure.
    """
    figure, axes = one_panel(5.6, 4.5, ax)
    degrees = np.arange(min(_SHOWN_DEGREES, spectrum.order) + 1)
    powers = spectrum.powers[: len(degrees)]
    for heights, words, marker, colour, shift in (
        (powers, r"$c_k^2$, parts of $E\phi^2$", "o", PALETTE[0], -0.15),
        (degrees * powers, r"$k\,c_k^2$, parts of $E\phi'^2$", "s", PALETTE[1], 0.15),
    ):
        shown = heights > _LEAST_POWER
        axes.vlines(degrees[shown] + shift, _LEAST_POWER, heights[shown], color=colour, linewidth=1.2)
        axes.plot(degrees[shown] + shift, heights[shown], marker, color=colour, markersize=5, label=words)
    log_scale(axes, "y")
    lowest = min((power for power in powers if power > _LEAST_POWER), default=1e-3)
    axes.set_ylim(10 ** np.floor(np.log10(lowest) - 0.3), 3.0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style_axes(axes)
    axes.set(xlabel="degree k", ylabel="power")
    title(axes, finding)
    legend_below(axes, 2)
    return figure


def drawable(phi: "Phi") -> tuple[FloatArray, FloatArray, FloatArray]:
    """Points within `REACH`, phi and phi' there: nan at every kink and jump, so that no vertical stroke is drawn."""
    edges = phi.breakpoint_values
    edges = edges[np.abs(edges) < REACH]
    sides = [np.nextafter(edges, -np.inf), edges, np.nextafter(edges, np.inf)]
    points = np.union1d(np.linspace(-REACH, REACH, 801), np.concatenate(sides))
    gaps = np.isin(points, edges)
    value, slope = (np.where(gaps | ~np.isfinite(f), np.nan, f) for f in phi.value_and_slope(points))
    return points, value, slope


def lengths_across(axes: Axes) -> None:
    """Squared lengths from left to right: doublings at equal distances, fractions below 1."""
    log_scale(axes, "x", base=2)
    axes.set_xlim(*LENGTHS)
    axes.xaxis.set_major_formatter(lambda q, _: f"{q:g}" if q >= 1 else f"1/{1 / q:g}")


def lengths_upwards(axes: Axes) -> None:
    """The same from below to above."""
    log_scale(axes, "y", base=2)
    axes.set_ylim(*LENGTHS)
    axes.yaxis.set_major_formatter(lambda q, _: f"{q:g}" if q >= 1 else f"1/{1 / q:g}")


def show_density(axes: Axes, colour: str) -> None:
    """The normal density behind the curves, filling the lower fifth of the panel."""
    z = np.linspace(-REACH, REACH, 161)
    behind = axes.get_xaxis_transform()
    axes.fill_between(z, 0, 0.2 * np.exp(-(z**2) / 2), color=colour, linewidth=0, transform=behind, zorder=0)


def _cobweb(phi: "Phi", start: float) -> FloatArray:
    """Corners of the staircase between the length map and the diagonal, until it leaves the panel or rests."""
    corners, q = [(start, start)], start
    for _ in range(_STEPS):
        following = length_map(phi, q).value
        if not np.isfinite(following):
            break
        corners += [(q, following), (following, following)]
        if abs(following / q - 1) < 1e-3 or not LENGTHS[0] < following < LENGTHS[1]:
            break
        q = following
    return np.array(corners)


def _fixed_point(axes: Axes, point: FixedPoint) -> None:
    fill = _FILLS[point.stability]
    axes.plot(point.q, point.q, "o", color="black", fillstyle=fill, markersize=9, markeredgewidth=1.4, zorder=4)
    words = f"{point.stability}, slope {short_number(point.slope)}"
    axes.annotate(words, (point.q, point.q), xytext=(9, -15), textcoords="offset points", fontsize=9)
