"""Coins are fair for explicit matrices that are drawn here, whatever the activation, and see what they are for."""

import numpy as np
import pytest
from scipy import stats

from gpn.verification.engine import coins
from gpn.verification.engine.trace import Trace
from theory.activations.catalog import build
from theory.normalization.normalize import normalize

TRIALS, DEPTH, WIDTH = 600, 4, 6
FALSE_ALARM = 1e-5  # of one coin; there are 7 in each of 4 cases


def explicit(phi, rng, matrix=None, repeat=False):
    """Traces of networks written out with SciPy's Haar matrices."""
    h, e, d = np.zeros((3, TRIALS, DEPTH, WIDTH))
    for trial in range(TRIALS):
        w = stats.ortho_group.rvs(WIDTH, size=DEPTH, random_state=rng) if matrix is None else matrix(rng)
        w = np.array([w[0]] * DEPTH) if repeat else w
        x = rng.standard_normal(WIDTH)
        for layer in range(DEPTH):
            h[trial, layer] = w[layer] @ x
            x = phi.value(h[trial, layer])
        e[trial, -1] = rng.standard_normal(WIDTH)
        for layer in range(DEPTH - 1, -1, -1):
            d[trial, layer] = phi.slope(h[trial, layer]) * e[trial, layer]
            if layer:
                e[trial, layer - 1] = w[layer].T @ d[trial, layer]
    x, slope = phi.value_and_slope(h)
    return Trace(h, e, d, x, slope, np.ones((TRIALS, DEPTH + 1)), np.zeros((TRIALS, DEPTH)), True, True)


def p_values(seen, phi, seed=7):
    rng = np.random.default_rng(seed)
    tossed = coins.forward_coins(seen, phi, rng) | {
        f"direction {name}": heads for name, heads in coins.backward_coins(seen, rng).items()
    }
    return {
        name: stats.binomtest(int(np.nansum(heads)), int(np.isfinite(heads).sum()), 0.5).pvalue
        for name, heads in tossed.items()
        if np.isfinite(heads).any()
    }


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "sin"])
def test_coins_of_explicit_matrices_are_fair(name):
    phi = normalize(build(name))
    found = p_values(explicit(phi, np.random.default_rng(3)), phi)
    assert len(found) == 7
    assert min(found.values()) > FALSE_ALARM


def test_a_matrix_that_is_used_twice_is_seen():
    phi = normalize(build("tanh"))
    found = p_values(explicit(phi, np.random.default_rng(4), repeat=True), phi)
    assert found["matrix below"] < 1e-12


def test_a_matrix_that_is_not_uniform_is_seen():
    phi = normalize(build("tanh"))

    def unsigned(rng):
        return np.array([np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0] for _ in range(DEPTH)])

    assert p_values(explicit(phi, np.random.default_rng(5), unsigned), phi)["signal below"] < 1e-12

    def permutations(rng):
        return np.array([np.eye(WIDTH)[rng.permutation(WIDTH)] * rng.choice([-1, 1], WIDTH) for _ in range(DEPTH)])

    found = p_values(explicit(phi, np.random.default_rng(6), permutations), phi)
    assert found["shape"] < 1e-12 or found["direction shape"] < 1e-12


def test_ties_are_left_out():
    phi = build("abs")  # |phi'| = 1: a direction keeps its length, and the length is that of the input
    seen = explicit(phi, np.random.default_rng(8))
    assert np.isnan(coins.forward_coins(seen, phi, np.random.default_rng(9))["length"]).all()
    numbers = np.array([1.0, 1.0 + 1e-10, 2.0, np.inf, np.nan]), np.array([1.0, 1.0, 1.0, np.inf, 1.0])
    assert np.array_equal(coins.exceeds(*numbers), [np.nan, np.nan, 1.0, np.nan, np.nan], equal_nan=True)
