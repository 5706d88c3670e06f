"""Code and formulas to paste elsewhere: a normalized activation with its constants to full double precision."""

import math
import re
from collections.abc import Callable
from typing import Any

import sympy
from sympy.printing.numpy import SciPyPrinter

from gpn._version import __version__
from theory.activation import Activation, CallableActivation
from theory.arithmetic import X, fold_constants
from theory.errors import UsageError
from theory.pieces import Piece
from theory.poincare import Normalization

_SOURCE = "Lu, Gould, Ajanthan 2020, arXiv 2006.12169"


def snippet(activation: Activation | CallableActivation, normalization: Normalization, target: str) -> str:
    r"""Code that computes the normalized activation $f = a \phi + b$, generated from its SymPy expression.

    Args:
        activation: phi; its expression is what is printed.
        normalization: a and b, printed so that they read back as the same float64 numbers, and their provenance.
        target: "numpy", functions of arrays for value and slope (they import SciPy where phi needs it), or "latex".

    Raises:
        UsageError: another target, or an activation without a formula (a Python function).

    >>> from theory.poincare import normalization
    >>> from theory.specification import activation
    >>> relu = activation("relu")
    >>> code = snippet(relu, normalization(relu), "numpy")
    >>> names = {}
    >>> exec(code, names)
    >>> names["gpn_relu"]([-1.0, 3.0]), names["gpn_relu_slope"]([-1.0, 3.0])
    (array([0.        , 4.24264069]), array([0.        , 1.41421356]))
    """
    if target not in _TARGETS:
        raise UsageError(f"there is no export to {target[:40]!r}; the targets are {', '.join(_TARGETS)}")
    if not isinstance(activation, Activation):
        raise UsageError(
            f"{activation.name} is a Python function without a formula to export; give it as a SymPy expression"
        )
    return _TARGETS[target](activation, normalization)


def _provenance(activation: Activation, normalization: Normalization, comment: str) -> str:
    """Where the constants come from, as comment lines."""
    formula = str(activation.expression)
    name = "".join(character for character in activation.name if character.isprintable())
    named = name if len(formula) > 80 or name == formula else f"{name}: {formula}"
    lines = (
        f"f(x) = a*phi(x) + b with phi = {named},",
        f"so that E f(z)^2 = E f'(z)^2 = 1 for z ~ N(0, 1) ({_SOURCE}).",
        f"Root {normalization.root}: chi = {normalization.chi:.6g}, {normalization.stability} in depth.",
        f"Written by gpn {__version__}.",
    )
    return "".join(f"{comment} {line}\n" for line in lines)


def _numpy(activation: Activation, normalization: Normalization) -> str:
    name = _identifier(activation.name)
    value = _numpy_branches(activation.pieces, lambda piece: piece.value)
    slope = _numpy_branches(activation.pieces, lambda piece: piece.slope)
    imports = "import numpy as np\n"
    if "special." in value + slope:
        imports += "from scipy import special\n"
    return (
        f"{_provenance(activation, normalization, '#')}{imports}\n"
        f"A = {normalization.a!r}\nB = {normalization.b!r}\n\n\n"
        f'def {name}(x):\n    """a*phi(x) + b, elementwise."""\n'
        f"    x = np.asarray(x, dtype=float)\n    return A * {value} + B\n\n\n"
        f'def {name}_slope(x):\n    """a*phi\'(x), elementwise."""\n'
        f"    x = np.asarray(x, dtype=float)\n    return A * {slope}\n"
    )


def _identifier(name: str) -> str:
    """A Python name for a catalog name; a formula has none.

    >>> _identifier("leaky_relu(0.2)"), _identifier("x*tanh(x)")
    ('gpn_leaky_relu', 'gpn_activation')
    """
    match = re.fullmatch(r"([a-z][a-z0-9_]*)(\([^()x]*\))?", name, re.ASCII)
    return f"gpn_{match[1]}" if match and name != "x" else "gpn_activation"


def _numpy_branches(pieces: tuple[Piece, ...], order: Callable[[Piece], sympy.Expr]) -> str:
    """A NumPy expression for all pieces; a piece meets only arguments of its own interval, so nothing overflows."""
    code = _numpy_piece(order(pieces[-1]), pieces[-1])
    if len(pieces) == 1 and not order(pieces[-1]).has(X):
        code = f"np.full_like(x, {code})"
    for piece in pieces[-2::-1]:
        code = f"np.where(x <= {_print_numpy(piece.upper)}, {_numpy_piece(order(piece), piece)}, {code})"
    return code if code.startswith("np.") and len(pieces) > 1 else f"({code})"


def _numpy_piece(expression: sympy.Expr, piece: Piece) -> str:
    lower, upper = piece.lower, piece.upper
    if expression.is_polynomial(X) or (lower, upper) == (-sympy.oo, sympy.oo):
        return _print_numpy(expression)
    if upper == sympy.oo:
        clamped = f"np.maximum(x, {_print_numpy(lower)})"
    elif lower == -sympy.oo:
        clamped = f"np.minimum(x, {_print_numpy(upper)})"
    else:
        clamped = f"np.clip(x, {_print_numpy(lower)}, {_print_numpy(upper)})"
    return _print_numpy(expression.xreplace({X: sympy.Symbol(clamped, real=True)}))


def _print_numpy(expression: sympy.Expr) -> str:
    return str(_NumPyPrinter().doprint(fold_constants(expression))).replace("numpy.", "np.").replace("scipy.", "")


class _NumPyPrinter(SciPyPrinter):
    """SymPy's NumPy and SciPy printer with this project's special functions, and constants as float64."""

    def _print_Float(self, expr: sympy.Float) -> str:
        return repr(float(expr))

    def _print_sigmoid(self, expr: Any) -> str:
        return f"special.expit({self._print(expr.args[0])})"

    def _print_softplus(self, expr: Any) -> str:
        return f"np.logaddexp(0.0, {self._print(expr.args[0])})"

    def _print_normal_cdf(self, expr: Any) -> str:
        return f"special.ndtr({self._print(expr.args[0])})"

    def _print_normal_pdf(self, expr: Any) -> str:
        return f"(np.exp(-0.5 * np.square({self._print(expr.args[0])})) / {math.sqrt(2 * math.pi)!r})"

    def _print_hermite_normalized(self, expr: Any) -> str:
        degree, argument = expr.args
        norm = math.sqrt(math.factorial(int(degree)))
        return f"(special.eval_hermitenorm({degree}, {self._print(argument)}) / {norm!r})"


def _latex(activation: Activation, normalization: Normalization) -> str:
    return (
        f"{_provenance(activation, normalization, '%')}"
        "\\begin{equation}\n"
        f"  f(x) = a\\,\\phi(x) + b, \\quad \\phi(x) = {activation.latex}, \\quad\n"
        f"  a = {_latex_number(normalization.a)}, \\quad b = {_latex_number(normalization.b)}\n"
        "\\end{equation}\n"
    )


def _latex_number(value: float) -> str:
    """All digits of a float64, with a power of ten where Python writes an exponent.

    >>> print(_latex_number(-2.5e-17))
    -2.5 \\cdot 10^{-17}
    """
    mantissa, _, exponent = repr(value).partition("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa


_TARGETS: dict[str, Callable[[Activation, Normalization], str]] = {"numpy": _numpy, "latex": _latex}
