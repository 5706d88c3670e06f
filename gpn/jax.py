"""For JAX: initializers that draw truly orthogonal weights, with the signature of `jax.nn.initializers`.

Begin with `orthogonal`. Kernels have the shape (inputs, outputs) that Flax and Haiku use.
"""

from collections.abc import Callable, Sequence
from typing import Any

try:
    import jax
    import jax.numpy as jnp
except ImportError as error:
    raise ImportError("gpn.jax needs JAX, which is not installed: pip install jax") from error

from theory.errors import UsageError

Initializer = Callable[..., Any]
"""init(key, shape, dtype) -> array."""


def orthogonal(gain: float = 1.0, *, scaled: bool = False) -> Initializer:
    r"""Initializer of Haar-distributed orthogonal matrices.

    .. math:: W = g\, Q, \qquad Z = Q R \text{ with } R_{ii} > 0, \qquad Z_{ij} \sim N(0, 1) \text{ independent}

    (Mezzadri 2007, "How to generate random matrices from the classical compact groups".) Of a matrix that is not square
    the shorter side is orthonormal.

    Args:
        gain: g.
        scaled: multiply by sqrt(outputs/inputs) where there are more outputs, so that the squared length per neuron is
            kept as well (Martens et al. 2021).

    Returns:
        init(key, shape, dtype=float) for shapes (inputs, outputs).

    >>> weight = orthogonal(2.0)(jax.random.key(0), (5, 3))
    >>> bool(jnp.allclose(weight.T @ weight, 4 * jnp.eye(3), atol=1e-5))
    True
    """

    def init(key: Any, shape: Sequence[int], dtype: Any = float) -> Any:
        if len(shape) != 2:
            raise UsageError(f"an orthogonal matrix has the shape (inputs, outputs), not {tuple(shape)}")
        return _haar(key, shape[0], shape[1], dtype, gain, scaled)

    return init


def delta_orthogonal(gain: float = 1.0, *, scaled: bool = False) -> Initializer:
    r"""Initializer of convolutions: an orthogonal matrix in the middle of the kernel, 0 elsewhere.

    (Xiao et al. 2018, "Dynamical isometry and a mean field theory of CNNs".)

    Args:
        gain, scaled: as for `orthogonal`.

    Returns:
        init(key, shape, dtype=float) for shapes (..., inputs, outputs) with 1 to 3 odd kernel sizes.

    >>> kernel = delta_orthogonal()(jax.random.key(0), (3, 3, 2, 4))
    >>> float(jnp.abs(kernel).sum() - jnp.abs(kernel[1, 1]).sum())
    0.0
    """

    def init(key: Any, shape: Sequence[int], dtype: Any = float) -> Any:
        *kernel, inputs, outputs = shape
        if not 1 <= len(kernel) <= 3 or any(size % 2 == 0 for size in kernel):
            raise UsageError(f"a kernel has 1 to 3 odd sizes before (inputs, outputs), unlike {tuple(shape)}")
        middle = tuple((size - 1) // 2 for size in kernel)
        matrix = _haar(key, inputs, outputs, dtype, gain, scaled)
        return jnp.zeros(tuple(shape), matrix.dtype).at[middle].set(matrix)

    return init


def _haar(key: Any, inputs: int, outputs: int, dtype: Any, gain: float, scaled: bool) -> Any:
    """A Haar-distributed matrix with orthonormal rows or columns, drawn in float32 at least."""
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    drawn = jnp.promote_types(dtype, jnp.float32)
    q, r = jnp.linalg.qr(jax.random.normal(key, (max(inputs, outputs), min(inputs, outputs)), drawn))
    q = jnp.where(jnp.diagonal(r) < 0, -q, q)  # else the law of Q would depend on the algorithm
    factor = gain * max(1.0, (outputs / inputs) ** 0.5) if scaled else gain
    return (factor * (q if inputs >= outputs else q.T)).astype(dtype)
