"""Split a function of one variable into pieces on which it is smooth.

`Piecewise`, `Abs`, `Max`, `Min`, `sign` and `Heaviside` switch where a *switching function* changes its sign (the
argument of `Abs`, the difference of the two sides of a comparison, ...), at a zero or at a pole. Between consecutive
such points each of them equals one smooth branch, which the sign at one sample point tells. That the points are all
there is exact for polynomials; for other functions it is a `Claim`, which certification proves or gives up.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Literal

import mpmath
import sympy
from sympy.core.relational import Relational

from theory.activations.critical_points import Points, singular_points, without_common_factors
from theory.balls.continuity import has_no_real_value, is_continuous_at
from theory.balls.signs import compare, is_real, is_zero, sign_of
from theory.errors import SpecificationError
from theory.numerics.arithmetic import X, constant_value, derivative, is_infinite
from theory.numerics.special import frac

Kind = Literal["smooth", "unlisted", "unresolved", "remote"]
_PROBES = 12  # further points at which the sign of a switching function is compared
_BRANCHING = (sympy.Abs, sympy.Max, sympy.Min, sympy.Piecewise, sympy.sign, sympy.Heaviside)
_SWITCHES = (*_BRANCHING, frac)


@dataclass(frozen=True)
class Piece:
    """One smooth branch of an activation on the open interval (lower, upper).

    Args:
        lower, upper: exact SymPy numbers or -oo, oo.
        value: the function there, an expression in `X`.
        is_joined: whether the whole expression is proved to be continuous at the lower end.
        kind: "smooth"; "unlisted" if the formula may have singular points inside; "unresolved" if it still has
            switches, whose changes are not known; "remote" if it has switches or singular points without end, so far
            out that the normal density leaves next to nothing.
    """

    lower: sympy.Expr
    upper: sympy.Expr
    value: sympy.Expr
    is_joined: bool = False
    kind: Kind = "smooth"

    @cached_property
    def slope(self) -> sympy.Expr:
        """The first derivative, without the point masses of switches that are left."""
        return derivative(self.value)

    @cached_property
    def curvature(self) -> sympy.Expr:
        """The second derivative, the same."""
        return derivative(self.slope)

    @cached_property
    def alternatives(self) -> tuple[sympy.Expr, ...]:
        """Formulas without switches, one of which the function equals at each point."""
        return tuple(_alternatives(self.value))

    @property
    def side(self) -> int:
        """On which side of 0 a remote piece lies, 1 or -1."""
        return 1 if is_infinite(self.upper) else -1

    @cached_property
    def sample(self) -> sympy.Expr:
        """A point well inside the piece."""
        return _sample(self.lower, self.upper)

    @cached_property
    def is_defined(self) -> bool:
        """Whether the function is not proved to have no real value around the sample point."""
        return self.value is not sympy.nan and (
            is_real(self.value.xreplace({X: self.sample})) or not has_no_real_value(self.value, self.sample)
        )


@lru_cache(maxsize=64)
def split(expression: sympy.Expr) -> tuple[Piece, ...]:
    """Split the real line into the largest intervals on which one smooth formula holds.

    Isolated singular points (a zero of a denominator, of a logarithm's argument, of the base of a fractional power)
    also separate pieces where they can be found.

    Args:
        expression: a SymPy expression in `X`.

    >>> [(str(p.lower), str(p.upper), str(p.value)) for p in split(sympy.Abs(X - 1))]
    [('-oo', '1', '1 - x'), ('1', 'oo', 'x - 1')]
    """
    cells: list[Piece] = []
    for resolved in _resolved(expression)[0]:
        cell = replace(resolved, value=without_common_factors(resolved.value))
        if cells and (cells[-1].value, cells[-1].kind) == (cell.value, cell.kind):
            cells[-1] = replace(cells[-1], upper=cell.upper)
        else:
            cells.append(cell)
    parts = (part for cell in cells for part in _without_singular_points(cell))
    return tuple(
        replace(part, is_joined=not is_infinite(part.lower) and is_continuous_at(expression, part.lower))
        for part in parts
    )


def _without_singular_points(cell: Piece) -> Iterator[Piece]:
    """Cut a cell at the singular points of its formula."""
    if cell.kind != "smooth" or cell.value is sympy.nan:
        yield cell
        return
    try:
        points, is_complete = singular_points(cell.value, cell.lower, cell.upper)
        ends = [] if points.is_empty else [points.lower, *points, points.upper]
    except SpecificationError:  # two of them may be the same
        yield replace(cell, kind="unlisted")
        return
    if not ends:
        yield replace(cell, kind="remote")
        return
    if points.lower != cell.lower:
        yield replace(cell, upper=points.lower, kind="remote")
    for left, right in pairwise(ends):
        part = replace(cell, lower=left, upper=right)
        is_smooth = is_complete and (is_real(cell.value.xreplace({X: part.sample})) or not part.is_defined)
        yield replace(part, kind="smooth" if is_smooth else "unlisted")
    if points.upper != cell.upper:
        yield replace(cell, lower=points.upper, kind="remote")


@dataclass(frozen=True)
class Claim:
    """That a function is continuous and has no zero strictly between two points."""

    function: sympy.Expr
    lower: sympy.Expr
    upper: sympy.Expr

    def reaches(self, point: sympy.Expr) -> bool:
        """Whether a point lies in the closed interval that the claim is about."""
        return compare(self.lower, point) <= 0 <= compare(self.upper, point)

    def __str__(self) -> str:
        return f"{self.function} keeps its sign on ({self.lower}, {self.upper})"


def claims(expression: sympy.Expr) -> tuple[Claim, ...]:
    """What the pieces of an expression rest on where SymPy solved for multiple zeros, which are not isolated.

    >>> claims(sympy.Abs(X**3 - X - 1))
    ()
    >>> [str(claim) for claim in claims(sympy.Abs(sympy.exp(2 * X) - 4 * sympy.exp(X) + 4))][:1]
    ['exp(2*x) - 4*exp(x) + 4 keeps its sign on (-oo, log(2))']
    """
    return tuple(dict.fromkeys(_resolved(expression)[1]))


@lru_cache(maxsize=64)
def _resolved(expression: sympy.Expr) -> tuple[tuple[Piece, ...], tuple[Claim, ...]]:
    record: list[Claim] = []
    return tuple(_resolve(expression, -sympy.oo, sympy.oo, record)), tuple(record)


def _resolve(expression: sympy.Expr, lower: sympy.Expr, upper: sympy.Expr, record: list[Claim]) -> Iterator[Piece]:
    """Replace the innermost switch by its branch on each cell between its changes of sign, until none is left."""
    switch = _innermost_switch(expression)
    if switch is None:
        yield Piece(lower, upper, expression)
        return
    switching, points = list(dict.fromkeys(_switching_functions(_first_step(switch)))), Points(lower, upper)
    try:
        for function in switching:
            points.add_sign_changes(function)
        ends = [] if points.is_empty else [points.lower, *points, points.upper]
    except SpecificationError:
        yield Piece(lower, upper, expression, kind="unresolved")
        return
    if not ends:
        yield Piece(lower, upper, expression, kind="remote")
        return
    if points.lower != lower:
        yield Piece(lower, points.lower, expression, kind="remote")
    for left, right in pairwise(ends):
        yield from _resolve_cell(expression, switch, switching, left, right, record, not points.is_proved)
    if points.upper != upper:
        yield Piece(points.upper, upper, expression, kind="remote")


def _resolve_cell(
    expression: sympy.Expr,
    switch: sympy.Expr,
    switching: list[sympy.Expr],
    left: sympy.Expr,
    right: sympy.Expr,
    record: list[Claim],
    is_conjecture: bool,
) -> Iterator[Piece]:
    """Continue with the branch of a switch on a cell on which its switching functions keep their signs."""
    sample = _sample(left, right)
    unreal = [function for function in switching if not is_real(function.xreplace({X: sample}))]
    if unreal:
        is_proved = any(has_no_real_value(function, sample) for function in unreal)
        yield Piece(left, right, sympy.nan) if is_proved else Piece(left, right, expression, kind="unresolved")
        return
    try:
        signs = {function: _constant_sign(function, left, right, is_conjecture) for function in switching}
    except SpecificationError:
        yield Piece(left, right, expression, kind="unresolved")
        return
    if is_conjecture:
        record += [Claim(f, left, right) for f, sign in signs.items() if sign and not _is_exact(f)]
    step = _first_step(switch)
    branch = _branch(step, signs, sample)
    if step is not switch:
        others = [argument for argument in switch.args if argument not in step.args]
        branch = switch.func(branch, *others, evaluate=False)
    yield from _resolve(expression.xreplace({switch: branch}), left, right, record)


def _first_step(switch: sympy.Expr) -> sympy.Expr:
    """The `Max` or `Min` of two of the arguments, where there are more: n of them have n (n-1)/2 differences."""
    if not isinstance(switch, sympy.Max | sympy.Min) or len(switch.args) <= 2:
        return switch
    return switch.func(*switch.args[:2], evaluate=False)


def _alternatives(expression: sympy.Expr) -> Iterator[sympy.Expr]:
    """The formulas that the branches of all switches make; fractional parts, which have no end of branches, stay."""
    switch = _innermost_switch(expression, _BRANCHING)
    if switch is None:
        yield expression
        return
    if isinstance(switch, sympy.Piecewise):
        branches = [value for value, _ in switch.args]
    elif isinstance(switch, sympy.Abs):
        branches = [switch.args[0], -switch.args[0]]
    else:
        branches = list(switch.args) if isinstance(switch, sympy.Max | sympy.Min) else [-1, 0, 1]
    for branch in dict.fromkeys(branches):
        yield from _alternatives(expression.xreplace({switch: branch}))


def _is_exact(function: sympy.Expr) -> bool:
    """Whether the zeros of a function are found by exact root isolation."""
    if not function.is_polynomial(X):
        return False
    polynomial = sympy.Poly(function, X)
    return bool(polynomial.degree() <= 1 or all(c.is_Rational for c in polynomial.all_coeffs()))


def _innermost_switch(expression: sympy.Expr, kinds: tuple[type[sympy.Basic], ...] = _SWITCHES) -> sympy.Expr | None:
    for node in sympy.postorder_traversal(expression):
        if isinstance(node, kinds) and not any(
            argument.has(*kinds) for argument in node.args if isinstance(argument, sympy.Basic)
        ):
            return node
    return None


def _switching_functions(switch: sympy.Expr) -> Iterable[sympy.Expr]:
    """The functions at whose changes of sign a switch changes its branch."""
    if isinstance(switch, sympy.Piecewise):
        return [r.lhs - r.rhs for _, c in switch.args for r in _comparisons(c)]
    if isinstance(switch, sympy.Max | sympy.Min):
        return [switch.args[0] - switch.args[1]]
    if isinstance(switch, frac):
        return [sympy.sin(sympy.pi * switch.args[0])]
    return [switch.args[0]]


def _comparisons(condition: sympy.Basic) -> list[Relational]:
    return sorted(condition.atoms(Relational), key=sympy.default_sort_key)


def _constant_sign(function: sympy.Expr, lower: sympy.Expr, upper: sympy.Expr, is_conjecture: bool) -> int:
    """The sign of a function on a cell between its changes of sign; 0 if it is identically zero.

    Raises:
        SpecificationError: a sign that cannot be told, or that changes all the same.
    """
    sample = _sample(lower, upper)
    sign = sign_of(function.xreplace({X: sample}))
    if sign is None:
        raise SpecificationError(f"the sign of {function}, which has to be known, cannot be told at x = {sample}")
    if sign == 0 and not is_zero(function):
        raise SpecificationError(f"{function} vanishes at x = {sample}, where its sign has to be known")
    if (
        is_conjecture
        and not _is_exact(function)
        and any(sign_of(function.xreplace({X: probe})) == -sign != 0 for probe in _probes(lower, upper))
    ):
        raise SpecificationError(
            f"not all points where {function} changes its sign are found; "
            "write the activation as a Piecewise with explicit breakpoints"
        )
    return sign


def _branch(switch: sympy.Expr, signs: dict[sympy.Expr, int], sample: sympy.Expr) -> sympy.Expr:
    """The smooth formula that a switch equals where its switching functions have these signs, as at the sample."""
    if isinstance(switch, sympy.Piecewise):
        return next((value for value, condition in switch.args if _truth(condition, signs)), sympy.nan)
    if isinstance(switch, sympy.Max | sympy.Min):
        return _extreme(switch, signs)
    argument = switch.args[0]
    if isinstance(switch, frac):
        return argument - sympy.floor(argument.xreplace({X: sample}))
    sign = signs[argument]
    if isinstance(switch, sympy.Abs):
        return sign * argument
    if isinstance(switch, sympy.sign) or sign == 0:
        return sympy.Integer(sign) if isinstance(switch, sympy.sign) else switch.func(0, *switch.args[1:])
    return sympy.Integer(1 if sign > 0 else 0)


def _extreme(switch: sympy.Expr, signs: dict[sympy.Expr, int]) -> sympy.Expr:
    """The side of a `Max` or `Min` of two that wins."""
    orientation = 1 if isinstance(switch, sympy.Max) else -1
    first, second = switch.args
    chosen: sympy.Expr = first if signs[first - second] * orientation >= 0 else second
    return chosen


def _truth(condition: sympy.Basic, signs: dict[sympy.Expr, int]) -> bool:
    """Truth of a Boolean combination of comparisons, from the signs of the differences of their two sides."""
    if isinstance(condition, Relational):
        sign = signs[condition.lhs - condition.rhs]
        if isinstance(condition, sympy.Eq | sympy.Ne):
            return (sign == 0) == isinstance(condition, sympy.Eq)
        if sign == 0:
            return isinstance(condition, sympy.Le | sympy.Ge)
        return (sign < 0) == isinstance(condition, sympy.Lt | sympy.Le)
    if isinstance(condition, sympy.And):
        return all(_truth(part, signs) for part in condition.args)
    if isinstance(condition, sympy.Or):
        return any(_truth(part, signs) for part in condition.args)
    if isinstance(condition, sympy.Not):
        return not _truth(condition.args[0], signs)
    if isinstance(condition, sympy.ITE):
        test, then, otherwise = condition.args
        return _truth(then if _truth(test, signs) else otherwise, signs)
    if condition in (sympy.true, sympy.false):
        return bool(condition)
    raise SpecificationError(f"the condition {condition} is not a combination of comparisons")


def _sample(lower: sympy.Expr, upper: sympy.Expr) -> sympy.Rational:
    """A rational point strictly between two bounds, away from special values such as integers."""
    if lower == -sympy.oo and upper == sympy.oo:
        return sympy.Rational(37, 100)
    if lower == -sympy.oo:
        return _beyond(upper, -1, sympy.Rational(137, 100))
    if upper == sympy.oo:
        return _beyond(lower, 1, sympy.Rational(137, 100))
    return _inside(lower, upper, sympy.Rational(4637, 10000))


def _beyond(end: sympy.Expr, side: int, distance: sympy.Rational) -> sympy.Rational:
    """A rational point at about a distance from an end, or farther if the end is huge."""
    point = _rational(end, 35)
    return point + side * (distance + abs(point) / 10**30)


def _inside(lower: sympy.Expr, upper: sympy.Expr, share: sympy.Rational) -> sympy.Rational:
    """A rational point of a bounded interval near lower + share (upper - lower)."""
    point = lower + (upper - lower) * share
    for digits in (35, 100, 400, 1500):
        sample = _rational(point, digits)
        if sign_of(sample - lower) == 1 and sign_of(upper - sample) == 1:
            return sample
    raise SpecificationError(f"the breakpoints {lower} and {upper} cannot be separated")


def _probes(lower: sympy.Expr, upper: sympy.Expr) -> Iterator[sympy.Rational]:
    """Some more points of a cell, towards both of its ends."""
    scales = [sympy.Rational(3, 2) ** k / 10 for k in range(_PROBES)]
    if is_infinite(lower) and is_infinite(upper):
        yield from (side * scale for scale in scales for side in (-1, 1))
    elif is_infinite(lower) or is_infinite(upper):
        end, side = (upper, -1) if is_infinite(lower) else (lower, 1)
        yield from (_beyond(end, side, scale) for scale in scales)
    else:
        yield from (_inside(lower, upper, sympy.Rational(2 * k + 1, 2 * _PROBES)) for k in range(_PROBES))


def _rational(expression: sympy.Expr, digits: int) -> sympy.Rational:
    """A rational number close to a constant."""
    return sympy.Rational(mpmath.nstr(constant_value(expression, digits), digits))
