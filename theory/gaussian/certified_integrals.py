"""Rigorous integrals over the pieces of an activation against the normal density.

Between two breakpoints the integrand is analytic, and `flint.acb.integral` encloses the integral by Gauss-Legendre
quadrature with proved errors (Johansson 2018, "Numerical integration in arbitrary-precision ball arithmetic", ICMS).
What lies beyond |z| = R is bounded by growth envelopes (`theory.balls.envelope`), and so is the immediate
neighbourhood of an integrable singularity at the end of a piece. Polynomial pieces have closed forms.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sympy
from flint import acb, arb

from theory.activations.ends import local_width
from theory.activations.pieces import Piece
from theory.balls.arithmetics import COMPLEX, INTERVAL, REAL, growth_arithmetic, integer_power
from theory.balls.core import NotCertifiable, hull
from theory.balls.envelope import Growth, gap_diverges, gaussian_tail, singular_gap, tail_diverges, variable
from theory.balls.functions import normal_pdf
from theory.balls.local import T, is_regular, mirrored
from theory.balls.program import Program, constant_ball, is_analytic_at_zero, regular_derivatives, regularize
from theory.balls.zeros import near
from theory.gaussian.polynomial_pieces import polynomial_moment, polynomials
from theory.numerics.arithmetic import X, is_infinite

_NARROW = 2.0**-20
_MOST_PANELS = 1500
_MINUS_HALF = arb(-0.5)
_NOWHERE = (acb(arb.nan(), arb.nan()),) * 4
_EFFORT = 40_000, 100, 200  # evaluations of an integrand on a section: at least, for each bit, for each panel
TOO_FAST = "phi varies too fast for the quadrature"
_LARGEST_POLE = 4
_RADII = 24  # cutoffs that are tried, each a quarter farther out


class Moment(NamedTuple):
    """The expectation E[phi(z)^value phi'(z)^slope He_hermite(z)] with hermite 0, 2 or 4."""

    value: int
    slope: int
    hermite: int = 0

    def of(self, z: Any, value: Any, slope: Any) -> Any:
        """The integrand without the density, in any arithmetic."""
        result: Any = 1
        for base, power in ((value, self.value), (slope, self.slope)):
            result = result * integer_power(base, power) if power else result
        if self.hermite:
            square = z * z
            result = result * (square - 1 if self.hermite == 2 else square * square - 6 * square + 3)
        return result

    def __str__(self) -> str:
        factors = [("phi", self.value), ("phi'", self.slope)]
        text = " ".join(name if power == 1 else f"{name}^{power}" for name, power in factors if power)
        return f"E {text}{f' He_{self.hermite}' if self.hermite else ''}"


@dataclass(slots=True)
class Enclosures:
    """Running sums of several moments, and why some of them cannot be enclosed."""

    sums: dict[Moment, arb]
    reasons: dict[Moment, str] = field(default_factory=dict)
    divergent: set[Moment] = field(default_factory=set)  # those that are proved to diverge
    exhausted: set[Moment] = field(default_factory=set)  # those whose integrand varies too fast for the effort allowed
    only_divergence: frozenset[Moment] = frozenset()  # those that are of no use but for a proof that they diverge

    @property
    def open(self) -> list[Moment]:
        return [moment for moment in self.sums if moment not in self.reasons]

    def add(self, moment: Moment, ball: arb) -> None:
        self.sums[moment] += ball

    def fail(self, moment: Moment, reason: str) -> None:
        self.reasons.setdefault(moment, reason)

    def fail_at(self, moment: Moment, point: object, diverges: bool, reason: str = "") -> None:
        """Record that no envelope bounds the integrand near a point, or that its integral diverges there."""
        if diverges:
            self.divergent.add(moment)
            self.reasons[moment] = f"{moment} diverges at x = {point}"
        else:
            detail = f" ({reason})" if reason else ""
            self.fail(moment, f"no envelope proves that {moment} converges at x = {point}{detail}")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Absolute error aimed at for every moment: 2^-bits times the size of the moment."""

    bits: int
    value_size: arb
    slope_size: arb

    def tolerance(self, moment: Moment) -> arb:
        size: arb = self.value_size**moment.value * self.slope_size**moment.slope
        return (size * arb(2) ** -self.bits).mid()


def add_piece(piece: Piece, enclosures: Enclosures, accuracy: Accuracy) -> None:
    """Add the share of one piece to the moments, at the present working precision.

    Args:
        piece: a smooth branch of the activation.
        enclosures: the sums to add to; a moment that cannot be enclosed gets a reason.
        accuracy: the errors aimed at.

    Raises:
        NotCertifiable: the piece uses something without a rigorous rule.
    """
    if piece.kind == "remote":
        _add_remote(piece, enclosures, accuracy)
        return
    parts = polynomials(piece)
    if parts is not None:
        for moment in enclosures.open:
            enclosures.add(moment, polynomial_moment(moment.of(*parts), piece))
        return
    for section in _sections(piece, enclosures, accuracy):
        for moment in enclosures.open:
            if enclosures.exhausted:
                enclosures.fail(moment, TOO_FAST)
            elif moment not in enclosures.only_divergence:
                _add_section(section, moment, enclosures, accuracy)


def _add_remote(piece: Piece, enclosures: Enclosures, accuracy: Accuracy) -> None:
    """Bound the share of a piece of which only the formulas are known that it may take."""
    end = constant_ball(piece.lower if piece.side > 0 else piece.upper)
    radius = abs(end).lower()
    trials = [
        _Trial.at(radius, Program(mirrored([X, f, sympy.diff(f, X)], piece.side), T), enclosures.open, accuracy)
        for f in piece.alternatives
    ]
    for moment in enclosures.open:
        tails = [trial.tails[moment] for trial in trials]
        known = [tail for tail in tails if tail is not None]
        if len(known) < len(tails):
            enclosures.fail_at(moment, piece.upper if piece.side > 0 else piece.lower, diverges=False)
        else:
            enclosures.add(moment, arb(0, sum(known, arb(0)).upper()))


class Section:
    """A stretch [start, stop] of the variable t of a program with the outputs z, phi(z), phi'(z).

    Evaluations are remembered: the moments have most of their quadrature nodes in common.
    """

    def __init__(self, program: Program, panels: Sequence[arb]) -> None:
        self.panels = panels
        self._program = program
        self._real, self._interval = program.bind(REAL), program.bind(INTERVAL)
        self._complex = program.bind(COMPLEX)
        self._memory: dict[Any, tuple[Any, Any, Any, Any]] = {}

    def integrand(self, moment: Moment) -> Callable[[acb, bool], acb]:
        """The moment times exp(-z^2/2), for `acb.integral`."""

        def function(t: acb, analytic: bool) -> acb:
            z, value, slope, weight = self._evaluate(t, analytic)
            result = moment.of(z, value, slope) * weight
            return result if analytic else acb(result)

        return function

    def _evaluate(self, t: acb, analytic: bool) -> tuple[Any, Any, Any, Any]:
        real = t.real
        if not (t.is_finite() and (analytic or t.imag.is_zero())):
            return _NOWHERE  # the path is real and finite, so this does not happen
        # Mantissa and exponent are exact and hashable; a ball compares by what is proved, not by what it is.
        key: Any = real.mid().man_exp(), real.rad().man_exp()
        if analytic:
            imag = t.imag
            key = *key, imag.mid().man_exp(), imag.rad().man_exp()
        node = self._memory.get(key)
        if node is None:
            z, value, slope = self._at(real, t if analytic else None)
            node = self._memory[key] = z, value, slope, (z * z * _MINUS_HALF).exp()
        return node

    def _at(self, real: arb, rectangle: acb | None) -> tuple[Any, ...]:
        if rectangle is not None:
            return self._complex(rectangle)
        # On a wide ball plain evaluation overestimates: there monotone functions are taken at the two ends.
        return (self._real if real.rad() < _NARROW else self._interval)(real)


def _add_section(section: Section, moment: Moment, enclosures: Enclosures, accuracy: Accuracy) -> None:
    root = (2 * arb.pi()).sqrt()
    tolerance, relative = accuracy.tolerance(moment) * root, arb(2) ** -accuracy.bits
    function = _Counted(section.integrand(moment))
    effort = _EFFORT[0] + _EFFORT[1] * accuracy.bits + _EFFORT[2] * len(section.panels)
    for left, right in zip(section.panels, section.panels[1:], strict=False):
        # All panels share one budget of evaluations: a single bad one cannot take many times the usual time.
        limit = max(effort - function.calls, 1)
        integral = acb.integral(function, left, right, rel_tol=relative, abs_tol=tolerance, eval_limit=limit)
        if not (integral.is_finite() and integral.imag.contains(0)):
            enclosures.fail(moment, "the quadrature meets a pole or a branch point, or needs too many panels")
            return
        enclosures.add(moment, integral.real / root)
    if function.calls >= effort:
        enclosures.exhausted.add(moment)


class _Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[[acb, bool], acb]) -> None:
        self._function, self.calls = function, 0

    def __call__(self, t: acb, analytic: bool) -> acb:
        self.calls += 1
        return self._function(t, analytic)


def _sections(piece: Piece, enclosures: Enclosures, accuracy: Accuracy) -> Iterator[Section]:
    """Cut a piece into sections; the tails and gaps between them are added to the enclosures."""
    main = Program([X, piece.value, piece.slope])
    left, right = _far_end(piece, -1, enclosures, accuracy), _far_end(piece, 1, enclosures, accuracy)
    width = local_width(piece)
    if left is None:
        left = yield from _near_end(piece, -1, main, width, enclosures, accuracy)
    if right is None:
        right = yield from _near_end(piece, 1, main, width, enclosures, accuracy)
    yield Section(main, [left, right])


def _far_end(piece: Piece, side: int, enclosures: Enclosures, accuracy: Accuracy) -> arb | None:
    """The cutoff +-R of an unbounded piece, with the tail added; None for a bounded side."""
    end, other = (piece.upper, piece.lower) if side > 0 else (piece.lower, piece.upper)
    if not is_infinite(end):
        return None
    program = Program(mirrored([X, piece.value, piece.slope], side), T)
    # exp(-R^2/2) = 2^-bits at R^2 = 2 log(2) bits, hence 1.4 times bits.
    radius = arb(math.isqrt(accuracy.bits * 14 // 10) + 3)
    if not is_infinite(other):
        # The section that is left must not be empty.
        radius = radius.max((abs(constant_ball(other)) + 2).upper()).upper()
    trials = []
    for _ in range(_RADII):
        trials.append(_Trial.at(radius, program, enclosures.open, accuracy))
        if trials[-1].small == len(enclosures.open):
            break
        radius = (radius * 5 / 4).upper()
    best = max(trials, key=lambda trial: trial.small)  # the first of equals
    for moment in enclosures.open:
        tail = best.tails[moment]
        if tail is None:
            enclosures.fail_at(moment, end, moment in best.divergent, best.reason)
        else:
            enclosures.add(moment, arb(0, tail))
    return best.radius * side


@dataclass(frozen=True, slots=True)
class _Trial:
    """Bounds of the tails beyond one cutoff; None where there is none, with a reason if the envelope failed."""

    radius: arb
    tails: dict[Moment, arb | None]
    small: int  # how many are within the accuracy, -1 if the envelope failed
    divergent: frozenset[Moment] = frozenset()
    reason: str = ""

    @classmethod
    def at(cls, radius: arb, program: Program, moments: list[Moment], accuracy: Accuracy) -> "_Trial":
        try:
            growths = program.bind(growth_arithmetic(radius))(variable(radius))
        except NotCertifiable as reason:
            return cls(radius, dict.fromkeys(moments), -1, reason=str(reason))
        shares = {moment: moment.of(*growths) for moment in moments}
        tails = {moment: gaussian_tail(share) for moment, share in shares.items()}
        small = sum(tail is not None and tail <= accuracy.tolerance(moment) for moment, tail in tails.items())
        divergent = frozenset(moment for moment, share in shares.items() if tail_diverges(share))
        return cls(radius, tails, small, divergent)


def _near_end(
    piece: Piece, side: int, main: Program, width: arb, enclosures: Enclosures, accuracy: Accuracy
) -> Generator[Section, None, arb]:
    """The rational end from which the main section runs; near a singular end in the coordinate t = |x - end|."""
    point = piece.upper if side > 0 else piece.lower
    ball = constant_ball(point)
    if is_regular(main, ball):
        return _rounded_end(main, ball, side, enclosures)
    outputs = [X, piece.value, piece.slope]
    local = near(outputs, point, -side)
    smooth = regular_derivatives(local[1], T, -side, 1)
    if smooth is not None:
        yield Section(Program([local[0], *smooth], T), [arb(0), width])
    else:
        panels = _singular_panels(near(outputs, point, -side, width), width, point, enclosures, accuracy)
        yield Section(Program(local, T), panels)
    return _rounded_end(main, ball - side * width, side, enclosures)


def _rounded_end(program: Program, ball: arb, side: int, enclosures: Enclosures) -> arb:
    """The exact midpoint of a ball that contains the end, with the integral between the two added."""
    # Quadrature wants exact ends; what lies between the midpoint and the true end is bounded by its length.
    end = ball.mid()
    gap = (ball - end) * side
    if not gap.is_zero():
        z, value, slope = program.bind(INTERVAL)(hull(ball, end))
        weight = normal_pdf(z)
        for moment in enclosures.open:
            enclosures.add(moment, gap * moment.of(z, value, slope) * weight)
    return end


def _singular_panels(
    local: list[sympy.Expr], width: arb, point: sympy.Expr, enclosures: Enclosures, accuracy: Accuracy
) -> list[arb]:
    """Panels growing fourfold from delta to the width; the gap below delta is added by its local envelope."""
    program = Program([expression.xreplace({T: 1 / T}) for expression in local], T)
    for factor in (1, 2, 4, 8):
        start = arb(2) ** (factor * accuracy.bits)
        growths = program.bind(growth_arithmetic(start))(variable(start))
        gaps = {moment: _gap(moment, growths) for moment in enclosures.open}
        if all(gap is None or gap <= accuracy.tolerance(moment) for moment, gap in gaps.items()):
            break
    for moment, gap in gaps.items():
        if gap is None:
            diverges = gap_diverges(moment.of(*growths)) or _meets_pole(local, moment)
            enclosures.fail_at(moment, point, diverges)
        else:
            enclosures.add(moment, arb(0, gap))
    # Towards a singular end an integrand changes by a factor over a factor of t, not over a step.
    panels = [1 / start]
    while panels[-1] * 4 < width:
        panels.append(panels[-1] * 4)
    if len(panels) > _MOST_PANELS:
        raise NotCertifiable(f"so many digits need too many panels at the singular point x = {point}")
    return [*panels, width]


def _meets_pole(local: list[sympy.Expr], moment: Moment) -> bool:
    """Whether E phi^2 or E phi'^2 diverges at a pole: t^m f is proved analytic and not zero at t = 0."""
    function = {Moment(2, 0): local[1], Moment(0, 2): local[2]}.get(moment)
    for order in range(1, _LARGEST_POLE + 1) if function is not None else ():
        lifted = regularize(sympy.powsimp(T**order * function), T)
        if is_analytic_at_zero([lifted], T):
            return not Program([lifted], T).bind(REAL)(arb(0))[0].contains(0)
    return False


def _gap(moment: Moment, growths: tuple[Growth, ...]) -> arb | None:
    gap = singular_gap(moment.of(*growths))
    return None if gap is None else gap / 2  # the density is below 1/2
