"""Rare events of one layer by importance sampling with bounded weights: probabilities that counting cannot see.

The events of one layer are sums over its neurons, with h uniform on the sphere of radius sqrt(n):

    A = {sum_i g(h_i) >= 0}                 forward, and backward with a fixed flat direction,
    A = {sum_i g(h_i) w_i^2 >= 0}           backward with a fresh direction u = w / |w|, w ~ N(0, I_n),

g = +-(psi - t) with psi = phi^2 or phi'^2. The first n - 2 coordinates of h are uniform in the ball of radius sqrt(n)
(Archimedes), of volume V, and the other two uniform on the circle that is left. So n - 2 coordinates are drawn i.i.d.
from a density p close to the tilted law, whose density under the standard normal law is

    exp(lambda g(z) w^2 + mu z^2) / Z   on |z| <= sqrt(n),     w = 1 without a direction,

and the other two on their circle. Which two makes no difference to A, so the density of h under this law may be
averaged over all pairs {i, j}, and

    1_A / (V mean_{i<j} prod_{l != i, j} p(h_l))

is an unbiased estimator of P(A); with a direction the density of w_l over its normal one stands beside that of h_l.
p is constant on each of many cells and nowhere below the tilted law, so that it is known exactly, and by Jensen's
inequality the estimator has a largest value (docs/statistics.md#rare-events).

Sources: importance sampling at the saddle point, D. Siegmund, Annals of Statistics 4 (1976) 673-684; coordinates of the
sphere, P. Diaconis and D. Freedman, Ann. Inst. H. Poincaré 23 (1987) 397-423; the bounded weights are derived for this
project.
"""

from dataclasses import dataclass
from math import lgamma
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gpn.engine.arguments import check_generator, count
from gpn.engine.norms import FloatArray
from theory.claims.counted import ONE_LAYER, SIDES, CountedClaim
from theory.errors import UsageError

_CELLS = 2**14  # of the step density; more in wide layers, where many cells add their small excess
_MOST_CELLS = 2**18
_LARGEST = 300.0  # logarithm up to which the inverse of a density is distinguished from larger ones
_NEGLIGIBLE = 30.0  # nats below its maximum at which the tilted density gets one wide cell on each side
Cells = npt.NDArray[np.intp]
BLOCK = 2**19  # coordinates that are worked on together: 4 MiB for each array


class Evaluated(Protocol):
    """What is needed of an activation: fresh arrays of phi and of phi', and where phi or phi' breaks."""

    @property
    def breakpoint_values(self) -> FloatArray: ...
    def value(self, x: FloatArray, /) -> FloatArray: ...
    def slope(self, x: FloatArray, /) -> FloatArray: ...


@dataclass(frozen=True, slots=True)
class TailEvent:
    """One side of a one-step event: the claim, the width and the tolerance.

    Args:
        claim: one of `ONE_LAYER`.
        width: n.
        epsilon: > 0.
        side: "upper", the mean square is 1 + epsilon or more, or "lower", 1 - epsilon or less.
        tie: rounding of a mean square that has an atom at the tolerance itself, 0 in a continuous event.
    """

    claim: str
    width: int
    epsilon: float
    side: str
    tie: float = 0.0

    def excess(self, activation: Evaluated, x: FloatArray) -> FloatArray:
        """g(x) = +-(psi(x) - t), elementwise: the event is that its (weighted) sum is not negative."""
        square = activation.value(x) if self.claim == CountedClaim.FORWARD else activation.slope(x)
        square *= square
        if self.side == "upper":
            square -= 1 + self.epsilon
            return square
        return np.subtract(1 - self.epsilon, square, out=square)

    @property
    def has_direction(self) -> bool:
        """Whether a random direction weighs the coordinates."""
        return self.claim == CountedClaim.BACKWARD_RANDOM


@dataclass(frozen=True, slots=True)
class Tilt:
    """The saddle point of Cramér's bound: exponents of the event's sum and of |z|^2."""

    exponent: float
    radial: float


def importance_sample(
    activation: Evaluated, event: TailEvent, tilt: Tilt, draws: int, rng: np.random.Generator
) -> FloatArray:
    r"""Logarithms of independent unbiased estimates of the probability of a rare one-step event, one for each draw.

    .. math:: \hat P = \frac{1_A(h)}{V \binom{n}{2}^{-1} \sum_{i<j} \prod_{l \ne i, j} p(h_l, w_l)}, \qquad
              V = \frac{(\pi n)^{n/2-1}}{\Gamma(n/2)}, \qquad E \hat P = P(A), \qquad \hat P \le C

    with C of `log_largest_estimate`, as in the module.

    Args:
        activation: phi, as it is.
        event: A.
        tilt: exponents lambda >= 0 and mu, from the saddle point of Cramér's bound; others are unbiased too.
        draws: how many.
        rng: where the randomness comes from.

    Returns:
        Array (draws,): log of the estimates, minus infinity where the event is missed.

    Raises:
        UsageError: an unknown claim or side, a tilt that has no law, or an event that the sphere does not reach.

    >>> from theory.activations.specification import activation
    >>> event = TailEvent(CountedClaim.BACKWARD_FIXED, 8, 1.0, "upper")  # all of 8 signs are positive
    >>> relu = activation("sqrt(2)*max(x, 0)")
    >>> logs = importance_sample(relu, event, Tilt(20.0, 0.0), 5000, np.random.default_rng(0))
    >>> abs(float(np.exp(logs).mean()) * 256 - 1) < 0.1
    True
    """
    draws = count("draws", draws)
    check_generator(rng)
    law = _TiltedLaw(activation, event, tilt)
    logs = np.full(draws, -np.inf)
    size = max(1, BLOCK // event.width)
    for part in np.split(logs, range(size, draws, size)):
        h, cells = law.draw(len(part), rng)
        inside = np.isfinite(h[:, -1])
        part[inside] = law.log_estimates(h[inside], cells[inside], rng)
    return logs


def log_largest_estimate(activation: Evaluated, event: TailEvent, tilt: Tilt) -> float:
    r"""The logarithm of a number C that no estimate of `importance_sample` exceeds.

    .. math:: C = \frac{1}{V} \left(\bar Z e^{1/2 - \mu}\right)^{n-2} e^{\lambda n \tau}, \qquad
              p(z, w) \ge e^{\lambda g(z) w^2 + (\mu - 1/2) z^2} / \bar Z

    with w = 1 without a direction, and tau the rounding of an atom (proof: docs/statistics.md#rare-events). That p lies
    above the tilted law is computed at three points of each of 2^14 cells or more, not proved.

    Args:
        activation, event, tilt: as for `importance_sample`.

    Raises:
        UsageError: as for `importance_sample`.
    """
    return _TiltedLaw(activation, event, tilt).log_largest


class _TiltedLaw:
    """A step density above the tilted law of a coordinate, and estimates of the event from n - 2 of them."""

    def __init__(self, activation: Evaluated, event: TailEvent, tilt: Tilt) -> None:
        _check(event)
        self.activation, self.event, self.tilt = activation, event, tilt
        n = event.width
        self.end = float(np.sqrt(n))  # no coordinate of the sphere lies beyond
        self.log_volume = (0.5 * n - 1) * float(np.log(np.pi * n)) - lgamma(0.5 * n)
        self.edges = self._edges()
        self.left, self.size = self.edges[:-1], np.diff(self.edges)
        heights = self._heights()
        peak = float(heights.max())
        masses = np.exp(heights - peak) * self.size
        log_total = peak + float(np.log(masses.sum()))
        self.log_density = heights - log_total
        self.keep, self.alias = _alias_table(masses / masses.sum())
        slack = tilt.exponent * n * event.tie
        self.log_largest = (n - 2) * (log_total + 0.5 - tilt.radial) + slack - self.log_volume

    def draw(self, rows: int, rng: np.random.Generator) -> tuple[FloatArray, Cells]:
        """Points h and the cells of their coordinates, arrays (rows, n).

        The last two coordinates are nan where the others leave the sphere.
        """
        n = self.event.width
        h = np.empty((rows, n))
        place = rng.random((rows, n - 2))
        place *= len(self.keep)
        cells = np.empty((rows, n), dtype=np.intp)
        first = place.astype(np.intp)
        place -= first
        first = np.where(place < self.keep[first], first, self.alias[first])
        h[:, :-2] = self.left[first] + self.size[first] * rng.random(first.shape)
        with np.errstate(invalid="ignore"):
            radius, angle = np.sqrt(n - np.einsum("ij,ij->i", h[:, :-2], h[:, :-2])), 2 * np.pi * rng.random(rows)
        h[:, -2], h[:, -1] = radius * np.cos(angle), radius * np.sin(angle)
        cells[:, :-2] = first
        cells[:, -2:] = np.clip(np.searchsorted(self.edges, h[:, -2:], side="right") - 1, 0, len(self.left) - 1)
        return h, cells

    def log_estimates(self, h: FloatArray, cells: Cells, rng: np.random.Generator) -> FloatArray:
        """Log of the estimates at points of the sphere, minus infinity where the event is missed.

        The w_i of a direction are normal of variance 1 / (1 - 2 lambda g(h_i)), but for the last two, of variance 1.
        """
        estimates = np.full(len(h), -np.inf)
        gains = self.event.excess(self.activation, h)
        if self.event.has_direction:
            stretch = 1 - 2 * self.tilt.exponent * gains
            squares = rng.standard_normal(h.shape)
            squares *= squares
            squares[:, :-2] /= stretch[:, :-2]
            gains *= squares
        hit = gains.sum(axis=1) >= -self.event.width * self.event.tie
        logs = self.log_density[cells[hit]]
        if self.event.has_direction:
            logs += self.tilt.exponent * gains[hit] + 0.5 * np.log(stretch[hit])
        estimates[hit] = -self.log_volume - logs.sum(axis=1) - _log_pair_mean(-logs)
        return estimates

    def _log_weight(self, x: FloatArray) -> FloatArray:
        """l(x) + (mu - 1/2) x^2: the logarithm of the tilted density, not normalized."""
        gains = self.event.excess(self.activation, x)
        log = (self.tilt.radial - 0.5) * x * x
        if self.event.has_direction:
            with np.errstate(invalid="ignore", divide="ignore"):
                return log - 0.5 * np.log1p(-2 * self.tilt.exponent * gains)
        return log + self.tilt.exponent * gains

    def _edges(self) -> FloatArray:
        """Ends of the cells: fine where the tilted law lives, one more on each side, split where phi or phi' breaks."""
        rough = np.linspace(-self.end, self.end, 20_001)
        log = self._log_weight(rough)
        if not (log < np.inf).all():
            raise UsageError(f"the tilt {self.tilt} has no law: its density is not finite")
        gains = self.event.excess(self.activation, rough)
        balanced = gains if self.event.has_direction else log + 0.5 * rough * rough - self.tilt.radial
        if gains.max() < 0 or balanced.max() < -self.tilt.exponent * self.event.tie:
            raise UsageError(f"{self.event} is impossible: no point of the sphere reaches it, and none can be sampled")
        live = rough[log > log.max() - _NEGLIGIBLE]
        margin = rough[1] - rough[0]
        low, high = max(live[0] - margin, -self.end), min(live[-1] + margin, self.end)
        cells = min(_CELLS * -(-self.event.width // 1024), _MOST_CELLS)
        breaks = self.activation.breakpoint_values
        inner = np.concatenate([np.linspace(low, high, cells + 1), breaks[np.abs(breaks) < self.end]])
        return np.union1d(inner, [-self.end, self.end])

    def _heights(self) -> FloatArray:
        """Log heights of the cells, in each at least the tilted density: its largest value of three, and its bend."""
        inside = 1e-9 * self.size  # of two one-sided limits at a break, each cell takes its own
        points = (self.left + inside, self.left + 0.5 * self.size, self.edges[1:] - inside)
        left, middle, right = (self._log_weight(x) for x in points)
        bend = np.minimum(np.abs(left - 2 * middle + right), 1.0)
        heights = np.maximum(np.maximum(left, right), middle) + bend
        floored: FloatArray = np.maximum(heights, heights.max() - _LARGEST / 2)
        return floored


def _log_pair_mean(logs: FloatArray) -> FloatArray:
    """log of the mean of e^(x_i + x_j) over all pairs of each row, the largest term apart, so that nothing cancels.

    >>> float(np.exp(_log_pair_mean(np.log([[1.0, 2.0, 4.0]])))[0] * 3)  # 2 + 4 + 8
    14.0
    """
    terms = np.exp(np.minimum(logs, _LARGEST))
    rows, n = terms.shape
    at = np.arange(rows), terms.argmax(axis=1)
    largest = terms[at].copy()
    terms[at] = 0.0
    rest = terms.sum(axis=1)
    twice = rest * rest - np.einsum("ij,ij->i", terms, terms) + 2 * largest * rest
    log: FloatArray = np.log(twice / (n * (n - 1)))
    return log


def _check(event: TailEvent) -> None:
    if event.claim not in ONE_LAYER:
        raise UsageError(f"the claim must be one of {', '.join(ONE_LAYER)}, not {event.claim!r}")
    if event.side not in SIDES:
        raise UsageError(f"the side must be 'upper' or 'lower', not {event.side!r}")
    count("width", event.width, minimum=2)


def _alias_table(probabilities: FloatArray) -> tuple[FloatArray, Cells]:
    """Shares of a place that its own cell keeps, and the cell that has the rest (A. J. Walker 1977), without a loop.

    Cells below the mean are filled up in order by those above it; one that has given too much is filled by the next.

    >>> keep, alias = _alias_table(np.array([0.1, 0.7, 0.2]))
    >>> (keep + np.bincount(alias, 1 - keep, 3)).round(12).tolist()  # three times the probabilities
    [0.3, 2.1, 0.6]
    """
    scaled = probabilities * len(probabilities)
    small, large = np.flatnonzero(scaled < 1), np.flatnonzero(scaled >= 1)
    keep, alias = np.minimum(scaled, 1.0), np.arange(len(scaled))
    wanted, given = np.cumsum(1 - scaled[small]), np.cumsum(scaled[large] - 1)
    last = len(large) - 1
    giver = np.searchsorted(given, np.concatenate([[0.0], wanted])[: len(small)], side="right")
    alias[small] = large[np.minimum(giver, last)]
    first = np.searchsorted(wanted, given, side="right")  # the small cell that empties a large one
    emptied = np.flatnonzero((first < len(small)) & (np.arange(len(large)) < last))
    keep[large[emptied]] = np.clip(1 - (wanted[first[emptied]] - given[emptied]), 0.0, 1.0)
    alias[large[emptied]] = large[emptied + 1]
    return keep, alias
