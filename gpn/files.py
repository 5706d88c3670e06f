"""Files that appear whole or not at all."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_METADATA: dict[str, dict[str, Any]] = {"png": {}, "pdf": {"CreationDate": None}}  # the same bytes every time


def write_whole(path: Path, write: Callable[[Path], Any]) -> Path:
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


def save_figure(figure: "Figure", folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and as PDF, with no date in them."""
    return [
        write_whole(
            folder / f"{name}.{suffix}",
            partial(figure.savefig, format=suffix, dpi=200, metadata=_METADATA[suffix]),
        )
        for suffix in ("png", "pdf")
    ]
