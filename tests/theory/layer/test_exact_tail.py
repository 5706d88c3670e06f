"""Exact one-step tails: closed forms of ReLU and |x|, the binomial, simulation, and what is not available."""

import math

import mpmath
import numpy as np
import pytest
from scipy import stats

from tests.oracles.one_layer import exact_backward_fixed, exact_backward_random, exact_forward
from theory.activations.callable import CallableActivation
from theory.activations.specification import activation
from theory.layer.exact import exact_tail
from theory.layer.law import event, layer_law
from theory.normalization.normalize import normalization, normalize

TANH, RELU = normalize(activation("tanh")), normalize(activation("relu"))
SIDES = ("upper", "lower")


def disguised(plus, minus):
    """plus x on the right of 0, minus x on the left, with a superfluous breakpoint that hides the law of the signs."""
    return CallableActivation(
        "two slopes",
        lambda x: np.where(x > 0, plus, minus) * x,
        lambda x: np.where(x > 0, plus, minus) * np.ones_like(x),
        breakpoints=(0.0, 1.0),
    )


def beta_mixture(plus, minus, width, target, side):
    """P(c- + (c+ - c-) B >= target), or <=, for the share B of a binomial number of coordinates, c = slope^2."""
    share = (target - minus**2) / (plus**2 - minus**2)
    k = np.arange(width + 1)
    inner = np.clip(k, 1, width - 1)
    tail = stats.beta.sf if side == "upper" else stats.beta.cdf
    inside = tail(np.clip(share, 0, 1), inner / 2, (width - inner) / 2)
    ends = (k / width >= share) if side == "upper" else (k / width <= share)
    return float(stats.binom.pmf(k, width, 0.5) @ np.where((k == 0) | (k == width), ends, inside))


def test_the_figure_of_relu_at_width_512():
    found = exact_forward(disguised(math.sqrt(2), 0.0), 512, 0.2, "upper")
    assert found.probability == pytest.approx(0.00425957191697798, rel=2e-12)
    assert exact_forward(RELU, 512, 0.2, "upper").probability == pytest.approx(0.00425957191697798, rel=2e-12)


@pytest.mark.parametrize("width", [32, 64, 200, 2048])
@pytest.mark.parametrize(("plus", "minus"), [(math.sqrt(2), 0.0), (1.4, math.sqrt(0.04))])
@pytest.mark.parametrize("side", SIDES)
def test_inversion_is_the_beta_mixture(width, plus, minus, side):
    law = layer_law(disguised(plus, minus), width)
    for claim in ("forward-one-step", "backward-one-step-random"):
        for epsilon in (1e-3, 0.05, 0.2, 0.45):
            sign = 1 if side == "upper" else -1
            truth = beta_mixture(plus, minus, width, 1 + sign * epsilon, side)
            found = exact_tail(event(claim, law, epsilon, side))
            if truth > 1e-250:
                assert found.available
                assert abs(found.log - math.log(truth)) < max(3 * found.error, 1e-11)
                assert found.error < (1e-3 if width == 32 else 1e-6)


@pytest.mark.parametrize("width", [10, 16])
def test_the_error_is_honest_where_the_law_has_atoms(width):
    # Here an atom of mass 2^-n keeps the integrand from decaying: the number comes with a large error, or not at all.
    law = layer_law(disguised(math.sqrt(2), 0.0), width)
    for side in SIDES:
        for epsilon in (0.05, 0.2, 0.5):
            truth = beta_mixture(math.sqrt(2), 0.0, width, 1 + (epsilon if side == "upper" else -epsilon), side)
            found = exact_tail(event("forward-one-step", law, epsilon, side))
            assert not found.available or abs(found.log - math.log(truth)) < 3 * found.error + 1e-9


@pytest.mark.parametrize("width", [2, 3, 7, 10, 33, 1000])
@pytest.mark.parametrize("side", SIDES)
def test_the_fixed_direction_of_relu_is_binomial(width, side):
    for epsilon in (0.2, 0.5, 1.0):
        with mpmath.workdps(30):
            fraction = mpmath.mpf(repr(epsilon))
            target = width * (1 + fraction) / 2 if side == "upper" else width * (1 - fraction) / 2
            slack = mpmath.mpf(10) ** -20  # closed events: the edge itself counts
            counts = [k for k in range(width + 1) if (k >= target - slack if side == "upper" else k <= target + slack)]
            truth = mpmath.fsum(mpmath.binomial(width, k) for k in counts) / mpmath.mpf(2) ** width
            log_truth = float(mpmath.log(truth))
        assert exact_backward_fixed(RELU, width, epsilon, side).log == pytest.approx(log_truth, rel=1e-11, abs=1e-11)
        if width >= 33 and epsilon < 1:
            found = exact_backward_fixed(disguised(math.sqrt(2), 0.0), width, epsilon, side)
            assert found.log == pytest.approx(log_truth, abs=1e-9)


@pytest.mark.parametrize(("claim", "function"), [("forward", exact_forward), ("random", exact_backward_random)])
def test_an_event_of_signs_alone_has_its_exact_probability(claim, function):
    for width in (2, 5, 40):
        expected = -width * math.log(2)  # all coordinates on the side where phi and phi' vanish
        assert function(RELU, width, 1.0, "lower").log == pytest.approx(expected, rel=1e-12), claim
        assert function(RELU, width, 1.0, "upper").log == pytest.approx(expected, rel=1e-12)
        assert function(RELU, width, 1.001, "upper").log == -np.inf
        assert function(RELU, width, 1.2, "lower").log == -np.inf


def test_isometries_have_no_tails():
    for name in ("identity", "abs"):
        phi = normalize(activation(name))
        for function in (exact_forward, exact_backward_random, exact_backward_fixed):
            for side in SIDES:
                assert function(phi, 64, 0.01, side).log == -np.inf
                assert function(phi, 2, 0.01, side).log == -np.inf
    assert exact_forward(activation("identity"), 50, 0.2, "upper", q=1.3).log == 0  # certain: q_1 = q
    assert exact_forward(activation("identity"), 50, 0.4, "upper", q=1.3).log == -np.inf


def test_impossible_targets_are_exactly_impossible():
    # tanh: sup phi^2 = (a + b)^2 = 3.4446, sup phi'^2 = a^2 = 2.1533
    assert exact_forward(TANH, 256, 2.4447, "upper").log == -np.inf
    assert exact_backward_random(TANH, 256, 1.1534, "upper").log == -np.inf
    assert exact_backward_fixed(TANH, 256, 1.1534, "upper").log == -np.inf
    assert exact_forward(TANH, 256, 1.5, "lower").log == -np.inf
    assert exact_backward_random(TANH, 256, 1.0, "lower").log == -np.inf


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("gelu", 48),
        ("hard_tanh", 40),
        ("sin", 8),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [("tanh", 32), ("elu", 64), ("softsign", 24)]),
    ],
)
def test_simulation(name, width):
    # Each count lies within 5.2 binomial standard deviations (and 5 counts): false alarm 2e-7 each, 6 x 18 counts.
    phi, q, trials = normalize(activation(name)), 1.1, 60_000
    g, w = np.random.default_rng([21, width]).standard_normal((2, trials, width))
    h = g * np.sqrt(q * width / np.sum(g * g, axis=1, keepdims=True))
    value, slope = phi.value_and_slope(h)
    sums = {
        "forward-one-step": np.mean(value**2, axis=1),
        "backward-one-step-random": np.sum((slope * w) ** 2, axis=1) / np.sum(w * w, axis=1),
        "backward-one-step-fixed": np.mean(slope**2, axis=1),
    }
    law = layer_law(phi, width, q)
    compared = 0
    for claim, values in sums.items():
        for epsilon in (0.05, 0.2, 0.4):
            for side in SIDES:
                found = exact_tail(event(claim, law, epsilon, side))
                hit = values >= 1 + epsilon - 1e-12 if side == "upper" else values <= 1 - epsilon + 1e-12
                if found.available:
                    p = found.probability
                    compared += 1
                    assert (
                        abs(hit.sum() - trials * p)
                        < 5.2 * math.sqrt(trials * p * (1 - p)) + 5 + trials * found.error * p
                    )
    assert compared >= 12


def test_figures_of_tanh_at_width_32():
    assert exact_forward(TANH, 32, 0.2, "upper").probability == pytest.approx(0.09684, abs=1.5e-3)  # simulated figures
    assert exact_forward(TANH, 32, 0.2, "lower").probability == pytest.approx(0.06908, abs=1.5e-3)


@pytest.mark.parametrize("width", [2, 3])
def test_direct_integration_of_the_smallest_spheres(width):
    # Against simulation: 5.2 standard deviations, false alarm 2e-7 for each of 2 x 18 counts.
    trials = 200_000
    g, w = np.random.default_rng([22, width]).standard_normal((2, trials, width))
    h = g * np.sqrt(width / np.sum(g * g, axis=1, keepdims=True))
    value, slope = TANH.value_and_slope(h)
    sums = {
        exact_forward: np.mean(value**2, axis=1),
        exact_backward_random: np.sum((slope * w) ** 2, axis=1) / np.sum(w * w, axis=1),
        exact_backward_fixed: np.mean(slope**2, axis=1),
    }
    for function, values in sums.items():
        for epsilon in (0.05, 0.3, 0.7):
            for side in SIDES:
                found = function(TANH, width, epsilon, side)
                hits = np.sum(values >= 1 + epsilon if side == "upper" else values <= 1 - epsilon)
                p = 0.0 if found.log == -np.inf else found.probability
                if found.available:
                    slack = 5.2 * math.sqrt(trials * p * (1 - p)) + 5
                    assert abs(hits - trials * p) < slack + trials * p * found.error


@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize("side", SIDES)
def test_direct_integration_is_the_law_of_the_signs(width, side):
    for function in (exact_forward, exact_backward_random):
        for epsilon in (0.1, 0.6):
            truth = function(RELU, width, epsilon, side)
            found = function(disguised(math.sqrt(2), 0.0), width, epsilon, side)
            assert abs(found.log - truth.log) < max(3 * found.error, 1e-4)


def test_large_width_is_the_normal_law():
    # n Var q_1 = Var phi^2 - 2 chi^2; at n = 10^6 and 0.2 to 3 standard deviations, with corrections of 1e-3.
    z, weight = np.polynomial.hermite_e.hermegauss(120)
    weight = weight / weight.sum()
    square = TANH.value(z) ** 2
    chi = 0.5 * weight @ (square * (z * z - 1))
    deviation = math.sqrt((weight @ square**2 - 1 - 2 * chi**2) / 10**6)
    for multiple in (0.2, 1.0, 3.0):
        for side in SIDES:
            found = exact_forward(TANH, 10**6, multiple * deviation, side)
            assert found.probability == pytest.approx(stats.norm.sf(multiple), rel=1e-2)


def test_the_complement_is_the_complement():
    law = layer_law(normalize(activation("selu")), 100)
    for claim in ("forward-one-step", "backward-one-step-random"):
        for epsilon in (1e-3, 0.1):
            one = event(claim, law, epsilon, "upper")
            both = exact_tail(one).probability + exact_tail(one.complement()).probability
            assert both == pytest.approx(1, abs=1e-11)


def test_where_there_is_no_number_there_is_a_reason():
    small = exact_forward(TANH, 6, 0.2, "upper")
    assert not small.available
    assert "width" in small.reason
    assert math.isnan(small.probability)
    condensed = exact_forward(normalize(activation("relu"), "minus"), 10**5, 0.6, "upper")
    assert not condensed.available
    assert "dominate" in condensed.reason


def test_a_python_function_gives_what_its_formula_gives():
    constants = normalization(activation("tanh"))
    a, b = constants.a, constants.b
    function = CallableActivation(
        "tanh", lambda x: a * np.tanh(x) + b, lambda x: a / np.cosh(np.minimum(np.abs(x), 300)) ** 2
    )
    for method in (exact_forward, exact_backward_random, exact_backward_fixed):
        assert method(function, 128, 0.2, "upper").log == pytest.approx(method(TANH, 128, 0.2, "upper").log, abs=1e-9)
