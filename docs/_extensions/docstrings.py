"""Docstrings as they are written here, for a reader of reStructuredText.

In prose, |x|, a*phi and x_ are mathematics, not substitutions, emphasis or references; what stands in backticks, in
literal blocks, in doctests and in formulas stays as it is.
"""

import re
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_QUOTED = re.compile(r"(:[a-z:]+:`[^`]*`|``.*?``|`[^`]*`)", re.DOTALL)
_ACTIVE = re.compile(r"\\|\||(?<!^)(?<!\n)\*|_(?![\w])")
_LONE = re.compile(r"(: )(\w\.)$", re.MULTILINE)  # "width: n." is no list
_DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
_INLINE = re.compile(r"\$([^$\n]+)\$")
_HEADER = r"(Args|Raises|Returns|Yields|Attributes|Examples?|Notes?):$"
_NO_FORMULA = re.compile(rf"\.\. |>>> |\* |\d+\. |\w+: |{_HEADER}|.*::$")


def plain(lines: list[str]) -> list[str]:
    """The same lines with everything escaped that reStructuredText would read as markup.

    >>> plain(["|x|^2 of `a*b`", "", ".. math:: |x|"])
    ['\\\\|x\\\\|^2 of `a*b`', '', '.. math:: |x|']
    """
    displayed = _displayed(_formulas(lines))
    return [line for is_prose, chunk in _chunks(displayed) for line in (_escaped(chunk) if is_prose else chunk)]


def _formulas(lines: list[str]) -> list[str]:
    """Formulas between dollar signs as those of reStructuredText.

    >>> _formulas(["The event $x > 0$ of", "", "$$P(x > 0)$$"])
    ['The event :math:`x > 0` of', '', '.. math:: P(x > 0)']
    """
    text = _DISPLAY.sub(lambda found: f".. math:: {' '.join(found[1].split())}", "\n".join(lines))
    return _INLINE.sub(r":math:`\1`", text).split("\n")


def _displayed(lines: list[str]) -> list[str]:
    """Formulas that stand on indented lines between lines of text, as literal blocks.

    >>> _displayed(["With W = Q R,", "    |W x| = |x|;", "so it is."])
    ['With W = Q R,', '', '::', '', '    |W x| = |x|;', '', 'so it is.']
    """
    result: list[str] = []
    before, inside = "", False
    for line in lines:
        indented = line.startswith("    ")
        if line and indented != inside and not _NO_FORMULA.match(before):
            result += ["", "::", ""] if indented else [""]
        if line:
            inside = indented
            before = before if indented else line
        result.append(line)
    return result


def _chunks(lines: list[str]) -> Iterator[tuple[bool, list[str]]]:
    """Runs of lines that are prose, or are not."""
    kinds: list[bool] = []
    quoted_beyond: int | None = None  # the indentation beyond which lines are quoted
    doctest = False
    for line in lines:
        text, indent = line.strip(), len(line) - len(line.lstrip())
        doctest = text.startswith(">>>") or (doctest and bool(text))
        if quoted_beyond is not None and text and indent <= quoted_beyond:
            quoted_beyond = None
        directive = text.startswith(".. ")
        kinds.append(quoted_beyond is None and not doctest and not directive)
        if quoted_beyond is None and (directive or text.endswith("::")):
            quoted_beyond = indent
    for kind, group in groupby(zip(kinds, lines, strict=True), key=lambda pair: pair[0]):
        yield kind, [line for _, line in group]


def _escaped(chunk: list[str]) -> list[str]:
    parts = _QUOTED.split("\n".join(chunk))
    parts[::2] = [_LONE.sub(r"\1\\\2", _ACTIVE.sub(r"\\\g<0>", part)) for part in parts[::2]]
    return "".join(parts).split("\n")


def _process(_app: "Sphinx", _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = plain(lines)


def setup(app: "Sphinx") -> dict[str, Any]:
    """Run before napoleon, which makes field lists of the sections."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
