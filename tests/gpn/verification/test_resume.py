"""The command and `gpn.verify` with a store: ended by whatever signal, they go on to the same report."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

import gpn
from gpn.cli import program as cli
from gpn.experiment import runs as experiment
from gpn.experiment import store as run_store
from gpn.experiment import streams, versions
from gpn.experiment.identity import Identity
from gpn.verification import questions, settings
from gpn.verification.results import VerificationReport
from tests.root import ROOT
from theory.errors import UsageError

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = {
    "widths": (16, 24),
    "depth": 2,
    "epsilons": 0.5,
    "trials": 60,
    "weights": "gaussian",
}  # nothing too rare to count
LONG = ["relu", "--width", "4096", "--depth", "1", "--trials", "20000", "--epsilon", "0.5", "--weights", "gaussian"]


@pytest.fixture(autouse=True, scope="module")
def remembered_theory():
    """The bounds of the same layers are asked for again and again, and are not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        ask = questions.one_step_questions
        patch.setattr(questions, "one_step_questions", lru_cache(lambda *asked: tuple(ask(*asked))))
        yield


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(streams, "CHUNK_NEURONS", 600)


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """Run the command, without figures, in an empty folder; gives (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(VerificationReport, "save", lambda _report, _folder: [])

    def runner(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(["verify", *map(str, arguments)])
        return ended.value.code or 0, *capsys.readouterr()

    return runner


def stopped(call, chunks):
    """Call `verify` or `resume` and interrupt it after some chunks."""
    told = []

    def stop(done, total, _words):
        if total:  # none while bounds are searched
            told.append(done)
        if len(told) > chunks:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        call(progress=stop)
    return caught.value.__notes__


def assert_same(report, other):
    assert json.dumps(report.to_dict()) == json.dumps(other.to_dict())
    for profile, twin in zip(report.profiles, other.profiles, strict=True):
        assert profile.gradient_norms.tobytes() == twin.gradient_norms.tobytes()


@pytest.mark.usefixtures("small_chunks")
def test_stopped_again_and_again_the_report_is_the_same(tmp_path):
    whole = gpn.verify("relu", **SMALL)
    [note] = stopped(lambda **options: gpn.verify("relu", **SMALL, store=tmp_path, workers=1, **options), 7)
    assert note == f"7 finished chunks are kept in {tmp_path / 'run.sqlite'}; to resume: gpn verify --resume {tmp_path}"
    stopped(lambda **options: gpn.resume(tmp_path, workers=2, **options), 5)
    stopped(lambda **options: gpn.verify("relu", **SMALL, store=tmp_path, executor="threads", **options), 0)
    assert 12 <= run_store.read_summary(tmp_path).chunks < 40
    assert_same(gpn.resume(tmp_path), whole)
    assert_same(gpn.verify("relu", **SMALL, store=tmp_path), whole)
    with pytest.raises(UsageError, match=r"finished.*seed: 0\b.*\b1\b"):
        gpn.verify("relu", **SMALL, store=tmp_path, seed=1)


@pytest.mark.usefixtures("small_chunks")
def test_another_version_is_refused(tmp_path, monkeypatch):
    stopped(lambda **options: gpn.verify("relu", **SMALL, store=tmp_path, **options), 3)
    other = (*versions.computing_versions(), ("abacus", "2"))
    monkeypatch.setattr(settings, "computing_versions", lambda: other)
    with pytest.raises(UsageError, match=r"abacus: .*\b2\b"):
        gpn.resume(tmp_path)


@pytest.mark.usefixtures("small_chunks")
def test_inputs_are_found_again_and_compared_to_the_last_bit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vectors = np.random.default_rng(0).standard_normal((5, 8))
    np.save("x.npy", vectors)
    np.save("y.npy", np.array([0, 1, 2, 1, 0]))
    call = SMALL | {"inputs": "x.npy", "labels": Path("y.npy")}
    whole = gpn.verify("relu", **call)
    stopped(lambda **options: gpn.verify("relu", **call, store="run", **options), 9)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    stopped(lambda **options: gpn.resume("../run", **options), 4)
    monkeypatch.chdir(tmp_path)
    assert_same(gpn.resume("run"), whole)
    vectors[3, 2] = np.nextafter(vectors[3, 2], 9)
    np.save("x.npy", vectors)
    with pytest.raises(UsageError, match="inputs: "):
        gpn.resume("run")


@pytest.mark.usefixtures("small_chunks")
def test_python_functions_go_on_by_the_same_call_alone(tmp_path):
    def function(frequency):
        def wave(x):
            return np.sin(frequency * x)

        return wave

    wave = function(2)
    call = SMALL | {"root": None, "trials": 30}
    whole = gpn.verify(wave, **call)
    [note] = stopped(lambda **options: gpn.verify(wave, **call, store=tmp_path, **options), 5)
    assert "same store" in note
    with pytest.raises(UsageError, match=r"Python.*function"):
        gpn.resume(tmp_path)
    with pytest.raises(UsageError, match="results of other"):
        gpn.verify(function(2 + 1e-9), **call, store=tmp_path)
    assert_same(gpn.verify(wave, **call, store=tmp_path), whole)


def test_a_wrong_seed_makes_no_store(tmp_path):
    with pytest.raises(UsageError, match="seed"):
        gpn.verify("relu", **SMALL, store=tmp_path, seed=-1)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------- the command


def start(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "gpn", "verify", *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(line, **streams, cwd=folder, env=environment, start_new_session=True)


def wait_for_a_chunk(log, empty, process):
    """Wait until the write-ahead log of a store has grown by a chunk, beyond that of an empty one."""
    while not log.exists() or log.stat().st_size < empty + 20_000:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)


@pytest.mark.slow
def test_a_terminated_command_resumes_in_another_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with start(tmp_path, *LONG, "--out", "o", "--workers", "1") as process:
        wait_for_a_chunk(tmp_path / "o" / "run.sqlite-wal", 100_000, process)
        process.terminate()
        out, err = process.communicate()
    assert (process.returncode, out) == (143, "")
    kept = run_store.read_summary("o").chunks
    assert 0 < kept < 23
    assert (
        err == f"gpn: terminated; {kept} finished chunks are kept in o/run.sqlite; to resume: gpn verify --resume o\n"
    )
    assert_same(gpn.resume("o"), gpn.verify("relu", 4096, 1, 0.5, 20_000, weights="gaussian"))


@pytest.mark.slow
def test_signals_keep_what_was_finished_and_resume_gives_the_same_bits(tmp_path):
    """Ctrl-C, SIGTERM and SIGKILL, to workers too as `timeout` sends them, each on the run that the one before left."""
    with start(tmp_path, *LONG, "--json") as process:
        whole = process.stdout.read()
    ends = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGKILL, -9, None)]
    with run_store.open_store(tmp_path / "empty", Identity({}, {})):
        empty = (tmp_path / "empty" / "run.sqlite-wal").stat().st_size + 10_000
    kept, arguments = 0, [*LONG, "--out", "o", "--workers", "1"]
    for number, code, word in ends:
        with start(tmp_path, *arguments) as process:
            wait_for_a_chunk(tmp_path / "o" / "run.sqlite-wal", empty, process)
            os.killpg(process.pid, number)
            out, err = process.communicate()
        assert (process.returncode, out) == (code, "")
        found = run_store.read_summary(tmp_path / "o")
        assert kept < found.chunks < 23
        assert not found.finished
        if word:
            said = f"gpn: {word}; {found.chunks} finished chunks are kept in o/run.sqlite; to resume: "
            said += "gpn verify --resume o"
            assert err == said + "\n"
        kept, empty, arguments = found.chunks, 0, ["--resume", "o", "--workers", "1", "--executor", "processes"]
    assert kept > 0
    with start(tmp_path, "--resume", "o", "--json") as process:
        assert process.stdout.read() == whole
    assert json.loads((tmp_path / "o" / "results.json").read_text()) == json.loads(whole)


def interrupted(*_):
    raise KeyboardInterrupt


def test_ctrl_c_while_the_report_is_written_costs_nothing(command, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(VerificationReport, "save", interrupted)
        code, out, err = command(*TINY, "--out", "a b")
    assert code == cli.INTERRUPTED
    assert "in half of" in out
    assert err == "gpn: interrupted; the run itself is finished; to resume: gpn verify --resume 'a b'\n"
    assert run_store.read_summary("a b").finished
    assert command("--resume", "a b")[1].startswith(out)


def test_ctrl_c_in_any_command_is_reported(monkeypatch, capsys):
    """Versions of typer differ in what becomes of the interrupt."""
    monkeypatch.setattr("gpn.report.words.terminal.emit_json", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main(["activations", "--json"])
    assert ended.value.code == cli.INTERRUPTED
    assert capsys.readouterr().err == "gpn: interrupted\n"


TINY = ["relu", "--width", "16", "--depth", "2", "--trials", "30", "--epsilon", "0.5", "--weights", "gaussian"]


def test_resume_takes_its_configuration_from_the_store_alone(command, tmp_path):
    code, first, _ = command(*TINY, "--json", "--out", "o")
    for given, name in [
        (["--width", "64"], "--width"),
        (["--out", "p"], "--out"),
        (["--raw"], "--raw"),
    ]:
        ended, out, err = command("--resume", "o", *given)
        assert (ended, out) == (cli.MISUSE, "")
        assert err.startswith(f"gpn: --resume continues the run as it was begun; leave out {name} (")
    assert command("--resume", "o", "gelu")[2] == "gpn: the run in o is about relu, not gelu; leave that out\n"
    for same in ([], ["relu"]):
        assert command(*same, "--resume", "o", "--json", "--workers", "2")[:2] == (code, first)
    ended, out, err = command("--resume", "p")
    assert (ended, out) == (cli.MISUSE, "")
    assert "no run to" in err
    assert not (tmp_path / "p").exists()


def test_resume_imports_a_module_only_if_the_user_agrees(command, monkeypatch, tmp_path):
    """The file of a folder may come from somebody else: naming a module must not be enough to run it."""
    (tmp_path / "named.py").write_text("import numpy as np\n\ndef phi(x):\n    return np.tanh(x)\n")
    monkeypatch.setattr(streams, "CHUNK_NEURONS", 600)
    code, whole, _ = command("named:phi", *TINY[1:], "--json")
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "_compute", interrupted)
        ended, _, err = command("named:phi", *TINY[1:], "--out", "o", "--workers", "1")
    assert ended == cli.INTERRUPTED
    assert err.endswith("to resume: gpn verify named:phi --resume o\n")
    monkeypatch.delitem(sys.modules, "named")
    with monkeypatch.context() as patch:
        patch.setattr(settings, "computing_versions", lambda: (("gpn", "0"),))
        assert "other versions" in command("--resume", "o", "--trust")[2]
    for asked in (["--resume", "o"], ["--resume", "o", "other:phi"]):
        ended, out, err = command(*asked)
        assert (ended, out) == (cli.MISUSE, "")
        assert "named:phi" in err
    with pytest.raises(UsageError, match="--trust"):
        gpn.resume("o")
    assert "named" not in sys.modules
    assert command("--resume", "o", "--trust", "--json")[:2] == (code, whole)
    assert command("named:phi", "--resume", "o", "--json")[:2] == (code, whole)
    assert command("--trust")[0] == cli.MISUSE


@pytest.mark.parametrize("change", [{"widths": "x"}, {"level": [1]}, {"epsilons": {}}, {"unknown": 1}, {"inputs": 7}])
def test_what_a_folder_asks_for_is_read_with_distrust(command, change):
    command(*TINY, "--out", "o")
    with sqlite3.connect("o/run.sqlite") as connection:
        [text] = connection.execute("SELECT value FROM facts WHERE name = 'identity'").fetchone()
        identity = json.loads(text)
        identity["call"] |= change
        connection.execute("UPDATE facts SET value = ? WHERE name = 'identity'", (json.dumps(identity),))
    connection.close()
    code, out, err = command("--resume", "o")
    assert (code, out) == (cli.MISUSE, "")
    assert err.count("\n") == 1


def test_a_new_run_replaces_a_finished_one_but_not_an_unfinished_one(command, monkeypatch):
    monkeypatch.setattr(streams, "CHUNK_NEURONS", 600)
    assert command(*TINY)[0] in (0, 1, 3)
    assert command(*TINY, "--seed", "2", "--json", "--out", "gpn-output")[0] in (0, 1, 3)
    assert run_store.read_summary("gpn-output").identity.settings["seed"] == 2
    assert [path.name for path in Path("gpn-output").iterdir()] == [run_store.FILE]  # no log of the one before
    call = settings.recall("gpn-output") | {"seed": 3}
    run_store.delete_store("gpn-output")
    stopped(lambda **options: gpn.verify(**call, store="gpn-output", **options), 2)
    code, out, err = command(*TINY)
    assert (code, out) == (cli.MISUSE, "")
    assert "(seed: 3" in err
    assert "gpn verify --resume gpn-output" in err
    code, out, err = command(*TINY, "--seed", "3")
    assert code in (0, 1, 3)
    found = "gpn: 2 finished chunks of an unfinished run are in gpn-output/run.sqlite"
    assert err == f"{found}; the same run resumes with them\n"


def test_a_finished_run_is_kept_by_the_same_command_and_by_a_wrong_one(command, monkeypatch):
    """Only another run that does begin takes its place; the same one computes nothing again."""
    _, first, _ = command(*TINY, "--json", "--out", "o")
    before = Path("o", run_store.FILE).read_bytes()
    for wrong in (["--seed", "-1"], ["--memory", "1kB"], ["--level", "2"], ["--cap", "7"]):
        assert command(*TINY, "--out", "o", *wrong)[0] == cli.MISUSE
        assert Path("o", run_store.FILE).read_bytes() == before
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "_compute", None)
        assert command(*TINY, "--json", "--out", "o")[1] == first
    assert run_store.read_summary("o").chunks > 0


@pytest.mark.parametrize(("given", "words"), [
    (["--scheduler", "tcp://h:1", "--workers", "2"], "leave out --workers and --executor"),
    (["--executor", "fibres"], "must be threads or processes"),
    pytest.param(["--scheduler", "tcp://127.0.0.1:1"], "Dask", marks=pytest.mark.slow),  # waits for ten seconds
])  # fmt: skip
def test_places_that_cannot_be_are_refused(command, given, words):
    code, out, err = command(*TINY, *given)
    assert (code, out) == (cli.MISUSE, "")
    assert words in err


@pytest.mark.parametrize(("error", "words"), [
    (run_store.StoreError("cannot write run.sqlite: database or disk is full"), "disk is full"),
    (BrokenExecutor("gone"), "the workers were lost (gone)"),
])  # fmt: skip
def test_full_disks_and_lost_workers_end_with_75(command, monkeypatch, error, words):
    def fail(*_arguments, **_options):
        raise error

    monkeypatch.setattr(experiment, "run", fail)
    code, out, err = command(*TINY)
    assert (code, out) == (75, "")
    assert err.count("\n") == 1
    assert words in err
    assert "0 finished chunks are kept in gpn-output/run.sqlite; to resume: gpn verify --resume gpn-output" in err
