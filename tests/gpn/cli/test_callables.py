"""The command line on functions of the user's own: module:function, its derivative, and clear refusals."""

import json
import os
import subprocess
import sys

import pytest

from gpn.cli import program as cli

pytestmark = pytest.mark.usefixtures("undrawn")

MODULE = """
import numpy as np

print("imported")

def phi(x):
    return x * np.tanh(x)

def dphi(x):
    return np.tanh(x) + x / np.cosh(x) ** 2

def wrong(x):
    return np.cos(x)

def step(x):
    return np.heaviside(x - 0.3, 1)

def identity(x):
    return x

def steep(x):
    return np.exp(x**2 / 4)

def raises(x):
    raise RuntimeError("line one\\nline two")

def total(x):
    return np.sum(x)

def softmax(x):
    return np.exp(x) / np.exp(x).sum()

def swish(x, b):
    return x / (1 + np.exp(-b * x))

def leaky(slope):
    return lambda x: np.maximum(x, slope * x)

class Box:
    inner = staticmethod(np.sin)

number = 3
"""


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run a command in a folder with a module of the user's; gives (exit code, standard output, standard error)."""
    (tmp_path / "acts_of_mine.py").write_text(MODULE)
    (tmp_path / "broken_of_mine.py").write_text("1/0\n")
    (tmp_path / "needy_of_mine.py").write_text("import there_is_no_such_module\n")
    (tmp_path / "quits_of_mine.py").write_text("raise SystemExit(0)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.endswith("_of_mine")]:
        monkeypatch.delitem(sys.modules, name)

    def runner(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments))
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        for name in [name for name in sys.modules if name.endswith("_of_mine")]:
            del sys.modules[name]
        return ended.value.code or 0, captured.out, captured.err

    return runner


@pytest.mark.parametrize(
    ("function", "code", "expected"),
    [
        ("identity", 0, "gpn verify --raw acts_of_mine:identity"),
        ("phi", 1, "detected numerically"),
        ("step", 3, "jump at 0.3"),
        ("steep", 3, "diverge"),
        ("Box.inner", 1, "kinks: none found; jumps: none found"),
    ],
)
def test_check_reads_a_function_of_a_module(run, function, code, expected):
    found, out, err = run("check", f"acts_of_mine:{function}")
    assert found == code
    assert expected in " ".join(out.split())
    assert ("not certified" in out) == (function != "steep")  # of which there are no numbers
    assert err == "imported\n"  # what the module prints does not mix with the answer


def test_json_says_what_is_not_certified(run):
    code, out, _ = run("check", "acts_of_mine:phi", "--derivative", "acts_of_mine:dphi", "--json")
    facts = json.loads(out)
    assert code == 1
    assert (facts["name"], facts["expression"], facts["certified"]) == ("phi", None, False)
    assert facts["located"].startswith("detected numerically")
    assert facts["second_moment"].startswith("0.75788986667")
    assert float(facts["error"]) < 1e-13


def test_normalize_verify_and_family_read_functions_too(run):
    code, out, _ = run("normalize", "acts_of_mine:phi", "--derivative", "acts_of_mine:dphi", "--json")
    assert code == 0
    assert json.loads(out)["a"] == pytest.approx(1.0747717341, abs=1e-9)
    assert "not certified" in run("normalize", "acts_of_mine:phi")[1]
    tiny = ("--width", "16", "--depth", "3", "--trials", "50", "--epsilon", "0.5")
    code, out, _ = run("verify", "acts_of_mine:phi", "--derivative", "acts_of_mine:dphi", *tiny, "--json")
    assert code in (0, 3)
    assert json.loads(out)["config"]["activation"] == "phi"
    code, out, _ = run("family", "acts_of_mine:swish", "--values", "0.5,1", "--json")
    assert [row["b"] for row in json.loads(out)] == [0.5, 1]
    assert json.loads(out)[1]["second_moment"] == pytest.approx(0.3557755, abs=1e-6)
    code, out, _ = run("family", "acts_of_mine:leaky", "--condition", "chi_minus = 0.5", "--json")
    assert json.loads(out)["roots"][0]["value"] == pytest.approx(0.10856561991246359, abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["check", "no_such_module_here:phi"], "no_such_module_here"),
        (["check", "acts_of_mine:nothing"], "nothing"),
        (["check", "acts_of_mine:Box.outer"], "has no Box.outer"),
        (["check", "acts_of_mine:number"], "an int"),
        (["check", "acts_of_mine:Box"], "is a class"),
        (["check", "acts_of_mine:raises"], "line one line two"),
        (["check", "acts_of_mine:total"], "elementwise"),
        (["check", "acts_of_mine:softmax"], "own x"),
        (["check", "broken_of_mine:phi"], "ZeroDivisionError"),
        (["check", "needy_of_mine:phi"], "needs there_is_no_such_module"),
        (["check", "quits_of_mine:phi"], "SystemExit"),
        (["check", "acts_of_mine.py:phi"], "without .py"),
        (["check", "./acts_of_mine:phi"], "module:function"),
        (["check", "a:b:c"], "module:function"),
        (["check", ":"], "module:function"),
        (["check", "x:"], "module:function"),
        (["check", "acts_of_mine:phi", "--derivative", "acts_of_mine:wrong"], "at x ="),
        (["check", "acts_of_mine:phi", "--derivative", "acts_of_mine:number"], "derivative"),
        (["check", "acts_of_mine:phi", "--derivative", "tanh"], "module:function"),
        (["check", "tanh", "--derivative", "acts_of_mine:dphi"], "a function"),
        (["normalize", "acts_of_mine:phi", "--emit", "numpy"], "formula"),
        (["normalize", "acts_of_mine:total"], "elementwise"),
        (["verify", "acts_of_mine:total", "--json"], "elementwise"),
        (["verify", "acts_of_mine:step", "--json"], "no normalization"),
        (["family", "acts_of_mine:number", "--values", "1"], "phi(x, parameter)"),
        (["family", "acts_of_mine:nothing", "--values", "1"], "has no nothing; it has "),
        (["check", "math:tanhh"], "math has no tanhh; did you mean tanh"),
        (["family", "math:sqrt", "--values", "-1"], "math:sqrt fails at x = -1 (ValueError"),
    ],
)
def test_misuse_is_one_sentence_and_exit_code_2(run, arguments, expected):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    sentence = err.removeprefix("imported\n").removeprefix("imported\n")
    assert sentence.startswith("gpn: ")
    assert sentence.count("\n") == 1
    assert expected in sentence


def test_the_current_directory_is_importable_where_python_does_not_add_it(tmp_path):
    (tmp_path / "acts_of_mine.py").write_text(MODULE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "gpn", "check", "acts_of_mine:phi", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert done.returncode == 1
    assert json.loads(done.stdout)["name"] == "phi"


def test_a_formula_imports_nothing(run):
    before = set(sys.modules)
    assert run("check", "tanh", "--digits", "5")[0] == 1
    assert not {name for name in set(sys.modules) - before if name.endswith("_of_mine")}
    assert run("check", "lambda x: x")[0] == 2


def test_help_shows_the_new_forms(run):
    for command in ("check", "normalize", "verify", "family"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert "mymodule:" in out
