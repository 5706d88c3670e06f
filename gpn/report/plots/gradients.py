"""The gradient norm of every layer, with bands and the prediction."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from gpn.report.plots.style import (
    CURVE_STYLES,
    GREY,
    PALETTE,
    as_list,
    literal,
    log_scale,
    many_panels,
    panel_title,
    plain_numbers,
    style_axes,
)
from gpn.report.words.findings import gradient_finding
from gpn.report.words.selection import largest, median_column, positive_or_nan

if TYPE_CHECKING:
    from gpn.verification.results import Profile, VerificationReport

_LABEL = 48  # characters of a label of which two stand beside each other


def gradient_by_layer(
    reports: "VerificationReport | Sequence[VerificationReport]", *, ax: Axes | None = None
) -> Figure:
    """Draw the gradient norm of every layer with quantile bands, the claim beside its controls.

    Shows |dE/dW_l|_F / sqrt(n) against l at the largest depth and width of the report: median and band between
    the outermost quantiles of the profiles (5 % and 95 %). Of several reports it shows the claims alone.

    Args:
        reports: what `gpn.verify` returned, once or several times.
        ax: axes whose place is taken; None for a new figure.
    """
    several = as_list(reports)
    profiles = [profile for report in several for profile in largest(report.profiles)
                if len(several) == 1 or profile.role == "claim"]  # fmt: skip
    limits = _enlarged_limits(profiles)
    figure = many_panels(6.8 if limits is None else 9.2, 5.1, ax)
    [panels] = figure.subplots(1, 1 + (limits is not None), squeeze=False, width_ratios=(2, 3) if limits else None)
    for axes in panels:
        _panel(axes, profiles, all(report.config.inputs is None for report in several))
    if limits is not None:
        panel_title(panels[0], "all networks")
        panel_title(panels[1], "enlarged")
        panels[1].set_ylim(*limits)
    for axes in panels:
        plain_numbers(axes.yaxis)
    unequal = any(report.config.layers for report in several)
    inputs = "n_{l-1}" if unequal else "n"
    panels[0].set_ylabel(rf"$\|\partial E/\partial W_l\|_F \;/\; \sqrt{{{inputs}}}$")
    finding = "\n".join(gradient_finding(largest(report.profiles)) for report in several)
    figure.suptitle(literal(finding), fontsize=11, fontweight="bold", x=0.01, ha="left")
    if profiles:
        low, high = 100 * profiles[0].probabilities[0], 100 * profiles[0].probabilities[-1]
        widths = ", ".join(str(width) for width in sorted({profile.width for profile in profiles}))
        words = f"{'widest layer' if unequal else 'width n ='} {widths}, median and {low:g} % to {high:g} % band"
        handles, labels = panels[0].get_legend_handles_labels()
        columns = len(panels) if max(map(len, labels)) <= _LABEL else 1
        place: dict[str, Any] = {"loc": "outside lower left", "alignment": "left", "ncols": columns}
        figure.legend(handles, labels, fontsize=9, frameon=False, title=words, title_fontsize=9, **place)
    return figure.figure


def _panel(axes: Axes, profiles: "list[Profile]", is_thin_shell: bool) -> None:
    for order, profile in enumerate(profiles):
        _profile(axes, profile, PALETTE[order % len(PALETTE)], CURVE_STYLES[order % len(CURVE_STYLES)])
    if is_thin_shell:  # else the top gradient is that of a loss, of no fixed length
        axes.axhline(1.0, color=GREY, linewidth=0.9, zorder=1, label="all norms preserved")
    style_axes(axes)
    log_scale(axes, "y")
    axes.set(xlabel="layer l (1: next to the input, L: top)")
    if profiles:
        depth = max(profile.depth for profile in profiles)
        axes.set_xlim(1, max(depth, 2))
        axes.xaxis.set_major_locator(FixedLocator(_layer_ticks(depth)))


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
