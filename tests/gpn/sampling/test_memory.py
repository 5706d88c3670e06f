"""The memory budget: read, kept, and without influence on the numbers."""

import tracemalloc
from functools import partial

import numpy as np
import pytest

import gpn
from gpn.sampling import batch_sampler, memory
from gpn.sampling.memory import budget, check_batch, check_dense, free_memory, layers_that_fit
from gpn.sampling.sampler import block_trials, sample
from theory.activations import catalog
from theory.errors import UsageError

TANH = catalog.build("tanh").affine(1.4674135916, 0.3885416701, "gpn-tanh")
GENERATORS = [np.random.SFC64, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.MT19937]


class PlainTanh:
    def value_and_slope(self, x):
        t = np.tanh(x)
        return t, 1.0 - t * t


def least(width, depth, trials):
    """The least budget that is accepted, by bisection."""
    rows = min(block_trials(width, depth), trials)
    low, high = 1, 2**40
    while low < high:
        middle = (low + high) // 2
        try:
            layers_that_fit(width, depth, trials, rows, middle)
            high = middle
        except UsageError:
            low = middle + 1
    return low


def peak(function):
    tracemalloc.start()
    result = function()
    top = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result, top


def same(first, second):
    for name in ("squared_lengths", "signal_norms", "backward_norms", "gradient_norms", "log_gradient_norms"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize("phi", [TANH, PlainTanh(), catalog.build("mish")], ids=["gpn-tanh", "plain", "mish"])
@pytest.mark.parametrize(("width", "depth", "trials"), [(150_000, 12, 1), (2000, 30, 40), (300, 20, 250)])
def test_the_budget_is_kept_and_changes_no_bit(phi, width, depth, trials):
    """From everything kept to nothing kept: (2000, 30, 40) has a last block of fewer trials."""
    rows = min(block_trials(width, depth), trials)
    everything = sample(phi, width, depth, trials, np.random.default_rng(1), memory="2GiB")
    start = least(width, depth, trials)
    assert layers_that_fit(width, depth, trials, rows, start) == 0
    tops = []
    for layers in (0, 1, depth // 2, depth - 1):
        allowed = start + layers * 8 * rows * width
        assert layers_that_fit(width, depth, trials, rows, allowed) >= layers
        rng = np.random.default_rng(1)
        result, top = peak(lambda a=allowed, r=rng: sample(phi, width, depth, trials, r, memory=a))
        assert top <= allowed
        same(result, everything)
        tops.append(top)
    assert tops[-1] - tops[0] > (depth - 2) * 8 * rows * width


@pytest.mark.parametrize("bits", GENERATORS, ids=lambda bits: bits.__name__)
def test_layers_are_drawn_again_with_any_generator(bits):
    """Also the generator itself ends in the same state."""
    ends = []
    for allowed in (2**30, least(70_000, 6, 2)):
        rng = np.random.Generator(bits(3))
        rng.random(dtype=np.float32)  # leaves half a word behind in some of them
        ends.append((sample(TANH, 70_000, 6, 2, rng, memory=allowed), rng.random(3)))
    same(ends[0][0], ends[1][0])
    np.testing.assert_array_equal(ends[0][1], ends[1][1])


@pytest.mark.parametrize("arguments", [{"readout": "aligned"}, {"weights": "he"}, {"readout": np.ones(70_000)}])
def test_layers_are_drawn_again_for_every_law_and_readout(arguments):
    results = [
        sample(TANH, 70_000, 5, 2, np.random.default_rng(4), memory=allowed, **arguments)
        for allowed in (2**30, least(70_000, 5, 2))
    ]
    same(*results)


def test_layers_are_drawn_again_under_a_loss_and_with_inputs():
    inputs = np.random.default_rng(5).standard_normal((3, 50))
    results = [
        sample(
            TANH, 40_000, 5, 3, np.random.default_rng(6), memory=allowed, inputs=inputs, readout="loss",
            labels=[0, 2, 1], classes=3,
        )
        for allowed in (2**30, least(40_000, 5, 3))
    ]  # fmt: skip
    same(*results)


def test_a_layer_that_died_or_overflowed_is_drawn_again_alike():
    """ReLU at width 2 dies; steep lines overflow."""
    for phi, width in ((catalog.build("relu"), 2), (catalog.build("identity").affine(1e100, 0), 40_000)):
        results = [
            sample(phi, width, 8, 2, np.random.default_rng(7), memory=allowed)
            for allowed in (2**30, max(least(width, 8, 2), 2**16))
        ]
        same(*results)


def test_very_wide_and_very_deep_networks_fit_four_gigabytes():
    assert layers_that_fit(10**6, 200, 1, 1, 2**32) == 200
    assert layers_that_fit(10**5, 2000, 1, 1, 2**32) == 2000
    assert layers_that_fit(10**6, 1000, 1, 1, 2**32) < 1000


def test_too_little_memory_is_an_error():
    with pytest.raises(UsageError, match=r"at least .* MiB .*memory=") as caught:
        sample(TANH, 10**6, 10, 1, np.random.default_rng(0), memory="1MB")
    assert "width 1000000" in str(caught.value)
    with pytest.raises(UsageError, match="matrix-free"):
        gpn.simulate("tanh", 2000, 10, 1, seed=0, method="dense", memory="10MB")


def test_the_dense_engine_keeps_its_budget():
    for batch in (1, 7):
        for allowed in range(2**20, 2**25, 2**18):
            try:
                check_dense([200] * 7, 3, batch, allowed)
            except UsageError:
                continue
            break
        draw = partial(gpn.simulate, PlainTanh(), 200, 6, 3, seed=0, method="dense", batch=batch, memory=allowed)
        assert peak(draw)[1] <= allowed


@pytest.mark.parametrize("phi", [PlainTanh(), catalog.build("mish")], ids=["plain", "mish"])
@pytest.mark.parametrize(("width", "depth", "trials", "batch", "options"), [
    (200, 20, 30, 2, {}), (2000, 10, 5, 8, {"weights": "he"}), (100, 3, 50, 100, {"grams": True}),
    (100, 3, 10, 150, {}), (20_000, 2, 2, 4, {}), (8, 3, 5000, 2, {"grams": True}),
    (2000, 30, 3, 4, {"batch_normalization": True}), (3000, 9, 5, 2, {"batch_normalization": True}),
])  # fmt: skip
def test_batches_keep_their_budget(phi, width, depth, trials, batch, options):
    """From the least budget that is accepted, of which they use more than a fifth."""
    grams, normalized = options.get("grams", False), options.get("batch_normalization", False)
    rows = min(batch_sampler.block_trials(width, depth, batch), trials)
    low, high = 1, 2**30
    while low < high:
        middle = (low + high) // 2
        try:
            check_batch(width, depth, trials, batch, rows, middle, grams=grams, normalized=normalized)
            high = middle
        except UsageError:
            low = middle + 1
    draw = partial(gpn.simulate, phi, width, depth, trials, seed=0, batch=batch, **options)
    with pytest.raises(UsageError, match=rf"batches of {batch} .*width {width} .*memory="):
        draw(memory=low - 1)
    assert low / 5 < peak(partial(draw, memory=low))[1] <= low


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GiB", 2**32), ("1 kB", 1000), ("1.5g", 1_500_000_000), ("3 MiB", 3 * 2**20), (7, 7), ("12", 12), ("2TB", 2e12)],
)
def test_budgets_are_read(text, size):
    assert budget(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1", 0, "4 XB", "1e9", True, "0.1", float("nan")])
def test_a_wrong_memory_budget_is_an_error(text):
    with pytest.raises(UsageError, match="4GiB"):
        budget(text)


def test_without_a_budget_half_of_what_is_free_is_taken(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    assert budget(None) == 500


def test_free_memory_is_that_of_the_system_and_of_the_group(monkeypatch):
    assert 2**20 < free_memory() < 2**50
    monkeypatch.setattr(memory, "_group_limit", lambda: 12345)
    assert free_memory() == 12345
