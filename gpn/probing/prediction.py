r"""What theory says of one step, given what came before it: means, variances and third moments of squared norms.

Each law covers one operation and takes the lengths before it as they were measured. So the steps of a network
are judged one by one, and a departure in one layer is not blamed on those above. Derivation: docs/own-network.md.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from gpn.probing.tape import Value, Weights
from theory.activations.specification import Phi
from theory.numerics.arithmetic import FloatArray
from theory.numerics.quadrature import gauss_legendre

_REACH, _PANEL, _NODES = 9.0, 0.75, 12  # of the quadrature in standard deviations
_STRAIGHT = 1e-4  # a smaller skewness is none
_FEW_BIASES, _MOST_BIASES = 8, 32


@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """The law of a squared norm, relative to its mean.

    Args:
        mean: of the squared norm, array (samples,).
        variance, third: central moments of the ratio to the mean.
        slack: by how much, relatively, the mean itself may miss: rounding, and what the law neglects.
    """

    mean: FloatArray
    variance: float
    third: float = 0.0
    slack: float = 0.0


def rotated_map(weights: Weights, squares: FloatArray, *, backward: bool = False) -> Law:
    r"""Squared norm after a matrix whose singular vectors point anywhere.

    .. math:: |W x|^2 = |x|^2 \sum_i a_i u_i^2, \quad E = \bar a, \quad Var = \frac{2 \overline{(a - \bar a)^2}}{n + 2},
        \quad E(\cdot)^3 = \frac{8\, \overline{(a - \bar a)^3}}{(n + 2)(n + 4)}

    with u uniform on the sphere and a the eigenvalues of :math:`W^T W`, zeros included (of :math:`W W^T` for the
    way back). Exact for every W whose right singular vectors are Haar and independent of x: Haar and semi-orthogonal
    matrices, where the variance is 0 or nearly so, and Gaussian ones. For several rows (tokens) the variance is the
    largest possible, that of parallel rows.

    Args:
        weights: W as it was found.
        squares: |x|^2 of the samples, array (samples,).
        backward: whether W^T is applied.

    >>> law = rotated_map(Weights.of(2 * np.eye(4)), np.ones(1))
    >>> law.mean.tolist(), law.variance
    ([4.0], 0.0)
    """
    n = weights.rows if backward else weights.columns
    first, second, third = weights.traces / n
    if not first > 0:
        return Law(np.zeros_like(squares), 0.0)
    spread = max(second / first**2 - 1, 0.0)
    skew = third / first**3 - 3 * second / first**2 + 2
    if spread < 1e-9:  # orthogonal up to rounding
        spread = skew = 0.0
    return Law(first * squares, 2 * spread / (n + 2), 8 * skew / ((n + 2) * (n + 4)))


def independent_convolution(weights: Weights, patches: FloatArray, channels: int, groups: int) -> Law:
    r"""Squared norm after a convolution with independent entries, the sum over channels of equal laws.

    .. math:: E |h|^2 = n_{out}\, \sigma^2 \sum_{patches} |patch|^2, \qquad Var \le \frac{2 g}{n_{out}}

    The mean is exact for independent entries of mean 0, the variance that of positions that agree (the largest).

    Args:
        weights: the kernel as found; its rows are channels.
        patches: sums of the squares in all patches over the number of groups g, array (samples,).
        channels: n_out, or n_in for the way back.
        groups: g.
    """
    variance = weights.traces[0] / (weights.rows * weights.columns)
    share = groups / channels
    return Law(channels * variance * patches, 2 * share, 8 * share**2)


def with_bias(law: Law, bias: FloatArray, rows: int) -> Law:
    r"""The law of |h + b|^2: the mean grows by |b|^2, and the cross term has mean 0."""
    size = float(bias @ bias) * rows
    total = law.mean + size
    share = float(np.mean(law.mean / total)) if np.all(total > 0) else 1.0
    cross = 4 * share * (1 - share) / len(bias)
    return Law(total, law.variance * share**2 + cross, law.third * share**3, law.slack)


def sum_of(first: Value, second: Value, bias: FloatArray | None) -> Law:
    r"""Squared norm of x + W y: the cross term has mean 0 and variance :math:`4 |x|^2 |W y|^2/n`; a bias is slack."""
    a, b = first.squares, second.squares
    total = a + b
    with np.errstate(all="ignore"):
        variance = float(np.mean(4 * a * b / total**2)) / first.size
        norm = 0.0 if bias is None else float(np.sqrt(bias @ bias * second.rows))
        slack = float(np.max(2 * np.sqrt(a) * norm / total))
    return Law(total, variance, 0.0, slack)


@dataclass(frozen=True, slots=True, eq=False)
class Passage:
    """What an activation does to lengths and to gradients.

    Args:
        forward: the law of |phi(h)|^2.
        backward: the law of the factor of the squared gradient; its mean has shape (samples,).
    """

    forward: Law
    backward: Law


def activation_step(phi: Phi, lengths: FloatArray, bias: FloatArray | None, size: int, rows: int) -> Passage:
    r"""The laws of a layer of n neurons whose pre-activations are b plus a vector of known length and any direction.

    .. math:: \frac{|\phi(h)|^2}{n} \approx E f - \frac{E f He_4}{4n}, \qquad f = \phi(\sqrt q z + b)^2, \qquad
        n\,Var = E(f - E f)^2 - 2 \chi^2

    and the same with :math:`s = \phi'^2` for the gradient, whose direction is uniform, too:
    :math:`n\,Var = 3 Var\,s - 2\kappa^2` (docs/fluctuation-law.md). To leading order in 1/n; third moments likewise.

    Args:
        phi: the activation.
        lengths: q of classes of rows, array (samples, classes).
        bias: array (n,), or None.
        size: n.
        rows: of one sample.

    >>> from theory.activations.specification import activation
    >>> step = activation_step(activation("sqrt(2)*max(x, 0)"), np.ones((1, 1)), None, 100, 1)
    >>> [round(float(number), 6) for number in (step.forward.mean[0], step.forward.variance, step.backward.variance)]
    [100.0, 0.03, 0.03]
    """
    moments = _Moments.at(phi, lengths, _atoms(bias, float(lengths.min())))
    spread = moments.spread_over_rows if lengths.shape[1] > 1 else (0.0, 0.0)
    f, s = moments.value, moments.slope
    forward = Law(f.mean_at(size) * size * rows, f.variance / size, f.third / size**2, spread[0])
    backward = Law(s.mean_at(size), s.variance / size, s.third / size**2, spread[1])
    return Passage(forward, backward)


@dataclass(frozen=True, slots=True, eq=False)
class _Squares:
    """Moments of phi^2 or phi'^2, their means arrays (samples,), the others relative to the squared or cubed mean."""

    mean: FloatArray
    curvature: FloatArray
    variance: float
    third: float

    def mean_at(self, size: int) -> FloatArray:
        """The mean on a sphere of n dimensions, which stays positive."""
        relative = self.curvature / (np.where(self.mean > 0, self.mean, 1.0) * size)
        return np.asarray(self.mean * np.exp(-relative))


@dataclass(frozen=True, slots=True, eq=False)
class _Moments:
    value: _Squares
    slope: _Squares
    spread_over_rows: tuple[float, float]

    @classmethod
    def at(cls, phi: Phi, lengths: FloatArray, biases: FloatArray) -> "_Moments":
        samples, classes = lengths.shape
        sigma = np.sqrt(np.maximum(np.repeat(lengths.ravel(), len(biases)), 1e-200))
        shift = np.tile(biases, lengths.size)
        z, density = _nodes(phi, sigma, shift)
        with np.errstate(all="ignore"):
            value, slope = phi.value_and_slope(sigma[:, None] * z + shift[:, None])
            shape = (samples, classes * len(biases), -1)
            grid = z.reshape(shape), density.reshape(shape)
            f, s = (array.reshape(shape) ** 2 for array in (value, slope))
            forward, backward = _forward(f, *grid), _backward(s, *grid)
            means = [
                np.sum(array.reshape(samples, classes, -1) * density.reshape(samples, classes, -1), axis=2)
                for array in (f, s)
            ]
            spread = tuple(float(np.max(np.ptp(m, axis=1) / np.maximum(m.mean(axis=1), 1e-300))) for m in means)
        return cls(forward, backward, spread)  # type: ignore[arg-type]


def _forward(f: FloatArray, z: FloatArray, density: FloatArray) -> _Squares:
    mean, curvature, tilt = _linear_moments(f, z, density)
    noise = f - (f * density).sum(2, keepdims=True) - tilt[:, None, None] * (z**2 - 1)
    square, cube = (np.sum(noise**power * density, axis=2).mean(1) for power in (2, 3))
    safe = np.where(mean > 0, mean, 1.0)
    return _Squares(mean, curvature, float(np.mean(square / safe**2)), float(np.mean(cube / safe**3)))


def _backward(s: FloatArray, z: FloatArray, density: FloatArray) -> _Squares:
    mean, curvature, tilt = _linear_moments(s, z, density)
    a = s - mean[:, None, None]  # all neurons, whatever their bias
    own = s - (s * density).sum(2, keepdims=True)
    b = tilt[:, None, None] * (z**2 - 1)

    def expect(values: FloatArray) -> FloatArray:
        return np.asarray(np.sum(values * density, axis=2).mean(1))

    square = 2 * expect(a**2) + expect((own - b) ** 2)
    cube = 8 * expect(a**3) + 6 * expect(a**2 * (own - b)) + expect((own - b) ** 3)
    safe = np.where(mean > 0, mean, 1.0)
    return _Squares(mean, curvature, float(np.mean(square / safe**2)), float(np.mean(cube / safe**3)))


def _linear_moments(f: FloatArray, z: FloatArray, density: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """E f, E f He_4/4 and E f He_2/2, arrays (samples,)."""
    weights = (np.ones_like(z), (z**4 - 6 * z**2 + 3) / 4, (z**2 - 1) / 2)
    mean, curvature, tilt = (np.sum(f * weight * density, axis=2).mean(1) for weight in weights)
    return mean, curvature, tilt


def _nodes(phi: Phi, sigma: FloatArray, shift: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre nodes between the breakpoints and their normal weights, arrays (combinations, nodes)."""
    grid = np.arange(-_REACH, _REACH + _PANEL / 2, _PANEL)
    points = np.asarray(phi.breakpoint_values, dtype=np.float64)
    with np.errstate(all="ignore"):
        breaks = np.clip((points[None, :] - shift[:, None]) / sigma[:, None], -_REACH, _REACH)
    edges = np.sort(np.concatenate([np.tile(grid, (len(sigma), 1)), breaks], axis=1), axis=1)
    nodes, weights = gauss_legendre(_NODES)
    half = np.diff(edges, axis=1)[:, :, None] / 2
    z = (edges[:, :-1, None] + half * (1 + nodes)).reshape(len(sigma), -1)
    density = (half * weights).reshape(len(sigma), -1) * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    return z, density / density.sum(axis=1, keepdims=True)


def _atoms(bias: FloatArray | None, least: float) -> FloatArray:
    """A few values that stand for the biases of a layer beside a squared length: the means of classes of equal size."""
    if bias is None or not np.any(bias):
        return np.zeros(1)
    if np.ptp(bias) == 0:
        return bias[:1]
    count = _MOST_BIASES if np.var(bias) > 0.05 * least else _FEW_BIASES
    return np.array([part.mean() for part in np.array_split(np.sort(bias), min(count, len(bias)))])


@dataclass(frozen=True, slots=True)
class PearsonCurve:
    r"""The Pearson curve of type III with mean 0: a gamma law of shape :math:`4/\gamma^2`, shifted and scaled.

    Args:
        variance, third: central moments; a variance of 0 is the point 0.
    """

    variance: float
    third: float

    @property
    def _skew(self) -> float:
        skew = float(np.clip(self.third / self.variance**1.5, -3, 3))
        return skew if abs(skew) > _STRAIGHT else 0.0

    def tail(self, deviation: float) -> float:
        """Two-sided probability of a deviation.

        >>> round(PearsonCurve(1.0, 0.0).tail(1.96), 3), PearsonCurve(0.0, 0.0).tail(1.0)
        (0.05, 0.0)
        """
        if deviation == 0:
            return 1.0
        if not np.isfinite(deviation) or self.variance <= 0:
            return 0.0
        z, skew = deviation / float(np.sqrt(self.variance)), self._skew
        if skew == 0:
            return float(min(1.0, 2 * special.ndtr(-abs(z))))
        shape = 4 / skew**2
        place = max(shape + (z if skew > 0 else -z) * float(np.sqrt(shape)), 0.0)
        above = (z > 0) == (skew > 0)
        side = special.gammaincc(shape, place) if above else special.gammainc(shape, place)
        return float(min(1.0, 2 * side))

    def band(self, tail: float) -> tuple[float, float]:
        """The two ends beyond which lies the probability tail/2 each.

        >>> [round(end, 3) for end in PearsonCurve(0.01, 0.0).band(0.05)], PearsonCurve(0.0, 0.0).band(0.05)
        ([-0.196, 0.196], (0.0, 0.0))
        """
        if self.variance <= 0:
            return 0.0, 0.0
        deviation, skew = float(np.sqrt(self.variance)), self._skew
        if skew == 0:
            reach = -deviation * float(special.ndtri(tail / 2))
            return -reach, reach
        shape = 4 / skew**2
        ends = special.gammaincinv(shape, tail / 2), special.gammainccinv(shape, tail / 2)
        low, high = ((float(end) - shape) / float(np.sqrt(shape)) * deviation for end in ends)
        return (low, high) if skew > 0 else (-high, -low)
