"""Squared lengths through the layers of an infinitely wide network to a few digits: quick, for any function."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
_REACH, _NODES = 9.0, 18_000  # an even number: no node at 0, where kinks are
_SETTLED = 1e-12
LONG, RUNAWAY = 4.0, 10.0
"""A squared length that narrow networks and training reach, and by how much it may grow."""

_LARGEST = 1e100  # squared lengths beyond are not followed


class Evaluated(Protocol):
    """An activation that gives phi and phi'."""

    def value_and_slope(self, x: FloatArray, /) -> tuple[FloatArray, FloatArray]: ...


@dataclass(frozen=True, slots=True)
class LengthPath:
    """Squared lengths and slopes of each layer.

    Args:
        lengths: q_0, ..., q_L per neuron; 1e100 where they are beyond.
        slopes: E phi'^2 of layers 1..L.
        kurtoses: E phi'^4/(E phi'^2)^2 of layers 1..L.
    """

    lengths: list[float]
    slopes: list[float]
    kurtoses: list[float]


def length_path(phi: Evaluated, depth: int, *, gain: float = 1.0, start: float = 1.0) -> LengthPath:
    r"""Follow a squared length through L layers: :math:`q_l = E\, \phi(\sqrt{g q_{l-1}}\, z)^2`.

    By a rule of 18,000 equal steps, to about four digits per layer; `theory.depth.length_map` has them all.

    Args:
        phi: the activation.
        depth: L.
        gain: g, n times the variance of a weight.
        start: q_0.

    >>> class Double:
    ...     def value_and_slope(self, x):
    ...         return 2 * x, np.full_like(x, 2.0)
    >>> [round(q, 6) for q in length_path(Double(), 2).lengths]
    [1.0, 4.0, 16.0]
    """
    z = np.linspace(-_REACH, _REACH, _NODES)
    weights = np.exp(-0.5 * z * z)
    weights /= weights.sum()
    path = LengthPath([start], [], [])
    for layer in range(depth):
        if layer > 1 and abs(path.lengths[-1] - path.lengths[-2]) <= _SETTLED * path.lengths[-1]:
            length, second, fourth = path.lengths[-1], path.slopes[-1], path.kurtoses[-1]
        else:
            with np.errstate(all="ignore"):
                value, slope = phi.value_and_slope(np.sqrt(gain * path.lengths[-1]) * z)
                squares = slope * slope
                second, length = float(weights @ squares), float(weights @ (value * value))
                fourth = float((weights @ (squares * squares)) / np.float64(second) ** 2)
        known = np.isfinite(fourth) and 0 < second < _LARGEST
        path.lengths.append(length if length < _LARGEST else _LARGEST)
        path.slopes.append(second if known else 1.0)
        path.kurtoses.append(max(fourth, 1.0) if known else 1.0)
    return path


def length_growth(phi: Evaluated, depth: int) -> float:
    """By what factor a squared length of 4 grows through L layers; below 1 where it returns.

    Narrow networks and training reach such a length. Where it grows more than tenfold (`RUNAWAY`), networks of width 64
    diverge in training (docs/reproduce-training.md).

    Args:
        phi: the activation.
        depth: L.

    >>> class Double:
    ...     def value_and_slope(self, x):
    ...         return 2 * x, np.full_like(x, 2.0)
    >>> round(length_growth(Double(), 2), 6)
    16.0
    """
    return length_path(phi, depth, start=LONG).lengths[-1] / LONG
