"""The mean squared length of a layer given the one below: exact, bounded in its exponential moment, and not blind."""

import numpy as np
import pytest

import gpn
from gpn.experiment.cells import Deep
from gpn.sampling import passes
from gpn.verification.engine import growth, squares
from gpn.verification.engine.trace import trace
from theory.activations.catalog import build
from theory.activations.specification import activation
from theory.layer.pairs import squared_length_variance
from theory.layer.sphere import mean_squared_length
from theory.normalization.normalize import normalize


def exact(phi, width, q):
    return squares._evaluated(squares._interpolated(phi, width), width, q)


@pytest.mark.parametrize("name", ["tanh", "relu", "selu", "gelu"])
def test_the_interpolated_mean_is_the_exact_one(name):
    q = np.linspace(0.5, 2.0, 5)
    phi = normalize(build(name))
    mean, variance = exact(phi, 16, q)
    assert mean == pytest.approx([mean_squared_length(phi, 16, one).value for one in q], abs=1e-8)
    true = np.array([squared_length_variance(phi, 16, one).value for one in q])
    assert (true <= variance * (1 + 1e-6)).all()
    assert (variance <= 6 * true).all()


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
@pytest.mark.parametrize("size", [0.1, 2.0])
def test_the_moment_bound_holds(name, size):
    """Against the moment of 100,000 layers whose input has q = 1, for either sign, to five standard errors."""
    phi, width = normalize(build(name)), 12
    g = np.random.default_rng(1).standard_normal((100_000, width))
    x, _ = phi.value_and_slope(g * np.sqrt(width) / np.linalg.norm(g, axis=1, keepdims=True))
    mean, variance = exact(phi, width, np.ones(1))
    difference = (x**2).mean(axis=1) - mean
    most = {1: (x**2).mean(axis=1).max() - mean, -1: mean}
    for sign in (1, -1):
        exponent = size / difference.std()
        bound = float(squares._bennett(exponent, variance, most[sign])[0])
        values = np.exp(sign * exponent * difference)
        log, error = np.log(values.mean()), 5 * values.std() / np.sqrt(values.size) / values.mean()
        assert log - error <= bound
        assert bound <= 8 * log + error or size > 1


@pytest.mark.parametrize(("name", "method"), [
    *((name, "matrix-free") for name in ("tanh", "relu", "selu", "sin")),
    ("selu", "dense"),
    *(pytest.param(name, "dense", marks=pytest.mark.slow) for name in ("tanh", "relu", "sin")),
])  # fmt: skip
def test_limits_cover_a_true_engine_and_find_a_small_error(name, method):
    """At alpha = 1e-4 each; 5 % too much in every layer is found."""
    phi = normalize(build(name))
    seen = trace(Deep(phi, 16, 8, "haar", method=method), np.random.default_rng(5), 2000)
    found = squares.excess(seen, phi, squares.proved_slope(phi))
    assert found is not None
    difference, above, below, exponent = found
    low, high = growth.limits(difference, above, below, float(exponent[0, 0]), 1e-4)
    assert low < 0 < high < low + 0.08
    assert growth.limits(difference + 0.05, above, below, float(exponent[0, 0]), 1e-4)[0] > 0


@pytest.mark.parametrize(
    ("spec", "width", "weights"),
    [("x**2", 16, "haar"), ("abs", 16, "haar"), ("x", 16, "haar"), ("tanh", 4, "haar"), ("tanh", 16, "gaussian")],
)
def test_nothing_is_said_where_the_law_is_degenerate_or_not_proved(spec, width, weights):
    """x^2 has no Lipschitz constant, |x| and x are isometries; a Python function proves nothing."""
    phi = activation(spec)
    seen = trace(Deep(phi, width, 2, weights), np.random.default_rng(6), 5)
    assert squares.excess(seen, phi, squares.proved_slope(phi)) is None
    assert squares.proved_slope(activation(np.tanh)) is None


def test_a_kink_that_leaves_the_sphere_is_noticed():
    """hard_sigmoid's kinks at 3 lie on the sphere at q = 9/8 for 8 neurons: no interpolation to 1e-8 there."""
    phi = normalize(build("hard_sigmoid"))
    missed = {width: squares._missed(phi, width, squares._interpolated(phi, width)) for width in (8, 64)}
    assert missed[8] > 1e-8 > missed[64]


def test_an_error_of_few_layers_is_seen_by_this_row_alone(monkeypatch):
    """In one layer of 60 all of h is on one neuron: coins of probability 1/2 change by 1/120."""
    honest = passes.draw_normals

    def sparse(law, radius, h, rng):
        scale = honest(law, radius, h, rng)
        some = rng.random(len(h)) < 1 / 60
        size = np.linalg.norm(h[some], axis=1) * rng.choice([-1, 1], some.sum())
        h[some] = 0
        h[some, 0] = size
        return scale

    monkeypatch.setattr(passes, "draw_normals", sparse)
    report = gpn.verify("tanh", 64, 50, 1.0, 20, claims="engine", workers=1)
    assert {row.claim for row in report.engine if str(row.verdict) == "violated"} == {"engine-square"}
