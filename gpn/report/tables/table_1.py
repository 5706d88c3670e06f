"""The paper's Table 1 beside ours in the terminal."""

from functools import partial
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from gpn.report.tables.columns import Column, terminal_table
from gpn.report.words.paper_findings import display, table_1_finding
from gpn.report.words.terminal import paragraphs
from gpn.report.words.text import plain, short_number
from gpn.reproduction.gradient_settings import BATCH_NORMALIZED, GPN, PLAIN

if TYPE_CHECKING:
    from gpn.reproduction.table_1_results import TableReport


def table_1(report: "TableReport") -> RenderableType:
    """The setting, a line for each activation, and what differs from the paper."""
    setting = report.setting
    head = (
        f"{plain(setting.data)}: {setting.train_samples} samples to train on, {setting.test_samples} to test; width "
        f"{setting.width}, depth {setting.depth}, {setting.epochs} epochs, batches of {setting.batch}, rate "
        f"{short_number(setting.learning_rate)}"
    )
    treatments = ((PLAIN, "as it is"), (GPN, "GPN"), (BATCH_NORMALIZED, "batch norm"))
    columns: list[Column[str]] = [Column("activation", display)]
    for treatment, words in treatments:
        columns.append(Column(words, partial(_ours, report, treatment), right=True))
        columns.append(Column("paper", partial(_paper, report, treatment), right=True))
    notes = (
        "Test accuracy in %, in brackets on the training samples of the last epoch. Paper: Table 1 of Lu, Gould, "
        "Ajanthan (arXiv 2006.12169) by the slides on the first author's site.",
        f"What differs: {'; '.join(setting.differences)}. The slides do not say how the first layer and the readout "
        "begin; here as torch.nn.Linear does.",
    )
    return paragraphs(
        [Text(head, style="bold"), Text(table_1_finding(report))],
        [terminal_table(tuple(columns), report.activations)],
        [Text(note, style="dim") for note in notes],
    )


def _ours(report: "TableReport", treatment: str, activation: str) -> str:
    row = report.find(activation, treatment)
    if row.test_accuracy is None or row.train_accuracy is None:
        return "diverged"
    return f"{row.test_accuracy:.1f} ({row.train_accuracy:.0f})"


def _paper(report: "TableReport", treatment: str, activation: str) -> str:
    row = report.find(activation, treatment)
    return "" if row.paper is None else f"{row.paper:.2f}"
