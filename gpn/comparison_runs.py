"""One training run of the comparison: a picklable description, computed in any process."""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from gpn.comparison_grid import RECIPES, Candidate, limited, validation_split
from gpn.datasets import Dataset, load_dataset
from gpn.experiment import Cell
from gpn.training import train
from gpn.training_report import FINISHED, TrainingReport

Arrays = dict[str, npt.NDArray[Any]]

EXPERIMENT = 23
"""Identity of the cells, see `gpn.gradient_profiles`; training itself draws from its own seeds."""

RECORDS = 25
"""Steps at which the gradient norms of a run are kept, evenly over it."""

CURVES = ("learning_rate", "train_loss", "train_accuracy", "test_loss", "test_accuracy")


@dataclass(frozen=True, slots=True)
class Budget:
    """What every run may use.

    Args:
        width: n.
        epochs: passes through the training samples of a measured run.
        trial_epochs: of a run that tries a learning rate.
        batch: samples of a step.
        samples: the most to train on, and the most to test.
    """

    width: int
    epochs: int
    trial_epochs: int
    batch: int
    samples: int


@dataclass(frozen=True, slots=True)
class Run:
    """Train one network: the work of a `gpn.experiment.Cell` with one trial.

    Training draws from its own seed, so that `gpn train` gives the same run.

    Args:
        candidate: the kind of network.
        rate: the learning rate.
        seed: of weights and order of the samples.
        validate: whether it is trained on a part of the training samples and tested on the others.
        budget: common to all.
        data: what `gpn.datasets.load_dataset` reads, or a data set.
        digest: of its samples and labels (`Dataset.digest`), wherever they are read from.
    """

    candidate: Candidate
    rate: float
    seed: int
    validate: bool
    budget: Budget
    data: str | Dataset = field(compare=False)
    digest: str

    @property
    def epochs(self) -> int:
        """How many it takes."""
        return self.budget.trial_epochs if self.validate else self.budget.epochs

    def cell(self) -> Cell:
        """The run as a cell; its identity is what is run, not where it stands in a list."""
        candidate = self.candidate
        what = (candidate.activation, candidate.recipe, candidate.depth, self.rate.hex(), self.seed, self.validate)
        text = json.dumps(what)
        return Cell(
            experiment=EXPERIMENT,
            cell=int.from_bytes(blake2b(text.encode(), digest_size=8).digest()),
            compute=self,
            trials=1,
            chunk=1,
            cost=candidate.depth * self.epochs,
            label=f"{candidate.words}, learning rate {self.rate:.3g}, seed {self.seed}",
        )

    def __call__(self, rng: np.random.Generator, trials: int) -> Arrays:  # noqa: ARG002
        """The arrays of `arrays`, each with a first length of 1."""
        recipe, budget = RECIPES[self.candidate.recipe], self.budget
        whole = limited(self.data if isinstance(self.data, Dataset) else _loaded(self.data), budget.samples)
        report = train(
            self.candidate.phi,
            validation_split(whole) if self.validate else whole,
            depth=self.candidate.depth,
            width=budget.width,
            root=None,
            weights=recipe.weights,
            batch_norm=recipe.batch_norm,
            optimizer=recipe.optimizer,
            learning_rate=self.rate,
            epochs=self.epochs,
            batch=budget.batch,
            seed=self.seed,
            records=RECORDS,
        )
        return {name: array[None] for name, array in arrays(report).items()}


def arrays(report: TrainingReport) -> Arrays:
    """What the comparison keeps of a training run: everything but times and weights.

    Args:
        report: of `gpn.train`.

    Returns:
        finished (true or false), reason (a text), curves (epochs, 5) with the columns of `CURVES`, recorded_steps
        (records,) and log_gradient_norms (records, L + 1), natural logarithms. Of a run that diverged there are only
        the epochs and records before.
    """
    curves = [[getattr(row, name) for name in CURVES] for row in report.epochs]
    with np.errstate(divide="ignore"):  # a gradient that vanished
        logs = np.log(report.gradient_norms)
    return {
        "finished": np.array(report.outcome == FINISHED),
        "reason": np.array(report.reason or ""),
        "curves": np.array(curves, dtype=np.float64).reshape(-1, len(CURVES)),
        "recorded_steps": report.recorded_steps,
        "log_gradient_norms": logs,
    }


@lru_cache(maxsize=1)
def _loaded(source: str) -> Dataset:
    """Read once in each process, not for each run."""
    return load_dataset(source)
