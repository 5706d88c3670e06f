"""The member of a family for a depth: the budget is met, and the constants are those of the exact member."""

import numpy as np
import pytest

from theory.errors import UsageError
from theory.trainability import design as search
from theory.trainability.design import design
from theory.trainability.lengths import RUNAWAY, length_growth


@pytest.mark.parametrize(
    ("spec", "depth", "curvature"),
    [
        ("relu", 50, 2.0),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [("tanh", 200, 1.0), ("x + s*gelu(x)", 20, 0.3)]),
    ],
)
def test_the_member_spends_the_budget(spec, depth, curvature):
    made = design(spec, depth, curvature)
    assert made.spent == pytest.approx(curvature, rel=0.03)  # the parameter has three digits
    assert made.separation.losses(depth)[-1] == pytest.approx(1 / (1 + curvature / 2), rel=0.03)


def test_the_member_is_normalized_by_an_independent_quadrature():
    made = design("tanh", 100)
    z, weights = np.polynomial.hermite_e.hermegauss(60)
    weights /= np.sqrt(2 * np.pi)
    a, b, s = made.activation.a, made.activation.b, made.value
    assert weights @ (a * np.tanh(s * z) + b) ** 2 == pytest.approx(1, abs=1e-12)
    assert weights @ (a * s / np.cosh(s * z) ** 2) ** 2 == pytest.approx(1, abs=1e-12)


def test_leaky_relu_in_closed_form():
    # x + s max(x, 0) = (1 + s/2) x + (s/2) |x|, and E |u v| = (2/pi) (sin theta + (pi/2 - theta) cos theta).
    made = design("relu", 30, 1.0)
    s = made.value
    share = (s**2 / 4) / ((1 + s / 2) ** 2 + s**2 / 4)
    rho = 0.0
    for _ in range(30):
        angle = np.arccos(rho)
        rho += share * (np.sin(angle) - angle * rho) * 2 / np.pi
    assert made.separation.losses(30)[-1] == pytest.approx(1 - rho, rel=1e-6)


def test_a_member_whose_lengths_run_away_is_not_offered(monkeypatch):
    """gelu(s x) is s x/2 + s^2 x^2/sqrt(2 pi) + ...: its length map grows like a square, with a point that repels."""
    monkeypatch.setattr(search, "_value", lambda *_: 0.09)  # near the members for 50 layers
    made = design("gelu", 50)
    assert made.family.text == "x + s*gelu(x)"
    assert length_growth(made.activation, 50) < RUNAWAY
    asked = design("gelu(s*x)", 50)  # a family that is asked for is kept
    assert asked.family.text == "gelu(s*x)"
    assert length_growth(asked.activation, 50) > 1e4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("relu", 1), "spend"),
        (("tanh", 0), "from 1 to 1000000"),
        (("tanh", 10, 0.0), "positive"),
        (("geluu", 10), "did you mean gelu"),
        (("geluu(s*x)", 10), "did you mean gelu"),
        (("sign(s*x)", 10), "none of them has a normalization"),
        (("tanh", 10, np.nan), "positive"),
    ],
)
def test_what_has_no_design_is_refused(arguments, words):
    with pytest.raises(UsageError, match=words):
        design(*arguments)
