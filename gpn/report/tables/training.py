"""Tables of a training run in the terminal."""

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from gpn.report.tables.columns import Column, terminal_table
from gpn.report.words.terminal import paragraphs
from gpn.report.words.text import short_number
from gpn.report.words.training import why_it_failed
from gpn.training.results import DIVERGED, EpochRow, TrainingReport
from gpn.training.step import CONSTRAINTS

_MOST_ROWS = 20  # epochs in the table; the others are in the files
_COLUMNS: tuple[Column[EpochRow], ...] = (
    Column("epoch", lambda row: str(row.epoch), right=True),
    Column("rate", lambda row: short_number(row.learning_rate), right=True),
    Column("train loss", lambda row: short_number(row.train_loss), right=True),
    Column("train acc.", lambda row: f"{row.train_accuracy:.2%}", right=True),
    Column("test loss", lambda row: short_number(row.test_loss), right=True),
    Column("test acc.", lambda row: f"{row.test_accuracy:.2%}", right=True),
    Column("seconds", lambda row: f"{row.seconds:.1f}", right=True),
)


def training(report: TrainingReport) -> RenderableType:
    """The report of `gpn train`: what was trained, a table by epoch, the result."""
    epochs = [terminal_table(_COLUMNS, _shown(report.epochs))] if report.epochs else []
    style = "bold red" if report.outcome == DIVERGED else "bold"
    outcome = [Text(report.summary(), style=style), *map(Text, filter(None, [why_it_failed(report)]))]
    return paragraphs([Text(line) for line in _description(report)], epochs, outcome)


def _description(report: TrainingReport) -> list[str]:
    config = report.config
    extras = [
        words
        for words, used in (("batch normalization", config.batch_normalization), ("biases", config.biases))
        if used
    ]
    constraint = CONSTRAINTS[config.constraint]
    if config.constraint == "penalty":
        constraint += f", strength {config.penalty:g}"
    return [
        f"{config.function}: {config.depth} layers of {config.width} neurons, {config.weights} weights"
        f"{''.join(f', {extra}' for extra in extras)}; seed {config.seed}.",
        f"{config.data}: {config.samples} samples of {config.features} features, {config.classes} classes; "
        f"{config.steps_per_epoch} steps of {config.batch} samples in an epoch.",
        f"{config.optimizer}, learning rate {short_number(config.learning_rate)} ({config.schedule}); {constraint}.",
    ]


def _shown(rows: tuple[EpochRow, ...]) -> list[EpochRow]:
    """At most `_MOST_ROWS` epochs, evenly spread, with the first and the last."""
    return [rows[round(place)] for place in np.linspace(0, len(rows) - 1, min(_MOST_ROWS, len(rows)))]
