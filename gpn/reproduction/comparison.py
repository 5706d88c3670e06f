"""The paper's training experiment: very deep networks beside their usual competitors, over several seeds."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
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
from gpn.reproduction.comparison_grid import RATE_FACTORS, RECIPES, Candidate, Trial, candidates, limited, pick
from gpn.reproduction.comparison_results import ComparisonReport, Measured, Outcome, Settings
from gpn.reproduction.comparison_runs import CURVES, Arrays, Budget, Run, predictions
from gpn.training.datasets import Dataset, load_dataset
from theory.errors import UsageError

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

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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
        workers: processes, None for one on each core; 1 computes in this process. The numbers are the same bits, given
            the same number of BLAS threads (worker processes have one each). A script that asks for more than one must
            keep its own work under `if __name__ == "__main__":`.
        executor: "threads", "processes" or any `concurrent.futures.Executor` instead.
        progress: called with (done, total) cost as runs finish.

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
    wanted = list(candidates(_several("activations", activations), _depths(depths), _recipes(recipes)))
    used = limited(data if isinstance(data, Dataset) else load_dataset(data), count("samples", samples, minimum=10))
    budget = _budget(width, epochs, batch, samples)
    settings = _settings(used, budget, seeds, factors, level, seed)
    digest = used.digest
    work = partial(Run, budget=budget, data=data if isinstance(data, Dataset) else str(data), digest=digest)
    tried = [
        work(candidate, rate, seed, validate=True)
        for candidate in wanted
        for rate in candidate.rates(budget.width, settings.factors)
    ]
    place: Executor | str | None = "processes" if executor is None and workers > 1 else executor
    first, second = _shares(progress, tried, wanted, settings)
    identity = _identity(settings, digest)
    with (
        nullcontext()
        if store is None
        else run_store.open_store(store, identity, replace_finished=replace_finished) as finished,
        one_blas_thread() if place == "processes" else nullcontext(),
    ):
        compute = partial(experiment.run, seed=seed, executor=place, workers=workers, store=finished)
        trials = _trials(tried, compute([run.cell() for run in tried], progress=first), len(settings.factors))
        picked = [pick(some) for some in trials]
        measured = [
            work(candidate, trial.rate, seed + order, validate=False)
            for candidate, trial in zip(wanted, picked, strict=True)
            for order in range(1, settings.seeds + 1)
        ]
        results = compute([run.cell() for run in measured], progress=second)
    outcomes = [
        Outcome.of({name: array[0] for name, array in arrays.items()}, run.seed, settings)
        for run, arrays in zip(measured, results, strict=True)
    ]
    groups = _groups(outcomes, settings.seeds)
    rows = zip(wanted, trials, picked, groups, predictions(wanted), strict=True)
    return ComparisonReport(settings, tuple(Measured(*row) for row in rows))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Processes that are started meanwhile have one BLAS thread each, unless the user has chosen otherwise."""
    missing = [name for name in _THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(missing, "1"))
    try:
        yield
    finally:
        for name in missing:
            del os.environ[name]


def _trials(runs: Sequence[Run], results: Sequence[Arrays], rates: int) -> list[tuple[Trial, ...]]:
    """The result of every learning rate, grouped by the kind of network."""
    accuracy, loss = CURVES.index("test_accuracy"), CURVES.index("test_loss")
    trials = []
    for run, arrays in zip(runs, results, strict=True):
        curves = arrays["curves"][0]
        done = bool(arrays["finished"][0]) and len(curves) > 0
        ends = (float(curves[-1, accuracy]), float(curves[-1, loss])) if done else (None, None)
        trials.append(Trial(run.rate, *ends))
    return _groups(trials, rates)


def _groups(items: Sequence[Item], size: int) -> list[tuple[Item, ...]]:
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]


def _shares(
    progress: experiment.Progress | None, tried: Sequence[Run], wanted: Sequence[Candidate], settings: Settings
) -> tuple[experiment.Progress | None, experiment.Progress | None]:
    """One display of progress for both parts of the run."""
    if progress is None:
        return None, None
    before = float(sum(run.cell().cost for run in tried))
    total = before + settings.seeds * settings.budget.epochs * sum(candidate.depth for candidate in wanted)
    return (lambda done, _: progress(done, total)), (lambda done, _: progress(before + done, total))


def _budget(width: int, epochs: int, batch: int, samples: int) -> Budget:
    epochs = count("epochs", epochs)
    return Budget(count("width", width, minimum=2), epochs, -(-epochs // 2), count("batch", batch, minimum=2), samples)


def _settings(data: Dataset, budget: Budget, seeds: int, factors: Sequence[float], level: float, seed: int) -> Settings:
    if not len(factors) or not all(0 < factor < float("inf") for factor in factors):
        raise UsageError(f"factors must be positive numbers, such as {list(RATE_FACTORS)}, not {factors!r}")
    if not 0 < level < 1:
        raise UsageError(f"level must lie between 0 and 1, not {level!r}; try 0.95")
    return Settings(
        budget=budget,
        seeds=count("seeds", seeds, minimum=2),
        factors=tuple(sorted({float(factor) for factor in factors})),
        level=float(level),
        seed=seed,
        data=data.name,
        classes=data.classes,
        train_samples=len(data.x_train),
        test_samples=len(data.x_test),
        commonest=float(np.bincount(data.y_test).max() / len(data.y_test)),
    )


def _identity(settings: Settings, digest: str) -> run_store.Identity:
    """A store may be extended by activations, depths and seeds: every run in it has an identity of its own."""
    common = {"experiment": "training comparison", "seed": settings.seed, "data": digest, **asdict(settings.budget)}
    return run_store.Identity(common, dict(computing_versions()))


def _several(name: str, values: Sequence[Any]) -> Sequence[Any]:
    if isinstance(values, str) or not len(values):
        raise UsageError(f"{name} must be a list of at least one, not {values!r}")
    return values


def _depths(depths: Sequence[int]) -> list[int]:
    return sorted({count("depths", depth) for depth in _several("depths", depths)})


def _recipes(recipes: Sequence[str]) -> list[str]:
    unknown = [recipe for recipe in _several("recipes", recipes) if recipe not in RECIPES]
    if unknown:
        raise UsageError(f"there is no recipe {unknown[0]!r:.60}; there are {', '.join(RECIPES)}")
    return [recipe for recipe in RECIPES if recipe in recipes]
