r"""The deep bound from a certificate: the only code that has to be trusted for it, and it fails closed.

For an activation and a `theory.bounds.certificate.Certificate` it evaluates the right-hand side of

.. math:: P\Big(\max_l |\log G_l| \ge \epsilon\Big) \le P(\text{bad}) + \sum_{m=1}^{L-1} \sum_\pm
          \min\Big(1, \min_\lambda e^{-\lambda\epsilon + \Lambda_\pm(\lambda, m)}\Big), \qquad
          G_l = \frac{|\partial E/\partial W_l|^2}{|\partial E/\partial W_L|^2}

(derived for this project, docs/deep-bound.md, whose names are used). A number that is not finite, an inversion that
does not settle or a condition that does not hold makes its term 1. Every supremum over q is bounded, not sampled
(`theory.bounds.layer_means`); integrals over one normal variable and the arithmetic are float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.special import betaincc, logsumexp

from theory.activations.activation import NumericActivation
from theory.bounds.certificate import Certificate, Chain, Escape, Side, Tent, defect
from theory.bounds.grid import Cells, Nodes, cells, gaussian_nodes
from theory.bounds.layer_means import Envelope, log_mean, log_pair_mean, tent_systems
from theory.errors import UsageError
from theory.layer.levy import Bound
from theory.normalization.lipschitz import lipschitz_constants
from theory.numerics.arithmetic import FloatArray

Sign = Literal[1, -1]
RIGOR = (
    "inequalities and suprema over q proved; numerical: Gauss rules over z, what lies at |z| > 14, frequencies beyond "
    "nine standard deviations, rounding in float64"
)
"""What is not proved is estimated, and makes its term 1 where the estimate is not small (docs/deep-bound.md)."""


SEARCHED = RIGOR + ", sup |phi'| by a search"
"""As above, where sup |phi'| has no proof."""


_GRID = 4001


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
    """

    terms: tuple[tuple[str, float], ...] = ()
    rigor: str = RIGOR
    certificate: Certificate | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """A certificate beside what its evaluation needs of the activation.

    Args:
        certificate: the parameters.
        nodes: a quadrature rule with phi and phi' on it.
        square: K^2, no less than phi'^2 on every sphere in question.
        certified: whether K is proved.
        tube: cells of q that cover the tube I.
    """

    certificate: Certificate
    nodes: Nodes
    square: float
    certified: bool
    tube: Cells


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
    try:
        reason = defect(certificate)
    except (TypeError, ValueError, AttributeError) as error:
        reason = f"the certificate is malformed: {error}"
    if reason:
        return DeepBound("deep", 0.0, reason, certificate=certificate)
    try:
        setting = prepare(certificate, activation)
    except UsageError as error:
        return DeepBound("deep", 0.0, str(error), certificate=certificate)
    with np.errstate(all="ignore"):
        # what is not a number, or says nothing, counts as probability 1
        terms = {name: float(log) if log < 0 else 0.0 for name, log in _terms(setting).items()}
    total = float(logsumexp(list(terms.values())))
    worst = max(terms, key=lambda name: terms[name])
    reason = "" if total < 0 else f"the term {worst!r} and the others add up to 1 or more"
    rigor = RIGOR if setting.certified else SEARCHED
    return DeepBound("deep", min(total, 0.0), reason, tuple(terms.items()), rigor, certificate)


def prepare(certificate: Certificate, activation: NumericActivation, highest: float | None = None) -> Setting:
    """Evaluate the activation for a certificate (see `Setting`), or for all whose tube ends below `highest`.

    Raises:
        UsageError: phi is not Lipschitz there, or too rough for the quadrature rule.
    """
    radius = float(np.sqrt(certificate.width * (highest or certificate.high)))
    lipschitz = lipschitz_constants(activation, radius)
    if not np.isfinite(lipschitz.slope):
        raise UsageError("phi is not Lipschitz on the spheres of the tube")
    nodes = gaussian_nodes(activation, radius, lipschitz.slope**2)
    grid = cells(certificate.low, certificate.high, certificate.width)
    return Setting(certificate, nodes, lipschitz.slope**2, lipschitz.certified, grid)


def _terms(s: Setting) -> dict[str, float]:
    """Logarithms of all terms of the bound."""
    c = s.certificate
    terms = tube(s) | conditions(s) | top(s)
    terms["floor of one layer"] = np.log(layers(c)) + floor_log(s)
    for (sign, side), name in zip(_sides(c), ("large gradients", "small gradients"), strict=True):
        moments = [log_moments(s, sign, side, chain) - chain.exponent * c.epsilon for chain in side.chains]
        logs = np.min(moments, axis=0)
        terms[name] = float(logsumexp(np.where(logs < 0, logs, 0.0)))  # a NaN counts as probability 1
    return terms


def layers(c: Certificate) -> int:
    """Number of layers whose pre-activation must be regular: all but the top one, unless its readout needs it too."""
    return c.depth if c.readout.kind == "aligned" else c.depth - 1


def tube(s: Setting) -> dict[str, float]:
    r"""E1: q_l leaves I at some layer l, the first to do so.

    .. math:: \sum_l P(q_l > 1 + \delta; q_{<l} \in I) \le e^{-\theta\delta} \sum_l (F^l e^{\theta(q-1)})(1)

    with F the mean over one layer, for starts within I; the same below.
    """
    below, above = s.certificate.escapes
    return {
        "tube, below": escape_log(s, below, -1) - below.tilt * (1 - s.certificate.low),
        "tube, above": escape_log(s, above, 1) - above.tilt * (s.certificate.high - 1),
    }


def escape_log(s: Setting, escape: Escape, sign: Sign) -> float:
    """log sum_l (F^l e^{+-theta (q - 1)})(1)."""
    functions = (Tent(sign * escape.tilt, 0.0), *escape.tents)
    costs = np.cumsum(forward_costs(s, functions[:-1], functions[1:]))
    total = layers(s.certificate)
    logs = np.concatenate([costs, np.full(max(total - len(costs), 0), costs[-1] + _peak(functions[-1], s.tube))])
    return float(logsumexp(logs[:total]))


def conditions(s: Setting) -> dict[str, float]:
    """E2 and E5: the seven limits and the two brackets, for all layers together."""
    c = s.certificate
    limits = np.array(c.limit_tilts)[:, None] * limit_functions(s.nodes, c)
    brackets = [np.array(side.bracket_tilts)[:, None] * bracket_functions(s, sign, side) for sign, side in _sides(c)]
    logs = suprema(s, np.concatenate([limits, *brackets])) + np.log(layers(c))
    if c.a_low == 0:
        logs[0] = -np.inf
    logs[2] += np.log(c.depth / layers(c))  # sigma_h is limited at the top too
    split = 7 + len(c.upper.bracket_tilts)
    names = ("a low", "a high", "sigma high", "z low", "z high", "gamma low", "gamma high")
    terms = {f"limit of {name}": float(log) for name, log in zip(names, logs[:7], strict=True)}
    valid = [kappa(s, side.horizon, side.b) > 0 for _, side in _sides(c)]
    terms["bracket, upper"] = float(logsumexp(logs[7:split])) if valid[0] else 0.0
    terms["bracket, lower"] = float(logsumexp(logs[split:])) if valid[1] else 0.0
    return terms


def _sides(c: Certificate) -> tuple[tuple[Sign, Side], tuple[Sign, Side]]:
    return (1, c.upper), (-1, c.lower)


def limit_functions(nodes: Nodes, c: Certificate) -> FloatArray:
    """The functions psi of the seven limits, each of which fails only if sum psi(h_i) >= 0; (7, K)."""
    forward, backward, square = nodes.value**2, nodes.slope**2, nodes.z**2
    both, mixed = forward * backward, nodes.value * nodes.slope * nodes.z
    return np.stack(
        [
            c.a_low * forward - both,
            both - c.a_high * forward,
            backward * square - c.sigma_high * square,
            c.z_low - backward,
            backward - c.z_high,
            c.gamma_low * square - mixed,
            mixed - c.gamma_high * square,
        ]
    )


def bracket_functions(s: Setting, sign: Sign, side: Side) -> FloatArray:
    """Minus the summand of E5, one for each gamma of the grid; the bracket fails only if one sum is >= 0."""
    c, n = s.certificate, s.certificate.width
    mean = (n * c.z_low - c.a_high) / (n - 1) if sign > 0 else n * c.z_high / (n - 1)
    count = len(side.bracket_tilts)
    gamma = np.linspace(c.gamma_low, c.gamma_high, count)[:, None]
    eta = (c.gamma_high - c.gamma_low) / (2 * (count - 1))
    value, slope, z = s.nodes.value, s.nodes.slope, s.nodes.z
    form = slope**2 * value**2 + side.b * (2 * gamma * value * slope * z - gamma**2 * z**2)
    gain = sign * (form - (1 + side.b) * mean * value**2)
    loss = 2 * side.horizon / kappa(s, side.horizon, side.b) * (slope**2 * value + side.b * gamma * slope * z) ** 2
    return np.asarray(gain + loss + eta**2 * abs(side.b) * z**2)


def kappa(s: Setting, t: float, b: float) -> float:
    """kappa'_t = n - 3 - 2 t K^2 - 2 t |b| sigma+."""
    return s.certificate.width - 3 - 2 * t * s.square - 2 * t * abs(b) * s.certificate.sigma_high


def log_alignment_cost(s: Setting, t: FloatArray, b: float) -> FloatArray:
    """log C_b(t) = -(1/2) log(1 - 2 t |b| sigma+/kappa_t); infinite where kappa'_t <= 0."""
    base = s.certificate.width - 3 - 2 * t * s.square
    share = 2 * t * abs(b) * s.certificate.sigma_high / base
    return np.where((base > 0) & (share < 1), -0.5 * np.log1p(-np.clip(share, None, 1)), np.inf)


def floor_log(s: Setting) -> float:
    """E3: Chernoff's bound on one layer falling below the floor, V_l < y0 V_{l+1}."""
    c = s.certificate
    t = c.lower.floor_tilt
    constant = t * c.lower.floor + lower_constants(s, np.array([t]), c.lower.b)[0]
    return float(constant + pair_supremum(s, -t / (c.width - 1)))


def pair_supremum(s: Setting, tau: float) -> float:
    """sup over I of log E exp(tau sum phi'(h_i)^2 w_i^2)."""
    psi = np.zeros((1, len(s.nodes.z)))
    return float(log_pair_mean(s.nodes, np.array([tau]), psi, s.certificate.width, s.tube).suprema()[0])


def top(s: Setting) -> dict[str, float]:
    """E4: what must be known at the top for |rho_L|^2 <= r2, apart from the conditions of the layers."""
    c = s.certificate
    if c.readout.kind == "any":
        return {}
    if c.readout.kind == "aligned":
        overlap = float(np.log(betaincc(0.5, (c.width - 2) / 2, c.overlap)))
        return {"top, overlap": overlap, "top, alignment": float(np.log(c.readout.exception))}
    overlap = float(np.log(betaincc(0.5, (c.width - 1) / 2, c.overlap)))
    return {"top, overlap": overlap, "top, floor": c.top_tilt * c.top_floor + pair_supremum(s, -c.top_tilt / c.width)}


def top_alignment(c: Certificate) -> float:
    """r2, a bound on |rho_L|^2 = A_L^2/P_L on the good event."""
    if c.readout.kind == "any":
        return 1.0
    if c.readout.kind == "random":
        return float(min(1.0, c.sigma_high * c.overlap / c.top_floor))
    alpha, gamma = c.readout.alignment, max(abs(c.gamma_low), abs(c.gamma_high))
    along = alpha * gamma * np.sqrt(c.high / c.low) + np.sqrt(c.overlap * c.sigma_high)
    return float(min(1.0, along**2 / (c.lower.floor * (1 + c.lower.b * alpha**2))))


def lower_constants(s: Setting, t: FloatArray, b: float) -> FloatArray:
    """log of C_b(t) e^{t a+/(n-1)}: what one layer costs beside the mean over a uniform direction."""
    return log_alignment_cost(s, t, b) + t * s.certificate.a_high / (s.certificate.width - 1)


def upper_constants(s: Setting, t: FloatArray, b: float) -> FloatArray:
    """log of C_b(t) e^{-t a-/(n-1)}."""
    return log_alignment_cost(s, t, b) - t * s.certificate.a_low / (s.certificate.width - 1)


def log_moments(s: Setting, sign: Sign, side: Side, chain: Chain) -> FloatArray:
    """Lambda(lambda, m) >= log E[G_l^{+-lambda}; good] for m = L - l = 1, ..., L-1; (L-1,)."""
    c, power = s.certificate, sign * chain.exponent
    if not dominates_power(chain, sign, side.floor):
        return np.full(c.depth - 1, np.inf)
    start = power * np.log1p(side.b * top_alignment(c))
    functions = (*chain.backward, chain.stationary)
    costs = [tent_supremum(-power, None, functions[0], s.tube)]
    inputs, outputs = (*functions[:-2], functions[-1]), functions[1:]
    means, weights = backward_means(s, sign, side, chain, inputs, s.tube)
    steps = means.suprema(weights, outputs)
    costs.extend(steps[:-1])
    change = tent_supremum(0.0, functions[-2], functions[-1], s.tube)
    early, reached = len(chain.backward), np.cumsum(costs)
    ends = [_forward_end(s, power, f, tents) for f, tents in zip(functions, chain.forward, strict=True)]
    logs = []
    for m in range(1, c.depth):
        if m < early:
            body, end = reached[m], ends[m]
        else:
            body, end = reached[-1] + change + (m - early + 1) * steps[-1], ends[-1]
        front = c.depth - 1 - m
        logs.append(start + body + (0.0 if front == 0 else end[min(front, len(end) - 1)]))
    return np.array(logs)


def _forward_end(s: Setting, power: float, f: Tent, tents: tuple[Tent, ...]) -> FloatArray:
    """Bounds on log (F^i q^power f)(1) for i = 0, ..., r, and last for every larger i; g_0, ..., g_r are `tents`."""
    first = tent_supremum(power, f, tents[0], s.tube)
    costs = np.cumsum([first, *forward_costs(s, tents[:-1], tents[1:])])
    return np.append(costs, costs[-1] + _peak(tents[-1], s.tube))


def dominates_power(chain: Chain, sign: Sign, floor: float) -> bool:
    r"""Whether sum_j w_j e^{+-t_j y} >= y^{+-lambda}, for all y >= 0 above, for y >= y0 below.

    Above, one node t with log w >= lambda log(lambda/t) - lambda (tangent to the logarithm). Below, the logarithm of
    the sum is convex in y and lambda log y concave, so on a cell [p, r] their total is at least the tangent of the
    first at p plus the chord of the second, least at p or at r; beyond the last cell the node t = 0 alone is enough.
    """
    rates, weights, power = np.array(chain.rates), np.array(chain.log_weights), chain.exponent
    if sign > 0:
        return len(rates) == 1 and bool(weights[0] >= power * np.log(power / rates[0]) - power)
    constant = weights[rates == 0]
    if len(constant) == 0:
        return False
    last = np.exp(-constant.max() / power)  # w_0 = y^-lambda there
    y = np.geomspace(floor, max(last, floor) * (1 + 1e-9), _GRID)
    logs = weights - rates * y[:, None]
    value = logsumexp(logs, axis=1)
    slope = -np.exp(logs - value[:, None]) @ rates
    left = value + power * np.log(y)
    right = value[:-1] + slope[:-1] * np.diff(y) + power * np.log(y[1:])
    return bool(np.all(left >= 0) and np.all(right >= 0))


def backward_means(
    s: Setting, sign: Sign, side: Side, chain: Chain, inputs: Sequence[Tent], grid: Cells
) -> tuple[Envelope, FloatArray]:
    """K f for several tents f, the step of the depth recursion of Lemma B, and the weights of its terms."""
    rates, width = np.array(chain.rates), s.certificate.width
    constants = (upper_constants if sign > 0 else lower_constants)(s, rates, side.b) + np.array(chain.log_weights)
    tau, psi, weights = tent_systems(s.nodes, width, sign * rates, constants, inputs)
    return log_pair_mean(s.nodes, tau, psi, width, grid), weights


def forward_means(s: Setting, inputs: Sequence[Tent], grid: Cells) -> tuple[Envelope, FloatArray]:
    """F f(q) = E[f(q_1) | q_0 = q] for several tents f, and the weights of its terms."""
    _, psi, weights = tent_systems(s.nodes, s.certificate.width, np.zeros(1), np.zeros(1), inputs)
    return log_mean(s.nodes, psi, s.certificate.width, grid), weights


def forward_costs(s: Setting, inputs: Sequence[Tent], outputs: Sequence[Tent]) -> FloatArray:
    """sup over q of log(F f_in/f_out) for several steps at once."""
    if not inputs:
        return np.empty(0)
    means, weights = forward_means(s, inputs, s.tube)
    return means.suprema(weights, outputs)


def suprema(s: Setting, psi: FloatArray) -> FloatArray:
    """sup over q of log E[exp(sum psi(h_i))] for several psi: Cramér's bounds on P(sum psi >= 0), tilts included."""
    return log_mean(s.nodes, psi, s.certificate.width, s.tube).suprema()


def tent_supremum(power: float, above: Tent | None, below: Tent, grid: Cells) -> float:
    """Bound on sup log(q^power f/g) over all cells, f = `above` (1 if None) and g = `below`."""
    low, high = _ends(grid)
    q = np.linspace(low, high, _GRID)
    logs = power * np.log(q) - below.log(q)
    if above is not None:
        logs += above.log(q)
    bow = max(power, 0.0) / low**2 + below.bend**2  # the second derivative is at least minus this
    return float(logs.max() + bow * (q[1] - q[0]) ** 2 / 8)


def _peak(f: Tent, grid: Cells) -> float:
    """sup log f, reached at an end of the interval since log f is convex."""
    return float(max(f.log(q) for q in _ends(grid)))


def _ends(grid: Cells) -> tuple[float, float]:
    return float(grid.centre[0] - grid.half[0]), float(grid.centre[-1] + grid.half[-1])
