"""The exact law of the gradient ratios of deep positively homogeneous networks, without any vector.

With phi(x) = p x above 0 and m x below (ReLU, leaky ReLU, |x|), independent Haar-orthogonal n x n weights and one
input, the ratios

    G_l = |dE/dW_l|^2 / |dE/dW_L|^2,   l = 1..L,

are a function of a Markov chain of the squared cosine between h_l and d_l, one step of which takes five random
numbers whatever the width. Theorem 1 of docs/relu-deep-law.md (derived for this project). Multiplying phi by a constant
changes no ratio, nor does swapping the slopes or changing the sign of one.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from gpn.engine.arguments import check_generator, count
from gpn.engine.norms import FloatArray
from theory.errors import UsageError

BLOCK_TRIALS = 2**14
"""Networks that are worked on together: a handful of arrays of 128 KiB."""


_Draw = Callable[[FloatArray, np.random.Generator], FloatArray]
"""Draws log Y_l for given squared cosines rho_{l+1}^2; nan in a layer that lets nothing through."""


def sample_relu_ratios(width: int, depth: int, trials: int, rng: np.random.Generator) -> FloatArray:
    r"""Draw log G_l of deep ReLU networks with a random readout by their affine recursion.

    .. math::
        G_L = 1, \quad G_l = X_l G_{l+1} + \rho_L^2 C_l, \quad X = B'/B, \; C = (1-B')/B, \quad
        \rho_L^2 \sim \mathrm{Beta}(1/2, (n-1)/2)

    with k ~ Bin(n, 1/2) and, given k, independent B ~ Beta(k/2, (n-k)/2) and B' ~ Beta((k-1)/2, (n-k)/2)
    (docs/relu-deep-law.md, Theorem 1 for s = 0).

    Args:
        width: n.
        depth: L.
        trials: independent networks.
        rng: where the randomness comes from.

    Returns:
        log G_l, array (trials, L), the last column 0; nan in the whole row of a network with a layer in which no
        neuron is active (probability about L 2^-n): all its gradients are 0 and have no ratio.

    Raises:
        UsageError: a width, depth or number of trials that is no whole number of at least 1, or no generator.

    >>> log_ratios = sample_relu_ratios(64, 10, 1000, np.random.default_rng(0))
    >>> log_ratios.shape, round(float(np.median(np.abs(log_ratios[:, 0]))), 1)
    ((1000, 10), 0.5)
    """
    width, depth, trials = count("width", width), count("depth", depth), count("trials", trials)
    check_generator(rng)
    return _sample(width, depth, trials, rng, "random", _ReLUStep(width), dying=True)


def sample_homogeneous_ratios(
    positive_slope: float,
    negative_slope: float,
    width: int,
    depth: int,
    trials: int,
    rng: np.random.Generator,
    *,
    readout: str = "random",
) -> FloatArray:
    r"""Draw log G_l of deep networks with phi(x) = p x above 0 and m x below.

    .. math::
        G_L = 1, \quad G_l = Y_l G_{l+1}, \quad Y_l = \hat e^T N \hat e / Q, \quad \rho_l^2 = \rho_{l+1}^2 / Y_l

    where N holds the squared slopes of layer l, Q is the squared length of x_l over that of h_l, and the unit vector
    e_l has the squared cosine rho_{l+1}^2 with x_l (docs/relu-deep-law.md, Theorem 1).

    Args:
        positive_slope, negative_slope: p and m, not both 0.
        width, depth, trials, rng: as for `sample_relu_ratios`.
        readout: e_L = dE/dx_L: "random", a uniform direction independent of the weights; "aligned", e_L = x_L.

    Returns:
        log G_l, array (trials, L); nan as for `sample_relu_ratios`, only if a slope is 0.

    Raises:
        UsageError: slopes that are not finite or both 0, and as for `sample_relu_ratios`.

    >>> rng = np.random.default_rng(0)
    >>> bool(np.all(sample_homogeneous_ratios(1.0, -1.0, 8, 5, 100, rng) == 0.0))  # |x|: an isometry
    True
    """
    if not (np.isfinite([positive_slope, negative_slope]).all() and (positive_slope or negative_slope)):
        raise UsageError(f"the slopes must be finite and not both 0, not {positive_slope} and {negative_slope}")
    if readout not in ("random", "aligned"):
        raise UsageError(f"the readout must be 'random' or 'aligned', not {readout!r}")
    width, depth, trials = count("width", width), count("depth", depth), count("trials", trials)
    check_generator(rng)
    largest = max(abs(positive_slope), abs(negative_slope))
    plus, minus = (positive_slope / largest) ** 2, (negative_slope / largest) ** 2
    return _sample(width, depth, trials, rng, readout, _Step(width, plus, minus), dying=min(plus, minus) == 0.0)


def _sample(
    width: int, depth: int, trials: int, rng: np.random.Generator, readout: str, step: _Draw, *, dying: bool
) -> FloatArray:
    """Run the chain downwards from the top layer, block by block."""
    result = np.zeros((depth, trials))
    for start in range(0, trials, BLOCK_TRIALS):
        block = result[:, start : start + BLOCK_TRIALS]
        if readout == "aligned":  # rho_{L+1} = 1, and layer L turns it into rho_L
            top = np.exp(-step(np.ones(block.shape[1]), rng))
        else:
            top = _random_alignment(width, block.shape[1], rng)
            if dying:
                top[rng.random(len(top)) < 2.0**-width] = np.nan
        for layer in range(depth - 2, -1, -1):
            alignment = np.minimum(top * np.exp(-block[layer + 1]), 1.0)  # rho_{l+1}^2 = rho_L^2/G_{l+1}
            block[layer] = block[layer + 1] + step(alignment, rng)
        block[:, np.isnan(top + block[0])] = np.nan
    return result.T


def _random_alignment(width: int, size: int, rng: np.random.Generator) -> FloatArray:
    """Beta(1/2, (n-1)/2)."""
    along = rng.standard_normal(size) ** 2
    return along / (along + 2.0 * rng.standard_gamma(0.5 * (width - 1), size))


class _ReLUStep:
    """Y = X + rho^2 C."""

    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self, alignment: FloatArray, rng: np.random.Generator) -> FloatArray:
        k = rng.binomial(self.width, 0.5, len(alignment))
        forward = _beta(k, self.width - k, rng)  # nan or 0 for k = 0
        backward = _beta(k - 1, self.width - k, rng)
        with np.errstate(invalid="ignore", divide="ignore"):
            log_ratio = np.log((backward + alignment * (1.0 - backward)) / forward)
        log_ratio[k == self.width] = 0.0
        log_ratio[k == 0] = np.nan
        return log_ratio


class _Step:
    """Y = e^T N e/Q from the parts of a unit vector e on the active and on the inactive neurons.

    With w+ = S B/Q and w- = 1 - w+ the shares of the two sets in the squared length of x, e has on them the components
    rho sqrt(w+) + sqrt(1-rho^2) c sqrt(w-) and rho sqrt(w-) - sqrt(1-rho^2) c sqrt(w+) along x, and rests of squared
    lengths (1-rho^2) R+ and (1-rho^2) R-, where c^2 : R+ : R- are as chi-squares of 1, k-1 and n-k-1 degrees.
    """

    def __init__(self, width: int, plus: float, minus: float) -> None:
        self.width, self.plus, self.minus = width, plus, minus

    def __call__(self, alignment: FloatArray, rng: np.random.Generator) -> FloatArray:
        if self.plus == self.minus:
            return np.zeros(len(alignment))
        k = rng.binomial(self.width, 0.5, len(alignment))
        forward = _beta(k, self.width - k, rng)
        c = rng.standard_normal(len(k))
        active, inactive = _chi_square(k - 1, rng), _chi_square(self.width - k - 1, rng)
        with np.errstate(invalid="ignore", divide="ignore"):
            length = self.plus * forward + self.minus * (1.0 - forward)
            share = self.plus * forward / length
            rest = (1.0 - alignment) / (c * c + active + inactive)
            along, across = np.sqrt(alignment), np.sqrt(rest) * c
            first = (along * np.sqrt(share) + across * np.sqrt(1.0 - share)) ** 2 + rest * active
            second = (along * np.sqrt(1.0 - share) - across * np.sqrt(share)) ** 2 + rest * inactive
            log_ratio = np.log((self.plus * first + self.minus * second) / length)
        log_ratio[k == self.width] = 0.0 if self.plus > 0.0 else np.nan
        log_ratio[k == 0] = 0.0 if self.minus > 0.0 else np.nan
        return log_ratio


def _chi_square(degrees: npt.NDArray[np.int64], rng: np.random.Generator) -> FloatArray:
    """One for each number of degrees of freedom; 0 for none."""
    return 2.0 * rng.standard_gamma(0.5 * np.maximum(degrees, 0))


def _beta(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], rng: np.random.Generator) -> FloatArray:
    """Beta(first/2, second/2), 0 or 1 where one of them is 0."""
    x, y = _chi_square(first, rng), _chi_square(second, rng)
    with np.errstate(invalid="ignore"):
        return np.asarray(x / (x + y), dtype=np.float64)
