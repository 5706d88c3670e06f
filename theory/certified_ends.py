"""The ends of a piece: is its formula analytic there, and how does it look in the coordinate t = |x - end|?"""

from collections.abc import Sequence

import sympy
from flint import acb, arb, ctx

from theory.arithmetic import X, is_infinite
from theory.balls import Program, constant_ball
from theory.balls_core import NotCertifiable
from theory.balls_functions import COMPLEX
from theory.pieces import Piece

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
    """
    moved = [expression.xreplace({X: point + direction * T}) for expression in expressions]
    return [e.replace(lambda node: node.is_Add and node.is_polynomial(T), sympy.expand) for e in moved]


def mirrored(expressions: Sequence[sympy.Expr], side: int) -> list[sympy.Expr]:
    """Expressions in X at X = side*T, to look towards infinity on either side."""
    return [expression.xreplace({X: side * T}) for expression in expressions]


def local_width(piece: Piece) -> arb:
    """A power of two, at most 1 and at most half the length of the piece."""
    width = arb(1)
    if not (is_infinite(piece.lower) or is_infinite(piece.upper)):
        length = constant_ball(piece.upper) - constant_ball(piece.lower)
        while not 2 * width < length:
            width = width / 2
            if width < arb(2) ** -ctx.prec:
                raise NotCertifiable(f"the breakpoints {piece.lower} and {piece.upper} cannot be told apart")
    return width
