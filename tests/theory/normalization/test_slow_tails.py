"""Moments of functions whose square times the density decays like a power: the stated error covers every digit."""

import json
import math

import mpmath
import pytest

from gpn.cli.program import main
from theory.activations.specification import activation
from theory.errors import UsageError
from theory.normalization.conditions import gaussian_poincare
from theory.normalization.normalize import normalize


def exact_moments(k, shift, scale):
    """E phi^2 and E phi'^2 of scale*exp(x^2/4)/(1+(x-shift)^2)^k; the density cancels the exponential."""
    with mpmath.workdps(20):
        k = mpmath.mpf(k)

        def square(z):
            return (scale / (1 + (z - shift) ** 2) ** k) ** 2

        def slope_square(z):
            return square(z) * (z / 2 - 2 * k * (z - shift) / (1 + (z - shift) ** 2)) ** 2

        places = [-mpmath.inf, -100, -10, -2, shift, 2, 10, 100, mpmath.inf]
        return [mpmath.quad(f, places) / mpmath.sqrt(2 * mpmath.pi) for f in (square, slope_square)]


@pytest.mark.parametrize(
    "k",
    ["1", "1.1", pytest.param("1.25", marks=pytest.mark.slow), pytest.param("1.5", marks=pytest.mark.slow), "2", "3"],
)
@pytest.mark.parametrize(("shift", "scale"), [pytest.param(0, 1, marks=pytest.mark.slow), (0.5, 3)])
def test_the_stated_error_covers_the_printed_digits(k, shift, scale):
    report = gaussian_poincare(activation(f"{scale}*exp(x**2/4)/(1+(x-{shift})**2)**{k}"), 30)
    exact = exact_moments(k, shift, scale)
    for number, value in zip((report.second_moment, report.slope_second_moment), exact, strict=True):
        assert abs(mpmath.mpf(number.digits) - value) <= report.error
    assert report.error < 0.02 * scale**2


@pytest.mark.parametrize("formula", ["exp(x**2/4)/(1+x**2)", "exp(x**2/4)/(1+x**2)**0.8", "exp(50*x)"])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_command_answers(formula, options, capsys):
    with pytest.raises(SystemExit) as outcome:
        main(["check", formula, *options])
    assert outcome.value.code in (1, 3, 4)
    printed = capsys.readouterr().out
    assert "?" not in printed
    assert not options or json.loads(printed)


def test_two_poles_are_an_outcome():
    report = gaussian_poincare(activation("x*((x+1)*pi+(2.7+x)/(x+1.1-x**2))"))
    assert report.normalizable == "no"
    assert "diverges" in report.reason


def test_a_scale_that_float64_cannot_hold_is_refused():
    """Of exp(c x) it is a = exp(-c^2)/c: 9e-319 for c = 27 is subnormal, 1e-295 for c = 26 is not."""
    assert normalize(activation("exp(26*x)")).a == pytest.approx(math.exp(-676) / 26, rel=1e-12)
    for formula, a in (("exp(27*x)", "e-319"), ("exp(50*x)", "3.67135e-1088")):
        with pytest.raises(UsageError, match=f"float64 cannot hold its a = .*{a}"):
            normalize(activation(formula))
