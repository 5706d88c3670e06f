"""The report of `gpn.required_width` and its inverses: one requirement for each method."""

from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from gpn.experiment.result import Result

NETWORK = "whole network"


@dataclass(frozen=True, slots=True)
class Point:
    """A probability at one value of the unknown."""

    at: float
    probability: float


@dataclass(frozen=True, slots=True)
class Requirement:
    """What one method asks for.

    Args:
        scope: "whole network", or one of the claims about one layer in words.
        kind: "deep", "certified", "levy", "cramer" (upper bounds), "exact", "prediction" or "simulation".
        value: the unknown: the least width, the largest depth or the least epsilon; None where there is none.
        probability: what the method gives there; None where it has no number.
        reason: why there is no value; or why the value is only a limit, from where on the method has a number: then it
            begins with "at most" (for a depth "at least"); else empty.
        points: what was evaluated on the way, ascending.
    """

    scope: str
    kind: str
    value: float | None
    probability: float | None
    reason: str = ""
    points: tuple[Point, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class WidthReport(Result):
    """What `gpn.required_width` and its inverses return.

    Args:
        unknown: "width", "depth" or "epsilon"; that one of the next three is None.
        activation: what was tested.
        width, depth, epsilon: n, L and the tolerance that were given.
        probability: of leaving the tolerance that is accepted.
        requirements: one for each method.
        weights: the law of the weights.
    """

    unknown: str
    activation: str
    width: int | None
    depth: int | None
    epsilon: float | None
    probability: float
    requirements: tuple[Requirement, ...]
    weights: str = "haar"

    def value(self, kind: str, scope: str = NETWORK) -> float | None:
        """The value of one method, None where it has none."""
        return next((r.value for r in self.requirements if (r.kind, r.scope) == (kind, scope)), None)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        given = {name: getattr(self, name) for name in ("activation", "width", "depth", "epsilon", "probability")}
        return {
            "unknown": self.unknown,
            **given,
            "weights": self.weights,
            "requirements": [asdict(r) for r in self.requirements],
        }

    def to_frame(self) -> pd.DataFrame:
        """One row for each method: scope, kind, value, probability, reason."""
        columns = ["scope", "kind", "value", "probability", "reason"]
        frame = pd.DataFrame([[getattr(r, name) for name in columns] for r in self.requirements], columns=columns)
        return frame.rename(columns={"value": self.unknown})

    def __repr__(self) -> str:
        values = ", ".join(f"{r.kind} {r.value:g}" for r in self.requirements if r.scope == NETWORK and r.value)
        return f"<WidthReport {self.activation}: {self.unknown} by {values or 'no method'}>"
