"""How each event of a verification is seen: which cells are run, and which of their trials answer which question."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from gpn import cells, data, experiment, rare_events, statistics
from gpn.evidence import Counted, Evidence, Weighted
from gpn.questions import DEEP_CLAIM, Event, Question, rare_tilt
from gpn.request import DEFAULT_ONE_STEP_TRIALS, Request
from theory.activation import Activation, CallableActivation

Phi = Activation | CallableActivation
Key = tuple[Any, ...]
Outcomes = dict[Key, dict[str, npt.NDArray[np.float64]]]

CONTROL_TRIALS = 200
LEAST_TRIALS = 10_000  # of one layer, where the number is planned
RARE_DRAWS = 10_000

# Identities of the random streams; a number, once given, keeps its meaning.
ONE_STEP, DEEP, RAW_CONTROL, GAUSSIAN_CONTROL, RARE = 1, 2, 3, 4, 5
_CHUNK_NEURONS = 8_000_000  # neurons times layers in one chunk of trials: a fraction of a second
_RARE_COST = 30  # of a draw of a rare event, in trials of one layer


@dataclass(frozen=True, slots=True)
class Job:
    """A cell of the experiment, and the key under which its outcome is looked up."""

    key: Key
    cell: experiment.Cell


@dataclass(frozen=True, slots=True)
class Plan:
    """In how many counted trials an event of one layer is looked for at each width, or by importance sampling.

    Args:
        request: what was asked for.
        trials: width -> counted trials.
        tilts: the events that are too rare to be counted, with the tilt under which they are not.
        rare: the questions that these answer.
    """

    request: Request
    trials: dict[int, int]
    tilts: dict[Event, rare_events.Tilt]
    rare: frozenset[Question]

    @classmethod
    def make(
        cls, request: Request, asked: tuple[Question, ...], activation: Phi, alpha: float
    ) -> "Plan":
        """Plan from the exact probabilities, before anything is drawn.

        An event counts as too rare where a question about it wants more trials than a default run has. If no number of
        trials was asked for, a width gets as many as its other questions want.

        Args:
            request: what was asked for.
            asked: the questions of the run.
            activation: phi, as it is tested.
            alpha: error probability of each row.
        """
        limit = max(request.trials or 0, DEFAULT_ONE_STEP_TRIALS)
        wanted = {
            question: question.trials_wanted(alpha) or statistics.MAX_TRIALS
            for question in asked
            if question.open and question.event.claim != DEEP_CLAIM
        }
        rare = [question for question, number in wanted.items() if number > limit] if request.weights == "haar" else []
        tilts = {event: rare_tilt(activation, event) for event in dict.fromkeys(question.event for question in rare)}
        known = {event: tilt for event, tilt in tilts.items() if tilt is not None}
        return cls(
            request=request,
            trials={width: request.trials or _planned(wanted, width, limit) for width in request.widths},
            tilts=known,
            rare=frozenset(question for question in rare if question.event in known),
        )

    def jobs(self, tested: Phi, control: Phi | None, loaded: data.Inputs | None) -> list[Job]:
        """The cells to run: single layers, whole networks, controls, rare events.

        Args:
            tested: phi.
            control: phi before it was normalized, if it was.
            loaded: real inputs, if there are any.
        """
        request = self.request
        layers = [
            _job("one-step", ONE_STEP, cells.OneStep(tested, width, request.weights), width, 1, self.trials[width])
            for width in request.widths
        ]
        rare = [_rare_job(tested, event, tilt) for event, tilt in self.tilts.items()]
        return [*layers, *_deep_jobs(request, tested, loaded), *_controls(request, tested, control, loaded), *rare]

    def evidence(self, question: Question, outcomes: Outcomes) -> Evidence:
        """What the outcomes say of the event of a question.

        Args:
            question: one of those that the plan was made for.
            outcomes: of all jobs, by key.
        """
        event = question.event
        if question in self.rare:
            return Weighted(outcomes["rare", event]["log_estimates"])
        if event.claim == DEEP_CLAIM:
            hits = outcomes["deep", event.width, event.depth]["spread"] >= event.epsilon
        else:
            ratios = outcomes["one-step", event.width, 1][event.claim]
            hits = ratios >= 1 + event.epsilon if event.side == "upper" else ratios <= 1 - event.epsilon
        return Counted(int(hits.sum()), len(hits))


def _planned(wanted: dict[Question, int], width: int, limit: int) -> int:
    """As many trials as the questions at a width want, of those that counting can answer."""
    counted = [number for question, number in wanted.items() if question.event.width == width and number <= limit]
    return max([LEAST_TRIALS, *counted])


def _deep_jobs(request: Request, tested: Phi, loaded: data.Inputs | None) -> Iterator[Job]:
    for width in request.widths:
        inputs = _on_shell(loaded, width)
        for depth in request.depths:
            drawn = (width, depth) == (request.widths[-1], request.depths[-1])
            network = cells.Deep(tested, width, depth, request.weights, inputs, keep_layers=drawn)
            yield _job("deep", DEEP, network, width, depth, request.deep_trials)


def _controls(request: Request, tested: Phi, control: Phi | None, loaded: data.Inputs | None) -> Iterator[Job]:
    width, depth = request.widths[-1], request.depths[-1]
    trials = min(request.deep_trials, CONTROL_TRIALS)
    inputs = _on_shell(loaded, width)
    if control is not None:
        plain = cells.Deep(control, width, depth, request.weights, inputs, keep_layers=True)
        yield _job("raw", RAW_CONTROL, plain, width, depth, trials)
    if request.weights == "haar":
        gaussian = cells.Deep(tested, width, depth, "gaussian", inputs, keep_layers=True)
        yield _job("gaussian", GAUSSIAN_CONTROL, gaussian, width, depth, trials)


def _job(kind: str, stream: int, compute: experiment.Compute, width: int, depth: int, trials: int) -> Job:
    cell = experiment.Cell(
        compute=compute,
        experiment=stream,
        cell=width << 32 | depth,  # the identity of the cell, whatever else runs beside it
        trials=trials,
        chunk=max(1, _CHUNK_NEURONS // (width * depth)),
        cost=width * depth,
        label=f"{kind}, width {width}, depth {depth}",
    )
    return Job((kind, width, depth), cell)


def _rare_job(activation: Phi, event: Event, tilt: rare_events.Tilt) -> Job:
    rare = rare_events.Event(event.claim, event.width, event.epsilon, event.side)
    identity = crc32(f"{event.claim} {event.epsilon!r} {event.side}".encode())
    cell = experiment.Cell(
        compute=cells.RareEvent(activation, rare, tilt),
        experiment=RARE,
        cell=event.width << 32 | identity,
        trials=RARE_DRAWS,
        chunk=max(1, _CHUNK_NEURONS // (event.width * _RARE_COST)),
        cost=event.width * _RARE_COST,
        label=f"rare event {event}",
    )
    return Job(("rare", event), cell)


def _on_shell(loaded: data.Inputs | None, width: int) -> cells.RealInputs | None:
    if loaded is None:
        return None
    vectors, _ = data.to_thin_shell(loaded.vectors, width)
    return cells.RealInputs(vectors, loaded.labels, loaded.classes)
