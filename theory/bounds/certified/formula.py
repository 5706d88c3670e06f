"""What a file says, and a formula with its derivative on balls: a part of the checker, of python-flint and `ast`."""

import ast
import math
from collections.abc import Callable, Iterable
from typing import Any

from flint import arb

_MOST = 400  # entries of a list; a tenth of the letters of a formula


class Refused(Exception):
    """A condition does not hold, or is not decided."""


def need(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Refused(otherwise)


def admitted(part: Any, name: str = "") -> bool:
    """Whether a file holds finite numbers, few of a kind, and words only where they belong."""
    match part:
        case dict():
            return all(admitted(value, key) for key, value in part.items())
        case list():
            return len(part) <= _MOST and all(admitted(value, name) for value in part)
        case str():
            return name in ("pieces", "readout") and len(part) <= 10 * _MOST
        case arb():
            return part.is_finite()
    return isinstance(part, int) and not isinstance(part, bool)


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


def sentence(statement: dict[str, Any]) -> str:
    """What a certificate states, in one line."""
    phi = statement["activation"]
    pieces = [ast.unparse(ast.parse(text, mode="eval")) for text in phi["pieces"]]
    ends = ["-oo", *map(str, phi["breaks"]), "oo"]
    where = [f"{f} on [{a}, {b}]" for f, a, b in zip(pieces, ends, ends[1:], strict=False)] if ends[2:] else pieces
    numbers = phi["scale"], phi["shift"], statement["epsilon"], statement["bound"]
    texts = (arb(x).str(30, radius=False) for x in numbers)
    scale, shift, epsilon, bound = (text if "e" in text else text.rstrip("0").rstrip(".") for text in texts)
    known = statement["readout"]
    top = "a random direction" if known == "random" else "a function of the forward pass and of independent noise"
    event = "" if known == "random" else "|dE/dW_L| > 0 and "
    return (
        f"P({event}max_l |log(|dE/dW_l|^2/|dE/dW_L|^2)| >= {epsilon}) <= {bound} for n = {statement['width']}, "
        f"L = {statement['depth']}, Haar weights, |x_0|^2 = n, dE/dx_L {top}, "
        f"phi(x) = {scale} f(x) + {shift}, f(x) = {', '.join(where)}"
    )
