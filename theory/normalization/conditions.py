"""The Gaussian-Poincaré conditions: is phi normalized, which a and b make it so, does it survive depth?

Everything here is algebra on five raw moments of phi, done in ball arithmetic: a ball carries its error
through the square roots and the cancellations, whether the moments came from float64, from mpmath or from a
certified enclosure.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from flint import arb

from theory.activations.activation import Activation, steps
from theory.activations.callable import CallableActivation
from theory.activations.catalog import build
from theory.activations.proofs import Order, proves_steps
from theory.activations.specification import READING, look_alike
from theory.balls.core import precision
from theory.balls.decimal import DecimalNumber
from theory.errors import UsageError
from theory.gaussian.moments import Normalization
from theory.normalization.evidence import (
    SHOWN,
    TOLERANCE,
    Evidence,
    Gpn,
    Normalizable,
    decide,
    default_tolerance,
    gather_evidence,
    known_normalizations,
    known_number,
    shown_moments,
    upper_text,
    working_bits,
)
from theory.normalization.invariants import check_invariants
from theory.normalization.lipschitz import Kind, Supremum, lipschitz_constants
from theory.normalization.obstacles import matters, place_text
from theory.numerics.budget import UNLIMITED, Budget
from theory.numerics.survey import limits

BREAKS = "kinks and jumps"
SUPREMA = "suprema of |phi'| and |phi''|"
LIKENESS = "likeness to a named activation"
INVARIANTS = "the check of the report in float64"


_REMARKS = ("uncertified", "located", "looks_like", "given_up", "missing")
_SAME_MOMENT, _SAME_SUPREMUM = 1e-6, 0.1  # relative; suprema of a function are estimates
_NOT_FINITE, _UNKNOWN = "no finite value", "not known"


@dataclass(frozen=True, slots=True, repr=False)
class Conditions:
    """Everything about the Gaussian-Poincaré conditions of one activation.

    Numbers are floats with more `digits` as decimal text, which are all correct (a number that is known is shown
    correctly rounded). 0 stands for a number that the error does not tell from zero, None for one that has no finite
    value or is not known; `missing` says which of the two.

    Args:
        name, expression: the activation; expression is None for a Python function.
        digits: significant digits asked for.
        certified: whether the digits are proved, or rest on an estimated error.
        uncertified: why they are not proved, None if they are or if there are none.
        mean, variance, second_moment, slope_second_moment: E phi, Var phi, E phi^2, E phi'^2 at z ~ N(0, 1).
        error: largest absolute error of these four; where they are not certified, of the numbers as printed.
        is_gpn: "holds" if both E phi^2 and E phi'^2 are within the tolerance of 1 whatever the error, "fails"
            if one of them is not, else "undecided".
        normalizable: "yes", "no" or "undecided". "no" needs a proof, so that a Python function has "yes" if it looks
            normalizable, else "undecided". Neither `is_gpn` nor `normalizable` has a truth value: compare them.
        reason: the outcome in words.
        normalizations: a phi + b with a > 0: two roots, one for affine phi, none where there is no
            normalization.
        lipschitz, slope_lipschitz: sup |phi'| and sup |phi''| on the line, None where infinite or not known.
        lipschitz_kind, slope_lipschitz_kind: how it is known. "exact": to the digits shown; "upper bound", which may be
            far above; "estimate", by a search; "infinite"; "looks infinite", by a search; "not known".
        kinks, jumps: where phi' and where phi jumps, exact expressions as text; numbers for a Python function.
        kinks_proved, jumps_proved: whether it is proved that these are all, and that each is one.
        located: how they were found if not exactly ("detected numerically ..."), up to where they are listed if they
            have no end, else None.
        looks_like: the named activation whose values a Python function has at 801 points of |x| < 40, to rounding, and
            whose moments, kinks and suprema; else None.
        given_up: the parts of the report that were not finished within the time limit. Kinks and jumps that are listed
            here are not known.
        infinite: names of the moments that are proved to have no finite value.
    """

    name: str
    expression: str | None
    digits: int
    certified: bool
    uncertified: str | None
    mean: DecimalNumber | None
    variance: DecimalNumber | None
    second_moment: DecimalNumber | None
    slope_second_moment: DecimalNumber | None
    error: DecimalNumber | None
    is_gpn: Gpn
    normalizable: Normalizable
    reason: str
    normalizations: tuple[Normalization[DecimalNumber], ...]
    lipschitz: float | None
    slope_lipschitz: float | None
    lipschitz_kind: Kind
    slope_lipschitz_kind: Kind
    kinks: tuple[str, ...]
    jumps: tuple[str, ...]
    kinks_proved: bool = False
    jumps_proved: bool = False
    located: str | None = None
    looks_like: str | None = None
    given_up: tuple[str, ...] = ()
    infinite: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, numbers as decimal text; remarks and what is `missing` only where there are such."""
        facts = asdict(self, dict_factory=_plain) | {"missing": self.missing}
        del facts["infinite"]
        return {key: value for key, value in facts.items() if key not in _REMARKS or value}

    @property
    def missing(self) -> dict[str, str]:
        """Why moments are None: "no finite value" where that is proved, else "not known", with the reason.

        >>> import sympy
        >>> from theory.numerics.arithmetic import X
        >>> gaussian_poincare(Activation("log", sympy.log(sympy.Abs(X)))).missing
        {'slope_second_moment': "no finite value: E phi'^2 diverges at x = 0"}
        """
        missing = [name for name in SHOWN if getattr(self, name) is None]
        return {name: f"{_NOT_FINITE if name in self.infinite else _UNKNOWN}: {self.reason}" for name in missing}

    @property
    def breaks_known(self) -> bool:
        """Whether kinks and jumps were listed within the time limit."""
        return not {READING, BREAKS} & set(self.given_up)

    def __repr__(self) -> str:
        best = [f", a = {root.a.digits}, b = {root.b.digits}" for root in self.normalizations if root.recommended]
        return f"<Conditions {self.name}: GPN {self.is_gpn}, normalizable {self.normalizable}{''.join(best[:1])}>"


def gaussian_poincare(
    activation: Activation | CallableActivation,
    digits: int = 15,
    *,
    tolerance: float | None = None,
    budget: Budget = UNLIMITED,
) -> Conditions:
    r"""Decide whether an activation is Gaussian-Poincaré normalized (GPN), and find what makes it so.

    .. math:: E\, \phi(z)^2 = E\, \phi'(z)^2 = 1, \qquad z \sim N(0, 1)

    (Lu, Gould, Ajanthan 2020). By the Gaussian Poincaré inequality :math:`Var \phi \le E \phi'^2`
    every non-constant phi with finite moments has the normalizations :math:`a \phi + b` with

    .. math:: a = (E \phi'^2)^{-1/2}, \qquad b_\pm = -a E\phi \pm \sqrt{1 - a^2 Var \phi}.

    Args:
        activation: phi. Its moments are certified by ball arithmetic wherever every function of the expression has
            a rule (`theory.gaussian.certified`); otherwise computed in float64, or by mpmath beyond 15 digits. A
            Python function has float64 only; its kinks, jumps and undefined parts are found numerically
            (`theory.numerics.survey`).
        digits: significant digits wanted, at least 1.
        tolerance: how far E phi^2 and E phi'^2 may be from 1 for "holds"; if left out 1e-12, and 1e-9 where the
            slope is known by differences only.
        budget: processor time; parts that are not finished in it are given up, and the report says which.

    Returns:
        `Conditions`; what cannot be normalized is an outcome with a reason, not an exception.

    Raises:
        UsageError: digits below 1 or a tolerance that is not positive.

    >>> import sympy
    >>> from theory.numerics.arithmetic import X
    >>> relu = gaussian_poincare(Activation("relu", sympy.sqrt(2) * sympy.Max(X, 0)), digits=30)
    >>> relu.is_gpn, relu.slope_second_moment, [root.stability for root in relu.normalizations]
    ('holds', 1.0, ['marginal', 'stable'])
    """
    if digits < 1 or digits != int(digits):
        raise UsageError(f"digits must be a positive whole number, not {digits}")
    if tolerance is None:
        tolerance = default_tolerance(activation)
    if not tolerance > 0:
        raise UsageError(f"the tolerance must be positive, not {tolerance}; try {TOLERANCE}")
    evidence = gather_evidence(activation, digits, budget)
    with precision(working_bits(digits)):
        return _conditions(activation, digits, tolerance, evidence, budget)


def _conditions(
    activation: Activation | CallableActivation, digits: int, tolerance: float, evidence: Evidence, budget: Budget
) -> Conditions:
    """Fill the report, whatever kind of balls the moments are."""
    looked_at = activation.unlisted if evidence.is_seen and isinstance(activation, Activation) else None
    shape = looked_at or activation
    kinks, jumps, proved = _breaks(shape, budget)
    unknown = Supremum(np.inf, "not known")
    is_split = READING not in budget.given_up
    slope, curvature = unknown, unknown
    if is_split:
        slope, curvature = budget.attempt(SUPREMA, 0.95, lambda: lipschitz_constants(shape).suprema, (unknown, unknown))
    obstacle, moments = evidence.obstacle, evidence.moments
    is_gpn, normalizable, reason = decide(obstacle, moments, tolerance)
    roots = known_normalizations(moments) if moments is not None and normalizable == "yes" else []
    shown = shown_moments(moments)
    certified = moments is not None and moments.certified
    numbers = {key: known for key, ball in shown.items() if (known := DecimalNumber.of(ball, digits)) is not None}
    errors = [_error(shown[key], number.digits, certified) for key, number in numbers.items()]
    report = Conditions(
        name=activation.name,
        expression=str(activation.expression) if isinstance(activation, Activation) else None,
        digits=digits,
        certified=certified,
        uncertified=evidence.uncertified,
        **{key: numbers.get(key) for key in SHOWN},
        error=DecimalNumber(upper_text(max(errors))) if errors else None,
        is_gpn=Gpn(is_gpn),
        normalizable=Normalizable(normalizable),
        reason=reason,
        normalizations=tuple(root.converted(lambda ball: known_number(ball, digits)) for root in roots),
        lipschitz=_finite(slope.value),
        slope_lipschitz=_finite(curvature.value),
        lipschitz_kind=slope.kind,
        slope_lipschitz_kind=curvature.kind,
        kinks=kinks,
        jumps=jumps,
        kinks_proved="slope" in proved,
        jumps_proved="value" in proved,
        located=None if {READING, BREAKS} & set(budget.given_up) else _located(shape),  # it would start again
        looks_like=None,
        given_up=(),
        infinite=tuple(name for name in obstacle.infinite if name not in numbers) if obstacle else (),
    )
    if isinstance(activation, CallableActivation):
        report = replace(report, looks_like=budget.attempt(LIKENESS, 1.0, lambda: _likeness(report, activation), None))
    if is_split:
        budget.attempt(INVARIANTS, 1.0, lambda: check_invariants(report, activation), None)
    return replace(report, given_up=budget.given_up)


def _likeness(report: Conditions, activation: CallableActivation) -> str | None:
    """The named activation that a function has the values, moments, kinks, jumps and suprema of; else None."""
    name = look_alike(activation)
    if name is None:
        return None
    known = gaussian_poincare(build(name), 15)

    def near(field: str, relative: float, error: float = 0.0) -> bool:
        mine, other = (getattr(side, field) for side in (report, known))
        kinds = [getattr(side, f"{field}_kind", "") for side in (report, known)]
        if mine is None or other is None or "upper bound" in kinds:
            return mine is other or bool({"not known", "upper bound"} & set(kinds))
        return abs(float(mine) - float(other)) <= relative * abs(float(other)) + 10 * error

    error = 0.0 if report.error is None else float(report.error)
    same = all(near(field, _SAME_MOMENT, error) for field in ("mean", "second_moment", "slope_second_moment"))
    same = same and all(near(field, _SAME_SUPREMUM) for field in ("lipschitz", "slope_lipschitz"))
    return name if same and all(len(getattr(report, n)) == len(getattr(known, n)) for n in ("kinks", "jumps")) else None


def _plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A record for JSON."""
    convert = {DecimalNumber: lambda number: number.digits, tuple: list}
    return {key: convert.get(type(value), lambda same: same)(value) for key, value in pairs}


def _breaks(
    activation: Activation | CallableActivation, budget: Budget
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Order, ...]]:
    """Kinks and jumps as text, and which of them are proved; none where splitting the formula was given up."""
    if READING in budget.given_up:
        return (), (), ()
    orders: tuple[Order, ...] = ("slope", "value")

    def listed() -> tuple[tuple[str, ...], tuple[str, ...], tuple[Order, ...]]:
        kinks, jumps = (tuple(map(place_text, steps(activation, order))) for order in orders)
        proved = isinstance(activation, Activation) and tuple(
            order for order in orders if proves_steps(activation.expression, activation.pieces, order)
        )
        return kinks, jumps, proved or ()

    return budget.attempt(BREAKS, 0.85, listed, ((), (), ()))


def _located(activation: Activation | CallableActivation) -> str | None:
    """How the kinks and jumps of a Python function were found, and up to where those of a formula are listed."""
    if not isinstance(activation, CallableActivation):
        return None if activation.reach is None else f"listed for |x| < {float(activation.reach):.4g}, and so on beyond"
    widths = [step.width for step in (*activation.survey.kinks, *activation.survey.jumps)]
    notes = [f"those listed happen within {upper_text(arb(max(widths)))}"] if widths and max(widths) > 0 else []
    notes += [f"steps of at most {upper_text(arb(activation.survey.steps))} were taken for rounding"] * bool(
        activation.survey.steps
    )
    faint = [place_text(jump.position) for jump in activation.survey.jumps if not matters(jump)]
    notes += [f"jumps where the normal density is negligible, not counted: {', '.join(faint[:10])}"] * bool(faint)
    return "; ".join([f"detected numerically, {limits(activation.survey.noise)}", *notes])


def _error(ball: arb, text: str, certified: bool) -> arb:
    """The error of a number; of an estimate that of the number as it is printed."""
    return ball.rad() if certified else ball.rad() + abs(ball.mid() - arb(text)).upper()


def _finite(number: float) -> float | None:
    return number if np.isfinite(number) else None
