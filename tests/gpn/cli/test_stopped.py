"""Long commands that are stopped say what they know first, keep what is finished, and name the command to go on."""

import json
import shlex

import pytest

from gpn.cli.program import main
from gpn.experiment import runs

GRADIENTS = ["reproduce", "gradients", "--activations", "tanh", "--width", "32", "--depth", "5", "--trials", "20",
             "--batch", "4", "--batches", "none", "--workers", "1"]  # fmt: skip
WIDTH = ["width", "relu", "--depth", "3", "--epsilon", "2", "--simulate"]


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run a command in an empty folder, interrupted when a given chunk is to be computed, if at all."""
    monkeypatch.chdir(tmp_path)

    def runner(*arguments, stop=None):
        compute, told = runs._compute, []

        def stopping(*task):
            told.append(task)
            if len(told) == stop:
                raise KeyboardInterrupt
            return compute(*task)

        with monkeypatch.context() as patch:
            patch.setattr(runs, "_compute", stopping)
            with pytest.raises(SystemExit) as ended:
                main(list(arguments))
        return ended.value.code or 0, *capsys.readouterr(), len(told)

    return runner


@pytest.mark.parametrize(("command", "words"), [
    (GRADIENTS, "gpn: 6 kinds of networks, most of them 20 of width 32 and depth 5"),
    (WIDTH, "gpn: simulating 4000 networks at each of some 10 points near width"),
])  # fmt: skip
def test_a_command_that_is_stopped_goes_on(run, command, words):
    code, whole, _, chunks = run(*command, "--json", "--out", "whole")
    assert code == 0
    command = [*command, "--json", "--out", "o"]
    code, out, err, _ = run(*command, stop=4)
    assert (code, out) == (130, "")
    first, *_, last = err.splitlines()
    assert first.startswith(words)
    kept = f"3 finished chunks are kept in o/run.sqlite; to resume: {shlex.join(['gpn', *command])}"
    assert last == f"gpn: interrupted; {kept}"
    code, out, err, left = run(*command)
    assert (code, json.loads(out)) == (0, json.loads(whole))
    assert left == chunks - 3


def test_a_simulation_prints_the_bounds_first_and_says_what_is_not_kept(run):
    code, out, err, _ = run(*WIDTH, stop=1)
    assert code == 130
    assert out.count("bound") > 3
    assert "simulation" not in out
    assert err.splitlines()[-1].endswith("one that you want to resume needs --out FOLDER")
