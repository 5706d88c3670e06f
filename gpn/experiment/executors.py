"""Who computes: this process, pools of threads or processes of this machine, or any executor.

Work comes as items in an order and goes back as (item, result) in whatever order they finish.
"""

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import closing, contextmanager
from itertools import chain, islice
from multiprocessing import current_process, get_all_start_methods, get_context, parent_process
from types import ModuleType
from typing import Any, TypeVar

from gpn.experiment.signals import signals_wait
from theory.errors import UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")
Submit = Callable[[Executor, Item], Future[Result]]
KINDS = ("threads", "processes")
QUEUED_PER_WORKER = 4  # enough that no worker waits for the main thread, few enough that cancelling is quick
LEAST_QUEUED = 64  # for an executor whose number of workers cannot be known
_PATIENCE = 3  # times that workers may die before another item is finished
_LOOK = 2.0  # seconds between two looks at a supervised executor
_IMPORTS = ("gpn.experiment.cells", "scipy.linalg", "threadpoolctl")  # what nearly every worker needs


class SupervisedExecutor(Executor):
    """An executor whose workers can all be lost without an error."""

    def check(self) -> None:
        """Raise an error if no worker is left."""

    def has_lost(self, error: BaseException) -> bool:  # noqa: ARG002
        """Whether an error says only that a worker has left, so that another one may compute the same."""
        return False


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_kind(kind: str) -> str:
    """A kind of executor, if it is one.

    Raises:
        UsageError: it is not.
    """
    if kind not in KINDS:
        raise UsageError(
            f"the executor must be {' or '.join(KINDS)}, or a concurrent.futures.Executor, not {kind[:40]!r}"
        )
    return kind


@contextmanager
def naming(item: object) -> Iterator[None]:
    """Errors keep their type, which says what to do, and get a note that says where."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in {item}")
        raise


def submitted(
    items: Iterator[Item],
    submit: Submit[Item, Result],
    executor: Executor,
    limit: int,
    unfinished: dict[Item, None] | None = None,
) -> Generator[tuple[Item, Result], None, None]:
    """Items computed by an executor, at most `limit` outstanding; closing this cancels what is left.

    What was taken from `items` and not given back is in `unfinished`, in order.
    """
    outstanding: dict[Future[Result], Item] = {}
    unfinished = {} if unfinished is None else unfinished
    try:
        while True:
            for item in islice(items, limit - len(outstanding)):
                unfinished[item] = None
                with naming(item):
                    outstanding[submit(executor, item)] = item
            if not outstanding:
                return
            done = wait(outstanding, timeout=_LOOK, return_when=FIRST_COMPLETED).done
            if not done and isinstance(executor, SupervisedExecutor):
                executor.check()
            for future in done:
                item = outstanding.pop(future)
                if isinstance(executor, SupervisedExecutor) and _lost(future, executor):
                    items = chain([item], items)
                    continue
                with naming(item):
                    result = future.result()
                del unfinished[item]
                yield item, result
    finally:
        if outstanding and isinstance(executor, Processes):
            # the pool itself must cancel: if a signal ended its workers too, it fails on futures cancelled here
            executor.shutdown(wait=False, cancel_futures=True)
        else:
            for future in outstanding:
                future.cancel()


def _lost(future: Future[Any], executor: SupervisedExecutor) -> bool:
    error = None if future.cancelled() else future.exception()
    return error is not None and executor.has_lost(error)


def in_own_pool(
    items: Iterator[Item],
    submit: Submit[Item, Result],
    new_pool: Callable[[], Executor],
    workers: int,
    first: Executor | None = None,
) -> Generator[tuple[Item, Result], None, None]:
    """Items computed by a pool of our own; where workers died, what they left is computed by a new one.

    Args:
        items, submit: as for `submitted`.
        new_pool: makes a pool.
        workers: how many it has.
        first: a pool that is there already.
    """
    deaths = 0
    while True:
        unfinished: dict[Item, None] = {}
        with first or new_pool() as pool:
            outcomes = submitted(items, submit, pool, QUEUED_PER_WORKER * workers, unfinished)
            try:
                with closing(outcomes):
                    for outcome in outcomes:
                        deaths = 0
                        yield outcome
                return
            except BrokenExecutor as error:
                deaths += 1
                if deaths == _PATIENCE:
                    error.add_note(
                        f"worker processes died {deaths} times in a row, perhaps because memory ran out: try fewer"
                    )
                    raise
        items, first = chain(list(unfinished), items), None


class Processes(ProcessPoolExecutor):
    """A pool of processes that ignore Ctrl-C (this process decides) and never outlive this one.

    They are forked, where the system can, by a server that has imported what they need.

    Args:
        workers: how many.
        begin: what each of them calls first.
        alone: whether they need nothing of the script that is run. Then they do not import it: it would begin again in
            each of them, unless it is written for that.
    """

    def __init__(self, workers: int, begin: Callable[[], None], *, alone: bool) -> None:
        self._alone = alone
        served = "forkserver" in get_all_start_methods()
        context = get_context("forkserver" if served else "spawn")
        if served:
            context.set_forkserver_preload(list(_IMPORTS))
        super().__init__(workers, mp_context=context, initializer=_join_this_process, initargs=(begin,))

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Submit a call, and start a worker if there are too few."""
        script = sys.modules["__main__"]
        if self._alone:
            sys.modules["__main__"] = ModuleType("__main__")
        try:
            with signals_wait():  # a worker whose start is broken off would be unknown to the pool, and fail
                return super().submit(function, *arguments, **keywords)
        finally:
            sys.modules["__main__"] = script


def _join_this_process(begin: Callable[[], None]) -> None:
    """Begin a worker process: a killed parent cannot end its workers, so they watch it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
    begin()


def can_be_sent(work: Sequence[object]) -> bool:
    """Whether worker processes of this one can be given some work: it holds nothing of the user's script or notebook.

    >>> can_be_sent([print]), can_be_sent([lambda: 0])
    (True, False)
    """
    if current_process().daemon:  # such a process may have no children
        return False
    try:
        return b"__main__" not in pickle.dumps(work)
    except Exception:  # an object can raise anything when it is asked for its state
        return False


class Stopwatch:
    """Measures the time of a run and estimates what is left.

    Args:
        share: called for the share of the work that is done, between 0 and 1.
    """

    def __init__(self, share: Callable[[], float]) -> None:
        self._share, self._start, self._before = share, time.perf_counter(), share()

    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self._start

    def left(self) -> float:
        """Seconds until the end at the pace so far."""
        done = self._share() - self._before
        return self.elapsed() * (1 - self._share()) / done if done > 0 else 0.0
