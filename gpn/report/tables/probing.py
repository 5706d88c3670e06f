"""The table of `gpn probe` in the terminal."""

from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from gpn.probing.results import Answer
from gpn.report.tables.columns import Column, terminal_table
from gpn.report.words.probing import annotated_source, layer_rows, probe_paragraph
from gpn.report.words.terminal import paragraphs
from gpn.report.words.text import TableCell, plain, short_number

if TYPE_CHECKING:
    from gpn.probing.results import PartRow, ProbeReport

Pair = tuple["PartRow", "PartRow | None"]
_MOST = 40  # layers of the table; of more the first and the last are shown
_STYLES = {"follows": "green", "departs": "bold red", "no theory": "yellow"}


def probe(report: "ProbeReport", source: bool = False) -> RenderableType:
    """The paragraph, a line for each layer, and the annotated source if it is asked for."""
    pairs = list(layer_rows(report))
    shown = pairs if len(pairs) <= _MOST else [*pairs[: _MOST // 2], *pairs[-_MOST // 2 :]]
    left = len(pairs) - len(shown)
    where = f"{plain(report.model)} ({report.library}): {report.fresh}, {report.samples} inputs"
    below = [Text(f"{left} layers in the middle are not shown; --json or --out has all.")] if left else []
    columns: tuple[Column[Pair], ...] = (
        Column("layer", lambda pair: TableCell(str(pair[0].layer), pair[0].layer), right=True),
        Column("module", lambda pair: plain(pair[0].name), wraps=True),
        Column("weights", lambda pair: plain(pair[0].weights), wraps=True),
        Column("gain", lambda pair: _number(pair[0].gain), right=True),
        Column("activation", lambda pair: "" if pair[1] is None else plain(pair[1].label), wraps=True),
        Column("|x|²/n", lambda pair: _number((pair[1] or pair[0]).length), right=True),
        Column("predicted", lambda pair: _number(_predicted(pair[1] or pair[0])), right=True),
        Column("|dE/dh|²", lambda pair: _number(pair[0].gradient), right=True),
        Column("theory: lengths", lambda pair: _number(_forward(pair)), right=True),
        Column("gradients", lambda pair: _number(_backward(pair)), right=True),
        Column("", _state),
    )
    text = [Text(annotated_source(report))] if source else []
    return paragraphs(
        [Text(probe_paragraph(report))], [Text(where)], [terminal_table(columns, shown)] if shown else [], below, text
    )


def _number(value: float | None) -> TableCell:
    missing = value is None or value != value
    return TableCell("-", None) if missing else TableCell(short_number(value), value)


def _predicted(row: "PartRow") -> float | None:
    return None if row.forward is None else row.forward.predicted / (row.width * row.rows)


def _forward(pair: Pair) -> float:
    """The factor of the squared length through the whole layer."""
    return pair[0].forward_factor * (pair[1].forward_factor if pair[1] else 1.0)


def _backward(pair: Pair) -> float | None:
    """The factor of the squared gradient through the whole layer, its gain included."""
    return pair[0].backward_factor * pair[1].backward_factor if pair[1] else None


def _state(pair: Pair) -> TableCell:
    answers = [row.follows for row in pair if row is not None]
    word = "no theory" if Answer.YES not in answers else "follows"
    word = "departs" if Answer.NO in answers else word
    return TableCell(word, word, _STYLES[word])
