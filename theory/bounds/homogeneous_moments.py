"""Moments of one layer of a positively homogeneous network, given how many neurons are active.

With squared slopes s (below 0, the smaller) and S (above 0), D = S - s, and k of n preactivations positive, everything
that the deep bound needs is an expectation over one Beta variable:

    Q = s + D B,   B ~ Beta(k/2, (n-k)/2),     the squared length of phi(h) over that of h,
    F = s + D y,   y ~ Beta((k-1)/2, (n-k)/2) or Beta(k/2, (n-k-1)/2),

the second kind bounding v^T N v for a uniform direction v orthogonal to phi(h) (derived for this project,
docs/relu-deep-law.md). Everything is a logarithm.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaln, gammaln, logsumexp

from theory.numerics.arithmetic import FloatArray

_STEP = 0.36  # of the trapezoidal rule, in widths of the integrand: error about exp(-2 pi^2/_STEP^2) near a Gaussian
_MOST_NODES = 601
_BLOCK = 2**13  # moments that are integrated together, a few arrays of 64 KiB
_AGREEMENT = 1e-8  # relative, of the rules with every node and with every second one; the finer is far better
_ULP = float(np.finfo(np.float64).eps)


def log_beta_power(alpha: FloatArray, beta: FloatArray, low: float, high: float, power: npt.ArrayLike) -> FloatArray:
    r"""Logarithm of a power moment of a shifted Beta variable.

    .. math::
        \log E (s + (S-s) y)^t = t \log S + \log {}_2F_1(-t, \beta; \alpha+\beta; 1 - s/S), \quad y \sim
        \mathrm{Beta}(\alpha, \beta)

    (Euler's integral of the hypergeometric function; DLMF 15.6.1). For s = 0 it is a ratio of Gamma functions, else
    it is integrated by the trapezoidal rule in log(y/(1-y)), where the integrand is analytic and falls
    exponentially, so that the error is far below rounding.

    Args:
        alpha, beta: parameters of the Beta law, positive, arrays that broadcast with `power`.
        low: s >= 0.
        high: S > s.
        power: t, of either sign.

    Returns:
        The logarithm; inf where the moment is infinite, nan where the two finest rules do not agree.

    >>> shape = np.array([3.0])
    >>> float(np.exp(log_beta_power(shape, shape, 0.0, 2.0, 2.0))[0])  # 4 E y^2 = 4 (3 4)/(6 7)
    1.142857142857...
    """
    alpha, beta, t = np.broadcast_arrays(alpha, beta, np.asarray(power, dtype=np.float64))
    if low == 0.0:
        with np.errstate(invalid="ignore"):
            moment = t * np.log(high) + betaln(np.maximum(alpha + t, 1e-300), beta) - betaln(alpha, beta)
        return np.asarray(np.where(alpha + t > 0, moment, np.inf), dtype=np.float64)
    result = np.empty(t.size)
    for start in range(0, t.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        a, b, part = (array.ravel()[block] for array in (alpha, beta, t))
        result[block] = _trapezoid(a, b, low, high, part)
    return result.reshape(t.shape)


def _trapezoid(alpha: FloatArray, beta: FloatArray, low: float, high: float, t: FloatArray) -> FloatArray:
    peak, spread = _peak(alpha, beta, low, high, t)
    # the integrand falls like e^(alpha y) below log(s/S), like e^((alpha+t) y) above
    below = np.maximum(peak - np.log(low / high), 0.0) + 40.0 / alpha
    start = peak - 8.8 * spread - np.minimum(below, 40.0 / np.maximum(alpha + np.minimum(t, 0.0), 1e-300))
    length = peak + 8.8 * spread + 40.0 / beta - start
    nodes = min(2 * int(np.ceil(0.5 * float(np.max(length / spread)) / _STEP)) + 1, _MOST_NODES)
    step = length / (nodes - 1)
    top = _log_integrand(peak, alpha, beta, low, high, t)
    sums, edges = [np.zeros(alpha.shape), np.zeros(alpha.shape)], np.zeros(alpha.shape)
    with np.errstate(over="ignore", invalid="ignore"):  # a peak far off ends as inf or nan, which does not settle
        for index in range(nodes):
            value = np.exp(_log_integrand(start + index * step, alpha, beta, low, high, t) - top)
            sums[index % 2] += value
            if index in (0, nodes - 1):
                edges += value
        fine, coarse = sums[0] + sums[1], 2.0 * sums[0]
        settled = (np.abs(fine - coarse) < _AGREEMENT * fine) & (edges < _ULP * fine) & np.isfinite(fine)
        moment = top + np.log(fine * step) - betaln(alpha, beta)
    return np.asarray(np.where(settled, moment, np.nan), dtype=np.float64)


def _log_integrand(
    y: FloatArray, alpha: FloatArray, beta: FloatArray, low: float, high: float, t: FloatArray
) -> FloatArray:
    """In x = e^y/(1 + e^y): x^alpha (1-x)^beta (s + (S-s) x)^t, the Jacobian x (1-x) included."""
    tail = np.exp(-np.abs(y))
    upper = np.where(y > 0, 1.0, tail)  # x (1 + e^-|y|)
    lower = np.where(y > 0, tail, 1.0)
    result: FloatArray = alpha * np.minimum(y, 0.0) - beta * np.maximum(y, 0.0) - (alpha + beta + t) * np.log1p(tail)
    result += t * np.log(high * upper + low * lower)
    return result


def _peak(alpha: FloatArray, beta: FloatArray, low: float, high: float, t: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Where the integrand is about largest, and its width there; a poor answer is caught by the rule itself."""

    def derivatives(
        y: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:  # of the logarithm; minus the second, kept positive
        x, shifted = 1.0 / (1.0 + np.exp(-y)), 1.0 / (1.0 + low / high * np.exp(-y))
        slope = alpha - (alpha + beta) * x + t * (shifted - x)
        curvature = (alpha + beta + t) * x * (1.0 - x) - t * shifted * (1.0 - shifted)
        return slope, np.maximum(curvature, 0.25 * (alpha + beta) * x * (1.0 - x))

    y = np.log(alpha / beta)
    for _ in range(12):
        slope, curvature = derivatives(y)
        y = y + np.clip(slope / curvature, -1.0, 1.0)
    return y, 1.0 / np.sqrt(derivatives(y)[1])


@dataclass(frozen=True, slots=True)
class SignCounts:
    """The numbers k of positive preactivations that the bound allows in a layer, and what that leaves out.

    Args:
        width: n.
        counts: k, floats (K,), consecutive.
        log_weights: log P(k) for k ~ Bin(n, 1/2), (K,).
        outside: P(k is none of the counts).
    """

    width: int
    counts: FloatArray
    log_weights: FloatArray
    outside: float


def sign_counts(width: int, deviations: float, least: int) -> SignCounts:
    """The counts within some standard deviations of n/2, at least `least` positive and as many negative ones.

    >>> counts = sign_counts(100, 2.0, 3)
    >>> int(counts.counts[0]), int(counts.counts[-1]), round(counts.outside, 6)
    (40, 60, 0.0352)
    """
    reach = 0.5 * deviations * np.sqrt(width)
    first = max(least, int(np.ceil(0.5 * width - reach)))
    counts = np.arange(first, width - first + 1, dtype=np.float64)
    log_weights = gammaln(width + 1.0) - gammaln(counts + 1) - gammaln(width - counts + 1) - width * np.log(2.0)
    # P(k < first) = I_{1/2}(n - first + 1, first), twice by symmetry
    outside = 2.0 * float(betainc(width - first + 1.0, first, 0.5)) if first > 0 else 0.0
    return SignCounts(width, counts, log_weights, min(outside, 1.0))


@dataclass(frozen=True, slots=True)
class LayerMoments:
    """Log moments of one layer on the allowed sign counts, for exponents (J,); each field an array (J,).

    With E the expectation on the allowed counts, w+ = S B/Q, w- = 1 - w+ and F, F' the two variables of the module:

    Args:
        exponents: lambda.
        base: log E[Q^-t (w+ F^t + w- F'^t)], t = lambda above and -lambda below; nan where infinite or not known.
        cross: log E[Q^-t w+ w- |F'^t - F^t|]; -inf for s = 0.
        excess: log E[(a - 1)^lambda], a - 1 = D^2 B (1-B)/Q^2, or nan; used above only.
    """

    exponents: FloatArray
    base: FloatArray
    cross: FloatArray
    excess: FloatArray


def layer_moments(counts: SignCounts, low: float, high: float, exponents: FloatArray, sign: int) -> LayerMoments:
    r"""Compute the moments of one layer for t = sign * lambda.

    Given k the variables B, y and y' are independent, so each term is a product of two moments of Beta variables.

    Args:
        counts: the allowed numbers of positive preactivations.
        low, high: the squared slopes s < S.
        exponents: lambda > 0, (J,).
        sign: 1 for the upper tail, -1 for the lower one.
    """
    k, n = counts.counts, counts.width
    size, t = exponents[:, None], sign * exponents[:, None]
    plus, minus = k / 2, (n - k) / 2
    log_low = np.log(low) if low > 0 else -np.inf

    def forward(i: float | FloatArray, j: float | FloatArray, power: FloatArray) -> FloatArray:
        """log E[B^i (1-B)^j Q^power | k]."""
        shift = betaln(plus + i, minus + j) - betaln(plus, minus)
        return np.asarray(shift + log_beta_power(plus + i, minus + j, low, high, power), dtype=np.float64)

    def mean(conditional: FloatArray) -> FloatArray:
        return np.asarray(logsumexp(conditional + counts.log_weights, axis=1), dtype=np.float64)

    below = log_beta_power(plus - 0.5, minus, low, high, t)
    along = np.log(high) + forward(1, 0, -t - 1)  # of Q^-t w+
    if low == 0.0:  # w- = 0
        nothing = np.full(len(exponents), -np.inf)
        base, cross = mean(along + below), nothing
    else:
        above = log_beta_power(plus, minus - 0.5, low, high, t)
        across = log_low + forward(0, 1, -t - 1)
        gap = np.abs(np.expm1(above - below)) + _rounding(n, size)
        with np.errstate(invalid="ignore"):  # the caller reports nan
            base = mean(np.logaddexp(along + below, across + above))
        cross = mean(log_low + np.log(high) + forward(1, 1, -t - 2) + below + np.log(gap))
    if sign > 0:
        excess = mean(2 * size * np.log(high - low) + forward(size, size, -2 * size))
    else:
        excess = np.zeros(len(exponents))
    slack = _rounding(n, exponents)
    # an infinity diverges or went wrong
    known = [np.where(np.isfinite(moment), moment + slack, np.nan) for moment in (base, excess)]
    return LayerMoments(exponents, known[0], cross + slack, known[1])


def fraction_tail(counts: SignCounts, threshold: float, offset: float) -> float:
    """P(y < threshold) for y ~ Beta((k - offset)/2, (n - k)/2), k an allowed count."""
    k = counts.counts
    tails = betainc((k - offset) / 2, (counts.width - k) / 2, threshold)
    return float(np.exp(counts.log_weights) @ tails)


def _rounding(width: int, exponents: FloatArray) -> FloatArray:
    """More than the rounding error of a logarithm of Gamma functions of arguments up to n + lambda."""
    largest = width + 4.0 * exponents
    return np.asarray(32 * _ULP * largest * np.log(largest), dtype=np.float64)
