"""The training comparison: the grid and its books, the rule that picks a rate, intervals, failures shown, same bits.

No test is random: all networks are small and their seeds fixed.
"""

import io
import itertools
import json
import math

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import optimize, stats

import gpn
from gpn.checking.check import normalize
from gpn.data.datasets import Dataset, limited, load_dataset
from gpn.experiment.fingerprint import digest
from gpn.experiment.store import RunStore
from gpn.report.tables.comparison import comparison as table
from gpn.report.words import terminal
from gpn.reproduction import comparison, comparison_runs
from gpn.reproduction import comparison_runs as comparison_theory
from gpn.reproduction.comparison import training_comparison
from gpn.reproduction.comparison_grid import (
    LINEAR,
    RATE_FACTORS,
    RECIPES,
    Trial,
    beyond,
    candidates,
    pick,
    validation_split,
)
from gpn.reproduction.comparison_results import AT_CHANCE, DIVERGED, TRAINED, Outcome, accuracy_interval, exact_interval
from gpn.reproduction.comparison_runs import CURVES, Budget, Run
from gpn.training.optimizers import optimizer
from gpn.training.start import default_rate
from theory.depth.correlation import correlation
from theory.errors import UsageError

TINY = {
    "activations": ["relu"],
    "depths": [2, 4],
    "recipes": ["gpn", "plain-gaussian"],
    "width": 12,
    "seeds": 2,
    "epochs": 3,
    "samples": 200,
    "factors": [0.5, 2.0],
}


@pytest.fixture(scope="module", autouse=True)
def _quick_theory():
    """The map of correlations is computed once for all tests, and no grid is extended but in its own test."""
    patch = pytest.MonkeyPatch()
    known = {}
    slow = comparison_theory.correlation_map

    def once(phi):
        return known[phi.name] if phi.name in known else known.setdefault(phi.name, slow(phi))

    patch.setattr(comparison_theory, "correlation_map", once)
    patch.setattr(comparison, "EXTENSIONS", 0)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def report():
    return training_comparison(**TINY)


@pytest.fixture(scope="module")
def failing():
    """One rate so large that everything diverges, and batch normalization, which does not."""
    recipes = ["gpn", "plain-gaussian-bn", "plain-gaussian-adam"]
    return training_comparison(**TINY | {"recipes": recipes, "factors": [3e4], "depths": [3]})


# ---------------------------------------------------------------------------------------- the grid


def test_every_activation_meets_every_recipe_at_every_depth():
    names, depths = ["tanh", "selu", "relu", "gelu"], [10, 200]
    found = [(each.activation, each.recipe, each.depth) for each in candidates(names, depths, list(RECIPES))]
    mirrored = {("tanh", "gpn-other", depth) for depth in depths}
    once = {("identity", LINEAR, depth) for depth in depths}
    assert len(found) == len(set(found))
    assert set(found) == set(itertools.product(names, set(RECIPES) - {LINEAR}, depths)) - mirrored | once


def test_the_other_root_is_the_other_one():
    roots = {(each.activation, each.recipe): each for each in candidates(["gelu", "selu"], [5], list(RECIPES))}
    assert (roots["gelu", "gpn"].root, roots["gelu", "gpn-other"].root) == ("minus", "plus")
    assert (roots["selu", "gpn"].root, roots["selu", "gpn-other"].root) == ("plus", "minus")
    x = np.linspace(-2, 2, 9)
    for name, root in (("gelu", "plus"), ("selu", "minus")):
        each = roots[name, "gpn-other"]
        np.testing.assert_array_equal(each.phi.value_and_slope(x)[0], normalize(name, root).value_and_slope(x)[0])
        assert each.chi == {check.root: float(check.chi) for check in gpn.check(name).normalizations}[root]
        assert roots[name, "plain"].phi.value_and_slope(x)[0] == pytest.approx(gpn.activation(name)(x), abs=0)


def test_all_may_try_the_same_multiples_of_the_default_rate():
    for each in candidates(["tanh"], [10, 50], list(RECIPES)):
        settings = each.settings(64)
        base = default_rate(each.phi, optimizer(settings.optimizer), settings, 10, 0.5)
        assert np.array(each.rates(64, 10, 0.5, RATE_FACTORS)) / base == pytest.approx(RATE_FACTORS)


def test_the_grid_is_extended_until_the_best_rate_lies_inside(monkeypatch):
    """Trials whose accuracy depends on the rate alone, best at 100 times the default, far beyond the grid."""

    def quick(self, *_):
        best = 100 * self.candidate.rates(12, 10, 0.69, (1.0,))[0]
        accuracy = 1.0 / (1.0 + abs(np.log(self.rate / best)))
        curves = np.full((1, 1, len(CURVES)), accuracy)
        arrays = {"recorded_steps": np.ones((1, 1)), "log_gradient_norms": np.zeros((1, 1, self.candidate.depth + 1))}
        return arrays | {"finished": np.array([True]), "reason": np.array([""]), "curves": curves}

    monkeypatch.setattr(Run, "__call__", quick)
    monkeypatch.setattr(comparison, "EXTENSIONS", 5)
    report = training_comparison(**TINY | {"depths": [2], "recipes": ["gpn", "linear"], "factors": [0.25, 1.0, 4.0]})
    for measured in report.measured:
        base = measured.candidate.rates(12, 10, report.settings.correlation, (1.0,))[0]
        assert measured.picked.rate == pytest.approx(64 * base)
        assert sorted(trial.rate / base for trial in measured.trials) == pytest.approx([0.25, 1, 4, 16, 64, 256])
    assert [measured.candidate.words for measured in report.measured][-1] == "linear control, depth 2"
    assert report.activations == ("relu",)
    assert report.find("relu", "linear", 2) is report.measured[-1]
    assert beyond([Trial(1.0, None, None), Trial(4.0, None, None)]) == 0.25  # everything diverged: slower


@pytest.mark.parametrize("seed", range(20))
def test_the_rate_is_picked_by_the_stated_rule(seed):
    """Against a literal search for a rate that no other beats."""
    rng = np.random.default_rng(seed)
    trials = [
        Trial(rate, *((None, None) if rng.random() < 0.3 else (rng.integers(3) / 10, float(rng.integers(2)))))
        for rate in rng.permutation([0.1, 0.2, 0.4, 0.8, 1.6])
    ]

    def beats(one, other):
        if (one.accuracy is None) != (other.accuracy is None):
            return other.accuracy is None
        if one.accuracy is not None and one.accuracy != other.accuracy:
            return one.accuracy > other.accuracy
        if one.accuracy is not None and one.loss != other.loss:
            return one.loss < other.loss
        return one.rate < other.rate

    [best] = [one for one in trials if not any(beats(other, one) for other in trials)]
    assert pick(trials) == best


def test_validation_samples_come_from_the_training_samples_alone():
    data = load_dataset("digits")
    split = validation_split(data)
    rows = [tuple(row) for row in data.x_train.tolist()]
    again = [tuple(row) for row in np.concatenate([split.x_train, split.x_test]).tolist()]
    assert sorted(rows) == sorted(again)
    assert len(split.x_test) == round(0.2 * len(rows))
    test = {tuple(row) for row in data.x_test.tolist()}
    assert not test & {tuple(row) for row in split.x_test.tolist()} - set(rows)
    labels = dict(zip(rows, data.y_train.tolist(), strict=True))
    for x, y in ((split.x_train, split.y_train), (split.x_test, split.y_test)):
        assert [labels[tuple(row)] for row in x.tolist()] == y.tolist()


def test_the_test_samples_have_no_say_in_the_learning_rate(report):
    """With other test samples and labels the same rates are picked, by the same validation accuracies."""
    data = limited(load_dataset("digits"), TINY["samples"])
    other = Dataset(data.x_train, data.y_train, data.x_test[::-1], data.y_test, data.classes, data.name)
    again = training_comparison(**TINY, inputs=other)
    assert [each.trials for each in again.measured] == [each.trials for each in report.measured]
    assert [each.accuracy for each in again.measured] != [each.accuracy for each in report.measured]


def test_fewer_samples_are_always_the_same_ones():
    data = load_dataset("digits")
    part = limited(data, 100)
    assert (len(part.x_train), len(part.x_test)) == (100, 100)
    assert digest(part.arrays) == digest(limited(data, 100).arrays) != digest(data.arrays)
    assert digest(limited(data, 5000).arrays) == digest(data.arrays)


def test_a_run_is_that_of_gpn_train(report):
    each = report.measured[0]
    data = limited(load_dataset("digits"), TINY["samples"])
    alone = gpn.train("relu", data, depth=2, width=12, epochs=3, learning_rate=each.picked.rate, seed=1)
    assert alone.test_accuracy == each.outcomes[0].accuracy
    assert [row.train_loss for row in alone.epochs] == each.outcomes[0].curves[:, CURVES.index("train_loss")].tolist()
    first = np.log(alone.gradient_norms[0])
    np.testing.assert_array_equal(first, each.outcomes[0].log_gradient_norms[0])


# ----------------------------------------------------------------------------------------- numbers


def test_the_interval_of_one_network_is_clopper_and_pearsons():
    """Against the definition, by root finding in the binomial distribution."""
    correct, tested, level = 331, 359, 0.95
    tail = (1 - level) / 2
    low = optimize.brentq(lambda p: stats.binom.sf(correct - 1, tested, p) - tail, 0.5, 1 - 1e-9, xtol=1e-14)
    high = optimize.brentq(lambda p: stats.binom.cdf(correct, tested, p) - tail, 0.5, 1 - 1e-9, xtol=1e-14)
    assert exact_interval(correct, tested, level) == pytest.approx((low, high), abs=1e-10)


def test_the_interval_over_seeds_is_students():
    accuracies, level = [0.91, 0.94, 0.95, 0.9], 0.95
    mean = sum(accuracies) / 4
    deviation = math.sqrt(sum((each - mean) ** 2 for each in accuracies) / 3)
    half = stats.t.ppf(0.975, 3) * deviation / 2
    assert accuracy_interval(accuracies, level) == pytest.approx((mean - half, mean + half), abs=1e-12)
    assert accuracy_interval([0.1, 0.9], level) == (0.0, 1.0)


def test_the_separation_is_the_iterated_correlation_map():
    networks = list(candidates(["tanh"], [1, 2, 6], ["gpn", "plain"]))
    rho, literal = 0.0, {}
    for layer in range(1, 7):
        rho = correlation(normalize("tanh"), rho).value
        literal[layer] = 1 - rho
    predicted = [prediction.separation for prediction in comparison_theory.predictions(networks)]
    assert predicted[:3] == pytest.approx([literal[1], literal[2], literal[6]], rel=1e-6)
    assert predicted[3:] == [None] * 3


def test_both_roots_bring_inputs_together_alike():
    """C(rho) holds the mean of phi by its square, and E phi = -+ sqrt(1 - a^2 Var phi)."""
    for rho in (-0.3, 0.2, 0.9):
        values = [correlation(normalize("gelu", root), rho).value for root in ("plus", "minus")]
        assert values[0] == pytest.approx(values[1], abs=1e-13)


def test_the_gradient_that_theory_predicts():
    """Plain ReLU halves both squared lengths and squared gradients in every layer; batch normalization, Yang's rate."""
    [each] = candidates(["relu"], [21], ["plain-gaussian"])
    assert comparison_theory.log10_gradient(each) == pytest.approx(21 * math.log10(0.5) / 2, rel=1e-9)
    [each] = candidates(["relu"], [21], ["plain-gaussian-bn"])
    rate = math.log10(math.pi / (math.pi - 1)) / 2
    assert comparison_theory.log10_gradient(each) == pytest.approx(20 * rate, rel=1e-9)
    [each] = candidates(["gelu"], [200], ["gpn"])
    assert comparison_theory.log10_gradient(each) == pytest.approx(0.0, abs=1e-6)


def test_the_gradient_of_plain_relu_is_measured_where_theory_has_it():
    """2^-20 at 40 layers, in every seed within a factor 30, for residuals below 1 averaged over a batch."""
    options = {"depths": [40], "recipes": ["plain"], "epochs": 1, "width": 64, "factors": [1.0]}
    [each] = training_comparison(**TINY | options).measured
    predicted = each.prediction.log10_gradient
    assert predicted == pytest.approx(-20 * math.log10(2))
    assert each.log10_gradient(64) == pytest.approx(predicted, abs=1.5)
    literal = np.median([outcome.log_gradient_norms[0, 0] for outcome in each.outcomes])
    assert each.log10_gradient(64) == pytest.approx(math.log10(math.exp(literal) / 8))


# ---------------------------------------------------------------------------------------- failures


def test_what_diverges_is_shown_as_diverged(failing):
    each = failing.find("relu", "gpn", 3)
    assert [outcome.outcome for outcome in each.outcomes] == [DIVERGED, DIVERGED]
    assert all("loss" in outcome.reason or "overflows" in outcome.reason for outcome in each.outcomes)
    assert each.accuracy == pytest.approx(0.1)
    assert each.picked.accuracy is None
    row = failing.to_frame().set_index("recipe").loc["gpn"]
    assert (row.diverged, row.trained, row.seeds) == (2, 0, 2)
    assert len(failing.measured) == 3
    text = shown(table(failing))
    assert "0/2*" in text
    assert "guessing" in text
    json.dumps(failing.to_dict(), allow_nan=False)
    for figure in (failing.plot(), failing.plot("training-losses"), failing.plot("training-heatmap")):
        FigureCanvasAgg(figure).print_png(io.BytesIO())


@pytest.mark.parametrize(("correct", "outcome"), [(50, AT_CHANCE), (100, TRAINED)])
def test_a_network_that_cannot_be_told_from_guessing_is_at_chance(report, correct, outcome):
    settings = report.settings
    tested = settings.test_samples
    curves = np.array([[0.1, 2.3, 0.1, 2.3, correct / tested * 0.5]])
    curves[-1, CURVES.index("test_accuracy")] = correct / tested
    arrays = {
        "finished": np.array(True),
        "reason": np.array(""),
        "curves": curves,
        "recorded_steps": np.array([1]),
        "log_gradient_norms": np.array([[-np.inf, 0.0, 0.0]]),
    }
    found = Outcome.of(arrays, 7, settings)
    expected = stats.beta.ppf(0.025, correct, tested - correct + 1) > settings.commonest
    assert (found.outcome == TRAINED) == expected
    assert found.correct == correct
    if correct == 100:
        assert found.outcome == outcome
    assert found.log10_gradient(12) is None  # the gradient of layer 1 is 0


# ------------------------------------------------------------------------------------ runs and bits


def test_the_same_bits_for_any_workers(report):
    for options in ({"workers": 2, "executor": "threads"}, {"workers": 2}):
        same(training_comparison(**TINY, **options), report)


def test_an_interrupted_comparison_resumes_where_it_was(tmp_path, monkeypatch, report):
    kept = RunStore.save_chunk

    def stop(self, cell, number, arrays):
        if len(self) == 5:
            raise KeyboardInterrupt
        kept(self, cell, number, arrays)

    monkeypatch.setattr(RunStore, "save_chunk", stop)
    with pytest.raises(KeyboardInterrupt):
        training_comparison(**TINY, store=tmp_path)
    monkeypatch.undo()
    called = []
    train = comparison_runs.Run.__call__
    monkeypatch.setattr(comparison_runs.Run, "__call__", lambda run, *rest: called.append(run) or train(run, *rest))
    same(training_comparison(**TINY, store=tmp_path), report)
    assert len(called) == 2 * 2 * 2 + 2 * 2 * 2 - 5  # rates and seeds of four networks, less what was kept
    called.clear()
    more = training_comparison(**TINY | {"seeds": 3}, store=tmp_path)
    assert len(called) == 4  # one more seed for each
    assert [each.outcomes[0].accuracy for each in more.measured] == [
        each.outcomes[0].accuracy for each in report.measured
    ]


def test_progress_runs_from_nothing_to_all():
    seen = []
    training_comparison(**TINY | {"depths": [2]}, progress=lambda done, total, _: seen.append((done, total)))
    assert seen[0][0] == 0
    assert seen[-1][0] == seen[-1][1]
    assert len({total for _, total in seen}) == 1
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_no_two_runs_share_an_identity():
    data = load_dataset("digits")
    budget = Budget(8, 2, 1, 16, 100)
    runs = [
        Run(each, rate, seed, validate, budget, "digits", digest(data.arrays))
        for each in candidates(["selu", "relu"], [2, 3], list(RECIPES))
        for rate in each.rates(8, 10, 0.5, (1.0, 2.0))
        for seed in (0, 1)
        for validate in (True, False)
    ]
    assert len({run.cell().cell for run in runs}) == len(runs)


# ----------------------------------------------------------------------------------------- reports


def test_the_frames_hold_every_network_and_every_run(report):
    frame, runs, curves = report.to_frame(), report.runs_frame(), report.curves_frame()
    assert len(frame) == 4
    assert (runs.purpose == "learning rate").sum() == 8
    assert (runs.purpose == "measured").sum() == 8
    assert len(curves) == 4 * 2 * 3
    for row in frame.itertuples():
        own = runs[(runs.recipe == row.recipe) & (runs.depth == row.depth) & (runs.purpose == "measured")]
        assert row.accuracy == pytest.approx(own.accuracy.mean())
        assert list(own.seed) == [1, 2]
        assert (own.correct / report.settings.test_samples).to_numpy() == pytest.approx(own.accuracy.to_numpy())


def test_files_are_written_and_figures_are_labelled(report, tmp_path):
    written = {path.name: path for path in report.save(tmp_path)}
    figures = [f"training{kind}.{suffix}" for kind in ("", "-losses", "-heatmap") for suffix in ("png", "pdf")]
    csv = ["training.csv", "training-runs.csv", "training-curves.csv"]
    assert set(written) == {*csv, "training.json", *figures}
    assert json.loads(written["training.json"].read_text())["config"]["seeds"] == 2
    accuracies, losses, norms = report.plot(), report.plot("training-losses"), report.plot("training-heatmap")
    assert accuracies.axes[0].get_ylabel().endswith("test accuracy")
    assert accuracies.axes[-1].get_xlabel() == "depth L (hidden layers)"
    assert [tick.get_text() for tick in accuracies.axes[-1].get_xticklabels()] == ["2", "4"]
    legend = [text.get_text() for text in accuracies.axes[0].get_legend().get_texts()]
    assert legend == ["GPN, orthogonal", "plain, Gaussian", "guessing"]
    assert losses.axes[0].get_ylabel() == "training loss (nats per sample)"
    assert norms.axes[0].get_ylabel().startswith("ReLU\nlayer")
    assert norms.axes[-1].get_ylabel().startswith(r"$\log_{10}")


def test_the_table_fits_eighty_columns(report):
    text = shown(table(report))
    rows = [line for line in text.splitlines() if line.startswith(("network", "GPN", "plain", "───"))]
    assert len(rows) == 2 + 4
    assert max(map(len, rows)) <= 80
    assert "GPN b+, Haar" in text
    assert "plain, Gauss" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recipes": ["gnp"]}, "'gnp'"),
        ({"activations": "relu"}, "activations"),
        ({"activations": ["relu", "relu"]}, "given once"),
        ({"depths": []}, "depths"),
        ({"factors": [0.0]}, "factors"),
        ({"width": int(50 * "1")}, "needs"),
        ({"level": 1.0}, "level"),
        ({"seeds": 1}, "seeds"),
        ({"inputs": "no/such/file.npz"}, "no/such/file.npz"),
    ],
)
def test_wrong_use_is_refused_with_what_is_allowed(options, words):
    with pytest.raises(UsageError, match=words):
        training_comparison(**TINY | options)


def shown(content):
    stream = io.StringIO()
    terminal.show(content, stream)
    return stream.getvalue()


def same(one, other):
    """The same bits in all that is measured."""
    for each, twin in zip(one.measured, other.measured, strict=True):
        assert each.trials == twin.trials
        for outcome, again in zip(each.outcomes, twin.outcomes, strict=True):
            np.testing.assert_array_equal(outcome.curves, again.curves)
            np.testing.assert_array_equal(outcome.log_gradient_norms, again.log_gradient_norms)
            assert (outcome.outcome, outcome.correct) == (again.outcome, again.correct)
