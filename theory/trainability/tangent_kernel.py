r"""The neural tangent kernel of two inputs in an infinitely wide network, relative to that of one input."""

import numpy as np

from theory.numerics.arithmetic import FloatArray
from theory.trainability.separation import Separation


def tangent_kernel_ratio(separation: Separation, depth: int, correlation: float = 0.0) -> FloatArray:
    r"""Off-diagonal over diagonal of the neural tangent kernel of the hidden layers, after each of L layers.

    .. math:: \frac{\Theta_L(x, x')}{\Theta_L(x, x)} = \frac1L \sum_{l=1}^{L} \rho_{l-1} \prod_{k=l}^{L} C'(\rho_{k-1})

    (Jacot, Gabriel, Hongler 2018; the same limit for orthogonal weights, Huang, Du, Xu 2021), for one fixed readout,
    Gaussian-Poincaré normalized phi and no biases. It tends to 1/3 for a phi without kinks and to 1/4 with kinks,
    whatever the two inputs, since :math:`C'(\rho_k) = 1 - 2/k` or :math:`1 - 3/k` up to smaller terms: the kernel
    forgets the inputs.

    Args:
        separation: of the activation.
        depth: L >= 1.
        correlation: of the two inputs, in [0, 1].

    Returns:
        Array (L,): the ratio after 1, ..., L layers.

    >>> from theory.activations.specification import activation
    >>> from theory.trainability.separation import separation as laws
    >>> identity = laws(activation("x"))
    >>> tangent_kernel_ratio(identity, 3, 0.25).round(9)  # a linear network keeps the correlation
    array([0.25, 0.25, 0.25])
    """
    losses = separation.losses(depth, correlation)[:-1]
    slopes = separation.map.slope(losses)
    total, ratios = 0.0, []
    for layer, (loss, slope) in enumerate(zip(losses, slopes, strict=True), 1):
        total = slope * (total + 1 - loss)
        ratios.append(total / layer)
    return np.array(ratios)
