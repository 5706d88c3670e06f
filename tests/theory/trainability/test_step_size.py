"""The size of the tangent kernel against drawn networks, and its closed forms."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from theory.activations.specification import activation
from theory.errors import UsageError
from theory.normalization.normalize import normalize
from theory.trainability.step_size import step_size

N, DEPTH, CLASSES, NETWORKS = 24, 12, 4, 60


def drawn(phi, gaussian, gain, rng):
    """q g and the spread of one network by explicit matrices, sums over its layers; no code of the project but phi."""
    weights = [
        rng.standard_normal((N, N)) / np.sqrt(N) if gaussian else ortho_group.rvs(N, random_state=rng)
        for _ in range(DEPTH)
    ]
    weights = [np.sqrt(gain) * w for w in weights]
    x = rng.standard_normal(N)
    x *= np.sqrt(N) / np.linalg.norm(x)
    signals, slopes = [x], []
    for w in weights:
        value, slope = phi.value_and_slope(w @ signals[-1])
        signals.append(value)
        slopes.append(slope)
    jacobian, sizes, squares = ortho_group.rvs(N, random_state=rng)[:CLASSES], [signals[-1] @ signals[-1] / N], []
    for layer in range(DEPTH - 1, -1, -1):
        jacobian = jacobian * slopes[layer]
        kernel = jacobian @ jacobian.T
        q = signals[layer] @ signals[layer] / N
        sizes.append(q * np.trace(kernel) / CLASSES)
        squares.append((np.trace(kernel @ kernel) / CLASSES, (np.trace(kernel) / CLASSES) ** 2))
        jacobian = jacobian @ weights[layer]
    return sum(sizes), np.array(squares)


@pytest.mark.parametrize(
    ("spec", "gaussian", "gain"), [("tanh", False, 1.0), ("selu", True, 1.0), ("plain relu", True, 2.0)]
)
def test_drawn_networks_have_the_size_and_the_spread(spec, gaussian, gain):
    """Means over 60 networks to 4 standard errors and 2/n, since slopes know something of their weights."""
    name = spec.removeprefix("plain ")
    phi = activation(name) if name != spec else normalize(activation(name))
    rng = np.random.default_rng(1)
    sizes, squares = map(np.array, zip(*(drawn(phi, gaussian, gain, rng) for _ in range(NETWORKS)), strict=True))
    found = step_size(phi, N, DEPTH, CLASSES, gain=gain, gaussian=gaussian)
    sizes = sizes / (DEPTH + 1)
    assert found.size == pytest.approx(sizes.mean(), abs=4 * sizes.std() / np.sqrt(NETWORKS) + 2 / N)
    pairs = squares.mean(axis=0)
    spreads = 1 + (pairs[:, 0] / pairs[:, 1]).sum()
    assert found.spread == pytest.approx(spreads / (DEPTH + 1), rel=0.1)


def test_closed_forms():
    """A GPN activation keeps the size at 1; in plain tanh q_l is about 1/(2l) and g_l about l/L: their sum is 1/2."""
    for spec in ("tanh", "relu"):
        assert step_size(normalize(activation(spec)), 64, 50, 10).size == pytest.approx(1, rel=1e-3)
    assert step_size(activation("relu"), 64, 3, 10).size == pytest.approx(1 / 8, rel=1e-3)
    assert step_size(activation("tanh"), 64, 1000, 10).size == pytest.approx(0.5 / 1000, rel=0.1)
    # a rank of one: all gradients of a layer in one direction, K times the mean
    assert step_size(normalize(activation("relu")), 8, 2000, 5).spread == pytest.approx(5, rel=0.02)
    assert step_size(activation("exp(x)"), 8, 50, 3).size > 0  # beyond the numbers: no error
    with pytest.raises(UsageError, match="width"):
        step_size(activation("tanh"), 1, 5, 3)
