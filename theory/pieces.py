"""Split a function of one variable into pieces on which it is smooth.

`Piecewise`, `Abs`, `Max`, `Min`, `sign` and `Heaviside` switch at the roots of a *switching function* (the argument of
`Abs`, the difference of the two sides of a comparison, ...). Between consecutive roots each of them equals one smooth
branch, which is found by evaluating the switch at one sample point.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import mpmath
import sympy
from sympy.core.relational import Relational
from sympy.functions.elementary.trigonometric import TrigonometricFunction

from theory import functions
from theory.arithmetic import X, constant_value
from theory.errors import SpecificationError

_SWITCHES = (sympy.Piecewise, sympy.Abs, sympy.Max, sympy.Min, sympy.sign, sympy.Heaviside)


@dataclass(frozen=True)
class Piece:
    """One smooth branch of an activation on the open interval (lower, upper).

    Args:
        lower, upper: exact SymPy numbers or -oo, oo.
        value: the function there, an expression in `X`.
    """

    lower: sympy.Expr
    upper: sympy.Expr
    value: sympy.Expr

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
        try:
            value = constant_value(self.value.xreplace({X: self.sample}), 15)
        except (ZeroDivisionError, ValueError, OverflowError):
            return False
        return isinstance(value, mpmath.mpf) and bool(mpmath.isfinite(value))


def split(expression: sympy.Expr) -> tuple[Piece, ...]:
    """Split the real line into the largest intervals on which one smooth formula holds.

    Isolated singular points (a zero of a denominator, of a logarithm's argument, of the base of a fractional power)
    also separate pieces where they can be found.

    Args:
        expression: a SymPy expression in `X`.

    Raises:
        SpecificationError: a switching function whose roots cannot be found exactly, as in |sin(x)|.

    >>> [(str(p.lower), str(p.upper), str(p.value)) for p in split(sympy.Abs(X - 1))]
    [('-oo', '1', '1 - x'), ('1', 'oo', 'x - 1')]
    """
    pieces: list[Piece] = []
    for lower, upper, formula in _resolve(expression, -sympy.oo, sympy.oo):
        points = [lower, *_between(_singular_points(formula), lower, upper), upper]
        for left, right in pairwise(points):
            previous = pieces[-1] if pieces else None
            if previous is not None and previous.value == formula and left == lower:
                pieces[-1] = Piece(previous.lower, right, formula)
            else:
                pieces.append(Piece(left, right, formula))
    return tuple(pieces)


def _resolve(
    expression: sympy.Expr, lower: sympy.Expr, upper: sympy.Expr
) -> Iterator[tuple[sympy.Expr, sympy.Expr, sympy.Expr]]:
    """Replace the innermost switch by its branch on each cell between its roots, until none is left."""
    switch = _innermost_switch(expression)
    if switch is None:
        yield lower, upper, expression
        return
    roots = {root for function in _switching_functions(switch) for root in _real_roots(function, switch)}
    points = [lower, *_between(roots, lower, upper), upper]
    for left, right in pairwise(points):
        branch = _branch(switch, _sample(left, right))
        yield from _resolve(expression.xreplace({switch: branch}), left, right)


def _innermost_switch(expression: sympy.Expr) -> sympy.Expr | None:
    for node in sympy.postorder_traversal(expression):
        if isinstance(node, _SWITCHES) and not any(
            argument.has(*_SWITCHES) for argument in node.args if isinstance(argument, sympy.Basic)
        ):
            return node
    return None


def _switching_functions(switch: sympy.Expr) -> list[sympy.Expr]:
    """The functions at whose roots a switch changes its branch."""
    if isinstance(switch, sympy.Piecewise):
        conditions = [condition for _, condition in switch.args]
        return [r.lhs - r.rhs for c in conditions for r in c.atoms(Relational)]
    if isinstance(switch, sympy.Max | sympy.Min):
        sides = list(switch.args)
        return [a - b for i, a in enumerate(sides) for b in sides[i + 1 :]]
    return [switch.args[0]]


def _branch(switch: sympy.Expr, sample: sympy.Expr) -> sympy.Expr:
    """The smooth formula that a switch equals around a sample point."""
    if isinstance(switch, sympy.Piecewise):
        for value, condition in switch.args:
            if _truth(condition, sample):
                return value
        return sympy.nan
    if isinstance(switch, sympy.Max | sympy.Min):
        sign = 1 if isinstance(switch, sympy.Max) else -1
        return max(switch.args, key=lambda side: sign * _number(side, sample))
    argument = switch.args[0]
    positive = _number(argument, sample) > 0
    if isinstance(switch, sympy.Abs):
        return argument if positive else -argument
    if isinstance(switch, sympy.sign):
        return sympy.Integer(1 if positive else -1)
    return sympy.Integer(1 if positive else 0)


def _truth(condition: sympy.Basic, sample: sympy.Expr) -> bool:
    """Truth of a Boolean combination of comparisons at a point where no comparison is an equality."""
    if isinstance(condition, Relational):
        if isinstance(condition, sympy.Eq | sympy.Ne):
            return isinstance(condition, sympy.Ne)
        difference = _number(condition.lhs - condition.rhs, sample)
        wants_less = isinstance(condition, sympy.StrictLessThan | sympy.LessThan)
        return bool(difference < 0) == wants_less
    if isinstance(condition, sympy.And):
        return all(_truth(part, sample) for part in condition.args)
    if isinstance(condition, sympy.Or):
        return any(_truth(part, sample) for part in condition.args)
    if isinstance(condition, sympy.Not):
        return not _truth(condition.args[0], sample)
    if isinstance(condition, sympy.ITE):
        test, then, otherwise = condition.args
        return _truth(then if _truth(test, sample) else otherwise, sample)
    if condition in (sympy.true, sympy.false):
        return bool(condition)
    raise SpecificationError(f"the condition {condition} is not a combination of comparisons")


def _number(expression: sympy.Expr, sample: sympy.Expr) -> mpmath.mpf:
    value = constant_value(expression.xreplace({X: sample}), 30)
    if not isinstance(value, mpmath.mpf) or mpmath.isnan(value):
        raise SpecificationError(f"{expression} has no real value at x = {sample}, so its branches cannot be told")
    return value


def _singular_points(formula: sympy.Expr) -> set[sympy.Expr]:
    """Zeros of denominators, of logarithms' arguments and of the bases of fractional powers, where known."""
    suspects = [node.args[0] for node in formula.atoms(sympy.log)]
    suspects += [1 + node.args[0] for node in formula.atoms(functions.log1p)]
    suspects += [
        node.base
        for node in formula.atoms(sympy.Pow)
        if node.base.has(X) and not (node.exp.is_Integer and node.exp.is_nonnegative)
    ]
    points: set[sympy.Expr] = set()
    for suspect in suspects:
        if suspect.is_positive is not True:
            try:
                points.update(_real_roots(suspect, suspect))
            except SpecificationError:
                continue  # e.g. 1/cos(x): quadrature will report that it does not settle
    return points


def _real_roots(function: sympy.Expr, context: sympy.Expr) -> list[sympy.Expr]:
    """All real roots, exactly; refuse when they cannot be listed."""
    if not function.has(X):
        return []
    if function.is_polynomial(X):
        polynomial = sympy.Poly(function, X)
        if polynomial.degree() == 1:
            slope, intercept = polynomial.all_coeffs()
            return [-intercept / slope]
        if all(coefficient.is_Rational for coefficient in polynomial.all_coeffs()):
            return [root for root, _ in sympy.real_roots(polynomial, multiple=False)]
    elementary = sympy.expand_func(function)
    try:  # periodic functions have no finite list of roots, and SymPy may search for it without end
        periodic = elementary.has(TrigonometricFunction)
        roots = None if periodic else sympy.solveset(elementary, X, sympy.Reals)
    except (NotImplementedError, ValueError, TypeError):
        roots = None
    if roots is sympy.S.EmptySet:
        return []
    if isinstance(roots, sympy.FiniteSet):
        return [root for root in roots if root.is_real is not False]
    raise SpecificationError(
        f"the real roots of {function}, where {context} switches, cannot be listed exactly; "
        "write the activation as a Piecewise with explicit breakpoints"
    )


def _between(points: set[sympy.Expr] | list[sympy.Expr], lower: sympy.Expr, upper: sympy.Expr) -> list[sympy.Expr]:
    """The distinct points strictly inside (lower, upper), in order."""
    inside: dict[mpmath.mpf, sympy.Expr] = {}
    for point in points:
        value = constant_value(point, 30)
        if (lower == -sympy.oo or value > constant_value(lower, 30)) and (
            upper == sympy.oo or value < constant_value(upper, 30)
        ):
            inside.setdefault(mpmath.nstr(value, 30), point)
    return sorted(inside.values(), key=lambda point: constant_value(point, 30))


def _sample(lower: sympy.Expr, upper: sympy.Expr) -> sympy.Rational:
    """A rational point strictly between two bounds, away from special values such as integers."""
    if lower == -sympy.oo and upper == sympy.oo:
        return sympy.Rational(37, 100)
    if lower == -sympy.oo:
        return _rational(upper) - sympy.Rational(137, 100)
    if upper == sympy.oo:
        return _rational(lower) + sympy.Rational(137, 100)
    return _rational(lower + (upper - lower) * sympy.Rational(4637, 10000))


def _rational(expression: sympy.Expr) -> sympy.Rational:
    """A rational number within a relative 1e-30 of a constant."""
    return sympy.Rational(mpmath.nstr(constant_value(expression, 35), 35))
