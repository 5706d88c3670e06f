"""The paper's training experiment: very deep networks beside their usual competitors, over several seeds."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from gpn.engine.arguments import count
from gpn.experiment import runs as experiment
from gpn.experiment import store as run_store
from gpn.experiment.versions import computing_versions
from gpn.reproduction.comparison_grid import RATE_FACTORS, RECIPES, candidates, limited, pick
from gpn.reproduction.comparison_results import ComparisonReport, Measured, Outcome, Settings
from gpn.reproduction.comparison_runs import Budget, Run, predictions
from gpn.reproduction.gradient_settings import check_level, several
from gpn.training.datasets import Dataset, load_dataset
from theory.errors import UsageError
from theory.numerics.threads import one_blas_thread

Item = TypeVar("Item")
ACTIVATIONS = ("selu", "relu", "gelu", "tanh")
DEPTHS = (10, 50, 200)

QUICK: Mapping[str, Any] = MappingProxyType(
    {
        "activations": ("selu",),
        "depths": (3, 12),
        "recipes": ("gpn", "gpn-other", "plain-gaussian", "plain-gaussian-bn"),
        "width": 16,
        "seeds": 2,
        "epochs": 4,
        "samples": 400,
        "factors": (0.5, 2.0),
    }
)
"""Options of a run that takes seconds and shows nothing but that everything works."""


@one_blas_thread
def training_comparison(
    activations: Sequence[Any] = ACTIVATIONS,
    data: str | Path | Dataset = "digits",
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
    last fifth is taken (`gpn.reproduction.comparison_grid.pick`). With that rate `seeds` networks with other seeds are
    trained on all training samples and tested once, after the last epoch. A run that diverges or learns nothing is a
    result.

    Source: the experiments on real data of Y. Lu, S. Gould, T. Ajanthan (2020), arXiv 2006.12169; described in
    docs/reproduce-training.md.

    Args:
        activations: as for `gpn.activation`.
        data: as for `gpn.train`.
        depths: hidden layers.
        recipes: keys of `gpn.reproduction.comparison_grid.RECIPES`.
        width: n.
        seeds: measured networks of each kind, at least 2.
        epochs, batch: of each of them.
        samples: the most to train on, and the most to test, drawn once; the digits are fewer.
        factors: learning rates to try, as multiples of `gpn.training.optimizers.default_rate`.
        level: confidence level of each interval.
        seed: the learning rates are tried with this one, the measured networks have seed + 1, seed + 2, ...
        store: a folder; every finished run is stored there in `run.sqlite` and reused when it is asked for
            again, with more activations, depths or seeds too. Other budgets or another version need another folder.
        replace_finished: whether a finished run of another budget or version may be deleted from `store`.
        workers: processes, None for one on each core; 1 computes in this process. The numbers are the same bits. A
            script that asks for more than one must keep its own work under `if __name__ == "__main__":`.
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
    wanted = list(candidates(several("activations", activations), layers, _recipes(recipes)))
    used = limited(data if isinstance(data, Dataset) else load_dataset(data), count("samples", samples, minimum=10))
    epochs = count("epochs", epochs)
    budget = Budget(
        width=count("width", width, minimum=2),
        epochs=epochs,
        trial_epochs=-(-epochs // 2),
        batch=count("batch", batch, minimum=2),
        samples=samples,
    )
    settings = _settings(used, budget, count("seeds", seeds, minimum=2), factors, check_level(level), seed)
    work = partial(Run, budget=budget, data=data if isinstance(data, Dataset) else str(data), digest=used.digest)
    tried = [
        work(candidate, rate, seed, validate=True)
        for candidate in wanted
        for rate in candidate.rates(budget.width, settings.factors)
    ]
    place: Executor | str | None = "processes" if executor is None and workers > 1 else executor
    cost_of_trials = float(sum(run.cell().cost for run in tried))
    cost = cost_of_trials + settings.seeds * epochs * sum(candidate.depth for candidate in wanted)

    def part(before: float) -> experiment.Progress | None:
        return progress and (lambda done, _total, _words: progress(before + done, cost, "training"))

    # A store may be extended by activations, depths and seeds: every run in it has an identity of its own.
    common = {"experiment": "training comparison", "seed": seed, "data": used.digest, **asdict(budget)}
    identity = run_store.Identity(common, dict(computing_versions()))
    with (
        nullcontext() if store is None else run_store.open_store(store, identity, replace_finished=replace_finished)
    ) as finished:
        compute = partial(experiment.run, seed=seed, executor=place, workers=workers, store=finished)
        results = compute([run.cell() for run in tried], progress=part(0.0))
        trials = _groups([run.trial(arrays) for run, arrays in zip(tried, results, strict=True)], len(settings.factors))
        picked = [pick(group) for group in trials]
        measured = [
            work(candidate, trial.rate, seed + order, validate=False)
            for candidate, trial in zip(wanted, picked, strict=True)
            for order in range(1, settings.seeds + 1)
        ]
        results = compute([run.cell() for run in measured], progress=part(cost_of_trials))
    outcomes = [
        Outcome.of({name: array[0] for name, array in arrays.items()}, run.seed, settings)
        for run, arrays in zip(measured, results, strict=True)
    ]
    rows = zip(wanted, trials, picked, _groups(outcomes, settings.seeds), predictions(wanted), strict=True)
    return ComparisonReport(settings, tuple(Measured(*row) for row in rows))


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
        train_samples=len(data.x_train),
        test_samples=len(data.x_test),
        commonest=float(np.bincount(data.y_test).max() / len(data.y_test)),
    )


def _recipes(recipes: Sequence[str]) -> list[str]:
    unknown = [recipe for recipe in several("recipes", recipes) if recipe not in RECIPES]
    if unknown:
        raise UsageError(f"there is no recipe {unknown[0]!r:.60}; there are {', '.join(RECIPES)}")
    return [recipe for recipe in RECIPES if recipe in recipes]
