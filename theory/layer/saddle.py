r"""The real saddle point of an event's generating function on the sphere.

For an `Event` put :math:`\Lambda(\lambda, \mu) = \log E\, e^{\lambda G + \mu (x^2 - 1)}`, x standard normal on
|x| <= sqrt(n) and G = g(x), or g(x) w^2, whose w integrates out to (1 - 2 lambda g)^(-1/2). It is convex. At its
minimum, the saddle, the tilted means of G and of x^2 - 1 vanish: the tilted coordinates are typical of the event, and
of the sphere (H. E. Daniels, "Saddlepoint approximations in statistics", 1954).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import erfcx

from theory.layer.conditioning import SMALLEST_WIDTH, TiltedLaw, log_sphere_mean, safeguarded_step, tilt
from theory.layer.law import MARGIN, Event, certainty, unusable
from theory.numerics.arithmetic import FloatArray

_ITERATIONS = 100
_FARTHEST = 1e25  # exponents lambda g beyond it serve nothing and overflow


@dataclass(frozen=True, slots=True)
class Saddle:
    """The saddle point (lambda, mu) of one tilted coordinate, and the curvature there.

    Args:
        tilt: lambda >= 0.
        law: the tilted law of x at it, with mu.
        slope: tilted mean of G, zero at the saddle itself.
        sigma: standard deviation of G given the sum of squares, sqrt of the Schur complement of the curvature.
        shear: d2 Lambda/(d lambda d mu) over d2 Lambda/d mu^2.
    """

    tilt: float
    law: TiltedLaw
    slope: float
    sigma: float
    shear: float


def weights(event: Event, tilt_: float, values: FloatArray) -> FloatArray:
    """log E exp(lambda G) given x, at values of psi; an event whose tilt is too large gives nan."""
    gain = event.gain(values)
    return -0.5 * np.log1p(-2 * tilt_ * gain) if event.weighted else tilt_ * gain


def largest_tilt(event: Event) -> float:
    """The end of the interval of lambda: where a weight diverges, kept back by `MARGIN`, or where floats give out."""
    if not event.weighted or event.highest <= 0:
        return _FARTHEST / max(abs(event.lowest), abs(event.highest), 1e-100)
    return 0.5 / (event.highest * (1 + MARGIN))


def at_tilt(event: Event, tilt_: float, start: float = 0.0) -> Saddle | None:
    """The tilted law at a given lambda, with the best mu; None if no law has mean square 1."""
    nodes, values = event.profile.nodes, event.profile.values
    law = tilt(nodes, weights(event, tilt_, values), 1.0, start)
    if law is None or not law.variance > 0:
        return None
    gain = event.gain(values)
    if event.weighted:
        gain = gain / (1 - 2 * tilt_ * gain)
    p, centred = law.probabilities, nodes.squares - 1
    slope = float(p @ gain)
    with np.errstate(over="ignore", invalid="ignore"):
        spread = (3 if event.weighted else 1) * float(p @ (gain * gain)) - slope * slope
    if not np.isfinite(spread):
        return None
    shear = float(p @ (gain * centred)) / law.variance
    remaining = spread - shear * shear * law.variance
    return Saddle(tilt_, law, slope, float(np.sqrt(max(remaining, 0.0))), shear)


def find_saddle(event: Event) -> Saddle | None:
    """The saddle with lambda >= 0, or lambda = 0 itself where the mean already lies in the event.

    Newton's method on a convex function inside a bracket. Where the infimum lies at the end of the interval (an event
    at the edge of what is possible) the last iterate is returned: any lambda >= 0 serves a bound.

    Returns:
        None where the sum is a constant or no tilted law exists.
    """
    here = at_tilt(event, 0.0)
    if here is None:
        return None
    lower, upper, current = 0.0, largest_tilt(event), here
    for _ in range(_ITERATIONS):
        # Terms that vary by less than their rounding: the sum is a constant on the sphere.
        if not current.sigma > 1e-7 * (abs(current.slope) + abs(current.shear) * np.sqrt(current.law.variance)):
            return None if current is here else current
        scaled = current.slope / current.sigma
        if (current.slope >= 0 and current is here) or abs(scaled) < 1e-9:
            return current
        lower, upper = (current.tilt, upper) if current.slope < 0 else (lower, current.tilt)
        scale = 1 / current.sigma
        new = safeguarded_step(current.tilt, current.slope, current.sigma**2, lower, upper, scale)
        if not lower < new < upper or upper - lower < 1e-12 * upper:
            return current
        following = at_tilt(event, new, current.law.mu)
        if following is None:
            return current
        current = following
    return current


@dataclass(frozen=True, slots=True)
class Prediction:
    """An estimate of a probability without a guarantee.

    Args:
        log: natural logarithm; -inf for an impossible event, nan where there is none.
        reason: why there is none, else empty.
    """

    log: float
    reason: str = ""

    @property
    def probability(self) -> float:
        """The estimate itself."""
        return float(np.exp(self.log))


def saddlepoint(event: Event, saddle: Saddle | None = None) -> Prediction:
    r"""Estimate of a one-step probability at a saddle lambda: Cramér's bound times the tail of a normal law.

    .. math:: P \approx e^{-n \lambda t} E[e^{\lambda \sum \psi(h_i)}]\, B(x), \quad
              B(x) = e^{x^2/2} (1 - \Phi(x)) \approx \frac{1}{x \sqrt{2\pi}}, \quad x = \lambda \sigma \sqrt n,
              \quad \sigma^2 = \Lambda_{\lambda\lambda} - \Lambda_{\lambda\mu}^2/\Lambda_{\mu\mu}

    (H. E. Daniels 1954 for the exponential tilt; conditioned on the sphere for this project). Relative error of order
    1/n in a fixed direction. It is an estimate: it may lie on either side of the probability.

    Args:
        event: as `theory.layer.law.event` makes it; not for sums on a lattice.
        saddle: the saddle point of the event, if it is known already.
    """
    known = None if unusable(event) else certainty(event)
    if known is not None:
        return Prediction(0.0 if known else -np.inf)
    reason = unusable(event) or ("the width is too small for the inversion" if event.width < SMALLEST_WIDTH else "")
    if not reason and len(event.profile.levels) == 2 and not event.weighted:
        reason = "the sum takes whole multiples of a number, where the estimate for densities is wrong"
    if not reason and not event.highest > event.tolerance:
        reason = "the target is at the edge of what can be reached"
    if reason:
        return Prediction(np.nan, reason)
    saddle = find_saddle(event) if saddle is None else saddle
    if saddle is None or not saddle.sigma > 0:
        return Prediction(np.nan, "no tilted law has this mean")
    if saddle.tilt == 0:
        turned = find_saddle(event.complement())
        if turned is None or turned.tilt == 0:
            return Prediction(np.nan, "the mean is the target within rounding")
        other = saddlepoint(event.complement(), turned)
        return Prediction(float(np.log1p(-min(other.probability, 1.0))), other.reason) if other.log < 0 else other
    mean = log_sphere_mean(
        event.profile.nodes, weights(event, saddle.tilt, event.profile.values), event.width, start=saddle.law.mu
    )
    if not np.isfinite(mean.error):
        return Prediction(np.nan, "a few coordinates dominate: the law near the saddle is not normal")
    x = saddle.tilt * saddle.sigma * np.sqrt(event.width)
    return Prediction(float(mean.log + np.log(0.5 * erfcx(x / np.sqrt(2)))))
