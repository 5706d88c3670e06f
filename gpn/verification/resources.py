"""Where a verification runs: workers, run store, and how much of a memory budget each worker may have."""

import os
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace

from gpn.experiment import cells
from gpn.experiment.executors import LEAST_QUEUED, QUEUED_PER_WORKER
from gpn.experiment.runs import Cell, Progress, checked_run
from gpn.experiment.streams import chunk_size
from gpn.sampling import memory, rare_events, sampler
from gpn.sampling.memory import PROGRAM
from gpn.verification import rounds
from gpn.verification.plan import Job
from gpn.verification.settings import DEFAULT_DEEP_TRIALS, DENSE, Settings
from theory.errors import UsageError

WORKER = 192 * 2**20
"""Bytes that the interpreter and the libraries take in a worker process."""


_NUMBER = 8  # bytes
_RATIOS = 3  # numbers of a trial of one layer
_BESIDE = 5  # numbers for each trial and layer of a chunk, beside those of the sampler
_SAMPLES = 2  # copies of the inputs that a chunk draws
_RARE = _NUMBER * 12 * rare_events.BLOCK  # bytes for a dozen arrays of tilted draws


@dataclass(frozen=True, slots=True)
class Budget:
    """The memory of a run, all of its workers together.

    Args:
        total: the memory in bytes.
        workers: the number of chunks that are computed at once.
        processes: the number of worker processes beside this one; 0 for threads.
        inputs: the bytes that real inputs and their copies take.
    """

    total: int
    workers: int
    processes: int
    inputs: int = 0

    @classmethod
    def read(cls, size: int | str | None, workers: int, executor: Executor | str | None) -> "Budget":
        """Read the memory argument of `gpn.verify`.

        Args:
            size: bytes, a text such as "4GiB", or None for half of what is free, beside the program itself.
            workers: the number of chunks that are computed at once.
            executor: what computes them.

        Raises:
            UsageError: the text is not a size.

        >>> Budget.read("4GiB", 2, None)
        Budget(total=4294967296, workers=2, processes=0, inputs=0)
        """
        in_threads = executor in (None, "threads") or isinstance(executor, ThreadPoolExecutor)
        total = memory.budget(size) + (PROGRAM if size is None else 0)  # which is loaded, and no longer free
        return cls(total, workers, 0 if in_threads else workers)

    def share(self, results: int = 0) -> int:
        """Return the bytes that one worker may take, beside its interpreter.

        Args:
            results: the bytes of results that this process keeps.
        """
        servers = self.processes and self.processes + 1  # and the process that they are forked from
        return (self.total - PROGRAM - servers * WORKER - self.inputs - results) // self.workers

    def check(self, settings: Settings) -> None:
        """Refuse networks that do not fit, however their layers are kept.

        Args:
            settings: what is verified.

        Raises:
            UsageError: one of them does not.
        """
        trials = settings.trials or settings.cap or DEFAULT_DEEP_TRIALS
        if settings.method == DENSE:
            width, depth = settings.widths[-1], settings.depths[-1]
            memory.check_dense(settings.layers or [width] * (depth + 1), 1, 1, self.share())
        for width in settings.widths:
            least = max(_RARE, *(_least(width, depth, trials) for depth in (1, *settings.depths)))
            if least > self.share():
                whole = memory.in_words(self.total - self.workers * (self.share() - least))
                inputs = f"{memory.in_words(self.inputs)} for the inputs and their copies, " if self.inputs else ""
                raise UsageError(
                    f"networks of width {width} and depth {settings.depths[-1]} need at least {whole} of memory, "
                    f"{inputs}{memory.in_words(least)} for each of {self.workers} workers and the rest for the program "
                    f"itself, more than the {memory.in_words(self.total)} that may be taken; allow more "
                    "memory, or take fewer workers or a smaller width"
                )

    def fit(self, jobs: Sequence[Job], in_rounds: bool) -> list[Job]:
        """Return the jobs, each with the memory that a worker may take for it; this changes no bit of their results.

        Args:
            jobs: the jobs of a run.
            in_rounds: whether cells are run in rounds, of which only the first keeps more than counts.

        Raises:
            UsageError: the results alone do not fit.
        """
        held = [rounds.first_round(job) if in_rounds else job.cell.trials for job in jobs]
        results = sum(trials * _of_trial(job.cell) for trials, job in zip(held, jobs, strict=True))
        if in_rounds:
            results += _NUMBER * _RATIOS * (rounds.BATCH_TRIALS + sum(job.cell.chunk for job in jobs))
        queued = max(min(job.cell.trials, self._queued(job.cell)) * _of_trial(job.cell) for job in jobs)
        fitted = []
        for job in jobs:
            work, trials = job.cell.compute, min(job.cell.chunk, job.cell.trials)
            depth = work.depth if isinstance(work, cells.Deep) else 1
            each = self.share(results + queued) - _beside(job.cell)
            if isinstance(work, cells.OneStep | cells.Deep) and each < _least(work.width, depth, trials):
                raise UsageError(
                    f"the results of so many trials take {memory.in_words(results)} of memory, and the "
                    f"{memory.in_words(self.total)} that may be taken do not suffice for them and the work; allow "
                    "more memory, or run fewer trials"
                )
            if isinstance(work, cells.Deep):
                job = replace(job, cell=replace(job.cell, compute=replace(work, memory=each)))
            fitted.append(job)
        return fitted

    def _queued(self, cell: Cell) -> int:
        """Trials of a cell whose results may wait to be put in their place."""
        return max(LEAST_QUEUED if self.processes else 1, QUEUED_PER_WORKER * self.workers) * cell.chunk


@dataclass(frozen=True, slots=True)
class Resources:
    """What a run may use; nothing of it changes a bit of the results.

    Args:
        executor, workers, progress, store, replace_finished: as for `gpn.verify`.
        budget: the memory.
    """

    executor: Executor | str | None
    workers: int
    budget: Budget
    progress: Progress | None
    store: str | os.PathLike[str] | None
    replace_finished: bool

    def suited(self, settings: Settings) -> "Resources":
        """The same for a run with real inputs; by default in threads where processes would take half of the memory.

        Args:
            settings: what is verified.
        """
        as_asked = replace(self.budget, inputs=_of_inputs(settings, self.budget.processes))
        if self.executor is not None or self.workers == 1:
            return replace(self, budget=as_asked)
        inputs = _of_inputs(settings, self.workers)
        in_processes = replace(self.budget, processes=self.workers, inputs=inputs)
        if in_processes.share() < as_asked.share() / 2:
            return replace(self, executor="threads", budget=as_asked)
        return replace(self, budget=in_processes)

    @classmethod
    def read(
        cls,
        executor: Executor | str | None = None,
        workers: int | None = None,
        memory: int | str | None = None,
        progress: Progress | None = None,
        store: str | os.PathLike[str] | None = None,
        replace_finished: bool = False,
    ) -> "Resources":
        """Check the arguments of `gpn.verify`.

        Raises:
            UsageError: no number of workers, or no size of memory.
        """
        _, workers = checked_run(0, workers)
        return cls(executor, workers, Budget.read(memory, workers, executor), progress, store, replace_finished)


def _of_inputs(settings: Settings, processes: int) -> int:
    """Bytes of real inputs: as they were read, scaled for each width, and while one of these is made.

    Each worker process is sent them all, and each time there are two copies for a moment.
    """
    if settings.loaded is None:
        return 0
    arrays = (settings.loaded.vectors, settings.loaded.labels)
    each = sum(array.nbytes for array in arrays if array is not None)
    scaled = len(settings.widths) * each
    return 2 * each + scaled + (2 * scaled * (1 + processes) if processes else 0)


def _least(width: int, depth: int, trials: int) -> int:
    """Bytes for a chunk of networks, of at most so many, of which one layer at a time is kept."""
    trials = min(trials, chunk_size(width, depth))
    return memory.least_memory(width, depth, trials, min(sampler.block_trials(width, depth), trials))


def _beside(cell: Cell) -> int:
    """Bytes that a chunk takes beside those of the sampler: inputs that are drawn, and logarithms."""
    work = cell.compute
    if not isinstance(work, cells.Deep):
        return 0
    inputs = 0 if work.inputs is None else _SAMPLES * work.width
    return _NUMBER * min(cell.chunk, cell.trials) * (_BESIDE * (work.depth + 1) + inputs)


def _of_trial(cell: Cell) -> int:
    """Bytes of the results of one trial, twice where quantiles of all layers are wanted."""
    work = cell.compute
    if isinstance(work, cells.Deep):
        return _NUMBER * (1 + 2 * work.depth * work.keep_layers)
    return _NUMBER * (1 if isinstance(work, cells.RareEvent) else _RATIOS)
