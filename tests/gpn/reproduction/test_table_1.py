"""The setting of the paper's Table 1: the step against a literal transcription, the report with made-up data."""

import json

import numpy as np
import pytest

import gpn
from gpn.cli.program import main
from gpn.data.datasets import Dataset
from gpn.reproduction.gradient_settings import BATCH_NORMALIZED, GPN, PLAIN
from gpn.reproduction.table_1 import table_1
from gpn.reproduction.table_1_run import PaperRun, Standardized
from gpn.training.optimizers import Momentum
from gpn.training.step import Stepper
from theory.errors import UsageError

pytestmark = pytest.mark.usefixtures("undrawn")


def images(features=784, samples=80):
    """Three classes of bytes."""
    rng = np.random.default_rng(0)
    labels = np.arange(samples) % 3
    x = np.clip(rng.normal(60, 30, (samples, features)) + 90 * (np.arange(features) % 3 == labels[:, None]), 0, 255)
    half = samples // 2
    x = x.astype(np.uint8)
    return Dataset(x[:half], labels[:half], x[half:], labels[half:], 3, "images")


TINY = {"width": 6, "depth": 3, "epochs": 2, "batch": 10, "learning_rate": 0.02}


def test_steps_are_those_of_a_literal_transcription():
    """Parameters V, weights V / |V| row by row in the hidden layers, momentum 0.5; the gradient by differences."""
    data = images(features=5, samples=16)
    setting = table_1(["tanh"], data, **TINY, precision="float64").setting
    network = PaperRun("tanh", PLAIN, gpn.activation("tanh"), setting, data).network()
    x, y = Standardized.of(data.x_train)(data.x_train), data.y_train
    hidden = range(1, len(network.weights) - 1)
    free = [np.array(w) for w in network.weights] + [np.array(network.biases[0]), np.array(network.biases[-1])]

    def loss(parameters):
        *weights, first, last = parameters
        h = x
        for index, v in enumerate(weights):
            w = v / np.linalg.norm(v, axis=1, keepdims=True) if index in hidden else v
            h = h @ w.T + (first if index == 0 else 0) + (last if index == len(weights) - 1 else 0)
            h = np.tanh(h) if index < len(weights) - 1 else h
        return np.mean(np.log(np.exp(h).sum(axis=1)) - h[np.arange(len(y)), y])

    def slope(parameters, step=1e-5):
        found = [np.zeros_like(array) for array in parameters]
        for array, gradient in zip(parameters, found, strict=True):
            for place in np.ndindex(array.shape):
                kept = array[place]
                array[place] = kept + step
                above = loss(parameters)
                array[place] = kept - step
                gradient[place] = (above - loss(parameters)) / (2 * step)
                array[place] = kept
        return found

    stepper = Stepper(network, Momentum(0.5), "unit", free=(0, 4), biased=(0, 4))
    velocity = [np.zeros_like(array) for array in free]
    for _ in range(3):
        assert stepper.step(x, y, 0.7).loss == pytest.approx(loss(free), rel=1e-9)
        for v, g, array in zip(velocity, slope(free), free, strict=True):
            v *= 0.5
            v += g
            array -= 0.7 * v
    for index, (weights, v) in enumerate(zip(network.weights, free, strict=False)):
        expected = v / np.linalg.norm(v, axis=1, keepdims=True) if index in hidden else v
        np.testing.assert_allclose(weights, expected, atol=1e-8)
    np.testing.assert_allclose(network.biases[0], free[-2], atol=1e-8)
    np.testing.assert_allclose(network.biases[-1], free[-1], atol=1e-8)
    assert not any(np.any(network.biases[index]) for index in hidden)


def test_pixels_are_standardized_by_one_mean_and_one_deviation():
    pixels = Standardized.of(np.array([[0, 2], [2, 4]], dtype=np.uint8))
    np.testing.assert_allclose(pixels(np.array([[2, 4]])), [[0.0, np.sqrt(2)]])


def test_the_report_sets_the_papers_numbers_beside_ours(tmp_path):
    report = table_1(["tanh", "relu"], images(), **TINY, store=tmp_path)
    assert [(row.activation, row.treatment) for row in report.rows] == [
        (name, kind) for name in ("tanh", "relu") for kind in (PLAIN, GPN, BATCH_NORMALIZED)
    ]
    assert [row.paper for row in report.rows] == [96.57, 95.54, 89.32, 11.35, 28.13, 11.42]
    assert all(0 <= row.test_accuracy <= 100 for row in report.rows)
    words = "; ".join(report.setting.differences)
    assert "width 6 (paper 500)" in words
    assert "train samples 40 (paper 60000)" in words
    again = table_1(["relu"], images(), **TINY, store=tmp_path)
    assert again.rows == report.rows[3:]
    saved = report.save(tmp_path / "out")
    assert [path.name for path in saved] == ["table-1.csv", "table-1.json"]
    json.dumps(report.to_dict(), allow_nan=False)
    lost = table_1(["relu"], images(), **TINY | {"learning_rate": 1e12}).rows
    assert {row.outcome for row in lost} == {"diverged"}
    assert lost[0].test_accuracy is None


@pytest.mark.parametrize(
    "options",
    [{"precision": "float16"}, {"learning_rate": -1.0}, {"width": 1}, {"width": int(50 * "1")}, {"epochs": 0}],
)
def test_wrong_settings_are_refused(options):
    with pytest.raises(UsageError):
        table_1(["tanh"], images(), **TINY | options)


def test_the_command(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = images()
    np.savez("images.npz", x_train=data.x_train, y_train=data.y_train, x_test=data.x_test, y_test=data.y_test)
    size = ["--width", "6", "--depth", "3", "--epochs", "1", "--workers", "1"]
    with pytest.raises(SystemExit) as exit_:
        main(["reproduce", "table-1", "--inputs", "images.npz", "--activations", "selu", *size])
    out = capsys.readouterr().out
    assert not exit_.value.code
    assert "97.33" in out
    assert "What differs: width 6 (paper 500)" in out
    assert "gpn-output: table-1.csv, table-1.json" in out
