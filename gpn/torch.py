"""For PyTorch: gains of any activation, initializers that draw truly orthogonal weights, and a monitor of training.

Begin with `orthogonal_`; `calculate_gain` takes the place of the function of the same name in `torch.nn.init`, and
`Monitor` records the norms of every layer while a model trains.
"""

import math
from collections.abc import Callable
from contextlib import suppress

try:
    import torch
except ImportError as error:
    raise ImportError("gpn.torch needs PyTorch, which is not installed: pip install torch") from error

from gpn.probing.monitor import Monitor
from theory.activations.specification import activation
from theory.errors import UsageError, unknown
from theory.initialization.gains import DEFINITIONS, gains

__all__ = ["Monitor", "calculate_gain", "orthogonal_"]


def calculate_gain(
    nonlinearity: str | Callable[..., object], param: float | None = None, *, keeps: str | None = None
) -> float:
    r"""The gain of an activation: PyTorch's own number for its names, else the one that keeps the length.

    .. math:: g = (E\, \phi(z)^2)^{-1/2}, \qquad z \sim N(0, 1)

    A drop-in for `torch.nn.init.calculate_gain`, which knows a few names and takes 5/3 for tanh, 1 for sigmoid and 3/4
    for SELU, numbers that keep neither norm where q = 1 (docs/famous-constants.md).

    Args:
        nonlinearity: a name, as "gelu" or "leaky_relu(0.2)"; a formula; a function or module on tensors.
        param: the negative slope of "leaky_relu", as in PyTorch; or the parameter of another name.
        keeps: "length", "variance" or "gradient" for gpn's number of every name; None as above.

    Raises:
        UsageError: an activation that cannot be read, or that has no such gain.

    >>> calculate_gain("tanh"), round(calculate_gain("tanh", keeps="length"), 6), round(calculate_gain("gelu"), 6)
    (1.6666666666666667, 1.592537, 1.53353)
    """
    name = keeps or "length"
    if name not in DEFINITIONS:
        raise unknown("gain", name, DEFINITIONS)
    spec: object = nonlinearity
    if isinstance(nonlinearity, str):
        if keeps is None:
            with suppress(ValueError):  # a name that PyTorch does not know
                return float(torch.nn.init.calculate_gain(nonlinearity, param))
        linear = nonlinearity.startswith(("linear", "conv"))
        spec = "identity" if linear else nonlinearity if param is None else f"{nonlinearity}({param})"
    phi = activation(spec)
    known = gains(phi)
    found = known.values[name]
    if found is None:
        raise UsageError(f"{phi.name} has no gain that keeps the {name}: {known.reason}")
    return float(found)


def orthogonal_(
    tensor: torch.Tensor,
    gain: float = 1.0,
    *,
    scaled: bool = False,
    groups: int = 1,
    generator: "torch.Generator | None" = None,  # in quotes, since the documentation imports this without PyTorch
) -> torch.Tensor:
    r"""Fill a weight with a Haar-distributed orthogonal matrix, in place.

    .. math:: W = g\, Q, \qquad Z = Q R \text{ with } R_{ii} > 0, \qquad Z_{ij} \sim N(0, 1) \text{ independent}

    (Mezzadri 2007, "How to generate random matrices from the classical compact groups".) Of a matrix that is not square
    the rows are orthonormal where they are fewer, else the columns. Of the kernel of a convolution, with 3 to 5
    dimensions, the entry in the middle is such a matrix and all others are 0 (Xiao et al. 2018, "Dynamical isometry and
    a mean field theory of CNNs", delta-orthogonal): with zero padding the convolution then acts on each place apart.

    Args:
        tensor: a weight of shape (rows, columns), or (rows, columns, ...) of a convolution with odd kernel sizes.
        gain: g.
        scaled: multiply by sqrt(rows/columns) where there are more rows, so that the squared length per neuron is kept
            as well (the scaled uniform orthogonal weights of Martens et al. 2021, "Rapid training of deep neural
            networks without skip connections or normalization layers").
        groups: of a grouped convolution; each group of rows has a matrix of its own.
        generator: the source of randomness; PyTorch's global one if left out.

    Returns:
        The tensor.

    Raises:
        UsageError: no real floating-point tensor, fewer than 2 dimensions, an even kernel, rows that the groups do not
            divide, a gain that is not finite.

    >>> weight = orthogonal_(torch.empty(3, 5, dtype=torch.float64), 2.0, generator=torch.Generator().manual_seed(0))
    >>> bool(torch.allclose(weight @ weight.T, 4 * torch.eye(3, dtype=torch.float64)))
    True
    """
    if not torch.is_tensor(tensor) or not tensor.is_floating_point():
        what = tensor.dtype if torch.is_tensor(tensor) else type(tensor).__name__
        raise UsageError(f"orthogonal weights are a tensor of real floating-point numbers, not {what}")
    if not math.isfinite(gain):
        raise UsageError(f"gain must be a finite number, not {gain}")
    if tensor.ndim < 2:
        raise UsageError(
            f"orthogonal weights have 2 dimensions or more, unlike a tensor of shape {tuple(tensor.shape)}"
        )
    rows, columns, *kernel = tensor.shape
    if any(size % 2 == 0 for size in kernel):
        raise UsageError(f"the kernel sizes must be odd, so that there is a middle, not {tuple(kernel)}")
    if groups < 1 or rows % groups:
        raise UsageError(f"{groups} groups do not divide {rows} rows")
    middle = (..., *((size - 1) // 2 for size in kernel))
    if scaled:
        gain *= max(1.0, (rows // groups / columns) ** 0.5)
    with torch.no_grad():
        tensor.zero_()
        for block in tensor.split(rows // groups) if rows else ():
            block[middle] = gain * _haar(len(block), columns, tensor, generator)
    return tensor


def _haar(rows: int, columns: int, like: torch.Tensor, generator: "torch.Generator | None") -> torch.Tensor:
    """A Haar-distributed matrix with orthonormal rows or columns, drawn in float32 at least."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    normal = torch.randn(max(rows, columns), min(rows, columns), dtype=dtype, device=like.device, generator=generator)
    q, r = torch.linalg.qr(normal)
    q = torch.where(torch.diagonal(r) < 0, -q, q)  # else the law of Q would depend on the algorithm
    return (q if rows >= columns else q.T).to(like.dtype)
