"""How wide a network must be, and the inverses: how deep a width carries, which tolerance it keeps."""

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpn import experiment, network_law
from gpn.adapters import activation as read_activation
from gpn.files import save_figure, write_table, write_text
from gpn.request import MAX_EPSILON
from theory import poincare
from theory.activation import Activation, CallableActivation
from theory.concentration import Bound, Side
from theory.errors import UsageError
from theory.one_step import layer_law, one_step

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Phi = Activation | CallableActivation

ONE_LAYER = {"forward-one-step": "one layer, forward", "backward-one-step-random": "one layer, backward"}
NETWORK = "whole network"

MOST = {"width": 10.0**7, "depth": 10.0**5, "epsilon": MAX_EPSILON}
LEAST = {"width": 2.0, "depth": 2.0, "epsilon": 1e-6}
_DEEP_OVER_TRUTH = {"depth": 0.36, "epsilon": 1.7}  # where the search begins
_COARSE = 0.02  # relative step at which the search stops where one evaluation takes seconds
_FINE = 1e-3


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
        kind: "deep", "levy", "cramer" (upper bounds), "exact", "prediction" or "simulation".
        value: the unknown: the least width, the largest depth or the least epsilon; None where there is none.
        probability: what the method gives there.
        reason: why there is no value, else empty.
        points: what was evaluated on the way, ascending.
    """

    scope: str
    kind: str
    value: float | None
    probability: float | None
    reason: str = ""
    points: tuple[Point, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class WidthReport:
    """What `gpn.required_width` and its inverses return.

    Args:
        unknown: "width", "depth" or "epsilon"; that one of the next three is None.
        activation: what was tested.
        width, depth, epsilon: n, L and the tolerance that were given.
        probability: of leaving the tolerance that is accepted.
        requirements: one for each method.
    """

    unknown: str
    activation: str
    width: int | None
    depth: int | None
    epsilon: float | None
    probability: float
    requirements: tuple[Requirement, ...]

    def value(self, kind: str, scope: str = NETWORK) -> float | None:
        """The value of one method, None where it has none."""
        return next((r.value for r in self.requirements if (r.kind, r.scope) == (kind, scope)), None)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        given = {name: getattr(self, name) for name in ("activation", "width", "depth", "epsilon", "probability")}
        return {"unknown": self.unknown, **given, "requirements": [asdict(r) for r in self.requirements]}

    def to_frame(self) -> "pd.DataFrame":
        """One row for each method: scope, kind, value, probability, reason."""
        import pandas as pd

        columns = ["scope", "kind", "value", "probability", "reason"]
        frame = pd.DataFrame([[getattr(r, name) for name in columns] for r in self.requirements], columns=columns)
        return frame.rename(columns={"value": self.unknown})

    def save(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Write width.csv, width.json and the figure into a folder; each file appears whole or not at all."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=2) + "\n"
        return [
            write_table(folder / "width.csv", self.to_frame()),
            write_text(folder / "width.json", text),
            *save_figure(self.plot(), folder, "width"),
        ]

    def plot(self) -> "Figure":
        """The probability by each method against the unknown."""
        from gpn import plots

        return plots.probability_against_unknown(self)

    def __repr__(self) -> str:
        found = ", ".join(f"{r.kind} {r.value:g}" for r in self.requirements if r.scope == NETWORK and r.value)
        return f"<WidthReport {self.activation}: {self.unknown} by {found or 'no method'}>"

    def _repr_html_(self) -> str:
        return str(self.to_frame().to_html(index=False))


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


@dataclass(frozen=True, slots=True)
class _Asked:
    """The request: all but one of width, depth and epsilon, and the probability."""

    unknown: str
    width: int | None
    depth: int | None
    epsilon: float | None
    probability: float

    def __post_init__(self) -> None:
        for name, least in (("width", 2), ("depth", 2)):
            value = getattr(self, name)
            if value is not None and not (value == int(value) and least <= value <= MOST[name]):
                raise UsageError(f"the {name} must be a whole number from {least} to {MOST[name]:g}, not {value}")
        if self.epsilon is not None and not 0 < self.epsilon <= MAX_EPSILON:
            raise UsageError(f"epsilon must be a positive number up to {MAX_EPSILON:g}, not {self.epsilon}; try 0.5")
        if not 0 < self.probability < 1:
            raise UsageError(f"the probability must lie between 0 and 1, not {self.probability}; try 0.05")

    def at(self, value: float) -> tuple[int, int, float]:
        """Width, depth and epsilon with the unknown at a value."""
        filled = {"width": self.width, "depth": self.depth, "epsilon": self.epsilon, self.unknown: value}
        width, depth, epsilon = filled["width"], filled["depth"], filled["epsilon"]
        assert width is not None
        assert depth is not None
        assert epsilon is not None
        return int(width), int(depth), float(epsilon)


Probability = Callable[[float], Bound]
"""The unknown -> an upper bound, or a probability, or kind "none" with a reason."""


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
    asked = _Asked(missing[0], width, depth, epsilon, probability)
    experiment.checked_run(seed, None)
    raw = read_activation(activation)
    phi = raw if root is None else poincare.normalize(raw, root)
    found = []
    tell = progress or (lambda _: None)
    if asked.unknown != "depth":
        tell("single layers")
        for claim in ONE_LAYER:
            found += _one_layer(asked, phi, claim)
    tell("the fluctuation law")
    prediction = _solve(asked, NETWORK, "prediction", lambda x: network_law.predicted(phi, *asked.at(x)), _FINE)
    tell("the deep bound")
    start = prediction.value
    found.append(_deep_width(asked, phi) if asked.unknown == "width" else _deep(asked, phi, start))
    found.append(prediction)
    if simulate:
        tell("simulation")
        simulated = network_law.Simulated(phi, seed)
        away = None if start is None else 1.5 * start  # not at the prediction, which it is to be compared with
        rough = _solve(asked, NETWORK, "simulation", lambda x: simulated(*asked.at(x)), _COARSE, away)
        found.append(_interpolated(asked, rough))
    return WidthReport(
        asked.unknown, phi.name, asked.width, asked.depth, asked.epsilon, asked.probability, tuple(found)
    )


def _interpolated(asked: _Asked, requirement: Requirement) -> Requirement:
    """Where a line through all points near the edge, in logarithms, meets p: frequencies scatter."""
    near = [point for point in requirement.points if asked.probability / 4 < point.probability < 4 * asked.probability]
    if requirement.value is None or len(near) < 3:
        return requirement
    slope, level = np.polyfit(np.log([q.probability for q in near]), np.log([q.at for q in near]), 1)
    value = float(np.exp(level + slope * np.log(asked.probability)))
    whole = value if asked.unknown == "epsilon" else float(round(value))
    return replace(requirement, value=whole, probability=asked.probability)


def _deep_width(asked: _Asked, phi: Phi) -> Requirement:
    """By the search that the theorem's own module makes, which also chooses the budget of its bad events."""
    _, depth, epsilon = asked.at(2)
    width, bound = network_law.deep_width(phi, depth, epsilon, asked.probability)
    if width is None:
        return Requirement(NETWORK, "deep", None, None, bound.reason)
    return Requirement(NETWORK, "deep", width, bound.probability, points=(Point(width, bound.probability),))


def _deep(asked: _Asked, phi: Phi, start: float | None) -> Requirement:
    guess = None if start is None else start * _DEEP_OVER_TRUTH[asked.unknown]
    return _solve(asked, NETWORK, "deep", lambda x: network_law.deep_bound(phi, *asked.at(x)), _COARSE, guess)


def _one_layer(asked: _Asked, phi: Phi, claim: str) -> list[Requirement]:
    """Bounds and exact law of one layer; evaluations at one value serve all three."""
    known: dict[float, dict[str, Bound]] = {}

    def at(value: float) -> dict[str, Bound]:
        if value not in known:
            width, _, epsilon = asked.at(value if asked.unknown != "depth" else 2)
            known[value] = _either_side(phi, claim, width, epsilon)
        return known[value]

    scope = ONE_LAYER[claim]
    return [
        _solve(asked, scope, kind, lambda x, kind=kind: at(x)[kind], _FINE)  # type: ignore[misc]
        for kind in ("levy", "cramer", "exact")
    ]


def _either_side(phi: Phi, claim: str, width: int, epsilon: float) -> dict[str, Bound]:
    """The probabilities of both tails added."""
    law = layer_law(phi, width)
    sides: tuple[Side, ...] = ("upper", "lower")
    tails = [one_step(claim, law, epsilon, side) for side in sides]
    exact = [
        Bound("exact", tail.exact.log) if tail.exact.available else Bound("none", 0.0, tail.exact.reason)
        for tail in tails
    ]
    return {
        "levy": _sum([tail.levy for tail in tails]),
        "cramer": _sum([tail.cramer for tail in tails]),
        "exact": _sum(exact),
    }


def _sum(bounds: list[Bound]) -> Bound:
    missing = next((bound for bound in bounds if bound.kind == "none"), None)
    if missing is not None:
        return missing
    return Bound(bounds[0].kind, min(float(np.logaddexp.reduce([bound.log for bound in bounds])), 0.0))


def _solve(
    asked: _Asked, scope: str, kind: str, probability: Probability, step: float, start: float | None = None
) -> Requirement:
    """Search for the edge of {probability <= p} by doubling or halving and then bisection of the logarithm.

    Probabilities are taken to fall with the width and with epsilon and to rise with the depth. A value at which the
    method has no number is not accepted.
    """
    points: dict[float, float] = {}
    reasons: dict[float, str] = {}

    def good(value: float) -> bool:
        if value not in points and value not in reasons:
            bound = probability(value)
            if bound.kind.startswith("none"):
                reasons[value] = bound.reason
            else:
                points[value] = min(bound.probability, 1.0)
        return points.get(value, 1.0) <= asked.probability

    edge = _edge(asked.unknown, good, step, start)
    reason = "" if edge is not None else _unreached(asked, points, reasons)
    evaluated = tuple(Point(value, points[value]) for value in sorted(points))
    return Requirement(scope, kind, edge, None if edge is None else points[edge], reason, evaluated)


def _unreached(asked: _Asked, points: dict[float, float], reasons: dict[float, str]) -> str:
    if not points:
        return next(iter(reasons.values()))
    far = max(points) if asked.unknown != "depth" else min(points)
    return f"still {points[far]:.3g} at {asked.unknown} {far:g}"


def _edge(unknown: str, good: Callable[[float], bool], step: float, start: float | None) -> float | None:
    """The last good value on the way from good to bad values, None where no value is good."""
    whole = unknown != "epsilon"
    towards_good = 0.5 if unknown == "depth" else 2.0
    low, high = LEAST[unknown], MOST[unknown]

    def clip(value: float) -> float:
        bounded = min(max(value, low), high)
        return float(round(bounded)) if whole else bounded

    first = clip(start or {"width": 64.0, "depth": 50.0, "epsilon": 0.5}[unknown])
    inside = outside = first
    if good(first):
        while good(outside):
            inside = outside
            outside = clip(outside / towards_good)
            if outside == inside:  # good up to the end of the range
                return inside
    else:
        while not good(inside):
            outside = inside
            inside = clip(inside * towards_good)
            if inside == outside:
                return None
    while abs(math.log(inside / outside)) > step and not (whole and abs(inside - outside) <= 1):
        middle = clip(math.sqrt(inside * outside))
        if middle in (inside, outside):
            break
        inside, outside = (middle, outside) if good(middle) else (inside, middle)
    return inside
