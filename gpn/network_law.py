"""What theory and simulation say of the gradients of a whole network, one probability at a time."""

import numpy as np

from gpn import cells, experiment
from theory.activation import Activation, CallableActivation
from theory.concentration import Bound

Phi = Activation | CallableActivation

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
