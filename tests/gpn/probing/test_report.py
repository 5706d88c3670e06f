"""What a probe shows, from a tape that NumPy wrote: no library is needed."""

import json
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

import gpn
from gpn.cli import program as cli
from gpn.engine.network import Network
from gpn.engine.weights import draw
from gpn.experiment.result import headline
from gpn.probing import findings, models
from gpn.probing.results import Answer, Layer
from gpn.probing.tape import Operation, Tape, Value, Weights
from theory.activations.specification import activation

WIDTH, DEPTH, SAMPLES = 48, 5, 3
GPN_TANH = "1.4674135916*tanh(x)+0.3885416701"


read = cache(activation)


class Model:
    """A network of the engine; a layer may be another activation, or be multiplied."""

    def __init__(self, specs, gains, rng, library="NumPy"):
        self.library = library
        self.phis = [read(spec) for spec in specs]
        self.network = Network([gain * draw("haar", rng, WIDTH) for gain in gains], self.phis)


def values_of(array, gradient):
    lengths = np.sum(array**2, axis=1, keepdims=True) / array.shape[1]
    cosine = float(array[0] @ array[1] / np.linalg.norm(array[0]) / np.linalg.norm(array[1]))
    return Value(array.shape[1], 1, lengths, cosine, 0, "float64", np.sum(gradient**2, axis=1))


def run(model, inputs, rng, samples):
    """The tape of a model by the engine's own forward and backward pass."""
    network = model.network
    x = inputs if inputs is not None else rng.standard_normal((samples, WIDTH))
    x = x * np.sqrt(WIDTH) / np.linalg.norm(x, axis=1, keepdims=True)
    e = rng.standard_normal((len(x), WIDTH))
    e /= np.linalg.norm(e, axis=1, keepdims=True)
    forward = network.forward(x)
    layers = list(network.sweep(forward, e))[::-1]
    tape = Tape(model.library, lambda function, points: function(points), epsilon=2.0**-52)
    tape.values.append(values_of(x, layers[0].d @ network.weights[0]))
    for index, (layer, weights) in enumerate(zip(layers, network.weights, strict=True)):
        h, phi = forward.preactivations[index], model.phis[index]
        signal = phi.value(h)
        place = len(tape.values)
        tape.values += [values_of(h, layer.d), values_of(signal, layer.e)]
        linear = Operation("linear", f"part.{index}", "linear", (place - 1,), place, weights=Weights.of(weights))
        linear.core, linear.pulled = tape.values[place].lengths, np.sum((layer.d @ weights) ** 2, axis=1)
        linear.weight_gradient = float(np.linalg.norm(layer.d.T @ layer.x))
        tape.operations += [
            linear,
            Operation("elementwise", f"part.{index}", "phi", (place,), place + 1, call=phi.value),
        ]
    return tape


@pytest.fixture
def probed(monkeypatch):
    """`gpn.probe` of such models."""
    library = type("library", (), {"run": staticmethod(run)})
    monkeypatch.setattr(models, "_library", lambda model: library if isinstance(model, Model) else None)

    def probe(specs=(GPN_TANH,) * DEPTH, gains=(1.0,) * DEPTH, library="NumPy", **options):
        return gpn.probe(lambda seed: Model(specs, gains, np.random.default_rng(seed), library), **options)

    return probe


def test_a_right_network(probed, capsys, tmp_path):
    heard = []
    report = probed(initializations=2, progress=lambda done, total, words: heard.append((done, total, words)))
    assert heard == [(0, 2, "initializations"), (1, 2, "initializations")]
    assert (report.follows, report.normalized, report.code, report.findings) == (Answer.YES, Answer.YES, 0, ())
    assert headline(report) == (
        "The model follows the theory of itself (20 squared norms in 2 initializations, level 0.99). By that theory "
        "every layer that it knows keeps squared lengths and gradients: it is normalized."
    )
    lines = report.annotated().splitlines()
    assert lines[1:4] == ["part:", *lines[2:4]]
    assert lines[2].split() == ["0:", "linear", "48", "to", "48", "1.00", lines[2].split()[-1]]
    with pytest.raises(TypeError):
        bool(report.follows)
    names = {path.name for path in report.save(tmp_path)}
    assert names == {"probe.csv", "probe.json", "probe.png", "probe.pdf", "probe.html"}
    assert json.loads((tmp_path / "probe.json").read_text())["normalized"] == "yes"
    assert "Model" not in capsys.readouterr().out


def test_a_wrong_layer_and_a_wrong_gain(probed):
    """Layer 2 is a plain ReLU; the gain of layer 4 is 1.5: E (1.5 phi')^2 by the slope map of theory."""
    specs = [GPN_TANH, "relu", GPN_TANH, GPN_TANH, GPN_TANH]
    report = probed(specs, (1, 1, 1, 1.5, 1), "PyTorch", initializations=3)
    assert report.follows is Answer.YES
    assert set(report.found("not normalized")) == {2, 4}
    assert report.found("gain") == (4,)
    text = headline(report)
    assert "layers 1, 3, 5 keep norms within a factor of 2, layers 2, 4 do not" in text
    assert "use gain 1.4142" in text
    assert "is normalized, but the gain is 1.5, not 1 (gpn.torch.orthogonal_(layer.weight) makes it 1)" in text
    frame = report.to_frame()
    relu = frame[(frame.layer == 2) & (frame.kind == "activation")].iloc[0]
    assert (relu.label, round(relu.backward_factor, 6), relu.follows) == ("relu", 0.5, "yes")
    assert "follow the theory" not in text
    assert report.code == 1


def test_the_command(probed, monkeypatch, capsys):
    """The table, the annotated source, JSON, and the exit code of the report."""
    report = probed([GPN_TANH] * 4 + ["tanh"], initializations=2)
    monkeypatch.setattr("gpn.probing.probe.probe", lambda *_, **__: report)
    codes = []
    for options in ([], ["--source"], ["--json"]):
        with pytest.raises(SystemExit) as end:
            cli.main(["probe", "math:tau", *options])
        codes.append((end.value.code, capsys.readouterr().out))
    assert [code for code, _ in codes] == [1, 1, 1]
    assert "In layer 5 squared gradients change by 0.4" in codes[0][1]
    assert len(codes[1][1].splitlines()) == len(codes[0][1].splitlines()) + 2 * DEPTH + 3
    assert json.loads(codes[2][1])["parts"][-1]["label"] == "tanh"


def test_what_layers_do_in_sum(probed):
    """The factors of the sentence to the power of the depth are what the lengths of all layers together have done."""
    report = probed(["silu"] * DEPTH, initializations=2)
    text = headline(report)
    factor = float(text.split("squared lengths by ")[1].split(",")[0])
    rows = [row for row in report.rows if row.kind == "activation"]
    assert factor**DEPTH == pytest.approx(rows[-1].length, rel=0.2)
    assert "E phi'^2 = 0.3795 at length 1 (at the length q = " in text
    shown = float(text.split("of layer 3: E phi^2/q = ")[1].split(",")[0])
    assert shown == pytest.approx(rows[2].forward_factor, rel=0.02)
    assert "with gain 1 (gpn normalize silu --emit numpy), or use" in text
    assert not any(library in text for library in ("torch", "jax"))


def test_layers_that_change_norms_together_as_measured_do_not_keep_them(probed):
    """Theory keeps the norms of layers 1-4; measured gradients are made three times as large at the first of them."""
    report = probed([*[GPN_TANH] * 4, "relu"], initializations=2)
    assert "layers 1-4 keep norms within a factor of 2, layer 5 does not." in headline(report)
    first, last = report.rows[0], next(row for row in report.rows if row.layer == 4 and row.kind == "activation")
    factor = 3 * last.gradient / first.gradient
    changed = replace(report, rows=(replace(first, gradient=factor * first.gradient), *report.rows[1:]))
    text = headline(changed)
    assert "layers 1-4 together change squared gradients by 3" in text
    assert ", layer 5 does not keep norms." in text
    assert "keep norms within" not in text


@pytest.mark.parametrize(
    ("library", "weights", "bias"),
    [
        ("PyTorch", "gpn.torch.orthogonal_(layer.weight, {}scaled=True)", "torch.nn.init.zeros_(layer.bias)"),
        (
            "JAX",
            "gpn.jax.orthogonal({}scaled=True) as the initializer of the kernel",
            "jax.nn.initializers.zeros as the",
        ),
    ],
)
def test_the_lines_to_paste_are_those_of_the_library(library, weights, bias):
    """A layer of 8 to 16 with Gaussian weights and a bias: a plain activation needs scaled weights and bias 0."""
    part = SimpleNamespace(layer=1, kind="linear", width_in=8, width=16, weights="Gaussian, LeCun", gain=0.8, bias=0.01)
    vars(part).update(length=1.0, length_in=1.0, forward_factor=0.5, backward_factor=0.5)
    for name, gain in (("silu", ""), ("relu", "1.4142, ")):
        text = next(findings.of_layers([Layer(part, part, read(name), False)], library)).text
        assert weights.format(gain) in text
        assert bias in text
        assert ("torch" in text, "jax" in text) == (library == "PyTorch", library == "JAX")
    assert (
        f"gpn normalize silu --emit {'torch' if library == 'PyTorch' else 'jax'}; "
        in next(findings.of_layers([Layer(part, part, read("silu"), False)], library)).text
    )


def test_a_model_that_is_not_drawn_again(probed):
    report = gpn.probe(lambda: Model((GPN_TANH,) * 2, (1, 1), np.random.default_rng(0)), initializations=4)
    assert report.initializations == 1
    assert report.fresh == "one initialization: every call gives the same weights"
    with pytest.raises(gpn.probing.probe.UsageError, match="no module runs under a name like"):
        probed(layers="encoder.*")
    assert len(probed(layers="part.1", initializations=1).rows) == 2


def test_the_bands_have_room_for_the_level(probed):
    """30 right networks at level 0.9: at most 3 departures are expected, and more than 9 have probability 0.0005."""
    assert sum(probed(initializations=1, level=0.9, seed=seed).follows is Answer.NO for seed in range(30)) <= 9
