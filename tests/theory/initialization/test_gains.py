"""Gains, regimes, the edge of chaos and paths, beside closed forms of sin and erf (Williams 1997) and of ReLU."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import lambertw

from theory.activations.specification import activation
from theory.depth.correlation import correlation_dynamics
from theory.depth.fixed_points import length_dynamics
from theory.depth.length_map import length_map, length_map_slope, slope_map
from theory.errors import ContradictionError, UsageError
from theory.initialization.edge import edge_of_chaos, edge_point
from theory.initialization.gains import gains
from theory.initialization.path import Layer, network_path
from theory.initialization.regime import regime
from theory.normalization.evidence import Evidence, gather_evidence
from theory.normalization.normalize import normalization

pytestmark = pytest.mark.quick
ERF, SIN, RELU, TANH = (activation(name) for name in ("erf", "sin", "relu", "tanh"))


def erf_square(q: float) -> float:
    return 2 / math.pi * math.asin(2 * q / (1 + 2 * q))


def erf_slope_square(q: float) -> float:
    return 4 / math.pi / math.sqrt(1 + 4 * q)


def test_maps_with_gain_and_bias_in_closed_form():
    for q, gain, bias in ((0.3, 1.7, 0.2), (4.0, 0.6, 1.5)):
        assert length_map(ERF, q, gain, bias).value == pytest.approx(gain**2 * erf_square(q) + bias**2, rel=1e-12)
        assert slope_map(ERF, q, gain).value == pytest.approx(gain**2 * erf_slope_square(q), rel=1e-12)
        exact = gain**2 * math.exp(-2 * q)  # of g^2 (1 - e^-2q)/2
        assert length_map_slope(SIN, q, gain).value == pytest.approx(exact, rel=1e-11)
    with pytest.raises(UsageError, match="gain"):
        slope_map(ERF, 1.0, 0.0)
    with pytest.raises(UsageError, match="sigma_b"):
        length_map(ERF, 1.0, 1.0, -0.1)


def test_fixed_point_with_bias_is_where_the_closed_form_says():
    gain, bias = 2.0, 0.5
    found = length_dynamics(ERF, points=61, gain=gain, bias=bias)
    (point,) = found.fixed_points  # q = 0 is none with biases
    assert gain**2 * erf_square(point.q) + bias**2 == pytest.approx(point.q, rel=1e-11)
    assert point.stability == "attracting"
    without = length_dynamics(ERF, points=61, gain=gain)
    assert [point.stability for point in without.fixed_points] == ["repelling", "attracting"]
    assert without.fixed_points[0].slope == pytest.approx(gain**2 * 4 / math.pi)


def test_both_sides_of_a_repelling_one_are_followed():
    """Of x^2: Q = q^2, to 0 or beyond all bounds. Of exp at g = 1/e: Q = e^(2q - 2), below 1 to q = -W(-2/e^2)/2."""
    square, steep = regime(activation("x**2"), 3**-0.5), regime(activation("exp(x)"), math.exp(-1))
    assert [(end.q, end.chi_q) for end in square.sides] == [(0.0, 0.0), (math.inf, 1e6)]
    assert square.sides[1].chi == pytest.approx(4e6 / 3)  # g^2 4 q at the largest q that is followed
    assert steep.sides[0].q == pytest.approx(-float(lambertw(-2 * math.exp(-2)).real) / 2, rel=1e-7)
    assert steep.sides[1].q == math.inf
    assert regime(TANH, 1.5925374196).sides == regime(RELU, math.sqrt(2)).sides == ()


def test_correlations_with_bias():
    """Of x + x^2 - 1 at q = 1: C(rho) = rho + 2 rho^2, so that g^2 C + sigma_b^2 has the limit sigma_b^2/(2 g^2)."""
    found = correlation_dynamics(activation("x + x**2 - 1"), 1.0, gain=2.0, bias=1.0)
    inner, one = found.fixed_points
    assert (inner.rho, inner.slope) == pytest.approx((1 / 8, 4 * 1.5 / 13), rel=1e-10)
    assert (one.rho, one.slope, found.curvature) == pytest.approx((1, 4 * 5 / 13, 4 * 4 / 13), rel=1e-10)


def test_edge_of_chaos_of_erf_is_the_closed_curve():
    q = 0.7
    gain = 1 / math.sqrt(erf_slope_square(q))
    bias = math.sqrt(q - gain**2 * erf_square(q))
    point = edge_point(ERF, q)
    assert (point.gain, point.bias) == pytest.approx((gain, bias), rel=1e-10)
    (same,) = edge_of_chaos(ERF, gain)
    assert (same.q, same.bias) == pytest.approx((q, bias), rel=1e-9)
    assert same.stability == "attracting"
    there = regime(ERF, gain, bias)
    assert (there.q, there.phase) == (pytest.approx(q, rel=1e-7), "edge of chaos")
    assert edge_of_chaos(ERF, 0.5) == ()
    assert edge_of_chaos(activation("sin(3*x)"), math.sqrt(2) / 3) == ()  # there chi = 1 + exp(-18 q), above 1
    (on_the_grid,) = edge_of_chaos(activation("x**2"), 0.5)  # 4 g^2 q = 1 at q = 1, and sigma_b^2 = 1 - 3/4
    assert (on_the_grid.q, on_the_grid.bias) == pytest.approx((1, 0.5))
    critical = math.sqrt(math.pi) / 2  # g phi'(0) = 1
    assert edge_of_chaos(ERF, critical)[0].q == 0.0
    assert edge_point(activation("x + 1"), 1.0) is None  # no variance is left for biases


def test_the_edge_at_length_one_has_the_constants_of_the_normalization():
    for phi in (TANH, ERF, SIN):
        point, found = edge_point(phi, 1.0), normalization(phi)
        assert (point.gain, point.bias) == pytest.approx((found.a, abs(found.b)), rel=1e-12)


def test_regimes_of_relu_are_those_of_he_2015():
    assert regime(RELU, math.sqrt(2)).lengths.continuum
    assert regime(RELU, math.sqrt(2)).phase == "edge of chaos"
    shrinking, growing = regime(RELU, 1.0), regime(RELU, 2.0)
    assert (shrinking.q, shrinking.chi) == (0.0, pytest.approx(0.5))
    assert (growing.q, growing.chi) == (np.inf, pytest.approx(2.0))
    held = regime(RELU, 1.0, 1.0)  # q = q/2 + 1
    assert held.q == pytest.approx(2.0, rel=1e-9)


def test_gains_are_the_closed_forms_and_say_what_is_missing():
    found = gains(activation("sin"), 30)
    exact = [math.sqrt(2 / -math.expm1(-2)), math.sqrt(2 / -math.expm1(-2)), math.sqrt(2 / (1 + math.exp(-2)))]
    assert list(found.values.values()) == pytest.approx(exact, rel=1e-15)
    assert found.certified
    assert len(found.values["length"].digits) == 31
    jump = gains(activation("step"))
    assert jump.values["length"] == pytest.approx(math.sqrt(2))
    assert jump.values["variance"] == pytest.approx(2)
    assert jump.values["gradient"] is None
    assert "jumps" in jump.reason
    assert not gains(activation(np.tanh)).certified
    assert gains(activation("0*x + 2")).values["gradient"] is None
    with pytest.raises(UsageError, match="digits"):
        gains(SIN, 0)


def test_a_wrong_moment_is_refused(monkeypatch):
    moments = gather_evidence(TANH, 18).moments
    for name, words in (("second", r"E \(g phi\)\^2"), ("slope_second", "above E phi'")):
        wrong = replace(moments, balls={**moments.balls, name: moments.balls[name] / 2})
        monkeypatch.setattr(
            "theory.initialization.gains.gather_evidence", lambda *_, wrong=wrong: Evidence(None, wrong)
        )
        with pytest.raises(ContradictionError, match=words):
            gains(TANH)


def test_path_of_different_layers_is_followed_layer_by_layer():
    layers = [Layer(SIN, 1.5, 0.3), Layer(ERF, 0.8), Layer(RELU, 1.0, 0.5)]
    path = network_path(layers, 2.0)
    first = 1.5**2 * 2.0 + 0.3**2
    q_1 = -math.expm1(-2 * first) / 2
    q_2 = erf_square(0.8**2 * q_1)
    q_3 = (q_2 + 0.25) / 2
    assert path.squared_lengths == pytest.approx([2.0, q_1, q_2, q_3], rel=1e-12)
    factors = [1.5**2 * (1 + math.exp(-2 * first)) / 2, 0.8**2 * erf_slope_square(0.8**2 * q_1), 0.5]
    assert np.exp(path.log_factors) == pytest.approx(factors, rel=1e-12)


def test_regime_is_that_of_sampled_networks():
    """Gaussian weights and biases, 3 networks of width 700: the mean square of h settles at q within 5 standard errors.

    The relative standard error of the mean over n neurons is about sqrt((E h^4/q^2 - 1)/n) = sqrt(2/2100), and layers
    feed back with slope below 1; the false-alarm probability is below 1e-5.
    """
    rng, width, gain, bias = np.random.default_rng(5), 700, 1.4, 0.3
    squares = []
    for _ in range(3):
        x = rng.standard_normal(width)
        for _ in range(12):
            h = gain * (rng.standard_normal((width, width)) @ x) / math.sqrt(width) + bias * rng.standard_normal(width)
            x = np.tanh(h)
        squares.append(np.mean(h * h))
    expected = regime(TANH, gain, bias)
    (point,) = expected.lengths.fixed_points
    error = math.sqrt(2 / (3 * width)) / math.sqrt(1 - point.slope**2)
    assert abs(np.mean(squares) / expected.q - 1) < 5 * error
