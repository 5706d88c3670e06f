"""Numerical search for the kinks and jumps of a Python function, where it is undefined, and how noisy it is.

The search sees values alone, so its result is never a proof: a feature narrower than the distance between the first
points can be missed (`limits` says it in words).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from theory.numerics.arithmetic import FloatArray
from theory.numerics.panels import (
    BROKEN,
    REACH,
    RESOLVED,
    ROUGH,
    SINGLE,
    SPACING,
    STRETCH,
    UNDEFINED,
    Function,
    Panels,
    chebyshev_coefficients,
    chebyshev_points,
    first_edges,
    noise_floor,
    resolve,
)

JUMP_SIZE = 1e-9
"""The smallest jump that is distinguished from rounding, relative to the size of the function nearby."""


KINK_SIZE = 1e-6
"""The smallest change of slope that is distinguished from rounding, relative to the size of the function nearby."""


ROUNDINGS = 64
"""A jump is more than this many roundings of the function, whose size is its largest from 0 as far out as the jump."""


_SEEN_JUMP, _SEEN_KINK = 6e3, 4e6
"""A jump and a change of slope above so many roundings are seen: 100 errors of two sides of 30 each; measured."""


_SIDES: FloatArray = 4.0 ** -np.arange(1.0, 24.0)  # lengths of the intervals beside a suspect, longest first
_CLEAR = 16  # such an interval is at least this many times as long as the gap around the suspect
_SHARP = 300  # and this many times for a kink, so that |x|**1.5 has none
_MOST = 1500  # suspects
_NEARBY = 1 / 16  # distance from a gap within which rounding is measured
_BESIDE = 6  # a plateau of more of the narrowest panels is a smooth feature


@dataclass(frozen=True, slots=True)
class Break:
    """A point at which a function jumps, or at which its slope does.

    Args:
        position: the point x.
        size: the change of the value (a jump) or of the slope (a kink); infinite at a singularity.
        width: the change happens within this distance: a smooth function that changes as quickly looks the same.
        is_jump: whether the value jumps or is unbounded there; else the slope does.
    """

    position: float
    size: float
    width: float
    is_jump: bool


@dataclass(frozen=True)
class Survey:
    """Shape of a function, as far as it is known.

    Args:
        breakpoints: points at which the function is or may be singular, ascending.
        kinks, jumps: the breakpoints with a kink and with a jump.
        undefined: intervals on which it is nan.
        rough: intervals on which it oscillates or is noisy beyond what can be resolved.
        edges: ends of panels on each of which a polynomial of degree 15 follows it.
        noise: rounding error of its values, relative to the size of the function.
        steps: the largest step between neighbouring values that was taken for rounding.
        searched: whether breakpoints were searched for.
    """

    breakpoints: tuple[float, ...] = ()
    kinks: tuple[Break, ...] = ()
    jumps: tuple[Break, ...] = ()
    undefined: tuple[tuple[float, float], ...] = ()
    rough: tuple[tuple[float, float], ...] = ()
    edges: FloatArray = field(default_factory=lambda: np.empty(0), compare=False, repr=False)
    noise: float = 0.0
    steps: float = 0.0
    searched: bool = False


def limits(noise: float) -> str:
    """What a search can miss, in words, of a function with values that are rounded so much (relative).

    >>> limits(6e-8).partition(",")[0]
    'looked for between -40 and 40; jumps below 0.00036 and changes of slope below 0.24 of the size of phi nearby'
    """
    jump, kink = max(JUMP_SIZE, _SEEN_JUMP * noise), max(KINK_SIZE, _SEEN_KINK * noise)
    if noise <= SINGLE:
        jump, kink = JUMP_SIZE, KINK_SIZE
    return (
        f"looked for between {-REACH:g} and {REACH:g}; jumps below {jump:.2g} and changes of slope below {kink:.2g} of "
        f"the size of phi nearby, features below the rounding of phi, and features narrower than {SPACING:g}, can be "
        "missed"
    )


def survey(function: Function, declared: Sequence[float] = ()) -> Survey:
    """Explore a function for |x| <= 40: find its kinks and jumps, and panels on which it is smooth.

    Panels are bisected where the function is not a polynomial to rounding (`theory.numerics.panels`). The narrowest
    panels are suspects. Beside each, on both sides, the function is interpolated on the longest interval on which that
    works; if the two polynomials differ at the suspect in value, or in slope, by more than their errors, it is a
    jump, or a kink, whose place is where they meet. A smooth function as steep as tanh(1000 x) is resolved.

    Args:
        function: elementwise on arrays.
        declared: known breakpoints; others are searched for.

    >>> seen = survey(lambda x: np.abs(x - 1.3) + 0.01 * np.sign(x + 0.1))
    >>> [kink.position for kink in seen.kinks], [jump.position for jump in seen.jumps]
    ([1.3], [-0.1])
    >>> survey(lambda x: np.tanh(1000 * x)).breakpoints
    ()
    """
    panels = resolve(function, first_edges(declared))
    gaps = [(point, point) for point in declared if abs(point) < REACH] + _suspects(panels)
    breaks = _examine(function, panels, gaps)
    points = sorted({*map(float, declared), *(new.position for new in breaks)})
    if len(points) > len(declared):
        panels = resolve(function, first_edges(points))
    undefined = panels.intervals(UNDEFINED)
    ends = {end for interval in undefined for end in interval if abs(end) < REACH}
    return Survey(
        tuple(sorted({*points, *ends})),
        tuple(new for new in breaks if not new.is_jump),
        tuple(new for new in breaks if new.is_jump),
        undefined,
        panels.intervals(ROUGH),
        np.append(panels.left, panels.right[-1]),
        panels.noise,
        panels.steps,
        searched=True,
    )


def _suspects(panels: Panels) -> list[tuple[float, float]]:
    """Runs of broken or of the locally narrowest panels: what they cover must hold the kink or jump, if any."""
    width = panels.right - panels.left
    level = np.round(np.log2(width)).astype(np.int64)
    starts = np.flatnonzero(np.diff(level, prepend=level[0] - 1))
    stops = np.append(starts[1:], len(level))
    heights = level[starts]
    before, after = np.append(np.inf, heights[:-1]), np.append(heights[1:], np.inf)
    depth = np.maximum.reduceat(panels.depth, starts)
    known = np.minimum.reduceat((panels.state == RESOLVED) | (panels.state == ROUGH), starts)
    chosen = (heights < before) & (heights < after) & (depth >= 2) & (stops - starts <= _BESIDE) & known
    ends = zip(panels.left[starts[chosen]], panels.right[stops[chosen] - 1], strict=True)
    gaps = [(float(low), float(high)) for low, high in ends] + list(panels.intervals(BROKEN))
    return sorted(gaps, key=lambda gap: abs(gap[0]))[:_MOST]


@dataclass(frozen=True, slots=True)
class _Side:
    """Interpolation of a function on an interval beside each suspect.

    Args:
        origin, length: the interval; of negative length if it lies to the left.
        coefficients: in Chebyshev polynomials, (suspects, 16).
        error: the error of the interpolated values.
        is_smooth: whether that is rounding.
    """

    origin: FloatArray
    length: FloatArray
    coefficients: FloatArray
    error: FloatArray
    is_smooth: FloatArray

    def at(self, x: FloatArray, order: int = 0) -> FloatArray:
        """The value of the polynomials or of a derivative, each at its own point."""
        t = (2 * (x - self.origin) / self.length - 1) / STRETCH
        terms = self.coefficients
        if order:
            terms = (
                np.polynomial.chebyshev.chebder(terms, order, axis=1) * (2 / STRETCH / self.length[:, None]) ** order
            )
        return np.asarray(np.polynomial.chebyshev.chebval(t, terms.T, tensor=False))


def _examine(function: Function, panels: Panels, gaps: list[tuple[float, float]]) -> list[Break]:
    """The breaks among suspects that lie each within a gap."""
    if not gaps:
        return []
    a, b = np.array(gaps).T
    scale = _size_near(function, a, b)
    whole = panels.scale[np.clip(np.searchsorted(panels.left, 0.5 * (a + b)) - 1, 0, None)]
    rounding = (1e-13 + 30 * panels.noise) * whole
    if panels.noise > SINGLE:  # values that cancel, as x - 0.5 next to 0.5, round as their terms
        rounding = np.maximum(rounding, 3 * _floor_beside(panels, a, b))
    left, right = _interpolate(function, a, b, -1.0, rounding), _interpolate(function, b, a, 1.0, rounding)
    middle = 0.5 * (a + b)
    error = left.error + right.error
    least = ROUNDINGS * max(panels.noise, float(np.finfo(np.float64).eps)) * whole
    with np.errstate(all="ignore"):
        gap = b - a
        rise, bend = (right.at(middle, order) - left.at(middle, order) for order in (0, 1))
        is_jump = np.abs(rise) > np.maximum(100 * error + JUMP_SIZE * scale + np.abs(bend) * gap, least)
        meeting = _meeting(a, b, left, right)
        bend, twist = (right.at(meeting, order) - left.at(meeting, order) for order in (1, 2))
        shorter = np.minimum(np.abs(left.length), np.abs(right.length))
        is_kink = np.abs(bend) > 1000 * error / shorter + KINK_SIZE * scale + np.abs(twist) * gap
        is_kink &= (shorter > _SHARP * gap) | (_is_sudden(bend, meeting, gap, left, right) & (panels.noise > SINGLE))
    low, high = _bisect(function, a, b, left, right)
    breaks: list[Break] = []
    for i in range(len(a)):
        if not (left.is_smooth[i] and right.is_smooth[i] and np.isfinite(error[i])):
            breaks += _singular(function, float(middle[i]), float(gap[i])) if gap[i] < 1e-9 else []
        elif is_jump[i]:
            place = _simplest(low[i], high[i], 4 * np.spacing(abs(high[i])))
            breaks.append(Break(place, float(abs(rise[i])), float(high[i] - low[i]), True))
        elif is_kink[i]:
            doubt = 20 * error[i] / abs(bend[i]) + 4 * np.spacing(abs(meeting[i]))
            place = _simplest(meeting[i], meeting[i], doubt)
            breaks.append(Break(place, float(abs(bend[i])), float(b[i] - a[i]), False))
    declared = {gap[0] for gap in gaps if gap[0] == gap[1]}
    return _distinct(breaks, declared)


def _floor_beside(panels: Panels, a: FloatArray, b: FloatArray) -> FloatArray:
    """The most that counts as rounding on a panel beside each gap; of one panel alone it is known too badly."""
    first = np.maximum(np.searchsorted(panels.left, a - _NEARBY) - 1, 0)
    last = np.searchsorted(panels.left, b + _NEARBY)
    return np.array([panels.floor[i:j].max() for i, j in zip(first, last, strict=True)])


def _is_sudden(
    bend: FloatArray, place: FloatArray, gap: FloatArray, left: _Side, right: _Side
) -> npt.NDArray[np.bool_]:
    """Whether the slope changes far more across a gap than it bends beside it, where rounding makes the gap wide.

    Not so for |x|**1.5, whose slope bends as much beside.
    """
    bends = [
        sum(
            weight * side.at(place + sign * shift * gap, 1) for weight, shift in ((1, 0), (-2, _CLEAR / 2), (1, _CLEAR))
        )
        for side, sign in ((left, -1), (right, 1))
    ]
    return np.asarray(np.abs(bend) > 4 * (np.abs(bends[0]) + np.abs(bends[1])))


def _meeting(a: FloatArray, b: FloatArray, left: _Side, right: _Side) -> FloatArray:
    """Where the polynomials of both sides meet within each gap, by Newton steps."""
    x = 0.5 * (a + b)
    for _ in range(4):
        step = (right.at(x) - left.at(x)) / (right.at(x, 1) - left.at(x, 1))
        x = np.clip(x - np.where(np.isfinite(step), step, 0.0), a, b)
    return x


def _size_near(function: Function, a: FloatArray, b: FloatArray) -> FloatArray:
    """The size of the function within 1/64 of each suspect."""
    points = 0.5 * (a + b)[:, None] + np.linspace(-1, 1, 18) / 64
    values = np.abs(function(points))
    return np.asarray(np.max(np.where(np.isfinite(values), values, 0.0), axis=1))


def _interpolate(function: Function, near: FloatArray, other: FloatArray, sign: float, rounding: FloatArray) -> _Side:
    """The polynomial on the longest interval beside each suspect on which the function is one to rounding."""
    lengths = sign * _SIDES
    ends = near[:, None] + lengths
    values = function(chebyshev_points(np.broadcast_to(near[:, None], ends.shape), ends))
    coefficients = chebyshev_coefficients(values)
    with np.errstate(all="ignore"):
        floor = noise_floor(values, near[:, None], np.abs(lengths) + near[:, None], 0 * rounding[:, None])
        tail = np.abs(coefficients[..., -4:]).max(axis=-1)
        local = np.abs(values).max(axis=-1)
        error = np.where(np.isfinite(tail), tail, np.inf) + 1e-15 * local
        error += _miss_near(function, near, lengths, coefficients)
    usable = np.abs(lengths) >= np.maximum(_CLEAR * np.abs(near - other), 1e3 * np.spacing(np.abs(near)))[:, None]
    good = usable & (error <= rounding[:, None] + np.where(np.isfinite(floor), floor, 0.0))
    best = np.argmin(np.where(usable, error, np.inf), axis=1)
    choice = np.where(good.any(axis=1), good.argmax(axis=1), best)
    rows = np.arange(len(near))
    return _Side(near, lengths[choice], coefficients[rows, choice], error[rows, choice], good.any(axis=1))


def _miss_near(function: Function, near: FloatArray, lengths: FloatArray, coefficients: FloatArray) -> FloatArray:
    """By how much the polynomials miss the function close to the suspect, where there are no Chebyshev points."""
    fractions = 4.0 ** -np.arange(3, 14)
    points = near[:, None, None] + lengths[:, None] * fractions
    fitted = np.polynomial.chebyshev.chebvander((2 * fractions - 1) / STRETCH, coefficients.shape[-1] - 1)
    miss = np.abs(function(points) - coefficients @ fitted.T)
    visible = np.abs(points - near[:, None, None]) > 16 * np.spacing(np.abs(points))
    return np.asarray(np.max(np.where(visible, miss, 0.0), axis=-1))


def _bisect(
    function: Function, a: FloatArray, b: FloatArray, left: _Side, right: _Side
) -> tuple[FloatArray, FloatArray]:
    """Narrow each gap to neighbouring floats: on which side of the jump does the middle lie?"""
    for _ in range(64):
        middle = 0.5 * (a + b)
        value = function(middle)
        with np.errstate(all="ignore"):
            is_left = np.abs(value - left.at(middle)) < np.abs(value - right.at(middle))
        a, b = np.where(is_left, middle, a), np.where(is_left, b, middle)
    return a, b


def _singular(function: Function, place: float, width: float) -> list[Break]:
    """A point at which the function is not smooth from one side: unbounded (a jump), or with an infinite slope.

    Going away from it, distances doubled, the steps of the function follow a power of the distance there; a
    logarithm has equal steps. Steps without such order are rounding noise.
    """
    distances = np.maximum(width, 64 * np.spacing(abs(place))) * 2.0 ** np.arange(4, 22)
    with np.errstate(all="ignore"):
        values = function(place + np.array([[-1.0], [1.0]]) * distances)
        steps = np.abs(np.diff(values, axis=1))
        growth = np.diff(np.log2(steps), axis=1)
        ordered = np.isfinite(growth).all(axis=1) & (growth.max(axis=1) - growth.min(axis=1) < 0.3)
        apart = bool(ordered.all() and abs(values[1, 0] - values[0, 0]) > 30 * steps[:, 0].sum())
    power = float(np.median(growth[ordered])) if ordered.any() else np.inf
    if power > 1.1:
        return []
    return [Break(_simplest(place, place, max(2 * width, 1e-12)), float("inf"), width, power < 0.02 or apart)]


def _simplest(low: float, high: float, doubt: float) -> float:
    """The shortest decimal number within the doubt of an interval."""
    middle = float(0.5 * (low + high))
    for digits in range(17):
        rounded = round(middle, digits)
        if low - doubt <= rounded <= high + doubt:
            return rounded + 0.0
    return middle


def _distinct(breaks: list[Break], declared: set[float]) -> list[Break]:
    """One break for each place, a declared one or else the sharpest; a singularity stands for all around it."""
    kept: list[Break] = []
    for new in sorted(breaks, key=lambda new: (new.position not in declared, new.width)):
        for old in kept:
            reach = 1e-6 if np.isinf(new.size) else 4 * new.width + 1e-13 * abs(old.position)
            if abs(new.position - old.position) <= reach:
                break
        else:
            kept.append(new)
    return sorted(kept, key=lambda old: old.position)
