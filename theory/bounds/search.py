"""Search for the parameters of the deep bound. Nothing here need be right: `theory.bounds.verifier` checks the outcome.

Order of the search: the tube, the six limits, the top, then for each sign the smallest |b| that its bracket allows,
exponents around n epsilon / Var, and dominating functions fitted along the depth recursion.
"""

from dataclasses import replace

import numpy as np
from scipy.special import betainccinv

from theory.activations.activation import NumericActivation
from theory.bounds.certificate import LIMITS, Certificate, Escape, Readout
from theory.bounds.chains import feasible, kept
from theory.bounds.draft import (
    SHARES,
    Draft,
    blank_certificate,
    cramer,
    forward_tents,
    interior_lengths,
    kernel_means,
    shifts,
)
from theory.bounds.grid import cells
from theory.bounds.growing.upper import sharper, upper
from theory.bounds.moments import Sign, direction_majorant
from theory.bounds.verifier import escape_log, layers, limit_functions, prepare, tail_log
from theory.depth.coefficients import depth_coefficients
from theory.numerics.arithmetic import FloatArray

_TILTS = np.array([1.0, 0.75, 0.5, 0.25])  # of the tube, in units of what a normal law would ask for
_NEWTON = 6  # steps before the secant
_HIGHEST = 4.0  # end of the widest tube


def propose(
    activation: NumericActivation,
    width: int,
    depth: int,
    epsilon: float,
    readout: Readout,
    budget: float,
    near: Certificate | None = None,
) -> Certificate | str:
    """Propose a certificate, or say in words why there is none.

    Args:
        activation: phi, normalized.
        width, depth, epsilon: n, L and the deviation.
        readout: what is known about e_L.
        budget: what all bad events together may cost, a probability.
        near: a certificate of the same activation for a like width or budget, near which the search begins.
    """
    with np.errstate(all="ignore"):
        blank = blank_certificate(width, depth, epsilon, readout)
        setting, moments = prepare(blank, activation, _HIGHEST), depth_coefficients(activation)
        draft: Draft | str = Draft(setting, moments, budget, near)
        for step in (narrowest_tube, regular_limits, _top, lambda d: feasible(d, -1), _upper):
            if isinstance(draft, str):
                return draft
            draft = step(draft)
    return draft if isinstance(draft, str) else draft.certificate


def narrowest_tube(draft: Draft) -> Draft | str:
    """The narrowest tube whose two sides are left rarely enough."""
    chi, width = draft.moments.chi, draft.certificate.width
    if abs(chi) >= 0.995:
        return f"the squared length does not return to 1 in depth (chi = {chi:.4f})"
    wanted = np.log(SHARES["tube"] * draft.budget)
    distance, tilts = _first_tube(draft, wanted)
    for _ in range(12):
        low, high = 1 - distance[0], 1 + distance[1]
        if not (low > 0.02 and high < _HIGHEST):
            return f"at width {width} the squared length strays too far: the tube would be ({low:.2f}, {high:.2f})"
        draft = draft.with_(low=float(low), high=float(high))
        draft = replace(draft, setting=replace(draft.setting, tube=cells(float(low), float(high), width)))
        needed, escapes = _escapes(draft, tilts, wanted)
        if np.isfinite(needed).all():
            tilts = np.array([[escape.tilt] for escape in escapes])
        slack = distance / needed
        if np.all((slack >= 1) & (slack < 1.03)):
            return draft.with_(escapes=escapes)
        distance = 1.01 * np.minimum(needed, 1.3 * distance)
    return f"no tube around 1 holds the squared length at width {width}"


def _first_tube(draft: Draft, wanted: float) -> tuple[FloatArray, FloatArray]:
    """Distances of both ends from 1, (2,), and exponents to try for each, (2, T)."""
    if draft.near is not None:
        scale = np.sqrt(draft.near.width / draft.certificate.width)
        distance = np.array([1 - draft.near.low, draft.near.high - 1]) * scale
        return distance, np.array([[escape.tilt] for escape in draft.near.escapes]) / scale
    distance = np.full(2, np.sqrt(max(2 * np.log(layers(draft.certificate)) - 2 * wanted, 2.0)) * draft.spread)
    natural = distance / draft.spread**2 * np.array([1.2, 0.9])  # a longer tail above
    return distance, natural[:, None] * _TILTS


def _escapes(draft: Draft, tilts: FloatArray, wanted: float) -> tuple[FloatArray, tuple[Escape, Escape]]:
    """For each end the least distance from 1 that is exceeded rarely enough, and how."""
    signs: tuple[Sign, Sign] = (-1, 1)
    chains = forward_tents(draft, np.concatenate([sign * row for sign, row in zip(signs, tilts, strict=True)]), most=40)
    found: list[tuple[float, Escape]] = []
    for sign, row in zip(signs, tilts, strict=True):
        own, chains = chains[: len(row)], chains[len(row) :]
        escapes = [Escape(float(tilt), functions) for tilt, functions in zip(row, own, strict=True)]
        needed = [(escape_log(draft.setting, escape, sign) - wanted) / escape.tilt for escape in escapes]
        needed = [distance if np.isfinite(distance) else np.inf for distance in needed]
        best = int(np.argmin(needed))
        found.append((needed[best], escapes[best]))
    (below, first), (above, second) = found
    return np.array([below, above]), (first, second)


def regular_limits(draft: Draft) -> Draft | str:
    """Six limits that fail about as rarely as they may, for all lengths of the tube."""
    m, wanted, near = draft.moments, draft.log_share("limit"), draft.near
    square, reach = draft.setting.square, np.sqrt(draft.setting.square) * 2
    mixed = m.second_slope_second
    start = np.array([mixed, m.tilted_slope_second, m.slope_second, m.slope_second, m.chi, m.chi])
    far = np.array([square, square, 0.0, square, -reach, reach]) - start
    deviation = _deviations(draft, start)
    if near is None:
        distance = np.sqrt(-2 * wanted) * deviation
    else:
        old = np.array([getattr(near, name) for name in LIMITS])
        distance = np.abs(old - start) * np.sqrt(near.width / draft.certificate.width)
    slope, last = 1 / (np.sqrt(2) * deviation), None
    for step in range(16):  # Newton's method, the logarithm being about quadratic; the secant where that oscillates
        distance = np.clip(distance, 0.01 * deviation, np.abs(far))
        limits = start + np.sign(far) * distance
        log, tilts = _limit_events(draft, limits)
        root = np.sqrt(-np.minimum(log, 0.0))
        if last is not None and step >= _NEWTON:
            secant = (root - last[1]) / (distance - last[0])
            slope = np.where((secant > 0) & np.isfinite(secant), secant, slope)
        change = (np.sqrt(-wanted) - root) / slope
        if np.all((np.abs(change) < 0.003 * distance) | (distance >= np.abs(far))):
            break
        last, distance = (distance, root), distance + change
    return _with_limits(draft, limits).with_(limit_tilts=tuple(map(float, tilts)))


def _deviations(draft: Draft, limits: FloatArray) -> FloatArray:
    """Standard deviations of the means that the six limits hold, at q = 1."""
    nodes, width = draft.setting.nodes, draft.certificate.width
    law, psi = np.exp(nodes.log_weight), limit_functions(nodes, _with_limits(draft, limits).certificate)
    mean, along = psi @ law, psi @ (law * (nodes.z**2 - 1))
    return np.asarray(np.sqrt((psi**2 @ law - mean**2 - along**2 / 2) / width))


def _limit_events(draft: Draft, limits: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Logarithms of the probabilities that the six limits fail, and their exponents."""
    candidate = _with_limits(draft, limits).certificate
    nodes = draft.setting.nodes
    logs, tilts = cramer(nodes, limit_functions(nodes, candidate), candidate.width, interior_lengths(candidate))
    return logs.max(axis=1), tilts


def _with_limits(draft: Draft, limits: FloatArray) -> Draft:
    return draft.with_(**dict(zip(LIMITS, map(float, limits), strict=True)))


def _top(draft: Draft) -> Draft | str:
    """Limits of the direction at the top."""
    c = draft.certificate
    share = SHARES["top"] * draft.budget
    degrees = (c.width - 2) / 2 if c.readout.kind == "aligned" else (c.width - 1) / 2
    overlap = float(betainccinv(0.5, degrees, share))
    rates = c.width * np.array([0.05, 0.1, 0.15, 0.2, 0.3, 0.4])
    tilts = shifts(draft, -rates / c.width)
    means = kernel_means(draft, direction_majorant(draft.setting, -rates / c.width, tilts), interior_lengths(c))
    floors = (np.log(share) - means.max(axis=1)) / rates
    best = int(np.argmax(floors))
    floor = max(float(floors[best]), 1e-3)
    return draft.with_(overlap=overlap, top_floor=floor, top_tilt=float(rates[best]), top_shift=float(tilts[best]))


def _upper(draft: Draft) -> Draft | str:
    """The upper side by the quick search, and by the sharper one where that does not bound it well or is done again."""
    near = draft.near
    quick: Draft | str = "the like problem needed the sharper search"
    if near is None or not sharper(near):
        quick = feasible(draft, 1)
        again = near is not None and near.width == draft.certificate.width
        if _tail(quick) < kept(draft) and not again:
            return quick
    other = feasible(draft, 1, upper, patience=4)
    return quick if isinstance(other, str) or _tail(quick) < _tail(other) else other


def _tail(draft: Draft | str) -> float:
    """Logarithm of the bound on large gradients; infinite where there is none."""
    if isinstance(draft, str):
        return np.inf
    return float(np.nan_to_num(tail_log(draft.setting, 1, draft.certificate.upper), nan=np.inf))
