"""What the operations of a tape are to the theory: layers, activations, sums, and what is beyond it."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from gpn.probing.tape import Operation, Tape
from theory.activations import catalog
from theory.activations.frameworks import on_arrays
from theory.activations.specification import Phi, activation
from theory.errors import UsageError
from theory.numerics.arithmetic import FloatArray

_GRID: FloatArray = np.linspace(-4.0, 4.0, 101) + 0.0137
_ALIKE = 2e-6  # relative agreement with a named activation: constants may be in single precision


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """A part of the model, covered by theory or not.

    Args:
        kind: "linear", "convolution", "activation", "scale", "add", "normalization", "dropout" or "other".
        name: the module that it belongs to.
        label: the function that was called.
        inputs: the values that it takes, without reshapes.
        output: the value that it makes.
        operation: of a linear map, a convolution, a normalization or dropout.
        phi: of an activation.
        scale: of a scale.
        alone: whether nothing else takes its input, so that the gradient there is what this unit sends back.
    """

    kind: str
    name: str
    label: str
    inputs: tuple[int, ...]
    output: int
    operation: Operation | None = None
    phi: Phi | None = None
    scale: float = 1.0
    alone: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A residual sum x + f(x) with weights in f.

    Args:
        place: of the sum among the units.
        start, end: the values x and x + f(x).
    """

    place: int
    start: int
    end: int


def branches(units: Sequence[Unit]) -> tuple[list[Block], set[int]]:
    """The residual sums that lie in no other branch, and all values that are computed beside another path.

    Paths are parallel if a sum brings them together: f in x + f(x), both in f(x) + g(x).
    """
    above: dict[int, set[int]] = {}
    blocks: list[tuple[Block, set[int]]] = []
    aside: set[int] = set()
    weighted = {unit.output for unit in units if unit.kind in ("linear", "convolution", "other")}
    scaled = {unit.output: unit.inputs[0] for unit in units if unit.kind == "scale"}
    for place, unit in enumerate(units):
        paths = [above.get(value, {value}) for value in unit.inputs]
        above[unit.output] = {unit.output}.union(*paths)
        own = paths[0] ^ paths[1] if unit.kind == "add" else set()
        if not own & weighted or unit.label == "sub":
            continue
        aside |= own
        starts = [scaled.get(value, value) for value in unit.inputs]
        sides = [side for side in (0, 1) if starts[side] in paths[1 - side]]
        blocks += [(Block(place, starts[side], unit.output), own) for side in sides[:1]]
    return [block for block, _ in blocks if not any(block.end in inner for _, inner in blocks)], aside


@dataclass(slots=True)
class Recognizer:
    """Reads tapes; an activation that was met before, in another layer or initialization, is not read again.

    Args:
        read: what was found for the values that a function has on a grid.
    """

    read: dict[bytes, tuple[str, Phi | None, float]] = field(default_factory=dict)

    def units(self, tape: Tape) -> list[Unit]:
        """The units of a tape in the order in which they ran; elementwise functions of one value are one unit."""
        graph = _Graph(tape)
        found = []
        for operation in tape.operations:
            kind = graph.kinds[operation.output]
            if kind == "reshape" or tape.values[operation.output].dtype == "bool":
                continue
            if kind == "elementwise" and not graph.is_final(operation.output):
                continue
            inputs = tuple(graph.base(value) for value in operation.inputs)
            if kind == "elementwise":
                found.append(self._elementwise(graph, operation))
            else:
                alone = all(graph.readers(value) == {operation.output} for value in inputs)
                found.append(
                    Unit(kind, operation.name, operation.label, inputs, operation.output, operation, alone=alone)
                )
        return found

    def _elementwise(self, graph: "_Graph", operation: Operation) -> Unit:
        root = graph.roots[operation.output]
        inside = graph.inside(operation.output)
        alone = graph.readers(root) <= inside
        name, phi, scale = self._function(graph, operation.output)
        kind = "activation" if phi is not None else "scale" if name == "scale" else "other"
        label = phi.name if phi is not None else name
        return Unit(kind, operation.name, label, (root,), operation.output, None, phi, scale, alone)

    def _function(self, graph: "_Graph", value: int) -> tuple[str, Phi | None, float]:
        """What the function from the root to a value is: a scale, a named activation, a phi of its own, or unknown."""
        function, labels = graph.function(value), graph.labels(value)
        try:
            first, again = (graph.evaluate(function, _GRID.copy()) for _ in range(2))
        except Exception:  # an operation of the library may refuse to be evaluated alone
            return labels[-1], None, 1.0
        if first.shape != _GRID.shape or not np.array_equal(first, again, equal_nan=True):
            return labels[-1], None, 1.0
        key = first.tobytes()
        if key not in self.read:
            self.read[key] = _identify(first, function, labels)
        return self.read[key]


def _identify(values: FloatArray, function: Callable[..., Any], labels: list[str]) -> tuple[str, Phi | None, float]:
    slope = (values[-1] - values[0]) / (_GRID[-1] - _GRID[0])
    if np.isfinite(values).all() and np.allclose(
        values, slope * _GRID, rtol=_ALIKE, atol=_ALIKE * np.abs(values).max()
    ):
        return "scale", None, float(slope)
    for name in _candidates(labels):
        named = _affine_of(name, values)
        if named is not None:
            return named.name, named, 1.0
    own = _own(function, f"own function [{', '.join(labels)}]")
    return labels[-1] if own is None else own.name, own, 1.0


def _candidates(labels: list[str]) -> list[str]:
    """Named activations, those with the name of a function first."""
    called = [entry.name for entry in map(catalog.find, reversed(labels)) if entry is not None]
    return list(dict.fromkeys([*called, *(name for name in catalog.names() if name != "hermite")]))  # of any degree


def _own(function: Callable[..., Any], name: str) -> Phi | None:
    """A function that has no name of its own; its own derivative may be wrong, which the gradients will show."""
    value = on_arrays(function)[0]
    for form in (function, lambda x: value(x)):
        with suppress(UsageError):
            return activation(form, name=name)
    return None


@cache
def _named(name: str) -> tuple[Phi, FloatArray]:
    """A named activation and its values on the grid."""
    phi = catalog.build(name)
    return phi, phi.value(_GRID)


def _affine_of(name: str, values: FloatArray) -> Phi | None:
    """The activation a phi + b that has these values on the grid; None if there is none."""
    phi, own = _named(name)
    basis = np.column_stack([own, np.ones_like(_GRID)])
    if not np.isfinite(basis).all() or not np.isfinite(values).all():
        return None
    (a, b), *_ = np.linalg.lstsq(basis, values)
    size = np.abs(values).max()
    if not np.allclose(basis @ [a, b], values, rtol=0, atol=_ALIKE * size):
        return None
    a, b = (round(float(number), 12) for number in (a, b))
    if abs(a - 1) < _ALIKE and abs(b) < _ALIKE * size:
        return phi
    if abs(b) < _ALIKE * size:
        b = 0.0
    return phi.affine(a, b, f"{a:.6g}*{phi.name}" + (f"{b:+.6g}" if b else ""))


class _Graph:
    """The tape as a graph, with the root of every elementwise value."""

    def __init__(self, tape: Tape) -> None:
        self.makers, self._taken = tape.makers(), tape.consumers()
        self._tape, self.evaluate = tape, tape.evaluate
        self.roots: dict[int, int] = {}
        self.kinds: dict[int, str] = {}
        for operation in tape.operations:
            self.kinds[operation.output] = self._kind(operation)

    def _kind(self, operation: Operation) -> str:
        """Elementwise functions of several values are sums, products or unknown."""
        if operation.kind != "elementwise":
            return operation.kind
        sources = {self.roots.get(self.base(value), self.base(value)) for value in operation.inputs}
        if len(sources) == 1:
            self.roots[operation.output] = sources.pop()
            return "elementwise"
        return "add" if operation.label in ("add", "radd", "sub") and len(operation.inputs) == 2 else "other"

    def base(self, value: int) -> int:
        """The value before reshapes."""
        while value in self.makers and self.kinds[value] == "reshape":
            value = self.makers[value].inputs[0]
        return value

    def readers(self, value: int) -> set[int]:
        """The values made directly of this one, reshapes left out."""
        made: set[int] = set()
        for position in self._taken.get(value, []):
            output = self._tape.operations[position].output
            made |= self.readers(output) if self.kinds[output] == "reshape" else {output}
        return made

    def is_final(self, value: int) -> bool:
        """Whether an elementwise value is taken by something else than elementwise functions of its root."""
        readers = self.readers(value)
        return not readers or any(self.roots.get(reader) != self.roots[value] for reader in readers)

    def inside(self, value: int) -> set[int]:
        """The elementwise values between the root and this one, both ends counted but the root."""
        if value not in self.roots:
            return set()
        found = {value}
        for source in self.makers[value].inputs:
            found |= self.inside(self.base(source))
        return found

    def labels(self, value: int) -> list[str]:
        """The functions from the root to this value."""
        return [self.makers[inner].label for inner in sorted(self.inside(value))]

    def function(self, value: int) -> Callable[[Any], Any]:
        """The elementwise function from the root to this value, on arrays of the library."""
        order, root = sorted(self.inside(value)), self.roots[value]

        def call(x: Any) -> Any:
            known = {root: x}
            for inner in order:
                maker = self.makers[inner]
                assert maker.call is not None  # elementwise operations have one
                known[inner] = maker.call(*(known[self.base(source)] for source in maker.inputs))
            return known[value]

        return call
