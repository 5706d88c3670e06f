"""A true engine holds, and every error on the list of mutations makes the verdict violated."""

import json

import numpy as np
import pytest

import gpn
from benchmarks.mutations import MUTATIONS
from gpn.statistics.limits import Verdict, lower_limit
from gpn.verification.engine import rows as engine
from gpn.verification.kinds import ENGINE
from theory.activations.activation import Activation
from theory.claims.engine import EngineClaim
from theory.errors import ContradictionError

SMALL = {"widths": 16, "depth": 6, "epsilons": 0.5, "trials": 100, "workers": 1}  # no process without the error
REST = [name for name in MUTATIONS if name not in ("no-along", "independent", "no-signal", "slope-all", "qr-signs")]


@pytest.mark.parametrize("name", ["tanh", "relu", "sin", "abs", "x"])
@pytest.mark.parametrize("weights", ["haar", "gaussian"])
def test_a_true_engine_holds(name, weights):
    report = gpn.verify(name, **SMALL, weights=weights)
    assert {row.verdict for row in report.engine} <= {Verdict.HOLDS}
    assert report.engine_finding is None
    assert len(report.engine) <= engine.MOST_ROWS


@pytest.mark.parametrize("name", ["abs", "x", "leaky_relu"])
@pytest.mark.parametrize("width", [2, 3])
def test_rounding_of_narrow_networks_and_of_ratios_that_are_always_one_is_no_error(name, width):
    """All norms of abs and x are equal, up to rounding; in 2 dimensions little may be left across a vector."""
    report = gpn.verify(name, widths=width, depth=3, epsilons=0.5, trials=20, claims="engine", seed=1)
    assert report.departures == ()
    assert {row.width for row in report.engine} == {4}


@pytest.mark.parametrize("formula", ["1e30*x", "1e-100*x", "exp(-10000*x**2)", "exp(-1000*x**2)/1e60", "x**3"])
def test_numbers_that_float64_cannot_hold_are_no_departure(formula):
    """Squares, or products over the layers, over- or underflow in some of these networks or in all."""
    report = gpn.verify(formula, widths=16, depth=8, epsilons=0.5, trials=100, root=None, claims="engine", seed=3)
    assert report.departures == ()


def test_rows_stand_in_the_frame_after_the_others_and_no_verdict_is_theirs_alone(tmp_path):
    report = gpn.verify("tanh", **SMALL)
    frame = report.to_frame()
    last = frame.tail(len(report.engine))
    assert set(last["bound_kind"]) == {ENGINE.name}
    assert set(last["claim"]) == {str(claim) for claim in EngineClaim} - {EngineClaim.HOMOGENEOUS}
    assert len(frame) == len(report.rows) + len(report.engine)
    json.dumps(report.to_dict(), allow_nan=False)
    assert report.verdicts["engine"] is Verdict.HOLDS
    assert "engine" not in gpn.verify("tanh", **SMALL, claims="one-layer").verdicts
    alone = gpn.verify("tanh", **SMALL, claims="engine")
    assert (alone.verdicts, alone.rows) == ({"engine": Verdict.HOLDS}, ())
    assert "The forward pass is that of the network" in alone.to_html()
    assert {path.name for path in alone.save(tmp_path)} == {"results.csv", "results.json", "report.html"}
    unsure = gpn.verify("tanh", **SMALL | {"epsilons": 0.001})  # every row of theory is vacuous or undecided
    assert unsure.verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("name", ["no-along", "independent", "no-signal", "slope-all", "qr-signs"])
def test_an_error_that_passed_as_holds_is_a_violation(name):
    with MUTATIONS[name].applied():
        report = gpn.verify("tanh", **SMALL)
    assert report.verdict is Verdict.VIOLATED
    assert report.summary().startswith("The engine departs from the exact law.")
    assert all(row.verdict is not Verdict.VIOLATED for row in report.rows)


@pytest.mark.parametrize("name", REST)
def test_every_other_error_is_a_violation(name):
    with MUTATIONS[name].applied():
        assert gpn.verify("tanh", **SMALL, claims="engine").verdict is Verdict.VIOLATED


def test_a_slope_that_is_wrong_for_theory_and_engine_alike_is_refused(monkeypatch):
    exact = Activation.value_and_slope
    wrong = lambda self, x: (exact(self, x)[0], 1.001 * exact(self, x)[1])  # noqa: E731
    monkeypatch.setattr(Activation, "value_and_slope", wrong)
    with pytest.raises(ContradictionError, match="internal contradiction"):
        gpn.verify("tanh", **SMALL)


@pytest.mark.parametrize("method", ["slope-one", "value-one"])
def test_the_first_layer_is_named(method):
    with MUTATIONS[method].applied():
        report = gpn.verify("tanh", **SMALL)
    assert "first in layer 3 of 6" in report.departures[0]


def test_the_level_is_shared_with_the_rows_about_the_engine():
    report = gpn.verify("tanh", **SMALL)
    alpha = 0.01 / (len(report.rows) + engine.MOST_ROWS) / 2
    row = next(row for row in report.engine if row.claim == EngineClaim.PAIRS)
    assert row.lower == pytest.approx(float(lower_limit(row.exceedances, row.trials, alpha)), rel=1e-9)


def test_networks_are_the_same_whatever_runs_beside_them():
    one, other = (gpn.verify("tanh", **SMALL | {"epsilons": epsilon}) for epsilon in (0.5, 0.7))
    assert [row.exceedances for row in one.engine] == [row.exceedances for row in other.engine]
    assert np.isfinite([row.estimate for row in one.engine]).all()
