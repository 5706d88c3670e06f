"""Rules that turn Gaussian integrals of the pieces of an activation into closed forms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from math import comb
from typing import Any

import sympy
from sympy import Integer, Rational, pi, sqrt

from theory.numerics.arithmetic import X
from theory.numerics.special import expm1, hermite_normalized, normal_cdf, normal_pdf

_ZERO, _ONE, _HALF = Integer(0), Integer(1), Rational(1, 2)
_ROOT_2PI = sqrt(2 * pi)
_MOST_TERMS = 4000


class _NoClosedForm(Exception):
    """A moment for which no rule is known; the text says why."""


def _tidy(expression: sympy.Expr) -> sympy.Expr:
    """Expand; one of erf(u), erfc(u) where both occur; one fraction where SELU's constants leave many."""
    expanded = sympy.expand(expression)
    # Sines were expanded into complex exponentials; the total is real.
    if expanded.has(sympy.I):
        expanded = sympy.expand(sympy.expand_complex(expanded))
    # Otherwise erf(u) + erfc(u) would stand where 1 is meant, and nothing would cancel.
    both = [node for node in expanded.atoms(sympy.erfc) if expanded.has(sympy.erf(node.args[0]))]
    expanded = sympy.expand(expanded.xreplace({node: 1 - sympy.erf(node.args[0]) for node in both}))
    if any(power.exp.is_negative and isinstance(power.base, sympy.Add) for power in expanded.atoms(sympy.Pow)):
        return sympy.cancel(sympy.together(expanded))
    return expanded


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
    # Before the work, not after: products of sums grow geometrically.
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
    # Each difference is taken on the side where both tails are small, or it would lose its digits.
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
    # The recursion has step 2: even and odd exponents start from different known moments.
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
