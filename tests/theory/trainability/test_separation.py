"""The correlation of two inputs in depth against closed forms that share no code with it."""

import numpy as np
import pytest

from theory.activations.specification import activation
from theory.errors import UsageError
from theory.normalization.normalize import normalize
from theory.trainability.separation import separation
from theory.trainability.tangent_kernel import tangent_kernel_ratio


def _arc_cosine(rho: float) -> float:
    """The correlation map of sqrt(2) max(x, 0): Cho and Saul 2009, degree 1."""
    angle = np.arccos(rho)
    return (np.sin(angle) + (np.pi - angle) * rho) / np.pi


def _sine(rho: float, w: float) -> float:
    """The correlation map of the normalized sin(w x): E sin(wu) sin(wv) = exp(-w^2) sinh(w^2 rho), plus b^2."""
    scale = 2 / (w**2 * (1 + np.exp(-2 * w**2)))
    return scale * np.exp(-(w**2)) * np.sinh(w**2 * rho) + 1 - scale * np.exp(-(w**2)) * np.sinh(w**2)


@pytest.mark.parametrize(
    ("spec", "exact"),
    [("relu", _arc_cosine), ("sin(x)", lambda rho: _sine(rho, 1.0)), ("sin(3*x)", lambda rho: _sine(rho, 3.0))],
)
def test_the_path_of_a_correlation_follows_the_closed_form(spec, exact):
    losses = separation(normalize(activation(spec))).losses(40, 0.3)
    rho = 0.3
    for loss in losses[1:]:
        rho = exact(rho)
        assert loss == pytest.approx(1 - rho, rel=1e-6)


def test_the_slope_of_the_map_is_the_derivative_in_closed_form():
    relu = separation(normalize(activation("relu"))).map
    losses = np.array([1e-6, 1e-3, 0.1, 0.5, 0.9, 1.0])
    assert relu.slope(losses) == pytest.approx(1 - np.arccos(1 - losses) / np.pi, abs=1e-7)  # C'(rho)


@pytest.mark.parametrize("spec", ["tanh", "gelu", "silu", "sin(x)", "erf"])
def test_smooth_separation_falls_like_the_inverse_of_curvature_times_depth(spec):
    laws = separation(normalize(activation(spec)))
    assert laws.kinks == 0
    for depth in (2000, 4000):  # the correction is log L / L
        assert laws.losses(depth)[-1] == pytest.approx(2 / (laws.curvature * depth), rel=0.03)


@pytest.mark.parametrize("spec", ["relu", "abs(x)", "selu", "leaky_relu(0.5)", "max(x, 0.5)"])
def test_kinked_separation_falls_like_the_inverse_square_of_depth(spec):
    laws = separation(normalize(activation(spec)))
    assert laws.curvature == np.inf
    constant = [laws.losses(depth)[-1] * (laws.kinks * depth) ** 2 / (9 * np.pi) for depth in (10_000, 40_000)]
    assert constant[1] == pytest.approx(1, rel=0.06)
    assert abs(constant[1] - 1) < abs(constant[0] - 1)


def test_relu_has_the_known_constant():
    laws = separation(normalize(activation("relu")))
    assert laws.kinks**2 == pytest.approx(2 / np.pi, rel=1e-9)  # so that the limit is 9 pi^2/(2 L^2)


def test_kink_constants_add_up():
    laws = separation(normalize(activation("max(x, 0) + max(x - 1, 0)")))
    a_squared = 1 / (0.5 + 3 * 0.15865525393145707)  # E phi'^2 = P(0 < z < 1) + 4 P(z > 1)
    density = (1 + np.exp(-0.5)) / np.sqrt(2 * np.pi)
    assert laws.kinks == pytest.approx(a_squared * density, rel=1e-7)


@pytest.mark.parametrize(("spec", "limit"), [("tanh", 1 / 3), ("silu", 1 / 3), ("relu", 1 / 4), ("selu", 1 / 4)])
def test_the_tangent_kernel_forgets_its_inputs(spec, limit):
    laws = separation(normalize(activation(spec)))
    near, far = (tangent_kernel_ratio(laws, 6000, rho)[-1] for rho in (0.0, 0.8))
    assert near == pytest.approx(limit, rel=0.02)
    assert far == pytest.approx(limit, rel=0.02)


def test_the_tangent_kernel_of_two_relu_layers_by_hand():
    laws = separation(normalize(activation("relu")))
    rho = 0.4
    slopes = [1 - np.arccos(value) / np.pi for value in (rho, _arc_cosine(rho))]
    by_hand = (rho * slopes[0] * slopes[1] + _arc_cosine(rho) * slopes[1]) / 2
    assert tangent_kernel_ratio(laws, 2, rho)[1] == pytest.approx(by_hand, abs=1e-8)


def test_the_curvature_that_is_spent_by_an_almost_cubic_function():
    # phi = x + c (x^3 - 3 x) has 1 - C(rho) = delta - C''(1) (delta^2/2 - delta^3/6): 2/3 of C''(1) while delta is 1.
    laws = separation(normalize(activation("tanh(0.1*x)")))
    assert laws.spent(100) == pytest.approx(laws.curvature * 100 * 2 / 3, rel=0.02)
    assert separation(activation("x")).spent(1000) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("spec", "words"), [("sign", "jumps"), ("tanh", "normalize"), ("2*x", "E phi\\^2 = 4")])
def test_what_has_no_separation_is_refused(spec, words):
    with pytest.raises(UsageError, match=words):
        separation(activation(spec))


def test_correlations_outside_the_table_are_refused():
    with pytest.raises(UsageError, match=r"\[0, 1\]"):
        separation(activation("x")).losses(3, -0.5)
    with pytest.raises(UsageError, match="whole number"):
        separation(activation("x")).losses(-1)
