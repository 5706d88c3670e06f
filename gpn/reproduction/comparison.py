"""The paper's training experiment: very deep networks beside their usual competitors, over several seeds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from gpn.data.datasets import Dataset, ThinShell, limited, load_dataset
from gpn.engine.arguments import count
from gpn.experiment import runs as experiment
from gpn.experiment import store as run_store
from gpn.experiment.fingerprint import digest
from gpn.experiment.identity import Identity
from gpn.experiment.versions import computing_versions
from gpn.reproduction.comparison_grid import (
    EXTENSIONS,
    RATE_FACTORS,
    RECIPES,
    Candidate,
    Trial,
    beyond,
    candidates,
    pick,
)
from gpn.reproduction.comparison_results import ComparisonReport, Measured, Outcome, Settings
from gpn.reproduction.comparison_runs import Budget, Run, predictions
from gpn.reproduction.gradient_settings import check_level, several
from theory.errors import UsageError
from theory.numerics.threads import one_blas_thread

Item = TypeVar("Item")
ACTIVATIONS = ("selu", "relu", "gelu", "tanh")
DEPTHS = (10, 50, 200)

QUICK: Mapping[str, Any] = MappingProxyType(
    {
        "activations": ("selu",),
        "depths": (3, 12),
        "recipes": ("gpn", "gpn-other", "plain-gaussian", "plain-gaussian-bn", "linear"),
        "width": 16,
        "seeds": 2,
        "epochs": 4,
        "samples": 400,
        "factors": (0.5, 2.0),
    }
)
"""Options of a run that takes seconds and shows only that everything works."""


@one_blas_thread
def training_comparison(
    activations: Sequence[object] = ACTIVATIONS,
    inputs: str | Path | Dataset = "digits",
    *,
    depths: Sequence[int] = DEPTHS,
    recipes: Sequence[str] = tuple(RECIPES),
    width: int = 64,
    seeds: int = 3,
    epochs: int = 20,
    batch: int = 64,
    samples: int = 2000,
    factors: Sequence[float] = RATE_FACTORS,
    level: float = 0.95,
    seed: int = 0,
    store: str | Path | None = None,
    replace_finished: bool = False,
    workers: int | None = 1,
    executor: Executor | str | None = None,
    progress: experiment.Progress | None = None,
) -> ComparisonReport:
    r"""Train networks of several depths, normalized and not, with the usual remedies beside them.

    Each kind of network (activation, recipe, depth) first tries every learning rate of the same small grid, with one
    seed, for half of the epochs, on four fifths of the training samples; the rate with the highest accuracy on the
    last fifth is taken (`gpn.reproduction.comparison_grid.pick`). Where it is the smallest or the largest, further ones
    are tried until it lies inside, five times at most (`gpn.reproduction.comparison_grid.beyond`). With that rate
    `seeds` networks with other seeds are trained on all training samples and tested once, after the last epoch. A run
    that diverges or learns nothing is a result.

    Source: the experiments on real data of Y. Lu, S. Gould, T. Ajanthan (2020), arXiv 2006.12169; described in
    docs/reproduce-training.md.

    Args:
        activations: as for `gpn.activation`.
        inputs: as for `gpn.train`.
        depths: hidden layers.
        recipes: keys of `gpn.reproduction.comparison_grid.RECIPES`.
        width: n.
        seeds: measured networks of each kind, at least 2.
        epochs, batch: the passes through the data of each of them, and the samples of a step.
        samples: the most to train on, and the most to test, drawn once; the digits are fewer.
        factors: learning rates to try first, as multiples of `gpn.training.start.default_rate`.
        level: confidence level of each interval.
        seed: the learning rates are tried with this one, the measured networks have seed + 1, seed + 2, ...
        store: a folder; every finished run is stored there in `run.sqlite` and reused when it is asked for
            again, with more activations, depths or seeds too. Other budgets or another version need another folder.
        replace_finished: whether a finished run of another budget or version may be deleted from `store`.
        workers: processes, None for one on each core; 1 computes in this process. The numbers are the same bits.
        executor: "threads", "processes" or any `concurrent.futures.Executor` instead.
        progress: called with (done, total, words) as runs finish.

    Returns:
        The report: a row for each kind of network, every run, curves, gradient norms; it draws and saves itself.

    Raises:
        UsageError: an argument outside its range, an activation without normalization, data that cannot be read.

    >>> report = training_comparison(["relu"], depths=[2], recipes=["gpn"], width=8, seeds=2, epochs=2, samples=128,
    ...                              factors=[1.0])
    >>> report
    <ComparisonReport relu: width 8, depth 2, 2 seeds>
    """
    seed, workers = experiment.checked_run(seed, workers)
    layers = sorted({count("depths", depth) for depth in several("depths", depths)})
    kinds = list(candidates(several("activations", activations), layers, _recipes(recipes)))
    data = inputs if isinstance(inputs, Dataset) else load_dataset(inputs)
    used = limited(data, count("samples", samples, minimum=10))
    budget = Budget(
        width=count("width", width, minimum=2),
        epochs=count("epochs", epochs),
        trial_epochs=-(-epochs // 2),
        batch=count("batch", batch, minimum=2),
        samples=samples,
    )
    settings = _settings(used, budget, count("seeds", seeds, minimum=2), factors, check_level(level), seed)
    work = partial(Run, budget=budget, data=data if data is inputs else str(inputs), digest=digest(used.arrays))
    place: Executor | str | None = "processes" if executor is None and workers > 1 else executor
    # A store may be extended by activations, depths and seeds: every run in it has an identity of its own.
    common = {"experiment": "training comparison", "seed": seed, "data": digest(used.arrays), **asdict(budget)}
    identity = Identity(common, dict(computing_versions()))
    with (
        nullcontext() if store is None else run_store.open_store(store, identity, replace_finished=replace_finished)
    ) as finished:
        run_cells = partial(experiment.run, seed=seed, executor=place, workers=workers, store=finished)
        return ComparisonReport(settings, tuple(_measure(kinds, settings, work, run_cells, progress)))


def _measure(
    kinds: Sequence[Candidate],
    settings: Settings,
    work: Callable[..., Run],
    run_cells: Callable[..., list[experiment.Arrays]],
    progress: experiment.Progress | None,
) -> Iterator[Measured]:
    """Try every learning rate, pick one for each kind of network, and train with it."""
    tried = [
        work(kind, rate, settings.seed, validate=True)
        for kind in kinds
        for rate in kind.rates(settings.budget.width, settings.classes, settings.correlation, settings.factors)
    ]
    cost_of_trials = float(sum(run.cell().cost for run in tried))
    cost = cost_of_trials + settings.seeds * settings.budget.epochs * sum(kind.depth for kind in kinds)

    if progress is not None:
        measured_runs = settings.seeds * len(kinds)
        progress(0.0, cost, f"{len(tried)} short runs that try learning rates, then {measured_runs} that are measured")

    def compute(runs: Sequence[Run], before: float) -> list[experiment.Arrays]:
        listen = progress and (lambda done, _total, _words: progress(before + done, cost, "training"))
        return run_cells([run.cell() for run in runs], progress=listen)

    def trial(runs: Sequence[Run], before: float) -> list[Trial]:
        return [run.trial(arrays) for run, arrays in zip(runs, compute(runs, before), strict=True)]

    trials = [list(group) for group in _groups(trial(tried, 0.0), len(settings.factors))]
    announce = partial(progress, cost_of_trials, cost) if progress is not None else lambda _: None
    _extend(trials, kinds, lambda kind, rate: work(kind, rate, settings.seed, validate=True), run_cells, announce)
    picked = [pick(group) for group in trials]
    measured = [
        work(kind, trial.rate, settings.seed + order, validate=False)
        for kind, trial in zip(kinds, picked, strict=True)
        for order in range(1, settings.seeds + 1)
    ]
    outcomes = [
        Outcome.of({name: array[0] for name, array in arrays.items()}, run.seed, settings)
        for run, arrays in zip(measured, compute(measured, cost_of_trials), strict=True)
    ]
    rows = zip(kinds, map(tuple, trials), picked, _groups(outcomes, settings.seeds), predictions(kinds), strict=True)
    return (Measured(*row) for row in rows)


def _extend(
    trials: Sequence[list[Trial]],
    kinds: Sequence[Candidate],
    work: Callable[[Candidate, float], Run],
    run_cells: Callable[..., list[experiment.Arrays]],
    announce: Callable[[str], object],
) -> None:
    """Try further rates of every kind of network whose best rate lies at an end of those tried so far."""
    for _ in range(EXTENSIONS):
        ends = [(group, kind, beyond(group)) for group, kind in zip(trials, kinds, strict=True)]
        wanted = [(group, work(kind, rate)) for group, kind, rate in ends if rate is not None]
        if not wanted:
            return
        announce(f"{len(wanted)} best rates lie at an end: further ones are tried")
        results = run_cells([run.cell() for _, run in wanted], progress=None)
        for (group, run), arrays in zip(wanted, results, strict=True):
            group.append(run.trial(arrays))


def _groups(items: Sequence[Item], size: int) -> list[tuple[Item, ...]]:
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]


def _settings(data: Dataset, budget: Budget, seeds: int, factors: Sequence[float], level: float, seed: int) -> Settings:
    if not len(factors) or not all(0 < factor < float("inf") for factor in factors):
        raise UsageError(f"factors must be positive numbers, such as {list(RATE_FACTORS)}, not {factors!r}")
    return Settings(
        budget=budget,
        seeds=seeds,
        factors=tuple(sorted({float(factor) for factor in factors})),
        level=level,
        seed=seed,
        data=data.name,
        classes=data.classes,
        correlation=ThinShell(None, 1.0).correlation(data.x_train),
        train_samples=len(data.x_train),
        test_samples=len(data.x_test),
        commonest=float(np.bincount(data.y_test).max() / len(data.y_test)),
    )


def _recipes(recipes: Sequence[str]) -> list[str]:
    unknown = [recipe for recipe in several("recipes", recipes) if recipe not in RECIPES]
    if unknown:
        raise UsageError(f"there is no recipe {unknown[0]!r:.60}; there are {', '.join(RECIPES)}")
    return [recipe for recipe in RECIPES if recipe in recipes]
