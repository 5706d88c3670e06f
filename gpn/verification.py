"""The main job: does the theorem hold at my width, depth and activation?"""

import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from gpn import cells, data, experiment, planning, statistics
from gpn._version import __version__
from gpn.adapters import activation as read_activation
from gpn.report import Configuration, DepthSpread, Profile, Row, VerificationReport
from theory import concentration, poincare, propagation
from theory.activation import Activation, CallableActivation
from theory.concentration import Bound
from theory.errors import UsageError

FloatArray = npt.NDArray[np.float64]

DEFAULT_WIDTHS = (64, 256, 1024)
DEFAULT_DEPTHS = (50, 200)
DEFAULT_EPSILONS = (0.1, 0.2)
DEFAULT_DEEP_EPSILONS = (0.5, 1.0)
DEFAULT_ONE_STEP_TRIALS = 100_000
DEFAULT_DEEP_TRIALS = 1_000
CONTROL_TRIALS = 200
PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)
WEIGHTS = ("haar", "gaussian", "he", "glorot")

# Identities of the random streams; a number, once given, keeps its meaning.
ONE_STEP, DEEP, RAW_CONTROL, GAUSSIAN_CONTROL = 1, 2, 3, 4
MOST_TRIALS = 10**12  # of one row; more cannot be run
MAX_EPSILON = 1e6
MAX_NEURONS = 500_000_000  # of one network: 4 GB of pre-activations in each worker
_CHUNK_NEURONS = 8_000_000  # neurons times layers in one chunk of trials: a fraction of a second


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
    executor: Executor | None = None,
    workers: int | None = None,
    progress: Callable[[float, float], None] | None = None,
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
        trials: networks for each row; by default 100,000 single layers and 1,000 deep networks.
        derivative: of a function, as for `gpn.check`.
        level: simultaneous confidence level of all rows together.
        seed: non-negative integer; results are the same bits for any number of workers.
        weights: "haar", or "gaussian", "he", "glorot" as controls outside the theorem.
        root: "auto", "plus", "minus" or "stable" (see `gpn.normalize`); None leaves the activation as it is.
        inputs: "digits", a path to .npy or .npz, or an array (samples, features); None for the thin shell itself.
        labels: class labels of the inputs, a path or array; the gradients are then those of softmax cross-entropy.
        executor: any `concurrent.futures.Executor`; by default a pool of `workers` threads (all cores).
        progress: called with (done, total) cost as chunks finish.

    Raises:
        UsageError: an argument outside its range, or an activation that cannot be normalized.

    >>> report = verify("relu", widths=64, depth=3, epsilons=1.5, trials=200)
    >>> report.rows[0].claim, report.rows[0].bound_kind, str(report.verdict)
    ('forward-one-step', 'levy', 'undecided')
    """
    if labels is not None and inputs is None:
        raise UsageError("labels belong to inputs: give inputs as well, such as inputs='images.npy'")
    loaded = None if inputs is None else data.load_inputs(inputs, labels)
    plan = _Plan.read(_default_widths(loaded) if widths is None else widths, depth, epsilons, trials, level, weights)
    raw = read_activation(activation, derivative=derivative)
    tested, scale, shift = _prepare(raw, root)
    jobs = _jobs(plan, tested, raw if root else None, loaded)
    results = experiment.run([job.cell for job in jobs], seed, executor=executor, workers=workers, progress=progress)
    outcomes = dict(zip([job.key for job in jobs], results, strict=True))
    rows = tuple(_rows(plan, tested, outcomes))
    config = Configuration(
        activation=raw.name,
        expression=str(raw.expression) if isinstance(raw, Activation) else None,
        root=root,
        scale=scale,
        shift=shift,
        widths=plan.widths,
        depths=plan.depths,
        epsilons=plan.epsilons,
        deep_epsilons=plan.deep_epsilons,
        trials=plan.deep_trials,
        one_step_trials=plan.one_step_trials,
        seed=seed,
        level=level,
        weights=weights,
        inputs=None if loaded is None else loaded.name,
        readout="random" if loaded is None or loaded.labels is None else f"loss, {loaded.classes} classes",
    )
    spreads = tuple(_spreads(plan, outcomes))
    notes = (*_hypotheses(tested), *_notes(plan, rows, loaded))
    return VerificationReport(config, rows, tuple(_profiles(plan, config, outcomes)), spreads, notes, versions())


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    packages = {name: version(name) for name in ("numpy", "scipy", "sympy", "mpmath", "python-flint")}
    return {"gpn": __version__, "python": platform.python_version(), **packages}


@dataclass(frozen=True, slots=True)
class _Plan:
    """The validated request."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    epsilons: tuple[float, ...]
    deep_epsilons: tuple[float, ...]
    one_step_trials: int
    deep_trials: int
    level: float
    weights: str

    @classmethod
    def read(
        cls,
        widths: Sequence[int] | int,
        depth: Sequence[int] | int,
        epsilons: Sequence[float] | float | None,
        trials: int | None,
        level: float,
        weights: str,
    ) -> "_Plan":
        if trials is not None and (not isinstance(trials, int | np.integer) or not 1 <= trials <= MOST_TRIALS):
            raise UsageError(
                f"trials must be a whole number of at least 1 and at most {MOST_TRIALS:,}, not {trials!r:.40}; leave "
                "it out for a sensible number"
            )
        statistics.row_alpha(level, 1)  # refuses an impossible level before the work begins
        if weights not in WEIGHTS:
            raise UsageError(f"weights must be one of {', '.join(WEIGHTS)}, not {weights!r}")
        widths = _integers("width", widths, least=2)
        depths = _integers("depth", depth, least=1)
        if widths[-1] * depths[-1] > MAX_NEURONS:
            raise UsageError(
                f"width {widths[-1]} times depth {depths[-1]} is more than the {MAX_NEURONS:,} neurons of one network "
                "that are kept in memory; try a smaller width or depth"
            )
        return cls(
            widths=widths,
            depths=depths,
            epsilons=_tolerances(DEFAULT_EPSILONS if epsilons is None else epsilons),
            deep_epsilons=_tolerances(DEFAULT_DEEP_EPSILONS if epsilons is None else epsilons),
            one_step_trials=trials or DEFAULT_ONE_STEP_TRIALS,
            deep_trials=trials or DEFAULT_DEEP_TRIALS,
            level=level,
            weights=weights,
        )


def _default_widths(loaded: data.Inputs | None) -> tuple[int, ...]:
    features = 0 if loaded is None else loaded.vectors.shape[1]
    return DEFAULT_WIDTHS if features <= DEFAULT_WIDTHS[0] else (features, 2 * features, 4 * features)


def _integers(name: str, values: Sequence[int] | int, least: int) -> tuple[int, ...]:
    numbers = np.atleast_1d(np.asarray(values))
    if numbers.size == 0 or not np.issubdtype(numbers.dtype, np.integer) or numbers.min() < least:
        raise UsageError(f"every {name} must be a whole number, at least {least} and below 2**63, not {values}")
    return tuple(sorted({int(number) for number in numbers}))


def _tolerances(values: Sequence[float] | float) -> tuple[float, ...]:
    numbers = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if numbers.size == 0 or not ((numbers > 0) & (numbers <= MAX_EPSILON)).all():
        raise UsageError(f"every epsilon must be a positive number up to {MAX_EPSILON:g}, not {values}; try 0.2,0.5")
    return tuple(sorted({float(number) for number in numbers}))


def _prepare(
    raw: Activation | CallableActivation, root: str | None
) -> tuple[Activation | CallableActivation, float, float]:
    """The activation to test, with the scale and shift that make it so."""
    if root is None:
        return raw, 1.0, 0.0
    normalization = poincare.normalization(raw, root)
    label = f"GPN {raw.name}"
    return raw.affine(normalization.a, normalization.b, label), normalization.a, normalization.b


@dataclass(frozen=True, slots=True)
class _Job:
    """A cell of the experiment, and the key under which its outcome is looked up."""

    key: tuple[str, int, int]
    cell: experiment.Cell


def _jobs(
    plan: _Plan,
    tested: Activation | CallableActivation,
    control: Activation | CallableActivation | None,
    loaded: data.Inputs | None,
) -> list[_Job]:
    jobs = [
        _job("one-step", ONE_STEP, cells.OneStep(tested, width, plan.weights), width, 1, plan.one_step_trials)
        for width in plan.widths
    ]
    for width in plan.widths:
        inputs = _on_shell(loaded, width)
        for depth in plan.depths:
            drawn = (width, depth) == (plan.widths[-1], plan.depths[-1])
            network = cells.Deep(tested, width, depth, plan.weights, inputs, keep_layers=drawn)
            jobs.append(_job("deep", DEEP, network, width, depth, plan.deep_trials))
    width, depth = plan.widths[-1], plan.depths[-1]
    trials = min(plan.deep_trials, CONTROL_TRIALS)
    inputs = _on_shell(loaded, width)
    if control is not None:
        plain = cells.Deep(control, width, depth, plan.weights, inputs, keep_layers=True)
        jobs.append(_job("raw", RAW_CONTROL, plain, width, depth, trials))
    if plan.weights == "haar":
        gaussian = cells.Deep(tested, width, depth, "gaussian", inputs, keep_layers=True)
        jobs.append(_job("gaussian", GAUSSIAN_CONTROL, gaussian, width, depth, trials))
    return jobs


def _job(kind: str, stream: int, compute: Any, width: int, depth: int, trials: int) -> _Job:
    cell = experiment.Cell(
        compute=compute,
        experiment=stream,
        cell=width << 32 | depth,  # the identity of the cell, whatever else runs beside it
        trials=trials,
        chunk=max(1, _CHUNK_NEURONS // (width * depth)),
        cost=width * depth,
        label=f"{kind}, width {width}, depth {depth}",
    )
    return _Job((kind, width, depth), cell)


def _on_shell(loaded: data.Inputs | None, width: int) -> cells.RealInputs | None:
    if loaded is None:
        return None
    vectors, _ = data.to_thin_shell(loaded.vectors, width)
    return cells.RealInputs(vectors, loaded.labels, loaded.classes)


Outcomes = dict[tuple[str, int, int], dict[str, FloatArray]]


def _rows(plan: _Plan, tested: Activation | CallableActivation, outcomes: Outcomes) -> Iterator[Row]:
    """One row for each claim, width, depth, epsilon and side; limits hold for all of them together."""
    one_step = 6 * len(plan.widths) * len(plan.epsilons)
    deep = len(plan.widths) * len(plan.depths) * len(plan.deep_epsilons)
    alpha = statistics.row_alpha(plan.level, one_step + deep)
    for claim in ("forward-one-step", "backward-one-step-random", "backward-one-step-fixed"):
        for width in plan.widths:
            ratios = outcomes["one-step", width, 1][claim]
            constants = concentration.layer_constants(tested, width)
            for epsilon in plan.epsilons:
                for side in ("upper", "lower"):
                    bound = concentration.levy(claim, constants, epsilon, side)
                    hits = ratios >= 1 + epsilon if side == "upper" else ratios <= 1 - epsilon
                    yield _row(claim, tested.name, width, 1, epsilon, side, hits, bound, alpha)
    for width in plan.widths:
        for depth in plan.depths:
            spreads = outcomes["deep", width, depth]["spread"]
            for epsilon in plan.deep_epsilons:
                hits = spreads >= epsilon
                yield _row(
                    "deep-gradient-ratio",
                    tested.name,
                    width,
                    depth,
                    epsilon,
                    "either",
                    hits,
                    NO_DEEP_BOUND,
                    alpha,
                )


NO_DEEP_BOUND = Bound("none", 0.0, "no rigorous bound for the whole depth yet")


def _row(
    claim: str,
    name: str,
    width: int,
    depth: int,
    epsilon: float,
    side: str,
    hits: npt.NDArray[np.bool_],
    bound: Bound,
    alpha: float,
) -> Row:
    known = not bound.kind.startswith("none")
    exceedances, trials = int(hits.sum()), len(hits)
    decision = statistics.decide(exceedances, trials, bound.probability if known else None, alpha)
    proved_impossible = known and bound.log == -np.inf and not exceedances  # nothing that counting could add
    return Row(
        claim=claim,
        activation=name,
        width=width,
        depth=depth,
        epsilon=epsilon,
        side=side,
        trials=trials,
        exceedances=exceedances,
        estimate=exceedances / trials,
        lower=decision.lower,
        upper=decision.upper,
        bound_kind=bound.kind if known else f"none ({bound.reason})",
        bound=bound.probability if known else None,
        prediction=None,
        verdict=statistics.Verdict.VACUOUS if proved_impossible else decision.verdict,
    )


def _spreads(plan: _Plan, outcomes: Outcomes) -> Iterator[DepthSpread]:
    for width in plan.widths:
        for depth in plan.depths:
            values = outcomes["deep", width, depth]["spread"]
            median, high = np.quantile(values, [0.5, 0.95], method="higher")
            yield DepthSpread(width, depth, len(values), float(median), float(high))


def _profiles(plan: _Plan, config: Configuration, outcomes: Outcomes) -> Iterator[Profile]:
    """Gradient norm by layer at the largest width and depth: the claim, then the controls."""
    width, depth = plan.widths[-1], plan.depths[-1]
    tested = f"GPN {config.activation}" if config.root else config.activation
    labels = {
        "deep": ("claim", f"{tested}, {plan.weights.capitalize()} weights"),
        "raw": ("control", f"{config.activation} as it is, {plan.weights.capitalize()} weights"),
        "gaussian": ("control", f"{tested}, Gaussian weights"),
    }
    for kind, (role, label) in labels.items():
        if (kind, width, depth) in outcomes:
            log_gradients = outcomes[kind, width, depth]["log_gradients"]
            with np.errstate(over="ignore", invalid="ignore"):
                norms = np.exp(np.quantile(log_gradients, PROBABILITIES, axis=0, method="nearest").T)
            yield Profile(label, role, width, depth, len(log_gradients), PROBABILITIES, norms)


def _hypotheses(tested: Activation | CallableActivation) -> Iterator[str]:
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


def _notes(plan: _Plan, rows: tuple[Row, ...], loaded: data.Inputs | None) -> Iterator[str]:
    """What a reader must know beside the table."""
    if plan.weights != "haar":
        yield (
            f"The bounds are those of Haar orthogonal weights; {plan.weights} weights lie outside the theorem, so the "
            "rows ask whether its conclusion holds all the same."
        )
    if loaded is not None:
        yield from loaded.notes
        yield data.to_thin_shell(loaded.vectors, plan.widths[0])[1].text
        yield (
            "Random weights treat every direction alike, so the law of the norms depends on an input only through its "
            "length, which the scaling makes equal, and on a label not at all: these rows agree in law with those of "
            "any other data of as many classes."
        )
    undecided = [row for row in rows if row.verdict is statistics.Verdict.UNDECIDED]
    if undecided:
        yield _trials_wanted(undecided, statistics.row_alpha(plan.level, len(rows)))


def _trials_wanted(undecided: list[Row], alpha: float) -> str:
    """How many trials could decide the undecided rows, in one sentence."""
    needed = [planning.trials_to_decide(row.bound, alpha) or statistics.MAX_TRIALS for row in undecided]
    least, most = min(needed), max(needed)
    text = f"{len(undecided)} rows are undecided. Even if nothing is seen, the first can be decided by {least:,} trials"
    if most <= MOST_TRIALS:
        return f"{text}, the last by {most:,}."
    return f"{text if least <= MOST_TRIALS else text.split('.')[0]}; the smallest bounds are out of reach of counting."
