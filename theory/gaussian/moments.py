"""The record of Gaussian moments of an activation, and the normalizations a phi + b that follow from it.

Both are done in ball arithmetic: a ball carries its error through the square roots and the cancellations, whether the
moments came from float64, from mpmath or from a certified enclosure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, Literal, TypeVar

from flint import arb

from theory.balls.core import NotCertified, precision
from theory.balls.decimal import DecimalNumber
from theory.gaussian.certified_integrals import Moment
from theory.gaussian.expectations import Functional

Number = TypeVar("Number", arb, float, DecimalNumber)
Other = TypeVar("Other", arb, float, DecimalNumber)
Stability = Literal["stable", "marginal", "unstable"]
CHI_TOLERANCE = 1e-12
"""How close |chi| must be to 1 to count as marginal."""

MOMENTS: Mapping[str, Moment] = MappingProxyType(
    {
        "mean": Moment(1, 0),
        "second": Moment(2, 0),
        "slope_second": Moment(0, 2),
        "mean_tilt": Moment(1, 0, 2),
        "second_tilt": Moment(2, 0, 2),
        "third": Moment(3, 0),
        "fourth": Moment(4, 0),
        "value_slope_second": Moment(1, 2),
        "second_slope_second": Moment(2, 2),
        "slope_fourth": Moment(0, 4),
        "slope_tilt": Moment(0, 2, 2),
        "mean_quartic": Moment(1, 0, 4),
        "second_quartic": Moment(2, 0, 4),
        "slope_quartic": Moment(0, 2, 4),
    }
)
"""Names of the moments: a tilt is the factor He_2(z) = z^2 - 1, quartic is He_4(z) = z^4 - 6 z^2 + 3."""

FUNCTIONALS: Mapping[str, Functional] = MappingProxyType(
    {
        "mean": lambda _z, value, _slope: value,
        "second": lambda _z, value, _slope: value * value,
        "mean_tilt": lambda z, value, _slope: value * (z * z - 1),
        "second_tilt": lambda z, value, _slope: value * value * (z * z - 1),
        "slope_second": lambda _z, _value, slope: slope * slope,
    }
)
"""The integrands of `CONDITIONS` for quadrature."""

CONDITIONS = tuple(FUNCTIONALS)
"""The moments that the Gaussian-Poincaré conditions, a, b and chi need; the one with phi' is last."""


@dataclass(frozen=True, slots=True)
class Normalization(Generic[Number]):
    """One normalization a phi + b: in balls (`arb`), in float64, or in float64 with `digits`.

    Args:
        root: "plus" or "minus", the sign of the square root in b.
        a, b: scale and shift.
        mean: E(a phi + b).
        chi: slope Q'(1) of the length map of a phi + b.
        stability: whether |chi| < 1 ("stable": the squared length returns to 1 in depth), = 1 or > 1.
        recommended: whether the policy "auto" chooses this root.
    """

    root: str
    a: Number
    b: Number
    mean: Number
    chi: Number
    stability: Stability
    recommended: bool

    def converted(self, convert: Callable[[Number], Other]) -> "Normalization[Other]":
        """The same normalization with its four numbers in another form."""
        a, b, mean, chi = map(convert, self.numbers)
        return Normalization(self.root, a, b, mean, chi, self.stability, self.recommended)

    @property
    def numbers(self) -> tuple[Number, Number, Number, Number]:
        """a, b, mean and chi."""
        return self.a, self.b, self.mean, self.chi


@dataclass(frozen=True, slots=True)
class Moments:
    r"""Moments of phi at z ~ N(0, 1), as balls (`flint.arb`) that contain the true values.

    Args:
        balls: name (see `MOMENTS`) -> enclosure.
        bits: working precision for numbers derived from the balls.
        certified: whether the radii are proved, or only estimated errors.
        reasons: name -> why that moment has no proved enclosure.
        divergent: names of the moments that are proved to diverge.
        homogeneous: phi(c x) = c phi(x) for c > 0.
        affine: phi is affine, so that the margin 1 - Var phi/E phi'^2 is exactly 0.
    """

    balls: Mapping[str, arb]
    bits: int
    certified: bool = False
    reasons: Mapping[str, str] = field(default_factory=dict)
    divergent: frozenset[str] = frozenset()
    homogeneous: bool = False
    affine: bool = False

    @property
    def variance(self) -> arb:
        """Var phi."""
        mean = self.balls["mean"]
        return self.balls["second"] - mean * mean  # flint: a ball around 0 to the power 2 is nan

    def moment(self, name: str) -> arb | NotCertified:
        """One moment, or why it has no proved enclosure."""
        return self.balls[name] if name in self.balls else self._missing(name)

    def first_missing(self, names: Sequence[str] = tuple(MOMENTS)) -> NotCertified | None:
        """Reason why not all of some moments are known; None if they are."""
        return next((self._missing(name) for name in names if name not in self.balls), None)

    def _missing(self, name: str) -> NotCertified:
        return NotCertified(f"{name}: {self.reasons.get(name, 'not asked for')}")

    def margin(self) -> arb | NotCertified:
        """1 - Var phi/E phi'^2 >= 0, zero only for affine phi (the Gaussian Poincaré inequality)."""
        missing = self.first_missing(CONDITIONS)
        if missing is not None:
            return missing
        with precision(self.bits):
            return arb(0) if self.affine else 1 - self.variance / self.balls["slope_second"]

    def normalizations(self) -> list[Normalization[arb]] | NotCertified:
        r"""Both normalizations a phi + b, with their means and chi.

        .. math::
            a = G^{-1/2}, \quad b_\pm = -a m \pm \sqrt{1 - V/G}, \quad
            \chi = \tfrac12 [a^2 E \phi^2 (z^2-1) + 2 a b E \phi (z^2-1)]

        with :math:`m = E\phi, V = Var \phi, G = E\phi'^2` (Lu, Gould, Ajanthan 2020; chi = Q'(1), Poole et al.
        2016).

        Returns:
            The roots plus and minus; one root "plus" for affine phi and where the margin cannot be separated from 0;
            or why there are none.
        """
        missing = self.first_missing(CONDITIONS)
        if missing is not None:
            return missing
        gain = self.balls["slope_second"]
        if not gain > 0:
            return NotCertified("phi is constant" if gain.is_zero() else "phi is not proved to differ from a constant")
        with precision(self.bits):
            roots = self._roots(gain.rsqrt(), gain)
            best = _automatic([chi for *_, chi in roots])
            return [
                Normalization(name, a, b, mean, chi, stability(chi), recommended=index == best)
                for index, (name, a, b, mean, chi) in enumerate(roots)
            ]

    def _roots(self, a: arb, gain: arb) -> list[tuple[str, arb, arb, arb, arb]]:
        """Name, a, b, mean and chi of each root."""
        if self.affine:
            return [("plus", a, -a * self.balls["mean"], arb(0), arb(1))]
        spread = _nonnegative_sqrt(1 - self.variance / gain)
        if not spread > 0:
            return [self._root("plus", a, spread.union(-spread))]
        roots = [self._root("plus", a, spread), self._root("minus", a, -spread)]
        if not self.homogeneous:
            return roots
        # One root is exactly b = 0; by Euler's identity x phi'(x) = phi(x) its chi = E phi phi' z = E phi^2 = 1.
        at_origin = (a, arb(0), a * self.balls["mean"], arb(1))
        return [(root[0], *at_origin) if root[2].contains(0) else root for root in roots]

    def _root(self, name: str, a: arb, mean: arb) -> tuple[str, arb, arb, arb, arb]:
        b = mean - a * self.balls["mean"]
        return name, a, b, mean, a * (a * self.balls["second_tilt"] + 2 * b * self.balls["mean_tilt"]) / 2


def _nonnegative_sqrt(ball: arb) -> arb:
    """Square root of a number that is known not to be negative (here by the Poincaré inequality)."""
    return ball.sqrt() if ball > 0 else ball.upper().max(arb(0)).sqrt().union(arb(0))


def recommend(roots: Sequence[Normalization[arb]], policy: str = "auto") -> Normalization[arb]:
    """The root that a policy chooses.

    Args:
        roots: one or two, plus first.
        policy: "plus" and "minus" by name; "stable" the smaller |chi|; "auto" plus, unless its squared length
            is unstable in depth, then minus, and if both are unstable the smaller |chi|.
    """
    if policy == "auto":
        return next(root for root in roots if root.recommended)
    if policy == "stable":
        return roots[_smallest([root.chi for root in roots])]
    return next((root for root in roots if root.root == policy), roots[0])


def _automatic(slopes: Sequence[arb]) -> int:
    """Index of the root that the policy "auto" takes, given the chi of each root."""
    return next((index for index, chi in enumerate(slopes) if stability(chi) != "unstable"), _smallest(slopes))


def _smallest(slopes: Sequence[arb]) -> int:
    return min(range(len(slopes)), key=lambda index: float(abs(slopes[index]).mid()))


def stability(chi: arb) -> Stability:
    """Whether depth holds the squared length at 1: |chi| < 1, = 1 (to within 1e-12 or the error), > 1."""
    size = abs(chi)
    if size < 1 - CHI_TOLERANCE:
        return "stable"
    return "unstable" if size > 1 + CHI_TOLERANCE else "marginal"
