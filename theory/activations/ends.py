"""The ends of a piece: is its formula analytic there, and how does it look in the coordinate t = |x - end|?"""

from functools import lru_cache

import sympy
from flint import arb, ctx

from theory.activations.pieces import Piece
from theory.balls.core import NotCertifiable
from theory.balls.local import T, localized
from theory.balls.program import constant_ball, deflated, is_analytic_at_zero, regularize
from theory.balls.zeros import near
from theory.numerics.arithmetic import UNDEFINED, X, is_infinite, value_at


def local_width(piece: Piece) -> arb:
    """A power of two, at most 1 and at most half the length of the piece."""
    width = arb(1)
    if not (is_infinite(piece.lower) or is_infinite(piece.upper)):
        length = constant_ball(piece.upper) - constant_ball(piece.lower)
        while not 2 * width < length:
            width = width / 2
            if width < arb(2) ** -ctx.prec:
                raise NotCertifiable(f"the breakpoints {piece.lower} and {piece.upper} cannot be separated")
    return width


@lru_cache(maxsize=1024)  # asked by kinks, jumps, moments and suprema
def one_sided_limit(expression: sympy.Expr, point: sympy.Expr, side: str) -> sympy.Expr:
    """The limit of an expression at a point from the left ("-") or the right ("+"); nan if none is found.

    Terms of a sum are taken one by one, so that SymPy's algorithm, which can be slow, sees only the singular ones.

    >>> one_sided_limit(sympy.sin(X) / X + X, sympy.Integer(0), "+")
    1
    >>> one_sided_limit(sympy.tanh(1 / X), sympy.Integer(0), "-")
    -1
    """
    value = algebraic_limit(expression, point, side)
    if not value.has(*UNDEFINED):
        return value
    if isinstance(expression, sympy.Add):
        parts = [one_sided_limit(term, point, side) for term in expression.args]
        if not any(part.has(*UNDEFINED) for part in parts):
            return sympy.Add(*parts)
    try:
        value = sympy.limit(expression, X, point, dir=side)
    except (NotImplementedError, ValueError, TypeError, AttributeError, RecursionError):
        return sympy.nan
    return value if not value.has(X, *UNDEFINED) else sympy.nan


def algebraic_limit(expression: sympy.Expr, point: sympy.Expr, side: str) -> sympy.Expr:
    """The one-sided limit of a formula that is analytic at a point, or after a common factor is cancelled; else nan.

    It does not rest on SymPy's algorithm for limits, unlike `one_sided_limit`.
    """
    value = value_at(expression, point)
    return value if not value.has(*UNDEFINED) else _removable(expression, point, 1 if side == "+" else -1)


@lru_cache(maxsize=1024)
def is_removable(formula: sympy.Expr, point: sympy.Expr) -> bool:
    """Whether a formula is proved to be analytic around a point, but for a removable singularity there.

    Its functions and their arguments are, so that the same analytic formula holds on both sides: unlike next to 0 in
    x*atan(1/x).

    >>> zero = sympy.Integer(0)
    >>> is_removable(sympy.tanh(sympy.sin(X) / X), zero), is_removable(X * sympy.atan(1 / X), zero)
    (True, False)
    """
    if any(power.base.has(X) and not power.exp.is_Integer for power in formula.atoms(sympy.Pow)):
        return False  # as sqrt(x**2), which is simplified where x > 0 is known
    functions = [function for function in formula.atoms(sympy.Function) if function.has(X)]
    parts = [formula, *functions, *(argument for function in functions for argument in function.args)]
    try:
        return is_analytic_at_zero([regularize(local, T) for local in near(parts, point, 1)], T)
    except (NotCertifiable, RecursionError):
        return False


def _removable(expression: sympy.Expr, point: sympy.Expr, direction: int) -> sympy.Expr:
    """The value at a removable singularity, from the leading Taylor coefficients of numerators and denominators."""
    try:
        (local,) = localized([expression], point, direction)
        smooth = regularize(local, T)
        if not is_analytic_at_zero([smooth], T):
            return sympy.nan
    except (NotCertifiable, RecursionError):
        return sympy.nan
    if any(node.args[0].has(deflated) for node in smooth.atoms(deflated)):
        return sympy.nan
    leading = smooth.replace(deflated, lambda n, m: sympy.diff(n, T, int(m)) / sympy.factorial(m))
    value: sympy.Expr = leading.xreplace({T: sympy.Integer(0)})
    return value
