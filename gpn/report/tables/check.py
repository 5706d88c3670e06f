"""Tables of one activation in the terminal: check, normalization, depth, catalog, families, audit.

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

from gpn.report.tables.columns import Column, significant, terminal_table
from gpn.report.tables.trainability import depth_answer
from gpn.report.words.captions import tail_words
from gpn.report.words.findings import MOMENT_LABELS, check_verdict, error_text, number_text
from gpn.report.words.terminal import paragraphs
from gpn.report.words.text import GIVEN_UP, STABILITY, TableCell, plain, short_number, supremum_text
from gpn.report.words.trainability import loss_warning
from theory.depth.horizon import MOST_LAYERS

if TYPE_CHECKING:
    import pandas as pd

    from gpn.checking.audit_results import AuditReport, AuditRow, Comparison
    from gpn.checking.check import Details
    from gpn.checking.depth import DepthProfile
    from gpn.checking.results import CheckReport
    from theory.balls.decimal import DecimalNumber
    from theory.depth.length_map import DepthFactor
    from theory.gaussian.hermite import HermiteSpectrum
    from theory.gaussian.moments import Normalization
    from theory.initialization.family_solutions import Solutions
    from theory.normalization.conditions import Conditions

_SHOWN_DEGREES = 13
_LOWEST, _HIGHEST = 1.001e-6, 0.999e6
"""Ends of the range of q that is searched: a basin that reaches them has no end that was seen."""
_MARKS = {"attracting": "s", "marginal": "m", "repelling": "u"}
_STABILITY_STYLES = {"stable": "green", "marginal": "yellow", "unstable": "red"}
ROOT_COLUMNS: "tuple[Column[Normalization[DecimalNumber]], ...]" = (
    Column("root", lambda root: f"{root.root}, recommended" if root.recommended else root.root, wraps=True),
    Column("a", lambda root: significant(root.a, 10)),
    Column("b", lambda root: significant(root.b, 10)),
    Column("χ = Q'(1)", lambda root: _chi(root)),
    Column(
        "in depth",
        lambda root: TableCell(STABILITY[root.stability], root.stability, _STABILITY_STYLES[root.stability]),
        wraps=True,
    ),
)
"""Columns of the table of normalizations."""
DRIFT_COLUMNS: "tuple[Column[DepthFactor], ...]" = (
    Column("layers", lambda factor: TableCell(str(factor.depth), factor.depth), right=True),
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
SPECTRUM_COLUMNS: tuple[Column[Mapping[str, float]], ...] = (
    Column("k", lambda record: TableCell(str(record["degree"]), record["degree"]), right=True),
    Column("c_k", lambda record: _ten_places(record["coefficient"]), right=True),
    Column("sum c_k²", lambda record: _ten_places(record["second_moment_so_far"]), right=True),
    Column("sum k c_k²", lambda record: _ten_places(record["slope_second_moment_so_far"]), right=True),
)
"""Columns of the table of Hermite coefficients, for the records of `spectrum_records`."""
_CATALOG_COLUMNS: tuple[Column[Mapping[str, Any]], ...] = (
    Column("name", lambda row: row["name"]),
    Column("a", lambda row: significant(row["a"], 10)),
    Column("b", lambda row: significant(row["b"], 10)),
    Column("χ", lambda row: significant(row["chi"], 6)),
    Column("root", lambda row: row["root"] or "-"),
    Column("in depth", lambda row: row["stability"] or plain(row["reason"].partition(", so")[0]), wraps=True),
)
_CLOSED_FORM_COLUMNS: tuple[Column[tuple[str, object]], ...] = (
    Column("exactly", lambda pair: pair[0]),
    Column("", lambda pair: plain(str(pair[1]), 2000), wraps=True),
)
_AUDIT_COLUMNS: "tuple[Column[tuple[AuditRow, Comparison]], ...]" = (
    Column("entry", lambda pair: plain(pair[0].entry.id)),
    Column("constant", lambda pair: pair[1].quantity),
    Column("published", lambda pair: plain(pair[1].published)),
    Column("exact", lambda pair: pair[1].exact or "none claimed"),
    Column("relative error", lambda pair: _relative_error(pair[1]), right=True),
    Column("factor 2 at depth", lambda pair: _cost(pair[1], pair[0].cost.depth_2), right=True),
    Column("factor 10 at depth", lambda pair: _cost(pair[1], pair[0].cost.depth_10), right=True),
    Column("fixed length", lambda pair: _fixed_length(pair[0])),
)


def conditions_report(conditions: "Conditions") -> RenderableType:
    """The report of `gpn check`."""
    name = Text(plain(conditions.name), style="bold")
    if conditions.expression is not None and plain(conditions.expression) != plain(conditions.name):
        name.append(f":  φ(x) = {plain(conditions.expression)}", style="not bold")
    roots = conditions.normalizations
    warnings = [
        Text(
            f"b_{root.root} is unstable in depth, because |χ| > 1: layer by layer the squared length moves away "
            "from 1, whatever the width."
        )
        for root in roots
        if root.stability == "unstable"
    ]
    table = [terminal_table(ROOT_COLUMNS, roots)] if roots else []
    verdict = check_verdict(conditions)
    return paragraphs([name], _moments(conditions), [verdict], table, warnings, [_regularity(conditions)])


def _moments(conditions: "Conditions") -> list[RenderableType]:
    grid = Table.grid(padding=(0, 2))
    for name, label in MOMENT_LABELS.items():
        grid.add_row(f"  {label}", number_text(conditions, name))
    how = ", certified" if conditions.certified else ", estimated"
    lines: list[RenderableType] = [grid, Text(f"  z ~ N(0, 1); error {_error(conditions, how)}", style="dim")]
    if conditions.uncertified:
        lines.append(Text(f"  not certified: {plain(conditions.uncertified, 500)}", style="dim"))
    return lines


def _error(conditions: "Conditions", how: str = "") -> str:
    return "not known" if conditions.error is None else f"{error_text(conditions.error)}{how}"


def _regularity(conditions: "Conditions") -> Text:
    parts = [
        f"sup |φ'| {supremum_text(conditions.lipschitz, conditions.lipschitz_kind)}",
        f"sup |φ''| {supremum_text(conditions.slope_lipschitz, conditions.slope_lipschitz_kind)}",
    ]
    if conditions.breaks_known:
        parts += [break_text(conditions, noun) for noun in ("kinks", "jumps")]
    else:
        parts.append("kinks and jumps not known")
    name = conditions.looks_like
    likeness = f"Looks like {name}, as far as was compared (|x| < 40): `gpn check {name}` is certified."
    lines = ["; ".join(parts), *([likeness] if conditions.looks_like else [])]
    lines += [*([f"Kinks and jumps {plain(conditions.located, 700)}."] if conditions.located else [])]
    if conditions.given_up:
        lines.append(f"{GIVEN_UP}: {', '.join(conditions.given_up)}. A larger --time-limit gives more.")
    return Text("\n".join(lines), style="dim")


def break_text(conditions: "Conditions", noun: str) -> str:
    """Where the kinks or jumps are; "no kinks" needs a proof."""
    points, is_proved = getattr(conditions, noun), getattr(conditions, f"{noun}_proved")
    if not points:
        return f"no {noun}" if is_proved else f"{noun}: none found"
    shown, more = points[:12], f" and {len(points) - 12} more" if len(points) > 12 else ""
    doubt = "" if is_proved or conditions.located else " (not proved)"
    places = ", ".join(plain(point, 30) for point in shown)
    return f"{noun if len(points) > 1 else noun[:-1]} at {places}{more}{doubt}"


def normalization_report(conditions: "Conditions", chosen: "Normalization[DecimalNumber]") -> RenderableType:
    """The report of `gpn normalize`: a and b to double precision, what depth does."""
    constants = [
        Text(f"GPN {plain(conditions.name)} = a φ + b, root {chosen.root}", style="bold"),
        Text(f"  a = {chosen.a!r}"),
        Text(f"  b = {chosen.b!r}"),
        Text(f"  χ = {chosen.chi:.6g}, in depth {STABILITY[chosen.stability]}"),
    ]
    estimated = f"The moments are those of a Python function: estimated, error {_error(conditions)}, not certified."
    return paragraphs(constants, [Text(estimated)] if conditions.expression is None else [])


def catalog(rows: Iterable[Mapping[str, Any]]) -> Table:
    """The list of `gpn activations`: name, recommended a, b and chi, and what depth does, or why there is none."""
    return terminal_table(_CATALOG_COLUMNS, rows)


def check_answer(report: "CheckReport", verbose: bool, lights: bool = False) -> Iterator[RenderableType]:
    """The parts of `gpn check`: the outcome, what a near miss costs, what depth leaves, and the details if wanted.

    Args:
        report: what to show.
        verbose: whether to show the details.
        lights: whether to show the four conditions of depth line by line.
    """
    yield conditions_report(report.conditions)
    for root in report.conditions.normalizations:
        if root.recommended and loss_warning(root):
            yield Text(loss_warning(root))
    if report.depth is not None:
        yield depth_answer(report.depth, lights, _judged_in_depth(report.conditions))
    elif report.conditions.normalizable == "yes" and not report.conditions.given_up:
        yield Text("What depth leaves of separation and isometry is not known: float64 is not accurate enough here.")
    if report.drift:
        yield Group(
            Text(f"Nearly GPN: {report.conditions.reason.partition(', tolerance')[0]}."),
            Text("In mean field (infinite width, unit length at the input) this amounts to:"),
            terminal_table(DRIFT_COLUMNS, report.drift),
        )
    if verbose and report.details is not None:
        yield details(report.details)


def _judged_in_depth(conditions: "Conditions") -> str:
    """What the conditions of depth are of, empty where that is the activation itself."""
    if conditions.is_gpn == "holds":
        return ""
    return f"a φ + b (root {next(root.root for root in conditions.normalizations if root.recommended)})"


def details(details: "Details") -> RenderableType:
    """Depth, closed forms, correlation map and the first Hermite coefficients."""
    slope, curvature = (short_number(x, 8) for x in (details.correlation_slope, details.correlation_curvature))
    exact: list[RenderableType] = [Text("No closed form is known.")]
    if details.closed_form is not None:
        exact = [terminal_table(_CLOSED_FORM_COLUMNS, details.closed_form.expressions().items())]
    return paragraphs(
        [Text(f"Correlation map C(ρ) = E φ(u) φ(v): C'(1) = {slope}, C''(1) = {curvature}")],
        [depth(details.depth)],
        exact,
        _coefficients(details.coefficients),
        [_spectrum(details.spectrum)],
    )


def depth(profiles: "Sequence[DepthProfile]") -> RenderableType:
    """Effect of depth on lengths, gradients and correlations: one row for each network."""
    table = terminal_table(DEPTH_COLUMNS, profiles)
    rates = "; ".join(_rate(profile) for profile in profiles)
    return Group(table, Text(depth_notes(profiles), style="dim"), Text(rates, style="dim"))


def depth_notes(profiles: "Sequence[DepthProfile]") -> str:
    """Meaning of the columns of the table of depth."""
    width = profiles[0].horizon.width if profiles else 0
    return (
        "Fixed points: s attracts, m is marginal, u repels. Slope of C: of the correlation map at correlation 1, "
        "above 1 for chaos. Last columns: layers until the gradient norm has changed by 10 and q has left [1/2, 2], "
        f"at width {width}."
    )


def _correlation_slope(profile: "DepthProfile") -> TableCell:
    if profile.correlation is None:
        return TableCell("-", None)
    points = profile.correlation.fixed_points
    slope = points[-1].slope if points else 1.0
    return TableCell(f"{slope:.6f}", slope)


def _rate(profile: "DepthProfile") -> str:
    factor = f"{math.exp(min(profile.horizon.rate, 700.0)):.6g}"
    q = profile.horizon.q
    start = ", from just below q = 1" if profile.horizon.kind == "unstable length" else ""
    place = short_number(q, 7) if math.isfinite(q) else "1e6, and q grows without limit"
    return f"{profile.label}: |grad|² x {factor} per layer at q = {place}{start}"


def _fixed_points(profile: "DepthProfile") -> str:
    if profile.lengths.continuum:
        return "every q m"
    points = profile.lengths.fixed_points
    return ", ".join(f"{short_number(point.q, 5)} {_MARKS[point.stability]}" for point in points) or "none"


def _basin(profile: "DepthProfile") -> str:
    if profile.lengths.basin is None:
        return "-"
    low, high = profile.lengths.basin
    lower = "0" if low <= _LOWEST else short_number(low, 4)
    return f"{lower} to {'inf' if high >= _HIGHEST else short_number(high, 4)}"


def _coefficients(coefficients: "dict[str, dict[str, str] | str]") -> list[RenderableType]:
    """Coefficients of the laws of depth, one column for each normalization."""
    known = {root: values for root, values in coefficients.items() if isinstance(values, dict)}
    missing = [Text(f"b_{root}: depth coefficients {why}") for root, why in coefficients.items() if root not in known]
    if not known:
        return list(missing)
    names: Column[str] = Column("depth coefficient", str)
    numbers = [Column(f"with b_{root}", values.__getitem__, right=True) for root, values in known.items()]
    return [terminal_table([names, *numbers], next(iter(known.values()))), *missing]


def _spectrum(spectrum: "HermiteSpectrum") -> RenderableType:
    table = terminal_table(SPECTRUM_COLUMNS, spectrum_records(spectrum, _SHOWN_DEGREES))
    value, slope = tail_words(spectrum.value_tail), tail_words(spectrum.slope_tail)
    rest = f"Hermite spectrum; the degrees above {spectrum.order} hold {value} of E φ² and {slope} of E φ'²"
    return Group(table, Text(rest, style="dim"))


def spectrum_records(spectrum: "HermiteSpectrum", count: int) -> list[dict[str, float]]:
    """Return the first Hermite coefficients with their running sums, one record for each degree."""
    records: list[dict[str, float]] = spectrum.to_frame().head(count).to_dict("records")
    return records


def audit(report: "AuditReport") -> RenderableType:
    """Published constants beside the exact ones, and what the difference costs."""
    pairs = [(row, number) for row in report.rows for number in row.comparisons]
    return paragraphs([terminal_table(_AUDIT_COLUMNS, pairs)], [Text(report.summary())])


def _relative_error(number: "Comparison") -> TableCell:
    if not number.claimed:
        return TableCell("", None)
    text = "to all digits" if number.rounds else short_number(number.relative_error, 2)
    return TableCell(text, number.relative_error)


def _fixed_length(row: "AuditRow") -> TableCell:
    """The squared length that a gain leaves as it is, and whether it attracts."""
    point = row.fixed_point
    if point is None:
        return TableCell("", None)
    return TableCell(f"{short_number(point.length, 5)} {point.kind.removeprefix('is ')}", point.length)


def _cost(number: "Comparison", depth: float) -> TableCell | str:
    """The depth at which the norm has changed by a factor; empty for a constant that is exact."""
    return "" if number.rounds else _layers(depth)


def _chi(root: "Normalization[DecimalNumber]") -> TableCell:
    """Six digits, or the distance from 1 where they would hide it, as for relu6."""
    gap = 1 - abs(root.chi)
    if root.stability == "marginal" or not 0 < abs(gap) < 5e-6:
        return significant(root.chi, 6)
    size = f"1 {'-' if gap > 0 else '+'} {abs(gap):.2g}"
    return TableCell(f"-({size})" if root.chi < 0 else size, float(root.chi))


def _layers(depth: float) -> TableCell:
    if math.isnan(depth):
        return TableCell(f"> {MOST_LAYERS}", None)
    return TableCell("never" if depth == float("inf") else f"{depth:.0f}", depth)


def family(frame: "pd.DataFrame") -> RenderableType:
    """The members of a family: one row for each value of its parameter; those without numbers are marked."""
    words = [name for name in frame.columns if name in ("kind", "reason")]
    numbers = [name for name in frame.columns if name not in words]
    columns = [
        Column(name, partial(_entry, name), right=name in numbers, wraps=name in words) for name in numbers + words
    ]
    records = frame.to_dict("records")
    missing = sum(bool(row.get("reason")) for row in records)
    notes = [f"{missing} of {len(records)} rows have no numbers (-): the last column says why."] if missing else []
    known = [row for row in records if not row.get("reason")]
    if any(math.isnan(row.get("fixed_point", 0.0)) for row in known):
        notes.append("fixed_point -: no squared length from 1e-6 to 1e6 is seen to attract.")
    if any(math.isnan(row.get("slope_fourth_moment", 0.0)) for row in known):
        notes.append("slope_fourth_moment -: infinite, or float64 cannot tell.")
    return Group(terminal_table(columns, records), *(Text(note, style="yellow") for note in notes))


def _entry(name: str, row: Mapping[str, Any]) -> str:
    if isinstance(row[name], str):
        return plain(row[name])
    if name in ("mean", "b_plus", "b_minus") and abs(row[name]) <= row["error"]:
        return "0"
    if math.isfinite(row[name]):
        return short_number(float(row[name]), 7)
    return "-" if row.get("reason") or math.isnan(row[name]) else "infinite"


def solutions(solutions: "Solutions") -> RenderableType:
    """The values of a parameter that solve a condition."""
    parts: list[RenderableType] = [Text(solutions.summary(), style="bold")]
    if solutions.roots:
        parts += [Text(), family(solutions.to_frame())]
    return Group(*parts, *(Text(f"Note: {plain(note, 500)}") for note in solutions.notes))


def _short(number: float, before: str = "") -> TableCell:
    return TableCell(f"{before}{short_number(number, 6)}", number)


def _ten_places(number: float) -> TableCell:
    return TableCell(f"{round(number, 10) + 0.0:.10f}", number)  # + 0.0: no -0
