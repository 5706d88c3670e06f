"""How the outcome of a run becomes a report: its rows, quantiles and notes."""

from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np

from gpn.data.inputs import to_thin_shell
from gpn.engine.weights import is_orthogonal, mean_length_factor
from gpn.experiment.versions import versions
from gpn.statistics.evidence import Weighted
from gpn.statistics.limits import MAX_TRIALS, Verdict
from gpn.verification.plan import Outcomes, Plan
from gpn.verification.questions import Question, bounds_chain, law_of_shape, of_layers, share
from gpn.verification.results import Configuration, DepthSpread, Profile, Row, VerificationReport
from gpn.verification.rounds import RunOutcome, waits
from gpn.verification.settings import MOST_TRIALS, Settings
from theory.activations.specification import Phi
from theory.bounds.homogeneous import homogeneous_slopes
from theory.bounds.network import COVERED, predicted_norms
from theory.claims.counted import ONE_LAYER
from theory.depth.coefficients import NoPrediction
from theory.depth.length_map import length_map_slope, mean_field_path
from theory.initialization.path import Layer, network_path
from theory.normalization.conditions import gaussian_poincare
from theory.normalization.lipschitz import missing_hypotheses
from theory.numerics.arithmetic import FloatArray

_COVERING = dict(zip(ONE_LAYER, ("cramer-forward", "cramer-backward-random", "cramer-backward-fixed"), strict=True))
"""Claim of one layer -> the bound that asks for no Lipschitz constant, for Haar weights."""

PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)


def evaluate(
    plan: Plan, left_out: Sequence[Question], outcome: RunOutcome, tested: Phi, config: Configuration
) -> VerificationReport:
    """Return the report of a run.

    A deep bound that was left out of the plan gets a row if the networks that were counted anyway contradict it.

    Args:
        plan: of the run.
        left_out: questions about deep bounds that are too small to be confirmed by counting.
        outcome: of the run.
        tested: phi.
        config: the settings, as the report shows them.
    """
    settings = plan.settings
    contradicted = [q for q in left_out if _row(q, outcome, tested.name, plan.alpha).verdict is Verdict.VIOLATED]
    asked = [*plan.asked, *contradicted]
    rows = tuple(_row(question, outcome, tested.name, plan.alpha) for question in asked)
    skipped = [question for question in left_out if question not in contradicted]
    stopping = _stopping(plan, asked, outcome) if settings.until else _undecided(asked, rows, plan.alpha)
    notes = (
        *_hypotheses(tested),
        *(() if settings.is_shaped else _outside_the_paper(settings, tested)),
        *_notes(settings),
        *_lost(rows, outcome.outcomes),
        *_left_out(skipped),
        *stopping,
    )
    profiles = tuple(_profiles(settings, tested, config, outcome.outcomes))
    spreads = tuple(_spreads(settings, outcome.outcomes))
    return VerificationReport(
        config, rows, profiles, spreads, notes, versions(), plan.alpha, log_lengths=_log_lengths(settings, tested)
    )


def _row(question: Question, outcome: RunOutcome, activation: str, alpha: float) -> Row:
    """The row of a question: its evidence, with limits of error alpha each and the verdict."""
    counted, weighted = outcome.evidence_of(question)
    lower, upper = counted.limits(share(alpha, weighted))
    name = question.kind.name
    margin_lower, margin_upper = question.margin or (None, None)
    return Row(
        claim=question.event.claim.value,
        activation=activation,
        width=question.event.width,
        depth=question.event.depth,
        epsilon=question.event.epsilon,
        side=question.event.side,
        trials=counted.trials,
        exceedances=counted.exceedances,
        estimate=counted.estimate,
        lower=lower,
        upper=upper,
        bound_kind=name if question.value is not None else f"none ({name}: {question.bound.reason})",
        bound=question.value,
        prediction=question.prediction,
        verdict=question.decide(counted, weighted, alpha).verdict,
        method=counted.method if weighted is None else weighted.method,
        equal=question.equal,
        margin_lower=margin_lower,
        margin_upper=margin_upper,
        unknown=counted.unknown,
        **({} if weighted is None else _weighted_columns(weighted, alpha)),
    )


def _weighted_columns(weighted: Weighted, alpha: float) -> dict[str, Any]:
    lower, upper = weighted.limits(share(alpha, weighted))
    return {
        "draws": weighted.draws,
        "effective_draws": weighted.effective_draws,
        "weighted_estimate": weighted.estimate,
        "weighted_lower": lower,
        "weighted_upper": upper,
    }


def _spreads(settings: Settings, outcomes: Outcomes) -> Iterator[DepthSpread]:
    for width, depth in product(settings.widths, settings.depths) if settings.asks_network else ():
        values = np.nan_to_num(outcomes["deep", width, depth]["spread"], nan=np.inf)
        median, high = np.quantile(values, [0.5, 0.95], method="higher")
        yield DepthSpread(width, depth, len(values), float(median), float(high))


def _profiles(settings: Settings, activation: Phi, config: Configuration, outcomes: Outcomes) -> Iterator[Profile]:
    """Gradient norm by layer at the largest width and depth: the claim, then the controls."""
    width, depth = settings.widths[-1], settings.depths[-1]
    tested = f"GPN {config.activation}" if config.root else config.activation
    labels = {
        "deep": ("claim", f"{tested}, {settings.weights.capitalize()} weights"),
        "raw": ("control", f"{config.activation} as it is, {settings.weights.capitalize()} weights"),
        "gaussian": ("control", f"{tested}, Gaussian weights"),
    }
    for kind, (role, label) in labels.items():
        if (kind, width, depth) in outcomes:
            log_gradients = outcomes[kind, width, depth]["log_gradients"]
            with np.errstate(over="ignore", invalid="ignore"):
                norms = np.exp(np.quantile(log_gradients, PROBABILITIES, axis=0, method="nearest").T)
            # a loss has no gradient of fixed length at the top, and only the claim has the weights of the law
            applies = kind == "deep" and settings.weights in COVERED and config.readout == "random"
            band = _shaped_band(settings, activation) if settings.is_shaped else None
            if applies and not settings.is_shaped:
                band = predicted_norms(activation, width, depth, PROBABILITIES, settings.weights)
            yield Profile(label, role, width, depth, len(log_gradients), PROBABILITIES, norms, band)


def _shaped_band(settings: Settings, activation: Phi) -> FloatArray | None:
    law = law_of_shape(settings, activation, settings.widths[-1], settings.depths[-1])
    return None if isinstance(law, NoPrediction) else np.exp(law.bands(PROBABILITIES))


_LEAST_LENGTH = 1e-190
"""Below it the length map stands still, as if the length were 1e-200: it counts as 0."""


def _log_lengths(settings: Settings, tested: Phi) -> tuple[float, ...]:
    """Logarithms of the squared lengths of infinite width, where they leave 1 by more than a factor 100; else empty.

    A normalized activation keeps them, and branches carry them on.
    """
    width, depth = settings.widths[-1], settings.depths[-1]
    shape = settings.shape(width, depth)
    if (shape is None and settings.root is not None) or settings.residual is not None:
        return ()
    if shape is None:
        lengths = mean_field_path(tested, depth).squared_lengths
    else:
        sizes, phis = pairwise(shape.widths), of_layers(settings, tested, depth)
        scales = [mean_length_factor(settings.weights, rows, columns) ** 0.5 for columns, rows in sizes]
        gains = [gain * scale for gain, scale in zip(shape.gains, scales, strict=True)]
        lengths = network_path(list(map(Layer, phis, gains, shape.biases))).squared_lengths
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(lengths < _LEAST_LENGTH, 0.0, lengths))
    return tuple(logs.tolist()) if np.abs(logs).max() > np.log(100.0) else ()


def _hypotheses(tested: Phi) -> Iterator[str]:
    """Where the activation lies outside the theorem, or where the theorem is not enough."""
    conditions = gaussian_poincare(tested, 15)
    if conditions.is_gpn == "fails":
        square, slope = (
            "no known value" if moment is None else f"{moment:.6g}"
            for moment in (conditions.second_moment, conditions.slope_second_moment)
        )
        yield (
            f"{tested.name} is not GPN (E phi^2 = {square}, E phi'^2 = {slope}): it lies outside the theorem, and the "
            "rows ask whether its conclusion holds all the same."
        )
    elif conditions.is_gpn == "holds" and (chi := length_map_slope(tested).value) > 1 + 1e-9:
        yield (
            f"{tested.name} is GPN but unstable in depth (chi = {chi:.6g} > 1): the squared length leaves 1 layer by "
            "layer, whatever the width. The other root may be stable."
        )


def _outside_the_paper(settings: Settings, tested: Phi) -> Iterator[str]:
    """Which hypotheses of the paper's own theorems the activation misses, and which claims cover it all the same."""
    covering = [name for claim, name in _COVERING.items() if claim in settings.claims]
    if covering and not is_orthogonal(settings.weights):
        covering = ["chernoff"]
    if settings.asks_network:
        slopes = homogeneous_slopes(tested) is not None
        smooth = "gaussian-deep-bound" if settings.weights == "gaussian" else "deep-bound"
        covering.append("relu-deep-bound" if slopes else f"{smooth}, where its certificate is found")
    missing = missing_hypotheses(tested) if set(settings.claims) - {"engine"} else ()
    if not missing:
        return
    resting = ""
    if covering:
        *others, last = covering
        names = f"{', '.join(others)}{' and ' if others else ''}{last}"
        resting = f" The rows rest on claims that do not ask for it: {names}."
    yield (
        f"{' and '.join(missing)}, so {tested.name} lies outside the paper's theorems on norm preservation.{resting}"
    )


def _notes(settings: Settings) -> Iterator[str]:
    """What a reader must know beside the table."""
    loaded = settings.loaded
    if settings.is_shaped:
        chains = ", but the deep bound for chains of unequal widths" if bounds_chain(settings) else ""
        yield (
            "The bounds on one layer, the deep bound and the exact laws of the engine are proved for square layers of "
            f"gain 1 without biases and branches, and have no rows here{chains}. Gradients are compared for each input "
            "of their layer: |dE/dW_l|_F^2/n_{l-1}."
        )
    elif settings.weights in COVERED[1:]:
        yield (
            "All bounds, exact laws and predictions are those of Gaussian weights: the pre-activations of one layer "
            "are independent normal numbers."
        )
    elif settings.weights != "haar":
        yield (
            f"The bounds and exact laws of one layer are those of {settings.weights} weights: its pre-activations are "
            "independent normal numbers of variance 2. The deep bound is that of Haar orthogonal weights; "
            f"{settings.weights} weights lie outside its theorem, so its rows ask whether the conclusion holds all the "
            "same."
        )
    if loaded is not None:
        yield from loaded.notes
        yield to_thin_shell(loaded.vectors, (settings.layers or settings.widths)[0])[1].text
        yield (
            "Random weights treat every direction alike, so the law of the norms depends on an input only through its "
            "length, which the scaling makes equal, and on a label not at all: these rows agree in law with those of "
            "any other data of as many classes."
        )


def _undecided(asked: Sequence[Question], rows: tuple[Row, ...], alpha: float) -> Iterator[str]:
    """How many trials would decide what is still undecided."""
    pairs = zip(asked, rows, strict=True)
    undecided = Verdict.UNDECIDED
    open_ones = [q for q, row in pairs if row.verdict is undecided and not (q.kind.is_prediction or q.impossible)]
    if not open_ones:
        return
    wanted = [question.trials_wanted(alpha) or MAX_TRIALS for question in open_ones]
    reachable = [number for number in wanted if number <= MOST_TRIALS]
    text = f"{len(open_ones)} rows are undecided."
    if reachable:
        text += f" Trials that would decide {len(reachable)} of them, if theory is right: {_range(reachable)}."
    if len(reachable) < len(wanted):
        text += f" {len(wanted) - len(reachable)} are out of reach."
    yield text


def _lost(rows: Sequence[Row], outcomes: Outcomes) -> Iterator[str]:
    """The networks and layers of which float64 cannot tell whether the event happened."""
    for width, depth in sorted({(row.width, row.depth) for row in rows if row.group == "network" and row.unknown}):
        layers = outcomes["deep", width, depth]["lost in"]
        first = layers[layers > 0]
        where = f", the first of them in layer {first.min():.0f}" if first.size else ""
        yield (
            f"Out of reach of float64: at width {width} and depth {depth} signals or gradients over- or underflow in "
            f"{np.isnan(outcomes['deep', width, depth]['spread']).sum():,} of {len(layers):,} networks{where}. They "
            "count neither for a bound nor against it."
        )
    if single := [row.unknown for row in rows if row.group != "network" and row.unknown]:
        yield (
            f"In up to {max(single):,} trials of one layer phi gives no number: they count neither for a bound "
            "nor against it."
        )


def _left_out(left_out: Sequence[Question]) -> Iterator[str]:
    """The deep bounds that no affordable number of networks could confirm."""
    if left_out:
        cases = "; ".join(
            f"{question.value:.2g} (width {question.event.width}, depth {question.event.depth}, "
            f"epsilon {question.event.epsilon:g})"
            for question in left_out
        )
        yield f"Deep bounds too small to be confirmed by counting networks, so not tested: {cases}."


def _stopping(plan: Plan, asked: Sequence[Question], outcome: RunOutcome) -> Iterator[str]:
    """How many trials the rows took, and why some are still undecided."""
    verdicts = {q: q.decide(*outcome.evidence_of(q), plan.alpha).verdict for q in asked}
    undecided = [q for q, verdict in verdicts.items() if verdict is Verdict.UNDECIDED]
    waited = [q for q in asked if waits(plan, q)]
    if decided := [q for q in waited if q not in undecided]:
        yield f"Stopped once decided: {_rows(decided)}, after {_trials(decided, outcome)}. Limits hold at every stop."
    if capped := [q for q in waited if q in undecided and q not in outcome.given_up]:
        yield f"Undecided at the cap of {_trials(capped, outcome)}: {_rows(capped)}. A larger cap may decide."
    if hopeless := [q for q in waited if q in undecided and q in outcome.given_up]:
        yield f"Undecided and not waited for: {_rows(hopeless)}, which no outcome within the cap could confirm."
    if unclear := [q for q in undecided if q.event in plan.sampled]:
        yield f"Undecided by importance sampling too: {_rows(unclear)}, of which too few draws count."


def _trials(questions: Sequence[Question], outcome: RunOutcome) -> str:
    return f"{_range([outcome.evidence_of(question)[0].trials for question in questions])} trials"


def _rows(these: Sequence[Question]) -> str:
    """How many of them there are, with predictions counted separately."""
    predictions = sum(question.kind.is_prediction for question in these)
    rows = len(these) - predictions
    words = [
        f"{count} {noun}{'s' * (count != 1)}" for count, noun in ((rows, "row"), (predictions, "prediction")) if count
    ]
    return " and ".join(words)


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
