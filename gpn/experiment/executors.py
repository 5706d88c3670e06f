"""Pools of threads or processes of this machine, where chunks are computed."""

import os
import signal
import threading
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context, parent_process

from theory.errors import UsageError

KINDS = ("threads", "processes")


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


def local_pool(kind: str, workers: int) -> Executor:
    """A pool of threads, or of processes that ignore Ctrl-C (this process decides) and never outlive this one.

    Args:
        kind: "threads" or "processes".
        workers: how many.
    """
    if check_kind(kind) == "threads":
        return ThreadPoolExecutor(workers, thread_name_prefix="gpn")
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_join_this_process)


def _join_this_process() -> None:
    """Begin a worker process: a killed parent cannot end its workers, so they watch it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
