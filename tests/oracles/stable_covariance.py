"""The joint covariance of all layers under the Gaussian law of the gradient ratios, which the product does not need."""

import numpy as np

from theory.depth.stable import StableLaw, _layer_terms, _weights
from theory.numerics.arithmetic import FloatArray


def stable_covariance(law: StableLaw) -> FloatArray:
    """Covariances of Y_1..Y_L, array (L, L)."""
    numbers, depth = law.coefficients, law.depth
    a, b = _weights(numbers, depth - 1, 1.0, depth)
    common = np.append(np.cumsum(_layer_terms(numbers, b[: depth - 1])[::-1])[::-1], 0.0)
    covariance = np.empty((depth, depth))
    for low in range(depth):  # what q is at layer `low` and what the layers from there to `high` add to it
        powers = numbers.chi ** np.arange(depth - low)
        gained = np.zeros(depth - low)
        for step in range(1, depth - low):
            carried = numbers.chi * gained[step - 1]
            gained[step] = carried + numbers.noise_covariance + b[low + step - 1] * numbers.length_noise
        shared = a[low] * powers * law.length_variance[low] + gained
        covariance[low, low:] = covariance[low:, low] = a[low:] * shared + common[low:]
    return covariance / law.width
