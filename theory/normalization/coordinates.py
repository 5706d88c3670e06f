"""Coordinates in which a supremum over the whole line is a supremum over a bounded interval.

A periodic function is searched over one period. A function of exponentials exp(c x) is algebraic in s = exp(-c x), an
algebraic one in s = 1/x; where it is analytic at s = 0, nothing is left to be estimated beyond any cutoff.
"""

from collections.abc import Iterable, Sequence
from functools import reduce

import sympy
from sympy.simplify.fu import TR8

from theory.balls.core import NotCertifiable
from theory.balls.local import T
from theory.balls.program import is_analytic_at_zero, regularize
from theory.numerics.arithmetic import X
from theory.numerics.special import sigmoid

_TIGHTENED = 200  # operations of the longest formula that is rewritten
_PLAIN = sympy.Symbol("s")  # differentiated in a positive symbol, SymPy may look for signs of polynomials for ever
_WAVES = 5  # sines and cosines of the longest product that is made a sum
_CANCELLED = 60  # the same for cancelling polynomials
_TRIGONOMETRIC = (sympy.sin, sympy.cos, sympy.tan, sympy.cot, sympy.sec, sympy.csc)
_HYPERBOLIC = (sympy.exp, sympy.sinh, sympy.cosh, sympy.tanh, sympy.sech, sympy.csch, sympy.coth, sigmoid)


def tightened(expression: sympy.Expr) -> sympy.Expr:
    """An equal expression that interval arithmetic overestimates less.

    Products of sines and cosines become sums, and sums of quotients one fraction if that cancels something.
    """
    if sympy.count_ops(expression) > _TIGHTENED:
        return expression
    if expression.has(sympy.sin, sympy.cos) and all(
        _waves(product) <= _WAVES for product in expression.atoms(sympy.Mul)
    ):
        expression = TR8(expression)
    numerator, denominator = sympy.fraction(sympy.together(expression))
    if denominator.has(X) and not denominator.has(sympy.exp):
        fraction = sympy.expand(numerator) / denominator
        if fraction.count_ops() < expression.count_ops():
            return fraction
    return expression


def _waves(product: sympy.Mul) -> int:
    """The number of sines and cosines that are multiplied; k of them make 2^(k-1) terms."""
    powers = [factor.as_base_exp() for factor in product.args]
    return sum(
        int(exp) for base, exp in powers if isinstance(base, sympy.sin | sympy.cos) and exp.is_Integer and exp > 0
    )


def period(expression: sympy.Expr) -> sympy.Expr | None:
    """A period of an expression, None where it has none that is seen.

    >>> period(sympy.sin(2 * X) / (2 + sympy.cos(3 * X))), period(X + sympy.sin(X))
    (2*pi, None)
    """
    rates = _rates(expression, _TRIGONOMETRIC)
    return None if rates is None or not rates else 2 * sympy.pi / _common(rates)


def periodic_part(expression: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    """The terms of a sum that share a period, and the others.

    >>> periodic_part(sympy.sin(X) + sympy.exp(-X))
    (sin(x), exp(-x))
    """
    terms = sympy.Add.make_args(expression)
    periodic = sympy.Add(*(term for term in terms if period(term) is not None or not term.has(X)))
    if period(periodic) is None:
        return sympy.Integer(0), expression
    return periodic, sympy.Add(*(term for term in terms if period(term) is None and term.has(X)))


def _rates(expression: sympy.Expr, functions: tuple[type[sympy.Function], ...]) -> list[sympy.Expr] | None:
    """The |a| of all a x + b inside some functions, if x appears nowhere else and they have rational ratios."""
    if not expression.has(X):
        return []
    if isinstance(expression, functions):
        argument = expression.args[0]
        rate = argument.diff(X)
        if not rate.has(X):
            return [abs(rate)]
    if not expression.args:
        return None
    rates: list[sympy.Expr] = []
    for argument in expression.args:
        inner = _rates(argument, functions)
        if inner is None:
            return None
        rates += inner
    return rates if all((rate / rates[0]).is_Rational for rate in rates) else None


def _common(rates: Sequence[sympy.Expr]) -> sympy.Expr:
    """The largest number of which all rates are whole multiples."""
    return rates[0] * reduce(sympy.gcd, [rate / rates[0] for rate in rates])


def at_infinity(function: sympy.Expr, side: int) -> tuple[list[sympy.Expr], sympy.Expr] | None:
    """A function near x = side*oo and its derivative in a coordinate s, analytic at s = 0; and c.

    Returns:
        Expressions in `T` = s and c, where s = exp(-c |x|), or s = 1/|x| for c = 0; None where neither is analytic.

    >>> at_infinity(X / (1 + X**2), 1)[0][0]
    t/(t**2 + 1)
    >>> formulas, rate = at_infinity(sympy.tanh(X / 2), 1)
    >>> formulas[0], rate
    ((1 - t**2)/(t**2 + 1), 1/2)
    """
    if sympy.count_ops(function) > _TIGHTENED:
        return None
    rates = _rates(function, _HYPERBOLIC)
    if rates == []:
        return None
    if rates is not None:
        rate = _common(rates)
        moved = _in_exponential(function, side, rate)
    elif not function.has(*_TRIGONOMETRIC, *_HYPERBOLIC):
        rate = sympy.Integer(0)
        moved = function.xreplace({X: side / T})
    else:
        return None
    moved = sympy.together(moved)
    if sympy.count_ops(moved) < _CANCELLED and not any(
        power.exp.is_Rational and not power.exp.is_Integer for power in moved.atoms(sympy.Pow)
    ):
        moved = sympy.cancel(moved)
    formulas = [moved, moved.xreplace({T: _PLAIN}).diff(_PLAIN).xreplace({_PLAIN: T})]
    try:
        smooth = [regularize(sympy.factor_terms(formula), T) for formula in formulas]
    except NotCertifiable:
        return None
    return (smooth, rate) if is_analytic_at_zero(smooth, T) else None


def _in_exponential(expression: sympy.Expr, side: int, rate: sympy.Expr) -> sympy.Expr:
    """An expression in s = exp(-rate*|x|), from one in which x appears in functions of exponentials only."""
    if not expression.has(X):
        return expression
    if isinstance(expression, _HYPERBOLIC):
        argument = expression.args[0]
        slope = argument.diff(X)
        if not slope.has(X):
            factor = sympy.exp(sympy.expand(argument - slope * X))
            return _by_exponential(type(expression), factor * T ** (-side * slope / rate))
    inner: Iterable[sympy.Expr] = (_in_exponential(argument, side, rate) for argument in expression.args)
    return sympy.together(expression.func(*inner))


def _by_exponential(function: type[sympy.Function], power: sympy.Expr) -> sympy.Expr:
    """A function of u from exp(u)."""
    if function is sympy.exp:
        return power
    if function is sigmoid:
        return power / (1 + power)
    sine, cosine = (power - 1 / power) / 2, (power + 1 / power) / 2
    by_name = {
        "sinh": sine,
        "cosh": cosine,
        "tanh": sine / cosine,
        "coth": cosine / sine,
        "sech": 1 / cosine,
        "csch": 1 / sine,
    }
    return sympy.together(by_name[function.__name__])
