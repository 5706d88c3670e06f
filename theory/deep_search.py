"""Search for the parameters of the deep bound. Nothing here need be right: `theory.deep_verifier` checks the outcome.

Order of the search: the tube, the seven limits, the top, then for each sign the smallest |b| that its bracket allows,
exponents around n epsilon / Var, and dominating functions fitted along the depth recursion.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linprog
from scipy.special import betainccinv, logsumexp

from theory.activation import FloatArray, NumericActivation
from theory.conditioning_pairs import (
    cells,
    log_mean,
    log_pair_mean,
    log_tent,
    points,
    tent_systems,
)
from theory.deep_certificate import Certificate, Chain, Escape, Readout, Side, Tent
from theory.deep_cramer import cramer
from theory.deep_moments import DepthMoments, depth_moments
from theory.deep_verifier import (
    Setting,
    Sign,
    bracket_functions,
    dominates_power,
    escape_log,
    kappa,
    layers,
    limit_functions,
    log_moments,
    lower_constants,
    prepare,
    top_alignment,
    upper_constants,
)

MULTIPLES = ((0.62, 0.8, 0.98), (0.5, 0.65), (0.4, 0.48), (0.3, 0.36), (0.2, 0.25))
"""Exponents lambda, as multiples of n epsilon over n times the predicted variance: the first set that is feasible."""

_TILTS = (0.25, 0.4, 0.6, 0.8, 1.0)  # of the tube, as multiples of what a normal law would ask for
_HIGHEST = 4.0  # end of the widest tube
_BACKWARD = 4  # dominating functions before the stationary one
_FORWARD = 6
_GAMMAS = 9
_UPPER_B = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0, 4.5, 7.0)
_LOWER_B = (0.0, 0.2, 0.3, 0.37, 0.43, 0.5, 0.56, 0.62, 0.7, 0.8, 0.87, 0.93, 0.97, 0.985, 0.995)
_HORIZONS = (1.3, 1.8, 2.4, 3.2)
_SHARES = {"tube": 0.15, "limit": 0.04, "bracket": 0.12, "floor": 0.1, "top": 0.06}


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A certificate in the making, with the activation evaluated for it and what each event may cost."""

    setting: Setting
    moments: DepthMoments
    budget: float

    @property
    def certificate(self) -> Certificate:
        return self.setting.certificate

    def with_(self, **changes: object) -> "Draft":
        """The draft with other parameters of the certificate (not of the tube)."""
        return replace(self, setting=replace(self.setting, certificate=replace(self.certificate, **changes)))  # type: ignore[arg-type]

    def log_share(self, name: str) -> float:
        """Logarithm of what one layer may spend on an event."""
        return float(np.log(_SHARES[name] * self.budget / layers(self.certificate)))


def propose(
    activation: NumericActivation, width: int, depth: int, epsilon: float, readout: Readout, budget: float
) -> Certificate | str:
    """Propose a certificate, or say in words why there is none.

    Args:
        activation: phi, normalized.
        width, depth, epsilon: n, L and the deviation.
        readout: what is known of e_L.
        budget: what all bad events together may cost, a probability.
    """
    with np.errstate(all="ignore"):
        draft = _tube(activation, depth_moments(activation), _blank(width, depth, epsilon, readout), budget)
        for step in (_limits, _top, lambda d: _feasible(d, 1), lambda d: _feasible(d, -1)):
            if isinstance(draft, str):
                return draft
            draft = step(draft)
    return draft if isinstance(draft, str) else draft.certificate


def _blank(width: int, depth: int, epsilon: float, readout: Readout) -> Certificate:
    """A certificate with the given problem and placeholders that every step of the search replaces."""
    side = Side(0.0, 1.0, (1.0, 1.0), 0.5, 1.0, ())
    escape = Escape(1.0, (Tent(0.0, 0.0),))
    return Certificate(
        width, depth, epsilon, readout, 0.5, 2.0, (escape, escape), 0.0, 9.0, 9.0, 0.0, 9.0, -1.0, 1.0, (1.0,) * 7, 0.1,
        0.5, 1.0, side, side,
    )  # fmt: skip


# The tube


def _tube(activation: NumericActivation, moments: DepthMoments, blank: Certificate, budget: float) -> Draft | str:
    """The narrowest tube whose two sides are left seldom enough."""
    if abs(moments.chi) >= 0.995:
        return f"the squared length does not return to 1 in depth (chi = {moments.chi:.4f})"
    setting = prepare(blank, activation, _HIGHEST)
    spread = np.sqrt(moments.forward / (1 - moments.chi**2) / blank.width)
    wanted = np.log(_SHARES["tube"] * budget)
    distance = np.full(2, np.sqrt(max(2 * np.log(layers(blank)) - 2 * wanted, 2.0)) * spread)
    multiples = _TILTS
    for _ in range(12):
        low, high = 1 - distance[0], 1 + distance[1]
        if not (low > 0.02 and high < _HIGHEST):
            return (
                f"at width {blank.width} the squared length strays too far: the tube would be ({low:.2f}, {high:.2f})"
            )
        certificate = replace(blank, low=float(low), high=float(high))
        grid = cells(certificate.low, certificate.high, blank.width)
        draft = Draft(replace(setting, certificate=certificate, tube=grid), moments, budget)
        (needed, escapes, best) = zip(*(_escape(draft, sign, multiples, wanted) for sign in (-1, 1)), strict=True)
        slack = distance / np.array(needed)
        if np.all((slack >= 1) & (slack < 1.03)):
            return draft.with_(escapes=escapes)
        distance = 1.01 * np.minimum(needed, 1.3 * distance)
        multiples = tuple(sorted({factor * m for m in best for factor in (0.85, 1.0, 1.15)}))
    return f"no tube around 1 holds the squared length at width {blank.width}"


def _escape(draft: Draft, sign: Sign, multiples: tuple[float, ...], wanted: float) -> tuple[float, Escape, float]:
    """The least distance from 1 that is exceeded seldom enough, how, and by which multiple of the natural tilt."""
    c, m = draft.certificate, draft.moments
    natural = (c.high - 1 if sign > 0 else 1 - c.low) * c.width * (1 - m.chi**2) / m.forward
    found = []
    for multiple in multiples:
        tilt = multiple * natural
        escape = Escape(tilt, tuple(_forward_tents(draft, Tent(sign * tilt, 0.0), most=40)))
        distance = (escape_log(draft.setting, escape, sign) - wanted) / tilt
        found.append((distance if np.isfinite(distance) else np.inf, escape, multiple))
    return min(found, key=lambda item: item[0])


def _fit(draft: Draft, logs: Callable[[FloatArray], FloatArray]) -> Tent:
    """The tent that agrees with a function in slope and curvature at q = 1, up to a factor."""
    c = draft.certificate
    left, right = 0.6 * (1 - c.low), 0.6 * (c.high - 1)
    below, at, above = logs(np.array([1 - left, 1.0, 1 + right]))
    fall, rise = (at - below) / left, (above - at) / right
    slope = (fall * right + rise * left) / (left + right)
    curvature = 2 * (rise - fall) / (left + right)
    return Tent(float(slope), float(np.sqrt(max(curvature, 0.0))))


def _forward_tents(draft: Draft, start: Tent, most: int) -> list[Tent]:
    """Tents fitted to F f, F^2 f, ... until they are flat."""
    found: list[Tent] = []
    width = draft.certificate.high - draft.certificate.low
    while len(found) < most:
        start = _fit(draft, lambda q, f=start: _forward(draft, f, q))  # type: ignore[misc]
        found.append(start)
        if (abs(start.slope) + start.bend) * width < 0.02:
            break
    return found


def _forward(draft: Draft, f: Tent, q: FloatArray) -> FloatArray:
    """log E[f(q_1) | q_0 = q]."""
    nodes, width = draft.setting.nodes, draft.certificate.width
    _, psi, weights = tent_systems(nodes, width, np.zeros(1), np.zeros(1), ((f.slope, f.bend),))
    return np.asarray(logsumexp(log_mean(nodes, psi, width, points(q)).at_centres() + weights[0][:, None], axis=0))


# Events of one layer


def _interior(c: Certificate, count: int = 5) -> FloatArray:
    """Chebyshev points of the tube, ends included."""
    half = 0.5 * (c.high - c.low)
    return 0.5 * (c.high + c.low) + half * np.cos(np.pi * np.arange(count) / (count - 1))


def _limits(draft: Draft) -> Draft | str:
    """The tightest seven limits that fail seldom enough, by bisection on all of them together."""
    m, wanted = draft.moments, draft.log_share("limit")
    square, reach = draft.setting.square, np.sqrt(draft.setting.square) * 2
    start = np.array([m.a, m.a, m.sigma, m.slope, m.slope, m.chi, m.chi])
    far = np.array([0.0, square, square, 0.0, square, -reach, reach])
    near, beyond = np.zeros(7), np.full(7, 0.01)
    for _ in range(16):  # outwards, then bisection: far out Newton's method may fail
        log, _ = _limit_events(draft, start + beyond * (far - start))
        near, beyond = (
            np.where(log > wanted, beyond, near),
            np.where(log > wanted, np.minimum(1.35 * beyond, 1.0), beyond),
        )
    for _ in range(16):
        middle = 0.5 * (near + beyond)
        log, _ = _limit_events(draft, start + middle * (far - start))
        near, beyond = np.where(log > wanted, middle, near), np.where(log > wanted, beyond, middle)
    limits = start + beyond * (far - start)
    _, tilts = _limit_events(draft, limits)
    return _with_limits(draft, limits).with_(limit_tilts=tuple(map(float, tilts)))


def _limit_events(draft: Draft, limits: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Logarithms of the probabilities that the seven limits fail, and their exponents."""
    candidate = _with_limits(draft, limits).certificate
    nodes = draft.setting.nodes
    return cramer(nodes, limit_functions(nodes, candidate), candidate.width, _interior(candidate))


def _with_limits(draft: Draft, limits: FloatArray) -> Draft:
    names = ("a_low", "a_high", "sigma_high", "z_low", "z_high", "gamma_low", "gamma_high")
    return draft.with_(**dict(zip(names, map(float, limits), strict=True)))


def _top(draft: Draft) -> Draft | str:
    """Limits of the direction at the top."""
    c = draft.certificate
    share = _SHARES["top"] * draft.budget
    degrees = (c.width - 2) / 2 if c.readout.kind == "aligned" else (c.width - 1) / 2
    overlap = float(betainccinv(0.5, degrees, share))
    rates = c.width * np.array([0.05, 0.1, 0.15, 0.2, 0.3, 0.4])
    floors = (np.log(share) - _uniform_means(draft, -rates / c.width)) / rates
    best = int(np.argmax(floors))
    return draft.with_(overlap=overlap, top_floor=max(float(floors[best]), 1e-3), top_tilt=float(rates[best]))


def _uniform_means(draft: Draft, tau: FloatArray) -> FloatArray:
    """Largest log E exp(tau sum s w^2) over the tube, sampled, (B,)."""
    nodes, c = draft.setting.nodes, draft.certificate
    psi = np.zeros((len(tau), len(nodes.z)))
    found: FloatArray = log_pair_mean(nodes, tau, psi, c.width, points(_interior(c))).at_centres().max(axis=1)
    return found


# The two signs


def _exponents(draft: Draft, multiples: tuple[float, ...]) -> list[float]:
    c = draft.certificate
    typical = c.width * c.epsilon / draft.moments.log_ratio_variance(c.depth - 1)
    return [multiple * typical for multiple in multiples]


def _feasible(draft: Draft, sign: Sign) -> Draft | str:
    """One sign with the largest exponents that its bracket allows and that prove something."""
    best: Draft | str = "no exponents were tried"
    least = np.inf
    for multiples in MULTIPLES:
        found = (_upper if sign > 0 else _lower)(draft, _exponents(draft, multiples))
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
    q, width = _interior(draft.certificate), draft.certificate.width
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
        anchor = 1 + m.backward * exponent / c.width
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
    costs = lower_constants(draft.setting, rates, side.b) + _uniform_means(
        draft, -rates / (draft.certificate.width - 1)
    )
    floors = (draft.log_share("floor") - 1e-3 - costs) / rates
    best = int(np.argmax(floors))
    return replace(side, floor=float(min(floors[best], 0.98)), floor_tilt=float(rates[best]))


def _exponentials(draft: Draft, side: Side, exponent: float) -> tuple[Chain, float] | None:
    """The cheapest nonnegative combination of exponentials above y^-lambda, a linear program, and its log cost."""
    last = np.exp(17 / exponent)  # beyond, a constant of 4e-8 is enough
    rates = np.concatenate([[0.0], np.linspace(0.3 * exponent, side.horizon, 60)])
    slope = -exponent * draft.moments.kappa / (1 - draft.moments.chi)
    costs = lower_constants(draft.setting, rates, side.b) + _backward_means(draft, -rates, slope)
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


def _backward_means(draft: Draft, rates: FloatArray, slope: float) -> FloatArray:
    """log E[exp(t n/(n-1) u^T N u) e^{slope (q_1 - 1)}] at q = 1 for several signed rates t."""
    nodes, width = draft.setting.nodes, draft.certificate.width
    psi = np.broadcast_to(slope / width * nodes.value**2, (len(rates), len(nodes.z)))
    return log_pair_mean(nodes, rates / (width - 1), psi, width, points(np.ones(1))).at_centres()[:, 0] - slope


def _fill(draft: Draft, sign: Sign, side: Side, chain: Chain) -> Chain:
    """Dominating functions for every layer: power iteration, then an extrapolated stationary function."""
    power, chi = sign * chain.exponent, draft.moments.chi
    backward = [_fit(draft, lambda q: -power * np.log(q))]
    for _ in range(min(_BACKWARD, draft.certificate.depth - 1)):
        backward.append(_fit(draft, lambda q: _backward(draft, sign, side, chain, backward[-1], q)))
    extra = chi / (1 - chi)
    change = backward[-1].slope - backward[-2].slope
    stationary = Tent(backward[-1].slope + extra * change, backward[-1].bend)
    for _ in range(3):
        new = _fit(draft, lambda q, f=stationary: _backward(draft, sign, side, chain, f, q))  # type: ignore[misc]
        stationary = Tent(new.slope + extra * (new.slope - stationary.slope), new.bend)
    forward = [_front(draft, power, f) for f in (*backward, stationary)]
    return replace(chain, backward=tuple(backward), stationary=stationary, forward=tuple(forward))


def _backward(draft: Draft, sign: Sign, side: Side, chain: Chain, f: Tent, q: FloatArray) -> FloatArray:
    """log (K f)(q), the depth recursion of Lemma B."""
    nodes, width, rates = draft.setting.nodes, draft.certificate.width, np.array(chain.rates)
    constants = (upper_constants if sign > 0 else lower_constants)(draft.setting, rates, side.b)
    constants = constants + np.array(chain.log_weights)
    tau, psi, weights = tent_systems(nodes, width, sign * rates, constants, ((f.slope, f.bend),))
    logs = log_pair_mean(nodes, tau, psi, width, points(q)).at_centres()
    return np.asarray(logsumexp(logs + weights[0][:, None], axis=0))


def _front(draft: Draft, power: float, f: Tent) -> tuple[Tent, ...]:
    """Functions of the layers in front, from q^power f on."""
    first = _fit(draft, lambda q: power * np.log(q) + log_tent(f.slope, f.bend, q))
    return (first, *_forward_tents(draft, first, _FORWARD))
