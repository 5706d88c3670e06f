"""All that is known of a one-step tail, in one record: two bounds, the exact probability, an estimate."""

from dataclasses import dataclass

import numpy as np

from theory.claims.counted import NORMAL, Side
from theory.layer.cramer import cramer
from theory.layer.exact import exact_tail
from theory.layer.independent import chernoff, gaussian_concentration, independent_tail
from theory.layer.law import LayerLaw, ceiling, certainty, event, layer_law, unusable
from theory.layer.levy import Bound, levy
from theory.layer.saddle import Prediction, find_saddle, saddlepoint
from theory.layer.special_cases import ExactTail

__all__ = ["LayerLaw", "OneStepTail", "layer_law", "one_step"]


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
        law: from `layer_law`, or from `gaussian_law` for a claim of `NORMAL`, computed once for all claims,
            tolerances and sides.
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
    if claim in NORMAL:
        return OneStepTail(
            claim=claim,
            width=law.width,
            q=1.0,
            epsilon=epsilon,
            side=side,
            levy=gaussian_concentration(claim, law.constants, epsilon, side),
            cramer=chernoff(happening),
            exact=independent_tail(happening),
            saddlepoint=Prediction(np.nan, "the exact probability is as quick"),
        )
    settled = unusable(happening) or certainty(happening) is not None
    saddle = None if settled else find_saddle(happening)
    exact, bound = exact_tail(happening, saddle), cramer(happening, saddle)
    if not settled and exact.available and abs(ceiling(happening)) <= happening.tolerance:
        # The end of what can be reached: no exponent is positive, and for lambda to infinity Markov's bound falls to P.
        bound = Bound(bound.kind, min(bound.log, exact.log + exact.error), bound.reason)
    return OneStepTail(
        claim=claim,
        width=law.width,
        q=law.constants.q,
        epsilon=epsilon,
        side=side,
        levy=levy(claim, law.constants, epsilon, side),
        cramer=bound,
        exact=exact,
        saddlepoint=saddlepoint(happening, saddle),
    )
