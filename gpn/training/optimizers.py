"""Gradient steps: SGD, momentum, AdaGrad, RMSProp and Adam, as PyTorch defines them.

An optimizer changes one parameter array at a time, in place, so that a step can follow the backward pass down the
layers. What it remembers lies in arrays of the parameters' shapes, made in advance.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import ClassVar, Protocol

import numpy as np

from gpn.engine.norms import FloatArray
from theory.errors import UsageError, unknown
from theory.trainability.step_size import StepSize

Memory = tuple[FloatArray, ...]
"""What an optimizer remembers of one parameter array, each of its shape."""


class Optimizer(Protocol):
    """A rule that turns a gradient into a change of a parameter array."""

    slots: ClassVar[tuple[str, ...]]
    """Names of the arrays of the memory; all begin at zero."""

    def step(self, parameter: FloatArray, gradient: FloatArray, memory: Memory, rate: float, time: int) -> None:
        """Change a parameter array in place.

        Args:
            parameter: theta, any shape.
            gradient: g, of the same shape; it may be overwritten.
            memory: the arrays named by `slots`.
            rate: eta, the learning rate of this step.
            time: t = 1, 2, ..., the number of this step.
        """


@dataclass(frozen=True, slots=True)
class _CheckedConstants:
    """Checks the constants of an optimizer: epsilon is above 0, every other one a share from 0 to below 1."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "epsilon" and not 0.0 < value < float("inf"):
                raise UsageError(f"epsilon must be above 0, not {value!r}; usual is 1e-8")
            if field.name != "epsilon" and not 0.0 <= value < 1.0:
                raise UsageError(f"{field.name} must be at least 0 and below 1, not {value!r}; usual is 0.9")


@dataclass(frozen=True, slots=True)
class SGD:
    r"""Stochastic gradient descent.

    $$\theta \leftarrow \theta - \eta\, g$$

    Source: H. Robbins, S. Monro (1951); `torch.optim.SGD`.

    >>> theta = np.ones(2)
    >>> SGD().step(theta, np.array([1.0, 2.0]), (), rate=0.5, time=1)
    >>> theta
    array([0.5, 0. ])
    """

    slots: ClassVar[tuple[str, ...]] = ()

    def step(self, parameter: FloatArray, gradient: FloatArray, memory: Memory, rate: float, time: int) -> None:  # noqa: ARG002
        gradient *= rate
        parameter -= gradient


@dataclass(frozen=True, slots=True)
class Momentum(_CheckedConstants):
    r"""Gradient descent with momentum.

    $$v \leftarrow \mu v + g, \qquad \theta \leftarrow \theta - \eta\, v$$

    Source: B. Polyak (1964), in the form of `torch.optim.SGD(momentum=...)` without dampening.

    Args:
        momentum: \mu, from 0 to below 1.
    """

    momentum: float = 0.9
    slots: ClassVar[tuple[str, ...]] = ("velocity",)

    def step(self, parameter: FloatArray, gradient: FloatArray, memory: Memory, rate: float, time: int) -> None:  # noqa: ARG002
        (velocity,) = memory
        velocity *= self.momentum
        velocity += gradient
        np.multiply(velocity, rate, out=gradient)
        parameter -= gradient


@dataclass(frozen=True, slots=True)
class AdaGrad(_CheckedConstants):
    r"""Steps shortened by all squared gradients so far.

    $$s \leftarrow s + g^2, \qquad \theta \leftarrow \theta - \eta\, g / (\sqrt{s} + \epsilon)$$

    Source: J. Duchi, E. Hazan, Y. Singer (2011); `torch.optim.Adagrad`.

    Args:
        epsilon: keeps the quotient finite, above 0.
    """

    epsilon: float = 1e-10
    slots: ClassVar[tuple[str, ...]] = ("squares",)

    def step(self, parameter: FloatArray, gradient: FloatArray, memory: Memory, rate: float, time: int) -> None:  # noqa: ARG002
        (squares,) = memory
        squares += gradient * gradient
        _shortened(parameter, gradient, squares, self.epsilon, rate)


@dataclass(frozen=True, slots=True)
class RMSProp(_CheckedConstants):
    r"""Steps shortened by a running mean of squared gradients.

    $$s \leftarrow \alpha s + (1 - \alpha) g^2, \qquad \theta \leftarrow \theta - \eta\, g / (\sqrt{s} + \epsilon)$$

    Source: T. Tieleman, G. Hinton, Lecture 6.5 (2012); `torch.optim.RMSprop`.

    Args:
        decay: \alpha, from 0 to below 1.
        epsilon: keeps the quotient finite, above 0.
    """

    decay: float = 0.99
    epsilon: float = 1e-8
    slots: ClassVar[tuple[str, ...]] = ("squares",)

    def step(self, parameter: FloatArray, gradient: FloatArray, memory: Memory, rate: float, time: int) -> None:  # noqa: ARG002
        (squares,) = memory
        _average(squares, gradient * gradient, self.decay)
        _shortened(parameter, gradient, squares, self.epsilon, rate)


@dataclass(frozen=True, slots=True)
class Adam(_CheckedConstants):
    r"""Adaptive moments.

    $$m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad s \leftarrow \beta_2 s + (1 - \beta_2) g^2, \quad
    \theta \leftarrow \theta - \frac{\eta}{1 - \beta_1^t}\,
    \frac{m}{\sqrt{s} / \sqrt{1 - \beta_2^t} + \epsilon}$$

    Source: D. Kingma, J. Ba (2014), arXiv 1412.6980; `torch.optim.Adam`.

    Args:
        first, second: \beta_1 and \beta_2, from 0 to below 1.
        epsilon: keeps the quotient finite, above 0.
    """

    first: float = 0.9
    second: float = 0.999
    epsilon: float = 1e-8
    slots: ClassVar[tuple[str, ...]] = ("means", "squares")

    def step(self, parameter: FloatArray, gradient: FloatArray, memory: Memory, rate: float, time: int) -> None:
        means, squares = memory
        scratch = np.multiply(gradient, gradient)
        _average(squares, scratch, self.second)
        gradient *= 1.0 - self.first
        means *= self.first
        means += gradient
        root = np.sqrt(squares, out=scratch)
        root /= np.sqrt(1.0 - self.second**time)
        root += self.epsilon
        np.divide(means, root, out=gradient)
        gradient *= rate / (1.0 - self.first**time)
        parameter -= gradient


OPTIMIZERS: Mapping[str, type[Optimizer]] = MappingProxyType(
    {"sgd": SGD, "momentum": Momentum, "adagrad": AdaGrad, "rmsprop": RMSProp, "adam": Adam}
)
"""Name -> class; each has defaults for all of its arguments."""


def optimizer(spec: "str | Optimizer") -> Optimizer:
    """Return the optimizer of a name, with its usual constants; an object that has `step` is returned as it is.

    Raises:
        UsageError: an unknown name.

    >>> optimizer("adam")
    Adam(first=0.9, second=0.999, epsilon=1e-08)
    """
    if not isinstance(spec, str):
        if not hasattr(spec, "step"):
            raise UsageError(f"{spec!r} is not an optimizer; name one of {', '.join(OPTIMIZERS)}")
        return spec
    if spec not in OPTIMIZERS:
        raise unknown("optimizer", spec, OPTIMIZERS)
    return OPTIMIZERS[spec]()


def memories(rule: Optimizer, parameters: Sequence[FloatArray]) -> tuple[Memory, ...]:
    """Return zeros for everything that an optimizer remembers, one tuple for each parameter array."""
    return tuple(tuple(np.zeros_like(parameter) for _ in rule.slots) for parameter in parameters)


def _average(mean: FloatArray, newest: FloatArray, decay: float) -> None:
    """mean <- decay mean + (1 - decay) newest, in place; `newest` is overwritten."""
    mean *= decay
    newest *= 1.0 - decay
    mean += newest


def _shortened(parameter: FloatArray, gradient: FloatArray, squares: FloatArray, epsilon: float, rate: float) -> None:
    """theta <- theta - rate g / (sqrt(s) + epsilon), in place; the gradient is overwritten."""
    root = np.sqrt(squares)
    root += epsilon
    gradient *= rate
    gradient /= root
    parameter -= gradient


SCHEDULES: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {
        "constant": lambda _: 1.0,
        "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
        "linear": lambda done: 1.0 - done,
        "step": lambda done: 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01,
    }
)
"""Name -> factor of the learning rate after the share `done` (0 to 1) of all steps."""


_OF_GRADIENT: Mapping[type[Optimizer], float] = MappingProxyType({SGD: 2.58, Momentum: 0.258})
_OF_ITS_OWN: Mapping[type[Optimizer], float] = MappingProxyType({AdaGrad: 8.0, RMSProp: 0.5, Adam: 2.0})
_SMALLEST, _LARGEST = 0.25, 4.0
_LEAST_CORRELATION = 0.25
_LARGEST_STEP = 0.85


def rate_of_step(
    rule: Optimizer,
    width: int,
    depth: int,
    classes: int,
    step: StepSize,
    correlation: float = 0.4,
    readout_scale: float = 1.0,
) -> float:
    r"""Learning rate for a network whose tangent kernel is known.

    $$\eta = c \min\Big(\frac{K}{X}, \frac{0.85}{\sqrt X}\Big), \quad
    X = \kappa\, n (L + 1)\, \text{size} \cdot \text{spread} \cdot s^2\
    (c = 2.58\ \text{SGD}, 0.258\ \text{momentum}), \qquad
    \eta = \frac{c}{n (L + 1)\, \text{spread}}\ (c = 2\ \text{Adam}, 0.5\ \text{RMSProp}, 8\ \text{AdaGrad})$$

    A step changes the logits by eta times the tangent kernel, whose largest eigenvalue is about n (L + 1) size spread
    s^2, and kappa times this where all samples of a batch pull together; K is the inverse of the largest curvature of
    the loss where nothing is known yet. The second limit is for narrow networks, X < 1.4 K^2: there such a step would
    be larger than the weights. The optimizers that divide by the size of their gradients do not feel size and s. A size
    beyond 1/4 to 4 counts as these: it is that of the start, and a network that learns soon leaves it.
    Derived in docs/training.md; c by measurement (docs/reproduce-training.md).

    Args:
        rule: the optimizer.
        width: n.
        depth: L, hidden layers.
        classes: K.
        step: size and spread of the tangent kernel.
        correlation: kappa, the mean correlation of the inputs; below 1/4 it counts as that.
        readout_scale: s.

    >>> rate_of_step(SGD(), 100, 9, 10, StepSize(1.0, 1.0), 0.5)
    0.0516
    """
    of_gradient = _OF_GRADIENT.get(type(rule))
    if of_gradient is None:
        return _OF_ITS_OWN.get(type(rule), 2.0) / (width * (depth + 1) * step.spread)
    size = min(max(step.size, _SMALLEST), _LARGEST) * step.spread * readout_scale**2
    kernel = max(correlation, _LEAST_CORRELATION) * width * (depth + 1) * size
    return of_gradient * min(classes / kernel, _LARGEST_STEP / math.sqrt(kernel))
