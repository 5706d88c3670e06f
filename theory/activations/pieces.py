"""Split a function of one variable into pieces on which it is smooth.

`Piecewise`, `Abs`, `Max`, `Min`, `sign` and `Heaviside` switch where a *switching function* changes its sign (the
argument of `Abs`, the difference of the two sides of a comparison, ...), at a zero or at a pole. Between consecutive
such points each of them equals one smooth branch, which the sign at one sample point tells. That the points are all
there is exact for polynomials; for other functions it is a `Claim`, which certification proves or gives up.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations, pairwise

import mpmath
import sympy
from sympy.core.relational import Relational

from theory.activations.critical_points import (
    between,
    is_real,
    is_zero,
    sign_changes,
    sign_of,
    singular_points,
)
from theory.balls.continuity import is_continuous_at
from theory.errors import SpecificationError
from theory.numerics.arithmetic import X, constant_value, is_infinite

_PROBES = 12  # further points at which the sign of a switching function is compared
_SWITCHES = (sympy.Abs, sympy.Max, sympy.Min, sympy.Piecewise, sympy.sign, sympy.Heaviside)


@dataclass(frozen=True)
class Piece:
    """One smooth branch of an activation on the open interval (lower, upper).

    Args:
        lower, upper: exact SymPy numbers or -oo, oo.
        value: the function there, an expression in `X`.
        is_joined: whether the whole expression is proved to be continuous at the lower end.
    """

    lower: sympy.Expr
    upper: sympy.Expr
    value: sympy.Expr
    is_joined: bool = False

    @cached_property
    def slope(self) -> sympy.Expr:
        """The first derivative."""
        return sympy.diff(self.value, X)

    @cached_property
    def curvature(self) -> sympy.Expr:
        """The second derivative."""
        return sympy.diff(self.slope, X)

    @cached_property
    def sample(self) -> sympy.Expr:
        """A point well inside the piece."""
        return _sample(self.lower, self.upper)

    @cached_property
    def is_defined(self) -> bool:
        """Whether the function takes a real, finite value at the sample point."""
        return is_real(self.value.xreplace({X: self.sample}))


def split(expression: sympy.Expr) -> tuple[Piece, ...]:
    """Split the real line into the largest intervals on which one smooth formula holds.

    Isolated singular points (a zero of a denominator, of a logarithm's argument, of the base of a fractional power)
    also separate pieces where they can be found.

    Args:
        expression: a SymPy expression in `X`.

    Raises:
        SpecificationError: a switching function whose changes of sign cannot be listed exactly, as in |sin(x)|.

    >>> [(str(p.lower), str(p.upper), str(p.value)) for p in split(sympy.Abs(X - 1))]
    [('-oo', '1', '1 - x'), ('1', 'oo', 'x - 1')]
    """
    record = _Record()
    cells: list[Piece] = []
    for resolved in _resolve(expression, -sympy.oo, sympy.oo, record):
        cell = replace(resolved, value=without_common_factors(resolved.value))
        if cells and cells[-1].value == cell.value:
            cells[-1] = replace(cells[-1], upper=cell.upper)
        else:
            cells.append(cell)
    return tuple(
        Piece(left, right, cell.value, not is_infinite(left) and is_continuous_at(expression, left))
        for cell in cells
        for left, right in pairwise(
            [cell.lower, *between(singular_points(cell.value), cell.lower, cell.upper), cell.upper]
        )
    )


def without_common_factors(formula: sympy.Expr) -> sympy.Expr:
    """Cancel the polynomial factors that numerator and denominator of a product share.

    The two functions differ at most at the zeros of those factors, where only the new one is defined. Those points
    would otherwise count as singular, and integrals and suprema would have to approach them.

    >>> without_common_factors((X**2 - 1) / (X - 1) * sympy.exp(X))
    (x + 1)*exp(x)
    """
    if not any(_is_polynomial_quotient(power) for power in formula.atoms(sympy.Pow)):
        return formula
    return formula.replace(lambda node: node.is_Mul, _cancelled)


def _is_polynomial_quotient(factor: sympy.Expr) -> bool:
    """Whether a factor is 1 over a polynomial that is not constant."""
    return bool(
        factor.is_Pow
        and factor.exp.is_Integer
        and factor.exp.is_negative
        and factor.base.has(X)
        and factor.base.is_polynomial(X)
    )


def _cancelled(product: sympy.Mul) -> sympy.Expr:
    denominators = [factor for factor in product.args if _is_polynomial_quotient(factor)]
    numerators = [factor for factor in product.args if factor.has(X) and factor.is_polynomial(X)]
    if not denominators or not numerators:
        return product
    numerator, denominator = sympy.Mul(*numerators), 1 / sympy.Mul(*denominators)
    if sympy.gcd(numerator, denominator).has(X):
        others = [factor for factor in product.args if factor not in denominators and factor not in numerators]
        return sympy.Mul(sympy.cancel(numerator / denominator), *others)
    return product


@dataclass(slots=True)
class _Record:
    """What is met while switches are resolved."""

    claims: list["Claim"] = field(default_factory=list)


@dataclass(frozen=True)
class Claim:
    """That a function is continuous and has no zero strictly between two points."""

    function: sympy.Expr
    lower: sympy.Expr
    upper: sympy.Expr

    def __str__(self) -> str:
        return f"{self.function} keeps its sign on ({self.lower}, {self.upper})"


def claims(expression: sympy.Expr) -> tuple[Claim, ...]:
    """What the pieces of an expression rest on and exact root isolation does not prove.

    >>> claims(sympy.Abs(X**3 - X - 1))
    ()
    >>> [str(claim) for claim in claims(sympy.Abs(sympy.exp(X) - 2))]
    ['exp(x) - 2 keeps its sign on (-oo, log(2))', 'exp(x) - 2 keeps its sign on (log(2), oo)']
    """
    record = _Record()
    for _ in _resolve(expression, -sympy.oo, sympy.oo, record):
        pass
    return tuple(dict.fromkeys(record.claims))


def _resolve(expression: sympy.Expr, lower: sympy.Expr, upper: sympy.Expr, record: _Record) -> Iterator[Piece]:
    """Replace the innermost switch by its branch on each cell between its changes of sign, until none is left."""
    switch = _innermost_switch(expression)
    if switch is None:
        yield Piece(lower, upper, expression)
        return
    switching = list(dict.fromkeys(_switching_functions(switch)))
    points = {point for function in switching for point in sign_changes(function)}
    for left, right in pairwise([lower, *between(points, lower, upper), upper]):
        sample = _sample(left, right)
        if not all(is_real(function.xreplace({X: sample})) for function in switching):
            yield Piece(left, right, sympy.nan)
            continue
        signs = {function: _constant_sign(function, left, right) for function in switching}
        record.claims += [Claim(f, left, right) for f, sign in signs.items() if sign and not _is_exact(f)]
        yield from _resolve(expression.xreplace({switch: _branch(switch, signs)}), left, right, record)


def _is_exact(function: sympy.Expr) -> bool:
    """Whether the zeros of a function are found by exact root isolation."""
    if not function.is_polynomial(X):
        return False
    polynomial = sympy.Poly(function, X)
    return bool(polynomial.degree() <= 1 or all(c.is_Rational for c in polynomial.all_coeffs()))


def _innermost_switch(expression: sympy.Expr) -> sympy.Expr | None:
    for node in sympy.postorder_traversal(expression):
        if isinstance(node, _SWITCHES) and not any(
            argument.has(*_SWITCHES) for argument in node.args if isinstance(argument, sympy.Basic)
        ):
            return node
    return None


def _switching_functions(switch: sympy.Expr) -> Iterable[sympy.Expr]:
    """The functions at whose changes of sign a switch changes its branch."""
    if isinstance(switch, sympy.Piecewise):
        return [r.lhs - r.rhs for _, c in switch.args for r in _comparisons(c)]
    if isinstance(switch, sympy.Max | sympy.Min):
        return [a - b for a, b in combinations(switch.args, 2)]
    return [switch.args[0]]


def _comparisons(condition: sympy.Basic) -> list[Relational]:
    return sorted(condition.atoms(Relational), key=sympy.default_sort_key)


def _constant_sign(function: sympy.Expr, lower: sympy.Expr, upper: sympy.Expr) -> int:
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
    if not _is_exact(function) and any(
        sign_of(function.xreplace({X: probe})) == -sign != 0 for probe in _probes(lower, upper)
    ):
        raise SpecificationError(
            f"not all points where {function} changes its sign are found; "
            "write the activation as a Piecewise with explicit breakpoints"
        )
    return sign


def _branch(switch: sympy.Expr, signs: dict[sympy.Expr, int]) -> sympy.Expr:
    """The smooth formula that a switch equals where its switching functions have these signs."""
    if isinstance(switch, sympy.Piecewise):
        return next((value for value, condition in switch.args if _truth(condition, signs)), sympy.nan)
    if isinstance(switch, sympy.Max | sympy.Min):
        return _extreme(switch, signs)
    argument = switch.args[0]
    sign = signs[argument]
    if isinstance(switch, sympy.Abs):
        return sign * argument
    if isinstance(switch, sympy.sign) or sign == 0:
        return sympy.Integer(sign) if isinstance(switch, sympy.sign) else switch.func(0, *switch.args[1:])
    return sympy.Integer(1 if sign > 0 else 0)


def _extreme(switch: sympy.Expr, signs: dict[sympy.Expr, int]) -> sympy.Expr:
    """The side of a `Max` or `Min` that wins."""
    orientation = 1 if isinstance(switch, sympy.Max) else -1
    best, *others = switch.args
    for other in others:
        ahead = signs[other - best] if other - best in signs else -signs[best - other]
        if ahead * orientation > 0:
            best = other
    return best


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
    raise SpecificationError(f"the breakpoints {lower} and {upper} cannot be told apart")


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
