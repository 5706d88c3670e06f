"""Tables on a terminal that is too narrow for them: words wrap, and what still does not fit is stacked.

A number is never cut: 8.24e-12 cut to 8.24e-1 would be a wrong number that looks right.
"""

from collections.abc import Callable

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

GAP = 2
"""Blanks between two columns of `gpn.tables.new_table`."""


def fitted(content: RenderableType, width: int) -> RenderableType:
    """The same content with every table laid out for a terminal of so many columns.

    A table that fits is left as it is. Otherwise columns are narrowed, down to their longest word, those that may wrap
    first; if that is not enough, each row becomes a block of lines, one for each column.

    Args:
        content: text, a table with headers, or a group of them.
        width: columns of the terminal.
    """
    if isinstance(content, Group):
        return Group(*(fitted(part, width) for part in content.renderables))
    if not isinstance(content, Table) or not content.show_header:
        return content
    natural = [_longest(column, str.splitlines) for column in content.columns]
    least = [_longest(column, str.split) for column in content.columns]
    spare = width - GAP * (len(natural) - 1) - sum(least)
    if spare < 0:
        return _stacked(content)
    columns = sorted(zip(content.columns, natural, least, strict=True), key=lambda each: not each[0].no_wrap)
    for column, full, fewest in columns:
        more = min(full - fewest, spare)
        column.width, column.no_wrap = fewest + more, False
        spare -= more
    return content


def _stacked(table: Table) -> Table:
    """A block of lines for each row: header and cell; empty cells are left out."""
    lines = Table.grid(padding=(0, GAP, 0, 0))
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    headers = [_plain(column.header) for column in table.columns]
    for place, row in enumerate(zip(*(column.cells for column in table.columns), strict=True)):
        if place:
            lines.add_row()
        for header, cell in zip(headers, row, strict=True):
            if _plain(cell).strip():
                lines.add_row(header, cell)
    return lines


def _longest(column: Column, split: Callable[[str], list[str]]) -> int:
    cells = (_plain(cell) for cell in (column.header, *column.cells))
    return max((cell_len(part) for cell in cells for part in split(cell)), default=0)


def _plain(cell: RenderableType) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)
