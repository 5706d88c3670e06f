"""The fluctuation law: its numbers, its finite sums, crossing probabilities, and the networks that it predicts."""

import math

import numpy as np
import pytest
from scipy import special

from gpn.experiment.cells import spread
from gpn.sampling.sampler import sample
from gpn.statistics.limits import Verdict, equivalent, lower_limit, upper_limit
from tests.oracles.spread_inverses import depth_for, epsilon_for, width_for
from tests.oracles.stable_covariance import stable_covariance
from theory.activations.specification import activation
from theory.depth import absorption
from theory.depth.alignment import alignments
from theory.depth.coefficients import DepthCoefficients, NoPrediction, depth_coefficients
from theory.depth.fluctuation import (
    aligned_profile,
    log_ratio_law,
    spread_probability,
    spread_quantile,
)
from theory.depth.length_map import depth_factors, length_map, length_map_slope, slope_map
from theory.errors import UsageError
from theory.gaussian.digits import expectations_high_precision
from theory.normalization.normalize import normalize

STABLE = [("tanh", "plus"), ("selu", "plus"), ("gelu", "minus"), ("elu", "plus"), ("relu", "minus"), ("sin", "plus")]


def normalized(name, root="plus"):
    return normalize(activation(name), root)


def stable_law(name, root, width, depth):
    return log_ratio_law(normalized(name, root), width, depth)


# ---------------------------------------------------------------------------------------- coefficients


@pytest.mark.parametrize(("name", "root"), STABLE)
def test_slopes_and_curvatures_are_derivatives_of_the_mean_field_maps(name, root):
    phi = normalized(name, root)
    numbers = depth_coefficients(phi)
    assert numbers.chi == pytest.approx(length_map_slope(phi).value, abs=1e-12)
    step = 1e-3
    for mapping, first, second in (
        (length_map, numbers.chi, numbers.length_curvature),
        (slope_map, numbers.kappa, numbers.backward_curvature),
    ):
        low, middle, high = (mapping(phi, q).value for q in (1 - step, 1.0, 1 + step))
        assert (high - low) / (2 * step) == pytest.approx(first, abs=2e-5)
        assert (high - 2 * middle + low) / step**2 == pytest.approx(second, abs=2e-5)


def test_coefficients_to_thirty_digits():
    phi = normalized("tanh")
    moments = expectations_high_precision(
        phi,
        {
            "f": lambda _z, value, _slope: value**2,
            "ff": lambda _z, value, _slope: value**4,
            "fs": lambda _z, value, slope: (value * slope) ** 2,
            "ss": lambda _z, _value, slope: slope**4,
            "fz": lambda z, value, _slope: (value * z) ** 2,
            "sz": lambda z, _value, slope: (slope * z) ** 2,
        },
        30,
    )
    f, ff, fs, ss, fz, sz = (moments[key][0] for key in ("f", "ff", "fs", "ss", "fz", "sz"))
    numbers = depth_coefficients(phi)
    chi, kappa = (fz - 1) / 2, (sz - 1) / 2
    exact = {"chi": chi, "kappa": kappa, "noise_covariance": fs - 1 - 2 * chi * kappa, "alignment_excess": fs - 1}
    exact |= {"length_noise": ff - f * f - 2 * chi**2, "backward_noise": 3 * (ss - 1) - 2 * kappa**2}
    assert numbers.error < 1e-11
    for name, value in exact.items():
        assert abs(getattr(numbers, name) - value) < 1e-14 + numbers.error, name


def test_closed_forms_of_homogeneous_functions():
    for slope in (0.0, 0.3, -0.5):
        phi = normalize(activation(f"relu(x) - {slope}*relu(-x)"), "plus")
        numbers = depth_coefficients(phi)
        variance = ((1 - slope**2) / (1 + slope**2)) ** 2
        assert numbers.homogeneous
        assert numbers.slope_variance == pytest.approx(variance, rel=1e-12)
        noises = [numbers.length_noise, numbers.backward_noise, numbers.noise_covariance, numbers.alignment_excess]
        assert noises == pytest.approx([3 * variance, 3 * variance, variance, variance], rel=1e-11)


# ---------------------------------------------------------------------------------------- the finite sums


@pytest.mark.parametrize(
    ("name", "root", "variance", "mean"),
    [("tanh", "plus", 195.95, -0.739), ("selu", "plus", 112.62, -0.3705), ("gelu", "minus", 317.54, -1.565)],
)
def test_reference_values_at_depth_100(name, root, variance, mean):
    law = stable_law(name, root, 1000, 100)
    assert 1000 * law.variance[0] == pytest.approx(variance, abs=0.006)
    assert 1000 * law.mean[0] / 100 == pytest.approx(mean, abs=6e-4)


def test_reference_values_of_the_length_and_of_the_slope_in_depth():
    law = stable_law("tanh", "plus", 1000, 100)
    numbers = law.coefficients
    assert law.length_variance[-1] == pytest.approx(0.77755, abs=1e-5)
    assert law.length_variance[-1] == pytest.approx(numbers.length_noise / (1 - numbers.chi**2), rel=1e-12)
    assert 1000 * (law.variance[10] - law.variance[11]) == pytest.approx(numbers.variance_per_layer, rel=1e-6)
    stationary = 1 + 2 * numbers.kappa / (1 - numbers.chi**2)
    assert alignments(numbers, 100)[0] == pytest.approx(stationary, rel=1e-12)


def literal_linear_map(numbers, depth, top, removed):
    """Rows: the sums for l = 1..L; columns: xi_1..xi_L, nu_1..nu_L. By running the recursion on each innovation."""
    rows = np.zeros((depth, 2 * depth))
    for column in range(2 * depth):
        xi, nu = np.zeros(depth + 1), np.zeros(depth + 1)
        (xi if column < depth else nu)[column % depth + 1] = 1
        eta = np.zeros(depth + 1)
        for layer in range(1, depth + 1):
            eta[layer] = numbers.chi * eta[layer - 1] + xi[layer]
        for layer in range(1, depth + 1):
            total = sum(numbers.kappa * eta[k - 1] + nu[k] for k in range(layer, top + 1))
            rows[layer - 1, column] = total + eta[layer - 1] - removed * eta[depth - 1]
    return rows


@pytest.mark.parametrize(("name", "root"), STABLE)
def test_variances_and_covariances_against_the_recursion_run_literally(name, root):
    law = stable_law(name, root, 500, 12)
    numbers = law.coefficients
    layer = [[numbers.length_noise, numbers.noise_covariance], [numbers.noise_covariance, numbers.backward_noise]]
    noise = np.kron(layer, np.eye(12)) / 500
    ratio = literal_linear_map(numbers, 12, 11, 1.0)
    gradient = literal_linear_map(numbers, 12, 12, 0.0)
    np.testing.assert_allclose(stable_covariance(law), ratio @ noise @ ratio.T, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(law.variance, np.diag(stable_covariance(law)), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(law.gradient_variance, np.diag(gradient @ noise @ gradient.T), rtol=1e-11)


@pytest.mark.parametrize(("name", "root"), [("tanh", "plus"), ("gelu", "minus")])
def test_means_against_the_nonlinear_recursion(name, root):
    """5 standard errors, two layers each: a false alarm has probability below 3e-6. Linear terms cancel exactly."""
    width, depth, trials = 4000, 20, 20_000
    law = stable_law(name, root, width, depth)
    n, rng = law.coefficients, np.random.default_rng(11)
    cov = np.array([[n.length_noise, n.noise_covariance], [n.noise_covariance, n.backward_noise]]) / width
    aligned = alignments(n, depth)
    eta, linear = np.zeros((2, depth, trials))
    logs, linear_logs = np.zeros((2, depth, trials))
    for layer in range(1, depth):
        xi, nu = rng.multivariate_normal([0, 0], cov, trials).T
        square = eta[layer - 1] ** 2 / 2 - 1 / width
        factor = (
            n.kappa * eta[layer - 1]
            + n.backward_curvature * square
            + (aligned[layer - 1] - 1) * n.alignment_excess / width
            + nu
        )
        logs[layer - 1] = np.log1p(factor)
        linear_logs[layer - 1] = n.kappa * linear[layer - 1] + nu
        eta[layer] = n.chi * eta[layer - 1] + n.length_curvature * square + xi
        linear[layer] = n.chi * linear[layer - 1] + xi
    for layer in (0, depth // 2):
        found = (logs - linear_logs)[layer:].sum(axis=0)
        found += np.log1p(eta[layer]) - np.log1p(eta[-1]) - linear[layer] + linear[-1]
        error = found.std() / math.sqrt(trials)
        assert error < 0.03 * abs(law.mean[layer])
        assert abs(found.mean() - law.mean[layer]) < 5 * error + 20 / width**1.5 * abs(law.mean[layer])


def test_an_input_off_the_shell_and_constants_with_four_digits_enter_the_mean():
    """Against the mean-field maps themselves; the quadratic response errs by the cube of the deviation."""
    phi, q0, depth = normalized("tanh"), 1.1, 6
    law = log_ratio_law(phi, 10**9, depth, q0)
    q = [q0]
    for _ in range(depth):
        q.append(length_map(phi, q[-1]).value)
    factors = [math.log(slope_map(phi, value).value) for value in q]
    for layer in range(1, depth + 1):
        exact = sum(factors[layer - 1 : depth - 1]) + math.log(q[layer - 1] / q[depth - 1])
        assert law.mean[layer - 1] == pytest.approx(exact, abs=1.5e-3)
        assert law.gradient_mean[layer - 1] == pytest.approx(
            sum(factors[layer - 1 : depth]) + math.log(q[layer - 1]), abs=1.5e-3
        )
    published = activation("1.4915*gelu(x) - 0.9097")
    (factor,) = depth_factors(published, [199])
    law = log_ratio_law(published, 10**9, 200)
    growth = math.log(factor.squared_gradient) - math.log(factor.squared_length)
    assert law.mean[0] == pytest.approx(growth, rel=2e-3)


# ---------------------------------------------------------------------------------------- the spread


@pytest.mark.parametrize(("name", "root"), STABLE)
def test_crossing_probability_against_simulation_of_the_gaussian_vector(name, root):
    """5 standard errors in 18 comparisons: a false alarm has probability 1e-5."""
    law = stable_law(name, root, 300, 25)
    root_covariance = np.linalg.cholesky(stable_covariance(law)[:-1, :-1])
    normals = np.random.default_rng(5).standard_normal((100_000, 24))
    largest = np.abs(normals @ root_covariance.T + law.mean[:-1]).max(axis=1)
    for p in (0.7, 0.2, 0.01):
        found = (largest >= spread_quantile(law, p)).mean()
        assert abs(found - p) < 5 * math.sqrt(p * (1 - p) / len(largest))


@pytest.mark.parametrize("epsilon", [0.05, 0.4, 1.0, 1.6])
@pytest.mark.parametrize(("name", "root", "depth"), [("tanh", "plus", 4), ("selu", "plus", 60), ("elu", "plus", 30)])
def test_crossing_probability_is_converged(monkeypatch, name, root, depth, epsilon):
    law = stable_law(name, root, 400, depth)
    found = spread_probability(law, epsilon)
    monkeypatch.setattr(absorption, "_FINEST", 0.16)
    monkeypatch.setattr("theory.depth.stable._HIDDEN_SPACING", 0.8)
    assert found == pytest.approx(spread_probability(law, epsilon), rel=5e-4, abs=1e-13)


def test_crossing_probability_lies_between_the_worst_layer_and_the_union():
    law = stable_law("gelu", "minus", 2000, 40)
    deviations = np.sqrt(law.variance[:-1])
    for epsilon in (0.3, 0.8, 1.5, 2.2, 2.6):
        single = special.ndtr(-(epsilon - law.mean[:-1]) / deviations)
        single = single + special.ndtr(-(epsilon + law.mean[:-1]) / deviations)
        assert (
            single.max() * (1 - 1e-6) - 1e-13
            <= spread_probability(law, epsilon)
            <= min(1, single.sum() * (1 + 1e-6)) + 1e-13
        )


def test_crossing_probability_of_a_simple_walk_of_three_steps_by_quadrature():
    steps = [absorption.LinearStep(0.0, 0.0, 0.0, 0.1)] * 3
    found = absorption.exit_probability(2.0, 1.0, np.linspace(-6, 6, 25), steps)
    nodes, weights = np.polynomial.legendre.leggauss(80)
    nodes, weights = 2 * nodes, 2 * weights
    density = np.exp(-0.5 * (nodes - 0.1) ** 2) / math.sqrt(2 * math.pi)
    kernel = np.exp(-0.5 * (nodes[:, None] - nodes - 0.1) ** 2) / math.sqrt(2 * math.pi)
    for _ in range(2):
        density = kernel @ (weights * density)
    assert found == pytest.approx(1 - weights @ density, rel=5e-5)


def test_two_layers_have_a_normal_ratio_and_one_layer_has_none():
    law = stable_law("tanh", "plus", 200, 2)
    z = (np.array([0.3, -0.3]) - law.mean[0]) / math.sqrt(law.variance[0])
    assert spread_probability(law, 0.3) == pytest.approx(special.ndtr(-z[0]) + special.ndtr(z[1]), rel=1e-12)
    alone = stable_law("tanh", "plus", 200, 1)
    assert spread_probability(alone, 0.3) == 0
    assert spread_quantile(alone, 0.5) == 0
    np.testing.assert_array_equal(alone.quantiles([0.1, 0.9]), [[0, 0]])


@pytest.mark.parametrize(
    ("depth", "epsilon", "width"),
    [(10, 1, 88), (10, 0.5, 341), (50, 1, 481), (50, 0.5, 1875), (200, 1, 1983), (200, 0.5, 7807)],
)
def test_widths_at_which_simulated_tanh_networks_spread_in_five_of_a_hundred(depth, epsilon, width):
    assert width_for(normalized("tanh"), depth, epsilon, 0.05) == pytest.approx(width, rel=0.05)


@pytest.mark.parametrize(("name", "root"), [("tanh", "plus"), ("selu", "plus"), ("relu", "plus")])
def test_width_depth_and_epsilon_are_inverse_to_one_another(name, root):
    phi = normalized(name, root)
    width = width_for(phi, 30, 0.8, 0.1)
    chance = [spread_probability(log_ratio_law(phi, n, 30), 0.8) for n in (width - 1, width)]
    assert chance[0] > 0.1 >= chance[1]
    assert depth_for(phi, width, 0.8, 0.1) == 30
    deeper = [spread_probability(log_ratio_law(phi, width, depth), 0.8) for depth in (30, 31)]
    assert deeper[0] <= 0.1 < deeper[1]
    epsilon = epsilon_for(phi, width, 30, 0.1)
    assert 0.79 < epsilon <= 0.8
    assert spread_probability(log_ratio_law(phi, width, 30), epsilon) == pytest.approx(0.1, rel=1e-5)


def test_bands_and_quantiles_are_those_of_normal_laws():
    law = stable_law("selu", "plus", 256, 9)
    bands = law.gradient_bands([0.05, 0.5, 0.95])
    assert bands.shape == (9, 3)
    np.testing.assert_allclose(bands[:, 1], law.gradient_mean / 2, rtol=1e-12)
    np.testing.assert_allclose(bands[:, 2] - bands[:, 1], 1.6448536 * np.sqrt(law.gradient_variance) / 2, rtol=1e-7)
    quantiles = law.quantiles([0.05, 0.5, 0.95])
    np.testing.assert_allclose(quantiles[:, 0], law.mean - 1.6448536 * np.sqrt(law.variance), rtol=1e-6, atol=1e-12)


# ---------------------------------------------------------------------------------------- where there is no law


@pytest.mark.parametrize(
    ("spec", "width", "depth", "reason"),
    [
        ("tanh", 256, 10, "not normalized"),
        ("step", 256, 10, "jumps"),
        ("exp(x^2/6)", 256, 10, "diverges"),
        ("relu(x) - relu(x)", 256, 10, "zero"),
    ],
)
def test_activations_without_a_law_say_why(spec, width, depth, reason):
    law = log_ratio_law(activation(spec), width, depth)
    assert isinstance(law, NoPrediction)
    assert reason in law.reason
    assert reason in width_for(activation(spec), depth, 0.5, 0.1).reason


def test_unstable_narrow_and_marginal_networks_say_why():
    unstable = normalized("gelu", "plus")
    assert "unstable (chi = 1.113" in log_ratio_law(unstable, 1024, 100).reason
    assert not isinstance(log_ratio_law(unstable, 10**5, 10), NoPrediction)
    assert "needs a width" in log_ratio_law(normalized("tanh"), 8, 10).reason
    assert "width of 10" in log_ratio_law(normalized("relu"), 8, 10).reason
    assert "away from 1" in log_ratio_law(normalized("tanh"), 256, 10, q0=1.5).reason
    marginal = DepthCoefficients(1.0, 1.0, 1.0, 0.1, 0.7, 1.4, -0.2, 0.1, 0.1, -0.2, 1e-15, homogeneous=False)
    assert "marginal" in log_ratio_law(marginal, 256, 10).reason
    assert "smaller" in depth_for(normalized("tanh"), 10**8, 3.0, 0.9).reason
    assert "widths" in width_for(normalized("tanh"), 2, 5.0, 0.9).reason


def test_linear_networks_do_not_fluctuate():
    for spec in ("x", "abs", "2*x"):
        law = log_ratio_law(activation(spec), 64, 30)
        assert not law.variance.any()
        assert spread_probability(law, 1e-3) == 0
        assert epsilon_for(activation(spec), 64, 30, 0.5) == 0


def test_misuse_is_refused():
    phi = normalized("tanh")
    law = log_ratio_law(phi, 256, 10)
    for call in (
        lambda: log_ratio_law(phi, 1, 10),
        lambda: log_ratio_law(phi, 256, 0),
        lambda: log_ratio_law(phi, 256, 10, q0=float("nan")),
        lambda: spread_probability(law, 0.0),
        lambda: spread_probability(law, float("nan")),
        lambda: spread_quantile(law, 1.0),
        lambda: law.quantiles([0.0]),
        lambda: law.gradient_bands([1.5]),
        lambda: width_for(phi, 1, 0.5, 0.1),
        lambda: aligned_profile(phi, 0),
    ):
        with pytest.raises(UsageError):
            call()


# ---------------------------------------------------------------------------------------- networks


def simulated(phi, width, depth, trials, seed, readout="random"):
    rng = np.random.Generator(np.random.SFC64(seed))
    return 2 * sample(phi, width, depth, trials, rng, readout=readout).log_gradient_norms


def check_against_networks(name, root, width, depth, trials, seed, tolerance):
    law = stable_law(name, root, width, depth)
    logs = simulated(normalized(name, root), width, depth, trials, seed)
    ratios = logs - logs[:, -1:]
    for layer in (0, depth // 2):
        assert ratios[:, layer].var() == pytest.approx(law.variance[layer], rel=tolerance)
        error = ratios[:, layer].std() / math.sqrt(trials)
        assert abs(ratios[:, layer].mean() - law.mean[layer]) < 4.5 * error
        gradients = logs[:, layer] - math.log(width)
        assert gradients.var() == pytest.approx(law.gradient_variance[layer], rel=tolerance)
        assert abs(gradients.mean() - law.gradient_mean[layer]) < 4.5 * gradients.std() / math.sqrt(trials)
    return law, spread(logs / 2)


@pytest.mark.parametrize(("name", "root"), [("tanh", "plus"), ("selu", "plus"), ("gelu", "minus")])
def test_networks_of_width_256(name, root):
    """Variances within 12 %, that is 4.6 standard errors; means within 4.5: a false alarm has probability 1e-4.

    The spread is tested for equivalence at level 1e-6 each.
    """
    law, spreads = check_against_networks(name, root, 256, 40, 3000, 3, 0.12)
    for p, margin in ((0.5, 0.2), (0.1, 0.6)):
        exceedances = int((spreads >= spread_quantile(law, p)).sum())
        limits = (float(limit(exceedances, len(spreads), 1e-6)) for limit in (lower_limit, upper_limit))
        assert equivalent(*limits, p, 1 + margin) is Verdict.HOLDS


@pytest.mark.slow
@pytest.mark.parametrize(("name", "root"), [("tanh", "plus"), ("selu", "plus"), ("gelu", "minus")])
def test_networks_of_width_1024_and_depth_100(name, root):
    """Variances within 3 %, that is 4.2 standard errors: with the means a false alarm has probability 5e-4."""
    law, spreads = check_against_networks(name, root, 1024, 100, 40_000, 8, 0.03)
    for p, margin in ((0.5, 0.05), (0.1, 0.15), (0.02, 0.4)):
        exceedances = int((spreads >= spread_quantile(law, p)).sum())
        limits = (float(limit(exceedances, len(spreads), 1e-3)) for limit in (lower_limit, upper_limit))
        assert equivalent(*limits, p, 1 + margin) is Verdict.HOLDS


def test_aligned_readout_grows_by_51_over_50_layers_of_relu():
    profile = aligned_profile(normalized("relu"), 50)
    np.testing.assert_allclose(profile.squared_signals, 1 + np.arange(50, -1, -1), rtol=1e-12)
    np.testing.assert_allclose(profile.squared_cosines, 1 / (1 + np.arange(50, -1, -1)), rtol=1e-12)
    assert profile.gradients[0] == pytest.approx(math.sqrt(51 / 2), rel=1e-12)


@pytest.mark.parametrize(("name", "root", "depth"), [("tanh", "plus", 10), ("gelu", "minus", 10), ("relu", "plus", 20)])
def test_aligned_readout_in_wide_networks(name, root, depth):
    """The mean of 200 networks of width 4096 within 3 %, more than 5 standard errors; the law errs by O(L/n)."""
    phi = normalized(name, root)
    logs = simulated(phi, 4096, depth, 200, 4, readout="aligned")
    found = np.exp((logs - logs[:, -1:]).mean(axis=0) / 2)
    np.testing.assert_allclose(found, aligned_profile(phi, depth).gradients, rtol=0.03)
