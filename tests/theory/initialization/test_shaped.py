"""The law of layers that differ: against that of square layers, exact Beta laws, and networks without matrices."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import special

import gpn
from gpn.engine.shape import Shape
from gpn.sampling.sampler import sample
from theory.activations.specification import activation
from theory.depth.coefficients import NoPrediction
from theory.depth.fluctuation import log_ratio_law
from theory.errors import UsageError
from theory.initialization.path import Layer, network_path
from theory.initialization.shaped import ShapedLaw, shaped_law

TANH, RELU, GELU = map(activation, ("tanh", "relu", "gelu"))
GPN_TANH = gpn.normalize(TANH)


@pytest.mark.parametrize("name", ["tanh", "gelu", "selu"])
def test_square_layers_have_the_law_of_square_layers(name):
    """Equations (7) and (10), and crossing probabilities within six standard errors of the draws, 4e-3 at most."""
    phi, n, depth = gpn.normalize(activation(name)), 512, 12
    square, law = log_ratio_law(phi, n, depth), shaped_law([Layer(phi)] * depth, [n] * (depth + 1))
    np.testing.assert_allclose(law.mean, square.gradient_mean, atol=1e-12)
    np.testing.assert_allclose(law.variance, square.gradient_variance, rtol=1e-10)
    ratios = law.factor - law.factor[-1]
    np.testing.assert_allclose((ratios**2).sum(axis=1), square.variance, atol=1e-12)
    for epsilon in (0.3, 0.5):
        assert law.spread_probability(epsilon) == pytest.approx(square.spread_probability(epsilon), abs=4e-3)
    bands = law.bands([0.1, 0.5, 0.9])
    np.testing.assert_allclose(bands, square.gradient_bands([0.1, 0.5, 0.9]), atol=1e-12)


def test_linear_layers_have_beta_laws():
    """log |W x|^2/|x|^2 for n' < n, log |W^T d|^2/|d|^2 for n' > n: means and variances to a relative 3/n."""
    line = activation("identity")
    law = shaped_law([Layer(line, 2.0)] * 2, [900, 300, 600])
    narrow, back = special.polygamma(1, 150) - special.polygamma(1, 450), special.polygamma(1, 150)
    back = back - special.polygamma(1, 300)  # |W_2^T d_2|^2 is Beta(150, 150) of |d_2|^2
    np.testing.assert_allclose(law.variance, [back, narrow], rtol=0.02)
    shrinks = special.digamma(150) - special.digamma(300)
    loses = special.digamma(150) - special.digamma(450) + np.log(3)
    np.testing.assert_allclose(law.mean, [2 * np.log(2) + shrinks, 2 * np.log(2) + loses], atol=1e-4)
    np.testing.assert_allclose(law.squared_lengths, [1, 4, 8])


CASES = {
    "narrower": ([400, 200, 200, 300, 150, 250], [GPN_TANH] * 5, 1.0, 0.0, "haar"),
    "bias": ([200] * 7, [TANH] * 6, 1.5, 0.3, "haar"),
    "relu": ([200, 400, 300, 150, 300], [RELU] * 4, 2**0.5, [0.5, 0.0, 0.5, 1.0], "haar"),
    "gaussian": ([600, 400, 600, 400], [TANH, GELU, RELU], [1.0, 1.5, 1.4], 0.1, "gaussian"),
}


@pytest.mark.parametrize("name", CASES)
def test_law_against_networks(name):
    """6,000 networks: variances within 12 %, six standard errors, means within 4.5 and 1/n: false alarm below 1e-4."""
    widths, phis, gain, bias, weights = CASES[name]
    shape, trials = Shape.read(widths, gain, bias), 6000
    layers = list(map(Layer, phis, shape.gains, shape.biases))
    law = shaped_law(layers, widths, orthogonal=weights == "haar")
    rng = np.random.default_rng([1, *map(ord, name)])
    drawn = sample(phis, widths[0], shape.depth, trials, rng, shape=shape, weights=weights)
    logs = 2 * drawn.log_gradient_norms - np.log(widths[:-1])
    np.testing.assert_allclose(logs.var(axis=0), law.variance, rtol=0.12)
    errors = np.abs(logs.mean(axis=0) - law.mean) / np.sqrt(law.variance / trials)
    assert (errors < 4.5 + np.sqrt(trials * law.variance) / 100).all()
    spreads = np.abs(logs - logs[:, -1:]).max(axis=1)
    for probability in (0.8, 0.2):
        predicted = law.spread_probability(float(np.quantile(spreads, 1 - probability)))
        assert predicted == pytest.approx(probability, abs=0.04)
    assert np.median(drawn.squared_lengths, axis=0) == pytest.approx(law.squared_lengths, rel=0.03)


def test_lengths_of_square_layers_are_those_of_the_path():
    layers = [Layer(TANH, 1.5, 0.3), Layer(RELU, 1.2), Layer(GELU, 1.4, 0.1)]
    path = network_path(layers)
    law = shaped_law(layers, [10_000] * 4)
    np.testing.assert_allclose(law.squared_lengths, path.squared_lengths, rtol=1e-10)
    gains = np.log([layer.gain for layer in layers])  # the path has gradients with respect to W, not to g W
    np.testing.assert_allclose(law.mean / 2 + gains, path.log_gradients, atol=1e-3)


def test_where_there_is_no_law():
    step, wide = activation("sign(x) + x"), [500, 500]
    for layers, widths, reason in [
        ([Layer(step)], wide, "jumps"),
        ([Layer(activation("exp(x**2/3)"))], wide, "moment"),
        ([Layer(RELU, 2**0.5)] * 9, [40] * 10, "layer 2: at a width of 40"),
    ]:
        law = shaped_law(layers, widths)
        assert isinstance(law, NoPrediction)
        assert reason in law.reason
    with pytest.raises(UsageError, match="2 widths"):
        shaped_law([Layer(RELU)], [4, 4, 4])
    law = shaped_law([Layer(GPN_TANH)] * 3, [5000] * 4)
    assert isinstance(law, ShapedLaw)
    deviations = np.sqrt(((law.factor - law.factor[-1]) ** 2).sum(axis=1))
    rare = law.spread_probability(4.2 * float(deviations.max()))
    low, high = law.margin(rare)
    assert 0 < low < rare < high < 1e-3
    assert all(below == above for below, above in pairwise(law.squared_lengths.round(12)))
