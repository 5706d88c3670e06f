"""Depth conditions, `gpn.design` and `gpn.spectrum`: whole reports, from Python and from the command line."""

import io
import json

import numpy as np
import pytest
import rich.console

import gpn
from benchmarks.mutations import SPECTRUM_MUTATIONS
from gpn.checking import laws
from gpn.checking.depth_conditions import depth_conditions
from gpn.report.tables import check as tables
from gpn.report.words import trainability as words
from gpn.report.words.commands import after_design
from gpn.statistics.limits import Verdict
from theory.claims.registry import CLAIMS
from theory.errors import UsageError
from theory.normalization.normalize import normalize
from theory.trainability.lengths import length_path
from theory.trainability.separation import separation
from theory.trainability.tangent_kernel import tangent_kernel_ratio


@pytest.fixture(scope="module")
def designed():
    return gpn.design("tanh", 200)


@pytest.fixture(scope="module")
def sampled():
    return gpn.spectrum("tanh", 20, 128, 8)


def test_a_linear_network_keeps_everything():
    found = depth_conditions(gpn.activation("x"), 1000)
    assert [one.value for one in (found.norms, found.separation, found.isometry)] == pytest.approx([1, 1, 1])
    assert found.layers_to_99 == np.inf
    assert found.length.value == pytest.approx(1)


def test_relu_after_200_layers_by_closed_forms():
    found = depth_conditions(normalize(gpn.activation("relu")), 200)
    assert found.isometry.value == pytest.approx(1 / 201)
    rho = 0.0
    for _ in range(200):
        angle = np.arccos(rho)
        rho = (np.sin(angle) + (np.pi - angle) * rho) / np.pi
    assert found.separation.value == pytest.approx(1 - rho, rel=1e-5)
    assert [one.light for one in found.all()] == ["kept", "lost", "lost", "lost"]  # chi = 1: 0.48/(3/1024) layers


def test_norms_that_are_not_kept_are_seen():
    tilted = gpn.activation("(x**2 - 1)/sqrt(2)")  # E phi^2 = 1, E phi'^2 = 2
    found = depth_conditions(tilted, 20)
    assert found.norms.light == "lost"
    assert found.norms.value == pytest.approx(2.0**20)


def test_the_design_is_in_every_form(designed):
    data = designed.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["conditions"]["separation"]["light"] == data["conditions"]["isometry"]["light"] == "kept"
    assert data["plain"]["separation"]["light"] == data["plain"]["isometry"]["light"] == "lost"
    assert data["curvature_spent"] == pytest.approx(1, rel=0.03)
    assert designed.to_frame()["chosen"].sum() == 1
    assert gpn.check(designed.activation).is_gpn == "holds"
    names: dict = {}
    exec(designed.code("numpy"), names)
    function = next(value for name, value in names.items() if name.startswith("gpn_") and "slope" not in name)
    x = np.linspace(-3, 3, 7)
    assert function(x) == pytest.approx(designed.activation(x), rel=1e-12)
    assert "200 layers" in designed.to_html()


def test_the_path_falls_in_both_coordinates(designed):
    frame = designed.to_frame()
    assert frame["value"].is_monotonic_increasing
    assert frame["separation"].is_monotonic_decreasing
    assert frame["rank"].is_monotonic_decreasing


def test_the_spectrum_lies_at_its_law(sampled):
    # The squares of 8 networks fluctuate by some 10 % in the variance at n = 128.
    frame = sampled.to_frame().set_index("quantity")
    assert frame.loc["relative_variance", "measured"] == pytest.approx(
        frame.loc["relative_variance", "predicted"], rel=0.2
    )
    assert frame.loc["share_below", "measured"] == pytest.approx(frame.loc["share_below", "predicted"], abs=0.02)
    assert json.dumps(sampled.to_dict(), allow_nan=False)


def test_the_spectrum_is_the_same_for_the_same_seed(sampled):
    assert np.array_equal(gpn.spectrum("tanh", 20, 128, 2).squares, sampled.squares[:2])
    assert not np.array_equal(gpn.spectrum("tanh", 20, 128, 1, seed=1).squares[0], sampled.squares[0])


def test_the_spectrum_of_orthogonal_matrices_alone_is_one():
    assert gpn.spectrum("identity", 5, 16, 2).squares == pytest.approx(np.ones((2, 16)))


def test_networks_follow_every_law(sampled):
    assert [row.quantity for row in sampled.rows] == list(laws.LAWS)
    assert {row.claim for row in sampled.rows} <= set(CLAIMS)
    assert {row.networks for row in sampled.rows} == {8, laws.PAIRS}
    pairs = {row.quantity: row.verdict for row in sampled.rows if row.networks == laws.PAIRS}
    assert pairs == {"separation": Verdict.HOLDS, "tangent_kernel": Verdict.HOLDS}
    assert [row.lower for row in sampled.rows if row.networks == 8] == [-np.inf] * 3  # 8 networks have no limits
    assert sampled.verdict is Verdict.UNDECIDED
    frame = sampled.to_frame()
    assert frame["verdict"].notna().sum() == len(sampled.rows)
    assert sampled.to_dict()["rows"][0]["lower"] is None
    assert words.laws_finding(sampled).startswith("2 of 5 laws of infinite width hold at this width, 3 are undecided")


@pytest.mark.parametrize("quantity", SPECTRUM_MUTATIONS)
def test_an_error_of_the_engine_is_seen_by_its_row(quantity):
    sizes = ("leaky_relu(0.5)", 10, 64, 20)
    with SPECTRUM_MUTATIONS[quantity].applied():
        wrong = {row.quantity: row.verdict for row in gpn.spectrum(*sizes).rows}
    assert wrong[quantity] is Verdict.VIOLATED
    if quantity == "mean":  # once is enough
        assert Verdict.VIOLATED not in {row.verdict for row in gpn.spectrum(*sizes).rows}


def test_where_the_laws_say_nothing_the_rows_are_vacuous_or_left_out():
    narrow = gpn.spectrum("relu", 30, 16, 12)  # sigma^2/n = 30/16
    assert {row.verdict for row in narrow.rows} == {Verdict.VACUOUS}
    assert "say nothing" in words.laws_finding(narrow)
    assert [row.quantity for row in gpn.spectrum("tanh", 2, 8, 1, root=None).rows] == list(laws.LAWS)[:3]
    linear = gpn.spectrum("x", 5, 16, 12)
    assert {row.verdict for row in linear.rows} == {Verdict.HOLDS}


@pytest.mark.slow
@pytest.mark.parametrize("width", [256, 512, 1024])
def test_the_moments_lie_within_their_error_at_finite_width(width):
    rows = {row.quantity: row for row in gpn.spectrum("tanh", 10, width, 12, seed=2).rows}
    assert rows["relative_variance"].verdict is rows["third_moment"].verdict is Verdict.HOLDS
    assert rows["mean"].verdict is not Verdict.VIOLATED
    assert rows["relative_variance"].allowed_upper / rows["relative_variance"].predicted - 1 < 14 / width


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["tanh", "relu", "selu"])
def test_the_correlation_decays_as_predicted_to_3_percent_at_width_4096(spec):
    pairs = laws.draw_pairs(normalize(gpn.activation(spec)), 4096, 10, "haar", np.random.default_rng(11))
    losses, law = pairs.measured["separation"], pairs.predicted["separation"]
    assert losses.mean() == pytest.approx(law, rel=0.03)
    assert losses.std() / law < 0.1  # so that the mean of 100 is known to 1 %


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["tanh", "relu", "selu", "gelu", "tanh(0.25*x)", "leaky_relu(0.5)"])
@pytest.mark.parametrize(("width", "depth", "networks"), [(64, 5, 60), (128, 20, 40), (256, 20, 20)])
def test_no_true_network_departs_from_the_laws(spec, width, depth, networks):
    report = gpn.spectrum(spec, depth, width, networks, seed=4)
    assert Verdict.VIOLATED not in {row.verdict for row in report.rows}


def test_an_overflow_is_a_sentence():
    with pytest.raises(UsageError, match="overflows in layer 2"):
        gpn.spectrum("1e60*x", 5, 8, 1, root=None)
    with pytest.raises(UsageError, match="not finite"):
        gpn.spectrum("1e200*x", 3, 8, 1, root=None)


def test_a_normalization_that_destroys_information_is_not_praised():
    root = next(root for root in gpn.check("sin(30*x)", 15).normalizations if root.recommended)
    assert "0.9989" in words.loss_warning(root)
    assert words.loss_warning(next(iter(gpn.check("tanh", 15).normalizations))) == ""


def test_the_check_says_what_depth_leaves():
    report = gpn.check_report("relu", 15, detailed=False, depth=57)
    assert report.depth.layers_to_99 == 57
    assert report.to_dict()["depth_conditions"]["relative_variance_per_layer"] == pytest.approx(1)
    assert len(list(tables.check_answer(report, False, lights=True))) == 2
    assert gpn.check_report("sign", 15, detailed=False).depth is None


def test_the_check_says_whose_depth_it_is_and_refuses_depths_out_of_range():
    def said(spec):
        console = rich.console.Console(width=100, file=io.StringIO())
        console.print(*tables.check_answer(gpn.check_report(spec, 15, detailed=False, depth=9), False, lights=True))
        return " ".join(console.file.getvalue().split())

    assert "At 9 layers, of a φ + b (root plus)" in said("relu")
    assert "In depth, with a φ + b (root plus), two inputs of correlation 0" in said("relu")
    assert "In depth, two inputs" in said("sqrt(2)*relu(x)")
    assert "At 9 layers condition" in said("sqrt(2)*relu(x)")
    for depth in (0, -3, 10**12, 2.5, True, float("nan"), "9"):
        for ask in (gpn.check_report, gpn.design, gpn.spectrum):
            with pytest.raises(UsageError, match="of layers from 1 to 1000000, not"):
                ask("relu", depth=depth)


def test_few_digits_are_enough_for_the_laws_of_depth():
    assert (
        gpn.check_report("tanh", 3, detailed=False).depth.layers_to_99
        == gpn.check_report("tanh", 30, detailed=False).depth.layers_to_99
        == 319
    )


@pytest.mark.parametrize("spec", ["tanh", "relu"])
def test_the_tangent_kernel_at_finite_width_is_that_of_infinite_width(spec):
    """Of 60 pairs of orthogonal inputs in networks of 512, to 4 standard errors and L/(2n): the inner product of two
    gradients is half of what the norm of their sum has beyond those of each.
    """
    width, depth, networks = 512, 20, 60
    phi = gpn.normalize(spec)
    inputs = np.sqrt(width) * np.eye(2, width)
    signs = np.random.default_rng(5).choice([-1.0, 1.0], width) / np.sqrt(width)  # away from the mean of x_L
    sample = gpn.simulate(phi, width, depth, networks, seed=0, batch=2, inputs=inputs, readout=np.tile(signs, (2, 1)))
    squares = sample.gradient_norms**2
    across = (sample.batch_gradient_norms**2 - squares.sum(axis=-1)).sum(axis=1) / 2
    ratios = across / np.sqrt(np.prod(squares.sum(axis=1), axis=-1))
    law = tangent_kernel_ratio(separation(phi), depth)[-1]
    assert ratios.mean() == pytest.approx(law, abs=4 * ratios.std() / np.sqrt(networks) + depth / (2 * width))
    assert abs(law - 1.0) > 0.5  # equal inputs would have 1, orthogonal ones in a linear network 0


def test_a_length_that_runs_away_from_far_is_seen():
    """m + a x + b (x^2 - 1) with m = -sqrt(2) b, a^2 = 1 - 4 b^2 is GPN with chi = 1 - 2 sqrt(2) b^2 < 1.

    Its length map, a quadratic, has the second fixed point (3 + 2 sqrt(2))/3 = 1.94, which repels.
    """
    b = 0.3
    phi = gpn.activation(f"-sqrt(2)*{b} + sqrt(1 - 4*{b}**2)*x + {b}*(x**2 - 1)")
    found = depth_conditions(phi, 50).length
    assert found.value == pytest.approx(1 - 2 * np.sqrt(2) * b**2)
    assert found.light == "weak"
    assert "a squared length of 4 grows to 1e+100: narrow networks diverge" in found.words
    inside = length_path(phi, 400, start=1.9).lengths[-1]
    assert inside == pytest.approx(1, abs=1e-3)
    assert length_path(phi, 400, start=2.0).lengths[-1] > 1e3
    assert depth_conditions(normalize(gpn.activation("softplus")), 50).length.light == "weak"  # it diverges in training
    seen = gpn.check_report("x*sigmoid(0.3*x)", 15, detailed=False, depth=200).depth.length
    assert (seen.light, seen.words) == (
        "weak",
        "is chi, the slope of the length map at 1; but a squared length of 4 grows to "
        "8.5e+50: narrow networks diverge in training",
    )
    assert depth_conditions(normalize(gpn.activation("gelu")), 50).length.light == "kept"


def test_where_the_length_is_not_kept_no_law_is_told_as_a_fact():
    """Both roots of x - tanh(x) have chi = 1.32. ReLU has its laws at every length; |x| keeps the length exactly."""
    found = gpn.check_report("x - tanh(x)", 15, detailed=False, depth=50).depth
    assert not found.laws_hold
    assert "0.99" not in words.depth_sentence(found)
    assert "the length is not kept through 50 layers (chi = 1.32)" in words.depth_sentence(found)
    assert [one.light for one in found.all()] == ["not known", "lost", "not known", "not known"]
    report = gpn.spectrum("x - tanh(x)", 20, 32, 5)
    assert report.unstable == pytest.approx(1.32013, abs=1e-5)
    assert {row.verdict for row in report.rows} == {Verdict.VACUOUS}
    assert words.laws_finding(report).startswith("Not tested: the length is not kept through 20 layers")
    chosen = gpn.design("x - tanh(x)", 50)
    assert words.design_finding(chosen).startswith("No member found in s*(x - tanh(x)) + x keeps the length.")
    assert after_design(chosen).startswith("Next: gpn check")
    assert depth_conditions(normalize(gpn.activation("relu")), 1000).laws_hold
    for spec in ("identity", "abs", "x/2", "1 + x/1000"):
        length = depth_conditions(normalize(gpn.activation(spec)), 1000).length
        assert (length.light, length.value) == ("kept", pytest.approx(1)), spec


def test_the_design_of_a_function_has_a_name_and_a_way_in_python():
    def mine(x):
        return x / (1 + np.exp(-x))

    report = gpn.design(mine, 1, curvature=0.1)
    assert report.spec in {f"mine({report.chosen.value:g} * x)", f"x + {report.chosen.value:g} * mine(x)"}
    assert "through 1 layer." in words.design_finding(report)
    assert after_design(report) == "Next, in Python: gpn.train(gpn.design(phi, 1).activation, depth=1)"


def test_dead_networks_are_an_outcome_and_raw_ones_break_no_law():
    for spec, length in (("relu(x-5)", 1e-7), ("relu(x-3)", 1e-3), ("tanh", 0.394294)):
        report = gpn.spectrum(spec, 3, 50, 5, root=None)
        assert report.length == pytest.approx(length, rel=1e-5) or length < 0.1
        assert {row.verdict for row in report.rows} == {"vacuous"}
        assert "not tested" in words.laws_finding(report)
        json.dumps(report.to_dict(), allow_nan=False)
    dead = gpn.spectrum("relu(x-5)", 3, 50, 5, root=None)
    assert (dead.measured["mean"], dead.measured["effective_rank"]) == (pytest.approx(0), pytest.approx(0))
    assert np.isnan(dead.measured["relative_variance"]).all()
