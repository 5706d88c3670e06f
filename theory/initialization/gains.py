"""The gains of an activation: factors of the weights that keep the length of a signal, its variance or gradients."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from flint import arb

from theory.activations.activation import Activation, steps
from theory.activations.callable import CallableActivation
from theory.balls.core import precision
from theory.balls.decimal import DecimalNumber
from theory.errors import UsageError
from theory.gaussian.expectations import Functional
from theory.gaussian.moments import Moments
from theory.normalization.evidence import gather_evidence, working_bits
from theory.normalization.invariants import Facts, check_invariants, last_place, must_be_one, refuse

_FLOAT_DIGITS = 18  # enough to round to float64, however few are shown


@dataclass(frozen=True, slots=True)
class Definition:
    """What a gain is defined by.

    Args:
        formula: in words of a formula, as "1/sqrt(E phi^2)".
        meaning: what weights with this gain keep, and at which length.
        square: the moment that is 1/g^2; None where it is not known.
    """

    formula: str
    meaning: str
    square: Callable[[Moments], arb | None]


DEFINITIONS: Mapping[str, Definition] = MappingProxyType(
    {
        "length": Definition(
            "1/sqrt(E phi^2)",
            "pre-activations of variance 1 have variance 1 in the next layer (1/rms)",
            lambda moments: moments.balls.get("second"),
        ),
        "variance": Definition(
            "1/sqrt(Var phi)",
            "the same for weights whose rows sum to 0, which take the mean away (1/std)",
            lambda moments: moments.variance,
        ),
        "gradient": Definition(
            "1/sqrt(E phi'^2)",
            "gradients keep their norm where pre-activations have variance 1",
            lambda moments: moments.balls.get("slope_second"),
        ),
    }
)
"""The gains by name; z ~ N(0, 1) throughout."""


@dataclass(frozen=True, slots=True)
class Gains:
    """The gains of one activation.

    Args:
        values: name of the definition -> g in float64 with more `digits`; None where the moment is infinite, zero or
            not known.
        certified: whether the digits are proved.
        reason: why gains are missing, or why digits are not proved; empty if neither.
    """

    values: Mapping[str, DecimalNumber | None]
    certified: bool
    reason: str


def gains(activation: Activation | CallableActivation, digits: int = 15) -> Gains:
    r"""The gains that keep the length of a signal, its variance, and gradients.

    .. math:: g = (E \phi^2)^{-1/2}, \qquad (Var\, \phi)^{-1/2}, \qquad (E \phi'^2)^{-1/2}, \qquad z \sim N(0, 1)

    for weights g W with W orthogonal or Gaussian of variance 1/n (He et al. 2015, "Delving deep into rectifiers", for
    the first one of ReLU; Brock et al. 2021, "Characterizing signal propagation", for the second). One gain keeps both
    norms only where the first and the third agree, as for functions that are positively homogeneous.

    Args:
        activation: phi.
        digits: significant digits wanted, 1 to 100.

    Raises:
        UsageError: digits out of range.
        ContradictionError: moments that contradict a theorem or the quadrature in float64: a defect.

    >>> import sympy
    >>> from theory.numerics.arithmetic import X
    >>> found = gains(Activation("relu", sympy.Max(X, 0)), 12)
    >>> [gain.digits for gain in found.values.values()], found.certified
    (['1.41421356237', '1.71285855045', '1.41421356237'], True)
    """
    if not 1 <= digits <= 100 or digits != int(digits):
        raise UsageError(f"digits must be a whole number from 1 to 100, not {digits}")
    evidence = gather_evidence(activation, max(digits, _FLOAT_DIGITS))
    moments, obstacle = evidence.moments, evidence.obstacle
    reason = (obstacle.reason if obstacle else None) or evidence.uncertified or ""
    if not reason and moments is not None and not (moments.balls["second"] > 0 and moments.balls["slope_second"] > 0):
        reason = "a moment is 0, or not told from 0"
    if moments is None:
        return Gains(MappingProxyType(dict.fromkeys(DEFINITIONS)), certified=False, reason=reason)
    with precision(working_bits(max(digits, _FLOAT_DIGITS))):
        squares = {name: definition.square(moments) for name, definition in DEFINITIONS.items()}
        values = {name: None if ball is None else _gain(ball, digits) for name, ball in squares.items()}
    _check(activation, moments, values["length"])
    return Gains(MappingProxyType(values), moments.certified, reason)


def _check(activation: Activation | CallableActivation, moments: Moments, length: DecimalNumber | None) -> None:
    """Refuse gains that break an invariant of `theory.normalization.invariants`."""
    slope = moments.balls.get("slope_second", arb.nan())
    known = float(slope) if slope.is_finite() else None
    error = max(float(ball.rad()) for ball in (moments.variance, slope) if ball.is_finite())
    jumps = tuple(map(str, steps(activation, "value")))
    check_invariants(
        Facts(moments.certified, float(moments.variance), known, error, (), jumps, normalizable=""), activation
    )
    if length is not None and 1e-150 < length < 1e150:  # else float64 overflows
        square: Functional = lambda _z, value, _slope: (length * value) ** 2  # noqa: E731
        rounding = 2 * last_place(length) / length
        refuse(must_be_one(activation, {"E (g phi)^2": square}, f"the gain g = {length.digits}", rounding), activation)


def _gain(square: arb, digits: int) -> DecimalNumber | None:
    """1/sqrt of a moment, None where it is not seen to be positive."""
    return DecimalNumber.of(square.rsqrt(), digits) if square > 0 else None
