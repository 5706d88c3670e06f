"""What the commands share: their options, the reading of numbers, folders to write to, progress on the terminal."""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Any

import typer

from theory.errors import UsageError

DEFAULT_FOLDER = Path("gpn-output")
_FIRST_LINE, _MOST_SILENCE = 10.0, 300.0  # seconds between two lines of progress
_ANNOUNCED = 5.0  # the same of work that is known to take long
_MOST_CHARACTERS = 60  # of a number; seeds have up to 39 digits
_MOST_LEVELS = 200  # of a path; folders are made one in another


def completion(source: str) -> Callable[[str], list[str]]:
    """Return the completion of an option to the names that a module holds; the shell imports it when it asks.

    Args:
        source: "module:name" of the names, or of a function that returns them.
    """

    def complete(typed: str) -> list[str]:
        names = resolve_name(source)
        return [name for name in (names() if callable(names) else names) if name.startswith(typed)]

    return complete


activations = completion("theory.activations.catalog:names")
roots = completion("theory.normalization.normalize:POLICIES")
targets = completion("gpn.checking.snippets:TARGETS")
weights = completion("gpn.verification.settings:WEIGHTS")
methods = completion("gpn.verification.settings:METHODS")
ensembles = completion("gpn.engine.weights:ENSEMBLES")
optimizers = completion("gpn.training.optimizers:OPTIMIZERS")
schedules = completion("gpn.training.optimizers:SCHEDULES")
precisions = completion("gpn.training.settings:PRECISIONS")
constraints = completion("gpn.training.step:CONSTRAINTS")


class Integers(list[int]):
    """Whole numbers separated by commas; typer would let an option of type `list[int]` be repeated instead."""


class Floats(list[float]):
    """Numbers separated by commas."""


class Words(list[str]):
    """Names separated by commas."""


class NotANumber(typer.BadParameter):
    """A text where an option takes numbers."""

    def format_message(self) -> str:
        name = "" if self.param is None else self.param.opts[-1]
        return self.message.replace("OPTION", name)


def option(
    metavar: str,
    help_text: str,
    words: Callable[[str], list[str]] | None = None,
    read: Callable[[Any], Any] | None = None,
) -> Any:
    """Return an option that takes a value.

    Args:
        metavar: what the help shows in place of the value.
        help_text: one line of help.
        words: completes what was typed, see `completion`.
        read: turns what was typed into a value; None for a text or a path.
    """
    return typer.Option(metavar=metavar, help=help_text, autocompletion=words, parser=read)


def _number(kind: type[float], text: str) -> float:
    """A number of a sensible length: whole ones of many digits fit into no float, and would fill a message."""
    if len(text) > _MOST_CHARACTERS:
        raise ValueError
    return kind(text)


def number(metavar: str, help_text: str, example: float) -> Any:
    """Return an option that takes one number, a whole one if `example` is; the library checks the range."""
    noun = "a whole number" if isinstance(example, int) else "a number"

    def read(text: Any) -> float:
        try:
            return _number(type(example), str(text))
        except ValueError:
            raise NotANumber(f"OPTION takes {noun}, such as OPTION {example}, not {text[:80]!r}") from None

    return option(metavar, help_text, read=read)


def numbers(metavar: str, help_text: str, example: str, *, none: bool = False) -> Any:
    """Return an option that takes numbers separated by commas, whole ones if those of `example` are.

    Args:
        metavar, help_text: as in `option`.
        example: a value for the message about a text that cannot be read.
        none: whether the word none stands for an empty list.
    """
    kind, noun = (float, "numbers") if "." in example else (int, "whole numbers")

    def read(text: str) -> list[float]:
        try:
            return [] if none and text == "none" else [_number(kind, part) for part in text.split(",")]
        except ValueError:
            message = f"OPTION takes {noun} separated by commas, such as OPTION {example}, not {text[:80]!r}"
            raise NotANumber(message) from None

    return option(metavar, help_text, read=read)


Spec = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="A name such as gelu or 'leaky_relu(0.2)', a formula in x, or module:function.",
        autocompletion=activations,
    ),
]
DefaultSpec = Annotated[
    str,
    typer.Argument(metavar="SPEC", help="A name, a formula in x, or module:function.", autocompletion=activations),
]
Root = Annotated[str, option("ROOT", "Which b: auto, plus, minus, or stable (the smaller |chi|).", roots)]
Derivative = Annotated[str | None, option("MODULE:FUNCTION", "The derivative, if SPEC is a module:function.")]
Raw = Annotated[bool, typer.Option("--raw", help="Leave SPEC as it is: no normalization.")]
Seed = Annotated[int, number("N", "The same seed gives the same bits.", 7)]
Level = Annotated[float, number("P", "Confidence level of each interval.", 0.99)]
Inputs = Annotated[str | None, option("DATA", "Real inputs: digits, a folder as for gpn train, .npy or .npz.")]
Dataset = Annotated[str, option("DATA", "digits, a folder with MNIST, Fashion-MNIST or CIFAR-10, or a file .npz.")]
Results = Annotated[Path | None, option("FOLDER", "Folder of the results.  [default: gpn-output]")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def words(text: str) -> list[str]:
    """Read names separated by commas; a comma within brackets belongs to a name.

    >>> words("tanh, max(x, 0),relu")
    ['tanh', 'max(x, 0)', 'relu']
    """
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def only_given(options: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return those of the named options that were given; for the others the library has its defaults.

    Args:
        options: the arguments of a command, as `locals()` returns them.
        names: which of them.
    """
    return {name: options[name] for name in names if options[name] is not None}


def chosen_root(root: str, raw: bool) -> str | None:
    """Return the policy of --root, None for --raw, which leaves the activation as it is."""
    if raw and root != "auto":
        raise UsageError(f"--raw leaves the activation as it is, so --root {root[:40]} has no effect; give one of them")
    return None if raw else root


def resumed_folder(folder: Path) -> Path:
    """Return the folder of a run that is resumed.

    Raises:
        UsageError: it is a file.
    """
    if folder.is_file():
        raise UsageError(f"there is no run to resume in {folder}: it is a file; give the folder that --out named")
    return folder


def results_folder(out: Path | None, as_json: bool) -> Path | None:
    """Return the folder --out, or the default one, after checking it; None with --json alone, which only prints.

    Raises:
        UsageError: the folder cannot be written.
    """
    if out is None and as_json:
        return None
    return check_writable(DEFAULT_FOLDER if out is None else out)


def check_writable(folder: Path) -> Path:
    """Refuse a folder that cannot be written before the work begins, and leave no trace of the attempt.

    Drafts of files that a killed process has left in it are removed.

    Raises:
        UsageError: nothing can be created in the folder, or in the nearest parent that exists; or figures cannot be
            drawn.
    """
    from gpn.experiment.files import remove_drafts

    _check_backend()
    if len(folder.parts) > _MOST_LEVELS:
        raise unwritable(Path(*folder.parts[:2], "..."), f"a path of {len(folder.parts)} levels")
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=nearest):
            remove_drafts(folder)
            return folder
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise unwritable(folder, getattr(error, "strerror", None) or str(error)) from error


def _check_backend() -> None:
    """Refuse a name in MPLBACKEND that Matplotlib does not know; figures go to files, so any known one works."""
    if "MPLBACKEND" in os.environ:
        try:
            import matplotlib as mpl  # noqa: F401
        except ValueError:
            name = os.environ["MPLBACKEND"]
            message = (
                f"Matplotlib knows no backend {name[:40]!r}, which MPLBACKEND asks for; unset it, or MPLBACKEND=Agg"
            )
            raise UsageError(message) from None


def unwritable(folder: Path, reason: str) -> UsageError:
    """Return the error for a folder that cannot be written."""
    return UsageError(f"cannot write results to --out {folder} ({reason}); name another folder, such as --out results")


class Lines:
    """Progress for a log: a line after some seconds, then less and less often, with the time that is left.

    Args:
        write: prints a line.
        clock: seconds, from any beginning.
        announced: whether the first words are a line of their own.
    """

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic, *, announced: bool = False
    ) -> None:
        self._write, self._clock, self._announced = write, clock, announced
        self._begin = clock()
        self._every, self._share = (_ANNOUNCED, 20) if announced else (_FIRST_LINE, 4)
        self._next = self._begin + self._every
        self._before: tuple[float, float] | None = None

    def __call__(self, done: float, total: float, words: str) -> None:
        """Take note of the progress, and write a line if it is time for one."""
        if self._announced:
            self._announced = False
            self._write(f"gpn: {words}")
        now = self._clock()
        first, since = self._before or (done, now)
        if total:  # what is searched before counts for no pace
            self._before = first, since
        if now < self._next:
            return
        self._next = now + min(max(self._every, (now - self._begin) / self._share), _MOST_SILENCE)
        share = f", {done / total:.0%}" if total else ""
        left = ""
        if total and done > first:
            left = f", about {_duration((now - since) * (total - done) / (done - first))} left"
        self._write(f"gpn: {words}{share} after {_duration(now - self._begin)}{left}")


def _duration(seconds: float) -> str:
    """A time in words.

    >>> _duration(7.4), _duration(150), _duration(9000)
    ('7 s', '2 min 30 s', '2 h 30 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


@contextmanager
def progress_bar(announced: bool = False) -> Iterator[Callable[[float, float, str], None]]:
    """Show on standard error what is being computed: with a bar on a terminal, else in a line every so often.

    Args:
        announced: whether the first words, which say how much there is to do, stay on the terminal or in the log.
    """
    if not sys.stderr.isatty():
        yield Lines(partial(print, file=sys.stderr, flush=True), announced=announced)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        said = [not announced]

        def update(done: float, total: float, words: str) -> None:
            if not said[0]:
                said[0] = True
                bar.console.print(f"gpn: {words}", markup=False, highlight=False)
            bar.update(task, completed=done, total=total or None, description=words)

        yield update


def complain(sentence: str, code: int) -> int:
    """Print one sentence to standard error, and return the exit code."""
    from gpn.report.words.text import plain

    print(f"gpn: {plain(sentence, 1000)}", file=sys.stderr, flush=True)
    return code
