"""Proofs that an activation is split at all the points where it has to be, and that it is continuous there or jumps."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import sympy
from flint import arb

from theory.activations.critical_points import suspects
from theory.activations.ends import algebraic_limit, is_removable, one_sided_limit
from theory.activations.pieces import Claim, Piece, claims
from theory.balls.continuity import has_no_real_value, is_continuous_beyond
from theory.balls.core import NotCertifiable, precision
from theory.balls.functions import FUNCTIONS, symbol
from theory.balls.local import T
from theory.balls.program import Program, constant_ball
from theory.balls.signs import is_real, is_zero, range_of
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
_SATURATING = {
    symbol(record): range_of(symbol(record)(X))
    for record in FUNCTIONS.values()
    if record.name in ("tanh", "erf", "sigmoid", "normal_cdf", "atan")
}
"""Increasing functions with a finite limit at either infinity."""
Order = Literal["value", "slope"]


def proved_jumps(expression: sympy.Expr, pieces: Sequence[Piece]) -> list[sympy.Expr]:
    """The points at which unequal one-sided limits of the whole expression are proved.

    Those of the formulas of two pieces say nothing where it is not proved that phi equals them next to the point.

    >>> from theory.activations.pieces import split
    >>> step = sympy.Max(sympy.tanh(1 / X), -1)
    >>> proved_jumps(step, split(step))
    [0]
    """
    unproved = [claim for claim in claims(expression) if not holds(claim)]
    found = [(left.upper, discontinuity(left, right, "value")) for left, right in pairwise(pieces)]
    jumps = [point for point, doubt in found if doubt is not None and doubt.proved]
    return [point for point in jumps if not any(claim.reaches(point) for claim in unproved)]


def place_without_value(expression: sympy.Expr, piece: Piece) -> str:
    """Where phi is proved to have no real value: on a whole piece that has none at one of its points, or around that.

    On the whole piece if some part of phi is not real at the point and stays so: the argument of its root or logarithm
    is real and keeps its sign.

    >>> from theory.activations.pieces import split
    >>> [place_without_value(phi, split(phi)[0]) for phi in (sympy.sqrt(X), X**X**X)]
    ['on (-oo, 0)', 'around x = -1.37']
    """
    formula = expression if piece.value is sympy.nan else piece.value
    parts = [part for part in formula.atoms(sympy.Pow, sympy.Function) if part.has(X)]
    unreal = {part for part in parts if has_no_real_value(part, piece.sample)}
    first = [part for part in unreal if not any(other is not part and part.has(other) for other in unreal)]
    is_whole = all(_stays_unreal(part, piece) for part in first) and all(map(holds, claims(expression)))
    return f"on ({piece.lower}, {piece.upper})" if is_whole else f"around x = {float(piece.sample):.10g}"


def _stays_unreal(part: sympy.Expr, piece: Piece) -> bool:
    """Whether a function of a real argument, not real at one point of a piece, is proved to be real nowhere on it."""
    if isinstance(part, sympy.Pow) and part.exp.has(X):
        return False  # x**x is real at x = -1
    inner = {node for argument in part.args for node in argument.atoms(sympy.Pow, sympy.Function)}
    return all(is_real(node.xreplace({X: piece.sample})) for node in inner) and all(
        holds(Claim(suspect, piece.lower, piece.upper)) for suspect in suspects(part)
    )


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
    sides = (getattr(left, order), "-"), (getattr(right, order), "+")
    proved = [_proved_limit(piece, *side) for piece, side in zip((left, right), sides, strict=True)]
    is_proved = not any(limit.has(*UNDEFINED) for limit in proved)
    below, above = proved if is_proved else [one_sided_limit(formula, point, side) for formula, side in sides]
    difference = above - below
    try:
        for bits in _JOIN_BITS:
            with precision(bits):
                if not constant_ball(difference).contains(0):
                    return Discontinuity(point, order, is_proved)
        is_joined = is_zero(difference)  # after the balls, as algebra may take long
    except NotCertifiable:
        is_joined = sympy.expand(difference) == 0
    is_remote = any(piece.kind == "remote" for piece in (left, right))  # the far teeth of x % 1, alike those before
    return None if is_joined and (is_proved or is_remote) else Discontinuity(point, order, proved=False)


def proves_steps(expression: sympy.Expr, pieces: Sequence[Piece], order: Order) -> bool:
    """Whether it is proved at which points phi (or phi') jumps, and that it jumps at no other.

    >>> from theory.activations.pieces import split
    >>> [proves_steps(phi, split(phi), "slope") for phi in (sympy.Abs(X), sympy.loggamma(X**2 + 1))]
    [True, False]
    """
    if unproved_switch(expression, pieces) is not None or any(piece.value is sympy.nan for piece in pieces):
        return False
    orders: tuple[Order, ...] = ("value",) if order == "value" else ("value", "slope")
    doubts = (discontinuity(left, right, each) for each in orders for left, right in pairwise(pieces))
    if any(doubt is not None and not doubt.proved for doubt in doubts):
        return False
    return all(
        piece.kind == "smooth" or (order == "value" and piece.kind == "remote" and unproved_continuity(piece) is None)
        for piece in pieces
    )


def _proved_limit(piece: Piece, formula: sympy.Expr, side: str) -> sympy.Expr:
    """The limit of a formula at an end of its piece if it rests neither on a switch nor on SymPy's limits; else nan."""
    if piece.kind in ("unresolved", "remote"):
        return sympy.nan
    point = piece.upper if side == "-" else piece.lower
    limit = algebraic_limit(formula, point, side)
    return _saturated(formula, point, side) if limit.has(*UNDEFINED) else limit


def _saturated(formula: sympy.Expr, point: sympy.Expr, side: str) -> sympy.Expr:
    """The limit where only functions such as tanh are singular, of arguments proved to tend to infinity; else nan.

    The rest has to have a value whatever these limits are: (1 - tanh u) exp(2 u) tends to 2 with u, not to 0.
    """
    limits: dict[sympy.Expr, sympy.Expr] = {}
    for node in formula.atoms(*_SATURATING):
        try:
            with precision(_JOIN_BITS[0]):
                inner = _range(node.args[0], point, 1 if side == "+" else -1, arb(2) ** _DISTANCES[0])
                if inner.growth.is_unbounded() and (inner.low > 0 or inner.high < 0):
                    limits[node] = getattr(_SATURATING[node.func], "high" if inner.low > 0 else "low")
        except NotCertifiable:
            continue
    names = {node: sympy.Dummy(real=True) for node in limits}
    value = value_at(formula.xreplace(names), point)
    if value.has(*UNDEFINED):
        return sympy.nan
    return value.xreplace({names[node]: limit for node, limit in limits.items()})


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
