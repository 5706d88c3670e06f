"""Coefficients of one activation from which the laws of deep networks are made, in float64 or with proved radii."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

import numpy as np
from flint import arb

from theory.activations.activation import NumericActivation
from theory.balls.core import NotCertified, precision
from theory.gaussian.expectations import Functional, expectations
from theory.gaussian.moments import Moments, Normalization

Number = TypeVar("Number", float, arb)


@dataclass(frozen=True, slots=True)
class NoPrediction:
    """The reason why the law makes no statement."""

    reason: str


@dataclass(frozen=True, slots=True)
class DepthCoefficients(Generic[Number]):
    r"""Response of one layer to small deviations at unit squared length, and the noise that it adds.

    With z standard normal, :math:`s = \phi'(z)^2` and the fourth Hermite polynomial
    :math:`He_4 = z^4 - 6 z^2 + 3`. Deviations are those of :math:`q_l = |x_l|^2/n` from 1 and of
    :math:`|d_l|^2/|e_l|^2` from 1; n is the width.

    Args:
        second: E phi^2, which is 1 for a normalized activation.
        slope_second: E s, which is 1 for a normalized activation.
        chi: slope of the length map, E phi^2 (z^2 - 1)/2.
        kappa: response of the backward factor to the squared length, E s (z^2 - 1)/2.
        length_noise: s_f, n times the variance that one layer adds to q, Var phi^2 - 2 chi^2.
        backward_noise: s_b, n times the variance of one backward factor at given q, 3 Var s - 2 kappa^2.
        noise_covariance: c_x, n times the covariance of these two, E phi^2 s - E phi^2 E s - 2 chi kappa.
        length_curvature: Q_2, curvature of the length map, E phi^2 He_4/4. At width n, E q_1 = 1 - Q_2/n + O(1/n^2).
        backward_curvature: S_2, curvature of the slope map, E s He_4/4. At width n, E s = 1 - S_2/n + O(1/n^2).
        alignment_excess: c, excess backward factor of a signal along x_l, E phi^2 s / E phi^2 - E s.
        error: largest absolute error of all of these; 0 for balls, which have their own radii.
        homogeneous: whether phi is positively homogeneous (linear on each side of 0).
    """

    second: Number
    slope_second: Number
    chi: Number
    kappa: Number
    length_noise: Number
    backward_noise: Number
    noise_covariance: Number
    length_curvature: Number
    backward_curvature: Number
    alignment_excess: Number
    error: float = 0.0
    homogeneous: bool = False

    def by_symbol(self) -> dict[str, Number]:
        """The coefficients of a normalized activation under the symbols of docs/fluctuation-law.md."""
        return {
            "chi": self.chi,
            "kappa": self.kappa,
            "c": self.alignment_excess,
            "sf": self.length_noise,
            "sb": self.backward_noise,
            "cx": self.noise_covariance,
            "Q2": self.length_curvature,
            "S2": self.backward_curvature,
        }

    @property
    def slope_variance(self: "DepthCoefficients[float]") -> float:
        """Var s / (E s)^2, the relative variance of the squared slope."""
        return max((self.backward_noise + 2 * self.kappa**2) / 3, 0.0) / self.slope_second / self.slope_second

    @property
    def matrix_noise(self: "DepthCoefficients[float]") -> float:
        """n times the variance of log(|W x|^2/|x|^2), which an orthogonal matrix keeps at 0."""
        return 0.0

    @property
    def direction_noise(self: "DepthCoefficients[float]") -> float:
        """n times the variance of one backward factor given the forward pass, 2 Var s."""
        return 2 * self.slope_variance

    @property
    def residual_noise(self: "DepthCoefficients[float]") -> float:
        """n times the variance of one backward factor at given lengths before and after the layer."""
        return self.backward_noise - self.noise_covariance**2 / self.length_noise

    @property
    def second_slope_second(self: "DepthCoefficients[float]") -> float:
        """E phi^2 s."""
        return self.second * (self.alignment_excess + self.slope_second) if self.second else 0.0

    @property
    def tilted_slope_second(self: "DepthCoefficients[float]") -> float:
        """E s z^2."""
        return 2 * self.kappa + self.slope_second

    @property
    def variance_per_layer(self: "DepthCoefficients[float]") -> float:
        """v, the limit of `log_ratio_variance` per layer; infinite where |chi| >= 1."""
        if abs(self.chi) >= 1:
            return np.inf
        gain = self.kappa / (1 - self.chi)
        return self.backward_noise + 2 * gain * self.noise_covariance + gain**2 * self.length_noise

    def log_ratio_variance(self: "DepthCoefficients[float]", layers: int) -> float:
        r"""n times the variance of the log ratio of squared gradients across some layers, to leading order.

        .. math:: Var \Big(\sum_{l=1}^{m} (\kappa \eta_{l-1} + \nu_l) - \eta_m\Big), \qquad
                  \eta_l = \chi \eta_{l-1} + \xi_l

        with the noises :math:`\xi_l` of the length and :math:`\nu_l` of the backward factor (docs/fluctuation-law.md).
        Per layer it tends to :math:`v = s_b + 2 \kappa c_x/(1-\chi) + \kappa^2 s_f/(1-\chi)^2`.

        Args:
            layers: m >= 1.
        """
        powers = self.chi ** np.arange(layers)
        weights = self.kappa * np.concatenate([[0.0], np.cumsum(powers[:-1])]) - powers
        noise = weights**2 * self.length_noise + 2 * weights * self.noise_covariance + self.backward_noise
        return float(np.sum(noise))


@dataclass(frozen=True, slots=True)
class GaussianCoefficients(DepthCoefficients[float]):
    r"""The coefficients where the weights are independent, N(0, 1/n): a layer then adds the noise of lengths as well.

    .. math:: s_f = Var\, \phi^2, \qquad s_b = 3\, Var\, s + 2 (E s)^2, \qquad c_x = Cov(\phi^2, s)

    (docs/gaussian-deep-bound.md, derived for this project).
    """

    @property
    def slope_variance(self: "DepthCoefficients[float]") -> float:
        """Var s / (E s)^2."""
        return max(self.backward_noise / self.slope_second / self.slope_second - 2, 0.0) / 3

    @property
    def matrix_noise(self: "DepthCoefficients[float]") -> float:
        """2, of a mean of n squared normal numbers."""
        return 2.0

    @property
    def direction_noise(self: "DepthCoefficients[float]") -> float:
        """2 E s^2 / (E s)^2."""
        return 2 * self.slope_variance + 2


def with_gaussian_weights(haar: DepthCoefficients[float]) -> GaussianCoefficients:
    """The coefficients for Gaussian weights of variance 1/n from those for Haar weights.

    >>> from theory.activations.specification import activation
    >>> relu = with_gaussian_weights(depth_coefficients(activation("sqrt(2)*max(x, 0)")))
    >>> [round(number, 10) for number in (relu.length_noise, relu.backward_noise, relu.slope_variance)]
    [5.0, 5.0, 1.0]
    """
    numbers = {field.name: getattr(haar, field.name) for field in fields(haar)}
    chi, kappa = haar.chi, haar.kappa
    numbers["length_noise"] += 2 * chi * chi
    numbers["backward_noise"] += 2 * kappa * kappa + 2 * haar.slope_second * haar.slope_second
    numbers["noise_covariance"] += 2 * chi * kappa
    return GaussianCoefficients(**numbers)


_FUNCTIONALS: Mapping[str, Functional] = {
    "second": lambda _z, value, _slope: value**2,
    "slope_second": lambda _z, _value, slope: slope**2,
    "chi": lambda z, value, _slope: value**2 * (z**2 - 1) / 2,
    "kappa": lambda z, _value, slope: slope**2 * (z**2 - 1) / 2,
    "fourth": lambda _z, value, _slope: value**4,
    "slope_fourth": lambda _z, _value, slope: slope**4,
    "mixed": lambda _z, value, slope: value**2 * slope**2,
    "length_curvature": lambda z, value, _slope: value**2 * (z**4 - 6 * z**2 + 3) / 4,
    "backward_curvature": lambda z, _value, slope: slope**2 * (z**4 - 6 * z**2 + 3) / 4,
}


def depth_coefficients(activation: NumericActivation, deviation: float = 1.0) -> DepthCoefficients[float]:
    r"""The coefficients of an activation as it is, in float64.

    .. math::
        \chi = \tfrac12 E \phi^2 (z^2-1), \quad \kappa = \tfrac12 E s (z^2-1), \quad
        s_f = Var\, \phi^2 - 2\chi^2, \quad s_b = 3\, Var\, s - 2\kappa^2, \quad
        c_x = Cov(\phi^2, s) - 2\chi\kappa

    Derived for this project, docs/fluctuation-law.md, equations (2) to (5).

    Args:
        activation: phi without jumps; where an expectation diverges its coefficients are nan and `error` infinite.
        deviation: of the pre-activations; phi and phi' are those at it times z.

    >>> from theory.activations.specification import activation
    >>> relu = depth_coefficients(activation("sqrt(2)*max(x, 0)"))
    >>> relu.homogeneous, [round(number, 10) for number in (relu.chi, relu.length_noise, relu.backward_noise)]
    (True, [1.0, 3.0, 3.0])
    """
    estimates = expectations(activation, _FUNCTIONALS, deviation=deviation)
    m = {name: estimate.value for name, estimate in estimates.items()}
    size = 1 + max(abs(number) for number in m.values())
    error = max(estimate.error for estimate in estimates.values())
    second, slope_second, chi, kappa = m["second"], m["slope_second"], m["chi"], m["kappa"]
    return DepthCoefficients(
        second=second,
        slope_second=slope_second,
        chi=chi,
        kappa=kappa,
        length_noise=m["fourth"] - second * second - 2 * chi * chi,  # a power of a great float raises
        backward_noise=3 * (m["slope_fourth"] - slope_second * slope_second) - 2 * kappa * kappa,
        noise_covariance=m["mixed"] - second * slope_second - 2 * chi * kappa,
        length_curvature=m["length_curvature"],
        backward_curvature=m["backward_curvature"],
        alignment_excess=m["mixed"] / second - slope_second if second else np.nan,
        # a coefficient is a sum of at most three terms, each a product of two moments of this size
        error=10 * size * error if np.isfinite(size) else np.inf,
        homogeneous=bool(getattr(activation, "is_positively_homogeneous", False)),
    )


def certified_coefficients(moments: Moments, root: Normalization[arb]) -> DepthCoefficients[arb] | NotCertified:
    """The coefficients of one normalization a phi + b, as balls with proved radii.

    Args:
        moments: all certified moments of phi (see `theory.gaussian.certified.certified_moments`).
        root: the a and b of the normalization.

    Returns:
        The coefficients, or the reason why the first missing moment is not certified.

    >>> from theory.activations.specification import activation
    >>> from theory.gaussian.certified import certified_moments
    >>> moments = certified_moments(activation("relu"), 20)
    >>> relu = certified_coefficients(moments, moments.normalizations()[0])
    >>> [f"{symbol} {ball.str(6, radius=False)}" for symbol, ball in relu.by_symbol().items()][:5]
    ['chi 1.00000', 'kappa 0', 'c 1.00000', 'sf 3.00000', 'sb 3.00000']
    """
    missing = moments.first_missing()
    if missing is not None:
        return missing
    with precision(moments.bits):
        return _coefficients(moments.balls, root)


def _coefficients(balls: Mapping[str, arb], root: Normalization[arb]) -> DepthCoefficients[arb]:
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
        second=arb(1),
        slope_second=arb(1),
        chi=chi,
        kappa=kappa,
        length_noise=fourth - 1 - 2 * chi * chi,
        backward_noise=3 * (square * square * balls["slope_fourth"] - 1) - 2 * kappa * kappa,
        noise_covariance=mixed - 1 - 2 * chi * kappa,
        length_curvature=(square * balls["second_quartic"] + 2 * a * b * balls["mean_quartic"]) / 4,
        backward_curvature=square * balls["slope_quartic"] / 4,
        alignment_excess=mixed - 1,
    )
