"""`gpn reproduce training` end to end."""

import json

import numpy as np
import pytest

from gpn.cli import program as cli

pytestmark = pytest.mark.usefixtures("undrawn")


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(["reproduce", "training", *arguments])
    return ended.value.code or 0


def test_a_quick_run_prints_json_and_writes_files(capsys, tmp_path):
    """In the processes of the default, on a file of one's own."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=200)
    samples = rng.standard_normal((200, 6)) + 3 * np.eye(6)[labels]
    np.savez(tmp_path / "blobs.npz", x_train=samples[:150], y_train=labels[:150], x_test=samples[150:],
             y_test=labels[150:])  # fmt: skip
    options = ("--quick", "--json", "--inputs", str(tmp_path / "blobs.npz"), "--out", str(tmp_path / "out"))
    assert run(*options, "--workers", "2", "--activations", "relu", "--recipes", "gpn,plain-gaussian") == 0
    report = json.loads(capsys.readouterr().out)
    assert [(row["recipe"], row["depth"]) for row in report["rows"]] == [
        ("gpn", 3),
        ("gpn", 12),
        ("plain-gaussian", 3),
        ("plain-gaussian", 12),
    ]
    assert report["rows"][0]["accuracy"] > 0.6
    assert report["config"]["budget"]["width"] == 16
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"training.csv", "training.png", "run.sqlite"}


def test_the_table_says_what_was_run(capsys):
    options = ("--activations", "relu", "--depth", "2", "--recipes", "gpn", "--seeds", "2", "--workers", "1")
    small = ("--width", "8", "--epochs", "1", "--samples", "100", "--factors", "1", "--json")
    assert run(*options, *small) == 0
    assert json.loads(capsys.readouterr().out)["config"]["factors"] == [1.0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--recipes", "gnp"), "'gnp'"),
        (("--depth", "ten"), "whole numbers"),
        (("--inputs", "nowhere.npz"), "nowhere.npz"),
    ],
)
def test_wrong_use_ends_with_a_sentence(capsys, tmp_path, arguments, words):
    assert run(*arguments, "--out", str(tmp_path)) == 2
    assert words in capsys.readouterr().err
