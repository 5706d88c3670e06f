"""Optimizers: each step against a literal transcription, and against PyTorch where it is installed."""

import math

import numpy as np
import pytest

import gpn
from gpn.training.optimizers import OPTIMIZERS, SGD, AdaGrad, Adam, Momentum, RMSProp, memories, optimizer, rate_of_step
from theory.errors import UsageError
from theory.trainability.step_size import StepSize

RATE, STEPS = 0.03, 7


def gradients(seed=0):
    """Gradients of a shape, some of them tiny or zero."""
    rng = np.random.default_rng(seed)
    for _ in range(STEPS):
        g = rng.standard_normal((3, 4))
        g[0, 0], g[1, 1] = 0.0, 1e-9 * g[1, 1]
        yield g


def literal(name, entry, steps):
    """One number and its gradients, as the papers and PyTorch's documentation write it."""
    v = s = m = 0.0
    for t, g in enumerate(steps, start=1):
        if name == "sgd":
            entry = entry - RATE * g
        elif name == "momentum":
            v = 0.9 * v + g
            entry = entry - RATE * v
        elif name == "adagrad":
            s = s + g**2
            entry = entry - RATE * g / (math.sqrt(s) + 1e-10)
        elif name == "rmsprop":
            s = 0.99 * s + 0.01 * g**2
            entry = entry - RATE * g / (math.sqrt(s) + 1e-8)
        else:
            m = 0.9 * m + 0.1 * g
            s = 0.999 * s + 0.001 * g**2
            entry = entry - RATE * (m / (1 - 0.9**t)) / (math.sqrt(s / (1 - 0.999**t)) + 1e-8)
    return entry


def run(name):
    rule = optimizer(name)
    theta = np.random.default_rng(1).standard_normal((3, 4))
    (memory,) = memories(rule, [theta])
    for time, g in enumerate(gradients(), start=1):
        rule.step(theta, g, memory, RATE, time)
    return theta


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_against_a_literal_transcription(name):
    start, found = np.random.default_rng(1).standard_normal((3, 4)), run(name)
    steps = list(gradients())
    for index in np.ndindex(start.shape):
        wanted = literal(name, float(start[index]), [float(g[index]) for g in steps])
        assert found[index] == pytest.approx(wanted, rel=1e-13, abs=1e-15)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch")
    theta = torch.tensor(np.random.default_rng(1).standard_normal((3, 4)), requires_grad=True)
    theirs = {
        "sgd": lambda p: torch.optim.SGD(p, lr=RATE),
        "momentum": lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.9),
        "adagrad": lambda p: torch.optim.Adagrad(p, lr=RATE),
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=RATE),
        "adam": lambda p: torch.optim.Adam(p, lr=RATE),
    }[name]([theta])
    for g in gradients():
        theta.grad = torch.tensor(g)
        theirs.step()
    np.testing.assert_allclose(run(name), theta.detach().numpy(), rtol=1e-14, atol=1e-15)


def test_misuse_is_an_error():
    for wrong, message in [
        (lambda: optimizer("adm"), "'adam'"),
        (lambda: optimizer(3), "not an optimizer"),
        (lambda: Momentum(1.0), "below 1"),
        (lambda: RMSProp(decay=-0.1), "at least 0"),
        (lambda: AdaGrad(epsilon=0.0), "above 0"),
        (lambda: Adam(second=float("nan")), "below 1"),
    ]:
        with pytest.raises(UsageError, match=message):
            wrong()


def test_the_rate_falls_with_the_kernel_where_the_gradient_is_followed():
    def ratio(rule, size, spread, classes=10, kappa=0.4, scale=1.0):
        rate = rate_of_step(rule, 64, 199, classes, StepSize(size, spread), kappa, scale)
        return rate / rate_of_step(rule, 64, 199, 10, StepSize(1.0, 1.0))

    for rule in (SGD(), Momentum()):
        assert ratio(rule, 2.0, 5.0) == pytest.approx(1 / 10)
        assert ratio(rule, 1.0, 1.0, scale=0.5) == pytest.approx(4)
        assert ratio(rule, 1.0, 1.0, classes=20) == pytest.approx(2)
        assert ratio(rule, 1.0, 1.0, kappa=0.8) == pytest.approx(1 / 2)
        assert ratio(rule, 1.0, 1.0, kappa=0.0) == pytest.approx(0.4 / 0.25)
        assert ratio(rule, 1e-9, 1.0) == pytest.approx(4)
        assert ratio(rule, 1e9, 1.0) == pytest.approx(1 / 4)
    assert ratio(Adam(), 2.0, 5.0) == pytest.approx(1 / 5)


def test_the_rate_of_a_narrow_network_does_not_diverge():
    """Where X < (K/0.85)^2 the step is bounded by 0.85/sqrt(X): X = 0.5 n (L + 1) is 32 and 512 here, K = 10."""
    assert rate_of_step(SGD(), 16, 3, 10, StepSize(1.0, 1.0), 0.5) == pytest.approx(2.58 * 0.85 / 32**0.5)
    assert rate_of_step(Momentum(), 16, 3, 10, StepSize(1.0, 1.0), 0.5) == pytest.approx(0.258 * 0.85 / 32**0.5)
    assert rate_of_step(SGD(), 64, 15, 10, StepSize(1.0, 1.0), 0.5) == pytest.approx(2.58 * 10 / 512)
    pytest.importorskip("sklearn")  # for its digits
    assert gpn.train("selu", depth=3, width=16, epochs=3).test_accuracy > 0.8  # diverges at 0.458 = 2.58 K/X
