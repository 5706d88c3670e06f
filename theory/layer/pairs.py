r"""Exact second moments of one layer at finite width: two coordinates of a point on the sphere.

Two coordinates (t_1, t_2) of a uniform point on the unit sphere in n dimensions are nearly independent: their
covariances are of order 1/n and would drown in the rounding of E f f - (E f)^2. They come instead from the
spectrum of the operator :math:`f \mapsto E[f(t_2) \mid t_1]`, which the Gegenbauer polynomials diagonalize
(Funk 1916, Hecke 1918; Müller 1966, "Spherical Harmonics"):

.. math:: Cov(f(t_1), g(t_2)) = \sum_{j \ge 1} \lambda_{2j} a_{2j} b_{2j}, \qquad
    \lambda_{2j} = \frac{P_{2j}(0)}{P_{2j}(1)} = (-1)^j \frac{(1/2)_j}{((n-1)/2)_j}

with a_k, b_k the coefficients of f and g in the orthonormal polynomials :math:`p_k = P_k/\|P_k\|`. The degree 2,
whose share cancels in an average over the neurons (the radius is fixed), is taken out exactly; the degrees left out
are bounded by Bessel's inequality. At small n, where the eigenvalues fall slowly, the pair density is integrated
over the plane instead.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from theory.activations.activation import NumericActivation
from theory.gaussian.expectations import Functional
from theory.layer.sphere import cosine_power, sphere_expectations, square_of_slope, square_of_value
from theory.numerics.arithmetic import FloatArray
from theory.numerics.nested import Inner, nested_integrals
from theory.numerics.quadrature import Estimate, integrate

_EPS = float(np.finfo(np.float64).eps)
_SERIES_FROM = 32  # neurons; below it the eigenvalues fall too slowly for singular functions
_MOST_TERMS = 70
_NEGLIGIBLE = 1e-18
_NOISE = 64 * _EPS
_ENOUGH = 1e-11  # relative error of the plane rule that calls for no refinement towards the breakpoints


@dataclass(frozen=True, slots=True)
class PairMoments:
    r"""Second moments of f and g at one and at two coordinates of a point on the sphere.

    With :math:`f = E f + a_2 p_2 + f_\perp` and the same for g:

    Args:
        width: n.
        second_degree: :math:`a_2 b_2`.
        single: :math:`E f_\perp(h_1) g_\perp(h_1)`.
        pair: :math:`E f_\perp(h_1) g_\perp(h_2)`, of order n^-2.
    """

    width: int
    second_degree: Estimate
    single: Estimate
    pair: Estimate

    @property
    def covariance(self) -> Estimate:
        """Cov(f(h_1), g(h_2)): two different coordinates."""
        return _combine((1.0, self.pair), (-1 / (self.width - 1), self.second_degree))

    @property
    def of_averages(self) -> Estimate:
        """Covariance of the averages of f(h_i) and of g(h_i) over the n coordinates."""
        n = self.width
        return _combine((1 / n, self.single), ((n - 1) / n, self.pair))


def pair_moments(
    activation: NumericActivation,
    width: int,
    first: Functional,
    second: Functional | None = None,
    q: float = 1.0,
) -> PairMoments:
    r"""Second moments of two functionals at coordinates of a uniform point on the sphere of radius sqrt(nq).

    .. math:: (t_1, t_2) \sim \frac{n-2}{2\pi} (1 - t_1^2 - t_2^2)^{(n-4)/2}, \quad h_i = \sqrt{nq}\, t_i

    (for n = 2 the two coordinates lie on a circle.) See the module for the method.

    Args:
        activation: phi.
        width: n >= 2.
        first: f(h, phi(h), phi'(h)), vectorized.
        second: g in the same form; f itself if left out.
        q: squared length per neuron of the layer's input, > 0.

    Returns:
        `PairMoments`; an estimate is (nan, inf) where a second moment is not finite.

    Raises:
        UsageError: a width below 2 or a q that is not positive.

    >>> from theory.activations.catalog import build
    >>> moments = pair_moments(build("identity"), 10, lambda h, value, slope: value**4)
    >>> round(moments.covariance.value, 13)  # 9 n^3/((n+2)(n+4)(n+6)) - 9 n^2/(n+2)^2
    -2.9017857142857
    """
    second = first if second is None else second
    f, g = (_Centred(activation, width, functional, q) for functional in (first, second))
    if not np.isfinite(f.square.error + g.square.error):
        unknown = Estimate(float("nan"), np.inf)
        return PairMoments(width, unknown, unknown, unknown)
    if width < _SERIES_FROM:
        single = sphere_expectations(activation, width, {"fg": _product(f, g)}, q)["fg"]
        pair = _circle(activation, f, g) if width == 2 else _plane(activation, f, g)
    else:
        single, pair = _series(activation, f, g)
    rounding = _rounding(f, g)  # the pair sees it through the operator, whose next eigenvalue is that of degree 4
    return PairMoments(
        width,
        _times(f.second, g.second),
        Estimate(single.value, single.error + rounding),
        Estimate(pair.value, pair.error + rounding * eigenvalue(width, 2)),
    )


def squared_length_variance(activation: NumericActivation, width: int, q: float = 1.0) -> Estimate:
    r"""Variance of the squared length per neuron after one layer of finite width.

    .. math:: Var\, q_1 = \tfrac1n E f(h_1)^2 + (1 - \tfrac1n) E f(h_1) f(h_2) - Q_n(q)^2, \qquad f = \phi^2

    (derived for this project, docs/finite-width.md). It is 0 for a linear phi and 3/(n+2) for a normalized ReLU.

    Args:
        activation: phi.
        width: n >= 2.
        q: squared length per neuron before the layer, > 0.

    >>> from theory.activations.catalog import build
    >>> from theory.normalization.normalize import normalize
    >>> round(squared_length_variance(normalize(build("relu")), 8).value, 13)
    0.3
    """
    return pair_moments(activation, width, square_of_value, q=q).of_averages


def backward_ratio_variance(activation: NumericActivation, width: int, q: float = 1.0) -> Estimate:
    r"""Variance of the factor by which one layer changes the squared norm of a signal of fresh direction.

    .. math:: Var\, B = \frac{3 E s(h_1)^2 + (n-1) E s(h_1) s(h_2)}{n+2} - S_n(q)^2, \qquad
        B = |\phi'(h) * u|^2, \quad s = \phi'^2

    with u uniform on the unit sphere, independent of h (derived for this project, docs/finite-width.md). In a network
    this is the top layer under a random readout; below it the direction is not independent of h
    (`theory.depth.alignment`).

    Arguments as for `squared_length_variance`; where phi jumps, phi' is the slope beside the jump, as in
    back-propagation.

    >>> from theory.activations.catalog import build
    >>> from theory.normalization.normalize import normalize
    >>> round(backward_ratio_variance(normalize(build("relu")), 8).value, 13)
    0.3
    """
    moments, n = pair_moments(activation, width, square_of_slope, q=q), width
    return _combine(
        (3 / (n + 2), moments.single), (2 / (n + 2), moments.second_degree), ((n - 1) / (n + 2), moments.pair)
    )


def eigenvalue(width: int, term: int) -> float:
    r"""The eigenvalue of degree 2j of :math:`f \mapsto E[f(t_2) \mid t_1]` on the sphere.

    .. math:: \lambda_{2j} = (-1)^j \frac{(1/2)_j}{((n-1)/2)_j}

    Args:
        width: n >= 2.
        term: j >= 0.

    >>> [eigenvalue(3, j) for j in range(3)]  # the Legendre polynomials at 0
    [1.0, -0.5, 0.375]
    """
    steps = np.arange(term)
    return float((-1.0) ** term * np.prod((steps + 0.5) / (steps + 0.5 * (width - 1))))


class _Centred:
    """A functional without its components of degree 0 and 2."""

    def __init__(self, activation: NumericActivation, width: int, functional: Functional, q: float) -> None:
        self.width, self.q, self._functional = width, q, functional
        moments = sphere_expectations(
            activation,
            width,
            {
                "mean": functional,
                "second": lambda h, value, slope: functional(h, value, slope) * self._quadratic(h),
                "square": lambda h, value, slope: functional(h, value, slope) ** 2,
            },
            q,
        )
        self.mean, self.second, self.square = moments["mean"], moments["second"], moments["square"]

    def __call__(self, h: Any, value: Any, slope: Any) -> Any:
        whole = self._functional(h, value, slope)
        quadratic = self.second.value * self._quadratic(h)
        rest = whole - self.mean.value - quadratic
        # What is rounding alone is set to 0: a rule of quadrature would try to resolve it.
        return np.where(np.abs(rest) <= _NOISE * (np.abs(whole) + np.abs(quadratic) + abs(self.mean.value)), 0.0, rest)

    def at(self, activation: NumericActivation, h: FloatArray) -> FloatArray:
        value, slope = activation.value_and_slope(h)
        return np.asarray(self(h, value, slope))

    def _quadratic(self, h: Any) -> Any:
        """The orthonormal polynomial of degree 2: (n t^2 - 1) sqrt((n+2)/(2(n-1)))."""
        n = self.width
        return (h * h / self.q - 1) * np.sqrt((n + 2) / (2 * (n - 1)))


def _product(f: Functional, g: Functional) -> Functional:
    return lambda h, value, slope: f(h, value, slope) * g(h, value, slope)


def _series(activation: NumericActivation, f: _Centred, g: _Centred) -> tuple[Estimate, Estimate]:
    """`single` and `pair` from the coefficients of degree 4, 6, ..., with Bessel's bound on the rest."""
    n = f.width
    eigenvalues = [eigenvalue(n, j) for j in range(_MOST_TERMS + 2)]
    terms = next((j for j in range(2, _MOST_TERMS) if n * abs(eigenvalues[j + 1]) < _NEGLIGIBLE), _MOST_TERMS)
    table = _EvenPolynomials(n, terms, float(np.sqrt(n * f.q)))
    functionals: dict[str, Functional] = {"fg": _product(f, g), "ff": _product(f, f), "gg": _product(g, g)}
    for name, functional in (("f", f), ("g", g)) if g is not f else (("f", f),):
        functionals |= {f"{name}{j}": table.times(functional, j) for j in range(2, terms + 1)}
    moments = sphere_expectations(activation, n, functionals, f.q)
    coefficients = {
        name: [moments[f"{name if f'{name}2' in moments else 'f'}{j}"] for j in range(2, terms + 1)] for name in "fg"
    }
    parts = [_times(a, b) for a, b in zip(coefficients["f"], coefficients["g"], strict=True)]
    pair = _combine(*((eigenvalues[j], part) for j, part in enumerate(parts, start=2)))
    rests = [
        moments[name * 2].value + moments[name * 2].error - sum(a.value * a.value for a in coefficients[name])
        for name in "fg"
    ]
    rest = abs(eigenvalues[terms + 1]) * float(np.sqrt(max(rests[0], 0.0) * max(rests[1], 0.0)))
    return moments["fg"], Estimate(pair.value, pair.error + rest)


class _EvenPolynomials:
    """Orthonormal Gegenbauer polynomials of even degree at h = radius t, all degrees computed once for one set of h."""

    def __init__(self, width: int, terms: int, radius: float) -> None:
        self._terms, self._radius = terms, radius
        k = np.arange(1, 2 * terms + 1)
        self._steps = np.sqrt(k * (k + width - 3.0) / ((2.0 * k + width - 2) * (2.0 * k + width - 4)))
        self._points: Any = None
        self._rows: list[FloatArray] = []

    def times(self, functional: Functional, term: int) -> Functional:
        def product(h: Any, value: Any, slope: Any) -> Any:
            if self._points is not h:
                self._points, self._rows = h, self._evaluate(h / self._radius)
            return functional(h, value, slope) * self._rows[term]

        return product

    def _evaluate(self, t: FloatArray) -> list[FloatArray]:
        """t p_k = c_{k+1} p_{k+1} + c_k p_{k-1}, c_k^2 = k (k+n-3)/((2k+n-2)(2k+n-4))."""
        previous, current, even = np.zeros_like(t), np.ones_like(t), [np.ones_like(t)]
        below = 0.0
        for degree, step in enumerate(self._steps, start=1):
            previous, current = current, (t * current - below * previous) / step
            below = step
            if degree % 2 == 0:
                even.append(current)
        return even


def _circle(activation: NumericActivation, f: _Centred, g: _Centred) -> Estimate:
    """`pair` for n = 2: (h_1, h_2) = radius (sin theta, cos theta)."""
    radius = float(np.sqrt(2 * f.q))
    inner = activation.breakpoint_values[np.abs(activation.breakpoint_values) < radius] / radius
    breakpoints = np.concatenate([np.arcsin(inner), np.arccos(np.abs(inner)), -np.arccos(np.abs(inner))])

    def integrands(theta: FloatArray) -> FloatArray:
        beside = radius * np.cos(theta)
        other = 0.5 * (g.at(activation, beside) + g.at(activation, -beside))
        return (f.at(activation, radius * np.sin(theta)) * other / np.pi)[None]

    value, error = integrate(integrands, np.union1d(_angles(radius, 2), breakpoints), breakpoints)
    return Estimate(float(value[0]), float(error[0]))


def _plane(activation: NumericActivation, f: _Centred, g: _Centred) -> Estimate:
    """`pair` by quadrature: h_1 = radius sin(theta), h_2 = radius cos(theta) sin(eta)."""
    n, radius = f.width, float(np.sqrt(f.width * f.q))
    inner = activation.breakpoint_values[np.abs(activation.breakpoint_values) < radius] / radius
    # The integral over eta is singular where a breakpoint of h_2 enters its range, at cos(theta) = |t|.
    entries = np.arccos(np.abs(inner))
    breakpoints = np.unique(np.concatenate([np.arcsin(inner), entries, -entries]))
    constant = (n - 2) / (2 * np.pi)

    def integrand(theta: FloatArray, eta: FloatArray) -> FloatArray:
        weight = constant * cosine_power(theta, n - 2) * cosine_power(eta, n - 3)
        h = radius * np.cos(theta) * np.sin(eta)
        return np.asarray((weight * f.at(activation, radius * np.sin(theta)) * g.at(activation, h))[None])

    def lines(theta: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return np.asarray(np.arcsin(np.clip(inner / np.cos(theta)[:, None], -1, 1)))

    edges = _angles(radius, n)
    for graded in (False, True):
        value, error = nested_integrals(
            integrand, np.union1d(edges, breakpoints), breakpoints, Inner(edges, lines, graded)
        )
        if not inner.size or error[0] < _ENOUGH * np.sqrt(f.square.value * g.square.value):
            break
    return Estimate(float(value[0]), float(error[0]))


def _angles(radius: float, width: int) -> FloatArray:
    """Ends of panels on [-pi/2, pi/2], at most 1 wide in h and half a standard deviation of the angle or so."""
    panels = int(np.clip(np.ceil(np.pi * max(radius, np.sqrt(width))), 6, 400))
    return np.linspace(-np.pi / 2, np.pi / 2, panels + 1)


def _combine(*terms: tuple[float, Estimate]) -> Estimate:
    """A linear combination with its error, rounding included."""
    value = sum(factor * term.value for factor, term in terms)
    error = sum(abs(factor) * (term.error + 2 * _EPS * abs(term.value)) for factor, term in terms)
    return Estimate(float(value), float(error))


def _times(a: Estimate, b: Estimate) -> Estimate:
    error = abs(a.value) * b.error + abs(b.value) * a.error + a.error * b.error + _EPS * abs(a.value * b.value)
    return Estimate(a.value * b.value, error)


def _rounding(f: _Centred, g: _Centred) -> float:
    """What rounding of f and g, before their low degrees are subtracted, makes of the mean of their product."""
    spreads = [
        float(np.sqrt(max(c.square.value - c.mean.value * c.mean.value - c.second.value * c.second.value, 0.0)))
        for c in (f, g)
    ]
    roundings = [_EPS * float(np.sqrt(c.square.value)) + c.mean.error + c.second.error for c in (f, g)]
    return spreads[0] * roundings[1] + spreads[1] * roundings[0] + roundings[0] * roundings[1]
