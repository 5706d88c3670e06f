r"""Whether the directions of a gradient survive: the law of the squared singular values of the Jacobian.

In wide networks with Haar weights the layers are asymptotically free (Collins and Hayase 2022, "Asymptotic freeness of
layerwise Jacobians caused by invariance of multilayer perceptron", arXiv 2103.13466; Pennington, Schoenholz, Ganguli
2017, "Resurrecting the sigmoid in deep learning through dynamical isometry", arXiv 1711.04735). So the law of
:math:`J J^T, J = D_L W_L \cdots D_1 W_1`, is the L-fold free multiplicative convolution of the law of phi'(z)^2.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from flint import arb, arb_series, ctx

from theory.activations.activation import NumericActivation
from theory.errors import UsageError, layer_count
from theory.numerics.arithmetic import FloatArray
from theory.numerics.quadrature import gauss_legendre

_REACH, _PANEL, _NODES = 9.0, 0.25, 12
_LOWEST = 1e-8  # where the curve of the usual thresholds ends
_HALVINGS = 44  # of an angle in (0, pi)
_SMALLEST_ANGLE = 1e-9
_EQUAL = 1e-12  # relative distance of squared slopes that are rounded differently
_DECADES = 16  # of |w|, from below the upper edge of the support


@dataclass(frozen=True)
class JacobianSpectrum:
    r"""The limit law of the squared singular values of a Jacobian at infinite width.

    .. math:: \int x\, d\nu = (E s)^L, \qquad \frac{\operatorname{Var}_\nu}{(E s)^{2L}} = \sigma^2 =
              L \Big(\frac{E s^2}{(E s)^2} - 1\Big), \qquad s = \phi'(z)^2

    Args:
        slopes, weights: nodes of the law of s and their probabilities.
        depth: L.
    """

    slopes: FloatArray
    weights: FloatArray
    depth: int

    @property
    def mean(self) -> float:
        """(E s)^L, 1 for a Gaussian-Poincaré normalized activation."""
        return float(np.float64(self.weights @ self.slopes) ** self.depth)

    @property
    def relative_variance(self) -> float:
        r"""sigma^2, the variance of the squared singular values over their squared mean."""
        mean = float(self.weights @ self.slopes)
        return float(self.depth * (self.weights @ (self.slopes / mean - 1) ** 2))

    @property
    def effective_rank(self) -> float:
        r"""The share :math:`1/(1 + \sigma^2)` of the n directions, from :math:`(tr JJ^T)^2 / (n\, tr (JJ^T)^2)`."""
        return 1 / (1 + self.relative_variance)

    @property
    def atom(self) -> float:
        """The probability of a singular value 0, which is P(phi'(z) = 0) at every depth."""
        return float(self.weights[self.slopes == 0].sum())

    @property
    def is_point(self) -> bool:
        """Whether all singular values are equal, as those of the identity and of abs(x)."""
        return float(np.ptp(self.slopes)) <= _EQUAL * float(self.slopes.max())

    def moments(self, order: int) -> FloatArray:
        r"""Moments 1, ..., K of the law, array (K,), by its S-transform.

        .. math:: \chi = \psi^{-1}, \quad \psi(z) = \sum_k E s^k z^k, \quad S(z) = \frac{1+z}{z} \chi(z), \quad
                  S_\nu = S^L

        (Voiculescu 1987). The series are computed in ball arithmetic at 200 bits.

        Args:
            order: K >= 1.

        >>> from theory.activations.specification import activation
        >>> relu = jacobian_spectrum(activation("sqrt(2)*max(x, 0)"), 2)
        >>> relu.moments(3).round(9)  # half an atom at 0, half the arcsine law on [0, 4]
        array([ 1.,  3., 10.])
        """
        old = ctx.prec, ctx.cap
        ctx.prec, ctx.cap = 200, order + 2
        try:
            powers = [self.weights @ self.slopes**k for k in range(1, order + 1)]
            psi = arb_series([arb(0), *(arb(float(power)) for power in powers)], prec=order + 1)
            ratio = arb_series((psi.reversion()).coeffs()[1:], prec=order)  # chi(z)/z
            one_more = arb_series([1, 1], prec=order)
            transform = (ratio * one_more) ** self.depth
            chi = arb_series([arb(0), *(transform / one_more).coeffs()], prec=order + 1)
            found = chi.reversion().coeffs()[1:]
        finally:
            ctx.prec, ctx.cap = old
        return np.array([float(ball.mid()) for ball in found])

    def curve(self, cells: int = 500, lowest: float = 1e-40) -> tuple[FloatArray, FloatArray]:
        r"""The law of log x without its atom at 0, in cells from the upper edge of the support downwards.

        The subordination function w of the free convolution (Belinschi and Bercovici 2005) is parametrized by its
        modulus r: for each r the angle with
        :math:`(1 - 1/L) \operatorname{arg}\eta(r e^{i\varphi}) = \varphi` is unique, where
        :math:`\eta = \psi/(1+\psi)`, :math:`x = |\eta|^{L-1}/r^L` and the density of log x is
        :math:`\operatorname{Im}\psi/\pi`.

        Args:
            cells: number of cells, denser in r towards both edges.
            lowest: the curve ends near this x, or at the lower edge of the support.

        Returns:
            log x at the ends of the cells, decreasing, array (cells + 1,), and the probability of each cell by the
            midpoint rule, array (cells,).

        Raises:
            UsageError: one layer alone, whose law is that of phi'(z)^2 itself, or one value alone.
        """
        if self.depth < 2:
            raise UsageError("the law of one layer is that of phi'(z)^2 itself, without a density; take depth >= 2")
        if self.is_point:
            raise UsageError("all singular values are equal: their law has no density")
        first, last = self._radii(lowest)
        radii = first * (last / first) ** (0.5 * (1 - np.cos(np.linspace(0, np.pi, 2 * cells + 1))))
        log_x, density = self._solved(radii, self._angles(radii))
        return log_x[::2], np.maximum(density[1::2], 0.0) * -np.diff(log_x[::2])

    def share_below(self, threshold: float) -> float:
        """The share of the squared singular values below a threshold > 0, the atom at 0 included.

        >>> from theory.activations.specification import activation
        >>> jacobian_spectrum(activation("identity"), 3).share_below(0.99)
        0.0
        """
        if self.is_point:
            return float(self.mean < threshold)
        lowest = 1e-3 * threshold
        log_x, masses = self._usual_curve if lowest >= _LOWEST else self.curve(lowest=lowest)
        above = np.concatenate([[0.0], np.cumsum(masses)])
        return float(np.clip(1 - np.interp(-np.log(threshold), -log_x, above), self.atom, 1.0))

    @cached_property
    def _usual_curve(self) -> tuple[FloatArray, FloatArray]:
        """The curve that serves every threshold but the smallest."""
        return self.curve(lowest=_LOWEST)

    def _radii(self, lowest: float) -> tuple[float, float]:
        """The moduli of w at the two ends of the curve."""
        grid = 0.2 / (self.depth * self.slopes.max()) * np.logspace(0, _DECADES, _DECADES * 40)
        angles = self._angles(grid)
        inside = np.flatnonzero(angles > _SMALLEST_ANGLE)
        log_x, _ = self._solved(grid[inside], angles[inside])
        last = max(int(np.sum(log_x >= np.log(lowest))), 1) - 1
        top = self._edge(grid[inside[0] - 1], grid[inside[0]])
        if inside[last] < inside[-1] or inside[-1] == len(grid) - 1:
            return top, float(grid[inside[last]])
        return top, self._edge(grid[inside[-1] + 1], grid[inside[-1]])

    def _edge(self, outside: float, inside: float) -> float:
        """The modulus of an edge of the support, just inside it."""
        for _ in range(_HALVINGS):
            middle = np.sqrt(outside * inside)
            if self._angles(np.array([middle]))[0] > _SMALLEST_ANGLE:
                inside = middle
            else:
                outside = middle
        return float(inside)

    def _solved(self, radii: FloatArray, angles: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Log x and the density of log x at given w."""
        psi = self._psi(radii * np.exp(1j * angles))
        return (self.depth - 1) * np.log(np.abs(psi / (1 + psi))) - self.depth * np.log(radii), psi.imag / np.pi

    def _angles(self, radii: FloatArray) -> FloatArray:
        """The angle of w for each modulus by bisection, 0 outside the support."""
        low, high = np.zeros_like(radii), np.full_like(radii, np.pi)
        target = self.depth / (self.depth - 1)
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            psi = self._psi(radii * np.exp(1j * middle))
            above = np.angle(psi) - np.angle(1 + psi) > target * middle
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return low

    def _psi(self, w: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
        """E w s/(1 - w s) = E (w s - |w s|^2)/|1 - w s|^2, without division of complex numbers."""
        share = 1 / ((1 - w.real[:, None] * self.slopes) ** 2 + (w.imag[:, None] * self.slopes) ** 2)
        moments = share @ np.stack([self.weights * self.slopes, self.weights * self.slopes**2], axis=1)
        return np.asarray(w * moments[:, 0] - np.abs(w) ** 2 * moments[:, 1])


def jacobian_spectrum(activation: NumericActivation, depth: int) -> JacobianSpectrum:
    """Return the law of the squared singular values of the Jacobian of L layers at squared length 1 per neuron.

    Args:
        activation: phi without jumps.
        depth: L, from 1 to a million.

    Raises:
        UsageError: a depth out of range, or a slope that is not finite.

    >>> from theory.activations.specification import activation
    >>> relu = jacobian_spectrum(activation("sqrt(2)*max(x, 0)"), 10)
    >>> round(relu.relative_variance, 9), round(relu.atom, 9)
    (10.0, 0.5)
    """
    depth = layer_count(depth)
    points = activation.breakpoint_values
    edges = np.unique(
        np.concatenate([np.arange(-_REACH, _REACH + _PANEL / 2, _PANEL), points[np.abs(points) < _REACH]])
    )
    nodes, weights = gauss_legendre(_NODES)
    z = (0.5 * (edges[1:] + edges[:-1])[:, None] + 0.5 * np.diff(edges)[:, None] * nodes).ravel()
    probabilities = (0.5 * np.diff(edges)[:, None] * weights).ravel() * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    with np.errstate(all="ignore"):
        slopes = activation.value_and_slope(z)[1] ** 2
    if not np.isfinite(slopes).all():
        raise UsageError(f"phi'^2 of {activation.name} is not finite on |z| <= {_REACH:g}: its Jacobian has no law")
    if not slopes.any():
        raise UsageError(f"phi' of {activation.name} is 0 to float64: its Jacobian has no law")
    return JacobianSpectrum(slopes, probabilities / probabilities.sum(), depth)


def finite_width_variance(slope_second: float, slope_fourth: float, width: int, depth: int) -> float:
    r"""Relative variance of the squared singular values at finite width, for layers independent of each other.

    .. math:: a_l = \frac{m_2 (b + 2a) + m_1^2 (n a - b)}{n + 2}, \qquad
              b_l = m_1^2 b + (m_2 - m_1^2) \frac{b + 2 a}{n + 2}, \qquad (a, b) = (a, b)_{l-1}

    with a = E tr (JJ^T)^2, b = E (tr JJ^T)^2, exact for independent Haar matrices between diagonal matrices of
    independent entries with E s = m_1, E s^2 = m_2 (derived for this project, docs/trainability.md). A network
    differs by what its slopes know of its weights, which is of order 1/n.

    Args:
        slope_second, slope_fourth: m_1 = E phi'^2, m_2 = E phi'^4.
        width: n >= 2.
        depth: L.

    Returns:
        n a_L/b_L - 1, so that the effective rank is n/(1 + it).

    >>> round(finite_width_variance(1.0, 1.5, 10**6, 4), 4)  # L (m_2 - 1) = 2 at infinite width
    2.0
    """
    n = float(width)
    a, b = n, n * n
    ratio = slope_fourth / slope_second / slope_second  # a and b in units of m_1^2l, which may underflow
    for _ in range(depth):
        diagonal = (b + 2 * a) / (n + 2)
        a, b = ratio * diagonal + (n * a - b) / (n + 2), b + (ratio - 1) * diagonal
    return n * a / b - 1
