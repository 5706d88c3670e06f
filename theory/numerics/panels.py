"""Panels on which a function is resolved by a polynomial: how a Python function is explored from -40 to 40.

A panel is bisected until the last Chebyshev coefficients of the function on it are rounding noise. Where the function
is smooth this ends quickly; towards a kink the panels shrink to about 1e-12, towards a jump to a few floats.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from theory.numerics.arithmetic import FloatArray

Function = Callable[[FloatArray], FloatArray]
SINGLE = 1e-9
"""Relative rounding noise above this is that of single precision, or worse."""


REACH = 40.0
"""The line is explored for |x| up to this, a little farther than Gaussian integrals are computed."""


SPACING = 1.6e-3
"""Largest distance between neighbouring points of the first search of |x| < 8; narrower features can be missed."""


_NODES = 16
_FINE, _COARSE = 1 / 64, 1 / 8  # widths of the first panels for |x| < 8 and beyond
_SHIFT = 0.0059725  # keeps the ends of panels off round numbers, where kinks like to be
_TOLERANCE = 1e-13  # of the last coefficients, relative to the size of the function on the first panel
_EPS = float(np.finfo(np.float64).eps)
_LEAST = 1e-290
_SMALLEST = 1e-18  # width of a panel at which bisecting ends; 256 floats, away from 0
_GENERATIONS = 80
_STUCK = 8  # generations without progress on both halves: rough
_NOISY = 0.02  # noise that is no longer a rounding error, relative to the size of the function
_BUDGET = 150_000  # panels at a time
STRETCH = (1 - 1e-9) / math.cos(math.pi / 32)
"""The Chebyshev variable t runs from -1 to 1 on a panel stretched by this: its outermost points are at the ends."""


RESOLVED, BROKEN, ROUGH, UNDEFINED, INFINITE = range(5)
"""States of a panel: smooth; still not smooth at the smallest width; rough or oscillating; nan; overflowing."""


@dataclass(frozen=True, slots=True)
class Panels:
    """Consecutive panels with what was found on them; arrays of one length, ascending.

    Args:
        left, right: the ends.
        state: `RESOLVED`, `BROKEN`, `ROUGH`, `UNDEFINED` or `INFINITE`.
        depth: how often the first panel was bisected.
        floor: what counts as rounding noise of the function there.
        scale: the size of the function as far out as the panel, see `_scale`.
        noise: the largest rounding noise seen for |x| < 8, relative to the scale.
        steps: the largest step between neighbouring values that was taken for rounding.
    """

    left: FloatArray
    right: FloatArray
    state: npt.NDArray[np.int64]
    depth: npt.NDArray[np.int64]
    floor: FloatArray
    scale: FloatArray
    noise: float
    steps: float

    def intervals(self, state: int) -> tuple[tuple[float, float], ...]:
        """The union of the panels in one state, as disjoint intervals."""
        chosen = np.flatnonzero(self.state == state)
        runs = np.split(chosen, np.flatnonzero(self.left[chosen[1:]] > self.right[chosen[:-1]]) + 1)
        return tuple((float(self.left[run[0]]), float(self.right[run[-1]])) for run in runs if len(run))


def first_edges(points: npt.ArrayLike = ()) -> FloatArray:
    """Ends of the first panels, with given points among them."""
    fine = np.arange(-8, 8, _FINE) + _SHIFT
    tail = np.arange(8, REACH, _COARSE) + _SHIFT
    inner = np.asarray(points, dtype=np.float64)
    inner = inner[np.abs(inner) < REACH]
    return np.unique(np.concatenate([[-REACH], -tail - _SHIFT, fine, tail, [REACH], inner]))


def resolve(function: Function, edges: FloatArray) -> Panels:
    """Bisect panels until a function is resolved on each, or cannot be.

    Args:
        function: elementwise, on arrays of shape (panels, nodes).
        edges: ascending ends of the first panels.
    """
    left, right = edges[:-1], edges[1:]
    first = function(chebyshev_points(left, right))
    scale = _scale(_largest(first), left, right)
    inner = np.flatnonzero(np.abs(left) < 3)
    some = inner[::8]
    asked = chebyshev_points(left[some], right[some])
    rounding = max(_quantization(first[inner]), _input_rounding(function, asked, first[some]))
    noise = base = np.maximum(_median(_noise(function, left, right)), scale * rounding)
    inside = (left > -8) & (right < 8)
    relative = float(np.quantile((noise / np.maximum(scale, _LEAST))[inside], 0.9)) if inside.any() else 0.0
    depth: npt.NDArray[np.int64] = np.zeros(len(left), dtype=np.int64)
    stuck, before = depth, np.full(len(left), np.inf)
    steps = 0.0
    finished: list[tuple[npt.NDArray[Any], ...]] = []
    for generation in range(_GENERATIONS):
        values = function(chebyshev_points(left, right))
        residual, floor = chebyshev_residual(values), noise_floor(values, left, right, scale) + 10 * noise
        allowed = _TOLERANCE * scale + 10 * noise
        state = _state(
            values,
            residual <= floor,
            (residual > 0) & (floor > _NOISY * np.fmax(scale, _largest(values)) + 2 * _LEAST),
            left,
            right,
        )
        stuck = _count_stuck(stuck, residual, before, state)
        _give_up(state, stuck, np.abs(left) > 8, generation)
        smooth = state == RESOLVED
        steps = max(steps, _rounding_steps(values[smooth], residual[smooth], allowed[smooth], scale[smooth]))
        done = state >= 0
        finished.append((left[done], right[done], state[done], depth[done], floor[done], scale[done]))
        left, right, scale, base, before = (a[~done] for a in (left, right, scale, base, residual))
        stuck, depth = stuck[~done], depth[~done] + 1
        if not left.size:
            break
        middle = 0.5 * (left + right)
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
        scale, base, before = (np.tile(a, 2) for a in (scale, base, before))
        stuck, depth = np.tile(stuck, 2), np.tile(depth, 2)
        noise = np.maximum(base, _noise(function, left, right))
    return _sorted(finished, relative, steps)


def _scale(largest: FloatArray, left: FloatArray, right: FloatArray) -> FloatArray:
    """The size of the function on each panel, or nearer to 0 if it is larger there.

    Where a function decays to 0 as a difference (1 + tanh x does), its values are rounded as its terms are, not as
    they are themselves. A panel whose neighbours are all lower is a pole, and counts for itself alone.
    """
    radius = np.maximum(np.abs(left), np.abs(right))
    order = np.argsort(radius)
    running = np.maximum.accumulate(_median(largest)[order])
    within = running[np.searchsorted(radius[order], radius, side="right") - 1]
    return np.maximum(largest, within)


def _rounding_steps(values: FloatArray, residual: FloatArray, allowed: FloatArray, scale: FloatArray) -> float:
    """The largest step that a smooth curve through a panel leaves, where only the rounding that is allowed hides it."""
    rough = (residual > _TOLERANCE * _largest(values)) & (residual <= allowed)
    curve = np.cos(np.outer(np.arange(12), (np.arange(_NODES)[::-1] + 0.5) * np.pi / _NODES))
    rest = values[rough] - chebyshev_coefficients(values[rough])[:, :12] @ curve
    steps = np.abs(np.diff(rest, axis=1)).max(axis=1)
    return float(steps[steps > 0.01 * _EPS * scale[rough]].max(initial=0.0))


def _sorted(finished: list[tuple[npt.NDArray[Any], ...]], noise: float, steps: float) -> Panels:
    order = np.argsort(np.concatenate([part[0] for part in finished]))
    left, right, state, depth, floor, scale = (np.concatenate(column)[order] for column in zip(*finished, strict=True))
    return Panels(left, right, state, depth, floor, scale, noise, steps)


def _state(
    values: FloatArray,
    is_smooth: npt.NDArray[np.bool_],
    is_noise: npt.NDArray[np.bool_],
    left: FloatArray,
    right: FloatArray,
) -> npt.NDArray[np.int64]:
    """The state of each panel, -1 where it must be bisected."""
    tiny = right - left < np.maximum(256 * np.spacing(np.maximum(np.abs(left), np.abs(right))), _SMALLEST)
    state = np.where(tiny, BROKEN, -1)
    state[is_smooth] = RESOLVED
    state[is_smooth & is_noise] = ROUGH
    state[np.isinf(values).all(axis=1)] = INFINITE
    state[np.isnan(values).all(axis=1)] = UNDEFINED
    return state


def _count_stuck(
    stuck: npt.NDArray[np.int64], residual: FloatArray, before: FloatArray, state: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """How many generations in a row neither half of a panel was resolved better than the whole."""
    if np.isinf(before).all():
        return stuck
    slow = ((state < 0) & (residual > 0.25 * before)).reshape(2, -1).all(axis=0)
    return np.where(np.tile(slow, 2), stuck + 1, 0)


def _give_up(
    state: npt.NDArray[np.int64], stuck: npt.NDArray[np.int64], far: npt.NDArray[np.bool_], generation: int
) -> None:
    """Call rough what makes no progress, and where there are too many panels, the tails first."""
    state[(state < 0) & (stuck >= _STUCK)] = ROUGH
    if 8 * np.count_nonzero(state < 0) > _BUDGET:
        state[(state < 0) & far] = ROUGH
    if 2 * np.count_nonzero(state < 0) > _BUDGET or generation == _GENERATIONS - 1:
        state[state < 0] = ROUGH


def _largest(values: FloatArray) -> FloatArray:
    return np.asarray(np.max(np.where(np.isfinite(values), np.abs(values), 0.0), axis=1))


def _noise(function: Function, left: FloatArray, right: FloatArray) -> FloatArray:
    """Rounding noise of the function on each panel, by sixth differences of close values.

    (Hamming 1971; Moré and Wild 2011, "Estimating computational noise".) Of them a smooth function leaves nothing; of
    two places on the panel the quieter counts, as a kink or jump may lie in the other.
    """
    width = right - left
    weights = np.array([1, -6, 15, -20, 15, -6, 1]) / np.sqrt(924)
    quieter = np.full(len(left), np.inf)
    for place in (0.437, 0.613):
        middle = left + place * width
        worst = np.zeros(len(left))
        for fraction in (1e-7, 1e-4):
            step = np.maximum(fraction * width, 64 * np.spacing(np.abs(middle)))
            values = function(middle[:, None] + step[:, None] * np.arange(-3, 4))
            with np.errstate(all="ignore"):
                noise = np.abs(values @ weights)
            usable = np.isfinite(noise) & (step < 1e-2 * width)
            worst = np.maximum(worst, np.where(usable, noise, 0.0))
        quieter = np.minimum(quieter, worst)
    return quieter


def _median(noise: FloatArray) -> FloatArray:
    """The median of five panels, which ignores a jump between the close values."""
    padded = np.pad(noise, 2, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1))


def _quantization(values: FloatArray) -> float:
    """Relative rounding error of values that have fewer binary digits than float64, as float32 has; else 0."""
    known = values[np.isfinite(values) & (values != 0)]
    if _is_step_function(values) or len(known) < 100:
        return 0.0
    mantissa = known.view(np.int64) & np.int64(2**52 - 1)
    bits = int(np.bitwise_or.reduce(mantissa))
    spare = (bits & -bits).bit_length() - 1 if bits else 52
    return 2.0 ** (spare - 53) if spare > 2 else 0.0


def _input_rounding(function: Function, x: FloatArray, values: FloatArray) -> float:
    """Relative rounding error of a function that rounds its argument to float32, whatever follows; else 0.

    A float64 constant makes float64 values of float32 ones, which hides their rounding.
    """
    is_rounded = np.array_equal(function(x.astype(np.float32).astype(np.float64)), values, equal_nan=True)
    return float(np.finfo(np.float32).eps) / 2 if is_rounded and not _is_step_function(values) else 0.0


def _is_step_function(values: FloatArray) -> bool:
    """Whether a function of steps gave the values, of shape (panels, nodes): on each panel, most neighbours agree."""
    moves = np.count_nonzero(np.diff(values, axis=1), axis=1)
    return bool(moves.max(initial=0) < values.shape[1] / 2)


def chebyshev_points(left: FloatArray, right: FloatArray) -> FloatArray:
    """The 16 Chebyshev points on each panel, stretched to its ends, so that nothing hides between panels; (..., 16)."""
    half = 0.5 * STRETCH * (right - left)
    return np.asarray((0.5 * (left + right))[..., None] + half[..., None] * _chebyshev()[0])


def chebyshev_coefficients(values: FloatArray) -> FloatArray:
    """Coefficients of the interpolating polynomial in T_0 ... T_15, from values at the Chebyshev points."""
    with np.errstate(all="ignore"):
        return np.asarray(values @ _chebyshev()[1])


def chebyshev_residual(values: FloatArray) -> FloatArray:
    """The largest of the last four coefficients; nan where a value is not finite."""
    return np.asarray(np.abs(chebyshev_coefficients(values)[..., -4:]).max(axis=-1))


def noise_floor(values: FloatArray, left: FloatArray, right: FloatArray, scale: FloatArray) -> FloatArray:
    """Rounding error: of the values, and of x in a steep function."""
    with np.errstate(all="ignore"):
        steepness = (values.max(axis=-1) - values.min(axis=-1)) / (right - left)
        rounding = 4 * _EPS * np.maximum(np.abs(left), np.abs(right)) * steepness
    return np.asarray(_TOLERANCE * scale + np.where(np.isfinite(rounding), rounding, 0.0) + _LEAST)


@lru_cache(maxsize=1)
def _chebyshev() -> tuple[FloatArray, FloatArray]:
    """Nodes on [-1, 1], ascending, and the matrix from values there to coefficients."""
    angles = (np.arange(_NODES)[::-1] + 0.5) * np.pi / _NODES
    matrix = 2 / _NODES * np.cos(angles[:, None] * np.arange(_NODES))
    matrix[:, 0] /= 2
    return np.cos(angles), matrix
