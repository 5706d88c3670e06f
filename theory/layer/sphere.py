"""Exact laws of one layer at finite width: its pre-activation is uniform on a sphere, not Gaussian.

With Haar orthogonal weights and |x|^2 = n q the vector h = W x is uniform on the sphere of radius sqrt(nq).
One coordinate is h_1 = sqrt(nq) sin(theta) with density proportional to cos(theta)^(n-2) on |theta| < pi/2:
regular for every n >= 2, and Gaussian in the variable sqrt(n) theta as n grows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from theory.activations.activation import NumericActivation
from theory.errors import UsageError
from theory.gaussian.expectations import Functional
from theory.numerics.arithmetic import FloatArray
from theory.numerics.quadrature import Estimate, integrate

_CUTOFF = 38.0  # in standard deviations: the density is below 1e-300 there
_FINE = 8.0


def sphere_expectations(
    activation: NumericActivation, width: int, functionals: Mapping[str, Functional], q: float = 1.0
) -> dict[str, Estimate]:
    r"""Expectations of functionals of one pre-activation, uniform on the sphere.

    .. math:: E\, f(h, \phi(h), \phi'(h)), \qquad h = \sqrt{nq}\, t, \qquad
              p(t) = \frac{\Gamma(n/2)}{\sqrt\pi\, \Gamma((n-1)/2)} (1-t^2)^{(n-3)/2}

    The law of a coordinate of a uniform point on the sphere (Archimedes for n = 3, Maxwell and Borel for
    large n).

    Args:
        activation: phi.
        width: n >= 2, the number of neurons.
        functionals: name -> f(h, phi(h), phi'(h)), vectorized.
        q: squared length per neuron of the layer's input, > 0.

    Returns:
        name -> `Estimate`, whose error is absolute.

    Raises:
        UsageError: a width below 2 or a q that is not positive.

    >>> from theory.activations.specification import activation
    >>> identity = activation("identity")
    >>> moments = sphere_expectations(identity, 5, {"square": lambda h, value, slope: value**2})
    >>> round(moments["square"].value, 13)
    1.0
    """
    check_layer(width, q)
    radius, scale = np.sqrt(width * q), np.sqrt(width)
    half_width = min(_CUTOFF, scale * np.pi / 2)
    inner = activation.breakpoint_values
    breakpoints = scale * np.arcsin(inner[np.abs(inner) < radius] / radius)

    def integrands(u: FloatArray) -> FloatArray:
        weight = cosine_power(u / scale, width - 2)
        h = radius * np.sin(u / scale)
        value, slope = activation.value_and_slope(h)
        with np.errstate(all="ignore"):
            weighted = [functional(h, value, slope) * weight for functional in functionals.values()]
        return np.stack([weight, *weighted])

    total, error = integrate(integrands, _edges(half_width, breakpoints), breakpoints)
    mean = total[1:] / total[0]
    spread = (error[1:] + np.abs(mean) * error[0]) / total[0]
    return {name: Estimate(float(m), float(e)) for name, m, e in zip(functionals, mean, spread, strict=True)}


def square_of_value(_h: Any, value: Any, _slope: Any) -> Any:
    """phi^2 as a functional."""
    return value * value


def square_of_slope(_h: Any, _value: Any, slope: Any) -> Any:
    """phi'^2 as a functional."""
    return slope * slope


def check_layer(width: int, q: float) -> None:
    """Refuse a width below 2 and a q that is not positive."""
    if width < 2 or width != int(width):
        raise UsageError(f"the width must be a whole number of at least 2 neurons, not {width}")
    if not (np.isfinite(q) and q > 0):
        raise UsageError(f"q, the squared length per neuron, must be a positive number, not {q}")


def cosine_power(theta: FloatArray, exponent: int) -> FloatArray:
    """cos(theta)^exponent, near 0 from the sine: a millionth power amplifies rounding a millionfold."""
    with np.errstate(under="ignore"):
        near = np.exp(0.5 * exponent * np.log1p(-np.minimum(np.sin(theta) ** 2, 0.5)))
        return np.where(np.abs(theta) < 0.5, near, np.cos(theta) ** exponent)


def _edges(half_width: float, breakpoints: FloatArray) -> FloatArray:
    """Panels 1/16 wide in the bulk, wider in the tails, as for the normal law."""
    fine = min(_FINE, half_width)
    grid = np.linspace(-fine, fine, int(16 * fine) + 2)
    tail = np.arange(fine, half_width, 0.5)
    return np.unique(np.concatenate([[-half_width], -tail, grid, tail, [half_width], breakpoints]))


def mean_squared_length(activation: NumericActivation, width: int, q: float = 1.0) -> Estimate:
    r"""Mean squared length per neuron after one layer of finite width.

    .. math:: Q_n(q) = E[\,|\phi(h)|^2/n\,] = E\,\phi(h_1)^2, \qquad |h|^2 = nq

    For a normalized phi it is :math:`1 - E[\phi^2 He_4]/(4n) + O(1/n^2)` at q = 1.

    Args:
        activation: phi.
        width: n >= 2.
        q: squared length per neuron before the layer.

    >>> from theory.activations.specification import activation
    >>> round(mean_squared_length(activation("sqrt(2)*max(x, 0)"), 2, 3.0).value, 13)
    3.0
    """
    return sphere_expectations(activation, width, {"square": square_of_value}, q)["square"]


def mean_squared_slope(activation: NumericActivation, width: int, q: float = 1.0) -> Estimate:
    r"""Mean of phi'^2 over the neurons of one layer of finite width.

    .. math:: S_n(q) = E\,\phi'(h_1)^2 = E |D u|^2, \qquad D = \mathrm{diag}\,\phi'(h)

    the mean factor by which a layer multiplies the squared norm of a signal of independent direction u.

    Arguments as for `mean_squared_length`.

    >>> from theory.activations.specification import activation
    >>> round(mean_squared_slope(activation("sqrt(2)*max(x, 0)"), 7).value, 13)
    1.0
    """
    return sphere_expectations(activation, width, {"square": square_of_slope}, q)["square"]
