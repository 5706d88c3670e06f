"""Search for the parameters of the deep bound for Gaussian weights, which `theory.bounds.gaussian.verifier` checks.

The order of `theory.bounds.search`: tube, limits, top, then each sign with the exponent that costs least.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.special import gammainccinv

from theory.activations.activation import NumericActivation
from theory.bounds.certificate import Certificate, Readout, Side
from theory.bounds.chains import MULTIPLES, bare, cheapest, downhill, feasible
from theory.bounds.draft import SHARES, Draft, blank_certificate, filled, interior_lengths
from theory.bounds.gaussian import verifier
from theory.bounds.gaussian.means import ONE, log_integrals, prepare, ratio_of
from theory.bounds.layer_means import Kernel
from theory.bounds.moments import Sign, bracket_costs
from theory.bounds.search import narrowest_tube
from theory.depth.coefficients import depth_coefficients, with_gaussian_weights
from theory.numerics.arithmetic import FloatArray

_TILTS = np.geomspace(0.02, 2.5, 48)  # Chernoff exponents in units of what a normal law would ask for
_WEIGHTS = np.geomspace(0.7, 6.0, 24)  # b in units of what the mean of the bracket asks for
_GAMMAS = 3
_BRACKET_TILTS = np.geomspace(1.1, 30.0, 30)  # in units of the horizon
_FLOOR_TILTS = np.array([0.7, 1.0, 1.5, 2.0, 3.0, 4.0])  # in units of lambda


def propose(
    activation: NumericActivation,
    width: int,
    depth: int,
    epsilon: float,
    readout: Readout,
    budget: float,
    near: Certificate | None = None,
    ratio: float | None = None,
) -> Certificate | str:
    """Propose a certificate, or say in words why there is none.

    Args:
        activation: phi, normalized.
        width, depth, epsilon, readout, budget, near: as for `theory.bounds.search.propose`.
        ratio: as for `theory.bounds.gaussian.verifier.verify`.
    """
    with np.errstate(all="ignore"):
        setting = prepare(blank_certificate(width, depth, epsilon, readout), activation, ratio)
        moments = with_gaussian_weights(depth_coefficients(activation))
        draft: Draft | str = Draft(setting, moments, budget, near)
        for step in (narrowest_tube, _limits, _top, _upper_side, _lower_side):
            if isinstance(draft, str):
                return draft
            draft = step(draft)
    return draft if isinstance(draft, str) else draft.certificate


def _upper_side(draft: Draft) -> Draft | str:
    return feasible(draft, 1, _upper, verifier.tail_log)


def _lower_side(draft: Draft) -> Draft | str:
    return feasible(draft, -1, _lower, verifier.tail_log)


def _limits(draft: Draft) -> Draft | str:
    """Four limits that fail about as rarely as they may; the horizon, which sigma_h depends on, comes first."""
    c, m, square = draft.certificate, draft.moments, draft.setting.square
    horizon = min(MULTIPLES[0] * draft.typical_exponent, 0.3 * c.width / square)
    draft = draft.with_(upper=replace(c.upper, horizon=float(horizon)), a_high=square, z_high=square)
    signs = {"sigma_high": 1, "z_low": -1, "gamma_low": -1, "gamma_high": 1}
    start = dict(zip(signs, (m.tilted_slope_second, m.slope_second, m.chi, m.chi), strict=True))
    tilts = [1.0] * 6
    for at, (index, name) in enumerate(zip((1, 2, 4, 5), signs, strict=True)):

        def moved(distance: float, name: str = name, draft: Draft = draft) -> Draft:
            limit = start[name] + signs[name] * distance
            return draft.with_(**{name: max(limit, 0.0) if name == "z_low" else limit})

        distance, tilts[index] = _kept(moved, at, draft.log_share("limit"))
        draft = moved(distance)
    return draft.with_(limit_tilts=tuple(tilts))


def _kept(moved: Callable[[float], Draft], at: int, wanted: float) -> tuple[float, float]:
    """The distance at which one limit fails as rarely as is wanted, and its exponent, by a secant in square roots."""

    def event(distance: float) -> tuple[Draft, FloatArray, float]:
        draft = moved(distance)
        return draft, *verifier.limit_functions(draft.setting)[at][2:]

    draft, psi, line = event(0.0)
    n, nodes, q = draft.certificate.width, draft.setting.nodes, interior_lengths(draft.certificate, 9)
    deviation = float(np.sqrt(np.exp(nodes.log_weight) @ (psi + line / n) ** 2 / n))
    distance, tilt = float(np.sqrt(-2 * wanted)) * deviation, 1.0
    for _ in range(12):
        draft, psi, line = event(distance)
        tilts = _TILTS * distance / (n * deviation**2)
        logs = n * log_integrals(nodes, tilts[:, None] * psi, q, n) + np.multiply.outer(tilts * line, q)
        best = int(np.argmin(logs.max(axis=1)))
        tilt = float(tilts[best])
        change = (np.sqrt(-wanted) - np.sqrt(max(-logs[best].max(), 0.0))) * np.sqrt(2) * deviation
        if abs(change) < 0.003 * distance:
            break
        distance = max(distance + change, 0.01 * deviation)
    return float(distance), tilt


def _top(draft: Draft) -> Draft | str:
    """How short d_L may be, or how long h_L for a readout of which nothing is known."""
    c, wanted = draft.certificate, float(np.log(SHARES["top"] * draft.budget))
    if c.readout.kind == "any" and ratio_of(draft.setting) is not None:
        return "for unequal widths the readout is random"
    if c.readout.kind == "any":
        return draft.with_(overlap=float(2 * gammainccinv(c.width / 2, np.exp(wanted)) / c.width - 1), top_tilt=0.1)
    if c.readout.kind != "random":
        return "for Gaussian weights the readout is random or any"
    slope = draft.setting.nodes.slope
    spread = 3 * float(np.exp(draft.setting.nodes.log_weight) @ (slope**2 - 1) ** 2) + 0.1
    for floor in np.linspace(0.98, 0.02, 49):
        tilts = np.minimum(_TILTS * (1 - floor) / spread, 0.49 / floor)
        logs = [verifier.top_floor(draft.with_(top_floor=float(floor), top_tilt=float(t)).setting) for t in tilts[::4]]
        if min(logs) <= wanted:
            return draft.with_(top_floor=float(floor), top_tilt=float(tilts[::4][int(np.argmin(logs))]))
    return f"at width {c.width} the gradient may vanish at the top"


def _upper(draft: Draft, exponent: float, _hint: Side | None) -> Draft | str:
    """The upper side: the b that costs least; one node, the tangent of the logarithm at the mean of the ratio."""
    c, m = draft.certificate, draft.moments
    ratio = ratio_of(draft.setting) or 1.0
    if ratio * m.chi**2 > 0.95:
        return f"an aligned gradient grows where the next layer is {ratio:.3g} times as wide"
    least = ratio * m.second_slope_second / (1 - ratio * m.chi**2)
    anchor = 1 + m.backward_noise * exponent / c.width
    rate = np.array([exponent / anchor])

    def priced(index: int) -> tuple[float, Side]:
        side = _bracketed(draft, float(_WEIGHTS[index] * least), rate)
        layer = verifier.upper_majorant(draft.setting, side, rate)
        cost = draft.setting.mapped(layer, [ONE], np.array([c.low, 1.0, c.high]))[0] @ (0.1, 0.8, 0.1)
        top = verifier.top_cost(draft.with_(upper=side).certificate, 1, exponent)
        return float(np.nan_to_num((c.depth - 1) * cost + top, nan=np.inf)), side

    side = downhill(priced, len(_WEIGHTS), len(_WEIGHTS) // 3)
    if side is None:
        return f"the bracket has no mean at width {c.width}"
    weight = np.array([exponent * np.log(exponent / rate[0]) - exponent + 1e-12])
    return draft.with_(upper=_filled(draft, 1, side, exponent, rate, weight))


def _bracketed(draft: Draft, b: float, rate: FloatArray) -> Side:
    """A side with the exponents at which its brackets cost least, for q = 1 and the ends of the tube."""
    c = draft.certificate
    side = replace(c.upper, b=b, horizon=float(rate[0]), bracket_tilts=(1.0,) * _GAMMAS)
    functions, lines = verifier.bracket_functions(draft.setting, side)
    tilts = _BRACKET_TILTS * rate[0] / (c.width * c.low * b)
    q = np.array([c.low, 1.0, c.high])
    psi = (tilts[:, None, None] * functions).reshape(-1, functions.shape[1])
    logs = c.width * log_integrals(draft.setting.nodes, psi, q, c.width).reshape(len(tilts), -1, 3)
    logs = (logs + tilts[:, None, None] * lines[:, None] * q).max(axis=2)
    loss = verifier.least_loss(draft.setting, side)
    logs = logs + bracket_costs(rate, tilts * c.width * c.low * b, loss)[0][:, None]
    return replace(
        side, bracket_tilts=tuple(float(tilts[i]) for i in np.argmin(np.nan_to_num(logs, nan=np.inf), axis=0))
    )


def _lower(draft: Draft, exponent: float, _hint: Side | None) -> Draft | str:
    """The lower side: the highest floor that E3 allows, and the exponentials that cost least."""
    c, s = draft.certificate, draft.setting
    tilts = _FLOOR_TILTS * exponent

    def costs(rates: FloatArray, q: FloatArray) -> FloatArray:
        exponents = verifier.lower_exponents(s, rates)
        return np.array([s.mapped(Kernel(np.zeros(1), row[None, :]), [ONE], q)[0].max() for row in exponents])

    floors = (draft.log_share("floor") - 1e-3 - costs(tilts, interior_lengths(c, 5))) / tilts
    floor, tilt = float(min(floors.max(), 0.98)), float(tilts[int(np.argmax(floors))])
    if floor < 0.02:
        return "no floor y0 under the ratio of two layers is kept with the probability that is wanted"
    horizon = max(1.5 * exponent / floor, tilt)
    rates = np.concatenate([[0.0], np.linspace(0.3 * exponent, horizon, 32)])
    found = cheapest(exponent, floor, rates, costs(rates, np.ones(1)))
    if found is None:
        return "no exponentials dominate the negative power"
    side = replace(c.lower, b=0.0, horizon=float(horizon), floor=floor, floor_tilt=tilt)
    return draft.with_(lower=_filled(draft, -1, side, exponent, *found[:2]))


def _filled(draft: Draft, sign: Sign, side: Side, exponent: float, rates: FloatArray, weights: FloatArray) -> Side:
    """The side with its chain."""
    chain = bare(exponent, rates, weights)
    return replace(side, chains=(filled(draft, sign, chain, verifier.layer_kernel(draft.setting, sign, side, chain)),))
