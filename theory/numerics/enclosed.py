"""Real constants that are known by enclosures alone, to any number of bits: the zeros of analytic functions."""

from collections.abc import Callable
from typing import Any

import sympy
from flint import arb
from mpmath.libmp import from_man_exp

_SHOWN = 17  # digits of its text
_GUARD = 12  # bits


class Enclosed(sympy.AtomicExpr):  # type: ignore[misc]
    """A real number in SymPy's expressions that has no formula, as `sympy.pi` has none.

    Args:
        identity: what makes it the number that it is; two numbers with one identity are equal.
        enclosure: bits -> a ball with a radius near 2^-bits that is proved to contain it.

    >>> root = Enclosed(("the root of 2 x = 3",), lambda bits: arb(1.5))
    >>> root, 2 * root - root == root
    (1.5000000000000000, True)
    """

    is_number = is_real = is_finite = is_commutative = True
    __slots__ = ("enclosure", "identity")
    identity: tuple[Any, ...]
    enclosure: Callable[[int], arb]

    def __new__(cls, identity: tuple[Any, ...], enclosure: Callable[[int], arb]) -> "Enclosed":
        made: Enclosed = super().__new__(cls)
        made.identity, made.enclosure = identity, enclosure
        return made

    def _hashable_content(self) -> tuple[Any, ...]:
        return self.identity

    def _eval_evalf(self, prec: int) -> sympy.Float:
        mantissa, exponent = self.enclosure(prec + _GUARD).mid().man_exp()
        return sympy.Float._new(from_man_exp(int(mantissa), int(exponent), prec), prec)

    def _sympystr(self, _printer: Any) -> str:
        return str(self.evalf(_SHOWN))

    _latex = _sympyrepr = _sympystr


def without_enclosed(expression: sympy.Expr, digits: int) -> sympy.Expr:
    """The expression with each number that has no formula as a decimal number."""
    constants = expression.atoms(sympy.CRootOf, Enclosed)
    exact: sympy.Expr = expression.xreplace({constant: constant.evalf(digits) for constant in constants})
    return exact
