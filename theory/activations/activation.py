"""One definition of an activation: a SymPy expression from which everything else derives."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, Protocol, TypeAlias

import mpmath
import numpy as np
import numpy.typing as npt
import sympy
from sympy.printing.latex import LatexPrinter

from theory.activations.callable import CallableActivation
from theory.activations.ends import one_sided_limit
from theory.activations.pieces import Piece, split
from theory.activations.proofs import Order, discontinuity
from theory.errors import SpecificationError
from theory.numerics.arithmetic import (
    FloatArray,
    X,
    compile_expressions,
    constant_value,
    float_array,
    like,
    real_values,
    value_at,
)
from theory.numerics.inplace import Branch, Evaluator, Program

Exact: TypeAlias = int | float | sympy.Expr
_DIGITS = 50  # one-sided limits that agree to this many digits are taken as equal


class NumericActivation(Protocol):
    """The protocol of an activation in numerical code: its name, its breakpoints and vectorized evaluation."""

    @property
    def name(self) -> str: ...
    @property
    def breakpoint_values(self) -> FloatArray: ...
    def value_and_slope(self, x: npt.ArrayLike) -> tuple[FloatArray, FloatArray]: ...
    def curvature(self, x: npt.ArrayLike) -> FloatArray: ...


@dataclass(frozen=True)
class Activation:
    """An activation function phi, defined by one SymPy expression in the symbol `X`.

    Value, slope and curvature, kinks and jumps, LaTeX, NumPy and mpmath evaluation all derive from the expression.

    Args:
        name: how tables and figures call it.
        expression: a SymPy expression whose only free symbol is `theory.numerics.arithmetic.X`.

    Raises:
        SpecificationError: another free symbol.

    >>> relu = Activation("relu", sympy.Max(X, 0))
    >>> relu.kinks, relu.jumps
    ((0,), ())
    >>> relu.value_and_slope([-1.0, 2.0])
    (array([0., 2.]), array([0., 1.]))
    """

    name: str
    expression: sympy.Expr

    def __post_init__(self) -> None:
        strangers = self.expression.free_symbols - {X}
        if strangers:
            raise SpecificationError(
                f"{self.expression} has the free symbols {sorted(map(str, strangers))}; an activation is a function "
                "of x alone"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return Activation, (self.name, self.expression)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """Smooth branches on consecutive intervals that cover the line."""
        return split(self.expression)

    @cached_property
    def breakpoints(self) -> tuple[sympy.Expr, ...]:
        """The exact points between consecutive pieces, ascending."""
        return tuple(piece.upper for piece in self.pieces[:-1])

    @cached_property
    def breakpoint_values(self) -> FloatArray:
        """The breakpoints as float64."""
        return np.array([float(constant_value(point, 20)) for point in self.breakpoints], dtype=np.float64)

    @cached_property
    def jumps(self) -> tuple[sympy.Expr, ...]:
        """Breakpoints at which the value jumps or is unbounded: phi is not weakly differentiable there.

        Where they have no end, as those of x mod 1, those up to `reach`; so for the kinks.
        """
        return tuple(left.upper for left, right in pairwise(self.pieces) if not _is_continuous(left, right, "value"))

    @cached_property
    def kinks(self) -> tuple[sympy.Expr, ...]:
        """Breakpoints at which the value is continuous and the slope is not (or is unbounded)."""
        return tuple(
            left.upper
            for left, right in pairwise(self.pieces)
            if _is_continuous(left, right, "value") and not _is_continuous(left, right, "slope")
        )

    @property
    def reach(self) -> sympy.Expr | None:
        """Up to which |x| kinks and jumps are listed; None if all are."""
        ends = [piece.lower if piece.side > 0 else -piece.upper for piece in self._remote]
        return min(ends, default=None)

    @property
    def _remote(self) -> list[Piece]:
        return [piece for piece in self.pieces if piece.kind == "remote"]

    @cached_property
    def undefined(self) -> tuple[Piece, ...]:
        """Pieces on which the expression has no real value, as sqrt(x) has none below 0."""
        return tuple(piece for piece in self.pieces if not piece.is_defined)

    @cached_property
    def unlisted(self) -> CallableActivation | None:
        """The formula as a function to be looked at, where its switches or singular points are not all listed."""
        if not any(piece.kind in ("unlisted", "unresolved") for piece in self.pieces):
            return None
        return CallableActivation(self.name, self.value, self.slope, tuple(self.breakpoint_values))

    @property
    def latex(self) -> str:
        """The expression in LaTeX."""
        return str(_Printer().doprint(self.expression))

    @cached_property
    def is_positively_homogeneous(self) -> bool:
        """Whether phi(c x) = c phi(x) for every c > 0, that is, linear on each side of 0 and zero there."""
        return set(self.breakpoints) <= {sympy.Integer(0)} and all(
            not sympy.expand(piece.value / X).has(X) for piece in self.pieces
        )

    @property
    def is_affine(self) -> bool:
        """Whether phi(x) = c x + d everywhere."""
        return len(self.pieces) == 1 and not self.pieces[0].slope.free_symbols

    @property
    def is_piecewise_linear(self) -> bool:
        """Whether phi is continuous and linear between its kinks.

        >>> [Activation("", function(X)).is_piecewise_linear for function in (sympy.Abs, sympy.sign, sympy.sin)]
        [True, False, False]
        """
        return not self.jumps and all(not piece.slope.free_symbols for piece in self.pieces)

    def value(self, x: npt.ArrayLike) -> FloatArray:
        """phi(x), elementwise; at a jump the value from the left.

        The values have the shape of x, () for a number. They are computed in float64; float32, a pandas Series or
        DataFrame gives the same again (`theory.numerics.arithmetic.like`).
        """
        return like(x, self._evaluate(self._value_functions, x)[0])

    __call__ = value

    def slope(self, x: npt.ArrayLike) -> FloatArray:
        """phi'(x), elementwise; at a breakpoint the slope from the left."""
        return like(x, self._evaluate(self._slope_functions, x)[0])

    def curvature(self, x: npt.ArrayLike) -> FloatArray:
        """phi''(x) between the breakpoints, elementwise (its point masses at kinks are left out)."""
        return like(x, self._evaluate(self._curvature_functions, x)[0])

    def value_and_slope(self, x: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """phi(x) and phi'(x) together, sharing work; two fresh arrays of the shape of x."""
        value, slope = self._evaluate(self._functions, x)
        return like(x, value), like(x, slope.copy() if slope is value else slope)  # exp is its own slope

    def value_into(self, x: FloatArray, out: FloatArray) -> None:
        """Write phi(x) into an array of the shape of x; bits and all as `value`.

        Floating-point errors are reported as the caller set `numpy.errstate`.
        """
        if self._value_evaluator is None:
            out[...] = self.value(x)
        else:
            self._value_evaluator(x, [out])

    def value_and_slope_into(self, x: FloatArray, value: FloatArray, slope: FloatArray) -> None:
        """Write phi(x) and phi'(x) into two arrays of the shape of x, see `value_into`."""
        if self._evaluator is None:
            value[...], slope[...] = self.value_and_slope(x)
        else:
            self._evaluator(x, [value, slope])

    @cached_property
    def _value_evaluator(self) -> Evaluator | None:
        return _in_place(self._value_functions, self.breakpoint_values)

    @cached_property
    def _evaluator(self) -> Evaluator | None:
        return _in_place(self._functions, self.breakpoint_values)

    def _evaluate(self, branches: "list[_Branch]", x: npt.ArrayLike) -> list[FloatArray]:
        points = float_array(x)
        with np.errstate(all="ignore"):  # the caller reports infinities and NaN, and knows the layer
            results = branches[-1](points)
            for branch, breakpoint in zip(branches[-2::-1], self.breakpoint_values[::-1], strict=True):
                left = -(points <= breakpoint).astype(np.int64)  # all bits set, or none
                results = [_select(left, new, old) for new, old in zip(branch(points), results, strict=True)]
        return [_full(result, points) for result in results]

    @cached_property
    def _functions(self) -> "list[_Branch]":
        return self._branches("value", "slope")

    @cached_property
    def _value_functions(self) -> "list[_Branch]":
        return self._branches("value")

    @cached_property
    def _slope_functions(self) -> "list[_Branch]":
        return self._branches("slope")

    @cached_property
    def _curvature_functions(self) -> "list[_Branch]":
        return self._branches("curvature")

    def _branches(self, *orders: str) -> "list[_Branch]":
        edges = [-np.inf, *self.breakpoint_values, np.inf]
        return [
            _Branch([getattr(piece, order) for order in orders], lower, upper)
            for piece, (lower, upper) in zip(self.pieces, pairwise(edges), strict=True)
        ]

    def affine(self, scale: Exact, shift: Exact, name: str | None = None) -> "Activation":
        """The activation scale * phi + shift; floats count as the exact binary numbers they are.

        >>> Activation("x", X).affine(2, 1).expression
        2*x + 1
        """
        exact_scale, exact_shift = exact(scale), exact(shift)
        label = f"{float(exact_scale):.6g}*{self.name}{float(exact_shift):+.6g}" if name is None else name
        return Activation(label, exact_scale * self.expression + exact_shift)

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle \varphi(x) = {self.latex}$"


class _Printer(LatexPrinter):  # type: ignore[misc]
    r"""LaTeX as a person writes it: 1.702 x instead of 851 x/500.

    >>> print(_Printer().doprint(sympy.Rational(851, 500) * X + X**2 / 2))
    \frac{x^{2}}{2} + 1.702 x
    """

    def _print_Rational(self, number: sympy.Rational) -> str:
        short = _decimal(number)
        return str(super()._print_Rational(number) if short is None else self._print_Float(short))

    def _print_Mul(self, product: sympy.Mul) -> str:
        number, rest = product.as_coeff_Mul()
        short = _decimal(number)
        return str(super()._print_Mul(product if short is None else sympy.Mul(short, rest, evaluate=False)))


def _decimal(number: sympy.Expr) -> sympy.Float | None:
    """A fraction that is a short decimal as one, unless it is shorter as a fraction, as 1/2 and 3/8 are."""
    if not isinstance(number, sympy.Rational) or number.q < 10 or 10**12 % number.q:
        return None
    return sympy.Float(number, 15)


class _Branch:
    """NumPy evaluation of one smooth branch, safe for arguments outside its interval."""

    def __init__(self, expressions: list[sympy.Expr], lower: float, upper: float) -> None:
        self.count = len(expressions)
        self.function = compile_expressions(expressions, "numpy")
        # Outside its interval a branch is evaluated at the nearer end and then discarded: no overflow, no warning.
        self.bounds = None if all(e.is_polynomial(X) for e in expressions) else (lower, upper)

    def __call__(self, x: FloatArray) -> list[Any]:
        if self.bounds is None or self.bounds == (-np.inf, np.inf):
            return self.function(x)
        lower, upper = self.bounds
        return self.function(np.maximum(x, lower) if np.isinf(upper) else np.minimum(np.maximum(x, lower), upper))


def _in_place(branches: "list[_Branch]", breakpoints: FloatArray) -> Evaluator | None:
    """The evaluator of branches that work by ufuncs alone."""
    try:
        recorded = [Branch(Program(branch.function, branch.count), branch.bounds) for branch in branches]
    except (TypeError, AttributeError):  # the function wants more than ufuncs and operators
        return None
    return Evaluator(recorded, breakpoints.tolist())


def exact(number: Exact) -> sympy.Expr:
    """An exact SymPy number: a float counts as the binary fraction that it is.

    >>> exact(0.5)
    1/2
    """
    if isinstance(number, float):
        if not np.isfinite(number):
            raise SpecificationError(f"a constant must be finite, not {number}")
        return sympy.Rational(*number.as_integer_ratio())
    return sympy.sympify(number)


def _is_continuous(left: Piece, right: Piece, order: Order) -> bool:
    """Whether phi or phi' is continuous between two pieces: by proof, else by 50 digits of the one-sided limits."""
    doubt = discontinuity(left, right, order)
    if doubt is None or doubt.proved:
        return doubt is None
    below, above = _limit(left, order, "-"), _limit(right, order, "+")
    if below is None or above is None:
        return False
    return bool(abs(below - above) <= mpmath.mpf(10) ** (-_DIGITS) * (1 + abs(below)))


def _limit(piece: Piece, order: str, side: str) -> mpmath.mpf | None:
    """One-sided limit of a piece's value or slope at its end; None if not finite."""
    point = piece.upper if side == "-" else piece.lower
    expression = getattr(piece, order)
    try:
        value = constant_value(value_at(expression, point), _DIGITS + 10)
    except (ZeroDivisionError, ValueError, OverflowError):
        value = mpmath.nan
    if not (isinstance(value, mpmath.mpf) and mpmath.isfinite(value)):
        value = constant_value(one_sided_limit(expression, point, side), _DIGITS + 10)
    return value if isinstance(value, mpmath.mpf) and mpmath.isfinite(value) else None


def _select(mask: npt.NDArray[np.int64], chosen: Any, otherwise: Any) -> FloatArray:
    """numpy.where on the bits of float64 numbers, about twice as fast where the mask is random."""
    one, other = real_values(chosen).view(np.int64), real_values(otherwise).view(np.int64)
    bits: npt.NDArray[np.int64] = other ^ ((other ^ one) & mask)
    return bits.view(np.float64)


def _full(result: Any, points: FloatArray) -> FloatArray:
    """Broadcast a constant branch to the shape of the points, always as a fresh array."""
    values = real_values(result)
    fresh = values.shape == points.shape and values is not points
    return values if fresh else np.array(np.broadcast_to(values, points.shape))


def steps(activation: NumericActivation, order: Literal["value", "slope"]) -> tuple[Any, ...]:
    """Points at which phi jumps (order "value") or at which phi' alone does (order "slope").

    Exact for an `Activation`; found numerically for a Python function (see `theory.numerics.survey`).
    """
    points: tuple[Any, ...] = getattr(activation, "jumps" if order == "value" else "kinks")
    return points
