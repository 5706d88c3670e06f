"""Numbers of 400 digits, paths of 2,000 levels and unknown backends are wrong use: one sentence, exit code 2."""

import os
import subprocess
import sys

import pytest

from gpn.cli.program import main
from tests.root import ROOT

DIGITS = "1" * 400
LEVELS = "/".join("a" * 2000)


@pytest.mark.parametrize("arguments", [
    ["verify", "tanh", "--workers", DIGITS, "--json"],
    ["verify", "tanh", "--width", f"64,{DIGITS}", "--json"],
    ["verify", "tanh", "--seed", DIGITS, "--json"],
    ["verify", "tanh", "--memory", f"{DIGITS}GiB", "--json"],
    ["width", "tanh", "--depth", DIGITS, "--epsilon", "0.5"],
    ["train", "tanh", "--width", DIGITS, "--json"],
    ["reproduce", "gradients", "--batches", DIGITS, "--json"],
    ["reproduce", "training", "--factors", DIGITS, "--json"],
    ["check", f"tanh({DIGITS}*x)"],
    ["verify", "relu", "--out", LEVELS],
    ["verify", "--resume", LEVELS],
    ["check", "tanh", "--out", LEVELS],
    ["train", "tanh", "--checkpoint", f"{LEVELS}/c.npz"],
    ["train", "tanh", "--inputs", LEVELS],
])  # fmt: skip
def test_extremes_are_one_sentence(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1)
    assert len(err) < 1200
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_backend_is_refused_before_the_work(tmp_path):
    """Figures go to files, for which every backend that Matplotlib knows will do."""
    command = [sys.executable, "-m", "gpn", "verify", "relu", "--width", "8", "--depth", "2", "--trials", "5"]
    environment = os.environ | {"MPLBACKEND": "nonsense", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    said = "gpn: Matplotlib knows no backend 'nonsense', which MPLBACKEND asks for; unset it, or MPLBACKEND=Agg\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert list(tmp_path.iterdir()) == []
