"""Numbers of a member of a family that a table leaves out, and that a condition can name."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np
import sympy
from flint import arb
from scipy import optimize

from theory.activations.activation import Activation
from theory.activations.specification import Phi
from theory.balls.core import NotCertified
from theory.depth.coefficients import certified_coefficients, depth_coefficients
from theory.gaussian.certified import certified_moments
from theory.gaussian.expectations import expectations
from theory.gaussian.hermite import correlation_slopes
from theory.gaussian.moments import MOMENTS, Moments
from theory.normalization.family import Member
from theory.normalization.lipschitz import lipschitz_constants
from theory.numerics.arithmetic import X
from theory.numerics.budget import Budget
from theory.numerics.quadrature import Estimate

_LONGEST = np.log(1e6)  # of the squared length, either way, where a fixed point is searched for
_STILL = 1e-12  # growth of log q that is rounding
_STEPS = 57
_DIGITS = 16
_PATIENCE = 3.0  # seconds of processor time for a proof
COEFFICIENTS = ("kappa", "c", "sf", "sb", "cx", "Q2", "S2")
"""Coefficients of the laws of depth by their symbols, see `theory.depth.coefficients.DepthCoefficients.by_symbol`."""


def further(member: Member, quantity: str) -> float:
    """A number of a member, see `FURTHER`; nan where it is not known.

    >>> from theory.normalization.family import member
    >>> round(further(member("leaky_relu(slope)", "slope", 0.0), "sf_plus"), 10)
    3.0
    """
    return float("nan") if member.phi is None else FURTHER[quantity](member)


def _proof(phi: Phi, names: Collection[str] = tuple(MOMENTS)) -> Moments | NotCertified:
    late = NotCertified("not finished")
    return Budget(_PATIENCE).attempt("", 1.0, lambda: certified_moments(phi, _DIGITS, names), late)


def _proved(phi: Phi, name: str) -> float | None:
    """A moment by its proof: nan where the ball is too wide, None where there is none."""
    proof = _proof(phi, [name])
    if not isinstance(proof, Moments):
        return None
    return _middle(proof.balls[name]) if name in proof.balls else np.inf if name in proof.divergent else None


def _middle(ball: arb) -> float:
    """The middle of a ball, nan where the ball is too wide for a table of seven digits."""
    return float(ball.mid()) if ball.rad() <= 1e-9 * (1 + abs(ball)) else float("nan")


def _trusted(estimate: Estimate) -> float:
    """The value, nan where its error is too large for a table of seven digits."""
    return estimate.value if estimate.error <= 1e-6 * max(1.0, abs(estimate.value)) else float("nan")


def _slope_fourth_moment(member: Member) -> float:
    """E phi'^4."""
    assert member.phi is not None
    proved = _proved(member.phi, "slope_fourth")
    if proved is not None:
        return proved
    return _trusted(expectations(member.phi, {"": lambda _z, _value, slope: slope**4})[""])


def _curvature(member: Member) -> float:
    """C''(1) = E phi''^2: of a formula, E s'^2 of the activation s = phi'."""
    phi = member.phi
    assert phi is not None
    if isinstance(phi, Activation) and not phi.kinks:
        cases = [(piece.slope, X < piece.upper) for piece in phi.pieces[:-1]]
        slope = sympy.Piecewise(*cases, (phi.pieces[-1].slope, True)) if cases else phi.pieces[0].slope
        proved = _proved(Activation("the slope", slope), "slope_second")
        if proved is not None:
            return proved
    return _trusted(correlation_slopes(phi)[1])


def _coefficient(member: Member, symbol: str, root: int) -> float:
    """A coefficient of depth with the root plus (0) or minus (-1)."""
    phi = member.phi
    assert phi is not None
    proof = _proof(phi)
    roots = proof.normalizations() if isinstance(proof, Moments) else []
    if isinstance(proof, Moments) and not isinstance(roots, NotCertified):
        law = certified_coefficients(proof, roots[root])
        if not isinstance(law, NotCertified):
            return _middle(law.by_symbol()[symbol])
    numbers = member.normalizations[root]
    estimate = depth_coefficients(phi.affine(numbers.a, numbers.b))
    return _trusted(Estimate(float(estimate.by_symbol()[symbol]), estimate.error))


def _fixed_point(member: Member) -> float:
    """The attracting fixed point q = E phi(sqrt(q) z)^2 whose logarithm is nearest to 0; nan where none is seen."""
    phi = member.phi
    assert phi is not None

    def growth(log_length: float) -> float:
        deviation = float(np.exp(log_length / 2))
        square = expectations(phi, {"": lambda _z, value, _slope: value * value}, deviation=deviation)[""].value
        return float(np.log(square) - log_length) if square > 0 else -np.inf

    grid = np.linspace(-_LONGEST, _LONGEST, _STEPS)
    rates = np.array([growth(point) for point in grid])
    moving = np.abs(rates) > _STILL  # every length of the identity is fixed, and none attracts
    grid, rates = grid[moving], rates[moving]
    falling = [i for i in range(len(grid) - 1) if rates[i] > 0 > rates[i + 1] and np.isfinite(rates[i + 1])]
    points = [optimize.brentq(growth, grid[i], grid[i + 1], xtol=1e-14) for i in falling]
    return float(np.exp(min(points, key=abs))) if points else float("nan")


def _supremum(member: Member, order: int) -> float:
    """sup |phi'| or sup |phi''|; nan where it is not known."""
    assert member.phi is not None
    found = lipschitz_constants(member.phi).suprema[order]
    return float("nan") if found.kind in ("not known", "upper bound") else found.value


FURTHER: Mapping[str, Callable[[Member], float]] = MappingProxyType(
    {
        "curvature": _curvature,
        "slope_fourth_moment": _slope_fourth_moment,
        "fixed_point": _fixed_point,
        "slope": lambda member: member.slope_second_moment,
        "variance": lambda member: member.second_moment - member.mean * member.mean,
        "lipschitz": partial(_supremum, order=0),
        "slope_lipschitz": partial(_supremum, order=1),
        **{
            f"{symbol}_{root}": partial(_coefficient, symbol=symbol, root=place)
            for root, place in (("plus", 0), ("minus", -1))
            for symbol in COEFFICIENTS
        },
    }
)
"""Slope C'(1) = E phi'^2 and curvature C''(1) = E phi''^2 of the correlation map, E phi'^4, the attracting length,
Var phi, sup |phi'|, sup |phi''|, and for each normalization the coefficients of the laws of depth."""
