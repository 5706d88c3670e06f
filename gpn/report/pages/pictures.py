"""The figures of a report with their file names and captions: what is saved and what the page shows."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from gpn.report import plots
from gpn.report.plots.training import finding as training_finding
from gpn.report.words import captions, findings, gains, paper_findings
from gpn.report.words import probing as probing_words
from gpn.report.words import trainability as trainability_words
from gpn.report.words.selection import largest, panel_rows, tight_rows
from theory.gaussian.hermite import hermite_spectrum as spectrum_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from gpn.checking.designing import DesignReport
    from gpn.checking.results import CheckReport
    from gpn.checking.spectrum import SpectrumReport
    from gpn.probing.gain import GainReport
    from gpn.probing.results import ProbeReport
    from gpn.reproduction.comparison_results import ComparisonReport
    from gpn.reproduction.gradient_results import GradientReport
    from gpn.training.results import TrainingReport
    from gpn.verification.results import VerificationReport
    from gpn.verification.width_results import WidthReport


class Drawing(Protocol):
    """Draws into the axes that it is given, or into a new figure."""

    def __call__(self, *, ax: "Axes | None" = None) -> "Figure": ...


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure, which is drawn when it is asked for, and its caption.

    Args:
        name: the name of its files, without suffix.
        draw: makes the figure.
        finding: what it shows, in one line.
        caption: how it was made, from the evidence.
    """

    name: str
    draw: Drawing
    finding: str
    caption: str


def of_verification(report: "VerificationReport") -> Iterator[Picture]:
    """The figures that `VerificationReport.save` writes; none of a run about the engine alone."""
    if not report.rows:
        return
    exceedance = partial(plots.exceedance_against_width, report)
    yield Picture("exceedance", exceedance, findings.report_finding(report), captions.exceedance(report))
    yield gradient_picture(report)
    yield from tightness_picture(report)


def of_width(report: "WidthReport") -> Iterator[Picture]:
    """The figure of a required width, depth or tolerance."""
    yield Picture("width", partial(plots.probability_against_unknown, report), findings.width_finding(report), "")


def of_design(report: "DesignReport") -> Iterator[Picture]:
    """The path of the family, with the chosen member."""
    yield Picture("design", partial(plots.design_path, report), trainability_words.design_finding(report), "")


def of_probe(report: "ProbeReport") -> Iterator[Picture]:
    """Lengths and gradients by layer in their bands."""
    yield Picture(
        "probe", partial(plots.scales_by_layer, report), probing_words.probe_finding(report), captions.probe(report)
    )


def of_gain(report: "GainReport") -> Iterator[Picture]:
    """The edge of chaos, where there is one: a function that jumps has no gradients."""
    if report.row("gradient").gain is not None:
        yield Picture("edge-of-chaos", partial(plots.edge_of_chaos, report), gains.gain_finding(report), "")


def of_spectrum(report: "SpectrumReport") -> Iterator[Picture]:
    """The distribution of the squared singular values."""
    figure = partial(plots.jacobian_spectrum, report)
    yield Picture("spectrum", figure, trainability_words.spectrum_finding(report), "")


def of_training(report: "TrainingReport") -> Iterator[Picture]:
    """The figure of a training run."""
    yield Picture("training", partial(plots.training_run, report), training_finding(report), "")


def of_gradients(report: "GradientReport") -> Iterator[Picture]:
    """The figure of the gradient profiles."""
    yield Picture("gradients", partial(plots.gradient_profiles, report), " ".join(paper_findings.findings(report)), "")


def of_comparison(report: "ComparisonReport") -> Iterator[Picture]:
    """The figures of the training comparison."""
    for name, draw, finding in (
        ("training", plots.accuracies_by_depth, " ".join(paper_findings.comparison_findings(report))),
        ("training-losses", plots.losses_by_epoch, "Training loss at the greatest depth"),
        (
            "training-heatmap",
            plots.norms_while_training,
            "Gradient norm of every layer while the deepest networks train",
        ),
    ):
        yield Picture(name, partial(draw, report), finding, "")


def panel_pictures(report: "VerificationReport") -> tuple[Picture, ...]:
    """The figure of frequencies panel by panel, so that a narrow page can stack them, and the legend."""
    pictures = []
    for number, rows in enumerate(panel_rows(report.rows), 1):
        claim, depth = rows[0].claim, rows[0].depth
        finding = f"{findings.claim_title(claim, depth)}: {findings.claim_finding(rows)}"
        figure = partial(plots.exceedance_panel, report, claim, depth)
        pictures.append(Picture(f"panel-{number}", figure, finding, captions.panel(rows)))
    words = "What the marks of the panels mean."
    return (*pictures, Picture("legend", partial(plots.exceedance_legend, report), words, words))


def gradient_picture(report: "VerificationReport") -> Picture:
    """The gradient norm by layer."""
    profiles = largest(report.profiles)
    figure = partial(plots.gradient_by_layer, report)
    return Picture("gradients", figure, findings.gradient_finding(profiles), captions.gradients(report, profiles))


def tightness_picture(report: "VerificationReport") -> tuple[Picture, ...]:
    """The tightness of the bounds, where there is one to show."""
    if not tight_rows(report):
        return ()
    figure = partial(plots.bound_tightness, report)
    return (Picture("tightness", figure, findings.tightness_finding(report), captions.tightness(report)),)


def of_check(report: "CheckReport") -> Iterator[Picture]:
    """The figures that `CheckReport.save` writes and its page shows."""
    conditions, networks = report.conditions, report.networks()
    finding = captions.activation_finding(conditions)
    figure = partial(plots.activation_and_slope, networks, finding)
    yield Picture("activation", figure, finding, captions.activation(conditions))
    if conditions.normalizable != "yes":
        return
    for label, phi in networks[1:] or networks:
        finding, caption = captions.length_map(conditions, label)
        name = "length-map" if label == "as given" else f"length-map-{label.removeprefix('b_')}"
        yield Picture(name, partial(plots.length_map_cobweb, phi, finding), finding, caption)
    wanted = next((f"b_{root.root}" for root in conditions.normalizations if root.recommended), "")
    label, phi = next((network for network in networks if network[0] == wanted), networks[-1])
    spectrum = spectrum_of(phi, 60)
    finding = captions.spectrum_finding(conditions.name, label, spectrum)
    yield Picture("hermite", partial(plots.hermite_spectrum, spectrum, finding), finding, captions.spectrum(spectrum))
