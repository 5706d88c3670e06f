"""Published normalization constants against exact ones, and what a miss costs over depth.

The cost is mean-field propagation through a plain network (no residual branches) of infinite width whose
first pre-activations have unit length. With psi the activation as the constants make it, the squared length q
of the signal and the backward signals d, e obey

    q_l = E psi(sqrt(q_{l-1}) z)^2,    |d_l|^2 = S(q_{l-1}) |e_l|^2,    S(q) = E psi'(sqrt(q) z)^2,

so a small miss can be absorbed (the length settles at another fixed point) or compound from layer to layer.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import mpmath
from flint import arb

from gpn.checking.audit_results import AuditReport, AuditRow, Comparison, LengthFixedPoint
from gpn.checking.drift import (
    INTEGRANDS,
    NEVER,
    Cost,
    ExactMoments,
    Layer,
    depth_cost,
    float_moments,
    length_fixed_point,
)
from theory.activations import catalog
from theory.activations.activation import Activation
from theory.activations.specification import activation
from theory.balls.core import NotCertified
from theory.errors import SpecificationError, UsageError
from theory.gaussian.certified import certified_moments
from theory.gaussian.convergence import convergence
from theory.gaussian.digits import expectations_high_precision
from theory.gaussian.expectations import Functional
from theory.normalization.invariants import Facts, check_invariants, must_be_one, refuse
from theory.normalization.published import CONVENTIONS, PUBLISHED, PublishedConstant, number, read_table
from theory.numerics.arithmetic import constant_value

_GUARD = 20  # working digits beyond those shown
_GAINS = ("gain", "recommended")  # conventions of a factor of the weights
_BOTH_NORMS = ("gpn", "gain")  # conventions that promise to keep the gradient too


def audit(table: Any = None, digits: int = 15) -> AuditReport:
    r"""Compare published normalization constants with the exact ones.

    .. math:: \text{relative error} = \frac{|\text{published} - \text{exact}|}{|\text{exact}|}

    The exact values follow from certified moments (`theory.gaussian.certified`) by the formula of the entry's
    convention (`theory.normalization.published.CONVENTIONS`); (a, b) as in Lu, Gould, Ajanthan 2020. Each row also has
    the depth at which the miss changes the squared norm of the signal or of the gradient by a factor 2 and 10
    (see `Cost`).

    Args:
        table: nothing for the constants of `theory.normalization.published`; a path of a CSV file or a pandas frame for
            your own. Columns: activation, and either a and b, or scale and convention (one of
            "unit-variance", "unit-second-moment", "gain"). Numbers are decimals or formulas such as sqrt(2).
        digits: significant digits of the exact values, 1 to 100.

    Raises:
        UsageError: a table that cannot be read: which line, and what to write.

    >>> import pandas
    >>> table = pandas.DataFrame({"activation": ["gelu"], "a": ["1.4915"], "b": ["-0.9097"]})
    >>> report = audit(table, digits=12)
    >>> row = report.rows[0]
    >>> [comparison.exact for comparison in row.comparisons], round(row.cost.settled_length, 6)
    (['1.48111441271', '-0.909506401007'], 1.016325)
    >>> row.remarks[0]
    'the published numbers are those of quick_gelu, x*sigmoid(1.702*x)'
    """
    if not 1 <= digits <= 100 or digits != int(digits):
        raise UsageError(f"digits must be a whole number from 1 to 100, not {digits}")
    auditor = _Auditor(int(digits))
    entries = PUBLISHED if table is None else read_table(table)
    return AuditReport(tuple(auditor.row(entry) for entry in entries), int(digits))


@dataclass(frozen=True, slots=True)
class _Printed:
    """A published number: text, value and decimals (0 for a whole number or a formula, taken as exact)."""

    text: str
    value: mpmath.mpf
    decimals: int

    @staticmethod
    def read(text: str) -> "_Printed":
        return _Printed(text, number(text, mpmath.mp.dps), _decimals(text))

    def agrees(self, exact: mpmath.mpf) -> bool:
        """Whether an exact value rounds to it: to its decimals, or to the same float64; a formula to 15 digits."""
        if 15 <= self.decimals <= 17 and float(self.value) == float(exact):
            return True
        unit = mpmath.mpf(10) ** -(self.decimals or 15) / 2
        half = unit if self.decimals else 2 * unit * max(1, abs(exact))
        return bool(abs(self.value - exact) <= half * (1 + mpmath.mpf(10) ** -9))


class _Auditor:
    """Audits entries one by one; what is known of an activation is kept for the next entry."""

    def __init__(self, digits: int) -> None:
        self._digits = digits
        self._exact: dict[tuple[str, int], tuple[Activation, ExactMoments]] = {}
        self._rough: dict[str, ExactMoments | None] = {}

    def row(self, entry: PublishedConstant) -> AuditRow:
        shown = max(self._digits, *map(_decimals, entry.values))
        with mpmath.workdps(20 * math.ceil(shown / 20) + _GUARD):
            published = [_Printed.read(text) for text in entry.values]
            phi, moments = self._look_up(entry, entry.activation)
            exact = _exact_values(entry, moments, published)
            self._check(entry, phi, moments, [float(value) for value in exact])
            names = CONVENTIONS[entry.convention].quantities
            comparisons = tuple(
                Comparison(name, printed.text, "", 0.0, rounds=True, claimed=False)
                if entry.convention == "recommended"
                else _compare(name, printed, value, self._digits)
                for name, printed, value in zip(names, published, exact, strict=True)
            )
            layer = self._layer(entry, phi, moments, published)
            cost = depth_cost(layer, both=entry.convention in _BOTH_NORMS)
            found = length_fixed_point(layer) if entry.convention in _GAINS else None
            point = None if found is None else LengthFixedPoint(*found)
            remarks = (*self._remarks(entry, comparisons, cost, published), *_gain_remarks(entry, point, cost))
        return AuditRow(entry, comparisons, cost, moments.certified, remarks, point)

    def _check(self, entry: PublishedConstant, phi: Activation, moments: ExactMoments, exact: Sequence[float]) -> None:
        """Refuse moments and constants that contradict a theorem or the quadrature in float64."""
        slope = None if moments.slope is None else float(moments.slope)
        check_invariants(Facts(moments.certified, float(moments.variance), slope, None, (), normalizable=""), phi)
        scale, shift, mean = exact[0], exact[-1], float(moments.mean)
        promised: dict[str, Functional] = {"E (g phi)^2": lambda _z, value, _slope: (scale * value) ** 2}
        if entry.convention == "gpn":
            promised = {
                "E (a phi + b)^2": lambda _z, value, _slope: (scale * value + shift) ** 2,
                "E (a phi')^2": lambda _z, _value, slope: (scale * slope) ** 2,
            }
        elif entry.convention == "unit-variance":
            promised = {"Var g phi": lambda _z, value, _slope: (scale * (value - mean)) ** 2}
        elif entry.convention == "self-normalizing":
            promised = {"E phi^2": lambda _z, value, _slope: value**2}
        refuse(must_be_one(phi, promised, f"{entry.id}, {entry.convention} = {', '.join(map(repr, exact))}"), phi)

    def _look_up(self, entry: PublishedConstant, spec: str) -> tuple[Activation, ExactMoments]:
        key = spec, mpmath.mp.dps
        if key not in self._exact:
            phi = activation(spec)
            assert isinstance(phi, Activation)  # a text is never a Python function
            try:
                self._exact[key] = phi, _moments(phi, mpmath.mp.dps)
            except SpecificationError as error:
                raise UsageError(f"{entry.id}: {error}") from error
        return self._exact[key]

    def _layer(
        self, entry: PublishedConstant, phi: Activation, moments: ExactMoments, published: Sequence[_Printed]
    ) -> "Layer":
        """The layer that the constants make; SELU's alpha sits inside the activation."""
        first, last = published[0].value, published[-1].value
        if entry.convention == "self-normalizing":
            return Layer(*self._look_up(entry, f"elu({entry.values[0]})"), last, mpmath.mpf(0), centred=False)
        shift = last if entry.convention == "gpn" else mpmath.mpf(0)
        return Layer(phi, moments, first, shift, centred=entry.convention == "unit-variance")

    def _remarks(
        self,
        entry: PublishedConstant,
        comparisons: Sequence[Comparison],
        cost: Cost,
        published: Sequence[_Printed],
    ) -> Iterator[str]:
        wrong = [comparison for comparison in comparisons if not comparison.rounds]
        telling = sum(printed.decimals for printed in published) >= 3  # else agreement could be an accident
        if wrong and telling and entry.convention != "self-normalizing":
            twin = next((name for name in catalog.names() if self._fits(name, entry, published)), None)
            if twin:
                yield f"the published numbers are those of {twin}, {catalog.resolve(twin).summary}"
        yield from (remark for comparison in wrong if (remark := _last_decimal(comparison)))
        growth = cost.settled_gradient_factor
        promised = (*_BOTH_NORMS, "self-normalizing")
        if entry.convention in promised and growth is not None and abs(growth - 1) > 1e-3:
            yield (
                f"the squared length settles at {cost.settled_length:.7g}, where each layer changes the "
                f"squared gradient by the factor {growth:.6g}"
            )
        if entry.note:
            yield entry.note

    def _fits(self, name: str, entry: PublishedConstant, published: Sequence[_Printed]) -> bool:
        """Whether the exact constants of another activation round to the published ones."""
        if name not in self._rough:
            phi = catalog.build(name)
            mean, second, slope = map(mpmath.mpf, float_moments(phi, 1.0))
            self._rough[name] = None if phi.jumps else ExactMoments(mean, second, slope, certified=False)
        rough = self._rough[name]
        if rough is None or not rough.variance > 0:
            return False
        exact = _exact_values(entry, rough, published)
        return all(printed.agrees(value) for printed, value in zip(published, exact, strict=True))


def _gain_remarks(entry: PublishedConstant, point: LengthFixedPoint | None, cost: Cost) -> Iterator[str]:
    """What a gain does to the squared length: its fixed point, and whether it attracts."""
    if entry.convention == "recommended":
        yield "the source claims no condition for this gain"
    if point is None:
        if entry.convention in _GAINS and not cost.norm:
            yield "every squared length is a fixed point: none attracts and none repels"
        return
    words = (
        f"the squared length {point.length:.7g} is a fixed point that {point.kind}: the length map has the slope "
        f"{point.slope:.5g} there"
    )
    growth = cost.settled_gradient_factor
    if entry.convention == "recommended" and growth is not None:
        words += f", and each layer changes the squared gradient by the factor {growth:.6g}"
    yield words


def _moments(phi: Activation, digits: int) -> ExactMoments:
    """Certified moments, or by quadrature where nothing can be proved.

    Raises:
        SpecificationError: no finite E phi^2 or E phi'^2, so there is no constant to compare with.
    """
    certified = certified_moments(phi, digits, tuple(INTEGRANDS))
    balls = {} if isinstance(certified, NotCertified) else certified.balls
    if {"mean", "second"} <= set(balls) and (phi.jumps or "slope_second" in balls):
        slope = None if phi.jumps else _middle(balls["slope_second"])
        return ExactMoments(_middle(balls["mean"]), _middle(balls["second"]), slope, certified=True)
    if phi.undefined:
        raise SpecificationError(f"{phi.name} is undefined on part of the line")
    orders: tuple[tuple[Literal["value", "slope"], str], ...] = (("value", "E phi^2"), ("slope", "E phi'^2"))
    for order, moment in orders:
        if convergence(phi, order).verdict == "diverges":
            raise SpecificationError(f"{moment} of {phi.name} is infinite: there is nothing to compare with")
    estimates = expectations_high_precision(phi, INTEGRANDS, digits)
    tolerance = mpmath.mpf(10) ** (_GUARD // 2 - digits)
    if any(not error <= tolerance * (1 + abs(value)) for value, error in estimates.values()):
        raise SpecificationError(f"the moments of {phi.name} cannot be computed to {digits - _GUARD // 2} digits")
    mean, second, steepness = (value for value, _ in estimates.values())
    return ExactMoments(mean, second, None if phi.jumps else steepness, certified=False)


def _middle(ball: arb) -> mpmath.mpf:
    """The midpoint of a ball, exactly; its radius is far below the digits shown."""
    mantissa, exponent = ball.mid().man_exp()
    return mpmath.ldexp(int(mantissa), int(exponent))


def _exact_values(entry: PublishedConstant, moments: ExactMoments, published: Sequence[_Printed]) -> list[mpmath.mpf]:
    """The exact numbers of a convention; of two roots the one nearer to the published shift."""
    if entry.convention == "unit-variance":
        return [1 / mpmath.sqrt(moments.variance)]
    if entry.convention in ("unit-second-moment", "gain", "recommended"):
        return [1 / mpmath.sqrt(moments.second)]
    if entry.convention == "self-normalizing":
        return [constant_value(value, mpmath.mp.dps) for value in catalog.selu_constants()]
    if moments.slope is None or moments.slope == 0:
        raise UsageError(f"{entry.id}: {entry.activation} jumps or is constant, so no a and b make it GPN")
    sign = -1 if published[0].value < 0 else 1  # -phi is as good as phi
    a = 1 / mpmath.sqrt(moments.slope)
    spread = mpmath.sqrt(max(moments.slope - moments.variance, mpmath.mpf(0)))
    shifts = [sign * a * (-moments.mean + side * spread) for side in (1, -1)]
    return [sign * a, min(shifts, key=lambda shift: abs(shift - published[1].value))]


def _compare(name: str, printed: _Printed, exact: mpmath.mpf, digits: int) -> Comparison:
    noise = mpmath.mpf(10) ** (5 - mpmath.mp.dps)
    if abs(exact) < noise:
        exact = mpmath.mpf(0)
    difference = abs(printed.value - exact)
    relative = 0.0
    if difference > noise * abs(exact):
        relative = float(difference / abs(exact)) if exact else NEVER
    return Comparison(name, printed.text, mpmath.nstr(exact, digits), relative, printed.agrees(exact))


def _decimals(text: str) -> int:
    try:
        exponent = Decimal(text.strip()).as_tuple().exponent
    except InvalidOperation:
        return 0
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _last_decimal(comparison: Comparison) -> str | None:
    """A remark on a number that misses its own last decimal by one unit at most."""
    decimals = _decimals(comparison.published)
    exact = mpmath.mpf(comparison.exact)
    if not decimals or abs(mpmath.mpf(comparison.published) - exact) >= mpmath.mpf(10) ** -decimals:
        return None
    rounded = round(Decimal(comparison.exact), decimals)
    return f"{comparison.quantity} rounds to {rounded}, not to {comparison.published}"
