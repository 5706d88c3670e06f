"""Rows of a report: what theory says of an event, beside what the trials say."""

from gpn.statistics import limits as statistics
from gpn.statistics.evidence import Evidence
from gpn.statistics.limits import Decision, Verdict
from gpn.statistics.sample_size import EXACT, PREDICTION
from gpn.verification.questions import Question
from gpn.verification.results import Row


def answer(question: Question, evidence: Evidence, counted: Evidence, activation: str, alpha: float) -> Row:
    """The row of a question: its evidence, with the limits and the verdict of `decide`.

    Args:
        question: what theory says.
        evidence: the trials of its event, or weighted draws.
        activation: the name of phi.
        counted: the plain trials, the same as `evidence` where that is a count.
        alpha: one-sided error probability, half of that of the row.
    """
    lower, upper, verdict = decide(question, evidence, counted, alpha)
    return Row(
        claim=question.event.claim,
        activation=activation,
        width=question.event.width,
        depth=question.event.depth,
        epsilon=question.event.epsilon,
        side=question.event.side,
        trials=evidence.trials,
        exceedances=evidence.exceedances,
        estimate=evidence.estimate,
        lower=lower,
        upper=upper,
        bound_kind=question.kind if question.value is not None else f"none ({question.kind}: {question.bound.reason})",
        bound=question.value,
        prediction=question.prediction,
        verdict=verdict,
        method=evidence.method,
    )


def decide(question: Question, evidence: Evidence, counted: Evidence, alpha: float) -> Decision:
    """Limits of error alpha each, and the verdict that belongs to the kind of the question.

    What is estimated by importance sampling is an integral over the sphere, not a simulated network; so a bound is also
    violated if plain trials, counted beside it, contradict it.

    Args:
        question: what theory says.
        evidence: the trials of its event, or weighted draws.
        counted: the plain trials, the same as `evidence` where that is a count.
        alpha: one-sided error probability, half of that of the row.
    """
    lower, upper = evidence.limits(alpha)
    verdict = _verdict(question, evidence, lower, upper)
    bounds = question.value is not None and question.kind not in (EXACT, PREDICTION)
    if bounds and statistics.bounded(*counted.limits(alpha), question.value) is Verdict.VIOLATED:
        verdict = Verdict.VIOLATED
    return Decision(lower, upper, verdict)


def _verdict(question: Question, evidence: Evidence, lower: float, upper: float) -> Verdict:
    if question.value is None:
        return Verdict.VACUOUS
    if question.impossible and not evidence.exceedances:
        return Verdict.VACUOUS  # proved impossible: nothing that counting could add
    if question.kind == EXACT and question.value == 1 and evidence.exceedances == evidence.trials:
        return Verdict.VACUOUS  # certain, and always seen
    if question.kind == EXACT:
        return statistics.equals(lower, upper, question.value, question.error)
    if question.kind == PREDICTION:
        return statistics.equivalent(lower, upper, question.value)
    return statistics.bounded(lower, upper, question.value)
