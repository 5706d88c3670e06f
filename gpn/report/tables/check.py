"""What a person reads in the terminal: how it is printed, the check report, the catalog.

Everything is built from the same plain data that the JSON output carries, so the two cannot disagree. Text that a
user typed enters as `rich.text.Text`, never as markup, and without control characters.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gpn.report.words.findings import check_verdict
from gpn.report.words.terminal import new_table
from gpn.report.words.text import STABILITY, plain, short_number

if TYPE_CHECKING:
    from gpn.checking.audit_results import AuditReport
    from gpn.checking.check import Details
    from gpn.checking.depth import DepthProfile
    from gpn.checking.results import CheckReport
    from theory.depth.length_map import DepthFactor
    from theory.gaussian.moments import Normalization
    from theory.normalization.conditions import Conditions
    from theory.normalization.family_solutions import Solutions


def conditions_report(conditions: "Conditions") -> RenderableType:
    """The report of `gpn check`.

    Args:
        conditions: what `gpn.check` returns.
    """
    parts: list[RenderableType] = [
        _name_line(conditions),
        Text(),
        *_moments(conditions),
        Text(),
        check_verdict(conditions),
    ]
    if conditions.normalizations:
        parts += [Text(), *_roots(conditions)]
    return Group(*parts, Text(), _regularity(conditions))


def _name_line(conditions: "Conditions") -> Text:
    line = Text(plain(conditions.name), style="bold")
    if conditions.expression is not None and plain(conditions.expression) != plain(conditions.name):
        line.append(f":  φ(x) = {plain(conditions.expression)}", style="not bold")
    return line


def _moments(conditions: "Conditions") -> list[RenderableType]:
    grid = Table.grid(padding=(0, 2))
    for label, value in (
        ("E φ(z)", conditions.mean),
        ("Var φ(z)", conditions.variance),
        ("E φ(z)²", conditions.second_moment),
        ("E φ'(z)²", conditions.slope_second_moment),
    ):
        grid.add_row(f"  {label}", "infinite or undefined" if value is None else plain(value, 2000))
    how = "certified" if conditions.certified else "estimated"
    error = "unknown" if conditions.error is None else f"below {short_number(float(conditions.error), 2)}, {how}"
    lines: list[RenderableType] = [grid, Text(f"  z ~ N(0, 1); error {error}", style="dim")]
    if conditions.uncertified:
        lines.append(Text(f"  not certified: {plain(conditions.uncertified, 500)}", style="dim"))
    return lines


def _roots(conditions: "Conditions") -> list[RenderableType]:
    table = new_table(("root", "a", "b", "χ = Q'(1)", "in depth"), words=("root", "in depth"))
    styles = {"stable": "green", "marginal": "yellow", "unstable": "red"}
    for root in conditions.normalizations:
        table.add_row(
            f"{root.root}, recommended" if root.recommended else root.root,
            f"{float(root.a):.10g}",
            f"{float(root.b):.10g}",
            f"{float(root.chi):.6g}",
            Text(STABILITY[root.stability], style=styles[root.stability]),
        )
    warnings = [
        Text(
            f"b_{root.root} is unstable in depth, because |χ| > 1: layer by layer the squared length moves away "
            "from 1, whatever the width."
        )
        for root in conditions.normalizations
        if root.stability == "unstable"
    ]
    return [table, *([Text()] if warnings else []), *warnings]


def _regularity(conditions: "Conditions") -> Text:
    parts = [
        f"sup |φ'| {_constant(conditions.lipschitz)}",
        f"sup |φ''| {_constant(conditions.slope_lipschitz)}",
        _points("kink", conditions.kinks),
        _points("jump", conditions.jumps),
    ]
    lines = ["; ".join(parts), *([f"Kinks and jumps {plain(conditions.located, 500)}."] if conditions.located else [])]
    return Text("\n".join(lines), style="dim")


def _constant(value: float | None) -> str:
    return "infinite" if value is None else f"= {value:.8g}"


def _points(noun: str, points: Sequence[str]) -> str:
    if not points:
        return f"no {noun}s"
    shown, more = points[:12], f" and {len(points) - 12} more" if len(points) > 12 else ""
    return f"{noun}{'s' if len(points) > 1 else ''} at {', '.join(plain(point, 30) for point in shown)}{more}"


def normalization_report(conditions: "Conditions", chosen: "Normalization[float]") -> RenderableType:
    """The report of `gpn normalize`: a and b to double precision, what depth does."""
    error = "unknown" if conditions.error is None else f"below {short_number(float(conditions.error), 2)}"
    estimated = f"The moments are those of a Python function: estimated, error {error}, not certified."
    return Group(
        Text(f"GPN {plain(conditions.name)} = a φ + b, root {chosen.root}", style="bold"),
        Text(f"  a = {chosen.a!r}"),
        Text(f"  b = {chosen.b!r}"),
        Text(f"  χ = {chosen.chi:.6g}, in depth {STABILITY[chosen.stability]}"),
        *([Text(), Text(estimated)] if conditions.expression is None else []),
    )


def catalog(rows: Iterable[Mapping[str, Any]]) -> Table:
    """The list of `gpn activations`: name, recommended a, b and chi, and what depth does, or why there is none."""
    table = new_table(("name", "a", "b", "χ", "root", "in depth"), words=("in depth",))
    for row in rows:
        if row["a"] is None:
            table.add_row(row["name"], "-", "-", "-", "-", plain(row["reason"].partition(", so")[0]))
        else:
            numbers = (f"{row['a']:.10g}", f"{row['b']:.10g}", f"{row['chi']:.6g}")
            table.add_row(row["name"], *numbers, row["root"], row["stability"])
    return table


SHOWN_DEGREES = 13
DEPTH_COLUMNS = ("network", "in depth", "fixed points of q", "basin of q = 1", "slope of C", "|grad| x10", "q off by 2")
LOWEST, HIGHEST = 1.001e-6, 0.999e6
"""Ends of the range of q that is searched: a basin that reaches them has no end that was seen."""


def check_answer(report: "CheckReport", verbose: bool) -> Iterator[RenderableType]:
    """The parts of `gpn check`: the outcome, what a near miss costs, and the details if they are wanted."""
    yield conditions_report(report.conditions)
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
