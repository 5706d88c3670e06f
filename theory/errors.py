"""Errors that a user can cause; mathematical outcomes are values, never exceptions."""

from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Real
from typing import TypeGuard

MOST_LAYERS = 1_000_000
"""The deepest network that is followed layer by layer."""


class GPNError(Exception):
    """Base class of every error that this project raises on purpose."""


class UsageError(GPNError, ValueError):
    """A wrong argument; the message says what was seen, what is allowed and what to try."""


class ContradictionError(GPNError):
    """A report that contradicts itself or a theorem: a defect of this project, never an answer."""


class SpecificationError(UsageError):
    """An activation that cannot be read: unknown name, bad formula, wrong parameters."""


def unknown(what: str, seen: object, known: Iterable[str]) -> UsageError:
    """Refuse an unknown name, and suggest the nearest known one.

    Args:
        what: kind of thing named, such as "optimizer".
        seen: the name that was given.
        known: the names there are.

    >>> print(unknown("weights", "harr", ("haar", "gaussian")))
    unknown weights 'harr'; did you mean 'haar'? (there are haar, gaussian)
    """
    names = list(known)
    near = get_close_matches(str(seen)[:40], names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    shown = str(seen)
    shown = shown if len(shown) <= 40 else f"{shown[:39]}…"
    return UsageError(f"unknown {what} {shown!r}{hint} (there are {', '.join(names)})")


def listed(values: object) -> str:
    """Values in a message: what was given, without the brackets of Python.

    >>> listed([0.5, float("nan")]), listed(3)
    ('0.5, nan', '3')
    """
    return str(values).strip("[]()")


def is_whole(number: object, least: int) -> TypeGuard[float]:
    """Whether something is a whole number, at least so large; 3.0 is one, nan, infinity and True are none.

    >>> is_whole(3.0, 2), is_whole(float("nan"), 2), is_whole(True, 1)
    (True, False, False)
    """
    if not isinstance(number, Real) or isinstance(number, bool):
        return False
    return least <= float(number) < float("inf") and float(number).is_integer()


def layer_count(depth: object, least: int = 1) -> int:
    """Check that a depth is a whole number of layers, and return it as an int.

    Args:
        depth: L; 3.0 counts as 3.
        least: the smallest depth that is allowed; the largest is `MOST_LAYERS`.

    Raises:
        UsageError: anything else.

    >>> layer_count(50.0)
    50
    """
    if not is_whole(depth, least) or float(depth) > MOST_LAYERS:
        raise UsageError(f"the depth must be a whole number of layers from {least} to {MOST_LAYERS}, not {depth}")
    return int(depth)
