"""Where a function of one variable vanishes or is singular.

Points are exact SymPy numbers where algebra finds them, else zeros that are isolated by ball arithmetic
(`theory.balls.zeros`).
"""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

import sympy
from flint import arb
from sympy.functions.elementary.trigonometric import TrigonometricFunction

from theory.balls.core import NotCertifiable
from theory.balls.functions import FUNCTIONS, symbol
from theory.balls.signs import between, compare, is_zero, range_of, sign_of
from theory.balls.zeros import MultipleZero, Zeros, canonical, is_zero_at, zeros_between
from theory.errors import SpecificationError
from theory.numerics.arithmetic import X
from theory.numerics.enclosed import Enclosed
from theory.numerics.special import hermite_normalized

_POSITIVE = tuple(symbol(record) for record in FUNCTIONS.values() if record.zeros == ())
_SOLVED = 8  # operations of the longest function that SymPy is asked to solve, for the names of its zeros
_MOST_MULTIPLE = 16
_DENOMINATORS = 60  # of the rational numbers and multiples of pi that are tried as names
_POLES = {sympy.tan: sympy.cos, sympy.sec: sympy.cos, sympy.cot: sympy.sin, sympy.csc: sympy.sin}


class Points:
    """Special points strictly between two bounds.

    Args:
        lower, upper: the bounds; after the search, bounds between which the points are all there.
    """

    def __init__(self, lower: sympy.Expr, upper: sympy.Expr) -> None:
        self.lower, self.upper = self._bounds = lower, upper
        self.is_proved = True
        self._found: set[sympy.Expr] = set()

    def __iter__(self) -> Iterator[sympy.Expr]:
        return iter(between(self._found, self.lower, self.upper))

    def add_zeros(self, functions: Iterable[sympy.Expr]) -> None:
        """Add the zeros of several functions.

        Raises:
            SpecificationError: zeros that cannot be listed.
        """
        for function in functions:
            if not self.is_empty:
                self._found.update(self._zeros(function))

    def add_sign_changes(self, function: sympy.Expr) -> None:
        """Add all points at which a function may change its sign: its zeros and its singular points."""
        self.add_zeros([function, *suspects(function)])

    def _zeros(self, function: sympy.Expr) -> list[sympy.Expr]:
        """The zeros, or the poles for a factor with a negative power."""
        if not function.has(X) or function.is_positive is True or isinstance(function, _POSITIVE):
            return []
        if function.is_polynomial(X):
            roots = _polynomial_zeros(sympy.Poly(function, X))
            if roots is not None:
                return roots
        if isinstance(function, sympy.Mul):
            return [zero for factor in function.args for zero in self._zeros(factor)]
        if isinstance(function, sympy.Pow) and not function.exp.has(X):
            return self._zeros(function.base)
        if isinstance(function, sympy.tan | sympy.cot):
            return self._zeros((sympy.sin if isinstance(function, sympy.tan) else sympy.cos)(function.args[0]))
        record = FUNCTIONS.get(type(function).__name__)
        if record is not None and record.zeros:
            return self._zeros(function.args[0] - record.zeros[0])
        if range_of(function).sign:
            return []
        is_singular = any(suspect.is_positive is not True for suspect in suspects(function))
        numerator, denominator = sympy.fraction(sympy.together(function)) if is_singular else (function, function)
        if denominator.has(X) and numerator != function:
            return [*self._zeros(numerator), *self._zeros(denominator)]
        return self._isolated(function)

    def _isolated(self, function: sympy.Expr) -> list[sympy.Expr]:
        """Zeros isolated by ball arithmetic, else by SymPy's solver, whose answer is a conjecture."""
        _, rest = canonical(function)
        singular = Points(*self._bounds)
        singular.add_zeros([*suspects(rest), *(rest.args if isinstance(rest, sympy.sin) else ())])
        if singular.is_empty:
            self._narrow(singular.lower, singular.upper)
            return []
        multiple = list(singular) if isinstance(rest, sympy.sin) else []
        try:
            parts = self._parts(rest, singular, multiple)
        except NotCertifiable:
            self.is_proved = False
            return _solved(function)
        self._narrow(singular.lower, singular.upper)
        self._narrow(parts[0].lower, parts[-1].upper)
        self.is_proved &= singular.is_proved
        return [*multiple, *(zero for part in parts for zero in part.points)]

    def _parts(self, function: sympy.Expr, singular: "Points", multiple: list[sympy.Expr]) -> list[Zeros]:
        """The zeros between singular points and multiple zeros, to which those with a simple name are added."""
        for _ in range(_MOST_MULTIPLE):
            inner = between([*singular, *multiple], singular.lower, singular.upper)
            try:
                edges = pairwise([singular.lower, *inner, singular.upper])
                return [_zeros_between(function, left, right) for left, right in edges]
            except MultipleZero as zero:
                name = next((n for n in _simple_names(zero.place) if is_zero(function.xreplace({X: n}))), None)
                if name is None or name in multiple:
                    raise
                multiple.append(name)
        raise NotCertifiable(f"{function} has more than {_MOST_MULTIPLE} multiple zeros")

    def _narrow(self, lower: sympy.Expr, upper: sympy.Expr) -> None:
        self.lower = lower if compare(lower, self.lower) > 0 else self.lower
        self.upper = upper if compare(upper, self.upper) < 0 else self.upper

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known between the bounds."""
        return compare(self.lower, self.upper) >= 0


def sign_changes(function: sympy.Expr, lower: sympy.Expr = -sympy.oo, upper: sympy.Expr = sympy.oo) -> Points:
    """All points between two bounds at which a function may change its sign: its zeros and its singular points.

    Raises:
        SpecificationError: they cannot be listed.

    >>> list(sign_changes((X - 2) / X)), list(sign_changes(sympy.exp(X) - X - 2))
    ([0, 2], [-1.8414056604369606, 1.1461932206205826])
    """
    points = Points(lower, upper)
    points.add_sign_changes(function)
    return points


def singular_points(formula: sympy.Expr, lower: sympy.Expr, upper: sympy.Expr) -> tuple[Points, bool]:
    """Points at which a formula may not be analytic, and whether they are all there."""
    points, is_complete = Points(lower, upper), not _has_unknown_function(formula)
    for suspect in suspects(formula):
        try:
            points.add_zeros([suspect])
        except SpecificationError:
            is_complete = False
    return points, is_complete and points.is_proved


def _has_unknown_function(formula: sympy.Expr) -> bool:
    known = {*FUNCTIONS, hermite_normalized.__name__}  # the latter is a polynomial
    return any(node.has(X) and type(node).__name__ not in known for node in formula.atoms(sympy.Function))


def suspects(formula: sympy.Expr) -> Iterator[sympy.Expr]:
    """Functions at whose zeros a formula may be singular, or stop being real."""
    for node in formula.atoms(sympy.Pow, sympy.Function):
        if not node.has(X):
            continue
        if isinstance(node, sympy.Pow):
            if node.base.has(X) and not (node.exp.is_Integer and node.exp.is_nonnegative):
                yield node.base
        elif type(node) in _POLES:
            yield _POLES[type(node)](node.args[0])
        elif type(node).__name__ in FUNCTIONS:
            yield from (node.args[0] - point for point in FUNCTIONS[type(node).__name__].singular)


@lru_cache(maxsize=1024)
def _zeros_between(function: sympy.Expr, lower: sympy.Expr, upper: sympy.Expr) -> Zeros:
    """Isolated zeros, with exact names where there are some that are proved."""
    found = zeros_between(function, lower, upper)
    names = _names(function) if found.points else []
    points = (next((n for n in names if is_zero_at(zero, n)), None) or _named(zero) for zero in found.points)
    return Zeros(tuple(points), found.lower, found.upper)


def _names(function: sympy.Expr) -> list[sympy.Expr]:
    if sympy.count_ops(function) > _SOLVED or any(suspects(function)) or _is_cubic(function):
        return []
    try:
        return _solved(function)
    except SpecificationError:
        return []


def _is_cubic(function: sympy.Expr) -> bool:
    """Whether a function is a polynomial of degree 3 or more, and no binomial: its radicals name nothing."""
    return bool(function.is_polynomial(X) and sympy.degree(function, X) > 2 and len(sympy.Add.make_args(function)) > 2)


def _named(zero: Enclosed) -> sympy.Expr:
    """A simple rational number or multiple of pi, if the zero is proved to be one."""
    return next((name for name in _simple_names(zero.enclosure(64)) if is_zero_at(zero, name)), zero)


def _simple_names(place: arb) -> list[sympy.Expr]:
    """The simple rational number and the simple multiple of pi that are nearest to a place."""
    position = Fraction(float(place))
    by_pi = position / Fraction(math.pi)
    names = position.limit_denominator(_DENOMINATORS), by_pi.limit_denominator(_DENOMINATORS)
    return [unit * sympy.Rational(n.numerator, n.denominator) for unit, n in zip((1, sympy.pi), names, strict=True)]


def _polynomial_zeros(polynomial: sympy.Poly) -> list[sympy.Expr] | None:
    """Real roots of a polynomial that is linear or has rational coefficients, else None."""
    if polynomial.is_zero:
        return []
    if polynomial.degree() == 1:
        slope, intercept = polynomial.all_coeffs()
        return [-intercept / slope]
    if all(coefficient.is_Rational for coefficient in polynomial.all_coeffs()):
        return [_short(root) for root, _ in polynomial.real_roots(multiple=False, radicals=False)]
    return None


def _short(root: sympy.Expr) -> sympy.Expr:
    """An algebraic number as a square root where it is one; radicals of a higher degree would only be in the way."""
    if not isinstance(root, sympy.CRootOf):
        return root
    if root.poly.degree() == 2:
        return sympy.CRootOf(root.poly, root.index, radicals=True)
    powers = [power for (power,) in root.poly.monoms()]
    return sympy.CRootOf(root.poly, root.index, radicals=True) if len(powers) == 2 else root


def _solved(function: sympy.Expr) -> list[sympy.Expr]:
    """Zeros by SymPy's solver, whose answer is a conjecture (see `theory.activations.proofs`)."""
    elementary = sympy.expand_func(function)
    try:  # periodic functions have no finite list of roots, and SymPy may search for it without end
        periodic = elementary.has(TrigonometricFunction)
        roots = None if periodic else sympy.solveset(elementary, X, sympy.Reals)
    except Exception:  # the solver fails in many ways
        roots = None
    if roots is sympy.S.EmptySet:
        return []
    if isinstance(roots, sympy.FiniteSet) and all(sign_of(root) is not None for root in roots):
        return list(roots)
    raise SpecificationError(
        f"the points where {function} changes its sign cannot be listed exactly; "
        "write the activation as a Piecewise with explicit breakpoints"
    )


def without_common_factors(formula: sympy.Expr) -> sympy.Expr:
    """Cancel the polynomial factors that numerator and denominator of a product share.

    The two functions differ at most at the zeros of those factors, where only the new one is defined. Those points
    would otherwise count as singular, and integrals and suprema would have to approach them.

    >>> without_common_factors((X**2 - 1) / (X - 1) * sympy.exp(X))
    (x + 1)*exp(x)
    >>> without_common_factors((X**2 - 2) / (X - sympy.sqrt(2)))
    x + sqrt(2)
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
    # Square roots are adjoined: (x - sqrt(2))**2 - 1, multiplied out, does not show that sqrt(2)**2 is 2.
    has_root = any(power.is_number and power.exp.is_Rational for power in product.atoms(sympy.Pow))
    field = {"extension": True} if has_root else {}
    if sympy.gcd(numerator, denominator, **field).has(X):
        others = [factor for factor in product.args if factor not in denominators and factor not in numerators]
        return sympy.Mul(sympy.cancel(numerator / denominator, **field), *others)
    return product
