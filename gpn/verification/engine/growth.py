r"""The mean growth of the backward signal inside a network, against its exact value given the forward pass.

    B_l = |D e_l|^2 / |e_l|^2 = |D (alpha x^ + sqrt(1 - alpha^2) v)|^2,
    v uniform on the unit sphere across x^ = x_l/|x_l|,
    E_v B_l = s + (alpha^2 - 1/n) n/(n-1) (tau - s),   s = mean of phi'(h_i)^2,   tau = |D x^|^2.

The differences B_l - E_v B_l of all layers and networks are martingale differences: each has mean 0 given all that
was drawn before. For m = n - 1 and a standard normal vector g of the complement, g = R v with R independent of v,
E R^2 = m and E R = rho. With A = D^2 restricted to the complement less its mean eigenvalue, c = the part of D^2 x^
across x^, Jensen's inequality for the mean over R given v gives for every real lambda

    E exp(lambda (B - E_v B)) <= E exp(lambda ((1 - alpha^2) g'Ag/m + 2 alpha sqrt(1 - alpha^2) c'g/rho))
                              = det(M)^(-1/2) exp(b^2 c' M^(-1) c / 2),
    M = 1 - 2 lambda (1 - alpha^2) A/m,   b = 2 lambda alpha sqrt(1 - alpha^2)/rho,

where M is positive. So exp(lambda sum (B - E_v B) - sum of the logarithms) has a mean of at most 1, and Markov's
inequality bounds the sum at every level: docs/engine.md.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from gpn.engine.norms import FloatArray, quiet
from gpn.verification.engine.trace import Trace, dots, lengths

PARTS = ("excess", "above", "below", "exponent")
"""What `excess` returns."""

TYPICAL = 9.0
"""Logarithm of 1/alpha for which the exponents of both means are best."""

_MOST = 0.45  # of twice the largest exponent at which the bound exists
_MOST_EXPONENT = 1e5  # over the mean of B: rounding of many differences must stay small beside the log of 1/alpha


@dataclass(frozen=True, slots=True)
class _Law:
    """What the law of B depends on, each (trials, L) or (trials, L, n)."""

    squares: FloatArray  # phi'(h_i)^2
    base: FloatArray  # x_i^2 / |x|^2
    centre: FloatArray  # mean eigenvalue of D^2 across x
    tau: FloatArray
    rest: int  # n - 1


def excess(trace: Trace) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return B - E_v B, bounds of log E exp(+-lambda (B - E_v B)), each (trials, L), and lambda, (trials, 1).

    In layers of which nothing can be said the first is nan and the bounds are 0. Lambda depends on the forward pass
    alone.

    Args:
        trace: of the networks, of width at least 3.
    """
    with quiet():
        law = _law(trace)
        size = lengths(trace.e)
        cosine = np.clip(dots(trace.e, trace.x) / size / lengths(trace.x), -1.0, 1.0)
        growth = (lengths(trace.d) / size) ** 2
        mean = cosine**2 * law.tau + (1 - cosine**2) * law.centre
        good = np.isfinite(growth * mean) & np.isfinite(trace.usable)
        usable = np.isfinite(trace.usable) & np.isfinite(law.tau)
        exponent = _exponent(law, usable)
        above, below = (np.where(good, _log_moment(law, cosine, sign * exponent), 0.0) for sign in (1, -1))
        return np.where(good, growth - mean, np.nan), above, below, exponent


def limits(
    difference: FloatArray, above: FloatArray, below: FloatArray, exponent: float, alpha: float
) -> tuple[float, float]:
    """Return limits of the mean by which B exceeds E_v B, each wrong with probability at most alpha.

    Args:
        difference, above, below: as `excess` returns them.
        exponent: lambda.
        alpha: one-sided error probability.

    >>> limits(np.array([0.3, -0.1]), np.array([0.5, 0.5]), np.array([0.5, 0.5]), 1.0, np.exp(-1.0))
    (-0.9, 1.1)
    """
    counted = int(np.isfinite(difference).sum())
    total, slack = exponent * float(np.nansum(difference)), -float(np.log(alpha))
    low, high = total - float(above.sum()) - slack, total + float(below.sum()) + slack
    return low / (exponent * counted), high / (exponent * counted)


def _law(trace: Trace) -> _Law:
    squares, size, rest = trace.slope**2, lengths(trace.x), trace.h.shape[-1] - 1
    base = (trace.x / size[..., None]) ** 2
    tau = dots(squares, base)
    return _Law(squares, base, (squares.sum(axis=-1) - tau) / rest, tau, rest)


def _exponent(law: _Law, usable: npt.NDArray[np.bool_]) -> FloatArray:
    """The exponent that is best for the expected variance, within what the bound allows."""
    deviation = np.where(usable[..., None], law.squares - law.centre[..., None], 0.0)
    variance = 2 * np.float64((deviation**2).sum()) / law.rest**2
    largest = np.float64(np.abs(deviation).max())
    size = np.float64(np.where(usable, np.maximum(law.centre, law.tau), 0.0).max())
    with quiet():
        best = min(np.sqrt(2 * TYPICAL / variance), _MOST * law.rest / largest, _MOST_EXPONENT / max(size, 1.0))
    return np.full((len(usable), 1), best)


def _log_moment(law: _Law, cosine: FloatArray, exponent: FloatArray) -> FloatArray:
    """The bound of log E exp(lambda (B - E_v B)) for lambda of either sign."""
    share = 1 - cosine**2
    matrix = 1 - 2 * (exponent * share / law.rest)[..., None] * (law.squares - law.centre[..., None])
    weights = law.base / matrix
    turned = law.squares - law.tau[..., None]
    ones, once, twice = weights.sum(axis=-1), dots(turned, weights), dots(turned**2, weights)
    radius = np.sqrt(2.0) * np.exp(gammaln((law.rest + 1) / 2) - gammaln(law.rest / 2))
    linear = 2 * exponent * cosine * np.sqrt(share) / radius
    bound: FloatArray = (linear**2 * (twice - once**2 / ones) - np.log(matrix).sum(axis=-1) - np.log(ones)) / 2
    return bound
