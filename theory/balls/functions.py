"""What rigorous computation knows of each function, as one record: all arithmetics, monotonicity, zeros, singularities.

A new function of SymPy needs one row of `FUNCTIONS`; one that SymPy lacks also needs a class in
`theory.numerics.special`. What is left out of a row is refused where it is needed, never guessed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import sympy
from flint import acb, arb, fmpq

from theory.balls import growth
from theory.balls.core import hull
from theory.balls.envelope import Growth
from theory.numerics import special

Rule = Callable[..., Any]
Shape = Literal["monotone", "even"]
NOT_FINITE = acb(arb.nan(), arb.nan())


@dataclass(frozen=True, slots=True)
class FunctionRecord:
    """One function of one variable in every rigorous arithmetic.

    Args:
        name: the name of its SymPy class, and of flint's method if there is one.
        shape: "monotone" on its domain, or "even" and monotone in |u|; empty for neither.
        zeros: all its real zeros; None where there are infinitely many or they are not listed.
        singular: the real points at which it may not be analytic or stops being real.
        written: its names in formulas, beside those of the catalog of activations.
        real: on narrow real balls; flint's method by default.
        complex: on complex rectangles, not finite where it may not be analytic; flint's method by default.
        series: on power series; None where there is no rule.
        growth: on growth envelopes; None where there is no rule.
    """

    name: str
    shape: Shape | None = None
    zeros: tuple[int, ...] | None = None
    singular: tuple[int, ...] = ()
    written: tuple[str, ...] = ()
    real: Rule | None = None
    complex: Rule | None = None
    series: Rule | None = None
    growth: Callable[..., Growth] | None = None

    def on_points(self) -> Rule:
        """Return the function on narrow real balls."""
        return self.real or method(self.name)

    def on_intervals(self) -> Rule:
        """Return the function on wide real balls: a monotone one by its values at the two ends."""
        if self.shape is None:
            return self.on_points()
        return monotone(self.on_points()) if self.shape == "monotone" else even(self.on_points())

    def on_rectangles(self) -> Rule:
        """Return the function on complex rectangles."""
        return self.complex or method(self.name)


def method(name: str) -> Rule:
    """Return the function that calls a method of flint's numbers."""
    return lambda x: getattr(x, name)()


def monotone(function: Callable[[arb], arb]) -> Callable[[arb], arb]:
    """Return the tight enclosure of a monotone function on an interval."""
    return lambda x: hull(function(x.lower()), function(x.upper())) if x.is_finite() else arb.nan()


def even(function: Callable[[arb], arb]) -> Callable[[arb], arb]:
    """Return the tight enclosure, on an interval, of a function of |x| that is monotone in |x|."""
    return lambda x: hull(function(x.abs_lower()), function(x.abs_upper())) if x.is_finite() else arb.nan()


def _meets_cut(z: acb) -> bool:
    """Whether a rectangle may touch the branch cut (-oo, 0] of the logarithm."""
    return not (z.real > 0 or z.imag > 0 or z.imag < 0)


def _off_cut(name: str, inner: Callable[[acb], acb]) -> Callable[[acb], acb]:
    """flint's function where inner(z) stays away from (-oo, 0], else not finite."""
    return lambda z: NOT_FINITE if _meets_cut(inner(z)) else getattr(z, name)()


def _complex_asinh(z: acb) -> acb:
    """By the mean value form f(m) + f'(Z)(Z - m), since flint's own value is not finite on most rectangles."""
    square = 1 + z * z
    if _meets_cut(square):
        return NOT_FINITE
    middle = z.mid()
    return middle.asinh() + (z - middle) / square.sqrt(analytic=True)


def _sigmoid(x: arb) -> arb:
    """1/(1 + exp(-x)) in the form that cannot overflow."""
    if x < 0:
        small = x.exp()
        return small / (1 + small)
    return 1 / (1 + (-x).exp())


def _complex_sigmoid(z: acb) -> acb:
    if z.real < 0:
        small = z.exp()
        return small / (1 + small)
    return 1 / (1 + (-z).exp())


def _softplus(x: arb) -> arb:
    if x > 0:
        return x + (-x).exp().log1p()
    return x.exp().log1p()


def _complex_softplus(z: acb) -> acb:
    """Analytic wherever |exp(-|Re z|)| < 1, and between the branch points +-i pi."""
    if z.real > 0:
        return z + (-z).exp().log1p()
    small = z.exp()
    return NOT_FINITE if _meets_cut(1 + small) else small.log1p()


def _series_tanh(g: Any) -> Any:
    square = (2 * g).exp()
    return (square - 1) / (square + 1)


def normal_cdf(x: Any) -> Any:
    """Return Phi(x) = erfc(-x/sqrt 2)/2 of a real or complex ball."""
    return (-x * arb(fmpq(1, 2)).sqrt()).erfc() / 2


def normal_pdf(x: Any) -> Any:
    """Return exp(-x^2/2)/sqrt(2 pi) of a real or complex ball."""
    return (-(x * x) / 2).exp() * (2 * arb.pi()).rsqrt()


def _one_minus_square(z: acb) -> acb:
    return 1 - z * z


def _series_normal_pdf(g: Any) -> Any:
    return (g * g * arb(fmpq(-1, 2))).exp() * (2 * arb.pi()).rsqrt()


def _series_normal_cdf(g: Any) -> Any:
    return (g * -arb(fmpq(1, 2)).sqrt()).erfc() * arb(fmpq(1, 2))


_ROWS = (
    FunctionRecord("exp", "monotone", zeros=(), written=("exp",), series=method("exp"), growth=growth.exp),
    FunctionRecord(
        "expm1",
        "monotone",
        zeros=(0,),
        written=("expm1",),
        series=lambda g: g.exp() - 1,
        growth=growth.expm1,
    ),
    FunctionRecord(
        "log",
        "monotone",
        zeros=(1,),
        singular=(0,),
        written=("log", "ln"),
        complex=lambda z: z.log(analytic=True),
        series=method("log"),
        growth=growth.log,
    ),
    FunctionRecord(
        "log1p",
        "monotone",
        zeros=(0,),
        singular=(-1,),
        written=("log1p",),
        complex=_off_cut("log1p", lambda z: 1 + z),
        series=lambda g: (1 + g).log(),
        growth=growth.log1p,
    ),
    FunctionRecord("sin", series=method("sin"), growth=growth.sin),
    FunctionRecord("cos", series=method("cos"), growth=growth.cos),
    FunctionRecord("tan", written=("tan",), series=method("tan"), growth=growth.tan),
    FunctionRecord("cot", growth=growth.cot),
    FunctionRecord("sec"),
    FunctionRecord("csc", growth=growth.csc),
    FunctionRecord(
        "asin",
        "monotone",
        zeros=(0,),
        singular=(-1, 1),
        written=("asin", "arcsin"),
        complex=_off_cut("asin", _one_minus_square),
        series=method("asin"),
        growth=growth.asin,
    ),
    FunctionRecord(
        "acos",
        "monotone",
        zeros=(1,),
        singular=(-1, 1),
        written=("acos", "arccos"),
        complex=_off_cut("acos", _one_minus_square),
        series=method("acos"),
        growth=growth.acos,
    ),
    FunctionRecord(
        "atan",
        "monotone",
        zeros=(0,),
        complex=_off_cut("atan", lambda z: 1 + z * z),
        series=method("atan"),
        growth=growth.odd_bounded(lambda u: u.atan(), lambda: arb.pi() / 2),
    ),
    FunctionRecord(
        "sinh",
        "monotone",
        zeros=(0,),
        written=("sinh",),
        series=lambda g: (g.exp() - (-g).exp()) * arb(fmpq(1, 2)),
        growth=growth.sinh,
    ),
    FunctionRecord(
        "cosh",
        "even",
        zeros=(),
        written=("cosh",),
        series=lambda g: (g.exp() + (-g).exp()) * arb(fmpq(1, 2)),
        growth=growth.cosh,
    ),
    FunctionRecord(
        "tanh",
        "monotone",
        zeros=(0,),
        series=_series_tanh,
        growth=growth.odd_bounded(lambda u: u.tanh(), lambda: arb(1)),
    ),
    FunctionRecord("coth", singular=(0,)),
    FunctionRecord("sech", "even", zeros=(), growth=growth.sech),
    FunctionRecord("csch", singular=(0,)),
    FunctionRecord(
        "asinh",
        "monotone",
        zeros=(0,),
        complex=_complex_asinh,
        series=lambda g: (g + (1 + g * g).sqrt()).log(),
        growth=growth.asinh,
    ),
    FunctionRecord(
        "acosh",
        "monotone",
        zeros=(1,),
        singular=(1,),
        written=("acosh", "arccosh"),
        complex=_off_cut("acosh", lambda z: z - 1),
        growth=growth.acosh,
    ),
    FunctionRecord(
        "atanh",
        "monotone",
        zeros=(0,),
        singular=(-1, 1),
        written=("atanh", "arctanh"),
        complex=_off_cut("atanh", _one_minus_square),
    ),
    FunctionRecord(
        "erf",
        "monotone",
        zeros=(0,),
        series=method("erf"),
        growth=growth.odd_bounded(lambda u: u.erf(), lambda: arb(1)),
    ),
    FunctionRecord("erfc", "monotone", zeros=(), written=("erfc",), series=method("erfc"), growth=growth.erfc),
    FunctionRecord("erfi", "monotone", zeros=(0,), series=method("erfi")),
    FunctionRecord(
        "sigmoid",
        "monotone",
        zeros=(),
        real=_sigmoid,
        complex=_complex_sigmoid,
        series=lambda g: 1 / (1 + (-g).exp()),
        growth=growth.sigmoid,
    ),
    FunctionRecord(
        "softplus",
        "monotone",
        zeros=(),
        real=_softplus,
        complex=_complex_softplus,
        series=lambda g: (1 + g.exp()).log(),
        growth=growth.softplus,
    ),
    FunctionRecord(
        "normal_cdf",
        "monotone",
        zeros=(),
        written=("Phi", "normal_cdf", "ndtr"),
        real=normal_cdf,
        complex=normal_cdf,
        series=_series_normal_cdf,
        growth=growth.normal_cdf,
    ),
    FunctionRecord(
        "normal_pdf",
        "even",
        zeros=(),
        written=("normal_pdf",),
        real=normal_pdf,
        complex=normal_pdf,
        series=_series_normal_pdf,
        growth=growth.normal_pdf,
    ),
)


FUNCTIONS: Mapping[str, FunctionRecord] = MappingProxyType({row.name: row for row in _ROWS})
"""Every function that rigorous computation knows, by the name of its SymPy class."""


def symbol(record: FunctionRecord) -> type[sympy.Function]:
    """Return the SymPy class of a function: that of `theory.numerics.special` if it has one of the name.

    >>> symbol(FUNCTIONS["tanh"])
    tanh
    """
    symbol_class: type[sympy.Function] = getattr(special, record.name, None) or getattr(sympy, record.name)
    return symbol_class
