"""How much gradients fluctuate in a network whose layers differ in width, gain, bias and activation: a prediction.

The fluctuation law of `theory.depth.fluctuation` without its square layers and its fixed point: each layer responds to
deviations of the squared length at the variance that its own pre-activations have. Derivation: docs/fluctuation-law.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import special

from theory.activations.activation import steps
from theory.depth.absorption import brownian_exit, brownian_level
from theory.depth.coefficients import DepthCoefficients, NoPrediction, depth_coefficients
from theory.errors import UsageError
from theory.initialization.path import Layer
from theory.numerics.arithmetic import FloatArray

_SMALLEST_LENGTH = 1e-150
_SOURCES = 4  # of each layer: the length of W x + b, of phi(h), of phi'(h) * e, and of W^T d
_LARGEST_LENGTH_NOISE = 0.06  # as in `theory.depth.fluctuation`
_LARGEST_NOISE = 0.1
_CALIBRATED = 0.5
_MOST_DRAWS, _LEAST_DRAWS, _NUMBERS, _CHUNK = 2**19, 2**15, 2**25, 2**12
_RARE = 1e-3  # a probability below this is that of the sum over layers


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ShapedLaw:
    r"""Asymptotic law of :math:`H_l = \log (|\partial E/\partial W_l|_F^2 / n_{l-1})` for a random readout, |e_L| = 1.

    The gradient is that for the matrix :math:`g_l W_l` of the layer.

    Args:
        mean: E H_l with its terms of order 1/n, array (L,).
        factor: H - E H = factor g for independent standard normal numbers g, array (L, sources).
        largest_noise: the largest variance of a squared length, or of what one layer does to a backward signal.
        squared_lengths: q_0, ..., q_L in the limit of infinite width.
    """

    mean: FloatArray
    factor: FloatArray
    largest_noise: float
    squared_lengths: FloatArray

    def __repr__(self) -> str:
        return f"ShapedLaw(depth={len(self.mean)})"

    @property
    def variance(self) -> FloatArray:
        """Var H_l, array (L,)."""
        return np.asarray((self.factor**2).sum(axis=1))

    def bands(self, probabilities: Sequence[float]) -> FloatArray:
        r"""Quantiles of :math:`\log (|\partial E/\partial W_l|_F / \sqrt{n_{l-1}})`, array (L, probabilities)."""
        z = special.ndtri(np.asarray(probabilities))
        return np.asarray((self.mean[:, None] + np.sqrt(self.variance)[:, None] * z) / 2)

    def spread_probability(self, epsilon: float) -> float:
        r"""Probability that the gradient of some layer is off that of the top layer by a factor.

        .. math:: P(\max_l |H_l - H_L| \ge \epsilon)

        From half a million draws of the normal law with a fixed seed, fewer for more than 64 layers; where the union
        over the layers is below 1e-3, that.

        Args:
            epsilon: natural logarithm of the factor between squared norms, > 0.
        """
        mean, factor = self.mean - self.mean[-1], self.factor - self.factor[-1]
        deviations = np.sqrt((factor**2).sum(axis=1))[:-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            tails = [special.ndtr((sign * mean[:-1] - epsilon) / deviations) for sign in (-1, 1)]
        union = float(np.nan_to_num(np.sum(tails)))
        if union < _RARE:
            return union
        rng, outside = np.random.default_rng(0), 0
        triangle = np.asarray(
            np.linalg.qr(factor[:-1].T, mode="r")
        ).T  # the same law from as many normal numbers as layers
        for _ in range(self._draws // _CHUNK):
            moves = triangle @ rng.standard_normal((triangle.shape[1], _CHUNK))
            outside += int((np.abs(moves + mean[:-1, None]).max(axis=0) >= epsilon).sum())
        return outside / self._draws

    @property
    def _draws(self) -> int:
        return int(np.clip(_NUMBERS // len(self.mean), _LEAST_DRAWS, _MOST_DRAWS)) // _CHUNK * _CHUNK

    def margin(self, probability: float) -> tuple[float, float]:
        r"""The probabilities that a prediction allows for, as `theory.depth.fluctuation.prediction_margin` does.

        .. math:: z \mapsto z e^{\pm\delta}, \qquad \delta = c\, \omega (1 + z^2)

        with the largest noise :math:`\omega`, and four standard errors of the draws. c = 1/2 was calibrated on square
        layers of normalized activations; the shapes of benchmarks/shapes.py need 0.32 at most.
        """
        level = brownian_level(float(np.clip(probability, 1e-300, 1 - 1e-16)))
        delta = min(_CALIBRATED * self.largest_noise * (1 + level**2), 1.0)
        low, high = (brownian_exit(level * np.exp(sign * delta)) for sign in (1, -1))
        drawn = probability >= _RARE
        error = 4 * drawn * np.sqrt(probability * (1 - probability) / self._draws) + 1e-9
        return max(min(low, probability) - error, 0.0), float(min(max(high, probability) + error, 1.0))


def shaped_law(
    layers: Sequence[Layer], widths: Sequence[int], *, orthogonal: bool = True, start: float = 1.0
) -> ShapedLaw | NoPrediction:
    r"""Law of the gradient norm of every layer of a network with widths, gains, biases and activations of its own.

    With :math:`q_l` the squared length per neuron and :math:`p_l = F_l q_{l-1} + \sigma_l^2`, where
    :math:`F_l = E |W_l|_F^2 / n_l`, relative deviations obey

    .. math:: \delta_l = a_l (\eta_{l-1} + \beta_l) + b_l, \qquad \eta_l = \chi_l \delta_l + \xi_l, \qquad
        \log \frac{|d_l|^2}{|e_l|^2} = \kappa_l \delta_l + \nu_l, \qquad
        \log \frac{|e_{l-1}|^2}{|d_l|^2} = \log F_l + \gamma_l

    with independent layers. Derived for this project, docs/fluctuation-law.md, section 9.

    Args:
        layers: activation, gain and bias of each; the gain is that of a semi-orthogonal matrix, or of Gaussian
            entries of variance 1/n_{l-1}.
        widths: n_0, ..., n_L.
        orthogonal: whether the weights are semi-orthogonal; Gaussian else.
        start: q_0.

    Returns:
        The law, or the reason why there is none: a jump, moments that diverge, or layers that are too narrow.

    >>> from theory.activations.specification import activation
    >>> relu = activation("sqrt(2)*max(x, 0)")
    >>> law = shaped_law([Layer(relu)] * 10, [1024] * 11)
    >>> law.variance.shape, float(round(1024 * law.variance[0], 9))
    ((10,), 30.0)
    """
    if len(widths) != len(layers) + 1 or not layers:
        raise UsageError(f"{len(layers)} layers have {len(layers) + 1} widths n_0, ..., n_L, not {len(widths)}")
    passages = []
    for passage in _passages(layers, widths, orthogonal, start):
        if isinstance(passage, NoPrediction):
            return passage
        passages.append(passage)
    return _law(passages, start)


@dataclass(frozen=True, slots=True, eq=False)
class _Passage:
    """The response of a layer.

    Args:
        numbers: the coefficients of phi at the variance of its pre-activations.
        width: n_l.
        share: a_l, the share of W x in that variance.
        variance: p_l.
        length, backward: coefficients of the sources in log q_{l-1} and in log |d_l|^2/|e_l|^2, arrays (sources,).
        log_length, log_backward: their means, the second one without that of a gradient along the signal.
        log_factor: log F_l.
        returning: half the variance that W_l^T adds to the squared norm of a gradient.
    """

    numbers: DepthCoefficients[float]
    width: int
    share: float
    variance: float
    length: FloatArray
    log_length: float
    backward: FloatArray
    log_backward: float
    log_factor: float
    returning: float


def _passages(
    layers: Sequence[Layer], widths: Sequence[int], orthogonal: bool, start: float
) -> Iterator[_Passage | NoPrediction]:
    """The layers from below, ended by the reason why one of them has no law."""
    sources = _SOURCES * len(layers)
    q, mean, eta = start, 0.0, np.zeros(sources)
    known: dict[tuple[int, float], DepthCoefficients[float]] = {}
    for index, (layer, (below, n)) in enumerate(zip(layers, pairwise(widths), strict=True)):
        factor = layer.gain**2 * (min(1.0, below / n) if orthogonal else 1.0)
        p = factor * q + layer.bias**2
        if not _SMALLEST_LENGTH < p < 1 / _SMALLEST_LENGTH:  # its square would leave float64
            yield NoPrediction(f"layer {index + 1}: signals vanish or overflow")
            return
        forward, returning = (
            (max(1 / n - 1 / below, 0.0), max(1 / below - 1 / n, 0.0)) if orthogonal else (1 / n, 1 / below)
        )
        share, at = factor * q / p, _SOURCES * index
        delta = share * eta
        delta[at] = np.sqrt(2 * share**2 * forward + (2 * layer.bias**4 + 4 * factor * q * layer.bias**2) / (p * p * n))
        key = id(layer.activation), float(f"{p:.12g}")
        if key not in known:
            known[key] = depth_coefficients(layer.activation, np.sqrt(p))
        c = known[key]
        # the length of the last signal is seen only by the slopes there
        felt = 1.0 if index < len(layers) - 1 else c.kappa / (c.slope_second or 1.0)
        reason = _obstacle(layer, c, n, felt**2 * float(delta @ delta))
        if reason is not None:
            yield NoPrediction(f"layer {index + 1}: {reason}")
            return
        chi, kappa, deviation = c.chi / c.second, c.kappa / c.slope_second, float(delta @ delta)
        noise, cross = c.length_noise / c.second**2 / n, c.noise_covariance / (c.second * c.slope_second) / n
        log_length, before = float(np.log(q)) + mean - float(eta @ eta) / 2, eta
        eta, nu = chi * delta, kappa * delta
        eta[at + 1] = np.sqrt(max(noise, 0.0))
        nu[at + 1] = cross / eta[at + 1] if noise > 1e-15 else 0.0
        nu[at + 2] = np.sqrt(max(c.backward_noise / c.slope_second**2 / n - nu[at + 1] ** 2, 0.0))
        bent = deviation / 2 - 1 / n
        log_backward = np.log(c.slope_second) + kappa * share * mean + c.backward_curvature / c.slope_second * bent
        yield _Passage(
            c, n, share, p, before, log_length, nu, float(log_backward - nu @ nu / 2), float(np.log(factor)), returning
        )
        mean = chi * share * mean + c.length_curvature / c.second * bent
        q = c.second


def _obstacle(layer: Layer, numbers: DepthCoefficients[float], width: int, deviation: float) -> str | None:
    """Why a layer has no law, None if it has one."""
    jumps = steps(layer.activation, "value")
    if jumps:
        return f"phi jumps at {', '.join(map(str, jumps))}: its slope does not describe it"
    if not numbers.error < 1e-3 * max(1.0, abs(numbers.second)) or numbers.second <= 0 or numbers.slope_second <= 0:
        return "a moment of the law diverges, vanishes or is not known"
    noise = numbers.backward_noise / numbers.slope_second**2 / width
    if deviation > _LARGEST_LENGTH_NOISE or noise > _LARGEST_NOISE:
        return f"at a width of {width} the squared length or a backward factor fluctuates too much for the law"
    return None


def _law(passages: Sequence[_Passage], start: float) -> ShapedLaw:
    """Sums over the layers from the top, with what a gradient along the signal adds."""
    depth = len(passages)
    mean, factor = np.empty(depth), np.empty((depth, _SOURCES * depth))
    log_gradient, moves, alignment, largest = 0.0, np.zeros(_SOURCES * depth), 1.0, 0.0
    for index in range(depth - 1, -1, -1):
        here, c = passages[index], passages[index].numbers
        excess = c.alignment_excess / c.slope_second
        log_gradient += here.log_backward + (alignment - 1) * excess / here.width
        moves = moves + here.backward
        mean[index], factor[index] = log_gradient + here.log_length, moves + here.length
        tilt, chi = c.tilted_slope_second / c.slope_second, c.chi / c.second
        kept = chi**2 * c.second / (here.variance * c.slope_second)
        alignment = here.share * (kept * (alignment - 1) + tilt) + 1 - here.share
        log_gradient += here.log_factor + (alignment - 2) * here.returning
        moves[_SOURCES * index + 3] = np.sqrt(2 * here.returning)
        noise = c.backward_noise / c.slope_second**2 / here.width + 2 * here.returning
        largest = max(largest, noise, float(here.length @ here.length))
    lengths = np.array([start, *(passage.numbers.second for passage in passages)])
    return ShapedLaw(mean, factor, largest, lengths)
