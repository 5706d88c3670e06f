"""Expectations under the standard normal law, split at the breakpoints of an activation.

Two paths with one meaning: float64 in about a millisecond, and mpmath to any number of digits. Both return an
absolute error beside the value. Whether a second moment exists at all is decided apart from quadrature, by
the local power law of the integrand (`convergence`), since a quadrature rule happily returns a number for a
divergent integral.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from theory.activations.activation import NumericActivation
from theory.activations.callable import CallableActivation
from theory.errors import UsageError
from theory.numerics.arithmetic import FloatArray
from theory.numerics.quadrature import MOST_PANELS, Estimate, gauss_legendre, integrate

Functional = Callable[[Any, Any, Any], Any]
"""Maps (z, phi(z), phi'(z)) to the integrand, on arrays as well as on single mpmath numbers."""


_CUTOFF = 37.5  # the normal density is about 1e-306 there, just above underflow
_TAIL_NODES = 64
_LEAST = 1e-290  # smaller tails are errors only
_FINE = 8.0  # panels are fine where all but 1e-15 of the probability is


def expectations(
    activation: NumericActivation, functionals: Mapping[str, Functional], *, deviation: float = 1.0
) -> dict[str, Estimate]:
    r"""Expectations of several functionals of an activation at a normal pre-activation, in float64.

    .. math:: E\, f(z, \phi(\sigma z), \phi'(\sigma z)), \qquad z \sim N(0, 1)

    Gauss-Legendre panels between the breakpoints are bisected until a panel agrees with its two halves. The
    error adds these differences, extrapolated geometrically where a panel ends at a singular breakpoint, the
    rounding, and the tails beyond |z| = 37.5, which are taken to decay at least as fast as at the cutoff. A tail that
    decays like a power is added to the value.

    Args:
        activation: phi, anything with `value_and_slope` and `breakpoint_values`.
        functionals: name -> f, vectorized.
        deviation: sigma > 0, the standard deviation of the pre-activation.

    Returns:
        name -> `Estimate`; (nan, inf) where the integrand is not finite.

    >>> import sympy
    >>> from theory.activations.activation import Activation
    >>> from theory.numerics.arithmetic import X
    >>> relu = Activation("relu", sympy.Max(X, 0))
    >>> second = expectations(relu, {"second moment": lambda z, value, slope: value**2})["second moment"]
    >>> abs(second.value - 0.5) <= second.error < 1e-14
    True
    """
    if not (np.isfinite(deviation) and deviation > 0):
        raise UsageError(f"the deviation must be a positive number, not {deviation}")
    integrands = _weighted(activation, list(functionals.values()), deviation)
    breakpoints = activation.breakpoint_values / deviation
    edges = _edges(np.concatenate([breakpoints, _landmarks(activation) / deviation]))
    value, error = integrate(integrands, edges, breakpoints)
    tail, tail_error = _tails(integrands)
    value, error = value + tail, error + tail_error
    return {name: Estimate(float(v), float(e)) for name, v, e in zip(functionals, value, error, strict=True)}


def _weighted(
    activation: NumericActivation, functionals: list[Functional], deviation: float
) -> Callable[[FloatArray], FloatArray]:
    def integrands(z: FloatArray) -> FloatArray:
        value, slope = activation.value_and_slope(deviation * z)
        density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
        with np.errstate(all="ignore"):  # overflow gives a value that is not finite, which the caller reports
            weighted = [functional(z, value, slope) * density for functional in functionals]
        return np.stack(weighted)

    return integrands


def _edges(points: FloatArray) -> FloatArray:
    """Panels 1/8 wide within |z| < 8, whose halves have nodes at most 6e-3 apart, and wider ones in the tails."""
    tail = np.arange(_FINE, _CUTOFF, 0.5)
    fine = np.linspace(-_FINE, _FINE, int(16 * _FINE) + 1)
    grid = np.concatenate([[-_CUTOFF], -tail, fine, tail, [_CUTOFF]])
    return np.union1d(grid, points[np.abs(points) < _CUTOFF])


def _landmarks(activation: NumericActivation) -> FloatArray:
    """Where a Python function was seen to vary quickly, so that no first panel steps over it."""
    if not isinstance(activation, CallableActivation):
        return np.empty(0)
    edges = activation.edges
    return edges if len(edges) < MOST_PANELS // 8 else np.empty(0)  # quick everywhere: bisecting sees it too


def keeps_growing(activation: NumericActivation, functional: Functional) -> bool:
    """Whether the integrand of an expectation does not decay towards the cutoff, as far as float64 can tell.

    >>> import sympy
    >>> from theory.activations.activation import Activation
    >>> from theory.numerics.arithmetic import X
    >>> square = lambda z, value, slope: value**2
    >>> [keeps_growing(Activation("", sympy.exp(X**2 / k)), square) for k in (3, 4, 5)]
    [True, True, False]
    """
    integrands = _weighted(activation, [functional], 1.0)
    reach = np.linspace(0.8, 1, 9) * _CUTOFF
    outward = np.abs(integrands(np.stack([-reach, reach]))[0])
    outward = np.where(np.isfinite(outward), outward, np.inf)
    decays = (outward[:, -1] < 0.5 * outward[:, 0]) | (outward[:, -1] < 1e-290)
    return bool(~decays.all())


_POWER = 60.0  # a tail that decays faster than this power of |z| is negligible


def _tails(integrands: Callable[[FloatArray], FloatArray]) -> tuple[FloatArray, FloatArray]:
    """The integrals beyond the cutoff and their errors, from the local power of |z| at the cutoff R.

    If f falls like a power, or faster, its integral beyond R is at most R f(R)/(p - 1) with p = -d log f/d log z. For a
    power that is nearly the integral; its error is what the same formula misses beyond R/2.
    """
    nodes, weights = gauss_legendre(_TAIL_NODES)
    values, errors = np.zeros((2, len(integrands(np.array([0.0])))))
    for side in (-1.0, 1.0):
        middle = integrands(side * _CUTOFF * (0.75 + 0.25 * nodes)) @ weights * 0.25 * _CUTOFF
        (far, power), (half, _) = (_beyond(integrands, side, reach) for reach in (_CUTOFF, _CUTOFF / 2))
        slow = (power < _POWER) & (np.abs(far) > _LEAST)
        with np.errstate(all="ignore"):
            miss = np.abs(middle + far - half)
        values += np.where(slow & np.isfinite(far), far, 0.0)
        errors += np.where(slow, np.where(np.isfinite(miss), miss, np.inf), np.abs(far))
    return values, errors


def _beyond(integrands: Callable[[FloatArray], FloatArray], side: float, reach: float) -> tuple[FloatArray, FloatArray]:
    """An integral beyond |z| = R as that of the power of |z| seen at R, infinite where it diverges; and the power."""
    edge, inside = integrands(np.array([side * reach, side * (reach - 0.25)])).T
    with np.errstate(all="ignore"):
        power = np.log(np.abs(inside / edge)) / np.log(reach / (reach - 0.25))
        tail = np.where(edge == 0, 0.0, np.where(power > 1, edge * reach / (power - 1), np.inf))
    return tail, np.where(edge == 0, np.inf, power)
