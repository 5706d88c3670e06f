"""Normalization constants that papers and widely used code have published, as data.

The entries are in published.csv, copied word for word from the sources that it names; nothing is recomputed here.
`gpn.audit` compares them with the exact values. `read_table` brings a table of your own into the same form.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mpmath

from theory.activations.formula import parse_formula
from theory.activations.specification import activation
from theory.errors import SpecificationError, UsageError
from theory.numerics.arithmetic import constant_value


@dataclass(frozen=True, slots=True)
class Convention:
    """Purpose of a published constant: what it is meant to achieve for a unit normal pre-activation z.

    Args:
        quantities: the names of its numbers, in order.
        meaning: in words.
        formula: what the exact numbers satisfy, in LaTeX.
    """

    quantities: tuple[str, ...]
    meaning: str
    formula: str


CONVENTIONS: Mapping[str, Convention] = MappingProxyType(
    {
        "gpn": Convention(
            ("a", "b"),
            "a*phi + b is Gaussian-Poincaré normalized: signal and gradient keep their norm",
            r"E(a\varphi + b)^2 = 1, \quad E(a\varphi')^2 = 1",
        ),
        "unit-variance": Convention(
            ("gamma",),
            "gamma*phi has variance 1 (the weights remove the mean)",
            r"\gamma^2 \operatorname{Var} \varphi = 1",
        ),
        "unit-second-moment": Convention(("scale",), "scale*phi has second moment 1", r"c^2\, E\varphi^2 = 1"),
        "gain": Convention(
            ("gain",),
            "weights of variance gain**2/fan_in keep the second moment of the pre-activations",
            r"g^2\, E\varphi^2 = 1",
        ),
        "recommended": Convention(
            ("gain",),
            "a recommended gain for the weights, for which the source claims no condition",
            r"\text{no condition}",
        ),
        "self-normalizing": Convention(
            ("alpha", "lambda"),
            "lambda*elu(x, alpha) has mean 0 and variance 1",
            r"E\varphi = 0, \quad E\varphi^2 = 1",
        ),
    }
)
"""The conventions by name."""


@dataclass(frozen=True, slots=True)
class PublishedConstant:
    """One published constant (or pair of constants) of one activation.

    Args:
        id: source and activation, unique.
        source: short name of the source.
        where: paper and table, or repository, file and commit that was read.
        activation: text that `theory.activations.specification.activation` reads.
        convention: a key of `CONVENTIONS`.
        values: the numbers as printed, decimals or formulas, in the order of the convention's quantities.
        note: what the source itself says about the number.
    """

    id: str
    source: str
    where: str
    activation: str
    convention: str
    values: tuple[str, ...]
    note: str = ""


def _packaged() -> Iterator[PublishedConstant]:
    """The entries of the file that comes with the package, in its order: the paper's own table first."""
    text = files("theory.normalization").joinpath("published.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(io.StringIO(text, newline="")):
        values = tuple(value for value in (row.pop("first"), row.pop("second")) if value)
        yield PublishedConstant(**row, values=values)


PUBLISHED: tuple[PublishedConstant, ...] = tuple(_packaged())
"""Every entry, the paper's own table first."""


def number(text: str, digits: int) -> mpmath.mpf:
    """A number as printed, a decimal or a formula without x such as sqrt(2), to the given digits.

    Raises:
        SpecificationError: neither.

    >>> mpmath.nstr(number("5/3", 20), 12)
    '1.66666666667'
    """
    expression = parse_formula(text)
    if expression.free_symbols:
        raise SpecificationError(f"{text!r:.60} is not a number")
    return constant_value(expression, digits)


def read_table(table: Any) -> Iterator[PublishedConstant]:
    """The entries of a table of your own: a CSV file, a pandas frame, or entries as they are.

    Args:
        table: columns activation, and either a and b, or scale and convention (a key of `CONVENTIONS` with
            one number); a column source is optional. Empty lines and lines that begin with # are skipped.

    Raises:
        UsageError: an unreadable file, missing columns, a number or an activation that cannot be read; the
            message names the line.
    """
    if isinstance(table, str | Path):
        lines = _csv_lines(Path(table))
    elif hasattr(table, "columns") and hasattr(table, "to_dict"):
        lines = (
            (f"row {count}", {str(key).strip().casefold(): _cell(value) for key, value in record.items()})
            for count, record in enumerate(table.to_dict("records"), 1)
        )
        _check_columns({str(column).strip().casefold() for column in table.columns}, "the table")
    elif isinstance(table, Sequence) and all(isinstance(entry, PublishedConstant) for entry in table):
        yield from table
        return
    else:
        raise UsageError(f"a table is the path of a CSV file or a pandas frame, not {type(table).__name__}")
    empty = True
    for place, record in lines:
        empty = False
        yield _entry(place, record)
    if empty:
        raise UsageError("the table has no rows below its header")


def _csv_lines(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The records of a CSV file with their line numbers."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read the table {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text file in UTF-8, so it is no CSV table") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    try:
        for fields in reader:
            if not any(field.strip() for field in fields) or fields[0].lstrip().startswith("#"):
                continue
            place = f"{path.name}, line {reader.line_num}"
            if not header:
                header = [field.strip().casefold() for field in fields]
                _check_columns(set(header), place)
                continue
            if len(fields) > len(header):
                raise UsageError(
                    f"{place}: {len(fields)} fields, but the header has {len(header)} columns; a formula "
                    'that contains a comma goes in double quotes: "elu(x, 2)"'
                )
            yield place, {key: field.strip() for key, field in zip(header, fields, strict=False)}
    except csv.Error as error:
        raise UsageError(f"{path.name}, line {reader.line_num}: {error}") from error
    if not header:
        raise UsageError(f"{path} is empty; its first line names the columns: activation, a, b")


def _check_columns(columns: set[str], place: str) -> None:
    if "activation" in columns and ({"a", "b"} <= columns or {"scale", "convention"} <= columns):
        return
    hint = "; separate columns by commas" if any(mark in column for column in columns for mark in ";\t") else ""
    raise UsageError(
        f"{place}: the columns are {', '.join(sorted(columns))}; needed are activation, a, b or activation, "
        f"scale, convention{hint}"
    )


def _cell(value: Any) -> str:
    """A cell of a frame as text; a missing value is empty."""
    return "" if value is None or value != value else str(value).strip()


def _entry(place: str, record: Mapping[str, str]) -> PublishedConstant:
    spec, convention = record.get("activation", ""), record.get("convention", "").casefold()
    pair, scale = (record.get("a", ""), record.get("b", "")), record.get("scale", "")
    single = [name for name, rule in CONVENTIONS.items() if len(rule.quantities) == 1]
    if any(pair) and scale:
        raise UsageError(f"{place}: give a and b, or scale and convention, not both")
    if scale:
        if convention not in single:
            raise UsageError(f"{place}: the convention of a scale is {', '.join(single)}, not {convention!r:.40}")
        values: tuple[str, ...] = (scale,)
    elif all(pair) and convention in ("", "gpn"):
        convention, values = "gpn", pair
    else:
        raise UsageError(f"{place}: a number is missing; give a and b, or scale and convention")
    try:
        for text in values:
            number(text, 15)
        if not number(values[0], 15):
            raise SpecificationError("a scale of 0 makes the activation constant")
        activation(spec)
    except SpecificationError as error:
        raise UsageError(f"{place}: {error}") from error
    return PublishedConstant(place, record.get("source") or "your table", place, spec, convention, values)
