"""Lévy bounds of one layer: literal formulas, figures, and validity against simulation on the sphere."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.oracles.one_layer import levy_backward_fixed, levy_backward_random, levy_forward
from theory.activations.specification import activation
from theory.claims.counted import ONE_LAYER
from theory.errors import UsageError
from theory.layer.levy import (
    LayerConstants,
    layer_constants,
    levy,
)
from theory.normalization.normalize import normalize
from theory.numerics.quadrature import Estimate

TANH = normalize(activation("tanh"))
SIDES = ("upper", "lower")


def literal(width, mean, lipschitz_squared, epsilon, side):
    """The bound written out in 30 digits."""
    with mpmath.workdps(30):
        n, mean, c2 = mpmath.mpf(width), mpmath.mpf(mean), mpmath.mpf(lipschitz_squared)
        if side == "upper":
            t = mpmath.sqrt(1 + mpmath.mpf(epsilon)) - mpmath.sqrt(mean)
        else:
            t = mpmath.sqrt(mean - c2 / (n - 1)) - mpmath.sqrt(1 - mpmath.mpf(epsilon))
        return float(-(n - 1) * t**2 / (2 * c2)) if t > 0 else 0.0


@pytest.mark.parametrize("width", [64, 512, 10**6])
@pytest.mark.parametrize("epsilon", [0.05, 0.2, 0.9])
@pytest.mark.parametrize("side", SIDES)
def test_bounds_are_their_formulas(width, epsilon, side):
    for q in (1.0, 0.8):
        c = layer_constants(TANH, width, q)
        forward = literal(width, c.forward.value, c.slope**2 * q, epsilon, side)
        fresh = literal(width, c.backward.value, c.slope**2 + c.curvature**2 * q, epsilon, side)
        fixed = literal(width, c.backward.value, c.curvature**2 * 3 * q, epsilon, side)
        assert levy_forward(c, epsilon, side).log == pytest.approx(forward, rel=1e-9, abs=1e-9)
        assert levy_backward_random(c, epsilon, side).log == pytest.approx(fresh, rel=1e-9, abs=1e-9)
        assert levy_backward_fixed(c, epsilon, side, 3.0).log == pytest.approx(fixed, rel=1e-9, abs=1e-9)


def test_figures_at_width_128():
    c = layer_constants(TANH, 128)
    assert round(levy_forward(c, 0.2, "upper").probability, 2) == 0.77
    assert round(levy_forward(c, 0.2, "lower").probability, 2) == 0.75


@pytest.mark.parametrize("name", ["tanh", "sin", "softsign", "elu", "gelu"])
@pytest.mark.parametrize("width", [8, 64, 512])
def test_bounds_hold_in_simulation(name, width):
    # A bound is refuted when the exact lower 1 - 1e-7 limit of the exceedance probability lies above it. At most
    # 5 x 3 x 30 comparisons: false alarm below 5e-5 in total, with a fixed seed.
    phi, trials = normalize(activation(name)), 20_000 if width < 512 else 4_000
    rng = np.random.default_rng([11, width])
    g, u = rng.standard_normal((2, trials, width))
    h = math.sqrt(width) * g / np.linalg.norm(g, axis=1, keepdims=True)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    y = np.linspace(0.2, 1.8, width)
    flatness = width * y.max() ** 2 / (y @ y)
    value, slope = phi.value_and_slope(h)
    ratios = {
        levy_forward: (value**2).mean(axis=1),
        levy_backward_random: ((slope * u) ** 2).sum(axis=1),
        levy_backward_fixed: (slope**2) @ y**2 / (y @ y),
    }
    c = layer_constants(phi, width)
    for epsilon in (0.1, 0.2, 0.4, 0.7, 1.5):
        for bound, ratio in ratios.items():
            for side in SIDES:
                hits = int((ratio >= 1 + epsilon if side == "upper" else ratio <= 1 - epsilon).sum())
                found = bound(c, epsilon, side, flatness) if bound is levy_backward_fixed else bound(c, epsilon, side)
                assert found.kind == "levy"
                if hits:
                    assert stats.beta.ppf(1e-7, hits, trials - hits + 1) <= found.probability


def test_the_bound_says_something_when_it_should():
    # at width 2048 the one-step claim with epsilon 0.2 is far from vacuous
    c = layer_constants(TANH, 2048)
    assert levy_forward(c, 0.2, "upper").probability < 0.02
    assert levy_forward(c, 0.2, "lower").probability < 0.01
    assert levy_backward_random(c, 0.2, "lower").probability < 0.05


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.integers(2, 40), st.floats(1e-6, 2.0))
def test_norms_are_as_lipschitz_as_the_bounds_say(seed, width, distance):
    # |F(u) - F(v)| <= c |u - v| on the unit sphere for the three norms
    rng = np.random.default_rng(seed)
    g = rng.standard_normal((2, width))
    g[1] = g[0] + distance * g[1]
    p, r = g / np.linalg.norm(g, axis=1, keepdims=True)
    q = 1.3
    c = layer_constants(TANH, width, q)
    (a, da), (b, db) = (TANH.value_and_slope(math.sqrt(width * q) * x) for x in (p, r))
    gap = np.linalg.norm(p - r) * (1 + 1e-9) + 1e-12
    root = math.sqrt(width)
    assert abs(np.linalg.norm(a) - np.linalg.norm(b)) / root <= c.slope * math.sqrt(q) * gap
    y = rng.standard_normal(width)
    flatness = width * (y**2).max() / (y @ y)
    change = abs(np.linalg.norm(da * y) - np.linalg.norm(db * y)) / np.linalg.norm(y)
    assert change <= c.curvature * math.sqrt(flatness * q) * gap
    unit = y / np.linalg.norm(y)
    other = rng.standard_normal(width)
    other /= np.linalg.norm(other)
    moved = abs(np.linalg.norm(da * unit) - np.linalg.norm(da * other))
    assert moved <= c.slope * np.linalg.norm(unit - other) * (1 + 1e-9)


def test_kinks_and_jumps_have_no_bound_and_say_why():
    relu, sign = (layer_constants(activation(name), 64) for name in ("relu", "sign"))
    assert levy_forward(relu, 0.9, "upper").kind == "levy"
    for bound in (levy_backward_random, levy_backward_fixed):
        found = bound(relu, 0.2, "upper")
        assert (found.kind, found.log, found.reason) == ("none", 0.0, "phi' is not Lipschitz")
    assert levy_forward(sign, 0.2, "lower").reason == "phi is not Lipschitz on the sphere of this layer"
    assert levy_forward(layer_constants(activation("sqrt(x)"), 64), 0.2, "upper").kind == "none"


def test_only_the_sphere_counts():
    # x^2 is not Lipschitz on the line, but no coordinate leaves [-sqrt(nq), sqrt(nq)]
    c = layer_constants(activation("x**2"), 16, 2.0)
    assert c.slope == pytest.approx(2 * math.sqrt(32), rel=1e-8)
    assert levy_forward(c, 3.0, "upper").kind == "levy"


def test_vacuous_and_impossible():
    c = layer_constants(TANH, 4)
    found = levy_forward(c, 0.01, "lower")
    assert (found.log, found.probability) == (0.0, 1.0)
    assert "tolerance" in found.reason
    assert levy_forward(c, 1.5, "lower").log == -math.inf
    assert levy_forward(c, 1.0, "lower").log > -math.inf  # q_1 = 0 is not excluded
    identity = layer_constants(activation("identity"), 64)
    assert levy_backward_fixed(identity, 0.1, "upper").log == -math.inf  # an exact isometry


def test_a_single_nonzero_entry_does_not_concentrate():
    logs = [
        levy_backward_fixed(layer_constants(TANH, width), 0.5, "upper", float(width)).log
        for width in (2**8, 2**14, 2**20)
    ]
    assert logs[-1] == pytest.approx(logs[0], abs=0.01)
    assert logs[-1] > -0.05


def test_large_widths_stay_in_logarithms():
    c = layer_constants(TANH, 10**7)
    assert -1e5 < levy_forward(c, 0.3, "upper").log < -1e4
    assert 0 < levy_forward(c, 0.3, "upper").probability < 1e-300  # rounded up: 0 is kept for impossible events


def test_an_uncertain_mean_weakens_the_bound():
    sure = LayerConstants(1000, 1.0, Estimate(1.0, 0.0), Estimate(1.0, 0.0), 1.0, 1.0)
    vague = LayerConstants(1000, 1.0, Estimate(1.0, 0.05), Estimate(1.0, 0.05), 1.0, 1.0)
    for claim in ONE_LAYER:
        for side in SIDES:
            assert levy(claim, sure, 0.3, side).log < levy(claim, vague, 0.3, side).log < 0


def test_misuse_is_refused():
    c = layer_constants(TANH, 64)
    for epsilon in (0.0, -0.2, math.nan, math.inf):
        with pytest.raises(UsageError, match="epsilon"):
            levy_forward(c, epsilon, "upper")
    with pytest.raises(UsageError, match="side"):
        levy_backward_random(c, 0.2, "both")
    for flatness in (0.5, 65.0):
        with pytest.raises(UsageError, match="flatness"):
            levy_backward_fixed(c, 0.2, "upper", flatness)
    with pytest.raises(UsageError, match="claim"):
        levy("deep-gradient-ratio", c, 0.2, "upper")
    with pytest.raises(UsageError, match="width"):
        layer_constants(TANH, 1)
