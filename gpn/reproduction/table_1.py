"""The paper's Table 1: its setting as it was, in any size, and its numbers beside ours."""

from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from gpn.data.datasets import Dataset, limited, load_dataset
from gpn.engine.arguments import count
from gpn.experiment import runs as experiment
from gpn.experiment import store as run_store
from gpn.experiment.fingerprint import digest
from gpn.experiment.identity import Identity
from gpn.experiment.versions import computing_versions
from gpn.reproduction.gradient_settings import BATCH_NORMALIZED, GPN, PLAIN, normalized, roots, several
from gpn.reproduction.table_1_results import Setting, TableReport, TableRow
from gpn.reproduction.table_1_run import PaperRun
from gpn.sampling.memory import beside_the_program, check_training
from theory.activations.specification import activation as read_activation
from theory.errors import UsageError
from theory.numerics.threads import one_blas_thread

ACTIVATIONS = ("tanh", "relu", "leaky_relu", "elu", "selu", "quick_gelu")
"""The activations of Table 1; its GELU is x sigmoid(1.702 x)."""


@one_blas_thread
def table_1(
    activations: Sequence[object] = ACTIVATIONS,
    inputs: str | Path | Dataset = "digits",
    *,
    width: int = 64,
    depth: int = 200,
    epochs: int = 5,
    batch: int = 64,
    samples: int | None = 2000,
    learning_rate: float | None = None,
    precision: str = "float32",
    seed: int = 0,
    store: str | Path | None = None,
    replace_finished: bool = False,
    workers: int | None = 1,
    executor: Executor | str | None = None,
    progress: experiment.Progress | None = None,
) -> TableReport:
    r"""Train each activation as it is, normalized, and with batch normalization, in the setting of Table 1.

    A first layer with biases from the pixels to n neurons, L layers n x n without biases that begin orthogonal and
    whose rows are divided by their norms in every step (the gradient goes through the norms; orthogonality is not
    kept), a readout with biases; pixels standardized by one mean and one deviation; SGD with momentum 0.5 at a constant
    rate, batches of 64. The paper has n = 500, L = 200, 50 epochs of MNIST or 100 of CIFAR-10, and 10^-4 as an example
    of a rate, which is 10/(n L).

    Source: Y. Lu, S. Gould, T. Ajanthan, Bidirectionally self-normalizing neural networks, arXiv 2006.12169, Table 1,
    and the slides on the first author's site.

    Args:
        activations: as for `gpn.activation`.
        inputs: as for `gpn.train`.
        width, depth: n and L, hidden layers beside the first.
        epochs, batch: passes through the training samples, and samples of a step.
        samples: the most to train on, and the most to test; None for all.
        learning_rate: constant; None for 10/(n L).
        precision: "float32" or "float64".
        seed: of the weights and the order of the samples.
        store: a folder; every finished run is kept there in `run.sqlite` and reused when the same is asked for.
        replace_finished: whether a finished run of another setting may be deleted from `store`.
        workers: processes, None for one on each core.
        executor: "threads", "processes" or any `concurrent.futures.Executor` instead.
        progress: called with (done, total, words) as runs finish.

    Raises:
        UsageError: an argument outside its range, an activation without normalization, data that cannot be read.

    >>> table_1(["relu"], width=8, depth=2, epochs=1, samples=128)
    <TableReport relu: width 8, depth 2, 1 epoch>
    """
    seed, workers = experiment.checked_run(seed, workers)
    width, depth = count("width", width, minimum=2), count("depth", depth)
    if precision not in ("float32", "float64"):
        raise UsageError(f"precision must be float32 or float64, not {precision!r}")
    if learning_rate is not None and not 0 < learning_rate < float("inf"):
        raise UsageError(f"learning_rate must be above 0 and finite, not {learning_rate!r}; the paper has 1e-4")
    loaded = inputs if isinstance(inputs, Dataset) else load_dataset(inputs)
    data = loaded if samples is None else limited(loaded, count("samples", samples, minimum=2))
    batch = min(count("batch", batch, minimum=2), len(data.x_train))
    neurons = [data.features, *[width] * (depth + 1), data.classes]
    check_training(data.nbytes, neurons, batch, memories=1, records=1, memory=beside_the_program(None))
    setting = Setting(
        width=width,
        depth=depth,
        epochs=count("epochs", epochs),
        batch=batch,
        learning_rate=10 / (width * depth) if learning_rate is None else float(learning_rate),
        precision=precision,
        seed=seed,
        data=data.name,
        features=data.features,
        classes=data.classes,
        train_samples=len(data.x_train),
        test_samples=len(data.x_test),
    )
    runs = [run for spec in several("activations", activations) for run in _runs(spec, setting, data)]
    listen = progress and (lambda done, total, _words: progress(done, total, "training"))
    place: Executor | str | None = "processes" if executor is None and workers > 1 else executor
    facts = {"experiment": "table 1", **asdict(setting), "digest": digest(data.arrays)}
    identity = Identity(facts, dict(computing_versions()))
    with (
        nullcontext() if store is None else run_store.open_store(store, identity, replace_finished=replace_finished)
    ) as finished:
        cells = [run.cell() for run in runs]
        results = experiment.run(cells, seed, executor=place, workers=workers, store=finished, progress=listen)
    rows = (TableRow.of(run.name, run.treatment, arrays, setting) for run, arrays in zip(runs, results, strict=True))
    return TableReport(setting, tuple(rows))


def _runs(spec: object, setting: Setting, data: Dataset) -> list[PaperRun]:
    """The three networks of an activation."""
    phi = read_activation(spec)
    functions = {PLAIN: phi, GPN: normalized(phi, roots(phi)[0]), BATCH_NORMALIZED: phi}
    return [PaperRun(phi.name, treatment, function, setting, data) for treatment, function in functions.items()]
