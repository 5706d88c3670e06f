"""Special functions: derivative rules, both arithmetics, tails, printing."""

import pickle

import mpmath
import numpy as np
import pytest
import sympy
from flint import arb, ctx
from scipy import special

from theory.numerics.special import (
    MPMATH,
    NUMPY,
    expm1,
    hermite_normalized,
    log1p,
    normal_cdf,
    normal_pdf,
    sigmoid,
    softplus,
)

X = sympy.Symbol("x", real=True)
POSITIVE = (sigmoid, softplus, normal_cdf, normal_pdf)
POINTS = [sympy.Rational(text) for text in ("-40", "-6.5", "-1", "-0.001", "0", "0.3", "2", "7.25", "40")]


def _arb_value(name, x):
    """Independent values by ball arithmetic, from definitions other than those under test."""
    half = arb(1) / 2
    return {
        "sigmoid": lambda: (x.exp() / (1 + x.exp())) if x < 0 else 1 - 1 / (1 + x.exp()),
        "softplus": lambda: (1 + x.exp()).log(),
        "normal_cdf": lambda: (-x * half.sqrt()).erfc() / 2,
        "normal_pdf": lambda: 1 / ((x * x / 2).exp() * (2 * arb.pi()).sqrt()),
    }[name]()


@pytest.mark.parametrize("function", POSITIVE)
def test_derivative_rule_is_that_of_the_elementary_definition(function):
    ours = function(X).diff(X)
    definition = function.elementary(X).diff(X)
    for point in POINTS:
        left, right = (expression.subs(X, point).evalf(40) for expression in (ours, definition))
        assert abs(left - right) <= abs(right) * sympy.Float(10) ** -35


@pytest.mark.parametrize("function", POSITIVE)
@pytest.mark.parametrize("x", ["-10000", "-300", "-17.3", "-1e-20", "0.1", "12", "10000"])
def test_mpmath_values_agree_with_ball_arithmetic_to_fifty_digits(function, x):
    with mpmath.workdps(50):
        ours = MPMATH[function.__name__](mpmath.mpf(x))
        text = mpmath.nstr(ours, 50)
    before = ctx.prec
    try:
        ctx.prec = 60_000  # 1 + exp(-10000) needs 14,427 bits before its logarithm is more than 0
        ball = _arb_value(function.__name__, arb(x)) / arb(text) - 1
        assert abs(ball) < arb("1e-48")
    finally:
        ctx.prec = before


@pytest.mark.parametrize("function", POSITIVE)
def test_numpy_values_agree_with_mpmath(function):
    x = np.linspace(-37, 37, 149)
    exact = np.array([float(MPMATH[function.__name__](mpmath.mpf(point))) for point in x])
    # exp(-x^2/2) inherits the rounding of x^2/2 <= 685: 685 * 2^-53 = 7.6e-14, and as much for erfc
    np.testing.assert_allclose(NUMPY[function.__name__](x), exact, rtol=2e-13, atol=0)


@pytest.mark.parametrize("function", POSITIVE)
def test_numpy_is_silent_far_out(function):
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        value = NUMPY[function.__name__](np.array([-np.inf, -1e200, -1e4, 1e4, 1e200]))
    assert not np.isnan(value).any()


def test_working_precision_is_left_alone():
    before = mpmath.mp.prec
    for name, function in MPMATH.items():
        function(*([3] if name == "hermite_normalized" else []), mpmath.mpf("2.5"))
    assert mpmath.mp.prec == before


@pytest.mark.parametrize("k", [0, 1, 2, 3, 7, 20, 64])
def test_hermite_agrees_with_scipy_and_with_the_polynomial(k):
    x = np.linspace(-9, 9, 61)
    ours = NUMPY["hermite_normalized"](k, x)
    scale = np.sqrt(special.factorial(k))
    np.testing.assert_allclose(ours, special.eval_hermitenorm(k, x) / scale, rtol=1e-11, atol=1e-12)
    point = sympy.Rational(5, 3)
    polynomial = sympy.hermite_prob(k, point) / sympy.sqrt(sympy.factorial(k))
    assert abs(hermite_normalized(k, point).evalf(40) - polynomial.evalf(40)) < 1e-37


def test_hermite_polynomials_are_orthonormal_under_the_normal_law():
    nodes, weights = np.polynomial.hermite_e.hermegauss(96)  # exact to degree 191
    table = np.array([NUMPY["hermite_normalized"](k, nodes) for k in range(65)])
    gram = (table * (weights / np.sqrt(2 * np.pi))) @ table.T
    np.testing.assert_allclose(gram, np.eye(65), atol=1e-12)


def test_hermite_derivative_is_that_of_the_polynomial():
    ours = sympy.expand_func(hermite_normalized(9, X).diff(X))
    polynomial = (sympy.hermite_prob(9, X) / sympy.sqrt(sympy.factorial(9))).diff(X)
    assert sympy.expand(ours - polynomial) == 0


@pytest.mark.parametrize(
    ("expression", "latex"),
    [
        (sigmoid(X), r"\sigma\left(x\right)"),
        (softplus(X), r"\operatorname{softplus}\left(x\right)"),
        (normal_cdf(2 * X), r"\Phi\left(2 x\right)"),
        (normal_pdf(X) ** 2, r"\varphi^{2}\left(x\right)"),
        (X * expm1(X), r"x \left(e^{x} - 1\right)"),
        (log1p(X) ** 2, r"\log^{2}\left(1 + x\right)"),
        (hermite_normalized(3, X), r"\frac{He_{3}\left(x\right)}{\sqrt{3!}}"),
    ],
)
def test_latex(expression, latex):
    assert sympy.latex(expression) == latex


@pytest.mark.parametrize("function", POSITIVE)
def test_special_values_limits_signs_and_pickle(function):
    expression = function(3 * X)
    assert expression.is_positive
    assert function(sympy.Symbol("w")).is_positive is None
    assert pickle.loads(pickle.dumps(expression)) == expression
    for at in (sympy.oo, -sympy.oo, sympy.S.Zero):
        assert function(at) == sympy.limit(function.elementary(X), X, at)
        assert sympy.limit(function(X), X, at) == function(at)
