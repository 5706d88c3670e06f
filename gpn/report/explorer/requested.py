"""What takes seconds, computed when it is asked for: certified numbers, and the adapted member."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpn.checking.check import check
from gpn.checking.designing import DesignReport, design
from gpn.report.explorer.model import View
from theory.bounds.network import deep_bound, predicted
from theory.claims.counted import SIDES, CountedClaim
from theory.errors import UsageError
from theory.layer.law import layer_law
from theory.layer.levy import Bound
from theory.layer.tails import OneStepTail, one_step

if TYPE_CHECKING:
    from theory.normalization.conditions import Conditions


@dataclass(frozen=True, slots=True)
class Certificate:
    """The numbers that take seconds, computed on request.

    Args:
        conditions: certified moments, a, b and chi of the activation as given.
        tails: of one layer at the width and tolerance of the state, upper and lower; none without a normalization.
        deep: the deep bound for the whole network, None without a normalization.
        predicted: the predicted probability for the whole network, or why there is none.
    """

    conditions: "Conditions"
    tails: tuple[OneStepTail, ...] = ()
    deep: Bound | None = None
    predicted: Bound | None = None


def certificate(view: View, digits: int = 30) -> Certificate:
    """Certified digits of the moments, exact and proved probabilities at one width.

    Args:
        view: what is shown.
        digits: the number of digits of the moments.
    """
    conditions = check(view.shape.phi, digits)
    if view.root is None:
        return Certificate(conditions)
    state, phi = view.state, view.root.phi
    law = layer_law(phi, state.width)
    tails = tuple(one_step(CountedClaim.FORWARD, law, state.epsilon, side) for side in SIDES)
    whole = (phi, state.width, state.depth, state.epsilon)
    return Certificate(conditions, tails, deep_bound(*whole), predicted(*whole))


def adapted(view: View) -> DesignReport:
    """The member that `gpn.design` chooses for the depth that is shown: of the family of the formula, or around it.

    Args:
        view: what is shown. Where no member of a family with a parameter keeps the depth, phi(s x) and x + s phi(x)
            of the present member are searched.

    Raises:
        UsageError: no member keeps the depth.
    """
    state = view.state
    try:
        return design(state.formula, state.depth, root=state.root)
    except UsageError:
        if view.shape.parameter is None:
            raise
        return design(view.shape.phi, state.depth, root=state.root)
