"""Signs and order of real constants, decided by ball arithmetic or algebra, never by rounded numbers."""

from collections.abc import Iterable
from functools import cmp_to_key

import mpmath
import sympy

from theory.balls.core import NotCertifiable, precision
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
