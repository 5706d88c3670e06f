"""One door for every form of an activation: name, formula, SymPy expression or Python function."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sympy
from sympy.core.function import AppliedUndef, FunctionClass

from theory.activations import catalog, entry
from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation, from_function
from theory.activations.formula import parse_formula, parse_parameters
from theory.activations.grammar import without_choices
from theory.errors import SpecificationError
from theory.numerics.arithmetic import X

_CALL = re.compile(r"([^()]+)\((.*)\)", re.DOTALL)
_NAME_LIKE = re.compile(r"[^\W\d][\w \-]*")
_FORMS = "a name ('tanh'), a formula ('x*sigmoid(x)'), a SymPy expression, a function on arrays or an Activation"


def activation(spec: object, *args: object, **parameters: Any) -> Activation | CallableActivation:
    """The activation that a name, a formula, a SymPy expression or a Python function stands for.

    Args:
        spec: a name of `theory.activations.catalog` ("tanh", "leaky_relu(0.2)", "GELU"); a formula in x, see
            `theory.activations.formula.parse_formula`; a SymPy expression in one symbol, whose floats count as their
            shortest decimal text; a function on NumPy arrays; or an `Activation`, returned as it is.
        args, parameters: with a name, the parameters of the activation: `activation("elu", alpha=1.5)`.
            With a function, `derivative` (a function, compared with differences), `breakpoints` (kinks and jumps
            that are known; others are looked for) and `name`.

    Raises:
        SpecificationError: anything that is not an activation; the message says what to write.

    >>> activation("leaky_relu(0.2)").expression
    Piecewise((x, x > 0), (x/5, True))
    >>> activation("x*tanh(x)").expression
    x*tanh(x)
    >>> activation(sympy.erf(sympy.Symbol("s"))).expression
    erf(x)
    >>> activation(np.sin).name
    'sin'
    """
    if isinstance(spec, str):
        return _from_text(spec, args, parameters)
    is_symbolic = isinstance(spec, sympy.Basic | FunctionClass)
    if callable(spec) and not is_symbolic and not isinstance(spec, Activation | CallableActivation | type):
        return _from_callable(spec, *args, **parameters)
    if args or parameters:
        raise SpecificationError("parameters go with the name of an activation, as in activation('elu', alpha=2)")
    if isinstance(spec, Activation | CallableActivation):
        return spec
    if is_symbolic:
        return _from_sympy(spec)
    raise SpecificationError(f"an activation is {_FORMS}; got {type(spec).__name__}")


def _from_text(text: str, args: Sequence[object], parameters: dict[str, Any]) -> Activation:
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
        return _from_formula(f"{entry.name}({call[2]})", name)
    return _from_formula(name, name)


def _named(entry: entry.Entry, args: list[sympy.Expr], parameters: dict[str, sympy.Expr]) -> Activation:
    if (args or parameters) and not entry.parameters:
        raise SpecificationError(f"{entry.name} takes no parameters: write {entry.name} or {entry.name}(x)")
    return catalog.build(entry.name, *args, **parameters)


def _from_formula(formula: str, name: str) -> Activation:
    try:
        expression = parse_formula(formula)
    except SpecificationError:
        if _NAME_LIKE.fullmatch(name) and catalog.nearest(name):
            catalog.resolve(name)  # a misspelt name rather than a wrong formula: raises with the nearest names
        raise
    return _tried(Activation(name, expression))


def _tried(result: Activation) -> Activation:
    """Find the branches and evaluate once, so that what cannot be done is told now and not later."""
    try:
        result.value_and_slope(np.array([0.375]))
    except SpecificationError:
        raise
    except Exception as error:  # SymPy's root finding and code generation fail in many ways
        raise SpecificationError(f"{result.name:.60} cannot be evaluated: {error!s:.100}") from error
    return result


def _from_sympy(spec: Any) -> Activation:
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
    if exact.has(sympy.I, sympy.nan, sympy.zoo, sympy.oo, -sympy.oo) or exact.atoms(AppliedUndef):
        raise SpecificationError(f"{spec!s:.60} is not a real function that can be evaluated")
    return _tried(Activation(str(expression), exact))


def _from_callable(
    function: Callable[..., Any],
    *,
    derivative: Callable[..., Any] | None = None,
    breakpoints: Sequence[float] = (),
    name: str | None = None,
) -> CallableActivation:
    label = str(name or getattr(function, "__name__", type(function).__name__))
    return from_function(function, label, derivative, breakpoints)
