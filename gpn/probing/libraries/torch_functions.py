"""Functions of PyTorch by their names: which are elementwise, and how tensors are measured."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gpn.probing.tape import Value, measured_rows
from theory.errors import UsageError
from theory.numerics.arithmetic import FloatArray


def _words(text: str) -> list[str]:
    return text.split()


ELEMENTWISE = frozenset(
    _words("relu relu6 leaky_relu elu selu celu gelu silu mish hardtanh hardswish hardsigmoid softplus softsign prelu")
    + _words("rrelu tanhshrink softshrink hardshrink threshold logsigmoid log_sigmoid tanh sigmoid sin cos tan exp log")
    + _words("sqrt rsqrt square pow rpow abs neg negative positive add radd sub rsub mul rmul multiply div rdiv divide")
    + _words(
        "true_divide truediv rtruediv clamp clip erf erfc atan arctan sinh cosh asinh arcsinh sign heaviside where"
    )
    + _words("maximum minimum reciprocal expm1 log1p logaddexp sinc to type type_as float double half bfloat16 clone")
    + _words("detach where gt lt ge le eq ne greater less logical_and logical_or logical_not masked_fill")
)
RESHAPES = frozenset(
    _words("view reshape flatten unflatten permute transpose contiguous squeeze unsqueeze movedim moveaxis swapaxes t")
    + _words("expand view_as reshape_as")
)
NORMALIZATIONS = frozenset(_words("layer_norm batch_norm group_norm instance_norm rms_norm normalize"))
DROPOUTS = frozenset(_words("dropout alpha_dropout dropout1d dropout2d dropout3d feature_alpha_dropout"))
CONVOLUTIONS = {"conv1d": 1, "conv2d": 2, "conv3d": 3}
IGNORED = frozenset(_words("size dim numel ndimension is_floating_point requires_grad_ register_hook get set"))


def places(args: Any, kwargs: Any) -> list[tuple[Any, Any]]:
    """Every argument with its place: a position, a keyword."""
    return [*enumerate(args), *kwargs.items()]


def replay(func: Any, args: Any, kwargs: Any, taken: list[Any]) -> Callable[..., Any]:
    """The same elementwise function of other tensors, of any shape, in their type."""
    name = getattr(func, "__name__", "").strip("_")
    fixed = {place: _constant(item) for place, item in places(args, kwargs)}

    def call(*tensors: torch.Tensor) -> torch.Tensor:
        if name in ("to", "type", "type_as", "float", "double", "half", "bfloat16"):
            return tensors[0]
        given = fixed | dict(zip(taken, (tensor.clone() for tensor in tensors), strict=True))
        positional = [given[index] for index in range(len(args))]
        return func(*positional, **{key: given[key] for key in kwargs})

    return call


def _constant(item: Any) -> Any:
    """A constant of an elementwise function: a uniform tensor becomes its one value."""
    if isinstance(item, torch.Tensor) and item.numel() and is_uniform(item) and item.is_floating_point():
        return item.detach().double().reshape(-1)[:1].clone()
    return item


def is_uniform(tensor: torch.Tensor) -> bool:
    return tensor.numel() > 0 and bool((tensor == tensor.reshape(-1)[0]).all())


def array(tensor: torch.Tensor) -> FloatArray:
    return np.asarray(tensor.detach().cpu().double().numpy())


def evaluate(function: Callable[..., Any], points: FloatArray) -> FloatArray:
    """The values of an elementwise function of a tensor."""
    with torch.no_grad():
        return array(function(torch.tensor(points, dtype=torch.float64)))


def by_sample(tensor: torch.Tensor, samples: int) -> FloatArray:
    """Squared norm of each sample, array (samples,); an equal share where the first axis is none of samples."""
    squares = tensor.detach().double().square()
    if tensor.ndim and len(tensor) % samples == 0 and len(tensor):
        return array(squares.reshape(samples, -1).sum(1))
    return np.full(samples, float(squares.sum()) / samples)


def measure(tensor: torch.Tensor, samples: int, axis: int) -> Value:
    """Lengths, correlation and what is not finite."""
    if tensor.is_complex():
        raise UsageError("the model computes with complex numbers; probe measures real ones")
    plain = tensor.detach().double()
    moved = plain.movedim(axis, -1) if plain.ndim > 1 else plain.reshape(-1, 1)
    size = moved.shape[-1]
    if moved.numel() % (samples * size) or len(moved) % samples:
        squares = np.full((samples, 1), float(plain.square().sum()) / samples)
        return Value(
            plain.numel() // samples or 1,
            1,
            squares / max(plain.numel() // samples, 1),
            np.nan,
            int((~plain.isfinite()).sum()),
            _dtype(tensor),
            np.full(samples, np.nan),
        )
    squares = array(moved.square().sum(-1).reshape(samples, -1))
    flat = moved.reshape(samples, -1)
    correlation = np.nan
    if samples > 1:
        scale = float(flat[0].norm() * flat[1].norm())
        correlation = float(flat[0] @ flat[1]) / scale if scale > 0 else np.nan
    nonfinite = int((~plain.isfinite()).sum())
    return Value(
        size,
        squares.shape[1],
        measured_rows(squares, size),
        correlation,
        nonfinite,
        _dtype(tensor),
        np.full(samples, np.nan),
    )


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def empty_value(samples: int) -> Value:
    """The input of a model of whole numbers, such as tokens."""
    return Value(1, 1, np.full((samples, 1), np.nan), np.nan, 0, "int64", np.full(samples, np.nan))
