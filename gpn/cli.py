"""The command line: every command reads its arguments, asks the library, and prints.

Answers go to standard output; progress and messages go to standard error. Wrong use ends with exit code 2 and
one sentence, an interrupt with 130. What takes long to import is imported inside the command that needs it.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from gpn import cli_explore, cli_reproduce, cli_train, cli_verify, completions, long_run
from gpn._version import __version__
from gpn.cli_options import (
    Derivative,
    Json,
    Root,
    Spec,
    check_writable,
    chosen_root,
    number,
    numbers,
    only_given,
    option,
    save_report,
    status_line,
)
from theory.errors import UsageError

if TYPE_CHECKING:
    from theory.poincare import Conditions

MISUSE, INTERNAL, INTERRUPTED = 2, 70, long_run.INTERRUPTED

_CLICK_USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]  # not exported under a name of its own

STORY = (
    "check",
    "normalize",
    "verify",
    "width",
    "activations",
    "family",
    "explore",
    "audit",
    "reproduce",
    "train",
)
"""The commands in the order in which a newcomer meets them."""


class _InOrder(typer.core.TyperGroup):
    """The commands in the order of the story; typer would put those with commands of their own last."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=STORY.index)


app = typer.Typer(
    cls=_InOrder,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(cli_reproduce.app, name="reproduce", short_help="The paper's experiments.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; every error that a user can cause is one sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what the terminal cannot show appears escaped
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(args=None if arguments is None else list(arguments), prog_name="gpn", standalone_mode=False)
        if code == INTERRUPTED:  # some versions of typer turn the interrupt into this
            _complain("interrupted", code)
    except (KeyboardInterrupt, typer.Abort):
        code = _complain("interrupted", INTERRUPTED)
    except long_run.Ended as ended:
        code = _complain(ended.sentence, ended.code)
    except (UsageError, _CLICK_USAGE_ERROR) as error:
        code = _complain(_sentence(error), MISUSE)
    except OSError as error:  # standard output on a full disk, say
        code = _complain(f"cannot read or write: {error}", MISUSE)
    except MemoryError:
        code = _complain("not enough memory; try fewer trials, a smaller width or fewer workers", MISUSE)
    except Exception as error:  # a bug must not look like a verdict, whose exit codes are 0, 1, 3 and 4
        if os.environ.get("GPN_TRACEBACK"):
            raise
        what = f"{type(error).__name__}: {error}"
        code = _complain(f"internal error, please report it with GPN_TRACEBACK=1 set ({what})", INTERNAL)
    sys.exit(code)


def _complain(sentence: str, code: int) -> int:
    from gpn.tables import plain

    print(f"gpn: {plain(sentence, 1000)}", file=sys.stderr, flush=True)
    return code


def _sentence(error: Exception) -> str:
    """The message of an error in the command's own words, with where to look."""
    if isinstance(error, UsageError):
        return str(error)
    message = str(error.format_message()) if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "gpn"
    message = f"{message[:1].lower()}{message[1:]}".rstrip(".")
    option = getattr(error, "option_name", "")
    if option.startswith("-") and not option.startswith("--"):
        return f"{message}; a formula that begins with a minus goes after --, as in: {path} -- '-x'"
    if "unexpected extra argument" in message:
        return f"{message}; put a formula in quotes, as in: gpn check 'x * tanh(x)'"
    return f"{message.replace('. Did you', '; did you')} (see {path} --help)"


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gpn {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _gpn(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Numerical verification of bidirectionally self-normalizing networks.

    \b
    Examples:
      gpn verify                    does the theorem hold? (under a minute)
      gpn check gelu                is GELU Gaussian-Poincare normalized, and
                                    which a, b make it so?
      gpn check mymodule:phi        the same for a function of your own
      gpn normalize silu            the constants, and code to paste
      gpn width tanh --depth 50 --epsilon 0.5       how wide must it be?
      gpn activations               every activation known by name
      gpn family "elu(alpha)" --values 0.5,1        scan over a parameter
      gpn explore                   the same by hand in Jupyter
      gpn audit                     published constants against certified ones
      gpn reproduce gradients       gradient norms of 200 layers: vanishing,
                                    exploding, preserved (minutes)
      gpn train selu --depth 200    does it train? (minutes)
      gpn reproduce training        very deep networks beside their baselines
                                    (twenty minutes)
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command(short_help="Is an activation GPN, and which a, b make it so?")
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
    from gpn import checking, detail_tables, next_steps, tables
    from gpn.activation_report import check_report

    if out is not None:
        check_writable(out)
    wanted = number("--digits", digits, int, "50")
    report = check_report(spec, wanted, derivative=derivative, detailed=verbose or out is not None)
    if as_json:
        tables.emit_json({key: value for key, value in report.to_dict().items() if verbose or key != "details"})
    else:
        for place, part in enumerate(detail_tables.check(report, verbose)):
            if place:
                tables.emit("")
            tables.show(part)
        tables.show_next(next_steps.after_check(report.conditions, spec, derivative))
    if out is not None:
        save_report(report, out, sys.stderr if as_json else None)
    raise typer.Exit(checking.exit_code(report.conditions))


@app.command(short_help="The constants a, b, and code to paste.")
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
    from gpn import checking, next_steps, tables
    from gpn.adapters import activation
    from gpn.snippets import export
    from theory.poincare import normalization

    phi = activation(spec, derivative=derivative)
    conditions = checking.check(phi, 15)
    if conditions.normalizable != "yes":
        raise typer.Exit(_not_normalizable(conditions, as_json))
    chosen = normalization(phi, root)
    code = None if emit is None else export(phi, emit, root)
    if as_json:
        facts = checking.normalization_facts(conditions, chosen)
        tables.emit_json(facts if code is None else facts | {"code": code})
    elif code is not None:
        tables.emit(code)
    else:
        tables.show(tables.normalization_report(conditions, chosen))
        tables.show_next(next_steps.after_normalize(conditions, chosen, spec, derivative))


app.command(short_help="The main job: Monte Carlo against theory.")(cli_verify.verify)


@app.command(short_help="How wide a network must be, and the inverses.")
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
    given = only_given(
        width=number("--width", width, int, "1024"),
        depth=number("--depth", depth, int, "50"),
        epsilon=number("--epsilon", epsilon, float, "0.5"),
    )
    if len(given) != 2:
        raise UsageError(
            "give two of --width, --depth and --epsilon, the third is solved for: try --depth 50 --epsilon 0.5"
        )
    from gpn import next_steps, tables, width_tables
    from gpn.width import solve

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
        tables.emit_json(report.to_dict())
    else:
        tables.show(width_tables.width(report))
        tables.show_next(next_steps.after_width(report, spec, policy))
    if out is not None:
        save_report(report, out, sys.stderr if as_json else None)


app.command("train", short_help="Train a deep network, gradient norms recorded.")(cli_train.train)


@app.command(short_help="Published constants against the exact ones.")
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
    from gpn import detail_tables, next_steps, tables
    from gpn.auditing import audit as run

    report = run(table, number("--digits", digits, int, "20"))
    if as_json:
        tables.emit_json(report.to_dict())
    else:
        tables.show(detail_tables.audit(report))
        tables.show_next(next_steps.after_audit(report))


@app.command(short_help="Scan or solve over a parameter of an activation.")
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
    if (values is None) == (condition is None):
        raise UsageError("give either --values to tabulate or --condition to solve, such as --values 0.5,1,1.5")
    from gpn import detail_tables, next_steps, tables
    from gpn.adapters import family as read_family
    from theory import families

    chosen = read_family(spec) if ":" in spec else spec
    if condition is not None:
        ends = numbers("--between", between, float, "0,1") or []
        if len(ends) != 2:
            raise UsageError(f"--between takes two numbers, such as --between 0,1, not {between[:80]!r}")
        found = families.solve(chosen, None, condition, (ends[0], ends[1]))
        if as_json:
            tables.emit_json(found.to_dict())
        else:
            tables.show(detail_tables.solutions(found))
            tables.show_next(next_steps.after_solve(found, spec))
        return
    frame = families.scan(chosen, None, numbers("--values", values, float, "0.5,1,1.5") or [])
    if as_json:
        tables.emit(frame.to_json(orient="records", double_precision=15, indent=2))
    else:
        tables.show(detail_tables.family(frame))
        tables.show_next(next_steps.after_scan(spec))


@app.command(short_help="Every activation known by name.")
def activations(as_json: Json = False) -> None:
    """List every activation known by name, with the recommended a, b and chi.

    \b
    Examples:
      gpn activations
      gpn activations --json
    """
    from gpn import next_steps, tables
    from gpn.checking import catalog_facts

    rows = catalog_facts()
    if as_json:
        tables.emit_json(rows)
    else:
        tables.show(tables.catalog(rows))
        tables.show_next(next_steps.command("check", "gelu"))


app.command(short_help="Explore in Jupyter: a formula and sliders.")(cli_explore.explore)


def _not_normalizable(conditions: "Conditions", as_json: bool) -> int:
    """Say why there is no a*phi + b, as JSON or in a sentence; the exit code is that of `gpn check`."""
    from gpn import checking, tables

    if as_json:
        keys = ("name", "expression", "normalizable", "reason")
        tables.emit_json({key: getattr(conditions, key) for key in keys})
    else:
        _complain(str(tables.check_verdict(conditions)), checking.exit_code(conditions))
    return checking.exit_code(conditions)
