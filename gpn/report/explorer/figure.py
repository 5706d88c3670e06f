"""The figure of the explorer: six panels whose artists are made once and moved with each view.

Labels are plain Unicode: mathematics in TeX takes matplotlib a third of the drawing time.
"""

import io
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from gpn.report.explorer.model import STARTS, WIDTHS, Root, View
from gpn.report.plots.activation import LENGTHS, REACH, lengths_across, lengths_upwards
from gpn.report.plots.style import CURVE_STYLES, GREY, PALETTE, style_axes
from gpn.report.words.text import plain, short_number

FloatArray = npt.NDArray[np.float64]
DPI = 90
_SIZE = (12.4, 7.0)  # inches
_SUBSCRIPTS = {"plus": "₊", "minus": "₋"}
_COLOURS = {"plus": PALETTE[1], "minus": PALETTE[0]}
_STYLES = {"plus": CURVE_STYLES[1], "minus": CURVE_STYLES[0]}
_MARKS = {"attracting": ("full", 6), "marginal": ("left", 8), "repelling": ("none", 10)}  # one may lie on another
_LEAST = 1e-6
_WORDS = 44  # characters of a line in a panel


class Panels:
    """The figure and its artists.

    Attributes:
        figure: a `matplotlib.figure.Figure`, the same for all views.
    """

    def __init__(self) -> None:
        self.figure = Figure(figsize=_SIZE, dpi=DPI)
        grid = self.figure.subplots(2, 3)
        self.figure.subplots_adjust(left=0.055, right=0.985, top=0.925, bottom=0.08, wspace=0.24, hspace=0.42)
        for axes in grid.flat:
            style_axes(axes)
        (value, slope, lengths), (path, bands, tails) = grid
        self._parts = (
            _Curves(value, "φ(z)", "value", legend=True),
            _Curves(slope, "φ'(z)", "slope", legend=False),
            _LengthMap(lengths),
            _Paths(path),
            _Bands(bands),
            _Tails(tails),
        )

    def draw(self, view: View) -> None:
        """Move every artist to a view."""
        for part in self._parts:
            part.draw(view)

    def png(self) -> bytes:
        """The figure as it stands."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 1})
        return buffer.getvalue()


def _finding(axes: Axes, words: str) -> None:
    where = 1.02  # said, or matplotlib would measure all tick labels to find a place
    axes.set_title(words.replace("$", r"\$"), fontsize=9.5, fontweight="bold", loc="left", y=where)


def _message(axes: Axes) -> Any:
    room = {"facecolor": "white", "edgecolor": "none", "pad": 4}
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9.5, "color": "0.3", "bbox": room}
    return axes.text(0.5, 0.6, "", transform=axes.transAxes, **look)


def _wrapped(words: str) -> str:
    return textwrap.fill(plain(words, 300).replace("$", r"\$"), _WORDS)


def _lines(axes: Axes, names: Sequence[str]) -> dict[str, Line2D]:
    return {
        name: axes.plot([], [], color=_COLOURS[name], linestyle=_STYLES[name], linewidth=1.9, label=_label(name))[0]
        for name in names
    }


def _label(name: str) -> str:
    return f"a φ + b{_SUBSCRIPTS[name]}"


def _roots(view: View) -> dict[str, Root]:
    return {root.name: root for root in view.shape.roots}


class _Curves:
    """The activation, or its slope, as given and normalized."""

    def __init__(self, axes: Axes, name: str, what: str, *, legend: bool) -> None:
        self.axes, self.what, self.name = axes, what, name
        z = np.linspace(-REACH, REACH, 161)
        behind = axes.get_xaxis_transform()
        axes.fill_between(z, 0, 0.2 * np.exp(-(z**2) / 2), color="0.88", linewidth=0, transform=behind, zorder=0)
        self.given = axes.plot([], [], color="0.35", linestyle=":", linewidth=1.6, label="as given")[0]
        self.lines = _lines(axes, ("plus", "minus"))
        axes.set_xlim(-REACH, REACH)
        axes.set_xlabel("z (standard deviations)", fontsize=9)
        if legend:
            axes.legend(fontsize=8.5, frameon=False, loc="upper left")

    def draw(self, view: View) -> None:
        curves = [getattr(view.shape, self.what)]
        self.given.set_data(view.shape.points, curves[0])
        roots = _roots(view)
        for name, line in self.lines.items():
            curve = getattr(roots[name], self.what) if name in roots else np.full_like(curves[0], np.nan)
            line.set_data(view.shape.points, curve)
            curves.append(curve)
        self.axes.set_ylim(*_limits(np.concatenate(curves)))
        _finding(self.axes, self._words(view))

    def _words(self, view: View) -> str:
        numbers = view.shape.numbers
        known = bool(np.isfinite(numbers.mean))
        if self.what == "value":
            name = plain(view.shape.phi.name, 26)
            return f"{name}: E φ² = {numbers.second_moment:.4g}" if known else f"{name}: not normalizable"
        return f"E φ'² = {numbers.slope_second_moment:.4g}" if known else "its slope"


def _range(view: View) -> str:
    """Where the prediction lies at the width that is shown, in words."""
    low, high = view.at_width
    if not np.isfinite(low):
        return "no prediction"
    if high <= _LEAST:
        return f"below {_power(_LEAST)} at n = {view.state.width}"
    return f"{short_number(low, 2)} to {short_number(high, 2)} at n = {view.state.width}"


def _power(value: float) -> str:
    """A power of ten in plain text: matplotlib would parse mathematics anew at each draw."""
    exponent = round(np.log10(value))
    return "1" if exponent == 0 else f"10{str(exponent).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def _limits(values: FloatArray) -> tuple[float, float]:
    """Limits of an axis that a pole cannot blow up."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return -1.0, 1.0
    low, high = np.clip([finite.min(), finite.max()], -10, 10)
    room = max(0.08 * (high - low), 0.1)
    return float(low - room), float(high + room)


class _LengthMap:
    """The length maps of both roots with their fixed points."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        axes.plot(LENGTHS, LENGTHS, color=GREY, linewidth=1.0)
        self.lines = _lines(axes, ("plus", "minus"))
        self.points = {
            stability: axes.plot(
                [], [], "o", color="black", fillstyle=fill, markersize=size, zorder=4, label=stability
            )[0]
            for stability, (fill, size) in _MARKS.items()
        }
        self.message = _message(axes)
        lengths_across(axes)
        lengths_upwards(axes)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
        axes.set_xlabel("squared length per neuron q", fontsize=9)
        axes.set_ylabel("Q(q), after a layer", fontsize=9)
        handles = list(self.points.values())
        axes.legend(handles=handles, fontsize=8.5, frameon=False, loc="upper left", title="fixed points")

    def draw(self, view: View) -> None:
        roots = _roots(view)
        for name, line in self.lines.items():
            root = roots.get(name)
            nowhere = np.empty(0)
            line.set_data(root.lengths if root else nowhere, root.mapped if root else nowhere)
        for stability, marks in self.points.items():
            places = [p.q for r in view.shape.roots for p in r.fixed_points if p.stability == stability and p.q > 0]
            marks.set_data(places, places)
        self.message.set_text("" if roots else _wrapped(view.shape.numbers.reason))
        words = ", ".join(f"χ{_SUBSCRIPTS[name]} = {root.chi:.4g}" for name, root in roots.items())
        _finding(self.axes, f"Length map: {words}" if words else "Length map")


class _Paths:
    """The squared length through the layers, from a tenth above and below 1."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        axes.axhline(1.0, color=GREY, linewidth=0.9)
        self.lines = {(name, start): _lines(axes, (name,))[name] for name in ("plus", "minus") for start in STARTS}
        self.message = _message(axes)
        lengths_upwards(axes)
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("layer l", fontsize=9)
        axes.set_ylabel("squared length per neuron", fontsize=9)

    def draw(self, view: View) -> None:
        roots, layers = _roots(view), np.arange(view.state.depth + 1)
        for (name, start), line in self.lines.items():
            line.set_data(layers, roots[name].path(start, view.state.depth) if name in roots else layers * np.nan)
        self.axes.set_xlim(0, max(view.state.depth, 1))
        self.message.set_text("" if roots else "no normalization, no path")
        _finding(self.axes, self._words(roots))

    @staticmethod
    def _words(roots: dict[str, Root]) -> str:
        if not roots:
            return "Squared length by layer"
        held = [f"b{_SUBSCRIPTS[name]}" for name, root in roots.items() if root.returns]
        whole = [f"b{_SUBSCRIPTS[name]}" for name, root in roots.items() if root.continuum]
        words = [f"{' and '.join(held)} return{'s' if len(held) == 1 else ''} to 1"] if held else []
        words += [f"{' and '.join(whole)} keep{'s' if len(whole) == 1 else ''} any length"] if whole else []
        return f"10 % off: {', '.join(words) or 'nothing returns to 1'}"


class _Bands:
    """Predicted quantiles of the gradient norm of every layer."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        axes.axhline(1.0, color=GREY, linewidth=0.9)
        self.fill = axes.fill_between([1.0, 2.0], 1.0, 1.0, color=PALETTE[2], alpha=0.25, linewidth=0)
        self.median = axes.plot([], [], color=PALETTE[2], linewidth=2.0)[0]
        self.message = _message(axes)
        axes.set_yscale("log")
        axes.set_xlabel("layer l (L: top)", fontsize=9)
        axes.set_ylabel("|∂E/∂Wₗ| / √n (Frobenius)", fontsize=9)

    def draw(self, view: View) -> None:
        depth, bands = view.state.depth, view.bands
        layers = np.arange(1, depth + 1)
        shown = np.ones((depth, 3)) if bands is None else bands
        self.fill.set_data(layers, shown[:, 0], shown[:, -1])
        self.median.set_data(layers, shown[:, 1] if bands is not None else layers * np.nan)
        low, high = (0.5, 2.0) if bands is None else (float(shown.min()) / 1.1, float(shown.max()) * 1.1)
        self.axes.set_ylim(min(low, 0.8), max(high, 1.25))
        self.axes.set_xlim(1, max(depth, 2))
        self.axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 7.0, 8.5)))
        self.axes.yaxis.set_minor_locator(NullLocator())
        self.axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        self.message.set_text("" if bands is not None else _wrapped(view.bands_reason))
        _finding(self.axes, self._words(view))

    @staticmethod
    def _words(view: View) -> str:
        if view.bands is None:
            return "Gradient norms: no prediction"
        factor = float(np.max(np.maximum(view.bands, 1 / view.bands)))
        return f"90 % of gradient norms: factor {short_number(factor)}"


class _Tails:
    """Predicted probability and bound against width."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self.range = axes.fill_between([1.0, 2.0], 1.0, 1.0, color=PALETTE[2], alpha=0.35, linewidth=1.2)
        self.range.set_label("whole network: predicted between")
        self.here = axes.axvline(WIDTHS[0], color=GREY, linewidth=1.0)
        self.bounded = axes.plot([], [], color=PALETTE[5], linestyle="--", linewidth=1.9, marker="s", markersize=3)[0]
        self.bounded.set_label("one layer: Lévy's bound")
        self.message = _message(axes)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlim(WIDTHS[0], WIDTHS[-1])
        axes.set_ylim(_LEAST, 2)
        axes.yaxis.set_major_formatter(lambda value, _: _power(value))
        axes.xaxis.set_major_locator(FixedLocator(WIDTHS[::2]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("width n (neurons)", fontsize=9)
        axes.set_ylabel("probability of leaving the tolerance", fontsize=9)
        axes.legend(fontsize=8.5, frameon=False, loc="lower left")

    def draw(self, view: View) -> None:
        edges = np.clip(view.predicted, _LEAST / 10, 2)
        self.range.set_data(WIDTHS, edges[:, 0], edges[:, 1])
        self.here.set_xdata([view.state.width, view.state.width])
        self.bounded.set_data(WIDTHS, np.where(view.bounded > 0, view.bounded, np.nan))
        nothing = not np.isfinite(view.predicted).any() and not np.isfinite(view.bounded).any()
        self.message.set_text(_wrapped(view.bands_reason) if nothing else "")
        _finding(self.axes, f"ε = {view.state.epsilon:g}, L = {view.state.depth}: {_range(view)}")
