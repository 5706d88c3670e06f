"""The gradient norm of every layer, with bands and the prediction."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from gpn.report.plots.style import CURVE_STYLES, GREY, PALETTE, literal, one_panel, style_axes, title
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
    figure, axes = one_panel(6.8, 5.6)
    for order, profile in enumerate(profiles):
        _profile(axes, profile, PALETTE[order % len(PALETTE)], CURVE_STYLES[order % len(CURVE_STYLES)])
    if report.config.inputs is None:  # else the top gradient is that of a loss, of no fixed length
        axes.axhline(1.0, color=GREY, linewidth=0.9, zorder=1, label="all norms preserved")
    style_axes(axes)
    axes.set(yscale="log", xlabel="layer l (1: next to the input, L: top)")
    axes.set_ylabel(r"$\|\partial E/\partial W_l\|_F \;/\; \sqrt{n}$")
    title(axes, gradient_finding(profiles))
    if profiles:
        depth = profiles[0].depth
        axes.set_xlim(1, max(depth, 2))
        axes.xaxis.set_major_locator(FixedLocator(_layer_ticks(depth)))
        low, high = 100 * profiles[0].probabilities[0], 100 * profiles[0].probabilities[-1]
        words = f"width n = {profiles[0].width}, median and {low:g} % to {high:g} % band"
        # below the axes, clear of the bands
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0.0, -0.13), "alignment": "left"}
        axes.legend(fontsize=9, frameon=False, title=words, title_fontsize=9, **place)
    return figure


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
