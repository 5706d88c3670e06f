"""The command line: every command reads its arguments, asks the library, and prints.

Answers go to standard output; progress and messages go to standard error. Wrong use ends with exit code 2 and
one sentence, an interrupt with 130. What takes long to import is imported inside the command that needs it.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer.core

from gpn._version import __version__
from gpn.cli import catalog, check, explore, long_run, reproduce, train, trainability, verify, width
from gpn.cli.options import complain
from theory.errors import ContradictionError, UsageError

MISUSE, INTERNAL, INTERRUPTED = 2, 70, long_run.INTERRUPTED
_CLICK_USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]  # not exported under a name of its own

STORY = (
    "probe",
    "check",
    "normalize",
    "gain",
    "verify",
    "width",
    "verify-certificate",
    "design",
    "spectrum",
    "activations",
    "family",
    "explore",
    "audit",
    "reproduce",
    "train",
)
"""The commands in the order in which a newcomer meets them."""


class _InOrder(typer.core.TyperGroup):
    """A group that lists its commands in the order of `STORY`; typer would put groups of commands last."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=STORY.index)


app = typer.Typer(
    cls=_InOrder,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
      gpn probe mymodel:build       is my PyTorch or JAX network normalized,
                                    and where does it leave the theory?
      gpn verify                    does the theorem hold? (under a minute)
      gpn check gelu                is GELU Gaussian-Poincare normalized, and
                                    which a, b make it so?
      gpn check mymodule:phi        the same for a function of your own
      gpn normalize silu            the constants, and code to paste
      gpn gain tanh                 the gain of the weights, and where it leads
      gpn width tanh --depth 50 --epsilon 0.5       how wide must it be?
      gpn design tanh --depth 200     the member of a family for a depth
      gpn spectrum tanh --depth 50    which directions of a gradient survive
      gpn activations               every activation known by name
      gpn family "elu(alpha)" --values 0.5,1        scan over a parameter
      gpn explore                   a formula and sliders in Jupyter
      gpn audit                     published constants against certified ones
      gpn reproduce gradients       gradient norms of 200 layers: vanishing,
                                    exploding, preserved (minutes)
      gpn train selu --depth 200    does it train? (minutes)
      gpn reproduce training        very deep networks beside their baselines
                                    (twenty minutes)
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


app.command(short_help="Compare a PyTorch or JAX network with the prediction.")(trainability.probe)
app.command(short_help="Is an activation GPN, and which a, b make it so?")(check.check)
app.command(short_help="Print the constants a, b, and code to paste.")(check.normalize)
app.command(short_help="Find the gain of the weights, and where it leads.")(check.gain)
app.command(short_help="Test the theorem by Monte Carlo: the main job.")(verify.verify)
app.command(short_help="Find the width that a network needs, or its depth or tolerance.")(width.width)
app.command("verify-certificate", short_help="Check a proof that gpn width --certify wrote.")(width.verify_certificate)
app.command(short_help="Choose the activation of a family for a depth.")(trainability.design)
app.command(short_help="Sample the singular values of the Jacobian.")(trainability.spectrum)
app.command(short_help="List every activation known by name.")(catalog.activations)
app.command(short_help="Tabulate a family over its parameter, or solve for it.")(catalog.family)
app.command(short_help="Compare published constants with the exact ones.")(catalog.audit)
app.command("train", short_help="Train a deep network, and record its gradient norms.")(train.train)
app.command(short_help="Explore in Jupyter: a formula and sliders.")(explore.explore)
app.add_typer(reproduce.app, name="reproduce", short_help="Run the paper's experiments.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; every error that a user can cause is one sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what the terminal cannot show appears escaped
            stream.reconfigure(errors="backslashreplace")
    try:
        typed = list(sys.argv[1:] if arguments is None else arguments)
        if typed[:1] == ["help"]:  # gpn help check
            typed = [*typed[1:], "--help"]
        code = app(args=typed, prog_name="gpn", standalone_mode=False, obj=typed)
        if code == INTERRUPTED:  # some versions of typer turn the interrupt into this
            complain("interrupted", code)
    except (KeyboardInterrupt, typer.Abort):
        code = complain("interrupted", INTERRUPTED)
    except long_run.Ended as ended:
        code = complain(ended.sentence, ended.code)
    except (UsageError, _CLICK_USAGE_ERROR) as error:
        code = complain(_sentence(error), MISUSE)
    except OSError as error:  # standard output on a full disk, say
        where = f" {str(error.filename)[:200]!r}" if error.filename else ""
        code = complain(f"cannot read or write{where}: {error.strerror or error}", MISUSE)
    except MemoryError:
        code = complain("not enough memory; try fewer trials, a smaller width or fewer workers", MISUSE)
    except ContradictionError as error:
        code = complain(str(error), INTERNAL)
    except Exception as error:  # a bug must not look like a verdict, whose exit codes are 0, 1, 3 and 4
        if os.environ.get("GPN_TRACEBACK"):
            raise
        what = f"{type(error).__name__}: {error}"
        code = complain(f"internal error, please report it with GPN_TRACEBACK=1 set ({what})", INTERNAL)
    sys.exit(code)


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
