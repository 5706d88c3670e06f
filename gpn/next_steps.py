"""What to type next: one command at the end of each answer that a person reads."""

import re
import shlex
from typing import TYPE_CHECKING

from gpn.tables import plain

if TYPE_CHECKING:
    from gpn.auditing import AuditReport
    from gpn.gradient_report import GradientReport
    from gpn.report import VerificationReport
    from gpn.training_report import TrainingReport
    from gpn.width import WidthReport
    from theory.families import Solutions
    from theory.poincare import Conditions, Normalization

WIDEST = 4096
"""Width up to which a simulation is offered as the next step: it takes minutes."""


def after_check(conditions: "Conditions", spec: str, derivative: str | None = None) -> str | None:
    """The constants in code, or the verification of what is GPN already; nothing where there are no constants.

    Args:
        conditions: what `gpn.check` returns.
        spec, derivative: the activation as the user typed it.
    """
    root = next((root.root for root in conditions.normalizations if root.recommended), None)
    if conditions.is_gpn == "holds":
        return command("verify", spec, "--raw", *_given("--derivative", derivative))
    return None if root is None else command("normalize", spec, "--root", root, *_given("--derivative", derivative))


def after_normalize(
    conditions: "Conditions", chosen: "Normalization", spec: str, derivative: str | None = None
) -> str | None:
    """Code to paste, or for a Python function, which has no formula to export, the verification."""
    if conditions.expression is None:
        return command("verify", spec, "--root", chosen.root, *_given("--derivative", derivative))
    return command("normalize", spec, "--root", chosen.root, "--emit", "numpy")


def after_verify(report: "VerificationReport") -> str | None:
    """More trials for what is undecided, else the width that the same tolerance asks for; nothing after a violation."""
    config, outcome = report.config, str(report.verdict.value)
    if config.spec is None or outcome == "violated" or config.inputs is not None or config.weights != "haar":
        return None
    root = ("--raw",) if config.root is None else ("--root", config.root)
    if outcome == "undecided" and config.until is None:
        shape = ("--width", _list(config.widths), "--depth", _list(config.depths), "--until", "decided")
        return command("verify", config.spec, *shape, *root, *_given("--derivative", config.derivative))
    if ":" in config.spec or max(config.depths) < 2:
        return None
    return command("width", config.spec, "--depth", str(max(config.depths)), "--epsilon", "0.5", *root)


def after_width(report: "WidthReport", spec: str, root: str | None) -> str | None:
    """The verification of what the prediction asks for, where it is small enough to simulate."""
    predicted = report.value("prediction")
    asked = {"width": report.width, "depth": report.depth, "epsilon": report.epsilon}
    if predicted is None or not predicted > 0:
        return None
    asked[report.unknown] = float(f"{predicted:.3g}") if report.unknown == "epsilon" else int(predicted)
    width, depth = asked["width"], asked["depth"]
    if width is None or depth is None or not 2 <= width <= WIDEST or depth > WIDEST:
        return None
    words = [word for name, value in asked.items() for word in (f"--{name}", f"{value:.12g}")]
    return command("verify", spec, *words, *(("--raw",) if root is None else ("--root", root)))


def after_audit(report: "AuditReport") -> str | None:
    """The certified constants of the activation whose published ones are furthest off."""
    wrong = [row for row in report.rows if not row.agrees]
    if not wrong:
        return None
    worst = max(wrong, key=lambda row: max(number.relative_error for number in row.comparisons))
    return command("normalize", worst.entry.activation, "--emit", "numpy")


def after_scan(spec: str) -> str:
    """The value of the parameter that is best kept in depth."""
    return command("family", spec, "--condition", "chi_minus = 0.5")


def after_solve(found: "Solutions", spec: str) -> str | None:
    """The member of the family that solves the condition; nothing for a Python function.

    Args:
        found: the solutions.
        spec: the family as the user typed it.
    """
    if not found.values or ":" in spec:
        return None
    member = re.sub(rf"\b{re.escape(found.parameter)}\b", f"{found.values[0]:.15g}", spec)
    return None if member == spec else command("check", member)


def after_gradients(report: "GradientReport") -> str:
    """Whether the same depth trains."""
    return command("train", "selu", "--depth", str(report.settings.depth))


def after_train(report: "TrainingReport", spec: str, data: str) -> str:
    """After a divergence a smaller learning rate; else the same depth without what theory asks for."""
    config = report.config
    shape = (
        *(() if data == "digits" else ("--data", data)),
        "--depth",
        str(config.depth),
        "--width",
        str(config.width),
    )
    if report.test_accuracy is None:
        return command("train", spec, *shape, "--learning-rate", f"{config.learning_rate / 4:.3g}")
    if config.weights != "gaussian":
        return command("train", spec, *shape, "--raw", "--weights", "gaussian", "--out", "plain")
    return command("train", spec, *shape, "--weights", "haar", "--out", "haar")


def command(name: str, spec: str, *words: str) -> str:
    """The line that is printed; a specification that would pass for an option stands after --.

    >>> print(command("check", "x * tanh(x)", "--digits", "40"))
    Next: gpn check --digits 40 'x * tanh(x)'
    >>> print(command("check", "-tanh(x)", "--digits", "40"))
    Next: gpn check --digits 40 -- '-tanh(x)'
    """
    place = [*words, *(["--"] if spec.startswith("-") else []), spec]
    return f"Next: gpn {name} {plain(shlex.join(place), 1000)}"


def _given(option: str, value: str | None) -> tuple[str, ...]:
    return () if value is None else (option, value)


def _list(values: tuple[int, ...]) -> str:
    return ",".join(map(str, values))
