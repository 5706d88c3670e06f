"""Functions for Lemma E by linear programs: sums of exponentials that lie just above what a layer makes of others."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linprog
from scipy.special import logsumexp

from theory.bounds.certificate import Mixture
from theory.bounds.draft import Draft, interior_lengths
from theory.bounds.layer_means import Kernel, point_means
from theory.numerics.arithmetic import FloatArray

_POINTS = 21  # of the tube, where functions are compared
_FAR = 1e-3  # weight of a point at the ends, beside 1 at q = 1
_TINY = 1e-12  # a weight of a linear program that is none
_NOTHING = -700.0  # logarithm of a weight of nothing


class Cone:
    """Sums of exponentials of fixed slopes with positive weights on the tube, and what a kernel makes of them.

    A sum is known by the logarithms of its weights, (J,), which are not numbers where there is none.

    Args:
        draft: what is sought.
        kernel: K.
        slope: in the middle of the slopes.
        offsets: of the slopes on either side, in units of one over the stationary standard deviation.
    """

    def __init__(self, draft: Draft, kernel: Kernel, slope: float, offsets: Sequence[float]) -> None:
        c, nodes = draft.certificate, draft.setting.nodes
        self.slopes = slope + np.array([*np.negative(offsets), 0.0, *offsets]) / draft.spread
        self.q = np.linspace(c.low, c.high, _POINTS)
        self.near = np.exp(-0.5 * ((self.q - 1) / draft.spread) ** 2) + _FAR
        psi, weights = kernel.systems(nodes, c.width, [Mixture((slope,), (0.0,)) for slope in self.slopes])
        few = interior_lengths(c)
        logs = point_means(nodes, psi, c.width, few).reshape(*weights.shape, -1) + weights[:, :, None]
        powers = [np.vander((2 * q - c.low - c.high) / (c.high - c.low), len(few)) for q in (few, self.q)]
        self.terms = logs @ (powers[1] @ np.linalg.inv(powers[0])).T  # each is smooth in q: (J, R, Q)
        self.images = np.logaddexp.reduce(self.terms, axis=1)
        self.own = np.multiply.outer(self.slopes, self.q - 1)
        self.middle = self.own[len(offsets)]

    def at(self, weights: FloatArray) -> FloatArray:
        """The logarithm of a sum on the grid."""
        return np.asarray(logsumexp(self.own + weights[:, None], axis=0))

    def mapped(self, weights: FloatArray) -> FloatArray:
        """The logarithm of K f on the grid."""
        return np.asarray(logsumexp(self.images + weights[:, None], axis=0))

    def cover(self, logs: FloatArray) -> FloatArray:
        """The sum above a function that exceeds it least near q = 1."""
        relative = self.own - logs
        scale = relative.max(axis=1)
        matrix = np.exp(relative - scale[:, None])
        return _weights(matrix @ self.near, matrix, np.ones(len(logs)), scale)

    def rising(self, growth: float, logs: FloatArray) -> FloatArray:
        """The least sum f above a function with K f <= e^growth f."""
        relative = self.own - logs
        scale = relative.max(axis=1)
        matrix = np.exp(relative - scale[:, None])
        stays = matrix - np.exp(self.images - growth - logs - scale[:, None])
        both = np.concatenate([matrix, stays], axis=1)
        return _weights(matrix @ self.near, both, np.repeat((1.0, 0.0), len(logs)), scale)

    def growth(self, near: float, below: float = np.inf) -> float:
        """About the least growth of a rising sum, to a precision; an upper estimate if it is not below a number."""
        steps = self.images - self.own
        low, high = float(steps[len(steps) // 2].min()), float(steps.max(axis=1).min())
        middle = below if low < below < high else 0.5 * (low + high)
        while np.isfinite(middle) and high - low > near:
            if np.isfinite(self.rising(middle, self.middle)).any():
                high = middle
            elif middle == below:
                break
            else:
                low = middle
            middle = 0.5 * (low + high)
        return high

    def shares(self, weights: FloatArray, count: int) -> FloatArray:
        """The shares of the first terms of K f at q = 1."""
        logs = logsumexp(self.terms[:, :count] + weights[:, None, None], axis=0)
        shares = np.array([np.interp(1.0, self.q, row) for row in logs])
        return np.asarray(np.maximum(np.exp(shares - logsumexp(shares)), 1e-6))

    def mixtures(self, sums: Sequence[FloatArray]) -> tuple[Mixture, ...]:
        """The sums as functions of equally many terms."""
        count = max(1, *(np.count_nonzero(np.isfinite(weights)) for weights in sums))
        order = [np.argsort(np.where(np.isfinite(weights), -weights, np.inf))[:count] for weights in sums]
        return tuple(
            Mixture(tuple(map(float, self.slopes[kept])), tuple(map(float, np.maximum(weights[kept], _NOTHING))))
            for kept, weights in zip(order, sums, strict=True)
        )


def _weights(cost: FloatArray, matrix: FloatArray, least: FloatArray, scale: FloatArray) -> FloatArray:
    """Logarithms of w >= 0 with w matrix >= least that cost least, before a scaling; not numbers if there are none."""
    found = linprog(cost, A_ub=-matrix.T, b_ub=-least).x if np.isfinite(matrix).all() else None
    if found is None:
        return np.full(len(cost), np.nan)
    return np.asarray(np.log(np.where(found > _TINY, found, 0.0)) - scale)
