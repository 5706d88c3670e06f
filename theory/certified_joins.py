"""Proofs about the points where two pieces of an activation meet: is phi, or phi', continuous there?"""

from dataclasses import dataclass
from typing import Literal

import sympy

from theory.balls import Program, constant_ball
from theory.balls_core import NotCertifiable, precision
from theory.certified_ends import is_regular
from theory.critical_points import is_zero
from theory.limits import one_sided_limit
from theory.pieces import Piece

_BITS = (256, 2048)
Order = Literal["value", "slope"]


@dataclass(frozen=True, slots=True)
class Discontinuity:
    """A point at which continuity is disproved (`proved`), or is not proved."""

    point: sympy.Expr
    order: Order
    proved: bool

    def __str__(self) -> str:
        name = "phi" if self.order == "value" else "phi'"
        if not self.proved:
            return f"{name} is not proved to be continuous at x = {self.point}"
        weak = ", so it is not weakly differentiable" if self.order == "value" else ""
        return f"{name} jumps at x = {self.point}{weak}"


def discontinuity(left: Piece, right: Piece, order: Order) -> Discontinuity | None:
    """None if phi (or phi') is proved to be continuous between two neighbouring pieces.

    A switch that is itself continuous (`Piece.is_joined`) keeps phi continuous where both formulas are analytic. Else
    equality of the one-sided limits is decided by algebra, inequality by ball arithmetic.

    >>> from theory.arithmetic import X
    >>> zero = sympy.Integer(0)
    >>> down, up = Piece(-sympy.oo, zero, zero), Piece(zero, sympy.oo, X)
    >>> discontinuity(down, up, "value"), str(discontinuity(down, up, "slope"))
    (None, "phi' jumps at x = 0")
    """
    point = left.upper
    if order == "value" and right.is_joined and _is_analytic((left, right), point):
        return None
    difference = one_sided_limit(getattr(right, order), point, "+") - one_sided_limit(getattr(left, order), point, "-")
    if difference == 0 or sympy.expand(difference) == 0:
        return None
    try:
        for bits in _BITS:
            with precision(bits):
                if not constant_ball(difference).contains(0):
                    return Discontinuity(point, order, proved=True)
    except NotCertifiable:
        return Discontinuity(point, order, proved=False)
    return None if is_zero(difference) else Discontinuity(point, order, proved=False)


def _is_analytic(pieces: tuple[Piece, Piece], point: sympy.Expr) -> bool:
    """Whether the formulas of two pieces are proved to be analytic around their common end."""
    try:
        with precision(_BITS[0]):
            ball = constant_ball(point)
            return all(is_regular(Program([piece.value]), ball) for piece in pieces)
    except NotCertifiable:
        return False
