"""Search for the parameters of the deep bound. Nothing here need be right: `theory.bounds.verifier` checks the outcome.

Order of the search: the tube, the six limits, the top, then for each sign the smallest |b| that its bracket allows,
exponents around n epsilon / Var, and dominating functions fitted along the depth recursion.
"""

from dataclasses import replace

import numpy as np
from scipy.special import betainccinv

from theory.activations.activation import NumericActivation
from theory.bounds.certificate import Certificate, Escape, Mixture, Readout
from theory.bounds.chains import feasible
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
from theory.bounds.moments import Sign, direction_majorant
from theory.bounds.verifier import escape_log, layers, limit_functions, prepare
from theory.depth.coefficients import DepthCoefficients, depth_coefficients
from theory.numerics.arithmetic import FloatArray

_TILTS = np.array([1.0, 0.75, 0.5, 0.25])  # of the tube, in units of what a normal law would ask for
_HIGHEST = 4.0  # end of the widest tube


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
        draft = _tube(
            activation, depth_coefficients(activation), blank_certificate(width, depth, epsilon, readout), budget
        )
        for step in (_limits, _top, lambda d: feasible(d, 1), lambda d: feasible(d, -1)):
            if isinstance(draft, str):
                return draft
            draft = step(draft)
    return draft if isinstance(draft, str) else draft.certificate


def _tube(
    activation: NumericActivation, moments: DepthCoefficients[float], blank: Certificate, budget: float
) -> Draft | str:
    """The narrowest tube whose two sides are left seldom enough."""
    if abs(moments.chi) >= 0.995:
        return f"the squared length does not return to 1 in depth (chi = {moments.chi:.4f})"
    setting = prepare(blank, activation, _HIGHEST)
    spread = np.sqrt(moments.length_noise / (1 - moments.chi**2) / blank.width)
    wanted = np.log(SHARES["tube"] * budget)
    distance = np.full(2, np.sqrt(max(2 * np.log(layers(blank)) - 2 * wanted, 2.0)) * spread)
    natural = distance / spread**2
    tilts: dict[Sign, FloatArray] = {-1: 1.2 * natural[0] * _TILTS, 1: 0.9 * natural[1] * _TILTS}  # a longer tail above
    for _ in range(12):
        low, high = 1 - distance[0], 1 + distance[1]
        if not (low > 0.02 and high < _HIGHEST):
            return (
                f"at width {blank.width} the squared length strays too far: the tube would be ({low:.2f}, {high:.2f})"
            )
        certificate = replace(blank, low=float(low), high=float(high))
        grid = cells(certificate.low, certificate.high, blank.width)
        draft = Draft(replace(setting, certificate=certificate, tube=grid), moments, budget)
        found = [_escape(draft, sign, tilts[sign], wanted) for sign in tilts]
        needed, escapes = zip(*found, strict=True)
        if np.isfinite(needed).all():
            tilts = {sign: np.array([escape.tilt]) for sign, escape in zip(tilts, escapes, strict=True)}
        slack = distance / np.array(needed)
        if np.all((slack >= 1) & (slack < 1.03)):
            return draft.with_(escapes=escapes)
        distance = 1.01 * np.minimum(needed, 1.3 * distance)
    return f"no tube around 1 holds the squared length at width {blank.width}"


def _escape(draft: Draft, sign: Sign, tilts: FloatArray, wanted: float) -> tuple[float, Escape]:
    """The least distance from 1 that is exceeded seldom enough, and how."""
    found = []
    for tilt in map(float, tilts):
        escape = Escape(tilt, tuple(forward_tents(draft, Mixture((sign * tilt,), (0.0,)), most=40)))
        distance = (escape_log(draft.setting, escape, sign) - wanted) / tilt
        found.append((distance if np.isfinite(distance) else np.inf, escape))
    return min(found, key=lambda item: item[0])


def _limits(draft: Draft) -> Draft | str:
    """The tightest six limits that fail seldom enough, by bisection on all of them together."""
    m, wanted = draft.moments, draft.log_share("limit")
    square, reach = draft.setting.square, np.sqrt(draft.setting.square) * 2
    mixed = m.second_slope_second
    start = np.array([mixed, m.tilted_slope_second, m.slope_second, m.slope_second, m.chi, m.chi])
    far = np.array([square, square, 0.0, square, -reach, reach])
    near, beyond = np.zeros(6), np.full(6, 0.01)
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
    """Logarithms of the probabilities that the six limits fail, and their exponents."""
    candidate = _with_limits(draft, limits).certificate
    nodes = draft.setting.nodes
    logs, tilts = cramer(nodes, limit_functions(nodes, candidate), candidate.width, interior_lengths(candidate))
    return logs.max(axis=1), tilts


def _with_limits(draft: Draft, limits: FloatArray) -> Draft:
    names = ("a_high", "sigma_high", "z_low", "z_high", "gamma_low", "gamma_high")
    return draft.with_(**dict(zip(names, map(float, limits), strict=True)))


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
