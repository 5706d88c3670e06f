"""Where models come from: factories, modules and pairs, drawn again for each initialization; and their inputs."""

import copy
import inspect
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from gpn.data.files import read_arrays
from gpn.experiment.runs import generator
from gpn.experiment.streams import PROBE
from gpn.probing.tape import Tape
from theory.activations.specification import is_reference, load
from theory.errors import UsageError

SAMPLES = 4
_MODEL = "a torch.nn.Module or a pair (function, params) of JAX"
_WANTED = f"{_MODEL}, or a factory of one of them"


@dataclass(slots=True)
class Source:
    """A model that can be drawn again.

    Args:
        name: what a report calls it.
        make: makes the model of one initialization; its argument is the number of that initialization.
        fresh: whether another call gives another initialization.
        how: where initializations come from, in words.
        library: the module of `gpn.probing` that runs it.
        first: the model of the first initialization, made already.
    """

    name: str
    make: Callable[[int], Any]
    fresh: bool
    how: str
    library: Any
    first: Any

    def tape(self, index: int, inputs: Any, rng: np.random.Generator) -> Tape:
        """Draw the model of one initialization and run it."""
        model = self.first if index == 0 else self.make(index)
        with _seeded(int(rng.integers(2**31))):  # for dropout
            tape: Tape = self.library.run(model, inputs, rng, SAMPLES)
        return tape

    def note_fixed(self) -> None:
        """Every call gave the same weights."""
        self.how = "one initialization: every call gives the same weights"


def source_of(model: Any, seed: int) -> Source:
    """Find out what was given.

    Args:
        model: a factory, a class of a module, a module, or a pair.
        seed: of the initializations.

    Raises:
        UsageError: none of them, or a factory that fails or returns something else.
    """
    library = _library(model)
    if library is not None and not isinstance(model, type):
        return _given(model, library, seed)
    if not callable(model):
        raise UsageError(f"probe takes {_WANTED}, not {type(model).__name__}")
    takes = _arguments(model)
    name = str(getattr(model, "__name__", type(model).__name__))

    def make(index: int) -> Any:
        child = _child(seed, index)
        with _seeded(child):
            try:
                return model(child) if takes else model()
            except UsageError:
                raise
            except Exception as error:  # the user's own code can raise anything
                what = " ".join(f"{type(error).__name__}: {error}".split())
                raise UsageError(f"the factory {name} fails: {what:.300}") from error

    first = make(0)
    library = _library(first)
    if library is None:
        raise UsageError(f"{name} returns {type(first).__name__}; a factory returns {_MODEL}")
    return Source(name, make, True, f"{name} called again", library, first)


def read_inputs(text: str, seed: int) -> Any:
    """Read the inputs that a command line names.

    Args:
        text: a file .npy or .npz, "module:name" of an array or of a function that returns one, or a shape such as
            "8,3,32,32", for standard normal numbers.
        seed: of random numbers.

    Raises:
        UsageError: none of these.

    >>> read_inputs("2,3", 0).shape
    (2, 3)
    """
    parts = text.split(",")
    if all(part.strip().isdigit() and int(part) > 0 for part in parts):
        return generator(seed, PROBE, 2, 0).standard_normal([int(part) for part in parts])
    if is_reference(text) and not Path(text).exists():
        value = load(text)
        return value() if callable(value) and not hasattr(value, "shape") else value
    arrays = read_arrays(Path(text), "--inputs", ("x", "inputs"))
    return next(iter(arrays.values())) if isinstance(arrays, dict) else arrays


def _given(model: Any, library: Any, seed: int) -> Source:
    """A module or a pair itself."""
    name = type(model[0] if isinstance(model, tuple) else model).__name__
    if isinstance(model, tuple):
        name = str(getattr(model[0], "__name__", name))
    reset = None if isinstance(model, tuple) else getattr(model, "reset_parameters", None)
    if not callable(reset):
        return Source(name, lambda _: model, False, "the one initialization that was given", library, model)

    def make(index: int) -> Any:
        own = copy.deepcopy(model)
        with _seeded(_child(seed, index)):
            own.reset_parameters()
        return own

    return Source(name, make, True, "its own reset_parameters", library, make(0))


def _child(seed: int, index: int) -> int:
    return int(generator(seed, PROBE, 1, index).integers(2**31))


def _library(model: Any) -> Any:
    """The module that runs a model; None for what is no model."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        return import_module("gpn.probing.libraries.torch_model")
    if torch is not None and isinstance(model, type) and issubclass(model, torch.nn.Module):
        return import_module("gpn.probing.libraries.torch_model")
    if isinstance(model, tuple) and len(model) == 2 and callable(model[0]):
        return import_module("gpn.probing.libraries.jax_model")
    return None


def _arguments(factory: Callable[..., Any]) -> bool:
    """Whether a factory takes one argument, the seed.

    Raises:
        UsageError: it takes more.
    """
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return False
    needed = [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(needed) > 1:
        names = ", ".join(p.name for p in needed)
        raise UsageError(
            f"a factory takes no argument or one, the seed, not {names}; wrap it: lambda: Model(...), or a function of "
            "your own"
        )
    return len(needed) == 1


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the generators that factories draw from, and put them back as they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch = sys.modules.get("torch")
    state = None if torch is None else torch.random.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    if torch is not None:
        torch.random.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        if torch is not None:
            torch.random.set_rng_state(state)
