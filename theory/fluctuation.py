r"""Fluctuations of gradient norms over depth: the limit of wide networks with a fixed ratio of depth to width.

To first order in 1/sqrt(n), with eta_l = q_l - 1 the squared length above its fixed point,

    eta_l = chi eta_{l-1} + xi_l,      log(|d_l|^2/|e_l|^2) = kappa eta_{l-1} + nu_l,

where (xi_l, nu_l) are normal and independent over the layers, with n Var xi = sf, n Var nu = sb, n Cov = cx. So

    log G_l = sum_{j=l}^{L-1} (kappa eta_{j-1} + nu_j) + log q_{l-1} - log q_{L-1},   G_l = |dE/dW_l|^2/|dE/dW_L|^2

is a normal vector with covariances of order L/n, and a mean of the same order from the second-order terms (derived for
this project, docs/fluctuation-law.md). It is a prediction with an error of relative order 1/n and L/n^2, not a bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr, ndtri, ndtri_exp

from theory.activation import FloatArray, NumericActivation
from theory.errors import UsageError
from theory.gaussian import Functional, expectations

PATHS = 4000
"""Paths of the normal process from which a crossing probability is estimated, to about 2 %."""

_MOST_LAYERS = 300  # at which the maximum over layers is looked for
_NORMALIZED = 1e-6  # how far E phi^2 and E phi'^2 may be from 1
_MARGINAL = 1e-9  # |chi| this close to 1 counts as 1


@dataclass(frozen=True, slots=True)
class FluctuationCoefficients:
    r"""Gaussian expectations that govern fluctuations over depth, with s = phi'^2 and z standard normal.

    Args:
        chi: :math:`\frac12 E\phi^2(z^2-1)`, the slope of the length map.
        kappa: :math:`\frac12 E s(z^2-1)`, the slope of E s as a function of the length.
        forward: sf = :math:`Var\,\phi^2 - 2\chi^2`.
        backward: sb = :math:`3\,Var\,s - 2\kappa^2`.
        cross: cx = :math:`E\phi^2 s - 1 - 2\chi\kappa`.
        alignment: c = :math:`E\phi^2 s - 1`.
        forward_bias: Q2 = :math:`E[\phi^2 He_4]/4`.
        backward_bias: S2 = :math:`E[s He_4]/4`.
        second_moment, slope_second_moment: E phi^2 and E s, both 1 for a normalized phi.
        error: largest estimated error of these.
    """

    chi: float
    kappa: float
    forward: float
    backward: float
    cross: float
    alignment: float
    forward_bias: float
    backward_bias: float
    second_moment: float
    slope_second_moment: float
    error: float

    @property
    def rate(self) -> float:
        r"""v, the variance of a log gradient ratio per layer times n: :math:`sb + 2r\,cx + r^2 sf`, r = kappa/(1-chi)."""
        ratio = self.kappa / (1 - self.chi)
        return self.backward + 2 * ratio * self.cross + ratio**2 * self.forward

    @property
    def obstacle(self) -> str:
        """Why the normal law does not apply, empty if it does."""
        if not np.isfinite(self.error):
            return "the coefficients of the fluctuation law are not finite"
        if max(abs(self.second_moment - 1), abs(self.slope_second_moment - 1)) > _NORMALIZED + self.error:
            return "the activation is not normalized: lengths and gradients drift at first order"
        if abs(abs(self.chi) - 1) <= _MARGINAL:
            return "chi = 1: squared lengths diffuse and do not settle"
        if abs(self.chi) > 1:
            return f"|chi| = {abs(self.chi):.6g} > 1: squared lengths leave 1, there is no stationary law"
        return ""


_FUNCTIONALS: dict[str, Functional] = {
    "second": lambda _z, value, _slope: value**2,
    "slope_second": lambda _z, _value, slope: slope**2,
    "chi": lambda z, value, _slope: 0.5 * value**2 * (z * z - 1),
    "kappa": lambda z, _value, slope: 0.5 * slope**2 * (z * z - 1),
    "fourth": lambda _z, value, _slope: value**4,
    "slope_fourth": lambda _z, _value, slope: slope**4,
    "mixed": lambda _z, value, slope: (value * slope) ** 2,
    "forward_bias": lambda z, value, _slope: 0.25 * value**2 * (z**4 - 6 * z * z + 3),
    "backward_bias": lambda z, _value, slope: 0.25 * slope**2 * (z**4 - 6 * z * z + 3),
}


def fluctuation_coefficients(activation: NumericActivation) -> FluctuationCoefficients:
    """The coefficients of the fluctuation law of an activation, in float64.

    Args:
        activation: phi, normalized; for one that is not, `FluctuationCoefficients.obstacle` says so.

    >>> import sympy
    >>> from theory.activation import Activation, X
    >>> relu = fluctuation_coefficients(Activation("relu", sympy.sqrt(2) * sympy.Max(X, 0)))
    >>> round(relu.chi, 9), round(relu.backward, 9), relu.obstacle
    (1.0, 3.0, 'chi = 1: squared lengths diffuse and do not settle')
    """
    found = expectations(activation, _FUNCTIONALS)
    mean = {name: estimate.value for name, estimate in found.items()}
    chi, kappa, alignment = mean["chi"], mean["kappa"], mean["mixed"] - 1
    return FluctuationCoefficients(
        chi=chi,
        kappa=kappa,
        forward=mean["fourth"] - mean["second"] ** 2 - 2 * chi**2,
        backward=3 * (mean["slope_fourth"] - mean["slope_second"] ** 2) - 2 * kappa**2,
        cross=alignment - 2 * chi * kappa,
        alignment=alignment,
        forward_bias=mean["forward_bias"],
        backward_bias=mean["backward_bias"],
        second_moment=mean["second"],
        slope_second_moment=mean["slope_second"],
        error=max(estimate.error for estimate in found.values()),
    )


@dataclass(frozen=True, slots=True, eq=False)
class FluctuationLaw:
    """A normal law over the layers of a network.

    Args:
        layers: l, ascending, array (k,); all of 1..L, or some of them in a very deep network.
        mean: of the logarithms, array (k,).
        covariance: of the logarithms, array (k, k).
    """

    layers: FloatArray
    mean: FloatArray
    covariance: FloatArray

    @property
    def variance(self) -> FloatArray:
        """Array (k,)."""
        return np.diagonal(self.covariance).copy()

    def bands(self, probabilities: Sequence[float]) -> FloatArray:
        """Quantiles of each layer's logarithm, array (k, len(probabilities))."""
        return self.mean[:, None] + np.sqrt(self.variance)[:, None] * ndtri(np.asarray(probabilities, dtype=float))


def log_ratio_law(coefficients: FluctuationCoefficients, width: int, depth: int) -> FluctuationLaw:
    r"""Law of the log gradient ratios :math:`\log G_l` of the layers l < L, for a random readout and q_0 = 1.

    .. math:: \log G_l = \sum_{j=l}^{L-1} (\kappa \eta_{j-1} + \nu_j) + \log q_{l-1} - \log q_{L-1}

    (derived for this project, docs/fluctuation-law.md.)

    Args:
        coefficients: of the activation.
        width: n >= 2.
        depth: L >= 2.

    Raises:
        UsageError: a width or depth below 2, or an activation to which the law does not apply (its `obstacle`).
    """
    _check(coefficients, width, depth)
    layers = _spread_layers(depth - 1)
    return _law(coefficients, width, depth, layers, last=depth - 1, top=True)


def log_norm_law(coefficients: FluctuationCoefficients, width: int, depth: int) -> FluctuationLaw:
    r"""Law of :math:`\log(\|\partial E/\partial W_l\|_F^2/n)` for the layers l = 1..L, if :math:`|\partial E/\partial x_L| = 1`.

    .. math:: \sum_{j=l}^{L} (\kappa \eta_{j-1} + \nu_j) + \log q_{l-1}

    (derived for this project, docs/fluctuation-law.md), for a random readout and q_0 = 1.

    Args:
        coefficients, width, depth: as for `log_ratio_law`, from depth 1 on.
    """
    _check(coefficients, width, max(depth, 2))
    return _law(coefficients, width, depth, _spread_layers(depth), last=depth, top=False)


def _check(coefficients: FluctuationCoefficients, width: int, depth: int) -> None:
    if width < 2 or depth < 2:
        raise UsageError(f"width and depth must be at least 2, not {width} and {depth}")
    if coefficients.obstacle:
        raise UsageError(f"the fluctuation law does not apply: {coefficients.obstacle}")


def _spread_layers(last: int) -> FloatArray:
    return np.unique(np.round(np.linspace(1, last, min(last, _MOST_LAYERS))))


def _law(
    c: FluctuationCoefficients, width: int, depth: int, layers: FloatArray, last: int, top: bool
) -> FluctuationLaw:
    """The normal law of the sum up to layer `last`, with log q_{L-1} taken off if `top`."""
    forward, backward = _loadings(c, depth, layers, last, top)
    cross = forward @ backward.T
    covariance = c.forward * forward @ forward.T + c.backward * backward @ backward.T + c.cross * (cross + cross.T)
    means = _means(c, depth, last, top)
    return FluctuationLaw(layers, means[layers.astype(int) - 1] / width, covariance / width)


def _loadings(
    c: FluctuationCoefficients, depth: int, layers: FloatArray, last: int, top: bool
) -> tuple[FloatArray, FloatArray]:
    """What the noises xi_i and nu_i of the layers i = 1..L contribute, arrays (k, L) each."""
    i, layer = np.arange(1.0, depth + 1), layers[:, None]
    above = _geometric(c.chi, last - i) * c.kappa + np.zeros_like(layer)
    below = _power(c.chi, layer - 1 - i) * (c.kappa * _geometric(c.chi, last - layer + 1) + 1)
    forward = np.where(i >= layer, above, below)
    if top:
        forward = forward - _power(c.chi, depth - 1 - i)
    return forward, ((i >= layer) & (i <= last)).astype(np.float64)


def _power(chi: float, exponent: FloatArray) -> FloatArray:
    """chi^k, 0 for negative k."""
    return np.where(exponent >= 0, np.sign(chi) ** exponent * np.abs(chi) ** np.maximum(exponent, 0.0), 0.0)


def _geometric(chi: float, terms: FloatArray) -> FloatArray:
    """1 + chi + ... with so many terms, 0 for none."""
    return (1 - _power(chi, np.maximum(terms, 0.0))) / (1 - chi)


def _means(c: FluctuationCoefficients, depth: int, last: int, top: bool) -> FloatArray:
    """n times the means of the layers 1..last, from the second-order terms, array (last,)."""
    variance, bias = np.zeros(depth), np.zeros(depth)  # n Var q_l and n E eta_l, l = 0..L-1
    for layer in range(1, depth):
        variance[layer] = c.chi**2 * variance[layer - 1] + c.forward
        bias[layer] = c.chi * bias[layer - 1] + c.forward_bias * (variance[layer - 1] / 2 - 1)
    steps = (
        c.kappa * bias
        + c.backward_bias * (variance / 2 - 1)
        + (alignments(c, depth) - 1) * c.alignment
        - (c.kappa**2 * variance + c.backward) / 2
    )[:last]
    log_length = bias - variance / 2
    return np.cumsum(steps[::-1])[::-1] + log_length[:last] - (log_length[depth - 1] if top else 0.0)


def alignments(coefficients: FluctuationCoefficients, depth: int) -> FloatArray:
    r"""n times the mean squared cosine between the backward and the forward signal at each layer, to first order.

    .. math:: A_L = 1, \qquad A_l = \chi^2 A_{l+1} + 1 + 2\kappa - \chi^2

    Args:
        coefficients: of the activation.
        depth: L.

    Returns:
        A_1, ..., A_L, array (L,).

    >>> import sympy
    >>> from theory.activation import Activation, X
    >>> relu = fluctuation_coefficients(Activation("relu", sympy.sqrt(2) * sympy.Max(X, 0)))
    >>> bool(np.allclose(alignments(relu, 3), 1))  # <e, x> is conserved, by Euler
    True
    """
    found = np.ones(depth)
    step = 1 + 2 * coefficients.kappa - coefficients.chi**2
    for layer in range(depth - 2, -1, -1):
        found[layer] = coefficients.chi**2 * found[layer + 1] + step
    return found


def aligned_profile(coefficients: FluctuationCoefficients, depth: int) -> FloatArray:
    r"""Squared norms of the backward signal of an aligned readout e_L = x_L, in an infinitely wide network.

    .. math:: |e_{l-1}|^2 = B_l |e_l|^2, \quad B_l = 1 + c\,\alpha_l^2, \quad \alpha_L^2 = 1, \quad
              \alpha_{l-1}^2 = \chi^2 \alpha_l^2 / B_l

    (derived for this project, docs/fluctuation-law.md): the readout sees the signal, and its share decays.

    Args:
        coefficients: of the activation.
        depth: L.

    Returns:
        |e_l|^2 / |e_L|^2 for l = 0..L, array (L + 1,).

    >>> import sympy
    >>> from theory.activation import Activation, X
    >>> relu = fluctuation_coefficients(Activation("relu", sympy.sqrt(2) * sympy.Max(X, 0)))
    >>> round(float(aligned_profile(relu, 50)[0]), 6)
    51.0
    """
    profile, share = np.ones(depth + 1), 1.0
    for layer in range(depth, 0, -1):
        growth = 1 + coefficients.alignment * share
        profile[layer - 1] = profile[layer] * growth
        share *= coefficients.chi**2 / growth
    return profile


def log_spread_probability(
    law: FluctuationLaw, epsilon: float, rng: np.random.Generator | None = None, paths: int = PATHS
) -> float:
    r"""Logarithm of the probability that some layer's logarithm leaves [-epsilon, epsilon].

    .. math:: P(\max_l |S_l| \ge \epsilon) = \sum_l p_l\; E\Bigl[\frac1{\#\{k : |S_k| \ge \epsilon\}} \Bigm|
              |S_l| \ge \epsilon,\ l \sim p_l\Bigr], \qquad p_l = P(|S_l| \ge \epsilon)

    (importance sampling of Adler, Blanchet and Liu 2012, Annals of Applied Probability 22, 1167-1214), whose relative
    error is about 1/sqrt(paths) however small the probability is.

    Args:
        law: of the logarithms.
        epsilon: > 0.
        rng: where the paths come from; by default always the same ones.
        paths: how many.

    Raises:
        UsageError: a tolerance that is not positive.

    >>> from scipy.stats import norm
    >>> one = FluctuationLaw(np.array([1.0]), np.array([0.0]), np.array([[4.0]]))
    >>> bool(np.isclose(np.exp(log_spread_probability(one, 2.0)), 2 * norm.sf(1.0)))
    True
    """
    if not epsilon > 0:
        raise UsageError(f"epsilon must be a positive number, not {epsilon}; try 0.5")
    rng = np.random.default_rng(0) if rng is None else rng
    deviation = np.sqrt(np.maximum(law.variance, 1e-300))
    ends = np.stack([(epsilon - law.mean) / deviation, (epsilon + law.mean) / deviation])  # above, below
    logs = log_ndtr(-ends)
    total = float(np.logaddexp.reduce(logs, axis=None))
    side, layer = np.unravel_index(rng.choice(logs.size, size=paths, p=np.exp(logs - total).ravel()), logs.shape)
    beyond = -ndtri_exp(np.log(rng.random(paths)) + logs[side, layer])
    values, vectors = np.linalg.eigh(law.covariance)
    free = rng.standard_normal((paths, len(values))) @ (np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T)
    target = np.where(side == 0, 1.0, -1.0) * deviation[layer] * beyond
    row = np.arange(paths)
    slopes = law.covariance[layer] / law.variance[layer][:, None]
    drawn = law.mean + free + slopes * (target - free[row, layer])[:, None]
    drawn[row, layer] = np.where(side == 0, np.maximum(drawn[row, layer], epsilon), np.minimum(drawn[row, layer], -epsilon))
    counts = (np.abs(drawn) >= epsilon).sum(axis=1)
    return min(0.0, total + float(np.log(np.mean(1 / counts))))
