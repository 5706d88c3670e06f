"""What theory and simulation say of the gradients of a whole network, one probability at a time."""

import numpy as np

from gpn import cells, experiment
from gpn.homogeneous_law import sample_homogeneous_ratios
from theory import deep_bound as smooth
from theory import homogeneous
from theory.activation import Activation, CallableActivation
from theory.concentration import Bound
from theory.fluctuation import fluctuation_coefficients, log_ratio_law, log_spread_probability

Phi = Activation | CallableActivation

LAW_TRIALS = 20_000
_LEAST_SEEN = 20  # of these, for their share to be taken as a probability


def predicted(activation: Phi, width: int, depth: int, epsilon: float) -> Bound:
    r"""The probability of :math:`\max_l |\log G_l| \ge \epsilon` that theory predicts, kind "none" where it does not.

    For |chi| < 1 that of the normal law of fluctuations (`theory.fluctuation`), for a positively homogeneous phi the
    share among networks drawn from their exact law in O(L) each (`gpn.homogeneous_law`).

    Args:
        activation: phi, normalized.
        width, depth, epsilon: n, L and the tolerance.
    """
    if depth < 2:
        return Bound("prediction", -np.inf)
    slopes = homogeneous.homogeneous_slopes(activation)
    if slopes is not None:
        return _simulated_law(slopes, width, depth, epsilon)
    coefficients = fluctuation_coefficients(activation)
    if coefficients.obstacle:
        return Bound("none", 0.0, coefficients.obstacle)
    return Bound("prediction", log_spread_probability(log_ratio_law(coefficients, width, depth), epsilon))


def _simulated_law(slopes: homogeneous.Slopes, width: int, depth: int, epsilon: float) -> Bound:
    rng = np.random.default_rng([width, depth])  # the same networks for every epsilon, and in every run
    ratios = sample_homogeneous_ratios(float(slopes.positive), float(slopes.negative), width, depth, LAW_TRIALS, rng)
    seen = int((~(np.abs(ratios).max(axis=1) < epsilon)).sum())  # a dead layer counts as seen
    if seen < _LEAST_SEEN:
        return Bound("none", 0.0, f"seen {seen} times among {LAW_TRIALS:,} networks drawn from the exact law")
    return Bound("prediction", float(np.log(seen / LAW_TRIALS)))


SIMULATED_TRIALS = 4000
_STREAM = 6  # identity of the random numbers, see gpn.plan
_CHUNK_NEURONS = 8_000_000


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


def deep_bound(activation: Phi, width: int, depth: int, epsilon: float, readout: str = "random") -> Bound:
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
