"""What a run is, as its store writes it down for a later process."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

Facts: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a run is: two runs may share chunks if their settings and versions are equal.

    Args:
        settings: what is computed, by name, ready for JSON.
        versions: of all that the numbers depend on, by name.
        call: the arguments with which a later process starts the same run, ready for JSON; None if they cannot be
            written down, as a Python function cannot.
    """

    settings: Facts
    versions: dict[str, str]
    call: Facts | None = None


def parse_identity(text: str) -> Identity:
    """Return the identity that a file holds as JSON; the file may come from anywhere.

    Raises:
        ValueError: the text is not an identity.

    >>> parse_identity('{"settings": {}, "versions": {"gpn": "1"}}').versions
    {'gpn': '1'}
    """
    try:
        identity = Identity(**json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"its identity cannot be read: {error}") from error
    if not all(isinstance(part, dict) for part in (identity.settings, identity.versions, identity.call or {})):
        raise ValueError("its identity is not made of named values")
    return identity


def resuming_command(folder: Path, call: Facts | None = None) -> str:
    """Return what a user types to resume the run in a folder.

    Args:
        folder: where its store is.
        call: the arguments of the run; functions of modules are named again, for nothing is imported unasked.

    >>> resuming_command(Path("my results"))
    "gpn verify --resume 'my results'"
    >>> resuming_command(Path("o"), {"activation": "mymodule:phi", "derivative": None})
    'gpn verify mymodule:phi --resume o'
    """
    named = {name: (call or {}).get(name) or "" for name in ("activation", "derivative")}
    again = [*(["--derivative", named["derivative"]] if named["derivative"] else []), "--resume", str(folder)]
    return shlex.join(["gpn", "verify", *([named["activation"]] if ":" in named["activation"] else []), *again])
