"""Parametric families of activations: scan a parameter, or solve for it.

A family is a text with one free name, such as "elu(alpha)" or "x*sigmoid(beta*x)". Each member is read by the
same whitelist parser as any other activation; the value of the parameter is put into the syntax tree, never
into code.
"""

import ast
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import sympy
from flint import arb
from scipy import optimize

from theory.activation import Activation, CallableActivation, FloatArray
from theory.balls_core import precision
from theory.catalog import Entry, exact_number, find
from theory.doubts import moment_doubts
from theory.errors import SpecificationError, UsageError, unknown
from theory.gaussian import Estimate, Functional, convergence, expectations
from theory.moments import RawMoments, root_balls
from theory.specification import activation

_RESERVED = frozenset(("x", "z", "t", "pi", "e", "E", "True", "False"))
_MAX_CHARACTERS = 2000
_TOLERANCE = 1e-11  # a condition this close to zero holds, as far as float64 moments can tell
_NAN = float("nan")

_MOMENTS: Mapping[str, Functional] = {
    "mean": lambda _z, value, _slope: value,
    "second": lambda _z, value, _slope: value**2,
    "slope_second": lambda _z, _value, slope: slope**2,
    "mean_tilt": lambda z, value, _slope: value * (z**2 - 1),
    "second_tilt": lambda z, value, _slope: value**2 * (z**2 - 1),
}


@dataclass(frozen=True, slots=True)
class Family:
    """Activations that depend on one parameter.

    Args:
        text: how it is written.
        parameter: the name of the parameter.
        build: maps a value of the parameter to the activation.
    """

    text: str
    parameter: str
    build: Callable[[float], Activation | CallableActivation]


@dataclass(frozen=True, slots=True)
class Member:
    r"""The numbers of one member of a family, in float64.

    .. math:: a = (E \phi'^2)^{-1/2}, \quad b_\pm = -a E\phi \pm \sqrt{1 - a^2 \operatorname{Var} \phi}, \quad
        \chi_\pm = \tfrac12 E (a \phi + b_\pm)^2 (z^2 - 1)

    (Lu, Gould, Ajanthan 2020; chi is the slope of the length map at 1.)

    Args:
        value: of the parameter.
        mean, second_moment, slope_second_moment: E phi, E phi^2, E phi'^2.
        a, b_plus, b_minus, chi_plus, chi_minus: as above.
        error: the largest error bound of the moments that these numbers come from.
        reason: why the numbers are nan, else empty.
    """

    value: float
    mean: float = _NAN
    second_moment: float = _NAN
    slope_second_moment: float = _NAN
    a: float = _NAN
    b_plus: float = _NAN
    b_minus: float = _NAN
    chi_plus: float = _NAN
    chi_minus: float = _NAN
    error: float = float("inf")
    reason: str = ""


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
        family, parameter, condition: the question.
        bracket: where it was asked.
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

    def to_frame(self) -> Any:
        """A pandas frame with one row for each solution."""
        import pandas as pd

        columns = [self.parameter, *_columns(), "kind"]
        rows = [[*asdict(root.member).values(), root.kind] for root in self.roots]
        return pd.DataFrame(rows, columns=columns)


def family(spec: object, parameter: str | None = None) -> Family:
    """A family of activations from a text, a SymPy expression or a function of the parameter.

    Args:
        spec: text with one name besides the variable ("elu(alpha)", "x*sigmoid(beta*x)"); a SymPy expression
            with two symbols; or a function that maps a number to anything `theory.specification.activation`
            reads.
        parameter: its name; found by itself where there is only one candidate.

    Raises:
        SpecificationError: no such parameter, or several candidates and none chosen.

    >>> family("elu(alpha)").build(2).expression
    Piecewise((x, x > 0), (2*expm1(x), True))
    """
    if isinstance(spec, Family):
        return spec
    if isinstance(spec, str):
        return _from_text(spec, parameter)
    if isinstance(spec, sympy.Expr):
        return _from_sympy(spec, parameter)
    if callable(spec):
        build = spec
        return Family(getattr(spec, "__name__", "family"), parameter or "value", lambda v: activation(build(v)))
    raise SpecificationError(
        "a family is a text with a free parameter ('elu(alpha)'), a SymPy expression in two symbols or a "
        f"function of the parameter; got {type(spec).__name__}"
    )


def member(spec: object, parameter: str | None, value: float) -> Member:
    """The numbers of one member of a family; nan with a reason where they do not exist.

    >>> round(member("leaky_relu(slope)", "slope", 0.0).a, 12)  # sqrt 2
    1.414213562373
    """
    value = float(value)
    try:
        phi = family(spec, parameter).build(value)
    except SpecificationError as error:
        return Member(value, reason=str(error))
    if getattr(phi, "undefined", ()):
        return Member(value, reason="undefined on part of the line")
    if getattr(phi, "jumps", ()):
        return Member(value, reason=f"jumps at {', '.join(map(str, getattr(phi, 'jumps', ())))}")
    found = _estimates(phi)
    if any(estimate.error > 1e-6 * max(1.0, abs(estimate.value)) for estimate in found.values()):
        return Member(value, reason=_trouble(phi))
    if found["slope_second"].value <= found["slope_second"].error:
        return Member(value, reason="constant: no scale a makes it GPN")
    return _normalized(value, phi, found)


def _estimates(phi: Activation | CallableActivation) -> dict[str, Estimate]:
    found = expectations(phi, _MOMENTS)
    if isinstance(phi, CallableActivation):
        for name, doubt in moment_doubts(phi, list(found)).items():
            found[name] = Estimate(found[name].value, found[name].error + doubt)
    return found


def _trouble(phi: Activation | CallableActivation) -> str:
    """Why a moment is not known in float64."""
    orders: tuple[tuple[Literal["value", "slope"], str], ...] = (("value", "E phi^2"), ("slope", "E phi'^2"))
    for order, moment in orders:
        if isinstance(phi, Activation) and convergence(phi, order).verdict == "diverges":
            return f"{moment} diverges"
    return "a moment could not be computed in float64"


def _normalized(value: float, phi: Activation | CallableActivation, found: Mapping[str, Estimate]) -> Member:
    homogeneous = isinstance(phi, Activation) and phi.is_positively_homogeneous
    with precision(100):
        balls: dict[str, Any] = {name: arb(number.value, number.error) for name, number in found.items()}
        moments = RawMoments(**balls)
        roots = root_balls(moments, homogeneous=homogeneous)
        plus, minus = roots[0], roots[-1]  # one and the same for affine phi
        return Member(
            value,
            mean=found["mean"].value,
            second_moment=found["second"].value,
            slope_second_moment=found["slope_second"].value,
            a=float(plus.a.mid()),
            b_plus=float(plus.b.mid()),
            b_minus=float(minus.b.mid()),
            chi_plus=float(plus.chi.mid()),
            chi_minus=float(minus.chi.mid()),
            error=max(number.error for number in found.values()),
        )


def scan(spec: object, parameter: str | None, values: Iterable[float]) -> Any:
    """A pandas frame of the moments, a, b and chi of the members of a family.

    Args:
        spec, parameter: as for `family`.
        values: of the parameter.

    Returns:
        One row for each value, columns as the fields of `Member`, the first named after the parameter. A
        member without numbers has nan and a reason.

    Raises:
        SpecificationError: the family cannot be read, or not a single member can be built.

    >>> scan("elu(alpha)", "alpha", [0.5, 1.0])[["alpha", "a"]].round(6).values.tolist()
    [[0.5, 1.358283], [1.0, 1.223429]]
    """
    import pandas as pd

    chosen = family(spec, parameter)
    points = [float(value) for value in values]
    members = _members(chosen, points)
    return pd.DataFrame([list(asdict(row).values()) for row in members], columns=[chosen.parameter, *_columns()])


def solve(
    spec: object,
    parameter: str | None,
    condition: str | Callable[[Member], float],
    bracket: tuple[float, float],
    *,
    points: int = 41,
) -> Solutions:
    """All values of a parameter in a bracket at which a condition holds.

    The bracket is scanned at equal steps; every change of sign is refined by Brent's method (Brent 1973),
    every local minimum of the distance that does not change sign by bounded minimization, to find touching
    points. Two solutions closer than a step can be missed.

    Args:
        spec, parameter: as for `family`.
        condition: "quantity = value" or "quantity = quantity" with the fields of `Member` as quantities, such
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
        found = list(_refine(chosen, distance, grid, offsets))
        candidates = [root for root in found if isinstance(root, Root)]
        notes += [note for note in found if isinstance(note, str)]
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
            return _NAN

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
    first = missing[0]
    return [f"no numbers at {len(missing)} of {len(members)} values, first at {first.value:g}: {first.reason}"]


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
    quantities = [name for name in _columns() if name != "reason"]
    if text in quantities:
        return lambda row: float(getattr(row, text))
    try:
        value = float(sympy.Rational(text.replace(" ", "")))
    except (TypeError, ValueError, ZeroDivisionError):
        raise unknown("quantity or number in a condition", text, quantities) from None
    return lambda _row: value


def _columns() -> list[str]:
    return [name for name in Member.__slots__ if name != "value"]


def _plain(row: Member) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in asdict(row).items()
    }


def _from_text(text: str, parameter: str | None) -> Family:
    tree = _syntax_tree(text)
    if isinstance(tree, ast.Name) and (entry := find(text)) is not None:
        return _from_text(_with_parameter(entry, parameter), parameter)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    called |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    free = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called}
    candidates = sorted(free - _RESERVED)
    if parameter is None and len(candidates) != 1:
        seen = f"it has {', '.join(candidates)}: choose one" if candidates else "it has none"
        raise SpecificationError(f"a family such as 'elu(alpha)' has one free parameter; in {text!r:.60} {seen}")
    name = candidates[0] if parameter is None else parameter
    if name not in free:
        raise SpecificationError(f"{text!r:.60} has no parameter {name!r:.40}; free are {', '.join(sorted(free))}")

    def build(value: float) -> Activation | CallableActivation:
        try:
            member_text = ast.unparse(_Substitution(name, value).visit(_syntax_tree(text)))
        except RecursionError as error:
            raise SpecificationError(f"the family {text!r:.60} is nested too deeply") from error
        return activation(member_text)

    return Family(" ".join(text.split()), name, build)


def _with_parameter(entry: Entry, parameter: str | None) -> str:
    """The text of a bare name with its parameter: "elu" is the family "elu(alpha=alpha)"."""
    names = [known.name for known in entry.parameters]
    wanted = names[0] if parameter is None and len(names) == 1 else parameter
    if wanted not in names:
        seen = f"the parameters {', '.join(names)}: choose one" if names else "no parameter"
        raise SpecificationError(f"{entry.name} has {seen}; a family has one, such as 'elu(alpha)'")
    return f"{entry.name}({wanted}={wanted})"


def _syntax_tree(text: str) -> ast.expr:
    if len(text) > _MAX_CHARACTERS:
        raise SpecificationError(f"the formula has {len(text)} characters; at most {_MAX_CHARACTERS} are read")
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(" ".join(text.split()).replace("^", "**"), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise SpecificationError(f"cannot read the family {text!r:.60}") from error


class _Substitution(ast.NodeTransformer):
    """Puts a number in the place of a name."""

    def __init__(self, name: str, value: float) -> None:
        self._name = name
        number = exact_number(value, name)
        size: ast.expr = ast.Constant(abs(float(number)))
        self._number = ast.UnaryOp(ast.USub(), size) if number < 0 else size

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._number if node.id == self._name else node


def _from_sympy(expression: sympy.Expr, parameter: str | None) -> Family:
    symbols = {str(symbol): symbol for symbol in expression.free_symbols}
    others = sorted(set(symbols) - {"x"})
    name = others[0] if parameter is None and len(others) == 1 else parameter
    if name not in symbols:
        raise SpecificationError(f"{expression!s:.60} has the symbols {', '.join(symbols)}: which is the parameter?")
    symbol = symbols[name]

    def build(value: float) -> Activation | CallableActivation:
        return activation(expression.subs(symbol, exact_number(float(value), name)))

    return Family(str(expression), name, build)
