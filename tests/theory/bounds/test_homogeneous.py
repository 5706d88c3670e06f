"""The deep bound of positively homogeneous networks: its moments, its validity, its size and how it fails."""

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.oracles import homogeneous_law
from tests.oracles.homogeneous_law import sample_homogeneous_ratios
from theory.activations import catalog
from theory.activations.activation import Activation, exact
from theory.activations.callable import CallableActivation
from theory.bounds import homogeneous, homogeneous_moments
from theory.bounds.homogeneous import (
    RELU,
    Slopes,
    deep_bound,
    homogeneous_slopes,
    required_width,
    slopes_deep_bound,
)
from theory.bounds.homogeneous_moments import LayerMoments, fraction_tail, layer_moments, log_beta_power, sign_counts
from theory.errors import UsageError
from theory.numerics.arithmetic import X

mpmath.mp.dps = 15  # the default; tests that need more say so
HALF = Slopes(sympy.Integer(1), sympy.Rational(1, 2))


def relu_deep_bound(width, depth, epsilon, readout="random"):
    return slopes_deep_bound(RELU, width, depth, epsilon, readout)


def leaky_relu_deep_bound(slope, width, depth, epsilon):
    return slopes_deep_bound(Slopes(sympy.Integer(1), exact(slope)), width, depth, epsilon)


def leaky(slope):
    return Activation("leaky", sympy.Max(X, sympy.nsimplify(slope) * X))


# Moments of Beta variables


def exact_log_power(alpha, beta, low, high, power):
    with mpmath.workdps(50):
        a, b, s, S, t = map(mpmath.mpf, (alpha, beta, low, high, power))
        if low == 0:
            return t * mpmath.log(S) + mpmath.log(mpmath.beta(a + t, b) / mpmath.beta(a, b))
        return t * mpmath.log(S) + mpmath.log(mpmath.hyp2f1(-t, b, a + b, 1 - s / S))


@pytest.mark.parametrize("low", [0.0, 2e-4, 0.02, 0.4, 0.9])
@pytest.mark.parametrize(
    ("alpha", "beta", "power"),
    [
        (5.0, 9.0, 3.0),
        (5.0, 9.0, -2.5),
        (50.0, 49.5, 17.0),
        (50.0, 49.5, -17.0),
        (800.0, 700.0, 300.0),
        (800.0, 700.0, -300.0),
        (2e4, 2.1e4, 2e3),
        (2e4, 2.1e4, -2e3),
    ],
)
def test_power_moments_against_the_hypergeometric_function(alpha, beta, power, low):
    fast = log_beta_power(np.array([alpha]), np.array([beta]), low, 2.0 - low, power)[0]
    exact = exact_log_power(alpha, beta, low, 2.0 - low, power)
    assert abs(fast - exact) < 1e-14 * (alpha + beta + abs(power)) * np.log(alpha + beta)


@settings(max_examples=60, deadline=None)
@given(st.floats(1.0, 300.0), st.floats(1.0, 300.0), st.floats(-0.45, 2.0), st.floats(1e-4, 0.99))
def test_power_moments_are_right_or_not_given(alpha, beta, share, low):
    """Any shape and power: nan is allowed, a wrong number is not."""
    power = share * alpha
    fast = log_beta_power(np.array([alpha]), np.array([beta]), low, 2.0 - low, power)[0]
    assert np.isnan(fast) or abs(fast - exact_log_power(alpha, beta, low, 2.0 - low, power)) < 1e-10


def test_moments_that_diverge_are_infinite_and_hard_ones_nan():
    shape = np.array([3.0])
    assert log_beta_power(shape, shape, 0.0, 2.0, -3.0)[0] == np.inf
    assert np.isfinite(log_beta_power(shape, shape, 0.0, 2.0, -2.9)[0])
    assert np.isnan(log_beta_power(shape, shape, 1e-30, 2.0, -200.0)[0])  # two scales


def test_sign_counts_leave_out_what_they_say():
    counts = sign_counts(300, 4.0, 3)
    law = stats.binom(300, 0.5)
    np.testing.assert_allclose(np.exp(counts.log_weights), law.pmf(counts.counts), rtol=1e-11)
    inside = law.cdf(counts.counts[-1]) - law.cdf(counts.counts[0] - 1)
    assert counts.outside == pytest.approx(1 - inside, rel=1e-9)
    assert counts.outside < 1e-4
    assert sign_counts(10, 14.0, 2).counts[0] == 2


def test_fraction_tail_against_simulation():
    """5.2 standard errors."""
    rng = np.random.default_rng(1)
    h = rng.standard_normal((100_000, 12))
    positive = h > 0
    share = (h**2 * positive).sum(axis=1) / (h**2).sum(axis=1)
    k = positive.sum(axis=1)
    frequency = ((share < 0.3) & (k >= 2) & (k <= 10)).mean()
    exact = fraction_tail(sign_counts(12, 9.0, 2), 0.3, 0.0)
    assert abs(frequency - exact) < 5.2 * np.sqrt(exact / 100_000)


# Moments of one layer


def literal_moments(width, counts, low, high, size, sign):
    """The definitions, by quadrature over B and mpmath's hypergeometric function for F and F'."""
    t, gap = sign * size, high - low
    totals = np.array([mpmath.mpf(0)] * 3)
    for k in map(mpmath.mpf, counts):
        alpha, beta = k / 2, (width - k) / 2
        f = mpmath.exp(exact_log_power(alpha - 0.5, beta, low, high, t))
        f_up = mpmath.exp(exact_log_power(alpha, beta - 0.5, low, high, t)) if low else f
        totals += (
            mpmath.binomial(width, k) / mpmath.mpf(2) ** width * conditional(alpha, beta, low, gap, t, size, f, f_up)
        )
    return [float(mpmath.log(value)) if value else -np.inf for value in totals]


def conditional(alpha, beta, low, gap, t, size, f, f_up):
    def integrand(b, which):
        q = low + gap * b
        plus, minus = (low + gap) * b / q, low * (1 - b) / q
        value = [
            q**-t * (plus * f + minus * f_up),
            q**-t * plus * minus * abs(f_up - f),
            (gap**2 * b * (1 - b) / q**2) ** size,
        ][which]
        return value * b ** (alpha - 1) * (1 - b) ** (beta - 1) / mpmath.beta(alpha, beta)

    nodes = mpmath.linspace(0, 1, 5)
    return np.array([mpmath.quad(lambda b, w=which: integrand(b, w), nodes) for which in range(3)])


@pytest.mark.parametrize("low", [0.0, 0.02, 0.4])
@pytest.mark.parametrize("sign", [1, -1])
def test_layer_moments_against_their_definitions(low, sign):
    counts = sign_counts(40, 0.4, 3)
    exponents = np.array([2.0, 4.5])
    moments = layer_moments(counts, low, 2.0 - low, exponents, sign)
    for index, size in enumerate(exponents):
        base, cross, excess = literal_moments(40, counts.counts, low, 2.0 - low, size, sign)
        assert 0.0 < moments.base[index] - base < 1e-10  # raised by the allowance for rounding
        assert moments.cross[index] == pytest.approx(cross, abs=1e-8)
        assert moments.excess[index] == pytest.approx(excess if sign > 0 else 0.0, abs=1e-10)


def steps(slope, width, alignment, trials, rng):
    """Simulated Y at a given squared cosine, for the squared slopes of sum 2."""
    scale = 2 / (1 + slope**2)
    step = homogeneous_law._Step(width, scale, scale * slope**2)
    return np.exp(step(np.full(trials, alignment), rng))


@pytest.mark.parametrize("slope", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_moment_without_alignment_is_above_the_truth_and_close(slope, sign):
    """E Y^(+-lambda) at rho = 0: above, to 5 standard errors, and within 2 % of its excess over 1 besides."""
    width, low = 80, 2 * slope**2 / (1 + slope**2)
    y = steps(slope, width, 0.0, 400_000, np.random.default_rng(2))
    exponents = np.array([2.0, 6.0])
    moments = layer_moments(sign_counts(width, 5.3, 3), low, 2.0 - low, exponents, sign)
    for size, log in zip(exponents, moments.base, strict=True):
        powers = y ** (sign * size)
        error = powers.std() / np.sqrt(len(y))
        assert np.exp(log) > powers.mean() - 5 * error
        assert np.exp(log) < powers.mean() + 5 * error + 0.02 * abs(powers.mean() - 1)


@pytest.mark.parametrize("slope", [0.05, 0.5, 0.8])
@pytest.mark.parametrize("alignment", [0.002, 0.01, 0.03])
def test_one_layer_is_bounded_whatever_the_alignment(slope, alignment):
    """|H|_lambda after one layer from G = 1, and E Y^-lambda; 5 standard errors."""
    width = 200
    low = 2 * slope**2 / (1 + slope**2)
    certificate = homogeneous._Certificate(low, 2.0 - low, width, 2, 1.0)
    counts = sign_counts(width, 7.0, 2)
    y = steps(slope, width, alignment, 200_000, np.random.default_rng(3))
    here = np.array([alignment])
    exponents = np.array([2.0, 3.0, 6.0])
    upper = certificate._upper(layer_moments(counts, low, 2 - low, exponents, 1), here, here, 0.2, 1e-9, 0.7)
    lower = certificate._lower(layer_moments(counts, low, 2 - low, exponents, -1), here, 0.2, 1e-9)
    assert np.isfinite([upper[0, 0], lower[0, 0]]).all()
    for index, size in enumerate(exponents):
        for powers, log, loss in (
            ((y - alignment) ** size, upper[index, 0] + size * np.log(np.exp(0.7) - alignment), 0.025 * size**2),
            (y**-size, lower[index, 0] + 1e-9 * size, 1.3 * size),  # the lower proof drops the gain by alignment
        ):
            error = powers.std() / powers.mean() / np.sqrt(len(y))
            truth = np.log(powers.mean())
            assert np.isnan(log) or truth - 5 * error < log < truth + 5 * error + 0.002 * size + loss * alignment


@pytest.mark.parametrize("size", [1.0, 1.5, 2.0, 3.7, 20.0])
def test_two_point_inequalities(size):
    z = np.linspace(0.0, 0.999, 400)
    if size >= 2:
        upper = 0.5 * ((1 + z) ** size + (1 - z) ** size)
        assert (upper <= (1 + (size - 1) * z**2 / 2) ** size * (1 + 1e-12)).all()
    bracket = 1 - (size + 1) * z**2 / 2
    inside = bracket > 0
    lower = 0.5 * ((1 + z) ** -size + (1 - z) ** -size)
    assert inside.sum() > 50
    assert (lower[inside] <= bracket[inside] ** -size * (1 + 1e-12)).all()


# The bound


def exceedances(slope, width, depth, epsilons, trials, rng, readout="random"):
    largest = np.abs(sample_homogeneous_ratios(1.0, slope, width, depth, trials, rng, readout=readout)).max(axis=1)
    return [int((~(largest < epsilon)).sum()) for epsilon in epsilons]  # a dead network exceeds


GRID = [(60, 5), (200, 10), (400, 50)]


@pytest.mark.parametrize("slope", [0, 0.01, 0.3, 0.6, 0.9])
def test_the_bound_is_above_the_exact_law(slope):
    """No exceedance count is improbably high under the bound; false alarm 1e-6 each. Most cells say something."""
    rng, telling, epsilons = np.random.default_rng(4), 0, (0.3, 0.6, 1.0, 2.0)
    slopes = Slopes(sympy.Integer(1), sympy.nsimplify(slope))
    for width, depth in GRID:
        for epsilon, seen in zip(epsilons, exceedances(slope, width, depth, epsilons, 20_000, rng), strict=True):
            bound = slopes_deep_bound(slopes, width, depth, epsilon).probability
            telling += bound < 1
            assert stats.binom(20_000, bound).sf(seen - 1) > 1e-6
    assert telling >= 5


REFERENCE = {  # (depth, epsilon): width of an earlier, weaker form of the theorem; what this one needs; the truth
    (10, 1.0): (381, 285, 158),
    (10, 0.5): (1383, 1096, 625),
    (50, 1.0): (2437, 1510, 905),
    (50, 0.5): (9218, 5906, 3654),
    (200, 1.0): (11772, 6112, 3796),
}


@pytest.mark.parametrize(("depth", "epsilon"), REFERENCE)
def test_relu_widths(depth, epsilon):
    weaker, expected, truth = REFERENCE[depth, epsilon]
    width = required_width(RELU, depth, epsilon)
    assert width == pytest.approx(expected, rel=0.01)
    assert truth < width < 0.8 * weaker
    assert width < 1.85 * truth
    assert relu_deep_bound(width, depth, epsilon).probability <= 0.05
    assert relu_deep_bound(width - 1, depth, epsilon).probability > 0.05


@pytest.mark.parametrize(("depth", "epsilon", "expected"), [(10, 0.5, 397), (50, 1.0, 546)])
def test_leaky_widths_and_their_truth(depth, epsilon, expected):
    """The width needed has at most 5 % exceedances, and not much less than half of it has more; 4,000 networks."""
    width = required_width(HALF, depth, epsilon)
    assert width == pytest.approx(expected, rel=0.01)
    rng = np.random.default_rng(5)
    assert exceedances(0.5, width, depth, [epsilon], 4000, rng)[0] < 200
    assert exceedances(0.5, round(0.5 * width), depth, [epsilon], 4000, rng)[0] > 200


def test_before_g_passes_the_level_down_the_alignment_lies_below_that_level():
    """Inequality (13) literally: rho^2 = rho_L^2/G is below r = rho_L^2 e^alpha as long as G > e^-alpha.

    With the level up in the place of the level down the bound at width 345 would be 0.0035.
    """
    certificate = homogeneous._Certificate(*HALF.squares, 400, 3, 1.0)
    counts = sign_counts(400, 4.0, 2)
    moments = layer_moments(counts, *HALF.squares, np.array([3.0, 20.0]), -1)
    low, high = HALF.squares
    for alpha in (0.2, 1.0):
        r = 0.01 * np.exp(alpha)
        for row, size in enumerate(moments.exponents):
            cost = 2 * (size + 1) * r / (1 - r) * (high - low) / (low + (high - low) * 0.3)
            growth = max(np.exp(moments.base[row]) + cost * np.exp(moments.cross[row]), 1.0)
            expected = -size * alpha + 2 * np.log(growth) if cost <= 1 else np.nan
            found = certificate._lower(moments, np.array([0.01]), 0.3, alpha)[row, 0]
            np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert leaky_relu_deep_bound("1/10", 345, 3, 1.0).probability == pytest.approx(0.00997, rel=1e-3)


def test_a_lower_slope_that_vanishes_gives_relu():
    relu = relu_deep_bound(5000, 50, 0.5).log
    assert leaky_relu_deep_bound(1e-3, 5000, 50, 0.5).log == pytest.approx(relu, rel=0.01)


@pytest.mark.parametrize("slopes", [RELU, HALF])
def test_the_bound_falls_with_width_and_grows_with_depth(slopes):
    by_width = [slopes_deep_bound(slopes, width, 20, 0.7).log for width in (400, 1000, 3000, 10_000, 50_000)]
    assert by_width == sorted(by_width, reverse=True)
    assert by_width[-1] < -40
    by_depth = [slopes_deep_bound(slopes, 10_000, depth, 0.7).log for depth in (2, 5, 20, 100, 500)]
    assert by_depth == sorted(by_depth)


def test_any_readout_covers_the_aligned_one():
    """E G_1 is about 1 + L/2 then, and the bound says something above that."""
    rng, epsilons = np.random.default_rng(6), (1.5, 2.0, 2.5)
    seen = exceedances(0.0, 2000, 10, epsilons, 5000, rng, "aligned")
    bounds = [relu_deep_bound(2000, 10, epsilon, "any") for epsilon in epsilons]
    assert seen[0] > 4500
    assert bounds[0].probability == 1.0
    assert "aligned" in bounds[0].reason
    assert bounds[2].probability < 0.2
    for count, bound in zip(seen, bounds, strict=True):
        assert stats.binom(5000, bound.probability).sf(count - 1) > 1e-6
    assert bounds[2].log > relu_deep_bound(2000, 10, 2.5).log


# It fails closed


@pytest.mark.parametrize("slopes", [RELU, HALF])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_moment_that_is_not_a_number_makes_the_bound_1(slopes, value, monkeypatch):
    real = homogeneous_moments.layer_moments
    for broken in ("base", "excess"):

        def spoiled(*args, broken=broken):
            moments = real(*args)
            fields = {name: getattr(moments, name) for name in ("exponents", "base", "cross", "excess")}
            return LayerMoments(**(fields | {broken: np.full_like(fields[broken], value)}))

        monkeypatch.setattr(homogeneous, "layer_moments", spoiled)
        bound = slopes_deep_bound(slopes, 1000, 10, 1.0)
        assert (bound.kind, bound.log) == ("deep", 0.0)
        assert "too small" in bound.reason


def test_a_power_moment_that_diverges_is_told_as_nan():
    moments = layer_moments(sign_counts(20, 1.0, 3), 0.0, 2.0, np.array([2.0, 50.0]), 1)
    assert np.isfinite(moments.base[0])
    assert np.isnan(moments.base[1])


@pytest.mark.parametrize("slopes", [RELU, HALF, Slopes(sympy.Integer(1), sympy.Rational(99, 100))])
@pytest.mark.parametrize("width", [8, 9, 12, 20])
def test_narrow_networks_have_a_bound_that_says_nothing_or_holds(slopes, width):
    for depth, epsilon in ((2, 0.1), (30, 1.0), (5, 8.0), (2, 30.0)):
        bound = slopes_deep_bound(slopes, width, depth, epsilon)
        assert 0 < bound.probability <= 1
        seen = exceedances(float(slopes.negative), width, depth, [epsilon], 2000, np.random.default_rng(7))[0]
        assert stats.binom(2000, bound.probability).sf(seen - 1) > 1e-6


def test_an_event_beyond_float64_is_not_called_impossible():
    assert np.isfinite(relu_deep_bound(10**6, 2, 3.0).log)
    assert np.isfinite(leaky_relu_deep_bound(0.5, 10**4, 2, 3.0).log)


# What the slopes say


def test_slopes_are_read_exactly():
    assert homogeneous_slopes(leaky("1/3")) == Slopes(sympy.Integer(1), sympy.Rational(1, 3))
    root = homogeneous_slopes(catalog.build("relu").affine(sympy.sqrt(2), 0))
    assert root == Slopes(sympy.sqrt(2), sympy.Integer(0))
    assert root.squares == (0.0, 2.0)
    assert homogeneous_slopes(Activation("identity", 3 * X)) == Slopes(sympy.Integer(3), sympy.Integer(3))
    assert homogeneous_slopes(Activation("abs", sympy.Abs(X))) == Slopes(sympy.Integer(1), sympy.Integer(-1))
    assert homogeneous_slopes(Activation("tanh", sympy.tanh(X))) is None
    assert homogeneous_slopes(Activation("shifted", sympy.Max(X, 0) - 1)) is None


def test_a_multiple_a_mirror_image_and_a_sign_have_the_same_bound():
    reference = deep_bound(leaky("1/10"), 1000, 20, 1.0)
    for expression in (
        7 * sympy.Max(X, X / 10),
        sympy.Max(-X, -X / 10),
        sympy.Piecewise((X, X > 0), (-X / 10, True)),
    ):
        assert deep_bound(Activation("same", expression), 1000, 20, 1.0).log == pytest.approx(reference.log, rel=1e-12)


def test_outcomes_that_are_not_numbers_have_reasons():
    tanh = deep_bound(Activation("tanh", sympy.tanh(X)), 100, 10, 0.5)
    assert (tanh.kind, tanh.log) == ("none", 0.0)
    assert "linear" in tanh.reason
    known = CallableActivation("relu", lambda x: np.maximum(x, 0.0))
    assert deep_bound(known, 100, 10, 0.5).kind == "none"
    assert deep_bound(Activation("zero", 0 * X), 100, 10, 0.5).reason == "phi = 0: every gradient vanishes"
    for expression in (sympy.Abs(X), 2 * X):
        assert deep_bound(Activation("isometry", expression), 100, 10, 0.5).probability == 0.0
    assert "random readout" in deep_bound(leaky("1/2"), 100, 10, 0.5, "any").reason
    near = Slopes(sympy.Integer(1), 1 + sympy.Rational(1, 10**20))
    assert "float64" in slopes_deep_bound(near, 100, 10, 0.5).reason
    assert leaky_relu_deep_bound(0.99999, 2000, 10, 0.5).probability < 1e-3
    assert relu_deep_bound(100, 1, 0.5).log == pytest.approx(-100 * np.log(2))
    assert leaky_relu_deep_bound(0.1, 100, 1, 0.5).log == -np.inf
    assert required_width(Slopes(sympy.Integer(0), sympy.Integer(0)), 10, 1.0) is None


def test_misuse_is_an_error():
    for arguments, message in [
        ((4, 10, 0.5), "width must be a whole number of at least 8, not 4"),
        ((10.5, 10, 0.5), "width must be"),
        ((float("nan"), 10, 0.5), "width must be"),
        ((100, 0, 0.5), "depth must be"),
        ((100, 10, 0.0), "epsilon must be a positive number"),
        ((100, 10, float("nan")), "epsilon must be"),
        ((100, 10, 0.5, "loss"), "readout must be one of random, any"),
    ]:
        with pytest.raises(UsageError, match=message):
            relu_deep_bound(*arguments)
        with pytest.raises(UsageError, match=message):
            deep_bound(Activation("tanh", sympy.tanh(X)), *arguments)
    with pytest.raises(UsageError, match="between 0 and 1"):
        required_width(RELU, 10, 1.0, 1.0)
