"""How the numerics evaluate an activation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from theory.errors import UsageError

FloatArray = npt.NDArray[np.float64]


class ElementwiseActivation(Protocol):
    """What the numerics ask of an activation: phi(x) and phi'(x) as two fresh float64 arrays of x's shape."""

    def value_and_slope(self, x: FloatArray, /) -> tuple[FloatArray, FloatArray]: ...


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An activation that may use arrays of the caller's.

    Attributes:
        value: gives phi(h) for h and an array that may be overwritten.
        value_and_slope: gives phi(h) and phi'(h) for h and two arrays that may be overwritten.
    """

    value: Callable[[FloatArray, FloatArray], FloatArray]
    value_and_slope: Callable[[FloatArray, FloatArray, FloatArray], tuple[FloatArray, FloatArray]]


def evaluation(activation: ElementwiseActivation) -> Evaluation:
    """Use what an activation offers: evaluation in place, value alone, or fresh arrays of value and slope."""
    if hasattr(activation, "value_into") and hasattr(activation, "value_and_slope_into"):

        def value(h: FloatArray, out: FloatArray) -> FloatArray:
            activation.value_into(h, out)
            return out

        def value_and_slope(h: FloatArray, x: FloatArray, slope: FloatArray) -> tuple[FloatArray, FloatArray]:
            activation.value_and_slope_into(h, x, slope)
            return x, slope

        return Evaluation(value, value_and_slope)
    alone = getattr(activation, "value", None) or (lambda h: activation.value_and_slope(h)[0])
    return Evaluation(lambda h, _: alone(h), lambda h, _x, _slope: activation.value_and_slope(h))


def check_activation(activation: ElementwiseActivation) -> None:
    """Check on two points that an activation keeps its promise: two fresh float64 arrays of the same shape.

    Raises:
        UsageError: no `value_and_slope`, other shapes or types, or arrays that share memory.
    """
    if not hasattr(activation, "value_and_slope"):
        raise UsageError(f"{activation!r} has no value_and_slope; pass gpn.activation({activation!r})")
    points = np.array([[-0.5, 0.5]])
    arrays = tuple(activation.value_and_slope(points))
    good = [isinstance(a, np.ndarray) and a.shape == points.shape and a.dtype == np.float64 for a in arrays]
    if good != [True, True]:
        raise UsageError(f"value_and_slope of {activation!r} must return two float64 arrays of the input's shape")
    value, slope = arrays
    if any(np.may_share_memory(a, b) for a, b in ((value, slope), (value, points), (slope, points))):
        raise UsageError(f"value_and_slope of {activation!r} must return fresh arrays: they are overwritten")
