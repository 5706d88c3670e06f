"""Suprema are tight, to six digits at least, or they are called upper bounds."""

import math
from dataclasses import replace

import numpy as np
import pytest
from flint import arb

from gpn.report.words.text import supremum_text
from theory.activations.specification import activation
from theory.balls.arithmetics import REAL
from theory.balls.core import precision
from theory.balls.program import Program
from theory.balls.tail import tail_arithmetic, tail_variable
from theory.normalization.conditions import gaussian_poincare
from theory.normalization.coordinates import at_infinity, period
from theory.normalization.lipschitz import Supremum, lipschitz_constants

PERIODIC = [
    "gelu(cos(x))",
    "sigmoid(cos(x-0.3))",
    "asinh(sin(x))",
    "atan(sin(x)+0.5*cos(x))",
    "sin(x)*exp(cos(x))",
    "sin(cos(x/2))",
]
EXPONENTIAL = ["2/(1+tanh(x+1.1)**2)", "log(exp(x)+exp(-x))", "log(1+exp(x))", "log(cosh(x))"]
MIXED = [
    "x*tanh(log(1+sigmoid(x)))",
    "sigmoid(cos(x))+exp(-x**2)",
    "x*erf(x)+sin(x)",
    "sqrt(x**2+1)-cos(x)",
    "max(x,0)+sin(x)**2",
    "x**2/(1+abs(x))",
    "relu(x)+sin(x)*relu(x)/(1+x**2)",
]


@pytest.mark.parametrize("formula", [*PERIODIC, *EXPONENTIAL, *MIXED])
def test_suprema_agree_with_a_dense_grid_to_six_digits(formula):
    phi = activation(formula)
    x = np.union1d(np.linspace(-60, 60, 480_001), np.linspace(-4000, 4000, 100_001))
    grid = np.nanmax(np.abs(phi.value_and_slope(x)[1])), np.nanmax(np.abs(phi.curvature(x)))
    constants = lipschitz_constants(phi)
    assert constants.certified
    for supremum, upper, largest in zip(constants.suprema, (constants.slope, constants.curvature), grid, strict=True):
        if math.isfinite(upper):
            assert supremum.kind == "exact"
            assert upper >= largest
            assert supremum.value == pytest.approx(largest, rel=2e-6)


def test_cancellation_at_infinity_is_no_noise():
    """Float64 loses the curvature of asinh(cosh(x/2)) far out: cosh^2 - sinh^2 is 1."""
    slope, curvature = lipschitz_constants(activation("asinh(cosh(x/2))")).suprema
    assert (slope.value, curvature.value) == pytest.approx((0.5, math.sqrt(2) / 8), rel=1e-12)


def test_a_wide_enclosure_is_called_an_upper_bound():
    report = gaussian_poincare(activation("x**2*sin(1/x)"))
    assert report.lipschitz == pytest.approx(1.3270336509949279, rel=1e-12)  # 2 sin(u)/u - cos(u) at 2.0815759778
    wide = Supremum.of(arb(1.5, 1.5))
    report = replace(report, lipschitz=wide.value, lipschitz_kind=wide.kind)
    assert supremum_text(report.lipschitz, report.lipschitz_kind).startswith("<= 3")
    assert report.to_dict()["lipschitz_kind"] == "upper bound"


@pytest.mark.parametrize(("formula", "slope", "curvature"), [("tanh", 1.0, None), ("x*(x/x)", 1.0, 0.0), ("3", 0, 0)])
def test_what_both_ends_share_is_shown(formula, slope, curvature):
    report = gaussian_poincare(activation(formula))
    assert report.lipschitz == slope
    assert curvature is None or report.slope_lipschitz == curvature
    assert report.lipschitz_kind == "exact"


@pytest.mark.parametrize("formula", ["sin(x)", "cos(2*x)/(2+sin(3*x))", "tan(sin(pi*x))"])
def test_a_period_is_a_period(formula):
    expression = activation(formula).expression
    length = float(period(expression))
    x = np.linspace(-3, 3, 101)
    phi = activation(formula)
    assert phi(x + length) == pytest.approx(phi(x), abs=1e-12)


@pytest.mark.parametrize("formula", ["x+sin(x)", "sin(x)+sin(sqrt(2)*x)", "sin(x**2)", "exp(x)"])
def test_what_is_not_seen_to_be_periodic_has_no_period(formula):
    assert period(activation(formula).expression) is None


@pytest.mark.parametrize("formula", ["tanh(x+1.1)", "sigmoid(3*x)/(2+cosh(2*x))", "x/sqrt(1+x**2)", "1/(x**3-7)"])
@pytest.mark.parametrize("side", [-1, 1])
def test_the_coordinate_at_infinity_gives_the_same_values(formula, side):
    phi = activation(formula)
    formulas, rate = at_infinity(phi.expression, side)
    x = np.linspace(2, 20, 57)
    s = np.exp(-float(rate) * x) if rate else 1 / x
    with precision(96):
        run = Program(formulas, next(iter(formulas[0].free_symbols))).bind(REAL)
        values = np.array([float(run(arb(float(t)))[0].mid()) for t in s])
    assert values == pytest.approx(phi(side * x), rel=1e-9)


@pytest.mark.parametrize(
    "formula",
    [
        "x*exp(-x)*cos(x)",
        "tanh(log(1+sigmoid(x)))",
        "erf(x/3)-erfc(x)",
        "atan(x)*sin(x)+1/x",
        "sqrt(2+cos(x))/(1+exp(-x))",
        "log(3+sin(x))**3",
        "x/(1+x**2)+Phi(sin(x))",
        "cosh(sin(x))**2-softplus(-x)",
        "acos(sin(x)/2)*expm1(-x)",
    ],
)
@pytest.mark.parametrize("start", [2, 17, 300])
def test_ranges_on_a_half_line_contain_the_values(formula, start):
    phi = activation(formula)
    with precision(96):
        (tail,) = Program([phi.expression]).bind(tail_arithmetic(arb(start)))(tail_variable(arb(start)))
    values = phi(start * np.concatenate([np.linspace(1, 3, 2000), np.geomspace(3, 1e5, 2000)]))
    rounding = 1e-13 * (1 + np.abs(values))
    assert (values >= float(tail.low) - rounding).all()
    assert (values <= float(tail.high) + rounding).all()
    assert tail.bound() is not None


@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (lambda x: np.abs(np.sin(20 * x)), 20.0),
        (lambda x: np.abs(np.sin(3 * x)) + 0.1 * x, 3.1),
        (lambda x: x * np.tanh(x / 100), 1.199678640257734),  # attained at x = 120, beyond where kinks are looked for
        (np.tanh, 1.0),
    ],
)
def test_the_supremum_of_a_function_is_an_estimate_that_no_kink_raises(function, slope):
    """u tanh u has its largest slope where u tanh u = 1 (u = 1.19967864), and it is u there."""
    report = gaussian_poincare(activation(function))
    assert report.lipschitz_kind == "estimate"
    assert report.lipschitz == pytest.approx(slope, rel=1e-6)
    assert supremum_text(report.lipschitz, report.lipschitz_kind) == f"about {slope:.4g}"


def test_a_long_product_of_waves_is_not_made_a_sum():
    """Twelve nested sines: the slope at 0 is a product of cosines of 0."""
    nested = "sin(" * 12 + "x" + ")" * 12
    slope, _ = lipschitz_constants(activation(nested)).suprema
    assert (slope.value, slope.kind) == (1.0, "exact")


def test_a_slope_whose_signs_sympy_would_look_for_without_end():
    report = gaussian_poincare(activation("sqrt(1 + (abs(x**3 + 1.25) + x/2 + 0.7 - pi/4)**2)"))
    assert report.lipschitz_kind == report.slope_lipschitz_kind == "infinite"


def test_a_periodic_switch_is_joined_and_searched_over_a_period():
    """elu, selu and a clipped wave: with its breakpoints the supremum is that of one period."""
    below = 1.0507009873554805 * 1.6732632423543772 * math.sqrt(1 - 0.2**2)  # where sin(x) = 0.2, from below
    suprema = {"elu(sin(x))": 1.0, "where(sin(x) > 0.1, 1, 10*sin(x))": 10.0, "selu(sin(x) - 0.2)": below}
    for text, expected in suprema.items():
        report = gaussian_poincare(activation(text), 15)
        assert report.certified, text
        assert report.lipschitz_kind == "exact"
        assert report.lipschitz == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("text", ["where(sin(x) > 0.1, 1, 9*sin(x))", "where(1/sin(x) > 0, 1, 1 + 1/sin(x))"])
def test_a_periodic_switch_that_is_not_joined_jumps(text):
    """The second formula is equal where its condition is 0, but the condition changes at poles as well."""
    report = gaussian_poincare(activation(text), 15)
    assert report.slope_second_moment is None
    assert report.normalizable != "yes"
