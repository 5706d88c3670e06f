"""gpn reproduce: what it prints and writes, in which form, and how it refuses."""

import json
import shlex

import pytest
import typer

from gpn.cli import program as cli

SMALL = ["reproduce", "gradients", "--activations", "tanh,gelu", "--width", "24", "--depth", "8", "--trials", "10"]


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments))
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return call


@pytest.mark.quick
def test_tables_and_files(run, tmp_path):
    code, out, _ = run(*SMALL, "--batch", "8", "--batches", "8", "--out", "found")
    assert code == 0
    for words in ("GPN GELU b₋", "GELU batch norm", "unstable", "linear", "Written to found"):
        assert words in out
    assert max(map(len, out.splitlines())) <= 100
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == [
        "gradients-batch-normalization.csv",
        "gradients-layers.csv",
        "gradients.csv",
        "gradients.json",
        "gradients.pdf",
        "gradients.png",
        "run.sqlite",
    ]


def test_json_alone_writes_nothing(run, tmp_path):
    code, out, _ = run(*SMALL, "--batch", "8", "--batches", "none", "--json")
    found = json.loads(out)
    assert (code, found["experiment"], found["batch_normalization"]) == (0, "gradients", [])
    assert {network["activation"] for network in found["networks"]} == {"tanh", "gelu"}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reproduce", "gradient"], "'gradients'"),
        ([*SMALL, "--batches", "2"], "batches"),
        ([*SMALL, "--level", "2"], "level"),
        ([*SMALL, "--activations", "nothing_known"], "nothing_known"),
        ([*SMALL, "--inputs", "nowhere.npy"], "nowhere.npy"),
        ([*SMALL, "--workers", "0"], "workers"),
        (["reproduce", "gradients", "--depth", "many"], "whole number"),
    ],
)
def test_misuse_is_one_sentence_and_writes_nothing(run, tmp_path, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_help_and_examples(run):
    code, out, _ = run("reproduce")
    assert code == 0
    assert "gpn reproduce gradients" in out
    _, out, _ = run("reproduce", "gradients", "--help")
    examples = [line.strip() for line in out.splitlines() if line.startswith("    gpn ")]
    assert len(examples) == 3
    group = typer.main.get_command(cli.app).get_command(None, "reproduce")
    for example in examples:
        words = shlex.split(example)[2:]
        with group.get_command(None, words[0]).make_context(words[0], words[1:]) as context:
            assert "as_json" in context.params


def test_formulas_with_commas_in_brackets_are_one_activation(run):
    activations = ["--activations", "tanh,max(x, 0)"]
    code, out, _ = run(*SMALL, *activations, "--batch", "8", "--batches", "none", "--json")
    assert code == 0
    assert len({network["activation"] for network in json.loads(out)["networks"]}) == 2
