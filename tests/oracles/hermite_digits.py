"""Hermite coefficients of an activation to many digits, by mpmath.

No part of the product uses them; tests compare them with `theory.gaussian.hermite`.
"""

import math
from typing import Any

import mpmath

from theory.activations.activation import Activation
from theory.gaussian.digits import expectations_high_precision
from theory.gaussian.expectations import Functional


def hermite_coefficients(activation: Activation, order: int, digits: int) -> list[mpmath.mpf]:
    """The coefficients c_0 ... c_K of `hermite_spectrum` to the given number of digits.

    The digits are relative to sqrt(E phi^2). A coefficient whose integral does not settle is nan.

    >>> from theory.activations.catalog import build
    >>> mpmath.nstr(hermite_coefficients(build("cos"), 2, 30)[2], 25)  # -exp(-1/2)/sqrt(2)
    '-0.4288819424803533982400948'
    """
    functionals = {str(k): _functional(k) for k in range(order + 1)}
    estimates = expectations_high_precision(activation, functionals, digits)
    return [value if mpmath.isfinite(error) else mpmath.nan for value, error in estimates.values()]


def _functional(degree: int) -> Functional:
    """z -> phi(z) He_k(z)/sqrt(k!), with He_k by the three-term recursion (Abramowitz and Stegun 1964, 22.7.14)."""

    def product(z: Any, value: Any, _slope: Any) -> Any:
        previous, current = z * 0, z * 0 + 1
        for k in range(degree):
            previous, current = current, z * current - k * previous
        root = mpmath.sqrt if isinstance(z, mpmath.mpf) else math.sqrt  # float64 arrays come first, for a rough value
        return value * current / root(math.factorial(degree))

    return product
