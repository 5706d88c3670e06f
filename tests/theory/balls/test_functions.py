"""The records of functions: complete, and true where an independent computation can tell."""

import inspect
from itertools import pairwise

import mpmath
import pytest
import sympy
from flint import arb

from theory.activations import catalog
from theory.activations.formula import parse_formula
from theory.balls.arithmetics import growth_arithmetic
from theory.balls.functions import FUNCTIONS, symbol
from theory.numerics import special
from theory.numerics.arithmetic import X, compile_expressions
from theory.numerics.special import MPMATH, NUMPY

OWN = [name for name, value in vars(special).items() if inspect.isclass(value) and issubclass(value, sympy.Function)]
WITHOUT_RECORD = {"_TabulatedFunction", "_PositiveFunction", "hermite_normalized", "frac"}  # gone before balls see them
NO_GROWTH = {"sec", "coth", "csch", "erfi", "atanh"}
NO_SERIES = {"cot", "sec", "csc", "coth", "sech", "csch", "acosh", "atanh"}
POINTS = [mpmath.mpf(k) / 8 + mpmath.mpf("0.013") for k in range(-40, 41)]


def _value(name, point):
    """The function at a point in mpmath; None where it is not real."""
    try:
        value = compile_expressions([symbol(FUNCTIONS[name])(X)], "mpmath")(point)[0]
    except (ValueError, ZeroDivisionError):
        return None
    return value if isinstance(value, mpmath.mpf) else None


def test_every_function_of_our_own_has_all_its_arithmetics():
    assert set(OWN) - WITHOUT_RECORD <= set(FUNCTIONS)
    assert set(OWN) - {"_TabulatedFunction", "_PositiveFunction"} == set(NUMPY) - {"polygamma"} == set(MPMATH)


def test_what_a_record_leaves_out_is_listed_here():
    assert {name for name, record in FUNCTIONS.items() if record.growth is None} == NO_GROWTH
    assert {name for name, record in FUNCTIONS.items() if record.series is None} == NO_SERIES
    assert set(growth_arithmetic(arb(1)).functions) == set(FUNCTIONS) - NO_GROWTH | {"sech_squared", "frac"}


def test_every_function_of_a_formula_or_of_the_catalog_has_a_record():
    for record in FUNCTIONS.values():
        for name in record.written:
            assert parse_formula(f"{name}(x/8)") == symbol(record)(X / 8)
    used = {f.func.__name__ for entry in catalog.CATALOG.values() for f in entry.expression().atoms(sympy.Function)}
    switches = {"Abs", "Max", "Min", "Piecewise", "sign", "Heaviside", "hermite_normalized"}
    assert used - switches <= set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_shape_and_zeros_are_those_of_the_values(name):
    record = FUNCTIONS[name]
    values = [(point, value) for point in POINTS if (value := _value(name, point)) is not None]
    assert len(values) > 8
    if record.shape == "even":
        assert all(abs(_value(name, -point) - value) <= 1e-12 * abs(value) for point, value in values)
        values = [(point, value) for point, value in values if point > 0]
    if record.shape is not None:
        steps = {mpmath.sign(right - left) for (_, left), (_, right) in pairwise(values)}
        assert len(steps) == 1
    if record.zeros == ():
        assert all(value > 0 for _, value in values)
    for zero in record.zeros or ():
        assert symbol(record)(zero) == 0
        assert all(mpmath.sign(value) == mpmath.sign(point - zero) * _direction(values) for point, value in values)


def _direction(values):
    return mpmath.sign(values[-1][1] - values[0][1])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_singular_points_are_those_where_the_slope_is_not_finite(name):
    slope = sympy.diff(symbol(FUNCTIONS[name])(X), X)
    for point in FUNCTIONS[name].singular:
        assert not slope.subs(X, point).is_finite
