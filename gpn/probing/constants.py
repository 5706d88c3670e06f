"""What a number is: which constants of which activation round to it. `explain` finds them."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from math import floor, log10, sqrt
from typing import Any

import numpy as np
import pandas as pd

from gpn.experiment.result import Result
from theory.activations import catalog
from theory.activations.activation import Activation, steps
from theory.activations.specification import activation
from theory.errors import SpecificationError, UsageError
from theory.gaussian.expectations import expectations
from theory.gaussian.moments import FUNCTIONALS
from theory.initialization.regime import regime
from theory.normalization.published import PUBLISHED, number
from theory.numerics.quadrature import gauss_legendre

BESIDE = ("leaky_relu(0.1)", "leaky_relu(0.2)", "leaky_relu(0.25)", "step(x - 1)", "step(x - 0.5)")
"""Activations that are compared besides the catalog: slopes and firing thresholds that people use."""

_SETTLING = ("tanh", "selu", "sigmoid")  # the others are homogeneous: every size is kept
_FORMULA_DIGITS = 12  # of a number that is given as a formula; float64 moments have hardly more
_FEWEST = 3  # digits that a constant must share to be named as near
_MOST_NEAR = 3


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant of an activation.

    Args:
        definition: what it is, as "1/sqrt(Var phi)".
        activation: phi.
        value: in float64.
        is_gain: whether it is one of the usual gains or normalizations, which are named first.
    """

    definition: str
    activation: str
    value: float
    is_gain: bool


@dataclass(frozen=True, slots=True)
class Match:
    """A constant beside the number.

    Args:
        constant: what it may be.
        digits: how many significant digits both share when rounded.
    """

    constant: Constant
    digits: int


@dataclass(frozen=True, slots=True, repr=False)
class Explanation(Result):
    """What a number may be; `explain` makes it.

    Args:
        number: as it was typed.
        digits: its significant digits.
        matches: constants that round to it, the usual gains first.
        near: constants that share fewer digits, at least 3; only where nothing rounds to the number.
        published: sources that print this very number, as "PyTorch calculate_gain: gain of tanh".
        searched: constants that were compared.
        by_chance: how many of them would be expected to round to the number if it were any number of this size.
    """

    number: str
    digits: int
    matches: tuple[Match, ...]
    near: tuple[Match, ...]
    published: tuple[str, ...]
    searched: int
    by_chance: float

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each constant, those that round to the number first."""
        rows = [{**asdict(match.constant), "digits": match.digits} for match in (*self.matches, *self.near)]
        return pd.DataFrame(rows, columns=["definition", "activation", "value", "is_gain", "digits"])

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return asdict(self)

    def __repr__(self) -> str:
        return f"<Explanation of {self.number}: {len(self.matches)} constants round to it>"


def explain(text: str | float) -> Explanation:
    """Find the constants of activations that round to a number.

    Compared are the activations of the catalog and a few more (`BESIDE`), each with its moments at z ~ N(0, 1), the
    inverse roots of these, its normalizations a and b, and the gains for uniform inputs; the sizes at which signals
    settle under PyTorch's gains; and the published constants of `gpn.audit`. A number of three digits agrees with
    several constants by chance: `by_chance` says with how many.

    Args:
        text: a decimal as it was printed, of which every digit counts ("2.74"), or a formula ("5/3", "sqrt(2)").

    Raises:
        UsageError: no positive number, or one of a single digit.

    >>> found = explain("2.737")
    >>> [(match.constant.definition, match.constant.activation) for match in found.matches]
    [('1/sqrt(Var phi)', 'step(x - 1)')]
    """
    typed = str(text).strip()
    target, digits = _read(typed)
    constants = _constants()
    scored = [Match(constant, _shared(constant.value, target, digits)) for constant in constants]
    scored.sort(key=lambda match: (-match.digits, not match.constant.is_gain, abs(match.constant.value - target)))
    matches = tuple(match for match in scored if match.digits == digits)
    near = () if matches else tuple(match for match in scored if match.digits >= _FEWEST)[:_MOST_NEAR]
    return Explanation(
        typed, digits, matches, near, _published(target, digits), len(constants), _chance(target, digits)
    )


def _read(text: str) -> tuple[float, int]:
    """The number and its significant digits."""
    try:
        decimal = Decimal(text)
        digits = len(decimal.as_tuple().digits)
        value = float(decimal)
    except InvalidOperation:
        try:
            value, digits = float(number(text, _FORMULA_DIGITS)), _FORMULA_DIGITS
        except SpecificationError as error:
            raise UsageError(f"{text!r:.60} is not a number such as 2.74 or 5/3: {error}") from error
    if not (np.isfinite(value) and value > 0):
        raise UsageError(f"the number must be positive and finite, not {text:.60}")
    if digits < 2:
        raise UsageError(f"{text:.60} has one digit, which says nothing; give two or more, such as 1.6")
    return value, min(digits, _FORMULA_DIGITS)


def _shared(value: float, target: float, digits: int) -> int:
    """The most significant digits, up to `digits`, to which both numbers round alike."""
    if not (np.isfinite(value) and 0.5 < value / target < 2):
        return 0
    return next((count for count in range(digits, 0, -1) if _rounded(value, count) == _rounded(target, count)), 0)


def _rounded(value: float, digits: int) -> str:
    return f"{value:.{digits - 1}e}"


def _chance(target: float, digits: int) -> float:
    """Expected number of constants that round to a number of this size: their density nearby times the interval."""
    width = 10.0 ** (floor(log10(target)) + 1 - digits)
    nearby = sum(1 for constant in _constants() if 2 / 3 < constant.value / target < 3 / 2)
    return nearby * width / (target * (3 / 2 - 2 / 3))


def _published(target: float, digits: int) -> tuple[str, ...]:
    return tuple(words for value, words in _printed() if _shared(value, target, digits) == digits)


@cache
def _printed() -> tuple[tuple[float, str], ...]:
    """Published numbers with what they are."""
    return tuple(
        (abs(float(number(text, 17))), f"{entry.source}: {entry.convention} constant {text} of {entry.activation}")
        for entry in PUBLISHED
        for text in entry.values
    )


@cache
def _constants() -> tuple[Constant, ...]:
    """Every constant that is compared, in float64."""
    rows: list[Constant] = []
    for name in (*catalog.names(), *BESIDE):
        phi = activation(name)
        if not isinstance(phi, Activation) or phi.undefined:
            continue
        for definition, (value, is_gain) in _definitions(phi).items():
            if np.isfinite(value) and abs(value) > 1e-9:
                rows.append(Constant(definition, name, abs(value), is_gain))
    return (*rows, *_settled())


def _settled() -> Iterator[Constant]:
    """Sizes at which signals settle in depth under the gains that PyTorch recommends: what people measure."""
    for entry in PUBLISHED:
        if entry.source == "PyTorch calculate_gain" and entry.activation in _SETTLING:
            gain = float(number(entry.values[0], 17))
            size = sqrt(regime(activation(entry.activation), gain).q) / gain
            yield Constant(f"size of the signal in depth at the gain {entry.values[0]}", entry.activation, size, False)


def _definitions(phi: Activation) -> Mapping[str, tuple[float, bool]]:
    """Definition -> value and whether it is a usual gain, for one activation."""
    smooth = not steps(phi, "value")
    found = expectations(phi, {name: FUNCTIONALS[name] for name in ("mean", "second", "slope_second")})
    mean, square, slope = (found[name].value for name in ("mean", "second", "slope_second"))
    variance = square - mean * mean
    values: dict[str, tuple[float, bool]] = dict(_roots({"E phi^2": square, "Var phi": variance}))
    values |= {"E phi": (mean, False)}
    for reach, words in ((1.0, "uniform on [-1, 1]"), (sqrt(3), "uniform on [-sqrt(3), sqrt(3)]")):
        values[f"1/sqrt(E phi^2), z {words}"] = _inverse_root(_uniform_square(phi, reach)), False
    if smooth and np.isfinite(slope) and slope > 0:
        values |= _roots({"E phi'^2": slope})
        spread = sqrt(max(1 - variance / slope, 0.0))
        for sign, side in (("plus", 1), ("minus", -1)):
            values[f"b_{sign} of the normalization"] = -mean / sqrt(slope) + side * spread, False
    return values


def _roots(moments: Mapping[str, float]) -> Iterator[tuple[str, tuple[float, bool]]]:
    """A moment, its root and the inverse of its root."""
    for name, moment in moments.items():
        yield name, (moment, False)
        yield f"sqrt({name})", (sqrt(moment) if moment > 0 else np.nan, False)
        yield f"1/sqrt({name})", (_inverse_root(moment), True)


def _inverse_root(moment: float) -> float:
    return 1 / sqrt(moment) if moment > 0 else np.nan


def _uniform_square(phi: Activation, reach: float) -> float:
    """E phi(z)^2 for z uniform on [-reach, reach], by Gauss-Legendre panels between the breakpoints."""
    nodes, weights = gauss_legendre(32)
    points = phi.breakpoint_values
    edges = np.unique(np.concatenate([np.linspace(-reach, reach, 9), points[np.abs(points) < reach]]))
    middle, half = (edges[:-1] + edges[1:]) / 2, np.diff(edges) / 2
    values = phi.value_and_slope(middle[:, None] + half[:, None] * nodes)[0]
    return float(np.sum(half * (values**2 @ weights)) / (2 * reach))
