"""The O(L) samplers of deep positively homogeneous networks against vectors, matrices and closed forms."""

import mpmath
import numpy as np
import pytest
from scipy import stats

from gpn.engine.network import Network
from gpn.sampling.sampler import sample
from tests.oracles import homogeneous_law
from tests.oracles.homogeneous_law import sample_homogeneous_ratios, sample_relu_ratios
from theory.errors import UsageError

FALSE_ALARM = 1e-6  # of each test, all its comparisons together (Bonferroni)
SLOPES = [(1.0, 0.0), (1.0, 0.01), (1.0, 0.5), (0.7, -1.3), (0.0, 2.0)]


class Homogeneous:
    def __init__(self, p, m):
        self.p, self.m = p, m

    def value_and_slope(self, x):
        slope = np.where(x > 0, self.p, self.m)
        return slope * x, slope


def vector_ratios(p, m, width, depth, trials, rng, readout="random"):
    logs = sample(Homogeneous(p, m), width, depth, trials, rng, readout=readout).log_gradient_norms
    with np.errstate(invalid="ignore"):  # a dead network
        return 2 * (logs - logs[:, -1:])


def matrix_ratios(p, m, width, depth, trials, rng):
    """Networks with explicit matrices, one by one, from any input."""
    result = np.empty((trials, depth))
    for row in result:
        network = Network.random([width] * (depth + 1), Homogeneous(p, m), rng)
        forward = network.forward(rng.standard_normal((1, width)))
        norms = network.backward_norms(forward, rng.standard_normal((1, width))).gradient_norms[0]
        with np.errstate(invalid="ignore", divide="ignore"):
            row[:] = 2 * np.log(norms / norms[-1])
    return result


def same_law_p_value(first, second):
    """Two-sample tests of marginal and joint statistics of the living, and of the number of the dead."""
    dead = [np.isnan(z[:, 0]).sum() for z in (first, second)]
    table = [[dead[0], len(first) - dead[0]], [dead[1], len(second) - dead[1]]]
    p_values = [stats.fisher_exact(table).pvalue]
    living = [z[~np.isnan(z[:, 0])] for z in (first, second)]
    middle = first.shape[1] // 2
    for statistic in (
        lambda z: z[:, 0],
        lambda z: z[:, -2],
        lambda z: z[:, 0] - z[:, middle],
        lambda z: np.abs(z).max(axis=1),
        lambda z: z[:, 0] * z[:, -2],
        lambda z: z[:, -2] - z[:, 0] + 0.5 * z[:, middle],
    ):
        a, b = (np.round(statistic(z), 7) for z in living)  # equal but for rounding counts as equal
        p_values.append(stats.ks_2samp(a, b, method="asymp").pvalue)
    return min(1.0, len(p_values) * min(p_values))


@pytest.mark.parametrize("width", [1, 2, 3, 6, 40])
@pytest.mark.parametrize("readout", ["random", "aligned"])
@pytest.mark.parametrize(("p", "m"), SLOPES)
def test_same_law_as_vectors(p, m, readout, width):
    rng = np.random.default_rng([1, width])
    vectors = vector_ratios(p, m, width, 5, 6000, rng, readout)
    law = sample_homogeneous_ratios(p, m, width, 5, 20_000, rng, readout=readout)
    assert same_law_p_value(vectors, law) > FALSE_ALARM


@pytest.mark.parametrize(("p", "m"), [(1.0, 0.0), (1.0, 0.3)])
@pytest.mark.parametrize("width", [2, 5])
def test_same_law_as_matrices(p, m, width):
    rng = np.random.default_rng([2, width])
    matrices = matrix_ratios(p, m, width, 4, 1500, rng)
    assert same_law_p_value(matrices, sample_homogeneous_ratios(p, m, width, 4, 20_000, rng)) > FALSE_ALARM


@pytest.mark.parametrize("width", [1, 2, 3, 4, 10, 100])
def test_the_affine_recursion_of_relu_is_the_general_chain_without_the_lower_slope(width):
    rng = np.random.default_rng([3, width])
    depth = 3 if width < 4 else 20  # narrow networks of depth 20 are dead
    affine = sample_relu_ratios(width, depth, 20_000, rng)
    assert same_law_p_value(affine, sample_homogeneous_ratios(2.0, 0.0, width, depth, 20_000, rng)) > FALSE_ALARM


def test_a_lower_slope_near_0_is_close_to_relu():
    rng = np.random.default_rng(4)
    leaky = sample_homogeneous_ratios(1.0, 1e-5, 60, 20, 20_000, rng)
    assert same_law_p_value(leaky, sample_relu_ratios(60, 20, 20_000, rng)) > FALSE_ALARM


class WithHalfTheAlignment(homogeneous_law._ReLUStep):
    def __call__(self, alignment, rng):
        return super().__call__(0.5 * alignment, rng)


class WithoutTheCrossTerm(homogeneous_law._Step):
    """The component of v along t always has the sign of rho."""

    def __call__(self, alignment, rng):
        class Positive:
            binomial, standard_gamma = rng.binomial, rng.standard_gamma

            @staticmethod
            def standard_normal(size):
                return np.abs(rng.standard_normal(size))

        return super().__call__(alignment, Positive)


def test_the_same_test_catches_a_wrong_law(monkeypatch):
    rng = np.random.default_rng(5)
    for slopes, name, wrong in (
        ((1.0, 0.0), "_ReLUStep", WithHalfTheAlignment),
        ((1.0, 0.3), "_Step", WithoutTheCrossTerm),
    ):
        vectors = vector_ratios(*slopes, 6, 5, 6000, rng)
        monkeypatch.setattr(homogeneous_law, name, wrong)
        if slopes[1] == 0.0:
            law = sample_relu_ratios(6, 5, 20_000, rng)
        else:
            law = sample_homogeneous_ratios(*slopes, 6, 5, 20_000, rng)
        assert same_law_p_value(vectors, law) < FALSE_ALARM


@pytest.mark.parametrize("negative", [0.0, 0.2, 0.8])
def test_the_top_cosine_is_that_of_a_uniform_direction_for_every_slope(negative):
    """cos(D e, h)^2 ~ Beta(1/2, (n-1)/2) for uniform e and h, though D depends on h."""
    rng = np.random.default_rng(6)
    h, e = rng.standard_normal((2, 50_000, 7))
    d = np.where(h > 0, 1.0, negative) * e
    squares = (d * d).sum(axis=1)
    alive = squares > 0
    cosines = (d * h).sum(axis=1)[alive] ** 2 / (squares * (h * h).sum(axis=1))[alive]
    assert stats.kstest(cosines, stats.beta(0.5, 3.0).cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("negative", [0.2, 0.7])
@pytest.mark.parametrize("width", [4, 9])
def test_the_mean_one_layer_down_is_the_closed_form(width, negative):
    """E G_{L-1} = 1 + 2 (E a - 1)/n with E a a sum of integrals; 5.2 standard errors, false alarm 2e-7."""
    high, low = 2 / (1 + negative**2), 2 * negative**2 / (1 + negative**2)

    def excess(k):
        def integrand(b):
            density = b ** (mpmath.mpf(k) / 2 - 1) * (1 - b) ** (mpmath.mpf(width - k) / 2 - 1)
            return density * (high - low) ** 2 * b * (1 - b) / (low + (high - low) * b) ** 2

        mean = mpmath.quad(integrand, [0, 0.25, 0.5, 0.75, 1]) / mpmath.beta(k / 2, (width - k) / 2)
        return float(mean) * stats.binom(width, 0.5).pmf(k)

    exact = 1 + 2 * sum(excess(k) for k in range(1, width)) / width
    ratios = np.exp(sample_homogeneous_ratios(1.0, negative, width, 2, 400_000, np.random.default_rng(7))[:, 0])
    assert exact > 1.01
    assert abs(ratios.mean() - exact) < 5.2 * ratios.std() / np.sqrt(len(ratios))


@pytest.mark.parametrize("draw", [sample_relu_ratios, lambda *a: sample_homogeneous_ratios(0.0, 1.0, *a)])
def test_networks_die_with_the_exact_probability(draw):
    """No active neuron in one of L layers: 1 - (1 - 2^-n)^L."""
    ratios = draw(4, 6, 50_000, np.random.default_rng(8))
    dead = np.isnan(ratios)
    assert (dead.all(axis=1) == dead.any(axis=1)).all()
    exact = 1 - (1 - 2.0**-4) ** 6
    assert stats.binomtest(int(dead[:, 0].sum()), len(ratios), exact).pvalue > FALSE_ALARM
    assert np.isfinite(ratios[~dead[:, 0]]).all()


def test_sides_and_signs_and_scale_of_the_slopes_do_not_matter():
    draws = [
        sample_homogeneous_ratios(p, m, 7, 6, 20_000, np.random.default_rng(seed))
        for seed, (p, m) in enumerate([(1.0, 0.25), (0.25, 1.0), (-1.0, 0.25)])
    ]
    assert same_law_p_value(draws[0], draws[1]) > FALSE_ALARM
    assert same_law_p_value(draws[0], draws[2]) > FALSE_ALARM
    scaled = sample_homogeneous_ratios(4e200, 1e200, 7, 6, 20_000, np.random.default_rng(0))
    np.testing.assert_array_equal(scaled, draws[0])


@pytest.mark.parametrize("slopes", [(1.0, 1.0), (-2.0, 2.0)])
def test_isometries_have_no_fluctuation(slopes):
    assert (sample_homogeneous_ratios(*slopes, 5, 8, 100, np.random.default_rng(9)) == 0.0).all()


@pytest.mark.parametrize(("p", "m"), SLOPES[1:4])
def test_the_alignment_stays_a_squared_cosine(p, m):
    """G_l = rho_L^2/rho_l^2 >= rho_L^2, over 2000 layers at width 3: no drift by rounding, no nan."""
    ratios = sample_homogeneous_ratios(p, m, 3, 2000, 200, np.random.default_rng(10))
    assert np.isfinite(ratios).all()
    top = homogeneous_law._random_alignment(3, 200, np.random.default_rng(10))
    assert (ratios.min(axis=1) >= np.log(top) - 1e-9).all()


def test_a_generator_gives_the_same_numbers_again_and_blocks_do_not_show():
    size = homogeneous_law.BLOCK_TRIALS
    first, second = (sample_relu_ratios(50, 3, size + 5, np.random.default_rng(11)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(sample_relu_ratios(50, 3, size, np.random.default_rng(11)), first[:size])
    assert (first[:, -1] == 0.0).all()


def test_misuse_is_an_error():
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match="width"):
        sample_relu_ratios(0, 2, 2, rng)
    with pytest.raises(UsageError, match="depth"):
        sample_relu_ratios(3, 1.5, 2, rng)
    with pytest.raises(UsageError, match=r"numpy\.random\.default_rng"):
        sample_relu_ratios(3, 2, 2, 7)
    with pytest.raises(UsageError, match="both 0"):
        sample_homogeneous_ratios(0.0, 0.0, 3, 2, 2, rng)
    with pytest.raises(UsageError, match="nan"):
        sample_homogeneous_ratios(float("nan"), 0.0, 3, 2, 2, rng)
    with pytest.raises(UsageError, match="'random' or 'aligned'"):
        sample_homogeneous_ratios(1.0, 0.0, 3, 2, 2, rng, readout="loss")


def exceedance(width, depth, epsilon, trials, rng):
    ratios = sample_relu_ratios(width, depth, trials, rng)
    return float((~(np.abs(ratios).max(axis=1) < epsilon)).mean())


FIVE_PER_CENT = [(10, 1.0, 158), (10, 0.5, 625), (50, 1.0, 905), (50, 0.5, 3654), (200, 1.0, 3796)]


@pytest.mark.parametrize(("depth", "epsilon", "width"), FIVE_PER_CENT[:2])
def test_relu_width_with_five_per_cent_exceedances(depth, epsilon, width):
    """The width is right within 7 %, about 17 % of the probability or 8 standard errors of 40,000 networks."""
    rng = np.random.default_rng(12)
    assert exceedance(round(0.93 * width), depth, epsilon, 40_000, rng) > 0.05
    assert exceedance(round(1.07 * width), depth, epsilon, 40_000, rng) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "epsilon", "width"), FIVE_PER_CENT)
def test_relu_width_with_five_per_cent_exceedances_closely(depth, epsilon, width):
    """Within 3 %, about 7.5 % of the probability or 7 standard errors of 200,000 networks."""
    rng = np.random.default_rng(13)
    assert exceedance(round(0.97 * width), depth, epsilon, 200_000, rng) > 0.05
    assert exceedance(round(1.03 * width), depth, epsilon, 200_000, rng) < 0.05
