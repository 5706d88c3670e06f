"""Part of what was in gpn/cli.py."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpn.cli import options as completions
from gpn.cli.options import (
    Derivative,
    Json,
    Root,
    Spec,
    check_writable,
    chosen_root,
    complain,
    number,
    numbers,
    only_given,
    option,
    save_report,
    status_line,
)
from theory.errors import UsageError

if TYPE_CHECKING:
    from theory.normalization.conditions import Conditions


def check(
    spec: Spec,
    digits: Annotated[str, option("N", "Significant digits of the moments.")] = "30",
    derivative: Derivative = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also closed forms, Hermite spectrum, depth horizon.")
    ] = False,
    out: Annotated[Path | None, option("FOLDER", "Write check.json, figures and the page check.html there.")] = None,
    as_json: Json = False,
) -> None:
    """Say whether an activation is Gaussian-Poincare normalized (GPN), and which a, b make a*phi + b so.

    Exit code: 0 GPN, 1 not GPN but normalizable, 3 undecided, 4 cannot be normalized, 2 wrong use.

    A function on NumPy arrays, of PyTorch or of JAX is imported from a module, in the current folder too; its kinks
    and jumps are detected numerically, and nothing about it is certified.

    \b
    Examples:
      gpn check gelu
      gpn check "x*sigmoid(1.3*x)" --digits 50
      gpn check "leaky_relu(0.2)" --json
      gpn check gelu --out gelu
      gpn check mymodule:phi --derivative mymodule:dphi
      gpn check torch.nn.functional:silu
    """
    from gpn.checking import check as checking
    from gpn.checking.results import check_report
    from gpn.report.tables import check as detail_tables
    from gpn.report.words import commands as next_steps
    from gpn.report.words import terminal

    if out is not None:
        check_writable(out)
    wanted = number("--digits", digits, int, "50")
    report = check_report(spec, wanted, derivative=derivative, detailed=verbose or out is not None)
    if as_json:
        terminal.emit_json({key: value for key, value in report.to_dict().items() if verbose or key != "details"})
    else:
        for place, part in enumerate(detail_tables.check(report, verbose)):
            if place:
                terminal.emit("")
            terminal.show(part)
        terminal.show_next(next_steps.after_check(report.conditions, spec, derivative))
    if out is not None:
        save_report(report, out, sys.stderr if as_json else None)
    raise typer.Exit(checking.exit_code(report.conditions))


def normalize(
    spec: Spec,
    root: Root = "auto",
    emit: Annotated[
        str | None, option("TARGET", "Print code instead: numpy, torch, jax, keras or latex.", completions.targets)
    ] = None,
    derivative: Derivative = None,
    as_json: Json = False,
) -> None:
    """Print a and b such that a*phi + b is Gaussian-Poincare normalized, and a snippet to paste.

    Of the two values of b, auto takes b_plus unless the squared length is unstable in depth with it. With
    --emit only the snippet is printed, so it can be redirected to a file.

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
    from gpn.report.words import commands as next_steps
    from gpn.report.words import terminal
    from theory.activations.specification import activation
    from theory.normalization.normalize import normalization

    phi = activation(spec, derivative=derivative)
    conditions = checking.check(phi, 15)
    if conditions.normalizable != "yes":
        raise typer.Exit(_not_normalizable(conditions, as_json))
    chosen = normalization(phi, root)
    code = None if emit is None else export(phi, emit, root)
    if as_json:
        facts = checking.normalization_facts(conditions, chosen)
        terminal.emit_json(facts if code is None else facts | {"code": code})
    elif code is not None:
        terminal.emit(code)
    else:
        terminal.show(tables.normalization_report(conditions, chosen))
        terminal.show_next(next_steps.after_normalize(conditions, chosen, spec, derivative))


def width(
    spec: Spec,
    width: Annotated[str | None, option("N", "Width n, to ask for the depth or the tolerance it carries.")] = None,
    depth: Annotated[str | None, option("L", "Depth L.")] = None,
    epsilon: Annotated[str | None, option("E", "Tolerance: squared gradient norms within e^-E and e^E.")] = None,
    probability: Annotated[str, option("P", "Accepted probability of leaving the tolerance.")] = "0.05",
    root: Root = "auto",
    raw: Annotated[bool, typer.Option("--raw", help="Leave SPEC as it is: no normalization.")] = False,
    simulate: Annotated[bool, typer.Option("--simulate", help="Also by simulation: seconds to minutes.")] = False,
    seed: Annotated[str, option("N", "Of the simulation.")] = "0",
    out: Annotated[Path | None, option("FOLDER", "Write width.csv, width.json and figures there.")] = None,
    as_json: Json = False,
) -> None:
    """Tabulate the width that each rigorous bound and the prediction ask for.

    Give two of --width, --depth and --epsilon; the third is solved for.

    \b
    Examples:
      gpn width tanh --depth 50 --epsilon 0.5 --probability 0.05
      gpn width relu --width 4096 --epsilon 1
      gpn width gelu --width 4096 --depth 20 --simulate
    """
    from gpn.report.words import terminal

    given = only_given(
        width=number("--width", width, int, "1024"),
        depth=number("--depth", depth, int, "50"),
        epsilon=number("--epsilon", epsilon, float, "0.5"),
    )
    if len(given) != 2:
        raise UsageError(
            "give two of --width, --depth and --epsilon, the third is solved for: try --depth 50 --epsilon 0.5"
        )
    from gpn.report.tables import width as width_tables
    from gpn.report.words import commands as next_steps
    from gpn.verification.width import solve

    if out is not None:
        check_writable(out)
    policy = chosen_root(root, raw)
    with status_line() as tell:
        report = solve(
            spec,
            **given,
            probability=number("--probability", probability, float, "0.05"),
            root=policy,
            simulate=simulate,
            seed=number("--seed", seed, int, "7"),
            progress=tell,
        )
    if as_json:
        terminal.emit_json(report.to_dict())
    else:
        terminal.show(width_tables.width(report))
        terminal.show_next(next_steps.after_width(report, spec, policy))
    if out is not None:
        save_report(report, out, sys.stderr if as_json else None)


def audit(
    table: Annotated[
        str | None, typer.Argument(metavar="[TABLE.csv]", help="Your own constants; the published ones if left out.")
    ] = None,
    digits: Annotated[str, option("N", "Significant digits of the exact values.")] = "15",
    as_json: Json = False,
) -> None:
    """Compare published normalization constants with certified ones, and say what the difference costs over depth.

    A table of your own has the columns activation and either a and b, or scale and convention (unit-variance,
    unit-second-moment or gain).

    \b
    Examples:
      gpn audit
      gpn audit constants.csv --digits 20
    """
    from gpn.checking.auditing import audit as run
    from gpn.report.tables import check as detail_tables
    from gpn.report.words import commands as next_steps
    from gpn.report.words import terminal

    report = run(table, number("--digits", digits, int, "20"))
    if as_json:
        terminal.emit_json(report.to_dict())
    else:
        terminal.show(detail_tables.audit(report))
        terminal.show_next(next_steps.after_audit(report))


def family(
    spec: Annotated[
        str, typer.Argument(metavar="FAMILY", help="With a free parameter: 'elu(alpha)', 'x*sigmoid(b*x)'.")
    ],
    values: Annotated[str | None, option("V,V", "Values of the parameter to tabulate.")] = None,
    condition: Annotated[str | None, option("TEXT", "What to solve for, as 'chi_minus = 0.5' or 'b = 0'.")] = None,
    between: Annotated[str, option("LOW,HIGH", "Where to look for solutions.")] = "0,1",
    as_json: Json = False,
) -> None:
    """Tabulate a family of activations over its parameter (--values), or solve for the parameter (--condition).

    FAMILY is a name or a formula with a free parameter; or module:function, a function phi(x, parameter), or one of
    the parameter alone that returns an activation.

    \b
    Examples:
      gpn family "elu(alpha)" --values 0.5,1,1.5
      gpn family "leaky_relu(s)" --condition "chi_minus = 0.5" --between 0,1
      gpn family mymodule:swish --values 0.5,1,1.5
    """
    from gpn.report.words import terminal

    if (values is None) == (condition is None):
        raise UsageError("give either --values to tabulate or --condition to solve, such as --values 0.5,1,1.5")
    from gpn.report.tables import check as detail_tables
    from gpn.report.words import commands as next_steps
    from theory.normalization import family_solutions as families

    if condition is not None:
        ends = numbers("--between", between, float, "0,1") or []
        if len(ends) != 2:
            raise UsageError(f"--between takes two numbers, such as --between 0,1, not {between[:80]!r}")
        found = families.solve(spec, None, condition, (ends[0], ends[1]))
        if as_json:
            terminal.emit_json(found.to_dict())
        else:
            terminal.show(detail_tables.solutions(found))
            terminal.show_next(next_steps.after_solve(found, spec))
        return
    frame = families.scan(spec, None, numbers("--values", values, float, "0.5,1,1.5") or [])
    if as_json:
        terminal.emit(frame.to_json(orient="records", double_precision=15, indent=2))
    else:
        terminal.show(detail_tables.family(frame))
        terminal.show_next(next_steps.after_scan(spec))


def activations(as_json: Json = False) -> None:
    """List every activation known by name, with the recommended a, b and chi.

    \b
    Examples:
      gpn activations
      gpn activations --json
    """
    from gpn.checking.check import catalog_facts
    from gpn.report.tables import check as tables
    from gpn.report.words import commands as next_steps
    from gpn.report.words import terminal

    rows = catalog_facts()
    if as_json:
        terminal.emit_json(rows)
    else:
        terminal.show(tables.catalog(rows))
        terminal.show_next(next_steps.command("check", "gelu"))


def _not_normalizable(conditions: "Conditions", as_json: bool) -> int:
    """Say why there is no a*phi + b, as JSON or in a sentence; the exit code is that of `gpn check`."""
    from gpn.checking import check as checking
    from gpn.report.words import findings, terminal

    if as_json:
        keys = ("name", "expression", "normalizable", "reason")
        terminal.emit_json({key: getattr(conditions, key) for key in keys})
    else:
        complain(str(findings.check_verdict(conditions)), checking.exit_code(conditions))
    return checking.exit_code(conditions)


def register(app: typer.Typer) -> None:
    """Add the commands about activations to the program."""
    app.command(short_help="Is an activation GPN, and which a, b make it so?")(check)
    app.command(short_help="The constants a, b, and code to paste.")(normalize)
    app.command(short_help="How wide a network must be, and the inverses.")(width)
    app.command(short_help="Published constants against the exact ones.")(audit)
    app.command(short_help="Scan or solve over a parameter of an activation.")(family)
    app.command(short_help="Every activation known by name.")(activations)
