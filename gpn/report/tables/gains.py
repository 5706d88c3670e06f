"""Tables in the terminal of `gpn gain`."""

from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from gpn.report.tables.columns import Column, terminal_table
from gpn.report.words.gains import ENSEMBLES, edge_text, ends_text, explanation_finding, gain_finding, slopes_text
from gpn.report.words.terminal import paragraphs
from gpn.report.words.text import TableCell, plain, short_number

if TYPE_CHECKING:
    from gpn.probing.constants import Explanation, Match
    from gpn.probing.gain import GainReport, GainRow

_GAIN_COLUMNS: "tuple[Column[GainRow], ...]" = (
    Column("keeps", lambda row: row.name),
    Column("gain", lambda row: TableCell("-", None) if row.gain is None else TableCell(row.gain.digits, row.gain)),
    Column("χ at q = 1", lambda row: _number(row.chi), right=True),
    Column("q = 1 is", lambda row: "no fixed point" if row.at_one is None and row.regime else row.at_one or "-"),
    Column("depth leads to q", lambda row: TableCell(ends_text(row), row.ends[0].q if row.ends else None), right=True),
    Column("χ there", lambda row: TableCell(slopes_text(row), row.ends[0].chi if row.ends else None), right=True),
    Column("σ_b on the edge", edge_text, right=True),
)
_MATCH_COLUMNS: "tuple[Column[Match], ...]" = (
    Column("constant", lambda match: match.constant.definition),
    Column("of", lambda match: plain(match.constant.activation)),
    Column("value", lambda match: TableCell(f"{match.constant.value:.10g}", match.constant.value), right=True),
    Column("digits shared", lambda match: TableCell(str(match.digits), match.digits), right=True),
)


def _number(value: float | None) -> TableCell:
    return TableCell(short_number(value, 4), value)


def gain(report: "GainReport", keeps: str, weights: str) -> RenderableType:
    """The gains, where they lead, and a line to paste for each framework.

    Args:
        report: what to show.
        keeps, weights: for which gain and which ensemble the lines are.
    """
    digits = "certified digits" if report.gains.certified else "digits by quadrature, not certified"
    notes = Text(
        f"z ~ N(0, 1), {digits}. q is the variance of the pre-activations, χ = g² E φ'² the factor of squared "
        "gradients per layer. Gaussian biases of deviation σ_b bring the gain to the edge of chaos (χ = 1). The gain "
        "for the variance is meant for weights that take the mean away, as weight standardization does. Depth starts "
        "at q = g², an input of squared length 1 per neuron; where 1 repels, just below and just above 1."
        + (f" Note: {plain(report.gains.reason, 1000)}." if report.gains.reason else "")
    )
    lines = []
    if report.row(keeps).gain is not None:
        codes = [Text(f"  {report.code(target, keeps=keeps, weights=weights)}") for target in ("torch", "jax", "keras")]
        lines = [Text(f"To paste ({weights} weights, the gain that keeps the {keeps}):"), *codes]
    table = terminal_table(_GAIN_COLUMNS, report.rows)
    return paragraphs([Text(gain_finding(report), style="bold")], [table], [notes], lines, [Text(ENSEMBLES)])


def explanation(found: "Explanation") -> RenderableType:
    """What the number may be: constants that round to it or lie near, and who published it."""
    matches = found.matches or found.near
    table = [terminal_table(_MATCH_COLUMNS, matches)] if matches else []
    published = [Text(f"Published: {plain(entry)}") for entry in found.published]
    return paragraphs([Text(explanation_finding(found), style="bold")], table, published)
