"""The map from each result to its headline, tables, figures and page. Here a new format of output is added."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpn.checking.audit_results import AuditReport
from gpn.checking.check import CheckedConditions
from gpn.checking.designing import DesignReport
from gpn.checking.results import CheckReport
from gpn.checking.spectrum import SpectrumReport
from gpn.experiment.files import save_figure, write_table, write_text
from gpn.experiment.result import Result, Shown
from gpn.probing.constants import Explanation
from gpn.probing.gain import GainReport
from gpn.probing.results import ProbeReport
from gpn.report.pages import pictures
from gpn.report.pages.check import check_page, conditions_summary
from gpn.report.pages.numbers import numbers_page
from gpn.report.pages.page import element, join
from gpn.report.pages.pictures import Picture
from gpn.report.pages.verification import verification_page
from gpn.report.words import findings, gains, paper_findings, probing, trainability, verdicts
from gpn.reproduction.comparison_results import ComparisonReport
from gpn.reproduction.gradient_results import GradientReport
from gpn.reproduction.table_1_results import TableReport
from gpn.training.results import TrainingReport
from gpn.verification.results import VerificationReport
from gpn.verification.width_results import WidthReport
from theory.errors import UsageError

R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class View(Generic[R]):
    """Presentation of one kind of result.

    Args:
        name: the name of the JSON file, and of the page where `page_name` does not say otherwise.
        headline: the finding in words, which stands above the frame in a notebook.
        tables: frames by the name of their CSV file, without suffix.
        pictures: figures with captions, the main one first.
        page: the HTML page; None for the page that `numbers_page` makes of headline, figures and frame.
        page_name: the name of the saved page, without suffix; None if `save` writes no page.
        float_format: the format of the numbers in CSV files.
        indent: the indentation of the JSON file.
    """

    name: str
    headline: Callable[[R], str]
    tables: Callable[[R], dict[str, pd.DataFrame]]
    pictures: Callable[[R], Iterable[Picture]]
    page: Callable[[R], str] | None = None
    page_name: str | None = None
    float_format: str | None = None
    indent: int = 2


# One map holds views of different classes, each of which takes its own class alone: no type can say that but Any.
_VIEWS: dict[type, View[Any]] = {
    AuditReport: View[AuditReport](
        "audit",
        lambda report: report.summary().partition("\n")[0],
        lambda report: {"audit": report.to_frame()},
        lambda _: (),
    ),
    CheckReport: View[CheckReport](
        "check",
        lambda report: str(findings.check_verdict(report.conditions)),
        lambda _: {},
        pictures.of_check,
        check_page,
        "check",
    ),
    ComparisonReport: View[ComparisonReport](
        "training",
        lambda report: " ".join(paper_findings.comparison_findings(report)),
        lambda report: {
            "training": report.to_frame(),
            "training-runs": report.runs_frame(),
            "training-curves": report.curves_frame(),
        },
        pictures.of_comparison,
    ),
    DesignReport: View[DesignReport](
        "design",
        trainability.design_finding,
        lambda report: {"design": report.to_frame()},
        pictures.of_design,
    ),
    SpectrumReport: View[SpectrumReport](
        "spectrum",
        trainability.spectrum_finding,
        lambda report: {"spectrum": report.to_frame()},
        pictures.of_spectrum,
    ),
    Explanation: View[Explanation](
        "explanation", gains.explanation_finding, lambda found: {"explanation": found.to_frame()}, lambda _: ()
    ),
    GainReport: View[GainReport](
        "gain", gains.gain_finding, lambda report: {"gain": report.to_frame()}, pictures.of_gain
    ),
    GradientReport: View[GradientReport](
        "gradients",
        lambda report: " ".join(paper_findings.findings(report)),
        lambda report: {
            "gradients": report.to_frame(),
            "gradients-layers": report.layers_frame(),
            **({"gradients-batch-normalization": report.growth_frame()} if report.growth else {}),
        },
        pictures.of_gradients,
        float_format="%.9g",
        indent=1,
    ),
    ProbeReport: View[ProbeReport](
        "probe",
        probing.probe_paragraph,
        lambda report: {"probe": report.to_frame()},
        pictures.of_probe,
        page_name="probe",
    ),
    TableReport: View[TableReport](
        "table-1", paper_findings.table_1_finding, lambda report: {"table-1": report.to_frame()}, lambda _: ()
    ),
    TrainingReport: View[TrainingReport](
        "training",
        TrainingReport.summary,
        lambda report: {"training": report.to_frame(), "norms": report.norms_frame()},
        pictures.of_training,
    ),
    VerificationReport: View[VerificationReport](
        "results",
        verdicts.summary,
        lambda report: {"results": report.to_frame()},
        pictures.of_verification,
        verification_page,
        "report",
    ),
    WidthReport: View[WidthReport](
        "width",
        findings.width_finding,
        lambda report: {"width": report.to_frame()},
        pictures.of_width,
    ),
}


def plot(result: Result, name: str | None, ax: Axes | None) -> Figure:
    """Return the figure of that name, or the main one, drawn into `ax` if that is given.

    Raises:
        UsageError: there is no such figure.
    """
    names = []
    for picture in _view(result).pictures(result):
        if name in (None, picture.name):
            return picture.draw(ax=ax)
        names.append(picture.name)
    known = f"the figures are {', '.join(names)}" if names else "it has tables only"
    raise UsageError(f"{type(result).__name__} has no figure {name or ''}".rstrip() + f"; {known}")


def headline(result: Result) -> str:
    """Return the finding of a result in words, in one line or a few."""
    return _view(result).headline(result)


def page(result: Result) -> str:
    """Return the HTML page of a result."""
    view = _view(result)
    if view.page is not None:
        return view.page(result)
    return numbers_page(view.headline(result), view.pictures(result), view.tables(result))


def save(result: Result, folder: Path) -> list[Path]:
    """Write all files of a result into a folder, which is made if it does not exist; return their paths."""
    view = _view(result)
    folder.mkdir(parents=True, exist_ok=True)
    written = [
        write_table(folder / f"{name}.csv", frame, float_format=view.float_format)
        for name, frame in view.tables(result).items()
    ]
    text = json.dumps(result.to_dict(), indent=view.indent, allow_nan=False) + "\n"
    written.append(write_text(folder / f"{view.name}.json", text))
    for picture in view.pictures(result):
        written += save_figure(picture.draw(), folder, picture.name, picture.caption)
    if view.page_name is not None:
        written.append(write_text(folder / f"{view.page_name}.html", page(result)))
    return written


def summary(result: Shown) -> str:
    """Return the headline and the frame as a fragment of HTML, for a notebook."""
    if isinstance(result, CheckedConditions):
        return conditions_summary(result)
    assert isinstance(result, Result)
    lines = join(element("p", line) for line in headline(result).splitlines())
    if isinstance(result, CheckReport):  # its numbers have more digits than a frame shows
        return lines + conditions_summary(result.conditions)
    frame = result.to_frame()
    return lines if frame.empty else lines + str(frame.to_html(index=False))


def _view(result: Result) -> View[Any]:
    """The view of the class of a result, or of the first of its bases that has one."""
    return next(_VIEWS[kind] for kind in type(result).__mro__ if kind in _VIEWS)
