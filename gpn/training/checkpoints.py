"""Checkpoints of a training run: a .npz file without pickle that appears whole or not at all."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpn.experiment.files import write_whole
from gpn.sampling.inputs import read_arrays
from theory.errors import UsageError

FORMAT = 1
"""Raised when the meaning of the arrays changes."""


_HEADER = "header"


def write_checkpoint(path: Path, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Path:
    """Write arrays and a header; a run that is killed while it writes leaves the checkpoint before.

    Args:
        path: of the file, by custom *.npz.
        header: what JSON can hold.
        arrays: named arrays of numbers; bits are kept.
    """
    text = json.dumps({"format": FORMAT, **header}, allow_nan=False)
    return write_whole(path, partial(_write, {_HEADER: np.array(text), **arrays}))


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Read what `write_checkpoint` wrote.

    Raises:
        UsageError: no such file, damaged, or not such a checkpoint.
    """
    arrays = read_arrays(path, "the checkpoint", None)
    if isinstance(arrays, np.ndarray) or _HEADER not in arrays:
        raise UsageError(f"{path} is no checkpoint of a training run; name the file that --checkpoint wrote")
    try:
        header = dict(json.loads(str(arrays.pop(_HEADER)[()])))
    except (TypeError, ValueError):
        raise UsageError(f"the header of the checkpoint {path} is damaged; start again without --resume") from None
    if header.pop("format", None) != FORMAT:
        raise UsageError(f"the checkpoint {path} is of another version of gpn; start again without --resume")
    return header, arrays


def _write(arrays: Mapping[str, npt.NDArray[Any]], path: Path) -> None:
    with path.open("wb") as file:  # an open file keeps its name, which numpy would end in .npz
        np.savez(file, **arrays)  # type: ignore[arg-type]
