"""Lipschitz constants: closed forms, infinities, and never below what sampling finds."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import norm

from theory.activations import catalog
from theory.activations.activation import steps
from theory.activations.callable import CallableActivation
from theory.activations.specification import activation
from theory.errors import UsageError
from theory.normalization.lipschitz import INFLATION, lipschitz_constants, searched_lipschitz_constants

INF = math.inf
GELU_SLOPE = norm.cdf(math.sqrt(2)) + math.sqrt(2) * norm.pdf(math.sqrt(2))
KNOWN = {  # formula, radius: sup |phi'|, sup |phi''|
    ("identity", INF): (1, 0),
    ("tanh", INF): (1, 4 / (3 * math.sqrt(3))),
    ("tanh", 0.25): (1, 2 * math.tanh(0.25) / math.cosh(0.25) ** 2),
    ("gelu", INF): (GELU_SLOPE, 2 * norm.pdf(0)),
    ("sigmoid", INF): (0.25, 1 / (6 * math.sqrt(3))),
    ("softplus", INF): (1, 0.25),  # the slope only reaches 1 at infinity
    ("arctan", INF): (1, 9 / (8 * math.sqrt(3))),
    ("erf", INF): (2 / math.sqrt(math.pi), 2 * math.sqrt(2 / math.pi / math.e)),
    ("sin", INF): (1, 1),
    ("sin(50*x)", INF): (50, 2500),
    ("elu", INF): (1, 1),  # the curvature only reaches 1 at the breakpoint
    ("softsign", INF): (1, 2),
    ("selu", INF): (1.7580993408473766, INF),
    ("relu", INF): (1, INF),
    ("leaky_relu(3)", 0.1): (3, INF),
    ("relu6", 5.0): (1, INF),
    ("abs(x - 2)", 1.0): (1, 0),  # the kink lies outside
    ("sign", INF): (INF, INF),
    ("hardshrink", 0.4): (0, 0),  # the jump lies outside
    ("hardshrink", 0.6): (INF, INF),
    ("relu_squared", INF): (INF, 2),
    ("relu_squared", 3.0): (6, 2),
    ("exp(x)", INF): (INF, INF),
    ("exp(x)", 3.0): (math.exp(3), math.exp(3)),
    ("x*log(abs(x))", 1.0): (INF, INF),  # a logarithm's growth at 0
    ("abs(x)**1.5", 4.0): (3, INF),
    ("x*sin(x)", INF): (INF, INF),
    ("exp(-exp(x))", INF): (math.exp(-1), None),
    ("sin(x)/x", INF): (None, 1 / 3),  # a removable singularity
    ("exp(-((x-2.117)*1000)**2/2)", INF): (1000 * math.exp(-0.5), 1e6),
    ("1/cos(x)", INF): (INF, INF),
}


@pytest.mark.parametrize(("formula", "radius"), KNOWN)
@pytest.mark.parametrize("search", [searched_lipschitz_constants, lipschitz_constants])
def test_known_constants(search, formula, radius):
    found = search(activation(formula), radius)
    accuracy = 3e-10 if found.certified else 3 * INFLATION
    for value, exact in zip((found.slope, found.curvature), KNOWN[formula, radius], strict=True):
        if exact is not None:
            assert value == pytest.approx(exact, rel=accuracy) if exact < INF else value == INF
            assert value >= exact
    assert not found.certified or search is lipschitz_constants


@pytest.mark.parametrize("name", catalog.names())
def test_the_whole_catalog_is_certified(name):
    assert lipschitz_constants(activation(name)).certified
    assert lipschitz_constants(activation(name), 6.0).certified


@pytest.mark.parametrize("name", catalog.names())
@pytest.mark.parametrize("radius", [0.7, 6.0, INF])
def test_never_below_a_random_sample(name, radius):
    phi = activation(name)
    found = lipschitz_constants(phi, radius)
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, 20_000) * min(radius, 50.0)
    value, slope = phi.value_and_slope(x)
    assert np.abs(slope).max() <= found.slope
    if found.curvature < INF:
        assert np.abs(phi.curvature(x)).max() <= found.curvature
    order = np.argsort(x)
    steps_of_value, steps_of_x = np.abs(np.diff(value[order])), np.diff(x[order])
    assert np.all(steps_of_value <= found.slope * steps_of_x * (1 + 1e-9) + 1e-12)


@pytest.mark.parametrize("name", ["tanh", "gelu", "elu", "snake", "relu_squared", "cos"])
def test_constants_grow_with_the_radius(name):
    radii = [0.1, 0.5, 1.0, 2.0, 5.0, 20.0, 1000.0, INF]
    found = [lipschitz_constants(activation(name), radius) for radius in radii]
    for small, large in pairwise(found):
        assert small.slope <= large.slope * (1 + 2 * INFLATION)
        assert small.curvature <= large.curvature * (1 + 2 * INFLATION)


def test_python_functions():
    sine = CallableActivation("sine", np.sin, np.cos)
    found = lipschitz_constants(sine, 10.0)
    assert found.slope == pytest.approx(1, rel=1e-8)
    assert found.curvature == pytest.approx(1, rel=1e-6)
    kink = CallableActivation("kink", np.abs, np.sign, (0.0,))
    assert steps(kink, "slope") == (0.0,)
    assert steps(kink, "value") == ()
    assert lipschitz_constants(kink, 1.0).curvature == INF
    jump = CallableActivation("jump", np.sign, np.zeros_like, (0.0,))
    assert steps(jump, "value") == (0.0,)
    assert lipschitz_constants(jump, 1.0).slope == INF


def test_misuse_is_refused():
    for radius in (0.0, -1.0, math.nan):
        with pytest.raises(UsageError, match="radius"):
            lipschitz_constants(activation("tanh"), radius)
