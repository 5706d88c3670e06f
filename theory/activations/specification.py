"""One door for every form of an activation: name, formula, SymPy expression or Python function."""

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import sympy
from sympy.core.function import AppliedUndef, FunctionClass

from theory.activations import catalog, entry
from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation, from_function
from theory.activations.formula import parse_formula, parse_parameters
from theory.activations.frameworks import on_arrays
from theory.activations.grammar import mod, without_choices
from theory.errors import SpecificationError
from theory.numerics.arithmetic import FloatArray, X
from theory.numerics.budget import UNLIMITED, Budget
from theory.numerics.special import frac

Phi: TypeAlias = Activation | CallableActivation
"""An activation of either kind, as computations take it."""


_REFERENCE = re.compile(r"\s*([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*(?:\.[^\W\d]\w*)*)\s*")
_CALL = re.compile(r"([^()]+)\((.*)\)", re.DOTALL)
_NAME_LIKE = re.compile(r"[^\W\d][\w \-]*")
_FAR: FloatArray = np.random.default_rng(0).uniform(0.0137, 40, 400)  # not nearer: rounding is that of the values there
_LIKENESS_POINTS: FloatArray = np.concatenate([np.linspace(-8, 8, 401) + 0.0137, _FAR[::2], -_FAR[1::2]])
_ROUNDINGS = 64  # that two functions may differ by and look alike
_TAIL, _SAME_TAIL = 8.0, 1e-6  # beyond, a relative difference that is none: PyTorch's softplus is x beyond 20
_NOISY = 1e-6  # beyond this relative noise, agreement says nothing
READING = "smooth pieces of the formula"
_FORMS = "a name ('tanh'), a formula ('x*sigmoid(x)'), a SymPy expression, a function on arrays or an Activation"


def activation(spec: object, *args: object, derivative: object = None, **parameters: Any) -> Phi:
    """Return the activation that a name, a formula, a SymPy expression or a Python function stands for.

    Args:
        spec: a name of `theory.activations.catalog` ("tanh", "leaky_relu(0.2)", "GELU"); a formula in x
            ("x*sigmoid(x)", see `theory.activations.formula.parse_formula`); "module:function" to import; a SymPy
            expression in one symbol, whose floats count as their shortest decimal text; a function on NumPy arrays; a
            PyTorch module or function, or a JAX function (see `theory.activations.frameworks`); or an `Activation`,
            returned as it is.
        args, parameters: with a name, the parameters of the activation: `activation("elu", alpha=1.5)`. With a
            function, `breakpoints` (known kinks and jumps; others are searched for) and `name`.
        derivative: the slope of a function, itself a function or its "module:function". It is compared with
            differences. Without it, PyTorch and JAX differentiate automatically, and other functions are differenced.

    Raises:
        SpecificationError: the input is not an activation; the message says what to write.

    >>> activation("leaky_relu(0.2)").expression
    Piecewise((x, x > 0), (x/5, True))
    >>> activation("x*tanh(x)").expression
    x*tanh(x)
    >>> activation(sympy.erf(sympy.Symbol("s"))).expression
    erf(x)
    >>> activation("elu", alpha=1.5).name, activation(np.sin).name, activation("numpy:arctan").name
    ('elu(alpha=1.5)', 'sin', 'arctan')
    """
    return read_activation(UNLIMITED, spec, *args, derivative=derivative, **parameters)


def read_activation(
    budget: Budget, spec: object, *args: object, derivative: object = None, **parameters: Any
) -> Activation | CallableActivation:
    """Return the activation as `activation` does; a formula that is not split in time is returned unchecked.

    Args:
        budget: processor time, of which a third is used.
        spec, args, derivative, parameters: as for `activation`.
    """
    if is_reference(spec):
        spec = _load_activation(str(spec))
    if isinstance(spec, str):
        if derivative is not None:
            raise SpecificationError("a derivative goes with a function; gpn derives that of a formula")
        return _from_text(spec, args, parameters, budget)
    is_symbolic = isinstance(spec, sympy.Basic | FunctionClass)
    if callable(spec) and not is_symbolic and not isinstance(spec, Activation | CallableActivation | type):
        return _from_function(spec, *args, derivative=derivative, **parameters)
    if args or parameters or derivative is not None:
        raise SpecificationError("parameters go with the name of an activation, as in activation('elu', alpha=2)")
    if isinstance(spec, Activation | CallableActivation):
        return spec
    if is_symbolic:
        return _from_sympy(spec, budget)
    if isinstance(spec, type):
        raise SpecificationError(_class_refusal(spec.__name__, spec))
    if hasattr(spec, "shape"):
        raise SpecificationError(
            f"this is an array of values ({type(spec).__name__} of shape {tuple(spec.shape)!s:.40}), not an "
            "activation; give the function that made them"
        )
    raise SpecificationError(f"an activation is {_FORMS}; got {'None' if spec is None else type(spec).__name__}")


def _class_refusal(written: str, kind: type) -> str:
    return f"{written:.100} is a class; name a function or an instance, such as phi = {kind.__name__}()"


def is_reference(spec: object) -> bool:
    """Whether a text has the form "module:function"; no formula has a colon."""
    return isinstance(spec, str) and ":" in spec and not spec.split(":")[0].strip().startswith("lambda")


def load(reference: str) -> Any:
    """Import the object that "module:function" names; modules in the current directory are found, too.

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
    value: Any = _import(module_name)
    for name in path.split("."):
        if not hasattr(value, name):
            public = sorted(n for n in vars(value) if not n.startswith("_")) if hasattr(value, "__dict__") else []
            raise SpecificationError(f"{module_name:.100} has no {path:.100}{_nearest(name, public)}")
        value = getattr(value, name)
    return value


def _nearest(name: str, public: Sequence[str]) -> str:
    """The names of a module that a mistyped one may mean; all of them, if they are few, where none is near."""
    near, shown = get_close_matches(name, public, n=3), ", ".join(public[:10])
    if near:
        return f"; did you mean {' or '.join(near)}?"
    return f"; it has {shown:.300}{' and more' * (len(public) > 10)}" if public else ""


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
    except (Exception, SystemExit) as error:  # the user's own module can raise anything
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


def _load_activation(reference: str) -> object:
    """The function, the module of a framework or the SymPy expression that a reference names."""
    text, loaded = reference.strip(), load(reference)
    is_symbolic = hasattr(loaded, "free_symbols")
    if not (callable(loaded) or is_symbolic):
        article = "an" if type(loaded).__name__[0] in "aeiou" else "a"
        what = f"{article} {type(loaded).__name__}"
        raise SpecificationError(f"{text:.100} is {what}, not an activation; name a function on NumPy arrays")
    if isinstance(loaded, type) and not is_symbolic:
        raise SpecificationError(_class_refusal(text, loaded))
    return loaded


def _from_text(text: str, args: Sequence[object], parameters: dict[str, Any], budget: Budget) -> Activation:
    name = " ".join(text.split())
    if not name:
        raise SpecificationError(f"the text is empty; an activation is {_FORMS}")
    if catalog.find(name):
        return catalog.build(name, *args, **parameters)
    call = _CALL.fullmatch(name)
    entry = catalog.find(call[1]) if call else None
    constants = parse_parameters(call[2]) if call and entry else None
    if args or parameters:
        if constants is not None or not _NAME_LIKE.fullmatch(name):
            raise SpecificationError(f"parameters go with a bare name such as 'elu', not with {name!r:.60}")
        catalog.resolve(name)  # raises with the nearest names
    if entry and constants is not None:
        return _named(entry, *constants)
    if call and entry and not call[1].isidentifier():  # as in "leaky-relu(x)"
        return _from_formula(f"{entry.name}({call[2]})", name, budget)
    return _from_formula(name, name, budget)


def _named(entry: entry.Entry, args: list[sympy.Expr], parameters: dict[str, sympy.Expr]) -> Activation:
    if (args or parameters) and not entry.parameters:
        raise SpecificationError(f"{entry.name} takes no parameters: write {entry.name} or {entry.name}(x)")
    return catalog.build(entry.name, *args, **parameters)


def _from_formula(formula: str, name: str, budget: Budget) -> Activation:
    try:
        expression = parse_formula(formula)
    except SpecificationError:
        if _NAME_LIKE.fullmatch(name) and catalog.nearest(name):
            catalog.resolve(name)  # a misspelt name rather than a wrong formula: raises with the nearest names
        raise
    return _evaluated_once(Activation(name, expression), budget)


def _evaluated_once(result: Activation, budget: Budget) -> Activation:
    """Find the branches and evaluate at one point, so that a formula that cannot be evaluated is refused here."""
    try:
        budget.attempt(READING, 0.3, lambda: result.value_and_slope(np.array([0.375])), None)
    except SpecificationError:
        raise
    except Exception as error:  # SymPy's root finding and code generation fail in many ways
        raise SpecificationError(f"{result.name:.60} cannot be evaluated: {error!s:.100}") from error
    return result


def _from_sympy(spec: Any, budget: Budget) -> Activation:
    expression = spec(X) if isinstance(spec, FunctionClass | sympy.Lambda) else spec
    if not isinstance(expression, sympy.Expr) or getattr(expression, "is_Matrix", False):
        raise SpecificationError(f"{spec!s:.60} is not a SymPy expression with values that are numbers")
    symbols = sorted(expression.free_symbols, key=str)
    if len(symbols) > 1:
        raise SpecificationError(
            f"{spec!s:.60} has the symbols {', '.join(map(str, symbols))}; an activation has one: give the "
            "others values with .subs"
        )
    exact: Any = expression.xreplace(dict.fromkeys(symbols, X))
    exact = without_choices(exact.replace(lambda e: e.is_Float, entry.exact_number))
    exact = exact.replace(sympy.floor, lambda u: u - frac(u)).replace(sympy.ceiling, lambda u: u + frac(-u))
    exact = exact.replace(sympy.Mod, mod).replace(sympy.frac, frac)
    if exact.has(sympy.I, sympy.nan, sympy.zoo, sympy.oo, -sympy.oo) or exact.atoms(AppliedUndef):
        raise SpecificationError(f"{spec!s:.60} is not a real function that can be evaluated")
    return _evaluated_once(Activation(str(expression), exact), budget)


def _from_function(
    function: Callable[..., Any],
    *,
    derivative: object = None,
    breakpoints: Sequence[float] = (),
    name: str | None = None,
) -> CallableActivation:
    label = str(name or getattr(function, "__name__", type(function).__name__))
    value, slope = on_arrays(function)
    if derivative is None:
        return from_function(value, label, slope, breakpoints, origin="found by automatic differentiation")
    given = load(derivative) if isinstance(derivative, str) else derivative
    if not callable(given):
        raise SpecificationError(f"the derivative must be a function, not {type(given).__name__}")
    return from_function(value, label, on_arrays(given)[0], breakpoints)


def look_alike(activation: CallableActivation) -> str | None:
    """Return the catalog entry that a function agrees with to rounding at 801 points of |x| < 40; None for none.

    It may differ between them: `theory.normalization.conditions` compares moments, kinks and suprema too. The rounding
    at x is that of the largest value between -|x| and |x|, as in `theory.numerics.panels`.

    >>> look_alike(CallableActivation("mine", lambda x: x / (1 + np.exp(-x))))
    'silu'
    >>> look_alike(CallableActivation("mine", lambda x: x / (1 + np.exp(-1.01 * x))))
    """
    noise = max(activation.survey.noise, float(np.finfo(np.float64).eps))
    if noise > _NOISY:
        return None
    values = activation.value(_LIKENESS_POINTS)
    order = np.argsort(np.abs(_LIKENESS_POINTS), kind="stable")
    largest = np.empty_like(values)
    largest[order] = np.maximum.accumulate(np.abs(values[order]))
    allowed = np.where(np.abs(_LIKENESS_POINTS) > _TAIL, _SAME_TAIL, _ROUNDINGS * noise) * largest
    for name in catalog.names():
        if np.all(np.abs(values - _catalog_values(name)) <= allowed):
            return name
    return None


@cache
def _catalog_values(name: str) -> FloatArray:
    return catalog.build(name).value(_LIKENESS_POINTS)
