"""A certificate in the making: its settings, what each event may cost, and the choice of dominating functions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from theory.bounds.certificate import Certificate, Escape, Readout, Side, Tent
from theory.bounds.grid import points
from theory.bounds.layer_means import log_pair_mean
from theory.bounds.verifier import Setting, forward_means, layers
from theory.depth.coefficients import DepthCoefficients
from theory.numerics.arithmetic import FloatArray

FORWARD_TENTS = 6
SHARES = {"tube": 0.15, "limit": 0.04, "bracket": 0.12, "floor": 0.1, "top": 0.06}


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A certificate in the making, with the activation evaluated for it and what each event may cost."""

    setting: Setting
    moments: DepthCoefficients[float]
    budget: float

    @property
    def certificate(self) -> Certificate:
        return self.setting.certificate

    def with_(self, **changes: object) -> "Draft":
        """The draft with other parameters of the certificate (not of the tube)."""
        return replace(self, setting=replace(self.setting, certificate=replace(self.certificate, **changes)))  # type: ignore[arg-type]

    def log_share(self, name: str) -> float:
        """Logarithm of what one layer may spend on an event."""
        return float(np.log(SHARES[name] * self.budget / layers(self.certificate)))


def blank_certificate(width: int, depth: int, epsilon: float, readout: Readout) -> Certificate:
    """A certificate with the given problem and placeholders that every step of the search replaces."""
    side = Side(0.0, 1.0, (1.0, 1.0), 0.5, 1.0, ())
    escape = Escape(1.0, (Tent(0.0, 0.0),))
    return Certificate(
        width, depth, epsilon, readout, 0.5, 2.0, (escape, escape), 0.0, 9.0, 9.0, 0.0, 9.0, -1.0, 1.0, (1.0,) * 7, 0.1,
        0.5, 1.0, side, side,
    )  # fmt: skip


def fit_tent(draft: Draft, logs: Callable[[FloatArray], FloatArray]) -> Tent:
    """The tent that agrees with a function in slope and curvature at q = 1, up to a factor."""
    c = draft.certificate
    left, right = 0.6 * (1 - c.low), 0.6 * (c.high - 1)
    below, at, above = logs(np.array([1 - left, 1.0, 1 + right]))
    fall, rise = (at - below) / left, (above - at) / right
    slope = (fall * right + rise * left) / (left + right)
    curvature = 2 * (rise - fall) / (left + right)
    return Tent(float(slope), float(np.sqrt(max(curvature, 0.0))))


def forward_tents(draft: Draft, start: Tent, most: int) -> list[Tent]:
    """Tents fitted to F f, F^2 f, ... until they are flat."""
    found: list[Tent] = []
    width = draft.certificate.high - draft.certificate.low
    while len(found) < most:
        start = fit_tent(draft, partial(_forward, draft, start))
        found.append(start)
        if (abs(start.slope) + start.bend) * width < 0.02:
            break
    return found


def _forward(draft: Draft, f: Tent, q: FloatArray) -> FloatArray:
    """log E[f(q_1) | q_0 = q]."""
    means, weights = forward_means(draft.setting, [f], points(q))
    return np.asarray(means.sums_at_centres(weights)[0])


def interior_lengths(c: Certificate, count: int = 5) -> FloatArray:
    """Chebyshev points of the tube, ends included."""
    half = 0.5 * (c.high - c.low)
    return 0.5 * (c.high + c.low) + half * np.cos(np.pi * np.arange(count) / (count - 1))


def uniform_means(draft: Draft, tau: FloatArray) -> FloatArray:
    """Largest log E exp(tau sum s w^2) over the tube, sampled, (B,)."""
    nodes, c = draft.setting.nodes, draft.certificate
    psi = np.zeros((len(tau), len(nodes.z)))
    found: FloatArray = log_pair_mean(nodes, tau, psi, c.width, points(interior_lengths(c))).at_centres().max(axis=1)
    return found
