"""The search for the width, depth or tolerance at which a probability falls to the one that is wanted."""

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
from theory.numerics.edge import edge

SIMULATED_TRIALS = 4000
_POINTS = 10  # at which a search simulates, about
MOST = {"width": 10.0**7, "depth": 10.0**5, "epsilon": MAX_EPSILON}
LEAST = {"width": 2.0, "depth": 2.0, "epsilon": 1e-6}
_START = {"width": 64.0, "depth": 50.0, "epsilon": 0.5}
Probability = Callable[[float], Bound]
"""The unknown -> an upper bound, or a probability, or kind "none" with a reason."""


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
        width, depth, epsilon = (value if given is None else given for given in (self.width, self.depth, self.epsilon))
        return int(width), int(depth), float(epsilon)


@dataclass(slots=True)
class Simulated:
    """Frequencies of the event in simulated networks, as if they were probabilities.

    Args:
        activation: phi, as it is.
        seed: the seed of the run.
        weights: "haar" or "gaussian".
        trials: the number of networks at each point.
        store: where finished chunks are kept, None for nowhere.
        progress: called with (done, total, words), where the total is a guess.
    """

    activation: Phi
    seed: int
    weights: str = "haar"
    trials: int = SIMULATED_TRIALS
    store: experiment.Store | None = None
    progress: experiment.Progress | None = None
    _spent: float = 0.0
    _guess: float = 0.0
    _lost: str = ""

    def announce(self, problem: Problem, start: float | None) -> None:
        """Tell how much there is to do, before anything is done."""
        width, depth, _ = problem.at(start or _START[problem.unknown])
        self._guess = _POINTS * self.trials * float(width * depth)
        words = f"simulating {self.trials} networks at each of some {_POINTS} points near width {width}, depth {depth}"
        self._tell(0.0, words)

    def __call__(self, width: int, depth: int, epsilon: float) -> Bound:
        """The share of networks in which some |log G_l| is epsilon or more; none once float64 could not hold one."""
        if self._lost:
            return Bound("none", 0.0, self._lost)
        cell = experiment.Cell(
            compute=cells.Deep(self.activation, width, depth, self.weights),
            experiment=streams.WIDTH_SEARCH,
            cell=streams.cell_number(width, depth),
            trials=self.trials,
            chunk=streams.chunk_size(width, depth),
            cost=width * depth,
        )
        words = f"simulating width {width}, depth {depth}"
        [results] = experiment.run(
            [cell],
            self.seed,
            workers=None,
            store=self.store,
            progress=lambda done, _total, _words: self._tell(done, words),
        )
        self._spent += cell.cost * cell.trials
        spreads = results["spread"]
        if unknown := int(np.isnan(spreads).sum()):
            self._lost = f"float64 cannot hold {unknown:,} of {spreads.size:,} networks of width {width}, depth {depth}"
            return Bound("none", 0.0, self._lost)
        with np.errstate(divide="ignore"):
            return Bound("simulation", float(np.log((spreads >= epsilon).mean())))

    def _tell(self, done: float, words: str) -> None:
        if self.progress is not None:
            spent = self._spent + done
            self.progress(spent, self._guess if spent < self._guess else 0, words)  # 0: longer than was guessed


def interpolate(problem: Problem, requirement: Requirement) -> Requirement:
    """Where a line through all points near the edge, in logarithms, meets p: frequencies scatter."""
    near = [
        point for point in requirement.points if problem.probability / 4 < point.probability < 4 * problem.probability
    ]
    if requirement.value is None or len(near) < 3:
        return requirement
    slope, level = np.polyfit(np.log([q.probability for q in near]), np.log([q.at for q in near]), 1)
    value = float(np.exp(level + slope * np.log(problem.probability)))
    whole = value if problem.unknown == "epsilon" else float(round(value))
    return replace(requirement, value=whole, probability=problem.probability)


def search(
    problem: Problem, scope: str, kind: str, probability: Probability, step: float, start: float | None = None
) -> Requirement:
    """Search for the edge of {probability <= p} by doubling or halving and then bisection of the logarithm.

    Probabilities are taken to fall with the width and with epsilon and to rise with the depth. A value at which the
    method has no number is not accepted: where the edge is only that of the method, the reason says so.
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
        return points.get(value, 1.0) <= problem.probability

    unknown = problem.unknown
    found = edge(
        good,
        start or _START[unknown],
        (LEAST[unknown], MOST[unknown]),
        towards_good=0.5 if unknown == "depth" else 2.0,
        step=step,
        whole=unknown != "epsilon",
    )
    evaluated = tuple(Point(value, points[value]) for value in sorted(points))
    if found is not None:
        bad = [value for value in {**points, **reasons} if (value > found) == (unknown == "depth") and value != found]
        edge_reason = reasons.get(min(bad, key=lambda value: abs(value - found), default=found), "")
        words = f"at {'least' if unknown == 'depth' else 'most'}: {edge_reason}" if edge_reason else ""
        return Requirement(scope, kind, found, points[found], words, evaluated)
    likeliest = min if unknown == "depth" else max
    if not points:
        return Requirement(scope, kind, None, None, reasons[likeliest(reasons)])
    far = likeliest(points)
    return Requirement(scope, kind, None, None, f"still {points[far]:.3g} at {unknown} {far:g}", evaluated)
