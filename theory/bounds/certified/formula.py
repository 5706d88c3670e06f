"""A formula and its derivative, on balls: a part of the checker of certificates, of python-flint and `ast` alone."""

import ast
import math
from collections.abc import Callable, Iterable
from typing import Any

from flint import arb


class Refused(Exception):
    """A condition does not hold, or is not decided."""


def need(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Refused(otherwise)


def top(values: Iterable[Any]) -> arb:
    """The largest of some numbers, rounded up; refused if one of them is not finite."""
    found = [arb(value).upper() for value in values]
    need(all(value.is_finite() for value in found), "a number is not finite")
    return max(found)


class Jet:
    """A number and its derivative in z."""

    def __init__(self, value: Any, slope: Any) -> None:
        self.value, self.slope = value, slope

    def __add__(self, other: "Jet") -> "Jet":
        return Jet(self.value + other.value, self.slope + other.slope)

    def __mul__(self, other: "Jet") -> "Jet":
        return Jet(self.value * other.value, self.slope * other.value + self.value * other.slope)


# f, f' from x and f(x), and where f is analytic; at a pole a ball is not finite
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], Any], Callable[[Any], Any]]] = {
    "tanh": (lambda x: x.tanh(), lambda _, y: 1 - y * y, lambda _: True),
    "erf": (lambda x: x.erf(), lambda x, _: 2 * (-x * x).exp() / arb.pi().sqrt(), lambda _: True),
    "sin": (lambda x: x.sin(), lambda x, _: x.cos(), lambda _: True),
    "cos": (lambda x: x.cos(), lambda x, _: -x.sin(), lambda _: True),
    "exp": (lambda x: x.exp(), lambda _, y: y, lambda _: True),
    "atan": (lambda x: x.atan(), lambda x, _: 1 / (1 + x * x), lambda x: abs(x.imag) < 1),
    "log": (lambda x: x.log(), lambda x, _: 1 / x, lambda x: x.real > 0),
    "sqrt": (lambda x: x.sqrt(), lambda _, y: 1 / (2 * y), lambda x: x.real > 0),
}


def run(node: ast.expr, z: Jet) -> Jet:
    """A formula in x, of whole numbers, pi, + - * / ** and the functions above, with its derivative."""
    match node:
        case ast.Name(id="x"):
            return z
        case ast.Name(id="pi"):
            return Jet(arb.pi(), arb(0))
        case ast.Constant(value=int(number)):
            return Jet(arb(number), arb(0))
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return run(inner, z) * Jet(arb(-1), arb(0))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return run(left, z) + run(right, z)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return run(left, z) + run(right, z) * Jet(arb(-1), arb(0))
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return run(left, z) * run(right, z)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            divisor = run(right, z)
            inverse = 1 / divisor.value
            return run(left, z) * Jet(inverse, -inverse * inverse * divisor.slope)
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int(power))) if 1 <= power <= 64:
            return math.prod([run(left, z)] * power, start=Jet(arb(1), arb(0)))
        case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]) if name in FUNCTIONS:
            x, (f, derivative, analytic) = run(inner, z), FUNCTIONS[name]
            need(bool(analytic(x.value)), f"{name} is not seen to be analytic where it is used")
            value = f(x.value)
            return Jet(value, derivative(x.value, value) * x.slope)
    raise Refused("the formula has a part that is unknown")
