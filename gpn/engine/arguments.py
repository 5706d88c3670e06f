"""Checks of arguments that the engine and the samplers share, and the one vocabulary of the public functions."""

import inspect
import operator
from collections.abc import Callable, Sequence
from functools import wraps
from itertools import product
from typing import Any, ParamSpec, SupportsIndex, TypeVar, cast

import numpy as np

from theory.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")
_SPELLINGS = (("width", "widths"), ("depth", "depths"), ("epsilon", "epsilons"), ("activation", "spec"))


def vocabulary(*single: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a public function take width or widths, depth or depths, epsilon or epsilons, activation or spec.

    Args:
        single: those of its parameters that are about one network. Several values of them, as a list or an array, give
            the list of the results of every combination, in the order of `single`.

    Raises:
        UsageError: (of the function) both spellings of one argument.

    >>> @vocabulary("width", "depth")
    ... def weights(width, depth):
    ...     return width**2 * depth
    >>> weights(4, depths=[1, 2]), weights([4, 8], 1)
    ([16, 32], [16, 64])
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature, call = inspect.signature(function), cast(Callable[..., R], function)
        spellings = {
            other: name
            for pair in _SPELLINGS
            for name, other in (pair, pair[::-1])
            if name in signature.parameters and other not in signature.parameters
        }

        @wraps(function)
        def spelled(*args: Any, **options: Any) -> Any:
            for other in spellings.keys() & options.keys():
                if spellings[other] in options:
                    raise UsageError(f"{spellings[other]} and {other} are the same; give one of them")
                options[spellings[other]] = options.pop(other)
            try:
                given = signature.bind_partial(*args, **options).arguments
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            several = {name: list(given[name]) for name in single if _is_several(given.get(name))}
            if not several:
                return function(*args, **options)
            choices = (dict(zip(several, values, strict=True)) for values in product(*several.values()))
            return [call(**{**given, **chosen}) for chosen in choices]

        return spelled

    return decorate


def _is_several(value: object) -> bool:
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) and np.ndim(value) == 1


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
