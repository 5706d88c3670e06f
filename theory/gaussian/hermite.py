r"""Hermite spectrum of an activation and its correlation map.

With He_k the probabilists' Hermite polynomials, orthogonal under N(0, 1), an activation with a finite second
moment is :math:`\phi = \sum_k c_k He_k / \sqrt{k!}`. Gaussian-Poincaré normalization is a statement about its
spectrum, and so is the map of the correlation of two inputs through a layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from theory.activations.activation import NumericActivation
from theory.activations.callable import CallableActivation
from theory.errors import UsageError
from theory.gaussian.expectations import Functional, expectations
from theory.numerics.arithmetic import FloatArray
from theory.numerics.quadrature import Estimate
from theory.numerics.survey import Survey

MAX_ORDER = 300  # h_k oscillates for |z| < 2 sqrt(k), which must stay inside the cutoff of the quadrature
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class HermiteSpectrum:
    r"""Hermite coefficients c_0 ... c_K of an activation, and the identities that check them.

    .. math:: \sum_k c_k^2 = E \phi^2, \quad \sum_k k c_k^2 = E \phi'^2, \quad
        \text{GPN} \Rightarrow c_0^2 = \sum_{k \ge 2} (k-1) c_k^2

    (O'Donnell 2014, "Analysis of Boolean Functions", chapter 11; the last from Lu, Gould, Ajanthan 2020,
    definition of GPN, by subtracting the first two.)

    Args:
        activation: the name of the activation.
        coefficients: c_k, shape (K + 1,), for k = 0 ... K.
        errors: bounds on the absolute errors of the c_k.
        second_moment, slope_second_moment: E phi^2 and E phi'^2, by quadrature and not from the spectrum.
            The slope's is (nan, inf) for a function that jumps, which has no weak derivative.

    >>> from theory.activations.catalog import build
    >>> spectrum = hermite_spectrum(build("sin"), 30)
    >>> bool(abs(spectrum.value_tail.value) <= spectrum.value_tail.error)
    True
    """

    activation: str
    coefficients: FloatArray
    errors: FloatArray
    second_moment: Estimate
    slope_second_moment: Estimate

    @property
    def order(self) -> int:
        """K, the highest degree."""
        return len(self.coefficients) - 1

    @property
    def powers(self) -> FloatArray:
        """c_k^2, shape (K + 1,)."""
        return self.coefficients**2

    @property
    def value_tail(self) -> Estimate:
        """E phi^2 - sum_{k <= K} c_k^2: what the degrees above K hold; never negative beyond its error."""
        return self._tail(self.second_moment, np.ones(self.order + 1))

    @property
    def slope_tail(self) -> Estimate:
        """E phi'^2 - sum_{k <= K} k c_k^2; never negative beyond its error."""
        return self._tail(self.slope_second_moment, np.arange(self.order + 1.0))

    @property
    def gpn_balance(self) -> Estimate:
        """sum_{2 <= k <= K} (k-1) c_k^2 - c_0^2; for a GPN function minus the part of the degrees above K."""
        weights = np.arange(self.order + 1.0) - 1
        return Estimate(float(weights @ self.powers), float(np.abs(weights) @ self._power_errors()))

    def correlation(self, rho: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        r"""The correlation map from the series, with an error that includes the degrees left out.

        .. math:: C(\rho) = E\,\phi(u) \phi(v) = \sum_k c_k^2 \rho^k

        (u, v) standard normal with correlation rho (Daniely, Frostig, Singer 2016). The rest beyond
        K is at most |rho|^(K+1) times `value_tail`.

        Args:
            rho: correlations in [-1, 1], any shape.

        Returns:
            C(rho) and error bounds, both of the shape of rho.

        Raises:
            UsageError: a correlation outside [-1, 1].

        >>> from theory.activations.catalog import build
        >>> hermite_spectrum(build("identity"), 3).correlation([0.25])[0].round(12)
        array([0.25])
        """
        points = _correlations(rho)
        value = np.polynomial.polynomial.polyval(points, self.powers)
        # All c_k^2 are >= 0, so the degrees left out add at most their sum times |rho|^(K+1).
        rest = max(self.value_tail.value, 0.0) + self.value_tail.error
        powers = np.abs(points) ** (self.order + 1) if np.isfinite(rest) else np.ones_like(points)
        error = self._power_errors().sum() + powers * rest
        return np.asarray(value), np.asarray(error + 4 * _EPS * self.powers.sum())

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a number that is infinite or not known is null."""
        return {
            "activation": self.activation,
            "coefficients": self.coefficients.tolist(),
            "errors": [_finite(error) for error in self.errors],
            "second_moment": _finite(self.second_moment.value),
            "slope_second_moment": _finite(self.slope_second_moment.value),
            "value_tail": _finite(self.value_tail.value),
            "slope_tail": _finite(self.slope_tail.value),
        }

    def to_frame(self) -> Any:
        """A pandas frame: degree, c_k, its error, c_k^2, and the running sums of c_k^2 and k c_k^2."""
        import pandas as pd

        degrees = np.arange(self.order + 1)
        return pd.DataFrame(
            {
                "degree": degrees,
                "coefficient": self.coefficients,
                "error": self.errors,
                "power": self.powers,
                "second_moment_so_far": np.cumsum(self.powers),
                "slope_second_moment_so_far": np.cumsum(degrees * self.powers),
            }
        )

    def _power_errors(self) -> FloatArray:
        """Error bounds of the c_k^2."""
        bounds: FloatArray = (2 * np.abs(self.coefficients) + self.errors) * self.errors
        return bounds

    def _tail(self, moment: Estimate, weights: FloatArray) -> Estimate:
        total = float(weights @ self.powers)
        error = moment.error + float(weights @ self._power_errors()) + 4 * _EPS * total
        return Estimate(moment.value - total, error)


def hermite_spectrum(activation: NumericActivation, order: int = 60) -> HermiteSpectrum:
    r"""Hermite coefficients of an activation in float64, each with a bound on its error.

    .. math:: c_k = E\,\phi(z) \frac{He_k(z)}{\sqrt{k!}}, \qquad z \sim N(0, 1)

    The normalized polynomials come from their three-term recursion (`normalized_hermite`), which is stable;
    the integrals are split at the breakpoints.

    Args:
        activation: phi.
        order: K, the highest degree, at most 300.

    Raises:
        UsageError: an order out of range.

    >>> from theory.activations.catalog import build
    >>> hermite_spectrum(build("relu"), 2).coefficients.round(6)
    array([0.398942, 0.5     , 0.282095])
    """
    _check_order(order)
    table = _Table(order)
    functionals: dict[str, Functional] = {"E phi^2": lambda _z, value, _slope: value**2}
    functionals |= {f"c_{k}": table.functional(k) for k in range(order + 1)}
    estimates = expectations(activation, functionals)
    second = estimates["E phi^2"]
    coefficients = [estimates[f"c_{k}"] for k in range(order + 1)]
    # Rounding grows by an eps at each step of the recursion, and E |phi h_k| <= sqrt(E phi^2).
    size = second.value if np.isfinite(second.value) else np.inf
    rounding = _EPS * np.sqrt(max(size, 0.0)) * (np.arange(order + 1) + 1)
    return HermiteSpectrum(
        activation.name,
        np.array([estimate.value for estimate in coefficients]),
        np.array([estimate.error for estimate in coefficients]) + rounding,
        second,
        _slope_second_moment(activation),
    )


def normalized_hermite(order: int, x: FloatArray) -> list[FloatArray]:
    r"""h_0(x) ... h_K(x), h_k = He_k/sqrt(k!), by the three-term recursion.

    .. math:: \sqrt{k+1}\, h_{k+1}(x) = x h_k(x) - \sqrt{k}\, h_{k-1}(x)

    (Abramowitz and Stegun 1964, 22.7.14, divided by sqrt(k!), so that nothing overflows.)

    >>> [float(h) for h in normalized_hermite(3, np.float64(0.0))]
    [1.0, 0.0, -0.7071067811865475, -0.0]
    """
    rows = [x * 0 + 1]
    previous = x * 0
    for k in range(order):
        rows.append((x * rows[k] - np.sqrt(k) * previous) / np.sqrt(k + 1))
        previous = rows[k]
    return rows


def correlation_slopes(activation: NumericActivation) -> tuple[Estimate, Estimate]:
    r"""The first two derivatives of the correlation map at correlation 1.

    .. math:: C'(1) = E \phi'^2, \qquad C''(1) = E \phi''^2

    GPN makes the first 1, the edge of chaos (Poole et al. 2016). The second is infinite for a function with a
    kink; both are infinite for a function that jumps.

    >>> from theory.activations.catalog import build
    >>> correlation_slopes(build("relu"))[1]
    Estimate(value=inf, error=0.0)
    """
    infinite = Estimate(float("inf"), 0.0)
    if _jumps(activation):
        return infinite, infinite
    first = _slope_second_moment(activation)
    # At a kink phi'' is a point mass, whose square has no finite mean.
    if getattr(activation, "kinks", ()):
        return first, infinite
    derivative = CallableActivation(
        "the slope",
        lambda x: activation.value_and_slope(x)[1],
        activation.curvature,
        known=Survey(tuple(activation.breakpoint_values.tolist()), edges=getattr(activation, "edges", np.empty(0))),
    )
    return first, _slope_second_moment(derivative)


class _Table:
    """phi times each normalized Hermite polynomial; all degrees at one set of points are computed once."""

    def __init__(self, order: int) -> None:
        self._order = order
        self._points: Any = None
        self._rows: Sequence[Any] = ()

    def functional(self, degree: int) -> Functional:
        """The functional z -> phi(z) h_degree(z)."""

        def product(z: Any, value: Any, _slope: Any) -> Any:
            # The quadrature passes the same array to every functional in turn.
            if self._points is not z:
                self._points, self._rows = z, normalized_hermite(self._order, z)
            return value * self._rows[degree]

        return product


def _check_order(order: int) -> None:
    if not 0 <= order <= MAX_ORDER:
        raise UsageError(f"the order must be from 0 to {MAX_ORDER}, not {order}")


def _correlations(rho: npt.ArrayLike) -> FloatArray:
    points = np.asarray(rho, dtype=np.float64)
    if not np.all(np.abs(points) <= 1):
        raise UsageError(f"a correlation lies in [-1, 1], unlike {rho!r:.60}")
    return points


def _jumps(activation: NumericActivation) -> bool:
    return bool(getattr(activation, "jumps", ()))


def _slope_second_moment(activation: NumericActivation) -> Estimate:
    if _jumps(activation):
        return Estimate(float("nan"), float("inf"))
    return expectations(activation, {"": lambda _z, _value, slope: slope**2})[""]


def _finite(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
