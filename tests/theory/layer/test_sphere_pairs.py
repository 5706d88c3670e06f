"""Variances of one layer at finite width: reference values, closed forms, literal integrals, simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate

from theory.activations import catalog
from theory.activations.callable import CallableActivation
from theory.activations.specification import activation
from theory.errors import UsageError
from theory.layer import pairs as sphere_pairs
from theory.layer.pairs import (
    backward_ratio_variance,
    eigenvalue,
    pair_moments,
    squared_length_variance,
)
from theory.layer.sphere import mean_squared_length, mean_squared_slope, sphere_expectations
from theory.normalization.normalize import normalize

TANH = normalize(activation("tanh"))
VARIANCES = {"length": squared_length_variance, "slope": backward_ratio_variance}


def square_of_value(_h, value, _slope):
    return value * value


def square_of_slope(_h, _value, slope):
    return slope * slope


@pytest.mark.parametrize(
    ("width", "length", "ratio"), [(16, 0.04129032988, 0.08005928088), (64, 0.01029810366, 0.02200773756)]
)
def test_reference_values_for_tanh(width, length, ratio):
    assert squared_length_variance(TANH, width).value == pytest.approx(length, abs=6e-12)
    assert backward_ratio_variance(TANH, width).value == pytest.approx(ratio, abs=6e-12)


@pytest.mark.parametrize("width", [2, 3, 4, 5, 16, 31, 32, 1000, 10**6])
@pytest.mark.parametrize("q", [0.2, 1.0])
def test_closed_forms_at_every_width(width, q):
    relu, exact = normalize(activation("relu")), 3 / (width + 2)
    for found, truth in (
        (squared_length_variance(relu, width, q), q * q * exact),
        (backward_ratio_variance(relu, width, q), exact),
    ):
        assert abs(found.value - truth) <= found.error
        assert found.error < 2e-12 * truth
    # phi = z^2, f = h^4: (1/n) (E h^8 - E h^4 h^4) + E h^4 h^4 - (E h^4)^2 from the moments of the sphere
    n = width
    fourth = 3 * n / (n + 2)
    scale = n**3 / ((n + 2) * (n + 4) * (n + 6))
    truth = q**4 * ((105 * scale + (n - 1) * 9 * scale) / n - fourth**2)
    found = squared_length_variance(activation("x**2"), width, q)
    assert abs(found.value - truth) <= found.error + 1e-14 * q**4 * fourth**2  # rounding of the truth itself
    assert found.error < 1e-12 * found.value


@pytest.mark.parametrize("width", [2, 3, 16, 100, 10**6])
def test_a_linear_function_has_no_variance_at_all(width):
    for phi in (
        activation("identity"),
        activation("3*x"),
        CallableActivation("minus", lambda x: -x, lambda x: 0 * x - 1),
    ):
        for variance in VARIANCES.values():
            found = variance(phi, width, 0.7)
            assert abs(found.value) <= found.error < 1e-11 / width


def literal(phi, width, order, q):
    """The variance from the density of two coordinates, straight from the formulas, by nested QUADPACK."""
    radius = math.sqrt(width * q)
    f = lambda t: float(phi.value_and_slope(np.array([radius * t]))[order][0]) ** 2  # noqa: E731
    ends = sorted(t / radius for t in phi.breakpoint_values if abs(t) < radius)
    constant = (width - 2) / (2 * math.pi)

    def inner(angle):
        short, points = math.cos(angle), [t for t in ends if abs(t) < math.cos(angle)]
        edges = [-math.pi / 2, *(math.asin(t / short) for t in points), math.pi / 2]
        return sum(
            integrate.quad(
                lambda eta: f(short * math.sin(eta)) * math.cos(eta) ** (width - 3), low, high, epsabs=1e-12
            )[0]
            for low, high in itertools.pairwise(edges)
        )

    outer = sorted(
        {
            -math.pi / 2,
            math.pi / 2,
            *(math.asin(t) for t in ends),
            *(s * math.acos(abs(t)) for t in ends for s in (1, -1)),
        }
    )
    pair = sum(
        integrate.quad(
            lambda angle: constant * f(math.sin(angle)) * math.cos(angle) ** (width - 2) * inner(angle),
            low,
            high,
            epsabs=1e-11,
        )[0]
        for low, high in itertools.pairwise(outer)
    )
    log_weight = math.lgamma(width / 2) - math.lgamma((width - 1) / 2) - 0.5 * math.log(math.pi)
    angles = sorted({-math.pi / 2, math.pi / 2, *(math.asin(t) for t in ends)})
    fourth = sum(
        integrate.quad(lambda a: f(math.sin(a)) ** 2 * math.exp(log_weight) * math.cos(a) ** (width - 2), low, high)[0]
        for low, high in itertools.pairwise(angles)
    )
    n = width
    if order == 0:
        return fourth / n + (1 - 1 / n) * pair - mean_squared_length(phi, n, q).value ** 2
    return 3 * fourth / (n + 2) + (n - 1) / (n + 2) * pair - mean_squared_slope(phi, n, q).value ** 2


@pytest.mark.parametrize(
    ("name", "width", "order"), [("gelu", 3, 0), ("hard_tanh", 4, 0), ("hard_tanh", 5, 1), ("softsign", 9, 0)]
)
def test_agrees_with_the_literal_double_integral(name, width, order):
    phi = activation(name)
    found = (squared_length_variance, backward_ratio_variance)[order](phi, width, 1.3)
    assert found.value == pytest.approx(literal(phi, width, order, 1.3), abs=2e-10)


@pytest.mark.parametrize("name", ["tanh", "relu_squared", "gelu", "hard_tanh", "softplus", "threshold"])
def test_series_and_plane_agree_where_both_apply(name, monkeypatch):
    phi = activation(name)
    for width in (32, 40):
        series = [variance(phi, width) for variance in VARIANCES.values()]
        with monkeypatch.context() as patch:
            patch.setattr(sphere_pairs, "_SERIES_FROM", 100)
            plane = [variance(phi, width) for variance in VARIANCES.values()]
        for a, b in zip(series, plane, strict=True):
            assert abs(a.value - b.value) <= a.error + b.error
            assert a.error + b.error < 1e-11 * (1e-3 + abs(a.value))


@pytest.mark.parametrize("name", catalog.names())
def test_twelve_digits_for_every_named_activation(name):
    """A small error at every width, and 0 <= Var of an average <= the variance of one term (3 times it for B)."""
    phi = activation(name)
    cases = [(2, 1.0), (3, 0.3), (3, 4.0), (4, 1.0), (5, 1.0), (16, 1.0), (1000, 0.3), (1000, 1.0), (1000, 4.0)]
    for width, q in cases:
        for order, variance in enumerate(VARIANCES.values()):
            found = variance(phi, width, q)
            powers = {str(k): lambda _h, value, slope, order=order, k=k: (value, slope)[order] ** k for k in (2, 4)}
            moments = sphere_expectations(phi, width, powers, q)
            fourth, single = moments["4"].value, moments["4"].value - moments["2"].value ** 2
            assert found.error <= 3e-12 * max(1e-3 * fourth / width, found.value) + 1e-28
            assert -found.error <= found.value <= (1 + 2 * order) * single + found.error + 1e-14 * fourth


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "hard_tanh"])
@pytest.mark.parametrize("width", [2, 3, 7, 40])
def test_simulation(name, width):
    # The standard error of a sample variance from the fourth moment; two-sided 5.5 of them: a false alarm has
    # probability 4e-8 for a normal estimate, 1e-6 over 32 comparisons; a skewed one may take it to 1e-4.
    phi, rng = activation(name), np.random.default_rng(20260202)
    g = rng.standard_normal((400_000 // width, width))
    h = math.sqrt(1.3 * width) * g / np.linalg.norm(g, axis=1, keepdims=True)
    u = rng.standard_normal(h.shape)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    value, slope = phi.value_and_slope(h)
    for sample, exact in (
        ((value**2).mean(axis=1), squared_length_variance(phi, width, 1.3)),
        (((slope * u) ** 2).sum(axis=1), backward_ratio_variance(phi, width, 1.3)),
    ):
        squares = (sample - sample.mean()) ** 2
        assert abs(squares.mean() - exact.value) <= 5.5 * squares.std() / math.sqrt(len(sample))


def test_first_order_in_one_over_the_width():
    # n Var q_1 -> Var phi^2 - 2 chi^2, n Var B -> 3 Var s - 2 kappa^2, both with an error of order 1/n
    from theory.gaussian.expectations import expectations

    found = expectations(
        TANH,
        {
            "f": lambda _z, v, _s: v**4,
            "chi": lambda z, v, s: v * s * z,
            "s": lambda _z, _v, s: s**4,
            "kappa": lambda z, _v, s: s**2 * (z * z - 1) / 2,
        },
    )
    length = found["f"].value - 1 - 2 * found["chi"].value ** 2
    ratio = 3 * (found["s"].value - 1) - 2 * found["kappa"].value ** 2
    gaps = [
        (n * squared_length_variance(TANH, n).value - length, n * backward_ratio_variance(TANH, n).value - ratio)
        for n in (10**3, 10**4, 10**5)
    ]
    for (a, b), (c, d) in itertools.pairwise(gaps):
        assert a / c == pytest.approx(10, rel=0.02)
        assert b / d == pytest.approx(10, rel=0.02)


def test_two_functionals_and_eigenvalues():
    # E h_1^2 h_2^2 = n/(n+2), so the covariance is -2/(n+2)
    moments = pair_moments(activation("identity"), 50, square_of_value)
    mean = mean_squared_length(activation("identity"), 50)
    error = moments.covariance.error + 3 * mean.error + 1e-15
    assert abs(moments.covariance.value + mean.value**2 - 50 / 52) <= error < 1e-13
    assert abs(moments.covariance.value + 2 / 52) <= moments.covariance.error < 1e-14
    mixed = pair_moments(TANH, 20, square_of_value, square_of_slope)
    swapped = pair_moments(TANH, 20, square_of_slope, square_of_value)
    assert abs(mixed.pair.value - swapped.pair.value) <= mixed.pair.error + swapped.pair.error
    odd = pair_moments(activation("identity"), 9, lambda h, _v, _s: h, lambda h, _v, _s: h**3)
    assert abs(odd.pair.value) <= odd.pair.error
    assert eigenvalue(2, 5) == -1.0
    assert eigenvalue(100, 1) == -1 / 99


def test_singular_slopes():
    # s = (9/16)/sqrt|h|, s^2 = (81/256)/|h|: not integrable at any width, so there is no variance
    found = backward_ratio_variance(activation("abs(x)**0.75"), 5)
    assert not np.isfinite(found.error)
    # |h|^0.9: s = 0.81 |h|^-0.2. On the circle of n = 2, h = R (cos, sin):
    exponent, radius = -0.2, math.sqrt(2)
    beta = lambda a, b: math.gamma(a) * math.gamma(b) / math.gamma(a + b)  # noqa: E731
    moment = lambda a, b: radius ** (a + b) * beta((a + 1) / 2, (b + 1) / 2) / math.pi  # noqa: E731
    square, pair, mean = moment(2 * exponent, 0), moment(exponent, exponent), moment(exponent, 0)
    truth = 0.81**2 * (3 * square / 4 + pair / 4 - mean**2)
    found = backward_ratio_variance(activation("abs(x)**0.9"), 2)
    assert abs(found.value - truth) <= found.error < 1e-9


def test_misuse_is_refused():
    for variance in VARIANCES.values():
        with pytest.raises(UsageError, match="width"):
            variance(TANH, 1)
        with pytest.raises(UsageError, match="q"):
            variance(TANH, 8, 0.0)
