"""What one chunk of trials computes: picklable descriptions of an experiment, run with a generator of their own."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gpn.engine.shape import Shape
from gpn.sampling import batch_sampler, passes, rare_events, sampler, simulation
from gpn.sampling.ends import ends_of
from theory.activations.activation import Activation, NumericActivation
from theory.activations.callable import CallableActivation
from theory.claims.counted import CountedClaim
from theory.numerics.arithmetic import FloatArray

_NO_ENDS: dict[str, Any] = {"inputs": None, "readout": "random", "labels": None, "classes": None}
_BLOCK = 2**16  # numbers that are worked on together


@dataclass(frozen=True)
class OneStep:
    """One layer with |h|^2 = width: squared length forward, and backward from a fresh and from a fixed direction."""

    activation: NumericActivation
    width: int
    weights: str
    method: str = "matrix-free"

    def __call__(self, rng: np.random.Generator, trials: int) -> dict[str, FloatArray]:
        draw = simulation.dense_one_step if self.method == "dense" else sampler.one_step
        ratios = draw(self.activation, self.width, trials, rng, weights=self.weights)
        return {
            CountedClaim.FORWARD.value: ratios.forward,
            CountedClaim.BACKWARD_RANDOM.value: ratios.backward_random,
            CountedClaim.BACKWARD_FIXED.value: ratios.backward_fixed,
        }


@dataclass(frozen=True)
class NormalLayer:
    """Standard normal pre-activations z, as W x for x ~ N(0, I): |phi(z)|^2/n, and |phi'(z)|^2/n for a flat direction.

    Beside them the squared lengths of the first k coordinates of sqrt(n) z/|z|, which is W x for |x|^2 = n.

    Args:
        activation: phi.
        width: n.
        counts: the numbers k.
    """

    activation: NumericActivation
    width: int
    counts: tuple[int, ...]

    def __call__(self, rng: np.random.Generator, trials: int) -> dict[str, FloatArray]:
        rows = max(1, _BLOCK // self.width)
        blocks = [self._block(rng, min(rows, trials - start)) for start in range(0, trials, rows)]
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}

    def _block(self, rng: np.random.Generator, trials: int) -> dict[str, FloatArray]:
        z = rng.standard_normal((trials, self.width))
        with np.errstate(over="ignore", invalid="ignore"):
            value, slope = self.activation.value_and_slope(z)
            forward, backward = ((values * values).mean(axis=1) for values in (value, slope))
        squares = z * z
        shares = {coordinates(k): squares[:, :k].sum(axis=1) for k in self.counts}
        on_shell = {name: self.width * share / squares.sum(axis=1) for name, share in shares.items()}
        return {CountedClaim.GAUSSIAN_FORWARD.value: forward, CountedClaim.GAUSSIAN_BACKWARD.value: backward} | on_shell


def coordinates(count: int) -> str:
    """Return the name of the squared lengths of so many coordinates among the results of `NormalLayer`."""
    return f"{CountedClaim.COORDINATES} {count}"


@dataclass(frozen=True)
class RareEvent:
    """One layer with tilted coordinates: logarithms of unbiased estimates of the probability of a rare event."""

    activation: CallableActivation | Activation
    event: rare_events.TailEvent
    tilt: rare_events.Tilt

    def __call__(self, rng: np.random.Generator, trials: int) -> dict[str, FloatArray]:
        estimates = rare_events.importance_sample(self.activation, self.event, self.tilt, trials, rng)
        return {"log_estimates": estimates}


@dataclass(frozen=True)
class RealInputs:
    """Vectors on the thin shell, and their labels if the gradients are those of a classification loss.

    Args:
        vectors: array (samples, features), |x|^2 = width for each row.
        labels: integers (samples,) below classes, or None for a random readout direction.
    """

    vectors: FloatArray
    labels: npt.NDArray[np.int64] | None
    classes: int

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], width: int) -> dict[str, Any]:
        """Inputs drawn from the data with replacement, padded with zeros to the width; options of the samplers.

        The padding changes nothing for a Haar matrix; for independent weights it keeps |h_1| at the scale of |x_0|.
        """
        index = rng.integers(len(self.vectors), size=shape)
        ends: dict[str, Any] = {"inputs": np.zeros((*shape, width))}
        ends["inputs"][..., : self.vectors.shape[1]] = self.vectors[index]
        if self.labels is not None:
            ends |= {"readout": "loss", "labels": self.labels[index], "classes": self.classes}
        return ends


@dataclass(frozen=True)
class Deep:
    """A whole network, forward and backward: log(|dE/dW_l|_F / sqrt(width)) for every layer, for |dE/dx_L| = 1.

    A network that preserves all norms has 0 everywhere; one that float64 cannot hold has a spread of nan, and the first
    layer that is lost is kept (0 for none). With labels |dE/dx_L| is that of the loss. The logarithms of
    all layers are kept only for a network whose profile is drawn, otherwise only the spread of each trial;
    With a shape it is log(|dE/dW_l|_F / sqrt(n_{l-1})), and the width that of the widest layer; `last` is the
    activation of the last layer where that is another one.
    `keep_backward` keeps log |d_l| too. The method is that of `gpn.simulate`. How many bytes of memory the
    sampler may take changes no bit, so it is not a part of what the cell is.
    """

    activation: NumericActivation
    width: int
    depth: int
    weights: str
    inputs: RealInputs | None = None
    keep_layers: bool = False
    keep_backward: bool = False
    method: str = "matrix-free"
    memory: int | None = field(default=None, compare=False)
    shape: Shape | None = None
    last: NumericActivation | None = None

    def __call__(self, rng: np.random.Generator, trials: int) -> dict[str, FloatArray]:
        sample = self.sample(rng, trials)
        log_gradients = self.log_gradients(sample)
        lost = sample.lost_in
        kept = {"log_gradients": log_gradients} if self.keep_layers else {}
        if self.keep_backward:
            with np.errstate(divide="ignore"):  # a gradient that vanished
                kept["log_backward"] = np.log(sample.backward_norms)
        spreads = np.where(lost > 0, np.nan, spread(log_gradients))
        return {"spread": spreads, "lost in": lost.astype(np.float64), **kept}

    def sample(self, rng: np.random.Generator, trials: int, watch: passes.Watch | None = None) -> sampler.Sample:
        """Draw the networks.

        Args:
            rng, trials: the randomness, and how many.
            watch: called with the vectors of every layer, see `gpn.sampling.passes.Watch`.
        """
        first, last = (self.width, None) if self.shape is None else (self.shape.widths[0], self.shape.widths[-1])
        drawn = self.inputs.draw(rng, (trials,), first) if self.inputs else {}
        phi = self.activation if self.last is None else [*[self.activation] * (self.depth - 1), self.last]
        if self.method == "dense":
            ends = ends_of(first, trials, 1, **(_NO_ENDS | drawn), top=last)
            shape = self.shape or Shape.square(self.width, self.depth)
            return simulation.dense(phi, ends, shape, trials, rng, self.weights, self.memory, watch=watch)
        options: dict[str, Any] = {"weights": self.weights, "memory": self.memory, "watch": watch, **drawn}
        return sampler.sample(phi, first, self.depth, trials, rng, shape=self.shape, **options)

    def log_gradients(self, sample: sampler.Sample) -> FloatArray:
        """log(|dE/dW_l|_F / sqrt(n_{l-1})) of networks that were drawn, array (trials, depth)."""
        widths = self.width if self.shape is None else self.shape.widths[:-1]
        logs: FloatArray = sample.log_gradient_norms - np.log(widths) / 2
        return logs


@dataclass(frozen=True)
class BatchNormalized:
    """A whole network with batch normalization: log(|dE/dW_l|_F / sqrt(width k)) of the loss summed over the k inputs.

    With a random readout each |dE_i/dx_L| is 1.
    """

    activation: NumericActivation
    width: int
    depth: int
    batch: int
    weights: str
    inputs: RealInputs | None = None

    def __call__(self, rng: np.random.Generator, trials: int) -> dict[str, FloatArray]:
        sample = batch_sampler.sample_batch(
            self.activation,
            self.width,
            self.depth,
            trials,
            self.batch,
            rng,
            weights=self.weights,
            batch_normalization=True,
            **(self.inputs.draw(rng, (trials, self.batch), self.width) if self.inputs else {}),
        )
        return {"log_gradients": sample.log_batch_gradient_norms - np.log(self.width * self.batch) / 2}


def spread(log_gradients: FloatArray) -> FloatArray:
    """max_l |log(|dE/dW_l|_F^2 / |dE/dW_L|_F^2)| for each trial: infinite where a gradient vanished, nan if unknown.

    Args:
        log_gradients: natural logarithms of Frobenius norms, up to a common constant, array (trials, depth). What is
            nan, or infinite in the top layer, is not known.

    >>> spread(np.array([[0.5, -1.0, 0.0], [-np.inf, -np.inf, -np.inf], [np.nan, 0.0, 0.0]]))
    array([ 2., inf, nan])
    """
    with np.errstate(invalid="ignore"):  # -inf - -inf, a network whose gradients all vanished
        ratios = 2 * np.abs(log_gradients - log_gradients[:, -1:])
    largest = np.nan_to_num(ratios, nan=np.inf, posinf=np.inf).max(axis=1)
    unknown = np.isnan(log_gradients).any(axis=1) | np.isposinf(log_gradients[:, -1])
    return np.where(unknown, np.nan, largest)
