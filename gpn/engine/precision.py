"""Arithmetic of fewer digits than float64: each result of a layer is rounded as the format would hold it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from gpn.engine.norms import FloatArray, quiet
from theory.errors import unknown

Rounding = Callable[[FloatArray], None]
"""Rounds an array in place."""


def _to(dtype: type[np.floating], array: FloatArray) -> None:
    array[...] = array.astype(dtype)


def _to_bfloat16(array: FloatArray) -> None:
    """The upper half of the bits of a float32, to nearest and ties to even."""
    single = array.astype(np.float32)
    bits = single.view(np.uint32)
    odd = (bits >> 16) & 1
    np.copyto(bits, (bits + 0x7FFF + odd) & 0xFFFF0000, where=~np.isnan(single))
    array[...] = single


FORMATS: Mapping[str, Rounding | None] = MappingProxyType(
    {
        "float64": None,
        "float32": lambda array: _to(np.float32, array),
        "float16": lambda array: _to(np.float16, array),
        "bfloat16": _to_bfloat16,
    }
)
"""Format -> what rounds to it; None for the arithmetic of the machine itself."""


def round_to(precision: str, array: FloatArray) -> FloatArray:
    """Round an array in place to the nearest numbers of a format, and give it back.

    Sums are computed in float64 and rounded once, as a processor does that accumulates in more digits than it stores.
    A number that the format cannot hold becomes infinite, or 0.

    Args:
        precision: a key of `FORMATS`.
        array: of any shape; its memory is written to.

    Raises:
        UsageError: another format.

    >>> for name in ("bfloat16", "float16"):
    ...     print([float(number) for number in round_to(name, np.array([1.0 + 2.0**-9, 1.0 + 3 * 2.0**-8, 1e5]))])
    [1.0, 1.015625, 99840.0]
    [1.001953125, 1.01171875, inf]
    """
    if precision not in FORMATS:
        raise unknown("precision", precision, FORMATS)
    function = FORMATS[precision]
    if function is not None:
        with quiet():
            function(array)
    return array
