r"""The exact probability of a one-step event, by inversion of its generating function on the sphere.

For an `Event` {sum_i G_i >= 0} given |x|^2 = n, with Lambda of `theory.saddle` and f the chi-squared density,

    P = f(n)^-1 (2 pi i)^-2 int int exp(n Lambda(lambda, mu)) dmu dlambda/lambda

along vertical lines, the one of lambda to the right of 0. Through the real saddle the integrand is nearly a
Gaussian, and the trapezoid rule converges exponentially (derived for this project; H. E. Daniels 1954 for one
variable). Where the mean lies in the event, the complement is computed. Sums that are not continuous have a
sum over their values instead; widths 2 and 3 are integrated over the circle and the sphere
(`theory.exact_small`).

"Exact" means up to a numerical error that is estimated and returned, not proved: by leaving out every other
point, by what lies at the rim of the grid, by a second rule over a coordinate, and by rounding.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.special import logsumexp

from theory.activation import FloatArray, NumericActivation
from theory.concentration import Side
from theory.conditioning import ComplexArray, log_chi_squared, log_sphere_mean
from theory.exact_small import small_probability
from theory.layer_law import Event, certainty, event, layer_law, unusable
from theory.saddle import Saddle, at_tilt, find_saddle, largest_tilt, weights

SMALLEST_WIDTH = 12
"""From here on the double inversion applies."""

ACCEPTED = 1e-2
"""Largest relative error at which a probability is given at all."""

_EPS = float(np.finfo(np.float64).eps)
_POLE = 2.5  # least distance of the contour from the pole at lambda = 0, in standard deviations
_STEP = 0.35  # of the grid in standard deviations at large width
_REACH = 8.0  # of the grid, likewise
_GROW = 1.6  # of the reach while the rim still matters
_GROWN = 4
_POINTS = 160  # most points of the grid on one side of 0
_RIM = 1e-12
_PRUNED = 1e-22


@dataclass(frozen=True, slots=True)
class ExactTail:
    """The probability of a one-step event.

    Args:
        log: its natural logarithm; -inf for an impossible event, nan where it is not available.
        error: estimate of the absolute error of `log`, that is, of the relative error of the probability.
        reason: why it is not available, or by what it is known without inversion, else empty.
    """

    log: float
    error: float
    reason: str = ""

    @property
    def available(self) -> bool:
        """Whether there is a number at all."""
        return not np.isnan(self.log)

    @property
    def probability(self) -> float:
        """The probability itself; nan where it is not available, 0 also where it underflows."""
        return float(np.exp(self.log))


def exact_forward(activation: NumericActivation, width: int, epsilon: float, side: Side, q: float = 1.0) -> ExactTail:
    r"""Probability that the squared length per neuron after one layer is at least 1 + epsilon, or at most 1 - epsilon.

    .. math:: P\Bigl(\frac1n \sum_i \phi(h_i)^2 \ge 1 + \epsilon \Bigm| |h|^2 = nq\Bigr)

    (double inversion, see the module).

    Args:
        activation: phi.
        width: n >= 2.
        epsilon: > 0.
        side: "upper" or "lower".
        q: squared length per neuron of the layer's input.

    Raises:
        UsageError: a width below 2, a q or a tolerance that is not positive, or an unknown side.

    >>> import sympy
    >>> from theory.activation import Activation, X
    >>> relu = Activation("relu", sympy.sqrt(2) * sympy.Max(X, 0))
    >>> round(exact_forward(relu, 512, 0.2, "upper").probability, 12)
    0.004259571917
    """
    return exact_tail(event("forward-one-step", layer_law(activation, width, q), epsilon, side))


def exact_backward_random(
    activation: NumericActivation, width: int, epsilon: float, side: Side, q: float = 1.0
) -> ExactTail:
    r"""Probability that one layer changes the squared norm of a random backward direction by that much.

    .. math:: P\bigl(|Du|^2 \ge 1 + \epsilon\bigr), \qquad D = \mathrm{diag}\, \phi'(h)

    with u uniform on the unit sphere, independent of h uniform on the sphere of radius sqrt(nq).

    Args, raises: as `exact_forward`.
    """
    return exact_tail(event("backward-one-step-random", layer_law(activation, width, q), epsilon, side))


def exact_backward_fixed(
    activation: NumericActivation, width: int, epsilon: float, side: Side, q: float = 1.0
) -> ExactTail:
    r"""Probability that one layer changes the squared norm of a flat fixed backward signal by that much.

    .. math:: P\Bigl(\frac1n \sum_i \phi'(h_i)^2 \ge 1 + \epsilon\Bigr)

    Args, raises: as `exact_forward`.

    >>> import sympy
    >>> from theory.activation import Activation, X
    >>> relu = Activation("relu", sympy.sqrt(2) * sympy.Max(X, 0))
    >>> round(exact_backward_fixed(relu, 10, 0.2, "upper").probability * 1024)  # 6 to 10 heads of 10
    386
    """
    return exact_tail(event("backward-one-step-fixed", layer_law(activation, width, q), epsilon, side))


def exact_tail(event: Event, saddle: Saddle | None = None) -> ExactTail:
    """The probability of an event of `theory.layer_law`.

    Args:
        event: as `theory.layer_law.event` makes it.
        saddle: of the event, if it is known already.
    """
    reason = unusable(event)
    if reason:
        return _unavailable(reason)
    known = certainty(event)
    if known is not None:
        return ExactTail(0.0, 0.0, "certain") if known else ExactTail(-np.inf, 0.0, "the target cannot be reached")
    for method in (_by_sign, _by_constant, _at_edge, _small):
        found = method(event)
        if found is not None:
            return found
    return _inverted(event, saddle)


def _unavailable(reason: str) -> ExactTail:
    return ExactTail(np.nan, np.inf, reason)


def _by_constant(event: Event) -> ExactTail | None:
    """A constant sum that is within rounding of the target: for phi linear."""
    levels = event.profile.levels
    spread = event.profile.highest - event.profile.lowest
    constant = len(levels) == 1 or (not event.weighted and spread > 0 and find_saddle(event) is None)
    return _unavailable("the sum is a constant, at the target within rounding") if constant else None


def _by_sign(event: Event) -> ExactTail | None:
    r"""Functions that are c_+ on one side of 0 and c_- on the other, or c_+- x^2: exact laws of the signs.

    The number k of positive coordinates is binomial and independent of the moduli, and the share of k coordinates in a
    squared norm is Beta(k/2, (n-k)/2).
    """
    profile, n = event.profile, event.width
    if np.any(profile.breakpoints != 0):
        return None
    quadratic = not event.weighted and len(profile.levels) != 2
    values = profile.values / profile.nodes.squares if quadratic else profile.values
    right, left = values[profile.nodes.points > 0], values[profile.nodes.points < 0]
    size = 1e-12 * np.abs(values).max()
    if np.ptp(right) > size or np.ptp(left) > size:
        return None
    plus, minus = float(np.median(right)), float(np.median(left))
    if abs(plus - minus) <= size:
        return None
    share = (event.target - minus) / (plus - minus)  # of the positive coordinates, to be reached or not exceeded
    above = (event.sign > 0) == (plus > minus)
    k = np.arange(n + 1)
    log_binomial = stats.binom.logpmf(k, n, 0.5)
    if not (quadratic or event.weighted):
        slack = 1e-9 * n
        reached = k >= n * share - slack if above else k <= n * share + slack
        log_share = np.where(reached, 0.0, -np.inf)
    else:
        log_share = _log_beta_tail(k, n, share, above)
    total = float(logsumexp(log_binomial + log_share))
    return ExactTail(min(total, 0.0), 1e-12 + 4 * _EPS * n, "the law of the signs")


def _log_beta_tail(k: npt.NDArray[np.integer], n: int, share: float, above: bool) -> FloatArray:
    """log P(B >= share), or <=, for B ~ Beta(k/2, (n-k)/2), a point mass at 0 or 1 for k = 0 and n."""
    inner, slack = k[1:-1], 1e-12
    share = float(np.round(share)) if abs(share - np.round(share)) < slack else share  # 1 - 1e-16 is 1
    tail = stats.beta.logsf if above else stats.beta.logcdf
    with np.errstate(divide="ignore"):
        inside = tail(np.clip(share, 0, 1), inner / 2, (n - inner) / 2)
    ends = [0.0 if (end >= share if above else end <= share) else -np.inf for end in (0.0, 1.0)]
    return np.concatenate([ends[:1], inside, ends[1:]])


def _at_edge(event: Event) -> ExactTail | None:
    """A target at the end of the range of g: every coordinate must lie where g takes its largest value."""
    if event.highest > 4 * _EPS * max(1.0, abs(event.target)):
        return None
    nodes, gains = event.profile.nodes, event.gain(event.profile.values)
    masses = [float(np.exp(nodes.log_weights[gains >= -gap]).sum()) for gap in (1e-4, 1e-12)]
    if masses[1] < 1e-2 * masses[0] or masses[1] == 0:  # the set shrinks to points
        return ExactTail(-np.inf, 0.0, "the target is reached on a set of measure zero at most")
    logs = [
        log_sphere_mean(nodes, np.where(gains >= -gap, 0.0, -np.inf), event.width)
        for gap in (1e-4, 1e-12)
        if event.width >= SMALLEST_WIDTH
    ]
    if logs and logs[0].log == -np.inf:
        return ExactTail(-np.inf, 0.0, "the target cannot be reached on the sphere")
    if not logs or masses[0] != masses[1] or not logs[1].error < ACCEPTED:
        return _unavailable("the target is at the edge of what can be reached")
    return ExactTail(logs[1].log, logs[1].error + 1e-7, "every coordinate at the edge")


def _small(event: Event) -> ExactTail | None:
    """Widths below that of the inversion."""
    if event.width >= SMALLEST_WIDTH:
        return None
    found = small_probability(event)
    if found is None:
        return _unavailable(
            f"the inversion needs a width of at least {SMALLEST_WIDTH}, direct integration one of 2 or 3"
        )
    value, error = found
    if value == 0 or error > 0.3 * value:
        return _unavailable("too rare for direct integration at this width")
    return ExactTail(float(np.log(value)), error / value, "direct integration over the sphere")


def _inverted(event: Event, saddle: Saddle | None) -> ExactTail:
    """Inversion for the event, or for its complement where the mean lies in the event."""
    start = at_tilt(event, 0.0)
    if start is None or not start.sigma > 0:
        return _unavailable("the sum has no tilted law")
    if len(event.profile.levels) == 2 and not event.weighted:
        return _lattice(event)
    if start.slope > 0:
        other = _invert(event.complement(), find_saddle(event.complement()), lattice=0.0)
        return _complement(other)
    return _invert(event, saddle if saddle is not None and saddle.tilt > 0 else find_saddle(event), lattice=0.0)


def _complement(other: ExactTail) -> ExactTail:
    if not other.available or not other.log < 0:
        return _unavailable(other.reason or "the complement has probability 1 within the error")
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
        return _unavailable("the sum has no tilted law")
    saddle = _off_pole(event, saddle)
    if not (saddle.sigma > 0 and saddle.law.variance > 0):
        return _unavailable("the event is too close to the edge of what can be reached")
    total, error = _integral(event, saddle, lattice)
    if not (total > 0 and error < ACCEPTED):
        reason = "the grid of the inversion does not settle: a few coordinates dominate, or the sum has atoms"
        return _unavailable(reason)
    common = event.width * saddle.law.log_normalizer - log_chi_squared(event.width, 1.0)
    log = common + np.log(total)
    error += _quadrature_error(event, saddle) + 8 * _EPS * (event.width + abs(common))
    if not error < ACCEPTED:
        return _unavailable("the integrals over a coordinate are not resolved this far out")
    return ExactTail(float(min(log, 0.0)), float(error))


def _off_pole(event: Event, saddle: Saddle) -> Saddle:
    """The saddle, or a contour to its right where it is too close to the pole at 0."""
    needed = _POLE / (max(saddle.sigma, 1e-300) * np.sqrt(event.width))
    if saddle.tilt >= needed:
        return saddle
    limit = largest_tilt(event)
    return at_tilt(event, min(needed, 0.5 * (saddle.tilt + limit)), saddle.law.mu) or saddle


def _quadrature_error(event: Event, saddle: Saddle) -> float:
    """How far a second rule over a coordinate moves n Lambda at the saddle."""
    profile = event.profile
    exponent = weights(event, saddle.tilt, profile.check_values) + saddle.law.mu * (profile.check_nodes.squares - 1)
    second = float(logsumexp(profile.check_nodes.log_weights + exponent))
    return 2 * event.width * abs(second - saddle.law.log_normalizer)


def _integral(event: Event, saddle: Saddle, lattice: float) -> tuple[float, float]:
    """The integral over both frequencies, and its relative error from the step and the rim."""
    shrink = 1 + 20 / event.width
    reach, step = _REACH * shrink, _STEP / shrink
    total, error = 0.0, np.inf
    for _ in range(_GROWN):
        grid = _Grid(event, saddle, reach, step, lattice)
        terms = grid.terms()
        total, error = grid.sum(terms)
        if error < _RIM or reach * _GROW / step > _POINTS:
            break
        reach *= _GROW
    return total, error


class _Grid:
    """Frequencies around a saddle, sheared so that the integrand is nearly a product of two Gaussians."""

    def __init__(self, event: Event, saddle: Saddle, reach: float, step: float, lattice: float) -> None:
        root = np.sqrt(event.width)
        self._event, self._saddle, self._lattice = event, saddle, lattice
        half = int(np.ceil(reach / step / 2)) * 2
        self._step_u = step / (saddle.sigma * root)
        self._period = False
        if lattice and half * self._step_u * lattice >= np.pi:  # one period is all there is
            half = int(np.ceil(np.pi / (self._step_u * lattice) / 2)) * 2
            self._step_u = np.pi / (half * lattice)
            self._period = True
        self._u = self._step_u * np.arange(-half, half + 1)
        self._step_v = step / (np.sqrt(saddle.law.variance) * root)
        self._v = self._step_v * np.arange(int(np.ceil(reach / step / 2)) * 2 + 1)

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
        with np.errstate(divide="ignore", under="ignore"):
            values: ComplexArray = np.exp(event.width * np.log(chf)) * kernel[:, None]
        return values

    def sum(self, terms: ComplexArray) -> tuple[float, float]:
        """The integral divided by (2 pi)^2, and its relative error."""
        real = terms.real.copy()
        real[:, 0] *= 0.5  # the other half plane is the conjugate
        ends = np.ones(len(self._u))
        if self._period:
            ends[[0, -1]] = 0.5
        cell = 2 * self._step_u * self._step_v / (4 * np.pi**2)
        total = float(ends @ real.sum(axis=1)) * cell
        coarse_ends = ends[::2]
        coarse = float(coarse_ends @ real[::2, ::2].sum(axis=1)) * cell * 4
        if not total > 0:
            return total, np.inf
        miss = abs(coarse - total) / total
        # The error is exponentially small in 1/step, so that halving the step squares it at least.
        return total, min(miss, 10 * miss * miss) + self._rim(np.abs(terms)) * cell / total + _EPS * self._loss(terms)

    def _rim(self, sizes: FloatArray) -> float:
        """Sum of the moduli that lie outside, if they fall from the rim like a power n/2 - 1 of the frequency."""
        across = 0.0 if self._period else float(sizes[0].sum() + sizes[-1].sum())
        return (across * len(self._u) / 2 + float(sizes[:, -1].sum()) * len(self._v)) / (0.5 * self._event.width - 1)

    def _loss(self, terms: ComplexArray) -> float:
        """Cancellation: moduli over the sum."""
        return 8 * float(np.abs(terms).sum() / max(abs(terms.real.sum()), 1e-300))
