"""PyTorch and JAX functions as functions on NumPy arrays, in float64, with their automatic differentiation.

Neither library is imported unless a function of it is given; the settings of neither are changed.
"""

import copy
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from theory.errors import SpecificationError
from theory.numerics.arithmetic import FloatArray

ArrayFunction = Callable[[FloatArray], FloatArray]
_PROBE = (-0.75, 0.375)


def on_arrays(function: Any) -> tuple[ArrayFunction, ArrayFunction | None]:
    """Return the value and the slope of an elementwise function, both as functions on float64 arrays.

    The library is recognized by what the function returns. A PyTorch module is copied, and the copy cast to float64 on
    the CPU: the module, its parameters and their gradients stay as they are.

    Args:
        function: a function on NumPy arrays, which is returned as it is; a `torch.nn.Module`; or a function of one
            PyTorch tensor or JAX array.

    Returns:
        The value, and the slope by automatic differentiation; None where there is none.

    Raises:
        SpecificationError: a PyTorch module with weight matrices, which is a layer or a whole network.

    >>> on_arrays(np.tanh)
    (<ufunc 'tanh'>, None)
    """
    library = _library(function)
    if library is None:
        return function, None
    value, slope = _torch_functions(function) if library == "torch" else _jax_functions(function)
    return value, slope if _succeeds(slope) else None


def _library(function: Any) -> str | None:
    """The library of a function, "torch" or "jax", by what it takes and returns; None for others.

    A function that maps a NumPy array to a NumPy array is a NumPy function, whatever has been imported.
    """
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    if torch is not None and isinstance(function, torch.nn.Module):
        return "torch"
    if torch is None and jax is None:
        return None
    probe = np.array(_PROBE)
    result = _result(function, probe.copy())
    if jax is not None and isinstance(result, jax.Array):
        return "jax"
    if torch is not None and not isinstance(result, np.ndarray):
        result = result if isinstance(result, torch.Tensor) else _result(function, torch.tensor(probe))
        return "torch" if isinstance(result, torch.Tensor) else None
    return None


def _result(function: Any, x: Any) -> Any:
    """The value of a function, None if it fails: the error is reported where the function is evaluated."""
    try:
        with np.errstate(all="ignore"):
            return function(x)
    except (Exception, SystemExit):  # the user's own code can raise anything
        return None


def _torch_functions(function: Any) -> tuple[ArrayFunction, ArrayFunction]:
    import torch

    owned = function
    if isinstance(function, torch.nn.Module):
        if any(parameter.ndim > 1 for parameter in function.parameters()):
            raise SpecificationError(
                f"{type(function).__name__} has weight matrices, so it is a layer or a whole network; give its "
                "activation alone, such as torch.nn.GELU()"
            )
        owned = copy.deepcopy(function).to(device="cpu", dtype=torch.float64).requires_grad_(False)

    def value(x: FloatArray) -> FloatArray:
        with torch.no_grad():
            return np.asarray(owned(torch.tensor(x, dtype=torch.float64)).detach().cpu().double().numpy())

    def slope(x: FloatArray) -> FloatArray:
        with torch.enable_grad():
            point = torch.tensor(x, dtype=torch.float64, requires_grad=True)
            (gradient,) = torch.autograd.grad(owned(point).sum(), point)
            return np.asarray(gradient.numpy())

    return value, slope


def _jax_functions(function: Any) -> tuple[ArrayFunction, ArrayFunction]:
    import jax

    gradient = jax.jit(jax.grad(lambda x: function(x).sum()))
    return _in_float64(jax, function), _in_float64(jax, gradient)


def _in_float64(jax: Any, function: Any) -> ArrayFunction:
    """A JAX function on NumPy arrays of any shape."""

    def evaluate(x: FloatArray) -> FloatArray:
        padded = np.zeros(max(64, 1 << (x.size - 1).bit_length()))  # powers of 2: JAX compiles for few shapes
        padded[: x.size] = x.ravel()
        with jax_in_float64(jax):
            result = np.asarray(function(jax.numpy.asarray(padded)), dtype=np.float64)
        return result[: x.size].reshape(x.shape) if result.shape == padded.shape else result

    return evaluate


def jax_in_float64(jax: Any) -> Any:
    """A context in which JAX computes in float64.

    Args:
        jax: the library.
    """
    scoped = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64  # JAX before 0.8
    return scoped(True)


def _succeeds(slope: ArrayFunction) -> bool:
    """Whether automatic differentiation reaches the input at all."""
    try:
        slope(np.array(_PROBE))
    except (Exception, SystemExit):  # no gradient; a function that fails altogether is reported where it is evaluated
        return False
    return True
