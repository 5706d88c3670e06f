r"""Sums over independent normal coordinates: lemmas on f(z) and f'(z) * y, and how near W x is to N(0, I).

For x ~ N(0, I) and any orthogonal W the pre-activations W x are exactly N(0, I), and so they are for |x|^2 = n and
independent entries N(0, 1/n) of W. So these are the laws of a layer for Gaussian inputs or Gaussian weights, and what
the laws on the sphere tend to. Proofs: docs/one-step.md#gaussian-inputs.
"""

import math

import numpy as np
import scipy  # scipy.stats is loaded on first use: it is the slowest of its parts
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp

from theory.claims.counted import CountedClaim, Side
from theory.layer.law import Event, unusable
from theory.layer.levy import Bound, LayerConstants
from theory.layer.saddle import weights
from theory.layer.special_cases import ACCEPTED, ExactTail, unavailable
from theory.numerics.arithmetic import FloatArray

_EPS = float(np.finfo(np.float64).eps)
_FAR = 40.0 * 1.5 ** np.arange(60)  # beyond the quadrature: where a tilt must not outgrow the normal density
_LARGEST = 1e12  # tilt
_POLE = 1e-6  # of the largest tilt: how far the one of a weighted event stays below
LEAST_WIDTH = 16
"""Below it the generating function falls too slowly for the inversion."""


_STEP = 0.16  # of the trapezoid rule, in standard deviations: it errs by exp(-2 pi 0.8/0.16) at the least distance
_DISTANCE = 2.5  # of the contour from the pole at 0, likewise
_RIM = 1e-15
_POINTS = 20_000


def gaussian_concentration(claim: str, constants: LayerConstants, epsilon: float, side: Side) -> Bound:
    r"""Bound on a tail of |f(z)|^2/n, or of |f(z) * y|^2/|y|^2 for a flat or a random y, by concentration.

    .. math:: P(F^2 \ge 1+\epsilon) \le e^{-t^2/(2 c^2)}, \quad t = \sqrt{1+\epsilon} - \sqrt{E F^2}

    and below with :math:`t = \sqrt{E F^2 - c^2} - \sqrt{1-\epsilon}`: F is c-Lipschitz with :math:`c^2 = K^2 q/n`, and
    its variance at most :math:`c^2` (Gaussian concentration: C. Borell 1975, V. Sudakov, B. Tsirelson 1974; the
    variance: J. Nash 1958). For a random direction :math:`c^2 = K'^2 q/n + K^2/(n-1)`: the second term is that of the
    direction on its sphere, and variances of sub-Gaussian terms add (M. Ledoux 2001).

    Args:
        claim: one of `theory.claims.counted.ONE_LAYER` or `NORMAL`.
        constants: of f on the whole line, from `theory.layer.law.gaussian_law`.
        epsilon: > 0.
        side: "upper" or "lower".
    """
    forward = claim in (CountedClaim.FORWARD, CountedClaim.GAUSSIAN_FORWARD)
    slope, second = (constants.slope, constants.forward) if forward else (constants.curvature, constants.backward)
    square = slope * slope * constants.q / constants.width
    if claim == CountedClaim.BACKWARD_RANDOM:
        square += constants.slope**2 / (constants.width - 1)
    if np.isinf(square):
        return Bound("none", 0.0, f"phi{'' if forward or np.isinf(constants.slope) else chr(39)} is not Lipschitz")
    if not np.isfinite(second.value + second.error):
        return Bound("none", 0.0, "the mean square is not known")
    if side == "lower" and epsilon > 1:
        return Bound("levy", -np.inf, "a squared norm is never negative")
    if side == "upper":
        t = math.sqrt(1 + epsilon) - math.sqrt(second.value + second.error)
    else:
        t = math.sqrt(max(second.value - second.error - square, 0.0)) - math.sqrt(1 - epsilon)
    if t <= 0:
        return Bound("levy", 0.0, "the mean itself may lie beyond the tolerance at this width")
    return Bound("levy", -t * t / (2 * square) if square > 0 else -np.inf)


def chernoff(event: Event) -> Bound:
    r"""Exponential Markov for independent terms: :math:`P(\sum_i G_i \ge 0) \le \min_\lambda (E e^{\lambda G})^n`.

    (H. Cramér 1938.) The integral over a coordinate is by quadrature; a second rule tells its error, which is added.

    Args:
        event: with z instead of a point on the sphere.
    """
    known = _known(event)
    if known is not None:
        return Bound("none", 0.0, known.reason) if not known.available else Bound("cramer", min(known.log, 0.0))
    tilt = _saddle(event)
    if not tilt > 0:
        return Bound("cramer", 0.0, "the mean itself lies beyond the target")
    log = event.width * _log_mean(event, tilt) + _rule_error(event, tilt)
    return Bound("cramer", log) if log < 0 else Bound("cramer", 0.0, "no tilt gives a bound below 1")


def independent_tail(event: Event) -> ExactTail:
    r"""P(sum_i G_i >= 0) for independent terms G_i = g(z_i), or g(z_i) w_i^2, by inversion of the generating function.

    .. math:: P = \frac{1}{2\pi} \int \frac{(E e^{(\lambda + iu) G})^n}{\lambda + iu} du, \quad \lambda > 0

    through the saddle, by the trapezoid rule; a g of two values has a binomial law. The mean over a weight is
    :math:`E e^{\lambda g w^2} = (1 - 2 \lambda g)^{-1/2}`.

    Args:
        event: with z instead of a point on the sphere.

    >>> from theory.activations.specification import activation
    >>> from theory.layer.law import event, gaussian_law
    >>> identity = gaussian_law(activation("identity"), 40)
    >>> tail = independent_tail(event("forward-gaussian-input", identity, 0.5, "upper"))
    >>> bool(abs(tail.probability / scipy.stats.chi2.sf(60, 40) - 1) < 1e-9)
    True
    """
    known = _known(event)
    if known is not None:
        return known
    if len(event.profile.levels) == 2 and not event.weighted:
        return _binomial(event)
    if _mean(event, 0.0) > 0:
        other = _inverted(event.complement())
        inner = other.probability
        if not other.available or not inner < 1:
            return unavailable(other.reason or "the complement has probability 1 within the error")
        return ExactTail(math.log1p(-inner), other.error * inner / (1 - inner) + _EPS)
    return _inverted(event)


def distance_to_normal(width: int, count: int) -> tuple[float, float]:
    r"""The total variation distance of k coordinates of W x, |x|^2 = n, from N(0, I), and its bound.

    .. math:: \sup_A |P(h_{1..k} \in A) - P(z \in A)| \le \frac{2(k+3)}{n-k-3}, \quad 1 \le k \le n - 4

    (P. Diaconis, D. Freedman 1987.) The supremum is reached on the shell of `densest_shell`.

    Args:
        width, count: n and k.

    >>> exact, bound = distance_to_normal(1000, 2)
    >>> round(exact, 6), round(bound, 6)
    (0.000621, 0.01005)
    """
    sphere, normal = shell_probabilities(width, count)
    return sphere - normal, normal_distance_bound(width, count)


def coordinate_count(width: int, share: float) -> int | None:
    """Return the number k of coordinates that are a share of all, None where the theorem does not cover so many.

    >>> coordinate_count(64, 0.1), coordinate_count(64, 1.0)
    (7, None)
    """
    count = math.ceil(share * width - 1e-9)
    return count if count <= width - 4 else None


def normal_distance_bound(width: int, count: int) -> float:
    """2(k + 3)/(n - k - 3), see `distance_to_normal`."""
    return 2 * (count + 3) / (width - count - 3)


def densest_shell(width: int, count: int) -> tuple[float, float]:
    r"""The squared lengths between which k coordinates of W x have a larger density than N(0, I).

    The quotient of the densities is a function of s = |h_{1..k}|^2 alone,

    .. math:: \log \frac{\Gamma(n/2) (2/n)^{k/2}}{\Gamma((n-k)/2)} + \frac{n-k-2}{2} \log(1 - s/n) + \frac{s}{2},

    concave and largest at s = k + 2.

    Args:
        width, count: n and k <= n - 3.
    """
    n, k = width, count
    constant = float(gammaln(n / 2) - gammaln((n - k) / 2)) + k / 2 * math.log(2 / n)

    def log_quotient(s: float) -> float:
        return constant + (n - k - 2) / 2 * math.log1p(-s / n) + s / 2

    lower = 0.0 if log_quotient(0.0) >= 0 else float(brentq(log_quotient, 0.0, k + 2, xtol=1e-14))
    return lower, float(brentq(log_quotient, k + 2, n * (1 - 1e-15), xtol=1e-14))


def shell_probabilities(width: int, count: int) -> tuple[float, float]:
    """The probabilities of `densest_shell` under the law of W x and under N(0, I).

    Args:
        width, count: n and k.
    """
    shell = np.array(densest_shell(width, count))
    sphere = np.diff(scipy.stats.beta.cdf(shell / width, count / 2, (width - count) / 2))
    return float(sphere[0]), float(np.diff(scipy.stats.chi2.cdf(shell, count))[0])


def _known(event: Event) -> ExactTail | None:
    if reason := unusable(event):
        return unavailable(reason)
    if event.highest < -event.tolerance:
        return ExactTail(-np.inf, 0.0, "the target cannot be reached")
    if event.lowest > event.tolerance:
        return ExactTail(0.0, 0.0, "certain")
    if len(event.profile.levels) == 1:
        return unavailable("the sum is a constant, at the target within rounding")
    return _at_edge(event)


def _at_edge(event: Event) -> ExactTail | None:
    """A target at the end of the range of g: every coordinate must lie where g takes its largest value."""
    rounding = 4 * _EPS * max(1.0, abs(event.target))
    if event.highest > rounding:
        return None
    weights, gains = np.exp(event.profile.nodes.log_weights), event.gain(event.profile.values)
    mass, close, near = (float(weights[gains >= -gap].sum()) for gap in (rounding, 1e-12, 1e-4))
    if mass <= 1e-4 * near:  # the set shrinks to points
        return ExactTail(-np.inf, 0.0, "the target is reached on a set of measure zero at most")
    if mass != close:
        return unavailable("the target is at the edge of what can be reached")
    return ExactTail(event.width * math.log(mass), 1e-12 * event.width, "every coordinate at the edge")


def _binomial(event: Event) -> ExactTail:
    """Two values: the number of coordinates with the higher one is binomial."""
    low, high = event.profile.levels
    values = event.profile.values
    p = float(np.exp(event.profile.nodes.log_weights[values > (low + high) / 2]).sum())
    needed = event.width * (event.target - low) / (high - low)  # coordinates with the higher value
    whole = round(needed)
    needed = whole if abs(needed - whole) < 1e-9 * event.width else needed
    upper = event.sign > 0
    log = (
        scipy.stats.binom.logsf(math.ceil(needed) - 1, event.width, p)
        if upper
        else scipy.stats.binom.logcdf(needed, event.width, p)
    )
    return ExactTail(float(log), 1e-12 * event.width)


def _log_mean(event: Event, tilt: float, check: bool = False) -> float:
    """log E exp(tilt G), by the rule of the profile or by the one that checks it."""
    nodes, values = (
        (event.profile.check_nodes, event.profile.check_values)
        if check
        else (event.profile.nodes, event.profile.values)
    )
    return float(logsumexp(nodes.log_weights + weights(event, tilt, values)))


def _rule_error(event: Event, tilt: float) -> float:
    """How far two rules over a coordinate are apart, doubled, for all coordinates together."""
    return 2 * event.width * abs(_log_mean(event, tilt, check=True) - _log_mean(event, tilt))


def _tilted(event: Event, tilt: float) -> tuple[FloatArray, FloatArray]:
    """The probabilities of the nodes under a tilt, and the mean of G at each: that of w^2 is 1/(1 - 2 tilt g)."""
    log = event.profile.nodes.log_weights + weights(event, tilt, event.profile.values)
    gains = event.gain(event.profile.values)
    probabilities: FloatArray = np.exp(log - logsumexp(log))
    return probabilities, gains / (1 - 2 * tilt * gains) if event.weighted else gains


def _mean(event: Event, tilt: float) -> float:
    probabilities, means = _tilted(event, tilt)
    return float(probabilities @ means)


def _largest_tilt(event: Event) -> float:
    """Up to where the mean over a coordinate is finite: at points far out exp(tilt g) is far below the density."""
    far = np.concatenate([-_FAR, _FAR])
    with np.errstate(over="ignore", invalid="ignore"):
        gains = np.nan_to_num(event.gain(event.profile.function(far)), nan=np.inf, posinf=np.inf)
    if event.weighted:
        highest = max(event.highest, float(gains.max()))
        return min((1 - _POLE) / (2 * highest), _LARGEST) if highest > 0 else _LARGEST
    ratios = 0.4 * far**2 / np.maximum(gains, 1.0)
    return float(min(ratios.min(), _LARGEST))


def _saddle(event: Event) -> float:
    """The tilt >= 0 under which G has mean 0, or the largest one if even there the mean is below 0."""
    if _mean(event, 0.0) >= 0:
        return 0.0
    limit = _largest_tilt(event)
    high = min(1.0, limit)
    while _mean(event, high) < 0 and high < limit:
        high = min(4 * high, limit)
    if _mean(event, high) <= 0:
        return high
    return float(brentq(lambda tilt: _mean(event, tilt), 0.0, high, xtol=1e-14, rtol=1e-12))


def _inverted(event: Event) -> ExactTail:
    if event.width < LEAST_WIDTH:
        return unavailable(f"the inversion needs a width of at least {LEAST_WIDTH}")
    tilt, limit = _saddle(event), _largest_tilt(event)
    probabilities, means = _tilted(event, tilt)
    root = math.sqrt(event.width)
    sigma = math.sqrt(float(probabilities @ means**2) * (3 if event.weighted else 1))
    if not (sigma > 0 and limit > 0):
        return unavailable("the sum has no tilted law")
    tilt = min(max(tilt, _DISTANCE / (sigma * root)), 0.5 * (tilt + limit))
    (probabilities, means), step = _tilted(event, tilt), _STEP / (sigma * root)
    kept = probabilities > 1e-22
    probabilities, means = probabilities[kept], means[kept]
    total, coarse, k, size = 0.0, 0.0, 0, math.inf
    block = 256
    while size > _RIM * max(abs(total), 1e-300) and k < _POINTS:
        u = step * np.arange(k, k + block)
        with np.errstate(divide="ignore", under="ignore"):
            turned = 1j * np.outer(u, means)
            turned = (1 - 2 * turned) ** -0.5 if event.weighted else np.exp(turned)
            terms = np.exp(event.width * np.log(turned @ probabilities)) / (tilt + 1j * u)
        real = terms.real.copy()
        if k == 0:
            real[0] *= 0.5
        total, coarse = total + float(real.sum()), coarse + 2 * float(real[::2].sum())
        size, k = float(np.abs(terms[-16:]).max()) * k, k + block
    if not total > 0:
        return unavailable("the inversion does not settle")
    miss = abs(coarse / total - 1)
    left = float(np.abs(terms[-16:] * u[-16:]).max()) / (total * step)  # of a point mass, whose modulus stays
    error = min(miss, 10 * miss * miss) + size / total + left + _rule_error(event, tilt) + 8 * _EPS * event.width
    if not error < ACCEPTED:
        return unavailable("the inversion does not settle")
    log = event.width * _log_mean(event, tilt) + math.log(total * step / math.pi)
    return ExactTail(min(log, 0.0), error)
