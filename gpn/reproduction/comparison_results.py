"""What the training comparison returns: a row for each kind of network, every run, files."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gpn._version import __version__
from gpn.engine.norms import FloatArray
from gpn.experiment.files import finite, finite_record
from gpn.experiment.result import Result
from gpn.experiment.runs import Arrays
from gpn.reproduction.comparison_grid import LINEAR, RECIPES, Candidate, Trial
from gpn.reproduction.comparison_runs import CURVES, Budget, Prediction
from gpn.statistics.limits import lower_limit, mean_interval, upper_limit

TRAINED, AT_CHANCE, DIVERGED = "trained", "at chance", "diverged"
_RUN_COLUMNS = (
    "learning_rate", "purpose", "seed", "outcome", "reason", "correct", "accuracy", "lower", "upper"
)  # fmt: skip
_TEST_ACCURACY, _TRAIN_LOSS = CURVES.index("test_accuracy"), CURVES.index("train_loss")


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the comparison.

    Args:
        budget: what every run may use.
        seeds: measured networks of each kind.
        factors: learning rates that were tried, as multiples of `gpn.training.start.default_rate`.
        level: confidence level of each interval.
        seed: seed of the runs that try learning rates.
        data: name of the data set.
        classes: the number of classes of its labels.
        correlation: mean correlation of two training samples.
        train_samples, test_samples: that were used.
        commonest: share of the commonest class in the test samples: the accuracy of the best guess.
    """

    budget: Budget
    seeds: int
    factors: tuple[float, ...]
    level: float
    seed: int
    data: str
    classes: int
    correlation: float
    train_samples: int
    test_samples: int
    commonest: float


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One measured network.

    Args:
        seed: the seed of its weights and of the order of its samples.
        outcome: "trained", "at chance" (its accuracy is not significantly above that of
            the best guess) or "diverged".
        reason: why it diverged, else empty.
        correct: test samples classified rightly after the last epoch; None for a network that diverged.
        accuracy: their share; for a network that diverged 1 over the number of classes, as if it guessed.
        lower, upper: exact limits of its accuracy on further samples (Clopper and Pearson 1934); None if it diverged.
        curves: array (epochs, 5), columns `gpn.reproduction.comparison_runs.CURVES`; only whole epochs.
        recorded_steps: array (records,).
        log_gradient_norms: natural logarithms of |dE/dW_l|_F, array (records, L + 1).
    """

    seed: int
    outcome: str
    reason: str
    correct: int | None
    accuracy: float
    lower: float | None
    upper: float | None
    curves: FloatArray
    recorded_steps: npt.NDArray[np.int64]
    log_gradient_norms: FloatArray

    @classmethod
    def of(cls, arrays: Arrays, seed: int, settings: Settings) -> "Outcome":
        """Return the outcome of the run that left these arrays.

        Args:
            arrays: the arrays that `gpn.reproduction.comparison_runs.Run` returns, without their first axis.
            seed: the seed of the run.
            settings: the settings of the comparison.
        """
        curves = arrays["curves"]
        correct = lower = upper = None
        accuracy, outcome = 1.0 / settings.classes, DIVERGED
        if bool(arrays["finished"]) and len(curves):
            accuracy = float(curves[-1, _TEST_ACCURACY])
            correct = round(accuracy * settings.test_samples)
            lower, upper = exact_interval(correct, settings.test_samples, settings.level)
            outcome = TRAINED if lower > settings.commonest else AT_CHANCE
        records = (arrays["recorded_steps"], arrays["log_gradient_norms"])
        return cls(seed, outcome, str(arrays["reason"]), correct, accuracy, lower, upper, curves, *records)

    def log10_gradient(self, width: int) -> float | None:
        """Decimal logarithm of |dE/dW_1|_F / sqrt(n) at the first step, n = width; None if it is not finite."""
        if not len(self.log_gradient_norms):
            return None
        return finite(float(self.log_gradient_norms[0, 0]) / math.log(10) - math.log10(width) / 2)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One kind of network: how its learning rate was picked, and the outcomes of its networks.

    Args:
        candidate: the kind.
        trials: every learning rate that was tried, with its result on the validation samples.
        picked: the one that was used.
        outcomes: one for each seed.
        prediction: what theory predicts at initialization.
    """

    candidate: Candidate
    trials: tuple[Trial, ...]
    picked: Trial
    outcomes: tuple[Outcome, ...]
    prediction: Prediction

    @property
    def accuracy(self) -> float:
        """Mean test accuracy over the seeds; a network that diverged counts as one that guesses."""
        return float(np.mean([run.accuracy for run in self.outcomes]))

    def interval(self, level: float) -> tuple[float, float]:
        """The t interval of `accuracy_interval` over the seeds."""
        return accuracy_interval([run.accuracy for run in self.outcomes], level)

    def count(self, outcome: str) -> int:
        """Return the number of networks with that outcome."""
        return sum(run.outcome == outcome for run in self.outcomes)

    def key(self) -> dict[str, Any]:
        """Return the columns that say which kind of network it is."""
        candidate, recipe = self.candidate, RECIPES[self.candidate.recipe]
        names = ("activation", "recipe", "depth", "treatment", "root", "chi")
        key = {name: getattr(candidate, name) for name in names}
        return key | {name: getattr(recipe, name) for name in ("weights", "batch_normalization", "optimizer")}

    def record(self, settings: Settings) -> dict[str, Any]:
        """Return the row of `ComparisonReport.to_frame`."""
        lower, upper = self.interval(settings.level)
        return self.key() | {
            "learning_rate": self.picked.rate,
            "validation_accuracy": self.picked.accuracy,
            "seeds": len(self.outcomes),
            "trained": self.count(TRAINED),
            "at_chance": self.count(AT_CHANCE),
            "diverged": self.count(DIVERGED),
            "accuracy": self.accuracy,
            "lower": lower,
            "upper": upper,
            "train_loss": self.train_loss,
            "log10_gradient": self.log10_gradient(settings.budget.width),
            "predicted_log10_gradient": self.prediction.log10_gradient,
            "predicted_separation": self.prediction.separation,
        }

    def run_records(self, seed: int) -> Iterator[dict[str, Any]]:
        """Yield the rows of `ComparisonReport.runs_frame`: runs that tried a learning rate, then the measured ones."""
        nothing = dict.fromkeys(_RUN_COLUMNS)
        for trial in self.trials:
            tried = {"learning_rate": trial.rate, "purpose": "learning rate", "seed": seed, "accuracy": trial.accuracy}
            outcome = DIVERGED if trial.accuracy is None else ""
            yield self.key() | nothing | tried | {"outcome": outcome, "reason": ""}
        for run in self.outcomes:
            numbers = {name: getattr(run, name) for name in _RUN_COLUMNS[2:]}
            yield self.key() | {"learning_rate": self.picked.rate, "purpose": "measured"} | numbers

    @property
    def train_loss(self) -> float | None:
        """Mean training loss in the last epoch of the networks that did not diverge."""
        losses = [run.curves[-1, _TRAIN_LOSS] for run in self.outcomes if run.outcome != DIVERGED]
        return float(np.mean(losses)) if losses else None

    def log10_gradient(self, width: int) -> float | None:
        """The median of `Outcome.log10_gradient` over the seeds; None if most of them have none."""
        known = [log for run in self.outcomes if (log := run.log10_gradient(width)) is not None]
        return float(np.median(known)) if 2 * len(known) > len(self.outcomes) else None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ComparisonReport(Result):
    """Result of `gpn.reproduce("training")`.

    Args:
        settings: what was run.
        measured: one for each kind of network.
    """

    settings: Settings
    measured: tuple[Measured, ...]

    @property
    def activations(self) -> tuple[str, ...]:
        """Their names, in the order in which they were given; that of the linear control only if it is alone."""
        names = dict.fromkeys(kind.candidate.activation for kind in self.measured if kind.candidate.recipe != LINEAR)
        return tuple(names) or ("identity",)

    @property
    def depths(self) -> tuple[int, ...]:
        """The depths, ascending."""
        return tuple(sorted({kind.candidate.depth for kind in self.measured}))

    def find(self, activation: str, recipe: str, depth: int) -> Measured | None:
        """Return one kind of network, the linear control for every activation; None if it was not run."""
        activation = "identity" if recipe == LINEAR else activation
        kinds = {
            (kind.candidate.activation, kind.candidate.recipe, kind.candidate.depth): kind for kind in self.measured
        }
        return kinds.get((activation, recipe, depth))

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each kind of network."""
        return pd.DataFrame([kind.record(self.settings) for kind in self.measured])

    def runs_frame(self) -> pd.DataFrame:
        """Return a row for each run; the accuracy of runs that tried a learning rate is that of the validation."""
        return pd.DataFrame([row for kind in self.measured for row in kind.run_records(self.settings.seed)])

    def curves_frame(self) -> pd.DataFrame:
        """Return losses and accuracies of every measured network by epoch."""
        rows = [
            {**kind.key(), "seed": outcome.seed, "epoch": epoch, **dict(zip(CURVES, numbers, strict=True))}
            for kind in self.measured
            for outcome in kind.outcomes
            for epoch, numbers in enumerate(outcome.curves.tolist(), start=1)
        ]
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return {rows, runs, config, versions}, ready for JSON."""
        return {
            "rows": [finite_record(kind.record(self.settings)) for kind in self.measured],
            "runs": [finite_record(row) for kind in self.measured for row in kind.run_records(self.settings.seed)],
            "config": asdict(self.settings),
            "versions": {"gpn": __version__, "numpy": np.__version__},
        }

    def __repr__(self) -> str:
        names, depths = ", ".join(self.activations), ", ".join(map(str, self.depths))
        width = self.settings.budget.width
        return f"<ComparisonReport {names}: width {width}, depth {depths}, {self.settings.seeds} seeds>"


def exact_interval(correct: int, tested: int, level: float) -> tuple[float, float]:
    """Two-sided exact limits of the accuracy of one network on samples of the same kind (Clopper and Pearson 1934).

    It covers the choice of the test samples, for this very network; not the choice of weights.

    >>> [round(limit, 4) for limit in exact_interval(340, 359, 0.95)]
    [0.9186, 0.9678]
    """
    alpha = (1 - level) / 2
    return float(lower_limit(correct, tested, alpha)), float(upper_limit(correct, tested, alpha))


def accuracy_interval(accuracies: list[float], level: float) -> tuple[float, float]:
    """The t interval of the mean test accuracy over seeds (`gpn.statistics.limits.mean_interval`), cut to 0..1.

    It covers the choice of weights and of the order of samples, on this very split of the data; a guide where some
    networks train and others do not.

    >>> [round(limit, 4) for limit in accuracy_interval([0.90, 0.92, 0.94], 0.95)]
    [0.8703, 0.9697]
    """
    _, lower, upper = mean_interval(np.array(accuracies), level)
    return max(0.0, lower), min(1.0, upper)
