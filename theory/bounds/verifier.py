r"""The deep bound from a certificate: the only code that has to be trusted for it, and it fails closed.

For an activation and a `theory.bounds.certificate.Certificate` it evaluates the right-hand side of

.. math:: P\Big(\max_l |\log G_l| \ge \epsilon\Big) \le P(\text{bad}) + \sum_\pm \min_\lambda
          e^{-\lambda\epsilon} T_\pm \big(f_{L-1}(1) + g_{L-1}(1)\big), \qquad
          G_l = \frac{|\partial E/\partial W_l|^2}{|\partial E/\partial W_L|^2}

(derived for this project, docs/deep-bound.md, whose names are used). A number that is not finite, an inversion that
does not settle or a condition that does not hold makes its term 1. Every supremum over q is bounded, not sampled
(`theory.bounds.layer_means`), the mean of the running maximum by `theory.bounds.moments`; integrals over one normal
variable and the arithmetic are float64.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

import numpy as np
from scipy.special import betaincc, logsumexp

from theory.activations.activation import NumericActivation
from theory.bounds.certificate import LIMITS, Certificate, Escape, Mixture, Side, defect
from theory.bounds.grid import Nodes, cells, gaussian_nodes
from theory.bounds.layer_means import log_mean
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
from theory.errors import UsageError
from theory.layer.levy import Bound
from theory.normalization.lipschitz import lipschitz_constants
from theory.numerics.arithmetic import FloatArray

RIGOR = (
    "inequalities and suprema over q proved; numerical: Gauss rules over z, what lies at |z| > 14, frequencies beyond "
    "nine standard deviations, rounding in float64"
)
"""What is not proved is estimated, and makes its term 1 where the estimate is not small (docs/deep-bound.md)."""


LIMIT_TERMS = tuple(f"limit of {name.replace('_', ' ')}" for name in LIMITS)
"""The terms of E2 in a bound."""
SEARCHED = ", sup |phi'| by a search"
"""What is added where sup |phi'| has no proof."""


@dataclass(frozen=True, slots=True)
class DeepBound(Bound):
    """An upper bound on P(max_l |log G_l| >= epsilon) over the layers of a whole network.

    Args:
        kind: "deep".
        log: natural logarithm of the bound; 0 where it says nothing.
        reason: why it says nothing, else empty.
        terms: name -> natural logarithm of each term of the sum.
        rigor: what of it is proved and what is numerical.
        certificate: the parameters, None if there are none.
        document: the same as a file that `gpn verify-certificate` reads, of a certified bound.
    """

    terms: tuple[tuple[str, float], ...] = ()
    rigor: str = RIGOR
    certificate: Certificate | None = field(default=None, repr=False)
    document: dict[str, Any] | None = field(default=None, repr=False)


def verify(certificate: Certificate, activation: NumericActivation) -> DeepBound:
    """Evaluate the deep bound that a certificate proposes.

    Args:
        certificate: from `theory.bounds.search` or from anywhere else.
        activation: phi, locally Lipschitz.

    Returns:
        `DeepBound`; one with log 0 and a reason where the certificate proves nothing. Never an exception for a bad
        certificate.

    A doctest is with `theory.bounds.deep.deep_bound`.
    """
    return summed(certificate, activation, prepare, _terms, RIGOR)


def summed(
    certificate: Certificate,
    activation: NumericActivation,
    prepared: Callable[[Certificate, NumericActivation], Setting],
    terms_of: Callable[[Setting], dict[str, float]],
    rigor: str,
) -> DeepBound:
    """Add up the terms of a deep bound; whatever is wrong is a reason.

    Args:
        certificate, activation: as for `verify`.
        prepared: evaluates the activation for the certificate.
        terms_of: the logarithms of the terms by name.
        rigor: what is proved where sup |phi'| is.
    """
    try:
        reason = defect(certificate)
    except (TypeError, ValueError, AttributeError) as error:
        reason = f"the certificate is malformed: {error}"
    if reason:
        return DeepBound("deep", 0.0, reason, certificate=certificate)
    try:
        setting = prepared(certificate, activation)
    except UsageError as error:
        return DeepBound("deep", 0.0, str(error), certificate=certificate)
    try:
        with np.errstate(all="ignore"):
            # what is not a number, or says nothing, counts as probability 1
            terms = {name: float(log) if log < 0 else 0.0 for name, log in terms_of(setting).items()}
    except (ArithmeticError, TypeError, ValueError) as error:
        return DeepBound("deep", 0.0, f"the certificate cannot be evaluated: {error}", certificate=certificate)
    total = float(logsumexp(list(terms.values())))
    worst = max(terms, key=lambda name: terms[name])
    reason = "" if total < 0 else f"the term {worst!r} and the others add up to 1 or more"
    rigor = rigor if setting.certified else f"{rigor}{SEARCHED}"
    return DeepBound("deep", min(total, 0.0), reason, tuple(terms.items()), rigor, certificate)


def prepare(certificate: Certificate, activation: NumericActivation, highest: float | None = None) -> Setting:
    """Evaluate the activation for a certificate (see `Setting`), or for all whose tube ends below `highest`.

    Raises:
        UsageError: phi is not Lipschitz there, or too rough for the quadrature rule.
    """
    radius = float(np.sqrt(certificate.width * (highest or certificate.high)))
    # rounded up: neighbouring widths share what takes longest, and all of it remains true for a smaller sphere
    nodes, certified = evaluated(cast(Hashable, activation), float(2 ** (np.ceil(2 * np.log2(radius)) / 2)))
    grid = cells(certificate.low, certificate.high, certificate.width)
    return Setting(certificate, nodes, nodes.slope_bound, certified, grid)


@lru_cache(maxsize=16)
def evaluated(activation: Hashable, radius: float, reach: float | None = None) -> tuple[Nodes, bool]:
    """phi on nodes that reach to a radius, with K^2 there or within another reach, and whether that is proved."""
    phi = cast(NumericActivation, activation)
    lipschitz = lipschitz_constants(phi, reach or radius)
    if not np.isfinite(lipschitz.slope):
        raise UsageError("phi is not Lipschitz where pre-activations may lie")
    return gaussian_nodes(phi, radius, lipschitz.slope * lipschitz.slope), lipschitz.certified


def _terms(s: Setting) -> dict[str, float]:
    """Logarithms of all terms of the bound."""
    c = s.certificate
    terms = tube(s, escape_log) | conditions(s) | top(s)
    terms["floor of one layer"] = np.log(layers(c)) + floor_log(s)
    for (sign, side), name in zip(_sides(c), ("large gradients", "small gradients"), strict=True):
        terms[name] = float(np.min([tail_log(s, sign, side, index) for index in range(len(side.chains))]))
    return terms


def tail_log(s: Setting, sign: Sign, side: Side, index: int = 0) -> float:
    """Lemma D: the logarithm of a bound on P(max_l +-log G_l >= epsilon; good) with one of the exponents."""
    chain = side.chains[index]
    if not dominates_power(chain, sign, side.floor):
        return np.inf
    start = top_cost(s, sign, side, chain.exponent) - chain.exponent * s.certificate.epsilon
    return float(start + log_maximum(s, sign * chain.exponent, chain, layer_kernel(s, sign, side, chain)))


def layers(c: Certificate) -> int:
    """Number of layers whose pre-activation must be regular: all but the top one, unless its readout needs it too."""
    return c.depth if c.readout.kind == "aligned" else c.depth - 1


def tube(s: Setting, escape: Callable[[Any, Escape, Sign], float]) -> dict[str, float]:
    r"""E1: q_l leaves I at some layer l, the first to do so.

    .. math:: \sum_l P(q_l > 1 + \delta; q_{<l} \in I) \le e^{-\theta\delta} \sum_l (F^l e^{\theta(q-1)})(1)

    with F the mean over one layer, for starts within I; the same below.

    Args:
        s: the certificate and phi.
        escape: the logarithm of the last sum: `escape_log` for layers that are alike.
    """
    below, above = s.certificate.escapes
    return {
        "tube, below": escape(s, below, -1) - below.tilt * (1 - s.certificate.low),
        "tube, above": escape(s, above, 1) - above.tilt * (s.certificate.high - 1),
    }


def escape_log(s: Setting, escape: Escape, sign: Sign) -> float:
    """log sum_l (F^l e^{+-theta (q - 1)})(1) over l = 1, ..., L - 1; to L where the readout needs q_L too."""
    first = Mixture((sign * escape.tilt,), (0.0,))
    lead = s.costs(identity(s), (first,), escape.functions[:1])
    costs = np.cumsum([*lead, *s.costs(identity(s), escape.functions[:-1], escape.functions[1:])])
    logs = costs + [float(f.log(1.0)) for f in escape.functions]  # of q_1, q_2, ...
    total = layers(s.certificate)
    rest = costs[-1] + _peak(s, escape.functions[-1])
    return float(logsumexp(np.concatenate([logs, np.full(max(total - len(logs), 0), rest)])[:total]))


def conditions(s: Setting) -> dict[str, float]:
    """E2: the six limits, for all layers together."""
    c = s.certificate
    logs = suprema(s, np.array(c.limit_tilts)[:, None] * limit_functions(s.nodes, c)) + np.log(layers(c))
    logs[1] += np.log(c.depth / layers(c))  # sigma_h is limited at the top too
    return dict(zip(LIMIT_TERMS, map(float, logs), strict=True))


def _sides(c: Certificate) -> tuple[tuple[Sign, Side], tuple[Sign, Side]]:
    return (1, c.upper), (-1, c.lower)


def limit_functions(nodes: Nodes, c: Certificate) -> FloatArray:
    """The functions psi of the six limits, each of which fails only if sum psi(h_i) >= 0; (6, K)."""
    forward, backward, square = nodes.value**2, nodes.slope**2, nodes.z**2
    both, mixed = forward * backward, nodes.value * nodes.slope * nodes.z
    return np.stack(
        [
            both - c.a_high * forward,
            backward * square - c.sigma_high * square,
            c.z_low - backward,
            backward - c.z_high,
            c.gamma_low * square - mixed,
            mixed - c.gamma_high * square,
        ]
    )


def floor_log(s: Setting) -> float:
    """E3: Chernoff's bound on one layer falling below the floor, V_l < y0 V_{l+1}."""
    side = s.certificate.lower
    layer = layer_majorant(s, -1, side, np.array([side.floor_tilt]), np.array([side.floor_shift]))
    return float(side.floor_tilt * side.floor + logsumexp(suprema(s, layer.exponents) + layer.constants))


def top(s: Setting) -> dict[str, float]:
    """E4: what must be known at the top for |rho_L|^2 <= r2, apart from the conditions of the layers."""
    c = s.certificate
    if c.readout.kind == "any":
        return {}
    if c.readout.kind == "aligned":
        overlap = float(np.log(betaincc(0.5, (c.width - 2) / 2, c.overlap)))
        return {"top, overlap": overlap, "top, alignment": float(np.log(c.readout.exception))}
    overlap = float(np.log(betaincc(0.5, (c.width - 1) / 2, c.overlap)))
    floor = direction_majorant(s, np.array([-c.top_tilt / c.width]), np.array([c.top_shift]))
    return {
        "top, overlap": overlap,
        "top, floor": c.top_tilt * c.top_floor + float((floor.constants + suprema(s, floor.exponents))[0]),
    }


def suprema(s: Setting, psi: FloatArray) -> FloatArray:
    """sup over q of log E[exp(sum psi(h_i))] for several psi: Cramér's bounds on P(sum psi >= 0), tilts included."""
    return log_mean(s.nodes, psi, s.certificate.width, s.tube).suprema()


def _peak(s: Setting, f: Mixture) -> float:
    """sup log f, reached at an end of the tube since log f is convex."""
    return float(max(f.log(q) for q in ends(s.tube)))
