"""The gradients of a whole network: the predicted probability, and the proved bound by the theorem that applies.

This is the one place that chooses between the two deep theorems, for smooth and for homogeneous activations.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

from theory.activations.specification import Phi
from theory.bounds import deep, homogeneous
from theory.depth.coefficients import DepthCoefficients, NoPrediction, depth_coefficients
from theory.depth.fluctuation import log_ratio_law, one_coordinate, prediction_margin, spread_probability
from theory.depth.law import LogRatioLaw
from theory.depth.stable import StableLaw
from theory.layer.levy import Bound
from theory.numerics.arithmetic import FloatArray

COVERED = tuple(deep.THEOREMS)
"""The laws of the weights that have a deep bound and a prediction."""


def predicted(
    activation: Phi, width: int, depth: int, epsilon: float, weights: str = "haar", *, unlikely: bool = False
) -> Bound:
    r"""The probability of :math:`\max_l |\log G_l| \ge \epsilon` that the fluctuation law predicts.

    Args:
        activation: phi, normalized.
        width, depth, epsilon: n, L and the tolerance.
        weights: one of `COVERED`.
        unlikely: also where one large coordinate is likelier than what the law describes, as a search needs it.

    Returns:
        Kind "prediction", or "none" with the reason where the law does not apply.
    """
    law = log_ratio_law(activation, width, depth, weights=weights)
    if isinstance(law, NoPrediction):
        return Bound("none", 0.0, law.reason)
    probability = min(1.0, spread_probability(law, epsilon))
    single = 0.0 if unlikely else one_coordinate(activation, law, probability)
    if single > probability:
        return Bound(
            "none",
            0.0,
            f"one large coordinate alone reaches the tolerance with a probability of about {single:.1g}, more than all "
            f"small deviations together, of which the law speaks",
        )
    with np.errstate(divide="ignore"):
        return Bound("prediction", float(np.log(probability)))


def predicted_margin(
    coefficients: DepthCoefficients[float], width: int, depth: int, prediction: Bound
) -> tuple[float, float] | None:
    """The probabilities that a prediction allows for, see `theory.depth.fluctuation.prediction_margin`.

    Args:
        coefficients: of the normalized activation, those `of_weights`.
        width, depth: n and L.
        prediction: what `predicted` returns there.

    Returns:
        None where the law does not speak.
    """
    law = log_ratio_law(coefficients, width, depth)
    return None if isinstance(law, NoPrediction) else prediction_margin(law, prediction.probability)


def of_weights(activation: Phi, weights: str) -> DepthCoefficients[float]:
    """The coefficients of the fluctuation law of an activation for one law of the weights.

    Args:
        activation: phi, normalized.
        weights: one of `COVERED`.
    """
    return deep.THEOREMS[weights].coefficients(depth_coefficients(activation))


def predicted_norms(
    activation: Phi, width: int, depth: int, probabilities: Sequence[float], weights: str = "haar"
) -> FloatArray | None:
    r"""Quantiles of :math:`\|\partial E/\partial W_l\|_F / \sqrt n` by the fluctuation law, for |dE/dx_L| = 1.

    Args:
        activation: phi, normalized.
        width, depth: n and L.
        probabilities: of the quantiles.
        weights: one of `COVERED`.

    Returns:
        Array (depth, len(probabilities)), None where the law does not apply.
    """
    law = log_ratio_law(activation, width, depth, weights=weights)
    return None if isinstance(law, NoPrediction) else np.exp(law.gradient_bands(probabilities))


def deep_bound(
    activation: Phi,
    width: int,
    depth: int,
    epsilon: float,
    readout: homogeneous.Readout = "random",
    weights: str = "haar",
    ratio: float | None = None,
) -> Bound:
    r"""The proved bound on :math:`P(\max_l |\log G_l| \ge \epsilon)`, by the theorem that fits the activation.

    Args:
        activation: phi, as it is.
        width, depth, epsilon: n, L and the tolerance.
        readout: "random", or "any" where e_L may depend on the forward pass.
        weights: one of `COVERED`.
        ratio: for Gaussian layers of unequal widths, the least of which is `width`, as in `theory.bounds.deep`.
    """
    if homogeneous.homogeneous_slopes(activation) is None:
        return deep.deep_bound(activation, width, depth, epsilon, readout, weights, ratio)
    if weights != "haar":
        return _HAAR_ONLY
    if width < homogeneous.LEAST_WIDTH:
        return Bound("deep", 0.0, f"the theorem needs a width of at least {homogeneous.LEAST_WIDTH}")
    return homogeneous.deep_bound(activation, width, depth, epsilon, readout)


_HAAR_ONLY = Bound(
    "none",
    0.0,
    "for an activation that is linear on either side of 0, such as ReLU, the theorem covers Haar (orthogonal) weights "
    "only; ask for those, or simulate",
)


def deep_width(
    activation: Phi, depth: int, epsilon: float, probability: float, weights: str = "haar"
) -> tuple[int | None, Bound]:
    """The width from which on the deep bound is below a probability, with the bound there, or None with its reason.

    Args:
        activation: phi, as it is.
        depth, epsilon: L and the tolerance.
        probability: between 0 and 1.
        weights: one of `COVERED`.
    """
    slopes = homogeneous.homogeneous_slopes(activation)
    if slopes is None:
        found = deep.required_width_deep(activation, depth, epsilon, probability, weights=weights)
        return found.width, found.bound
    if weights != "haar":
        return None, _HAAR_ONLY
    width = homogeneous.required_width(slopes, depth, epsilon, probability)
    if width is None:
        return None, Bound("deep", 0.0, "no width up to 10^7 is enough")
    return width, homogeneous.slopes_deep_bound(slopes, width, depth, epsilon)


def width_that_tests(
    activation: Phi, depth: int, epsilon: float, most: int, readout: homogeneous.Readout, weights: str = "haar"
) -> int | None:
    """Return a width at which some hundred networks can confirm the deep bound: it is below 0.3, and not by much.

    The search widens by steps of 1.3 from the width at which the fluctuation law predicts 0.003 for some layer, or 0.01
    for a homogeneous activation, whose bound is nearer to it. So the bound ends between about 0.02 and 0.3.

    Args:
        activation: phi, normalized.
        depth, epsilon, readout: as for `deep_bound`.
        most: the largest width that is tried.
        weights: one of `COVERED`.

    Returns:
        None where no such width was found, or no law says where to begin.

    >>> from theory.normalization.normalize import normalize
    >>> from theory.activations.specification import activation
    >>> width_that_tests(normalize(activation("relu")), 10, 1.0, 10_000, "random")
    258
    """
    coefficients = of_weights(activation, weights)
    if coefficients.homogeneous and weights != "haar":
        return None

    def first(width: int, step: float, good: Callable[[int], bool]) -> int | None:
        while width <= most:
            if good(width):
                return width
            width = math.ceil(step * width)
        return None

    least = 0.01 if coefficients.homogeneous else 0.003
    start = first(16, 1.1, lambda width: predicted_range(coefficients, width, depth, epsilon)[0] <= least)
    if start is None:
        return None
    asked = (depth, epsilon, readout, weights)
    return first(start, 1.3, lambda width: deep_bound(activation, width, *asked).log <= math.log(0.3))


def predicted_range(
    coefficients: DepthCoefficients[float], width: int, depth: int, epsilon: float
) -> tuple[float, float]:
    r"""Two numbers between which the predicted probability of leaving the tolerance lies, in milliseconds.

    .. math:: \max_l P(|Y_l| \ge \epsilon) \le P(\max_l |Y_l| \ge \epsilon) \le \sum_l P(|Y_l| \ge \epsilon)

    for the law of `theory.depth.fluctuation`, whose middle term can take seconds. A homogeneous activation has it from
    tabulated quantiles, which end at 1e-7.

    Args:
        coefficients: of the normalized activation, those `of_weights`.
        width, depth, epsilon: n, L and the tolerance.

    Returns:
        (nan, nan) where the law does not speak.
    """
    law = log_ratio_law(coefficients, width, depth)
    if isinstance(law, NoPrediction):
        return np.nan, np.nan
    layers = _gaussian_tails(law, epsilon) if isinstance(law, StableLaw) else _tabulated_tails(law, epsilon)
    return float(np.max(layers, initial=0.0)), min(1.0, float(np.sum(layers)))


def _gaussian_tails(law: LogRatioLaw, epsilon: float) -> FloatArray:
    """P(|Y_l| >= epsilon) of every layer but the top one."""
    deviation = np.sqrt(law.variance[:-1])
    with np.errstate(divide="ignore"):
        below, above = ((sign * law.mean[:-1] - epsilon) / deviation for sign in (-1, 1))
    return np.asarray(special.ndtr(below) + special.ndtr(above))


def _tabulated_tails(law: LogRatioLaw, epsilon: float) -> FloatArray:
    """The same for the law of a homogeneous activation, where Y_l and -Y_l have one law."""
    levels = np.concatenate([np.linspace(0.5, 0.1, 9), np.geomspace(0.08, 5e-8, 41)])  # P(Y_l above a quantile)
    quantiles = law.quantiles(tuple(1 - levels))[:-1]
    logs = [np.interp(epsilon, layer, np.log(levels), right=-np.inf) for layer in quantiles]
    return np.asarray(2 * np.exp(np.array(logs)))
