"""The range of an expression on a half-line [R, oo): interval arithmetic with infinite ends beside a growth envelope.

The range knows limits, as of tanh(log(1 + sigmoid(x))), and the envelope knows decay, as of x exp(-x). Each tightens
the other after every operation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flint import arb, fmpq

from theory.balls.arithmetics import INTERVAL, growth_arithmetic
from theory.balls.core import Arithmetic, NotCertifiable, hull
from theory.balls.envelope import Form, Growth, constant, variable
from theory.balls.functions import FUNCTIONS, FunctionRecord

_ONE = arb(1)
_LIMITS: dict[str, tuple[arb, arb]] = {
    "erf": (-_ONE, _ONE),
    "erfc": (2 * _ONE, 0 * _ONE),
    "sigmoid": (0 * _ONE, _ONE),
    "softplus": (0 * _ONE, arb.pos_inf()),
    "normal_cdf": (0 * _ONE, _ONE),
    "sinh": (arb.neg_inf(), arb.pos_inf()),
    "asinh": (arb.neg_inf(), arb.pos_inf()),
    "erfi": (arb.neg_inf(), arb.pos_inf()),
}
"""Limits at -oo and oo of functions whose value there flint does not give."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Proved bounds of a function on [R, oo): low <= f <= high, ends may be infinite, and a growth envelope."""

    low: arb
    high: arb
    growth: Growth

    def __add__(self, other: Any) -> "Tail":
        other = _lifted(other, self.growth.start)
        low, high = self.low + other.low, self.high + other.high
        return _tightened(low, high, self.growth + other.growth)

    __radd__ = __add__

    def __mul__(self, other: Any) -> "Tail":
        other = _lifted(other, self.growth.start)
        products = [_product(a, b) for a in (self.low, self.high) for b in (other.low, other.high)]
        return _tightened(*_extremes(products), self.growth * other.growth)

    __rmul__ = __mul__

    def bound(self) -> arb | None:
        """An upper bound of |f|, None where none is proved."""
        size: arb = abs(self.low).upper().max(abs(self.high).upper())
        return size.upper() if size.is_finite() else None


def tail_variable(start: arb) -> Tail:
    """Return the function x on [start, oo)."""
    return Tail(start.lower(), arb.pos_inf(), variable(start))


def tail_arithmetic(start: arb) -> Arithmetic:
    """Return the arithmetic of functions on [start, oo).

    >>> import sympy
    >>> from theory.balls.program import Program
    >>> from theory.numerics.arithmetic import X
    >>> (tail,) = Program([sympy.tanh(X) + sympy.exp(-X)]).bind(tail_arithmetic(arb(50)))(tail_variable(arb(50)))
    >>> tail.bound() < 1 + 1e-12
    True
    """
    envelopes = growth_arithmetic(start)
    return Arithmetic(
        lift=lambda ball: _lifted(ball, start),
        power=lambda exponent: _rule(lambda u: _power(u, exponent), envelopes.power(exponent), start),
        functions={
            name: _rule(_range_rule(record), envelopes.functions.get(name), start) for name, record in FUNCTIONS.items()
        }
        | {"sech_squared": lambda tanh, u: _sech_squared(tanh, u, envelopes)},
        deflate=lambda numerator, order: (
            lambda t, value: _from_growth(envelopes.deflate(numerator, order)(t.growth, value.growth))
        ),
    )


def _lifted(value: Any, start: arb) -> Tail:
    if isinstance(value, Tail):
        return value
    ball = arb(value)
    return Tail(ball.lower(), ball.upper(), constant(ball, start))


def _rule(
    range_rule: Callable[[Tail], tuple[arb, arb]], envelope: Callable[[Growth], Growth] | None, start: arb
) -> Callable[[Tail], Tail]:
    """A function by its range and by its envelope; one of them may fail."""

    def rule(u: Tail) -> Tail:
        try:
            low, high = range_rule(u)
        except NotCertifiable:
            if envelope is None:
                raise
            return _from_growth(envelope(u.growth))
        try:
            growth = envelope(u.growth) if envelope is not None else None
        except NotCertifiable:
            growth = None
        return _tightened(low, high, growth or Growth(start, 0, None, None, None, None))

    return rule


def _sech_squared(tanh: Tail, u: Tail, envelopes: Arithmetic) -> Tail:
    return _rule(
        lambda t: _even(t, lambda x: x.sech() ** 2),
        lambda growth: envelopes.functions["sech_squared"](tanh.growth, growth),
        u.growth.start,
    )(u)


def _range_rule(record: FunctionRecord) -> Callable[[Tail], tuple[arb, arb]]:
    if record.shape == "monotone":
        return lambda u: _extremes([_at(record, u.low), _at(record, u.high)])
    if record.shape == "even":
        return lambda u: _even(u, record.on_points())
    return lambda u: _unshaped(record, u)


def _at(record: FunctionRecord, end: arb) -> arb:
    """A monotone function at an end, the limit at an infinite one."""
    if not end.is_finite() and record.name in _LIMITS:
        return _LIMITS[record.name][0 if end < 0 else 1]
    value: arb = record.on_points()(end)
    if value.is_nan() or (end.is_finite() and not value.is_finite()):
        raise NotCertifiable(f"{record.name} of something that is not seen to stay in its domain")
    return value


def _even(u: Tail, function: Callable[[arb], arb]) -> tuple[arb, arb]:
    ends = [abs(u.low).upper(), abs(u.high).upper()]
    nearest = arb(0) if not (u.low > 0 or u.high < 0) else abs(u.low).lower().min(abs(u.high).lower())
    return _extremes([function(nearest), function(ends[0].max(ends[1]))])


def _unshaped(record: FunctionRecord, u: Tail) -> tuple[arb, arb]:
    if u.low.is_finite() and u.high.is_finite():
        value = record.on_intervals()(hull(u.low, u.high))
        if value.is_finite():
            return value.lower(), value.upper()
    if record.name in ("sin", "cos"):
        return arb(-1), arb(1)
    raise NotCertifiable(f"{record.name} of something that is not seen to stay in its domain")


def _power(u: Tail, exponent: fmpq) -> tuple[arb, arb]:
    p, q = int(exponent.p), int(exponent.q)
    if q != 1 and not u.low >= 0:
        raise NotCertifiable("a fractional power of something that is not seen to be positive for large |x|")
    if p < 0:
        if not (u.low > 0 or u.high < 0):
            raise NotCertifiable("a quotient by something that is not seen to differ from zero for large |x|")
        inverse = Tail(*_extremes([1 / u.low, 1 / u.high]), u.growth)
        return _power(inverse, -exponent)
    power = INTERVAL.power(exponent)
    if q == 1 and p % 2 == 0:
        return _even(u, lambda x: power(x) if x.is_finite() else arb.pos_inf())
    return _extremes([power(end) if end.is_finite() else end for end in (u.low, u.high)])


def _product(a: arb, b: arb) -> arb:
    """a b for ends of ranges, where 0 times infinity is 0."""
    return arb(0) if a.is_zero() or b.is_zero() else a * b


def _extremes(values: list[arb]) -> tuple[arb, arb]:
    low, high = values[0], values[0]
    for value in values[1:]:
        low, high = low.min(value), high.max(value)
    return low, high


def _from_growth(growth: Growth) -> Tail:
    return _tightened(arb.neg_inf(), arb.pos_inf(), growth)


def _tightened(low: arb, high: arb, growth: Growth) -> Tail:
    """The range cut by the envelope, and the envelope replaced by the range where that is better."""
    start = growth.start
    low = arb.neg_inf() if low.is_nan() else low.lower()
    high = arb.pos_inf() if high.is_nan() else high.upper()
    logarithm = None if growth.upper is None else growth.upper.supremum(start)
    above: list[arb | None] = []
    below: list[arb | None] = []
    if growth.is_zero():
        above, below = [arb(0)], [arb(0)]
    elif logarithm is not None:
        size = logarithm.exp().upper()
        above, below = [size], [-size]
    if growth.sign:
        smallest = None if growth.lower is None else growth.lower.infimum(start)
        least = arb(0) if smallest is None or smallest.is_nan() else smallest.exp().lower().max(arb(0))
        (below if growth.sign > 0 else above).append(least * growth.sign)
    above.append(None if growth.above is None else growth.above.supremum(start))
    below.append(None if growth.below is None else growth.below.infimum(start))
    for end in above:
        high = high if end is None or end.is_nan() else high.min(end.upper())
    for end in below:
        low = low if end is None or end.is_nan() else low.max(end.lower())
    return Tail(low.lower(), high.upper(), _widened(low, high, growth))


def _widened(low: arb, high: arb, growth: Growth) -> Growth:
    """An envelope with the constants of the range where it has no better bounds."""
    if growth.is_zero() or not (low.is_finite() and high.is_finite()):
        return growth
    size = abs(low).upper().max(abs(high).upper())
    sign = 1 if low >= 0 else -1 if high <= 0 else 0
    smallest = low if sign > 0 else -high if sign < 0 else arb(0)
    upper, lower = growth.upper, growth.lower
    if size.is_zero():
        return constant(arb(0), growth.start)
    if upper is None or upper.supremum(growth.start) is None or upper.is_constant():
        upper = Form.of(size.log())
    if smallest > 0 and (lower is None or lower.is_constant()):
        lower = Form.of(smallest.log())
    # A form that is not constant, such as -x, or that is f itself, is worth more than a constant.
    above = Form.of(high) if growth.above is None else growth.above
    below = Form.of(low) if growth.below is None else growth.below
    if above is not below:
        above = Form.of(high) if above.is_constant() else above
        below = Form.of(low) if below.is_constant() else below
    return Growth(growth.start, sign or growth.sign, upper, lower, above, below)
