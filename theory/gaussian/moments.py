"""From raw Gaussian moments to both normalizations and their stability, in ball arithmetic.

A ball carries its error through the square roots and the cancellations, whether the moments came from float64, from
mpmath or from a certified enclosure.
"""

from dataclasses import dataclass, replace
from typing import Literal

from flint import arb

Stability = Literal["stable", "marginal", "unstable"]
CHI_TOLERANCE = 1e-12
"""How close |chi| must be to 1 to count as marginal."""


@dataclass(frozen=True, slots=True)
class RawMoments:
    r"""Moments of phi at z ~ N(0, 1), as balls (`flint.arb`) that contain the true values.

    Args:
        mean: :math:`E \phi`.
        second: :math:`E \phi^2`.
        mean_tilt: :math:`E \phi (z^2 - 1)`.
        second_tilt: :math:`E \phi^2 (z^2 - 1)`.
        slope_second: :math:`E \phi'^2`, or None where it must not be used (a jump, a diverging integral).
        certified: whether the radii are proved, or only estimated errors.
    """

    mean: arb
    second: arb
    mean_tilt: arb
    second_tilt: arb
    slope_second: arb | None = None
    certified: bool = False

    @property
    def variance(self) -> arb:
        """Var phi."""
        return self.second - self.mean * self.mean  # flint: a ball around 0 to the power 2 is nan


@dataclass(frozen=True, slots=True)
class RootBalls:
    """One normalization a phi + b as balls, with the mean E(a phi + b) and chi = Q'(1)."""

    root: str
    a: arb
    b: arb
    mean: arb
    chi: arb


def root_balls(moments: RawMoments, *, homogeneous: bool = False, affine: bool = False) -> list[RootBalls]:
    r"""Both normalizations a phi + b from the raw moments of phi, with their means and chi.

    .. math::
        a = G^{-1/2}, \quad b_\pm = -a m \pm \sqrt{1 - V/G}, \quad
        \chi = \tfrac12 [a^2 E \phi^2 (z^2-1) + 2 a b E \phi (z^2-1)]

    with :math:`m = E\phi, V = Var \phi, G = E\phi'^2` (Lu, Gould, Ajanthan 2020; chi = Q'(1), Poole et al.
    2016).

    Args:
        moments: with slope_second > 0.
        homogeneous: phi(c x) = c phi(x) for c > 0, where one root is exactly b = 0 with chi = 1 (by Euler's
            identity x phi'(x) = phi(x), chi = E phi phi' z = E phi^2 = 1).
        affine: the margin 1 - V/G is exactly 0, so that both roots are one.

    Returns:
        The roots plus and minus, or one root "plus" where the margin is not told from 0. They are computed at
        the current precision of flint, which the caller sets.
    """
    gain = moments.slope_second
    assert gain is not None
    a = gain.rsqrt()
    if affine:
        return [RootBalls("plus", a, -a * moments.mean, arb(0), arb(1))]
    spread = _nonnegative_sqrt(1 - moments.variance / gain)
    if not spread > 0:
        return [_root(moments, "plus", a, spread.union(-spread))]
    roots = [_root(moments, "plus", a, spread), _root(moments, "minus", a, -spread)]
    if homogeneous:
        at_origin = RootBalls("plus", a, arb(0), a * moments.mean, arb(1))
        return [replace(at_origin, root=root.root) if root.b.contains(0) else root for root in roots]
    return roots


def _root(moments: RawMoments, name: str, a: arb, mean: arb) -> RootBalls:
    b = mean - a * moments.mean
    return RootBalls(name, a, b, mean, a * (a * moments.second_tilt + 2 * b * moments.mean_tilt) / 2)


def _nonnegative_sqrt(ball: arb) -> arb:
    """Square root of a number that is known not to be negative (here by the Poincaré inequality)."""
    return ball.sqrt() if ball > 0 else ball.upper().max(arb(0)).sqrt().union(arb(0))


def recommend(roots: list[RootBalls], policy: str = "auto") -> RootBalls:
    """The root that a policy chooses.

    Args:
        roots: one or two, plus first.
        policy: "plus" and "minus" by name; "stable" the smaller |chi|; "auto" plus, unless its squared length
            is unstable in depth, then minus, and if both are unstable the smaller |chi|.
    """
    if policy in ("plus", "minus") or len(roots) == 1:
        return next((root for root in roots if root.root == policy), roots[0])
    smaller = min(roots, key=lambda root: float(abs(root.chi).mid()))
    if policy == "stable":
        return smaller
    return next((root for root in roots if stability(root.chi) != "unstable"), smaller)


def stability(chi: arb) -> Stability:
    """Whether depth holds the squared length at 1: |chi| < 1, = 1 (to within 1e-12 or the error), > 1."""
    size = abs(chi)
    if size < 1 - CHI_TOLERANCE:
        return "stable"
    return "unstable" if size > 1 + CHI_TOLERANCE else "marginal"
