"""One training run of the comparison: a picklable description, computed in any process, kept in a file of its own."""

import json
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpn._version import __version__
from gpn.checkpoints import read_checkpoint, write_checkpoint
from gpn.comparison_grid import RECIPES, Candidate, limited, validation_split
from gpn.datasets import Dataset, load_dataset
from gpn.training import train
from gpn.training_report import FINISHED, TrainingReport
from theory.errors import UsageError

Arrays = dict[str, npt.NDArray[Any]]

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
    """Train one network, or read what it came to in an earlier call.

    Called as the `compute` of a `gpn.experiment.Cell` with one trial. Training draws from its own seed, so that
    `gpn train` gives the same run.

    Args:
        candidate: the kind of network.
        rate: the learning rate.
        seed: of weights and order of the samples.
        validate: whether it is trained on a part of the training samples and tested on the others.
        budget: common to all.
        data: what `gpn.datasets.load_dataset` reads, or a data set.
        digest: of the samples and labels; see `digest`.
        folder: where finished runs are kept, or None.
    """

    candidate: Candidate
    rate: float
    seed: int
    validate: bool
    budget: Budget
    data: str | Dataset
    digest: str
    folder: Path | None

    @property
    def facts(self) -> dict[str, Any]:
        """Everything that decides the bits of the run, ready for JSON."""
        recipe, budget = RECIPES[self.candidate.recipe], self.budget
        return {
            "activation": f"{self.candidate.phi!r}",
            "root": self.candidate.root,
            "chi": self.candidate.chi,
            "weights": recipe.weights,
            "batch_norm": recipe.batch_norm,
            "optimizer": recipe.optimizer,
            "depth": self.candidate.depth,
            "width": budget.width,
            "learning_rate": self.rate,
            "seed": self.seed,
            "epochs": budget.trial_epochs if self.validate else budget.epochs,
            "batch": budget.batch,
            "samples": budget.samples,
            "validate": self.validate,
            "records": RECORDS,
            "centred": False,
            "data": self.digest,
            "versions": {"gpn": __version__, "numpy": np.__version__},
        }

    @property
    def identity(self) -> int:
        """A number of 64 bits that no other run of the comparison has."""
        text = json.dumps(self.facts, sort_keys=True)
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())

    @property
    def path(self) -> Path | None:
        """The file of the run, if finished runs are kept."""
        return None if self.folder is None else self.folder / f"{self.identity:016x}.npz"

    def __call__(self, rng: np.random.Generator, trials: int) -> Arrays:  # noqa: ARG002
        """The arrays of `arrays`, each with a first length of 1."""
        found = self._kept()
        if found is None:
            found = arrays(self._train())
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_checkpoint(self.path, self.facts, found)
        return {name: array[None] for name, array in found.items()}

    def _train(self) -> TrainingReport:
        facts, recipe = self.facts, RECIPES[self.candidate.recipe]
        whole = limited(self.data if isinstance(self.data, Dataset) else _loaded(self.data), self.budget.samples)
        return train(
            self.candidate.phi,
            validation_split(whole) if self.validate else whole,
            depth=self.candidate.depth,
            width=self.budget.width,
            root=None,
            weights=recipe.weights,
            batch_norm=recipe.batch_norm,
            optimizer=recipe.optimizer,
            learning_rate=self.rate,
            epochs=facts["epochs"],
            batch=self.budget.batch,
            centred=facts["centred"],
            seed=self.seed,
            records=RECORDS,
        )

    def _kept(self) -> Arrays | None:
        """What an earlier call kept; None if there is nothing that can be read, or it is of another run."""
        if self.path is None or not self.path.exists():
            return None
        try:
            header, found = read_checkpoint(self.path)
        except UsageError:  # damaged: it is run again and written anew
            return None
        return found if header == self.facts else None


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


def digest(data: Dataset) -> str:
    """A fingerprint of samples and labels."""
    found = blake2b(digest_size=16)
    for array in (data.x_train, data.y_train, data.x_test, data.y_test):
        found.update(f"{array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


@lru_cache(maxsize=1)
def _loaded(source: str) -> Dataset:
    """Read once in each process, not for each run."""
    return load_dataset(source)
