"""Numbers of one activation from which the law of gradient fluctuations in a deep network is made."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from flint import arb

from theory.activations.activation import Activation, NumericActivation
from theory.activations.callable import CallableActivation
from theory.balls.core import NotCertified, precision
from theory.errors import UsageError
from theory.gaussian.certified import certified_moments
from theory.gaussian.expectations import expectations
from theory.gaussian.moments import Moments, Normalization


@dataclass(frozen=True, slots=True)
class NoPrediction:
    """The law makes no statement here, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class FluctuationCoefficients:
    r"""What one layer does to small deviations, at unit squared length, in float64.

    With z standard normal, :math:`s = \phi'(z)^2` and the fourth Hermite polynomial
    :math:`He_4 = z^4 - 6 z^2 + 3`. Deviations are those of :math:`q_l = |x_l|^2/n` from 1 and of
    :math:`|d_l|^2/|e_l|^2` from 1; n is the width.

    Args:
        second, slope_second: E phi^2 and E s, both 1 for a normalized activation.
        chi: slope of the length map, E phi^2 (z^2 - 1)/2.
        kappa: response of the backward factor to the squared length, E s (z^2 - 1)/2.
        sf: n times the variance that one layer adds to q, Var phi^2 - 2 chi^2.
        sb: n times the variance of one backward factor at given q, 3 Var s - 2 kappa^2.
        cx: n times the covariance of these two, E phi^2 s - E phi^2 E s - 2 chi kappa.
        q2, s2: curvatures E phi^2 He_4/4 and E s He_4/4 of the two maps.
        c: excess backward factor of a signal along x_l, E phi^2 s / E phi^2 - E s.
        error: largest absolute error of all of these.
        homogeneous: whether phi is positively homogeneous (linear on each side of 0).
    """

    second: float
    slope_second: float
    chi: float
    kappa: float
    sf: float
    sb: float
    cx: float
    q2: float
    s2: float
    c: float
    error: float
    homogeneous: bool

    @property
    def v(self) -> float:
        """n times the variance that a layer deep inside a network adds to the log ratio; nan at chi = 1."""
        if self.chi == 1 or self.homogeneous:
            return np.nan
        gain = self.kappa / (1 - self.chi)
        return self.sb + 2 * gain * self.cx + gain**2 * self.sf

    @property
    def slope_variance(self) -> float:
        """Var s / (E s)^2, the relative variance of the squared slope."""
        return max((self.sb + 2 * self.kappa**2) / 3, 0.0) / self.slope_second**2


def fluctuation_coefficients(activation: NumericActivation) -> FluctuationCoefficients:
    r"""The coefficients of the fluctuation law of an activation.

    .. math::
        \chi = \tfrac12 E \phi^2 (z^2-1), \quad \kappa = \tfrac12 E s (z^2-1), \quad
        s_f = Var\, \phi^2 - 2\chi^2, \quad s_b = 3\, Var\, s - 2\kappa^2, \quad
        c_x = Cov(\phi^2, s) - 2\chi\kappa

    Derived for this project, docs/fluctuation-law.md, equations (2) to (5).

    Args:
        activation: phi without jumps; where an expectation diverges its coefficients are nan and `error` infinite.

    >>> import sympy
    >>> from theory.activations.activation import Activation
    >>> from theory.numerics.arithmetic import X
    >>> relu = fluctuation_coefficients(Activation("relu", sympy.sqrt(2) * sympy.Max(X, 0)))
    >>> relu.homogeneous, [round(number, 10) for number in (relu.chi, relu.sf, relu.sb, relu.cx)]
    (True, [1.0, 3.0, 3.0, 1.0])
    """
    found = expectations(
        activation,
        {
            "f": lambda _z, value, _slope: value**2,
            "s": lambda _z, _value, slope: slope**2,
            "chi": lambda z, value, _slope: value**2 * (z**2 - 1) / 2,
            "kappa": lambda z, _value, slope: slope**2 * (z**2 - 1) / 2,
            "ff": lambda _z, value, _slope: value**4,
            "ss": lambda _z, _value, slope: slope**4,
            "fs": lambda _z, value, slope: value**2 * slope**2,
            "q2": lambda z, value, _slope: value**2 * (z**4 - 6 * z**2 + 3) / 4,
            "s2": lambda z, _value, slope: slope**2 * (z**4 - 6 * z**2 + 3) / 4,
        },
    )
    m = {name: estimate.value for name, estimate in found.items()}
    size = 1 + max(abs(number) for number in m.values())
    error = max(estimate.error for estimate in found.values())
    return FluctuationCoefficients(
        second=m["f"],
        slope_second=m["s"],
        chi=m["chi"],
        kappa=m["kappa"],
        sf=m["ff"] - m["f"] ** 2 - 2 * m["chi"] ** 2,
        sb=3 * (m["ss"] - m["s"] ** 2) - 2 * m["kappa"] ** 2,
        cx=m["fs"] - m["f"] * m["s"] - 2 * m["chi"] * m["kappa"],
        q2=m["q2"],
        s2=m["s2"],
        c=m["fs"] / m["f"] - m["s"] if m["f"] else np.nan,
        error=10 * size * error if np.isfinite(size) else np.inf,
        homogeneous=bool(getattr(activation, "is_positively_homogeneous", False)),
    )


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
        digits: significant digits of the moments behind them, see `theory.gaussian.certified.certified_moments`.
        root: "plus" or "minus", the sign of the square root in b.

    Raises:
        UsageError: digits below 1, or another root.

    >>> import sympy
    >>> from theory.numerics.arithmetic import X
    >>> relu = certified_coefficients(Activation("relu", sympy.Max(X, 0)), 20)
    >>> [f"{name} {ball.str(6, radius=False)}" for name, ball in relu.items()][:5]
    ['chi 1.00000', 'kappa 0', 'c 1.00000', 'sf 3.00000', 'sb 3.00000']
    """
    if root not in ("plus", "minus"):
        raise UsageError(f"the root must be 'plus' or 'minus', not {root!r:.40}")
    found = certified_moments(activation, digits)
    if isinstance(found, NotCertified):
        return found
    roots = found.normalizations()
    if isinstance(roots, NotCertified):
        return roots
    return depth_coefficients(found, next((r for r in roots if r.root == root), roots[0]))


def depth_coefficients(moments: Moments, root: Normalization[arb]) -> DepthCoefficients | NotCertified:
    """The coefficients for one normalization, from all moments of phi; else the first moment that is missing."""
    missing = moments.first_missing()
    if missing is not None:
        return missing
    with precision(moments.bits):
        return _coefficients(moments.balls, root)


def _coefficients(balls: Mapping[str, arb], root: Normalization[arb]) -> DepthCoefficients:
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


@dataclass(frozen=True, slots=True)
class DepthMoments:
    r"""Moments of phi(z), phi'(z) at a standard normal z, s = phi'^2, and the fluctuations they predict.

    Args:
        second, slope: E phi^2 and E s.
        chi, kappa: (1/2) E phi^2 (z^2-1) and (1/2) E s (z^2-1).
        forward, backward, cross: n Var xi, n Var nu and n Cov(xi, nu) of one layer, the fluctuations of the squared
            length and of the logarithm of the backward norm.
        a, sigma: E s phi^2 and E s z^2, what a_h and sigma_h tend to.
    """

    second: float
    slope: float
    chi: float
    kappa: float
    forward: float
    backward: float
    cross: float
    a: float
    sigma: float

    def log_ratio_variance(self, layers: int) -> float:
        r"""n times the variance of the log ratio of squared gradients across some layers, to leading order.

        .. math:: \sum_{l=1}^{m} (\kappa \eta_{l-1} + \nu_l) - \eta_m, \qquad \eta_l = \chi \eta_{l-1} + \xi_l

        (fluctuation law of deep networks at large width; per layer it tends to
        :math:`v = s_b + 2 \kappa c/(1-\chi) + \kappa^2 s_f/(1-\chi)^2`).
        """
        powers = self.chi ** np.arange(layers)
        weights = self.kappa * np.concatenate([[0.0], np.cumsum(powers[:-1])]) - powers
        return float(np.sum(weights**2 * self.forward + 2 * weights * self.cross + self.backward))

    @property
    def variance_per_layer(self) -> float:
        """v, the limit of `log_ratio_variance` per layer; infinite where |chi| >= 1."""
        if abs(self.chi) >= 1:
            return np.inf
        gain = self.kappa / (1 - self.chi)
        return self.backward + 2 * gain * self.cross + gain**2 * self.forward


def depth_moments(activation: NumericActivation) -> DepthMoments:
    """Compute `DepthMoments` in float64.

    >>> import sympy
    >>> from theory.activations.activation import Activation
    >>> from theory.numerics.arithmetic import X
    >>> moments = depth_moments(Activation("identity", X))
    >>> round(moments.chi, 12), round(moments.sigma, 12)
    (1.0, 1.0)
    """
    found = fluctuation_coefficients(activation)
    return DepthMoments(
        second=found.second,
        slope=found.slope_second,
        chi=found.chi,
        kappa=found.kappa,
        forward=found.sf,
        backward=found.sb,
        cross=found.cx,
        a=found.second * (found.c + found.slope_second) if found.second else 0.0,
        sigma=2 * found.kappa + found.slope_second,
    )
