"""Proof of continuity at a point, from the expression as it was written.

A composition of continuous functions is continuous wherever each of them is defined. So the whole expression, its
`Abs`, `Max` and `Min` included, is evaluated on a small interval around the point. A finite enclosure proves that no
part of it has a pole, a branch point or a jump there. The formulas of the two sides prove nothing alone: they are
simplified, and a switch may hide a pole, as in max(-1, min(1, 1/x)) or abs(x)/x.
"""

from dataclasses import replace

import sympy
from flint import arb

from theory.balls.arithmetics import INTERVAL
from theory.balls.core import NotCertifiable, precision
from theory.balls.program import Program, constant_ball

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


_CONTINUOUS = replace(
    INTERVAL, functions={**INTERVAL.functions, "Abs": abs, "_largest": _maximum, "_smallest": _minimum}
)


def is_continuous_at(expression: sympy.Expr, point: sympy.Expr) -> bool:
    """Whether an expression is proved to be continuous around a real point; False where no proof is found.

    >>> from theory.numerics.arithmetic import X
    >>> is_continuous_at(sympy.Abs(X), sympy.Integer(0)), is_continuous_at(sympy.Abs(X) / X, sympy.Integer(0))
    (True, False)
    """
    plain = expression.replace(sympy.Max, _largest).replace(sympy.Min, _smallest)
    try:
        with precision(_BITS):
            (value,) = Program([plain]).bind(_CONTINUOUS)(constant_ball(point) + arb(0, _RADIUS))
    except NotCertifiable:  # a Piecewise, a sign, a Heaviside, or a function without a rule
        return False
    return bool(value.is_finite())
