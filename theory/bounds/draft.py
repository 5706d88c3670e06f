"""A certificate in the making: what each event may cost, Cramér exponents, and the choice of dominating functions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from theory.bounds.certificate import Certificate, Escape, Mixture, Readout, Side, tent
from theory.bounds.grid import Nodes
from theory.bounds.layer_means import GUARDED, Kernel, point_means
from theory.bounds.moments import Setting, identity
from theory.bounds.verifier import layers
from theory.depth.coefficients import DepthCoefficients
from theory.layer.conditioning import log_chi_squared
from theory.numerics.arithmetic import FloatArray

_ENOUGH = -80.0  # logarithm of a probability below which an event is not pursued further
_NEAR = 1e-3  # relative error of an exponent that does no harm
SHARES = {"tube": 0.15, "limit": 0.04, "floor": 0.1, "top": 0.06}


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A certificate in the making.

    Args:
        setting: the certificate, and the activation evaluated for it.
        moments: of the activation.
        budget: what all bad events together may cost.
        near: a certificate for a like problem, near whose choices the search may begin and end.
    """

    setting: Setting
    moments: DepthCoefficients[float]
    budget: float
    near: Certificate | None = None

    @property
    def certificate(self) -> Certificate:
        return self.setting.certificate

    @property
    def spread(self) -> float:
        """The stationary standard deviation of the squared length."""
        return float(np.sqrt(self.moments.length_noise / (1 - self.moments.chi**2) / self.certificate.width))

    def with_(self, **changes: object) -> "Draft":
        """The draft with other parameters of the certificate (not of the tube)."""
        return replace(self, setting=replace(self.setting, certificate=replace(self.certificate, **changes)))  # type: ignore[arg-type]

    def log_share(self, name: str) -> float:
        """Logarithm of what one layer may spend on an event."""
        return float(np.log(SHARES[name] * self.budget / layers(self.certificate)))


def blank_certificate(width: int, depth: int, epsilon: float, readout: Readout) -> Certificate:
    """A certificate with the given problem and placeholders that every step of the search replaces."""
    side = Side(0.0, 1.0, 1.0, 0.0, (1.0, 1.0), 0.5, 1.0, 0.0, ())
    escape = Escape(1.0, (tent(0.0, 0.0),))
    return Certificate(
        width, depth, epsilon, readout, 0.5, 2.0, (escape, escape), 9.0, 9.0, 0.0, 9.0, -1.0, 1.0, (1.0,) * 6, 0.1,
        0.5, 1.0, 0.0, side, side,
    )  # fmt: skip


def fit(draft: Draft, logs: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Slopes and bends, (N, 2), of the tents with the slope and the curvature of N functions at q = 1."""
    c = draft.certificate
    left, right = 0.6 * (1 - c.low), 0.6 * (c.high - 1)
    below, at, above = np.atleast_2d(logs(np.array([1 - left, 1.0, 1 + right]))).T
    fall, rise = (at - below) / left, (above - at) / right
    slope = (fall * right + rise * left) / (left + right)
    curvature = 2 * (rise - fall) / (left + right)
    return np.stack([slope, np.sqrt(np.maximum(curvature, 0.0))], axis=1)


def mapped(draft: Draft, kernel: Kernel, functions: Sequence[Mixture], q: FloatArray) -> FloatArray:
    """About log (K f)(q) for several f, (N, Q)."""
    return draft.setting.mapped(kernel, functions, q)


def forward_tents(draft: Draft, slopes: FloatArray, most: int) -> list[tuple[Mixture, ...]]:
    """Tents fitted to F f, F^2 f, ... for several f = e^{slope (q-1)}, until all of them are flat."""
    found: list[list[Mixture]] = [[tent(slope, 0.0) for slope in slopes]]
    width = draft.certificate.high - draft.certificate.low
    kernel = identity(draft.setting)
    while len(found) <= most:
        shapes = fit(draft, partial(mapped, draft, kernel, found[-1]))
        found.append([tent(*shape) for shape in shapes])
        if np.all((np.abs(shapes[:, 0]) + shapes[:, 1]) * width < 0.05):
            break
    return list(zip(*found[1:], strict=True))


def interior_lengths(c: Certificate, count: int = 5) -> FloatArray:
    """Chebyshev points of the tube, ends included."""
    half = 0.5 * (c.high - c.low)
    return 0.5 * (c.high + c.low) + half * np.cos(np.pi * np.arange(count) / (count - 1))


def shifts(draft: Draft, tau: FloatArray) -> FloatArray:
    """The c at which the mean of 1/(1 - 2c - 2 tau s) is 1 for each rate, which makes the majorant tight."""
    law, rate = np.exp(draft.setting.nodes.log_weight), 2 * tau[:, None] * draft.setting.nodes.slope**2
    ceiling = 0.5 - np.maximum(tau * draft.setting.square, 0.0)
    found = np.minimum(-tau * draft.moments.slope_second, ceiling - 1e-3)
    for _ in range(12):
        spread = 1 / (1 - 2 * found[:, None] - rate)
        found = np.minimum(found - (spread @ law - 1) / (2 * spread**2 @ law), 0.5 * (found + ceiling))
    return np.asarray(found)


def kernel_means(draft: Draft, kernel: Kernel, q: FloatArray) -> FloatArray:
    """About the logarithms of the terms of K 1 at several q, (R, Q)."""
    return point_means(draft.setting.nodes, kernel.exponents, draft.certificate.width, q) + kernel.constants[:, None]


def cramer(nodes: Nodes, psi: FloatArray, width: int, q: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Cramér's bound on P(sum psi(h_i) >= 0 | |h|^2 = nq), to leading order, and its exponent for the worst q.

    Args:
        nodes: a rule.
        psi: (B, K).
        width: n.
        q: (Q,).

    Returns:
        log probabilities (B, Q), and the exponents (B,) of the q where they are largest.
    """
    systems, lengths = np.repeat(psi, len(q), axis=0), np.tile(q, len(psi))
    size = np.sqrt(systems**2 @ np.exp(nodes.log_weight)) + 1e-12
    tilts = np.stack([1e-3 / size, np.zeros(len(systems))])
    ceiling = np.full(len(systems), np.inf)  # no tilted law from here on: its mass runs off to large |z|
    best, kept = np.zeros(len(systems)), tilts.copy()
    for _ in range(60):
        law, log, moments = _cramer_state(nodes, systems, tilts, lengths, width)
        lost = ~(np.isfinite(log) & (width * law[:, nodes.guard].sum(axis=1) < 0.1 * GUARDED))
        ceiling = np.where(lost, tilts[0], ceiling)
        better = ~lost & (log < best) & (tilts[0] > 0)
        best, kept = np.where(better, log, best), np.where(better, tilts, kept)
        # Newton's step towards mean psi = 0, mean z^2 = q; towards the second alone where the event is rare enough
        (one, two, first, mixed, second), enough = moments, best < _ENOUGH
        determinant = first * second - mixed**2
        step = np.where(enough, 0.0, (second * one - mixed * (two - lengths)) / determinant)
        full = (first * (two - lengths) - mixed * one) / determinant
        stride = np.where(enough, (two - lengths) / second, full)
        damping = np.minimum(1.0, np.minimum(0.7 / (np.abs(step) * size), 0.1 / np.abs(stride)))
        exponent = np.minimum(tilts[0] - damping * step, 0.5 * (tilts[0] + ceiling))
        tilts = np.where(lost, np.stack([0.5 * (kept[0] + ceiling), kept[1]]), [exponent, tilts[1] - damping * stride])
        if not np.any(np.abs(step) * size + np.abs(stride) >= _NEAR):
            break
    log = best.reshape(len(psi), len(q))
    worst = log.argmax(axis=1)
    exponent = np.take_along_axis(kept[0].reshape(log.shape), worst[:, None], axis=1)[:, 0]
    return log, np.maximum(exponent, 1e-300)


def _cramer_state(
    nodes: Nodes, systems: FloatArray, tilts: FloatArray, lengths: FloatArray, width: int
) -> tuple[FloatArray, FloatArray, tuple[FloatArray, ...]]:
    """The tilted laws, the logarithms of the bounds, and the tilted moments of psi and z^2."""
    square = nodes.z**2
    logs = nodes.log_weight + tilts[0][:, None] * systems + tilts[1][:, None] * square
    peak = logs.max(axis=1, keepdims=True)
    law = np.exp(logs - peak)
    mass = law.sum(axis=1)
    law /= mass[:, None]
    one, two = np.einsum("sk,sk->s", law, systems), law @ square
    first = np.einsum("sk,sk->s", law, systems**2) - one**2
    mixed = np.einsum("sk,sk->s", law, systems * square) - one * two
    second = law @ square**2 - two**2
    log = width * (peak[:, 0] + np.log(mass) - tilts[1] * lengths) - 0.5 * np.log(2 * np.pi * width * second)
    return law, log - log_chi_squared(width, lengths), (one, two, first, mixed, second)
