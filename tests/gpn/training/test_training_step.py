"""One step of training: every gradient, against finite differences, the engine and PyTorch; every constraint."""

from itertools import pairwise

import numpy as np
import pytest

from gpn.engine.batch_normalization import layers
from gpn.engine.network import Network
from gpn.engine.weights import haar
from gpn.training.optimizers import OPTIMIZERS, optimizer
from gpn.training.orthogonality import deviation, tangent
from gpn.training.start import Identity
from gpn.training.step import Stepper, parameters
from tests.oracles.losses import linear_readout, softmax_cross_entropy, squared_error
from theory.activations import catalog

WIDTHS = (5, 8, 8, 8, 3)


def network_of(seed=0, *, affine=False, biases=True, activation="tanh"):
    rng = np.random.default_rng(seed)
    weights = [haar(rng, n, m) for m, n in pairwise(WIDTHS)]
    shifts = [0.1 * rng.standard_normal(n) for n in WIDTHS[1:]] if biases else None
    phi = catalog.build(activation)
    normalizations = [*layers(WIDTHS[1:-1], affine=True), None] if affine else None
    return Network(weights, [phi] * 3 + [Identity()], shifts, normalizations)


def batch_of(seed=1, size=9):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((size, WIDTHS[0])), rng.integers(0, WIDTHS[-1], size)


def mean_loss(network, x, labels):
    return float(softmax_cross_entropy(network.forward(x).outputs, labels)[0].mean())


@pytest.mark.parametrize("affine", [False, True])
def test_a_step_of_sgd_follows_the_finite_differences(affine):
    """theta - eta dE/dtheta for every entry of every array, with a rate of 1."""
    network, (x, labels) = network_of(affine=affine), batch_of()
    twin = network_of(affine=affine)
    Stepper(network, optimizer("sgd")).step(x, labels, rate=1.0)
    for name, array in parameters(twin).items():
        for index in np.ndindex(array.shape):
            kept, values = array[index], []
            for offset in (3e-4, -3e-4, 6e-4, -6e-4):
                array[index] = kept + offset
                values.append(mean_loss(twin, x, labels))
            array[index] = kept
            slope = (8 * (values[0] - values[1]) - (values[2] - values[3])) / 36e-4
            assert kept - parameters(network)[name][index] == pytest.approx(slope, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("affine", [False, True])
def test_steps_taken_on_the_way_down_are_those_of_all_gradients_first(name, affine):
    # Under batch normalization the gradient of a bias is zero, and adaptive steps would follow its rounding.
    network, twin = (network_of(affine=affine, biases=not affine) for _ in range(2))
    stepper = Stepper(network, optimizer(name))
    rule, kept = optimizer(name), parameters(twin)
    memory = {key: tuple(np.zeros_like(array) for _ in rule.slots) for key, array in kept.items()}
    for time in range(1, 4):
        x, labels = batch_of(time)
        norms = np.empty(4)
        found = stepper.step(x, labels, 0.01, norms)
        forward = twin.forward(x)
        losses, e = softmax_cross_entropy(forward.outputs, labels)
        gradients = twin.backward(forward, e / len(x))
        np.testing.assert_allclose(norms, [np.linalg.norm(g) for g in gradients.weights], rtol=1e-12)
        assert found.loss == pytest.approx(losses.mean(), rel=1e-13)
        assert found.correct == (forward.outputs.argmax(axis=1) == labels).sum()
        named = {f"W{k}": g for k, g in enumerate(gradients.weights, start=1)}
        named |= {f"b{k}": g for k, g in enumerate(gradients.biases, start=1)}
        for k, pair in enumerate(gradients.normalizations, start=1):
            named |= {} if pair is None else {f"gain{k}": pair[0], f"shift{k}": pair[1]}
        for key, array in kept.items():
            rule.step(array, named[key].copy(), memory[key], 0.01, time)
    for key, array in kept.items():
        np.testing.assert_allclose(parameters(network)[key], array, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("activation", ["tanh", "relu", "leaky_relu", "elu", "selu", "gelu"])
@pytest.mark.parametrize("affine", [False, True])
def test_gradients_are_those_of_pytorch(activation, affine):
    """Every weight, bias, gain and shift, to 1e-10 of the largest entry of its array's gradient."""
    torch = pytest.importorskip("torch")
    functions = {
        "tanh": torch.tanh,
        "relu": torch.relu,
        "leaky_relu": lambda h: torch.nn.functional.leaky_relu(h, 0.01),
        "elu": torch.nn.functional.elu,
        "selu": torch.selu,
        "gelu": torch.nn.functional.gelu,
    }
    network, (x, labels) = network_of(affine=affine, activation=activation), batch_of()
    forward = network.forward(x)
    losses, e = softmax_cross_entropy(forward.outputs, labels)
    gradients = network.backward(forward, e / len(x))
    named = {key: torch.tensor(array, requires_grad=True) for key, array in parameters(network).items()}
    signal = torch.tensor(x)
    for layer in range(1, 5):
        signal = signal @ named[f"W{layer}"].T + named[f"b{layer}"]
        if affine and layer < 4:
            gain, shift = named[f"gain{layer}"], named[f"shift{layer}"]
            signal = torch.nn.functional.batch_norm(signal, None, None, gain, shift, training=True, eps=1e-5)
        signal = functions[activation](signal) if layer < 4 else signal
    loss = torch.nn.functional.cross_entropy(signal, torch.tensor(labels))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(losses.mean()), rel=1e-13)
    found = {f"W{k}": g for k, g in enumerate(gradients.weights, start=1)}
    if not affine:  # under batch normalization the gradient of a bias is zero, and rounding in both
        found |= {f"b{k}": g for k, g in enumerate(gradients.biases, start=1)}
    for k, pair in enumerate(gradients.normalizations, start=1):
        found |= {} if pair is None else {f"gain{k}": pair[0], f"shift{k}": pair[1]}
    for key, gradient in found.items():
        theirs = named[key].grad.numpy()
        np.testing.assert_allclose(gradient, theirs, rtol=1e-10, atol=1e-10 * np.abs(theirs).max())


@pytest.mark.parametrize("kind", ["linear", "squared", "softmax"])
def test_losses_and_their_gradients_are_those_of_pytorch(kind):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    x, r, t = rng.standard_normal((6, 5)), rng.standard_normal((4, 5)), rng.standard_normal((6, 4))
    labels = rng.integers(0, 4, 6)
    outputs = torch.tensor(x, requires_grad=True)
    predictions = outputs @ torch.tensor(r).T
    theirs = {
        "linear": lambda: (predictions * torch.tensor(t)).sum(dim=1),
        "squared": lambda: 0.5 * ((predictions - torch.tensor(t)) ** 2).sum(dim=1),
        "softmax": lambda: torch.nn.functional.cross_entropy(predictions, torch.tensor(labels), reduction="none"),
    }[kind]()
    theirs.sum().backward()
    losses, gradients = {
        "linear": lambda: linear_readout(x, t @ r),
        "squared": lambda: squared_error(x, t, r),
        "softmax": lambda: softmax_cross_entropy(x, labels, r),
    }[kind]()
    np.testing.assert_allclose(losses, theirs.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(gradients, outputs.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_running_statistics_and_the_test_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    network = network_of(affine=True)
    stepper = Stepper(network, optimizer("sgd"))
    theirs = torch.nn.BatchNorm1d(8, dtype=torch.float64)
    first = torch.tensor(network.weights[0].copy()), torch.tensor(network.biases[0].copy())
    for seed in range(3):
        x, labels = batch_of(seed)
        theirs(torch.tensor(x) @ first[0].T + first[1])
        stepper.step(x, labels, rate=1e-300)
    x, _ = batch_of(9)
    theirs.eval()
    wanted = theirs(torch.tensor(x) @ first[0].T + first[1]).detach().numpy()
    np.testing.assert_allclose(network.folded().forward(x).preactivations[0], wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("constraint", ["polar", "qr"])
def test_constrained_weights_stay_orthogonal_whatever_the_optimizer(name, constraint):
    network = network_of()
    stepper = Stepper(network, optimizer(name), constraint)
    readout = network.weights[-1].copy()
    for seed in range(50):
        stepper.step(*batch_of(seed), rate=0.02)
    assert max(deviation(w) for w in network.weights[:-1]) < 1e-13
    assert deviation(network.weights[-1]) > 1e-3  # the readout is free
    assert not np.array_equal(readout, network.weights[-1])


def test_a_constrained_step_is_the_riemannian_one():
    """W <- R(W - eta grad), to first order in eta."""
    network, twin, (x, labels) = network_of(), network_of(), batch_of()
    forward = twin.forward(x)
    gradients = twin.backward(forward, softmax_cross_entropy(forward.outputs, labels)[1] / len(x))
    rate = 1e-6
    Stepper(network, optimizer("sgd"), "polar").step(x, labels, rate)
    for moved, start, gradient in zip(network.weights[:3], twin.weights[:3], gradients.weights[:3], strict=True):
        np.testing.assert_allclose((start - moved) / rate, tangent(start, gradient), atol=1e-6)


def test_the_penalty_pulls_towards_orthogonality():
    free, pulled = network_of(), network_of()
    for network, constraint in ((free, "none"), (pulled, "penalty")):
        stepper = Stepper(network, optimizer("sgd"), constraint, strength=1.0)
        for seed in range(100):
            stepper.step(*batch_of(seed), rate=0.05)
    for one, other in zip(free.weights[:3], pulled.weights[:3], strict=True):
        assert deviation(other) < 0.5 * deviation(one)


def test_a_loss_that_is_not_finite_changes_nothing():
    network = network_of()
    network.weights[1][0, 0] = np.inf  # tanh makes it 1 again
    kept = {name: array.copy() for name, array in parameters(network).items()}
    found = Stepper(network, optimizer("adam")).step(*batch_of(), rate=0.1)
    assert found.bad_layer == 2
    for name, array in parameters(network).items():
        np.testing.assert_array_equal(array, kept[name])
