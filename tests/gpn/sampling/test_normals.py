"""Normals made from exponentials and angles have the normal law, and the arithmetic is that of sine and cosine."""

import mpmath
import numpy as np
import pytest
from scipy import stats

from gpn.sampling.normals import LEAST, SINE, _circle, fill_normals

COUNT = 2**20


def drawn(count=COUNT, seed=0):
    z = np.empty(count)
    fill_normals(np.random.Generator(np.random.SFC64(seed)), z)
    return z


def test_the_polynomial_is_the_interpolant_of_the_sine_and_accurate_beyond_double_precision():
    def quotient(y):
        return mpmath.sin(mpmath.pi / 4 * mpmath.sqrt(y)) / mpmath.sqrt(y) if y else mpmath.pi / 4

    with mpmath.workdps(40):
        coefficients, error = mpmath.chebyfit(quotient, [0, 1], len(SINE), error=True)
        assert error < 3e-18
        assert tuple(map(float, coefficients)) == SINE


def test_cosine_and_sine_agree_with_mpmath_around_the_circle():
    turns = np.concatenate([np.linspace(-1, 1, 2001), [1e-9, -1e-300, 0.5 - 2**-53, np.nextafter(-1, 0)]])
    cosine, sine = _circle(turns.copy())
    for v, c, s in zip(turns, cosine, sine, strict=True):
        assert abs(c - mpmath.cospi(mpmath.mpf(v))) < 2e-15
        assert abs(s - mpmath.sinpi(mpmath.mpf(v))) < 2e-15


@pytest.mark.parametrize("count", [LEAST, LEAST + 1, 3 * LEAST + 7])
def test_the_numbers_are_those_of_the_formula(count):
    z = drawn(count, seed=3)
    rng = np.random.Generator(np.random.SFC64(3))
    half = count // 2
    angle = 2 * np.pi * (rng.random(half) - 0.5)
    radius = np.sqrt(2 * rng.standard_exponential(half))
    expected = np.concatenate([radius * np.sin(angle), radius * np.cos(angle), rng.standard_normal(count % 2)])
    np.testing.assert_allclose(z, expected, rtol=0, atol=2e-14)


def test_a_small_array_is_drawn_by_the_generator_itself():
    np.testing.assert_array_equal(
        drawn(LEAST - 1, seed=5), np.random.Generator(np.random.SFC64(5)).standard_normal(LEAST - 1)
    )


def test_the_law_is_normal():
    """Three tests of 1e-7 each: a false alarm with probability below 3e-7."""
    z = drawn()
    half = COUNT // 2
    assert stats.kstest(z, "norm").pvalue > 1e-7
    pairs = stats.norm.cdf(z[:half]) + stats.norm.cdf(z[half:])  # triangular if the two are independent
    assert stats.kstest(pairs, stats.triang(0.5, scale=2).cdf).pvalue > 1e-7
    assert stats.kstest(np.arctan2(z[half:], z[:half]), stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-7


@pytest.mark.parametrize("threshold", [3.0, 4.0])
def test_the_tails_are_normal(threshold):
    """Four counts against their binomial laws: a false alarm with probability below 4e-7."""
    z = drawn(seed=1)
    for count in ((z > threshold).sum(), (z < -threshold).sum()):
        law = stats.binom(COUNT, stats.norm.sf(threshold))
        assert min(law.cdf(count), law.sf(count - 1)) > 5e-8


def test_an_array_with_gaps_is_refused():
    with pytest.raises(ValueError, match="contiguous"):
        fill_normals(np.random.default_rng(0), np.empty((2 * LEAST, 2))[:, 0])
    with pytest.raises(ValueError, match="contiguous"):
        fill_normals(np.random.default_rng(0), np.empty((10, 2))[:, 0])
