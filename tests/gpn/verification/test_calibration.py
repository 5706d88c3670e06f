"""Calibration: how often true networks are called violated, over many runs of one plan."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from gpn.statistics.limits import Verdict, row_alpha
from gpn.verification import plan as planning
from gpn.verification.kinds import EXACT
from gpn.verification.plan import Plan
from gpn.verification.questions import one_step_questions
from gpn.verification.rounds import Runner, run_plan
from gpn.verification.settings import Settings
from theory.activations.specification import activation
from theory.normalization.normalize import normalize

LEVEL = 0.9


def runs_with_violations(monkeypatch, runs, shift=0.0):
    """Of so many runs of single layers of width 40, those in which some row is violated, by networks or by integration.

    The logarithms of exact probabilities are moved by the shift.
    """
    monkeypatch.setattr(planning, "RARE_DRAWS", 500)
    monkeypatch.setattr(planning, "MOST_RARE_COORDINATES", 500 * 40)
    settings = Settings.read("tanh", 40, 2, (0.2, 0.6), trials=300, level=LEVEL, claims="one-layer")
    tested = normalize(activation("tanh"))
    asked = list(one_step_questions(settings, tested))
    alpha = row_alpha(LEVEL, len(asked)) / 2
    plan = Plan.make(settings, asked, tested, alpha)
    assert 2 <= len(plan.sampled) <= 8
    jobs = plan.jobs(tested, None)
    judged = [replace(q, bound=replace(q.bound, log=q.bound.log + shift)) if q.kind is EXACT else q for q in asked]
    found = 0
    for seed in range(runs):
        outcome = run_plan(plan, jobs, Runner(seed, None, 1, None, None))
        verdicts = {q.decide(outcome.counts[q.event], outcome.weighted.get(q.event), alpha).verdict for q in judged}
        found += Verdict.VIOLATED in verdicts
    return found


@pytest.mark.parametrize("runs", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_true_networks_are_violated_no_more_often_than_the_level_allows(monkeypatch, runs):
    """At level 0.9 at most a tenth of the runs: false alarm below 1e-6."""
    assert runs_with_violations(monkeypatch, runs) <= stats.binom.isf(1e-6, runs, 1 - LEVEL)


def test_probabilities_that_are_twice_the_true_ones_are_violated(monkeypatch):
    """The same runs are not blind."""
    assert runs_with_violations(monkeypatch, 5, shift=np.log(2)) == 5
