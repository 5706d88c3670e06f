"""Closed forms against independent 60-digit quadrature, against certified balls, and against the literature."""

import json
from functools import cache

import mpmath
import numpy as np
import pytest
import sympy
from mpmath.calculus.quadrature import GaussLegendre

from theory.activations import catalog
from theory.activations.activation import Activation
from theory.activations.catalog import build
from theory.activations.specification import activation
from theory.errors import UsageError
from theory.gaussian.certified import certified_moments
from theory.gaussian.closed_form import QUANTITIES, closed_form
from theory.gaussian.expectations import expectations
from theory.numerics.arithmetic import X, compile_expressions, constant_value

COMPLETE = [
    "identity",
    "relu",
    "leaky_relu",
    "prelu",
    "rrelu",
    "relu6",
    "relu_squared",
    "elu",
    "selu",
    "celu",
    "gelu",
    "squareplus",
    "sparse_plus",
    "sparse_sigmoid",
    "softsign",
    "softshrink",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "erf",
    "sin",
    "cos",
    "gaussian",
    "abs",
    "snake",
    "hermite",
]
PARTIAL = {
    "sigmoid": {"mean", "mean_hermite"},
    "tanh": {"mean", "mean_hermite"},
    "tanhshrink": {"mean", "mean_hermite"},
    "arctan": {"mean", "mean_hermite", "slope_second_moment"},
    "asinh": {"mean", "mean_hermite", "slope_second_moment"},
    "sign": set(QUANTITIES) - {"slope_second_moment"},
    "step": set(QUANTITIES) - {"slope_second_moment"},
    "hardshrink": set(QUANTITIES) - {"slope_second_moment"},
    "threshold": set(QUANTITIES) - {"slope_second_moment"},
    "Phi(2*x + 1)": {"mean", "mean_hermite", "slope_second_moment"},
    "erf(x)^2 - x*exp(-x^2/2)": {"mean", "mean_hermite", "slope_second_moment"},
}
NONE = ["gelu_tanh", "quick_gelu", "silu", "mish", "log_sigmoid", "softplus"]
VARIANTS = [
    "leaky_relu(0.2)",
    "elu(2)",
    "celu(1/2)",
    "celu(0.05)",
    "snake(3)",
    "hermite(7)",
    "hard_tanh(-2, 1/2)",
    "softshrink(1)",
    "squareplus(1)",
    "threshold(1, 1)",
    "x^3*exp(-x^2)",
    "sin(2*x + 1)*exp(x/3)",
    "x^2*Phi(x/2)",
    "erf(x) - x*exp(-x^2/2)",
    "cosh(x/2) + 2^x",
    "x/sqrt(1 + x^2)",
    "x/(2 + 3*x^2)",
    "max(0, x - 1.3)*exp(-x)",
    "where(x > 0, x/(x + 2), expm1(x))",
    "normal_pdf(x) + cos(x)*x",
]
CERTIFIED_NAMES = dict(zip(QUANTITIES, ("mean", "second", "slope_second", "mean_tilt", "second_tilt"), strict=True))


def test_every_catalog_entry_is_accounted_for():
    assert {*COMPLETE, *PARTIAL, *NONE} >= set(catalog.names())


STEPS = {"arctan": "0.045", "asinh": "0.045", "x/sqrt(1 + x^2)": "0.045", "x/(2 + 3*x^2)": "0.035"}
STEPS |= {"squareplus": "0.09", "squareplus(1)": "0.045", "Phi(2*x + 1)": "0.06", "sin(2*x + 1)*exp(x/3)": "0.1"}
"""Steps of the trapezoidal rule, whose error is about exp(-2 pi d/step) with a singularity at height d."""

SHARP = ["softsign", "celu(0.05)", "where(x > 0, x/(x + 2), expm1(x))"]
"""Pieces that need many nodes: a singularity near an end, a steep exponential."""


@cache
def gauss_legendre(degree):
    """3 * 2^(degree - 1) nodes on [-1, 1] to 70 digits."""
    with mpmath.workdps(70):
        return GaussLegendre(mpmath.mp).get_nodes(-1, 1, degree, mpmath.mp.prec)


def nodes(piece, spec):
    """Nodes and weights on |z| <= 18 within a piece: the trapezoidal rule on the line, else Gauss-Legendre panels."""
    if not (piece.lower.is_finite or piece.upper.is_finite):
        step = mpmath.mpf(STEPS.get(spec, "0.125"))
        yield from ((k * step, step) for k in range(-int(18 / step), int(18 / step) + 1))
        return
    width, rule = ("1.5", gauss_legendre(6)) if spec in SHARP else ("3", gauss_legendre(5))
    left, right = (
        constant_value(end, 80) if end.is_finite else mpmath.mpf(18) * (1 if end > 0 else -1)
        for end in (piece.lower, piece.upper)
    )
    panels = int(mpmath.ceil((right - left) / mpmath.mpf(width)))
    half = (right - left) / (2 * panels)
    for panel in range(panels):
        yield from ((left + half * (2 * panel + 1 + node), half * weight) for node, weight in rule)


def quadrature(phi, spec):
    """The five moments by plain quadrature, to 60 digits."""
    with mpmath.workdps(70):
        totals = [mpmath.mpf(0)] * len(QUANTITIES)
        for piece in phi.pieces:
            function = compile_expressions([piece.value.evalf(80), piece.slope.evalf(80)], "mpmath")
            for z, weight in nodes(piece, spec):
                value, slope = function(z)
                scale = weight * mpmath.npdf(z)
                terms = (value, value**2, slope**2, value * (z * z - 1), value**2 * (z * z - 1))
                totals = [total + scale * term for total, term in zip(totals, terms, strict=True)]
        return dict(zip(QUANTITIES, totals, strict=True))


@pytest.mark.parametrize(
    "spec", [*COMPLETE, *PARTIAL, *(pytest.param(spec, marks=pytest.mark.slow) for spec in VARIANTS)]
)
def test_closed_forms_equal_quadrature_to_50_digits(spec):
    phi = activation(spec)
    form = closed_form(phi)
    reference = quadrature(phi, spec)
    known = form.evaluate(60, moments_only=True)
    assert set(known) == PARTIAL.get(spec, set(QUANTITIES))
    for name, value in known.items():
        with mpmath.workdps(70):
            assert abs(value - reference[name]) < mpmath.mpf(10) ** -50 * (1 + abs(reference[name])), name


@pytest.mark.parametrize("spec", [*COMPLETE, *PARTIAL, *VARIANTS])
def test_closed_forms_lie_in_the_certified_balls(spec):
    phi = activation(spec)
    found = certified_moments(phi, 50, tuple(CERTIFIED_NAMES.values()))
    known = closed_form(phi).evaluate(70, moments_only=True)
    assert known
    for name, value in known.items():
        ball = found.balls[CERTIFIED_NAMES[name]]
        mantissa, exponent = ball.mid().man_exp()
        with mpmath.workdps(80):
            middle = mpmath.ldexp(int(mantissa), int(exponent))
            radius = mpmath.mpf(str(ball.rad().str(10, radius=False))) * (1 + mpmath.mpf(10) ** -8)
            assert abs(value - middle) <= radius + mpmath.mpf(10) ** -65, name
            assert radius < mpmath.mpf(10) ** -49 * (1 + abs(middle))


@pytest.mark.parametrize("name", NONE)
def test_no_closed_form_is_none(name):
    assert closed_form(build(name)) is None


def test_literature():
    erf, gelu, selu, sine = (closed_form(build(name)) for name in ("erf", "gelu", "selu", "sin"))
    third, root3 = sympy.Rational(1, 3), sympy.sqrt(3)
    assert erf.second_moment == 2 * sympy.asin(2 * third) / sympy.pi  # Williams 1997
    assert sympy.simplify(erf.slope_second_moment - 4 / (sympy.pi * sympy.sqrt(5))) == 0
    assert sympy.simplify(gelu.second_moment - third - 1 / (2 * root3 * sympy.pi)) == 0
    assert sympy.simplify(gelu.slope_second_moment - third - 2 / (3 * root3 * sympy.pi)) == 0
    assert (selu.mean, selu.second_moment) == (0, 1)  # Klambauer et al. 2017
    assert sympy.expand(sine.second_moment - (1 - sympy.exp(-2)) / 2) == 0
    assert closed_form(build("arctan")).a == sympy.sqrt(2)
    k = 12
    hermite = closed_form(build("hermite", k))
    assert (hermite.second_moment, hermite.slope_second_moment, hermite.square_hermite) == (1, k, 2 * k)


@pytest.mark.parametrize(
    ("name", "a", "b_plus", "b_minus", "chi_plus", "chi_minus"),
    [
        ("relu", 2**0.5, 0, -2 / np.pi**0.5, 1, 1 - 2 / np.pi),
        ("leaky_relu", 1.4141428570, 0, -1.1170395248, 1, 0.376111),
        ("elu", 1.2234285576, 0.0742203457, -0.4669912501, 0.883839, 0.710639),
        ("selu", 0.9660257770, 0.2584457355, -0.2584457355, 0.774729, 0.686014),
        ("gelu", 1.4811144127, 0.0738770773, -0.9095064010, 1.11349, 0.497184),
    ],
)
def test_constants_of_normalization(name, a, b_plus, b_minus, chi_plus, chi_minus):
    found = closed_form(build(name)).evaluate(15)
    assert float(found["a"]) == pytest.approx(a, abs=1e-10)
    assert float(found["b_plus"]) == pytest.approx(b_plus, abs=1e-10)
    assert float(found["b_minus"]) == pytest.approx(b_minus, abs=1e-10)
    assert float(found["chi_plus"]) == pytest.approx(chi_plus, abs=6e-6)
    assert float(found["chi_minus"]) == pytest.approx(chi_minus, abs=6e-6)


def test_normalized_function_has_unit_moments_exactly():
    """The closed form of a phi + b itself: E = 1 and E' = 1 come out as the number 1."""
    form = closed_form(build("gelu"))
    normalized = Activation("GPN", form.a * build("gelu").expression + form.b("minus"))
    again = closed_form(normalized)
    assert sympy.simplify(again.slope_second_moment) == 1
    assert abs(again.second_moment.evalf(60) - 1) < 1e-50


def test_reasons_are_given():
    jump = closed_form(build("threshold"))
    assert jump.reasons == {"slope_second_moment": "the function jumps at 1: it is not weakly differentiable"}
    assert jump.a is None
    assert jump.b("plus") is None
    assert "tanh(x)" in closed_form(build("tanh")).reasons["second_moment"]
    growing = closed_form(activation("exp(x^2/4)"))
    assert growing.mean == sympy.sqrt(2)
    assert "grows like exp(x^2/2)" in growing.reasons["second_moment"]
    assert closed_form(activation("sqrt(x)")) is None
    assert closed_form(np.tanh) is None


def test_odd_functions_without_a_mean_are_not_called_centred():
    assert closed_form(activation("x*exp(x^2)")) is None
    assert closed_form(activation("1/x")) is None


def test_constant_functions():
    form = closed_form(activation("2 + 0*x"))
    assert (form.mean, form.second_moment, form.slope_second_moment) == (2, 4, 0)
    assert form.a is None
    assert form.chi("plus") is None


def test_random_sums_of_terms():
    """Random members of the class of terms against float64 quadrature; seed fixed, no randomness in the verdict."""
    rng = np.random.default_rng(20240607)
    for _ in range(3):
        p, q, r, s = (sympy.Rational(int(k), 4) for k in rng.integers(-6, 7, size=4))
        power = int(rng.integers(0, 4))
        smooth = X**power * sympy.exp(p * X / 2 - abs(q) * X**2) + r * sympy.erf(s * X) * X
        expression = sympy.Piecewise((X**power * sympy.exp(p * X), q < X), (r * X + s, True))
        for phi in (Activation("smooth", smooth), Activation("pieces", expression)):
            rough = expectations(
                phi,
                {
                    "mean": lambda _z, value, _slope: value,
                    "second_moment": lambda _z, value, _slope: value**2,
                    "square_hermite": lambda z, value, _slope: value**2 * (z * z - 1),
                },
            )
            found = closed_form(phi).evaluate(16, moments_only=True)
            for name, estimate in rough.items():
                assert float(found[name]) == pytest.approx(estimate.value, rel=1e-11, abs=1e-11 + estimate.error)


def test_evaluation_survives_cancellation():
    """celu(1/200): exp(20000) erfc(200/sqrt 2) and differences of nearly equal numbers."""
    form = closed_form(build("celu", 0.005))
    estimate = expectations(build("celu", 0.005), {"mean": lambda _z, value, _slope: value})["mean"]
    assert float(form.evaluate(15, moments_only=True)["mean"]) == pytest.approx(estimate.value, abs=1e-13)


def test_views():
    form = closed_form(build("elu"))
    data = json.loads(json.dumps(form.to_dict(), allow_nan=False))
    assert data["quantities"]["slope_second_moment"]["expression"] == "exp(2)*erfc(sqrt(2))/2 + 1/2"
    assert data["quantities"]["a"]["value"].startswith("1.22342855755")
    assert form._repr_latex_().startswith(r"$\begin{aligned}")
    with pytest.raises(UsageError, match="plus"):
        form.b("auto")
