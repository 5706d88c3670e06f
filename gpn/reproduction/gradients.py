"""The paper's synthetic experiment: gradient norms by layer at initialization, beside what theory predicts of them.

Every activation as it is and normalized, with Haar and with Gaussian weights, and with batch normalization. Single
inputs are drawn without matrices (`gpn.sampling.sampler`), batches too (`gpn.sampling.batch_sampler`).
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from zlib import crc32

import numpy as np

from gpn.data.inputs import Inputs, Source, load_inputs, to_thin_shell
from gpn.engine.arguments import count
from gpn.engine.norms import FloatArray
from gpn.experiment import cells, streams
from gpn.experiment import runs as experiment
from gpn.experiment import store as run_store
from gpn.experiment.fingerprint import digest
from gpn.experiment.identity import Identity
from gpn.experiment.versions import computing_versions
from gpn.reproduction.gradient_rates import growth, rate
from gpn.reproduction.gradient_results import PROBABILITIES, GradientReport, NetworkGradients
from gpn.reproduction.gradient_settings import (
    BATCH_NORMALIZED,
    GPN,
    PLAIN,
    SAME_CHI,
    Settings,
    Variant,
    check_level,
    several,
    variants,
)
from theory.activations.specification import activation as read_activation
from theory.depth.coefficients import NoPrediction
from theory.depth.fluctuation import log_ratio_law
from theory.depth.length_map import mean_field_path
from theory.errors import UsageError
from theory.numerics.threads import one_blas_thread

ACTIVATIONS = ("tanh", "relu", "leaky_relu", "elu", "selu", "gelu")
"""The activations of the paper."""

BATCHES = (8, 16, 32, 64, 128)
"""Batch sizes in the table of growth."""

_TRIALS_PER_BATCH = 50  # a network with batch normalization costs about a hundred times as much as a single input
_LEAST_BATCH_TRIALS = 4
_GROWTH_ACTIVATIONS = ("x", "relu")
_GROWTH_DEPTHS = (10, 50)


@one_blas_thread
def gradient_profiles(
    activations: Sequence[object] = ACTIVATIONS,
    *,
    width: int = 500,
    depth: int = 200,
    trials: int = 300,
    batch: int = 64,
    batches: Sequence[int] = BATCHES,
    level: float = 0.99,
    seed: int = 0,
    inputs: Source | None = None,
    store: str | Path | None = None,
    replace_finished: bool = False,
    workers: int | None = None,
    executor: Executor | str | None = None,
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
        inputs: "digits", a file or an array, as for `gpn.verify`; with labels gradients are those of softmax
            cross-entropy. None for uniform directions on the thin shell and a random readout.
        store: a folder; finished chunks are kept there in `run.sqlite` and reused when the same is asked for again.
        replace_finished: whether a finished run of something else may be deleted from `store`.
        workers: how many chunks are computed at once, None for one on each core.
        executor: as for `gpn.verify`.
        progress: called with (done, total, words) as chunks finish.

    Returns:
        The report: a record for each kind of network, growth, notes; it draws and saves itself.

    Raises:
        UsageError: an argument outside its range, or an activation without normalization.

    >>> report = gradient_profiles(["tanh"], width=32, depth=8, trials=20, batch=4, batches=())
    >>> [(network.treatment, network.weights) for network in report.networks][:2]
    [('as it is', 'haar'), ('as it is', 'gaussian')]
    """
    several("activations", activations)
    experiment.checked_run(seed, workers)
    trials = count("trials", trials, minimum=2)
    settings = Settings(
        width=count("width", width, minimum=2),
        depth=count("depth", depth, minimum=2),
        trials=trials,
        batch=count("batch", batch, minimum=2),
        batch_trials=max(_LEAST_BATCH_TRIALS, -(-trials // _TRIALS_PER_BATCH)),
        batches=tuple(count("batches", size, minimum=4) for size in sorted(set(batches))),
        level=check_level(level),
        seed=seed,
    )
    loaded = None if inputs is None else load_inputs(inputs)
    kinds = [variant for spec in activations for variant in variants(spec)]
    if len({variant.name for variant in kinds}) < len(activations):
        raise UsageError(f"each activation can be given once, not {', '.join(map(str, activations))}")
    growing = list(_growing(settings))
    on_shell = _on_shell(loaded, settings.width)
    work = [_cell(variant, settings, on_shell) for variant in kinds]
    work += [_batch_cell(variant, settings.width, layers, _LEAST_BATCH_TRIALS) for variant, layers in growing]
    # Every cell has an identity of its own: a store may be extended by activations.
    facts = {"experiment": "gradients", **asdict(settings), "inputs": None if on_shell is None else digest(on_shell)}
    identity = Identity(facts, dict(computing_versions()))
    opened = (
        nullcontext() if store is None else run_store.open_store(store, identity, replace_finished=replace_finished)
    )
    with opened as kept:
        _announce(work, settings, progress)
        results = experiment.run(work, seed, executor=executor, workers=workers, progress=progress, store=kept)
    network = partial(_network, settings=settings, random_readout=loaded is None or loaded.labels is None)
    networks = [network(variant, arrays) for variant, arrays in zip(kinds, results, strict=False)]
    rows = [
        growth(variant, arrays["log_gradients"], settings.level)
        for (variant, _), arrays in zip(growing, results[len(kinds) :], strict=True)
    ]
    return GradientReport(settings, tuple(networks), tuple(rows), tuple(_notes(settings, kinds, loaded)))


def _announce(work: Sequence[experiment.Cell], settings: Settings, progress: experiment.Progress | None) -> None:
    """Tell how much there is to do."""
    if progress is not None:
        size = f"{settings.trials} of width {settings.width} and depth {settings.depth}"
        total = sum(cell.cost * cell.trials for cell in work)
        progress(0.0, total, f"{len(work)} kinds of networks, most of them {size}")


def _on_shell(loaded: Inputs | None, width: int) -> cells.RealInputs | None:
    if loaded is None:
        return None
    return cells.RealInputs(to_thin_shell(loaded.vectors, width)[0], loaded.labels, loaded.classes)


def _cell(variant: Variant, settings: Settings, inputs: cells.RealInputs | None) -> experiment.Cell:
    """The work that measures one kind of network."""
    width, depth = settings.width, settings.depth
    if variant.treatment == BATCH_NORMALIZED:
        return _batch_cell(variant, width, depth, settings.batch_trials, inputs, batch=settings.batch)
    return experiment.Cell(
        compute=cells.Deep(variant.phi, width, depth, variant.weights, inputs, keep_layers=True, keep_backward=True),
        experiment=streams.PROFILE,
        cell=streams.cell_number(width, _identity(variant, depth)),
        trials=settings.trials,
        chunk=streams.chunk_size(width, depth),
        cost=width * depth,
        label=f"{variant.name}, {variant.treatment}",
    )


def _growing(settings: Settings) -> Iterator[tuple[Variant, int]]:
    """Linear and ReLU networks with batch normalization, Haar weights, for each batch size and depth."""
    depths = sorted({*(depth for depth in _GROWTH_DEPTHS if depth < settings.depth), settings.depth})
    for spec in _GROWTH_ACTIVATIONS if settings.batches else ():
        phi = read_activation(spec)
        name = "linear" if spec == "x" else phi.name
        for size in settings.batches:
            for depth in depths:
                yield Variant(name, phi, BATCH_NORMALIZED, "haar", batch=size), depth


def _batch_cell(
    variant: Variant,
    width: int,
    depth: int,
    trials: int,
    inputs: cells.RealInputs | None = None,
    batch: int | None = None,
) -> experiment.Cell:
    """The work that measures networks with batch normalization; without `batch`, for the table of growth."""
    size = variant.batch or batch or 0
    return experiment.Cell(
        compute=cells.BatchNormalized(variant.phi, width, depth, size, variant.weights, inputs),
        experiment=streams.BATCH_GROWTH if batch is None else streams.BATCH_PROFILE,
        cell=streams.cell_number(width, _identity(variant, depth, size)),
        trials=trials,
        chunk=1,
        cost=width * depth * (size + size * size / 16),
        label=f"{variant.name}, batch normalization of {size}",
    )


def _identity(variant: Variant, depth: int, batch: int = 1) -> int:
    """Identity of the random stream of a cell: what is run, not where it stands in the list."""
    text = f"{variant.name} {variant.treatment} {variant.root} {variant.weights} {depth} {batch}"
    return crc32(text.encode())


def _network(
    variant: Variant, arrays: Mapping[str, FloatArray], settings: Settings, *, random_readout: bool
) -> NetworkGradients:
    """The measurements of one kind of network beside the predictions."""
    log_gradients = arrays["log_gradients"]
    known = ~np.isnan(log_gradients).any(axis=1)
    quantiles = np.full((settings.depth, len(PROBABILITIES)), np.nan)
    if known.any():
        quantiles = np.quantile(log_gradients[known], PROBABILITIES, axis=0, method="nearest").T
    band, reason = _predicted(variant, settings, random_readout=random_readout)
    bottom = log_gradients[known, 0]
    mean_field = None
    if variant.treatment == PLAIN and random_readout:
        mean_field = mean_field_path(variant.phi, settings.depth).log_gradients
    return NetworkGradients(
        **asdict(rate(variant, arrays, settings, lost=not known.all())),
        overflowed=int((~known).sum()),
        vanished=int(np.isneginf(log_gradients[known]).any(axis=1).sum()),
        log_quantiles=quantiles,
        log_band=band,
        no_prediction=reason,
        inside=None if band is None else int(((bottom >= band[0, 0]) & (bottom <= band[0, -1])).sum()),
        mean_field=mean_field,
    )


def _predicted(variant: Variant, settings: Settings, *, random_readout: bool) -> tuple[FloatArray | None, str]:
    """Quantiles of log(|dE/dW_l|_F / sqrt(n)) by the fluctuation law, or why there are none."""
    if variant.treatment != GPN or variant.weights != "haar":
        return None, "the law is that of normalized activations and Haar weights"
    if not random_readout:
        return None, "the law is that of a random readout, not of a loss"
    law = log_ratio_law(variant.phi, settings.width, settings.depth)
    if isinstance(law, NoPrediction):
        return None, law.reason
    return law.gradient_bands(PROBABILITIES), ""


def _notes(settings: Settings, kinds: Sequence[Variant], loaded: Inputs | None) -> Iterator[str]:
    for variant in kinds:
        if variant.chi is None or variant.chi <= 1 + SAME_CHI:
            continue
        if variant.treatment != BATCH_NORMALIZED:
            yield (
                f"{variant.name} with b_{variant.root} is normalized but unstable (chi = {variant.chi:.4g} > 1): the "
                "squared length leaves 1 in depth, so there is no single rate; root auto takes the other one."
            )
        elif variant.weights == "haar":
            yield (
                f"{variant.name} under batch normalization: a deviation of one input's length from those of its "
                f"batch grows {variant.chi:.4g}-fold per layer. So in depth the inputs of a batch do not stay "
                "alike, as the prediction assumes."
            )
    yield (
        "With batch normalization, a and b of a normalization have no effect (but for one constant factor a), so each "
        f"activation appears once. Its gradients are those of the loss summed over {settings.batch} inputs."
    )
    if loaded is not None:
        yield from loaded.notes
        yield to_thin_shell(loaded.vectors, settings.width)[1].text
