"""A limit on processor time that the parts of an answer share.

Some steps of an answer can take for ever: a limit or a simplification in SymPy, a proof by bisection. Such calls cannot
be asked to look at a clock. A second thread therefore watches the processor time of the first, and raises an exception
in it when the time of the present part is spent. The part is then given up, and the next one begins.
"""

import ctypes
import math
import sys
import threading
import time
from collections.abc import Callable
from copy import copy
from typing import TypeVar

import mpmath
from flint import ctx

from theory.errors import UsageError

_PERIOD = 0.05  # seconds between two looks at the clock
_REPEAT = 0.5  # an exception that foreign code has swallowed is raised again; sooner if Python reports that it was
_GRACE = 0.05  # share of the whole that a part has at least, when earlier ones have spent everything
Value = TypeVar("Value")
Other = TypeVar("Other")


class _OutOfTime(BaseException):
    """Raised in the watched thread; no `except Exception` of a library catches it."""


class Budget:
    """Seconds of processor time of the calling thread, from now on, for several parts one after another.

    Args:
        seconds: all together; infinite for no limit.

    Raises:
        UsageError: seconds that are not positive.

    >>> budget = Budget(0.4)
    >>> budget.attempt("a proof", 0.5, lambda: sum(1 for _ in iter(int, 1)), None) is None
    True
    >>> budget.attempt("a sum", 1.0, lambda: 1 + 1, None), budget.given_up
    (2, ('a proof',))
    """

    def __init__(self, seconds: float = math.inf) -> None:
        if not seconds > 0:
            raise UsageError(f"the time limit must be positive, not {seconds:g}; 20 seconds are the default")
        self.seconds = seconds
        self._start = time.thread_time()
        self._given_up: list[str] = []

    def share(self, share: float) -> "Budget":
        """The first part of the same time; both list the same parts as given up."""
        part = copy(self)
        part.seconds = share * self.seconds
        return part

    @property
    def given_up(self) -> tuple[str, ...]:
        """The parts that were not finished in their time."""
        return tuple(dict.fromkeys(self._given_up))

    def attempt(self, part: str, until: float, work: Callable[[], Value], otherwise: Other) -> Value | Other:
        """Do one part of the work, unless its time is spent before it ends.

        Args:
            part: what it is called in `given_up`.
            until: the share of the whole time, 0 to 1, at which the part has to end; what earlier parts have left is
                used up to there. A twentieth of the whole is left to it in any case.
            work: called without arguments.
            otherwise: the value of a part that is given up.
        """
        if math.isinf(self.seconds):
            return work()
        now = time.thread_time()
        deadline = max(self._start + until * self.seconds, now + _GRACE * self.seconds)
        bits, terms, mpmath_bits = ctx.prec, ctx.cap, mpmath.mp.prec
        watch = _Watch(deadline)
        try:
            try:
                watch.start()
                value = work()
            finally:
                watch.stop()
            # What has swallowed the exception may have left its own work undone, as a callback of flint does, whose
            # integral is then wrong. So a value that comes after it is not taken.
            if not watch.has_raised:
                return value
        except (_OutOfTime, Exception) as error:
            watch.stop()
            # flint turns what is raised within its quadrature into a SystemError, and SymPy may too.
            if not watch.has_raised and not isinstance(error, _OutOfTime):
                raise
        ctx.prec, ctx.cap, mpmath.mp.prec = bits, terms, mpmath_bits
        self._given_up.append(part)
        return otherwise


class _Watch:
    """A thread that raises `_OutOfTime` in the thread that made it, once that has used its processor time."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._watched = threading.get_ident()
        self._clock = time.pthread_getcpuclockid(self._watched) if hasattr(time, "pthread_getcpuclockid") else None
        self.has_raised = self._ignored = False
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._report = sys.unraisablehook
        sys.unraisablehook = self._report_others
        self._thread.start()

    def _report_others(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Pass over `_OutOfTime` in a destructor or a callback, where Python ignores it; it is raised again."""
        if issubclass(unraisable.exc_type, _OutOfTime):
            self._ignored = True
        else:
            self._report(unraisable)

    def stop(self) -> None:
        """Raise nothing from now on, and take back what is not yet raised."""
        with self._lock:
            self._stopped.set()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._watched), None)
        if sys.unraisablehook == self._report_others:
            sys.unraisablehook = self._report

    def _run(self) -> None:
        wait, again = _PERIOD, 0.0  # the processor time from which on it is raised again
        while not self._stopped.wait(wait):
            used = self._used()
            wait = max(_PERIOD, (self._deadline - used) / 2)
            if used >= self._deadline and (used >= again or self._ignored):
                again = used + _REPEAT
                with self._lock:
                    if not self._stopped.is_set():
                        self.has_raised, self._ignored = True, False
                        raised = ctypes.py_object(_OutOfTime)
                        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._watched), raised)

    def _used(self) -> float:
        return time.process_time() if self._clock is None else time.clock_gettime(self._clock)


UNLIMITED = Budget()
"""Without a limit every part is finished."""
