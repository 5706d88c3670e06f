"""What a person reads of the training comparison in the terminal."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gpn.report.words.paper_findings import comparison_findings, display, network_words
from gpn.report.words.terminal import new_table
from gpn.report.words.text import plain, short_number
from gpn.reproduction.comparison_grid import RECIPES
from gpn.reproduction.comparison_results import DIVERGED, TRAINED

if TYPE_CHECKING:
    from gpn.reproduction.comparison_results import ComparisonReport, Measured


_HEADERS = ("network", "depth", "rate", "accuracy", "interval", "trained", "loss", "|dW1|", "theory")


def comparison(report: "ComparisonReport") -> RenderableType:
    """The whole report: what was run, a table for each activation, what the columns mean, what diverged and why."""
    settings, budget = report.settings, report.settings.budget
    head = (
        f"{plain(settings.data)}: {settings.train_samples} samples to train on, {settings.test_samples} to test; width "
        f"{budget.width}, {budget.epochs} epochs, batches of {budget.batch}, {settings.seeds} seeds"
    )
    parts: list[RenderableType] = [Text(head, style="bold"), *(Text(line) for line in comparison_findings(report))]
    for activation in report.activations:
        parts += [Text(), Text(display(activation), style="bold"), _table(report, activation)]
    tries = ", ".join(f"{factor:g}" for factor in settings.factors)
    legend = (
        f"rate: the best of {tries} times the default on validation samples (one seed, {budget.trial_epochs} epochs).",
        f"accuracy: mean test accuracy over the seeds; interval: {100 * settings.level:g} % t interval of that mean "
        "(choice of weights, not of test samples).",
        f"trained: networks better than guessing ({settings.commonest:.1%}), the lower exact limit of their accuracy "
        "being above. *: some diverged and count as networks that guess; others learned nothing.",
        "loss: of training in the last epoch. |dW1|: decimal logarithm of |dE/dW_1| / sqrt(n) at the first step, "
        "median; theory: the same for infinite width and an output gradient of 1.",
    )
    parts += [Text(), *(Text(line, style="dim") for line in legend)]
    reasons = dict.fromkeys(
        f"- {each.candidate.words}: {outcome.reason}"
        for each in report.measured
        for outcome in each.outcomes
        if outcome.outcome == DIVERGED
    )
    return Group(*parts, *(Text(plain(reason, 300), style="dim") for reason in reasons))


def _table(report: "ComparisonReport", activation: str) -> Table:
    table = new_table(_HEADERS, right=_HEADERS[1:], words=("network",))
    for recipe in RECIPES:
        for depth in report.depths:
            each = report.find(activation, recipe, depth)
            if each is not None:
                table.add_row(*_cells(each, report))
    return table


def _cells(each: "Measured", report: "ComparisonReport") -> list[Text | str]:
    lower, upper = each.interval(report.settings.level)
    trained, total = each.count(TRAINED), len(each.outcomes)
    style = "green" if trained == total else "bold red" if trained == 0 else "yellow"
    gradient = each.log10_gradient(report.settings.budget.width)
    return [
        network_words(each),
        str(each.candidate.depth),
        short_number(each.picked.rate, 2),
        f"{each.accuracy:.1%}",
        f"{100 * lower:.0f}-{100 * upper:.0f} %",
        Text(f"{trained}/{total}{'*' if each.count(DIVERGED) else ''}", style=style),
        short_number(each.train_loss, 2),
        "-" if gradient is None else f"{gradient:+.1f}",
        f"{each.prediction.log10_gradient:+.1f}",
    ]
