"""The run store: whatever kills a run, what was finished is kept, and the run that goes on gives the same bits."""

import contextlib
import itertools
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpn.experiment import store as run_store
from gpn.experiment import versions
from gpn.experiment.cells import OneStep, RealInputs
from gpn.experiment.fingerprint import description, fingerprint
from gpn.experiment.identity import Identity
from gpn.experiment.runs import Cell, run
from gpn.experiment.store import DamagedStore
from gpn.verification.settings import recall
from tests.root import ROOT
from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.activations.specification import activation
from theory.errors import UsageError
from theory.numerics.arithmetic import X

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # many runs, none of which need survive a power cut
IDENTITY = Identity({"width": 3, "seed": 7}, {"gpn": "1"}, {"width": 3})


@dataclass(frozen=True)
class Draw:
    """Work with arrays of several types and shapes."""

    columns: int = 3

    def __call__(self, rng, trials):
        return {
            "normals": rng.standard_normal((trials, self.columns)),
            "integers": rng.integers(2**63, size=trials, dtype=np.uint64),
            "flags": rng.random((trials, 2)) < 0.5,
        }


def make_cells(trials, chunks):
    return [
        Cell(2**32 - 1, 2**64 - 1 - number, Draw(number), count, chunk, label=f"number {number}")
        for number, (count, chunk) in enumerate(zip(trials, chunks, strict=True))
    ]


CELLS = make_cells((23, 4, 12), (5, 100, 1))


def same_bits(first, second):
    layout = [[{name: (a.dtype, a.shape, a.tobytes()) for name, a in result.items()} for result in results]
              for results in (first, second)]  # fmt: skip
    return layout[0] == layout[1]


class Killed(BaseException):
    """What no handler of errors takes for an error."""


class KillingStore:
    """A store whose process is killed when it has kept, or is about to keep, a given number of chunks."""

    def __init__(self, store, chunks, before):
        self.store, self.left, self.before = store, chunks, before

    def finished(self, cell):
        return self.store.finished(cell)

    def save_chunk(self, cell, number, arrays):
        if self.left == 0 and self.before:
            raise Killed
        self.store.save_chunk(cell, number, arrays)
        if self.left == 0:
            raise Killed
        self.left -= 1


# ------------------------------------------------------------------------------------- the same bits


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 25)), min_size=1, max_size=3),
    kills=st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=4),
    executors=st.lists(st.sampled_from([None, 1, 3]), min_size=5, max_size=5),
    seed=st.integers(0, 2**128 - 1),
)
def test_any_split_any_executor_and_any_kill_points(shape, kills, executors, seed):
    cells = make_cells(*zip(*shape, strict=True))
    chunks = sum(-(-cell.trials // cell.chunk) for cell in cells)
    kept = 0
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder, ThreadPoolExecutor(2) as pool:
        for (number, before), workers in zip([*kills, (10**6, False)], executors, strict=False):
            options = {"executor": pool} if workers is None else {"workers": workers}
            try:
                with run_store.open_store(folder, IDENTITY) as store:
                    assert len(store) == kept
                    results = run(cells, seed, store=KillingStore(store, number, before), **options)
                kept = chunks
            except Killed:
                kept += number + (not before)
        assert run_store.read_summary(folder).finished
        assert run_store.read_summary(folder).chunks == chunks
    assert same_bits(results, run(cells, seed))


def test_a_finished_run_computes_nothing_again(tmp_path):
    with run_store.open_store(tmp_path, IDENTITY) as store:
        first = run(CELLS, 3, store=store)
    told = []
    broken = [replace(cell, cost=2.0, label="x") for cell in CELLS]  # neither belongs to what is computed
    with run_store.open_store(tmp_path, IDENTITY) as store:
        again = run(broken, 3, store=store, progress=lambda done, total, _: told.append((done, total)))
    assert same_bits(first, again)
    assert told == [(78, 78)]


@pytest.mark.parametrize("array", [
    np.array([0.0, -0.0, np.inf, np.frombuffer(b"\x01\x02\x03\x04\x05\x06\xff\x7f", "f8")[0]]),
    np.zeros((3, 0, 2)), np.arange(12, dtype=">i2").reshape(3, 4).T, np.array([True, False]), np.array([1 + 2j, 3]),
    np.array(["a", "bc"]), np.arange(6.0)[::2], np.float32([1, 2]), np.array(["2020-01-01"], "M8[D]"),
])  # fmt: skip
def test_arrays_come_back_bit_for_bit(tmp_path, array):
    cell = Cell(1, 0, Draw(), len(array), len(array))
    with run_store.open_store(tmp_path, IDENTITY) as store:
        store.save_chunk(cell, 0, {"x": array, "y": array})
    with run_store.open_store(tmp_path, IDENTITY) as store:
        [(number, found)] = store.finished(cell)
    assert (number, list(found)) == (0, ["x", "y"])
    assert same_bits([found], [{"x": array, "y": array}])


@pytest.mark.parametrize("array", [np.array([None]), np.zeros(1, [("x", "f8"), ("y", "i4")])])
def test_arrays_whose_bytes_do_not_hold_them_are_refused(tmp_path, array):
    with run_store.open_store(tmp_path, IDENTITY) as store:
        with pytest.raises(UsageError, match="'x'"):
            store.save_chunk(Cell(1, 0, Draw(), 1, 1), 0, {"x": array})
        assert len(store) == 0


def test_cells_without_arrays_are_kept_too(tmp_path):
    cell = Cell(1, 0, Draw(), 2, 1)
    with run_store.open_store(tmp_path, IDENTITY) as store:
        store.save_chunk(cell, 1, {})
        assert list(store.finished(cell)) == [(1, {})]


def test_the_file_is_hardly_larger_than_its_arrays(tmp_path):
    with run_store.open_store(tmp_path, IDENTITY) as store:
        [result] = run([Cell(1, 0, Draw(8), 100_000, 10_000)], 0, store=store)
    raw = sum(array.nbytes for array in result.values())
    assert (tmp_path / run_store.FILE).stat().st_size < 1.02 * raw + 100_000


# ------------------------------------------------------------------------------------- real processes

SCRIPT = """
import sys, time
import numpy as np
from gpn.experiment import Cell, run
from gpn.experiment import store as run_store
from gpn.experiment.fingerprint import fingerprint
sys.path.insert(0, sys.argv[2])
from kill_work import CELLS, IDENTITY

with run_store.open_store(sys.argv[1], IDENTITY) as store:
    run(CELLS, 5, store=store, workers=2, progress=lambda done, total, _: print(done, flush=True))
"""
WORK = """
import os, time
from gpn.experiment import Cell
from gpn.experiment.identity import Identity

def work(rng, trials):
    time.sleep(float(os.environ.get("NAP", "0.01")))
    return {"x": rng.standard_normal((trials, 500))}

CELLS = [Cell(1, 0, work, 400, 2), Cell(1, 1, work, 100, 3)]
IDENTITY = Identity({}, {})
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Start a run in a process of its own; gives the process, and the module with its cells."""
    (tmp_path / "kill_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "kill_work", raising=False)
    import kill_work

    def start(folder, **options):
        command = [sys.executable, "-c", SCRIPT, str(folder), str(tmp_path)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, **options)

    return start, kill_work


def test_kill_9_loses_no_finished_chunk(child, tmp_path):
    start, work = child
    with start(tmp_path / "run") as process:
        told = [process.stdout.readline() for _ in range(40)]
        process.kill()
        told += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    with run_store.open_store(tmp_path / "run", work.IDENTITY) as store:
        assert len(told) - 1 <= len(store) < 200  # the first line is told before any chunk
        results = run(work.CELLS, 5, store=store)
    assert same_bits(results, run(work.CELLS, 5))


def test_a_disk_that_is_full_keeps_what_was_finished(child, tmp_path):
    """The system refuses to let the file grow beyond a limit, as a full disk does."""
    start, work = child
    limit = 800_000
    with start(
        tmp_path / "run", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    ) as process:
        out, err = process.communicate()
    told = out.splitlines()
    assert process.returncode == 1
    assert "StoreError" in err
    assert f"{len(told) - 1} finished chunks are kept in" in err
    assert len(told) > 20
    with run_store.open_store(tmp_path / "run", work.IDENTITY) as store:
        assert len(store) == len(told) - 1
        assert same_bits(run(work.CELLS, 5, store=store), run(work.CELLS, 5))


def test_two_processes_in_one_folder_are_refused(child, tmp_path):
    start, work = child
    with start(tmp_path / "run", env={**os.environ, "NAP": "1"}) as process:
        process.stdout.readline()
        for attempt in (lambda: run_store.read_summary(tmp_path / "run"),
                        lambda: run_store.delete_store(tmp_path / "run"),
                        run_store.open_store(tmp_path / "run", work.IDENTITY).__enter__):  # fmt: skip
            with pytest.raises(UsageError, match="another run"):
                attempt()
        process.kill()
    assert run_store.read_summary(tmp_path / "run").chunks >= 0  # a killed process leaves no lock


# ------------------------------------------------------------------------------------- refusals and failures


def begun(folder, identity=IDENTITY, chunks=1):
    with contextlib.suppress(Killed), run_store.open_store(folder, identity) as store:
        run(CELLS, 0, store=KillingStore(store, chunks - 1, before=False))


@pytest.mark.parametrize(("other", "words"), [
    (replace(IDENTITY, settings={"width": 4, "seed": 7}), r"width: 3 there, 4 here"),
    (replace(IDENTITY, settings={"width": 3}), r"seed: 7 there, nothing here"),
    (replace(IDENTITY, versions={"gpn": "2"}), r"gpn: 1 there, 2 here"),
])  # fmt: skip
@pytest.mark.parametrize("finished", [False, True])
def test_a_store_of_another_run_is_refused(tmp_path, other, words, finished):
    begun(tmp_path, chunks=10**6 if finished else 1)
    kind = "a finished" if finished else "an unfinished"
    with pytest.raises(UsageError, match=f"{kind} run .*{words}"):
        begun(tmp_path, other)
    assert run_store.read_summary(tmp_path).identity == IDENTITY


def test_a_store_without_chunks_can_be_taken_over(tmp_path):
    with run_store.open_store(tmp_path, IDENTITY), contextlib.suppress(Killed):
        pass
    other = replace(IDENTITY, versions={"gpn": "2"})
    with run_store.open_store(tmp_path, other):
        pass
    assert run_store.read_summary(tmp_path).identity == other


@pytest.mark.parametrize("change", [{"trials": 24}, {"chunk": 6}, {"compute": Draw(1)}])
def test_chunks_of_other_work_are_refused(tmp_path, change):
    begun(tmp_path)
    with run_store.open_store(tmp_path, IDENTITY) as store, pytest.raises(UsageError, match="results of other"):
        run([replace(CELLS[0], **change)], 0, store=store)


def test_a_damaged_chunk_is_refused(tmp_path):
    begun(tmp_path, chunks=3)
    with contextlib.closing(sqlite3.connect(tmp_path / run_store.FILE)) as connection, connection:
        [data] = connection.execute("SELECT data FROM arrays WHERE chunk = 2 AND name = 'integers'").fetchone()
        damaged = bytes([data[0] ^ 1]) + data[1:]
        connection.execute("UPDATE arrays SET data = ? WHERE chunk = 2 AND name = 'integers'", (damaged,))
    with run_store.open_store(tmp_path, IDENTITY) as store, pytest.raises(UsageError, match="damaged"):
        run(CELLS, 0, store=store)


@pytest.mark.parametrize("change", [
    "UPDATE facts SET value = 'no JSON' WHERE name = 'identity'",
    "UPDATE facts SET value = '[1, 2]' WHERE name = 'identity'",
    """UPDATE facts SET value = '{"settings": {}}' WHERE name = 'identity'""",
    """UPDATE facts SET value = '{"settings": 5, "versions": {}}' WHERE name = 'identity'""",
    "UPDATE facts SET value = x'00ff' WHERE name = 'identity'",
    f"UPDATE facts SET value = '{'[' * 20_000}' WHERE name = 'identity'",
    "UPDATE arrays SET dtype = 'nonsense'",
    "UPDATE arrays SET shape = '[7, 9]'",
    "UPDATE arrays SET shape = 'x'",
    "DROP TABLE facts",
    "DROP TABLE chunks",
    "DROP TABLE arrays",
])  # fmt: skip
def test_a_damaged_store_has_one_advice(tmp_path, change):
    begun(tmp_path, chunks=3)
    with contextlib.closing(sqlite3.connect(tmp_path / run_store.FILE)) as connection, connection:
        connection.execute(change)
    words = r"run\.sqlite is damaged \(.*\); delete it and run again$"
    with pytest.raises(DamagedStore, match=words) as caught, run_store.open_store(tmp_path, IDENTITY) as store:
        run(CELLS, 0, store=store)
    assert not [note for note in getattr(caught.value, "__notes__", []) if "resume" in note]


def test_a_store_cut_in_the_middle_has_one_advice(tmp_path):
    begun(tmp_path, chunks=3)
    path = tmp_path / run_store.FILE
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes(len(content) // 2))
    words = r"delete it and run again$"
    with pytest.raises(UsageError, match=words), run_store.open_store(tmp_path, IDENTITY) as store:
        run(CELLS, 0, store=store)


@pytest.mark.parametrize("limit", [0, 3_000, 12_000])
def test_a_disk_that_is_full_at_the_first_write_leaves_no_run(child, tmp_path, limit):
    start, _ = child
    with start(
        tmp_path / "run", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    ) as process:
        _, err = process.communicate()
    assert process.returncode == 1
    assert "StoreError" in err
    assert "there is nothing to resume; make room and run the same again" in err
    assert not (tmp_path / "run").exists()


def test_files_of_something_else_are_refused_and_left_alone(tmp_path):
    path = tmp_path / run_store.FILE
    path.write_text("my precious notes, which are longer than the header of a database" * 10)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="run store"):
        begun(tmp_path)
    with pytest.raises(UsageError, match="run store"):
        run_store.read_summary(tmp_path)
    assert path.read_bytes() == before
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE mine (x)")
    with pytest.raises(UsageError, match="run store"):
        begun(tmp_path)


def test_a_store_of_another_format_is_refused(tmp_path):
    begun(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / run_store.FILE)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(UsageError, match="format 99"):
        begun(tmp_path)


def test_folders_that_cannot_be_written_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"results.*file"):
        begun(tmp_path / "file")
    (tmp_path / "folder" / run_store.FILE).mkdir(parents=True)
    with pytest.raises(UsageError, match=r"results.*folder"):
        begun(tmp_path / "folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="results"):
        begun(tmp_path)


@pytest.mark.parametrize(("call", "words"), [({"x": 1}, "gpn verify --resume '.*a b'"), (None, "run the same again")])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_whatever_ends_a_run_says_how_to_go_on(tmp_path, call, words, error):
    def stop(done, *_):
        if done >= 10:
            raise error

    identity = replace(IDENTITY, call=call)
    with pytest.raises(error) as caught, run_store.open_store(tmp_path / "a b", identity) as store:
        run(CELLS, 0, store=store, progress=stop)
    [note] = caught.value.__notes__
    assert note.startswith(f"2 finished chunks are kept in {tmp_path / 'a b' / run_store.FILE}; to resume")
    assert len(list(itertools.islice(note.split(words.split(" '")[0]), 2))) == 2


def test_an_absent_store_is_none_and_is_not_made(tmp_path):
    assert run_store.read_summary(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="no run to"):
        recall(tmp_path)
    begun(tmp_path, replace(IDENTITY, call=None))
    with pytest.raises(UsageError, match="Python"):
        recall(tmp_path)


# ------------------------------------------------------------------------------------- fingerprints


class Sine:
    """An activation of somebody else's class."""

    name, breakpoint_values = "mine", np.array([])

    def __init__(self, shift=0.0):
        self.shift = shift

    def value_and_slope(self, x):
        return np.sin(x + self.shift), np.cos(x + self.shift)


def test_every_part_of_a_cell_changes_its_fingerprint():
    tanh = activation("tanh")
    vectors = np.eye(3)
    layers = [
        OneStep(tanh, 64, "haar"),
        OneStep(tanh, 65, "haar"),
        OneStep(tanh, 64, "he"),
        OneStep(activation("sin(x)"), 64, "haar"),
        OneStep(Activation("tanh", 2 * tanh.expression), 64, "haar"),
        OneStep(Activation("other", tanh.expression), 64, "haar"),
        OneStep(tanh.affine(1 + 2**-52, 0, "tanh"), 64, "haar"),
        OneStep(Sine(), 64, "haar"),
        OneStep(Sine(1e-15), 64, "haar"),
        OneStep(CallableActivation("mine", np.sin, np.cos), 64, "haar"),
    ]
    inputs = [
        RealInputs(vectors, None, 0),
        RealInputs(vectors + 1e-16, None, 0),
        RealInputs(vectors, np.arange(3), 3),
        RealInputs(vectors.astype("f4"), None, 0),
    ]
    works = [*layers, *inputs, Draw(1), Draw(2), same_bits]
    cells = [Cell(1, 0, work, 10, 5) for work in works]
    cells += [
        Cell(1, 0, Draw(1), 11, 5),
        Cell(1, 0, Draw(1), 10, 4),
        Cell(2, 0, Draw(1), 10, 5),
        Cell(1, 1, Draw(1), 10, 5),
    ]
    prints = [fingerprint(cell) for cell in cells]
    same = fingerprint(Cell(1, 0, OneStep(CallableActivation("mine", np.sin, np.cos), 64, "haar"), 10, 5))
    assert len(set(prints)) == len(cells) - 1  # Sine() and the callable are one function of one name
    assert same in prints


def test_functions_that_differ_far_out_are_told_apart():
    """A bump at 20 is lost in the rounding of all values up to 6, but not in a network whose signal grows."""

    def bumped(height):
        def line(x):
            return x + height * np.exp(-((x - 20) ** 2))

        return description(CallableActivation("mine", line, np.ones_like))

    assert bumped(1.0) == bumped(1.0)
    assert bumped(1.0) != bumped(2.0)


def test_functions_that_overflow_far_out_have_a_description():
    steep = CallableActivation("steep", lambda x: np.exp(x * x), lambda x: 2 * x * np.exp(x * x))
    assert description(steep) == description(steep)


def test_fingerprints_do_not_depend_on_the_process():
    code = (
        "from gpn.experiment.cells import OneStep; from gpn.experiment.runs import Cell\n"
        "from gpn.experiment.fingerprint import fingerprint\n"
        "from theory.activations.specification import activation\n"
        "print(fingerprint(Cell(1, 0, OneStep(activation('x*sigmoid(x)+tanh(x)'), 64, 'haar'), 10, 5)))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    work = OneStep(activation("x*sigmoid(x)+tanh(x)"), 64, "haar")
    assert done.stdout.strip() == fingerprint(Cell(1, 0, work, 10, 5))


@pytest.mark.parametrize("work", [lambda _rng, _trials: {}, object(), np.array([None])])
def test_work_that_cannot_be_told_apart_is_refused(work):
    with pytest.raises(UsageError, match="cannot be told from"):
        description(work)


def test_equal_symbols_are_needed_for_equal_descriptions():
    assert description(Activation("f", X + 1)) == description(Activation("f", 1 + X))
    json.dumps(description({"a": [1, 2.5, None, "x", np.int64(3), True]}))


def test_the_source_code_is_among_the_versions(monkeypatch, tmp_path):
    """An edited module must not go on with the chunks of the old one."""
    names = dict(versions.computing_versions())
    assert {"gpn", "numpy", "scipy", "gpn source"} <= set(names)
    assert "python" not in names
    for package in ("gpn", "theory"):
        (tmp_path / package / "room").mkdir(parents=True)
        (tmp_path / package / "room" / "module.py").write_text("x = 1")
    monkeypatch.setattr(versions, "files", lambda package: tmp_path / package)
    before = versions.source_digest()
    (tmp_path / "theory" / "room" / "module.py").write_text("x = 2")
    assert versions.source_digest() != before


def test_the_arithmetic_of_the_processor_is_among_the_versions():
    """Without the wide instructions of this processor, if it has any, NumPy rounds tanh otherwise: no such mixture."""
    ours = versions.arithmetic_digest()
    assert dict(versions.computing_versions())["arithmetic of the processor"] == ours
    assert {arithmetic_elsewhere(OPENBLAS_NUM_THREADS=threads) for threads in ("1", "4")} == {ours}
    wide = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    if not wide:
        pytest.skip("this processor has nothing but the instructions that NumPy takes for granted")
    assert arithmetic_elsewhere(NPY_DISABLE_CPU_FEATURES=" ".join(wide)) != ours


def arithmetic_elsewhere(**environment):
    code = "from gpn.experiment import versions; print(versions.arithmetic_digest())"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment, check=True)
    return done.stdout.strip()
