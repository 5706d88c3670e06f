"""A certificate in the making: what each event may cost, Cramér exponents, and the choice of dominating functions."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from theory.bounds.certificate import Certificate, Chain, Escape, Mixture, Readout, Reflection, Side, tent
from theory.bounds.grid import Nodes
from theory.bounds.layer_means import GUARDED, Kernel, point_means
from theory.bounds.moments import Setting, Sign, ends, identity
from theory.bounds.verifier import layers
from theory.depth.coefficients import DepthCoefficients
from theory.layer.conditioning import log_chi_squared
from theory.numerics.arithmetic import FloatArray

_ENOUGH = -80.0  # logarithm of a probability below which an event is not pursued further
_NEAR = 1e-3  # relative error of an exponent that does no harm
_MIRROR = 0.75  # a over v/v_f
_SMOOTHING = 2.0, 0.7  # slope of the small terms at the ends in deviations, and by how much they exceed what is lacking
_STEEP = 1.5  # slope of the steep term of a reflection, in deviations
_LEVELS = (0.7, 1.0, 1.4, 2.0, 3.0)  # where it begins
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

    @property
    def typical_exponent(self) -> float:
        """n epsilon over n times the predicted variance: the lambda that is best for a normal law."""
        c = self.certificate
        return float(c.width * c.epsilon / self.moments.log_ratio_variance(c.depth - 1))

    @property
    def reflection_power(self) -> float:
        """The power a of a reflection: a share of v/v_f, v_f that part of v which comes from the forward pass."""
        v = self.moments.variance_per_layer
        return float(_MIRROR * v / max(v - self.moments.direction_noise, 0.2 * v))

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


def forward_tents(draft: Draft, slopes: FloatArray, most: int) -> list[tuple[Mixture, ...]]:
    """Tents fitted to F f, F^2 f, ... for several f = e^{slope (q-1)}, until all of them are flat."""
    found: list[list[Mixture]] = [[tent(slope, 0.0) for slope in slopes]]
    width = draft.certificate.high - draft.certificate.low
    kernel = identity(draft.setting)
    while len(found) <= most:
        shapes = fit(draft, partial(draft.setting.mapped, kernel, found[-1]))
        found.append([tent(*shape) for shape in shapes])
        if np.all((np.abs(shapes[:, 0]) + shapes[:, 1]) * width < 0.05):
            break
    return list(zip(*found[1:], strict=True))


def filled(draft: Draft, sign: Sign, chain: Chain, kernel: Kernel) -> Chain:
    """The chain with its functions: power iteration for the functions f, then the sums and the reflection.

    Args:
        draft, sign: what is known.
        chain: without functions.
        kernel: K, a majorant of the mean of what dominates Y^{+-lambda}.
    """
    power = sign * chain.exponent
    [first] = fit(draft, lambda q: -power * np.log(q))
    steps = min(1 + int(np.ceil(np.log(0.1) / np.log(max(abs(draft.moments.chi), 0.5)))), draft.certificate.depth - 1)
    chain = replace(chain, functions=_smoothed(draft, kernel, _iterated(draft, kernel, first, steps)))
    chain = replace(chain, sums=_sums(draft, kernel, power, chain.functions))
    return replace(chain, reflection=_reflection(draft, sign, kernel, chain))


def _iterated(draft: Draft, kernel: Kernel, first: FloatArray, steps: int) -> tuple[Mixture, ...]:
    """Tents fitted to f, K f, K^2 f, ..., the last of many an extrapolated stationary one."""
    shapes = [first]

    def after(slope: float, bend: float) -> FloatArray:
        return np.asarray(fit(draft, partial(draft.setting.mapped, kernel, [tent(slope, bend)]))[0])

    for _ in range(steps):
        shapes.append(after(*shapes[-1]))
    if steps > 2:
        extra = draft.moments.chi / (1 - draft.moments.chi)
        (old, _), (slope, bend) = shapes[-2:]
        for _ in range(3):
            old = slope + extra * (slope - old)
            slope, bend = after(old, bend)
        shapes[-1] = np.array([slope, bend])
    return tuple(tent(*shape) for shape in shapes)


def _smoothed(draft: Draft, kernel: Kernel, functions: tuple[Mixture, ...]) -> tuple[Mixture, ...]:
    """With a small steep term at each end of the tube where K f/f of the stationary f is larger than at q = 1."""
    f, (low, high) = functions[-1], ends(draft.setting.tube)
    q = np.array([low, 1.0, high])
    profile = draft.setting.mapped(kernel, [f], q)[0] - f.log(q)
    for end, side in ((0, -1), (2, 1)):
        excess = min(profile[end] - profile[1], 2.0 / draft.certificate.depth)
        if excess > 1e-6:
            slope = side * _SMOOTHING[0] / draft.spread
            weight = float(np.log(excess) + f.log(q[end]) - slope * (q[end] - 1)) + _SMOOTHING[1]
            steeper = tuple(Mixture((*g.slopes, slope), (*g.log_weights, weight)) for g in functions)
            if np.isfinite(draft.setting.mapped(kernel, steeper[-1:], q)).all():
                functions = steeper
    return functions


def _sums(draft: Draft, kernel: Kernel, power: float, functions: tuple[Mixture, ...]) -> tuple[Mixture, ...]:
    """Tents fitted to G_1 = f_1, G_2 = f_2 + F G_1, ..."""
    forward, level, found = identity(draft.setting), 0.0, list[Mixture]()
    for before, after in itertools.pairwise(functions):
        level += float(draft.setting.mapped(kernel, [before], np.ones(1))[0, 0] - after.log(1.0))

        def total(q: FloatArray, f: Mixture = after, level: float = level) -> FloatArray:
            own = level + power * np.log(q) + f.log(q)
            return np.asarray(np.logaddexp(own, draft.setting.mapped(forward, found[-1:], q)[0]) if found else own)

        [(slope, bend)] = fit(draft, total)
        shape, height = tent(float(slope), float(bend)), float(total(np.ones(1))[0])
        found.append(Mixture(shape.slopes, tuple(weight + height for weight in shape.log_weights)))
    return tuple(found)


def _reflection(draft: Draft, sign: Sign, kernel: Kernel, chain: Chain) -> Reflection:
    """The functions g: those of the mirrored kernel, and a steep term for where f is larger."""
    a, shares = draft.reflection_power, _shares(draft, kernel, chain)
    power = (1 + a) * sign * chain.exponent
    mirror = kernel.inverse_power(a, shares)
    [first] = fit(draft, lambda q: chain.functions[1].log(q) + power * np.log(q))
    found = _iterated(draft, mirror, first, len(chain.functions) - 2)
    q = np.linspace(*ends(draft.setting.tube), 201)
    gap = chain.functions[-1].log(q) - found[-1].log(q) + power * np.log(q)
    side = 1 if gap[-1] > gap[0] else -1
    at, near = np.interp([1.0, 1 + side * draft.spread], q, gap)
    slope = side * _STEEP / draft.spread
    allowed = _growth(draft, kernel, chain.functions[-1])
    for level in _LEVELS:
        lack = gap - at - level * (near - at)
        with np.errstate(all="ignore"):
            logs = np.where(lack > 0, np.log(np.expm1(lack)) + found[-1].log(q) - slope * (q - 1), -np.inf)
        weight = max(float(logs.max()), -700.0)
        steep = tuple(Mixture((*g.slopes, slope), (*g.log_weights, weight)) for g in found)
        if _growth(draft, mirror, steep[-1]) <= allowed:
            break
    return Reflection(a, tuple(map(float, shares)), steep)


def _shares(draft: Draft, kernel: Kernel, chain: Chain) -> FloatArray:
    """The shares of the terms of K f at q = 1, f stationary."""
    terms = [Kernel(kernel.constants[[j]], kernel.exponents[[j]]) for j in range(len(chain.rates))]
    logs = np.array([draft.setting.mapped(term, chain.functions[-1:], np.ones(1))[0, 0] for term in terms])
    shares = np.maximum(np.exp(logs - logs.max()), 1e-6)
    return np.asarray(shares / shares.sum())


def _growth(draft: Draft, kernel: Kernel, f: Mixture) -> float:
    """The largest log(K f/f) within about three standard deviations of q = 1."""
    c = draft.certificate
    q = 1 + draft.spread * np.arange(-3.0, 4.0)
    q = q[(q > c.low) & (q < c.high)]
    return float(np.max(draft.setting.mapped(kernel, [f], q)[0] - f.log(q)))


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
