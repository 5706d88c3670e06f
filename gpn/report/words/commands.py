"""Command lines: those that give the same numbers again, and those to run next."""

import re
import shlex
from typing import TYPE_CHECKING

from gpn.report.words.text import plain
from gpn.report.words.training import lost_conditions
from theory.activations.activation import Activation
from theory.claims.counted import chosen

if TYPE_CHECKING:
    from gpn.checking.audit_results import AuditReport
    from gpn.checking.designing import DesignReport
    from gpn.checking.results import CheckReport
    from gpn.probing.constants import Explanation
    from gpn.probing.gain import GainReport
    from gpn.reproduction.gradient_results import GradientReport
    from gpn.training.results import TrainingReport
    from gpn.verification.results import Configuration, VerificationReport
    from gpn.verification.width_results import WidthReport
    from theory.balls.decimal import DecimalNumber
    from theory.gaussian.moments import Normalization
    from theory.initialization.family_solutions import Solutions
    from theory.normalization.conditions import Conditions

Option = str | float | tuple[float | str, ...] | None
"""The value of an option: a tuple is a list, True a flag; None and False leave the option out."""
WIDEST = 4096
"""Width up to which a simulation is offered as the next step: it takes minutes."""


def verify_command(config: "Configuration") -> str:
    """The command line, or the Python call where a function or an array was given, that repeats a verification.

    >>> from gpn.verification.verify import verify
    >>> print(verify_command(verify("relu", 16, 3, 0.5, 50, seed=7).config))
    gpn verify relu --width 16 --depth 3 --epsilon 0.5 --trials 50 --seed 7 --level 0.99 --weights haar --root auto
    """
    options = {
        "derivative": config.derivative,
        "width": None if config.default_widths or config.layers else config.widths,
        "depth": None if config.layers else config.depths,
        "layers": config.layers or None,
        "gain": None if config.gain == (1.0,) else config.gain,
        "bias": None if config.bias == (0.0,) else config.bias,
        "residual": config.residual,
        "linear_output": config.linear_output or None,
        "epsilon": None if config.has_default_epsilons else config.epsilons,
        "trials": config.trials,
        "until": config.until,
        "cap": config.cap,
        "seed": config.seed,
        "level": config.level,
        "weights": config.weights,
        "root": config.root,
        "inputs": config.inputs,
        "labels": config.labels,
        "method": None if config.method == "matrix-free" else config.method,
        "claims": None if config.claims == chosen(None) else config.claims,
    }
    if config.spec is not None and "array" not in (config.inputs, config.labels):
        return _command_line("verify", config.spec, **options, raw=config.root is None)
    arguments = ["phi" if config.spec is None else repr(config.spec)]
    for name, value in options.items():
        if value is not None or name == "root":  # an array has no text: its own name stands for it
            plural = {"width": "widths", "epsilon": "epsilons"}.get(name, name)
            arguments.append(f"{plural}={name if value == 'array' else repr(value)}")
    return f"gpn.verify({', '.join(arguments)})"


def check_command(report: "CheckReport") -> str:
    """The command line, or the Python call where a function was given, that repeats a check."""
    digits = report.conditions.digits
    if report.spec is None:
        return f"gpn.check_report(phi, digits={digits})"
    return _command_line("check", report.spec, digits=digits, derivative=report.derivative, verbose=True)


def _command_line(name: str, spec: str, **options: Option) -> str:
    """A command line; a specification that could be read as an option stands at its end, after --."""
    words = _words(options)
    return shlex.join(["gpn", name, *([*words, "--", spec] if spec.startswith("-") else [spec, *words])])


def _words(options: dict[str, Option]) -> list[str]:
    words = []
    for name, value in options.items():
        if value is not None and value is not False:
            parts = value if isinstance(value, tuple) else (value,)
            text = ",".join(part if isinstance(part, str) else repr(part) for part in parts)
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [text])]
    return words


def after_check(conditions: "Conditions", spec: str, derivative: str | None = None) -> str | None:
    """The constants in code, or the verification of what is GPN already; nothing where there are no constants.

    Args:
        conditions: what `gpn.check` returns.
        spec, derivative: the activation as the user typed it.
    """
    root = next((root.root for root in conditions.normalizations if root.recommended), None)
    if conditions.is_gpn == "holds":
        return next_step("verify", spec, raw=True, derivative=derivative)
    return None if root is None else next_step("normalize", spec, root=root, derivative=derivative)


def after_normalize(
    conditions: "Conditions", chosen: "Normalization[DecimalNumber]", spec: str, derivative: str | None = None
) -> str | None:
    """Code to paste, or for a Python function, which has no formula to export, the verification."""
    if conditions.expression is None:
        return next_step("verify", spec, root=chosen.root, derivative=derivative)
    return next_step("normalize", spec, root=chosen.root, emit="numpy")


def after_verify(report: "VerificationReport") -> str | None:
    """More trials for rows that are undecided, else the width that the theorem asks for; nothing after a violation."""
    config, outcome = report.config, str(report.verdict.value)
    if config.spec is None or outcome == "violated" or config.inputs is not None or config.weights != "haar":
        return None
    if config.shape_words:
        return None
    root: dict[str, Option] = {"raw": config.root is None, "root": config.root}
    undecided = any(str(row.verdict) == "undecided" and not row.unknown for row in report.theory_rows)
    if undecided and config.until is None:
        shape: dict[str, Option] = {"depth": config.depths, "until": "decided"}
        if not config.default_widths:
            shape = {"width": config.widths, **shape}
        return next_step("verify", config.spec, **shape, **root, derivative=config.derivative)
    if ":" in config.spec or max(config.depths) < 2:
        return None
    return next_step("width", config.spec, depth=max(config.depths), epsilon=f"{config.deep_epsilons[-1]:g}", **root)


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
    given: dict[str, Option] = {name: f"{value:.12g}" for name, value in asked.items()}
    if report.weights != "haar":
        given["weights"] = report.weights
    return next_step("verify", spec, **given, raw=root is None, root=root)


def after_audit(report: "AuditReport") -> str | None:
    """The certified constants of the activation whose published ones are furthest off."""
    wrong = [row for row in report.rows if not row.agrees]
    if not wrong:
        return None
    worst = max(wrong, key=lambda row: max(number.relative_error for number in row.comparisons))
    return next_step("normalize", worst.entry.activation, emit="numpy")


def after_scan(spec: str) -> str:
    """The value of the parameter that is best kept in depth."""
    return next_step("family", spec, condition="chi_minus = 0.5")


def after_solve(solutions: "Solutions", spec: str) -> str | None:
    """The member of the family that solves the condition; nothing for a Python function.

    Args:
        solutions: what was solved.
        spec: the family as the user typed it.
    """
    if not solutions.values or ":" in spec:
        return None
    member = re.sub(rf"\b{re.escape(solutions.parameter)}\b", f"{solutions.values[0]:.15g}", spec)
    return None if member == spec else next_step("check", member)


def after_gain(report: "GainReport", spec: str, derivative: str | None = None) -> str | None:
    """The a and b that keep both norms, where no gain does and they exist."""
    if report.keeps_both or report.row("gradient").gain is None:
        return None
    return next_step("normalize", spec, derivative=derivative)


def after_explanation(found: "Explanation") -> str | None:
    """The gains of the activation whose constant it may be, if there is one."""
    return next_step("gain", found.matches[0].constant.activation) if found.matches else None


def after_gradients(report: "GradientReport") -> str:
    """Whether the same depth trains."""
    return next_step("train", "selu", depth=report.settings.depth)


def after_design(report: "DesignReport") -> str:
    """Whether the member trains at that depth; of a Python function the way in Python, of a lost length its check."""
    depth = report.chosen.depth
    if not isinstance(report.activation.base, Activation):
        return f"Next, in Python: gpn.train(gpn.design(phi, {depth}).activation, depth={depth})"
    if not report.conditions.laws_hold:
        return next_step("check", report.spec, depth=depth)
    return next_step("train", report.spec, depth=depth)


def after_train(report: "TrainingReport", spec: str, inputs: str) -> str:
    """After a failure less curvature, a smaller rate or more time; else the same depth without what theory asks for."""
    config = report.config
    network: dict[str, Option] = {
        "inputs": None if inputs == "digits" else inputs,
        "depth": config.depth,
        "width": config.width,
    }
    if not report.learned and lost_conditions(report) is not None:
        return next_step("design", spec, depth=config.depth)
    if report.test_accuracy is None:
        return next_step("train", spec, **network, learning_rate=f"{config.learning_rate / 4:.3g}")
    if config.weights == "gaussian":
        return next_step("train", spec, **network, weights="haar", out="haar")
    if not report.learned:
        return next_step("train", spec, **network, epochs=2 * config.epochs)
    return next_step("train", spec, **network, raw=True, weights="gaussian", out="plain")


def next_step(name: str, spec: str, **options: Option) -> str:
    """The line that is printed; a specification that could be read as an option stands after --.

    >>> print(next_step("check", "x * tanh(x)", digits=40))
    Next: gpn check --digits 40 'x * tanh(x)'
    >>> print(next_step("check", "-tanh(x)", digits=40))
    Next: gpn check --digits 40 -- '-tanh(x)'
    """
    words = [*_words(options), *(["--"] if spec.startswith("-") else []), spec]
    return f"Next: gpn {name} {plain(shlex.join(words), 1000)}"
