r"""Moments of functions with breakpoints without end, against their Fourier series: E cos(k z) = exp(-k^2/2)."""

import mpmath
import pytest

from theory.activations.specification import activation
from theory.gaussian.certified import certified_moments

ROOT = 40  # digits


def series(term):
    return mpmath.nsum(lambda k: term(int(k)), [1, mpmath.inf])


def rectified_sine():
    r"""|sin x| = 2/pi - (4/pi) sum cos(2 k x)/(4 k^2 - 1)."""
    return (2 - 4 * series(lambda k: mpmath.exp(-2 * k * k) / (4 * k * k - 1))) / mpmath.pi


def squared_teeth():
    r"""(x mod 1)^2 = 1/3 + sum (cos(2 pi k x)/(pi k)^2 - sin(2 pi k x)/(pi k))."""
    return mpmath.mpf(1) / 3 + series(lambda k: mpmath.exp(-2 * (mpmath.pi * k) ** 2) / (mpmath.pi * k) ** 2)


def squared_wave():
    r"""atan(tan x)^2 = pi^2/12 + sum (-1)^k cos(2 k x)/k^2."""
    return mpmath.pi**2 / 12 + series(lambda k: (-1) ** k * mpmath.exp(-2 * k * k) / mpmath.mpf(k) ** 2)


@pytest.mark.parametrize(
    ("text", "name", "true"),
    [
        ("abs(sin(x))", "mean", rectified_sine),
        ("abs(sin(x))", "second", lambda: (1 - mpmath.exp(-2)) / 2),
        ("abs(sin(x))", "slope_second", lambda: (1 + mpmath.exp(-2)) / 2),
        ("relu(sin(x))", "mean", lambda: rectified_sine() / 2),
        ("abs(cos(3*x))", "slope_second", lambda: 9 * (1 - mpmath.exp(-18)) / 2),
        ("x % 1", "mean", lambda: mpmath.mpf(1) / 2),
        ("x % 1", "second", squared_teeth),
        ("floor(x)", "mean", lambda: -mpmath.mpf(1) / 2),
        ("atan(tan(x))", "second", squared_wave),
    ],
)
def test_moments_against_fourier_series(text, name, true):
    ball = certified_moments(activation(text), 25, [name]).moment(name)
    with mpmath.workdps(ROOT):
        assert abs(mpmath.mpf(ball.mid()) - true()) < 1e-26
    assert ball.rad() < 1e-25


def test_slope_moments_of_what_jumps_or_may_jump_far_out_are_refused():
    for text in ("x % 1", "atan(tan(x))", "where(sin(x) > 1/2, x, 0)", "atan(1/cos(x))"):
        assert certified_moments(activation(text), 15, ["slope_second"]).first_missing(["slope_second"]) is not None


@pytest.mark.parametrize(
    ("text", "name", "true"),
    [
        # |frac(x) - 1/2| = 1/4 + (2/pi^2) sum over odd k of cos(2 pi k x)/k^2, with slopes -1 and 1
        ("abs(x % 1 - 1/2)", "mean", lambda: mpmath.mpf(1) / 4 + 2 * teeth_mean() / mpmath.pi**2),
        ("abs(x % 1 - 1/2)", "slope_second", lambda: mpmath.mpf(1)),
        # (frac(x) - 1/2)^2 = 1/12 + sum cos(2 pi k x)/(pi k)^2
        ("(x - floor(x) - 1/2)**2", "mean", lambda: mpmath.mpf(1) / 12 + squared_teeth_mean()),
    ],
)
def test_teeth_that_meet_are_continuous_without_end(text, name, true):
    ball = certified_moments(activation(text), 20, [name]).moment(name)
    with mpmath.workdps(ROOT):
        assert abs(mpmath.mpf(ball.mid()) - true()) < 1e-21


def teeth_mean():
    return series(lambda k: mpmath.exp(-2 * (mpmath.pi * (2 * k - 1)) ** 2) / mpmath.mpf(2 * k - 1) ** 2)


def squared_teeth_mean():
    return series(lambda k: mpmath.exp(-2 * (mpmath.pi * k) ** 2) / (mpmath.pi * k) ** 2)


@pytest.mark.parametrize("text", ["(x % 1)**2", "abs(x % 1 - 1/3)", "(x % 1) * (1 - 2*x % 1)", "frac(x + frac(x))"])
def test_teeth_that_do_not_meet_are_not_continuous(text):
    assert certified_moments(activation(text), 15, ["slope_second"]).first_missing(["slope_second"]) is not None


def test_a_polynomial_that_the_formula_hides_is_integrated_like_one():
    """atan(tan(3 x)) = 3 x - k pi between its jumps, a third of the teeth of atan(tan(x))."""
    ball = certified_moments(activation("atan(tan(3*x))"), 25, ["second"]).moment("second")
    with mpmath.workdps(ROOT):
        true = mpmath.pi**2 / 12 + series(lambda k: (-1) ** k * mpmath.exp(-18 * k * k) / mpmath.mpf(k) ** 2)
        assert abs(mpmath.mpf(ball.mid()) - true) < 1e-26
    assert ball.rad() < 1e-25
