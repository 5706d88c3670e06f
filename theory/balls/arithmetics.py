"""The kinds of numbers on which a `theory.balls.program.Program` runs; their functions are in `theory.balls.functions`.

`REAL` is for narrow real balls (points), `INTERVAL` for wide ones: there a monotone function is enclosed by its values
at the two ends, without the overestimation of ball arithmetic. `COMPLEX` encloses the analytic continuation on a
rectangle and gives a non-finite ball wherever the rectangle touches a branch cut or a pole, which is what
`flint.acb.integral` needs (Johansson 2018, "Numerical integration in arbitrary-precision ball arithmetic", section 2).
`SERIES` is for power series, and `growth_arithmetic` for growth envelopes.
"""

from collections.abc import Callable
from typing import Any

from flint import acb, arb, arb_poly, arb_series, ctx, fmpq

from theory.balls import growth
from theory.balls.core import Arithmetic, Evaluable, NotCertifiable, precision
from theory.balls.envelope import constant, power
from theory.balls.functions import FUNCTIONS, even, monotone

_SATURATED = 4  # where 1 - tanh(u)^2 loses ten bits
_DISCS, _ALIKE = 8, 1000  # discs of radius 1 to 1/128; their bounds are alike within that factor
_SPARE_TERMS = 40  # divisions by powers of t inside a program lose that many terms at most


def integer_power(x: Any, n: int) -> Any:
    """x^n for n >= 1 by repeated squaring, since flint's own power of a ball around 0 is not finite.

    >>> integer_power(arb(0, 1), 2)
    [+/- 1.01]
    """
    result = None
    while n:
        if n & 1:
            result = x if result is None else result * x
        x = x * x if n > 1 else x
        n >>= 1
    return result


def _signed_power(p: int) -> Callable[[Any], Any]:
    if p == 1:
        return lambda x: x
    if p == 2:
        return lambda x: x * x
    if p == -1:
        return lambda x: 1 / x
    return lambda x: integer_power(x, p) if p > 0 else 1 / integer_power(x, -p)


def _real_power(exponent: fmpq) -> Callable[[Any], Any]:
    p, q = int(exponent.p), int(exponent.q)
    integer = _signed_power(p)
    if q == 1:
        return integer
    if q == 2:
        return lambda x: integer(x.sqrt())
    return lambda x: x**exponent


def _interval_power(exponent: fmpq) -> Callable[[arb], arb]:
    p, q = int(exponent.p), int(exponent.q)
    if q != 1:
        return monotone(_real_power(exponent))
    if p < 0:
        between_ends = monotone(_signed_power(p))
        # A negative power is monotone on either side of 0, not across it.
        return lambda x: arb.nan() if x.contains(0) else between_ends(x)
    return even(_signed_power(p)) if p % 2 == 0 else monotone(_signed_power(p))


def _complex_power(exponent: fmpq) -> Callable[[acb], acb]:
    p, q = int(exponent.p), int(exponent.q)
    integer = _signed_power(p)
    if q == 1:
        return integer
    if q == 2:
        # `analytic` makes the result infinite on the branch cut, where the quadrature must not trust it.
        return lambda z: integer(z.sqrt(analytic=True))
    return lambda z: z.pow(exponent, analytic=True)


def _series_deflate(_numerator: Evaluable, order: int) -> Callable[[Any, Any], Any]:
    """Drop the leading coefficients, which whoever made the quotient has proved to be zero."""

    def shifted(_t: Any, value: Any) -> Any:
        series = value + arb_series([0])
        return arb_series([series[k] for k in range(order, series.prec)], series.prec - order)

    return shifted


class _Deflated:
    r"""N(t)/t^m for an analytic N with a zero of order m at 0, near t = 0 by its Taylor series.

    With |N| <= M on the disc of radius rho, Cauchy's estimate bounds the coefficients, |N_k| <= M rho^-k, so the terms
    left out add at most M rho^-m sum_{k >= K} (|t|/rho)^k, which at |t| <= rho/4 is (4/3) M rho^-m 4^-K. That the
    first m coefficients are zero has been proved by whoever made the quotient (`theory.balls.program.regularize`).

    Raises:
        NotCertifiable: N is not seen to be analytic around 0.
    """

    def __init__(self, numerator: Evaluable, order: int) -> None:
        self.order = order
        radius, size = _analytic_disc(numerator, order)
        self.near = radius / 4
        # Each term gains two bits at |t| <= rho/4, so half of the precision in terms is enough.
        count = ctx.prec // 2 + 4
        known = taylor_coefficients(numerator, order + count)
        self.polynomial = arb_poly(known[order:])
        remainder = size * arb(4) ** (-count) * arb(fmpq(4, 3))
        self.remainder = arb(0, remainder.upper())

    def real(self, t: arb, value: arb) -> arb:
        far: arb = value / integer_power(t, self.order)
        return self.polynomial(t) + self.remainder if t.abs_upper() < self.near else far

    def complex(self, t: acb, value: acb) -> acb:
        far: acb = value / integer_power(t, self.order)
        return self.polynomial(t) + acb(self.remainder, self.remainder) if t.abs_upper() < self.near else far


def taylor_coefficients(program: Evaluable, count: int) -> list[arb]:
    """The first Taylor coefficients at 0 of a program with one output.

    Raises:
        NotCertifiable: some of them have no finite value.
    """
    with precision(ctx.prec, count + _SPARE_TERMS):
        try:
            (value,) = program.bind(SERIES)(arb_series([0, 1]))
        except (ValueError, ArithmeticError) as error:  # a quotient, logarithm or root that is not a power series
            raise NotCertifiable(f"no Taylor series at the singular point ({error})") from error
        series = value + arb_series([0])
        coefficients = [series[k] for k in range(count)]
        if series.prec < count or not all(coefficient.is_finite() for coefficient in coefficients):
            raise NotCertifiable("no Taylor series at the singular point")
    return coefficients


def _analytic_disc(numerator: Evaluable, order: int) -> tuple[arb, arb]:
    """A radius rho and a bound of |N| rho^-m on the disc |t| <= rho on which N is proved to be analytic.

    A disc that nearly reaches a singular point has a huge bound: the largest with a bound like those of smaller ones.
    """
    run = numerator.bind(COMPLEX)
    discs = []
    for exponent in range(_DISCS):
        radius = arb(1) / 2**exponent
        # The square around the disc: a finite value on it proves that N is analytic there.
        box = acb(arb(0, radius), arb(0, radius))
        (value,) = run(box)
        if value.is_finite():
            discs.append((radius, (value.abs_upper() / radius**order).upper()))
    if not discs:
        raise NotCertifiable("no disc around the singular point on which the numerator is seen to be analytic")
    least = min((size for _, size in discs), key=float)
    return next(disc for disc in discs if disc[1] <= _ALIKE * least)


def _one_minus_square_of_tanh(tanh: Any, _u: Any) -> Any:
    """sech(u)^2, which needs no further exponential where tanh(u) is known."""
    return 1 - tanh * tanh


def _square_of_sech(tanh: arb, u: arb) -> arb:
    """sech(u)^2 at a point, without the cancellation of 1 - tanh(u)^2 where that is small."""
    if not abs(u) > _SATURATED:
        return 1 - tanh * tanh
    sech: arb = u.sech()
    return sech * sech


REAL = Arithmetic(
    lift=lambda ball: ball,
    power=_real_power,
    functions={name: record.on_points() for name, record in FUNCTIONS.items()} | {"sech_squared": _square_of_sech},
    deflate=lambda numerator, order: _Deflated(numerator, order).real,
)
"""Narrow real balls."""


INTERVAL = Arithmetic(
    lift=lambda ball: ball,
    power=_interval_power,
    functions={name: record.on_intervals() for name, record in FUNCTIONS.items()}
    | {"sech_squared": lambda _tanh, x: even(lambda u: u.sech() ** 2)(x)},
    deflate=lambda numerator, order: _Deflated(numerator, order).real,
)
"""Wide real balls."""


COMPLEX = Arithmetic(
    lift=acb,
    power=_complex_power,
    functions={name: record.on_rectangles() for name, record in FUNCTIONS.items()}
    | {"sech_squared": lambda _tanh, z: z.sech() ** 2},
    deflate=lambda numerator, order: _Deflated(numerator, order).complex,
)
"""Complex rectangles, with a non-finite result unless the function is analytic on all of the rectangle."""


SERIES = Arithmetic(
    lift=lambda ball: ball,
    power=_real_power,
    functions={name: record.series for name, record in FUNCTIONS.items() if record.series}
    | {"sech_squared": _one_minus_square_of_tanh},
    deflate=_series_deflate,
)
"""Power series with real balls as coefficients."""


def growth_arithmetic(start: arb) -> Arithmetic:
    """Return the arithmetic of growth envelopes on [start, oo)."""
    return Arithmetic(
        lift=lambda ball: constant(ball, start),
        power=lambda exponent: lambda f: power(f, exponent),
        functions={name: record.growth for name, record in FUNCTIONS.items() if record.growth}
        | {"sech_squared": growth.sech_squared, "frac": growth.frac},
        deflate=lambda _numerator, order: lambda t, value: value * power(t, fmpq(-order)),
    )
