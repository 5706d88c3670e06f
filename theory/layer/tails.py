"""All that is known about a one-step tail, in one record: two bounds, the exact probability, an estimate."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from theory.claims.counted import Side
from theory.layer.cramer import cramer
from theory.layer.exact import exact_tail
from theory.layer.independent import chernoff, gaussian_concentration, independent_tail
from theory.layer.law import Event, LayerLaw, ceiling, certainty, event, layer_law, unusable
from theory.layer.levy import Bound, levy
from theory.layer.saddle import Prediction, Saddle, find_saddle, saddlepoint
from theory.layer.special_cases import ExactTail

__all__ = ["LayerLaw", "OneStepTail", "TailParts", "Tails", "layer_law", "one_step"]


class Tails(Protocol):
    """What is known about a tail: two bounds and the probability."""

    @property
    def levy(self) -> Bound: ...
    @property
    def cramer(self) -> Bound: ...
    @property
    def exact(self) -> ExactTail: ...


@dataclass(frozen=True, slots=True)
class OneStepTail:
    """One tail of one layer.

    Args:
        claim: one of `theory.claims.counted.ONE_LAYER` or `NORMAL`.
        width: n.
        q: squared length per neuron of the layer's input.
        epsilon: the tolerance; the event is {>= 1 + epsilon} or {<= 1 - epsilon}.
        side: "upper" or "lower".
        levy: bound from Lipschitz constants, proved where those are certified.
        cramer: bound by exponential tilting, numerical; far smaller.
        exact: the probability, with an estimate of its error.
        saddlepoint: an estimate, not a bound.
    """

    claim: str
    width: int
    q: float
    epsilon: float
    side: Side
    levy: Bound
    cramer: Bound
    exact: ExactTail
    saddlepoint: Prediction


def one_step(claim: str, law: LayerLaw, epsilon: float, side: Side) -> OneStepTail:
    """The bounds, the probability and the estimate of one tail.

    Args:
        claim: one of `theory.claims.counted.ONE_LAYER` or `NORMAL`; a fixed backward signal is taken as flat, its
            entries of equal modulus.
        law: from `layer_law`, or from `gaussian_law` for a claim of `NORMAL` and for Gaussian weights, computed once
            for all claims, tolerances and sides.
        epsilon: > 0.
        side: "upper" or "lower".

    Raises:
        UsageError: an unknown claim or side, or a tolerance that is not positive.

    >>> from theory.activations.specification import activation
    >>> relu = layer_law(activation("sqrt(2)*max(x, 0)"), 512)
    >>> tail = one_step("forward-one-step", relu, 0.2, "upper")
    >>> tail.exact.probability < tail.cramer.probability < tail.levy.probability
    True
    """
    happening = event(claim, law, epsilon, side)
    if law.independent:
        return OneStepTail(
            claim=claim,
            width=law.width,
            q=law.constants.q,
            epsilon=epsilon,
            side=side,
            levy=gaussian_concentration(claim, law.constants, epsilon, side),
            cramer=chernoff(happening),
            exact=independent_tail(happening),
            saddlepoint=Prediction(np.nan, "the exact probability is as quick"),
        )
    parts = TailParts(claim, law, epsilon, side)
    return OneStepTail(
        claim=claim,
        width=law.width,
        q=law.constants.q,
        epsilon=epsilon,
        side=side,
        levy=parts.levy,
        cramer=parts.cramer,
        exact=parts.exact,
        saddlepoint=saddlepoint(happening, parts.saddle),
    )


@dataclass(frozen=True)
class TailParts:
    """The tail of one of `theory.claims.counted.ONE_LAYER`, each part computed when it is asked for.

    Args:
        claim, law, epsilon, side: as for `one_step`.
    """

    claim: str
    law: LayerLaw
    epsilon: float
    side: Side

    @cached_property
    def happening(self) -> Event:
        """The event."""
        return event(self.claim, self.law, self.epsilon, self.side)

    @cached_property
    def settled(self) -> bool:
        """Whether its probability needs no saddle."""
        return bool(unusable(self.happening)) or certainty(self.happening) is not None

    @cached_property
    def saddle(self) -> Saddle | None:
        """The saddle of both bound and probability."""
        return None if self.settled else find_saddle(self.happening)

    @cached_property
    def levy(self) -> Bound:
        """Lévy's bound."""
        return levy(self.claim, self.law.constants, self.epsilon, self.side)

    @cached_property
    def exact(self) -> ExactTail:
        """The probability."""
        return exact_tail(self.happening, self.saddle)

    @cached_property
    def cramer(self) -> Bound:
        """Cramér's bound.

        At the end of what can be reached no exponent is positive, and for lambda to infinity Markov's bound falls to P.
        """
        bound = cramer(self.happening, self.saddle)
        at_end = not self.settled and abs(ceiling(self.happening)) <= self.happening.tolerance
        if not at_end or not self.exact.available:
            return bound
        return Bound(bound.kind, min(bound.log, self.exact.log + self.exact.error), bound.reason)
