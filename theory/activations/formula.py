"""Read a formula such as "x*sigmoid(1.3*x)" from text by a whitelist over Python's syntax tree.

Python parses the text (`ast`, mode "eval"), and each node that is allowed becomes a SymPy object; everything
else is refused, and nothing is ever executed. Decimals are exact: 0.1 is 1/10. Sizes are bounded before
anything is computed, so hostile text (deep nesting, 9**9**9) is refused at once.
"""

import ast
import warnings
from collections.abc import Callable
from difflib import get_close_matches
from fractions import Fraction
from itertools import pairwise
from typing import Any, NoReturn

import sympy

from theory.activations import catalog, entry
from theory.activations.grammar import (
    COMPARISONS,
    CONNECTIVES,
    CONSTANTS,
    MODULES,
    NAMED_FUNCTIONS,
    OPERATORS,
    REFUSED,
    SPECIAL_FORMS,
    VARIABLES,
    check_shape,
    is_condition,
    measure,
    shorten,
    vanishes,
    without_choices,
)
from theory.errors import SpecificationError
from theory.numerics.arithmetic import X

MAX_CHARACTERS = 2000
MAX_SIZE = 400  # nodes of the SymPy expression
MAX_SWITCHES = 24
MAX_NESTED_PIECEWISE = 4  # SymPy multiplies out the branches of a Piecewise that is compared
MAX_DEGREE = 64  # of a polynomial, whose real roots may have to be isolated
_LARGEST = sympy.Integer(10) ** 300
_MAX_BITS = 4096
_MAX_CONSTANT_EXPONENT = 1024


def parse_formula(text: str) -> sympy.Expr:
    """Return the SymPy expression in `theory.numerics.arithmetic.X` of a formula in one variable x (or z, or t).

    Allowed are decimal numbers (exact), pi and e, + - * / ** % (and ^ for powers), comparisons, `and`, `or`,
    `not`, `a if condition else b`, where(condition, a, b), piecewise((value, condition), ..., default), the
    usual functions (exp, log, sqrt, sin, erf, min, max, clip, ...) and every name of `theory.activations.catalog` as a
    function, its parameters after the first argument: `elu(x, alpha=1.5)`. Names may carry the prefix of a
    module (np.tanh).

    Args:
        text: the formula.

    Raises:
        SpecificationError: anything else; the message names the place. Nothing is ever executed.

    >>> parse_formula("x*sigmoid(1.3*x)")
    x*sigmoid(13*x/10)
    >>> parse_formula("where(x > 0, x, 0.1*x)")
    Piecewise((x, x > 0), (x/10, True))
    """
    node, source = syntax_tree(text)
    expression: sympy.Expr = _reading(text, lambda: _Reader(source).number(node))
    return expression


def parse_parameters(text: str) -> tuple[list[sympy.Expr], dict[str, sympy.Expr]] | None:
    """Return the constants by position and by name that stand inside a call; None if they are not constants.

    >>> parse_parameters("0.2, b=1/3")
    ([1/5], {'b': 1/3})
    >>> parse_parameters("2*x") is None
    True
    """
    call, source = syntax_tree(f"f({text})")
    names = {node.id for node in ast.walk(call) if isinstance(node, ast.Name)}
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)) or names & set(VARIABLES):
        return None
    arguments, keywords = _reading(text, lambda: _Reader(source).arguments(call))
    return arguments, keywords


def _reading(text: str, read: Callable[[], Any]) -> Any:
    """Run a reader; whatever SymPy raises on an expression that it cannot hold is the formula's fault."""
    try:
        return read()
    except SpecificationError:
        raise
    except (ArithmeticError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise SpecificationError(f"the formula {shorten(text)!r} has no meaning: {error!s:.100}") from error
    except (RecursionError, MemoryError) as error:
        raise SpecificationError(f"the formula {shorten(text)!r} is too large") from error


def syntax_tree(text: str) -> tuple[ast.expr, bytes]:
    """Return Python's syntax tree of a formula, of bounded size, and the text it was made from.

    Raises:
        SpecificationError: the text is empty, too long, nested too deeply, or no expression.
    """
    if not isinstance(text, str):
        raise SpecificationError(f"a formula is text such as 'tanh(x)', not {type(text).__name__}")
    if len(text) > MAX_CHARACTERS:
        raise SpecificationError(f"the formula has {len(text)} characters; at most {MAX_CHARACTERS} are read")
    source = " ".join(text.split()).replace("^", "**")
    if not source:
        raise SpecificationError("the formula is empty; write one such as 'tanh(x)'")
    try:
        with warnings.catch_warnings(action="ignore"):
            node = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        reason = f"{error.msg} (a product is written with *)"
        raise SpecificationError(f"cannot read the formula {shorten(text)!r}: {reason}") from error
    except (ValueError, MemoryError, RecursionError) as error:
        raise SpecificationError(f"cannot read the formula {shorten(text)!r}") from error
    check_shape(node)
    return node, source.encode()


def free_names(node: ast.expr) -> set[str]:
    """Names in a formula that stand for numbers: neither functions that it calls nor prefixes such as np.

    >>> sorted(free_names(syntax_tree("np.tanh(beta*x)")[0]))
    ['beta', 'x']
    """
    others = {id(part.func) for part in ast.walk(node) if isinstance(part, ast.Call)}
    others |= {id(part.value) for part in ast.walk(node) if isinstance(part, ast.Attribute)}
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and id(part) not in others}


class _Reader:
    """Turns the nodes of one syntax tree into SymPy objects and remembers the name of the variable."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self.variable = ""

    def number(self, node: ast.expr) -> Any:
        """A real expression; a condition counts as 1 where it holds and 0 elsewhere."""
        value = self._read(node)
        return sympy.Piecewise((1, value), (0, True)) if is_condition(value) else value

    def condition(self, node: ast.expr) -> Any:
        """A condition such as x > 0."""
        value = self._read(node)
        if not is_condition(value):
            self._refuse(node, "a condition such as x > 0 is needed here, not")
        return value

    def constant(self, node: ast.expr) -> Any:
        """An expression without the variable."""
        value = self.number(node)
        if value.free_symbols:
            self._refuse(node, "a parameter must be a constant, not")
        return value

    def arguments(self, call: ast.Call) -> tuple[list[Any], dict[str, Any]]:
        """Arguments by position and by name."""
        keywords = {}
        for keyword in call.keywords:
            if keyword.arg is None:
                self._refuse(keyword.value, "** is not allowed before an argument:")
            keywords[keyword.arg] = self.number(keyword.value)
        return [self.number(argument) for argument in call.args], keywords

    def _read(self, node: ast.expr) -> Any:
        readers: dict[type[ast.expr], Callable[[Any], Any]] = {
            ast.Constant: self._constant_node,
            ast.Name: self._name,
            ast.Attribute: self._attribute,
            ast.UnaryOp: self._unary,
            ast.BinOp: self._binary,
            ast.BoolOp: self._boolean,
            ast.Compare: self._comparison,
            ast.IfExp: lambda choice: self._where(choice.test, choice.body, choice.orelse),
            ast.Call: self._call,
        }
        reader = readers.get(type(node))
        if reader is None:
            self._refuse(node, f"{REFUSED.get(type(node), type(node).__name__)} is not allowed in a formula:")
        return self._checked(reader(node), node)

    def _constant_node(self, node: ast.Constant) -> Any:
        if isinstance(node.value, bool):
            return sympy.true if node.value else sympy.false
        if isinstance(node.value, int):
            return sympy.Integer(node.value)
        if not isinstance(node.value, float):
            kind = "an imaginary number" if isinstance(node.value, complex) else "text"
            self._refuse(node, f"{kind} is not allowed in a formula:")
        mantissa, _, exponent = self._segment(node).casefold().replace("_", "").partition("e")
        if exponent and abs(int(exponent)) > 300 + MAX_CHARACTERS:
            self._refuse(node, "numbers must lie between 1e-300 and 1e300, unlike")
        return sympy.Rational(Fraction(mantissa)) * sympy.Integer(10) ** int(exponent or 0)

    def _name(self, node: ast.Name) -> Any:
        if node.id in CONSTANTS:
            return CONSTANTS[node.id]
        if node.id in VARIABLES:
            if self.variable not in ("", node.id):
                self._refuse(node, f"a formula has one variable, but besides {self.variable} there is")
            self.variable = node.id
            return X
        if node.id in NAMED_FUNCTIONS or catalog.find(node.id):
            self._refuse(node, f"a function needs its argument, as in {node.id}(x), unlike")
        return self._refuse(node, f"the variable is x, the constants are {', '.join(CONSTANTS)}; unknown name")

    def _attribute(self, node: ast.Attribute) -> Any:
        name = self._function_name(node)
        if name not in CONSTANTS:
            self._refuse(node, "only functions, pi and e can be taken from a module, not")
        return CONSTANTS[name]

    def _unary(self, node: ast.UnaryOp) -> Any:
        if isinstance(node.op, ast.Not | ast.Invert):
            return sympy.Not(self.condition(node.operand))
        value = self.number(node.operand)
        return -value if isinstance(node.op, ast.USub) else value

    def _binary(self, node: ast.BinOp) -> Any:
        kind = type(node.op)
        if kind in CONNECTIVES:
            return CONNECTIVES[kind](self.condition(node.left), self.condition(node.right))
        if kind in OPERATORS:
            return OPERATORS[kind](self.number(node.left), self.number(node.right))
        if kind is ast.Div:
            return self.number(node.left) / self._nonzero(node.right)
        if kind is ast.Pow:
            return self._power(node.left, node.right)
        return self._refuse(node, "the operators are + - * / ** %, unlike in")

    def _boolean(self, node: ast.BoolOp) -> Any:
        return CONNECTIVES[type(node.op)](*(self.condition(value) for value in node.values))

    def _comparison(self, node: ast.Compare) -> Any:
        sides = [self._comparable(side) for side in (node.left, *node.comparators)]
        parts = []
        for comparison, (left, right) in zip(node.ops, pairwise(sides), strict=True):
            if type(comparison) not in COMPARISONS:
                self._refuse(node, "the comparisons are < <= > >= == !=, unlike in")
            parts.append(COMPARISONS[type(comparison)](left, right))
        return sympy.And(*parts)

    def _where(self, test: ast.expr, value: ast.expr, otherwise: ast.expr) -> Any:
        return sympy.Piecewise((self.number(value), self.condition(test)), (self.number(otherwise), True))

    def _call(self, node: ast.Call) -> Any:
        name = self._function_name(node.func)
        if name in SPECIAL_FORMS:
            return self._special_form(name, node)
        if name in NAMED_FUNCTIONS and not (name == "heaviside" and len(node.args) == 1):
            function, fewest, most = NAMED_FUNCTIONS[name]
            arguments, keywords = self.arguments(node)
            if keywords or not fewest <= len(arguments) <= most:
                count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
                self._refuse(node, f"{name} takes {count} arguments by position, unlike in")
            return function(*arguments)
        entry = catalog.find(name)
        if entry is None:
            close = get_close_matches(name[:40], [*NAMED_FUNCTIONS, *SPECIAL_FORMS, *catalog.names()], n=3)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise SpecificationError(f"unknown function {shorten(name)!r} in a formula{hint}")
        return self._named(entry, node)

    def _named(self, entry: entry.Entry, node: ast.Call) -> Any:
        """An activation of the catalog as a function: its argument first, then its parameters."""
        if not node.args:
            self._refuse(node, f"{entry.name} needs its argument, as in {entry.name}(x), unlike in")
        entry.check_names(len(node.args) - 1, [keyword.arg or "**" for keyword in node.keywords])
        parameters = [self.constant(argument) for argument in node.args[1:]]
        keywords = {str(keyword.arg): self.constant(keyword.value) for keyword in node.keywords}
        return entry.expression(self._comparable(node.args[0]), *parameters, **keywords)

    def _special_form(self, name: str, node: ast.Call) -> Any:
        if node.keywords:
            self._refuse(node, f"{name} takes its arguments by position, unlike in")
        if name in ("where", "pow", "power"):
            if len(node.args) != (3 if name == "where" else 2):
                self._refuse(node, "write where(condition, a, b) or power(a, b), unlike")
            return self._where(*node.args) if name == "where" else self._power(*node.args)
        return self._piecewise(node)

    def _piecewise(self, node: ast.Call) -> Any:
        """piecewise((value, condition), ..., default); the default may also be (value, True)."""
        branches: list[tuple[Any, Any]] = []
        for argument in node.args:
            if isinstance(argument, ast.Tuple) and len(argument.elts) == 2:
                branches.append((self.number(argument.elts[0]), self.condition(argument.elts[1])))
            elif argument is node.args[-1]:
                branches.append((self.number(argument), sympy.true))
            else:
                self._refuse(argument, "piecewise takes (value, condition) pairs and a default, not")
        if not branches or branches[-1][1] != sympy.true:
            self._refuse(node, "piecewise needs a default after its (value, condition) pairs, unlike in")
        return sympy.Piecewise(*branches)

    def _power(self, base_node: ast.expr, exponent_node: ast.expr) -> Any:
        exponent, base = self.number(exponent_node), self.number(base_node)
        if exponent.free_symbols:
            if not base.free_symbols and not base.is_positive:
                self._refuse(base_node, "a constant base of a variable power must be positive, unlike")
        else:
            limit = MAX_DEGREE if base.free_symbols else _MAX_CONSTANT_EXPONENT
            if abs(exponent) > limit:
                self._refuse(exponent_node, f"exponents are bounded by {limit}, unlike")
        return base**exponent

    def _comparable(self, node: ast.expr) -> Any:
        value = self.number(node)
        if measure(value).piecewise > MAX_NESTED_PIECEWISE:
            self._refuse(node, "too many piecewise functions inside one another:")
        return value

    def _nonzero(self, node: ast.expr) -> Any:
        value = self.number(node)
        if not value.free_symbols and vanishes(value):
            self._refuse(node, "division by zero:")
        return value

    def _function_name(self, node: ast.expr) -> str:
        """A name, with the prefix of a known module taken off."""
        parts: list[str] = []
        root = node
        while isinstance(root, ast.Attribute):
            parts.insert(0, root.attr)
            root = root.value
        if not isinstance(root, ast.Name):
            self._refuse(node, "only functions can be called, by name, not")
        module = ".".join([root.id, *parts[:-1]])
        if parts and module not in MODULES:
            self._refuse(node, "attributes are not allowed in a formula:")
        return parts[-1] if parts else root.id

    def _checked(self, value: Any, node: ast.expr) -> Any:
        """Refuse a result that is too large, infinite, undefined or not real."""
        value = without_choices(value)
        size = measure(value)
        if size.size > MAX_SIZE or size.switches > MAX_SWITCHES:
            self._refuse(node, "the formula grows too large at")
        if size.degree > MAX_DEGREE:
            self._refuse(node, f"degrees are bounded by {MAX_DEGREE}, unlike in")
        if any(max(abs(n.p), n.q).bit_length() > _MAX_BITS for n in value.atoms(sympy.Rational)):
            self._refuse(node, "too many digits in")
        if value.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
            self._refuse(node, "not a finite number:")
        if value.has(sympy.I) or any(p.is_number and p.is_real is False for p in value.atoms(sympy.Pow)):
            self._refuse(node, "not a real number:")
        if not is_condition(value) and not value.free_symbols:
            self._check_constant(value, node)
        return value

    def _check_constant(self, value: Any, node: ast.expr) -> None:
        number = value if value.is_Rational else value.evalf(15)
        if not (number.is_Rational or number.is_Float):
            self._refuse(node, "not a real number:")
        if abs(number) > _LARGEST or (not vanishes(value) and abs(number) < 1 / _LARGEST):
            self._refuse(node, "numbers must lie between 1e-300 and 1e300, unlike")

    def _segment(self, node: ast.expr) -> str:
        return self._source[node.col_offset : node.end_col_offset].decode()

    def _refuse(self, node: ast.expr, reason: str) -> NoReturn:
        raise SpecificationError(f"{reason} {shorten(self._segment(node))!r}")
