"""The saddlepoint estimate against the exact probability, and where there is none."""

import math

import numpy as np
import pytest

from tests.oracles.one_layer import normal_factor
from theory.activations.specification import activation
from theory.layer.cramer import cramer
from theory.layer.exact import exact_tail
from theory.layer.law import event, layer_law
from theory.layer.saddle import find_saddle, saddlepoint
from theory.normalization.normalize import normalize

CLAIMS = ("forward-one-step", "backward-one-step-random", "backward-one-step-fixed")


@pytest.mark.parametrize("name", ["tanh", "gelu", "elu", "sin"])
@pytest.mark.parametrize("width", [64, 1024, 10**5])
def test_the_estimate_is_close_at_any_distance(name, width):
    law = layer_law(normalize(activation(name)), width)
    compared = 0
    for claim in CLAIMS:
        for epsilon in (0.1, 0.25):
            for side in ("upper", "lower"):
                happening = event(claim, law, epsilon, side)
                exact = exact_tail(happening)
                if exact.available and exact.log > -np.inf:
                    compared += 1
                    assert abs(saddlepoint(happening).log - exact.log) < 1.5 / math.sqrt(width) + 1e-6
    assert compared >= 8


def test_far_out_it_is_the_bound_over_the_normal_factor():
    for claim in CLAIMS:
        happening = event(claim, layer_law(normalize(activation("tanh")), 4096), 0.4, "upper")
        saddle = find_saddle(happening)
        expected = cramer(happening, saddle).log - math.log(normal_factor(happening, saddle))
        assert saddlepoint(happening, saddle).log == pytest.approx(expected, abs=0.02)


def test_the_curvature_is_that_of_the_generating_function():
    # sigma^2 is the second derivative along the curve of best mu; here by differences of its first derivative.
    from theory.layer.saddle import at_tilt

    for claim in CLAIMS:
        happening = event(claim, layer_law(normalize(activation("silu")), 200), 0.2, "upper")
        saddle = find_saddle(happening)
        step = 1e-4 * saddle.tilt
        rise = at_tilt(happening, saddle.tilt + step).slope - at_tilt(happening, saddle.tilt - step).slope
        assert saddle.sigma**2 == pytest.approx(rise / (2 * step), rel=1e-5)
        assert abs(saddle.slope) < 1e-7 * saddle.sigma


def test_it_says_where_it_does_not_apply():
    relu, tanh = (normalize(activation(name)) for name in ("relu", "tanh"))
    lattice = saddlepoint(event("backward-one-step-fixed", layer_law(relu, 64), 0.2, "upper"))
    assert math.isnan(lattice.probability)
    assert "multiples" in lattice.reason
    assert saddlepoint(event("forward-one-step", layer_law(tanh, 64), 3.0, "upper")).log == -np.inf
    small = saddlepoint(event("forward-one-step", layer_law(tanh, 5), 0.2, "upper"))
    assert math.isnan(small.log)
    assert small.reason
