r"""Certified Lipschitz constants: sup |phi'| and sup |phi''| by interval branch and bound.

An interval is split until the upper bound of the function on every part, from the mean value form

.. math:: f(I) \subseteq f(m) + f'(I)(I - m)

or from direct evaluation, is hardly above the largest value found at a point (Moore, Kearfott, Cloud 2009,
"Introduction to Interval Analysis", chapters 6 and 9). Beyond a cutoff, and next to a singular end of a piece, growth
envelopes (`theory.balls.envelope`) take over.
"""

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sympy
from flint import arb
from sympy.simplify.fu import TR8

from theory.activations.activation import Activation, exact
from theory.activations.callable import CallableActivation
from theory.activations.ends import T, is_regular, local_width, localized, mirrored
from theory.activations.pieces import Piece
from theory.activations.proofs import Discontinuity, discontinuity, unproved_singularities, unproved_switch
from theory.balls.arithmetics import INTERVAL, REAL, growth_arithmetic
from theory.balls.core import NotCertifiable, NotCertified, hull, precision
from theory.balls.envelope import Growth, variable
from theory.balls.program import Program, constant_ball, is_analytic_at_zero, regularize, without_floats
from theory.errors import UsageError
from theory.numerics.arithmetic import X, is_infinite

Order = Literal["slope", "curvature"]
_BITS = 96
_MOST_BOXES = 20_000  # of a formula of ordinary length, fewer of a longer one
_ORDINARY_SIZE = 40  # operations
_TIGHTENED = 200  # the longest formula that is rewritten
_NARROWEST = 2.0**-80  # relative width at which splitting a box is given up
_POLE = 2.0**-30  # the same for a box without a finite bound
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
        piece = activation.undefined[0]
        return NotCertified(f"phi has no real value on ({piece.lower}, {piece.upper})")
    end = sympy.oo if radius == math.inf else exact(radius)
    same = Activation(activation.name, without_floats(activation.expression))
    try:
        with precision(_BITS):
            return _supremum(same, order, end, tolerance)
    except NotCertifiable as reason:
        return NotCertified(str(reason))
    except RecursionError:  # SymPy's
        return NotCertified("the expression is nested too deeply")


def _supremum(activation: Activation, order: Order, end: sympy.Expr, tolerance: float) -> arb:
    gaps = _gaps(activation, order, end)
    if any(gap.proved for gap in gaps):
        return arb.pos_inf()
    doubts = [doubt for doubt in (unproved_switch(activation.expression), *map(str, gaps)) if doubt]
    search = _Search(tolerance)
    pieces = [part for piece in activation.pieces if (part := _restricted(piece, end)) is not None]
    tails = [tail for piece in pieces for tail in _prepare(piece, order, search, doubts)]
    search.run()
    for tail in tails:
        tail.follow(search, doubts)
    found = search.enclosure()
    if doubts and not found == arb.pos_inf():  # a supremum that is proved to be infinite leaves no doubt
        raise NotCertifiable(doubts[0])
    return found


def _gaps(activation: Activation, order: Order, end: sympy.Expr) -> list[Discontinuity]:
    """Where phi, or for the curvature phi', jumps within the radius or is not proved to be continuous."""
    kinds: tuple[Literal["value", "slope"], ...] = ("value",) if order == "slope" else ("value", "slope")
    gaps = [
        discontinuity(left, right, kind)
        for left, right in zip(activation.pieces, activation.pieces[1:], strict=False)
        for kind in kinds
        if end == sympy.oo or not abs(constant_ball(left.upper)) > constant_ball(end)
    ]
    return [gap for gap in gaps if gap is not None]


def _restricted(piece: Piece, end: sympy.Expr) -> Piece | None:
    """The part of a piece within |x| <= end; None if there is none."""
    if end == sympy.oo:
        return piece
    limit = constant_ball(end)
    lower = -end if piece.lower == -sympy.oo or constant_ball(piece.lower) <= -limit else piece.lower
    upper = end if piece.upper == sympy.oo or constant_ball(piece.upper) >= limit else piece.upper
    return Piece(lower, upper, piece.value) if constant_ball(lower) < constant_ball(upper) else None


class _Key:
    """Total order on exact numbers."""

    def __init__(self, point: arb) -> None:
        self.point = point

    def __lt__(self, other: "_Key") -> bool:
        return bool(self.point < other.point)


class _Patch:
    """A function and its derivative on real balls."""

    def __init__(self, program: Program) -> None:
        self.cost = max(1, program.size // _ORDINARY_SIZE)
        self._point, self._range = program.bind(REAL), program.bind(INTERVAL)

    def value(self, x: arb) -> arb:
        """A lower bound of |f(x)|, 0 where f has no finite value."""
        value = self._point(x)[0]
        lower: arb = value.abs_lower() if value.is_finite() else arb(0)
        return lower

    def bound(self, left: arb, right: arb) -> arb:
        """An upper bound of |f| on an interval, infinite where none is found."""
        box = hull(left, right)
        direct, slope = self._range(box)
        if not direct.is_finite():
            return arb.pos_inf()
        middle = box.mid()
        centred = self._point(middle)[0] + slope * (box - middle)
        bounds = [ball.abs_upper() for ball in (direct, centred) if ball.is_finite()]
        smallest: arb = min(bounds, key=_Key)
        return smallest


class _Search:
    """Branch and bound for the largest modulus over several patches."""

    def __init__(self, tolerance: float) -> None:
        self._tolerance = arb(tolerance)
        self._heap: list[tuple[_Key, int, arb, arb, _Patch]] = []
        self._count = itertools.count()
        self._budget = _MOST_BOXES
        self._found = arb(0)  # the largest value that is proved to be taken
        self._ceiling = arb(0)  # upper bound on stretches that are not searched

    def add(self, patch: _Patch, edges: Sequence[arb]) -> None:
        """Search a patch between consecutive edges."""
        for left, right in itertools.pairwise(edges):
            self._push(patch, left, right)

    def cover(self, bound: arb) -> None:
        """Take an upper bound on a stretch that is not searched."""
        self._ceiling = max(self._ceiling, bound.upper(), key=_Key)

    def is_enough(self, bound: arb) -> bool:
        """Whether a stretch with this upper bound cannot matter."""
        return bool(bound <= self._found + self._found * self._tolerance)

    @property
    def is_exhausted(self) -> bool:
        return self._budget <= 0

    def _push(self, patch: _Patch, left: arb, right: arb) -> None:
        self._found = max(self._found, patch.value(((left + right) / 2).mid()), key=_Key)
        heapq.heappush(self._heap, (_Key(-patch.bound(left, right)), next(self._count), left, right, patch))

    def run(self) -> None:
        """Split boxes until the largest bound is within the tolerance, or the budget is spent."""
        while self._heap and not self.is_exhausted and not self.is_enough(-self._heap[0][0].point):
            _, _, left, right, patch = self._heap[0]
            narrowest = _NARROWEST if self._heap[0][0].point.is_finite() else _POLE
            if right - left <= narrowest * max(abs(left), abs(right), key=_Key):
                return
            heapq.heappop(self._heap)
            middle = ((left + right) / 2).mid()
            self._push(patch, left, middle)
            self._push(patch, middle, right)
            self._budget -= patch.cost

    def enclosure(self) -> arb:
        """The supremum as a ball, +inf if it is proved to be infinite."""
        if self._found == arb.pos_inf():
            return arb.pos_inf()
        tops = [-item[0].point for item in self._heap[:1]]
        top = max([self._found, self._ceiling, *tops], key=_Key)
        if not top.is_finite():
            raise NotCertifiable("no finite bound was found on some part of the interval")
        return hull(self._found, top)

    def diverge(self) -> None:
        """Record that the function is proved to be unbounded."""
        self._found = arb.pos_inf()


@dataclass(slots=True)
class _Tail:
    """An unbounded side of a piece in the coordinate t = |x|, searched up to the cutoff."""

    program: Program
    cutoff: arb

    def follow(self, search: _Search, doubts: list[str]) -> None:
        """Move the cutoff outwards until the envelope beyond it is hardly above what was found."""
        patch = _Patch(self.program)
        while True:
            bound, reason = self._envelope(search)
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

    def _envelope(self, search: _Search) -> tuple[arb | None, str]:
        """An upper bound beyond the cutoff (+inf if the function is unbounded), else None and why."""
        try:
            growth = _growth(self.program, self.cutoff)
        except NotCertifiable as reason:
            return None, f" ({reason})"
        if growth.is_unbounded():
            search.diverge()
            return arb.pos_inf(), ""
        return _bound(growth), ""


def _prepare(piece: Piece, order: Order, search: _Search, doubts: list[str]) -> list[_Tail]:
    """Put the bounded stretches of a piece into the search; return its unbounded sides."""
    doubt = unproved_singularities(piece)
    if doubt is not None:
        doubts.append(doubt)
    function = piece.slope if order == "slope" else piece.curvature
    formulas = [_tightened(function), _tightened(sympy.diff(function, X))]
    main = Program(formulas)
    tails = []
    edges: list[arb] = []
    for side, point in ((-1, piece.lower), (1, piece.upper)):
        if is_infinite(point):
            other = piece.upper if side < 0 else piece.lower
            cutoff = arb(_FIRST_CUTOFF)
            if not is_infinite(other):
                cutoff = cutoff.max(2 * abs(constant_ball(other)).upper() + 1).upper()
            tails.append(_Tail(Program(mirrored(formulas, side), T), cutoff))
            edges.append(side * cutoff)
        else:
            edges.append(_near_end(formulas, main, piece, side, search, doubts))
    search.add(_Patch(main), edges)
    return tails


def _tightened(expression: sympy.Expr) -> sympy.Expr:
    """An equal expression that interval arithmetic overestimates less.

    Products of sines and cosines become sums, and sums of quotients one fraction if that cancels something.
    """
    if sympy.count_ops(expression) > _TIGHTENED:
        return expression
    if expression.has(sympy.sin, sympy.cos):
        expression = TR8(expression)
    numerator, denominator = sympy.fraction(sympy.together(expression))
    if denominator.has(X) and not denominator.has(sympy.exp):
        fraction = sympy.expand(numerator) / denominator
        if fraction.count_ops() < expression.count_ops():
            return fraction
    return expression


def _near_end(
    formulas: list[sympy.Expr], main: Program, piece: Piece, side: int, search: _Search, doubts: list[str]
) -> arb:
    """The end of the main stretch; next to a singular end the search continues in the coordinate t = |x - end|."""
    point = piece.upper if side > 0 else piece.lower
    ball = constant_ball(point)
    if is_regular(main, ball):
        return ball.upper() if side > 0 else ball.lower()
    width = local_width(piece)
    local = localized(formulas, point, -side)
    smooth = [regularize(expression, T) for expression in local]
    if is_analytic_at_zero(smooth, T):
        search.add(_Patch(Program(smooth, T)), [arb(0), width])
    else:
        _near_singularity(local, width, point, search, doubts)
    main_end = ball - side * width
    return main_end.upper() if side > 0 else main_end.lower()


def _near_singularity(
    local: list[sympy.Expr], width: arb, point: sympy.Expr, search: _Search, doubts: list[str]
) -> None:
    """Bound the function up to 2^-120 from a singular end by its local envelope, beyond by a search."""
    start = arb(_LOCAL_CUTOFF)
    growth = _growth(Program([local[0].xreplace({T: 1 / T})], T), start)
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
    search.add(_Patch(Program(local, T)), [*edges, width])


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
