"""A test of predictions, which have an error of their own: is the probability close enough to the predicted one?

A test of equality would refute every prediction once the trials are many; a prediction is confirmed instead when the
true probability is proved to lie within a stated margin.
"""

from enum import StrEnum
from typing import NamedTuple, NoReturn

import numpy as np

from gpn.statistics import lower_limit, upper_limit
from theory.errors import UsageError


class Agreement(StrEnum):
    """What the trials say about the claim: the probability lies within a margin of the predicted one.

    AGREES: both limits lie inside the margin. DIFFERS: one of them lies beyond it. UNDECIDED: the trials are too few.

    >>> str(Agreement.AGREES)
    'agrees'
    """

    AGREES = "agrees"
    DIFFERS = "differs"
    UNDECIDED = "undecided"

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{str(self)!r} is one of three values, neither true nor false; compare it instead")


class Equivalence(NamedTuple):
    """The margin in terms of probabilities, exact one-sided limits, and what follows."""

    lowest: float
    highest: float
    lower: float
    upper: float
    agreement: Agreement


def equivalence(
    exceedances: int, trials: int, predicted: float, margin: float, alpha: float, *, floor: float = 0.0
) -> Equivalence:
    r"""Test by two one-sided exact tests whether a probability is within a factor of the predicted one.

    $$p_0/(1+m) - f \;\le\; p \;\le\; (1+m)\, p_0 + f$$

    (two one-sided tests: Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657-680; limits: Clopper and Pearson 1934.)
    It `agrees` when the lower limit is at least the left side and the upper limit at most the right side, and
    `differs` when the upper limit is below the left side or the lower limit above the right one. If p lies
    outside, `agrees` has probability at most alpha; if p lies inside, `differs` has at most 2 alpha (at most alpha
    unless the interval is so narrow that both ends are in doubt).

    Args:
        exceedances: how many trials showed the event.
        trials: how many independent trials there were.
        predicted: p_0, in [0, 1].
        margin: m >= 0, relative; 0.1 allows a factor 1.1 either way.
        alpha: error probability of each one-sided test, in (0, 0.5].
        floor: f >= 0, an absolute margin beside it, for small probabilities.

    Raises:
        UsageError: counts, prediction, margins or alpha outside their range, or both margins 0.

    >>> [str(equivalence(k, 10_000, 0.1, 0.2, 0.01).agreement) for k in (1010, 1180, 1300)]
    ['agrees', 'undecided', 'differs']
    """
    if not 0 <= predicted <= 1:
        raise UsageError(f"the predicted probability is {predicted}; it must lie between 0 and 1")
    if not (np.isfinite(margin) and np.isfinite(floor) and margin >= 0 and floor >= 0 and margin + floor > 0):
        raise UsageError(
            f"the margin is {margin} relative and {floor} absolute; both must be numbers >= 0, one of them "
            "positive: equality itself can never be confirmed by counting"
        )
    lowest, highest = max(predicted / (1 + margin) - floor, 0.0), min((1 + margin) * predicted + floor, 1.0)
    lower = float(lower_limit(exceedances, trials, alpha))
    upper = float(upper_limit(exceedances, trials, alpha))
    if upper < lowest or lower > highest:
        agreement = Agreement.DIFFERS
    elif lower >= lowest and upper <= highest:
        agreement = Agreement.AGREES
    else:
        agreement = Agreement.UNDECIDED
    return Equivalence(lowest, highest, lower, upper, agreement)
