"""Numbers of one activation from which the law of gradient fluctuations in a deep network is made."""

from dataclasses import dataclass

import numpy as np

from theory.activation import NumericActivation
from theory.gaussian import expectations


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
    >>> from theory.activation import Activation, X
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
