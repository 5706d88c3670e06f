"""A JAX function on tape: the equations of its jaxpr, run one by one, and the gradients at all of their values.

`jax.make_jaxpr` shows what y = function(params, x) computes. Each equation is evaluated as it stands, a zero is added
to each of its values, and the gradient with respect to that zero is the gradient at the value.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpn.probing.libraries.jax_functions import (
    RESHAPES,
    Line,
    Program,
    bind,
    data_lines,
    elementwise,
    evaluate,
    is_elementwise,
    is_uniform,
)
from gpn.probing.tape import Operation, Tape, Value, Weights, measured_rows
from theory.errors import UsageError
from theory.numerics.arithmetic import FloatArray


def run(model: Any, inputs: Any, rng: np.random.Generator, samples: int) -> Tape:
    """Run a pair (function, params) on inputs, or on random ones where there are none.

    Args:
        model: y = function(params, x); params any tree, of whose leaves those that are no arrays stay as they are.
        inputs: array (samples, ...); None for directions of length |x|^2 = n, n the rows of the first matrix.
        rng: of inputs and of the directions at the output.
        samples: how many random inputs.

    Raises:
        UsageError: the function fails on the inputs, or returns no array (samples, ...) of floating-point numbers.
    """
    function, params = model
    paths, tree = jax.tree_util.tree_flatten_with_path(params)
    leaves = [leaf for _, leaf in paths]
    places = [index for index, leaf in enumerate(leaves) if _is_array(leaf)]
    arrays = [jnp.asarray(leaves[index]) for index in places]
    x = jnp.asarray(_random_inputs(arrays, rng, samples) if inputs is None else inputs)
    if arrays and jnp.issubdtype(x.dtype, jnp.floating):
        x = x.astype(arrays[0].dtype)

    def called(given: Sequence[Any], x: Any) -> Any:
        filled = list(leaves)
        for index, array in zip(places, given, strict=True):
            filled[index] = array
        return jax.tree_util.tree_leaves(function(jax.tree_util.tree_unflatten(tree, filled), x))[0]

    try:
        program = Program(jax.make_jaxpr(called)(arrays, x))
        recorder = _Recorder(program, arrays, [_path_name(paths[index][0]) for index in places], x)
        recorder.differentiate(rng)
    except UsageError:
        raise
    except Exception as error:  # the user's own code can raise anything
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"the function fails on inputs of shape {tuple(x.shape)}: {what:.300}") from error
    return recorder.tape


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray) and bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def _path_name(path: Any) -> str:
    """The name of a leaf, as "layers.0.weight"."""
    keys = (str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)
    return ".".join(key for key in keys if key != "params")


def _random_inputs(arrays: Sequence[Any], rng: np.random.Generator, samples: int) -> FloatArray:
    first = next((array for array in arrays if array.ndim == 2), None)
    if first is None:
        raise UsageError(
            "params hold no matrix that tells the shape of the inputs; give inputs=, an array (samples, ...)"
        )
    x = rng.standard_normal((samples, first.shape[0]))
    return np.asarray(x * np.sqrt(first.shape[0]) / np.linalg.norm(x, axis=1, keepdims=True))


class _Recorder:
    """Runs the lines of a program twice: for the values, and for the gradients."""

    def __init__(self, program: Program, arrays: Sequence[Any], names: Sequence[str], x: Any) -> None:
        self.program, self.names = program, names
        self.tape, self.samples = Tape("JAX", evaluate), len(x)
        self._known: dict[int, Any] = program.constants | dict(zip(program.inputs, [*arrays, x], strict=True))
        self._origin = {key: index for index, key in enumerate(program.inputs[:-1])}  # the leaf behind a constant
        self._axes: list[tuple[int, int]] = []  # of each value: the axes of samples and of neurons
        self._pulls: list[tuple[Operation, int, Callable[[Any], FloatArray | None]]] = []
        self._start = program.inputs[-1]
        self._data = {self._start: self._add_value(x, 0, x.ndim - 1)}  # key -> value
        for line, depends in data_lines(program, self._start):
            arguments = line.arguments(self._known)
            results = bind(line.equation, arguments)
            self._known |= dict(zip(line.makes, results, strict=True))
            if not depends:
                leaves = {self._origin[key] for key in line.takes if key in self._origin}
                if len(leaves) == 1:
                    self._origin |= dict.fromkeys(line.makes, leaves.pop())
                continue
            for key, result in zip(line.makes, results, strict=True):
                self._note(line, arguments, key, result)

    def _note(self, line: Line, arguments: Sequence[Any], key: int, result: Any) -> None:
        is_data = [taken in self._data for taken in line.takes]
        inputs = tuple(self._data[taken] for taken in line.takes if taken in self._data)
        first = arguments[is_data.index(True)]
        kind = self._kind(line, arguments, is_data, result)
        sample, neuron = self._axes_of(line, kind, first, inputs[0], is_data.index(True), result)
        output = self._data[key] = self._add_value(result, sample, neuron)
        if kind == "bias":
            self._add_bias(inputs[0], output, arguments[is_data.index(False)], result, neuron)
            return
        label = str(line.equation.params.get("name", line.name))
        operation = Operation(kind, line.scope, label, inputs, output)
        self.tape.operations.append(operation)
        if kind == "elementwise":
            operation.call = elementwise(line, arguments, is_data)
        elif kind in ("linear", "convolution"):
            self._describe_map(operation, line, arguments, is_data.index(True))

    def _kind(self, line: Line, arguments: Sequence[Any], is_data: Sequence[bool], result: Any) -> Any:
        data = [value for value, moves in zip(arguments, is_data, strict=True) if moves]
        fixed = [value for value, moves in zip(arguments, is_data, strict=True) if not moves]
        if len(line.makes) > 1:
            return "other"
        if line.name == "dot_general" and len(data) == 1:
            contracted, batch = line.equation.params["dimension_numbers"]
            return "linear" if not batch[0] and len(contracted[0]) == 1 and fixed[0].ndim == 2 else "other"
        if line.name == "conv_general_dilated" and is_data[0] and len(data) == 1:
            return "convolution"
        if line.name == "add" and len(data) == 1 and self._takes_bias(line, fixed[0], result):
            return "bias"
        if line.name in RESHAPES:
            return "reshape" if result.size == data[0].size else "other"
        if is_elementwise(line.equation) and all(value.shape == result.shape for value in data):
            return "elementwise" if all(map(is_uniform, fixed)) else "other"
        return "other"

    def _map_before(self, value: int) -> Operation | None:
        """The map or convolution whose plain output, but for reshapes, a value is."""
        for operation in reversed(self.tape.operations):
            if operation.output == value and operation.kind == "reshape":
                value = operation.inputs[0]
            elif operation.output == value:
                return operation if operation.kind in ("linear", "convolution") and operation.bias is None else None
        return None

    def _takes_bias(self, line: Line, other: Any, result: Any) -> bool:
        """Whether a vector of the neurons is added to what a map made."""
        value = next(self._data[key] for key in line.takes if key in self._data)
        return self._map_before(value) is not None and _bias(other, result.shape, self._axes[value][1]) is not None

    def _add_bias(self, value: int, output: int, other: Any, result: Any, neuron: int) -> None:
        operation = self._map_before(value)
        assert operation is not None  # the kind says so
        operation.bias = _bias(other, result.shape, neuron)
        inner = {value}
        while value != operation.output:
            reshape = next(o for o in self.tape.operations if o.output == value)
            self.tape.operations.remove(reshape)
            value = reshape.inputs[0]
            inner.add(value)
        operation.output = output

    def _axes_of(self, line: Line, kind: str, source: Any, value: int, place: int, result: Any) -> tuple[int, int]:
        """The axes of samples and of neurons in a result."""
        sample, neuron = self._axes[value]
        if kind == "linear":
            axis = line.equation.params["dimension_numbers"][0][place][0]
            left = [one for one in range(source.ndim) if one != axis]
            position = left.index(sample) if sample in left else 0
            return (position, result.ndim - 1) if place == 0 else (position + 1, 0)
        if kind == "convolution":
            spec = line.equation.params["dimension_numbers"].out_spec
            return spec[0], spec[1]
        if line.name == "transpose":
            order = list(line.equation.params["permutation"])
            return order.index(sample), order.index(neuron)
        if result.shape == source.shape:
            return sample, neuron
        places = [axis for axis, length in enumerate(result.shape) if length == self.samples]
        return (places[0] if places else 0), max(result.ndim - 1, 0)

    def _describe_map(self, operation: Operation, line: Line, arguments: Sequence[Any], place: int) -> None:
        """Weights and what goes back through them."""
        weight, key = arguments[1 - place], line.takes[1 - place]
        if operation.kind == "linear":
            axis = line.equation.params["dimension_numbers"][0][1 - place][0]
            matrix = np.asarray(weight, dtype=np.float64)
            matrix = matrix if axis == 1 else matrix.T
        else:
            order = line.equation.params["dimension_numbers"].rhs_spec
            matrix = np.asarray(jnp.transpose(weight, order), dtype=np.float64)
            matrix = matrix.reshape(len(matrix), -1)
            operation.channels = arguments[0].shape[line.equation.params["dimension_numbers"].lhs_spec[1]]
            operation.groups = int(line.equation.params["feature_group_count"])
            self._patches(operation, line, arguments)
        operation.weights = Weights.of(np.ascontiguousarray(matrix))
        operation.core = self.tape.values[operation.output].lengths
        if key in self._origin:
            operation.parameter = self.names[self._origin[key]]
            operation.name = operation.parameter.rpartition(".")[0] or operation.name
        source = operation.inputs[0]

        def pull(gradient: Any) -> FloatArray:
            def forward(moved: Any) -> Any:
                return bind(line.equation, [moved, weight] if place == 0 else [weight, moved])[0]

            (pulled,) = jax.vjp(forward, arguments[place])[1](gradient)
            return _by_sample(pulled, self._axes[source][0])

        self._pulls.append((operation, operation.output, pull))

    def _patches(self, operation: Operation, line: Line, arguments: Sequence[Any]) -> None:
        """Sums of squares in all patches: a convolution with ones of the squares, summed over channels."""
        fields, kernel = arguments
        numbers = line.equation.params["dimension_numbers"]
        ones = jnp.ones([1 if a in numbers.rhs_spec[:2] else n for a, n in enumerate(kernel.shape)], fields.dtype)
        energy = jnp.sum(fields**2, axis=numbers.lhs_spec[1], keepdims=True)
        parameters = line.equation.params | {"feature_group_count": 1}

        def patches(squares: Any) -> Any:
            return line.equation.primitive.bind(squares, ones, **parameters)

        operation.patches = _sums(patches(energy), numbers.out_spec[0]) / operation.groups

        def back(gradient: Any) -> None:
            spread = jnp.sum(gradient**2, axis=numbers.out_spec[1], keepdims=True)
            (squares,) = jax.vjp(patches, energy)[1](spread)
            operation.back_patches = _sums(squares, numbers.lhs_spec[0]) / operation.groups

        self._pulls.append((operation, operation.output, back))

    def _add_value(self, array: Any, sample: int, neuron: int) -> int:
        self.tape.values.append(_measure(array, self.samples, sample, neuron))
        if jnp.issubdtype(array.dtype, jnp.floating):
            self.tape.epsilon = max(self.tape.epsilon, float(jnp.finfo(array.dtype).eps))
        self._axes.append((sample, neuron))
        return len(self.tape.values) - 1

    def differentiate(self, rng: np.random.Generator) -> None:
        """Run again with a zero added to every value that depends on the input, and take the gradient of E.

        Raises:
            UsageError: the output is no array (samples, ...) that depends on the input.
        """
        end = self.program.outputs[0]
        y = self._known[end] if end is not None and end in self._data else None
        if (
            end is None
            or y is None
            or not jnp.issubdtype(y.dtype, jnp.floating)
            or y.ndim == 0
            or len(y) != self.samples
        ):
            raise UsageError(
                f"the function returns no array ({self.samples}, ...) of numbers that depend on its inputs"
            )
        directions = rng.standard_normal((self.samples, y[0].size))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        seed = jnp.asarray(directions.reshape(y.shape), y.dtype)
        smooth = [key for key in self._data if jnp.issubdtype(self._known[key].dtype, jnp.floating)]
        arrays = {key: self._known[key] for key in self.program.inputs[:-1]}

        def error(taps: dict[int, Any], given: dict[int, Any]) -> Any:
            known = self.program.constants | given | {self._start: self._known[self._start]}
            if self._start in taps:
                known[self._start] += taps[self._start]
            for line in self.program.lines:
                results = bind(line.equation, line.arguments(known))
                for key, result in zip(line.makes, results, strict=True):
                    known[key] = result + taps[key] if key in taps else result
            return jnp.sum(known[end] * seed)

        taps = {key: jnp.zeros_like(self._known[key]) for key in smooth}
        at_values, at_arrays = jax.grad(error, (0, 1))(taps, arrays)
        gradients = {self._data[key]: gradient for key, gradient in at_values.items()}
        for place, gradient in gradients.items():
            self.tape.values[place].gradient = _by_sample(gradient, self._axes[place][0])
        norms = {self.names[i]: float(jnp.linalg.norm(at_arrays[key].ravel())) for key, i in self._leaves()}
        for operation, place, pull in self._pulls:
            operation.weight_gradient = norms.get(operation.parameter, float("nan"))
            pulled = pull(gradients[place])
            operation.pulled = operation.pulled if pulled is None else pulled

    def _leaves(self) -> list[tuple[int, int]]:
        return [(key, index) for index, key in enumerate(self.program.inputs[:-1])]


def _bias(other: Any, shape: tuple[int, ...], neuron: int) -> FloatArray | None:
    """The vector of the neurons that a constant spreads over everything else; None if it is something else."""
    spread = np.moveaxis(np.broadcast_to(np.asarray(other, dtype=np.float64), shape), neuron, -1)
    rows = spread.reshape(-1, shape[neuron])
    return np.array(rows[0]) if (rows == rows[0]).all() else None


def _by_sample(array: Any, axis: int) -> FloatArray:
    """Squared norm of each sample, array (samples,)."""
    return _sums(np.square(np.asarray(array, dtype=np.float64)), axis)


def _sums(array: Any, axis: int) -> FloatArray:
    plain = np.moveaxis(np.asarray(array, dtype=np.float64), axis, 0)
    return np.asarray(plain.reshape(len(plain), -1).sum(1))


def _measure(array: Any, samples: int, sample: int, neuron: int) -> Value:
    """Lengths, correlation and what is not finite."""
    plain = np.asarray(array, dtype=np.float64)
    missing = np.full(samples, np.nan)
    dtype, nonfinite = str(array.dtype), int((~np.isfinite(plain)).sum())
    if plain.ndim < 1 or sample >= plain.ndim or plain.shape[sample] != samples:
        return Value(max(plain.size, 1), 1, np.full((samples, 1), np.nan), np.nan, nonfinite, dtype, missing)
    moved = np.moveaxis(plain, sample, 0)
    if plain.ndim > 1 and neuron != sample:
        moved = np.moveaxis(moved, neuron + (neuron < sample), -1)
    size = moved.shape[-1] if plain.ndim > 1 else 1
    flat = moved.reshape(samples, -1)
    with np.errstate(all="ignore"):
        squares = (flat.reshape(samples, -1, size) ** 2).sum(2)
        correlation = np.nan
        if samples > 1:
            correlation = float(flat[0] @ flat[1] / (np.linalg.norm(flat[0]) * np.linalg.norm(flat[1])))
    return Value(size, squares.shape[1], measured_rows(squares, size), correlation, nonfinite, dtype, missing)
