"""What a piece of work computes, as a short digest that another process, or another Python, finds again."""

import json
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import sympy

from gpn.experiment.runs import Cell
from theory.activations.activation import Activation
from theory.errors import UsageError

_FAR = np.geomspace(6.0, 600.0, 65)[1:]
_POINTS = np.concatenate([-_FAR[::-1], np.linspace(-6.0, 6.0, 257), _FAR])
"""Where a function without a formula is compared: far out too, where preactivations of a network that grows lie."""


def fingerprint(cell: Cell) -> str:
    """Digest of all that the results of a cell depend on beside the seed: its work, trials, chunk size and identity.

    Args:
        cell: its `compute` made of dataclasses, arrays, numbers, text and activations, however deep.

    Raises:
        UsageError: work that cannot be told from other work, such as a lambda function.

    >>> from gpn.experiment.cells import OneStep
    >>> from theory.activations.specification import activation
    >>> work = OneStep(activation("tanh"), 64, "haar")
    >>> fingerprint(Cell(1, 0, work, trials=100, chunk=10))
    '7ce67841750b978cd5d350c9a80ac69b'
    """
    return digest((cell.experiment, cell.cell, cell.first, cell.trials, cell.chunk, cell.compute))


def digest(value: object) -> str:
    """Digest of the `description` of a value.

    >>> digest(["tanh", 64])
    '4c180a626bf09ff9f63c80ef3a775f90'
    """
    return blake2b(json.dumps(description(value)).encode(), digest_size=16).hexdigest()


def description(value: Any) -> Any:
    """A value as nested lists of text and numbers, equal for equal values in any process.

    Args:
        value: a dataclass, array, number, text, None, sequence, mapping, activation or function of a module.

    Raises:
        UsageError: anything else.

    >>> description((1, 0.5, "haar", None))
    ['tuple', [1, '0x1.0000000000000p-1', 'haar', None]]
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, np.ndarray | np.generic):
        return array_description(np.asarray(value))
    if isinstance(value, tuple | list):
        return [type(value).__name__, [description(item) for item in value]]
    if isinstance(value, dict):
        return ["dict", [[description(key), description(item)] for key, item in value.items()]]
    if isinstance(value, Activation):
        return ["Activation", value.name, sympy.srepr(value.expression)]
    if hasattr(value, "value_and_slope"):  # a function without a formula: its values stand for it
        name, breakpoints = getattr(value, "name", type(value).__name__), getattr(value, "breakpoint_values", ())
        with np.errstate(all="ignore"):
            values = [array_description(np.asarray(part)) for part in value.value_and_slope(_POINTS)]
        return ["activation", name, array_description(np.asarray(breakpoints)), *values]
    if is_dataclass(value) and not isinstance(value, type):
        counting = [field.name for field in fields(value) if field.compare]  # what changes no result is not compared
        own = [[name, description(getattr(value, name))] for name in counting]
        return [_place(type(value)), own]
    return ["function", _place(value)]


def array_description(array: npt.NDArray[Any]) -> list[Any]:
    """Type, shape and a digest of the bytes of an array.

    >>> array_description(np.arange(3.0))
    ['<f8', [3], '06431b6f4bf1e643ccea97cb21d03755']
    """
    whole = np.ascontiguousarray(array)
    if whole.dtype.hasobject:
        raise UsageError("an array of Python objects cannot be told from another; use an array of numbers")
    return [whole.dtype.str, list(array.shape), blake2b(whole.tobytes(), digest_size=16).hexdigest()]


def _place(value: object) -> str:
    """Where a class or function is defined; one inside of another function has no place of its own."""
    name = getattr(value, "__qualname__", "<>")
    if "<" in name:
        raise UsageError(
            f"{value!r:.80} cannot be told from other work, so its results cannot be kept in a run store; use a "
            "dataclass or a function at the top of a module"
        )
    return f"{value.__module__}.{name}"
