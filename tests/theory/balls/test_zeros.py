"""Isolated zeros against closed forms, and what is not proved is refused."""

import random

import mpmath
import pytest
import sympy
from flint import arb

from theory.balls.core import NotCertifiable, precision
from theory.balls.local import T
from theory.balls.program import constant_ball
from theory.balls.signs import compare, range_of
from theory.balls.zeros import is_zero_at, keeps_sign, near, zeros_between
from theory.numerics.arithmetic import X, constant_value
from theory.numerics.enclosed import Enclosed
from theory.numerics.special import normal_cdf

LINE = -sympy.oo, sympy.oo


def digits(number, count=50):
    with mpmath.workdps(count + 5):
        return constant_value(number, count + 5)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (X - sympy.exp(-X), [lambda: mpmath.lambertw(1)]),
        (
            sympy.exp(X) - X - 2,
            [lambda: -2 - mpmath.lambertw(-mpmath.exp(-2)), lambda: -2 - mpmath.lambertw(-mpmath.exp(-2), -1)],
        ),
        (sympy.tanh(X) - sympy.Rational(1, 3), [lambda: mpmath.log(2) / 2]),
        (X * sympy.exp(X) - 1, [lambda: mpmath.lambertw(1)]),
        (normal_cdf(X) - sympy.Rational(3, 4), [lambda: mpmath.sqrt(2) * mpmath.erfinv(mpmath.mpf(1) / 2)]),
        (sympy.cosh(X), []),
        (2 + sympy.sin(X), []),
    ],
)
def test_all_zeros_to_fifty_digits(function, expected):
    found = zeros_between(function, *LINE)
    assert (found.lower, found.upper) == LINE
    with mpmath.workdps(55):
        true = sorted(mpmath.re(zero()) for zero in expected)
        assert len(found.points) == len(true)
        assert all(abs(digits(f) - t) < mpmath.mpf(10) ** -50 for f, t in zip(found.points, true, strict=True))


def test_zeros_without_end_are_cut_at_the_reach():
    found = zeros_between(sympy.sin(X), *LINE)
    assert -found.lower == found.upper
    assert [float(zero) for zero in found.points] == pytest.approx(
        [k * float(mpmath.pi) for k in range(-5, 6)], abs=1e-14
    )


def test_random_products_have_the_zeros_that_they_are_made_of():
    """(x - r1) ... (x - r5) exp(sin x) with roots at random in [-4, 4], thirty times (seed 3)."""
    dice, ends = random.Random(3), (sympy.Integer(-5), sympy.Integer(5))
    for _ in range(30):
        roots = sorted({sympy.Rational(dice.randint(-4 * 10**6, 4 * 10**6), 10**6) for _ in range(5)})
        function = sympy.expand(sympy.Mul(*(X - root for root in roots))) * sympy.exp(sympy.sin(X))
        found = zeros_between(function, *ends).points
        assert len(found) == len(roots)
        assert all(is_zero_at(zero, root) for zero, root in zip(found, roots, strict=True))


@pytest.mark.parametrize(
    "function",
    [sympy.cos(X) - 1, sympy.exp(X) - 1 - X, (sympy.exp(X) - 2) ** 2, sympy.sin(X) ** 3, sympy.sin(1000 * X)],
)
def test_zeros_that_are_not_simple_or_too_many_are_refused(function):
    with pytest.raises(NotCertifiable):
        zeros_between(function, *LINE)


def test_two_zeros_far_below_double_precision_are_told_apart():
    """exp(x) = 2 -+ 1e-12: distance 1e-12 between the zeros; at 1e-30 the cell of a name is too coarse."""
    close = (sympy.exp(X) - 2) ** 2 - sympy.Rational(1, 10**24)
    first, second = zeros_between(close, *LINE).points
    assert digits(second - first) == pytest.approx(1e-12, rel=1e-9)
    with pytest.raises(NotCertifiable):
        zeros_between((sympy.exp(X) - 2) ** 2 - sympy.Rational(1, 10**60), *LINE)


def test_a_zero_is_the_same_number_whatever_interval_led_to_it():
    function = sympy.cos(X) - X
    (first,), (second,) = (
        zeros_between(function, *ends).points for ends in (LINE, (sympy.Rational(1, 7), sympy.Integer(3)))
    )
    assert first == second
    assert compare(first, second) == 0
    assert first - second == 0


def test_an_end_that_is_a_zero_is_no_zero_between_the_ends():
    zero, one = sympy.Integer(0), sympy.Integer(1)
    assert zeros_between(sympy.sin(X), zero, one).points == ()
    assert zeros_between(1 - sympy.cos(X), zero, one).points == ()
    assert zeros_between(sympy.log(X), zero, one).points == ()
    assert keeps_sign(sympy.exp(X) - 1 - X, -sympy.oo, zero)
    assert not keeps_sign(sympy.exp(X) - 1 - X, -sympy.oo, one)


def test_next_to_an_isolated_zero_the_zero_is_a_factor():
    function = X - sympy.exp(-X)
    (zero,) = zeros_between(function, *LINE).points
    with precision(128):
        (left,) = near([1 / (3 * function)], zero, -1, arb(2) ** -20)
        quotient = constant_ball(next(iter(left.atoms(Enclosed))))
        slope = -(1 + constant_ball(zero))  # -(1 + exp(-x)) at the zero, where exp(-x) = x
        assert left.has(T)
        assert not left.has(X)
        assert quotient.contains(slope)
        assert quotient.rad() < 1e-5


BOUNDED = (sympy.tanh, sympy.erf, sympy.erfc, sympy.atan, sympy.sin, sympy.cos, normal_cdf)


def test_ranges_hold_every_value():
    """Random sums, powers and compositions against mpmath; and the ends are sharp for one function of one argument."""
    draw = random.Random(1313)
    met = 0
    for _ in range(60):
        inner, outer, other = (draw.choice(BOUNDED) for _ in range(3))
        power, factor = draw.randint(1, 3), draw.choice([-2, -1, sympy.Rational(1, 3), sympy.pi])
        function = factor * outer(inner(draw.choice([X, 1 / X, X**3]))) ** power - other(X) ** draw.randint(1, 2)
        bounds = range_of(function)
        if not bounds.is_finite:  # SymPy writes sin(atan(x)) as a quotient
            continue
        met += 1
        value = sympy.lambdify(X, function, ["mpmath", {"normal_cdf": lambda u: mpmath.ncdf(u)}])
        with mpmath.workdps(60):
            for x in (-3, -0.7, -0.01, 0.02, 0.9, 2.3):
                low, high = (mpmath.mpf(str(end.evalf(60))) for end in (bounds.low, bounds.high))
                assert low <= value(mpmath.mpf(x)) <= high
    assert met > 30
    far = sympy.Integer(10) ** 6
    for function in BOUNDED[:4]:
        for sign in (-1, 1):
            ends = range_of(function(X)).low, range_of(function(X)).high
            assert min(abs(float(function(sign * far).evalf(20) - end)) for end in ends) < 1e-5


def test_signs_by_ranges_are_strict():
    tanh, sin = sympy.tanh(1 / X), sympy.sin(1 / X)
    assert [range_of(f).sign for f in (1 - tanh, -1 - tanh, 1 - tanh**2, 2 - tanh - sin)] == [1, -1, 1, 1]
    assert [range_of(f).sign for f in (1 - sin, sin**2, 1 - tanh - sin, sympy.Rational(99, 100) - tanh)] == [0] * 4
    assert range_of(1 + 1 / X**2).sign == 1
    assert range_of(X**2).sign == range_of(1 + X**3).sign == 0
