"""What a person reads in the terminal: the check report, the verification tables, the catalog.

Everything is built from the same plain data that the JSON output carries, so the two cannot disagree. Text that a
user typed enters as `rich.text.Text`, never as markup, and without control characters.
"""

import json
import math
import os
import shlex
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from theory.claims import CLAIMS

if TYPE_CHECKING:
    from gpn.report import Row, VerificationReport
    from theory.poincare import Conditions, Normalization

PAGE_WIDTH = 100
"""Columns of text where no terminal says how many there are."""

STABILITY = {
    "stable": "stable: squared length returns to 1",
    "marginal": "marginal: squared length drifts",
    "unstable": "unstable: squared length leaves 1",
}

_BOUND_NAMES = {"levy": "Lévy", "cramer": "Cramér"}
_SIDES = {"upper": "above", "lower": "below", "either": "either way"}
_VERDICT_STYLES = {"holds": "green", "violated": "bold red", "undecided": "yellow", "vacuous": "dim"}
_VERDICT_MEANINGS = {
    "holds": "the upper confidence limit is at most the bound",
    "violated": "the lower confidence limit is above the bound",
    "undecided": "the bound lies between the limits, more trials may decide",
    "vacuous": "no bound below 1 or an impossible event, so no evidence either way",
}


def show(content: RenderableType, stream: IO[str] | None = None) -> None:
    """Print a report: coloured on a terminal (unless NO_COLOR is set); in a pipe plain and never cut."""
    target = sys.stdout if stream is None else stream
    terminal = target.isatty()
    page = Console(file=target, width=None if terminal else PAGE_WIDTH, highlight=False, markup=False, emoji=False)
    if not terminal:
        page.width = max(PAGE_WIDTH, _widest_table(page, content))
    with page.capture() as captured:
        page.print(content)
    emit("\n".join(line.rstrip() for line in captured.get().splitlines()), target)


def emit(text: str, stream: IO[str] | None = None) -> None:
    """Write text and a newline; a reader that has gone away (`gpn activations | head`) is no error."""
    target = sys.stdout if stream is None else stream
    try:
        target.write(text.rstrip("\n") + "\n")
        target.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), target.fileno())  # so that the flush at exit is silent too


def emit_json(data: Any) -> None:
    """Write JSON; a NaN or an infinity in the data would be a bug and raises ValueError."""
    emit(json.dumps(data, indent=2, allow_nan=False))


def _widest_table(page: Console, content: RenderableType) -> int:
    parts = content.renderables if isinstance(content, Group) else [content]
    wide = page.options.update(width=1000)
    return max((page.measure(part, options=wide).maximum for part in parts if isinstance(part, Table)), default=0)


def plain(text: str, limit: int = 300) -> str:
    """One printable line: control characters and lone surrogates are shown escaped, long text is shortened.

    >>> print(plain("tanh\\x1b[31m(x)"))
    tanh\\x1b[31m(x)
    """
    line = " ".join(text.split())
    line = "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character)[0] == "C" else character
        for character in line
    )
    return line if len(line) <= limit else line[: limit - 1] + "…"


def short_number(value: float | None, digits: int = 3) -> str:
    """A number as people write it; a dash for a missing one.

    >>> short_number(0.00012345), short_number(0.43), short_number(1.0), short_number(None)
    ('1.23e-4', '0.430', '1', '-')
    """
    if value is None:
        return "-"
    if not math.isfinite(value) or value == 0:
        return f"{value:.0f}"
    if not 1e-3 <= abs(value) < 10.0**digits:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.0f}" if value == int(value) else f"{value:#.{digits}g}"


# ---------------------------------------------------------------------------------------------- verification


def claim_title(claim: str, depth: int) -> str:
    """The short title of a claim; a claim about many layers names the depth.

    >>> claim_title("deep-gradient-ratio", 50)
    'Whole network, depth 50'
    """
    title = CLAIMS[claim].title if claim in CLAIMS else plain(claim)
    return title if claim.endswith(("one-step", "one-step-random", "one-step-fixed")) else f"{title}, depth {depth}"


def bound_name(kind: str) -> str:
    """What a kind of bound is called in tables and figures.

    >>> bound_name("levy"), bound_name("my kind")
    ('Lévy bound', 'my kind bound')
    """
    return f"{_BOUND_NAMES.get(kind, plain(kind, 30))} bound"


def claim_finding(rows: "Sequence[Row]") -> str:
    """What the rows of one claim show, in a few words."""
    counts = Counter(str(row.verdict.value) for row in rows)
    if counts["violated"]:
        return f"seen more often than the bound allows in {counts['violated']} of {len(rows)} cases"
    if all(row.bound is None for row in rows):
        return "no bound to test against: observed only"
    parts = [
        f"{counts[verdict]} {words}"
        for verdict, words in (
            ("holds", "within the bound"),
            ("undecided", "undecided"),
            ("vacuous", "bounds say nothing"),
        )
        if counts[verdict]
    ]
    return f"all {parts[0]}" if len(parts) == 1 else ", ".join(parts)


def report_finding(report: "VerificationReport") -> str:
    """The finding of a verification in one line, for a title."""
    config, counts = report.config, Counter(str(row.verdict.value) for row in report.rows)
    subject = plain(config.activation, 40) if config.root is None else f"GPN {plain(config.activation, 40)}"
    if counts["violated"]:
        return f"{subject}: {counts['violated']} of {len(report.rows)} frequencies lie above their bound"
    tested = counts["holds"] + counts["undecided"]
    if not tested:
        return f"{subject}: no bound below 1 here, nothing is tested"
    return f"{subject}: no bound is exceeded, {counts['holds']} of {tested} confirmed at {100 * config.level:g} %"


def verification(report: "VerificationReport") -> RenderableType:
    """The report of `gpn verify`: header line, one table for each claim, notes, the verdict in words."""
    parts: list[RenderableType] = [_header(report)]
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in report.rows:
        groups.setdefault((row.claim, row.depth), []).append(row)
    for (claim, depth), rows in groups.items():
        parts += [Text(), *_claim_heading(claim, depth, rows), _claim_table(rows, report.config.level)]
    present = {str(row.verdict.value) for row in report.rows}
    meanings = [f"{verdict}: {words}" for verdict, words in _VERDICT_MEANINGS.items() if verdict in present]
    parts += [Text(), Text("; ".join(meanings) + ".", style="dim")]
    parts += [Text(f"Note: {plain(note, 1000)}") for note in report.notes]
    parts += [Text(), Text(plain(report.summary(), 5000), style="bold")]
    return Group(*parts)


def _header(report: "VerificationReport") -> Text:
    config = report.config
    if config.root is None:
        subject = f"{plain(config.activation)}, as it is (not normalized)"
    else:
        subject = (
            f"GPN {plain(config.activation)}: a = {config.scale:.10g}, b = {config.shift:.10g} (root {config.root})"
        )
    inputs = "" if config.inputs is None else f", inputs {plain(str(config.inputs))}"
    return Text(f"{subject}; weights {config.weights}, seed {config.seed}{inputs}", style="bold")


def _claim_heading(claim: str, depth: int, rows: "Sequence[Row]") -> list[Text]:
    lines = [Text(claim_title(claim, depth), style="bold")]
    if claim in CLAIMS:
        lines.append(Text(f"P({CLAIMS[claim].words})"))
    reasons = dict.fromkeys(row.bound_kind for row in rows if row.bound is None)
    return [*lines, *(Text(f"bound: {plain(reason, 500)}", style="dim") for reason in reasons)]


def _claim_table(rows: "Sequence[Row]", level: float) -> Table:
    """The rows of one claim; what is the same in all of them moves to the head, what is empty goes."""
    trials = {row.trials for row in rows}
    kinds = {row.bound_kind for row in rows if row.bound is not None}
    columns: dict[str, Callable[[Row], str]] = {
        "width": lambda row: str(row.width),
        "ε": lambda row: f"{row.epsilon:g}",
    }
    if {row.side for row in rows} != {"either"}:
        columns["side"] = lambda row: _SIDES.get(row.side, row.side)
    if len(trials) == 1:
        columns[f"seen in {rows[0].trials:,}"] = lambda row: f"{row.exceedances:,}"
    else:
        columns["seen"] = lambda row: f"{row.exceedances:,} of {row.trials:,}"
    columns[f"one-sided {100 * level:g} % limits"] = _limits
    if len(kinds) == 1:
        columns[bound_name(*kinds)] = lambda row: "none" if row.bound is None else short_number(row.bound)
    elif kinds:
        columns["bound"] = _named_bound
    if any(row.prediction is not None for row in rows):
        columns["prediction"] = lambda row: short_number(row.prediction)
    table = new_table(columns, right=("width", "ε", *(header for header in columns if header.startswith("seen"))))
    table.add_column("verdict")
    for row in rows:
        verdict = str(row.verdict.value)
        cells = [cell(row) for cell in columns.values()]
        table.add_row(*cells, Text(verdict, style=_VERDICT_STYLES.get(verdict, "")))
    return table


def new_table(headers: Iterable[str], right: Sequence[str] = (), words: Sequence[str] = ()) -> Table:
    """An empty table; on a narrow terminal the columns of words wrap, those of numbers do not."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for header in headers:
        justify: JustifyMethod = "right" if header in right else "left"
        table.add_column(header, justify=justify, no_wrap=header not in words, overflow="fold")
    return table


def _named_bound(row: "Row") -> str:
    return "none" if row.bound is None else f"{short_number(row.bound)} ({bound_name(row.bound_kind)})"


def _limits(row: "Row") -> str:
    if row.exceedances == 0:
        return f"at most {_probability(row.upper)}"
    if row.exceedances == row.trials:
        return f"at least {_probability(row.lower)}"
    return f"{_probability(row.lower)} to {_probability(row.upper)}"


def _probability(value: float) -> str:
    return f"1 - {short_number(1 - value)}" if 0.9995 <= value < 1 else short_number(value)


# ---------------------------------------------------------------------------------------------- check


def check_report(conditions: "Conditions", spec: str) -> RenderableType:
    """The report of `gpn check`.

    Args:
        conditions: what `gpn.check` returns.
        spec: the activation as the user typed it, for the next step.
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
    parts += [Text(), _regularity(conditions)]
    step = next_step(conditions, spec)
    return Group(*parts, *([Text(), Text(step)] if step else []))


def check_verdict(conditions: "Conditions") -> Text:
    """The outcome of a check in one sentence, with the reason where there is one."""
    name, reason = plain(conditions.name), plain(conditions.reason, 1000).rstrip(".")
    if conditions.is_gpn == "holds":
        return Text(f"{name} is Gaussian-Poincaré normalized (GPN).", style="bold green")
    if conditions.normalizable == "no":
        return Text(f"{name} cannot be normalized: {reason}.", style="bold red")
    if conditions.normalizable == "yes" and conditions.is_gpn == "fails":
        return Text(f"{name} is not GPN, but a φ + b is:", style="bold yellow")
    return Text(f"{name} is undecided: {reason}.", style="bold yellow")


def next_step(conditions: "Conditions", spec: str) -> str | None:
    """A command to type next, or nothing when there is none to recommend."""
    root = next((root.root for root in conditions.normalizations if root.recommended), None)
    argument = _argument(spec)
    if conditions.is_gpn == "holds":
        return f"Next: gpn verify --raw {argument}"
    return None if root is None else f"Next: gpn normalize --root {root} {argument}"


def _argument(spec: str) -> str:
    """A specification as it must be typed in a shell, after -- if it would pass for an option."""
    quoted = shlex.quote(plain(spec))
    return f"-- {quoted}" if spec.startswith("-") else quoted


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
    return Text("; ".join(parts), style="dim")


def _constant(value: float | None) -> str:
    return "infinite" if value is None else f"= {value:.8g}"


def _points(noun: str, points: Sequence[str]) -> str:
    if not points:
        return f"no {noun}s"
    return f"{noun}{'s' if len(points) > 1 else ''} at {', '.join(plain(point, 30) for point in points)}"


# ---------------------------------------------------------------------------------------------- normalize, catalog


def normalization_report(conditions: "Conditions", chosen: "Normalization", spec: str) -> RenderableType:
    """The report of `gpn normalize`: a and b to double precision, what depth does, how to get code."""
    return Group(
        Text(f"GPN {plain(conditions.name)} = a φ + b, root {chosen.root}", style="bold"),
        Text(f"  a = {chosen.a!r}"),
        Text(f"  b = {chosen.b!r}"),
        Text(f"  χ = {chosen.chi:.6g}, in depth {STABILITY[chosen.stability]}"),
        Text(),
        Text(f"Next: gpn normalize --root {chosen.root} --emit numpy {_argument(spec)}"),
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
