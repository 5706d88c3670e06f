r"""Means of exponentials of one layer at finite width, by inversion at the real saddle, for whole ranges of q.

With h uniform on the sphere :math:`|h|^2 = nq` the mean

.. math:: M(q) = E\, e^{\sum_i \psi(h_i)}

is that of independent standard normals conditioned on the sum of squares, found by tilting and inverting a
characteristic function. The trapezoidal rule errs upwards, and a Taylor expansion in q with its remainder makes a
handful of saddles bound M on a whole interval: docs/deep-bound.md#evaluation-and-why-the-suprema-are-suprema (derived
for this project). What is left to float64 are the integrals over z (Gauss rules), the frequencies beyond nine standard
deviations, and rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from theory.bounds.certificate import Mixture
from theory.bounds.grid import Cells, Nodes, points
from theory.layer.conditioning import log_chi_squared
from theory.numerics.arithmetic import FloatArray

GUARDED = 1e-10
"""Most of n times the tilted mass that the guard nodes may carry."""


_STEP = 0.75  # of the trapezoidal rule, in standard deviations of the frequency, at most
_HALF = 13  # steps on each side: nine standard deviations, exp(-40) of the peak
_CLASS = 1.15  # systems whose variances lie within this factor share their frequencies
_TERMS = 16  # of the Taylor expansion, even
_GRID = 321  # points of a cell at which the bound is evaluated
_CUT = 1e-5  # most of the modulus, relative to the whole, that may be left at the last frequency
_ROUNDS = 80  # of Newton's method
_STEEPEST = 300.0  # most by which the logarithm of a bound may change from the centre of a cell to its end
_SETTLED = 0.03  # a tilt serves whose mean is this near to q, in standard deviations of the mean square


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
            return self.level + np.log(self.taylor[..., 0]) - log_chi_squared(self.width, self.cells.centre)

    def suprema(self, log_weight: FloatArray | None = None, functions: Sequence[Mixture] = ()) -> FloatArray:
        r"""Bounds on sup log [ sum_j e^{w_j} M_j(q) / f(q) ] over all cells; without arguments, on each sup log M(q).

        The largest value on a grid of spacing s plus :math:`s^2 D/8`, where the second derivative is at least -D.

        Args:
            log_weight: w, (N, T) with N T = B: sums of T consecutive means.
            functions: the N functions f.
        """
        if log_weight is None:
            log_weight, functions = np.zeros((len(self.level), 1)), [Mixture((0.0,), (0.0,))] * len(self.level)
        sums, terms = log_weight.shape
        x = np.linspace(-1.0, 1.0, _GRID)
        q = self.cells.centre[:, None] + self.cells.half[:, None] * x
        with np.errstate(all="ignore"):
            polynomial = self.taylor @ np.vander(x, self.taylor.shape[-1], increasing=True).T
            shift = self.width * self.tilt * self.cells.half
            level = np.where(np.abs(shift) < _STEEPEST, self.level, np.inf)  # beyond, exponentials may underflow
            level = level.reshape(sums, terms, -1) + log_weight[:, :, None]
            peak = level.max(axis=1)
            logs = (level - peak[:, None]).reshape(len(self.level), -1, 1) - shift[..., None] * x
            total = np.log((np.exp(logs) * polynomial).reshape(sums, terms, *q.shape).sum(axis=1)) + peak[..., None]
            total = total - log_chi_squared(self.width, q) - np.stack([f.log(q) for f in functions])
            bows = np.array([f.bow for f in functions])[:, None]
            bow = self._bow(polynomial).reshape(sums, terms, -1).max(axis=1) + bows * self.cells.half**2
            relief = (0.5 * self.width - 1) * (self.cells.half / (self.cells.centre + self.cells.half)) ** 2
            spacing = x[1] - x[0]
            best: FloatArray = (total.max(axis=2) + np.maximum(bow - relief, 0.0) * spacing**2 / 8).max(axis=1)
        return np.where(np.isnan(best), np.inf, best)

    def _bow(self, polynomial: Any) -> FloatArray:
        """D with (log p)'' >= -D on each cell, in units of its half-width, (B, C)."""
        order = np.arange(self.taylor.shape[-1])
        size = np.abs(self.taylor)
        first, second = size @ order, size @ (order * (order - 1))
        least = polynomial.min(axis=-1) - first / (_GRID - 1)
        bow: FloatArray = np.where(least > 0, (first / least) ** 2 + second / least, np.inf)
        return bow


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    r"""A positive operator on functions of the squared length, over one layer.

    .. math:: (K f)(q) = \sum_r e^{c_r} E_h\Big[e^{\sum_i \mu_r(h_i)} f(|\phi(h)|^2/n)\Big], \qquad |h|^2 = nq

    Args:
        constants: c_r, (R,).
        exponents: mu_r at the nodes, (R, K).
    """

    constants: FloatArray
    exponents: FloatArray

    def means(
        self, nodes: Nodes, width: int, inputs: Sequence[Mixture], grid: Cells, free: int = 0
    ) -> tuple[Envelope, FloatArray]:
        """The means whose weighted sums are K f for N mixtures f of T terms, and their log weights (N, R T)."""
        psi, weights = self.systems(nodes, width, inputs)
        return log_mean(nodes, psi, width, grid, free), weights

    def systems(self, nodes: Nodes, width: int, inputs: Sequence[Mixture]) -> tuple[FloatArray, FloatArray]:
        """psi of each of these means, (N R T, K), and their log weights, (N, R T)."""
        slopes, logs = (np.array([getattr(f, name) for f in inputs]) for name in ("slopes", "log_weights"))
        length = nodes.value**2 / width
        psi = self.exponents[:, None, :] + slopes[:, None, :, None] * length  # (N, R, T, K)
        weights = self.constants[:, None] + (logs - slopes)[:, None, :]
        return psi.reshape(-1, len(length)), weights.reshape(len(inputs), -1)

    def inverse_power(self, power: float, shares: FloatArray) -> "Kernel":
        """A kernel above Mbar^-a, of one term: a sum is at least a weighted geometric mean of terms over shares."""
        theta, kept = shares / shares.sum(), slice(len(shares))
        constant = -power * theta @ (self.constants[kept] - np.log(theta))
        return Kernel(np.array([constant]), -power * (theta @ self.exponents[kept])[None, :])


def point_means(nodes: Nodes, psi: FloatArray, width: int, q: FloatArray) -> FloatArray:
    """log E exp(sum psi(h_i)) at single lengths by the saddle point alone, (B, Q): for a search, not for a bound."""
    systems, lengths = _systems(psi, points(q))
    law, log_mass, tilt, variance = _saddles(nodes, systems, lengths, width)
    with np.errstate(all="ignore"):
        log = width * (log_mass - tilt * lengths) - 0.5 * np.log(2 * np.pi * width * variance)
        known = (width * law[:, nodes.guard].sum(axis=1) < GUARDED) & np.isfinite(log)
    return np.where(known, log - log_chi_squared(width, lengths), np.inf).reshape(len(psi), -1)


def log_mean(nodes: Nodes, psi: FloatArray, width: int, grid: Cells, free: int = 0) -> Envelope:
    r"""Bounds on log E exp(sum psi(h_i)), h uniform on :math:`|h|^2 = nq`, on cells of q: the case tau = 0.

    Args:
        nodes: a rule that reaches to sqrt(nq).
        psi: psi(z) at the nodes, (B, K).
        width: n.
        grid: the cells of q.
        free: k; with k > 0, h is the first n coordinates of a vector uniform on the sphere of radius squared (n + k) q,
            and n + k the width of the envelope.

    >>> from theory.activations.specification import activation
    >>> from theory.bounds.grid import gaussian_nodes, points
    >>> nodes = gaussian_nodes(activation("identity"), 20.0, 1.0)
    >>> found = log_mean(nodes, 0.25 * nodes.z[None, :] ** 2, 100, points(np.array([1.0, 1.2])))
    >>> np.round(found.at_centres()[0], 6).tolist()  # the exponent is nq/4, whatever h
    [25.0, 30.0]
    """
    systems, q = _systems(psi, grid)
    law, log_mass, tilt, variance = _saddles(nodes, systems, q, width, free)
    total = width + free
    with np.errstate(all="ignore"):
        unit = _units(total * variance)
        logs = width * _log_characteristic(law, nodes.z**2, q, unit)
        if free:
            logs += free * _log_characteristic_of_normal(1 / (1 - 2 * tilt), q, unit)
        transform = np.exp(logs)
        transform[:, 1:] *= 2.0
        scale = unit / (2 * np.pi)
        moments = unit[:, None] * np.arange(_HALF + 1)
        guard = width * law[:, nodes.guard].sum(axis=1)
        level = total * (log_mass - tilt * q) + np.log(scale)
        modulus = np.abs(transform)
        cut = modulus[:, -1] / modulus.sum(axis=1)
    return _envelope(total, grid, level, tilt, (transform, modulus, moments), (guard, cut))


def _systems(psi: FloatArray, grid: Cells) -> tuple[FloatArray, FloatArray]:
    """psi and q of every pair of a mean and a cell, in this order: (B C, K) and (B C,)."""
    return np.repeat(psi, len(grid.centre), axis=0), np.tile(grid.centre, len(psi))


def _saddles(
    nodes: Nodes, systems: FloatArray, q: FloatArray, width: int, free: int = 0
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Tilted laws (S, K) with about the mean square q, logarithms of their masses, tilts and variances, (S,) each.

    Masses, mean squares and variances are averages over all coordinates, of which `free` have no psi: normal laws of
    variance v. The identity holds for every tilt, so one near the saddle is enough. What does not converge is not a
    number.
    """
    share = width / (width + free)
    square = nodes.z**2
    powers = np.stack([square, square**2], axis=1)
    tilt = 0.5 - 0.5 / q  # exact for psi = 0
    law, log_mass, variance = np.empty(systems.shape), np.empty(len(q)), np.empty(len(q))
    active = np.arange(len(q))
    with np.errstate(all="ignore"):
        for _ in range(_ROUNDS):
            law[active], mass = found, _ = _tilted(nodes, systems[active] + tilt[active, None] * square)
            mean, second = (found @ powers).T
            room = 1 - 2 * tilt[active]
            v = np.where(room > 0, 1 / room, np.nan) if free else np.ones(len(active))
            variance[active] = share * (second - mean**2) + (1 - share) * 2 * v**2
            log_mass[active] = share * mass + (1 - share) * 0.5 * np.log(v)
            gap = share * mean + (1 - share) * v - q[active]
            far = gap**2 * (width + free) > _SETTLED**2 * variance[active]
            active = active[far]
            if not len(active):
                break
            moved = tilt[active] - np.clip(gap[far] / variance[active], -0.1, 0.1)
            tilt[active] = np.minimum(moved, 0.5 * (tilt[active] + 0.5)) if free else moved
    tilt[active] = np.nan
    return law, log_mass, tilt, variance


def _tilted(nodes: Nodes, exponent: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The law with the given log density against the normal law, (S, K), and the logarithm of its mass, (S,)."""
    logs = exponent + nodes.log_weight
    peak = logs.max(axis=1, keepdims=True)
    logs -= peak
    law = np.exp(logs, out=logs)
    mass = law.sum(axis=1, keepdims=True)
    law /= mass
    return law, (peak + np.log(mass))[:, 0]


def _units(variance: FloatArray) -> FloatArray:
    """Steps of the frequencies, few different ones, of at most `_STEP` standard deviations."""
    return np.asarray(_STEP * _CLASS ** (-0.5 * np.ceil(np.log(variance) / np.log(_CLASS))))


def _log_characteristic(law: FloatArray, square: FloatArray, q: FloatArray, unit: FloatArray) -> np.ndarray:
    """Logarithms of the means of exp(i u (z^2 - q)) at u = 0, unit, 2 unit, ...: (S, _HALF + 1)."""
    steps = np.arange(_HALF + 1)
    found = np.full((len(unit), _HALF + 1), np.nan, dtype=np.complex128)
    for step in np.unique(unit[np.isfinite(unit)]):
        rows = unit == step
        turns = np.ones((len(steps), len(square)), dtype=np.complex128)
        turns[1:] = np.exp(1j * step * square)
        waves = np.cumprod(turns, axis=0)
        found[rows] = np.log(law[rows] @ waves.T.real + 1j * (law[rows] @ waves.T.imag))
    found.imag -= (unit * q)[:, None] * steps
    return found


def _log_characteristic_of_normal(variance: FloatArray, q: FloatArray, unit: FloatArray) -> np.ndarray:
    """The same for z normal with a variance: (S, _HALF + 1)."""
    frequencies = unit[:, None] * np.arange(_HALF + 1)
    return np.asarray(-0.5 * np.log(1 - 2j * frequencies * variance[:, None]) - 1j * frequencies * q[:, None])


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
