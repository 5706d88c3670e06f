"""The theorems on sampling without matrices and on one layer, against explicit Haar matrices and literal sums."""

import numpy as np
import pytest
from scipy import stats

from gpn.engine.weights import haar
from theory.activations.catalog import build
from theory.depth.alignment import conditional_growth
from theory.layer.pairs import backward_ratio_variance, squared_length_variance

WIDTH, DRAWS = 6, 3000
FALSE_ALARM = 1e-4  # of one two-sample test; each law below is compared in nine functionals, 27 in all


def inputs(kind):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((WIDTH, 3))
    if kind == "rank one":
        x = np.outer(x[:, 0], [1.0, -2.0, 0.5])
    if kind == "rank zero":
        x = np.zeros((WIDTH, 3))
    return x


def uniform_frame(rng, complement, columns):
    """A uniform frame in the span of the orthonormal columns of `complement`, with the signs that make it uniform."""
    q, r = np.linalg.qr(complement.T @ rng.standard_normal((len(complement), columns)))
    return complement @ (q * np.sign(np.diag(r)))


def signals(h):
    """Backward signals that depend on h in a nonlinear way."""
    fixed = np.random.default_rng(2).standard_normal(h.shape)
    return (1 - np.tanh(h) ** 2) * (fixed + 0.3 * np.roll(h, 1, axis=1))


def with_matrix(rng, x):
    w = haar(rng, WIDTH)
    h = w @ x
    return h, w.T @ signals(h)


def without_matrix(rng, x, *, along=True):
    """Theorem 3 of docs/matrix-free.md, literally."""
    complete, r = np.linalg.qr(x, mode="complete")
    k = x.shape[1]
    q, rest = complete[:, :k], complete[:, k:]
    u = uniform_frame(rng, np.eye(WIDTH), k)
    h = u @ r[:k]
    d = signals(h)
    across = d - u @ (u.T @ d)
    factor = np.linalg.qr(across, mode="r")[: WIDTH - k]
    p = uniform_frame(rng, rest, len(factor))
    return h, (q @ (u.T @ d) if along else 0.0) + p @ factor


def functionals(x, sampler, seed, **options):
    """Numbers that see the law of h and of W^T d, alone and together, shape (functionals, draws)."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(DRAWS):
        h, e = sampler(rng, x, **options)
        gram = e.T @ e
        entries = [h[0, 0], h[1, 2] * h[0, 1], e[0, 0], e[1, 2], e[2, 0] * h[2, 0], gram[0, 1], gram[2, 2]]
        found.append([*entries, x[:, 0] @ e[:, 1] + e[3, 1], (e[0] @ e[1]) * h[0, 2]])
    return np.array(found).T


def least_p_value(first, second):
    # Rank-deficient inputs make some functionals constant up to rounding.
    return min(stats.ks_2samp(a.round(9) + 0.0, b.round(9) + 0.0).pvalue for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", ["full rank", "rank one", "rank zero"])
def test_frames_have_the_joint_law_of_explicit_matrices(kind):
    x = inputs(kind)
    assert least_p_value(functionals(x, with_matrix, 3), functionals(x, without_matrix, 4)) > FALSE_ALARM


def test_the_same_comparison_catches_a_missing_part():
    x = inputs("full rank")
    assert least_p_value(functionals(x, with_matrix, 3), functionals(x, without_matrix, 4, along=False)) < 1e-12


def test_any_factor_of_the_gram_matrix_serves():
    """The inner products of the backward signals depend on D alone, to rounding: |W^T D| = |D|."""
    rng = np.random.default_rng(5)
    for kind in ("full rank", "rank one"):
        h, e = without_matrix(rng, inputs(kind))
        np.testing.assert_allclose(e.T @ e, signals(h).T @ signals(h), atol=1e-12)


def test_the_gradient_of_a_batch_is_a_sum_over_pairs():
    rng = np.random.default_rng(6)
    d, x = rng.standard_normal((2, WIDTH, 3))
    assert np.linalg.norm(d @ x.T) ** 2 == pytest.approx(((d.T @ d) * (x.T @ x)).sum(), rel=1e-12)


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.37, 1.0])
def test_mean_factor_given_the_alignment(alpha):
    """A quadratic form has its mean over the sphere as its mean over any orthonormal basis and its negative."""
    rng = np.random.default_rng(7)
    h = rng.standard_normal(WIDTH)
    phi = build("gelu")
    x, slopes = phi.value_and_slope(h)
    x = x / np.linalg.norm(x)
    complement = np.linalg.qr(x[:, None], mode="complete")[0][:, 1:]
    vectors = np.concatenate([complement.T, -complement.T])
    mean = np.mean([np.sum((slopes * (alpha * x + np.sqrt(1 - alpha**2) * v)) ** 2) for v in vectors])
    average, tau = np.mean(slopes**2), np.sum((slopes * x) ** 2)
    formula = average + (alpha**2 - 1 / WIDTH) * WIDTH / (WIDTH - 1) * (tau - average)
    assert mean == pytest.approx(formula, rel=1e-13)
    assert mean == pytest.approx(float(conditional_growth(h, phi, alpha)), rel=1e-13)


def pair_mean(f, width):
    """E f(h1), E f(h1)^2 and E f(h1) f(h2) on |h|^2 = n, by Gauss-Legendre in the two angles."""
    nodes, weights = np.polynomial.legendre.leggauss(320)
    angle = np.pi / 2 * nodes
    outer = weights * np.cos(angle) ** (width - 2)
    inner = weights * np.cos(angle) ** (width - 3)
    first = f(np.sqrt(width) * np.sin(angle))
    second = f(np.sqrt(width) * np.cos(angle)[:, None] * np.sin(angle)) @ inner / inner.sum()
    return tuple(float(outer @ g / outer.sum()) for g in (first, first**2, first * second))


A, B = 1.4674135916, 0.3885416701  # tanh


@pytest.mark.parametrize(
    ("width", "forward", "backward"), [(16, 0.04129032988, 0.08005928088), (64, 0.01029810366, 0.02200773756)]
)
def test_variances_of_one_layer(width, forward, backward):
    """The two exact variances, and a simulation within five of its standard errors (false alarm below 2e-6 for all)."""
    mean, square, pair = pair_mean(lambda h: (A * np.tanh(h) + B) ** 2, width)
    exact_forward = square / width + (1 - 1 / width) * pair - mean**2
    mean, square, pair = pair_mean(lambda h: (A / np.cosh(h) ** 2) ** 2, width)
    exact_backward = (3 * square + (width - 1) * pair) / (width + 2) - mean**2
    assert exact_forward == pytest.approx(forward, rel=1e-8)
    assert exact_backward == pytest.approx(backward, rel=1e-8)
    phi = build("tanh").affine(A, B)
    assert squared_length_variance(phi, width).value == pytest.approx(exact_forward, rel=1e-10)
    assert backward_ratio_variance(phi, width).value == pytest.approx(exact_backward, rel=1e-10)
    rng = np.random.default_rng(8)
    h, u = rng.standard_normal((2, 20_000, width))
    h *= np.sqrt(width) / np.linalg.norm(h, axis=1, keepdims=True)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    for sample, exact in [
        (((A * np.tanh(h) + B) ** 2).mean(axis=1), exact_forward),
        (((A / np.cosh(h) ** 2 * u) ** 2).sum(axis=1), exact_backward),
    ]:
        squares = (sample - sample.mean()) ** 2
        assert abs(squares.mean() - exact) < 5 * squares.std() / np.sqrt(len(sample))
