"""How a long command is run from the command line: on which machines, with which store, and how it ends early."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from theory.errors import UsageError

LOST, INTERRUPTED, TERMINATED = 75, 130, 143  # 75 is EX_TEMPFAIL of sysexits.h: try again later
_BESIDE_RESUME = ("resume", "workers", "executor", "scheduler", "memory", "as_json")


class Ended(Exception):
    """A command that ended before its time: the sentence to print and the exit code."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.sentence, self.code = sentence, code


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as Ctrl-C does."""


@contextmanager
def endings() -> Iterator[None]:
    """Turn whatever ends a run early into `Ended`, with the words of its store on how to go on.

    Ctrl-C and SIGTERM end it with the codes that shells give them, lost workers and a store that cannot be written
    with 75.
    """
    from gpn.experiment.dask_cluster import lost_workers
    from gpn.experiment.store import StoreError

    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except _Terminated as error:
        raise Ended(_words("terminated", error), TERMINATED) from None
    except KeyboardInterrupt as error:
        raise Ended(_words("interrupted", error), INTERRUPTED) from None
    except StoreError as error:
        raise Ended(_words(str(error), error), LOST) from error
    except lost_workers() as error:
        raise Ended(_words(f"the workers were lost ({str(error) or type(error).__name__})", error), LOST) from error
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def place(
    executor: str | None, workers: int | None, scheduler: str | None, memory: str | None
) -> Iterator[dict[str, Any]]:
    """Where to compute, as arguments of `gpn.verify`; a cluster is left when the run has ended.

    Args:
        executor: "threads" or "processes".
        workers: how many of them.
        scheduler: address of a Dask scheduler instead.
        memory: what they may take together.

    Raises:
        UsageError: a cluster and what is not for clusters, or a cluster that cannot be used.
    """
    from gpn.experiment import dask_cluster, executors

    if scheduler is None:
        yield {"executor": executor and executors.check_kind(executor), "workers": workers, "memory": memory}
        return
    if executor is not None or workers is not None:
        raise UsageError("--scheduler brings its own workers; leave out --workers and --executor")
    with dask_cluster.dask_cluster(scheduler) as cluster:
        yield {"executor": cluster.executor, "workers": cluster.threads, "memory": memory or cluster.memory}


@contextmanager
def after_the_run(folder: Path | None) -> Iterator[None]:
    """While a report is shown and written: what interrupts this gets a note that nothing need be computed again.

    Args:
        folder: of the run store, if there is one.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        from gpn.experiment import store as run_store

        if folder is not None:
            error.add_note(f"the run itself is finished; to go on: {run_store.resuming_command(folder)}")
        raise


def report_unfinished(folder: Path) -> None:
    """Say on standard error what an unfinished run has left in a folder.

    Args:
        folder: of the results.

    Raises:
        UsageError: another process runs there.
    """
    from gpn.experiment import store as run_store

    found = run_store.read_summary(folder)
    if found is not None and found.chunks and not found.finished:
        where = folder / run_store.FILE
        tell = (
            f"gpn: {found.chunks} finished chunks of an unfinished run are in {where}; the same run goes on with them"
        )
        print(tell, file=sys.stderr, flush=True)


def check_resume(context: "typer.Context") -> None:
    """Refuse options that --resume takes from the run store.

    Args:
        context: of the command.

    Raises:
        UsageError: such an option was given.
    """
    given = [
        parameter.opts[-1] if parameter.param_type_name == "option" else str(parameter.metavar or parameter.name)
        for parameter in context.command.params
        if parameter.name not in _BESIDE_RESUME
        and getattr(context.get_parameter_source(parameter.name or ""), "name", "") == "COMMANDLINE"
    ]
    if given:
        raise UsageError(
            f"--resume goes on with the run as it was begun; leave out {', '.join(given)} (--workers, --executor, "
            "--scheduler, --memory and --json may differ)"
        )


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise _Terminated


def _words(what: str, error: BaseException) -> str:
    """What happened, and the last note: that of the run store, if there was one."""
    notes = [note for note in getattr(error, "__notes__", []) if "to go on" in note]
    return "; ".join([what, *notes[-1:]])
