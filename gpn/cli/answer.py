"""Where every command ends: it prints its answer, then writes its files."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpn.cli.options import unwritable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gpn.experiment.result import Result


def show(tables: "Sequence[RenderableType]", next_step: str | None, data: object, as_json: bool) -> None:
    """Print an answer.

    Args:
        tables: the answer for a reader, in parts that an empty line separates.
        next_step: the command that is offered after the tables, if there is one.
        data: the same answer for a program: what JSON can hold, or a text that is JSON already.
        as_json: print `data` alone.
    """
    from gpn.report.words import terminal

    if as_json:
        terminal.emit(data) if isinstance(data, str) else terminal.emit_json(data)
    else:
        for position, table in enumerate(tables):
            if position > 0:
                terminal.emit("")
            terminal.show(table)
        terminal.show_next(next_step)


def deliver(
    report: "Result", table: "RenderableType", next_step: str | None, *, as_json: bool, folder: Path | None
) -> None:
    """Print a report, and then write its files: a full disk does not lose the answer.

    Args:
        report: the result of the command.
        table: the same for a reader.
        next_step: the command that is offered after the table, if there is one.
        as_json: print JSON and nothing else to standard output.
        folder: where to write the files; None to write none.

    Raises:
        UsageError: the folder cannot be written.
    """
    show([table], next_step, report.to_dict(), as_json)
    if folder is not None:
        save(report, folder, as_json)


def save(report: "Result", folder: Path, as_json: bool) -> None:
    """Write the files of a report and name them, on standard error when standard output is JSON.

    Raises:
        UsageError: the folder cannot be written.
    """
    from gpn.report.words import terminal
    from gpn.report.words.text import plain

    try:
        written = report.save(folder)
    except OSError as error:
        raise unwritable(folder, error.strerror or str(error)) from error
    names = ", ".join(path.name for path in written)
    terminal.show(f"\nWritten to {plain(str(folder))}: {names}", sys.stderr if as_json else None)


def write(path: Path, text: str, as_json: bool) -> None:
    """Write one more file beside those of a report, and name it as `save` does.

    Raises:
        UsageError: it cannot be written.
    """
    from gpn.experiment.files import write_text
    from gpn.report.words import terminal
    from gpn.report.words.text import plain

    try:
        write_text(path, text)
    except OSError as error:
        raise unwritable(path.parent, error.strerror or str(error)) from error
    terminal.show(f"Written to {plain(str(path.parent))}: {path.name}", sys.stderr if as_json else None)
