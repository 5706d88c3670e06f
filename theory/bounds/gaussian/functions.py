"""The functions of a chain for Gaussian weights, fitted along the depth recursion by tents."""

import itertools
from dataclasses import replace
from functools import partial

import numpy as np

from theory.bounds.certificate import Chain, Mixture, Reflection, Side, tent
from theory.bounds.draft import Draft, fit
from theory.bounds.gaussian import verifier
from theory.bounds.layer_means import Kernel
from theory.bounds.moments import Sign, ends, identity, inverse_power
from theory.numerics.arithmetic import FloatArray

_SMOOTHING = 2.0, 0.7  # slope of the small terms at the ends in deviations, and by how much they exceed what is lacking
_MIRROR, _STEEP = 0.75, 1.5  # a over v/v_f; the steep term's slope
_LEVELS = (0.7, 1.0, 1.4, 2.0, 3.0)  # where it begins


def filled(
    draft: Draft,
    sign: Sign,
    side: Side,
    exponent: float,
    rates: FloatArray,
    weights: FloatArray,
) -> Side:
    """The side with its chain: power iteration for the functions f, then the reflection.

    Args:
        draft, sign, side: what is known.
        exponent: lambda.
        rates, weights: t_j and log w_j.
    """
    nodes = tuple(map(float, rates)), tuple(map(float, weights))
    chain = Chain(exponent, *nodes, (0.0,) * len(rates), (), (), Reflection(1.0, (1.0,) * len(rates), ()))
    kernel = verifier.layer_kernel(draft.setting, sign, side, chain)
    power = sign * exponent
    [first] = fit(draft, lambda q: -power * np.log(q))
    steps = min(1 + int(np.ceil(np.log(0.1) / np.log(max(abs(draft.moments.chi), 0.5)))), draft.certificate.depth - 1)
    chain = replace(chain, functions=_smoothed(draft, kernel, _iterated(draft, kernel, first, steps)))
    chain = replace(chain, sums=_sums(draft, kernel, power, chain.functions))
    return replace(side, chains=(replace(chain, reflection=_reflection(draft, sign, kernel, chain)),))


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
    m, s = draft.moments, draft.setting
    forward = max(m.variance_per_layer - m.direction_noise, 0.2 * m.variance_per_layer)  # v_f
    a, shares = _MIRROR * m.variance_per_layer / forward, _shares(draft, kernel, chain)
    power = (1 + a) * sign * chain.exponent
    mirror = inverse_power(kernel, a, shares)
    [first] = fit(draft, lambda q: chain.functions[1].log(q) + power * np.log(q))
    found = _iterated(draft, mirror, first, len(chain.functions) - 2)
    q = np.linspace(*ends(s.tube), 201)
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
    return Reflection(float(a), tuple(map(float, shares)), steep)


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
