"""Gaussians conditioned on a sphere: expectations of products over the coordinates of one pre-activation.

A vector h uniform on the sphere of radius sqrt(nq) is n independent standard normals z_i given |z|^2 = nq, since
radius and direction are independent. Tilting the law of a coordinate so that z^2 has the mean q makes the Fourier
inversion of its density free of cancellation (docs/one-step.md#gaussians-conditioned-on-a-sphere; the inversion is that
of H. E. Daniels, "Saddlepoint approximations in statistics", 1954). No coordinate on the sphere exceeds sqrt(nq), so
the normal may be cut off there or beyond. Everything is numerical, with an estimate of the error.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from theory.errors import UsageError
from theory.numerics.arithmetic import FloatArray

SMALLEST_WIDTH = 8
"""Below it the characteristic function decays too slowly to be inverted."""


ComplexArray = npt.NDArray[np.complex128]
_EPS = float(np.finfo(np.float64).eps)
_CORE = 8.0  # panels are of the given length where all but 1e-15 of the probability is
_SHOULDER = 14.0  # twice that length up to here, growing geometrically beyond
_GROWTH = 1.25
_GRADES = 9  # panels on either side of a refined point, each three times as long as the one before
_STEP = 0.7  # of the inversion in standard deviations, at large width
_SKEWNESS = 35.0  # width at which the step is halved: the law is skew, its long tail would be folded back
_BLOCK = 16  # frequencies at a time
_BLOCKS = 256  # at small width, where characteristic functions decay like a low power
_BLOCKS_WIDE = 48  # from _WIDE on
_WIDE = 64
_DECAYED = -37.0  # natural logarithm at which an integrand is negligible
_PRUNED = 1e-26  # tilted weights below it are left out of the inversion
_ITERATIONS = 200
_LOST = 1e-3  # share of the modulus below which the integral is cancellation: nq lies in a trough of ftilde
_DEGENERATE = 1e-13  # relative variance below which z^2 is a constant up to rounding


@dataclass(frozen=True, slots=True)
class NormalNodes:
    """A quadrature rule for the standard normal law cut off at |z| <= radius.

    Args:
        points: z, ascending, none at an end of a panel.
        log_weights: natural logarithms of the weights; their sum is log P(|z| <= radius).
        squares: z^2.
    """

    points: FloatArray
    log_weights: FloatArray
    squares: FloatArray


@dataclass(frozen=True, slots=True)
class TiltedLaw:
    """The law of one coordinate with density proportional to exp(psi + mu z^2) and mean square q.

    Args:
        mu: the tilt.
        log_normalizer: Lambda(mu) = log E exp(psi + mu (z^2 - q)).
        probabilities: the probabilities of the nodes.
        variance: the variance of z^2.
    """

    mu: float
    log_normalizer: float
    probabilities: FloatArray
    variance: float


@dataclass(frozen=True, slots=True)
class SphereMean:
    """The logarithm of an expectation over the sphere.

    Args:
        log: log E exp(sum psi(h_i)).
        error: estimate of its absolute error by the inversion and by rounding; infinite where the digits are lost.
        log_upper: the same with the modulus of the integrand in place of the integrand: never too small. It is the
            `log` where the digits are lost, and then infinite at worst.
        law: the tilted law of one coordinate, None where no law has this mean square.
    """

    log: float
    error: float
    log_upper: float
    law: TiltedLaw | None


def normal_nodes(
    radius: float,
    breakpoints: npt.ArrayLike = (),
    *,
    panel: float = 0.5,
    order: int = 16,
    refine: Sequence[float] = (),
) -> NormalNodes:
    r"""Gauss-Legendre panels for the standard normal law on :math:`|z| \le R`, split at breakpoints.

    Args:
        radius: R > 0; for a sphere of radius sqrt(nq) any R of at least that.
        breakpoints: where the integrand has kinks or jumps.
        panel: length of the panels on |z| < 8, of which the outer ones are multiples.
        order: nodes per panel.
        refine: points on whose both sides panels shrink geometrically, for an integrand that is sharp there.

    Raises:
        UsageError: a radius or panel that is not positive.

    >>> nodes = normal_nodes(10.0, [0.5])
    >>> bool(abs(np.exp(nodes.log_weights) @ nodes.squares - 1) < 1e-14)
    True
    """
    if not (np.isfinite(radius) and radius > 0 and panel > 0):
        raise UsageError(f"radius and panel must be positive numbers, not {radius} and {panel}")
    edges = _edges(radius, np.asarray(breakpoints, dtype=np.float64), panel, refine)
    x, w = np.polynomial.legendre.leggauss(order)
    half = 0.5 * np.diff(edges)
    points = (0.5 * (edges[1:] + edges[:-1])[:, None] + half[:, None] * x).ravel()
    squares = points * points
    log_weights = np.log((half[:, None] * w).ravel()) - 0.5 * squares - 0.5 * np.log(2 * np.pi)
    return NormalNodes(points, log_weights, squares)


def _edges(radius: float, breakpoints: FloatArray, panel: float, refine: Sequence[float]) -> FloatArray:
    core, shoulder = min(_CORE, radius), min(_SHOULDER, radius)
    half_line: list[FloatArray] = [
        np.linspace(0, core, int(np.ceil(core / panel)) + 1),
        np.arange(core, shoulder, 2 * panel),
        shoulder * _GROWTH ** np.arange(0, np.log(radius / shoulder) / np.log(_GROWTH)),
        np.array([radius]),
    ]
    line = np.concatenate(half_line)
    grades = panel * 3.0 ** -np.arange(_GRADES)
    graded = [point + sign * grades for point in refine for sign in (-1, 1)]
    edges = np.unique(np.concatenate([-line, line, breakpoints, list(refine), *graded]))
    inside: FloatArray = edges[np.abs(edges) <= radius]
    return inside[np.diff(inside, prepend=-np.inf) > 1e-13 * radius]


def tilt(nodes: NormalNodes, psi: FloatArray, q: float = 1.0, start: float = 0.0) -> TiltedLaw | None:
    r"""Tilt exp(psi) by the mu at which the mean square is q.

    .. math:: E[z^2 e^{\psi(z) + \mu z^2}] = q\, E\, e^{\psi(z) + \mu z^2}

    Newton's method on a convex function, kept inside a bracket.

    Args:
        nodes: the nodes of the normal law.
        psi: at the nodes, -inf where a coordinate must not lie.
        q: mean square.
        start: first guess of mu.

    Returns:
        the `TiltedLaw`, or None if no law on the nodes has this mean square.

    Raises:
        UsageError: a psi that is nan or +inf somewhere.
    """
    base = nodes.log_weights + psi
    if not base.max() < np.inf:
        raise UsageError("psi must be a number or -inf at every node")
    allowed = nodes.squares if base.min() > -np.inf else nodes.squares[base > -np.inf]
    if not (allowed.size and allowed.min() < q < allowed.max()):
        return None
    centred = nodes.squares - q
    lower, upper, mu = -np.inf, np.inf, start
    for _ in range(_ITERATIONS):
        exponent = base + mu * centred
        top = exponent.max()
        weights = np.exp(exponent - top)
        total = weights.sum()
        weights /= total
        gap = float(weights @ centred)
        variance = float(weights @ (centred * centred)) - gap * gap
        if abs(gap) <= 1e-11 * q:
            break
        lower, upper = (lower, mu) if gap > 0 else (mu, upper)
        mu = safeguarded_step(mu, gap, variance, lower, upper)
        if upper - lower <= 4 * _EPS * abs(mu):
            break
    return TiltedLaw(mu, float(top + np.log(total)), weights, variance)


def safeguarded_step(x: float, slope: float, curvature: float, lower: float, upper: float, scale: float = 1.0) -> float:
    """A Newton step towards the minimum of a convex function, kept inside a bracket.

    Bisection where Newton leaves the bracket, expansion while one of its ends is infinite.

    Args:
        x: the point.
        slope, curvature: the slope and the curvature of the function there.
        lower, upper: the bracket, with one end at x.
        scale: a natural length; no step is longer than twice scale + |x|.
    """
    reach = scale + abs(x)
    if curvature * reach > 1e-3 * abs(slope):
        newton = x - min(max(slope / curvature, -2 * reach), 2 * reach)
        if lower < newton < upper:
            return newton
    if np.isfinite(lower) and np.isfinite(upper):
        return 0.5 * (lower + upper)
    return x - reach if slope > 0 else x + reach


def log_sphere_mean(
    nodes: NormalNodes, psi: FloatArray, width: int, q: float = 1.0, *, start: float = 0.0
) -> SphereMean:
    r"""Expectation of a product over the coordinates of a point uniform on a sphere, as a logarithm.

    .. math:: \log E\Bigl[e^{\sum_i \psi(h_i)} \Bigm| |h|^2 = nq\Bigr]
              = n \Lambda(\mu) + \log \tilde f(nq) - \log f(nq), \qquad
              \tilde f(y) = \frac1\pi \int_0^\infty \Re\bigl[\chi(u)^n e^{-iuy}\bigr]\, du

    with f the density of chi^2 with n degrees of freedom, the tilted law of `tilt`, and :math:`\chi(u)` the mean of
    :math:`e^{iuz^2}` under it. The trapezoid rule of step s gives :math:`\sum_k \tilde f(y + 2\pi k/s)` by Poisson's
    summation formula, which errs upward only. Rigour ends at quadrature over z and at rounding.

    Args:
        nodes: the nodes of the normal law, reaching sqrt(nq) at least, or as far as exp(psi) leaves any probability.
        psi: at the nodes, shape of `nodes.points`; -inf where no coordinate may lie.
        width: n, at least `SMALLEST_WIDTH`.
        q: |h|^2/n.
        start: first guess of mu, for speed alone.

    Returns:
        `SphereMean`; its log is -inf where every point of the sphere has a coordinate where psi is -inf.

    Raises:
        UsageError: a width below `SMALLEST_WIDTH`, or a psi that is nan or +inf somewhere.

    >>> nodes = normal_nodes(10.0)
    >>> mean = log_sphere_mean(nodes, 0.3 * nodes.squares, 100)  # |h|^2 = 100, whatever h
    >>> bool(abs(mean.log - 30) < 1e-11)
    True
    """
    if width < SMALLEST_WIDTH:
        raise UsageError(f"the inversion needs a width of at least {SMALLEST_WIDTH}, not {width}")
    law = tilt(nodes, psi, q, start)
    if law is None:
        return SphereMean(-np.inf, 0.0, -np.inf, None)
    if not law.variance > _DEGENERATE * q * q:
        return SphereMean(np.inf, np.inf, np.inf, law)
    centred = nodes.squares - q
    value, modulus, rest = _invert(centred, law, width)
    common = width * law.log_normalizer - float(log_chi_squared(width, q))
    rounding = 8 * _EPS * (width * (1 + abs(law.log_normalizer)) + abs(common))
    if value > max(_LOST * modulus, 0.1 * rest):
        error = rounding + (rest + 4 * _EPS * modulus) / value
        return SphereMean(common + np.log(value), error, common + np.log(modulus + rest) + rounding, law)
    upper = common + np.log(_largest_density(centred, law, width)) + rounding
    return SphereMean(upper, np.inf, upper, law)


def _invert(centred: FloatArray, law: TiltedLaw, width: int) -> tuple[float, float, float]:
    """The density ftilde at nq, the same with moduli, and what the frequencies left out can add (inf if unknown)."""
    kept = law.probabilities > _PRUNED
    chf = _characteristic(centred[kept], law.probabilities[kept], _step(law.variance, width), width)
    value = modulus = -0.5  # the frequency 0 counts half: the integrand is symmetric
    frequencies = 0
    for block in chf:
        log_chf = np.log(block)
        sizes = np.exp(width * log_chf.real)
        value += float(np.sum(sizes * np.cos(width * log_chf.imag)))
        modulus += float(np.sum(sizes))
        last = float(sizes[-4:].max())
        frequencies += _BLOCK
        if last < np.exp(_DECAYED):
            break
    # From there on the modulus falls at least like u^(-n/2): the density of z^2 is unbounded at 0 like z^-1.
    rest = last * frequencies / (0.5 * width - 1) if last < 1e-6 else np.inf
    scale = _step(law.variance, width) / np.pi
    return value * scale, modulus * scale, rest * scale


def _step(variance: float, width: int) -> float:
    """Between frequencies: a fraction of the inverse standard deviation of the sum of squares."""
    return float(_STEP / (1 + _SKEWNESS / width) / np.sqrt(width * variance))


def _characteristic(centred: FloatArray, probabilities: FloatArray, step: float, width: int) -> Iterator[ComplexArray]:
    """Means of exp(i k step x) for k = 0, 1, 2, ..., a block at a time, by powers of one turn."""
    weights = probabilities.astype(np.complex128)
    powers = np.ones((_BLOCK + 1, centred.size), dtype=np.complex128)
    turn = np.exp(1j * step * centred)
    np.multiply.accumulate(np.broadcast_to(turn, (_BLOCK, turn.size)), axis=0, out=powers[1:])
    for _ in range(_BLOCKS if width < _WIDE else _BLOCKS_WIDE):
        yield powers[:-1] @ weights
        weights = weights * powers[-1]


def _largest_density(centred: FloatArray, law: TiltedLaw, width: int) -> float:
    r"""A bound on ftilde where a few large coordinates keep the characteristic function from decaying.

    Of each coordinate the largest squares, of probability :math:`\rho = 3/n`, are split off:
    :math:`|\chi| \le |\chi_{bulk}| + \rho`, which needs frequencies no finer than the bulk does.
    """
    above = np.argsort(-centred)
    dropped = above[np.cumsum(law.probabilities[above]) <= 3 / width]
    bulk = law.probabilities.copy()
    bulk[dropped] = 0
    rho = float(law.probabilities[dropped].sum())
    kept = bulk > _PRUNED
    mean = float(bulk @ centred) / bulk.sum()
    variance = float(bulk @ (centred - mean) ** 2) / bulk.sum()
    if not variance > 0:
        return np.inf
    step = _step(variance, width)
    total = -0.5
    for block in _characteristic(centred[kept] - mean, bulk[kept], step, width):
        sizes = np.exp(width * np.log(np.abs(block) + rho))
        total += float(np.sum(sizes))
        if sizes[-1] < 1e-6:
            return (total + 1e-3) * step / np.pi
    return np.inf


def log_chi_squared(width: int, q: FloatArray | float) -> FloatArray:
    """Natural logarithm of the chi-squared density with n degrees of freedom at nq, without cancellation."""
    half = 0.5 * width
    if half < 16:
        return np.asarray((half - 1) * np.log(half * q) - half * q - gammaln(half) - np.log(2))
    series = 1 / (12 * half) - 1 / (360 * half**3) + 1 / (1260 * half**5) - 1 / (1680 * half**7)
    return np.asarray(half * (np.log(q) - (q - 1)) - np.log(q) - 0.5 * np.log(8 * np.pi * half) - series)
