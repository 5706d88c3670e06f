"""The command `gpn train`."""

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpn.cli import answer, long_run, options
from gpn.cli.options import (
    Dataset,
    DefaultSpec,
    Json,
    Raw,
    Results,
    Root,
    chosen_root,
    number,
    only_given,
    option,
    progress_bar,
    results_folder,
)
from theory.errors import UsageError

if TYPE_CHECKING:
    from gpn.training.checkpoints import Saving

DIVERGED_CODE = 1
UNFINISHED = "unfinished.npz"
SECONDS = 30.0  # least time between two checkpoints

Depth = Annotated[int | None, number("L", "Hidden layers; the readout is one more.  [default: 50]", 50)]
Width = Annotated[int | None, number("N", "Neurons in each hidden layer.  [default: 128]", 128)]
OptimizerName = Annotated[
    str | None, option("NAME", "sgd, momentum, adagrad, rmsprop or adam.  [default: sgd]", options.optimizers)
]
Rate = Annotated[
    float | None, number("R", "Learning rate at the start.  [default: by depth, width and effective rank]", 0.001)
]
Schedule = Annotated[
    str | None,
    option(
        "NAME", "Schedule of the learning rate: constant, cosine, linear or step.  [default: cosine]", options.schedules
    ),
]
Epochs = Annotated[int | None, number("N", "Passes through the data.  [default: 30]", 30)]
Batch = Annotated[int | None, number("N", "Samples in each step.  [default: 64]", 64)]
Samples = Annotated[
    int | None, number("N", "Largest number to train on, and to test on; always the same.  [default: all]", 5000)
]
Weights = Annotated[
    str | None, option("NAME", "Weights at the start: haar, gaussian, he, ...  [default: haar]", options.ensembles)
]
_CONSTRAINTS = "Hidden weights: none, penalty, unit rows, or orthogonal by polar or qr.  [default: none]"
Constraint = Annotated[str | None, option("NAME", _CONSTRAINTS, options.constraints)]
Penalty = Annotated[float | None, number("S", "Strength of the penalty |W^T W - I|^2.  [default: 1]", 1.0)]
BatchNormalization = Annotated[bool, typer.Option("--batch-normalization", help="Batch normalization in every layer.")]
Biases = Annotated[bool, typer.Option("--biases", help="Biases, 0 at the start.")]
Scale = Annotated[float | None, number("S", "Standard deviation of the logits at the start.  [default: 1]", 1.0)]
Centred = Annotated[bool, typer.Option("--centred", help="Subtract the mean sample first.")]
Seed = Annotated[int, number("N", "Seed of the weights and of the order of the samples.", 7)]
Records = Annotated[int | None, number("N", "Steps at which norms are recorded.  [default: 100]", 100)]
Precision = Annotated[
    str | None, option("TYPE", "Type of the numbers: float64 or float32.  [default: float64]", options.precisions)
]
Checkpoint = Annotated[Path | None, option("FILE", "Save the state there, to continue with --resume.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue from --checkpoint, bit for bit.")]


def train(
    context: typer.Context,
    spec: DefaultSpec = "tanh",
    inputs: Dataset = "digits",
    depth: Depth = None,
    width: Width = None,
    optimizer: OptimizerName = None,
    learning_rate: Rate = None,
    schedule: Schedule = None,
    epochs: Epochs = None,
    batch: Batch = None,
    samples: Samples = None,
    weights: Weights = None,
    constraint: Constraint = None,
    penalty: Penalty = None,
    batch_normalization: BatchNormalization = False,
    biases: Biases = False,
    readout_scale: Scale = None,
    centred: Centred = False,
    root: Root = "auto",
    raw: Raw = False,
    seed: Seed = 0,
    records: Records = None,
    precision: Precision = None,
    memory: Annotated[
        str | None, option("SIZE", "Memory that the run may take, such as 4GiB.  [default: what is free]")
    ] = None,
    checkpoint: Checkpoint = None,
    resume: Resume = False,
    out: Results = None,
    as_json: Json = False,
) -> None:
    """Train a deep dense network as a classifier, and record loss, accuracy, gradient norms and orthogonality.

    SPEC is normalized first. The command prints a table by epoch. It writes training.csv, norms.csv (by step and
    layer), training.json and a figure into the folder --out; with --json, only if you give --out. A run that is stopped
    is kept there, and the same command resumes it. Nothing is downloaded.

    Exit code: 0 finished, 1 diverged, 2 wrong use.

    \b
    Examples:
      gpn train "tanh(0.2*x)" --depth 200 --epochs 40
      gpn train relu --raw --weights gaussian --depth 200 --out plain
      gpn train selu --inputs mnist/ --samples 5000 --width 64
      gpn train tanh --inputs mnist/ --constraint polar --optimizer momentum
      gpn train gelu --checkpoint run.npz
      gpn train gelu --checkpoint run.npz --resume     after an interrupt
    """
    given = locals()
    folder = results_folder(out, as_json)
    if penalty is not None and constraint != "penalty":
        raise UsageError("--penalty is the strength of a constraint; give --constraint penalty with it")
    from gpn.report.tables import training as tables
    from gpn.report.words import commands
    from gpn.training.checkpoints import Saving
    from gpn.training.settings import TrainingSettings
    from gpn.training.train import run_training

    choices = (field.name for field in fields(TrainingSettings) if field.name != "root")
    settings = TrainingSettings(**only_given(given, *choices), root=chosen_root(root, raw))
    saving = Saving.of(checkpoint, resume)
    if saving is not None:
        saving = replace(saving, again=f"{long_run.typed(context)}{'' if resume else ' --resume'}")
    elif folder is not None:
        saving = _in_folder(folder, long_run.typed(context))
    with long_run.endings(context):
        with progress_bar(announced=True) as progress:
            report = run_training(spec, inputs, settings, saving, progress, memory)
        table, next_step = tables.training(report), commands.after_train(report, spec, inputs)
        answer.deliver(report, table, next_step, as_json=as_json, folder=folder)
        if saving is not None and checkpoint is None:
            saving.path.unlink(missing_ok=True)  # the run is finished, and its results are written
    raise typer.Exit(DIVERGED_CODE if report.test_accuracy is None else 0)


def _in_folder(folder: Path, command: str) -> "Saving":
    """Keep a run in the folder of its results while it is unfinished, and resume one that was stopped there."""
    from gpn.training.checkpoints import Saving

    path = folder / UNFINISHED
    if path.exists():
        print(f"gpn: an unfinished run is kept in {path}; the same run resumes with it", file=sys.stderr, flush=True)
    return Saving(path, path.exists(), SECONDS, command)
