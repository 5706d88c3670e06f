"""A PyTorch model on tape: every function that it calls, its values and its gradients.

`torch.overrides.TorchFunctionMode` shows each function of PyTorch with its arguments, so that a model needs neither a
trace nor a certain structure. Gradients come from hooks on the values. It and `torch_functions` alone
import PyTorch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from gpn.probing.libraries.torch_functions import (
    CONVOLUTIONS,
    DROPOUTS,
    ELEMENTWISE,
    IGNORED,
    NORMALIZATIONS,
    RESHAPES,
    array,
    by_sample,
    empty_value,
    evaluate,
    is_uniform,
    measure,
    places,
    replay,
)
from gpn.probing.tape import Operation, Tape, Weights
from theory.errors import UsageError
from theory.numerics.arithmetic import FloatArray


def run(model: torch.nn.Module, inputs: Any, rng: np.random.Generator, samples: int) -> Tape:
    """Run a module on inputs, or on random ones where there are none.

    Args:
        model: any module, used in the mode (training, evaluation) that it is in.
        inputs: tensor or array (samples, ...); None for standard normal directions of length |x|^2 = n.
        rng: of inputs and of the directions at the output.
        samples: how many random inputs.

    Raises:
        UsageError: as for `record`, or a first layer that does not tell the shape of the inputs.
    """
    given = random_inputs(model, rng, samples) if inputs is None else inputs
    parameter = next(model.parameters(), torch.zeros(0))
    tensor = torch.as_tensor(given).to(parameter.device)
    if tensor.ndim < 1 or len(tensor) == 0:
        raise UsageError(f"inputs have shape (samples, ...), not {tuple(tensor.shape)}")
    if tensor.is_floating_point():
        tensor = tensor.to(parameter.dtype)
    return record(model, tensor, rng)


def random_inputs(model: torch.nn.Module, rng: np.random.Generator, samples: int) -> FloatArray:
    """Inputs of any direction with |x|^2 = n, if the first module with weights is a linear map.

    Raises:
        UsageError: it is something else.
    """
    first = next(
        (module for module in model.modules() if next(module.parameters(recurse=False), None) is not None), None
    )
    if not isinstance(first, torch.nn.Linear) or first.in_features == 0:  # a lazy one does not know yet
        kind = "no weights" if first is None else f"a {type(first).__name__}"
        raise UsageError(
            f"the model begins with {kind}, which does not tell the shape of its inputs; give inputs=, an array "
            "(samples, ...)"
        )
    x = rng.standard_normal((samples, first.in_features))
    return np.asarray(x * np.sqrt(first.in_features) / np.linalg.norm(x, axis=1, keepdims=True))


def record(model: torch.nn.Module, inputs: torch.Tensor, rng: np.random.Generator) -> Tape:
    """Run a model forward and backward, and return what it did.

    E = sum_i <e_i, y_i> over samples i, e_i a random unit vector of the shape of the output of that sample; of several
    outputs the first is taken.

    Args:
        model: any module.
        inputs: a tensor (samples, ...).
        rng: for the directions e_i.

    Raises:
        UsageError: the model fails on the inputs, or gives no tensor of floating-point numbers.
    """
    if inputs.is_floating_point():
        inputs = inputs.detach().clone().requires_grad_(True)
    recorder = _Recorder(model, inputs)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        for parameter in model.parameters():
            parameter.grad = None
        with torch.enable_grad(), _names(model, recorder), recorder:
            output = _first_tensor(model(inputs))
        _backward(output, rng)
        recorder.finish()
    except UsageError:
        raise
    except Exception as error:  # the user's own code can raise anything
        what = " ".join(f"{type(error).__name__}: {error}".split())
        shape = tuple(inputs.shape)
        if isinstance(error, TypeError) and "required positional argument" in what:
            what += "; wrap a model of several inputs in a module of one"
        raise UsageError(f"{type(model).__name__} fails on inputs of shape {shape}: {what:.300}") from error
    finally:
        recorder.close()
        for name, parameter in model.named_parameters():
            parameter.grad = gradients.get(name)
        with torch.no_grad():
            for name, buffer in model.named_buffers():  # running statistics
                if name in buffers and buffer.shape == buffers[name].shape:
                    buffer.copy_(buffers[name])
    return recorder.tape


def _backward(output: torch.Tensor, rng: np.random.Generator) -> None:
    directions = rng.standard_normal((len(output), output[0].numel()))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    seed = torch.tensor(directions.reshape(tuple(output.shape)), dtype=output.dtype, device=output.device)
    output.backward(seed)


def _first_tensor(output: Any) -> torch.Tensor:
    """The first tensor of floating-point numbers in what a model returns; of a distribution its mean."""
    if isinstance(output, torch.Tensor):
        if output.is_floating_point() and output.ndim > 0 and output.requires_grad:
            return output
    elif isinstance(output, torch.distributions.Distribution):
        return _first_tensor(output.mean)
    else:
        values = output.values() if isinstance(output, dict) else output
        for part in values if isinstance(values, list | tuple | type({}.values())) else ():
            found = _first_tensor_or_none(part)
            if found is not None:
                return found
    raise UsageError(
        "the model returns no tensor (samples, ...) of floating-point numbers with a gradient, but "
        f"{_described(output)}; probe a module that returns one, without the loss"
    )


def _described(output: Any) -> str:
    shape = f" of shape {tuple(output.shape)}" if isinstance(output, torch.Tensor) else ""
    return f"{type(output).__name__}{shape}"


def _first_tensor_or_none(part: Any) -> torch.Tensor | None:
    try:
        return _first_tensor(part)
    except UsageError:
        return None


@contextmanager
def _names(model: torch.nn.Module, recorder: "_Recorder") -> Iterator[None]:
    """Tell the recorder which module is running."""
    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: recorder.scopes.append(name)))
        handles.append(module.register_forward_hook(lambda *_: recorder.leave(), always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Recorder(TorchFunctionMode):  # type: ignore[misc]
    """Writes the tape while a model runs."""

    def __init__(self, model: torch.nn.Module, inputs: torch.Tensor) -> None:
        super().__init__()
        self.tape = Tape("PyTorch", evaluate)
        self.scopes: list[str] = []
        self.samples = len(inputs)
        self._derived = {id(parameter): (name, parameter) for name, parameter in model.named_parameters()}
        self._weights: dict[int, Weights] = {}
        self._known: dict[int, tuple[int, torch.Tensor, int]] = {}  # value, the tensor kept alive, axis of the neurons
        self._heard: set[int] = set()
        self._handles: list[Any] = []
        self._owners: list[tuple[Operation, torch.Tensor]] = []
        if inputs.is_floating_point():
            self._add_value(inputs, 1 if inputs.ndim >= 4 else -1)
        else:
            self.tape.values.append(empty_value(self.samples))
            self._known[id(inputs)] = (0, inputs, -1)

    def leave(self) -> None:
        if self.scopes:
            self.scopes.pop()

    def close(self) -> None:
        """Let go of all tensors."""
        for handle in self._handles:
            handle.remove()
        self._known.clear()
        self._owners.clear()

    def finish(self) -> None:
        """Gradients of weights, once the backward pass has run."""
        for operation, weight in self._owners:
            if weight.is_leaf and weight.grad is not None:
                operation.weight_gradient = float(weight.grad.detach().double().norm())

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "").strip("_")
        if name in IGNORED or not isinstance(result, torch.Tensor):
            parts = result if isinstance(result, tuple | list) else ()
            for part in parts:
                if isinstance(part, torch.Tensor):
                    self._note(func, "other", name, args, kwargs, part)
            return result
        self._note(func, "", name, args, kwargs, result)
        return result

    def _note(self, func: Any, kind: str, name: str, args: Any, kwargs: Any, result: torch.Tensor) -> None:
        if not (result.is_floating_point() or result.dtype == torch.bool):
            return
        tensors = [(place, item) for place, item in places(args, kwargs) if isinstance(item, torch.Tensor)]
        data = [(place, item) for place, item in tensors if self._is_data(item)]
        if not data:
            self._derive(tensors, result)
        if not data or result.ndim == 0:
            return
        inputs = tuple(self._value(item) for _, item in data)
        axis = self._known[id(data[0][1])][2]
        kind = kind or self._kind(name, tensors, data, result)
        axis = {"linear": -1, "convolution": 1}.get(kind, axis if data[0][1].ndim == result.ndim else -1)
        output = self._add_value(result, axis)
        operation = Operation(kind, self.scopes[-1] if self.scopes else "", name, inputs, output)  # type: ignore[arg-type]
        self.tape.operations.append(operation)
        if kind == "elementwise":
            operation.call = replay(func, args, kwargs, [place for place, _ in data])
        elif kind == "dropout":
            operation.rate = float(kwargs.get("p", args[1] if len(args) > 1 else 0.5))
        elif kind in ("linear", "convolution"):
            self._describe_map(operation, func, args, kwargs, data[0], result)

    def _is_data(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor depends on the inputs; one that appears from nowhere with a gradient does, too."""
        if id(tensor) in self._known or id(tensor) in self._derived:
            return id(tensor) in self._known
        return tensor.requires_grad and not tensor.is_leaf and tensor.ndim > 0 and len(tensor) == self.samples

    def _derive(self, tensors: Any, result: torch.Tensor) -> None:
        """Note what is computed of parameters alone, as a weight with a parametrization."""
        names = {self._derived[id(item)][0] for _, item in tensors if id(item) in self._derived}
        if names and all(item.is_floating_point() for _, item in tensors):  # whole numbers may be the inputs
            self._derived[id(result)] = (", ".join(sorted(names)), result)

    def _value(self, tensor: torch.Tensor) -> int:
        if id(tensor) not in self._known:
            return self._add_value(tensor, -1)
        position = self._known[id(tensor)][0]
        self._listen(tensor, position)  # a `torch.autograd.Function` gives its output a gradient when it is through
        return position

    def _kind(self, name: str, tensors: Any, data: Any, result: torch.Tensor) -> str:
        if name in CONVOLUTIONS and len(data) == 1:
            return "convolution"
        if name in ("linear", "matmul", "mm", "addmm") and len(data) == 1:
            others = [item for _, item in tensors if item is not data[0][1] and item.ndim == 2]
            in_front = name == "linear" or data[0][0] != 1 or name == "addmm"
            return "linear" if len(others) == 1 and id(others[0]) in self._derived and in_front else "other"
        if name in NORMALIZATIONS:
            return "normalization"
        if name in DROPOUTS:
            return "dropout" if result is not data[0][1] and not torch.equal(result, data[0][1]) else "elementwise"
        if name in RESHAPES:
            return "reshape" if result.numel() == data[0][1].numel() else "other"
        if name in ELEMENTWISE and all(item.shape == result.shape for _, item in data):
            constants = [item for _, item in tensors if not self._is_data(item)]
            return "elementwise" if all(map(is_uniform, constants)) else "other"
        return "other"

    def _add_value(self, tensor: torch.Tensor, axis: int) -> int:
        position = len(self.tape.values)
        with torch.no_grad():
            value = measure(tensor, self.samples, axis)
        self.tape.values.append(value)
        if tensor.is_floating_point():
            self.tape.epsilon = max(self.tape.epsilon, float(torch.finfo(tensor.dtype).eps))
        self._known[id(tensor)] = (position, tensor, axis)
        self._listen(tensor, position)
        return position

    def _listen(self, tensor: torch.Tensor, position: int) -> None:
        """Keep the gradient that will arrive at a value."""
        if not tensor.requires_grad or position in self._heard:
            return
        self._heard.add(position)
        value = self.tape.values[position]

        def keep(gradient: torch.Tensor) -> None:
            value.gradient = by_sample(gradient, self.samples)

        self._handles.append(tensor.register_hook(keep))

    def _describe_map(self, operation: Operation, func: Any, args: Any, kwargs: Any, data: Any, result: Any) -> None:
        """Weights, bias and what goes back through them."""
        place, x = data
        given = dict(places(args, kwargs))
        transposed = operation.label != "linear" and operation.kind == "linear"  # x @ W has W as (n_in, n_out)
        weight = next(
            item
            for where, item in given.items()
            if where != place and isinstance(item, torch.nn.Parameter | torch.Tensor) and item.ndim >= 2
        )
        bias = next((i for w, i in given.items() if w != place and isinstance(i, torch.Tensor) and i.ndim == 1), None)
        operation.parameter = self._derived[id(weight)][0] if id(weight) in self._derived else ""
        matrix = weight.T if transposed else weight
        if id(weight) not in self._weights:
            self._weights[id(weight)] = Weights.of(array(matrix.reshape(len(matrix), -1)))
        operation.weights = self._weights[id(weight)]
        operation.bias = None if bias is None else array(bias)
        self._owners.append((operation, weight))
        with torch.no_grad():
            axis = 1 if operation.kind == "convolution" else -1
            shape = [1] * result.ndim
            shape[axis] = -1
            plain = result if bias is None else result - bias.reshape(shape)
            operation.core = measure(plain, self.samples, axis).lengths
        pull: Callable[[torch.Tensor], torch.Tensor]
        if operation.kind == "linear":
            pull = lambda gradient: gradient @ matrix  # noqa: E731
        else:
            operation.channels = x.shape[1]
            operation.groups = int(kwargs.get("groups", args[6] if len(args) > 6 else 1))
            pull = _convolution(operation, func, args, kwargs, x, weight, self.samples)
        if result.requires_grad:

            def keep(gradient: torch.Tensor) -> None:
                with torch.no_grad():
                    operation.pulled = by_sample(pull(gradient.detach()), self.samples)

            self._handles.append(result.register_hook(keep))


def _convolution(
    operation: Operation, func: Any, args: Any, kwargs: Any, x: torch.Tensor, weight: torch.Tensor, samples: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The backward map of a convolution; the sums of squares in its patches are noted on the way."""
    options = {name: kwargs[name] for name in ("stride", "padding", "dilation") if name in kwargs}
    options |= dict(zip(("stride", "padding", "dilation"), args[3:6], strict=False))

    def patches(fields: torch.Tensor) -> torch.Tensor:
        ones = torch.ones((1, 1, *weight.shape[2:]), dtype=torch.float64, device=fields.device)
        return func(fields, ones, None, **options)

    with torch.no_grad():
        energy = x.detach().double().square().sum(1, keepdim=True)
        operation.patches = array(patches(energy).reshape(samples, -1).sum(1)) / operation.groups

    def pull(gradient: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            fields = torch.zeros_like(energy).requires_grad_(True)
            spread = gradient.double().square().sum(1, keepdim=True)
            (back,) = torch.autograd.grad(patches(fields), fields, spread)
            operation.back_patches = array(back.reshape(samples, -1).sum(1)) / operation.groups
            twin = x.detach().clone().requires_grad_(True)
            result = func(twin, weight.detach(), None, **options, groups=operation.groups)
            (pulled,) = torch.autograd.grad(result, twin, gradient)
        return pulled

    return pull
