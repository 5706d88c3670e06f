"""Tables in the terminal of `gpn design`, `gpn spectrum` and `gpn check --depth`."""

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from gpn.report.tables.columns import Column, terminal_table
from gpn.report.words.terminal import paragraphs
from gpn.report.words.text import TableCell, plain, short_number
from gpn.report.words.trainability import (
    depth_sentence,
    design_finding,
    laws_finding,
    layers_text,
    spectrum_finding,
)
from gpn.report.words.verdicts import verdict_word
from gpn.statistics.limits import Verdict

if TYPE_CHECKING:
    from gpn.checking.depth_conditions import Condition, DepthConditions
    from gpn.checking.designing import DesignReport
    from gpn.checking.spectrum import SpectrumReport

_VERDICTS = {Verdict.HOLDS: "green", Verdict.VIOLATED: "bold red", Verdict.UNDECIDED: "yellow"}
_STYLES = {"kept": "green", "weak": "yellow", "lost": "bold red", "not known": "yellow"}
_QUANTITIES = {
    "mean": "mean square",
    "relative_variance": "relative variance",
    "third_moment": "third moment",
    "effective_rank": "effective rank",
    "share_below": "share below 1e-3",
    "separation": "1 - correlation",
    "tangent_kernel": "tangent kernel",
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


def depth_answer(found: "DepthConditions", lights: bool, whose: str = "") -> RenderableType:
    """What depth leaves: a sentence, and the four conditions line by line if they are asked for (`lights`)."""
    sentence = Text(depth_sentence(found, whose))
    if not lights:
        return sentence
    title = f"At {layers_text(found.depth)}{f', of {whose}' * bool(whose)}"
    return paragraphs([sentence], [Text(title, style="bold"), conditions(found)])


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
    title = Text(f"{plain(report.spec)} at {layers_text(report.chosen.depth)}", style="bold")
    beside: list[RenderableType] = []
    if report.plain is not None:
        beside = [Text("The activation itself, normalized", style="bold"), conditions(report.plain)]
    return paragraphs(chosen, [title, conditions(report.conditions)], beside)


def spectrum(report: "SpectrumReport") -> RenderableType:
    """Prediction and measurement of each quantity, and the verdict on the laws."""
    frame = report.to_frame().astype(object)
    rows = frame.where(frame.notna(), None).to_dict("records")
    columns: tuple[Column[dict[Hashable, Any]], ...] = (
        Column("quantity", lambda row: _QUANTITIES[row["quantity"]]),
        Column("predicted", lambda row: short_number(row["predicted"]), right=True),
        Column("allowed", lambda row: _interval(row["allowed_lower"], row["allowed_upper"]), right=True),
        Column("median", lambda row: short_number(row["median"]), right=True),
        Column("its limits", lambda row: _interval(row["lower"], row["upper"]), right=True),
        Column("verdict", lambda row: _verdict(row["verdict"])),
    )
    where = (
        f"{plain(report.activation)}: width {report.width}, depth {report.depth}, weights {report.weights}, "
        f"{len(report.squares)} networks, seed {report.seed}"
    )
    finding = [Text(spectrum_finding(report), style="bold"), Text(laws_finding(report))]
    return paragraphs(finding, [Text(where)], [terminal_table(columns, rows)])


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{short_number(low)} to {short_number(high)}"


def _verdict(verdict: Verdict | None) -> TableCell:
    return (
        TableCell("", None)
        if verdict is None
        else TableCell(verdict_word(verdict), verdict, _VERDICTS.get(verdict, ""))
    )
