"""The laws of single steps against simulation with other code, and against closed forms."""

import numpy as np
import pytest
from scipy import stats

from gpn.probing.ensembles import ensemble_of
from gpn.probing.prediction import (
    PearsonCurve,
    activation_step,
    independent_convolution,
    rotated_map,
    sum_of,
    with_bias,
)
from gpn.probing.tape import Value, Weights
from theory.activations.specification import activation

RNG = 20261130


def moments(ratios):
    """Variance and third central moment, with their standard errors."""
    centred = ratios - ratios.mean()
    pairs = []
    for power in (2, 3):
        values = centred**power
        pairs.append((values.mean(), values.std() / np.sqrt(len(values))))
    return pairs


def agrees(law, squares, limit=5.0):
    """Five standard errors, three comparisons: a false alarm in about 2e-6 of cases."""
    ratios = squares / law.mean[0]
    assert abs(ratios.mean() - 1) < limit * ratios.std() / np.sqrt(len(ratios)) + law.slack + 1e-12
    for expected, (seen, error) in zip((law.variance, law.third), moments(ratios), strict=True):
        assert abs(seen - expected) < limit * error + 0.03 * abs(expected)


def test_a_map_with_any_singular_values():
    """Rectangular, with a spectrum of its own: the input is turned, which turns the right singular vectors."""
    rng = np.random.default_rng(RNG)
    matrix = rng.standard_normal((6, 9)) * rng.uniform(0.2, 2, (6, 1))
    for backward, given in ((False, matrix), (True, matrix.T)):
        x = rng.standard_normal((200_000, given.shape[1]))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        agrees(rotated_map(Weights.of(matrix), np.ones(1), backward=backward), np.sum((x @ given.T) ** 2, axis=1))


def test_a_bias_and_a_sum():
    rng = np.random.default_rng(RNG)
    directions = rng.standard_normal((200_000, 12))
    directions *= np.sqrt(12) / np.linalg.norm(directions, axis=1, keepdims=True)
    bias = rng.normal(0.4, 0.2, 12)
    law = with_bias(rotated_map(Weights.of(np.eye(12)), np.full(1, 12.0)), bias, 1)
    ratios = np.sum((directions + bias) ** 2, axis=1) / law.mean[0]
    assert abs(ratios.mean() - 1) < 0.005
    assert ratios.var() == pytest.approx(law.variance, rel=0.02)
    values = [
        Value(12, 1, np.full((1, 1), length), np.nan, 0, "float64", np.ones(1))
        for length in (1.0, float(bias @ bias) / 12)
    ]
    assert sum_of(values[1], values[0], None).variance == pytest.approx(law.variance)


@pytest.mark.parametrize(("spec", "shift"), [("tanh", 0.0), ("relu", 0.3), ("1.481*gelu(x) - 0.9095", 0.0)])
def test_an_activation_on_a_sphere(spec, shift):
    """Pre-activations of known length and any direction, 64 neurons; the law is of leading order in 1/n."""
    rng, n, q = np.random.default_rng(RNG), 64, 0.7
    phi = activation(spec)
    h, e = rng.standard_normal((2, 60_000, n))
    h *= np.sqrt(q * n) / np.linalg.norm(h, axis=1, keepdims=True)
    value, slope = phi.value_and_slope(h + shift)
    step = activation_step(phi, np.full((1, 1), q), np.full(n, shift), n, 1)
    factor = np.sum((slope * e) ** 2, axis=1) / np.sum(e**2, axis=1)
    for law, seen in ((step.forward, np.sum(value**2, axis=1)), (step.backward, factor)):
        ratios = seen / law.mean[0]
        assert abs(ratios.mean() - 1) < 2e-3  # O(1/n^2), and five standard errors
        assert ratios.var() == pytest.approx(law.variance, rel=0.12)  # O(1/n)
        assert stats.skew(ratios) == pytest.approx(law.third / law.variance**1.5, abs=0.12)


def test_biases_that_differ_and_rows_that_differ():
    rng, n = np.random.default_rng(RNG), 4096
    phi, bias = activation("tanh"), np.random.default_rng(1).normal(0, 0.8, 4096)
    h = rng.standard_normal(n * 200).reshape(200, n) * 0.5 + bias
    step = activation_step(phi, np.full((1, 1), 0.25), bias, n, 1)
    assert step.forward.mean[0] / n == pytest.approx(np.mean(np.tanh(h) ** 2), rel=2e-3)
    two = activation_step(phi, np.array([[0.1, 4.0]]), None, n, 2)
    ones = [activation_step(phi, np.full((1, 1), q), None, n, 1).forward.mean[0] for q in (0.1, 4.0)]
    assert two.forward.mean[0] == pytest.approx(sum(ones))
    assert two.forward.slack > 1  # the rows differ widely, and the gradient may prefer either


def test_a_convolution_of_one_position_is_a_gaussian_map():
    rng = np.random.default_rng(RNG)
    kernel = rng.standard_normal((500, 30))
    law = independent_convolution(Weights.of(kernel), np.ones(1), 500, 1)
    x = rng.standard_normal(30)
    x /= np.linalg.norm(x)
    assert abs(np.sum((kernel @ x) ** 2) / law.mean[0] - 1) < 5 * np.sqrt(law.variance)
    assert law.variance == 2 / 500


def test_tails_of_a_chi_squared_sum_and_of_its_mirror():
    """The Pearson curve of type III is exact for it; the band and the tail are inverse."""
    n = 10
    for sign in (1, -1):
        curve = PearsonCurve(2 / n, sign * 8 / n**2)
        ends = sorted(sign * (stats.chi2(n).ppf([0.001, 0.999]) / n - 1))
        assert curve.band(0.002) == pytest.approx(ends, rel=1e-9)
        assert [curve.tail(end) for end in ends] == pytest.approx([0.002, 0.002], rel=1e-9)
    assert PearsonCurve(1.0, 1e-5).band(0.01) == pytest.approx(PearsonCurve(1.0, 2e-4).band(0.01), abs=1e-3)


@pytest.mark.parametrize(
    ("make", "label"),
    [
        (lambda rng: np.linalg.qr(rng.standard_normal((64, 64)))[0], "Haar"),
        (lambda rng: 1.5 * np.linalg.qr(rng.standard_normal((128, 64)))[0], "semi-orthogonal, times 1.5"),
        (lambda rng: rng.normal(0, 1 / 8, (64, 64)), "Gaussian, LeCun"),
        (lambda rng: rng.uniform(-1 / 8, 1 / 8, (64, 64)), "uniform, PyTorch's default"),
        (lambda rng: rng.normal(0, 1 / np.sqrt(256), (256, 64)), "Gaussian, LeCun by fan-out"),
        (lambda rng: rng.normal(0, np.sqrt(2 / 320), (256, 64)), "Gaussian, Glorot"),
        (
            lambda rng: rng.uniform(-0.3, 0.3, (4, 8)),
            "independent (too few to tell), standard deviation ",
        ),
        (lambda rng: rng.laplace(0, 0.1, (64, 64)), "independent, standard deviation "),
        (lambda rng: rng.normal(0, 1 / 10, (96, 100)), "Gaussian, LeCun or Glorot"),
        (lambda rng: rng.permutation(np.eye(64)), "orthogonal but not Haar"),
        (lambda rng: rng.normal(0, 1 / 8, (64, 1)) @ rng.normal(0, 1, (1, 64)), "no known ensemble"),
        (lambda _: np.zeros((4, 4)), "zero"),
        (lambda _: np.full((4, 4), np.nan), "not finite"),
    ],
)
def test_ensembles_are_told_apart(make, label):
    assert ensemble_of(Weights.of(make(np.random.default_rng(RNG))), "float64").label.startswith(label)


def test_initializations_together_tell_the_law_of_a_small_matrix():
    """The kurtosis of 20 matrices of 96 entries: -1.2 and 0, with standard deviations of about 0.05 and 0.11."""
    rng = np.random.default_rng(RNG)
    for draw, label in ((rng.uniform, "uniform, PyTorch's default"), (rng.normal, "Gaussian, LeCun or Glorot")):
        low, high = (-1, 1) if draw == rng.uniform else (0, 1)
        drawn = [Weights.of(draw(low, high, (8, 12)) / np.sqrt(12)) for _ in range(20)]
        assert ensemble_of(drawn[0], "float64").label.startswith("independent (too few")
        assert ensemble_of(drawn[0], "float64", drawn[1:]).label == label
