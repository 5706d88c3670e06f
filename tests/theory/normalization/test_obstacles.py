"""Jumps at singular points that algebra does not list: isolated by balls, and proved."""

import math

import pytest
import sympy

from theory.activations import critical_points, proofs
from theory.activations.pieces import Piece
from theory.activations.proofs import discontinuity
from theory.activations.specification import activation
from theory.balls.signs import Range
from theory.normalization.conditions import gaussian_poincare
from theory.numerics.arithmetic import X


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


BESIDE_A_POLE = {  # from bounds of functions alone: |tanh u| < 1 at every u, so that the maximum is known next to 0
    "max(tanh(1/x), 1)": "constant",
    "max(tanh(1/x)**3, 1)": "constant",
    "max(exp(tanh(1/x)), exp(1))": "constant",
    "max(tanh(1/x) - sigmoid(x), 1)": "constant",
    "max(2*atan(1/x), pi)": "constant",
    "max(tanh(1/x), -1)": "phi jumps at 0",
    "max(tanh(1/x)/(2 + sin(x)), -1)": "phi jumps at 0",
}


@pytest.mark.parametrize("formula", BESIDE_A_POLE)
def test_signs_beside_a_pole_are_proved_by_bounds(formula):
    report = gaussian_poincare(activation(formula), 15)
    assert (report.normalizable, report.certified, report.uncertified) == ("no", True, None)
    assert BESIDE_A_POLE[formula] in report.reason


@pytest.mark.parametrize(
    "formula", [formula for formula in BESIDE_A_POLE if "sigmoid" not in formula and "sin" not in formula]
)
def test_signs_at_points_alone_leave_it_undecided(formula, monkeypatch):
    """The same formulas without those bounds, and written anew, as pieces are remembered: signs at points remain."""
    monkeypatch.setattr(critical_points, "range_of", lambda _function: Range())
    report = gaussian_poincare(activation(f"({formula})*1.5"), 15)
    assert (report.is_gpn, report.normalizable, report.certified) == ("undecided", "undecided", False)
    assert "looks" in report.reason
    assert report.infinite == ()


@pytest.mark.parametrize(
    ("formula", "place"),
    [
        ("sqrt(x**2 - 1)", "on (-1, 1)"),
        ("acosh(x)", "on (-oo, 1)"),
        ("sqrt(x) + sqrt(-5 - x)", "on (-oo, -5) and on (-5, 0) and on (0, oo)"),
        ("2**x**x**x", "around x = -1.37"),  # at -1 it is 1/2
        ("x**x", "around x = -1.37"),
    ],
)
def test_no_real_value_is_claimed_only_where_it_is_proved(formula, place):
    report = gaussian_poincare(activation(formula), 15)
    assert (report.normalizable, report.reason) == ("no", f"phi has no real value {place}")
    assert report.uncertified in (None, f"phi has no real value {place.split(' and ')[0]}")


def test_limits_by_sympy_and_switches_that_are_left_prove_no_jump(monkeypatch):
    zero = sympy.Integer(0)
    monkeypatch.setattr(proofs, "one_sided_limit", lambda _formula, _point, side: sympy.Integer(side == "+"))
    regular = Piece(-sympy.oo, zero, X), Piece(zero, sympy.oo, X + 1)
    unproved = X * sympy.log(X**2)
    limits = Piece(-sympy.oo, zero, unproved), Piece(zero, sympy.oo, unproved + X)
    switches = Piece(-sympy.oo, zero, sympy.sign(X) * X, kind="unresolved"), regular[1]
    assert [discontinuity(*pair, "value").proved for pair in (regular, switches)] == [True, False]
    monkeypatch.setattr(proofs, "_compared", lambda *_: None)
    assert not discontinuity(*limits, "value").proved


def test_the_maximum_of_complex_numbers_is_undecided():
    """Below 0 the branch of the maximum is not known, as x**x is not real there; mpmath cannot compare its values."""
    report = gaussian_poincare(activation("max(x**x, 0) + log(x)"), 15)
    assert (report.normalizable, report.certified) == ("undecided", False)


def test_a_small_proved_jump_is_priced():
    """s = 0.8 (1 - exp(-1e-6)) at 0, as a ramp of width 1e-3: s^2/(sqrt(2 pi) 1e-3)."""
    formula = "where(x > 0, 0.8*x**2 + 0.5*x, 0.8*(exp(min(x, -1e-6)) - 1 - x) + 0.5*x)"
    found = gaussian_poincare(activation(formula), 10)
    assert found.normalizable == "no"
    assert "phi jumps at 0 (by 8e-07)" in found.reason
    assert "it would add 2.6e-10 to E phi'^2" in found.reason  # 6.4e-13 * 0.39894/1e-3
    assert "(by" not in gaussian_poincare(activation("sign"), 10).reason
