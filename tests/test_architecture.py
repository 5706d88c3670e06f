"""The rules of the house that import-linter cannot state: its contracts are in pyproject.toml."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

from tests.root import ROOT

MODULES = sorted(path.relative_to(ROOT) for top in ("gpn", "theory") for path in (ROOT / top).rglob("*.py"))
ROOMS = sorted({path.parent for path in MODULES} - {Path("gpn"), Path("theory")})
MOST_FILES, MOST_LINES = 12, 400

pytestmark = pytest.mark.quick


def test_a_room_has_few_files():
    beside = {room: sum(path.parent == room and path.name != "__init__.py" for path in MODULES) for room in ROOMS}
    assert not {room: count for room, count in beside.items() if count > MOST_FILES}


def test_a_file_is_short():
    lines = {path: len((ROOT / path).read_text().splitlines()) for path in MODULES}
    assert not {path: count for path, count in lines.items() if count > MOST_LINES}


def test_a_room_says_what_it_imports_and_where_to_begin():
    texts = {room: ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text())) or "" for room in ROOMS}
    assert not {room: text for room, text in texts.items() if not introduces(room, text)}


def introduces(room: Path, text: str) -> bool:
    """Whether the text says "import" and "Begin with" a module or a sub-package of the room."""
    begin = re.search(r"Begin with `(\w+)", text)
    return "import" in text and begin is not None and begin[1] in {path.stem for path in (ROOT / room).iterdir()}


def test_private_names_stay_in_their_room():
    outside = {
        path: [name for name in private_names(path) if Path(*name.split(".")[:-2]) != path.parent] for path in MODULES
    }
    assert not {path: names for path, names in outside.items() if names}


def private_names(module: Path) -> Iterator[str]:
    """The names `_x` of other modules that a module imports, or reads as an attribute of an imported module."""
    tree = ast.parse((ROOT / module).read_text())
    imported = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("gpn", "theory"):
            for alias in node.names:
                imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                if is_private(alias.name):
                    yield f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and isinstance(node.value, ast.Name):
            owner = imported.get(node.value.id, "")
            if Path(owner.replace(".", "/") + ".py") in MODULES:
                yield f"{owner}.{node.attr}"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_the_check_of_private_names_sees_both_ways_to_use_one(tmp_path, monkeypatch):
    code = (
        "from theory.layer import levy\nfrom theory.layer.cramer import _refine\nimport gpn\nlevy._bound\ngpn.__name__"
    )
    (tmp_path / "module.py").write_text(code)
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert list(private_names(Path("module.py"))) == ["theory.layer.cramer._refine", "theory.layer.levy._bound"]


def test_the_engine_imports_numpy_alone():
    """The contract in pyproject.toml forbids some packages; here are all that are allowed."""
    graph = grimp.build_graph("gpn", "theory", include_external_packages=True)
    engine = {"gpn.engine", *graph.find_descendants("gpn.engine")}
    imported = set().union(*map(graph.find_modules_directly_imported_by, engine)) - engine
    assert "numpy" in imported
    assert imported - sys.stdlib_module_names <= {"numpy", "theory.errors"}


def test_importing_gpn_is_light():
    heavy = ("sympy", "pandas", "matplotlib", "scipy", "typer")
    code = f"import gpn, sys; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
