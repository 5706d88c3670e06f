"""The length map: its slope, fixed points, basins and the gradient rates of networks that are not normalized."""

import math

import numpy as np
import pytest

from theory.activations.specification import activation
from theory.depth.fixed_points import gradient_rate, length_dynamics
from theory.depth.length_map import depth_factors, length_map, length_map_slope, slope_map
from theory.errors import UsageError
from theory.normalization.normalize import normalization, normalize

NAMES = ("tanh", "relu", "elu", "selu", "gelu", "silu", "softplus", "hard_tanh", "cos")


@pytest.mark.parametrize("name", NAMES)
def test_slope_of_the_length_map_is_its_derivative_and_chi(name):
    found = normalization(activation(name), "plus")
    phi = normalize(activation(name), "plus")
    assert length_map(phi, 1.0).value == pytest.approx(1, abs=1e-13)
    assert slope_map(phi, 1.0).value == pytest.approx(1, abs=1e-13)
    assert length_map_slope(phi).value == pytest.approx(found.chi, abs=1e-13)
    for q in (0.2, 1.0, 5.0):
        step = 1e-3 * q
        difference = (
            8 * (length_map(phi, q + step).value - length_map(phi, q - step).value)
            - length_map(phi, q + 2 * step).value
            + length_map(phi, q - 2 * step).value
        ) / (12 * step)
        assert length_map_slope(phi, q).value == pytest.approx(difference, abs=1e-9)


def test_closed_forms():
    relu, sine = activation("relu"), activation("sin")
    for q in (1e-8, 0.3, 7.0, 1e5):
        assert length_map(relu, q).value == pytest.approx(q / 2, rel=1e-14)
        assert slope_map(relu, q).value == pytest.approx(0.5, rel=1e-14)
        assert length_map(sine, q).value == pytest.approx(-math.expm1(-2 * q) / 2, rel=1e-12)
        assert slope_map(sine, q).value == pytest.approx((1 + math.exp(-2 * q)) / 2, rel=1e-12)
    assert length_map(activation("cos"), 0.0).value == pytest.approx(1)
    assert slope_map(activation("leaky_relu(0.5)"), 0.0).value == pytest.approx(0.625)  # both sides of the kink


def test_length_map_against_simulation():
    # 5 standard errors, two-sided: a false alarm has probability 6e-7 in each of 6 comparisons.
    z = np.random.default_rng(7).standard_normal(400_000)
    for name in ("gelu", "tanh"):
        for q in (0.1, 1.0, 9.0):
            sample = activation(name).value(math.sqrt(q) * z) ** 2
            error = sample.std() / math.sqrt(len(sample))
            assert abs(sample.mean() - length_map(activation(name), q).value) < 5 * error


@pytest.mark.parametrize(("name", "repels"), [("silu", 7.271), ("gelu", 105.1)])
def test_basin_of_the_minus_root_ends_at_a_repelling_fixed_point(name, repels):
    phi = normalize(activation(name), "minus")
    dynamics = length_dynamics(phi)
    inner, outer = dynamics.fixed_points
    assert (inner.q, inner.stability, outer.stability) == (1.0, "attracting", "repelling")
    assert round(outer.q, 3 if outer.q < 100 else 1) == repels
    assert dynamics.basin == (pytest.approx(1e-6), outer.q)
    for q, limit in ((0.999 * outer.q, 1.0), (1.001 * outer.q, math.inf)):  # follow the map itself
        for _ in range(2000):
            q = length_map(phi, q).value
            if abs(q - 1) < 1e-6 or q > 1e4:
                break
        assert (q > 1e4) == (limit > 1e4)


@pytest.mark.parametrize("formula", ["log(1 + exp(x))", "softplus"])
def test_a_formula_that_overflows_has_no_fixed_point_there(formula):
    """exp(x) overflows beyond 709, so E phi^2 does in float64 from q = 358 on."""
    (point,) = length_dynamics(activation(formula)).fixed_points
    assert point.q == pytest.approx(0.85631, abs=1e-5)


def test_a_length_that_creeps_back_returns():
    """Of relu6 with b_plus: chi is 1 - 7.2e-8, so that 2000 layers do not bring back a length."""
    phi = normalize(activation("min(max(x, 0), 6)"), "plus")
    assert length_dynamics(phi).basin == (pytest.approx(1e-6), pytest.approx(1e6))
    assert length_map(phi, 0.5).value > 0.5
    assert length_map(phi, 2.0).value < 2.0


def test_gelu_plus_repels_from_one_to_a_short_length():
    phi = normalize(activation("gelu"), "plus")
    dynamics = length_dynamics(phi)
    short, one = dynamics.fixed_points
    assert (one.q, one.stability, dynamics.basin) == (1.0, "repelling", None)
    assert short.stability == "attracting"
    assert length_map(phi, short.q).value == pytest.approx(short.q, rel=1e-10)
    # at width 1024, depth 100 the median length was seen at 0.017
    assert 0.015 < short.q < 0.017
    assert gradient_rate(phi, 0.99).q == short.q
    assert gradient_rate(phi, 1.01).q == math.inf


@pytest.mark.parametrize("name", ["tanh", "elu", "selu", "relu_minus", "sin"])
def test_basins_without_end(name):
    phi = normalize(activation(name.removesuffix("_minus")), "minus" if name.endswith("minus") else "plus")
    dynamics = length_dynamics(phi)
    assert [point.q for point in dynamics.fixed_points] == [1.0]
    assert dynamics.basin == (pytest.approx(1e-6), pytest.approx(1e6))


def test_homogeneous_functions_have_a_continuum_and_marginal_ones_no_basin():
    assert length_dynamics(normalize(activation("relu"))).continuum
    shrink = length_dynamics(normalize(activation("softshrink"), "plus"))
    assert [point.stability for point in shrink.fixed_points] == ["marginal"]
    assert shrink.basin is None


def test_published_gelu_constants_on_the_erf_form():
    rate = gradient_rate(activation("1.4915*gelu(x) - 0.9097"))
    assert round(rate.q, 6) == 1.016325
    assert round(math.exp(200 * rate.rate)) == 25  # over 200 layers
    assert round(slope_map(activation("1.4915*gelu(x) - 0.9097"), 1.0).value ** 200) == 16


@pytest.mark.parametrize(
    ("formula", "q", "rate"),
    [
        ("relu", 0.0, -math.log(2)),
        ("tanh", 0.0, 0.0),
        ("x/2", 0.0, -math.log(4)),
        ("2*relu(x)", math.inf, math.log(2)),
        ("exp(x)", math.inf, math.inf),
        ("2*x", math.inf, math.log(4)),
    ],
)
def test_rates_of_vanishing_and_exploding_networks(formula, q, rate):
    found = gradient_rate(activation(formula))
    assert found.q == q
    assert found.rate == pytest.approx(rate, abs=1e-12)


def test_rate_at_an_inner_fixed_point_is_reached_by_iterating():
    phi, q = activation("2*tanh(x)"), 1.0
    for _ in range(200):
        q = length_map(phi, q).value
    found = gradient_rate(phi)
    assert found.q == pytest.approx(q, rel=1e-10)
    assert found.rate == pytest.approx(math.log(slope_map(phi, q).value), rel=1e-9)


def test_normalized_networks_have_rate_zero():
    for name in ("tanh", "relu", "elu"):
        found = gradient_rate(normalize(activation(name)))
        assert found.q == 1.0
        assert abs(found.rate) < 1e-13


def test_misuse_is_refused():
    with pytest.raises(UsageError, match="q"):
        length_map(activation("tanh"), -1.0)
    with pytest.raises(UsageError, match="q > 0"):
        length_map_slope(activation("tanh"), 0.0)
    with pytest.raises(UsageError, match="contain 1"):
        length_dynamics(activation("tanh"), 2.0, 3.0)
    with pytest.raises(UsageError, match="start"):
        gradient_rate(activation("tanh"), 0.0)


def test_depth_factors_multiply_layer_by_layer():
    """Against the product written out, for an activation whose length has not settled."""
    phi = activation("1.1*tanh(x)+0.2")
    q, product = 1.0, 1.0
    for _ in range(10):
        product *= slope_map(phi, q).value
        q = length_map(phi, q).value
    (found,) = depth_factors(phi, [10])
    assert found.squared_gradient == pytest.approx(product, rel=1e-12)
    assert found.squared_length == pytest.approx(q, rel=1e-12)


def test_published_gelu_constants_on_the_exact_gelu_cost_a_factor_25_over_200_layers():
    (found,) = depth_factors(activation("1.4915*gelu(x)-0.9097"), [200])
    assert found.squared_length == pytest.approx(1.016325, abs=1e-6)
    assert found.squared_gradient == pytest.approx(25.2, abs=0.1)
