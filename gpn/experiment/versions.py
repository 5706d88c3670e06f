"""Versions of everything that the numbers of a run depend on."""

import json
import platform
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, metadata, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from gpn._version import __version__
from gpn.engine.norms import quiet, row_dots

PACKAGES = ("numpy", "scipy", "sympy", "mpmath", "python-flint")
_ELEMENTARY = (np.exp, np.expm1, np.log, np.log1p, np.sin, np.cos, np.tan, np.arctan, np.sinh, np.cosh, np.tanh)


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on, and of Python."""
    return {"gpn": __version__, "python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


@lru_cache(maxsize=1)
def repository() -> str | None:
    """The address of the source code; None until the owner has put one into pyproject.toml.

    >>> (repository() or "https://").startswith("https://")
    True
    """
    try:
        named = dict(entry.split(", ", 1) for entry in metadata("gpn-theory").get_all("Project-URL") or [])
    except PackageNotFoundError:
        return None
    address = named.get("Repository", "").rstrip("/")
    return address if address and "/OWNER/" not in address else None


@lru_cache(maxsize=1)
def computing_versions() -> tuple[tuple[str, str], ...]:
    """(name, version) of all that could change a bit of a result: not of Python, but of source code and arithmetic.

    Two processes whose answers differ must not share a run: their numbers do not belong together.
    """
    own = [(name, number) for name, number in versions().items() if name != "python"]
    return (*own, ("gpn source", source_digest()), ("arithmetic of the processor", arithmetic_digest()))


def source_digest() -> str:
    """Digest of the modules of `gpn` and `theory` as they are installed: a version alone hides edited code."""
    digest = blake2b(digest_size=6)
    for package in ("gpn", "theory"):
        root = Path(str(files(package)))
        for module in sorted(root.rglob("*.py")):
            text = module.read_bytes()
            digest.update(f"{package}/{module.relative_to(root).as_posix()} {len(text)}\n".encode())
            digest.update(text)
    return digest.hexdigest()


def arithmetic_digest() -> str:
    """Digest of some results of NumPy: tanh, exp and inner products round differently on other kinds of processor.

    NumPy and its BLAS take the widest instructions that the processor has, and each kind of them has roundings of its
    own.
    """
    x = np.linspace(-9.0, 9.0, 4001)
    rows = np.resize(x, (16, 250))
    with quiet():
        results = [function(x) for function in _ELEMENTARY]
    results.append(row_dots(rows, rows[::-1]))
    return blake2b(b"".join(result.tobytes() for result in results), digest_size=6).hexdigest()


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Return what differs between two sets of named values ready for JSON, one phrase for each.

    >>> differences({"gpn": "1", "numpy": "2"}, {"gpn": "1", "numpy": "3"})
    ['numpy: 2 there, 3 here']
    """

    def shown(values: Mapping[str, Any], name: str) -> str:
        value = values.get(name, "nothing")
        return value if isinstance(value, str) else json.dumps(value)

    names = dict.fromkeys([*theirs, *ours])
    texts = {name: (shown(theirs, name), shown(ours, name)) for name in names}
    return [f"{name}: {there} there, {here} here" for name, (there, here) in texts.items() if there != here]
