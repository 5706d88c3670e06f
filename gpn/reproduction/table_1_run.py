"""One network in the setting of the paper's Table 1: a picklable description, computed in any process."""

import json
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from gpn.data.datasets import Dataset
from gpn.engine.batch_normalization import layers
from gpn.engine.network import Network
from gpn.engine.norms import FloatArray
from gpn.engine.weights import haar
from gpn.experiment import streams
from gpn.experiment.runs import Arrays, Cell
from gpn.reproduction.gradient_settings import BATCH_NORMALIZED
from gpn.reproduction.table_1_results import Setting
from gpn.training.optimizers import Momentum
from gpn.training.start import Identity, stream
from gpn.training.step import Stepper
from gpn.training.train import HOPELESS, evaluate
from theory.activations.activation import NumericActivation

MOMENTUM = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Standardized:
    """Map from pixels to inputs by one mean and one deviation for all pixels of all training samples."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, samples: npt.NDArray[Any]) -> "Standardized":
        """Return the map of a set of training samples, array (samples, features)."""
        values = samples.astype(np.float64)
        return cls(float(values.mean()), float(values.std()) or 1.0)

    def __call__(self, samples: npt.NDArray[Any]) -> FloatArray:
        """Standardize samples (rows)."""
        return np.asarray((samples.astype(np.float64) - self.mean) / self.deviation)


@dataclass(frozen=True, slots=True)
class PaperRun:
    """Train one network of Table 1: the work of a `gpn.experiment.runs.Cell` with one trial.

    Args:
        name: of the activation as it is.
        treatment: "as it is", "GPN" or "batch norm".
        phi: what the network applies.
        setting: common to all.
        data: the samples.
    """

    name: str
    treatment: str
    phi: NumericActivation
    setting: Setting
    data: Dataset = field(compare=False)

    def cell(self) -> Cell:
        """Return the run as a cell; its identity is what is run, not where it stands in a list."""
        words = f"{self.name}, {self.treatment}"
        return Cell(
            experiment=streams.TABLE_1,
            cell=int.from_bytes(blake2b(json.dumps(words).encode(), digest_size=8).digest()),
            compute=self,
            trials=1,
            chunk=1,
            cost=float(self.setting.depth * self.setting.epochs),
            label=words,
        )

    def __call__(self, rng: np.random.Generator, trials: int) -> Arrays:  # noqa: ARG002
        """Train, and return curves (1, epochs, 3): training loss and accuracy and test accuracy of each epoch.

        A run whose signals, loss or gradients leave the numbers ends there: it has fewer epochs.
        """
        setting, data = self.setting, self.data
        pixels = Standardized.of(data.x_train)
        ends = (0, setting.depth + 1)
        stepper = Stepper(self.network(), Momentum(MOMENTUM), "unit", free=ends, biased=ends)
        curves: list[tuple[float, float, float]] = []
        for epoch in range(1, setting.epochs + 1):
            order = stream(setting.seed, streams.TRAINING_ORDER, epoch).permutation(len(data.x_train))
            losses, correct = [], 0
            for start in range(0, len(order) - setting.batch + 1, setting.batch):
                chosen = order[start : start + setting.batch]
                step = stepper.step(pixels(data.x_train[chosen]), data.y_train[chosen], setting.learning_rate)
                losses.append(step.loss)
                correct += step.correct
                if step.bad_layer is not None or not step.loss < HOPELESS * np.log(data.classes):
                    return {"curves": np.array(curves).reshape(1, -1, 3)}
            test = evaluate(stepper.network, pixels, data.x_test, data.y_test)[1]
            curves.append((float(np.mean(losses)), correct / (len(losses) * setting.batch), test))
        return {"curves": np.array(curves).reshape(1, -1, 3)}

    def network(self) -> Network:
        """Draw the network; the first layer and the readout begin as `torch.nn.Linear` does.

        Their weights and biases are uniform between -1/sqrt(inputs) and 1/sqrt(inputs). The polar factor of a Gaussian
        matrix, with which the other layers begin, is Haar distributed.
        """
        setting, rng = self.setting, stream(self.setting.seed, streams.TRAINING_WEIGHTS)
        width, dtype = setting.width, np.dtype(setting.precision)
        first, readout = ((width, setting.features), (setting.classes, width))

        def linear(shape: tuple[int, ...], inputs: int) -> FloatArray:
            return np.asarray(rng.uniform(-1.0, 1.0, shape) / np.sqrt(inputs))

        weights = [linear(first, setting.features)]
        weights += [haar(rng, width) for _ in range(setting.depth)]
        weights.append(linear(readout, width))
        biases = [linear((width,), setting.features), *[np.zeros(width)] * setting.depth]
        biases.append(linear((setting.classes,), width))
        batch_norm = self.treatment == BATCH_NORMALIZED
        normalized = [*layers([width] * (setting.depth + 1), affine=True, dtype=dtype), None] if batch_norm else None
        activations = [self.phi] * (setting.depth + 1) + [Identity()]
        return Network(
            [np.array(matrix, dtype) for matrix in weights],
            activations,
            [np.array(bias, dtype) for bias in biases],
            normalized,
            dtype=dtype,
        )
