"""What the catalog knows of one named activation, and the exact numbers that its parameters take."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import sympy
from sympy import Abs, Rational

from theory.errors import SpecificationError
from theory.numerics.arithmetic import X

MAX_HERMITE_DEGREE = 64
_LARGEST_PARAMETER = sympy.Integer(10) ** 100


_DOMAINS: Mapping[str, Callable[[Any], bool | None]] = MappingProxyType(
    {
        "a real number": lambda value: value.is_real,
        "a number other than 0": lambda value: value.is_nonzero,
        "a number >= 0": lambda value: value.is_nonnegative,
        f"an integer from 0 to {MAX_HERMITE_DEGREE}": lambda value: (
            value.is_Integer and 0 <= value <= MAX_HERMITE_DEGREE
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a named activation: its name, exact default value and the values it may take."""

    name: str
    default: sympy.Expr
    domain: str = "a real number"

    def check(self, value: sympy.Expr, owner: str) -> sympy.Expr:
        """Return the value if it lies in the domain.

        Raises:
            SpecificationError: it does not.
        """
        if not _DOMAINS[self.domain](value):
            raise SpecificationError(f"{owner}: {self.name} must be {self.domain}, not {decimal_text(value)}")
        return value


@dataclass(frozen=True, slots=True)
class Entry:
    """A named activation of the catalog.

    Args:
        name: the canonical name.
        builder: maps a SymPy expression and the parameters to the activation of that expression.
        summary: the definition in one line.
        source: where the activation is defined.
        parameters: in positional order, each with its exact default.
        aliases: other names; case, spaces, "-" and "_" never matter.
    """

    name: str
    builder: Callable[..., sympy.Expr]
    summary: str
    source: str
    parameters: tuple[Parameter, ...] = ()
    aliases: tuple[str, ...] = ()

    def bind(self, *args: object, **parameters: object) -> dict[str, sympy.Expr]:
        """Exact values of all parameters, given some of them by position or by name.

        Raises:
            SpecificationError: too many, an unknown name, one given twice, or a value outside its domain.

        >>> from theory.activations.catalog import resolve
        >>> resolve("leaky_relu").bind(0.2)
        {'negative_slope': 1/5}
        """
        names = [parameter.name for parameter in self.parameters]
        self.check_names(len(args), list(parameters))
        given = dict(zip(names, args, strict=False))
        twice = [name for name in given if name in parameters]
        if twice:
            raise SpecificationError(f"{self.name}: {twice[0]} is given both by position and by name")
        given.update(parameters)
        return {
            parameter.name: parameter.check(
                exact_number(given.get(parameter.name, parameter.default), f"{self.name}: {parameter.name}"),
                self.name,
            )
            for parameter in self.parameters
        }

    def check_names(self, positional: int, keywords: list[str]) -> None:
        """Refuse more parameters than the activation has, or an unknown name.

        Raises:
            SpecificationError: the message lists the parameters with their defaults.
        """
        names = [parameter.name for parameter in self.parameters]
        unknown = [name for name in keywords if name not in names]
        if unknown or positional > len(names):
            seen = f"the name {unknown[0]!r}" if unknown else f"{positional} by position"
            raise SpecificationError(f"{self.name} {self._allowed()}; got {seen}")

    def expression(self, argument: sympy.Expr = X, *args: object, **parameters: object) -> sympy.Expr:
        """The activation of an expression, with parameters as in `bind`.

        >>> from theory.activations.catalog import resolve
        >>> resolve("elu").expression(2 * X, alpha=3)
        Piecewise((2*x, x > 0), (3*expm1(2*x), True))
        """
        built: sympy.Expr = self.builder(argument, **self.bind(*args, **parameters))
        return built

    def label(self, *args: object, **parameters: object) -> str:
        """The name with the parameters that differ from their defaults, as `build` and the parser read it.

        >>> from theory.activations.catalog import resolve
        >>> resolve("ELU").label(1.5)
        'elu(alpha=1.5)'
        """
        values = self.bind(*args, **parameters)
        changed = [
            f"{parameter.name}={decimal_text(values[parameter.name])}"
            for parameter in self.parameters
            if values[parameter.name] != parameter.default
        ]
        return f"{self.name}({', '.join(changed)})" if changed else self.name

    def _allowed(self) -> str:
        if not self.parameters:
            return "takes no parameters"
        defaults = (f"{parameter.name}={decimal_text(parameter.default)}" for parameter in self.parameters)
        return f"takes the parameters {', '.join(defaults)}"


def exact_number(value: object, what: str = "the parameter") -> sympy.Expr:
    """An exact real SymPy number; a float counts as its shortest decimal text.

    Raises:
        SpecificationError: not a finite real number of reasonable size (at most 1e100).

    >>> exact_number(0.1), exact_number(Fraction(1, 3)), exact_number(sympy.sqrt(2))
    (1/10, 1/3, sqrt(2))
    """
    number: Any = None
    if isinstance(value, sympy.Expr) and not value.free_symbols:
        number = value.replace(lambda e: e.is_Float, _float_to_rational)
    elif isinstance(value, int | Fraction | np.integer) and not isinstance(value, bool):
        number = Rational(value)
    elif isinstance(value, float | np.floating | Decimal) and np.isfinite(float(value)):
        number = Rational(str(value))
    if number is None or not number.is_real or not Abs(number) <= _LARGEST_PARAMETER:
        raise SpecificationError(f"{what} must be a finite real number, not {_shown(value)}")
    exact: sympy.Expr = number
    return exact


def decimal_text(value: sympy.Expr) -> str:
    """A number as a terminating decimal if it is one of at most 12 digits, else as SymPy prints it.

    >>> decimal_text(Rational(1, 5)), decimal_text(Rational(1, 3)), decimal_text(sympy.Integer(2))
    ('0.2', '1/3', '2')
    """
    text = f"{float(value):.12g}" if value.is_Rational else ""
    return text if text and Rational(text) == value else str(value)


def _shown(value: object) -> str:
    try:
        return f"{value!r:.60}"
    except ValueError:  # Python refuses to write out an integer of more than 4300 digits
        return "an integer of thousands of digits"


def _float_to_rational(number: Any) -> Any:
    """A SymPy float by its shortest decimal text (all its digits if it has more than double precision)."""
    return Rational(repr(float(number)) if sympy.Float(float(number), 15) == number else str(number))
