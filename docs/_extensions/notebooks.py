"""The notebooks as pages: their words and their code, read as Markdown. Nothing is executed.

Sphinx reads only what is in its folder, so the notebooks are copied to docs/notebooks, which git ignores.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx
from sphinx.config import Config

FOLDER = "notebooks"
_BADGE = re.compile(r"!\[([^]]*)\]\(https://[^)]*\)")  # the words of a badge: our pages load nothing from elsewhere


def markdown(notebook: str) -> str:
    """Return the cells of a notebook as one page of Markdown.

    >>> markdown('{"cells": [{"cell_type": "code", "source": ["import gpn"]}]}')
    '```python\\nimport gpn\\n```'
    """
    cells = [(cell["cell_type"], "".join(cell["source"]).strip()) for cell in json.loads(notebook)["cells"]]
    cells = [(kind, _BADGE.sub(r"\1", text)) for kind, text in cells]
    return "\n\n".join(f"```python\n{text}\n```" if kind == "code" else text for kind, text in cells if text)


class NotebookParser(MystParser):
    """Reads a notebook as the Markdown that it holds."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Parse the notebook, and offer the file itself at the end of the page."""
        name = Path(document["source"]).name
        end = f"Run it yourself: {{download}}`{name}`, with `pip install '.[notebooks]'` and `jupyter lab {name}`."
        page = markdown(inputstring).replace("](../docs/", "](../")
        super().parse(f"{page}\n\n---\n\n{end}\n", document)


def _copy(app: Sphinx, _config: Config) -> None:
    """Bring the notebooks into the folder of the pages."""
    source, target = Path(app.srcdir).parent / FOLDER, Path(app.srcdir) / FOLDER
    target.mkdir(exist_ok=True)
    for path in target.glob("*.ipynb"):
        path.unlink()
    for path in sorted(source.glob("*.ipynb")):
        shutil.copy2(path, target)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the parser for files that end in .ipynb."""
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(NotebookParser)
    app.connect("config-inited", _copy)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
