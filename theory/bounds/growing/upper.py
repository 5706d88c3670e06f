"""The upper side for one exponent: b and the bracket by the growth of the moments, then the functions."""

from dataclasses import replace

import numpy as np

from theory.bounds.certificate import Certificate, Chain, Reflection, Side
from theory.bounds.chains import SPREAD, UPPER_B, bare, downhill
from theory.bounds.draft import Draft, shifts
from theory.bounds.growing.cones import Cone
from theory.bounds.layer_means import Kernel
from theory.bounds.moments import identity, kappa, layer_kernel, layer_majorant, top_cost
from theory.numerics.arithmetic import FloatArray

_NEAR = 0.002  # precision of the growth of a layer
_SLACK = 0.1  # by which the first functions may grow faster than a stationary one
_COARSELY = 0.04  # precision of the growth of all layers, where choices are compared
_COARSE = (0.5, 1.2, 2.6)  # offsets of slopes for that
_FINE = (0.1, 0.25, 0.45, 0.7, 1.1, 1.7, 2.5, 3.5)  # and for the functions
_THETAS = np.array([1.15, 1.4, 1.8, 2.4, 3.2, 4.5, 6.5])  # exponents of a bracket, over lambda
_FIRST_THETA, _FIRST_B = 2, 0.8
_GAMMAS = 3


def upper(draft: Draft, exponent: float, hint: Side | None) -> Draft | str:
    """The upper side with one node, the tangent of the logarithm at the mean of the tilted ratio.

    Args:
        draft: a certificate that lacks this side.
        exponent: lambda.
        hint: a like side, near which the search begins.

    Returns:
        The draft with the side, or in words why there is none.
    """
    side = _bracket(draft, exponent, hint)
    if side is None:
        return f"the bracket has no mean at width {draft.certificate.width}"
    anchor = 1 + draft.moments.backward_noise * exponent / draft.certificate.width
    rates, weights = np.array([exponent / anchor]), np.array([exponent * np.log(anchor) - exponent + 1e-12])
    tilts = shifts(draft, rates / (draft.certificate.width - 1))
    chain = replace(bare(exponent, rates, weights), shifts=tuple(map(float, tilts)))
    found = _functions(draft, chain, layer_kernel(draft.setting, 1, side, chain))
    if found is None:
        return "no functions dominate the moments of the gradients of one layer"
    return draft.with_(upper=replace(side, chains=(found,)))


def sharper(certificate: Certificate) -> bool:
    """Whether the upper side is of this search: one exponent for all its brackets, and one that it tries.

    The quick search can have one exponent too, where all are raised to its least.
    """
    side = certificate.upper
    if not side.chains:
        return False
    theta = side.bracket_tilts[0] / _natural(certificate, side.b, side.chains[0].exponent)
    return len(set(side.bracket_tilts)) == 1 and bool(np.isclose(theta, _THETAS).any())


def _bracket(draft: Draft, exponent: float, near: Side | None) -> Side | None:
    """The b of a list that costs least, found downhill from that of another side."""
    c, theta, least = draft.certificate, _FIRST_THETA, np.inf
    guess = near.b if near else _FIRST_B
    if near:
        theta = int(np.argmin(np.abs(np.log(near.bracket_tilts[0] / _natural(c, near.b, exponent) / _THETAS))))

    def priced(index: int) -> tuple[float, Side]:
        nonlocal theta, least
        cost, theta, side = _priced(draft, UPPER_B[index], exponent, theta, least)
        least = min(least, cost)
        return cost, side

    return downhill(priced, len(UPPER_B), int(np.argmin([abs(b - guess) for b in UPPER_B])), patience=4)


def _natural(c: Certificate, b: float, exponent: float) -> float:
    """The bracket's exponent at theta = lambda."""
    return exponent / (c.width * c.low * (1 + b))


def _priced(draft: Draft, b: float, exponent: float, first: int, least: float) -> tuple[float, int, Side]:
    """What one b costs by the growth of the moments and at the top, the best exponent of its bracket, and its side.

    Roughly, where it costs more than `least`.
    """
    c = draft.certificate
    rate = np.array([exponent])
    tilts = shifts(draft, rate / (c.width - 1))
    side = Side(b, exponent, SPREAD, float(tilts[0]), (1.0,) * _GAMMAS, 0.5, exponent, 0.0, ())
    if not kappa(draft.setting, 1, side) > 0:
        return np.inf, first, side
    top = top_cost(draft.setting, 1, side, exponent)

    def grown(index: int) -> tuple[float, tuple[float, int, Side]]:
        nonlocal least
        tried = replace(side, bracket_tilts=(float(_THETAS[index] * _natural(c, b, exponent)),) * _GAMMAS)
        cone = Cone(draft, layer_majorant(draft.setting, 1, tried, rate, tilts), _slope(draft, exponent), _COARSE)
        growth = cone.growth(_COARSELY / c.depth, (least - top) / (c.depth - 1))
        cost = float(np.nan_to_num((c.depth - 1) * growth + top, nan=np.inf))
        least = min(least, cost)
        return cost, (cost, index, tried)

    return downhill(grown, len(_THETAS), first, patience=2) or (np.inf, first, side)


def _functions(draft: Draft, chain: Chain, kernel: Kernel) -> Chain | None:
    """The chain with f_k just above K f_(k-1), H_k above F H_(k-1) + f_k, and g_k above K^- g_(k-1) and f_k/a."""
    c, m, power = draft.certificate, draft.moments, chain.exponent
    steps = min(1 + int(np.ceil(np.log(0.1) / np.log(max(abs(m.chi), 0.5)))), c.depth - 1)
    cone = Cone(draft, kernel, _slope(draft, power), _FINE)
    a, logs = draft.reflection_power, power * np.log(cone.q)
    growth = cone.growth(_NEAR) + _NEAR
    f = [cone.rising(growth + _SLACK, -logs)]
    for _ in range(steps):
        f.append(cone.rising(growth + _SLACK, cone.mapped(f[-1])))
    if c.depth - 1 > steps:  # the last function serves all deeper layers
        f[-1] = cone.rising(growth, cone.at(f[-1]))
    if not all(np.isfinite(weights).any() for weights in f):
        return None
    shares = cone.shares(f[-1], len(chain.rates))
    mirror = Cone(draft, kernel.inverse_power(a, shares), _slope(draft, -a * power), _FINE)
    plain = Cone(draft, identity(draft.setting), _slope(draft, power) + power, _FINE)
    g, h = list[FloatArray](), list[FloatArray]()
    for own in f[1:]:
        total, ahead = logs + cone.at(own), (1 + a) * logs + cone.at(own) - np.log(a)
        h.append(plain.cover(np.logaddexp(total, plain.mapped(h[-1])) if h else total))
        g.append(mirror.cover(np.maximum(ahead, mirror.mapped(g[-1])) if g else ahead))
    if c.depth - 1 > steps:
        g[-1] = mirror.rising(growth, mirror.at(g[-1]))
    if not all(np.isfinite(weights).any() for weights in (*g, *h)):
        return None
    reflection = Reflection(a, tuple(map(float, shares)), mirror.mixtures(g))
    return replace(chain, functions=cone.mixtures(f), sums=plain.mixtures(h), reflection=reflection)


def _slope(draft: Draft, power: float) -> float:
    """That of log f, f the stationary function for a small power."""
    return power * draft.moments.kappa / (1 - draft.moments.chi)
