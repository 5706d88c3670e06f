"""An activation is one expression; everything else must agree with it."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.activations.activation import Activation, exact
from theory.activations.callable import CallableActivation
from theory.activations.specification import activation
from theory.errors import SpecificationError
from theory.gaussian.convergence import convergence
from theory.gaussian.digits import expectations_high_precision
from theory.gaussian.expectations import expectations
from theory.numerics.arithmetic import X
from theory.numerics.special import normal_cdf, softplus

RATIONALS = st.fractions(min_value=-3, max_value=3, max_denominator=12).map(
    lambda f: sympy.Rational(f.numerator, f.denominator)
)


def literal(expression: sympy.Expr, point: float) -> float:
    """SymPy's own evaluation at one exact point: slow, and independent of the splitting and the code generation."""
    return float(expression.subs(X, sympy.Rational(*point.as_integer_ratio())).evalf(30))


EXPRESSIONS = {
    "relu": sympy.Max(X, 0),
    "hard tanh": sympy.Max(-1, sympy.Min(1, X)),
    "nested": sympy.Abs(sympy.Max(X, 0) - 1),
    "elu": sympy.Piecewise((sympy.exp(X) - 1, X < 0), (X, True)),
    "window": sympy.Piecewise((X**2, (X > -1) & (X < 1)), (1, True)),
    "quadratic switch": sympy.Abs(X**2 - 2),
    "cubic switch": sympy.Abs(X**3 - X - 1),
    "exponential switch": sympy.Max(sympy.exp(X) - 2, 0),
    "softsign": X / (1 + sympy.Abs(X)),
    "gelu": X * normal_cdf(X),
    "mish": X * sympy.tanh(softplus(X)),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_value_agrees_with_sympy(name):
    expression = EXPRESSIONS[name]
    points = np.array([-7.3, -1.41, -0.6, -1e-3, 1e-3, 0.69, 0.7, 1.3, 1.42, 6.1])
    values = Activation(name, expression).value(points)
    expected = [literal(expression, point) for point in points]
    np.testing.assert_allclose(values, expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_slope_and_curvature_agree_with_differences(name):
    activation = Activation(name, EXPRESSIONS[name])
    points = np.array([-2.3, -0.6, 0.31, 0.9, 2.2])
    step = 1e-5
    difference = (activation.value(points + step) - activation.value(points - step)) / (2 * step)
    np.testing.assert_allclose(activation.slope(points), difference, rtol=1e-8, atol=1e-8)
    difference = (activation.slope(points + step) - activation.slope(points - step)) / (2 * step)
    np.testing.assert_allclose(activation.curvature(points), difference, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("expression", "kinks", "jumps"),
    [
        (sympy.Max(X, 0), (0,), ()),
        (sympy.Abs(X - sympy.Rational("1.3")), (sympy.Rational("1.3"),), ()),
        (sympy.sign(X), (), (0,)),
        (sympy.Heaviside(X - 1) * X, (), (1,)),
        (sympy.Piecewise((sympy.exp(X) - 1, X < 0), (X, True)), (), ()),  # ELU with alpha = 1 is smooth at 0
        (sympy.Piecewise((2 * sympy.exp(X) - 2, X < 0), (X, True)), (0,), ()),
        (sympy.Abs(X**2 - 2), (-sympy.sqrt(2), sympy.sqrt(2)), ()),
        (sympy.sqrt(sympy.Abs(X)), (0,), ()),
        (1 / X, (), (0,)),
        (sympy.sin(X) / X, (), ()),
        (sympy.tanh(X), (), ()),
    ],
)
def test_kinks_and_jumps_are_distinguished(expression, kinks, jumps):
    activation = Activation("phi", expression)
    assert activation.kinks == kinks
    assert activation.jumps == jumps


def test_half_line_functions_are_known_as_undefined_elsewhere():
    (piece,) = Activation("sqrt", sympy.sqrt(X)).undefined
    assert (piece.lower, piece.upper) == (-sympy.oo, 0)
    assert Activation("relu", sympy.Max(X, 0)).undefined == ()


def test_breakpoints_without_end_are_evaluated_beyond_the_last_one_that_is_listed():
    phi = Activation("wave", sympy.Abs(sympy.sin(X)))
    points = np.array([-40.0, -17.0, 3.0, 17.0, 1e5])
    value, slope = phi.value_and_slope(points)
    np.testing.assert_allclose(value, np.abs(np.sin(points)), rtol=1e-15)
    np.testing.assert_allclose(slope, np.sign(np.sin(points)) * np.cos(points), rtol=1e-15)


def test_a_switch_whose_changes_are_not_known_is_evaluated_all_the_same():
    phi = Activation("touching", sympy.Max(sympy.cos(X), 1 - sympy.cos(X) + sympy.cos(X) ** 2))
    points = np.linspace(-20, 20, 101)
    expected = np.maximum(np.cos(points), 1 - np.cos(points) + np.cos(points) ** 2)
    np.testing.assert_allclose(phi.value(points), expected, rtol=1e-14)


def test_a_condition_on_a_piecewise_function():
    leaky = sympy.Piecewise((X / 100, X < 0), (X, True))
    condition = sympy.Piecewise((X - 1, leaky > 1), (-X, True))
    np.testing.assert_array_equal(Activation("phi", condition).value([-1.0, 0.5, 3.0]), [1.0, -0.5, 2.0])


def test_complex_values_are_nan():
    assert np.isnan(Activation("sqrt", sympy.sqrt(X)).value(-1.0))


def test_another_symbol_is_refused():
    with pytest.raises(SpecificationError, match="free symbols"):
        Activation("bad", X * sympy.Symbol("y"))


def test_value_and_slope_never_share_memory():
    points = np.array([0.5, 1.0])
    for expression in (sympy.exp(X), X, sympy.Integer(3)):
        value, slope = Activation("phi", expression).value_and_slope(points)
        value[:] = -1
        assert (slope != -1).all()
        assert (points > 0).all()


def test_nan_passes_through_relu():
    assert np.isnan(Activation("relu", sympy.Max(X, 0)).value([np.nan])[0])


def test_pickle_and_hash_go_by_definition():
    activation = Activation("tanh", sympy.tanh(X)).affine(1.5, -0.25)
    _ = activation.value(1.0)  # fills the caches, which are not pickled
    copy = pickle.loads(pickle.dumps(activation))
    assert copy == activation
    assert hash(copy) == hash(activation)
    assert copy.value(0.7) == activation.value(0.7)


@given(scale=RATIONALS, shift=RATIONALS, left=RATIONALS, right=RATIONALS, knot=RATIONALS)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_affine_maps_values_and_slopes(scale, shift, left, right, knot):
    base = Activation("hinge", sympy.Piecewise((left * (X - knot), X < knot), (right * (X - knot), True)))
    image = base.affine(scale, shift)
    points = np.linspace(-4.03, 4.01, 9)
    np.testing.assert_allclose(image.value(points), float(scale) * base.value(points) + float(shift), atol=1e-13)
    np.testing.assert_allclose(image.slope(points), float(scale) * base.slope(points), atol=1e-13)


def test_homogeneity():
    assert Activation("leaky", sympy.Max(X, X / 100)).is_positively_homogeneous
    assert Activation("identity", X).is_positively_homogeneous
    assert not Activation("shifted", sympy.Max(X, 0) + 1).is_positively_homogeneous
    assert not Activation("square", X**2).is_positively_homogeneous
    assert not Activation("hinge at one", sympy.Max(X - 1, 0)).is_positively_homogeneous


def test_float_constants_are_exact_binary_numbers():
    assert exact(0.1) == sympy.Rational(3602879701896397, 36028797018963968)
    with pytest.raises(SpecificationError, match="finite"):
        exact(float("nan"))


def test_callable_derivative_by_differences():
    given_slope = CallableActivation("tanh", np.tanh, lambda x: 1 - np.tanh(x) ** 2)
    differenced = CallableActivation("tanh", np.tanh)
    points = np.linspace(-3, 3, 31)
    np.testing.assert_allclose(differenced.slope(points), given_slope.slope(points), atol=2e-11)
    assert given_slope.affine(2.0, 1.0).value(0.3) == 2 * np.tanh(0.3) + 1


def test_a_callable_must_work_elementwise():
    with pytest.raises(SpecificationError, match="elementwise"):
        CallableActivation("sum", np.sum).value(np.ones(3))


def test_a_breakpoint_of_unknown_finiteness_is_no_infinity():
    """For SymPy it is unknown whether tan(log(2)) is finite."""
    phi = Activation("cut", sympy.Min(sympy.atan(X), sympy.log(2)))
    assert sympy.tan(sympy.log(2)).is_finite is None
    assert phi.kinks == (sympy.tan(sympy.log(2)),)
    assert phi.jumps == ()
    second = expectations(phi, {"second": lambda _z, value, _slope: value**2})["second"]
    precise, _ = expectations_high_precision(phi, {"second": lambda _z, value, _slope: value**2}, 20)["second"]
    assert abs(second.value - float(precise)) < 1e-12
    assert convergence(phi, "slope").verdict == "converges"


@pytest.mark.parametrize("phi", [activation("gelu"), activation(np.tanh)], ids=["formula", "function"])
@pytest.mark.parametrize("method", ["__call__", "value", "slope", "curvature"])
def test_values_have_the_form_of_the_points(phi, method):
    function = getattr(phi, method)
    plain = function(np.array([0.25, 1.5]))
    series = pd.Series([0.25, 1.5], index=["p", "q"], name="h")
    pd.testing.assert_series_equal(function(series), pd.Series(plain, index=["p", "q"], name="h"))
    frame = pd.DataFrame({"u": [0.25, 1.5], "v": [1.5, 0.25]}, index=[7, 3])
    expected = pd.DataFrame({"u": plain, "v": plain[::-1]}, index=[7, 3])
    pd.testing.assert_frame_equal(function(frame), expected)
    single = function(np.array([0.25, 1.5], dtype=np.float32))
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, plain.astype(np.float32))  # 0.25 and 1.5 are float32 numbers
    assert function(series.astype(np.float32)).dtype == np.float32
    for number in (0.25, np.float64(0.25), 1):
        assert (function(number).shape, function(number).dtype) == ((), np.float64)
    assert function(np.float32(0.25)).dtype == np.float32
    assert function([[1, 2, 3]]).shape == (1, 3)
    assert function(np.zeros((2, 0))).shape == (2, 0)
