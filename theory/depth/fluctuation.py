"""How much gradients fluctuate from layer to layer in a wide and deep network: a prediction, not a bound.

The law is exact to leading order as width and depth grow in proportion; its error is of order 1/width. It covers one
input of length |x_0|^2 = q_0 n, Haar orthogonal weights and a random readout. Derivation: docs/fluctuation-law.md.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special
from scipy.optimize import brentq

from theory.activations.activation import Activation, steps
from theory.activations.callable import CallableActivation
from theory.depth.absorption import brownian_exit, brownian_level
from theory.depth.coefficients import DepthCoefficients, NoPrediction, depth_coefficients, with_gaussian_weights
from theory.depth.homogeneous import HomogeneousLaw
from theory.depth.law import LogRatioLaw
from theory.depth.stable import StableLaw, length_path, length_variances
from theory.errors import UsageError
from theory.numerics.arithmetic import FloatArray

Source = Activation | CallableActivation | DepthCoefficients[float]
_NEARLY_NORMALIZED = 0.05  # misses of E phi^2 and E phi'^2 that a quadratic response still describes
_NEARLY_UNIT = 0.2  # deviations of q that it still describes
_MARGINAL = 1e-6
_LARGEST_NOISE = 0.1  # variance of one backward factor
_LARGEST_LENGTH_NOISE = 0.06  # variance of q
_LARGEST_UNSTABLE_NOISE = 0.01
_LEAST_NOISE = 1e-9
_LEAST_PROBABILITY = 1e-9
_LEAST_SECOND = 1e-140  # of E phi'^2: the fourth power of a slope is still a number
_FAR = 37.5  # the normal density is 0 in float64 beyond it
_CALIBRATED = 0.5  # the error of the standard deviation in units of the noise of a layer, benchmarks/predictions.py


def log_ratio_law(
    source: Source, width: int, depth: int, q0: float = 1.0, weights: str = "haar"
) -> LogRatioLaw | NoPrediction:
    r"""Predicted law of the gradient norm of every layer relative to the top layer's.

    .. math:: Y_l = \log \frac{|\partial E/\partial W_l|_F^2}{|\partial E/\partial W_L|_F^2}, \qquad l = 1, \dots, L

    A stable activation (|chi| < 1) has a Gaussian law with variance near v (L - l)/n; small misses of the
    normalization and of q_0 = 1 enter the mean to second order. A positively homogeneous one has the law of a
    stationary diffusion, whatever its scale and q_0. Derived for this project, docs/fluctuation-law.md.

    Args:
        source: phi as it is (it is not normalized here), or its coefficients.
        width: n >= 2.
        depth: L >= 1.
        q0: squared length per neuron of the input, > 0.
        weights: "haar", or "gaussian" entries of variance 1/n, for which there is no law of a homogeneous phi.

    Returns:
        The law, or `NoPrediction` with the reason: phi jumps or has diverging moments, it is far from normalized, its
        fixed point is marginal or unstable, or the width is too small for fluctuations to be small.

    Raises:
        UsageError: an argument outside its range.

    >>> import sympy
    >>> from theory.numerics.arithmetic import X
    >>> relu = Activation("relu", sympy.sqrt(2) * sympy.Max(X, 0))
    >>> law = log_ratio_law(relu, width=1024, depth=50)
    >>> law.variance.shape, round(law.spread_probability(1.0), 4)
    ((50,), 0.0344)
    """
    if width < 2 or depth < 1 or width != int(width) or depth != int(depth):
        raise UsageError(f"width and depth must be whole numbers, at least 2 and 1, not {width} and {depth}")
    if not (np.isfinite(q0) and q0 > 0):
        raise UsageError(f"q0, the squared length per neuron of the input, must be a positive number, not {q0}")
    coefficients = _coefficients(source)
    if isinstance(coefficients, NoPrediction):
        return coefficients
    if weights == "gaussian":
        if coefficients.homogeneous:
            return NoPrediction(
                "an activation that is linear on either side of 0 has a law for Haar (orthogonal) weights only; ask "
                "for those, or simulate"
            )
        coefficients = with_gaussian_weights(coefficients)
    if coefficients.homogeneous:
        rate = coefficients.slope_variance / width
        if rate > _LARGEST_NOISE:
            return _too_narrow(width, coefficients.slope_variance / _LARGEST_NOISE)
        return HomogeneousLaw.of(coefficients, int(width), int(depth), float(q0))
    obstacle = _obstacle(coefficients, width, depth, q0)
    return obstacle or StableLaw.of(coefficients, int(width), int(depth), float(q0))


def _coefficients(source: Source) -> DepthCoefficients[float] | NoPrediction:
    if isinstance(source, DepthCoefficients):
        coefficients = source
    else:
        jumps = steps(source, "value")
        if jumps:
            return NoPrediction(f"phi jumps at {', '.join(map(str, jumps))}: its slope does not describe it")
        coefficients = depth_coefficients(source)
    if not coefficients.error < 1e-3:
        return NoPrediction("E phi^4, E phi'^4 or another moment of the law diverges or is not known")
    if coefficients.homogeneous and coefficients.slope_second < _LEAST_SECOND:
        return NoPrediction("phi is zero, or too small for float64")
    return coefficients


def _obstacle(numbers: DepthCoefficients[float], width: int, depth: int, q0: float) -> NoPrediction | None:
    """Why the Gaussian law says nothing, None if it does."""
    misses = {"E phi^2": numbers.second, "E phi'^2": numbers.slope_second}
    for name, moment in misses.items():
        if abs(moment - 1) > _NEARLY_NORMALIZED:
            return NoPrediction(f"phi is not normalized: {name} = {moment:.6g} instead of 1")
    if abs(abs(numbers.chi) - 1) < _MARGINAL:
        return NoPrediction("the fixed point of the length map is marginal (|chi| = 1) and phi is not homogeneous")
    path = np.abs(length_path(numbers, q0, depth)).max()
    if path > _NEARLY_UNIT:
        return NoPrediction(f"the squared length per neuron is {path:.3g} away from 1, too far for a linear response")
    variance = float(length_variances(numbers, depth).max())
    if abs(numbers.chi) > 1:
        if variance / width > _LARGEST_UNSTABLE_NOISE:
            return NoPrediction(
                f"the fixed point is unstable (chi = {numbers.chi:.6g}): at depth {depth} deviations of the squared "
                f"length are no longer small at width {width}"
            )
    elif variance / width > _LARGEST_LENGTH_NOISE or numbers.backward_noise / width > _LARGEST_NOISE:
        return _too_narrow(width, max(variance / _LARGEST_LENGTH_NOISE, numbers.backward_noise / _LARGEST_NOISE))
    if not (numbers.length_noise > _LEAST_NOISE and numbers.residual_noise > _LEAST_NOISE):
        return NoPrediction("the layers of this activation add almost no noise")
    return None


def _too_narrow(width: int, least: float) -> NoPrediction:
    return NoPrediction(f"a layer of width {width} fluctuates too much; the law needs a width of {np.ceil(least):.0f}")


def spread_probability(law: LogRatioLaw, epsilon: float) -> float:
    r"""Predicted probability that the gradients of some layer and of the top layer differ by a factor.

    .. math:: P(\max_l |Y_l| \ge \epsilon)

    Derived for this project, docs/fluctuation-law.md, section 5. The numerical error is below 5e-4 of
    the value and 1e-9.

    Args:
        law: from `log_ratio_law`.
        epsilon: natural logarithm of the factor between squared norms, > 0.

    Raises:
        UsageError: an epsilon that is not positive.
    """
    if not (np.isfinite(epsilon) and epsilon > 0):
        raise UsageError(f"epsilon must be a positive number, not {epsilon}; try 0.5")
    return law.spread_probability(float(epsilon))


def prediction_margin(law: LogRatioLaw, probability: float) -> tuple[float, float]:
    r"""The probabilities that a prediction allows for, since its error is of order 1/width.

    .. math:: z \mapsto z e^{\pm\delta}, \qquad P(\max_{t \le 1} |W_t| \ge z) = p, \qquad
              \delta = \frac{c\,\omega}{n} (1 + z^2)

    with Brownian motion W and the larger of the variances :math:`\omega/n` of a backward factor and of a squared
    length. So z says how many standard deviations the tolerance is away, and delta by how much, relatively, the
    standard deviation may miss the predicted one. c = 1/2 is calibrated, not proved (docs/fluctuation-law.md, 8).

    Args:
        law: from `log_ratio_law`.
        probability: p, from `spread_probability`.

    Returns:
        The least and the largest probability, the numerical error of p included.

    >>> import sympy
    >>> from theory.numerics.arithmetic import X
    >>> relu = Activation("relu", sympy.sqrt(2) * sympy.Max(X, 0))
    >>> law = log_ratio_law(relu, width=1024, depth=50)
    >>> [round(end, 4) for end in prediction_margin(law, law.spread_probability(1.0))]
    [0.0323, 0.0367]
    """
    level = brownian_level(float(np.clip(probability, 1e-300, 1 - 1e-16)))
    delta = min(_CALIBRATED * _largest_noise(law) / law.width * (1 + level**2), 1.0)
    low, high = (brownian_exit(level * np.exp(sign * delta)) for sign in (1, -1))
    error = 5e-4 * probability + 1e-9
    return max(min(low, probability) - error, 0.0), min(max(high, probability) + error, 1.0)


def one_coordinate(activation: Activation | CallableActivation, law: LogRatioLaw, probability: float) -> float:
    r"""How probable it is, in order of magnitude, that one coordinate alone does what the law gives a probability.

    .. math:: n N P(\psi(z) \ge t \sqrt{n N \omega}), \qquad P(\max_{s \le 1} |W_s| \ge t) = p, \qquad
              \psi = \phi^2 \text{ or } \phi'^2

    t standard deviations of a sum of n N terms of variance omega are one term of that size. N counts the layers that
    matter: all L, or :math:`(\sum \chi^{2j})^2 / \sum \chi^{4j}` of an unstable fixed point. For heavy tails such as
    those of x^3 it may exceed p, and there the law, of many small deviations, says too little. An estimate, not a
    bound (docs/fluctuation-law.md, 8).

    Args:
        activation: phi, normalized.
        law: from `log_ratio_law`.
        probability: p, from `spread_probability`.

    Returns:
        0 for a homogeneous activation, whose law has no small deviations to begin with.

    >>> from theory.activations.specification import activation
    >>> from theory.normalization.normalize import normalize
    >>> for name in ("tanh", "x**3"):
    ...     phi = normalize(activation(name))
    ...     law = log_ratio_law(phi, 40_000, 5)
    ...     print(one_coordinate(phi, law, law.spread_probability(1.0)) > law.spread_probability(1.0))
    False
    True
    """
    if not isinstance(law, StableLaw):
        return 0.0
    numbers = law.coefficients
    growth = max(numbers.chi**2, 1.0) ** np.arange(law.depth)
    terms = law.width * float(growth.sum() ** 2 / (growth @ growth))
    level = brownian_level(float(np.clip(probability, 1e-300, 1 - 1e-16)))
    z = np.linspace(-_FAR, _FAR, 20_001)
    weights = np.exp(-z * z / 2) * (z[1] - z[0]) / np.sqrt(2 * np.pi)
    single = 0.0
    noises = numbers.length_noise, numbers.backward_noise
    for values, noise in zip(activation.value_and_slope(z), noises, strict=True):
        large = np.abs(values) >= np.sqrt(level * np.sqrt(terms * noise))
        single = max(single, min(1.0, terms * float(weights[large].sum())))
    return single


def _largest_noise(law: LogRatioLaw) -> float:
    """n times the larger of the variances of one backward factor and of the squared length, where that is kept."""
    if isinstance(law, StableLaw):
        return max(law.coefficients.backward_noise, float(law.length_variance.max()))
    return 3 * law.coefficients.slope_variance


def spread_quantile(law: LogRatioLaw, probability: float) -> float:
    r"""The epsilon that the spread reaches with a predicted probability.

    .. math:: P(\max_l |Y_l| \ge \epsilon) = p

    Args:
        law: from `log_ratio_law`; its width and depth give the epsilon.
        probability: p in [1e-9, 1).

    Returns:
        epsilon, 0 where the ratios do not fluctuate (depth 1, or a slope of constant modulus).

    Raises:
        UsageError: a probability outside its range.
    """
    if not _LEAST_PROBABILITY <= probability < 1:
        raise UsageError(f"the probability must be at least {_LEAST_PROBABILITY} and below 1, not {probability}")
    scale = float(np.sqrt(law.variance.max()))
    if scale == 0:
        return 0.0
    target = special.ndtri(probability)

    def miss(log_epsilon: float) -> float:
        return _probit(law.spread_probability(float(np.exp(log_epsilon)))) - target

    low = high = float(np.log(scale))
    while miss(high) > 0:
        high += 1
    while miss(low) < 0:
        low -= 1
    return float(np.exp(brentq(miss, low, high, xtol=1e-6))) if high > low else float(np.exp(low))


@dataclass(frozen=True, slots=True, eq=False)
class AlignedProfile:
    """Mean-field profile of an aligned readout e_L = x_L.

    Args:
        squared_signals: |e_l|^2 / |e_L|^2 for l = 0..L, array (L + 1,).
        squared_cosines: the squared cosine of the angle between e_l and x_l, for l = 0..L, array (L + 1,).
        gradients: |dE/dW_l|_F / |dE/dW_L|_F for l = 1..L, array (L,).
    """

    squared_signals: FloatArray
    squared_cosines: FloatArray
    gradients: FloatArray


def aligned_profile(source: Source, depth: int) -> AlignedProfile | NoPrediction:
    r"""Effect of an aligned readout on the backward signal, in the limit of infinite width.

    .. math:: \frac{|e_{l-1}|^2}{|e_l|^2} = B_l = E s + c\, \alpha_l^2, \qquad
              \alpha_{l-1}^2 = \chi^2 \alpha_l^2 / B_l, \qquad \alpha_L = 1

    with :math:`c = E \phi^2 s - E s`. For a normalized homogeneous phi it grows by Var s per layer, for a stable one
    it settles within a few layers. Derived for this project, docs/fluctuation-law.md, section 6.

    Args:
        source: normalized phi, or its coefficients.
        depth: L >= 1.

    >>> import sympy
    >>> from theory.numerics.arithmetic import X
    >>> relu = Activation("relu", sympy.sqrt(2) * sympy.Max(X, 0))
    >>> round(float(aligned_profile(relu, 50).squared_signals[0]), 9)
    51.0
    """
    if depth < 1 or depth != int(depth):
        raise UsageError(f"the depth must be a whole number, at least 1, not {depth}")
    numbers = _coefficients(source)
    if isinstance(numbers, NoPrediction):
        return numbers
    if max(abs(numbers.second - 1), abs(numbers.slope_second - 1)) > 1e-3:
        return NoPrediction("phi is not normalized")
    signals, cosines = np.ones(depth + 1), np.ones(depth + 1)
    for layer in range(depth, 0, -1):
        factor = numbers.slope_second + numbers.alignment_excess * cosines[layer]
        signals[layer - 1] = signals[layer] * factor
        cosines[layer - 1] = numbers.chi**2 * cosines[layer] / factor
    return AlignedProfile(signals, cosines, np.sqrt(signals[:-1] / signals[-2]))


def _probit(probability: float) -> float:
    return float(special.ndtri(np.clip(probability, 1e-15, 1 - 1e-15)))
