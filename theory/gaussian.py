"""Expectations under the standard normal law, split at the breakpoints of an activation.

Two paths with one meaning: float64 in about a millisecond, and mpmath to any number of digits. Both return an
absolute error beside the value. Whether a second moment exists at all is decided apart from quadrature, by
the local power law of the integrand (`convergence`), since a quadrature rule happily returns a number for a
divergent integral.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import mpmath
import numpy as np
import sympy

from theory.activation import Activation, CallableActivation, FloatArray, NumericActivation
from theory.arithmetic import compile_expressions, constant_value, is_infinite
from theory.errors import UsageError
from theory.pieces import Piece

Functional = Callable[[Any, Any, Any], Any]
"""Maps (z, phi(z), phi'(z)) to the integrand, on arrays as well as on single mpmath numbers."""

_EPS = float(np.finfo(np.float64).eps)
_NODES = 16
_CUTOFF = 37.5  # the normal density is about 1e-306 there, just above underflow
_FINE = 8.0  # panels are fine where all but 1e-15 of the probability is
_GENERATIONS = 160  # bisections: enough for x**-0.5 to settle at a breakpoint at 0
_PANELS = 20_000
_ROUNDING = 8 * _EPS  # of the density, the activation and the sum, relative to the integral of the modulus


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with a bound on its absolute error (infinite where nothing is known)."""

    value: float
    error: float


def expectations(
    activation: NumericActivation, functionals: Mapping[str, Functional], *, deviation: float = 1.0
) -> dict[str, Estimate]:
    r"""Expectations of several functionals of an activation at a normal pre-activation, in float64.

    .. math:: E\, f(z, \phi(\sigma z), \phi'(\sigma z)), \qquad z \sim N(0, 1)

    Gauss-Legendre panels between the breakpoints are bisected until a panel agrees with its two halves. The
    error adds these differences, extrapolated geometrically where a panel ends at a singular breakpoint, the
    rounding, and the tails beyond |z| = 37.5, which are taken to decay at least as fast as at the cutoff.

    Args:
        activation: phi, anything with `value_and_slope` and `breakpoint_values`.
        functionals: name -> f, vectorized.
        deviation: sigma > 0, the standard deviation of the pre-activation.

    Returns:
        name -> `Estimate`; (nan, inf) where the integrand is not finite.

    >>> from theory.activation import X
    >>> relu = Activation("relu", sympy.Max(X, 0))
    >>> second = expectations(relu, {"second moment": lambda z, value, slope: value**2})["second moment"]
    >>> abs(second.value - 0.5) <= second.error < 1e-14
    True
    """
    if not (np.isfinite(deviation) and deviation > 0):
        raise UsageError(f"the deviation must be a positive number, not {deviation}")
    integrands = _weighted(activation, list(functionals.values()), deviation)
    breakpoints = activation.breakpoint_values / deviation
    edges = _edges(np.concatenate([breakpoints, _landmarks(activation) / deviation]))
    value, error = integrate(integrands, edges, breakpoints)
    error = error + _tail(integrands)
    return {name: Estimate(float(v), float(e)) for name, v, e in zip(functionals, value, error, strict=True)}


def _weighted(
    activation: NumericActivation, functionals: list[Functional], deviation: float
) -> Callable[[FloatArray], FloatArray]:
    def integrands(z: FloatArray) -> FloatArray:
        value, slope = activation.value_and_slope(deviation * z)
        density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
        with np.errstate(all="ignore"):  # overflow shows as a value that is not finite, and is told as such
            weighted = [functional(z, value, slope) * density for functional in functionals]
        return np.stack(weighted)

    return integrands


def _edges(points: FloatArray) -> FloatArray:
    """Panels 1/8 wide within |z| < 8, whose halves have nodes at most 6e-3 apart, and wider ones in the tails."""
    tail = np.arange(_FINE, _CUTOFF, 0.5)
    fine = np.linspace(-_FINE, _FINE, int(16 * _FINE) + 1)
    grid = np.concatenate([[-_CUTOFF], -tail, fine, tail, [_CUTOFF]])
    return np.union1d(grid, points[np.abs(points) < _CUTOFF])


def _landmarks(activation: NumericActivation) -> FloatArray:
    """Where a Python function was seen to vary quickly, so that no first panel steps over it."""
    if not isinstance(activation, CallableActivation):
        return np.empty(0)
    edges = activation.edges
    return edges if len(edges) < _PANELS // 8 else np.empty(0)  # quick everywhere: bisecting sees it too


def keeps_growing(activation: NumericActivation, functional: Functional) -> bool:
    """Whether the integrand of an expectation does not decay towards the cutoff, as far as float64 can tell.

    >>> from theory.activation import X
    >>> square = lambda z, value, slope: value**2
    >>> [keeps_growing(Activation("", sympy.exp(X**2 / k)), square) for k in (3, 4, 5)]
    [True, True, False]
    """
    integrands = _weighted(activation, [functional], 1.0)
    reach = np.linspace(0.8, 1, 9) * _CUTOFF
    outward = np.abs(integrands(np.stack([-reach, reach]))[0])
    outward = np.where(np.isfinite(outward), outward, np.inf)
    decays = (outward[:, -1] < 0.5 * outward[:, 0]) | (outward[:, -1] < 1e-290)
    return bool(~decays.all())


def _tail(integrands: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Bound on the integral beyond the cutoff, from the exponential rate of decay at the cutoff."""
    step = 0.25
    outer = np.array([-_CUTOFF, _CUTOFF])
    edge, inside = np.abs(integrands(outer)), np.abs(integrands(outer - step * np.sign(outer)))
    with np.errstate(all="ignore"):
        rate = np.log(inside / edge) / step
        tail = np.where(edge == 0, 0.0, np.where(rate > 0, edge / rate, np.inf))
    return np.asarray(tail.sum(axis=1))


def integrate(
    integrands: Callable[[FloatArray], FloatArray],
    edges: FloatArray,
    breakpoints: FloatArray,
    floor: FloatArray | None = None,
    most_panels: int = _PANELS,
) -> tuple[FloatArray, FloatArray]:
    """Integrate several functions together over consecutive panels, bisecting where they are not resolved.

    Args:
        integrands: points (panels, nodes) -> values (functions, panels, nodes).
        edges: ascending ends of the first panels.
        breakpoints: edges at which the integrands may be singular.
        floor: for each function the difference that counts as none on a panel, where the values themselves carry
            rounding of that size; else only what float64 resolves counts as none.
        most_panels: bisection ends when it would take more panels than these at once.

    Returns:
        Values and error bounds, one for each function.
    """
    left, right = edges[:-1], edges[1:]
    coarse, size = _panel_sums(integrands, left, right)
    scale = np.nansum(size, axis=1, keepdims=True)
    noise = np.zeros_like(scale) if floor is None else floor[:, None]
    previous = np.full_like(coarse, np.inf)
    value, error, total = np.zeros((3, len(coarse)))
    for generation in range(_GENERATIONS):
        middle = 0.5 * (left + right)
        halves = np.concatenate([left, middle]), np.concatenate([middle, right])
        fine, size = _panel_sums(integrands, *halves)
        refined, modulus = _pair(fine), _pair(size)
        with np.errstate(all="ignore"):
            difference = np.abs(refined - coarse)
        enough = np.all(difference <= _EPS * (0.25 * scale + 4 * modulus) + noise, axis=0)
        tiny = right - left < 1e3 * np.spacing(np.maximum(np.abs(left), np.abs(right)))
        at_end = np.isin(left, breakpoints) | np.isin(right, breakpoints)
        hopeless = ~np.isfinite(difference).all(axis=0) & ~at_end
        done = enough | tiny | hopeless
        if 2 * np.count_nonzero(~done) > most_panels or generation == _GENERATIONS - 1:
            done[:] = True
        with np.errstate(all="ignore"):  # infinities of both signs; the sum is nan then, which is told below
            value += refined[:, done].sum(axis=1)
            total += modulus[:, done].sum(axis=1)
            error += _remaining(difference, previous, modulus, at_end, scale, noise)[:, done].sum(axis=1)
        keep = np.concatenate([~done, ~done])
        left, right, coarse = halves[0][keep], halves[1][keep], fine[:, keep]
        previous = np.concatenate([difference, difference], axis=1)[:, keep]
        if not left.size:
            break
    error += _ROUNDING * total
    return np.where(np.isfinite(value), value, np.nan), np.where(np.isfinite(error), error, np.inf)


def _panel_sums(
    integrands: Callable[[FloatArray], FloatArray], left: FloatArray, right: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre sums of the integrands and of their moduli, (functions, panels) each."""
    nodes, weights = _gauss_legendre()
    half = 0.5 * (right - left)
    points = (0.5 * (left + right))[:, None] + half[:, None] * nodes
    values = integrands(points)
    return (values @ weights) * half, (np.abs(values) @ weights) * half


@lru_cache(maxsize=1)
def _gauss_legendre() -> tuple[FloatArray, FloatArray]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return nodes, weights


def _pair(halves: FloatArray) -> FloatArray:
    """Add the left and the right half of each panel."""
    count = halves.shape[1] // 2
    return halves[:, :count] + halves[:, count:]


def _remaining(
    difference: FloatArray,
    previous: FloatArray,
    modulus: FloatArray,
    at_end: np.ndarray,
    scale: FloatArray,
    noise: FloatArray,
) -> FloatArray:
    """Error of a panel: its last difference, summed as a geometric series where it ends at a breakpoint.

    At an integrable singularity the differences shrink by a fixed factor r < 1 from one bisection to the
    next, so that r/(1 - r) of the last one remains. Differences that do not shrink are rounding noise where
    they are a small part of the panel's integral, or that is a small part of the whole (then the whole panel counts
    as error), else the integral does not settle.
    """
    with np.errstate(all="ignore"):
        ratio = difference / previous
        series = difference * np.maximum(ratio / (1 - ratio), 1.0)
        stuck = np.where((difference < 0.05 * modulus) | (modulus < _EPS * scale), modulus, np.inf)
        extrapolated = np.where(ratio < 1, series, stuck)
        return np.where(at_end & (difference > 4 * _EPS * modulus + noise), extrapolated, difference)


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

    >>> from theory.activation import X
    >>> tanh = Activation("tanh", sympy.tanh(X))
    >>> found = expectations_high_precision(tanh, {"square": lambda z, value, slope: value**2}, 40)
    >>> mpmath.nstr(found["square"][0], 20)
    '0.39429449039784117442'
    """
    if digits < 1:
        raise UsageError(f"digits must be at least 1, not {digits}")
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


def _most_points(digits: int) -> int:
    """Effort limit: nodes on one piece at one step, several times what smooth activations need."""
    return 200 * (digits + 50)


def _piece_sums(piece: Piece, functionals: list[Functional], digits: int, halvings: int) -> tuple[_Terms, _Terms]:
    """Values and errors over one piece."""
    chart = _chart(piece, digits)
    return trapezoidal_sums(_integrand(piece, functionals, chart), chart.least, len(functionals), digits, halvings)


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


def evaluator(expressions: list[sympy.Expr]) -> Callable[[mpmath.mpf], list[Any]]:
    """Evaluate at the working precision, with irrational constants computed once for each power of 2 of digits."""
    constants = {constant for expression in expressions for constant in _constants(expression)}
    if not constants:
        return compile_expressions(expressions, "mpmath")
    compiled: dict[int, Callable[[mpmath.mpf], list[Any]]] = {}

    def evaluate(point: mpmath.mpf) -> list[Any]:
        digits = 1 << (mpmath.mp.dps + 10).bit_length()
        if digits not in compiled:
            values = {c: sympy.Float(constant_value(c, digits), digits) for c in constants}
            compiled[digits] = compile_expressions([e.xreplace(values) for e in expressions], "mpmath")
        return compiled[digits](point)

    return evaluate


def _constants(expression: sympy.Expr) -> set[sympy.Expr]:
    """The largest subexpressions that are irrational constants."""
    if expression.free_symbols:
        return {constant for argument in expression.args for constant in _constants(argument)}
    return set() if expression.is_Rational else {expression}


Verdict = Literal["converges", "diverges", "undecided"]
Modulus = Callable[[mpmath.mpf], mpmath.mpf | None]


@dataclass(frozen=True, slots=True)
class Convergence:
    """Whether an expectation is finite, and the point (or -oo, oo) that decides if it is not known to be."""

    verdict: Verdict
    place: str = ""


def convergence(activation: Activation, order: Literal["value", "slope"], power: int = 2) -> Convergence:
    r"""Decide whether :math:`E |\phi(z)|^k` or :math:`E |\phi'(z)|^k` is finite, without integrating.

    At each end of each piece the integrand, density included, behaves locally like a power of the distance u
    (to a breakpoint) or of |z| (at infinity): its exponent is measured by mpmath, whose numbers have no
    largest exponent, on points that approach the end doubly fast (u = 1e-32, |z| = 1e64). An integral of u^p
    at 0 converges for p > -1, at infinity for p < -1. An exponent that still drifts (by logarithms) within
    0.05 of the border, or that cannot be measured, gives "undecided": this is a numerical decision, not a
    proof.

    Args:
        activation: phi with known pieces.
        order: "value" for phi, "slope" for phi'.
        power: k.

    >>> from theory.activation import X
    >>> convergence(Activation("steep", sympy.exp(X**2 / 4)), "value")
    Convergence(verdict='diverges', place='-oo')
    >>> convergence(Activation("root", sympy.sqrt(sympy.Abs(X))), "slope")
    Convergence(verdict='diverges', place='0')
    """
    outcomes = []
    for piece in activation.pieces:
        modulus_at = guarded_modulus(getattr(piece, order))
        for end in (piece.lower, piece.upper):
            outcomes.append(Convergence(_end_verdict(modulus_at, piece, end, power), str(end)))
    for verdict in ("diverges", "undecided"):
        for outcome in outcomes:
            if outcome.verdict == verdict:
                return outcome
    return Convergence("converges")


def _end_verdict(modulus_at: Modulus, piece: Piece, end: sympy.Expr, power: int) -> Verdict:
    """Convergence at one end of a piece, by the power law on the last points that can be evaluated."""
    margins: list[mpmath.mpf] = []
    with mpmath.workdps(400):  # a removable singularity may cancel several times 32 digits
        previous = None
        for scale, point in approach(piece, end):
            modulus = modulus_at(point)
            if modulus is None:
                break
            log_scale = mpmath.log(scale)
            log_value = power * mpmath.log(modulus) - point * point / 2 if modulus else mpmath.ninf
            if previous is not None and mpmath.isfinite(log_value) and mpmath.isfinite(previous[1]):
                exponent = (log_value - previous[1]) / (log_scale - previous[0])
                margins.append(-exponent - 1 if is_infinite(end) else 1 - exponent)
            elif not mpmath.isfinite(log_value):
                margins.append(mpmath.inf)
            previous = log_scale, log_value
    if len(margins) < 2:
        return "undecided"
    earlier, last = margins[-2:]
    if abs(last - earlier) < 1e-8:  # a pure power: 1/u itself diverges
        return "converges" if last > 1e-8 else "diverges"
    if min(earlier, last) > 0.05:
        return "converges"
    return "diverges" if max(earlier, last) < -0.05 else "undecided"


def approach(piece: Piece, end: sympy.Expr) -> Iterator[tuple[mpmath.mpf, mpmath.mpf]]:
    """Scales growing doubly fast, each with a point at that distance, or one over it from a breakpoint."""
    inward = 1 if end == piece.lower else -1
    if not is_infinite(end):
        width = piece.upper - piece.lower
        origin = constant_value(end, 400)
        unit = constant_value(width, 400) if not is_infinite(width) else mpmath.mpf(1)
        for exponent in (0.4, 0.7, 1, 2, 4, 8, 16, 32):
            scale = mpmath.mpf(10) ** exponent
            yield scale, origin + inward * unit / scale
    else:
        start = piece.upper if end == piece.lower else piece.lower
        origin = mpmath.mpf(0) if is_infinite(start) else constant_value(start, 400)
        for exponent in (0.1, 0.4, 0.7, 1, 2, 4, 8, 16, 32, 64):
            scale = mpmath.mpf(10) ** exponent
            yield scale, origin - inward * scale


def guarded_modulus(expression: sympy.Expr) -> Modulus:
    """|f(point)|, or None where it is not a finite real number or would take the exponential of a giant.

    Arguments of functions are evaluated first, inner ones before outer ones: mpmath would take
    years for exp(-exp(1e16)), which needs the logarithm of 2 to as many bits as exp(1e16) has.
    """
    functions = expression.atoms(sympy.Function)
    nested = [argument for node in functions for argument in node.args if argument.has(sympy.Function)]
    steps = [evaluator([step]) for step in sorted(nested, key=sympy.count_ops)]
    whole = evaluator([expression])

    def modulus(point: mpmath.mpf) -> mpmath.mpf | None:
        try:
            if any(_is_giant(step(point)[0]) for step in steps):
                return None
            value = mpmath.mpmathify(whole(point)[0])
        except (ArithmeticError, ValueError):
            return None
        return abs(value) if isinstance(value, mpmath.mpf) and mpmath.isfinite(value) else None

    return modulus


def _is_giant(number: mpmath.mpf | mpmath.mpc) -> bool:
    return bool(number) and mpmath.isfinite(number) and mpmath.mag(number) > 2000
