"""Parametric families of activations: scan a parameter, or solve for it.

A family is a text with one free name, such as "elu(alpha)" or "x*sigmoid(beta*x)". Each member is read by the
same whitelist parser as any other activation; the value of the parameter is put into the syntax tree, never
into code.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import sympy
from scipy import optimize

from theory.errors import UsageError, unknown
from theory.initialization.quantities import FURTHER, further
from theory.normalization.family import Family, Member, family, member
from theory.numerics.arithmetic import FloatArray

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = (
    "mean", "second_moment", "slope_second_moment", "a", "b_plus", "b_minus", "chi_plus", "chi_minus", "error",
)  # fmt: skip
"""The numbers of a member that a condition can name, in the order of the columns of a scan."""

_TABULATED = ("curvature", "slope_fourth_moment", "fixed_point")
_TOLERANCE = 1e-11  # a condition this close to zero holds, as far as float64 moments can tell


@dataclass(frozen=True, slots=True)
class Root:
    """One solution: the member there, and whether the condition crosses zero or only touches it.

    A crossing is accurate to about the precision of the moments (1e-14), a touching point to about its square
    root.
    """

    member: Member
    kind: Literal["crossing", "touching"]


@dataclass(frozen=True, slots=True)
class Solutions:
    """All solutions found in a bracket.

    Args:
        family, parameter, condition: the question, as text.
        bracket: the lowest and the highest value of the parameter that were searched.
        status: "found", "none", or "everywhere" for a condition that holds at every value tried.
        roots: ascending.
        notes: what else the scan saw: values without numbers, jumps of the condition.
        scanned: how many values were tried before refining.
    """

    family: str
    parameter: str
    condition: str
    bracket: tuple[float, float]
    status: Literal["found", "none", "everywhere"]
    roots: tuple[Root, ...]
    notes: tuple[str, ...]
    scanned: int

    @property
    def values(self) -> tuple[float, ...]:
        """The values of the parameter that solve the condition."""
        return tuple(root.member.value for root in self.roots)

    def summary(self) -> str:
        """The answer in one sentence."""
        low, high = self.bracket
        question = f"{self.family}: {self.condition}"
        where = f"for {self.parameter} from {low:g} to {high:g}"
        if self.status == "everywhere":
            return f"{question} holds {where}, at all {self.scanned} values tried"
        if self.status == "none":
            return f"{question} has no solution {where} that a scan of {self.scanned} values could find"
        places = (
            f"{root.member.value:.15g}" if root.kind == "crossing" else f"about {round(root.member.value, 6) + 0.0:g}"
            for root in self.roots
        )
        return f"{question} {where} at {self.parameter} = {', '.join(places)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "family": self.family,
            "parameter": self.parameter,
            "condition": self.condition,
            "bracket": list(self.bracket),
            "status": self.status,
            "roots": [_plain(root.member) | {"kind": root.kind} for root in self.roots],
            "notes": list(self.notes),
            "scanned": self.scanned,
        }

    def to_frame(self) -> "pd.DataFrame":
        """A pandas frame with one row for each solution."""
        import pandas as pd

        columns = [_column(self.parameter), *QUANTITIES, "reason", "kind"]
        return pd.DataFrame([[*_record(root.member).values(), root.kind] for root in self.roots], columns=columns)


def scan(spec: object, parameter: str | None, values: Iterable[float]) -> "pd.DataFrame":
    """Tabulate the moments, a, b and chi of the members of a family, and C''(1), E phi'^4 and the fixed point.

    Args:
        spec, parameter: as for `family`.
        values: the values of the parameter at which members are computed.

    Returns:
        One row for each value, columns the parameter, `QUANTITIES`, C''(1), E phi'^4 and the attracting fixed
        point, and reason. A member without numbers has nan and a reason.

    Raises:
        SpecificationError: the family cannot be read, or not a single member can be built.

    >>> scan("elu(alpha)", "alpha", [0.5, 1.0])[["alpha", "a"]].round(6).values.tolist()
    [[0.5, 1.358283], [1.0, 1.223429]]
    """
    import pandas as pd

    chosen = family(spec, parameter)
    members = _members(chosen, [float(value) for value in values])
    rows = [[*_record(row).values(), *(further(row, name) for name in _TABULATED)] for row in members]
    columns = [_column(chosen.parameter), *QUANTITIES, "reason", *_TABULATED]
    return pd.DataFrame(rows, columns=columns)[[*columns[: -len(_TABULATED) - 1], *_TABULATED, "reason"]]


def _column(parameter: str) -> str:
    """The heading of a parameter; one that is called like a quantity, as a is, gets another."""
    return f"parameter {parameter}" if parameter in (*QUANTITIES, "reason", "kind") else parameter


def solve(
    spec: object,
    parameter: str | None,
    condition: str | Callable[[Member], float],
    bracket: tuple[float, float],
    *,
    points: int = 41,
) -> Solutions:
    """Find all values of a parameter in a bracket at which a condition holds.

    The bracket is scanned at equal steps; every change of sign is refined by Brent's method (Brent 1973),
    every local minimum of the distance that does not change sign by bounded minimization, to find touching
    points. Two solutions closer than a step can be missed.

    Args:
        spec, parameter: as for `family`.
        condition: "quantity = value" or "quantity = quantity" with `QUANTITIES` or `FURTHER` on each side, such
            as "chi_minus = 0.5"; "b = 0" asks for either shift to vanish, that is, for E phi^2 = E phi'^2; or
            a function of a `Member` that is to be zero.
        bracket: the lowest and the highest value.
        points: how many values the scan tries.

    Raises:
        UsageError: an empty bracket, an unknown quantity.
        SpecificationError: the family cannot be read.

    >>> leaky = solve("leaky_relu(s)", "s", "chi_minus = 0.5", (0, 1))
    >>> [round(value, 10) for value in leaky.values]
    [0.1085656199]
    """
    chosen = family(spec, parameter)
    low, high = _checked_bracket(bracket, points)
    distance = _condition(condition)
    grid = np.linspace(low, high, points)
    members = _members(chosen, grid.tolist())
    offsets = np.array([distance(row) for row in members])
    finite = np.isfinite(offsets)
    notes = _missing(members, finite)
    everywhere = bool(np.all(np.abs(offsets) <= _TOLERANCE))
    candidates: list[Root] = []
    if not everywhere:
        refined = list(_refine(chosen, distance, grid, offsets))
        candidates = [root for root in refined if isinstance(root, Root)]
        notes += [note for note in refined if isinstance(note, str)]
    roots = _distinct(candidates, (high - low) * 1e-7)
    text = condition if isinstance(condition, str) else getattr(condition, "__name__", "condition") + " = 0"
    status: Literal["found", "none", "everywhere"] = "everywhere" if everywhere else "found" if roots else "none"
    return Solutions(chosen.text, chosen.parameter, text, (low, high), status, tuple(roots), tuple(notes), points)


def _refine(
    chosen: Family, distance: Callable[[Member], float], grid: FloatArray, offsets: FloatArray
) -> Iterator[Root | str]:
    """Roots between and at the points of a scan, and notes on jumps."""

    def offset(value: float) -> float:
        try:
            return distance(member(chosen, None, value))
        except ZeroDivisionError:  # a pole of the condition
            return float("nan")

    signs = np.where(np.abs(offsets) <= _TOLERANCE, 0.0, np.sign(offsets))
    known = [i for i, sign in enumerate(signs) if sign != 0 and not np.isnan(sign)]
    for point in np.flatnonzero(signs == 0).tolist():
        if {point - 1, point + 1} <= set(known) and signs[point - 1] != signs[point + 1]:
            continue  # refined below, as a crossing
        yield Root(member(chosen, None, grid[point]), "touching")
    for i, j in pairwise(known):
        between_is_zero = j == i + 2 and signs[i + 1] == 0
        if signs[i] != signs[j] and (j == i + 1 or between_is_zero):
            yield _crossing(chosen, offset, (grid[i], grid[j]))
    for i in _local_minima(offsets):
        best = optimize.minimize_scalar(
            lambda value: abs(offset(value)),
            bounds=(grid[i - 1], grid[i + 1]),
            method="bounded",
            options={"xatol": 1e-10},
        )
        if best.fun <= _TOLERANCE:
            yield Root(member(chosen, None, float(best.x)), "touching")


def _crossing(chosen: Family, offset: Callable[[float], float], bracket: tuple[float, float]) -> Root | str:
    ends = [abs(offset(end)) for end in bracket]
    try:
        point = optimize.brentq(offset, *bracket, xtol=1e-15 * max(1.0, *map(abs, bracket)), rtol=1e-15)
    except ValueError:  # no numbers at a point in between
        return f"the condition changes sign, but is not defined everywhere, between {bracket[0]:g} and {bracket[1]:g}"
    if abs(offset(point)) <= 1e-8 * max(1.0, *ends):
        return Root(member(chosen, None, point), "crossing")
    return f"the condition changes sign without a zero near {point:.6g}"


def _local_minima(offsets: FloatArray) -> list[int]:
    """Where the distance is smallest among its neighbours and small against their difference, without being zero."""
    size = np.abs(offsets)
    return [
        i
        for i in range(1, len(offsets) - 1)
        if offsets[i - 1] * offsets[i] > 0
        and offsets[i] * offsets[i + 1] > 0
        and _TOLERANCE < size[i] <= min(size[i - 1], size[i + 1])
        and 2 * size[i] <= max(size[i - 1], size[i + 1])  # true next to a zero of first or second order
    ]


def _distinct(roots: list[Root], gap: float) -> list[Root]:
    """The roots in order, those closer than a gap counted once."""
    kept: list[Root] = []
    for root in sorted(roots, key=lambda root: root.member.value):
        if not kept or root.member.value - kept[-1].member.value > gap:
            kept.append(root)
    return kept


def _members(chosen: Family, values: list[float]) -> list[Member]:
    """The members at several values; if none can be built the family itself is wrong."""
    members = [member(chosen, None, value) for value in values]
    if not members:
        raise UsageError("no values were given")
    if all(np.isnan(row.mean) and not np.isfinite(row.error) for row in members):
        for value in values:
            chosen.build(value)  # raises if the text is at fault
    return members


def _missing(members: list[Member], finite: FloatArray) -> list[str]:
    missing = [row for row, known in zip(members, finite, strict=True) if not known]
    if not missing:
        return []
    first, reason = missing[0], missing[0].reason or "not defined there"
    return [f"no numbers at {len(missing)} of {len(members)} values, first at {first.value:g}: {reason}"]


def _checked_bracket(bracket: tuple[float, float], points: int) -> tuple[float, float]:
    low, high = (float(end) for end in bracket)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise UsageError(f"the bracket must be two finite numbers in ascending order, not {bracket}")
    if not 3 <= points <= 10_000:
        raise UsageError(f"points must be from 3 to 10000, not {points}")
    return low, high


def _condition(condition: str | Callable[[Member], float]) -> Callable[[Member], float]:
    """The signed distance of a member from the condition."""
    if not isinstance(condition, str):
        return condition
    sides = re.split(r"==?", condition)
    if len(sides) != 2:
        raise UsageError(f"a condition is written 'quantity = value', as in 'chi_minus = 0.5', not {condition!r:.60}")
    left, right = (side.strip() for side in sides)
    if left == "b":
        if _side(right)(Member(0.0)) != 0:
            raise UsageError(f"write b_plus or b_minus; b alone can only be asked to be 0, not {right!r:.40}")
        return lambda row: row.second_moment / row.slope_second_moment - 1  # b_plus * b_minus
    first, second = _side(left), _side(right)
    return lambda row: first(row) - second(row)


def _side(text: str) -> Callable[[Member], float]:
    if text in QUANTITIES:
        return lambda row: float(getattr(row, text))
    if text in FURTHER:
        return lambda row: further(row, text)
    try:
        value = float(sympy.Rational(text.replace(" ", "")))
    except (TypeError, ValueError, ZeroDivisionError):
        raise unknown("quantity or number in a condition", text, (*QUANTITIES, *FURTHER)) from None
    return lambda _row: value


def _record(row: Member) -> dict[str, float | str]:
    """A member as one row of a table."""
    return {"value": row.value, **{name: getattr(row, name) for name in QUANTITIES}, "reason": row.reason}


def _plain(row: Member) -> dict[str, float | str | None]:
    """A row for JSON, which has neither nan nor infinity."""
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in _record(row).items()
    }
