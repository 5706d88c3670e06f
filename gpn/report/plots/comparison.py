"""Figures of the training comparison: accuracies by depth, losses, gradient norms over layers and steps."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from gpn.report.plots.style import (
    GREY,
    PALETTE,
    TITLE_HEIGHT,
    inches_across,
    literal,
    log_scale,
    many_panels,
    panel_title,
    style_axes,
)
from gpn.report.words.paper_findings import display, network_words
from gpn.reproduction.comparison_grid import RECIPES
from gpn.reproduction.comparison_results import DIVERGED
from gpn.reproduction.comparison_runs import CURVES

if TYPE_CHECKING:
    from gpn.reproduction.comparison_results import ComparisonReport, Measured, Outcome

_ROWS = (
    ("Normalization, root and weights", ("gpn", "gpn-other", "gpn-gaussian", "plain", "plain-gaussian", "linear")),
    ("Usual remedies", ("gpn", "gpn-adam", "plain-gaussian", "plain-gaussian-bn", "plain-gaussian-adam", "linear")),
)
_LOOKS: dict[str, tuple[int, str, Any]] = {  # colour, marker, line style
    "gpn": (0, "o", "-"),
    "gpn-other": (4, "s", "--"),
    "gpn-gaussian": (2, "^", "-."),
    "plain": (1, "D", "--"),
    "plain-gaussian": (5, "v", ":"),
    "plain-gaussian-bn": (3, "P", "-."),
    "gpn-adam": (6, "X", "--"),
    "plain-gaussian-adam": (2, "<", ":"),
    "linear": (6, "*", ":"),
}
_DECADES = (-6.0, 2.0)  # of gradient norms, relative to the median of the first step


def accuracies_by_depth(report: "ComparisonReport", *, ax: Axes | None = None) -> Figure:
    """Draw the test accuracy by depth: means over seeds with their intervals, and every network as a point."""
    names = report.activations
    rows = [row for row in _ROWS if sum(bool(_deep(report, recipe)) for recipe in row[1]) > 1] or [_ROWS[0]]
    size = (2.0 + 2.6 * len(names), 0.8 + 3.1 * len(rows))
    figure = many_panels(max(size[0], 6.0), size[1], ax)
    grid = figure.subplots(len(rows), len(names), squeeze=False, sharex=True, sharey=True)
    for line, (words, recipes) in zip(grid, rows, strict=True):
        for axes, name in zip(line, names, strict=True):
            _accuracy_panel(axes, report, name, recipes)
            panel_title(axes, display(name))
        line[0].set_ylabel(f"{words}\ntest accuracy", fontsize=9)
        _legend(line[-1], report, recipes)
    for axes in grid[-1]:
        axes.set_xlabel("depth L (hidden layers)", fontsize=9)
    _headline(figure, _finding(report))
    return figure.figure


def losses_by_epoch(report: "ComparisonReport", *, ax: Axes | None = None) -> Figure:
    """Draw the training loss by epoch at the greatest depth, a line for each network."""
    names, deep = report.activations, report.depths[-1]
    figure = many_panels(max(2.0 + 2.6 * len(names), 6.0), 3.6, ax)
    [line] = figure.subplots(1, len(names), squeeze=False, sharey=True)
    for axes, name in zip(line, names, strict=True):
        for recipe in RECIPES:
            measured = report.find(name, recipe, deep)
            for outcome in () if measured is None else measured.outcomes:
                _loss_line(axes, recipe, outcome)
        axes.axhline(math.log(report.settings.classes), color=GREY, linestyle=":", linewidth=1.2)
        log_scale(axes, "y")
        axes.set_xlabel("epoch", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel_title(axes, display(name))
        style_axes(axes)
    line[0].set_ylabel("training loss (nats per sample)", fontsize=9)
    _legend(line[-1], report, tuple(RECIPES))
    words = f"Training loss, {deep} layers, a line for each seed; dotted grey: guessing; a cross: diverged"
    _headline(figure, words)
    return figure.figure


def norms_while_training(report: "ComparisonReport", *, ax: Axes | None = None) -> Figure:
    """Draw the gradient norm of every layer over the steps at the greatest depth: first seed, each kind of network."""
    names, deep = report.activations, report.depths[-1]
    recipes = [recipe for recipe in RECIPES if _deep(report, recipe)]
    figure = many_panels(1.4 + 1.6 * len(recipes), max(1.3 + 1.5 * len(names), 3.2), ax)
    grid = figure.subplots(len(names), len(recipes), squeeze=False, sharex=True, sharey=True)
    mesh = None
    for line, name in zip(grid, names, strict=True):
        for axes, recipe in zip(line, recipes, strict=True):
            mesh = _heat(axes, report, report.find(name, recipe, deep)) or mesh
        line[0].set_ylabel(f"{display(name)}\nlayer l", fontsize=8.5)
    for axes, recipe in zip(grid[0], recipes, strict=True):
        axes.set_title(RECIPES[recipe].words.replace(", ", ",\n"), fontsize=8, fontweight="bold", y=TITLE_HEIGHT)
    for axes in grid[-1]:
        axes.set_xlabel("step", fontsize=8.5)
    if mesh is not None:
        bar = figure.colorbar(mesh, ax=grid, extend="both", shrink=0.7)
        bar.set_label("$\\log_{10}\\,\\|\\partial E/\\partial W_l\\|_F$\n0: median of the first step", fontsize=8.5)
    _headline(figure, f"Gradient norm of every layer while {deep} layers train (first seed)")
    return figure.figure


def _headline(figure: Figure | SubFigure, words: str) -> None:
    """The title of a figure, wrapped at its width."""
    lines = textwrap.fill(literal(words), int(10.5 * inches_across(figure)))
    figure.suptitle(lines, fontsize=11, fontweight="bold", x=0.01, ha="left")


def _finding(report: "ComparisonReport") -> str:
    """The finding over all activations at the greatest depth, and the best of all networks there."""
    deep, ends = report.depths[-1], []
    for recipe, words in (("gpn", "GPN, orthogonal"), ("plain-gaussian", "plain, Gaussian")):
        accuracies = [100 * measured.accuracy for measured in _deep(report, recipe)]
        if accuracies:
            low, high = f"{min(accuracies):.0f}", f"{max(accuracies):.0f}"
            ends.append(f"{words} {low if low == high else f'{low} to {high}'}\u00a0%")
    deepest = [measured for measured in report.measured if measured.candidate.depth == deep]
    best = max(deepest, key=lambda measured: measured.accuracy)
    ends.append(f"best: {display(best.candidate.activation)}, {RECIPES[best.candidate.recipe].words} {_percent(best)}")
    level = f"{100 * report.settings.level:g}\u00a0% t intervals over {report.settings.seeds} seeds"
    return f"Test accuracy at {deep} layers: {'; '.join(ends)} ({level})"


def _percent(measured: "Measured") -> str:
    return f"{100 * measured.accuracy:.0f}\u00a0%"


def _deep(report: "ComparisonReport", recipe: str) -> "list[Measured]":
    """The networks of a recipe at the greatest depth."""
    networks = [report.find(name, recipe, report.depths[-1]) for name in report.activations]
    return [measured for measured in networks if measured is not None]


def _accuracy_panel(axes: Axes, report: "ComparisonReport", name: str, recipes: Sequence[str]) -> None:
    depths = report.depths
    for order, recipe in enumerate(recipes):
        networks = {place: report.find(name, recipe, depth) for place, depth in enumerate(depths)}
        run = {place + 0.09 * (order - 2): network for place, network in networks.items() if network is not None}
        if not run:
            continue
        means = np.array([network.accuracy for network in run.values()])
        limits = np.array([network.interval(report.settings.level) for network in run.values()]).T
        look = _look(recipe)
        axes.errorbar(list(run), means, yerr=np.abs(limits - means), capsize=2, elinewidth=0.9, linewidth=1.2, **look)
        for place, network in run.items():
            dots = [outcome.accuracy for outcome in network.outcomes]
            axes.plot([place] * len(dots), dots, ".", color=look["color"], markersize=3, alpha=0.7)
    axes.axhline(report.settings.commonest, color=GREY, linestyle=":", linewidth=1.2)
    axes.set_xticks(range(len(depths)), [str(depth) for depth in depths])
    axes.set_ylim(0.0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    style_axes(axes)


def _legend(axes: Axes, report: "ComparisonReport", recipes: Sequence[str]) -> None:
    """The recipes that were run, and what the dotted line is, right of the panels."""
    for recipe in recipes:
        if any(measured.candidate.recipe == recipe for measured in report.measured):
            axes.plot([], [], label=RECIPES[recipe].words, **_look(recipe))
    axes.plot([], [], color=GREY, linestyle=":", label="guessing")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _loss_line(axes: Axes, recipe: str, outcome: "Outcome") -> None:
    look, curve = _look(recipe) | {"markersize": 3}, outcome.curves[:, CURVES.index("train_loss")]
    epochs = np.arange(1, len(curve) + 1)
    axes.plot(epochs, curve, linewidth=1.1, markevery=max(1, len(curve) // 4), **look)
    if outcome.outcome == DIVERGED and len(curve):
        axes.plot(epochs[-1], curve[-1], "x", color=look["color"], markersize=7)


def _look(recipe: str) -> dict[str, Any]:
    colour, marker, line = _LOOKS[recipe]
    return {"color": PALETTE[colour], "marker": marker, "markersize": 4.5, "linestyle": line}


def _heat(axes: Axes, report: "ComparisonReport", measured: "Measured | None") -> QuadMesh | None:
    """One heat map; what vanished to 0 has the colour of the lower end, what was not recorded is white."""
    axes.tick_params(labelsize=7.5)
    if measured is None:
        axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", va="center", fontsize=7.5)
        return None
    outcome, budget = measured.outcomes[0], report.settings.budget
    learned = f"{network_words(measured).split(',')[0]}: {outcome.accuracy:.0%}"
    words = "diverged" if outcome.outcome == DIVERGED else learned
    axes.text(0.97, 0.95, words, transform=axes.transAxes, ha="right", va="top", fontsize=7.5,
              bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.0})  # fmt: skip
    axes.set_xlim(0, budget.epochs * (report.settings.train_samples // budget.batch))
    axes.set_ylim(0.5, measured.candidate.depth + 1.5)
    logs = outcome.log_gradient_norms / math.log(10)
    if not len(logs):
        return None
    first = logs[0][np.isfinite(logs[0])]
    low, high = (2 * end for end in _DECADES)
    shown = np.clip(logs - (np.median(first) if len(first) else 0.0), low, high)
    steps = outcome.recorded_steps.astype(np.float64)
    edges = np.append(steps, steps[-1] + (steps[-1] - steps[-2] if len(steps) > 1 else 1.0))
    layers = np.arange(logs.shape[1] + 1) + 0.5
    return axes.pcolormesh(edges, layers, shown.T, norm=Normalize(*_DECADES), cmap="cividis", rasterized=True)
