"""Proofs about an expression as it was written: that it is continuous at a point, or has no real value there.

A composition of continuous functions is continuous wherever each of them is defined. So the whole expression, its
`Abs`, `Max` and `Min` included, is evaluated on a small interval around the point. A finite enclosure proves that no
part of it has a pole, a branch point or a jump there. The formulas of the two sides prove nothing alone: they are
simplified, and a switch may hide a pole, as in max(-1, min(1, 1/x)) or abs(x)/x.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import sympy
from flint import acb, arb
from sympy.core.relational import Relational

from theory.balls.arithmetics import COMPLEX, INTERVAL, growth_arithmetic
from theory.balls.core import Arithmetic, NotCertifiable, precision
from theory.balls.envelope import Growth, from_modulus, variable
from theory.balls.functions import method
from theory.balls.local import T, mirrored
from theory.balls.program import Program, constant_ball
from theory.numerics.arithmetic import X
from theory.numerics.special import frac

_ORDERS = sympy.StrictLessThan, sympy.LessThan, sympy.StrictGreaterThan, sympy.GreaterThan
_BITS = 256
_RADIUS = arb(2) ** -60


class _largest(sympy.Function):  # type: ignore[misc]
    """`Max` as a function of the straight-line program."""


class _smallest(sympy.Function):  # type: ignore[misc]
    """`Min`, the same."""


def _maximum(*values: arb) -> arb:
    result, *others = values
    for value in others:
        result = result.max(value)
    return result


def _minimum(*values: arb) -> arb:
    return -_maximum(*(-value for value in values))


def _sign(value: arb) -> arb:
    return arb.nan() if value.contains(0) or not value.is_finite() else arb(1 if value > 0 else -1)


_CONTINUOUS = replace(
    INTERVAL,
    functions={
        **INTERVAL.functions,
        "Abs": abs,
        "_largest": _maximum,
        "_smallest": _minimum,
        "sign": _sign,
        "Heaviside": lambda value, _at_zero: (1 + _sign(value)) / 2,
    },
)
"""Intervals; a switch has no finite value where it may change its branch."""


_CUT = ("log", "log1p", "asin", "acos", "acosh", "atanh")
_PRINCIPAL = replace(
    COMPLEX,
    power=lambda exponent: lambda z: z**exponent,
    functions={**COMPLEX.functions, **{name: method(name) for name in _CUT}},
)
"""Complex rectangles with the principal values of powers and logarithms on their branch cuts, too."""


def has_no_real_value(expression: sympy.Expr, point: sympy.Expr) -> bool:
    """Whether an expression is proved to have a value that is not real everywhere around a real point.

    >>> has_no_real_value(sympy.sqrt(X), sympy.Integer(-2)), has_no_real_value(sympy.sqrt(X), sympy.Integer(2))
    (True, False)
    """
    try:
        with precision(_BITS):
            around = constant_ball(point) + arb(0, _RADIUS)
            (value,) = Program([expression]).bind(_PRINCIPAL)(acb(around, 0))
    except NotCertifiable:
        return False
    return bool(value.is_finite() and not value.imag.contains(0))


@lru_cache(maxsize=64)
def _program(expression: sympy.Expr) -> Program:
    return Program([_without_switches(expression)])


def _without_switches(expression: sympy.Expr) -> sympy.Expr:
    joined = expression.replace(sympy.Piecewise, _joined)
    return joined.replace(sympy.Max, _largest).replace(sympy.Min, _smallest)


def is_continuous_at(expression: sympy.Expr, point: sympy.Expr) -> bool:
    """Whether an expression is proved to be continuous around a real point; False where no proof is found.

    >>> is_continuous_at(sympy.Abs(X), sympy.Integer(0)), is_continuous_at(sympy.Abs(X) / X, sympy.Integer(0))
    (True, False)
    >>> step = sympy.sign(X) + sympy.Piecewise((X, X > 1), (5, True))
    >>> [is_continuous_at(step, sympy.Integer(place)) for place in (-1, 0, 1, 2)]
    [True, False, False, True]
    """
    try:
        with precision(_BITS):
            around = constant_ball(point) + arb(0, _RADIUS)
            settled = expression.replace(sympy.Piecewise, lambda *branches: _branch_around(branches, around))
            (value,) = _program(settled).bind(_CONTINUOUS)(around)
    except NotCertifiable:  # a Piecewise that is not joined, or a function without a rule
        return False
    return bool(value.is_finite())


def _branch_around(branches: tuple[sympy.Tuple, ...], around: arb) -> sympy.Expr:
    """The formula that a `Piecewise` is proved to equal around a point; else the `Piecewise`."""
    for value, condition in branches:
        tests = {test: _truth(test, around) for test in condition.atoms(Relational)}
        if None in tests.values():
            break
        if condition.xreplace(tests) == sympy.true:
            return value
    return sympy.Piecewise(*branches)


def _truth(test: Relational, around: arb) -> sympy.Basic | None:
    """Whether a comparison is proved to hold everywhere around a point, or nowhere; None if neither is."""
    (gap,) = _program(test.lhs - test.rhs).bind(_CONTINUOUS)(around)
    if not gap.is_finite() or gap.contains(0):
        return None
    truth: sympy.Basic = test.func(sympy.Integer(1 if gap > 0 else -1), 0)
    return truth


def is_continuous_beyond(expression: sympy.Expr, point: sympy.Expr, side: int) -> bool:
    """Whether an expression is proved to be continuous from a point towards side*oo.

    Every part of it has a proved bound there, so that no denominator vanishes, and takes the same value at both ends
    of the teeth that it has.

    >>> is_continuous_beyond(sympy.Abs(sympy.sin(X)), sympy.Integer(16), 1)
    True
    >>> is_continuous_beyond(1 / sympy.sin(X), sympy.Integer(16), 1)
    False
    >>> is_continuous_beyond(frac(X) * (1 - frac(X)), sympy.Integer(16), 1)
    True
    >>> wave, start = sympy.sin(X), sympy.Integer(16)
    >>> is_continuous_beyond(sympy.Piecewise((wave, wave > 0), (sympy.exp(wave) - 1, True)), start, 1)
    True
    >>> is_continuous_beyond(sympy.Piecewise((wave, wave > 0), (sympy.exp(wave), True)), start, 1)
    False
    """
    if not all(_closes(expression, tooth) for tooth in expression.atoms(frac)):
        return False
    (mirror,) = mirrored([_without_switches(expression)], side)
    try:
        with precision(_BITS):
            start = abs(constant_ball(point)).lower()
            (value,) = Program([mirror], T).bind(_bounded_arithmetic(start))(variable(start))
    except NotCertifiable:
        return False
    return value.upper is not None


def _joined(*branches: sympy.Expr) -> sympy.Expr:
    """A `Piecewise` of two formulas that agree where its condition changes, as a function of both and of the condition.

    The function is another one, but it has a finite value only if all three have, and then the `Piecewise` is
    continuous.
    """
    if len(branches) == 2:
        (first, condition), (second, otherwise) = branches
        if otherwise == sympy.true and isinstance(condition, _ORDERS):
            switching = condition.lhs - condition.rhs
            shift, moved = switching.as_independent(X, as_Add=True)
            factor, core = moved.as_independent(X, as_Add=False)
            if sympy.expand((first - second).subs(core, -shift / factor)) == 0:
                return _largest(first, second, switching)
    return sympy.Piecewise(*branches)


def _closes(expression: sympy.Expr, tooth: sympy.Expr) -> bool:
    """Whether an expression has the same value where a tooth, the fractional part of a smooth function, is 0 and 1."""
    if tooth.args[0].has(frac):
        return False
    low, high = (expression.xreplace({tooth: sympy.Integer(end)}) for end in (0, 1))
    return bool(sympy.expand(low - high) == 0)


def _bounded_arithmetic(start: arb) -> Arithmetic:
    """Growth envelopes that give up where a part of an expression has none."""
    plain = growth_arithmetic(start)
    rules: dict[str, Callable[..., Growth]] = dict(plain.functions)
    rules |= {"Abs": _size, "_largest": _sum_of_sizes, "_smallest": _sum_of_sizes}
    return replace(
        plain,
        power=lambda exponent: _bounded(plain.power(exponent)),
        functions={name: _bounded(rule) for name, rule in rules.items()},
    )


def _size(f: Growth) -> Growth:
    return from_modulus(f.start, 1, f.upper, f.lower)


def _sum_of_sizes(*parts: Growth) -> Growth:
    """A bound of the largest or least of several functions."""
    bound = sum((_size(part) for part in parts[1:]), _size(parts[0]))
    return from_modulus(bound.start, 0, bound.upper, None)


def _bounded(rule: Callable[..., Growth]) -> Callable[..., Growth]:
    def bounded(*parts: Growth) -> Growth:
        result = rule(*parts)
        if result.upper is None:
            raise NotCertifiable("a part of the expression is not seen to be bounded")
        return result

    return bounded
