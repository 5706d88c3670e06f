"""What batch normalization does to gradients in depth, in the limit of large widths: they grow in every layer."""

import math

from theory.activation import NumericActivation
from theory.errors import UsageError
from theory.gaussian import expectations


def large_batch_growth(activation: NumericActivation) -> float:
    r"""Logarithm of the growth per layer of squared gradient norms under batch normalization, for large batches.

    .. math:: \log \frac{E\, \phi'(z)^2}{Var\, \phi(z)} \ge 0, \qquad z \sim N(0, 1)

    A normalized neuron is N(0, 1) over the batch, and its slope multiplies a squared gradient by E phi'^2; the
    normalization of the layer above divides it by the variance over the batch, Var phi. The Gaussian Poincaré
    inequality says that the quotient is at least 1, and 1 for affine phi only. For ReLU it is pi/(pi - 1), as in
    Yang et al. (2019), arXiv 1902.08129; the short derivation is in docs/reproduce-gradients.md.

    Args:
        activation: phi, not constant; scale and shift drop out.

    Raises:
        UsageError: phi has no finite moments, or is constant.

    >>> from theory.catalog import build
    >>> round(math.exp(large_batch_growth(build("relu"))) * (math.pi - 1) / math.pi, 12)
    1.0
    """
    found = expectations(
        activation,
        {
            "mean": lambda _z, value, _slope: value,
            "second": lambda _z, value, _slope: value * value,
            "slope": lambda _z, _value, slope: slope * slope,
        },
    )
    variance = found["second"].value - found["mean"].value ** 2
    quotient = found["slope"].value / variance if variance > 0 else math.nan
    if not (math.isfinite(quotient) and quotient > 0):
        raise UsageError("E phi'^2 / Var phi is not a positive number: phi is constant, or its moments diverge")
    return math.log(quotient)


def small_batch_growth(batch: int) -> float:
    r"""Logarithm of the growth per layer of squared gradient norms that the size of the batch adds.

    .. math:: \log \frac{k - 2}{k - 3} = \log \Bigl(\frac{k - 2}{k - 1} \cdot \frac{k - 1}{k - 3}\Bigr)

    The normalization takes two of k directions away from a gradient over the batch, which leaves (k - 2)/k and
    normalizes over k - 1; and 1/v of a variance v of k samples has the mean (k - 1)/(k - 3), v (k - 1) being
    chi-squared. It is the whole growth of a linear network with Gaussian preactivations (Yang et al. 2019). For another
    phi it is added to `large_batch_growth`, which is a heuristic.

    Args:
        batch: k >= 4; below, the mean of 1/v diverges.

    Raises:
        UsageError: a smaller batch.

    >>> round(math.exp(small_batch_growth(8)), 12)
    1.2
    """
    if batch < 4 or batch != int(batch):
        raise UsageError(f"the mean growth needs a batch of at least 4 samples, a whole number, not {batch}")
    return math.log((batch - 2) / (batch - 3))
