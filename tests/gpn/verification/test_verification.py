"""The main job: rows, verdicts and their honesty, on small networks with fixed seeds."""

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, replace
from itertools import product
from multiprocessing import get_context

import numpy as np
import pytest
from scipy import stats

import gpn
from gpn.experiment import cells, streams
from gpn.sampling import laws
from gpn.statistics.limits import Verdict
from gpn.verification import plan, questions
from gpn.verification import verify as verification
from gpn.verification.engine import rows as engine
from gpn.verification.kinds import DEEP, LEVY
from gpn.verification.results import Row
from gpn.verification.settings import Settings
from tests.oracles.binomial import exact_test, power
from theory.claims.counted import ONE_LAYER, CountedClaim
from theory.errors import UsageError
from theory.layer.levy import Bound

SMALL = {"widths": (16, 48), "depth": (2, 5), "epsilons": (0.3, 0.6), "trials": 400}
CONTRACT = ["claim", "activation", "width", "depth", "epsilon", "side", "trials", "exceedances", "estimate"]
CONTRACT += ["lower", "upper", "bound_kind", "bound", "prediction", "verdict", "method", "equal"]
CONTRACT += ["draws", "effective_draws", "weighted_estimate", "weighted_lower", "weighted_upper"]
CONTRACT += ["margin_lower", "margin_upper", "unknown"]


@pytest.fixture(scope="module")
def report():
    return gpn.verify("tanh", **SMALL)


def test_rows_have_the_contracted_columns_in_order(report):
    assert [field.name for field in fields(Row)] == CONTRACT
    frame = report.to_frame()
    assert list(frame.columns) == CONTRACT
    # 3 one-step claims x 2 widths x 2 epsilons x 2 sides x 3 kinds, and 2 widths x 2 depths x 2 epsilons x 2 kinds
    assert sum(row.group in ("one-layer", "network") for row in report.rows) == 72 + 16
    assert len(frame) == len(report.rows) + len(report.engine)
    assert set(frame["verdict"]) <= {str(verdict) for verdict in Verdict}


def test_the_plan_has_the_trials_that_decide_each_row(report):
    plan = report.plan()
    assert len(plan) == len(report.rows)
    alpha = report.alpha
    assert alpha == pytest.approx(0.01 / (len(report.rows) + engine.MOST_ROWS) / 2)
    bounds = 0
    for row, wanted in zip(report.rows, plan["trials_wanted"], strict=True):
        if row.bound is None or not 0 < row.bound < 1:
            assert np.isnan(wanted)
        elif row.bound_kind in ("levy", "cramer") and not np.isnan(wanted):
            truth = row.bound / 8 if row.prediction is None else row.prediction
            assert power(int(wanted), row.bound, alpha, truth) >= 0.95
            bounds += 1
    assert bounds > 10


def test_without_a_number_the_trials_are_those_that_decide():
    """With 95 % power each row; the seed is fixed."""
    report = gpn.verify("tanh", widths=(32, 128), depth=1, epsilons=0.3)
    one_step = [row for row in report.rows if row.group == "one-layer"]
    assert {row.verdict for row in one_step} <= {Verdict.HOLDS, Verdict.VACUOUS}
    assert {row.method for row in one_step} == {"counting", "importance sampling"}
    assert len({(row.width, row.trials) for row in one_step if row.method == "counting"}) == 2
    for row, wanted in zip(report.rows, report.plan()["trials_wanted"], strict=True):
        if row.method == "counting" and row.depth == 1 and row.bound_kind in ("levy", "cramer", "exact"):
            assert np.isnan(wanted) or row.trials >= wanted


def test_rare_events_confirm_bounds_that_counting_cannot_reach():
    """A bound of 1e-12 and less; trials and exceedances are those of networks all the same."""
    report = gpn.verify("tanh", widths=512, depth=1, epsilons=0.4)
    rare = [row for row in report.rows if row.method == "importance sampling"]
    assert min(row.bound for row in rare if row.bound_kind == "cramer") < 1e-12
    assert {row.verdict for row in rare} == {Verdict.HOLDS}
    for row in rare:
        assert row.weighted_lower <= row.prediction <= row.weighted_upper < 2 * row.prediction
        assert (row.exceedances, row.estimate, row.lower) == (0, 0.0, 0.0)
        assert row.upper > 1e-5
    assert {row.method for row in report.rows if row.event in {rare_row.event for rare_row in rare}} == {rare[0].method}


@pytest.mark.parametrize("epsilon", [0.25, 0.5])
def test_atoms_at_the_tolerance_belong_to_the_event(epsilon):
    """The mean of phi'^2 of GPN ReLU is 2k/64: with k = 24 or 16 it is 1 - epsilon exactly, and (sqrt 2)^2 is not 2.

    By counting and by importance sampling; limits of error 2e-4, the seed is fixed.
    """
    report = gpn.verify("relu", widths=64, depth=1, epsilons=epsilon, trials=20_000)
    rows = [row for row in report.rows if row.claim == "backward-one-step-fixed" and row.bound_kind == "exact"]
    exact = {
        "upper": stats.binom.sf(32 * (1 + epsilon) - 1, 64, 0.5),
        "lower": stats.binom.cdf(32 * (1 - epsilon), 64, 0.5),
    }
    for row in rows:
        assert row.bound == pytest.approx(exact[row.side], rel=1e-9)
        assert row.verdict is Verdict.HOLDS


def test_counts_contradict_a_bound_that_sampling_the_law_confirms(monkeypatch):
    """A simulator that shows a rare event: the importance sampler knows nothing of it, the count does."""
    honest = cells.OneStep.__call__

    def inflated(self, rng, trials):
        ratios = honest(self, rng, trials)
        return ratios | {"forward-one-step": 2.0 * ratios["forward-one-step"]}

    monkeypatch.setattr(cells.OneStep, "__call__", inflated)
    report = gpn.verify("tanh", widths=256, depth=1, epsilons=0.5, trials=500)
    rows = [
        row for row in report.rows if (row.claim, row.side, row.bound_kind) == ("forward-one-step", "upper", "cramer")
    ]
    assert [(row.method, row.verdict) for row in rows] == [("importance sampling", Verdict.VIOLATED)]


@pytest.mark.parametrize("weights", ["gaussian", "he"])
def test_one_layer_is_compared_with_the_law_of_its_own_weights(monkeypatch, weights):
    """At level 0.9999; an engine whose variance is 2 % off is told, some 6 standard deviations away or more."""
    asked = {"widths": (16, 256), "depth": 1, "epsilons": (0.1, 0.3), "claims": "one-layer", "level": 0.9999}
    report = gpn.verify("tanh", trials=100_000, weights=weights, **asked)
    assert Verdict.VIOLATED not in {row.verdict for row in report.rows}
    likely = [row for row in report.rows if row.kind.role == "exact" and 0.01 < row.prediction < 0.99]
    assert {(row.claim, row.width, row.verdict) for row in likely} == {
        (claim, width, Verdict.HOLDS) for claim in ONE_LAYER for width in (16, 256)
    }
    assert {row.method for row in report.rows} == {"counting"}
    deviation = laws.standard_deviation
    monkeypatch.setattr(laws, "standard_deviation", lambda *asked: 1.01 * deviation(*asked))
    assert gpn.verify("tanh", trials=100_000, weights=weights, **asked).verdict is Verdict.VIOLATED


def test_independent_entries_of_square_layers_are_one_ensemble():
    assert Settings.read("relu", 16, 2, weights="glorot").weights == "gaussian"
    assert Settings.read("relu", layers=[4, 8, 2], weights="glorot").weights == "glorot"


def test_json_holds_no_nan_and_reads_back(report):
    text = json.dumps(report.to_dict(), allow_nan=False)
    assert set(json.loads(text)) == {"verdict", "rows", "config", "versions"}


def test_limits_enclose_the_estimate(report):
    for row in report.rows:
        assert row.lower <= row.estimate <= row.upper
        assert row.estimate == row.exceedances / row.trials
        if row.is_weighted:
            assert row.weighted_lower <= row.weighted_estimate <= row.weighted_upper


def test_deep_rows_carry_the_deep_bound_and_the_prediction():
    """Ten layers of width 256 are within the theorem's reach; the seed is fixed."""
    report = gpn.verify("tanh", widths=256, depth=10, epsilons=1.0, trials=2000)
    bound, prediction = (row for row in report.rows if row.claim == "deep-gradient-ratio")
    assert (bound.bound_kind, prediction.bound_kind) == ("deep", "prediction")
    assert bound.upper <= bound.bound < 0.05
    assert bound.verdict is Verdict.HOLDS
    assert prediction.bound == bound.prediction < bound.bound
    assert 10 < bound.times_truth < 1000


@pytest.mark.parametrize(
    ("weights", "prediction", "left_out"),
    [
        ("haar", 1e-20, True),
        ("haar", 0.0, True),
        ("haar", 0.5, False),
        ("haar", None, False),
        ("gaussian", None, False),
    ],
)
def test_only_deep_bounds_that_theory_believes_are_left_out(weights, prediction, left_out):
    """Of a bound of e^-40; a prediction that underflows to 0 is below it."""
    settings = Settings.read("tanh", 64, 10, weights=weights)
    event = questions.Event(CountedClaim.NETWORK, 64, 10, 1.0, "either")
    question = questions.Question(event, DEEP, Bound("deep", -40.0), prediction)
    assert plan.in_reach(settings, [question], 1e-4) == (([], [question]) if left_out else ([question], []))


def test_narrow_deep_rows_say_nothing(report):
    deep = [row for row in report.rows if (row.claim, row.bound_kind) == ("deep-gradient-ratio", "deep")]
    assert {row.bound for row in deep} == {1.0}
    assert {row.verdict for row in deep} == {Verdict.VACUOUS}


def test_predictions_are_no_theorems():
    """A missed prediction does not make the verdict `violated`; at width 8 it says nothing at all, with a reason."""
    report = gpn.verify("tanh", widths=8, depth=30, epsilons=2.5, trials=300)
    [row] = [row for row in report.rows if "prediction" in row.bound_kind]
    assert row.bound_kind.startswith("none (prediction: ")
    missed = replace(row, bound_kind="prediction", bound=0.001, verdict=Verdict.VIOLATED)
    others = [other for other in report.rows if other is not row]
    assert replace(report, rows=(*others, missed)).verdict is replace(report, rows=tuple(others)).verdict


@pytest.mark.parametrize("options", [{"weights": "he"}, {"inputs": np.ones((4, 8)), "labels": np.arange(4) % 2}])
def test_no_prediction_where_the_fluctuation_law_does_not_apply(options):
    report = gpn.verify("tanh", widths=64, depth=3, epsilons=0.5, trials=50, **options)
    assert all(row.prediction is None for row in report.rows if row.claim == "deep-gradient-ratio")


def test_larger_epsilon_is_exceeded_less(report):
    # A tolerance of the coordinates of W x bounds one event of its own: it is a distance of laws, not a deviation.
    counted = [row for row in report.rows if row.method == "counting" and row.claim != "coordinates-normal"]
    rows = {(row.claim, row.width, row.depth, row.side, row.epsilon): row for row in counted}
    for (claim, width, depth, side, epsilon), row in rows.items():
        if epsilon == 0.3 and (claim, width, depth, side, 0.6) in rows:
            assert rows[claim, width, depth, side, 0.6].exceedances <= row.exceedances


def test_relu_backward_rows_say_why_no_bound_applies():
    report = gpn.verify("relu", widths=16, depth=2, epsilons=0.5, trials=50)
    kinds = {claim: {row.bound_kind for row in report.rows if row.claim == claim} for claim in ONE_LAYER}
    assert {"levy", "cramer", "exact"} <= kinds["forward-one-step"]
    assert {"cramer", "exact", "none (levy: phi' is not Lipschitz)"} <= kinds["backward-one-step-random"]


def test_forward_frequencies_follow_the_exact_law_of_relu():
    """q_1 = 2 Beta(k/2, (n-k)/2), k ~ Bin(n, 1/2); four exact tests, false alarm together below 4e-6."""
    report = gpn.verify("relu", widths=24, depth=1, epsilons=(0.2, 0.5), trials=20_000, seed=3)
    for row in report.rows:
        if row.claim != "forward-one-step":
            continue
        probability = exact_relu_tail(24, row.epsilon, row.side)
        assert exact_test(row.exceedances, row.trials, probability) > 1e-6


@pytest.mark.parametrize("workers", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_bits_do_not_depend_on_the_number_of_workers(monkeypatch, workers):
    monkeypatch.setattr(streams, "CHUNK_NEURONS", 8_000)  # many chunks in each cell
    monkeypatch.setattr(plan, "RARE_DRAWS", 50)
    monkeypatch.setattr(plan, "MOST_RARE_COORDINATES", 20_000)
    one, other = gpn.verify("tanh", **SMALL, workers=1), gpn.verify("tanh", **SMALL, workers=workers)
    assert one.rows == other.rows
    for profile, twin in zip(one.profiles, other.profiles, strict=True):
        np.testing.assert_array_equal(profile.gradient_norms, twin.gradient_norms)


def test_bits_do_not_depend_on_the_executor(monkeypatch):
    monkeypatch.setattr(streams, "CHUNK_NEURONS", 100)
    monkeypatch.setattr(plan, "RARE_DRAWS", 20)
    monkeypatch.setattr(plan, "MOST_RARE_COORDINATES", 2_000)
    options = {"widths": 8, "depth": 2, "epsilons": 0.5, "trials": 40}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        elsewhere = gpn.verify("tanh", **options, executor=executor)
    assert elsewhere.rows == gpn.verify("tanh", **options, workers=1).rows


def test_a_row_does_not_depend_on_the_rows_beside_it(report):
    alone = gpn.verify("tanh", **(SMALL | {"widths": 48, "depth": 5}))
    """But for the method: with fewer rows each may err more, so that fewer events are too rare to be counted."""
    counts = {(row.event, row.bound_kind, row.method): row.exceedances for row in report.rows}
    same = [row for row in alone.rows if (row.event, row.bound_kind, row.method) in counts]
    assert len(same) > 0.8 * len(alone.rows)
    for row in same:
        assert counts[row.event, row.bound_kind, row.method] == row.exceedances


def test_seeds_differ(report):
    other = gpn.verify("tanh", **SMALL, seed=1)
    assert [row.exceedances for row in other.rows] != [row.exceedances for row in report.rows]


def test_a_wrong_sampler_is_found_violated(monkeypatch):
    """The verdict `violated` is reachable: lengths inflated by one half break the forward bounds."""
    honest = cells.OneStep.__call__

    def inflated(self, rng, trials):
        ratios = honest(self, rng, trials)
        return ratios | {"forward-one-step": 1.5 * ratios["forward-one-step"]}

    monkeypatch.setattr(cells.OneStep, "__call__", inflated)
    report = gpn.verify("tanh", widths=256, depth=1, epsilons=0.3, trials=500)
    assert report.verdict is Verdict.VIOLATED
    assert {row.claim for row in report.rows if row.verdict is Verdict.VIOLATED} == {"forward-one-step"}


def exact_relu_tail(n: int, epsilon: float, side: str) -> float:
    """P(q_1 >= 1 + epsilon) or P(q_1 <= 1 - epsilon) of GPN ReLU: q_1 = 2 Beta(k/2, (n-k)/2), k ~ Bin(n, 1/2)."""
    k = np.arange(1, n)
    law = stats.beta(k / 2, (n - k) / 2)
    tail = law.sf((1 + epsilon) / 2) if side == "upper" else law.cdf((1 - epsilon) / 2)
    return float(stats.binom.pmf(k, n, 0.5) @ tail) + 0.5**n


@pytest.mark.slow
def test_true_claims_are_not_found_violated_in_whole_repetitions(monkeypatch):
    """1,000 verifications at level 0.5 of bounds equal to the exact probabilities: at most half may be violated.

    With the level left out (0.5 for each row) nearly all would be. P(Bin(1000, 0.5) > 580) < 3e-7 is the
    false-alarm probability of this test.
    """

    def exact_bounds(request, _activation):
        for epsilon, side in product(request.epsilons, ("upper", "lower")):
            event = questions.Event(CountedClaim.FORWARD, 24, 1, epsilon, side)
            yield questions.Question(event, LEVY, Bound("levy", np.log(exact_relu_tail(24, epsilon, side))), None)

    monkeypatch.setattr(questions, "one_step_questions", exact_bounds)
    deep = questions.Event(CountedClaim.NETWORK, 24, 1, 1.0, "either")
    unasked = questions.Question(deep, DEEP, Bound("none", 0.0, "not in this test"), None)
    monkeypatch.setattr(questions, "deep_questions", lambda *_: (unasked,))
    options = {"epsilons": (0.3, 0.5), "trials": 400, "level": 0.5, "workers": 1, "claims": "network,one-layer"}
    violated = sum(
        gpn.verify("relu", widths=24, depth=1, seed=seed, **options).verdict is Verdict.VIOLATED for seed in range(1000)
    )
    assert violated <= 580


def test_gradients_concentrate_only_when_normalized():
    """At depth 40 the un-normalized ReLU network has lost its gradient, by 2^-20, in every layer."""
    report = gpn.verify("relu", widths=128, depth=40, epsilons=0.5, trials=50)
    claim, plain, gaussian = report.profiles
    median = claim.probabilities.index(0.5)
    assert (claim.role, plain.role, gaussian.role) == ("claim", "control", "control")
    assert 0.5 < claim.gradient_norms[0, median] < 2
    assert 0.2 < np.median(plain.gradient_norms[:, median]) * 2**20 < 5
    assert claim.gradient_norms.shape == (40, len(claim.probabilities))


def test_real_inputs_and_labels_drive_the_deep_rows():
    rng = np.random.default_rng(5)
    vectors, labels = rng.random((30, 12)), rng.integers(3, size=30)
    report = gpn.verify("tanh", widths=16, depth=3, epsilons=0.5, trials=60, inputs=vectors, labels=labels)
    assert report.config.inputs == "array"
    assert any("thin shell" in note for note in report.notes)
    narrow = gpn.verify("tanh", widths=8, depth=3, epsilons=0.5, trials=10, inputs=vectors, labels=labels)
    assert any("projected from 12 features to n random orthogonal directions" in note for note in narrow.notes)
    plain = gpn.verify("tanh", widths=16, depth=3, epsilons=0.5, trials=60)
    deep = {r.exceedances for r in report.rows if r.claim.startswith("deep")}
    assert deep != {r.exceedances for r in plain.rows if r.claim.startswith("deep")}


def test_default_widths_make_room_for_the_inputs():
    report = gpn.verify("tanh", depth=1, epsilons=0.5, trials=5, inputs=np.ones((2, 90)))
    assert report.config.widths == (90, 180, 360)


def test_an_impossible_event_is_no_evidence_and_does_not_spoil_the_verdict():
    report = gpn.verify("tanh", widths=256, depth=1, epsilons=1.5, trials=4000)
    lower = [row for row in report.rows if row.side == "lower"]
    assert {row.bound for row in lower} == {0.0}
    assert {row.verdict for row in lower} == {Verdict.VACUOUS}


def test_undecided_rows_name_the_trials_that_would_decide():
    report = gpn.verify("tanh", widths=64, depth=1, epsilons=0.2, trials=10)
    assert any("undecided" in note and "would decide" in note for note in report.notes)
    report = gpn.verify("tanh", widths=8192, depth=1, epsilons=0.9, trials=10, weights="gaussian")
    assert any("out of reach" in note for note in report.notes)


def test_a_collapsing_length_never_holds():
    """The upper rows of un-normalized tanh hold trivially; the lower ones happen always and have no bound."""
    report = gpn.verify("tanh", widths=64, depth=1, epsilons=0.2, trials=2000, root=None)
    assert report.verdict is not Verdict.HOLDS
    assert "do not concentrate" in report.summary()


def test_gaussian_control_keeps_the_scale_of_short_inputs():
    """Inputs with fewer features than the width leave the first gradient at the scale of the others."""
    report = gpn.verify("identity", widths=256, depth=3, epsilons=0.5, trials=200, inputs=np.eye(4, 16))
    gaussian = report.profiles[-1]
    assert "Gaussian" in gaussian.label
    median = gaussian.probabilities.index(0.5)
    np.testing.assert_allclose(gaussian.gradient_norms[:, median], 1, atol=0.1)


def test_raw_leaves_the_activation_alone():
    report = gpn.verify("tanh", widths=16, depth=2, epsilons=0.5, trials=20, root=None)
    assert (report.config.scale, report.config.shift) == (1.0, 0.0)
    assert [profile.role for profile in report.profiles] == ["claim", "control"]
    assert any("not GPN" in note for note in report.notes)


def test_an_unstable_root_is_reported_as_unstable():
    options = {"widths": 16, "depth": 2, "epsilons": 0.5, "trials": 20}
    assert any("unstable" in note for note in gpn.verify("gelu", root="plus", **options).notes)
    assert not any("unstable" in note for note in gpn.verify("gelu", **options).notes)


def test_other_weights_are_reported_as_outside_the_theorem():
    report = gpn.verify("tanh", widths=16, depth=2, epsilons=0.5, trials=20, weights="he")
    assert any("outside its theorem" in note for note in report.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": 1}, "at least 2"),
        ({"widths": []}, "at least 2"),
        ({"widths": 2.5}, "whole number"),
        ({"depth": 0}, "at least 1"),
        ({"epsilons": -1.0}, "positive"),
        ({"epsilons": float("nan")}, "positive"),
        ({"trials": 0}, "at least 1"),
        ({"trials": "5"}, "whole number"),
        ({"trials": 10**30}, "at most"),
        ({"epsilons": 1e308}, "at most"),
        ({"level": 1.0}, "below 1"),
        ({"weights": "he_uniform"}, "haar"),
        ({"root": "both"}, "plus"),
        ({"seed": -1}, "seed"),
        ({"workers": 0}, "workers"),
        ({"activation": "sign"}, "jumps"),
    ],
)
def test_misuse_is_a_usage_error(options, message):
    with pytest.raises(UsageError, match=message):
        verification.verify(**({"widths": 8, "depth": 1, "epsilons": 0.5, "trials": 5} | options))


def test_saved_files_are_whole(report, tmp_path):
    names = sorted(path.name for path in report.save(tmp_path / "out"))
    figures = [f"{name}.{suffix}" for name in ("exceedance", "gradients", "tightness") for suffix in ("png", "pdf")]
    assert names == sorted(["results.csv", "results.json", "report.html", *figures])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_the_summary_is_true_to_the_rows(report):
    assert str(report.verdict) in report.summary()
    assert "not tested" in report.summary()
    assert repr(report).startswith("<VerificationReport tanh")
