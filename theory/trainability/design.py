r"""The member of a family of activations that keeps two inputs apart through a given depth."""

from dataclasses import dataclass, replace

import numpy as np
import sympy
from scipy.optimize import brentq

from theory.activations.activation import Activation
from theory.activations.catalog import find
from theory.activations.specification import Phi, activation
from theory.errors import SpecificationError, UsageError, layer_count
from theory.normalization.family import Family, family
from theory.normalization.normalize import NormalizedActivation, NormalizedCallable, normalize
from theory.numerics.arithmetic import X
from theory.trainability.lengths import RUNAWAY, length_growth
from theory.trainability.separation import Separation, separation

CURVATURE = 1.0
"""The default budget tau of curvature, see docs/trainability.md."""

_SMALLEST, _LARGEST, _STEPS = 2.0**-12, 4.0, 15
_DIGITS = 3
_MARGINAL = 1e-6  # |chi| beyond 1 that counts as none


@dataclass(frozen=True)
class Design:
    r"""The member of a family whose depth spends a given budget of curvature.

    Args:
        family: the family, with its parameter.
        value: the parameter s of the member, rounded to three significant digits.
        activation: the Gaussian-Poincaré normalized member.
        depth: L.
        curvature: tau, the budget asked for.
        separation: the laws of separation of the member.
        tried: the families of which no member with this budget keeps the squared length; none if the member does.
    """

    family: Family
    value: float
    activation: NormalizedActivation | NormalizedCallable
    depth: int
    curvature: float
    separation: Separation
    tried: tuple[str, ...] = ()

    @property
    def spent(self) -> float:
        """The curvature that the member really spends; it differs from the budget by the rounding of s."""
        return self.separation.spent(self.depth)


def design(
    spec: object, depth: int, curvature: float = CURVATURE, *, parameter: str | None = None, root: str = "auto"
) -> Design:
    r"""Choose the member of a family that is Gaussian-Poincaré normalized and spends a budget of curvature in L layers.

    .. math:: 1 - \rho_L = \frac1{1 + \tau/2} \quad \text{for orthogonal inputs, } \rho_0 = 0

    so that tau is of the size of C''(1) L (`theory.trainability.separation.Separation.spent`; derived for this
    project, docs/trainability.md). The smallest such parameter from 2^-12 to 4 is taken.

    Args:
        spec: a family such as "tanh(s*x)" or "leaky_relu(slope)", or a plain activation, for which phi(s x) is taken,
            or x + s phi(x) where no phi(s x) keeps the budget, or where squared lengths of the one run away
            (`theory.trainability.lengths.length_growth`, or chi > 1) and of the other do not.
        depth: L, from 1 to a million.
        curvature: tau > 0.
        parameter: the name of the parameter, where the family has several names.
        root: which normalization, "auto", "plus", "minus" or "stable".

    Raises:
        UsageError: a depth or a budget out of range, or a family that does not reach the budget.

    >>> tanh = design("tanh", 200)
    >>> tanh.family.text, bool(0.97 < tanh.spent < 1.03)
    ('tanh(s*x)', True)
    """
    depth = layer_count(depth)
    if not (np.isfinite(curvature) and curvature > 0):
        raise UsageError(f"the budget of curvature must be a positive number, not {curvature}; try 1")
    refusals, found = [], []
    for members in offered(spec, parameter):
        try:
            value = _value(members, depth, float(curvature), root)
        except UsageError as error:
            refusals.append(str(error))
            continue
        chosen = normalize(members.build(value), root)
        found.append(Design(members, value, chosen, depth, float(curvature), separation(chosen)))
        if abs(chosen.chi) <= 1 + _MARGINAL and length_growth(chosen, depth) <= RUNAWAY:
            return found[-1]
    if not found:
        raise UsageError("; ".join(refusals))
    return replace(found[0], tried=tuple(design.family.text for design in found))


def _value(members: Family, depth: int, curvature: float, root: str) -> float:
    """The smallest parameter whose member spends the curvature, to three significant digits."""

    def excess(log_value: float) -> float:
        try:
            spent = separation(normalize(members.build(float(np.exp(log_value))), root)).spent(depth)
        except SpecificationError as error:
            refusals.append(str(error))
            return np.nan
        except UsageError:
            return np.nan
        return float(np.log(max(spent, 1e-300) / curvature))

    grid = np.linspace(np.log(_SMALLEST), np.log(_LARGEST), _STEPS)
    seen: list[float] = []
    refusals: list[str] = []
    for index, point in enumerate(grid):
        seen.append(excess(float(point)))
        if index and seen[-2] * seen[-1] <= 0:
            return float(f"{np.exp(brentq(excess, grid[index - 1], point, xtol=1e-3)):.{_DIGITS}g}")
    refused = refusals[0] if refusals else "none of them has a normalization"
    known = curvature * np.exp([number for number in seen if np.isfinite(number)])
    reached = f"they spend {known.min():.3g} to {known.max():.3g}" if len(known) else refused
    raise UsageError(
        f"no member of {members.text} with {members.parameter} from {_SMALLEST:.2g} to {_LARGEST:g} spends a curvature "
        f"of {curvature:g} in {depth} layer{'s' * (depth != 1)}: {reached}"
    )


def offered(spec: object, parameter: str | None = None) -> tuple[Family, ...]:
    """Return the families to search: the given one, or for a plain activation phi(s x) and then x + s phi(x).

    >>> [[members.text for members in offered(spec)] for spec in ("gelu", "relu", "elu(alpha)")]
    [['gelu(s*x)', 'x + s*gelu(x)'], ['x + s*relu(x)'], ['elu(alpha)']]
    """
    if isinstance(spec, Family):
        return (spec,)
    try:
        phi = activation(spec)
    except SpecificationError:
        if isinstance(spec, str) and spec.strip().isidentifier() and find(spec.strip()) is None:
            raise  # a name that is mistyped, not a family of constants
        return (family(spec, parameter),)
    homogeneous = isinstance(phi, Activation) and phi.is_positively_homogeneous
    if isinstance(spec, str) and spec.isidentifier():
        inner, outer = family(f"{spec}(s*x)", "s"), family(f"x + s*{spec}(x)", "s")
    elif isinstance(phi, Activation):
        s = sympy.Symbol("s", real=True)
        inner, outer = family(phi.expression.subs(X, s * X), "s"), family(X + s * phi.expression, "s")
    else:
        name = phi.name

        def inside(value: float) -> Phi:
            return activation(lambda x: phi(value * x), name=f"{name}({value:g} * x)")

        def outside(value: float) -> Phi:
            return activation(lambda x: x + value * phi(x), name=f"x + {value:g} * {name}(x)")

        inner, outer = Family(f"{name}(s*x)", "s", inside), Family(f"x + s*{name}(x)", "s", outside)
    return (outer,) if homogeneous else (inner, outer)
