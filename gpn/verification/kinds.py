"""The kinds of statement that theory makes about a probability: upper bounds, exact laws, predictions.

To add a bound, write its mathematics in `theory`, its claim in `theory.claims`, and one record here. Verification,
tables, figures and captions iterate over the records.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gpn.statistics.limits import Verdict, bounded, equals
from gpn.statistics.sample_size import trials_for_factor, trials_with_power
from theory.activations.specification import Phi
from theory.bounds import network
from theory.bounds.homogeneous import Readout
from theory.layer.levy import Bound
from theory.layer.tails import Tails

_UNKNOWN_TRUTH = 1 / 8  # of its bound: the probability that is assumed for planning where none is known


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of statement about the probability of an event.

    Args:
        name: what stands in rows, frames and files.
        column: the heading of its column in a table.
        title: what remarks and legends call it.
        role: "bound" for an upper bound, "exact" for the probability itself, "prediction" for an asymptotic law, which
            is not a theorem, "estimate" for a simulation, and "engine" for an exact law that tests the engine itself.
        method: what a table of widths calls it, the title by default.
        worth: how far its number can be trusted.
        truth: the probability that a bound is compared with: "exact", or "predicted" where no exact law is known.
    """

    name: str
    column: str
    title: str
    role: Literal["bound", "exact", "prediction", "estimate", "engine"] = "bound"
    method: str = ""
    worth: str = ""
    truth: Literal["exact", "predicted"] = "exact"

    def __post_init__(self) -> None:
        object.__setattr__(self, "method", self.method or self.title)

    @property
    def is_bound(self) -> bool:
        """Whether it states an upper bound, not the probability itself."""
        return self.role == "bound"

    @property
    def is_prediction(self) -> bool:
        """Whether it states the probability of an asymptotic law, which counts for no verdict about the theorem."""
        return self.role == "prediction"

    def verdict(self, lower: float, upper: float, value: float, error: float = 0.0) -> Verdict:
        """Compare the limits of a probability with a bound, which must not lie below it, or with its exact value.

        Args:
            lower, upper: the limits from the trials.
            value: the bound, or the exact probability.
            error: the absolute error of an exact probability.
        """
        return bounded(lower, upper, value) if self.is_bound else equals(lower, upper, value, error)

    def trials_wanted(self, value: float | None, prediction: float | None, alpha: float) -> int | None:
        """How many counted trials decide a row with probability 0.95, or None where no number does.

        For a prediction, as many as tell its event's probability to within a factor 2: its margin may want far more.
        An event without a known probability is taken to happen an eighth as often as its bound allows.

        Args:
            value: the bound, or the exact or predicted probability; None where there is none.
            prediction: the exact or predicted probability of the event of a bound.
            alpha: the error probability of each limit.

        >>> CRAMER.trials_wanted(0.01, 0.002, 0.01), LEVY.trials_wanted(1.0, 0.002, 0.01)
        (1307, None)
        """
        if value is None or not 0 < value < 1:
            return None
        if not self.is_bound:
            return trials_for_factor(value, 2 * alpha)
        return trials_with_power(value, alpha, value * _UNKNOWN_TRUTH if prediction is None else prediction)


@dataclass(frozen=True, slots=True)
class LayerKind(Kind):
    """A statement about one layer: `compute` takes it from the tail of the layer's law."""

    compute: Callable[[Tails], Bound] = lambda tail: tail.levy


@dataclass(frozen=True, slots=True)
class NetworkKind(Kind):
    """A statement about a whole network: `compute` takes phi, width, depth, epsilon, the readout and the weights."""

    compute: Callable[[Phi, int, int, float, Readout, str], Bound] = lambda *_: Bound("none", 0.0)


def _exact(tail: Tails) -> Bound:
    exact = tail.exact
    return Bound("exact", min(exact.log, 0.0)) if exact.available else Bound("none", 0.0, exact.reason)


LEVY = LayerKind("levy", "Lévy", "Lévy bound", worth="bound, numerical", compute=lambda tail: tail.levy)
CRAMER = LayerKind("cramer", "Cramér", "Cramér bound", worth="bound, numerical", compute=lambda tail: tail.cramer)
EXACT = LayerKind("exact", "exact", "exact probability", "exact", method="exact law", worth="numerical", compute=_exact)
DEEP = NetworkKind(
    "deep",
    "deep bound",
    "deep bound",
    worth="bound, numerical",
    truth="predicted",
    compute=lambda *asked: network.deep_bound(*asked),
)
CERTIFIED = Kind(
    "certified", "deep bound", "deep bound, certified", worth="proved by ball arithmetic", truth="predicted"
)
PREDICTION = NetworkKind(
    "prediction",
    "prediction",
    "prediction",
    "prediction",
    method="fluctuation law",
    worth="asymptotic, no bound",
    compute=lambda phi, width, depth, epsilon, _, weights: network.predicted(phi, width, depth, epsilon, weights),
)
SIMULATION = Kind("simulation", "simulation", "simulation", "estimate", worth="Monte Carlo, to about 3 %")

ENGINE = Kind("engine", "exact law", "exact law of the engine", "engine", worth="exact")
DIACONIS_FREEDMAN = Kind("diaconis-freedman", "D-F", "Diaconis-Freedman bound", worth="proved bound")
LAYER_KINDS = (LEVY, CRAMER, EXACT)
NETWORK_KINDS = (DEEP, PREDICTION)
"""What `gpn.verify` asks of one layer and of a whole network, in the order of its rows."""


KINDS: tuple[Kind, ...] = (*LAYER_KINDS, DIACONIS_FREEDMAN, *NETWORK_KINDS, CERTIFIED, SIMULATION, ENGINE)
_BY_NAME = {kind.name: kind for kind in KINDS}


def kind_of(name: str) -> Kind:
    """Return the kind that a row names; a name that is not in the register is taken for a bound.

    Args:
        name: such as "levy", or "none (levy: ...)" where a bound is missing.

    >>> kind_of("levy").title, kind_of("my bound").title
    ('Lévy bound', 'my bound')
    """
    return _BY_NAME.get(name) or Kind(name, name, name)
