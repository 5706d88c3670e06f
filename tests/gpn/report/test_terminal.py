"""Answers on terminals of any width: nothing is cut, no escape codes where none are wanted, a next step at the end."""

import io
import os
import re
import shlex
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Group
from rich.text import Text

import gpn
from gpn.cli import options
from gpn.cli import program as cli
from gpn.report.words import commands as next_steps
from gpn.report.words import terminal
from theory.errors import unknown

pytestmark = pytest.mark.usefixtures("undrawn")

CELLS = [["64", "8.24e-12 to 1.02e-11*", "undecided (Cramér)"], ["1024", "0.137 to 0.358", "holds"]]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(width, monkeypatch, content, **environment):
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"COLUMNS": str(width), "LINES": "50", "TERM": "xterm-256color", **environment}.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    terminal.show(content, stream)
    return stream.getvalue()


def example():
    table = terminal.new_table(("width", "99 % limits", "verdict"), right=("width",), words=("verdict",))
    for row in CELLS:
        table.add_row(*row[:-1], Text(row[-1], style="bold green"))
    return Group(Text("Backward, one layer", style="bold"), table)


def test_a_wide_table_in_a_pipe_is_whole_however_deeply_it_is_grouped():
    table = terminal.new_table(("numbers",))
    table.add_row("1" * 300)
    for content in (table, Group(table), Group(Text("text"), Group(Group(table)))):
        stream = io.StringIO()
        terminal.show(content, stream)
        assert "1" * 300 in stream.getvalue()


@pytest.mark.parametrize("width", [12, 20, 30, 40, 49, 50, 60, 80, 200])
def test_no_terminal_is_too_narrow_for_a_number(monkeypatch, width):
    """Words are found whole: a cut or broken number would be missing."""
    out = printed(width, monkeypatch, example(), NO_COLOR="1")
    for word in (word for row in CELLS for cell in row for word in cell.split()):
        assert word in out.split() or len(word) + len("99 % limits  ") > width
    assert max(map(len, out.splitlines())) <= width
    assert "".join(re.findall(r"[\d.e*-]+", out)).count("8.24e-12") == 1 or width < 30


def test_a_table_that_fits_is_left_alone(monkeypatch):
    lines = printed(49, monkeypatch, example(), NO_COLOR="1").splitlines()
    assert lines[1].split("  ")[0] == "width"
    assert len(lines) == 5
    assert len(printed(40, monkeypatch, example(), NO_COLOR="1").splitlines()) == 6  # the verdict wraps
    assert "width        64" in printed(26, monkeypatch, example(), NO_COLOR="1")  # a block for each row


def test_no_color_means_no_escape_codes(monkeypatch):
    assert "\x1b[" in printed(80, monkeypatch, example())
    assert "\x1b" not in printed(80, monkeypatch, example(), NO_COLOR="1")
    assert "\x1b" not in printed(80, monkeypatch, example(), TERM="dumb")


# ---------------------------------------------------------------------------------------------- next steps

ANSWERS = [
    ["check", "gelu"],
    ["check", "--", "-x*tanh(x)"],
    ["check", "identity"],
    ["normalize", "gelu"],
    ["activations"],
    ["family", "elu(alpha)", "--values", "1"],
    ["family", "leaky_relu(s)", "--condition", "chi_minus = 0.5", "--between", "0.1,0.9"],
    ["width", "relu", "--width", "64", "--epsilon", "2"],
    ["train", "tanh", "--depth", "2", "--width", "16", "--epochs", "1", "--out", "r"],
]


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    captured = capsys.readouterr()
    return ended.value.code or 0, captured.out, captured.err


@pytest.mark.parametrize("arguments", ANSWERS, ids=lambda words: " ".join(words)[:40])
def test_every_answer_ends_with_a_command_that_is_understood(capsys, monkeypatch, tmp_path, arguments):
    if "train" in arguments:
        pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    _, out, _ = run(capsys, *arguments)
    [step] = [line for line in out.splitlines() if line.startswith("Next: ")]
    words = shlex.split(step.removeprefix("Next: "))
    assert words[0] == "gpn"
    understood(words[1:])
    assert "\x1b" not in out


def understood(words):
    """Whether the command line reads these words; nothing is run."""
    import typer.main

    command = typer.main.get_command(cli.app)
    command.commands[words[0]].make_context(words[0], words[1:])


@pytest.mark.parametrize("arguments", [["check", "gelu"], ["activations"], ["normalize", "gelu", "--emit", "numpy"]])
def test_json_and_code_have_no_next_step(capsys, arguments):
    _, out, _ = run(capsys, *arguments, *([] if "--emit" in arguments else ["--json"]))
    assert "Next: gpn" not in out


def test_the_next_step_of_a_verification_is_what_is_missing():
    """More trials if something is undecided; the width that the tolerance asks for if not; both are understood."""
    report = gpn.verify("relu", widths=16, depth=3, epsilons=0.5, trials=50, root=None)
    for root, policy in ((None, "--raw"), ("auto", "--root auto")):
        for until, words in ((None, "--until decided"), ("decided", "width")):
            config = replace(report.config, root=root, until=until)
            rows = [SimpleNamespace(verdict=gpn.Verdict.UNDECIDED, unknown=0)]
            shown = SimpleNamespace(config=config, verdict=gpn.Verdict.UNDECIDED, theory_rows=rows)
            step = next_steps.after_verify(shown)
            understood(shlex.split(step)[2:])
            assert policy in step
            assert words in step
    lost = [SimpleNamespace(verdict=gpn.Verdict.UNDECIDED, unknown=50)]  # beyond float64, where trials do not help
    shown = SimpleNamespace(config=report.config, verdict=gpn.Verdict.UNDECIDED, theory_rows=lost)
    assert "--until" not in (next_steps.after_verify(shown) or "")
    violated = SimpleNamespace(config=report.config, verdict=gpn.Verdict.VIOLATED)
    assert next_steps.after_verify(violated) is None


def test_the_next_step_of_a_width_is_what_the_prediction_asks_for():
    from gpn.verification.width_results import Requirement, WidthReport

    found = Requirement("whole network", "prediction", 711.0, 0.05)
    report = WidthReport("width", "tanh", None, 20, 0.5, 0.05, (found,))
    step = next_steps.after_width(report, "tanh", "auto")
    assert step == "Next: gpn verify --width 711 --depth 20 --epsilon 0.5 --root auto tanh"
    huge = WidthReport("width", "tanh", None, 20, 0.5, 0.05, (Requirement("whole network", "prediction", 1e6, 0.05),))
    assert next_steps.after_width(huge, "tanh", "auto") is None
    assert "--raw" in next_steps.after_width(report, "relu", None)


# ---------------------------------------------------------------------------------------------- help and completion


def test_the_help_lists_every_command_in_the_order_of_the_story(capsys):
    import typer.main

    _, out, _ = run(capsys, "--help")
    listed = [
        line.split()[0]
        for line in out.split("Commands:\n")[1].splitlines()
        if line.startswith("  ") and line[2:3].strip()
    ]
    assert tuple(listed) == cli.STORY
    assert set(typer.main.get_command(cli.app).commands) == set(cli.STORY)


@pytest.mark.parametrize("command", [[], *([name] for name in cli.STORY), ["reproduce", "gradients"]], ids=" ".join)
def test_the_examples_of_every_help_are_understood(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run(capsys, *command, "--help")
    assert (code, err) == (0, "")
    examples = re.findall(r"^ +(gpn [^\n]*?)(?: {3,}.*| > .*)?$", out.split("Examples:")[1], re.MULTILINE)
    assert examples
    for example in examples:
        understood(shlex.split(example)[1:])
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("gpn che", {"check"}),
        ("gpn check leaky", {"leaky_relu"}),
        ("gpn normalize gelu --root ", {"auto", "plus", "minus", "stable"}),
        ("gpn normalize gelu --emit k", {"keras"}),
        ("gpn verify --weights g", {"gaussian", "glorot"}),
        ("gpn train --optimizer ada", {"adagrad", "adam"}),
        ("gpn train --constraint p", {"penalty", "polar"}),
        ("gpn reproduce g", {"gradients"}),
    ],
)
def test_bash_completes(capsys, monkeypatch, words, expected):
    monkeypatch.setenv("_GPN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    _, out, _ = run(capsys)
    assert set(out.split()) == expected


def test_a_script_for_bash_is_shown(capsys, monkeypatch):
    monkeypatch.setitem(os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    _, out, _ = run(capsys, "--show-completion", "bash")
    assert "complete -o default -F _gpn_completion gpn" in out


def test_every_option_completes_to_words_it_takes():
    assert options.schedules("c") == ["constant", "cosine"]
    assert "haar" in options.ensembles("")
    assert options.activations("no such") == []


# ---------------------------------------------------------------------------------------------- near names


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["check", "gleu"], "gelu"),
        (["check", "tnah(x)"], "tanh"),
        (["check", "numpy:tanhh"], "tanh"),
        (["normalize", "gelu", "--root", "mins"], "minus"),
        (["normalize", "gelu", "--emit", "pytorch"], "torch"),
        (["verify", "--weights", "harr", "--out", "r"], "haar"),
        (["verify", "--inputs", "digts", "--out", "r"], "digits"),
        (["train", "--inputs", "digist", "--out", "r"], "digits"),
        (["train", "--optimizer", "sdg", "--out", "r"], "sgd"),
        (["train", "--constraint", "poler", "--out", "r"], "polar"),
        (["family", "elu(alpha)", "--condition", "chi_minsu = 0.5"], "chi_minus"),
        (["reproduce", "gradeints"], "gradients"),
        (["chekc", "gelu"], "check"),
        (["check", "gelu", "--digitz", "3"], "--digits"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_wrong_name_suggests_a_near_one(capsys, monkeypatch, tmp_path, arguments, near):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (cli.MISUSE, "")
    assert near in re.split(r"did you mean|it has|ossible options", err)[1][:60]
    assert err.count("\n") == 1


def test_a_penalty_without_its_constraint_is_refused(capsys):
    code, _, err = run(capsys, "train", "--penalty", "2")
    assert code == cli.MISUSE
    assert "--constraint penalty" in err


def test_an_unknown_name_that_resembles_nothing_lists_what_there_is():
    assert str(unknown("schedule", "zzz" * 100, ("cosine", "step"))).endswith("(there are cosine, step)")
    assert len(str(unknown("schedule", "zzz" * 100, ("cosine", "step")))) < 100
