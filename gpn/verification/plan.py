"""The plan of a verification: which cells are run, with how many trials, and which trials answer which question."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

from gpn.data import inputs as data
from gpn.experiment import cells, runs, streams
from gpn.sampling import rare_events
from gpn.statistics import limits as statistics
from gpn.statistics.evidence import Counted, Weighted
from gpn.verification import kinds
from gpn.verification.questions import THEOREM_TRIALS, Event, Question, of_layers, rare_tilt
from gpn.verification.settings import DEFAULT_DEEP_TRIALS, DEFAULT_ONE_STEP_TRIALS, DENSE, Settings
from theory.activations.specification import Phi
from theory.bounds.network import COVERED
from theory.claims.counted import ONE_LAYER, CountedClaim
from theory.errors import UsageError
from theory.layer.independent import coordinate_count, densest_shell
from theory.layer.law import layer_law

Key = tuple[Any, ...]
OnShell = Callable[[int], cells.RealInputs | None]
Outcomes = dict[Key, dict[str, npt.NDArray[np.float64]]]
CONTROL_TRIALS = 200
LEAST_TRIALS = 10_000  # of one layer, where the number is planned
MOST_NORMAL_TRIALS = 40_000
RARE_DRAWS = 10_000  # at least, and at most as many as these coordinates allow, a few seconds
MOST_RARE_COORDINATES = 40_000_000
RARE_HITS = 100  # draws of the largest weight that the draws of a rare event should be worth
MOST_RARE_WIDTH = 20_000  # beyond it so many draws take too long, and too few count
PATIENCE = 4
"""A run until its rows are decided has this many times the trials of a planned one: limits that hold at every number
of trials want up to twice as many, and so do rounds that double."""
_DEEP_NEURONS = 200_000_000  # neurons times layers times trials that counting one deep event may take: seconds
_MOST_DEEP_TRIALS = 20_000
LEAST_DENSE_TRIALS = 200
_DENSE_OPERATIONS = 10**10  # the cube of the width, for each layer of each network with explicit matrices: seconds
_RARE_COST = 4  # of a draw of a rare event, in trials of one layer


class Sampling(NamedTuple):
    """How a rare event is sampled: its tilt, the logarithm of its largest weight, the number of draws."""

    tilt: rare_events.Tilt
    log_largest: float
    draws: int


@dataclass(frozen=True, slots=True)
class Job:
    """A cell of the experiment, and the key of its outcome."""

    key: Key
    cell: runs.Cell


@dataclass(frozen=True, slots=True)
class Plan:
    """The number of counted trials for each event, and the events that are left to importance sampling.

    Args:
        settings: what is verified.
        asked: the questions of the run.
        alpha: one-sided error probability of each of the two limits of a row.
        trials: key of a job -> counted trials, or the cap where a run stops once its rows are decided.
        sampled: the events of one layer that are too rare to be counted, and how each is sampled; that answers all
            questions about the event.
    """

    settings: Settings
    asked: tuple[Question, ...]
    alpha: float
    trials: dict[Key, int]
    sampled: dict[Event, Sampling]

    @classmethod
    def make(cls, settings: Settings, asked: Sequence[Question], activation: Phi, alpha: float) -> "Plan":
        """Plan from the exact and the predicted probabilities, before anything is drawn.

        If no number of trials was asked for, a cell gets as many as its questions want, within a limit. A question
        about one layer that wants more than the limit sends its event, with all other questions about it, to
        importance sampling. A run until its rows are decided divides the events in the same way, but has a cap in the
        place of a number.

        Args:
            settings: what is verified.
            asked: the questions of the run.
            activation: phi, as it is tested.
            alpha: error probability of each limit.
        """
        wanted = _wanted(asked, alpha)
        keys = dict.fromkeys(key_of(question.event) for question in asked)
        return cls(
            settings=settings,
            asked=tuple(asked),
            alpha=alpha,
            trials={key: _cap(settings, key) if settings.until else _planned(settings, wanted, key) for key in keys},
            sampled=dict(_sampled(settings, wanted, activation)),
        )

    def jobs(self, tested: Phi, control: Phi | None) -> list[Job]:
        """Return the cells to run: single layers, whole networks, controls, rare events.

        Args:
            tested: phi, as it is tested.
            control: phi before it was normalized, None if it was not.
        """
        layers = [
            _job(
                key,
                streams.ONE_STEP,
                cells.OneStep(tested, key[1], self.settings.weights, self.settings.method),
                trials,
            )
            for key, trials in self.trials.items()
            if key[0] == "one-step"
        ]
        layers += [self._normal_layer(tested, key, trials) for key, trials in self.trials.items() if key[0] == "normal"]
        rare = [_rare_job(tested, event, sampling) for event, sampling in self.sampled.items()]
        shell = cache(partial(on_shell, self.settings.loaded))  # one copy of the inputs for each width
        controlled = self.settings.asks_network and not self.settings.is_shaped
        controls = _controls(self.settings, tested, control, shell) if controlled else ()
        return [*layers, *self._networks(tested, shell), *controls, *rare]

    def _normal_layer(self, tested: Phi, key: Key, trials: int) -> Job:
        shares = {q.event.epsilon for q in self.asked if key_of(q.event) == key}
        counts = {coordinate_count(key[1], share) for share in shares} - {None}
        compute = cells.NormalLayer(tested, key[1], tuple(sorted(count for count in counts if count is not None)))
        return _job(key, streams.NORMAL_LAYER, compute, trials)

    def _networks(self, tested: Phi, shell: OnShell) -> Iterator[Job]:
        for key, trials in self.trials.items():
            kind, width, depth = key
            if kind == "deep":
                drawn = (width, depth) == (self.settings.widths[-1], self.settings.depths[-1])
                shape = self.settings.shape(width, depth)
                inputs = shell(width if shape is None else shape.widths[0])
                options: dict[str, Any] = {"keep_layers": drawn, "method": self.settings.method, "shape": shape}
                if self.settings.linear_output:
                    options["last"] = of_layers(self.settings, tested, depth)[-1]
                network = cells.Deep(tested, width, depth, self.settings.weights, inputs, **options)
                yield _job(key, streams.DEEP, network, trials)

    def weighted(self, outcomes: Outcomes) -> dict[Event, Weighted]:
        """Return the weighted draws of each rare event.

        Args:
            outcomes: the results of all jobs, by key.
        """
        return {
            event: Weighted(outcomes["rare", event]["log_estimates"], sampling.log_largest)
            for event, sampling in self.sampled.items()
        }


def tail_event(event: Event) -> rare_events.TailEvent:
    """Return an event of one layer as the importance sampler takes it."""
    return rare_events.TailEvent(event.claim.value, event.width, event.epsilon, event.side, event.tie)


def count(event: Event, outcome: dict[str, npt.NDArray[np.float64]]) -> Counted:
    """Count the trials of a cell that show an event, and those of which float64 cannot tell.

    Args:
        event: the event.
        outcome: the results of the cell, or of a part of it.
    """
    if not event.claim.is_one_layer:
        seen = outcome["spread"]
        hits = seen >= event.epsilon
    elif event.claim is CountedClaim.COORDINATES:
        number = coordinate_count(event.width, event.epsilon)
        assert number is not None
        lower, upper = densest_shell(event.width, number)
        seen = outcome[cells.coordinates(number)]
        hits = (seen > lower) & (seen < upper)
    else:
        seen = outcome[event.claim]
        hits = seen >= 1 + event.epsilon - event.tie  # an atom at the tolerance belongs to the event
        if event.side == "lower":
            hits = seen <= 1 - event.epsilon + event.tie
    return Counted(int(hits.sum()), len(hits), int(np.isnan(seen).sum()))


def in_reach(settings: Settings, asked: Sequence[Question], alpha: float) -> tuple[list[Question], list[Question]]:
    """Split questions into those that some method can decide, and deep bounds that are too small to be counted.

    Args:
        settings: what is verified.
        asked: all questions.
        alpha: error probability of each row.
    """
    wanted = _wanted(asked, alpha)
    small = [q for q, number in wanted.items() if q.kind is kinds.DEEP and number > _limit(settings, q)]
    # A bound that is expected to fail, or is not claimed for these weights, must stay: few networks refute it.
    believed = [q for q in small if q.prediction is not None and q.prediction < (q.value or 0.0)]
    out = believed if settings.weights in COVERED else []
    return [question for question in asked if question not in out], out


def _sampled(settings: Settings, wanted: dict[Question, int], activation: Phi) -> Iterator[tuple[Event, Sampling]]:
    """The events of one layer with a question that is out of the reach of counting, if they can be sampled."""
    if settings.weights != "haar":
        return
    rare = [q for q, number in wanted.items() if number > _limit(settings, q) and (q.value or 0.0) < 0.5]
    events = _guesses(q for q in rare if q.event.claim in ONE_LAYER and q.event.width <= MOST_RARE_WIDTH)
    laws = {width: layer_law(activation, width) for width in {event.width for event in events}}
    for event, probability in events.items():
        tilt = rare_tilt(laws[event.width], event)
        with suppress(UsageError):  # no law, or an event that no point reaches: it is counted
            if tilt is not None:
                log_largest = rare_events.log_largest_estimate(activation, tail_event(event), tilt)
                yield event, Sampling(tilt, log_largest, _rare_draws(event.width, log_largest, probability))


def _guesses(questions: Iterable[Question]) -> dict[Event, float]:
    """Events, each with its probability, or a tenth of its least bound: Cramér's is rarely further above it."""
    guesses: dict[Event, float] = {}
    for question in questions:
        guess = question.prediction or 0.1 * (question.value or 0.0)
        guesses[question.event] = min(guess, guesses.get(question.event, 1.0))
    return guesses


def _rare_draws(width: int, log_largest: float, probability: float) -> int:
    """As many draws as pin this probability down to a good third, if they are not too many."""
    most = max(MOST_RARE_COORDINATES // width, RARE_DRAWS)
    wanted = RARE_HITS * np.exp(min(log_largest - np.log(probability), 50.0)) if probability else most
    return int(np.clip(wanted, RARE_DRAWS, most))


def _wanted(asked: Sequence[Question], alpha: float) -> dict[Question, int]:
    """Question -> the counted trials that it wants, for those that trials could answer."""
    return {q: q.trials_wanted(alpha) or statistics.MAX_TRIALS for q in asked if q.open}


def key_of(event: Event) -> Key:
    """Return the key of the cell that counts an event.

    Args:
        event: of one layer, or of a whole network.
    """
    kind = "deep" if not event.claim.is_one_layer else "one-step" if event.claim in ONE_LAYER else "normal"
    return kind, event.width, event.depth


def _limit(settings: Settings, question: Question) -> int:
    """The most trials that counting one event may take, if their number is planned."""
    key = key_of(question.event)
    if settings.cap is not None and not question.event.claim.is_one_layer:
        return max(1, settings.cap // PATIENCE)
    return max(settings.trials or 0, _affordable(settings, key))


def _affordable(settings: Settings, key: Key) -> int:
    kind, width, depth = key
    if settings.method == DENSE:
        return int(np.clip(_DENSE_OPERATIONS // (width**3 * depth), LEAST_DENSE_TRIALS, LEAST_TRIALS))
    if kind == "deep":
        return int(np.clip(_DEEP_NEURONS // (width * depth), DEFAULT_DEEP_TRIALS, _MOST_DEEP_TRIALS))
    return DEFAULT_ONE_STEP_TRIALS if kind == "one-step" else MOST_NORMAL_TRIALS


def _cap(settings: Settings, key: Key) -> int:
    """The most trials of a cell in a run that stops once its rows are decided."""
    return settings.cap or PATIENCE * _affordable(settings, key)


def _planned(settings: Settings, wanted: dict[Question, int], key: Key) -> int:
    """The trials asked for, or as many as the questions of a cell want, of those that counting can answer."""
    if settings.trials is not None:
        return settings.trials
    here = {q: n for q, n in wanted.items() if key_of(q.event) == key}
    if key[1:] in settings.theorem:  # wide networks, for the bound alone
        return max([THEOREM_TRIALS, *(n for q, n in here.items() if q.kind.is_bound and n <= DEFAULT_DEEP_TRIALS)])
    counted = [n for q, n in here.items() if n <= _limit(settings, q)]
    if settings.method == DENSE:
        return max([LEAST_DENSE_TRIALS, *counted])
    most = max([DEFAULT_DEEP_TRIALS if key[0] == "deep" else LEAST_TRIALS, *counted])
    return min(2 * most, MOST_NORMAL_TRIALS) if key[0] == "normal" else most  # cheap: so that all are decided


def _controls(settings: Settings, tested: Phi, control: Phi | None, shell: OnShell) -> Iterator[Job]:
    width, depth = settings.widths[-1], settings.depths[-1]
    trials = min(settings.trials or settings.cap or CONTROL_TRIALS, CONTROL_TRIALS)
    inputs = shell(width)
    if control is not None:
        plain = cells.Deep(control, width, depth, settings.weights, inputs, keep_layers=True, method=settings.method)
        yield _job(("raw", width, depth), streams.RAW_CONTROL, plain, trials)
    if settings.weights == "haar":
        gaussian = cells.Deep(tested, width, depth, "gaussian", inputs, keep_layers=True, method=settings.method)
        yield _job(("gaussian", width, depth), streams.GAUSSIAN_CONTROL, gaussian, trials)


def _job(key: Key, stream: int, compute: runs.Compute, trials: int) -> Job:
    kind, width, depth = key
    dense = isinstance(compute, cells.OneStep | cells.Deep) and compute.method == DENSE
    size = width * width if dense else width  # of a layer: neurons, or weights
    cell = runs.Cell(
        compute=compute,
        experiment=stream,
        cell=streams.cell_number(width, depth),  # the identity of the cell, whatever else runs beside it
        trials=trials,
        chunk=streams.chunk_size(size, depth),
        cost=size * depth,
        label=f"{kind}, width {width}, depth {depth}",
    )
    return Job(key, cell)


def _rare_job(activation: Phi, event: Event, sampling: Sampling) -> Job:
    rare = tail_event(event)
    identity = crc32(f"{event.claim} {event.epsilon!r} {event.side}".encode())
    cell = runs.Cell(
        compute=cells.RareEvent(activation, rare, sampling.tilt),
        experiment=streams.RARE_EVENT,
        cell=streams.cell_number(event.width, identity),
        trials=sampling.draws,
        chunk=streams.chunk_size(event.width, _RARE_COST),
        cost=event.width * _RARE_COST,
        label=f"rare event {event.claim}, width {event.width}, epsilon {event.epsilon:g}, {event.side}",
    )
    return Job(("rare", event), cell)


def on_shell(loaded: data.Inputs | None, width: int) -> cells.RealInputs | None:
    if loaded is None:
        return None
    vectors, _ = data.to_thin_shell(loaded.vectors, width)
    return cells.RealInputs(vectors, loaded.labels, loaded.classes)
