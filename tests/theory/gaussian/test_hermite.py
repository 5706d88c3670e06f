"""Hermite coefficients and the correlation map against closed forms, against mpmath and against each other."""

import json

import mpmath
import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermeval

from tests.oracles.hermite_digits import hermite_coefficients
from theory.activations.callable import CallableActivation
from theory.activations.catalog import build
from theory.activations.specification import activation
from theory.depth.correlation import correlation as correlation_map
from theory.errors import UsageError
from theory.gaussian.closed_form import closed_form
from theory.gaussian.hermite import (
    MAX_ORDER,
    correlation_slopes,
    hermite_spectrum,
    normalized_hermite,
)
from theory.normalization.normalize import normalize

SMOOTH = ["tanh", "gelu", "sin", "erf", "gaussian", "softplus", "hermite(5)"]
KINKED = ["relu", "elu", "selu", "abs", "leaky_relu(0.2)", "hard_tanh", "relu6"]
RHOS = [-1.0, -0.9, -0.3, 0.0, 0.5, 0.95, 1.0]


def relu_coefficient(k):
    """c_k of ReLU: c_k = (-1)^(k/2-1) (k-3)!!/sqrt(2 pi k!) for even k >= 2 (by parts, k twice)."""
    if k < 2 or k % 2:
        return {0: 1 / mpmath.sqrt(2 * mpmath.pi), 1: mpmath.mpf(1) / 2}.get(k, mpmath.mpf(0))
    return (-1) ** (k // 2 - 1) * mpmath.fac2(k - 3) / mpmath.sqrt(2 * mpmath.pi * mpmath.fac(k))


def erf_coefficient(k):
    """c_k of erf from arcsin(2 rho/3) * 2/pi = sum c_k^2 rho^k (Williams 1997), k odd."""
    if k % 2 == 0:
        return mpmath.mpf(0)
    j = (k - 1) // 2
    power = 2 / mpmath.pi * mpmath.binomial(2 * j, j) / mpmath.mpf(4) ** j / k * (mpmath.mpf(2) / 3) ** k
    return (-1) ** j * mpmath.sqrt(power)


@pytest.mark.parametrize(("name", "exact"), [("relu", relu_coefficient), ("erf", erf_coefficient)])
def test_coefficients_of_known_spectra(name, exact):
    order = 200
    spectrum = hermite_spectrum(build(name), order)
    reference = np.array([float(exact(k)) for k in range(order + 1)])
    assert np.all(np.abs(spectrum.coefficients - reference) <= spectrum.errors)
    assert spectrum.errors.max() < 1e-13


def test_a_hermite_polynomial_has_one_coefficient():
    spectrum = hermite_spectrum(build("hermite", 7), 30)
    assert np.all(np.abs(spectrum.coefficients - np.eye(31)[7]) <= spectrum.errors)
    assert abs(spectrum.slope_second_moment.value - 7) < 1e-12


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_high_precision_agrees(name):
    spectrum = hermite_spectrum(build(name), 12)
    digits = hermite_coefficients(build(name), 12, 30)
    gap = [abs(float(value - mpmath.mpf(rough))) for value, rough in zip(digits, spectrum.coefficients, strict=True)]
    assert np.all(gap <= spectrum.errors)
    if name == "relu":
        with mpmath.workdps(40):
            assert all(abs(value - relu_coefficient(k)) < mpmath.mpf(10) ** -29 for k, value in enumerate(digits))


def test_recursion_against_numpy():
    x = np.linspace(-3, 3, 7)
    rows = normalized_hermite(9, x)
    for k, row in enumerate(rows):
        direct = hermeval(x, np.eye(10)[k]) / np.sqrt(float(mpmath.fac(k)))
        np.testing.assert_allclose(row, direct, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", [*SMOOTH, *KINKED])
def test_identities(name):
    """Bessel's inequality at every order, and the sums themselves for smooth functions."""
    spectrum = hermite_spectrum(activation(name), 100)
    for tail in (spectrum.value_tail, spectrum.slope_tail):
        assert tail.value >= -tail.error
    if name in ("gelu", "sin", "erf", "gaussian", "hermite(5)"):
        assert abs(spectrum.value_tail.value) <= spectrum.value_tail.error + 1e-15
        assert abs(spectrum.slope_tail.value) <= spectrum.slope_tail.error + 1e-15
    exact = closed_form(activation(name))
    if exact is not None and exact.second_moment is not None:
        assert abs(spectrum.second_moment.value - float(exact.second_moment)) <= spectrum.second_moment.error


@pytest.mark.parametrize("name", ["gelu", "sin", "erf"])
def test_gpn_is_a_balance_of_the_spectrum(name):
    """GPN iff sum c_k^2 = sum k c_k^2 = 1, so c_0^2 = sum_{k >= 2} (k-1) c_k^2."""
    spectrum = hermite_spectrum(normalize(build(name)), 100)
    assert abs(spectrum.powers.sum() - 1) < 1e-12
    assert abs(np.arange(101) @ spectrum.powers - 1) < 1e-12
    assert abs(spectrum.gpn_balance.value) <= spectrum.gpn_balance.error + 1e-12
    assert abs(hermite_spectrum(build(name), 100).gpn_balance.value) > 1e-3


@pytest.mark.parametrize("name", [*SMOOTH, *KINKED, "step"])
def test_correlation_map_series_against_the_plane(name):
    phi = activation(name)
    values, errors = hermite_spectrum(phi, 120).correlation(RHOS)
    for rho, value, error in zip(RHOS, values, errors, strict=True):
        direct = correlation_map(phi, rho)
        assert direct.error < 1e-12
        assert abs(direct.value - value) <= error + direct.error


@pytest.mark.parametrize("rho", [*RHOS, 0.999])
def test_correlation_map_closed_forms(rho):
    """The arc-cosine kernel of degree 1 (Cho, Saul 2009) and the arcsine kernel (Williams 1997)."""
    angle = np.arccos(rho)
    arc_cosine = (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    arcsine = 2 / np.pi * np.arcsin(2 * rho / 3)
    for name, exact in (("relu", arc_cosine), ("erf", arcsine)):
        direct = correlation_map(build(name), rho)
        assert abs(direct.value - exact) <= direct.error + 1e-15
        value, error = hermite_spectrum(build(name), 60).correlation(rho)
        assert abs(value - exact) <= error


def test_slopes_of_the_correlation_map():
    first, second = correlation_slopes(build("sin"))
    assert abs(first.value - (1 + np.exp(-2)) / 2) <= first.error
    assert abs(second.value - (1 - np.exp(-2)) / 2) <= second.error
    assert correlation_slopes(build("elu"))[1].value < np.inf  # alpha = 1: the slope is continuous
    assert correlation_slopes(build("relu"))[1].value == np.inf
    assert correlation_slopes(build("step"))[0].value == np.inf
    gpn = correlation_slopes(normalize(build("tanh")))[0]
    assert abs(gpn.value - 1) <= gpn.error + 1e-14  # the edge of chaos
    step = 1e-4
    spectrum = hermite_spectrum(build("gelu"), 80)
    (low, middle), high = (spectrum.correlation([1 - 2 * step, 1 - step])[0], spectrum.correlation(1.0)[0])
    slopes = correlation_slopes(build("gelu"))
    assert (3 * high - 4 * middle + low) / (2 * step) == pytest.approx(slopes[0].value, abs=1e-7)


def test_python_functions_have_a_spectrum_too():
    phi = CallableActivation("sine", np.sin, np.cos)
    np.testing.assert_allclose(
        hermite_spectrum(phi, 20).coefficients, hermite_spectrum(build("sin"), 20).coefficients, atol=1e-15
    )


def test_a_jump_has_no_slope_moment():
    spectrum = hermite_spectrum(build("step"), 20)
    assert np.isnan(spectrum.slope_second_moment.value)
    assert spectrum.slope_second_moment.error == np.inf
    assert spectrum.to_dict()["slope_tail"] is None


def test_views_and_misuse():
    spectrum = hermite_spectrum(build("relu"), 10)
    frame = spectrum.to_frame()
    assert frame.shape == (11, 6)
    assert frame["second_moment_so_far"].iloc[-1] == pytest.approx(spectrum.powers.sum())
    json.dumps(spectrum.to_dict(), allow_nan=False)
    with pytest.raises(UsageError, match="order"):
        hermite_spectrum(build("relu"), MAX_ORDER + 1)
    with pytest.raises(UsageError, match="correlation"):
        spectrum.correlation(1.5)
