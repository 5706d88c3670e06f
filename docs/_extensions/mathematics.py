"""Formulas as MathML, which browsers typeset themselves: no script, no font and no network are needed.

A formula that the converter cannot read is a warning, which the build turns into an error.
"""

import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

_MATHML = "http://www.w3.org/1998/Math/MathML"
_BARS = ("|", "∥", "‖", "&#x0007C;")
_TOUCHING = {"mi", "msub", "msup", "msubsup", "mn", "msqrt", "mfrac"}
_BRACES = {r"\lbrace": "{", r"\rbrace": "}"}
_UNREAD = "\\"
_TAG = re.compile(r"\\tag\{([^{}]*)\}")
_PRIME = r"\prime "
_PRIMES_AND_POWER = re.compile(r"(?<!\^)('{2,})\^(\{[^{}]*\}|.)")

logger = logging.getLogger(__name__)
ElementTree.register_namespace("", _MATHML)


def mathml(latex: str, display: bool) -> str:
    """A formula, given without dollar signs, as a `math` element.

    Raises:
        ValueError: something in it was not understood.
    """
    try:
        tree = ElementTree.fromstring(convert(_plain(latex), display="block" if display else "inline"))
    except Exception as error:  # the converter raises many kinds, none of them documented
        raise ValueError(f"{type(error).__name__}: {error}") from error
    for node in tree.iter():
        node.text = _BRACES.get(node.text or "", node.text)
        if _UNREAD in (node.text or "") and node.text != _UNREAD:
            raise ValueError(f"unknown command {node.text}")
    _space(tree)
    return ElementTree.tostring(tree, encoding="unicode")


def _plain(latex: str) -> str:
    """The same formula without the forms that the converter does not read."""
    for brace, name in (("\\{", "\\lbrace "), ("\\}", "\\rbrace ")):
        latex = latex.replace(brace, name)
    latex = _TAG.sub(r"\\qquad (\1)", latex)
    latex = _PRIMES_AND_POWER.sub(lambda found: f"^{{{len(found[1]) * _PRIME}{found[2]}}}", latex)
    if "\\begin" not in latex and ("&" in latex or r"\\" in latex):
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    return latex.replace("{aligned}", "{split}").strip()


def _space(tree: ElementTree.Element) -> None:
    """Bars stand close to what they enclose, and a thin space follows the name of a function."""
    for node in tree.iter(f"{{{_MATHML}}}mo"):
        if node.text in _BARS:
            node.attrib |= {"lspace": "0", "rspace": "0"}
    for parent in list(tree.iter(f"{{{_MATHML}}}mrow")):
        for left, right in reversed(list(pairwise(parent))):
            if {_kind(left), _kind(right)} <= _TOUCHING and (_is_name(left) or _is_name(right)):
                space = ElementTree.Element(f"{{{_MATHML}}}mspace", width="0.17em")
                parent.insert(list(parent).index(right), space)


def _kind(node: ElementTree.Element) -> str:
    return node.tag.removeprefix(f"{{{_MATHML}}}")


def _is_name(node: ElementTree.Element) -> bool:
    return _kind(node) == "mi" and len(node.text or "") > 1


def _html(node: nodes.Element, display: bool) -> str:
    try:
        return mathml(node.astext(), display)
    except ValueError as error:
        logger.warning("formula %r cannot be typeset: %s", node.astext(), error, location=node)
        return f"<code>{nodes.literal('', node.astext()).astext()}</code>"


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(_html(node, display=False))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="formula" tabindex="0">{_html(node, display=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer under the name `mathml`."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    app.config.html_math_renderer = "mathml"
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
