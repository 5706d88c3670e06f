"""Tables of a verification in the terminal, one for each claim."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from gpn.report.tables.columns import Column, terminal_table
from gpn.report.words.findings import claim_title, sharpness, times
from gpn.report.words.terminal import paragraphs
from gpn.report.words.text import TableCell, plain, short_number
from gpn.verification.kinds import LAYER_KINDS, kind_of
from theory.claims.counted import CountedClaim
from theory.claims.registry import CLAIMS

if TYPE_CHECKING:
    from gpn.verification.kinds import Kind
    from gpn.verification.results import Row, VerificationReport

_MARKS = {"holds": " ✓", "violated": " ✗"}
_SIDES = {"upper": "above", "lower": "below", "either": "either way"}
NO_BOUND = "not tested"
_VERDICT_STYLES = {"holds": "green", "violated": "bold red", "undecided": "yellow", "vacuous": "dim"}
_VERDICT_MEANINGS = {
    "holds": "the limits confirm what theory says",
    "violated": "the limits contradict it",
    "undecided": "they do neither, more trials may",
    "vacuous": "no bound below 1 or an impossible event, so no evidence either way",
    NO_BOUND: "no bound, see above the table, or one too small for counting, see the notes",
}


def verification(report: "VerificationReport", details: bool = False) -> RenderableType:
    """The report of `gpn verify`: header line, findings, whole network, a line for each other claim, notes.

    Args:
        report: what `gpn.verify` returns.
        details: whether all events of single layers have a row in a table, and the laws of the engine; else those
            events that do not hold.
    """
    groups: dict[str, list[Row]] = {}
    for row in report.rows:
        groups.setdefault(row.claim, []).append(row)
    network = groups.pop(CountedClaim.NETWORK, [])
    shown = [rows for rows in (network, *(groups.values() if details else map(_open, groups.values()))) if rows]
    level = report.config.level
    claims: list[list[RenderableType]] = []
    for rows in shown:
        heading = _claim_heading(rows, groups.get(rows[0].claim, network))
        claims.append([*heading, terminal_table(claim_columns(rows, level), _in_order(rows))])
    if details and report.engine:
        table = terminal_table(engine_columns(level), report.engine)
        claims.append([Text("Exact laws of the engine", style="bold"), table])
    overview = [terminal_table(_overview(groups.values()), groups.values())] if groups else []
    summary = [Text(plain(line, 2000), style="bold") for line in report.summary().splitlines()]
    notes = [Text(f"Note: {plain(note, 1000)}") for note in report.notes]
    meanings = Text(legend(report.rows), style="dim")
    first = [Text(header(report), style="bold")]
    return paragraphs(first, summary, *claims[: bool(network)], overview, *claims[bool(network) :], [meanings, *notes])


def _in_order(rows: "Sequence[Row]") -> "list[list[Row]]":
    """The events of one claim; of whole networks those first about which a theorem speaks, from the deepest on."""
    events = claim_events(rows)
    if rows[0].claim != CountedClaim.NETWORK:
        return events
    untested = ("vacuous", NO_BOUND)
    return sorted(events, key=lambda event: (event_verdict(event) in untested, -event[0].depth, -event[0].width))


def _open(rows: "Sequence[Row]") -> "list[Row]":
    """The rows of those events that do not hold."""
    events = {row.event for row in rows if row.is_theory and str(row.verdict) in ("violated", "undecided")}
    return [row for row in rows if row.event in events]


def _times(kind: "Kind", rows: "Sequence[Row]") -> TableCell:
    """How many times the probability the bounds of one kind are, from the least to the most."""
    ratios = [row.times_truth for row in rows if row.bound_kind == kind.name and row.is_tested and row.times_truth]
    if not ratios:
        return TableCell("-", None)
    low, high = times(min(ratios)), times(max(ratios))
    return TableCell(low if low == high else f"{low} to {high}", max(ratios))


def _count(*verdicts: str) -> "Callable[[Sequence[Row]], TableCell]":
    def cell(rows: "Sequence[Row]") -> TableCell:
        number = sum(str(row.verdict) in verdicts for row in rows)
        return TableCell(f"{number:,}", number)

    return cell


def _integrated(rows: "Sequence[Row]") -> TableCell:
    number = sum(row.is_weighted and row.is_tested for row in rows)
    return TableCell(f"{number:,}", number)


def _overview(claims: "Iterable[Sequence[Row]]") -> "list[Column[list[Row]]]":
    """One line for each claim: its rows, those that hold, and how far its bounds lie above the exact probability."""
    kinds = {row.bound_kind for rows in claims for row in rows if row.times_truth and row.is_tested}
    return [
        Column("claim", lambda rows: claim_title(rows[0].claim, rows[0].depth), wraps=True),
        Column("tested", _count("holds", "violated", "undecided"), right=True),
        Column("hold", _count("holds"), right=True),
        Column("by integral", _integrated, right=True),
        *(Column(f"{kind.column} / exact", partial(_times, kind)) for kind in LAYER_KINDS if kind.name in kinds),
    ]


def header(report: "VerificationReport") -> str:
    """What was tested: the activation with its constants, weights, seed, inputs."""
    config = report.config
    if config.root is None:
        subject = f"{plain(config.activation)}, as it is (not normalized)"
    else:
        subject = (
            f"GPN {plain(config.activation)}: a = {config.scale:.10g}, b = {config.shift:.10g} (root {config.root})"
        )
    inputs = "" if config.inputs is None else f", inputs {plain(str(config.inputs))}"
    shape = f"; {config.shape_words}" if config.shape_words else ""
    return f"{subject}; weights {config.weights}{shape}, seed {config.seed}{inputs}"


def _claim_heading(rows: "Sequence[Row]", every: "Sequence[Row]") -> list[Text]:
    """What stands above the rows that are shown, of every row of the claim."""
    claim = rows[0].claim
    depths = {row.depth for row in rows}
    lines = [Text(claim_title(claim, *depths) if len(depths) == 1 else CLAIMS[claim].title, style="bold")]
    if claim in CLAIMS:
        lines.append(Text(f"P({CLAIMS[claim].words})"))
    missing: dict[str, dict[str, None]] = {}  # reasons why there is no bound, by kind
    for row in (row for row in rows if row.bound is None):
        missing.setdefault(row.bound_kind.split(":")[0], {})[row.bound_kind] = None
    reasons = [f"{kind}, and {len(more)} more like it" if more else kind for kind, *more in missing.values()]
    return [*lines, *(Text(plain(remark, 500), style="dim") for remark in [*sharpness(every), *reasons])]


def legend(rows: "Iterable[Row]") -> str:
    """What the words and marks of the tables mean."""
    present = {event_verdict(event).partition(" (")[0] for event in claim_events(rows)}
    meanings = [f"{verdict}: {words}" for verdict, words in _VERDICT_MEANINGS.items() if verdict in present]
    parts = [*(["; ".join(meanings)] if meanings else []), "Limits hold for all rows together"]
    if any(row.kind.is_prediction for row in rows):
        parts.append("✓ (✗): the limits lie within (beyond) the error of order 1/n of the prediction, not a bound")
    if any(row.is_weighted for row in rows):
        parts.append("*: too rare to be counted, by importance sampling: an integral over the sphere, no network")
    if any(row.equal for row in rows):
        parts.append("=: bound and probability coincide, so that no trials can tell them apart")
    return ". ".join(parts) + "."


def claim_events(rows: "Iterable[Row]") -> "list[list[Row]]":
    """Return the rows of one claim by event, in the order of the report."""
    events: dict[tuple[str, int, int, float, str], list[Row]] = {}
    for row in rows:
        events.setdefault(row.event, []).append(row)
    return list(events.values())


def claim_columns(rows: "Sequence[Row]", level: float) -> "list[Column[list[Row]]]":
    """Return the columns of the table of one claim, whose items are events; the last one is the verdict on theory.

    Where there are predictions alone, which are not theorems, there is none.

    Args:
        rows: all rows of the claim.
        level: confidence level of the report.
    """
    kinds = dict.fromkeys(row.bound_kind for row in rows if row.bound is not None)
    sides: list[Column[list[Row]]] = [Column("side", lambda event: _SIDES.get(event[0].side, event[0].side))]
    depths: list[Column[list[Row]]] = [
        Column("depth", lambda event: TableCell(str(event[0].depth), event[0].depth), right=True)
    ]
    verdicts: list[Column[list[Row]]] = [Column("verdict", _verdict, wraps=True)]
    return [
        *(depths if len({row.depth for row in rows}) > 1 else []),
        Column("width", lambda event: TableCell(str(event[0].width), event[0].width), right=True),
        Column("ε", lambda event: TableCell(f"{event[0].epsilon:g}", event[0].epsilon), right=True),
        *(sides if {row.side for row in rows} != {"either"} else []),
        Column("seen", _seen, right=True),
        Column(f"{100 * level:g} % limits", _limits),
        *(Column(_column(kind), partial(_value, kind)) for kind in kinds),
        *(verdicts if any(not row.kind.is_prediction for row in rows) else []),
    ]


def engine_columns(level: float) -> "list[Column[Row]]":
    """Return the columns of the table of the exact laws that test the engine, one row of the report in each line.

    Args:
        level: confidence level of the report.
    """
    return [
        Column("law", lambda row: row.claim.removeprefix("engine-") + f", {row.side}" * (row.side != "either")),
        Column("networks", lambda row: row.method, wraps=True),
        Column("n, L", lambda row: f"{row.width}, {row.depth}", right=True),
        Column("seen", lambda row: TableCell(f"{row.exceedances:,} of {row.trials:,}", row.estimate), right=True),
        Column(f"{100 * level:g} % limits", _engine_limits),
        Column("exact", lambda row: TableCell(short_number(row.bound or 0.0), row.bound), right=True),
        Column("verdict", lambda row: _coloured(str(row.verdict.value))),
    ]


def _engine_limits(row: "Row") -> TableCell:
    words = f"at most {short_number(row.upper)}" if row.exceedances == 0 else ""
    return TableCell(words or f"{short_number(row.lower)} to {short_number(row.upper)}", row.upper)


def _verdict(event: "list[Row]") -> TableCell:
    return _coloured(event_verdict(event))


def _coloured(words: str) -> TableCell:
    return TableCell(words, words, _VERDICT_STYLES.get(words.partition(" ")[0], ""))


def _column(kind: str) -> str:
    return plain(kind_of(kind).column, 30)


def event_verdict(rows: "Sequence[Row]") -> str:
    """The verdicts of one event together, predictions apart: one word, and where kinds of row differ, which."""
    kinds: dict[str, list[str]] = {}
    for row in (row for row in rows if not row.kind.is_prediction):
        kinds.setdefault(str(row.verdict.value), []).append(row.bound_kind)
    for verdict in ("violated", "undecided", "holds"):
        if verdict in kinds:
            all_alike = verdict == "holds" or set(kinds) <= {verdict, "vacuous"}
            return verdict if all_alike else f"{verdict} ({', '.join(_column(kind) for kind in kinds[verdict])})"
    return NO_BOUND if all(row.bound is None for row in rows if not row.kind.is_prediction) else "vacuous"


def _seen(event: "list[Row]") -> TableCell:
    last = max(event, key=lambda row: row.trials)  # a row that stopped earlier has seen less
    unknown = f", {last.unknown:,} unknown" if last.unknown else ""
    return TableCell(f"{last.exceedances:,} of {last.trials:,}{unknown}", last.estimate)


def _value(kind: str, event: "list[Row]") -> TableCell:
    row = next((row for row in event if row.bound_kind == kind), None)
    if row is None:
        return TableCell("-", None)
    if row.bound is None:
        return TableCell("none", None)
    mark = _MARKS.get(str(row.verdict.value), "") if row.kind.is_prediction else " =" * row.equal
    return TableCell(f"{short_number(row.bound)}{mark}", row.bound)


def _limits(event: "list[Row]") -> TableCell:
    row = max(event, key=lambda row: (row.trials, row.kind.is_bound))
    low, high = row.limits
    lower, upper, mark = _probability(low), _probability(high), "*" * row.is_weighted
    if low == 0:
        return TableCell(f"at most {upper}{mark}", high)
    if row.exceedances == row.trials and not mark:
        return TableCell(f"at least {lower}", high)
    return TableCell(f"{lower} to {upper}{mark}", high)


def _probability(value: float) -> str:
    return f"1 - {short_number(1 - value)}" if 0.9995 <= value < 1 else short_number(value)
