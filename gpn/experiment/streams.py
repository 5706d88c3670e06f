"""The register of random streams: every number on which the bits of a result depend, beside the seed.

A chunk of trials draws from `SeedSequence(seed, spawn_key=(experiment, cell, chunk))` (see
`gpn.experiment.runs.generator`). The experiment is one of the numbers below, the cell says what is computed (most
often width and depth), and the chunk counts from 0. A number keeps its meaning for ever: a new experiment takes a new
number.

Two kinds of draws stand outside of this scheme. `gpn.simulate` passes its seed to SFC64 as it is. `gpn.train` uses
PCG64 with the spawn keys (TRAINING_WEIGHTS,) and (TRAINING_ORDER, epoch), which are shorter than three numbers.
"""

ONE_STEP = 1
"""`gpn.verify`: single layers."""

DEEP = 2
"""`gpn.verify`: whole networks."""

RAW_CONTROL = 3
"""`gpn.verify`: the same networks before their activation was normalized."""

GAUSSIAN_CONTROL = 4
"""`gpn.verify`: the same networks with Gaussian weights."""

RARE_EVENT = 5
"""`gpn.verify`: importance sampling of one layer."""

WIDTH_SEARCH = 6
"""`gpn.required_width`: frequencies that the simulation method searches."""

ENGINE, ENGINE_DENSE, ENGINE_PAIRS, ENGINE_LAW = 7, 8, 9, 11
"""`gpn.verify`: networks whose vectors are tested, matrix-free and dense, and pairs: of both, and with an exact law."""

NORMAL_LAYER = 10
"""`gpn.verify`: standard normal pre-activations."""

SPECTRUM = 30
"""`gpn.spectrum`: networks whose Jacobians are decomposed."""

SPECTRUM_PAIRS = 32
"""`gpn.spectrum`: networks with a pair of inputs."""

PROBE = 31
"""`gpn.probe`: seeds of the initializations, inputs and directions at the output."""

PROFILE = 20
"""`gpn.reproduce("gradients")`: networks with one input each."""

BATCH_PROFILE = 21
"""`gpn.reproduce("gradients")`: networks with batch normalization."""

BATCH_GROWTH = 22
"""`gpn.reproduce("gradients")`: growth of gradients with the size of the batch."""

COMPARISON = 23
"""`gpn.reproduce("training")`: training runs; each draws from the seed of its own."""

TABLE_1 = 24
"""`gpn.reproduce("table-1")`: training runs; each draws from the seed of its own."""

TRAINING_WEIGHTS, TRAINING_ORDER = 0, 1
"""`gpn.train`: initial weights, and the order of the samples in an epoch."""

CHUNK_NEURONS = 8_000_000
"""Neurons times layers in one chunk of trials: a fraction of a second, short enough to cancel and to resume."""


def chunk_size(width: int, depth: int) -> int:
    """Return how many networks one chunk of a cell computes; the random numbers depend on it.

    Args:
        width: neurons in each layer.
        depth: layers of each network.

    >>> chunk_size(1024, 50), chunk_size(10**6, 200)
    (156, 1)
    """
    return max(1, CHUNK_NEURONS // (width * depth))


def cell_number(width: int, detail: int) -> int:
    """Return the identity of a cell: its width and one more number, most often the depth, each below 2^32.

    >>> cell_number(1, 50)
    4294967346
    """
    return width << 32 | detail
