"""Products of Householder reflections: orthogonal and exact for every rank."""

import numpy as np
import pytest

from gpn.sampling.reflections import coordinates_alone, factorize


def rows(kind, k, n):
    x = np.random.default_rng(1).standard_normal((3, k, n))
    if kind == "equal rows":
        x[:, -1] = x[:, 0]
    if kind == "nearly rank one":
        x = x[:, :1] + 1e-15 * x
    if kind == "zero rows":
        x[:, ::2] = 0.0
    if kind == "very different lengths":
        x *= 10.0 ** np.linspace(-150, 150, k)[:, None]
    return x


@pytest.mark.parametrize("kind", ["generic", "equal rows", "nearly rank one", "zero rows", "very different lengths"])
@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 2), (2, 2), (3, 7), (7, 7), (9, 7), (40, 60)])
def test_factors_are_orthogonal_and_give_the_rows_back(kind, k, n):
    x = rows(kind, k, n)
    coordinates, frame = factorize(x)
    q = frame.turn_back(np.broadcast_to(np.eye(n), (3, n, n)))  # row i is Q^T e_i: the matrix Q itself
    np.testing.assert_allclose(q @ q.swapaxes(1, 2), np.broadcast_to(np.eye(n), q.shape), atol=1e-13)
    np.testing.assert_allclose(frame.turn(q), np.broadcast_to(np.eye(n), q.shape), atol=1e-13)
    size = coordinates.shape[-1]
    assert size == min(k, n)
    np.testing.assert_array_equal(coordinates, np.tril(coordinates))
    lengths = np.linalg.norm(x, axis=-1, keepdims=True)
    for again in (frame.embed(coordinates), coordinates @ q[..., :size].swapaxes(1, 2)):
        assert (np.abs(again - x) <= 1e-13 * lengths).all()


def test_coordinates_alone_have_the_gram_matrix():
    for k, n in [(2, 5), (5, 5), (6, 4)]:
        x = rows("equal rows", k, n)
        alone = coordinates_alone(x)
        np.testing.assert_allclose(alone @ alone.swapaxes(1, 2), x @ x.swapaxes(1, 2), atol=1e-13)
