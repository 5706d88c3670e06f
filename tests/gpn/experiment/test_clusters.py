"""A Dask cluster: the same bits as one worker, also when a worker is killed in mid-run."""

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from gpn.cli import program as cli
from gpn.experiment import dask_cluster, versions
from gpn.experiment.cells import OneStep
from gpn.experiment.runs import Cell, run
from tests.root import ROOT
from theory.activations.specification import activation
from theory.errors import UsageError

CELLS = [
    Cell(1, 0, OneStep(activation("relu"), 64, "haar"), 20_000, 500, label="relu"),
    Cell(1, 1, OneStep(activation("tanh"), 16, "haar"), 1_000, 100, label="tanh"),
]


@pytest.fixture(scope="module")
def cluster():
    """Two workers in processes of their own, which find the packages of this checkout."""
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    path = os.pathsep.join([str(ROOT), *sys.path])
    with environment("PYTHONPATH", path), distributed.LocalCluster(**options, silence_logs=50) as found:
        yield found


@contextmanager
def environment(name, value):
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def workers_of(cluster):
    import distributed

    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        return sorted(client.run(os.getpid).values())


def test_a_worker_killed_in_mid_run_changes_no_bit(cluster):
    told, killed = [], []

    def kill_one(done, total, _words):
        told.append(done)
        if done > total / 4 and not killed:
            killed.append(workers_of(cluster)[0])
            os.kill(killed[0], signal.SIGKILL)

    with dask_cluster.dask_cluster(cluster.scheduler_address) as found:
        assert found.threads == 2
        results = run(CELLS, 7, executor=found.executor, workers=found.threads, progress=kill_one)
    assert killed
    assert told[-1] == sum(cell.trials for cell in CELLS)
    cluster.wait_for_workers(2, timeout=60)
    assert killed[0] not in workers_of(cluster)
    for result, alone in zip(results, run(CELLS, 7), strict=True):
        assert {name: a.tobytes() for name, a in result.items()} == {name: a.tobytes() for name, a in alone.items()}


def test_errors_of_a_worker_name_the_cell(cluster):
    wrong = Cell(3, 1, OneStep(activation("tanh"), 8, "nonsense"), 10, 5, label="not weights")
    with dask_cluster.dask_cluster(cluster.scheduler_address) as found, pytest.raises(UsageError) as caught:
        run([wrong], 0, executor=found.executor)
    assert "not weights (experiment 3, cell 1), chunk" in caught.value.__notes__[-1]


def test_workers_with_other_versions_refuse_to_compute(cluster, monkeypatch):
    ours = (*versions.computing_versions()[1:], ("gpn", "99"))
    monkeypatch.setattr(dask_cluster, "computing_versions", lambda: ours)
    words = r"other versions \(gpn: .* there, 99 here\)"
    with dask_cluster.dask_cluster(cluster.scheduler_address) as found, pytest.raises(UsageError, match=words):
        run(CELLS, 7, executor=found.executor)


def test_a_cluster_without_workers_ends_after_the_time_that_it_says(monkeypatch, capsys):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(dask_cluster, "PATIENCE", 1)
    empty = distributed.LocalCluster(n_workers=0, processes=True, dashboard_address=":0", silence_logs=50)
    with empty, pytest.raises(SystemExit) as ended:
        cli.main(["verify", "relu", "--json", "--scheduler", empty.scheduler_address])
    assert ended.value.code == 75
    address = empty.scheduler_address
    words = f"the scheduler at {address} has had no workers for 1 seconds; start some with: dask worker {address}"
    assert capsys.readouterr().err == f"gpn: {words}\n"


def test_a_run_whose_last_worker_leaves_ends_too(monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(dask_cluster, "PATIENCE", 1)
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}

    def leave(done, *_):
        if done:
            small.scale(0)

    with distributed.LocalCluster(**options, silence_logs=50) as small:
        cluster = dask_cluster.dask_cluster(small.scheduler_address)
        with cluster as found, pytest.raises(dask_cluster.NoWorkers, match="no workers for 1 seconds"):
            run(CELLS, 7, executor=found.executor, progress=leave)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x", "tcp://"])
def test_an_address_without_a_scheduler_is_an_error(address, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(dask_cluster, "_TIMEOUT", 1)
    with pytest.raises(UsageError, match="no Dask scheduler"):
        dask_cluster.dask_cluster(address).__enter__()


def test_without_dask_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'gpn-theory\[distributed\]'"):
        dask_cluster.dask_cluster("tcp://127.0.0.1:1").__enter__()


def test_alike_workers_compute_and_others_do_not():
    assert dask_cluster.compute_alike(versions.computing_versions(), pow, 2, 5) == 32
    with ThreadPoolExecutor(1) as pool:
        call = dask_cluster._ClusterExecutor(pool, "", list).submit(pow, base=2, exp=5)
        assert call.result() == 32
    with pytest.raises(UsageError, match="numpy"):
        dask_cluster.compute_alike((("numpy", "1"),), pow, 2, 5)
