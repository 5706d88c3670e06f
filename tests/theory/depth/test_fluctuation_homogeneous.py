"""The law of gradient ratios for homogeneous activations: its closed forms, a discretized generator, simulations."""

import math

import numpy as np
import pytest
from scipy import linalg, special

from gpn.experiment.cells import spread
from gpn.sampling.sampler import sample
from gpn.statistics.limits import Verdict, equivalent, lower_limit, upper_limit
from theory.activations.specification import activation
from theory.depth.fluctuation import log_ratio_law, spread_probability, spread_quantile
from theory.depth.homogeneous import characteristic_function, log_ratio_variance, standard_quantiles
from theory.normalization.normalize import normalize


def relu_law(width, depth):
    return log_ratio_law(normalize(activation("relu"), "plus"), width, depth)


@pytest.fixture(scope="module")
def discretized():
    """Eigenvalues, eigenvectors, grid and stationary law of the generator 2 d^2 + (1 - e^u) d by finite differences."""
    u, step = np.linspace(-30, 4.5, 1500, retstep=True)
    weight = np.exp(u / 2 - np.exp(u) / 2)
    middle = np.exp((u[:-1] + u[1:]) / 4 - np.exp((u[:-1] + u[1:]) / 2) / 2)
    flux = 2 * middle / step**2
    diagonal = (np.append(flux, 0) + np.append(0, flux)) / weight
    values, vectors = linalg.eigh_tridiagonal(diagonal, -flux / np.sqrt(weight[:-1] * weight[1:]))
    return values, vectors, u, weight / weight.sum()


@pytest.mark.parametrize("time", [0.1, 0.7, 3.0, 12.0])
def test_variance_against_a_discretized_generator(discretized, time):
    values, vectors, u, law = discretized
    components = vectors.T @ (np.sqrt(law) * u)
    expected = 2 * components**2 @ -np.expm1(-values * time)
    assert float(log_ratio_variance(time)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("time", [0.1, 0.7, 3.0, 12.0])
def test_characteristic_function_against_a_discretized_generator(discretized, time):
    values, vectors, u, law = discretized
    t = np.array([0.1, 0.5, 1.0, 2.0])
    components = vectors.T @ (np.sqrt(law)[:, None] * np.exp(1j * np.outer(u, t)))
    expected = (np.abs(components) ** 2 * np.exp(-values * time)[:, None]).sum(axis=0)
    np.testing.assert_allclose(characteristic_function(t, time), expected, atol=2e-3)


def test_limits_of_the_variance():
    small = np.array([1e-6, 1e-4])
    np.testing.assert_allclose(log_ratio_variance(small), 4 * small - 2 * small**2, rtol=1e-6)
    assert float(log_ratio_variance(1e4)) == pytest.approx(np.pi**2, rel=1e-6)
    times = np.linspace(0, 30, 200)
    assert (np.diff(log_ratio_variance(times)) > 0).all()


@pytest.mark.parametrize("time", [0.05, 0.5, 5.0])
def test_characteristic_function_has_the_variance_as_its_curvature(time):
    step = 1e-3
    (value,) = characteristic_function(np.array([step]), time)
    assert 2 * (1 - value) / step**2 == pytest.approx(float(log_ratio_variance(time)), rel=1e-4)


def test_quantiles_at_both_ends_of_time_and_their_symmetry():
    levels = (0.01, 0.2, 0.5, 0.8, 0.99)
    table = standard_quantiles(levels)
    np.testing.assert_allclose(table[0], special.ndtri(levels), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(table[1], table[0], rtol=2e-3, atol=1e-9)
    saturated = table[-1] * np.pi  # P(Y <= y) = (2/pi) arctan(e^(y/2))
    np.testing.assert_allclose(2 / np.pi * np.arctan(np.exp(saturated / 2)), levels, rtol=1e-12)
    np.testing.assert_allclose(table, -table[:, ::-1], atol=1e-6)


def walk(width, depth, trials, seed):
    """The recursion of the docs written out: last value and running maximum of |Y|."""
    rng = np.random.default_rng(seed)
    zeta, y, largest = rng.standard_normal(trials) ** 2, np.zeros(trials), np.zeros(trials)
    for _ in range(depth - 1):
        y += (zeta * np.exp(-y) - 1) / width + 2 / math.sqrt(width) * rng.standard_normal(trials)
        np.maximum(largest, np.abs(y), out=largest)
    return y, largest


def test_law_against_the_walk():
    """4.5 standard errors, and 1 % for steps that are not infinitely small: a false alarm has probability 1e-4."""
    law, trials = relu_law(1024, 200), 100_000
    y, largest = walk(1024, 200, trials, 3)
    assert y.var() == pytest.approx(law.variance[0], rel=0.01 + 4.5 * math.sqrt(2 / trials))
    assert abs(y.mean()) < 4.5 * y.std() / math.sqrt(trials)
    for epsilon in (0.5, 1.0, 2.0, 3.0):
        p = spread_probability(law, epsilon)
        assert abs((largest >= epsilon).mean() - p) < 4.5 * math.sqrt(p * (1 - p) / trials) + 1e-4
    for level, quantile in zip((0.05, 0.75, 0.99), law.quantiles([0.05, 0.75, 0.99])[0], strict=True):
        assert (y <= quantile).mean() == pytest.approx(level, abs=0.003)


def test_crossing_probability_is_converged(monkeypatch):
    law = relu_law(400, 60)
    found = [spread_probability(law, epsilon) for epsilon in (0.2, 1.0, 2.5)]
    monkeypatch.setattr("theory.depth.absorption._FINEST", 0.15)
    monkeypatch.setattr("theory.depth.homogeneous._COSINES", 48)
    assert found == pytest.approx([spread_probability(law, epsilon) for epsilon in (0.2, 1.0, 2.5)], rel=1e-4)


def test_scale_and_input_length_drop_out_of_the_ratio():
    law, scaled = relu_law(256, 30), log_ratio_law(activation("3*relu(x)"), 256, 30, q0=4.0)
    np.testing.assert_allclose(scaled.variance, law.variance, rtol=1e-12)
    assert spread_probability(scaled, 1.0) == pytest.approx(spread_probability(law, 1.0), rel=1e-5)
    np.testing.assert_allclose(scaled.gradient_mean - law.gradient_mean, math.log(4) + 30 * math.log(4.5), rtol=1e-12)


def check_networks(width, depth, trials, seed, slack):
    """Variances and means within 4.5 standard errors and a slack for the next order, spread by equivalence."""
    law = relu_law(width, depth)
    phi = normalize(activation("relu"), "plus")
    logs = 2 * sample(phi, width, depth, trials, np.random.Generator(np.random.SFC64(seed))).log_gradient_norms
    ratios = logs - logs[:, -1:]
    for layer in (0, depth // 2):
        excess = ((ratios[:, layer] - ratios[:, layer].mean()) ** 2).std() / ratios[:, layer].var()
        assert ratios[:, layer].var() == pytest.approx(
            law.variance[layer], rel=4.5 * excess / math.sqrt(trials) + slack
        )
        assert abs(ratios[:, layer].mean()) < 4.5 * ratios[:, layer].std() / math.sqrt(trials)
        gradients = logs[:, layer] - math.log(width)
        assert gradients.var() == pytest.approx(law.gradient_variance[layer], rel=4.5 * math.sqrt(2 / trials) + slack)
        error = 4.5 * gradients.std() / math.sqrt(trials) + slack * abs(law.gradient_mean[layer])
        assert abs(gradients.mean() - law.gradient_mean[layer]) < error
    spreads = spread(logs / 2)
    for p, margin in ((0.5, 0.2), (0.1, 0.6)):
        exceedances = int((spreads >= spread_quantile(law, p)).sum())
        limits = (float(limit(exceedances, trials, 1e-6)) for limit in (lower_limit, upper_limit))
        assert equivalent(*limits, p, 1 + margin) is Verdict.HOLDS


def test_relu_networks_of_width_512():
    """A false alarm has probability below 1e-4."""
    check_networks(512, 100, 3000, 5, 0.01)


@pytest.mark.slow
def test_deep_relu_networks_saturate_where_the_naive_sum_does_not():
    """n Var at width 128, depth 400: the finite sum says 1596, the diffusion 753; 4.5 standard errors and 5 %."""
    law = relu_law(128, 400)
    assert 4 * 399 == pytest.approx(1596)
    assert 128 * law.variance[0] == pytest.approx(753, abs=1)
    check_networks(128, 400, 3000, 2, 0.05)
