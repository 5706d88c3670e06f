"""The gradient norm of every layer, with bands and the prediction."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from gpn.plot_style import CURVE_STYLES, GREY, PALETTE, literal, style_axes, title
from gpn.tables import short_number

if TYPE_CHECKING:
    from gpn.report import Profile, VerificationReport


def gradient_by_layer(report: "VerificationReport") -> Figure:
    """Draw the gradient norm of every layer with quantile bands, the claim beside its controls.

    Shows |dE/dW_l|_F / sqrt(n) against l at the largest depth and width of the report: median and band between
    the outermost quantiles of the profiles (5 % and 95 %).

    Args:
        report: what `gpn.verify` returns.
    """
    profiles = largest(report.profiles)
    figure = Figure(figsize=(6.8, 5.6), layout="constrained")
    axes = figure.subplots()
    for order, profile in enumerate(profiles):
        _profile(axes, profile, PALETTE[order % len(PALETTE)], CURVE_STYLES[order % len(CURVE_STYLES)])
    if report.config.inputs is None:  # else the top gradient is that of a loss, of no fixed length
        axes.axhline(1.0, color=GREY, linewidth=0.9, zorder=1, label="all norms preserved")
    style_axes(axes)
    axes.set_yscale("log")
    axes.set_xlabel("layer l (1: next to the input, L: top)")
    axes.set_ylabel(r"$\|\partial E/\partial W_l\|_F \;/\; \sqrt{n}$")
    title(axes, gradient_finding(profiles))
    if profiles:
        depth = profiles[0].depth
        axes.set_xlim(1, max(depth, 2))
        axes.xaxis.set_major_locator(FixedLocator(_layer_ticks(depth)))
        words = _profile_caption(profiles[0])
        # below the axes, clear of the bands
        place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0.0, -0.13), "alignment": "left"}
        axes.legend(fontsize=9, frameon=False, title=words, title_fontsize=9, **place)
    return figure


def largest(profiles: "Iterable[Profile]") -> "list[Profile]":
    """The profiles of the deepest and then widest networks, the claim first."""
    ordered = list(profiles)
    if not ordered:
        return []
    top = max((profile.depth, profile.width) for profile in ordered)
    chosen = [profile for profile in ordered if (profile.depth, profile.width) == top]
    return sorted(chosen, key=lambda profile: profile.role != "claim")


def _profile(axes: Axes, profile: "Profile", colour: str, style: Any) -> None:
    layers = np.arange(1, profile.depth + 1)
    quantiles = _drawable(profile.gradient_norms)
    axes.fill_between(layers, quantiles[:, 0], quantiles[:, -1], color=colour, alpha=0.18, linewidth=0)
    for edge in (quantiles[:, 0], quantiles[:, -1]):
        axes.plot(layers, edge, color=colour, linestyle=style, linewidth=0.8)
    median = quantiles[:, _middle(profile)]
    label = literal(f"{profile.label} ({profile.trials} networks)")
    axes.plot(layers, median, color=colour, linestyle=style, linewidth=2.0, label=label)
    if profile.predicted is not None:
        share = 100 * (profile.probabilities[-1] - profile.probabilities[0])
        for column, words in ((0, f"{share:.0f} % band of the fluctuation law"), (-1, None)):
            edge = profile.predicted[:, column]
            axes.plot(layers, edge, color="black", linestyle=(0, (4, 2)), linewidth=1.1, zorder=4, label=words)


def _middle(profile: "Profile") -> int:
    """Column of the median."""
    return int(np.argmin(np.abs(np.asarray(profile.probabilities) - 0.5)))


def _layer_ticks(depth: int) -> list[int]:
    """Round layer numbers, with the first and the last layer."""
    inner = MaxNLocator(6, integer=True).tick_values(1, depth)
    return [1, *(int(tick) for tick in inner if 1 + depth / 12 < tick < depth - depth / 12), depth]


def _drawable(norms: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Values that a logarithmic axis can show: zeros (underflow) and non-finite values are left out."""
    values = np.asarray(norms, dtype=np.float64)
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _profile_caption(profile: "Profile") -> str:
    low, high = 100 * profile.probabilities[0], 100 * profile.probabilities[-1]
    return f"width n = {profile.width}, median and {low:g} % to {high:g} % band"


def gradient_finding(profiles: "list[Profile]") -> str:
    """How far the gradient norms of the claim lie from those of the top layer, in words."""
    claims = [profile for profile in profiles if profile.role == "claim"]
    if not claims:
        return "Gradient norm by layer"
    claim = claims[0]
    band = _drawable(claim.gradient_norms)
    top = band[-1, _middle(claim)]
    if not np.isfinite(band).all():
        return f"{claim.label}: gradients vanish or overflow"
    factor = float(np.max(np.maximum(band / top, top / band)))
    share = 100 * (claim.probabilities[-1] - claim.probabilities[0])
    return (
        f"{claim.label}: in each of {claim.depth} layers {share:.0f} % of the\n"
        f"gradient norms are within a factor {short_number(factor)} of the top layer's median"
    )
