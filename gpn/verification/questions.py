"""What theory says of every event of a verification, before any trial: bounds, exact laws and predictions.

A question is one statement about one event: its probability is at most a bound, or equal to an exact value, or close
to a prediction. Several questions may share an event, and then its trials.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from gpn.sampling.inputs import Inputs
from gpn.sampling.rare_events import Tilt
from gpn.statistics import sample_size as planning
from gpn.statistics.sample_size import EXACT, PREDICTION
from gpn.verification.request import Request
from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.bounds import network as network_law
from theory.bounds.homogeneous import Readout
from theory.layer.law import LayerLaw, layer_law, unusable
from theory.layer.law import event as layer_event
from theory.layer.levy import CLAIMS, Bound, Side
from theory.layer.saddle import find_saddle
from theory.layer.special_cases import ExactTail
from theory.layer.tails import one_step

DEEP_CLAIM = "deep-gradient-ratio"
_LEAST_LOG = -660.0  # e^-660 is 1e-287
_NOT_COVERED = Bound("none", 0.0, "the fluctuation law is that of Haar weights and a random readout")
SIDES: tuple[Side, ...] = ("upper", "lower")


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
        error: by how much an exact probability may be off, absolutely.
    """

    event: Event
    kind: str
    bound: Bound
    prediction: float | None
    error: float = 0.0

    @property
    def value(self) -> float | None:
        """The bound, or the exact or predicted probability; None where there is none."""
        return None if self.bound.kind.startswith("none") else self.bound.probability

    @property
    def impossible(self) -> bool:
        """Whether theory excludes the event: a bound of 0, or an exact probability of 0 for a single layer."""
        return self.bound.log == -np.inf or (self.event.claim != DEEP_CLAIM and self.prediction == 0)

    @property
    def open(self) -> bool:
        """Whether trials could say anything: not of a missing or a vacuous bound, nor of an impossible event."""
        return self.value is not None and 0 < self.value < 1 and not self.impossible

    def trials_wanted(self, alpha: float) -> int | None:
        """How many counted trials decide the question, see `planning.trials_wanted`."""
        return planning.trials_wanted(self.kind, self.value, self.prediction, alpha)


def one_step_questions(request: Request, activation: Activation | CallableActivation) -> Iterator[Question]:
    """Lévy's and Cramér's bound and the exact probability of every one-step event.

    Args:
        request: widths and tolerances.
        activation: phi, as it is tested.
    """
    laws = {width: layer_law(activation, width) for width in request.widths}
    for claim, width, epsilon, side in product(CLAIMS, request.widths, request.epsilons, SIDES):
        tail = one_step(claim, laws[width], epsilon, side)
        event = Event(claim, width, 1, epsilon, side)
        law, exact, error = _exact(tail.exact)
        yield Question(event, "levy", _held(tail.levy), exact)
        yield Question(event, "cramer", _held(tail.cramer), exact)
        yield Question(event, EXACT, law, exact, error)


def deep_questions(
    request: Request, activation: Activation | CallableActivation, loaded: Inputs | None = None
) -> Iterator[Question]:
    """The deep bound and the prediction of the fluctuation law for every event of a whole network.

    Args:
        request: widths, depths and tolerances.
        activation: phi, as it is tested.
        loaded: real inputs; with labels, the last gradient is that of a loss and depends on the forward pass.
    """
    readout: Readout = "random" if loaded is None or loaded.labels is None else "any"
    covered = readout == "random" and request.weights == "haar"
    for width in request.widths:
        for depth in request.depths:
            for epsilon in request.deep_epsilons:
                event = Event(DEEP_CLAIM, width, depth, epsilon, "either")
                law = network_law.predicted(activation, width, depth, epsilon) if covered else _NOT_COVERED
                predicted = None if law.kind == "none" else law.probability
                yield Question(
                    event, "deep", network_law.deep_bound(activation, width, depth, epsilon, readout), predicted
                )
                yield Question(event, PREDICTION, law, predicted)


def _exact(tail: ExactTail) -> tuple[Bound, float | None, float]:
    if not tail.available:
        return Bound("none", 0.0, tail.reason), None, 0.0
    law = _held(Bound(EXACT, min(tail.log, 0.0)))
    if law.kind == "none":
        return law, None, 0.0
    return law, law.probability, law.probability * tail.error


def _held(bound: Bound) -> Bound:
    """The bound, or its reason to be left out where float64 cannot hold it."""
    if -np.inf < bound.log < _LEAST_LOG:
        return Bound("none", 0.0, f"e^{bound.log:.0f} is below what float64 can hold")
    return bound


def rare_tilt(law: LayerLaw, event: Event) -> Tilt | None:
    """The tilt under which a one-step event is not rare, None where there is no such law.

    Args:
        law: of the layer, at the width of the event.
        event: of one layer.
    """
    side: Side = "upper" if event.side == "upper" else "lower"
    happening = layer_event(event.claim, law, event.epsilon, side)
    saddle = None if unusable(happening) else find_saddle(happening)
    return None if saddle is None else Tilt(saddle.tilt, saddle.law.mu)
