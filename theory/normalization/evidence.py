"""Part of what was in theory/poincare.py."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import mpmath
from flint import arb

from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.balls.core import NotCertified, precision
from theory.gaussian.certified import CONDITIONS, certified_moments
from theory.gaussian.digits import expectations_high_precision
from theory.gaussian.doubts import moment_doubts
from theory.gaussian.expectations import Functional, expectations
from theory.gaussian.moments import RawMoments, RootBalls, root_balls
from theory.normalization.obstacles import Obstacle, obstacle

TOLERANCE = 1e-12
"""How far the two conditions may be missed by an activation whose constants are typed in double precision."""


DIFFERENCE_TOLERANCE = 1e-9
"""The same for a Python function without derivative, whose slope is known by differences."""


_HOPELESS = 8  # where adaptive float64 panels do not find so many digits, a rule of many digits finds none


_VALUE_FUNCTIONALS: Mapping[str, Functional] = MappingProxyType(
    {
        "mean": lambda _z, value, _slope: value,
        "second": lambda _z, value, _slope: value * value,
        "mean_tilt": lambda z, value, _slope: value * (z * z - 1),
        "second_tilt": lambda z, value, _slope: value * value * (z * z - 1),
    }
)


_FUNCTIONALS: Mapping[str, Functional] = MappingProxyType(
    {**_VALUE_FUNCTIONALS, "slope_second": lambda _z, _value, slope: slope * slope}
)


def _tolerance(activation: Activation | CallableActivation) -> float:
    differenced = isinstance(activation, CallableActivation) and activation.derivative is None
    return DIFFERENCE_TOLERANCE if differenced else TOLERANCE


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What is known of an activation: an obstacle, the moments, and why they are not certified (None if they are)."""

    obstacle: Obstacle | None
    moments: RawMoments | None
    uncertified: str | None = None


def _evidence(activation: Activation | CallableActivation, digits: int) -> _Evidence:
    """Certified moments if possible; they also prove that the integrals converge and that phi does not jump."""
    certified = certified_moments(activation, digits, CONDITIONS)
    proved = certified if isinstance(certified, NotCertified) else certified.raw()
    if isinstance(proved, RawMoments) and proved.slope_second is not None:
        return _Evidence(None, proved)
    found = obstacle(activation)
    if found is not None and isinstance(proved, RawMoments):
        return _Evidence(found, proved)
    if found is not None and found.hides_value:
        return _Evidence(found, None)
    doubt = certified if isinstance(certified, NotCertified) else certified.moment("slope_second")
    reason = proved.reason if isinstance(proved, NotCertified) else getattr(doubt, "reason", "")
    return _Evidence(found, _moments(activation, digits, slope=found is None), reason)


def _bits(digits: int) -> int:
    return int(3.33 * (5 * digits + 100))


def _moments(activation: Activation | CallableActivation, digits: int, *, slope: bool) -> RawMoments:
    """Raw moments precise enough that a, b and chi come out with the wanted digits, if that can be had."""
    functionals = _FUNCTIONALS if slope else _VALUE_FUNCTIONALS
    moments = _float_moments(activation, functionals)
    if isinstance(activation, CallableActivation) or (digits <= 15 and _are_precise(activation, moments, 13)):
        return moments
    if not _are_precise(activation, moments, _HOPELESS):
        return moments
    for working in (digits + 5, 2 * digits + 20, 4 * digits + 40):
        previous, moments = moments, _mpmath_moments(activation, functionals, working)
        if _are_precise(activation, moments, digits) or not _improves(moments, previous):
            break
    return moments


def _improves(moments: RawMoments, previous: RawMoments) -> bool:
    """Whether more digits helped, that is, whether still more may help."""
    return bool(moments.second_tilt.rad() < previous.second_tilt.rad() / 1000)


def _float_moments(activation: Activation | CallableActivation, functionals: Mapping[str, Functional]) -> RawMoments:
    found = expectations(activation, functionals)
    balls: dict[str, Any] = {name: arb(estimate.value, estimate.error) for name, estimate in found.items()}
    if isinstance(activation, CallableActivation):
        for name, doubt in moment_doubts(activation, functionals).items():
            balls[name] += arb(0, doubt)
    return RawMoments(**balls)


def _mpmath_moments(activation: Activation, functionals: Mapping[str, Functional], digits: int) -> RawMoments:
    found = expectations_high_precision(activation, functionals, digits)
    balls: dict[str, Any] = {name: arb(value, error) for name, (value, error) in found.items()}
    return RawMoments(**balls)


def _are_precise(activation: Activation, moments: RawMoments, digits: int) -> bool:
    """Whether every number of the report is known to 10^-digits, relative where it is large."""
    with precision(_bits(digits)):
        numbers = list(_shown(moments).values())
        if len(numbers) < 3 + (moments.slope_second is not None):
            return False
        if moments.slope_second is not None and moments.slope_second > 0:
            roots = _roots(activation, moments)
            numbers += [number for root in roots for number in (root.a, root.b, root.mean, root.chi)]
        return all(number.rad() < arb(10) ** -digits * (1 + abs(number)) for number in numbers)


_SHOWN = ("mean", "variance", "second_moment", "slope_second_moment")


def _shown(moments: RawMoments | None) -> dict[str, arb]:
    """The four moments of the report, those that are known at all."""
    if moments is None:
        return {}
    balls = (moments.mean, moments.variance, moments.second, moments.slope_second)
    return {key: ball for key, ball in zip(_SHOWN, balls, strict=True) if ball is not None and _is_known(ball)}


def _is_known(ball: arb) -> bool:
    return bool(ball.rad() < 0.01 * (1 + abs(ball)))


def _verdict(
    obstacle: Obstacle | None, moments: RawMoments | None, tolerance: float
) -> tuple[Literal["holds", "fails", "undecided"], Literal["yes", "no", "undecided"], str]:
    """(is_gpn, normalizable, reason) from the obstacle or else the moments."""
    if obstacle is not None:
        return (
            ("fails" if obstacle.normalizable == "no" else "undecided"),
            obstacle.normalizable,
            obstacle.reason,
        )
    assert moments is not None
    assert moments.slope_second is not None
    square, slope = moments.second, moments.slope_second
    if not (_is_known(square) and _is_known(slope)):
        which = "integral of phi'^2 does" if _is_known(square) else "integrals of phi^2 and phi'^2 do"
        return "undecided", "undecided", f"the {which} not settle numerically"
    if slope.is_zero() or (slope.contains(0) and slope.rad() < 1e-13):
        return "fails", "no", "phi is constant, so that E phi'^2 = 0"
    if not slope > 0:
        return "undecided", "undecided", "whether phi is constant cannot be told at this precision"
    misses = [abs(square - 1), abs(slope - 1)]
    text = f"E phi^2 - 1 = {_short(square - 1)}, E phi'^2 - 1 = {_short(slope - 1)}, tolerance {tolerance:g}"
    if all(miss <= tolerance for miss in misses):
        return "holds", "yes", text
    return ("fails" if any(miss > tolerance for miss in misses) else "undecided"), "yes", text


def _roots(activation: Activation | CallableActivation, moments: RawMoments) -> list[RootBalls]:
    if not isinstance(activation, Activation):
        return root_balls(moments)
    affine = len(activation.pieces) == 1 and not activation.pieces[0].slope.free_symbols
    return root_balls(moments, homogeneous=activation.is_positively_homogeneous, affine=affine)


def _upper_text(ball: arb) -> str:
    """A two-digit decimal that is no less than a small positive number."""
    return str(mpmath.nstr(mpmath.mpf(ball.upper() * 1.05), 2)) if ball > 0 else "0"


def _short(ball: arb) -> str:
    is_vague = ball.contains(0) or 10 * ball.rad() > abs(ball)
    return f"0 within {_upper_text(abs(ball).upper())}" if is_vague else str(ball.str(2, radius=False))
