r"""All zeros of an analytic function on an interval, each proved to be there, and simple.

Boxes are bisected until the enclosure of g leaves out 0, or that of g' does; in a box of the second kind g has one zero
if its signs at the two ends differ, else none (Moore, Kearfott, Cloud 2009, "Introduction to Interval Analysis",
chapter 8). A finite enclosure also proves that g has no singular point in the box. The two ends of the interval
are examined first. Next to a zero at an end a,

.. math:: g(a + t) = g^{(m)}(\xi) t^m/m!, \qquad g(a) = ... = g^{(m-1)}(a) = 0,

where the m-th derivative is enclosed away from 0 on [a, a + w]; next to a singular end and towards infinity the range
of g (`theory.balls.tail`) tells its sign. Towards infinity there may be no end of zeros, as of sin(x). Then those up to
a reach are listed, beyond which the normal density leaves next to nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sympy
from flint import arb, ctx

from theory.balls.arithmetics import INTERVAL, REAL
from theory.balls.core import NotCertifiable, hull, precision
from theory.balls.local import T, localized, mirrored
from theory.balls.program import Program, constant_ball, deflated, rational_ball
from theory.balls.signs import is_zero
from theory.balls.tail import tail_arithmetic, tail_variable
from theory.numerics.arithmetic import X, is_infinite
from theory.numerics.enclosed import Enclosed

REACHES = 16 + sympy.Rational(37, 1009), 8 + sympy.Rational(37, 1009)
"""Where lists of zeros that have no end are cut: P(|z| > 16) is 1e-57, P(|z| > 8) is 1e-15. Not round numbers, which
might be zeros."""


_BITS = 128
_CELL_BITS = 64
_MOST_BOXES = 6000
_MOST_ZEROS = 256
_MOST_DERIVATIVES = 4
_CUTOFFS = (16, 64, 1024)
_WIDTHS = tuple(arb(2) ** -k for k in (2, 4, 8, 12, 20, 40))
_CUTS = (0.4837, 0.5319, 0.4417)  # where a box is cut: never at a round number, which might be a zero


class MultipleZero(NotCertifiable):
    """Internal: near some place a zero is not seen to be simple."""

    def __init__(self, reason: str, place: arb) -> None:
        super().__init__(reason)
        self.place = place


@dataclass(frozen=True, slots=True)
class Zeros:
    """The zeros strictly between two points, ascending; all of them from `lower` to `upper`, which may be infinite.

    Where nothing is known about an interval beyond the reach, `lower` is its upper end and `upper` its lower end.
    """

    points: tuple[sympy.Expr, ...]
    lower: sympy.Expr
    upper: sympy.Expr


def zeros_between(function: sympy.Expr, lower: sympy.Expr, upper: sympy.Expr) -> Zeros:
    """Isolate the zeros of a function on an open interval on which it is analytic.

    Args:
        function: an expression in `X` without switches.
        lower, upper: exact constants or -oo, oo.

    Raises:
        NotCertifiable: a zero that is not seen to be simple, or something without a rigorous rule.

    >>> zeros_between(sympy.exp(X) - X - 2, -sympy.oo, sympy.oo).points
    (-1.8414056604369606, 1.1461932206205826)
    >>> len(zeros_between(sympy.sin(X), -sympy.oo, sympy.oo).points)
    11
    """
    with precision(_BITS):
        stretches = End.of(function, lower, upper, 1), End.of(function, upper, lower, -1)
        for reach in REACHES:
            cuts = -reach, reach
            edges = zip((lower, upper), stretches, cuts, strict=True)
            low, high = (_start(function, *edge) for edge in edges)
            points = _isolated(function, low, high) if low < high else []
            if len(points) <= _MOST_ZEROS:
                ends = zip((lower, upper), stretches, cuts, strict=True)
                first, last = (cut if is_infinite(end) and stretch is None else end for end, stretch, cut in ends)
                is_beyond = (first, last) != (lower, upper) and low > high
                return Zeros((), upper, lower) if is_beyond else Zeros(tuple(points), first, last)
    raise NotCertifiable(f"{function} has more than {_MOST_ZEROS} zeros")


def keeps_sign(function: sympy.Expr, lower: sympy.Expr, upper: sympy.Expr) -> bool:
    """Whether a function is proved to be continuous and without a zero between two points."""
    try:
        found = zeros_between(function, lower, upper)
    except NotCertifiable:
        return False
    return not found.points and (found.lower, found.upper) == (lower, upper)


def _start(function: sympy.Expr, end: sympy.Expr, stretch: "End | None", cut: sympy.Expr) -> arb:
    """Where the isolation begins: at the end of a stretch, or where the list is cut."""
    if stretch is not None:
        return stretch.reach
    if not is_infinite(end):
        raise NotCertifiable(f"the sign of {function} next to x = {end} is not proved")
    return rational_ball(cut).mid()


class End:
    """A stretch at one end of an interval on which the sign is proved: up to `reach`, with that sign."""

    def __init__(self, reach: arb, sign: int) -> None:
        self.reach, self.sign = reach, sign

    @classmethod
    def of(cls, function: sympy.Expr, end: sympy.Expr, other: sympy.Expr, direction: int) -> "End | None":
        """The stretch that begins at an end, in the direction of the other end; None if no sign is proved."""
        if is_infinite(end):
            return cls._far(function, other, -direction)
        point = constant_ball(end)
        room = arb(1) if is_infinite(other) else abs(constant_ball(other) - point) / 2
        widths = [width for width in _WIDTHS if width < room] or [(room / 2).mid()]
        return cls._regular(function, end, direction, widths) or cls._singular(function, end, direction, widths)

    @classmethod
    def _far(cls, function: sympy.Expr, other: sympy.Expr, side: int) -> "End | None":
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
    def _regular(cls, function: sympy.Expr, end: sympy.Expr, direction: int, widths: list[arb]) -> "End | None":
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
    def _singular(cls, function: sympy.Expr, end: sympy.Expr, direction: int, widths: list[arb]) -> "End | None":
        for width in widths:
            (local,) = near([function], end, direction, width)
            sign = _eventual_sign(Program([local.xreplace({T: 1 / T})], T), (1 / width).lower())
            if sign:
                return cls((constant_ball(end) + direction * width).mid(), sign)
        return None


def _eventual_sign(program: Program, start: arb) -> int:
    """The sign that the range of a function and its growth envelope prove from `start` on, else 0."""
    try:
        (tail,) = program.bind(tail_arithmetic(start))(tail_variable(start))
    except NotCertifiable:
        return 0
    if tail.low > 0 or tail.high < 0:
        return 1 if tail.low > 0 else -1
    if tail.growth.lower is None or tail.growth.is_zero():
        return 0
    return int(tail.growth.sign)


def _isolated(function: sympy.Expr, low: arb, high: arb) -> list[sympy.Expr]:
    """The zeros in [low, high]; the function is proved to be analytic there.

    Raises:
        NotCertifiable: some box can neither be excluded nor proved to hold one simple zero.
    """
    program = Program([function, sympy.diff(function, X)])
    point, interval = program.bind(REAL), program.bind(INTERVAL)

    def sign(x: arb) -> int:
        value = point(x)[0]
        return 0 if not value.is_finite() or value.contains(0) else 1 if value > 0 else -1

    brackets: list[tuple[arb, arb]] = []
    boxes, middle = [(low, high, sign(low), sign(high))], low
    for _ in range(_MOST_BOXES):
        if not boxes:
            return [_zero(function, program, *bracket) for bracket in sorted(brackets, key=lambda b: float(b[0]))]
        left, right, first, last = boxes.pop()
        box = hull(left, right)
        value, slope = interval(box)
        middle = box.mid()
        if value.is_finite() and value.contains(0) and slope.is_finite():
            value = point(middle)[0] + slope * (box - middle)
            if value.contains(0) and not slope.contains(0) and first and last:
                if first != last:
                    brackets.append((left, right))
                continue
        if value.is_finite() and not value.contains(0):
            continue
        cuts = ((left + (right - left) * cut).mid() for cut in _CUTS)
        cut, middle_sign = next(((cut, sign(cut)) for cut in cuts if sign(cut)), (middle, 0))
        if right - left < arb(2) ** (16 - ctx.prec // 2) * (1 + abs(middle)) or not middle_sign:
            break
        boxes += [(left, cut, first, middle_sign), (cut, right, middle_sign, last)]
    raise MultipleZero(f"the zeros of {function} are not seen to be simple", middle)


def _zero(function: sympy.Expr, program: Program, left: arb, right: arb) -> Enclosed:
    """The one zero between two points of different signs, between which the derivative is not 0."""
    best = {_BITS: _newton(program, hull(left, right))}

    def enclosure(bits: int) -> arb:
        most = max(best)
        if most < bits:
            with precision(bits + 32):
                best[bits] = _newton(program, best[most])
        return best[max(best)]

    cell = int((best[_BITS].mid() * arb(2) ** _CELL_BITS + arb(0.5)).floor().mid().fmpz())
    if program.bind(INTERVAL)(_cell(cell))[1].contains(0):
        raise NotCertifiable(f"two zeros of {function} may be nearer to each other than 2^-{_CELL_BITS}")
    return Enclosed((function, cell), enclosure)


def _cell(number: int) -> arb:
    """A box of width 2^(1 - _CELL_BITS), which with a function names its only zero there, whatever way led to it."""
    return arb(number, 1) * arb(2) ** -_CELL_BITS


def is_zero_at(zero: Enclosed, name: sympy.Expr) -> bool:
    """Whether an isolated zero is proved to be some constant, by algebra.

    >>> (zero,) = zeros_between(sympy.sin(X) + X, -sympy.oo, sympy.oo).points
    >>> is_zero_at(zero, sympy.Integer(0)), is_zero_at(zero, sympy.Integer(1))
    (True, False)
    """
    function, cell = zero.identity
    try:
        with precision(_BITS):
            is_near = _cell(cell).contains(constant_ball(name))
    except NotCertifiable:
        return False
    return is_near and is_zero(function.xreplace({X: name}))


def canonical(function: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    """A rational factor and the rest, so that g, -g and 2 g have one rest, and equal zeros.

    >>> canonical(2 - 2 * sympy.exp(X))
    (-2, exp(x) - 1)
    """
    factor, rest = function.primitive()
    return (-factor, -rest) if rest.could_extract_minus_sign() else (factor, rest)


def near(
    expressions: Sequence[sympy.Expr], point: sympy.Expr, direction: int, width: arb | None = None
) -> list[sympy.Expr]:
    r"""Expressions in X at X = point + direction*T, in which a zero at the point is a factor T.

    At an isolated zero :math:`x_0` of g the quotient :math:`g(x_0 + t)/t` takes the place of the cancellation in g, as
    in tanh(1/g). For growth envelopes and ranges on 0 < T <= width it is enclosed by :math:`g'([x_0, x_0 + w])`.

    Args:
        expressions: in `X`.
        point: a constant.
        direction: 1 or -1.
        width: None for an arithmetic that evaluates `deflated`.
    """
    if not isinstance(point, Enclosed):
        return localized(expressions, point, direction)
    function, cell = point.identity
    quotient: sympy.Expr = deflated(*localized([function], point, direction), sympy.Integer(1))
    if width is not None:
        reached = hull(constant_ball(point), constant_ball(point) + direction * width)
        slope = Program([sympy.diff(function, X)]).bind(INTERVAL)(reached)[0] * direction
        quotient = Enclosed((function, cell, direction, str(width)), lambda _bits: slope)

    def is_multiple(node: sympy.Expr) -> bool:
        return bool(node.has(X) and isinstance(node, type(function)) and canonical(node)[1] == function)

    factored = [e.replace(is_multiple, lambda node: canonical(node)[0] * T * quotient) for e in expressions]
    return localized(factored, point, direction)


def _newton(program: Program, box: arb) -> arb:
    r"""Contract a box B around a simple zero: :math:`m - g(m)/g'(B)` contains it, too."""
    point, interval = program.bind(REAL), program.bind(INTERVAL)
    for _ in range(200):
        middle = box.mid()
        slope = interval(box)[1]
        smaller = box.intersection(middle - point(middle)[0] / slope)
        if not smaller.rad() < box.rad() / 2:
            return smaller
        box = smaller
    return box
