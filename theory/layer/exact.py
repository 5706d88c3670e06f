"""The exact probability of a one-step event, by inversion of its generating function on the sphere.

The double integral along vertical lines is that of docs/one-step.md#exact-tail. Through the real saddle of
`theory.layer.saddle` the integrand is nearly a Gaussian, and the trapezoid rule converges exponentially. Where the mean
lies in the event, the complement is computed; other cases are in `theory.layer.special_cases`.

"Exact" means up to a numerical error that is estimated and returned, not proved: by leaving out every other
point, by what lies at the rim of the grid, by a second rule over a coordinate, and by rounding.
"""

import numpy as np
from scipy.special import logsumexp

from theory.layer.conditioning import SMALLEST_WIDTH, ComplexArray, log_chi_squared, log_sphere_mean
from theory.layer.law import Event, certainty, unusable
from theory.layer.saddle import Saddle, at_tilt, find_saddle, largest_tilt, weights
from theory.layer.special_cases import (
    ACCEPTED,
    ExactTail,
    at_edge,
    constant_sum,
    law_of_signs,
    small_probability,
    unavailable,
)
from theory.numerics.arithmetic import FloatArray

_EPS = float(np.finfo(np.float64).eps)


# Least distance of the contour from the pole at lambda = 0, and step of the grid, in standard deviations at large
# width. The trapezoid rule errs by exp(-2 pi distance/step); a far contour may leave the Gaussian part of the law.
_CONTOURS = ((2.5, 0.35), (0.8, 0.16))
_REACH = 8.0  # of the grid, likewise
_GROW = 1.6  # of the reach while the rim still matters
_POINTS = 40_000  # of the grid, beyond which it is not grown
_RIM = 1e-12
_DECAY = 5.0  # power of the frequency with which moduli are taken to fall beyond the rim, at most
_PRUNED = 1e-22


def exact_tail(event: Event, saddle: Saddle | None = None) -> ExactTail:
    r"""Probability of a one-step tail: the squared length or a squared backward norm leaves 1 by epsilon in one layer.

    .. math:: P\Bigl(\frac1n \sum_i \psi(h_i) \ge 1 + \epsilon \Bigm| |h|^2 = nq\Bigr), \qquad
              P\bigl(|Du|^2 \ge 1 + \epsilon\bigr), \quad D = \mathrm{diag}\, \phi'(h)

    with :math:`\psi = \phi^2` for the squared length and :math:`\psi = \phi'^2` for a flat fixed backward signal; u is
    a random direction, independent of h. The lower tail is that of at most 1 - epsilon (double inversion, see the
    module).

    Args:
        event: as `theory.layer.law.event` makes it.
        saddle: the saddle point of the event, if it is known already.

    >>> from theory.activations.specification import activation
    >>> from theory.layer.law import event, layer_law
    >>> relu = layer_law(activation("sqrt(2)*max(x, 0)"), 10)
    >>> tail = exact_tail(event("backward-one-step-fixed", relu, 0.2, "upper"))
    >>> round(tail.probability * 1024)  # 6 to 10 heads of 10
    386
    """
    reason = unusable(event)
    if reason:
        return unavailable(reason)
    known = certainty(event)
    if known is not None:
        return ExactTail(0.0, 0.0, "certain") if known else ExactTail(-np.inf, 0.0, "the target cannot be reached")
    for method in (law_of_signs, constant_sum, at_edge, _small):
        tail = method(event)
        if tail is not None:
            return tail
    return _inverted(event, saddle)


def _small(event: Event) -> ExactTail | None:
    """Widths below that of the inversion."""
    if event.width >= SMALLEST_WIDTH:
        return None
    tail = small_probability(event)
    if tail is None:
        return unavailable(f"evaluated only at widths 2, 3 and from {SMALLEST_WIDTH} on")
    value, error = tail
    if value == 0 or error > 0.3 * value:
        return unavailable("too rare for direct integration at this width")
    return ExactTail(float(np.log(value)), error / value, "direct integration over the sphere")


def _inverted(event: Event, saddle: Saddle | None) -> ExactTail:
    """Inversion for the event, or for its complement where the mean lies in the event."""
    start = at_tilt(event, 0.0)
    if start is None or not start.sigma > 0:
        return unavailable("the sum has no tilted law")
    if len(event.profile.levels) == 2 and not event.weighted:
        return _lattice(event)
    if start.slope > 0:
        other = _invert(event.complement(), find_saddle(event.complement()), lattice=0.0)
        return _complement(other)
    return _invert(event, saddle if saddle is not None and saddle.tilt > 0 else find_saddle(event), lattice=0.0)


def _complement(other: ExactTail) -> ExactTail:
    if not other.available or not other.log < 0:
        return unavailable(other.reason or "the complement has probability 1 within the error")
    inner = float(np.exp(other.log))
    return ExactTail(float(np.log1p(-inner)), other.error * inner / (1 - inner) + _EPS, other.reason)


def _lattice(event: Event) -> ExactTail:
    """A function of two values: the sum is minus n t plus an integer number of jumps, so only whole numbers count."""
    low, high = event.profile.levels
    jump = high - low
    exact_count = event.width * (event.target - low) / jump  # of coordinates at the higher value
    whole = np.ceil(exact_count - 1e-9 * event.width) if event.sign > 0 else np.floor(exact_count + 1e-9 * event.width)
    if not 0 <= whole <= event.width:
        return ExactTail(-np.inf, 0.0, "the target cannot be reached")
    shifted = Event(event.profile, low + jump * whole / event.width, event.sign, event.width, False)
    start = at_tilt(shifted, 0.0)
    if start is not None and start.slope > 0:  # the complement, one jump further
        beyond = whole - event.sign
        other = Event(event.profile, low + jump * beyond / event.width, -event.sign, event.width, False)
        if certainty(other) == 0.0:
            return ExactTail(0.0, 0.0, "certain")
        return _complement(_invert(other, find_saddle(other), lattice=jump))
    return _invert(shifted, find_saddle(shifted), lattice=jump)


def _invert(event: Event, saddle: Saddle | None, lattice: float) -> ExactTail:
    """The double inversion through a saddle with lambda > 0; `lattice` is the spacing of a discrete sum, or 0."""
    if saddle is None:
        return unavailable("the sum has no tilted law")
    tail = unavailable("")
    for distance, step in _CONTOURS:
        contour = _off_pole(event, saddle, distance)
        tail = _along(event, contour, step, lattice)
        if tail.available or contour is saddle:
            break
    return tail


def _along(event: Event, saddle: Saddle, step: float, lattice: float) -> ExactTail:
    """The double inversion along one contour, if what can be checked about it is in order."""
    if not (saddle.sigma > 0 and saddle.law.variance > 0):
        return unavailable("the event is too close to the edge of what can be reached")
    exponent = weights(event, saddle.tilt, event.profile.values)
    single = log_sphere_mean(event.profile.nodes, exponent, event.width, start=saddle.law.mu)
    if not np.isfinite(single.error):
        return unavailable("a few giant coordinates dominate the event: the integrand is no Gaussian near the saddle")
    total, error = _integral(event, saddle, step, lattice)
    if not (total > 0 and error < ACCEPTED):
        reason = "the inversion does not settle: a few giant coordinates dominate, or the sum is nearly discrete"
        return unavailable(reason)
    common = event.width * saddle.law.log_normalizer - float(log_chi_squared(event.width, 1.0))
    log = common + np.log(total)
    nodes = event.profile.check_nodes  # how far a second rule over a coordinate moves n Lambda at the saddle
    exponent = weights(event, saddle.tilt, event.profile.check_values) + saddle.law.mu * (nodes.squares - 1)
    second = float(logsumexp(nodes.log_weights + exponent))
    error += 2 * event.width * abs(second - saddle.law.log_normalizer) + 8 * _EPS * (event.width + abs(common))
    if not error < ACCEPTED:
        return unavailable("the integrals over a coordinate are not resolved this far out")
    if log > single.log + single.error + error:  # no probability exceeds its exponential bound
        return unavailable("the inversion contradicts Cramér's bound")
    return ExactTail(float(min(log, 0.0)), float(error))


def _off_pole(event: Event, saddle: Saddle, distance: float) -> Saddle:
    """The saddle, or a contour to its right where it is too close to the pole at 0."""
    needed = distance / (max(saddle.sigma, 1e-300) * np.sqrt(event.width))
    if saddle.tilt >= needed:
        return saddle
    limit = largest_tilt(event)
    return at_tilt(event, min(needed, 0.5 * (saddle.tilt + limit)), saddle.law.mu) or saddle


def _integral(event: Event, saddle: Saddle, fraction: float, lattice: float) -> tuple[float, float]:
    """The integral over both frequencies, and its relative error from the step and from the rims."""
    shrink = 1 + 20 / event.width
    reach, step = [_REACH * shrink, _REACH * shrink], fraction / shrink
    while True:
        grid = _Grid(event, saddle, (reach[0], reach[1]), step, lattice)
        total, miss, rims = grid.sum(grid.terms())
        worse = int(np.argmax(rims))
        if rims[worse] < _RIM or grid.size > _POINTS:
            return total, miss + sum(rims)
        reach[worse] *= _GROW


class _Grid:
    """Frequencies around a saddle, sheared so that the integrand is nearly a product of two Gaussians."""

    def __init__(self, event: Event, saddle: Saddle, reach: tuple[float, float], step: float, lattice: float) -> None:
        root = np.sqrt(event.width)
        self._event, self._saddle, self._lattice = event, saddle, lattice
        half, columns = (int(np.ceil(length / step / 2)) * 2 for length in reach)
        self._step_u = step / (saddle.sigma * root)
        self._period = False
        if lattice and half * self._step_u * lattice >= np.pi:  # one period is all there is
            half = int(np.ceil(np.pi / (self._step_u * lattice) / 2)) * 2
            self._step_u = np.pi / (half * lattice)
            self._period = True
        self._u = self._step_u * np.arange(-half, half + 1)
        self._step_v = step / (np.sqrt(saddle.law.variance) * root)
        self._v = self._step_v * np.arange(columns + 1)
        self.size = len(self._u) * len(self._v)

    def terms(self) -> ComplexArray:
        """The integrand at (u, v), v >= 0, divided by its value without frequencies; 1/lambda included."""
        event, saddle = self._event, self._saddle
        kept = saddle.law.probabilities > _PRUNED
        p, gain = saddle.law.probabilities[kept], event.gain(event.profile.values[kept])
        centred = event.profile.nodes.squares[kept] - 1
        u, v = self._u[:, None], self._v[:, None]
        if event.weighted:
            ratio = gain / (1 - 2 * saddle.tilt * gain)
            left = np.exp(-1j * u * (saddle.shear * centred)) / np.sqrt(1 - 2j * u * ratio)
        else:
            left = np.exp(1j * u * (gain - saddle.shear * centred))
        chf = (left * p) @ np.exp(1j * v * centred).T
        tilt = saddle.tilt + 1j * self._u
        kernel = self._lattice / -np.expm1(-self._lattice * tilt) if self._lattice else 1 / tilt
        with np.errstate(divide="ignore", under="ignore", invalid="ignore"):
            values: ComplexArray = np.exp(event.width * np.log(chf)) * kernel[:, None]
        return values

    def sum(self, terms: ComplexArray) -> tuple[float, float, tuple[float, float]]:
        """The integral over (2 pi)^2; its relative error from step and rounding, and beyond the rims in u and in v."""
        real = terms.real.copy()
        real[:, 0] *= 0.5  # the other half plane is the conjugate
        ends = np.ones(len(self._u))
        if self._period:
            ends[[0, -1]] = 0.5
        cell = 2 * self._step_u * self._step_v / (4 * np.pi**2)
        total = float(ends @ real.sum(axis=1)) * cell
        if not total > 0:
            return total, np.inf, (0.0, 0.0)
        coarse = float(ends[::2] @ real[::2, ::2].sum(axis=1)) * cell * 4
        miss = abs(coarse - total) / total
        # The error is exponentially small in 1/step, so that halving the step squares it at least.
        rounding = 8 * _EPS * float(np.abs(terms).sum() / max(abs(terms.real.sum()), 1e-300))  # by cancellation
        rim_u, rim_v = (rim * cell / total for rim in self._rims(np.abs(terms)))
        return total, min(miss, 10 * miss * miss) + rounding, (rim_u, rim_v)

    def _rims(self, sizes: FloatArray) -> tuple[float, float]:
        """Sums of moduli beyond the rims, if these fall on like a power from there; infinite on a plateau."""
        over_v, over_u = sizes.sum(axis=1), sizes.sum(axis=0)
        over_v = over_v[len(over_v) // 2 :] + over_v[len(over_v) // 2 :: -1]
        power, negligible = min(0.5 * self._event.width - 1, _DECAY), _EPS * float(sizes.sum())
        terms = [
            float(line[-1]) * len(line) / power
            if line[-1] <= max(0.7 * line[int(0.7 * len(line))], negligible)
            else np.inf
            for line in (over_v, over_u)
        ]
        return (0.0 if self._period else terms[0]), terms[1]
