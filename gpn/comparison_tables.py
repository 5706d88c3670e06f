"""What a person reads of the training comparison in the terminal."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gpn.comparison_grid import RECIPES
from gpn.comparison_report import DIVERGED, TRAINED
from gpn.gradient_tables import display
from gpn.tables import new_table, plain, short_number

if TYPE_CHECKING:
    from gpn.comparison_report import ComparisonReport, Measured

_HEADERS = ("network", "depth", "rate", "accuracy", "interval", "trained", "loss", "|dW1|", "theory")


def comparison(report: "ComparisonReport") -> RenderableType:
    """The whole report: what was run, a table for each activation, what the columns mean, what diverged and why."""
    settings, budget = report.settings, report.settings.budget
    head = (
        f"{plain(settings.data)}: {settings.train_samples} samples to train on, {settings.test_samples} to test; width "
        f"{budget.width}, {budget.epochs} epochs, batches of {budget.batch}, {settings.seeds} seeds"
    )
    parts: list[RenderableType] = [Text(head, style="bold"), *(Text(line) for line in findings(report))]
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


def findings(report: "ComparisonReport") -> list[str]:
    """What the comparison shows at its greatest depth, a sentence for each activation.

    Args:
        report: of the run.
    """
    return [sentence for name in report.activations if (sentence := finding(report, name))]


def finding(report: "ComparisonReport", activation: str) -> str:
    """Orthogonal GPN networks against plain Gaussian ones at the greatest depth, and against themselves when shallow.

    Args:
        report: of the run.
        activation: one of its names.
    """
    shallow, deep = report.depths[0], report.depths[-1]
    gpn, plain_one = report.find(activation, "gpn", deep), report.find(activation, "plain-gaussian", deep)
    if gpn is None:
        return ""
    words = f"{display(activation)}, {deep} layers: GPN, orthogonal {gpn.accuracy:.1%}"
    first = report.find(activation, "gpn", shallow)
    if first is not None and shallow < deep:
        words += f" ({shallow} layers: {first.accuracy:.1%})"
    return words + ("" if plain_one is None else f"; plain, Gaussian {plain_one.accuracy:.1%}") + "."


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


def network_words(each: "Measured") -> str:
    """The kind of network, with its root: "GPN b+, Haar"."""
    recipe, candidate = RECIPES[each.candidate.recipe], each.candidate
    sign = {"plus": "b+", "minus": "b-", None: ""}[candidate.root]
    words = f"GPN {sign}, " if sign else "plain, "
    words += {"haar": "Haar", "gaussian": "Gauss"}[recipe.weights]
    words += ", BN" if recipe.batch_norm else ""
    return words + (", Adam" if recipe.optimizer == "adam" else "")
