"""Expectations under the standard normal law to any number of digits, by trapezoidal and double-exponential rules."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import mpmath
import sympy

from theory.activations.activation import Activation
from theory.activations.pieces import Piece
from theory.errors import UsageError
from theory.gaussian.convergence import evaluator
from theory.gaussian.expectations import Functional, expectations
from theory.numerics.arithmetic import constant_value, is_infinite
from theory.numerics.quadrature import Estimate


def expectations_high_precision(
    activation: Activation, functionals: Mapping[str, Functional], digits: int
) -> dict[str, tuple[mpmath.mpf, mpmath.mpf]]:
    r"""Expectations of several functionals of an activation at a standard normal number, to many digits.

    .. math:: E\, f(z, \phi(z), \phi'(z)), \qquad z \sim N(0, 1)

    Without breakpoints the trapezoidal rule on the whole line, else double-exponential rules on each piece
    (Takahasi and Mori 1974), which take integrable singularities at its ends. The step is halved until the
    sums agree to the digits asked for; the error is the last difference plus rounding, and at least the
    disagreement with the float64 path (of a bump that a coarse rule misses). The global settings of mpmath
    are left alone.

    Args:
        activation: phi with known pieces.
        functionals: name -> f, as for `expectations`, here called with mpf numbers.
        digits: wanted, relative to the integral of the modulus.

    Returns:
        name -> (value, absolute error); the error is infinite where the sums do not settle.

    >>> from theory.numerics.arithmetic import X
    >>> tanh = Activation("tanh", sympy.tanh(X))
    >>> moments = expectations_high_precision(tanh, {"square": lambda z, value, slope: value**2}, 40)
    >>> mpmath.nstr(moments["square"][0], 20)
    '0.39429449039784117442'
    """
    if digits < 1:
        raise UsageError(f"digits must be at least 1, not {digits}")
    # An independent rule: where both claim to be right and disagree, a feature was missed.
    rough = expectations(activation, functionals)
    with mpmath.workdps(digits + 15):
        for halvings in (1, 5, 8):  # steps this fine are tried before an agreement of sums counts
            sums = [_piece_sums(piece, list(functionals.values()), digits, halvings) for piece in activation.pieces]
            columns = zip(*(zip(*part, strict=True) for part in sums), strict=True)
            totals = [tuple(map(mpmath.fsum, zip(*column, strict=True))) for column in columns]
            doubts = [_doubt(total, estimate) for total, estimate in zip(totals, rough.values(), strict=True)]
            if not any(doubts):
                break
        return {
            name: _better((value, error + doubt), rough[name])
            for name, (value, error), doubt in zip(functionals, totals, doubts, strict=True)
        }


def _doubt(precise: tuple[mpmath.mpf, mpmath.mpf], rough: Estimate) -> mpmath.mpf:
    """By how much a result misses the float64 one, where both claim to be right."""
    miss = abs(precise[0] - rough.value)
    return miss if miss > precise[1] + rough.error else mpmath.mpf(0)


def _better(precise: tuple[mpmath.mpf, mpmath.mpf], rough: Estimate) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Of two estimates the one with the smaller error: narrow features can defeat the rule of many digits."""
    return precise if precise[1] <= rough.error else (mpmath.mpf(rough.value), mpmath.mpf(rough.error))


_Terms = list[mpmath.mpf]
_FEWEST = 8  # digits of the share of a piece, however small the density on it


def _most_points(digits: int) -> int:
    """Effort limit: nodes on one piece at one step, several times what smooth activations need."""
    return 200 * (digits + 50)


def _piece_sums(piece: Piece, functionals: list[Functional], digits: int, halvings: int) -> tuple[_Terms, _Terms]:
    """Values and errors over one piece, to fewer digits where the density is small."""
    digits = max(_FEWEST, digits - _digits_of_density(piece))
    with mpmath.workdps(digits + 15):
        chart = _chart(piece, digits)
        return trapezoidal_sums(_integrand(piece, functionals, chart), chart.least, len(functionals), digits, halvings)


def _digits_of_density(piece: Piece) -> int:
    """Leading zeros of exp(-z^2/2) all over a piece."""
    ends = [float(constant_value(end, 15)) for end in (piece.lower, piece.upper) if not is_infinite(end)]
    nearest = min(map(abs, ends), default=0.0) if len(ends) == 1 or math.prod(ends) > 0 else 0.0
    is_central = len(ends) == 1 and (ends[0] < 0) == is_infinite(piece.upper)
    return 0 if is_central else int(nearest**2 / (2 * math.log(10)))


def trapezoidal_sums(
    integrand: Callable[[mpmath.mpf], _Terms],
    least: tuple[mpmath.mpf, mpmath.mpf],
    count: int,
    digits: int,
    halvings: int,
    patience: int = 5,
) -> tuple[_Terms, _Terms]:
    """Integrals over the whole line by the trapezoidal rule with a step that is halved until it settles.

    Args:
        integrand: t -> several terms that become negligible far out; ArithmeticError where one is not finite.
        least: how far to go down and up in t at least.
        count: number of terms.
        digits: wanted, relative to the integral of the modulus.
        halvings: steps that are tried before an agreement counts.
        patience: steps after which a sum without one right digit is given up.

    Returns:
        Values and errors; (nan, inf) where a term is infinite, complex or undefined.
    """
    unknown = [mpmath.nan] * count, [mpmath.inf] * count
    step = mpmath.mpf(1) / 4
    try:
        down = list(_walk(lambda t: integrand(-t), step, least[0], digits))
        up = list(_walk(integrand, step, least[1], digits))
        terms = [*reversed(down), integrand(mpmath.mpf(0)), *up]
        total, modulus = _sums(terms, step), _sums(_moduli(terms), step)
        error = unknown[1]
        first, gaps = -len(down) * step, len(terms) - 1
        for halving in range(1, 16):
            if gaps > _most_points(digits) or (halving > patience and not _all_below(error, modulus, 1)):
                break  # too long, or a fine step has not even found one digit
            # Only the new nodes, halfway between the old ones, have to be computed.
            terms = [integrand(first + (k + mpmath.mpf(0.5)) * step) for k in range(gaps)]
            middle = _sums(terms, step)
            error = [abs(m - t) / 2 for m, t in zip(middle, total, strict=True)]
            total = [(m + t) / 2 for m, t in zip(middle, total, strict=True)]
            sizes = _sums(_moduli(terms), step)
            modulus = [(m + s) / 2 for m, s in zip(modulus, sizes, strict=True)]
            step, gaps = step / 2, 2 * gaps
            if halving > halvings and _all_below(error, modulus, digits + 3):
                break
    except (ArithmeticError, ValueError):  # phi is infinite, complex or undefined at a node
        return unknown
    rounding = mpmath.mpf(10) ** (-digits - 8)
    return total, [e + rounding * m for e, m in zip(error, modulus, strict=True)]


def _sums(terms: list[_Terms], step: mpmath.mpf) -> _Terms:
    return [step * mpmath.fsum(column) for column in zip(*terms, strict=True)]


def _moduli(terms: list[_Terms]) -> list[_Terms]:
    return [list(map(abs, term)) for term in terms]


def _all_below(small: _Terms, large: _Terms, digits: int) -> bool:
    ratio = mpmath.mpf(10) ** -digits
    return all(abs(s) <= ratio * m for s, m in zip(small, large, strict=True))


def _walk(
    integrand: Callable[[mpmath.mpf], _Terms], step: mpmath.mpf, least: mpmath.mpf, digits: int
) -> Iterator[_Terms]:
    """Terms at step, 2 step, ... until, beyond t = least, three in a row are negligible."""
    modulus: _Terms | None = None
    quiet = 0
    for k in range(1, _most_points(digits)):
        term = integrand(k * step)
        yield term
        modulus = [m + abs(s) for m, s in zip(modulus or [mpmath.mpf(0)] * len(term), term, strict=True)]
        # One negligible term may be a zero of the integrand; three in a row are its end.
        quiet = quiet + 1 if _all_below(term, modulus, digits + 10) else 0
        if quiet >= 3 and k * step >= least:
            return
    raise ArithmeticError("the terms do not become negligible")


@dataclass(frozen=True, slots=True)
class _Chart:
    """A change of variable that makes the trapezoidal rule converge geometrically on an interval.

    Args:
        point: t -> (z, dz/dt, decimal digits that z loses in its distance to the nearer end).
        least: how far to go down and up in t at least.
    """

    point: Callable[[mpmath.mpf], tuple[mpmath.mpf, mpmath.mpf, int]]
    least: tuple[mpmath.mpf, mpmath.mpf]


def _chart(piece: Piece, digits: int) -> _Chart:
    reach = mpmath.sqrt(2 * mpmath.log(10) * (digits + 15))  # the density alone is negligible beyond
    if piece.lower == -sympy.oo and piece.upper == sympy.oo:
        return _Chart(lambda t: (t, mpmath.mpf(1), 0), (reach, reach))
    # Nodes come doubly exponentially close to an end: their distance needs many more digits than their place.
    ends = [constant_value(end, 16 * digits + 40) for end in (piece.lower, piece.upper) if not is_infinite(end)]
    if len(ends) == 2:
        return _Chart(lambda t: tanh_sinh(t, ends[0], ends[1]), (mpmath.mpf(3), mpmath.mpf(3)))
    sign = 1 if piece.upper == sympy.oo else -1
    return _Chart(lambda t: _half_line(t, ends[0], sign), (mpmath.mpf(3), mpmath.log(reach + abs(ends[0]))))


def tanh_sinh(t: mpmath.mpf, lower: mpmath.mpf, upper: mpmath.mpf) -> tuple[mpmath.mpf, mpmath.mpf, int]:
    """Point of an interval, derivative, and digits lost near its ends (Takahasi and Mori 1974)."""
    growth = mpmath.exp(mpmath.pi * mpmath.sinh(abs(t)))
    distance = (upper - lower) / (1 + growth)
    derivative = mpmath.pi * mpmath.cosh(t) * growth / (1 + growth) * distance
    lost = _lost_digits(distance)
    with mpmath.extradps(lost):
        return (lower + distance if t < 0 else upper - distance), derivative, lost


def _half_line(t: mpmath.mpf, end: mpmath.mpf, sign: int) -> tuple[mpmath.mpf, mpmath.mpf, int]:
    decay = mpmath.exp(-t)
    distance = mpmath.exp(t - decay)
    lost = _lost_digits(distance)
    with mpmath.extradps(lost):
        return end + sign * distance, distance * (1 + decay), lost


def _lost_digits(distance: mpmath.mpf) -> int:
    """Digits to add near an end, enough for the slope of a removable singularity, which cancels twice."""
    return max(0, -4 * int(mpmath.log10(distance)))


def _integrand(piece: Piece, functionals: list[Functional], chart: _Chart) -> Callable[[mpmath.mpf], _Terms]:
    """The integrands in the variable t of the chart."""
    function = evaluator([piece.value, piece.slope])

    def integrand(t: mpmath.mpf) -> _Terms:
        point, derivative, lost = chart.point(t)
        # The weight should have made the terms negligible long before.
        if lost > 60 * mpmath.mp.dps:
            raise ArithmeticError("the integral does not settle at an end of a piece")
        with mpmath.extradps(lost):
            value, slope = function(point)
        weight = derivative * mpmath.exp(-point * point / 2) / mpmath.sqrt(2 * mpmath.pi)
        terms = [functional(point, value, slope) * weight for functional in functionals]
        if not all(isinstance(term, mpmath.mpf) and mpmath.isfinite(term) for term in terms):
            raise ArithmeticError(f"no finite real value at {point}")
        return terms

    return integrand
