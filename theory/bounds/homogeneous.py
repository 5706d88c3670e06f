"""The deep bound for positively homogeneous activations: ReLU, leaky ReLU, |x| and their multiples.

With phi(x) = p x above 0 and m x below, Haar weights and a random readout, the squared gradient norms

    G_l = |dE/dW_l|^2 / |dE/dW_L|^2,   l = 1..L,

have an exact law with a few random numbers for each layer, and P(max_l |log G_l| >= epsilon) a bound that is a closed
form up to one-dimensional integrals. Statement and proof: docs/relu-deep-law.md (derived for this project). Multiplying
phi by a constant multiplies every gradient by the same power of it, so nothing here needs a normalized phi.
"""

from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

import numpy as np
import sympy
from scipy.special import betainc, betaincc

from theory.activations.activation import Activation, NumericActivation
from theory.bounds.homogeneous_moments import LayerMoments, SignCounts, fraction_tail, layer_moments, sign_counts
from theory.errors import UsageError
from theory.layer.levy import Bound
from theory.numerics.arithmetic import FloatArray, X, constant_value
from theory.numerics.edge import edge

Readout = Literal["random", "any"]
_SHARES = np.geomspace(0.12, 1.3, 11)  # exponents that are tried, in units of n epsilon/(4 v L)
_LEVELS = (1.0, 0.7, 0.5, 0.35, 0.2)  # of the first exit, in units of epsilon
_ALIGNED_SHARES = np.geomspace(0.002, 0.2, 8)  # and, for s > 0, in units of n/(D max(1, epsilon))
LEAST_WIDTH = 8
_MOST_WIDTH = 10**7
_LEAST_GAP = 1e-6


@dataclass(frozen=True, slots=True)
class Slopes:
    """The two slopes of a positively homogeneous activation, exactly.

    Args:
        positive: p, phi(x) = p x for x > 0.
        negative: m, phi(x) = m x for x < 0.
    """

    positive: sympy.Expr
    negative: sympy.Expr

    @property
    def squares(self) -> tuple[float, float]:
        """The smaller and the larger of p^2 and m^2, scaled to the sum 2; (0, 0) for phi = 0."""
        squares = self.positive**2, self.negative**2
        total = sum(squares)
        if total == 0:
            return 0.0, 0.0
        low, high = sorted(float(constant_value(2 * square / total, 30)) for square in squares)  # may be 1e-400 each
        return low, high

    @property
    def is_isometry(self) -> bool:
        """Whether |p| = |m|: then every layer multiplies lengths and gradients by one constant."""
        return bool(sympy.simplify(self.positive**2 - self.negative**2) == 0)


def homogeneous_slopes(activation: NumericActivation) -> Slopes | None:
    """Read p and m off an activation's exact pieces; None if it is not positively homogeneous.

    >>> homogeneous_slopes(Activation("leaky", sympy.Max(X, X / 10)))
    Slopes(positive=1, negative=1/10)
    """
    if not (isinstance(activation, Activation) and activation.is_positively_homogeneous):
        return None
    first, last = activation.pieces[0], activation.pieces[-1]
    return Slopes(sympy.expand(last.value / X), sympy.expand(first.value / X))


RELU = Slopes(sympy.Integer(1), sympy.Integer(0))
"""The slopes of max(x, 0)."""


def deep_bound(
    activation: NumericActivation, width: int, depth: int, epsilon: float, readout: Readout = "random"
) -> Bound:
    r"""Bound the probability that some gradient of a deep positively homogeneous network leaves its tolerance.

    .. math::
        P(\max_{1 \le l \le L} |\log G_l| \ge \epsilon), \quad G_l = |dE/dW_l|_F^2 / |dE/dW_L|_F^2

    for one input x_0 that is not 0 and independent Haar-orthogonal weights; a layer in which all of ReLU's n neurons
    are inactive counts as leaving. Nothing is claimed of |dE/dW_L| itself (derived for this project,
    docs/relu-deep-law.md, Theorem 2). Exact mathematics up to the rounding of float64, for which the logarithms
    carry an allowance; a moment that cannot be computed makes its term 1.

    Args:
        activation: phi; constant multiples have the same bound, so it need not be normalized.
        width: n.
        depth: L.
        epsilon: > 0, the tolerance of the logarithm of the squared norms' ratio.
        readout: "random", e_L = dE/dx_L a uniformly random direction independent of the weights; "any", e_L whatever
            function of the forward pass for which the last gradient is not 0 (ReLU only; says little, since an aligned
            readout makes G_1 grow like L).

    Raises:
        UsageError: a width below 8, a depth below 1, a tolerance that is not positive, an unknown readout.

    >>> relu = Activation("relu", sympy.Max(X, 0))
    >>> deep_bound(relu, 400, 10, 1.0).probability < 0.05
    True
    >>> deep_bound(Activation("abs", sympy.Abs(X)), 64, 50, 0.5)
    Bound(kind='deep', log=-inf, reason='every layer is an isometry up to a constant: all G_l are exactly 1')
    """
    slopes = homogeneous_slopes(activation)
    if slopes is None:
        _check(width, depth, epsilon, readout)
        return Bound("none", 0.0, f"{activation.name} is not known to be linear on each side of 0 and zero there")
    return slopes_deep_bound(slopes, width, depth, epsilon, readout)


def slopes_deep_bound(slopes: Slopes, width: int, depth: int, epsilon: float, readout: Readout = "random") -> Bound:
    """`deep_bound` for the activation with these slopes."""
    _check(width, depth, epsilon, readout)
    low, high = slopes.squares
    if high == 0.0:
        return Bound("none", 0.0, "phi = 0: every gradient vanishes")
    if slopes.is_isometry:
        return Bound("deep", -np.inf, "every layer is an isometry up to a constant: all G_l are exactly 1")
    if high - low < _LEAST_GAP:
        return Bound("none", 0.0, "the moduli of the slopes differ too little for float64: nearly an isometry")
    if readout == "any" and low > 0.0:
        return Bound("none", 0.0, "for a slope that is nowhere 0 the bound covers the random readout only")
    dead = -width * np.log(2.0) if low == 0.0 else -np.inf  # log P(no neuron of the top layer is active)
    if depth == 1:
        return Bound("deep", float(dead), "one layer: G_1 = 1")
    total = np.exp(dead) + _Certificate(low, high, width, depth, epsilon).total(readout)
    if not total < 1.0:
        return Bound("deep", 0.0, _SILENT[readout])
    return Bound("deep", float(np.log(max(total, 5e-324))))  # never impossible


def required_width(slopes: Slopes, depth: int, epsilon: float, probability: float = 0.05) -> int | None:
    """The width from which `deep_bound` for a random readout promises a probability of at most so much.

    Found by doubling and bisection, so that the bound holds at the width returned and not at one less.

    Args:
        slopes: of phi.
        depth: L.
        epsilon: > 0, the tolerance of the logarithm of the squared norms' ratio.
        probability: strictly between 0 and 1.

    Returns:
        n >= 8; None if no width up to 10^7 is enough (or phi = 0).

    Raises:
        UsageError: a probability outside (0, 1), and as for `deep_bound`.

    >>> required_width(RELU, 10, 1.0)
    285
    """
    if not 0.0 < probability < 1.0:
        raise UsageError(f"the probability must lie strictly between 0 and 1, not {probability}; try 0.05")

    def enough(width: float) -> bool:
        return slopes_deep_bound(slopes, int(width), depth, epsilon).probability <= probability

    found = edge(enough, LEAST_WIDTH, (LEAST_WIDTH, 2 * _MOST_WIDTH))
    return None if found is None else int(found)


_SILENT = {
    "random": "the width is too small for this depth and tolerance",
    "any": "a readout aligned with the signal makes G_1 grow like the depth, which this width and tolerance allow",
}


@dataclass(frozen=True, slots=True)
class _Certificate:
    """The parameters of one evaluation of Theorem 2: all of them free, none of them trusted.

    Args:
        low, high: the squared slopes s < S, of sum 2.
        width, depth, epsilon: n, L, epsilon.
    """

    low: float
    high: float
    width: int
    depth: int
    epsilon: float

    @property
    def gap(self) -> float:
        """D = S - s."""
        return self.high - self.low

    @property
    def deviations(self) -> float:
        """How many standard deviations of the sign counts are allowed, so that the rest hardly matters.

        It follows a guess of minus the logarithm of the bound: n epsilon^2/(8 v L) with v = Var s = D^2/4, or less
        where a strong alignment is more likely than that.
        """
        size = self.width * self.epsilon / self.gap
        guess = size * self.epsilon / (2.0 * self.gap * self.depth)
        if self.low > 0.0:
            guess = min(guess, 0.2 * np.sqrt(size))
        return min(float(np.sqrt(2.0 * (guess + 7.0 + np.log(self.depth)))), 14.0)

    def total(self, readout: Readout) -> float:
        """The sum of all the terms of the theorem; 1 or more where it says nothing."""
        least = 3 if self.low == 0.0 else 2
        counts = sign_counts(self.width, self.deviations, least)
        if len(counts.counts) == 0:
            return 1.0
        threshold, bad = 0.0, 0.0  # R0, and the probability of B < R0 or y < R0 in one layer; not needed where s = 0
        if self.low > 0.0:
            threshold = max(0.5 - self.deviations * np.sqrt(0.75 / self.width), 0.0)
            bad = fraction_tail(counts, threshold, 0.0) + fraction_tail(counts, threshold, 1.0)
        upper = layer_moments(counts, self.low, self.high, self._exponents(1, counts), 1)
        lower = layer_moments(counts, self.low, self.high, self._exponents(-1, counts), -1)
        if readout == "any":
            below, above, shares, rest = np.ones(1), np.ones(1), np.ones(1), 0.0
        else:
            below, above, shares, rest = self._alignments()
        exits = np.ones(len(above))
        # log G must pass -down or up, both at most epsilon, before it leaves the tolerance; for s = 0 neither matters
        shares_of_epsilon = (1.0,) if self.low == 0.0 else _LEVELS
        for down, up in product(self.epsilon * np.array(shares_of_epsilon), repeat=2):
            tails = _best(self._upper(upper, below, above, threshold, down, up))
            drops = _best(self._lower(lower, above, threshold, down))
            exits = np.minimum(exits, np.exp(tails) + np.exp(drops))
        return float((self.depth - 1) * (counts.outside + bad) + rest + shares @ exits)

    def _exponents(self, sign: int, counts: SignCounts) -> FloatArray:
        """Exponents lambda worth trying; those below the least that the proof allows are raised to it.

        The best is near n epsilon/(4 v L), unless the alignment allows no more than a part of n/D.
        """
        best = self.width * self.epsilon / (self.gap**2 * self.depth)
        guess = best * _SHARES
        if self.low > 0.0:
            smaller = self.width / (self.gap * max(1.0, self.epsilon)) * _ALIGNED_SHARES
            guess = np.append(smaller[smaller < guess[0]], guess)
        if self.low == 0.0:  # E B^-lambda and E y^-lambda are finite
            guess = np.minimum(guess, 0.49 * (counts.counts[0] - 1.0))
        return np.maximum(guess, 2.0 if sign > 0 and self.low > 0.0 else 1.0)

    def _alignments(self) -> tuple[FloatArray, FloatArray, FloatArray, float]:
        """Intervals (r', r] for rho_L^2 ~ Beta(1/2, (n-1)/2), their probabilities, and that of all the rest."""
        last = max(self.deviations, 4.0)
        edges = np.minimum(np.linspace(0.0, last, 33) ** 2 / self.width, 1.0)
        cumulated = betainc(0.5, 0.5 * (self.width - 1), edges)
        rest = float(betaincc(0.5, 0.5 * (self.width - 1), edges[-1]))
        return edges[:-1], edges[1:], np.diff(cumulated), rest

    def _upper(
        self, moments: LayerMoments, below: FloatArray, above: FloatArray, threshold: float, down: float, up: float
    ) -> FloatArray:
        """Logarithm of the bound on log G passing `up` before -`down`, (exponents, intervals)."""
        size, r = moments.exponents[:, None], above[None, :]
        start, steps = 1.0 - below[None, :], self.depth - 1
        with np.errstate(all="ignore"):  # an overflow is inf or nan, and makes the term 1
            growth, allowed = moments.base[:, None], np.ones((len(size), len(above)), dtype=bool)
            if self.low > 0.0:
                floor, room = np.exp(-down) - r, self.low + self.gap * threshold
                cost = 2.0 * (size - 1.0) * r / floor * self.gap / room
                share = self.low * (1.0 - threshold) / room  # the largest w- on the good event
                allowed = (floor > 0.0) & (share * (1.0 + cost) <= 1.0)
                growth = np.logaddexp(growth, np.log(cost) + moments.cross[:, None])
            rate = np.maximum(growth, 0.0) / size
            sums = np.where(rate > 0.0, np.expm1(steps * rate) / np.expm1(rate), float(steps))
            reach = np.exp(steps * rate) * start + r * np.exp(moments.excess[:, None] / size) * sums
            log = size * (np.log(reach) - np.log(np.exp(up) - r))
        return np.where(allowed, log, np.nan)

    def _lower(self, moments: LayerMoments, above: FloatArray, threshold: float, down: float) -> FloatArray:
        """Logarithm of the bound on log G passing -`down`, (exponents, intervals).

        Until then G_{l+1} > e^-down, so that rho_{l+1}^2 = rho_L^2/G_{l+1} is below rho_L^2 e^down.
        """
        size, r = moments.exponents[:, None], above[None, :] * np.exp(down)
        with np.errstate(all="ignore"):
            growth, allowed = moments.base[:, None] + 0.0 * r, np.ones((len(size), len(above)), dtype=bool)
            if self.low > 0.0:
                cost = 2.0 * (size + 1.0) * r / (1.0 - r) * self.gap / (self.low + self.gap * threshold)
                allowed = (r < 1.0) & (cost <= 1.0)
                growth = np.logaddexp(growth, np.log(cost) + moments.cross[:, None])
            log = -size * down + (self.depth - 1) * np.maximum(growth, 0.0)
        return np.where(allowed, log, np.nan)


def _best(logs: FloatArray) -> FloatArray:
    """The least over the exponents; what is not a number counts as 0, the logarithm of 1."""
    best: FloatArray = np.where(np.isnan(logs), 0.0, logs).min(axis=0)
    return np.minimum(best, 0.0)


def _check(width: int, depth: int, epsilon: float, readout: str) -> None:
    for name, value, least in (("width", width, LEAST_WIDTH), ("depth", depth, 1)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise UsageError(f"the {name} must be a whole number of at least {least}, not {value}")
    if not (np.isfinite(epsilon) and epsilon > 0):
        raise UsageError(f"epsilon must be a positive number, not {epsilon}; try 0.5")
    if readout not in get_args(Readout):
        raise UsageError(f"the readout must be one of {', '.join(get_args(Readout))}, not {readout!r}")
