"""Python functions as activations: honest moments, kinks and jumps found by looking, derivatives compared."""

import math
import sys
from fractions import Fraction
from functools import cache
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import gpn
from theory.activations.callable import CallableActivation, from_function
from theory.activations.specification import activation
from theory.errors import SpecificationError
from theory.gaussian.expectations import expectations
from theory.normalization.conditions import gaussian_poincare
from theory.normalization.lipschitz import lipschitz_constants
from theory.normalization.normalize import normalization
from theory.numerics.panels import SPACING, first_edges, resolve
from theory.numerics.survey import JUMP_SIZE, KINK_SIZE, limits, survey

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717

NORMALIZABLE = {
    "abs(x - 13/10)": lambda x: np.abs(x - 1.3),
    "exp(-(1000*(x - 2))**2)": lambda x: np.exp(-((1000 * (x - 2)) ** 2)),
    "sin(50*x)": lambda x: np.sin(50 * x),
    "x + sin(x)/10**9": lambda x: x + 1e-9 * np.sin(x),
    "exp(x)": np.exp,
    "exp(x**2/5)": lambda x: np.exp(x**2 / 5),
    "sin(x)/x": lambda x: np.sin(x) / x,
    "expm1(x)/x": lambda x: np.expm1(x) / x,
    "where(x > 1, 2 - x, where(x > -1, x, -1 - (x + 1)/2))": lambda x: np.where(
        x > 1, 2 - x, np.where(x > -1, x, -1 - (x + 1) / 2)
    ),
    "x*tanh(softplus(x))": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "leaky_relu(0.01)": lambda x: np.where(x > 0, x, 0.01 * x),
    "selu": lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0))),
    "tanh(1000*x)": lambda x: np.tanh(1000 * x),
    "x*log(abs(x))": lambda x: x * np.log(np.abs(x)),
}
JUMPING = {
    "heaviside(x)": lambda x: np.heaviside(x, 0.5),
    "sign(x - 3/10)": lambda x: np.sign(x - 0.3),
    "hardshrink": lambda x: np.where(np.abs(x) > 0.5, x, 0),
}


@cache
def truth(formula):
    return gaussian_poincare(activation(formula), 17)


def positions(breaks):
    return [found.position for found in breaks]


def assert_covered(facts, exact, names):
    """Each printed number is within the stated error, and half a unit of its last digit, of the certified one."""
    assert not facts.certified
    assert exact.certified
    for name in names:
        text, value = getattr(facts, name).digits, getattr(exact, name)
        mantissa, _, exponent = text.partition("e")
        last_digit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
        assert abs(float(text) - value) <= float(facts.error) + last_digit / 2 + 1e-15 * abs(value), name


# ---------------------------------------------------------------------------------------------- moments


@pytest.mark.parametrize("formula", NORMALIZABLE)
def test_the_stated_error_covers_the_certified_value(formula):
    exact = truth(formula)
    facts = gpn.check(NORMALIZABLE[formula])
    assert facts.normalizable == "yes"
    assert_covered(facts, exact, ("mean", "variance", "second_moment", "slope_second_moment"))
    assert not facts.jumps
    found, known = [float(kink) for kink in facts.kinks], [float(activation(kink).expression) for kink in exact.kinks]
    np.testing.assert_allclose(found, known, rtol=0, atol=1e-12)


@pytest.mark.parametrize("formula", JUMPING)
def test_a_jump_has_moments_of_the_value_and_leaves_the_rest_undecided(formula):
    exact, facts = truth(formula), gpn.check(JUMPING[formula])
    assert_covered(facts, exact, ("mean", "variance", "second_moment"))
    assert (facts.is_gpn, facts.normalizable, facts.slope_second_moment) == ("undecided", "undecided", None)
    assert "looks as if it jumps" in facts.reason
    assert "smoothed over a width of 0.001" in facts.reason
    np.testing.assert_allclose([float(j) for j in facts.jumps], [float(activation(j).expression) for j in exact.jumps])


@pytest.mark.parametrize("formula", ["tanh", "gelu", "elu", "abs(x - 13/10)", "exp(-(1000*(x - 2))**2)"])
def test_values_and_slopes_alone_give_the_moments_to_twelve_digits(formula):
    phi = activation(formula)
    facts = gpn.check(phi.value, derivative=phi.slope)
    assert_covered(facts, truth(formula), ("mean", "variance", "second_moment", "slope_second_moment"))
    assert float(facts.error) < 1e-12 * max(1.0, float(facts.slope_second_moment))


@pytest.mark.parametrize("formula", ["tanh", "gelu", "relu", "x*log(abs(x))"])
def test_the_normalization_of_a_function_is_that_of_its_formula(formula):
    function = NORMALIZABLE.get(formula, activation(formula).value)
    made, exact = gpn.normalize(function), gpn.normalize(formula)
    points = np.linspace(-5.1, 5.2, 300)
    np.testing.assert_allclose(made.value(points), exact.value(points), rtol=1e-7, atol=1e-7)
    again = gpn.check(made)
    assert abs(float(again.second_moment) - 1) <= float(again.error) + 1e-9


def test_single_precision_is_detected_and_named_in_the_error():
    exact = truth("tanh")
    facts = gpn.check(lambda x: np.tanh(x.astype(np.float32)))
    assert_covered(facts, exact, ("mean", "variance", "second_moment", "slope_second_moment"))
    assert float(facts.error) > 1e-8
    assert survey(np.tanh).noise < 1e-15
    assert not facts.jumps  # the steps of float32 are rounding


@pytest.mark.parametrize(
    "function",
    [lambda x: np.exp(x**2 / 4), lambda x: np.exp(x**2 / 3), lambda x: np.exp(x**2), lambda x: np.exp(x**2 / 4) / x**2],
)
def test_moments_that_grow_with_the_cutoff_are_no_numbers(function):
    facts = gpn.check(CallableActivation("steep", function))
    assert (facts.is_gpn, facts.second_moment) in {("undecided", None), ("fails", None)}
    assert facts.normalizable == "undecided"
    assert not facts.normalizations


def test_divergence_says_which_moment_and_where():
    assert "diverge" in gpn.check(lambda x: np.exp(x**2 / 4)).reason
    assert gpn.check(lambda x: np.exp(x**2 / 4.2)).normalizable == "yes"


@pytest.mark.parametrize(
    ("function", "where"), [(np.sqrt, "(-oo, 0)"), (np.log, "(-oo, 0)"), (np.arcsin, "(-oo, -1), (1, oo)")]
)
def test_a_part_of_the_line_without_values_is_an_outcome(function, where):
    facts = gpn.check(function)
    assert (facts.is_gpn, facts.normalizable) == ("undecided", "undecided")
    assert f"no real value (nan) at any point tried on {where}" in facts.reason
    assert facts.second_moment is None


@pytest.mark.parametrize("function", [lambda x: np.sin(1 / x), lambda x: np.sin(1e9 * x)])
def test_oscillation_beyond_resolution_is_undecided(function):
    facts = gpn.check(function)
    assert facts.normalizable == "undecided"
    assert "resolve" in facts.reason


def test_a_normalized_function_is_gpn_with_or_without_derivative():
    exact = normalization(activation("tanh"))
    a, b = exact.a, exact.b
    facts = gpn.check(lambda x: a * np.tanh(x) + b)
    assert (facts.is_gpn, "tolerance 1e-09" in facts.reason) == ("holds", True)
    facts = gpn.check(lambda x: a * np.tanh(x) + b, derivative=lambda x: a / np.cosh(x) ** 2)
    assert (facts.is_gpn, "tolerance 1e-12" in facts.reason) == ("holds", True)
    assert gpn.check(lambda x: (a + 1e-7) * np.tanh(x) + b).is_gpn == "fails"


def test_what_is_not_certified_is_reported():
    facts = gpn.check(np.tanh)
    assert facts.certified is False
    assert "Python function" in facts.uncertified
    assert facts.located.startswith("detected numerically")
    assert f"{JUMP_SIZE:g}" in facts.located
    assert f"{SPACING:g}" in facts.located
    assert "located" in facts.to_dict()
    assert "located" not in gpn.check("tanh", 10).to_dict()


SELU_OF_FIVE_DIGITS = "1.0507*where(x > 0, x, 1.67326*(exp(x) - 1))"
ERF = np.vectorize(math.erf, otypes=[float])


def loop(x):
    out = np.empty_like(x)
    for i in range(len(x)):
        out[i] = x[i] if x[i] > 0 else 0.01 * x[i]
    return out


def scalar_relu(x):
    return x if x > 0 else 0.0


def scalar_softplus(x):
    return math.log(1 + math.exp(x))  # raises at 710


NAIVE = {
    "gelu": [lambda x: 0.5 * x * (1 + special.erf(x / np.sqrt(2))), lambda x: 0.5 * x * (1 + ERF(x / 2**0.5))],
    "gelu_tanh": [lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))],
    "softplus": [
        lambda x: np.log(1 + np.exp(x)),
        lambda x: np.log1p(np.exp(x)),
        lambda x: np.where(x > 20, x, np.log1p(np.exp(np.minimum(x, 20)))),  # as PyTorch has it: a step of 2e-9 at 20
        lambda x: np.log(1 + np.exp(np.minimum(x, 50))),
    ],
    "mish": [lambda x: x * np.tanh(np.log(1 + np.exp(x))), lambda x: x * np.tanh(np.log1p(np.exp(x)))],
    "sigmoid(2*x)": [lambda x: (1 + np.tanh(x)) / 2],
    "sigmoid": [lambda x: np.exp(x) / (1 + np.exp(x)), lambda x: 1 / (1 + np.exp(-x)), special.expit],
    "log_sigmoid": [lambda x: -np.log(1 + np.exp(-x)), lambda x: np.log(1 / (1 + np.exp(-x)))],
    "tanh": [
        lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
        lambda x: 2 / (1 + np.exp(-2 * x)) - 1,
        lambda x: 1 - 2 / (np.exp(2 * x) + 1),
        lambda x: [math.tanh(value) for value in x],
        lambda x: np.round(np.tanh(x), 14),
    ],
    "elu": [lambda x: np.where(x > 0, x, np.exp(x) - 1), lambda x: np.maximum(x, 0) + np.exp(np.minimum(x, 0)) - 1],
    SELU_OF_FIVE_DIGITS: [lambda x: 1.0507 * np.where(x > 0, x, 1.67326 * (np.exp(x) - 1))],
    "silu": [lambda x: x / (1 + np.exp(-x)), lambda x: x * special.expit(x)],
    "normal_cdf(x)": [special.ndtr, lambda x: 0.5 * (1 + special.erf(x / np.sqrt(2))), lambda x: 1 - special.ndtr(-x)],
    "leaky_relu(0.01)": [lambda x: 0.505 * x + 0.495 * np.abs(x), loop, lambda x: np.maximum(0.01 * x, x)],
    "relu": [np.vectorize(scalar_relu, otypes=[float]), lambda x: x * (x > 0)],
    "hard_tanh": [lambda x: np.clip(x, -1, 1), lambda x: np.minimum(np.maximum(x, -1), 1)],
    "hard_swish": [lambda x: x * np.clip(x + 3, 0, 6) / 6],
    "x**2": [lambda x: x**2, lambda x: x * x],
}
NUMBERS = {
    "relu": [scalar_relu, lambda x: max(0.0, x)],
    "tanh": [math.tanh],
    "normal_cdf(x)": [NormalDist().cdf],
    "softplus": [scalar_softplus],
}
SPELLINGS = [(formula, function) for formula, functions in NAIVE.items() for function in functions]
ONE_OF_EACH_SHAPE = {"gelu", "softplus", "tanh", "elu", "hard_tanh", "x**2", "hard_swish", SELU_OF_FIVE_DIGITS}
UNNAMED = {"sigmoid(2*x)", "normal_cdf(x)", SELU_OF_FIVE_DIGITS, "x**2"}


def assert_same_verdict(facts, formula):
    """The verdict of the formula, and its numbers as far as the function has digits."""
    exact = truth(formula)
    assert (facts.is_gpn, facts.normalizable, facts.jumps) == (exact.is_gpn, exact.normalizable, ())
    assert_covered(facts, exact, ("mean", "variance", "second_moment", "slope_second_moment"))
    assert len(facts.kinks) == len(exact.kinks)


def assert_same_suprema(facts, formula, relative, unknown=()):
    exact = truth(formula)
    for name in ("lipschitz", "slope_lipschitz"):
        seen, known = getattr(facts, name), getattr(exact, name)
        if getattr(facts, f"{name}_kind") not in unknown:
            assert (seen is None) == (known is None), name
            assert seen is None or seen == pytest.approx(known, rel=relative), name


@pytest.mark.parametrize(
    ("formula", "function"),
    [
        *SPELLINGS,
        *((formula, function) for formula in NUMBERS for function in NUMBERS[formula]),
        pytest.param("softplus", np.vectorize(scalar_softplus, otypes=[float]), marks=pytest.mark.slow),
    ],
)
def test_naive_spellings_have_the_verdict_of_the_formula_and_tell_its_name(formula, function):
    facts = gpn.check(function)
    assert_same_verdict(facts, formula)
    assert_same_suprema(facts, formula, 1e-3)
    assert float(facts.error) < 1e-9  # of the digits printed
    assert facts.looks_like == (None if formula in UNNAMED else formula.partition("(")[0])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.tanh(x) + 0.5 * np.exp(-(((x - 0.377) / 5e-4) ** 2)),
        lambda x: np.tanh(x) + np.maximum(0, 0.02 - 10 * np.abs(x - 0.377)),
        lambda x: np.where(x > 9, 3 * x - 18, np.maximum(x, 0)),
        lambda x: np.clip(x, 0, 9),
    ],
    ids=["bump", "spike", "far", "clip"],
)
def test_what_differs_where_nobody_looks_is_not_told_to_be_alike(function):
    """They differ from tanh and ReLU on an interval that a coarse grid misses, or beyond 9."""
    assert gpn.check(function, 10).looks_like is None


def in_single_precision(function):
    return lambda x: np.asarray(function(x.astype(np.float32)), dtype=np.float32)


@pytest.mark.parametrize(
    "formula",
    [formula if formula in ONE_OF_EACH_SHAPE else pytest.param(formula, marks=pytest.mark.slow) for formula in NAIVE],
)
def test_single_precision_has_the_verdict_of_the_formula(formula):
    facts = gpn.check(in_single_precision(NAIVE[formula][0]))
    assert_same_verdict(facts, formula)
    assert_same_suprema(facts, formula, 0.06, unknown=("not known",))
    assert float(facts.error) < 1e-3


HALF = np.float32(0.5)
KINKED_IN_SINGLE = {  # of float32 arrays, some with float64 constants; their exact kinks and sup |phi'|
    "relu6": (lambda x: np.clip(x, 0, 6), (0, 6), 1),
    "softshrink": (lambda x: np.where(x > HALF, x - HALF, np.where(x < -HALF, x + HALF, 0)), (-0.5, 0.5), 1),
    "hard_sigmoid": (lambda x: np.clip(x + 3, 0, 6) / 6, (-3, 3), 0.17),
    "hard_swish": (lambda x: x * np.float64(1 / 6) * np.clip(x + 3, 0, 6), (-3, 3), 1.5),
    "selu": (lambda x: np.float64(1.0507) * np.where(x > 0, x, np.float64(1.67326) * np.expm1(x)), (0,), 1.8),
    "steep": (lambda x: np.clip(100 * x, -1, 1), (-0.01, 0.01), 100),
    "small": (lambda x: np.tanh(x) + np.float32(0.25) * np.maximum(x - np.float32(1.3), 0), (1.3,), 1),
    "|x|**1.5": (lambda x: np.abs(x) ** np.float32(1.5), (), None),  # whose slope is continuous
    "softplus(1000 x)": (lambda x: np.logaddexp(0, 1000 * x) / 1000, (), 1),
    "tanh(1000 x)": (lambda x: np.tanh(1000 * x), (), 1000),
}


@pytest.mark.parametrize("name", KINKED_IN_SINGLE)
def test_kinks_are_found_in_single_precision_and_nothing_else(name):
    function, kinks, steepest = KINKED_IN_SINGLE[name]
    phi = gpn.activation(lambda x: function(x.astype(np.float32)))
    assert [kink.position for kink in phi.survey.kinks] == pytest.approx(kinks, abs=1e-5)
    assert (phi.survey.jumps, phi.survey.rough) == ((), ())
    assert lipschitz_constants(phi).suprema[0].value == pytest.approx(steepest or np.inf, rel=1e-6)
    assert "below 0.24 of the size of phi" in limits(phi.survey.noise)


def test_a_supremum_that_single_precision_hides_is_not_given():
    phi = gpn.activation(lambda x: (x.astype(np.float32)) / (1 + np.abs(x.astype(np.float32))))
    assert lipschitz_constants(phi).suprema[1].kind == "not known"  # phi'' jumps from 2 to -2 at 0


def test_noise_hides_the_suprema():
    for function in (lambda x: np.round(np.tanh(x), 4), lambda x: 1e9 + np.tanh(x)):
        facts = gpn.check(function)
        assert (facts.slope_lipschitz, facts.slope_lipschitz_kind) == (None, "not known")


def test_a_function_that_ends_the_program_is_refused():
    with pytest.raises(SpecificationError, match="ends the program"):
        gpn.activation(sys.exit)
    with pytest.raises(SpecificationError, match="a class"):
        gpn.activation(Fraction)
    with pytest.raises(SpecificationError, match="array"):
        gpn.activation(np.zeros(3))


def test_steps_in_a_tail_are_told_as_rounding_in_one_line():
    located = gpn.check(NAIVE["gelu"][0]).located
    assert "steps of at most 4" in located
    assert "e-16 were taken for rounding" in located


def test_a_small_jump_is_told_with_its_size_and_cost():
    reason = gpn.check(lambda x: np.tanh(x) + 1e-6 * (x > 0)).reason
    assert "jumps at 0 (by 1e-06)" in reason
    assert "would add 4e-10 to E phi'^2" in reason


def test_a_jump_where_the_normal_density_vanishes_does_not_count():
    facts = gpn.check(lambda x: np.tanh(x) + (x > 20.0))
    assert (facts.normalizable, facts.jumps, facts.lipschitz) == ("yes", ("20",), None)
    assert "negligible, not counted: 20" in facts.located


def test_a_constant_function_looks_constant():
    facts = gpn.check(lambda x: 0 * x + 1)
    assert (facts.is_gpn, facts.normalizable) == ("undecided", "undecided")
    assert "looks constant" in facts.reason


# ---------------------------------------------------------------------------------------------- kinks and jumps


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    place=st.floats(-8, 8),
    size=st.floats(-5, 0).map(lambda power: 10**power),
    smooth=st.sampled_from([np.tanh, np.cos, lambda x: x / (1 + np.exp(-x)), lambda x: 0 * x]),
)
def test_a_kink_anywhere_is_found(place, size, smooth):
    found = survey(lambda x: smooth(x) + size * np.abs(x - place))
    assert not found.jumps
    assert len(found.kinks) == 1
    assert abs(found.kinks[0].position - place) < 1e-7
    assert found.kinks[0].size == pytest.approx(2 * size, rel=1e-3)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    place=st.floats(-8, 8),
    size=st.floats(-8, 0).map(lambda power: 10**power),
    smooth=st.sampled_from([np.tanh, np.cos, lambda x: x / (1 + np.exp(-x)), lambda x: 0 * x]),
)
def test_a_jump_anywhere_is_found(place, size, smooth):
    found = survey(lambda x: smooth(x) + size * (x > place))
    size_near = max(abs(smooth(np.array([place, place + 1 / 64]))).max(), size)
    if size < 3 * JUMP_SIZE * size_near:
        return
    assert not found.kinks
    assert len(found.jumps) == 1
    assert abs(found.jumps[0].position - place) <= 4e-15 * (1 + abs(place))
    assert found.jumps[0].size == pytest.approx(size, rel=1e-3, abs=1e-12)


def test_several_breaks_close_together_are_distinguished():
    found = survey(
        lambda x: np.abs(x - 1.3) + np.abs(x + 2.71) + (x > 0.1) + (x > 0.10001) + np.abs(x - 0.10005) + np.abs(x - 6)
    )
    assert positions(found.kinks) == [-2.71, 0.10005, 1.3, 6]
    np.testing.assert_allclose(positions(found.jumps), [0.1, 0.10001], rtol=0, atol=1e-15)


def test_many_breaks_are_all_found():
    found = survey(lambda x: np.floor(10 * x))
    np.testing.assert_allclose(positions(found.jumps), np.arange(-399, 400) / 10, rtol=0, atol=1e-13)
    found = survey(lambda x: np.abs(np.sin(7 * x)))
    np.testing.assert_allclose(positions(found.kinks), np.arange(-89, 90) * np.pi / 7, rtol=0, atol=1e-12)
    assert not found.jumps


@pytest.mark.parametrize(
    "function",
    [
        np.tanh,
        np.exp,
        lambda x: np.tanh(1000 * x),
        lambda x: np.tanh(1e6 * (x - 0.7)),
        lambda x: np.tanh(1e9 * (x - 0.7)),
        lambda x: np.logaddexp(0, 1e4 * x) / 1e4,
        lambda x: np.exp(-((1000 * (x - 2)) ** 2)),
        lambda x: np.sin(50 * x),
        lambda x: x * np.abs(x),
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda x: np.sin(x) / x,
        lambda x: (np.exp(x) - 1) / x,
        lambda x: (1 - np.cos(x)) / x**2,
        lambda x: np.zeros_like(x),
        lambda x: np.tanh(x) - x + x**3 / 3,
        lambda x: np.tanh(x.astype(np.float32)).astype(np.float64),
    ],
)
def test_smooth_functions_have_neither_kinks_nor_jumps(function):
    with np.errstate(all="ignore"):
        found = survey(function)
    assert (found.kinks, found.jumps, found.undefined, found.rough) == ((), (), (), ())


def test_what_changes_within_rounding_is_a_jump_within_that_width():
    (jump,) = survey(lambda x: np.tanh(1e25 * x)).jumps
    assert jump.position == 0
    assert 0 < jump.width < 1e-18


def test_singular_points_are_unbounded_or_cusps():
    with np.errstate(all="ignore"):
        assert positions(survey(lambda x: np.log(np.abs(x - 0.2))).jumps) == pytest.approx([0.2], abs=1e-12)
        assert positions(survey(lambda x: 1 / x).jumps) == pytest.approx([0], abs=1e-9)
        assert positions(survey(lambda x: np.sqrt(np.abs(x))).kinks) == [0]
        assert survey(lambda x: np.sqrt(np.abs(x))).kinks[0].size == np.inf
    assert gpn.check(lambda x: np.sqrt(np.abs(x))).normalizable == "undecided"  # E phi'^2 = oo
    assert gpn.check(lambda x: np.sqrt(np.abs(x))).lipschitz is None


def test_lipschitz_constants_of_functions_tell_growth_from_oscillation():
    wave = gpn.check(
        lambda x: np.sin(3 * x) - np.abs(x + 0.18), derivative=lambda x: 3 * np.cos(3 * x) - np.sign(x + 0.18)
    )
    assert wave.lipschitz == pytest.approx(4, rel=1e-6)
    assert gpn.check(lambda x: np.sin(x) / x).lipschitz == pytest.approx(0.4361818172714845, rel=1e-6)
    for function in (np.exp, lambda x: x**2, lambda x: x**3, lambda x: x * np.log(np.abs(x)), lambda x: x * np.sin(x)):
        assert gpn.check(function).lipschitz is None


def test_declared_breakpoints_are_kept_and_others_found_beside_them():
    phi = activation(lambda x: np.abs(x) + np.abs(x - 1.3), breakpoints=[0.0])
    assert phi.breakpoint_values.tolist() == [0, 1.3]
    assert phi.kinks == (0, 1.3)
    assert activation(np.sign, breakpoints=[0]).jumps == (0,)
    assert activation(np.tanh, breakpoints=[0.5]).kinks == ()


def test_the_panels_follow_the_function_to_rounding():
    panels = resolve(np.tanh, first_edges([0.25]))
    assert (panels.left[0], panels.right[-1]) == (-40, 40)
    np.testing.assert_array_equal(panels.left[1:], panels.right[:-1])
    assert 0.25 in panels.left
    assert panels.noise < 1e-15


def test_the_sizes_that_are_stated_are_those_that_are_found():
    """Three times the stated sizes are found, a hundredth is not told from rounding."""
    assert len(survey(lambda x: 1 + 3 * JUMP_SIZE * (x > 0.3)).jumps) == 1
    assert len(survey(lambda x: 1 + 3 * KINK_SIZE * np.abs(x - 0.3)).kinks) == 1
    assert survey(lambda x: 1 + JUMP_SIZE / 100 * (x > 0.3)).jumps == ()
    assert survey(lambda x: 1 + KINK_SIZE / 100 * np.abs(x - 0.3)).kinks == ()


# ---------------------------------------------------------------------------------------------- slopes


def test_differences_do_not_reach_across_a_kink():
    phi = CallableActivation("kink", lambda x: np.sin(x) + np.abs(x - 1.3))
    points = 1.3 + np.array([-1e-2, -1e-3, -1e-6, -1e-9, 1e-9, 1e-6, 1e-3, 1e-2])
    exact = np.cos(points) + np.sign(points - 1.3)
    np.testing.assert_allclose(phi.slope(points), exact, atol=1e-9)
    assert np.all(np.abs(phi.slope(points) - exact) <= phi.slope_error(points) + 1e-11)


def test_differences_suit_a_sharp_function():
    phi = CallableActivation("sharp", lambda x: np.tanh(1000 * x))
    points = np.linspace(-3e-3, 3e-3, 101)
    np.testing.assert_allclose(phi.slope(points), 1000 / np.cosh(1000 * points) ** 2, atol=1e-4)


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
        (lambda x: np.maximum(x, 0), lambda x: np.heaviside(x, 0)),
        (lambda x: np.abs(x - 1.3), lambda x: np.sign(x - 1.3)),
        (lambda x: np.sin(50 * x), lambda x: 50 * np.cos(50 * x)),
        (lambda x: np.exp(-((1000 * (x - 2)) ** 2)), lambda x: -2e6 * (x - 2) * np.exp(-((1000 * (x - 2)) ** 2))),
        (np.exp, np.exp),
        (lambda x: np.exp(x**2 / 4), lambda x: x / 2 * np.exp(x**2 / 4)),
        (lambda x: x**9, lambda x: 9 * x**8),
        (np.sign, np.zeros_like),
        (lambda x: np.tanh(x.astype(np.float32)), lambda x: 1 / np.cosh(x.astype(np.float32)) ** 2),
    ],
)
def test_a_right_derivative_passes(function, derivative):
    assert from_function(function, "phi", derivative).derivative is derivative


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (np.tanh, lambda x: 1 - np.tanh(x)),
        (np.tanh, lambda x: 1.0001 / np.cosh(x) ** 2),
        (np.tanh, lambda x: 1 / np.cosh(x) ** 2 + 1e-5),
        (lambda x: np.abs(x - 1.3), lambda x: np.sign(x - 1.25)),
        (np.tanh, lambda x: np.full_like(x, np.nan)),
        (lambda x: np.maximum(x, 0), lambda x: np.ones_like(x)),
        (np.sin, lambda x: np.where(np.abs(x - 2) < 0.05, 0.0, np.cos(x))),
    ],
)
def test_a_wrong_derivative_is_refused_with_place_and_values(function, derivative):
    with pytest.raises(SpecificationError, match=r"not match.*at x = \S+ .*differences"):
        gpn.check(function, derivative=derivative)


# ---------------------------------------------------------------------------------------------- misuse


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: np.exp(x - x.max()) / np.exp(x - x.max()).sum(), "in parts"),
        (lambda x: x - x.mean(), "own x"),
        (lambda x: np.cumsum(x).reshape(x.shape), "order"),
        (lambda x: x * np.random.default_rng().uniform(size=x.shape), "random"),
        (np.sum, "elementwise"),
        (lambda x: x[:5], "elementwise"),
        (lambda _: None, "elementwise"),
        (lambda x: (np.tanh(x), np.tanh(x)), "elementwise"),
        (lambda _: "text", "NumPy array"),
        (lambda _: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_functions_that_are_no_activations_are_refused(function, message):
    with pytest.raises(SpecificationError, match=message) as refused:
        gpn.check(function)
    assert "\n" not in str(refused.value)


def test_a_function_has_no_value_where_it_raises_an_arithmetic_error():
    facts = gpn.check(np.vectorize(lambda x: math.exp(x**2), otypes=[float]))
    assert facts.normalizable == "undecided"
    assert "no real value (nan) at any point tried on (-oo, -26.6" in facts.reason
    with pytest.raises(SpecificationError, match=r"between -4.1 and 4.3 \(ValueError"):
        gpn.check(lambda x: int("x") + x)


def test_a_function_that_works_in_place_does_no_harm():
    def relu(x):
        x[x < 0] = 0
        return x

    exact = truth("relu")
    assert_covered(gpn.check(relu), exact, ("mean", "second_moment", "slope_second_moment"))
    phi = CallableActivation("relu", relu)
    points = np.array([-1.0, 1.0])
    assert phi.value(points).tolist() == [0, 1]
    assert points.tolist() == [-1, 1]


def test_complex_values_count_as_none():
    assert "real value" in gpn.check(np.emath.sqrt).reason


def test_an_affine_function_keeps_what_is_known():
    phi = CallableActivation("kink", lambda x: np.abs(x - 1.3))
    made = phi.affine(2.0, 1.0)
    assert made.survey is phi.survey
    assert made.kinks == (1.3,)


def test_quadrature_does_not_step_over_a_feature_that_was_seen():
    bump = CallableActivation("bump", lambda x: np.exp(-((2000 * (x - 2.0312)) ** 2)))
    found = expectations(bump, {"mean": lambda _z, value, _slope: value})["mean"]
    exact = np.sqrt(np.pi) / 2000 * np.exp(-(2.0312**2) / 2) / np.sqrt(2 * np.pi)
    assert abs(found.value - exact) < 1e-6 * exact
