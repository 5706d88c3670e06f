"""The shape of a network as people have them: widths, gains, biases and residual branches, read once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from gpn.engine.arguments import count
from gpn.engine.norms import FloatArray
from theory.errors import UsageError

Numbers = float | Sequence[float]

_LARGEST = 1e50
"""Of gains, biases and branches, so that fourth powers stay in the range of float64."""


@dataclass(frozen=True, slots=True)
class Shape:
    r"""Widths, gains, biases and branches of the L layers of a network.

        h_l = g_l W_l x_{l-1} + b_l,   b_l ~ N(0, sigma_l^2 I),   x_l = phi_l(h_l),
    and in a layer with a residual branch x_l = x_{l-1} + alpha phi_l(h_l). The gain is part of the weights, so that
    dE/dW_l is the gradient for the matrix g_l W_l that a framework holds.

    Attributes:
        widths: n_0, ..., n_L.
        gains: g_1, ..., g_L.
        biases: sigma_1, ..., sigma_L, 0 for a layer without a bias.
        residual: alpha, for a branch around each layer that keeps its width; None for no branches.

    >>> Shape.read([784, 512, 10], gain=1.5, bias=[0.1, 0.0])
    Shape(widths=(784, 512, 10), gains=(1.5, 1.5), biases=(0.1, 0.0), residual=None)
    """

    widths: tuple[int, ...]
    gains: tuple[float, ...]
    biases: tuple[float, ...]
    residual: float | None = None

    @classmethod
    def read(
        cls, layers: Sequence[int], gain: Numbers = 1.0, bias: Numbers = 0.0, residual: float | None = None
    ) -> "Shape":
        """Check what a user says about the shape of a network.

        Args:
            layers: n_0, ..., n_L, whole numbers of at least 1, two or more.
            gain: one positive number for all layers, or one for each.
            bias: the standard deviation of the entries of b_l, one for all layers, or one for each.
            residual: alpha, or None for no branches.

        Raises:
            UsageError: anything else.
        """
        if isinstance(layers, str) or np.ndim(layers) != 1 or len(layers) < 2:
            raise UsageError(
                f"layers are the widths n_0, ..., n_L of at least one layer, not {layers!r:.60}; try 64,32"
            )
        widths = tuple(count("every width of layers", width) for width in layers)
        gains, biases = (_each(name, given, len(widths) - 1) for name, given in (("gain", gain), ("bias", bias)))
        if min(gains) <= 0:
            raise UsageError(f"every gain must be a positive number, not {min(gains):g}")
        if min(biases) < 0:
            raise UsageError(f"a bias is a standard deviation, at least 0, not {min(biases):g}")
        if residual is not None and not np.isfinite(residual):
            raise UsageError(
                f"residual, the factor alpha of x + alpha phi(h), must be a finite number, not {residual!r}"
            )
        if not (min(gains) * _LARGEST >= 1 and max(*gains, *biases, abs(residual or 0.0)) <= _LARGEST):
            raise UsageError(f"gains lie between {1 / _LARGEST:g} and {_LARGEST:g}; biases and residual are not larger")
        return cls(widths, gains, biases, None if residual is None else float(residual))

    @classmethod
    def square(cls, width: int, depth: int) -> "Shape":
        """The shape of the theorem: layers of one width, gain 1, no bias, no branch.

        >>> Shape.square(4, 2).widths
        (4, 4, 4)
        """
        return cls((width,) * (depth + 1), (1.0,) * depth, (0.0,) * depth)

    @property
    def depth(self) -> int:
        """L."""
        return len(self.gains)

    @property
    def is_square(self) -> bool:
        """Whether it is that of the theorem: one width, gain 1, no bias, no branch."""
        return self == Shape.square(self.widths[0], self.depth)

    @property
    def branches(self) -> tuple[float | None, ...]:
        """Alpha of each layer, None for a layer without a branch: all of them, or those that change the width."""
        return tuple(None if below != above else self.residual for below, above in pairwise(self.widths))

    def fed_by(self, features: int) -> "Shape":
        """The shape with so many features in its inputs."""
        return replace(self, widths=(features, *self.widths[1:]))


def numbers(name: str, given: Numbers) -> FloatArray:
    """Check one finite number, or several, and return them as an array of no or one dimension.

    Args:
        name: what a message calls them.
        given: the numbers.

    Raises:
        UsageError: anything else.
    """
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.full((1, 1), np.nan)
    if array.ndim > 1 or not np.isfinite(array).all():
        raise UsageError(f"{name} must be one finite number, or one for each layer, not {given!r:.60}")
    return array


def _each(name: str, given: Numbers, depth: int) -> tuple[float, ...]:
    """A number for each layer."""
    array = numbers(name, given)
    if array.shape not in ((), (depth,)):
        raise UsageError(f"{name} must be one number, or one for each of the {depth} layers, not {given!r:.60}")
    return tuple(float(number) for number in np.broadcast_to(array, depth))
