"""Write the formulas of an activation as lines of code for an array library, formatted as ruff and Black format them.

Each smooth piece of the activation is evaluated at arguments of its own interval only: elsewhere an interior point of
the piece takes the place of x. So nothing overflows, and automatic differentiation, which multiplies the slope of a
branch that is not taken by 0, meets no infinity; at a breakpoint it returns the slope from the left. The value of NaN
stays NaN.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import sympy

from theory.activations.activation import Activation
from theory.activations.pieces import Piece
from theory.errors import UsageError
from theory.numerics.arithmetic import X, constant_value, fold_constants
from theory.numerics.special import log1p, normal_cdf, normal_pdf, softplus

_WIDTH = 70  # characters of an expression; with its assignment and indent a line stays within 88
_SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(5)


# SymPy turns erfc(-u) into 2 - erfc(u), which cancels in the tail; these names have no rules.
_ERFC = sympy.Function("erfc")
_LOG_SIGMOID = sympy.Function("log_sigmoid")


HERMITE = '''def _hermite(k, x):
    """The k-th Hermite polynomial, orthonormal under N(0, 1), by its recurrence."""
    previous, current = 0.0, 1.0
    for j in range(k):
        root = (j + 1) ** 0.5
        previous, current = current, (x * current - j**0.5 * previous) / root
    return current
'''
"""The function that code with Hermite polynomials calls: the expanded polynomial would cancel."""


@dataclass(frozen=True, slots=True)
class Library:
    """Spelling of functions in an array library.

    Args:
        where: the name of its elementwise choice.
        functions: name of a SymPy class -> name of the library's function.
        rewritten: functions that it lacks, or has in a form that loses digits -> what they are replaced by.
    """

    where: str
    functions: Mapping[str, str]
    rewritten: Mapping[Any, Callable[[Any], Any]]


def _density(u: sympy.Expr) -> sympy.Expr:
    return sympy.exp(-(u**2) / 2) / sympy.sqrt(2 * sympy.pi)


def _tail_form(u: sympy.Expr) -> sympy.Expr:
    """Phi(u) = erfc(-u/sqrt 2)/2 keeps its relative precision for negative u."""
    return _ERFC(-u / sympy.sqrt(2)) / 2


def _stable_softplus(u: sympy.Expr) -> sympy.Expr:
    """-log sigma(-u): PyTorch's own softplus is linear above a threshold, 2e-9 off."""
    return -_LOG_SIGMOID(-u)


_SAME = ("sqrt", "exp", "expm1", "log", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh")
_ARC = {short: f"arc{short[1:]}" for short in ("asin", "acos", "atan", "asinh", "acosh", "atanh")}


def _named(module: str, **others: str) -> Mapping[str, str]:
    """The functions that have the same names everywhere, and the others; {} marks the place of the argument."""
    names = {name: name for name in _SAME} | _ARC
    return MappingProxyType({name: f"{module}.{own}" for name, own in names.items()} | others)


NUMPY = Library(
    "np.where",
    _named(
        "np",
        erf="special.erf",
        erfc="special.erfc",
        sigmoid="special.expit",
        normal_cdf="special.ndtr",
        softplus="np.logaddexp(0.0, {})",
    ),
    {normal_pdf: _density},
)


TORCH = Library(
    "torch.where",
    _named(
        "torch",
        erf="torch.erf",
        erfc="torch.erfc",
        sigmoid="torch.sigmoid",
        log_sigmoid="torch.nn.functional.logsigmoid",
    ),
    {normal_cdf: _tail_form, normal_pdf: _density, softplus: _stable_softplus},
)


JAX = Library(
    "jnp.where",
    _named(
        "jnp",
        erf="jax.scipy.special.erf",
        erfc="jax.scipy.special.erfc",
        sigmoid="jax.nn.sigmoid",
        softplus="jax.nn.softplus",
    ),
    {normal_cdf: _tail_form, normal_pdf: _density},
)


KERAS = Library(
    "ops.where",
    _named("ops", erf="ops.erf", sigmoid="ops.sigmoid", log_sigmoid="ops.log_sigmoid"),
    {
        normal_cdf: lambda u: (1 + sympy.erf(u / sympy.sqrt(2))) / 2,  # keras.ops has no erfc
        sympy.erfc: lambda u: 1 - sympy.erf(u),
        normal_pdf: _density,
        softplus: _stable_softplus,
    },
)


def body(activation: Activation, order: Callable[[Piece], sympy.Expr], library: Library) -> list[str]:
    """The statements that compute y, phi or its slope, from the array x.

    Args:
        activation: phi.
        order: selects a function of a piece, its value or its slope.
        library: the array library.

    Raises:
        UsageError: a function for which the library has no name.

    >>> from theory.activations.specification import activation
    >>> print(*body(activation("elu"), lambda piece: piece.value, TORCH), sep="\\n")
    t = torch.where(x > 0.0, -1.37, x)
    y = torch.expm1(t)
    y = torch.where(x > 0.0, x, y)
    """
    pieces, writer = activation.pieces, _Writer(library)
    values = [_rewritten(order(replace(piece, value=_softened(piece.value))), library) for piece in pieces]
    base = next((index for index, value in enumerate(values) if value.has(X)), 0)
    text = writer.expression(values[base], _guard(pieces[base], library))
    writer.assign("y", text if values[base].has(X) else f"np.full_like(x, {text})")
    for index in range(base - 1, -1, -1):
        text = writer.expression(values[index], _guard(pieces[index], library))
        writer.choose(f"x <= {_number(pieces[index].upper)}", text)
    for index in range(base + 1, len(pieces)):
        text = writer.expression(values[index], _guard(pieces[index], library))
        writer.choose(f"x > {_number(pieces[index].lower)}", text)
    return writer.lines


def _rewritten(expression: sympy.Expr, library: Library) -> sympy.Expr:
    result = fold_constants(expression)
    for function, replacement in library.rewritten.items():
        result = result.replace(function, replacement)
    return fold_constants(result)


def _softened(value: sympy.Expr) -> sympy.Expr:
    """log(d + c exp(u)) as log d + softplus(u + log(c/d)): in float32, exp(u) overflows at 89, and its slope is NaN."""

    def log(inside: sympy.Expr, otherwise: sympy.Expr) -> sympy.Expr:
        constant, rest = inside.as_independent(X, as_Add=True)
        scale, power = rest.as_independent(X, as_Add=False)
        if power.func is not sympy.exp or not constant.is_positive or not scale.is_positive:
            return otherwise
        return sympy.log(constant) + softplus(power.args[0] + sympy.log(scale / constant))

    softer: sympy.Expr = value.replace(sympy.log, lambda u: log(u, sympy.log(u)))
    return softer.replace(log1p, lambda u: log(1 + u, log1p(u)))


def _number(constant: sympy.Expr) -> str:
    return repr(float(constant_value(constant, 20)))


def _guard(piece: Piece, library: Library) -> str | None:
    """Code for x within the piece and one of its inner points elsewhere; None on the whole line."""
    ends = []
    if piece.lower != -sympy.oo:
        ends.append(f"x <= {_number(piece.lower)}")
    if piece.upper != sympy.oo:
        ends.append(f"x > {_number(piece.upper)}")
    if not ends:
        return None
    outside = ends[0] if len(ends) == 1 else f"({ends[0]}) | ({ends[1]})"
    return f"{library.where}({outside}, {_number(piece.sample)}, x)"


class _Writer:
    """Collects statements; long expressions are cut into several."""

    def __init__(self, library: Library) -> None:
        self.lines: list[str] = []
        self._library = library
        self._count = 0

    def assign(self, name: str, text: str) -> None:
        self.lines.append(f"{name} = {text}")

    def choose(self, condition: str, text: str) -> None:
        """y becomes the text where the condition holds."""
        if len(condition) + len(text) > _WIDTH - 20:
            self.assign("u", text)
            text = "u"
        self.assign("y", f"{self._library.where}({condition}, {text}, y)")

    def expression(self, expression: sympy.Expr, guard: str | None) -> str:
        """Code of an expression, after the statements that it needs; an affine one needs no guard."""
        if guard is not None and expression.has(X) and sympy.diff(expression, X).has(X):
            self.assign("t", guard)
            expression = expression.xreplace({X: sympy.Symbol("t", real=True)})
        return self._text(self._short(expression, _WIDTH))

    def _short(self, expression: sympy.Expr, width: int) -> sympy.Expr:
        """The expression with its longest parts given names until its code is short enough."""
        while len(self._text(expression)) > width:
            parts = [part for part in expression.args if part.args]
            if not parts:
                return expression
            longest = max(parts, key=lambda part: len(self._text(part)))
            if len(self._text(longest)) <= width // 3 and len(expression.args) > 2:
                longest = expression.func(*expression.args[: len(expression.args) // 2])
                rest = expression.args[len(expression.args) // 2 :]
                expression = expression.func(self._name(longest), *rest, evaluate=False)
            else:
                expression = expression.xreplace({longest: self._name(longest)})
        return expression

    def _name(self, part: sympy.Expr) -> sympy.Symbol:
        text = self._text(self._short(part, _WIDTH))
        self._count += 1
        symbol = sympy.Symbol(f"v{self._count}", real=True)
        self.assign(symbol.name, text)
        return symbol

    def _text(self, expression: sympy.Expr) -> str:
        return _print(expression, self._library)[0]


def _print(expression: sympy.Expr, library: Library) -> tuple[str, int]:
    """The code of an expression and how tightly it binds."""
    if expression.is_Symbol:
        return expression.name, _ATOM
    if expression.is_number:
        return repr(float(expression)), _ATOM if expression >= 0 else _SIGN
    if expression.is_Add:
        return _sum(expression, library), _SUM
    if expression.is_Mul:
        return _product(expression, library)
    if expression.is_Pow:
        return _power(expression, library)
    return _call(expression, library), _ATOM


def _bound(expression: sympy.Expr, library: Library, least: int) -> str:
    """Code in brackets unless it binds at least so tightly."""
    text, binding = _print(expression, library)
    return text if binding >= least else f"({text})"


def _sum(expression: sympy.Expr, library: Library) -> str:
    terms = sorted(expression.args, key=lambda term: (term.could_extract_minus_sign(), term.is_number))
    text = _bound(terms[0], library, _PRODUCT)
    for term in terms[1:]:
        negative = term.could_extract_minus_sign() and not term.is_Add
        text += f" {'-' if negative else '+'} {_bound(-term if negative else term, library, _PRODUCT)}"
    return text


def _product(expression: sympy.Expr, library: Library) -> tuple[str, int]:
    coefficient, factors = expression.as_coeff_mul(rational=False)
    if coefficient == -1:
        return f"-{_bound(expression.func(*factors), library, _ATOM)}", _SIGN
    below = [factor for factor in factors if factor.is_Pow and factor.exp.is_number and factor.exp < 0]
    above = [factor for factor in factors if factor not in below]
    texts = [] if coefficient == 1 and above else [_bound(coefficient, library, _SIGN)]
    texts += [_bound(factor, library, _SIGN) for factor in above]
    text = " * ".join(texts)
    for factor in below:
        text += f" / {_bound(1 / factor, library, _SIGN)}"
    return text, _PRODUCT


def _power(expression: sympy.Expr, library: Library) -> tuple[str, int]:
    base, exponent = expression.base, expression.exp
    if exponent == sympy.Rational(1, 2):
        return f"{library.functions['sqrt']}({_print(base, library)[0]})", _ATOM
    if exponent.is_number and exponent < 0:
        return f"1.0 / {_bound(1 / expression, library, _SIGN)}", _PRODUCT
    text = str(exponent) if exponent.is_Integer else _bound(exponent, library, _ATOM)
    hugs = (base.is_Symbol or base.is_number) and (exponent.is_Symbol or exponent.is_number)
    return f"{_bound(base, library, _ATOM)}{'**' if hugs else ' ** '}{text}", _POWER


def _call(expression: sympy.Expr, library: Library) -> str:
    name = type(expression).__name__
    if name == "hermite_normalized":
        degree, argument = expression.args
        return f"_hermite({int(degree)}, {_print(argument, library)[0]})"
    if name not in library.functions or len(expression.args) != 1:
        raise UsageError(f"{name} has no counterpart in this library; try the target latex, or write phi without it")
    function, argument = library.functions[name], _print(expression.args[0], library)[0]
    return function.format(argument) if "{}" in function else f"{function}({argument})"
