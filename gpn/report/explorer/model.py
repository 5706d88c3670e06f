"""What the explorer shows, as numbers: a function of its state, quick enough to follow a slider.

Everything here is float64 quadrature; certified numbers are asked for apart (`certificate`).
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import CubicSpline

from gpn.checking.check import check
from gpn.report.plots.activation import drawable
from theory.activations.specification import Phi
from theory.activations.specification import activation as read
from theory.bounds.network import deep_bound, predicted, predicted_range
from theory.claims.counted import SIDES, CountedClaim
from theory.depth.coefficients import NoPrediction, depth_coefficients
from theory.depth.fixed_points import FixedPoint, length_dynamics
from theory.depth.fluctuation import log_ratio_law
from theory.depth.length_map import follow_length, length_map
from theory.errors import SpecificationError, UsageError
from theory.layer.law import layer_law
from theory.layer.levy import Bound, LayerConstants, levy
from theory.layer.sphere import sphere_expectations
from theory.layer.tails import OneStepTail, one_step
from theory.normalization import family as family_module
from theory.normalization.lipschitz import lipschitz_constants
from theory.numerics.arithmetic import FloatArray

if TYPE_CHECKING:
    from theory.gaussian.moments import Normalization, Stability
    from theory.normalization.conditions import Conditions

WIDTHS = tuple(2**k for k in range(4, 15))
PROBABILITIES = (0.05, 0.5, 0.95)
STARTS = (0.9, 1.1)
"""Squared lengths per neuron from which the paths through the layers start."""
_LOWEST, _HIGHEST, _POINTS = 1 / 16, 16.0, 41
_KEPT = 128  # answers that are remembered, of each kind


@dataclass(frozen=True, slots=True)
class State:
    """The positions of the controls of the explorer.

    Args:
        formula: a name or a formula in x, with at most one free parameter, such as "elu(alpha)".
        value: the value of the parameter, without effect where there is none.
        width, depth: n and L.
        epsilon: the tolerance.
        root: "auto", "plus" or "minus".
    """

    formula: str = "gelu"
    value: float = 0.5
    width: int = 256
    depth: int = 50
    epsilon: float = 0.5
    root: str = "auto"


@dataclass(frozen=True, slots=True, eq=False)
class Root:
    """One normalization a phi + b.

    Args:
        name, a, b, chi, stability: as in `theory.gaussian.moments.Normalization`.
        value, slope: value and slope of a phi + b at the points of the shape.
        lengths, mapped: q and Q(q).
        fixed_points: the fixed points of the length map, in the range of `lengths`.
        continuum: whether every q is a fixed point.
        phi: the normalized activation itself.
    """

    name: str
    a: float
    b: float
    chi: float
    stability: "Stability"
    value: FloatArray
    slope: FloatArray
    lengths: FloatArray
    mapped: FloatArray
    fixed_points: tuple[FixedPoint, ...]
    continuum: bool
    phi: Phi

    @property
    def returns(self) -> bool:
        """Whether 1 attracts and no other fixed point stops a path from one of `STARTS`."""
        others = [point.q for point in self.fixed_points if abs(point.q - 1) > 1e-6]
        return self.stability == "stable" and not any(STARTS[0] <= q <= STARTS[-1] for q in others)

    def path(self, start: float, depth: int) -> FloatArray:
        """The squared length q_0, ..., q_L at infinite width, by interpolation of the map; nan once it has left it."""
        spline = CubicSpline(np.log(self.lengths), np.log(self.mapped), extrapolate=False)

        def layer(x: FloatArray) -> tuple[FloatArray, FloatArray]:
            after = spline(x)
            inside = (np.log(_LOWEST) <= after) & (after <= np.log(_HIGHEST))
            return np.where(inside, after, np.nan), np.zeros_like(x)

        passages = islice(follow_length(layer, np.log(start), tolerance=0.0), depth + 1)
        path: FloatArray = np.exp(np.concatenate([passage.before for passage in passages]))
        return path


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """The part of a view that depends on the formula and its parameter alone.

    Args:
        phi: the activation as given.
        parameter: the name of its parameter, None if it has none.
        points, value, slope: phi and phi' as curves.
        numbers: moments and their error; its `reason` says why there are no roots.
        roots: the roots of the normalization, none where it does not exist.
        recommended: the name of the root that "auto" takes.
    """

    phi: Phi
    parameter: str | None
    points: FloatArray
    value: FloatArray
    slope: FloatArray
    numbers: family_module.Member
    roots: tuple[Root, ...]
    recommended: str


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """All that the explorer shows of one state.

    Args:
        state: the state.
        shape: the activation.
        root: the normalization in the network, None where there is none.
        bands: quantiles of the gradient norm over sqrt n, (depth, 3), by the fluctuation law; None with a reason.
        bands_reason: why there are none.
        predicted: (len(WIDTHS), 2), for each of `WIDTHS` two numbers between which the predicted probability lies
            that a squared gradient norm of some layer leaves the factors exp(+-epsilon) around that of the top
            layer (see `predicted_range`); nan where the law does not speak.
        bounded: for each of `WIDTHS` Levy's bound on the probability that one layer takes the squared length out of
            1 +- epsilon.
        bounded_reason: why there is no bound.
        at_width: the two numbers at the width of the state.
    """

    state: State
    shape: Shape
    root: Root | None
    bands: FloatArray | None
    bands_reason: str
    predicted: FloatArray
    bounded: FloatArray
    bounded_reason: str
    at_width: tuple[float, float]


class Model:
    """From states to views; remembers what does not change from one move to the next.

    >>> view = Model()(State("leaky_relu(s)", value=0.0))
    >>> view.shape.parameter, view.root.name, round(view.root.a, 12)
    ('s', 'plus', 1.414213562373)
    """

    def __init__(self) -> None:
        self._shape = lru_cache(_KEPT)(shape)
        self._constants = lru_cache(_KEPT)(lambda root: _layer_constants(root.phi))
        self._coefficients = lru_cache(_KEPT)(lambda root: depth_coefficients(root.phi))
        self._range = lru_cache(4 * _KEPT)(predicted_range)

    def __call__(self, state: State) -> View:
        """The view of a state.

        Raises:
            UsageError: a formula that cannot be read, or a number out of its range.
        """
        _check(state)
        seen = self._shape(" ".join(state.formula.split()), state.value)
        root = chosen(seen, state.root)
        if root is None:
            unknown = np.full((len(WIDTHS), 2), np.nan)
            reason = seen.numbers.reason
            return View(state, seen, None, None, reason, unknown, unknown[:, 0], reason, (np.nan, np.nan))
        coefficients = self._coefficients(root)
        law = log_ratio_law(coefficients, state.width, state.depth)
        bounds = [one_layer(constants, state.epsilon) for constants in self._constants(root)]
        reasons = [bound.reason for bound in bounds if bound.kind == "none"]
        return View(
            state,
            seen,
            root,
            None if isinstance(law, NoPrediction) else np.exp(law.gradient_bands(PROBABILITIES)),
            law.reason if isinstance(law, NoPrediction) else "",
            np.array([self._range(coefficients, width, state.depth, state.epsilon) for width in WIDTHS]),
            np.array([np.nan if bound.kind == "none" else bound.probability for bound in bounds]),
            reasons[0] if reasons else "",
            self._range(coefficients, state.width, state.depth, state.epsilon),
        )


def _check(state: State) -> None:
    whole = state.width == int(state.width) and state.depth == int(state.depth)
    if not (whole and 2 <= state.width <= 10**7 and 1 <= state.depth <= 4096):
        raise UsageError(f"the width is a whole number from 2, the depth from 1; not {state.width} and {state.depth}")
    if not (np.isfinite(state.epsilon) and state.epsilon > 0):
        raise UsageError(f"epsilon must be a positive number, not {state.epsilon}; try 0.5")
    if state.root not in ("auto", "plus", "minus"):
        raise UsageError(f"the root is auto, plus or minus, not {state.root!r:.40}")
    if not np.isfinite(state.value):
        raise UsageError(f"the parameter must be a finite number, not {state.value}")


def family_of(formula: str) -> family_module.Family:
    """The activation of a formula as a family: of one member where there is no free parameter.

    Args:
        formula: a name, a formula in x, or one with a free parameter.

    Raises:
        SpecificationError: it cannot be read, or has two free parameters.

    >>> family_of("elu(alpha)").parameter, family_of("tanh(x)/2").parameter
    ('alpha', '')
    """
    try:
        phi = read(formula)
        return family_module.Family(formula, "", lambda _: phi)
    except SpecificationError as error:
        try:
            return family_module.family(formula)
        except SpecificationError as other:
            raise (other if "choose one" in str(other) else error) from None


def shape(formula: str, value: float) -> Shape:
    """The activation, its normalizations and their length maps.

    Args:
        formula, value: as in `State`.

    Raises:
        SpecificationError: the formula cannot be read, or not at this value of its parameter.
    """
    family = family_of(formula)
    phi = family.build(value)
    known = family_module.Family(family.text, family.parameter, lambda _: phi)
    numbers = family_module.member(known, None, value)
    points, curve, slope = drawable(phi)
    lengths = np.geomspace(_LOWEST, _HIGHEST, _POINTS)
    roots = tuple(_root(phi, root, (curve, slope), lengths) for root in numbers.normalizations)
    recommended = next((root.root for root in numbers.normalizations if root.recommended), "")
    return Shape(phi, family.parameter or None, points, curve, slope, numbers, roots, recommended)


def _root(phi: Phi, root: "Normalization[float]", curves: tuple[FloatArray, FloatArray], lengths: FloatArray) -> Root:
    normalized = phi.affine(root.a, root.b)
    mapped = np.array([length_map(normalized, q).value for q in lengths])
    known = np.isfinite(mapped) & (mapped > 0)
    dynamics = length_dynamics(normalized, _LOWEST, _HIGHEST, _POINTS)
    return Root(
        *(root.root, root.a, root.b, root.chi, root.stability),
        *(root.a * curves[0] + root.b, root.a * curves[1], lengths[known], mapped[known]),
        *(dynamics.fixed_points, dynamics.continuum, normalized),
    )


def chosen(seen: Shape, policy: str) -> Root | None:
    """The root that a policy takes; the only one where there is one, None where there is none."""
    name = seen.recommended if policy == "auto" else policy
    return next((root for root in seen.roots if root.name == name), seen.roots[0] if seen.roots else None)


def _layer_constants(phi: Phi) -> list[LayerConstants]:
    """For each of `WIDTHS`; the Lipschitz constants of the widest layer hold for all narrower ones."""
    reach = lipschitz_constants(phi, float(np.sqrt(WIDTHS[-1])))
    constants = []
    for width in WIDTHS:
        squares = {"forward": lambda _h, v, _s: v * v, "backward": lambda _h, _v, s: s * s}
        mean = sphere_expectations(phi, width, squares, 1.0)
        numbers = (mean["forward"], mean["backward"], reach.slope, reach.curvature, reach.certified)
        constants.append(LayerConstants(width, 1.0, *numbers))
    return constants


def one_layer(constants: LayerConstants, epsilon: float) -> Bound:
    """Levy's bound on the squared length leaving 1 +- epsilon in one layer, both tails added.

    Args:
        constants: the constants of the layer.
        epsilon: > 0.
    """
    tails = [levy(CountedClaim.FORWARD, constants, epsilon, side) for side in SIDES]
    missing = next((tail for tail in tails if tail.kind == "none"), None)
    return missing or Bound("levy", min(0.0, float(np.logaddexp.reduce([tail.log for tail in tails]))))


@dataclass(frozen=True, slots=True)
class Certificate:
    """The numbers that take seconds, computed on request.

    Args:
        conditions: certified moments, a, b and chi of the activation as given.
        tails: of one layer at the width and tolerance of the state, upper and lower; none without a normalization.
        deep: the deep bound for the whole network, None without a normalization.
        predicted: the predicted probability for the whole network, or why there is none.
    """

    conditions: "Conditions"
    tails: tuple[OneStepTail, ...] = ()
    deep: Bound | None = None
    predicted: Bound | None = None


def certificate(view: View, digits: int = 30) -> Certificate:
    """Certified digits of the moments, exact and proved probabilities at one width.

    Args:
        view: what is shown.
        digits: the number of digits of the moments.
    """
    conditions = check(view.shape.phi, digits)
    if view.root is None:
        return Certificate(conditions)
    state, phi = view.state, view.root.phi
    law = layer_law(phi, state.width)
    tails = tuple(one_step(CountedClaim.FORWARD, law, state.epsilon, side) for side in SIDES)
    whole = (phi, state.width, state.depth, state.epsilon)
    return Certificate(conditions, tails, deep_bound(*whole), predicted(*whole))
