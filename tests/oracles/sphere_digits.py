r"""The exact laws of one layer at finite width to any number of digits, by mpmath.

The same integrals as in `theory.layer.sphere` and `theory.layer.pairs`, by double-exponential rules between the
breakpoints in the angle theta with :math:`h = \sqrt{nq} \sin\theta`, truncated where the density is negligible. Each
function returns a value and an absolute error; the digits asked for are relative to the integral of the modulus.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import mpmath

from theory.activations.activation import Activation
from theory.errors import UsageError
from theory.gaussian.convergence import evaluator
from theory.gaussian.digits import tanh_sinh, trapezoidal_sums
from theory.gaussian.expectations import Functional
from theory.layer.sphere import check_layer, sphere_expectations
from theory.numerics.arithmetic import constant_value

Precise = tuple[mpmath.mpf, mpmath.mpf]
"""A value and its absolute error."""


_GUARD = 15


_PATIENCE = 8  # polynomials of a high degree oscillate


_HALVINGS = (1, 5)  # steps tried before an agreement counts; more where float64 disagrees


def sphere_expectations_digits(
    activation: Activation, width: int, functionals: Mapping[str, Functional], digits: int, q: Any = 1
) -> dict[str, Precise]:
    r"""Expectations of functionals of one pre-activation, uniform on the sphere, to many digits.

    .. math:: E\, f(h, \phi(h), \phi'(h)), \qquad h = \sqrt{nq}\sin\theta, \quad
        p(\theta) = \frac{\Gamma(n/2)}{\sqrt\pi\,\Gamma((n-1)/2)} \cos^{n-2}\theta

    Args:
        activation: phi with known pieces.
        width: n >= 2.
        functionals: name -> f, called with mpf numbers and, for a comparison, with float64 arrays.
        digits: wanted, 1 or more.
        q: squared length per neuron of the layer's input, > 0; a string counts as the decimal number it is.

    Returns:
        name -> (value, absolute error); the error is infinite where the rule does not settle, and at least the
        disagreement with float64 where both claim to be right.

    Raises:
        UsageError: a width below 2, a q that is not positive, or fewer than one digit.

    >>> from theory.activations.catalog import build  # Archimedes, n = 3: a coordinate is uniform
    >>> found = sphere_expectations_digits(build("tanh"), 3, {"it": lambda h, value, slope: value**2}, 30, "1/3")
    >>> mpmath.nstr(found["it"][0], 25), mpmath.nstr(1 - mpmath.tanh(1), 12)
    ('0.2384058440442351118805417', '0.238405844044')
    """
    _check(width, digits, q)
    rough = sphere_expectations(activation, width, functionals, float(_number(q, 20)))
    with mpmath.workdps(digits + _GUARD):
        for halvings in _HALVINGS:
            found = _line(activation, width, list(functionals.values()), digits, q, halvings)
            doubts = [
                abs(value - estimate.value) if abs(value - estimate.value) > error + estimate.error else mpmath.mpf(0)
                for (value, error), estimate in zip(found, rough.values(), strict=True)
            ]
            if not any(doubts):
                break
        return {
            name: (value, error + doubt) for name, (value, error), doubt in zip(functionals, found, doubts, strict=True)
        }


def mean_squared_length_digits(activation: Activation, width: int, digits: int, q: Any = 1) -> Precise:
    r""":math:`Q_n(q) = E \phi(h_1)^2` to many digits; see `theory.layer.sphere.mean_squared_length`.

    >>> from theory.activations.catalog import build
    >>> mpmath.nstr(mean_squared_length_digits(build("relu"), 5, 30)[0], 20)
    '0.5'
    """
    return sphere_expectations_digits(activation, width, {"": _square_of_value}, digits, q)[""]


def mean_squared_slope_digits(activation: Activation, width: int, digits: int, q: Any = 1) -> Precise:
    r""":math:`S_n(q) = E \phi'(h_1)^2` to many digits; see `theory.layer.sphere.mean_squared_slope`.

    For n = 2, h = sqrt(2) cos(theta) and E cos(h)^2 = (1 + J_0(2 sqrt 2))/2.

    >>> from theory.activations.catalog import build
    >>> value, _ = mean_squared_slope_digits(build("sin"), 2, 30)
    >>> with mpmath.workdps(45): print(abs(value - (1 + mpmath.besselj(0, mpmath.sqrt(8))) / 2) < 1e-36)
    True
    """
    return sphere_expectations_digits(activation, width, {"": _square_of_slope}, digits, q)[""]


def squared_length_variance_digits(activation: Activation, width: int, digits: int, q: Any = 1) -> Precise:
    r""":math:`Var\,q_1` to many digits, relative to :math:`E \phi^4/n`; see `theory.layer.pairs`.

    .. math:: Var\,q_1 = \frac1n Var\,f(h_1) + \Big(1 - \frac1n\Big) Cov(f(h_1), f(h_2)), \qquad f = \phi^2

    Below some 20 neurons a double integral, which takes seconds for each piece at 30 digits.

    >>> from theory.activations.catalog import build
    >>> mpmath.nstr(squared_length_variance_digits(build("relu"), 100, 20)[0], 18)  # 3/(4 (n + 2))
    '0.00735294117647058824'
    """
    single, pair = _moments(activation, width, _square_of_value, digits, q)
    with mpmath.workdps(digits + _GUARD):
        n = mpmath.mpf(width)
        return single[0] / n + (n - 1) / n * pair[0], single[1] / n + (n - 1) / n * pair[1]


def backward_ratio_variance_digits(activation: Activation, width: int, digits: int, q: Any = 1) -> Precise:
    r""":math:`Var\,B` for a fresh direction to many digits; see `theory.layer.pairs.backward_ratio_variance`.

    .. math:: Var\,B = \frac{3 Var\,s(h_1) + (n-1) Cov(s(h_1), s(h_2))}{n+2}, \qquad s = \phi'^2

    >>> from theory.activations.catalog import build
    >>> mpmath.nstr(backward_ratio_variance_digits(build("relu"), 100, 20)[0], 18)
    '0.00735294117647058824'
    """
    single, pair = _moments(activation, width, _square_of_slope, digits, q)
    with mpmath.workdps(digits + _GUARD):
        n = mpmath.mpf(width)
        variance, error = ((3 * s + (n - 1) * p) / (n + 2) for s, p in zip(single, pair, strict=True))
        return variance, error


def _square_of_value(_h: Any, value: Any, _slope: Any) -> Any:
    return value * value


def _square_of_slope(_h: Any, _value: Any, slope: Any) -> Any:
    return slope * slope


def _check(width: int, digits: int, q: Any) -> None:
    if digits < 1:
        raise UsageError(f"digits must be at least 1, not {digits}")
    check_layer(width, float(_number(q, 20)))


def _number(q: Any, digits: int) -> mpmath.mpf:
    with mpmath.workdps(digits):
        return mpmath.mpmathify(q)


def _moments(activation: Activation, width: int, f: Functional, digits: int, q: Any) -> tuple[Precise, Precise]:
    """Var f(h_1) and Cov(f(h_1), f(h_2)): from the series where Bessel's bound on its rest is small enough."""
    _check(width, digits, q)
    most = _terms(width, digits)
    for terms in sorted({min(most, digits + 10), min(most, 3 * digits + 30)}) if width > 2 else ():
        variance, covariance, mean = _by_series(activation, width, f, digits, q, terms)
        enough = mpmath.mpf(10) ** -digits * (variance[0] + mean[0] ** 2)
        if covariance[1] * width <= enough or terms == most:
            return variance, covariance
        if activation.breakpoints and most > 3 * digits + 30:
            break
    moments: dict[str, Functional] = {"square": lambda h, value, slope: f(h, value, slope) ** 2, "mean": f}
    found = sphere_expectations_digits(activation, width, moments, digits, q)
    with mpmath.workdps(digits + _GUARD):
        return _variance(found), _plane(activation, width, f, digits, q, found["mean"])


def _variance(found: Mapping[str, Precise]) -> Precise:
    (mean, doubt), (square, error) = found["mean"], found["square"]
    return square - mean**2, error + (2 * abs(mean) + doubt) * doubt


def _by_series(
    activation: Activation, width: int, f: Functional, digits: int, q: Any, terms: int
) -> tuple[Precise, Precise, Precise]:
    """Var f(h_1), Cov(f(h_1), f(h_2)) and E f from the coefficients of degree 1 to 2 terms."""
    with mpmath.workdps(digits + _GUARD):
        table = _Polynomials(width, terms, mpmath.sqrt(width * _number(q, digits + _GUARD)))
        functionals: dict[str, Functional] = {"square": lambda h, value, slope: f(h, value, slope) ** 2, "mean": f}
        functionals |= {str(k): table.times(f, k) for k in range(1, 2 * terms + 1)}
        found = sphere_expectations_digits(activation, width, functionals, digits, q)
        variance = _variance(found)
        return variance, _series(width, [found[str(k)] for k in range(1, 2 * terms + 1)], variance), found["mean"]


def _terms(width: int, digits: int) -> int:
    """Terms of the Gegenbauer series after which n times the next eigenvalue is negligible, or too many."""
    eigenvalue, j = mpmath.mpf(1), 0
    while j <= 3 * digits + 30 and width * abs(eigenvalue) > mpmath.mpf(10) ** (-digits - 3):
        eigenvalue, j = _next_eigenvalue(eigenvalue, width, j), j + 1
    return max(1, j)


def _next_eigenvalue(eigenvalue: mpmath.mpf, width: int, j: int) -> mpmath.mpf:
    return -eigenvalue * (2 * j + 1) / (2 * j + width - 1)


def _series(width: int, coefficients: list[Precise], variance: Precise) -> Precise:
    """The sum over even degrees; the odd ones only tell how much is left for the degrees beyond."""
    eigenvalue, total, error, held = mpmath.mpf(1), mpmath.mpf(0), mpmath.mpf(0), mpmath.mpf(0)
    for degree, (value, doubt) in enumerate(coefficients, start=1):
        held += value**2 - (2 * abs(value) + doubt) * doubt
        if degree % 2 == 0:
            eigenvalue = _next_eigenvalue(eigenvalue, width, degree // 2 - 1)
            total += eigenvalue * value**2
            error += abs(eigenvalue) * (2 * abs(value) + doubt) * doubt
    rest = max(variance[0] - held, mpmath.mpf(0)) + variance[1]
    return total, error + abs(_next_eigenvalue(eigenvalue, width, len(coefficients) // 2)) * rest


class _Polynomials:
    """Orthonormal Gegenbauer polynomials, all computed once for one h, on mpf numbers and on arrays."""

    def __init__(self, width: int, terms: int, radius: mpmath.mpf) -> None:
        self._radius = radius
        squares = [mpmath.mpf(1) / width]
        squares += [
            mpmath.mpf(k * (k + width - 3)) / ((2 * k + width - 2) * (2 * k + width - 4))
            for k in range(2, 2 * terms + 1)
        ]
        self._steps = [mpmath.sqrt(square) for square in squares]
        self._point: Any = None
        self._rows: list[Any] = []

    def times(self, f: Functional, degree: int) -> Functional:
        """The functional f p_degree."""

        def product(h: Any, value: Any, slope: Any) -> Any:
            if self._point is not h:
                self._point, self._rows = h, self._evaluate(h)
            return f(h, value, slope) * self._rows[degree]

        return product

    def _evaluate(self, h: Any) -> list[Any]:
        precise = isinstance(h, mpmath.mpf)
        t = h / (self._radius if precise else float(self._radius))
        steps = self._steps if precise else [float(step) for step in self._steps]
        previous, current, below = 0 * t, 0 * t + 1, 0 * steps[0]
        rows = [current]
        for step in steps:
            previous, current, below = current, (t * current - below * previous) / step, step
            rows.append(current)
        return rows


_Evaluate = Callable[[mpmath.mpf], list[Any]]


_Piecewise = list[tuple[mpmath.mpf, mpmath.mpf, _Evaluate]]


def _branches(activation: Activation, digits: int) -> _Piecewise:
    """The ends of each piece, to more digits than any node needs, with its compiled value and slope."""
    precision = 8 * digits + 40  # nodes lie much closer to an end than the working precision
    return [
        (
            constant_value(piece.lower, precision) if piece.lower.is_finite else mpmath.ninf,
            constant_value(piece.upper, precision) if piece.upper.is_finite else mpmath.inf,
            evaluator([piece.value, piece.slope]),
        )
        for piece in activation.pieces
    ]


def _angles(branches: _Piecewise, radius: mpmath.mpf, reach: mpmath.mpf, digits: int) -> _Piecewise:
    """Intervals of the angle, |theta| <= reach, each with the evaluation of value and slope on its piece."""
    found: _Piecewise = []
    with mpmath.workdps(8 * digits + 40):
        for lower, upper, function in branches:
            low, high = (max(-reach, min(reach, mpmath.asin(max(-1, min(1, end / radius))))) for end in (lower, upper))
            if low < high:
                found.append((low, high, function))
    return found


def _reach(width: int, digits: int) -> mpmath.mpf:
    """Angle beyond which cos^(n-2) is below 10^-(digits + 30), or pi/2."""
    if width == 2:
        return mpmath.pi / 2
    cosine = mpmath.mpf(10) ** (-mpmath.mpf(digits + 30) / (width - 2))
    return mpmath.pi / 2 if cosine < mpmath.mpf("0.01") else mpmath.acos(cosine)


def _line(
    activation: Activation, width: int, functionals: list[Functional], digits: int, q: Any, halvings: int
) -> list[Precise]:
    radius = mpmath.sqrt(width * _number(q, 8 * digits + 40))
    constant = mpmath.gammaprod([mpmath.mpf(width) / 2], [mpmath.mpf(width - 1) / 2]) / mpmath.sqrt(mpmath.pi)

    def terms(theta: mpmath.mpf, h: mpmath.mpf, value: Any, slope: Any) -> list[mpmath.mpf]:
        weight = constant * mpmath.cos(theta) ** (width - 2)
        return [functional(h, value, slope) * weight for functional in functionals]

    pieces = _angles(_branches(activation, digits), radius, _reach(width, digits), digits)
    return _sum_over(pieces, radius, terms, len(functionals), digits, halvings)


def _sum_over(
    pieces: _Piecewise,
    radius: mpmath.mpf,
    terms: Callable[[mpmath.mpf, mpmath.mpf, Any, Any], list[mpmath.mpf]],
    count: int,
    digits: int,
    halvings: int,
) -> list[Precise]:
    """Integrals over the angle of terms(theta, h, phi(h), phi'(h)), h = radius sin(theta)."""
    total = [(mpmath.mpf(0), mpmath.mpf(0))] * count
    for lower, upper, function in pieces:

        def integrand(t: mpmath.mpf, lower: Any = lower, upper: Any = upper, function: Any = function) -> list[Any]:
            theta, derivative, lost = tanh_sinh(t, lower, upper)
            if lost > 60 * mpmath.mp.dps:
                raise ArithmeticError("the integral does not settle at an end of a piece")
            with mpmath.extradps(lost):
                h = radius * mpmath.sin(theta)
                value, slope = function(h)
            found = [derivative * term for term in terms(theta, h, value, slope)]
            if not all(isinstance(term, mpmath.mpf) and mpmath.isfinite(term) for term in found):
                raise ArithmeticError(f"no finite real value at {h}")
            return found

        least = (mpmath.mpf(3), mpmath.mpf(3))
        values, errors = trapezoidal_sums(integrand, least, count, digits, halvings, _PATIENCE)
        total = [(a + v, b + e) for (a, b), v, e in zip(total, values, errors, strict=True)]
    return total


def _plane(activation: Activation, width: int, f: Functional, digits: int, q: Any, mean: Precise) -> Precise:
    """Cov(f(h_1), f(h_2)) with h_1 = R sin(theta), h_2 = R cos(theta) sin(eta); for n = 2, eta = +-pi/2."""
    radius = mpmath.sqrt(width * _number(q, 8 * digits + 40))
    half = mpmath.pi / 2
    if width == 2:
        inner_constant = mpmath.mpf(1) / 2
    else:
        inner_constant = mpmath.gammaprod([mpmath.mpf(width - 1) / 2], [mpmath.mpf(width - 2) / 2]) / mpmath.sqrt(
            mpmath.pi
        )
    outer_constant = mpmath.gammaprod([mpmath.mpf(width) / 2], [mpmath.mpf(width - 1) / 2]) / mpmath.sqrt(mpmath.pi)
    branches = _branches(activation, digits)
    worst = mpmath.mpf(0)

    def inner(theta: mpmath.mpf) -> mpmath.mpf:
        nonlocal worst
        short = radius * mpmath.cos(theta)
        if width == 2:
            return inner_constant * mpmath.fsum(_at(branches, f, sign * short) - mean[0] for sign in (1, -1))

        def terms(eta: mpmath.mpf, h: mpmath.mpf, value: Any, slope: Any) -> list[mpmath.mpf]:
            return [inner_constant * mpmath.cos(eta) ** (width - 3) * (f(h, value, slope) - mean[0])]

        ((value, error),) = _sum_over(_angles(branches, short, half, digits), short, terms, 1, digits, 1)
        worst = max(worst, error)
        return value

    def outer(theta: mpmath.mpf, h: mpmath.mpf, value: Any, slope: Any) -> list[mpmath.mpf]:
        weight = outer_constant * mpmath.cos(theta) ** (width - 2) * (f(h, value, slope) - mean[0])
        return [weight * inner(theta)]

    pieces = _split(_angles(branches, radius, half, digits), _entries(branches, radius))
    ((value, error),) = _sum_over(pieces, radius, outer, 1, digits, 1)
    return value, error + worst + mean[1] ** 2


def _at(branches: _Piecewise, f: Functional, h: mpmath.mpf) -> mpmath.mpf:
    function = next(branch for _, upper, branch in branches if h <= upper)
    return f(h, *function(h))


def _entries(branches: _Piecewise, radius: mpmath.mpf) -> list[mpmath.mpf]:
    """Angles at which a breakpoint enters the range of h_2."""
    ratios = [abs(lower) / radius for lower, _, _ in branches[1:]]
    angles = [mpmath.acos(ratio) for ratio in ratios if ratio < 1]
    return [mpmath.mpf(0), *angles, *(-angle for angle in angles)]


def _split(pieces: _Piecewise, angles: list[mpmath.mpf]) -> _Piecewise:
    """Cut the pieces at the angles; angles that should coincide, with an end or with each other, count once."""
    nearest = mpmath.mpf(10) ** (-mpmath.mp.dps // 2)
    split: _Piecewise = []
    for lower, upper, function in pieces:
        ends = [lower]
        for angle in sorted(angles):
            if ends[-1] + nearest < angle < upper - nearest:
                ends.append(angle)
        split += [(low, high, function) for low, high in pairwise([*ends, upper])]
    return split
