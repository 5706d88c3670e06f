"""What a training run begins with: the activation, the network, the learning rate."""

from dataclasses import dataclass

import numpy as np

from gpn.engine.batch_normalization import layers
from gpn.engine.evaluation import ElementwiseActivation
from gpn.engine.network import Network
from gpn.engine.norms import FloatArray
from gpn.engine.weights import draw
from gpn.experiment import streams
from gpn.training.optimizers import Optimizer, rate_of_step
from gpn.training.settings import ORTHOGONAL, TrainingConfig, TrainingSettings
from theory.trainability.step_size import StepSize, step_size

_GAINS = {"he": 2.0, "he_uniform": 2.0}  # n times the variance of a weight, where it is not 1


def normalized(spec: object, root: str | None) -> tuple[ElementwiseActivation, str | None]:
    """Return phi itself, or normalized, and the root that was chosen.

    Loads SymPy unless an object that evaluates itself is taken as it is.

    Args:
        spec: as for `gpn.activation`.
        root: as for `gpn.normalize`; None leaves phi as it is.
    """
    if root is None and hasattr(spec, "value_and_slope"):
        return spec, None
    from theory.activations.specification import activation
    from theory.normalization.normalize import normalization, normalize

    phi = activation(spec)
    return (phi, None) if root is None else (normalize(phi, root), normalization(phi, root).root)


def default_rate(
    phi: ElementwiseActivation, rule: Optimizer, settings: TrainingSettings, classes: int, correlation: float
) -> float:
    r"""Return the learning rate that a run takes if none is given.

    `gpn.training.optimizers.rate_of_step` of `theory.trainability.step_size.step_size`, for the network as it is drawn.
    With batch normalization, whose gradients are those of another network, the size is left at 1.

    Args:
        phi: the activation, normalized or not.
        rule: the optimizer.
        settings: width, depth, weights, batch normalization and the scale of the readout.
        classes: K.
        correlation: mean correlation of two training samples (`gpn.data.datasets.ThinShell.correlation`).

    >>> from gpn.training.optimizers import SGD
    >>> float(f"{default_rate(Identity(), SGD(), TrainingSettings(width=64, depth=199), 10, 0.4):.6g}")
    0.00503906
    """
    width, depth, weights = settings.width, settings.depth, settings.weights
    gain = _GAINS.get(weights, 1.0)
    step = step_size(phi, width, depth, classes, gain=gain, gaussian=weights not in ORTHOGONAL)
    if settings.batch_normalization:
        step = StepSize(1.0, step.spread)
    return rate_of_step(rule, width, depth, classes, step, correlation, settings.readout_scale)


def build(config: TrainingConfig, phi: ElementwiseActivation) -> Network:
    """Draw the network of a run: the hidden layers from its ensemble, the readout with orthonormal rows.

    Args:
        config: the configuration of the run; its seed alone decides the weights.
        phi: the activation of the hidden layers.
    """
    rng = stream(config.seed, streams.TRAINING_WEIGHTS)
    width, size = config.width, max(config.width, config.features)
    matrices = [draw(config.weights, rng, width, size)[:, : config.features]]
    matrices += [draw(config.weights, rng, width, width) for _ in range(config.depth - 1)]
    matrices.append(config.readout_scale * draw("haar", rng, config.classes, width))
    dtype = np.dtype(config.precision)
    biases = [np.zeros(len(matrix)) for matrix in matrices] if config.biases else None
    normalized_layers = layers([width] * config.depth, affine=True, dtype=dtype) if config.batch_normalization else None
    normalizations = None if normalized_layers is None else [*normalized_layers, None]
    contiguous = [np.ascontiguousarray(matrix, dtype) for matrix in matrices]  # so that a resumed run has the same bits
    return Network(contiguous, [phi] * config.depth + [Identity()], biases, normalizations, dtype=dtype)


@dataclass(frozen=True, slots=True)
class Identity:
    """The activation of a readout."""

    def value_and_slope(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        return x.copy(), np.ones_like(x)


def stream(seed: int, *key: int) -> np.random.Generator:
    """Return a generator of its own for every purpose and epoch: nothing has to be remembered to resume."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
