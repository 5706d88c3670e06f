r"""The mean squared length of a layer inside a network, against its exact value given the layer below.

    q_l = |phi(h_l)|^2/n,   E[q_l | q_(l-1)] = Q_n(q_(l-1)) = E phi(h_1)^2,   |h|^2 = n q_(l-1).

The differences q_l - Q_n(q_(l-1)) of all layers and networks are martingale differences. Given the layer below their
variance is at most v (Poincaré's inequality on the sphere), and they lie between -Q_n and b - Q_n:

    v = 4 (q E phi(h_1)^2 phi'(h_1)^2 - (E phi(h_1) phi'(h_1) h_1)^2)/(n-1),
    b = (|phi(0)| + c sqrt(q))^2,   c a Lipschitz constant of phi.

Bennett's inequality (1962) bounds the exponential moment of a variable of mean 0, variance at most v, values at most m:

    log E exp(lambda D) <= v (exp(lambda m) - 1 - lambda m)/m^2,   lambda > 0.

So Markov's inequality bounds the sum of the differences at every level, as that of the growth: docs/engine.md.
"""

import numpy as np
from numpy.polynomial import chebyshev

from gpn.engine.norms import FloatArray, quiet
from gpn.verification.engine.growth import TYPICAL
from gpn.verification.engine.trace import Trace, lengths
from theory.activations.activation import Activation, NumericActivation
from theory.gaussian.expectations import Functional
from theory.layer.sphere import sphere_expectations, square_of_value
from theory.normalization.lipschitz import lipschitz_constants

_WINDOW = (0.5, 2.0)  # squared lengths per neuron of the layer below; a layer beyond them is left out, which they tell
_DEGREE = 20  # of the interpolation between exact means
_MISS = 1e-8  # of the interpolation at most, beside a mean square of order 1: a kink may enter or leave the sphere
_LEAST_WIDTH = 8  # narrower layers differ so much that little is known about their mean
_LEAST_VARIANCE = 1e-4  # of q in a layer of one neuron; less is an isometry, or nearly so
_CENTRE, _HALF = sum(_WINDOW) / 2, (_WINDOW[1] - _WINDOW[0]) / 2


def proved_slope(activation: NumericActivation) -> float | None:
    """A Lipschitz constant of phi that is proved, None where there is none."""
    if not isinstance(activation, Activation):
        return None
    constants = lipschitz_constants(activation)
    return constants.slope if constants.certified and 0 < constants.slope < np.inf else None


def excess(
    trace: Trace, activation: NumericActivation, slope: float | None
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray] | None:
    """Return q_l - Q_n(q_(l-1)), bounds of log E exp(+-lambda times it), each (trials, L), and lambda, (trials, 1).

    Args:
        trace: of the networks.
        activation: phi.
        slope: c.

    Returns:
        None where there is no slope, weights are not orthogonal, layers are narrow, the law is degenerate (an isometry)
        or not known to 1e-8, or no layer begins within the window. In layers that do not, the first is nan and the
        bounds are 0.
    """
    width = trace.h.shape[-1]
    if slope is None or not trace.haar or width < _LEAST_WIDTH:
        return None
    with quiet():
        below = trace.lengths[:, :-1] ** 2 / width
        after = lengths(trace.x) ** 2 / width
    good = (below >= _WINDOW[0]) & (below <= _WINDOW[1])
    law = _interpolated(activation, width)
    usual, typical = (float(values[0]) for values in _evaluated(law, width, np.ones(1)))
    if not (good.any() and typical * width > _LEAST_VARIANCE and _missed(activation, width, law) < _MISS):
        return None
    q = np.where(good, below, 1.0)
    mean, variance = _evaluated(law, width, q)
    offset = abs(float(activation.value_and_slope(np.zeros(1))[0][0]))
    largest = (offset + slope * np.sqrt(q)) ** 2 - mean
    exponent = _exponent(typical, max((offset + slope) ** 2 - usual, usual), q.size)
    up, down = (np.where(good, _bennett(exponent, variance, most), 0.0) for most in (largest, mean))
    return np.where(good, after - mean, np.nan), up, down, np.full((len(q), 1), exponent)


def _interpolated(activation: NumericActivation, width: int) -> FloatArray:
    """Chebyshev coefficients in q, over the window, of E phi^2, E (phi phi')^2 and E h phi phi', (degree + 1, 3)."""
    nodes = chebyshev.chebpts1(_DEGREE + 1)
    return np.asarray(chebyshev.chebfit(nodes, _moments(activation, width, nodes), _DEGREE))


def _moments(activation: NumericActivation, width: int, points: FloatArray) -> FloatArray:
    """The three expectations at points between -1 and 1, which stand for the window."""
    wanted: dict[str, Functional] = {
        "mean": square_of_value,
        "square": lambda _h, value, slope: (value * slope) ** 2,
        "along": lambda h, value, slope: h * value * slope,
    }
    found = [sphere_expectations(activation, width, wanted, float(q)) for q in _CENTRE + _HALF * points]
    return np.array([[one[name].value for name in wanted] for one in found])


def _missed(activation: NumericActivation, width: int, law: FloatArray) -> float:
    """How far the interpolation is off at the extrema of the last polynomial, between the nodes."""
    between = chebyshev.chebpts2(_DEGREE + 2)[1:-1:2]
    return float(np.abs(chebyshev.chebval(between, law).T - _moments(activation, width, between)).max())


def _evaluated(law: FloatArray, width: int, q: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Q_n and v at each q."""
    mean, square, along = chebyshev.chebval((q - _CENTRE) / _HALF, law)
    with quiet():  # an infinite variance tests nothing
        return mean, np.maximum(4 * (q * square - along**2) / (width - 1), 0.0)


def _exponent(variance: float, most: float, layers: int) -> float:
    """The exponent with the narrowest limits for so many layers of this variance, with values of at most `most`."""
    tried = np.geomspace(1e-3, 30.0, 60) / most
    slack = layers * _bennett(tried, variance, most) + TYPICAL
    return float(tried[np.argmin(slack / tried)])


def _bennett(exponent: float | FloatArray, variance: FloatArray | float, most: FloatArray | float) -> FloatArray:
    scaled = np.asarray(exponent * most)
    return np.asarray(variance * (np.expm1(scaled) - scaled) / most**2)
