"""Many digits of the laws of one layer: closed forms, and the proof that float64 has its twelve digits."""

import mpmath
import pytest

from tests.oracles.sphere_digits import (
    backward_ratio_variance_digits,
    mean_squared_length_digits,
    mean_squared_slope_digits,
    squared_length_variance_digits,
)
from theory.activations.specification import activation
from theory.errors import UsageError
from theory.layer.pairs import backward_ratio_variance, squared_length_variance
from theory.layer.sphere import mean_squared_length, mean_squared_slope


@pytest.mark.parametrize("digits", [20, 60])
def test_closed_forms(digits):
    with mpmath.workdps(digits + 20):
        three = 1 - mpmath.tanh(mpmath.sqrt(3)) / mpmath.sqrt(3)
        two = (1 - mpmath.besselj(0, 2 * mpmath.sqrt(2))) / 2
        pairs = [
            (mean_squared_length_digits(activation("tanh"), 3, digits), three),
            (mean_squared_length_digits(activation("sin"), 2, digits), two),
            (mean_squared_slope_digits(activation("sin"), 2, digits), 1 - two),
            (mean_squared_length_digits(activation("relu"), 7, digits, "0.2"), mpmath.mpf("0.1")),
            (mean_squared_slope_digits(activation("relu"), 10**6, digits), mpmath.mpf(1) / 2),
        ]
        for (value, error), truth in pairs:
            assert abs(value - truth) <= error + mpmath.mpf(10) ** (-digits - 12)
            assert error < mpmath.mpf(10) ** -digits


@pytest.mark.parametrize("width", [2, 1000, 10**6])
def test_closed_forms_of_the_variances(width):
    for variance in (squared_length_variance_digits, backward_ratio_variance_digits):
        value, error = variance(activation("relu"), width, 25)
        with mpmath.workdps(40):
            assert abs(value - mpmath.mpf(3) / (4 * (width + 2))) <= error
            assert error < mpmath.mpf(10) ** -25


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("tanh", (10**6,)),
        pytest.param("tanh", (3,), marks=pytest.mark.slow),
        pytest.param("gelu", (1000,), marks=pytest.mark.slow),
        ("silu", (5,)),
        ("hard_tanh", (2, 10**6)),
        pytest.param("tanh", (2, 16, 64), marks=pytest.mark.slow),
        pytest.param("gelu", (2, 4, 10**6), marks=pytest.mark.slow),
        pytest.param("elu", (60, 1000), marks=pytest.mark.slow),
    ],
)
def test_float64_has_twelve_digits(name, widths):
    phi = activation(name)
    for width in widths:
        for fast, slow in (
            (mean_squared_length, mean_squared_length_digits),
            (mean_squared_slope, mean_squared_slope_digits),
            (squared_length_variance, squared_length_variance_digits),
            (backward_ratio_variance, backward_ratio_variance_digits),
        ):
            found, (value, error) = fast(phi, width), slow(phi, width, 18)
            assert error < 1e-17
            assert abs(found.value - value) <= found.error + error
            assert abs(found.value - value) < 1e-12 * abs(value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["relu", "hard_tanh", "elu"])
def test_float64_has_twelve_digits_for_kinks_at_small_widths(name):
    for fast, slow in (
        (squared_length_variance, squared_length_variance_digits),
        (backward_ratio_variance, backward_ratio_variance_digits),
    ):
        found, (value, error) = fast(activation(name), 4), slow(activation(name), 4, 13)
        assert abs(found.value - value) <= found.error + error
        assert abs(found.value - value) < 1e-12 * abs(value)


def test_misuse_is_refused():
    with pytest.raises(UsageError, match="digits"):
        mean_squared_length_digits(activation("tanh"), 4, 0)
    with pytest.raises(UsageError, match="width"):
        squared_length_variance_digits(activation("tanh"), 1, 10)
    with pytest.raises(UsageError, match="q"):
        mean_squared_slope_digits(activation("tanh"), 4, 10, -1)
