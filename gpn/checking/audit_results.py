"""Results of an audit: each published number beside the exact one, and what a miss costs over depth."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from gpn.checking.drift import NEVER, Cost
from gpn.experiment.files import finite_record
from gpn.experiment.result import Result
from theory.errors import UsageError
from theory.normalization.published import CONVENTIONS, PublishedConstant


@dataclass(frozen=True, slots=True)
class Comparison:
    """One published number beside the exact one.

    Args:
        quantity: "a", "b", "gamma", "scale", "gain", "alpha" or "lambda".
        published: the number as it was printed.
        exact: the exact value to the digits asked for.
        relative_error: |published - exact|/|exact|; 0 if both are 0.
        rounds: whether the exact value rounds to what was printed.
        claimed: whether the source claims a condition; if not, there is nothing to compare with, and `exact` is empty.
    """

    quantity: str
    published: str
    exact: str
    relative_error: float
    rounds: bool
    claimed: bool = True


@dataclass(frozen=True, slots=True)
class LengthFixedPoint:
    """A fixed point of the length map: the squared length, and the slope of the map there."""

    length: float
    slope: float

    @property
    def kind(self) -> str:
        """Whether lengths nearby come back: "attracts", "is marginal" or "repels"."""
        size = abs(self.slope)
        return "is marginal" if abs(size - 1) < 1e-9 else "attracts" if size < 1 else "repels"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"length": self.length, "slope": self.slope, "kind": self.kind}


@dataclass(frozen=True, slots=True)
class AuditRow:
    """The audit of one published entry.

    Args:
        entry: what was published.
        comparisons: one for each of its numbers.
        cost: over depth.
        certified: whether the exact values come from moments with a proved error bound.
        remarks: other findings, in words.
        fixed_point: of the squared length, as a gain makes it; None for other conventions, and where there is none.
    """

    entry: PublishedConstant
    comparisons: tuple[Comparison, ...]
    cost: Cost
    certified: bool
    remarks: tuple[str, ...]
    fixed_point: LengthFixedPoint | None = None

    @property
    def agrees(self) -> bool:
        """Whether all numbers are the exact ones to the digits printed."""
        return all(number.rounds for number in self.comparisons)


@dataclass(frozen=True, slots=True)
class AuditReport(Result):
    """The audit of a table of constants.

    Args:
        rows: one for each entry.
        digits: significant digits of the exact values.
    """

    rows: tuple[AuditRow, ...]
    digits: int

    def row(self, entry_id: str) -> AuditRow:
        """The row of an entry.

        Raises:
            UsageError: no such entry.
        """
        for row in self.rows:
            if row.entry.id == entry_id:
                return row
        raise UsageError(f"no entry {entry_id!r:.60}; there are {', '.join(row.entry.id for row in self.rows)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a depth that is never reached is null."""
        return {"digits": self.digits, "rows": [_plain_row(row) for row in self.rows]}

    def to_frame(self) -> pd.DataFrame:
        """A pandas frame with one row for each published number."""
        return pd.DataFrame([line for row in self.rows for line in _lines(row)])

    def summary(self) -> str:
        """Return the findings in words."""
        comparisons = [comparison for row in self.rows for comparison in row.comparisons if comparison.claimed]
        good = sum(comparison.rounds for comparison in comparisons)
        lines = [f"{good} of {len(comparisons)} published numbers are the exact ones to the digits printed."]
        for row in self.rows:
            if not row.agrees:
                worst = max(comparison.relative_error for comparison in row.comparisons)
                lines.append(f"{row.entry.id}: off by {100 * worst:.2g} %; {_in_words(row.cost)}.")
            lines += [f"{row.entry.id}: {remark}." for remark in row.remarks]
        return "\n".join(lines)


def _lines(row: AuditRow) -> Iterator[dict[str, Any]]:
    """One record of the frame for each number of a row."""
    for comparison in row.comparisons:
        yield {
            "id": row.entry.id,
            "activation": row.entry.activation,
            "convention": row.entry.convention,
            **asdict(comparison),
            **asdict(row.cost),
            "fixed_length": None if row.fixed_point is None else row.fixed_point.length,
            "fixed_length_kind": None if row.fixed_point is None else row.fixed_point.kind,
            "certified": row.certified,
            "remark": "; ".join(row.remarks),
            "source": row.entry.where,
        }


def _plain_row(row: AuditRow) -> dict[str, Any]:
    return {
        "id": row.entry.id,
        "source": row.entry.source,
        "where": row.entry.where,
        "activation": row.entry.activation,
        "convention": row.entry.convention,
        "meaning": CONVENTIONS[row.entry.convention].meaning,
        "values": [finite_record(asdict(comparison)) for comparison in row.comparisons],
        "cost": finite_record(asdict(row.cost)),
        "fixed_point": None if row.fixed_point is None else row.fixed_point.to_dict(),
        "certified": row.certified,
        "remarks": list(row.remarks),
    }


def _in_words(cost: Cost) -> str:
    if not cost.norm:
        settled = "" if cost.settled_length is None else f", its squared length settles at {cost.settled_length:.6g}"
        return f"never costs a factor 2{settled}"
    ten = "never 10" if cost.depth_10 == NEVER else f"10 at depth {cost.depth_10:.6g}"
    return f"the squared {cost.norm} norm has changed by a factor 2 at depth {cost.depth_2:.6g}, {ten}"
