"""The Gaussian-Poincaré conditions: is phi normalized, which a and b make it so, does it survive depth?

Everything here is algebra on five raw moments of phi, done in ball arithmetic: a ball carries its error
through the square roots and the cancellations, whether the moments came from float64, from mpmath or from a
certified enclosure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from html import escape
from typing import Any

import numpy as np
from flint import arb

from theory.activations.activation import Activation, steps
from theory.activations.callable import CallableActivation
from theory.activations.specification import READING, look_alike
from theory.balls.core import precision
from theory.balls.decimal import digits_of
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
    shown_moments,
    upper_text,
    working_bits,
)
from theory.normalization.invariants import check_invariants
from theory.normalization.lipschitz import LipschitzConstants, lipschitz_constants
from theory.normalization.obstacles import matters, place_text
from theory.numerics.budget import UNLIMITED, Budget
from theory.numerics.survey import LIMITS

BREAKS = "kinks and jumps"
SUPREMA = "suprema of |phi'| and |phi''|"
INVARIANTS = "the check of the report in float64"


def paragraph(text: str) -> str:
    """A paragraph of plain text.

    >>> paragraph("1 < 2")
    '<p>1 &lt; 2</p>'
    """
    return f"<p>{escape(text)}</p>"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text.

    >>> table(["n"], [["<b>"]])
    '<table><thead><tr><th>n</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


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
        error: largest absolute error of these four; where they are not certified, of the numbers as printed.
        is_gpn: "holds" if both E phi^2 and E phi'^2 are within the tolerance of 1 whatever the error, "fails"
            if one of them is not, else "undecided".
        normalizable: "yes", "no" or "undecided". "no" needs a proof, so that a Python function has "yes" if it looks
            normalizable, else "undecided". Neither `is_gpn` nor `normalizable` has a truth value: compare them.
        reason: the outcome in words.
        normalizations: a phi + b with a > 0: two roots, one for affine phi, none where there is no
            normalization.
        lipschitz, slope_lipschitz: sup |phi'| and sup |phi''| on the line, None where infinite.
        lipschitz_is_bound, slope_lipschitz_is_bound: whether that is only an upper bound, which may be far above.
        kinks, jumps: where phi' and where phi jumps, exact expressions as text; numbers for a Python function.
        located: how they were found if not exactly ("detected numerically ..."), else None.
        looks_like: the named activation that a Python function agrees with to rounding, else None.
        given_up: the parts of the report that were not finished within the time limit. Suprema, kinks and jumps
            that are listed here are not known.
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
    is_gpn: Gpn
    normalizable: Normalizable
    reason: str
    normalizations: tuple[Normalization[str], ...]
    lipschitz: float | None
    slope_lipschitz: float | None
    lipschitz_is_bound: bool
    slope_lipschitz_is_bound: bool
    kinks: tuple[str, ...]
    jumps: tuple[str, ...]
    located: str | None = None
    looks_like: str | None = None
    given_up: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `uncertified`, `located`, `looks_like` and `given_up` only where they say something."""
        facts = asdict(self)
        for key in ("uncertified", "located", "looks_like", "given_up"):
            if not facts[key]:
                del facts[key]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in facts.items()}

    @property
    def breaks_known(self) -> bool:
        """Whether kinks and jumps were listed within the time limit."""
        return not {READING, BREAKS} & set(self.given_up)

    @property
    def suprema_known(self) -> bool:
        """Whether sup |phi'| and sup |phi''| were found within the time limit; if so, None means infinite."""
        return not {READING, SUPREMA} & set(self.given_up)

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
            paragraph(f"{self.name}{formula}: GPN {self.is_gpn}; normalizable: {self.normalizable}.")
            + paragraph(self.reason)
            + table(("moment", proof), [(name, "unknown" if text is None else text) for name, text in moments])
            + (table(("root", "a", "b", "chi", "in depth"), roots) if roots else "")
        )


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
    >>> relu.is_gpn, relu.slope_second_moment[:8], [root.stability for root in relu.normalizations]
    ('holds', '1.000000', ['marginal', 'stable'])
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
    kinks, jumps = _breaks(shape, budget)
    unknown = LipschitzConstants(np.inf, np.inf, np.inf)
    is_split = READING not in budget.given_up
    constants = unknown
    if is_split:
        constants = budget.attempt(SUPREMA, 0.95, lambda: lipschitz_constants(shape), unknown)
    obstacle, moments = evidence.obstacle, evidence.moments
    is_gpn, normalizable, reason = decide(obstacle, moments, tolerance)
    roots = known_normalizations(moments) if moments is not None and normalizable == "yes" else []
    shown = shown_moments(moments)
    certified = moments is not None and moments.certified
    texts = {key: decimal_text(ball, digits) for key, ball in shown.items()}
    errors = [_error(ball, texts[key], certified) for key, ball in shown.items()]
    slope, curvature = constants.suprema
    report = Conditions(
        name=activation.name,
        expression=str(activation.expression) if isinstance(activation, Activation) else None,
        digits=digits,
        certified=certified,
        uncertified=evidence.uncertified,
        **{key: texts.get(key) for key in SHOWN},
        error=upper_text(max(errors)) if errors else None,
        is_gpn=Gpn(is_gpn),
        normalizable=Normalizable(normalizable),
        reason=reason,
        normalizations=tuple(root.converted(lambda ball: decimal_text(ball, digits)) for root in roots),
        lipschitz=_finite(slope.value),
        slope_lipschitz=_finite(curvature.value),
        lipschitz_is_bound=slope.is_bound,
        slope_lipschitz_is_bound=curvature.is_bound,
        kinks=kinks,
        jumps=jumps,
        located=_located(shape),
        looks_like=look_alike(activation) if isinstance(activation, CallableActivation) else None,
        given_up=(),
    )
    if is_split:
        budget.attempt(INVARIANTS, 1.0, lambda: check_invariants(report, activation), None)
    return replace(report, given_up=budget.given_up)


def _breaks(activation: Activation | CallableActivation, budget: Budget) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Kinks and jumps as text; none where splitting the formula was given up."""
    if READING in budget.given_up:
        return (), ()

    def listed() -> tuple[tuple[str, ...], tuple[str, ...]]:
        kinks, jumps = (tuple(map(place_text, steps(activation, order))) for order in ("slope", "value"))
        return kinks, jumps

    return budget.attempt(BREAKS, 0.85, listed, ((), ()))


def _located(activation: Activation | CallableActivation) -> str | None:
    """How the kinks and jumps of a Python function were found."""
    if not isinstance(activation, CallableActivation):
        return None
    widths = [step.width for step in (*activation.survey.kinks, *activation.survey.jumps)]
    notes = [f"those listed happen within {upper_text(arb(max(widths)))}"] if widths and max(widths) > 0 else []
    notes += [f"steps of at most {upper_text(arb(activation.survey.steps))} were taken for rounding"] * bool(
        activation.survey.steps
    )
    faint = [place_text(jump.position) for jump in activation.survey.jumps if not matters(jump)]
    notes += [f"jumps where the normal density is negligible, not counted: {', '.join(faint[:10])}"] * bool(faint)
    return "; ".join([f"detected numerically, {LIMITS}", *notes])


def decimal_text(ball: arb, digits: int) -> str:
    """The leading decimal digits of a ball, as far as known, at most `digits`; "0" where zero is possible.

    >>> decimal_text(arb(2).sqrt(), 8), decimal_text(arb(1, 1e-5), 8), decimal_text(arb(0, 1e-5), 8)
    ('1.4142136', '1.000', '0')
    """
    if not ball.is_finite():
        return "nan"
    if ball.contains(0):
        return "0"
    text = digits_of(ball, digits)
    if text in ("?", "0"):  # no digit is certain of a ball such as 1.50 +- 0.02: then two digits of its middle
        text = digits_of(ball.mid(), 2)
    return "nan" if text == "?" else text


def _error(ball: arb, text: str, certified: bool) -> arb:
    """The error of a number; of an estimate that of the number as it is printed."""
    return ball.rad() if certified else ball.rad() + abs(ball.mid() - arb(text)).upper()


def _finite(number: float) -> float | None:
    return number if np.isfinite(number) else None
