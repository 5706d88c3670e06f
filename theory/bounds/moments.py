r"""The largest gradient of all layers by one maximal inequality: Lemmas A, D and E of docs/deep-bound.md, evaluated.

Given the forward pass the backward pass is a supermartingale, to which Ville's inequality applies (Lemma D); what is
left is the mean of a running maximum over a Markov chain, which Lindley's recursion bounds forward in time (Lemma E).
Part of the verifier: it has to be trusted, and what is not a number proves nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import gammaln, logsumexp

from theory.bounds.certificate import Certificate, Chain, Mixture, Side
from theory.bounds.grid import Cells, Nodes
from theory.bounds.layer_means import Kernel, point_means
from theory.layer.conditioning import log_chi_squared
from theory.numerics.arithmetic import FloatArray

Sign = Literal[1, -1]
_GRID = 4001


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """A certificate, and the activation evaluated for it.

    Args:
        certificate: the parameters.
        nodes: phi on a quadrature rule that reaches to sqrt(n q) for the largest q of the tube.
        square: K^2, no less than phi'^2 on |z| <= sqrt(n q).
        certified: whether K is proved.
        tube: cells that cover the tube I.
    """

    certificate: Certificate
    nodes: Nodes
    square: float
    certified: bool
    tube: Cells

    def costs(self, kernel: Kernel, inputs: Sequence[Mixture], outputs: Sequence[Mixture]) -> FloatArray:
        """sup over q in I of log(K f_in/f_out) for several steps at once."""
        if not inputs:
            return np.empty(0)
        means, weights = kernel.means(self.nodes, self.certificate.width, inputs, self.tube)
        return means.suprema(weights, outputs)

    def ladder(self, kernel: Kernel, functions: Sequence[Mixture], first: int, count: int) -> FloatArray:  # noqa: ARG002
        """0 and the sums of the first count - 1 of these suprema for the steps from each function to the next.

        The last function serves all further steps. The first step is over the layer L - `first`, the next over the one
        below it; here they are alike.
        """
        steps = self.costs(kernel, functions, (*functions[1:], functions[-1]))
        return np.concatenate([[0.0], np.cumsum(steps[np.minimum(np.arange(count - 1), len(steps) - 1)])])

    def mapped(self, kernel: Kernel, functions: Sequence[Mixture], q: FloatArray) -> FloatArray:
        """About log (K f)(q) for N functions f at Q single lengths, (N, Q): for a search, not for a bound."""
        psi, weights = kernel.systems(self.nodes, self.certificate.width, functions)
        logs = point_means(self.nodes, psi, self.certificate.width, q).reshape(*weights.shape, -1)
        return np.asarray(np.logaddexp.reduce(logs + weights[:, :, None], axis=1))


def identity(s: Setting) -> Kernel:
    """F f(q) = E[f(q_1) | q_0 = q]."""
    return Kernel(np.zeros(1), np.zeros((1, len(s.nodes.z))))


def variance_room(s: Setting, sign: Sign, side: Side, square: FloatArray | float) -> FloatArray:
    """1/v, v = omega max(1, 1/(1 - 2 c -+ 2 T s/(n - 1))) the bound on variances of a tilted direction, s = phi'^2."""
    line = 1 - 2 * side.spread_shift - 2 * sign * side.horizon / (s.certificate.width - 1) * np.asarray(square)
    return np.asarray(np.minimum(1.0, line) / side.spread)


def kappa(s: Setting, sign: Sign, side: Side) -> float:
    """kappa' = (n - 1)^2/n - 2 T |b| sigma+ sup v."""
    n = s.certificate.width
    room = min(float(variance_room(s, sign, side, end)) for end in (0.0, s.square))
    return (n - 1) ** 2 / n - 2 * side.horizon * abs(side.b) * s.certificate.sigma_high / (room if room > 0 else np.nan)


def log_alignment_cost(s: Setting, sign: Sign, side: Side, t: FloatArray) -> FloatArray:
    """log C_b(t) = -(1/2) log(1 - 2 t |b| sigma+ sup v n/(n - 1)^2); infinite where kappa' is not positive."""
    room = kappa(s, sign, side)
    share = t / side.horizon * (1 - room * s.certificate.width / (s.certificate.width - 1) ** 2)
    return np.where(room > 0, -0.5 * np.log1p(-np.clip(share, None, 1)), np.inf)


def direction_majorant(s: Setting, tau: FloatArray, shifts: FloatArray) -> Kernel:
    r"""A product over the neurons above the mean of :math:`e^{\tau w^T N w}` over directions w, :math:`|w|^2 = n`.

    .. math:: E_w e^{\tau w^T N w} \le \frac{\Gamma(n/4 - 1/2)}{4 \sqrt\pi\, \Gamma(n/4) f_n(n)} e^{-cn}
              \prod_i (1 - 2c - 2\tau s_i)^{-1/2 + 1/n}

    with f_n the chi-squared density; any c with positive factors works (docs/deep-bound.md, Lemma F).

    Args:
        s: the setting.
        tau, shifts: the rates and c, (R,) each.
    """
    n = s.certificate.width
    room = 1 - 2 * shifts[:, None] - 2 * tau[:, None] * s.nodes.slope**2
    allowed = 1 - 2 * shifts - 2 * np.maximum(tau * s.square, 0.0) > 0
    constants = np.where(allowed, log_modulus(n) - shifts * n, np.inf)
    return Kernel(constants, (1 / n - 0.5) * np.log(np.where(room > 0, room, 1.0)))


def log_modulus(n: int) -> float:
    """log Lambda, the constant of Lemma F."""
    return float(gammaln(n / 4 - 0.5) - gammaln(n / 4) - np.log(4 * np.sqrt(np.pi)) - log_chi_squared(n, 1.0))


def layer_majorant(s: Setting, sign: Sign, side: Side, rates: FloatArray, shifts: FloatArray) -> Kernel:
    r"""Lemma A: a kernel whose weights sum to more than :math:`E_v e^{\pm tY}` for each rate t.

    Of each rate first the product for a bracket that is not positive, then one term for each gamma of its grid:
    :math:`e^{tB_+} - 1 \le \sum_\gamma \frac{t}{\theta-t} (1 - t/\theta)^{\theta/t} e^{\theta B_\gamma}` for theta > t.
    """
    c, n, value = s.certificate, s.certificate.width, s.nodes.value
    tau = sign * rates / (n - 1)
    direction = direction_majorant(s, tau, shifts)
    length = c.high if sign > 0 else c.low
    along = -tau[:, None] / (n * length) * (s.nodes.slope * value) ** 2
    kept = np.array([within(s, sign, side, *pair) for pair in zip(tau, shifts, strict=True)])
    constants = direction.constants + np.where(kept, log_alignment_cost(s, sign, side, rates), np.inf)
    exponents, tilts = direction.exponents + along, np.array(side.bracket_tilts)
    slack = log_modulus(n) / float(rates.min(initial=np.inf, where=rates > 0))
    cost = bracket_costs(rates[rates > 0], tilts * n * c.low * (1 + side.b), least_loss(s, sign, side, slack))
    brackets = tilts[:, None] * bracket_functions(s, sign, side, slack)
    return Kernel(
        np.concatenate([constants, (constants[rates > 0][:, None] + cost).ravel()]),
        np.concatenate([exponents, (exponents[rates > 0][:, None] + brackets).reshape(-1, len(value))]),
    )


def bracket_costs(rates: FloatArray, theta: FloatArray, loss: float) -> FloatArray:
    r"""log c with :math:`\max_\pi e^{t(\pi B - \pi^2 \ell)} \le 1 + c e^{\theta B}` for all real B and 0 <= pi <= 1.

    For B >= 2 l the maximum is at pi = 1, and c that of a tangent; below it is :math:`e^{t B^2/(4 \ell)}`, bounded on
    small cells.

    Args:
        rates, theta: t, (R,), and theta, (T,).
        loss: l >= 0.

    Returns:
        (R, T); infinite where theta <= t.
    """
    t, theta, edges = rates[:, None], theta[None, :], np.linspace(0.0, 2 * loss, _GRID)
    with np.errstate(all="ignore"):
        far = np.maximum(loss - np.log1p(-t / theta) / t, 2 * loss)
        cost = np.log(np.expm1(t * (far - loss))) - theta * far
        if loss > 0:
            near = np.log(np.expm1(t[..., None] * edges[1:] ** 2 / (4 * loss))) - theta[..., None] * edges[:-1]
            cost = np.maximum(cost, near.max(axis=2))
    return np.asarray(np.where(t < theta, cost, np.inf))


def least_loss(s: Setting, sign: Sign, side: Side, slack: float) -> float:
    """l, below which the loss in a bracket is not where the bracket is positive (upper side; 0 on the lower)."""
    room, c = kappa(s, sign, side), s.certificate
    if sign < 0 or not room > 0:
        return 0.0
    p, w = 2 * side.horizon / room, (1 + side.b) * ((c.width * c.z_low - c.a_high) / (c.width - 1) - slack)
    return float(max((2 * p * w + 1 - np.sqrt(4 * p * w + 1)) / (2 * p), 0.0) / (1 + side.b)) if w > 0 else 0.0


def within(s: Setting, sign: Sign, side: Side, tau: float, shift: float) -> bool:
    """Whether the variances 1/(1 - 2c - 2 tau s) of a tilted direction are within their bound v(s) on [0, K^2].

    1/v is the smaller of the constant 1/omega and a line. Where 1 - 2c - 2 tau s is below the constant, an interval,
    it must lie above the line: to be compared at the ends.
    """
    ends = np.array([0.0, s.square])
    if not np.all(1 - 2 * shift - 2 * tau * ends >= variance_room(s, sign, side, ends)):
        return False
    meets = (1 - 1 / side.spread - 2 * shift) / (2 * tau) if tau else -1.0  # the constant
    return not 0 < meets < s.square or bool(variance_room(s, sign, side, meets) < 1 / side.spread)


def bracket_functions(s: Setting, sign: Sign, side: Side, slack: float = 0.0) -> FloatArray:
    """S with (1 + b) |x|^2 (B + slack) <= max S, B the bracket: the summands, one for each gamma of the grid."""
    c, n = s.certificate, s.certificate.width
    count = len(side.bracket_tilts)
    gamma = np.linspace(c.gamma_low, c.gamma_high, count)[:, None]
    eta = (c.gamma_high - c.gamma_low) / (2 * (count - 1))
    value, slope, z = s.nodes.value, s.nodes.slope, s.nodes.z
    limit = (n * c.z_low - c.a_high) / (n - 1) if sign > 0 else n * c.z_high / (n - 1)
    mean = (n * slope**2 - (c.a_high if sign > 0 else 0.0)) / (n - 1)
    form = slope**2 * value**2 + side.b * (2 * gamma * value * slope * z - gamma**2 * z**2)
    gain = sign * (form - (1 + side.b) * (limit * value**2 + c.low * (mean - limit)))
    room = kappa(s, sign, side)
    price = 2 * side.horizon / (room if room > 0 else np.nan) / variance_room(s, sign, side, slope**2)
    loss = price * (slope**2 * value + side.b * gamma * slope * z) ** 2
    return np.asarray(gain + loss + eta**2 * abs(side.b) * z**2 + (1 + side.b) * slack * value**2)


def top_alignment(c: Certificate) -> float:
    """r2, a bound on |rho_L|^2 = A_L^2/P_L on the good event."""
    if c.readout.kind == "any":
        return 1.0
    if c.readout.kind == "random":
        return float(min(1.0, c.sigma_high * c.overlap / c.top_floor))
    alpha, gamma = c.readout.alignment, max(abs(c.gamma_low), abs(c.gamma_high))
    along = alpha * gamma * np.sqrt(c.high / c.low) + np.sqrt(c.overlap * c.sigma_high)
    return float(min(1.0, along**2 / (c.lower.floor * (1 + c.lower.b * alpha**2))))


def top_cost(s: Setting, sign: Sign, side: Side, exponent: float) -> float:
    """log of a bound on the mean of (1 + b rho_L^2)^{+-lambda}; without a random readout the worst case."""
    c, worst = s.certificate, top_alignment(s.certificate)
    if c.readout.kind != "random":
        return float(sign * exponent * np.log1p(side.b * worst))
    steepest = 1.0 if sign > 0 else 1 / (1 + side.b * worst)
    share = 2 * exponent * abs(side.b) * steepest * c.sigma_high / (c.top_floor * c.width)
    return float(-0.5 * np.log1p(-share)) if share < 1 else np.inf


def layer_kernel(s: Setting, sign: Sign, side: Side, chain: Chain) -> Kernel:
    """K of Lemma E: its terms sum to Mbar, a majorant of the mean of what dominates Y^{+-lambda}."""
    rates, weights = np.array(chain.rates), np.array(chain.log_weights)
    layer = layer_majorant(s, sign, side, rates, np.array(chain.shifts))
    repeated = np.repeat(weights[rates > 0], len(side.bracket_tilts))
    return Kernel(layer.constants + np.concatenate([weights, repeated]), layer.exponents)


def log_maximum(s: Setting, power: float, chain: Chain, kernel: Kernel) -> float:
    """The logarithm of a bound on E[max_l X_l; good] over the layers l < L, by Lemma E.

    Args:
        s: the setting.
        power: lambda, with the sign of the side.
        chain: the dominating functions.
        kernel: K, whose first terms are those of the rates.
    """
    c, shapes, reflection = s.certificate, chain.functions, chain.reflection
    start = power_supremum(-power, None, shapes[0], s.tube)
    levels = start + s.ladder(kernel, shapes, 1, c.depth)
    bare = levels[-1] + _last(shapes, c.depth - 1).log(1.0)
    if c.depth == 2:
        return float(bare)
    total = _log_sum(s, power, chain, levels, float(bare))
    g, a = reflection.functions, reflection.power
    rises = s.ladder(kernel.inverse_power(a, np.array(reflection.shares)), g, 2, c.depth - 1)
    lacks = np.array([power_supremum((1 + a) * power, f, h, s.tube) for f, h in zip(shapes[1:], g, strict=True)])
    k = np.arange(1, c.depth - 1)  # a g_k >= f_k where the maximum is taken
    needed = levels[k] - rises[k - 1] - np.log(a) + lacks[np.minimum(k, len(g)) - 1]
    maximum = np.logaddexp(bare, needed.max() + rises[-1] + _last(g, c.depth - 2).log(1.0))
    return float(np.fmin(maximum, total))


def _log_sum(s: Setting, power: float, chain: Chain, levels: FloatArray, bare: float) -> float:
    """The logarithm of a bound on E[sum_l X_l; good] by G_k = f_k + F G_{k-1}, G_k at most e^{level} H_k."""
    shapes, sums, depth = chain.functions, chain.sums, s.certificate.depth
    excess = np.array([power_supremum(power, f, h, s.tube) for f, h in zip(shapes[1:], sums, strict=True)])
    steps = np.diff(s.ladder(identity(s), sums, 2, depth - 1))  # from H_k to H_{k+1}
    level = levels[1] + excess[0]
    for k in range(2, depth):
        level += steps[k - 2]
        if k < depth - 1:
            level = np.logaddexp(level, levels[k] + excess[min(k, len(sums)) - 1])
    return float(np.logaddexp(bare, level + _last(sums, depth - 2).log(1.0)))


def _last(functions: Sequence[Mixture], k: int) -> Mixture:
    return functions[min(k, len(functions) - 1)]


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


def power_supremum(power: float, above: Mixture | None, below: Mixture, grid: Cells) -> float:
    """Bound on sup log(q^power f/g) over all cells, f = `above` (1 if None) and g = `below`."""
    low, high = ends(grid)
    q = np.linspace(low, high, _GRID)
    logs = power * np.log(q) - below.log(q)
    if above is not None:
        logs = logs + above.log(q)
    bow = max(power, 0.0) / low**2 + below.bow  # the second derivative is at least minus this
    return float(logs.max() + bow * (q[1] - q[0]) ** 2 / 8)


def ends(grid: Cells) -> tuple[float, float]:
    """The ends of the interval that the cells cover."""
    return float(grid.centre[0] - grid.half[0]), float(grid.centre[-1] + grid.half[-1])
