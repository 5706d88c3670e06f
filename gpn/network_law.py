"""What theory and simulation say of the gradients of a whole network, one probability at a time."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gpn import cells, experiment
from theory import deep_bound as smooth
from theory import homogeneous
from theory.activation import Activation, CallableActivation
from theory.concentration import Bound
from theory.fluctuation import log_ratio_law, spread_probability
from theory.fluctuation_coefficients import NoPrediction

Phi = Activation | CallableActivation
FloatArray = npt.NDArray[np.float64]

SIMULATED_TRIALS = 4000
_STREAM = 6  # identity of the random numbers, see gpn.plan
_CHUNK_NEURONS = 8_000_000


def predicted(activation: Phi, width: int, depth: int, epsilon: float) -> Bound:
    r"""The probability of :math:`\max_l |\log G_l| \ge \epsilon` that the fluctuation law predicts.

    Args:
        activation: phi, normalized.
        width, depth, epsilon: n, L and the tolerance.

    Returns:
        Kind "prediction", or "none" with the reason where the law does not apply.
    """
    law = log_ratio_law(activation, width, depth)
    if isinstance(law, NoPrediction):
        return Bound("none", 0.0, law.reason)
    with np.errstate(divide="ignore"):
        return Bound("prediction", min(0.0, float(np.log(spread_probability(law, epsilon)))))


def predicted_norms(activation: Phi, width: int, depth: int, probabilities: Sequence[float]) -> FloatArray | None:
    r"""Quantiles of :math:`\|\partial E/\partial W_l\|_F / \sqrt n` by the fluctuation law, for |dE/dx_L| = 1.

    Args:
        activation: phi, normalized.
        width, depth: n and L.
        probabilities: of the quantiles.

    Returns:
        Array (depth, len(probabilities)), None where the law does not apply.
    """
    law = log_ratio_law(activation, width, depth)
    return None if isinstance(law, NoPrediction) else np.exp(law.gradient_bands(probabilities))


def deep_bound(
    activation: Phi, width: int, depth: int, epsilon: float, readout: homogeneous.Readout = "random"
) -> Bound:
    r"""The proved bound on :math:`P(\max_l |\log G_l| \ge \epsilon)`, by the theorem that fits the activation.

    Args:
        activation: phi, as it is.
        width, depth, epsilon: n, L and the tolerance.
        readout: "random", or "any" where e_L may depend on the forward pass.
    """
    if homogeneous.homogeneous_slopes(activation) is None:
        return smooth.deep_bound(activation, width, depth, epsilon, readout)
    if width < homogeneous.LEAST_WIDTH:
        return Bound("deep", 0.0, f"the theorem needs a width of at least {homogeneous.LEAST_WIDTH}")
    return homogeneous.deep_bound(activation, width, depth, epsilon, readout)


def deep_width(activation: Phi, depth: int, epsilon: float, probability: float) -> tuple[int | None, Bound]:
    """The width from which on the deep bound is below a probability, with the bound there, or None with its reason.

    Args:
        activation: phi, as it is.
        depth, epsilon: L and the tolerance.
        probability: between 0 and 1.
    """
    slopes = homogeneous.homogeneous_slopes(activation)
    if slopes is None:
        found = smooth.required_width_deep(activation, depth, epsilon, probability)
        return found.width, found.bound
    width = homogeneous.required_width(slopes, depth, epsilon, probability)
    if width is None:
        return None, Bound("deep", 0.0, "no width up to 10^7 will do")
    return width, homogeneous.slopes_deep_bound(slopes, width, depth, epsilon)


class Simulated:
    """Frequencies of the event in simulated networks, as if they were probabilities.

    Args:
        activation: phi, as it is.
        seed: of the run.
        trials: networks at each point.
    """

    def __init__(self, activation: Phi, seed: int, trials: int = SIMULATED_TRIALS) -> None:
        self.activation, self.seed, self.trials = activation, seed, trials

    def __call__(self, width: int, depth: int, epsilon: float) -> Bound:
        """The share of networks in which some |log G_l| is epsilon or more."""
        cell = experiment.Cell(
            compute=cells.Deep(self.activation, width, depth, "haar"),
            experiment=_STREAM,
            cell=width << 32 | depth,
            trials=self.trials,
            chunk=max(1, _CHUNK_NEURONS // (width * depth)),
        )
        [found] = experiment.run([cell], self.seed, workers=None)
        with np.errstate(divide="ignore"):
            return Bound("simulation", float(np.log((found["spread"] >= epsilon).mean())))
