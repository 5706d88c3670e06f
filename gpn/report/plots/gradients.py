"""The gradient norm of every layer, with bands and the prediction."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from gpn.report.plots.style import CURVE_STYLES, GREY, PALETTE, literal, one_panel, panel_title, style_axes
from gpn.report.words.findings import gradient_finding
from gpn.report.words.selection import largest, median_column, positive_or_nan

if TYPE_CHECKING:
    from gpn.verification.results import Profile, VerificationReport


def gradient_by_layer(report: "VerificationReport") -> Figure:
    """Draw the gradient norm of every layer with quantile bands, the claim beside its controls.

    Shows |dE/dW_l|_F / sqrt(n) against l at the largest depth and width of the report: median and band between
    the outermost quantiles of the profiles (5 % and 95 %).
    """
    profiles = largest(report.profiles)
    limits = _enlarged_limits(profiles)
    if limits is None:
        figure, axes = one_panel(6.8, 5.6)
        panels = [axes]
    else:
        figure = Figure(figsize=(9.2, 5.6), layout="constrained")
        panels = list(figure.subplots(1, 2, width_ratios=(2, 3)))
        panel_title(panels[0], "all networks")
        panel_title(panels[1], "enlarged")
    for axes in panels:
        _panel(axes, profiles, report.config.inputs is None)
    if limits is not None:
        panels[1].set_ylim(*limits)
    for axes in panels:
        _plain_numbers(axes)
    panels[0].set_ylabel(r"$\|\partial E/\partial W_l\|_F \;/\; \sqrt{n}$")
    figure.suptitle(literal(gradient_finding(profiles)), fontsize=11, fontweight="bold", x=0.01, ha="left")
    if profiles:
        low, high = 100 * profiles[0].probabilities[0], 100 * profiles[0].probabilities[-1]
        words = f"width n = {profiles[0].width}, median and {low:g} % to {high:g} % band"
        handles, labels = panels[0].get_legend_handles_labels()
        place: dict[str, Any] = {"loc": "outside lower left", "alignment": "left", "ncols": len(panels)}
        figure.legend(handles, labels, fontsize=9, frameon=False, title=words, title_fontsize=9, **place)
    return figure


def _panel(axes: Axes, profiles: "list[Profile]", is_thin_shell: bool) -> None:
    for order, profile in enumerate(profiles):
        _profile(axes, profile, PALETTE[order % len(PALETTE)], CURVE_STYLES[order % len(CURVE_STYLES)])
    if is_thin_shell:  # else the top gradient is that of a loss, of no fixed length
        axes.axhline(1.0, color=GREY, linewidth=0.9, zorder=1, label="all norms preserved")
    style_axes(axes)
    axes.set(yscale="log", xlabel="layer l (1: next to the input, L: top)")
    if profiles:
        axes.set_xlim(1, max(profiles[0].depth, 2))
        axes.xaxis.set_major_locator(FixedLocator(_layer_ticks(profiles[0].depth)))


def _plain_numbers(axes: Axes) -> None:
    """Label a logarithmic axis of few decades by 1, 2, 5 and their multiples of ten."""
    low, high = axes.get_ylim()
    if high < 1e3 * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.yaxis.set_minor_locator(NullLocator())


def _enlarged_limits(profiles: "list[Profile]") -> tuple[float, float] | None:
    """The range of the claim's band with its prediction, where a control leaves it by more than a decade."""
    bands = [
        positive_or_nan(part)
        for profile in profiles
        if profile.role == "claim"
        for part in (profile.gradient_norms, profile.predicted)
        if part is not None
    ]
    edges = np.concatenate([band[np.isfinite(band)] for band in bands]) if bands else np.zeros(0)
    if not edges.size:
        return None
    low, high = float(edges.min()), float(edges.max())
    medians = [positive_or_nan(profile.gradient_norms)[:, median_column(profile)] for profile in profiles]
    far = any(bool(((median < low / 10) | (median > 10 * high)).any()) for median in medians)
    return (low / 1.6, high * 1.6) if far else None


def _profile(axes: Axes, profile: "Profile", colour: str, style: Any) -> None:
    layers = np.arange(1, profile.depth + 1)
    quantiles = positive_or_nan(profile.gradient_norms)
    axes.fill_between(layers, quantiles[:, 0], quantiles[:, -1], color=colour, alpha=0.18, linewidth=0)
    for edge in (quantiles[:, 0], quantiles[:, -1]):
        axes.plot(layers, edge, color=colour, linestyle=style, linewidth=0.8)
    median = quantiles[:, median_column(profile)]
    label = literal(f"{profile.label} ({profile.trials} networks)")
    axes.plot(layers, median, color=colour, linestyle=style, linewidth=2.0, label=label)
    if profile.predicted is not None:
        share = 100 * (profile.probabilities[-1] - profile.probabilities[0])
        for column, words in ((0, f"{share:.0f} % band of the fluctuation law"), (-1, None)):
            edge = positive_or_nan(profile.predicted[:, column])
            axes.plot(layers, edge, color="black", linestyle=(0, (4, 2)), linewidth=1.1, zorder=4, label=words)


def _layer_ticks(depth: int) -> list[int]:
    """Round layer numbers, with the first and the last layer."""
    inner = MaxNLocator(6, integer=True).tick_values(1, depth)
    return [1, *(int(tick) for tick in inner if 1 + depth / 12 < tick < depth - depth / 12), depth]
