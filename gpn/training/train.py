"""Training of deep dense networks as a classifier, with the gradient norms of all layers recorded."""

import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpn.data.datasets import Dataset, ThinShell, limited, load_dataset
from gpn.engine.arguments import vocabulary
from gpn.engine.evaluation import ElementwiseActivation
from gpn.engine.losses import cross_entropy_of_logits
from gpn.engine.network import Network
from gpn.engine.norms import FloatArray, quiet
from gpn.experiment import streams
from gpn.experiment.fingerprint import digest
from gpn.experiment.runs import Progress
from gpn.experiment.signals import signals_wait
from gpn.sampling.memory import beside_the_program, check_training
from gpn.training.checkpoints import Saving, read_checkpoint, write_checkpoint
from gpn.training.optimizers import SCHEDULES, Optimizer
from gpn.training.optimizers import optimizer as find_optimizer
from gpn.training.orthogonality import deviation
from gpn.training.results import DIVERGED, FINISHED, EpochRow, TrainingReport
from gpn.training.settings import TrainingConfig, TrainingSettings
from gpn.training.start import build, default_rate, normalized, stream
from gpn.training.step import Stepper, running_statistics
from theory.errors import UsageError
from theory.numerics.threads import one_blas_thread

EVALUATION_ROWS = 256
"""Samples that are classified together."""

HOPELESS = 1000.0
"""A run ends when its loss is this many times the loss of guessing."""


@vocabulary("width", "depth")
def train(
    spec: object = "tanh",
    inputs: str | Path | Dataset = "digits",
    *,
    depth: int = 50,
    width: int = 128,
    root: str | None = "auto",
    weights: str = "haar",
    batch_normalization: bool = False,
    biases: bool = False,
    optimizer: str | Optimizer = "sgd",
    learning_rate: float | None = None,
    schedule: str = "cosine",
    epochs: int = 30,
    batch: int = 64,
    samples: int | None = None,
    constraint: str = "none",
    penalty: float = 1.0,
    readout_scale: float = 1.0,
    centred: bool = False,
    seed: int = 0,
    records: int = 100,
    precision: str = "float64",
    checkpoint: str | Path | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 30.0,
    progress: Progress | None = None,
    memory: int | str | None = None,
) -> TrainingReport:
    r"""Train a deep dense network by minibatches, phi normalized first (`root`), and record losses and gradient norms.

    $$x_0 \to h_1 = W_1 x_0, \quad x_l = \phi(h_l), \quad h_{l+1} = W_{l+1} x_l, \quad \text{logits} = R\, x_L$$

    with the softmax cross-entropy as the loss. Inputs are scaled to the thin shell
    (`gpn.data.datasets.ThinShell`). W_1 is made of the first columns of an n x m matrix of the ensemble, m =
    max(n_0, n); the readout R of orthonormal rows, times `readout_scale`, whatever the ensemble is: logits of variance
    `readout_scale` squared. Gradients of all layers are proportional to that scale, and a step changes the logits by
    the learning rate times its square.

    Args:
        spec: phi, as for `gpn.activation`.
        inputs: "digits", a folder or a file as for `gpn.data.datasets.load_dataset`, or a data set.
        depth: L, hidden layers; the readout is one more.
        width: n, neurons in each of them.
        root: which normalization a*phi + b, as for `gpn.normalize`; None leaves phi as it is.
        weights: an ensemble of `gpn.engine.weights` at the start.
        batch_normalization: with gains and shifts, in every hidden layer; running statistics in the test.
        biases: b_l in all layers, 0 at the start.
        optimizer: "sgd", "momentum", "adagrad", "rmsprop", "adam", or an object of `gpn.training.optimizers`.
        learning_rate: at the start; None for `gpn.training.start.default_rate`, which falls like 1 / (n L) and with the
            effective rank of the network.
        schedule: schedule of the learning rate, a key of `gpn.training.optimizers.SCHEDULES`.
        epochs: passes through the training samples.
        batch: samples in each step. What does not fill the last batch of an epoch is left out of that epoch.
        samples: largest number to train on, and to test on (`gpn.data.datasets.limited`); None for all.
        constraint: "none", "penalty", "polar", "qr" or "unit", a key of `gpn.training.step.CONSTRAINTS`.
        penalty: strength of the soft penalty.
        readout_scale: the scale of R at the start, above 0.
        centred: whether the mean of the training samples is subtracted first. In very deep networks that costs
            accuracy: see docs/training.md.
        seed: the seed of the weights and of the order of the samples; the split of the digits does not depend on it.
        records: how often gradient norms and orthogonality are recorded, evenly over the run.
        precision: "float64" or "float32", of weights and signals; losses and norms are float64.
        checkpoint: file that is written after an epoch, as often as `checkpoint_seconds` allows, and at the end.
        resume: continue from the checkpoint. On the same machine, with the same libraries, the run ends with the same
            bits as one that was never interrupted.
        checkpoint_seconds: least time between two checkpoints.
        progress: called with (done, total, words), in epochs, after every step.
        memory: what the program may take with its data: bytes, or a text such as "4GiB"; None for what is free.

    Returns:
        The report, with the trained network. A run that diverges ends early: that is an outcome with a reason.

    Raises:
        UsageError: an argument outside of what is described here, or data that cannot be read.

    >>> report = train("tanh", depth=2, width=64, epochs=2, seed=0)
    >>> report.outcome, len(report.epochs), report.gradient_norms.shape[1]
    ('finished', 2, 3)
    """
    arguments = locals()
    settings = TrainingSettings(**{field.name: arguments[field.name] for field in fields(TrainingSettings)})
    return run_training(spec, inputs, settings, Saving.of(checkpoint, resume, checkpoint_seconds), progress, memory)


@one_blas_thread
def run_training(
    spec: object,
    inputs: str | Path | Dataset,
    settings: TrainingSettings,
    saving: Saving | None = None,
    progress: Progress | None = None,
    memory: int | str | None = None,
) -> TrainingReport:
    """Train as `train` does, for settings that are read already.

    Args:
        spec: phi, as for `gpn.activation`.
        inputs: as for `train`.
        settings: everything else that decides what is computed.
        saving: when and where checkpoints are written; None for no checkpoint.
        progress: called with (done, total, words), in epochs, after every step.
        memory: as for `train`.

    Raises:
        UsageError: an activation or data that cannot be read, or a run that does not fit into the memory.
    """
    dataset = inputs if isinstance(inputs, Dataset) else load_dataset(inputs)
    if settings.samples is not None:
        dataset = limited(dataset, settings.samples)
    rule = find_optimizer(settings.optimizer)
    phi, root = normalized(spec, settings.root)
    choices = {field.name: getattr(settings, field.name) for field in fields(settings)} | {
        "root": root,
        "optimizer": repr(rule),
        "learning_rate": settings.learning_rate or 1.0,
        "batch": min(settings.batch, len(dataset.x_train)),
        "samples": len(dataset.x_train),
    }
    config = TrainingConfig(
        **choices,
        activation=getattr(phi, "name", type(phi).__name__),
        activation_digest=digest(phi),
        data=dataset.name,
        data_digest=digest(dataset.arrays),
        features=dataset.features,
        classes=dataset.classes,
    )
    sizes = {"memories": len(rule.slots), "records": config.records, "memory": beside_the_program(memory)}
    check_training(dataset.nbytes, config.neurons, config.batch, **sizes)
    if settings.learning_rate is None:  # after the check: the widths are possible ones
        config = replace(config, learning_rate=_default_rate(phi, rule, settings, dataset))
    return _Run(config, dataset, phi, rule, saving).train(progress)


def _default_rate(phi: ElementwiseActivation, rule: Optimizer, settings: TrainingSettings, data: Dataset) -> float:
    shell = ThinShell.of(data, settings.width, centred=settings.centred)
    return default_rate(phi, rule, settings, data.classes, shell.correlation(data.x_train))


class _Run:
    """The state of a run: network, memory of the optimizer, records."""

    def __init__(
        self, config: TrainingConfig, data: Dataset, phi: ElementwiseActivation, rule: Optimizer, saving: Saving | None
    ) -> None:
        self._config, self._data, self._saving = config, data, saving
        self._shell = ThinShell.of(data, config.width, centred=config.centred)
        self._stepper = Stepper(build(config, phi), rule, config.constraint, config.penalty)
        self._course = SCHEDULES[config.schedule]
        self._rows: list[EpochRow] = []
        self._losses: list[float] = []
        self._records: list[tuple[int, FloatArray, FloatArray]] = []
        self._correct = 0  # samples of this epoch that were classified rightly
        self._before = 0.0  # seconds of the runs that were interrupted

    def train(self, progress: Progress | None) -> TrainingReport:
        """Train to the end, from the beginning or from the checkpoint."""
        if self._saving is None:
            return self._train(progress, lambda: None)
        if self._saving.resume:
            self._load(self._saving.path)
        with signals_wait() as handle:
            return self._train(progress, partial(self._interruptible, self._saving, handle))

    def _interruptible(self, saving: Saving, handle: Callable[[], None]) -> None:
        """Between two steps: if a signal ends the run here, what was done is kept."""
        try:
            handle()
        except KeyboardInterrupt as error:
            self._save(saving.path)
            done = f"{len(self._losses)} of {self._config.steps} steps are kept in {saving.path}"
            error.add_note(f"{done}; to resume: {saving.again}")
            raise

    def _train(self, progress: Progress | None, interruptible: Callable[[], None]) -> TrainingReport:
        saving, report = self._saving, progress or (lambda *_: None)
        start = saved = time.monotonic()
        report(len(self._losses) / self._config.steps_per_epoch, self._config.epochs, self._config.words)
        for epoch in range(len(self._rows) + 1, self._config.epochs + 1):
            reason = self._epoch(epoch, start, report, interruptible)
            if reason is not None:
                return self._report(DIVERGED, reason)
            report(epoch, self._config.epochs, self._rows[-1].words)
            if saving is not None and (time.monotonic() - saved > saving.seconds or epoch == self._config.epochs):
                self._save(saving.path)
                saved = time.monotonic()
        loss = self._rows[-1].test_loss
        if np.isfinite(loss):
            return self._report(FINISHED, None)
        advice = f"try a smaller learning rate than {self._config.learning_rate:.3g}"
        return self._report(DIVERGED, f"the loss on the test samples is {loss} after the last step; {advice}")

    def _epoch(self, epoch: int, start: float, report: Progress, interruptible: Callable[[], None]) -> str | None:
        """One pass, or the rest of one; gives the reason if the run diverges."""
        config, first = self._config, (epoch - 1) * self._config.steps_per_epoch
        for chosen in islice(self._batches(epoch), len(self._losses) - first, None):
            step = len(self._losses) + 1
            recorded = (step - 1) % -(-config.steps // config.records) == 0 or step == config.steps
            norms = np.empty(config.depth + 1) if recorded else None
            x, labels = self._shell(self._data.x_train[chosen]), self._data.y_train[chosen]
            result = self._stepper.step(x, labels, self._rate(step), norms)
            reason = _divergence(result.loss, norms, result.bad_layer, config, step)
            if reason is not None:
                return reason
            self._losses.append(result.loss)
            self._correct += result.correct
            if norms is not None:
                with quiet():
                    deviations = np.array([deviation(w) for w in self._stepper.network.weights[:-1]])
                self._records.append((step, norms, deviations))
            interruptible()
            if step < epoch * config.steps_per_epoch:
                words = self._rows[-1].words if self._rows else "epoch 1"
                report(step / config.steps_per_epoch, config.epochs, words)
        losses = self._losses[first:]
        test = evaluate(self._stepper.network, self._shell, self._data.x_test, self._data.y_test)
        seconds = self._before + time.monotonic() - start
        accuracy, self._correct = self._correct / (len(losses) * config.batch), 0
        rate = self._rate(len(self._losses))
        self._rows.append(EpochRow(epoch, rate, float(np.mean(losses)), accuracy, *test, seconds))
        return None

    def _rate(self, step: int) -> float:
        """The learning rate of a step, counted from 1."""
        return self._config.learning_rate * self._course((step - 1) / self._config.steps)

    def _batches(self, epoch: int) -> Iterator[npt.NDArray[np.intp]]:
        """The samples of each step; the order depends on the seed and the epoch alone."""
        order = stream(self._config.seed, streams.TRAINING_ORDER, epoch).permutation(self._config.samples)
        for step in range(self._config.steps_per_epoch):
            yield np.sort(order[step * self._config.batch : (step + 1) * self._config.batch])

    def _report(self, outcome: str, reason: str | None) -> TrainingReport:
        return TrainingReport(
            config=self._config,
            outcome=outcome,
            reason=reason,
            epochs=tuple(self._rows),
            losses=np.array(self._losses),
            recorded_steps=np.array([step for step, _, _ in self._records], dtype=np.int64),
            gradient_norms=np.array([norms for _, norms, _ in self._records]).reshape(-1, self._config.depth + 1),
            deviations=np.array([deviations for _, _, deviations in self._records]).reshape(-1, self._config.depth),
            network=self._stepper.network,
        )

    def _arrays(self) -> dict[str, FloatArray]:
        """Everything that training changes in place, by name."""
        stepper = self._stepper
        named = {f"parameter/{name}": array for name, array in stepper.parameters.items()}
        named |= {f"running/{name}": array for name, array in running_statistics(stepper.network).items()}
        for name, memory in stepper.memories.items():
            named |= {f"memory/{name}/{order}": array for order, array in enumerate(memory)}
        return named

    def _save(self, path: Path) -> None:
        report = self._report("unfinished", None)
        header = {"config": self._config.to_dict(), "time": self._stepper.time, "correct": self._correct}
        records = {
            "epochs": np.array([astuple(row) for row in self._rows], dtype=np.float64),
            "losses": report.losses,
            "recorded_steps": report.recorded_steps,
            "gradient_norms": report.gradient_norms,
            "deviations": report.deviations,
        }
        write_checkpoint(path, header, self._arrays() | records)

    def _load(self, path: Path) -> None:
        header, arrays = read_checkpoint(path)
        self._config.check_resumable(header.get("config", {}), path)
        held = self._arrays()
        missing = [name for name, array in held.items() if name not in arrays or arrays[name].shape != array.shape]
        if missing:
            raise UsageError(f"the checkpoint {path} lacks {missing[0]} of this network; start again without resume")
        for name, array in held.items():
            array[...] = arrays[name]
        self._stepper.time = int(header["time"])
        self._correct = int(header.get("correct", 0))  # a checkpoint between two epochs has none
        self._rows = [EpochRow(int(epoch), *numbers) for epoch, *numbers in arrays["epochs"].tolist()]
        self._losses = arrays["losses"].tolist()
        parts = (arrays["recorded_steps"], arrays["gradient_norms"], arrays["deviations"])
        self._records = [(int(step), norms, deviations) for step, norms, deviations in zip(*parts, strict=True)]
        self._before = self._rows[-1].seconds if self._rows else 0.0


def evaluate(
    network: Network,
    shell: Callable[[npt.NDArray[Any]], FloatArray],
    samples: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
) -> tuple[float, float]:
    """Compute the mean cross-entropy and the accuracy on samples, batch normalization by its running statistics.

    A sample whose logits are not finite has no class: it counts as wrong.

    Args:
        network: with logits as its outputs.
        shell: how samples become inputs.
        samples: array (samples, features).
        labels: classes, integers (samples,).
    """
    fixed = network.folded()
    losses, correct = [], 0
    for start in range(0, len(samples), EVALUATION_ROWS):
        part = slice(start, start + EVALUATION_ROWS)
        logits = fixed.forward(shell(samples[part])).outputs
        losses.append(cross_entropy_of_logits(logits, labels[part])[0])
        correct += int(((logits.argmax(axis=1) == labels[part]) & np.isfinite(logits).all(axis=1)).sum())
    return float(np.concatenate(losses).mean()), correct / len(samples)


def _divergence(
    loss: float, norms: FloatArray | None, bad_layer: int | None, config: TrainingConfig, step: int
) -> str | None:
    """Return the reason why a run cannot continue, in one sentence; None if it can."""
    when = f"at step {step} (epoch {(step - 1) // config.steps_per_epoch + 1})"
    advice = f"try a smaller learning rate than {config.learning_rate:.3g}" if step > 1 else "try other weights"
    if bad_layer is not None:
        return f"the signal overflows in layer {bad_layer} {when}; {advice}"
    if not np.isfinite(loss):
        return f"the loss is {loss} {when}; {advice}"
    if loss > HOPELESS * np.log(config.classes):
        return f"the loss is {loss:.3g} {when}, over {HOPELESS:g} times that of guessing; {advice}"
    if norms is not None and not np.isfinite(norms).all():
        layer = int(np.flatnonzero(~np.isfinite(norms))[-1]) + 1
        return f"the gradient is not finite from layer {layer} downwards {when}; {advice}"
    return None
