"""What the reproduction of Table 1 returns: the paper's numbers beside ours."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import pandas as pd

from gpn._version import __version__
from gpn.experiment.files import finite_record
from gpn.experiment.result import Result
from gpn.experiment.runs import Arrays
from gpn.reproduction.gradient_settings import BATCH_NORMALIZED, GPN, PLAIN

PAPER: Mapping[str, Mapping[str, tuple[float, float, float]]] = MappingProxyType(
    {
        "MNIST": {
            "tanh": (96.57, 95.54, 89.32),
            "relu": (11.35, 28.13, 11.42),
            "leaky_relu": (11.35, 49.28, 11.63),
            "elu": (95.41, 96.56, 97.48),
            "selu": (97.33, 96.97, 97.38),
            "quick_gelu": (11.35, 95.82, 10.28),
        },
        "CIFAR-10": {
            "tanh": (42.71, 40.95, 29.32),
            "relu": (10.00, 34.96, 10.00),
            "leaky_relu": (10.00, 39.38, 10.06),
            "elu": (45.76, 43.12, 44.16),
            "selu": (29.55, 45.90, 45.88),
            "quick_gelu": (10.00, 36.94, 10.00),
        },
    }
)
"""Test accuracy in percent of Table 1: as it is, GPN, batch normalization (depth 200, width 500)."""

_COLUMNS = (PLAIN, GPN, BATCH_NORMALIZED)
_DATA = {784: "MNIST", 3072: "CIFAR-10"}  # by the number of pixels
_EPOCHS = {"MNIST": 50, "CIFAR-10": 100}


@dataclass(frozen=True, slots=True)
class Setting:
    """Setting of all runs.

    Args:
        width, depth: n and L, hidden layers beside the first.
        epochs, batch: passes through the training samples, and samples of a step.
        learning_rate: constant.
        precision: of the numbers of the network.
        seed: of the weights and the order of the samples.
        data, features, classes: name of the data, pixels of a sample, number of classes.
        train_samples, test_samples: that were used.
    """

    width: int
    depth: int
    epochs: int
    batch: int
    learning_rate: float
    precision: str
    seed: int
    data: str
    features: int
    classes: int
    train_samples: int
    test_samples: int

    @property
    def paper_data(self) -> str | None:
        """Which data of the paper have as many pixels: "MNIST", "CIFAR-10" or None."""
        return _DATA.get(self.features)

    @property
    def differences(self) -> tuple[str, ...]:
        """What differs from the paper's setting, in words."""
        paper: dict[str, Any] = {"width": 500, "depth": 200, "batch": 64}
        if self.paper_data is not None:
            paper["epochs"] = _EPOCHS[self.paper_data]
            paper["train_samples"], paper["test_samples"] = (60_000 if self.features == 784 else 50_000), 10_000
        found = [
            f"{name.replace('_', ' ')} {getattr(self, name)} (paper {value})"
            for name, value in paper.items()
            if getattr(self, name) != value
        ]
        if self.paper_data is None:
            found.append(f"the data ({self.data})")
        return (*found, "one rate for all networks", "one seed")


@dataclass(frozen=True, slots=True)
class TableRow:
    """One network.

    Args:
        activation: its name as it is.
        treatment: "as it is", "GPN" or "batch norm".
        outcome: "finished" or "diverged".
        train_accuracy, test_accuracy: in percent after the last epoch; None if it diverged.
        train_loss: of the last epoch; None if it diverged.
        paper: test accuracy of Table 1 in percent, on data with as many pixels; None where there is none.
    """

    activation: str
    treatment: str
    outcome: str
    train_accuracy: float | None
    test_accuracy: float | None
    train_loss: float | None
    paper: float | None

    @classmethod
    def of(cls, activation: str, treatment: str, arrays: Arrays, setting: Setting) -> "TableRow":
        """Return the row of the run that left these arrays (`gpn.reproduction.table_1_run.PaperRun`)."""
        curves = arrays["curves"][0]
        numbers = PAPER.get(setting.paper_data or "", {}).get(activation)
        paper = None if numbers is None else numbers[_COLUMNS.index(treatment)]
        if len(curves) < setting.epochs:
            return cls(activation, treatment, "diverged", None, None, None, paper)
        loss, train, test = map(float, curves[-1])
        return cls(activation, treatment, "finished", 100 * train, 100 * test, loss, paper)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TableReport(Result):
    """Table 1 of the paper beside the same networks here.

    Args:
        setting: of all runs.
        rows: a network each.
    """

    setting: Setting
    rows: tuple[TableRow, ...]

    @property
    def activations(self) -> tuple[str, ...]:
        """Names of the activations in the order of the rows."""
        return tuple(dict.fromkeys(row.activation for row in self.rows))

    def find(self, activation: str, treatment: str) -> TableRow:
        """Return the row of a network."""
        return next(row for row in self.rows if (row.activation, row.treatment) == (activation, treatment))

    def to_frame(self) -> pd.DataFrame:
        """Return the rows, one column for each field of `TableRow`."""
        return pd.DataFrame([asdict(row) for row in self.rows])

    def to_dict(self) -> dict[str, Any]:
        """Return rows, setting, differences and version, ready for JSON."""
        return {
            "rows": [finite_record(asdict(row)) for row in self.rows],
            "setting": asdict(self.setting),
            "differences": list(self.setting.differences),
            "versions": {"gpn": __version__},
        }

    def __repr__(self) -> str:
        setting = self.setting
        size = f"width {setting.width}, depth {setting.depth}, {setting.epochs} epoch{'s' * (setting.epochs != 1)}"
        return f"<TableReport {', '.join(self.activations)}: {size}>"
