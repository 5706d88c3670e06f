"""One step of training: forward, backward, and every array changed on the way down."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from gpn.engine.losses import cross_entropy_of_logits
from gpn.engine.network import Network
from gpn.engine.norms import FloatArray, frobenius_norm, quiet
from gpn.engine.records import Forward, LayerGradient
from gpn.training import orthogonality
from gpn.training.optimizers import Memory, Optimizer, memories

CONSTRAINTS: Mapping[str, str] = MappingProxyType(
    {
        "none": "weights free after the start",
        "penalty": "weights softly penalized by strength * |W^T W - I|_F^2",
        "polar": "weights orthogonal, Riemannian gradient with polar retraction",
        "qr": "weights orthogonal, Riemannian gradient with QR retraction",
        "unit": "the incoming weights of each neuron kept at their first norm, 1 for orthogonal ones",
    }
)
"""Ways to treat the hidden weights during training -> what they mean. The readout is always free."""


_FARTHEST = 1e150  # entries whose squares can still be summed


@dataclass(frozen=True, slots=True)
class StepResult:
    """Loss and accuracy of a batch before the step changed the weights.

    Attributes:
        loss: mean cross-entropy of the batch.
        correct: how many of its samples were classified rightly.
        bad_layer: the first layer whose signal is not finite, None if all is. Otherwise, or if the loss is not finite,
            nothing was changed.
    """

    loss: float
    correct: int
    bad_layer: int | None


class Stepper:
    """Trains a network in place, one batch at a time; all of its state is in `parameters`, `memories` and `time`.

    The top layer is the readout: its outputs are the logits. Every weight matrix is changed as soon as its gradient is
    known and the backward pass has used it, so that one gradient matrix at a time exists and stays in the cache.

    Args:
        network: its arrays are changed.
        rule: the optimizer.
        constraint: a key of `CONSTRAINTS`, for all layers but the readout.
        strength: the strength of the penalty.
        free: layers, counted from 0, that the constraint leaves free, like the readout.
        biased: layers whose biases are trained; None for all that have biases.
    """

    def __init__(
        self,
        network: Network,
        rule: Optimizer,
        constraint: str = "none",
        strength: float = 1.0,
        *,
        free: Collection[int] = (),
        biased: Collection[int] | None = None,
    ) -> None:
        self.network = network
        self.parameters = parameters(network)
        self.memories = dict(zip(self.parameters, memories(rule, list(self.parameters.values())), strict=True))
        self.time = 0
        self._spared = {*free, network.depth - 1}
        self._biased = range(network.depth) if biased is None else biased
        if constraint == "unit":
            for index in set(range(network.depth)) - self._spared:  # the norms of the parameters are state
                self.memories[f"W{index + 1}"] += (np.linalg.norm(network.weights[index], axis=1, keepdims=True),)
        self._free = rule.step
        self._constrain = _constraint(rule, constraint, strength)
        self._scratch = {matrix.shape: np.empty_like(matrix) for matrix in network.weights}
        self._forward: Forward | None = None

    def step(
        self, x: FloatArray, labels: npt.NDArray[np.int64], rate: float, norms: FloatArray | None = None
    ) -> StepResult:
        """Take one step down the mean cross-entropy of a batch.

        Args:
            x: inputs, array (batch, features); every batch has the same size.
            labels: classes, integers (batch,).
            rate: the learning rate.
            norms: array (layers,) to be filled with |dE/dW_l|_F of the mean loss, or None.
        """
        forward = self._forward = self.network.forward(x, out=self._forward, keep=True)
        losses, residuals = cross_entropy_of_logits(forward.outputs, labels)
        loss, correct = float(losses.mean()), int((forward.outputs.argmax(axis=1) == labels).sum())
        if forward.first_nonfinite_layer is not None or not np.isfinite(loss):
            return StepResult(loss, correct, forward.first_nonfinite_layer)
        self.time += 1
        residuals /= len(x)
        with quiet():
            for layer in self.network.sweep(forward, residuals):
                self._change(layer, rate, norms)
        for normalization, statistics in zip(self.network.normalizations, forward.statistics, strict=True):
            if normalization is not None and statistics is not None:
                normalization.track(statistics)
        return StepResult(loss, correct, None)

    def _change(self, layer: LayerGradient, rate: float, norms: FloatArray | None) -> None:
        """Change everything of one layer."""
        index, network = layer.index, self.network
        weights = network.weights[index]
        gradient = np.matmul(layer.d.T, layer.x, out=self._scratch[weights.shape])
        if norms is not None:
            norms[index] = frobenius_norm(gradient)
        change = self._free if index in self._spared else self._constrain
        change(weights, gradient, self.memories[f"W{index + 1}"], rate, self.time)
        if network.biases and index in self._biased:
            self._free(network.biases[index], layer.d.sum(axis=0), self.memories[f"b{index + 1}"], rate, self.time)
        normalization = network.normalizations[index] if network.normalizations else None
        if normalization is None or layer.normalization is None or normalization.gains is None:
            return
        for name, slope in zip(("gain", "shift"), layer.normalization, strict=True):
            key = f"{name}{index + 1}"
            self._free(self.parameters[key], slope, self.memories[key], rate, self.time)


def parameters(network: Network) -> dict[str, FloatArray]:
    """Every array that training changes by its gradient: W1, b1, gain1, shift1, W2, ...

    >>> class Square:
    ...     def value_and_slope(self, x):
    ...         return x * x, 2.0 * x
    >>> list(parameters(Network([np.eye(2), np.eye(2)], Square(), [np.zeros(2), np.zeros(2)])))
    ['W1', 'b1', 'W2', 'b2']
    """
    named: dict[str, FloatArray] = {}
    for layer, weights in enumerate(network.weights, start=1):
        named[f"W{layer}"] = weights
        if network.biases:
            named[f"b{layer}"] = network.biases[layer - 1]
        normalization = network.normalizations[layer - 1] if network.normalizations else None
        if normalization is not None and normalization.gains is not None and normalization.shifts is not None:
            named |= {f"gain{layer}": normalization.gains, f"shift{layer}": normalization.shifts}
    return named


def running_statistics(network: Network) -> dict[str, FloatArray]:
    """Every array that training changes by other means: mean1, variance1, ... of batch normalization."""
    named: dict[str, FloatArray] = {}
    for layer, normalization in enumerate(network.normalizations, start=1):
        if normalization is not None:
            named |= {f"mean{layer}": normalization.means, f"variance{layer}": normalization.variances}
    return named


_Change = Callable[[FloatArray, FloatArray, Memory, float, int], None]


def _constraint(rule: Optimizer, constraint: str, strength: float) -> _Change:
    """How a hidden weight matrix is changed by its gradient."""
    if constraint == "none":
        return rule.step
    if constraint == "penalty":

        def penalized(weights: FloatArray, gradient: FloatArray, memory: Memory, rate: float, time: int) -> None:
            gradient += orthogonality.penalty(weights, strength)[1]
            rule.step(weights, gradient, memory, rate, time)

        return penalized
    if constraint == "unit":
        return partial(_unit_step, rule)
    retract = orthogonality.RETRACTIONS[constraint]

    def retracted(weights: FloatArray, gradient: FloatArray, memory: Memory, rate: float, time: int) -> None:
        """The step of the optimizer, projected to the tangent space if its memory leads out of it, and retracted.

        A step that leads out of the range of numbers leaves nan, which the next forward pass reports.
        """
        start = weights.copy()
        rule.step(weights, orthogonality.tangent(start, gradient), memory, rate, time)
        if memory:
            weights -= start
            weights[...] = start + orthogonality.tangent(start, weights)
        weights[...] = retract(weights) if np.abs(weights).max() < _FARTHEST else np.nan

    return retracted


def _unit_step(
    rule: Optimizer, weights: FloatArray, gradient: FloatArray, memory: Memory, rate: float, time: int
) -> None:
    r"""Step of the parameters V where W is V with rows of constant norms: the gradient goes through the norms.

    $$w = \rho\, v / |v|, \qquad \frac{\partial E}{\partial v} = \frac{\rho}{|v|}
    \bigl(g - \hat w\, (\hat w \cdot g)\bigr), \qquad \hat w = v / |v|$$

    (T. Salimans, D. Kingma 2016, arXiv 1602.07868, with constant rho.) The norms |v| are the last of the memory.
    """
    *held, norms = memory
    lengths = np.linalg.norm(weights, axis=1, keepdims=True)
    weights /= lengths
    gradient -= weights * np.einsum("ij,ij->i", weights, gradient)[:, None]
    gradient *= lengths / norms
    weights *= norms
    rule.step(weights, gradient, tuple(held), rate, time)
    norms[...] = np.linalg.norm(weights, axis=1, keepdims=True)
    weights *= lengths / norms
