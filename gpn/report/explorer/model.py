"""What the explorer shows, as numbers: a function of its state, quick enough to follow a slider.

Everything here is float64 quadrature; certified numbers are asked for apart (`gpn.report.explorer.requested`).
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import CubicSpline

from gpn.checking.depth_conditions import DepthConditions, depth_conditions
from gpn.report.explorer.lengths import QuickLengths, Values
from gpn.report.plots.activation import drawable
from gpn.sampling.simulation import simulate
from theory.activations.specification import Phi
from theory.activations.specification import activation as read
from theory.bounds.network import predicted_range
from theory.claims.counted import SIDES, CountedClaim
from theory.depth.coefficients import NoPrediction, depth_coefficients
from theory.depth.fixed_points import FixedPoint, dynamics_of, length_dynamics
from theory.depth.fluctuation import log_ratio_law
from theory.depth.length_map import follow_length, length_map
from theory.errors import SpecificationError, UsageError
from theory.layer.levy import Bound, LayerConstants, levy
from theory.layer.sphere import sphere_expectations
from theory.normalization import family as family_module
from theory.normalization.lipschitz import lipschitz_constants
from theory.numerics.arithmetic import FloatArray
from theory.trainability.separation import separation

if TYPE_CHECKING:
    from theory.gaussian.moments import Normalization, Stability

WIDTHS = tuple(2**k for k in range(4, 15))
PROBABILITIES = (0.05, 0.5, 0.95)
STARTS = (0.9, 1.1)
"""Squared lengths per neuron from which the paths through the layers start."""
_LOWEST, _HIGHEST, _POINTS = 1 / 16, 16.0, 41
_EXACT = 1e-10  # by which the quick map of a normalized function may miss its certified Q(1) = 1 and chi
_KEPT = 128  # answers that are remembered, of each kind
_DRAWN = 1e-4  # accuracy of the map of correlations, of which three digits are shown
_NEURONS = 2_000_000  # sampled for one view, a tenth of a second
_FEWEST, _MOST = 40, 200  # networks sampled


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
        bands: quantiles of the gradient norm over sqrt n, (depth, 3), by the fluctuation law, or of sampled networks
            where the law says nothing; None where there are neither.
        bands_reason: why the law says nothing.
        sampled: how many networks were sampled for the bands, 0 for the law.
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
    sampled: int
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
        self._sampled = lru_cache(_KEPT)(sampled_bands)
        self._separation = lru_cache(_KEPT)(lambda root: separation(root.phi, _DRAWN))

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
            return View(state, seen, None, None, reason, 0, unknown, unknown[:, 0], reason, (np.nan, np.nan))
        coefficients = self._coefficients(root)
        bands, silence, networks = self._bands(root, state.width, state.depth)
        bounds = [one_layer(constants, state.epsilon) for constants in self._constants(root)]
        reasons = [bound.reason for bound in bounds if bound.kind == "none"]
        return View(
            state,
            seen,
            root,
            *(bands, silence, networks),
            np.array([self._range(coefficients, width, state.depth, state.epsilon) for width in WIDTHS]),
            np.array([np.nan if bound.kind == "none" else bound.probability for bound in bounds]),
            reasons[0] if reasons else "",
            self._range(coefficients, state.width, state.depth, state.epsilon),
        )

    def _bands(self, root: Root, width: int, depth: int) -> tuple[FloatArray | None, str, int]:
        """The bands of the gradient norms, why the law says nothing, and how many networks were sampled instead."""
        law = log_ratio_law(self._coefficients(root), width, depth)
        if isinstance(law, NoPrediction):
            bands, networks = self._sampled(root, width, depth)
            return bands, law.reason, networks
        return np.exp(law.gradient_bands(PROBABILITIES)), "", 0

    def conditions(self, view: View) -> DepthConditions | None:
        """The four conditions of depth of the network that is shown; None without a normalization.

        Raises:
            UsageError: an activation whose separation cannot be computed.
        """
        if view.root is None:
            return None
        return depth_conditions(view.root.phi, view.state.depth, self._separation(view.root), view.state.width)


def sampled_bands(root: Root, width: int, depth: int) -> tuple[FloatArray | None, int]:
    """Quantiles of the gradient norm over sqrt n of sampled networks, and how many were sampled.

    Args:
        root: the normalized activation.
        width, depth: n and L; nothing is sampled where a few networks are too many neurons, nor shown where a norm
            is zero or no number.
    """
    networks = min(_MOST, _NEURONS // (width * depth))
    if networks < _FEWEST:
        return None, 0
    norms = simulate(root.phi, width, depth, networks, seed=0).gradient_norms / np.sqrt(width)
    usable = bool(np.isfinite(norms).all() and (norms > 0).all())
    return (np.quantile(norms, PROBABILITIES, axis=0).T, networks) if usable else (None, 0)


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
    values = Values(phi)
    roots = tuple(_root(values, phi, root, (curve, slope)) for root in numbers.normalizations)
    recommended = next((root.root for root in numbers.normalizations if root.recommended), "")
    return Shape(phi, family.parameter or None, points, curve, slope, numbers, roots, recommended)


def _root(values: Values, phi: Phi, root: "Normalization[float]", curves: tuple[FloatArray, FloatArray]) -> Root:
    lengths = np.geomspace(_LOWEST, _HIGHEST, _POINTS)
    normalized = phi.affine(root.a, root.b)
    quick = QuickLengths(values, normalized, root.a, root.b)
    if abs(quick.value(1.0) - 1) < _EXACT and abs(quick.slope(1.0) - root.chi) < _EXACT:
        mapped = np.array([quick.value(q) for q in lengths])
        dynamics = dynamics_of(quick, _LOWEST, _HIGHEST, _POINTS)
    else:  # a singular function
        mapped = np.array([length_map(normalized, q).value for q in lengths])
        dynamics = length_dynamics(normalized, _LOWEST, _HIGHEST, _POINTS)
    known = np.isfinite(mapped) & (mapped > 0)
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
