"""Means over one layer by double inversion: closed forms, another implementation, simulation, and bounds on cells."""

import mpmath
import numpy as np
import pytest
import sympy

from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.activations.specification import activation
from theory.bounds.certificate import Tent
from theory.bounds.grid import cells, gaussian_nodes, points
from theory.bounds.layer_means import log_mean, log_pair_mean, tent_systems
from theory.errors import UsageError
from theory.layer.conditioning import log_sphere_mean, normal_nodes
from theory.normalization.lipschitz import lipschitz_constants
from theory.normalization.normalize import normalize
from theory.numerics.arithmetic import X


def nodes_of(phi, width, highest=1.5):
    radius = float(np.sqrt(width * highest))
    return gaussian_nodes(phi, radius, lipschitz_constants(phi, radius).slope ** 2)


@pytest.mark.parametrize("width", [120, 1000, 100_000])
@pytest.mark.parametrize(("tau", "c"), [(0.05, 0.2), (-0.2, -0.4), (0.0, 0.1), (0.0, 0.0)])
def test_a_linear_activation_has_its_closed_form(width, tau, c):
    nodes, q = nodes_of(Activation("identity", X), width), np.array([0.8, 1.0, 1.3])
    found = log_pair_mean(nodes, np.array([tau]), c * nodes.z[None, :] ** 2, width, points(q)).at_centres()[0]
    assert found == pytest.approx(width * (tau + c * q), abs=1e-11 * width + 1e-9)


@pytest.mark.parametrize(("width", "tau"), [(120, 0.2), (120, -0.4), (300, 0.05), (300, -0.1)])
def test_two_slopes_have_their_closed_form(width, tau):
    # |Du|^2 = s0 + (s1 - s0) B with k ~ Bin(n, 1/2) positive coordinates and B ~ Beta(k/2, (n-k)/2), whose
    # exponential moments are confluent hypergeometric functions.
    phi = Activation("two slopes", sympy.Piecewise((X, X > 0), (X / 2, True)))
    nodes = nodes_of(phi, width)
    found = log_pair_mean(nodes, np.array([tau]), np.zeros((1, len(nodes.z))), width, points(np.ones(1)))
    with mpmath.workdps(30):
        t, n = mpmath.mpf(tau) * width, mpmath.mpf(width)
        terms = (mpmath.binomial(width, k) * mpmath.hyp1f1(k / 2, n / 2, 0.75 * t) for k in range(width + 1))
        exact = 0.25 * t + mpmath.log(mpmath.fsum(terms)) - width * mpmath.log(2)
    assert found.at_centres()[0, 0] == pytest.approx(float(exact), abs=1e-8)  # it allows for frequencies left out


@pytest.mark.parametrize("name", ["tanh", "hard_tanh", "selu"])
def test_single_means_agree_with_the_scalar_implementation(name):
    phi, width = normalize(activation(name)), 200
    nodes = nodes_of(phi, width)
    psi = np.stack(
        [0.1 * nodes.value**2, 0.2 * nodes.slope**2 - 0.1 * nodes.z**2, -0.3 * (nodes.value * nodes.slope) ** 2]
    )
    found = log_mean(nodes, psi, width, points(np.array([0.85, 1.2]))).at_centres()
    rule = normal_nodes(float(np.sqrt(1.5 * width)), phi.breakpoint_values)
    f, d = phi.value_and_slope(rule.points)
    other = [0.1 * f**2, 0.2 * d**2 - 0.1 * rule.squares, -0.3 * (f * d) ** 2]
    wanted = [[log_sphere_mean(rule, p, width, q).log for q in (0.85, 1.2)] for p in other]
    assert found == pytest.approx(np.array(wanted), abs=1e-8)


def test_pair_means_agree_with_simulation():
    # Three comparisons at 5 standard errors: false alarm below 2e-6, with a fixed seed.
    phi, width, trials = normalize(activation("sin")), 60, 40_000
    nodes, rng = nodes_of(phi, width), np.random.default_rng(5)
    h, w = rng.standard_normal((2, trials, width))
    h *= np.sqrt(1.1 * width) / np.linalg.norm(h, axis=1, keepdims=True)
    w *= np.sqrt(width) / np.linalg.norm(w, axis=1, keepdims=True)
    f, d = phi.value_and_slope(h)
    for tau, c in [(0.06, 0.05), (-0.1, 0.1), (0.1, -0.1)]:
        sample = np.exp(tau * (d**2 * w**2).sum(axis=1) + c * (f**2).sum(axis=1))
        exact = log_pair_mean(nodes, np.array([tau]), c * nodes.value[None, :] ** 2, width, points(np.array([1.1])))
        error = 5 * sample.std() / np.sqrt(trials) / sample.mean()
        assert exact.at_centres()[0, 0] == pytest.approx(np.log(sample.mean()), abs=error)


@pytest.mark.parametrize("name", ["tanh", "selu"])
@pytest.mark.parametrize("width", [100, 2000])
def test_suprema_lie_just_above_every_value_inside(name, width):
    phi = normalize(activation(name))
    nodes, (low, high) = nodes_of(phi, width), (1 - 4 / np.sqrt(width), 1 + 4.5 / np.sqrt(width))
    rates, constants = np.array([-0.02, -0.05]) * width, np.array([0.0, 1.0])
    tents = [Tent(0.1 * np.sqrt(width), 1.0), Tent(-0.2 * np.sqrt(width), 0.0)]
    outputs = [Tent(1.0, 0.5), Tent(-2.0, 0.0)]
    tau, psi, weights = tent_systems(nodes, width, rates, constants, tents)
    found = log_pair_mean(nodes, tau, psi, width, cells(low, high, width)).suprema(weights, outputs)
    q = np.linspace(low, high, 97)
    inside = log_pair_mean(nodes, tau, psi, width, points(q)).at_centres().reshape(2, 4, -1) + weights[:, :, None]
    values = np.logaddexp.reduce(inside, axis=1) - np.stack([f.log(q) for f in outputs])
    assert np.all(found >= values.max(axis=1))
    assert np.all(found <= values.max(axis=1) + 2e-3)


def test_cells_cover_the_interval_without_gaps():
    grid = cells(0.5, 1.7, 321)
    ends = np.stack([grid.centre - grid.half, grid.centre + grid.half])
    assert ends[0, 0] == pytest.approx(0.5, abs=1e-15)
    assert ends[1, -1] == pytest.approx(1.7, abs=1e-15)
    assert ends[1, :-1] == pytest.approx(ends[0, 1:], abs=1e-14)


def test_what_does_not_settle_is_infinite():
    nodes = nodes_of(Activation("identity", X), 400)
    too_steep = log_mean(nodes, np.abs(nodes.z[None, :]) ** 3, 400, points(np.ones(1)))  # mass runs to the guard nodes
    assert too_steep.at_centres()[0, 0] == np.inf
    too_narrow = log_mean(nodes, np.zeros((1, len(nodes.z))), 16, points(np.ones(1)))  # frequencies do not decay
    assert too_narrow.at_centres()[0, 0] == np.inf
    beyond = log_pair_mean(nodes, np.array([0.1]), np.full((1, len(nodes.z)), np.nan), 400, points(np.ones(1)))
    assert beyond.at_centres()[0, 0] == np.inf


def test_a_rough_activation_is_refused():
    with pytest.raises(UsageError, match="settle"):
        gaussian_nodes(
            CallableActivation("rough", lambda x: np.sin(300 * x), lambda x: 300 * np.cos(300 * x)), 20.0, 9e4
        )
