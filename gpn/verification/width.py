"""How wide a network must be, and the inverses: how deep a width carries, which tolerance it keeps."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from gpn.engine.arguments import vocabulary
from gpn.engine.weights import canonical
from gpn.experiment import store as run_store
from gpn.experiment.fingerprint import digest
from gpn.experiment.identity import Identity
from gpn.experiment.runs import Progress, checked_run
from gpn.experiment.versions import computing_versions
from gpn.verification.kinds import (
    CERTIFIED,
    DEEP,
    LAYER_KINDS,
    NETWORK_KINDS,
    PREDICTION,
    SIMULATION,
    LayerKind,
    NetworkKind,
)
from gpn.verification.width_results import NETWORK, Point, Requirement, WidthReport
from gpn.verification.width_search import Problem, Simulated, interpolate, search
from theory.activations.specification import Phi
from theory.activations.specification import activation as read_activation
from theory.bounds import deep
from theory.bounds import network as network_law
from theory.claims.counted import SIDES, CountedClaim
from theory.errors import UsageError, unknown
from theory.layer.law import LayerLaw, layer_law
from theory.layer.levy import Bound
from theory.layer.tails import TailParts
from theory.normalization.normalize import normalize
from theory.numerics.threads import one_blas_thread

ONE_LAYER = {CountedClaim.FORWARD: "one layer, forward", CountedClaim.BACKWARD_RANDOM: "one layer, backward"}
_DEEP_OVER_TRUTH = {"depth": 0.36, "epsilon": 1.7}  # where the search begins
_COARSE = 0.02  # relative step at which the search stops where one evaluation takes seconds
_FINE = 1e-3


@vocabulary("depth", "epsilon")
def required_width(
    activation: object,
    depth: int,
    epsilon: float,
    probability: float = 0.05,
    *,
    root: str | None = "auto",
    weights: str = "haar",
    simulate: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> WidthReport:
    r"""Return the least width at which all gradient norms stay within a tolerance, phi normalized first (`root`).

    .. math:: \min\Bigl\{n : P\Bigl(\max_l \Bigl|\log \tfrac{\|\partial E/\partial W_l\|_F^2}{\|\partial E/\partial
              W_L\|_F^2}\Bigr| \ge \epsilon\Bigr) \le p\Bigr\}

    for the rigorous deep bound (docs/deep-bound.md, docs/relu-deep-law.md), the prediction of the fluctuation law and,
    if asked for, simulation; and for one layer the same with :math:`|\,|\phi(h)|^2/n - 1| \ge \epsilon` (forward) and
    :math:`|\,|\phi'(h) \cdot u|^2 - 1| \ge \epsilon` (backward), by Lévy's and Cramér's bounds and the exact law.

    Values are to 2 % for the deep bound and for simulation (whose frequencies scatter), to 0.1 % for the others. Where
    the exact law cannot be evaluated, its least upper bound stands for it, and its `reason` begins with "at most".

    Args:
        activation: a name, formula, SymPy expression or callable; it is normalized first, see `root`.
        depth: L >= 2.
        epsilon: > 0.
        probability: p, between 0 and 1.
        root: as for `gpn.verify`; None leaves the activation as it is.
        weights: "haar", or "gaussian" entries of variance 1/n; then of whole networks only.
        simulate: also by simulating networks (seconds to minutes).
        seed: of the simulation.
        progress: called with (done, total, words) before each step; the total is 0, not known.

    Raises:
        UsageError: an argument outside its range, or an activation that cannot be normalized.
    """
    return solve(
        activation,
        None,
        depth,
        epsilon,
        probability,
        root=root,
        weights=weights,
        simulate=simulate,
        seed=seed,
        progress=progress,
    )


@vocabulary("width", "epsilon")
def carried_depth(
    activation: object,
    width: int,
    epsilon: float,
    probability: float = 0.05,
    *,
    root: str | None = "auto",
    weights: str = "haar",
    simulate: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> WidthReport:
    """Return the largest depth at which a width keeps all gradient norms in a tolerance, phi normalized first (`root`).

    The inverse of `required_width`. Methods about one layer are left out.

    Args:
        activation, epsilon, probability, root, weights, simulate, seed, progress: as for `required_width`.
        width: n >= 2.

    >>> carried_depth("relu", 400, 1.0).value("deep")
    13.0
    """
    return solve(
        activation,
        width,
        None,
        epsilon,
        probability,
        root=root,
        weights=weights,
        simulate=simulate,
        seed=seed,
        progress=progress,
    )


@vocabulary("width", "depth")
def guaranteed_epsilon(
    activation: object,
    width: int,
    depth: int,
    probability: float = 0.05,
    *,
    root: str | None = "auto",
    weights: str = "haar",
    simulate: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> WidthReport:
    """Return the least tolerance that all gradient norms keep, phi normalized first (`root`), by every method.

    The inverse of `required_width`.

    Args:
        activation, depth, probability, root, weights, simulate, seed, progress: as for `required_width`.
        width: n >= 2.
    """
    return solve(
        activation,
        width,
        depth,
        None,
        probability,
        root=root,
        weights=weights,
        simulate=simulate,
        seed=seed,
        progress=progress,
    )


@one_blas_thread
def solve(
    activation: object,
    width: int | None = None,
    depth: int | None = None,
    epsilon: float | None = None,
    probability: float = 0.05,
    *,
    root: str | None = "auto",
    weights: str = "haar",
    simulate: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> WidthReport:
    """Solve for the one of width, depth and epsilon that is not given, by every method.

    Args:
        activation, width, depth, epsilon, probability, root, weights, simulate, seed, progress: as there.

    Raises:
        UsageError: not exactly two of width, depth and epsilon; or as for `required_width`.
    """
    given = {"width": width, "depth": depth, "epsilon": epsilon}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) != 1:
        raise UsageError(f"give two of width, depth and epsilon to solve for the third; missing: {missing or 'none'}")
    problem = Problem(missing[0], width, depth, epsilon, probability)
    checked_run(seed, None)
    if (weights := canonical(weights)) not in network_law.COVERED:
        raise unknown("weights", weights, network_law.COVERED)
    phi = chosen(activation, root)
    report = partial(progress or (lambda *_: None), 0, 0)
    requirements = []
    if problem.unknown != "depth" and weights == "haar":
        report("single layers")
        law_at = cache(partial(layer_law, phi))
        requirements += [requirement for claim in ONE_LAYER for requirement in _one_layer(problem, law_at, claim)]
    report("the fluctuation law")
    law = _network(problem, phi, weights, PREDICTION)
    for kind in NETWORK_KINDS:
        report(kind.method)
        requirements.append(law if kind is PREDICTION else _network(problem, phi, weights, kind, law.value))
    known = WidthReport(problem.unknown, phi.name, width, depth, epsilon, probability, tuple(requirements), weights)
    return with_simulation(known, phi, seed, progress=progress) if simulate else known


@one_blas_thread
def with_simulation(
    known: WidthReport,
    phi: Phi,
    seed: int = 0,
    *,
    store: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> WidthReport:
    """Add to a report what simulated networks ask for.

    Args:
        known: the report by the other methods.
        phi: the activation that it is about, normalized.
        seed: of the simulation.
        store: a folder; finished chunks are kept there in `run.sqlite` and reused when the same is asked for again.
        progress: called with (done, total, words); the total is a guess, for a search takes as many steps as it takes.

    Raises:
        UsageError: a store that belongs to another run.
    """
    problem = Problem(known.unknown, known.width, known.depth, known.epsilon, known.probability)
    predicted = known.value(PREDICTION.name)
    start = None if predicted is None else 1.5 * predicted  # not at the prediction, which it is to be compared with
    identity = Identity(
        {"experiment": "width", "activation": digest(phi), "seed": seed, "weights": known.weights},
        dict(computing_versions()),
    )
    opened = nullcontext() if store is None else run_store.open_store(store, identity, replace_finished=True)
    with opened as kept:
        simulated = Simulated(phi, seed, known.weights, store=kept, progress=progress)
        simulated.announce(problem, start)
        rough = search(problem, NETWORK, SIMULATION.name, lambda x: simulated(*problem.at(x)), _COARSE, start)
    return replace(known, requirements=(*known.requirements, interpolate(problem, rough)))


def check_certifiable(unknown: str, weights: str) -> None:
    """Refuse what no certificate is about.

    Args:
        unknown: what is solved for.
        weights: as for `required_width`.

    Raises:
        UsageError: anything but the width, or other weights than Haar's.
    """
    if unknown != "width":
        raise UsageError("a certificate is about a depth and a tolerance: give --depth and --epsilon, not --width")
    if weights != "haar":
        raise UsageError("only the bound for Haar weights can be certified: leave out --weights or --certify")


@one_blas_thread
def with_certificate(
    known: WidthReport, phi: Phi, *, progress: Progress | None = None
) -> tuple[WidthReport, dict[str, Any] | None]:
    """Add to a report the width from which on the deep bound is proved in ball arithmetic.

    Args:
        known: the report by the other methods, on the width.
        phi: the activation that it is about, normalized.
        progress: called with (done, total, words); the total is 0, not known.

    Returns:
        The report, and the certificate that `gpn verify-certificate` reads; None where nothing is proved.

    Raises:
        UsageError: see `check_certifiable`.
    """
    check_certifiable(known.unknown, known.weights)
    assert known.depth is not None
    assert known.epsilon is not None

    def say(words: str) -> None:
        if progress:
            progress(0, 0, f"proof: {words}")

    found = deep.required_width_deep(phi, known.depth, known.epsilon, known.probability, certified=True, say=say)
    reason = (
        "no theorem about positively homogeneous phi is certified" if found.reason == deep.HOMOGENEOUS else found.reason
    )
    proved = found.width is not None and found.bound.rigor == "certified" and found.bound.document is not None
    value, probability = (found.width, found.bound.probability) if proved else (None, None)
    requirement = Requirement(NETWORK, CERTIFIED.name, value, probability, "" if proved else reason or "not certified")
    return replace(known, requirements=(*known.requirements, requirement)), found.bound.document if proved else None


def chosen(activation: object, root: str | None) -> Phi:
    """Return the activation that is asked about.

    Args:
        activation, root: as for `required_width`.

    Raises:
        UsageError: an activation that cannot be read or normalized.
    """
    raw = read_activation(activation)
    return raw if root is None else normalize(raw, root)


def _network(
    problem: Problem, phi: Phi, weights: str, kind: NetworkKind, predicted: float | None = None
) -> Requirement:
    """By a statement about the whole network; a bound is searched from the prediction on, where there is one."""
    if kind is not DEEP or problem.unknown != "width":
        start = None if predicted is None else predicted * _DEEP_OVER_TRUTH.get(problem.unknown, 1.0)
        step = _COARSE if kind.is_bound else _FINE

        def probability(value: float) -> Bound:
            if kind is PREDICTION:
                return network_law.predicted(phi, *problem.at(value), weights, unlikely=True)
            return kind.compute(phi, *problem.at(value), "random", weights)

        found = search(problem, NETWORK, kind.name, probability, step, start)
        if kind is not PREDICTION or found.value is None:
            return found
        there = kind.compute(phi, *problem.at(found.value), "random", weights)
        return replace(found, value=None, probability=None, reason=there.reason) if _lack([there]) else found
    # The bound's own module searches the width, and divides the error budget again at each one.
    _, depth, epsilon = problem.at(2)
    width, bound = network_law.deep_width(phi, depth, epsilon, problem.probability, weights)
    if width is None:
        return Requirement(NETWORK, DEEP.name, None, None, bound.reason)
    return Requirement(NETWORK, DEEP.name, width, bound.probability, points=(Point(width, bound.probability),))


def _one_layer(problem: Problem, law_at: Callable[[int], LayerLaw], claim: CountedClaim) -> list[Requirement]:
    """By the bounds and the exact law of one layer."""

    @cache  # an evaluation at one value serves all kinds
    def tails(value: float) -> list[TailParts]:
        width, _, epsilon = problem.at(value)
        return [TailParts(claim, law_at(width), epsilon, side) for side in SIDES]

    def requirement(kind: LayerKind) -> Requirement:
        lacking: dict[float, str] = {}  # where an upper bound stands for the exact law, and why

        def probability(value: float) -> Bound:
            bounds = [kind.compute(tail) for tail in tails(value)]
            if not kind.is_bound and (lack := _lack(bounds)) is not None:
                lacking[value], bounds = lack.reason, [_least(tail) for tail in tails(value)]
            return _sum(bounds)

        found = search(problem, ONE_LAYER[claim], kind.name, probability, _FINE)
        known = [point for point in found.points if point.at not in lacking]
        below = max((point.at for point in found.points if point.at < (found.value or 0.0)), default=0.0)
        reason = lacking.get(found.value or 0.0) or lacking.get(below)
        if found.value is None or not reason:
            return found
        there = None if found.value in lacking else found.probability
        return replace(found, probability=there, reason=f"at most: {reason}", points=tuple(known))

    return [requirement(kind) for kind in LAYER_KINDS]


def _least(tail: TailParts) -> Bound:
    """The least of what bounds a tail from above, for where its exact law cannot be evaluated."""
    bounds = [kind.compute(tail) for kind in LAYER_KINDS]
    return min((bound for bound in bounds if bound.kind != "none"), key=lambda bound: bound.log, default=bounds[0])


def _lack(bounds: list[Bound]) -> Bound | None:
    """The first that has no number."""
    return next((bound for bound in bounds if bound.kind == "none"), None)


def _sum(bounds: list[Bound]) -> Bound:
    """The probabilities of both tails added."""
    if (missing := _lack(bounds)) is not None:
        return missing
    return Bound(bounds[0].kind, min(float(np.logaddexp.reduce([bound.log for bound in bounds])), 0.0))
