"""The command that gives the same numbers again."""

import shlex
from typing import TYPE_CHECKING

from gpn.request import DEFAULT_DEEP_EPSILONS, DEFAULT_EPSILONS

if TYPE_CHECKING:
    from gpn.activation_report import CheckReport
    from gpn.report import Configuration


def verify_command(config: "Configuration") -> str:
    """The command line, or the Python call where a function or an array was given, that repeats a verification.

    Args:
        config: that of the report.

    >>> from gpn.verification import verify
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
    return _command("verify", config.spec, options, ["--raw"] if config.root is None else [])


def check_command(report: "CheckReport") -> str:
    """The command line, or the Python call where a function was given, that repeats a check.

    Args:
        report: what `gpn.check_report` returns.
    """
    digits = report.conditions.digits
    if report.spec is None:
        return f"gpn.check_report(phi, digits={digits})"
    return _command("check", report.spec, {"digits": str(digits), "derivative": report.derivative}, ["--verbose"])


def _command(name: str, spec: str, options: dict[str, str | None], flags: list[str]) -> str:
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
        *_given("inputs", config.inputs),
        *_given("labels", config.labels),
    ]
    return f"gpn.verify({', '.join(arguments)})"


def _given(name: str, source: str | None) -> list[str]:
    """An argument that is a path, the name of a data set, or an array, for which its own name stands."""
    if source is None:
        return []
    return [f"{name}={name if source == 'array' else repr(source)}"]
