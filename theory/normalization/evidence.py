"""The evidence about one activation (an obstacle, or its moments as well as they can be known) and the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Literal, NoReturn

import mpmath
from flint import arb

from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.activations.proofs import unproved_switch
from theory.activations.specification import READING
from theory.balls.core import NotCertified, precision
from theory.balls.decimal import DecimalNumber
from theory.gaussian.certified import certified_moments
from theory.gaussian.digits import expectations_high_precision
from theory.gaussian.float_moments import moment_estimates
from theory.gaussian.moments import CONDITIONS, FUNCTIONALS, Moments, Normalization
from theory.normalization.obstacles import Obstacle, obstacle, seen_obstacle
from theory.numerics.budget import UNLIMITED, Budget

TOLERANCE = 1e-12
"""How far the two conditions may be missed by an activation whose constants are typed in double precision."""


DIFFERENCE_TOLERANCE = 1e-9
"""The same for a Python function without derivative, whose slope is known by differences."""


_FLAT = 1e-11  # E phi'^2 of a constant that is differenced: its error is far below that of any slope that is used
PROOF = "proof of the moments"
FINITE = "whether the moments are finite"
LOOK = "a search for singular points that are not listed"
NUMERICAL = "numerical moments"
MANY_DIGITS = "numerical moments to many digits"
FEW_DIGITS = 30
"""Digits that are tried where there is no time to prove more."""


_HOPELESS = 8  # where adaptive float64 panels do not find so many digits, a rule of many digits finds none


def default_tolerance(activation: Activation | CallableActivation) -> float:
    differenced = isinstance(activation, CallableActivation) and activation.derivative is None
    return DIFFERENCE_TOLERANCE if differenced else TOLERANCE


class Outcome(StrEnum):
    """A text of three possible values whose truth value is refused, since every one of them would be true.

    >>> if Gpn.FAILS: print("GPN")
    Traceback (most recent call last):
    ...
    TypeError: 'fails' is one of holds, fails, undecided, neither true nor false; compare it, as in: outcome == 'holds'
    >>> Gpn.FAILS == "fails"
    True
    """

    def __bool__(self) -> NoReturn:
        values = [str(value) for value in type(self)]
        raise TypeError(
            f"{str(self)!r} is one of {', '.join(values)}, neither true nor false; compare it, as in: outcome == "
            f"{values[0]!r}"
        )

    __repr__ = str.__repr__


class Gpn(Outcome):
    """Whether an activation is Gaussian-Poincaré normalized."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"


class Normalizable(Outcome):
    """Whether some a phi + b is Gaussian-Poincaré normalized."""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence about an activation: an obstacle, the moments, and why they are not certified (None if they are).

    `is_seen` marks an obstacle of a formula that was only seen, at a singular point that algebra does not list.
    """

    obstacle: Obstacle | None
    moments: Moments | None
    uncertified: str | None = None
    is_seen: bool = False


def gather_evidence(activation: Activation | CallableActivation, digits: int, budget: Budget = UNLIMITED) -> Evidence:
    """Certified moments if possible; they also prove that the integrals converge and that phi does not jump."""
    late = "not finished within the time limit"
    if isinstance(activation, Activation) and not budget.attempt(READING, 0.35, lambda: activation.pieces, ()):
        return Evidence(Obstacle("undecided", f"splitting the formula into smooth pieces is {late}"), None)
    certified = _proved_moments(activation, digits, budget)
    missing = certified if isinstance(certified, NotCertified) else certified.first_missing(CONDITIONS)
    known, proved = certified if isinstance(certified, Moments) else None, None
    if known is not None and known.first_missing(CONDITIONS[:-1]) is None:
        proved = replace(known, bits=working_bits(digits))
        if missing is None:
            return Evidence(None, proved)
    unknown = Obstacle("undecided", f"whether the moments are finite and phi jumps: {late}")
    found_obstacle = budget.attempt(FINITE, 0.7, lambda: obstacle(activation, known), unknown)
    seen = None
    if found_obstacle is None and isinstance(activation, Activation):
        found_obstacle = seen = budget.attempt(LOOK, 0.75, lambda: seen_obstacle(activation), None)
    if found_obstacle is not None and (proved is not None or found_obstacle.hides_value):
        return Evidence(found_obstacle, proved, is_seen=seen is not None)
    reason = "" if missing is None else missing.reason
    moments = _moments(activation, digits, budget, slope=found_obstacle is None)
    if moments is None and found_obstacle is None:
        found_obstacle = Obstacle("undecided", f"the numerical moments are {late}")
    return Evidence(found_obstacle, moments, reason, is_seen=seen is not None)


def _proved_moments(activation: Activation | CallableActivation, digits: int, budget: Budget) -> Moments | NotCertified:
    """Certified moments; fewer digits than asked for where there is no time for more."""
    late = NotCertified("the proof is not finished within the time limit")
    for share, wanted in ((0.5, digits), (0.6, FEW_DIGITS)):
        given_up = len(budget.given_up)
        moments = budget.attempt(PROOF, share, partial(certified_moments, activation, wanted, CONDITIONS), late)
        if len(budget.given_up) == given_up or digits <= FEW_DIGITS:
            break
    return moments


def working_bits(digits: int) -> int:
    return int(3.33 * (5 * digits + 100))


def _moments(
    activation: Activation | CallableActivation, digits: int, budget: Budget, *, slope: bool
) -> Moments | None:
    """Moments precise enough that a, b and chi come out with the wanted digits, if that can be had."""
    names = CONDITIONS if slope else CONDITIONS[:-1]
    estimates = budget.attempt(NUMERICAL, 0.8, lambda: moment_estimates(activation, names), None)
    if estimates is None:
        return None
    rough = _uncertified(activation, digits, {name: (e.value, e.error) for name, e in estimates.items()})
    return _plausible(budget.attempt(MANY_DIGITS, 0.85, lambda: _refined(activation, digits, rough, names), rough))


def _plausible(moments: Moments) -> Moments:
    """Without the E phi'^2 of a quadrature that is below Var phi, as where slopes are steep on too short a stretch."""
    slope = moments.balls.get("slope_second")
    if slope is None or not moments.variance > slope:
        return moments
    return replace(moments, balls={**moments.balls, "slope_second": arb.nan()})


def _refined(
    activation: Activation | CallableActivation, digits: int, moments: Moments, names: Sequence[str]
) -> Moments:
    """The moments to more digits by mpmath, where float64 does not give enough and a rule of many digits may."""
    if isinstance(activation, CallableActivation) or (digits <= 15 and _are_precise(moments, 13)):
        return moments
    if not _are_precise(moments, _HOPELESS):
        return moments
    functionals = {name: FUNCTIONALS[name] for name in names}
    for working in (digits + 5, 2 * digits + 20, 4 * digits + 40):
        previous = moments
        moments = _uncertified(activation, digits, expectations_high_precision(activation, functionals, working))
        # Where the sums have not settled more digits do not help, only more nodes would.
        if _are_precise(moments, digits) or not (_improves(moments, previous) and _has_settled(moments, working)):
            break
    return moments


def _uncertified(
    activation: Activation | CallableActivation, digits: int, estimates: Mapping[str, tuple[float, float]]
) -> Moments:
    balls = {name: arb(value, error) for name, (value, error) in estimates.items()}
    if not isinstance(activation, Activation):
        return Moments(balls, working_bits(digits))
    linear, is_split = (
        activation.is_positively_homogeneous,
        unproved_switch(activation.expression, activation.pieces) is None,
    )
    return Moments(balls, working_bits(digits), homogeneous=linear, affine=activation.is_affine and is_split)


def _improves(moments: Moments, previous: Moments) -> bool:
    """Whether more digits helped, that is, whether still more may help."""
    return bool(moments.balls["second_tilt"].rad() < previous.balls["second_tilt"].rad() / 1000)


def _has_settled(moments: Moments, working: int) -> bool:
    """Whether the sums agree to the digits that they were computed with, but for ten."""
    with precision(working_bits(working)):
        size = 1 + max((abs(ball).upper() for ball in moments.balls.values()), key=float)
        return all(ball.rad() < arb(10) ** (10 - working) * size for ball in moments.balls.values())


def _are_precise(moments: Moments, digits: int) -> bool:
    """Whether every number of the report is known to 10^-digits, relative where it is large."""
    with precision(working_bits(digits)):
        numbers = list(shown_moments(moments).values())
        slope = moments.balls.get("slope_second")
        if len(numbers) < 3 + (slope is not None):
            return False
        roots = replace(moments, bits=working_bits(digits)).normalizations()
        for root in [] if isinstance(roots, NotCertified) else roots:
            numbers += root.numbers
        return all(number.rad() < arb(10) ** -digits * (1 + abs(number)) for number in numbers)


SHOWN = ("mean", "variance", "second_moment", "slope_second_moment")


def shown_moments(moments: Moments | None) -> dict[str, arb]:
    """The four moments of the report, those that are known at all."""
    if moments is None:
        return {}
    balls = (moments.balls["mean"], moments.variance, moments.balls["second"], moments.balls.get("slope_second"))
    return {key: ball for key, ball in zip(SHOWN, balls, strict=True) if ball is not None and _is_known(ball)}


def _is_known(ball: arb) -> bool:
    return bool(ball.rad() < 0.01 * (1 + abs(ball)))


def decide(
    obstacle: Obstacle | None, moments: Moments | None, tolerance: float
) -> tuple[Literal["holds", "fails", "undecided"], Literal["yes", "no", "undecided"], str]:
    """(is_gpn, normalizable, reason) from the obstacle or else the moments."""
    if obstacle is not None:
        return (
            ("fails" if obstacle.normalizable == "no" else "undecided"),
            obstacle.normalizable,
            obstacle.reason,
        )
    assert moments is not None
    square, slope = moments.balls["second"], moments.balls["slope_second"]
    if not (_is_known(square) and _is_known(slope)):
        which = "integral of phi'^2 does" if _is_known(square) else "integrals of phi^2 and phi'^2 do"
        return "undecided", "undecided", f"the {which} not settle numerically"
    if slope.is_zero() and (moments.certified or moments.affine):
        return "fails", "no", "phi is constant, so that E phi'^2 = 0"
    if slope.contains(0) and slope.rad() < _FLAT:
        return "undecided", "undecided", "phi looks constant: E phi'^2 is 0 to rounding"
    if not slope > 0:
        return "undecided", "undecided", "whether phi is constant cannot be decided at this precision"
    if not known_normalizations(moments):
        return "undecided", "undecided", "a and b do not settle numerically"
    misses = [abs(square - 1), abs(slope - 1)]
    text = f"E phi^2 - 1 = {_short(square - 1)}, E phi'^2 - 1 = {_short(slope - 1)}, tolerance {tolerance:g}"
    if all(miss <= tolerance for miss in misses):
        return "holds", "yes", text
    return ("fails" if any(miss > tolerance for miss in misses) else "undecided"), "yes", text


def known_normalizations(moments: Moments) -> list[Normalization[arb]]:
    """Both normalizations, or none if one of their numbers is not known at all, as chi of abs(x) + 1e200."""
    roots = moments.normalizations()
    known = [] if isinstance(roots, NotCertified) else roots
    if not all(_is_known(ball) for root in known for ball in (root.mean, root.chi)):
        return []
    return known if all(DecimalNumber.of(ball, 2) is not None for root in known for ball in root.numbers) else []


def known_number(ball: arb, digits: int) -> DecimalNumber:
    """A number of one of the `known_normalizations`."""
    number = DecimalNumber.of(ball, digits)
    assert number is not None
    return number


def upper_text(ball: arb) -> str:
    """A two-digit decimal that is no less than a small positive number."""
    return str(mpmath.nstr(mpmath.mpf(ball.upper() * 1.05), 2)) if ball > 0 else "0"


def _short(ball: arb) -> str:
    is_vague = ball.contains(0) or 10 * ball.rad() > abs(ball)
    return f"0 within {upper_text(abs(ball).upper())}" if is_vague else str(ball.str(2, radius=False))
