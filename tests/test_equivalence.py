"""The equivalence test of predictions: its error probabilities by summing the binomial, and its answers."""

import numpy as np
import pytest
from scipy import stats

from gpn.equivalence import Agreement, equivalence
from theory.errors import UsageError


def chances(trials, predicted, margin, alpha, p, floor=0.0):
    """Exact probability of each answer if the true probability is p."""
    weights = stats.binom.pmf(np.arange(trials + 1), trials, p)
    answers = [equivalence(k, trials, predicted, margin, alpha, floor=floor).agreement for k in range(trials + 1)]
    return {kind: weights[[answer is kind for answer in answers]].sum() for kind in Agreement}


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize(("trials", "predicted", "margin", "floor"), [(400, 0.3, 0.3, 0.0), (300, 0.0, 0.0, 0.05)])
def test_error_probabilities_by_summing_the_binomial(trials, predicted, margin, floor, alpha):
    low, high = max(predicted / (1 + margin) - floor, 0.0), (1 + margin) * predicted + floor
    for p in (low * (1 - 1e-9), low * 0.8, high * (1 + 1e-9), high * 1.2):
        if not low <= p <= high:
            assert chances(trials, predicted, margin, alpha, p, floor)[Agreement.AGREES] <= alpha
    for p in np.linspace(low, high, 7):
        assert chances(trials, predicted, margin, alpha, p, floor)[Agreement.DIFFERS] <= 2 * alpha


def test_the_level_is_nearly_used_up_at_the_edge():
    edge = 0.3 * 1.3 * (1 + 1e-9)
    assert chances(400, 0.3, 0.3, 0.05, edge)[Agreement.AGREES] > 0.03


def test_a_good_prediction_is_confirmed_once_the_trials_suffice_and_a_bad_one_refuted():
    assert chances(2000, 0.2, 0.3, 0.01, 0.205)[Agreement.AGREES] > 0.99
    assert chances(2000, 0.2, 0.3, 0.01, 0.32)[Agreement.DIFFERS] > 0.99
    assert chances(50, 0.2, 0.3, 0.01, 0.205)[Agreement.UNDECIDED] > 0.9


def test_a_small_error_of_the_prediction_is_forgiven_however_many_the_trials():
    """An exact test rejects what the equivalence test confirms."""
    from gpn.statistics import exact_test

    assert exact_test(510_000, 10_000_000, 0.05) < 1e-9
    assert equivalence(510_000, 10_000_000, 0.05, 0.1, 1e-6).agreement is Agreement.AGREES


def test_the_event_that_never_happens_needs_an_absolute_margin():
    assert equivalence(0, 1000, 0.0, 0.1, 0.01).agreement is Agreement.UNDECIDED
    assert equivalence(0, 1000, 0.0, 0.1, 0.01, floor=0.005).agreement is Agreement.AGREES


def test_misuse_is_refused_and_an_answer_is_not_a_truth_value():
    for k, predicted, margin in ((1, 1.5, 0.1), (1, 0.5, -0.1), (1, 0.5, 0.0), (11, 0.5, 1.0)):
        with pytest.raises(UsageError):
            equivalence(k, 10, predicted, margin, 0.01)
    with pytest.raises(UsageError):
        equivalence(1, 10, 0.5, float("nan"), 0.01)
    with pytest.raises(TypeError, match="neither"):
        bool(Agreement.AGREES)
