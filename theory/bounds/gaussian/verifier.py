r"""The deep bound for Gaussian weights from a certificate: the code that has to be trusted, and it fails closed.

.. math:: P\Big(\max_l |\log G_l| \ge \epsilon\Big) \le P(\text{bad}) + \sum_\pm \min_\lambda
          e^{-\lambda\epsilon} T_\pm \big(f_{L-1}(1) + g_{L-1}(1)\big)

for independent weights N(0, 1/n) (derived for this project, docs/gaussian-deep-bound.md, whose names are used). Of a
`theory.bounds.certificate.Certificate` it uses what this theorem needs: the weight b of the upper side alone, and four
of the six limits.
"""

from functools import partial

import numpy as np
from scipy.special import gammaincc

from theory.activations.activation import NumericActivation
from theory.bounds.certificate import Certificate, Chain, Side
from theory.bounds.gaussian.means import ONE, LinedKernel, prepare, ratio_of
from theory.bounds.layer_means import Kernel
from theory.bounds.moments import Setting, Sign, bracket_costs, dominates_power, log_maximum
from theory.bounds.verifier import DeepBound, escape_log, layers, summed, tube
from theory.numerics.arithmetic import FloatArray

RIGOR = (
    "Gaussian weights; inequalities and suprema over q proved; numerical: Gauss rules over h, what lies at |h| > 14, "
    "rounding in float64"
)


def verify(certificate: Certificate, activation: NumericActivation, ratio: float | None = None) -> DeepBound:
    """Evaluate the deep bound for Gaussian weights that a certificate proposes.

    Args:
        certificate: from `theory.bounds.gaussian.search` or from anywhere else.
        activation: phi, Lipschitz.
        ratio: None for layers of one width; else r >= 1, for all chains with widths n_1, ..., n_L of at least the
            certificate's and n_(l+1) <= r n_l, and a random readout.

    Returns:
        `DeepBound`; one with log 0 and a reason where the certificate proves nothing.

    A doctest is with `theory.bounds.deep.deep_bound`.
    """
    return summed(certificate, activation, partial(prepare, ratio=ratio), _terms, RIGOR)


def _terms(s: Setting) -> dict[str, float]:
    """Logarithms of all terms of the bound."""
    c = s.certificate
    terms = tube(s, escape_log) | conditions(s) | {"top": top(s) if c.readout.kind == "any" else top_floor(s)}
    terms["floor of one layer"] = np.log(layers(c)) + floor_log(s)
    return terms | {"large gradients": tail_log(s, 1, c.upper), "small gradients": tail_log(s, -1, c.lower)}


def conditions(s: Setting) -> dict[str, float]:
    """E2: the four limits, for all layers together; sigma_h is limited at the top too."""
    c = s.certificate
    found = {}
    for name, tilt, psi, line in limit_functions(s):
        event = LinedKernel(np.zeros(1), tilt * psi[None, :], np.array([tilt * line]))
        count = c.depth if name == "sigma high" else layers(c)
        found[f"limit of {name}"] = float(np.log(count) + s.costs(event, (ONE,), (ONE,))[0])
    return found


def limit_functions(s: Setting) -> list[tuple[str, float, FloatArray, float]]:
    """The limits: name, Chernoff exponent, psi and k; each fails only if sum psi(h_i) + k q >= 0."""
    c, z, slope = s.certificate, s.nodes.z, s.nodes.slope
    mixed, n = s.nodes.value * slope * z, c.width
    _, sigma, low, _, first, last = c.limit_tilts
    return [
        ("sigma high", sigma, slope**2 * z**2 / upper_room(s, c.upper), -c.sigma_high * n),
        ("z low", low, c.z_low - slope**2, 0.0),
        ("gamma low", first, -mixed, c.gamma_low * n),
        ("gamma high", last, mixed, -c.gamma_high * n),
    ]


def upper_room(s: Setting, side: Side) -> FloatArray:
    """1 - 2 T s/n at the nodes; not a number where it is not positive for every slope."""
    rate = 2 * side.horizon / s.certificate.width
    return np.where(rate * s.square < 1, 1 - rate * s.nodes.slope**2, np.nan)


def top_floor(s: Setting) -> float:
    r"""E4, random readout: :math:`P(|D e_L|^2 < p |e_L|^2) \le \sup_q (E (1 + 2t(s - p))^{-1/2})^n`."""
    c = s.certificate
    room = 1 + 2 * c.top_tilt * (s.nodes.slope**2 - c.top_floor)
    if not 2 * c.top_tilt * c.top_floor < 1:
        return np.inf
    return float(s.costs(Kernel(np.zeros(1), -0.5 * np.log(room)[None, :]), (ONE,), (ONE,))[0])


def top(s: Setting) -> float:
    """E4, any readout: |h_L|^2 > r2 n q_(L-1), chi-squared; not for unequal widths."""
    c = s.certificate
    return np.inf if ratio_of(s) is not None else float(np.log(gammaincc(c.width / 2, c.width * (1 + c.overlap) / 2)))


def top_cost(c: Certificate, sign: Sign, exponent: float) -> float:
    """log of a bound on the mean of (1 + b rho_L^2)^lambda above; 0 below, where b = 0."""
    if sign < 0:
        return 0.0
    if c.readout.kind == "any":
        return float(exponent * np.log1p(c.upper.b * (1 + c.overlap)))
    share = 2 * exponent * c.upper.b * c.sigma_high / (c.top_floor * c.width)
    return float(-0.5 * np.log1p(-share)) if c.readout.kind == "random" and share < 1 else np.inf


def floor_log(s: Setting) -> float:
    """E3: Chernoff's bound on one layer falling below the floor, P_l < y0 P_(l+1)."""
    side = s.certificate.lower
    layer = Kernel(np.zeros(1), lower_exponents(s, np.array([side.floor_tilt])))
    return float(side.floor_tilt * side.floor + s.costs(layer, (ONE,), (ONE,))[0])


def lower_exponents(s: Setting, rates: FloatArray) -> FloatArray:
    r"""Lemma A below: :math:`E e^{-tY} \le \prod_i (1 + 2ts_i/n)^{-1/2} e^{t s_i \phi_i^2/(n^2(1 - d_0))}`, (R, K)."""
    n, square, t = s.certificate.width, s.nodes.slope**2, rates[:, None]
    return np.asarray(t * square * s.nodes.value**2 / (n**2 * s.certificate.low) - 0.5 * np.log1p(2 * t * square / n))


def upper_majorant(s: Setting, side: Side, rates: FloatArray) -> LinedKernel:
    """Lemma A above: of each rate t > 0 first the product for a bracket that is not positive, then the brackets."""
    c, n, value, slope = s.certificate, s.certificate.width, s.nodes.value, s.nodes.slope
    square, mixed, t = slope**2, value * slope * s.nodes.z, rates[:, None]
    kept = ratio_of(s) is None  # the gain by an aligned part that is not drawn: it falls with the width
    middle = 0.5 * (c.gamma_low + c.gamma_high) / c.high * kept
    along = (square * value**2 + 2 * side.b * middle * mixed) / (n * c.high) * kept
    room = np.where(2 * t / n * s.square < 1, 1 - 2 * t / n * square, np.nan)
    plain = -0.5 * np.log(room) - t / n * along
    constants = rates / n * side.b * middle**2 - 0.5 * np.log(1 - 2 * rates / n * side.b * c.sigma_high)
    tilts = np.array(side.bracket_tilts)
    cost = bracket_costs(rates, tilts * n * c.low * side.b, least_loss(s, side))
    functions, lines = bracket_functions(s, side)
    return LinedKernel(
        np.concatenate([constants, (constants[:, None] + cost).ravel()]),
        np.concatenate([plain, (plain[:, None] + tilts[:, None] * functions).reshape(-1, len(value))]),
        np.concatenate([np.zeros(len(rates)), np.tile(tilts * lines, len(rates))]),
    )


def price(s: Setting, side: Side) -> float:
    """2T/n over 1 - 2 T b sigma+/n; not a number where that is not positive."""
    rate = 2 * side.horizon / s.certificate.width
    room = 1 - rate * side.b * s.certificate.sigma_high
    return rate / room if room > 0 else np.nan


def least_loss(s: Setting, side: Side) -> float:
    """l, below which the loss in a bracket is not where the bracket is positive; 0 for unequal widths."""
    c = s.certificate
    if ratio_of(s) is not None:
        return 0.0
    p, w = price(s, side) / (1 + side.b / c.width) ** 2, side.b * c.z_low
    return float((2 * p * w + 1 - np.sqrt(4 * p * w + 1)) / (2 * p * side.b)) if p * w > 0 else 0.0


def bracket_functions(s: Setting, side: Side) -> tuple[FloatArray, FloatArray]:
    """S and k with b |x|^2 B <= max (sum S + k q), B the bracket: (gammas, K) and (gammas,)."""
    c, n, value, slope, z = s.certificate, s.certificate.width, s.nodes.value, s.nodes.slope, s.nodes.z
    gamma = np.linspace(c.gamma_low, c.gamma_high, len(side.bracket_tilts))[:, None]
    eta = (c.gamma_high - c.gamma_low) / (2 * (len(side.bracket_tilts) - 1))
    square, mixed = slope**2, value * slope * z
    mean = c.z_low * value**2 + c.low * (square - c.z_low)
    loss = price(s, side) * (square * value + side.b * gamma * slope * z) ** 2 / upper_room(s, side)
    r = ratio_of(s) or 1.0
    form = (r + side.b / n) * square * value**2 + 2 * r * side.b * gamma * mixed - side.b * mean
    return form + r * loss, r * side.b * n * (eta**2 - gamma[:, 0] ** 2)


def layer_kernel(s: Setting, sign: Sign, side: Side, chain: Chain) -> Kernel:
    """K of Lemma E: its terms sum to Mbar, a majorant of the mean of what dominates Y^{+-lambda}."""
    rates, weights = np.array(chain.rates), np.array(chain.log_weights)
    if sign < 0:
        return Kernel(weights, lower_exponents(s, rates))
    layer = upper_majorant(s, side, rates)
    repeated = np.repeat(weights, len(side.bracket_tilts))
    return LinedKernel(layer.constants + np.concatenate([weights, repeated]), layer.exponents, layer.lines)


def tail_log(s: Setting, sign: Sign, side: Side) -> float:
    """Lemma D: the logarithm of a bound on P(max_l +-log G_l >= epsilon; good)."""
    found = [np.inf]
    for chain in side.chains:
        if dominates_power(chain, sign, side.floor):
            start = top_cost(s.certificate, sign, chain.exponent) - chain.exponent * s.certificate.epsilon
            kernel = layer_kernel(s, sign, side, chain)
            found.append(start + log_maximum(s, sign * chain.exponent, chain, kernel))
    return float(np.min(found))
