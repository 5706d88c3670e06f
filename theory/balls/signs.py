"""Signs and order of real constants, decided by ball arithmetic or algebra, never by rounded numbers.

Also the signs of functions that follow from ranges alone, as that of 1 - tanh(u) whatever u is.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cmp_to_key

import mpmath
import sympy

from theory.balls.core import NotCertifiable, precision
from theory.balls.functions import FUNCTIONS
from theory.balls.program import constant_ball
from theory.errors import SpecificationError
from theory.numerics.arithmetic import UNDEFINED, X, constant_value, is_infinite

_BITS = (64, 256, 1024, 4096)
_LARGEST_IDENTITY = 60  # operations of a difference that is simplified to see whether it is zero


def sign_of(number: sympy.Expr) -> int | None:
    """The sign of a real constant, -1, 0 or 1; None if it cannot be told or there is no real value.

    >>> sign_of(sympy.erf(-20) + 1), sign_of(sympy.sqrt(8) - 2 * sympy.sqrt(2)), sign_of(sympy.log(-1))
    (1, 0, None)
    """
    if number.is_Rational:
        return int(sympy.sign(number))
    if number.has(*UNDEFINED):
        return None
    try:
        for bits in _BITS:
            with precision(bits):
                ball = constant_ball(number)
                if not ball.contains(0):
                    return 1 if ball > 0 else -1
    except NotCertifiable:
        return _sign_by_mpmath(number)
    return 0 if is_zero(number) else None


def is_real(number: sympy.Expr) -> bool:
    """Whether a constant is a finite real number, by its value to 30 digits."""
    if number.is_Rational:
        return True
    try:
        value = constant_value(number, 30)
    except (ArithmeticError, ValueError, TypeError):
        return False
    return isinstance(value, mpmath.mpf) and bool(mpmath.isfinite(value))


def _sign_by_mpmath(number: sympy.Expr) -> int | None:
    """The sign of a constant without a rigorous rule; what rests on it is never certified."""
    try:
        value = constant_value(number, 50)
    except (ArithmeticError, ValueError, TypeError):
        return None
    if not isinstance(value, mpmath.mpf) or not mpmath.isfinite(value):
        return None
    return int(mpmath.sign(value)) if abs(value) > mpmath.mpf(10) ** -40 else None


def is_zero(expression: sympy.Expr) -> bool:
    """Whether algebra shows that an expression, with or without the variable, is zero everywhere.

    >>> is_zero((X + 1) ** 2 - X**2 - 2 * X - 1)
    True
    """
    if expression == 0 or sympy.expand(expression) == 0:
        return True
    roots = expression.atoms(sympy.CRootOf)
    if len(roots) == 1:
        return _vanishes_at(expression, roots.pop())
    if sympy.count_ops(expression) > _LARGEST_IDENTITY:
        return False
    return bool(sympy.simplify(sympy.expand_func(expression)) == 0)


def _vanishes_at(expression: sympy.Expr, root: sympy.CRootOf) -> bool:
    """Whether a polynomial in an algebraic number is a multiple of that number's polynomial."""
    numerator = sympy.fraction(sympy.together(expression.xreplace({root: X})))[0]
    if not numerator.is_polynomial(X):
        return False
    minimal = sympy.Poly(root.poly.all_coeffs(), X)
    return bool(sympy.Poly(sympy.expand(numerator), X).rem(minimal).is_zero)


def compare(left: sympy.Expr, right: sympy.Expr) -> int:
    """-1, 0 or 1 as one constant (or infinity) is below, equal to or above another.

    Raises:
        SpecificationError: they are too close to be separated, and not proved equal.

    >>> compare(sympy.sqrt(2), sympy.Rational(17, 12)), compare(-sympy.oo, sympy.Integer(3))
    (-1, -1)
    """
    if left == right:
        return 0
    if is_infinite(left) or is_infinite(right):
        return -1 if left == -sympy.oo or right == sympy.oo else 1
    sign = sign_of(left - right)
    if sign is None:
        raise SpecificationError(f"the breakpoints {left} and {right} cannot be separated")
    return sign


def between(points: Iterable[sympy.Expr], lower: sympy.Expr, upper: sympy.Expr) -> list[sympy.Expr]:
    """The distinct points strictly inside (lower, upper), in order."""
    inside = [point for point in points if compare(lower, point) < 0 and compare(point, upper) < 0]
    distinct: list[sympy.Expr] = []
    for point in sorted(inside, key=cmp_to_key(compare)):
        if not distinct or compare(distinct[-1], point) != 0:
            distinct.append(point)
    return distinct


@dataclass(frozen=True, slots=True)
class Range:
    """low < f < high wherever f has a real value; an end with its flag set may be a value of f, too."""

    low: sympy.Expr = -sympy.oo
    high: sympy.Expr = sympy.oo
    has_low: bool = False
    has_high: bool = False

    def __add__(self, other: "Range") -> "Range":
        is_low, is_high = self.has_low and other.has_low, self.has_high and other.has_high
        return Range(self.low + other.low, self.high + other.high, is_low, is_high)

    def times(self, factor: sympy.Expr) -> "Range":
        """The range of a constant times f."""
        sign = sign_of(factor)
        if not sign:
            return Range()
        if sign > 0:
            return Range(factor * self.low, factor * self.high, self.has_low, self.has_high)
        return Range(factor * self.high, factor * self.low, self.has_high, self.has_low)

    @property
    def is_finite(self) -> bool:
        """Whether both ends are."""
        return not (is_infinite(self.low) or is_infinite(self.high))

    @property
    def sign(self) -> int:
        """The sign that every value has; 0 if none is proved."""
        low, high = (None if is_infinite(end) else sign_of(end) for end in (self.low, self.high))
        if low == 1 or (low == 0 and not self.has_low):
            return 1
        return -1 if high == -1 or (high == 0 and not self.has_high) else 0


_OPEN = {
    **{name: Range(-sympy.S.One, sympy.S.One) for name in ("tanh", "erf")},
    **{name: Range(sympy.S.Zero, sympy.S.One) for name in ("sigmoid", "normal_cdf")},
    "erfc": Range(sympy.S.Zero, sympy.Integer(2)),
    "atan": Range(-sympy.pi / 2, sympy.pi / 2),
}
_CLOSED = dict.fromkeys(("sin", "cos"), Range(-sympy.S.One, sympy.S.One, has_low=True, has_high=True))
_RANGES = {
    **{record.name: Range(low=sympy.S.Zero) for record in FUNCTIONS.values() if record.zeros == ()},
    **_OPEN,
    **_CLOSED,
}
"""Values of functions at real arguments; those listed without zeros are positive."""


def range_of(function: sympy.Expr) -> Range:
    r"""Bounds of a function that hold wherever all its parts are real, next to a pole too.

    .. math:: |\tanh u| < 1, \quad 0 < \mathrm{sigmoid}(u) < 1, \quad |\arctan u| < \pi/2, \quad |\sin u| \le 1

    Sums, constant factors, whole powers and monotone functions keep such bounds; the rest has none.

    >>> range_of(1 - sympy.tanh(1 / X)), range_of(1 - sympy.tanh(1 / X)).sign
    (Range(low=0, high=2, has_low=False, has_high=False), 1)
    >>> range_of(1 + sympy.sin(X)).sign, range_of(2 + sympy.sin(X) - sympy.tanh(X)).sign
    (0, 1)
    """
    if not function.has(X):
        return Range(function, function, has_low=True, has_high=True) if sign_of(function) is not None else Range()
    if isinstance(function, sympy.Add):
        total, *others = map(range_of, function.args)
        for other in others:
            total = total + other
        return total
    if isinstance(function, sympy.Mul):
        factor, rest = function.as_independent(X)
        return Range() if factor == 1 else range_of(rest).times(factor)
    if isinstance(function, sympy.Pow):
        return _range_of_power(range_of(function.base), function.exp)
    record = FUNCTIONS.get(type(function).__name__)
    is_monotone = record is not None and record.shape == "monotone" and not record.singular
    bounds = range_of(function.args[0]) if is_monotone else Range()
    if not bounds.is_finite:
        return _RANGES.get(type(function).__name__, Range())
    low, high = function.func(bounds.low), function.func(bounds.high)
    if compare(low, high) <= 0:
        return Range(low, high, bounds.has_low, bounds.has_high)
    return Range(high, low, bounds.has_high, bounds.has_low)


def _range_of_power(base: Range, exponent: sympy.Expr) -> Range:
    """The range of f**exponent; of an even power by the larger of the ends of a range around 0."""
    if not exponent.is_Integer:
        return Range()
    if exponent.is_odd:
        return replace(base, low=base.low**exponent, high=base.high**exponent) if exponent > 0 else Range()
    if exponent < 0 or not base.is_finite or base.sign:
        return Range(low=sympy.S.Zero, has_low=exponent > 0)
    order = compare(-base.low, base.high)
    is_reached = (base.has_low and order >= 0) or (base.has_high and order <= 0)
    return Range(sympy.S.Zero, (base.high if order < 0 else -base.low) ** exponent, has_low=True, has_high=is_reached)
