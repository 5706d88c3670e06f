"""Long commands: on which machines they run, what their store holds already, and how they end early."""

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from theory.errors import UsageError

LOST, INTERRUPTED, TERMINATED = 75, 130, 143  # 75 is EX_TEMPFAIL of sysexits.h: try again later
_BESIDE_RESUME = (
    "spec",
    "derivative",
    "resume",
    "trust",
    "workers",
    "executor",
    "scheduler",
    "memory",
    "details",
    "as_json",
)


class Ended(Exception):
    """A command that ended early: the sentence to print and the exit code."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.sentence, self.code = sentence, code


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as Ctrl-C does."""


@contextmanager
def endings(context: "typer.Context") -> Iterator[None]:
    """Turn whatever ends a run early into `Ended`, with the note of its store on how to resume it.

    Ctrl-C and SIGTERM end a run with the codes that shells give them; lost workers, and a store that cannot be
    written, end it with 75.

    Args:
        context: the context of the command, which knows what was typed.
    """
    from gpn.experiment.dask_cluster import NoWorkers, lost_workers
    from gpn.experiment.store import StoreError

    words = partial(_words, typed(context))
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except _Terminated as error:
        raise Ended(words("terminated", error), TERMINATED) from None
    except KeyboardInterrupt as error:
        raise Ended(words("interrupted", error), INTERRUPTED) from None
    except StoreError as error:
        raise Ended(words(str(error), error), LOST) from error
    except NoWorkers as error:
        raise Ended(words(str(error), error), LOST) from error
    except lost_workers() as error:
        raise Ended(words(f"the workers were lost ({str(error) or type(error).__name__})", error), LOST) from error
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def place(
    executor: str | None, workers: int | None, scheduler: str | None, memory: str | None
) -> Iterator[dict[str, Any]]:
    """Choose where to compute, as arguments of `Resources.read`; leave a cluster when the run has ended.

    Args:
        executor: "threads" or "processes".
        workers: how many threads or processes.
        scheduler: the address of a Dask scheduler to use instead.
        memory: the memory that they may take together.

    Raises:
        UsageError: a cluster together with --workers or --executor, or a cluster that cannot be used.
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
    """Show and write a report; an interrupt gets a note that the run itself is finished.

    Args:
        folder: the folder of the run store, if there is one.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        from gpn.experiment.identity import resuming_command

        if folder is not None:
            error.add_note(f"the run itself is finished; to resume: {resuming_command(folder)}")
        raise


def report_unfinished(folder: Path) -> None:
    """Report on standard error what an unfinished run has left in a folder.

    Args:
        folder: the folder of the results.

    Raises:
        UsageError: another process runs there.
    """
    from gpn.experiment import store as run_store

    summary = run_store.read_summary(folder)
    if summary is not None and summary.chunks and not summary.finished:
        chunks = f"{summary.chunks} finished chunks of an unfinished run are in {folder / run_store.FILE}"
        print(f"gpn: {chunks}; the same run resumes with them", file=sys.stderr, flush=True)


def report_finished(folder: Path) -> None:
    """Report on standard error that there is nothing left to resume in a folder.

    Args:
        folder: the folder of the results.
    """
    from gpn.experiment import store as run_store

    summary = run_store.read_summary(folder)
    if summary is not None and summary.finished:
        words = f"the run in {folder} was finished already; its report is made again from {run_store.FILE}"
        print(f"gpn: {words}", file=sys.stderr, flush=True)


def check_resume(context: "typer.Context") -> list[str]:
    """Refuse options that --resume takes from the run store; return the functions that the user has named again.

    Args:
        context: the context of the command, which knows what was typed.

    Raises:
        UsageError: such an option was given.
    """
    typed = [
        parameter
        for parameter in context.command.params
        if getattr(context.get_parameter_source(parameter.name or ""), "name", "") == "COMMANDLINE"
    ]
    given = [parameter.opts[-1] for parameter in typed if parameter.name not in _BESIDE_RESUME]
    if given:
        raise UsageError(
            f"--resume continues the run as it was begun; leave out {', '.join(given)} (--workers, --executor, "
            "--scheduler, --memory and --json may differ)"
        )
    return [context.params[parameter.name] for parameter in typed if parameter.name in ("spec", "derivative")]


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise _Terminated


def _words(command: str, what: str, error: BaseException) -> str:
    """What happened, with the note of the run store, which is the last one, if there is a store."""
    notes = [note for note in getattr(error, "__notes__", []) if "resume" in note]
    same = "to resume, run the same again with the same store"
    return "; ".join([what, *(note.replace(same, f"to resume: {command}") for note in notes[-1:])])


def typed(context: "typer.Context") -> str:
    """Return the command as it was typed.

    Args:
        context: of the command.
    """
    return shlex.join(["gpn", *(context.obj or [])])
