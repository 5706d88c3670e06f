"""The bound of the exponential moment of the growth, and the limits that it gives."""

import numpy as np
import pytest

from gpn.experiment.cells import Deep
from gpn.verification.engine import growth
from gpn.verification.engine.trace import Trace, trace
from theory.activations.catalog import build
from theory.depth.alignment import conditional_growth
from theory.normalization.normalize import normalize


def with_cosine(phi, h, cosine, draws, rng):
    """Layers with one preactivation h and directions of one cosine with phi(h), uniform apart from that."""
    x, slope = phi.value_and_slope(h)
    unit = x / np.linalg.norm(x)
    g = rng.standard_normal((draws, len(h)))
    g -= (g @ unit)[:, None] * unit
    e = cosine * unit + np.sqrt(1 - cosine**2) * g / np.linalg.norm(g, axis=1, keepdims=True)
    many = [np.broadcast_to(v, (draws, len(h)))[:, None, :] for v in (h, x, slope)]
    d = slope * e
    ones = np.ones((draws, 2))
    return Trace(many[0], e[:, None], d[:, None], many[1], many[2], ones, ones[:, :1], True, True)


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
@pytest.mark.parametrize("cosine", [0.0, 0.1, 0.7, -0.4])
def test_the_difference_has_mean_zero(name, cosine):
    """Five standard errors: a false alarm of 6e-7 in each of 12 cases."""
    phi = normalize(build(name))
    h = np.random.default_rng(1).standard_normal(9)
    seen = with_cosine(phi, h, cosine, 20_000, np.random.default_rng(2))
    difference, *_ = growth.excess(seen)
    mean = ((seen.d**2).sum(axis=-1) / (seen.e**2).sum(axis=-1)).mean()
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(difference.size) + 1e-12
    assert mean - difference.mean() == pytest.approx(float(conditional_growth(h, phi, cosine)), rel=1e-12)


@pytest.mark.parametrize("cosine", [0.0, pytest.param(0.3, marks=pytest.mark.slow), -0.6])
@pytest.mark.parametrize("size", [0.2, pytest.param(1.0, marks=pytest.mark.slow), 3.0])
def test_the_moment_bound_holds_and_is_sharp(cosine, size):
    """The bound is compared with the moment, to five standard errors; in wide layers it is within 5 % of log E."""
    phi = normalize(build("tanh"))
    for width, slack in ((5, 4.0), (200, 0.05)):
        h = np.random.default_rng(3).standard_normal(width)
        seen = with_cosine(phi, h, cosine, 40_000, np.random.default_rng(4))
        difference, *_ = growth.excess(seen)
        exponent = min(size / difference.std(), 0.4 * width / growth_range(seen))
        for sign in (1, -1):
            law = growth._law(seen)
            bound = float(growth._log_moment(law, np.full((1, 1), cosine), np.full((1, 1), sign * exponent))[0, 0])
            values = np.exp(sign * exponent * difference)
            error = 5 * values.std() / np.sqrt(values.size) / values.mean()
            log = float(np.log(values.mean()))
            assert log - error <= bound
            assert bound <= log + error + slack * max(log, 0.0)


def growth_range(seen):
    squares = seen.slope[0, 0] ** 2
    return float(np.ptp(squares))


@pytest.mark.parametrize("method", ["matrix-free", "dense"])
def test_limits_cover_a_true_engine_and_find_a_small_error(method):
    phi = normalize(build("tanh"))
    networks = Deep(phi, 16, 8, "haar", method=method)
    true = trace(networks, np.random.default_rng(5), 300)
    difference, above, below, exponent = growth.excess(true)
    limits = growth.limits(difference, above, below, float(exponent[0, 0]), 1e-4)
    assert limits[0] < 0 < limits[1]
    assert limits[1] - limits[0] < 0.2
    shifted = growth.limits(difference + 0.15, above, below, float(exponent[0, 0]), 1e-4)
    assert shifted[0] > 0


def test_the_error_of_the_limits_is_within_their_level():
    """In 400 true runs at alpha = 0.1 at most 68 lie beyond a limit of one side (false alarm 1e-5 were it 0.1)."""
    phi = normalize(build("gelu"))
    networks = Deep(phi, 6, 3, "haar")
    wrong = np.zeros(2)
    for seed in range(400):
        difference, above, below, exponent = growth.excess(trace(networks, np.random.default_rng(seed), 5))
        low, high = growth.limits(difference, above, below, float(exponent[0, 0]), 0.1)
        wrong += low > 0, high < 0
    assert (wrong <= 68).all()
