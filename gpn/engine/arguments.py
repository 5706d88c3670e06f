"""Checks of arguments that the engine and the samplers share."""

import operator

import numpy as np

from theory.errors import UsageError


def count(name: str, value: int, minimum: int = 1) -> int:
    """Check that an argument is a whole number of at least `minimum`, and return it as an int.

    Raises:
        UsageError: anything else (a boolean and a float, even 3.0, are refused).

    >>> count("depth", np.int64(3))
    3
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = minimum - 1
    if isinstance(value, bool | np.bool_) or number < minimum:
        raise UsageError(f"{name} must be a whole number of at least {minimum}, not {value!r}")
    return number


def check_generator(rng: np.random.Generator) -> None:
    """Check that the source of randomness is a NumPy generator.

    Raises:
        UsageError: anything else, a seed for instance.
    """
    if not isinstance(rng, np.random.Generator):
        raise UsageError(f"rng must be a numpy.random.Generator, not {rng!r}; try numpy.random.default_rng(seed)")
