"""The rows of a report that are about the engine: jobs that draw the networks, and what their outcome says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from gpn.data.inputs import Inputs
from gpn.engine.norms import FloatArray
from gpn.experiment import runs, streams
from gpn.experiment.cells import Deep
from gpn.statistics.evidence import Counted
from gpn.statistics.limits import Verdict, equals
from gpn.verification.engine import growth
from gpn.verification.engine.cells import Laws, Pairs
from gpn.verification.engine.homogeneous import HomogeneousPairs, squared_slopes
from gpn.verification.engine.identities import FORMULA, ROUNDING
from gpn.verification.engine.squares import proved_slope
from gpn.verification.kinds import ENGINE
from gpn.verification.plan import Job, Key, Outcomes, on_shell
from gpn.verification.results import Row
from gpn.verification.settings import DENSE, MATRIX_FREE, Settings
from theory.activations.specification import Phi
from theory.claims.engine import EngineClaim
from theory.claims.registry import CLAIMS

BLOCK = 2**13  # neurons of one layer in all networks: the samplers change their way of drawing normals there
NEURONS = 2**19  # of all layers of all networks: a fraction of a second
_DEEPEST_NEURONS = 2**20  # of one network
_NARROWEST = 4  # with fewer neurons a normal vector may well lie so close to x that rounding eats what is across
_WIDEST = 2**17 + 2**10  # wide enough for a layer in two tiles
_DENSE_LARGE = (64, 50)  # the same where the run has them too
_DENSE_WEIGHTS = 2**22  # of explicit matrices, all layers of all networks
_SAMPLES = 256  # of the inputs
_SMALL = (16, 4)  # width and depth of networks with explicit matrices
_DENSE, _PAIRS = 200, 400  # of them
_LAW_WIDTH = 256  # at most, of networks that are compared with the exact law of homogeneous ones
_LAW_NEURONS = 2**23  # of all layers of all of them
MEAN_MARGINS = {"growth": 0.1, "square": 0.2}
"""A mean whose limits lie within this of the exact one is confirmed: of growth, of squared lengths."""

_IDENTITIES = {
    "forward": EngineClaim.FORWARD,
    "backward": EngineClaim.BACKWARD,
    "gradient": EngineClaim.GRADIENT,
    "activation": EngineClaim.ACTIVATION,
}
_COINS = {
    "preactivation": EngineClaim.PREACTIVATION,
    "direction": EngineClaim.DIRECTION,
    "pair": EngineClaim.PAIRS,
    "law": EngineClaim.HOMOGENEOUS,
}
_MEANS = {"growth": EngineClaim.GROWTH, "square": EngineClaim.SQUARE}
_METHODS = {
    "engine matrix-free": MATRIX_FREE,
    "engine dense": DENSE,
    "engine small": DENSE,
    "engine pairs": "matrix-free and dense",
    "engine law": MATRIX_FREE,
    "engine law dense": DENSE,
}
MOST_ROWS = 3 * (4 + 7 + 2) + 3 + 3
"""Rows about the engine: of two sizes and small dense networks 4 equalities, 7 coins and 2 means each, and 3 pairs each
with explicit matrices and with an exact law."""


def jobs(settings: Settings, tested: Phi) -> Iterator[Job]:
    """Yield the cells that test the engine: networks of the least width, one of the largest size, small dense ones.

    Args:
        settings: what is verified.
        tested: phi.
    """
    if "engine" not in settings.claims:
        return
    slope = proved_slope(tested)
    ends = (settings.widths[0], settings.widths[-1])
    narrow, wide = (min(max(width, _NARROWEST), max(_WIDEST, settings.features)) for width in ends)
    most = settings.depths[-1]
    block = -(-BLOCK // narrow)
    depth = min(most, max(4, NEURONS // (narrow * block)))
    sizes = {(narrow, depth): block}
    deepest = min(most, max(4, _DEEPEST_NEURONS // wide))
    sizes.setdefault((wide, deepest), max(1, NEURONS // (wide * deepest)))
    if settings.method == DENSE:
        width, depth = min(narrow, max(_DENSE_LARGE[0], settings.features)), min(most, _DENSE_LARGE[1])
        sizes = {(width, depth): max(2, _DENSE_WEIGHTS // (width**2 * depth))}
    for (width, layers), trials in sizes.items():
        inputs = on_shell(_few(settings.loaded), width)
        networks = Deep(tested, width, layers, settings.weights, inputs, method=settings.method)
        yield _job(f"engine {settings.method}", streams.ENGINE, Laws(networks, slope), networks, trials)
    small = Deep(tested, min(narrow, _SMALL[0]), min(most, _SMALL[1]), settings.weights, method=DENSE)
    yield _job("engine small", streams.ENGINE_DENSE, Laws(small, slope), small, _DENSE)
    yield _job("engine pairs", streams.ENGINE_PAIRS, Pairs(small), small, _PAIRS)
    yield from _law_jobs(small if settings.method == DENSE else _deep_law(settings, tested, narrow))


def _deep_law(settings: Settings, tested: Phi, width: int) -> Deep:
    width = min(width, _LAW_WIDTH)
    return Deep(tested, width, min(settings.depths[-1], _LAW_NEURONS // (width * _PAIRS)), settings.weights)


def _law_jobs(networks: Deep) -> Iterator[Job]:
    """Networks beside draws from their exact law, where it is known."""
    squares = squared_slopes(networks)
    if squares is not None and networks.weights == "haar":
        name = "engine law dense" if networks.method == DENSE else "engine law"
        yield _job(name, streams.ENGINE_LAW, HomogeneousPairs(networks, squares), networks, _PAIRS)


def _few(loaded: Inputs | None) -> Inputs | None:
    """The first inputs, enough for the few networks that are tested: no second copy of all of them."""
    if loaded is None:
        return None
    labels = None if loaded.labels is None else loaded.labels[:_SAMPLES]
    return replace(loaded, vectors=loaded.vectors[:_SAMPLES], labels=labels)


def _job(name: str, stream: int, compute: runs.Compute, networks: Deep, trials: int) -> Job:
    key = (name, networks.width, networks.depth)
    cost = networks.width * networks.depth * 10.0
    cell = streams.cell_number(networks.width, networks.depth)
    return Job(key, runs.Cell(stream, cell, compute, trials, trials, cost, " ".join(map(str, key))))


class Found(NamedTuple):
    """What the trials say about one law: the numbers of a row, and the first layer in which an identity fails."""

    trials: int
    exceedances: int
    estimate: float
    lower: float
    upper: float
    bound: float
    epsilon: float
    verdict: Verdict
    layer: int | None = None


def engine_rows(engine_jobs: Sequence[Job], outcomes: Outcomes, activation: str, alpha: float) -> list[tuple[Row, str]]:
    """Return the rows, each with a sentence that says how the engine departs from the law, "" if it does not.

    Args:
        engine_jobs: those of `jobs`.
        outcomes: the results of all jobs, by key.
        activation: the name of phi.
        alpha: one-sided error probability, half of that of a row.
    """
    rows = []
    for job in engine_jobs:
        for claim, side, found in _all_found(outcomes[job.key], alpha):
            row = _row(claim, side, job.key, activation, found)
            rows.append((row, _departure(row, found.layer) if row.verdict is Verdict.VIOLATED else ""))
    return rows


def _all_found(outcome: Mapping[str, FloatArray], alpha: float) -> Iterator[tuple[EngineClaim, str, Found]]:
    for name, seen in outcome.items():
        law, _, side = name.partition(" ")
        if law == "identity":
            tolerance = FORMULA if side == "activation" else ROUNDING
            yield _IDENTITIES[side], "either", _identity(seen, alpha, tolerance, from_below=side == "forward")
        elif law in _COINS and np.isfinite(seen).any():
            yield _COINS[law], side, _coin(seen, alpha)
    for law, claim in _MEANS.items():
        # no exponent is left where the squares of the slopes overflow: then nothing is known about their mean
        if np.isfinite(outcome.get(f"{law} excess", np.nan)).any() and outcome[f"{law} exponent"][0, 0] > 0:
            yield claim, "either", _mean(law, outcome, alpha)


def _identity(missed: FloatArray, alpha: float, tolerance: float, *, from_below: bool) -> Found:
    """An equality, which no network may miss by more than rounding; nan where nothing can be said."""
    wrong = np.nan_to_num(missed, nan=0.0) > tolerance
    looked_at = int((~np.isnan(missed)).any(axis=1).sum())
    if not looked_at:
        return Found(0, 0, np.nan, 0.0, 1.0, 0.0, tolerance, Verdict.VACUOUS)
    count = Counted(int(wrong.any(axis=1).sum()), looked_at)
    layers = np.flatnonzero(wrong.any(axis=0)) + 1
    verdict = Verdict.VIOLATED if layers.size else Verdict.HOLDS
    layer = int(layers[0 if from_below else -1]) if layers.size else None
    return _of_count(count, alpha, 0.0, tolerance, verdict, layer)


def _coin(heads: FloatArray, alpha: float) -> Found:
    """Fair coins: 1, 0, or nan where none was tossed."""
    count = Counted(int((heads == 1).sum()), int(np.isfinite(heads).sum()))
    return _of_count(count, alpha, 0.5, 0.0, equals(*count.limits(alpha), 0.5))


def _of_count(
    count: Counted, alpha: float, bound: float, epsilon: float, verdict: Verdict, layer: int | None = None
) -> Found:
    limits = count.limits(alpha)
    return Found(count.trials, count.exceedances, count.estimate, *limits, bound, epsilon, verdict, layer)


def _mean(law: str, outcome: Mapping[str, FloatArray], alpha: float) -> Found:
    """A mean of martingale differences, of which `exceedances` layers had more than theirs."""
    difference, above, below, exponent = (outcome[f"{law} {part}"] for part in growth.PARTS)
    counted = int(np.isfinite(difference).sum())
    lower, upper = growth.limits(difference, above, below, float(exponent[0, 0]), alpha)
    margin = MEAN_MARGINS[law]
    close = -margin <= lower and upper <= margin
    verdict = Verdict.HOLDS if close else Verdict.UNDECIDED
    verdict = verdict if lower <= 0 <= upper else Verdict.VIOLATED
    larger, estimate = int((difference > 0).sum()), float(np.nanmean(difference))
    return Found(counted, larger, estimate, lower, upper, 0.0, margin, verdict)


def _row(claim: EngineClaim, side: str, key: Key, activation: str, found: Found) -> Row:
    name, width, depth = key
    return Row(
        claim=claim.value,
        activation=activation,
        width=width,
        depth=depth,
        epsilon=found.epsilon,
        side=side,
        trials=found.trials,
        exceedances=found.exceedances,
        estimate=found.estimate,
        lower=found.lower,
        upper=found.upper,
        bound_kind=ENGINE.name,
        bound=found.bound,
        prediction=found.bound,
        verdict=found.verdict,
        method=_METHODS[name],
    )


def _departure(row: Row, layer: int | None) -> str:
    """Where a law is missed, in words."""
    title = CLAIMS[row.claim].title
    detail = "" if row.side == "either" else f" ({row.side})"
    where = "" if layer is None else f", first in layer {layer} of {row.depth}"
    seen = f"{row.exceedances:,} of {row.trials:,}" if row.bound != 0 or layer else f"mean {row.estimate:.3g}"
    return f"{title}{detail}: {row.method}, width {row.width}, depth {row.depth}{where}, {seen}."
