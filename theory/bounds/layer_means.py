r"""Means of exponentials of one layer at finite width, by inversion at the real saddle, for whole ranges of q.

With h uniform on the sphere :math:`|h|^2 = nq` and w independent and uniform on the sphere :math:`|w|^2 = n`, the mean

.. math:: M(q) = E\Big[\exp\Big(\tau \sum_i \phi'(h_i)^2 w_i^2 + \sum_i \psi(h_i)\Big)\Big]

is that of independent standard normal pairs conditioned on the two sums of squares, found by tilting and inverting a
characteristic function. The trapezoidal rule errs upwards, and a Taylor expansion in q with its remainder makes a
handful of saddles bound M on a whole interval: docs/deep-bound.md#evaluation-and-why-the-suprema-are-suprema (derived
for this project). What is left to float64 are the integrals over z (Gauss rules), the frequencies beyond nine standard
deviations, and rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gammaln, logsumexp

from theory.bounds.certificate import Tent
from theory.bounds.grid import Cells, Nodes
from theory.numerics.arithmetic import FloatArray

GUARDED = 1e-10
"""Most of n times the tilted mass that the guard nodes may carry."""


_STEP = 0.75  # of the trapezoidal rule, in standard deviations of the frequency
_HALF = 12  # steps on each side: nine standard deviations, exp(-40) of the peak
_TERMS = 16  # of the Taylor expansion, even
_GRID = 321  # points of a cell at which the bound is evaluated
_CUT = 1e-5  # most of the modulus, relative to the whole, that may be left at the last frequency
_BLOCK = 16  # systems worked on together
_ROUNDS = 80  # of Newton's method


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    r"""Upper bounds on log M(q), one for each of B means, on C cells of q.

    .. math:: \log M(q) \le \ell - n m (q - q_c) + \log \sum_k p_k x^k - \log f(nq), \qquad x = (q - q_c)/r, |x| \le 1

    Args:
        width: n.
        cells: q_c and r.
        level: l, (B, C); infinite where nothing is known.
        tilt: m, (B, C).
        taylor: p_k, (B, C, K), the remainder added to p_0.
    """

    width: int
    cells: Cells
    level: FloatArray
    tilt: FloatArray
    taylor: FloatArray

    def at_centres(self) -> FloatArray:
        """The bound at the centre of each cell, (B, C)."""
        with np.errstate(all="ignore"):
            return (
                self.level + np.log(self.taylor[..., 0]) - log_chi_squared(self.width * self.cells.centre, self.width)
            )

    def suprema(self, log_weight: FloatArray | None = None, tents: Sequence[Tent] = ()) -> FloatArray:
        r"""Bounds on sup log [ sum_j e^{w_j} M_j(q) / f(q) ] over all cells; without arguments, on each sup log M(q).

        The largest value on a grid of spacing s plus :math:`s^2 D/8`, where the second derivative is at least -D.

        Args:
            log_weight: w, (N, T) with N T = B: sums of T consecutive means.
            tents: the N functions f.
        """
        if log_weight is None:
            log_weight, tents = np.zeros((len(self.level), 1)), [Tent(0.0, 0.0)] * len(self.level)
        sums, terms = log_weight.shape
        x = np.linspace(-1.0, 1.0, _GRID)
        q = self.cells.centre[:, None] + self.cells.half[:, None] * x
        with np.errstate(all="ignore"):
            polynomial = np.polynomial.polynomial.polyval(x, np.moveaxis(self.taylor, -1, 0))
            shift = self.width * self.tilt * self.cells.half
            logs = self.level[..., None] - shift[..., None] * x + np.log(polynomial)
            logs = logs.reshape(sums, terms, *q.shape) + log_weight[:, :, None, None]
            peak = logs.max(axis=1, keepdims=True)
            total = peak[:, 0] + np.log(np.exp(logs - peak).sum(axis=1))
            total = total - log_chi_squared(self.width * q, self.width) - np.stack([f.log(q) for f in tents])
            bends = np.array([f.bend for f in tents])[:, None]
            bow = self._bow(polynomial).reshape(sums, terms, -1).max(axis=1) + (bends * self.cells.half) ** 2
            relief = (0.5 * self.width - 1) * (self.cells.half / (self.cells.centre + self.cells.half)) ** 2
            spacing = x[1] - x[0]
            best: FloatArray = (total.max(axis=2) + np.maximum(bow - relief, 0.0) * spacing**2 / 8).max(axis=1)
        return np.where(np.isnan(best), np.inf, best)

    def sums_at_centres(self, log_weight: FloatArray) -> FloatArray:
        """The bound on log sum_j e^{w_j} M_j at the centre of each cell, for w (N, T) as in `suprema`; (N, C)."""
        logs = self.at_centres().reshape(*log_weight.shape, -1) + log_weight[:, :, None]
        return np.asarray(logsumexp(logs, axis=1))

    def _bow(self, polynomial: Any) -> FloatArray:
        """D with (log p)'' >= -D on each cell, in units of its half-width, (B, C)."""
        order = np.arange(self.taylor.shape[-1])
        size = np.abs(self.taylor)
        first, second = size @ order, size @ (order * (order - 1))
        least = polynomial.min(axis=-1) - first / (_GRID - 1)
        bow: FloatArray = np.where(least > 0, (first / least) ** 2 + second / least, np.inf)
        return bow


def log_chi_squared(x: FloatArray | float, width: int) -> FloatArray:
    """Logarithm of the chi-squared density with n degrees of freedom."""
    return np.asarray((width / 2 - 1) * np.log(x) - x / 2 - width / 2 * np.log(2.0) - gammaln(width / 2))


def tent_systems(
    nodes: Nodes, width: int, rates: FloatArray, constants: FloatArray, tents: Sequence[Tent]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    r"""The means whose weighted sums are sum_j e^{c_j} E[ e^{t_j n/(n-1) u^T N u} f(q_1) | q ] for several tents f.

    Here N = diag(phi'(h)^2), u is uniform on the unit sphere, and :math:`q_1 = |\phi(h)|^2/n`; a tent is a sum of two
    exponentials.

    Args:
        nodes: a rule.
        width: n.
        rates, constants: t and c, (R,) each.
        tents: N of them.

    Returns:
        tau (B,) and psi (B, K) for `log_pair_mean` (or psi alone for `log_mean`, where t = 0) and the logarithms
        of the weights (N, 2R) for `Envelope.suprema`; B = 2 N R.
    """
    slopes = np.array([[f.slope + f.bend, f.slope - f.bend] for f in tents])  # (N, 2)
    weights = constants[None, :, None] - slopes[:, None, :] - np.log(2.0)
    tau = np.broadcast_to(rates[None, :, None] / (width - 1), weights.shape)
    exponents = np.broadcast_to(slopes[:, None, :], weights.shape).ravel()
    return tau.ravel(), exponents[:, None] / width * nodes.value**2, weights.reshape(len(tents), -1)


def log_mean(nodes: Nodes, psi: FloatArray, width: int, grid: Cells) -> Envelope:
    r"""Bounds on log E exp(sum psi(h_i)), h uniform on :math:`|h|^2 = nq`, on cells of q: the case tau = 0.

    Args:
        nodes: a rule that reaches to sqrt(nq).
        psi: psi(z) at the nodes, (B, K).
        width: n.
        grid: the cells of q.

    >>> from theory.activations.specification import activation
    >>> from theory.bounds.grid import gaussian_nodes, points
    >>> nodes = gaussian_nodes(activation("identity"), 20.0, 1.0)
    >>> found = log_mean(nodes, 0.25 * nodes.z[None, :] ** 2, 100, points(np.array([1.0, 1.2])))
    >>> np.round(found.at_centres()[0], 6).tolist()  # the exponent is nq/4, whatever h
    [25.0, 30.0]
    """
    systems, q = _systems(psi, grid)
    square = nodes.z**2
    tilt = np.zeros(len(q))
    with np.errstate(all="ignore"):
        for _ in range(_ROUNDS):
            law, log_mass = _tilted(nodes, systems + tilt[:, None] * square)
            mean = law @ square
            variance = law @ square**2 - mean**2
            step = np.clip((mean - q) / variance, -0.1, 0.1)
            tilt = tilt - step
            if np.all(np.abs(step) < 1e-11):
                break
        law, log_mass = _tilted(nodes, systems + tilt[:, None] * square)
        unit = _STEP / np.sqrt(width * variance)
        waves = _waves(unit, square - q[:, None])
        transform = np.exp(width * np.log(np.einsum("skj,sk->sj", waves, law)))
        transform[:, 1:] *= 2.0
        scale = unit / (2 * np.pi)
        moments = unit[:, None] * np.arange(_HALF + 1)
    guard = width * law[:, nodes.guard].sum(axis=1)
    level = width * (log_mass - tilt * q) + np.log(scale)
    modulus = np.abs(transform)
    cut = modulus[:, -1] / modulus.sum(axis=1)
    return _envelope(width, grid, level, tilt, (transform, modulus, moments), (guard, cut))


def log_pair_mean(nodes: Nodes, tau: FloatArray, psi: FloatArray, width: int, grid: Cells) -> Envelope:
    r"""Bounds on log E exp(tau sum phi'(h_i)^2 w_i^2 + sum psi(h_i)) with :math:`|h|^2 = nq, |w|^2 = n`, on cells of q.

    Arguments as for `log_mean`, with tau (B,).

    >>> from theory.activations.specification import activation
    >>> from theory.bounds.grid import gaussian_nodes, points
    >>> nodes = gaussian_nodes(activation("identity"), 20.0, 1.0)
    >>> found = log_pair_mean(nodes, np.array([0.1]), 0.25 * nodes.z[None, :] ** 2, 100, points(np.array([1.2])))
    >>> round(float(found.at_centres()[0, 0]), 6)  # 0.1 |w|^2 + |h|^2/4
    40.0
    """
    systems, q = _systems(psi, grid)
    rate = np.repeat(tau, len(grid.centre))[:, None] * nodes.slope**2
    ceiling = 0.5 - np.maximum(np.repeat(tau, len(grid.centre)) * nodes.slope_bound, 0.0)
    with np.errstate(all="ignore"):
        tilt, shift, variances = _pair_saddle(nodes, systems, rate, ceiling, q)
        spread = 1 / (1 - 2 * shift[:, None] - 2 * rate)
        law, log_mass = _tilted(nodes, systems + tilt[:, None] * nodes.z**2 + 0.5 * np.log(spread))
        unit, other = _STEP / np.sqrt(width * variances[0]), _STEP / np.sqrt(width * variances[1])
        transform, modulus, cut = _pair_transform(nodes.z**2, law, spread, (unit, other), q, width)
        scale = unit * other / (4 * np.pi**2)
        moments = unit[:, None] * np.arange(-_HALF, _HALF + 1)
    guard = width * law[:, nodes.guard].sum(axis=1)
    level = width * (log_mass - tilt * q - shift) + np.log(scale) - log_chi_squared(float(width), width)
    level = np.where(shift < ceiling, level, np.inf)
    return _envelope(width, grid, level, tilt, (transform, modulus, moments), (guard, cut))


def _pair_transform(
    square: FloatArray,
    law: FloatArray,
    spread: FloatArray,
    units: tuple[FloatArray, FloatArray],
    q: FloatArray,
    width: int,
) -> tuple[np.ndarray, FloatArray, FloatArray]:
    """The n-th power of the characteristic function of (z^2, w^2), and its modulus, summed over the second frequency.

    Beside them the share of the modulus at the last frequencies. It works in blocks that fit a cache, without the nodes
    whose mass is lost in rounding.
    """
    transform = np.empty((len(q), 2 * _HALF + 1), dtype=np.complex128)
    modulus, cut = np.empty((len(q), 2 * _HALF + 1)), np.empty(len(q))
    for start in range(0, len(q), _BLOCK):
        block = slice(start, start + _BLOCK)
        kept = law[block].max(axis=0) > 1e-18
        part, first, second = law[block][:, kept], units[0][block], units[1][block]
        steps = second[:, None] * np.arange(_HALF + 1)
        half = _waves(first, square[kept] - q[block, None]) * part[:, :, None]
        lengths = 1 / np.sqrt(1 - 2j * steps[:, None, :] * spread[block][:, kept, None])
        lengths *= np.exp(-1j * steps)[:, None, :]
        double = np.concatenate([np.conj(half[:, :, :0:-1]), half], axis=2)
        power = np.exp(width * np.log(np.swapaxes(double, 1, 2) @ lengths))
        power[:, :, 1:] *= 2.0
        size = np.abs(power)
        transform[block], modulus[block] = power.sum(axis=2), size.sum(axis=2)
        edge = np.maximum(np.maximum(modulus[block][:, 0], modulus[block][:, -1]), size[:, :, -1].sum(axis=1))
        cut[block] = edge / modulus[block].sum(axis=1)
    return transform, modulus, cut


def _systems(psi: FloatArray, grid: Cells) -> tuple[FloatArray, FloatArray]:
    """psi and q of every pair of a mean and a cell, in this order: (B C, K) and (B C,)."""
    return np.repeat(psi, len(grid.centre), axis=0), np.tile(grid.centre, len(psi))


def _tilted(nodes: Nodes, exponent: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The law with the given log density against the normal law, (S, K), and the logarithm of its mass, (S,)."""
    logs = nodes.log_weight + exponent
    peak = logs.max(axis=1, keepdims=True)
    law = np.exp(logs - peak)
    mass = law.sum(axis=1, keepdims=True)
    return law / mass, (peak + np.log(mass))[:, 0]


def _waves(unit: FloatArray, phase: FloatArray) -> np.ndarray:
    """exp(i u_j phase) for u_j = 0, unit, 2 unit, ...: (S, K, _HALF + 1)."""
    factor = np.exp(1j * unit[:, None] * phase)
    powers = np.repeat(factor[:, :, None], _HALF + 1, axis=2)
    powers[:, :, 0] = 1.0
    waves: np.ndarray = np.cumprod(powers, axis=2)
    return waves


def _pair_saddle(
    nodes: Nodes, systems: FloatArray, rate: FloatArray, ceiling: FloatArray, q: FloatArray
) -> tuple[FloatArray, FloatArray, tuple[FloatArray, FloatArray]]:
    """The tilts m and c at which the means of z^2 and w^2 are q and 1, and the variances of z^2 and w^2 there."""
    square = nodes.z**2
    tilt, shift = np.zeros(len(q)), np.minimum(0.0, ceiling - 0.05)
    for _ in range(_ROUNDS):
        spread = 1 / (1 - 2 * shift[:, None] - 2 * rate)
        law, _mass = _tilted(nodes, systems + tilt[:, None] * square + 0.5 * np.log(spread))
        length, other = law @ square, np.einsum("sk,sk->s", law, spread)
        first = law @ square**2 - length**2
        mixed = np.einsum("sk,sk->s", law, square * spread) - length * other
        second = 3 * np.einsum("sk,sk->s", law, spread**2) - other**2
        determinant = first * second - mixed**2
        step = (second * (length - q) - mixed * (other - 1)) / determinant
        stride = (first * (other - 1) - mixed * (length - q)) / determinant
        tilt = tilt - np.clip(step, -0.1, 0.1)
        shift = np.minimum(shift - stride, 0.5 * (shift + ceiling))
        if np.all(np.abs(step) + np.abs(stride) < 1e-11):
            break
    return tilt, shift, (first, second)


def _envelope(
    width: int,
    grid: Cells,
    level: FloatArray,
    tilt: FloatArray,
    sums: tuple[FloatArray, FloatArray, FloatArray],
    doubts: tuple[FloatArray, FloatArray],
) -> Envelope:
    """Taylor coefficients in (q - q_c)/r from the terms of the trapezoidal rule, the remainder from their moduli.

    The frequencies beyond the last, where the modulus falls like a power of order n/2, count as `_HALF` times the last.
    """
    guard, cut = doubts
    transform, modulus, frequency = sums
    shape = (-1, len(grid.centre))
    half = np.tile(grid.half, len(level) // len(grid.half))
    order = np.arange(_TERMS)
    with np.errstate(all="ignore"):
        reach = width * half[:, None] * frequency
        power = np.cumprod(
            np.concatenate([np.ones_like(reach)[..., None], reach[..., None] / (order + 1.0)], 2), axis=2
        )
        taylor = np.einsum("sj,sjk,k->sk", transform, power[..., :-1], (-1j) ** order).real
        flat = modulus.sum(axis=1) * (1 + _HALF * cut)  # a bound for every q
        remainder = np.einsum("sj,sj->s", modulus, np.abs(power[..., -1])) + _HALF * cut * flat
        oscillates = ~((taylor[:, 0] > 1e-3 * flat) & (remainder < 0.05 * taylor[:, 0]))
        taylor[:, 0] += remainder
        taylor[oscillates] = 0.0
        taylor[oscillates, 0] = flat[oscillates]
    known = (guard < GUARDED) & (cut <= _CUT) & np.isfinite(level) & np.isfinite(tilt) & np.isfinite(taylor).all(axis=1)
    level, tilt = np.where(known, level, np.inf), np.where(known, tilt, 0.0)
    taylor = np.where(known[:, None], taylor, np.eye(1, _TERMS))
    return Envelope(width, grid, level.reshape(shape), tilt.reshape(shape), taylor.reshape(*shape, _TERMS))
