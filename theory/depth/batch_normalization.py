"""What batch normalization does to gradients in depth, in the limit of large widths: they grow in every layer."""

import math

from theory.activations.activation import Activation, steps
from theory.activations.callable import CallableActivation
from theory.errors import UsageError
from theory.gaussian.expectations import Functional, expectations


def large_batch_growth(activation: Activation | CallableActivation) -> float:
    r"""Logarithm of the growth per layer of squared gradient norms under batch normalization, for large batches.

    .. math:: \log \frac{E\, \phi'(z)^2}{Var\, \phi(z)} \ge 0, \qquad z \sim N(0, 1)

    A normalized neuron is N(0, 1) over the batch, and its slope multiplies a squared gradient by E phi'^2; the
    normalization of the layer above divides it by the variance over the batch, Var phi. The Gaussian Poincaré
    inequality says that the quotient is at least 1, and 1 for affine phi only. For ReLU it is pi/(pi - 1), as in
    Yang et al. (2019), arXiv 1902.08129; the short derivation is in docs/reproduce-gradients.md.

    Args:
        activation: phi, not constant; scale and shift drop out.

    Raises:
        UsageError: phi jumps, has no finite moments, or is constant.

    >>> from theory.activations.catalog import build
    >>> round(math.exp(large_batch_growth(build("relu"))) * (math.pi - 1) / math.pi, 12)
    1.0
    """
    quotient = _over_variance(activation, lambda _z, _value, slope: slope * slope, lambda z, _value, _slope: 0.0 * z)
    if not quotient > 0:
        raise UsageError("E phi'^2 / Var phi is not positive: phi is constant where it matters")
    return math.log(quotient)


def length_slope(activation: Activation | CallableActivation) -> float:
    r"""Factor per layer of a deviation of one input's length from those of its batch, for large batches and widths.

    .. math:: R'(1) = \frac{E\, (\phi - E \phi)\, \phi' z}{Var\, \phi}, \qquad
              R(v) = \frac{E\, (\phi(\sqrt v\, z) - E \phi(z))^2}{Var\, \phi(z)}

    with v the variance over the neurons of one normalized input, and R(v) that of the next layer: the statistics of a
    large batch do not see one input. Above 1 the state in which all inputs are alike, which `large_batch_growth`
    assumes, is lost in depth (GELU, SiLU); positively homogeneous phi have exactly 1. Derived for this project,
    docs/reproduce-gradients.md.

    Args:
        activation: phi, not constant; scale and shift drop out.

    Raises:
        UsageError: phi jumps, has no finite moments, or is constant.

    >>> from theory.activations.catalog import build
    >>> [round(length_slope(build(name)), 6) for name in ("relu", "tanh", "gelu")]
    [1.0, 0.461071, 1.062116]
    """
    return _over_variance(activation, lambda z, value, slope: value * slope * z, lambda z, _value, slope: slope * z)


def _over_variance(activation: Activation | CallableActivation, square: Functional, linear: Functional) -> float:
    """(E square - E phi E linear) / Var phi."""
    if jumps := steps(activation, "value"):
        raise UsageError(f"phi jumps at {', '.join(map(str, jumps))}: its slope does not describe it")
    moments = expectations(
        activation,
        {
            "mean": lambda _z, value, _slope: value,
            "second": lambda _z, value, _slope: value * value,
            "square": square,
            "linear": linear,
        },
    )
    number = {name: estimate.value for name, estimate in moments.items()}
    variance = number["second"] - number["mean"] ** 2
    quotient = (number["square"] - number["mean"] * number["linear"]) / variance if variance > 0 else math.nan
    if not math.isfinite(quotient):
        raise UsageError("phi is constant, or its moments diverge: batch normalization leaves no finite growth")
    return quotient


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
