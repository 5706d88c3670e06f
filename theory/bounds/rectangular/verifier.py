r"""The deep bound for semi-orthogonal layers of unequal widths, from a certificate; it fails closed.

The certificate is one for square layers. Its width is that for which its free numbers were chosen, and no layer may be
narrower; every inequality is evaluated for each layer as it is (derived for this project,
docs/rectangular-deep-bound.md).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
from scipy.special import betainc, betaincc, logsumexp

from theory.activations.activation import NumericActivation
from theory.bounds.certificate import Certificate, Chain, Escape, Mixture, Side
from theory.bounds.grid import cells
from theory.bounds.layer_means import Kernel, log_mean
from theory.bounds.moments import (
    Setting,
    Sign,
    direction_majorant,
    dominates_power,
    ends,
    identity,
    layer_kernel,
    layer_majorant,
    log_maximum,
    top_cost,
)
from theory.bounds.rectangular.layers import ChainSetting, Kind, Layered, Limits, kinds_of
from theory.bounds.verifier import LIMIT_TERMS, RIGOR, DeepBound, limit_functions, prepare, summed, tube
from theory.errors import UsageError
from theory.numerics.arithmetic import FloatArray

_ONE = Mixture((0.0,), (0.0,))
LENGTHS = "lengths before the activation"


def verify(
    certificate: Certificate, activation: NumericActivation, widths: Sequence[int], limits: Sequence[Limits] = ()
) -> DeepBound:
    """Evaluate the deep bound that a certificate proposes for a chain of layers.

    Args:
        certificate: with the depth of the chain and a width that none of n_1, ..., n_L is below.
        activation: phi, locally Lipschitz.
        widths: n_0, ..., n_L.
        limits: for the kinds of layers in the order in which they come; by default those of the certificate.

    Returns:
        `DeepBound`; one with log 0 and a reason where the certificate proves nothing.

    A doctest is with `theory.bounds.rectangular.bound.chain_bound`.
    """
    return summed(certificate, activation, partial(prepared, widths=widths, limits=limits), _terms, RIGOR)


def prepared(
    certificate: Certificate, activation: NumericActivation, widths: Sequence[int], limits: Sequence[Limits] = ()
) -> ChainSetting:
    """Evaluate the activation for a certificate and a chain.

    Raises:
        UsageError: phi is not Lipschitz there or too rough, or the certificate is not one for these widths.
    """
    c = certificate
    if len(widths) != c.depth + 1 or min(widths[1:]) < c.width or widths[0] < 1:
        raise UsageError("the certificate is for another depth or for wider layers")
    if c.readout.kind not in ("random", "any"):
        raise UsageError("for unequal widths the readout is random or any")
    widest = max(widths)
    square = prepare(replace(c, width=widest), activation)
    layers = kinds_of(widths)
    kinds, tube = tuple(dict.fromkeys(layers)), cells(c.low, c.high, widest)
    limits = tuple(limits) or (Limits.of(c),) * len(kinds)
    if len(limits) != len(kinds) or not all(_admissible(part) for part in limits):
        raise UsageError("the limits do not fit the layers")
    return ChainSetting(c, square.nodes, square.square, square.certified, tube, layers, kinds, limits)


def _admissible(limits: Limits) -> bool:
    """Whether the limits are numbers in their order, six of them, with positive exponents."""
    numbers = (limits.low, limits.high, limits.brackets, *limits.values, *limits.tilts)
    if not len(limits.values) == len(limits.tilts) == 6 or not np.isfinite(numbers).all():
        return False
    a, sigma, z_low, z_high, gamma_low, gamma_high = limits.values
    ordered = 0 < limits.low <= limits.high and 0 <= z_low <= z_high and gamma_low <= gamma_high
    return ordered and min(a, sigma) >= 0 and min(*limits.tilts, limits.brackets) > 0


def _terms(s: Setting) -> dict[str, float]:
    """Logarithms of all terms of the bound."""
    s = cast(ChainSetting, s)
    c = s.certificate
    terms = tube(s, escape_levels) | conditions(s) | top(s)
    terms["floor of one layer"] = np.log(c.depth - 1) + floor_log(s)
    return terms | {"large gradients": tail_log(s, 1, c.upper), "small gradients": tail_log(s, -1, c.lower)}


def escape_levels(s: ChainSetting, escape: Escape, sign: Sign) -> float:
    """E1: log of the sum over l < L of the means of f_0(q_l), each chain of functions over its own layers."""
    first, functions, index = Mixture((sign * escape.tilt,), (0.0,)), escape.functions, s.index
    parts = [s.table(identity(s), (first,), functions[:1])]
    if len(functions) > 1:
        parts.append(s.table(identity(s), functions[:-1], functions[1:]))
    table, peak = np.concatenate(parts, axis=1), float(max(functions[-1].log(q) for q in ends(s.tube)))
    logs = []
    for last in range(s.certificate.depth - 1):  # l - 1; f_j comes after the layers l, l - 1, ..., l - j + 1
        count = min(last + 1, table.shape[1])
        cost = float(table[index[last - np.arange(count)], np.arange(count)].sum())
        logs.append(cost + (float(functions[last].log(1.0)) if last < table.shape[1] else peak))
    return float(logsumexp(logs))


def conditions(s: ChainSetting) -> dict[str, float]:
    """E2: |h_l|^2/n_l and the six limits, for each layer by its kind, the last included."""
    found: dict[str, list[float]] = {LENGTHS: []}
    for kind, limits in zip(s.kinds, s.limits, strict=True):
        count = float(np.log(s.layers.count(kind)))
        found[LENGTHS].append(count + _stretch_log(s.certificate, kind, limits))
        psi = np.array(limits.tilts)[:, None] * limit_functions(s.nodes, limits.put(s.certificate))
        longest = min(limits.high, s.certificate.high * (kind.width + kind.free) / kind.width)  # |h_l|^2 <= m_l q
        logs = log_mean(s.nodes, psi, kind.width, cells(limits.low, longest, kind.width)).suprema()
        for name, log in zip(LIMIT_TERMS, logs, strict=True):
            found.setdefault(name, []).append(count + float(log))
    return {name: float(logsumexp(logs)) for name, logs in found.items()}


def _stretch_log(c: Certificate, kind: Kind, limits: Limits) -> float:
    """log P(|h|^2/n outside its limits), at most, for q in I: a Beta variable times (n + free)/n."""
    least, most = limits.low / c.low, limits.high / c.high
    if not kind.free:
        return -np.inf if least <= 1 <= most else 0.0
    share, shape = kind.width / (kind.width + kind.free), (kind.width / 2, kind.free / 2)
    return float(np.log(betainc(*shape, min(share * least, 1.0)) + betaincc(*shape, min(share * most, 1.0))))


def top(s: ChainSetting) -> dict[str, float]:
    """E4: what must be known at the top of a random readout, whose direction has n_L coordinates."""
    c, last = s.certificate, s.layers[-1]
    if c.readout.kind == "any":
        return {}
    inside = replace(s, certificate=replace(c, width=last.width))
    shift = np.array([c.top_shift * c.width / last.width])
    floor = direction_majorant(inside, np.array([-c.top_tilt / last.width]), shift)
    mean = log_mean(s.nodes, floor.exponents, last.width, s.tube, last.free).suprema()
    return {
        "top, overlap": float(np.log(betaincc(0.5, (last.width - 1) / 2, c.overlap))),
        "top, floor": c.top_tilt * c.top_floor + float((floor.constants + mean)[0]),
    }


def majorants(s: ChainSetting, sign: Sign, side: Side, rates: FloatArray, shifts: FloatArray) -> Layered:
    """Lemma A for each kind of layer."""
    return s.each(
        sign,
        side,
        lambda inside, here, factor, shrunk: layer_majorant(inside, sign, here, factor * rates, shrunk * shifts),
    )


def kernels(s: ChainSetting, sign: Sign, side: Side, chain: Chain) -> Layered:
    """K of Lemma E for each kind of layer."""

    def kernel(inside: Setting, here: Side, factor: float, shrunk: float) -> Kernel:
        rates = tuple(factor * rate for rate in chain.rates)
        tilts = tuple(shrunk * shift for shift in chain.shifts)
        return layer_kernel(inside, sign, here, replace(chain, rates=rates, shifts=tilts))

    return s.each(sign, side, kernel)


def floor_log(s: ChainSetting) -> float:
    """E3: Chernoff's bound on one layer falling below the floor, V_l < y0 V_{l+1}."""
    side = s.certificate.lower
    layer = majorants(s, -1, side, np.array([side.floor_tilt]), np.array([side.floor_shift]))
    return float(side.floor_tilt * side.floor + s.costs(layer, (_ONE,), (_ONE,))[0])


def tail_log(s: ChainSetting, sign: Sign, side: Side) -> float:
    """Lemma D: the logarithm of a bound on P(max_l +-log G_l >= epsilon; good)."""
    found, last = [np.inf], s.limits[s.kinds.index(s.layers[-1])]
    inside = replace(s, certificate=last.put(s.certificate))  # sigma_h at the top has the limit of that layer
    for chain in side.chains:
        if dominates_power(chain, sign, side.floor):
            start = top_cost(inside, sign, side, chain.exponent) - chain.exponent * s.certificate.epsilon
            found.append(start + log_maximum(s, sign * chain.exponent, chain, kernels(s, sign, side, chain)))
    return float(np.min(found))
