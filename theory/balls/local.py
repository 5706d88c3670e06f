"""Expressions in the coordinate t = |x - end| next to a point, or t = |x| towards infinity."""

from collections.abc import Sequence
from functools import lru_cache

import sympy
from flint import acb, arb

from theory.balls.arithmetics import COMPLEX
from theory.balls.core import NotCertifiable
from theory.balls.program import Program
from theory.numerics.arithmetic import X, value_at

T = sympy.Symbol("t", positive=True)
"""The distance from an end of a piece, or |x| towards infinity."""


def is_regular(program: Program, point: arb) -> bool:
    """Whether all outputs of a program are proved to be analytic around a real point."""
    box = arb(0, arb(2) ** -40)
    return all(value.is_finite() for value in program.bind(COMPLEX)(acb(point + box, box)))


def localized(expressions: Sequence[sympy.Expr], point: sympy.Expr, direction: int) -> list[sympy.Expr]:
    """Expressions in X at X = point + direction*T; polynomials in T are multiplied out, so that they cancel.

    >>> localized([sympy.sqrt(X - 3)], sympy.Integer(3), 1)
    [sqrt(t)]

    Raises:
        NotCertifiable: SymPy cannot compare what stands in them.
    """
    return [_localized(expression, point, direction) for expression in expressions]


@lru_cache(maxsize=1024)
def _localized(expression: sympy.Expr, point: sympy.Expr, direction: int) -> sympy.Expr:
    moved = value_at(expression, point + direction * T)
    if moved == sympy.nan:
        raise NotCertifiable(f"the form next to {point} is not known")
    return moved.replace(lambda node: node.is_Add and node.is_polynomial(T), _expanded)


def _expanded(polynomial: sympy.Expr) -> sympy.Expr:
    """A polynomial in T, multiplied out; its coefficients are reduced by the equation of an algebraic number in them.

    >>> root = sympy.CRootOf(X**3 - X - 1, 0)
    >>> _expanded((T + root) ** 3 - T - root - 1).coeff(T, 0)
    0
    """
    expanded = sympy.expand(polynomial)
    roots = expanded.atoms(sympy.CRootOf)
    if len(roots) != 1:
        return expanded
    (root,) = roots
    powers = sympy.Poly(expanded.xreplace({root: X}), X, T)
    if not powers.domain.is_QQ and not powers.domain.is_ZZ:
        return expanded
    minimal = sympy.Poly(root.poly.as_expr(X), X)
    coefficients = sympy.Poly(powers.as_expr(), T).all_coeffs()[::-1]
    reduced = (sympy.Poly(c, X).rem(minimal).as_expr().xreplace({X: root}) for c in coefficients)
    return sympy.Add(*(c * T**k for k, c in enumerate(reduced)))


def mirrored(expressions: Sequence[sympy.Expr], side: int) -> list[sympy.Expr]:
    """Expressions in X at X = side*T, to look towards infinity on either side."""
    return [expression.xreplace({X: side * T}) for expression in expressions]
