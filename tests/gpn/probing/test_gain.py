"""`gpn.gain` and `gpn gain`: whole reports beside closed forms and known fixed points, and what a number is."""

import json
import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm

import gpn
from gpn.cli import program as cli
from gpn.probing.constants import explain
from gpn.report.words.gains import gain_finding, slopes_text
from theory.activations.specification import activation
from theory.errors import UsageError
from theory.initialization.regime import regime


def expectation(function):
    return quad(lambda z: function(z) * norm.pdf(z), -12, 12, epsabs=1e-12, limit=200)[0]


@pytest.fixture(scope="module")
def tanh():
    return gpn.gain("tanh", 12)


def test_gains_and_fixed_points_of_tanh_are_those_of_quadrature(tanh):
    """The oracle integrates by SciPy and solves for the fixed point by bisection."""
    square = expectation(lambda z: math.tanh(z) ** 2)
    slope = expectation(lambda z: (1 - math.tanh(z) ** 2) ** 2)
    length, variance, gradient = tanh.rows
    assert (length.gain, gradient.gain) == pytest.approx((square**-0.5, slope**-0.5), rel=1e-9)
    assert variance.gain == length.gain
    assert variance.regime is None
    assert (length.chi, gradient.chi) == pytest.approx((slope / square, 1), rel=1e-9)
    assert (length.at_one, gradient.at_one) == ("attracting", None)
    assert length.regime.q == pytest.approx(1, rel=1e-7)

    def drift(q):
        return expectation(lambda z: math.tanh(math.sqrt(q) * z) ** 2) / slope - q

    q = brentq(drift, 0.05, 0.999)
    assert gradient.regime.q == pytest.approx(q, rel=1e-6)
    there = expectation(lambda z: (1 - math.tanh(math.sqrt(q) * z) ** 2) ** 2) / slope
    assert gradient.regime.chi == pytest.approx(there, rel=1e-6)
    (point,) = length.edge
    assert expectation(lambda z: (1 - math.tanh(math.sqrt(point.q) * z) ** 2) ** 2) / square == pytest.approx(1)
    assert point.bias**2 == pytest.approx(
        point.q - expectation(lambda z: math.tanh(math.sqrt(point.q) * z) ** 2) / square
    )
    assert not tanh.keeps_both
    assert tanh.gains.certified


def test_one_gain_keeps_both_for_relu_and_the_line_holds_it():
    found = gpn.gain("relu")
    assert found.keeps_both
    assert found.row("length").at_one == "marginal"
    assert found.row("length").edge[0].bias == 0
    assert "gain=1.4142135623730951" in found.code()
    assert found.code("keras", weights="gaussian").startswith("kernel_initializer = keras.initializers.VarianceScaling")
    assert len(found.to_frame()) == 3
    for wrong in ({"target": "caffe"}, {"keeps": "norm"}, {"weights": "haar"}):
        with pytest.raises(UsageError, match="unknown"):
            found.code(**wrong)


def test_the_figure_shows_the_edge_of_chaos_and_what_jumps_has_none(tanh, tmp_path):
    axes = tanh.plot().axes[0]
    gains, biases = axes.lines[0].get_data()
    at_one = np.argmin(np.abs(gains - float(tanh.row("gradient").gain)))
    assert biases[at_one] == pytest.approx(gpn.normalize("tanh").b, rel=0.1)  # the curve has a point near q = 1
    assert {path.name for path in tanh.save(tmp_path)} >= {"gain.csv", "gain.json", "edge-of-chaos.png"}
    with pytest.raises(UsageError, match="tables only"):
        gpn.gain("sign").plot()


def test_where_one_repels_both_ends_are_said():
    """Of exp at the gain 1/e: Q(q) = e^(2q - 2), and chi = Q, which is not known beyond float64."""
    found = gpn.gain("exp(x)")
    beside = found.to_dict()["gains"][0]["beside_1"]
    assert (beside["below"]["q"], beside["above"]["q"]) == (pytest.approx(0.20318787, rel=1e-7), None)
    assert beside["above"]["chi_is_at"] == 1e6
    assert found.to_frame()["q_from_above"][0] == math.inf
    assert "1 repels: from there depth leads to q = 0.203 or to infinity, by chance" in gain_finding(found)
    assert slopes_text(found.row("length")) == "0.2032 or beyond 1e308 (at q = 1e6)"
    assert "q_from_below" not in gpn.gain("tanh").to_frame()


def test_what_jumps_or_has_no_moments_is_said():
    jump = gpn.gain("step(x - 1)")
    p = norm.sf(1)
    assert jump.row("variance").gain == pytest.approx((p * (1 - p)) ** -0.5, rel=1e-12)
    assert jump.row("gradient").gain is None
    assert jump.row("length").regime is None
    with pytest.raises(UsageError, match=r"no gain that keeps the gradient: .*jumps"):
        jump.code(keeps="gradient")
    steep = gpn.gain("sqrt(abs(x))")  # E phi^2 is finite, E phi'^2 is not
    assert steep.row("length").gain == pytest.approx(math.sqrt(math.sqrt(math.pi / 2)))
    assert steep.row("length").regime is None
    assert gpn.gain("0*x").gains.reason == "a moment is 0, or not told from 0"
    cubic = gpn.gain("x**3").row("length").regime  # depth leads to 0, where phi' is 0
    assert (cubic.q, cubic.chi, cubic.phase) == (0.0, 0.0, "vanishing")
    nothing = gpn.gain("1/x")
    assert all(row.gain is None for row in nothing.rows)
    assert nothing.gains.reason


@pytest.mark.parametrize(
    ("spec", "gain", "size", "spread"),
    [("tanh", 5 / 3, 0.6513, 0.6513), ("selu", 0.75, 0.2024, 0.1996)],
    ids=["tanh 5/3", "selu 3/4"],
)
def test_reported_sizes_are_the_fixed_points(spec, gain, size, spread):
    """What people measure in deep networks: the root mean square of the signal, and its standard deviation."""
    phi, found = activation(spec), regime(activation(spec), gain)
    mean = expectation(lambda z: float(phi.value_and_slope(math.sqrt(found.q) * z)[0]))
    square = expectation(lambda z: float(phi.value_and_slope(math.sqrt(found.q) * z)[0]) ** 2)
    assert found.q == pytest.approx(gain**2 * square, rel=1e-6)
    assert (math.sqrt(square), math.sqrt(square - mean**2)) == pytest.approx((size, spread), abs=5e-5)


def test_a_number_is_explained():
    for text, constant in {
        "2.74": ("1/sqrt(Var phi)", "step(x - 1)"),
        "1.7009": ("1/sqrt(Var phi)", "gelu"),
        "0.6513": ("size of the signal in depth at the gain 5/3", "tanh"),
        "1.5927": None,
        "sqrt(2)": ("1/sqrt(E phi^2)", "relu"),
    }.items():
        found = explain(text)
        names = [(match.constant.definition, match.constant.activation) for match in found.matches]
        assert constant is None or constant in names, text
        assert all(match.digits == found.digits for match in found.matches)
    assert any("PyTorch" in entry and "tanh" in entry for entry in explain("5/3").published)
    nothing = explain("7.7131415926")
    assert not nothing.matches
    assert nothing.digits == 11
    close = explain("1.7881293296813965")  # a Monte Carlo estimate of 1/sqrt(Var silu)
    assert not close.matches
    assert close.near[0].digits >= 3
    assert close.published
    for wrong in ("two", "0", "-1.5", "3", "1e999", "inf"):
        with pytest.raises(UsageError):
            explain(wrong)


def test_numbers_that_agree_by_chance_are_as_many_as_expected():
    """Over every third number of 3 digits from 1.00 to 2.50: the sum of `by_chance` is the number of matches."""
    found = [explain(f"{number / 100:.2f}") for number in range(100, 251, 3)]
    counted, expected = sum(len(one.matches) for one in found), sum(one.by_chance for one in found)
    assert counted > 30
    assert counted == pytest.approx(expected, rel=0.25)


def test_the_command_prints_what_the_report_says(capsys, tanh):
    with pytest.raises(SystemExit):
        cli.main(["gain", "tanh", "--digits", "12", "--json"])
    assert json.loads(capsys.readouterr().out) == tanh.to_dict()
    with pytest.raises(SystemExit):
        cli.main(["gain", "--explain", "2.74"])
    assert "step(x - 1)" in capsys.readouterr().out
    for wrong in (["gain"], ["gain", "tanh", "--explain", "2"], ["gain", "tanh", "--keep", "norms"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(wrong)
        assert ended.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_rounding_of_single_precision_is_no_contradiction_and_no_end_of_time(monkeypatch):
    """The gain is checked to the digits that are known, and where depth leads is given up in its time."""
    monkeypatch.setattr("gpn.probing.gain._SECONDS", 0.2)
    report = gpn.gain(lambda x: np.maximum(np.asarray(x, dtype=np.float32), 0))
    assert report.row("length").gain == pytest.approx(2**0.5, abs=2e-5)
    assert report.keeps_both
    assert report.row("length").regime is None
    assert "where depth leads was not found in 0.2 s" in report.gains.reason
