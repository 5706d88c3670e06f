"""The figure of the experiment on gradient profiles: small multiples by activation, with and without normalization."""

import math
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from gpn.engine.norms import FloatArray
from gpn.report.plots.style import PALETTE, TITLE_HEIGHT, inches_across, literal, many_panels, power_of, style_axes
from gpn.report.words import paper_findings
from gpn.report.words.text import ROOT_SIGNS
from gpn.reproduction.gradient_rates import NO_RATE
from gpn.reproduction.gradient_settings import BATCH_NORMALIZED, GPN, PLAIN

if TYPE_CHECKING:
    from gpn.reproduction.gradient_results import GradientReport, NetworkGradients

_PLAIN_LOOK: dict[str, Any] = {"color": PALETTE[5], "linestyle": "-"}
_PLAIN_GAUSSIAN_LOOK: dict[str, Any] = {"color": "0.35", "linestyle": (0, (4, 3)), "linewidth": 1.2}
_BATCH_LOOK: dict[str, Any] = {"color": PALETTE[1], "linestyle": "-."}
_GPN_LOOK: dict[str, Any] = {"color": PALETTE[0], "linestyle": "-"}
_GAUSSIAN_LOOK: dict[str, Any] = {"color": PALETTE[2], "linestyle": (0, (4, 2))}
_OTHER_LOOK: dict[str, Any] = {"color": PALETTE[3], "linestyle": ":", "linewidth": 1.6}
_BAND_LOOK: dict[str, Any] = {"color": "black", "linestyle": (0, (5, 2)), "linewidth": 1.1}
_MEAN_FIELD_LOOK: dict[str, Any] = {"color": "black", "linestyle": "none", "marker": "o", "markersize": 3.2}
_LOG10 = math.log(10.0)
_LETTERS_PER_INCH, _INCHES_PER_KEY = 10.0, 3.4  # of the title, and of the legend
_NARROW = 2.0  # decades: the lower panels never show more than this many up and down


def gradient_profiles(report: "GradientReport", *, ax: Axes | None = None) -> Figure:
    """Draw |dE/dW_l|_F by layer, a column for each activation.

    Upper row: as it is, and with batch normalization, beside the normalized one. Lower row, enlarged: normalized, with
    quantile bands of both kinds of weights, the predicted band and the other root. The panels of a row share their
    logarithmic axis.
    """
    names, settings = report.activations, report.settings
    figure = many_panels(max(7.0, 2.65 * len(names) + 0.6), 7.4, ax)
    width = inches_across(figure)
    upper, lower = figure.subplots(2, len(names), squeeze=False, sharex=True, sharey="row")
    for above, below, name in zip(upper, lower, names, strict=True):
        _without(above, report, name)
        _with(below, report, name)
        below.set_xlabel("layer l (1: next to the input)")
        below.set_xlim(1, settings.depth)
        below.xaxis.set_major_locator(FixedLocator(sorted({1, (settings.depth + 1) // 2, settings.depth})))
    span = _enlarged_span(report)
    lower[0].set_ylim(-span, span)
    _decades(upper[0])
    _decades(lower[0])
    quantity = r"$\|\partial E/\partial W_l\|_F \;/\; \sqrt{n}$"
    upper[0].set_ylabel(f"as it is, and with batch normalization\n{quantity} (batch: $\\sqrt{{nk}}$)")
    lower[0].set_ylabel(f"normalized (GPN), enlarged\n{quantity}")
    first, *others = paper_findings.findings(report)
    sizes = f"Width n = {settings.width}, depth L = {settings.depth}, at initialization."
    title = "\n".join(fill(line, int(_LETTERS_PER_INCH * width)) for line in (first, " ".join([*others, sizes])))
    figure.suptitle(literal(title), fontsize=12, fontweight="bold")
    columns = min(4, max(1, int(width / _INCHES_PER_KEY)))
    figure.legend(handles=_legend(report), loc="outside lower center", ncols=columns, fontsize=9, frameon=False)
    return figure.figure


def _without(axes: Axes, report: "GradientReport", name: str) -> None:
    """One panel of the upper row."""
    lines = [paper_findings.display(name)]
    if (normalized := report.find(name, GPN)) is not None:
        _median(axes, normalized, linewidth=1.6, **_GPN_LOOK)
    plain = report.find(name, PLAIN)
    batch = report.find(name, BATCH_NORMALIZED)
    for label, profile, look in (("as it is", plain, _PLAIN_LOOK), ("batch norm", batch, _BATCH_LOOK)):
        if profile is not None:
            _band(axes, profile, look["color"])
            _median(axes, profile, linewidth=2.2, **look)
            lines.append(f"{label}: {_outcome(profile)}")
    if (gaussian := report.find(name, PLAIN, weights="gaussian")) is not None:
        _median(axes, gaussian, **_PLAIN_GAUSSIAN_LOOK)
    if plain is not None and plain.mean_field is not None:
        places = np.unique(np.linspace(0, len(plain.mean_field) - 1, 12).round().astype(int))
        axes.plot(places + 1, _shown(plain.mean_field)[places], zorder=4, **_MEAN_FIELD_LOOK)
    style_axes(axes)
    axes.set_title(literal("\n".join(lines)), fontsize=9.5, loc="left", y=TITLE_HEIGHT)


def _outcome(profile: "NetworkGradients") -> str:
    """What became of the median: nearly all layers at one value, or from the top to the bottom."""
    if profile.overflowed == profile.trials:
        return "signals overflow"
    bottom, top = (float(profile.log_median[layer] / _LOG10) for layer in (0, -1))
    lost = " (some 0)" if profile.vanished else ""
    if abs(bottom - top) < 0.5 and math.isfinite(bottom):
        return f"{paper_findings.power(bottom)} in all layers{lost}"
    return f"{paper_findings.power(top)} → {paper_findings.power(bottom)}{lost}"


def _with(axes: Axes, report: "GradientReport", name: str) -> None:
    """One panel of the lower row."""
    haar, gaussian = report.find(name, GPN), report.find(name, GPN, weights="gaussian")
    other = report.find(name, GPN, main_root=False)
    for profile, look in ((gaussian, _GAUSSIAN_LOOK), (haar, _GPN_LOOK)):
        if profile is not None:
            _band(axes, profile, look["color"], edge=look["linestyle"])
            _median(axes, profile, linewidth=2.0, **look)
    for column in (0, -1):
        if other is not None:
            axes.plot(_layers(other), _shown(other.log_quantiles[:, column]), zorder=4, **_OTHER_LOOK)
        if haar is not None and haar.log_band is not None:
            axes.plot(_layers(haar), haar.log_band[:, column] / _LOG10, zorder=5, **_BAND_LOOK)
    style_axes(axes)
    lines = []
    if haar is not None:
        lines.append(f"GPN {paper_findings.display(name)}, b{ROOT_SIGNS.get(haar.root or '', '')}, χ = {haar.chi:.3g}")
        lines.append(f"Haar, 90 %: {_within(haar)}")
    if other is None:
        lines.append("the other root behaves alike")
    else:
        unstable = "unstable, " * (other.verdict == NO_RATE)
        lines.append(f"b{ROOT_SIGNS.get(other.root or '', '')}, χ = {other.chi:.3g}: {unstable}{_within(other)}")
    axes.set_title(literal("\n".join(lines)), fontsize=9.5, loc="left", y=TITLE_HEIGHT)


def _within(profile: "NetworkGradients") -> str:
    """How far the 5 % to 95 % band of all layers reaches."""
    if profile.overflowed == profile.trials:
        return "signals overflow"
    low, high = (float(edge(profile.log_quantiles[:, [0, -1]])) / _LOG10 for edge in (np.min, np.max))
    return f"{paper_findings.power(low)} to {paper_findings.power(high)}"


def _enlarged_span(report: "GradientReport") -> float:
    """Decades up and down that show all bands of the recommended roots, within limits."""
    networks = [
        report.find(name, GPN, weights=weights) for name in report.activations for weights in ("haar", "gaussian")
    ]
    bands = [profile.log_quantiles[:, [0, -1]] for profile in networks if profile is not None]
    reaches = [reach for band in bands if math.isfinite(reach := float(np.abs(band).max()) / _LOG10)]
    return min(_NARROW, max([0.1, *reaches]) * 1.1)


def _layers(profile: "NetworkGradients") -> npt.NDArray[np.int64]:
    return np.arange(1, len(profile.log_quantiles) + 1)


def _shown(logs: FloatArray) -> FloatArray:
    """Decimal logarithms; what vanished or overflowed is left out of the line (the title tells of it)."""
    return np.where(np.isfinite(logs), logs / _LOG10, np.nan)


def _median(axes: Axes, profile: "NetworkGradients", **look: Any) -> None:
    axes.plot(_layers(profile), _shown(profile.log_median), zorder=3, **look)


def _band(axes: Axes, profile: "NetworkGradients", colour: str, edge: Any = None) -> None:
    low, high = (_shown(profile.log_quantiles[:, column]) for column in (0, -1))
    axes.fill_between(_layers(profile), low, high, color=colour, alpha=0.2, linewidth=0, zorder=2)
    for line in (low, high) if edge is not None else ():
        axes.plot(_layers(profile), line, color=colour, linestyle=edge, linewidth=0.7, zorder=2)


def _decades(axes: Axes) -> None:
    """Label an axis of decimal logarithms by the numbers themselves."""
    low, high = axes.get_ylim()
    if high - low < 4:
        marks = [math.log10(m) + e for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
        marks = [mark for mark in marks if low <= mark <= high]
        axes.yaxis.set_major_locator(FixedLocator(marks))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda mark, _: f"{10**mark:.3g}"))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda mark, _: power_of(round(mark))))
    axes.yaxis.set_minor_locator(NullLocator())


def _legend(report: "GradientReport") -> list[Artist]:
    settings = report.settings
    handles: list[Artist] = [
        Line2D([], [], linewidth=2.2, label="as it is, Haar weights", **_PLAIN_LOOK),
        Line2D([], [], label="as it is, Gaussian weights", **_PLAIN_GAUSSIAN_LOOK),
        Line2D([], [], label="mean field (predicted)", **_MEAN_FIELD_LOOK),
        Line2D([], [], linewidth=2.2, label=f"batch norm of k = {settings.batch}, Haar weights", **_BATCH_LOOK),
        Line2D([], [], linewidth=2.0, label="GPN, Haar weights", **_GPN_LOOK),
        Line2D([], [], linewidth=2.0, label="GPN, Gaussian weights", **_GAUSSIAN_LOOK),
        Line2D([], [], label="90 % band predicted (Haar weights)", **_BAND_LOOK),
        Patch(
            facecolor="0.8",
            label=f"median and 90 % of {settings.trials} networks ({settings.batch_trials}: batch norm)",
        ),
    ]
    if any(report.find(name, GPN, main_root=False) is not None for name in report.activations):
        handles.append(Line2D([], [], label="GPN, the other root, Haar weights: 90 %", **_OTHER_LOOK))
    return handles
