"""What the theory says of a network of the comparison before it is trained."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.polynomial import Chebyshev

from gpn.comparison_grid import RECIPES, Candidate
from gpn.gradient_rates import GPN
from theory.activation import NumericActivation
from theory.batch_normalized import large_batch_growth
from theory.correlation import correlation
from theory.propagation import mean_field_path

FloatArray = npt.NDArray[np.float64]

_DEGREE = 16  # of the polynomial that stands for the map


@dataclass(frozen=True, slots=True)
class Prediction:
    r"""Infinitely wide, at initialization.

    Args:
        log10_gradient: decimal logarithm of :math:`|\partial E/\partial W_1|_F / \sqrt n` for an output gradient of
            norm 1: 0 if all norms are preserved.
        separation: 1 - rho_L, for two inputs that began with the cosine rho_0 = 0; None for a network whose lengths are
            not kept. It is the same for both roots and for all weights of the same variance.
    """

    log10_gradient: float
    separation: float | None


def predictions(wanted: Sequence[Candidate]) -> tuple[Prediction, ...]:
    """The prediction for each kind of network.

    Args:
        wanted: the networks.
    """
    depths = sorted({each.depth for each in wanted})
    normalized = {each.activation: each.phi for each in wanted if each.treatment == GPN}
    tables = {name: dict(zip(depths, separations(phi, depths), strict=True)) for name, phi in normalized.items()}
    found = []
    for each in wanted:
        separation = tables[each.activation][each.depth] if each.treatment == GPN else None
        found.append(Prediction(log10_gradient(each), separation))
    return tuple(found)


def log10_gradient(candidate: Candidate) -> float:
    r"""Decimal logarithm of :math:`|\partial E/\partial W_1|_F / \sqrt n` in the mean field, for |dE/dx_L| = 1.

    Without batch normalization by the iterated maps (`theory.propagation.mean_field_path`; Schoenholz et al. 2017),
    with it by the rate of large batches (Yang et al. 2019, `theory.batch_normalized.large_batch_growth`).

    Args:
        candidate: the network.

    >>> from gpn.comparison_grid import candidates
    >>> gpn, plain = candidates(["relu"], [20], ["gpn", "plain"])
    >>> round(log10_gradient(gpn), 9) + 0.0, round(log10_gradient(plain) / math.log10(0.5), 9)
    (0.0, 10.0)
    """
    if RECIPES[candidate.recipe].batch_norm:
        return (candidate.depth - 1) * large_batch_growth(candidate.phi) / 2 / math.log(10)  # type: ignore[arg-type]
    return float(mean_field_path(candidate.phi, candidate.depth).log_gradients[0]) / math.log(10)


def separations(phi: NumericActivation, depths: Sequence[int]) -> list[float]:
    r"""How far apart two inputs that began orthogonal still are after some layers of an infinitely wide GPN network.

    .. math:: 1 - \rho_l = 1 - C(\rho_{l-1}), \qquad C(\rho) = E\, \phi(u) \phi(v), \qquad \rho_0 = 0

    with (u, v) standard normal of correlation rho (Poole et al. 2016). C(1) = C'(1) = 1, so the distance falls like 1/l
    for a smooth phi and like 1/l^2 for one with a kink. C depends on the mean of phi only through its square, which is
    the same for b_plus and b_minus. The angles' quotient arccos C(rho) / arccos rho is interpolated by a polynomial.

    Args:
        phi: GPN.
        depths: layers.

    >>> from gpn.checking import normalize
    >>> [round(far, 4) for far in separations(normalize("relu"), [1, 2])]
    [0.6817, 0.5063]
    """

    def quotient(angle: float) -> float:
        far = 1.0 - correlation(phi, math.cos(angle)).value
        return 2.0 * math.asin(math.sqrt(min(1.0, max(0.0, far) / 2.0))) / angle

    quotients = Chebyshev.interpolate(np.vectorize(quotient), _DEGREE, domain=[0.0, math.pi / 2])
    angle, found = math.pi / 2, {}
    for layer in range(1, max(depths) + 1):
        angle *= min(1.0, float(quotients(angle)))
        found[layer] = 2.0 * math.sin(angle / 2.0) ** 2
    return [found[depth] for depth in depths]
