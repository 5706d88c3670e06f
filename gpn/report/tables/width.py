"""The table of `gpn width` in the terminal."""

from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from gpn.report.tables.columns import Column, terminal_table
from gpn.report.words.findings import UNKNOWN_NAMES, value_text
from gpn.report.words.terminal import paragraphs
from gpn.report.words.text import plain, short_number
from gpn.verification.kinds import DEEP, kind_of

if TYPE_CHECKING:
    from gpn.verification.width_results import Requirement, WidthReport


def width(report: "WidthReport") -> RenderableType:
    """The report of `gpn width`: what is asked, one line for each method, what it means."""
    columns: tuple[Column[Requirement], ...] = (
        Column("scope", lambda requirement: requirement.scope, wraps=True),
        Column("method", lambda requirement: kind_of(requirement.kind).method),
        Column(UNKNOWN_NAMES[report.unknown], lambda requirement: _value(report, requirement)),
        Column("probability there", lambda requirement: short_number(requirement.probability)),
        Column("what it is", lambda requirement: kind_of(requirement.kind).worth, wraps=True),
    )
    notes = [
        Text(
            f"{row.scope}, {kind_of(row.kind).method}: {'none, ' * (row.value is None)}{plain(row.reason, 300)}",
            style="dim",
        )
        for row in report.requirements
        if row.reason
    ]
    if report.value(DEEP.name) is not None:
        notes.append(Text(f"{DEEP.method}: {UNKNOWN_NAMES[report.unknown]} found to within 2 %", style="dim"))
    return paragraphs([Text(question(report), style="bold")], [terminal_table(columns, report.requirements)], notes)


def question(report: "WidthReport") -> str:
    """The question, in words."""
    given = {"width": report.width, "depth": report.depth, "epsilon": report.epsilon}
    words = {"width": "width n = ", "depth": "depth L = ", "epsilon": "ε = "}
    known = ", ".join(f"{words[name]}{value:g}" for name, value in given.items() if value is not None)
    return (
        f"{plain(report.activation)}: the {UNKNOWN_NAMES[report.unknown]} at which, with probability "
        f"{1 - report.probability:g}, all squared gradient norms lie within e^±ε of the top one; {known}"
        f"{'' if report.weights == 'haar' else f', {report.weights.capitalize()} weights'}"
    )


def _value(report: "WidthReport", requirement: "Requirement") -> str:
    if requirement.value is None:
        return "none"
    sign = "≥ " if report.unknown == "depth" else "≤ "
    return sign * bool(requirement.reason) + value_text(report.unknown, requirement.value)
