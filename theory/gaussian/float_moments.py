"""Moments in float64, with what the values of a Python function leave open added to their errors."""

from collections.abc import Callable, Collection, Mapping

import numpy as np

from theory.activations.activation import Activation
from theory.activations.callable import CallableActivation
from theory.gaussian.expectations import expectations
from theory.gaussian.moments import FUNCTIONALS
from theory.numerics.arithmetic import FloatArray
from theory.numerics.panels import first_edges
from theory.numerics.quadrature import Estimate

_NOISELESS = 1e-14  # relative noise that the error of the quadrature covers
_DIFFERENCE_FLOOR = 2e-12  # least error of phi'^2 where phi' comes from differences
_MATCHING = 1e-12  # mismatch of a derivative that is rounding
_NODES = 8
_CUTOFF = 37.5
_Size = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]


_SIZES: Mapping[str, _Size] = {
    "mean": lambda _z, value, _slope: np.abs(value),
    "second": lambda _z, value, _slope: 2 * value**2,
    "mean_tilt": lambda z, value, _slope: np.abs(value) * (z * z + 1),
    "second_tilt": lambda z, value, _slope: 2 * value**2 * (z * z + 1),
    "slope_second": lambda _z, _value, slope: 2 * slope**2,
}
"""By how much a relative error of the value, or the slope, changes the integrand of a moment."""


def moment_estimates(activation: Activation | CallableActivation, names: Collection[str]) -> dict[str, Estimate]:
    """Moments of an activation at z ~ N(0, 1) in float64 with their absolute errors.

    Args:
        activation: phi.
        names: which moments, keys of `theory.gaussian.moments.FUNCTIONALS`.

    >>> round(moment_estimates(CallableActivation("tanh", np.tanh), ["second"])["second"].value, 12)
    0.394294490398
    """
    estimates = expectations(activation, {name: FUNCTIONALS[name] for name in names})
    doubts = _doubts(activation, names) if isinstance(activation, CallableActivation) else {}
    return {name: Estimate(e.value, e.error + doubts.get(name, 0.0)) for name, e in estimates.items()}


def _doubts(activation: CallableActivation, names: Collection[str]) -> dict[str, float]:
    """Absolute errors that uncertain values and slopes of a Python function add to its moments, where there are any.

    Values are known to the rounding noise seen, ten standard deviations of it; slopes by differences to what twice
    the step changes; slopes by a derivative to its mismatch m with the function, |phi'| to m (|phi'| +
    (E phi'^2)^(1/2)), which changes E phi'^2 by at most about 4 m of itself. These errors are themselves estimates,
    summed by a fixed rule: noise is not to be resolved.
    """
    noise = 10 * activation.survey.noise
    differenced = activation.derivative is None and "slope_second" in names
    mistaken = activation.mismatch > _MATCHING and "slope_second" in names
    if noise <= _NOISELESS and not differenced and not mistaken:
        return {}
    z, weights = _rule(activation)
    with np.errstate(all="ignore"):
        value, slope = activation.value_and_slope(z)
        noisy = [name for name in names if name in _SIZES and noise > _NOISELESS]
        doubts = {name: noise * _total(_SIZES[name](z, value, slope), weights) for name in noisy}
        if mistaken:
            slope_second = _total(slope**2, weights)
            doubts["slope_second"] = doubts.get("slope_second", 0.0) + 4 * activation.mismatch * slope_second
        if differenced:
            miss = activation.slope_error(z)
            error = np.maximum(miss * (2 * np.abs(slope) + miss), _DIFFERENCE_FLOOR)
            doubts["slope_second"] = doubts.get("slope_second", 0.0) + _total(error, weights)
    return doubts


def _rule(activation: CallableActivation) -> tuple[FloatArray, FloatArray]:
    """Points and weights, the normal density included, on the panels that follow the function."""
    edges = np.union1d(first_edges(activation.breakpoint_values), activation.edges)
    edges = edges[np.abs(edges) < _CUTOFF]
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    half = 0.5 * np.diff(edges)[:, None]
    z = 0.5 * (edges[:-1] + edges[1:])[:, None] + half * nodes
    return z, half * weights * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)


def _total(sizes: FloatArray, weights: FloatArray) -> float:
    """The sum, infinite where it is not a number."""
    total = float(np.sum(sizes * weights))
    return total if np.isfinite(total) else float("inf")
