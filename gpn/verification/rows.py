"""Rows of a report: what theory says of an event, beside what the trials say."""

from gpn.statistics.evidence import Evidence
from gpn.statistics.limits import Decision, Verdict
from gpn.verification.kinds import EXACT
from gpn.verification.questions import Question
from gpn.verification.results import Row


def answer(question: Question, evidence: Evidence, counted: Evidence, activation: str, alpha: float) -> Row:
    """Return the row of a question: its evidence, with the limits and the verdict of `decide`.

    Args:
        question: what theory says.
        evidence: the trials of its event, or weighted draws.
        counted: the plain trials, the same as `evidence` where that is a count.
        activation: the name of phi.
        alpha: one-sided error probability, half of that of the row.
    """
    lower, upper, verdict = decide(question, evidence, counted, alpha)
    name = question.kind.name
    return Row(
        claim=question.event.claim.value,
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
        bound_kind=name if question.value is not None else f"none ({name}: {question.bound.reason})",
        bound=question.value,
        prediction=question.prediction,
        verdict=verdict,
        method=evidence.method,
    )


def decide(question: Question, evidence: Evidence, counted: Evidence, alpha: float) -> Decision:
    """Return limits of error alpha each, and the verdict by the rule of the question's kind.

    Importance sampling estimates an integral over the sphere and simulates no network. So a bound is violated as well
    if plain trials of the same event contradict it.

    Args:
        question: what theory says.
        evidence: the trials of its event, or weighted draws.
        counted: the plain trials, the same as `evidence` where that is a count.
        alpha: one-sided error probability, half of that of the row.
    """
    lower, upper = evidence.limits(alpha)
    verdict = _verdict(question, evidence, lower, upper)
    if question.kind.is_bound and question.value is not None:
        plain = question.kind.verdict(*counted.limits(alpha), question.value)
        verdict = Verdict.VIOLATED if plain is Verdict.VIOLATED else verdict
    return Decision(lower, upper, verdict)


def _verdict(question: Question, evidence: Evidence, lower: float, upper: float) -> Verdict:
    if question.value is None:
        return Verdict.VACUOUS
    if question.impossible and not evidence.exceedances:
        return Verdict.VACUOUS  # proved impossible: nothing that counting could add
    if question.kind is EXACT and question.value == 1 and evidence.exceedances == evidence.trials:
        return Verdict.VACUOUS  # certain, and always seen
    return question.kind.verdict(lower, upper, question.value, question.error)
