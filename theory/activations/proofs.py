r"""Proofs that an activation is split at all the points where it has to be.

That a switching function g keeps its sign between two points a < b follows in three stretches. Next to a zero at a,

.. math:: g(a + t) = g^{(m)}(\xi) t^m/m!, \qquad g(a) = ... = g^{(m-1)}(a) = 0,

where the m-th derivative is enclosed away from 0 on [a, a + w]; next to a singular end and towards infinity a growth
envelope bounds |g| from below (`theory.balls.envelope`); in between, intervals are bisected until each enclosure
leaves out 0 (Moore, Kearfott, Cloud 2009, "Introduction to Interval Analysis", chapter 6).
"""

from dataclasses import dataclass
from typing import Literal

import sympy
from flint import arb, ctx

from theory.activations.critical_points import ODD, POSITIVE, has_listed_singularities, is_zero
from theory.activations.ends import T, localized, mirrored, one_sided_limit
from theory.activations.pieces import Claim, Piece, claims
from theory.balls.arithmetics import INTERVAL, REAL, growth_arithmetic
from theory.balls.core import NotCertifiable, hull, precision
from theory.balls.envelope import variable
from theory.balls.program import Program, constant_ball
from theory.numerics.arithmetic import X, is_infinite

_BITS = 128
_MOST_BOXES = 1500
_MOST_DERIVATIVES = 4
_CUTOFFS = (16, 64, 1024)
_WIDTHS = tuple(arb(2) ** -k for k in (2, 4, 8, 12, 20, 40))


def unproved_switch(expression: sympy.Expr) -> str | None:
    """Reason why the pieces of an expression are not proved to be right; None if they are.

    >>> unproved_switch(sympy.Max(sympy.exp(X) - 2, 0)) is None
    True
    """
    for claim in claims(expression):
        with precision(_BITS):
            if not holds(claim):
                return f"that {claim} is not proved"
    return None


def unproved_singularities(piece: Piece) -> str | None:
    """Reason why a piece is not proved to be without singular points inside; None if it is."""
    if has_listed_singularities(piece.value):
        return None
    return f"the singular points of {piece.value} cannot be listed"


def holds(claim: Claim) -> bool:
    """Whether a claim is proved, at the present precision."""
    try:
        return all(
            _keeps_sign(factor, claim.lower, claim.upper) for factor in _factors(claim.function) if factor.has(X)
        )
    except NotCertifiable:
        return False


def _factors(function: sympy.Expr) -> list[sympy.Expr]:
    """Functions whose signs decide that of a product, a quotient, a power or an increasing odd function."""
    if isinstance(function, POSITIVE):
        return []
    if isinstance(function, sympy.Mul):
        return [part for factor in function.args for part in _factors(factor)]
    if isinstance(function, sympy.Pow) and function.exp.is_Rational:
        return _factors(function.base)
    if isinstance(function, ODD):
        return _factors(function.args[0])
    numerator, denominator = sympy.fraction(sympy.together(function))
    return [function] if not denominator.has(X) else [*_factors(numerator), *_factors(denominator)]


def _keeps_sign(function: sympy.Expr, lower: sympy.Expr, upper: sympy.Expr) -> bool:
    left, right = _End.of(function, lower, upper, 1), _End.of(function, upper, lower, -1)
    if left is None or right is None:
        return False
    if left.sign != right.sign:
        return False
    return not left.reach < right.reach or _is_nonzero(function, left.reach, right.reach)


class _End:
    """A stretch at one end of a cell on which the sign is proved: up to `reach`, with that sign."""

    def __init__(self, reach: arb, sign: int) -> None:
        self.reach, self.sign = reach, sign

    @classmethod
    def of(cls, function: sympy.Expr, end: sympy.Expr, other: sympy.Expr, direction: int) -> "_End | None":
        if is_infinite(end):
            return cls._far(function, other, -direction)
        point = constant_ball(end)
        room = arb(1) if is_infinite(other) else abs(constant_ball(other) - point) / 2
        widths = [width for width in _WIDTHS if width < room] or [(room / 2).mid()]
        return cls._regular(function, end, direction, widths) or cls._singular(function, end, direction, widths)

    @classmethod
    def _far(cls, function: sympy.Expr, other: sympy.Expr, side: int) -> "_End | None":
        (mirror,) = mirrored([function], side)
        program = Program([mirror], T)
        nearest = arb(0) if is_infinite(other) else abs(constant_ball(other)).upper()
        for cutoff in _CUTOFFS:
            start = (arb(cutoff) + 2 * nearest).upper()
            sign = _eventual_sign(program, start)
            if sign:
                return cls(side * start, sign)
        return None

    @classmethod
    def _regular(cls, function: sympy.Expr, end: sympy.Expr, direction: int, widths: list[arb]) -> "_End | None":
        point, derivative = constant_ball(end), function
        for order in range(_MOST_DERIVATIVES + 1):
            run = Program([derivative]).bind(INTERVAL)
            for width in widths:
                (value,) = run(hull(point, point + direction * width))
                if value.is_finite() and not value.contains(0):
                    sign = (1 if value > 0 else -1) * direction**order
                    return cls((point + direction * width).mid(), sign)
            if not is_zero(derivative.xreplace({X: end})):
                return None
            derivative = sympy.diff(derivative, X)
        return None

    @classmethod
    def _singular(cls, function: sympy.Expr, end: sympy.Expr, direction: int, widths: list[arb]) -> "_End | None":
        (local,) = localized([function], end, direction)
        program = Program([local.xreplace({T: 1 / T})], T)
        for width in widths:
            sign = _eventual_sign(program, (1 / width).lower())
            if sign:
                return cls((constant_ball(end) + direction * width).mid(), sign)
        return None


def _eventual_sign(program: Program, start: arb) -> int:
    """The sign that a growth envelope proves from `start` on, else 0."""
    try:
        growth = program.bind(growth_arithmetic(start))(variable(start))[0]
    except NotCertifiable:
        return 0
    if growth.lower is None or growth.is_zero():
        return 0
    return int(growth.sign)


def _is_nonzero(function: sympy.Expr, left: arb, right: arb) -> bool:
    """Whether bisection proves that a function has no zero and no singular point on [left, right]."""
    program = Program([function, sympy.diff(function, X)])
    point, interval = program.bind(REAL), program.bind(INTERVAL)
    boxes = [(left, right)]
    for _ in range(_MOST_BOXES):
        if not boxes:
            return True
        low, high = boxes.pop()
        box = hull(low, high)
        value, slope = interval(box)
        middle = box.mid()
        if value.is_finite() and value.contains(0) and slope.is_finite():
            value = point(middle)[0] + slope * (box - middle)
        if not value.is_finite() or value.contains(0):
            if high - low < arb(2) ** (8 - ctx.prec) * (1 + abs(middle)):
                return False
            boxes += [(low, middle), (middle, high)]
    return False


_JOIN_BITS = (256, 2048)
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

    Continuity of phi is proved from the whole expression where possible (`theory.balls.continuity`). Else
    equality of the one-sided limits is decided by algebra, inequality by ball arithmetic.

    >>> from theory.numerics.arithmetic import X
    >>> zero = sympy.Integer(0)
    >>> down, up = Piece(-sympy.oo, zero, zero), Piece(zero, sympy.oo, X)
    >>> discontinuity(down, up, "value"), str(discontinuity(down, up, "slope"))
    (None, "phi' jumps at x = 0")
    """
    point = left.upper
    if order == "value" and right.is_joined:
        return None
    difference = one_sided_limit(getattr(right, order), point, "+") - one_sided_limit(getattr(left, order), point, "-")
    if difference == 0 or sympy.expand(difference) == 0:
        return None
    try:
        for bits in _JOIN_BITS:
            with precision(bits):
                if not constant_ball(difference).contains(0):
                    return Discontinuity(point, order, proved=True)
    except NotCertifiable:
        return Discontinuity(point, order, proved=False)
    return None if is_zero(difference) else Discontinuity(point, order, proved=False)
