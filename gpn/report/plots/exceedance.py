"""Observed frequencies of the events of a verification against width, with every bound and the prediction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWN
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator

from gpn.report.plots.style import (
    BOUND_STYLES,
    GREY,
    PALETTE,
    as_list,
    assign,
    literal,
    log_scale,
    many_panels,
    one_panel,
    panel_title,
    style_axes,
    title,
)
from gpn.report.words.findings import claim_finding, claim_title, kind_name, report_finding
from gpn.report.words.selection import below_floor, below_panel, panel_floor, panel_rows
from theory.claims.counted import CountedClaim
from theory.claims.registry import CLAIMS
from theory.errors import UsageError

if TYPE_CHECKING:
    from gpn.verification.results import Row, VerificationReport

SIDES = {"upper": ("^", "above 1 + ε"), "lower": ("v", "below 1 − ε"), "either": ("o", "either way")}
_BOUND_MARKERS = {"upper": "2", "lower": "1", "either": ""}  # three thin legs that point up, or down
_VACUOUS = 0.1  # share of the axis above probability 1, to show that a bound there says nothing
_MOST_TICKS = 8
_LEGEND_LINE = 0.25  # inches
_STROKE = 1.2
_PANEL = (4.6, 4.2)  # inches
_LABEL = 0.1  # share of the axis that the label of a width takes


@dataclass(frozen=True, slots=True)
class _Looks:
    """The colour of each tolerance and the line style of each kind of bound, the same in all panels."""

    colours: dict[float, str]
    styles: dict[str, Any]

    @classmethod
    def of(cls, rows: "Sequence[Row]") -> "_Looks":
        kinds = {row.bound_kind for row in rows if row.bound is not None and row.kind.is_bound}
        return cls(assign({row.epsilon for row in rows}, PALETTE), assign(kinds, BOUND_STYLES))


def exceedance_against_width(report: "VerificationReport", *, ax: Axes | None = None) -> Figure:
    """Draw the observed exceedance frequencies against width, with their limits and every bound.

    One panel for each claim and depth, both axes logarithmic: estimates with the simultaneous confidence limits of
    the report, an arrow at the upper limit where nothing was seen, bounds as lines by kind, predictions dotted. What
    lies below a panel is marked at its lower edge.
    """
    panels, looks = panel_rows(report.rows), _Looks.of(report.rows)
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    handles = _legend(report, looks)
    spare = columns * lines > len(panels)  # an empty cell takes the legend
    across = min(3, columns + 1)
    below = 0.4 if spare else 0.5 + _LEGEND_LINE * -(-len(handles) // across)
    line = max(3.4, _LEGEND_LINE * len(handles) if spare else 0.0)
    figure = many_panels(max(6.4, 4.1 * columns), line * lines + below, ax)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, rows in zip(grid, panels, strict=False):
        _panel(axes, rows, looks)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.suptitle(literal(report_finding(report)), fontsize=12, fontweight="bold", wrap=True)
    if spare:
        grid[len(panels)].legend(handles=handles, loc="center left", fontsize=9.5, frameon=False)
    else:
        figure.legend(handles=handles, loc="outside lower center", ncols=across, fontsize=9, frameon=False)
    return figure.figure


def plot_exceedance(
    reports: "VerificationReport | Sequence[VerificationReport]",
    claim: str = CountedClaim.NETWORK,
    *,
    depth: int | None = None,
    epsilon: float | None = None,
    ax: Axes | None = None,
) -> Figure:
    r"""Draw how often one event was seen against width, for several activations in one pair of axes.

    By default the event of the theorem on a whole network, :math:`\max_l |\log G_l| \ge \epsilon`. Each report has its
    colour: estimates with their limits, its bounds as lines, the predicted probability dotted.

    Args:
        reports: what `gpn.verify` returned, once or several times.
        claim: the claim whose event is drawn, such as "forward-one-step".
        depth: L; the largest of the reports by default.
        epsilon: the tolerance; by default the largest that all reports have at this depth.
        ax: matplotlib axes to draw in; by default those of a new figure.

    Raises:
        UsageError: a report has no such event.

    >>> import gpn
    >>> runs = [gpn.verify(name, widths=(8, 16), depth=2, epsilons=0.5, trials=20) for name in ("relu", "abs")]
    >>> [line.get_text() for line in plot_exceedance(runs).axes[0].get_legend().get_texts()][:2]
    ['relu', 'abs']
    """
    several = as_list(reports)
    chosen = _same_event(several, claim, depth, epsilon)
    figure, axes = one_panel(7.6, 4.4, ax)
    looks = _Looks.of([row for rows in chosen for row in rows])
    floor = panel_floor([row for rows in chosen for row in rows])
    handles: list[Artist] = []
    for order, (report, rows) in enumerate(zip(several, chosen, strict=True)):
        colour = PALETTE[order % len(PALETTE)]
        shift = 1.0 + 0.05 * (order - (len(several) - 1) / 2)  # bars at one width side by side
        for side in dict.fromkeys(row.side for row in rows):
            series = sorted((row for row in rows if row.side == side), key=lambda row: row.width)
            _series(axes, series, looks, colour, (shift, floor, order % 2 == 0))
        handles.append(Line2D([], [], color=colour, linewidth=5, label=literal(report.config.activation)))
    handles += [Line2D([], [], color=GREY, linestyle=style, label=kind_name(k)) for k, style in looks.styles.items()]
    handles.append(Line2D([], [], color=GREY, linestyle=":", linewidth=1.6, label="exact or predicted probability"))
    _probability_axis(axes, floor)
    _width_axis(axes, sorted({row.width for rows in chosen for row in rows}))
    first = chosen[0][0]
    axes.set_ylabel(f"${CLAIMS[claim].event}$" if claim in CLAIMS else "probability")
    title(axes, f"{claim_title(claim, first.depth)}, ε = {first.epsilon:g}")
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=9, frameon=False)
    style_axes(axes)
    return figure


def _same_event(
    reports: "Sequence[VerificationReport]", claim: str, depth: int | None, epsilon: float | None
) -> "list[list[Row]]":
    """The rows of one event at all widths, for each report."""
    rows = [[row for row in report.rows if row.claim == claim] for report in reports]
    depths = set.intersection(*({row.depth for row in each} for each in rows)) if rows else set()
    deep = max(depths, default=None) if depth is None else depth
    rows = [[row for row in each if row.depth == deep] for each in rows]
    tolerances = set.intersection(*({row.epsilon for row in each} for each in rows)) if rows else set()
    wanted = max(tolerances, default=None) if epsilon is None else epsilon
    chosen = [[row for row in each if row.epsilon == wanted] for each in rows]
    if not chosen or not all(chosen):
        have = sorted({f"{row.claim} at depth {row.depth}, epsilon {row.epsilon:g}" for r in reports for row in r.rows})
        raise UsageError(
            f"not every report has {claim} at one depth ({deep}) and epsilon ({wanted}); "
            f"the reports have {'; '.join(have[:8]) or 'no rows'}"
        )
    return chosen


def exceedance_panel(report: "VerificationReport", claim: str, depth: int, *, ax: Axes | None = None) -> Figure:
    """Draw one panel of `exceedance_against_width` as a figure of its own; `exceedance_legend` explains all marks.

    Args:
        report: what `gpn.verify` returns.
        claim, depth: which panel.
        ax: axes to draw in; None for a new figure.
    """
    figure, axes = one_panel(*_PANEL, ax)
    rows = [row for row in report.rows if (row.claim, row.depth) == (claim, depth)]
    looks = _Looks.of(report.rows)
    _panel(axes, rows, looks)
    if ax is None:  # its colours and lines below it; where it is one of several, the legend is theirs
        own = _Looks.of(rows)
        handles = [*_tolerances(looks, own.colours), *_lines(rows, looks, own.styles)]
        figure.legend(handles=handles, loc="outside lower left", ncols=2, fontsize=8, frameon=False)
    return figure


def _tolerances(looks: _Looks, epsilons: "Iterable[float]") -> list[Artist]:
    return [Line2D([], [], color=looks.colours[each], linewidth=5, label=f"ε = {each:g}") for each in epsilons]


def _lines(rows: "Sequence[Row]", looks: _Looks, kinds: "Iterable[str]") -> list[Artist]:
    handles: list[Artist] = [Line2D([], [], color=GREY, linestyle=looks.styles[k], label=kind_name(k)) for k in kinds]
    if any(row.prediction is not None for row in rows):
        words = "exact or predicted probability"
        handles.append(Line2D([], [], color=GREY, linestyle=":", linewidth=1.6, label=words))
    return handles


def exceedance_legend(report: "VerificationReport", *, ax: Axes | None = None) -> Figure:
    """Draw what the marks of `exceedance_panel` mean, as a figure of the same size."""
    figure, axes = one_panel(*_PANEL, ax)
    axes.set_axis_off()
    axes.legend(handles=_legend(report, _Looks.of(report.rows)), loc="center", fontsize=9.5, frameon=False)
    return figure


def _panel(axes: Axes, rows: "list[Row]", looks: _Looks) -> None:
    floor = panel_floor(rows)
    all_series: dict[tuple[float, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row.epsilon, row.side, row.width)):
        all_series.setdefault((row.epsilon, row.side), []).append(row)
    for order, ((epsilon, _), series) in enumerate(all_series.items()):
        shift = 1.0 + 0.07 * (order - (len(all_series) - 1) / 2)  # bars at one width side by side
        colour, filled = looks.colours[epsilon], list(looks.colours).index(epsilon) % 2 == 0
        _series(axes, series, looks, colour, (shift, floor, filled))
        if low := sorted({width for _, width in below_floor(series, floor)}):
            mark: dict[str, Any] = {"marker": CARETDOWN, "linestyle": "none", "markersize": 6, "color": colour}
            edge = axes.get_xaxis_transform()  # the lower edge: something of this colour lies further down
            axes.plot([shift * width for width in low], [0] * len(low), transform=edge, clip_on=False, zorder=5, **mark)
    _probability_axis(axes, floor)
    _width_axis(axes, sorted({row.width for row in rows}))
    axes.set_ylabel(f"${CLAIMS[rows[0].claim].event}$" if rows[0].claim in CLAIMS else "probability")
    panel_title(axes, claim_title(rows[0].claim, rows[0].depth), pad=20)
    finding = axes.text(0, 1.02, claim_finding(rows), transform=axes.transAxes, fontsize=9, color="0.25")
    finding.set_in_layout(False)  # words wider than the axes would narrow them
    style_axes(axes)


def _series(axes: Axes, series: "list[Row]", looks: _Looks, colour: str, place: tuple[float, float, bool]) -> None:
    """One side of an event at all widths: what was seen, shifted aside, its bounds and its probability."""
    side, events, (shift, floor, filled) = series[0].side, _one_for_each_event(series), place
    _observed(axes, events, shift, floor, colour, SIDES[side][0], filled)
    for kind, style in looks.styles.items():
        look = {"color": colour, "linestyle": style, "linewidth": 1.3, "marker": _BOUND_MARKERS[side]}
        _line(axes, [row for row in series if row.bound_kind == kind], "bound", look)
    _line(axes, events, "prediction", {"color": colour, "linestyle": ":", "linewidth": 1.6})


def _one_for_each_event(series: "list[Row]") -> "list[Row]":
    return list({row.event: row for row in series}.values())


def _observed(
    axes: Axes, series: "list[Row]", shift: float, floor: float, colour: str, marker: str, filled: bool
) -> None:
    seen = [row for row in series if row.best_estimate > 0]
    centre = np.array([row.best_estimate for row in seen])
    lower = np.array([max(row.limits[0], floor / 10) for row in seen])
    upper = np.array([row.limits[1] for row in seen])
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
    for row in (row for row in series if row.best_estimate == 0):
        limit = row.limits[1]
        axes.annotate(
            "",
            xy=(shift * row.width, max(limit * 0.45, floor)),
            xytext=(shift * row.width, limit),
            arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0},
        )
        axes.plot(shift * row.width, limit, marker="_", markersize=8, color=colour, markeredgewidth=1.6)


def _line(axes: Axes, series: "list[Row]", column: str, look: dict[str, Any]) -> None:
    points = [(float(row.width), getattr(row, column)) for row in series if getattr(row, column) is not None]
    if len(points) == 1:  # a short stroke shows the line style
        ((width, value),) = points
        points = [(width / _STROKE, value), (width, value), (width * _STROKE, value)]
        look = look | {"markevery": [1]}
    if points:
        axes.plot(*np.array(points, dtype=float).T, **look, markersize=7)


def _probability_axis(axes: Axes, floor: float) -> None:
    """Decades up to 1, and above it a hatched band where a bound says nothing."""
    ceiling = floor ** (-_VACUOUS / (1 - _VACUOUS))
    axes.axhspan(1.0, ceiling, facecolor="0.93", edgecolor="0.7", hatch="///", linewidth=0, zorder=0)
    log_scale(axes, "y")
    axes.set_ylim(floor, ceiling)
    decades = round(-np.log10(floor))
    step = -(-decades // _MOST_TICKS)
    axes.yaxis.set_major_locator(FixedLocator([10.0**-decade for decade in range(0, decades + 1, step)]))
    axes.yaxis.set_minor_locator(LogLocator(subs="auto") if step == 1 and decades < _MOST_TICKS else NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _width_axis(axes: Axes, widths: list[int]) -> None:
    low, high = widths[0] / 1.45, widths[-1] * 1.45
    log_scale(axes, "x")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(widths))
    axes.xaxis.set_minor_locator(NullLocator())
    labels, free = list[str](), float("inf")
    for width in reversed(widths):  # a label that would run into that of a larger width is left out
        labels.append(str(width) if width * (high / low) ** _LABEL <= free else "")
        free = width if labels[-1] else free
    axes.set_xticklabels(labels[::-1])
    axes.set_xlabel("width n (neurons)")


def _legend(report: "VerificationReport", looks: _Looks) -> list[Artist]:
    rows, present = report.rows, {row.side for row in report.rows}
    handles = _tolerances(looks, looks.colours)
    for side, (marker, words) in SIDES.items():
        if side in present:
            handles.append(_sign(f"observed {words}", marker=marker))
    handles.append(_sign(f"simultaneous {100 * report.config.level:g} % limits", marker="|", markersize=11))
    if any(row.best_estimate == 0 for row in rows):
        handles.append(_sign("nothing seen: upper limit", marker=r"$\downarrow$", markersize=9))
    handles += _lines(rows, looks, looks.styles)
    if looks.styles:
        for side in ("upper", "lower"):
            if side in present:
                handles.append(_sign(f"on a bound: {SIDES[side][1]}", marker=_BOUND_MARKERS[side], markersize=8))
    if any(below_panel(panel) for panel in panel_rows(rows)):
        handles.append(_sign("a bound or probability below the panel", marker=CARETDOWN))
    if any(row.claim == CountedClaim.NETWORK for row in rows):
        handles.append(Line2D([], [], linestyle="none", label=r"$\nabla_l = \partial E/\partial W_l$"))
    handles.append(Patch(facecolor="0.93", edgecolor="0.7", hatch="///", label="a bound here says nothing"))
    return handles


def _sign(words: str, **look: Any) -> Line2D:
    return Line2D([], [], color=GREY, linestyle="none", label=words, **look)
