"""An activation is split at every point at which a switch changes its branch, and certification proves it."""

import math

import pytest
import sympy
from flint import arb

from theory.activations.activation import Activation
from theory.activations.critical_points import sign_changes
from theory.activations.ends import is_removable, one_sided_limit
from theory.activations.pieces import Claim, Piece, claims
from theory.activations.proofs import discontinuity, holds, unproved_singularities, unproved_switch
from theory.activations.specification import activation
from theory.balls.core import NotCertified
from theory.balls.signs import between, compare, is_zero, sign_of
from theory.gaussian.certified import certified_moments
from theory.gaussian.moments import Moments
from theory.normalization.conditions import gaussian_poincare
from theory.normalization.lipschitz_proofs import certified_supremum
from theory.numerics.arithmetic import X, value_at

R = sympy.Rational


def pieces(text: str) -> list[tuple[str, str, str]]:
    return [(str(p.lower), str(p.upper), str(p.value)) for p in activation(text).pieces]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abs(1/x)", [("-oo", "0", "-1/x"), ("0", "oo", "1/x")]),
        ("max(tanh(1/x), 0)", [("-oo", "0", "0"), ("0", "oo", "tanh(1/x)")]),
        ("heaviside(1/x)", [("-oo", "0", "0"), ("0", "oo", "1")]),
        ("where(1/x > 0, x, 2*x)", [("-oo", "0", "2*x"), ("0", "oo", "x")]),
        ("where(log(abs(x)) > 0, 1, 0)", [("-oo", "-1", "1"), ("-1", "1", "0"), ("1", "oo", "1")]),
    ],
)
def test_a_switch_changes_its_branch_at_a_pole_too(text, expected):
    """1/x has no zero, and yet |1/x| is not 1/x."""
    assert pieces(text) == expected


def test_the_largest_of_many_lines_is_found_two_at_a_time():
    """The tangents of x^2/2 at -9, ..., 9, in no order, meet halfway: 18 breakpoints of 171 pairs."""
    tangents = ", ".join(f"{k}*x - {k * k}/2" for k in ((7 * j) % 19 - 9 for j in range(19)))
    phi = activation(f"max({tangents})")
    assert phi.breakpoints == tuple(k + R(1, 2) for k in range(-9, 9))
    assert [piece.slope for piece in phi.pieces] == list(range(-9, 10))
    least = activation("min(max(x, -1), 2, x**2 - 1, 0*x + 5)")
    assert [float(least.value(x)) for x in (-2.0, 0.0, 1.5, 9.0)] == [-1, -1, 1.25, 2]


def test_a_pole_at_an_algebraic_number_diverges():
    """That x^3 - x - 1 is a multiple of t at its root, which is no rational number, is algebra."""
    found = certified_moments(activation("max(x/(x**3 - x - 1), 0.1)"), 15, ["second"])
    assert found.divergent == {"second"}
    jump = activation("tanh(1/(x**3 - x - 1))")
    assert len(jump.jumps) == 1
    assert discontinuity(*jump.pieces, "value").proved


def test_one_formula_that_is_analytic_on_both_sides_has_no_kink():
    """SymPy's limit of the slope took 19 s. The other formulas are analytic on each side only, and have a kink at 0."""
    assert activation("silu(sin(x - sqrt(2))/(x - sqrt(2)))").kinks == ()
    for text in ("x*atan(1/x)", "x*tanh(1/x)", "sqrt(x**4 + x**2)"):
        assert activation(text).kinks == (0,), text
        assert not is_removable(sympy.sympify(text, {"x": X}), sympy.Integer(0)), text


def test_a_switch_that_is_settled_does_not_hinder_the_proof_at_another():
    """At log(3), no simple number, continuity is proved on an interval, on which the other switches are settled."""
    written = "where(x > 1, x, 2 - x) + heaviside(x - 2)*(x - 2) + sign(x*x)*x*x + abs(exp(x) - 3)"
    plain = "1 + abs(x - 1) + max(x - 2, 0) + x**2 + abs(exp(x) - 3)"
    balls = [
        certified_moments(activation(text), 15, ["slope_second"]).balls["slope_second"] for text in (written, plain)
    ]
    assert balls[0].overlaps(balls[1])
    assert balls[0].rad() < 1e-12


def test_the_slope_of_many_factors_is_that_of_their_product():
    factors = sympy.prod(X - R(k, 7) for k in range(12))
    (piece,) = Activation("product", factors).pieces
    assert sympy.expand(piece.slope - sympy.diff(factors, X)) == 0


def test_the_moments_of_a_function_that_switches_at_a_pole():
    """E max(tanh(1/z), 0) is half of E |tanh(1/z)|; a split without the pole gave 0."""
    half = certified_moments(activation("max(tanh(1/x), 0)"), 15, ["mean"]).balls["mean"]
    whole = certified_moments(activation("abs(tanh(1/x))"), 15, ["mean"]).balls["mean"]
    assert half.rad() < 1e-14
    assert (2 * half).overlaps(whole)
    assert half > 0.4


def test_a_sign_that_cancels_far_below_double_precision():
    """erf(-19.6) + 1 is about 1e-169."""
    (piece,) = activation("abs(erf(x - 20) + 1)").pieces
    assert piece.value == sympy.erf(X - 20) + 1
    assert sign_of(sympy.erf(-20) + 1) == 1


def test_a_switching_function_that_is_zero_everywhere():
    zero = "((x + 1)**2 - x**2 - 2*x - 1)"
    assert pieces("where((x + 1)**2 == x**2 + 2*x + 1, x, 0)") == [("-oo", "oo", "x")]
    assert pieces(f"where({zero} >= 0, x, 0)") == [("-oo", "oo", "x")]
    assert pieces(f"where({zero} > 0, x, 0)") == [("-oo", "oo", "0")]
    assert pieces(f"sign({zero})") == [("-oo", "oo", "0")]
    assert pieces(f"heaviside({zero}, 0.3)") == [("-oo", "oo", "3/10")]


def test_an_equation_that_holds_on_a_half_line():
    assert pieces("where(max(x, 0) == 0, -1, 1)") == [("-oo", "0", "-1"), ("0", "oo", "1")]


def test_breakpoints_closer_than_any_working_precision():
    text = "where(x < 1, x, where(x < 1 + 1e-200, 0, x))"
    first, second, third = activation(text).pieces
    assert second.upper - second.lower == R(10) ** -200
    assert (first.value, second.value, third.value) == (X, 0, X)


def test_zeros_that_the_solver_misses_are_found():
    """solveset finds no zero of |x|^(2/3) - 1."""
    assert len(pieces("max(abs(x)**(2/3) - 1, 0)")) == 3


@pytest.mark.parametrize(
    ("text", "breakpoints"),
    [
        ("max(sin(x), x/2)", [-1.895494267033981, 0, 1.895494267033981]),
        ("max(tanh(x), exp(x) - 2)", [1.0185918197779067]),
        ("clip(gelu(x), -10, 10)", [10]),
        ("min(cos(x), x)", [0.7390851332151607]),
        ("tanh(1/(x - exp(-x)))", [0.5671432904097838]),
        ("max(sin(x), 2)", []),
    ],
)
def test_isolated_breakpoints(text, breakpoints):
    """Against 16 digits from tables and from Newton's method by hand: the Dottie number, Lambert's W(1), ..."""
    found = [float(piece.upper) for piece in activation(text).pieces[:-1] if piece.kind == "smooth"]
    assert [point for point in found if abs(point) < 16] == pytest.approx(breakpoints, abs=1e-15)


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("abs(sin(x))", [k * sympy.pi for k in range(-5, 6)]),
        ("relu(cos(2*x))", [k * sympy.pi / 4 for k in range(-19, 21, 2)]),
        ("x % 1", list(range(-16, 17))),
        ("mod(x, 5)", [-15, -10, -5, 0, 5, 10, 15]),
        ("atan(tan(x))", [k * sympy.pi / 2 for k in range(-9, 11, 2)]),
    ],
)
def test_breakpoints_without_end_are_listed_up_to_a_reach(text, points):
    phi = activation(text)
    first, *inner, last = phi.pieces
    assert (first.kind, last.kind) == ("remote", "remote")
    assert phi.reach == last.lower == -first.upper
    assert phi.reach > 16
    assert [piece.upper for piece in inner[:-1]] == points
    assert {*phi.kinks, *phi.jumps} == set(points)


def test_a_double_zero_is_not_taken_for_a_crossing_nor_overlooked():
    """The double zeros of cos x - 1 are multiples of 2 pi, which are tried; those of cos(x - sqrt 2) are not."""
    assert [piece.kind for piece in activation("max(cos(x), 1)").pieces] == ["remote", "smooth", "remote"]
    (piece,) = activation("max(cos(x - sqrt(2)), 1)").pieces
    assert piece.kind == "unresolved"
    assert pieces("abs(sin(x)**2)") == [("-oo", "oo", "sin(x)**2")]
    assert pieces("max(x, exp(x) - 1)") == [("-oo", "oo", "exp(x) - 1")]


def test_a_singular_point_survives_the_merging_of_equal_branches():
    assert pieces("max(x, 0) - max(-x, 0) - x + tanh(1/x)") == [("-oo", "0", "tanh(1/x)"), ("0", "oo", "tanh(1/x)")]


def test_a_branch_without_real_value_is_undefined():
    for text in ("max(sqrt(x), 0)", "abs(x**0.3 - 1)", "max(log(x), 0)"):
        assert "(-oo, 0)" in certified_moments(activation(text), 15).reason
    assert "(-oo, -1)" in certified_moments(activation("asin(x)"), 15).reason


PROVED = [
    "max(exp(x) - 2, 0)",
    "abs(tanh(x) - 1/2)",
    "max(log(abs(x)), -1)",
    "abs(exp(1/x) - 2)",
    "max(x*exp(-x), 0.1*x)",
    "max(exp(x) - exp(2*x) + 1, 0)",
    "abs(exp(x**2) - 2)",
    "abs(cosh(x) - 1)",
    "max(1/(x - 1) - 1/(x + 1), 0)",
    "where(exp(-1/x**2) > 1/2, x, 0)",
    "max(x**2 - sqrt(2), 0)",
    "max(abs(x)**(2/3) - 1, 0)",
]


@pytest.mark.parametrize("text", PROVED)
def test_transcendental_switches_are_proved(text):
    phi = activation(text)
    assert {piece.kind for piece in phi.pieces} == {"smooth"}
    assert unproved_switch(phi.expression, phi.pieces) is None


@pytest.mark.parametrize(
    "claim",
    [
        Claim(sympy.exp(X) - 2, sympy.Integer(0), sympy.Integer(1)),  # the zero log 2 lies inside
        Claim(sympy.exp(X) - 2, -sympy.oo, sympy.oo),
        Claim((sympy.exp(X) - 2) ** 2 - R(1, 10**30), sympy.Integer(0), sympy.Integer(1)),  # two zeros, 1e-15 apart
        Claim(1 / (sympy.exp(X) - 2), sympy.Integer(0), sympy.Integer(1)),
        Claim(sympy.cos(X) - R(1, 2), sympy.Integer(0), sympy.Integer(2)),
        Claim(sympy.log(X), R(1, 2), sympy.Integer(2)),
    ],
)
def test_false_claims_are_not_proved(claim):
    assert not holds(claim)


def test_what_is_not_proved_is_not_certified():
    assert claims(sympy.Abs(sympy.exp(2 * X) - 4 * sympy.exp(X) + 4))  # SymPy solves for the double zero
    found = certified_moments(activation("max(cos(x - sqrt(2)), 1)"), 15)
    assert isinstance(found, NotCertified)
    assert "(-oo, oo)" in found.reason


def test_jumps_without_end():
    """atan(1/cos x) jumps wherever cos x = 0, though its slope sin x/(1 + cos^2 x) is a smooth formula."""
    phi = activation("arctan(1/cos(x))")
    assert certified_supremum(phi, "slope", 5.0) == arb.pos_inf()
    at_the_end = math.sin(1.5) / (1 + math.cos(1.5) ** 2)
    assert abs(certified_supremum(phi, "slope", 1.5) - at_the_end) < 1e-9
    assert "listed" in unproved_singularities(phi.pieces[0])
    assert unproved_singularities(activation("tanh(1/x)").pieces[0]) is None


def test_continuous_switches_join_without_algebra():
    """The breakpoint is a nested radical; that max is continuous needs no simplification of it."""
    phi = activation("max(x**3 + 0.7*x - exp(-1), 1.5)*exp(-x**2)")
    left, right = phi.pieces
    assert right.is_joined
    assert discontinuity(left, right, "value") is None
    assert discontinuity(left, right, "slope").proved


def test_a_jump_at_a_continuous_switch_is_seen():
    left, right = activation("abs(x) + heaviside(x)").pieces
    assert not right.is_joined
    assert discontinuity(left, right, "value").proved
    left, right = activation("abs(x) + arctan(1/x)").pieces
    assert discontinuity(left, right, "value") is not None


@pytest.mark.parametrize(
    ("expression", "side", "limit"),
    [
        (sympy.sin(X) / X, "+", 1),
        ((1 - sympy.cos(X)) / X**2, "-", R(1, 2)),
        ((sympy.tanh(X) - X) / X**3, "+", R(-1, 3)),
        (sympy.cos(X) / X - sympy.sin(X) / X**2, "+", 0),
        (sympy.erf((sympy.exp(X) - 1) / X), "-", sympy.erf(1)),
        (sympy.tanh(1 / X) + sympy.exp(X), "-", 0),
        (sympy.tanh(1 / (2 * X)) + sympy.erf(X), "+", 1),
        (sympy.exp(1 / X), "-", 0),
        (X * sympy.log(X), "+", 0),
    ],
)
def test_one_sided_limits(expression, side, limit):
    assert one_sided_limit(expression, sympy.Integer(0), side) == limit


def test_limits_that_do_not_exist():
    for expression in (1 / X, sympy.sin(1 / X), sympy.log(X)):
        assert one_sided_limit(expression, sympy.Integer(0), "+") is sympy.nan


# ---- numbers and zeros


def test_signs_and_comparisons_are_exact():
    assert sign_of(sympy.sqrt(8) - 2 * sympy.sqrt(2)) == 0
    assert sign_of(sympy.exp(-1000)) == 1
    assert sign_of(sympy.log(-1)) is None
    assert sign_of(sympy.sqrt(2) - R(665857, 470832)) == -1
    assert compare(sympy.pi, R(22, 7)) == -1
    assert compare(sympy.sqrt(2) + sympy.sqrt(3), sympy.sqrt(5 + 2 * sympy.sqrt(6))) == 0
    assert between([sympy.sqrt(2), sympy.Integer(3), sympy.Integer(1)], sympy.Integer(0), sympy.Integer(3)) == [
        1,
        sympy.sqrt(2),
    ]


@pytest.mark.parametrize(
    ("function", "count"), [(X**3 - X - 1, 1), (X**4 - 5, 2), (X**5 - X - 1, 1), (X**4 - 2 * X**2 + R(1, 3), 4)]
)
def test_zeros_of_polynomials_are_exact(function, count):
    zeros = list(sign_changes(function))
    assert len(zeros) == count
    assert all(is_zero(function.xreplace({X: zero})) for zero in zeros)
    assert not any(is_zero((function + X).xreplace({X: zero})) for zero in zeros)


def test_an_endless_oscillation_ends_in_a_reason():
    """The frequency of sin(1/x) has no bound at 0; the quadrature gives up after a bounded effort."""
    found = certified_moments(Activation("chirp", sympy.sin(1 / X)), 15, ["mean", "second"])
    assert isinstance(found, Moments)
    assert "too fast" in found.reasons["second"]


def test_a_flat_essential_singularity_is_certified():
    """exp(-1/z^2) has E phi^2 = exp(-2) exactly."""
    ball = certified_moments(activation("exp(-1/x**2)"), 25, ["second"]).balls["second"]
    assert ball.overlaps(arb(-2).exp())
    assert ball.rad() < 1e-25


def test_where_sympy_cannot_compare_there_is_no_value():
    """At a pole within a maximum, and at a pole of atan(tan x) that has no formula, SymPy raises errors of its own."""
    pole, text = sympy.Max(1 / X - 1 / X**2, X), "atan(tan(2*x + sqrt(2)))*tanh(1/(x - exp(-x)))"
    assert value_at(pole, sympy.Integer(0)) is sympy.nan
    assert value_at(X**2, sympy.pi) == sympy.pi**2
    assert one_sided_limit(pole, sympy.Integer(0), "+") in (sympy.nan, 0)
    left, right = activation(text).pieces[2:4]
    assert discontinuity(left, right, "value") is not None


@pytest.mark.parametrize("function", [sympy.Abs(sympy.asin(sympy.sin(X))), sympy.sign(sympy.asin(sympy.sin(X))) * X])
def test_slopes_beyond_the_listed_changes_of_a_switch(function):
    """SymPy takes asin(sin x) for complex, and leaves a derivative that has no value."""
    slope = Piece(-sympy.oo, sympy.oo, function).slope
    step = R(1, 10**6)
    quotient = (function.subs(X, 20 + step) - function.subs(X, 20 - step)) / (2 * step)
    assert not slope.has(sympy.Derivative)
    assert float(slope.subs(X, 20)) == pytest.approx(float(quotient.evalf(30)), abs=1e-9)


@pytest.mark.parametrize(
    "text", ["1/(x + 1/(x - exp(-x))**2) + tanh(x)", "min((x - pi/4) % 1, relu(max(sin(x - 0.1), x/2))**2)"]
)
def test_breakpoints_that_may_be_one_are_no_reason_to_refuse(text):
    """0.567... is a pole, and is found in two ways; no arithmetic shows that the two are equal."""
    assert {piece.kind for piece in activation(text).pieces} & {"unlisted", "unresolved"}


@pytest.mark.slow
def test_a_limit_where_sympy_cannot_compare_is_no_crash():
    found = gaussian_poincare(activation("tanh(1/(x-exp(-x)))*atan(tan(2*x+sqrt(2)))"), 15)
    assert found.is_gpn == "fails"
    assert found.normalizable != "yes"
