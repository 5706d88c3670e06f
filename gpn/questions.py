"""What theory says of every event of a verification, before any trial: bounds, exact laws and predictions.

A question is one statement about one event: its probability is at most a bound, or equal to an exact value, or close
to a prediction. Several questions may share an event, and then its trials.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from gpn import planning
from gpn.request import Request
from theory.activation import Activation, CallableActivation
from theory.concentration import CLAIMS as ONE_STEP_CLAIMS
from theory.concentration import Bound

EXACT, PREDICTION = "exact", "prediction"
"""Kinds of question that are not upper bounds."""

POWER = 0.95
"""Probability with which a run should decide a true claim."""

DEEP_CLAIM = "deep-gradient-ratio"


class Event(NamedTuple):
    """What may happen in a trial; the key under which trials are counted."""

    claim: str
    width: int
    depth: int
    epsilon: float
    side: str


@dataclass(frozen=True, slots=True)
class Question:
    """One statement of theory about the probability of an event.

    Args:
        event: which.
        kind: "levy", "cramer", "deep" for upper bounds, "exact" or "prediction".
        bound: the bound or the value; its kind is "none", with a reason, where there is none.
        prediction: the exact or the predicted probability, None where none is known.
    """

    event: Event
    kind: str
    bound: Bound
    prediction: float | None

    @property
    def known(self) -> bool:
        """Whether there is a number to compare with."""
        return not self.bound.kind.startswith("none")

    @property
    def value(self) -> float | None:
        """The bound, or the exact or predicted probability; None where there is none."""
        return self.bound.probability if self.known else None

    def trials_wanted(self, alpha: float) -> int | None:
        """How many trials decide the question with probability `POWER`; None where counting never can."""
        if self.value is None:
            return None
        if self.kind == EXACT:
            return _trials_for_factor(self.value, alpha)
        truth = self.value / 8 if self.prediction is None else self.prediction
        return planning.trials_with_power(self.value, alpha, truth, POWER)


def _trials_for_factor(probability: float, alpha: float) -> int | None:
    """Trials after which limits of error alpha/2 each lie within a factor 2 of the probability, in normal approximation.

    The root of a count k has standard deviation 1/2 whatever its mean Np. So the lower limit reaches Np/2 with the
    wanted power once sqrt(Np) (1 - 1/sqrt 2) is half the sum of the two normal quantiles; the upper limit is closer.
    """
    rarer = min(probability, 1 - probability)
    if rarer <= 0:
        return None
    quantiles = special.ndtri(1 - alpha / 2) + special.ndtri(POWER)
    return int(np.ceil((quantiles / (2 - np.sqrt(2))) ** 2 / rarer))
