"""What all figures share: colours, line styles, axes.

Figures are `matplotlib.figure.Figure` objects made without pyplot: no global state, no window, any thread. Colours
are those of Okabe and Ito (2008), distinct with every kind of colour vision; line styles, markers and lightness
carry the same information, so a grey print loses nothing.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, LogLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from gpn.report.words.text import printable
from theory.errors import UsageError

R = TypeVar("R")

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
"""Okabe-Ito, ordered so that neighbours also differ in lightness."""
BOUND_STYLES: tuple[Any, ...] = ("-", "--", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 1)))
CURVE_STYLES: tuple[Any, ...] = ("-", "--", "-.", ":")
GREY = "0.45"
TITLE_HEIGHT = 1.0
"""Of a title above its axes, as a part of their height: else matplotlib measures all tick labels to find a place."""
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def literal(text: str) -> str:
    """Text that a user may have chosen: no formula of its own, and nothing that a font cannot draw."""
    return printable(text).replace("$", r"\$")


def assign(keys: Iterable[Any], looks: Sequence[Any]) -> dict[Any, Any]:
    """A look for each key, the same whatever the order of the keys."""
    return {key: looks[order % len(looks)] for order, key in enumerate(sorted(keys))}


def one_panel(width: float, height: float, ax: Axes | None = None) -> tuple[Figure, Axes]:
    """Return axes and their figure: those of the caller, or those of a new figure of so many inches."""
    if ax is not None:
        return ax.figure.figure, ax
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def many_panels(width: float, height: float, ax: Axes | None = None) -> Figure | SubFigure:
    """Return what several panels are drawn in: a new figure of so many inches, or the place of the caller's axes.

    The caller's axes stay where they are, empty and without a frame. `drawn.figure` is the whole figure.

    Raises:
        UsageError: the axes have no place in a grid.
    """
    if ax is None:
        return Figure(figsize=(width, height), layout="constrained")
    place = ax.get_subplotspec()
    if place is None:
        raise UsageError("this figure has several panels: make its axes by Figure.subplots or Figure.add_subplot")
    ax.set_axis_off()
    part = ax.figure.add_subfigure(place)
    part.set_facecolor("none")
    return part


def inches_across(figure: Figure | SubFigure) -> float:
    """The width of a figure or of a part of one."""
    return float(figure.bbox.width / figure.dpi)


def as_list(reports: R | Sequence[R]) -> list[R]:
    """One report, or several, as a list."""
    return list(reports) if isinstance(reports, Sequence) else [reports]


def panel_title(axes: Axes, words: str, pad: float | None = None) -> None:
    """Name one panel of several, `pad` points above it."""
    axes.set_title(words, fontsize=10, fontweight="bold", loc="left", y=TITLE_HEIGHT, pad=pad)


def legend_below(axes: Axes, columns: int = 1) -> None:
    """The legend under the axis and its label, where it covers no data."""
    figure = axes.figure.figure
    under = axes.transAxes + ScaledTranslation(0, -0.55, figure.dpi_scale_trans)  # inches
    look: dict[str, Any] = {"fontsize": 9, "frameon": False, "ncols": columns, "borderaxespad": 0.0}
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, 0.0), bbox_transform=under, **look)


def plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis of few decades by 1, 2, 5 and their multiples of ten."""
    low, high = sorted(axis.get_view_interval())
    if high < 1e3 * low:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axis.set_minor_locator(NullLocator())


def plain_power(value: float, base: float = 10.0) -> str:
    """A positive number as a multiple of a power, in plain characters.

    >>> [plain_power(value) for value in (1e-12, 2e-3, 1.0, 5.0, 10.0, 1e4)], plain_power(1024.0, 2.0)
    (['10⁻¹²', '2×10⁻³', '1', '5', '10', '10⁴'], '2¹⁰')
    """
    exponent = math.floor(math.log(value, base) + 1e-9)
    if exponent in (0, 1):
        return f"{value:g}"
    factor = "" if math.isclose(value, base**exponent, rel_tol=1e-6) else f"{value / base**exponent:g}×"
    return factor + power_of(exponent, base)


def power_of(exponent: int, base: float = 10.0) -> str:
    """A power in plain characters, also where float64 cannot hold it.

    >>> power_of(-400), power_of(0)
    ('10⁻⁴⁰⁰', '1')
    """
    return f"{base**exponent:g}" if exponent in (0, 1) else f"{base:g}{str(exponent).translate(_RAISED)}"


class _Powers(LogFormatterSciNotation):
    """Labels of a logarithmic axis in plain characters: a formula takes ten times as long to draw."""

    def __init__(self, base: float) -> None:
        super().__init__(base)
        self.base = base

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of a number, empty where matplotlib shows none."""
        return plain_power(x, self.base) if super().__call__(x, pos) else ""


def log_scale(axes: Axes, names: str, base: float = 10.0) -> None:
    """Make the axes named, "x", "y" or "xy", logarithmic, their labels in plain characters."""
    for name in names:
        getattr(axes, f"set_{name}scale")("log", base=base)
        axis: Axis = getattr(axes, f"{name}axis")
        axis.set_major_formatter(_Powers(base))
        axis.set_minor_formatter(_Powers(base))


def style_axes(axes: Axes) -> None:
    """No box, a light grid behind the data, small labels."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, which="major", color="0.88", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)


def title(axes: Axes, finding: str) -> None:
    """The finding of a figure above its axes, wrapped at the width of the figure."""
    axes.set_title(literal(finding), fontsize=11, fontweight="bold", loc="left", wrap=True, y=TITLE_HEIGHT)
