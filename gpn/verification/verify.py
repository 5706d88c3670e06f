"""The main job: does the theorem hold at my width, depth and activation?

The flow is `Settings` -> questions -> plan -> jobs -> `run_plan` -> rows -> report.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from gpn.engine.arguments import vocabulary
from gpn.engine.shape import Numbers
from gpn.experiment import store as run_store
from gpn.experiment.runs import Progress
from gpn.statistics.limits import row_alpha
from gpn.verification import questions
from gpn.verification.engine import rows as engine
from gpn.verification.evaluation import evaluate
from gpn.verification.plan import Job, Plan, in_reach
from gpn.verification.questions import Question
from gpn.verification.resources import Resources
from gpn.verification.results import NEEDED, VerificationReport
from gpn.verification.rounds import Runner, run_plan
from gpn.verification.settings import DEFAULT_DEPTHS, MATRIX_FREE, Settings, identity, remembered
from theory.activations.specification import Phi
from theory.activations.specification import activation as read_activation
from theory.bounds.homogeneous import homogeneous_slopes
from theory.bounds.network import COVERED, deep_width
from theory.errors import UsageError
from theory.normalization.normalize import normalization
from theory.numerics.threads import one_blas_thread

Item = TypeVar("Item")
_WORTH_A_SEARCH = 5e6  # neurons times layers times trials of a run that may wait some seconds for the width it needs


@vocabulary()
def verify(
    activation: object = "tanh",
    widths: Sequence[int] | int | None = None,
    depth: Sequence[int] | int = DEFAULT_DEPTHS,
    epsilons: Sequence[float] | float | None = None,
    trials: int | None = None,
    *,
    derivative: object = None,
    level: float = 0.99,
    seed: int = 0,
    weights: str = "haar",
    root: str | None = "auto",
    inputs: Any = None,
    labels: Any = None,
    until: str | None = None,
    cap: int | None = None,
    claims: Sequence[str] | str | None = None,
    method: str = MATRIX_FREE,
    layers: Sequence[int] | None = None,
    gain: Numbers = 1.0,
    bias: Numbers = 0.0,
    residual: float | None = None,
    linear_output: bool = False,
    executor: Executor | str | None = None,
    workers: int | None = None,
    memory: int | str | None = None,
    progress: Progress | None = None,
    store: str | os.PathLike[str] | None = None,
    replace_finished: bool = False,
) -> VerificationReport:
    r"""Test whether gradients concentrate in a deep orthogonal network; the activation is normalized first (`root`).

    The test is by Monte Carlo, with Haar orthogonal weights. It covers the one-step inequalities

    $$P(|\,|\phi(h)|^2/n - 1| \ge \epsilon), \quad P(|\,|D u|^2 - 1| \ge \epsilon), \quad D = \mathrm{diag}\,\phi'(h),$$

    side by side with their bounds, and over the whole depth the event
    $\max_l |\log(\|\partial E/\partial W_l\|_F^2/\|\partial E/\partial W_L\|_F^2)| \ge \epsilon$
    (Lu, Gould, Ajanthan 2020, Theorems 1-3; bounds by concentration on the sphere, Ledoux 2001).

    Args:
        activation: a name, formula, SymPy expression, callable or "module:function", as for `gpn.activation`; it is
            normalized first, see `root`.
        widths: n, one or several, each at least 2; by default 64, 256 and 1024, or as many from the number of
            features of the inputs upwards, and for each depth a width at which the deep bound says something.
        depth: L, one or several, each at least 1.
        epsilons: tolerances, positive; by default 0.1 and 0.2 for one layer, 0.5 and 1 for the whole network (a
            factor 1.65 and 2.72 either way).
        trials: networks for each row; by default enough to decide it, from 10,000 to 100,000 single layers and from
            1,000 to 20,000 deep networks.
        derivative: the derivative of a function, as for `gpn.check`.
        level: the simultaneous confidence level of all rows together.
        seed: non-negative integer; results are the same bits for any number of workers.
        weights: "haar"; "gaussian" ("glorot" is the same in square layers), with theorems of its own; or "he", for
            which only the rows about one layer rest on theorems: the deep bound is that of Haar weights.
        root: "auto", "plus", "minus" or "stable" (see `gpn.normalize`); None leaves the activation as it is.
        inputs: "digits", a path to .npy or .npz, a folder as for `gpn.train`, or an array (samples, features); None for
            the thin shell itself. More features than the width are projected.
        labels: class labels of the inputs, a path or array; the gradients are then those of softmax cross-entropy.
        until: "decided" to run in rounds and stop each row once it is decided; its limits hold at every number of
            trials at once, see `gpn.statistics.sequential`. None for numbers that are fixed in advance.
        cap: with until="decided", the largest number of trials of each row; by default four times as many as could
            be planned.
        method: "matrix-free", or "dense" to draw every weight matrix: the same law, at the cube of the width for each
            layer; by default of widths 16 and 64.
        claims: the questions: "network", "one-layer", "engine", ids of counted claims, or several; by default all.
        layers: n_0, ..., n_L instead of widths and depth, if the widths differ; the network is then shown under
            its widest layer.
        gain, bias: of each layer, or one for all, as for `gpn.simulate`. With layers, gain, bias or residual the event
            is about |dE/dW_l|_F^2/n_{l-1}, and only the fluctuation law covers it: the theorems are those of square
            layers, but for the deep bound of Gaussian weights, which covers chains of unequal widths.
        residual: alpha of branches x + alpha phi(h), of which no law speaks.
        linear_output: whether the last layer has no activation, x_L = h_L, as logits have none.
        executor: "threads" or "processes", a pool of `workers` (by default one for each core, and processes
            if the run is long), or any `concurrent.futures.Executor`.
        memory: the memory that the program may take, all workers together: bytes, or a text such as "4GiB"; None for
            half of what is free. Layers of a network that do not fit are drawn twice, which changes no bit.
        progress: called with (done, total, words) as chunks finish; before, while bounds are searched, the total is 0.
        store: a folder; finished chunks are kept there in `run.sqlite`, and read from there if the same run was
            stopped before. See `resume`.
        replace_finished: whether a finished run of another configuration or version may be deleted from `store`,
            after all arguments have been checked; an unfinished one is always refused.

    Raises:
        UsageError: an argument outside its range, or an activation that cannot be normalized.

    >>> report = verify("relu", widths=64, depth=3, epsilons=1.5, trials=200)
    >>> report.rows[0].claim, report.rows[0].bound_kind, str(report.verdict)
    ('forward-one-step', 'levy', 'undecided')
    """
    settings = Settings.read(
        activation,
        widths,
        depth,
        epsilons,
        trials,
        derivative=derivative,
        level=level,
        seed=seed,
        weights=weights,
        root=root,
        inputs=inputs,
        labels=labels,
        until=until,
        cap=cap,
        claims=claims,
        method=method,
        layers=layers,
        gain=gain,
        bias=bias,
        residual=residual,
        linear_output=linear_output,
    )
    return run_verification(settings, Resources.read(executor, workers, memory, progress, store, replace_finished))


def resume(
    folder: str | os.PathLike[str],
    *,
    trust: bool = False,
    executor: Executor | str | None = None,
    workers: int | None = None,
    memory: int | str | None = None,
    progress: Progress | None = None,
) -> VerificationReport:
    """Resume a verification that was stopped, and return the report that it would have returned, bit for bit.

    Args:
        folder: the `store` of that run, or the folder --out of the command.
        trust: whether the module of a function that the run is about may be imported: the folder names it.
        executor, workers, memory, progress: as for `verify`; they may differ from those of the first run.

    Raises:
        UsageError: no run in the folder, one of other versions or inputs, or one that only Python can resume.
    """
    settings = remembered(folder, None if trust else ())
    return run_verification(settings, Resources.read(executor, workers, memory, progress, folder))


@one_blas_thread
def run_verification(settings: Settings, resources: Resources) -> VerificationReport:
    """Plan a verification, run it, and return its report.

    Args:
        settings: what decides its numbers.
        resources: what it may use.

    Raises:
        UsageError: networks that do not fit into the memory, an activation that cannot be normalized, claims
            without an event, or a run store that belongs to another run.
    """
    resources = resources.suited(settings)
    resources.budget.check(settings)  # refuses what is impossible before any theory is computed
    raw = read_activation(settings.activation, derivative=settings.derivative)
    tested, scale, shift = _prepare(raw, settings.root)
    told = partial(_told, resources.progress)
    cells = told("searching widths for the deep bound", questions.theorem_cells(settings, tested))
    settings = replace(settings, theorem=tuple(cells))
    asked = [
        *told("the laws of single layers", questions.one_step_questions(settings, tested)),
        *questions.lemma_questions(settings, tested),
        *told("searching the deep bounds", questions.deep_questions(settings, tested)),
    ]
    engine_jobs = list(engine.jobs(settings, tested))
    rows = len(asked) + (engine.MOST_ROWS if engine_jobs else 0)
    if not rows:
        raise UsageError(
            f"the claims that were asked for have no event that can be counted at these widths and tolerances, with "
            f"{settings.weights} weights; name others, such as --claims network,one-layer"
        )
    alpha = row_alpha(settings.level, rows) / 2  # of each of the two limits of a row
    left_out: list[Question] = []
    if settings.default_epsilons:  # a question that the user did not name is left out where it has no answer
        asked, left_out = in_reach(settings, asked, alpha)
    plan = Plan.make(settings, asked, tested, alpha)
    planned = [*plan.jobs(tested, raw if settings.root else None), *engine_jobs]
    jobs = resources.budget.fit(planned, settings.until is not None)
    config = settings.configuration(raw, scale, shift)
    opened = (
        nullcontext()
        if resources.store is None
        else run_store.open_store(
            resources.store, identity(settings, config), replace_finished=resources.replace_finished
        )
    )
    with opened as store:
        runner = Runner(settings.seed, resources.executor, resources.workers, store, resources.progress)
        outcome = run_plan(plan, jobs, runner)
    tests = engine.engine_rows(engine_jobs, outcome.outcomes, tested.name, alpha)
    report = evaluate(plan, left_out, outcome, tested, config)
    departures = tuple(sentence for _, sentence in tests if sentence)
    needs = _needs(report, tested, jobs, resources.progress)
    return replace(report, engine=tuple(row for row, _ in tests), departures=departures, needs=needs)


def _told(progress: Progress | None, words: str, items: Iterable[Item]) -> Iterator[Item]:
    """The items, with a word of progress before the first of them is computed and after each."""
    report = partial(progress or (lambda *_: None), 0, 0, words)
    report()
    for item in items:
        report()
        yield item


def _needs(
    report: VerificationReport, tested: Phi, jobs: Sequence[Job], progress: Progress | None
) -> tuple[int, float, int] | None:
    """Where the chosen widths are too small for the theorem, the width that it needs, by the search of `gpn width`.

    Only the theorem of homogeneous activations is searched so fast that a small run need not wait.
    """
    config, place = report.config, report.silent_at
    if (
        place is None
        or config.shape_words
        or config.default_widths
        or config.weights not in COVERED
        or config.readout != "random"
    ):
        return None
    depth, epsilon, _ = place
    if any(row.depth == depth and row.bound_kind.startswith("none (deep:") for row in report.rows):
        return None  # no width is enough
    cost = sum(job.cell.cost * job.cell.trials for job in jobs if job.key[0] == "deep")
    if cost < _WORTH_A_SEARCH and homogeneous_slopes(tested) is None:
        return None
    if progress is not None:
        progress(0, 0, "searching the width that the theorem needs")
    width, _ = deep_width(tested, depth, epsilon, NEEDED, config.weights)
    return None if width is None else (depth, epsilon, width)


def _prepare(raw: Phi, root: str | None) -> tuple[Phi, float, float]:
    """The activation to test, with the scale and shift that make it so."""
    if root is None:
        return raw, 1.0, 0.0
    constants = normalization(raw, root)
    return raw.affine(constants.a, constants.b, f"GPN {raw.name}"), constants.a, constants.b
