"""Code and formulas to paste elsewhere: a normalized activation with its constants to full double precision."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from flint import arb

from gpn._version import __version__
from gpn.checking.snippet_code import HERMITE, JAX, KERAS, NUMPY, TORCH, Library, body
from gpn.engine.arguments import vocabulary
from theory.activations.activation import Activation
from theory.activations.specification import activation
from theory.balls.core import NotCertified
from theory.balls.decimal import DecimalNumber, digits_of
from theory.errors import UsageError, unknown
from theory.gaussian.certified import certified_moments
from theory.gaussian.moments import CONDITIONS, Normalization
from theory.normalization.normalize import normalization

_SOURCE = "Lu, Gould, Ajanthan 2020, arXiv 2006.12169"
_DIGITS = 40  # of the enclosures of a and b
_SIGNIFICANT = 17  # decimal digits that tell every float64 number from its neighbours
_LONGEST_FORMULA = 80


@vocabulary()
def export(spec: object, target: str, root: str = "auto") -> str:
    r"""Return a file of code that computes the Gaussian-Poincaré normalized activation a*phi + b, with the b of `root`.

    $$f(x) = a\,\phi(x) + b, \qquad E f(z)^2 = E f'(z)^2 = 1, \qquad z \sim N(0, 1)$$

    (Lu, Gould, Ajanthan 2020.) The constants have 17 significant digits, correctly rounded from a certified enclosure
    wherever there is one, and read back as the float64 numbers nearest to the exact ones.

    Args:
        spec: phi: a name, a formula in x, a SymPy expression, or an activation. A Python function has no formula.
        target: "numpy": functions of arrays for value and slope (they import SciPy where phi needs it); "torch",
            "jax" and "keras" (Keras 3, any backend): a function, for torch and keras a module or layer too, with
            slopes by automatic differentiation; "latex": an equation.
        root: "auto", "plus", "minus" or "stable", as for `gpn.normalize`.

    Returns:
        The file as text. Its first lines, comments, say where the constants come from. In PyTorch, JAX and Keras it
        computes in the precision of x.

    Raises:
        UsageError: another target, a specification that cannot be read, a Python function, an activation without
            normalization, or one with a function that the library lacks.

    >>> names = {}
    >>> exec(export("relu", "numpy"), names)
    >>> names["gpn_relu"]([-1.0, 3.0]), names["gpn_relu_slope"]([-1.0, 3.0])
    (array([0.        , 4.24264069]), array([0.        , 1.41421356]))
    >>> print(*export("silu", "torch").splitlines()[5:], sep="\n")  # doctest: +ELLIPSIS
    import torch
    <BLANKLINE>
    A = 1.6233202579524973
    B = -0.75370938842042350
    <BLANKLINE>
    <BLANKLINE>
    def gpn_silu(x: torch.Tensor) -> torch.Tensor:
        ...
        y = x * torch.sigmoid(x)
        return A * y + B
    ...
    """
    if target not in TARGETS:
        raise unknown("target", target, TARGETS)
    phi = activation(spec)
    if not isinstance(phi, Activation):
        raise UsageError(
            f"{phi.name} is a Python function without a formula to export; give it as a formula in x or as a "
            "SymPy expression"
        )
    return TARGETS[target](phi, _constants(phi, root))


@dataclass(frozen=True, slots=True)
class _Constants:
    """The normalization, a and b as decimal literals, and how far they are proved."""

    normalization: Normalization[DecimalNumber]
    a: str
    b: str
    evidence: str


def _constants(phi: Activation, root: str) -> _Constants:
    """a and b to 17 significant digits, from the certified enclosures where they decide them."""
    chosen = normalization(phi, root)
    moments = certified_moments(phi, _DIGITS, CONDITIONS)
    roots = moments if isinstance(moments, NotCertified) else moments.normalizations()
    if isinstance(roots, NotCertified):
        return _estimated(chosen, roots.reason)
    balls = next((root for root in roots if root.root == chosen.root), None)
    if balls is None:
        return _estimated(chosen, "the enclosures of the two roots overlap")
    literals = [_literal(ball, value) for ball, value in ((balls.a, chosen.a), (balls.b, chosen.b))]
    if None in literals:
        return _estimated(chosen, "the enclosure is too wide to round correctly")
    digits = min(_proved_digits(ball) for ball in (balls.a, balls.b))
    return _Constants(chosen, str(literals[0]), str(literals[1]), f"certified to {digits} digits by ball arithmetic")


def _estimated(chosen: Normalization[DecimalNumber], reason: str) -> _Constants:
    a, b = (_float_text(f"{value:.{_SIGNIFICANT}g}") for value in (chosen.a, chosen.b))
    return _Constants(chosen, a, b, f"computed, not certified: {reason}")


def _literal(ball: arb, value: float) -> str | None:
    """The least number of digits from 17 on, all certain, that read back as the float64 nearest to the ball."""
    if value == 0:
        return "0.0" if ball.contains(0) else None
    for digits in range(_SIGNIFICANT, _SIGNIFICANT + 4):
        text = _float_text(digits_of(ball, digits))
        if text != "?" and float(text) == value:
            return text
    return None


def _float_text(text: str) -> str:
    """A decimal number that Python reads as a float.

    >>> _float_text("2"), _float_text("2.5"), _float_text("1e-17")
    ('2.0', '2.5', '1e-17')
    """
    return f"{text}.0" if text.lstrip("-").isdigit() else text


def _proved_digits(ball: arb) -> int:
    """Decimal digits that the radius leaves, relative to the number, or to 1 where it may be 0."""
    if ball.rad().is_zero():
        return _DIGITS
    size = abs(ball.mid()) if not ball.contains(0) else 1
    return min(_DIGITS, math.floor(-float((ball.rad() / size).log().upper()) / math.log(10)))


def _provenance(phi: Activation, constants: _Constants, comment: str) -> str:
    """Where the constants come from, as comment lines that nothing in a name can leave."""
    formula, chosen = str(phi.expression), constants.normalization
    name = "".join(character for character in phi.name if character.isprintable())
    if len(formula) <= _LONGEST_FORMULA and name != formula:
        name = f"{name}: {formula}"
    lines = (
        f"f(x) = a*phi(x) + b with phi = {name},",
        f"so that E f(z)^2 = E f'(z)^2 = 1 for z ~ N(0, 1) ({_SOURCE}).",
        f"Root {chosen.root}: chi = {chosen.chi:.6g}, {chosen.stability} in depth.",
        f"The constants a and b are {constants.evidence}.",
        f"Written by gpn {__version__}.",
    )
    return "".join(f"{comment} {line}\n" for line in lines)


def _header(phi: Activation, constants: _Constants, imports: str, code: str) -> str:
    """Provenance, imports, constants and, where the code calls it, the function for Hermite polynomials."""
    hermite = f"\n\n{HERMITE}" if "_hermite(" in code else ""
    return f"{_provenance(phi, constants, '#')}{imports}\nA = {constants.a}\nB = {constants.b}\n{hermite}\n\n"


def _function(phi: Activation, library: Library, signature: str, *, prepare: str = "", slope: bool = False) -> str:
    """The definition of the function f, or of its slope."""
    statements = body(phi, (lambda piece: piece.slope) if slope else (lambda piece: piece.value), library)
    what, result = ("a*phi'(x), elementwise.", "A * y") if slope else ("a*phi(x) + b, elementwise.", "A * y + B")
    lines = [f'"""{what}"""', *([prepare] if prepare else []), *statements, f"return {result}"]
    return f"def {signature}:\n" + "".join(f"    {line}\n" for line in lines)


def _numpy(phi: Activation, constants: _Constants) -> str:
    name, prepare = _identifier(phi.name), "x = np.asarray(x, dtype=float)"
    value = _function(phi, NUMPY, f"{name}(x)", prepare=prepare)
    code = f"{value}\n\n{_function(phi, NUMPY, f'{name}_slope(x)', prepare=prepare, slope=True)}"
    scipy = "from scipy import special\n" if "special." in code else ""
    return _header(phi, constants, f"import numpy as np\n{scipy}", code) + code


def _torch(phi: Activation, constants: _Constants) -> str:
    name = _identifier(phi.name)
    code = _function(phi, TORCH, f"{name}(x: torch.Tensor) -> torch.Tensor")
    code += (
        f'\n\nclass {_class_name(name)}(torch.nn.Module):\n    """a*phi(x) + b, elementwise."""\n\n'
        f"    def forward(self, x: torch.Tensor) -> torch.Tensor:\n        return {name}(x)\n"
    )
    return _header(phi, constants, "import torch\n", code) + code


def _jax(phi: Activation, constants: _Constants) -> str:
    code = _function(phi, JAX, f"{_identifier(phi.name)}(x)", prepare="x = jnp.asarray(x)")
    jax = "import jax\n" if "jax." in code else ""
    return _header(phi, constants, f"{jax}import jax.numpy as jnp\n", code) + code


def _keras(phi: Activation, constants: _Constants) -> str:
    name = _identifier(phi.name)
    code = _function(phi, KERAS, f"{name}(x)")
    code += (
        '\n\n@keras.saving.register_keras_serializable(package="gpn")\n'
        f'class {_class_name(name)}(keras.layers.Layer):\n    """a*phi(x) + b, elementwise."""\n\n'
        f"    def call(self, x):\n        return {name}(x)\n\n"
        "    def compute_output_shape(self, input_shape):\n        return input_shape\n"
    )
    ops = "from keras import ops\n" if "ops." in code else ""
    return _header(phi, constants, f"import keras\n{ops}", code) + code


def _latex(phi: Activation, constants: _Constants) -> str:
    return (
        f"{_provenance(phi, constants, '%')}% Needs \\usepackage{{amsmath}}.\n"
        "\\begin{equation}\n"
        f"  f(x) = a\\,\\phi(x) + b, \\quad \\phi(x) = {phi.latex}, \\quad\n"
        f"  a = {_latex_number(constants.a)}, \\quad b = {_latex_number(constants.b)}\n"
        "\\end{equation}\n"
    )


def _identifier(name: str) -> str:
    """A Python name for a catalog name; a formula has none.

    >>> _identifier("leaky_relu(0.2)"), _identifier("x*tanh(x)")
    ('gpn_leaky_relu', 'gpn_activation')
    """
    match = re.fullmatch(r"([a-z][a-z0-9_]*)(\([^()x]*\))?", name, re.ASCII)
    return f"gpn_{match[1]}" if match and name != "x" else "gpn_activation"


def _class_name(identifier: str) -> str:
    """The name of the class of a function.

    >>> _class_name("gpn_leaky_relu")
    'GPNLeakyRelu'
    """
    return "GPN" + "".join(part.capitalize() for part in identifier.split("_")[1:])


def _latex_number(literal: str) -> str:
    r"""A decimal literal, with a power of ten where it has an exponent.

    >>> print(_latex_number("-2.5e-17"))
    -2.5 \cdot 10^{-17}
    """
    mantissa, _, exponent = literal.partition("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa


TARGETS: MappingProxyType[str, Callable[[Activation, _Constants], str]] = MappingProxyType(
    {"numpy": _numpy, "torch": _torch, "jax": _jax, "keras": _keras, "latex": _latex}
)
"""The writers by the names of the targets."""
