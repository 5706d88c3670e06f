"""Growth envelopes: every bound holds at every point tried, tails are bounded tightly, and nothing is guessed."""

import mpmath
import pytest
import sympy
from flint import arb
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.activations import catalog
from theory.balls.arithmetics import REAL, growth_arithmetic
from theory.balls.core import NotCertifiable, precision
from theory.balls.envelope import gap_diverges, gaussian_tail, singular_gap, tail_diverges, variable
from theory.balls.local import T, mirrored
from theory.balls.program import Program
from theory.numerics.arithmetic import X
from theory.numerics.special import normal_cdf, normal_pdf, sigmoid, softplus

START = 12
R = sympy.Rational


def envelope(expression, start=START):
    start = arb(start)
    return Program([expression], T).bind(growth_arithmetic(start))(variable(start))[0]


def assert_bounds_hold(expression, start=START):
    with precision(200):
        growth = envelope(expression, start)
        run = Program([expression], T).bind(REAL)
        slack = arb(10) ** -40
        for factor in (1, 1.0001, 1.1, 2, 5, 40, 1000):
            x = arb(start) * arb(factor)
            (value,) = run(x)
            if not value.is_finite():
                continue
            size = abs(value)
            if growth.sign:
                assert not value * growth.sign < 0
            if growth.upper is not None and not growth.is_zero() and size > 0:
                assert not size.log() > growth.upper.at(x) + slack
            if growth.lower is not None:
                assert not size.log() < growth.lower.at(x) - slack
            if growth.above is not None:
                assert not value > growth.above.at(x) + slack * size
            if growth.below is not None:
                assert not value < growth.below.at(x) - slack * size
        return growth


@pytest.mark.parametrize("name", catalog.names())
def test_envelopes_of_the_catalog(name):
    pieces = catalog.build(name).pieces
    for piece, side in ((pieces[0], -1), (pieces[-1], 1)):
        for expression in mirrored([piece.value, piece.slope, piece.curvature], side):
            assert assert_bounds_hold(expression).upper is not None


LEAVES = [T, -T, T / 3, T - 5, 2 - T, T**2, -(T**2) / 7, sympy.Integer(3), R(-1, 2), sympy.sqrt(2)]
WRAPPERS = [
    sympy.tanh,
    sympy.erf,
    sympy.erfc,
    sympy.sin,
    sympy.cos,
    sympy.atan,
    sympy.asinh,
    sigmoid,
    softplus,
    normal_cdf,
    normal_pdf,
    lambda e: sympy.exp(e / 9),
    lambda e: sympy.exp(-(e**2) / 9),
    lambda e: sympy.log(1 + e**2),
    lambda e: sympy.sqrt(1 + e**2),
    lambda e: 1 / (1 + e**2),
    lambda e: 1 - sympy.tanh(e) ** 2,
    lambda e: e**3,
]
EXPRESSIONS = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        st.builds(lambda f, e: f(e), st.sampled_from(WRAPPERS), inner),
        st.builds(lambda a, b: a + b, inner, inner),
        st.builds(lambda a, b: a * b, inner, inner),
    ),
    max_leaves=6,
)


@given(EXPRESSIONS)
@settings(max_examples=400, deadline=None, derandomize=True)
def test_envelopes_of_random_expressions(expression):
    if not expression.has(T):
        return
    try:
        assert_bounds_hold(expression)
    except NotCertifiable:
        return


@given(EXPRESSIONS)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_tails_of_random_expressions_are_bounded(expression):
    if not expression.has(T):
        return
    with precision(120):
        try:
            tail = gaussian_tail(envelope(expression))
        except NotCertifiable:
            return
        run = Program([expression], T).bind(REAL)

    def integrand(x):
        (value,) = run(arb(float(x)))
        return mpmath.mpf(float(abs(value).mid())) * mpmath.npdf(x)

    if tail is not None and tail.is_finite():
        true = mpmath.quad(integrand, [12, 12.5, 13, 14, 16])
        assert mpmath.mpf(float(tail)) >= true * (1 - mpmath.mpf(10) ** -6)


@pytest.mark.parametrize(
    ("expression", "looseness"),
    [(T**2, 1.1), (sympy.exp(T), 1.1), (sympy.exp(T**2 / 5), 1.6), (T * sympy.tanh(softplus(T)), 1.2), (T**4 + 3, 1.2)],
)
def test_tail_bounds_are_tight(expression, looseness):
    """Mills' ratio at 12 leaves less than a percent; the rest is the envelope."""
    with precision(120):
        tail = gaussian_tail(envelope(expression))
    function = sympy.lambdify(T, expression.replace(softplus, lambda e: softplus.elementary(e)), "mpmath")
    with mpmath.workdps(30):
        true = mpmath.quad(lambda x: function(x) * mpmath.npdf(x), [12, 13, 15, 20, 30])
    assert 1 <= float(tail) / float(true) <= looseness


@pytest.mark.parametrize(
    ("expression", "diverges"),
    [
        (sympy.exp(T**2 / 2), True),
        (sympy.exp(T**2 / 2) / T, True),
        (sympy.exp(T**2 / 2) / T**2, False),
        (sympy.exp(T**2 / 2 - T), False),
        (sympy.exp(T**2), True),
        (sympy.exp(T**3), True),
        (sympy.exp(T**2 / 2) * sympy.sin(T), False),
        (T**100, False),
    ],
)
def test_divergence_is_proved_or_left_open(expression, diverges):
    with precision(100):
        growth = envelope(expression)
        assert tail_diverges(growth) is diverges
        if diverges:
            assert gaussian_tail(growth) is None


@pytest.mark.parametrize(
    ("expression", "power", "diverges"),
    [
        (T ** R(-1, 2), 0.5, False),
        (sympy.log(T), 1, False),
        (sympy.log(T) ** 2, 1, False),
        (T ** R(-1, 2) * sympy.log(T), 0.5, False),
        (1 / T, None, True),
        (T ** R(-3, 2), None, True),
        (sympy.exp(1 / T), None, True),
    ],
)
def test_gaps_at_singular_ends(expression, power, diverges):
    delta = 1e-6
    with precision(100):
        growth = envelope(expression.xreplace({T: 1 / T}), 10**6)
        gap = singular_gap(growth)
        assert gap_diverges(growth) is diverges
    if power is None:
        assert gap is None
        return
    function = sympy.lambdify(T, expression, "mpmath")
    with mpmath.workdps(30):
        true = abs(mpmath.quad(function, [0, mpmath.mpf(delta)]))
    assert true <= mpmath.mpf(float(gap)) < 300 * true


@pytest.mark.parametrize(
    "expression", [sympy.sec(T), sympy.gamma(T), sympy.sqrt(sympy.sin(T)), sympy.log(sympy.sin(T))]
)
def test_a_missing_envelope_is_reported_not_guessed(expression):
    with precision(100), pytest.raises(NotCertifiable):
        envelope(expression)


@pytest.mark.parametrize(
    "expression", [1 / sympy.sin(T), sympy.tan(T), 1 / (sympy.sin(T) + 1), sympy.exp(T**3), T / sympy.cos(T)]
)
def test_unbounded_or_unclear_growth_has_no_upper_envelope(expression):
    with precision(100):
        assert gaussian_tail(envelope(expression)) is None


def test_the_left_side_is_the_mirror_image():
    with precision(100):
        (left,) = mirrored([X * sigmoid(X)], -1)
        growth = envelope(left)
        assert growth.upper.linear < 0  # silu decays like x exp(x) on the left
        assert growth.sign < 0
