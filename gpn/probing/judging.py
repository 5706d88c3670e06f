"""Does each step follow its law: residuals over fresh initializations, and their probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gpn.probing.prediction import (
    Law,
    PearsonCurve,
    activation_step,
    independent_convolution,
    rotated_map,
    sum_of,
)
from gpn.probing.prediction import with_bias as shifted
from gpn.probing.recognition import Unit
from gpn.probing.tape import Tape
from theory.numerics.arithmetic import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One comparison of a measured squared norm, or factor of one, with its law, in one initialization.

    Args:
        measured: array (samples,).
        law: what theory says.
    """

    measured: FloatArray
    law: Law

    @property
    def ratio(self) -> float:
        """Measured over predicted, the mean over samples; nan where nothing was measured or predicted."""
        with np.errstate(all="ignore"):
            return float(np.mean(self.measured / self.law.mean))


@dataclass(frozen=True, slots=True)
class Judgement:
    """The comparison over all initializations.

    Args:
        measured: the mean.
        predicted: the mean of the laws.
        lower, upper: the band of the measured mean, at the level of the whole report.
        probability: of so large a deviation, two-sided; nan where it is not judged.
    """

    measured: float
    predicted: float
    lower: float
    upper: float
    probability: float


def steps_of(tape: Tape, unit: Unit, units: dict[int, Unit]) -> tuple[Step | None, Step | None]:
    """The comparisons of one unit, forward and backward, as far as theory covers them.

    Args:
        tape: an initialization.
        unit: one of its units.
        units: all of them, by the value that they make.
    """
    if unit.kind == "linear":
        return _linear(tape, unit)
    if unit.kind == "convolution":
        return _convolution(tape, unit)
    if unit.kind == "activation":
        return _activation(tape, unit, units)
    if unit.kind == "add":
        return _sum(tape, unit, units), None
    return None, None


def _linear(tape: Tape, unit: Unit) -> tuple[Step | None, Step | None]:
    operation = unit.operation
    assert operation is not None
    assert operation.weights is not None
    x, h = tape.values[operation.inputs[0]], tape.values[operation.output]
    weights = operation.weights
    if (x.size, h.size) != (weights.columns, weights.rows) or x.rows != h.rows or not np.isfinite(weights.traces).all():
        return None, None
    law = rotated_map(weights, x.squares)
    if operation.bias is not None:
        law = shifted(law, operation.bias, h.rows)
    back = None
    if operation.pulled is not None:
        back = Step(operation.pulled, rotated_map(weights, h.gradient, backward=True))
    return Step(h.squares, law), back


def _convolution(tape: Tape, unit: Unit) -> tuple[Step | None, Step | None]:
    operation = unit.operation
    assert operation is not None
    assert operation.weights is not None
    assert operation.patches is not None
    weights, h = operation.weights, tape.values[operation.output]
    law = independent_convolution(weights, operation.patches, weights.rows, operation.groups)
    if operation.bias is not None:
        law = shifted(law, operation.bias, h.rows)
    back = None
    if operation.pulled is not None and operation.back_patches is not None:
        back_law = independent_convolution(weights, operation.back_patches, operation.channels, operation.groups)
        back = Step(operation.pulled, back_law)
    return Step(h.squares, law), back


def _activation(tape: Tape, unit: Unit, units: dict[int, Unit]) -> tuple[Step | None, Step | None]:
    """The law needs a pre-activation of any direction: that of a linear map, or a multiple of it."""
    source = units.get(unit.inputs[0])
    if source is None or source.kind not in ("linear", "convolution") or unit.phi is None:
        return None, None
    operation = source.operation
    assert operation is not None
    assert operation.core is not None
    if not np.isfinite(operation.core).all():
        return None, None
    h, x = tape.values[operation.output], tape.values[unit.output]
    passage = activation_step(unit.phi, operation.core, operation.bias, h.size, h.rows)
    if not unit.alone:
        return Step(x.squares, passage.forward), None
    with np.errstate(all="ignore"):
        factor = h.gradient / x.gradient
    return Step(x.squares, passage.forward), Step(factor, passage.backward)


def _sum(tape: Tape, unit: Unit, units: dict[int, Unit]) -> Step | None:
    """Of x + W y, where x does not depend on W y; the branch may be scaled."""
    for branch, other in (unit.inputs, unit.inputs[::-1]):
        source = units.get(branch)
        if source is not None and source.kind == "scale":
            source = units.get(source.inputs[0])
        if source is None or source.kind not in ("linear", "convolution") or _depends(other, source.output, units):
            continue
        assert source.operation is not None
        law = sum_of(tape.values[other], tape.values[branch], source.operation.bias)
        return Step(tape.values[unit.output].squares, law)
    return None


def _depends(value: int, on: int, units: dict[int, Unit]) -> bool:
    """Whether one value is computed from another, or is it."""
    waiting, seen = [value], set()
    while waiting:
        one = waiting.pop()
        if one == on:
            return True
        if one in units and one not in seen:
            seen.add(one)
            waiting += units[one].inputs
    return False


_NEGLECTED, _NEGLECTED_WITH_BIAS = 2.0, 4.0
"""What the mean of one step may miss, in units of 1/n: laws are of leading order (seen: 1.3, with a bias 3.0)."""


def together(sides: Sequence[tuple[Sequence[Step], int, bool]], epsilon: float, tail: float) -> Judgement | None:
    r"""Compare what many steps miss in sum: an error that is too small to be seen in each of them.

    .. math:: \sum_l \Big(\frac{measured_l}{predicted_l} - 1\Big)

    Given what came before it, each summand has mean 0 up to a few 1/n and the variance of its law. So they are
    differences of a martingale, and their variances and third moments add up.

    Args:
        sides: for each step its comparisons, one for each initialization; the width n; whether there is a bias.
        epsilon: the rounding unit of the model.
        tail: the two-sided probability outside of the band.

    Returns:
        The mean ratio of a step as `measured`, beside 1; None for fewer than two steps that fluctuate.
    """
    total = Law(np.zeros(1), 0.0)
    deviation, count = 0.0, 0
    for steps, size, biased in sides:
        known = _known(steps)
        if not known or not all(step.law.variance > 0 for step in known):
            continue
        law = _mean_law(known)
        slack = law.slack + 4 * epsilon + (_NEGLECTED_WITH_BIAS if biased else _NEGLECTED) / size
        total = replace(
            total, variance=total.variance + law.variance, third=total.third + law.third, slack=total.slack + slack
        )
        deviation += float(np.mean([step.ratio for step in known])) - 1
        count += 1
    if count < 2:
        return None
    curve = PearsonCurve(total.variance, total.third)
    lower, upper = curve.band(tail)
    excess = float(np.sign(deviation)) * max(abs(deviation) - total.slack, 0.0)
    ends = ((lower - total.slack) / count, (upper + total.slack) / count)
    return Judgement(1 + deviation / count, 1.0, max(1 + ends[0], 0.0), 1 + ends[1], curve.tail(excess))


def _known(steps: Sequence[Step]) -> list[Step]:
    """The comparisons that have a law and finite numbers."""
    return [
        step
        for step in steps
        if np.isfinite(step.law.mean).all() and np.isfinite(step.measured).all() and (step.law.mean > 0).all()
    ]


def _mean_law(known: Sequence[Step]) -> Law:
    """The law of the mean ratio over initializations."""
    count = len(known)
    variance = sum(step.law.variance for step in known) / count**2
    third = sum(step.law.third for step in known) / count**3
    return Law(np.ones(1), variance, third, max(step.law.slack for step in known))


def judge(steps: Sequence[Step], epsilon: float, tail: float) -> Judgement:
    """Compare the mean over initializations with its law; several samples of one network count as one.

    Args:
        steps: one for each initialization.
        epsilon: the rounding unit of the model.
        tail: the two-sided probability outside of the band.
    """
    known = _known(steps)
    if not known:
        measured = float(np.mean([step.measured.mean() for step in steps]))
        return Judgement(measured, float("nan"), float("nan"), float("nan"), float("nan"))
    law = _mean_law(known)
    slack = law.slack + 4 * epsilon + 1e-12
    deviation = float(np.mean([step.ratio for step in known])) - 1
    excess = float(np.sign(deviation)) * max(abs(deviation) - slack, 0.0)
    predicted = float(np.mean([step.law.mean.mean() for step in known]))
    curve = PearsonCurve(law.variance, law.third)
    lower, upper = curve.band(tail)
    return Judgement(
        predicted * (1 + deviation),
        predicted,
        predicted * max(1 + lower - slack, 0.0),
        predicted * (1 + upper + slack),
        curve.tail(excess),
    )
