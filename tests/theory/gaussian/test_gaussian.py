"""Expectations under the normal law: true errors, independent oracles, and what diverges."""

import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from theory.activations import catalog
from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.activations.specification import activation
from theory.errors import UsageError
from theory.gaussian.convergence import Convergence, convergence
from theory.gaussian.digits import expectations_high_precision
from theory.gaussian.expectations import expectations
from theory.numerics.arithmetic import X

FUNCTIONALS = {
    "mean": lambda _z, value, _slope: value,
    "second": lambda _z, value, _slope: value * value,
    "slope second": lambda _z, _value, slope: slope * slope,
    "chi": lambda z, value, slope: value * slope * z,
    "tilt": lambda z, value, _slope: value * value * (z * z - 1),
    "fourth": lambda _z, value, _slope: value**4,
    "mixed": lambda _z, value, slope: value * value * slope * slope,
    "fourth Hermite": lambda z, value, _slope: value * value * (z**4 - 6 * z * z + 3),
}
MODULI = {  # what relative accuracy is measured against
    "chi": lambda z, value, slope: abs(value * slope * z),
    "mean": lambda _z, value, _slope: abs(value),
    "tilt": lambda z, value, _slope: value * value * abs(z * z - 1),
    "fourth Hermite": lambda z, value, _slope: value * value * abs(z**4 - 6 * z * z + 3),
}
SMOOTH = ("tanh", "gelu", "silu", "sin", "softplus", "erf", "arctan", "gaussian")
TORTURE = {
    "abs(x-1.3)": 1.3910559241730278477,  # E|z - c| = c (2 Phi(c) - 1) + 2 p(c)
    "exp(-((x-2.117)*1000)**2/2)": None,
    "sin(50*x)": 0.0,
    "x + 1e-9*sin(x)": 0.0,
    "exp(x)": math.exp(0.5),
    "exp(x**2/5)": math.sqrt(5 / 3),
    "abs(x)**0.75": None,
    "abs(x-1.3)**0.75": None,
    "x*tanh(softplus(x))": None,
    "sin(x)/x": None,
}


def integrated_by_scipy(function, breakpoints=()):
    """E function(z) by QUADPACK between the breakpoints."""
    edges = [-12.0, *sorted(breakpoints), 12.0]
    parts = [
        integrate.quad(lambda z: float(function(z)) * stats.norm.pdf(z), low, high, epsabs=1e-13, limit=500)
        for low, high in pairwise(edges)
    ]
    return sum(value for value, _ in parts)


@pytest.mark.parametrize("name", catalog.names())
def test_float64_path_is_accurate_and_states_a_true_error(name):
    phi = activation(name)
    fast = expectations(phi, FUNCTIONALS)
    sizes = expectations(phi, MODULI)
    precise = expectations_high_precision(phi, FUNCTIONALS, 20)
    for key, estimate in fast.items():
        exact, error = precise[key]
        assert error < 1e-18 * (1 + abs(exact))
        assert abs(estimate.value - exact) <= estimate.error
        assert estimate.error <= 1e-13 * sizes.get(key, estimate).value


@pytest.mark.parametrize("formula", TORTURE)
def test_torture_set_has_true_errors(formula):
    phi = activation(formula)
    keys = ("mean", "second", "slope second")
    fast = expectations(phi, {key: FUNCTIONALS[key] for key in keys})
    precise = expectations_high_precision(phi, {key: FUNCTIONALS[key] for key in keys}, 25)
    for key in keys:
        assert abs(fast[key].value - precise[key][0]) <= fast[key].error + precise[key][1]
    if TORTURE[formula] is not None:
        assert abs(fast["mean"].value - TORTURE[formula]) < 1e-14
        assert abs(precise["mean"][0] - TORTURE[formula]) < 1e-15


def test_singular_slope_away_from_zero_is_reported_less_accurate():
    slope = expectations(activation("abs(x-1.3)**0.75"), FUNCTIONALS)["slope second"]
    assert 1e-10 < slope.error < 1e-5
    exact, error = expectations_high_precision(activation("abs(x-1.3)**0.75"), FUNCTIONALS, 30)["slope second"]
    assert error < 1e-28
    assert abs(slope.value - exact) <= slope.error


@pytest.mark.parametrize("name", ["tanh", "relu", "selu", "gelu", "hard_swish", "softsign"])
def test_agrees_with_quadpack(name):
    phi = activation(name)
    found = expectations(phi, FUNCTIONALS)
    for key in ("mean", "second", "chi"):
        oracle = integrated_by_scipy(
            lambda z, key=key: FUNCTIONALS[key](z, phi.value(z), phi.slope(z)), phi.breakpoint_values
        )
        assert found[key].value == pytest.approx(oracle, abs=1e-11)


@settings(deadline=None, max_examples=40)
@given(st.floats(-6, 6), st.floats(0.05, 20))
def test_kink_anywhere_and_any_deviation(kink, deviation):
    # E |s z - c| in closed form (folded normal distribution)
    phi = CallableActivation("kink", lambda x: abs(x - kink), lambda x: np.sign(x - kink), (kink,))
    found = expectations(phi, {"mean": FUNCTIONALS["mean"]}, deviation=deviation)["mean"]
    exact = stats.foldnorm.mean(abs(kink) / deviation, scale=deviation)
    assert abs(found.value - exact) <= found.error + 1e-14 * exact


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=8))
def test_polynomials_agree_with_gauss_hermite_and_exact_moments(coefficients):
    polynomial = sum(c * X**k for k, c in enumerate(coefficients))
    exact = sum(
        c * d * sympy.factorial2(j + k - 1) * (0 if (j + k) % 2 else 1)
        for j, c in enumerate(coefficients)
        for k, d in enumerate(coefficients)
    )
    phi = Activation("polynomial", sympy.sympify(polynomial))
    fast = expectations(phi, {"second": FUNCTIONALS["second"]})["second"]
    assert abs(fast.value - float(exact)) <= fast.error + 1e-15 * float(exact)
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    gauss = weights @ np.polynomial.polynomial.polyval(nodes, coefficients) ** 2 / math.sqrt(2 * math.pi)
    assert gauss == pytest.approx(float(exact), rel=1e-10)


def test_scaling_the_deviation_is_composition():
    phi = activation("gelu")
    scaled = Activation("scaled", phi.expression.xreplace({X: 3 * X}))
    by_deviation = expectations(phi, {"second": FUNCTIONALS["second"]}, deviation=3.0)["second"]
    by_formula = expectations(scaled, {"second": FUNCTIONALS["second"]})["second"]
    assert abs(by_deviation.value - by_formula.value) <= by_deviation.error + by_formula.error


def closed_forms():
    sqrt, pi, exp, asin = mpmath.sqrt, mpmath.pi, mpmath.exp, mpmath.asin
    return {
        ("erf", "second"): 2 / pi * asin(mpmath.mpf(2) / 3),
        ("erf", "slope second"): 4 / (pi * sqrt(5)),
        ("gelu", "second"): mpmath.mpf(1) / 3 + 1 / (2 * sqrt(3) * pi),
        ("gelu", "slope second"): mpmath.mpf(1) / 3 + 2 / (3 * sqrt(3) * pi),
        ("sin", "second"): (1 - exp(-2)) / 2,
        ("sin", "slope second"): (1 + exp(-2)) / 2,
        ("arctan", "slope second"): mpmath.mpf(1) / 2,
        ("relu", "mean"): 1 / sqrt(2 * pi),
        ("relu", "fourth"): mpmath.mpf(3) / 2,
        ("relu", "mixed"): mpmath.mpf(1) / 2,
    }


@pytest.mark.parametrize(("name", "key"), closed_forms())
def test_fifty_digits_of_closed_forms(name, key):
    value, error = expectations_high_precision(activation(name), {key: FUNCTIONALS[key]}, 50)[key]
    with mpmath.workdps(70):
        assert abs(value - closed_forms()[name, key]) <= error < mpmath.mpf(10) ** -50


def test_slope_of_softplus_is_the_sigmoid():
    slope = expectations_high_precision(activation("softplus"), {"s": FUNCTIONALS["slope second"]}, 40)["s"][0]
    value = expectations_high_precision(activation("sigmoid"), {"s": FUNCTIONALS["second"]}, 40)["s"][0]
    assert abs(slope - value) < mpmath.mpf(10) ** -40


def test_selu_keeps_its_length_but_not_its_gradient():
    # Klambauer et al. 2017: alpha and lambda are such that E phi = 0 and E phi^2 = 1.
    found = expectations_high_precision(activation("selu"), FUNCTIONALS, 30)
    assert abs(found["mean"][0]) < 1e-29
    assert abs(found["second"][0] - 1) < 1e-29
    assert abs(found["slope second"][0] - mpmath.mpf("1.0715749925")) < 1e-10


def test_precision_settings_are_left_alone():
    before = mpmath.mp.prec, mpmath.mp.dps, np.geterr()
    expectations_high_precision(activation("elu"), FUNCTIONALS, 40)
    convergence(activation("elu"), "value")
    assert (mpmath.mp.prec, mpmath.mp.dps, np.geterr()) == before


def test_a_bump_between_coarse_nodes_is_not_missed():
    # sqrt(pi) w/sqrt(2 pi) p(c) to first order in the width w
    phi = activation("exp(-((x-2.117)*1000)**2/2)")
    exact = 1e-3 / math.sqrt(1 + 1e-6) * math.exp(-(2.117**2) / 2 / (1 + 1e-6))
    assert expectations(phi, FUNCTIONALS)["mean"].value == pytest.approx(exact, rel=1e-13)
    assert float(expectations_high_precision(phi, FUNCTIONALS, 20)["mean"][0]) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize(
    ("formula", "order", "verdict", "place"),
    [
        ("tanh(x)", "value", "converges", ""),
        ("x**9", "slope", "converges", ""),
        ("exp(x**2/4)", "value", "diverges", "-oo"),
        ("exp(x**2/5)", "value", "converges", ""),
        ("exp(0.2499*x**2)", "slope", "converges", ""),
        ("exp(x**2/4)/(1+x**2)", "value", "converges", ""),  # the density's rate, and 1/z^4 decides
        ("exp(x**3/10**6)", "value", "diverges", "oo"),  # looks harmless up to x = 250000
        ("exp(10**5*x)", "value", "converges", ""),  # looks hopeless up to x = 400000
        ("exp(exp(x))", "value", "diverges", "oo"),
        ("exp(-exp(x))", "value", "converges", ""),
        ("x*tanh(exp(x))", "slope", "converges", ""),
        ("sqrt(abs(x))", "value", "converges", ""),
        ("sqrt(abs(x))", "slope", "diverges", "0"),
        ("abs(x)**0.75", "slope", "converges", ""),
        ("abs(x-1)**0.51", "slope", "converges", ""),
        ("log(abs(x))", "value", "converges", ""),
        ("log(abs(x))", "slope", "diverges", "0"),
        ("1/x", "value", "diverges", "0"),
        ("sin(x)/x", "slope", "converges", ""),
        ("x*log(abs(x))", "slope", "converges", ""),
        ("sqrt(abs(x))/sqrt(1+log(abs(x))**2)", "slope", "undecided", "0"),  # 1/(x log^2 x) converges, barely
    ],
)
def test_convergence(formula, order, verdict, place):
    assert convergence(activation(formula), order) == Convergence(verdict, place)


def test_convergence_depends_on_the_power():
    phi = activation("exp(x**2/5)")
    assert convergence(phi, "value", 2).verdict == "converges"
    assert convergence(phi, "value", 4).verdict == "diverges"


@pytest.mark.parametrize("name", catalog.names())
def test_catalog_moments_are_finite(name):
    assert convergence(activation(name), "value").verdict == "converges"
    assert convergence(activation(name), "slope").verdict == "converges"


def test_divergence_shows_as_an_infinite_error():
    assert expectations(activation("exp(x**2/4)"), FUNCTIONALS)["second"].error == math.inf
    assert expectations(activation("sqrt(abs(x))"), FUNCTIONALS)["slope second"].error == math.inf
    undefined = expectations(activation("sqrt(x)"), FUNCTIONALS)["mean"]
    assert math.isnan(undefined.value)
    assert undefined.error == math.inf
    assert expectations_high_precision(activation("log(abs(x))"), FUNCTIONALS, 20)["slope second"][1] == mpmath.inf


def test_misuse_is_refused():
    with pytest.raises(UsageError, match="digits"):
        expectations_high_precision(activation("tanh"), FUNCTIONALS, 0)
    with pytest.raises(UsageError, match="deviation"):
        expectations(activation("tanh"), FUNCTIONALS, deviation=0.0)


def test_pieces_where_the_density_is_small_are_integrated_to_fewer_digits():
    """Moments of floor(x) to 30 digits, piece by piece, against sums of normal probabilities."""
    with mpmath.workdps(45):
        square = {"square": lambda _z, value, _slope: value**2}
        found = expectations_high_precision(activation("floor(x)"), square, 30)["square"]
        true = mpmath.fsum(k * k * (mpmath.ncdf(k + 1) - mpmath.ncdf(k)) for k in range(-16, 16))
        assert abs(found[0] - true) < 1e-30
