"""Growth envelopes (`theory.balls.envelope`) of functions of a quantity, from that of the quantity.

Each rule bounds log|function(u)|, given forms that bound log|u| and u for large |x|.
"""

from collections.abc import Callable
from dataclasses import replace

from flint import arb, fmpq

from theory.balls.core import NotCertifiable
from theory.balls.envelope import (
    ZERO,
    Form,
    Growth,
    constant,
    form_above_exp,
    form_below_exp,
    from_modulus,
    from_values,
    log_of_modulus,
    log_sum,
    power,
)


def unknown(start: arb) -> Growth:
    """A function of which nothing is known."""
    return Growth(start, 0, None, None, None, None)


def frac(f: Growth) -> Growth:
    """0 <= u - floor(u) < 1."""
    return from_modulus(f.start, 1, ZERO, None)


def exp(f: Growth) -> Growth:
    return from_modulus(f.start, 1, f.above, f.below)


def log(f: Growth) -> Growth:
    if f.sign <= 0:
        raise NotCertifiable("the logarithm of something that is not seen to be positive for large |x|")
    return from_values(f.start, f.upper, f.lower)


def _decaying(form: Form | None, start: arb) -> Form | None:
    """The form if it is negative and falling from R on."""
    return form if form is not None and form.is_nonincreasing(start) and form.at(start) <= 0 else None


def _lower_by_monotonicity(f: Growth, function: Callable[[arb], arb]) -> Form | None:
    """log of |function| at the end of the range of f nearest to 0, for an odd increasing function."""
    if f.sign > 0 and f.below is not None:
        lowest = f.below.infimum(f.start)
        return Form.of(function(lowest).log()) if lowest is not None and lowest > 0 else None
    if f.sign < 0 and f.above is not None:
        highest = f.above.supremum(f.start)
        return Form.of(function(-highest).log()) if highest is not None and highest < 0 else None
    return None


def odd_bounded(function: Callable[[arb], arb], limit: Callable[[], arb]) -> Callable[[Growth], Growth]:
    """tanh, erf or atan: odd, increasing, |function(u)| <= min(limit, 1.2 |u|)."""

    def rule(f: Growth) -> Growth:
        small = _decaying(f.upper, f.start)
        # The slope at 0 is largest for erf: 2/sqrt(pi) < 1.2.
        upper = Form.of(limit().log()) if small is None else small.raised(arb(fmpq(6, 5)).log())
        return from_modulus(f.start, f.sign, upper, _lower_by_monotonicity(f, function))

    return rule


def sin(f: Growth) -> Growth:
    """|sin u| <= min(1, |u|); where |u| <= 1 it has the sign of u, and |sin u| >= (4/5) |u|."""
    small = _decaying(f.upper, f.start)
    if small is None:
        return from_modulus(f.start, 0, ZERO, None)
    lower = None if f.lower is None else f.lower.raised(arb(fmpq(4, 5)).log())
    return from_modulus(f.start, f.sign, small, lower)


def tan(f: Growth) -> Growth:
    """|u| <= |tan u| <= (8/5) |u| where |u| <= 1."""
    small = _decaying(f.upper, f.start)
    if small is None:
        return unknown(f.start)
    return from_modulus(f.start, f.sign, small.raised(arb(fmpq(8, 5)).log()), f.lower)


def cot(f: Growth) -> Growth:
    """1/tan(u)."""
    return power(tan(f), fmpq(-1))


def csc(f: Growth) -> Growth:
    """1/sin(u)."""
    return power(sin(f), fmpq(-1))


def cos(f: Growth) -> Growth:
    return from_modulus(f.start, 0, ZERO, None)


def asin(f: Growth) -> Growth:
    """|asin(u)| <= pi/2, with the sign of u; real only where |u| <= 1."""
    return _within_unit(f, arb.pi() / 2, f.sign)


def acos(f: Growth) -> Growth:
    """0 <= acos(u) <= pi, real only where |u| <= 1."""
    return _within_unit(f, arb.pi(), 1)


def _within_unit(f: Growth, limit: arb, sign: int) -> Growth:
    """An inverse sine or cosine, which is real only where |u| <= 1."""
    largest = None if f.upper is None else f.upper.supremum(f.start)
    if largest is None or not largest <= 0:
        raise NotCertifiable("an inverse sine or cosine of something that is not seen to stay within [-1, 1]")
    return from_modulus(f.start, sign, Form.of(limit.log()), None)


def sigmoid(f: Growth) -> Growth:
    """min(1, exp u) >= sigmoid(u) >= min(1, exp u)/2."""
    upper = _decaying(f.above, f.start) or ZERO
    return from_modulus(f.start, 1, upper, _half_exponential(f))


def _half_exponential(f: Growth) -> Form | None:
    """A lower bound of log(min(1, exp u)/2)."""
    # Both 1/(1 + exp(-u)) and log(1 + exp u) lie above exp(u)/2 for u <= 0 and above 1/2 for u >= 0.
    # Where u falls the exponential counts; else u is at least its infimum from R on.
    half = -arb(2).log()
    small = _decaying(f.below, f.start)
    if small is not None:
        return small.raised(half)
    lowest = None if f.below is None else f.below.infimum(f.start)
    return None if lowest is None else Form.of(lowest.min(arb(0)) + half)


def softplus(f: Growth) -> Growth:
    """max(u, min(1, exp u)/2) <= softplus(u) <= min(exp u, |u| + log 2)."""
    log2 = arb(2).log()
    upper = _decaying(f.above, f.start) or log_sum(f.upper, Form.of(log2.log()), f.start)
    lower = f.lower if f.sign > 0 and f.lower is not None else _half_exponential(f)
    # u <= softplus(u) <= u + log 2 for u > 0 is sharper than what the logarithms give.
    result = from_modulus(f.start, 1, upper, lower)
    if f.sign > 0 and f.above is not None:
        return replace(result, above=f.above.raised(log2), below=f.below or result.below)
    return result


def _square_below(f: Growth) -> Form:
    """A form below f^2."""
    return form_below_exp(None if f.lower is None else f.lower.scaled(arb(2)), f.start)


def erfc(f: Growth) -> Growth:
    """erfc(u) <= exp(-u^2) for u >= 0 and <= 2 everywhere; it decreases."""
    upper = _square_below(f).scaled(arb(-1)) if f.sign > 0 else Form.of(arb(2).log())
    highest = None if f.above is None else f.above.supremum(f.start)
    lower = None if highest is None else Form.of(highest.erfc().abs_lower().log())
    return from_modulus(f.start, 1, upper, lower)


def normal_cdf(f: Growth) -> Growth:
    return _half(erfc(f * constant(-arb(fmpq(1, 2)).sqrt(), f.start)))


def normal_pdf(f: Growth) -> Growth:
    peak = -(2 * arb.pi()).log() / 2
    square = form_above_exp(None if f.upper is None else f.upper.scaled(arb(2)), f.start)
    lower = None if square is None else square.scaled(arb(fmpq(-1, 2))).raised(peak)
    return from_modulus(f.start, 1, _square_below(f).scaled(arb(fmpq(-1, 2))).raised(peak), lower)


def sech_squared(_tanh: Growth, f: Growth) -> Growth:
    """exp(-2|u|) <= sech(u)^2 <= min(1, 4 exp(-2|u|))."""
    # sech is even: u may be taken positive.
    size = f if f.sign >= 0 else -f
    upper = lower = None
    if f.sign and size.below is not None:
        upper = _decaying(size.below.scaled(arb(-2)).raised(arb(4).log()), f.start)
    if f.sign and size.above is not None:
        lower = size.above.scaled(arb(-2))
    return from_modulus(f.start, 1, upper or ZERO, lower)


def expm1(f: Growth) -> Growth:
    if f.sign < 0:
        # |exp(u) - 1| <= min(|u|, 1) for u < 0.
        small = _decaying(f.upper, f.start) or ZERO
        return from_modulus(f.start, -1, small, _lower_by_monotonicity(f, lambda u: -(-u).expm1()))
    whole = exp(f) + -1
    return replace(whole, sign=1, lower=f.lower or whole.lower) if f.sign > 0 else whole


def log1p(f: Growth) -> Growth:
    result = log(f + 1)
    if f.sign > 0:
        small = _decaying(f.upper, f.start)
        return replace(result, sign=1, upper=small or result.upper, below=result.below or ZERO)
    return result


def asinh(f: Growth) -> Growth:
    """|asinh u| <= min(|u|, log(1 + 2|u|))."""
    small = _decaying(f.upper, f.start)
    lower = _lower_by_monotonicity(f, lambda u: u.asinh())
    if small is None and f.upper is not None:
        bound = log_sum(ZERO, f.upper.raised(arb(2).log()), f.start)
        small = None if bound is None else log_of_modulus(bound, f.start)
        result = from_modulus(f.start, f.sign, small, lower)
        return replace(result, above=bound) if f.sign >= 0 else result
    return from_modulus(f.start, f.sign, small, lower)


def acosh(f: Growth) -> Growth:
    """0 <= acosh(u) <= asinh(u), real only where u >= 1."""
    smallest = None if f.below is None else f.below.infimum(f.start)
    if smallest is None or not smallest >= 1:
        raise NotCertifiable("an inverse hyperbolic cosine of something that is not seen to stay above 1")
    return from_modulus(f.start, 1, asinh(f).upper, None)


def sinh(f: Growth) -> Growth:
    """(exp(u) - exp(-u))/2."""
    return _half(exp(f) - exp(-f))


def cosh(f: Growth) -> Growth:
    """(exp(u) + exp(-u))/2."""
    return _half(exp(f) + exp(-f))


def sech(f: Growth) -> Growth:
    """1/cosh(u)."""
    return power(cosh(f), fmpq(-1))


def _half(f: Growth) -> Growth:
    return f * constant(arb(fmpq(1, 2)), f.start)
