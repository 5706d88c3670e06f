"""The paper's synthetic experiment: gradient norms by layer at initialization, beside what theory predicts of them.

Every activation as it is and normalized, with Haar and with Gaussian weights, and with batch normalization. Single
inputs are drawn without matrices (`gpn.sampling.sampler`), batches too (`gpn.sampling.batch_sampler`).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np

from gpn.engine.arguments import count
from gpn.experiment import cells, streams
from gpn.experiment import runs as experiment
from gpn.reproduction import gradient_rates, gradient_results
from gpn.reproduction.gradient_rates import BATCH_NORMALIZED, GPN, PLAIN
from gpn.reproduction.gradient_results import PROBABILITIES, GradientProfile, GradientReport, Settings, Variant
from gpn.sampling import inputs as data
from theory.activations.specification import activation as read_activation
from theory.depth.batch_normalization import length_slope
from theory.depth.coefficients import NoPrediction
from theory.depth.fluctuation import log_ratio_law
from theory.depth.length_map import mean_field_path
from theory.errors import UsageError
from theory.normalization import normalize as normalize_module

ACTIVATIONS = ("tanh", "relu", "leaky_relu", "elu", "selu", "gelu")
"""Those of the paper."""


BATCHES = (8, 16, 32, 64, 128)
"""Sizes of the batches whose growth is tabulated."""


_TRIALS_PER_BATCH = 50  # single networks for each one with batch normalization, which costs a hundred times as much
_LEAST_BATCH_TRIALS = 4
_GROWTH_ACTIVATIONS = ("x", "relu")
_GROWTH_DEPTHS = (10, 50)
_SAME_CHI = 1e-9


@dataclass(frozen=True, slots=True)
class _Job:
    """A variant, its cell, and the batch of a growth measurement (None for a profile)."""

    variant: Variant
    cell: experiment.Cell
    growth: bool = False


def gradient_profiles(
    activations: Sequence[Any] = ACTIVATIONS,
    *,
    width: int = 500,
    depth: int = 200,
    trials: int = 300,
    batch: int = 64,
    batches: Sequence[int] = BATCHES,
    level: float = 0.99,
    seed: int = 0,
    data_set: data.Source | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: experiment.Progress | None = None,
) -> GradientReport:
    r"""Measure gradient norms by layer at initialization: :math:`|\partial E/\partial W_l|_F`, l = 1..L.

    Source: the synthetic experiment of Y. Lu, S. Gould, T. Ajanthan (2020), arXiv 2006.12169; the band of
    `theory.depth.fluctuation`, the rates of `theory.depth.length_map` and `theory.depth.batch_normalization`.

    Args:
        activations: names, formulas, functions, ..., as for `gpn.activation`; each runs as it is, normalized
            (root "auto", and the other root where chi differs) and with batch normalization.
        width, depth: n and L >= 2.
        trials: networks of each kind with one input; those with batch normalization are a fiftieth, at least 4.
        batch: k >= 2, inputs of a network with batch normalization.
        batches: sizes for the table of growth under batch normalization, each at least 4; none leaves it out.
        level: confidence level of each interval.
        seed: non-negative integer; results are the same bits for any number of workers.
        data_set: "digits", a file or an array, as for `gpn.verify`; with labels gradients are those of softmax
            cross-entropy. None for uniform directions on the thin shell and a random readout.
        workers: threads, None for one on each core.
        executor: any `concurrent.futures.Executor` instead.
        progress: called with (done, total) cost as chunks finish.

    Returns:
        `gpn.reproduction.gradient_results.GradientReport`: profiles, rates, growth, notes; it draws and saves itself.

    Raises:
        UsageError: an argument outside its range, or an activation without normalization.

    >>> report = gradient_profiles(["tanh"], width=32, depth=8, trials=20, batch=4, batches=())
    >>> [(rate.treatment, rate.weights) for rate in report.rates][:2]
    [('as it is', 'haar'), ('as it is', 'gaussian')]
    """
    settings = _settings(activations, width, depth, trials, batch, batches, level, seed)
    experiment.checked_run(seed, workers)
    loaded = None if data_set is None else data.load_inputs(data_set)
    inputs = _on_shell(loaded, settings.width)
    variants = [variant for spec in activations for variant in _variants(spec)]
    if len({variant.name for variant in variants}) < len(activations):
        raise UsageError(f"each activation can be given once, not {', '.join(map(str, activations))}")
    jobs = [*_jobs(variants, settings, inputs), *_growth_jobs(settings)]
    results = experiment.run([job.cell for job in jobs], seed, executor=executor, workers=workers, progress=progress)
    profiles, rates, growth = [], [], []
    for job, found in zip(jobs, results, strict=True):
        if job.growth:
            growth.append(gradient_rates.growth(job.variant, found["log_gradients"], settings.level))
        else:
            profiles.append(_profile(job.variant, found["log_gradients"], settings, loaded))
            rates.append(gradient_rates.rate(job.variant, found, profiles[-1], settings))
    notes = tuple(_notes(settings, variants, loaded))
    return GradientReport(settings, tuple(profiles), tuple(rates), tuple(growth), notes)


def _settings(
    activations: Sequence[Any],
    width: int,
    depth: int,
    trials: int,
    batch: int,
    batches: Sequence[int],
    level: float,
    seed: int,
) -> Settings:
    if isinstance(activations, str) or not len(activations):
        raise UsageError(f"activations must be a list of at least one, such as ['tanh', 'relu'], not {activations!r}")
    if not 0 < level < 1:
        raise UsageError(f"level must lie between 0 and 1, not {level!r}; try 0.99")
    batch_trials = max(_LEAST_BATCH_TRIALS, -(-count("trials", trials, minimum=2) // _TRIALS_PER_BATCH))
    return Settings(
        width=count("width", width, minimum=2),
        depth=count("depth", depth, minimum=2),
        trials=int(trials),
        batch=count("batch", batch, minimum=2),
        batch_trials=batch_trials,
        batches=tuple(count("batches", size, minimum=4) for size in sorted(set(batches))),
        level=float(level),
        seed=seed,
    )


def _on_shell(loaded: data.Inputs | None, width: int) -> cells.RealInputs | None:
    if loaded is None:
        return None
    vectors, _ = data.to_thin_shell(loaded.vectors, width)
    return cells.RealInputs(vectors, loaded.labels, loaded.classes)


def _variants(spec: Any) -> Iterator[Variant]:
    """An activation as it is, with the recommended root, with the other one where chi differs, batch normalized."""
    phi = read_activation(spec)
    chosen = normalize_module.normalization(phi, "auto")
    other = normalize_module.normalization(phi, "minus" if chosen.root == "plus" else "plus")
    normalized = phi.affine(chosen.a, chosen.b, f"GPN {phi.name}")
    for weights in ("haar", "gaussian"):
        yield Variant(phi.name, phi, PLAIN, weights)
    for weights in ("haar", "gaussian"):
        yield Variant(phi.name, normalized, GPN, weights, chosen.root, chosen.chi)
    if other.root != chosen.root and abs(other.chi - chosen.chi) > _SAME_CHI:
        yield Variant(phi.name, phi.affine(other.a, other.b, f"GPN {phi.name}"), GPN, "haar", other.root, other.chi)
    for weights in ("haar", "gaussian"):
        yield Variant(phi.name, phi, BATCH_NORMALIZED, weights, chi=length_slope(phi))


def _jobs(variants: Sequence[Variant], settings: Settings, inputs: cells.RealInputs | None) -> Iterator[_Job]:
    width, depth = settings.width, settings.depth
    for variant in variants:
        if variant.treatment == BATCH_NORMALIZED:
            yield _batch_job(variant, width, depth, settings.batch, settings.batch_trials, inputs)
            continue
        compute = cells.Deep(variant.phi, width, depth, variant.weights, inputs, keep_layers=True, keep_backward=True)
        cell = experiment.Cell(
            compute=compute,
            experiment=streams.PROFILE,
            cell=width << 32 | _identity(variant, depth),
            trials=settings.trials,
            chunk=streams.chunk_size(width, depth),
            cost=width * depth,
            label=f"{variant.name}, {variant.treatment}",
        )
        yield _Job(variant, cell)


def _growth_jobs(settings: Settings) -> Iterator[_Job]:
    """Linear and ReLU networks with batch normalization, Haar weights, for each batch size and depth."""
    depths = sorted({*(depth for depth in _GROWTH_DEPTHS if depth < settings.depth), settings.depth})
    for spec in _GROWTH_ACTIVATIONS if settings.batches else ():
        phi = read_activation(spec)
        name = "linear" if spec == "x" else phi.name
        for size in settings.batches:
            for depth in depths:
                variant = Variant(name, phi, BATCH_NORMALIZED, "haar", batch=size)
                yield _batch_job(variant, settings.width, depth, size, _LEAST_BATCH_TRIALS, None, growth=True)


def _batch_job(
    variant: Variant,
    width: int,
    depth: int,
    batch: int,
    trials: int,
    inputs: cells.RealInputs | None,
    *,
    growth: bool = False,
) -> _Job:
    cell = experiment.Cell(
        compute=cells.BatchNormalized(variant.phi, width, depth, batch, variant.weights, inputs),
        experiment=streams.BATCH_GROWTH if growth else streams.BATCH_PROFILE,
        cell=width << 32 | _identity(variant, depth, batch),
        trials=trials,
        chunk=1,
        cost=width * depth * (batch + batch * batch / 16),
        label=f"{variant.name}, batch normalization of {batch}",
    )
    return _Job(variant, cell, growth)


def _identity(variant: Variant, depth: int, batch: int = 1) -> int:
    """Of the random stream of a cell: what is run, not where it stands in the list."""
    text = f"{variant.name} {variant.treatment} {variant.root} {variant.weights} {depth} {batch}"
    return crc32(text.encode())


def _profile(
    variant: Variant, log_gradients: gradient_results.FloatArray, settings: Settings, loaded: data.Inputs | None
) -> GradientProfile:
    known = ~np.isnan(log_gradients).any(axis=1)
    quantiles = np.full((settings.depth, len(PROBABILITIES)), np.nan)
    if known.any():
        quantiles = np.quantile(log_gradients[known], PROBABILITIES, axis=0, method="nearest").T
    random_readout = loaded is None or loaded.labels is None
    predicted, reason = _predicted(variant, settings, random_readout=random_readout)
    mean_field = None
    if variant.treatment == PLAIN and random_readout:
        mean_field = mean_field_path(variant.phi, settings.depth).log_gradients
    inside = None
    if predicted is not None:
        bottom = log_gradients[known, 0]
        inside = int(((bottom >= predicted[0, 0]) & (bottom <= predicted[0, -1])).sum())
    return GradientProfile(
        activation=variant.name,
        treatment=variant.treatment,
        root=variant.root,
        weights=variant.weights,
        trials=len(log_gradients),
        overflowed=int((~known).sum()),
        vanished=int(np.isneginf(log_gradients[known]).any(axis=1).sum()),
        log_quantiles=quantiles,
        predicted=predicted,
        no_prediction=reason,
        inside=inside,
        mean_field=mean_field,
    )


def _predicted(
    variant: Variant, settings: Settings, *, random_readout: bool
) -> tuple[gradient_results.FloatArray | None, str]:
    """Quantiles of log(|dE/dW_l|_F / sqrt(n)) by the fluctuation law, or why there are none."""
    if variant.treatment != GPN or variant.weights != "haar":
        return None, "the law is that of normalized activations and Haar weights"
    if not random_readout:
        return None, "the law is that of a random readout, not of a loss"
    law = log_ratio_law(variant.phi, settings.width, settings.depth)
    if isinstance(law, NoPrediction):
        return None, law.reason
    return law.gradient_bands(PROBABILITIES), ""


def _notes(settings: Settings, variants: Sequence[Variant], loaded: data.Inputs | None) -> Iterator[str]:
    unstable = [v for v in variants if v.chi is not None and v.chi > 1 + _SAME_CHI]
    for variant in unstable:
        if variant.treatment == BATCH_NORMALIZED:
            if variant.weights == "haar":
                yield (
                    f"{variant.name} under batch normalization: a deviation of one input's length from those of its "
                    f"batch grows {variant.chi:.4g}-fold per layer, so that the state in which all inputs are alike, "
                    "which the prediction assumes, is lost in depth."
                )
            continue
        yield (
            f"{variant.name} with b_{variant.root} is normalized but unstable (chi = {variant.chi:.4g} > 1): the "
            "squared length leaves 1 in depth, so there is no single rate; root auto takes the other one."
        )
    yield (
        "With batch normalization a and b of a normalization drop out (but for one constant factor a), so each "
        f"activation stands there once; its gradients are those of the loss summed over {settings.batch} inputs."
    )
    if loaded is not None:
        yield from loaded.notes
        yield data.to_thin_shell(loaded.vectors, settings.width)[1].text
