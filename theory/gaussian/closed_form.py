r"""Gaussian moments in closed form, derived by rule for any activation whose pieces are built of known parts.

A piece is expanded into terms

.. math:: c \; x^n \; e^{A x^2 + B x} \; \prod_j \Phi(c_j x + d_j) \; (x^2 + b)^{k/2} \; (x + a)^{-m}

and each term has a short list of rules: moments of a truncated normal law, Stein's identity, the probability
that normal variables are positive together (Owen 1980), and three base integrals of DLMF for the last two
factors. What is not of this form (tanh, sigmoid, softplus, ...) has no closed form that we know of, and the
answer says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import mpmath
import sympy
from sympy import sqrt

from theory.activations.activation import Activation
from theory.errors import UsageError
from theory.gaussian.closed_form_rules import _ZERO, _expand, _Form, _integral, _NoClosedForm, _power, _tidy, _times
from theory.numerics.arithmetic import X, constant_value
from theory.numerics.special import normal_cdf, sigmoid

QUANTITIES: Mapping[str, str] = {
    "mean": r"E\,\varphi",
    "second_moment": r"E\,\varphi^2",
    "slope_second_moment": r"E\,\varphi'^2",
    "mean_hermite": r"E\,\varphi\,(z^2-1)",
    "square_hermite": r"E\,\varphi^2 (z^2-1)",
}
"""The moments that GPN needs, by the name of their attribute, in LaTeX; z ~ N(0, 1)."""


@dataclass(frozen=True, slots=True)
class ClosedForm:
    r"""Exact moments of an activation at z ~ N(0, 1), and what follows from them.

    With m = E phi, V = E phi^2 - m^2 and G = E phi'^2 (Lu, Gould, Ajanthan 2020):

    .. math:: a = G^{-1/2}, \quad b_\pm = -a m \pm \sqrt{1 - a^2 V} = a (-m \pm \sqrt{G - V}), \quad
        \chi_\pm = \tfrac12 a^2 E \phi^2 (z^2-1) + a b_\pm E \phi (z^2-1)

    Args:
        activation: the name of the activation.
        mean, second_moment, slope_second_moment: E phi, E phi^2, E phi'^2; None where no closed form is known.
        mean_hermite, square_hermite: E phi (z^2 - 1) and E phi^2 (z^2 - 1).
        reasons: why a moment is None, by its name.

    >>> from theory.activations.catalog import build
    >>> closed_form(build("relu")).b("minus")
    -2/sqrt(pi)
    """

    activation: str
    mean: sympy.Expr | None
    second_moment: sympy.Expr | None
    slope_second_moment: sympy.Expr | None
    mean_hermite: sympy.Expr | None
    square_hermite: sympy.Expr | None
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def a(self) -> sympy.Expr | None:
        """The scale 1/sqrt(E phi'^2); None if unknown or phi is constant."""
        slope = self.slope_second_moment
        return None if slope is None or slope == 0 else 1 / sqrt(slope)

    def b(self, root: str) -> sympy.Expr | None:
        """The shift of the root "plus" or "minus"; None if a moment is unknown."""
        offset = self._offset(root)
        return None if self.a is None or offset is None else self.a * offset

    def chi(self, root: str) -> sympy.Expr | None:
        """The slope at 1 of the length map of a phi + b; None if a moment is unknown."""
        offset = self._offset(root)
        if self.a is None or offset is None or self.square_hermite is None or self.mean_hermite is None:
            return None
        return _tidy(self.square_hermite / 2 + offset * self.mean_hermite) / self.slope_second_moment

    def _offset(self, root: str) -> sympy.Expr | None:
        """b/a = -m +- sqrt(G - V)."""
        if root not in ("plus", "minus"):
            raise UsageError(f"the root is 'plus' or 'minus', not {root!r:.40}")
        if self.mean is None or self.second_moment is None or self.slope_second_moment is None:
            return None
        margin = _tidy(self.slope_second_moment - self.second_moment + self.mean**2)
        return -self.mean + sqrt(margin) if root == "plus" else -self.mean - sqrt(margin)

    def moments(self) -> dict[str, sympy.Expr]:
        """The moments that are known, by the names of `QUANTITIES`."""
        quantities = {name: getattr(self, name) for name in QUANTITIES}
        return {name: expression for name, expression in quantities.items() if expression is not None}

    def expressions(self) -> dict[str, sympy.Expr]:
        """Everything known, by name: the moments, a, b_plus, b_minus, chi_plus, chi_minus."""
        roots = ("plus", "minus")
        derived = {"a": self.a} | {f"b_{root}": self.b(root) for root in roots}
        derived |= {f"chi_{root}": self.chi(root) for root in roots}
        return self.moments() | {name: value for name, value in derived.items() if value is not None}

    def evaluate(self, digits: int = 30, *, moments_only: bool = False) -> dict[str, mpmath.mpf]:
        """Everything known, or the moments only, as decimal numbers correct to the digits asked for.

        >>> from theory.activations.catalog import build
        >>> mpmath.nstr(closed_form(build("gelu")).evaluate(20)["second_moment"], 20)
        '0.42522148257029867492'
        """
        wanted = self.moments() if moments_only else self.expressions()
        return {name: _decimal(value, digits) for name, value in wanted.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: each known quantity as SymPy text, LaTeX and 20 digits, and the reasons."""
        with mpmath.workdps(30):
            values = {name: mpmath.nstr(value, 20) for name, value in self.evaluate(25).items()}
        return {
            "activation": self.activation,
            "quantities": {
                name: {"expression": str(value), "latex": str(sympy.latex(value)), "value": values[name]}
                for name, value in self.expressions().items()
            },
            "reasons": dict(self.reasons),
        }

    def _repr_latex_(self) -> str:
        rows = [rf"{QUANTITIES[name]} &= {sympy.latex(value)}" for name, value in self.moments().items()]
        return r"$\begin{aligned} " + r" \\ ".join(rows) + r" \end{aligned}$"


def closed_form(activation: object) -> ClosedForm | None:
    r"""The moments of an activation as exact expressions, as far as rules are known for them.

    .. math:: E \phi, \quad E \phi^2, \quad E \phi'^2, \quad E \phi (z^2-1), \quad E \phi^2 (z^2-1),
        \qquad z \sim N(0, 1)

    Args:
        activation: an `Activation`; for anything else (a Python callable) the answer is None.

    Returns:
        A `ClosedForm`, in which single moments may be None with a reason; None if not a single one is known.

    >>> from theory.activations.catalog import build
    >>> closed_form(build("gelu")).second_moment
    sqrt(3)/(6*pi) + 1/3
    >>> closed_form(build("sin")).slope_second_moment
    exp(-2)/2 + 1/2
    >>> closed_form(build("mish")) is None
    True
    """
    if not isinstance(activation, Activation):
        return None
    reasons: dict[str, str] = {}
    moments: dict[str, sympy.Expr | None] = {}
    offset = _odd_offset(activation)
    hermite = X**2 - 1
    integrands: dict[str, Callable[[Any], _Form]] = {
        "mean": lambda piece: _expand(piece.value),
        "second_moment": lambda piece: _power(_expand(piece.value), 2),
        "slope_second_moment": lambda piece: _power(_expand(piece.slope), 2),
        "mean_hermite": lambda piece: _times(_expand(piece.value), _expand(hermite)),
        "square_hermite": lambda piece: _times(_power(_expand(piece.value), 2), _expand(hermite)),
    }
    for name, integrand in integrands.items():
        try:
            if offset is not None and name in ("mean", "mean_hermite"):
                moments[name] = offset if name == "mean" else _ZERO
            else:
                _refuse_jumps(activation, name)
                moments[name] = _expectation(activation, integrand)
        except _NoClosedForm as error:
            moments[name], reasons[name] = None, str(error)
    if len(reasons) == len(QUANTITIES):
        return None
    return ClosedForm(activation.name, **moments, reasons=reasons)


def _decimal(expression: sympy.Expr, digits: int) -> mpmath.mpf:
    """A constant to the given digits, with more working digits until two precisions agree."""
    working = digits + 10
    value = constant_value(expression, working)
    while working < 20 * (digits + 10):
        working *= 2
        value, coarse = constant_value(expression, working), value
        with mpmath.workdps(working):
            if abs(value - coarse) <= mpmath.mpf(10) ** (-digits - 5) * abs(value):
                break
    return value


def _refuse_jumps(activation: Activation, name: str) -> None:
    if activation.undefined:
        raise _NoClosedForm("the function is undefined on part of the line")
    if name == "slope_second_moment" and activation.jumps:
        points = ", ".join(map(str, activation.jumps))
        raise _NoClosedForm(f"the function jumps at {points}: it is not weakly differentiable")


def _odd_offset(activation: Activation) -> sympy.Expr | None:
    """The constant c for which phi - c is odd, if SymPy sees it: then E phi = c and E phi (z^2 - 1) = 0."""
    if activation.undefined or not _grows_polynomially(activation.expression):
        return None
    mirrored = activation.expression.xreplace({X: -X})
    both = (activation.expression + mirrored).replace(
        lambda node: isinstance(node, sigmoid) and node.args[0].could_extract_minus_sign(),
        lambda node: 1 - sigmoid(-node.args[0]),
    )
    total = sympy.expand(both)
    return None if total.free_symbols else total / 2


def _grows_polynomially(expression: sympy.Expr) -> bool:
    """Whether the mean exists for sure: powers and bounded functions only."""
    tame = (sympy.tanh, sympy.atan, sympy.asinh, sympy.erf, sympy.sin, sigmoid, normal_cdf, sympy.Abs)
    powers = expression.atoms(sympy.Pow)
    return all(isinstance(node, tame) for node in expression.atoms(sympy.Function)) and all(
        power.exp.is_Integer and (power.exp > 0 or (1 / power).is_positive) for power in powers if power.has(X)
    )


def _expectation(activation: Activation, integrand: Callable[[Any], "_Form"]) -> sympy.Expr:
    total = _ZERO
    for piece in activation.pieces:
        for term, coefficient in integrand(piece).items():
            if coefficient != 0:
                total += coefficient * _integral(term, piece.lower, piece.upper)
    result = _tidy(total)
    if result.has(sympy.I):
        raise _NoClosedForm("imaginary parts that SymPy cannot cancel")
    return result
