"""The search for the width, depth or tolerance at which a probability falls to the one that is wanted."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gpn.experiment import cells, streams
from gpn.experiment import runs as experiment
from gpn.verification.settings import MAX_EPSILON
from gpn.verification.width_results import Point, Requirement
from theory.activations.specification import Phi
from theory.errors import UsageError
from theory.layer.levy import Bound

SIMULATED_TRIALS = 4000


class Simulated:
    """Frequencies of the event in simulated networks, as if they were probabilities.

    Args:
        activation: phi, as it is.
        seed: of the run.
        trials: networks at each point.
    """

    def __init__(self, activation: Phi, seed: int, trials: int = SIMULATED_TRIALS) -> None:
        self.activation, self.seed, self.trials = activation, seed, trials

    def __call__(self, width: int, depth: int, epsilon: float) -> Bound:
        """The share of networks in which some |log G_l| is epsilon or more."""
        cell = experiment.Cell(
            compute=cells.Deep(self.activation, width, depth, "haar"),
            experiment=streams.WIDTH_SEARCH,
            cell=width << 32 | depth,
            trials=self.trials,
            chunk=streams.chunk_size(width, depth),
        )
        [found] = experiment.run([cell], self.seed, workers=None)
        with np.errstate(divide="ignore"):
            return Bound("simulation", float(np.log((found["spread"] >= epsilon).mean())))


MOST = {"width": 10.0**7, "depth": 10.0**5, "epsilon": MAX_EPSILON}
LEAST = {"width": 2.0, "depth": 2.0, "epsilon": 1e-6}


@dataclass(frozen=True, slots=True)
class Problem:
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


def interpolate(asked: Problem, requirement: Requirement) -> Requirement:
    """Where a line through all points near the edge, in logarithms, meets p: frequencies scatter."""
    near = [point for point in requirement.points if asked.probability / 4 < point.probability < 4 * asked.probability]
    if requirement.value is None or len(near) < 3:
        return requirement
    slope, level = np.polyfit(np.log([q.probability for q in near]), np.log([q.at for q in near]), 1)
    value = float(np.exp(level + slope * np.log(asked.probability)))
    whole = value if asked.unknown == "epsilon" else float(round(value))
    return replace(requirement, value=whole, probability=asked.probability)


def search(
    asked: Problem, scope: str, kind: str, probability: Probability, step: float, start: float | None = None
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


def _unreached(asked: Problem, points: dict[float, float], reasons: dict[float, str]) -> str:
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
