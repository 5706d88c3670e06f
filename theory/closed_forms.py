r"""Gaussian moments in closed form, derived by rule for any activation whose pieces are built of known parts.

A piece is expanded into terms

.. math:: c \; x^n \; e^{A x^2 + B x} \; \prod_j \Phi(c_j x + d_j) \; (x^2 + b)^{k/2} \; (x + a)^{-m}

and each term has a short list of rules: moments of a truncated normal law, Stein's identity, the probability
that normal variables are positive together (Owen 1980), and three base integrals of DLMF for the last two
factors. What is not of this form (tanh, sigmoid, softplus, ...) has no closed form that we know of, and the
answer says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from math import comb
from typing import Any

import mpmath
import sympy
from sympy import Integer, Rational, pi, sqrt

from theory.activation import Activation
from theory.arithmetic import X, constant_value
from theory.errors import UsageError
from theory.functions import expm1, hermite_normalized, normal_cdf, normal_pdf, sigmoid

_ZERO, _ONE, _HALF = Integer(0), Integer(1), Rational(1, 2)
_ROOT_2PI = sqrt(2 * pi)
_MOST_TERMS = 4000

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
        activation: its name.
        mean, second_moment, slope_second_moment: E phi, E phi^2, E phi'^2; None where no closed form is
        known. mean_hermite, square_hermite: E phi (z^2 - 1) and E phi^2 (z^2 - 1). reasons: why a moment is
        None, by its name.

    >>> from theory.catalog import build
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
    def is_complete(self) -> bool:
        """Whether all five moments have a closed form."""
        return not self.reasons

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
        sign = _sign(root)
        if self.mean is None or self.second_moment is None or self.slope_second_moment is None:
            return None
        margin = _tidy(self.slope_second_moment - self.second_moment + self.mean**2)
        return -self.mean + sign * sqrt(margin)

    def moments(self) -> dict[str, sympy.Expr]:
        """The moments that are known, by the names of `QUANTITIES`."""
        found = {name: getattr(self, name) for name in QUANTITIES}
        return {name: expression for name, expression in found.items() if expression is not None}

    def expressions(self) -> dict[str, sympy.Expr]:
        """Everything known, by name: the moments, a, b_plus, b_minus, chi_plus, chi_minus."""
        derived: dict[str, sympy.Expr | None] = {"a": self.a}
        derived |= {f"b_{root}": self.b(root) for root in ("plus", "minus")}
        derived |= {f"chi_{root}": self.chi(root) for root in ("plus", "minus")}
        return self.moments() | {name: value for name, value in derived.items() if value is not None}

    def evaluate(self, digits: int = 30, *, moments_only: bool = False) -> dict[str, mpmath.mpf]:
        """Everything known, or the moments only, as decimal numbers correct to the digits asked for.

        >>> from theory.catalog import build
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
        rows = [
            rf"{symbol} &= {sympy.latex(getattr(self, name))}"
            for name, symbol in QUANTITIES.items()
            if getattr(self, name) is not None
        ]
        return r"$\begin{aligned} " + r" \\ ".join(rows) + r" \end{aligned}$"


def closed_form(activation: object) -> ClosedForm | None:
    r"""The moments of an activation as exact expressions, as far as rules are known for them.

    .. math:: E \phi, \quad E \phi^2, \quad E \phi'^2, \quad E \phi (z^2-1), \quad E \phi^2 (z^2-1),
        \qquad z \sim N(0, 1)

    Args:
        activation: an `Activation`; for anything else (a Python callable) the answer is None.

    Returns:
        A `ClosedForm`, in which single moments may be None with a reason; None if not a single one is known.

    >>> from theory.catalog import build
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


class _NoClosedForm(Exception):
    """A moment for which no rule is known; the text says why."""


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


def _sign(root: str) -> int:
    if root not in ("plus", "minus"):
        raise UsageError(f"the root is 'plus' or 'minus', not {root!r:.40}")
    return 1 if root == "plus" else -1


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


def _tidy(expression: sympy.Expr) -> sympy.Expr:
    """Expand; one of erf(u), erfc(u) where both occur; one fraction where SELU's constants leave many."""
    expanded = sympy.expand(expression)
    if expanded.has(sympy.I):
        expanded = sympy.expand(sympy.expand_complex(expanded))
    both = [node for node in expanded.atoms(sympy.erfc) if expanded.has(sympy.erf(node.args[0]))]
    expanded = sympy.expand(expanded.xreplace({node: 1 - sympy.erf(node.args[0]) for node in both}))
    if any(power.exp.is_negative and isinstance(power.base, sympy.Add) for power in expanded.atoms(sympy.Pow)):
        return sympy.cancel(sympy.together(expanded))
    return expanded


# -------------------------------------------------------------------------------- expansion into terms


@dataclass(frozen=True, slots=True)
class _Term:
    """x^power exp(quadratic x^2 + linear x) prod Phi(c x + d) (x^2 + b)^(k/2) (x + a)^(-m).

    Args:
        cdfs: pairs (c, d), sorted.
        radical: (b, k) with k != 0, or None.
        pole: (a, m) with m > 0, or None.
    """

    power: int = 0
    quadratic: sympy.Expr = _ZERO
    linear: sympy.Expr = _ZERO
    cdfs: tuple[tuple[sympy.Expr, sympy.Expr], ...] = ()
    radical: tuple[sympy.Expr, int] | None = None
    pole: tuple[sympy.Expr, int] | None = None


_Form = dict[_Term, sympy.Expr]


def _expand(expression: sympy.Expr) -> _Form:
    """An expression as a sum of terms.

    Raises:
        _NoClosedForm: a part that is not in the list of known ones.
    """
    if not expression.has(X):
        return {_Term(): expression}
    if expression == X:
        return {_Term(power=1): _ONE}
    if isinstance(expression, sympy.Add):
        return reduce(_plus, map(_expand, expression.args))
    if isinstance(expression, sympy.Mul):
        return reduce(_times, map(_expand, expression.args))
    if isinstance(expression, sympy.Pow):
        return _expand_power(expression.base, expression.exp)
    rule = _RULES.get(type(expression))
    if rule is None:
        raise _NoClosedForm(f"no closed form is known for Gaussian integrals of {expression}")
    return rule(*expression.args)


def _plus(first: _Form, second: _Form) -> _Form:
    total = dict(first)
    for term, coefficient in second.items():
        total[term] = total.get(term, _ZERO) + coefficient
    return total


def _scaled(form: _Form, factor: sympy.Expr) -> _Form:
    return {term: factor * coefficient for term, coefficient in form.items()}


def _times(first: _Form, second: _Form) -> _Form:
    product: _Form = {}
    if len(first) * len(second) > _MOST_TERMS:
        raise _NoClosedForm("the expansion has too many terms")
    for left, left_coefficient in first.items():
        for right, right_coefficient in second.items():
            term = _Term(
                left.power + right.power,
                sympy.expand(left.quadratic + right.quadratic),
                sympy.expand(left.linear + right.linear),
                tuple(sorted(left.cdfs + right.cdfs, key=str)),
                _merged(left.radical, right.radical),
                _merged(left.pole, right.pole),
            )
            product[term] = product.get(term, _ZERO) + left_coefficient * right_coefficient
    return product


def _merged(left: tuple[sympy.Expr, int] | None, right: tuple[sympy.Expr, int] | None) -> tuple[sympy.Expr, int] | None:
    """The product of two powers of the same base."""
    if left is None or right is None:
        return left or right
    if left[0] != right[0]:
        raise _NoClosedForm("two different radicals or poles are multiplied")
    exponent = left[1] + right[1]
    return (left[0], exponent) if exponent else None


def _power(form: _Form, exponent: int) -> _Form:
    return reduce(_times, [form] * exponent, {_Term(): _ONE})


def _expand_power(base: sympy.Expr, exponent: sympy.Expr) -> _Form:
    if not base.has(X):
        return _exp(exponent * sympy.log(base))
    if exponent.is_Integer and 0 <= exponent <= 200:
        return _power(_expand(base), int(exponent))
    coefficients = _coefficients(base, 2)
    doubled = 2 * exponent
    if coefficients[2] == 0 and exponent.is_Integer:
        slope, shift = coefficients[1], coefficients[0]
        return {_Term(pole=(shift / slope, -int(exponent))): slope**exponent}
    scaled_shift = coefficients[0] / coefficients[2] if coefficients[2] != 0 else _ZERO
    if coefficients[1] == 0 and doubled.is_Integer and scaled_shift.is_positive and coefficients[2].is_positive:
        return {_Term(radical=(scaled_shift, int(doubled))): coefficients[2] ** exponent}
    raise _NoClosedForm(f"no closed form is known for Gaussian integrals of {base**exponent}")


def _coefficients(expression: sympy.Expr, degree: int) -> list[sympy.Expr]:
    """Coefficients of a polynomial of at most the given degree, constant first."""
    if not expression.is_polynomial(X) or sympy.degree(expression, X) > degree:
        raise _NoClosedForm(f"{expression} is not a polynomial of degree {degree} or less")
    expanded = sympy.expand(expression)
    return [expanded.coeff(X, k) for k in range(degree + 1)]


def _exp(argument: sympy.Expr) -> _Form:
    constant, linear, quadratic = _coefficients(argument, 2)
    return {_Term(quadratic=quadratic, linear=linear): sympy.exp(constant)}


def _waves(argument: sympy.Expr, *, hyperbolic: bool) -> tuple[_Form, _Form]:
    """Even and odd part of the exponential in a linear argument: (cos, sin), or (cosh, sinh)."""
    constant, linear = _coefficients(argument, 1)
    unit = _ONE if hyperbolic else sympy.I
    up, down = {_Term(linear=unit * linear): _HALF}, {_Term(linear=-unit * linear): _HALF}
    even, odd = _plus(up, down), _scaled(_plus(up, _scaled(down, -_ONE)), 1 / unit)
    cos, sin = (sympy.cosh, sympy.sinh) if hyperbolic else (sympy.cos, sympy.sin)
    square = _ONE if hyperbolic else -_ONE
    return (
        _plus(_scaled(even, cos(constant)), _scaled(odd, square * sin(constant))),
        _plus(_scaled(odd, cos(constant)), _scaled(even, sin(constant))),
    )


def _cdf(argument: sympy.Expr) -> _Form:
    shift, slope = _coefficients(argument, 1)
    return {_Term(cdfs=((slope, shift),)): _ONE}


def _hermite(degree: sympy.Expr, argument: sympy.Expr) -> _Form:
    symbol = sympy.Dummy()
    polynomial = sympy.Poly(sympy.hermite_prob(degree, symbol), symbol)
    inner, norm = _expand(argument), 1 / sqrt(sympy.factorial(degree))
    parts = (_scaled(_power(inner, power), norm * factor) for (power,), factor in polynomial.terms())
    return reduce(_plus, parts)


_UNIT: _Form = {_Term(): _ONE}

_RULES: Mapping[Any, Callable[..., _Form]] = {
    sympy.exp: _exp,
    expm1: lambda u: _plus(_exp(u), _scaled(_UNIT, -_ONE)),
    normal_pdf: lambda u: _scaled(_exp(-(u**2) / 2), 1 / _ROOT_2PI),
    normal_cdf: _cdf,
    sympy.erf: lambda u: _plus(_scaled(_cdf(sqrt(2) * u), Integer(2)), _scaled(_UNIT, -_ONE)),
    sympy.erfc: lambda u: _scaled(_cdf(-sqrt(2) * u), Integer(2)),
    sympy.cos: lambda u: _waves(u, hyperbolic=False)[0],
    sympy.sin: lambda u: _waves(u, hyperbolic=False)[1],
    sympy.cosh: lambda u: _waves(u, hyperbolic=True)[0],
    sympy.sinh: lambda u: _waves(u, hyperbolic=True)[1],
    hermite_normalized: _hermite,
}


# -------------------------------------------------------------------------------- integrals of one term


def _integral(term: _Term, lower: sympy.Expr, upper: sympy.Expr) -> sympy.Expr:
    """The expectation of a term on the event lower < z < upper."""
    precision = 1 - 2 * term.quadratic
    if not precision.is_positive:
        raise _NoClosedForm("a part of the integrand grows like exp(x^2/2) or faster")
    whole = lower == -sympy.oo and upper == sympy.oo
    if term.pole is not None:
        return _pole_integral(term, lower, upper)
    if term.radical is not None:
        return _radical_integral(term, whole=whole)
    if term.cdfs and not whole:
        raise _NoClosedForm("the normal distribution function times a polynomial on a part of the line")
    if not whole and not term.linear.is_real:
        raise _NoClosedForm("the error function of a complex argument")
    return _shifted(term, lower, upper)


def _shifted(term: _Term, lower: sympy.Expr, upper: sympy.Expr) -> sympy.Expr:
    r"""Complete the square: exp(A x^2 + B x) turns N(0, 1) into N(B/s, 1/s), s = 1 - 2A."""
    precision = 1 - 2 * term.quadratic
    mean, scale = term.linear / precision, 1 / sqrt(precision)
    weight = scale * sympy.exp(term.linear**2 / (2 * precision))
    cdfs = tuple((slope * scale, sympy.expand(slope * mean + shift)) for slope, shift in term.cdfs)
    if cdfs and not all(shift.is_real for _, shift in cdfs):
        raise _NoClosedForm("the error function of a complex argument")
    if cdfs:
        moments = [_cdf_moment(k, cdfs) for k in range(term.power + 1)]
    else:
        moments = _truncated_moments(term.power, (lower - mean) / scale, (upper - mean) / scale)
    total = sum(comb(term.power, k) * mean ** (term.power - k) * scale**k * moments[k] for k in range(term.power + 1))
    return sympy.expand(weight * total)


def _truncated_moments(order: int, lower: sympy.Expr, upper: sympy.Expr) -> list[sympy.Expr]:
    """M_k = E z^k on lower < z < upper: M_k = (k-1) M_{k-2} + lower^(k-1) p(lower) - upper^(k-1) p(upper)."""
    moments = [_probability(lower, upper)]
    for k in range(1, order + 1):
        previous = (k - 1) * moments[k - 2] if k > 1 else _ZERO
        moments.append(previous + _edge(lower, k - 1) - _edge(upper, k - 1))
    return moments


def _edge(point: sympy.Expr, power: int) -> sympy.Expr:
    if point.is_infinite:
        return _ZERO
    return point**power * sympy.exp(-sympy.expand(point**2) / 2) / _ROOT_2PI


def _probability(lower: sympy.Expr, upper: sympy.Expr) -> sympy.Expr:
    """P(lower < z < upper) in the error function that does not cancel."""
    if lower.is_infinite and upper.is_infinite:
        return _ONE
    if lower.is_infinite or upper.is_infinite:
        return _tail(-upper if lower.is_infinite else lower)
    if lower.is_negative and upper.is_positive:
        return (sympy.erf(upper / sqrt(2)) + sympy.erf(-lower / sqrt(2))) / 2
    if upper.is_nonpositive:
        lower, upper = -upper, -lower
    return _tail(lower) - _tail(upper)


def _tail(point: sympy.Expr) -> sympy.Expr:
    """P(z > point)."""
    if point.is_negative:
        return 1 - sympy.erfc(-point / sqrt(2)) / 2
    return sympy.erfc(point / sqrt(2)) / 2


def _cdf_moment(power: int, cdfs: tuple[tuple[sympy.Expr, sympy.Expr], ...]) -> sympy.Expr:
    """E z^n G(z), G = prod Phi(c z + d), by Stein's identity E z^n G = (n-1) E z^(n-2) G + E z^(n-1) G'."""
    if power == 0:
        return _orthant(cdfs)
    total = (power - 1) * _cdf_moment(power - 2, cdfs) if power > 1 else _ZERO
    for j, (slope, shift) in enumerate(cdfs):
        rest = cdfs[:j] + cdfs[j + 1 :]
        bump = _Term(power - 1, -(slope**2) / 2, sympy.expand(-slope * shift), rest)
        factor = slope * sympy.exp(-(shift**2) / 2) / _ROOT_2PI
        total += factor * _shifted(bump, -sympy.oo, sympy.oo)
    return total


def _orthant(cdfs: tuple[tuple[sympy.Expr, sympy.Expr], ...]) -> sympy.Expr:
    """E prod Phi(c_j z + d_j), the probability that y_j < c_j z + d_j for independent normal y_j (Owen 1980).

    One factor: Phi(d/sqrt(1 + c^2)). Two or three factors with d = 0: Sheppard's arcsine formula (1899) for
    the correlations c_i c_j/sqrt((1 + c_i^2)(1 + c_j^2)).
    """
    if len(cdfs) == 1:
        ((slope, shift),) = cdfs
        return _tail(-shift / sqrt(1 + slope**2))
    if len(cdfs) > 3 or any(shift != 0 for _, shift in cdfs):
        raise _NoClosedForm("a product of several normal distribution functions")
    pairs = [(c, d) for i, (c, _) in enumerate(cdfs) for d, _ in cdfs[i + 1 :]]
    angles = sum(sympy.asin(c * d / sqrt((1 + c**2) * (1 + d**2))) for c, d in pairs)
    return Rational(1, 4) + angles / (2 * pi) if len(cdfs) == 2 else Rational(1, 8) + angles / (4 * pi)


def _radical_integral(term: _Term, *, whole: bool) -> sympy.Expr:
    """E z^n (z^2 + b)^(k/2): zero for odd n, else z^2 = (z^2 + b) - b reduces it to n = 0."""
    if not whole or term.linear != 0 or term.cdfs or term.radical is None:
        raise _NoClosedForm("a radical times an exponential or on a part of the line")
    if term.power % 2:
        return _ZERO
    precision = 1 - 2 * term.quadratic
    shift, exponent = term.radical[0] * precision, term.radical[1]
    half = term.power // 2
    total = sum(
        comb(half, j) * (-shift) ** (half - j) * _radical_moment(shift, exponent + 2 * j) for j in range(half + 1)
    )
    return total / sqrt(precision) ** (1 + term.power + exponent)


def _radical_moment(b: sympy.Expr, k: int) -> sympy.Expr:
    """J_k = E (z^2 + b)^(k/2), b > 0, from J_{k+2} = (1 + k + b) J_k - k b J_{k-2} (Stein's identity).

    J_{-2} is an error function (DLMF 7.7.1), J_{-1} and J_{-3} are Bessel functions K_0, K_1 (DLMF 10.32.8).
    """
    if k % 2 == 0:
        known = {0: _ONE, -2: sqrt(pi / (2 * b)) * sympy.exp(b / 2) * sympy.erfc(sqrt(b / 2))}
    else:
        zero, one = sympy.besselk(0, b / 4), sympy.besselk(1, b / 4)
        factor = sympy.exp(b / 4) / _ROOT_2PI
        known = {-1: factor * zero, -3: factor * (one - zero) / 2}
    for j in range(max(known), k, 2):
        known[j + 2] = (1 + j + b) * known[j] - (j * b * known[j - 2] if j else 0)
    for j in range(min(known), k, -2):
        known[j - 2] = ((1 + j + b) * known[j] - known[j + 2]) / (j * b)
    return known[k]


def _pole_integral(term: _Term, lower: sympy.Expr, upper: sympy.Expr) -> sympy.Expr:
    """E z^n (z + a)^(-m) on z > 0 with a > 0; the left half-line by reflection."""
    if term.pole is None or term.linear != 0 or term.cdfs or term.radical is not None or term.quadratic != 0:
        raise _NoClosedForm("a pole times another factor")
    a, m = term.pole
    if lower == -sympy.oo and upper == 0:
        mirrored = replace(term, pole=(-a, m))
        return (-1) ** (term.power + m) * _pole_integral(mirrored, _ZERO, sympy.oo)
    if lower != 0 or upper != sympy.oo or not a.is_positive:
        raise _NoClosedForm("a pole, unless on one side of zero")
    n = term.power
    return sum((comb(n, j) * (-a) ** (n - j) * _pole_moment(a, m - j) for j in range(n + 1)), start=_ZERO)


def _pole_moment(a: sympy.Expr, m: int) -> sympy.Expr:
    """J_m = E (z + a)^(-m) on z > 0, from (m-1) J_m = a^(1-m)/sqrt(2 pi) - J_{m-2} + a J_{m-1} (by parts).

    J_1 is the integral of Goodwin and Staton (1948): Dawson's minus an exponential integral (DLMF 7.5.13).
    """
    if m <= 0:
        moments = _truncated_moments(-m, _ZERO, sympy.oo)
        return sum((comb(-m, k) * a ** (-m - k) * moments[k] for k in range(-m + 1)), start=_ZERO)
    known: list[sympy.Expr] = [_HALF]
    root = a / sqrt(2)
    known.append(sympy.exp(-(a**2) / 2) * (pi * sympy.erfi(root) - sympy.Ei(a**2 / 2)) / (2 * _ROOT_2PI))
    for k in range(2, m + 1):
        known.append((a ** (1 - k) / _ROOT_2PI - known[k - 2] + a * known[k - 1]) / (k - 1))
    return known[m]
