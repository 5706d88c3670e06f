"""Figures: nothing is clipped or overlaps, every row is drawn, captions are true to the evidence, no global state."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.markers import CARETDOWN
from PIL import Image

import gpn
from gpn.checking.results import check_report
from gpn.experiment.files import save_figure
from gpn.report import plots
from gpn.report.pages import pictures
from gpn.report.plots.exceedance import exceedance_legend, exceedance_panel
from gpn.report.words import captions
from gpn.report.words.findings import claim_finding
from gpn.report.words.selection import below_panel
from gpn.statistics.limits import Verdict
from gpn.verification.results import Configuration, Profile, Row, VerificationReport
from theory.depth.length_map import length_map
from theory.errors import UsageError
from theory.gaussian.hermite import hermite_spectrum

CLAIMS = ("forward-one-step", "backward-one-step-random", "backward-one-step-fixed")


def row(
    claim="forward-one-step",
    width=64,
    depth=1,
    epsilon=0.2,
    side="upper",
    exceedances=5,
    bound=0.3,
    **changes,
):
    estimate = exceedances / 1000
    values = {
        "claim": claim,
        "activation": "GPN tanh",
        "width": width,
        "depth": depth,
        "epsilon": epsilon,
        "side": side,
        "trials": 1000,
        "exceedances": exceedances,
        "estimate": estimate,
        "lower": max(0.0, estimate - 0.002),
        "upper": estimate + 0.004,
        "bound_kind": "levy" if bound is not None else "none (no bound known)",
        "bound": bound,
        "prediction": None,
        "verdict": Verdict.HOLDS if bound is not None and bound < 1 else Verdict.VACUOUS,
    }
    return Row(**(values | changes))


def profile(label="GPN tanh, Haar", role="claim", width=64, depth=20, rate=0.0):
    layers = np.arange(depth)[::-1, None]
    norms = np.exp(rate * layers + 0.02 * np.array([-2.0, -1.0, 0.0, 1.0, 2.0]) * layers)
    return Profile(label, role, width, depth, 100, (0.05, 0.25, 0.5, 0.75, 0.95), norms)


def report(rows, profiles=(), activation="tanh"):
    config = Configuration(
        activation=activation,
        expression="tanh(x)",
        root="auto",
        scale=1.467,
        shift=0.389,
        widths=(64,),
        depths=(20,),
        epsilons=(0.2,),
        deep_epsilons=(0.5,),
        trials=100,
        seed=0,
        level=0.99,
        weights="haar",
        inputs=None,
    )
    return VerificationReport(config, tuple(rows), tuple(profiles), (), (), {})


@pytest.fixture
def full_report():
    rows = [
        row(claim, width, 1, epsilon, side, exceedances, bound)
        for claim in CLAIMS
        for width, bound in ((64, 1.0), (256, 0.3), (1024, 1e-9))
        for epsilon, exceedances in ((0.2, 40), (0.5, 0))
        for side in ("upper", "lower")
    ]
    rows += [
        row("deep-gradient-ratio", width, depth, 0.5, "either", 300, None, prediction=0.25)
        for depth in (50, 200)
        for width in (64, 256, 1024)
    ]
    profiles = [
        profile(),
        profile("tanh, Haar", "control", rate=-0.2),
        profile("GPN tanh, Gaussian", "control"),
    ]
    return report(rows, profiles)


def texts(figure):
    """Every text that is drawn, with its box in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    found = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        legend = axes.get_legend()
        found += [*legend.get_texts(), legend.get_title()] if legend else []
        if axes.axison:
            found += [
                axes.xaxis.label,
                axes.yaxis.label,
                axes._left_title,
                *axes.texts,
                *shown_tick_labels(axes),
            ]
    boxes = [(text, text.get_window_extent(canvas.get_renderer())) for text in found if text.get_text()]
    return [(text, box) for text, box in boxes if box.width > 0]


def shown_tick_labels(axes):
    """Tick labels within the limits of the axes: matplotlib keeps others, which it does not draw."""
    view = axes.get_window_extent()
    across = [label for label in axes.get_xticklabels() if view.x0 - 2 <= centre(label)[0] <= view.x1 + 2]
    return across + [label for label in axes.get_yticklabels() if view.y0 - 2 <= centre(label)[1] <= view.y1 + 2]


def centre(text):
    box = text.get_window_extent()
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2


DRAWN = [plots.exceedance_against_width, plots.gradient_by_layer, plots.bound_tightness, exceedance_legend]


@pytest.mark.parametrize("draw", DRAWN, ids=lambda draw: draw.__name__)
def test_no_text_is_clipped_and_no_titles_or_labels_overlap(full_report, draw):
    assert_legible(draw(full_report))


def test_long_names_and_findings_are_not_clipped():
    names = [
        profile(f"GPN x*sigmoid(1.3*x)+0.1*tanh(x+0.25), {each} weights")
        for each in ("Haar", "He", "Glorot", "Gaussian")
    ]
    assert_legible(plots.gradient_by_layer(report([row()], [profile("raw", "control", rate=-0.9), *names])))
    undecided = [row(claim, n, verdict=Verdict.UNDECIDED) for claim in CLAIMS for n in range(10, 30)]
    rows = [row(claim, n, bound=bound) for claim in CLAIMS for n in range(40, 60) for bound in (1.0, 0.3)]
    figure = plots.exceedance_against_width(report([*rows, *undecided]))
    assert_legible(figure)
    assert figure.axes[0].texts[0].get_text() == "20 of 60 bounds hold, 20 undecided, 20 say nothing"


def test_the_finding_of_a_claim_counts_its_bounds():
    rows = [row(width=64, bound=1.0), row(width=256), *(row(width=n, verdict=Verdict.UNDECIDED) for n in (16, 32))]
    assert claim_finding(rows) == "1 of 4 bounds holds, 2 undecided, 1 says nothing"
    assert claim_finding(rows[:1]) == "the bound says nothing"
    assert claim_finding([row(verdict=Verdict.VIOLATED), *rows]) == "violated: 1 of 5 bounds"


def test_widths_that_lie_close_have_one_label():
    """The width that tests the theorem may lie next to one of the default widths."""
    rows = [row("deep-gradient-ratio", n, 50, 0.5, "either", 40, None) for n in (64, 174, 256, 903, 1024)]
    figure = plots.exceedance_against_width(report(rows))
    assert_legible(figure)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["64", "174", "256", "", "1024"]


@pytest.mark.parametrize("panel", range(5))
def test_each_panel_alone_is_legible(full_report, panel):
    assert_legible(pictures.panel_pictures(full_report)[panel].draw())


@pytest.mark.parametrize("spec", ["gelu", "relu", "sign", "exp(x**2/2)"])
def test_figures_of_an_activation_are_legible(spec):
    for picture in pictures.of_check(check_report(spec, 10, detailed=False)):
        assert_legible(picture.draw())


def assert_legible(figure):
    width, height = figure.canvas.get_width_height()
    boxes = texts(figure)
    assert len(boxes) >= 5
    for text, box in boxes:
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"{text.get_text()!r} leaves the figure: {box}"
    for number, (first, box) in enumerate(boxes):
        for second, other in boxes[number + 1 :]:
            assert not box.shrunk(0.9, 0.8).overlaps(other), f"{first.get_text()!r} overlaps {second.get_text()!r}"


def test_one_panel_for_each_claim_and_depth(full_report):
    figure = plots.exceedance_against_width(full_report)
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.axison]
    assert titles == [
        "Forward, one layer",
        "Backward, one layer, random direction",
        "Backward, one layer, fixed direction",
        "Whole network, depth 50",
        "Whole network, depth 200",
    ]
    assert "one layer hold" in figure.get_suptitle()


def test_title_states_a_violation():
    violated = row(verdict=Verdict.VIOLATED, exceedances=900)
    figure = plots.exceedance_against_width(report([violated, row(width=256)]))
    assert "1 of 2 rows" in figure.get_suptitle()


def test_estimates_and_limits_are_where_the_rows_say():
    one = row(exceedances=50)
    axes = plots.exceedance_against_width(report([one])).axes[0]
    (container,) = axes.containers
    assert container.lines[0].get_ydata()[0] == one.estimate
    (segment,) = container.lines[2][0].get_segments()
    np.testing.assert_allclose(segment[:, 1], [one.lower, one.upper])
    assert [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "-"] == [one.bound]


def test_bounds_of_the_two_sides_have_different_markers():
    rows = [row(width=width, side=side) for width in (64, 256) for side in ("upper", "lower")]
    axes = plots.exceedance_against_width(report(rows)).axes[0]
    markers = [line.get_marker() for line in axes.lines if line.get_linestyle() == "-"]
    assert len(markers) == len(set(markers)) == 2


def test_what_lies_below_the_panel_is_marked_there_and_told_in_the_caption():
    rows = [row(width=64), row(width=256, bound=1e-30, prediction=1e-40), row(width=1024, bound=1e-9)]
    shown = report(rows)
    axes = exceedance_panel(shown, "forward-one-step", 1).axes[0]
    low = axes.get_ylim()[0]
    assert sorted(below_panel(rows)) == sorted([(1e-30, 256), (1e-40, 256), (1e-9, 1024)])
    (marks,) = [line for line in axes.lines if line.get_marker() == CARETDOWN]
    np.testing.assert_allclose(marks.get_xdata(), [256, 1024])
    assert low > 1e-9
    assert "1.00e-40 at width 256" in captions.panel(rows)
    assert "below the panel" in [text.get_text() for text in exceedance_legend(shown).axes[0].get_legend().texts][-2]


def test_nothing_is_marked_where_all_is_in_the_panel():
    axes = plots.exceedance_against_width(report([row()])).axes[0]
    assert CARETDOWN not in [line.get_marker() for line in axes.lines]
    assert "elow" not in captions.panel([row()])


def test_probability_ticks_are_decades_up_to_one():
    rows = [row(exceedances=0, estimate=0.0, lower=0.0, upper=upper) for upper in (1e-2, 1e-37)]
    axes = plots.exceedance_against_width(report(rows)).axes[0]
    ticks = axes.get_yticks()
    assert ticks.max() == 1.0
    assert len(ticks) <= 9
    np.testing.assert_allclose(np.log10(ticks), np.round(np.log10(ticks)), atol=1e-9)


def test_nothing_seen_is_drawn_as_an_upper_limit():
    axes = plots.exceedance_against_width(report([row(exceedances=0)])).axes[0]
    assert [tuple(line.get_ydata()) for line in axes.lines if line.get_marker() == "_"] == [(0.004,)]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_any_number_of_panels_and_a_single_width_draw(count):
    rows = [row("deep-gradient-ratio", 64, depth, 0.2, "either") for depth in range(1, count + 1)]
    figure = plots.exceedance_against_width(report(rows))
    FigureCanvasAgg(figure).draw()
    assert sum(axes.axison for axes in figure.axes) == count


def test_everything_always_seen_and_bounds_of_zero_draw():
    rows = [
        row(exceedances=1000, lower=0.99, upper=1.0),
        row(width=128, exceedances=0, upper=1e-300, bound=0.0),
    ]
    FigureCanvasAgg(plots.exceedance_against_width(report(rows))).draw()


def deep_report(name, widths=(64, 256), epsilon=0.5):
    return report([row(claim="deep-gradient-ratio", side="either", width=width, depth=5, epsilon=epsilon,
                       bound_kind="deep") for width in widths], activation=name)  # fmt: skip


def test_several_activations_stand_in_one_pair_of_axes():
    axes = Figure().subplots()
    figure = plots.plot_exceedance([deep_report("tanh"), deep_report("gelu")], ax=axes)
    assert figure is axes.figure
    assert [text.get_text() for text in axes.get_legend().get_texts()][:3] == ["tanh", "gelu", "deep bound"]
    assert axes.get_title(loc="left") == "Whole network, depth 5, ε = 0.5"
    assert len({bars.lines[0].get_color() for bars in axes.containers}) == 2
    FigureCanvasAgg(plots.plot_exceedance(deep_report("tanh"))).draw()


def test_reports_without_a_common_event_are_refused():
    with pytest.raises(UsageError, match="not every report has deep-gradient-ratio"):
        plots.plot_exceedance([deep_report("tanh"), deep_report("gelu", epsilon=1.0)])
    with pytest.raises(UsageError, match="no rows"):
        plots.plot_exceedance([])


def test_gradient_figure_shows_the_claim_first_and_states_its_factor(full_report):
    figure = plots.gradient_by_layer(full_report)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    names = ["GPN tanh, Haar", "tanh, Haar", "GPN tanh, Gaussian"]
    assert labels == [*(f"{name} (100 networks)" for name in names), "all norms preserved"]
    factor = np.exp(0.04 * 19)
    assert f"factor {factor:.2f}" in figure.get_suptitle()


def test_gradient_figure_enlarges_the_claim_beside_networks_that_leave_it_by_more_than_a_decade():
    near, far = profile(), profile(role="control", label="tanh")
    assert len(plots.gradient_by_layer(report([row()], [near, far])).axes) == 1
    far.gradient_norms[:] = near.gradient_norms.min() / 10.1
    overview, enlarged = plots.gradient_by_layer(report([row()], [near, far])).axes
    assert overview.get_ylim()[0] < far.gradient_norms.min() < enlarged.get_ylim()[0] < near.gradient_norms.min()
    assert overview.get_ylim()[1] > near.gradient_norms.max()
    assert enlarged.get_ylim()[1] == pytest.approx(1.6 * near.gradient_norms.max())


def test_gradient_figure_takes_the_deepest_and_widest_networks():
    profiles = [profile(width=64, depth=50), profile(width=256, depth=50), profile(width=1024, depth=20)]
    figure = plots.gradient_by_layer(report([row()], profiles))
    assert "n = 256" in figure.legends[0].get_title().get_text()
    assert figure.axes[0].get_xlim() == (1, 50)


def test_vanished_and_overflowed_gradients_are_left_out():
    broken = profile()
    broken.gradient_norms[:5] = 0.0
    broken.gradient_norms[5:8] = np.inf
    broken.gradient_norms[8] = np.nan
    dead = Profile("dead", "claim", 64, 20, 10, (0.05, 0.5, 0.95), np.full((20, 3), np.nan))
    for shown in ([broken], [dead], []):
        FigureCanvasAgg(plots.gradient_by_layer(report([row()], shown))).draw()


def test_depth_one_draws():
    FigureCanvasAgg(plots.gradient_by_layer(report([row()], [profile(depth=1)]))).draw()


def test_hostile_names_are_shown_as_text():
    name = r"$\frac{a}$ <b> %s \x1b[31m"
    figure = plots.exceedance_against_width(report([row()], activation=name))
    FigureCanvasAgg(figure).draw()
    hostile = profile(label=name)
    FigureCanvasAgg(plots.gradient_by_layer(report([row()], [hostile]))).draw()


def test_no_pyplot_and_no_change_of_settings():
    code = (
        "import sys, matplotlib; before = matplotlib.rcParams.copy()\n"
        "import gpn.report.plots\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert matplotlib.rcParams.copy() == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_neighbouring_colours_differ_in_grey():
    """Rec. 709 luma of the first three colours, the ones most reports use, at least 0.08 apart."""
    luma = [np.dot(matplotlib.colors.to_rgb(colour), [0.2126, 0.7152, 0.0722]) for colour in plots.PALETTE[:3]]
    assert min(abs(a - b) for number, a in enumerate(luma) for b in luma[number + 1 :]) > 0.08


# ---------------------------------------------------------------------------------------------- tightness


def test_bounds_are_drawn_against_the_probability_of_their_event():
    rows = [row(bound=0.3, prediction=0.1), row(bound=0.02, prediction=0.01, bound_kind="cramer")]
    rows += [row(bound=1.0, prediction=0.1), row(bound=0.5), row(bound=0.1, prediction=0.1, bound_kind="exact")]
    figure = plots.bound_tightness(report(rows))
    drawn = {tuple(line.get_xydata()[0]) for line in figure.axes[0].lines if line.get_linestyle() == "None"}
    assert drawn == {(0.1, 0.3), (0.01, 0.02)}
    assert figure.axes[0].get_title(loc="left") == "Lévy bound: 3 times the truth\nCramér bound: 2 times the truth"
    assert "2 bounds" in captions.tightness(report(rows))
    assert "None of 2" in captions.tightness(report(rows))


def test_a_bound_below_the_truth_is_reported():
    assert "1 of 1 lies below" in captions.tightness(report([row(bound=0.05, prediction=0.1)]))


def test_a_bound_for_a_network_is_compared_with_the_prediction_only():
    caption = captions.tightness(report([row(bound=0.3, prediction=0.1, bound_kind="deep")]))
    assert "exact" not in caption
    assert "fluctuation law" in caption


def test_a_near_miss_is_shown_with_enough_digits():
    finding = captions.activation_finding(gpn.check("1.4674*tanh(x)+0.3885"))
    assert "E φ² = 1 − 5e-05" in finding
    assert "E φ² = 0.425" in captions.activation_finding(gpn.check("gelu"))


def test_without_a_bound_below_one_there_is_no_picture_of_tightness():
    shown = report([row(bound=1.0, prediction=0.5)])
    assert [picture.name for picture in pictures.of_verification(shown)] == ["exceedance", "gradients"]
    FigureCanvasAgg(plots.bound_tightness(shown)).draw()


# ---------------------------------------------------------------------------------------------- one activation


def test_curves_are_the_activation_and_its_slope_with_gaps_at_jumps():
    phi = gpn.activation("hardshrink")  # jumps at +-1/2
    upper, lower = plots.activation_and_slope([("as given", phi)], "finding").axes
    for axes, function in ((upper, phi.value), (lower, phi.slope)):
        x, y = axes.lines[0].get_data()
        gaps = np.isnan(y)
        np.testing.assert_array_equal(x[gaps], phi.breakpoint_values)
        np.testing.assert_array_equal(y[~gaps], function(x[~gaps]))


def test_stairs_follow_the_length_map():
    phi = gpn.normalize("gelu", "minus")
    axes = plots.length_map_cobweb(phi, "finding").axes[0]
    stairs = [line for line in axes.lines if str(line.get_label()).startswith("layer by layer")]
    assert [line.get_xydata()[0, 0] for line in stairs] == [0.5, 2.0]
    for line in stairs:
        corners = line.get_xydata()
        q = corners[0, 0]
        for turn in range(1, len(corners), 2):
            following = length_map(phi, q).value
            np.testing.assert_allclose(corners[turn : turn + 2], [(q, following), (following, following)])
            q = following
        assert abs(q - 1) < 0.01
    points = [line for line in axes.lines if line.get_marker() == "o"]
    assert [(round(float(p.get_xdata()[0]), 9), p.get_fillstyle()) for p in points] == [(1.0, "full")]


def test_a_repelling_fixed_point_is_empty_and_the_stairs_leave():
    axes = plots.length_map_cobweb(gpn.normalize("gelu", "plus"), "finding").axes[0]
    assert [line.get_fillstyle() for line in axes.lines if line.get_marker() == "o"] == ["none"]
    assert axes.lines[3].get_ydata()[-1] > 4


def test_powers_of_a_hermite_polynomial_stand_at_its_degree():
    axes = plots.hermite_spectrum(hermite_spectrum(gpn.activation("(x**3 - 3*x)/sqrt(6)"), 10), "finding").axes[0]
    plain, weighted = [line.get_xydata() for line in axes.lines]
    np.testing.assert_allclose(plain, [[3 - 0.15, 1.0]], rtol=1e-12)
    np.testing.assert_allclose(weighted, [[3 + 0.15, 3.0]], rtol=1e-12)


def test_titles_and_captions_state_the_numbers_of_the_check():
    found = list(pictures.of_check(check_report("gelu", 10, detailed=False)))
    assert [picture.name for picture in found] == ["activation", "length-map-plus", "length-map-minus", "hermite"]
    assert found[0].finding.endswith("1.48 φ − 0.91 is (b₋)")
    assert "E φ² = 0.425, E φ'² = 0.456" in found[0].finding
    assert found[1].finding == "gelu with b₊: χ = 1.113,\nsquared length leaves 1"
    assert found[2].finding == "gelu with b₋: χ = 0.4972,\nsquared length returns to 1"
    mean = found[3].finding.split("= ")
    assert mean[1][:6] == mean[2][:6] == f"{0.491691739**2:.4f}"  # the mean of a phi + b, from the conditions
    assert "b₋: a = 1.48111, b = -0.909506, χ = 0.4972, stable" in found[0].caption


def test_an_activation_that_is_gpn_is_drawn_alone():
    found = list(pictures.of_check(check_report("identity", 10, detailed=False)))
    assert found[0].finding == "identity is GPN"
    assert len(found[0].draw().axes[0].lines) == 1


# ---------------------------------------------------------------------------------------------- files


def test_files_carry_the_caption_and_are_the_same_bytes(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    picture = pictures.tightness_picture(report([row(prediction=0.1)]))[0]
    for folder in (first, second):
        folder.mkdir()
        save_figure(plots.bound_tightness(report([row(prediction=0.1)])), folder, "tightness", picture.caption)
    assert [(first / name).read_bytes() for name in ("tightness.png", "tightness.pdf")] == [
        (second / name).read_bytes() for name in ("tightness.png", "tightness.pdf")
    ]
    with Image.open(first / "tightness.png") as image:
        assert image.text["Description"] == picture.caption
