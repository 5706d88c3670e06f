"""Choices among a few words have names in our code, and signatures in the reference show the name: `Stability`.

The page of types lists what each name stands for; it is filled while it is read.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
PAGE = "reference/types"


@cache
def aliases() -> dict[str, str]:
    """The qualified name of each choice that a module names, by how Sphinx writes the choice."""
    found: dict[str, str] = {}
    for package in ("theory", "gpn"):
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for name, written in _choices(path.read_text(encoding="utf-8")):
                found.setdefault(written, f"{module}.{name}")
    return found


def _choices(source: str) -> Iterator[tuple[str, str]]:
    """Name and choice of each assignment at the top of a module.

    >>> list(_choices('Side = Literal["upper", "lower"]'))
    [('Side', "Literal['upper', 'lower']")]
    """
    body = ast.parse(source).body if "Literal[" in source else []
    for node, after in zip_longest(body, body[1:]):
        documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)  # among the data of its page
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and not documented:
            written = ast.unparse(node.value).replace("[(", "[").replace(")]", "]")
            if written.startswith("Literal[") and not node.targets[0].id.startswith("_"):
                yield node.targets[0].id, written


def named(text: str | None) -> str | None:
    """The same signature with names in place of the choices they stand for."""
    for written, name in aliases().items():
        text = re.sub(rf"(~?typing\.)?{re.escape(written)}", f"~{name}", text) if text else text
    return text


def _signature(
    _app: "Sphinx", _what: str, _name: str, _object: object, _options: object, signature: str, returns: str
) -> tuple[str | None, str | None]:
    return named(signature), named(returns)


def _fill(_app: "Sphinx", page: str, source: list[str]) -> None:
    if page == PAGE:
        entries = [f".. py:type:: {name}\n   :canonical: {written}\n" for written, name in sorted(aliases().items())]
        source[0] += "\n```{eval-rst}\n" + "\n".join(entries) + "```\n"


def setup(app: "Sphinx") -> dict[str, Any]:
    """Listen to both events."""
    app.connect("autodoc-process-signature", _signature)
    app.connect("source-read", _fill)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
