"""Terminal views of what goes beyond one check: near misses, closed forms and spectra, audits, families."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from gpn.tables import new_table, plain, short_number

if TYPE_CHECKING:
    from gpn.audit import AuditReport
    from gpn.checking import Details
    from theory.families import Solutions
    from theory.poincare import Conditions
    from theory.propagation import DepthFactor

SHOWN_DEGREES = 13


def near_miss(factors: "Sequence[DepthFactor]", conditions: "Conditions") -> RenderableType:
    """By how much constants that are nearly GPN miss the conditions, and what that costs over depth."""
    table = new_table(("layers", "squared length", "squared gradient"), right=("layers", "squared length"))
    for factor in factors:
        table.add_row(
            str(factor.depth), short_number(factor.squared_length, 6), f"x {short_number(factor.squared_gradient, 6)}"
        )
    return Group(
        Text(f"Nearly GPN: {conditions.reason.partition(', tolerance')[0]}."),
        Text("In mean field (infinite width, unit length at the input) this amounts to:"),
        table,
    )


def details(found: "Details") -> RenderableType:
    """Closed forms, correlation map and the first Hermite coefficients."""
    curvature = short_number(found.correlation_curvature, 8)
    parts: list[RenderableType] = [
        Text(
            f"Correlation map C(ρ) = E φ(u) φ(v): C'(1) = {short_number(found.correlation_slope, 8)}, "
            f"C''(1) = {curvature}"
        ),
        Text(),
        *_closed_forms(found),
        Text(),
        *_depth(found.depth),
        Text(),
        _spectrum(found),
    ]
    return Group(*parts)


def _closed_forms(found: "Details") -> list[RenderableType]:
    if found.closed_form is None:
        return [Text("No closed form is known.")]
    table = new_table(("exactly", ""), words=("",))
    for name, expression in found.closed_form.expressions().items():
        table.add_row(name, plain(str(expression), 2000))
    return [table]


def _depth(coefficients: "dict[str, dict[str, str] | str]") -> list[RenderableType]:
    """Coefficients of the laws of depth, one column for each normalization."""
    known = {root: values for root, values in coefficients.items() if isinstance(values, dict)}
    missing = [Text(f"b_{root}: depth coefficients {why}") for root, why in coefficients.items() if root not in known]
    if not known:
        return list(missing)
    headings = [f"with b_{root}" for root in known]
    table = new_table(("depth coefficient", *headings), right=headings)
    for name in next(iter(known.values())):
        table.add_row(name, *(values[name] for values in known.values()))
    return [table, *missing]


def _spectrum(found: "Details") -> RenderableType:
    spectrum = found.spectrum
    table = new_table(("k", "c_k", "sum c_k²", "sum k c_k²"), right=("k", "c_k", "sum c_k²", "sum k c_k²"))
    for row in spectrum.to_frame().head(SHOWN_DEGREES).itertuples():
        numbers = (row.coefficient, row.second_moment_so_far, row.slope_second_moment_so_far)
        table.add_row(str(row.degree), *(f"{number:.10f}" for number in numbers))
    value, slope = short_number(spectrum.value_tail.value), short_number(spectrum.slope_tail.value)
    rest = f"Hermite spectrum; the degrees above {spectrum.order} hold {value} of E φ² and {slope} of E φ'²"
    return Group(table, Text(rest, style="dim"))


def audit(report: "AuditReport") -> RenderableType:
    """Published constants beside the exact ones, and what the difference costs."""
    columns = ("entry", "constant", "published", "exact", "relative error", "factor 2 at depth", "factor 10 at depth")
    table = new_table(columns, right=columns[4:])
    for row in report.rows:
        for number in row.comparisons:
            table.add_row(
                plain(row.entry.id),
                number.quantity,
                plain(number.published),
                number.exact,
                "to all digits" if number.rounds else short_number(number.relative_error, 2),
                "" if number.rounds else _layers(row.cost.depth_2),
                "" if number.rounds else _layers(row.cost.depth_10),
            )
    return Group(table, Text(), Text(report.summary()))


def _layers(depth: float) -> str:
    return "never" if depth == float("inf") else f"{depth:.0f}"


def family(frame: Any) -> RenderableType:
    """The members of a family: one row for each value of its parameter."""
    words = [name for name in frame.columns if name in ("kind", "reason")]
    numbers = [name for name in frame.columns if name not in words]
    table = new_table((*numbers, *words), right=numbers, words=words)
    for row in frame.to_dict("records"):
        table.add_row(*(short_number(float(row[name]), 7) for name in numbers), *(plain(row[name]) for name in words))
    return table


def solutions(found: "Solutions") -> RenderableType:
    """The values of a parameter that solve a condition."""
    parts: list[RenderableType] = [Text(found.summary(), style="bold")]
    if found.roots:
        parts += [Text(), family(found.to_frame())]
    return Group(*parts, *(Text(f"Note: {plain(note, 500)}") for note in found.notes))
