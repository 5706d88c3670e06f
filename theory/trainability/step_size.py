r"""How much a step of gradient descent changes the outputs of a deep network: what a learning rate must be divided by.

A step of rate eta on one sample changes the K logits by :math:`-\eta\, \Theta r`, with the tangent kernel
:math:`\Theta = \sum_l |x_{l-1}|^2 J_l J_l^T`, :math:`J_l` the derivative of the logits by h_l.
"""

from dataclasses import dataclass

import numpy as np

from theory.errors import UsageError
from theory.trainability.lengths import Evaluated, length_path


@dataclass(frozen=True, slots=True)
class StepSize:
    r"""Size of the tangent kernel of a network at the start, relative to a linear network with orthogonal weights.

    .. math:: \operatorname{tr} \Theta / K \approx n (L + 1)\, \text{size}, \qquad
              \lambda_{\max}(\Theta) \approx n (L + 1)\, \text{size} \cdot \text{spread}

    Args:
        size: the mean of :math:`q_{l-1} g_l` over the layers, q the squared length per neuron, g the squared gradient
            :math:`|J_l|_F^2/K`; 1 for a Gaussian-Poincaré normalized activation.
        spread: the mean over the layers of :math:`K\, tr (J_l J_l^T)^2 / (tr J_l J_l^T)^2`, from 1, where the gradients
            of all logits are orthogonal and of one length, to K, where they lie in one direction.
    """

    size: float
    spread: float


def step_size(
    phi: Evaluated, width: int, depth: int, classes: int, *, gain: float = 1.0, gaussian: bool = False
) -> StepSize:
    r"""Return the size of the tangent kernel at the start.

    With a = E tr M^2 and b = E (tr M)^2 of :math:`M = J J^T`, J the Jacobian from h_l to x_L (as in
    `theory.trainability.isometry.finite_width_variance`), and K orthonormal rows of the readout in random directions,

    .. math:: E \operatorname{tr} (J_l J_l^T)^2 \propto b + 2a + \frac{(K - 1)(n a - b)}{n - 1}, \qquad
              E (\operatorname{tr} J_l J_l^T)^2 \propto b + 2a + \frac{(K - 1)((n + 1) b - 2a)}{n - 1},

    whose ratio, times K, is the spread of the layer: 1 for an isometry (n a = b), K for a Jacobian of rank one (a = b).
    So a network of small effective rank needs steps smaller by up to the number of classes (derived for this project,
    docs/training.md).

    Args:
        phi: the activation.
        width: n >= 2.
        depth: L >= 1.
        classes: K >= 2.
        gain: n times the variance of a weight, 2 for He's weights.
        gaussian: whether the weights are independent, not orthogonal.

    Raises:
        UsageError: a size out of range.

    >>> class Identity:
    ...     def value_and_slope(self, x):
    ...         return x.copy(), np.ones_like(x)
    >>> found = step_size(Identity(), 64, 50, 10)
    >>> bool(abs(found.size - 1) < 1e-9), bool(abs(found.spread - 1) < 1e-9)
    (True, True)
    """
    if width < 2 or depth < 1 or classes < 2:
        raise UsageError(f"a classifier has width and classes of at least 2 and depth 1, not {width, classes, depth}")
    path = length_path(phi, depth, gain=gain)
    n, a, b, log_gradient = float(width), float(width), float(width) ** 2, 0.0
    sizes, spreads = [path.lengths[-1]], [1.0]
    for length, slope, kurtosis in zip(path.lengths[-2::-1], path.slopes[::-1], path.kurtoses[::-1], strict=True):
        diagonal = (b + 2 * a) / (n + 2)
        a, b = kurtosis * diagonal + (n * a - b) / (n + 2), b + (kurtosis - 1) * diagonal
        log_gradient += float(np.log(slope)) if slope > 0 else -np.inf
        sizes.append(length * float(np.exp(min(log_gradient, 300.0))))
        same, different = b + 2 * a, (classes - 1) / (n - 1)
        spreads.append(classes * (same + different * (n * a - b)) / (same + different * ((n + 1) * b - 2 * a)))
        log_gradient += float(np.log(gain))
        if gaussian:
            a, b = a * (1 + 1 / n) + b / n, b + 2 * a / n
        a, b = a * n * n / b, n * n  # only their ratio counts
    total = sum(sizes)
    spread = sum(size * one for size, one in zip(sizes, spreads, strict=True)) / total if total > 0 else 1.0
    return StepSize(total / (depth + 1), spread)
