"""Figures of a verification: exceedance against width, gradient norm by layer.

Figures are `matplotlib.figure.Figure` objects made without pyplot: no global state, no window, any thread. Colours
are those of Okabe and Ito (2008), told apart with every kind of colour vision; line styles, markers and lightness
carry the same information, so a grey print loses nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator

from gpn.evidence import IMPORTANCE_SAMPLING
from gpn.report import NO_BOUNDS
from gpn.tables import short_number
from gpn.verification_tables import claim_finding, claim_title, kind_name, report_finding
from gpn.width_tables import width_finding
from theory.claims import CLAIMS

if TYPE_CHECKING:
    from gpn.report import Profile, Row, VerificationReport
    from gpn.width import WidthReport

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
"""Okabe-Ito, ordered so that neighbours also differ in lightness."""

SIDES = {"upper": ("^", "above 1 + ε"), "lower": ("v", "below 1 - ε"), "either": ("o", "either way")}
_BOUND_STYLES: tuple[Any, ...] = ("-", "--", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 1)))
_PROFILE_STYLES: tuple[Any, ...] = ("-", "--", "-.", ":")
_LEAST_DRAWN = 1e-12
_GREY = "0.45"
_VACUOUS = 0.1  # share of the axis above probability 1, to show that a bound there says nothing


def exceedance_against_width(report: "VerificationReport") -> Figure:
    """Draw the observed exceedance frequencies against width, with their limits and every bound.

    One panel for each claim and depth, both axes logarithmic: estimates with the simultaneous confidence limits of
    the report, an arrow at the upper limit where nothing was seen, bounds as lines by kind, predictions dotted.

    Args:
        report: what `gpn.verify` returns.
    """
    panels = _panels(report.rows)
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    spare = columns * lines > len(panels)  # an empty cell takes the legend
    figure = Figure(figsize=(max(6.4, 4.1 * columns), 3.4 * lines + (0.4 if spare else 1.4)), layout="constrained")
    colours = _assign({row.epsilon for row in report.rows}, PALETTE)
    kinds = {row.bound_kind for row in report.rows if row.bound is not None}
    styles = _assign(kinds - set(NO_BOUNDS), _BOUND_STYLES)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, rows in zip(grid, panels, strict=False):
        _exceedance_panel(axes, rows, colours, styles)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.suptitle(_literal(report_finding(report)), fontsize=12, fontweight="bold", wrap=True)
    handles = _exceedance_legend(report.rows, colours, styles, report.config.level)
    if spare:
        grid[len(panels)].legend(handles=handles, loc="center left", fontsize=9.5, frameon=False)
    else:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(3, columns + 1), fontsize=9, frameon=False)
    return figure


def gradient_by_layer(report: "VerificationReport") -> Figure:
    """Draw the gradient norm of every layer with quantile bands, the claim beside its controls.

    Shows |dE/dW_l|_F / sqrt(n) against l at the largest depth and width of the report: median and band between
    the outermost quantiles of the profiles (5 % and 95 %).

    Args:
        report: what `gpn.verify` returns.
    """
    profiles = _largest(report.profiles)
    figure = Figure(figsize=(7.4, 4.9), layout="constrained")
    axes = figure.subplots()
    for order, profile in enumerate(profiles):
        _profile(axes, profile, PALETTE[order % len(PALETTE)], _PROFILE_STYLES[order % len(_PROFILE_STYLES)])
    if report.config.inputs is None:  # else the top gradient is that of a loss, of no fixed length
        axes.axhline(1.0, color=_GREY, linewidth=0.9, zorder=1, label="all norms preserved")
    _style(axes)
    axes.set_yscale("log")
    axes.set_xlabel("layer l (1: next to the input, L: top)")
    axes.set_ylabel(r"$\|\partial E/\partial W_l\|_F \;/\; \sqrt{n}$")
    finding = _literal(_profile_finding(profiles))
    axes.set_title(finding, fontsize=11, fontweight="bold", loc="left", wrap=True)
    if profiles:
        depth = profiles[0].depth
        axes.set_xlim(1, max(depth, 2))
        axes.xaxis.set_major_locator(FixedLocator(_layer_ticks(depth)))
        axes.legend(fontsize=9, frameon=False, title=_profile_caption(profiles[0]), title_fontsize=9)
    return figure


def probability_against_unknown(report: "WidthReport") -> Figure:
    """Draw the probability of leaving the tolerance against the width (or depth, or epsilon), one line for each method.

    Points are the values that the search evaluated; a diamond marks where a method meets the accepted probability.

    Args:
        report: what `gpn.required_width` returns.
    """
    figure = Figure(figsize=(7.4, 4.9), layout="constrained")
    axes = figure.subplots()
    drawn = [requirement for requirement in report.requirements if requirement.points]
    for order, requirement in enumerate(drawn):
        colour, style = PALETTE[order % len(PALETTE)], _BOUND_STYLES[order % len(_BOUND_STYLES)]
        points = np.array([(point.at, max(point.probability, _LEAST_DRAWN)) for point in requirement.points])
        label = f"{kind_name(requirement.kind)}, {requirement.scope}"
        axes.plot(*points.T, color=colour, linestyle=style, linewidth=1.5, marker=".", markersize=4, label=label)
        if requirement.value is not None and requirement.probability is not None:
            axes.plot(requirement.value, requirement.probability, "D", color=colour, markersize=6)
    axes.axhline(report.probability, color=_GREY, linewidth=0.9, zorder=1)
    axes.set_ylim(report.probability / 100, 1.5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    _style(axes)
    unknown = {"width": "width n (neurons)", "depth": "depth L (layers)", "epsilon": "tolerance ε"}
    axes.set_xlabel(unknown[report.unknown])
    axes.set_ylabel("probability, or bound, of leaving the tolerance")
    axes.set_title(_literal(width_finding(report)), fontsize=11, fontweight="bold", loc="left", wrap=True)
    axes.legend(fontsize=8.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _literal(text: str) -> str:
    """Text that a user may have chosen, kept from being read as a mathematical formula."""
    return text.replace("$", r"\$")


def _panels(rows: "Iterable[Row]") -> "list[list[Row]]":
    """Rows by claim and depth, in the order of the report."""
    panels: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        panels.setdefault((row.claim, row.depth), []).append(row)
    return list(panels.values())


def _assign(keys: Iterable[Any], looks: Sequence[Any]) -> dict[Any, Any]:
    return {key: looks[order % len(looks)] for order, key in enumerate(sorted(keys))}


def _exceedance_panel(axes: Axes, rows: "list[Row]", colours: Mapping[float, str], styles: Mapping[str, Any]) -> None:
    floor = _floor(rows)
    for order, ((epsilon, side), series) in enumerate(_series(rows).items()):
        shift = 1.0 + 0.07 * ((order % 4) - 1.5)  # bars at one width side by side
        marker, filled = SIDES[side][0], list(colours).index(epsilon) % 2 == 0
        _observed(axes, _sharpest(series), shift, floor, colours[epsilon], marker, filled)
        for kind in styles:
            bounds = [row for row in series if row.bound_kind == kind]
            _line(axes, bounds, "bound", colours[epsilon], styles[kind], 1.3)
        _line(axes, _sharpest(series), "prediction", colours[epsilon], ":", 1.6)
    ceiling = floor ** (-_VACUOUS / (1 - _VACUOUS))
    axes.axhspan(1.0, ceiling, facecolor="0.93", edgecolor="0.7", hatch="///", linewidth=0, zorder=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(floor, ceiling)
    axes.yaxis.set_minor_formatter(NullFormatter())
    _width_axis(axes, sorted({row.width for row in rows}))
    axes.set_ylabel(f"${CLAIMS[rows[0].claim].event}$" if rows[0].claim in CLAIMS else "probability")
    axes.set_title(claim_title(rows[0].claim, rows[0].depth), fontsize=10, fontweight="bold", loc="left", pad=20)
    axes.text(0, 1.02, claim_finding(rows), transform=axes.transAxes, fontsize=9, color="0.25")
    _style(axes)


def _series(rows: "list[Row]") -> "dict[tuple[float, str], list[Row]]":
    series: dict[tuple[float, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row.epsilon, row.side, row.width)):
        series.setdefault((row.epsilon, row.side), []).append(row)
    return series


def _sharpest(series: "list[Row]") -> "list[Row]":
    """One row for each event: by importance sampling where counting was too blunt."""
    events = {row.event: row for row in sorted(series, key=lambda row: row.method == IMPORTANCE_SAMPLING)}
    return list(events.values())


def _floor(rows: "list[Row]") -> float:
    """Lower end of the probability axis: half a decade below everything observed."""
    seen = [value for row in rows for value in (row.estimate, row.upper) if value > 0]
    return float(10.0 ** np.floor(np.log10(min(seen, default=1e-3)) - 0.3))


def _observed(
    axes: Axes, series: "list[Row]", shift: float, floor: float, colour: str, marker: str, filled: bool
) -> None:
    seen = [row for row in series if row.exceedances > 0]
    centre = np.array([row.estimate for row in seen])
    lower = np.array([max(row.lower, floor / 10) for row in seen])
    upper = np.array([row.upper for row in seen])
    axes.errorbar(
        shift * np.array([row.width for row in seen], dtype=float),
        centre,
        yerr=np.maximum([centre - lower, upper - centre], 0),  # limits of earlier looks may exclude the frequency
        linestyle="none",
        color=colour,
        marker=marker,
        markersize=5.5,
        markerfacecolor=colour if filled else "white",
        elinewidth=1.2,
        capsize=2.5,
        zorder=3,
    )
    for row in (row for row in series if row.exceedances == 0):
        axes.annotate(
            "",
            xy=(shift * row.width, max(row.upper * 0.45, floor)),
            xytext=(shift * row.width, row.upper),
            arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0},
        )
        axes.plot(shift * row.width, row.upper, marker="_", markersize=8, color=colour, markeredgewidth=1.6)


def _line(axes: Axes, series: "list[Row]", column: str, colour: str, style: Any, width: float) -> None:
    points = [(row.width, getattr(row, column)) for row in series if getattr(row, column) is not None]
    if points:
        marker = "." if len(points) == 1 else ""
        axes.plot(*np.array(points, dtype=float).T, color=colour, linestyle=style, linewidth=width, marker=marker)


def _width_axis(axes: Axes, widths: list[int]) -> None:
    axes.set_xlim(widths[0] / 1.45, widths[-1] * 1.45)
    axes.xaxis.set_major_locator(FixedLocator(widths))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([str(width) for width in widths])
    axes.set_xlabel("width n (neurons)")


def _style(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, which="major", color="0.88", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)


def _exceedance_legend(
    rows: "Sequence[Row]", colours: Mapping[float, str], styles: Mapping[str, Any], level: float
) -> list[Any]:
    handles: list[Any] = [
        Line2D([], [], color=colour, linewidth=5, label=f"ε = {epsilon:g}") for epsilon, colour in colours.items()
    ]
    present = {row.side for row in rows}
    handles += [
        Line2D([], [], color=_GREY, marker=marker, linestyle="none", label=f"observed {words}")
        for side, (marker, words) in SIDES.items()
        if side in present
    ]
    limits = f"simultaneous {100 * level:g} % limits"
    handles.append(Line2D([], [], color=_GREY, marker="|", markersize=11, linestyle="none", label=limits))
    if any(row.exceedances == 0 for row in rows):
        arrow = "nothing seen: upper limit"
        handles.append(Line2D([], [], color=_GREY, marker=r"$\downarrow$", markersize=9, linestyle="none", label=arrow))
    handles += [Line2D([], [], color=_GREY, linestyle=style, label=kind_name(kind)) for kind, style in styles.items()]
    if any(row.prediction is not None for row in rows):
        handles.append(
            Line2D([], [], color=_GREY, linestyle=":", linewidth=1.6, label="exact or predicted probability")
        )
    if any(row.claim == "deep-gradient-ratio" for row in rows):
        handles.append(Line2D([], [], linestyle="none", label=r"$\nabla_l = \partial E/\partial W_l$"))
    handles.append(Patch(facecolor="0.93", edgecolor="0.7", hatch="///", label="a bound here says nothing"))
    return handles


def _largest(profiles: "Iterable[Profile]") -> "list[Profile]":
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
    label = _literal(f"{profile.label} ({profile.trials} networks)")
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


def _profile_finding(profiles: "list[Profile]") -> str:
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
        f"{claim.label}: in each of {claim.depth} layers {share:.0f} % of the gradient norms\n"
        f"are within a factor {short_number(factor)} of the top layer's median"
    )
