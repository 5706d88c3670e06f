"""The badges of the notebooks: `python docs/badges.py` writes them into all notebooks.

The address of the repository stands in one place, `Repository` of [project.urls] in pyproject.toml.
"""

import json
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CELL = "badges"


def text(name: str, repository: str) -> str:
    """The links that open a notebook on Colab and Binder."""
    place = repository.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{place}/blob/main/notebooks/{name}"
    binder = f"https://mybinder.org/v2/gh/{place}/main?urlpath=lab/tree/notebooks/{name}"
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab})\n"
        f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({binder})\n\n"
        f"On Colab, install gpn first: `%pip install git+{repository}`."
    )


def address() -> str:
    """The address of the repository."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(settings["project"]["urls"]["Repository"])


def with_badges(notebook: dict[str, Any], words: str) -> dict[str, Any]:
    """The notebook with its badges in a cell after the title."""
    lines = words.splitlines(keepends=True)
    cell = {"cell_type": "markdown", "id": CELL, "metadata": {}, "source": lines}
    first, *others = [cell for cell in notebook["cells"] if cell["id"] != CELL]
    return notebook | {"cells": [first, cell, *others]}


if __name__ == "__main__":
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = with_badges(json.loads(path.read_text(encoding="utf-8")), text(path.name, address()))
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
