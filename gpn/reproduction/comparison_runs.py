"""One training run of the comparison: a picklable description, computed in any process."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from gpn.data.datasets import Dataset, limited, load_dataset
from gpn.experiment import streams
from gpn.experiment.runs import Arrays, Cell
from gpn.reproduction.comparison_grid import RECIPES, Candidate, Trial, validation_split
from gpn.reproduction.gradient_settings import GPN
from gpn.training.results import FINISHED
from gpn.training.train import run_training
from theory.depth.batch_normalization import large_batch_growth
from theory.depth.length_map import mean_field_path
from theory.trainability.separation import correlation_map

RECORDS = 25
"""Steps at which the gradient norms of a run are kept, evenly over it."""

CURVES = ("learning_rate", "train_loss", "train_accuracy", "test_loss", "test_accuracy")
"""Columns of the curves of a run, a row for each epoch."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Resources of every run.

    Args:
        width: n.
        epochs: passes through the training samples of a measured run.
        trial_epochs: the same of a run that tries a learning rate.
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
    """Train one network: the work of a `gpn.experiment.runs.Cell` with one trial.

    Training draws from its own seed, so that `gpn train` gives the same run.

    Args:
        candidate: the kind of network.
        rate: the learning rate.
        seed: the seed of the weights and of the order of the samples.
        validate: whether it is trained on a part of the training samples and tested on the others.
        budget: common to all.
        data: what `gpn.data.datasets.load_dataset` reads, or a data set.
        digest: of its samples and labels (`gpn.experiment.fingerprint.digest`), wherever they are read from.
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
        """Number of passes through the training samples."""
        return self.budget.trial_epochs if self.validate else self.budget.epochs

    def cell(self) -> Cell:
        """Return the run as a cell; its identity is what is run, not where it stands in a list."""
        candidate = self.candidate
        what = (candidate.activation, candidate.recipe, candidate.depth, self.rate.hex(), self.seed, self.validate)
        return Cell(
            experiment=streams.COMPARISON,
            cell=int.from_bytes(blake2b(json.dumps(what).encode(), digest_size=8).digest()),
            compute=self,
            trials=1,
            chunk=1,
            cost=candidate.depth * self.epochs,
            label=f"{candidate.words}, learning rate {self.rate:.3g}, seed {self.seed}",
        )

    def __call__(self, rng: np.random.Generator, trials: int) -> Arrays:  # noqa: ARG002
        """Train, and return everything but times and weights; each array has a first axis of length 1.

        Returns:
            finished (true or false), reason (a text), curves (epochs, 5) with the columns of `CURVES`, recorded_steps
            (records,) and log_gradient_norms (records, L + 1), natural logarithms. Of a run that diverged there are
            only the epochs and records before.
        """
        budget = self.budget
        whole = limited(self.data if isinstance(self.data, Dataset) else _loaded(self.data), budget.samples)
        settings = replace(
            self.candidate.settings(budget.width),
            learning_rate=self.rate,
            epochs=self.epochs,
            batch=budget.batch,
            seed=self.seed,
            records=RECORDS,
        )
        report = run_training(self.candidate.phi, validation_split(whole) if self.validate else whole, settings)
        curves = [[getattr(row, name) for name in CURVES] for row in report.epochs]
        with np.errstate(divide="ignore"):  # a gradient that vanished
            logs = np.log(report.gradient_norms)
        arrays = {
            "finished": np.array(report.outcome == FINISHED),
            "reason": np.array(report.reason or ""),
            "curves": np.array(curves, dtype=np.float64).reshape(-1, len(CURVES)),
            "recorded_steps": report.recorded_steps,
            "log_gradient_norms": logs,
        }
        return {name: array[None] for name, array in arrays.items()}

    def trial(self, arrays: Arrays) -> Trial:
        """Return the result of the learning rate of this run, from the arrays that the run left."""
        curves = arrays["curves"][0]
        if not arrays["finished"][0] or not len(curves):
            return Trial(self.rate, None, None)
        accuracy, loss = (float(curves[-1, CURVES.index(name)]) for name in ("test_accuracy", "test_loss"))
        return Trial(self.rate, accuracy, loss)


@lru_cache(maxsize=1)
def _loaded(source: str) -> Dataset:
    """Read once in each process, not for each run."""
    return load_dataset(source)


@dataclass(frozen=True, slots=True)
class Prediction:
    r"""Prediction for an infinitely wide network at initialization.

    Args:
        log10_gradient: decimal logarithm of :math:`|\partial E/\partial W_1|_F / \sqrt n` for an output gradient of
            norm 1: 0 if all norms are preserved.
        separation: 1 - rho_L, for two inputs that began with the cosine rho_0 = 0
            (`theory.trainability.separation.CorrelationMap`); None for a network whose lengths are not kept. It is the
            same for both roots and for all weights of the same variance.
    """

    log10_gradient: float
    separation: float | None


def predictions(wanted: Sequence[Candidate]) -> tuple[Prediction, ...]:
    """Return the prediction for each kind of network."""
    depths = sorted({candidate.depth for candidate in wanted})
    normalized = {candidate.activation: candidate.phi for candidate in wanted if candidate.treatment == GPN}
    # C depends on the mean of phi only through its square, which is the same for b_plus and b_minus.
    paths = {name: correlation_map(phi).path(max(depths)) for name, phi in normalized.items()}
    return tuple(
        Prediction(
            log10_gradient(candidate),
            float(paths[candidate.activation][candidate.depth]) if candidate.treatment == GPN else None,
        )
        for candidate in wanted
    )


def log10_gradient(candidate: Candidate) -> float:
    r"""Decimal logarithm of :math:`|\partial E/\partial W_1|_F / \sqrt n` in the mean field, for |dE/dx_L| = 1.

    Without batch normalization by the iterated maps (`theory.depth.length_map.mean_field_path`; Schoenholz et al.
    2017), with it by the rate of large batches (Yang et al. 2019,
    `theory.depth.batch_normalization.large_batch_growth`).

    Args:
        candidate: the network.

    >>> from gpn.reproduction.comparison_grid import candidates
    >>> gpn, plain = candidates(["relu"], [20], ["gpn", "plain"])
    >>> round(log10_gradient(gpn), 9) + 0.0, round(log10_gradient(plain) / math.log10(0.5), 9)
    (0.0, 10.0)
    """
    if RECIPES[candidate.recipe].batch_normalization:
        return (candidate.depth - 1) * large_batch_growth(candidate.phi) / 2 / math.log(10)  # type: ignore[arg-type]
    return float(mean_field_path(candidate.phi, candidate.depth).log_gradients[0]) / math.log(10)
