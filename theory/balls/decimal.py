"""Write a ball as a decimal number of which every digit is certain, and the float that carries such digits."""

from fractions import Fraction
from typing import Any

from flint import arb, fmpq, fmpz

_MOST_EXPONENT = 100_000  # binary
_FLOAT = 2.0**-54  # relative, of a ball that is known as well as float64 can say


class DecimalNumber(float):
    """A float64 number that knows more of its digits.

    Args:
        digits: the number as decimal text; `mpmath.mpf(number.digits)` has them all.
        value: the float64 number, where it is known better than by the text.

    >>> root = DecimalNumber("1.41421356237309504880")
    >>> root * root, root.digits
    (2.0000000000000004, '1.41421356237309504880')
    """

    __slots__ = ("digits",)
    digits: str

    def __new__(cls, digits: str, value: float | None = None) -> "DecimalNumber":
        number = super().__new__(cls, digits if value is None else value)
        number.digits = digits
        return number

    @classmethod
    def of(cls, ball: arb, digits: int) -> "DecimalNumber | None":
        """The middle of a ball with its leading digits, as far as known; 0 where zero is possible, None for no number.

        >>> [DecimalNumber.of(ball, 8).digits for ball in (arb(2).sqrt(), arb(1, 1e-5), arb(0, 1e-5))]
        ['1.4142136', '1.000', '0']
        """
        if not ball.is_finite():
            return None
        if ball.contains(0):
            return cls("0")
        text = digits_of(ball, digits)
        if text in ("?", "0"):  # no digit is certain of a ball such as 1.50 +- 0.02: then two digits of its middle
            text = digits_of(ball.mid(), 2)
        is_float = ball.rad() < _FLOAT * abs(ball)  # else more digits of the middle would say what is not known
        return None if text == "?" else cls(text, float(ball.mid()) if is_float else None)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.digits, float(self))


def digits_of(ball: arb, digits: int) -> str:
    """The ball as a decimal number with at most `digits` significant digits, all of them certain.

    Certain means: every number in the ball, rounded to as many digits (half to even), gives this very string. A ball
    without a certain significant digit, such as one around 0, is rounded to as many decimals as are certain, as in
    "0.000". Without any certain digit, or if the ball is not finite or beyond 10^+-30000, the string is "?".

    Args:
        ball: the enclosure.
        digits: the most digits to show, at least 1.

    >>> from theory.balls.core import precision
    >>> with precision(100):
    ...     digits_of(arb(2).sqrt(), 20), digits_of(arb(2).sqrt() + arb(0, 1e-6), 20), digits_of(arb(0, 1e-4), 20)
    ('1.4142135623730950488', '1.41421', '0.000')
    """
    if not ball.is_finite() or _is_giant(ball):
        return "?"
    low, high = _ends(ball)
    if low == high == 0:
        return "0"
    known = _exponent(low) - _exponent(high - low) + 2 if high > low else digits
    for count in range(min(digits, known), 0, -1) if low * high > 0 else ():
        text = _rounded(low, count)
        if text == _rounded(high, count):
            return text
    return _zeros(max(abs(low), abs(high)), digits)


def _is_giant(ball: arb) -> bool:
    """Whether the digits before or after the point would be too many to be written out."""
    parts = (part.man_exp() for part in (ball.mid(), ball.rad()) if not part.is_zero())
    return any(abs(int(exponent)) > _MOST_EXPONENT for _, exponent in parts)


def _ends(ball: arb) -> tuple[Fraction, Fraction]:
    """The exact ends of a ball, whatever the working precision."""
    middle, radius = _fraction(ball.mid()), _fraction(ball.rad())
    return middle - radius, middle + radius


def _fraction(point: arb) -> Fraction:
    value: fmpq = point.fmpq()
    return Fraction(int(value.p), int(value.q))


def _zeros(size: Fraction, digits: int) -> str:
    """Zero with as many decimals as all numbers in [-size, size] round to."""
    decimals = -_exponent(2 * size) - 1
    if decimals < 0:
        return "?"
    return "0." + "0" * min(decimals, digits) if decimals else "0"


def _exponent(value: Fraction) -> int:
    """The integer e with 10^e <= |value| < 10^(e+1)."""
    size = abs(value)
    guess = (size.numerator.bit_length() - size.denominator.bit_length()) * 30103 // 100000
    while size < Fraction(10) ** guess:
        guess -= 1
    while size >= Fraction(10) ** (guess + 1):
        guess += 1
    return guess


def _rounded(value: Fraction, digits: int) -> str:
    """A nonzero number rounded to significant digits, plain between 1e-5 and 1e21, else with an exponent."""
    exponent = _exponent(value)
    mantissa = round(abs(value) * Fraction(10) ** (digits - 1 - exponent))
    if mantissa == 10**digits:
        mantissa, exponent = mantissa // 10, exponent + 1
    sign, text = "-" if value < 0 else "", _decimal(mantissa)
    if exponent < -5 or exponent > 20 or digits <= exponent:
        fraction = f".{text[1:]}" if digits > 1 else ""
        return sign + text[0] + (f"{fraction}e{exponent}" if exponent else fraction)
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{text}"
    whole, rest = text[: exponent + 1], text[exponent + 1 :]
    return f"{sign}{whole}.{rest}" if rest else sign + whole


def _decimal(number: int) -> str:
    """The digits of an integer, also of more than the 4300 that Python's own conversion allows."""
    return str(fmpz(number))
