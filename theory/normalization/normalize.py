"""The scale a and shift b that make an activation Gaussian-Poincaré normalized, and the activation a phi + b."""

import sys
from dataclasses import dataclass, field
from typing import Any, Literal

import sympy
from flint import arb

from theory.activations.activation import Activation, steps
from theory.activations.callable import CallableActivation
from theory.balls.core import precision
from theory.balls.decimal import DecimalNumber
from theory.errors import UsageError, unknown
from theory.gaussian.moments import Normalization, recommend
from theory.normalization.evidence import (
    decide,
    default_tolerance,
    gather_evidence,
    known_normalizations,
    known_number,
    working_bits,
)
from theory.normalization.invariants import Facts, check_invariants

Root = Literal["auto", "plus", "minus", "stable"]
POLICIES = ("auto", "plus", "minus", "stable")


def normalization(activation: Activation | CallableActivation, root: str = "auto") -> Normalization[DecimalNumber]:
    r"""The scale and shift that make an activation Gaussian-Poincaré normalized, in float64 with more `digits`.

    .. math:: a = (E\phi'^2)^{-1/2}, \qquad b_\pm = -a E\phi \pm \sqrt{1 - a^2 Var\phi}

    (Lu, Gould, Ajanthan 2020.) For an `Activation` a and b are correctly rounded: the digits are raised until
    the error no longer reaches the boundary between two floats.

    Args:
        activation: phi, not constant, without jumps, with finite moments.
        root: "auto" takes b_plus unless its fixed point q = 1 of the length map is unstable (|chi| > 1), then
            b_minus; "plus"; "minus"; "stable" takes the smaller |chi|.

    Raises:
        UsageError: an unknown policy, an activation that has no normalization, with the reason, or an a that float64
            cannot hold.

    >>> import sympy
    >>> from theory.numerics.arithmetic import X
    >>> tanh = normalization(Activation("tanh", sympy.tanh(X)))
    >>> f"{tanh.root} {tanh.a:.10f} {tanh.b:.10f} {tanh.chi:.6f} {tanh.stability}"
    'plus 1.4674135916 0.3885416701 0.391465 stable'
    """
    if root not in POLICIES:
        raise unknown("root", root, POLICIES)
    for digits in (20, 40, 80):
        evidence = gather_evidence(activation, digits)
        obstacle, moments = evidence.obstacle, evidence.moments
        with precision(working_bits(digits)):
            _, normalizable, reason = decide(obstacle, moments, default_tolerance(activation))
            if moments is None or normalizable != "yes":
                has_none = "has no normalization" if normalizable == "no" else "may have no normalization"
                raise UsageError(
                    f"{activation.name} {has_none}: {reason}; it takes a continuous phi, not "
                    "constant, with finite E phi^2 and E phi'^2"
                )
            roots = known_normalizations(moments)
            chosen = recommend(roots, root)
            if isinstance(activation, CallableActivation) or all(map(_rounds_uniquely, (chosen.a, chosen.b))):
                break
    assert moments is not None  # the loop has run
    with precision(working_bits(digits)):
        found = [root.converted(lambda ball: _nearest(ball, digits)) for root in roots]
        balls = moments.variance, moments.balls["slope_second"]
        spread, slope, error = *map(float, balls), float(max(ball.rad() for ball in balls))
    jumps = tuple(map(str, steps(activation, "value")))
    check_invariants(Facts(moments.certified, spread, slope, error, found, jumps), activation)
    result = found[roots.index(chosen)]
    if not sys.float_info.min <= abs(result.a) <= sys.float_info.max:
        raise UsageError(
            f"{activation.name} has a normalization, but float64 cannot hold its a = {chosen.a.str(6, radius=False)}"
        )
    return result


def _rounds_uniquely(ball: arb) -> bool:
    return ball.contains(0) or float(ball.lower()) == float(ball.upper())


def _nearest(ball: arb, digits: int) -> DecimalNumber:
    """The float64 number next to the middle of a ball, and the digits that are known."""
    known = known_number(ball, digits)
    return known if ball.contains(0) else DecimalNumber(known.digits, float(ball.mid()))


class _Normalized:
    """What a normalized activation knows of its normalization."""

    name: str
    constants: Normalization[DecimalNumber]

    @property
    def a(self) -> DecimalNumber:
        """The scale; `a.digits` has more digits."""
        return self.constants.a

    @property
    def b(self) -> DecimalNumber:
        """The shift; `b.digits` has more digits."""
        return self.constants.b

    @property
    def chi(self) -> DecimalNumber:
        """The slope of the length map at 1; `chi.digits` has more digits."""
        return self.constants.chi

    @property
    def root(self) -> str:
        """Which of the two normalizations it is, "plus" or "minus"."""
        return self.constants.root

    def __repr__(self) -> str:
        numbers = f"a = {self.a:.7g}, b = {self.b:.7g}, chi = {self.chi:.5g}"
        return f"<{self.name} = a phi + b: {numbers}, root {self.root}, {self.constants.stability}>"

    def _latex_of(self, base: str) -> str:
        a, b = number_latex(self.a), number_latex(abs(self.b))
        shift = "" if self.b == 0.0 else f" {'-' if self.b < 0 else '+'} {b}"
        return rf"{a}\,{base}{shift}"

    @property
    def latex(self) -> str:
        """The formula in LaTeX."""
        raise NotImplementedError

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle \varphi(x) = {self.latex}$"


def number_latex(number: float) -> str:
    r"""A float64 number in LaTeX, to seven significant digits as in a paper.

    >>> print(number_latex(-2.5e-17), number_latex(1.48111441270835))
    -2.5 \cdot 10^{-17} 1.481114
    """
    mantissa, _, exponent = f"{number:.7g}".partition("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa


@dataclass(frozen=True, repr=False)
class NormalizedActivation(_Normalized, Activation):
    """A normalized activation a phi + b of an `Activation` phi.

    Args:
        base: phi.
        constants: a, b, mean, chi and root; the `digits` of each number are all correct.
    """

    base: Activation = field(kw_only=True)
    constants: Normalization[DecimalNumber] = field(kw_only=True)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.name, self.expression, self.base, self.constants)

    @property
    def latex(self) -> str:
        """The formula in LaTeX, a and b as decimals of seven digits; `gpn.export(phi, "latex")` has all of them."""
        expression, latex = self.base.expression, self.base.latex
        stands_alone = not isinstance(expression, sympy.Add | sympy.Piecewise) and expression.as_coeff_Mul()[0] == 1
        return self._latex_of(latex if stands_alone else rf"\left({latex}\right)")


def _restored(
    name: str, expression: Any, base: Activation, constants: Normalization[DecimalNumber]
) -> NormalizedActivation:
    return NormalizedActivation(name, expression, base=base, constants=constants)


@dataclass(frozen=True, repr=False)
class NormalizedCallable(_Normalized, CallableActivation):
    """A normalized activation a phi + b of a Python function phi; arguments as for `NormalizedActivation`."""

    base: CallableActivation = field(kw_only=True)
    constants: Normalization[DecimalNumber] = field(kw_only=True)

    @property
    def latex(self) -> str:
        """The formula in LaTeX, a and b as decimals of seven digits, the function by its name."""
        name = self.base.name.replace("_", r"\_")
        return self._latex_of(r"\phi(x)" if name == "<lambda>" else rf"\operatorname{{{name}}}(x)")


def normalize(
    activation: Activation | CallableActivation, root: str = "auto"
) -> NormalizedActivation | NormalizedCallable:
    """The Gaussian-Poincaré normalized activation a phi + b, with the exact decimals of the floats a and b.

    It has the numbers `a`, `b`, `chi` and the name `root` of its normalization, and phi as `base`.

    Args:
        activation: phi, see `normalization`.
        root: "auto", "plus", "minus" or "stable".

    >>> import sympy
    >>> from theory.numerics.arithmetic import X
    >>> normalize(Activation("relu", sympy.Max(X, 0)))
    <GPN relu = a phi + b: a = 1.414214, b = 0, chi = 1, root plus, marginal>
    """
    constants = normalization(activation, root)
    name = f"GPN {activation.name}"
    if isinstance(activation, Activation):
        made = activation.affine(constants.a, constants.b)
        return NormalizedActivation(name, made.expression, base=activation, constants=constants)
    moved = activation.affine(constants.a, constants.b)
    return NormalizedCallable(
        name,
        moved.function,
        moved.derivative,
        moved.breakpoints,
        moved.known,
        moved.mismatch,
        base=activation,
        constants=constants,
    )
