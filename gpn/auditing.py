"""Published normalization constants against exact ones, and what a miss costs over depth.

The cost is mean-field propagation through a plain network (no residual branches) of infinite width whose
first pre-activations have unit length. With psi the activation as the constants make it, the squared length q
of the signal and the backward signals d, e obey

    q_l = E psi(sqrt(q_{l-1}) z)^2,    |d_l|^2 = S(q_{l-1}) |e_l|^2,    S(q) = E psi'(sqrt(q) z)^2,

so a small miss can be absorbed (the length settles at another fixed point) or compound from layer to layer.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import mpmath
from flint import arb

from theory import catalog
from theory.activation import Activation
from theory.arithmetic import constant_value
from theory.balls_core import NotCertified
from theory.certified import certified_moments
from theory.errors import SpecificationError, UsageError
from theory.gaussian import Functional, convergence, expectations, expectations_high_precision
from theory.published import CONVENTIONS, PUBLISHED, PublishedConstant, number, read_table
from theory.specification import activation

_GUARD = 20  # working digits beyond those shown
_MOST_STEPS = 3000
_NEVER = float("inf")
_LEVELS = (2, 10)
_BOTH_NORMS = ("gpn", "gain")  # conventions that promise to keep the gradient too

_FUNCTIONALS: Mapping[str, Functional] = {
    "mean": lambda _z, value, _slope: value,
    "second": lambda _z, value, _slope: value**2,
    "slope_second": lambda _z, _value, slope: slope**2,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One published number beside the exact one.

    Args:
        quantity: "a", "b", "gamma", "scale", "gain", "alpha" or "lambda".
        published: as printed.
        exact: the exact value to the digits asked for.
        relative_error: |published - exact|/|exact|; 0 if both are 0.
        rounds: whether the exact value rounds to what was printed.
    """

    quantity: str
    published: str
    exact: str
    relative_error: float
    rounds: bool


@dataclass(frozen=True, slots=True)
class Cost:
    """What published constants do over depth in mean field, from unit length, in a plain network.

    Args:
        signal_factor, gradient_factor: factor of the squared length and of the squared backward norm in the
            first layer; 1 is perfect. The gradient's is None for an activation that jumps.
        settled_length: the squared length at which the signal settles; None if it does not, or not before it
            has changed thousandfold.
        settled_gradient_factor: the factor of the squared backward norm in each layer from then on.
        depth_2, depth_10: the first depth at which a norm that the convention promises to keep has changed by
            a factor 2 (10) in its square; infinite if that never happens.
        norm: which norm reaches the factor 2 first, "signal" or "gradient"; empty if none does. The pairs
            (a, b) and the gains promise both norms, the other conventions the signal.
    """

    signal_factor: float
    gradient_factor: float | None
    settled_length: float | None
    settled_gradient_factor: float | None
    depth_2: float
    depth_10: float
    norm: str


@dataclass(frozen=True, slots=True)
class AuditRow:
    """The audit of one published entry.

    Args:
        entry: what was published.
        comparisons: one for each of its numbers.
        cost: over depth.
        certified: whether the exact values come from moments with a proved error bound.
        remarks: what else was found.
    """

    entry: PublishedConstant
    comparisons: tuple[Comparison, ...]
    cost: Cost
    certified: bool
    remarks: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether all numbers are the exact ones to the digits printed."""
        return all(number.rounds for number in self.comparisons)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The audit of a table of constants.

    Args:
        rows: one for each entry.
        digits: significant digits of the exact values.
    """

    rows: tuple[AuditRow, ...]
    digits: int

    def row(self, entry_id: str) -> AuditRow:
        """The row of an entry.

        Raises:
            UsageError: no such entry.
        """
        for row in self.rows:
            if row.entry.id == entry_id:
                return row
        raise UsageError(f"no entry {entry_id!r:.60}; there are {', '.join(row.entry.id for row in self.rows)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a depth that is never reached is null."""
        return {"digits": self.digits, "rows": [_plain_row(row) for row in self.rows]}

    def to_frame(self) -> Any:
        """A pandas frame with one row for each published number."""
        import pandas as pd

        return pd.DataFrame([line for row in self.rows for line in _lines(row)])

    def summary(self) -> str:
        """What was found, in words."""
        comparisons = [comparison for row in self.rows for comparison in row.comparisons]
        good = sum(comparison.rounds for comparison in comparisons)
        lines = [f"{good} of {len(comparisons)} published numbers are the exact ones to the digits printed."]
        for row in self.rows:
            if not row.agrees:
                worst = max(comparison.relative_error for comparison in row.comparisons)
                lines.append(f"{row.entry.id}: off by {100 * worst:.2g} %; {_in_words(row.cost)}.")
            lines += [f"{row.entry.id}: {remark}." for remark in row.remarks]
        return "\n".join(lines)


def audit(table: Any = None, digits: int = 15) -> AuditReport:
    r"""Compare published normalization constants with the exact ones.

    .. math:: \text{relative error} = \frac{|\text{published} - \text{exact}|}{|\text{exact}|}

    The exact values follow from certified moments (`theory.certified`) by the formula of the entry's
    convention (`theory.published.CONVENTIONS`); (a, b) as in Lu, Gould, Ajanthan 2020. Each row also has the
    depth at which the miss changes the squared norm of the signal or of the gradient by a factor 2 and 10
    (see `Cost`).

    Args:
        table: nothing for the constants of `theory.published`; a path of a CSV file or a pandas frame for
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


# -------------------------------------------------------------------------------- one entry


@dataclass(frozen=True, slots=True)
class _Moments:
    """E phi, E phi^2 and E phi'^2 (None if phi jumps) as mpf."""

    mean: mpmath.mpf
    second: mpmath.mpf
    slope: mpmath.mpf | None
    certified: bool

    @property
    def variance(self) -> mpmath.mpf:
        return self.second - self.mean**2


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
        self._exact: dict[tuple[str, int], tuple[Activation, _Moments]] = {}
        self._rough: dict[str, _Moments | None] = {}

    def row(self, entry: PublishedConstant) -> AuditRow:
        shown = max(self._digits, *map(_decimals, entry.values))
        with mpmath.workdps(20 * math.ceil(shown / 20) + _GUARD):
            published = [_Printed.read(text) for text in entry.values]
            phi, moments = self._look_up(entry, entry.activation)
            exact = _exact_values(entry, moments, published)
            names = CONVENTIONS[entry.convention].quantities
            comparisons = tuple(
                _compare(name, printed, value, self._digits)
                for name, printed, value in zip(names, published, exact, strict=True)
            )
            cost = _cost(self._layer(entry, phi, moments, published), both=entry.convention in _BOTH_NORMS)
            remarks = tuple(self._remarks(entry, comparisons, cost, published))
        return AuditRow(entry, comparisons, cost, moments.certified, remarks)

    def _look_up(self, entry: PublishedConstant, spec: str) -> tuple[Activation, _Moments]:
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
        self, entry: PublishedConstant, phi: Activation, moments: _Moments, published: Sequence[_Printed]
    ) -> "_Layer":
        """The layer that the constants make; SELU's alpha sits inside the activation."""
        first, last = published[0].value, published[-1].value
        if entry.convention == "self-normalizing":
            return _Layer(*self._look_up(entry, f"elu({entry.values[0]})"), last, mpmath.mpf(0), centred=False)
        shift = last if entry.convention == "gpn" else mpmath.mpf(0)
        return _Layer(phi, moments, first, shift, centred=entry.convention == "unit-variance")

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
            mean, second, slope = map(mpmath.mpf, _float_moments(phi, 1.0))
            self._rough[name] = None if phi.jumps else _Moments(mean, second, slope, certified=False)
        rough = self._rough[name]
        if rough is None or not rough.variance > 0:
            return False
        exact = _exact_values(entry, rough, published)
        return all(printed.agrees(value) for printed, value in zip(published, exact, strict=True))


def _moments(phi: Activation, digits: int) -> _Moments:
    """Certified moments, or by quadrature where nothing can be proved.

    Raises:
        SpecificationError: no finite E phi^2 or E phi'^2, so there is no constant to compare with.
    """
    found = certified_moments(phi, digits, tuple(_FUNCTIONALS))
    balls = {} if isinstance(found, NotCertified) else found.balls
    if {"mean", "second"} <= set(balls) and (phi.jumps or "slope_second" in balls):
        slope = None if phi.jumps else _middle(balls["slope_second"])
        return _Moments(_middle(balls["mean"]), _middle(balls["second"]), slope, certified=True)
    if phi.undefined:
        raise SpecificationError(f"{phi.name} is undefined on part of the line")
    orders: tuple[tuple[Literal["value", "slope"], str], ...] = (("value", "E phi^2"), ("slope", "E phi'^2"))
    for order, moment in orders:
        if convergence(phi, order).verdict == "diverges":
            raise SpecificationError(f"{moment} of {phi.name} is infinite: there is nothing to compare with")
    estimates = expectations_high_precision(phi, _FUNCTIONALS, digits)
    tolerance = mpmath.mpf(10) ** (_GUARD // 2 - digits)
    if any(not error <= tolerance * (1 + abs(value)) for value, error in estimates.values()):
        raise SpecificationError(f"the moments of {phi.name} cannot be computed to {digits - _GUARD // 2} digits")
    mean, second, steepness = (value for value, _ in estimates.values())
    return _Moments(mean, second, None if phi.jumps else steepness, certified=False)


def _middle(ball: arb) -> mpmath.mpf:
    """The midpoint of a ball, exactly; its radius is far below the digits shown."""
    mantissa, exponent = ball.mid().man_exp()
    return mpmath.ldexp(int(mantissa), int(exponent))


def _exact_values(entry: PublishedConstant, moments: _Moments, published: Sequence[_Printed]) -> list[mpmath.mpf]:
    """The exact numbers of a convention; of two roots the one nearer to the published shift."""
    if entry.convention == "unit-variance":
        return [1 / mpmath.sqrt(moments.variance)]
    if entry.convention in ("unit-second-moment", "gain"):
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
        relative = float(difference / abs(exact)) if exact else _NEVER
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


# -------------------------------------------------------------------------------- cost over depth


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer scale*phi + shift in mean field; centred weights pass on the variance only."""

    phi: Activation
    moments: _Moments
    scale: mpmath.mpf
    shift: mpmath.mpf
    centred: bool

    @property
    def first_factors(self) -> tuple[mpmath.mpf, mpmath.mpf | None]:
        """Factors of the signal and of the gradient at unit length, in full precision."""
        gradient = None if self.moments.slope is None else self.scale**2 * self.moments.slope
        return self._signal(self.moments.mean, self.moments.second), gradient

    def rates(self, log_length: float) -> tuple[float, float]:
        """Logarithms of the factors of the signal and the gradient at the logarithm of a squared length."""
        if log_length == 0:
            signal, gradient = self.first_factors
        else:
            mean, second, slope = _float_moments(self.phi, math.exp(log_length))
            scale = float(self.scale)
            signal, gradient = float(self._signal(mean, second)) * math.exp(-log_length), scale**2 * slope
        return _logarithm(signal), 0.0 if gradient is None or self.phi.jumps else _logarithm(gradient)

    def _signal(self, mean: Any, second: Any) -> Any:
        if self.centred:
            return self.scale**2 * (second - mean**2)
        return self.scale**2 * second + 2 * self.scale * self.shift * mean + self.shift**2


def _float_moments(phi: Activation, length: float) -> tuple[float, float, float]:
    found = expectations(phi, _FUNCTIONALS, deviation=math.sqrt(length))
    mean, second, slope = (estimate.value for estimate in found.values())
    return mean, second, slope


def _logarithm(factor: Any) -> float:
    return float(mpmath.log(factor)) if factor > 0 else -_NEVER


class _Crossings:
    """The first depths at which the logarithm of a norm has left [-log c, log c], c = 2 and 10."""

    def __init__(self) -> None:
        self.logarithm = 0.0
        self.depths = dict.fromkeys(_LEVELS, _NEVER)

    def advance(self, depth: float, rate: float, layers: float) -> None:
        """From a depth the logarithm changes by `rate` in each of some layers (maybe infinitely many)."""
        for level in _LEVELS:
            remaining = math.log(level) - math.copysign(1, rate) * self.logarithm
            if self.depths[level] == _NEVER and rate != 0 and abs(rate) * layers >= remaining:
                self.depths[level] = depth + max(1, math.ceil(remaining / abs(rate)))
        if layers < _NEVER:
            self.logarithm += rate * layers

    @property
    def done(self) -> bool:
        return _NEVER not in self.depths.values()


def _cost(layer: _Layer, *, both: bool) -> Cost:
    """Follow signal and gradient from unit length; `both` norms count, or only the signal."""
    signal_factor, gradient_factor = layer.first_factors
    signal, gradient = _Crossings(), _Crossings()
    known = gradient_factor is not None
    counted = {"signal": signal, "gradient": gradient} if both and known else {"signal": signal}
    if layer.phi.is_positively_homogeneous and layer.shift == 0:  # every layer has the same factors
        noise = 10.0 ** (5 - mpmath.mp.dps)
        rates = [0.0 if abs(rate) < noise else rate for rate in layer.rates(0.0)]
        signal.advance(0, rates[0], _NEVER)
        gradient.advance(0, rates[1], _NEVER)
        settled = (0.0, rates[1]) if rates[0] == 0 else None
    else:
        settled = _follow(layer, signal, gradient, list(counted.values()))
    first = min(counted, key=lambda name: counted[name].depths[2])
    depth_2, depth_10 = (min(crossings.depths[level] for crossings in counted.values()) for level in _LEVELS)
    return Cost(
        signal_factor=float(signal_factor),
        gradient_factor=None if gradient_factor is None else float(gradient_factor),
        settled_length=math.exp(settled[0]) if settled else None,
        settled_gradient_factor=math.exp(settled[1]) if settled and known else None,
        depth_2=depth_2,
        depth_10=depth_10,
        norm=first if depth_2 < _NEVER else "",
    )


def _follow(
    layer: _Layer, signal: _Crossings, gradient: _Crossings, counted: Sequence[_Crossings]
) -> tuple[float, float] | None:
    """Propagate until the length settles, or all levels are passed and it has run away.

    Returns:
        The logarithm of the settled length and of the gradient's factor there, or None.
    """
    depth = 0
    previous: tuple[float, float] | None = None
    for _ in range(_MOST_STEPS):
        length = signal.logarithm
        rates = layer.rates(length)
        passed = all(crossings.done for crossings in counted)
        if not all(map(math.isfinite, rates)) or (passed and abs(length) > math.log(1000)):
            return None
        settled = _fixed_point(layer, length, rates[0]) if abs(rates[0]) < 1e-6 else None
        if settled is not None:
            gradient.advance(depth, settled[1], _NEVER)
            return settled
        layers = _leap(length, rates[0], previous)
        previous = length, rates[0]
        if layers > 1:  # by the midpoint rule where the rate hardly changes
            rates = layer.rates(length + rates[0] * layers / 2)
        signal.advance(depth, rates[0], layers)
        gradient.advance(depth, rates[1], layers)
        depth += layers
    return None


def _leap(length: float, rate: float, previous: tuple[float, float] | None) -> int:
    """How many layers may be taken in one step: the length and its rate must hardly change."""
    if previous is None or previous[0] == length or rate == 0:
        return 1
    stiffness = abs((rate - previous[1]) / (length - previous[0]))
    return max(1, int(min(0.02 / abs(rate), 0.1 / max(stiffness, 1e-9))))


def _fixed_point(layer: _Layer, length: float, rate: float) -> tuple[float, float] | None:
    """The attracting fixed point next to a log length that hardly moves, and the gradient's rate there."""
    step = 1e-4
    slope = (layer.rates(length + step)[0] - layer.rates(length - step)[0]) / (2 * step)
    if rate != 0 and not -2 < slope < -1e-6:  # the length map would have a slope 1 + this at its fixed point
        return None
    point = length - rate / slope if rate else length
    for _ in range(6):
        if abs(point) < 1e-13:  # the published constants are exact in float64
            return point, layer.rates(0.0)[1]
        point -= layer.rates(point)[0] / slope
    return point, layer.rates(point)[1]


# -------------------------------------------------------------------------------- showing


def _lines(row: AuditRow) -> Iterator[dict[str, Any]]:
    """One record of the frame for each number of a row."""
    for comparison in row.comparisons:
        yield {
            "id": row.entry.id,
            "activation": row.entry.activation,
            "convention": row.entry.convention,
            **asdict(comparison),
            **asdict(row.cost),
            "certified": row.certified,
            "remark": "; ".join(row.remarks),
            "source": row.entry.where,
        }


def _plain_row(row: AuditRow) -> dict[str, Any]:
    return {
        "id": row.entry.id,
        "source": row.entry.source,
        "where": row.entry.where,
        "activation": row.entry.activation,
        "convention": row.entry.convention,
        "meaning": CONVENTIONS[row.entry.convention].meaning,
        "values": [_without_infinities(asdict(comparison)) for comparison in row.comparisons],
        "cost": _without_infinities(asdict(row.cost)),
        "certified": row.certified,
        "remarks": list(row.remarks),
    }


def _without_infinities(record: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()
    }


def _in_words(cost: Cost) -> str:
    if not cost.norm:
        settled = "" if cost.settled_length is None else f", its squared length settles at {cost.settled_length:.6g}"
        return f"never costs a factor 2{settled}"
    ten = "never 10" if cost.depth_10 == _NEVER else f"10 at depth {cost.depth_10:.6g}"
    return f"the squared {cost.norm} norm has changed by a factor 2 at depth {cost.depth_2:.6g}, {ten}"
