"""Files that appear whole or not at all."""

import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pandas as pd

if TYPE_CHECKING:
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
        write(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return path


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
        name: of the files, without suffix.
        caption: kept in the files as their description (PNG) or subject (PDF).
    """
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
