"""Learning rates: their course over a run, and the size that depth asks for."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from gpn.optimizers import SGD, AdaGrad, Adam, Momentum, Optimizer, RMSProp
from theory.errors import unknown

SCHEDULES: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {
        "constant": lambda _: 1.0,
        "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
        "linear": lambda done: 1.0 - done,
        "step": lambda done: 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01,
    }
)
"""Name -> factor of the learning rate when the share `done` (0 to 1) of all steps is behind."""


def schedule(name: str) -> Callable[[float], float]:
    """The course of the learning rate of a name.

    Raises:
        UsageError: an unknown name.

    >>> schedule("step")(0.6)
    0.1
    """
    if name not in SCHEDULES:
        raise unknown("schedule", name, SCHEDULES)
    return SCHEDULES[name]


_SIZES: Mapping[type[Optimizer], float] = MappingProxyType(
    {SGD: 8.0, Momentum: 0.8, AdaGrad: 1.0, RMSProp: 0.25, Adam: 0.25}
)


def default_rate(rule: Optimizer, width: int, depth: int) -> float:
    r"""A learning rate to begin with.

    $$\eta = \frac{c}{n L}, \qquad c = 8\ (\text{SGD}), 0.8\ (\text{momentum}), 1\ (\text{AdaGrad}),
    0.25\ (\text{RMSProp, Adam})$$

    A step changes the loss by eta |d_l|^2 |x_{l-1}|^2 in each layer; with |x|^2 = n and gradients of equal norm in all
    layers that is proportional to eta n L (derived in docs/training.md). The constants are by experience with the
    digits, for a readout of scale 1; SGD and momentum want them divided by the square of another scale.

    Args:
        rule: the optimizer.
        width: n.
        depth: L, hidden layers.

    >>> default_rate(SGD(), 100, 10)
    0.008
    """
    return _SIZES.get(type(rule), 0.25) / (width * depth)
