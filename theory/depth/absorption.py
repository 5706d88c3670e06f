"""Probability that a chain with Gaussian steps leaves an interval, by quadrature on a grid.

The density of the chain that has not left yet is smooth up to the ends of the interval and cut off there. So it is
kept on equidistant points, convolved by Fourier transform, and cut by a trapezoidal rule with corrections at the ends,
which may lie between two points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft, special
from scipy.optimize import brentq

from theory.numerics.arithmetic import FloatArray

_ORDER = 10  # of the corrections at the ends of the interval
_FINEST = 0.25  # spacing of the grid in standard deviations of one step
_LEAST = 10  # points on half of the interval at least
_FAR = 9.0  # standard deviations beyond which a series in normal tails has ended
_TINY = 1e-320
_REACH = 7.0  # standard deviations at which a Gaussian step is cut, 3e-12


@dataclass(frozen=True, slots=True)
class LinearStep:
    r"""One step of the chain (x, y) with a hidden Gaussian state x of unit variance.

    .. math:: x' = \rho x + \sqrt{1-\rho^2}\, \xi, \qquad y' = y + a x' + b x + d + w, \quad w \sim N(0, \omega^2)

    Args:
        rho: correlation of the hidden state.
        a, b: how y follows the new and the old hidden state.
        d: drift.
    """

    rho: float
    a: float
    b: float
    d: float


def exit_probability(epsilon: float, deviation: float, hidden: FloatArray, steps: Sequence[LinearStep]) -> float:
    r"""Probability that the chain of `LinearStep`, started at y = 0, is outside (-epsilon, epsilon) after some step.

    In the coordinate Y = y - a x each step shifts Y by a number that depends on the old hidden state alone, adds the
    noise, and then mixes the hidden states; what lies outside in y is taken off.

    Args:
        epsilon: > 0.
        deviation: omega > 0, the standard deviation of w in every step.
        hidden: equidistant values of the hidden state that resolve its law; it starts standard normal.
        steps: in their order, at least one.

    Returns:
        The probability, as the sum of what leaves at each step: precise to 5e-4 of itself and 1e-13.

    >>> walk = [LinearStep(0.0, 0.0, 0.0, 0.0)]
    >>> hidden = np.linspace(-6, 6, 25)
    >>> round(exit_probability(1.0, 1.0, hidden, walk), 7), round(float(special.erfc(np.sqrt(0.5))), 7)
    (0.3173105, 0.3173105)
    """
    grid = _Grid.build(epsilon, deviation, hidden, steps)
    masses = grid.start()
    gone, slope = 0.0, 0.0
    for step in steps:
        density = grid.advance(step, slope + step.b, masses)
        kept = grid.quadrature(step.a)
        gone += float((density * (1 - kept)).sum())
        masses, slope = density * kept, step.a
    return min(max(gone / (gone + float(masses.sum())), 0.0), 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """The points of x and Y; a density is an array (hidden states, points of Y), in units of one over the spacing.

    Args:
        epsilon: half the length of the interval.
        hidden: points of x.
        points: the points of Y, equidistant around 0, a good number for a Fourier transform.
        spacing: the spacing of the points.
        frequencies: the frequencies of their Fourier transform.
        noise: transform of the density of w.
    """

    epsilon: float
    hidden: FloatArray
    points: FloatArray
    spacing: float
    frequencies: FloatArray
    noise: FloatArray

    @classmethod
    def build(cls, epsilon: float, deviation: float, hidden: FloatArray, steps: Sequence[LinearStep]) -> "_Grid":
        spacing = min(_FINEST * deviation, epsilon / _LEAST)
        farthest = hidden[-1] * max(2 * abs(step.a) + abs(step.b) + abs(step.d) for step in steps)
        half = fft.next_fast_len(int((epsilon + farthest + _REACH * deviation) / spacing) + 1, real=True)
        frequencies = 2 * np.pi * fft.rfftfreq(2 * half, spacing)
        points = np.linspace(-half * spacing, (half - 1) * spacing, 2 * half)
        noise: FloatArray = np.exp(-0.5 * (deviation * frequencies) ** 2)
        return cls(epsilon, hidden, points, spacing, frequencies, noise)

    def start(self) -> FloatArray:
        """All mass at Y = 0, the hidden state standard normal."""
        masses = np.zeros((len(self.hidden), len(self.points)))
        masses[:, len(self.points) // 2] = _normal_density(self.hidden, 1.0) * (self.hidden[1] - self.hidden[0])
        return masses

    def advance(self, step: LinearStep, slope: float, masses: FloatArray) -> FloatArray:
        """Shift Y by slope x + d, add the noise, mix the hidden states."""
        shifts = slope * self.hidden + step.d
        kernel = self.noise * np.exp(-1j * np.outer(shifts, self.frequencies))
        moved = fft.irfft(fft.rfft(masses, axis=1) * kernel, n=len(self.points), axis=1)
        new, old = self.hidden[:, None], self.hidden[None, :]
        mixing = _normal_density(new - step.rho * old, float(np.sqrt(1 - step.rho**2)))
        density: FloatArray = (mixing * (self.hidden[1] - self.hidden[0])) @ moved
        return density

    def quadrature(self, a: float) -> FloatArray:
        """Weights, in units of the spacing, of the integral over |Y + a x| < epsilon, array like a density."""
        lower = (-self.epsilon - a * self.hidden - self.points[0]) / self.spacing
        upper = (self.epsilon - a * self.hidden - self.points[0]) / self.spacing
        index = np.arange(len(self.points))
        weights: FloatArray = ((index >= lower[:, None]) & (index <= upper[:, None])).astype(np.float64)
        first, last = np.ceil(lower).astype(int), np.floor(upper).astype(int)
        rows, columns = np.arange(len(self.hidden))[:, None], np.arange(_ORDER)
        weights[rows, first[:, None] + columns] += end_corrections(first - lower)
        weights[rows, last[:, None] - columns] += end_corrections(upper - last)
        return weights


def brownian_exit(level: float) -> float:
    r"""Probability that Brownian motion is a number of standard deviations away from its start at some time up to 1.

    .. math:: P(\max_{t \le 1} |W_t| \ge z) = 4 \sum_{k \ge 0} (-1)^k \bar\Phi((2k+1) z)

    Lévy (1948), by reflection.

    Args:
        level: z > 0.

    >>> round(brownian_exit(1.0), 6), round(brownian_exit(0.1), 6)
    (0.629223, 1.0)
    """
    odd = 2 * np.arange(int(_FAR / level) + 1) + 1
    return min(1.0, float(4 * (special.ndtr(-odd * level) * np.where(odd % 4 == 1, 1, -1)).sum()))


def brownian_stay(level: float) -> float:
    r"""Probability that it never is; small ones keep their digits.

    .. math:: P(\max_{t \le 1} |W_t| < z)
              = \frac4\pi \sum_{k \ge 0} \frac{(-1)^k}{2k+1} e^{-(2k+1)^2 \pi^2/(8 z^2)}

    Args:
        level: z > 0.

    >>> round(brownian_stay(1.0) + brownian_exit(1.0), 12)
    1.0
    """
    odd = 2 * np.arange(int(_FAR * level) + 2) + 1
    terms = np.exp(-((odd * np.pi / level) ** 2) / 8) * np.where(odd % 4 == 1, 1, -1) / odd
    return max(0.0, float(4 / np.pi * terms.sum()))


def brownian_level(probability: float) -> float:
    """The z at which `brownian_exit` is a probability in (0, 1).

    >>> round(brownian_level(brownian_exit(2.5)), 9)
    2.5
    """
    if probability > 0.5:
        rest = np.log1p(-probability)
        return float(brentq(lambda z: np.log(max(brownian_stay(z), _TINY)) - rest, 0.02, 2.0, xtol=1e-13))
    aim = np.log(probability)
    return float(brentq(lambda z: np.log(max(brownian_exit(z), _TINY)) - aim, 0.5, 38.0, xtol=1e-13))


def end_corrections(offsets: FloatArray) -> FloatArray:
    r"""Weights :math:`c_i` that turn the sum over a half line into an integral up to degree 9.

    .. math:: \int_{-\theta}^\infty f(x)\,dx = \sum_{i \ge 0} f(i) + \sum_{i < 10} c_i f(i), \qquad
              \sum_i c_i i^k = -\zeta(-k) - [k = 0] - \frac{(-\theta)^{k+1}}{k+1}, \quad k < 10

    (Euler and Maclaurin; as differences and at theta = 0, Gregory.)

    Args:
        offsets: theta in [0, 1), any number of them.

    Returns:
        Array (number of offsets, 10).

    >>> weights = end_corrected_weights(33)
    >>> round(abs(float(weights @ np.exp(np.arange(33) / 32) / 32 - np.expm1(1))), 12)
    0.0
    """
    powers = np.arange(1, _ORDER + 1)
    shift = -np.power(-offsets[:, None], powers) / powers
    sums, inverse = _correction_system()
    corrections: FloatArray = (sums + shift) @ inverse.T
    return corrections


def interval_grid(epsilon: float, deviation: float) -> FloatArray:
    """Points on [-epsilon, epsilon], ends included, that resolve Gaussian steps of a standard deviation."""
    half = max(_LEAST, int(np.ceil(epsilon / (_FINEST * deviation))))
    return np.linspace(-epsilon, epsilon, 2 * half + 1)


def end_corrected_weights(points: int) -> FloatArray:
    """Quadrature weights of unit spacing on an interval with both ends among its points (at least 20)."""
    corrections = end_corrections(np.zeros(1))[0]
    weights: FloatArray = np.ones(points, dtype=np.float64)
    weights[:_ORDER] += corrections
    weights[-_ORDER:] += corrections[::-1]
    return weights


@lru_cache(maxsize=1)
def _correction_system() -> tuple[FloatArray, FloatArray]:
    """The regularized sums -zeta(-k), less 1 for k = 0, and the inverse of the matrix i^k that turns them into c_i."""
    sums = np.asarray(special.bernoulli(_ORDER)[1:] / np.arange(1, _ORDER + 1), dtype=np.float64)
    sums[0] = -0.5
    powers = np.vander(np.arange(_ORDER, dtype=np.float64), increasing=True)
    return sums, np.asarray(np.linalg.inv(powers.T), dtype=np.float64)


def _normal_density(x: FloatArray, deviation: float) -> FloatArray:
    """The normal density, 0 below 1e-30 of its top: products of smaller numbers underflow, which is slow."""
    exponent = -0.5 * (x / deviation) ** 2
    density: FloatArray = np.where(exponent > -70, np.exp(exponent), 0.0) / (deviation * np.sqrt(2 * np.pi))
    return density
