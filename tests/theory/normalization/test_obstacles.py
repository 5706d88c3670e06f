"""Obstacles of formulas whose singular points algebra does not list."""

import math

import pytest

from theory.activations.specification import activation
from theory.normalization.conditions import gaussian_poincare


@pytest.mark.parametrize(
    ("formula", "place"),
    [("tanh(1/(x - exp(-x)))", 0.567143290), ("atan(1/(x - exp(-x)))", 0.567143290), ("atan(tan(x))", math.pi / 2)],
)
def test_jumps_at_singular_points_that_cannot_be_listed_are_seen(formula, place):
    conditions = gaussian_poincare(activation(formula), 15)
    assert (conditions.normalizable, conditions.certified) == ("undecided", False)
    assert any(abs(float(jump) - place) < 1e-6 for jump in conditions.jumps)
    assert conditions.lipschitz is None
    assert "numerically" in conditions.located
