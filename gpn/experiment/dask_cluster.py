"""Chunks computed on other machines, by the workers of a Dask scheduler: all of the project that knows Dask.

It buys what an executor alone does not give: how many workers there are and how much memory they have, a clear message
where none answer, and workers that refuse to compute if their versions would change a bit.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gpn.experiment.executors import SupervisedExecutor
from gpn.experiment.versions import computing_versions, differences
from theory.errors import UsageError

_TIMEOUT = 10  # seconds in which a scheduler must answer
PATIENCE = 60  # seconds for which a run waits for workers, at the beginning and when all are lost
_LOOK = 0.5  # seconds between two looks
_UNLIMITED = 2**32  # bytes of a worker that was started without a limit


class NoWorkers(BrokenExecutor):
    """A cluster on which no worker has computed for `PATIENCE` seconds."""


def lost_workers() -> tuple[type[BaseException], ...]:
    """The errors of a run whose workers, or whose scheduler, have gone."""
    dask = sys.modules.get("distributed")  # who has not loaded it cannot meet its errors
    return (BrokenExecutor, CancelledError, *([dask.KilledWorker] if dask else []))


@dataclass(frozen=True, slots=True)
class Cluster:
    """Workers on other machines.

    Args:
        executor: computes on them.
        threads: how many they have in all.
        memory: bytes that a run may take on all of them together, so that no worker takes more than half of its own.
    """

    executor: Executor
    threads: int
    memory: int


@contextmanager
def dask_cluster(address: str) -> Iterator[Cluster]:
    """Connect to a Dask scheduler.

    A worker that is lost costs only time: Dask computes its chunks again elsewhere, and a chunk is the same
    bits wherever it is computed. Workers whose versions differ from ours refuse to compute.

    Args:
        address: the address of the scheduler, such as "tcp://host:8786".

    Raises:
        UsageError: Dask is not installed, or no scheduler answers.
        NoWorkers: no worker has come for `PATIENCE` seconds.
    """
    try:
        import distributed
    except ImportError:
        raise UsageError(
            "a cluster needs Dask; install it here and on the cluster: pip install 'gpn-theory[distributed]'"
        ) from None
    try:
        client = distributed.Client(address, timeout=_TIMEOUT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"no Dask scheduler answers at {address[:200]} ({str(error)[:200]}); start one with `dask scheduler` and "
            "give the address that it prints, such as tcp://host:8786"
        ) from None
    with client:

        def workers() -> list[dict[str, Any]]:
            return list(client.scheduler_info(n_workers=-1)["workers"].values())

        inner = client.get_executor(pure=False)
        executor = _ClusterExecutor(inner, address, workers)
        while not (found := workers()):
            executor.check()
            time.sleep(_LOOK)
        threads = sum(worker["nthreads"] for worker in found)
        try:
            yield Cluster(executor, threads, threads * min(map(_thread_memory, found)))
        finally:
            inner.shutdown(wait=False)


def _thread_memory(worker: dict[str, Any]) -> int:
    """Half of the memory of a worker for its threads, each with an equal share; without a limit, little."""
    limit = int(worker["memory_limit"] or _UNLIMITED)
    return limit // (2 * int(worker["nthreads"]))


class _ClusterExecutor(SupervisedExecutor):
    """Another executor, whose workers compare their versions with ours before they compute.

    Dask waits for workers for ever, and so does what it was given when the last of them is lost.

    Args:
        inner: the executor.
        address: of its scheduler.
        workers: the workers that it has now.
    """

    def __init__(self, inner: Executor, address: str, workers: Callable[[], Sequence[Any]]) -> None:
        self._inner, self._address, self._workers = inner, address, workers
        self._seen = time.monotonic()

    def check(self) -> None:
        """Raise an error if there has been no worker for `PATIENCE` seconds.

        Raises:
            NoWorkers: there has been none.
        """
        if self._workers():
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > PATIENCE:
            raise NoWorkers(
                f"the scheduler at {self._address} has had no workers for {PATIENCE} seconds; start some with: dask "
                f"worker {self._address}"
            )

    def has_lost(self, error: BaseException) -> bool:
        """Whether an error is that of a call that its worker took with it: Dask raises a text then, and fails."""
        return isinstance(error, AttributeError) and "with_traceback" in str(error)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Submit a call."""
        return self._inner.submit(compute_alike, computing_versions(), function, *arguments, **keywords)


def compute_alike(
    versions: tuple[tuple[str, str], ...], function: Callable[..., Any], /, *arguments: Any, **keywords: Any
) -> Any:
    """What a worker elsewhere does: call the function, if this machine computes the same bits as the one that asks.

    Args:
        versions: `computing_versions` of the process that asks.
        function, arguments, keywords: the call.

    Raises:
        UsageError: the versions differ.
    """
    unlike = differences(dict(computing_versions()), dict(versions))
    if unlike:
        raise UsageError(
            f"a worker of the cluster would compute with other versions ({'; '.join(unlike)}); install the same there"
        )
    return function(*arguments, **keywords)
