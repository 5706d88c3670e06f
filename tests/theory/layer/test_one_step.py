"""All tails of one layer: bounds above the probability for the whole catalog, widths from 2 to a million."""

import itertools
import math

import numpy as np
import pytest

from tests.oracles.one_layer import cramer_backward_random, exact_backward_fixed, levy_forward
from theory.activations import catalog
from theory.activations.specification import activation
from theory.claims.counted import ONE_LAYER
from theory.layer.law import layer_law
from theory.layer.tails import one_step
from theory.normalization.normalize import normalize

JUMPING = ("sign", "step", "hardshrink", "threshold")  # no normalization: taken as they are
SIDES = ("upper", "lower")


def check(tail):
    """Everything that must hold of a record; whether there was a probability to compare with."""
    where = f"{tail.claim} n={tail.width} q={tail.q} eps={tail.epsilon} {tail.side}: {tail}"
    for bound in (tail.levy, tail.cramer):
        assert bound.log <= 0, where
        assert bound.kind != "none" or (bound.log == 0 and bound.reason), where
    if not tail.exact.available:
        assert tail.exact.reason, where
        return False
    assert tail.exact.log <= 0, where
    assert tail.exact.error < 0.31, where
    lowest = tail.exact.log - tail.exact.error - 1e-12
    assert tail.cramer.log >= lowest, where
    assert tail.levy.log >= lowest, where
    return True


@pytest.mark.parametrize(
    ("name", "width", "q"),
    [(name, *((200, 0.8), (10**6, 1.0))[order % 2]) for order, name in enumerate(catalog.names())],
)
def test_bounds_exceed_the_probability_for_the_catalog(name, width, q):
    phi = activation(name) if name in JUMPING else normalize(activation(name))
    law = layer_law(phi, width, q)
    asked = itertools.product(ONE_LAYER, (0.05, 0.7), SIDES)
    assert sum(check(one_step(claim, law, epsilon, side)) for claim, epsilon, side in asked) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("name", catalog.names())
@pytest.mark.parametrize("width", [2, 3, 4, 8, 12, 20, 64, 500, 10**4, 10**5, 10**6])
def test_bounds_exceed_the_probability_on_the_whole_grid(name, width):
    roots = ("plus", "minus") if name not in JUMPING else ("raw",)
    for root, q in itertools.product(roots, (0.6, 1.0, 1.7)):
        try:
            phi = activation(name) if root == "raw" else normalize(activation(name), root)
        except ValueError:
            continue  # affine functions have one root only
        law = layer_law(phi, width, q)
        for claim, epsilon, side in itertools.product(ONE_LAYER, (1e-3, 0.05, 0.2, 0.6, 1.0, 1.6), SIDES):
            check(one_step(claim, law, epsilon, side))


def test_a_record_agrees_with_the_functions_one_by_one():
    phi = normalize(activation("elu"))
    law = layer_law(phi, 100, 0.9)
    keys = list(itertools.product(ONE_LAYER, (0.1, 0.4), SIDES))
    by_key = {(claim, epsilon, side): one_step(claim, law, epsilon, side) for claim, epsilon, side in keys}
    assert [(tail.claim, tail.epsilon, tail.side) for tail in by_key.values()] == keys
    assert by_key["forward-one-step", 0.1, "upper"].levy == levy_forward(law.constants, 0.1, "upper")
    random = by_key["backward-one-step-random", 0.4, "lower"].cramer
    assert random.log == pytest.approx(cramer_backward_random(phi, 100, 0.4, "lower", 0.9).log, abs=1e-9)
    fixed = by_key["backward-one-step-fixed", 0.4, "upper"].exact
    assert fixed.log == pytest.approx(exact_backward_fixed(phi, 100, 0.4, "upper", 0.9).log, abs=1e-9)


@pytest.mark.parametrize("claim", ONE_LAYER)
def test_the_estimate_and_the_bounds_are_ordered_at_moderate_width(claim):
    tail = one_step(claim, layer_law(normalize(activation("tanh")), 512), 0.2, "upper")
    assert tail.exact.log < tail.cramer.log < tail.levy.log < 0
    assert tail.saddlepoint.log == pytest.approx(tail.exact.log, abs=0.05)


def test_no_number_is_ever_nan_without_a_reason():
    for name, width in (("relu", 5), ("gelu", 20), ("hardshrink", 40), ("relu_squared", 1000)):
        law = layer_law(activation(name), width)
        for claim, epsilon, side in itertools.product(ONE_LAYER, (0.5, 1.0), SIDES):
            tail = one_step(claim, law, epsilon, side)
            for log, reason in ((tail.exact.log, tail.exact.reason), (tail.saddlepoint.log, tail.saddlepoint.reason)):
                assert not math.isnan(log) or reason
            assert np.isfinite(tail.cramer.log) or tail.cramer.log == -np.inf
