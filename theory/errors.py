"""Errors that a user can cause; mathematical outcomes are values, never exceptions."""

from collections.abc import Iterable
from difflib import get_close_matches


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
