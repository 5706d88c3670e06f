"""Notebooks: nothing of a run is stored, each asks one question and checks its answer. nbmake executes them."""

import ast
import json
import runpy

import pytest

from tests.root import ROOT

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def cells(path, kind):
    notebook = json.loads(path.read_text())
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def code(path):
    """The whole code, without the magics of IPython."""
    lines = "\n".join(cells(path, "code")).splitlines()
    return "\n".join(line for line in lines if not line.startswith("%"))


def test_the_notebooks_are_numbered_without_gaps():
    assert [int(path.name[:2]) for path in NOTEBOOKS] == list(range(1, len(NOTEBOOKS) + 1))
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_of_a_run_is_stored(path):
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert not cell["metadata"]
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert notebook["metadata"]["language_info"] == {"name": "python"}  # no version of the last kernel


def test_all_notebooks_carry_the_badges_of_one_address():
    """The file as `make generated` writes it: an owner changes the address in pyproject.toml only."""
    badges = runpy.run_path(str(ROOT / "docs" / "badges.py"))
    for path in NOTEBOOKS:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        words = badges["text"](path.name, badges["address"]())
        assert badges["with_badges"](notebook, words) == notebook
        assert words.count(f"notebooks/{path.name})") == 2
        assert "".join(notebook["cells"][1]["source"]) == words


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_asks_a_question_and_checks_its_answer(path):
    text = cells(path, "markdown")
    assert text[0].startswith("# ")
    assert "?" in text[0]
    assert any("The checked result" in words for words in text)
    checks = [node for node in ast.walk(ast.parse(code(path))) if isinstance(node, ast.Assert)]
    assert checks
    assert all(any(isinstance(part, ast.Name) for part in ast.walk(node.test)) for node in checks)  # can fail


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_random_numbers_have_seeds(path):
    """A notebook that passes once passes always."""
    for node in ast.walk(ast.parse(code(path))):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if name == "gpn.simulate":
            assert "seed" in [keyword.arg for keyword in node.keywords]
        if name.endswith("default_rng"):
            assert node.args
