"""Gaussians conditioned on a sphere: closed forms, other routes to the same expectation, and simulation."""

import math

import mpmath
import numpy as np
import pytest
from scipy import stats

from theory.errors import UsageError
from theory.layer.conditioning import SMALLEST_WIDTH, log_chi_squared, log_sphere_mean, normal_nodes, tilt


def relu_sum(tilt_, width, q):
    """log E exp(2 t sum max(h,0)^2) in 40 digits: k positive coordinates share a Beta(k/2, (n-k)/2) of nq."""
    with mpmath.workdps(40):
        terms = [
            mpmath.binomial(width, k) * mpmath.hyp1f1(mpmath.mpf(k) / 2, mpmath.mpf(width) / 2, 2 * tilt_ * width * q)
            for k in range(width + 1)
        ]
        return mpmath.log(mpmath.fsum(terms) / mpmath.mpf(2) ** width)


@pytest.mark.parametrize(("width", "accuracy"), [(12, 2e-8), (16, 1e-11), (32, 1e-13), (64, 1e-13), (256, 1e-12)])
@pytest.mark.parametrize("q", [1.0, 0.7, 1.6])
@pytest.mark.parametrize("t", [0.1, 0.25, -0.4])
def test_relu_is_a_mixture_of_kummer_functions(width, accuracy, q, t):
    nodes = normal_nodes(math.sqrt(width * q), [0.0])
    mean = log_sphere_mean(nodes, 2 * t * np.maximum(nodes.points, 0) ** 2, width, q)
    assert abs(mean.log - float(relu_sum(t, width, q))) < accuracy
    assert mean.log <= mean.log_upper + 1e-12


@pytest.mark.parametrize("width", [12, 100, 10**4, 10**6])
@pytest.mark.parametrize("q", [0.8, 1.0, 3.0])
def test_a_function_of_the_radius_alone_is_a_constant(width, q):
    # Exact cancellation of numbers of the size of the width is what this asks for, so 1e-14 relative to it.
    nodes = normal_nodes(math.sqrt(width * q), panel=0.25)
    for slope in (-2.0, -0.1, 0.3, 0.45):
        mean = log_sphere_mean(nodes, slope * nodes.squares + 0.01, width, q)
        truth = width * (slope * q + 0.01)
        tolerance = 1e-8 if width == 12 else 1e-13 * (1 + abs(truth)) + 2e-15 * width
        assert abs(mean.log - truth) < tolerance


@pytest.mark.parametrize("width", [20, 300, 10**5])
def test_the_value_does_not_depend_on_how_the_nodes_are_cut(width):
    def mean(**options):
        nodes = normal_nodes(math.sqrt(1.1 * width), [1.0], **options)
        psi = 0.4 * np.tanh(nodes.points) + 0.2 * (nodes.points > 1.0)
        return log_sphere_mean(nodes, psi, width, 1.1).log

    assert mean() == pytest.approx(mean(panel=0.2, refine=[0.3]), abs=1e-12 * width + 1e-9)
    assert mean() == pytest.approx(mean(panel=0.7, order=30), abs=1e-12 * width + 1e-9)


def test_a_radius_beyond_the_sphere_changes_nothing():
    for radius in (np.sqrt(40), 8.0, 30.0):
        nodes = normal_nodes(radius, panel=0.25)
        value = log_sphere_mean(nodes, 0.3 * np.cos(nodes.points), 40).log
        assert value == pytest.approx(40 * 0.3 * math.exp(-0.5), abs=0.1)  # n E 0.3 cos z, up to O(1)
        if radius == np.sqrt(40):
            first = value
        assert value == pytest.approx(first, abs=1e-11)


@pytest.mark.parametrize("width", [12, 40])
def test_simulation_on_the_sphere(width):
    # The sample mean of exp(sum psi) lies within 5.5 standard errors: false alarm below 1e-7 for each of 2 widths.
    g = np.random.default_rng([3, width]).standard_normal((100_000, width))
    h = g * np.sqrt(1.3 * width / np.sum(g * g, axis=1, keepdims=True))
    values = np.exp(np.sum(0.2 * np.sin(h) + 0.1 * np.abs(h), axis=1) - 0.1 * width)
    nodes = normal_nodes(np.sqrt(1.3 * width), [0.0], panel=0.25)
    psi = 0.2 * np.sin(nodes.points) + 0.1 * np.abs(nodes.points) - 0.1
    truth = math.exp(log_sphere_mean(nodes, psi, width, 1.3).log)
    assert abs(values.mean() - truth) < 5.5 * values.std() / math.sqrt(len(values))


@pytest.mark.parametrize("width", [20, 60])
def test_a_forbidden_region_is_left_out(width):
    # All coordinates positive: 2^-n, whatever the radius.
    nodes = normal_nodes(math.sqrt(2.0 * width), [0.0], panel=0.25)
    psi = np.where(nodes.points > 0, 0.0, -np.inf)
    assert log_sphere_mean(nodes, psi, width, 2.0).log == pytest.approx(-width * math.log(2), abs=1e-9)
    impossible = log_sphere_mean(nodes, np.where(np.abs(nodes.points) < 1.0, 0.0, -np.inf), width, 2.0)
    assert impossible.log == -np.inf
    assert impossible.law is None


def test_the_tilted_law_has_the_mean_square_asked_for():
    nodes = normal_nodes(1000.0, [0.0])
    for q in (1e-3, 0.2, 1.0, 5.0, 400.0):
        for psi in (0.0 * nodes.points, 0.4 * nodes.squares * (nodes.points > 0), 5 * np.sin(nodes.points)):
            law = tilt(nodes, psi, q)
            assert law.probabilities @ nodes.squares == pytest.approx(q, rel=1e-9)
            assert law.probabilities.sum() == pytest.approx(1, abs=1e-12)
            weights = np.exp(nodes.log_weights + psi + law.mu * (nodes.squares - q) - law.log_normalizer)
            assert np.allclose(weights, law.probabilities, rtol=1e-8, atol=1e-300)


def test_the_chi_squared_density_is_that_of_scipy_and_of_mpmath():
    for width in (2, 7, 31, 32, 33, 500):
        for q in (0.5, 1.0, 2.2):
            expected = stats.chi2.logpdf(width * q, width)
            assert log_chi_squared(width, q) == pytest.approx(expected, rel=1e-12, abs=1e-11)
    with mpmath.workdps(40):
        half, q = mpmath.mpf(5 * 10**5), mpmath.mpf(1.01)
        truth = (half - 1) * mpmath.log(half * q) - half * q - mpmath.loggamma(half) - mpmath.log(2)
    assert log_chi_squared(10**6, 1.01) == pytest.approx(float(truth), abs=1e-9)


def test_misuse_is_refused():
    nodes = normal_nodes(5.0)
    with pytest.raises(UsageError, match="width"):
        log_sphere_mean(nodes, nodes.points, SMALLEST_WIDTH - 1)
    for wrong in (np.nan, np.inf):
        with pytest.raises(UsageError, match="psi"):
            log_sphere_mean(nodes, np.where(nodes.points > 1, wrong, 0.0), 20)
    with pytest.raises(UsageError, match="panel"):
        normal_nodes(-1.0)
