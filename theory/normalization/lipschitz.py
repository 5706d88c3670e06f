"""Lipschitz constants of an activation and of its slope on an interval: certified, or else by a dense search."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import mpmath
import numpy as np
import sympy
from flint import arb

from theory.activations.activation import Activation, NumericActivation, steps
from theory.activations.callable import CallableActivation
from theory.activations.pieces import Piece
from theory.balls.decimal import digits_of
from theory.errors import UsageError
from theory.gaussian.convergence import approach, guarded_modulus
from theory.normalization.lipschitz_proofs import certified_lipschitz
from theory.numerics.arithmetic import FloatArray, constant_value, is_infinite
from theory.numerics.panels import REACH, SINGLE

INFLATION = 1e-9
"""Relative amount by which a supremum is enlarged, to be on the safe side of rounding and of the search."""


_CANDIDATES = 16  # local maxima of the grid that are refined
_ZOOMS = 7  # each divides a bracket by 8
_FAR = 1e12  # end of the grid on an infinite piece
_TOLERANCE = 1e-13  # relative, of the certified enclosures
_DOUBT = 2e-4  # relative error of a slope or a curvature by differences that counts
_NEAR = 8.0  # noise farther out, where rounding steps are large, hides nothing
_HUGE = 1e15  # a function that has grown so far may overflow because it grows on
_ZERO = 1e-9  # a modulus that rounding may make of 0
_HIDDEN = 0.01  # relative excess of a modulus known badly that says where the supremum is not
_SHARED = 6  # digits that both ends of an enclosure must share to be shown as the supremum
Order = Literal["slope", "curvature"]
Kind = Literal["exact", "upper bound", "estimate", "infinite", "looks infinite", "not known"]


@dataclass(frozen=True, slots=True)
class Supremum:
    """A supremum as it is shown.

    Args:
        value: the digits that both ends of its enclosure share, at most 15; infinite if it is or is not known.
        kind: "exact" where there are six of them at least, else "upper bound", which may be far above; "estimate" where
            it comes from a search; "infinite" and "looks infinite" (by a search); "not known".
    """

    value: float
    kind: Kind

    @classmethod
    def of(cls, ball: arb) -> "Supremum":
        """Return what a proved enclosure shows.

        >>> Supremum.of(arb(1, 1e-13)), Supremum.of(arb(1.5, 1.5))
        (Supremum(value=1.0, kind='exact'), Supremum(value=3.0..., kind='upper bound'))
        """
        if not ball.is_finite():
            return cls(np.inf, "infinite")
        if np.isinf(float(ball.upper())):
            return cls(np.inf, "not known")  # no float64 is so large
        text = digits_of(ball, 15)
        digits = "" if text == "?" else text.partition("e")[0].replace(".", "").lstrip("0")
        if ball.is_zero() or len(digits) >= _SHARED:
            return cls(float(text), "exact")
        return cls(_upper(ball), "upper bound")

    @classmethod
    def seen(cls, value: float) -> "Supremum":
        """Return what a search shows; nan stands for a supremum that rounding hides."""
        if np.isnan(value):
            return cls(np.inf, "not known")
        return cls(value, "estimate" if np.isfinite(value) else "looks infinite")


@dataclass(frozen=True, slots=True)
class LipschitzConstants:
    """The Lipschitz constants of phi and of phi' on an interval |x| <= radius; infinite where there is none.

    Args:
        slope: K = sup |phi'|, infinite if phi jumps.
        curvature: K' = sup |phi''|, infinite if phi' jumps (a kink) or phi does.
        radius: half-width of the interval, may be infinite.
        certified: True if both are proved upper bounds; False where one comes from a numerical search, which is
            enlarged by the relative amount `INFLATION`.
        shown: the two suprema as they are shown, which says where one is only an upper bound.
    """

    slope: float
    curvature: float
    radius: float
    certified: bool = False
    shown: tuple[Supremum, Supremum] | None = None

    @property
    def suprema(self) -> tuple[Supremum, Supremum]:
        """sup |phi'| and sup |phi''| as they are shown."""
        return self.shown or (Supremum.seen(self.slope), Supremum.seen(self.curvature))


def lipschitz_constants(activation: NumericActivation, radius: float = np.inf) -> LipschitzConstants:
    r"""Lipschitz constants of an activation and of its slope on an interval.

    .. math:: K = \sup_{|x| \le R} |\phi'(x)|, \qquad K' = \sup_{|x| \le R} |\phi''(x)|

    Interval branch and bound proves them where every function of the expression has a rule
    (`theory.normalization.lipschitz_proofs`). Where it does not, and for a Python function, see
    `searched_lipschitz_constants`.

    Args:
        activation: phi.
        radius: R > 0, may be infinite. On the sphere of a layer of width n, R = sqrt(n q).

    Raises:
        UsageError: a radius that is not positive.

    >>> from theory.numerics.arithmetic import X
    >>> tanh = lipschitz_constants(Activation("tanh", sympy.tanh(X)))
    >>> tanh.certified, 1 <= tanh.slope < 1 + 1e-12
    (True, True)
    >>> lipschitz_constants(Activation("relu", sympy.Max(X, 0)), 2.0).curvature
    inf
    """
    if not radius > 0:
        raise UsageError(f"the radius must be positive (inf for the whole line), not {radius}")
    if not isinstance(activation, Activation):
        return searched_lipschitz_constants(activation, radius)
    if activation.undefined:
        return LipschitzConstants(np.inf, np.inf, radius)
    proved = certified_lipschitz(activation, radius, _TOLERANCE)
    balls = (proved.slope, proved.curvature)
    searched: tuple[float, float] = (np.inf, np.inf)
    if not all(isinstance(ball, arb) for ball in balls):
        numerical = searched_lipschitz_constants(activation, radius)
        searched = numerical.slope, numerical.curvature
    pairs = list(zip(balls, searched, strict=True))
    slope, curvature = (_upper(ball) if isinstance(ball, arb) else number for ball, number in pairs)
    shown = [Supremum.of(ball) if isinstance(ball, arb) else Supremum.seen(number) for ball, number in pairs]
    return LipschitzConstants(
        slope, curvature, radius, all(isinstance(ball, arb) for ball in balls), (shown[0], shown[1])
    )


def missing_hypotheses(activation: NumericActivation) -> tuple[str, ...]:
    """Return which hypotheses of the paper's theorems an activation misses: that phi and phi' are Lipschitz.

    (Y. Lu, S. Gould, T. Ajanthan 2020: norms are preserved forward if phi is GPN and Lipschitz, backward if phi' is
    Lipschitz as well.)

    Args:
        activation: phi.

    >>> from theory.numerics.arithmetic import X
    >>> missing_hypotheses(Activation("relu", sympy.Max(X, 0))), missing_hypotheses(Activation("tanh", sympy.tanh(X)))
    (("phi' is not Lipschitz",), ())
    """
    constants = lipschitz_constants(activation)
    names = {"phi": constants.slope, "phi'": constants.curvature}
    return tuple(f"{name} is not Lipschitz" for name, constant in names.items() if np.isinf(constant))


def _upper(ball: arb) -> float:
    """The least float64 that is known to be no less than a ball."""
    return 0.0 if ball.is_zero() else float(np.nextafter(float(ball.upper()), np.inf))


def searched_lipschitz_constants(activation: NumericActivation, radius: float = np.inf) -> LipschitzConstants:
    """Lipschitz constants by a dense search, for what cannot be certified.

    Each smooth piece is searched on a dense grid whose best points are refined; one-sided limits at the
    breakpoints and, for an infinite radius, growth up to |x| = 1e64 are followed by mpmath. This is a search,
    not a proof: a feature narrower than 5e-4, or than a thousandth of |x| beyond 40, can escape it.

    Args:
        activation: phi. The kinks and jumps of a Python function are its declared ones, or those that are found.
        radius: R > 0, may be infinite.
    """
    if _has_step(activation, "value", radius) or _has_cusp(activation, radius):
        return LipschitzConstants(np.inf, np.inf, radius)
    seen = [_supremum(activation, "slope", radius) * (1 + INFLATION), np.inf]
    if not _has_step(activation, "slope", radius):
        seen[1] = _supremum(activation, "curvature", radius) * (1 + INFLATION)
    slope, curvature = (np.inf if np.isnan(number) else number for number in seen)
    if isinstance(activation, CallableActivation) and activation.survey.noise > SINGLE:
        seen = [float(f"{number:.2g}") for number in seen]
    return LipschitzConstants(slope, curvature, radius, shown=(Supremum.seen(seen[0]), Supremum.seen(seen[1])))


def _has_step(activation: NumericActivation, order: Literal["value", "slope"], radius: float) -> bool:
    return any(_within(sympy.sympify(point), radius) for point in steps(activation, order))


def _has_cusp(activation: NumericActivation, radius: float) -> bool:
    """Whether a Python function was seen to have a point with an infinite slope."""
    if not isinstance(activation, CallableActivation):
        return False
    return any(np.isinf(kink.size) and abs(kink.position) < radius for kink in activation.survey.kinks)


def _supremum(activation: NumericActivation, order: Order, radius: float) -> float:
    """Largest modulus of the slope or the curvature within the radius; nan where noise hides it."""
    if isinstance(activation, CallableActivation) and any(
        low < min(_NEAR, radius) and high > -min(_NEAR, radius) for low, high in activation.survey.rough
    ):
        return np.nan
    function = _modulus(activation, order)
    inner = activation.breakpoint_values
    edges = np.concatenate([[-radius], inner[np.abs(inner) < radius], [radius]])
    # Near a breakpoint mpmath looks instead: at a removable singularity, as in sin(x)/x, float64 cancels.
    margin = 1e-3 if isinstance(activation, Activation) else 1e-9
    grids = [_grid(lower, upper, radius, margin) for lower, upper in pairwise(edges)]
    largest = max(_search(function, grid) for grid in grids)
    if not isinstance(activation, Activation):
        if np.isinf(radius) and _grows(_modulus(activation, order, doubtful=True)):
            return np.inf
        return np.nan if _is_hidden(activation, order, largest, np.concatenate(grids)) else largest
    ends = [(piece, end) for piece in activation.pieces for end in (piece.lower, piece.upper)]
    limits = [_limit(piece, end, order, largest) for piece, end in ends if _within(end, radius)]
    return max([largest, *limits])


def _is_hidden(activation: NumericActivation, order: Order, largest: float, grid: FloatArray) -> bool:
    """Whether moduli that are known too badly to count are above the largest that counts, by more than their errors.

    So is |phi''| next to 0 of x/(1 + |x|) in single precision, where phi'' jumps from 2 to -2.
    """
    if not isinstance(activation, CallableActivation):
        return False
    moduli = _modulus(activation, order, doubtful=True)
    if largest == 0:
        return bool(moduli(grid).max() > _ZERO)
    near = grid[np.abs(grid) < _NEAR]
    error = activation.slope_error(near) if order == "slope" else activation.curvature_error(near)
    return bool(np.nanmax(moduli(near) - error, initial=0.0) > (1 + _HIDDEN) * largest)


def _grows(function: Callable[[FloatArray], FloatArray]) -> bool:
    """Whether a modulus still grows where the grid ends, or overflows."""
    spread = np.linspace(0.9, 1, 101)  # the largest of many, as the modulus may oscillate
    signs = np.array([[-1.0], [1.0]])
    near, far = (function(signs * distance * spread).max(axis=1) for distance in (1e-6 * _FAR, _FAR))
    return bool(((far > 1.5 * near) & (far > 1e-3)).any() or np.isinf(near).any())


def _within(end: sympy.Expr, radius: float) -> bool:
    return bool(np.isinf(radius)) if is_infinite(end) else bool(abs(constant_value(end, 30)) < radius)


def _search(function: Callable[[FloatArray], FloatArray], grid: FloatArray) -> float:
    """Supremum on one piece: the grid, then repeated zooming into its best local maxima."""
    values = function(grid)
    if not np.isfinite(values).all():
        return np.inf
    padded = np.concatenate([[-1.0], values, [-1.0]])
    peaks = np.flatnonzero((values >= padded[:-2]) & (values >= padded[2:]))
    peaks = peaks[np.argsort(values[peaks])[-_CANDIDATES:]]
    left, right = grid[np.maximum(peaks - 1, 0)], grid[np.minimum(peaks + 1, len(grid) - 1)]
    best = previous = float(values.max())
    for _ in range(_ZOOMS):
        previous = best
        points = np.linspace(left, right, 17)
        finer = function(points)
        top, column = finer.argmax(axis=0), np.arange(len(left))
        best = max(best, float(finer.max()))
        left, right = points[np.maximum(top - 1, 0), column], points[np.minimum(top + 1, 16), column]
    return best if best < 2 * previous or best == 0 else np.inf  # a maximum settles, a pole does not


def _grid(lower: float, upper: float, radius: float, margin: float) -> FloatArray:
    """Points inside a piece: 5e-4 apart near 0, 2e-2 up to 40, then growing geometrically.

    Ends at the radius are included, ends at a breakpoint are kept off by the margin.
    """
    far = np.geomspace(40, _FAR, 3000)
    line = np.concatenate([np.arange(0, 8, 5e-4), np.arange(8, 40, 2e-2), far])
    line = np.concatenate([-line[:0:-1], line])
    low, high = max(lower, -_FAR), min(upper, _FAR)
    margin *= min(high - low, 1.0)
    own = np.linspace(low + margin * (lower != -radius), high - margin * (upper != radius), 1000)
    return np.union1d(own, line[(line > own[0]) & (line < own[-1])])


def _modulus(
    activation: NumericActivation, order: Order, *, doubtful: bool = False
) -> Callable[[FloatArray], FloatArray]:
    """|phi'| or |phi''| on arrays; where float64 overflows, mpmath evaluates a few of the points.

    Args:
        activation, order: phi, and which.
        doubtful: whether to keep differences that rounding may have made.
    """

    def modulus(x: FloatArray) -> FloatArray:
        values = np.abs(activation.value_and_slope(x)[1] if order == "slope" else activation.curvature(x))
        if not isinstance(activation, Activation):
            if isinstance(activation, CallableActivation):
                _mend_differences(activation, order, x, values, doubtful)
            values[np.isnan(values)] = 0.0  # as at the 0/0 of sin(x)/x; what is undefined is reported separately
        else:
            lost = np.argwhere(~np.isfinite(values))
            values[~np.isfinite(values)] = 0.0
            for index in map(tuple, lost[:: 1 + len(lost) // 30]):
                values[index] = _by_mpmath(activation, order, float(x[index]))
        return values

    return modulus


def _mend_differences(
    activation: CallableActivation, order: Order, x: FloatArray, moduli: FloatArray, doubtful: bool
) -> None:
    """Put 0 for moduli that rounding may have made, and use no close points where kinks are not searched.

    Five points around a kink that is not known overshoot; a mean slope is never above the supremum.
    """
    if order == "slope" and activation.derivative is not None:
        return
    far = np.abs(x) > 0.99 * REACH
    error = activation.slope_error(x) if order == "slope" else activation.curvature_error(x)
    is_noisy = activation.survey.noise > SINGLE
    if order == "slope" or (is_noisy and activation.derivative is None):
        moduli[far] = _mean_modulus(activation, order, x[far])
    if order == "slope" or activation.derivative is None:
        error[far] = 0.0 if order == "slope" else np.inf
    if not doubtful:
        with np.errstate(all="ignore"):
            moduli[np.isfinite(moduli) & ~(error <= _DOUBT * moduli)] = 0.0


def _mean_modulus(activation: CallableActivation, order: Order, x: FloatArray) -> FloatArray:
    """|phi'| or |phi''| over steps longer than rounding, short enough for a slope to see an oscillation that grows.

    It is nan where the function overflows without having grown, as log(1 + exp(x)) does.
    """
    step = (
        np.maximum(0.1, max(1e-8, 1e3 * activation.survey.noise) * np.abs(x)) if order == "slope" else 0.1 * np.abs(x)
    )
    with np.errstate(all="ignore"):
        before, middle, after = [activation.value(x + shift * step) for shift in (-1, 0, 1)]
        rise = (after - before) / (2 * step) if order == "slope" else (after - 2 * middle + before) / step**2
        sizes = np.abs(np.stack([before, middle, after]))
    least = np.min(sizes, axis=0, where=np.isfinite(sizes), initial=np.inf)
    return np.where(np.isinf(rise) & (least < _HUGE), np.nan, np.abs(rise))


def _by_mpmath(activation: Activation, order: Order, x: float) -> float:
    """The modulus at one point, 0 where mpmath has none either (it then rests on the points around)."""
    piece = activation.pieces[int(np.searchsorted(activation.breakpoint_values, x))]
    with mpmath.workdps(30):
        modulus = guarded_modulus(getattr(piece, order))(mpmath.mpf(x)) or mpmath.mpf(0)
    return np.inf if modulus > 1e300 else float(modulus)


def _limit(piece: Piece, end: sympy.Expr, order: Order, known: float) -> float:
    """Largest modulus on points that approach an end of a piece; infinite if it keeps growing there.

    Growing means: above everything else by half, and by half from the last point but one to the last (a
    logarithm still doubles); so neither an oscillation nor a steep approach to a finite limit counts.
    """
    modulus_at = guarded_modulus(getattr(piece, order))
    with mpmath.workdps(400):
        moduli = [modulus_at(point) for _, point in approach(piece, end)]
        values = [value for value in moduli if value is not None]
        if len(values) >= 2 and values[-1] > 1.5 * max(values[-2], known):
            return np.inf
        return float(max(values)) if values and max(values) < 1e300 else 0.0
