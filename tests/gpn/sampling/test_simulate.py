"""The public entry point: both methods have one law, batches, inputs, readouts, clear errors."""

import numpy as np
import pytest
import sympy
from scipy import stats

import gpn
from gpn.engine.network import Network
from gpn.sampling import simulation
from gpn.sampling.sampler import sample
from tests.oracles.losses import softmax_cross_entropy
from theory.errors import UsageError

TRIALS = 600
FALSE_ALARM = 1e-6  # of each two-sample test, all its comparisons together (Bonferroni)


def same_law_p_value(first, second):
    pairs = [
        (np.round(a, 9), np.round(b, 9))
        for name in ("squared_lengths", "signal_norms", "backward_norms", "gradient_norms")
        for a, b in zip(getattr(first, name).T, getattr(second, name).T, strict=True)
    ]
    pairs.append(tuple(one.gradient_norms[:, 0] * one.squared_lengths[:, -1] for one in (first, second)))
    return min(1.0, len(pairs) * min(stats.ks_2samp(a, b, method="asymp").pvalue for a, b in pairs))


def both_methods(*args, trials, **kwargs):
    dense = gpn.simulate(*args, trials=trials, method="dense", seed=1, **kwargs)
    free = gpn.simulate(*args, trials=trials, seed=2, **kwargs)
    return dense, free


@pytest.mark.parametrize("weights", ["haar", "gaussian", "he", "glorot"])
@pytest.mark.parametrize("readout", ["random", "aligned"])
def test_dense_and_matrix_free_have_the_same_law(weights, readout):
    """Also with five inputs for eight neurons, off the thin shell."""
    inputs = None if readout == "random" else np.arange(1.0, 6.0)
    dense, free = both_methods("elu", 8, 3, trials=TRIALS, weights=weights, readout=readout, inputs=inputs)
    assert same_law_p_value(dense, free) > FALSE_ALARM


def test_dense_and_matrix_free_have_the_same_law_with_a_loss():
    labels = np.arange(TRIALS) % 4
    inputs = np.random.default_rng(3).standard_normal((TRIALS, 4))
    dense, free = both_methods("relu", 6, 3, trials=TRIALS, readout="loss", labels=labels, classes=4, inputs=inputs)
    assert same_law_p_value(dense, free) > FALSE_ALARM


def test_the_same_test_tells_ensembles_apart():
    dense = gpn.simulate("tanh", 8, 3, TRIALS, seed=4, method="dense", weights="he")
    free = gpn.simulate("tanh", 8, 3, TRIALS, seed=5)
    assert same_law_p_value(dense, free) < FALSE_ALARM


def test_matrix_free_is_the_sampler():
    phi = gpn.activation("tanh")
    result = gpn.simulate("tanh", 20, 4, 30, seed=7)
    direct = sample(phi, 20, 4, 30, np.random.Generator(np.random.SFC64(7)))
    np.testing.assert_array_equal(result.gradient_norms, direct.gradient_norms)
    continued = gpn.simulate(phi, 20, 4, 30, seed=np.random.Generator(np.random.SFC64(7)))
    np.testing.assert_array_equal(result.gradient_norms, continued.gradient_norms)


@pytest.mark.parametrize("method", ["matrix-free", "dense"])
def test_any_specification_of_an_activation(method):
    x = sympy.Symbol("x", real=True)
    results = [
        gpn.simulate(spec, 8, 2, 3, seed=0, method=method).gradient_norms
        for spec in ("tanh", "(exp(x) - exp(-x))/(exp(x) + exp(-x))", sympy.tanh(x), np.tanh)
    ]
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-9)


def test_a_batch_is_the_engine():
    """The same draws in the same order, by hand."""
    inputs, labels = np.random.default_rng(8).standard_normal((3, 5)), np.array([0, 1, 1])
    result = gpn.simulate(
        "tanh",
        6,
        2,
        2,
        seed=9,
        method="dense",
        batch=3,
        inputs=inputs,
        readout="loss",
        labels=labels,
        classes=2,
    )
    assert result.squared_lengths.shape == (2, 3, 3)
    assert result.gradient_norms.shape == result.backward_norms.shape == result.signal_norms.shape == (2, 2, 3)
    assert result.batch_gradient_norms.shape == (2, 2)
    rng = np.random.Generator(np.random.SFC64(9))
    for trial in range(2):
        network = Network.random([5, 6, 6], gpn.activation("tanh"), rng)
        forward = network.forward(inputs)
        matrix = rng.standard_normal((2, 6)) / np.sqrt(6)
        gradients = network.backward(forward, softmax_cross_entropy(forward.outputs, labels, matrix)[1])
        np.testing.assert_allclose(result.gradient_norms[trial].T, gradients.norms.gradient_norms, rtol=1e-12)
        totals = [np.linalg.norm(g) for g in gradients.weights]
        np.testing.assert_allclose(result.batch_gradient_norms[trial], totals, rtol=1e-12)
        np.testing.assert_allclose(result.squared_lengths[trial, 0], (inputs**2).sum(axis=1) / 6)


def test_each_input_of_a_batch_has_the_law_of_a_single_one():
    batch = gpn.simulate("tanh", 7, 3, TRIALS, seed=10, method="dense", batch=4)
    single = gpn.simulate("tanh", 7, 3, TRIALS, seed=11)
    for j in (0, 3):
        for name in ("squared_lengths", "backward_norms", "gradient_norms"):
            for a, b in zip(getattr(batch, name)[..., j].T[1:], getattr(single, name).T[1:], strict=True):
                assert stats.ks_2samp(a, b, method="asymp").pvalue > FALSE_ALARM / 16


@pytest.mark.parametrize("weights", ["lecun_uniform", "he_uniform", "glorot_uniform", "qr_unsigned"])
def test_dense_takes_every_ensemble(weights):
    result = gpn.simulate("relu", 9, 2, 4, seed=0, method="dense", weights=weights)
    assert np.isfinite(result.gradient_norms).all()


@pytest.mark.parametrize("method", ["matrix-free", "dense"])
def test_overflow_is_reported_alike(method):
    result = gpn.simulate("x**3", 4, 20, 3, seed=0, method=method, inputs=[1e3, 0, 0, 0])
    assert result.overflowed.all()
    assert np.isnan(result.gradient_norms).all()
    assert np.isnan(result.log_gradient_norms).all()
    assert np.isfinite(result.squared_lengths[:, :2]).all()


@pytest.mark.parametrize("method", ["matrix-free", "dense"])
def test_a_fixed_readout_array(method):
    """Through the identity, |d_L| is the length of the readout."""
    result = gpn.simulate("x", 3, 2, 4, seed=0, method=method, readout=[0.0, 3.0, 4.0])
    np.testing.assert_allclose(result.backward_norms, 5.0, rtol=1e-12)


@pytest.mark.parametrize("method", ["matrix-free", "dense"])
def test_labels_of_a_batch_may_differ_by_trial(method):
    common = {"method": method, "batch": 2, "readout": "loss", "classes": 3, "seed": 5}
    shared = gpn.simulate("tanh", 4, 2, 3, labels=[2, 0], **common)
    spelled = gpn.simulate("tanh", 4, 2, 3, labels=[[2, 0]] * 3, **common)
    np.testing.assert_array_equal(shared.gradient_norms, spelled.gradient_norms)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 1}, "width must be"),
        ({"depth": 0}, "depth must be"),
        ({"trials": 0}, "trials must be"),
        ({"trials": 2.0}, "trials must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": None}, "seed must be"),
        ({"method": "sparse"}, "'matrix-free' or 'dense'"),
        ({"batch": 0}, "batch must be"),
        ({"weights": "he_uniform"}, "method='dense'"),
        ({"weights": "harr", "method": "dense"}, "'haar'"),
        ({"activation": "tanhh"}, "tanh"),
    ],
)
def test_misuse_is_an_error(changes, message):
    arguments = {"activation": "tanh", "width": 4, "depth": 2, "trials": 3, "seed": 0} | changes
    with pytest.raises(UsageError, match=message):
        gpn.simulate(**arguments)


@pytest.mark.parametrize("method", ["matrix-free", "dense"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": np.ones(5)}, "at least 5"),
        ({"inputs": np.ones((2, 4))}, "inputs"),
        ({"inputs": 3.0}, "inputs"),
        ({"inputs": [1.0, np.inf]}, "not finite"),
        ({"readout": "up"}, "'random', 'aligned', 'loss'"),
        ({"readout": np.ones(3)}, "shape"),
        ({"readout": np.zeros(4)}, "zero"),
        ({"readout": "loss"}, "needs labels"),
        ({"readout": "loss", "labels": [0, 1], "classes": 3}, "each sample"),
        ({"readout": "loss", "labels": [0, 1, 3], "classes": 3}, "allowed are 0 to 2"),
        ({"readout": "loss", "labels": [0.0, 1.0, 1.0], "classes": 3}, "whole numbers"),
        ({"labels": [0, 1, 1]}, "readout='loss'"),
    ],
)
def test_misuse_of_ends_is_an_error_in_both_methods(changes, message, method):
    arguments = {"activation": "tanh", "width": 4, "depth": 2, "trials": 3, "seed": 0} | changes
    with pytest.raises(UsageError, match=message):
        gpn.simulate(method=method, **arguments)


@pytest.mark.parametrize("method", ["matrix-free", "dense"])
def test_misuse_of_batches_is_an_error(method):
    common = {
        "activation": "tanh",
        "width": 4,
        "depth": 2,
        "trials": 3,
        "seed": 0,
        "method": method,
        "batch": 2,
    }
    for changes, message in [
        ({"inputs": np.ones(4)}, r"\(batch, m\) or \(trials, batch, m\)"),
        ({"readout": "loss", "classes": 2, "labels": [0, 1, 1]}, r"\(2,\) or \(3, 2\)"),
        ({"readout": np.ones((3, 4))}, "shape"),
    ]:
        with pytest.raises(UsageError, match=message):
            gpn.simulate(**common, **changes)


@pytest.mark.parametrize("method", ["matrix-free", "dense"])
def test_both_methods_give_arrays_of_the_same_shapes(method):
    """Squared lengths are the diagonal of the Gram matrices, also of inputs with fewer entries than neurons."""
    for batch in (1, 3):
        inputs = np.random.default_rng(6).standard_normal((batch, 4))
        given = inputs if batch > 1 else inputs[0]
        result = gpn.simulate("elu", 6, 2, 5, seed=0, method=method, batch=batch, inputs=given, grams=True)
        assert result.grams.shape == result.correlations.shape == (5, 3, batch, batch)
        np.testing.assert_allclose(result.grams[:, 0], np.tile(inputs @ inputs.T / 6, (5, 1, 1)), rtol=1e-12)
        lengths = result.squared_lengths.reshape(5, 3, batch)
        np.testing.assert_allclose(np.diagonal(result.grams, axis1=2, axis2=3), lengths, rtol=1e-12)
        np.testing.assert_allclose(np.diagonal(result.correlations, axis1=2, axis2=3), 1.0, rtol=1e-12)
        assert result.batch_gradient_norms.shape == result.log_batch_gradient_norms.shape == (5, 2)
        tail = () if batch == 1 else (batch,)
        assert result.signal_norms.shape == result.log_gradient_norms.shape == (5, 2, *tail)
        np.testing.assert_allclose(np.exp(result.log_batch_gradient_norms), result.batch_gradient_norms, rtol=1e-13)


def test_correlations_need_the_gram_matrices():
    result = gpn.simulate("tanh", 4, 2, 3, seed=0, batch=2)
    assert result.grams is None
    with pytest.raises(UsageError, match="grams=True"):
        _ = result.correlations


def test_an_activation_object_needs_no_symbolic_library(monkeypatch):
    class Tanh:
        def value_and_slope(self, x):
            t = np.tanh(x)
            return t, 1.0 - t * t

    monkeypatch.setitem(__import__("sys").modules, "theory.activations.specification", None)
    assert simulation.simulate(Tanh(), 4, 2, 3, seed=0).gradient_norms.shape == (3, 2)
