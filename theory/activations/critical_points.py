"""Where a function of one variable vanishes or is singular, and which sign it has between such points.

Points are exact SymPy numbers. Signs and comparisons of numbers are decided by ball arithmetic, at more and more bits
until the ball no longer contains zero, or else by algebra; never by rounded numbers.
"""

from collections.abc import Iterable, Iterator
from functools import cmp_to_key

import mpmath
import sympy
from sympy.functions.elementary.trigonometric import TrigonometricFunction

from theory.balls.core import NotCertifiable, precision
from theory.balls.functions import FUNCTIONS, symbol
from theory.balls.program import constant_ball
from theory.errors import SpecificationError
from theory.numerics.arithmetic import UNDEFINED, X, constant_value, is_infinite
from theory.numerics.special import hermite_normalized

_BITS = (64, 256, 1024, 4096)
_LARGEST_IDENTITY = 60  # operations of a difference that is simplified to see whether it is zero


POSITIVE = tuple(symbol(record) for record in FUNCTIONS.values() if record.zeros == ())
"""Functions without a real zero."""


ODD = tuple(symbol(record) for record in FUNCTIONS.values() if record.zeros == (0,))
"""Increasing functions with their only zero at 0."""


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
        SpecificationError: they are too close to be told apart and not seen to be equal.

    >>> compare(sympy.sqrt(2), sympy.Rational(17, 12)), compare(-sympy.oo, sympy.Integer(3))
    (-1, -1)
    """
    if left == right:
        return 0
    if is_infinite(left) or is_infinite(right):
        return -1 if left == -sympy.oo or right == sympy.oo else 1
    sign = sign_of(left - right)
    if sign is None:
        raise SpecificationError(f"the breakpoints {left} and {right} cannot be told apart")
    return sign


def between(points: Iterable[sympy.Expr], lower: sympy.Expr, upper: sympy.Expr) -> list[sympy.Expr]:
    """The distinct points strictly inside (lower, upper), in order."""
    inside = [point for point in points if compare(lower, point) < 0 and compare(point, upper) < 0]
    distinct: list[sympy.Expr] = []
    for point in sorted(inside, key=cmp_to_key(compare)):
        if not distinct or compare(distinct[-1], point) != 0:
            distinct.append(point)
    return distinct


def sign_changes(function: sympy.Expr) -> set[sympy.Expr]:
    """All points at which a function may change its sign: its zeros and its singular points.

    Raises:
        SpecificationError: they cannot be listed, as for sin(x) or exp(x) - x - 2.

    >>> sorted(sign_changes((X - 2) / X))
    [0, 2]
    """
    points = set(_zeros(function))
    for suspect in _suspects(function):
        points.update(_zeros(suspect))
    return points


def singular_points(formula: sympy.Expr) -> set[sympy.Expr]:
    """Points at which a formula may not be analytic, as far as they can be listed."""
    points: set[sympy.Expr] = set()
    for suspect in _suspects(formula):
        try:
            points.update(_zeros(suspect))
        except SpecificationError:
            continue  # e.g. 1/cos(x): the integral will not be certified
    return points


def has_listed_singularities(formula: sympy.Expr) -> bool:
    """Whether `singular_points` gives all of them."""
    try:
        for suspect in _suspects(formula):
            _zeros(suspect)
    except SpecificationError:
        return False
    known = {*FUNCTIONS, hermite_normalized.__name__}  # the latter is a polynomial
    unknown = any(node.has(X) and type(node).__name__ not in known for node in formula.atoms(sympy.Function))
    return not unknown and not formula.has(sympy.tan, sympy.cot, sympy.sec, sympy.csc)


def _suspects(formula: sympy.Expr) -> Iterator[sympy.Expr]:
    """Functions at whose zeros a formula may be singular, or stop being real."""
    for node in formula.atoms(sympy.Pow, sympy.Function):
        if not node.has(X):
            continue
        if isinstance(node, sympy.Pow):
            if node.base.has(X) and not (node.exp.is_Integer and node.exp.is_nonnegative):
                yield node.base
        elif type(node).__name__ in FUNCTIONS:
            yield from (node.args[0] - point for point in FUNCTIONS[type(node).__name__].singular)


def _zeros(function: sympy.Expr) -> list[sympy.Expr]:
    """All real zeros, or poles for a factor with a negative power, exactly; refuse when they cannot be listed."""
    if not function.has(X) or function.is_positive is True or isinstance(function, POSITIVE):
        return []
    if function.is_polynomial(X):
        roots = _polynomial_zeros(sympy.Poly(function, X))
        if roots is not None:
            return roots
    if isinstance(function, sympy.Mul):
        return [zero for factor in function.args for zero in _zeros(factor)]
    if isinstance(function, sympy.Pow) and not function.exp.has(X):
        return _zeros(function.base)
    record = FUNCTIONS.get(type(function).__name__)
    if record is not None and record.zeros:
        return _zeros(function.args[0] - record.zeros[0])
    numerator, denominator = sympy.fraction(sympy.together(function))
    if denominator.has(X) and numerator != function:
        return [*_zeros(numerator), *_zeros(denominator)]
    return _solved(function)


def _polynomial_zeros(polynomial: sympy.Poly) -> list[sympy.Expr] | None:
    """Real roots of a polynomial that is linear or has rational coefficients, else None."""
    if polynomial.is_zero:
        return []
    if polynomial.degree() == 1:
        slope, intercept = polynomial.all_coeffs()
        return [-intercept / slope]
    if all(coefficient.is_Rational for coefficient in polynomial.all_coeffs()):
        return [_short(root) for root, _ in polynomial.real_roots(multiple=False, radicals=False)]
    return None


def _short(root: sympy.Expr) -> sympy.Expr:
    """An algebraic number as a square root where it is one; radicals of a higher degree would only be in the way."""
    if not isinstance(root, sympy.CRootOf):
        return root
    if root.poly.degree() == 2:
        return sympy.CRootOf(root.poly, root.index, radicals=True)
    powers = [power for (power,) in root.poly.monoms()]
    return sympy.CRootOf(root.poly, root.index, radicals=True) if len(powers) == 2 else root


def _solved(function: sympy.Expr) -> list[sympy.Expr]:
    """Zeros by SymPy's solver, whose answer is a conjecture (see `theory.activations.proofs`)."""
    elementary = sympy.expand_func(function)
    try:  # periodic functions have no finite list of roots, and SymPy may search for it without end
        periodic = elementary.has(TrigonometricFunction)
        roots = None if periodic else sympy.solveset(elementary, X, sympy.Reals)
    except Exception:  # the solver fails in many ways
        roots = None
    if roots is sympy.S.EmptySet:
        return []
    if isinstance(roots, sympy.FiniteSet) and all(sign_of(root) is not None for root in roots):
        return list(roots)
    raise SpecificationError(
        f"the points where {function} changes its sign cannot be listed exactly; "
        "write the activation as a Piecewise with explicit breakpoints"
    )
