"""Monte Carlo runs with the same bits for any number of workers, any executor, any order of completion.

A run is a list of cells. The trials of a cell are split into chunks whose size belongs to the cell, and each
chunk draws from a generator of its own, keyed by (experiment, cell, chunk). So a chunk is a pure function of
its key, and who computes it, and when, cannot matter.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gpn.engine.arguments import count
from gpn.experiment.executors import (
    LEAST_QUEUED,
    QUEUED_PER_WORKER,
    Processes,
    Stopwatch,
    available_cores,
    can_be_sent,
    check_kind,
    in_own_pool,
    naming,
    submitted,
)
from theory.errors import UsageError
from theory.numerics.threads import one_blas_thread

Arrays = dict[str, npt.NDArray[Any]]
Returned = Mapping[str, npt.NDArray[Any]]
Compute = Callable[[np.random.Generator, int], Returned]
Progress = Callable[[float, float, str], None]
"""Called with what is done, the total (0 if it is not known) and a few words, by everything that takes long."""
_GLANCE = 0.4  # seconds after which a run is judged by its pace
_LONG = 4.0  # seconds of work, from which on processes are worth their start


@dataclass(frozen=True, slots=True)
class Cell:
    """Independent trials of one kind: what one does, how many, and the identity of its random stream.

    Args:
        experiment: identity of the experiment, an integer in 0..2^32 - 1 that never changes its meaning.
        cell: identity of the cell in the experiment, likewise, in 0..2^64 - 1.
        compute: called with (generator, trials); returns arrays by name, each with `trials` as its first
            length. Must be picklable for executors that run in other processes.
        trials: how many trials in all, at least 1.
        chunk: how many trials one call of `compute` does, at least 1. The random numbers depend on it.
        cost: what one trial costs, in any unit; only the progress display reads it.
        label: what errors call the cell.
        first: number of the first chunk, at least 0: a later part of a cell of which chunks 0..first - 1 have been run.

    Raises:
        UsageError: an argument outside its range.
    """

    experiment: int
    cell: int
    compute: Compute
    trials: int
    chunk: int
    cost: float = 1.0
    label: str = ""
    first: int = 0

    def __post_init__(self) -> None:
        _check_key(self.experiment, self.cell)
        count("the number of trials", self.trials, 1)
        count("the number of trials in a chunk", self.chunk, 1)
        count("the number of the first chunk", self.first, 0)
        if not 0 <= self.cost < float("inf"):
            raise UsageError(f"the cost of a trial is {self.cost}; it must be a finite number, not negative")


class Store(Protocol):
    """Where finished chunks are kept, and found by a run that resumes (see `gpn.experiment.store`)."""

    def finished(self, cell: Cell) -> Iterator[tuple[int, Returned]]:
        """The chunks of a cell that were kept, each with its number."""

    def save_chunk(self, cell: Cell, number: int, arrays: Returned) -> None:
        """Keep a chunk; once this returns it must not be lost."""


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """Trials start..stop of the cell at a position in the run; number, start and stop count from its first chunk."""

    position: int
    cell: Cell
    number: int
    start: int
    stop: int

    def __str__(self) -> str:
        cell = self.cell
        before = cell.first * cell.chunk
        return (
            f"{cell.label or 'a cell without label'} (experiment {cell.experiment}, cell {cell.cell}), "
            f"chunk {cell.first + self.number}: trials {before + self.start} to {before + self.stop - 1} "
            f"of {before + cell.trials}"
        )


def generator(seed: int, experiment: int, cell: int, chunk: int) -> np.random.Generator:
    r"""The random generator of one chunk.

    SFC64 (Doty-Humphrey 2010, PractRand), the quickest of NumPy's bit generators at standard normals, seeded
    by `SeedSequence(seed, spawn_key=(experiment, cell, chunk))` (O'Neill 2015). The allowed ranges are those
    in which different arguments give the hash different words: a seed is padded to four words of 32 bits, and
    of the key the cell alone may take two.

    Args:
        seed: the seed of the run, an integer in 0..2^128 - 1.
        experiment, chunk: identity of the experiment, and of the chunk in its cell, integers in 0..2^32 - 1.
        cell: identity of the cell in the experiment, an integer in 0..2^64 - 1.

    Raises:
        UsageError: an argument outside its range.

    >>> generator(0, 1, 2, 3).integers(1000, size=4)
    array([367, 798, 500,  19])
    """
    seed = count("the seed", seed, 0, 2**128 - 1)
    _check_key(experiment, cell)
    count("the identity of the chunk", chunk, 0, 2**32 - 1)
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(experiment, cell, chunk))))


@one_blas_thread
def run(
    cells: Sequence[Cell],
    seed: int,
    *,
    executor: Executor | str | None = None,
    workers: int | None = 1,
    progress: Progress | None = None,
    store: Store | None = None,
) -> list[Arrays]:
    """Run all cells and return the arrays of each, trials in the order of their chunks.

    The result depends on the cells and the seed alone: the same bits for any number of workers, any executor, any
    order of completion, and however often the run was killed and resumed from its store. On an error or an interrupt
    all chunks that have not started are cancelled; the error is raised as it is, with a note that names the cell.

    Args:
        cells: what to run; no two with the same (experiment, cell).
        seed: an integer in 0..2^128 - 1.
        executor: any `concurrent.futures.Executor`; it is not shut down. Or "processes" or "threads", a pool of
            `workers` of its own. By default this thread begins, and after a moment what is left goes to processes if it
            is more than a few seconds and can be sent to them, else to threads. Processes that die are replaced,
            unless they die again and again.
        workers: how many chunks are computed at once, at least 1; None for one on each available core. With
            an executor of one's own only a hint of how many chunks to keep queued.
        progress: called from this thread with (done, total, words), in units of cost: first with what the store holds,
            then after each chunk.
        store: keeps each chunk as it is finished, and gives back those of an earlier run; used by this thread only.

    Raises:
        UsageError: seed, workers or cells outside their range.
        TypeError, ValueError: a cell's `compute` returned something else than arrays over its trials.

    >>> def dice(rng, trials):
    ...     return {"points": rng.integers(1, 7, size=trials)}
    >>> [result] = run([Cell(experiment=1, cell=0, compute=dice, trials=5, chunk=2)], seed=0)
    >>> result["points"]
    array([2, 3, 6, 1, 5])
    """
    seed, workers = checked_run(seed, workers)
    _check_identities(cells)
    if isinstance(executor, str):
        check_kind(executor)
    results: list[Arrays] = [{} for _ in cells]
    done = [0] * len(cells)

    def collect(chunk: _Chunk, arrays: Returned) -> None:
        with naming(chunk):
            _copy(arrays, results[chunk.position], chunk)
        done[chunk.position] += chunk.stop - chunk.start

    def report() -> None:
        if progress is not None:
            progress(_cost(cells, done), _cost(cells, [cell.trials for cell in cells]), "simulating")

    stored: set[tuple[int, int]] = set()
    for position, cell in enumerate(cells):
        for number, arrays in store.finished(cell) if store is not None else ():
            collect(_chunk(position, cell, number), arrays)
            stored.add((position, number))
    report()
    left = (chunk for chunk in _chunks(cells) if (chunk.position, chunk.number) not in stored)
    share = partial(_share, cells, done)
    with closing(_outcomes(left, cells, seed, executor, workers, share)) as outcomes:
        for chunk, arrays in outcomes:
            collect(chunk, arrays)
            if store is not None:
                store.save_chunk(chunk.cell, chunk.number, arrays)
            report()
    return results


def checked_run(seed: int, workers: int | None) -> tuple[int, int]:
    """The seed and the number of workers of a run, the latter filled in.

    Raises:
        UsageError: one of them is outside its range.

    >>> checked_run(7, 2)
    (7, 2)
    """
    seed = count("the seed", seed, 0, 2**128 - 1)
    return seed, available_cores() if workers is None else count("the number of workers", workers, 1)


def _outcomes(
    chunks: Iterator[_Chunk],
    cells: Sequence[Cell],
    seed: int,
    executor: Executor | str | None,
    workers: int,
    share: Callable[[], float],
) -> Generator[tuple[_Chunk, Returned], None, None]:
    """Each chunk with its arrays, in whatever order they finish; `share` is that of the work that is done."""
    computes, by_default = [cell.compute for cell in cells], executor is None
    if isinstance(executor, Executor):
        limit = max(LEAST_QUEUED, QUEUED_PER_WORKER * workers)
        yield from submitted(chunks, partial(_submit, seed=seed), executor, limit)
        return
    if executor is None:
        watch = Stopwatch(share)
        for chunk in chunks:
            yield chunk, _computed(chunk, seed)
            if workers > 1 and watch.elapsed() > _GLANCE:
                break
        else:
            return
        executor = "processes" if watch.left() > _LONG and can_be_sent(computes) else "threads"
    if executor == "threads":
        yield from in_own_pool(chunks, partial(_submit, seed=seed), lambda: ThreadPoolExecutor(workers), workers)
        return
    new_pool = partial(Processes, workers, partial(_begin_worker, computes), alone=can_be_sent(computes))
    with new_pool() as pool:
        begun = [pool.submit(abs, 0) for _ in range(workers)]
        for chunk in chunks if by_default else ():  # this process works until the others have begun
            yield chunk, _computed(chunk, seed)
            if all(call.done() for call in begun):
                break
        yield from in_own_pool(chunks, partial(_submit_given, seed=seed), new_pool, workers, pool)


_given: list[Compute] = []
"""In a worker process of our own: what the cells of the run compute, sent once and not with each chunk."""


def _computed(chunk: _Chunk, seed: int) -> Returned:
    with naming(chunk):
        return _compute(*_task(chunk, seed))


def _submit(executor: Executor, chunk: _Chunk, seed: int) -> Future[Returned]:
    return executor.submit(_compute, *_task(chunk, seed))


def _submit_given(executor: Executor, chunk: _Chunk, seed: int) -> Future[Returned]:
    return executor.submit(_compute_given, chunk.position, *_task(chunk, seed)[1:])


def _begin_worker(computes: Sequence[Compute]) -> None:
    _given[:] = computes
    one_blas_thread.__enter__()  # for the life of the worker: to enter it for each chunk takes milliseconds


def _compute_given(position: int, seed: int, key: tuple[int, int, int], trials: int) -> Returned:
    return _compute(_given[position], seed, key, trials)


def _compute(compute: Compute, seed: int, key: tuple[int, int, int], trials: int) -> Returned:
    """What a worker does; of a cell it gets `compute` alone, so that little is sent to it."""
    with one_blas_thread:  # also in a worker that another program has started
        return compute(generator(seed, *key), trials)


def _task(chunk: _Chunk, seed: int) -> tuple[Compute, int, tuple[int, int, int], int]:
    key = (chunk.cell.experiment, chunk.cell.cell, chunk.cell.first + chunk.number)
    return chunk.cell.compute, seed, key, chunk.stop - chunk.start


def _chunks(cells: Sequence[Cell]) -> Iterator[_Chunk]:
    for position, cell in enumerate(cells):
        for number in range(-(-cell.trials // cell.chunk)):
            yield _chunk(position, cell, number)


def _chunk(position: int, cell: Cell, number: int) -> _Chunk:
    start = number * cell.chunk
    return _Chunk(position, cell, number, start, min(start + cell.chunk, cell.trials))


def _copy(arrays: Returned, result: Arrays, chunk: _Chunk) -> None:
    """Copy the arrays of a chunk to their place; the first chunk to finish lays out those of the cell."""
    if not isinstance(arrays, Mapping):
        raise TypeError(f"a cell's `compute` must return arrays by name, not {type(arrays).__name__}")
    for name, array in arrays.items():
        if np.ndim(array) < 1 or len(array) != chunk.stop - chunk.start:
            raise ValueError(
                f"{name!r} has shape {np.shape(array)} for {chunk.stop - chunk.start} trials; "
                "the first length of an array must be the number of trials"
            )
    if not result:
        for name, array in arrays.items():
            result[name] = np.empty((chunk.cell.trials, *array.shape[1:]), array.dtype)
    layouts = [{name: (a.shape[1:], a.dtype) for name, a in some.items()} for some in (arrays, result)]
    if layouts[0] != layouts[1]:
        raise ValueError(f"chunks of one cell returned different arrays: {layouts[0]} and {layouts[1]}")
    for name, array in arrays.items():
        result[name][chunk.start : chunk.stop] = array


def _share(cells: Sequence[Cell], done: Sequence[int]) -> float:
    """The share of the cost that is done; of the trials where none costs anything."""
    whole = [cell.trials for cell in cells]
    total = _cost(cells, whole)
    return _cost(cells, done) / total if total else sum(done) / max(1, sum(whole))


def _cost(cells: Sequence[Cell], trials: Sequence[int]) -> float:
    """The cost of some trials of each cell, added up in one order: with all done, exactly the total."""
    return float(sum(cell.cost * number for cell, number in zip(cells, trials, strict=True)))


def _check_identities(cells: Sequence[Cell]) -> None:
    for key, number in Counter((cell.experiment, cell.cell) for cell in cells).items():
        if number > 1:
            raise UsageError(
                f"{number} cells are number {key[1]} of experiment {key[0]} and would draw the same random "
                "numbers; give each its own number"
            )


def _check_key(experiment: int, cell: int) -> None:
    count("the identity of the experiment", experiment, 0, 2**32 - 1)
    count("the identity of the cell", cell, 0, 2**64 - 1)
