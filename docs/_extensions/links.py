"""What pages write as code becomes a link, so that the same page reads well as it is and as a web page.

`theory.gaussian.hermite:hermite_spectrum`, the form of the claims, must have a place in the reference: a missing one
is a warning, which the build turns into an error. `gpn.simulate` becomes a link if it has one.
"""

import re
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from theory.claims.registry import CLAIMS

_NAME = re.compile(r"(gpn|theory)(\.\w+)*(?P<colon>:)?(?(colon)\w+(\.\w+)*)(\(\))?")

_ANCHOR = re.compile(r'<a id="([\w-]+)"></a>')
_NOT_IN_SLUG = re.compile(r"[^\w\- ]")
_UPWARD = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)")


class Names(SphinxTransform):
    """Names of our functions in code spans become references to where they are documented."""

    default_priority = 300

    def apply(self, **_: Any) -> None:
        for literal in list(self.document.findall(nodes.literal)):
            found = _NAME.fullmatch(literal.astext())
            if found and "." in found.group() and not isinstance(literal.parent, nodes.title):
                _link(literal, found.group().removesuffix("()"), self.env.docname)


class Anchors(SphinxTransform):
    """Where GitHub lets a link land: `<a id="name"></a>` before a heading, and headings with formulas too."""

    default_priority = 701  # after all other names are given

    def apply(self, **_: Any) -> None:
        slugs = self.env.metadata[self.env.docname].setdefault("myst_slugs", {})
        for title in self.document.findall(nodes.title):
            if title.next_node(nodes.math) and isinstance(title.parent, nodes.section):
                slug = _NOT_IN_SLUG.sub("", title.astext().lower()).replace(" ", "-")
                slugs[slug] = self.document.myst_slugs[slug] = (title.line, title.parent["ids"][0], title.astext())
        for paragraph in list(self.document.findall(nodes.paragraph)):
            found = _ANCHOR.fullmatch("".join(child.astext() for child in paragraph))
            if found is None:
                continue
            name = found[1]
            slugs[name] = self.document.myst_slugs[name] = (paragraph.line, name, name)
            if name in self.document.ids:  # the heading itself bears the name
                paragraph.parent.remove(paragraph)
            else:
                paragraph.replace_self(nodes.target("", "", ids=[name]))


def _outward(app: Sphinx, page: str, source: list[str]) -> None:
    """Links to files of the repository beside `docs` offer those files."""
    folder = (Path(app.srcdir) / page).parent

    def offered(found: re.Match[str]) -> str:
        outside = not (folder / found[1]).resolve().is_relative_to(app.srcdir)
        return f"](path:{found[1]}" if outside else found.group()

    source[0] = _UPWARD.sub(offered, source[0])


def _claims(_app: Sphinx, _what: str, name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """What computes a claim has a link to it after the first paragraph: there stand its proof and its test."""
    links = [f"`{entry.title} <../claims.html#{entry.id}>`__" for entry in CLAIMS.values()
             if entry.function.replace(":", ".") == name]  # fmt: skip
    place = lines.index("") if "" in lines else len(lines)
    lines[place:place] = ["", f"Claim: {', '.join(links)}."] if links else []


def _link(literal: nodes.literal, name: str, page: str) -> None:
    reference = addnodes.pending_xref(
        "",
        literal.deepcopy(),
        refdomain="py",
        reftype="obj",
        reftarget=_home(name),
        refwarn=":" in name,
        refdoc=page,
    )
    reference.source, reference.line = literal.source, literal.line
    inside_a_link = isinstance(literal.parent, nodes.reference | addnodes.pending_xref | addnodes.download_reference)
    (literal.parent if inside_a_link else literal).replace_self(reference)


def _home(name: str) -> str:
    """Where an object is documented: in the module that defines it, not in one that passes it on."""
    try:
        found = resolve_name(name)
    except (ImportError, AttributeError):
        return name.replace(":", ".")
    module, qualified = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
    return f"{module}.{qualified}" if module and qualified else name.replace(":", ".")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transforms."""
    app.add_transform(Names)
    app.add_transform(Anchors)
    app.connect("source-read", _outward)
    app.connect("autodoc-process-docstring", _claims, priority=450)  # before sections become lists of fields
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
