"""The monitor of training: its values are autograd's, it is silent between samples, and it says who left the band."""

import math
import sys
from types import ModuleType, SimpleNamespace

import pytest

from theory.errors import UsageError

torch = pytest.importorskip("torch")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 8), torch.nn.Linear(8, 1)
    ).double()


def train(model, monitor, steps, scale=1.0):
    inputs = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        model.zero_grad()
        (scale * model(inputs).square().mean()).backward()
        monitor.step(scale)
    return inputs


def test_the_values_are_those_of_autograd_whatever_the_scale_of_the_loss(model):
    from gpn.torch import Monitor

    for scale in (1.0, 1024.0):
        monitor = Monitor(model, layers="2")
        inputs = train(model, monitor, 1, scale)
        found = monitor.frame.set_index("quantity")["value"]
        x = model[1](model[0](inputs)).detach()
        h = torch.nn.functional.linear(x, model[2].weight.detach(), model[2].bias.detach()).requires_grad_()
        model[3](h).square().mean().backward()
        exact = {
            "x": float((x**2).mean()),
            "h": float((h.detach() ** 2).mean()),
            "dh": float(h.grad.norm()),
            "dW": float((h.grad.T @ x).norm()),
        }
        assert dict(found) == pytest.approx(exact, rel=1e-10)
        monitor.close()


def test_it_samples_when_asked_leaves_no_hook_and_writes(model):
    from gpn.torch import Monitor

    written, scalars, logged = [], [], []
    monitor = Monitor(model, every=4, initial=2, writer=lambda step, values: written.append((step, len(values))))
    assert len(model[0]._forward_hooks) == 1
    train(model, monitor, 3)
    assert not model[0]._forward_hooks
    train(model, monitor, 2)
    with torch.no_grad():
        model(torch.ones(1, 6, dtype=torch.float64))  # a validation in the sampled step is not recorded
    train(model, monitor, 4)
    assert written == [(0, 12), (1, 12), (4, 12), (8, 12)]
    assert sorted(set(monitor.frame["layer"])) == ["0", "2", "3"]
    assert len(set(monitor.frame["value"])) == 11  # the model does not change; the h of layer 2 is the x of layer 3
    assert monitor.summary() == "All 3 layers stay within a factor 10 of their initial norms."
    board = SimpleNamespace(add_scalar=lambda *scalar: scalars.append(scalar))
    train(model, Monitor(model, layers="3", writer=board), 1)
    train(
        model,
        Monitor(model, layers="3", writer=SimpleNamespace(log=lambda values, step: logged.append((step, values)))),
        1,
    )
    assert [name for name, _, _ in scalars] == ["3/x", "3/h", "3/dh", "3/dW"]
    assert logged == [(0, {name: value for name, value, _ in scalars})]
    for wrong in ({"layers": "encoder.*"}, {"writer": 3}, {"within": 1.0}, {"every": 0}):
        with pytest.raises(UsageError):
            Monitor(model, **wrong)
    with pytest.raises(UsageError, match="not int"):
        Monitor(3)
    assert Monitor(model).summary().startswith("Nothing is recorded yet")


def test_a_layer_that_leaves_the_band_is_named_with_its_first_step(model):
    from gpn.torch import Monitor

    monitor = Monitor(model, every=1, initial=2)
    train(model, monitor, 2)
    with torch.no_grad():
        model[3].weight *= 100  # the gradients of all layers below grow by its square
    train(model, monitor, 2)
    with torch.no_grad():
        model[0].weight[0, 0] = math.nan
    train(model, monitor, 1)
    lines = monitor.summary().splitlines()
    assert lines[0] == "3 of 3 layers have left the band:"
    assert lines[1].startswith("0: d")
    assert lines[1].endswith("at step 2")
    assert monitor.frame["outside"].iloc[-8:].all()  # of layers 2 and 3: what is not finite is outside


def test_the_lightning_callback_counts_steps(model, monkeypatch):
    from gpn.torch import Monitor

    monitor = Monitor(model)
    for package in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match="pip install lightning"):
        monitor.lightning()
    stub = ModuleType("pytorch_lightning")
    stub.Callback = type("Callback", (), {"on_train_end": lambda *_: None})
    monkeypatch.setitem(sys.modules, "pytorch_lightning", stub)
    callback = monitor.lightning()
    callback.on_after_backward(None, model)
    assert isinstance(callback, stub.Callback)
    assert monitor.steps == 1
