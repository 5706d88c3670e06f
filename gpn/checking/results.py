"""All about one activation in a report: conditions, both roots, depth, spectrum, figures, page."""

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd

from gpn.checking import check as checking
from gpn.checking.depth_conditions import DepthConditions, depth_conditions
from gpn.engine.arguments import vocabulary
from gpn.experiment.files import finite_record
from gpn.experiment.result import Result
from theory.activations.specification import Phi
from theory.depth.length_map import DepthFactor
from theory.errors import UsageError, layer_count
from theory.normalization.normalize import normalize
from theory.numerics.budget import Budget
from theory.numerics.threads import one_blas_thread

DEPTH = 50
"""Layers for which the conditions of depth are judged by default."""

_CONDITIONS_SHARE = 0.75  # of the time; the rest is left to what the details need
_DEPTH_SHARE = 0.7  # where details follow; without them depth may use all that is left


@dataclass(frozen=True, slots=True, repr=False)
class CheckReport(Result):
    """Everything that a page shows about one activation; `check_report` makes it.

    Args:
        spec: the activation as it was typed, None if it was no text.
        derivative: the derivative as it was typed, None if there was none.
        phi: the activation.
        conditions: whether it is GPN, and which a, b make it so.
        drift: what a near miss costs over depth, else nothing.
        details: closed forms, spectrum, depth; None if not wanted, and for what cannot be normalized.
        depth: what a depth leaves of norms, length, separation and isometry, for the activation if it is GPN and else
            for its recommended normalization; None for what cannot be normalized, where time ran out, and where float64
            is not accurate enough.
    """

    spec: str | None
    derivative: str | None
    phi: Phi
    conditions: checking.CheckedConditions
    drift: tuple[DepthFactor, ...]
    details: checking.Details | None
    depth: DepthConditions | None = None

    def networks(self) -> list[tuple[str, Phi]]:
        """The activation as given and, unless it is GPN already, each of its normalizations, with labels."""
        labelled: list[tuple[str, Phi]] = [("as given", self.phi)]
        if self.conditions.is_gpn != "holds":
            for root in self.conditions.normalizations:
                labelled.append((f"b_{root.root}", self.phi.affine(root.a, root.b)))
        return labelled

    def to_dict(self) -> dict[str, Any]:
        """Return what `gpn check --json` prints, with details as far as the report has them."""
        facts = self.conditions.to_dict()
        if self.drift:
            facts["depth_factors"] = [finite_record(asdict(factor)) for factor in self.drift]
        if self.depth is not None:
            facts["depth_conditions"] = self.depth.to_dict()
        return facts if self.details is None else facts | {"details": self.details.to_dict()}

    def to_frame(self) -> pd.DataFrame:
        """Return the normalizations as a pandas frame, one row for each root; none where there is none."""
        return pd.DataFrame([asdict(root) for root in self.conditions.normalizations])

    def __repr__(self) -> str:
        return f"<CheckReport {self.conditions.name}: GPN {self.conditions.is_gpn}>"


@one_blas_thread
@vocabulary("depth")
def check_report(
    spec: object,
    digits: int = 30,
    *,
    derivative: object = None,
    detailed: bool = True,
    time_limit: float = checking.TIME_LIMIT,
    depth: int = DEPTH,
) -> CheckReport:
    """Check an activation as it is, and gather all that its page shows.

    Args:
        spec, digits, derivative, time_limit: as for `gpn.check`.
        detailed: whether to add closed forms, spectrum and depth, which take a second or two.
        depth: L from 1 to a million, the layers for which the four conditions of depth are judged.

    Raises:
        UsageError: as for `gpn.check`, and a depth out of range.

    >>> check_report("gelu").networks()[2][0]
    'b_minus'
    """
    depth = layer_count(depth)
    budget = Budget(time_limit)
    phi, conditions = checking.check_within(budget.share(_CONDITIONS_SHARE), spec, digits, derivative)
    drift = budget.attempt("cost of the near miss", 0.8, lambda: checking.near_miss(phi, conditions), ())
    is_detailed = detailed and conditions.normalizable == "yes"
    until = _DEPTH_SHARE if is_detailed else 1.0
    kept = budget.attempt("separation and isometry", until, lambda: _depth(phi, conditions, depth), None)
    details = checking.details(phi, budget=budget) if is_detailed else None
    conditions = replace(conditions, given_up=budget.given_up)
    typed = [value if isinstance(value, str) else None for value in (spec, derivative)]
    return CheckReport(typed[0], typed[1], phi, conditions, drift, details, kept)


def _depth(phi: Phi, conditions: checking.CheckedConditions, depth: int) -> DepthConditions | None:
    """The conditions of depth of the activation if it is GPN, else of its recommended normalization."""
    if conditions.normalizable != "yes":
        return None
    with suppress(UsageError):  # float64 is not accurate enough, or cannot hold a, as of exp(50*x)
        if conditions.is_gpn != "holds":  # the report may have fewer digits than the laws need
            phi = normalize(phi, next(root.root for root in conditions.normalizations if root.recommended))
        return depth_conditions(phi, depth)
    return None
