"""Means over one layer by inversion: closed forms, another implementation, simulation, and bounds on cells."""

import numpy as np
import pytest
from scipy import special, stats

from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.activations.specification import activation
from theory.bounds import layer_means
from theory.bounds.certificate import Mixture, tent
from theory.bounds.grid import Cells, cells, gaussian_nodes, points
from theory.bounds.layer_means import Envelope, Kernel, log_mean
from theory.errors import UsageError
from theory.layer.conditioning import log_sphere_mean, normal_nodes
from theory.normalization.lipschitz import lipschitz_constants
from theory.normalization.normalize import normalize
from theory.numerics.arithmetic import X


def nodes_of(phi, width, highest=1.5):
    radius = float(np.sqrt(width * highest))
    return gaussian_nodes(phi, radius, lipschitz_constants(phi, radius).slope ** 2)


def sums_at_centres(means, log_weight):
    """The bound on log sum_j e^{w_j} M_j at the centre of each cell, for w (N, T); (N, C)."""
    return special.logsumexp(means.at_centres().reshape(*log_weight.shape, -1) + log_weight[:, :, None], axis=1)


@pytest.mark.parametrize("width", [120, 1000, 100_000])
@pytest.mark.parametrize("c", [0.2, -0.4, 0.0])
def test_a_linear_activation_has_its_closed_form(width, c):
    nodes, q = nodes_of(Activation("identity", X), width), np.array([0.8, 1.0, 1.3])
    found = log_mean(nodes, c * nodes.z[None, :] ** 2, width, points(q)).at_centres()[0]
    assert found == pytest.approx(width * c * q, abs=1e-11 * width + 1e-9)


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


@pytest.mark.parametrize("name", ["tanh", "selu"])
@pytest.mark.parametrize("width", [100, 2000])
def test_suprema_lie_just_above_every_value_inside(name, width):
    phi = normalize(activation(name))
    nodes, (low, high) = nodes_of(phi, width), (1 - 4 / np.sqrt(width), 1 + 4.5 / np.sqrt(width))
    kernel = Kernel(np.array([0.0, 1.0]), np.array([-0.02, -0.05])[:, None] * nodes.slope**2)
    inputs = [tent(0.1 * np.sqrt(width), 1.0), tent(-0.2 * np.sqrt(width), 0.0)]
    outputs = [tent(1.0, 0.5), Mixture((-2.0,), (0.3,))]
    means, weights = kernel.means(nodes, width, inputs, cells(low, high, width))
    found = means.suprema(weights, outputs)
    q = np.linspace(low, high, 97)
    means, weights = kernel.means(nodes, width, inputs, points(q))
    values = sums_at_centres(means, weights) - np.stack([f.log(q) for f in outputs])
    assert np.all(found >= values.max(axis=1))
    assert np.all(found <= values.max(axis=1) + 2e-3)


def test_a_kernel_agrees_with_simulation():
    # One comparison at 5 standard errors: false alarm below 1e-6, with a fixed seed.
    phi, width, trials = normalize(activation("sin")), 60, 40_000
    nodes, rng, f = nodes_of(phi, width), np.random.default_rng(5), Mixture((3.0, -2.0, 0.5), (0.0, -1.0, 0.7))
    kernel = Kernel(np.array([0.3, -0.4]), np.array([0.05, -0.1])[:, None] * nodes.slope**2)
    h = rng.standard_normal((trials, width))
    h *= np.sqrt(1.1 * width) / np.linalg.norm(h, axis=1, keepdims=True)
    value, slope = phi.value_and_slope(h)
    weight = sum(np.exp(c + mu * (slope**2).sum(axis=1)) for c, mu in [(0.3, 0.05), (-0.4, -0.1)])
    q = (value**2).mean(axis=1)
    sample = weight * sum(np.exp(w + s * (q - 1)) for s, w in zip(f.slopes, f.log_weights, strict=True))
    means, weights = kernel.means(nodes, width, [f], points(np.array([1.1])))
    error = 5 * sample.std() / np.sqrt(trials) / sample.mean()
    assert sums_at_centres(means, weights)[0, 0] == pytest.approx(np.log(sample.mean()), abs=error)


def test_a_mixture_is_what_it_says():
    f, q = tent(3.0, 2.0), np.array([0.7, 1.0, 1.4])
    assert f.log(q) == pytest.approx(3 * (q - 1) + np.log(np.cosh(2 * (q - 1))), abs=1e-13)
    assert f.bow == pytest.approx(4.0)  # reached at q = 1
    step = 1e-4
    assert (f.log(1 + step) - 2 * f.log(1.0) + f.log(1 - step)) / step**2 == pytest.approx(f.bow, rel=1e-4)


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
    beyond = log_mean(nodes, np.full((1, len(nodes.z)), np.nan), 400, points(np.ones(1)))
    assert beyond.at_centres()[0, 0] == np.inf


def test_a_rough_activation_is_refused():
    with pytest.raises(UsageError, match="settle"):
        gaussian_nodes(
            CallableActivation("rough", lambda x: np.sin(300 * x), lambda x: 300 * np.cos(300 * x)), 20.0, 9e4
        )


def test_a_supremum_on_a_cell_is_its_formula(monkeypatch):
    # Five points, so that the margin is large; p = 1 - x^2/4 and f = cosh: the second derivative is at least -D.
    monkeypatch.setattr(layer_means, "_GRID", 5)
    n, centre, half = 40, 1.1, 0.2
    grid = Cells(np.array([centre]), np.array([half]))
    envelope = Envelope(n, grid, np.array([[2.0]]), np.array([[0.05]]), np.array([[[1.0, 0.0, -0.25]]]))
    x = np.linspace(-1, 1, 5)
    q, p = centre + half * x, 1 - x**2 / 4
    density = stats.chi2(n).logpdf(n * q)
    values = 0.3 + 2.0 - n * 0.05 * half * x + np.log(p) - density - np.log(np.cosh(3 * (q - 1)))
    least = 0.75 - 0.5 / 4  # |p'| is at most 0.5, and half a step 0.25
    bow = (0.5 / least) ** 2 + 0.5 / least + 9 * half**2 - (n / 2 - 1) * (half / (centre + half)) ** 2
    assert bow > 0
    expected = values.max() + bow * 0.5**2 / 8
    assert envelope.suprema(np.array([[0.3]]), [tent(0.0, 3.0)])[0] == pytest.approx(expected, abs=1e-6)
