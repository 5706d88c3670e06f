"""What a verification is asked for: widths, depths, tolerances, trials, all checked before the work begins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpn import statistics
from theory.errors import UsageError

DEFAULT_WIDTHS = (64, 256, 1024)
DEFAULT_DEPTHS = (10, 50, 200)
DEFAULT_EPSILONS = (0.1, 0.2)
DEFAULT_DEEP_EPSILONS = (0.5, 1.0)
DEFAULT_ONE_STEP_TRIALS = 100_000
DEFAULT_DEEP_TRIALS = 1_000
WEIGHTS = ("haar", "gaussian", "he", "glorot")

MOST_TRIALS = 10**12  # of one row; more cannot be run
MAX_EPSILON = 1e6
MAX_NEURONS = 500_000_000  # of one network: 4 GB of pre-activations in each worker


@dataclass(frozen=True, slots=True)
class Request:
    """A validated request.

    Args:
        epsilons: tolerances of one layer; deep_epsilons: of the whole network.
        trials: of each row; None to plan them.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    epsilons: tuple[float, ...]
    deep_epsilons: tuple[float, ...]
    trials: int | None
    level: float
    weights: str

    @classmethod
    def read(
        cls,
        widths: Sequence[int] | int,
        depth: Sequence[int] | int,
        epsilons: Sequence[float] | float | None,
        trials: int | None,
        level: float,
        weights: str,
    ) -> "Request":
        if trials is not None and (not isinstance(trials, int | np.integer) or not 1 <= trials <= MOST_TRIALS):
            raise UsageError(
                f"trials must be a whole number of at least 1 and at most {MOST_TRIALS:,}, not {trials!r:.40}; leave "
                "it out for a sensible number"
            )
        statistics.row_alpha(level, 1)  # refuses an impossible level before the work begins
        if weights not in WEIGHTS:
            raise UsageError(f"weights must be one of {', '.join(WEIGHTS)}, not {weights!r}")
        widths = _integers("width", widths, least=2)
        depths = _integers("depth", depth, least=1)
        if widths[-1] * depths[-1] > MAX_NEURONS:
            raise UsageError(
                f"width {widths[-1]} times depth {depths[-1]} is more than the {MAX_NEURONS:,} neurons of one network "
                "that are kept in memory; try a smaller width or depth"
            )
        return cls(
            widths=widths,
            depths=depths,
            epsilons=_tolerances(DEFAULT_EPSILONS if epsilons is None else epsilons),
            deep_epsilons=_tolerances(DEFAULT_DEEP_EPSILONS if epsilons is None else epsilons),
            trials=None if trials is None else int(trials),
            level=level,
            weights=weights,
        )


def _integers(name: str, values: Sequence[int] | int, least: int) -> tuple[int, ...]:
    numbers = np.atleast_1d(np.asarray(values))
    if numbers.size == 0 or not np.issubdtype(numbers.dtype, np.integer) or numbers.min() < least:
        raise UsageError(f"every {name} must be a whole number, at least {least} and below 2**63, not {values}")
    return tuple(sorted({int(number) for number in numbers}))


def _tolerances(values: Sequence[float] | float) -> tuple[float, ...]:
    numbers = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if numbers.size == 0 or not ((numbers > 0) & (numbers <= MAX_EPSILON)).all():
        raise UsageError(f"every epsilon must be a positive number up to {MAX_EPSILON:g}, not {values}; try 0.2,0.5")
    return tuple(sorted({float(number) for number in numbers}))
