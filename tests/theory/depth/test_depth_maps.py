"""Correlation map, depth scales and depth horizon: closed forms, derivatives, iteration, simulation."""

import io
import json
import math

import numpy as np
import pytest

import gpn
from gpn.checking.depth import depth_profiles
from gpn.report.tables import check as detail_tables
from gpn.report.words import terminal
from theory.activations.callable import CallableActivation
from theory.activations.specification import activation
from theory.depth import horizon
from theory.depth.correlation import correlation, correlation_dynamics, squared_distance
from theory.depth.horizon import depth_horizon, length_layers
from theory.depth.length_map import length_map, length_map_slope
from theory.errors import UsageError
from theory.gaussian.hermite import correlation_slopes, hermite_spectrum
from theory.normalization.normalize import normalize

TABLE = [  # chi at b_plus and at b_minus, six digits
    ("tanh", 0.391465, 0.391465),
    ("relu", 1.0, 0.363380),
    ("leaky_relu", 1.0, 0.376111),
    ("elu", 0.883839, 0.710639),
    ("selu", 0.774729, 0.686014),
    ("gelu", 1.11349, 0.497184),
    ("gelu_tanh", 1.113727, 0.497416),
    ("quick_gelu", 1.108483, 0.503436),
    ("silu", 1.14655, 0.670077),
]


@pytest.mark.parametrize(("name", "plus", "minus"), TABLE)
def test_slopes_of_the_length_map_at_both_roots(name, plus, minus):
    for root, chi in (("plus", plus), ("minus", minus)):
        assert length_map_slope(normalize(activation(name), root)).value == pytest.approx(chi, abs=6e-6)


@pytest.mark.parametrize("rho", [-1, -0.9999, -0.3, 0.0, 0.5, 0.999, 1 - 1e-9, 1])
def test_arc_cosine_kernel_and_its_derivatives(rho):
    # Cho and Saul 2009, degree 1, for sqrt(2) relu
    relu, angle = normalize(activation("relu")), math.acos(rho)
    for q in (1.0, 3.0):
        value = correlation(relu, rho, q=q)
        assert abs(value.value - q * (math.sin(angle) + (math.pi - angle) * rho) / math.pi) <= value.error + 1e-15
        slope = correlation(relu, rho, q=q, order=1)
        assert abs(slope.value - q * (math.pi - angle) / math.pi) <= slope.error + 1e-15
        assert value.error + slope.error < 1e-12
    if abs(rho) < 1:
        exact = 1 / (math.pi * math.sqrt((1 - rho) * (1 + rho)))
        assert correlation(relu, rho, order=2).value == pytest.approx(exact, rel=1e-11)


@pytest.mark.parametrize("rho", [-0.7, 0.2, 0.99, 1 - 1e-7])
def test_arc_sine_kernel_and_its_derivatives(rho):
    # Williams 1997: C(rho) = (2/pi) asin(2 rho/3) for erf
    erf, root = activation("erf"), math.sqrt(9 - 4 * rho * rho)
    exact = (2 / math.pi * math.asin(2 * rho / 3), 4 / (math.pi * root), 16 * rho / (math.pi * root**3))
    for order, truth in enumerate(exact):
        found = correlation(erf, rho, order=order)
        assert abs(found.value - truth) <= found.error < 1e-12


@pytest.mark.parametrize("name", ["selu", "hard_tanh", "elu"])
def test_derivatives_of_the_correlation_map_are_its_derivatives(name):
    phi, step = activation(name), 1e-3
    for rho in (-0.6,) if name == "elu" else (0.4,):
        for order in (0, 1):
            values = [correlation(phi, rho + k * step, order=order).value for k in (-2, -1, 1, 2)]
            difference = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
            assert correlation(phi, rho, order=order + 1).value == pytest.approx(difference, abs=2e-10)


def test_ends_of_the_correlation_map():
    tanh = activation("tanh")
    first, second = correlation_slopes(tanh)
    assert correlation(tanh, 1.0, order=1).value == pytest.approx(first.value, abs=1e-14)
    assert correlation(tanh, 1.0, order=2).value == pytest.approx(second.value, abs=1e-13)
    assert correlation(tanh, -1.0).value == pytest.approx(-correlation(tanh, 1.0).value, abs=1e-15)
    assert correlation(activation("selu"), 1.0, order=2).value == math.inf
    assert correlation(activation("abs"), -1.0, order=2).value == math.inf
    step = activation("step")  # C' = p_2(0, 0)
    assert correlation(step, 0.6, order=1).value == pytest.approx(1 / (2 * math.pi * 0.8), rel=1e-12)
    assert correlation(step, 1.0, order=1).value == math.inf
    assert math.isinf(correlation(step, 0.5, order=2).error)
    assert math.isinf(correlation(activation("abs(x)**0.75"), 0.5, order=2).error)


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "elu"])
def test_normalized_networks_sit_at_the_edge_of_chaos(name):
    found = correlation_dynamics(normalize(activation(name)))
    assert [(point.rho, point.stability) for point in found.fixed_points] == [(1.0, "marginal")]
    assert found.depth_scale == math.inf


def test_correlations_decay_like_one_over_the_depth_at_the_edge():
    phi = normalize(activation("tanh"))
    curvature, rho, spectrum = correlation_dynamics(phi).curvature, 0.5, hermite_spectrum(phi, 60)
    for _ in range(300):
        rho = float(spectrum.correlation(rho)[0])
    assert (1 - rho) * 300 == pytest.approx(2 / curvature, rel=0.1)


@pytest.mark.parametrize("formula", ["1.5*tanh(x)+0.1", "2*tanh(x)+0.2"])
def test_chaotic_networks_decorrelate_to_a_fixed_point_at_the_given_scale(formula):
    phi = activation(formula)
    q = depth_horizon(phi).q
    assert length_map(phi, q).value == pytest.approx(q, rel=1e-9)
    found = correlation_dynamics(phi, q)
    low, one = found.fixed_points
    assert (low.stability, one.stability) == ("attracting", "repelling")
    root = math.sqrt(q)
    scaled = CallableActivation("scaled", lambda x: phi.value(root * x), lambda x: root * phi.slope(root * x))
    rho, size, spectrum = 0.99, length_map(phi, q).value, hermite_spectrum(scaled, 60)
    gaps = []
    for _ in range(120):  # by the series, a method of its own
        rho = float(spectrum.correlation(rho)[0]) / size
        gaps.append(abs(rho - low.rho))
    assert gaps[-1] < 0.01
    late = next(i for i, gap in enumerate(gaps) if gap < 0.02)
    assert math.log(gaps[late] / gaps[late + 5]) == pytest.approx(5 / found.depth_scale, rel=0.05)


def test_odd_and_linear_networks():
    assert [point.rho for point in correlation_dynamics(activation("3*tanh(x)")).fixed_points] == [-1.0, 0.0, 1.0]
    assert [point.rho for point in correlation_dynamics(activation("sin")).fixed_points] == [-1.0, 0.0, 1.0]
    assert correlation_dynamics(activation("2*x")).fixed_points == ()
    with pytest.raises(UsageError, match="jumps"):
        correlation_dynamics(activation("step"))


@pytest.mark.parametrize(
    ("name", "root", "kind"),
    [
        ("tanh", "plus", "stable"),
        ("gelu", "minus", "stable"),
        ("relu", "plus", "marginal"),
        ("gelu", "plus", "unstable length"),
        ("silu", "plus", "unstable length"),
        ("identity", "plus", "marginal"),
    ],
)
def test_classes_of_normalized_networks(name, root, kind):
    found = depth_horizon(normalize(activation(name), root))
    assert found.kind == kind
    assert (found.gradient_layers < 100) == (kind == "unstable length")
    assert (found.length_layers == math.inf) == (kind == "stable" or name == "identity")


@pytest.mark.parametrize(
    ("formula", "kind", "gradient", "length"),
    [
        ("x/2", "vanishing", 4, 1),  # 2^-l <= 1/10; q = 1/4 after one layer
        ("2*x", "exploding", 4, 1),
        ("relu", "vanishing", 7, 2),  # 2^(-l/2) <= 1/10; q = 1/2 still counts as inside
        ("1.01*x", "exploding", 232, 35),  # log 10/log 1.01, log 2/(2 log 1.01)
        ("x", "marginal", math.inf, math.inf),
    ],
)
def test_horizons_of_linear_and_homogeneous_networks(formula, kind, gradient, length):
    found = depth_horizon(activation(formula))
    assert (found.kind, found.gradient_layers, found.length_layers) == (kind, gradient, length)


def test_what_takes_more_layers_than_are_followed_is_not_called_never(monkeypatch):
    """The slope of a clipped length tends to 1, but 2000 layers multiply the square by exp(-1.59), and not by 1/100."""
    monkeypatch.setattr(horizon, "MOST_LAYERS", 100)
    found = depth_horizon(activation("clip(x, -1, 1)"))
    assert math.isnan(found.gradient_layers)
    assert found.length_layers == 2  # E min(z^2, 1) = 0.516 after the first


def test_published_gelu_constants_explode_slowly():
    found = depth_horizon(activation("1.4915*gelu(x) - 0.9097"))
    assert found.kind == "exploding"
    assert found.q == pytest.approx(1.016325, abs=1e-6)
    assert math.exp(200 * found.rate) == pytest.approx(25, abs=0.5)
    # 200 layers multiply the square by 25, and a tenfold norm is a square of 100
    assert found.gradient_layers == pytest.approx(200 * math.log(100) / math.log(25.2), abs=2)


@pytest.mark.parametrize(("name", "root"), [("gelu", "plus"), ("relu", "plus")])
def test_length_horizon_is_the_typical_depth_of_simulated_networks(name, root):
    """At the horizon one standard deviation is a factor 2: about a third of the networks are outside [1/2, 2].

    Between 15 % and 55 % of 400 trials; a false alarm would need 5 standard errors (6e-7) from 0.3 beside the
    nonlinearity that the linearized law leaves out.
    """
    phi = normalize(activation(name), root)
    depth = int(depth_horizon(phi, 256).length_layers)
    q = gpn.simulate(phi, 256, depth, 400, seed=2).squared_lengths[:, -1]
    assert 0.15 < np.mean((q < 0.5) | (q > 2)) < 0.55


def test_length_layers_solve_their_equation():
    for chi, variance in ((1.1, 1e-3), (1.001, 1e-4), (0.9, 0.4)):
        layers = length_layers(chi, variance)
        deviations = [variance * (chi ** (2 * k) - 1) / (chi**2 - 1) for k in (layers - 1, layers)]
        assert deviations[0] < math.log(2) ** 2 <= deviations[1]
    assert length_layers(0.9, 0.01) == math.inf
    assert length_layers(1.2, 0.0) == math.inf
    assert length_layers(0.0, 0.6) == 1.0


def test_profiles_for_the_user():
    given, plus, minus = depth_profiles("gelu", width=64)
    assert [profile.label for profile in (given, plus, minus)] == ["as given", "b_plus", "b_minus"]
    assert given.correlation is None  # its length runs off to 0
    assert plus.lengths.basin is None
    assert minus.lengths.basin[1] == pytest.approx(105.1, abs=0.05)
    json.dumps([profile.to_dict() for profile in (given, plus, minus)], allow_nan=False)
    assert plus.horizon.length_layers < depth_profiles("gelu", width=4096)[1].horizon.length_layers
    assert [profile.label for profile in depth_profiles("sqrt(2)*relu(x)")] == ["as given", "b_minus"]


def test_the_table_of_check_verbose():
    page = io.StringIO()
    terminal.show(detail_tables.depth(depth_profiles("relu")), page)
    rows = {line.split("  ")[0]: line.split() for line in page.getvalue().splitlines() if line.startswith(("as", "b_"))}
    assert rows["b_plus"][1:] == ["marginal", "every", "q", "m", "-", "1.000000", "never", "165"]
    assert rows["b_minus"][1:] == ["stable", "1", "s", "0", "to", "inf", "1.000000", "never", "never"]
    assert "vanishing" in rows["as given"]
    assert "|grad|² x 0.5 per layer at q = 0" in page.getvalue()


def test_misuse_is_refused():
    tanh = activation("tanh")
    for arguments in ({"rho": 1.5}, {"rho": math.nan}, {"rho": 0.5, "q": 0.0}, {"rho": 0.5, "order": 3}):
        with pytest.raises(UsageError):
            correlation(tanh, **arguments)
    with pytest.raises(UsageError, match="width"):
        depth_horizon(tanh, 1)


@pytest.mark.parametrize("rate", [1, 30])
def test_the_distance_of_two_waves(rate):
    """For sin(k x): C(rho) = (exp(-k^2 (1 - rho)) - exp(-k^2 (1 + rho)))/2; a wave may look constant on a grid."""
    wave, square = activation(f"sin({rate}*x)"), rate * rate
    for angle in np.linspace(0.01, np.pi, 60):
        loss, gain = 1 - np.cos(angle), 1 + np.cos(angle)
        exact = (-np.expm1(-square * loss) + np.exp(-square * gain) - np.exp(-2 * square)) / 2
        assert squared_distance(wave, angle).value == pytest.approx(exact, rel=2e-9)


def test_the_distance_of_two_piecewise_linear_images():
    """ReLU by Cho and Saul 2009, relative to the smallest distances too; kinks by the difference of two integrals."""
    for angle in (1e-6, 0.01, 1.0, 3.1):
        kernel = (np.sin(angle) - angle * np.cos(angle)) / np.pi  # of sqrt(2) relu, beside cos(theta)
        exact = 2 * np.sin(angle / 2) ** 2 - kernel
        assert squared_distance(activation("sqrt(2)*max(x, 0)"), angle).value == pytest.approx(exact, rel=1e-12)
    for text in ("clip(x, -1, 0.99)", "clip(100*x, -1, 1)"):
        phi = activation(text)
        difference = correlation(phi, 1.0).value - correlation(phi, np.cos(1.2)).value
        assert squared_distance(phi, 1.2).value == pytest.approx(difference, rel=1e-11)
