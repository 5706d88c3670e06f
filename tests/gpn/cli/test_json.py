"""No command prints a number that JSON does not have: what is infinite or not known is null, and its reason is near."""

import json
import sys

import pytest

from gpn.cli import program as cli

SIZE, SMALL, TINY = ["--width", "8"], ["--depth", "2"], ["--trials", "16"]
SEEN = "blackboxes.py"  # functions with an infinite slope, a jump and no value, as black boxes
FUNCTIONS = """
import numpy as np
root = lambda x: np.sqrt(np.abs(x))
step = lambda x: (x > 0.3) * 1.0
half = np.sqrt
"""
CALLS = [
    *(["check", spec, "--verbose"] for spec in ("relu", "exp(x)", "exp(x**2/4.2)", "0.7*relu(x)", "x")),
    ["check", "abs(x)**0.6", "--verbose", "--time-limit", "3"],
    *(["check", spec] for spec in ("sign", "1/x", "sqrt(x)", "3", "tan(x)", "exp(1/x)", "sin(1/x)")),
    *(["check", f"blackboxes:{name}"] for name in ("root", "step", "half")),
    ["check", "1.4142*relu(x)"],  # a near miss with a kink: depth factors
    ["check", "tanh(x)*exp(-x**4)", "--time-limit", "0.02"],
    ["normalize", "gelu"],
    ["normalize", "sign"],
    ["gain", "gelu"],  # depth leads to infinity
    ["gain", "step"],
    ["gain", "--explain", "2.74"],
    ["normalize", "relu", "--emit", "torch"],
    ["verify", "relu", *SIZE, *SMALL, *TINY, "--epsilon", "0.5"],
    ["verify", "exp(x)", "--raw", *SIZE, "--depth", "9", *TINY, "--epsilon", "0.5"],  # overflows
    ["width", "relu", *SMALL, "--epsilon", "0.5"],
    ["width", "exp(x)", *SIZE, *SMALL],
    ["verify-certificate", "narrow.json"],
    ["design", "relu", *SMALL],
    ["spectrum", "tanh", *SIZE, *SMALL, "--networks", "2"],
    ["activations"],
    ["family", "elu(alpha)", "--values", "1,1e200,2"],
    ["family", "x**p", "--values", "0.3,1,2.5"],
    ["family", "leaky_relu(s)", "--condition", "chi_minus = 0.5"],
    ["family", "sign(x)*p", "--condition", "b = 0"],
    ["audit"],
    ["train", "exp(x)", "--raw", *SIZE, *SMALL, "--epochs", "1", "--learning-rate", "1e9"],  # diverges
    ["train", "tanh", *SIZE, *SMALL, "--epochs", "1"],
    ["reproduce", "gradients", "--activations", "relu", *SIZE, *SMALL, *TINY, "--batches", "none"],
]


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_no_command_prints_what_json_does_not_have(call, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / SEEN).write_text(FUNCTIONS)
    (tmp_path / "narrow.json").write_text('{"statement": {"width": 3, "depth": 2, "readout": "random"}}')
    with pytest.raises(SystemExit) as ended:
        cli.main([*call, "--json"])
    out, err = capsys.readouterr()
    assert ended.value.code in (None, 0, 1, 3, 4), err
    found = json.loads(out, parse_constant=refuse)
    assert not set(texts(found)) & {"nan", "inf", "-inf", "?", "None", "infinite or undefined"}


def texts(found):
    """All texts within a value of JSON."""
    if isinstance(found, str):
        yield found
    for part in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        yield from texts(part)


def test_every_command_is_tried():
    """The explorer prints no JSON, and a probe needs PyTorch or JAX."""
    tried = {call[0] for call in CALLS}
    assert tried == {command for command in cli.STORY if command not in ("explore", "probe")}
