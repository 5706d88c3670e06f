"""The command line: answers, exit codes, one-sentence errors, JSON on its own, pipes and interrupts."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import typer

from gpn.cli import program as cli
from gpn.cli import verify as cli_verify

pytestmark = pytest.mark.usefixtures("undrawn")

TINY = ["--width", "16", "--depth", "3", "--trials", "50", "--epsilon", "0.5"]
ROW_COLUMNS = [
    "claim",
    "activation",
    "width",
    "depth",
    "epsilon",
    "side",
    "trials",
    "exceedances",
    "estimate",
    "lower",
    "upper",
    "bound_kind",
    "bound",
    "prediction",
    "verdict",
    "method",
    "equal",
    "draws",
    "effective_draws",
    "weighted_estimate",
    "weighted_lower",
    "weighted_upper",
    "margin_lower",
    "margin_upper",
    "unknown",
]
CHECK_KEYS = {
    "name",
    "expression",
    "digits",
    "certified",
    "mean",
    "variance",
    "second_moment",
    "slope_second_moment",
    "error",
    "is_gpn",
    "normalizable",
    "reason",
    "normalizations",
    "lipschitz",
    "slope_lipschitz",
    "lipschitz_kind",
    "slope_lipschitz_kind",
    "kinks",
    "kinks_proved",
    "jumps_proved",
    "jumps",
}


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run a command in an empty folder; gives (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def runner(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return ended.value.code or 0, captured.out, captured.err

    return runner


def process(*arguments, folder=None, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **options.pop("environment", {})}
    command = [sys.executable, "-m", "gpn", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=120, **options)


def assert_one_sentence(err):
    assert err.startswith("gpn: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert len(err) < 1100


# ---------------------------------------------------------------------------------------------- misuse


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["check", "foo(x)"], "foo"),
        (["check", "__import__('os')"], "__import__"),
        (["check", "gelo"], "gelu"),
        (["check", ""], "empty"),
        (["check", "x +"], "x +"),
        (["check", "9**9**9*x"], ""),
        (["check", "(" * 5000 + "x" + ")" * 5000], ""),
        (["check", "x\x1b[31m\n\ny"], ""),
        (["check", "x\ud800"], ""),
        (["check", "[bold]tanh(x)[/bold]"], ""),
        (["check", "tanh", "--digits", "0"], "digits"),
        (["check", "tanh", "--digits", "many"], "--digits"),
        (["check", "tanh", "--digits", "1000000000"], "digits"),
        (["check"], "SPEC"),
        (["check", "x", "*", "tanh(x)"], "quotes"),
        (["check", "-tanh(x)"], "--"),
        (["check", "tanh", "--width", "3"], "--width"),
        (["chekc", "tanh"], "chekc"),
        (["--unknown"], "--unknown"),
        (["normalize", "tanh", "--root", "both"], "plus"),
        (["normalize", "tanh", "--emit", "fortran"], "numpy"),
        (["verify", "--width", "1", "--out", "r"], "width"),
        (["verify", "--width", "64,x", "--out", "r"], "--width"),
        (["verify", "--width", "", "--out", "r"], "--width"),
        (["verify", "--width", "2.5", "--out", "r"], "--width"),
        (["verify", "--width"], "--width"),
        (["verify", "--memory", "much", "--out", "r"], "4GiB"),
        (["verify", "--memory", "50MB", "--out", "r"], "allow more memory"),
        (["verify", "--trials", "0"], "trials"),
        (["verify", "--trials", "-5"], "trials"),
        (["verify", "--trials", "ten"], "--trials"),
        (["verify", "--epsilon", "-1"], "epsilon"),
        (["verify", "--epsilon", "nan"], "epsilon"),
        (["verify", "--epsilon", "inf"], "epsilon"),
        (["verify", "--epsilon", "0.2;0.5"], "--epsilon"),
        (["verify", "--depth", "x"], "--depth"),
        (["verify", "--depth", "0"], "depth"),
        (["verify", "--level", "1", *TINY], "level"),
        (["verify", "--level", "nan", *TINY], "level"),
        (["verify", "--seed", "-1"], "seed"),
        (["verify", "--workers", "0"], "workers"),
        (["verify", "--weights", "hair"], "haar"),
        (["verify", "--root", "both"], "plus"),
        (["verify", "--raw", "--root", "plus"], "--raw"),
        (["verify", "--inputs", "missing.npy"], "missing.npy"),
        (["verify", "--labels", "labels.npy"], "inputs"),
        (["verify", "foo(x)"], "foo"),
        (["verify", "step"], "jump"),
    ],
    ids=lambda value: (
        " ".join(value)[:40].encode("ascii", "backslashreplace").decode() if isinstance(value, list) else ""
    ),
)
def test_wrong_use_is_one_sentence_that_says_what_to_do(run, arguments, expected):
    code, out, err = run(*arguments)
    assert code == cli.MISUSE
    assert out == ""
    assert_one_sentence(err)
    assert expected in err
    assert err.isprintable() or err.rstrip("\n").isprintable()


@pytest.mark.parametrize("as_json", [[], ["--json"]])
@pytest.mark.parametrize("content", ["nan", "text", "object", "empty", "folder"])
def test_an_unusable_input_file_is_one_sentence(run, tmp_path, content, as_json):
    path = tmp_path / "inputs.npy"
    if content == "nan":
        np.save(path, np.full((5, 16), np.nan))
    elif content == "object":
        np.save(path, np.array([{}, []], dtype=object), allow_pickle=True)
    elif content == "empty":
        np.save(path, np.empty((0, 16)))
    elif content == "folder":
        path.mkdir()
    else:
        path.write_text("not an array")
    code, out, err = run("verify", "--inputs", path, *TINY, *as_json)
    assert (code, out) == (cli.MISUSE, "")
    assert_one_sentence(err)


def test_a_bad_file_is_told_in_plain_words_by_every_command_that_reads_one(run, tmp_path):
    """Missing, empty, a folder, binary, cut short, of another form: nothing that Python says gets through."""
    np.save(tmp_path / "whole.npy", np.ones((4, 3)))
    np.savez(tmp_path / "objects.npz", x=np.array([{}]), x_train=np.array([{}]), y_train=np.array([{}]))
    files = {
        "empty": b"",
        "binary": bytes(range(256)),
        "object.json": b'{"a": 1}',
        "list.json": b"[1, 2]",
        "part.json": b'{"statement": {"wid',
        "statement.json": b'{"statement": {}}',
        "short.npy": (tmp_path / "whole.npy").read_bytes()[:100],
        "short.npz": (tmp_path / "objects.npz").read_bytes()[:200],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    raw = re.compile(r"Errno|[A-Z]\w+Error|codec|line \d+ column|allow_pickle|zip file|EOF|recursion|b'|\[nan|None")
    commands = (["verify-certificate"], ["audit"], ["verify", "--resume"], ["verify", *TINY, "--inputs"])
    commands += (["train", "--inputs"], ["train", "--resume", "--checkpoint"])
    for name in (*files, "folder", "missing", "objects.npz", "x" * 300):
        for command in commands:
            code, out, err = run(*command, tmp_path / name)
            assert (code, out) == (cli.MISUSE, ""), (command, name)
            assert_one_sentence(err)
            assert not raw.search(err), err
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert "no JSON" in run("verify-certificate", tmp_path / "deep.json")[2]
    assert "it lacks 'statement'; gpn" in run("verify-certificate", tmp_path / "object.json")[2]
    assert "it is a file" in run("verify", "--resume", tmp_path / "empty")[2]
    assert "not nan;" in run("verify", "--epsilon", "nan")[2]


@pytest.mark.parametrize(
    "where", ["file.txt", "file.txt/inside", "/dev/null/results", "/proc/results", "a" * 300, "null\0character"]
)
def test_an_unwritable_folder_is_an_error_before_the_work_begins(run, tmp_path, where):
    (tmp_path / "file.txt").write_text("precious")
    code, out, err = run("verify", "--trials", "1000000000", "--out", where)
    assert (code, out) == (cli.MISUSE, "")
    assert_one_sentence(err)
    assert "--out" in err
    assert (tmp_path / "file.txt").read_text() == "precious"


def test_misuse_leaves_no_folder_behind(run, tmp_path):
    run("verify", "--width", "1")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence_after_the_answer(run, monkeypatch):
    from gpn.verification.results import VerificationReport

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(VerificationReport, "save", full)
    code, out, err = run("verify", *TINY)
    assert code == cli.MISUSE
    assert "in half of" in out
    *progress, last = err.splitlines(keepends=True)
    assert all("simulating" in line for line in progress)  # on a slow machine
    assert_one_sentence(last)
    assert "No space left" in last


def test_a_bug_has_an_exit_code_that_is_no_verdict(run, monkeypatch):
    def bug(*_args, **_options):
        raise ZeroDivisionError("boom")

    monkeypatch.setattr("gpn.checking.check.check_within", bug)
    monkeypatch.delenv("GPN_TRACEBACK", raising=False)
    code, out, err = run("check", "tanh")
    assert (code, out) == (cli.INTERNAL, "")
    assert_one_sentence(err)
    assert "GPN_TRACEBACK" in err


# ---------------------------------------------------------------------------------------------- check


@pytest.mark.parametrize(
    ("spec", "code", "is_gpn", "normalizable"),
    [
        ("identity", 0, "holds", "yes"),
        ("sqrt(2)*relu(x)", 0, "holds", "yes"),
        ("tanh", 1, "fails", "yes"),
        ("gelu", 1, "fails", "yes"),
        ("x*sigmoid(1.3*x)", 1, "fails", "yes"),
        ("sign", 4, "fails", "no"),
        ("exp(x**2/2)", 4, "fails", "no"),
        ("3", 4, "fails", "no"),
        ("sqrt(abs(x))", 4, "fails", "no"),
        ("log(x)", 4, "fails", "no"),
    ],
)
def test_check_exit_codes_and_json(run, spec, code, is_gpn, normalizable):
    status, out, err = run("check", spec, "--json")
    facts = json.loads(out, parse_constant=pytest.fail)
    assert (status, err) == (code, "")
    assert set(facts) - {"missing"} == CHECK_KEYS
    assert (facts["is_gpn"], facts["normalizable"]) == (is_gpn, normalizable)
    assert bool(facts["normalizations"]) == (normalizable == "yes")
    for root in facts["normalizations"]:
        assert set(root) == {"root", "a", "b", "mean", "chi", "stability", "recommended"}


def test_check_gelu_shows_both_roots_and_that_b_plus_is_unstable_in_depth(run):
    code, out, _ = run("check", "gelu")
    assert code == 1
    plus = next(line for line in out.splitlines() if line.startswith("plus"))
    minus = next(line for line in out.splitlines() if line.startswith("minus"))
    assert "0.0738770773" in plus
    assert "unstable" in plus
    assert "unstable" in out
    assert "-0.909506401" in minus
    assert "recommended" in minus
    assert "gpn normalize" in out


@pytest.mark.parametrize(
    ("spec", "reason"), [("sign", "jump"), ("exp(x**2/2)", "φ²"), ("3", "constant"), ("sqrt(abs(x))", "φ'²")]
)
def test_what_cannot_be_normalized_says_why(run, spec, reason):
    code, out, err = run("check", spec)
    assert (code, err) == (4, "")
    line = next(line for line in out.splitlines() if "cannot be normalized" in line)
    plain = line.replace("^2", "²").replace("phi", "φ")
    assert reason in plain


def test_check_prints_as_many_correct_digits_as_asked(run):
    _, out, _ = run("check", "erf", "--digits", "40", "--json")
    facts = json.loads(out)
    import mpmath

    with mpmath.workdps(60):
        exact = 2 / mpmath.pi * mpmath.asin(mpmath.mpf(2) / 3)
        assert abs(mpmath.mpf(facts["second_moment"]) - exact) < mpmath.mpf(10) ** -40


# ---------------------------------------------------------------------------------------------- normalize


def test_normalize_prints_constants_to_double_precision(run):
    code, out, _ = run("normalize", "gelu", "--root", "minus", "--json")
    facts = json.loads(out)
    assert code == 0
    assert abs(facts["a"] - 1.4811144127) < 1e-10
    assert abs(facts["b"] + 0.9095064010) < 1e-10
    assert facts["stability"] == "stable"
    _, out, _ = run("normalize", "gelu", "--root", "minus")
    assert repr(facts["a"]) in out
    assert repr(facts["b"]) in out


def test_emit_prints_the_snippet_alone(run):
    code, out, err = run("normalize", "gelu", "--emit", "numpy")
    names = {}
    exec(out, names)
    assert (code, err) == (0, "")
    assert names["gpn_gelu"](0.0) == pytest.approx(-0.9095064010)
    _, with_json, _ = run("normalize", "gelu", "--emit", "numpy", "--json")
    assert json.loads(with_json)["code"] == out


@pytest.mark.parametrize("as_json", [[], ["--json"], ["--emit", "numpy"]])
def test_normalize_says_why_it_cannot(run, as_json):
    code, out, err = run("normalize", "sign", *as_json)
    assert code == 4
    if as_json == ["--json"]:
        assert json.loads(out)["normalizable"] == "no"
        assert "jump" in json.loads(out)["reason"]
    else:
        assert out == ""
        assert_one_sentence(err)
        assert "jump" in err


# ---------------------------------------------------------------------------------------------- activations


def test_activations_lists_the_catalog_with_recommended_constants(run):
    code, out, _ = run("activations", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert rows["relu"]["a"] == pytest.approx(np.sqrt(2))
    assert rows["relu"]["b"] == pytest.approx(0, abs=1e-12)
    assert rows["gelu"]["root"] == "minus"
    assert rows["sign"]["a"] is None
    assert "jump" in rows["sign"]["reason"]
    _, table, _ = run("activations")
    for name in rows:
        assert any(line.split()[:1] == [name] for line in table.splitlines())


# ---------------------------------------------------------------------------------------------- verify


@pytest.mark.quick
def test_verify_prints_tables_verdict_and_the_files_it_wrote(run, tmp_path, undrawn):
    undrawn.undo()
    (tmp_path / "gpn-output").mkdir()
    (tmp_path / "gpn-output" / "mine.txt").write_text("precious")
    code, out, err = run("verify", *TINY)
    assert code in (0, 3)
    assert err == ""
    first = out.splitlines()[0]
    assert all(part in first for part in ("tanh", "1.467413592", "0.3885416701", "seed 0", "haar"))
    for title in ("Forward, one layer", "Backward, one layer, random direction", "Whole network"):
        assert title in out
    assert out.splitlines()[2].startswith("At width 16 and depth 3, in half of 50 networks")
    assert "\nTogether: " in out
    last = " ".join(out.split("Written to ")[1].split())
    assert last.startswith("gpn-output: ")
    written = last.removeprefix("gpn-output: ").split(", ")
    assert {"results.csv", "results.json"} <= set(written)
    for name in written:
        assert (tmp_path / "gpn-output" / name).stat().st_size > 100
    assert (tmp_path / "gpn-output" / "mine.txt").read_text() == "precious"
    assert max(len(line) for line in out.splitlines()) <= 100


def test_verify_json_is_the_report_and_nothing_else(run, tmp_path):
    code, out, err = run("verify", *TINY, "--json")
    data = json.loads(out, parse_constant=pytest.fail)
    assert err == ""
    assert set(data) == {"verdict", "rows", "config", "versions"}
    assert cli_verify.CODES[data["verdict"]] == code
    for row in data["rows"]:
        assert list(row) == ROW_COLUMNS
    assert list(tmp_path.iterdir()) == []
    code, out, err = run("verify", *TINY, "--json", "--out", "kept")
    assert json.loads(out) == data
    assert "to kept" in err
    assert json.loads((tmp_path / "kept" / "results.json").read_text()) == data


def test_verify_is_the_same_for_any_number_of_workers(run):
    first, second = (run("verify", *TINY, "--json", "--workers", workers) for workers in (1, 3))
    assert first == second


def test_verify_raw_leaves_the_activation(run):
    _, out, _ = run("verify", "relu", "--raw", *TINY)
    assert "not normalized" in out.splitlines()[0]
    _, out, _ = run("verify", "relu", "--raw", *TINY, "--json")
    config = json.loads(out)["config"]
    assert (config["root"], config["scale"], config["shift"]) == (None, 1.0, 0.0)


def test_verify_says_that_a_bound_is_violated(run, monkeypatch):
    """relu as it is halves the squared length, which no bound for a GPN function allows."""
    from gpn.statistics.limits import Verdict

    monkeypatch.setattr("gpn.verification.results.combine", lambda _verdicts: Verdict.VIOLATED)
    code, _, _ = run("verify", *TINY)
    assert code == 1


def test_verify_on_real_digits(run):
    pytest.importorskip("sklearn")
    code, out, _ = run("verify", "tanh", "--inputs", "digits", *TINY, "--width", "64")
    assert code in (0, 3)
    assert "digits" in out.splitlines()[0]


# ---------------------------------------------------------------------------------------------- real processes


def test_version_is_quick_and_imports_nothing_heavy():
    start = time.perf_counter()
    done = process("--version")
    elapsed = time.perf_counter() - start
    assert done.returncode == 0
    assert done.stdout.startswith("gpn ")
    assert elapsed < 2.0  # about 0.2 s on an idle machine; the imports below are what makes it slow
    code = (
        "import sys\nfrom gpn.cli.program import main\ntry:\n    main(['--version'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'sympy', 'scipy', 'pandas', 'matplotlib', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("command", [[], ["check"], ["normalize"], ["verify"], ["activations"]])
def test_help_shows_examples(run, command):
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    assert "Examples:" in out
    assert f"  gpn {' '.join(command)}" in out
    assert "\b" not in out


def test_no_arguments_shows_the_help(run):
    code, out, _ = run()
    assert code == 0
    assert "gpn verify" in out


@pytest.mark.parametrize("command", [[], ["check"], ["reproduce", "training"]])
def test_help_is_a_command_too(run, command):
    assert run("help", *command) == run(*command, "--help")


def test_examples_in_the_help_are_understood(run):
    """Every example parses: its command exists and takes its options."""
    import shlex

    for command in ("check", "normalize", "verify", "activations"):
        _, out, _ = run(command, "--help")
        examples = [line.strip() for line in out.splitlines() if line.startswith("    gpn ")]
        assert examples
        for example in examples:
            words = shlex.split(example.split(" >")[0])[1:]
            group = typer.main.get_command(cli.app)
            chosen = group.get_command(group.make_context("gpn", [], resilient_parsing=True), words[0])
            with chosen.make_context(words[0], words[1:]) as context:
                assert set(context.params) >= {"as_json"}


def test_a_broken_pipe_is_silent():
    command = [sys.executable, "-m", "gpn", "check", "gelu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdout.close()
        err = child.stderr.read()
        code = child.wait(timeout=60)
    assert err == b""
    assert code == 1  # still the verdict: not GPN, but normalizable


def test_interrupt_is_130_with_a_message_that_says_how_to_go_on(tmp_path):
    arguments = ["relu", "--width", "4096", "--depth", "1", "--epsilon", "0.5", "--trials", "1000000"]
    command = [sys.executable, "-m", "gpn", "verify", *arguments, "--weights", "he", "--out", "out"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # tests in the background ignore it
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes, **heeding) as child:
        while child.poll() is None and not (tmp_path / "out" / "run.sqlite").exists():
            time.sleep(0.05)
        time.sleep(1)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert child.returncode == cli.INTERRUPTED
    assert out == ""
    assert_one_sentence(err)
    assert err.startswith("gpn: interrupted; ")
    assert err.endswith(" finished chunks are kept in out/run.sqlite; to resume: gpn verify --resume out\n")


@pytest.mark.parametrize("environment", [
    {"PYTHONIOENCODING": "ascii"},
    *(pytest.param(poor, marks=pytest.mark.slow) for poor in ({"NO_COLOR": "1"}, {"TERM": "dumb"})),
])  # fmt: skip
def test_poor_terminals_get_plain_text(environment):
    done = process("check", "tanh", environment=environment)
    assert (done.returncode, done.stderr) == (1, "")
    assert "\x1b" not in done.stdout
    assert "1.4674135" in done.stdout


def test_invalid_bytes_as_an_argument_are_one_sentence():
    command = [sys.executable.encode(), b"-m", b"gpn", b"check", b"tanh\xff\xfe(x)"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == cli.MISUSE
    assert_one_sentence(done.stderr.decode())


def test_the_overview_counts_the_rows_that_the_summary_counts(run, tmp_path):
    """Of ReLU at epsilon 1 some rows that were sampled by integration are vacuous, and count in neither."""
    options = ["--width", "64", "--depth", "2", "--epsilon", "1", "--trials", "50", "--claims", "one-layer"]
    _, out, _ = run("verify", "relu", *options, "--out", str(tmp_path / "out"))
    cells = re.findall(r"ward, one layer(?:, \w+ direction)? +(\d+) +(\d+) +(\d+)", out)
    tested, _, integrated = (sum(map(int, column)) for column in zip(*cells, strict=True))
    assert f"of {tested} rows hold ({integrated} by integration, {tested - integrated} by networks)" in out
