"""One stable implementation of every special function for each kind of ball.

`REAL` is for narrow real balls (points), `INTERVAL` for wide ones: there a monotone function is enclosed by its values
at the two ends, without the overestimation of ball arithmetic. `COMPLEX` encloses the analytic continuation on a
rectangle and gives a non-finite ball wherever the rectangle touches a branch cut or a pole, which is what
`flint.acb.integral` needs (Johansson 2018, "Numerical integration in arbitrary-precision ball arithmetic", section 2).
`SERIES` is for power series.
"""

from collections.abc import Callable, Mapping
from typing import Any

from flint import acb, arb, arb_poly, arb_series, ctx, fmpq

from theory.balls.core import Arithmetic, Evaluable, NotCertifiable, hull, precision

_SPARE_TERMS = 40  # divisions by powers of t inside a program lose that many terms at most
_NAN = acb(arb.nan(), arb.nan())


_ENTIRE_OR_MEROMORPHIC = (
    *("exp", "expm1", "sin", "cos", "tan", "cot", "sec", "csc"),
    *("sinh", "cosh", "tanh", "coth", "sech", "csch", "erf", "erfc", "erfi"),
)


_BRANCHED = ("log", "log1p", "atan", "asinh", "asin", "acos", "atanh", "acosh")


def _method(name: str) -> Callable[[Any], Any]:
    return lambda x: getattr(x, name)()


def _sigmoid(x: arb) -> arb:
    """1/(1 + exp(-x)) in the form that cannot overflow."""
    if x < 0:
        small = x.exp()
        return small / (1 + small)
    return 1 / (1 + (-x).exp())


def _softplus(x: arb) -> arb:
    if x > 0:
        return x + (-x).exp().log1p()
    return x.exp().log1p()


def normal_cdf(x: Any) -> Any:
    """Phi(x) = erfc(-x/sqrt 2)/2 of a real or complex ball."""
    return (-x * arb(fmpq(1, 2)).sqrt()).erfc() / 2


def normal_pdf(x: Any) -> Any:
    """exp(-x^2/2)/sqrt(2 pi) of a real or complex ball."""
    return (-(x * x) / 2).exp() * (2 * arb.pi()).rsqrt()


def _sech_squared(tanh: arb, _x: arb) -> arb:
    return 1 - tanh * tanh


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


def _increasing(function: Callable[[arb], arb]) -> Callable[[arb], arb]:
    return lambda x: hull(function(x.lower()), function(x.upper())) if x.is_finite() else arb.nan()


def _even(function: Callable[[arb], arb]) -> Callable[[arb], arb]:
    """For a function of |x| that is monotone in |x|."""
    return lambda x: hull(function(x.abs_lower()), function(x.abs_upper())) if x.is_finite() else arb.nan()


def _interval_power(exponent: fmpq) -> Callable[[arb], arb]:
    p, q = int(exponent.p), int(exponent.q)
    if q != 1:
        return _increasing(_real_power(exponent))  # or decreasing: the values at the ends are the extremes either way
    if p < 0:
        monotone = _increasing(_signed_power(p))
        return lambda x: arb.nan() if x.contains(0) else monotone(x)
    return _even(_signed_power(p)) if p % 2 == 0 else _increasing(_signed_power(p))


def _interval_sech_squared(_tanh: arb, x: arb) -> arb:
    return _even(lambda u: u.sech() ** 2)(x)


def _meets_cut(z: acb) -> bool:
    """Whether a rectangle may touch the branch cut (-oo, 0] of the logarithm."""
    return not (z.real > 0 or z.imag > 0 or z.imag < 0)


def _off_cut(function: Callable[[acb], acb], inner: Callable[[acb], acb]) -> Callable[[acb], acb]:
    """The function where inner(z) keeps off (-oo, 0], else not finite."""
    return lambda z: _NAN if _meets_cut(inner(z)) else function(z)


def _complex_sigmoid(z: acb) -> acb:
    if z.real < 0:
        small = z.exp()
        return small / (1 + small)
    return 1 / (1 + (-z).exp())


def _complex_softplus(z: acb) -> acb:
    """Analytic wherever |exp(-|Re z|)| < 1, and between the branch points +-i pi."""
    if z.real > 0:
        return z + (-z).exp().log1p()
    small = z.exp()
    return _NAN if _meets_cut(1 + small) else small.log1p()


def _complex_asinh(z: acb) -> acb:
    """By the mean value form f(m) + f'(Z)(Z - m), since flint's own value is not finite on most rectangles."""
    square = 1 + z * z
    if _meets_cut(square):
        return _NAN
    middle = z.mid()
    return middle.asinh() + (z - middle) / square.sqrt(analytic=True)


def _complex_power(exponent: fmpq) -> Callable[[acb], acb]:
    p, q = int(exponent.p), int(exponent.q)
    integer = _signed_power(p)
    if q == 1:
        return integer
    if q == 2:
        return lambda z: integer(z.sqrt(analytic=True))
    return lambda z: z.pow(exponent, analytic=True)


def _complex_functions() -> dict[str, Callable[..., acb]]:
    table: dict[str, Callable[..., acb]] = {name: _method(name) for name in _ENTIRE_OR_MEROMORPHIC}
    one_plus_square: Callable[[acb], acb] = lambda z: 1 + z * z  # noqa: E731
    one_minus_square: Callable[[acb], acb] = lambda z: 1 - z * z  # noqa: E731
    table |= {
        "log": lambda z: z.log(analytic=True),
        "log1p": _off_cut(_method("log1p"), lambda z: 1 + z),
        "atan": _off_cut(_method("atan"), one_plus_square),
        "asinh": _complex_asinh,
        "asin": _off_cut(_method("asin"), one_minus_square),
        "acos": _off_cut(_method("acos"), one_minus_square),
        "atanh": _off_cut(_method("atanh"), one_minus_square),
        "acosh": _off_cut(_method("acosh"), lambda z: z - 1),
        "sigmoid": _complex_sigmoid,
        "softplus": _complex_softplus,
        "normal_cdf": normal_cdf,
        "normal_pdf": normal_pdf,
        "sech_squared": lambda _tanh, z: z.sech() ** 2,
    }
    return table


def _series_functions() -> dict[str, Callable[..., Any]]:
    def ratio(g: Any) -> Any:
        """tanh(g)."""
        square = (2 * g).exp()
        return (square - 1) / (square + 1)

    def pdf(g: Any) -> Any:
        return (g * g * arb(fmpq(-1, 2))).exp() * (2 * arb.pi()).rsqrt()

    def cdf(g: Any) -> Any:
        return (g * -arb(fmpq(1, 2)).sqrt()).erfc() * arb(fmpq(1, 2))

    table: dict[str, Callable[..., Any]] = {
        name: _method(name)
        for name in ("exp", "log", "sin", "cos", "tan", "atan", "erf", "erfc", "erfi", "asin", "acos")
    }
    return table | {
        "expm1": lambda g: g.exp() - 1,
        "log1p": lambda g: (1 + g).log(),
        "sinh": lambda g: (g.exp() - (-g).exp()) * arb(fmpq(1, 2)),
        "cosh": lambda g: (g.exp() + (-g).exp()) * arb(fmpq(1, 2)),
        "tanh": ratio,
        "sigmoid": lambda g: 1 / (1 + (-g).exp()),
        "softplus": lambda g: (1 + g.exp()).log(),
        "asinh": lambda g: (g + (1 + g * g).sqrt()).log(),
        "normal_cdf": cdf,
        "normal_pdf": pdf,
        "sech_squared": lambda tanh, _g: 1 - tanh * tanh,
    }


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
        radius, bound = _analytic_disc(numerator)
        self.near = radius / 4
        count = ctx.prec // 2 + 4
        known = taylor_coefficients(numerator, order + count)
        self.polynomial = arb_poly(known[order:])
        remainder = bound / radius**order * arb(4) ** (-count) * arb(fmpq(4, 3))
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
        except (ValueError, ArithmeticError) as error:  # a quotient, logarithm or root that is no power series
            raise NotCertifiable(f"no Taylor series at the singular point ({error})") from error
        series = value + arb_series([0])
        coefficients = [series[k] for k in range(count)]
        if series.prec < count or not all(coefficient.is_finite() for coefficient in coefficients):
            raise NotCertifiable("no Taylor series at the singular point")
    return coefficients


def _analytic_disc(numerator: Evaluable) -> tuple[arb, arb]:
    """A radius rho and a bound of |N| on the disc |t| <= rho on which N is proved to be analytic."""
    run = numerator.bind(COMPLEX)
    for exponent in range(8):
        radius = arb(1) / 2**exponent
        box = acb(arb(0, radius), arb(0, radius))
        (value,) = run(box)
        if value.is_finite():
            return radius, value.abs_upper()
    raise NotCertifiable("no disc around the singular point on which the numerator is seen to be analytic")


_REAL_FUNCTIONS: Mapping[str, Callable[..., arb]] = {
    name: _method(name) for name in (*_ENTIRE_OR_MEROMORPHIC, *_BRANCHED)
} | {
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "normal_cdf": normal_cdf,
    "normal_pdf": normal_pdf,
    "sech_squared": _sech_squared,
}


_INCREASING = (
    *("exp", "expm1", "sinh", "tanh", "atan", "asinh", "erf", "erfi", "log", "log1p"),
    *("acosh", "atanh", "asin", "sigmoid", "softplus", "normal_cdf"),
)


_INTERVAL_FUNCTIONS: Mapping[str, Callable[..., arb]] = (
    dict(_REAL_FUNCTIONS)
    | {name: _increasing(_REAL_FUNCTIONS[name]) for name in (*_INCREASING, "erfc", "acos")}
    | {name: _even(_REAL_FUNCTIONS[name]) for name in ("cosh", "sech", "normal_pdf")}
    | {"sech_squared": _interval_sech_squared}
)


REAL = Arithmetic(
    lift=lambda ball: ball,
    power=_real_power,
    functions=_REAL_FUNCTIONS,
    deflate=lambda numerator, order: _Deflated(numerator, order).real,
)
"""Narrow real balls."""


INTERVAL = Arithmetic(
    lift=lambda ball: ball,
    power=_interval_power,
    functions=_INTERVAL_FUNCTIONS,
    deflate=lambda numerator, order: _Deflated(numerator, order).real,
)
"""Wide real balls."""


COMPLEX = Arithmetic(
    lift=acb,
    power=_complex_power,
    functions=_complex_functions(),
    deflate=lambda numerator, order: _Deflated(numerator, order).complex,
)
"""Complex rectangles, with a non-finite result unless the function is analytic on all of the rectangle."""


SERIES = Arithmetic(
    lift=lambda ball: ball,
    power=_real_power,
    functions=_series_functions(),
    deflate=_series_deflate,
)
"""Power series with real balls as coefficients."""
