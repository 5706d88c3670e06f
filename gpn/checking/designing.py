"""The member of a family that keeps a given depth: `gpn.design` and its report."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from gpn.checking.depth_conditions import DepthConditions, depth_conditions
from gpn.checking.snippets import export
from gpn.engine.arguments import vocabulary
from gpn.experiment.result import Result
from theory.activations.specification import activation
from theory.errors import SpecificationError, UsageError
from theory.normalization.family import Family
from theory.normalization.normalize import NormalizedActivation, NormalizedCallable, normalize
from theory.numerics.threads import one_blas_thread
from theory.trainability.design import CURVATURE, Design
from theory.trainability.design import design as choose

_PATH_POINTS = 9
_PATH_REACH = 8.0  # the path shows members from s/8 to 8 s


@dataclass(frozen=True, slots=True)
class PathPoint:
    """One member of the family in the plane of separation and isometry.

    Args:
        value: of the parameter.
        separation: 1 - rho_L of two orthogonal inputs.
        rank: effective rank over the width.
    """

    value: float
    separation: float
    rank: float


@dataclass(frozen=True, slots=True, repr=False)
class DesignReport(Result):
    """The activation that `gpn.design` chose for a depth.

    Args:
        chosen: the member, its constants and its budget.
        conditions: its four conditions at the depth.
        plain: those of the normalized activation that was given, where it was no family; else None.
        path: members of the family around the chosen one.
    """

    chosen: Design
    conditions: DepthConditions
    plain: DepthConditions | None
    path: tuple[PathPoint, ...]

    @property
    def activation(self) -> NormalizedActivation | NormalizedCallable:
        """The normalized member a phi + b, for `gpn.simulate`, `gpn.verify` and `gpn.train`."""
        return self.chosen.activation

    @property
    def spec(self) -> str:
        """The member before normalization, as text for the command line."""
        return self.activation.base.name

    @property
    def a(self) -> float:
        """The scale of the member."""
        return self.activation.a

    @property
    def b(self) -> float:
        """The shift of the member."""
        return self.activation.b

    def code(self, target: str = "numpy") -> str:
        """Return code to paste, as `gpn.export` does.

        Raises:
            UsageError: another target, or a Python function, which has no formula.
        """
        return export(self.activation.base, target, self.activation.root)

    def to_dict(self) -> dict[str, Any]:
        """Return the member, its constants, its conditions and the path as plain data."""
        return {
            "family": self.chosen.family.text,
            "parameter": self.chosen.family.parameter,
            "value": self.chosen.value,
            "activation": self.spec,
            "root": self.activation.root,
            "a": self.a,
            "b": self.b,
            "chi": self.activation.chi,
            "depth": self.chosen.depth,
            "curvature": self.chosen.curvature,
            "curvature_spent": self.chosen.spent,
            "conditions": self.conditions.to_dict(),
            "plain": None if self.plain is None else self.plain.to_dict(),
            "path": [asdict(point) for point in self.path],
        }

    def to_frame(self) -> pd.DataFrame:
        """Return the path of the family: value, separation, rank, and whether it is the chosen member."""
        frame = pd.DataFrame([asdict(point) for point in self.path])
        return frame.assign(chosen=frame["value"] == self.chosen.value)

    def __repr__(self) -> str:
        return f"<DesignReport {self.spec} for {self.chosen.depth} layers: a = {self.a:.7g}, b = {self.b:.7g}>"


@one_blas_thread
@vocabulary("depth")
def design(
    spec: object,
    depth: int,
    *,
    curvature: float = CURVATURE,
    parameter: str | None = None,
    root: str = "auto",
) -> DesignReport:
    r"""Choose the member of a family, normalized as `root` says, that keeps a given depth.

    .. math:: 1 - \rho_L = \frac{1}{1 + \tau/2} \quad \text{for orthogonal inputs}

    sets the parameter of the family (`theory.trainability.design.design`); a and b then keep the norms exactly.

    Args:
        spec: a family such as "tanh(s*x)", or a plain activation, for which phi(s x) or x + s phi(x) is offered.
        depth: L, from 1 to a million.
        curvature: tau > 0, the budget; 1 leaves two orthogonal inputs 2/3 of their distance.
        parameter: the name of the parameter, where the family has several names.
        root: "auto", "plus", "minus" or "stable", as for `gpn.normalize`.

    Raises:
        UsageError: an unreadable family, a depth or a budget out of range, or a family that does not reach it.

    >>> design("tanh", 200).spec
    'tanh(0.216 * x)'
    """
    chosen = choose(spec, depth, curvature, parameter=parameter, root=root)
    conditions = depth_conditions(chosen.activation, depth, chosen.separation)
    return DesignReport(chosen, conditions, _plain(spec, depth, root), tuple(_path(chosen, conditions, root)))


def _plain(spec: object, depth: int, root: str) -> DepthConditions | None:
    """The conditions of the normalized activation itself; None for a family, or where it has none."""
    if isinstance(spec, Family):
        return None
    try:
        return depth_conditions(normalize(activation(spec), root), depth)
    except (UsageError, SpecificationError):
        return None


def _path(chosen: Design, conditions: DepthConditions, root: str) -> list[PathPoint]:
    points = [PathPoint(chosen.value, conditions.separation.value, conditions.isometry.value)]
    for factor in np.geomspace(1 / _PATH_REACH, _PATH_REACH, _PATH_POINTS):
        value = float(f"{chosen.value * factor:.3g}")
        if value == chosen.value:
            continue
        try:
            found = depth_conditions(normalize(chosen.family.build(value), root), chosen.depth)
        except (UsageError, SpecificationError):
            continue
        points.append(PathPoint(value, found.separation.value, found.isometry.value))
    return sorted(points, key=lambda point: point.value)
