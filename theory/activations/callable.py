"""An activation given as a Python function on NumPy arrays, and the checks that it must pass first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from theory.errors import SpecificationError
from theory.numerics.arithmetic import FloatArray, float_array, like, real_values
from theory.numerics.panels import REACH, SINGLE
from theory.numerics.survey import Survey, survey

ArrayFunction = Callable[[FloatArray], FloatArray]
_STEP = 1e-3  # of differences, relative beyond |x| = 1: truncation and rounding balance
_LONGEST = 0.01  # so that far oscillations are followed, as long as rounding permits
_FAR_STEP = 1e-7
_REFINED = 0.01  # panels narrower than this were bisected: the function varies quickly there
_PARTS = 128  # steps of differences on such a panel
_STENCIL = (-2, -1, 1, 2)
_EPS = float(np.finfo(np.float64).eps)
_ELEMENTWISE = 1e-5  # relative agreement of an element with itself in other company; float32 passes
_MISMATCH = 1e-6  # of a derivative, relative to its size and to its root mean square


@dataclass(frozen=True)
class CallableActivation:
    """An activation given as a Python function on NumPy arrays.

    Its kinks and jumps are searched for numerically when first needed (see `theory.numerics.survey`).

    Args:
        name: how tables and figures call it.
        function: maps a float64 array of shape (points,) to an array or a list of as many numbers, elementwise; or one
            number to one number.
        derivative: the slope in the same form; by fourth-order differences if left out (about 1e-11 relative for a
            smooth function), which do not reach across kinks and jumps.
        breakpoints: known kinks and jumps, in any order; others are searched for.
        known: the complete shape if it is known; then nothing is searched for.
        mismatch: by how much the derivative was seen to differ from the slope of the function, see `check_derivative`.

    >>> square = CallableActivation("square", np.square, lambda x: 2 * x)
    >>> square.value_and_slope([3.0])
    (array([9.]), array([6.]))
    >>> CallableActivation("kink", lambda x: np.abs(x - 1.3)).kinks
    (1.3,)
    """

    name: str
    function: ArrayFunction
    derivative: ArrayFunction | None = None
    breakpoints: Sequence[float] = field(default=())
    known: Survey | None = field(default=None, repr=False, compare=False)
    mismatch: float = field(default=0.0, repr=False, compare=False)

    @cached_property
    def survey(self) -> Survey:
        """The shape of the function: given, or found by the numerical search."""
        return survey(self.value, sorted(self.breakpoints)) if self.known is None else self.known

    @cached_property
    def breakpoint_values(self) -> FloatArray:
        """The points at which the function is or may be singular, ascending."""
        return np.asarray(self.survey.breakpoints, dtype=np.float64)

    @cached_property
    def edges(self) -> FloatArray:
        """Ends of the panels that had to be narrow to follow the function."""
        edges = self.survey.edges
        narrow = np.flatnonzero(np.diff(edges) < _REFINED)
        return np.asarray(edges[np.union1d(narrow, narrow + 1)])

    @property
    def jumps(self) -> tuple[float, ...]:
        """Breakpoints at which the value jumps or is unbounded."""
        return tuple(jump.position for jump in self.survey.jumps)

    @property
    def kinks(self) -> tuple[float, ...]:
        """Breakpoints at which the value is continuous and the slope is not (or is unbounded)."""
        return tuple(kink.position for kink in self.survey.kinks)

    @property
    def undefined(self) -> tuple[tuple[float, float], ...]:
        """Intervals on which the function has no real value."""
        return self.survey.undefined

    def value(self, x: npt.ArrayLike) -> FloatArray:
        """phi(x), elementwise; shape, float32, Series and DataFrame as for `Activation.value`."""
        return like(x, self._call(self.function, float_array(x)))

    __call__ = value

    def slope(self, x: npt.ArrayLike) -> FloatArray:
        """phi'(x), elementwise."""
        points = float_array(x)
        if self.derivative is not None:
            return like(x, self._call(self.derivative, points))
        if self.survey.noise > SINGLE:
            return like(x, self._settled(points, 1)[0])
        return like(x, self._difference(self.value, points, self._step(points)))

    def slope_error(self, x: npt.ArrayLike) -> FloatArray:
        """A bound on the error of a slope by differences: what twice the step changes. Zero with a derivative."""
        points = float_array(x)
        return self._settled(points, 1)[1] if self.derivative is None else np.zeros_like(points)

    def curvature(self, x: npt.ArrayLike) -> FloatArray:
        """phi''(x) between the breakpoints, elementwise, by differences."""
        return like(x, self._settled(float_array(x), 2)[0])

    def curvature_error(self, x: npt.ArrayLike) -> FloatArray:
        """An estimate of the error of a curvature: what twice the step changes, and rounding."""
        return self._settled(float_array(x), 2)[1]

    def _settled(self, points: FloatArray, order: int) -> tuple[FloatArray, FloatArray]:
        """Slopes or curvatures by differences, and their errors: what twice the step changes, and rounding.

        Of a function that is noisier than float64 longer steps are tried too; at each point the smaller error wins.
        """
        function, power = (self.value, order) if self.derivative is None else (self.slope, order - 1)
        noise, step = max(self.survey.noise, _EPS), self._step(points)
        is_noisy, size = noise > SINGLE, np.zeros(points.shape)
        if is_noisy or power == 2:  # values that decay round as their terms
            size = np.maximum(np.abs(function(points)), np.abs(function(-points)))
        found, least = np.full(points.shape, np.nan), np.full(points.shape, np.inf)
        for factor in (1.0, (noise / _EPS) ** 0.2)[: 1 + is_noisy]:
            near, far = (self._difference(function, points, k * factor * step, power) for k in (1.0, 2.0))
            error = np.abs(far - near)
            if is_noisy or power == 2:
                error = error + 4 * noise * size / (factor * step) ** power
            better = (error < least) | np.isnan(found)
            found, least = np.where(better, near, found), np.where(better, error, least)
        return found, least

    def value_and_slope(self, x: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """phi(x) and phi'(x), two fresh arrays of the shape of x."""
        return self.value(x), self.slope(x)

    def affine(self, scale: float, shift: float, name: str | None = None) -> "CallableActivation":
        """The activation scale * phi + shift."""
        label = f"{scale:.6g}*{self.name}{shift:+.6g}" if name is None else name
        derivative = self.derivative

        def slope(x: FloatArray) -> FloatArray:
            return scale * self.slope(x)

        return CallableActivation(
            label,
            lambda x: scale * self.value(x) + shift,
            slope if derivative is not None else None,
            self.breakpoints,
            self.survey,
            self.mismatch,
        )

    def _call(self, function: ArrayFunction, points: FloatArray) -> FloatArray:
        """The values of a function of one array, or else of one number."""
        flat = points.ravel()
        try:
            with np.errstate(all="ignore"):
                result = real_values(function(flat.copy()))  # a function may work in place
        except SpecificationError:
            raise
        except SystemExit as error:
            raise SpecificationError(
                f"{self.name} ends the program when it is called (SystemExit); an activation is a function that maps a "
                "NumPy array to an array of the same shape"
            ) from error
        except Exception as error:  # whatever the user's own code raises
            numbers = _one_by_one(function, flat)
            if numbers is None:
                raise SpecificationError(_failure(self.name, points, error)) from error
            result = numbers
        if result.shape == () and flat.size == 1:  # a function of one number may take an array of one
            result = result.reshape(flat.shape)
        if result.shape != flat.shape:
            raise SpecificationError(
                f"{self.name} maps an array of shape {flat.shape} to shape {result.shape}; an activation works "
                "elementwise, on arrays or on one number at a time"
            )
        return result.reshape(points.shape).copy()

    def _difference(self, function: ArrayFunction, x: FloatArray, step: FloatArray, order: int = 1) -> FloatArray:
        """Slope or curvature (order 2) by differences on five points, all on one side of every breakpoint."""
        edges = np.concatenate([[-np.inf], self.breakpoint_values, [np.inf]])
        cell = np.searchsorted(edges[1:-1], x)
        lower, upper = edges[cell], edges[cell + 1]
        with np.errstate(all="ignore"):  # the caller reports infinities and NaN
            step = np.minimum(step, (upper - lower) / 8)
            centre = np.clip(x, lower + 2.001 * step, upper - 2.001 * step)
            offset = (x - centre) / step
            middle = function(centre)  # subtracted, so that a constant has slope 0 without rounding
            rises = [function(centre + shift * step) - middle for shift in _STENCIL]
            return np.asarray(
                sum(w * rise for w, rise in zip(_WEIGHTS[order](offset), rises, strict=True)) / step**order
            )

    def _step(self, x: FloatArray) -> FloatArray:
        """A step that suits the function: shorter where it varies so quickly that panels were bisected."""
        size = np.maximum(1.0, np.abs(x))
        step = np.minimum(_STEP * size, np.maximum(_LONGEST, _FAR_STEP * size))
        edges = self.survey.edges
        if len(edges) < 2:
            return step
        width = np.diff(edges)[np.clip(np.searchsorted(edges, x) - 1, 0, len(edges) - 2)]
        quick = (width < _REFINED) & (np.abs(x) < REACH)
        return np.where(quick, np.minimum(step, np.maximum(width / _PARTS, 1e-9)), step)


def _one_by_one(function: Callable[[Any], Any], points: FloatArray) -> FloatArray | None:
    """Values of a function of one number, nan where an arithmetic error is raised, as by math.exp(800).

    None for a function that fails otherwise.
    """
    values = np.full(points.shape, np.nan)
    with np.errstate(all="ignore"):
        for i, point in enumerate(points.tolist()):
            try:
                value = function(point)
                if not isinstance(value, float):  # which most are, and which need no array
                    value = real_values(value)
            except (ArithmeticError, ValueError):
                continue
            except Exception:  # whatever the user's own code raises
                return None
            if not isinstance(value, float):
                if value.size != 1:
                    return None
                value = value.item()
            values[i] = value
    return values


def _failure(name: str, points: FloatArray, error: Exception) -> str:
    """The sentence for a function that raises."""
    what = " ".join(f"{type(error).__name__}: {error}".split())
    between = f" of values between {points.min():g} and {points.max():g}" if points.size else ""
    return (
        f"{name} fails on a NumPy array{between} ({what:.150}), and on its numbers one by one; an activation works "
        "elementwise and is nan where it has no value"
    )


def _slope_weights(t: FloatArray) -> list[FloatArray]:
    """Weights at -2, -1, 1, 2 of the derivative at t of the polynomial through values there and a zero at 0."""
    even, odd = 1 - 3 * t * t, t * (2 * t * t - 1)
    inner = t * (4 * t * t)
    return [
        (odd + even) / 12,
        (-inner + 3 * t * t + 8 * t - 4) / 6,
        (-inner - 3 * t * t + 8 * t + 4) / 6,
        (odd - even) / 12,
    ]


def _curvature_weights(t: FloatArray) -> list[FloatArray]:
    """The same of the second derivative."""
    outer, inner = 6 * t * t - 1, 4 - 6 * t * t
    return [(outer - 6 * t) / 12, (inner + 3 * t) / 3, (inner - 3 * t) / 3, (outer + 6 * t) / 12]


_WEIGHTS = {1: _slope_weights, 2: _curvature_weights}


def from_function(
    function: ArrayFunction,
    name: str,
    derivative: ArrayFunction | None = None,
    breakpoints: Sequence[float] = (),
    *,
    origin: str = "given",
) -> CallableActivation:
    """Return a Python function as an activation after checking that it is elementwise and its derivative correct.

    Args:
        function, name, derivative, breakpoints: as for `CallableActivation`.
        origin: where the derivative comes from, for messages.

    Raises:
        SpecificationError: it fails on arrays, is not elementwise, gives other values when asked again, or the
            derivative does not agree with differences of the function; the message says where.

    >>> from_function(np.tanh, "tanh", derivative=lambda x: 1 - np.tanh(x)).name
    Traceback (most recent call last):
    ...
    theory.errors.SpecificationError: the derivative given for tanh does not match it: ...
    """
    points = np.sort(np.asarray(breakpoints, dtype=np.float64))
    if points.ndim != 1 or not np.all(np.isfinite(points)):
        raise SpecificationError(f"breakpoints must be a list of finite numbers, not {breakpoints!r:.60}")
    result = CallableActivation(name, function, derivative, tuple(points.tolist()))
    _check_that_it_returns(result)
    _check_elementwise(result.value, name)
    if derivative is not None:
        _check_elementwise(result.slope, f"the derivative {origin} for {name}")
        return replace(result, known=result.survey, mismatch=check_derivative(result, origin))
    return result


def _check_that_it_returns(activation: CallableActivation) -> None:
    """Refuse a function that raises an error whatever number it is given."""
    x = np.linspace(-4.1, 4.3, 60)
    if np.isnan(activation.value(x)).all():
        try:
            real_values(activation.function(x))
        except Exception as error:  # whatever the user's own code raises
            raise SpecificationError(_failure(activation.name, x, error)) from error


def _check_elementwise(function: ArrayFunction, name: str) -> None:
    """Evaluate the same numbers again, shuffled and in parts: nothing may change."""
    x = np.random.default_rng(20240611).permutation(np.linspace(-4.1, 4.3, 60))
    first = function(x)
    again = {"asked again": function(x)}
    order = np.argsort(x)
    shuffled = np.empty_like(first)
    shuffled[order] = function(x[order])
    again["in another order"] = shuffled
    again["in parts"] = np.concatenate([function(part) for part in np.split(x, [1, 7, 30])])
    size = np.abs(first[np.isfinite(first)]).max(initial=0.0)
    for how, values in again.items():
        if not np.allclose(first, values, rtol=_ELEMENTWISE, atol=_ELEMENTWISE * size, equal_nan=True):
            hint = (
                "it is random or keeps a state (a module in training mode? call its eval())"
                if how == "asked again"
                else "each value must depend on its own x alone (softmax and batch normalization are not activations), "
                "and numpy.vectorize needs otypes=[float]"
            )
            raise SpecificationError(f"{name} gives other values when the same numbers are {_verb(how)}: {hint}")


def _verb(how: str) -> str:
    return how if how == "asked again" else f"given {how}"


def check_derivative(activation: CallableActivation, origin: str = "given") -> float:
    r"""Compare a given derivative with differences of the function, at the middle of every panel for |x| < 8.

    The tolerance at x is ten times what halving the step changes, plus the rounding of the differences, plus 1e-6 (in
    single precision a hundred roundings) of the slope there and of its root mean square
    :math:`(E \phi'(z)^2)^{1/2}`: a mismatch below it changes no moment by more than about 1e-6 of its size, and is far
    below the error of a wrong formula or constant.

    Returns:
        The largest mismatch beyond what the differences leave open, relative to the slope there plus its root mean
        square. PyTorch's slope of hardsigmoid, for one, has a constant in single precision.

    Raises:
        SpecificationError: they disagree; the message says where and gives both values.
    """
    shape = activation.survey
    left, right = shape.edges[:-1], shape.edges[1:]
    chosen = (right - left > 1e-7) & (np.abs(left) < 8)
    left, right = left[chosen], right[chosen]
    x, step = 0.437 * left + 0.563 * right, (right - left) / 8
    given, value = activation.slope(x), activation.value(x)
    coarse, fine = (_five_points(activation.value, x, h) for h in (step, step / 4))
    size = np.sqrt(np.nansum(np.exp(-x * x / 2) * fine**2 * (right - left)) / np.sqrt(2 * np.pi))
    with np.errstate(all="ignore"):
        # In single precision what is subtracted inside the function counts too, as x and tanh x in x - tanh x.
        inner = size if shape.noise > SINGLE else 0.0
        rounding = 10 * (shape.noise + 4e-16) * (np.abs(value) + np.abs(x) * (np.abs(fine) + inner)) / (step / 4)
        doubt = 10 * np.abs(coarse - fine) + rounding
        tolerance = doubt + max(_MISMATCH, 100 * shape.noise) * (np.abs(fine) + size)
        wrong = np.isfinite(fine) & np.isfinite(tolerance) & ~(np.abs(given - fine) <= tolerance)
    if wrong.any():
        score = np.where(wrong, np.nan_to_num(np.abs(given - fine), nan=np.inf) * np.exp(-x * x / 4), -1.0)
        worst = int(np.argmax(score))
        raise SpecificationError(
            f"the derivative {origin} for {activation.name} does not match it: at x = {x[worst]:.6g} it is "
            f"{given[worst]:.8g}, differences of the function give {fine[worst]:.8g} (within {tolerance[worst]:.1g}); "
            f"they disagree at {np.count_nonzero(wrong)} of {len(x)} points"
        )
    with np.errstate(all="ignore"):
        mismatch = (np.abs(given - fine) - doubt) / (np.abs(fine) + size)
    return float(np.max(mismatch, where=np.isfinite(mismatch), initial=0.0))


def _five_points(function: ArrayFunction, x: FloatArray, step: FloatArray) -> FloatArray:
    with np.errstate(all="ignore"):
        near = function(x + step) - function(x - step)
        far = function(x + 2 * step) - function(x - 2 * step)
        return np.asarray((8 * near - far) / (12 * step))
