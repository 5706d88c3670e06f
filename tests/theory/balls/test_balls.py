"""A ball contains the number it stands for, whatever the arithmetic, and nobody's settings change."""

import threading
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy
from flint import acb, arb, arb_series, ctx, fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.activations import catalog
from theory.balls.arithmetics import COMPLEX, INTERVAL, REAL, SERIES, integer_power
from theory.balls.core import NotCertifiable, NotCertified, precision
from theory.balls.decimal import digits_of
from theory.balls.program import (
    Program,
    constant_ball,
    is_analytic_at_zero,
    rational_ball,
    regular_derivatives,
    regularize,
)
from theory.numerics.arithmetic import X, compile_expressions
from theory.numerics.special import normal_cdf, normal_pdf, sigmoid, softplus

T = sympy.Symbol("t", positive=True)
FUNCTIONS = {
    "exp": sympy.exp(X),
    "tanh": sympy.tanh(X),
    "slope of tanh": 1 - sympy.tanh(X) ** 2,
    "erf": sympy.erf(X),
    "erfc": sympy.erfc(X),
    "sin": sympy.sin(X),
    "cos": sympy.cos(X),
    "sinh": sympy.sinh(X),
    "cosh": sympy.cosh(X),
    "atan": sympy.atan(X),
    "asinh": sympy.asinh(X),
    "sigmoid": sigmoid(X),
    "softplus": softplus(X),
    "normal_cdf": normal_cdf(X),
    "normal_pdf": normal_pdf(X),
    "log(2 + x^2)": sympy.log(2 + X**2),
    "sqrt(1 + x^2)": sympy.sqrt(1 + X**2),
    "(1 + x^2)^(1/3)": (1 + X**2) ** sympy.Rational(1, 3),
    "(1 + x^2)^pi": (1 + X**2) ** sympy.pi,
    "rational": (X**3 - X) / (1 + X**2) ** 2,
    "gelu": X * normal_cdf(X),
    "mish": X * sympy.tanh(softplus(X)),
}


def exact(value: mpmath.mpf) -> arb:
    """An mpmath number as an exact ball (its mantissa must fit the working precision)."""
    sign, mantissa, exponent, _ = value._mpf_
    return arb(((-1) ** sign * int(mantissa), exponent))


def encloses(ball: arb, value: mpmath.mpf, error: float = 1e-55) -> bool:
    """Whether a ball overlaps the interval of a high-precision value and its relative error."""
    with precision(400):
        centre = exact(value)
        return bool(ball.overlaps(centre + arb(0, error) * (1 + abs(centre))))


def reference(expression, point):
    with mpmath.workdps(60):
        (value,) = compile_expressions([expression], "mpmath")(point)
        return mpmath.mpmathify(value)


@pytest.mark.parametrize("name", catalog.names())
def test_every_catalog_piece_is_enclosed(name):
    for piece in catalog.build(name).pieces:
        expressions = [piece.value, piece.slope, piece.curvature]
        with precision(150):
            point = rational_ball(piece.sample)
            balls = Program(expressions).bind(REAL)(point)
            wide = Program(expressions).bind(INTERVAL)(point + arb(0, 1e-3))
        with mpmath.workdps(60):
            sample = mpmath.mpf(piece.sample.p) / piece.sample.q
        for ball, interval, expression in zip(balls, wide, expressions, strict=True):
            value = reference(expression, sample)
            assert encloses(ball, value)
            assert ball.rad() < 1e-40
            assert encloses(interval, value)


@given(
    name=st.sampled_from(sorted(FUNCTIONS)),
    centre=st.integers(-60, 60),
    width=st.integers(-12, 4),
    position=st.integers(-8, 8),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_wide_intervals_contain_the_values_inside(name, centre, width, position):
    middle, radius = Fraction(centre, 7), Fraction(2) ** width
    point = middle + radius * Fraction(position, 8)
    with precision(100):
        ball = rational_ball(sympy.Rational(middle)) + arb(0, arb(2) ** width)
        (enclosure,) = Program([FUNCTIONS[name]]).bind(INTERVAL)(ball)
    with mpmath.workdps(60):
        inside = mpmath.mpf(point.numerator) / point.denominator
    value = reference(FUNCTIONS[name], inside)
    assert encloses(enclosure, value, 1e-28)


@pytest.mark.parametrize("name", ["tanh", "slope of tanh", "sigmoid", "erf", "atan", "asinh", "normal_cdf"])
def test_bounded_functions_stay_bounded_on_wide_intervals(name):
    with precision(64):
        (value,) = Program([FUNCTIONS[name]]).bind(INTERVAL)(arb(0, 1e6))
    assert abs(value) < 20
    assert value.is_finite()


@given(
    name=st.sampled_from(sorted(FUNCTIONS)),
    real=st.integers(-20, 20),
    imag=st.integers(-12, 12),
    width=st.integers(-8, 0),
    corner=st.tuples(st.integers(-4, 4), st.integers(-4, 4)),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_complex_rectangles_contain_the_analytic_continuation(name, real, imag, width, corner):
    radius = 2.0**width
    box = acb(arb(real / 4, radius), arb(imag / 8, radius))
    with precision(100):
        (enclosure,) = Program([FUNCTIONS[name]]).bind(COMPLEX)(box)
    if not enclosure.is_finite():
        return  # a pole or a branch cut is near; that this is not said too often is tested below
    point = mpmath.mpc(real / 4 + radius * corner[0] / 4, imag / 8 + radius * corner[1] / 4)
    value = continuation(name, point)
    assert encloses(enclosure.real, value.real, 1e-25)
    assert encloses(enclosure.imag, value.imag, 1e-25)


def continuation(name, z):
    """Values of the functions off the real line, in mpmath's own terms."""
    with mpmath.workdps(60):
        special = {
            "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
            "softplus": lambda z: mpmath.log(1 + mpmath.exp(z)) if z.real <= 0 else z + mpmath.log(1 + mpmath.exp(-z)),
            "normal_cdf": lambda z: mpmath.erfc(-z / mpmath.sqrt(2)) / 2,
            "normal_pdf": lambda z: mpmath.exp(-z * z / 2) / mpmath.sqrt(2 * mpmath.pi),
        }
        if name in special:
            return special[name](z)
        if name == "gelu":
            return z * special["normal_cdf"](z)
        if name == "mish":
            return z * mpmath.tanh(special["softplus"](z))
        return mpmath.mpmathify(compile_expressions([FUNCTIONS[name]], "mpmath")(z)[0])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_moderate_rectangles_away_from_singularities_give_finite_balls(name):
    """Otherwise every integral would be refused, or cut into far too many panels."""
    with precision(100):
        run = Program([FUNCTIONS[name]]).bind(COMPLEX)
        for centre in (-3.0, -0.7, 0.0, 0.4, 2.5, 9.0):
            assert run(acb(arb(centre, 0.2), arb(0, 0.2)))[0].is_finite()


@pytest.mark.parametrize(
    ("expression", "centre"),
    [
        (sympy.tanh(X), (0, np.pi / 2)),
        (1 - sympy.tanh(X) ** 2, (0, np.pi / 2)),
        (sigmoid(X), (0, np.pi)),
        (softplus(X), (0, np.pi)),
        (sympy.log(X), (-1, 0)),
        (sympy.sqrt(X), (-1, 0)),
        (sympy.sqrt(X**2), (-1, 0)),
        (X ** sympy.Rational(1, 3), (-1, 0)),
        (X**sympy.pi, (-1, 0)),
        (sympy.atan(X), (0, 1.5)),
        (sympy.asinh(X), (0, 1.5)),
        (sympy.asin(X), (1.5, 0)),
        (1 / X, (0, 0)),
        (1 / (1 + X**2), (0, 1)),
    ],
)
def test_poles_and_branch_cuts_give_non_finite_balls(expression, centre):
    if expression.has(sympy.Abs):
        with pytest.raises(NotCertifiable):
            Program([expression]).bind(COMPLEX)
        return
    with precision(100):
        (value,) = Program([expression]).bind(COMPLEX)(acb(arb(centre[0], 0.01), arb(centre[1], 0.01)))
    assert not value.is_finite()


def test_constants_are_exact():
    with precision(300):
        tenth = constant_ball(sympy.Rational(1, 10))
        assert tenth.contains(fmpq(1, 10))
        assert not constant_ball(sympy.Float(0.1)).contains(fmpq(1, 10))
        assert constant_ball(sympy.Float(0.1)).contains(fmpq(*(0.1).as_integer_ratio()))
        root = constant_ball(sympy.CRootOf(X**5 - X - 1, 0))
        assert (integer_power(root, 5) - root - 1).contains(0)
        assert root.rad() < 1e-85


@pytest.mark.parametrize("expression", [sympy.Abs(X), sympy.Max(X, 0), sympy.gamma(X), sympy.Symbol("y") * X])
def test_what_has_no_rule_is_refused(expression):
    with pytest.raises(NotCertifiable):
        Program([expression]).bind(COMPLEX)


def test_slope_of_tanh_does_not_cancel_far_out():
    with precision(64):
        (value,) = Program([3 - 2 * sympy.tanh(X) ** 2 - 1]).bind(INTERVAL)(arb(60))
        exact_value = 2 * arb(60).sech() ** 2
    assert value.overlaps(exact_value)
    assert value.rad() < 1e-60


def test_a_ball_around_zero_can_be_raised_to_a_power():
    for arithmetic in (REAL, INTERVAL):
        with precision(64):
            (value,) = Program([X**2 + X**3]).bind(arithmetic)(arb(0, 1))
        assert value.is_finite()
        assert value.contains(2)


# ---- removable singularities

REMOVABLE = {
    "sinc": (sympy.sin(T) / T, lambda t: mpmath.sinc(t)),
    "slope of sinc": (sympy.diff(sympy.sin(T) / T, T), lambda t: mpmath.diff(mpmath.sinc, t)),
    "expm1(t)/t": ((sympy.exp(T) - 1) / T, lambda t: mpmath.expm1(t) / t),
    "Bernoulli": (T / (sympy.exp(T) - 1), lambda t: t / mpmath.expm1(t)),
    "t/tanh": (T / sympy.tanh(T), lambda t: t / mpmath.tanh(t)),
    "(1 - cos)/t^2": ((1 - sympy.cos(T)) / T**2, lambda t: 2 * (mpmath.sin(t / 2) / t) ** 2),
    "tanh(sinc)": (sympy.tanh(sympy.sin(T) / T), lambda t: mpmath.tanh(mpmath.sinc(t))),
    "log(1 + t)/t": (sympy.log(1 + T) / T, lambda t: mpmath.log1p(t) / t),
}


@pytest.mark.parametrize("name", REMOVABLE)
def test_removable_singularities_are_crossed(name):
    expression, function = REMOVABLE[name]
    smooth = regularize(expression, T)
    assert is_analytic_at_zero([smooth], T)
    points = [mpmath.mpf(2) ** -k for k in (1, 3, 10, 60)]
    with precision(150):
        run, rectangle = Program([smooth], T).bind(REAL), Program([smooth], T).bind(COMPLEX)
        balls = [run(exact(point))[0] for point in points]
        across = rectangle(acb(arb(0, 1e-3), arb(0, 1e-3)))[0]
    assert across.is_finite()
    for point, ball in zip(points, balls, strict=True):
        with mpmath.workdps(120):
            value = function(point)
        assert encloses(ball, value, 1e-38)
        assert ball.rad() < 1e-30
    assert encloses(across.real, value)


@pytest.mark.parametrize("direction", [1, -1])
def test_derivatives_of_a_removable_singularity(direction):
    # sin(t)/t = sum_k (-1)^k t^(2k)/(2k+1)! and mpmath's own differentiation
    formulas = regular_derivatives(sympy.sin(T) / T, T, direction, 3)
    with precision(150):
        run = Program(formulas, T).bind(REAL)
        at_zero = map(mpmath.mpf, (1, 0, -1 / mpmath.mpf(3), 0))
        for place, values in ((0, at_zero), (0.625, mpmath.diffs(mpmath.sinc, 0.625, 3))):
            for order, (ball, value) in enumerate(zip(run(arb(place)), values, strict=True)):
                assert encloses(ball, direction**order * value, 1e-12)
                assert ball.rad() < 1e-30
    assert regular_derivatives(sympy.sqrt(T) * sympy.sin(T) / T, T, direction, 1) is None


def test_a_disc_that_nearly_meets_a_pole_is_not_taken():
    # tanh has its pole at 1.57i, so that |exp(tanh(z))| on the largest square is beyond 10^1000
    expression = sympy.exp(sympy.tanh(T + sympy.pi / 4)) * sympy.sin(T) / T
    with precision(60):
        (value,) = Program([regularize(expression, T)], T).bind(REAL)(arb(0))
    assert encloses(value, mpmath.exp(mpmath.tanh(mpmath.pi / 4)), 1e-14)
    assert value.rad() < 1e-10


def test_the_slope_of_tanh_does_not_cancel():
    # sech(u)^2 = 4 e^-2u (1 + e^-2u)^-2
    with precision(80):
        (slope,) = Program([1 - sympy.tanh(X) ** 2]).bind(REAL)(arb(300))
        small = arb(-600).exp()
        assert abs(slope / (4 * small / (1 + small) ** 2) - 1) < 1e-15


@pytest.mark.parametrize(
    "expression", [1 / T, sympy.cos(T) / T, sympy.sqrt(T), T * sympy.log(T), (sympy.sin(T) - 2 * T) / T**2]
)
def test_true_singularities_are_not_removed(expression):
    assert not is_analytic_at_zero([regularize(expression, T)], T)


def test_series_arithmetic_agrees_with_sympy():
    for expression in (sympy.tanh(T), sigmoid(T), softplus(T), normal_cdf(T), normal_pdf(T), sympy.asinh(T)):
        elementary = expression.elementary(T) if hasattr(expression, "elementary") else expression
        with precision(100, 8):
            (series,) = Program([expression], T).bind(SERIES)(arb_series([0, 1]))
            for k in range(6):
                derivative = sympy.limit(sympy.diff(elementary, T, k), T, 0) / sympy.factorial(k)
                assert series[k].overlaps(constant_ball(derivative))


# ---- settings


def test_settings_are_restored_whatever_happens():
    def fail_inside():
        with precision(400, 77):
            assert (ctx.prec, ctx.cap) == (400, 77)
            with precision(100):
                assert ctx.prec == 100
            assert ctx.prec == 400
            raise ZeroDivisionError

    before = ctx.prec, ctx.dps, ctx.cap, mpmath.mp.prec
    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert (ctx.prec, ctx.dps, ctx.cap, mpmath.mp.prec) == before


def test_threads_take_turns():
    seen = []

    def work(bits):
        for _ in range(50):
            with precision(bits):
                seen.append(ctx.prec == bits)

    before = ctx.prec
    threads = [threading.Thread(target=work, args=(bits,)) for bits in (80, 200, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(seen)
    assert ctx.prec == before


# ---- decimals and comparisons


def rounded(value: Fraction, digits: int) -> Decimal:
    with localcontext() as context:
        context.prec = 400
        number = Decimal(value.numerator) / Decimal(value.denominator)
        context.prec, context.rounding = digits, ROUND_HALF_EVEN
        return +number


@given(
    mantissa=st.integers(-(10**12), 10**12).filter(bool),
    exponent=st.integers(-60, 60),
    radius=st.integers(0, 40),
    digits=st.integers(1, 25),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_every_digit_shown_is_right(mantissa, exponent, radius, digits):
    """Each number of the ball rounds to the very string."""
    with precision(200):
        ball = arb((mantissa, exponent)) + arb(0, arb((1, exponent - radius)))
    text = digits_of(ball, digits)
    centre, half = Fraction(mantissa) * Fraction(2) ** exponent, Fraction(2) ** (exponent - radius)
    if text == "?":  # ties of one digit (as 6.5) and of two (as 6.55) are at least 0.5 percent apart
        assert digits == 1 or 2 * half >= abs(centre) / 200
        return
    shown = Decimal(text)
    if shown == 0:  # as many decimals as are shown are certain
        assert max(abs(centre - half), abs(centre + half)) <= Fraction(10) ** shown.as_tuple().exponent / 2
        return
    count = len(shown.as_tuple().digits)
    assert 1 <= count <= digits
    for point in (centre - half, centre, centre + half):
        assert rounded(point, count) == shown


def test_decimals_of_special_balls():
    assert digits_of(arb(0), 5) == "0"
    assert digits_of(arb.nan(), 5) == "?"
    assert digits_of(arb.pos_inf(), 5) == "?"
    assert digits_of(arb(0, 1e-4), 10) == "0.000"
    assert digits_of(arb(0, 3), 10) == "?"
    assert digits_of(arb(2e-7, 1e-7), 10) == "0.000000"
    assert digits_of(arb(1), 30) == "1." + "0" * 29
    assert digits_of(arb(fmpq(1, 8)), 2) == "0.12"  # half to even
    with precision(17_000):
        assert len(digits_of(arb(2).sqrt(), 5000)) == 5001  # more digits than Python's int turns to text


def test_what_is_not_certified_counts_as_false():
    assert not NotCertified("no envelope")
