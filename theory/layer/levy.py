"""Concentration of one layer at finite width, by Lévy's inequality on the sphere (Ledoux 2001).

A function F on the unit sphere S^(n-1) with Lipschitz constant c has

    P(F >= E F + t) <= exp(-(n-1) t^2/(2 c^2)),   the same below, and   Var F <= c^2/(n-1)

(M. Ledoux, "The Concentration of Measure Phenomenon", 2001: the logarithmic Sobolev constant of the sphere is
n-1). Applied to a norm F, whose mean square is known exactly, it bounds the tails of F^2. Bounds are
logarithms.
"""

from dataclasses import dataclass

import numpy as np

from theory.activations.activation import NumericActivation
from theory.claims.counted import ONE_LAYER, SIDES, CountedClaim, Side
from theory.errors import UsageError
from theory.layer.sphere import sphere_expectations, square_of_slope, square_of_value
from theory.normalization.lipschitz import lipschitz_constants
from theory.numerics.quadrature import Estimate


@dataclass(frozen=True, slots=True)
class Bound:
    """An upper bound on a probability.

    Args:
        kind: "levy", or "none" where the theorem does not apply.
        log: natural logarithm of the bound; 0 where it says nothing, -inf for an impossible event.
        reason: why there is no bound or why it says nothing, else empty.
    """

    kind: str
    log: float
    reason: str = ""

    @property
    def probability(self) -> float:
        """The bound itself, 1 where it says nothing; rounded up where it underflows, 0 only for an impossible event."""
        return 0.0 if self.log == -np.inf else max(float(np.exp(self.log)), 5e-324)

    def _repr_latex_(self) -> str:
        r"""The inequality, with a decimal number rounded up, for a notebook.

        >>> Bound("levy", -20.0)._repr_latex_(), Bound("none", 0.0, "it jumps")._repr_latex_()
        ('$P \\le 2.07 \\cdot 10^{-9}$ (levy)', '$P \\le 1$ (none: it jumps)')
        """
        label = self.kind + (f": {self.reason}" if self.reason else "")
        if self.log == -np.inf or self.log >= 0:
            return rf"$P \le {0 if self.log < 0 else 1}$ ({label})"
        exponent = int(np.floor(self.log / np.log(10)))
        hundredths = int(np.ceil(100 * np.exp(self.log - exponent * np.log(10)) * (1 + 1e-9)))
        return rf"$P \le {hundredths / 100:g} \cdot 10^{{{exponent}}}$ ({label})"


@dataclass(frozen=True, slots=True)
class LayerConstants:
    """Constants of an activation at one width, computed once for any number of tolerances.

    Args:
        width: n.
        q: squared length per neuron of the layer's input.
        forward: Q_n(q), the mean squared length after the layer.
        backward: S_n(q), the mean of phi'^2.
        slope: K = sup |phi'| on |h| <= sqrt(nq), which holds every coordinate of the sphere.
        curvature: K' = sup |phi''| there.
        certified: whether K and K' are proved.
    """

    width: int
    q: float
    forward: Estimate
    backward: Estimate
    slope: float
    curvature: float
    certified: bool = False


def layer_constants(activation: NumericActivation, width: int, q: float = 1.0) -> LayerConstants:
    """Moments and Lipschitz constants of an activation on the sphere of radius sqrt(nq).

    Args:
        activation: phi.
        width: n >= 2.
        q: squared length per neuron of the layer's input.

    >>> from theory.activations.specification import activation
    >>> constants = layer_constants(activation("tanh"), 64)
    >>> constants.certified, round(constants.slope, 12)
    (True, 1.0)
    """
    functionals = {"forward": square_of_value, "backward": square_of_slope}
    moments = sphere_expectations(activation, width, functionals, q)
    bounds = lipschitz_constants(activation, float(np.sqrt(width * q)))
    return LayerConstants(
        width, q, **moments, slope=bounds.slope, curvature=bounds.curvature, certified=bounds.certified
    )


def levy(claim: str, constants: LayerConstants, epsilon: float, side: Side, flatness: float = 1.0) -> Bound:
    r"""Bound on a one-step tail: the squared length or a squared backward norm leaves 1 by epsilon in one layer.

    .. math::
        P(F^2 \ge 1+\epsilon) \le e^{-(n-1) t^2/(2 c^2)}, \quad t = \sqrt{1+\epsilon} - \sqrt{E F^2}

    and below with :math:`t = \sqrt{E F^2 - c^2/(n-1)} - \sqrt{1-\epsilon}`, for h uniform on the sphere of radius
    sqrt(nq) and D = diag phi'(h):

    - forward, :math:`F^2 = |\phi(h)|^2/n` with mean Q_n: F is :math:`K\sqrt q`-Lipschitz on the unit sphere;
    - a random direction u, :math:`F^2 = |Du|^2` with mean S_n and :math:`c^2 = K^2 + K'^2 q`: given h, |Du| is
      K-Lipschitz in u, and its mean over u is :math:`K'\sqrt q`-Lipschitz in h;
    - a fixed y, :math:`F^2 = |Dy|^2/|y|^2` with mean S_n and :math:`c^2 = K'^2 \mu q`, where the flatness
      :math:`\mu = n |y|_\infty^2/|y|^2` is between 1 and n.

    (Ledoux 2001 for the constants; Lu, Gould, Ajanthan 2020 state the theorems without, for a bounded
    :math:`|y|_\infty`.)

    Args:
        claim: one of `ONE_LAYER`.
        constants: the constants of the layer, from `layer_constants`.
        epsilon: > 0.
        side: "upper" or "lower".
        flatness: mu of a fixed direction, 1 for entries of equal modulus, n for a single nonzero entry.

    Raises:
        UsageError: an unknown claim or side, a tolerance that is not positive, or a flatness outside [1, n].

    >>> from theory.activations.specification import activation
    >>> identity = layer_constants(activation("identity"), 101)
    >>> round(levy("forward-one-step", identity, 0.44, "upper").log, 6)  # -100 (1.2 - 1)^2/2
    -2.0
    """
    if claim not in ONE_LAYER:
        raise UsageError(f"the claim must be one of {', '.join(ONE_LAYER)}, not {claim!r}")
    if not 1 <= flatness <= constants.width:
        raise UsageError(f"the flatness n max(y^2)/|y|^2 lies between 1 and n = {constants.width}, not {flatness}")
    check_tail(epsilon, side)
    if claim == CountedClaim.FORWARD:
        if np.isinf(constants.slope):
            return Bound("none", 0.0, "phi is not Lipschitz on the sphere of this layer")
        return _levy(constants.slope * constants.slope * constants.q, constants.forward, constants.width, epsilon, side)
    if np.isinf(constants.curvature):
        return Bound("none", 0.0, "phi' is not Lipschitz")
    if claim == CountedClaim.BACKWARD_RANDOM:
        square = constants.slope * constants.slope + constants.curvature * constants.curvature * constants.q
    else:
        square = constants.curvature * constants.curvature * flatness * constants.q
    return _levy(square, constants.backward, constants.width, epsilon, side)


def check_tail(epsilon: float, side: str) -> None:
    """Refuse a tolerance that is not positive and an unknown side."""
    if not (np.isfinite(epsilon) and epsilon > 0):
        raise UsageError(f"epsilon must be a positive number, not {epsilon}; try 0.2")
    if side not in SIDES:
        raise UsageError(f"the side must be 'upper' or 'lower', not {side!r}")


def _levy(square: float, second: Estimate, width: int, epsilon: float, side: Side) -> Bound:
    """Tail of F^2 for F with squared Lipschitz constant `square` on the unit sphere and E F^2 = `second`."""
    if not np.isfinite(second.value + second.error):
        return Bound("none", 0.0, "the mean square at this width is not known")
    if side == "lower" and epsilon > 1:
        return Bound("levy", -np.inf, "a squared norm is never negative")
    if side == "upper":
        t = np.sqrt(1 + epsilon) - np.sqrt(second.value + second.error)
    else:  # E F >= sqrt(E F^2 - Var F)
        t = np.sqrt(max(second.value - second.error - square / (width - 1), 0.0)) - np.sqrt(1 - epsilon)
    if t <= 0:
        return Bound("levy", 0.0, "the mean itself may lie beyond the tolerance at this width")
    t = float(t)  # Python's division overflows without a warning
    return Bound("levy", -(width - 1) * t * t / (2 * float(square)) if square > 0 else -np.inf)
