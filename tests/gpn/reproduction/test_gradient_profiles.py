"""The experiment on gradient profiles: rates and bands against theory, honesty about what is lost, files.

Random tests have fixed seeds; where a docstring states a false-alarm probability, it is that of a fresh seed.
"""

import io
import json
import math
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import stats

import gpn
from gpn.experiment import cells
from gpn.report.words import terminal
from gpn.reproduction import gradient_rates
from gpn.reproduction.gradient_rates import AGREES, DIFFERS, LOST, NO_RATE, ON_THE_WAY
from gpn.reproduction.gradient_results import PROBABILITIES
from gpn.reproduction.gradient_settings import BATCH_NORMALIZED, GPN, PLAIN, Variant
from gpn.reproduction.gradients import gradient_profiles
from gpn.statistics import limits as statistics
from tests.oracles.binomial import exact_test
from theory.activations import catalog
from theory.depth.batch_normalization import large_batch_growth, length_slope, small_batch_growth
from theory.depth.length_map import depth_factors, length_map, mean_field_path, slope_map
from theory.errors import UsageError

PAPER = ("tanh", "relu", "leaky_relu", "elu", "selu", "gelu")


@pytest.fixture(scope="module")
def report():
    return gradient_profiles(["relu", "selu", "gelu", "elu"], width=200, depth=60, trials=150, batch=16, batches=[8])


# -------------------------------------------------------------------------------------------- theory


@pytest.mark.parametrize("name", PAPER)
def test_the_mean_field_path_is_the_iterated_maps(name):
    """A slow literal iteration, and the factors of the whole depth from the other function."""
    phi, depth = catalog.build(name), 12
    path = mean_field_path(phi, depth)
    q, log_product = 1.0, 0.0
    for layer in range(depth):
        assert path.squared_lengths[layer] == pytest.approx(q, rel=1e-11)
        log_product += math.log(slope_map(phi, q).value)
        q = length_map(phi, q).value
    [factor] = depth_factors(phi, [depth])
    assert path.squared_lengths[-1] == pytest.approx(factor.squared_length, rel=1e-10)
    assert path.log_factors.sum() == pytest.approx(log_product, abs=1e-10)
    assert math.exp(log_product) == pytest.approx(factor.squared_gradient, rel=1e-9)


def test_the_mean_field_profile_of_a_linear_network_is_exact():
    """phi = x/2: |dE/dW_l| = 2^-(l - 1) sqrt(n) 2^-(L - l + 1) in every network."""
    depth = 5
    from theory.activations.activation import Activation
    from theory.numerics.arithmetic import X

    phi = Activation("half", X / 2)
    sample = gpn.simulate(phi, 30, depth, 2, seed=0)
    expected = mean_field_path(phi, depth).log_gradients
    np.testing.assert_allclose(sample.log_gradient_norms - math.log(30) / 2, [expected] * 2, atol=1e-12)
    np.testing.assert_allclose(expected, -depth * math.log(2.0), atol=1e-12)


def test_growth_under_batch_normalization_in_closed_form():
    """ReLU: pi/(pi - 1) (Yang et al. 2019); the Gaussian Poincaré inequality makes every growth at least 1."""
    assert math.exp(large_batch_growth(catalog.build("relu"))) == pytest.approx(math.pi / (math.pi - 1), rel=1e-12)
    explosive = 0
    for name in catalog.names():
        try:
            assert large_batch_growth(catalog.build(name)) > -1e-9
        except UsageError:
            continue  # no finite moments, or a jump
        explosive += large_batch_growth(catalog.build(name)) > 1e-3
    assert explosive > 10
    with pytest.raises(UsageError, match="jumps"):
        large_batch_growth(catalog.build("hardshrink"))
    moved = catalog.build("tanh").affine(-3.0, 2.0)
    assert large_batch_growth(moved) == pytest.approx(large_batch_growth(catalog.build("tanh")), abs=1e-10)
    with pytest.raises(UsageError, match="at least 4"):
        small_batch_growth(3)


@pytest.mark.parametrize("name", ["tanh", "gelu", "relu", "elu"])
def test_the_length_slope_is_the_derivative_of_the_map(name):
    r"""R(v) = E (\phi(\sqrt v z) - E \phi(z))^2 / Var \phi(z), by SciPy's quadrature and a central difference."""
    from scipy.integrate import quad

    phi = catalog.build(name)

    def expectation(function):
        parts = [quad(lambda z: function(z) * stats.norm.pdf(z), *ends, epsabs=1e-13)[0] for ends in ((-9, 0), (0, 9))]
        return sum(parts)

    def value(z):
        return float(phi.value_and_slope(np.array([z]))[0][0])

    mean = expectation(value)
    variance = expectation(lambda z: (value(z) - mean) ** 2)

    def length(v):
        return expectation(lambda z: (value(math.sqrt(v) * z) - mean) ** 2) / variance

    assert length(1.0) == pytest.approx(1.0, abs=1e-10)
    assert length_slope(phi) == pytest.approx((length(1.001) - length(0.999)) / 0.002, abs=1e-5)


# -------------------------------------------------------------------------------------------- rates


def test_measured_rates_agree_with_mean_field(report):
    """150 networks of width 200: each 99 % interval is some 0.004 wide, the tolerance 5/n is 0.025.

    A verdict other than these needs a mean ten standard errors off: below 1e-12.
    """
    for weights in ("haar", "gaussian"):
        assert report.find("relu", PLAIN, weights).verdict == AGREES
        assert report.find("selu", PLAIN, weights).verdict == AGREES
        assert report.find("elu", PLAIN, weights).verdict == ON_THE_WAY
        for name in ("relu", "selu", "gelu", "elu"):
            assert report.find(name, GPN, weights).verdict == AGREES
    assert report.find("relu", PLAIN).fixed_point == pytest.approx(-math.log(2), abs=1e-9)
    assert report.find("gelu", PLAIN).fixed_point == pytest.approx(-math.log(4), abs=1e-9)
    assert report.find("selu", PLAIN).fixed_point == pytest.approx(math.log(1.0715749925), abs=1e-9)
    assert report.find("elu", PLAIN).fixed_point == pytest.approx(0.0, abs=1e-9)


def test_the_unstable_root_has_no_single_rate(report):
    found = report.find("gelu", GPN, main_root=False)
    assert (found.root, found.verdict, found.predicted) == ("plus", NO_RATE, None)
    assert found.below < 0 < found.above
    assert report.find("gelu", GPN).root == "minus"


def test_a_wrong_prediction_is_seen_to_differ(report, monkeypatch):
    monkeypatch.setattr(gradient_rates, "large_batch_growth", lambda _phi: 0.8)
    variant = Variant("relu", catalog.build("relu"), BATCH_NORMALIZED, "haar")
    logs = np.random.default_rng(0).normal(0.0, 0.01, (8, 60)) - 0.2 * np.arange(60)
    found = gradient_rates.rate(variant, {"log_gradients": logs}, report.settings)
    assert found.measured == pytest.approx(0.4, abs=0.01)
    assert found.verdict == DIFFERS


def test_batch_normalization_explodes_at_the_predicted_rate(report):
    found = report.find("relu", BATCH_NORMALIZED)
    assert found.fixed_point == pytest.approx(math.log(math.pi / (math.pi - 1)), abs=1e-9)
    assert found.predicted == pytest.approx(found.fixed_point + math.log(14 / 13), abs=1e-9)
    assert abs(found.measured - found.predicted) < 0.05
    linear = [row for row in report.growth if row.activation == "linear" and row.depth == 60]
    assert [row.batch for row in linear] == [8]
    assert linear[0].predicted == pytest.approx(math.log(6 / 5), abs=1e-9)
    assert abs(linear[0].measured - linear[0].predicted) < 0.06


def test_a_growth_beyond_float64_keeps_its_rate():
    """Depth 4001 at 0.4 per layer is e^800: the factor overflows without a warning, the rate does not."""
    variant = Variant("relu", catalog.build("relu"), BATCH_NORMALIZED, "haar", batch=64)
    logs = np.random.default_rng(0).normal(0.0, 0.01, (4, 4001)) - 0.2 * np.arange(4001)
    found = gradient_rates.growth(variant, logs, 0.99)
    assert found.measured == pytest.approx(0.4, abs=1e-4)
    assert found.factor == math.inf


def test_intervals_of_means_cover():
    """99 % intervals of the mean of 20 normal numbers, 2000 times: an exact test, false alarm 1e-6."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(2000):
        _, lower, upper = statistics.mean_interval(rng.normal(1.0, 2.0, 20), 0.99)
        covered += lower <= 1.0 <= upper
    assert exact_test(covered, 2000, 0.99) > 1e-6


# -------------------------------------------------------------------------------------------- bands


def test_the_predicted_band_contains_its_share_of_the_networks():
    """Layer 1, 90 % band, width 500, depth 30: the share of 800 networks is 0.9 but for the law's own O(1/n).

    Simulated shares differ from 0.9 by less than 0.02; a further 0.05 is 4.7 standard errors: false alarm below 1e-5.
    """
    report = gradient_profiles(["tanh", "relu"], width=500, depth=30, trials=800, batch=2, batches=())
    for name in ("tanh", "relu"):
        profile = report.find(name, GPN)
        assert abs(profile.coverage - 0.9) < 0.07
        known = profile.trials - profile.overflowed
        low, high = (limit(profile.inside, known, 0.005) for limit in (statistics.lower_limit, statistics.upper_limit))
        assert low < profile.coverage < high
        inner = profile.log_band[:-1, [1, 3]]
        assert ((profile.log_median[:-1] > inner[:, 0]) & (profile.log_median[:-1] < inner[:, 1])).all()
    gaussian = report.find("tanh", GPN, "gaussian")
    assert gaussian.log_band is None
    assert "Haar" in gaussian.no_prediction


def test_matrix_free_profiles_have_the_law_of_dense_networks():
    """Two-sample Kolmogorov-Smirnov tests of all layers, Bonferroni: false alarm 1e-6."""
    phi, n, depth = gpn.normalize("elu"), 8, 6
    free = cells.Deep(phi, n, depth, "haar", keep_layers=True, keep_backward=True)(np.random.default_rng(2), 4000)
    dense = gpn.simulate(phi, n, depth, 1500, seed=3, method="dense")
    pairs = [
        (free["log_gradients"], dense.log_gradient_norms - math.log(n) / 2),
        (free["log_backward"], np.log(dense.backward_norms)),
    ]
    p_values = [stats.ks_2samp(a.T[i], b.T[i], method="asymp").pvalue for a, b in pairs for i in range(depth)]
    assert len(p_values) * min(p_values) > 1e-6


# -------------------------------------------------------------------------------------------- what is lost


def test_overflow_and_vanishing_are_never_silent():
    """x^2 overflows within a dozen layers, x/10^30 vanishes to 0: counts and words, None in JSON."""
    report = gradient_profiles(["x**2", "x*1e-30"], width=16, depth=30, trials=4, batch=4, batches=())
    overflow = report.find("x**2", PLAIN)
    assert overflow.overflowed == 4
    assert report.find("x**2", PLAIN).verdict == LOST
    [small] = [p for p in report.networks if p.activation != "x**2" and (p.treatment, p.weights) == (PLAIN, "haar")]
    assert small.vanished == 4
    assert np.isneginf(small.log_quantiles[-1]).all()  # x_{L-1} is 0; further down the logarithms are known
    assert not np.isnan(small.log_quantiles).any()
    assert "overflows float64" in gpn_text(report)
    assert "4 of 4 networks" in gpn_text(report)
    json.dumps(report.to_dict(), allow_nan=False)
    frame = report.to_frame()
    assert frame.loc[frame["vanished"] > 0, "measured"].isna().all()
    FigureCanvasAgg(report.plot()).draw()


def gpn_text(report):
    from gpn.report.tables import gradients as gradient_tables

    stream = io.StringIO()
    terminal.show(gradient_tables.gradients(report), stream)
    return " ".join(stream.getvalue().split())


# -------------------------------------------------------------------------------------------- runs and files


def test_the_same_bits_for_any_workers():
    options = {"width": 24, "depth": 6, "trials": 60, "batch": 4, "batches": [4], "seed": 5}
    one = gradient_profiles(["relu"], workers=1, **options).to_dict()
    two = gradient_profiles(["tanh", "relu"], workers=3, **options).to_dict()
    assert one["networks"] == [found for found in two["networks"] if found["activation"] == "relu"]
    assert one["batch_normalization"] == two["batch_normalization"]


def test_real_inputs_change_nothing_but_the_batch():
    """Digits with their labels: gradients of a loss, so no band; the mean-field rates stay."""
    pytest.importorskip("sklearn")
    report = gradient_profiles(["relu"], width=100, depth=20, trials=60, batch=8, batches=(), inputs="digits")
    assert report.find("relu", PLAIN).verdict == AGREES
    assert report.find("relu", GPN).log_band is None
    assert any("digits" in note for note in report.notes)
    narrow = gradient_profiles(["relu"], width=32, depth=4, trials=4, batch=4, batches=(), inputs="digits")
    assert any("projected from 64 features" in note for note in narrow.notes)


def test_files_and_tables_agree(report, tmp_path):
    import pandas as pd

    names = {path.name for path in report.save(tmp_path)}
    tables = {"gradients.csv", "gradients-layers.csv", "gradients-batch-normalization.csv", "gradients.json"}
    assert names == tables | {"gradients.png", "gradients.pdf"}
    rates = pd.read_csv(tmp_path / "gradients.csv")
    assert list(rates["verdict"]) == [rate.verdict for rate in report.networks]
    layers = pd.read_csv(tmp_path / "gradients-layers.csv")
    assert len(layers) == 60 * len(report.networks)
    plain = report.find("selu", PLAIN)
    chosen = layers.query("activation == 'selu' and treatment == 'as it is' and weights == 'haar'")
    np.testing.assert_allclose(chosen["log10_q50"], plain.log_median / math.log(10), rtol=1e-7, atol=1e-9)
    data = json.loads((tmp_path / "gradients.json").read_text())
    assert data["settings"]["probabilities"] == list(PROBABILITIES)
    assert [network["verdict"] for network in data["networks"]] == [rate.verdict for rate in report.networks]


def test_the_registry_knows_its_experiments_and_their_options():
    found = gpn.reproduce("gradients", activations=["tanh"], width=16, depth=4, trials=4, batch=2, batches=())
    assert found.activations == ("tanh",)
    for wrong, message in [
        (lambda: gpn.reproduce("gradient"), "'gradients'"),
        (lambda: gpn.reproduce("gradients", layers=3), "layers"),
        (lambda: gradient_profiles("tanh"), "list"),
        (lambda: gradient_profiles(["tanh", "tanh"]), "once"),
        (lambda: gradient_profiles(["tanh"], depth=1), "depth"),
        (lambda: gradient_profiles(["tanh"], batches=[3]), "batches"),
        (lambda: gradient_profiles(["tanh"], level=1.0), "level"),
        (lambda: gradient_profiles(["sign"], width=8, depth=3, trials=4), "jump"),
    ]:
        with pytest.raises(UsageError, match=message):
            wrong()


# -------------------------------------------------------------------------------------------- figure


def test_the_figure_says_what_it_shows(report):
    figure = report.plot()
    FigureCanvasAgg(figure).draw()
    panels = figure.axes
    assert len(panels) == 8
    upper, lower = panels[:4], panels[4:]
    assert "sqrt{n}" in upper[0].get_ylabel()
    assert "sqrt{n}" in lower[0].get_ylabel()
    assert all("layer" in axes.get_xlabel() for axes in lower)
    assert len({axes.get_ylim() for axes in upper}) == len({axes.get_ylim() for axes in lower}) == 1
    assert upper[0].get_title(loc="left").startswith("ReLU\nas it is: ")
    assert "unstable" in lower[2].get_title(loc="left")
    assert "within a factor" in figure.get_suptitle()
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any("predicted" in label for label in labels)
    assert any("batch norm" in label for label in labels)
    band = [line for line in lower[0].lines if line.get_color() == "black"]
    predicted = report.find("relu", GPN).log_band / math.log(10)
    np.testing.assert_allclose(band[0].get_ydata(), predicted[:, 0])


def test_nothing_in_the_figure_overlaps(report):
    figure = report.plot()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for row in (figure.axes[:4], figure.axes[4:]):
        titles = [axes.title if axes.get_title() else axes._left_title for axes in row]
        boxes = [title.get_window_extent(renderer) for title in titles]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert figure.axes[7]._left_title.get_window_extent(renderer).x1 < figure.bbox.x1


@pytest.mark.parametrize(
    "activations",
    [
        ["gelu"],
        *(pytest.param(names, marks=pytest.mark.slow) for names in (["relu", "gelu"], ["relu", "gelu", "tanh"])),
        PAPER,
    ],
)
def test_title_and_legend_stay_within_the_figure(activations):
    small = gradient_profiles(activations, width=16, depth=4, trials=2, batch=4, batches=())
    figure = small.plot()
    FigureCanvasAgg(figure).draw()
    for artist in (figure._suptitle, *figure.legends):
        box = artist.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
