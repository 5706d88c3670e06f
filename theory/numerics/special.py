"""Special functions that SymPy lacks, each with its derivative rule and stable implementations.

The implementations are keyed by the name of the function: `NUMPY` maps float64 arrays to float64 arrays
without overflow, `MPMATH` maps an `mpf` to an `mpf` accurate to the working precision, also far in the tails.
"""

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import numpy.typing as npt
import sympy
from scipy import special
from sympy.codegen import cfunctions
from sympy.core.function import ArgumentIndexError


class _TabulatedFunction(sympy.Function):
    """A function whose decimal value comes from the table `MPMATH`."""

    def _eval_evalf(self, prec: int) -> sympy.Expr | None:
        try:
            arguments = [argument._to_mpmath(prec + 10) for argument in _arguments(self)]
        except ValueError:  # an argument still holds a symbol
            return None
        with mpmath.workprec(prec + 10):
            value = MPMATH[type(self).__name__](*arguments)
        return sympy.Expr._from_mpmath(value, prec)


class _PositiveFunction(_TabulatedFunction):
    """A positive function of one real argument with limit 0 at -oo; `sympy.expand_func` gives its elementary form."""

    nargs = 1
    latex_name: str
    at_zero: sympy.Expr
    at_infinity: sympy.Expr

    @classmethod
    def eval(cls, x: sympy.Expr) -> sympy.Expr | None:
        return {sympy.S.Zero: cls.at_zero, sympy.oo: cls.at_infinity, -sympy.oo: sympy.S.Zero}.get(x)

    def _eval_is_positive(self) -> bool | None:
        return True if self.args[0].is_real else None

    def _eval_expand_func(self, **_hints: Any) -> sympy.Expr:
        return self.elementary(self.args[0])

    def _eval_rewrite_as_tractable(self, arg: sympy.Expr, **_hints: Any) -> sympy.Expr:
        """The form that SymPy's limit algorithm asks for by this name."""
        return self.elementary(arg)

    @staticmethod
    def elementary(x: sympy.Expr) -> sympy.Expr:
        """The definition in SymPy's own functions."""
        raise NotImplementedError

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"{self.latex_name}{power}\left({printer.doprint(self.args[0])}\right)"


class sigmoid(_PositiveFunction):
    """The logistic function sigma(x) = 1/(1 + exp(-x)), with sigma'(x) = sigma(x) sigma(-x).

    >>> x = sympy.Symbol("x", real=True)
    >>> sigmoid(x).diff(x), sigmoid(0)
    (sigmoid(-x)*sigmoid(x), 1/2)
    """

    latex_name, at_zero, at_infinity = r"\sigma", sympy.S.Half, sympy.S.One

    def fdiff(self, _argindex: int = 1) -> sympy.Expr:
        (x,) = _arguments(self)
        return sigmoid(x) * sigmoid(-x)

    @staticmethod
    def elementary(x: sympy.Expr) -> sympy.Expr:
        return 1 / (1 + sympy.exp(-x))


class softplus(_PositiveFunction):
    """The smooth rectifier softplus(x) = log(1 + exp(x)), with derivative sigma(x) (Dugas et al. 2000).

    >>> x = sympy.Symbol("x", real=True)
    >>> softplus(x).diff(x), softplus(0)
    (sigmoid(x), log(2))
    """

    latex_name, at_zero, at_infinity = r"\operatorname{softplus}", sympy.log(2), sympy.oo

    def fdiff(self, _argindex: int = 1) -> sympy.Expr:
        return sigmoid(self.args[0])

    @staticmethod
    def elementary(x: sympy.Expr) -> sympy.Expr:
        return sympy.log(1 + sympy.exp(x))


class normal_cdf(_PositiveFunction):
    """The standard normal distribution function Phi(x) = erfc(-x/sqrt 2)/2, with Phi' = normal_pdf.

    >>> x = sympy.Symbol("x", real=True)
    >>> normal_cdf(x).diff(x), normal_cdf(0)
    (normal_pdf(x), 1/2)
    """

    latex_name, at_zero, at_infinity = r"\Phi", sympy.S.Half, sympy.S.One

    def fdiff(self, _argindex: int = 1) -> sympy.Expr:
        return normal_pdf(self.args[0])

    @staticmethod
    def elementary(x: sympy.Expr) -> sympy.Expr:
        return sympy.erfc(-x / sympy.sqrt(2)) / 2


class normal_pdf(_PositiveFunction):
    """The standard normal density p(x) = exp(-x^2/2)/sqrt(2 pi), with p'(x) = -x p(x).

    >>> x = sympy.Symbol("x", real=True)
    >>> normal_pdf(x).diff(x)
    -x*normal_pdf(x)
    """

    latex_name, at_zero, at_infinity = r"\varphi", 1 / sympy.sqrt(2 * sympy.pi), sympy.S.Zero

    def fdiff(self, _argindex: int = 1) -> sympy.Expr:
        (x,) = _arguments(self)
        return -x * normal_pdf(x)

    @staticmethod
    def elementary(x: sympy.Expr) -> sympy.Expr:
        return sympy.exp(-(x**2) / 2) / sympy.sqrt(2 * sympy.pi)


class hermite_normalized(_TabulatedFunction):
    """The Hermite polynomial h_k(x) = He_k(x)/sqrt(k!), orthonormal under N(0, 1); h_k' = sqrt(k) h_{k-1}.

    It stays a function, because the expanded polynomial of a high degree cancels catastrophically in float64;
    `sympy.expand_func` gives the polynomial.

    >>> x = sympy.Symbol("x", real=True)
    >>> hermite_normalized(3, x).diff(x)
    sqrt(3)*hermite(x, 2)
    >>> sympy.expand_func(hermite_normalized(2, x))
    sqrt(2)*(x**2 - 1)/2
    """

    nargs = 2

    @classmethod
    def eval(cls, k: sympy.Expr, x: sympy.Expr) -> sympy.Expr:
        return {0: sympy.S.One, 1: x}.get(k)

    def fdiff(self, argindex: int = 2) -> sympy.Expr:
        if argindex != 2:
            raise ArgumentIndexError(self, argindex)
        k, x = _arguments(self)
        return sympy.sqrt(k) * hermite_normalized(k - 1, x)

    def _eval_is_extended_real(self) -> bool | None:
        real: bool | None = self.args[1].is_extended_real
        return real

    def _eval_is_finite(self) -> bool | None:
        finite: bool | None = self.args[1].is_finite
        return finite

    def _eval_expand_func(self, **_hints: Any) -> sympy.Expr:
        k, x = _arguments(self)
        return sympy.hermite_prob(k, x) / sympy.sqrt(sympy.factorial(k))

    def _eval_rewrite_as_tractable(self, k: sympy.Expr, x: Any, **_hints: Any) -> sympy.Expr:
        return hermite_normalized(k, x).expand(func=True)

    def _sympystr(self, printer: Any) -> str:
        k, x = self.args
        return f"hermite({printer.doprint(x)}, {k})"

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        k, x = self.args
        fraction = rf"\frac{{He_{{{k}}}\left({printer.doprint(x)}\right)}}{{\sqrt{{{k}!}}}}"
        return fraction if exp is None else rf"\left({fraction}\right)^{{{exp}}}"


class expm1(cfunctions.expm1):
    r"""exp(x) - 1 without cancellation near zero: SymPy's own function, printed as people write it.

    >>> x = sympy.Symbol("x", real=True)
    >>> expm1(x).diff(x), sympy.latex(expm1(x))
    (exp(x), '\\left(e^{x} - 1\\right)')
    """

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        bracket = rf"\left({printer.doprint(sympy.exp(self.args[0]))} - 1\right)"
        return bracket if exp is None else f"{bracket}^{{{exp}}}"


class log1p(cfunctions.log1p):
    r"""log(1 + x) without cancellation near zero: SymPy's own function, printed as people write it.

    >>> x = sympy.Symbol("x", real=True)
    >>> log1p(x).diff(x), sympy.latex(log1p(x))
    (1/(x + 1), '\\log\\left(1 + x\\right)')
    """

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        name = r"\log" if exp is None else rf"\log^{{{exp}}}"
        return rf"{name}\left(1 + {printer.doprint(self.args[0])}\right)"


def _arguments(function: Any) -> tuple[Any, ...]:
    """The arguments of a SymPy function, whose own annotations promise too little (`Basic`)."""
    arguments: tuple[Any, ...] = function.args
    return arguments


def _hermite_recurrence(k: int, x: Any, one: Any, sqrt: Callable[[int], Any]) -> Any:
    """h_{j+1} = (x h_j - sqrt(j) h_{j-1})/sqrt(j+1), from h_0 = 1 (Abramowitz and Stegun 1964, 22.7.14)."""
    previous, current = 0 * one, one
    for j in range(k):
        previous, current = current, (x * current - sqrt(j) * previous) / sqrt(j + 1)
    return current


def _numpy_hermite(k: int, x: npt.ArrayLike) -> Any:
    points = np.asarray(x, dtype=np.float64)
    return _hermite_recurrence(int(k), points, np.ones_like(points), np.sqrt)


def _numpy_normal_pdf(x: npt.ArrayLike) -> Any:
    """The density is zero in float64 beyond 39, so the square of a larger argument need not overflow."""
    bounded = np.minimum(np.abs(x), 39.0)
    return np.exp(-0.5 * bounded * bounded) / np.sqrt(2 * np.pi)


def _mpmath_hermite(k: Any, x: Any) -> Any:
    return _hermite_recurrence(int(k), x, mpmath.mpf(1), mpmath.sqrt)


def _bits_lost(x: Any) -> int:
    """Bits that exp(-x^2/2) loses when its exponent is rounded: the size of the exponent in bits."""
    return 2 * max(0, int(mpmath.mag(x))) + 10 if x and mpmath.isfinite(x) else 10


def _mpmath_normal_cdf(x: Any) -> Any:
    with mpmath.extraprec(_bits_lost(x)):
        value = mpmath.erfc(-x / mpmath.sqrt(2)) / 2
    return +value


def _mpmath_normal_pdf(x: Any) -> Any:
    with mpmath.extraprec(_bits_lost(x)):
        value = mpmath.exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi)
    return +value


def _numpy_polygamma(order: Any, x: Any) -> Any:
    """Polygamma functions; nan far below 0, where SciPy adds one term for each unit of |x|."""
    points = np.asarray(x, dtype=np.float64)
    return special.polygamma(int(order), np.where(points < -1000, np.nan, points))


class frac(sympy.Function):
    """The fractional part x - floor(x) in [0, 1), whose slope is 1 between its jumps.

    >>> frac(sympy.Rational(-1, 4)), frac(sympy.Symbol("x", real=True)).diff()
    (3/4, 1)
    """

    nargs = 1

    @classmethod
    def eval(cls, x: Any) -> Any:
        whole = sympy.floor(x) if x.is_number else None
        return x - whole if whole is not None and whole.is_Integer else None

    def fdiff(self, _argindex: int = 1) -> Any:
        return sympy.S.One


NUMPY: dict[str, Callable[..., Any]] = {
    "sigmoid": special.expit,
    "softplus": lambda x: np.logaddexp(0.0, x),
    "normal_cdf": special.ndtr,
    "normal_pdf": _numpy_normal_pdf,
    "hermite_normalized": _numpy_hermite,
    "frac": lambda x: x - np.floor(x),
    "expm1": np.expm1,
    "log1p": np.log1p,
    "polygamma": _numpy_polygamma,
}
"""Implementation of each function on float64 arrays, by name."""


MPMATH: dict[str, Callable[..., Any]] = {
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: max(x, mpmath.mpf(0)) + mpmath.log1p(mpmath.exp(-abs(x))),
    "normal_cdf": _mpmath_normal_cdf,
    "normal_pdf": _mpmath_normal_pdf,
    "hermite_normalized": _mpmath_hermite,
    "frac": lambda x: x - mpmath.floor(x),
    "expm1": mpmath.expm1,
    "log1p": mpmath.log1p,
}
"""Implementation of each function on `mpmath.mpf` numbers at the current working precision, by name."""
