"""What a verification was asked for, in a form that a later process can read and go on with."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpn.experiment import store as run_store
from gpn.experiment.fingerprint import array_description
from gpn.experiment.store import Facts, Identity
from gpn.experiment.versions import computing_versions
from gpn.sampling.inputs import Inputs
from gpn.verification.results import Configuration
from theory.errors import UsageError

_FILES = ("inputs", "labels")  # the arguments that may be paths


def identity(config: Configuration, loaded: Inputs | None, call: Facts) -> Identity:
    """The identity of a verification: its configuration, its inputs to the last bit, and how to ask for it again.

    Args:
        config: what is asked for.
        loaded: the inputs, if there are any.
        call: the arguments of `gpn.verify` by name, as they were given.
    """
    settings: Facts = asdict(config)
    if loaded is not None:  # the same numbers are the same inputs, wherever their file is
        arrays = [loaded.vectors, *([] if loaded.labels is None else [loaded.labels])]
        settings["inputs"] = [array_description(array) for array in arrays]
    return Identity(_plain(settings), dict(computing_versions()), _writable_call(settings, call))


def recall(folder: str | os.PathLike[str]) -> Facts:
    """The arguments of `gpn.verify` with which the run in a folder was begun.

    Args:
        folder: where its run store is.

    Raises:
        UsageError: there is no run in the folder, or one that was begun with what cannot be written down.
    """
    found = run_store.look(folder)
    if found is None:
        raise UsageError(f"there is no run to go on with in {folder}: it has no {run_store.FILE}")
    if found.identity.call is None:
        raise UsageError(
            f"the run in {folder} was begun from Python with a function, an expression or arrays, which its store does "
            f"not hold; go on by the same call of gpn.verify with store={str(folder)!r}"
        )
    call = found.identity.call
    return call | {name: _found_again(call[name]) for name in _FILES}


def _writable_call(settings: Facts, call: Facts) -> Facts | None:
    """The arguments, with numbers as they were understood; None if they hold more than numbers, text and paths."""
    files = {name: _path(call[name]) for name in _FILES}
    texts = (call["activation"], call["derivative"], *files.values())
    if not all(value is None or isinstance(value, str | dict) for value in texts):
        return None
    understood = {
        "widths": settings["widths"],
        "depth": settings["depths"],
        "epsilons": None if call["epsilons"] is None else settings["epsilons"],
        "trials": settings["trials"],
        "seed": settings["seed"],
    }
    return _plain(call | understood | files)


def _path(source: Any) -> Any:
    """The path of a file as it was given and from the root; anything else, such as the name of a data set, as it is."""
    if isinstance(source, str | os.PathLike) and Path(source).is_file():
        return {"given": os.fspath(source), "absolute": str(Path(source).absolute())}
    return source


def _found_again(source: str | dict[str, str] | None) -> str | None:
    """A path as it was given, if it leads to a file from here as well, else from the root."""
    if isinstance(source, dict):
        return source["given"] if Path(source["given"]).is_file() else source["absolute"]
    return source


def _plain(facts: Facts) -> Facts:
    """As JSON gives them back."""
    return dict(json.loads(json.dumps(facts, default=lambda number: number.item())))
