"""The audit of published constants against exact values, and its depths against literal propagation."""

import json
import math

import mpmath
import numpy as np
import pandas as pd
import pytest

from gpn.checking.auditing import audit
from theory.activations.catalog import build, selu_constants
from theory.errors import UsageError
from theory.gaussian.closed_form import closed_form
from theory.normalization.published import PUBLISHED


@pytest.fixture(scope="module")
def report():
    return audit(digits=20)


def comparison(report, entry, quantity):
    return next(number for number in report.row(entry).comparisons if number.quantity == quantity)


def test_every_entry_is_certified(report):
    assert len(report.rows) == len(PUBLISHED)
    assert all(row.certified for row in report.rows)


@pytest.mark.parametrize(
    ("entry", "a", "b"),
    [
        ("lu2020/tanh", "1.4674135916", "0.3885416701"),
        ("lu2020/relu", "1.4142135624", "0.0"),
        ("lu2020/leaky_relu", "1.4141428570", "0.0"),
        ("lu2020/elu", "1.2234285576", "0.0742203457"),
        ("lu2020/selu", "0.9660257770", "0.2584457355"),
        ("lu2020/gelu", "1.4811144127", "-0.9095064010"),
    ],
)
def test_exact_values_of_the_papers_table(report, entry, a, b):
    assert float(comparison(report, entry, "a").exact) == pytest.approx(float(a), abs=1e-10)
    assert float(comparison(report, entry, "b").exact) == pytest.approx(float(b), abs=1e-10)


def test_which_numbers_of_the_paper_hold(report):
    agrees = {row.entry.id: row.agrees for row in report.rows if row.entry.id.startswith("lu2020")}
    assert agrees == {
        "lu2020/tanh": True,
        "lu2020/relu": True,
        "lu2020/leaky_relu": True,
        "lu2020/elu": True,
        "lu2020/selu": False,  # 0.25845 is printed as 0.2585
        "lu2020/gelu": False,
    }
    assert report.row("lu2020/selu").remarks == ("b rounds to 0.2584, not to 0.2585",)


def test_the_gelu_row_belongs_to_another_function(report):
    row = report.row("lu2020/gelu")
    assert row.remarks[0] == "the published numbers are those of quick_gelu, x*sigmoid(1.702*x)"
    cost = row.cost
    assert cost.signal_factor == pytest.approx(1.00799, abs=5e-6)
    assert cost.gradient_factor == pytest.approx(1.01407, abs=5e-6)
    assert cost.settled_length == pytest.approx(1.016325, abs=5e-7)
    assert cost.settled_gradient_factor**200 == pytest.approx(25, abs=0.5)
    assert cost.gradient_factor**200 == pytest.approx(16, abs=0.5)
    assert (cost.norm, cost.depth_2, cost.depth_10) == ("gradient", 44, 143)


def test_the_same_numbers_under_the_right_name_agree():
    table = pd.DataFrame({"activation": ["quick_gelu"], "a": ["1.4915"], "b": ["-0.9097"]})
    row = audit(table).rows[0]
    assert row.agrees
    assert row.cost.depth_2 > 1000


def test_selu(report):
    row = report.row("klambauer2017/selu")
    assert row.agrees
    for number, exact in zip(row.comparisons, selu_constants(), strict=True):
        assert number.exact == str(exact.evalf(20))
        assert 0 < number.relative_error < 1e-31
    assert row.cost.depth_2 == math.inf
    assert row.cost.settled_gradient_factor == pytest.approx(1.0715749925, abs=1e-10)
    assert "1.07157" in row.remarks[0]
    assert "lambda rounds to 1.05070099, not to 1.05070098" in report.row("keras/selu").remarks


def test_gains(report):
    for name in ("identity", "relu", "leaky_relu"):
        row = report.row(f"torch/{name}")
        assert row.agrees
        assert row.comparisons[0].relative_error == 0
        assert row.cost.depth_2 == math.inf
        assert "every squared length is a fixed point: none attracts and none repels" in row.remarks
    assert not report.row("torch/selu").comparisons[0].claimed  # found by trial, its documentation says
    tanh = report.row("torch/tanh")
    assert not tanh.comparisons[0].claimed  # PyTorch recommends it and states no condition
    assert "1.17848 is a fixed point that attracts" in tanh.remarks[-1]
    assert tanh.cost.settled_length == pytest.approx(1.17848, abs=1e-5)


@pytest.mark.parametrize(("name", "gain", "kind"), [("mish", "1.48685", "repels"), ("tanh", "1.5925", "attracts")])
def test_a_gain_says_whether_its_fixed_point_attracts(name, gain, kind):
    table = pd.DataFrame({"activation": [name], "scale": [gain], "convention": ["gain"]})
    row = audit(table).rows[0]
    assert row.agrees
    assert f"is a fixed point that {kind}" in row.remarks[-1]
    assert row.fixed_point.kind == kind


def test_selu_gain_against_a_measurement(report):
    """PyTorch's pull request 50664 prints a standard deviation of about 0.204 after 50 layers with the gain 3/4.

    Its networks are 1000 wide and the six values printed for layers 50 to 90 lie in [0.194, 0.209].
    """
    length = report.row("torch/selu").cost.settled_length
    assert 0.194 < math.sqrt(length) / 0.75 < 0.209


def test_monte_carlo_constants_miss_in_the_fourth_digit(report):
    rows = [row for row in report.rows if row.entry.id.split("/")[0] in ("nfnet", "timm", "e3nn", "equiformer-v2")]
    errors = [row.comparisons[0].relative_error for row in rows if row.entry.activation != "identity"]
    assert len(errors) == 18
    assert all(5e-5 < error < 2e-3 for error in errors)
    relu = report.row("nfnet/relu").comparisons[0]
    assert float(relu.exact) == pytest.approx(math.sqrt(2 / (1 - 1 / math.pi)), abs=1e-15)


def literal_depths(entry, layers, *, both):
    """Layer by layer with a plain fine grid, from the definition of the cost."""
    scale, shift = float(entry.values[0]), float(entry.values[1]) if entry.convention == "gpn" else 0.0
    phi = build(entry.activation)
    z, step = np.linspace(-12, 12, 4801, retstep=True)
    weight = np.exp(-z * z / 2) / np.sqrt(2 * np.pi) * step
    length, gradient, depths = 1.0, 0.0, {}
    for depth in range(1, layers + 1):
        value, slope = phi.value_and_slope(np.sqrt(length) * z)
        gradient += math.log(scale**2 * weight @ slope**2)
        length = weight @ (scale * value + shift) ** 2
        if entry.convention == "unit-variance":
            length -= (weight @ (scale * value)) ** 2
        seen = (math.log(length), gradient) if both else (math.log(length),)
        for level in (2, 10):
            if level not in depths and max(map(abs, seen)) >= math.log(level):
                depths[level] = depth
    return length, depths


@pytest.mark.parametrize("entry_id", ["lu2020/gelu", "nfnet/silu", "nfnet/softplus", "e3nn/silu", "nfnet/tanh"])
def test_depths_against_literal_propagation(report, entry_id):
    row = report.row(entry_id)
    length, depths = literal_depths(row.entry, 300, both=row.entry.convention == "gpn")
    assert row.cost.depth_2 == depths.get(2, math.inf)
    assert row.cost.depth_10 == depths.get(10, math.inf)
    if row.cost.settled_length is not None:
        assert row.cost.settled_length == pytest.approx(length, abs=1e-9)


def test_relu6_settles_far_away_after_thousands_of_layers(report):
    """The variance of min(max(0, sqrt(v) z), 6) from its closed form, iterated layer by layer."""
    gamma = float(PUBLISHED[[entry.id for entry in PUBLISHED].index("nfnet/relu6")].values[0])
    v, depth_2 = 1.0, None
    for depth in range(1, 60_001):
        t = 6 / math.sqrt(v)
        tail, density = math.erfc(t / math.sqrt(2)) / 2, math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        mean = math.sqrt(v) * (1 / math.sqrt(2 * math.pi) - density) + 6 * tail
        second = v * (0.5 - tail - t * density) + 36 * tail
        v = gamma**2 * (second - mean**2)
        if depth_2 is None and v >= 2:
            depth_2 = depth
    cost = report.row("nfnet/relu6").cost
    assert cost.depth_2 == pytest.approx(depth_2, rel=1e-3)  # leaps of many layers by the midpoint rule
    assert cost.depth_10 == math.inf
    assert cost.settled_length == pytest.approx(v, rel=1e-6)


def test_homogeneous_functions_compound(report):
    row = report.row("nfnet/relu")
    factor = float(row.entry.values[0]) ** 2 * (0.5 - 0.5 / math.pi)
    assert row.cost.depth_2 == math.ceil(math.log(2) / math.log(factor))
    assert row.cost.depth_10 == math.ceil(math.log(10) / math.log(factor))
    assert row.cost.settled_length is None


def test_unstable_root_runs_away_even_from_a_tiny_miss():
    """GELU with b_plus has chi = 1.1135: ten digits are lost within some 200 layers."""
    exact = closed_form(build("gelu")).evaluate(20)
    table = pd.DataFrame(
        {"activation": ["gelu"], "a": [mpmath.nstr(exact["a"], 11)], "b": [mpmath.nstr(exact["b_plus"], 10)]}
    )
    row = audit(table).rows[0]
    assert row.agrees
    miss = abs(row.cost.signal_factor - 1)
    assert row.cost.depth_2 == pytest.approx(math.log(1 / miss) / math.log(1.1135), rel=0.25)


def test_mirror_image_is_as_good():
    table = pd.DataFrame({"activation": ["tanh", "tanh"], "a": ["-1.4674", "1.4674"], "b": ["0.3885", "-0.3885"]})
    assert all(row.agrees for row in audit(table).rows)


def test_own_csv(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("activation,scale,convention\nstep,1.4142135623730951,unit-second-moment\nx*tanh(x),1.5,gain\n")
    step, other = audit(path).rows
    assert step.agrees
    assert step.cost.gradient_factor is None  # it jumps
    assert not other.agrees
    (tmp_path / "bad.csv").write_text("activation,a,b\nstep,1,0\n")
    with pytest.raises(UsageError, match=r"bad\.csv, line 2: .*jumps"):
        audit(tmp_path / "bad.csv")
    (tmp_path / "huge.csv").write_text("activation,a,b\nexp(x^2/3),1,0\n")
    with pytest.raises(UsageError, match=r"huge\.csv, line 2: .*infinite"):
        audit(tmp_path / "huge.csv")
    (tmp_path / "part.csv").write_text("activation,a,b\nsqrt(x),1,0\n")
    with pytest.raises(UsageError, match=r"part\.csv, line 2: .*undefined"):
        audit(tmp_path / "part.csv")


def test_views(report):
    frame = report.to_frame()
    assert len(frame) == sum(len(entry.values) for entry in PUBLISHED)
    assert {"id", "quantity", "published", "exact", "relative_error", "depth_2", "depth_10", "source"} <= set(frame)
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    gelu = next(row for row in data["rows"] if row["id"] == "lu2020/gelu")
    assert gelu["values"][0]["exact"].startswith("1.4811144127083")
    assert gelu["cost"]["depth_2"] == 44
    assert next(row for row in data["rows"] if row["id"] == "torch/relu")["cost"]["depth_2"] is None
    text = report.summary()
    assert text.startswith("16 of 40 published numbers are the exact ones to the digits printed.")
    assert "lu2020/gelu: off by 0.7 %; the squared gradient norm has changed by a factor 2 at depth 44" in text


def test_digits_shown(report):
    exact = closed_form(build("gelu")).evaluate(40)
    assert comparison(report, "lu2020/gelu", "a").exact == mpmath.nstr(exact["a"], 20)
    table = pd.DataFrame({"activation": ["gelu"], "a": ["1.48"], "b": ["0.07"]})
    with mpmath.workdps(60):
        wanted = mpmath.nstr(exact["b_plus"], 35)
    assert audit(table, digits=35).rows[0].comparisons[1].exact == wanted


def test_misuse(report):
    for digits in (0, 101, 1.5):
        with pytest.raises(UsageError, match="digits"):
            audit(digits=digits)
    with pytest.raises(UsageError, match="no entry"):
        report.row("lu2020/nothing")
