"""What a training run is asked for: read once at the door, checked, and handed on whole."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpn.engine.arguments import count
from gpn.engine.weights import canonical
from gpn.training.optimizers import SCHEDULES, Optimizer
from gpn.training.step import CONSTRAINTS
from theory.errors import UsageError, layer_count, unknown

ORTHOGONAL = ("haar", "scaled_orthogonal", "qr_unsigned")
PRECISIONS = ("float64", "float32")
"""Types of the numbers of a network in training."""
_IDENTITIES = ("activation", "activation_digest", "root", "data", "data_digest")
_DIGESTS = {"activation_digest": "another activation function", "data_digest": "other samples or labels"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """The choices of a training run. Names, meaning and defaults are those of the keywords of `gpn.train`.

    Raises:
        UsageError: a value outside its range.
    """

    depth: int = 50
    width: int = 128
    root: str | None = "auto"
    weights: str = "haar"
    batch_normalization: bool = False
    biases: bool = False
    optimizer: str | Optimizer = "sgd"
    learning_rate: float | None = None
    schedule: str = "cosine"
    epochs: int = 30
    batch: int = 64
    samples: int | None = None
    constraint: str = "none"
    penalty: float = 1.0
    readout_scale: float = 1.0
    centred: bool = False
    seed: int = 0
    records: int = 100
    precision: str = "float64"

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", canonical(self.weights))
        # Batch normalization divides by the spread within a batch: one sample has none.
        least = {"width": 2, "seed": 0, "batch": 2 if self.batch_normalization else 1}
        object.__setattr__(self, "depth", layer_count(self.depth))
        for name in ("width", "epochs", "batch", "seed", "records"):
            object.__setattr__(self, name, count(name, getattr(self, name), minimum=least.get(name, 1)))
        if self.samples is not None:
            object.__setattr__(self, "samples", count("samples", self.samples, minimum=2))
        for name, known in (("schedule", SCHEDULES), ("constraint", CONSTRAINTS), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        if self.constraint in ("polar", "qr") and self.weights not in ORTHOGONAL:
            raise UsageError(
                f"weights {self.weights!r} are not orthogonal to begin with, so the constraint {self.constraint!r} "
                "cannot keep them so; take weights 'haar'"
            )
        for name in ("learning_rate", "penalty", "readout_scale"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < float("inf"):
                raise UsageError(f"{name} must be above 0 and finite, not {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig(TrainingSettings):
    """Everything that decides the bits of a run: the settings without anything left open, activation and data.

    Activation and data are identified by name and digest (`gpn.experiment.fingerprint`). `root` is "plus" or "minus",
    None for an activation as it is; `optimizer` is the text that creates it; `batch` is at most `samples`.
    """

    optimizer: str
    learning_rate: float
    activation: str
    activation_digest: str
    data: str
    data_digest: str
    samples: int
    features: int
    classes: int

    @property
    def function(self) -> str:
        """The activation in words, with its root."""
        return self.activation if self.root is None else f"{self.activation} (b_{self.root})"

    @property
    def words(self) -> str:
        """How much there is to do, in one line."""
        return (
            f"training {self.function}: {self.depth} layers of {self.width}, {self.steps} steps of {self.batch} samples"
        )

    @property
    def neurons(self) -> list[int]:
        """Numbers of neurons, those of the inputs first and those of the readout last."""
        return [self.features, *[self.width] * self.depth, self.classes]

    @property
    def steps_per_epoch(self) -> int:
        """Number of whole batches in the training samples."""
        return self.samples // self.batch

    @property
    def steps(self) -> int:
        """Number of steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON; what the run is of comes first."""
        record = asdict(self)
        return {name: record[name] for name in _IDENTITIES} | record

    def check_resumable(self, other: Mapping[str, Any], path: Path) -> None:
        """Check that a run of this description can resume from a checkpoint of another.

        Args:
            other: the configuration in the checkpoint.
            path: the path of the checkpoint, for the message.

        Raises:
            UsageError: a field that differs.
        """
        different = [
            _DIGESTS.get(name, f"{name} {other.get(name)!r}, not {value!r}")
            for name, value in self.to_dict().items()
            if other.get(name) != value
        ]
        if different:
            what = "; ".join(different)
            raise UsageError(f"the checkpoint {path} belongs to a run with {what}; ask for the same, or move it away")
