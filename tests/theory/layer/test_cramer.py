"""Cramér's bound on the sphere: figures, Kummer functions for ReLU, sharpness, small widths, edges."""

import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from tests.oracles.one_layer import (
    additive_bound,
    cramer_backward_fixed,
    cramer_backward_random,
    cramer_forward,
    exact_forward,
    normal_factor,
)
from theory.activations.callable import CallableActivation
from theory.activations.specification import activation
from theory.errors import UsageError
from theory.layer.conditioning import log_sphere_mean, normal_nodes
from theory.layer.cramer import cramer
from theory.layer.exact import exact_tail
from theory.layer.law import event, layer_law
from theory.layer.radial import log_radial_mean
from theory.layer.saddle import find_saddle
from theory.normalization.normalize import normalize

TANH, RELU = normalize(activation("tanh")), normalize(activation("relu"))
SIDES = ("upper", "lower")
CLAIMS = ("forward-one-step", "backward-one-step-random", "backward-one-step-fixed")


@pytest.mark.parametrize(
    ("function", "phi", "width", "upper", "lower"),
    [
        (cramer_forward, TANH, 128, 2.447e-2, 1.535e-2),
        (cramer_forward, TANH, 512, 2.578e-7, 7.91e-8),
        (cramer_forward, RELU, 512, 3.0623e-2, 3.0623e-2),
        (cramer_backward_random, TANH, 256, 3.038e-2, 2.485e-2),
        (cramer_backward_random, RELU, 256, 0.17614, 0.17614),
    ],
)
def test_figures(function, phi, width, upper, lower):
    assert function(phi, width, 0.2, "upper").probability == pytest.approx(upper, rel=5e-4)
    assert function(phi, width, 0.2, "lower").probability == pytest.approx(lower, rel=5e-4)


def relu_moment(t, width):
    """log E exp(2 t sum max(h,0)^2) for |h|^2 = n, by Kummer's function."""
    terms = [
        mpmath.binomial(width, k) * mpmath.hyp1f1(mpmath.mpf(k) / 2, mpmath.mpf(width) / 2, 2 * mpmath.mpf(t) * width)
        for k in range(width + 1)
    ]
    return float(mpmath.log(mpmath.fsum(terms)) - width * mpmath.log(2))


@pytest.mark.parametrize("width", [2, 3, 8, 15, 16, 30])
@pytest.mark.parametrize("side", SIDES)
def test_relu_reaches_the_minimum_over_the_tilt(width, side):
    sign = 1 if side == "upper" else -1
    for epsilon in (0.6,):
        best = minimize_scalar(
            lambda t: relu_moment(sign * t, width) - sign * t * width * (1 + sign * epsilon),  # noqa: B023
            bounds=(0, 4),
            method="bounded",
            options={"xatol": 1e-4},
        ).fun
        found = cramer_forward(RELU, width, epsilon, side).log
        assert best - 1e-7 <= found <= best + (2e-2 if width < 16 else 2e-4)


@pytest.mark.parametrize("width", [2, 3, 4, 6, 9, 12])
def test_the_radial_recursion_is_kummer_for_relu(width):
    for t in (0.1, 0.5, -0.4):
        coarse, fine = (
            log_radial_mean(lambda x: 2 * t * np.maximum(x, 0) ** 2, np.array([0.0]), width, points=points)  # noqa: B023
            for points in (120, 240)
        )
        assert abs(fine - relu_moment(t, width)) < min(2e-4, 2 * abs(fine - coarse) + 1e-12)


@pytest.mark.parametrize("width", [16, 24])
@pytest.mark.parametrize(("step", "accuracy"), [(0.0, 3e-4), (0.3, 2e-3)])
def test_the_radial_recursion_meets_the_inversion(width, step, accuracy):
    def psi(x):
        return 0.5 * np.tanh(x - 0.3) + np.maximum(x - 0.8, 0) / 5 + step * (x > 0.8)

    nodes = normal_nodes(math.sqrt(width), [0.8], panel=0.2)
    expected = log_sphere_mean(nodes, psi(nodes.points), width).log
    coarse, fine = (log_radial_mean(psi, np.array([0.8]), width, points=points) for points in (60, 240))
    assert fine == pytest.approx(expected, abs=accuracy)
    assert abs(fine - expected) <= 2 * abs(fine - coarse) + 1e-6


@pytest.mark.parametrize("width", [128, 1024, 10**5])
@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("side", SIDES)
def test_the_bound_is_sharp(width, claim, side):
    # Bound over probability is lambda sigma sqrt(2 pi n), up to 1/(lambda sigma sqrt(n))^2 and 1/n.
    happening = event(claim, layer_law(TANH, width), 0.3, side)
    saddle = find_saddle(happening)
    ratio = cramer(happening, saddle).log - exact_tail(happening, saddle).log
    assert 0 < ratio - math.log(normal_factor(happening, saddle)) < 0.4 if width == 128 else ratio > 0
    distance = normal_factor(happening, saddle) / math.sqrt(2 * math.pi)
    assert abs(ratio - math.log(normal_factor(happening, saddle))) < 1.5 / distance**2 + 4 / width


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("side", SIDES)
def test_the_bound_falls_with_the_tolerance(claim, side):
    law = layer_law(normalize(activation("silu")), 300)
    logs = [cramer(event(claim, law, epsilon, side)).log for epsilon in (1e-3, 0.05, 0.1, 0.3, 0.6, 0.9)]
    assert all(later <= earlier for earlier, later in pairwise(logs))
    assert logs[0] <= 0
    assert logs[-1] < -20


@pytest.mark.parametrize(("name", "root"), [("relu", "minus"), ("relu_squared", "plus"), ("gelu", "minus")])
def test_one_giant_coordinate_does_not_break_the_bound(name, root):
    # Condensation: the upper tail is made by a few giant coordinates, and the inversion has no Gaussian saddle.
    # The exact lower 1 - 1e-7 limit of each count must lie below the bound: false alarm 1e-7 each, 3 x 2 x 4 counts.
    phi = normalize(activation(name), root)
    for width, trials in ((64, 40_000), (1000, 4_000)):
        g = np.random.default_rng([31, width]).standard_normal((trials, width))
        squares = np.mean(phi.value(g * np.sqrt(width / np.sum(g * g, axis=1, keepdims=True))) ** 2, axis=1)
        law = layer_law(phi, width)
        for epsilon in (0.2, 0.5, 1.0, 2.0):
            bound = cramer(event("forward-one-step", law, epsilon, "upper"))
            hits = int(np.sum(squares >= 1 + epsilon))
            assert bound.log <= 0
            assert hits - 5.2 * math.sqrt(hits + 1) - 5 <= trials * bound.probability
    far = cramer_forward(phi, 10**6, 0.6, "upper")
    assert far.log <= 0
    assert far.kind in ("cramer", "none")


def test_additive_bounds_of_any_average():
    # The fourth moment: sum h_i^4 >= 4 n, against simulation with a factor that the bound must keep.
    width, rng = 100, np.random.default_rng(32)
    nodes = normal_nodes(math.sqrt(width), panel=0.25)
    gain = nodes.points**4 - 4.0
    bounds = [additive_bound(nodes, gain, width, tilt) for tilt in (0.0, 0.005, 0.01, 0.02)]
    g = rng.standard_normal((40_000, width))
    h = g * np.sqrt(width / np.sum(g * g, axis=1, keepdims=True))
    fraction = np.mean(np.sum(h**4, axis=1) >= 4 * width)
    assert bounds[0] == pytest.approx(0, abs=1e-9)
    assert fraction < math.exp(min(bounds)) < 1


def test_unreachable_certain_and_meaningless_targets_say_so():
    assert cramer_forward(TANH, 256, 2.4447, "upper").log == -np.inf
    assert cramer_forward(TANH, 256, 1.2, "lower").log == -np.inf
    assert cramer_backward_random(TANH, 5, 1.1534, "upper").reason == "the target cannot be reached"
    assert cramer_forward(RELU, 64, 1.5, "upper").log == -np.inf  # q_1 <= 2 on the sphere, though phi is unbounded
    certain = cramer_forward(activation("identity"), 50, 0.2, "upper", q=1.3)
    assert (certain.log, certain.reason) == (0.0, "the event is certain")
    inside = cramer_forward(TANH, 64, 0.001, "upper", q=2.0)
    assert inside.log == 0
    assert inside.reason


def test_bounds_are_logarithms_at_any_width():
    assert cramer_forward(TANH, 10**6, 0.4, "upper").log == pytest.approx(-1.2e5, rel=0.1)
    assert cramer_backward_random(TANH, 10**6, 0.4, "lower").log < -5e4


def test_a_python_function_is_accepted():
    function = CallableActivation("soft", np.arctan, lambda x: 1 / (1 + x * x))
    named = activation("arctan")
    for method in (cramer_forward, cramer_backward_random, cramer_backward_fixed):
        for side in SIDES:
            # arctan as it is has mean squares of about 0.4 and 0.5: the lower events are near certain
            found, expected = method(function, 60, 0.2, side), method(named, 60, 0.2, side)
            assert found.log == pytest.approx(expected.log, abs=1e-8)


def test_the_bound_exceeds_the_probability_at_other_lengths():
    for q in (0.5, 1.4):
        for side in SIDES:
            bound, truth = (f(TANH, 50, 0.35, side, q) for f in (cramer_forward, exact_forward))
            assert truth.log <= bound.log


def test_misuse_is_refused():
    with pytest.raises(UsageError, match="epsilon"):
        cramer_forward(TANH, 64, 0.0, "upper")
    with pytest.raises(UsageError, match="side"):
        cramer_backward_random(TANH, 64, 0.1, "above")
    with pytest.raises(UsageError, match="width"):
        cramer_backward_fixed(TANH, 1, 0.1, "upper")
    with pytest.raises(UsageError, match="claim"):
        event("deep", layer_law(TANH, 16), 0.1, "upper")
