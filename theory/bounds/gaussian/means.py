r"""Means over one layer with Gaussian weights, for whole ranges of the squared length before it.

Given q the pre-activations are independent, :math:`h_i \sim N(0, q)`, so a mean of a product over the neurons is

.. math:: E\, e^{\sum_i \psi(h_i)} = \Big(\frac{\beta^{1/2}}{\sqrt{2\pi}} \int e^{\psi(h) - \beta h^2/2} dh\Big)^n,
          \qquad \beta = 1/q,

and the logarithm of the integral is convex in :math:`\beta` (Hölder). So values on a grid and a margin for its spacing
bound the mean on all of an interval (docs/gaussian-deep-bound.md, derived for this project). What is left to float64
are the integrals over h and rounding.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from theory.activations.activation import NumericActivation
from theory.bounds.certificate import Certificate, Mixture
from theory.bounds.grid import Cells, Nodes
from theory.bounds.layer_means import GUARDED, Kernel
from theory.bounds.moments import Setting
from theory.bounds.verifier import evaluated
from theory.errors import UsageError
from theory.numerics.arithmetic import FloatArray

_RADIUS = 30.0  # of the quadrature rule over h
_GRID = 512  # values of 1/q
ONE = Mixture((0.0,), (0.0,))
"""The function 1."""


@dataclass(frozen=True, slots=True, eq=False)
class LinedKernel(Kernel):
    r"""A `Kernel` whose terms have a factor of the squared length before the layer, too.

    .. math:: (K f)(q) = \sum_r e^{c_r + k_r q} E_h\Big[e^{\sum_i \mu_r(h_i)} f(|\phi(h)|^2/n)\Big]

    Args:
        lines: k_r, (R,).
    """

    lines: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class GaussianSetting(Setting):
    """A certificate, and the activation evaluated for it, for Gaussian weights: pre-activations are normal.

    Args:
        ratio: r of a chain of unequal widths, none of which is below that of the certificate or above r times the one
            before; None where all are alike.
    """

    ratio: float | None = None

    def costs(self, kernel: Kernel, inputs: Sequence[Mixture], outputs: Sequence[Mixture]) -> FloatArray:
        r"""Bounds on sup over q in I of log(K f_in/f_out) for several steps at once.

        On a cell of :math:`\beta = 1/q` each logarithm of a mean is at most its chord plus
        :math:`n \Delta^2/(16 \beta^2)`; the sum of the exponentials of chords is log-convex, so its largest value is
        at an end.
        """
        if not inputs:
            return np.empty(0)
        c = self.certificate
        beta = np.linspace(1 / c.high, 1 / c.low, _GRID)
        logs = self.mapped(kernel, inputs, 1 / beta) - np.stack([f.log(1 / beta) for f in outputs])
        least, lines = 1 / c.high, np.abs(_lines(kernel)).max()
        steep = np.array([np.abs(f.slopes).max() for f in outputs])
        bow = np.array([f.bow for f in outputs])
        curvature = c.width / (2 * least**2) + 2 * (lines + steep) / least**3 + bow / least**4
        best = logs.max(axis=1) + curvature * (beta[1] - beta[0]) ** 2 / 8
        return np.asarray(np.where(np.isnan(best), np.inf, best))

    def mapped(self, kernel: Kernel, functions: Sequence[Mixture], q: FloatArray) -> FloatArray:
        """log (K f)(q) for N functions f at Q single lengths, (N, Q)."""
        psi, weights = kernel.systems(self.nodes, self.certificate.width, functions)
        logs = self.certificate.width * log_integrals(self.nodes, psi, q, self.certificate.width)
        line = np.repeat(_lines(kernel), weights.shape[1] // len(kernel.constants))
        return np.asarray(
            np.logaddexp.reduce(logs.reshape(*weights.shape, -1) + weights[:, :, None] + line[:, None] * q, axis=1)
        )


def ratio_of(s: Setting) -> float | None:
    """The ratio r of a `GaussianSetting`."""
    return s.ratio if isinstance(s, GaussianSetting) else None


def _lines(kernel: Kernel) -> FloatArray:
    return kernel.lines if isinstance(kernel, LinedKernel) else np.zeros(len(kernel.constants))


def log_integrals(nodes: Nodes, psi: FloatArray, q: FloatArray, width: int) -> FloatArray:
    """log E exp(psi(h)), h ~ N(0, q), for B functions at Q values of q, (B, Q); infinite where the tails are heavy.

    Args:
        nodes: a rule.
        psi: at the nodes, (B, K).
        q: (Q,).
        width: n; n times the tilted mass beyond |h| = 14 must be below 1e-10.

    >>> from theory.activations.specification import activation
    >>> from theory.bounds.grid import gaussian_nodes
    >>> nodes = gaussian_nodes(activation("identity"), 30.0, 1.0)
    >>> found = log_integrals(nodes, 0.25 * nodes.z[None, :] ** 2, np.array([0.8, 1.2]), 100)
    >>> np.round(np.exp(-2 * found[0]), 12).tolist()  # 1 - q/2
    [0.6, 0.4]
    """
    square, beta = nodes.z**2, 1 / q
    middle = 0.5 * (beta.min() + beta.max())
    with np.errstate(all="ignore"):  # what overflows is not a number, and proves nothing
        base = psi + nodes.log_weight + 0.5 * (1 - middle) * square
        peak = base.max(axis=1, keepdims=True)
        law, turn = np.exp(base - peak), np.exp(0.5 * np.multiply.outer(square, middle - beta))
        mass, guard = law @ turn, law[:, nodes.guard] @ turn[nodes.guard]
        logs = np.log(mass) + peak + 0.5 * np.log(beta)
        return np.asarray(np.where((width * guard < GUARDED * mass) & np.isfinite(logs), logs, np.inf))


def prepare(certificate: Certificate, activation: NumericActivation, ratio: float | None = None) -> GaussianSetting:
    """Evaluate the activation for a certificate.

    Args:
        certificate, activation: as for `theory.bounds.gaussian.verifier.verify`.
        ratio: as in `GaussianSetting`.

    Raises:
        UsageError: phi is not Lipschitz, or too rough for the quadrature rule; a ratio below 1.
    """
    if ratio is not None and not 1 <= ratio < np.inf:
        raise UsageError(f"the ratio of widths is at least 1, not {ratio}")
    nodes, certified = evaluated(cast(Hashable, activation), _RADIUS, np.inf)
    tube = Cells(
        np.array([0.5 * (certificate.low + certificate.high)]), np.array([0.5 * (certificate.high - certificate.low)])
    )
    return GaussianSetting(certificate, nodes, nodes.slope_bound, certified, tube, ratio)
