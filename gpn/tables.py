"""What a person reads in the terminal: how it is printed, the check report, the catalog.

Everything is built from the same plain data that the JSON output carries, so the two cannot disagree. Text that a
user typed enters as `rich.text.Text`, never as markup, and without control characters.
"""

import json
import math
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal

from rich import box
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from gpn.narrow import fitted

if TYPE_CHECKING:
    from theory.poincare import Conditions, Normalization

PAGE_WIDTH = 100
"""Columns of text where no terminal says how many there are."""

STABILITY = {
    "stable": "stable: squared length returns to 1",
    "marginal": "marginal: squared length drifts",
    "unstable": "unstable: squared length leaves 1",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell of a table shows, and by what its column sorts it; None: after all others."""

    text: str
    key: float | str | None


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
    """Write text and a newline; a reader that has gone away (`gpn activations | head`) is no error."""
    target = sys.stdout if stream is None else stream
    try:
        target.write(text.rstrip("\n") + "\n")
        target.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), target.fileno())  # so that the flush at exit is silent too


def show_next(step: str | None) -> None:
    """Print a command to go on with after an answer, if there is one; a line of its own, never broken."""
    if step is not None:
        emit(f"\n{step}")


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
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def printable(text: str) -> str:
    r"""Text with control characters and lone surrogates shown escaped; line ends stay.

    >>> printable("a\x1bb\nc") == r"a\x1bb" + "\n" + "c"
    True
    """
    return "".join(
        character.encode("unicode_escape").decode()
        if character != "\n" and unicodedata.category(character)[0] == "C"
        else character
        for character in text
    )


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


def new_table(headers: Iterable[str], right: Sequence[str] = (), words: Sequence[str] = ()) -> Table:
    """An empty table; on a narrow terminal the columns of words wrap first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for header in headers:
        justify: JustifyMethod = "right" if header in right else "left"
        table.add_column(header, justify=justify, no_wrap=header not in words, overflow="fold")
    return table


# ---------------------------------------------------------------------------------------------- check


def check_report(conditions: "Conditions") -> RenderableType:
    """The report of `gpn check`.

    Args:
        conditions: what `gpn.check` returns.
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
    return Group(*parts, Text(), _regularity(conditions))


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
    lines = ["; ".join(parts), *([f"Kinks and jumps {plain(conditions.located, 500)}."] if conditions.located else [])]
    return Text("\n".join(lines), style="dim")


def _constant(value: float | None) -> str:
    return "infinite" if value is None else f"= {value:.8g}"


def _points(noun: str, points: Sequence[str]) -> str:
    if not points:
        return f"no {noun}s"
    shown, more = points[:12], f" and {len(points) - 12} more" if len(points) > 12 else ""
    return f"{noun}{'s' if len(points) > 1 else ''} at {', '.join(plain(point, 30) for point in shown)}{more}"


# ---------------------------------------------------------------------------------------------- normalize, catalog


def normalization_report(conditions: "Conditions", chosen: "Normalization") -> RenderableType:
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
