"""Three-valued outcomes: an answer that may be undecided is neither true nor false."""

from enum import StrEnum
from typing import NoReturn


class Outcome(StrEnum):
    """A text of three possible values whose truth value is refused, since every one of them would be true.

    >>> if Gpn.FAILS: print("GPN")
    Traceback (most recent call last):
    ...
    TypeError: 'fails' is one of holds, fails, undecided, neither true nor false; compare it, as in: outcome == 'holds'
    >>> Gpn.FAILS == "fails"
    True
    """

    def __bool__(self) -> NoReturn:
        values = [str(value) for value in type(self)]
        raise TypeError(
            f"{str(self)!r} is one of {', '.join(values)}, neither true nor false; compare it, as in: outcome == "
            f"{values[0]!r}"
        )

    __repr__ = str.__repr__


class Gpn(Outcome):
    """Whether an activation is Gaussian-Poincaré normalized."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"


class Normalizable(Outcome):
    """Whether some a phi + b is Gaussian-Poincaré normalized."""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"
