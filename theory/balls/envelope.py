r"""Growth envelopes: how large an expression can be on a half-line, derived from its structure.

For a function f of x on [R, oo), R >= 1, a `Growth` holds proved bounds of the form

.. math:: \log |f(x)| \le \kappa + p \log x + c x + d x^2, \qquad f(x) \le \kappa + p \log x + c x + d x^2

and the same from below. They are closed under sums, products, powers and the functions of the catalog
(`theory.balls.growth`): an upper bound of f is one of log exp(f), a lower bound of |f| is what a quotient
by f needs, and a sum keeps the lower bound of the term that dominates from R on. With the normal density the tail of an
integral follows (`gaussian_tail`), and with x = 1/t the behaviour at a singular end of a piece (`singular_gap`).
"""

from dataclasses import dataclass, replace
from typing import Any

from flint import arb, fmpq

from theory.balls.core import NotCertifiable

_LOG_POWER = fmpq(1, 16)  # log x <= (1/(e s)) x^s for every s > 0; this s is used


@dataclass(frozen=True, slots=True)
class Form:
    """The function kappa + p log x + c x + d x^2 on [R, oo), with balls as coefficients."""

    constant: arb
    log: arb
    linear: arb
    square: arb

    @classmethod
    def of(cls, constant: Any = 0, log: Any = 0, linear: Any = 0, square: Any = 0) -> "Form":
        return cls(arb(constant), arb(log), arb(linear), arb(square))

    def __add__(self, other: "Form") -> "Form":
        return Form(
            self.constant + other.constant,
            self.log + other.log,
            self.linear + other.linear,
            self.square + other.square,
        )

    def __sub__(self, other: "Form") -> "Form":
        return self + other.scaled(arb(-1))

    def scaled(self, factor: arb) -> "Form":
        return Form(self.constant * factor, self.log * factor, self.linear * factor, self.square * factor)

    def raised(self, amount: arb) -> "Form":
        return replace(self, constant=self.constant + amount)

    def at(self, x: arb) -> arb:
        return self.constant + self.log * x.log() + self.linear * x + self.square * x * x

    def is_nonincreasing(self, start: arb) -> bool:
        """Proved from the derivative p/x + c + 2 d x <= max(p, 0)/R + c + 2 d R for d <= 0."""
        rise = arb(0) if self.log <= 0 else abs(self.log) / start
        return bool(self.square <= 0 and rise + self.linear + 2 * self.square * start <= 0)

    def supremum(self, start: arb) -> arb | None:
        """An upper bound on [R, oo), None if no finite one is proved."""
        return self.at(start) if self.is_nonincreasing(start) else None

    def infimum(self, start: arb) -> arb | None:
        below = self.scaled(arb(-1)).supremum(start)
        return None if below is None else -below

    def vanishes(self) -> bool:
        """Whether this is -oo, the logarithm of zero."""
        return bool(self.constant == arb.neg_inf())

    def tends_to_infinity(self) -> bool:
        """Whether the leading coefficient is positive."""
        if not self.square.is_zero():
            return bool(self.square > 0)
        return bool(self.linear > 0 or (self.linear.is_zero() and self.log > 0))

    def is_constant(self) -> bool:
        return bool(self.log.is_zero() and self.linear.is_zero() and self.square.is_zero())


ZERO = Form.of()


@dataclass(frozen=True, slots=True)
class Growth:
    """Proved bounds of a function f on [start, oo); None where no bound is proved.

    Args:
        start: R >= 1.
        sign: +1 if f >= 0, -1 if f <= 0, 0 if not known.
        upper, lower: the bounds of log |f|.
        above, below: the bounds of f itself; the same object if it is f.
    """

    start: arb
    sign: int
    upper: Form | None
    lower: Form | None
    above: Form | None
    below: Form | None

    def __add__(self, other: Any) -> "Growth":
        return _sum(self, _growth(other, self.start))

    __radd__ = __add__

    def __mul__(self, other: Any) -> "Growth":
        return _product(self, _growth(other, self.start))

    __rmul__ = __mul__

    def __neg__(self) -> "Growth":
        return self * -1

    def __sub__(self, other: Any) -> "Growth":
        return self + _growth(other, self.start) * -1

    def __pow__(self, exponent: int) -> "Growth":
        return power(self, fmpq(exponent))

    def is_unbounded(self) -> bool:
        """Whether |f| is proved to tend to infinity."""
        low = None if self.above is None else self.above.scaled(arb(-1))
        return any(form is not None and form.tends_to_infinity() for form in (self.lower, self.below, low))

    def tends_to_zero(self) -> bool:
        """Whether f is proved to tend to 0."""
        return self.is_zero() or (self.upper is not None and self.upper.scaled(arb(-1)).tends_to_infinity())

    def is_zero(self) -> bool:
        return self.upper is not None and self.upper.vanishes()


def variable(start: arb) -> Growth:
    """The function x on [start, oo)."""
    logarithm, line = Form.of(log=1), Form.of(linear=1)
    return Growth(start, 1, logarithm, logarithm, line, line)


def constant(value: arb, start: arb) -> Growth:
    """A constant function."""
    form = Form.of(value)
    if value.is_zero():
        return Growth(start, 1, Form.of(arb.neg_inf()), None, form, form)
    sign = 1 if value > 0 else -1 if value < 0 else 0
    lower = Form.of(value.abs_lower().log()) if sign else None
    return Growth(start, sign, Form.of(value.abs_upper().log()), lower, form, form)


def _growth(value: Any, start: arb) -> Growth:
    return value if isinstance(value, Growth) else constant(arb(value), start)


def form_above_exp(upper: Form | None, start: arb) -> Form | None:
    """A form that exp(upper) does not exceed."""
    if upper is None or not (upper.linear <= 0 and upper.square <= 0):
        return None
    if upper.is_nonincreasing(start):
        return Form.of(upper.at(start).exp())
    factor = (upper.constant + upper.linear * start + upper.square * start * start).exp()
    # x^p <= R^(p-1) x for p <= 1, and R^(p-2) x^2 for p <= 2: a form has no other powers.
    if upper.log <= 1:
        return Form.of(linear=factor * start ** (upper.log - 1))
    return Form.of(square=factor * start ** (upper.log - 2)) if upper.log <= 2 else None


def form_below_exp(lower: Form | None, start: arb) -> Form:
    """A form that does not exceed exp(lower).

    With a growth rate g = c + 2 d R > 0, exp(F(x)) >= exp(F(R)) (1 + g (x - R) + g^2 (x - R)^2/2).
    """
    if lower is None or not (lower.linear >= 0 and lower.square >= 0 and lower.log >= 0):
        return ZERO
    rate = lower.linear + 2 * lower.square * start
    if rate > 0:
        size, step = lower.at(start).exp(), rate * start
        return Form.of(1 - step + step * step / 2, 0, rate - rate * step, rate * rate / 2).scaled(size)
    factor = (lower.constant + lower.linear * start + lower.square * start * start).exp()
    if lower.log >= 2:
        return Form.of(square=factor * start ** (lower.log - 2))
    if lower.log >= 1:
        return Form.of(linear=factor * start ** (lower.log - 1))
    return Form.of(factor * start**lower.log)


def from_modulus(start: arb, sign: int, upper: Form | None, lower: Form | None) -> Growth:
    """Bounds of f from its sign and the bounds of log |f|."""
    largest, smallest = form_above_exp(upper, start), form_below_exp(lower, start)
    negative_largest = None if largest is None else largest.scaled(arb(-1))
    if sign > 0:
        return Growth(start, sign, upper, lower, largest, smallest)
    if sign < 0:
        return Growth(start, sign, upper, lower, smallest.scaled(arb(-1)), negative_largest)
    return Growth(start, sign, upper, lower, largest, negative_largest)


def log_of_modulus(form: Form, start: arb) -> Form:
    """log of C x^q, where |form| <= C x^q with the smallest fitting q among 0, 1/16, 1, 2."""
    # Every term is at most a multiple of x^q from R on, since x^p <= R^(p-q) x^q for p <= q.
    powers = (fmpq(2), form.square), (fmpq(1), form.linear), (_LOG_POWER, form.log)
    q = next((arb(power) for power, coefficient in powers if not coefficient.is_zero()), arb(0))
    size = form.constant.abs_upper() * start ** (-q)
    if not form.log.is_zero():
        size += form.log.abs_upper() * start ** (_LOG_POWER - q) / (arb(1).exp() * _LOG_POWER)
    if not form.linear.is_zero():
        size += form.linear.abs_upper() * start ** (1 - q)
    size += form.square.abs_upper()
    if size.is_zero():
        return Form.of(arb.neg_inf())
    return Form.of(size.log(), q)


def from_values(start: arb, above: Form | None, below: Form | None) -> Growth:
    """Bounds of log |f| and the sign from the bounds of f."""
    highest = None if above is None else above.supremum(start)
    lowest = None if below is None else below.infimum(start)
    sign, lower = 0, None
    if lowest is not None and lowest > 0:
        sign, lower = 1, Form.of(lowest.log())
    elif highest is not None and highest < 0:
        sign, lower = -1, Form.of((-highest).log())
    elif lowest is not None and lowest >= 0:
        sign = 1
    upper = None
    if sign and above is not None and below is not None:
        upper = log_of_modulus(above if sign > 0 else below, start)
    elif above is not None and below is not None:
        upper = log_sum(log_of_modulus(above, start), log_of_modulus(below, start), start)
    return Growth(start, sign, upper, lower, above, below)


def _plus(a: Form | None, b: Form | None) -> Form | None:
    return None if a is None or b is None else a + b


def log_sum(a: Form | None, b: Form | None, start: arb) -> Form | None:
    """A form above log(exp(a) + exp(b))."""
    if a is None or b is None:
        return None
    if a.vanishes() or b.vanishes():
        return b if a.vanishes() else a
    # exp(a) + exp(b) = exp(a) (1 + exp(b - a)), and the bracket is largest at R where b - a falls.
    for main, other in ((a, b), (b, a)):
        difference = other - main
        if difference.is_nonincreasing(start):
            return main.raised(difference.at(start).exp().log1p())
    # Neither dominates: x >= 1, so the larger coefficients bound both exponentials.
    sizes = a.constant.exp() + b.constant.exp()
    return Form(sizes.log(), a.log.max(b.log), a.linear.max(b.linear), a.square.max(b.square))


def _larger(a: Form | None, b: Form | None, start: arb) -> Form | None:
    """Of two valid lower bounds the one that wins in the end."""
    if a is None or b is None:
        return a or b
    return a if (b - a).is_nonincreasing(start) else b


def _dominated(f: Growth, g: Growth) -> Form | None:
    """Lower bound of log |f + g| if f dominates g: |f + g| >= |f| (1 - |g|/|f|)."""
    if f.lower is None or g.upper is None:
        return None
    ratio = g.upper - f.lower
    if not ratio.is_nonincreasing(f.start):
        return None
    share = ratio.at(f.start).exp()
    return f.lower.raised((-share).log1p()) if share < 1 else None


def _sum(f: Growth, g: Growth) -> Growth:
    if f.is_zero() or g.is_zero():
        return g if f.is_zero() else f
    start, sign, lower = f.start, 0, None
    if f.sign and f.sign == g.sign:
        sign, lower = f.sign, _larger(f.lower, g.lower, start)
    else:
        for main, other in ((f, g), (g, f)):
            dominant = _dominated(main, other)
            if dominant is not None:
                sign, lower = main.sign, dominant
                break
    above, below = _plus(f.above, g.above), _plus(f.below, g.below)
    if f.above is f.below and g.above is g.below:
        # `is`, not ==: the same object stands for the function itself, equal forms would only bound it.
        below = above  # the sum of two known functions is known
    if not sign:
        by_value = from_values(start, above, below)
        sign, lower = by_value.sign, lower or by_value.lower
    filled = from_modulus(start, sign, log_sum(f.upper, g.upper, start), lower)
    return replace(filled, above=above or filled.above, below=below or filled.below)


def _product(f: Growth, g: Growth) -> Growth:
    if f.is_zero() or g.is_zero():
        return constant(arb(0), f.start)
    result = from_modulus(f.start, f.sign * g.sign, _plus(f.upper, g.upper), _plus(f.lower, g.lower))
    for fixed, other in ((f, g), (g, f)):
        if fixed.above is not None and fixed.above is fixed.below and fixed.above.is_constant() and fixed.sign:
            factor = fixed.above.constant
            ends = [None if form is None else form.scaled(factor) for form in (other.above, other.below)]
            above, below = ends if fixed.sign > 0 else ends[::-1]
            return replace(result, above=above, below=above if other.above is other.below else below)
    return result


def power(f: Growth, exponent: fmpq) -> Growth:
    p, q = int(exponent.p), int(exponent.q)
    if q != 1 and f.sign <= 0:
        raise NotCertifiable("a fractional power of something that is not seen to be positive for large |x|")
    if f.is_zero():
        return f if p > 0 else Growth(f.start, 0, None, None, None, None)
    upper, lower = (f.upper, f.lower) if p > 0 else (f.lower, f.upper)
    factor = arb(exponent)
    result = from_modulus(
        f.start,
        1 if q != 1 or p % 2 == 0 else f.sign,
        None if upper is None else upper.scaled(factor),
        None if lower is None else lower.scaled(factor),
    )
    # The square of a line is known exactly, which the bounds by modulus would lose.
    line = f.above if f.above is f.below else None
    if exponent == 2 and line is not None and line.log.is_zero() and line.square.is_zero():
        a, b = line.constant, line.linear
        form = Form.of(a * a, 0, 2 * a * b, b * b)
        return replace(result, above=form, below=form)
    return result


def gaussian_tail(growth: Growth) -> arb | None:
    r"""Upper bound of the tail of an expectation under N(0, 1), None where the envelope proves none.

    .. math:: \int_R^\infty |f(x)| \frac{e^{-x^2/2}}{\sqrt{2\pi}} dx \le \frac{e^{T(R)}}{\lambda\sqrt{2\pi}}, \qquad
        T(x) = \kappa + p \log x + c x + (d - \tfrac12) x^2

    with lambda = -(max(p, 0)/R + c + (2d - 1) R) > 0, which bounds the rate -T'(x) from below for x >= R if d <= 1/2.

    >>> gaussian_tail(variable(arb(8)) ** 2) < 1e-12
    True
    """
    if growth.upper is None:
        return None
    if growth.is_zero():
        return arb(0)
    exponent = growth.upper + Form.of(square=fmpq(-1, 2))
    # log x has the slope 1/x, largest at R; so this rate holds on the whole tail.
    rise = arb(0) if exponent.log <= 0 else exponent.log / growth.start
    rate = -(rise + exponent.linear + 2 * exponent.square * growth.start)
    if not (exponent.square <= 0 and rate > 0):
        return None
    return _finite(exponent.at(growth.start).exp() / (rate * (2 * arb.pi()).sqrt()))


def singular_gap(growth: Growth) -> arb | None:
    r"""Upper bound of the integral of |f(1/t)| over 0 < t <= delta = 1/R, None where the envelope proves none.

    .. math:: |f(x)| \le e^{\kappa} x^p \ (x \ge R) \implies
        \int_0^\delta |f(1/t)| dt \le e^{\kappa} \frac{\delta^{1-p}}{1-p}, \qquad p < 1

    An envelope that falls from R on, as that of exp(-x^2) x^3, is at most its value at R.
    """
    if growth.upper is None or not (growth.upper.linear <= 0 and growth.upper.square <= 0):
        return None
    if growth.is_zero():
        return arb(0)
    order, delta = growth.upper.log, 1 / growth.start
    if not order < 1:
        is_falling = growth.upper.is_nonincreasing(growth.start)
        return _finite(growth.upper.at(growth.start).exp() * delta) if is_falling else None
    return _finite(growth.upper.constant.exp() * delta ** (1 - order) / (1 - order))


def _finite(bound: arb) -> arb | None:
    return bound.upper() if bound.is_finite() else None


def tail_diverges(growth: Growth) -> bool:
    """Whether the integral of f against the normal density is proved to diverge at infinity."""
    if not growth.sign or growth.lower is None:
        return False
    exponent = growth.lower + Form.of(square=fmpq(-1, 2))
    if exponent.square.is_zero() and exponent.linear.is_zero():
        return bool(exponent.log >= -1)
    return exponent.tends_to_infinity()


def gap_diverges(growth: Growth) -> bool:
    """Whether the integral of f(1/t) is proved to diverge at t = 0, as that of t^-p does for p >= 1."""
    form = growth.lower
    if not growth.sign or form is None:
        return False
    if form.square.is_zero() and form.linear.is_zero():
        return bool(form.log >= 1)
    return form.tends_to_infinity()
