"""The matrix-free sampler of a batch: same law as explicit matrices, for every rank, and the limits of float64."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats

import gpn
from gpn.sampling import batch_sampler
from gpn.sampling.batch_sampler import block_trials, sample_batch
from gpn.sampling.reflections import factorize
from gpn.sampling.sampler import sample
from tests.gpn.stubs import Linear
from theory.activations import catalog
from theory.gaussian.hermite import hermite_spectrum

FALSE_ALARM = 1e-6  # of each two-sample test, all its comparisons together (Bonferroni)
GPN_TANH = catalog.build("tanh").affine(1.4674135916, 0.3885416701, "gpn-tanh")
GPN_RELU = catalog.build("relu").affine(float(np.sqrt(2.0)), 0.0, "gpn-relu")
BENT = catalog.build("elu").affine(1.3, -0.4, "bent")
DEPTH, DENSE, FREE = 3, 1200, 4000


class Steep:
    def __init__(self, gain):
        self.gain = gain

    def value_and_slope(self, x):
        t = np.tanh(self.gain * x)
        return t, self.gain * (1.0 - t * t)


def inputs(kind, k, m):
    """Inputs (k, m) off the thin shell."""
    x = 1.5 * np.random.default_rng(1).standard_normal((k, m))
    if kind == "repeated":
        x[-1] = x[0]
    if kind == "rank one":
        x = np.outer(np.linspace(1.0, -2.0, k), x[0])
    if kind == "rank two":
        x = np.random.default_rng(2).standard_normal((k, 2)) @ x[:2]
    if kind == "with zero":
        x[0] = 0.0
    if kind == "alike":
        x = x[0] + 0.2 * x
    if kind == "nearly equal":
        x = x[0] + 1e-14 * x
    return x


def matrices(weights, rng, trials, rows, columns):
    """A stack of weight matrices, straight from the definitions."""
    normals = rng.standard_normal((trials, rows, columns))
    if weights != "haar":
        variance = {"gaussian": 1 / columns, "he": 2 / columns, "glorot": 2 / (rows + columns)}[weights]
        return np.sqrt(variance) * normals
    q, r = np.linalg.qr(normals)
    return q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]


def dense(phi, width, trials, x0, *, seed, weights="haar", top=None):
    """Every statistic with explicit matrices and gradients, in the words of the definition.

    `top(x_L, rng)` makes e_L (trials, k, n) from x_L; left out, independent uniform unit vectors.
    """
    rng = np.random.default_rng(seed)
    x = np.tile(x0, (trials, 1, 1))
    signals, stacks, slopes = [x], [], []
    for _ in range(DEPTH):
        stacks.append(matrices(weights, rng, trials, width, x.shape[-1]))
        x, slope = phi.value_and_slope(np.einsum("tij,tkj->tki", stacks[-1], x))
        slopes.append(slope)
        signals.append(x)
    e = unit(rng.standard_normal(x.shape)) if top is None else top(x, rng)
    backward, batch = [], []
    for below, stack, slope in zip(signals[-2::-1], stacks[::-1], slopes[::-1], strict=True):
        d = slope * e
        backward.append(np.linalg.norm(d, axis=-1))
        batch.append(np.linalg.norm(np.einsum("tki,tkj->tij", d, below), axis=(1, 2)))
        e = np.einsum("tij,tki->tkj", stack, d)
    grams = np.array([np.einsum("tki,tji->tkj", s, s) / width for s in signals]).swapaxes(0, 1)
    return grams, np.array(backward[::-1]).swapaxes(0, 1), np.array(batch[::-1]).T


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def free(phi, width, trials, x0, *, seed, **options):
    rng = np.random.default_rng(seed)
    given = x0[0] if len(x0) == 1 else x0
    result = sample_batch(phi, width, DEPTH, trials, len(x0), rng, inputs=given, grams=True, **options)
    return result.grams, result.backward_norms.reshape(trials, DEPTH, -1), result.batch_gradient_norms


def statistics_of(grams, backward, batch):
    """Marginal and joint statistics of layers and inputs, one array (trials,) for each; at most four inputs' pairs."""
    k = min(grams.shape[-1], 4)
    pairs = [(i, j) for i in range(k) for j in range(i + 1)]
    some = [0, *({1, grams.shape[-1] - 1} if grams.shape[-1] > 1 else ())]
    return [
        *(grams[:, layer, i, j] for layer in range(1, DEPTH + 1) for i, j in pairs),
        *(backward[:, layer, i] for layer in range(DEPTH) for i in some),
        *batch.T,
        *(batch[:, layer] * grams[:, layer, i, i] - backward[:, layer, i] for layer in range(DEPTH) for i in some),
        *(backward[:, layer, some[0]] * backward[:, layer, some[-1]] for layer in range(DEPTH)),
        *(grams[:, -1, i, j] * backward[:, 0, i] - grams[:, 1, i, j] * backward[:, -1, j] for i, j in pairs),
        batch[:, 0] / np.maximum(batch[:, 0] + batch[:, -1], 1e-300),
    ]


def same_law_p_value(first, second):
    """Bonferroni-corrected Kolmogorov-Smirnov p value over all statistics (ties make it conservative)."""
    pairs = zip(statistics_of(*first), statistics_of(*second), strict=True)
    # eight digits: values that are equal but for rounding (isometries, equal inputs) count as equal
    p_values = [stats.ks_2samp(np.round(a, 8) + 0.0, np.round(b, 8) + 0.0, method="asymp").pvalue for a, b in pairs]
    return min(1.0, len(p_values) * min(p_values))


@pytest.mark.parametrize("weights", ["haar", "gaussian"])
@pytest.mark.parametrize(
    ("phi", "width", "kind", "k"),
    [
        (GPN_TANH, 6, "generic", 1),
        (BENT, 6, "generic", 2),
        (GPN_RELU, 6, "generic", 5),
        (GPN_TANH, 5, "generic", 5),
        (GPN_TANH, 2, "generic", 2),
        (BENT, 3, "generic", 5),
        (GPN_TANH, 9, "repeated", 3),
        (GPN_RELU, 5, "rank one", 4),
        (BENT, 6, "rank two", 5),
        (BENT, 5, "with zero", 3),
        (GPN_TANH, 6, "nearly equal", 3),
        (GPN_RELU, 4, "repeated", 4),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_same_law_as_explicit_matrices(phi, width, kind, k, weights):
    """Gram entries, norms of each input and of the batch, jointly; more inputs than neurons too."""
    x0 = inputs(kind, k, width)
    explicit = dense(phi, width, DENSE, x0, seed=3, weights=weights)
    assert same_law_p_value(explicit, free(phi, width, FREE, x0, seed=4, weights=weights)) > FALSE_ALARM


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "k", "n"), [("generic", 3, 8), ("rank two", 4, 5), ("repeated", 5, 5), ("alike", 5, 4)]
)
@pytest.mark.parametrize("readout", ["random", "aligned"])
def test_same_law_in_many_networks(kind, k, n, readout):
    x0, top = inputs(kind, k, n), None if readout == "random" else lambda x, _: x
    explicit = dense(BENT, n, 50_000, x0, seed=30, top=top)
    assert same_law_p_value(explicit, free(BENT, n, 50_000, x0, seed=31, readout=readout)) > FALSE_ALARM


@pytest.mark.parametrize("weights", ["haar", "gaussian", "he", "glorot"])
def test_same_law_with_a_rectangular_first_matrix(weights):
    """Four inputs of three entries each, seven neurons, dependent by necessity."""
    x0 = inputs("generic", 4, 3)
    explicit = dense(BENT, 7, DENSE, x0, seed=5, weights=weights)
    assert same_law_p_value(explicit, free(BENT, 7, FREE, x0, seed=6, weights=weights)) > FALSE_ALARM


def softmax_top(labels, width):
    def top(x, rng):
        readouts = rng.standard_normal((len(x), 3, width)) / np.sqrt(width)
        p = np.exp(np.einsum("tij,tkj->tki", readouts, x))
        residuals = p / p.sum(axis=-1, keepdims=True) - np.eye(3)[labels]
        return np.einsum("tij,tki->tkj", readouts, residuals)

    return top


DIRECTIONS = np.random.default_rng(7).standard_normal((3, 5))


@pytest.mark.parametrize("weights", ["haar", "gaussian"])
@pytest.mark.parametrize(
    ("options", "top"),
    [
        ({"readout": "aligned"}, lambda x, _: x),
        ({"readout": DIRECTIONS}, lambda x, _: np.broadcast_to(DIRECTIONS, x.shape)),
        ({"readout": "loss", "labels": [0, 2, 2], "classes": 3}, softmax_top([0, 2, 2], 5)),
    ],
    ids=["aligned", "array", "loss"],
)
def test_same_law_with_every_readout(options, top, weights):
    x0 = inputs("generic", 3, 5)
    explicit = dense(GPN_TANH, 5, DENSE, x0, seed=8, weights=weights, top=top)
    assert same_law_p_value(explicit, free(GPN_TANH, 5, FREE, x0, seed=9, weights=weights, **options)) > FALSE_ALARM


def test_same_law_as_the_dense_engine():
    """Through the public entry point, both ways; ten neurons, inputs on the thin shell."""
    found = []
    for method, trials, seed in (("dense", 700, 1), ("matrix-free", 3000, 2)):
        r = gpn.simulate(GPN_TANH, 10, DEPTH, trials, seed=seed, method=method, batch=4, grams=True)
        found.append((r.grams, r.backward_norms, r.batch_gradient_norms))
    assert found[0][0].shape == (700, DEPTH + 1, 4, 4)
    assert same_law_p_value(*found) > FALSE_ALARM


@pytest.mark.parametrize("weights", ["haar", "gaussian"])
def test_one_input_has_the_law_of_the_single_input_sampler(weights):
    rng = np.random.default_rng(10)
    x0 = inputs("generic", 1, 4)
    single = sample(BENT, 4, DEPTH, FREE, rng, inputs=x0[0], weights=weights, readout="aligned")
    grams = single.squared_lengths[..., None, None]
    first = grams, single.backward_norms[..., None], single.batch_gradient_norms
    assert same_law_p_value(first, free(BENT, 4, FREE, x0, seed=11, weights=weights, readout="aligned")) > FALSE_ALARM
    batch = sample_batch(BENT, 4, DEPTH, 5, 1, rng)
    assert batch.gradient_norms.shape == batch.batch_gradient_norms.shape == (5, DEPTH)
    np.testing.assert_allclose(batch.batch_gradient_norms, batch.gradient_norms, rtol=1e-12)


right_forward, right_backward = batch_sampler._Haar.forward, batch_sampler._Haar.backward


def without_the_signs(_self, coordinates, width, rng):
    trials, _, size = coordinates.shape
    _, turn = factorize(rng.standard_normal((trials, size, width)))
    return turn.embed(coordinates), (turn, np.ones((trials, 1, size)))


def without_the_seen_part(self, image, d, width, rng):
    turned = right_backward(self, image, d, width, rng)
    turned[..., : image[1].shape[-1]] = 0.0
    return turned


def without_the_correlation_of_the_rest(self, image, d, width, rng):
    turned = right_backward(self, image, d, width, rng)
    for i in range(d.shape[1]):
        turned[:, i : i + 1] = right_backward(self, image, d[:, i : i + 1], width, rng)
    return turned


def with_another_frame(self, image, d, width, rng):
    turned = right_backward(self, image, d, width, rng)
    size = image[1].shape[-1]
    turned[..., :size] = turned[..., :size][..., ::-1]
    return turned


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        ("forward", without_the_signs),
        ("backward", without_the_seen_part),
        ("backward", without_the_correlation_of_the_rest),
        ("backward", with_another_frame),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_same_test_catches_a_wrong_sampler(method, wrong, monkeypatch):
    x0 = inputs("alike", 2, 4)
    explicit = dense(BENT, 4, 2 * DENSE, x0, seed=12, top=lambda x, _: x)
    assert same_law_p_value(explicit, free(BENT, 4, FREE, x0, seed=13, readout="aligned")) > FALSE_ALARM
    monkeypatch.setattr(batch_sampler._Haar, method, wrong)
    assert same_law_p_value(explicit, free(BENT, 4, FREE, x0, seed=13, readout="aligned")) < FALSE_ALARM


# Draw by draw


@pytest.mark.parametrize("kind", ["generic", "repeated", "rank one", "rank two", "with zero", "nearly equal"])
@pytest.mark.parametrize(("k", "n"), [(2, 9), (4, 9), (5, 9), (9, 9), (3, 3), (6, 4)])
def test_some_orthogonal_matrix_does_what_is_drawn(kind, k, n):
    """H = X W^T and E = D W for an orthogonal W, if and only if H H^T = X X^T, E E^T = D D^T and E X^T = D H^T."""
    rng = np.random.default_rng(14)
    x = np.tile(inputs(kind, k, n), (20, 1, 1))
    law = batch_sampler._Haar()
    coordinates, frame = factorize(x)
    h, image = law.forward(coordinates, n, rng)
    d = np.tanh(h) + 0.3 * h[..., ::-1] ** 2
    e = frame.turn(law.backward(image, d, n, rng))
    for one, other in [((h, h), (x, x)), ((e, e), (d, d)), ((e, x), (d, h))]:
        products = [a @ b.swapaxes(1, 2) for a, b in (one, other)]
        np.testing.assert_allclose(products[0], products[1], atol=1e-12 * (1 + np.abs(products[1]).max()))


@pytest.mark.parametrize("k", [1, 3, 8])
def test_an_orthogonal_linear_network_keeps_the_gram_matrices(k):
    """Over a thousand layers, k = n at the end; so the gradient of the batch has the same norm in each layer."""
    result = sample_batch(Linear(), 8, 1000, 3, k, np.random.default_rng(15), grams=True, readout=np.arange(8.0))
    np.testing.assert_allclose(result.grams, result.grams[:, :1].repeat(1001, 1), atol=1e-11)
    totals = result.batch_gradient_norms
    np.testing.assert_allclose(totals, totals[:, -1:].repeat(1000, 1), rtol=1e-10)


def test_correlations_follow_the_correlation_map():
    """rho_l = C(rho_{l-1}) in the limit of width; at n = 3000 over 6 layers within 5.2 standard errors and 10/n.

    The bias is of order 1/n: at n = 60 it is compared with the same 10/n, where it is fifty times as large.
    """
    spectrum = hermite_spectrum(GPN_TANH)
    start = np.array([[1.0, 0.5, -0.4], [0.5, 1.0, 0.2], [-0.4, 0.2, 1.0]])
    for width, trials in ((3000, 20), (60, 4000)):
        x0 = np.sqrt(width) * np.linalg.cholesky(start)
        result = sample_batch(GPN_TANH, width, 6, trials, 3, np.random.default_rng(16), inputs=x0, grams=True)
        expected = start
        for layer in range(1, 7):
            expected = spectrum.correlation(expected)[0]
            found = result.correlations[:, layer]
            margin = 5.2 * found.std(axis=0, ddof=1) / np.sqrt(trials) + 10 / width
            assert (np.abs(found.mean(axis=0) - expected) < margin).all()
    assert np.abs(expected - start).max() > 0.2  # the map has moved them


def test_equal_inputs_stay_equal_in_a_chaotic_network():
    """A rounding grows in each layer; inputs that differ by 1e-9 do come apart."""
    x0 = inputs("generic", 3, 20)
    x0[1], x0[2] = x0[0], x0[0] + 1e-9
    result = sample_batch(Steep(5.0), 20, 120, 3, 3, np.random.default_rng(17), inputs=x0, grams=True)
    np.testing.assert_array_equal(result.signal_norms[..., 0], result.signal_norms[..., 1])
    np.testing.assert_allclose(result.correlations[..., 0, 1], 1.0, rtol=1e-12)
    assert (result.correlations[:, -1, 0, 2] < 0.9).all()


def test_a_generator_gives_the_same_numbers_again():
    run = lambda trials: sample_batch(GPN_TANH, 40, 4, trials, 3, np.random.default_rng(18), grams=True)  # noqa: E731
    block = block_trials(40, 4, 3)
    first, second, start = run(2 * block + 7), run(2 * block + 7), run(block)
    for name in ("squared_lengths", "gradient_norms", "batch_gradient_norms", "grams"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        np.testing.assert_array_equal(getattr(first, name)[:block], getattr(start, name))


def test_norms_agree_with_each_other():
    result = sample_batch(GPN_TANH, 12, 6, 20, 4, np.random.default_rng(19), grams=True)
    below = np.sqrt(12 * result.squared_lengths[:, :-1])
    np.testing.assert_allclose(result.gradient_norms, result.backward_norms * below, rtol=1e-13)
    np.testing.assert_allclose(np.exp(result.log_gradient_norms), result.gradient_norms, rtol=1e-14)
    np.testing.assert_allclose(np.exp(result.log_batch_gradient_norms), result.batch_gradient_norms, rtol=1e-14)
    np.testing.assert_allclose(np.diagonal(result.grams, axis1=2, axis2=3), result.squared_lengths, rtol=1e-13)
    np.testing.assert_allclose(result.signal_norms**2 / 12, result.squared_lengths[:, 1:], rtol=1e-13)
    assert (result.batch_gradient_norms <= result.gradient_norms.sum(axis=2) * (1 + 1e-12)).all()


def test_memory_is_that_of_one_block():
    width, depth, trials, batch = 256, 20, 300, 4
    tracemalloc.start()
    sample_batch(Steep(1.0), width, depth, trials, batch, np.random.default_rng(20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    block = 8 * block_trials(width, depth, batch) * batch * (width + 2 * batch)
    assert peak < (3 * depth + 20) * block + 8 * 8 * trials * (depth + 1) * batch


@pytest.mark.parametrize(("width", "depth", "batch"), [(1, 1, 1), (100, 50, 3), (10**6, 200, 8), (10, 10**6, 10)])
def test_blocks_are_bounded(width, depth, batch):
    block = block_trials(width, depth, batch)
    assert block == 1 or (block * width * batch <= 2**15 and 3 * block * width * batch * depth <= 2**24)


# The limits of float64


@pytest.mark.parametrize("slope", [100.0, 0.01])
def test_gradients_beyond_the_range_of_float64(slope):
    """Over a thousand layers the gradient of the batch changes by 1e2000; its logarithm is right."""
    result = sample_batch(Linear(1.0, slope), 12, 1000, 2, 4, np.random.default_rng(21))
    expected = np.log(slope) * np.arange(999, -1, -1)
    for logs in (result.log_batch_gradient_norms, result.log_gradient_norms[..., 2]):
        np.testing.assert_allclose(logs - logs[:, -1:], np.tile(expected, (2, 1)), atol=1e-9)
    assert (result.batch_gradient_norms[:, 0] == (np.inf if slope > 1 else 0.0)).all()


def test_inputs_of_very_different_lengths_do_not_disturb_each_other():
    """Linear, with inputs from 1e-290 to 1e290: each keeps its length and every angle stays."""
    x0 = inputs("generic", 5, 9)
    scaled = x0 * np.array([1e-290, 1e-100, 1.0, 1e100, 1e290])[:, None]
    result = sample_batch(Linear(), 9, 50, 2, 5, np.random.default_rng(22), inputs=scaled)
    lengths = np.tile(np.linalg.norm(scaled / scaled.max(axis=1)[:, None], axis=1) * scaled.max(axis=1), (2, 50, 1))
    np.testing.assert_allclose(result.signal_norms, lengths, rtol=1e-12)
    np.testing.assert_allclose(result.backward_norms, 1.0, rtol=1e-12)


@pytest.mark.parametrize("weights", ["haar", "gaussian"])
def test_an_input_that_overflows_leaves_the_others_alone(weights):
    x0 = np.vstack([np.full(6, 1e30), np.ones(6) / 3, np.zeros(6)])
    result = sample_batch(catalog.build("identity"), 6, 3, 4, 3, np.random.default_rng(23), inputs=x0, weights=weights)
    assert np.isfinite(result.gradient_norms).all()

    class Cube:
        def value_and_slope(self, x):
            return x**3, 3.0 * x**2

    result = sample_batch(Cube(), 6, 8, 4, 3, np.random.default_rng(24), inputs=x0, weights=weights, grams=True)
    assert result.overflowed.all()
    assert np.isnan(result.gradient_norms[..., 0]).all()
    assert np.isnan(result.batch_gradient_norms).all()
    assert np.isfinite(result.gradient_norms[..., 1:]).all()
    assert (result.gradient_norms[..., 2] == 0.0).all()
    assert np.isnan(result.grams[:, -1, 0]).all()
    assert np.isfinite(result.grams[:, -1, 1:, 1:]).all()


@pytest.mark.parametrize("readout", ["random", "aligned"])
@pytest.mark.parametrize("weights", ["haar", "he"])
def test_zero_inputs(weights, readout):
    result = sample_batch(
        Linear(), 4, 3, 10, 3, np.random.default_rng(25), weights=weights, inputs=np.zeros((3, 4)), readout=readout
    )
    assert (result.squared_lengths == 0.0).all()
    assert (result.gradient_norms == 0.0).all()
    assert (result.batch_gradient_norms == 0.0).all()
    if weights == "haar" and readout == "random":
        np.testing.assert_allclose(result.backward_norms, 1.0, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(catalog.names()))
def test_deep_networks_of_every_catalog_activation_are_honest(name):
    """Whatever explodes or dies over 60 layers: no warning, and nan only in trials that are told."""
    result = sample_batch(catalog.build(name), 6, 60, 5, 3, np.random.default_rng(26))
    np.testing.assert_array_equal(np.isnan(result.batch_gradient_norms).any(axis=1), result.overflowed)
    assert (result.batch_gradient_norms[~result.overflowed] >= 0.0).all()
    assert not np.isnan(result.squared_lengths[~result.overflowed]).any()
