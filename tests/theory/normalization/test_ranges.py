"""Certified Lipschitz constants contain the supremum, and are narrow where that can be had."""

import math

import mpmath
import numpy as np
import pytest
import sympy
from flint import arb, ctx, fmpq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from theory.activations import catalog
from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.balls.core import NotCertified, precision
from theory.errors import UsageError
from theory.normalization.lipschitz_proofs import certified_lipschitz, certified_supremum
from theory.numerics.arithmetic import X, constant_value
from theory.numerics.special import normal_cdf, sigmoid, softplus

R = sympy.Rational
INFINITE = arb.pos_inf()


def supremum(expression, order="slope", radius=math.inf, tolerance=1e-10):
    return certified_supremum(Activation("phi", sympy.sympify(expression)), order, radius, tolerance)


def assert_encloses(ball, form, relative=2e-10):
    """The ball contains the exact value and is narrow."""
    assert not isinstance(ball, NotCertified), ball
    sign, mantissa, exponent, _ = constant_value(sympy.sympify(form), 60)._mpf_
    with precision(300):
        exact = arb(((-1) ** sign * int(mantissa), exponent))
        assert ball.overlaps(exact + arb(0, 1e-50))
        assert ball.rad() <= relative * exact


E = sympy.E
U = (3 + sympy.sqrt(5)) / 2  # where u (u - 1) exp(-u) is largest
CLOSED = {
    "tanh": (sympy.tanh(X), 1, 4 / (3 * sympy.sqrt(3))),
    "sin(50x)": (sympy.sin(50 * X), 50, 2500),
    "sigmoid": (sigmoid(X), R(1, 4), 1 / (6 * sympy.sqrt(3))),
    "softplus": (softplus(X), 1, R(1, 4)),
    "arctan": (sympy.atan(X), 1, 3 * sympy.sqrt(3) / 8),
    "erf": (sympy.erf(X), 2 / sympy.sqrt(sympy.pi), 2 * sympy.sqrt(2 / (sympy.pi * E))),
    "gaussian": (sympy.exp(-(X**2) / 2), sympy.exp(R(-1, 2)), 1),
    "narrow bump": (sympy.exp(-((X - 2) ** 2) * 500000), 1000 * sympy.exp(R(-1, 2)), 10**6),
    "gelu": (X * normal_cdf(X), R(1, 2) + sympy.erf(1) / 2 + 1 / (E * sympy.sqrt(sympy.pi)), sympy.sqrt(2 / sympy.pi)),
    "snake": (X + sympy.sin(X) ** 2, 2, 2),
    "near-affine": (X + R(1, 10**9) * sympy.sin(X), 1 + R(1, 10**9), R(1, 10**9)),
    "soft sign": (X / (1 + sympy.Abs(X)), 1, 2),
    "square root": ((X + sympy.sqrt(X**2 + 4)) / 2, 1, R(1, 4)),
    "log cosh": (sympy.log(sympy.cosh(X)), 1, 1),
    "double exponential": (sympy.exp(-sympy.exp(X)), 1 / E, U * (U - 1) * sympy.exp(-U)),
    "elu": (sympy.Piecewise((sympy.exp(X) - 1, X < 0), (X, True)), 1, 1),
    "sinc": (sympy.sin(X) / X, None, R(1, 3)),
    "x/expm1(x)": (X / (sympy.exp(X) - 1), 1, R(1, 6)),
    "line": (3 - 2 * X, 2, 0),
}


@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms_on_the_line(name):
    expression, slope, curvature = CLOSED[name]
    if slope is not None:
        assert_encloses(supremum(expression), slope)
    assert_encloses(supremum(expression, "curvature"), curvature)


@pytest.mark.parametrize(
    ("name", "value"),
    [("gelu", "1.12890"), ("silu", "1.0998"), ("mish", "1.0885"), ("tanh", "1"), ("quick_gelu", "1.0998")],
)
def test_known_lipschitz_constants(name, value):
    ball = certified_supremum(catalog.build(name), "slope")
    decimals = len(value.partition(".")[2]) or 9
    assert abs(ball - arb(fmpq(*map(int, R(value).as_numer_denom())))) < arb(10) ** -decimals * fmpq(6, 10)
    assert ball.rad() < 1e-10


@pytest.mark.parametrize("name", catalog.names())
def test_the_catalog_against_a_dense_grid(name):
    """The enclosure contains the largest value on a grid, which comes close as phi has moderate derivatives."""
    phi = catalog.build(name)
    points = np.linspace(-6, 6, 240_007)
    found = certified_lipschitz(phi, 6.0)
    infinite = bool(phi.jumps), bool(phi.jumps or phi.kinks)
    for ball, values, is_infinite in zip(
        (found.slope, found.curvature), (phi.slope(points), phi.curvature(points)), infinite, strict=True
    ):
        assert (ball == INFINITE) is is_infinite
        if not is_infinite:
            largest = float(np.abs(values).max())
            assert float(ball.upper()) >= largest * (1 - 1e-14)
            assert float(ball.lower()) <= largest * (1 + 1e-3) + 1e-14


@pytest.mark.parametrize(
    ("expression", "radius", "slope"),
    [
        (sympy.exp(X), 5, sympy.exp(5)),
        (sympy.exp(X), R(1, 3), sympy.exp(R(1, 3))),
        (X**3 - 3 * X, sympy.sqrt(2), 3),
        (X**3 - 3 * X, 2, 9),
        (sympy.tanh(X - 3), 1, 1 - sympy.tanh(2) ** 2),
        (sympy.Abs(X**2 - 2), 5, 10),
        (sympy.Abs(X) ** R(3, 2), 4, 3),
        (sympy.Max(X - 4, 0), 3, 0),
        (sympy.Max(X - 4, 0), 5, 1),
    ],
)
def test_closed_forms_on_an_interval(expression, radius, slope):
    assert_encloses(supremum(expression, "slope", radius), slope)


@pytest.mark.parametrize(
    ("expression", "slope", "curvature"),
    [
        (sympy.Max(X, 0), 1, INFINITE),
        (sympy.sign(X), INFINITE, INFINITE),
        (X**2, INFINITE, 2),
        (sympy.exp(X), INFINITE, INFINITE),
        (sympy.exp(-X), INFINITE, INFINITE),
        (sympy.sqrt(sympy.Abs(X)), INFINITE, INFINITE),
        (sympy.Abs(X) ** R(3, 2), INFINITE, INFINITE),
        (X * sympy.log(sympy.Abs(X)), INFINITE, INFINITE),
        (sympy.log(sympy.Abs(X)), INFINITE, INFINITE),
        (1 / X, INFINITE, INFINITE),
        (sympy.exp(X) + X * sympy.sin(X), INFINITE, INFINITE),  # proved on the right, unclear on the left
    ],
)
def test_infinite_constants(expression, slope, curvature):
    for order, expected in (("slope", slope), ("curvature", curvature)):
        ball = supremum(expression, order)
        if expected is INFINITE:
            assert ball == INFINITE
        else:
            assert_encloses(ball, expected)


def test_a_kink_outside_the_interval_does_not_count():
    assert supremum(sympy.Abs(X - 3), "curvature", 4) == INFINITE
    assert_encloses(supremum(sympy.Abs(X - 3), "curvature", 2), 0)
    assert supremum(sympy.Abs(X - 3), "curvature", 3) == INFINITE  # |x| <= R is closed


@pytest.mark.parametrize(
    ("expression", "radius", "reason"),
    [
        (X * sympy.sin(X**2), math.inf, "stays bounded at infinity"),
        (sympy.sqrt(X), math.inf, "no real value"),
        (sympy.gamma(X), math.inf, "no rigorous rule"),
    ],
)
def test_what_cannot_be_proved_is_reported(expression, radius, reason):
    outcome = supremum(expression, "slope", radius)
    assert isinstance(outcome, NotCertified)
    assert reason in outcome.reason


def test_a_supremum_is_infinite_at_an_isolated_pole():
    assert supremum(sympy.tan(X), "slope", 2) == INFINITE
    assert supremum(1 / sympy.cos(X), "slope", 5) == INFINITE
    assert_encloses(supremum(sympy.tan(X), "slope", 1), 1 + sympy.tan(1) ** 2)


def test_a_supremum_that_is_approached_slowly_gets_an_honest_ball():
    """The slope of x - x/log(x^2 + 10) tends to 1 more slowly than any power."""
    ball = supremum(X - X / sympy.log(X**2 + 10))
    assert not isinstance(ball, NotCertified)
    assert ball.upper() >= 1
    assert ball.lower() <= 1


def test_a_long_formula_is_searched_with_bounded_effort():
    """Five nested sines: the enclosure is honest, if wide, and does not take minutes."""
    nested = X * 10
    for _ in range(5):
        nested = sympy.sin(nested)
    slope = certified_supremum(Activation("nested", nested), "slope")
    assert slope.contains(10)


def test_tolerance_is_kept():
    for tolerance in (1e-4, 1e-8, 1e-12):
        ball = supremum(sympy.tanh(X) + sympy.sin(X) / 3, "slope", 10, tolerance)
        assert_encloses(ball, R(4, 3), 1.01 * tolerance)


def test_python_functions_and_misuse():
    assert isinstance(certified_supremum(CallableActivation("cube", lambda x: x**3), "slope"), NotCertified)
    with pytest.raises(UsageError, match="radius"):
        supremum(X, "slope", 0)
    with pytest.raises(UsageError, match="tolerance"):
        supremum(X, "slope", 1, 0)


def test_settings_are_left_alone():
    before = ctx.prec, ctx.cap, mpmath.mp.prec
    supremum(sympy.sin(X) / X, "curvature")
    assert (ctx.prec, ctx.cap, mpmath.mp.prec) == before


WRAPPERS = st.sampled_from(
    [
        sympy.tanh,
        sympy.sin,
        sympy.atan,
        sigmoid,
        softplus,
        normal_cdf,
        lambda e: sympy.exp(-(e**2)),
        lambda e: 1 / (1 + e**2),
        lambda e: sympy.sqrt(1 + e**2),
        lambda e: sympy.Abs(e),
        lambda e: sympy.Max(e, R(1, 2)),
    ]
)
LINES = st.builds(lambda c, k: k * X - R(c, 3), st.integers(-4, 4), st.sampled_from([R(1, 2), 1, 2, -1]))
TERMS = st.builds(lambda f, e: f(e), WRAPPERS, LINES)


@given(first=TERMS, second=TERMS, multiply=st.booleans(), radius=st.integers(1, 6))
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_random_expressions_against_a_grid(first, second, multiply, radius):
    expression = first * second if multiply else first + second
    phi = Activation("phi", expression)
    points = np.linspace(-radius, radius, 4001)
    for order, values in (("slope", phi.slope(points)), ("curvature", phi.curvature(points))):
        ball = certified_supremum(phi, order, radius, 1e-6)
        assert not isinstance(ball, NotCertified)
        sampled = float(np.abs(values).max())
        assert float(ball.upper()) >= sampled * (1 - 1e-12)
        if order == "slope":  # its derivative is moderate, so the grid comes close
            assert float(ball.lower()) <= sampled + 0.02
