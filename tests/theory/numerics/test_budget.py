"""Every part of an answer ends in its share of the processor time, and leaves no trace when it is given up."""

import contextlib
import itertools
import sys
import threading
import time

import mpmath
import pytest
from flint import acb, ctx

from theory.balls.core import precision
from theory.errors import UsageError
from theory.numerics.budget import UNLIMITED, Budget


def endless() -> None:
    for _ in itertools.count():
        pass


def stubborn() -> None:
    while True:
        try:
            endless()
        except Exception:  # as foreign code does
            continue


class Slow:
    def __del__(self) -> None:  # Python reports what is raised in here, and continues
        sum(range(100_000))


def destructors() -> None:
    """Half of the time is spent where an exception is ignored; 20 trials are all ignored with probability 1e-6."""
    while True:
        Slow()
        sum(range(100_000))


def quadrature() -> None:
    def integrand(t: acb, _: bool) -> acb:
        sum(range(20_000))
        return (-t * t).exp() * (1000 * t).sin()

    with precision(100), mpmath.workdps(77):
        while True:
            acb.integral(integrand, -8, 8)


@pytest.mark.parametrize("work", [endless, stubborn, destructors, quadrature])
def test_a_part_ends_and_settings_are_restored(work):
    settings, hook = (ctx.prec, ctx.cap, mpmath.mp.prec), sys.unraisablehook
    start, budget = time.thread_time(), Budget(0.4)
    assert budget.attempt("first", 0.5, work, "given up") == "given up"
    assert budget.attempt("second", 1.0, lambda: "done", "given up") == "done"
    assert time.thread_time() - start < 1.4
    assert budget.given_up == ("first",)
    assert sys.unraisablehook is hook
    assert (ctx.prec, ctx.cap, mpmath.mp.prec) == settings


def test_a_value_that_comes_after_a_swallowed_exception_is_not_taken():
    """As of an integral in flint, one evaluation of which was cut off: it looks like any other."""

    def swallowing() -> str:
        with contextlib.suppress(BaseException):
            endless()
        return "wrong"

    budget = Budget(0.1)
    assert budget.attempt("an integral", 1.0, swallowing, "given up") == "given up"
    assert budget.given_up == ("an integral",)


def test_nothing_is_raised_after_a_part():
    for _ in range(20):
        Budget(0.02).attempt("work", 0.5, stubborn, None)
        sum(range(10_000))


def test_a_share_ends_earlier_and_lists_the_same_parts():
    budget = Budget(1)
    part = budget.share(0.2)
    start = time.thread_time()
    part.attempt("first", 1.0, endless, None)
    assert time.thread_time() - start < 0.9
    assert budget.given_up == part.given_up == ("first",)


def test_it_works_in_other_threads():
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(Budget(0.2).attempt("work", 1.0, endless, "given up")))
    thread.start()
    thread.join()
    assert outcome == ["given up"]


def test_errors_of_the_work_itself_pass():
    with pytest.raises(ZeroDivisionError):
        Budget(10).attempt("work", 1.0, lambda: 1 / 0, None)
    with pytest.raises(ZeroDivisionError):
        UNLIMITED.attempt("work", 1.0, lambda: 1 / 0, None)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_the_limit_is_positive(seconds):
    with pytest.raises(UsageError, match="time limit"):
        Budget(seconds)
