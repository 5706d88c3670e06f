"""Activations from outside: a `module:function` by its name, PyTorch and JAX functions, modules of PyTorch.

Neither PyTorch nor JAX is imported unless something of theirs is given. Both compute in float64, and take the slope by
their automatic differentiation; the settings of neither are changed.
"""

import copy
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from theory.errors import SpecificationError

if TYPE_CHECKING:
    from theory.activations.activation import Activation
    from theory.activations.callable import CallableActivation


FloatArray = npt.NDArray[np.float64]
ArrayFunction = Callable[[FloatArray], FloatArray]
_REFERENCE = re.compile(r"\s*([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*(?:\.[^\W\d]\w*)*)\s*")
_AUTODIFF = "found by automatic differentiation"


def activation(spec: Any, *args: Any, **parameters: Any) -> "Activation | CallableActivation":
    """The activation that a name, a formula, a SymPy expression, a function or a module stands for.

    Args:
        spec: a name ("tanh", "leaky_relu(0.2)"); a formula in x ("x*sigmoid(x)"); "module:function" to import; a SymPy
            expression in one symbol; a function on NumPy arrays; a PyTorch module or function, or a JAX function (see
            `from_torch`, `from_jax`), recognised by what it returns; or an activation, returned as it is.
        args, parameters: with a name, the parameters of the activation: `activation("elu", alpha=1.5)`. With a
            function, `derivative` (a function, or its "module:function"; compared with differences), `breakpoints`
            (kinks and jumps that are known; others are looked for) and `name`.

    Raises:
        UsageError: anything that is not an activation; the message says what to write.

    >>> activation("elu", alpha=1.5).name, activation(np.tanh).name
    ('elu(alpha=1.5)', 'tanh')
    >>> activation("math:tau")
    Traceback (most recent call last):
    ...
    theory.errors.SpecificationError: math:tau is a float, not an activation; name a function on NumPy arrays
    """
    from theory.activations import specification

    if _is_reference(spec):
        text, spec = str(spec).strip(), load(spec)
        if isinstance(spec, str) or not (callable(spec) or hasattr(spec, "free_symbols")):
            article = "an" if type(spec).__name__[0] in "aeiou" else "a"
            what = f"{article} {type(spec).__name__}"
            raise SpecificationError(f"{text:.100} is {what}, not an activation; name a function on NumPy arrays")
        if isinstance(spec, type) and not hasattr(spec, "free_symbols"):
            raise SpecificationError(
                f"{text:.100} is a class; name a function or an instance, such as phi = {spec.__name__}()"
            )
    if parameters.get("derivative") is None:
        parameters.pop("derivative", None)
    elif not isinstance(spec, str):
        parameters["derivative"] = _loaded_derivative(parameters["derivative"])
    else:
        raise SpecificationError("a derivative goes with a function; that of a formula is found by itself")
    adapter = _adapter(spec)
    return specification.activation(spec, *args, **parameters) if adapter is None else adapter(spec, **parameters)


def _is_reference(spec: object) -> bool:
    """Whether a text is module:function; no formula has a colon."""
    return isinstance(spec, str) and ":" in spec and not spec.split(":")[0].strip().startswith("lambda")


def _loaded_derivative(derivative: Any) -> ArrayFunction:
    found = load(derivative) if isinstance(derivative, str) else derivative
    if not callable(found):
        raise SpecificationError(f"the derivative must be a function, not {type(found).__name__}")
    kind = _kind(found)
    if kind is None:
        function: ArrayFunction = found
        return function
    return _torch_functions(found)[0] if kind == "torch" else _jax_functions(found)[0]


def load(reference: str) -> Any:
    """Import what "module:function" names; modules in the current directory are found, too.

    Args:
        reference: as in "package.module:function" or "module:object.attribute".

    Raises:
        SpecificationError: no such module or attribute, or the module fails; one sentence says which.

    >>> load("math:tau") > 6
    True
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise SpecificationError(
            f"{reference.strip()!r:.100} is not of the form module:function, such as package.module:phi (dots in the "
            "place of slashes, no .py)"
        )
    module_name, path = match.groups()
    found: Any = _import(module_name)
    for name in path.split("."):
        if not hasattr(found, name):
            public = sorted(n for n in vars(found) if not n.startswith("_")) if hasattr(found, "__dict__") else []
            shown = get_close_matches(name, public, n=3) or public
            near = f"; it has {', '.join(shown[:10])}{', ...' if shown != public[:10] else ''}" if public else ""
            raise SpecificationError(f"{module_name:.100} has no {path:.100}{near:.300}")
        found = getattr(found, name)
    return found


def _import(name: str) -> Any:
    try:
        with _current_directory_importable(), redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            hint = f"; write {name.removesuffix('.py')}:..., without .py" if name.endswith(".py") else ""
            raise SpecificationError(
                f"there is no module {name:.100} on the path or in {os.getcwd():.300}{hint}"
            ) from error
        raise SpecificationError(f"importing {name:.100} fails: it needs {error.name}, which is not there") from error
    except (Exception, SystemExit) as error:  # whatever the user's own module raises
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise SpecificationError(f"importing {name:.100} fails ({what:.300})") from error


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    here = os.getcwd()
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _adapter(spec: Any) -> "Callable[..., CallableActivation] | None":
    kind = _kind(spec)
    return None if kind is None else {"torch": from_torch, "jax": from_jax}[kind]


def _kind(function: Any) -> str | None:
    """Whether a function is one of PyTorch ("torch") or JAX ("jax"), by what it takes and returns; None for others.

    What works on NumPy arrays and returns one is a NumPy function, whatever has been imported.
    """
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    if not callable(function) or isinstance(function, type) or hasattr(function, "value_and_slope"):
        return None
    if torch is not None and isinstance(function, torch.nn.Module):
        return "torch"
    if (torch is None and jax is None) or hasattr(function, "free_symbols"):
        return None
    probe = np.array([-0.75, 0.375])
    result = _result(function, probe.copy())
    if jax is not None and isinstance(result, jax.Array):
        return "jax"
    if torch is not None and not isinstance(result, np.ndarray):
        result = result if isinstance(result, torch.Tensor) else _result(function, torch.tensor(probe))
        return "torch" if isinstance(result, torch.Tensor) else None
    return None


def _result(function: Any, x: Any) -> Any:
    """What a function returns, None if it fails: what is wrong is told where it is evaluated."""
    try:
        with np.errstate(all="ignore"):
            return function(x)
    except Exception:  # whatever the user's own code raises
        return None


def from_torch(
    function: Any,
    *,
    name: str | None = None,
    derivative: ArrayFunction | None = None,
    breakpoints: Sequence[float] = (),
) -> "CallableActivation":
    """An activation from a PyTorch module or function, in float64, with the slope by autograd.

    A module is copied, and the copy cast to float64 on the CPU: the module itself, its parameters and their gradients
    are left alone. Parameters count as they are. No gradients are recorded beyond the call.

    Args:
        function: a `torch.nn.Module`, or a function of one tensor, elementwise.
        name: how tables call it.
        derivative: its slope as a function on NumPy arrays, in the place of autograd.
        breakpoints: kinks and jumps that are known.

    Raises:
        SpecificationError: it fails, is not elementwise or random, or autograd contradicts its values.
    """
    value, slope = _torch_functions(function)
    return _adapted(function, value, slope, name, derivative, breakpoints)


def _torch_functions(function: Any) -> tuple[ArrayFunction, ArrayFunction | None]:
    """Value and slope on NumPy arrays; no slope where autograd does not reach the input."""
    import torch

    owned = function
    if isinstance(function, torch.nn.Module):
        owned = copy.deepcopy(function).to(device="cpu", dtype=torch.float64).requires_grad_(False)

    def value(x: FloatArray) -> FloatArray:
        with torch.no_grad():
            return np.asarray(owned(torch.tensor(x, dtype=torch.float64)).detach().cpu().double().numpy())

    def slope(x: FloatArray) -> FloatArray:
        with torch.enable_grad():
            point = torch.tensor(x, dtype=torch.float64, requires_grad=True)
            (found,) = torch.autograd.grad(owned(point).sum(), point)
            return np.asarray(found.numpy())

    return value, slope if _works(slope) else None


def from_jax(
    function: Any,
    *,
    name: str | None = None,
    derivative: ArrayFunction | None = None,
    breakpoints: Sequence[float] = (),
) -> "CallableActivation":
    """An activation from a JAX function, in float64 within its own calls, with the slope by `jax.grad`.

    Arrays are padded to a power of 2, so that JAX compiles for few shapes.

    Args:
        function: a function of one array, elementwise.
        name: how tables call it.
        derivative: its slope as a function on NumPy arrays, in the place of `jax.grad`.
        breakpoints: kinks and jumps that are known.

    Raises:
        SpecificationError: it fails, is not elementwise or random, or its gradient contradicts its values.
    """
    value, slope = _jax_functions(function)
    return _adapted(function, value, slope, name, derivative, breakpoints)


def _jax_functions(function: Any) -> tuple[ArrayFunction, ArrayFunction | None]:
    """Value and slope on NumPy arrays; no slope where JAX cannot differentiate."""
    import jax

    gradient = jax.jit(jax.grad(lambda x: function(x).sum()))
    value, slope = _in_float64(jax, function), _in_float64(jax, gradient)
    return value, slope if _works(slope) else None


def _in_float64(jax: Any, function: Any) -> ArrayFunction:
    """A JAX function on NumPy arrays of any shape."""
    scoped = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64  # JAX before 0.8

    def evaluate(x: FloatArray) -> FloatArray:
        padded = np.zeros(max(64, 1 << (x.size - 1).bit_length()))
        padded[: x.size] = x.ravel()
        with scoped(True):
            result = np.asarray(function(jax.numpy.asarray(padded)), dtype=np.float64)
        return result[: x.size].reshape(x.shape) if result.shape == padded.shape else result

    return evaluate


def _works(function: ArrayFunction) -> bool:
    """Whether automatic differentiation reaches the input at all."""
    try:
        function(np.array([-0.75, 0.375]))
    except Exception:  # a function without a gradient; one that fails altogether is told where it is evaluated
        return False
    return True


def _adapted(
    function: Any,
    value: ArrayFunction,
    slope: ArrayFunction | None,
    name: str | None,
    derivative: ArrayFunction | None,
    breakpoints: Sequence[float],
) -> "CallableActivation":
    from theory.activations.callable import from_function

    label = str(name or getattr(function, "__name__", type(function).__name__))
    if derivative is not None:
        return from_function(value, label, _loaded_derivative(derivative), breakpoints)
    return from_function(value, label, slope, breakpoints, origin=_AUTODIFF)
