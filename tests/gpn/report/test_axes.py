"""Every public figure draws into given axes as it draws into a figure of its own; several reports share one."""

import inspect
from functools import cache
from types import SimpleNamespace

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import gpn
from gpn.probing.results import Answer
from gpn.report import plots
from gpn.report.plots.style import many_panels
from gpn.reproduction.comparison import training_comparison
from gpn.reproduction.gradients import gradient_profiles
from gpn.verification.width_results import Point, Requirement, WidthReport
from tests.gpn.report.test_plots import profile, report, row
from theory.errors import UsageError
from theory.gaussian.hermite import hermite_spectrum

FIGURES = [getattr(plots, name) for name in plots.__all__ if name != "PALETTE"]
phi = cache(gpn.activation)


def verification(name="tanh"):
    rows = [row(claim="deep-gradient-ratio", side="either", depth=20, bound_kind="deep", prediction=0.1, width=width)
            for width in (64, 256)]  # fmt: skip
    far = profile("tanh as it is", "control", rate=-0.4)
    return report(rows, [profile(f"GPN {name}, Haar"), far], activation=name)


def width_report(name="tanh", unknown="width"):
    deep = Requirement("whole network", "deep", 80.0, 0.04, "", (Point(10, 0.5), Point(100, 0.01)))
    return WidthReport(unknown, name, None, 5, 0.5, 0.05, (deep,))


@cache
def spectrum_report(name="tanh"):
    return gpn.spectrum(name, 1, width=16, networks=2)


@cache
def gain_report(name):
    return gpn.gain(name)


@cache
def design_report():
    number = SimpleNamespace
    conditions = SimpleNamespace(separation=number(value=0.5), isometry=number(value=0.2), laws_hold=True)
    chosen = SimpleNamespace(value=0.5, depth=20, family=SimpleNamespace(parameter="s"))
    path = tuple(SimpleNamespace(value=s, separation=s, rank=s / 2) for s in (0.25, 0.5, 0.95))
    frame = {name: [getattr(point, name) for point in path] for name in ("separation", "rank")}
    return SimpleNamespace(spec="tanh(0.5*x)", chosen=chosen, conditions=conditions, plain=conditions, path=path,
                           to_frame=lambda: frame)  # fmt: skip


@cache
def probe_report():
    judged = SimpleNamespace(measured=1.0, predicted=1.1, lower=0.9, upper=1.3)
    rows = [SimpleNamespace(kind=kind, layer=layer, length=1.0, gradient=0.1, forward=judged, backward=judged,
                            follows=Answer.YES) for layer in (1, 2) for kind in ("linear", "activation")]  # fmt: skip
    return SimpleNamespace(rows=rows, model="Net", follows=Answer.YES, normalized=Answer.YES, comparisons=8,
                           initializations=2, level=0.99, findings=())  # fmt: skip


@cache
def comparison_report():
    return training_comparison(activations=["relu"], depths=[2, 3], recipes=["gpn", "plain-gaussian"], width=8, seeds=2,
                               epochs=2, samples=150, factors=[1.0])  # fmt: skip


ARGUMENTS = {
    "accuracies_by_depth": lambda: [comparison_report()],
    "activation_and_slope": lambda: [[("as given", phi("relu")), ("b_plus", phi("tanh"))], "finding"],
    "bound_tightness": lambda: [verification()],
    "design_path": lambda: [design_report()],
    "edge_of_chaos": lambda: [gain_report("tanh")],
    "exceedance_against_width": lambda: [verification()],
    "exceedance_legend": lambda: [verification()],
    "exceedance_panel": lambda: [verification(), "deep-gradient-ratio", 20],
    "gradient_by_layer": lambda: [verification()],
    "gradient_profiles": lambda: [gradient_profiles(["relu"], width=8, depth=6, trials=20, batch=4, batches=[])],
    "hermite_spectrum": lambda: [hermite_spectrum(phi("relu"), 8), "finding"],
    "jacobian_spectrum": lambda: [spectrum_report()],
    "length_map_cobweb": lambda: [phi("relu"), "finding"],
    "losses_by_epoch": lambda: [comparison_report()],
    "norms_while_training": lambda: [comparison_report()],
    "plot_exceedance": lambda: [[verification("tanh"), verification("gelu")]],
    "probability_against_unknown": lambda: [width_report()],
    "scales_by_layer": lambda: [probe_report()],
    "training_run": lambda: [gpn.train("tanh", width=8, depth=2, epochs=1, samples=100)],
}


def panels(axes):
    """What is drawn in a place: the axes themselves, or the panels that take their place."""
    return [panel for part in axes.figure.subfigs for panel in part.axes] or [axes]


@pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: draw.__name__)
def test_every_public_figure_draws_into_given_axes(draw):
    """Into these and no others; the axes beside them stay empty, and what is drawn lies within the figure."""
    parameter = inspect.signature(draw).parameters["ax"]
    assert (parameter.kind, parameter.default) == (inspect.Parameter.KEYWORD_ONLY, None)
    figure = Figure(figsize=(20, 8), layout="constrained")
    here, beside = figure.subplots(1, 2)
    arguments = ARGUMENTS[draw.__name__]()
    assert draw(*arguments, ax=here) is figure
    FigureCanvasAgg(figure).draw()
    shown = panels(here)
    assert any(axes.lines or axes.collections or axes.patches or axes.get_legend() for axes in shown)
    assert not beside.lines
    assert not beside.collections
    assert here in figure.axes
    assert all(axes.get_window_extent().x1 < beside.get_window_extent().x0 for axes in shown)
    alone = draw(*arguments)
    assert isinstance(alone, Figure)
    assert alone is not figure


def test_axes_without_a_place_in_a_grid_are_refused_by_figures_of_several_panels():
    with pytest.raises(UsageError, match="several panels"):
        many_panels(4, 3, Figure().add_axes((0, 0, 1, 1)))


def labels(figure):
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()] + figure.legends
    return " ".join(text.get_text() for legend in legends for text in legend.get_texts())


@pytest.mark.parametrize(
    ("draw", "reports", "words"),
    [
        (plots.edge_of_chaos, lambda: [gain_report("tanh"), gain_report("relu")], "tanh: edge relu: edge"),
        (plots.jacobian_spectrum, lambda: [spectrum_report("tanh"), spectrum_report("relu")], "tanh, relu, networks"),
        (plots.probability_against_unknown, lambda: [width_report("tanh"), width_report("relu")], "tanh: relu:"),
        (plots.gradient_by_layer, lambda: [verification("tanh"), verification("gelu")], "GPN tanh GPN gelu"),
    ],
)
def test_several_reports_share_one_figure(draw, reports, words):
    """Each is named and has its colour; one report names nothing that it need not."""
    shown = labels(draw(reports()))
    assert all(word in shown for word in words.split(" ")), shown
    assert "as it is" not in shown


def test_what_cannot_share_a_figure_is_refused():
    with pytest.raises(UsageError, match="depth, width"):
        plots.probability_against_unknown([width_report(), width_report(unknown="depth")])


def test_a_report_draws_its_main_figure_into_axes():
    axes = Figure().subplots()
    assert verification().plot("tightness", ax=axes) is axes.figure
    assert axes.get_ylabel() == "bound"
