"""How the numerics evaluate an activation."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from gpn.engine.norms import FloatArray
from theory.errors import UsageError


class ElementwiseActivation(Protocol):
    """The protocol of an activation: phi(x) and phi'(x) as two fresh float64 arrays of x's shape."""

    def value_and_slope(self, x: FloatArray, /) -> tuple[FloatArray, FloatArray]: ...


@runtime_checkable
class Evaluation(Protocol):
    """An activation evaluated into arrays of the caller's, of the shape of h."""

    def value_into(self, h: FloatArray, out: FloatArray, /) -> None:
        """Write phi(h) into `out`."""

    def value_and_slope_into(self, h: FloatArray, value: FloatArray, slope: FloatArray, /) -> None:
        """Write phi(h) and phi'(h)."""


@dataclass(frozen=True, slots=True)
class _Copied:
    """An activation that gives fresh arrays; with `value` only that is asked where the slope is not wanted."""

    activation: ElementwiseActivation

    def value_into(self, h: FloatArray, out: FloatArray, /) -> None:
        value = getattr(self.activation, "value", None)
        out[...] = value(h) if callable(value) else self.activation.value_and_slope(h)[0]

    def value_and_slope_into(self, h: FloatArray, value: FloatArray, slope: FloatArray, /) -> None:
        value[...], slope[...] = self.activation.value_and_slope(h)


def evaluation(activation: ElementwiseActivation) -> Evaluation:
    """Evaluate an activation into given arrays, without a copy if it offers that itself.

    >>> class Square:
    ...     def value_and_slope(self, x):
    ...         return x * x, 2.0 * x
    >>> value, slope = np.empty(2), np.empty(2)
    >>> evaluation(Square()).value_and_slope_into(np.array([1.0, 3.0]), value, slope)
    >>> value, slope
    (array([1., 9.]), array([2., 6.]))
    """
    return activation if isinstance(activation, Evaluation) else _Copied(activation)


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
