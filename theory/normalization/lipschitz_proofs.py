"""Certified Lipschitz constants: sup |phi'| and sup |phi''|.

Bounded stretches are searched by branch and bound (`theory.normalization.branch_and_bound`), in coordinates that make
as much of the line as possible bounded (`theory.normalization.coordinates`). Beyond a cutoff, and next to a singular
end of a piece, ranges (`theory.balls.tail`) and growth envelopes (`theory.balls.envelope`) take over.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import sympy
from flint import arb

from theory.activations.activation import Activation, exact
from theory.activations.callable import CallableActivation
from theory.activations.ends import local_width
from theory.activations.pieces import Piece
from theory.activations.proofs import (
    Discontinuity,
    discontinuity,
    place_without_value,
    unproved_continuity,
    unproved_singularities,
    unproved_switch,
)
from theory.balls.arithmetics import growth_arithmetic
from theory.balls.core import NotCertifiable, NotCertified, precision
from theory.balls.envelope import Growth, variable
from theory.balls.local import T, is_regular, mirrored
from theory.balls.program import Program, constant_ball, regular_derivatives, without_floats
from theory.balls.tail import tail_arithmetic, tail_variable
from theory.balls.zeros import near
from theory.errors import UsageError
from theory.normalization.branch_and_bound import Patch, Search
from theory.normalization.coordinates import at_infinity, period, periodic_part, tightened
from theory.numerics.arithmetic import X, is_infinite

Order = Literal["slope", "curvature"]
_BITS = 96
_FIRST_CUTOFF = 16
_LAST_ENVELOPE = 2**10  # an envelope that exists at all exists from here on
_LAST_CUTOFF = 2**22
_LOCAL_CUTOFF = 2**120  # next to a singular end the envelope takes over below 2^-120


@dataclass(frozen=True, slots=True)
class CertifiedLipschitz:
    """Enclosures of the Lipschitz constants of phi and of phi' on |x| <= radius.

    Args:
        slope: K = sup |phi'|, or why it is not certified; +inf where phi jumps or phi' is unbounded.
        curvature: K' = sup |phi''|, the same; +inf where phi' jumps (a kink).
        radius: half-width of the interval, may be infinite.
    """

    slope: arb | NotCertified
    curvature: arb | NotCertified
    radius: float


def certified_lipschitz(
    activation: Activation | CallableActivation, radius: Any = math.inf, tolerance: float = 1e-10
) -> CertifiedLipschitz:
    r"""Enclose the Lipschitz constants of an activation and of its slope rigorously.

    .. math:: K = \sup_{|x| \le R} |\phi'(x)|, \qquad K' = \sup_{|x| \le R} |\phi''(x)|

    Args:
        activation: phi; nothing can be proved about a Python function.
        radius: R > 0; a float counts as the binary number it is, `math.inf` is the whole line. On the sphere of a
            layer of width n, R = sqrt(n q).
        tolerance: relative width of the enclosures aimed at; where the supremum is approached too slowly, or only in
            the limit, they are wider.

    Raises:
        UsageError: a radius or a tolerance that is not positive.

    >>> constants = certified_lipschitz(Activation("tanh", sympy.tanh(X)))
    >>> constants.slope.contains(1), constants.slope.rad() < 1e-10
    (True, True)
    """
    return CertifiedLipschitz(
        certified_supremum(activation, "slope", radius, tolerance),
        certified_supremum(activation, "curvature", radius, tolerance),
        float(radius),
    )


def certified_supremum(
    activation: Activation | CallableActivation,
    order: Order,
    radius: Any = math.inf,
    tolerance: float = 1e-10,
) -> arb | NotCertified:
    """An enclosure of sup |phi'| (order "slope") or sup |phi''| ("curvature") on |x| <= radius.

    Args, errors: as in `certified_lipschitz`.

    >>> certified_supremum(Activation("relu", sympy.Max(X, 0)), "curvature") == arb.pos_inf()
    True
    """
    if not radius > 0:
        raise UsageError(f"the radius must be positive (math.inf for the whole line), not {radius}")
    if not tolerance > 0:
        raise UsageError(f"the tolerance must be positive, not {tolerance}")
    if not isinstance(activation, Activation):
        return NotCertified("a Python function has no expression about which anything could be proved")
    if activation.undefined:
        return NotCertified(
            f"phi has no real value {place_without_value(activation.expression, activation.undefined[0])}"
        )
    end = sympy.oo if radius == math.inf else exact(radius)
    return _enclosed(Activation(activation.name, without_floats(activation.expression)), order, end, tolerance)


@lru_cache(maxsize=64)  # a layer's law, Lévy's bound, the hypotheses and the report each ask for the same ones
def _enclosed(activation: Activation, order: Order, end: sympy.Expr, tolerance: float) -> arb | NotCertified:
    try:
        with precision(_BITS):
            return _supremum(activation, order, end, tolerance)
    except NotCertifiable as reason:
        return NotCertified(str(reason))
    except RecursionError:  # SymPy's
        return NotCertified("the expression is nested too deeply")


def _supremum(activation: Activation, order: Order, end: sympy.Expr, tolerance: float) -> arb:
    gaps = _gaps(activation, "value", end)
    if order == "curvature" and not any(gap.proved for gap in gaps):
        gaps += _gaps(activation, "slope", end)
    doubt = unproved_switch(activation.expression, activation.pieces)
    if doubt is None and any(gap.proved for gap in gaps):
        return arb.pos_inf()
    doubts = [text for text in (doubt, *map(str, gaps)) if text]
    search = Search(tolerance)
    listed = [piece for piece in activation.pieces if piece.kind != "remote" or not _repeats(activation)]
    pieces = [part for piece in listed if (part := _restricted(piece, end)) is not None]
    tails = [tail for piece in pieces for tail in _prepare(piece, order, search, doubts)]
    for tail in tails:
        tail.bound(arb(_LAST_CUTOFF), search)  # the limit at infinity, which may be the supremum
    search.run()
    for tail in tails:
        tail.follow(search, doubts)
    enclosure = search.enclosure()
    if doubt is not None or (
        doubts and not enclosure == arb.pos_inf()
    ):  # a supremum that is proved to be infinite leaves no doubt
        raise NotCertifiable(doubts[0])
    return enclosure


def _gaps(activation: Activation, kind: Literal["value", "slope"], end: sympy.Expr) -> list[Discontinuity]:
    """Where phi or phi' jumps within the radius or is not proved to be continuous."""
    gaps = [
        discontinuity(left, right, kind)
        for left, right in zip(activation.pieces, activation.pieces[1:], strict=False)
        if end == sympy.oo or not abs(constant_ball(left.upper)) > constant_ball(end)
    ]
    return [gap for gap in gaps if gap is not None]


def _repeats(activation: Activation) -> bool:
    """Whether phi is periodic, with a period within the reach of its list of breakpoints."""
    length = period(activation.expression)
    return length is not None and bool(constant_ball(length) < 2 * constant_ball(activation.reach))


def _restricted(piece: Piece, end: sympy.Expr) -> Piece | None:
    """The part of a piece within |x| <= end; None if there is none."""
    if end == sympy.oo:
        return piece
    limit = constant_ball(end)
    lower = -end if piece.lower == -sympy.oo or constant_ball(piece.lower) <= -limit else piece.lower
    upper = end if piece.upper == sympy.oo or constant_ball(piece.upper) >= limit else piece.upper
    return replace(piece, lower=lower, upper=upper) if constant_ball(lower) < constant_ball(upper) else None


@dataclass(slots=True)
class _Tail:
    """An unbounded side of a piece in the coordinate t = |x|, searched up to the cutoff.

    Beyond it the function is its periodic terms, whose least and largest value are known, and a rest.
    """

    program: Program
    rest: Program
    cutoff: arb
    periodic: tuple[arb, arb]

    def follow(self, search: Search, doubts: list[str]) -> None:
        """Move the cutoff outwards until the bound beyond it is hardly above what was found."""
        patch = Patch(self.program)
        while True:
            bound, reason = self.bound(self.cutoff, search)
            if bound is None and self.cutoff >= _LAST_ENVELOPE:
                doubts.append(f"no growth envelope proves that the function stays bounded at infinity{reason}")
                return
            if bound is not None and (search.is_enough(bound) or search.is_exhausted or self.cutoff >= _LAST_CUTOFF):
                search.cover(bound)
                return
            search.add(patch, [self.cutoff, 2 * self.cutoff, 4 * self.cutoff])
            if bound is not None:
                search.run()
            self.cutoff = 4 * self.cutoff

    def bound(self, cutoff: arb, search: Search) -> tuple[arb | None, str]:
        """An upper bound beyond a cutoff (+inf if the function is unbounded), else None and why.

        What the function is proved to come near to there is given to the search.
        """
        try:
            (rest,) = self.rest.bind(tail_arithmetic(cutoff))(tail_variable(cutoff))
        except NotCertifiable as reason:
            return None, f" ({reason})"
        if rest.growth.is_unbounded():
            search.diverge()
            return arb.pos_inf(), ""
        least, largest = self.periodic
        search.reach(largest + rest.low)  # the periodic terms come as near to both ends as one likes
        search.reach(-(least + rest.high))
        bound: arb = (largest + rest.high).upper().max(-(least + rest.low).lower())
        return (bound if bound.is_finite() else None), ""


def _prepare(piece: Piece, order: Order, search: Search, doubts: list[str]) -> list[_Tail]:
    """Put the bounded stretches of a piece into the search; return the unbounded sides that need envelopes."""
    if piece.kind == "remote":
        _cover_remote(piece, order, search, doubts)
        return []
    doubt = unproved_singularities(piece)
    if doubt is not None:
        doubts.append(doubt)
    if piece.kind == "unresolved":
        return []
    function = piece.slope if order == "slope" else piece.curvature
    formulas = [tightened(function), tightened(sympy.diff(function, X))]
    main = Program(formulas)
    length = period(function)  # products made sums may hide it, as in sin(x + cos(x))
    if length is not None and is_infinite(piece.lower) and is_infinite(piece.upper):
        search.add(Patch(main), _period_edges(length))
        return []
    tails = []
    edges: list[arb] = []
    for side, point in ((-1, piece.lower), (1, piece.upper)):
        if not is_infinite(point):
            edges.append(_near_end(formulas, main, piece, side, order, search, doubts))
            continue
        other = piece.upper if side < 0 else piece.lower
        if length is not None:
            start = constant_ball(other) - side
            edges.append((start + side * (constant_ball(length) + 2)).mid())
            continue
        least = arb(0) if is_infinite(other) else (2 * abs(constant_ball(other)).upper() + 1).upper()
        compact = at_infinity(formulas[0], side)
        if compact is not None:
            edges.append(side * _add_compact(*compact, least, search))
            continue
        tails.append(_tail(formulas[0], side, least, search.tolerance))
        edges.append(side * tails[-1].cutoff)
    search.add(Patch(main), edges)
    return tails


def _cover_remote(piece: Piece, order: Order, search: Search, doubts: list[str]) -> None:
    """Bound the function on a piece of which only the formulas are known that it may take."""
    start = abs(constant_ball(piece.lower if piece.side > 0 else piece.upper)).lower()
    doubt = unproved_continuity(piece)
    for formula in piece.alternatives:
        (mirror,) = mirrored([tightened(sympy.diff(formula, X, 1 if order == "slope" else 2))], piece.side)
        try:
            bound = Program([mirror], T).bind(tail_arithmetic(start))(tail_variable(start))[0].bound()
        except NotCertifiable as reason:
            bound, doubt = None, str(reason)
        if bound is None:
            doubt = doubt or f"no bound is proved beyond |x| = {start.str(4, radius=False)}"
        else:
            search.cover(bound)
    doubts += [] if doubt is None else [doubt]


def _period_edges(length: sympy.Expr) -> list[arb]:
    end = constant_ball(length).upper()
    return [(end * k / 8).mid() for k in range(8)] + [end]


def _add_compact(formulas: list[sympy.Expr], rate: sympy.Expr, least: arb, search: Search) -> arb:
    """Search beyond a cutoff in the coordinate s = exp(-rate |x|), or 1/|x| for rate 0; return the cutoff."""
    if rate == 0:
        cutoff = least.max(arb(2)).upper()
        last = 1 / cutoff
    else:
        cutoff = least.max(2 / constant_ball(rate)).upper()
        last = (-constant_ball(rate) * cutoff).exp()
    search.add(Patch(Program(formulas, T)), [arb(0), last.upper()])
    return cutoff


def _tail(function: sympy.Expr, side: int, least: arb, tolerance: float) -> _Tail:
    periodic, rest = periodic_part(function)
    program = Program(mirrored([function, sympy.diff(function, X)], side), T)
    cutoff = least.max(arb(_FIRST_CUTOFF)).upper()
    return _Tail(program, Program(mirrored([rest], side), T), cutoff, _extremes(periodic, tolerance / 1000))


def _extremes(periodic: sympy.Expr, tolerance: float) -> tuple[arb, arb]:
    """The least and the largest value of a periodic function."""
    if not periodic.has(X):
        ball = constant_ball(periodic)
        return ball, ball
    edges = _period_edges(period(periodic))

    def largest_modulus(function: sympy.Expr) -> arb:
        search = Search(tolerance)
        search.add(Patch(Program([function, sympy.diff(function, X)])), edges)
        search.run()
        return search.enclosure()

    shift = sympy.Integer(int(float(largest_modulus(periodic).upper())) + 1)
    constant = constant_ball(shift)  # periodic + shift and shift - periodic are positive
    return constant - largest_modulus(shift - periodic), largest_modulus(shift + periodic) - constant


def _near_end(
    formulas: list[sympy.Expr],
    main: Program,
    piece: Piece,
    side: int,
    order: Order,
    search: Search,
    doubts: list[str],
) -> arb:
    """The end of the main stretch; next to a singular end the search continues in the coordinate t = |x - end|."""
    point = piece.upper if side > 0 else piece.lower
    ball = constant_ball(point)
    if is_regular(main, ball):
        return ball.upper() if side > 0 else ball.lower()
    width = local_width(piece)
    local = near(formulas, point, -side)
    first = 1 if order == "slope" else 2
    (value,) = near([piece.value], point, -side)
    smooth = regular_derivatives(value, T, -side, first + 1)
    if smooth is not None:
        search.add(Patch(Program(smooth[first:], T)), [arb(0), width])
    else:
        _near_singularity(local, near(formulas, point, -side, width)[0], width, point, search, doubts)
    main_end = ball - side * width
    return main_end.upper() if side > 0 else main_end.lower()


def _near_singularity(
    local: list[sympy.Expr], bounded: sympy.Expr, width: arb, point: sympy.Expr, search: Search, doubts: list[str]
) -> None:
    """Bound the function up to 2^-120 from a singular end by its local envelope, beyond by a search."""
    start = arb(_LOCAL_CUTOFF)
    growth = _growth(Program([bounded.xreplace({T: 1 / T})], T), start)
    bound = _bound(growth)
    if growth.is_unbounded():
        search.diverge()
        return
    if bound is None:
        doubts.append(f"no local envelope proves that the function stays bounded at x = {point}")
        return
    search.cover(bound)
    edges = [1 / start]
    while edges[-1] * 16 < width:
        edges.append(edges[-1] * 16)
    search.add(Patch(Program(local, T)), [*edges, width])


def _growth(program: Program, start: arb) -> Growth:
    growth: Growth = program.bind(growth_arithmetic(start))(variable(start))[0]
    return growth


def _bound(growth: Growth) -> arb | None:
    """An upper bound of |f| from the start of the envelope on."""
    if growth.is_zero():
        return arb(0)
    logarithm = None if growth.upper is None else growth.upper.supremum(growth.start)
    if logarithm is None or not logarithm.is_finite():
        return None
    bound: arb = logarithm.exp().upper()
    return bound
