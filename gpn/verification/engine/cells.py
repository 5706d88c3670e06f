"""Which networks the engine is tested on: some of those of the verification, and small ones with explicit matrices."""

from dataclasses import dataclass, replace

import numpy as np

from gpn.engine.norms import FloatArray, quiet
from gpn.experiment.cells import Deep, spread
from gpn.verification.engine import coins, growth, identities, squares
from gpn.verification.engine.trace import trace
from theory.activations.activation import Activation


@dataclass(frozen=True)
class Laws:
    """Every exact law, on the vectors of networks: arrays by "kind name", each (trials, depth).

    Args:
        networks: how they are drawn.
        slope: a Lipschitz constant of the activation, None where none is proved.
    """

    networks: Deep
    slope: float | None = None

    def __call__(self, rng: np.random.Generator, trials: int) -> dict[str, FloatArray]:
        seen = trace(self.networks, rng, trials)
        found = {f"identity {name}": missed for name, missed in identities.deviations(seen).items()}
        if isinstance(self.networks.activation, Activation):  # a Python function is its own formula
            found["identity activation"] = identities.formula_deviations(seen, self.networks.activation)
        tossed = {
            "preactivation": coins.forward_coins(seen, self.networks.activation, rng),
            "direction": coins.backward_coins(seen, rng),
        }
        found |= {f"{law} {name}": heads for law, by_name in tossed.items() for name, heads in by_name.items()}
        means = {"growth": growth.excess(seen), "square": squares.excess(seen, self.networks.activation, self.slope)}
        for law, parts in means.items():
            found |= {f"{law} {name}": part for name, part in zip(growth.PARTS, parts or (), strict=parts is not None)}
        return found


@dataclass(frozen=True)
class Pairs:
    """Pairs of networks, one matrix-free and one with explicit matrices: which of the two has the larger number.

    By exchange each coin is fair: |x_L| for the forward pass, |d_1| for the backward pass, and the largest ratio of
    gradients for the two together.

    Args:
        networks: how one of them is drawn.
    """

    networks: Deep

    def __call__(self, rng: np.random.Generator, trials: int) -> dict[str, FloatArray]:
        with quiet():
            one, other = (self._numbers(method, rng, trials) for method in ("matrix-free", "dense"))
        return {f"pair {name}": coins.exceeds(one[name], other[name])[:, None] for name in one}

    def _numbers(self, method: str, rng: np.random.Generator, trials: int) -> dict[str, FloatArray]:
        networks = replace(self.networks, method=method)
        sample = networks.sample(rng, trials)
        both = np.exp(spread(networks.log_gradients(sample)))  # a ratio, so that its rounding is a tie
        return {"forward": sample.signal_norms[:, -1], "backward": sample.backward_norms[:, 0], "both": both}
