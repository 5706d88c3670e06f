"""The runner: same bits however the work is done, a stream for each chunk, errors that say where."""

import itertools
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpn.experiment import executors
from gpn.experiment import runs as experiment
from gpn.experiment.runs import Cell, generator, run
from tests.root import ROOT
from theory.errors import UsageError


class Draw:
    """Picklable work: normals, integers and a matrix for each trial."""

    def __init__(self, columns=3):
        self.columns = columns

    def __call__(self, rng, trials):
        return {
            "normals": rng.standard_normal((trials, self.columns)),
            "integers": rng.integers(2**63, size=trials),
            "flags": rng.random((trials, 2, 2)) < 0.5,
        }


class Fail:
    """Picklable work that fails in the chunk whose generator draws a given number of trials."""

    def __init__(self, size, error):
        self.size, self.error = size, error

    def __call__(self, rng, trials):
        if trials == self.size:
            raise self.error
        return {"x": rng.random(trials)}


class Die:
    """Picklable work whose process dies, as if killed, until a file exists; a file of None never does."""

    def __init__(self, path=None):
        self.path = path

    def __call__(self, rng, trials):
        if self.path is None or not self.path.exists():
            if self.path is not None:
                self.path.touch()
            os._exit(1)
        return Draw()(rng, trials)


class Later(Executor):
    """Computes nothing until someone waits, then the last submitted first; counts what is outstanding."""

    def __init__(self):
        self.todo = []
        self.most = 0
        self.shut = False

    def submit(self, function, /, *arguments, **keywords):
        future = LazyFuture(self)
        self.todo.append((future, function, arguments, keywords))
        self.most = max(self.most, len(self.todo))
        return future

    def step(self):
        future, function, arguments, keywords = self.todo.pop()
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(function(*arguments, **keywords))
            except Exception as error:
                future.set_exception(error)

    def shutdown(self, *_arguments, **_keywords):
        self.shut = True


class LazyFuture(Future):
    def __init__(self, executor):
        super().__init__()
        self.executor = executor


@pytest.fixture
def later(monkeypatch):
    """An executor whose tasks finish one at a time, in reversed order."""
    executor, wait = Later(), executors.wait

    def stepping_wait(futures, **keywords):
        executor.step()
        return wait(futures, **keywords)

    monkeypatch.setattr(executors, "wait", stepping_wait)
    return executor


def processes(workers):
    """Processes that know this module; Python 3.12 warns of forking beside threads, of which none runs."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))


forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

CELLS = [
    Cell(experiment=1, cell=0, compute=Draw(), trials=23, chunk=5, cost=0.1, label="first"),
    Cell(experiment=1, cell=1, compute=Draw(2), trials=4, chunk=100, cost=0.7),
    Cell(experiment=2, cell=1, compute=Draw(), trials=30, chunk=1, cost=1e-3),
]


def literal(cells, seed):
    """What a run means, written down without a runner."""
    results = []
    for cell in cells:
        parts = []
        for chunk, start in enumerate(range(0, cell.trials, cell.chunk)):
            words = np.random.SeedSequence(seed, spawn_key=(cell.experiment, cell.cell, chunk))
            size = min(cell.chunk, cell.trials - start)
            parts.append(cell.compute(np.random.Generator(np.random.SFC64(words)), size))
        results.append({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    return results


def assert_same_bits(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name].dtype == other[name].dtype
            assert one[name].shape == other[name].shape
            assert one[name].tobytes() == other[name].tobytes()


# ---------------------------------------------------------------------------------------- same bits


@pytest.mark.parametrize("workers", [1, 2, 3, 64, None])
def test_any_number_of_workers(workers):
    assert_same_bits(run(CELLS, 7, workers=workers), literal(CELLS, 7))


@forks
@pytest.mark.parametrize("executor", [ThreadPoolExecutor, processes])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_executor(executor, workers):
    with executor(workers) as pool:
        assert_same_bits(run(CELLS, 7, executor=pool), literal(CELLS, 7))
        assert_same_bits(run(CELLS[1:], 8, executor=pool), literal(CELLS[1:], 8))  # it was not shut down


def test_reversed_order_of_completion(later):
    assert_same_bits(run(CELLS, 7, executor=later), literal(CELLS, 7))
    assert not later.shut


@settings(max_examples=40, deadline=None)
@given(
    trials=st.integers(1, 40),
    chunk=st.integers(1, 50),
    seed=st.integers(0, 2**128 - 1),
    workers=st.integers(1, 4),
)
def test_any_split_into_chunks(trials, chunk, seed, workers):
    cells = [Cell(0, 2**64 - 1, Draw(1), trials, chunk), Cell(2**32 - 1, 0, Draw(1), chunk, trials)]
    assert_same_bits(run(cells, seed, workers=workers), literal(cells, seed))


def test_a_cell_does_not_depend_on_its_neighbours():
    assert_same_bits(run(CELLS[::-1], 7)[::-1], run(CELLS, 7))
    assert_same_bits(run(CELLS[2:], 7), run(CELLS, 7)[2:])


def test_more_trials_begin_with_the_same_whole_chunks():
    [short] = run([Cell(0, 0, Draw(), 10, 5)], 3)
    [long] = run([Cell(0, 0, Draw(), 23, 5)], 3)
    for name in short:
        np.testing.assert_array_equal(short[name], long[name][:10])


def test_cells_without_arrays_and_runs_without_cells():
    assert run([Cell(0, 0, lambda _rng, _trials: {}, 5, 2)], 0) == [{}]
    assert run([], 0, workers=2) == []


def test_cells_are_picklable():
    assert pickle.loads(pickle.dumps(CELLS[0])).trials == 23


# ---------------------------------------------------------------------------------------- streams


def test_every_key_has_a_stream_of_its_own():
    seeds = [0, 1, 2**32 - 1, 2**32, 2**64, 2**96 + 1, 2**128 - 1]
    experiments, chunks = [0, 1, 2**32 - 1], [0, 1, 2, 2**32 - 1]
    cells = [0, 1, 2, 2**32 - 1, 2**32, 2**32 + 1, 2**33, 2**64 - 1]
    keys = list(itertools.product(seeds, experiments, cells, chunks))
    firsts = {tuple(generator(*key).integers(2**64, size=2, dtype=np.uint64).tolist()) for key in keys}
    assert len(firsts) == len(keys)


def test_streams_are_not_correlated():
    """n products of independent normals sum to less than 6 sqrt(n); 1,176 pairs, false alarm 2e-6."""
    n = 10_000
    draws = np.array([generator(0, 1, cell, chunk).standard_normal(n) for cell in range(7) for chunk in range(7)])
    products = draws @ draws.T / np.sqrt(n)
    assert np.abs(products[np.triu_indices(len(draws), 1)]).max() < 6


@pytest.mark.parametrize("key", [(-1, 0, 0, 0), (2**128, 0, 0, 0), (0, -1, 0, 0), (0, 2**32, 0, 0), (0, 0, 2**64, 0)])
def test_keys_that_could_collide_are_refused(key):
    with pytest.raises(UsageError, match="between 0 and"):
        generator(*key)


# ---------------------------------------------------------------------------------------- misuse and errors


@pytest.mark.parametrize(
    "change",
    [
        {"trials": 0},
        {"chunk": 0},
        {"trials": 2.5},
        {"experiment": -1},
        {"cell": 2**64},
        {"cost": -1.0},
        {"cost": float("nan")},
        {"cost": float("inf")},
    ],
)
def test_wrong_cells(change):
    with pytest.raises(UsageError):
        Cell(**({"experiment": 0, "cell": 0, "compute": Draw(), "trials": 1, "chunk": 1} | change))


@pytest.mark.parametrize("seed", [-1, 1.0, "0", None, 2**128])
def test_wrong_seeds(seed):
    with pytest.raises(UsageError, match="seed"):
        run(CELLS, seed)


@pytest.mark.parametrize("workers", [0, -1, 1.5])
def test_wrong_numbers_of_workers(workers):
    with pytest.raises(UsageError, match="workers"):
        run(CELLS, 0, workers=workers)


def test_numpy_integers_are_integers():
    cell = Cell(np.int64(1), np.uint32(0), Draw(), np.int32(23), np.int16(5))
    assert_same_bits(run([cell], np.int64(7), workers=np.int8(2)), literal(CELLS[:1], 7))


def test_two_cells_of_one_identity():
    with pytest.raises(UsageError, match="number 5 of experiment 3"):
        run([Cell(3, 5, Draw(), 1, 1), Cell(3, 4, Draw(), 1, 1), Cell(3, 5, Draw(), 2, 1)], 0)


def run_on(pool, cells):
    if pool is None or isinstance(pool, int):
        return run(cells, 0, workers=pool or 1)
    with pool(2) as executor:
        return run(cells, 0, executor=executor)


@forks
@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), UsageError("wrong"), MemoryError()])
@pytest.mark.parametrize("pool", [None, 2, ThreadPoolExecutor, processes])
def test_errors_keep_their_type_and_name_the_cell(error, pool):
    cells = [Cell(4, 9, Fail(3, error), trials=13, chunk=5, label="the third kind")]
    with pytest.raises(type(error)) as caught:
        run_on(pool, cells)
    assert str(caught.value) == str(error)
    note = caught.value.__notes__[-1]
    assert note == "in the third kind (experiment 4, cell 9), chunk 2: trials 10 to 12 of 13"


@pytest.mark.parametrize(
    ("compute", "error", "words"),
    [
        (lambda _rng, trials: np.ones(trials), TypeError, "ndarray"),
        (lambda _rng, trials: {"x": np.ones(trials + 1)}, ValueError, "number of trials"),
        (lambda _rng, _trials: {"x": np.float64(1)}, ValueError, "number of trials"),
        (lambda _rng, trials: {"x": np.ones((trials, trials))}, ValueError, "different arrays"),
        (
            lambda _rng, trials: {"x": np.ones(trials, "f8" if trials > 1 else "f4")},
            ValueError,
            "different arrays",
        ),
        (lambda _rng, trials: {f"x{trials}": np.ones(trials)}, ValueError, "different arrays"),
    ],
)
def test_wrong_arrays_are_refused(compute, error, words):
    with pytest.raises(error, match=words) as caught:
        run([Cell(0, 0, compute, 5, 2)], 0)
    assert "experiment 0, cell 0" in caught.value.__notes__[-1]


@forks
def test_work_that_cannot_be_pickled_names_the_cell():
    with processes(1) as pool, pytest.raises((AttributeError, pickle.PicklingError)) as caught:
        run([Cell(8, 1, lambda rng, trials: {"x": rng.random(trials)}, 2, 2)], 0, executor=pool)
    assert "experiment 8, cell 1" in caught.value.__notes__[-1]


# ---------------------------------------------------------------------------------------- cancelling


def test_no_more_than_a_few_chunks_are_queued(later):
    cells = [Cell(0, 0, Draw(), 1000, 1)]
    run(cells, 0, executor=later, workers=30)
    assert later.most == 120
    later.most = 0
    run(cells, 0, executor=later)
    assert later.most == 64


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_cancels_what_has_not_started(later, interrupt):
    def stop(done, *_):
        if done >= 3:
            raise interrupt

    futures = []
    submit = later.submit
    later.submit = lambda *arguments: futures.append(submit(*arguments)) or futures[-1]
    with pytest.raises(interrupt):
        run([Cell(0, 0, Draw(), 1000, 1)], 0, executor=later, progress=stop)
    assert sum(future.done() and not future.cancelled() for future in futures) == 3
    assert all(future.done() for future in futures)
    assert len(futures) < 70
    assert not later.shut


def test_an_error_ends_the_own_pool_of_threads_soon():
    before = threading.active_count()
    calls = []

    def slow(_rng, trials):
        calls.append(trials)
        time.sleep(0.02)
        if len(calls) > 2:
            raise ZeroDivisionError
        return {"x": np.ones(trials)}

    with pytest.raises(ZeroDivisionError):
        run([Cell(0, 0, slow, 10_000, 1)], 0, workers=2)
    assert len(calls) < 12
    assert threading.active_count() == before


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs an alarm")
def test_a_signal_interrupts_the_wait_for_threads():
    def interrupt(_number, _frame):
        raise KeyboardInterrupt

    calls = []

    def slow(_rng, trials):
        calls.append(trials)
        time.sleep(0.1)
        return {"x": np.ones(trials)}

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.25)
    try:
        with pytest.raises(KeyboardInterrupt):
            run([Cell(0, 0, slow, 1000, 1)], 0, workers=2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert len(calls) < 20


def test_chunks_cancelled_by_someone_else_are_an_error(later):
    submit = later.submit

    def cancelled(*arguments):
        future = submit(*arguments)
        if len(later.todo) == 5:
            future.cancel()
        return future

    later.submit = cancelled
    with pytest.raises(CancelledError) as caught:
        run([Cell(0, 0, Draw(), 10, 1)], 0, executor=later)
    assert "chunk 4" in caught.value.__notes__[-1]


# ---------------------------------------------------------------------------------------- processes of its own


def test_processes_by_name():
    assert_same_bits(run(CELLS, 7, executor="processes", workers=2), literal(CELLS, 7))
    assert_same_bits(run(CELLS, 7, executor="threads"), literal(CELLS, 7))
    with pytest.raises(UsageError, match="threads or processes"):
        run(CELLS, 7, executor="fibres")


def test_processes_that_die_are_replaced(tmp_path):
    """One of the two dies in the second chunk; what both left is computed by others, each chunk once."""
    cells = [CELLS[0], Cell(5, 0, Die(tmp_path / "dead"), trials=12, chunk=1), CELLS[2]]
    told = []
    results = run(cells, 7, executor="processes", workers=2, progress=lambda done, total, _: told.append((done, total)))
    assert_same_bits(results, literal(cells, 7))
    assert told[-1][0] == told[-1][1]
    assert len(told) == 1 + 5 + 12 + 30


def test_processes_that_always_die_end_the_run():
    with pytest.raises(BrokenExecutor) as caught:
        run([Cell(5, 0, Die(), trials=3, chunk=1, label="deadly")], 7, executor="processes", workers=1)
    assert "deadly (experiment 5, cell 0), chunk" in caught.value.__notes__[0]
    assert "died 3 times" in caught.value.__notes__[-1]


ORPHANS = r"""
import os, sys, time
from gpn.experiment import Cell, run

def work(rng, trials):
    os.write(1, f"{os.getpid()}\n".encode())  # in one piece, beside the other process
    time.sleep(0.2)
    return {}

if __name__ == "__main__":
    run([Cell(0, 0, work, 10_000, 1)], 0, executor="processes", workers=2)
"""


def test_processes_do_not_outlive_a_killed_run(tmp_path):
    (tmp_path / "orphans.py").write_text(ORPHANS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "orphans.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        workers = {int(process.stdout.readline()) for _ in range(8)}
        process.kill()
        process.stdout.read()  # ends when nobody is left who could write
    assert process.pid not in workers
    assert len(workers) in (1, 2)


class Place:
    """Picklable work that tells in which process, and beside which script, it is done."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds

    def __call__(self, _rng, trials):
        time.sleep(self.seconds)
        script = hasattr(sys.modules.get("__mp_main__"), "__file__")
        return {"process": np.full(trials, os.getpid()), "script": np.full(trials, script)}


@pytest.mark.parametrize(("compute", "long", "elsewhere"), [
    (Place(0.05), 0.5, True),
    (Place(0.05), 1e9, False),  # too short to be worth the start
    (lambda rng, trials: Place(0.05)(rng, trials), 0.5, False),  # cannot be sent
])  # fmt: skip
def test_what_is_long_goes_to_processes_by_default(monkeypatch, compute, long, elsewhere):
    """2 s of sleep in 40 chunks, a few of which this process does while it judges the pace."""
    monkeypatch.setattr(experiment, "_GLANCE", 0.1)
    monkeypatch.setattr(experiment, "_LONG", long)
    [result] = run([Cell(0, 0, compute, 40, 1)], 0, workers=2)
    assert result["process"][0] == os.getpid()
    assert (result["process"][-1] != os.getpid()) == elsewhere
    [alone] = run([Cell(0, 0, compute, 40, 1)], 0, workers=1)
    assert set(alone["process"]) == {os.getpid()}


UNGUARDED = """
import os
from gpn.experiment import Cell, run, runs
from gpn.experiment.cells import OneStep
from theory.activations.specification import activation

print("begun")
cell = Cell(0, 0, OneStep(activation("relu"), 8, "haar"), 40, 4)
[result] = run([cell], 3, executor="processes", workers=2)
[same] = run([cell], 3)
print(all((result[name] == same[name]).all() for name in same))
"""


def test_processes_do_not_begin_the_users_script_again(tmp_path):
    """A script without `if __name__ == "__main__"`, which a worker that imports it would run once more."""
    (tmp_path / "script.py").write_text(UNGUARDED)
    command = [sys.executable, str(tmp_path / "script.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("begun\nTrue\n", "")


# ---------------------------------------------------------------------------------------- progress


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_is_reported_from_this_thread_and_ends_at_the_total(workers):
    told = []

    def listen(done, total, _words):
        told.append((done, total, threading.current_thread() is threading.main_thread()))

    run(CELLS, 0, workers=workers, progress=listen)
    done, totals, main = zip(*told, strict=True)
    assert all(main)
    assert done[0] == 0
    assert done[-1] == totals[-1] == pytest.approx(23 * 0.1 + 4 * 0.7 + 30e-3)
    assert list(done) == sorted(done)
    assert len(done) == 1 + 5 + 1 + 30
    assert len(set(totals)) == 1


def test_workers_that_a_signal_ends_after_the_run_was_cancelled_leave_no_stack_trace(monkeypatch):
    """As `timeout` does, which sends its signal to all processes of a run."""
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda error: seen.append(error.exc_type))
    before = set(multiprocessing.active_children())
    pool = executors.Processes(2, int, alone=True)
    work = executors.submitted(iter([0.0] + 12 * [60.0]), lambda pool, wait: pool.submit(time.sleep, wait), pool, 12)
    next(work)
    work.close()
    for worker in set(multiprocessing.active_children()) - before:
        worker.terminate()
    pool.shutdown()
    assert seen == []
