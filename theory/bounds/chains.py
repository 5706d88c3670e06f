"""The parts of a certificate that bound the moments of the gradients: brackets, exponents and dominating functions."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
from scipy.optimize import linprog
from scipy.special import logsumexp

from theory.bounds.certificate import Certificate, Chain, Reflection, Side
from theory.bounds.draft import Draft, cramer, filled, interior_lengths, kernel_means, shifts
from theory.bounds.layer_means import Kernel
from theory.bounds.moments import (
    Setting,
    Sign,
    bracket_functions,
    direction_majorant,
    dominates_power,
    kappa,
    layer_kernel,
    layer_majorant,
    log_alignment_cost,
    top_cost,
    within,
)
from theory.bounds.verifier import tail_log
from theory.numerics.arithmetic import FloatArray

Found = TypeVar("Found")
Sided = Callable[[Draft, float, Side | None], Draft | str]
Tail = Callable[[Setting, Sign, Side], float]
MULTIPLES = (0.87, 0.76, 0.66, 0.57, 0.45, 0.35, 0.25, 0.17, 0.11, 0.07, 0.04)
"""Exponents that are tried, in units of n epsilon over n times the predicted variance."""


_TAKEN = 1e9  # credit of an exponent that is taken at once
_KEPT = 0.38  # share of lambda epsilon, for the largest, that must be left for an exponent to be taken at once
_GAMMAS, SPREAD = 3, 1.01
UPPER_B = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0, 4.5, 7.0)
_LOWER_B = tuple(-b for b in (0.0, 0.2, 0.3, 0.37, 0.43, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.87, 0.93, 0.97, 0.985))
_LEAST_FLOOR, _FLOOR_RATES = 0.02, np.array([0.35, 0.5, 0.7, 0.85, 1.0])  # rates in units of the horizon
_FIRST_B = 0.5  # where the search begins, up to the sign
_HORIZONS = (1.3, 1.8, 2.4, 3.2)


def _bracket(draft: Draft, sign: Sign, horizon: float, exponent: float, near: Side | None) -> Side | str:
    """The b of a list that costs least, found downhill from that of another side."""
    choices = UPPER_B if sign > 0 else _LOWER_B
    guess = near.b if near else _FIRST_B * sign
    at = int(np.argmin([abs(b - guess) for b in choices]))
    side = downhill(lambda i: _priced(draft, sign, choices[i], horizon, exponent), len(choices), at)
    return side or f"the bracket has no mean at width {draft.certificate.width}"


def downhill(
    priced: Callable[[int], tuple[float, Found]], count: int, at: int, enough: float = -np.inf, patience: int = 99
) -> Found | None:
    """What costs least of `count` choices, found downhill from one of them.

    None if the first ones cost infinitely much, at least `patience` of them or all.
    """
    tried: dict[int, tuple[float, Found]] = {}
    while True:
        for index in (at, max(at - 1, 0), min(at + 1, count - 1)):
            if index not in tried:
                tried[index] = priced(index)
                if tried[index][0] < enough:
                    return tried[index][1]
        best = min(tried, key=lambda index: tried[index][0])
        if np.isfinite(tried[best][0]):
            if best == at:
                return tried[at][1]
            at = best
        elif len(tried) < patience and (untried := [index for index in range(count) if index not in tried]):
            at = untried[len(untried) // 4]  # no slope to follow, and what comes first is tight where it is finite
        else:
            return None


def _priced(draft: Draft, sign: Sign, b: float, horizon: float, exponent: float) -> tuple[float, Side]:
    """What one b costs, by C_b, by the top, and by how often the bracket is positive; and its side."""
    c, steps, rate = draft.certificate, draft.certificate.depth - 1, np.array([exponent])
    q, spread = np.array([c.low, 1.0, c.high]), shifts(draft, np.array([sign * horizon / (c.width - 1)]))
    side = Side(b, horizon, SPREAD, float(spread[0]), (1.0,) * _GAMMAS, 0.5, horizon, 0.0, ())
    tilt = shifts(draft, tau := sign * rate / (c.width - 1))
    if not (kappa(draft.setting, sign, side) > 0 and within(draft.setting, sign, side, float(tau[0]), float(tilt[0]))):
        return np.inf, side
    psi = bracket_functions(draft.setting, sign, side)
    _, tilts = cramer(draft.setting.nodes, psi, c.width, q)  # (gammas, q)
    tilts = np.maximum(np.minimum(tilts, 3 * tilts.min()), 1.5 * horizon / (c.width * c.low * (1 + b)))
    side = replace(side, bracket_tilts=tuple(map(float, tilts)))
    layer = layer_majorant(draft.setting, sign, side, rate, tilt)
    terms = kernel_means(draft, layer, q)
    rarity = float((np.exp(logsumexp(terms[1:] - terms[0], axis=0)) * (0.3, 1.0, 0.3)).max())
    alignment = float(log_alignment_cost(draft.setting, sign, side, rate)[0])
    cost = steps * (alignment + rarity) + _top(draft, sign, side, exponent)
    return float(np.nan_to_num(cost, nan=np.inf)), side


def _side(c: Certificate | None, sign: Sign) -> Side | None:
    return None if c is None else c.upper if sign > 0 else c.lower


def _top(draft: Draft, sign: Sign, side: Side, exponent: float) -> float:
    """What the alignment at the top costs."""
    if sign < 0 and draft.certificate.readout.kind == "aligned":
        draft = draft.with_(lower=side)
    return top_cost(draft.setting, sign, side, exponent)


def upper(draft: Draft, exponent: float, hint: Side | None) -> Draft | str:
    """The upper side: one node, the tangent of the logarithm at the mean of the tilted ratio."""
    c, m = draft.certificate, draft.moments
    side = _bracket(draft, 1, exponent, exponent, hint)
    if isinstance(side, str):
        return side
    anchor = 1 + m.backward_noise * exponent / c.width
    rate = exponent / anchor
    weight = exponent * np.log(anchor) - exponent + 1e-12
    return draft.with_(upper=_filled(draft, 1, side, exponent, np.array([rate]), np.array([weight])))


def lower(draft: Draft, exponent: float, hint: Side | None) -> Draft | str:
    """The lower side: the horizon whose exponentials cost least, or that of a like side."""
    best: tuple[float, Side, FloatArray, FloatArray] | None = None
    failure = "no floor y0 under the ratio of two layers is kept with the probability that is wanted"
    for multiple in (max(hint.horizon / exponent, 1.2), *_HORIZONS) if hint and draft.near else _HORIZONS:
        if _highest_floor(draft, multiple * exponent) <= _LEAST_FLOOR:  # no need to look for b
            continue
        side = _bracket(draft, -1, multiple * exponent, exponent, best[1] if best else hint)
        if isinstance(side, str):
            failure = side
            continue
        side = _floor(draft, side)
        found = _exponentials(draft, side, exponent) if side.floor > _LEAST_FLOOR else None
        if found is None:
            continue
        cost = _top(draft, -1, side, exponent) + (draft.certificate.depth - 1) * found[2]
        if best is not None and cost >= best[0]:
            break
        best = cost, side, *found[:2]
        if draft.near is not None:
            break
    if best is None:
        return failure
    return draft.with_(lower=_filled(draft.with_(lower=best[1]), -1, best[1], exponent, *best[2:]))


def _highest_floor(draft: Draft, horizon: float) -> float:
    """No b has a floor above this one, which has neither brackets nor a cost of the alignment."""
    c, nodes, rates = draft.certificate, draft.setting.nodes, horizon * _FLOOR_RATES
    tau = rates / (c.width - 1)
    layer = direction_majorant(draft.setting, -tau, shifts(draft, -tau))
    along = tau[:, None] / (c.width * c.low) * (nodes.slope * nodes.value) ** 2
    costs = kernel_means(draft, Kernel(layer.constants, layer.exponents + along), interior_lengths(c, 3)).max(axis=1)
    return float(((draft.log_share("floor") - costs) / rates).max())


def _floor(draft: Draft, side: Side) -> Side:
    """The highest floor y0 that E3 allows, and its exponent."""
    rates = side.horizon * _FLOOR_RATES
    tilts = shifts(draft, -rates / (draft.certificate.width - 1))
    layer = layer_majorant(draft.setting, -1, side, rates, tilts)
    costs = grouped(rates, kernel_means(draft, layer, interior_lengths(draft.certificate, 3))).max(axis=1)
    floors = (draft.log_share("floor") - 1e-3 - costs) / rates
    best = int(np.argmax(floors))
    floor, rate, tilt = float(min(floors[best], 0.98)), float(rates[best]), float(tilts[best])
    return replace(side, floor=floor, floor_tilt=rate, floor_shift=tilt)


def grouped(rates: FloatArray, logs: FloatArray) -> FloatArray:
    """Logarithms of the sums over the terms of each rate, (R, Q)."""
    extra = logs[len(rates) :].reshape(np.count_nonzero(rates), -1, logs.shape[1])
    total = np.array(logs[: len(rates)])
    total[rates > 0] = np.logaddexp(total[rates > 0], logsumexp(extra, axis=1))
    return total


def _exponentials(draft: Draft, side: Side, exponent: float) -> tuple[FloatArray, FloatArray, float] | None:
    """The cheapest combination of exponentials up to the horizon, see `cheapest`."""
    rates = np.concatenate([[0.0], np.linspace(0.3 * exponent, side.horizon, 24)])
    slope = -exponent * draft.moments.kappa / (1 - draft.moments.chi)
    layer = layer_majorant(draft.setting, -1, side, rates, shifts(draft, -rates / (draft.certificate.width - 1)))
    tilted = layer.exponents + slope / draft.certificate.width * draft.setting.nodes.value**2
    costs = grouped(rates, kernel_means(draft, Kernel(layer.constants - slope, tilted), np.ones(1)))[:, 0]
    return cheapest(exponent, side.floor, rates, costs)


def cheapest(
    exponent: float, floor: float, rates: FloatArray, costs: FloatArray
) -> tuple[FloatArray, FloatArray, float] | None:
    """The cheapest nonnegative combination of exponentials above y^-lambda for y >= y0, a linear program.

    Args:
        exponent: lambda.
        floor: y0.
        rates: of the exponentials, the first 0; (R,).
        costs: log of what a unit of each costs, (R,).

    Returns:
        The rates and the log weights of those that are used, and the log cost of all; None where none suffice.
    """
    last = np.exp(17 / exponent)  # beyond, a constant of 4e-8 is enough
    y = np.geomspace(floor, last, 300)
    with np.errstate(all="ignore"):
        matrix = np.exp(exponent * np.log(y)[:, None] - rates * y[:, None] - costs)  # in units of the cost of each rate
    held = bool(np.isfinite(matrix).all())  # what float64 cannot hold proves nothing
    solution = linprog(np.ones(len(rates)), A_ub=-matrix, b_ub=-np.ones(len(y))) if held else None
    if solution is None or solution.x is None:
        return None
    weights = np.maximum(solution.x, 1e-300) * np.exp(-costs)
    weights[0] = max(weights[0], last**-exponent)
    kept = solution.x > 1e-9
    kept[0] = True
    logs = _raised(rates[kept], np.log(weights[kept]), exponent, floor)
    return rates[kept], logs, float(logsumexp(logs + costs[kept]))


def _raised(rates: FloatArray, weights: FloatArray, exponent: float, floor: float) -> FloatArray:
    """The weights raised until they dominate the power."""
    y = np.geomspace(floor, np.exp(17 / exponent), 4001)
    lack = -np.min(logsumexp(weights - rates * y[:, None], axis=1) + exponent * np.log(y))
    for margin in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2):
        raised = weights + max(lack, 0.0) + margin
        if dominates_power(bare(exponent, rates, raised), -1, floor):
            break
    return np.asarray(raised)


def bare(exponent: float, rates: FloatArray, weights: FloatArray) -> Chain:
    """A chain without functions."""
    first, second = tuple(map(float, rates)), tuple(map(float, weights))
    return Chain(exponent, first, second, (0.0,) * len(first), (), (), Reflection(1.0, (1.0,) * len(first), ()))


def _filled(draft: Draft, sign: Sign, side: Side, exponent: float, rates: FloatArray, weights: FloatArray) -> Side:
    """The side with its chain."""
    tilts = shifts(draft, sign * rates / (draft.certificate.width - 1))
    chain = replace(bare(exponent, rates, weights), shifts=tuple(map(float, tilts)))
    return replace(side, chains=(filled(draft, sign, chain, layer_kernel(draft.setting, sign, side, chain)),))


def feasible(
    draft: Draft, sign: Sign, sided: Sided | None = None, tail: Tail = tail_log, patience: int = 99
) -> Draft | str:
    """One sign with the exponent that costs least.

    Args:
        draft: a certificate that lacks this side.
        sign: the side.
        sided: finds the rest of the side for an exponent; `upper` or `lower` by default.
        tail: the verifier's bound for the side.
        patience: after how many exponents that prove nothing it gives up.
    """
    sided = sided or (upper if sign > 0 else lower)
    typical = draft.typical_exponent
    hint, at, reason = _hint(draft, sign), 0, "no exponents were tried"
    if hint is not None:
        at = int(np.argmin(np.abs(np.array(MULTIPLES) - hint.chains[0].exponent / typical)))

    def priced(index: int) -> tuple[float, Draft | str]:
        nonlocal hint, reason
        exponent = MULTIPLES[index] * typical
        found = sided(draft, exponent, hint)
        if isinstance(found, str):
            reason = found
            return np.inf, found
        side = _side(found.certificate, sign)
        assert side is not None
        log = float(np.nan_to_num(tail(found.setting, sign, side), nan=np.inf))
        hint = side
        return (log if log > kept(draft) else log - _TAKEN), found

    return downhill(priced, len(MULTIPLES), at, -_TAKEN, patience) or reason


def kept(draft: Draft) -> float:
    """The logarithm below which a side is taken at once; with the best exponent of a normal law half of it is lost."""
    return -_KEPT * MULTIPLES[0] * draft.typical_exponent * draft.certificate.epsilon


def _hint(draft: Draft, sign: Sign) -> Side | None:
    """The side of the certificate of a like problem, in the exponents of this one."""
    near, c = draft.near, draft.certificate
    side = _side(near, sign)
    if near is None or side is None:
        return None
    scale, chain = c.width * c.epsilon / (near.width * near.epsilon), side.chains[0]
    return replace(side, horizon=scale * side.horizon, chains=(replace(chain, exponent=scale * chain.exponent),))
