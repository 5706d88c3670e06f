"""Proofs that an activation is split at all the points where it has to be, and that it is continuous there or jumps."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import sympy
from flint import arb

from theory.activations.ends import is_removable, one_sided_limit
from theory.activations.pieces import Claim, Piece, claims
from theory.balls.continuity import is_continuous_beyond
from theory.balls.core import NotCertifiable, precision
from theory.balls.functions import FUNCTIONS, symbol
from theory.balls.local import T
from theory.balls.program import Program, constant_ball
from theory.balls.signs import is_zero
from theory.balls.tail import Tail, tail_arithmetic, tail_variable
from theory.balls.zeros import keeps_sign, near
from theory.numerics.arithmetic import UNDEFINED, X, value_at

_POSITIVE = tuple(symbol(record) for record in FUNCTIONS.values() if record.zeros == ())
_ODD = tuple(symbol(record) for record in FUNCTIONS.values() if record.zeros == (0,))


def unproved_switch(expression: sympy.Expr, pieces: Sequence[Piece]) -> str | None:
    """Reason why the pieces of an expression are not proved to be right; None if they are.

    >>> from theory.activations.pieces import split
    >>> expression = sympy.Max(sympy.exp(X) - 2, 0)
    >>> unproved_switch(expression, split(expression)) is None
    True
    """
    for piece in pieces:
        if piece.kind == "unresolved":
            return f"where the switches of phi change on ({piece.lower}, {piece.upper}) is not known"
    return next((f"that {claim} is not proved" for claim in claims(expression) if not holds(claim)), None)


def unproved_singularities(piece: Piece) -> str | None:
    """Reason why a piece is not proved to be without singular points inside; None if it is."""
    return None if piece.kind == "smooth" else f"the singular points of {piece.value} cannot be listed"


def unproved_continuity(piece: Piece) -> str | None:
    """Reason why phi is not proved to be continuous on a remote piece; None if it is."""
    end = piece.lower if piece.side > 0 else piece.upper
    if piece.kind != "remote" or is_continuous_beyond(piece.value, end, piece.side):
        return None
    return f"phi is not proved to be continuous beyond x = {end}"


def holds(claim: Claim) -> bool:
    """Whether a claim is proved."""
    return all(keeps_sign(factor, claim.lower, claim.upper) for factor in _factors(claim.function) if factor.has(X))


def _factors(function: sympy.Expr) -> list[sympy.Expr]:
    """Functions whose signs decide that of a product, a quotient, a power or an increasing odd function."""
    if isinstance(function, _POSITIVE):
        return []
    if isinstance(function, sympy.Mul):
        return [part for factor in function.args for part in _factors(factor)]
    if isinstance(function, sympy.Pow) and function.exp.is_Rational:
        return _factors(function.base)
    if isinstance(function, _ODD):
        return _factors(function.args[0])
    numerator, denominator = sympy.fraction(sympy.together(function))
    return [function] if not denominator.has(X) else [*_factors(numerator), *_factors(denominator)]


_JOIN_BITS = (256, 2048)
_DISTANCES = (12, 48)  # -log2 of the distances from a point up to which the ranges on both sides are compared
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


@lru_cache(maxsize=1024)
def discontinuity(left: Piece, right: Piece, order: Order) -> Discontinuity | None:
    """None if phi (or phi') is proved to be continuous between two neighbouring pieces.

    Continuity of phi is proved from the whole expression where possible (`theory.balls.continuity`), by one formula
    that is analytic on both sides, or by envelopes that tend to 0 on both; a jump by ranges on both sides that do not
    meet. Else equality of the one-sided limits is decided by algebra, inequality by ball arithmetic.

    >>> from theory.numerics.arithmetic import X
    >>> zero = sympy.Integer(0)
    >>> down, up = Piece(-sympy.oo, zero, zero), Piece(zero, sympy.oo, X)
    >>> discontinuity(down, up, "value"), str(discontinuity(down, up, "slope"))
    (None, "phi' jumps at x = 0")
    """
    point = left.upper
    if order == "value" and right.is_joined:
        return None
    if left.value == right.value and is_removable(left.value, point):
        return None
    seen = _compared(getattr(left, order), getattr(right, order), point)
    if seen is not None:
        return Discontinuity(point, order, proved=True) if seen == "apart" else None
    difference = one_sided_limit(getattr(right, order), point, "+") - one_sided_limit(getattr(left, order), point, "-")
    try:
        for bits in _JOIN_BITS:
            with precision(bits):
                if not constant_ball(difference).contains(0):
                    return Discontinuity(point, order, proved=True)
        is_joined = is_zero(difference)  # after the balls, as algebra may take long
    except NotCertifiable:
        is_joined = sympy.expand(difference) == 0
    return None if is_joined else Discontinuity(point, order, proved=False)


def _compared(left: sympy.Expr, right: sympy.Expr, point: sympy.Expr) -> Literal["apart", "zero"] | None:
    """What envelopes prove next to a singular point.

    "apart": a function is unbounded there, or its ranges on both sides do not meet. "zero": it tends to 0 on both.
    """
    if not any(_is_singular(side, point) for side in (left, right)):
        return None
    try:
        for exponent in _DISTANCES:
            with precision(_JOIN_BITS[0]):
                below, above = (_range(f, point, side, arb(2) ** exponent) for f, side in ((left, -1), (right, 1)))
                if below.high < above.low or above.high < below.low:
                    return "apart"
                if below.growth.is_unbounded() or above.growth.is_unbounded():
                    return "apart"
                if below.growth.tends_to_zero() and above.growth.tends_to_zero():
                    return "zero"
    except NotCertifiable:
        return None
    return None


def _is_singular(function: sympy.Expr, point: sympy.Expr) -> bool:
    value = value_at(function, point)
    if value.has(*UNDEFINED):
        return True
    try:
        with precision(_JOIN_BITS[0]):
            constant_ball(value)
    except NotCertifiable:
        return True
    return False


def _range(function: sympy.Expr, point: sympy.Expr, direction: int, start: arb) -> Tail:
    """The range of a function at the distances 0 < t <= 1/start from a point."""
    (local,) = near([function], point, direction, 1 / start)
    tail: Tail = Program([local.xreplace({T: 1 / T})], T).bind(tail_arithmetic(start))(tail_variable(start))[0]
    return tail
