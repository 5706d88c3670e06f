"""What the commands share: options, the reading of numbers, folders to write to, signs of progress."""

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar, overload

import typer

from theory.errors import UsageError


def activations(typed: str) -> list[str]:
    """Names of the catalog."""
    from theory.activations import catalog

    return _beginning(typed, catalog.names())


def roots(typed: str) -> list[str]:
    """Which of the two values of b."""
    from theory.normalization.normalize import POLICIES

    return _beginning(typed, POLICIES)


def targets(typed: str) -> list[str]:
    """Languages of a snippet."""
    from gpn.checking.snippets import TARGETS

    return _beginning(typed, TARGETS)


def weights(typed: str) -> list[str]:
    """Weights of a verification."""
    from gpn.verification.settings import WEIGHTS

    return _beginning(typed, WEIGHTS)


def ensembles(typed: str) -> list[str]:
    """Weights to begin a training with."""
    from gpn.engine.weights import ENSEMBLES

    return _beginning(typed, ENSEMBLES)


def optimizers(typed: str) -> list[str]:
    """Rules of a training step."""
    from gpn.training.optimizers import OPTIMIZERS

    return _beginning(typed, OPTIMIZERS)


def schedules(typed: str) -> list[str]:
    """Courses of the learning rate."""
    from gpn.training.optimizers import SCHEDULES

    return _beginning(typed, SCHEDULES)


def constraints(typed: str) -> list[str]:
    """What keeps weights orthogonal."""
    from gpn.training.step import CONSTRAINTS

    return _beginning(typed, CONSTRAINTS)


def _beginning(typed: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(typed)]


Number = TypeVar("Number", int, float)
DEFAULT_FOLDER = Path("gpn-output")


def option(metavar: str, help_text: str, words: Callable[[str], list[str]] | None = None) -> Any:
    """An option that takes a value, and the words that the shell completes it to."""
    return typer.Option(metavar=metavar, help=help_text, autocompletion=words)


Spec = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="A name, as gelu or 'leaky_relu(0.2)', a formula in x, or module:function.",
        autocompletion=activations,
    ),
]


DefaultSpec = Annotated[
    str,
    typer.Argument(metavar="SPEC", help="A name, a formula in x, or module:function.", autocompletion=activations),
]


Root = Annotated[str, option("ROOT", "Which b: auto, plus, minus, or stable (the smaller |chi|).", roots)]
Derivative = Annotated[str | None, option("MODULE:FUNCTION", "The derivative, where SPEC is a module:function.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def numbers(option: str, text: str | None, kind: type[Number], example: str) -> list[Number] | None:
    """Read a list such as "64,256"; the ranges are the library's to check."""
    if text is None:
        return None
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        noun = "whole numbers" if kind is int else "numbers"
        raise UsageError(
            f"{option} takes {noun} separated by commas, such as {option} {example}, not {text[:80]!r}"
        ) from None


@overload
def number(option: str, text: str, kind: type[Number], example: str) -> Number: ...


@overload
def number(option: str, text: str | None, kind: type[Number], example: str) -> Number | None: ...


def number(option: str, text: str | None, kind: type[Number], example: str) -> Number | None:
    """Read one number, if it was given; its range is the library's to check."""
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        raise UsageError(f"{option} takes {noun}, such as {option} {example}, not {text[:80]!r}") from None


def words(text: str | None) -> list[str] | None:
    """Read names separated by commas, but for commas within brackets.

    >>> words("tanh, max(x, 0),relu")
    ['tanh', 'max(x, 0)', 'relu']
    """
    if text is None:
        return None
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def only_given(**options: Any) -> dict[str, Any]:
    """Options that were given: the defaults are the library's own."""
    return {name: value for name, value in options.items() if value is not None}


def chosen_root(root: str, raw: bool) -> str | None:
    """The policy of --root, None for --raw, which leaves the activation as it is."""
    if raw and root != "auto":
        raise UsageError(f"--raw leaves the activation as it is, so --root {root[:40]} has no effect; give one of them")
    return None if raw else root


def results_folder(out: Path | None, as_json: bool) -> Path | None:
    """The folder --out, or the usual one, once it is known to be writable; None with --json alone, which prints only.

    Raises:
        UsageError: the folder cannot be written.
    """
    if out is None and as_json:
        return None
    return check_writable(DEFAULT_FOLDER if out is None else out)


def check_writable(folder: Path) -> Path:
    """Refuse a folder that cannot be written before the work begins, and leave no trace of the attempt.

    Raises:
        UsageError: nothing can be created in the folder, or in the nearest parent that exists.
    """
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=nearest):
            return folder
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise unwritable(folder, getattr(error, "strerror", None) or str(error)) from error


def unwritable(folder: Path, reason: str) -> UsageError:
    """The refusal of a folder."""
    return UsageError(f"cannot write results to --out {folder} ({reason}); name another folder, such as --out results")


@contextmanager
def status_line() -> Iterator[Callable[[str], None] | None]:
    """A line on standard error that says what is being computed, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda words: status.update(words)


@contextmanager
def progress_bar() -> Iterator[Callable[[float, float], None] | None]:
    """A progress bar on standard error if that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("simulating"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def complain(sentence: str, code: int) -> int:
    from gpn.report.words.text import plain

    print(f"gpn: {plain(sentence, 1000)}", file=sys.stderr, flush=True)
    return code
