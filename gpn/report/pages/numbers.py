"""The page of a result that needs no page of its own: headline, figures, tables."""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from gpn.report.pages.page import Section, document, element, figures, table
from gpn.report.tables.columns import Column
from gpn.report.words.text import TableCell, plain, short_number

if TYPE_CHECKING:
    import pandas as pd

    from gpn.report.pages.pictures import Picture

_MOST_ROWS = 200  # of a table on the page; the CSV files have all


def numbers_page(headline: str, pictures: "Iterable[Picture]", tables: "dict[str, pd.DataFrame]") -> str:
    """Return a page with the headline, the figures, and every table as far as `_MOST_ROWS` rows.

    Args:
        headline: the finding, one sentence or more; the first becomes the title.
        pictures: figures with captions.
        tables: frames by name.
    """
    title, _, rest = headline.partition(". ")
    drawn = list(pictures)
    sections = [Section("Figures", (figures(drawn, "large"),))] if drawn else []
    for name, frame in tables.items():
        numeric = set(frame.select_dtypes("number").columns)
        columns = [Column(_title(key), partial(_cell, key), key in numeric) for key in frame.columns]
        rows = frame.head(_MOST_ROWS).to_dict("records")
        sections.append(Section(name.replace("-", " "), (table(columns, rows, name),)))
    return document(title.rstrip("."), None, [element("p", rest)] if rest else [], sections)


def _title(key: str) -> str:
    """The header of a column: words in place of a name that programs read."""
    return key.replace("log10_", "log₁₀ ").replace("_", " ")


def _cell(key: str, row: dict[str, object]) -> TableCell:
    value = row[key]
    if value is None or value != value:  # nan is not equal to itself
        return TableCell("-", None)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return TableCell(plain(str(value)), plain(str(value)))
    return TableCell(str(value) if isinstance(value, int) else short_number(value, 6), value)
