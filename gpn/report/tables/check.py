"""What a person reads in the terminal: how it is printed, the check report, the catalog.

Everything is built from the same plain data that the JSON output carries, so the two cannot disagree. Text that a
user typed enters as `rich.text.Text`, never as markup, and without control characters.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gpn.report.tables.columns import Column, terminal_table
from gpn.report.words.findings import check_verdict
from gpn.report.words.terminal import new_table
from gpn.report.words.text import STABILITY, Cell, plain, short_number, supremum_text

if TYPE_CHECKING:
    from gpn.checking.audit_results import AuditReport, AuditRow, Comparison
    from gpn.checking.check import Details
    from gpn.checking.depth import DepthProfile
    from gpn.checking.results import CheckReport
    from theory.depth.length_map import DepthFactor
    from theory.gaussian.hermite import HermiteSpectrum
    from theory.gaussian.moments import Normalization
    from theory.normalization.conditions import Conditions
    from theory.normalization.family_solutions import Solutions


def _short(number: float, before: str = "") -> Cell:
    return Cell(f"{before}{short_number(number, 6)}", number)


def _coefficient(name: str, record: Mapping[str, float]) -> Cell:
    number = record[name]
    return Cell(str(number) if name == "degree" else f"{number:.10f}", number)


def _stability(root: "Normalization[str]") -> Cell:
    return Cell(STABILITY[root.stability], root.stability, _STABILITY_STYLES[root.stability])


_STABILITY_STYLES = {"stable": "green", "marginal": "yellow", "unstable": "red"}
ROOT_COLUMNS: "tuple[Column[Normalization[str]], ...]" = (
    Column("root", lambda root: f"{root.root}, recommended" if root.recommended else root.root, wraps=True),
    Column("a", lambda root: Cell(f"{float(root.a):.10g}", float(root.a))),
    Column("b", lambda root: Cell(f"{float(root.b):.10g}", float(root.b))),
    Column("χ = Q'(1)", lambda root: Cell(f"{float(root.chi):.6g}", float(root.chi))),
    Column("in depth", _stability, wraps=True),
)
"""Columns of the table of normalizations."""


DRIFT_COLUMNS: "tuple[Column[DepthFactor], ...]" = (
    Column("layers", lambda factor: Cell(str(factor.depth), factor.depth), right=True),
    Column("squared length", lambda factor: _short(factor.squared_length), right=True),
    Column("squared gradient", lambda factor: _short(factor.squared_gradient, "x ")),
)
"""Columns of the table of what a near miss costs over depth."""


DEPTH_COLUMNS: "tuple[Column[DepthProfile], ...]" = (
    Column("network", lambda profile: profile.label, wraps=True),
    Column("in depth", lambda profile: profile.horizon.kind, wraps=True),
    Column("fixed points of q", lambda profile: _fixed_points(profile)),
    Column("basin of q = 1", lambda profile: _basin(profile)),
    Column("slope of C", lambda profile: _correlation_slope(profile), right=True),
    Column("|grad| x10", lambda profile: _layers(profile.horizon.gradient_layers), right=True),
    Column("q off by 2", lambda profile: _layers(profile.horizon.length_layers), right=True),
)
"""Columns of the table of what depth does to a network."""


SPECTRUM_COLUMNS: tuple[Column[Mapping[str, float]], ...] = tuple(
    Column(header, partial(_coefficient, name), right=True)
    for header, name in (
        ("k", "degree"),
        ("c_k", "coefficient"),
        ("sum c_k²", "second_moment_so_far"),
        ("sum k c_k²", "slope_second_moment_so_far"),
    )
)
"""Columns of the table of Hermite coefficients, for the records of `spectrum_records`."""


def conditions_report(conditions: "Conditions") -> RenderableType:
    """The report of `gpn check`."""
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
    table = terminal_table(ROOT_COLUMNS, conditions.normalizations)
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
        f"sup |φ'| {supremum_text(conditions.lipschitz, conditions.lipschitz_is_bound)}",
        f"sup |φ''| {supremum_text(conditions.slope_lipschitz, conditions.slope_lipschitz_is_bound)}",
        _points("kink", conditions.kinks),
        _points("jump", conditions.jumps),
    ]
    lines = ["; ".join(parts), *([f"Kinks and jumps {plain(conditions.located, 500)}."] if conditions.located else [])]
    return Text("\n".join(lines), style="dim")


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


_SHOWN_DEGREES = 13
_LOWEST, _HIGHEST = 1.001e-6, 0.999e6
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
    return Group(
        Text(f"Nearly GPN: {conditions.reason.partition(', tolerance')[0]}."),
        Text("In mean field (infinite width, unit length at the input) this amounts to:"),
        terminal_table(DRIFT_COLUMNS, factors),
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
    table = terminal_table(DEPTH_COLUMNS, profiles)
    rates = "; ".join(_rate(profile) for profile in profiles)
    return Group(table, Text(depth_notes(profiles), style="dim"), Text(rates, style="dim"))


def depth_notes(profiles: "Sequence[DepthProfile]") -> str:
    """What the columns of the table of depth mean."""
    width = profiles[0].horizon.width if profiles else 0
    return (
        "Fixed points: s attracts, m is marginal, u repels. Slope of C: of the correlation map at correlation 1, "
        "above 1 for chaos. Last columns: layers until the gradient norm has changed by 10 and q has left [1/2, 2], "
        f"at width {width}."
    )


def _correlation_slope(profile: "DepthProfile") -> Cell:
    if profile.correlation is None:
        return Cell("-", None)
    points = profile.correlation.fixed_points
    slope = points[-1].slope if points else 1.0
    return Cell(f"{slope:.6f}", slope)


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
    return (
        f"{'0' if low <= _LOWEST else short_number(low, 4)} to {'inf' if high >= _HIGHEST else short_number(high, 4)}"
    )


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
    table = terminal_table(SPECTRUM_COLUMNS, spectrum_records(spectrum, _SHOWN_DEGREES))
    value, slope = short_number(spectrum.value_tail.value), short_number(spectrum.slope_tail.value)
    rest = f"Hermite spectrum; the degrees above {spectrum.order} hold {value} of E φ² and {slope} of E φ'²"
    return Group(table, Text(rest, style="dim"))


def spectrum_records(spectrum: "HermiteSpectrum", count: int) -> list[dict[str, float]]:
    """Return the first Hermite coefficients with their running sums, one record for each degree."""
    records: list[dict[str, float]] = spectrum.to_frame().head(count).to_dict("records")
    return records


def audit(report: "AuditReport") -> RenderableType:
    """Published constants beside the exact ones, and what the difference costs."""
    pairs = [(row, number) for row in report.rows for number in row.comparisons]
    return Group(terminal_table(_AUDIT_COLUMNS, pairs), Text(), Text(report.summary()))


_AUDIT_COLUMNS: "tuple[Column[tuple[AuditRow, Comparison]], ...]" = (
    Column("entry", lambda pair: plain(pair[0].entry.id)),
    Column("constant", lambda pair: pair[1].quantity),
    Column("published", lambda pair: plain(pair[1].published)),
    Column("exact", lambda pair: pair[1].exact),
    Column("relative error", lambda pair: _relative_error(pair[1]), right=True),
    Column("factor 2 at depth", lambda pair: _cost(*pair, 2), right=True),
    Column("factor 10 at depth", lambda pair: _cost(*pair, 10), right=True),
)


def _cost(row: "AuditRow", number: "Comparison", factor: int) -> Cell | str:
    """The depth at which the norm has changed by a factor; empty for a constant that is exact."""
    return "" if number.rounds else _layers(row.cost.depth_2 if factor == 2 else row.cost.depth_10)


def _relative_error(number: "Comparison") -> Cell:
    text = "to all digits" if number.rounds else short_number(number.relative_error, 2)
    return Cell(text, number.relative_error)


def _layers(depth: float) -> Cell:
    return Cell("never" if depth == float("inf") else f"{depth:.0f}", depth)


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
