"""What every use of ball arithmetic shares: the scoped precision, the arithmetics and the outcome "not certified"."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from flint import arb, ctx, fmpq

_LOCK = threading.RLock()


class NotCertifiable(Exception):
    """Internal: there is no rigorous rule for something; public functions turn it into `NotCertified`."""


@dataclass(frozen=True, slots=True)
class NotCertified:
    """The outcome of a certification that did not succeed, with the reason; it counts as false.

    >>> bool(NotCertified("phi has no growth envelope"))
    False
    """

    reason: str

    def __bool__(self) -> bool:
        return False


@contextmanager
def precision(bits: int, terms: int = 10) -> Iterator[None]:
    """Work with `bits` bits (and `terms` terms of a power series), then restore flint's settings whatever happens.

    flint keeps one working precision for the whole process. The context therefore also holds a lock, so that threads
    which certify at the same time take turns.

    >>> before = ctx.prec
    >>> with precision(200):
    ...     ctx.prec
    200
    >>> ctx.prec == before
    True
    """
    with _LOCK:
        saved = ctx.prec, ctx.cap
        try:
            ctx.prec, ctx.cap = bits, terms
            yield
        finally:
            ctx.prec, ctx.cap = saved


class Evaluable(Protocol):
    """A straight-line program that can be bound to an arithmetic (`theory.balls.program.Program`)."""

    def bind(self, arithmetic: "Arithmetic") -> Callable[[Any], tuple[Any, ...]]: ...


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Operations on a kind of number that a `theory.balls.program.Program` needs beside + and *.

    Args:
        lift: turns a real ball into such a number.
        power: rational exponent -> the function that raises a number to it.
        functions: name of a SymPy function -> implementation; "sech_squared" takes (tanh(u), u).
        deflate: (program of N, order m) -> the function (t, N(t)) -> N(t)/t^m, at t = 0 its limit.
    """

    lift: Callable[[arb], Any]
    power: Callable[[fmpq], Callable[[Any], Any]]
    functions: Mapping[str, Callable[..., Any]]
    deflate: Callable[[Evaluable, int], Callable[[Any, Any], Any]]


def hull(low: arb, high: arb) -> arb:
    """A ball that contains two balls and everything between them."""
    return low.union(high)
