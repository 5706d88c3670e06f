"""What a prediction allows for: the margin against recomputed laws, wrong laws and networks."""

import numpy as np
import pytest
from scipy import stats

from gpn.experiment.cells import spread
from gpn.sampling.sampler import sample
from gpn.statistics.limits import Verdict, lower_limit, upper_limit, within
from theory.activations.catalog import build
from theory.depth.absorption import brownian_exit, brownian_level, brownian_stay
from theory.depth.fluctuation import log_ratio_law, prediction_margin, spread_quantile
from theory.normalization.normalize import normalize


def law_of(name, width, depth):
    return log_ratio_law(normalize(build(name)), width, depth)


def level_range(law, p):
    return [brownian_level(end) for end in prediction_margin(law, p)]


@pytest.mark.parametrize("level", [0.3, 0.7, 1.0, 1.6, 3.0])
def test_the_two_series_of_brownian_motion_agree(level):
    """One is a sum over reflections, the other over eigenfunctions."""
    assert brownian_exit(level) + brownian_stay(level) == pytest.approx(1, abs=1e-14)
    assert brownian_level(brownian_exit(level)) == pytest.approx(level, rel=1e-9)


def test_rare_and_nearly_certain_levels():
    assert brownian_exit(12.0) == pytest.approx(4 * stats.norm.sf(12.0), rel=1e-12)
    assert brownian_stay(0.1) == pytest.approx(4 / np.pi * np.exp(-(np.pi**2) / 0.08), rel=1e-12)
    for p in (1e-300, 1e-12, 0.5, 1 - 1e-16):
        assert 0.18 < brownian_level(p) < 38


@pytest.mark.parametrize("name", ["tanh", "relu"])
@pytest.mark.parametrize("p", [0.9, 0.3, 0.01])
def test_the_margin_shrinks_like_one_over_the_width(name, p):
    """Of tanh with omega = 1.456, of ReLU with omega = 3; the numerical error of p is allowed for beside it."""
    omega = {"tanh": 1.45564, "relu": 3.0}[name]
    for width in (64, 1024):
        low, high = prediction_margin(law_of(name, width, 20), p)
        delta = 0.5 * omega / width * (1 + brownian_level(p) ** 2)
        ends = [brownian_exit(brownian_level(p) * np.exp(sign * delta)) for sign in (1, -1)]
        error = 5e-4 * p + 1e-9
        assert (low, high) == pytest.approx((ends[0] - error, ends[1] + error), rel=1e-4)


@pytest.mark.parametrize(("name", "width", "depth"), [("tanh", 256, 20), ("selu", 1024, 100), ("relu", 256, 10)])
@pytest.mark.parametrize("p", [0.9, 0.3, 0.01])
def test_it_is_what_another_variance_would_give(name, width, depth, p):
    """Brownian motion stands in for the law: the probability at a tolerance that is moved by delta, to two fifths."""
    law = law_of(name, width, depth)
    epsilon = spread_quantile(law, p)
    for sign in (-1, 1):
        exact = law.spread_probability(epsilon * np.exp(sign * 0.02))
        near = brownian_exit(brownian_level(p) * np.exp(sign * 0.02))
        assert (near - p) == pytest.approx(exact - p, rel=0.4)


def test_an_isometry_and_an_impossible_event_allow_nothing():
    assert prediction_margin(law_of("abs", 64, 10), 0.0) == (0.0, pytest.approx(1e-9))
    assert prediction_margin(law_of("tanh", 64, 10), 1.0)[1] == 1.0


@pytest.mark.parametrize("name", ["tanh", "selu", "gelu", "silu", "relu"])
@pytest.mark.parametrize("p", [0.9, 0.5, 0.1])
def test_a_variance_ten_percent_too_large_is_missed_at_width_1024(name, p):
    """By so many trials, with limits of error 1e-4, in 99 % of cases: from exact binomial probabilities."""
    law = law_of(name, 1024, 50)
    epsilon, trials = spread_quantile(law, p), 100_000
    wrong = law.spread_probability(epsilon / np.sqrt(1.1))
    for k in (stats.binom.ppf([0.005, 0.995], trials, p)).astype(int):
        limits = float(lower_limit(k, trials, 1e-4)), float(upper_limit(k, trials, 1e-4))
        assert within(*limits, *prediction_margin(law, wrong)) is Verdict.VIOLATED
        assert within(*limits, *prediction_margin(law, p)) is not Verdict.VIOLATED


@pytest.mark.parametrize("name", ["tanh", "selu", "gelu", "silu", "relu", "softplus", "sin"])
@pytest.mark.parametrize(("width", "depth"), [(48, 4), (64, 30)])
def test_true_networks_are_not_missed(name, width, depth):
    """Limits of error 1e-6: were the truth at the end of the margin, a false alarm of 1e-6 in each of 42 cases."""
    law, trials = law_of(name, width, depth), 10_000
    rng = np.random.Generator(np.random.SFC64(11))
    seen = spread(sample(normalize(build(name)), width, depth, trials, rng).log_gradient_norms)
    for p in (0.5, 0.1, 0.01):
        k = int((seen >= spread_quantile(law, p)).sum())
        limits = float(lower_limit(k, trials, 1e-6)), float(upper_limit(k, trials, 1e-6))
        assert within(*limits, *prediction_margin(law, p)) is not Verdict.VIOLATED
