r"""Norms of deep positively homogeneous networks by their exact law: a few random numbers for each layer, no vector.

With squared slopes S of the positive side and s of the other, k ~ Bin(n, 1/2) active neurons, and given k independently
B ~ Beta(k/2, (n-k)/2) and (c^2, R+, R-) ~ Dirichlet(1/2, (k-1)/2, (n-k-1)/2), c symmetric,

    |x_l|^2/|x_(l-1)|^2 = Q = s + (S - s) B,   |d_l|^2/|e_l|^2 = S e+^2 + s e-^2,   e+^2 + e-^2 = 1,

where e+ and e- are the parts of the unit vector along e_l on the two sides, whose cosine with x_l follows the products
<e_l, x_l>, which are equal in all layers (docs/relu-deep-law.md, derived for this project).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpn.engine.norms import FloatArray, quiet
from gpn.experiment.cells import Deep, spread
from gpn.verification.engine import coins
from theory.bounds.homogeneous import homogeneous_slopes


@dataclass(frozen=True)
class HomogeneousPairs:
    """Pairs of a network and a draw from the exact law: which of the two has the larger number, as in `Pairs`.

    Args:
        networks: how the networks are drawn: Haar weights, inputs on the thin shell, a random readout.
        squares: S and s.
    """

    networks: Deep
    squares: tuple[float, float]

    def __call__(self, rng: np.random.Generator, trials: int) -> dict[str, FloatArray]:
        sample = self.networks.sample(rng, trials)
        logs = self.networks.log_gradients(sample)
        with quiet():
            seen = {"forward": sample.signal_norms[:, -1], "backward": sample.backward_norms[:, 0]}
            both = np.exp(spread(logs))
        law = exact_norms(self.networks.width, self.networks.depth, trials, self.squares, rng)
        return {
            f"law {name}": coins.exceeds(value, law[name])[:, None] for name, value in (seen | {"both": both}).items()
        }


def squared_slopes(networks: Deep) -> tuple[float, float] | None:
    """S and s of a network's activation.

    None where it is not positively homogeneous, where all its ratios are 1, and where float64 cannot hold the squares.
    """
    slopes = homogeneous_slopes(networks.activation)
    if slopes is None or slopes.is_isometry:
        return None
    _, values = networks.activation.value_and_slope(np.array([1.0, -1.0]))
    high, low = (float(value) * float(value) for value in values)
    return (high, low) if 0 < max(high, low) < np.inf else None


def exact_norms(
    width: int, depth: int, trials: int, squares: tuple[float, float], rng: np.random.Generator
) -> dict[str, FloatArray]:
    """Draw |x_L|, |d_1| and the largest ratio of squared gradients either way, each (trials,).

    Args:
        width, depth, trials: n, L and how many networks.
        squares: S and s.
        rng: the randomness.
    """
    high, low = squares
    shape = (depth, trials)
    active = rng.binomial(width, 0.5, shape)
    plus, minus = _chi_square(active, rng), _chi_square(width - active, rng)
    shares = plus / (plus + minus)
    lengths = low + (high - low) * shares
    square = rng.standard_normal(trials) ** 2
    alignment = square / (square + 2 * rng.standard_gamma((width - 1) / 2, trials))  # of e_L with x_L
    logs = np.zeros((depth + 1, trials))
    with quiet():
        for layer in range(depth - 1, -1, -1):
            growth = _growth(alignment, active[layer], shares[layer], lengths[layer], squares, width, rng)
            logs[layer] = logs[layer + 1] + np.log(growth)
            alignment = np.nan_to_num(np.minimum(alignment * lengths[layer] / growth, 1.0), nan=1.0)  # 0/0: it died
        forward = np.concatenate([np.zeros((1, trials)), np.cumsum(np.log(lengths), axis=0)])
        gradients = (logs[:-1] + forward[:-1]).T / 2  # log |d_l| |x_(l-1)|, up to a constant
        return {
            "forward": np.sqrt(width) * np.exp(forward[-1] / 2),
            "backward": np.exp(logs[0] / 2),
            "both": np.exp(spread(gradients)),
        }


def _growth(
    alignment: FloatArray,
    active: npt.NDArray[np.int64],
    share: FloatArray,
    length: FloatArray,
    squares: tuple[float, float],
    width: int,
    rng: np.random.Generator,
) -> FloatArray:
    """|d|^2/|e|^2 of one layer for the squared cosine of e with x: the parts of e on the two sides, by their slopes."""
    high, low = squares
    normal = rng.standard_normal(active.shape)
    first, second = _chi_square(active - 1, rng), _chi_square(width - active - 1, rng)
    rest = (1 - alignment) / (normal**2 + first + second)
    on, off = np.sqrt(high * share / length), np.sqrt(low * (1 - share) / length)  # of the unit vector along x
    along, across = np.sqrt(alignment), np.sqrt(rest) * normal
    plus = (along * on + across * off) ** 2 + rest * first
    minus = (along * off - across * on) ** 2 + rest * second
    whole = np.where(active == 0, low, high)  # all neurons on one side: a multiple of the vector
    mixed: FloatArray = high * plus + low * minus
    return np.where((active == 0) | (active == width), whole, mixed)


def _chi_square(degrees: npt.NDArray[np.int64], rng: np.random.Generator) -> FloatArray:
    """One for each number of degrees of freedom; 0 for none."""
    return 2.0 * rng.standard_gamma(0.5 * np.maximum(degrees, 0))
