"""Files that appear whole or not at all."""

import errno
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


_FORMATS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("png", "Description", {}),
    ("pdf", "Subject", {"CreationDate": None}),  # the same bytes every time
)
"""Suffix, where the caption goes, other metadata."""


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Write beside the target and rename, so that an interrupted run leaves no partial file.

    Args:
        path: the target.
        write: called with the path of a draft in the same folder.
    """
    draft = path.with_name(f".{path.name}.{uuid4().hex}.partial")  # no other run writes to the same draft
    try:
        with _open_and_locked(draft, "xb"):
            write(draft)
            os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def remove_drafts(folder: Path) -> None:
    """Remove the drafts that a process has left in a folder because it was killed; those that are being written stay.

    Args:
        folder: where `write_whole` may have written.
    """
    for draft in folder.glob(f".*.{'[0-9a-f]' * 32}.partial"):
        with suppress(OSError), _open_and_locked(draft, "rb"):
            draft.unlink()


@contextmanager
def _open_and_locked(path: Path, mode: str) -> Iterator[None]:
    """Hold the lock of a file, which ends with the process however that ends; OSError if another process holds it."""
    if sys.platform == "win32":  # where an open file can be neither renamed nor removed
        yield
        return
    import fcntl

    with path.open(mode) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise  # other errors: a file system without locks
        yield


def write_text(path: Path, text: str) -> Path:
    """Write text in UTF-8, with line ends as they are, whole or not at all."""
    return write_whole(path, lambda draft: draft.write_text(text, encoding="utf-8", newline="\n"))


def write_table(path: Path, frame: "pd.DataFrame", **options: Any) -> Path:
    """Write a frame as CSV without its index, whole or not at all.

    Args:
        path: the target.
        frame: what to write.
        options: for `pandas.DataFrame.to_csv`.
    """
    return write_whole(path, lambda draft: frame.to_csv(draft, index=False, **options))


def save_figure(figure: "Figure", folder: Path, name: str, caption: str = "") -> list[Path]:
    """Write a figure as PNG and as PDF, with no date in them.

    Args:
        figure: what to draw.
        folder: where.
        name: the name of the files, without suffix.
        caption: kept in the files as their description (PNG) or subject (PDF).
    """
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine("none")  # or each format lays the figure out again
    return [
        write_whole(
            folder / f"{name}.{suffix}",
            partial(figure.savefig, format=suffix, dpi=200, metadata=metadata | ({key: caption} if caption else {})),
        )
        for suffix, key, metadata in _FORMATS
    ]


def finite(number: float) -> float | None:
    """The number, None if it is not finite.

    >>> finite(1.5), finite(math.inf)
    (1.5, None)
    """
    return number if math.isfinite(number) else None


def finite_record(record: dict[str, Any]) -> dict[str, Any]:
    """A record with None for each of its numbers that is not finite.

    >>> finite_record({"name": "tanh", "rate": math.nan})
    {'name': 'tanh', 'rate': None}
    """
    return {key: finite(value) if isinstance(value, float) else value for key, value in record.items()}
