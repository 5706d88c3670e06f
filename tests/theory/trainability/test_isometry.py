"""The law of the squared singular values against closed forms and random matrices drawn here."""

import numpy as np
import pytest
from scipy.special import ndtri

from theory.activations.specification import activation
from theory.errors import UsageError
from theory.normalization.normalize import normalize
from theory.trainability.isometry import finite_width_variance, jacobian_spectrum


def _haar(rng: np.random.Generator, n: int) -> np.ndarray:
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return q * np.sign(np.diag(r))


def _squares(rng: np.random.Generator, slope, n: int, depth: int) -> np.ndarray:
    """Squared singular values of a product of Haar matrices and diagonal matrices of phi' at shuffled quantiles."""
    product, quantiles = np.eye(n), ndtri((np.arange(n) + 0.5) / n)
    for _ in range(depth):
        product = slope(rng.permutation(quantiles))[:, None] * (_haar(rng, n) @ product)
    return np.linalg.svd(product, compute_uv=False) ** 2


def test_two_relu_layers_have_the_arcsine_law():
    law = jacobian_spectrum(activation("sqrt(2)*max(x, 0)"), 2)
    assert law.atom == pytest.approx(0.5, abs=1e-12)
    for x in (1e-3, 0.1, 1.0, 2.0, 3.9):
        arcsine = 0.5 + 0.5 * (2 / np.pi) * np.arcsin(np.sqrt(x / 4))
        assert law.share_below(x) == pytest.approx(arcsine, abs=2e-4)
    assert law.share_below(4.1) == pytest.approx(1, abs=2e-4)


def test_two_relu_layers_have_the_moments_of_the_arcsine_law():
    central = [1, 3, 10, 35, 126, 462]  # 4^k binom(2k, k)/4^k /2 = binom(2k, k)/2
    assert jacobian_spectrum(activation("sqrt(2)*max(x, 0)"), 2).moments(6) == pytest.approx(central, rel=1e-9)


def test_a_linear_network_is_an_isometry_at_every_depth():
    law = jacobian_spectrum(activation("x"), 50)
    assert law.relative_variance == pytest.approx(0, abs=1e-12)
    assert law.moments(4) == pytest.approx(np.ones(4), rel=1e-9)
    assert law.effective_rank == pytest.approx(1)


@pytest.mark.parametrize("spec", ["tanh", "selu", "leaky_relu(0.5)", "sin(x)"])
@pytest.mark.parametrize("depth", [3, 10, 50])
def test_the_density_has_mass_one_and_the_moments_of_the_series(spec, depth):
    law = jacobian_spectrum(normalize(activation(spec)), depth)
    log_x, masses = law.curve(lowest=1e-60)
    assert masses.sum() + law.atom <= 1 + 1e-3
    middle = np.exp(0.5 * (log_x[1:] + log_x[:-1]))
    for order, moment in enumerate(law.moments(3), 1):
        assert masses @ middle**order == pytest.approx(moment, rel=3e-3)


@pytest.mark.parametrize(
    ("spec", "depth"), [("leaky_relu(0.3)", 4), ("sin(2*x)", 3), pytest.param("tanh", 4, marks=pytest.mark.slow)]
)
def test_random_matrix_products_have_the_moments_and_the_distribution(spec, depth):
    # With the entries fixed up to their order, averages over the spectrum fluctuate by about 1/n, n = 400.
    phi = normalize(activation(spec))
    rng = np.random.default_rng(20_261_130)
    squares = _squares(rng, lambda z: phi.value_and_slope(z)[1], 400, depth)
    law = jacobian_spectrum(phi, depth)
    powers = np.array([np.mean(squares**k) for k in (1, 2, 3)])
    assert np.all(np.abs(powers / law.moments(3) - 1) < [0.03, 0.06, 0.12])
    for x in (1e-2, 0.1, 0.5, 1.0, 2.0):
        assert np.mean(squares < x) == pytest.approx(law.share_below(x), abs=0.02)


def test_the_variance_at_finite_width_is_the_mean_over_independent_layers():
    # a_L and b_L are means of tr(JJ^T)^2 and (tr JJ^T)^2: 4,000 draws, five standard errors (false alarm below 1e-6).
    rng, n, depth = np.random.default_rng(7), 6, 3
    traces = []
    for _ in range(4000):
        product = np.eye(n)
        for _ in range(depth):  # s = |z|: E s = sqrt(2/pi), E s^2 = 1
            product = np.sqrt(np.abs(rng.standard_normal(n)))[:, None] * (_haar(rng, n) @ product)
        squares = np.linalg.svd(product, compute_uv=False) ** 2
        traces.append((np.sum(squares**2), np.sum(squares) ** 2))
    a, b = np.array(traces).T
    ratio = 1 + finite_width_variance(np.sqrt(2 / np.pi), 1.0, n, depth)
    difference = n * a - ratio * b
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(len(a))


@pytest.mark.parametrize(("slope_fourth", "depth"), [(1.5, 1), (1.5, 30), (2.0, 7)])
def test_the_variance_at_great_width_is_that_of_the_limit(slope_fourth, depth):
    assert finite_width_variance(1.0, slope_fourth, 10**9, depth) == pytest.approx(depth * (slope_fourth - 1), rel=1e-5)


def test_orthogonal_layers_alone_have_no_variance_at_any_width():
    assert finite_width_variance(1.0, 1.0, 2, 100) == pytest.approx(0, abs=1e-9)


def test_networks_have_the_variance_of_the_law():
    # Real networks: slopes depend on the weights through the forward pass. Mean over 20 networks at n = 256; the
    # relative standard deviation of one network is about 0.05.
    phi, n, depth = normalize(activation("tanh")), 256, 10
    rng = np.random.default_rng(3)
    found = []
    for _ in range(20):
        x = rng.standard_normal(n)
        x *= np.sqrt(n) / np.linalg.norm(x)
        product = np.eye(n)
        for _ in range(depth):
            w = _haar(rng, n)
            x, slope = phi.value_and_slope(w @ x)
            product = slope[:, None] * (w @ product)
        squares = np.linalg.svd(product, compute_uv=False) ** 2
        found.append(np.mean(squares**2) / np.mean(squares) ** 2 - 1)
    fourth = 1 + jacobian_spectrum(phi, 1).relative_variance
    assert np.mean(found) == pytest.approx(finite_width_variance(1.0, fourth, n, depth), rel=0.06)


def test_wrong_depths_are_refused():
    with pytest.raises(UsageError, match="from 1 to 1000000"):
        jacobian_spectrum(activation("x"), 0)
    with pytest.raises(UsageError, match="depth >= 2"):
        jacobian_spectrum(activation("x"), 1).curve()
