"""Each equality sees its own error, and none sees a true engine."""

from dataclasses import replace

import numpy as np
import pytest

from gpn.experiment.cells import Deep
from gpn.verification.engine import identities
from gpn.verification.engine.trace import trace
from theory.activations.catalog import build
from theory.activations.specification import activation
from theory.normalization.normalize import normalize

SIZES = {"width": 12, "depth": 6, "weights": "haar"}


def networks(method="matrix-free", name="gelu", **options):
    return Deep(normalize(build(name)), **(SIZES | options), method=method)


def seen(method="matrix-free", **options):
    return trace(networks(method, **options), np.random.default_rng(0), 20)


@pytest.mark.parametrize("method", ["matrix-free", "dense"])
@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "sin"])
@pytest.mark.parametrize("weights", ["haar", "gaussian", "he"])
def test_a_true_engine_misses_nothing_by_more_than_rounding(method, name, weights):
    for missed in identities.deviations(seen(method, name=name, weights=weights)).values():
        assert np.nanmax(missed) < 1e-12


@pytest.mark.parametrize(
    ("field", "name", "factor"),
    [
        ("h", "forward", 1.001),
        ("x", "forward", 1.001),
        ("lengths", "forward", 1.001),
        ("e", "backward", 1.001),
        ("d", "backward", 1.001),
        ("log_gradients", "gradient", 1.001),
        ("h", "forward", 1 + 1e-8),
    ],
)
@pytest.mark.parametrize("method", ["matrix-free", "dense"])
def test_each_equality_sees_its_error(method, field, name, factor):
    true = seen(method)
    wrong = getattr(true, field).copy()
    wrong[3:, 2] *= factor
    missed = identities.deviations(replace(true, **{field: wrong}))[name]
    assert (np.nanmax(missed[3:, :4], axis=1) > identities.ROUNDING).all()
    assert np.nanmax(missed[:3]) < 1e-12
    assert np.nanmax(missed[:, 4:]) < 1e-12  # the layer is found


def test_a_number_that_the_engine_does_not_give_is_missed_and_a_dead_network_is_not():
    true = seen()
    lost = true.log_gradients.copy()
    lost[0, 1] = np.nan
    missed = identities.deviations(replace(true, log_gradients=lost))["gradient"]
    assert np.isposinf(missed[0, 1])
    dead = Deep(build("relu"), 2, 30, "haar")  # half of the layers pass one of two neurons, a quarter none
    for found in identities.deviations(trace(dead, np.random.default_rng(1), 50)).values():
        assert np.isnan(found).all(axis=1).sum() > 40
        assert not (found > identities.ROUNDING).any()


def test_a_loss_has_a_gradient_of_any_length_at_the_top():
    from gpn.experiment.cells import RealInputs

    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((9, 12))
    vectors *= np.sqrt(12) / np.linalg.norm(vectors, axis=1, keepdims=True)
    inputs = RealInputs(vectors, rng.integers(3, size=9), 3)
    for method in ("matrix-free", "dense"):
        for missed in identities.deviations(seen(method, inputs=inputs)).values():
            assert np.nanmax(missed) < 1e-11


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "sin", "selu", "x**3/(1+x**2)", "max(x, 0)*exp(-x)"])
def test_the_formula_is_what_is_evaluated(name):
    phi = normalize(activation(name))
    true = trace(Deep(phi, **SIZES), np.random.default_rng(3), 20)
    missed = identities.formula_deviations(true, phi)
    assert np.nanmax(missed) < 1e-13
    assert np.isfinite(missed).sum() > 10
    wrong = identities.formula_deviations(replace(true, slope=true.slope * (1 + 1e-5)), phi)
    assert np.nanmax(wrong) > identities.FORMULA
