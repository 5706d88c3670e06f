"""Unequal widths, gains, biases, branches, an activation for each layer: the samplers against explicit matrices."""

from itertools import pairwise

import numpy as np
import pytest

import gpn
from gpn.engine.shape import Shape
from gpn.sampling import laws, passes, residual
from gpn.sampling.sampler import sample
from tests.gpn.sampling.test_sampler import BENT, FALSE_ALARM, GPN_RELU, GPN_TANH, matrices, same_law_p_value, unit
from theory.errors import UsageError

DENSE, FREE = 2500, 10_000
CASES = {
    "narrower": {"layers": [9, 5, 3, 2], "readout": "aligned"},
    "wider": {"layers": [2, 3, 5, 9], "readout": "aligned"},
    "one neuron": {"layers": [1, 4, 1, 1, 2]},
    "gains": {"layers": [4, 6, 3, 5], "gain": [1.3, 0.6, 2.0], "readout": "aligned"},
    "scaled": {"layers": [3, 6, 2, 7], "weights": "scaled_orthogonal", "readout": "aligned"},
    "dying and bias": {"layers": [3, 3, 3, 3], "bias": 0.7, "readout": "aligned"},
    "bias": {"layers": [2] * 7, "bias": 1.5, "readout": "aligned"},
    "Gaussian bias": {"layers": [2] * 7, "bias": 1.5, "weights": "gaussian", "readout": "aligned"},
    "bias and widths": {"layers": [5, 2, 1, 4, 3], "gain": 1.4, "bias": [0.5, 0.2, 0.0, 0.9], "readout": "aligned"},
    "Gaussian": {"layers": [3, 5, 2, 4], "gain": 1.2, "bias": 0.6, "weights": "gaussian", "readout": "aligned"},
    "He, no bias": {"layers": [6, 2, 5], "weights": "he"},
    "branches": {"layers": [3, 3, 3, 3], "residual": 0.8, "readout": "aligned"},
    "all": {"layers": [2, 4, 4, 4, 3, 3], "gain": 1.5, "bias": 0.3, "residual": -0.7, "readout": "aligned"},
    "all, Gaussian": {"layers": [3, 3, 5, 5], "bias": 0.4, "residual": 1.0, "weights": "gaussian"},
    "given ends": {
        "layers": [3, 5, 2],
        "bias": 0.5,
        "residual": 1.0,
        "inputs": [2.0, -1.0, 0.5],
        "readout": [0.3, -2.0],
    },
}
PHI = {"all": [GPN_RELU, BENT, GPN_TANH, BENT, GPN_RELU], "dying and bias": GPN_RELU, "branches": GPN_RELU}


def semi_orthogonal(weights, rng, trials, rows, columns):
    if weights not in ("haar", "scaled_orthogonal"):
        return matrices(weights, rng, trials, rows, columns)
    tall = matrices("haar", rng, trials, max(rows, columns), min(rows, columns))
    scale = np.sqrt(max(1.0, rows / columns)) if weights == "scaled_orthogonal" else 1.0
    return scale * (tall if rows >= columns else tall.swapaxes(1, 2))


def explicit(phi, layers, rng, *, gain=1.0, bias=0.0, residual=None, weights="haar", inputs=None, readout="random"):
    """q_0..q_L and |d_1|..|d_L| of networks with explicit matrices and biases, in the words of the definition."""
    depth = len(layers) - 1
    phis = phi if isinstance(phi, list) else [phi] * depth
    gains, biases = (np.broadcast_to(each, depth) for each in (gain, bias))
    x = np.sqrt(layers[0]) * unit(rng.standard_normal((DENSE, layers[0])))
    x = x if inputs is None else np.tile(inputs, (DENSE, 1))
    lengths, kept = [(x**2).mean(axis=1)], []
    for (below, above), f, g, b in zip(pairwise(layers), phis, gains, biases, strict=True):
        w = g * semi_orthogonal(weights, rng, DENSE, above, below)
        value, slope = f.value_and_slope(np.einsum("tij,tj->ti", w, x) + b * rng.standard_normal((DENSE, above)))
        alpha = residual if residual is not None and above == below else None
        x = value if alpha is None else x + alpha * value
        kept.append((w, slope * (alpha or 1.0), alpha is not None))
        lengths.append((x**2).mean(axis=1))
    e = unit(rng.standard_normal(x.shape)) if readout == "random" else x if readout == "aligned" else np.array(readout)
    backward = []
    for w, slope, branch in reversed(kept):
        d = slope * e
        backward.append(np.sqrt((d**2).sum(axis=1)))
        e = np.einsum("tij,ti->tj", w, d) + (e if branch else 0.0)
    return np.array(lengths).T, np.array(backward[::-1]).T


def free(phi, case, rng, trials=FREE):
    given = dict(case)
    shape = Shape.read(given.pop("layers"), given.pop("gain", 1.0), given.pop("bias", 0.0), given.pop("residual", None))
    result = sample(phi, shape.widths[0], shape.depth, trials, rng, shape=shape, **given)
    return result.squared_lengths, result.backward_norms


@pytest.mark.parametrize("name", CASES)
def test_same_law_as_explicit_matrices(name):
    case, phi, seed = CASES[name], PHI.get(name, GPN_TANH), [1, *map(ord, name)]
    dense = explicit(phi, rng=np.random.default_rng(seed), **case)
    assert same_law_p_value(dense, free(phi, case, np.random.default_rng([2, *seed]))) > FALSE_ALARM


def test_the_dense_engine_has_the_same_law():
    case = CASES["all"]
    dense = explicit(PHI["all"], rng=np.random.default_rng(3), **case)
    result = gpn.simulate(PHI["all"], trials=800, seed=4, method="dense", **case)
    assert same_law_p_value(dense, (result.squared_lengths, result.backward_norms)) > FALSE_ALARM


@pytest.mark.parametrize(
    ("name", "place", "wrong"),
    [
        ("narrower", (passes, "with_hidden"), lambda squares, *_: squares),
        ("wider", (passes, "with_hidden"), lambda squares, *_: squares),
        ("bias", (passes, "along"), lambda _, __, overlap, inverse_d, inverse_x, ___: overlap * inverse_d * inverse_x),
        ("bias", (laws.Haar, "unseen"), lambda _, cosine, __: 0.0 * cosine),
        ("Gaussian bias", (laws.Gaussian, "unseen"), lambda _, cosine, __: 0.0 * cosine),
        ("branches", (residual, "_resolved"), lambda drawn, _: drawn.scale[:, None] * drawn.tiles[0].e),
    ],
)
def test_the_same_test_catches_a_wrong_sampler(name, place, wrong, monkeypatch):
    case, phi = CASES[name], PHI.get(name, GPN_TANH)
    dense = explicit(phi, rng=np.random.default_rng(5), **case)
    monkeypatch.setattr(*place, wrong)
    assert same_law_p_value(dense, free(phi, case, np.random.default_rng(6))) < FALSE_ALARM


def test_a_square_shape_is_the_network_without_a_shape_to_the_last_bit():
    for options in ({}, {"method": "dense"}):
        plain = gpn.simulate("tanh", 6, 3, 5, seed=7, **options)
        shaped = gpn.simulate(["tanh"] * 3, layers=[6] * 4, trials=5, seed=7, weights="orthogonal", **options)
        np.testing.assert_array_equal(plain.gradient_norms, shaped.gradient_norms)
        np.testing.assert_array_equal(plain.squared_lengths, shaped.squared_lengths)


def test_layers_that_are_drawn_twice_have_the_same_bits():
    shape = Shape.read([30, 50_000, 70_000, 40_000], gain=1.2, bias=0.3)
    results = [
        sample(GPN_TANH, 30, 3, 2, np.random.default_rng(8), shape=shape, memory=size).log_gradient_norms
        for size in ("1GiB", "13MiB")
    ]
    np.testing.assert_array_equal(*results)


def test_linear_layers_keep_lengths_as_theory_says():
    """Orthonormal columns keep a length; branches of an odd reflection: x + alpha x has the length (1 + alpha) |x|."""
    linear = [gpn.activation("x")] * 3
    wider = gpn.simulate(linear, layers=[3, 5, 9, 9], trials=4, seed=0)
    np.testing.assert_allclose(wider.signal_norms, np.sqrt(3), rtol=1e-12)
    assert (np.diff(np.log(wider.backward_norms), axis=1)[:, -1] > -1e-12).all()
    branch = gpn.simulate(linear[:2], layers=[1, 1, 1], residual=0.5, trials=50, seed=1)
    assert set(np.round(branch.signal_norms[:, 0], 12)) == {0.5, 1.5}


def test_misuse_is_an_error():
    for given, message in [
        ({"layers": [4, 3], "width": 4}, "leave width and depth out"),
        ({"depth": 3}, "its layers"),
        ({"layers": [4]}, "at least one layer"),
        ({"layers": [4, 3], "trials": None}, "how many networks"),
        ({"layers": [4, 0]}, "every width"),
        ({"layers": [4, 3], "gain": -1.0}, "positive"),
        ({"layers": [4, 3], "gain": [1.0, 2.0]}, "each of the 1 layers"),
        ({"layers": [4, 3], "bias": -0.1}, "standard deviation"),
        ({"layers": [4, 3], "residual": np.inf}, "alpha"),
        ({"layers": [4, 3], "inputs": [1.0, 2.0]}, "begin with 4"),
        ({"layers": [4, 3], "readout": [1.0] * 4}, r"\(3,\)"),
        ({"layers": [4, 3], "batch": 2}, "method='dense'"),
        ({"layers": [4, 3], "precision": "float32"}, "method='dense'"),
        ({"layers": [4, 3], "weights": np.ones}, "method='dense'"),
        ({"layers": [4, 3, 3], "residual": 1.0, "memory": 1000}, "residual branches"),
    ]:
        with pytest.raises(UsageError, match=message):
            gpn.simulate("tanh", **{"trials": 2, **given})
    with pytest.raises(UsageError, match="2 activations for 1"):
        gpn.simulate(["tanh", "relu"], layers=[4, 3], trials=2)


def test_gradients_of_branches_beyond_the_range_of_float64():
    """x + 99 W x of one neuron: a factor 100 or -98 in each of 119 layers, forward and backward alike."""
    result = gpn.simulate("x", layers=[1] * 120, residual=99.0, trials=4, seed=2, readout=[1e-250])
    steps = np.log(result.signal_norms[:, 1:] / result.signal_norms[:, :-1])
    signs = np.isclose(steps, np.log(100.0), atol=1e-9)
    assert (signs | np.isclose(steps, np.log(98.0), atol=1e-9)).all()
    expected = np.log(1e-250) + np.log(99.0) + steps[:, ::-1].cumsum(axis=1)[:, ::-1]
    np.testing.assert_allclose(np.log(result.backward_norms[:, :-1]), expected, atol=1e-9)
