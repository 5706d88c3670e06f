"""Runs that stop once their rows are decided: cells go on in rounds that double, looked at after each.

When to stop depends on the counts of whole rounds alone, and a round on the seed alone: decisions and bits are the
same for any number of workers, and after a resume. The trials of a cell are the first ones of a run with a fixed
number, which would have the same bits.
"""

from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from gpn.experiment import cells, runs
from gpn.statistics.evidence import IMPORTANCE_SAMPLING, Evidence
from gpn.statistics.limits import Verdict, equivalent
from gpn.statistics.sequential import Watched, lower_limit, upper_limit
from gpn.verification.plan import LEAST_TRIALS, Job, Outcomes, Plan, count, key_of
from gpn.verification.questions import Event, Question
from gpn.verification.settings import DEFAULT_DEEP_TRIALS

BATCH_TRIALS = 2_000_000  # of all cells that are kept in memory at once, 50 MB


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The results of a run.

    Args:
        outcomes: of all jobs, by key; of a cell that was run in rounds those of the first, whose size is fixed, so
            that its quantiles are not those of a run that stopped when it looked well.
        counts: of each event, over all trials of its cell.
        evidence: for questions that were answered otherwise: by importance sampling, or in an earlier round.
        given_up: questions that no outcome within the cap could confirm, so that nobody waited for them.
    """

    outcomes: Outcomes
    counts: dict[Event, Evidence]
    evidence: dict[Question, Evidence]
    given_up: frozenset[Question] = frozenset()

    def evidence_of(self, question: Question) -> tuple[Evidence, Evidence]:
        """What answers a question, and plain counts to set beside it, the same where the answer is a count.

        Args:
            question: about an event that was counted.
        """
        counted = self.counts[question.event]
        evidence = self.evidence.get(question, counted)
        return evidence, counted if evidence.method == IMPORTANCE_SAMPLING else evidence


class _WatchedCell:
    """A cell that goes on in rounds: what was counted in it so far, and which of its questions are open.

    Args:
        job: with the cap as its number of trials.
        events: that are counted.
        questions: that are to be decided.
    """

    def __init__(self, job: Job, events: Sequence[Event], questions: Sequence[Question]) -> None:
        self.job = job
        self.done = 0
        self.hits = dict.fromkeys(events, 0)
        self.looks: dict[Event, tuple[tuple[int, int], ...]] = dict.fromkeys(events, ())
        self.open = list(questions)

    @property
    def unfinished(self) -> bool:
        """Whether another round is wanted and allowed."""
        return bool(self.open) and self.done < self.job.cell.trials

    def next_round(self) -> int:
        """How many trials the cell has in all after the next round: whole chunks, or the cap."""
        return min(2 * self.done or first_round(self.job), self.job.cell.trials)

    def part(self, stop: int) -> runs.Cell:
        """The trials from where the cell stands up to `stop`; layers are kept in the first round only."""
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
        self.done += len(next(iter(outcome.values())))

    def look(self, alpha: float) -> dict[Question, Watched]:
        """The questions that the trials so far decide, with their evidence; they are open no longer."""
        for event, hits in self.hits.items():
            self.looks[event] += ((hits, self.done),)
        evidence = {question: Watched(self.looks[question.event]) for question in self.open}
        decided = {q: e for q, e in evidence.items() if q.decide(e, e, alpha).verdict is not Verdict.UNDECIDED}
        self.open = [question for question in self.open if question not in decided]
        return decided


def first_round(job: Job) -> int:
    """How many trials of a job are looked at first: whole chunks, unless the cap is less."""
    least = DEFAULT_DEEP_TRIALS if job.key[0] == "deep" else LEAST_TRIALS
    return min(-(-least // job.cell.chunk) * job.cell.chunk, job.cell.trials)


class Runner:
    """Runs cells with one seed, and reports the progress of all runs together.

    Args:
        seed: of the verification.
        executor, workers: as for `gpn.verify`.
        store: where finished chunks are kept, None for nowhere.
        progress: called with (done, total) cost, where the total is that of the cells begun.
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

    def _report(self, done: float, total: float) -> None:
        assert self.progress is not None
        self.progress(self.spent + done, self.spent + total)


def run_plan(plan: Plan, jobs: Sequence[Job], runner: Runner) -> RunOutcome:
    """Run all cells of a plan: whole, or in rounds until every row is decided or the cap is reached.

    Args:
        plan: with numbers of trials, or with caps; what it leaves to importance sampling is drawn once.
        jobs: of the plan.
        runner: computes the cells.
    """
    if plan.settings.until is not None:
        return _run_until_decided(plan, jobs, runner)
    results = runner.run([job.cell for job in jobs])
    outcomes: Outcomes = dict(zip([job.key for job in jobs], results, strict=True))
    events = dict.fromkeys(question.event for question in plan.asked)
    counts: dict[Event, Evidence] = {event: count(event, outcomes[key_of(event)]) for event in events}
    return RunOutcome(outcomes, counts, {question: plan.evidence(question, outcomes) for question in plan.rare})


def _run_until_decided(plan: Plan, jobs: Sequence[Job], runner: Runner) -> RunOutcome:
    """Rounds of each cell, each as long as all before it together; a look at every open row after each."""
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
        decided |= cell.look(alpha)
    while unfinished := [cell for cell in watched.values() if cell.unfinished]:
        _one_round(unfinished, runner)
        for cell in unfinished:
            decided |= cell.look(alpha)

    evidence = decided | {question: plan.evidence(question, outcomes) for question in plan.rare}
    counts: dict[Event, Evidence] = {
        event: Watched(looks) for cell in watched.values() for event, looks in cell.looks.items()
    }
    return RunOutcome(outcomes, counts, evidence, given_up)


def _one_round(unfinished: Sequence[_WatchedCell], runner: Runner) -> None:
    """Double the trials of each cell, in batches that fit into memory."""
    stops = {cell: cell.next_round() for cell in unfinished}
    while behind := [cell for cell, stop in stops.items() if cell.done < stop]:
        parts = [cell.part(min(cell.done + _batch(cell.job, len(behind)), stops[cell])) for cell in behind]
        for cell, outcome in zip(behind, runner.run(parts), strict=True):
            cell.add(outcome)


def _batch(job: Job, cells: int) -> int:
    """How many trials of a job are run at once after its first round: whole chunks."""
    chunk = job.cell.chunk
    return max(1, BATCH_TRIALS // (cells * chunk)) * chunk


def _watch(plan: Plan, job: Job, given_up: frozenset[Question]) -> _WatchedCell:
    here = [question for question in plan.asked if key_of(question.event) == job.key]
    questions = [question for question in here if waits(plan, question) and question not in given_up]
    return _WatchedCell(job, list(dict.fromkeys(question.event for question in here)), questions)


def waits(plan: Plan, question: Question) -> bool:
    """Whether trials may decide the question: it is open, and not left to importance sampling."""
    return question.open and question not in plan.rare


def _confirmable(question: Question, cap: int, alpha: float) -> bool:
    """Whether some outcome of `cap` trials could make the verdict `holds`, and so be worth waiting for."""
    assert question.value is not None
    if question.kind.is_bound:
        return upper_limit(0, cap, alpha) <= question.value
    wanted = question.trials_wanted(alpha)
    if wanted is not None and wanted <= cap:
        return True
    value = question.value

    def too_high(k: int) -> bool:
        return equivalent(value, upper_limit(k, cap, alpha), value) is not Verdict.HOLDS

    most = bisect_left(range(cap + 1), True, key=too_high) - 1
    return most >= 0 and equivalent(lower_limit(most, cap, alpha), value, value) is Verdict.HOLDS
