"""Figures of a training run: losses, accuracies, and the gradient norm of every layer over the steps."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from gpn.engine.norms import FloatArray
from gpn.report.plots.style import GREY, PALETTE, literal, log_scale, many_panels, panel_title, style_axes
from gpn.report.words.selection import positive_or_nan
from gpn.report.words.text import ROOT_SIGNS
from gpn.training.results import TrainingReport

_SMOOTHED = 100  # points of the loss curve
_DECADES = 6.0  # of gradient norms, from the largest down; what is below is drawn like the end of the scale


def training_run(report: TrainingReport, *, ax: Axes | None = None) -> Figure:
    """Draw the losses, the accuracies and a heat map of |dE/dW_l|_F over layers and steps."""
    figure = many_panels(11.5, 4.4, ax)
    losses, accuracies, norms = figure.subplots(1, 3, width_ratios=(1.0, 1.0, 1.35))
    _losses(losses, report)
    _accuracies(accuracies, report)
    _norms(figure, norms, report)
    figure.suptitle(literal(finding(report)), fontsize=12, fontweight="bold", wrap=True)
    return figure.figure


def finding(report: TrainingReport) -> str:
    """The title: what was trained, and the result."""
    config = report.config
    root = "" if config.root is None else f" (b{ROOT_SIGNS[config.root]})"
    what = f"{config.activation}{root}, {config.depth} layers of {config.width}, {config.weights.capitalize()} weights"
    if config.batch_normalization:
        what += ", batch normalization"
    if report.test_accuracy is None:
        steps = len(report.losses)
        return f"{what}: diverged after {steps} step{'s' * (steps != 1)}"
    return f"{what}: test accuracy {report.test_accuracy:.1%}"


def _losses(axes: Axes, report: TrainingReport) -> None:
    steps = np.arange(1, len(report.losses) + 1)
    marker = "." if len(steps) == 1 else ""  # one point is not a line
    means = _means(steps.astype(np.float64), report.losses)
    axes.plot(*means, color=PALETTE[0], linewidth=1.6, marker=marker, label="training batches")
    per_epoch = report.config.steps_per_epoch
    tests = np.array([(row.epoch * per_epoch, row.test_loss) for row in report.epochs]).reshape(-1, 2)
    tests = tests[np.isfinite(tests[:, 1]) & (tests[:, 1] > 0)]
    axes.plot(*tests.T, color=PALETTE[5], linestyle="--", marker=".", markersize=4, linewidth=1.2, label="test samples")
    guess = float(np.log(report.config.classes))
    axes.axhline(guess, color=GREY, linestyle=":", linewidth=1.2, label="guessing")
    log_scale(axes, "y")
    axes.set(xlabel="step", ylabel="cross-entropy (nats per sample)")
    panel_title(axes, "Loss")
    axes.legend(fontsize=8.5, frameon=False)
    style_axes(axes)


def _accuracies(axes: Axes, report: TrainingReport) -> None:
    epochs = [row.epoch for row in report.epochs]
    pairs = (("train_accuracy", "training batches", "-", 0), ("test_accuracy", "test samples", "--", 5))
    for name, words, line, colour in pairs:
        values = [getattr(row, name) for row in report.epochs]
        axes.plot(epochs, values, color=PALETTE[colour], linestyle=line, marker=".", markersize=4, label=words)
    axes.axhline(1.0 / report.config.classes, color=GREY, linestyle=":", linewidth=1.2, label="guessing")
    axes.set(ylim=(0.0, 1.02), xlabel="epoch", ylabel="accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panel_title(axes, "Accuracy")
    axes.legend(fontsize=8.5, frameon=False, loc="best")
    style_axes(axes)


def _norms(figure: Figure | SubFigure, axes: Axes, report: TrainingReport) -> None:
    """Layers upwards, steps to the right, the norm as a colour; what vanished or overflowed is left white."""
    norms = report.gradient_norms
    drawable = positive_or_nan(norms)
    panel_title(axes, "Gradient norm of every layer")
    axes.set(xlabel="step", ylabel=f"layer l ({norms.shape[1]}: the readout)")
    axes.yaxis.set_major_locator(MaxNLocator(8, integer=True))
    if not np.isfinite(drawable).any():
        axes.text(0.5, 0.5, "no finite gradient was recorded", transform=axes.transAxes, ha="center", fontsize=9)
        return
    top, low = float(np.nanmax(drawable)), float(np.nanmin(drawable))
    scale = LogNorm(max(low, top / 10.0**_DECADES), top * (1.0 + 1e-12) if top > low else 2.0 * top)
    edges = _edges(report.recorded_steps.astype(np.float64))
    layers = np.arange(norms.shape[1] + 1) + 0.5
    mesh = axes.pcolormesh(edges, layers, drawable.T, norm=scale, cmap="cividis", rasterized=True)
    extend = "min" if low < top / 10.0**_DECADES else "neither"
    bar = figure.colorbar(mesh, ax=axes, extend=extend)
    bar.set_label(r"$\|\partial E/\partial W_l\|_F$", fontsize=9)
    bar.ax.tick_params(labelsize=8.5)
    axes.tick_params(labelsize=9)


def _means(steps: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means over stretches of steps, so that the curve can be read."""
    parts = max(1, min(_SMOOTHED, len(values)))
    centres, means = (
        np.array([piece.mean() for piece in np.array_split(array, parts) if len(piece)]) for array in (steps, values)
    )
    return centres, means


def _edges(steps: FloatArray) -> FloatArray:
    """Borders of the columns of a heat map, halfway between the recorded steps."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middle = 0.5 * (steps[1:] + steps[:-1])
    return np.concatenate([[steps[0] - (middle[0] - steps[0])], middle, [steps[-1] + (steps[-1] - middle[-1])]])
