"""Equations of JAX: calls replaced by what they call, elementwise ones evaluated at points of any shape."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from theory.activations.frameworks import jax_in_float64
from theory.numerics.arithmetic import FloatArray

_SMOOTH = (
    "tanh logistic sin cos tan exp exp2 log log1p expm1 sqrt rsqrt cbrt square integer_pow pow erf erfc erf_inv neg"
)
_PLAIN = (
    "add sub mul div rem max min abs sign floor ceil round clamp select_n atan2 atan asin acos sinh cosh asinh add_any"
)
_LOGIC = "gt lt ge le eq ne and or not is_finite convert_element_type copy copy_p stop_gradient nextafter"
_ELEMENTWISE = frozenset(f"{_SMOOTH} {_PLAIN} {_LOGIC}".split())
_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "remat": "jaxpr",
          "checkpoint": "jaxpr", "remat2": "jaxpr", "custom_jvp_call": "call_jaxpr"}  # fmt: skip
RESHAPES = frozenset(("reshape", "transpose", "squeeze", "expand_dims", "rev", "copy", "broadcast_in_dim"))


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One equation of a program.

    Args:
        equation: of a jaxpr.
        takes: for each argument its key, or None where the equation holds a literal.
        makes: the keys of the results.
    """

    equation: Any
    takes: tuple[int | None, ...]
    makes: tuple[int, ...]

    @property
    def name(self) -> str:
        return str(self.equation.primitive.name)

    @property
    def scope(self) -> str:
        """The named scopes around it, as "MLP.Dense_0": without transformations, the last name of each path."""
        plain = re.sub(r"\w+\(|\)", "", str(self.equation.source_info.name_stack))
        return ".".join(part.rpartition(".")[2] for part in plain.split("/") if part)

    def arguments(self, known: dict[int, Any]) -> list[Any]:
        """Its arguments, from keys and literals."""
        pairs = zip(self.takes, self.equation.invars, strict=True)
        return [atom.val if key is None else known[key] for key, atom in pairs]


class Program:
    """A jaxpr as lines; calls that are not elementwise are replaced by what they call.

    Args:
        closed: a jaxpr with its constants.
    """

    def __init__(self, closed: Any) -> None:
        self.constants: dict[int, Any] = {}
        self._count = 0
        self.inputs = [self._new() for _ in closed.jaxpr.invars]
        self.lines: list[Line] = []
        self.outputs = self._read(closed, self.inputs)

    def _new(self) -> int:
        self._count += 1
        return self._count

    def _read(self, closed: Any, arguments: Sequence[int]) -> list[int | None]:
        jaxpr = closed.jaxpr
        keys = dict(zip(jaxpr.invars, arguments, strict=True))
        for variable, constant in zip(jaxpr.constvars, closed.consts, strict=True):
            keys[variable] = self._constant(constant)
        for equation in jaxpr.eqns:
            takes = tuple(None if _is_literal(atom) else keys[atom] for atom in equation.invars)
            called = _called(equation)
            if called is None or is_elementwise(equation):
                makes = tuple(self._new() for _ in equation.outvars)
                self.lines.append(Line(equation, takes, makes))
            else:
                given = [
                    self._constant(atom.val) if key is None else key
                    for key, atom in zip(takes, equation.invars, strict=True)
                ]
                makes = tuple(key or self._new() for key in self._read(called, given))
            keys |= dict(zip(equation.outvars, makes, strict=True))
        return [None if _is_literal(atom) else keys[atom] for atom in jaxpr.outvars]

    def _constant(self, value: Any) -> int:
        key = self._new()
        self.constants[key] = value
        return key


def bind(equation: Any, arguments: Sequence[Any]) -> list[Any]:
    """The results of one equation."""
    found = equation.primitive.get_bind_params(equation.params)
    functions, parameters = found if isinstance(found, tuple) else ((), found)  # JAX until 0.7 and after
    results = equation.primitive.bind(*functions, *arguments, **parameters)
    return list(results) if equation.primitive.multiple_results else [results]


def is_elementwise(equation: Any) -> bool:
    """Whether an equation works on each entry alone, constants being spread over all of them."""
    called = _called(equation)
    if called is None:
        return equation.primitive.name in _ELEMENTWISE
    parts = called.jaxpr.eqns
    return bool(parts) and len(equation.outvars) == 1 and all(map(_is_elementwise_inside, parts))


def _is_elementwise_inside(equation: Any) -> bool:
    if equation.primitive.name == "broadcast_in_dim":
        return not np.shape(equation.invars[0].aval)
    return is_elementwise(equation)


def elementwise(line: Line, arguments: Sequence[Any], is_data: Sequence[bool]) -> Callable[..., Any]:
    """The function of one line on arrays of any shape; what does not depend on the input is one number.

    Args:
        line: an elementwise one.
        arguments: as they were when it ran.
        is_data: which of them depend on the input.
    """
    fixed = [None if data else np.asarray(value).ravel()[0] for value, data in zip(arguments, is_data, strict=True)]

    def call(*points: Any) -> Any:
        moving = iter(points)
        given = [next(moving) if value is None else value for value in fixed]
        like = next((array for array in points if jnp.issubdtype(array.dtype, jnp.floating)), points[0])
        return _evaluate(line.equation, given, like)

    return call


def _evaluate(equation: Any, given: Sequence[Any], like: Any) -> Any:
    called, name = _called(equation), equation.primitive.name
    if called is None:
        spread = [jnp.broadcast_to(_as_type(value, like), like.shape) for value in given]
        if name == "convert_element_type":
            wanted = equation.params["new_dtype"]
            return spread[0].astype(like.dtype if jnp.issubdtype(wanted, jnp.floating) else wanted)
        return bind(equation, spread)[0]
    known = dict(zip(called.jaxpr.invars, given, strict=True))
    known |= dict(zip(called.jaxpr.constvars, called.consts, strict=True))
    for part in called.jaxpr.eqns:
        values = [atom.val if _is_literal(atom) else known[atom] for atom in part.invars]
        is_spread = part.primitive.name == "broadcast_in_dim"
        known[part.outvars[0]] = values[0] if is_spread else _evaluate(part, values, like)
    last = called.jaxpr.outvars[0]
    return last.val if _is_literal(last) else known[last]


def _as_type(value: Any, like: Any) -> Any:
    array = jnp.asarray(value)
    return array.astype(like.dtype) if jnp.issubdtype(array.dtype, jnp.floating) else array


def evaluate(function: Callable[..., Any], points: FloatArray) -> FloatArray:
    """The values of an elementwise function of an array."""
    with jax_in_float64(jax):
        return np.asarray(function(jnp.asarray(points)), dtype=np.float64)


def is_uniform(value: Any) -> bool:
    """Whether all entries of a constant are the same."""
    array = np.asarray(value)
    return array.size > 0 and bool((array == array.ravel()[0]).all())


def _called(equation: Any) -> Any:
    """The jaxpr that an equation calls; None for an elementary one."""
    key = _CALLS.get(equation.primitive.name)
    if key is None:
        return None
    called = equation.params[key]
    return called if hasattr(called, "consts") else _closed(called)


def _closed(jaxpr: Any) -> Any:
    from jax.extend.core import ClosedJaxpr

    return ClosedJaxpr(jaxpr, ())


def _is_literal(atom: Any) -> bool:
    return hasattr(atom, "val")


def data_lines(program: Program, start: int) -> Iterator[tuple[Line, bool]]:
    """The lines with whether they depend on the value of a key."""
    reached = {start}
    for line in program.lines:
        depends = any(key in reached for key in line.takes)
        if depends:
            reached |= set(line.makes)
        yield line, depends
