"""Squared lengths and backward signals in an infinitely wide network, layer by layer: the length map and its iteration.

With variance q of the pre-activations, those of the next layer have variance Q(q). A gain g of the weights and Gaussian
biases are part of every map here; without them (g = 1, sigma_b = 0) q is the squared length per neuron before a layer.
Begin with `length_map`; `follow_length` is the one place where a length is followed through the layers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat

import numpy as np
import numpy.typing as npt

from theory.activations.activation import NumericActivation
from theory.errors import UsageError
from theory.gaussian.expectations import Functional, expectations
from theory.numerics.arithmetic import FloatArray
from theory.numerics.quadrature import Estimate

_SETTLED = 1e-13  # relative change of a length in one layer that counts as none


def length_map(activation: NumericActivation, q: float, gain: float = 1.0, bias: float = 0.0) -> Estimate:
    r"""Variance of the pre-activations one layer later, in a network of infinite width.

    .. math:: Q(q) = g^2 E\, \phi(\sqrt q\, z)^2 + \sigma_b^2, \qquad z \sim N(0, 1)

    The length map of Poole et al. (2016), "Exponential expressivity in deep neural networks through transient
    chaos", for weights of variance g^2/n and biases of variance sigma_b^2.

    Args:
        activation: phi.
        q: variance of the pre-activations, >= 0: with g = 1 and no biases the squared length per neuron before the
            layer.
        gain: g > 0, the factor of orthogonal weights or of Gaussian ones of variance 1/n.
        bias: sigma_b >= 0, the standard deviation of the biases.

    >>> from theory.activations.specification import activation
    >>> round(length_map(activation("2*x"), 3.0).value, 12), round(length_map(activation("2*x"), 3.0, 0.5, 2).value, 12)
    (12.0, 7.0)
    """
    if not (np.isfinite(bias) and bias >= 0):
        raise UsageError(f"sigma_b, the standard deviation of the biases, must be a number >= 0, not {bias}")
    return _expectation(activation, q, lambda _z, value, _slope: value * value, gain, bias)


def slope_map(activation: NumericActivation, q: float, gain: float = 1.0) -> Estimate:
    r"""Mean-field growth per layer of the squared norm of a backward signal.

    .. math:: g^2 E\, \phi'(\sqrt q\, z)^2

    (chi_1 of Poole et al. 2016 and of Schoenholz et al. 2017, "Deep information propagation".) Arguments as for
    `length_map`.

    >>> from theory.activations.specification import activation
    >>> round(slope_map(activation("2*x"), 3.0).value, 12)
    4.0
    """
    return _expectation(activation, q, lambda _z, _value, slope: slope * slope, gain)


def length_map_slope(activation: NumericActivation, q: float = 1.0, gain: float = 1.0) -> Estimate:
    r"""Derivative of the length map; at q = 1 of a normalized phi it is chi.

    .. math:: Q'(q) = g^2 E\, \phi(\sqrt q\, z)\, \phi'(\sqrt q\, z)\, z / \sqrt q

    Args:
        activation: phi without jumps.
        q: variance of the pre-activations, > 0.
        gain: g, as for `length_map`.

    >>> from theory.activations.specification import activation
    >>> round(length_map_slope(activation("2*x")).value, 12)
    4.0
    """
    if not q > 0:
        raise UsageError(f"the slope of the length map needs q > 0, not {q}")
    return _expectation(activation, q, lambda z, value, slope: value * slope * z / np.sqrt(q), gain)


def _expectation(
    activation: NumericActivation, q: float, functional: Functional, gain: float = 1.0, bias: float = 0.0
) -> Estimate:
    if not (np.isfinite(q) and q >= 0):
        raise UsageError(f"q, the squared length per neuron, must be a number >= 0, not {q}")
    if not (np.isfinite(gain) and gain > 0):
        raise UsageError(f"the gain of the weights must be a positive number, not {gain}")
    deviation = max(float(np.sqrt(q)), 1e-100)  # the limit q -> 0 sees both sides of a kink at 0
    found = expectations(activation, {"it": functional}, deviation=deviation)["it"]
    return Estimate(gain * gain * found.value + bias * bias, gain * gain * found.error)


LayerMap = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""Squared lengths per neuron before a layer, array (starts,), to those after it and to the natural logarithms of the
factors by which the layer multiplies the squared norm of a backward signal; or the same in another coordinate."""


@dataclass(frozen=True, slots=True, eq=False)
class Passage:
    """The passage of several squared lengths through one layer.

    Args:
        before, after: the squared lengths per neuron, arrays (starts,).
        log_factors: natural logarithms of the backward factors of the layer, array (starts,).
        settled: whether every layer above is like this one.
    """

    before: FloatArray
    after: FloatArray
    log_factors: FloatArray
    settled: bool


def follow_length(layer: LayerMap, starts: npt.ArrayLike, tolerance: float = _SETTLED) -> Iterator[Passage]:
    r"""Follow squared lengths through the layers of a network, from the input upwards and without end.

    .. math:: q_l = Q(q_{l-1}), \qquad l = 1, 2, \dots

    Once no length changes by more than the tolerance, or all of them are lost to infinity, the last layer is
    repeated: it costs nothing to follow a settled length through many layers.

    Args:
        layer: what one layer does, for example `mean_field_layer` of an activation.
        starts: the lengths at the input, a number or an array (starts,).
        tolerance: relative change of a length that counts as none.

    >>> from itertools import islice
    >>> def halve(q):
    ...     return q / 2, np.log(np.full(1, 0.5))
    >>> [float(passage.after[0]) for passage in islice(follow_length(halve, 1.0), 3)]
    [0.5, 0.25, 0.125]
    """
    before = np.atleast_1d(np.asarray(starts, dtype=np.float64))
    while True:
        after, log_factors = layer(before)
        with np.errstate(invalid="ignore"):
            moving = np.isfinite(after) & (np.abs(after - before) > tolerance * np.abs(before))
        if not moving.any():
            break
        yield Passage(before, after, log_factors, settled=False)
        before = after
    yield Passage(before, after, log_factors, settled=True)
    yield from repeat(Passage(after, after, log_factors, settled=True))


def mean_field_layer(activation: NumericActivation, gain: float = 1.0, bias: float = 0.0) -> LayerMap:
    r"""A layer x = phi(g W x + b) of infinite width, from the length map and the slope map.

    .. math:: q \mapsto \bigl(E\, \phi(\sqrt h\, z)^2,\ \log g^2 E\, \phi'(\sqrt h\, z)^2\bigr), \qquad
        h = g^2 q + \sigma_b^2

    (Poole et al. 2016; Schoenholz et al. 2017.) Here q is the squared length per neuron of x, before and after the
    layer, and h the variance of the pre-activations between. Beyond the range of float64 both are infinite.

    Args:
        activation: phi.
        gain, bias: g and sigma_b, as for `length_map`.
    """

    def passage(q: float) -> tuple[float, float]:
        variance = gain * gain * q + bias * bias
        if not np.isfinite(variance):
            return np.inf, np.inf
        after, slope = length_map(activation, variance).value, slope_map(activation, variance, gain).value
        log_factor = (float(np.log(slope)) if slope > 0 else -np.inf) if np.isfinite(slope) else np.inf
        return after if np.isfinite(after) else np.inf, log_factor

    def layer(lengths: FloatArray) -> tuple[FloatArray, FloatArray]:
        after, log_factors = np.array([passage(float(q)) for q in lengths]).T
        return after, log_factors

    return layer


@dataclass(frozen=True, slots=True)
class DepthFactor:
    """Mean-field change over several layers, from unit length at the input.

    Args:
        depth: number of layers.
        squared_length: squared length per neuron after them.
        squared_gradient: factor by which the squared norm of a backward signal has changed through them.
    """

    depth: int
    squared_length: float
    squared_gradient: float


def depth_factors(activation: NumericActivation, depths: Sequence[int] = (10, 100, 1000)) -> tuple[DepthFactor, ...]:
    r"""Change of the squared length and of the squared gradient over many layers, in the limit of infinite width.

    .. math:: q_l = Q(q_{l-1}), \quad q_0 = 1, \qquad \prod_{l=1}^{L} E\, \phi'(\sqrt{q_{l-1}}\, z)^2

    (Poole et al. 2016; Schoenholz et al. 2017.)

    Args:
        activation: phi.
        depths: numbers of layers, ascending.

    >>> from theory.activations.specification import activation
    >>> [round(factor.squared_gradient, 9) for factor in depth_factors(activation("2*x"), [3])]
    [64.0]
    """
    factors: list[DepthFactor] = []
    q, log_gradient, layer = 1.0, 0.0, 0
    for depth in depths:
        passages = follow_length(mean_field_layer(activation), q)
        while layer < depth:
            passage = next(passages)
            layers = depth - layer if passage.settled else 1
            log_gradient += layers * float(passage.log_factors[0])
            layer, q = layer + layers, float(passage.after[0])
        with np.errstate(over="ignore"):
            factors.append(DepthFactor(depth, q, float(np.exp(log_gradient))))
    return tuple(factors)


@dataclass(frozen=True, slots=True, eq=False)
class MeanFieldPath:
    """Squared lengths and backward factors of each layer of an infinitely wide network.

    Args:
        squared_lengths: q_l for l = 0..L, array (L + 1,).
        log_factors: natural logarithms of the factors by which layers l = 1..L change the squared norm of a backward
            signal, array (L,).
    """

    squared_lengths: FloatArray
    log_factors: FloatArray

    @property
    def log_gradients(self) -> FloatArray:
        r"""Natural logarithms of gradient norms, array (L,), for a readout with |e_L| = 1.

        .. math:: \log \frac{|\partial E/\partial W_l|_F}{\sqrt n}
                  = \frac12 \Bigl(\log q_{l-1} + \sum_{j=l}^{L} \log E\, \phi'(\sqrt{q_{j-1}}\, z)^2\Bigr)
        """
        with np.errstate(divide="ignore"):
            logs: FloatArray = (np.log(self.squared_lengths[:-1]) + np.cumsum(self.log_factors[::-1])[::-1]) / 2
        return logs


def mean_field_path(activation: NumericActivation, depth: int) -> MeanFieldPath:
    r"""Lengths and backward factors of every layer in the limit of infinite width, from unit length.

    .. math:: q_l = Q(q_{l-1}), \quad q_0 = 1, \qquad \log E\, \phi'(\sqrt{q_{l-1}}\, z)^2

    (Poole et al. 2016; Schoenholz et al. 2017.)

    Args:
        activation: phi.
        depth: L >= 1.

    >>> from theory.activations.specification import activation
    >>> path = mean_field_path(activation("x/2"), 3)
    >>> path.squared_lengths, np.exp(path.log_factors)
    (array([1.      , 0.25    , 0.0625  , 0.015625]), array([0.25, 0.25, 0.25]))
    """
    passages = list(islice(follow_length(mean_field_layer(activation), 1.0), depth))
    lengths = np.concatenate([[1.0], *(passage.after for passage in passages)])
    return MeanFieldPath(lengths, np.concatenate([passage.log_factors for passage in passages]))
