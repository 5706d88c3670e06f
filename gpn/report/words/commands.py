"""Command lines: those that give the same numbers again, and those to run next."""

import re
import shlex
from typing import TYPE_CHECKING

from gpn.report.words.text import plain
from gpn.verification.settings import DEFAULT_DEEP_EPSILONS, DEFAULT_EPSILONS

if TYPE_CHECKING:
    from gpn.checking.audit_results import AuditReport
    from gpn.checking.results import CheckReport
    from gpn.reproduction.gradient_results import GradientReport
    from gpn.training.results import TrainingReport
    from gpn.verification.results import Configuration, VerificationReport
    from gpn.verification.width_results import WidthReport
    from theory.gaussian.moments import Normalization
    from theory.normalization.conditions import Conditions
    from theory.normalization.family_solutions import Solutions


def verify_command(config: "Configuration") -> str:
    """The command line, or the Python call where a function or an array was given, that repeats a verification.

    >>> from gpn.verification.verify import verify
    >>> print(verify_command(verify("relu", 16, 3, 0.5, 50, seed=7).config))
    gpn verify relu --width 16 --depth 3 --epsilon 0.5 --trials 50 --seed 7 --level 0.99 --weights haar --root auto
    """
    if config.spec is None or "array" in (config.inputs, config.labels):
        return _python_call(config)
    options = {
        "derivative": config.derivative,
        "width": ",".join(map(str, config.widths)),
        "depth": ",".join(map(str, config.depths)),
        "epsilon": None if _planned_epsilons(config) else ",".join(map(repr, config.epsilons)),
        "trials": None if config.trials is None else str(config.trials),
        "until": config.until,
        "cap": None if config.cap is None else str(config.cap),
        "seed": str(config.seed),
        "level": repr(config.level),
        "weights": config.weights,
        "root": config.root,
        "inputs": config.inputs,
        "labels": config.labels,
    }
    return _command_line("verify", config.spec, options, ["--raw"] if config.root is None else [])


def check_command(report: "CheckReport") -> str:
    """The command line, or the Python call where a function was given, that repeats a check."""
    digits = report.conditions.digits
    if report.spec is None:
        return f"gpn.check_report(phi, digits={digits})"
    return _command_line("check", report.spec, {"digits": str(digits), "derivative": report.derivative}, ["--verbose"])


def _command_line(name: str, spec: str, options: dict[str, str | None], flags: list[str]) -> str:
    """A command line; a specification that would pass for an option stands after --."""
    words = [word for option, value in options.items() if value is not None for word in (f"--{option}", value)]
    place = [spec, *words, *flags] if not spec.startswith("-") else [*words, *flags, "--", spec]
    return shlex.join(["gpn", name, *place])


def _planned_epsilons(config: "Configuration") -> bool:
    return (config.epsilons, config.deep_epsilons) == (DEFAULT_EPSILONS, DEFAULT_DEEP_EPSILONS)


def _python_call(config: "Configuration") -> str:
    arguments = [
        "phi" if config.spec is None else repr(config.spec),
        f"widths={config.widths}",
        f"depth={config.depths}",
        *([] if _planned_epsilons(config) else [f"epsilons={config.epsilons}"]),
        *([] if config.trials is None else [f"trials={config.trials}"]),
        *([] if config.derivative is None else [f"derivative={config.derivative!r}"]),
        *([] if config.until is None else [f"until={config.until!r}", f"cap={config.cap}"]),
        f"level={config.level}",
        f"seed={config.seed}",
        f"weights={config.weights!r}",
        f"root={config.root!r}",
        *_source_argument("inputs", config.inputs),
        *_source_argument("labels", config.labels),
    ]
    return f"gpn.verify({', '.join(arguments)})"


def _source_argument(name: str, source: str | None) -> list[str]:
    """An argument that is a path, the name of a data set, or an array, for which its own name stands."""
    if source is None:
        return []
    return [f"{name}={name if source == 'array' else repr(source)}"]


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
        return next_step("verify", spec, "--raw", *_option("--derivative", derivative))
    return None if root is None else next_step("normalize", spec, "--root", root, *_option("--derivative", derivative))


def after_normalize(
    conditions: "Conditions", chosen: "Normalization[float]", spec: str, derivative: str | None = None
) -> str | None:
    """Code to paste, or for a Python function, which has no formula to export, the verification."""
    if conditions.expression is None:
        return next_step("verify", spec, "--root", chosen.root, *_option("--derivative", derivative))
    return next_step("normalize", spec, "--root", chosen.root, "--emit", "numpy")


def after_verify(report: "VerificationReport") -> str | None:
    """More trials for what is undecided, else the width that the same tolerance asks for; nothing after a violation."""
    config, outcome = report.config, str(report.verdict.value)
    if config.spec is None or outcome == "violated" or config.inputs is not None or config.weights != "haar":
        return None
    root = ("--raw",) if config.root is None else ("--root", config.root)
    if outcome == "undecided" and config.until is None:
        shape = ("--width", _list(config.widths), "--depth", _list(config.depths), "--until", "decided")
        return next_step("verify", config.spec, *shape, *root, *_option("--derivative", config.derivative))
    if ":" in config.spec or max(config.depths) < 2:
        return None
    return next_step("width", config.spec, "--depth", str(max(config.depths)), "--epsilon", "0.5", *root)


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
    return next_step("verify", spec, *words, *(("--raw",) if root is None else ("--root", root)))


def after_audit(report: "AuditReport") -> str | None:
    """The certified constants of the activation whose published ones are furthest off."""
    wrong = [row for row in report.rows if not row.agrees]
    if not wrong:
        return None
    worst = max(wrong, key=lambda row: max(number.relative_error for number in row.comparisons))
    return next_step("normalize", worst.entry.activation, "--emit", "numpy")


def after_scan(spec: str) -> str:
    """The value of the parameter that is best kept in depth."""
    return next_step("family", spec, "--condition", "chi_minus = 0.5")


def after_solve(found: "Solutions", spec: str) -> str | None:
    """The member of the family that solves the condition; nothing for a Python function.

    Args:
        found: the solutions.
        spec: the family as the user typed it.
    """
    if not found.values or ":" in spec:
        return None
    member = re.sub(rf"\b{re.escape(found.parameter)}\b", f"{found.values[0]:.15g}", spec)
    return None if member == spec else next_step("check", member)


def after_gradients(report: "GradientReport") -> str:
    """Whether the same depth trains."""
    return next_step("train", "selu", "--depth", str(report.settings.depth))


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
        return next_step("train", spec, *shape, "--learning-rate", f"{config.learning_rate / 4:.3g}")
    if config.weights != "gaussian":
        return next_step("train", spec, *shape, "--raw", "--weights", "gaussian", "--out", "plain")
    return next_step("train", spec, *shape, "--weights", "haar", "--out", "haar")


def next_step(name: str, spec: str, *words: str) -> str:
    """The line that is printed; a specification that would pass for an option stands after --.

    >>> print(next_step("check", "x * tanh(x)", "--digits", "40"))
    Next: gpn check --digits 40 'x * tanh(x)'
    >>> print(next_step("check", "-tanh(x)", "--digits", "40"))
    Next: gpn check --digits 40 -- '-tanh(x)'
    """
    place = [*words, *(["--"] if spec.startswith("-") else []), spec]
    return f"Next: gpn {name} {plain(shlex.join(place), 1000)}"


def _option(option: str, value: str | None) -> tuple[str, ...]:
    return () if value is None else (option, value)


def _list(values: tuple[int, ...]) -> str:
    return ",".join(map(str, values))
