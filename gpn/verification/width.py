"""How wide a network must be, and the inverses: how deep a width carries, which tolerance it keeps."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gpn.experiment import runs as experiment
from gpn.verification import width_search
from gpn.verification.kinds import DEEP, LAYER_KINDS, PREDICTION, SIMULATION
from gpn.verification.width_results import NETWORK, Point, Requirement, WidthReport
from gpn.verification.width_search import Problem, interpolate, search
from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.activations.specification import activation as read_activation
from theory.bounds import network as network_law
from theory.claims.counted import SIDES, CountedClaim
from theory.errors import UsageError
from theory.layer.law import layer_law
from theory.layer.levy import Bound
from theory.layer.tails import one_step
from theory.normalization import normalize as normalize_module

Phi = Activation | CallableActivation
ONE_LAYER = {CountedClaim.FORWARD: "one layer, forward", CountedClaim.BACKWARD_RANDOM: "one layer, backward"}
_DEEP_OVER_TRUTH = {"depth": 0.36, "epsilon": 1.7}  # where the search begins
_COARSE = 0.02  # relative step at which the search stops where one evaluation takes seconds
_FINE = 1e-3


def required_width(
    activation: Any,
    depth: int,
    epsilon: float,
    probability: float = 0.05,
    *,
    root: str | None = "auto",
    simulate: bool = False,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> WidthReport:
    r"""The least width at which all gradient norms of a network stay within a tolerance, by every method.

    .. math:: \min\Bigl\{n : P\Bigl(\max_l \Bigl|\log \tfrac{\|\partial E/\partial W_l\|_F^2}{\|\partial E/\partial
              W_L\|_F^2}\Bigr| \ge \epsilon\Bigr) \le p\Bigr\}

    for the rigorous deep bound (docs/deep-bound.md, docs/relu-deep-law.md), the prediction of the fluctuation law and,
    if asked for, simulation; and for one layer the same with :math:`|\,|\phi(h)|^2/n - 1| \ge \epsilon` (forward) and
    :math:`|\,|\phi'(h) \cdot u|^2 - 1| \ge \epsilon` (backward), by Lévy's and Cramér's bounds and the exact law.

    Values are to 2 % for the deep bound and for simulation (whose frequencies scatter), to 0.1 % for the others.

    Args:
        activation: a name, formula, SymPy expression or callable; it is normalized first, see `root`.
        depth: L >= 2.
        epsilon: > 0.
        probability: p, between 0 and 1.
        root: as for `gpn.verify`; None leaves the activation as it is.
        simulate: also by simulating networks (seconds to minutes).
        seed: of the simulation.
        progress: called with a few words before each step.

    Raises:
        UsageError: an argument outside its range, or an activation that cannot be normalized.
    """
    return solve(
        activation,
        depth=depth,
        epsilon=epsilon,
        probability=probability,
        root=root,
        simulate=simulate,
        seed=seed,
        progress=progress,
    )


def carried_depth(
    activation: Any,
    width: int,
    epsilon: float,
    probability: float = 0.05,
    *,
    root: str | None = "auto",
    simulate: bool = False,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> WidthReport:
    """The largest depth at which a given width keeps all gradient norms within a tolerance, by every method.

    The inverse of `required_width`; methods about one layer have no say in it.

    Args:
        activation, epsilon, probability, root, simulate, seed, progress: as for `required_width`.
        width: n >= 2.

    >>> carried_depth("relu", 400, 1.0).value("deep")
    13.0
    """
    return solve(
        activation,
        width=width,
        epsilon=epsilon,
        probability=probability,
        root=root,
        simulate=simulate,
        seed=seed,
        progress=progress,
    )


def guaranteed_epsilon(
    activation: Any,
    width: int,
    depth: int,
    probability: float = 0.05,
    *,
    root: str | None = "auto",
    simulate: bool = False,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> WidthReport:
    """The least tolerance that all gradient norms of a network of given width and depth keep, by every method.

    The inverse of `required_width`.

    Args:
        activation, depth, probability, root, simulate, seed, progress: as for `required_width`.
        width: n >= 2.
    """
    return solve(
        activation,
        width=width,
        depth=depth,
        probability=probability,
        root=root,
        simulate=simulate,
        seed=seed,
        progress=progress,
    )


def solve(
    activation: Any,
    *,
    width: int | None = None,
    depth: int | None = None,
    epsilon: float | None = None,
    probability: float = 0.05,
    root: str | None = "auto",
    simulate: bool = False,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> WidthReport:
    """Solve for the one of width, depth and epsilon that is not given, by every method.

    Args:
        activation, width, depth, epsilon, probability, root, simulate, seed, progress: as for `required_width`.

    Raises:
        UsageError: not exactly two of width, depth and epsilon; or as for `required_width`.
    """
    missing = [name for name, given in (("width", width), ("depth", depth), ("epsilon", epsilon)) if given is None]
    if len(missing) != 1:
        raise UsageError(f"give two of width, depth and epsilon to solve for the third; missing: {missing or 'none'}")
    asked = Problem(missing[0], width, depth, epsilon, probability)
    experiment.checked_run(seed, None)
    raw = read_activation(activation)
    phi = raw if root is None else normalize_module.normalize(raw, root)
    found = []
    tell = progress or (lambda _: None)
    if asked.unknown != "depth":
        tell("single layers")
        for claim in ONE_LAYER:
            found += _one_layer(asked, phi, claim)
    tell("the fluctuation law")
    prediction = search(asked, NETWORK, PREDICTION.name, lambda x: network_law.predicted(phi, *asked.at(x)), _FINE)
    tell("the deep bound")
    start = prediction.value
    found.append(_deep_width(asked, phi) if asked.unknown == "width" else _deep(asked, phi, start))
    found.append(prediction)
    if simulate:
        tell("simulation")
        simulated = width_search.Simulated(phi, seed)
        away = None if start is None else 1.5 * start  # not at the prediction, which it is to be compared with
        rough = search(asked, NETWORK, SIMULATION.name, lambda x: simulated(*asked.at(x)), _COARSE, away)
        found.append(interpolate(asked, rough))
    return WidthReport(
        asked.unknown, phi.name, asked.width, asked.depth, asked.epsilon, asked.probability, tuple(found)
    )


def _deep_width(asked: Problem, phi: Phi) -> Requirement:
    """By the search that the theorem's own module makes, which also chooses the budget of its bad events."""
    _, depth, epsilon = asked.at(2)
    width, bound = network_law.deep_width(phi, depth, epsilon, asked.probability)
    if width is None:
        return Requirement(NETWORK, DEEP.name, None, None, bound.reason)
    return Requirement(NETWORK, DEEP.name, width, bound.probability, points=(Point(width, bound.probability),))


def _deep(asked: Problem, phi: Phi, start: float | None) -> Requirement:
    guess = None if start is None else start * _DEEP_OVER_TRUTH[asked.unknown]
    return search(asked, NETWORK, DEEP.name, lambda x: network_law.deep_bound(phi, *asked.at(x)), _COARSE, guess)


def _one_layer(asked: Problem, phi: Phi, claim: CountedClaim) -> list[Requirement]:
    """Bounds and exact law of one layer; evaluations at one value serve all three."""
    known: dict[float, dict[str, Bound]] = {}

    def at(value: float) -> dict[str, Bound]:
        if value not in known:
            width, _, epsilon = asked.at(value if asked.unknown != "depth" else 2)
            known[value] = _either_side(phi, claim, width, epsilon)
        return known[value]

    scope = ONE_LAYER[claim]
    return [
        search(asked, scope, kind.name, lambda x, name=kind.name: at(x)[name], _FINE)  # type: ignore[misc]
        for kind in LAYER_KINDS
    ]


def _either_side(phi: Phi, claim: CountedClaim, width: int, epsilon: float) -> dict[str, Bound]:
    """The probabilities of both tails added."""
    law = layer_law(phi, width)
    tails = [one_step(claim, law, epsilon, side) for side in SIDES]
    return {kind.name: _sum([kind.compute(tail) for tail in tails]) for kind in LAYER_KINDS}


def _sum(bounds: list[Bound]) -> Bound:
    missing = next((bound for bound in bounds if bound.kind == "none"), None)
    if missing is not None:
        return missing
    return Bound(bounds[0].kind, min(float(np.logaddexp.reduce([bound.log for bound in bounds])), 0.0))
