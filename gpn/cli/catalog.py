"""The commands about many activations: the catalog, families with a parameter, and published constants."""

from typing import Annotated

import typer

from gpn.cli import answer
from gpn.cli.options import Floats, Json, number, numbers, option
from theory.errors import UsageError


def activations(as_json: Json = False) -> None:
    """List every activation known by name, with the recommended a, b and chi.

    \b
    Examples:
      gpn activations
      gpn activations --json
    """
    from gpn.checking.check import catalog_facts
    from gpn.report.tables import check as tables
    from gpn.report.words import commands

    rows = catalog_facts()
    answer.show([tables.catalog(rows)], commands.next_step("check", "gelu"), rows, as_json)


def family(
    spec: Annotated[
        str,
        typer.Argument(
            metavar="FAMILY", help="A family with a free parameter, such as 'elu(alpha)' or 'x*sigmoid(b*x)'."
        ),
    ],
    values: Annotated[Floats | None, numbers("V,V", "Values of the parameter to tabulate.", "0.5,1,1.5")] = None,
    condition: Annotated[str | None, option("TEXT", "Equation to solve, such as 'chi_minus = 0.5' or 'b = 0'.")] = None,
    between: Annotated[
        Floats | None, numbers("LOW,HIGH", "Where to look for solutions.  [default: 0,1]", "0.0,1.0")
    ] = None,
    as_json: Json = False,
) -> None:
    """Tabulate a family of activations over its parameter (--values), or solve for the parameter (--condition).

    FAMILY is a name or a formula with a free parameter, or module:function. Such a function is phi(x, parameter), or
    takes the parameter alone and returns an activation.

    A condition may name a column of the table, or one of these: slope and curvature of the correlation map (C'(1),
    C''(1)), slope_fourth_moment (E phi'^4), fixed_point (of the squared length), variance, lipschitz (sup |phi'|),
    slope_lipschitz (sup |phi''|), and the coefficients of depth kappa, c, sf, sb, cx, Q2, S2 with _plus or _minus.

    \b
    Examples:
      gpn family "elu(alpha)" --values 0.5,1,1.5
      gpn family "leaky_relu(s)" --condition "chi_minus = 0.5" --between 0,1
      gpn family mymodule:swish --values 0.5,1,1.5
    """
    if (values is None) == (condition is None):
        raise UsageError("give either --values to tabulate or --condition to solve, such as --values 0.5,1,1.5")
    from gpn.report.tables import check as tables
    from gpn.report.words import commands
    from theory.initialization import family_solutions as families

    if condition is not None:
        ends = [0.0, 1.0] if between is None else between
        if len(ends) != 2:
            raise UsageError(f"--between takes two numbers, such as --between 0,1, not {','.join(map(str, ends))}")
        solutions = families.solve(spec, None, condition, (ends[0], ends[1]))
        next_step = commands.after_solve(solutions, spec)
        answer.show([tables.solutions(solutions)], next_step, solutions.to_dict(), as_json)
        return
    frame = families.scan(spec, None, values or [])
    data = frame.to_json(orient="records", double_precision=15, indent=2)
    answer.show([tables.family(frame)], commands.after_scan(spec), data, as_json)


def audit(
    table: Annotated[
        str | None,
        typer.Argument(metavar="[TABLE.csv]", help="A table of your own; without it, the published constants."),
    ] = None,
    digits: Annotated[int, number("N", "Significant digits of the exact values.", 20)] = 15,
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
    from gpn.checking.auditing import audit as compare
    from gpn.report.tables import check as tables
    from gpn.report.words import commands

    report = compare(table, digits)
    answer.show([tables.audit(report)], commands.after_audit(report), report.to_dict(), as_json)
