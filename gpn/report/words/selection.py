"""Which rows and profiles of a verification a figure and its caption show: pure selection, nothing is drawn."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from gpn.verification.results import Profile, Row, VerificationReport

_LEAST = 1e-300  # smaller bounds have no place on a logarithmic axis
_AXIS = 1e-200, 1e200


def panel_rows(rows: "Iterable[Row]") -> "list[list[Row]]":
    """Rows by claim and depth, in the order of the report."""
    panels: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        panels.setdefault((row.claim, row.depth), []).append(row)
    return list(panels.values())


def below_panel(rows: "Sequence[Row]") -> list[tuple[float, int]]:
    """Bounds, exact and predicted probabilities that lie below the panel of these rows, each with its width."""
    return below_floor(rows, panel_floor(rows))


def below_floor(rows: "Sequence[Row]", floor: float) -> list[tuple[float, int]]:
    """Return the bounds, exact and predicted probabilities below a floor, each with its width."""
    values = ((value, row.width) for row in rows for value in (row.bound, row.prediction) if value is not None)
    return [(value, width) for value, width in values if value < floor]


def panel_floor(rows: "Sequence[Row]") -> float:
    """Return the lower end of the probability axis of a panel, 0.3 to 1.3 decades below everything observed."""
    seen = [value for row in rows for value in (row.best_estimate, row.limits[1]) if value > 0]
    return float(10.0 ** np.floor(np.log10(min(seen, default=1e-3)) - 0.3))


def largest(profiles: "Iterable[Profile]") -> "list[Profile]":
    """The profiles of the deepest and then widest networks, the claim first."""
    ordered = list(profiles)
    if not ordered:
        return []
    top = max((profile.depth, profile.width) for profile in ordered)
    chosen = [profile for profile in ordered if (profile.depth, profile.width) == top]
    return sorted(chosen, key=lambda profile: profile.role != "claim")


def median_column(profile: "Profile") -> int:
    """Return the column of the median in the quantiles of a profile."""
    return int(np.argmin(np.abs(np.asarray(profile.probabilities) - 0.5)))


def positive_or_nan(norms: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the values that a logarithmic axis can show, with ticks beyond them; zeros and infinities become nan."""
    values = np.asarray(norms, dtype=np.float64)
    return np.where((values > _AXIS[0]) & (values < _AXIS[1]), values, np.nan)


def tight_rows(report: "VerificationReport") -> "dict[str, list[Row]]":
    """Rows with a bound below 1 whose truth is known, by kind of bound."""
    kinds: dict[str, list[Row]] = {}
    for row in report.rows:
        if row.times_truth is not None and row.bound is not None and _LEAST < row.bound < 1:
            kinds.setdefault(row.bound_kind, []).append(row)
    return kinds
