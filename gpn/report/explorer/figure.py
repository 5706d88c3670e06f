"""The figure of the explorer: six panels whose artists are made once and moved with each view.

Each function makes the artists of one panel and returns what moves them. Labels are plain Unicode: mathematics in TeX
takes matplotlib a third of the drawing time.
"""

import io
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text as MatplotlibText
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from gpn.report.explorer.model import STARTS, WIDTHS, Root, View
from gpn.report.plots.activation import LENGTHS, REACH, lengths_across, lengths_upwards, show_density
from gpn.report.plots.style import CURVE_STYLES, GREY, PALETTE, TITLE_HEIGHT, log_scale, plain_power, style_axes
from gpn.report.words.text import ROOT_SIGNS, plain, short_number
from theory.numerics.arithmetic import FloatArray

DPI = 90
_SIZE = (12.4, 7.0)  # inches
_COLOURS = {"plus": PALETTE[1], "minus": PALETTE[0]}
_STYLES = {"plus": CURVE_STYLES[1], "minus": CURVE_STYLES[0]}
_MARKS = {"attracting": ("full", 6), "marginal": ("left", 8), "repelling": ("none", 10)}  # one may lie on another
_LEAST = 1e-6
_WORDS = 44  # characters of a line in a panel
_FINE_TICKS, _DECADES = (1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 7.0, 8.5), 30.0  # of gradient norms, by their range
_NOWHERE = np.empty(0)
Draw = Callable[[View], None]


class Panels:
    """The figure and its artists.

    Attributes:
        figure: a `matplotlib.figure.Figure`, the same for all views.
    """

    def __init__(self) -> None:
        self.figure = Figure(figsize=_SIZE, dpi=DPI)
        (value, slope, lengths), (path, bands, tails) = grid = self.figure.subplots(2, 3)
        self.figure.subplots_adjust(left=0.055, right=0.985, top=0.925, bottom=0.08, wspace=0.24, hspace=0.42)
        for axes in grid.flat:
            style_axes(axes)
            for axis in (axes.xaxis, axes.yaxis):
                axis.label.set_fontsize(9)
            axes.xaxis.set_label_coords(0.5, -0.11)  # given, or matplotlib would measure all tick labels
            axes.yaxis.set_label_coords(-0.13, 0.5)
        self._panels = (
            _curves(value, "value", _value_title),
            _curves(slope, "slope", _slope_title),
            _length_map(lengths),
            _paths(path),
            _bands(bands),
            _tails(tails),
        )
        value.legend(fontsize=8.5, frameon=False, loc="upper left")

    def draw(self, view: View) -> None:
        """Move every artist to a view."""
        for draw in self._panels:
            draw(view)

    def png(self) -> bytes:
        """The figure as it stands."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 1})
        return buffer.getvalue()


def _curves(axes: Axes, quantity: str, title: Callable[[View], str]) -> Draw:
    """The activation ("value") or its "slope", as given and normalized."""
    show_density(axes, "0.88")
    given = axes.plot([], [], color="0.35", linestyle=":", linewidth=1.6, label="as given")[0]
    lines = {name: _line(axes, name) for name in _COLOURS}
    axes.set(xlim=(-REACH, REACH), xlabel="z (standard deviations)")

    def draw(view: View) -> None:
        curves = [getattr(view.shape, quantity)]
        given.set_data(view.shape.points, curves[0])
        for name, line in lines.items():
            curves.append(getattr(_roots(view).get(name), quantity, np.full_like(curves[0], np.nan)))
            line.set_data(view.shape.points, curves[-1])
        axes.set_ylim(*_limits(np.concatenate(curves)))
        _set_title(axes, title(view))

    return draw


def _value_title(view: View) -> str:
    name, numbers = plain(view.shape.phi.name, 26), view.shape.numbers
    return f"{name}: E φ² = {numbers.second_moment:.4g}" if np.isfinite(numbers.mean) else f"{name}: not normalizable"


def _slope_title(view: View) -> str:
    numbers = view.shape.numbers
    return f"E φ'² = {numbers.slope_second_moment:.4g}" if np.isfinite(numbers.mean) else "its slope"


def _limits(values: FloatArray) -> tuple[float, float]:
    """Limits of an axis that a pole cannot blow up."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return -1.0, 1.0
    low, high = np.clip([finite.min(), finite.max()], -10, 10)
    room = max(0.08 * (high - low), 0.1)
    return float(low - room), float(high + room)


def _length_map(axes: Axes) -> Draw:
    """The length maps of both roots with their fixed points."""
    axes.plot(LENGTHS, LENGTHS, color=GREY, linewidth=1.0)
    lines = {name: _line(axes, name) for name in _COLOURS}
    look: dict[str, Any] = {"color": "black", "zorder": 4}
    points = {
        stability: axes.plot([], [], "o", fillstyle=fill, markersize=size, label=stability, **look)[0]
        for stability, (fill, size) in _MARKS.items()
    }
    message = _message(axes)
    lengths_across(axes)
    lengths_upwards(axes)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    axes.set(xlabel="squared length per neuron q", ylabel="Q(q), after a layer")
    handles = list(points.values())
    axes.legend(handles=handles, fontsize=8.5, frameon=False, loc="upper left", title="fixed points")

    def draw(view: View) -> None:
        roots = _roots(view)
        for name, line in lines.items():
            line.set_data(*((roots[name].lengths, roots[name].mapped) if name in roots else (_NOWHERE, _NOWHERE)))
        for stability, marks in points.items():
            places = [p.q for r in view.shape.roots for p in r.fixed_points if p.stability == stability and p.q > 0]
            marks.set_data(places, places)
        message.set_text("" if roots else _wrapped(view.shape.numbers.reason))
        words = ", ".join(f"χ{ROOT_SIGNS[name]} = {root.chi:.4g}" for name, root in roots.items())
        _set_title(axes, f"Length map: {words}" if words else "Length map")

    return draw


def _paths(axes: Axes) -> Draw:
    """The squared length through the layers, from a tenth above and below 1."""
    axes.axhline(1.0, color=GREY, linewidth=0.9)
    lines = {(name, start): _line(axes, name) for name in _COLOURS for start in STARTS}
    message = _message(axes)
    lengths_upwards(axes)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="layer l", ylabel="squared length per neuron")

    def draw(view: View) -> None:
        roots, layers = _roots(view), np.arange(view.state.depth + 1)
        for (name, start), line in lines.items():
            line.set_data(layers, roots[name].path(start, view.state.depth) if name in roots else layers * np.nan)
        axes.set_xlim(0, max(view.state.depth, 1))
        message.set_text("" if roots else "no normalization, no path")
        held = _counted((root for root in roots.values() if root.returns), "return", "to 1")
        whole = _counted((root for root in roots.values() if root.continuum), "keep", "any length")
        words = ", ".join([*held, *whole]) or "nothing returns to 1"
        _set_title(axes, f"10 % off: {words}" if roots else "Squared length by layer")

    return draw


def _counted(roots: Iterable[Root], verb: str, rest: str) -> list[str]:
    """What some roots do in depth, in words; an empty list if there is no such root."""
    names = [f"b{ROOT_SIGNS[root.name]}" for root in roots]
    return [f"{' and '.join(names)} {verb}{'s' if len(names) == 1 else ''} {rest}"] if names else []


def _bands(axes: Axes) -> Draw:
    """Quantiles of the gradient norm of every layer, predicted or of sampled networks."""
    axes.axhline(1.0, color=GREY, linewidth=0.9)
    fill = axes.fill_between([1.0, 2.0], 1.0, 1.0, color=PALETTE[2], alpha=0.25, linewidth=0)
    median = axes.plot([], [], color=PALETTE[2], linewidth=2.0)[0]
    message = _message(axes)
    log_scale(axes, "y")
    axes.set(xlabel="layer l (L: top)", ylabel="|∂E/∂Wₗ| / √n (Frobenius)")

    def draw(view: View) -> None:
        depth, bands = view.state.depth, view.bands
        layers = np.arange(1, depth + 1)
        shown = np.ones((depth, 3)) if bands is None else bands
        fill.set_data(layers, shown[:, 0], shown[:, -1])
        median.set_data(layers, shown[:, 1] if bands is not None else layers * np.nan)
        low, high = (0.5, 2.0) if bands is None else (float(shown.min()) / 1.1, float(shown.max()) * 1.1)
        axes.set(xlim=(1, max(depth, 2)), ylim=(min(low, 0.8), max(high, 1.25)))
        wide = high > _DECADES * low
        axes.yaxis.set_major_locator(LogLocator(numticks=8) if wide else LogLocator(subs=_FINE_TICKS))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(lambda value, _: plain_power(value) if wide else f"{value:g}")
        message.set_text("" if bands is not None else _wrapped(view.bands_reason))
        factor = short_number(float(np.max(np.maximum(shown, 1 / shown))))
        those = f"{view.sampled} networks" if view.sampled else "gradient norms"
        words = "Gradient norms: no prediction" if bands is None else f"90 % of {those}: factor {factor}"
        _set_title(axes, words)

    return draw


def _tails(axes: Axes) -> Draw:
    """Predicted probability and bound against width."""
    predicted = axes.fill_between([1.0, 2.0], 1.0, 1.0, color=PALETTE[2], alpha=0.35, linewidth=1.2)
    predicted.set_label("whole network: predicted between")
    here = axes.axvline(WIDTHS[0], color=GREY, linewidth=1.0)
    bounded = axes.plot([], [], color=PALETTE[5], linestyle="--", linewidth=1.9, marker="s", markersize=3)[0]
    bounded.set_label("one layer: Lévy's bound")
    message = _message(axes)
    log_scale(axes, "x", base=2)
    log_scale(axes, "y")
    axes.set(xlim=(WIDTHS[0], WIDTHS[-1]), ylim=(_LEAST, 2))
    axes.xaxis.set_major_locator(FixedLocator(WIDTHS[::2]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="width n (neurons)", ylabel="probability of leaving the tolerance")
    axes.legend(fontsize=8.5, frameon=False, loc="lower left")

    def draw(view: View) -> None:
        edges = np.clip(view.predicted, _LEAST / 10, 2)
        predicted.set_data(WIDTHS, edges[:, 0], edges[:, 1])
        here.set_xdata([view.state.width, view.state.width])
        bounded.set_data(WIDTHS, np.where(view.bounded > 0, view.bounded, np.nan))
        nothing = not np.isfinite(view.predicted).any() and not np.isfinite(view.bounded).any()
        message.set_text(_wrapped(view.bands_reason) if nothing else "")
        _set_title(axes, f"ε = {view.state.epsilon:g}, L = {view.state.depth}: {_range(view)}")

    return draw


def _range(view: View) -> str:
    """Where the prediction lies at the width that is shown, in words."""
    low, high = view.at_width
    if not np.isfinite(low):
        return "no prediction"
    words = f"below {plain_power(_LEAST)}" if high <= _LEAST else f"{short_number(low, 2)} to {short_number(high, 2)}"
    return f"{words} at n = {view.state.width}"


def _set_title(axes: Axes, words: str) -> None:
    axes.set_title(words.replace("$", r"\$"), fontsize=9.5, fontweight="bold", loc="left", y=TITLE_HEIGHT)


def _message(axes: Axes) -> MatplotlibText:
    box = {"facecolor": "white", "edgecolor": "none", "pad": 4}
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9.5, "color": "0.3", "bbox": box}
    return axes.text(0.5, 0.6, "", transform=axes.transAxes, **look)


def _wrapped(words: str) -> str:
    return textwrap.fill(plain(words, 300).replace("$", r"\$"), _WORDS)


def _line(axes: Axes, name: str) -> Line2D:
    """The line of one root, still empty."""
    look: dict[str, Any] = {"color": _COLOURS[name], "linestyle": _STYLES[name], "linewidth": 1.9}
    return axes.plot([], [], label=f"a φ + b{ROOT_SIGNS[name]}", **look)[0]


def _roots(view: View) -> dict[str, Root]:
    return {root.name: root for root in view.shape.roots}
