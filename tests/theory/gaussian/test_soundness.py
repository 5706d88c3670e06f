"""Certified balls contain the values of random formulas, computed by a second reader that shares no code.

The seed is fixed, so a failure is a defect, never chance.
"""

import math

import numpy as np
import pytest

from tests.oracles.random_formulas import Formulas
from tests.oracles.second_reader import phi, reference
from theory.activations.specification import activation
from theory.errors import SpecificationError
from theory.gaussian.certified import certified_moments
from theory.gaussian.moments import Moments

MOMENTS = ("mean", "second", "slope_second", "second_tilt")


def outcome(text: str) -> str:
    """Certify a formula; where there are balls, they must contain the second reader's values."""
    try:
        found = certified_moments(activation(text), 15, MOMENTS)
    except SpecificationError:
        return "refused"
    if not isinstance(found, Moments):
        return "not certified"
    values, errors, scales = reference(text)
    for index, name in enumerate(MOMENTS):
        if name in found.balls and np.isfinite(values[index]):
            ball = found.balls[name]
            slack = float(ball.rad()) + 100 * errors[index] + 1e-9 * scales[index]
            assert abs(float(ball.mid()) - values[index]) <= slack, (text, name)
    return "certified"


def outcomes(seed: int, count: int) -> list[str]:
    formulas = Formulas(seed)
    texts = [formulas.formula(formulas.random.choice((1, 2, 2, 3))) for _ in range(count)]
    return [outcome(text) for text in texts]


def test_random_switches_are_certified_soundly():
    found = outcomes(seed=1, count=40)
    assert found.count("certified") >= 30  # refusing everything would be sound too


@pytest.mark.slow
def test_thousands_of_random_switches_are_certified_soundly():
    found = outcomes(seed=2, count=3000)
    assert found.count("certified") >= 2400


@pytest.mark.parametrize(
    "text",
    [
        "min(arctan(x-pi/4),log(2))",  # SymPy does not know that the breakpoint tan(log(2)) is finite
        "where(x<1.6,max(arctan(x-pi/4),-log(2)),2)",
        "abs(arctan(x)-exp(-1))*tanh(x)",
        "max(tanh(1/(x-0.5)),-0.7)",
        "heaviside(1/(x-(1/3)))*x",
        "abs(exp(1/(x-0.5))-2)*exp(-abs(x)**2)*heaviside(-x)",
        "max(abs(x)**(2/3)-1,0)",
        "max(exp(x)-exp(2*x)+1,sin(x))",
        "min(asinh(2*x),log(3))",
        "abs(erf(x)-0)*where(x**2>2,x,1)",
        "max(min(x**2-2,abs(x)),-1.9)",
        "abs((x-1)*(x-1.001)*(x-0.999))",
        "max(x**2*exp(-x),0.1*x**2)",
    ],
)
def test_hard_switches_are_never_certified_wrongly(text):
    assert outcome(text) in ("certified", "not certified", "refused")


def test_a_breakpoint_of_unknown_finiteness_is_an_end():
    """The share of the left piece was once taken over the whole line: -0.454 instead of -0.501."""
    ball = certified_moments(activation("min(arctan(x-pi/4),log(2))"), 15, ["mean"]).balls["mean"]
    assert abs(float(ball.mid()) + 0.5007594218016168) < 1e-13
    assert float(ball.rad()) < 1e-14


def test_the_second_reader_knows_closed_forms():
    """E max(z, 0)^2 = 1/2, E |z - 1.3|^2 = 2.69, E sign(z)^2 = 1, E elu'^2 = 1/2 + e^2 Phi(-2)."""
    assert reference("max(x,0)")[0][1] == pytest.approx(0.5, abs=1e-13)
    assert reference("abs(x-1.3)")[0][1] == pytest.approx(2.69, abs=1e-12)
    assert reference("sign(x)")[0][1] == pytest.approx(1, abs=1e-12)
    assert reference("elu(x)")[0][2] == pytest.approx(0.5 + math.exp(2) * phi(-2), abs=1e-12)


def test_the_comparison_would_see_a_wrong_branch():
    """The value that a split without the pole of 1/x gave, 0, is far from the second reader's."""
    values, errors, _ = reference("max(tanh(1/x),0)")
    assert values[0] > 0.4 > 100 * errors[0] + 1e-9
