r"""Law of the gradient ratios for positively homogeneous activations (ReLU, leaky ReLU, abs).

Such a phi keeps no length: chi = 1. But <e_l, x_l> is the same in every layer (Euler's theorem), so that

.. math:: \frac{|\partial E/\partial W_l|_F^2}{|\partial E/\partial W_L|_F^2}
          = \frac{\cos^2(e_{L-1}, x_{L-1})}{\cos^2(e_{l-1}, x_{l-1})}

and :math:`u = \log(n \cos^2)` is a stationary reversible diffusion, du = (1 - e^u) dt + 2 dW in the time
t = layers Var s/n. Its generator is a Schrödinger operator with Morse potential, whose spectrum is known. Derived for
this project, docs/fluctuation-law.md, equations (11) to (18).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import interpolate, special

from theory.depth.absorption import end_corrected_weights, interval_grid
from theory.depth.coefficients import DepthCoefficients
from theory.depth.law import LogRatioLaw, checked_probabilities
from theory.numerics.arithmetic import FloatArray

_COSINES = 28  # Gauss-Legendre nodes for the cosine at the top layer
_LARGEST_COSINE = 6.5  # in standard deviations
_LARGEST_SQUARE = 50.0  # n times a squared cosine; larger ones have probability 2e-12 in every layer
_REACH = 7.0  # standard deviations at which a step is cut, 3e-12
_STANDARD_RANGE = 9.0  # standard deviations of the tabulated distribution functions
_ARGUMENTS = 0.3  # spacing of the arguments of a characteristic function, in one over the standard deviation
_SPACING = 0.055  # of k: the trapezoidal rule errs by exp(-pi/(2 spacing)) for an even integrand with poles at i/4
_FARTHEST = 9.0  # beyond the argument t the integrand falls like exp(-pi (k - t))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class HomogeneousLaw(LogRatioLaw):
    """The law of Y_l for a positively homogeneous activation, through the time Var s (L - l)/n.

    Args:
        times: the time of each layer, array (L,), 0 at l = L.
    """

    times: FloatArray

    @classmethod
    def of(cls, coefficients: DepthCoefficients[float], width: int, depth: int, q0: float) -> "HomogeneousLaw":
        """The law for checked arguments (see `theory.depth.fluctuation.log_ratio_law`)."""
        rate = coefficients.slope_variance / width
        times = rate * np.arange(depth - 1, -1, -1, dtype=np.float64)
        growth = np.log(coefficients.slope_second) - 1.5 * rate
        gradient_mean = np.full(depth, np.log(q0) + depth * growth)
        gradient_variance = np.full(depth, 3 * rate * depth)
        variance = log_ratio_variance(times)
        return cls(coefficients, width, depth, q0, np.zeros(depth), variance, gradient_mean, gradient_variance, times)

    def quantiles(self, probabilities: Sequence[float]) -> FloatArray:
        """Quantiles of Y_l, array (L, number of probabilities), by Fourier inversion."""
        table = standard_quantiles(tuple(checked_probabilities(probabilities)))
        nodes = _compressed(_table_times())
        standardized = interpolate.CubicSpline(nodes, table)(_compressed(self.times))
        quantiles: FloatArray = np.sqrt(self.variance)[:, None] * standardized
        return quantiles

    def spread_probability(self, epsilon: float) -> float:
        r"""Probability that some layer's squared gradient norm is off the top layer's by a factor e^epsilon.

        .. math:: P(\max_l |Y_l| \ge \epsilon), \qquad
                  Y_l = Y_{l+1} + \delta\, (\zeta e^{-Y_{l+1}} - 1) + 2\sqrt\delta\, w_l, \quad \delta = Var(s)/n

        with standard normal :math:`w_l` and :math:`\zeta \sim \chi^2_1`: for each of a few zeta the density of the
        walk that has not left yet is propagated on a grid.

        Args:
            epsilon: > 0, checked.
        """
        rate = self.coefficients.slope_variance / self.width
        if self.depth == 1 or rate == 0:
            return 0.0
        if epsilon > max(10.0, 9 * np.sqrt(4 * self.times[0])) + self.times[0]:
            return 0.0  # below 1e-15
        if epsilon > 80 * np.sqrt(self.times[0]) + _LARGEST_SQUARE * self.times[0]:
            return 0.0  # 40 standard deviations beyond the drift: below what float64 can hold
        nodes, weights = np.polynomial.legendre.leggauss(_COSINES)
        cosines = _LARGEST_COSINE * (1 + nodes) / 2
        law = weights * _LARGEST_COSINE * np.exp(-0.5 * cosines**2) / np.sqrt(2 * np.pi)
        leaves = _walk_exit(epsilon, rate, cosines**2, self.depth - 1)
        return float(np.clip(law @ leaves / law.sum(), 0.0, 1.0))


def _walk_exit(epsilon: float, rate: float, squares: FloatArray, steps: int) -> FloatArray:
    """Probability to leave (-epsilon, epsilon) from 0 within a number of steps, for each zeta."""
    deviation = float(2 * np.sqrt(rate))
    grid = interval_grid(epsilon, deviation)
    spacing = grid[1] - grid[0]
    weights = end_corrected_weights(len(grid)) * spacing
    scaled = np.minimum(squares[:, None] * np.exp(-grid), _LARGEST_SQUARE)
    center = grid + rate * (scaled - 1)
    reach = int((_REACH * deviation + np.abs(center - grid).max()) / spacing) + 1
    reach = min(reach, len(grid) - 1)
    sources = _windows(center, reach, fill=np.inf)  # (zeta, new point, old point)
    kernel = _normal((grid[:, None] - sources) / deviation) / deviation
    leaves = special.ndtr((center - epsilon) / deviation) + special.ndtr((-center - epsilon) / deviation)
    start = rate * (squares - 1)
    gone = special.ndtr((start - epsilon) / deviation) + special.ndtr((-start - epsilon) / deviation)
    masses = weights * _normal((grid - start[:, None]) / deviation) / deviation
    for _ in range(steps - 1):
        gone = gone + (masses * leaves).sum(axis=1)
        masses = weights * np.einsum("zik,zik->zi", kernel, _windows(masses, reach, fill=0.0))
    probability: FloatArray = gone / (gone + masses.sum(axis=1))
    return probability


def _windows(rows: FloatArray, reach: int, fill: float) -> FloatArray:
    """The neighbours of each entry up to a distance, as a view, array (rows, entries, 2 reach + 1)."""
    padded = np.pad(rows, ((0, 0), (reach, reach)), constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=1)


def _normal(x: FloatArray) -> FloatArray:
    density: FloatArray = np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)
    return density


def log_ratio_variance(times: npt.ArrayLike) -> FloatArray:
    r"""Variance of the log ratio after a time.

    .. math:: Var\, Y = \frac{4}{\sqrt\pi} \int_0^\infty \left(1 - e^{-(1/8 + 2k^2) t}\right)
              \frac{k \tanh(2\pi k)\, |\Gamma(1/4+ik)|^2}{k^2 + 1/16}\, dk
              = 4t - 2t^2 + O(t^3), \qquad \to \pi^2

    Derived for this project, docs/fluctuation-law.md, equation (16).

    Args:
        times: t = Var(s) layers/n, any shape.

    >>> np.round(log_ratio_variance(np.array([1e-4, 1e4])) / [4e-4, np.pi**2], 6)
    array([0.99995, 1.     ])
    """
    k = _wave_numbers(_FARTHEST)
    gamma = np.exp(2 * _log_modulus(0.25, k))  # falls like exp(-pi k)
    measure = _SPACING * k * np.tanh(2 * np.pi * k) * gamma / (k * k + 1 / 16)
    decay = -np.expm1(-np.multiply.outer(np.asarray(times, dtype=np.float64), 1 / 8 + 2 * k * k))
    variance: FloatArray = 4 / np.sqrt(np.pi) * (decay @ measure)
    return variance


def characteristic_function(t: FloatArray, time: float) -> FloatArray:
    r"""Characteristic function of the log ratio after a time: real, since Y and -Y have the same law.

    .. math:: E e^{itY} = \frac{1}{\cosh \pi t} + \frac{t \sinh \pi t}{\pi^{7/2}} \int_0^\infty
              e^{-(1/8+2k^2)\tau}\, \frac{k \sinh(2\pi k)\, |\Gamma(3/4+ik)|^2}{k^2+1/16}\,
              |\Gamma(\tfrac14 + i(t+k))\, \Gamma(\tfrac14 + i(t-k))|^2\, dk

    Derived for this project, docs/fluctuation-law.md, equation (17).

    Args:
        t: arguments, array (m,), at least 0.
        time: tau = Var(s) layers/n.
    """
    k = _wave_numbers(float(t.max()) + _FARTHEST)
    # logarithms, since sinh and Gamma overflow and underflow where their product is of order 1
    log_k = np.log(k) + _log_sinh(2 * np.pi * k) + 2 * _log_modulus(0.75, k) - np.log(k * k + 1 / 16)
    log_t = np.log(np.maximum(t, 1e-300)) + _log_sinh(np.pi * np.maximum(t, 1e-300))
    pair = 2 * _log_modulus(0.25, t[:, None] + k) + 2 * _log_modulus(0.25, t[:, None] - k)
    integrand = np.exp(log_t[:, None] + log_k + pair - (1 / 8 + 2 * k * k) * time)
    continuum = integrand.sum(axis=1) * _SPACING / np.pi**3.5
    ground = 1 / np.cosh(np.pi * np.minimum(t, 200.0))
    total: FloatArray = ground + continuum
    return total


def _wave_numbers(end: float) -> FloatArray:
    return _SPACING * np.arange(1, int(end / _SPACING), dtype=np.float64)


def _log_modulus(real: float, imaginary: FloatArray) -> FloatArray:
    return np.asarray(special.loggamma(real + 1j * imaginary).real)


def _log_sinh(x: FloatArray) -> FloatArray:
    return np.asarray(x + np.log(-np.expm1(-2 * x) / 2))


def _compressed(times: FloatArray) -> FloatArray:
    """Times from 0 to infinity on [0, 1]."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(times), 1.0, times / (1 + times))


def _table_times() -> FloatArray:
    r = np.linspace(0.0, 1.0, 25)
    with np.errstate(divide="ignore"):
        return r / (1 - r)


def standard_quantiles(probabilities: tuple[float, ...]) -> FloatArray:
    r"""Quantiles of Y over its standard deviation at a table of times, array (25, number of probabilities).

    .. math:: P(Y \le y) = \frac12 + \frac1\pi \int_0^\infty \frac{\sin(t y)}{t}\, E e^{itY}\, dt

    At time 0 they are the normal ones; at infinity Y has density 1/(2 pi cosh(y/2)).
    """
    levels = np.asarray(probabilities)
    rows = [special.ndtri(levels)]
    y, distributions = _distributions()
    for cumulative in distributions:
        rows.append(np.interp(levels, cumulative, y))
    rows.append(2 * np.log(np.tan(np.pi * levels / 2)) / np.pi)
    return np.stack(rows)


@lru_cache(maxsize=1)
def _distributions() -> tuple[FloatArray, FloatArray]:
    """Distribution functions of Y in standard deviations, at the inner times of the table."""
    y = np.linspace(-_STANDARD_RANGE, _STANDARD_RANGE, 2001)
    rows = []
    for time in _table_times()[1:-1]:
        s = _ARGUMENTS * np.arange(1, int(30 + 30 * time / (1 + time)))  # in one over the standard deviation
        factor = characteristic_function(s / np.sqrt(log_ratio_variance(time)), float(time))
        integral = _ARGUMENTS * (y / 2 + np.sin(np.outer(y, s)) @ (factor / s))
        rows.append(np.maximum.accumulate(0.5 + integral / np.pi))
    return y, np.stack(rows)
