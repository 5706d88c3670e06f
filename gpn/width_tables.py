"""What a person reads of `gpn width`."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from gpn.tables import new_table, plain, short_number

if TYPE_CHECKING:
    from gpn.width import Requirement, WidthReport

METHODS = {
    "deep": ("deep bound", "proved bound"),
    "levy": ("Lévy bound", "proved bound"),
    "cramer": ("Cramér bound", "bound, numerical"),
    "exact": ("exact law", "numerical"),
    "prediction": ("fluctuation law", "asymptotic, no bound"),
    "simulation": ("simulation", "Monte Carlo, to about 3 %"),
}
"""Each kind of requirement: what it is called, and what its number is worth."""

_UNKNOWN = {"width": "least width", "depth": "largest depth", "epsilon": "least ε"}


def width(report: "WidthReport") -> RenderableType:
    """The report of `gpn width`: what is asked, one line for each method, what it means."""
    table = new_table(
        ("scope", "method", _UNKNOWN[report.unknown], "probability there", "what it is"), words=("scope", "what it is")
    )
    for requirement in report.requirements:
        method, worth = METHODS[requirement.kind]
        value = "none" if requirement.value is None else value_text(report.unknown, requirement.value)
        table.add_row(requirement.scope, method, value, short_number(requirement.probability), worth)
    notes = [Text(f"{_label(r)}: none, {plain(r.reason, 300)}", style="dim") for r in report.requirements if r.reason]
    return Group(Text(question(report), style="bold"), Text(), table, *([Text(), *notes] if notes else []))


def question(report: "WidthReport") -> str:
    """What was asked, in words."""
    given = {"width": report.width, "depth": report.depth, "epsilon": report.epsilon}
    words = {"width": "width n = ", "depth": "depth L = ", "epsilon": "ε = "}
    known = ", ".join(f"{words[name]}{value:g}" for name, value in given.items() if value is not None)
    return (
        f"{plain(report.activation)}: the {_UNKNOWN[report.unknown]} at which, with probability "
        f"{1 - report.probability:g}, all squared gradient norms lie within e^±ε of the top one; {known}"
    )


def width_finding(report: "WidthReport") -> str:
    """What the methods ask for of the whole network, in one line for a title."""
    found = [r for r in report.requirements if r.scope == "whole network" and r.value is not None]
    parts = [f"{METHODS[r.kind][0]} {value_text(report.unknown, r.value or 0.0)}" for r in found]
    return f"{plain(report.activation, 40)}, {_UNKNOWN[report.unknown]}: {', '.join(parts) or 'none by any method'}"


def value_text(unknown: str, value: float) -> str:
    """A width or a depth as a whole number, epsilon with three digits."""
    return short_number(value) if unknown == "epsilon" else f"{value:,.0f}"


def _label(requirement: "Requirement") -> str:
    return f"{requirement.scope}, {METHODS[requirement.kind][0]}"
