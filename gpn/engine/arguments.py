"""Checks of arguments that the engine and the samplers share."""

import operator
from typing import SupportsIndex

import numpy as np

from theory.errors import UsageError


def count(name: str, value: SupportsIndex, minimum: int = 1, maximum: int | None = None) -> int:
    """Check that an argument is a whole number within limits, and return it as an int.

    Args:
        name: what a message calls the argument.
        value: the argument.
        minimum, maximum: the limits, both allowed; None for no upper one.

    Raises:
        UsageError: anything else (a boolean and a float, even 3.0, are refused).

    >>> count("depth", np.int64(3))
    3
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = minimum - 1
    if isinstance(value, bool | np.bool_) or number < minimum or (maximum is not None and number > maximum):
        allowed = f"of at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"
        raise UsageError(f"{name} must be a whole number {allowed}, not {value!r}")
    return number


def check_generator(rng: np.random.Generator) -> None:
    """Check that the source of randomness is a NumPy generator.

    Raises:
        UsageError: anything else, a seed for instance.
    """
    if not isinstance(rng, np.random.Generator):
        raise UsageError(f"rng must be a numpy.random.Generator, not {rng!r}; try numpy.random.default_rng(seed)")
