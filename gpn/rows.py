"""Rows of a report: what theory says of an event, beside what the trials say."""

from gpn import statistics
from gpn.evidence import Evidence
from gpn.planning import EXACT, PREDICTION
from gpn.questions import Question
from gpn.report import Row
from gpn.statistics import Decision, Verdict


def answer(question: Question, evidence: Evidence, activation: str, alpha: float) -> Row:
    """The row of a question: its evidence, with the limits and the verdict of `decide`.

    Args:
        question: what theory says.
        evidence: the trials of its event.
        activation: the name of phi.
        alpha: error probability of this row.
    """
    lower, upper, verdict = decide(question, evidence, alpha)
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


def decide(question: Question, evidence: Evidence, alpha: float) -> Decision:
    """The limits that the evidence sets, and the verdict that belongs to the kind of the question.

    A bound is tested with limits of error alpha each, since it can be wrong in one direction only; an exact law, which
    can be wrong in two, with alpha/2 each.

    Args:
        question: what theory says.
        evidence: the trials of its event.
        alpha: error probability of the verdict.
    """
    lower, upper = evidence.limits(alpha / 2 if question.kind == EXACT else alpha)
    return Decision(lower, upper, _verdict(question, evidence, lower, upper))


def _verdict(question: Question, evidence: Evidence, lower: float, upper: float) -> Verdict:
    if question.value is None:
        return Verdict.VACUOUS
    if question.impossible and not evidence.exceedances:
        return Verdict.VACUOUS  # proved impossible: nothing that counting could add
    if question.kind == EXACT:
        return statistics.equals(lower, upper, question.value, question.error)
    if question.kind == PREDICTION:
        return statistics.equivalent(lower, upper, question.value)
    return statistics.bounded(lower, upper, question.value)
