"""The grammar of formulas as data: names, operators, what is refused and why, and the bounds of their size."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import sympy
from sympy.logic.boolalg import Boolean

from theory.balls.functions import FUNCTIONS, symbol
from theory.errors import SpecificationError
from theory.numerics.special import frac

MAX_NODES = 400
MAX_DEPTH = 40
MAX_CALLS = 12  # nested function calls: derivatives grow like the cube of this
VARIABLES = ("x", "z", "t")
CONSTANTS: Mapping[str, sympy.Expr] = MappingProxyType({"pi": sympy.pi, "e": sympy.E, "E": sympy.E})


MODULES = frozenset(
    {"np", "numpy", "jnp", "jax.numpy", "torch", "torch.nn.functional", "nn.functional", "F", "math", "sympy"}
)


_SWITCHES = (sympy.Piecewise, sympy.Abs, sympy.Max, sympy.Min, sympy.sign, sympy.Heaviside, frac)


def _one(function: Callable[[Any], Any]) -> tuple[Callable[..., Any], int, int]:
    return function, 1, 1


def _heaviside(x: Any, at_zero: Any = None) -> Any:
    return sympy.Heaviside(x) if at_zero is None else sympy.Heaviside(x, at_zero)


def mod(x: Any, y: Any) -> Any:
    """The remainder with the sign of the divisor, as in Python and NumPy; nan for the divisor 0."""
    return sympy.nan if y == 0 else y * frac(x / y)


def _clip(x: Any, lower: Any, upper: Any) -> Any:
    return sympy.Min(sympy.Max(x, lower), upper)


NAMED_FUNCTIONS: Mapping[str, tuple[Callable[..., Any], int, int]] = MappingProxyType(
    {name: _one(symbol(record)) for record in FUNCTIONS.values() for name in record.written}
    | {
        "log2": _one(lambda x: sympy.log(x) / sympy.log(2)),
        "log10": _one(lambda x: sympy.log(x) / sympy.log(10)),
        "sqrt": _one(sympy.sqrt),
        "cbrt": _one(lambda x: sympy.sign(x) * sympy.Abs(x) ** sympy.Rational(1, 3)),
        "square": _one(lambda x: x**2),
        "frac": _one(frac),
        "floor": _one(lambda x: x - frac(x)),
        "ceil": _one(lambda x: x + frac(-x)),
    }
    | dict.fromkeys(("mod", "remainder"), (mod, 2, 2))
    | dict.fromkeys(("heaviside", "Heaviside"), (_heaviside, 1, 2))
    | dict.fromkeys(("min", "minimum", "Min"), (sympy.Min, 1, 20))
    | dict.fromkeys(("max", "maximum", "Max"), (sympy.Max, 1, 20))
    | dict.fromkeys(("clip", "clamp"), (_clip, 3, 3))
)
"""Functions beside the catalog's: the SymPy function, the smallest and the largest number of arguments."""


SPECIAL_FORMS = ("where", "piecewise", "Piecewise", "pow", "power")


COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = MappingProxyType(
    {ast.Lt: sympy.Lt, ast.LtE: sympy.Le, ast.Gt: sympy.Gt, ast.GtE: sympy.Ge, ast.Eq: sympy.Eq, ast.NotEq: sympy.Ne}
)


OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = MappingProxyType(
    {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Mod: mod}
)
"""Operators on numbers; division and powers are checked by the reader."""


CONNECTIVES: Mapping[type[ast.AST], Callable[..., Any]] = MappingProxyType(
    {ast.And: sympy.And, ast.Or: sympy.Or, ast.BitAnd: sympy.And, ast.BitOr: sympy.Or}
)
"""Operators on conditions."""


REFUSED: Mapping[type[ast.AST], str] = MappingProxyType(
    {
        ast.Lambda: "a lambda (write the formula alone)",
        ast.JoinedStr: "text",
        ast.Subscript: "indexing",
        ast.NamedExpr: "an assignment",
        ast.Tuple: "a tuple",
        ast.List: "a list",
        ast.Dict: "a dictionary",
        ast.Set: "a set",
        ast.Starred: "a starred argument",
    }
    | dict.fromkeys((ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp), "a comprehension")
)


def check_shape(node: ast.expr) -> None:
    """Refuse a tree that is too large or too deep, without recursion."""
    stack: list[tuple[ast.AST, int, int]] = [(node, 1, 0)]
    seen = 0
    while stack:
        parent, depth, calls = stack.pop()
        seen += 1
        calls += isinstance(parent, ast.Call)
        if seen > MAX_NODES:
            raise SpecificationError(f"the formula has more than {MAX_NODES} terms and operations")
        if depth > MAX_DEPTH or calls > MAX_CALLS:
            limits = f"{MAX_DEPTH} operations or {MAX_CALLS} functions"
            raise SpecificationError(f"the formula is nested more than {limits} deep")
        children = (child for child in ast.iter_child_nodes(parent) if isinstance(child, ast.expr | ast.keyword))
        stack.extend((child, depth + 1, calls) for child in children)


def is_condition(value: Any) -> bool:
    """Whether SymPy holds it as true or false; a symbol could be either and counts as a number."""
    return isinstance(value, Boolean) and not isinstance(value, sympy.Expr)


def vanishes(value: Any) -> bool:
    """Whether a constant is zero, or cannot be distinguished from zero with a hundred digits (precision 1 left)."""
    if value.is_Rational:
        return bool(value == 0)
    number = value.evalf(15)
    return bool(number == 0 or (number.is_Float and number._prec == 1))


def without_choices(value: Any) -> Any:
    """Write if-then-else conditions, which SymPy makes of a Piecewise that is compared, with and, or, not."""
    return value.replace(
        lambda e: isinstance(e, sympy.ITE),
        lambda e: sympy.Or(sympy.And(e.args[0], e.args[1]), sympy.And(sympy.Not(e.args[0]), e.args[2])),
    )


class Measure(NamedTuple):
    """Size of an expression as a tree, where shared parts count every time."""

    size: int
    switches: int
    piecewise: int
    degree: int


def measure(value: Any) -> Measure:
    """Return the size of an expression; shared parts are measured once."""
    known: dict[Any, Measure] = {}

    def of_node(node: Any) -> Measure:
        if node not in known:
            parts = [of_node(argument) for argument in node.args]
            known[node] = Measure(
                1 + sum(part.size for part in parts),
                int(isinstance(node, _SWITCHES)) + sum(part.switches for part in parts),
                int(isinstance(node, sympy.Piecewise)) + sum(part.piecewise for part in parts),
                _degree(node, [part.degree for part in parts]),
            )
        return known[node]

    return of_node(value)


def _degree(node: Any, degrees: list[int]) -> int:
    """Degree as a polynomial in x and in functions of x."""
    if isinstance(node, sympy.Pow):
        return degrees[0] * math.ceil(abs(node.exp)) if node.exp.is_number else 1
    if isinstance(node, sympy.Mul):
        return sum(degrees)
    if isinstance(node, sympy.Function) and not isinstance(node, _SWITCHES):
        return int(bool(node.free_symbols))
    return max(degrees, default=int(bool(node.free_symbols)))


def shorten(text: str) -> str:
    """Return at most 50 characters of a text, for messages."""
    return text if len(text) <= 50 else f"{text[:47]}..."
