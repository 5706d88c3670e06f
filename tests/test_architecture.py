"""The house rules that imports must keep."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.root import ROOT

NUMPY_ONLY = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "gpn/engine").glob("*.py"))]


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", sorted((ROOT / "theory").rglob("*.py")), ids=lambda path: path.name)
def test_theory_never_imports_gpn(path):
    assert not {name for name in imported_modules(path) if name.split(".")[0] == "gpn"}


@pytest.mark.parametrize("path", NUMPY_ONLY)
def test_engine_and_samplers_import_numpy_only(path):
    allowed = {"numpy", "gpn", "theory"} | sys.stdlib_module_names
    roots = {name.split(".")[0] for name in imported_modules(ROOT / path)}
    assert roots <= allowed
    own = {name for name in imported_modules(ROOT / path) if name.split(".")[0] in {"gpn", "theory"}}
    assert own <= {"gpn", "theory.errors"} | {name.removesuffix(".py").replace("/", ".") for name in NUMPY_ONLY}


def test_importing_gpn_is_light():
    heavy = ("sympy", "pandas", "matplotlib", "scipy", "typer")
    code = f"import gpn, sys; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
