"""How a plan is run: all at once, or in rounds that double, with a look at every open row after each.

The decision to stop depends only on the counts of whole rounds, and a round only on the seed. So decisions and bits are
the same for any number of workers, and after a resume. A run with a fixed number of trials has the same first trials.
"""

from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

from gpn.experiment import cells, runs
from gpn.statistics.evidence import Evidence, Weighted
from gpn.statistics.limits import Verdict
from gpn.statistics.sequential import Watched, lower_limit, upper_limit
from gpn.verification.plan import LEAST_TRIALS, Job, Outcomes, Plan, count, key_of
from gpn.verification.questions import Event, Question
from gpn.verification.settings import DEFAULT_DEEP_TRIALS

BATCH_TRIALS = 2_000_000  # of all cells that are kept in memory at once, 50 MB


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The results of a run.

    Args:
        outcomes: the results of all jobs, by key. A cell that was run in rounds has those of its first round: the size
            of that round is fixed, so its quantiles are not biased by the decision to stop.
        counts: the trials of each event, over all trials of its cell.
        weighted: the weighted draws of each event that is too rare to be counted.
        decided: the trials of questions that were answered in an earlier round.
        given_up: questions that no outcome within the cap could confirm, so that the run did not wait for them.
    """

    outcomes: Outcomes
    counts: dict[Event, Evidence]
    weighted: dict[Event, Weighted]
    decided: dict[Question, Evidence] = field(default_factory=dict)
    given_up: frozenset[Question] = frozenset()

    def evidence_of(self, question: Question) -> tuple[Evidence, Weighted | None]:
        """Return the trials of networks that answer a question, and the weighted draws of its event if there are any.

        Args:
            question: a question about an event that was counted.
        """
        return self.decided.get(question, self.counts[question.event]), self.weighted.get(question.event)


class _WatchedCell:
    """A cell that is run in rounds: what was counted in it so far, and which of its questions are open.

    Args:
        job: the job of the cell, with the cap as its number of trials.
        events: the events that are counted.
        questions: the questions that are to be decided.
    """

    def __init__(self, job: Job, events: Sequence[Event], questions: Sequence[Question]) -> None:
        self.job = job
        self.done = 0
        self.hits = dict.fromkeys(events, 0)
        self.unknown = dict.fromkeys(events, 0)
        self.looks: dict[Event, Watched] = {}
        self.open = list(questions)

    @property
    def unfinished(self) -> bool:
        """Whether another round is wanted and allowed."""
        return bool(self.open) and self.done < self.job.cell.trials

    def next_round(self) -> int:
        """Total number of trials after the next round: whole chunks, or the cap."""
        return min(2 * self.done or first_round(self.job), self.job.cell.trials)

    def part(self, stop: int) -> runs.Cell:
        """The cell of the trials up to `stop` that are not done yet; only the first round keeps layers."""
        cell = self.job.cell
        compute = cell.compute
        if self.done and isinstance(compute, cells.Deep):
            compute = replace(compute, keep_layers=False)
        return replace(cell, compute=compute, trials=stop - self.done, first=self.done // cell.chunk)

    def add(self, outcome: runs.Arrays) -> None:
        """Count the events in a part that has been run."""
        counts = {event: count(event, outcome) for event in self.hits}
        for event, counted in counts.items():
            self.hits[event] += counted.exceedances
            self.unknown[event] += counted.unknown
        self.done += len(next(iter(outcome.values())))

    def decide_open_questions(self, alpha: float) -> dict[Question, Watched]:
        """Close the questions that the trials so far decide, and return them with their evidence."""
        for event, hits in self.hits.items():
            looks, unclear = (self.looks[event].looks, self.looks[event].unclear) if event in self.looks else ((), ())
            self.looks[event] = Watched((*looks, (hits, self.done)), (*unclear, self.unknown[event]))
        evidence = {question: self.looks[question.event] for question in self.open}
        decided = {q: e for q, e in evidence.items() if q.decide(e, None, alpha).verdict is not Verdict.UNDECIDED}
        self.open = [question for question in self.open if question not in decided]
        return decided


def first_round(job: Job) -> int:
    """Number of trials in the first round of a job: whole chunks, unless the cap is less."""
    least = DEFAULT_DEEP_TRIALS if job.key[0] == "deep" else LEAST_TRIALS
    return min(-(-least // job.cell.chunk) * job.cell.chunk, job.cell.trials)


class Runner:
    """Runs cells with one seed, and reports the progress of all runs together.

    Args:
        seed: the seed of the verification.
        executor, workers: as for `gpn.verify`.
        store: where finished chunks are kept, None for nowhere.
        progress: called with (done, total, words) cost, where the total is that of the cells begun.
    """

    def __init__(
        self,
        seed: int,
        executor: Executor | str | None,
        workers: int,
        store: runs.Store | None,
        progress: runs.Progress | None,
    ) -> None:
        self.seed, self.executor, self.workers, self.store, self.progress = seed, executor, workers, store, progress
        self.spent = 0.0

    def run(self, cells: Sequence[runs.Cell]) -> list[runs.Arrays]:
        """Return the results of the cells, in their order."""
        results = runs.run(
            cells,
            self.seed,
            executor=self.executor,
            workers=self.workers,
            progress=None if self.progress is None else self._report,
            store=self.store,
        )
        self.spent += sum(cell.cost * cell.trials for cell in cells)
        return results

    def _report(self, done: float, total: float, words: str) -> None:
        assert self.progress is not None
        self.progress(self.spent + done, self.spent + total, words)


def run_plan(plan: Plan, jobs: Sequence[Job], runner: Runner) -> RunOutcome:
    """Run all cells of a plan: whole, or in rounds until every row is decided or the cap is reached.

    Args:
        plan: the plan; what it leaves to importance sampling is drawn once.
        jobs: the jobs of the plan, after the memory was divided.
        runner: what computes the cells.
    """
    if plan.settings.until is not None:
        return _run_until_decided(plan, jobs, runner)
    results = runner.run([job.cell for job in jobs])
    outcomes: Outcomes = dict(zip([job.key for job in jobs], results, strict=True))
    events = dict.fromkeys(question.event for question in plan.asked)
    counts: dict[Event, Evidence] = {event: count(event, outcomes[key_of(event)]) for event in events}
    return RunOutcome(outcomes, counts, plan.weighted(outcomes))


def _run_until_decided(plan: Plan, jobs: Sequence[Job], runner: Runner) -> RunOutcome:
    """Run each cell in rounds, each as long as all before it together, with a look at every open row after each."""
    alpha = plan.alpha
    given_up = frozenset(
        q for q in plan.asked if waits(plan, q) and not _confirmable(q, plan.trials[key_of(q.event)], alpha)
    )
    watched = {job.key: _watch(plan, job, given_up) for job in jobs if job.key in plan.trials}
    whole = [job for job in jobs if job.key not in watched]
    parts = [cell.part(cell.next_round()) for cell in watched.values()]
    results = runner.run([*(job.cell for job in whole), *parts])
    outcomes = dict(zip([*(job.key for job in whole), *watched], results, strict=True))
    for key, cell in watched.items():
        cell.add(outcomes[key])
    decided: dict[Question, Evidence] = {}
    for cell in watched.values():
        decided |= cell.decide_open_questions(alpha)
    while unfinished := [cell for cell in watched.values() if cell.unfinished]:
        _one_round(unfinished, runner)
        for cell in unfinished:
            decided |= cell.decide_open_questions(alpha)

    counts: dict[Event, Evidence] = {event: looks for cell in watched.values() for event, looks in cell.looks.items()}
    return RunOutcome(outcomes, counts, plan.weighted(outcomes), decided, given_up)


def _one_round(unfinished: Sequence[_WatchedCell], runner: Runner) -> None:
    """Double the trials of each cell, in batches that fit into the memory."""
    stops = {cell: cell.next_round() for cell in unfinished}
    while behind := [cell for cell, stop in stops.items() if cell.done < stop]:
        parts = [cell.part(min(cell.done + _batch(cell.job, len(behind)), stops[cell])) for cell in behind]
        for cell, outcome in zip(behind, runner.run(parts), strict=True):
            cell.add(outcome)


def _batch(job: Job, cells: int) -> int:
    """Number of trials of a job that are run at once after its first round: whole chunks."""
    chunk = job.cell.chunk
    return max(1, BATCH_TRIALS // (cells * chunk)) * chunk


def _watch(plan: Plan, job: Job, given_up: frozenset[Question]) -> _WatchedCell:
    here = [question for question in plan.asked if key_of(question.event) == job.key]
    questions = [question for question in here if waits(plan, question) and question not in given_up]
    return _WatchedCell(job, list(dict.fromkeys(question.event for question in here)), questions)


def waits(plan: Plan, question: Question) -> bool:
    """Whether trials may decide the question: it is open, and its event not left to importance sampling."""
    return question.open and question.event not in plan.sampled


def _confirmable(question: Question, cap: int, alpha: float) -> bool:
    """Whether some outcome of `cap` trials could make the verdict `holds`, and so be worth waiting for."""
    assert question.value is not None
    if question.kind.is_bound and not question.equal:
        return upper_limit(0, cap, alpha) <= question.value
    low, high = question.confirming
    most = bisect_left(range(cap + 1), True, key=lambda k: upper_limit(k, cap, alpha) > high) - 1
    return most >= 0 and bool(lower_limit(most, cap, alpha) >= low)
