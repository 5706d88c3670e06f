"""Batch normalization without matrices: the same law as the dense engine, and the growth that theory predicts."""

import numpy as np
import pytest
from scipy import stats

import gpn
from gpn.sampling.batch_sampler import sample_batch
from theory.activations import catalog
from theory.errors import UsageError

FALSE_ALARM = 1e-6  # of each two-sample test, all its comparisons together (Bonferroni)
ELU = catalog.build("elu")
DEPTH, TRIALS = 4, 1500


def simulated(method, weights, width, batch, seed, phi=ELU, trials=TRIALS):
    x0 = 2.0 * np.random.default_rng(1).standard_normal((batch, width))
    return gpn.simulate(
        phi,
        width,
        DEPTH,
        trials,
        seed=seed,
        weights=weights,
        method=method,
        batch=batch,
        inputs=x0,
        grams=True,
        batch_normalization=True,
    )


def statistics_of(sample):
    """Marginals of the norms of signals, gradients and their batch, and some that join layers and inputs."""
    q, d, total, grams = sample.squared_lengths, sample.backward_norms, sample.batch_gradient_norms, sample.grams
    return [
        *(q[:, layer, i] for layer in range(1, DEPTH + 1) for i in (0, 1)),
        *(d[:, layer, i] for layer in range(DEPTH) for i in (0, 1)),
        *total.T,
        *(grams[:, layer, 0, 1] for layer in range(1, DEPTH + 1)),
        total[:, 0] / total[:, -1],
        d[:, 0, 0] * d[:, 0, 1] - d[:, 1, 0] * d[:, 1, 1],
        d[:, 0, 0] - grams[:, -1, 0, 1],
    ]


@pytest.mark.parametrize("weights", ["haar", "gaussian"])
@pytest.mark.parametrize(("width", "batch"), [(6, 4), (3, 5)])
def test_same_law_as_the_dense_engine(weights, width, batch):
    first = statistics_of(simulated("dense", weights, width, batch, seed=2))
    second = statistics_of(simulated("matrix-free", weights, width, batch, seed=3))
    p_values = [stats.ks_2samp(a, b, method="asymp").pvalue for a, b in zip(first, second, strict=True)]
    assert len(p_values) * min(p_values) > FALSE_ALARM


def test_the_same_test_tells_networks_with_and_without_it_apart():
    options = {"seed": 4, "batch": 4, "inputs": 2.0 * np.random.default_rng(1).standard_normal((4, 6)), "grams": True}
    first = statistics_of(gpn.simulate(ELU, 6, DEPTH, TRIALS, **options))
    second = statistics_of(gpn.simulate(ELU, 6, DEPTH, TRIALS, **options, batch_normalization=True))
    assert min(stats.ks_2samp(a, b, method="asymp").pvalue for a, b in zip(first, second, strict=True)) < FALSE_ALARM


@pytest.mark.parametrize("weights", ["haar", "gaussian"])
def test_the_scale_and_the_shift_of_an_activation_drop_out(weights):
    """a phi + b in every layer: the next layer takes both away, so that all gradients are a times as large.

    In each network by itself, up to epsilon, 1e-5 beside a variance of order 1.
    """
    plain = simulated("dense", weights, 32, 8, seed=5, phi=ELU, trials=50)
    moved = simulated("dense", weights, 32, 8, seed=5, phi=ELU.affine(3.0, -2.0), trials=50)
    np.testing.assert_allclose(moved.batch_gradient_norms, 3.0 * plain.batch_gradient_norms, rtol=2e-3)


def test_a_batch_of_one_is_refused():
    with pytest.raises(UsageError, match="at least 2"):
        gpn.simulate("relu", 8, 2, 3, seed=0, batch_normalization=True)


def test_a_lost_input_takes_its_batch_with_it():
    """A unit beyond 2.2 overflows: some batches of five lose an input, and then all, as in the dense engine."""

    class Fragile:
        def value_and_slope(self, x):
            return np.where(x > 2.2, np.inf, np.tanh(x)), 1.0 / np.cosh(x) ** 2

    sample = sample_batch(Fragile(), 6, 3, 300, 8, np.random.default_rng(0), batch_normalization=True)
    lost = np.isinf(sample.squared_lengths[:, 1]).any(axis=1)
    assert 10 < lost.sum() < 290
    assert np.isnan(sample.squared_lengths[lost, 2:]).all()
    ruined = ~np.isfinite(sample.squared_lengths).all(axis=(1, 2))
    assert np.isnan(sample.log_gradient_norms[ruined]).all()
    assert np.isnan(sample.log_batch_gradient_norms[ruined]).all()
    assert np.isfinite(sample.log_gradient_norms[~ruined]).all()
