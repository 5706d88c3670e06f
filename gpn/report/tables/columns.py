"""The columns of a table, written once: the terminal and the HTML page render the same cells."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich.table import Table
from rich.text import Text

from gpn.report.words.terminal import new_table
from gpn.report.words.text import TableCell

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One column of a table whose rows show objects of type T.

    Args:
        header: its heading.
        cell: the cell of one object; a string is a cell that is sorted by its text.
        right: whether it is aligned right, as numbers are.
        wraps: whether its cells may be broken into lines where the terminal is narrow.
    """

    header: str
    cell: Callable[[T], TableCell | str]
    right: bool = False
    wraps: bool = False

    def render(self, item: T) -> TableCell:
        """Return the cell of one object."""
        made = self.cell(item)
        return TableCell(made, made) if isinstance(made, str) else made


def significant(number: float | str | None, digits: int) -> TableCell:
    """Return the cell of a number, or of its decimal string, with that many significant digits."""
    return TableCell("-", None) if number is None else TableCell(f"{float(number):.{digits}g}", float(number))


def terminal_table(columns: Sequence[Column[T]], items: Iterable[T]) -> Table:
    """Return a table for the terminal, one row for each object."""
    table = new_table(
        [column.header for column in columns],
        right=[column.header for column in columns if column.right],
        words=[column.header for column in columns if column.wraps],
    )
    for item in items:
        cells = [column.render(item) for column in columns]
        table.add_row(*(Text(cell.text, style=cell.style) for cell in cells))
    return table
