"""The command `gpn train`."""

import json
import os
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest

from gpn.cli.program import main
from gpn.training.step import Stepper

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = ["--depth", "3", "--width", "8", "--batch", "10", "--epochs", "25"]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A small data set as a .npz file, in an empty current folder."""
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 3
    x = 3.0 * rng.standard_normal((3, 6))[labels] + rng.standard_normal((80, 6))
    path = tmp_path / "clouds.npz"
    np.savez(path, x_train=x[:40], y_train=labels[:40], x_test=x[40:], y_test=labels[40:])
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return ["--inputs", str(path)]


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        main(["train", *arguments])
    captured = capsys.readouterr()
    return exit_.value.code, captured.out, captured.err


@pytest.mark.quick
def test_a_run_prints_a_table_and_writes_files(capsys, data, tmp_path):
    code, out, _ = run(capsys, "tanh", *data, *SMALL)
    assert code == 0
    lines = out.splitlines()
    assert max(len(line) for line in lines if not line.startswith("Next: ")) <= 100  # a command is never broken
    assert "GPN tanh (b_plus): 3 layers of 8 neurons, haar weights; seed 0." in lines
    assert "4 steps of 10 samples in an epoch" in out
    table = [line.split() for line in lines if line.count("%") == 2 and "acc" not in line]
    assert len(table) == 20  # of 25 epochs, the first and the last among them
    assert (table[0][0], table[-1][0]) == ("1", "25")
    assert "Test accuracy" in out
    folder = tmp_path / "here" / "gpn-output"
    assert sorted(path.name for path in folder.iterdir()) == [
        "norms.csv", "training.csv", "training.json", "training.pdf", "training.png"
    ]  # fmt: skip
    assert "training.csv" in out


def test_json_is_all_there_is(capsys, data, tmp_path):
    options = ["--optimizer", "adam", "--learning-rate", "0.002", "--schedule", "linear", "--constraint", "polar"]
    code, out, _ = run(capsys, "selu", *data, *SMALL, *options, "--seed", "7", "--centred", "--json")
    facts = json.loads(out)
    assert (code, facts["outcome"], len(facts["rows"])) == (0, "finished", 25)
    config = facts["config"]
    assert (config["learning_rate"], config["schedule"], config["seed"]) == (0.002, "linear", 7)
    assert (config["constraint"], config["centred"]) == ("polar", True)
    assert config["optimizer"].startswith("Adam(")
    assert list((tmp_path / "here").iterdir()) == []


def test_divergence_has_an_exit_code(capsys, data):
    code, out, _ = run(capsys, "relu", *data, *SMALL, "--learning-rate", "1e6", "--json")
    facts = json.loads(out)
    assert (code, facts["outcome"], facts["test_accuracy"]) == (1, "diverged", None)
    assert "learning rate" in facts["reason"]
    code, out, _ = run(capsys, "relu", *data, *SMALL, "--learning-rate", "1e6")
    assert code == 1
    assert "Diverged: " in out


def test_a_finished_run_can_be_gone_on_with(capsys, data):
    checkpoint = ["--checkpoint", "state.npz"]
    first = run(capsys, "tanh", *data, *SMALL, *checkpoint, "--json")
    again = run(capsys, "tanh", *data, *SMALL, *checkpoint, "--resume", "--json")
    assert first[0] == again[0] == 0
    assert json.loads(first[1])["rows"] == json.loads(again[1])["rows"]
    code, _, error = run(capsys, "tanh", *data, *SMALL, *checkpoint)
    assert code == 2
    assert "state.npz exists" in error


@pytest.mark.parametrize(("number", "steps"), [
    (signal.SIGINT, [5]),
    (signal.SIGTERM, [1, 38, 99]),
    *(pytest.param(*rest, marks=pytest.mark.slow)
      for rest in [(signal.SIGINT, [8]), (signal.SIGINT, [1, 38, 99]), (signal.SIGTERM, [5]), (signal.SIGTERM, [8])]),
])  # fmt: skip
def test_a_signal_keeps_what_was_done_and_the_same_command_goes_on(capsys, data, monkeypatch, steps, number):
    """Of 4 steps in each of 25 epochs; the fifth ends within an epoch, the eighth at its end."""
    command = ["selu", *data, *SMALL, "--optimizer", "adam", "--batch-normalization", "--json", "--out", "o"]
    whole = json.loads(run(capsys, *command)[1])
    step = Stepper.step
    for stop in steps:

        def interrupted(stepper, *arguments, stop=stop):
            if stepper.time == stop - 1:
                os.kill(os.getpid(), number)
            return step(stepper, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Stepper, "step", interrupted)
            code, out, err = run(capsys, *command)
        assert (code, out) == (128 + number, "")
        again = shlex.join(["gpn", "train", *command])
        kept = f"{stop} of 100 steps are kept in o/unfinished.npz; to resume: {again}"
        assert err.splitlines()[-1].endswith(kept)
    code, out, err = run(capsys, *command)
    resumed = json.loads(out)
    for report in (whole, resumed):
        for row in report["rows"]:
            del row["seconds"]
    assert (code, resumed) == (0, whole)
    assert err.startswith("gpn: an unfinished run is kept in o/unfinished.npz; the same run resumes with it\n")
    assert not Path("o/unfinished.npz").exists()


def test_a_checkpoint_of_ones_own_goes_on_with_resume(capsys, data, monkeypatch):
    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return step(*arguments)

    step = Stepper.step
    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", interrupted)
        code, _, err = run(capsys, "tanh", *data, *SMALL, "--checkpoint", "c.npz")
    assert code == 130
    assert err.rstrip().endswith("--checkpoint c.npz --resume")
    code, _, err = run(capsys, "tanh", *data, *SMALL, "--checkpoint", "c.npz", "--resume")
    assert (code, Path("c.npz").exists()) == (0, True)


def test_what_there_is_to_do_is_said_first(capsys, data):
    _, _, err = run(capsys, "tanh", *data, *SMALL)
    assert err.startswith("gpn: training GPN tanh (b_plus): 3 layers of 8, 100 steps of 10 samples\n")


@pytest.mark.parametrize(("arguments", "words"), [
    (["--depth", "x"], "--depth 50"),
    (["--learning-rate", "fast"], "--learning-rate"),
    (["--optimizer", "adm"], "'adam'"),
    (["--inputs", "nowhere"], "no file"),
    (["--raw", "--root", "minus"], "has no effect"),
    (["--resume"], "no checkpoint"),
    (["--weights", "gaussian", "--constraint", "qr"], "orthogonal"),
    (["--memory", "300MiB"], "more than the"),
    (["--width", "1" * 50], "of memory, more than"),
])  # fmt: skip
def test_misuse_is_one_sentence(capsys, data, arguments, words):
    code, out, error = run(capsys, "tanh", *data, *SMALL, *arguments)
    assert (code, out) == (2, "")
    assert words in error
    assert error.count("\n") == 1


def test_advice_after_a_failure_is_about_curvature(capsys, data):
    deep = ["--depth", "60", "--width", "8", "--batch", "10", "--epochs", "1", "--samples", "20"]
    code, out, _ = run(capsys, "relu", *data, *deep)
    assert code == 0
    assert "2 steps of 10 samples" in out
    assert "its curvature is too large for the depth" in " ".join(out.split())
    assert "Next: gpn design --depth 60 relu" in out
    _, out, _ = run(capsys, "identity", *data, *deep, "--learning-rate", "1e-9")
    assert "curvature" not in out
    assert "Next: gpn train" in out
    assert "--epochs 2 identity" in out
    _, out, _ = run(capsys, "tanh", *data, *deep, "--weights", "gaussian")
    assert "--weights haar" in out
