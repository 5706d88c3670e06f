"""Terminal views of what goes beyond one check: near misses, closed forms and spectra, audits, families."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from gpn.tables import check_report, new_table, plain, short_number

if TYPE_CHECKING:
    from gpn.activation_report import CheckReport
    from gpn.auditing import AuditReport
    from gpn.checking import Details
    from gpn.depth import DepthProfile
    from theory.families import Solutions
    from theory.poincare import Conditions
    from theory.propagation import DepthFactor

SHOWN_DEGREES = 13
DEPTH_COLUMNS = ("network", "in depth", "fixed points of q", "basin of q = 1", "slope of C", "|grad| x10", "q off by 2")
LOWEST, HIGHEST = 1.001e-6, 0.999e6
"""Ends of the range of q that is searched: a basin that reaches them has no end that was seen."""


def check(report: "CheckReport", verbose: bool) -> Iterator[RenderableType]:
    """The parts of `gpn check`: the outcome, what a near miss costs, and the details if they are wanted."""
    yield check_report(report.conditions)
    if report.drift:
        yield near_miss(report.drift, report.conditions)
    if verbose and report.details is not None:
        yield details(report.details)


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
    """Depth, closed forms, correlation map and the first Hermite coefficients."""
    curvature = short_number(found.correlation_curvature, 8)
    parts: list[RenderableType] = [
        Text(
            f"Correlation map C(ρ) = E φ(u) φ(v): C'(1) = {short_number(found.correlation_slope, 8)}, "
            f"C''(1) = {curvature}"
        ),
        Text(),
        depth(found.depth),
        Text(),
        *_closed_forms(found),
        Text(),
        *_coefficients(found.coefficients),
        Text(),
        _spectrum(found),
    ]
    return Group(*parts)


def depth(profiles: "Sequence[DepthProfile]") -> RenderableType:
    """What depth does to lengths, gradients and correlations: one row for each network."""
    table = new_table(DEPTH_COLUMNS, right=DEPTH_COLUMNS[4:], words=("network", "in depth"))
    for line in depth_cells(profiles):
        table.add_row(*line)
    rates = "; ".join(_rate(profile) for profile in profiles)
    return Group(table, Text(depth_notes(profiles), style="dim"), Text(rates, style="dim"))


def depth_cells(profiles: "Sequence[DepthProfile]") -> list[list[str]]:
    """The rows of the table of depth, under `DEPTH_COLUMNS`."""
    return [
        [
            profile.label,
            profile.horizon.kind,
            _fixed_points(profile),
            _basin(profile),
            _correlation_slope(profile),
            _layers(profile.horizon.gradient_layers),
            _layers(profile.horizon.length_layers),
        ]
        for profile in profiles
    ]


def depth_notes(profiles: "Sequence[DepthProfile]") -> str:
    """What the columns of the table of depth mean."""
    width = profiles[0].horizon.width if profiles else 0
    return (
        "Fixed points: s attracts, m is marginal, u repels. Slope of C: of the correlation map at correlation 1, "
        "above 1 for chaos. Last columns: layers until the gradient norm has changed by 10 and q has left [1/2, 2], "
        f"at width {width}."
    )


def _correlation_slope(profile: "DepthProfile") -> str:
    if profile.correlation is None:
        return "-"
    points = profile.correlation.fixed_points
    return f"{points[-1].slope if points else 1.0:.6f}"


def _rate(profile: "DepthProfile") -> str:
    factor = f"{math.exp(min(profile.horizon.rate, 700.0)):.6g}"
    return f"{profile.label}: |grad|² x {factor} per layer at q = {short_number(profile.horizon.q, 7)}"


_MARKS = {"attracting": "s", "marginal": "m", "repelling": "u"}


def _fixed_points(profile: "DepthProfile") -> str:
    if profile.lengths.continuum:
        return "every q m"
    points = profile.lengths.fixed_points
    return ", ".join(f"{short_number(point.q, 5)} {_MARKS[point.stability]}" for point in points) or "none"


def _basin(profile: "DepthProfile") -> str:
    if profile.lengths.basin is None:
        return "-"
    low, high = profile.lengths.basin
    return f"{'0' if low <= LOWEST else short_number(low, 4)} to {'inf' if high >= HIGHEST else short_number(high, 4)}"


def _closed_forms(found: "Details") -> list[RenderableType]:
    if found.closed_form is None:
        return [Text("No closed form is known.")]
    table = new_table(("exactly", ""), words=("",))
    for name, expression in found.closed_form.expressions().items():
        table.add_row(name, plain(str(expression), 2000))
    return [table]


def _coefficients(coefficients: "dict[str, dict[str, str] | str]") -> list[RenderableType]:
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
