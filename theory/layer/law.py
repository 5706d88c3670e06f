"""Events about one layer as sums over its pre-activations, which are Gaussians conditioned on a sphere.

With h = sqrt(q) x, |x|^2 = n, each one-step claim is an event {sum_i G_i >= 0}: for the squared length
G_i = phi(h_i)^2 - t, for a flat fixed backward signal G_i = phi'(h_i)^2 - t, for a random backward direction
G_i = (phi'(h_i)^2 - t) w_i^2 with standard normal w_i independent of x (the direction is w/|w|), and the signs are
turned for the lower tail. What has to be known of phi is computed once for a layer and serves every t.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from theory.activations.activation import NumericActivation
from theory.claims.counted import NORMAL, ONE_LAYER, CountedClaim, Side
from theory.errors import UsageError
from theory.gaussian.expectations import expectations
from theory.layer.conditioning import NormalNodes, normal_nodes
from theory.layer.levy import LayerConstants, check_tail, layer_constants
from theory.layer.sphere import square_of_slope, square_of_value
from theory.normalization.lipschitz import lipschitz_constants
from theory.numerics.arithmetic import FloatArray

MARGIN = 1e-9
"""Relative amount by which a searched supremum is enlarged before an event is declared impossible."""


_LINE = 40.0  # the standard normal density is 0 in float64 beyond it
_CANDIDATES = 6
_FEW = 8  # values of a function that is piecewise constant
_ZOOMS = 8
_NARROW = 32  # below this width the characteristic functions decay slowly and panels are made shorter
Function = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, slots=True)
class Profile:
    """A function psi of one coordinate x of a layer, as quadrature sees it.

    Args:
        function: psi on arrays.
        nodes: quadrature of the normal law on |x| <= sqrt(n).
        values: psi at the nodes.
        check_nodes, check_values: another rule, which tells the error of the first.
        breakpoints: kinks and jumps within the radius.
        probes: points that find extremes: the nodes, both sides of breakpoints, the ends.
        probe_values: psi there.
        lowest, highest: extremes of psi by a search, not a proof.
        levels: the values of a piecewise constant psi with at most two of them, else empty.
    """

    function: Function
    nodes: NormalNodes
    values: FloatArray
    check_nodes: NormalNodes
    check_values: FloatArray
    breakpoints: FloatArray
    probes: FloatArray
    probe_values: FloatArray
    lowest: float
    highest: float
    levels: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LayerLaw:
    """An activation at one width, computed once for any number of claims, tolerances and sides.

    Args:
        constants: means and Lipschitz constants, for Lévy's inequality.
        forward: phi(sqrt(q) x)^2.
        backward: phi'(sqrt(q) x)^2.
        independent: whether the coordinates are independent standard normals, not those of a point on the sphere.
    """

    constants: LayerConstants
    forward: Profile
    backward: Profile
    independent: bool = False

    @property
    def width(self) -> int:
        """n."""
        return self.constants.width

    def at_width(self, width: int) -> "LayerLaw":
        """The law of independent coordinates at another width, where nothing has to be computed again."""
        assert self.independent
        return replace(self, constants=replace(self.constants, width=width))


@dataclass(frozen=True, slots=True)
class Event:
    """The event {sum_i g(x_i) >= 0}, or {sum_i g(x_i) w_i^2 >= 0} where `weighted`, given |x|^2 = n.

    Args:
        profile: the profile of psi, with g = sign (psi - target).
        target: t.
        sign: 1 for an upper tail, -1 for a lower one.
        width: n.
        weighted: whether each term carries the square of a standard normal.
    """

    profile: Profile
    target: float
    sign: int
    width: int
    weighted: bool

    def gain(self, values: FloatArray) -> FloatArray:
        """g from the values of psi."""
        return self.sign * (values - self.target)

    @property
    def highest(self) -> float:
        """sup g, by the search."""
        return max(self._ends)

    @property
    def lowest(self) -> float:
        """inf g, by the search."""
        return min(self._ends)

    @property
    def _ends(self) -> tuple[float, float]:
        return self.sign * (self.profile.lowest - self.target), self.sign * (self.profile.highest - self.target)

    @property
    def tolerance(self) -> float:
        """Rounding that is allowed in a sum of gains, per term."""
        reach = max(abs(self.lowest), abs(self.highest)) if np.isfinite(self.highest - self.lowest) else 1.0
        return MARGIN * max(abs(self.target), min(reach, 1 + abs(self.target)))

    def complement(self) -> "Event":
        """{sum <= 0}: the complement up to the event {sum = 0}."""
        return Event(self.profile, self.target, -self.sign, self.width, self.weighted)


def layer_law(activation: NumericActivation, width: int, q: float = 1.0) -> LayerLaw:
    """Everything that the tails of one layer need of an activation.

    Args:
        activation: phi, as it is: it is not normalized here.
        width: n >= 2.
        q: squared length per neuron of the layer's input.

    Raises:
        UsageError: a width below 2 or a q that is not positive.

    >>> from theory.activations.specification import activation
    >>> law = layer_law(activation("sqrt(2)*max(x, 0)"), 64)
    >>> [round(level, 12) for level in law.backward.levels]
    [0.0, 2.0]
    """
    constants = layer_constants(activation, width, q)
    root = float(np.sqrt(q))
    inner = activation.breakpoint_values / root
    breakpoints = inner[np.abs(inner) < np.sqrt(width)]

    forward, backward = (_profile(_square(activation, index, root), breakpoints, width) for index in (0, 1))
    return LayerLaw(constants, forward, backward)


def _square(activation: NumericActivation, index: int, root: float = 1.0) -> Function:
    """phi(root x)^2, or the square of the slope there."""

    def function(x: FloatArray) -> FloatArray:
        values = activation.value_and_slope(root * x)[index]
        with np.errstate(over="ignore"):
            return values * values

    return function


def gaussian_law(activation: NumericActivation, width: int, q: float = 1.0) -> LayerLaw:
    """The same for independent pre-activations N(0, q): the constants are those of the whole line.

    Args:
        activation: phi, as it is.
        width: n, the number of coordinates.
        q: their variance.
    """
    root = float(np.sqrt(q))
    functionals = {"forward": square_of_value, "backward": square_of_slope}
    bounds = lipschitz_constants(activation)
    constants = LayerConstants(
        width,
        q,
        **expectations(activation, functionals, deviation=root),
        slope=bounds.slope,
        curvature=bounds.curvature,
        certified=bounds.certified,
    )
    inner = activation.breakpoint_values / root
    inner = inner[np.abs(inner) < _LINE]
    forward, backward = (_profile(_square(activation, index, root), inner, int(_LINE**2)) for index in (0, 1))
    return LayerLaw(constants, forward, backward, independent=True)


def event(claim: str, law: LayerLaw, epsilon: float, side: Side) -> Event:
    """The event of a one-step claim, closed: {>= 1 + epsilon} or {<= 1 - epsilon}.

    Args:
        claim: one of `theory.claims.counted.ONE_LAYER` or `NORMAL`.
        law: of the layer.
        epsilon: > 0.
        side: "upper" or "lower".

    Raises:
        UsageError: an unknown claim or side, or a tolerance that is not positive.
    """
    check_tail(epsilon, side)
    if claim not in (*ONE_LAYER, *NORMAL):
        raise UsageError(f"the claim must be one of {', '.join((*ONE_LAYER, *NORMAL))}, not {claim!r}")
    profile = law.forward if claim in (CountedClaim.FORWARD, CountedClaim.GAUSSIAN_FORWARD) else law.backward
    sign = 1 if side == "upper" else -1
    return Event(profile, 1 + sign * epsilon, sign, law.width, claim == CountedClaim.BACKWARD_RANDOM)


def unusable(event: Event) -> str:
    """Reason why an event cannot be treated at all, empty if it can."""
    if not np.isfinite(event.profile.values).all():
        return "the function is not finite on the sphere of this layer"
    return ""


def certainty(event: Event) -> float | None:
    r"""The probability where it is 0 or 1 by the range of the sum alone, else None.

    An additive event is impossible if :math:`g(x) + \mu (x^2 - 1) < 0` for some mu and every x, since the second
    terms sum to 0 on the sphere; a weighted one if g < 0. The suprema are searched, and enlarged by `MARGIN`.
    """
    if ceiling(event) < -event.tolerance:
        return 0.0
    if ceiling(event.complement()) < -event.tolerance:
        return 1.0
    return None


def has_atom(event: Event) -> bool:
    """Whether the sum may equal its target with positive probability, so that rounding decides.

    It may if it takes few values, or if the target is the end of what can be reached: all neurons of ReLU active.
    """
    values = event.profile.values
    largest = max(float(np.abs(values).max()), np.finfo(float).tiny)
    few = not event.weighted and np.unique((values / largest).round(12)).size <= _FEW
    return few or abs(ceiling(event)) <= event.tolerance


def ceiling(event: Event) -> float:
    """An upper bound on the mean of g over the coordinates, the smallest that a multiple of x^2 - 1 gives."""
    if event.weighted:
        return event.highest
    gains = event.gain(event.profile.probe_values)
    if event.highest <= 0:
        return event.highest
    centred = event.profile.probes**2 - 1
    mu = _best_multiplier(gains, centred)
    combined = lambda x: event.gain(event.profile.function(x)) + mu * (x * x - 1)  # noqa: E731
    return _peak(combined, event.profile.probes, gains + mu * centred)[1]


def _best_multiplier(gains: FloatArray, centred: FloatArray) -> float:
    """The mu that minimizes max(gains + mu centred), by bisection on the sign of the slope at the maximum."""
    lower, upper = -1.0, 1.0
    while centred[np.argmax(gains + lower * centred)] > 0 and lower > -1e12:
        lower *= 4
    while centred[np.argmax(gains + upper * centred)] < 0 and upper < 1e12:
        upper *= 4
    for _ in range(60):
        middle = 0.5 * (lower + upper)
        if centred[np.argmax(gains + middle * centred)] > 0:
            upper = middle
        else:
            lower = middle
    return 0.5 * (lower + upper)


def _profile(function: Function, breakpoints: FloatArray, width: int) -> Profile:
    radius = float(np.sqrt(width))
    panel = 0.5 if width >= _NARROW else 0.25
    first = normal_nodes(radius, breakpoints, panel=panel).points
    sides = [np.nextafter(breakpoints, sign * np.inf) for sign in (-1, 1)]
    probes = np.unique(np.concatenate([first, *sides, [-radius, radius]]))
    values = function(probes)
    top, highest = _peak(function, probes, values)
    bottom, lowest = _peak(lambda x: -function(x), probes, -values)
    nodes = normal_nodes(radius, breakpoints, panel=panel, refine=(bottom, top))
    check = normal_nodes(radius, breakpoints, panel=0.7 * panel, order=20, refine=(bottom, top))
    at_nodes = function(nodes.points)
    return Profile(
        function=function,
        nodes=nodes,
        values=at_nodes,
        check_nodes=check,
        check_values=function(check.points),
        breakpoints=breakpoints,
        probes=probes,
        probe_values=values,
        lowest=-lowest,
        highest=highest,
        levels=_levels(at_nodes),
    )


def _levels(values: FloatArray) -> tuple[float, ...]:
    """The one or two values that a function takes at all nodes up to rounding, else empty."""
    low, high = float(values.min()), float(values.max())
    near = 1e-13 * max(abs(low), abs(high))
    if high - low <= 2 * near:
        return (0.5 * (low + high),)
    return (low, high) if bool(np.all((values <= low + near) | (values >= high - near))) else ()


def _peak(function: Function, points: FloatArray, values: FloatArray) -> tuple[float, float]:
    """Where a function is largest and how large, from its values at ascending points and zooming in."""
    if not np.isfinite(values).all():
        return 0.0, np.inf
    best = int(np.argmax(values))
    where, highest = float(points[best]), float(values[best])
    padded = np.concatenate([[-np.inf], values, [-np.inf]])
    peaks = np.flatnonzero((values >= padded[:-2]) & (values >= padded[2:]))
    peaks = peaks[np.argsort(values[peaks])[-_CANDIDATES:]]
    left, right = points[np.maximum(peaks - 1, 0)], points[np.minimum(peaks + 1, len(points) - 1)]
    for _ in range(_ZOOMS):
        grid = np.linspace(left, right, 13)
        finer = function(grid)
        column = np.arange(len(left))
        row = finer.argmax(axis=0)
        tops = finer[row, column]
        winner = int(np.argmax(tops))
        if tops[winner] > highest:
            where, highest = float(grid[row[winner], winner]), float(tops[winner])
        left, right = grid[np.maximum(row - 1, 0), column], grid[np.minimum(row + 1, 12), column]
    return where, highest
