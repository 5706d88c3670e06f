"""Norms of every layer while a PyTorch model trains, beside those at initialization, at small cost: `Monitor`."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from importlib import import_module
from statistics import median
from typing import Any

import pandas as pd

from gpn.engine.arguments import count
from theory.errors import UsageError

QUANTITIES: Mapping[str, str] = {
    "x": "mean square of the input, |x|^2/n averaged over the batch",
    "h": "mean square of the output, |h|^2/n averaged over the batch",
    "dh": "norm of the gradient by the output, |dE/dh|",
    "dW": "norm of the gradient by the weight, |dE/dW|_F",
}
"""What is recorded for each layer."""

_COLUMNS = ("step", "layer", "quantity", "value", "ratio", "outside")


class Monitor:
    r"""Record the norms of signals and gradients in every layer of a PyTorch model, every so many steps.

    .. math:: |x|^2/n, \qquad |h|^2/n, \qquad |\partial E/\partial h|, \qquad |\partial E/\partial W|_F

    Hooks are there in the steps that are sampled and in no other, so that a step between costs nothing. Each value is
    compared with its median over the first steps; beyond a factor it counts as outside of the band.

    Args:
        model: a `torch.nn.Module`.
        every: steps from one sample to the next.
        layers: which layers, a pattern for their names as "*.attention.*"; all layers with a weight matrix.
        initial: the first steps, which are sampled one by one.
        within: the factor of the band around the initial value.
        writer: gets every value too: a TensorBoard `SummaryWriter`, a run of W&B, or a function of the step and a
            mapping from "layer/quantity" to value.

    Raises:
        UsageError: no layer of that name, or a writer that cannot write.

    Call `step` once in every training step, between `backward` and `zero_grad`; `frame` has the values::

        monitor = gpn.torch.Monitor(model, every=50)
        for inputs, targets in data:
            loss(model(inputs), targets).backward()
            monitor.step()
            optimizer.step()
            optimizer.zero_grad()
        print(monitor.summary())
    """

    def __init__(
        self,
        model: Any,
        every: int = 50,
        *,
        layers: str = "*",
        initial: int = 3,
        within: float = 10.0,
        writer: Any = None,
    ) -> None:
        if not within > 1:
            raise UsageError(f"within, the factor of the band, must be above 1, not {within}")
        if not hasattr(model, "named_modules"):
            raise UsageError(f"a monitor takes a torch.nn.Module, not {type(model).__name__}")
        self.every, self.initial, self.within = count("every", every), count("initial", initial), within
        self.layers = {
            name: module
            for name, module in model.named_modules()
            if fnmatchcase(name, layers) and getattr(getattr(module, "weight", None), "ndim", 0) >= 2
        }
        if not self.layers:
            raise UsageError(f"no layer with a weight matrix has a name like {layers!r}")
        self._write = _writing(writer)
        self._rows: list[dict[str, Any]] = []
        self._first: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._sampled: dict[tuple[str, str], list[Any]] = defaultdict(list)
        self._hooks: list[Any] = []
        self.steps = 0
        self._listen()

    def step(self, loss_scale: float = 1.0) -> None:
        """Count a step, after `backward`; record it if it is sampled.

        Args:
            loss_scale: the factor of the loss, where gradients are scaled for half precision.
        """
        if self._hooks:
            self._record(loss_scale)
        self.steps += 1
        wanted = self.steps < self.initial or self.steps % self.every == 0
        if wanted and not self._hooks:
            self._listen()
        elif not wanted:
            self.close()

    def close(self) -> None:
        """Remove the hooks from the model."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._sampled.clear()

    @property
    def frame(self) -> pd.DataFrame:
        """One row for each step, layer and quantity: value, ratio to the initial value, and whether it is outside."""
        return pd.DataFrame(self._rows, columns=list(_COLUMNS))

    def summary(self) -> str:
        """Say which layers have left the band, each with the first step and the quantity that left furthest then."""
        if not self._rows:
            return "Nothing is recorded yet: call step() after backward()."
        left: dict[str, dict[str, Any]] = {}
        for row in self._rows:
            known = left.get(row["layer"])
            further = known is not None and row["step"] == known["step"] and _distance(row) > _distance(known)
            if row["outside"] and (known is None or further):
                left[row["layer"]] = row
        if not left:
            return f"All {len(self.layers)} layers stay within a factor {self.within:g} of their initial norms."
        lines = [
            f"{name or 'model'}: {row['quantity']} is {row['ratio']:.3g} of its initial value at step {row['step']}"
            for name, row in left.items()
        ]
        return "\n".join([f"{len(left)} of {len(self.layers)} layers have left the band:", *lines])

    def lightning(self) -> Any:
        """Return a Lightning callback that counts the steps: `Trainer(callbacks=[monitor.lightning()])`.

        Raises:
            UsageError: Lightning is not installed.
        """
        for package in ("lightning.pytorch", "pytorch_lightning"):
            try:
                base = import_module(package).Callback
            except ImportError:
                continue
            hook = {"on_after_backward": lambda _self, _trainer, _module: self.step()}
            return type("MonitorCallback", (base,), hook)()
        raise UsageError("a Lightning callback needs Lightning, which is not installed: pip install lightning")

    def _listen(self) -> None:
        self._hooks = [module.register_forward_hook(self._hook(name)) for name, module in self.layers.items()]

    def _hook(self, name: str) -> Callable[[Any, Any, Any], None]:
        def after_forward(_module: Any, inputs: Any, output: Any) -> None:
            result = output[0] if isinstance(output, tuple) else output
            if not result.requires_grad:  # a validation in between
                return
            if inputs and inputs[0].is_floating_point():
                self._sampled[name, "x"].append(_mean_square(inputs[0]))
            self._sampled[name, "h"].append(_mean_square(result))
            result.register_hook(lambda gradient: self._sampled[name, "dh"].append(_square(gradient)))

        return after_forward

    def _record(self, loss_scale: float) -> None:
        values: dict[tuple[str, str], float] = {}
        for name, module in self.layers.items():
            for quantity in ("x", "h"):
                found = self._sampled[name, quantity]
                if found:  # a layer that is used twice has the mean of both
                    values[name, quantity] = float(sum(found) / len(found))
            if self._sampled[name, "dh"]:
                values[name, "dh"] = math.sqrt(float(sum(self._sampled[name, "dh"]))) / loss_scale
            if module.weight.grad is not None:
                values[name, "dW"] = math.sqrt(float(_square(module.weight.grad))) / loss_scale
        self._sampled.clear()
        self._rows += [self._row(*key, value) for key, value in values.items()]
        self._write(self.steps, {f"{name}/{quantity}": value for (name, quantity), value in values.items()})

    def _row(self, name: str, quantity: str, value: float) -> dict[str, Any]:
        first = self._first[name, quantity]
        if self.steps < self.initial:
            first.append(value)
        start = median(first) if first else math.nan
        ratio = value / start if start else math.nan
        outside = not 1 / self.within <= ratio <= self.within if first else False
        return dict(zip(_COLUMNS, (self.steps, name, quantity, value, ratio, outside), strict=True))


def _square(tensor: Any) -> Any:
    """Sum of squares, in float32 at least: half precision overflows at 65504."""
    known = tensor.detach()
    return (known if known.element_size() >= 4 else known.float()).square().sum()


def _mean_square(tensor: Any) -> Any:
    return _square(tensor) / tensor.numel()


def _distance(row: Mapping[str, Any]) -> float:
    """How far a ratio is from 1, on a logarithmic scale; infinite for what is not finite or 0."""
    ratio = row["ratio"]
    return abs(math.log(ratio)) if ratio > 0 and math.isfinite(ratio) else math.inf


def _writing(writer: Any) -> Callable[[int, dict[str, float]], None]:
    """How a writer takes the values of one step."""
    if writer is None:
        return lambda _step, _values: None
    if hasattr(writer, "add_scalar"):  # TensorBoard

        def add(step: int, values: dict[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        return add
    if hasattr(writer, "log"):  # W&B
        return lambda step, values: writer.log(values, step=step)
    if callable(writer):
        return lambda step, values: writer(step, values)
    raise UsageError("a writer has add_scalar (TensorBoard) or log (W&B), or is a function of the step and the values")
