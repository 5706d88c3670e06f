r"""The saddlepoint estimate of a one-step tail: close to the probability, but not a bound."""

from dataclasses import dataclass

import numpy as np
from scipy.special import erfcx

from theory.conditioning import SMALLEST_WIDTH, log_sphere_mean
from theory.layer_law import Event, certainty, unusable
from theory.saddle import Saddle, find_saddle, weights


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
        event: as `theory.layer_law.event` makes it; not for sums on a lattice.
        saddle: of the event, if it is known already.
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


def normal_factor(event: Event, saddle: Saddle) -> float:
    """lambda sigma sqrt(2 pi n), by which Cramér's bound exceeds the probability where this is large."""
    return float(saddle.tilt * saddle.sigma * np.sqrt(2 * np.pi * event.width))
