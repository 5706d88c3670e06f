"""What a verification is asked for: widths, depths, tolerances, trials, all checked before the work begins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpn.statistics import limits as statistics
from theory.errors import UsageError, unknown

DEFAULT_WIDTHS = (64, 256, 1024)
DEFAULT_DEPTHS = (10, 50, 200)
DEFAULT_EPSILONS = (0.1, 0.2)
DEFAULT_DEEP_EPSILONS = (0.5, 1.0)
DEFAULT_ONE_STEP_TRIALS = 100_000
DEFAULT_DEEP_TRIALS = 1_000
WEIGHTS = ("haar", "gaussian", "he", "glorot")
DECIDED = "decided"
"""The value of `until` with which a run stops once its rows are decided."""


MOST_TRIALS = 10**12  # of one row; more cannot be run
MAX_EPSILON = 1e6
_MOST_UNITS = 2**32 - 1  # neurons of a layer, and layers: the identity of a random stream holds both


@dataclass(frozen=True, slots=True)
class Request:
    """A validated request.

    Args:
        epsilons: tolerances of one layer; deep_epsilons: of the whole network.
        trials: of each row; None to plan them.
        until: "decided" to stop each row once it is decided, None for a number that is fixed beforehand.
        cap: the most trials of a row that is not decided; None for a sensible number.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    epsilons: tuple[float, ...]
    deep_epsilons: tuple[float, ...]
    trials: int | None
    level: float
    weights: str
    until: str | None = None
    cap: int | None = None

    @classmethod
    def read(
        cls,
        widths: Sequence[int] | int,
        depth: Sequence[int] | int,
        epsilons: Sequence[float] | float | None,
        trials: int | None,
        level: float,
        weights: str,
        until: str | None = None,
        cap: int | None = None,
    ) -> "Request":
        trials, cap = _trials("trials", trials), _trials("cap", cap)
        _check_stopping(until, trials, cap)
        statistics.row_alpha(level, 1)  # refuses an impossible level before the work begins
        if weights not in WEIGHTS:
            raise unknown("weights", weights, WEIGHTS)
        widths = _integers("width", widths, least=2)
        depths = _integers("depth", depth, least=1)
        return cls(
            widths=widths,
            depths=depths,
            epsilons=_tolerances(DEFAULT_EPSILONS if epsilons is None else epsilons),
            deep_epsilons=_tolerances(DEFAULT_DEEP_EPSILONS if epsilons is None else epsilons),
            trials=trials,
            level=level,
            weights=weights,
            until=until,
            cap=cap,
        )


def _trials(name: str, number: int | None) -> int | None:
    if number is None:
        return None
    if not isinstance(number, int | np.integer) or not 1 <= number <= MOST_TRIALS:
        raise UsageError(
            f"{name} must be a whole number of at least 1 and at most {MOST_TRIALS:,}, not {number!r:.40}; leave it "
            "out for a sensible number"
        )
    return int(number)


def _check_stopping(until: str | None, trials: int | None, cap: int | None) -> None:
    if until not in (None, DECIDED):
        raise UsageError(f"until must be {DECIDED!r} or left out, not {until!r:.40}")
    if until is None and cap is not None:
        raise UsageError(f"cap is for runs with until={DECIDED!r}; give that as well, or trials in the place of cap")
    if until is not None and trials is not None:
        raise UsageError(
            f"trials fixes their number, until={DECIDED!r} does not; leave trials out, or give cap instead"
        )


def _integers(name: str, values: Sequence[int] | int, least: int) -> tuple[int, ...]:
    numbers = np.atleast_1d(np.asarray(values))
    whole = numbers.size > 0 and np.issubdtype(numbers.dtype, np.integer)
    if not whole or numbers.min() < least or numbers.max() > _MOST_UNITS:
        raise UsageError(f"every {name} must be a whole number, at least {least} and below 2**32, not {values}")
    return tuple(sorted({int(number) for number in numbers}))


def _tolerances(values: Sequence[float] | float) -> tuple[float, ...]:
    numbers = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if numbers.size == 0 or not ((numbers > 0) & (numbers <= MAX_EPSILON)).all():
        raise UsageError(f"every epsilon must be a positive number up to {MAX_EPSILON:g}, not {values}; try 0.2,0.5")
    return tuple(sorted({float(number) for number in numbers}))
