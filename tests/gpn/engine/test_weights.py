"""Random weight matrices: orthogonality, uniformity, moments, and a control that the tests must catch."""

import numpy as np
import pytest
from scipy import stats

from gpn.engine.arguments import count
from gpn.engine.uniformity import check_claim
from gpn.engine.weights import ENSEMBLES, SPELLINGS, draw, haar, qr_unsigned, standard_deviation
from theory.errors import UsageError

FALSE_ALARM = 1e-6  # of each statistical test below, all its comparisons together
DRAWS = 3000


def uniformity_p_value(sampler, n, rng):
    """The smallest p value, Bonferroni corrected, of exact laws of entries, of their rotations, and of det W.

    An entry of a uniform matrix has (1 + w)/2 ~ Beta((n-1)/2, (n-1)/2), in any rotated frame A W B too.
    """
    matrices = np.array([sampler(rng, n) for _ in range(DRAWS)])
    entry = stats.beta((n - 1) / 2, (n - 1) / 2, loc=-1, scale=2)
    frame = np.linalg.qr(np.random.default_rng(1).standard_normal((n, n)))[0]
    rotated = frame @ matrices
    p_values = [
        stats.kstest(family[:, i, j], entry.cdf).pvalue
        for family in (matrices, rotated)
        for i, j in ((0, 0), (n - 1, n - 1), (0, n - 1), (n - 1, 0))
    ]
    positive = int((np.linalg.det(matrices) > 0).sum())
    p_values.append(stats.binomtest(positive, DRAWS).pvalue)
    return min(1.0, len(p_values) * min(p_values))


@pytest.mark.parametrize("n", [2, 3, 8])
def test_haar_is_uniform(n):
    assert uniformity_p_value(haar, n, np.random.default_rng(n)) > FALSE_ALARM


@pytest.mark.parametrize("n", [2, 3, 8])
def test_the_same_test_catches_qr_without_signs(n):
    assert uniformity_p_value(qr_unsigned, n, np.random.default_rng(n)) < FALSE_ALARM


def test_traces_of_haar_matrices():
    """E tr W = 0, E (tr W)^2 = 1, E tr(W^2) = 1 on O(n); each mean within 5.2 standard errors (2e-7)."""
    matrices = np.array([haar(np.random.default_rng([3, i]), 6) for i in range(DRAWS)])
    traces = np.trace(matrices, axis1=1, axis2=2)
    squares = np.trace(matrices @ matrices, axis1=1, axis2=2)
    for values, mean in ((traces, 0.0), (traces**2, 1.0), (squares, 1.0)):
        assert abs(values.mean() - mean) < 5.2 * values.std() / np.sqrt(DRAWS)


def test_mixed_moments_of_haar_entries():
    """Fourth moments on O(n) from Weingarten calculus; each within 5.2 standard errors (2e-7).

    E w11^4 = 3/(n(n+2)), E w11^2 w12^2 = 1/(n(n+2)), E w11^2 w22^2 = (n+1)/((n-1)n(n+2)),
    E w11 w12 w21 w22 = -1/((n-1)n(n+2)).
    """
    n = 4
    w = np.array([haar(np.random.default_rng([4, i]), n) for i in range(4 * DRAWS)])
    exact = {
        3 / (n * (n + 2)): w[:, 0, 0] ** 4,
        1 / (n * (n + 2)): w[:, 0, 0] ** 2 * w[:, 0, 1] ** 2,
        (n + 1) / ((n - 1) * n * (n + 2)): w[:, 0, 0] ** 2 * w[:, 1, 1] ** 2,
        -1 / ((n - 1) * n * (n + 2)): w[:, 0, 0] * w[:, 0, 1] * w[:, 1, 0] * w[:, 1, 1],
    }
    for mean, values in exact.items():
        assert abs(values.mean() - mean) < 5.2 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (9, 4), (4, 9), (5, 1), (1, 5), (200, 200)])
@pytest.mark.parametrize("sampler", [haar, qr_unsigned])
def test_semi_orthogonality(sampler, shape):
    w = sampler(np.random.default_rng(0), *shape)
    assert w.shape == shape
    small = w.T @ w if shape[0] >= shape[1] else w @ w.T
    np.testing.assert_allclose(small, np.eye(min(shape)), atol=1e-13)


def test_semi_orthogonal_columns_are_uniform_on_the_sphere():
    """w_11^2 ~ Beta(1/2, (n-1)/2) for an n x m matrix with orthonormal columns; false alarm 1e-6."""
    w = np.array([haar(np.random.default_rng([5, i]), 7, 3) for i in range(DRAWS)])
    for i, j in ((0, 0), (6, 2)):
        assert stats.kstest(w[:, i, j] ** 2, stats.beta(0.5, 3).cdf).pvalue > FALSE_ALARM / 2
        assert stats.binomtest(int((w[:, i, j] > 0).sum()), DRAWS).pvalue > FALSE_ALARM / 2


def test_width_one_is_a_fair_coin():
    signs = np.array([haar(np.random.default_rng([6, i]), 1)[0, 0] for i in range(400)])
    assert set(signs) == {-1.0, 1.0}
    assert stats.binomtest(int((signs > 0).sum()), 400).pvalue > FALSE_ALARM
    assert {qr_unsigned(np.random.default_rng([6, i]), 1)[0, 0] for i in range(50)} == {1.0}


@pytest.mark.parametrize(
    "name", [name for name in ENSEMBLES if name not in ("haar", "scaled_orthogonal", "qr_unsigned")]
)
def test_independent_entries_have_the_stated_variance(name):
    """Mean and variance of 50,000 entries within 5.2 standard errors; false alarm 4e-7."""
    rows, columns = 250, 200
    w = draw(name, np.random.default_rng(7), rows, columns)
    gaussian = {"lecun_uniform": "gaussian", "he_uniform": "he", "glorot_uniform": "glorot"}.get(name, name)
    variance = {"gaussian": 1 / columns, "he": 2 / columns, "glorot": 2 / (rows + columns)}[gaussian]
    assert standard_deviation(gaussian, rows, columns) ** 2 == pytest.approx(variance)
    assert abs(w.mean()) < 5.2 * np.sqrt(variance / w.size)
    assert abs((w**2).mean() - variance) < 5.2 * (w**2).std() / np.sqrt(w.size)
    law = stats.norm(0, np.sqrt(variance)) if gaussian == name else None
    half = np.sqrt(3 * variance)
    assert stats.kstest(w.ravel(), (law or stats.uniform(-half, 2 * half)).cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("name", ENSEMBLES)
def test_a_draw_depends_on_the_generator_alone(name):
    first, second = (draw(name, np.random.default_rng(8), 5) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (5, 5)


def test_misuse_is_an_error():
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match="'haar'"):
        draw("harr", rng, 3)
    with pytest.raises(UsageError, match=r"rows.*at least 1.*0"):
        haar(rng, 0)
    with pytest.raises(UsageError, match="columns"):
        haar(rng, 2, 2.0)
    with pytest.raises(UsageError, match="Gaussian"):
        standard_deviation("haar", 2, 2)
    with pytest.raises(UsageError, match="True"):
        count("trials", True)


def test_words_of_the_frameworks_are_names_of_the_ensembles():
    for word, name in SPELLINGS.items():
        first, second = (draw(each, np.random.default_rng(9), 5, 3) for each in (word, name))
        np.testing.assert_array_equal(first, second)


def test_a_scaled_orthogonal_matrix_keeps_squared_lengths_per_neuron():
    for rows, columns in ((6, 2), (2, 6)):
        w = draw("scaled_orthogonal", np.random.default_rng(10), rows, columns)
        gram = w @ w.T if rows <= columns else w.T @ w
        np.testing.assert_allclose(gram, np.eye(2) * max(1, rows // columns), atol=1e-14)


def turned(w):
    w[0] *= np.sign(np.linalg.det(w))
    return w


def test_a_function_that_claims_to_be_haar_is_tested():
    def right(rng, rows, columns):
        return np.float32(haar(rng, rows, columns))

    wrong = {
        "entry": lambda rng, *shape: qr_unsigned(rng, *shape),
        "determinant": lambda rng, rows, columns: (
            turned(haar(rng, rows)) if rows == columns else haar(rng, rows, columns)
        ),
        "orthogonal": lambda rng, rows, columns: draw("gaussian", rng, rows, columns),
        "shape": lambda rng, rows, _: haar(rng, rows),
    }
    for function in (right, *wrong.values()):
        check_claim(function, np.random.default_rng(11))  # claims nothing
        function.ensemble = "haar"
    check_claim(right, np.random.default_rng(11))
    for message, function in wrong.items():
        with pytest.raises(UsageError, match=message):
            check_claim(function, np.random.default_rng(12))
    with pytest.raises(UsageError, match="function"):
        draw(3, np.random.default_rng(0), 2)
