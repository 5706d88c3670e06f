"""What the reference shows: public names as they are typed, `gpn.check(...)`, and constants after functions."""

from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

import gpn

_PUBLIC = {id(getattr(gpn, name)): name for name in gpn.__all__ if not name.startswith("_")}


def _public(_app: Sphinx, domain: str, _kind: str, content: addnodes.desc_content) -> None:
    """Put `gpn.` before the names that the package itself offers."""
    for signature in content.parent.findall(addnodes.desc_signature):
        name, module = signature.get("fullname", ""), signature.get("module")
        found = getattr(__import__(module, fromlist=["_"]), name, None) if domain == "py" and name and module else None
        if _PUBLIC.get(id(found)) == name:
            place = signature.first_child_matching_class(addnodes.desc_name)
            signature.insert(place, addnodes.desc_addname("gpn.", "gpn."))


def _constants_last(_app: Sphinx, document: nodes.document) -> None:
    """Move the constants of each module behind its functions and classes."""
    for section in document.findall(nodes.section):
        ordered: list[nodes.Node] = []
        functions: list[nodes.Node] = []
        constants: list[nodes.Node] = []
        entry: list[nodes.Node] = []  # of the index, which stands before each description
        for child in [*section.children, None]:
            if isinstance(child, addnodes.index):
                entry.append(child)
            elif isinstance(child, addnodes.desc):
                (constants if child["objtype"] == "data" else functions).extend([*entry, child])
                entry = []
            else:
                ordered += [*functions, *constants, *entry]
                functions, constants, entry = [], [], []
                ordered += [] if child is None else [child]
        section.children = ordered


def setup(app: Sphinx) -> dict[str, Any]:
    """Listen to both events."""
    app.connect("object-description-transform", _public)
    app.connect("doctree-read", _constants_last, priority=100)  # before the contents of the page are listed
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
