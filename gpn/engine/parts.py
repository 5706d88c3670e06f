"""Checks of what a network is made of: matrices that fit together, and what belongs to each layer."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gpn.engine.batch_normalization import BatchNormalization
from gpn.engine.evaluation import ElementwiseActivation, check_activation
from gpn.engine.norms import FloatArray
from theory.errors import UsageError


def chained(matrices: list[FloatArray]) -> tuple[FloatArray, ...]:
    """Check that W_1, ..., W_L are matrices of which each takes what the one before gives.

    Raises:
        UsageError: anything else.
    """
    if not matrices:
        raise UsageError("a network needs at least one weight matrix")
    for layer, matrix in enumerate(matrices, start=1):
        if matrix.ndim != 2 or matrix.size == 0:
            raise UsageError(f"W_{layer} must be a matrix (n_out, n_in), not an array of shape {matrix.shape}")
    for layer, (lower, upper) in enumerate(pairwise(matrices), start=1):
        if upper.shape[1] != lower.shape[0]:
            raise UsageError(
                f"W_{layer + 1} has {upper.shape[1]} columns but W_{layer} has {lower.shape[0]} rows; "
                "W_l must be (n_l, n_{l-1})"
            )
    return tuple(matrices)


def per_layer(
    activation: ElementwiseActivation | Sequence[ElementwiseActivation], depth: int
) -> tuple[ElementwiseActivation, ...]:
    """Give the activation of each layer, from one for all or one for each.

    Raises:
        UsageError: anything else.
    """
    activations = tuple(activation) if isinstance(activation, Sequence) else (activation,) * depth
    if len(activations) != depth:
        raise UsageError(f"{len(activations)} activations for {depth} layers; give one for all, or one for each")
    # Most networks have one activation in all layers: it is checked once.
    for distinct in {id(phi): phi for phi in activations}.values():
        check_activation(distinct)
    return activations


def checked_normalizations(
    normalizations: Sequence[BatchNormalization | None], weights: tuple[FloatArray, ...]
) -> tuple[BatchNormalization | None, ...]:
    """Check that there is a batch normalization of the right width, or None, for each layer.

    Raises:
        UsageError: anything else.
    """
    wanted = [len(matrix) for matrix in weights]
    if len(normalizations) != len(wanted):
        raise UsageError(f"{len(normalizations)} normalizations for {len(wanted)} layers; None is for a layer without")
    widths = [n if layer is None else layer.width for layer, n in zip(normalizations, wanted, strict=True)]
    if widths != wanted:
        raise UsageError(f"batch normalization must have the widths {wanted} of the layers, not {widths}")
    return tuple(normalizations)


def checked_branches(branches: Sequence[float | None], weights: tuple[FloatArray, ...]) -> tuple[float | None, ...]:
    """Check that there is a factor alpha, or None, for each layer, and None where the width changes.

    Raises:
        UsageError: anything else.
    """
    fits = len(branches) == len(weights)
    if not fits or any(a is not None and w.shape[0] != w.shape[1] for a, w in zip(branches, weights, strict=True)):
        raise UsageError(
            f"branches are a factor for each of the {len(weights)} layers, None where the width changes, not {branches}"
        )
    return tuple(branches)


def checked_biases(
    biases: Sequence[npt.ArrayLike], weights: tuple[FloatArray, ...], dtype: npt.DTypeLike
) -> tuple[FloatArray, ...]:
    """Give b_1, ..., b_L as arrays (n_l,) of a type.

    Raises:
        UsageError: anything else.
    """
    arrays = tuple(np.asarray(bias, dtype=dtype) for bias in biases)
    wanted = [(matrix.shape[0],) for matrix in weights]
    if [bias.shape for bias in arrays] != wanted:
        raise UsageError(f"biases must have shapes {wanted}, not {[bias.shape for bias in arrays]}")
    return arrays
