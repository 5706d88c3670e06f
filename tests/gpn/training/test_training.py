"""Training: it learns, it tells when it diverges, and a killed run that goes on ends with the same bits."""

import dataclasses
import inspect
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gpn
from gpn.data.datasets import Dataset, ThinShell
from gpn.engine.network import Network
from gpn.training.checkpoints import read_checkpoint, write_checkpoint
from gpn.training.orthogonality import deviation
from gpn.training.results import EpochRow
from gpn.training.settings import TrainingSettings
from gpn.training.start import Identity, build
from gpn.training.step import parameters, running_statistics
from gpn.training.train import evaluate
from tests.oracles.losses import softmax_cross_entropy
from tests.root import ROOT
from theory.errors import UsageError


def blobs(samples=60, features=6, classes=3, seed=0):
    """Three clouds that a shallow network tells apart."""
    rng = np.random.default_rng(seed)
    centres = 3.0 * rng.standard_normal((classes, features))
    labels = np.arange(samples) % classes
    x = centres[labels] + rng.standard_normal((samples, features))
    half = samples // 2
    return Dataset(x[:half], labels[:half], x[half:], labels[half:], classes, "blobs")


def bits(network):
    return {**parameters(network), **running_statistics(network)}


def assert_same_bits(one, other):
    for (name, a), b in zip(bits(one).items(), bits(other).values(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


OPTIONS = {"depth": 3, "width": 8, "epochs": 6, "batch": 10, "seed": 3, "records": 7}


@pytest.mark.parametrize("options", [
    {},
    {"optimizer": "adam", "batch_normalization": True, "biases": True},
    {"optimizer": "momentum", "constraint": "polar"},
    {"optimizer": "rmsprop", "constraint": "qr", "centred": True},
    {"optimizer": "adagrad", "constraint": "penalty", "schedule": "step"},
    {"optimizer": "momentum", "constraint": "unit"},
    {"optimizer": "adam", "constraint": "polar", "precision": "float32", "batch_normalization": True, "biases": True},
])  # fmt: skip
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, options):
    data, path = blobs(), tmp_path / "state.npz"
    options = {**OPTIONS, **options}
    whole = gpn.train("tanh", data, **options)

    class Stop(Exception):
        pass

    def stop(epoch, *_):
        if epoch == 4:
            raise Stop

    with pytest.raises(Stop):  # epoch 4 is done but not saved
        gpn.train("tanh", data, **options, checkpoint=path, checkpoint_seconds=0.0, progress=stop)
    header, _ = read_checkpoint(path)
    assert header["time"] == 9
    rest = gpn.train("tanh", data, **options, checkpoint=path, resume=True)
    assert_same_bits(whole.network, rest.network)
    np.testing.assert_array_equal(whole.losses, rest.losses)
    np.testing.assert_array_equal(whole.gradient_norms, rest.gradient_norms)
    np.testing.assert_array_equal(whole.deviations, rest.deviations)
    np.testing.assert_array_equal(whole.recorded_steps, rest.recorded_steps)
    assert [replace(row, seconds=0) for row in whole.epochs] == [replace(row, seconds=0) for row in rest.epochs]
    again = gpn.train("tanh", data, **options, checkpoint=path, resume=True)  # nothing is left to do
    assert_same_bits(whole.network, again.network)


def test_a_killed_process_resumes_to_the_same_bits(tmp_path):
    """SIGKILL somewhere in the middle, whatever it was doing; then --resume."""
    path, samples = tmp_path / "state.npz", tmp_path / "samples.npz"
    data = blobs(2000)
    np.savez(samples, x_train=data.x_train, y_train=data.y_train, x_test=data.x_test, y_test=data.y_test)
    code = (
        "import sys, numpy, gpn\n"
        "class Tanh:\n"
        "    def value_and_slope(self, x):\n"
        "        t = numpy.tanh(x)\n"
        "        return t, 1 - t * t\n"
        "gpn.train(Tanh(), sys.argv[1], root=None, depth=4, width=32, epochs=80, optimizer='adam', seed=5,\n"
        "          checkpoint=sys.argv[2], checkpoint_seconds=0.0, resume=len(sys.argv) > 3)\n"
    )
    command = [sys.executable, "-c", code, str(samples), str(path)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.15)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    _, arrays = read_checkpoint(path)
    assert 1 <= len(arrays["epochs"]) < 80
    subprocess.run([*command, "resume"], check=True)
    reference = tmp_path / "whole.npz"
    subprocess.run([*command[:-1], str(reference)], check=True)
    (_, resumed), (_, whole) = read_checkpoint(path), read_checkpoint(reference)
    assert len(whole["epochs"]) == 80
    for name, array in whole.items():
        if name != "epochs":
            np.testing.assert_array_equal(array, resumed[name], err_msg=name)
    np.testing.assert_array_equal(whole["epochs"][:, :-1], resumed["epochs"][:, :-1])


def test_the_seed_decides_everything():
    data = blobs()
    one, same = (gpn.train("tanh", data, **OPTIONS) for _ in range(2))
    other = gpn.train("tanh", data, **OPTIONS | {"seed": 4})
    assert_same_bits(one.network, same.network)
    assert not np.array_equal(one.losses, other.losses)


@pytest.mark.parametrize("options", [
    {},
    {"weights": "gaussian", "root": None, "learning_rate": 0.1},
    {"batch_normalization": True},
    {"constraint": "polar"},
    {"optimizer": "adam"},
])  # fmt: skip
def test_a_shallow_network_learns_the_clouds(options):
    report = gpn.train("tanh", blobs(), **{**OPTIONS, "epochs": 20, "learning_rate": 0.03} | options)
    assert report.outcome == "finished"
    assert report.losses[-1] < 0.5 * report.losses[0]
    assert report.test_accuracy > 0.8


def test_a_deep_normalized_network_learns_the_digits_where_a_plain_gaussian_one_does_not():
    """40 layers, one seed: gradients of one size in all layers, or signals and gradients that are lost."""
    options = {"depth": 40, "width": 64, "epochs": 3, "seed": 0, "records": 5}
    normalized = gpn.train("selu", **options)
    plain = gpn.train("relu", **options, root=None, weights="gaussian")
    assert normalized.test_accuracy > 0.6
    assert 0.2 < normalized.gradient_ratio < 5.0
    assert plain.test_accuracy < 0.3
    assert plain.gradient_norms[0, :40].max() < 1e-3 * normalized.gradient_norms[0, :40].min()


@pytest.mark.slow
def test_two_hundred_layers_learn_the_digits():
    """GPN SELU with Haar weights comes near two layers of the same width; plain ReLU with Gaussian weights guesses.

    One seed, 96.7 %; two others ended at 94.7 and 94.4 %, two layers at 97.2 to 97.5 %.
    """
    options = {"depth": 200, "width": 128, "seed": 0, "learning_rate": 0.001}
    assert gpn.train("selu", **options, epochs=30).test_accuracy > 0.92
    plain = gpn.train("relu", **options, epochs=3, root=None, weights="gaussian")
    assert plain.test_accuracy < 0.2
    assert plain.gradient_norms.max() < 1e-20


@pytest.mark.parametrize("spec", ["tanh", "relu", "gelu", "hardtanh"])
def test_float32_is_float64_to_its_digits(spec):
    double, single = (gpn.train(spec, blobs(), **OPTIONS, precision=each) for each in ("float64", "float32"))
    assert {array.dtype for array in single.network.weights} == {np.dtype(np.float32)}
    np.testing.assert_allclose(single.losses, double.losses, rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(single.losses[0], double.losses[0], rtol=1e-5)
    np.testing.assert_allclose(single.gradient_norms[0], double.gradient_norms[0], rtol=1e-4)
    assert single.gradient_norms.dtype == np.float64


def test_the_reported_loss_and_norms_are_those_of_the_first_batch():
    data = blobs()
    report = gpn.train("tanh", data, **OPTIONS | {"epochs": 1})
    network = build(report.config, gpn.normalize("tanh"))
    shell = ThinShell.of(data, 8)
    stream = np.random.Generator(np.random.PCG64(np.random.SeedSequence(3, spawn_key=(1, 1))))
    chosen = np.sort(stream.permutation(30)[:10])
    forward = network.forward(shell(data.x_train[chosen]))
    losses, e = softmax_cross_entropy(forward.outputs, data.y_train[chosen])
    assert report.losses[0] == pytest.approx(losses.mean(), rel=1e-13)
    norms = network.backward(forward, e / 10).norms.batch_gradient_norms
    np.testing.assert_allclose(report.gradient_norms[0], norms, rtol=1e-12)
    loss, accuracy = evaluate(report.network, shell, data.x_test, data.y_test)
    assert (loss, accuracy) == (report.epochs[-1].test_loss, report.epochs[-1].test_accuracy)


@pytest.mark.parametrize("weights", ["haar", "gaussian"])
@pytest.mark.parametrize("features", [5, 40])
def test_the_first_signal_has_the_length_of_all_others(weights, features):
    """|h_1|^2 = n exactly for orthonormal columns, else on average over the units and the draw.

    Of 200 independent draws the mean of |h_1|^2 / n has a standard deviation below 0.025: five of them are granted.
    """
    data = blobs(features=features)
    report = gpn.train("tanh", data, **OPTIONS | {"epochs": 1, "weights": weights})
    shell, phi, lengths = ThinShell.of(data, 8), gpn.normalize("tanh"), []
    for seed in range(200):
        network = build(replace(report.config, depth=1, seed=seed), phi)
        h = network.forward(shell(data.x_train[:1])).preactivations[0]
        lengths.append(float((h**2).sum()) / 8)
    if weights == "haar" and features == 5:
        np.testing.assert_allclose(lengths, 1.0, rtol=1e-12)
    assert np.mean(lengths) == pytest.approx(1.0, abs=0.125)
    assert deviation(network.weights[-1]) < 1e-14


def test_divergence_is_an_outcome_with_a_reason():
    for options, words in [
        ({"learning_rate": 1e6}, "1e+06"),
        ({"spec": "x**3", "root": None, "depth": 12}, "overflows"),
    ]:
        report = gpn.train(**{"spec": "relu", "inputs": blobs(), **OPTIONS} | options)
        assert report.outcome == "diverged"
        assert words in report.reason
        assert report.test_accuracy is None
        assert "Diverged" in report.summary()
        json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize("constraint", ["polar", "qr"])
def test_a_step_beyond_all_numbers_is_divergence_on_the_manifold_too(constraint):
    for rate in (1e150, 1e300):
        report = gpn.train("relu", blobs(), **OPTIONS | {"constraint": constraint, "learning_rate": rate})
        assert report.outcome == "diverged"
        assert f"try a smaller learning rate than {rate:.3g}" in report.reason


def test_a_last_step_that_ruins_the_network_is_divergence():
    """The loss of its batch was taken before the step, so only the test samples show it."""
    options = OPTIONS | {"depth": 4, "epochs": 1, "batch": 30, "learning_rate": 1e150}
    report = gpn.train("relu", blobs(), **options)
    assert np.isfinite(report.losses).all()
    assert report.outcome == "diverged"
    assert "is nan" in report.reason
    assert report.test_accuracy is None
    assert report.epochs[-1].test_accuracy == 0.0  # not the share of the first class


def test_samples_without_finite_logits_count_as_wrong():
    data = blobs()
    network = Network([np.full((3, 6), np.nan)], Identity())
    assert evaluate(network, ThinShell.of(data, 8), data.x_test, np.zeros(30, dtype=np.int64))[1] == 0.0


def test_vanishing_and_exploding_gradients_are_reported():
    def words(spec, depth, **options):
        report = gpn.train(spec, blobs(), **OPTIONS | {"depth": depth, "epochs": 1, "learning_rate": 1e-12} | options)
        return report.summary()

    assert "The gradient norm is " in words("selu", 20)
    assert "The gradient norm is " in words("selu", 20, readout_scale=1e-5)  # small, but not by the depth
    assert "The gradient vanishes in every layer: " in words("relu", 40, root=None)  # flat and tiny
    assert "The gradient vanishes: " in words("0.5*x+1", 30, root=None)  # signals stay, gradients halve
    assert "The gradient explodes: " in words("sin(3*x)", 30, root=None)


def test_gradients_that_overflow_are_reported():
    zero = gpn.train("0.1*tanh(x)", blobs(), **OPTIONS | {"depth": 400, "epochs": 1, "root": None})
    assert zero.gradient_ratio is None
    assert "underflows" in zero.summary()


def test_norms_are_recorded_evenly_with_the_first_and_the_last_step():
    report = gpn.train("tanh", blobs(), **OPTIONS)
    assert report.recorded_steps.tolist() == [1, 4, 7, 10, 13, 16, 18]
    assert report.gradient_norms.shape == (7, 4)
    assert report.deviations.shape == (7, 3)
    frame = report.norms_frame()
    assert frame[["step", "layer"]].iloc[-1].tolist() == [18, 4]
    assert frame["gradient_norm"].iloc[-1] == report.gradient_norms[-1, -1]


def test_results_are_written_whole(tmp_path):
    report = gpn.train("tanh", blobs(), **OPTIONS)
    names = [path.name for path in report.save(tmp_path / "out")]
    assert names == ["training.csv", "norms.csv", "training.json", "training.png", "training.pdf"]
    facts = json.loads((tmp_path / "out" / "training.json").read_text())
    assert facts["test_accuracy"] == report.test_accuracy
    assert len(facts["rows"]) == 6
    figure = report.plot()
    labels = [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes[:3]]
    assert labels == [
        ("step", "cross-entropy (nats per sample)"), ("epoch", "accuracy"), ("step", "layer l (4: the readout)")
    ]  # fmt: skip
    assert "test accuracy" in figure.get_suptitle()
    assert repr(report).startswith("<TrainingReport GPN tanh, 3 x 8: finished, test accuracy")


def test_a_damaged_or_foreign_checkpoint_is_an_error(tmp_path):
    data, path = blobs(), tmp_path / "state.npz"
    gpn.train("tanh", data, **OPTIONS, checkpoint=path)

    def refused(**changes):
        with pytest.raises(UsageError) as error:
            gpn.train("tanh", data, **{**OPTIONS, "checkpoint": path, "resume": True} | changes)
        return str(error.value)

    assert "resume" in refused(resume=False)
    assert "seed 3, not 4" in refused(seed=4)
    assert "no checkpoint" in refused(checkpoint=None)
    assert "no file" in refused(checkpoint=tmp_path / "other.npz")
    assert "no folder" in refused(checkpoint=tmp_path / "none" / "a.npz", resume=False)
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    assert "the checkpoint" in refused()
    np.savez(path, x=np.ones(3))
    assert "checkpoint of a training run" in refused()
    path.write_bytes(good)
    header, arrays = read_checkpoint(path)
    write_checkpoint(path, header, {name: a for name, a in arrays.items() if name != "parameter/W2"})
    assert "lacks parameter/W2" in refused()
    assert not list(tmp_path.glob("*.partial"))


def test_a_checkpoint_of_another_root_activation_or_data_is_refused(tmp_path):
    """GPN ReLU has one name for both roots, and a file may change under its own."""
    data, path = blobs(), tmp_path / "state.npz"
    report = gpn.train("relu", data, **OPTIONS, root="plus", checkpoint=path)
    assert report.config.function == "GPN relu (b_plus)"
    changed = data.x_test.copy()
    changed[-1, -1] = np.nextafter(changed[-1, -1], 0.0)

    class Named:
        name = "GPN relu"

        def value_and_slope(self, x):
            return np.tanh(x), 1.0 / np.cosh(x) ** 2

    for spec, other, root, words in [
        ("relu", data, "minus", "root 'plus'"),
        ("relu", replace(data, x_test=changed), "plus", "samples or labels"),
        ("relu", replace(data, y_train=data.y_train[::-1]), "plus", "samples or labels"),
        (Named(), data, None, "activation function"),
    ]:
        with pytest.raises(UsageError, match=words):
            gpn.train(spec, other, **OPTIONS, root=root, checkpoint=path, resume=True)
    again = gpn.train("relu", data, **OPTIONS, root="auto", checkpoint=path, resume=True)  # auto takes b_plus
    assert_same_bits(report.network, again.network)


def test_checkpoints_keep_every_bit(tmp_path):
    values = np.array([np.nextafter(1.0, 2.0), -0.0, 5e-324, np.inf])
    row = EpochRow(3, 0.1, 1 / 3, 0.5, 2.0, 0.25, 1.5)
    held = {"x": values, "n": np.array([3]), "rows": np.array([dataclasses.astuple(row)])}
    write_checkpoint(tmp_path / "c.npz", {"a": 1.5}, held)
    header, arrays = read_checkpoint(tmp_path / "c.npz")
    assert header == {"a": 1.5}
    assert arrays["x"].tobytes() == values.tobytes()
    assert EpochRow(*arrays["rows"][0].tolist()) == row


def test_misuse_is_an_error():
    for options, message in [
        ({"optimizer": "adamw"}, "'adam'"),
        ({"schedule": "cosin"}, "'cosine'"),
        ({"constraint": "orthogonal"}, "none, penalty, polar, qr, unit"),
        ({"constraint": "qr", "weights": "gaussian"}, "orthogonal"),
        ({"weights": "har"}, "'haar'"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"readout_scale": float("nan")}, "readout_scale"),
        ({"epochs": 0}, "epochs must be"),
        ({"depth": 2.5}, "depth must be"),
        ({"batch": 1, "batch_normalization": True}, "batch must be"),
    ]:
        with pytest.raises(UsageError, match=message):
            gpn.train("tanh", blobs(), **OPTIONS | options)
    assert Network([np.eye(2)], Identity()).forward([[1.0, 2.0]]).outputs.tolist() == [[1.0, 2.0]]


def test_the_keywords_of_train_are_the_settings():
    """One list of names and defaults, written twice so that `help(gpn.train)` shows it."""
    keywords = {name: keyword.default for name, keyword in inspect.signature(gpn.train).parameters.items()}
    fields = {field.name: field.default for field in dataclasses.fields(TrainingSettings)}
    assert fields == {name: keywords[name] for name in fields}
    assert set(keywords) - set(fields) == {
        "spec", "inputs", "checkpoint", "resume", "checkpoint_seconds", "progress", "memory"
    }  # fmt: skip


PEAK = """
import sys
from pathlib import Path
import gpn
from gpn.sampling import memory

def peak():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

seen, check = [], memory._check_fits
memory._check_fits = lambda size, *rest: (seen.append(size), check(size, *rest))
gpn.train("tanh", epochs=1, depth=2, width=64)
before = peak()
gpn.train("tanh", epochs=1, depth=int(sys.argv[2]), width=int(sys.argv[3]), optimizer=sys.argv[1], batch=1400)
print(peak() - before, int(seen[-1]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux")
@pytest.mark.parametrize("run", [pytest.param(("adam", 4, 1000), marks=pytest.mark.slow), ("sgd", 100, 64)])
def test_what_a_run_takes_is_what_the_budget_counts(run):
    """Weights with their memories in the one, the layers of a large batch in the other."""
    command = [sys.executable, "-c", PEAK, *map(str, run)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    taken, counted = map(int, done.stdout.split())
    assert 0.3 * counted < taken < 1.1 * counted
