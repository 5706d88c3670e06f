"""Law of the gradient ratios where depth holds the squared length: a Gaussian process in the layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from scipy import special

from theory.depth.absorption import LinearStep, exit_probability
from theory.depth.alignment import alignments
from theory.depth.coefficients import DepthCoefficients
from theory.depth.law import LogRatioLaw, checked_probabilities
from theory.depth.length_map import follow_length
from theory.numerics.arithmetic import FloatArray

_RARE = 7.0  # standard deviations beyond which a sum over layers stands in for the crossing probability
_HIDDEN_RANGE = 5.5
_HIDDEN_SPACING = 1.2  # in the narrowest standard deviation that integrands over the hidden state have


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StableLaw(LogRatioLaw):
    r"""The Gaussian law of Y_l for an activation with a stable fixed point, |chi| < 1.

    .. math::
        Y_l = a_l \eta_{l-1} + \sum_{j=l}^{L-1} (\nu_j + b_j \xi_j) + O(1/n), \qquad
        \eta_l = \chi \eta_{l-1} + \xi_l,

        a_l = 1 - \chi^{L-l} + \kappa g_{L-l}, \quad b_j = \kappa g_{L-1-j} - \chi^{L-1-j}, \quad
        g_k = 1 + \chi + \dots + \chi^{k-1}

    Derived for this project, docs/fluctuation-law.md, equations (6) to (10).

    Args:
        length_variance: n Var q_l, array (L,) for l = 0..L-1.
    """

    length_variance: FloatArray

    @classmethod
    def of(cls, coefficients: DepthCoefficients[float], width: int, depth: int, q0: float) -> "StableLaw":
        """The law for checked arguments (see `theory.depth.fluctuation.log_ratio_law`)."""
        lengths = length_variances(coefficients, depth)
        ratio = _variances(coefficients, lengths, depth - 1, 1.0) / width
        # no matrix returns e_L: the top factor has no noise of its own kind
        gradient = (_variances(coefficients, lengths, depth, 0.0) - coefficients.matrix_noise) / width
        factors, logs = _means(coefficients, lengths, width, q0)
        upward = np.append(np.cumsum(factors[::-1])[::-1], 0.0)  # sums of the factors of layers l..L
        ratio_mean = upward[:-1] - upward[-2] + logs - logs[-1]
        gradient_mean = upward[:-1] + logs + coefficients.matrix_noise / 2 / width
        return cls(coefficients, width, depth, q0, ratio_mean, ratio, gradient_mean, gradient, lengths)

    def quantiles(self, probabilities: Sequence[float]) -> FloatArray:
        """Quantiles of Y_l, array (L, number of probabilities)."""
        z = special.ndtri(checked_probabilities(probabilities))
        quantiles: FloatArray = self.mean[:, None] + np.sqrt(self.variance)[:, None] * z
        return quantiles

    def spread_probability(self, epsilon: float) -> float:
        r"""Probability that some layer's squared gradient norm is off the top layer's by a factor e^epsilon.

        .. math:: P(\max_l |Y_l| \ge \epsilon)

        Downwards from the top layer (eta, Y) is a Markov chain with Gaussian steps: its density on the event that no
        |Y_l| has reached epsilon is propagated on a grid. Beyond 7 standard deviations a union over layers stands in.

        Args:
            epsilon: > 0, checked.
        """
        if self.depth == 1:
            return 0.0
        deviations = np.sqrt(self.variance[:-1])
        margin = (epsilon - np.abs(self.mean[:-1])) / deviations
        if margin.min() > _RARE:
            return float(2 * special.ndtr(-margin).sum())
        if self.depth == 2:
            above, below = (np.array([-1, 1]) * self.mean[0] - epsilon) / deviations[0]
            return float(special.ndtr(above) + special.ndtr(below))
        # of the backward factor at given lengths before and after the layer
        noise = float(np.sqrt(self.coefficients.residual_noise / self.width))
        steps = tuple(self._steps())
        precision = max((1 + s.rho**2) / (1 - s.rho**2) + (2 * s.a**2 + s.b**2) / noise**2 for s in steps)
        half = int(np.ceil(_HIDDEN_RANGE * np.sqrt(precision) / _HIDDEN_SPACING))
        hidden = np.linspace(-_HIDDEN_RANGE, _HIDDEN_RANGE, 2 * half + 1)
        return exit_probability(epsilon, noise, hidden, steps)

    def _steps(self) -> Iterator[LinearStep]:
        """The chain from layer L down to 1, with eta in units of its standard deviation."""
        numbers = self.coefficients
        slope = numbers.noise_covariance / numbers.length_noise  # of the backward factor's noise on the length's
        deviation = np.sqrt(self.length_variance / self.width)
        for layer in range(self.depth - 1, 0, -1):  # from eta_l, Y_(l+1) to eta_(l-1), Y_l
            below, above = deviation[layer - 1], deviation[layer]
            yield LinearStep(
                rho=float(numbers.chi * below / above),
                a=float((1 + numbers.kappa - numbers.chi * slope) * below),
                b=float((slope - 1) * above),
                d=float(self.mean[layer - 1] - self.mean[layer]),
            )


def length_variances(coefficients: DepthCoefficients[float], depth: int) -> FloatArray:
    r"""n Var q_l for l = 0..depth-1: a geometric sum that tends to s_f/(1 - chi^2).

    .. math:: \sigma_l^2 = \chi^2 \sigma_{l-1}^2 + s_f, \qquad \sigma_0 = 0
    """
    variances = np.zeros(depth)
    for layer in range(1, depth):
        variances[layer] = coefficients.chi**2 * variances[layer - 1] + coefficients.length_noise
    return variances


def _weights(
    coefficients: DepthCoefficients[float], top: int, removed: float, depth: int
) -> tuple[FloatArray, FloatArray]:
    """How log factors of layers l..top plus log q_(l-1) minus `removed` log q_(L-1) follow eta_(l-1) and the xi_j."""
    chi, kappa = coefficients.chi, coefficients.kappa
    powers = chi ** np.arange(depth + 1)
    sums = np.append(0.0, np.cumsum(powers))  # g_0, g_1, ...
    layers = np.arange(1, depth + 1)
    a = 1 + kappa * sums[np.maximum(top - layers + 1, 0)] - removed * powers[depth - layers]
    inner = np.arange(1, top + 1)
    b = kappa * sums[top - inner] - removed * powers[np.maximum(depth - 1 - inner, 0)]
    return a, b


def _layer_terms(coefficients: DepthCoefficients[float], b: FloatArray) -> FloatArray:
    noise = coefficients.backward_noise + 2 * b * coefficients.noise_covariance + b**2 * coefficients.length_noise
    return np.asarray(noise)


def _variances(coefficients: DepthCoefficients[float], lengths: FloatArray, top: int, removed: float) -> FloatArray:
    """n times the variances of those sums, for l = 1..L."""
    a, b = _weights(coefficients, top, removed, len(lengths))
    sums = np.cumsum(_layer_terms(coefficients, b)[::-1])[::-1]
    variances: FloatArray = a**2 * lengths
    variances[:top] += sums
    return variances


def _means(
    coefficients: DepthCoefficients[float], lengths: FloatArray, width: int, q0: float
) -> tuple[FloatArray, FloatArray]:
    """Means of log(|d_l|^2/|e_l|^2) for l = 1..L and of log q_l for l = 0..L-1, to order 1/n."""
    numbers, depth = coefficients, len(lengths)
    returned = numbers.matrix_noise / 2  # an orthogonal matrix takes 1/n from the mean squared deviation, a Gaussian 0
    path = length_path(coefficients, q0, depth)
    drift = np.zeros(depth)  # n (E eta_l - path_l)
    for layer in range(1, depth):
        drift[layer] = numbers.chi * drift[layer - 1] + numbers.length_curvature * (
            lengths[layer - 1] / 2 + returned - 1
        )
    alignment = alignments(coefficients, depth)
    excess = (
        numbers.kappa * drift
        + numbers.backward_curvature * (lengths / 2 + returned - 1)
        + (alignment - 1) * (numbers.alignment_excess + returned)
    )
    response = numbers.slope_second - 1 + numbers.kappa * path
    factors = response + numbers.backward_curvature * path**2 / 2 - response**2 / 2
    factors = factors + (excess - (numbers.kappa**2 * lengths + numbers.backward_noise) / 2) / width
    logs = path - path**2 / 2 + (drift - lengths / 2) / width
    return factors, logs


def length_path(coefficients: DepthCoefficients[float], q0: float, depth: int) -> FloatArray:
    """q_l - 1 in the limit of infinite width, for l = 0..depth-1, by the length map to second order."""
    second, chi, curvature = coefficients.second, coefficients.chi, coefficients.length_curvature

    def layer(deviations: FloatArray) -> tuple[FloatArray, FloatArray]:
        after = second - 1 + chi * deviations + curvature * deviations**2 / 2
        # a path that has left stays where it is: the caller refuses it
        return np.where(np.abs(deviations) > 1, deviations, after), np.zeros_like(deviations)

    passages = islice(follow_length(layer, q0 - 1, tolerance=0.0), depth)
    return np.concatenate([passage.before for passage in passages])
