"""The command `gpn train`."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from gpn.cli import answer, options
from gpn.cli.options import (
    DefaultSpec,
    Json,
    Root,
    chosen_root,
    number,
    only_given,
    option,
    progress_bar,
    results_folder,
)
from theory.errors import UsageError

DIVERGED_CODE = 1


def train(
    spec: DefaultSpec = "tanh",
    data: Annotated[
        str, option("DATA", "digits, a folder with MNIST, Fashion-MNIST or CIFAR-10 files, or a .npz file.")
    ] = "digits",
    depth: Annotated[int | None, number("L", "Hidden layers; the readout is one more.  [default: 50]", 50)] = None,
    width: Annotated[int | None, number("N", "Neurons in each.  [default: 128]", 128)] = None,
    optimizer: Annotated[
        str | None, option("NAME", "sgd, momentum, adagrad, rmsprop or adam.  [default: sgd]", options.optimizers)
    ] = None,
    learning_rate: Annotated[
        float | None, number("R", "At the start.  [default: c / (N L), c by the optimizer]", 0.001)
    ] = None,
    schedule: Annotated[
        str | None,
        option("NAME", "Of the learning rate: constant, cosine, linear or step.  [default: cosine]", options.schedules),
    ] = None,
    epochs: Annotated[int | None, number("N", "Passes through the data.  [default: 30]", 30)] = None,
    batch: Annotated[int | None, number("N", "Samples of a step.  [default: 64]", 64)] = None,
    weights: Annotated[
        str | None, option("NAME", "At the start: haar, gaussian, he, ...  [default: haar]", options.ensembles)
    ] = None,
    constraint: Annotated[
        str | None,
        option(
            "NAME",
            "Hidden weights: none, penalty, or kept orthogonal by polar or qr.  [default: none]",
            options.constraints,
        ),
    ] = None,
    penalty: Annotated[float | None, number("S", "Strength of the penalty |W^T W - I|^2.  [default: 1]", 1.0)] = None,
    batch_norm: Annotated[bool, typer.Option("--batch-norm", help="Batch normalization in every layer.")] = False,
    biases: Annotated[bool, typer.Option("--biases", help="Biases, 0 at the start.")] = False,
    readout_scale: Annotated[
        float | None, number("S", "Standard deviation of the logits at the start.  [default: 1]", 1.0)
    ] = None,
    centred: Annotated[bool, typer.Option("--centred", help="Subtract the mean sample first.")] = False,
    root: Root = "auto",
    raw: Annotated[bool, typer.Option("--raw", help="Leave SPEC as it is: no normalization.")] = False,
    seed: Annotated[int, number("N", "Of the weights and the order of the samples.", 7)] = 0,
    records: Annotated[int | None, number("N", "Steps at which norms are recorded.  [default: 100]", 100)] = None,
    checkpoint: Annotated[Path | None, option("FILE", "Save the state there, to continue with --resume.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from --checkpoint, bit for bit.")] = False,
    out: Annotated[Path | None, option("FOLDER", "Folder of the results.  [default: gpn-output]")] = None,
    as_json: Json = False,
) -> None:
    """Train a deep dense network as a classifier, and record loss, accuracy, gradient norms and orthogonality.

    SPEC is normalized first. Prints a table by epoch and writes training.csv, norms.csv (by step and layer),
    training.json and a figure into the folder --out; with --json only if --out is given. Nothing is downloaded.

    Exit code: 0 finished, 1 diverged, 2 wrong use.

    \b
    Examples:
      gpn train selu --depth 200 --learning-rate 0.001 --epochs 40
      gpn train relu --raw --weights gaussian --depth 200 --out plain
      gpn train tanh --data mnist/ --constraint polar --optimizer momentum
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
    with progress_bar() as progress:
        report = run_training(spec, data, settings, Saving.of(checkpoint, resume), progress)
    table, next_step = tables.training(report), commands.after_train(report, spec, data)
    answer.deliver(report, table, next_step, as_json=as_json, folder=folder)
    raise typer.Exit(DIVERGED_CODE if report.test_accuracy is None else 0)
