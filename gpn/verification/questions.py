"""What theory says about every event of a verification, before any trial: bounds, exact laws and predictions.

A question is one statement about one event: its probability is at most a bound, equal to an exact value, or close to a
prediction. Questions about the same event share its trials.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from gpn.engine.weights import is_orthogonal, mean_factor
from gpn.sampling.rare_events import Tilt
from gpn.statistics.evidence import Evidence, Weighted
from gpn.statistics.limits import Decision, Verdict, equals, near, within
from gpn.verification.kinds import DEEP, DIACONIS_FREEDMAN, EXACT, LAYER_KINDS, NETWORK_KINDS, PREDICTION, Kind
from gpn.verification.settings import DENSE, Settings
from theory.activations.catalog import build
from theory.activations.specification import Phi
from theory.bounds.homogeneous import Readout, homogeneous_slopes
from theory.bounds.network import COVERED, deep_bound, of_weights, predicted_margin, width_that_tests
from theory.bounds.rectangular.bound import chain_bound
from theory.claims.counted import NORMAL, ONE_LAYER, SIDES, CountedClaim, Side
from theory.depth.coefficients import NoPrediction
from theory.initialization.path import Layer
from theory.initialization.shaped import ShapedLaw, shaped_law
from theory.layer.independent import coordinate_count, normal_distance_bound, shell_probabilities
from theory.layer.law import Event as LayerEvent
from theory.layer.law import LayerLaw, gaussian_law, has_atom, layer_law, unusable
from theory.layer.law import event as layer_event
from theory.layer.levy import Bound
from theory.layer.saddle import find_saddle
from theory.layer.tails import one_step

LEAST_LEMMA = 0.003
"""Probability of an event that 40,000 draws confirm."""


THEOREM_TRIALS = 300
"""Networks of a width that was added for the theorem: with none of them a bound of 0.04 is confirmed."""


THEOREM_NEURONS = 400_000_000
"""Neurons times layers times networks of such a width at most: 6 s of processor time."""


_LEAST_LOG = -660.0  # e^-660 is 1e-287
_ROUNDING = 2.0**-46  # relative, of a mean of squares at an atom: (sqrt 2)^2 is not 2 in float64
_SAME = 1e-3  # relative distance of a bound to the probability below which no trials tell them apart
_NOT_COVERED = Bound("none", 0.0, "the fluctuation law is that of Haar or Gaussian weights and a random readout")


class Event(NamedTuple):
    """What may happen in a trial; trials are counted by event.

    `tie` is the rounding of a mean square that is on the tolerance itself with positive probability, else 0.
    """

    claim: CountedClaim
    width: int
    depth: int
    epsilon: float
    side: str
    tie: float = 0.0


@dataclass(frozen=True, slots=True)
class Question:
    """One statement of theory about the probability of an event.

    Args:
        event: the event.
        kind: whether it is an upper bound, the exact probability or a prediction, and by which theorem.
        bound: the bound or the value; its kind is "none", with a reason, where there is none.
        prediction: the exact or the predicted probability, None where none is known.
        error: the absolute error of the exact probability.
        margin: the probabilities that a prediction allows for.
    """

    event: Event
    kind: Kind
    bound: Bound
    prediction: float | None
    error: float = 0.0
    margin: tuple[float, float] | None = None

    @property
    def value(self) -> float | None:
        """The bound, or the exact or predicted probability; None where there is none."""
        return None if self.bound.kind.startswith("none") else self.bound.probability

    @property
    def impossible(self) -> bool:
        """Whether theory excludes the event: a bound of 0, or an exact probability of 0 for a single layer."""
        return self.bound.log == -np.inf or (self.event.claim.is_one_layer and self.prediction == 0)

    @property
    def open(self) -> bool:
        """Whether trials could say anything: not of a missing or a vacuous bound, nor of an impossible event."""
        return self.value is not None and 0 < self.value < 1 and not self.impossible

    @property
    def equal(self) -> bool:
        """Whether a bound coincides with the exact probability of one layer, so that no trials can tell them apart."""
        if not (self.open and self.kind.is_bound and self.event.claim.is_one_layer and self.prediction):
            return False
        return abs((self.value or 0.0) - self.prediction) <= _SAME * self.prediction

    def decide(self, counted: Evidence, weighted: Weighted | None, alpha: float) -> Decision:
        """Return the sharpest limits, together of error alpha each, and the verdict by the rule of the question's kind.

        Weighted draws estimate an integral over the sphere and simulate no network. Where an event has both kinds of
        evidence, each gets half of the error, so that either may contradict theory.

        Args:
            counted: the trials of networks.
            weighted: the weighted draws of the same event, None where it was only counted.
            alpha: one-sided error probability, half of that of the row.
        """
        lower, upper = counted.limits(share(alpha, weighted))
        if weighted is not None:
            low, high = weighted.limits(share(alpha, weighted))
            lower, upper = max(lower, low), min(upper, high)
        return Decision(lower, upper, self._verdict(counted, lower, upper))

    def _verdict(self, counted: Evidence, lower: float, upper: float) -> Verdict:
        if self.value is None:
            return Verdict.VACUOUS
        if self.impossible and not (counted.exceedances or counted.unknown):
            return Verdict.VACUOUS  # proved impossible: counting can add nothing
        if self.kind is EXACT and self.value == 1 and counted.exceedances == counted.trials:
            return Verdict.VACUOUS  # certain, and always seen
        if self.equal:
            return equals(lower, upper, self.value, self.error + _SAME * self.value)
        if self.margin is not None:
            return within(lower, upper, *self.margin)
        return self.kind.verdict(lower, upper, self.value, self.error)

    @property
    def confirming(self) -> tuple[float, float]:
        """The interval in which both limits must lie for an exact probability, or a prediction, to be confirmed."""
        assert self.value is not None
        return self.margin or near(self.value)

    def trials_wanted(self, alpha: float) -> int | None:
        """Number of counted trials that decide the question, see `Kind.trials_wanted`."""
        return (EXACT if self.equal else self.kind).trials_wanted(self.value, self.prediction, alpha)


def share(alpha: float, weighted: Weighted | None) -> float:
    """The error of each limit: all of alpha for a count alone, half where weighted draws of the event stand beside it.

    >>> share(0.01, None)
    0.01
    """
    return alpha if weighted is None else alpha / 2


def one_step_questions(settings: Settings, activation: Phi) -> Iterator[Question]:
    """Every bound and the exact probability of every one-step event, for the weights that are drawn.

    Args:
        settings: the widths and tolerances.
        activation: phi, as it is tested.
    """
    asked = [claim for claim in ONE_LAYER if claim in settings.claims]
    laws = _laws(settings, activation) if asked else {}
    for claim, width, epsilon, side in product(asked, settings.widths, settings.epsilons, SIDES):
        tail = one_step(claim, laws[width], epsilon, side)
        event = Event(claim, width, 1, epsilon, side, _tie(layer_event(claim, laws[width], epsilon, side)))
        exact = _probability(_held(EXACT.compute(tail)))
        for kind in LAYER_KINDS:
            error = 0.0 if exact is None else tail.exact.error * exact
            yield Question(event, kind, _held(kind.compute(tail)), exact, error)


def _laws(settings: Settings, activation: Phi) -> dict[int, LayerLaw]:
    """The law of a layer of each width, |x|^2 = n: of Gaussian weights its pre-activations are independent."""
    if is_orthogonal(settings.weights):
        return {width: layer_law(activation, width) for width in settings.widths}
    first, variance = settings.widths[0], mean_factor(settings.weights, 1, 1) ** 2
    law = gaussian_law(activation, first, variance)
    return {width: law.at_width(width) for width in settings.widths}


def lemma_questions(settings: Settings, activation: Phi) -> Iterator[Question]:
    """Bounds and exact probabilities of sums over normal pre-activations, and of coordinates of W x, for Haar weights.

    An event of probability below `LEAST_LEMMA` is left to its relative on the sphere, for which there is importance
    sampling.

    Args:
        settings: the widths and tolerances; of the coordinates the tolerance is the share that is compared.
        activation: phi, as it is tested.
    """
    asked = [claim for claim in NORMAL if claim in settings.claims] if settings.weights == "haar" else []
    law = gaussian_law(activation, settings.widths[0]) if asked else None
    for claim, width, epsilon, side in product(asked, settings.widths, settings.epsilons, SIDES):
        assert law is not None
        here = law.at_width(width)
        tail = one_step(claim, here, epsilon, side)
        exact = _probability(_held(EXACT.compute(tail)))
        event = Event(claim, width, 1, epsilon, side, _tie(layer_event(claim, here, epsilon, side)))
        if exact is None or exact == 0 or exact >= LEAST_LEMMA:
            for kind in LAYER_KINDS:
                error = tail.exact.error * exact if kind is EXACT and exact is not None else 0.0
                yield Question(event, kind, _held(kind.compute(tail)), exact, error)
    if settings.weights == "haar" and CountedClaim.COORDINATES in settings.claims:
        for width, share in product(settings.widths, settings.epsilons):
            yield from _coordinates(width, share)


def _coordinates(width: int, share: float) -> Iterator[Question]:
    count = coordinate_count(width, share)
    if count is None:
        return
    [side] = CountedClaim.COORDINATES.sides
    event = Event(CountedClaim.COORDINATES, width, 1, share, side)
    exact, normal = shell_probabilities(width, count)
    bound = min(1.0, normal + normal_distance_bound(width, count))
    yield Question(event, DIACONIS_FREEDMAN, Bound(DIACONIS_FREEDMAN.name, float(np.log(bound))), exact)
    yield Question(event, EXACT, Bound("exact", float(np.log(exact))), exact, 1e-12)


def deep_questions(settings: Settings, activation: Phi) -> Iterator[Question]:
    """Every bound and the prediction of the fluctuation law for every event of a whole network.

    Args:
        settings: the widths, depths and tolerances. With labels, the last gradient is that of a loss and depends on
            the forward pass.
        activation: phi, as it is tested.
    """
    readout = _readout(settings)
    covered = readout == "random" and settings.weights in COVERED
    weights = settings.weights if settings.weights in COVERED else "haar"  # of the bound that is put to the test
    coefficients = of_weights(activation, weights)
    asked = product(settings.widths, settings.depths, settings.deep_epsilons) if settings.asks_network else ()
    if settings.is_shaped:
        yield from _shaped_questions(settings, activation)
        return
    for width, depth, epsilon in [*asked, *((*cell, settings.deep_epsilons[-1]) for cell in settings.theorem)]:
        [side] = CountedClaim.NETWORK.sides
        event = Event(CountedClaim.NETWORK, width, depth, epsilon, side)
        at = (activation, width, depth, epsilon, readout, weights)
        law = PREDICTION.compute(*at) if covered else _NOT_COVERED
        for kind in NETWORK_KINDS:
            if kind is PREDICTION:
                margin = None if law.kind == "none" else predicted_margin(coefficients, width, depth, law)
                yield Question(event, kind, law, _probability(law), margin=margin)
            else:
                yield Question(event, kind, kind.compute(*at), _probability(law))


def _shaped_questions(settings: Settings, activation: Phi) -> Iterator[Question]:
    """The prediction for networks whose layers differ from those of the theorem, and the bound of chains."""
    [side] = CountedClaim.NETWORK.sides
    for width, depth in product(settings.widths, settings.depths):
        law = law_of_shape(settings, activation, width, depth)
        for epsilon in settings.deep_epsilons:
            event = Event(CountedClaim.NETWORK, width, depth, epsilon, side)
            if bound := _chain_bound(settings, activation, depth, epsilon):
                known = None if isinstance(law, NoPrediction) else law.spread_probability(epsilon)
                yield Question(event, DEEP, bound, known)
            if isinstance(law, NoPrediction):
                yield Question(event, PREDICTION, Bound("none", 0.0, law.reason), None)
                continue
            probability = law.spread_probability(epsilon)
            with np.errstate(divide="ignore"):
                bound = Bound("prediction", float(np.log(probability)))
            yield Question(event, PREDICTION, bound, probability, margin=law.margin(probability))


def _chain_bound(settings: Settings, activation: Phi, depth: int, epsilon: float) -> Bound | None:
    """The deep bound of a chain of layers with unequal widths, None for a shape that no theorem covers."""
    widths = settings.layers
    if not bounds_chain(settings) or homogeneous_slopes(activation) is not None:
        return None
    if is_orthogonal(settings.weights):
        return chain_bound(activation, widths, epsilon)
    ratio = max([1.0, *(after / before for before, after in pairwise(widths[1:]))])
    return deep_bound(activation, min(widths[1:]), depth, epsilon, weights="gaussian", ratio=ratio)


def bounds_chain(settings: Settings) -> bool:
    """Whether a deep bound covers the shape: unequal widths alone, and gains that keep squared lengths per neuron.

    Args:
        settings: what is verified.
    """
    if not settings.layers or _readout(settings) != "random":
        return False
    if settings.bias != (0.0,) or settings.residual is not None or settings.linear_output:
        return False
    if settings.weights == "gaussian":
        return settings.gain == (1.0,)
    shape = settings.shape(max(settings.layers), len(settings.layers) - 1)
    if shape is None or not is_orthogonal(settings.weights):
        return False
    steps = zip(shape.gains, pairwise(settings.layers), strict=True)
    kept = [gain * mean_factor(settings.weights, rows, columns) for gain, (columns, rows) in steps]
    wanted = [max(1.0, rows / columns) ** 0.5 for columns, rows in pairwise(settings.layers)]
    return bool(np.allclose(kept, wanted, rtol=1e-12, atol=0.0))


def of_layers(settings: Settings, activation: Phi, depth: int) -> tuple[Phi, ...]:
    """The activation of each of the layers.

    Args:
        settings: whether the last one has none.
        activation: phi, as it is tested.
        depth: L.
    """
    last = build("identity") if settings.linear_output else activation
    return (activation,) * (depth - 1) + (last,)


def law_of_shape(settings: Settings, activation: Phi, width: int, depth: int) -> ShapedLaw | NoPrediction:
    """The fluctuation law of networks with widths, gains and biases of their own.

    Args:
        settings: with a shape.
        activation: phi, as it is tested.
        width, depth: which of the networks.
    """
    shape = settings.shape(width, depth)
    assert shape is not None
    if shape.residual is not None:
        return NoPrediction("there is no law of networks with residual branches")
    if _readout(settings) != "random":
        return NoPrediction("the fluctuation law is that of a random readout")
    factors = [mean_factor(settings.weights, rows, columns) for columns, rows in pairwise(shape.widths)]
    gains = [gain * factor for gain, factor in zip(shape.gains, factors, strict=True)]
    layers = list(map(Layer, of_layers(settings, activation, depth), gains, shape.biases))
    return shaped_law(layers, shape.widths, orthogonal=is_orthogonal(settings.weights))


def theorem_cells(settings: Settings, activation: Phi) -> Iterator[tuple[int, int]]:
    """Yield (width, depth) at which the theorem speaks, for each depth, unless the user chose the widths.

    The deep bound on the largest tolerance is between about 0.02 and 0.3 there: it says something, and
    `THEOREM_TRIALS` networks can confirm it. It is less where real inputs need a wider network. A depth that would
    cost more than `THEOREM_NEURONS` has none.

    Args:
        settings: what is verified.
        activation: phi, as it is tested.
    """
    if not (settings.default_widths and settings.asks_network) or settings.method == DENSE or settings.is_shaped:
        return
    weights = settings.weights if settings.weights in COVERED else "haar"
    for depth in settings.depths:
        most = THEOREM_NEURONS // (THEOREM_TRIALS * depth)
        width = width_that_tests(activation, depth, settings.deep_epsilons[-1], most, _readout(settings), weights)
        if width is None or settings.features > most:
            continue
        if (width := max(width, settings.features)) not in settings.widths:
            yield width, depth


def _readout(settings: Settings) -> Readout:
    return "random" if settings.loaded is None or settings.loaded.labels is None else "any"


def _tie(happening: LayerEvent) -> float:
    return 0.0 if unusable(happening) or not has_atom(happening) else _ROUNDING * abs(happening.target)


def _probability(bound: Bound) -> float | None:
    return None if bound.kind == "none" else bound.probability


def _held(bound: Bound) -> Bound:
    """The bound, or its reason to be left out where float64 cannot hold it."""
    if -np.inf < bound.log < _LEAST_LOG:
        return Bound("none", 0.0, f"e^{bound.log:.0f} is below what float64 can hold")
    return bound


def rare_tilt(law: LayerLaw, event: Event) -> Tilt | None:
    """Return the tilt under which a one-step event is not rare, None where there is none.

    Args:
        law: the law of the layer, at the width of the event.
        event: an event of one layer.
    """
    side: Side = "upper" if event.side == "upper" else "lower"
    happening = layer_event(event.claim, law, event.epsilon, side)
    saddle = None if unusable(happening) else find_saddle(happening)
    return None if saddle is None else Tilt(saddle.tilt, saddle.law.mu)
