"""Orthogonal weights in training: the penalty's gradient, the tangent space, and both retractions."""

import numpy as np
import pytest
from scipy import linalg

from gpn.engine.weights import haar
from gpn.training.orthogonality import RETRACTIONS, deviation, orthonormalized, penalty, polar, tangent
from theory.errors import UsageError

SHAPES = [(6, 6), (7, 4), (3, 8), (5, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_of_the_penalty(shape):
    rng = np.random.default_rng(0)
    w, v = rng.standard_normal((2, *shape))
    value, gradient = penalty(w, 0.3)
    assert value == pytest.approx(0.3 * deviation(w) ** 2)
    differences = [penalty(w + t * v, 0.3)[0] for t in (1e-3, -1e-3, 2e-3, -2e-3)]
    slope = (8 * (differences[0] - differences[1]) - (differences[2] - differences[3])) / 12e-3
    assert np.vdot(gradient, v) == pytest.approx(slope, rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_tangent_direction_keeps_orthogonality_to_first_order(shape):
    rng = np.random.default_rng(1)
    w, g = haar(rng, *shape), rng.standard_normal(shape)
    xi = tangent(w, g)
    first_order = w.T @ xi + xi.T @ w if shape[0] >= shape[1] else w @ xi.T + xi @ w.T
    np.testing.assert_allclose(first_order, 0.0, atol=1e-14)
    np.testing.assert_allclose(tangent(w, xi), xi, atol=1e-14)
    other = tangent(w, rng.standard_normal(shape))
    assert np.vdot(g - xi, other) == pytest.approx(0.0, abs=1e-13)  # an orthogonal projection


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [0.0, 1e-9, 1e-5, 1e-3, 0.1, 1.0, 30.0])
def test_the_polar_factor_is_that_of_the_singular_values(shape, size):
    rng = np.random.default_rng(2)
    y = haar(rng, *shape) + size * rng.standard_normal(shape)
    left, _, right = np.linalg.svd(y, full_matrices=False)
    found = polar(y)
    np.testing.assert_allclose(found, left @ right, atol=2e-14 * (1.0 + size))
    assert deviation(found) < 1e-14 * sum(shape)
    if shape[0] >= shape[1]:
        np.testing.assert_allclose(found, linalg.polar(y)[0], atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_qr_factor_is_unique_and_keeps_orthogonal_matrices(shape):
    rng = np.random.default_rng(3)
    w = haar(rng, *shape)
    np.testing.assert_allclose(orthonormalized(w), w, atol=1e-14)
    y = rng.standard_normal(shape)
    q = orthonormalized(y)
    r = q.T @ y if shape[0] >= shape[1] else (y @ q.T).T
    np.testing.assert_allclose(np.tril(r, -1), 0.0, atol=1e-13)
    assert (np.diagonal(r) > 0).all()
    assert deviation(q) < 1e-14 * sum(shape)


@pytest.mark.parametrize("name", RETRACTIONS)
def test_retractions_follow_the_tangent(name):
    """R(W + t xi) = W + t xi + O(t^2): halving t quarters the difference."""
    rng = np.random.default_rng(4)
    w = haar(rng, 6, 4)
    xi = tangent(w, rng.standard_normal((6, 4)))
    gaps = [np.linalg.norm(RETRACTIONS[name](w + t * xi) - w - t * xi) for t in (1e-3, 5e-4)]
    assert gaps[0] / gaps[1] == pytest.approx(4.0, rel=0.01)


@pytest.mark.parametrize("name", RETRACTIONS)
def test_a_thousand_steps_stay_orthogonal(name):
    rng = np.random.default_rng(5)
    w = haar(rng, 12)
    for _ in range(1000):
        w = RETRACTIONS[name](w + tangent(w, 0.01 * rng.standard_normal((12, 12))))
    assert deviation(w) < 2e-14


def test_what_is_not_finite_is_refused():
    for retract in RETRACTIONS.values():
        with pytest.raises(UsageError, match="not finite"):
            retract(np.full((2, 2), np.nan))
