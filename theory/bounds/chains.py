"""The parts of a certificate that bound the moments of the gradients: brackets, exponents and chains of tents."""

from dataclasses import replace

import numpy as np
from scipy.optimize import linprog
from scipy.special import logsumexp

from theory.bounds.certificate import Chain, Side, Tent
from theory.bounds.cramer import cramer
from theory.bounds.draft import FORWARD_TENTS, Draft, fit_tent, forward_tents, interior_lengths, uniform_means
from theory.bounds.grid import points
from theory.bounds.layer_means import log_pair_mean
from theory.bounds.verifier import (
    Sign,
    backward_means,
    bracket_functions,
    dominates_power,
    kappa,
    log_moments,
    lower_constants,
    top_alignment,
)
from theory.numerics.arithmetic import FloatArray

MULTIPLES = ((0.62, 0.8, 0.98), (0.5, 0.65), (0.4, 0.48), (0.3, 0.36), (0.2, 0.25))
"""Exponents lambda, as multiples of n epsilon over n times the predicted variance: the first set that is feasible."""


_BACKWARD = 4  # dominating functions before the stationary one
_GAMMAS = 9
_UPPER_B = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0, 4.5, 7.0)
_LOWER_B = (0.0, 0.2, 0.3, 0.37, 0.43, 0.5, 0.56, 0.62, 0.7, 0.8, 0.87, 0.93, 0.97, 0.985, 0.995)
_HORIZONS = (1.3, 1.8, 2.4, 3.2)


def _feasible(draft: Draft, sign: Sign) -> Draft | str:
    """One sign with the largest exponents that its bracket allows and that prove something."""
    best: Draft | str = "no exponents were tried"
    least = np.inf
    typical = draft.certificate.width * draft.certificate.epsilon
    typical /= draft.moments.log_ratio_variance(draft.certificate.depth - 1)
    for multiples in MULTIPLES:
        found = (_upper if sign > 0 else _lower)(draft, [multiple * typical for multiple in multiples])
        if isinstance(found, str):
            best = found if isinstance(best, str) else best
            continue
        score = _last_tail(found, sign)
        if isinstance(best, str) or score < least:
            best, least = found, score
        if least < -1:
            break
    return best


def _last_tail(draft: Draft, sign: Sign) -> float:
    """Logarithm of the bound on the tail of the first layer's ratio."""
    c = draft.certificate
    side = c.upper if sign > 0 else c.lower
    logs = [log_moments(draft.setting, sign, side, x)[-1] - x.exponent * c.epsilon for x in side.chains]
    return float(np.nan_to_num(np.min(logs), nan=0.0, posinf=0.0))


def _bracket(draft: Draft, sign: Sign, horizon: float) -> Side | str:
    """The smallest |b| of a list for which the bracket fails seldom enough."""
    wanted = draft.log_share("bracket")
    q, width = interior_lengths(draft.certificate), draft.certificate.width
    for b in _UPPER_B if sign > 0 else [-b for b in _LOWER_B]:
        side = Side(b, horizon, (1.0,) * _GAMMAS, 0.5, horizon, ())
        if kappa(draft.setting, horizon, b) <= 0:
            return f"the exponents it takes are too large for width {width}: kappa' is not positive"
        psi = bracket_functions(draft.setting, sign, side)
        rough, _ = cramer(draft.setting.nodes, psi[:: _GAMMAS // 2], width, q[[0, 2, 4]])
        if rough.max() > wanted:
            continue
        log, tilts = cramer(draft.setting.nodes, psi, width, q)
        if logsumexp(log) <= wanted:
            return replace(side, bracket_tilts=tuple(map(float, tilts)))
    return f"no b makes the alignment bracket hold on the {'upper' if sign > 0 else 'lower'} side at width {width}"


def _upper(draft: Draft, exponents: list[float]) -> Draft | str:
    """Chains of the upper side: one node, the tangent of the logarithm at the mean of the tilted ratio."""
    c, m = draft.certificate, draft.moments
    side = _bracket(draft, 1, max(exponents))
    if isinstance(side, str):
        return side
    chains = []
    for exponent in exponents:
        anchor = 1 + m.backward_noise * exponent / c.width
        rate = exponent / anchor
        chains.append(Chain(exponent, (rate,), (exponent * np.log(anchor) - exponent + 1e-12,), (), Tent(0, 0), ()))
    filled = [_fill(draft, 1, side, chain) for chain in chains]
    return draft.with_(upper=replace(side, chains=tuple(filled)))


def _lower(draft: Draft, exponents: list[float]) -> Draft | str:
    """Chains of the lower side: the horizon whose exponentials cost least."""
    best: tuple[float, Side] | None = None
    failure = ""
    for multiple in _HORIZONS:
        side = _bracket(draft, -1, multiple * max(exponents))
        if isinstance(side, str):
            failure = side
            continue
        side = _floor(draft, side)
        if not side.floor > 0.02:
            failure = "no floor y0 under the ratio of two layers is kept with the probability that is wanted"
            continue
        start = -np.log1p(side.b * top_alignment(draft.with_(lower=side).certificate)) - draft.certificate.epsilon
        found = [pair for exponent in exponents if (pair := _exponentials(draft, side, exponent)) is not None]
        if not found:
            continue
        chains, costs = zip(*found, strict=True)
        steps = draft.certificate.depth - 1
        cost = min(chain.exponent * start + steps * each for chain, each in zip(chains, costs, strict=True))
        if best is None or cost < best[0]:
            best = cost, replace(side, chains=chains)
    if best is None:
        return failure
    side = best[1]
    return draft.with_(
        lower=replace(side, chains=tuple(_fill(draft.with_(lower=side), -1, side, x) for x in side.chains))
    )


def _floor(draft: Draft, side: Side) -> Side:
    """The highest floor y0 that E3 allows, and its exponent."""
    rates = side.horizon * np.array([0.35, 0.5, 0.7, 0.85, 1.0])
    costs = lower_constants(draft.setting, rates, side.b) + uniform_means(draft, -rates / (draft.certificate.width - 1))
    floors = (draft.log_share("floor") - 1e-3 - costs) / rates
    best = int(np.argmax(floors))
    return replace(side, floor=float(min(floors[best], 0.98)), floor_tilt=float(rates[best]))


def _exponentials(draft: Draft, side: Side, exponent: float) -> tuple[Chain, float] | None:
    """The cheapest nonnegative combination of exponentials above y^-lambda, a linear program, and its log cost."""
    last = np.exp(17 / exponent)  # beyond, a constant of 4e-8 is enough
    rates = np.concatenate([[0.0], np.linspace(0.3 * exponent, side.horizon, 60)])
    slope = -exponent * draft.moments.kappa / (1 - draft.moments.chi)
    # log E[exp(-t n/(n-1) u^T N u) e^{slope (q_1 - 1)}] at q = 1 for every rate t
    nodes, width = draft.setting.nodes, draft.certificate.width
    psi = np.broadcast_to(slope / width * nodes.value**2, (len(rates), len(nodes.z)))
    means = log_pair_mean(nodes, -rates / (width - 1), psi, width, points(np.ones(1))).at_centres()[:, 0] - slope
    costs = lower_constants(draft.setting, rates, side.b) + means
    y = np.geomspace(side.floor, last, 300)
    matrix = np.exp(exponent * np.log(y)[:, None] - rates * y[:, None] - costs)  # in units of the cost of each rate
    solution = linprog(np.ones(len(rates)), A_ub=-matrix, b_ub=-np.ones(len(y)))
    if solution.x is None:
        return None
    weights = np.maximum(solution.x, 1e-300) * np.exp(-costs)
    weights[0] = max(weights[0], last**-exponent)
    kept = solution.x > 1e-9
    kept[0] = True
    log_weights = np.log(weights[kept])
    chain = Chain(exponent, tuple(map(float, rates[kept])), tuple(map(float, log_weights)), (), Tent(0, 0), ())
    chain = _raised(chain, side.floor)
    return chain, float(logsumexp(np.array(chain.log_weights) + costs[kept]))


def _raised(chain: Chain, floor: float) -> Chain:
    """The chain with its weights raised until they dominate the power."""
    rates, weights = np.array(chain.rates), np.array(chain.log_weights)
    y = np.geomspace(floor, np.exp(17 / chain.exponent), 4001)
    lack = -np.min(logsumexp(weights - rates * y[:, None], axis=1) + chain.exponent * np.log(y))
    for margin in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2):
        raised = replace(chain, log_weights=tuple(map(float, weights + max(lack, 0.0) + margin)))
        if dominates_power(raised, -1, floor):
            break
    return raised


def _fill(draft: Draft, sign: Sign, side: Side, chain: Chain) -> Chain:
    """Dominating functions for every layer: power iteration, then an extrapolated stationary function."""
    power, chi = sign * chain.exponent, draft.moments.chi
    backward = [fit_tent(draft, lambda q: -power * np.log(q))]
    for _ in range(min(_BACKWARD, draft.certificate.depth - 1)):
        backward.append(fit_tent(draft, lambda q: _backward(draft, sign, side, chain, backward[-1], q)))
    extra = chi / (1 - chi)
    change = backward[-1].slope - backward[-2].slope
    stationary = Tent(backward[-1].slope + extra * change, backward[-1].bend)
    for _ in range(3):
        new = fit_tent(draft, lambda q, f=stationary: _backward(draft, sign, side, chain, f, q))  # type: ignore[misc]
        stationary = Tent(new.slope + extra * (new.slope - stationary.slope), new.bend)
    forward = []
    for f in (*backward, stationary):  # the layers in front begin with q^power f
        first = fit_tent(draft, lambda q, f=f: power * np.log(q) + f.log(q))  # type: ignore[misc]
        forward.append((first, *forward_tents(draft, first, FORWARD_TENTS)))
    return replace(chain, backward=tuple(backward), stationary=stationary, forward=tuple(forward))


def _backward(draft: Draft, sign: Sign, side: Side, chain: Chain, f: Tent, q: FloatArray) -> FloatArray:
    """log (K f)(q), the depth recursion of Lemma B."""
    means, weights = backward_means(draft.setting, sign, side, chain, [f], points(q))
    return np.asarray(means.sums_at_centres(weights)[0])
