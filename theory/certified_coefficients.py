r"""Certified coefficients of the laws of depth: how lengths and gradients of a wide network fluctuate.

With s = phi'^2, eta_l = q_l - 1 the deviation of the squared length and phi Gaussian-Poincaré normalized,

.. math::
    \eta_l = \chi \eta_{l-1} + \xi_l, \qquad \log(|d_l|^2/|e_l|^2) = \kappa \eta_{l-1} + \nu_l,

up to O(1/n), where (xi, nu) are independent from layer to layer with n Var xi = sf, n Var nu = sb, n Cov(xi, nu) = cx
(derived for this project). All are polynomials in a, b and the moments of `theory.certified`, in ball arithmetic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from flint import arb

from theory.activation import Activation, CallableActivation
from theory.balls_core import NotCertified, precision
from theory.certified import CertifiedMoments, certified_moments
from theory.errors import UsageError
from theory.moments import RootBalls


@dataclass(frozen=True, slots=True)
class DepthCoefficients:
    r"""Coefficients of the laws of depth for one normalized activation phi, as balls with proved radii.

    .. math::
        \kappa &= \tfrac12 E s (z^2 - 1), \qquad c = E \phi^2 s - 1, \\
        sf &= Var \phi^2 - 2 \chi^2, \qquad sb = 3 Var s - 2 \kappa^2, \qquad cx = c - 2 \chi \kappa, \\
        Q_2 &= \tfrac14 E \phi^2 He_4, \qquad S_2 = \tfrac14 E s He_4

    Args:
        chi: slope of the length map at 1.
        kappa: response of the backward signal to the squared length.
        c: covariance of phi^2 and s.
        sf, sb, cx: n times the variances and the covariance of the noise of one layer, forward and backward.
        Q2, S2: at width n, E q_1 = 1 - Q2/n + O(1/n^2) and E s = 1 - S2/n + O(1/n^2).
    """

    chi: arb
    kappa: arb
    c: arb
    sf: arb
    sb: arb
    cx: arb
    Q2: arb
    S2: arb

    def items(self) -> list[tuple[str, arb]]:
        """Names and balls, in the order of the fields."""
        return [(field.name, getattr(self, field.name)) for field in fields(self)]


def certified_coefficients(
    activation: Activation | CallableActivation, digits: int = 30, root: str = "plus"
) -> DepthCoefficients | NotCertified:
    """The coefficients for a normalization a phi + b of an activation, or why they are not certified.

    Args:
        activation: phi.
        digits: significant digits of the moments behind them, see `theory.certified.certified_moments`.
        root: "plus" or "minus", the sign of the square root in b (see `theory.moments.root_balls`).

    Raises:
        UsageError: digits below 1, or another root.

    >>> import sympy
    >>> from theory.activation import X
    >>> relu = certified_coefficients(Activation("relu", sympy.Max(X, 0)), 20)
    >>> [f"{name} {ball.str(6, radius=False)}" for name, ball in relu.items()][:5]
    ['chi 1.00000', 'kappa 0', 'c 1.00000', 'sf 3.00000', 'sb 3.00000']
    """
    if root not in ("plus", "minus"):
        raise UsageError(f"the root must be 'plus' or 'minus', not {root!r:.40}")
    found = certified_moments(activation, digits)
    if isinstance(found, NotCertified):
        return found
    roots = found.roots()
    if isinstance(roots, NotCertified):
        return roots
    return depth_coefficients(found, next((r for r in roots if r.root == root), roots[0]))


def depth_coefficients(moments: CertifiedMoments, root: RootBalls) -> DepthCoefficients | NotCertified:
    """The coefficients for one normalization, from all moments of phi; else the first moment that is missing."""
    missing = moments.first_missing()
    if missing is not None:
        return missing
    with precision(moments.bits):
        return _coefficients(moments.balls, root)


def _coefficients(balls: Mapping[str, arb], root: RootBalls) -> DepthCoefficients:
    a, b, chi = root.a, root.b, root.chi
    square = a * a
    fourth = (
        square * square * balls["fourth"]
        + 4 * a * square * b * balls["third"]
        + 6 * square * b * b * balls["second"]
        + 4 * a * b * b * b * balls["mean"]
        + b * b * b * b
    )
    kappa = square * balls["slope_tilt"] / 2
    mixed = square * (
        square * balls["second_slope_second"] + 2 * a * b * balls["value_slope_second"] + b * b * balls["slope_second"]
    )
    return DepthCoefficients(
        chi=chi,
        kappa=kappa,
        c=mixed - 1,
        sf=fourth - 1 - 2 * chi * chi,
        sb=3 * (square * square * balls["slope_fourth"] - 1) - 2 * kappa * kappa,
        cx=mixed - 1 - 2 * chi * kappa,
        Q2=(square * balls["second_quartic"] + 2 * a * b * balls["mean_quartic"]) / 4,
        S2=square * balls["slope_quartic"] / 4,
    )
