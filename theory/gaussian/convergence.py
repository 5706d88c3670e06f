"""Is an expectation finite? The local power law of the integrand at the ends of its pieces decides, not quadrature."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import mpmath
import sympy
from sympy.logic.boolalg import Boolean

from theory.activations.activation import Activation
from theory.activations.pieces import Piece
from theory.numerics.arithmetic import compile_expressions, constant_value, is_infinite


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
    if expression.free_symbols or isinstance(expression, sympy.Tuple):  # a branch of a Piecewise is one
        return {constant for argument in expression.args for constant in _constants(argument)}
    return set() if expression.is_Rational or isinstance(expression, Boolean) else {expression}


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

    >>> from theory.numerics.arithmetic import X
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


@lru_cache(maxsize=64)  # compiled once, for points that are asked for one by one
def guarded_modulus(expression: sympy.Expr) -> Modulus:
    """|f(point)|, or None where it is not a finite real number or would take the exponential of a giant.

    Arguments of functions are evaluated first, inner ones before outer ones: mpmath would take
    years for exp(-exp(1e16)), which needs the logarithm of 2 to as many bits as exp(1e16) has.
    """
    functions = expression.atoms(sympy.Function)
    arguments = [argument for node in functions for argument in node.args if isinstance(argument, sympy.Expr)]
    nested = [argument for argument in arguments if argument.has(sympy.Function)]
    steps = [evaluator([step]) for step in sorted(nested, key=sympy.count_ops)]
    whole = evaluator([expression])

    def modulus(point: mpmath.mpf) -> mpmath.mpf | None:
        try:
            if any(_is_giant(step(point)[0]) for step in steps):
                return None
            value = mpmath.mpmathify(whole(point)[0])
        except (ArithmeticError, ValueError, TypeError):  # TypeError: the maximum of complex numbers
            return None
        return abs(value) if isinstance(value, mpmath.mpf) and mpmath.isfinite(value) else None

    return modulus


def _is_giant(number: mpmath.mpf | mpmath.mpc) -> bool:
    return bool(number) and mpmath.isfinite(number) and mpmath.mag(number) > 2000
