"""How text, tables and JSON are printed: fitted to the terminal, plain in a pipe, never cut."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import IO, Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.table import Column, Table
from rich.text import Text

GAP = 2
"""Blanks between two columns of `gpn.report.words.terminal.new_table`."""


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
    columns = sorted(zip(content.columns, natural, least, strict=True), key=lambda column: not column[0].no_wrap)
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


PAGE_WIDTH = 100
"""Columns of text where no terminal says how many there are."""


def paragraphs(*blocks: Sequence[RenderableType]) -> Group:
    """Return blocks of text and tables with an empty line between two of them; empty blocks are left out."""
    first, *others = (block for block in blocks if block)
    return Group(*first, *(part for block in others for part in (Text(), *block)))


def show(content: RenderableType, stream: IO[str] | None = None) -> None:
    """Print a report: on a terminal coloured, unless NO_COLOR is set, and fitted to it; in a pipe plain, never cut."""
    target = sys.stdout if stream is None else stream
    terminal = target.isatty()
    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"  # None: neither bold nor dim
    page = Console(
        file=target,
        width=None if terminal else PAGE_WIDTH,
        color_system=colours,
        highlight=False,
        markup=False,
        emoji=False,
    )
    if terminal:
        content = fitted(content, page.width)
    else:
        page.width = max(PAGE_WIDTH, _widest_table(page, content))
    with page.capture() as captured:
        page.print(content)
    emit("\n".join(line.rstrip() for line in captured.get().splitlines()), target)


def emit(text: str, stream: IO[str] | None = None) -> None:
    """Write text and a newline; a reader that has gone away (`gpn activations | head`) is not an error."""
    target = sys.stdout if stream is None else stream
    try:
        target.write(text.rstrip("\n") + "\n")
        target.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), target.fileno())  # so that the flush at exit is silent too


def show_next(step: str | None) -> None:
    """Print the command that is offered after an answer, if there is one; a line of its own, never broken."""
    if step is not None:
        emit(f"\n{step}")


def emit_json(data: object) -> None:
    """Write JSON; a NaN or an infinity in the data would be a bug and raises ValueError."""
    emit(json.dumps(data, indent=2, allow_nan=False))


def _widest_table(page: Console, content: RenderableType) -> int:
    if isinstance(content, Group):
        return max((_widest_table(page, part) for part in content.renderables), default=0)
    wide = page.options.update(width=1000)
    return page.measure(content, options=wide).maximum if isinstance(content, Table) else 0


def new_table(headers: Iterable[str], right: Sequence[str] = (), words: Sequence[str] = ()) -> Table:
    """An empty table; on a narrow terminal the columns of words wrap first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for header in headers:
        justify: JustifyMethod = "right" if header in right else "left"
        table.add_column(header, justify=justify, no_wrap=header not in words, overflow="fold")
    return table
