"""Numbers that JSON can hold: one that is infinite or no number is missing there."""

import math
from typing import Any


def finite(number: float) -> float | None:
    """The number, None if it is not finite.

    >>> finite(1.5), finite(math.inf)
    (1.5, None)
    """
    return number if math.isfinite(number) else None


def finite_record(record: dict[str, Any]) -> dict[str, Any]:
    """A record with None for each of its numbers that is not finite.

    >>> finite_record({"name": "tanh", "rate": math.nan})
    {'name': 'tanh', 'rate': None}
    """
    return {key: finite(value) if isinstance(value, float) else value for key, value in record.items()}
