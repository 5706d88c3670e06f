"""Obstacles to a normalization, known before any number is computed: no value, a jump, a diverging moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import mpmath
import numpy as np
import sympy
from scipy import special

from theory.activations.activation import Activation, steps
from theory.activations.callable import CallableActivation
from theory.activations.ends import one_sided_limit
from theory.activations.proofs import place_without_value, proved_jumps
from theory.gaussian.convergence import Convergence, convergence
from theory.gaussian.expectations import Functional, keeps_growing
from theory.gaussian.moments import Moments
from theory.numerics.arithmetic import constant_value
from theory.numerics.panels import REACH
from theory.numerics.survey import Break

_SHOWN = 10  # places that are listed
_VISIBLE = 1e-6  # probability of an interval that matters
_SMALL = 1e-2  # size of a proved jump that is reported with what it would cost
_RAMP = 1e-3  # width over which a jump is smoothed to say what it costs
_NEGLIGIBLE = 1e-15  # of E phi'^2, and for the steepest ramp that still counts:
_STEEPEST = 1e-9


_REPORTED: Mapping[str, str] = {
    "mean": "mean",
    "variance": "variance",
    "second": "second_moment",
    "slope_second": "slope_second_moment",
}
"""Names of the moments in a report."""
_SQUARES: Mapping[str, Functional] = {
    "phi^2": lambda _z, value, _slope: value * value,
    "phi'^2": lambda _z, _value, slope: slope * slope,
}


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why an activation cannot be normalized ("no") or why that cannot be decided ("undecided")."""

    normalizable: Literal["no", "undecided"]
    reason: str
    hides_value: bool = True  # not even E phi and E phi^2 can be given
    infinite: tuple[str, ...] = ()  # names of moments in a report that are proved to have no finite value


def obstacle(activation: Activation | CallableActivation, proof: Moments | None = None) -> Obstacle | None:
    """Return what forbids integrating phi^2 or phi'^2, before any number is computed; None if nothing does.

    Args:
        activation: phi.
        proof: what is proved about its moments. "No" needs a proof that one of them diverges or that phi jumps.
    """
    if isinstance(activation, CallableActivation):
        return _seen_obstacle(activation)
    if activation.undefined:
        where = " and ".join(place_without_value(activation.expression, piece) for piece in activation.undefined)
        return Obstacle("no", f"phi has no real value {where}", infinite=tuple(_REPORTED.values()))
    divergent = {name: proof.reasons[name] for name in ("second", "slope_second") if proof and name in proof.divergent}
    infinite = [_REPORTED[name] for name in _REPORTED if proof and name in proof.divergent]
    if "second" in divergent:  # then phi'^2 has no finite mean either, by the Poincaré inequality
        infinite += ["variance", "second_moment", "slope_second_moment"]
        return Obstacle("no", _far(divergent["second"]), infinite=tuple(dict.fromkeys(infinite)))
    square = convergence(activation, "value")
    hides_value = square.verdict != "converges"
    if "slope_second" in divergent:
        return Obstacle("no", _far(divergent["slope_second"]), hides_value, tuple(infinite))
    jumps = proved_jumps(activation.expression, activation.pieces)
    if jumps:
        where = _listed(list(map(place_text, jumps)))
        if activation.reach is not None:
            nearest = sorted(jumps, key=lambda jump: abs(constant_value(jump, 15)))
            where = f"{', '.join(map(place_text, nearest[:_SHOWN]))} and so on"
        small = _small_jumps(activation, jumps)
        if small:
            where = _listed([f"{place_text(jump)} ({_size(seen)})" for jump, seen in zip(jumps, small, strict=True)])
        text = f"phi jumps at {where}, so it is not weakly differentiable and E phi'^2 has no finite value"
        return Obstacle("no", text + _smoothed(small), hides_value, (*infinite, "slope_second_moment"))
    return _doubt(activation, square)


def _small_jumps(activation: Activation, jumps: Sequence[sympy.Expr]) -> list[Break]:
    """The jumps with their sizes if all are small, as that of xIELU is, else nothing."""
    found = []
    for left, right in pairwise(activation.pieces):
        if left.upper in jumps:
            sides = (one_sided_limit(left.value, left.upper, "-"), one_sided_limit(right.value, left.upper, "+"))
            size, place = (constant_value(number, 20) for number in (sides[1] - sides[0], left.upper))
            if not (isinstance(size, mpmath.mpf) and abs(size) < _SMALL):
                return []
            found.append(Break(float(place), abs(float(size)), 0.0, is_jump=True))
    return found if len(found) == len(jumps) <= _SHOWN and activation.reach is None else []


def _doubt(activation: Activation, square: Convergence) -> Obstacle | None:
    """What is not proved, but measured at the ends of the pieces."""
    for moment, measured in (("E phi^2", square), ("E phi'^2", convergence(activation, "slope"))):
        if measured.verdict != "converges":
            place = _far(f"x = {measured.place}")
            appears = f"it appears to diverge at {place}, but this is not proved"
            text = appears if measured.verdict == "diverges" else f"that cannot be decided at {place}"
            return Obstacle("undecided", f"whether {moment} is finite: {text}", moment == "E phi^2")
    jumps = _listed(list(map(place_text, steps(activation, "value"))))
    unproved = f"phi looks as if it jumps at {jumps}, but this is not proved; if it does, E phi'^2 is infinite"
    return Obstacle("undecided", unproved, hides_value=False) if jumps else None


def seen_obstacle(activation: Activation) -> Obstacle | None:
    """Return what a numerical search finds where the list of its singular points is not complete.

    >>> import sympy
    >>> from theory.numerics.arithmetic import X
    >>> touching = sympy.cos(X - sympy.sqrt(2)) < 1  # but for double zeros
    >>> seen_obstacle(Activation("step", sympy.Piecewise((1, touching & (X > 1)), (0, True)))).normalizable
    'undecided'
    """
    return None if activation.unlisted is None else _seen_breaks(activation.unlisted)


def _seen_obstacle(activation: CallableActivation) -> Obstacle | None:
    """What was seen of a Python function that leaves it undecided: values at points prove nothing."""
    breaks = _seen_breaks(activation)
    if breaks is not None and breaks.hides_value:
        return breaks
    for what, functional in _SQUARES.items():
        if keeps_growing(activation, functional):
            text = (
                f"E {what} appears to diverge at infinity: {what} times the normal density does not decay up to "
                "|x| = 37.5, where float64 ends"
            )
            return Obstacle("undecided", text, hides_value=what == "phi^2")
    return breaks


def _seen_breaks(activation: CallableActivation) -> Obstacle | None:
    """Intervals without a value or without order, and jumps that matter."""
    if activation.undefined:
        text = (
            f"phi looks undefined: it has no real value (nan) at any point tried on {_intervals(activation.undefined)}"
        )
        return Obstacle("undecided", text)
    rough = [(low, high) for low, high in activation.survey.rough if special.ndtr(high) - special.ndtr(low) > _VISIBLE]
    if rough:
        text = (
            f"phi oscillates or is noisy on {_intervals(rough)} beyond what its values can resolve, so that neither "
            "kinks nor jumps nor a slope can be identified there"
        )
        return Obstacle("undecided", text)
    return _seen_jumps([jump for jump in activation.survey.jumps if matters(jump)])


def matters(jump: Break) -> bool:
    """Whether a jump is where the normal density lets it count, however steeply it is smoothed.

    >>> matters(Break(0.0, 1e-6, 0.0, True)), matters(Break(20.0, 1.0, 0.0, True))
    (True, False)
    """
    return _cost(jump, _STEEPEST) > _NEGLIGIBLE


def _cost(jump: Break, width: float) -> float:
    r"""What a jump adds to E phi'^2 when a ramp takes its place: :math:`s^2 \varphi(x) / w` for size s and width w."""
    if np.isinf(jump.size):
        return float("inf")
    return float(jump.size * jump.size / width * np.exp(-(jump.position**2) / 2) / np.sqrt(2 * np.pi))


def _seen_jumps(jumps: Sequence[Break]) -> Obstacle | None:
    """The jumps of a Python function with their sizes, and what they would cost if they were steep but continuous."""
    if not jumps:
        return None
    shown = sorted(jumps, key=lambda jump: (-_cost(jump, _RAMP), abs(jump.position)))
    where = _listed([f"{place_text(jump.position)} ({_size(jump)})" for jump in shown])
    text = f"phi looks as if it jumps at {where}; if it does, it is not weakly differentiable and E phi'^2 is infinite"
    return Obstacle("undecided", text + _smoothed(jumps), hides_value=False)


def _smoothed(jumps: Sequence[Break]) -> str:
    """What the jumps would add to E phi'^2 as steep ramps; nothing where there is none, or one of unknown size."""
    cost = sum(_cost(jump, _RAMP) for jump in jumps)
    if not jumps or not np.isfinite(cost):
        return ""
    adds = "it would add" if len(jumps) == 1 else "they would add"
    return f"; smoothed over a width of {_RAMP:g} {adds} {cost:.2g} to E phi'^2"


def _size(jump: Break) -> str:
    return f"by {jump.size:.2g}" if np.isfinite(jump.size) else "of unknown size"


def _intervals(intervals: Sequence[tuple[float, float]]) -> str:
    """Intervals as text; one that reaches the end of the survey reaches infinity as far as can be seen."""
    return _listed([f"({_end(low)}, {_end(high)})" for low, high in intervals])


def _end(x: float) -> str:
    return f"{x:.10g}" if abs(x) < REACH else ("-oo" if x < 0 else "oo")


def place_text(point: Any) -> str:
    """A breakpoint as text: an exact expression, or the shortest decimal number."""
    return str(point).removesuffix(".0") if isinstance(point, float) else str(point)


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(texts[:_SHOWN]) + (f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else "")


def _far(reason: str) -> str:
    """A reason that says infinity for either end of the line."""
    return reason.replace("x = -oo", "infinity").replace("x = oo", "infinity")
