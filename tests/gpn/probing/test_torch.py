"""Probes of PyTorch models: parity with autograd, right models, and a table of faults."""

import importlib
from itertools import pairwise

import numpy as np
import pytest

import gpn
from gpn.probing.results import Answer
from theory.errors import UsageError

torch = pytest.importorskip("torch")
nn, torch_model = torch.nn, importlib.import_module("gpn.probing.libraries.torch_model")

A, B = 1.4674135916, 0.3885416701  # of tanh
WIDTH, DEPTH = 96, 8


class NormalizedTanh(nn.Module):
    def forward(self, x):
        return A * torch.tanh(x) + B


class WrongSlope(torch.autograd.Function):
    @staticmethod
    def forward(_, x):
        return A * torch.tanh(x) + B

    @staticmethod
    def backward(_, gradient):
        return 0.5 * gradient


class WronglyDifferentiated(nn.Module):
    def forward(self, x):
        return WrongSlope.apply(x)


def network(activation=NormalizedTanh, gain=1.0, draw=None, widths=(WIDTH,) * (DEPTH + 1), bias=False):
    """Linear maps and activations; Haar unless `draw` says otherwise."""
    parts = []
    for columns, rows in pairwise(widths):
        linear = nn.Linear(columns, rows, bias=bias, dtype=torch.float64)
        if draw is None:
            nn.init.orthogonal_(linear.weight, gain)
        else:
            draw(linear)
        parts += [linear, activation()]
    return nn.Sequential(*parts)


def changed(change):
    """A factory of the right network with one thing changed, to `part(layer)` counted from 1."""

    def factory():
        model = network()
        with torch.no_grad():
            change(model, lambda layer: model[2 * layer - 2])
        return model

    return factory


def one_layer_plain(model, _):
    model[9] = nn.Tanh()


def biased(_, part):
    for layer in range(1, DEPTH + 1):
        part(layer).bias = nn.Parameter(torch.full((WIDTH,), 0.5, dtype=torch.float64))


def identity(_, part):
    nn.init.eye_(part(5).weight)


def shared(_, part):
    for layer in range(2, DEPTH + 1):
        part(layer).weight.copy_(part(1).weight)


def spike(_, part):
    one = torch.ones(WIDTH, dtype=torch.float64) / WIDTH**0.5
    part(5).weight += 4 * torch.outer(one, one)


def not_a_number(_, part):
    part(5).weight[1, 2] = float("nan")


def dropout(model, _):
    model[9] = nn.Sequential(model[9], nn.Dropout(0.5))


def wrong_slope(model, _):
    model[9] = WronglyDifferentiated()


def dead(_, part):
    part(5).weight.zero_()


def lecun_by_fan_out(linear):
    nn.init.normal_(linear.weight, std=linear.out_features**-0.5)


class TooSteep(torch.autograd.Function):
    """A derivative that is 5 % too large: squared gradients grow by 10 % in each layer."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return A * torch.tanh(x) + B

    @staticmethod
    def backward(context, gradient):
        return 1.05 * A * gradient / torch.cosh(context.saved_tensors[0]) ** 2


class SlightlyTooSteep(nn.Module):
    def forward(self, x):
        return TooSteep.apply(x)


ALL = tuple(range(1, DEPTH + 1))
FAULTS = {
    "gain 5/3 on tanh": (lambda: network(nn.Tanh, 5 / 3), "not normalized", ALL),
    "Gaussian for orthogonal": (
        lambda: network(draw=lambda m: nn.init.normal_(m.weight, std=WIDTH**-0.5)),
        "not orthogonal",
        ALL,
    ),
    "one layer not normalized": (changed(one_layer_plain), "not normalized", (5,)),
    "transposed initialization": (
        lambda: network(draw=lecun_by_fan_out, widths=(96, 24) * 4 + (96,)),
        "transposed",
        ALL,
    ),
    "bias of 0.5": (changed(biased), "bias", ALL),
    "bfloat16": (changed(lambda model, _: model.bfloat16()), "precision", ALL),
    "PyTorch's default initialization": (lambda: network(draw=lambda _: None), "gain", ALL),
    "gain sqrt 2 on a normalized activation": (lambda: network(gain=2**0.5), "not normalized", ALL),
    "plain GELU": (lambda: network(nn.GELU), "not normalized", ALL),
    "identity in place of a Haar matrix": (changed(identity), "not Haar", (5,)),
    "one matrix in all layers": (changed(shared), "equal weights", ALL),
    "a spike in one matrix": (changed(spike), "no known ensemble", (5,)),
    "a weight that is no number": (changed(not_a_number), "not finite", (5,)),
    "dropout left on": (changed(dropout), "dropout", ()),
    "a wrong derivative": (changed(wrong_slope), "departs", (5,)),
    "a derivative 5 % too large in every layer": (
        lambda: network(SlightlyTooSteep, widths=(WIDTH,) * 25),
        "departs",
        (),
    ),
    "a gain 4 % too large in every layer": (
        lambda: network(nn.ReLU, 1.04 * 2**0.5, widths=(64,) * 21),
        "drift",
        tuple(range(1, 21)),
    ),
    "a layer of zeros": (changed(dead), "no gradient", (4,)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_named(name):
    factory, kind, layers = FAULTS[name]
    report = gpn.probe(factory, initializations=3)
    assert kind in {finding.kind for finding in report.findings}
    assert set(report.found(kind)) == set(layers)
    if kind in ("not normalized", "gain", "dropout", "bias", "transposed", "drift"):
        assert report.normalized is Answer.NO
    if kind in ("departs", "not finite", "no gradient"):
        assert report.follows is Answer.NO
    assert report.code == (0 if report.follows is report.normalized is Answer.YES else 1)


def test_a_right_network_follows_and_is_normalized():
    report = gpn.probe(network, initializations=3)
    assert (report.follows, report.normalized, report.findings) == (Answer.YES, Answer.YES, ())
    assert (report.code, report.comparisons, report.layers) == (0, 4 * DEPTH, DEPTH)
    frame = report.to_frame()
    assert len(frame) == 2 * DEPTH
    maps, activations = frame[frame.kind == "linear"], frame[frame.kind == "activation"]
    assert set(maps.weights) == {"Haar"}
    assert np.allclose(maps.forward_factor, 1)
    assert set(activations.label) == {"1.46741*tanh+0.388542"}
    assert ((activations.forward_lower < activations.length) & (activations.length < activations.forward_upper)).all()


def test_what_is_exported_and_drawn_by_gpn_follows():
    """A rectangular network of the exported module and Haar matrices of `gpn.torch`, in float32."""
    names = {}
    exec(gpn.export("gelu", "torch"), names)
    module = next(value for value in names.values() if isinstance(value, type) and issubclass(value, nn.Module))

    def build():
        parts = []
        for columns, rows in pairwise((64, 96, 96, 96)):
            linear = nn.Linear(columns, rows)
            importlib.import_module("gpn.torch").orthogonal_(linear.weight)
            nn.init.zeros_(linear.bias)
            parts += [linear, module()]
        return nn.Sequential(*parts)

    report = gpn.probe(build, initializations=3)
    assert report.follows is Answer.YES
    assert report.found("not normalized") == (1,)  # 64 inputs spread over 96 neurons have two thirds of the length
    assert [row.weights for row in report.rows if row.kind == "linear"] == ["semi-orthogonal", "Haar", "Haar"]


class Branches(nn.Module):
    """Vectors, a residual branch with a scale, a composite activation, and layers that are used twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = (nn.Linear(12, n, dtype=torch.float64) for n in (12, 12, 5))

    def forward(self, x):
        h = self.first(x)
        x = torch.where(h > 0, h * torch.sigmoid(1.3 * h), 0.1 * h)
        x = x + 0.5 * self.second(x)
        return self.last(self.first(x).relu_())


class Stream(nn.Module):
    """Residual blocks x + alpha tanh(W x) with a Haar W."""

    def __init__(self, alpha):
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False, dtype=torch.float64) for _ in range(4))
        for part in self.maps:
            nn.init.orthogonal_(part.weight)
        self.alpha = alpha

    def forward(self, x):
        for part in self.maps:
            x = x + self.alpha * torch.tanh(part(x))
        return x


@pytest.mark.parametrize(("alpha", "answer"), [(0.25, Answer.YES), (1.0, Answer.NO)])
def test_a_residual_network_is_judged_by_its_stream(alpha, answer):
    """|x + alpha tanh(Wx)|^2 is |x|^2 (1 + alpha^2 E tanh^2) on average, 1.0246 and 1.394 at length 1."""
    report = gpn.probe(lambda: Stream(alpha), initializations=2)
    assert (report.follows, report.normalized) == (Answer.YES, answer)
    assert report.found("branch") == (1, 2, 3, 4)
    assert not report.found("not normalized")
    text = {finding.kind: finding.text for finding in report.findings}
    assert "In the branches of layers 1-4, taken alone, squared gradients" in text["branch"]
    assert "multiply" not in text["branch"]
    per_block = float(text["stream"].split("squared lengths change by ")[1].split(",")[0])
    rows = report.to_frame()
    sums = rows[rows.kind == "add"]
    assert abs(per_block**4 / sums.length.iloc[-1] - 1) < 0.02  # inputs have length 1; three digits
    assert abs(sums.length.iloc[0] - (1 + alpha**2 * 0.39429)) < 4 * 2 * alpha * 0.63 / WIDTH**0.5 / 2**0.5


class Tied(nn.Module):
    """The decoder is the transposed encoder, and a transposed convolution that theory does not know is beside it."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(32, 48, bias=False)
        self.cut, self.unknown = nn.Linear(32, 32), nn.ConvTranspose1d(1, 1, 3, padding=1)

    def forward(self, x):
        with torch.no_grad():
            x = self.cut(x)
        x = nn.functional.linear(torch.tanh(self.encoder(x)), self.encoder.weight.t())
        return self.unknown(x[:, None])


def test_what_theory_does_not_know_is_named():
    report = gpn.probe(Tied, initializations=3)
    assert report.found("equal weights") == (2, 3)
    assert report.found("no gradient") == (1,)
    text = next(finding.text for finding in report.findings if finding.kind == "no theory")
    assert "conv_transpose1d" in text


def test_norms_are_those_of_autograd():
    """Every value by hand, with retained gradients: to 1e-10."""
    torch.manual_seed(3)
    model, x = Branches(), torch.randn(3, 12, dtype=torch.float64)
    report = gpn.probe(model, x)
    tape = torch_model.run(model, x, np.random.default_rng(5), 3)
    leaf = x.clone().requires_grad_(True)
    h = model.first(leaf)
    y = torch.where(h > 0, h * torch.sigmoid(1.3 * h), 0.1 * h)
    branch = model.second(y)
    total = y + 0.5 * branch
    again = model.first(total)
    kept = torch.relu(again)
    out = model.last(kept)
    values = [leaf, h, y, branch, total, again, kept, out]
    for value in values:
        value.retain_grad()
    e = np.random.default_rng(5).standard_normal((3, 5))
    out.backward(torch.tensor(e / np.linalg.norm(e, axis=1, keepdims=True)))
    for value in values:
        found = [
            v
            for v in tape.values
            if np.allclose(v.squares, (value**2).sum(1).detach(), rtol=1e-10, atol=0)
            and np.allclose(v.gradient, (value.grad**2).sum(1), rtol=1e-10, atol=0)
        ]
        assert found
    weights = {o.parameter: o.weight_gradient for o in tape.operations if o.weights}
    for name, parameter in model.named_parameters():
        if name.endswith("weight"):
            assert weights[name] == pytest.approx(float(parameter.grad.norm()), rel=1e-10)
    assert report.initializations == 1
    assert [row.kind for row in report.rows] == [
        *("linear", "activation", "linear", "scale", "add", "linear", "activation", "linear")
    ]
    assert "x" in report.annotated()


def test_what_the_user_has_is_left_as_it_was():
    """Gradients, running statistics, mode, random numbers."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8 * 25, 3),
    )
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    report = gpn.probe(model, np.random.default_rng(0).standard_normal((6, 3, 5, 5)))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert model[5].weight.grad is None
    assert [row.kind for row in report.rows] == [
        "convolution",
        "normalization",
        "activation",
        "dropout",
        "linear",
    ]
    assert report.follows is Answer.YES
    assert report.fresh == "the one initialization that was given"


class Mean(nn.Module):
    """A loss rather than a network."""

    def forward(self, x):
        return x.mean()


class Fourier(nn.Module):
    def forward(self, x):
        return torch.fft.fft(x).abs()


class Parametrized(nn.Module):
    """Weights that are computed, axes of channels that are not the last, a matrix on the right."""

    def __init__(self):
        super().__init__()
        self.field = nn.Conv1d(6, 40, 5, padding="same", dtype=torch.float64)
        self.map = nn.utils.parametrizations.weight_norm(nn.Linear(40, 40, dtype=torch.float64))
        self.matrix = nn.Parameter(torch.randn(40, 40, dtype=torch.float64) / 40**0.5)

    def forward(self, x):
        x = torch.relu(self.field(x)).mean(2)
        return torch.tanh(self.map(x)) @ self.matrix


def test_weights_in_every_form_have_their_law():
    report = gpn.probe(Parametrized, np.random.default_rng(0).standard_normal((4, 6, 20)), initializations=4)
    maps = {row.name: row for row in report.rows if row.layer and row.kind != "activation"}
    assert list(maps) == ["field", "map", ""]
    assert report.follows is Answer.YES
    assert all(row.backward is not None and row.forward is not None for row in maps.values())
    assert (maps["field"].width_in, maps["field"].width, maps["field"].rows) == (30, 40, 20)
    assert maps[""].weights.endswith(", LeCun")


@pytest.mark.parametrize(
    ("model", "inputs", "words"),
    [
        (3, None, "not int"),
        (lambda: 3, None, "returns int"),
        (lambda a, b: a + b, None, "takes no argument or one"),
        (lambda: nn.Sequential(nn.Conv2d(3, 3, 3)), None, "does not tell the shape"),
        (lambda: nn.Linear(3, 3), np.ones((2, 4)), "fails on inputs of shape"),
        (lambda: 1 / 0, None, "ZeroDivisionError"),
        (lambda: nn.Sequential(nn.Linear(3, 1), Mean()), np.ones((2, 3)), r"but Tensor of shape \(\)"),
        (lambda: nn.Embedding(3, 3), None, "begins with a Embedding"),
        (lambda: nn.LazyLinear(3), None, "begins with a LazyLinear"),
        (lambda: nn.Linear(3, 3), np.full((2, 3), np.nan), "the inputs hold 6 values"),
        (lambda: nn.Sequential(nn.Linear(3, 3), Fourier()), np.ones((2, 3)), "complex numbers"),
        (lambda: nn.Bilinear(3, 3, 3), np.ones((2, 3)), "a model of several inputs"),
        (nn.Identity, np.ones((2, 3)), "does nothing with its inputs"),
    ],
)
def test_wrong_use_is_one_sentence(model, inputs, words):
    with pytest.raises(UsageError, match=words):
        gpn.probe(model, inputs)
