"""Jumps at singular points that algebra does not list: isolated by balls, and proved."""

import math

import pytest
import sympy

from theory.activations.specification import activation
from theory.normalization.conditions import gaussian_poincare


@pytest.mark.parametrize(
    ("formula", "place"),
    [("tanh(1/(x - exp(-x)))", 0.567143290), ("atan(1/(x - exp(-x)))", 0.567143290), ("atan(tan(x))", math.pi / 2)],
)
def test_jumps_at_isolated_singular_points_are_proved(formula, place):
    conditions = gaussian_poincare(activation(formula), 15)
    assert (conditions.normalizable, conditions.certified) == ("no", True)
    assert any(abs(float(sympy.sympify(jump)) - place) < 1e-9 for jump in conditions.jumps)
    assert conditions.lipschitz is None


@pytest.mark.parametrize(
    ("formula", "infinite"),
    [
        ("1/x", {"mean", "variance", "second_moment", "slope_second_moment"}),
        ("1/sqrt(abs(x))", {"variance", "second_moment", "slope_second_moment"}),  # E phi = 1.7200799746
        ("exp(x**2/4)", {"variance", "second_moment", "slope_second_moment"}),  # E phi = sqrt 2
        ("exp(1/x)", {"mean", "variance", "second_moment", "slope_second_moment"}),
        ("cos(x)/x", {"variance", "second_moment", "slope_second_moment"}),
        ("log(abs(x))", {"slope_second_moment"}),
        ("asinh(1/x)", {"slope_second_moment"}),
        ("abs(x-1)**0.3", {"slope_second_moment"}),
        ("sign", {"slope_second_moment"}),
        ("sqrt(x)", {"mean", "variance", "second_moment", "slope_second_moment"}),
    ],
)
def test_what_is_proved_to_have_no_finite_value_is_named(formula, infinite):
    report = gaussian_poincare(activation(formula), 15)
    assert (report.is_gpn, report.normalizable) == ("fails", "no")
    assert set(report.infinite) == infinite
    assert {name for name, words in report.missing.items() if words.startswith("no finite value")} == infinite


@pytest.mark.parametrize("formula", ["sin(1/x)", "exp(x**2/4)*cos(x)", "x**2*sin(1/x**3)"])
def test_a_divergence_that_is_only_measured_is_undecided(formula):
    """All three diverge (phi' oscillates like x^-2, exp(x^2/4) and x^-2), but no envelope proves it."""
    report = gaussian_poincare(activation(formula), 15)
    assert (report.is_gpn, report.normalizable, report.infinite) == ("undecided", "undecided", ())
    assert "not proved" in report.reason
    assert report.missing["slope_second_moment"].startswith("not known: ")


def test_a_removable_pole_is_no_divergence():
    """sin(x)/x and (exp(x)-1)/x are analytic at 0; their moments are finite."""
    for formula in ("sin(x)/x", "(exp(x)-1)/x", "x**3/x**2"):
        assert gaussian_poincare(activation(formula), 15).normalizable == "yes"


def test_jumps_that_are_only_seen_leave_a_formula_undecided():
    """1 - cos(x - sqrt(2)) has a double zero at sqrt(2), which is not isolated; that phi jumps at 1 is seen."""
    conditions = gaussian_poincare(activation("where(cos(x - sqrt(2)) < 1 and x > 1, 1, 0)"), 15)
    assert conditions.jumps == ("1",)
    assert (conditions.normalizable, conditions.certified) == ("undecided", False)
