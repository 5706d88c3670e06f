"""What the verdict stands on: each question that was asked was tested, or it is said that it was not."""

from dataclasses import replace

import numpy as np
import pytest

import gpn
from gpn.report.words import verdicts
from gpn.report.words.findings import report_finding
from gpn.statistics.limits import Verdict
from gpn.verification.results import VerificationReport
from gpn.verification.settings import Settings, identity
from theory.bounds import network
from theory.bounds.network import deep_bound, width_that_tests
from theory.claims.counted import GROUPS, CountedClaim, chosen
from theory.errors import UsageError


@pytest.fixture(scope="module")
def default() -> VerificationReport:
    """The widths of a default run, where the theorem has one of its own at each depth."""
    return gpn.verify("relu", depth=(5, 10), trials=400)


def line(report: VerificationReport, name: str) -> str:
    return next(line for line in report.summary().splitlines() if line.startswith(name))


def test_the_theorem_is_tested_where_it_speaks(default):
    added = default.config.theorem
    assert [depth for _, depth in added] == [5, 10]
    for width, depth in added:
        [row] = [row for row in default.rows if (row.width, row.depth, row.bound_kind) == (width, depth, "deep")]
        assert 0.01 < row.bound <= 0.3
        assert row.epsilon == 1.0
        assert row.bound == pytest.approx(deep_bound(gpn.normalize("relu"), width, depth, 1.0).probability)
        assert row.verdict is Verdict.HOLDS
    assert "the theorem at depth 10 holds" in line(default, "Whole network")
    assert "the theorem at depth 10 holds" in report_finding(default)


def test_its_networks_are_few_unless_asked_for():
    """300 of them, of at most so many neurons: the search ends there."""
    settings = Settings.read("relu", depth=200)
    assert settings.default_widths
    assert width_that_tests(gpn.normalize("relu"), 200, 1.0, 1000, "random") is None
    assert width_that_tests(gpn.normalize("selu"), 1, 1.0, 10, "random") is None


def test_nothing_holds_that_was_not_tested():
    """Rows of one layer hold, and no bound below 1 is known for the whole network."""
    report = gpn.verify("relu", widths=64, depth=50, epsilons=0.5)
    assert report.verdicts["one-layer"] is Verdict.HOLDS
    assert report.verdicts["network"] is Verdict.VACUOUS
    assert report.verdict is Verdict.UNDECIDED
    assert "holds" not in line(report, "Whole network")
    assert "not tested" in line(report, "Whole network")
    assert "network: not tested" in verdicts.short_verdict(report)
    assert "not tested" in report_finding(report)


def test_a_tolerance_that_was_asked_for_is_tested_or_missing():
    """At width 300 and depth 10 the bound is below 1 for ε = 1, not for ε = 0.1."""
    report = gpn.verify("relu", widths=300, depth=10, epsilons=(0.1, 1.0), trials=400, claims="network")
    assert {row.verdict for row in report.rows if row.bound_kind == "deep"} == {Verdict.HOLDS, Verdict.VACUOUS}
    assert report.untested(report.rows) == [(10, 0.1)]
    assert report.verdict is Verdict.UNDECIDED
    assert "At depth 10, ε = 0.1" in line(report, "Whole network")
    assert "whole network at depth 10 with ε = 0.1 not tested" in report_finding(report)


def test_claims_choose_what_is_asked():
    report = gpn.verify("relu", widths=64, depth=50, epsilons=0.5, claims="one-layer")
    assert {row.claim for row in report.rows} == set(GROUPS["one-layer"])
    assert (report.verdict, list(report.verdicts)) == (Verdict.HOLDS, ["one-layer"])
    assert not report.spreads
    one = gpn.verify("relu", widths=64, depth=50, epsilons=0.5, trials=200, claims=["forward-one-step"])
    assert {row.claim for row in one.rows} == {"forward-one-step"}
    deep = gpn.verify("relu", widths=64, depth=5, epsilons=0.5, trials=200, claims="network")
    assert {row.claim for row in deep.rows} == {CountedClaim.NETWORK}


def test_the_names_of_claims():
    assert chosen("network,forward-one-step") == chosen(["forward-one-step", "network"])
    with pytest.raises(UsageError, match="one-layer"):
        gpn.verify("relu", claims="one-layers")
    with pytest.raises(UsageError, match="leave claims out"):
        chosen([])


def test_the_identity_is_answered():
    """Every norm is preserved: theory excludes every event, and none is seen."""
    report = gpn.verify("x", widths=64, depth=5, trials=200, claims="network,one-layer")
    assert {row.exceedances for row in report.rows} == {0}
    assert report.verdict is Verdict.HOLDS
    assert "impossible" in line(report, "Whole network")
    assert "Predictions" not in line(report, "Whole network")  # none could have been missed
    [row, *_] = report.rows
    seen = replace(row, exceedances=1, lower=0.001, verdict=Verdict.VIOLATED)
    assert replace(report, rows=(seen, *report.rows)).verdict is Verdict.VIOLATED


@pytest.mark.parametrize("group", ["network", "one-layer"])
@pytest.mark.parametrize("verdict", [Verdict.VIOLATED, Verdict.UNDECIDED])
def test_one_row_that_does_not_hold_is_told(default, group, verdict):
    rows = list(default.rows)
    place = next(i for i, row in enumerate(rows) if row.group == group and row.bound_kind in ("deep", "cramer"))
    rows[place] = replace(rows[place], verdict=verdict)
    held = [row for row in rows if row.verdict is not Verdict.UNDECIDED or row is rows[place]]
    report = replace(default, rows=tuple(held))
    assert report.verdict is verdict
    assert report.verdicts[group] is verdict
    assert f"1 {verdict}" in line(report, {"network": "Whole network", "one-layer": "One layer"}[group])


def test_a_contradiction_is_told_first(default):
    shallow = next(row for row in default.rows if (row.bound_kind, row.depth) == ("deep", 5) and row.is_tested)
    rows = tuple(replace(row, verdict=Verdict.VIOLATED) if row is shallow else row for row in default.rows)
    assert "the theorem at depth 5 is VIOLATED" in line(replace(default, rows=rows), "Whole network")


def test_a_missed_prediction_is_told_first(monkeypatch):
    """Of a law whose variance is 50 % too large; the theorem has a verdict of its own."""
    true = gpn.verify("tanh", widths=64, depth=10, epsilons=1.0, trials=4000, claims="network")
    law = network.predicted
    monkeypatch.setattr(network, "predicted", lambda phi, n, depth, epsilon, *_: law(phi, n, depth, epsilon / 1.5**0.5))
    wrong = gpn.verify("tanh", widths=64, depth=10, epsilons=1.0, trials=4000, claims="network")
    assert wrong.summary().startswith("A prediction is MISSED: at width 64 and depth 10, ε = 1, 0.205 was predicted")
    assert "Predictions (not theorems): 1 MISSED of 1" in line(wrong, "Whole network")
    assert "none missed of 1" in line(true, "Whole network")
    assert true.verdict is wrong.verdict
    for report in (true, wrong):
        [row] = [row for row in report.rows if row.kind.is_prediction]
        assert row.margin_lower < row.bound < row.margin_upper


def test_the_practitioners_number_is_first(default):
    """Against the spread of other networks of the same size: 95 % of them within the factor, give or take."""
    first = default.summary().splitlines()[0]
    assert first.startswith("At width 1024 and depth 10, in half of 400 networks")
    factor = float(first.rstrip(".").rsplit(" ", 1)[1])
    sample = gpn.simulate(gpn.normalize("relu"), width=1024, depth=10, trials=400, seed=5)
    ratios = 2 * np.abs(sample.log_gradient_norms - sample.log_gradient_norms[:, -1:]).max(axis=1)
    share = np.mean(ratios <= np.log(factor))
    assert 0.95 - 0.08 < share < 0.95 + 0.05  # seven standard deviations of both together


def test_a_run_with_default_widths_is_recalled_as_one():
    settings = Settings.read("relu", depth=3)
    config = settings.configuration(gpn.activation("relu"), 1.0, 0.0)
    call = identity(settings, config).call
    assert call is not None
    assert call["widths"] is None
    assert Settings.read(**call) == settings


def test_lemmas_without_an_event_to_count_are_no_question_beside_others():
    """At ε = 1 the events of ReLU are too rare to be counted; for Gaussian weights there are no lemmas."""
    asked = {"widths": 64, "depth": 2, "trials": 200}
    for report in (
        gpn.verify("relu", epsilons=1.0, **asked),
        gpn.verify("tanh", epsilons=0.5, weights="gaussian", **asked),
    ):
        lemmas = [row for row in report.rows if row.group == "lemmas"]
        assert ("lemmas" in report.verdicts) == bool(lemmas)
        assert "Lemmas: not tested" not in report.summary()
    with pytest.raises(UsageError, match=r"no event that can be counted .* with gaussian weights"):
        gpn.verify("tanh", epsilons=0.5, weights="gaussian", **asked, claims="lemmas")


def test_relu_at_its_edge_holds():
    """The command that once called a theorem violated: of 64 signs all are alike with probability 2^-64."""
    report = gpn.verify("relu", widths=64, depth=5, epsilons=1, claims=("one-layer", "lemmas"))
    assert report.verdict is Verdict.HOLDS


@pytest.mark.parametrize(
    ("claims", "covering"),
    [
        ("engine", None),
        ("lemmas", ""),
        ("network", "relu-deep-bound"),
        ("one-layer", "cramer-forward, cramer-backward-random and cramer-backward-fixed"),
        ("network,forward-one-step", "cramer-forward and relu-deep-bound"),
    ],
)
def test_only_claims_that_were_asked_are_said_to_cover_what_the_paper_leaves_out(claims, covering):
    notes = " ".join(gpn.verify("relu", widths=16, depth=2, epsilons=0.5, trials=20, claims=claims).notes)
    assert ("outside the paper's theorems" in notes) == (covering is not None)
    assert ("do not ask for it" in notes) == bool(covering)
    assert not covering or f"do not ask for it: {covering}." in notes


def test_the_width_that_the_theorem_needs_is_named_where_widths_were_chosen():
    """At 285 neurons the bound of 10 layers of ReLU falls below 0.05: the doctest of `required_width`."""
    words = "(needs n ≥ 285 for a bound of 0.05 at ε = 1)"
    small = gpn.verify("relu", (16, 400), 10, 1.0, 20, claims="network")
    assert small.needs == (10, 1.0, 285)
    assert f"At depth 10 and width 16 no theorem applies {words}." in small.summary()
    alone = gpn.verify("relu", 16, 10, 1.0, 20, claims="network")
    assert "ε = 1 it says nothing at width 16; it needs n ≥ 285 for a bound of 0.05 at ε = 1." in alone.summary()
    assert gpn.verify("relu", 400, 10, 1.0, 20, claims="network").needs is None
    assert gpn.verify("relu", 16, 10, 1.0, 20, claims="network", weights="gaussian").needs is None
    assert gpn.verify("relu", 16, 10, 1.0, 20, claims="one-layer").needs is None
