"""The width that every method asks for, and the inverses: each value is at the edge of what its method accepts."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import gpn
from gpn.report.words.findings import sharpness
from gpn.verification import width, width_search
from gpn.verification.kinds import PREDICTION, NetworkKind
from gpn.verification.width_results import NETWORK
from theory.bounds import deep, homogeneous
from theory.bounds import network as network_law
from theory.bounds.verifier import DeepBound
from theory.errors import UsageError
from theory.layer.law import layer_law
from theory.layer.levy import Bound
from theory.layer.tails import one_step


@pytest.fixture(scope="module")
def relu():
    return gpn.required_width("relu", depth=10, epsilon=1.0)


def test_the_deep_bound_of_relu_asks_for_the_least_width_of_its_theorem(relu):
    assert relu.value("deep") == homogeneous.required_width(homogeneous.RELU, 10, 1.0, 0.05)
    assert relu.value("prediction") < relu.value("deep")


def test_one_layer_asks_for_less_than_a_network_and_bounds_for_more_than_the_truth(relu):
    forward = "one layer, forward"
    assert relu.value("exact", forward) == relu.value("cramer", forward) == 6  # both are 2^(1-n), and 2^-5 < 5 %
    assert relu.value("cramer", forward) < relu.value("levy", forward)
    assert relu.value("levy", forward) < relu.value("deep")


def test_a_bound_that_is_registered_is_asked_without_more(monkeypatch):
    """A made-up bound L/(n epsilon), whose width, depth and tolerance for p are L/(p epsilon), n p epsilon, L/(n p)."""
    made_up = NetworkKind(
        "made-up",
        "made up",
        "made-up bound",
        compute=lambda _phi, n, depth, epsilon, *_: Bound("made-up", math.log(depth / (n * epsilon))),
    )
    monkeypatch.setattr(width, "NETWORK_KINDS", (PREDICTION, made_up))
    monkeypatch.setattr(width, "LAYER_KINDS", ())
    assert gpn.required_width("relu", 10, 1.0, 0.05).value("made-up") == pytest.approx(200, rel=0.02)
    assert gpn.carried_depth("relu", 1000, 1.0, 0.05).value("made-up") == pytest.approx(50, rel=0.03)
    assert gpn.guaranteed_epsilon("relu", 400, 10, 0.05).value("made-up") == pytest.approx(0.5, rel=0.02)


def test_a_value_is_the_first_that_its_method_accepts(relu):
    n = int(relu.value("cramer", "one layer, forward"))
    phi = gpn.normalize("relu")

    def bound(width):
        tails = (one_step("forward-one-step", layer_law(phi, width), 1.0, side) for side in ("upper", "lower"))
        return sum(tail.cramer.probability for tail in tails)

    assert bound(n) <= 0.05 < bound(n - 1)


def test_a_method_that_does_not_apply_says_why(relu):
    [levy] = [r for r in relu.requirements if (r.kind, r.scope) == ("levy", "one layer, backward")]
    assert levy.value is None
    assert "Lipschitz" in levy.reason


def test_depth_and_epsilon_are_inverses_of_the_width(relu):
    n = int(relu.value("deep"))
    depth = gpn.carried_depth("relu", n, 1.0)
    assert {r.scope for r in depth.requirements} == {NETWORK}
    assert depth.value("deep") >= 10
    epsilon = gpn.guaranteed_epsilon("relu", n, 10)
    assert epsilon.value("deep") == pytest.approx(1.0, rel=0.03)
    assert epsilon.value("prediction") < epsilon.value("deep")


def test_the_simulated_width_is_near_the_predicted_one():
    """4000 networks at each width: 5 % +- 0.35 %, which is 3 % of the width; a third apart would be ten deviations."""
    report = gpn.required_width("relu", depth=5, epsilon=1.5, simulate=True)
    assert report.value("simulation") == pytest.approx(report.value("prediction"), rel=0.33)


@pytest.mark.parametrize("unknown", ["width", "depth", "epsilon"])
@pytest.mark.parametrize("start", [None, 40.0])
def test_the_search_finds_the_edge_of_any_monotone_method(unknown, start):
    """p = 0.05 at width 100, depth 100 or epsilon 100 exactly."""
    exponent = 1.0 if unknown == "depth" else -1.0
    given = {"width": 64, "depth": 8, "epsilon": 0.5} | {unknown: None}
    asked = width_search.Problem(unknown, *given.values(), 0.05)
    found = width_search.search(
        asked, NETWORK, "x", lambda x: Bound("x", math.log(0.05 * (x / 100) ** exponent)), 1e-3, start
    )
    assert found.value == pytest.approx(100, rel=0.011)  # a whole number beside it, or 0.1 % off
    assert found.probability <= 0.05


def test_a_probability_that_never_falls_has_no_width():
    asked = width_search.Problem("width", None, 8, 0.5, 0.05)
    found = width_search.search(asked, NETWORK, "x", lambda _: Bound("x", 0.0), 1e-3)
    assert found.value is None
    assert "still 1" in found.reason


def test_an_unstable_root_is_out_of_reach_of_any_width():
    phi = gpn.normalize("gelu", root="plus")
    assert network_law.predicted(phi, 1000, 10, 0.5).kind == "none"
    assert network_law.deep_bound(phi, 1000, 10, 0.5).probability == 1.0


def test_json_and_frame_agree(relu):
    facts = json.loads(json.dumps(relu.to_dict(), allow_nan=False))
    frame = relu.to_frame()
    assert list(frame.columns) == ["scope", "kind", "width", "probability", "reason"]
    assert [r["value"] for r in facts["requirements"]] == [None if np.isnan(v) else v for v in frame["width"]]


def test_saved_files_are_whole(relu, tmp_path):
    names = {path.name for path in relu.save(tmp_path / "out")}
    assert names == {"width.csv", "width.json", "width.png", "width.pdf"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 1, "epsilon": 1.0}, "depth"),
        ({"depth": 10, "epsilon": -1.0}, "epsilon"),
        ({"depth": 10, "epsilon": 1.0, "probability": 1.5}, "probability"),
        ({"depth": 10}, "two of"),
        ({"depth": 10, "epsilon": 1.0, "width": 10}, "two of"),
        ({"width": 1, "epsilon": 1.0}, "width"),
        ({"width": 2.5, "epsilon": 1.0}, "whole number"),
    ],
)
def test_misuse_is_a_usage_error(options, message):
    with pytest.raises(UsageError, match=message):
        width.solve("tanh", **options)


def test_gaussian_weights_have_a_bound_and_a_prediction_of_their_own():
    report = gpn.required_width("tanh", 10, 1.0, weights="lecun")
    assert [row.kind for row in report.requirements] == ["deep", "prediction"]
    assert report.to_dict()["weights"] == "gaussian"
    assert 1.8 < report.value("deep") / report.value("prediction") < 2.3
    haar = network_law.predicted(gpn.normalize("tanh"), int(report.value("prediction")), 10, 1.0)
    assert haar.probability < 0.005
    relu = gpn.required_width("relu", 10, 1.0, weights="gaussian")
    assert "covers Haar (orthogonal) weights only; ask for those, or simulate" in relu.requirements[0].reason
    with pytest.raises(UsageError, match="unknown weights 'he'"):
        gpn.required_width("tanh", 10, 1.0, weights="he")


def test_a_verification_with_gaussian_weights_asks_their_own_bound():
    # 400 networks, of which 0.2 % leave the tolerance: the bound, 0.05, is not refuted, false alarm below 1e-10.
    report = gpn.verify("tanh", widths=430, depth=10, epsilons=1.0, trials=400, claims="network", weights="gaussian")
    rows = {row.bound_kind: row for row in report.rows if row.claim == "deep-gradient-ratio"}
    assert 0.03 < rows["deep"].bound < 0.06
    assert str(rows["deep"].verdict) == "holds"
    assert 1e-4 < rows["prediction"].bound < 0.01
    assert any("those of Gaussian weights" in note for note in report.notes)


def test_a_gaussian_chain_of_unequal_widths_has_a_deep_bound():
    chain = {"layers": [64, 700, 650, 800, 650], "epsilons": 1.0, "trials": 100}
    rows = {row.bound_kind: row for row in gpn.verify("tanh", weights="gaussian", **chain).rows}
    assert rows["prediction"].bound < rows["deep"].bound < 0.05
    assert "deep" not in {row.bound_kind for row in gpn.verify("tanh", **chain).rows}
    assert "deep" not in {row.bound_kind for row in gpn.verify("tanh", weights="gaussian", gain=1.1, **chain).rows}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("tanh", {"depth": 10, "epsilon": 1.0}),
        ("selu", {"depth": 10, "epsilon": 0.693}),
        ("x**2", {"depth": 5, "epsilon": 0.5}),
        ("x**3", {"depth": 5, "width": 10_000}),
        ("exp(x/2)", {"depth": 5, "width": 300}),
    ],
)
def test_the_exact_law_never_asks_for_more_than_its_upper_bounds(monkeypatch, name, given):
    monkeypatch.setattr(width, "NETWORK_KINDS", ())
    report = width.solve(name, **given)
    for scope in width.ONE_LAYER.values():
        [levy, cramer, exact] = [row for row in report.requirements if row.scope == scope]
        bounds = [bound.value for bound in (levy, cramer) if bound.value is not None]
        assert (exact.value or np.inf) <= 1.001 * min(bounds, default=np.inf)  # each is found to 0.1 %
        assert exact.probability is None or exact.probability <= 0.05
        assert exact.value is None or exact.probability is not None or exact.reason.startswith("at most")


def test_the_edge_of_a_law_is_no_width_that_it_asks_for(monkeypatch):
    """At width 15 tanh's law begins, below 0.05; of x^3 one coordinate in 30,915 is likelier than the law's number."""
    monkeypatch.setattr(width, "NETWORK_KINDS", (PREDICTION,))
    monkeypatch.setattr(width, "ONE_LAYER", {})
    [edge] = width.solve("tanh", depth=5, epsilon=3.0).requirements
    assert edge.value == 15
    assert edge.reason == "at most: a layer of width 14 fluctuates too much; the law needs a width of 15"
    assert edge.probability < 0.01
    [heavy] = width.solve("x**3", depth=5, epsilon=1.0).requirements
    assert heavy.value is None
    assert "one large coordinate alone" in heavy.reason
    assert network_law.predicted(gpn.normalize("x**3"), 10**6, 5, 0.01).kind == "prediction"
    problem = width_search.Problem("depth", 100, None, 1.0, 0.05)
    bound = width_search.search(problem, NETWORK, "any", lambda L: Bound("none" if L > 9 else "any", -5, "no more"), 0)
    assert (bound.value, bound.reason) == (9, "at least: no more")


def test_a_prediction_that_begins_at_a_width_is_an_upper_limit(monkeypatch):
    monkeypatch.setattr(width, "NETWORK_KINDS", (PREDICTION,))
    monkeypatch.setattr(width, "LAYER_KINDS", ())
    [wide] = gpn.required_width("gelu", 5, 2.0).requirements  # simulated: 20; the law begins at 33
    assert (wide.value, wide.reason.startswith("at most: ")) == (33, True)
    [usual] = gpn.required_width("gelu", 5, 1.0).requirements
    assert usual.reason == ""


def test_only_what_is_proved_about_haar_weights_is_called_certified(monkeypatch, relu):
    with pytest.raises(UsageError, match="Haar weights"):
        width.with_certificate(replace(relu, weights="gaussian"), gpn.normalize("tanh"))
    monkeypatch.setattr(
        deep, "required_width_deep", lambda *_, **__: deep.DeepWidth(200, DeepBound("deep", -3.0, document={}))
    )
    report, document = width.with_certificate(relu, gpn.normalize("tanh"))
    assert report.value("certified") is document is None
    assert report.requirements[-1].reason == "not certified"


def test_a_bound_is_below_one_for_the_events_that_are_counted():
    def row(n, epsilon, bound):
        return SimpleNamespace(bound_kind="deep", width=n, epsilon=epsilon, bound=bound, times_truth=None)

    rows = [row(300, 0.5, 1.0), row(300, 1.0, 0.2), row(900, 1.0, 0.1)]
    assert sharpness(rows) == ["deep bound: below 1 for 2 of 3 events (width 300, 900; ε 1)"]
    assert sharpness(rows[1:]) == ["deep bound: below 1 for each of 2 events"]
    assert sharpness(rows[:1]) == ["deep bound: says nothing at these widths"]


def test_exponentials_that_float64_cannot_hold_prove_nothing():
    found = deep.deep_bound(gpn.normalize("tanh"), 10**11, 10, 1e-3, weights="gaussian")
    assert found.probability == 1.0
    assert found.reason
