"""How much memory a simulation may take, and how many layers of a network fit into it.

A simulation that would not fit is refused before it starts. Matrix-free, with one input, the lower layers are drawn
twice instead (`gpn.sampling.passes.StoredLayers`), so that wide and deep networks run on a small machine.
"""

import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from gpn.sampling.passes import TILE_NEURONS
from theory.errors import UsageError

PROGRAM = 320 * 2**20
"""Bytes that the interpreter, the libraries, the theory and the figures take; 0.2 to 0.3 GiB were measured."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SHARE = 0.5  # of the free memory that is taken without being told
_FALLBACK = 2**31  # free memory where the system does not tell
_NUMBER = 8  # bytes
_WORK = 3  # values, slopes and gradients of a layer
_TEMPORARIES = 16  # of an activation
_STATE = 2**12  # bytes, more than any of NumPy's generators needs
_DECOMPOSITION = 5  # matrices that are alive while one is orthogonalized
_PADDING = 2**20


def budget(memory: int | str | None) -> int:
    """Read a memory budget.

    Args:
        memory: bytes, or a text with a unit such as "4GiB", "500 MB" or "1.5g"; None for half of what is free now.

    Returns:
        Bytes.

    Raises:
        UsageError: anything else, or nothing at all.

    >>> budget("4GiB"), budget("1.5 MB"), budget(1000)
    (4294967296, 1500000, 1000)
    """
    if memory is None:
        return int(_SHARE * free_memory())
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kmgt]i?)?b?\s*", str(memory).lower())
    size = 0.0 if match is None or isinstance(memory, bool) else float(match[1]) * _UNITS[match[2] or ""]
    if not 1 <= size < float("inf"):
        raise UsageError(f"memory must be a size such as '4GiB', '500MB' or a number of bytes, not {memory!r:.40}")
    return int(size)


def beside_the_program(memory: int | str | None) -> int:
    """Give the bytes that a run may take beside the program itself, which is loaded and no longer free.

    Args:
        memory: as for `budget`; None for all that is free.
    """
    return free_memory() if memory is None else budget(memory) - PROGRAM


def free_memory() -> int:
    """Give the bytes that new arrays may take without swapping, as far as the system tells.

    On Linux the available memory of the machine, or the limit of the control group if that is less; elsewhere the
    whole memory of the machine, or 2 GiB where that is unknown.
    """
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = {line.split(":")[0]: int(line.split()[1]) for line in lines}["MemAvailable"] * 1024
    except (OSError, ValueError, KeyError, IndexError):
        try:
            available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):
            available = _FALLBACK
    return min(available, _group_limit())


def _group_limit() -> int:
    """The memory limit of the control group (version 2, or 1) of a container; endless without one."""
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return int(Path(limit).read_text(encoding="ascii"))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return 2**63


def in_words(size: float) -> str:
    """A size for a message.

    >>> in_words(3 * 2**29), in_words(1000)
    ('1.5 GiB', '1.0 KiB')
    """
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024 or unit == "GiB":
            break
    return f"{size:.1f} {unit}"


def layers_that_fit(width: int, depth: int, trials: int, rows: int, memory: int) -> int:
    """Give the number of layers that a matrix-free simulation can keep from the forward to the backward pass.

    Beside them the results take 5 numbers for each trial and layer, the bookkeeping of a block of `rows` trials 12
    for each of its trials and layers, the work on one layer `_WORK` for each neuron and `_TEMPORARIES` for each one of
    a tile. A layer that is not kept costs the state of the generator.

    Args:
        width, depth, trials: the sizes of the simulation.
        rows: trials that are worked on together.
        memory: bytes.

    Raises:
        UsageError: not even the least amount fits.

    >>> layers_that_fit(10**6, 200, 1, 1, 2**32), layers_that_fit(10**6, 200, 1, 1, 2**30)
    (200, 127)
    """
    layer = _NUMBER * rows * width
    least = least_memory(width, depth, trials, rows)
    if least + (depth - 1) * layer - depth * _STATE <= memory:
        return depth
    what = f"{trials} trials of a network of width {width} and depth {depth} need at least"
    _check_fits(least, memory, what, "run fewer trials at once")
    return min(depth - 1, (memory - least) // max(layer - _STATE, 1))


def least_memory(width: int, depth: int, trials: int, rows: int) -> int:
    """Give the bytes that a matrix-free simulation takes if it keeps one layer only.

    Args:
        width, depth, trials, rows: as for `layers_that_fit`.

    >>> in_words(least_memory(10**6, 200, 1, 1))
    '48.3 MiB'
    """
    layer = _NUMBER * rows * width
    tile = _NUMBER * min(rows * width, TILE_NEURONS)
    results = _NUMBER * (depth + 1) * (5 * trials + 12 * rows)
    return results + (_WORK + 1) * layer + _TEMPORARIES * tile + _PADDING + depth * _STATE


def check_dense(widths: Sequence[int], trials: int, batch: int, memory: int, *, grams: bool = False) -> None:
    """Check that a network with explicit matrices fits: its weights, one decomposition, its layers and the results.

    Args:
        widths: n_0, ..., n_L.
        trials, batch: sizes of the simulation.
        memory: the budget in bytes.
        grams: whether Gram matrices are kept.

    Raises:
        UsageError: it does not.
    """
    sizes = [narrow * wide for narrow, wide in pairwise(widths)]
    layers = (sum(widths[1:]) + _WORK * max(widths)) * batch
    results = trials * len(widths) * batch * (8 + batch * grams)
    size = _NUMBER * (sum(sizes) + _DECOMPOSITION * max(sizes) + layers + results) + _PADDING
    what = f"explicit matrices of width {max(widths)} and depth {len(sizes)} need"
    _check_fits(size, memory, what, "use method='matrix-free'")


def check_branches(width: int, depth: int, trials: int, rows: int, memory: int) -> None:
    """Check that networks with residual branches fit: preactivations and signals of all layers of a block.

    Args:
        width, depth, trials, rows, memory: as for `layers_that_fit`.

    Raises:
        UsageError: they do not.
    """
    size = least_memory(width, depth, trials, rows) + 2 * depth * _NUMBER * rows * width
    what = f"{trials} trials of a network of width {width} and depth {depth} with residual branches need"
    _check_fits(size, memory, what, "run fewer trials or layers")


def check_batch(
    width: int, depth: int, trials: int, batch: int, rows: int, memory: int, *, grams: bool, normalized: bool
) -> None:
    """Check that a batch without matrices fits: all layers of a block of trials, the work on one, and the results.

    A layer keeps three arrays of the size of the signals and three of (batch, batch) for each trial of the block;
    batch normalization one more of the signals, and two vectors.

    Args:
        width, depth, trials, batch, memory, grams: as for `check_dense`.
        rows: trials that are worked on together.
        normalized: whether there is batch normalization.

    Raises:
        UsageError: it does not.
    """
    layer = rows * batch * (width + batch)
    kept = 3 * layer + normalized * rows * (batch + 2) * (width + batch)
    results = trials * (depth + 1) * (8 * batch + 4 + batch**2 * grams)
    size = _NUMBER * (depth * kept + _TEMPORARIES * layer + results) + _PADDING
    what = f"{trials} trials of batches of {batch} at width {width} and depth {depth} need"
    _check_fits(size, memory, what, "run fewer inputs, layers or trials at once")


def check_training(data: int, layers: Sequence[int], batch: int, *, memories: int, records: int, memory: int) -> None:
    """Check that a training run fits: data and a block of it as inputs, weights with all that belongs to them, layers.

    Args:
        data: bytes of all samples and labels.
        layers: the numbers of neurons, those of the inputs first and those of the readout last.
        batch: samples that pass the network together.
        memories: arrays that the optimizer keeps for each matrix.
        records: steps at which norms of all layers are recorded.
        memory: the budget in bytes.

    Raises:
        UsageError: it does not.
    """
    weights = sum(wide * narrow for wide, narrow in pairwise(layers))
    largest = max(wide * narrow for wide, narrow in pairwise(layers))
    passing = _WORK * batch * sum(layers) + 4 * batch * max(layers)
    numbers = (1 + memories) * weights + _DECOMPOSITION * largest + passing + 2 * records * len(layers)
    what = f"training {len(layers) - 2} layers of {layers[1]} on {in_words(data)} of data needs"
    _check_fits(2 * data + _NUMBER * numbers + _PADDING, memory, what, "take fewer layers, neurons or samples")


def _check_fits(size: float, memory: int, what: str, remedy: str) -> None:
    if size > memory:
        raise UsageError(
            f"{what} {in_words(size)} of memory, more than the {in_words(memory)} that may be taken; allow more with "
            f"memory=..., or {remedy}"
        )
