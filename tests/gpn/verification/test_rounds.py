"""Runs until their rows are decided: the same bits as fixed runs, stopped where they should be, seldom wrong."""

import contextlib
import json
import tempfile
from functools import partial
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy import stats

import gpn
from gpn.cli.program import main
from gpn.experiment import cells, streams
from gpn.experiment import runs as experiment
from gpn.experiment import store as run_store
from gpn.statistics.limits import Verdict
from gpn.statistics.sequential import Watched, upper_limit
from gpn.verification import kinds, plan, questions, rounds
from gpn.verification.results import VerificationReport
from theory.claims.counted import ONE_LAYER, CountedClaim
from theory.errors import UsageError
from theory.layer.levy import Bound

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = {"widths": (16, 48), "depth": (2, 5), "epsilons": (0.3, 0.9)}
CLOSED = (Verdict.HOLDS, Verdict.VIOLATED)


@pytest.fixture(scope="module")
def theory():
    """What theory says, asked once for each activation and set of events; deep bounds, which are slow, are left out."""
    return {}


@pytest.fixture
def small_rounds(monkeypatch, theory):
    """Rounds of a few hundred trials, chunks of 4 to 62; few draws of rare events, which are not the matter here."""
    monkeypatch.setattr(streams, "CHUNK_NEURONS", 1_000)
    monkeypatch.setattr(plan, "_RARE_COST", 1)
    monkeypatch.setattr(plan, "RARE_DRAWS", 200)
    monkeypatch.setattr(plan, "MOST_RARE_COORDINATES", 20_000)
    monkeypatch.setattr(rounds, "LEAST_TRIALS", 300)
    monkeypatch.setattr(rounds, "DEFAULT_DEEP_TRIALS", 100)
    monkeypatch.setattr(kinds.network, "deep_bound", lambda *_: Bound("none", 0.0, "left out"))
    for name in ("one_step_questions", "deep_questions"):
        monkeypatch.setattr(questions, name, remembered(theory, getattr(questions, name)))


def remembered(theory, questions_of):
    def ask(request, activation, *more):
        events = (request.widths, request.depths, request.epsilons, request.deep_epsilons)
        key = (questions_of.__name__, activation.name, *events)
        if key not in theory:
            theory[key] = list(questions_of(request, activation, *more))
        return theory[key]

    return ask


def by_event(report: VerificationReport):
    return {(row.event, row.bound_kind): row for row in report.rows}


def test_a_later_part_of_a_cell_continues_the_first():
    def dice(rng, trials):
        return {"points": rng.integers(1, 7, size=trials)}

    [whole] = experiment.run([experiment.Cell(1, 2, dice, trials=17, chunk=5)], seed=3)
    parts = [experiment.Cell(1, 2, dice, 10, 5), experiment.Cell(1, 2, dice, 7, 5, first=2)]
    points = [experiment.run([part], seed=3)[0]["points"] for part in parts]
    np.testing.assert_array_equal(np.concatenate(points), whole["points"])
    with pytest.raises(UsageError, match="first chunk"):
        experiment.Cell(1, 2, dice, 5, 5, first=-1)


@pytest.mark.usefixtures("small_rounds")
def test_rows_have_the_bits_of_a_fixed_run_with_as_many_trials():
    decided = gpn.verify("tanh", **SMALL, until="decided", cap=2000, workers=1)
    counted = [row for row in decided.rows if row.method == "counting, anytime"]
    numbers = {row.trials for row in counted}
    assert len(numbers) > 3
    for number in sorted(numbers)[-2:]:
        fixed = by_event(gpn.verify("tanh", **SMALL, trials=number, workers=1))
        for row in counted:
            if row.trials == number:
                assert fixed[row.event, row.bound_kind].exceedances == row.exceedances


@pytest.mark.usefixtures("small_rounds")
@pytest.mark.parametrize("batch", [1, pytest.param(2_000_000, marks=pytest.mark.slow)])
def test_decisions_do_not_depend_on_workers_or_batches(monkeypatch, batch):
    one = gpn.verify("tanh", **SMALL, until="decided", cap=1500, workers=1)
    monkeypatch.setattr(rounds, "BATCH_TRIALS", batch)
    other = gpn.verify("tanh", **SMALL, until="decided", cap=1500, workers=3)
    assert one.rows == other.rows
    assert one.notes == other.notes
    for profile, twin in zip(one.profiles, other.profiles, strict=True):
        np.testing.assert_array_equal(profile.gradient_norms, twin.gradient_norms)


@pytest.mark.usefixtures("small_rounds")
def test_a_run_that_was_cut_off_takes_the_same_decisions_again(monkeypatch):
    """Interrupted in its fourth call and begun anew: nothing but the seed and the counts goes into a decision."""
    whole = gpn.verify("tanh", **SMALL, until="decided", cap=1500, workers=1)
    run, calls = experiment.run, []

    def breaking(*arguments, **options):
        calls.append(None)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return run(*arguments, **options)

    monkeypatch.setattr(experiment, "run", breaking)
    with pytest.raises(KeyboardInterrupt):
        gpn.verify("tanh", **SMALL, until="decided", cap=1500, workers=2)
    assert gpn.verify("tanh", **SMALL, until="decided", cap=1500, workers=2).rows == whole.rows


class Killed(BaseException):
    """What no handler of errors takes for an error."""


class Mortal:
    """In the place of `RunStore.save_chunk`: dies after, or instead of, keeping a chunk."""

    def __init__(self, keep):
        self.keep, self.left, self.before = keep, 0, False

    def __call__(self, *chunk):
        if self.left == 0 and self.before:
            raise Killed
        self.keep(*chunk)
        self.left -= 1
        if self.left < 0:
            raise Killed


def until_decided(**options):
    return gpn.verify("tanh", **SMALL, until="decided", cap=1500, **options)


PLACES = [{"workers": 1}, {"workers": 3, "memory": "1GiB"}, {"workers": 2, "executor": "threads"}]


@pytest.mark.usefixtures("small_rounds")
@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kills=st.lists(st.tuples(st.integers(0, 250), st.booleans()), min_size=1, max_size=3),
    places=st.lists(st.sampled_from(PLACES), min_size=4, max_size=4),
    batch=st.sampled_from([1, 500, 2_000_000]),
)
@example(kills=[(0, True), (300, False), (150, True)], places=[*PLACES, PLACES[0]], batch=300)
def test_killed_anywhere_and_gone_on_anyhow_the_report_is_the_same(theory, kills, places, batch):
    """Killed at some chunks, in whatever round they are, and gone on with by `resume` in another way."""
    if "report" not in theory:
        theory["report"] = json.dumps(until_decided(workers=1).to_dict())
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        mortal = Mortal(run_store.RunStore.save_chunk)
        patch.setattr(run_store.RunStore, "save_chunk", lambda *chunk: mortal(*chunk))
        patch.setattr(rounds, "BATCH_TRIALS", batch)
        begin = partial(until_decided, store=folder)
        for (mortal.left, mortal.before), place in zip([*kills, (10**9, False)], places, strict=False):
            with contextlib.suppress(Killed):
                report = begin(**place)
            begin = partial(gpn.resume, folder)
        assert run_store.read_summary(folder).finished
        assert run_store.read_summary(folder).chunks > 400  # so that all kill points were reached
    assert json.dumps(report.to_dict()) == theory["report"]


@pytest.mark.usefixtures("small_rounds")
def test_a_cell_stops_with_its_last_row(monkeypatch):
    """Every row stopped in the first round that decided it, no cell went on without need, none beyond the cap."""
    run, trials = experiment.run, {}

    def counting(parts, *arguments, **options):
        for part in parts:
            trials.setdefault(part.label, []).append(part.trials)
        return run(parts, *arguments, **options)

    monkeypatch.setattr(experiment, "run", counting)
    report = gpn.verify("tanh", **SMALL, until="decided", cap=3000, workers=1)
    for width, depth in [(16, 1), (48, 1), *product((16, 48), (2, 5))]:
        kind = "one-step" if depth == 1 else "deep"
        parts = trials[f"{kind}, width {width}, depth {depth}"]
        totals = np.cumsum(parts)
        assert totals[-1] <= 3000
        assert all(later in (2 * total, 3000) for total, later in pairwise(totals))
        claims = ONE_LAYER if depth == 1 else {CountedClaim.NETWORK}
        here = [row for row in report.rows if row.claim in claims and (row.width, row.depth) == (width, depth)]
        rows = [row for row in here if "count" in row.method]
        assert {row.trials for row in rows} <= set(totals)
        assert max(row.trials for row in rows) == totals[-1]
        last = [row for row in rows if row.trials == totals[-1]]
        assert len(parts) == 1 or totals[-1] == 3000 or any(row.verdict in CLOSED for row in last)


@pytest.mark.usefixtures("small_rounds")
def test_rows_at_the_cap_stay_undecided_with_a_note():
    report = gpn.verify("tanh", widths=48, depth=1, epsilons=0.2, until="decided", cap=1000)
    undecided = [row for row in report.rows if row.verdict is Verdict.UNDECIDED and row.method == "counting, anytime"]
    assert undecided
    assert {row.trials for row in undecided} == {1000}
    assert any("cap of 1,000 trials" in note and "larger cap" in note for note in report.notes)
    assert report.verdict is Verdict.UNDECIDED
    assert any("Stopped" in note for note in report.notes)


@pytest.mark.usefixtures("small_rounds")
def test_rows_that_no_outcome_could_confirm_are_not_waited_for():
    """Whether one could is found by trying all outcomes."""
    alpha, cap = 1e-3, 500
    event = questions.Event(CountedClaim.FORWARD, 8, 1, 0.5, "upper")
    asked = [
        questions.Question(event, kind, Bound(kind.name, np.log(p)), p)
        for kind in (kinds.LEVY, kinds.EXACT, kinds.PREDICTION)
        for p in (1e-9, 0.01, 0.02, 0.05, 0.1, 0.2, 0.8, 0.95, 0.99)
    ]
    waited = [rounds._confirmable(question, cap, alpha) for question in asked]
    for question, wait in zip(asked, waited, strict=True):
        outcomes = (question.decide(Watched(((k, cap),)), None, alpha).verdict for k in range(cap + 1))
        assert wait == any(verdict is Verdict.HOLDS for verdict in outcomes)
    assert 5 < sum(waited) < len(waited) - 5
    report = gpn.verify("tanh", widths=2048, depth=1, epsilons=0.9, weights="gaussian", until="decided", cap=20_000)
    assert any("not waited for" in note for note in report.notes)
    assert max(row.trials for row in report.rows) < 20_000


@pytest.mark.usefixtures("small_rounds")
def test_rare_events_are_left_to_importance_sampling():
    report = gpn.verify("tanh", widths=512, depth=1, epsilons=0.4, until="decided", cap=20_000)
    rare = [row for row in report.rows if row.method == "importance sampling"]
    assert {row.trials for row in rare} == {300}  # networks of the first round, which these events do not wait for
    assert 0 < len(rare) < len(report.rows)


def exact_relu_tail(n: int, epsilon: float, side: str) -> float:
    """P(q_1 >= 1 + epsilon) or P(q_1 <= 1 - epsilon) of GPN ReLU: q_1 = 2 Beta(k/2, (n-k)/2), k ~ Bin(n, 1/2)."""
    k = np.arange(1, n)
    law = stats.beta(k / 2, (n - k) / 2)
    tail = law.sf((1 + epsilon) / 2) if side == "upper" else law.cdf((1 - epsilon) / 2)
    return float(stats.binom.pmf(k, n, 0.5) @ tail) + 0.5**n


def claim_bounds(monkeypatch, factor):
    """Ask only whether the length of one ReLU layer keeps bounds that are `factor` times the exact probabilities."""

    def asked(request, _activation):
        for epsilon, side in product(request.epsilons, ("upper", "lower")):
            event = questions.Event(CountedClaim.FORWARD, 24, 1, epsilon, side)
            bound = Bound("levy", np.log(factor * exact_relu_tail(24, epsilon, side)))
            yield questions.Question(event, kinds.LEVY, bound, None)

    monkeypatch.setattr(questions, "one_step_questions", asked)
    network = questions.Event(CountedClaim.NETWORK, 24, 1, 0.5, "either")
    nothing = questions.Question(network, kinds.DEEP, Bound("none", 0.0, "left out"), None)
    monkeypatch.setattr(questions, "deep_questions", lambda *_: (nothing,))
    monkeypatch.setattr(questions, "lemma_questions", lambda *_: ())


@pytest.mark.usefixtures("small_rounds")
@pytest.mark.parametrize(("factor", "verdict"), [(1.5, Verdict.HOLDS), (0.7, Verdict.VIOLATED)])
def test_true_and_false_bounds_are_distinguished(monkeypatch, factor, verdict):
    """Bounds half as large again as the truth hold, those 0.7 times as large are violated; error 0.01 in all."""
    claim_bounds(monkeypatch, factor)
    report = gpn.verify("relu", widths=24, depth=1, epsilons=(0.3, 0.5), until="decided", cap=100_000, seed=4)
    rows = [row for row in report.rows if row.claim == "forward-one-step"]
    assert {row.verdict for row in rows} == {verdict}
    assert max(row.trials for row in rows) < 100_000
    assert len({row.trials for row in rows}) > 1


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "wrong"), [(1.0, Verdict.VIOLATED), (1 / 1.000001, Verdict.HOLDS)])
def test_whole_runs_keep_the_level_although_they_stop_when_they_like(monkeypatch, factor, wrong):
    """400 runs at level 0.5 whose 4 rows go on until they are wrong or 20,000 trials are over: at most half may be.

    P(Bin(400, 0.5) > 260) < 2e-9 is the false-alarm probability of this test.
    """
    monkeypatch.setattr(streams, "CHUNK_NEURONS", 24_000)
    monkeypatch.setattr(rounds, "LEAST_TRIALS", 100)
    claim_bounds(monkeypatch, factor)
    options = {
        "widths": 24,
        "depth": 1,
        "epsilons": (0.3, 0.5),
        "level": 0.5,
        "workers": 1,
        "claims": "network,one-layer",
    }
    reports = [gpn.verify("relu", **options, until="decided", cap=20_000, seed=seed) for seed in range(400)]
    mistaken = sum(any(row.verdict is wrong for row in report.rows) for report in reports)
    assert 0 < mistaken <= 260


@pytest.mark.usefixtures("small_rounds")
def test_pictures_are_those_of_the_first_round():
    """Its size is fixed beforehand, so quantiles are not those of a run that stopped when they looked well."""
    report = gpn.verify("tanh", **SMALL, until="decided", cap=2000)
    fixed = gpn.verify("tanh", **SMALL, trials=100)  # 25 chunks of 4 at width 48 and depth 5
    assert max(row.trials for row in report.rows if (row.width, row.depth) == (48, 5)) > 100
    assert report.spreads[-1] == fixed.spreads[-1]
    assert report.profiles[0].trials == 100
    np.testing.assert_array_equal(report.profiles[0].gradient_norms, fixed.profiles[0].gradient_norms)


@pytest.mark.usefixtures("small_rounds")
def test_progress_never_falls_and_ends_at_the_total():
    told = []
    gpn.verify("tanh", **SMALL, until="decided", cap=1500, progress=lambda *some: told.append(some), workers=2)
    done = [some for some, _, _ in told]
    assert done == sorted(done)
    assert told[-1][0] == told[-1][1]
    assert len({total for _, total, _ in told}) > 2
    searching = {words for _, total, words in told if total == 0}
    deep = {"searching widths for the deep bound", "searching the deep bounds"}
    assert searching == {"the laws of single layers", *deep}


@pytest.mark.usefixtures("small_rounds")
def test_layers_are_kept_in_the_first_round_only(monkeypatch):
    kept = []
    honest = cells.Deep.__call__

    def watched(self, rng, trials):
        controlled = self.weights != "haar" or not self.activation.name.startswith("GPN")
        kept.append((self.keep_layers, trials, self.width, self.depth, controlled))
        return honest(self, rng, trials)

    monkeypatch.setattr(cells.Deep, "__call__", watched)
    gpn.verify("tanh", **SMALL, until="decided", cap=2000, workers=1)
    of_largest = [some for *some, width, depth, controlled in kept if (width, depth, controlled) == (48, 5, False)]
    assert sum(trials for keep, trials in of_largest if keep) == 100
    assert sum(trials for keep, trials in of_largest if not keep) >= 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"until": "done"}, "'decided'"),
        ({"cap": 5}, "until='decided'"),
        ({"until": "decided", "trials": 5}, "leave trials out"),
        ({"until": "decided", "cap": 0}, "at least 1"),
        ({"until": "decided", "cap": 2.5}, "whole number"),
        ({"until": "decided", "cap": 10**30}, "at most"),
    ],
)
def test_misuse_is_a_usage_error(options, message):
    with pytest.raises(UsageError, match=message):
        gpn.verify("tanh", widths=8, depth=1, epsilons=0.5, **options)


@pytest.mark.usefixtures("small_rounds")
def test_the_command_line_stops_rows_and_says_how(capsys, tmp_path):
    arguments = ["verify", "tanh", "--width", "16", "--depth", "2", "--epsilon", "0.5", "--until", "decided"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--cap", "2000", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert ended.value.code == {"holds": 0, "violated": 1, "undecided": 3}[report["verdict"]]
    assert (report["config"]["until"], report["config"]["cap"], report["config"]["trials"]) == ("decided", 2000, None)
    assert "counting, anytime" in {row["method"] for row in report["rows"]}
    with pytest.raises(SystemExit):
        main([*arguments, "--cap", "2000", "--out", str(tmp_path)])
    assert "of 2,000" in capsys.readouterr().out
    assert (tmp_path / "exceedance.png").exists()
    for wrong in (["--cap", "none"], ["--trials", "5"]):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *wrong])
        assert ended.value.code == 2


@pytest.mark.usefixtures("small_rounds")
def test_the_table_shows_the_row_that_saw_most():
    from gpn.report.tables.verification import _limits, _seen

    report = gpn.verify("tanh", **SMALL, until="decided", cap=3000, workers=1)
    events = {}
    for row in report.rows:
        events.setdefault(row.event, []).append(row)
    events = {key: rows for key, rows in events.items() if {row.method for row in rows} == {"counting, anytime"}}
    rows = max(events.values(), key=lambda rows: len({row.trials for row in rows}))
    assert len({row.trials for row in rows}) > 1
    last = max(rows, key=lambda row: row.trials)
    assert _seen(rows).text == f"{last.exceedances:,} of {last.trials:,}"
    assert _limits(rows) == _limits([last])


def test_a_cap_that_one_upper_limit_reaches_decides():
    """Nothing seen in N trials confirms the bound that the upper limit of 0 of N has, and no smaller one."""
    event = questions.Event(CountedClaim.FORWARD, 8, 1, 0.5, "upper")
    limit = upper_limit(0, 700, 0.01)
    for factor, expected in ((1.0001, True), (0.9999, False)):
        question = questions.Question(event, kinds.LEVY, Bound("levy", np.log(limit * factor)), None)
        assert rounds._confirmable(question, 700, 0.01) is expected
