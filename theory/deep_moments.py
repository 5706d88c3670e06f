"""Gaussian moments of an activation that guide the search for a deep bound; nothing is proved with them."""

from dataclasses import dataclass

import numpy as np

from theory.activation import NumericActivation
from theory.gaussian import expectations


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
    >>> from theory.activation import Activation, X
    >>> moments = depth_moments(Activation("identity", X))
    >>> round(moments.chi, 12), round(moments.sigma, 12)
    (1.0, 1.0)
    """
    found = expectations(
        activation,
        {
            "second": lambda _z, f, _d: f**2,
            "slope": lambda _z, _f, d: d**2,
            "chi": lambda z, f, _d: 0.5 * f**2 * (z**2 - 1),
            "kappa": lambda z, _f, d: 0.5 * d**2 * (z**2 - 1),
            "f4": lambda _z, f, _d: f**4,
            "s2": lambda _z, _f, d: d**4,
            "a": lambda _z, f, d: (f * d) ** 2,
            "sigma": lambda z, _f, d: (d * z) ** 2,
        },
    )
    m = {name: estimate.value for name, estimate in found.items()}
    forward = m["f4"] - m["second"] ** 2 - 2 * m["chi"] ** 2
    backward = 3 * (m["s2"] - m["slope"] ** 2) - 2 * m["kappa"] ** 2
    cross = m["a"] - m["second"] * m["slope"] - 2 * m["chi"] * m["kappa"]
    return DepthMoments(m["second"], m["slope"], m["chi"], m["kappa"], forward, backward, cross, m["a"], m["sigma"])
