"""Tables in the terminal of `gpn design`, `gpn spectrum` and `gpn check --depth`."""

from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from gpn.report.tables.columns import Column, terminal_table
from gpn.report.words.terminal import paragraphs
from gpn.report.words.text import TableCell, plain, short_number
from gpn.report.words.trainability import depth_sentence, design_finding, spectrum_finding

if TYPE_CHECKING:
    from gpn.checking.depth_conditions import Condition, DepthConditions
    from gpn.checking.designing import DesignReport
    from gpn.checking.spectrum import SpectrumReport

_STYLES = {"kept": "green", "weak": "yellow", "lost": "bold red"}
_QUANTITIES = {
    "mean": "mean of the squares",
    "relative_variance": "relative variance of the squares",
    "effective_rank": "effective rank",
    "share_below": "share below 1e-3 of the mean",
}


def conditions(found: "DepthConditions") -> Table:
    """One line for each of the four conditions: a light, a number and what it is."""
    columns: tuple[Column[Condition], ...] = (
        Column("condition", lambda one: one.name),
        Column("", lambda one: TableCell(one.light, one.light, _STYLES[one.light])),
        Column("value", lambda one: TableCell(short_number(one.value), one.value), right=True),
        Column("what it is", lambda one: one.words, wraps=True),
    )
    return terminal_table(columns, found.all())


def depth_answer(found: "DepthConditions", lights: bool) -> RenderableType:
    """What depth leaves: a sentence, and the four conditions line by line if they are asked for."""
    sentence = Text(f"In depth, {depth_sentence(found)}")
    if not lights:
        return sentence
    return paragraphs([sentence], [Text(f"At {found.depth} layers", style="bold"), conditions(found)])


def design(report: "DesignReport") -> RenderableType:
    """The chosen member, its conditions, and those of the plain activation beside it."""
    chosen = [
        Text(design_finding(report), style="bold"),
        Text(
            f"a = {report.a:.10g}, b = {report.b:.10g} (root {report.activation.root}, "
            f"chi = {report.activation.chi:.4g}); curvature spent {report.chosen.spent:.3g} of "
            f"{report.chosen.curvature:g}"
        ),
    ]
    title = Text(f"{plain(report.spec)} at {report.chosen.depth} layers", style="bold")
    beside: list[RenderableType] = []
    if report.plain is not None:
        beside = [Text("The activation itself, normalized", style="bold"), conditions(report.plain)]
    return paragraphs(chosen, [title, conditions(report.conditions)], beside)


def spectrum(report: "SpectrumReport") -> RenderableType:
    """Prediction and measurement of each quantity."""
    rows = list(report.to_frame().itertuples(index=False))
    columns: tuple[Column[object], ...] = (
        Column("quantity", lambda row: _QUANTITIES[row.quantity]),  # type: ignore[attr-defined]
        Column("predicted", lambda row: short_number(row.predicted), right=True),  # type: ignore[attr-defined]
        Column("measured", lambda row: short_number(row.measured), right=True),  # type: ignore[attr-defined]
        Column("standard error", lambda row: short_number(row.standard_error), right=True),  # type: ignore[attr-defined]
    )
    where = (
        f"{plain(report.activation)}: width {report.width}, depth {report.depth}, weights {report.weights}, "
        f"{len(report.squares)} networks, seed {report.seed}"
    )
    return paragraphs([Text(spectrum_finding(report), style="bold")], [Text(where)], [terminal_table(columns, rows)])
