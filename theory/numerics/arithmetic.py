"""Turn SymPy expressions into functions on NumPy arrays or on mpmath numbers.

One expression, many arithmetics: SymPy writes the code, and every special function has one stable implementation
for each arithmetic (`theory.numerics.special`).
"""

import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

import mpmath
import numpy as np
import numpy.typing as npt
import sympy
from sympy.logic.boolalg import Boolean

from theory.errors import UsageError
from theory.numerics import special as functions
from theory.numerics.enclosed import without_enclosed

FloatArray = npt.NDArray[np.float64]
X = sympy.Symbol("x", real=True)
"""The variable of every activation."""


Arithmetic = Literal["numpy", "mpmath"]
UNDEFINED = (sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.AccumBounds)
"""What a constant must not contain to be a number."""


_CONSTANT_DIGITS = 40
_MOST_FACTORS = 8  # of a polynomial that is differentiated as a product


def compile_expressions(expressions: Sequence[sympy.Expr], arithmetic: Arithmetic) -> Callable[[Any], list[Any]]:
    """Compile expressions in `X` into one function that returns the list of their values.

    Common subexpressions are evaluated once, so a value and its slope share their work. Constants are folded to
    40 digits for NumPy (and so correctly rounded to float64); mpmath evaluates them at its working precision.

    Args:
        expressions: SymPy expressions whose only free symbol is `X`, without `Piecewise`.
        arithmetic: "numpy" for float64 arrays (a constant expression gives a scalar), "mpmath" for mpf numbers.

    >>> compile_expressions([X**2, 2 * X], "numpy")(3.0)
    [9.0, 6.0]
    """
    if arithmetic == "numpy":
        modules: list[Any] = [functions.NUMPY, "scipy", "numpy"]
        printable = [fold_constants(expression) for expression in expressions]
    else:
        modules = [functions.MPMATH, "mpmath"]
        printable = list(expressions)
    compiled: Callable[[Any], list[Any]] = sympy.lambdify(X, printable, modules=modules, cse=True)
    return compiled


def value_at(expression: sympy.Expr, point: sympy.Expr) -> sympy.Expr:
    """The expression with another instead of x; nan where SymPy cannot compare what then stands in it.

    >>> value_at(X**2, sympy.pi), value_at(sympy.Max(1 / X - 1 / X**2, X), sympy.Integer(0))
    (pi**2, nan)
    """
    try:
        value: sympy.Expr = expression.xreplace({X: point})
    except (ValueError, TypeError, AttributeError):  # the last is what SymPy's cache makes of a TypeError
        return sympy.nan
    return value


class _Modulus(sympy.Function):  # type: ignore[misc]
    """|u| of a real u: SymPy differentiates its own as one of a complex u, where it does not see that u is real."""

    def fdiff(self, _index: int = 1) -> sympy.Expr:
        return _Sign(self.args[0])


class _Sign(sympy.Function):  # type: ignore[misc]
    """The sign of a real u."""

    def fdiff(self, _index: int = 1) -> sympy.Expr:
        return sympy.Integer(0)


def derivative(function: sympy.Expr) -> sympy.Expr:
    """The derivative in x between the changes of those switches that are left.

    >>> derivative(sympy.Abs(sympy.asin(X)) + sympy.Heaviside(X))
    sign(asin(x))/sqrt(1 - x**2)
    """
    if function.is_Mul and len(function.args) > _MOST_FACTORS and function.is_polynomial(X):
        return sympy.diff(sympy.expand(function), X)  # n factors make n terms, and their derivative n^2
    real = function.replace(sympy.Abs, _Modulus).replace(sympy.sign, _Sign)
    slope = sympy.diff(real, X).replace(sympy.DiracDelta, lambda *_: sympy.Integer(0))
    return slope.replace(_Modulus, sympy.Abs).replace(_Sign, sympy.sign)


def is_infinite(end: sympy.Expr) -> bool:
    """Whether an end of an interval, a constant, is -oo or oo.

    SymPy's own `is_finite` and `is_infinite` are unknown, that is None, for constants such as tan(log(2)).

    >>> is_infinite(-sympy.oo), is_infinite(sympy.tan(sympy.log(2)))
    (True, False)
    """
    return end in (sympy.oo, -sympy.oo)


@lru_cache(maxsize=4096)
def constant_value(expression: sympy.Expr, digits: int) -> mpmath.mpf | mpmath.mpc:
    """Evaluate an expression without free symbols to `digits` digits by mpmath, leaving its settings alone.

    A pole, an infinity, a range (as SymPy's limit of an oscillation) or an undefined form gives nan.

    >>> import mpmath
    >>> mpmath.nstr(constant_value(sympy.sqrt(2), 20), 20)
    '1.4142135623730950488'
    """
    if expression.has(*UNDEFINED):
        return mpmath.nan
    with mpmath.workdps(digits + 10):
        if expression.is_Rational:  # compiling takes a thousand times as long
            return mpmath.mpf(expression.p) / expression.q
        value = compile_expressions([without_enclosed(expression, digits + 15)], "mpmath")(mpmath.mpf(0))[0]
        return +mpmath.mpmathify(value)  # a number, also where mpmath has a lazy constant such as pi


def fold_constants(expression: sympy.Expr) -> sympy.Expr:
    """Replace constant subexpressions by 40-digit floats, so that no call computes them again.

    Integers and rational exponents stay exact: x**2 and sqrt(x) keep their quick implementations. Conditions stay, too.
    """
    if expression.is_Integer or isinstance(expression, Boolean):
        return expression
    is_branch = isinstance(expression, sympy.Tuple)  # of a Piecewise, with its condition
    if not expression.free_symbols and not is_branch:
        value = constant_value(expression, _CONSTANT_DIGITS)
        return sympy.Float(value, _CONSTANT_DIGITS) if isinstance(value, mpmath.mpf) else expression
    if not expression.args:
        return expression
    if isinstance(expression, sympy.Pow) and expression.exp.is_Rational:
        return sympy.Pow(fold_constants(expression.base), expression.exp)
    return expression.func(*(fold_constants(argument) for argument in expression.args))


def float_array(x: Any) -> FloatArray:
    """Points as a float64 array: numbers, lists, arrays, pandas objects, PyTorch tensors, JAX arrays.

    Raises:
        UsageError: a PyTorch tensor with a gradient or a JAX array that is being traced, both of which would be lost;
            complex numbers; what NumPy cannot read, as a sparse tensor.
    """
    if getattr(x, "requires_grad", False):
        raise UsageError(
            "this is a tensor with a gradient, and a function on NumPy arrays would lose it: make a PyTorch function "
            "with gpn.export(phi, 'torch'), or pass x.detach()"
        )
    if str(getattr(x, "dtype", "")).startswith(("torch.bfloat16", "torch.float8")):  # which NumPy lacks
        x = x.float()
    try:
        if np.iscomplexobj(x) or str(getattr(x, "dtype", "")).startswith("torch.complex"):
            raise UsageError("activations are functions of real numbers, and these are complex")
        return np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        if not type(x).__module__.startswith("jax"):
            what = " ".join(str(error).split())
            raise UsageError(f"a {type(x).__name__} cannot be read as real numbers: {what:.150}") from error
        raise UsageError(
            "this JAX array is being traced (by jit, grad or vmap), and a function on NumPy arrays would lose that: "
            "make a JAX function with gpn.export(phi, 'jax')"
        ) from error


def like(points: Any, values: FloatArray) -> FloatArray:
    """Values in the form of the points that they belong to.

    A pandas Series or DataFrame keeps index, columns and name; float32 and float16 stay what they are, though values
    are computed in float64. All else, such as a number, a list or whole numbers, gives a float64 array of its shape.

    >>> like(np.zeros(2, dtype=np.float32), np.ones(2)).dtype
    dtype('float32')
    """
    if type(points) is np.ndarray and points.dtype == np.float64:
        return values
    pandas = sys.modules.get("pandas")
    made: FloatArray = values
    if pandas is not None and isinstance(points, pandas.Series):
        made = pandas.Series(like(points.to_numpy(), values), index=points.index, name=points.name)
    elif pandas is not None and isinstance(points, pandas.DataFrame):
        made = pandas.DataFrame(like(points.to_numpy(), values), index=points.index, columns=points.columns)
    elif isinstance(kind := getattr(points, "dtype", None), np.dtype) and kind in (np.float32, np.float16):
        made = values.astype(kind)
    return made


def real_values(values: Any) -> FloatArray:
    """As float64, with nan for complex numbers: sqrt(x) below 0, say."""
    if np.iscomplexobj(values):
        values = np.where(np.imag(values) == 0, np.real(values), np.nan)
    return np.asarray(values, dtype=np.float64)
