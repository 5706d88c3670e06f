"""The commands about one activation: `gpn check`, `gpn normalize` and `gpn gain`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpn.cli import answer, options
from gpn.cli.options import Derivative, Json, Root, Spec, check_writable, complain, completion, number, option
from theory.errors import UsageError, unknown

if TYPE_CHECKING:
    from theory.normalization.conditions import Conditions

_kept = completion("theory.initialization.gains:DEFINITIONS")
_ensembles = completion("gpn.probing.gain:WEIGHTS")
GPN, NORMALIZABLE, UNDECIDED, IMPOSSIBLE = 0, 1, 3, 4


def check(
    spec: Spec,
    digits: Annotated[int, number("N", "Significant digits of the moments.", 50)] = 30,
    derivative: Derivative = None,
    time_limit: Annotated[float, number("SECONDS", "Processor time; parts that need more are left out.", 60.0)] = 20.0,
    depth: Annotated[
        int | None, number("L", "Judge norms, length, separation and isometry after L layers.", 200)
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also closed forms, Hermite spectrum, depth horizon.")
    ] = False,
    out: Annotated[Path | None, option("FOLDER", "Write check.json, figures and the page check.html there.")] = None,
    as_json: Json = False,
) -> None:
    """Say whether an activation is Gaussian-Poincare normalized (GPN), and which a, b make a*phi + b so.

    Exit code: 0 GPN, 1 not GPN but normalizable, 3 undecided, 4 cannot be normalized, 2 wrong use.

    A function of NumPy, PyTorch or JAX is imported from a module, which may be in the current folder. Its kinks and
    jumps are found numerically, and nothing about it is certified.

    Parts of the report that exceed the time limit are left out and listed; the rest is printed.

    \b
    Examples:
      gpn check gelu
      gpn check "x*sigmoid(1.3*x)" --digits 50
      gpn check "leaky_relu(0.2)" --json
      gpn check gelu --depth 200
      gpn check gelu --out gelu
      gpn check mymodule:phi --derivative mymodule:dphi
      gpn check torch.nn.functional:silu
    """
    from gpn.checking.results import DEPTH, check_report
    from gpn.report.tables import check as tables
    from gpn.report.words import commands

    if out is not None:
        check_writable(out)
    report = check_report(
        spec,
        digits,
        derivative=derivative,
        detailed=verbose or out is not None,
        time_limit=time_limit,
        depth=DEPTH if depth is None else depth,
    )
    asked = {"details": verbose, "depth_conditions": depth is not None}
    data = {key: value for key, value in report.to_dict().items() if asked.get(key, True)}
    next_step = commands.after_check(report.conditions, spec, derivative)
    answer.show(list(tables.check_answer(report, verbose, lights=depth is not None)), next_step, data, as_json)
    if out is not None:
        answer.save(report, out, as_json)
    raise typer.Exit(exit_code(report.conditions))


def normalize(
    spec: Spec,
    root: Root = "auto",
    emit: Annotated[
        str | None, option("TARGET", "Print code instead: numpy, torch, jax, keras or latex.", options.targets)
    ] = None,
    derivative: Derivative = None,
    as_json: Json = False,
) -> None:
    """Print a and b such that a*phi + b is Gaussian-Poincare normalized, and a snippet to paste.

    There are two values of b. The root auto is b_plus, unless the squared length is unstable in depth with it. With
    --emit, only the snippet is printed, so you can redirect it to a file.

    Exit code: 0, or 4 with the reason when no a, b exist, 3 when undecided, 2 wrong use.

    \b
    Examples:
      gpn normalize gelu
      gpn normalize gelu --root minus --emit torch > gelu_gpn.py
      gpn normalize "x*sigmoid(1.3*x)" --json
      gpn normalize mymodule:phi --derivative mymodule:dphi
    """
    from gpn.checking import check as checking
    from gpn.checking.snippets import export
    from gpn.report.tables import check as tables
    from gpn.report.words import commands, terminal
    from theory.activations.specification import activation
    from theory.normalization.normalize import normalization

    phi = activation(spec, derivative=derivative)
    conditions = checking.check(phi, 15)
    if conditions.normalizable != "yes":
        raise typer.Exit(_refuse(conditions, as_json))
    chosen = normalization(phi, root)
    data = checking.normalization_facts(conditions, chosen)
    if emit is not None:
        code = export(phi, emit, root)
        terminal.emit_json(data | {"code": code}) if as_json else terminal.emit(code)
        return
    table = tables.normalization_report(conditions, chosen)
    answer.show([table], commands.after_normalize(conditions, chosen, spec, derivative), data, as_json)


def gain(
    spec: Annotated[
        str | None,
        typer.Argument(
            metavar="SPEC",
            help="A name, as gelu or 'leaky_relu(0.2)', a formula in x, or module:function.",
            autocompletion=options.activations,
        ),
    ] = None,
    explain: Annotated[
        str | None, option("NUMBER", "Say instead which constants round to a number, as 2.74 or 5/3.")
    ] = None,
    digits: Annotated[int, number("N", "Significant digits of the gains.", 15)] = 10,
    keep: Annotated[str, option("WHAT", "For the lines to paste: length, variance or gradient.", _kept)] = "length",
    weights: Annotated[
        str, option("NAME", "For the lines to paste: orthogonal or gaussian.", _ensembles)
    ] = "orthogonal",
    derivative: Derivative = None,
    out: Annotated[Path | None, option("FOLDER", "Write gain.csv, gain.json and the edge of chaos there.")] = None,
    as_json: Json = False,
) -> None:
    """Print the gains of an activation: which keeps the length, which gradients, and where depth leads with each.

    For each gain: whether variance 1 of the pre-activations attracts, to which variance q depth leads, the factor of
    squared gradients per layer, the biases on the edge of chaos, and a line to paste for PyTorch, JAX and Keras.

    \b
    Examples:
      gpn gain tanh
      gpn gain "x*sigmoid(1.3*x)" --digits 20
      gpn gain gelu --keep gradient --weights gaussian
      gpn gain --explain 2.74
    """
    from gpn.report.tables import gains as tables
    from gpn.report.words import commands

    if (spec is None) == (explain is None):
        raise UsageError("give an activation, such as gpn gain tanh, or a number, such as gpn gain --explain 2.74")
    if out is not None:
        check_writable(out)
    if spec is None:
        from gpn.probing.constants import explain as look_up

        found = look_up(str(explain))
        next_step = commands.after_explanation(found)
        answer.deliver(found, tables.explanation(found), next_step, as_json=as_json, folder=out)
        return
    from gpn.probing.gain import WEIGHTS
    from gpn.probing.gain import gain as find
    from theory.initialization.gains import DEFINITIONS

    if keep not in DEFINITIONS:
        raise unknown("--keep", keep, DEFINITIONS)
    if weights not in WEIGHTS:
        raise unknown("--weights", weights, WEIGHTS)
    report = find(spec, digits, derivative=derivative)
    next_step = commands.after_gain(report, spec, derivative)
    answer.deliver(report, tables.gain(report, keep, weights), next_step, as_json=as_json, folder=out)


def exit_code(conditions: "Conditions") -> int:
    """Return the exit code of `gpn check`: 0 GPN, 1 not GPN but normalizable, 3 undecided, 4 cannot be normalized.

    Args:
        conditions: what `gpn.check` returns.

    >>> import gpn
    >>> [exit_code(gpn.check(spec)) for spec in ("identity", "tanh", "sign")]
    [0, 1, 4]
    """
    codes = {("holds", "yes"): GPN, ("fails", "yes"): NORMALIZABLE, ("fails", "no"): IMPOSSIBLE}
    return codes.get((conditions.is_gpn, conditions.normalizable), UNDECIDED)


def _refuse(conditions: "Conditions", as_json: bool) -> int:
    """Say why there is no a*phi + b, as JSON or in a sentence; return the exit code of `gpn check`."""
    from gpn.report.words import findings, terminal

    code = exit_code(conditions)
    if as_json:
        keys = ("name", "expression", "normalizable", "reason")
        terminal.emit_json({key: getattr(conditions, key) for key in keys})
    else:
        complain(str(findings.check_verdict(conditions)), code)
    return code
