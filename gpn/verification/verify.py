"""The main job: does the theorem hold at my width, depth and activation?"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from gpn.experiment import runs as experiment
from gpn.experiment import store as run_store
from gpn.experiment.versions import versions
from gpn.sampling import inputs as data
from gpn.statistics import limits as statistics
from gpn.verification import identity as resuming
from gpn.verification import questions, rounds
from gpn.verification.footprint import Budget
from gpn.verification.plan import Outcomes, Plan, in_reach
from gpn.verification.questions import Question
from gpn.verification.request import DEFAULT_DEPTHS, DEFAULT_WIDTHS, MOST_TRIALS, Request
from gpn.verification.results import Configuration, DepthSpread, Profile, Row, VerificationReport
from gpn.verification.rows import answer
from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.activations.specification import activation as read_activation
from theory.bounds import network as network_law
from theory.depth import length_map as propagation
from theory.errors import UsageError
from theory.normalization import conditions as poincare
from theory.normalization import normalize as normalize_module

FloatArray = npt.NDArray[np.float64]
Phi = Activation | CallableActivation
PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)


def verify(
    activation: Any = "tanh",
    widths: Sequence[int] | int | None = None,
    depth: Sequence[int] | int = DEFAULT_DEPTHS,
    epsilons: Sequence[float] | float | None = None,
    trials: int | None = None,
    *,
    derivative: Any = None,
    level: float = 0.99,
    seed: int = 0,
    weights: str = "haar",
    root: str | None = "auto",
    inputs: Any = None,
    labels: Any = None,
    until: str | None = None,
    cap: int | None = None,
    executor: Executor | str | None = None,
    workers: int | None = None,
    memory: int | str | None = None,
    progress: Callable[[float, float], None] | None = None,
    store: str | os.PathLike[str] | None = None,
    replace_finished: bool = False,
) -> VerificationReport:
    r"""Test by Monte Carlo whether gradients concentrate in a deep network with Haar orthogonal weights.

    Tested are the one-step inequalities

    $$P(|\,|\phi(h)|^2/n - 1| \ge \epsilon), \quad P(|\,|D u|^2 - 1| \ge \epsilon), \quad D = \mathrm{diag}\,\phi'(h),$$

    side by side with their bounds, and over the whole depth the event
    $\max_l |\log(\|\partial E/\partial W_l\|_F^2/\|\partial E/\partial W_L\|_F^2)| \ge \epsilon$
    (Lu, Gould, Ajanthan 2020, Theorems 1-3; bounds by concentration on the sphere, Ledoux 2001).

    Args:
        activation: a name, formula, SymPy expression, callable or "module:function", as for `gpn.activation`; it is
            normalized first, see `root`.
        widths: n, one or several, each at least 2; by default 64, 256 and 1024, or as many from the number of
            features of the inputs upwards.
        depth: L, one or several, each at least 1.
        epsilons: tolerances, positive; by default 0.1 and 0.2 for one layer, 0.5 and 1 for the whole network (a
            factor 1.65 and 2.72 either way).
        trials: networks for each row; by default as many as decide it, from 10,000 to 100,000 single layers and from
            1,000 to 20,000 deep networks.
        derivative: of a function, as for `gpn.check`.
        level: simultaneous confidence level of all rows together.
        seed: non-negative integer; results are the same bits for any number of workers.
        weights: "haar", or "gaussian", "he", "glorot" as controls outside the theorem.
        root: "auto", "plus", "minus" or "stable" (see `gpn.normalize`); None leaves the activation as it is.
        inputs: "digits", a path to .npy or .npz, or an array (samples, features); None for the thin shell itself.
        labels: class labels of the inputs, a path or array; the gradients are then those of softmax cross-entropy.
        until: "decided" to go on in rounds and stop each row once it is decided; its limits hold at every number of
            trials at once, see `gpn.statistics.sequential`. None for numbers that are fixed beforehand.
        cap: with until="decided" the most trials of each row; by default four times as many as could be planned.
        executor: "threads" or "processes", a pool of `workers` (by default threads, one for each core), or any
            `concurrent.futures.Executor`.
        memory: what the program may take, all workers together: bytes, or a text such as "4GiB"; None for half of
            what is free. Layers of a network that do not fit are drawn twice, which changes no bit.
        progress: called with (done, total) cost as chunks finish.
        store: a folder; finished chunks are kept there in `run.sqlite`, and taken from there if the same run was
            stopped before. See `resume`.
        replace_finished: whether a finished run of another configuration or version may be deleted from `store`,
            once all arguments are found right; an unfinished one is always refused.

    Raises:
        UsageError: an argument outside its range, or an activation that cannot be normalized.

    >>> report = verify("relu", widths=64, depth=3, epsilons=1.5, trials=200)
    >>> report.rows[0].claim, report.rows[0].bound_kind, str(report.verdict)
    ('forward-one-step', 'levy', 'undecided')
    """
    if labels is not None and inputs is None:
        raise UsageError("labels belong to inputs: give inputs as well, such as inputs='images.npy'")
    seed, workers = experiment.checked_run(seed, workers)  # refuses what is impossible before the work begins
    loaded = None if inputs is None else data.load_inputs(inputs, labels)
    request = Request.read(
        _default_widths(loaded) if widths is None else widths, depth, epsilons, trials, level, weights, until, cap
    )
    budget = Budget.read(memory, workers, executor)
    budget.check(request)
    raw = read_activation(activation, derivative=derivative)
    tested, scale, shift = _prepare(raw, root)
    asked = [*questions.one_step_questions(request, tested), *questions.deep_questions(request, tested, loaded)]
    alpha = statistics.row_alpha(request.level, len(asked)) / 2  # of each of the two limits of a row
    left_out: list[Question] = []
    if epsilons is None:  # what was not asked for by name need not be asked in vain
        asked, left_out = in_reach(request, asked, alpha)
    plan = Plan.make(request, asked, tested, alpha)
    jobs = budget.fit(plan.jobs(tested, raw if root else None, loaded), request.until is not None)
    config = _configuration(request, raw, root, (scale, shift), seed, loaded)
    call = {"activation": activation, "derivative": derivative, "epsilons": epsilons, "level": level, "root": root}
    call |= {"weights": weights, "inputs": inputs, "labels": labels, "until": until, "cap": cap}
    identity = resuming.identity(config, loaded, call)
    where = nullcontext() if store is None else run_store.opened(store, identity, replace_finished=replace_finished)
    with where as kept:
        run = partial(_run, seed=seed, executor=executor, workers=workers, store=kept)
        found = rounds.run_plan(plan, jobs, asked, alpha, run, progress)

    def row(question: Question) -> Row:
        return answer(question, *found.evidence_of(question), tested.name, alpha)

    contradicted = [q for q in left_out if row(q).verdict is statistics.Verdict.VIOLATED]
    asked = [*asked, *contradicted]
    rows = tuple(map(row, asked))
    config = replace(config, spec=_typed(activation), derivative=_typed(derivative), labels=_source(labels))
    skipped = [question for question in left_out if question not in contradicted]
    stopping = rounds.notes(plan, asked, found, alpha) if request.until else _undecided(asked, rows, alpha)
    notes = (*_hypotheses(tested), *_notes(request, loaded), *_left_out(skipped), *stopping)
    spreads = tuple(_spreads(request, found.outcomes))
    profiles = tuple(_profiles(request, tested, config, found.outcomes))
    return VerificationReport(config, rows, profiles, spreads, notes, versions())


def resume(
    folder: str | os.PathLike[str],
    *,
    executor: Executor | str | None = None,
    workers: int | None = None,
    memory: int | str | None = None,
    progress: Callable[[float, float], None] | None = None,
) -> VerificationReport:
    """Go on with a verification that was stopped, and return the report that it would have returned, bit for bit.

    Args:
        folder: the `store` of that run, or the folder --out of the command.
        executor, workers, memory, progress: as for `verify`; they need not be those of before.

    Raises:
        UsageError: no run in the folder, one of other versions or inputs, or one that only Python can go on with.
    """
    call = resuming.recall(folder)
    return verify(**call, store=folder, executor=executor, workers=workers, memory=memory, progress=progress)


def _run(
    cells: Sequence[experiment.Cell],
    progress: experiment.Progress | None,
    *,
    seed: int,
    executor: Executor | str | None,
    workers: int,
    store: experiment.Store | None,
) -> list[experiment.Arrays]:
    return experiment.run(cells, seed, executor=executor, workers=workers, progress=progress, store=store)


def _default_widths(loaded: data.Inputs | None) -> tuple[int, ...]:
    features = 0 if loaded is None else loaded.vectors.shape[1]
    return DEFAULT_WIDTHS if features <= DEFAULT_WIDTHS[0] else (features, 2 * features, 4 * features)


def _prepare(raw: Phi, root: str | None) -> tuple[Phi, float, float]:
    """The activation to test, with the scale and shift that make it so."""
    if root is None:
        return raw, 1.0, 0.0
    normalization = normalize_module.normalization(raw, root)
    label = f"GPN {raw.name}"
    return raw.affine(normalization.a, normalization.b, label), normalization.a, normalization.b


def _configuration(
    request: Request, raw: Phi, root: str | None, constants: tuple[float, float], seed: int, loaded: data.Inputs | None
) -> Configuration:
    readout = "random"
    if loaded is not None and loaded.labels is not None:
        readout = f"loss, {loaded.classes} classes"
    return Configuration(
        activation=raw.name,
        expression=str(raw.expression) if isinstance(raw, Activation) else None,
        root=root,
        scale=constants[0],
        shift=constants[1],
        widths=request.widths,
        depths=request.depths,
        epsilons=request.epsilons,
        deep_epsilons=request.deep_epsilons,
        trials=request.trials,
        seed=seed,
        level=request.level,
        weights=request.weights,
        inputs=None if loaded is None else loaded.name,
        readout=readout,
        until=request.until,
        cap=request.cap,
    )


def _typed(value: Any) -> str | None:
    """What can be typed again on a command line."""
    return os.fspath(value) if isinstance(value, str | os.PathLike) else None


def _source(labels: Any) -> str | None:
    """Where labels are from: a path, "array", or None for none of their own."""
    return None if labels is None else _typed(labels) or "array"


def _spreads(request: Request, outcomes: Outcomes) -> Iterator[DepthSpread]:
    for width in request.widths:
        for depth in request.depths:
            values = outcomes["deep", width, depth]["spread"]
            median, high = np.quantile(values, [0.5, 0.95], method="higher")
            yield DepthSpread(width, depth, len(values), float(median), float(high))


def _profiles(request: Request, activation: Phi, config: Configuration, outcomes: Outcomes) -> Iterator[Profile]:
    """Gradient norm by layer at the largest width and depth: the claim, then the controls."""
    width, depth = request.widths[-1], request.depths[-1]
    tested = f"GPN {config.activation}" if config.root else config.activation
    labels = {
        "deep": ("claim", f"{tested}, {request.weights.capitalize()} weights"),
        "raw": ("control", f"{config.activation} as it is, {request.weights.capitalize()} weights"),
        "gaussian": ("control", f"{tested}, Gaussian weights"),
    }
    for kind, (role, label) in labels.items():
        if (kind, width, depth) in outcomes:
            log_gradients = outcomes[kind, width, depth]["log_gradients"]
            with np.errstate(over="ignore", invalid="ignore"):
                norms = np.exp(np.quantile(log_gradients, PROBABILITIES, axis=0, method="nearest").T)
            # a loss has no gradient of fixed length at the top, and only the claim has the weights of the law
            applies = kind == "deep" and request.weights == "haar" and config.readout == "random"
            band = network_law.predicted_norms(activation, width, depth, PROBABILITIES) if applies else None
            yield Profile(label, role, width, depth, len(log_gradients), PROBABILITIES, norms, band)


def _hypotheses(tested: Phi) -> Iterator[str]:
    """Where the activation lies outside the theorem, or where the theorem is not enough."""
    conditions = poincare.gaussian_poincare(tested, 15)
    if conditions.is_gpn == "fails":
        square, slope = (
            "infinite or undefined" if moment is None else f"{float(moment):.6g}"
            for moment in (conditions.second_moment, conditions.slope_second_moment)
        )
        yield (
            f"{tested.name} is not GPN (E phi^2 = {square}, E phi'^2 = {slope}): it lies outside the theorem, and the "
            "rows ask whether its conclusion holds all the same."
        )
    elif conditions.is_gpn == "holds" and (chi := propagation.length_map_slope(tested).value) > 1 + 1e-9:
        yield (
            f"{tested.name} is GPN but unstable in depth (chi = {chi:.6g} > 1): the squared length leaves 1 layer by "
            "layer, whatever the width. The other root may be stable."
        )


def _notes(request: Request, loaded: data.Inputs | None) -> Iterator[str]:
    """What a reader must know beside the table."""
    if request.weights != "haar":
        yield (
            f"The bounds are those of Haar orthogonal weights; {request.weights} weights lie outside the theorem, so "
            "the rows ask whether its conclusion holds all the same."
        )
    if loaded is not None:
        yield from loaded.notes
        yield data.to_thin_shell(loaded.vectors, request.widths[0])[1].text
        yield (
            "Random weights treat every direction alike, so the law of the norms depends on an input only through its "
            "length, which the scaling makes equal, and on a label not at all: these rows agree in law with those of "
            "any other data of as many classes."
        )


def _undecided(asked: Sequence[Question], rows: tuple[Row, ...], alpha: float) -> Iterator[str]:
    """How many trials would decide what is still undecided."""
    pairs = zip(asked, rows, strict=True)
    undecided = statistics.Verdict.UNDECIDED
    open_ones = [q for q, row in pairs if row.verdict is undecided and not q.kind.is_prediction]
    if not open_ones:
        return
    wanted = [question.trials_wanted(alpha) or statistics.MAX_TRIALS for question in open_ones]
    reachable = [number for number in wanted if number <= MOST_TRIALS]
    text = f"{len(open_ones)} rows are undecided."
    if reachable:
        numbers = f"{min(reachable):,}" if len(set(reachable)) == 1 else f"{min(reachable):,} to {max(reachable):,}"
        text += f" Trials that would decide {len(reachable)} of them, if theory is right: {numbers}."
    if len(reachable) < len(wanted):
        text += f" {len(wanted) - len(reachable)} are out of reach."
    yield text


def _left_out(left_out: Sequence[Question]) -> Iterator[str]:
    """The deep bounds that no affordable number of networks could confirm."""
    if left_out:
        cases = "; ".join(
            f"{question.value:.2g} (width {question.event.width}, depth {question.event.depth}, "
            f"epsilon {question.event.epsilon:g})"
            for question in left_out
        )
        yield f"Deep bounds too small to be confirmed by counting networks, so not tested: {cases}."
