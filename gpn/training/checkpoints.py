"""Checkpoints of a training run: a .npz file without pickle that appears whole or not at all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpn.data.files import read_arrays
from gpn.experiment.files import write_whole
from theory.errors import UsageError

FORMAT = 1
"""Version of the file format: counted up when the meaning of the arrays changes."""

_HEADER = "header"


@dataclass(frozen=True, slots=True)
class Saving:
    """Place and frequency of the checkpoints of a run.

    Args:
        path: the path of the checkpoint.
        resume: whether the run resumes from the checkpoint.
        seconds: least time between two checkpoints.
        again: what a user does to resume.
    """

    path: Path
    resume: bool
    seconds: float
    again: str = "run the same again with resume"

    @classmethod
    def of(cls, checkpoint: str | Path | None, resume: bool = False, seconds: float = 30.0) -> "Saving | None":
        """Check the arguments of `gpn.train`; None for a run without a checkpoint.

        Raises:
            UsageError: no checkpoint to resume from, one that would be overwritten, or no folder for it.
        """
        path = None if checkpoint is None else Path(checkpoint)
        if resume and (path is None or not path.exists()):
            where = "no checkpoint was named" if path is None else f"there is no file {path}"
            raise UsageError(f"nothing to resume from: {where}; name it, or leave resume out to begin")
        if path is None:
            return None
        if path.exists() and not resume:
            raise UsageError(f"the checkpoint {path} exists; resume from it, or name another file")
        if not path.absolute().parent.is_dir():
            raise UsageError(f"there is no folder {path.absolute().parent} for the checkpoint; make it first")
        return cls(path, resume, seconds)


def write_checkpoint(path: Path, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Path:
    """Write arrays and a header; a run that is killed while it writes keeps the previous checkpoint.

    Args:
        path: the path of the file, by convention *.npz.
        header: what JSON can hold.
        arrays: named arrays of numbers; bits are kept.
    """
    text = json.dumps({"format": FORMAT, **header}, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(draft: Path) -> None:
        with draft.open("wb") as file:  # an open file keeps its name, which numpy would end in .npz
            np.savez(file, **{_HEADER: np.array(text), **arrays})  # type: ignore[arg-type]

    return write_whole(path, write)


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Read what `write_checkpoint` wrote.

    Raises:
        UsageError: no such file, damaged, or not such a checkpoint.
    """
    try:
        arrays = read_arrays(path, "the checkpoint", None)
    except UsageError as error:  # its advice is about data
        text = str(error).partition("; write it")[0]
        raise UsageError(f"{text}; name the file that --checkpoint wrote, or begin without --resume") from None
    if isinstance(arrays, np.ndarray) or _HEADER not in arrays:
        raise UsageError(f"{path} is not a checkpoint of a training run; name the file that --checkpoint wrote")
    try:
        header = dict(json.loads(str(arrays.pop(_HEADER)[()])))
    except (TypeError, ValueError):
        raise UsageError(f"the header of the checkpoint {path} is damaged; start again without --resume") from None
    if header.pop("format", None) != FORMAT:
        raise UsageError(f"the checkpoint {path} is of another version of gpn; start again without --resume")
    return header, arrays
