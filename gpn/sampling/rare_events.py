"""Rare events of one layer by importance sampling: probabilities that counting cannot see.

The events of one layer are sums over its neurons, with h uniform on the sphere of radius sqrt(n):

    A = {sum_i g(h_i) >= 0}                 forward, and backward with a fixed flat direction,
    A = {sum_i g(h_i) w_i^2 >= 0}           backward with a fresh direction u = w / |w|, w ~ N(0, I_n),

g = +-(psi - t) with psi = phi^2 or phi'^2. Coordinates z_i (and w_i) are drawn i.i.d. from the tilted law, whose
density under the standard normal law is

    exp(lambda g(z) w^2 + mu z^2) / Z   on |z| <= sqrt(n),     w = 1 without a direction,

and only the direction theta of z = r theta is kept. For any probability density kappa(r | theta) > 0

    1_A(theta) kappa(r | theta) / (|S^(n-1)| r^(n-1) p(z)),     p the density of z,

is an unbiased estimator of P(A), since the integral over z in polar coordinates leaves that of 1_A over the sphere.
The best kappa is the law of r given theta under p; a normal law with its mean and its variance is close to that.

Sources: importance sampling at the saddle point, D. Siegmund, Annals of Statistics 4 (1976) 673-684; the auxiliary
radius is derived for this project.
"""

from dataclasses import dataclass
from math import lgamma
from typing import Protocol

import numpy as np
from scipy.special import ndtr

from gpn.engine.arguments import check_generator, count
from gpn.engine.norms import FloatArray
from theory.claims.counted import ONE_LAYER, SIDES, CountedClaim
from theory.errors import UsageError

TIE = 1e-9
"""Relative rounding that a mean square may have, as in `theory.layer.law`: (sqrt 2)^2 is not 2 in float64."""

_CELLS = 4096  # of the table from which the tilted law is drawn
_NEGLIGIBLE = 60.0  # nats below its maximum at which the tilted density is cut off
_NODES = 25  # of the grid on which the law of the radius is measured
_SPAN = 8.0  # half-width of that grid, in standard deviations of |z|
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
    """

    claim: str
    width: int
    epsilon: float
    side: str

    def excess(self, activation: Evaluated, x: FloatArray) -> FloatArray:
        """g(x) = +-(psi(x) - t), elementwise: the event is that its (weighted) sum is not negative."""
        square = activation.value(x) if self.claim == CountedClaim.FORWARD else activation.slope(x)
        square *= square
        if self.side == "upper":
            square -= 1 + self.epsilon
            return square
        return np.subtract(1 - self.epsilon, square, out=square)

    @property
    def slack(self) -> float:
        """What counts as rounding in a mean of g: an atom at the tolerance itself belongs to the event."""
        return TIE * (1 + self.epsilon)

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

    .. math:: \hat P_j = \frac{1_A(\theta_j)\, \kappa(r_j | \theta_j)}{|S^{n-1}|\, r_j^{n-1} p(z_j)}, \qquad
              E \hat P_j = P(A)

    for independent tilted vectors z_j of length r_j and direction theta_j, as in the module. At the saddle point about
    half of the draws hit the event, and the deviation of an estimate is a few times P(A), however small that is.

    Args:
        activation: phi, as it is.
        event: A.
        tilt: exponents lambda >= 0 and mu, from the saddle point of Cramér's bound; others are unbiased
            too, up to the e^-60 of the density that is cut off.
        draws: how many.
        rng: where the randomness comes from.

    Returns:
        Array (draws,): log of the estimates, minus infinity where the event is missed.

    Raises:
        UsageError: an unknown claim or side, or a tilt that has no law.

    >>> class Linear:
    ...     breakpoint_values = np.array([])
    ...     def value(self, x):
    ...         return x.copy()
    ...     def slope(self, x):
    ...         return np.ones_like(x)
    >>> event = TailEvent(CountedClaim.BACKWARD_RANDOM, 8, 0.5, "upper")
    >>> float(importance_sample(Linear(), event, Tilt(0.0, 0.0), 5, np.random.default_rng(0)).max())
    -inf
    """
    draws = count("draws", draws)
    check_generator(rng)
    _check(event)
    law = _TiltedLaw(activation, event, tilt)
    logs = np.full(draws, -np.inf)
    size = max(1, BLOCK // event.width)
    for part in np.split(logs, range(size, draws, size)):
        z, squares = law.draw(len(part), rng)
        radius = np.sqrt(np.einsum("ij,ij->i", z, z))
        z *= (np.sqrt(event.width) / radius)[:, None]  # now on the sphere
        hit = law.sums(z, squares) >= -event.width * event.slack
        if hit.any():
            weights = None if squares is None else squares[hit]
            part[hit] = law.log_estimates(z[hit], radius[hit], weights)
    return logs


def _check(event: TailEvent) -> None:
    if event.claim not in ONE_LAYER:
        raise UsageError(f"the claim must be one of {', '.join(ONE_LAYER)}, not {event.claim!r}")
    if event.side not in SIDES:
        raise UsageError(f"the side must be 'upper' or 'lower', not {event.side!r}")
    count("width", event.width, minimum=2)


class _TiltedLaw:
    """Coordinates i.i.d. from the tilted law, and the density of their direction."""

    def __init__(self, activation: Evaluated, event: TailEvent, tilt: Tilt) -> None:
        self.activation, self.event, self.tilt = activation, event, tilt
        self.end = float(np.sqrt(event.width))  # no coordinate of the sphere lies beyond
        edges = self._edges()
        middles = 0.5 * (edges[1:] + edges[:-1])
        self.peak = 0.0
        logs = self._log_weight(edges), self._log_weight(middles)
        self.peak = float(max(part.max() for part in logs))
        if not np.isfinite(self.peak):
            raise UsageError(f"the tilt {self.tilt} has no law: its density is not finite")
        self._tabulate(edges, middles)
        self.log_mass, deviation = self._moments(edges)
        self.radii = max(self.end - _SPAN * deviation, 0.05 * self.end), self.end + _SPAN * deviation

    def draw(self, rows: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray | None]:
        """Tilted coordinates, array (rows, n), and the squared weights w^2 of the event, if it has a direction."""
        z = self._coordinates(rows * self.event.width, rng).reshape(rows, self.event.width)
        if not self.event.has_direction:
            return z, None
        squares = rng.standard_normal(z.shape)
        squares *= squares
        squares /= 1 - 2 * self.tilt.exponent * self.event.excess(self.activation, z)
        return z, squares

    def _coordinates(self, count: int, rng: np.random.Generator) -> FloatArray:
        """By rejection from the step function above the density."""
        values = np.empty(count)
        filled = 0
        while filled < count:
            cell = np.searchsorted(self.cumulative, rng.random(count - filled), side="right")
            candidates = self.left[cell] + self.size[cell] * rng.random(len(cell))
            weight = self._weight(candidates)
            if (weight > self.height[cell]).any():
                raise UsageError(
                    f"the tilted law of {self.event} changes too quickly to be drawn; give the breakpoints of phi"
                )
            accepted = candidates[rng.random(len(cell)) * self.height[cell] < weight]
            values[filled : filled + len(accepted)] = accepted
            filled += len(accepted)
        return values

    def sums(self, h: FloatArray, squares: FloatArray | None) -> FloatArray:
        """sum_i g(h_i) w_i^2 for each row."""
        excess = self.event.excess(self.activation, h)
        total: FloatArray = excess.sum(axis=1) if squares is None else np.einsum("ij,ij->i", excess, squares)
        return total

    def log_estimates(self, h: FloatArray, radius: FloatArray, squares: FloatArray | None) -> FloatArray:
        """log of kappa / (|S^(n-1)| r^(n-1) p) at the points h of the sphere and the radii they were drawn with."""
        n = self.event.width
        log_sphere = np.log(2.0) + 0.5 * n * np.log(np.pi) - lgamma(0.5 * n)
        log_density = self._radial(h, radius, squares) - n * (self.log_mass + self.peak + 0.5 * np.log(2 * np.pi))
        log: FloatArray = self._log_kappa(h, radius, squares) - log_sphere - log_density
        return log

    def _log_kappa(self, h: FloatArray, radius: FloatArray, squares: FloatArray | None) -> FloatArray:
        """Normal law of the radius, with the moments of its law given the direction, where that is not zero."""
        grid = np.linspace(*self.radii, _NODES)
        logs = np.stack([self._radial(h, np.full(len(h), node), squares) for node in grid])
        shares = np.exp(logs - logs.max(axis=0))
        shares /= shares.sum(axis=0)
        mean = grid @ shares
        deviation = np.sqrt(np.maximum(grid**2 @ shares - mean**2, (0.3 * (grid[1] - grid[0])) ** 2))
        reach = self.end * self.end / np.abs(h).max(axis=1)  # beyond, a coordinate leaves the support
        inside = ndtr((reach - mean) / deviation) - ndtr(-mean / deviation)
        log: FloatArray = -0.5 * ((radius - mean) / deviation) ** 2 - np.log(np.sqrt(2 * np.pi) * deviation * inside)
        return log

    def _radial(self, h: FloatArray, radius: FloatArray, squares: FloatArray | None) -> FloatArray:
        """log of r^(n-1) prod_i p(r theta_i) Z sqrt(2 pi) at the directions of h, -inf outside the support."""
        stretch = radius / self.end
        log: FloatArray = self.tilt.exponent * self.sums(h * stretch[:, None], squares)
        log += (self.event.width - 1) * np.log(radius) + (self.tilt.radial - 0.5) * radius**2
        log[np.abs(h).max(axis=1) * stretch > self.end * (1 + 1e-14)] = -np.inf
        return log

    def _weight(self, x: FloatArray) -> FloatArray:
        weight: FloatArray = np.exp(self._log_weight(x) - self.peak)
        return weight

    def _log_weight(self, x: FloatArray) -> FloatArray:
        """Logarithm of the tilted density, not normalized, over the standard normal one times sqrt(2 pi)."""
        excess = self.event.excess(self.activation, x)
        log = (self.tilt.radial - 0.5) * x * x
        if self.event.has_direction:
            with np.errstate(invalid="ignore", divide="ignore"):
                return log - 0.5 * np.log1p(-2 * self.tilt.exponent * excess)
        return log + self.tilt.exponent * excess

    def _edges(self) -> FloatArray:
        """Ends of the cells: fine where the tilted law lives, split where phi or phi' breaks."""
        rough = np.linspace(-self.end, self.end, 20_001)
        log = self._log_weight(rough)
        if not (log < np.inf).all():
            raise UsageError(f"the tilt {self.tilt} has no law: its density is not finite")
        live = rough[log > np.nanmax(log) - _NEGLIGIBLE]
        margin = rough[1] - rough[0]
        low, high = max(live[0] - margin, -self.end), min(live[-1] + margin, self.end)
        inner = self.activation.breakpoint_values
        return np.union1d(np.linspace(low, high, _CELLS + 1), inner[(inner > low) & (inner < high)])

    def _tabulate(self, edges: FloatArray, middles: FloatArray) -> None:
        """A step function above the density: in a cell, at most its largest value plus twice its bend."""
        inside = 1e-9 * np.diff(edges)  # of two one-sided limits at a break, each cell takes its own
        left, middle, right = (self._weight(x) for x in (edges[:-1] + inside, middles, edges[1:] - inside))
        self.height = np.maximum(np.maximum(left, right), middle) + 2 * np.abs(left - 2 * middle + right)
        self.height = 1.01 * self.height + 1e-300
        self.left, self.size = edges[:-1], np.diff(edges)
        mass = self.height * self.size
        self.cumulative = np.cumsum(mass)[:-1] / mass.sum()

    def _moments(self, edges: FloatArray) -> tuple[float, float]:
        """log of Z over the peak, and the deviation of |z| for z with tilted coordinates, in wide layers."""
        nodes, weights = np.polynomial.legendre.leggauss(8)
        half = 0.5 * np.diff(edges)[:, None]
        points = 0.5 * (edges[1:] + edges[:-1])[:, None] + half * nodes
        density = self._weight(points) * half * weights
        mass = density.sum()
        square = float((density * points**2).sum() / mass)
        variance = float((density * (points**2 - square) ** 2).sum() / mass)
        return float(np.log(mass / np.sqrt(2 * np.pi))), float(np.sqrt(variance) / (2 * np.sqrt(square)))
