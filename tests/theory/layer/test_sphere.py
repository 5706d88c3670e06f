"""One layer at finite width: reference values, closed forms, literal formulas and simulation."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, special

from theory.activations import catalog
from theory.activations.callable import CallableActivation
from theory.activations.specification import activation
from theory.errors import UsageError
from theory.gaussian.expectations import expectations
from theory.layer.sphere import mean_squared_length, mean_squared_slope, sphere_expectations
from theory.normalization.normalize import normalize

TANH = normalize(activation("tanh"))
SQUARE = {"it": lambda _h, value, _slope: value**2}


def literal(phi, width, q=1.0):
    """Q_n(q) straight from the density of one coordinate, by QUADPACK between the breakpoints."""
    radius = math.sqrt(width * q)
    log_constant = special.gammaln(width / 2) - special.gammaln((width - 1) / 2) - 0.5 * math.log(math.pi)
    inner = [t / radius for t in phi.breakpoint_values if abs(t) < radius]
    edges = [-1.0, *inner, 1.0]

    def integrand(t):
        return float(phi.value(radius * t)) ** 2 * math.exp(log_constant) * (1 - t * t) ** ((width - 3) / 2)

    return sum(
        integrate.quad(integrand, low, high, epsabs=1e-13, epsrel=1e-13, limit=300)[0] for low, high in pairwise(edges)
    )


@pytest.mark.parametrize(
    ("width", "length", "slope"),
    [
        (16, 1.02365907997594, 0.97119214555573),
        (64, 1.00580176779334, 0.992971528051574),
        (1024, 1.00036035293834, None),
    ],
)
def test_reference_values_for_tanh(width, length, slope):
    assert mean_squared_length(TANH, width).value == pytest.approx(length, abs=1.1e-14)
    if slope is not None:
        assert mean_squared_slope(TANH, width).value == pytest.approx(slope, abs=1.1e-14)


@pytest.mark.parametrize("name", ["tanh", "relu", "elu", "gelu", "hard_tanh", "softsign"])
@pytest.mark.parametrize(("width", "q"), [(4, 1.0), (9, 0.3), (40, 2.5)])
def test_agrees_with_the_literal_density(name, width, q):
    phi = activation(name)
    found = mean_squared_length(phi, width, q)
    assert found.error < 1e-13
    assert found.value == pytest.approx(literal(phi, width, q), abs=1e-11)


@pytest.mark.parametrize("radius", [0.5, 3.0, 40.0])
def test_closed_form_at_width_three(radius):
    # Archimedes: a coordinate is uniform on [-R, R]; the mean of tanh^2 is 1 - tanh(R)/R
    found = mean_squared_length(activation("tanh"), 3, radius**2 / 3)
    assert abs(found.value - (1 - math.tanh(radius) / radius)) <= found.error < 2e-14


@pytest.mark.parametrize("radius", [0.5, 3.0, 40.0])
def test_closed_form_at_width_two(radius):
    # h = R cos(theta) with theta uniform: E sin(h)^2 = (1 - J_0(2R))/2
    found = mean_squared_length(activation("sin"), 2, radius**2 / 2)
    assert abs(found.value - (1 - special.j0(2 * radius)) / 2) <= found.error + 1e-15
    assert found.error < 2e-14


@pytest.mark.parametrize("width", [2, 3, 5, 100, 10**6])
def test_homogeneous_functions_keep_the_mean_length_at_every_width(width):
    relu = normalize(activation("relu"))
    assert mean_squared_length(relu, width, 1.7).value == pytest.approx(1.7, abs=1e-14)
    assert mean_squared_slope(relu, width).value == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("width", [2, 7, 1000, 10**6])
def test_moments_of_the_coordinate(width):
    # E h^2 = q, E h^4 = 3 n q^2/(n + 2)
    identity = activation("identity")
    found = sphere_expectations(
        identity, width, {"second": lambda h, _value, _slope: h**2, "fourth": lambda h, _v, _s: h**4}, 2.0
    )
    assert abs(found["second"].value - 2) <= found["second"].error < 1e-13
    assert abs(found["fourth"].value - 12 * width / (width + 2)) <= found["fourth"].error < 1e-12


@pytest.mark.parametrize("name", ["tanh", "gelu", "elu", "silu"])
def test_first_order_in_one_over_the_width(name):
    # Q_n(1) = 1 - E[phi^2 He_4]/(4n) + O(1/n^2)
    phi = normalize(activation(name))
    fourth = expectations(phi, {"it": lambda z, value, _slope: value**2 * (z**4 - 6 * z**2 + 3)})["it"].value
    for width in (10**3, 10**4, 10**5):
        rest = mean_squared_length(phi, width).value - (1 - fourth / (4 * width))
        assert abs(rest) < 20 / width**2


@pytest.mark.parametrize("name", catalog.names())
def test_a_million_neurons_are_gaussian(name):
    phi = activation(name)
    gaussian = expectations(phi, SQUARE)["it"].value
    assert mean_squared_length(phi, 10**6).value == pytest.approx(gaussian, rel=2e-5)
    assert mean_squared_length(phi, 10**12).value == pytest.approx(gaussian, rel=1e-10)


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
@pytest.mark.parametrize("width", [2, 5, 33])
def test_simulation(name, width):
    # Two-sided 5 standard errors: a false alarm has probability 6e-7 in each of 18 comparisons.
    rng = np.random.default_rng(20260101)
    g = rng.standard_normal((200_000 // width, width))
    h = math.sqrt(1.3 * width) * g / np.linalg.norm(g, axis=1, keepdims=True)
    value, slope = activation(name).value_and_slope(h)
    for sample, exact in (
        ((value**2).mean(axis=1), mean_squared_length(activation(name), width, 1.3)),
        ((slope**2).mean(axis=1), mean_squared_slope(activation(name), width, 1.3)),
    ):
        standard_error = sample.std() / math.sqrt(len(sample))
        assert abs(sample.mean() - exact.value) <= 5 * standard_error + 1e-12


def test_singular_slopes_and_python_functions():
    root = mean_squared_slope(activation("abs(x)**0.75"), 3)
    # (1/R) int_0^R (9/16) x^(-1/2) dx with R = sqrt 3
    assert abs(root.value - 9 / 8 / 3**0.25) <= root.error < 1e-13
    kink = CallableActivation("kink", lambda x: abs(x - 0.4), lambda x: np.sign(x - 0.4), (0.4,))
    assert mean_squared_length(kink, 6).value == pytest.approx(1.16, abs=1e-13)


def test_misuse_is_refused():
    for width in (1, 2.5, 0):
        with pytest.raises(UsageError, match="width"):
            mean_squared_length(TANH, width)
    for q in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="q"):
            mean_squared_slope(TANH, 8, q)
