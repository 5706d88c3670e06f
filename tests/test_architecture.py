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


CHECKER = [
    path
    for path in MODULES
    if path.parent == Path("theory/bounds/certified") and path.stem not in ("__init__", "writing")
]


def test_the_checker_of_certificates_is_small_and_depends_on_flint_alone():
    names = {path: {name.split(".")[0] for name in imports(path)} for path in CHECKER}
    inside = {name for path in CHECKER for name in imports(path) if name.startswith(("gpn", "theory"))}
    assert len(CHECKER) == 4
    assert all(found <= sys.stdlib_module_names | {"flint", "theory"} for found in names.values())
    assert inside <= {".".join(path.with_suffix("").parts) for path in CHECKER}
    assert all(len((ROOT / path).read_text().splitlines()) < 300 for path in CHECKER)


def imports(module: Path) -> set[str]:
    """The modules that a module imports."""
    tree = ast.parse((ROOT / module).read_text())
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


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


ELSEWHERE = {  # what is not in every operating system -> what stands near a call that is safe there
    "fcntl": 'sys.platform == "win32"',
    "os.geteuid": 'hasattr(os, "geteuid")',
    "os.sched_getaffinity": 'hasattr(os, "sched_getaffinity")',
    "os.sysconf": "AttributeError",
    "/proc/meminfo": "OSError",
    "/sys/fs/cgroup/memory.max": "OSError",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "OSError",
}
FOREIGN_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "msvcrt", "winreg"}
FOREIGN_NAMES = re.compile(
    r"os\.(fork\w*|kill\w*|get\w*[ug]ids?|set\w*id|nice|sched_\w+|sysconf|uname|getloadavg|chown|mkfifo|symlink|link|wait\w*"
    r"|spawn\w+|sync|pipe2|O_(NONBLOCK|SYNC|CLOEXEC))|signal\.(SIG(?!INT|TERM|_)\w+|alarm|setitimer|pause|sigwait)"
)
FOREIGN_PLACES = re.compile(r"/(tmp|proc|dev|sys|usr|etc|var)(/|$)|[A-Za-z]:\\\\")
TEXT_METHODS = {"read_text": 0, "write_text": 1}  # -> the place of the argument `encoding`


def test_every_call_works_in_every_operating_system():
    """What only some systems have stands behind a question for it, and text says its encoding and its line ends."""
    found = {path: unsafe_calls((ROOT / path).read_text(encoding="utf-8")) for path in MODULES}
    assert not {path: calls for path, calls in found.items() if calls}


def unsafe_calls(text: str) -> list[str]:
    """What of a module is not in every system, where no word in its function asks for it; and vague text."""
    tree = ast.parse(text)
    alien = [
        name
        for name, scope in system_names(tree)
        if name not in ELSEWHERE or ELSEWHERE[name] not in ast.unparse(scope).replace("'", '"')
    ]
    return [*alien, *vague_text(tree)]


def system_names(tree: ast.AST, scope: ast.AST | None = None) -> Iterator[tuple[str, ast.AST]]:
    """Names, modules and places of some systems, each with the function that it stands in."""
    scope = tree if scope is None else scope
    for node in ast.iter_child_nodes(tree):
        inner = node if isinstance(node, ast.FunctionDef) else scope
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name in FOREIGN_MODULES]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name for name in names if node.module in FOREIGN_MODULES or FOREIGN_NAMES.fullmatch(name)]
        elif isinstance(node, ast.Attribute):
            names = [name for name in [ast.unparse(node)] if FOREIGN_NAMES.fullmatch(name)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and FOREIGN_PLACES.match(node.value):
            names = [node.value]
        yield from ((name, inner) for name in names)
        yield from system_names(node, inner)


def vague_text(tree: ast.AST) -> Iterator[str]:
    """Calls that read text in the encoding of the system, or write it with the line ends of the system."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = {word.arg for word in node.keywords}
        if name in TEXT_METHODS and len(node.args) <= TEXT_METHODS[name]:
            needed = {"encoding"} if name == "read_text" else {"encoding", "newline"}
        elif name == "open" and (mode := text_mode(node)):
            needed = {"encoding"} if mode == "r" else {"encoding", "newline"}
        else:
            continue
        if needed - given:
            yield f"line {node.lineno}: {name}() without {' and '.join(sorted(needed - given))}"


def text_mode(call: ast.Call) -> str:
    """The mode of a call of `open` or `Path.open` for text; empty for bytes, and where it is no call for a file."""
    builtin = isinstance(call.func, ast.Name)
    if not builtin and ast.unparse(call.func.value) in ("os", "gzip", "Image", "webbrowser"):
        return ""
    given = [*call.args[builtin:], *(word.value for word in call.keywords if word.arg == "mode")]
    mode = given[0].value if given and isinstance(given[0], ast.Constant) else "" if given else "r"
    return "" if "b" in str(mode) else str(mode)


def test_the_check_of_systems_sees_what_it_is_for():
    """Each line alone is found; what is asked for, or says its encoding, is not."""
    wrong = (
        "import resource",
        "from os import fork",
        "os.kill(1, 9)",
        "signal.SIGHUP",
        "os.geteuid()",
        "Path('/tmp/x')",
        "'/proc/self/status'",
        "path.read_text()",
        "path.write_text(words, encoding='utf-8')",
        "open('x')",
        "open('x', 'w', encoding='utf-8')",
        "path.open('x', encoding='utf-8')",
        "path.open(mode='a', newline='')",
    )
    right = (
        "hasattr(os, 'geteuid') and os.geteuid()",
        "signal.SIGINT, signal.SIGTERM, signal.SIG_IGN",
        "path.read_text('utf-8')",
        "path.read_bytes()",
        "path.open('rb')",
        "path.write_text(words, encoding='utf-8', newline='')",
        "'a/tmp/b', '/', 'x/(x + 1)'",
        "open('x', encoding='utf-8')",
    )
    for lines, count in ((wrong, 1), (right, 0)):
        for line in lines:
            assert len(unsafe_calls(line)) == count, line


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
