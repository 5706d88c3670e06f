"""Tables of the training comparison in the terminal."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from gpn.report.tables.columns import Column, terminal_table
from gpn.report.words.paper_findings import comparison_findings, display, network_words
from gpn.report.words.terminal import paragraphs
from gpn.report.words.text import TableCell, plain, short_number
from gpn.reproduction.comparison_grid import RECIPES
from gpn.reproduction.comparison_results import DIVERGED, TRAINED

if TYPE_CHECKING:
    from gpn.reproduction.comparison_results import ComparisonReport, Measured


def comparison(report: "ComparisonReport") -> RenderableType:
    """The whole report: what was run, a table for each activation, what the columns mean, what diverged and why."""
    settings, budget = report.settings, report.settings.budget
    head = (
        f"{plain(settings.data)}: {settings.train_samples} samples to train on, {settings.test_samples} to test; width "
        f"{budget.width}, {budget.epochs} epochs, batches of {budget.batch}, {settings.seeds} seeds"
    )
    tables: list[list[RenderableType]] = [
        [Text(display(name), style="bold"), terminal_table(_columns(report), _rows(report, name))]
        for name in report.activations
    ]
    tries = ", ".join(f"{factor:g}" for factor in settings.factors)
    legend = (
        f"rate: the best of {tries} times the default on validation samples (one seed, {budget.trial_epochs} epochs), "
        "and of further ones while the best lies at an end.",
        f"accuracy: mean test accuracy over the seeds; interval: {100 * settings.level:g} % t interval of that mean "
        "(choice of weights, not of test samples).",
        f"trained: networks better than guessing ({settings.commonest:.1%}), the lower exact limit of their accuracy "
        "being above. *: some diverged and count as networks that guess; others learned nothing.",
        "loss: of training in the last epoch. |dW1|: decimal logarithm of |dE/dW_1| / sqrt(n) at the first step, "
        "median; theory: the same for infinite width and an output gradient of 1.",
    )
    reasons = dict.fromkeys(
        plain(f"- {measured.candidate.words}: {outcome.reason}", 300)
        for measured in report.measured
        for outcome in measured.outcomes
        if outcome.outcome == DIVERGED
    )
    findings = [Text(line) for line in comparison_findings(report)]
    notes = [Text(line, style="dim") for line in (*legend, *reasons)]
    return paragraphs([Text(head, style="bold"), *findings], *tables, notes)


def _rows(report: "ComparisonReport", activation: str) -> "Iterator[Measured]":
    """The networks of an activation by recipe, then by depth."""
    for recipe in RECIPES:
        for depth in report.depths:
            measured = report.find(activation, recipe, depth)
            if measured is not None:
                yield measured


def _columns(report: "ComparisonReport") -> "tuple[Column[Measured], ...]":
    level, width = report.settings.level, report.settings.budget.width
    return (
        Column("network", network_words, wraps=True),
        Column("depth", lambda measured: str(measured.candidate.depth), right=True),
        Column("rate", lambda measured: short_number(measured.picked.rate, 2), right=True),
        Column("accuracy", lambda measured: f"{measured.accuracy:.1%}", right=True),
        Column("interval", lambda measured: _interval(*measured.interval(level)), right=True),
        Column("trained", _trained, right=True),
        Column("loss", lambda measured: short_number(measured.train_loss, 2), right=True),
        Column("|dW1|", lambda measured: _decimal(measured.log10_gradient(width)), right=True),
        Column("theory", lambda measured: _decimal(measured.prediction.log10_gradient), right=True),
    )


def _interval(lower: float, upper: float) -> str:
    return f"{100 * lower:.0f}-{100 * upper:.0f} %"


def _trained(measured: "Measured") -> TableCell:
    """How many networks learned something, of how many; a star where some of them diverged."""
    trained, total = measured.count(TRAINED), len(measured.outcomes)
    style = "green" if trained == total else "bold red" if trained == 0 else "yellow"
    return TableCell(f"{trained}/{total}{'*' if measured.count(DIVERGED) else ''}", trained / total, style)


def _decimal(exponent: float | None) -> str:
    return "-" if exponent is None else f"{exponent:+.1f}"
