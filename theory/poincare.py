"""The Gaussian-Poincaré conditions: is phi normalized, which a and b make it so, does it survive depth?

Everything here is algebra on five raw moments of phi, done in ball arithmetic: a ball carries its error
through the square roots and the cancellations, whether the moments came from float64, from mpmath or from a
certified enclosure.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal

import mpmath
import numpy as np
from flint import arb

from theory import markup
from theory.activation import Activation, CallableActivation
from theory.balls_core import NotCertified, precision
from theory.balls_decimal import digits_of
from theory.certified import CONDITIONS, certified_moments
from theory.doubts import moment_doubts
from theory.errors import UsageError, unknown
from theory.gaussian import Functional, expectations, expectations_high_precision
from theory.lipschitz import lipschitz_constants, steps
from theory.moments import RawMoments, RootBalls, Stability, recommend, root_balls, stability
from theory.obstacles import Obstacle, obstacle, place_text
from theory.survey import LIMITS

Root = Literal["auto", "plus", "minus", "stable"]
POLICIES = ("auto", "plus", "minus", "stable")

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


@dataclass(frozen=True, slots=True)
class RootReport:
    """One normalization a phi + b as decimal strings, correct to the digits shown (see `Conditions`)."""

    root: str
    a: str
    b: str
    mean: str
    chi: str
    stability: Stability
    recommended: bool


@dataclass(frozen=True, slots=True)
class Normalization:
    """One normalization a phi + b in float64.

    Args:
        root: "plus" or "minus".
        a, b: scale and shift, the float64 numbers nearest to the exact ones.
        mean: E(a phi + b).
        chi: slope Q'(1) of the length map of a phi + b.
        stability: whether |chi| < 1 ("stable": the squared length returns to 1 in depth), = 1 or > 1.
        recommended: whether the policy "auto" chooses this root.
    """

    root: str
    a: float
    b: float
    mean: float
    chi: float
    stability: Stability
    recommended: bool


@dataclass(frozen=True, slots=True, repr=False)
class Conditions:
    """Everything about the Gaussian-Poincaré conditions of one activation.

    Numbers are decimal strings whose digits are all correct (a number that is known is shown correctly rounded); "0"
    stands for a number that the error does not tell from zero; None for one that is infinite or must not be
    used.

    Args:
        name, expression: the activation; expression is None for a Python function.
        digits: significant digits asked for.
        certified: whether the digits are proved, or rest on an estimated error.
        uncertified: why they are not proved, None if they are or if there are none.
        mean, variance, second_moment, slope_second_moment: E phi, Var phi, E phi^2, E phi'^2 at z ~ N(0, 1).
        error: largest absolute error of these four.
        is_gpn: "holds" if both E phi^2 and E phi'^2 are within the tolerance of 1 whatever the error, "fails"
            if one of them is not, else "undecided".
        normalizable: "yes", "no" or "undecided".
        reason: the outcome in words.
        normalizations: a phi + b with a > 0: two roots, one for affine phi, none where there is no
            normalization.
        lipschitz, slope_lipschitz: sup |phi'| and sup |phi''| on the line, None where infinite.
        kinks, jumps: where phi' and where phi jumps, exact expressions as text; numbers for a Python function.
        located: how they were found if not exactly ("detected numerically ..."), else None.
    """

    name: str
    expression: str | None
    digits: int
    certified: bool
    uncertified: str | None
    mean: str | None
    variance: str | None
    second_moment: str | None
    slope_second_moment: str | None
    error: str | None
    is_gpn: Literal["holds", "fails", "undecided"]
    normalizable: Literal["yes", "no", "undecided"]
    reason: str
    normalizations: tuple[RootReport, ...]
    lipschitz: float | None
    slope_lipschitz: float | None
    kinks: tuple[str, ...]
    jumps: tuple[str, ...]
    located: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `uncertified` and `located` only where they are not None."""
        facts = asdict(self)
        for key in ("uncertified", "located"):
            if facts[key] is None:
                del facts[key]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in facts.items()}

    def __repr__(self) -> str:
        best = next((f", a = {root.a}, b = {root.b}" for root in self.normalizations if root.recommended), "")
        return f"<Conditions {self.name}: GPN {self.is_gpn}, normalizable {self.normalizable}{best}>"

    def _repr_html_(self) -> str:
        """The moments and the normalizations, as a notebook shows them."""
        formula = "" if self.expression in (None, self.name) else f", phi(x) = {self.expression}"
        moments = [("E phi", self.mean), ("Var phi", self.variance), ("E phi²", self.second_moment)]
        moments += [("E phi'²", self.slope_second_moment)]
        proof = "certified" if self.certified else f"not certified: {self.uncertified or 'no moments'}"
        roots = [
            (f"{root.root}{' (recommended)' if root.recommended else ''}", root.a, root.b, root.chi, root.stability)
            for root in self.normalizations
        ]
        return (
            markup.paragraph(f"{self.name}{formula}: GPN {self.is_gpn}; normalizable: {self.normalizable}.")
            + markup.paragraph(self.reason)
            + markup.table(("moment", proof), [(name, "unknown" if text is None else text) for name, text in moments])
            + (markup.table(("root", "a", "b", "chi", "in depth"), roots) if roots else "")
        )


def gaussian_poincare(
    activation: Activation | CallableActivation, digits: int = 15, *, tolerance: float | None = None
) -> Conditions:
    r"""Decide whether an activation is Gaussian-Poincaré normalized (GPN), and find what makes it so.

    .. math:: E\, \phi(z)^2 = E\, \phi'(z)^2 = 1, \qquad z \sim N(0, 1)

    (Lu, Gould, Ajanthan 2020). By the Gaussian Poincaré inequality :math:`Var \phi \le E \phi'^2`
    every non-constant phi with finite moments has the normalizations :math:`a \phi + b` with

    .. math:: a = (E \phi'^2)^{-1/2}, \qquad b_\pm = -a E\phi \pm \sqrt{1 - a^2 Var \phi}.

    Args:
        activation: phi. Its moments are certified by ball arithmetic wherever every function of the expression has
            a rule (`theory.certified`); otherwise computed in float64, or by mpmath beyond 15 digits. A Python function
            has float64 only; its kinks, jumps and undefined parts are found numerically (`theory.survey`).
        digits: significant digits wanted, at least 1.
        tolerance: how far E phi^2 and E phi'^2 may be from 1 for "holds"; if left out 1e-12, and 1e-9 where the
            slope is known by differences only.

    Returns:
        `Conditions`; what cannot be normalized is an outcome with a reason, not an exception.

    Raises:
        UsageError: digits below 1 or a tolerance that is not positive.

    >>> import sympy
    >>> from theory.activation import X
    >>> relu = gaussian_poincare(Activation("relu", sympy.sqrt(2) * sympy.Max(X, 0)), digits=30)
    >>> relu.is_gpn, relu.slope_second_moment[:8], [root.stability for root in relu.normalizations]
    ('holds', '1.000000', ['marginal', 'stable'])
    """
    if digits < 1 or digits != int(digits):
        raise UsageError(f"digits must be a positive whole number, not {digits}")
    if tolerance is None:
        tolerance = _tolerance(activation)
    if not tolerance > 0:
        raise UsageError(f"the tolerance must be positive, not {tolerance}; try {TOLERANCE}")
    evidence = _evidence(activation, digits)
    with precision(_bits(digits)):
        return _conditions(activation, digits, tolerance, evidence)


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


def _conditions(
    activation: Activation | CallableActivation, digits: int, tolerance: float, evidence: _Evidence
) -> Conditions:
    """Fill the report, whatever kind of balls the moments are."""
    obstacle, moments = evidence.obstacle, evidence.moments
    is_gpn, normalizable, reason = _verdict(obstacle, moments, tolerance)
    roots = _roots(activation, moments) if moments is not None and normalizable == "yes" else []
    best = recommend(roots) if roots else None
    shown = _shown(moments)
    errors = [ball.rad() for ball in shown.values()]
    constants = lipschitz_constants(activation)
    return Conditions(
        name=activation.name,
        expression=str(activation.expression) if isinstance(activation, Activation) else None,
        digits=digits,
        certified=moments is not None and moments.certified,
        uncertified=evidence.uncertified,
        **{key: decimal_text(shown[key], digits) if key in shown else None for key in _SHOWN},
        error=_upper_text(max(errors)) if errors else None,
        is_gpn=is_gpn,
        normalizable=normalizable,
        reason=reason,
        normalizations=tuple(_report(root, digits, root is best) for root in roots),
        lipschitz=_finite(constants.slope),
        slope_lipschitz=_finite(constants.curvature),
        kinks=tuple(map(place_text, steps(activation, "slope"))),
        jumps=tuple(map(place_text, steps(activation, "value"))),
        located=_located(activation),
    )


def _located(activation: Activation | CallableActivation) -> str | None:
    """How the kinks and jumps of a Python function were found."""
    if not isinstance(activation, CallableActivation):
        return None
    widths = [found.width for found in (*activation.survey.kinks, *activation.survey.jumps)]
    within = f"; those listed happen within {_upper_text(arb(max(widths)))}" if widths and max(widths) > 0 else ""
    return f"detected numerically, {LIMITS}{within}"


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


def _report(root: RootBalls, digits: int, recommended: bool) -> RootReport:
    texts = {name: decimal_text(getattr(root, name), digits) for name in ("a", "b", "mean", "chi")}
    return RootReport(root=root.root, **texts, stability=stability(root.chi), recommended=recommended)


def decimal_text(ball: arb, digits: int) -> str:
    """The leading decimal digits of a ball, as far as known, at most `digits`; "0" where zero is possible.

    >>> decimal_text(arb(2).sqrt(), 8), decimal_text(arb(1, 1e-5), 8), decimal_text(arb(0, 1e-5), 8)
    ('1.4142136', '1.000', '0')
    """
    return "0" if ball.contains(0) else digits_of(ball, digits)


def _upper_text(ball: arb) -> str:
    """A two-digit decimal that is no less than a small positive number."""
    return str(mpmath.nstr(mpmath.mpf(ball.upper() * 1.05), 2)) if ball > 0 else "0"


def _short(ball: arb) -> str:
    is_vague = ball.contains(0) or 10 * ball.rad() > abs(ball)
    return f"0 within {_upper_text(abs(ball).upper())}" if is_vague else str(ball.str(2, radius=False))


def _finite(number: float) -> float | None:
    return number if np.isfinite(number) else None


def normalization(activation: Activation | CallableActivation, root: str = "auto") -> Normalization:
    r"""The scale and shift that make an activation Gaussian-Poincaré normalized, in float64.

    .. math:: a = (E\phi'^2)^{-1/2}, \qquad b_\pm = -a E\phi \pm \sqrt{1 - a^2 Var\phi}

    (Lu, Gould, Ajanthan 2020.) For an `Activation` a and b are correctly rounded: the digits are raised until
    the error no longer reaches the boundary between two floats.

    Args:
        activation: phi, not constant, without jumps, with finite moments.
        root: "auto" takes b_plus unless its fixed point q = 1 of the length map is unstable (|chi| > 1), then
            b_minus; "plus"; "minus"; "stable" takes the smaller |chi|.

    Raises:
        UsageError: an unknown policy, or an activation that has no normalization, with the reason.

    >>> import sympy
    >>> from theory.activation import X
    >>> tanh = normalization(Activation("tanh", sympy.tanh(X)))
    >>> f"{tanh.root} {tanh.a:.10f} {tanh.b:.10f} {tanh.chi:.6f} {tanh.stability}"
    'plus 1.4674135916 0.3885416701 0.391465 stable'
    """
    if root not in POLICIES:
        raise unknown("root", root, POLICIES)
    for digits in (20, 40, 80):
        evidence = _evidence(activation, digits)
        obstacle, moments = evidence.obstacle, evidence.moments
        with precision(_bits(digits)):
            _, normalizable, reason = _verdict(obstacle, moments, _tolerance(activation))
            if moments is None or normalizable != "yes":
                raise UsageError(
                    f"{activation.name} has no normalization: {reason}; it takes a continuous phi, not "
                    "constant, with finite E phi^2 and E phi'^2"
                )
            roots = _roots(activation, moments)
            chosen = recommend(roots, root)
            if isinstance(activation, CallableActivation) or all(map(_rounds_uniquely, (chosen.a, chosen.b))):
                break
    with precision(_bits(digits)):
        numbers = {name: _nearest(getattr(chosen, name)) for name in ("a", "b", "mean", "chi")}
        best = recommend(roots)
        return Normalization(chosen.root, **numbers, stability=stability(chosen.chi), recommended=chosen is best)


def _rounds_uniquely(ball: arb) -> bool:
    return ball.contains(0) or float(ball.lower()) == float(ball.upper())


def _nearest(ball: arb) -> float:
    return 0.0 if ball.contains(0) else float(ball.mid())


def normalize(activation: Activation | CallableActivation, root: str = "auto") -> Activation | CallableActivation:
    """The Gaussian-Poincaré normalized activation a phi + b, with the exact decimals of the floats a and b.

    Args:
        activation: phi, see `normalization`.
        root: "auto", "plus", "minus" or "stable".

    >>> import sympy
    >>> from theory.activation import X
    >>> normalize(Activation("relu", sympy.Max(X, 0))).name
    'GPN relu'
    """
    found = normalization(activation, root)
    return activation.affine(found.a, found.b, f"GPN {activation.name}")
