"""Lengths and gradients in an infinitely wide network whose layers have gains, biases and activations of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from theory.activations.activation import NumericActivation
from theory.depth.length_map import MeanFieldPath, mean_field_layer
from theory.errors import UsageError


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer x = phi(g W x + b), W orthogonal or Gaussian of variance 1/n, b Gaussian of deviation sigma_b.

    Args:
        activation: phi.
        gain, bias: g and sigma_b.
    """

    activation: NumericActivation
    gain: float = 1.0
    bias: float = 0.0


def network_path(layers: Sequence[Layer], start: float = 1.0) -> MeanFieldPath:
    r"""Squared lengths per neuron and backward factors of layers that differ, in the limit of infinite width.

    .. math:: h_l = g_l^2 q_{l-1} + \sigma_l^2, \qquad q_l = E\, \phi_l(\sqrt{h_l} z)^2, \qquad
        \log g_l^2 E\, \phi_l'(\sqrt{h_l} z)^2

    (Poole et al. 2016; Schoenholz et al. 2017.) The gradients of the path are those with respect to W_l, of which
    g_l W_l is the matrix of the layer.

    Args:
        layers: from the input upwards, at least one.
        start: q_0, the squared length per neuron of the input.

    Raises:
        UsageError: no layer.

    >>> from theory.activations.specification import activation
    >>> half, line = activation("x/2"), activation("identity")
    >>> path = network_path([Layer(line, 2.0), Layer(half, 1.0, 2.0)])
    >>> path.squared_lengths, np.exp(path.log_factors)
    (array([1., 4., 2.]), array([4.  , 0.25]))
    """
    if not layers:
        raise UsageError("a network needs at least one layer")
    lengths, factors = [np.array([start])], []
    for layer in layers:
        after, log_factors = mean_field_layer(layer.activation, layer.gain, layer.bias)(lengths[-1])
        lengths.append(after)
        factors.append(log_factors)
    return MeanFieldPath(np.concatenate(lengths), np.concatenate(factors))
