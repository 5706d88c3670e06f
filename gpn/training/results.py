"""What a training run returns: epochs, gradient norms and deviations from orthogonality, and the outcome."""

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gpn._version import __version__
from gpn.engine.network import Network
from gpn.engine.norms import FloatArray
from gpn.experiment.files import finite_record
from gpn.experiment.result import Result
from gpn.training.settings import TrainingConfig

FINISHED, DIVERGED, UNFINISHED = "finished", "diverged", "unfinished"
VANISHED = 1e-3
"""A gradient norm at layer 1 below this share of that at the top hidden layer, or above its inverse, is reported.

So are norms below this, for a readout of scale 1, in every hidden layer: with plain ReLU they are flat, and tiny."""


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One pass through the training samples.

    Attributes:
        epoch: 1, 2, ...
        learning_rate: that of its last step.
        train_loss, train_accuracy: means over its batches, each before its step.
        test_loss, test_accuracy: after its last step.
        seconds: since the beginning of the run.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float

    @property
    def words(self) -> str:
        """The epoch in one line, for a display of progress.

        >>> EpochRow(3, 1e-3, 0.5, 0.8, 0.6, 0.75, 12.0).words
        'epoch 3: training loss 0.5, test accuracy 75.00%'
        """
        return f"epoch {self.epoch}: training loss {self.train_loss:.3g}, test accuracy {self.test_accuracy:.2%}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TrainingReport(Result):
    """A training run.

    Attributes:
        config: what was asked for.
        outcome: "finished" or "diverged".
        reason: why it diverged, in a sentence; None otherwise.
        epochs: a row for each epoch that came to its end.
        losses: mean cross-entropy of every batch before its step, array (steps,).
        recorded_steps: steps (1, 2, ...) whose norms were kept, array (records,).
        gradient_norms: |dE/dW_l|_F of the mean loss at these steps, array (records, L + 1); the last column is the
            readout.
        deviations: |W_l^T W_l - I|_F of the hidden layers after these steps, array (records, L).
        network: as it was at the end.
    """

    config: TrainingConfig
    outcome: str
    reason: str | None
    epochs: tuple[EpochRow, ...]
    losses: FloatArray
    recorded_steps: npt.NDArray[np.int64]
    gradient_norms: FloatArray
    deviations: FloatArray
    network: Network

    @property
    def test_accuracy(self) -> float | None:
        """Accuracy on the test samples after the last step; None for a run that diverged."""
        return self.epochs[-1].test_accuracy if self.outcome == FINISHED and self.epochs else None

    @property
    def learned(self) -> bool:
        """Whether the accuracy in the last epoch of training is nearer to 1 than to that of guessing."""
        guessing = 1.0 / self.config.classes
        return self.outcome == FINISHED and 2 * self.epochs[-1].train_accuracy > 1 + guessing

    @property
    def gradient_ratio(self) -> float | None:
        """|dE/dW_1|_F over |dE/dW_L|_F at the first step; None if it is not a finite positive number."""
        if not len(self.gradient_norms):
            return None
        first, top = self.gradient_norms[0, 0], self.gradient_norms[0, self.config.depth - 1]
        with np.errstate(all="ignore"):
            ratio = float(first / top)
        return ratio if np.isfinite(ratio) and ratio > 0 else None

    def summary(self) -> str:
        """Outcome of the run, in a few sentences."""
        config = self.config
        chance = 1.0 / config.classes
        if self.outcome == DIVERGED:
            sentences = [f"Diverged: {self.reason}."]
        else:
            last = self.epochs[-1]
            sentences = [
                f"Test accuracy {last.test_accuracy:.2%} after {last.epoch} epoch{'s' * (last.epoch != 1)} "
                f"in {last.seconds:.0f} s (guessing: about {chance:.0%}); training loss {last.train_loss:.4g}."
            ]
        sentences.append(self._gradients_in_words())
        if len(self.deviations):
            worst = float(np.max(self.deviations[-1]))
            sentences.append(f"Largest |W^T W - I|_F of a hidden layer at the last record: {worst:.3g}.")
        return " ".join(sentences)

    def _gradients_in_words(self) -> str:
        ratio = self.gradient_ratio
        if ratio is None:
            return f"The gradient norm underflows or overflows between layer 1 and layer {self.config.depth}."
        hidden = self.gradient_norms[0, : self.config.depth]
        size = f"{hidden[0]:.3g} in layer 1 and {hidden[-1]:.3g} in layer {self.config.depth} at the first step"
        if hidden.max() < VANISHED * self.config.readout_scale:
            return f"The gradient vanishes in every layer: its norm is {size}."
        if VANISHED <= ratio <= 1 / VANISHED:
            return f"The gradient norm is {size}, a factor {ratio:.3g}."
        return f"The gradient {'vanishes' if ratio < 1 else 'explodes'}: its norm is {size}, a factor {ratio:.3g}."

    def to_frame(self) -> pd.DataFrame:
        """The epochs as a pandas frame, one column for each field of `EpochRow`."""
        return pd.DataFrame(self.epochs, columns=[field.name for field in fields(EpochRow)])

    def norms_frame(self) -> pd.DataFrame:
        """The recorded norms as a pandas frame with the columns step, layer, gradient_norm and deviation.

        Layer L + 1 is the readout, which has no deviation.
        """
        records, layers = self.gradient_norms.shape
        deviations = np.column_stack([self.deviations, np.full(records, np.nan)])
        columns = {
            "step": np.repeat(self.recorded_steps, layers),
            "layer": np.tile(np.arange(1, layers + 1), records),
            "gradient_norm": self.gradient_norms.ravel(),
            "deviation": deviations.ravel(),
        }
        return pd.DataFrame(columns)

    def to_dict(self) -> dict[str, Any]:
        """{outcome, reason, test_accuracy, gradient_ratio, rows, config, versions}, ready for JSON."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "test_accuracy": self.test_accuracy,
            "gradient_ratio": self.gradient_ratio,
            "rows": [finite_record(asdict(row)) for row in self.epochs],
            "config": self.config.to_dict(),
            "versions": {"gpn": __version__, "numpy": np.__version__},
        }

    def __repr__(self) -> str:
        accuracy = "" if self.test_accuracy is None else f", test accuracy {self.test_accuracy:.4f}"
        config = self.config
        return f"<TrainingReport {config.activation}, {config.depth} x {config.width}: {self.outcome}{accuracy}>"
