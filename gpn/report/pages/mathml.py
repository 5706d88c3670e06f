"""Formulas as MathML, which browsers typeset themselves: no script, no font and no network are needed."""

import re
from functools import cache
from itertools import pairwise
from xml.etree import ElementTree

_NAMESPACE = "{http://www.w3.org/1998/Math/MathML}"
_TOKENS = {"math", "mi", "mn", "mo", "mtext", "mspace"}
_LAYOUT = {"mrow", "mfrac", "msqrt", "mroot", "mstyle", "mtable", "mtr", "mtd"}
_SCRIPTS = {"msub", "msup", "msubsup", "munder", "mover", "munderover"}
_KNOWN = _TOKENS | _LAYOUT | _SCRIPTS
_TOUCHING = {"mi", "mn", "mfrac", "msqrt", "msub", "msup", "msubsup", "munder"}
_BARS = {"|", "‖", "∥"}
_CLOSE = _BARS | {"/", "∂"}
_BRACES = {r"\lbrace": "{", r"\rbrace": "}"}
_UNREAD = "\\"
_TAG = re.compile(r"\\tag\{([^{}]*)\}")
_PRIME = r"\prime "
_PRIMES = {"′", "″", "‴", "⁗"}
_PRIMES_AND_POWER = re.compile(r"(?<!\^)('{2,})\^(\{[^{}]*\}|.)")


@cache
def mathml(latex: str, display: bool) -> str:
    r"""A formula as a `math` element of HTML.

    Args:
        latex: without dollar signs.
        display: on a line of its own.

    Raises:
        ValueError: something in it was not understood, or is not mathematics.

    >>> mathml("n^2", display=False).partition("<mrow>")[2]
    '<msup><mi>n</mi><mn>2</mn></msup></mrow></math>'
    >>> mathml("f'^2", display=False).partition("<mrow>")[2]
    '<msup><mrow><mi>f</mi><mo lspace="0" rspace="0">′</mo></mrow><mn>2</mn></msup></mrow></math>'
    >>> mathml(r"\nonsense", display=False)
    Traceback (most recent call last):
    ...
    ValueError: unknown command \nonsense
    """
    from latex2mathml.converter import convert

    try:
        tree = ElementTree.fromstring(convert(_readable(latex), display="block" if display else "inline"))
    except Exception as error:  # the converter raises many kinds, none of them documented
        raise ValueError(f"{type(error).__name__}: {error}") from error
    for node in tree.iter():
        node.tag = str(node.tag).removeprefix(_NAMESPACE)
        node.text = _BRACES.get(node.text or "", node.text)
        if node.text == "~" and node.tag == "mi":  # "is distributed as", which the converter takes for a letter
            node.tag, node.text = "mo", "∼"
        if node.tag not in _KNOWN or any(name.startswith("on") or "href" in name for name in node.attrib):
            raise ValueError(f"<{node.tag}> is not mathematics")
        if _UNREAD in (node.text or "") and node.text != _UNREAD:
            raise ValueError(f"unknown command {node.text}")
    _space(tree)
    _unraise(tree)
    return ElementTree.tostring(tree, encoding="unicode")


def _readable(latex: str) -> str:
    """The same formula without the forms that the converter does not read."""
    for brace, name in (("\\{", "\\lbrace "), ("\\}", "\\rbrace ")):
        latex = latex.replace(brace, name)
    latex = _TAG.sub(r"\\qquad (\1)", latex)
    latex = _PRIMES_AND_POWER.sub(lambda found: f"^{{{len(found[1]) * _PRIME}{found[2]}}}", latex)
    if "\\begin" not in latex and ("&" in latex or r"\\" in latex):
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    return latex.replace("{aligned}", "{split}").strip()


def _space(tree: ElementTree.Element) -> None:
    """Bars, slashes and ∂ close to what is beside them, and a thin space beside the name of a function."""
    for node in tree.iter("mo"):
        if node.text in _CLOSE:
            node.attrib |= {"lspace": "0", "rspace": "0"}
    for parent in list(tree.iter("mrow")):
        for left, right in reversed(list(pairwise(parent))):
            if {left.tag, right.tag} <= _TOUCHING and any(map(_is_named, (left, right))):
                parent.insert(list(parent).index(right), ElementTree.Element("mspace", width="0.17em"))


def _unraise(tree: ElementTree.Element) -> None:
    """Primes beside what they mark: fonts raise them already, and a superscript would make them small and too high."""
    for node in [node for node in tree.iter() if node.tag in ("msup", "msubsup")]:
        script = node[-1]
        parts = list(script) if script.tag == "mrow" else [script]
        others = [part for part in parts if part.text not in _PRIMES]
        if len(others) == len(parts):
            continue
        marked = ElementTree.Element("mrow")
        marked.extend([node[0], *(part for part in parts if part.text in _PRIMES)])
        for prime in marked[1:]:
            prime.tag, prime.attrib = "mo", {"lspace": "0", "rspace": "0"}
        node[:] = [marked, *node[1:-1], *_grouped(others)]
        if not others:
            node.tag = "mrow" if node.tag == "msup" else "msub"


def _grouped(nodes: list[ElementTree.Element]) -> list[ElementTree.Element]:
    """The nodes as one argument of a script."""
    if len(nodes) < 2:
        return nodes
    group = ElementTree.Element("mrow")
    group.extend(nodes)
    return [group]


def _is_named(node: ElementTree.Element) -> bool:
    return node.tag == "mi" and len(node.text or "") > 1
