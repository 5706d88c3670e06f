"""The paper's training experiment: very deep networks beside what they are said to beat, over seeds."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gpn import experiment
from gpn.comparison_grid import RATE_FACTORS, RECIPES, Candidate, Trial, candidates, limited, pick
from gpn.comparison_report import ComparisonReport, Measured, Settings
from gpn.comparison_runs import Arrays, Budget, Run, digest
from gpn.comparison_theory import predictions
from gpn.datasets import Dataset, load_dataset
from gpn.weights import count
from theory.errors import UsageError

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

_EXPERIMENT = 23  # identity of the random numbers, see gpn.gradient_profiles; training draws from its own seeds
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
    runs: str | Path | None = None,
    workers: int | None = 1,
    executor: Executor | None = None,
    progress: experiment.Progress | None = None,
) -> ComparisonReport:
    r"""Train networks of several depths, normalized and not, with the usual remedies beside them.

    Each kind of network (activation, recipe, depth) first tries every learning rate of the same small grid, with one
    seed, for half of the epochs, on four fifths of the training samples; the rate with the highest accuracy on the
    last fifth is taken (`gpn.comparison_grid.pick`). With that rate `seeds` networks with other seeds are trained on
    all training samples and tested once, after the last epoch. A run that diverges or learns nothing is a result.

    Source: the experiments on real data of Y. Lu, S. Gould, T. Ajanthan (2020), arXiv 2006.12169; described in
    docs/reproduce-training.md.

    Args:
        activations: as for `gpn.activation`.
        data: as for `gpn.train`.
        depths: hidden layers.
        recipes: keys of `gpn.comparison_grid.RECIPES`.
        width: n.
        seeds: measured networks of each kind, at least 2.
        epochs, batch: of each of them.
        samples: the most to train on, and the most to test, drawn once; the digits are fewer.
        factors: learning rates to try, as multiples of `gpn.schedules.default_rate`.
        level: confidence level of each interval.
        seed: the learning rates are tried with this one, the measured networks have seed + 1, seed + 2, ...
        runs: folder where every finished run is kept, and found when the same is asked again.
        workers: processes, None for one on each core; 1 computes in this process. The numbers are the same bits, given
            the same number of BLAS threads (worker processes have one each). A script that asks for more than one must
            keep its own work under `if __name__ == "__main__":`.
        executor: any `concurrent.futures.Executor` instead.
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
    settings = _settings(width, seeds, epochs, batch, samples, factors, level, seed)
    wanted = list(candidates(activations, _depths(depths), _known(recipes)))
    whole = data if isinstance(data, Dataset) else load_dataset(data)
    used = limited(whole, settings.budget.samples)
    source = data if isinstance(data, Dataset) else str(data)
    folder = None if runs is None else Path(runs)

    def run(candidate: Candidate, rate: float, with_seed: int, *, validate: bool) -> Run:
        return Run(candidate, rate, with_seed, validate, settings.budget, source, digest(used), folder)

    with _pool(executor, workers) as pool:
        progresses = _halves(progress, settings)
        tried = [run(each, rate, seed, validate=True) for each in wanted for rate in settings.rates(each)]
        found = _compute(tried, settings, pool, workers, progresses[0])
        trials = _grouped(wanted, tried, found)
        picked = [pick([trial for trial, _ in some]) for some in trials]
        measured = [
            run(each, trial.rate, seed + 1 + order, validate=False)
            for each, trial in zip(wanted, picked, strict=True)
            for order in range(settings.seeds)
        ]
        found = _compute(measured, settings, pool, workers, progresses[1])
    groups = _grouped(wanted, measured, found)
    return ComparisonReport(
        settings,
        used,
        tuple(
            Measured(each, tuple(trial for trial, _ in some), trial, tuple(arrays for _, arrays in group))
            for each, some, trial, group in zip(wanted, trials, picked, groups, strict=True)
        ),
        predictions(wanted),
    )
