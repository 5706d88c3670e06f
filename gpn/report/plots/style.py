"""What all figures share: colours, line styles, axes.

Figures are `matplotlib.figure.Figure` objects made without pyplot: no global state, no window, any thread. Colours
are those of Okabe and Ito (2008), distinct with every kind of colour vision; line styles, markers and lightness
carry the same information, so a grey print loses nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpn.report.words.text import printable

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
"""Okabe-Ito, ordered so that neighbours also differ in lightness."""
BOUND_STYLES: tuple[Any, ...] = ("-", "--", "-.", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 1)))
CURVE_STYLES: tuple[Any, ...] = ("-", "--", "-.", ":")
GREY = "0.45"


def literal(text: str) -> str:
    """Text that a user may have chosen: no formula of its own, and nothing that a font cannot draw."""
    return printable(text).replace("$", r"\$")


def assign(keys: Iterable[Any], looks: Sequence[Any]) -> dict[Any, Any]:
    """A look for each key, the same whatever the order of the keys."""
    return {key: looks[order % len(looks)] for order, key in enumerate(sorted(keys))}


def one_panel(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of so many inches with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def panel_title(axes: Axes, words: str) -> None:
    """Name one panel of several."""
    axes.set_title(words, fontsize=10, fontweight="bold", loc="left")


def style_axes(axes: Axes) -> None:
    """No box, a light grid behind the data, small labels."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, which="major", color="0.88", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)


def title(axes: Axes, finding: str) -> None:
    """The finding of a figure above its axes, wrapped at the width of the figure."""
    axes.set_title(literal(finding), fontsize=11, fontweight="bold", loc="left", wrap=True)
