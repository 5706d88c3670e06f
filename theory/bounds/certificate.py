"""The parameters of the deep bound, and what makes them admissible.

A certificate is a proposal: every choice that the theorem of docs/deep-bound.md leaves free. Whoever made it need not
be trusted, for `theory.bounds.verifier` computes the bound from it and from the activation alone. All names are those
of that page.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from theory.numerics.arithmetic import FloatArray

_DEEPEST = 10**6
_LOWEST = 0.01  # end of a tube
ReadoutKind = Literal["random", "any", "aligned"]
KINDS = ("random", "any", "aligned")


@dataclass(frozen=True, slots=True)
class Readout:
    """What is known of the gradient e_L = dE/dx_L at the top.

    Args:
        kind: "random", a direction uniform on the sphere and independent of the weights; "any", no knowledge at all:
            any function of the forward pass and of independent noise; "aligned",
            e_L = |e_L| (alpha x_L/|x_L| + sqrt(1-alpha^2) v) with v uniform in the complement of x_L, independent of
            the forward pass, and |alpha| at most `alignment`.
        alignment: the largest |alpha| for "aligned", in [0, 1].
        exception: probability that |alpha| is larger, in [0, 1).
    """

    kind: ReadoutKind = "random"
    alignment: float = 0.0
    exception: float = 0.0


@dataclass(frozen=True, slots=True)
class Tent:
    """The function f(q) = e^{slope (q-1)} cosh(bend (q-1)), positive, with f(1) = 1."""

    slope: float
    bend: float

    def log(self, q: FloatArray | float) -> FloatArray:
        """log f(q), without overflow."""
        argument = np.abs(self.bend * (q - 1.0))
        return np.asarray(self.slope * (q - 1.0) + argument + np.log1p(np.exp(-2 * argument)) - np.log(2.0))


@dataclass(frozen=True, slots=True)
class Escape:
    """How the tube is left on one side from within it.

    Args:
        tilt: theta > 0, the exponent of f_0 = e^{theta (q-1)} above, e^{-theta (q-1)} below.
        tents: f_1, f_2, ...: each is to dominate the mean of the one before over one layer.
    """

    tilt: float
    tents: tuple[Tent, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """One exponent lambda: how powers become exponentials, and a dominating function for each layer.

    Args:
        exponent: lambda > 0.
        rates, log_weights: t_j and log w_j of sum_j w_j e^{t_j y} >= y^lambda (one node) on the upper side, of
            sum_j w_j e^{-t_j y} >= y^-lambda for y >= y0 on the lower.
        backward: f_0, ..., f_J, the functions of the first J layers below the top.
        stationary: f*, which serves all deeper layers.
        forward: for each of f_0, ..., f_J, f* the functions g_0, g_1, ... of the layers in front.
    """

    exponent: float
    rates: tuple[float, ...]
    log_weights: tuple[float, ...]
    backward: tuple[Tent, ...]
    stationary: Tent
    forward: tuple[tuple[Tent, ...], ...]


@dataclass(frozen=True, slots=True)
class Side:
    """What the bounds on large gradients (upper) or on small ones (lower) share.

    Args:
        b: weight of the alignment in V = P + b A^2: b >= 0 above, -1 < b <= 0 below.
        horizon: T, no rate of a chain is larger.
        bracket_tilts: Cramér exponents of the event E5, one for each gamma of its grid, at least two.
        floor: y0 below (event E3); unused above.
        floor_tilt: Chernoff exponent of E3, at most T; unused above.
        chains: one for each exponent, at least one.
    """

    b: float
    horizon: float
    bracket_tilts: tuple[float, ...]
    floor: float
    floor_tilt: float
    chains: tuple[Chain, ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """Every parameter of the deep bound.

    Args:
        width, depth, epsilon: n, L and the deviation of the logarithm.
        readout: what is known of e_L.
        low, high: ends of the tube I of squared lengths, low < 1 < high.
        escapes: leaving I below and above.
        a_low, a_high: limits of a_h (a_low = 0 is no condition).
        sigma_high: limit of sigma_h.
        z_low, z_high: limits of the mean of phi'^2.
        gamma_low, gamma_high: limits of gamma_h.
        limit_tilts: Cramér exponents of these seven limits, in this order.
        overlap: tau2, limit of the squared coordinate along D h of a random direction.
        top_floor, top_tilt: limit of |D e_L|^2 below and its Chernoff exponent (random readout).
        upper, lower: the two signs.
    """

    width: int
    depth: int
    epsilon: float
    readout: Readout
    low: float
    high: float
    escapes: tuple[Escape, Escape]
    a_low: float
    a_high: float
    sigma_high: float
    z_low: float
    z_high: float
    gamma_low: float
    gamma_high: float
    limit_tilts: tuple[float, ...]
    overlap: float
    top_floor: float
    top_tilt: float
    upper: Side
    lower: Side


def defect(certificate: Certificate) -> str:
    """Why a certificate is inadmissible whatever the activation, empty if it is not."""
    if not all(np.isfinite(number) for number in _numbers(dataclasses.astuple(certificate))):
        return "the certificate holds a number that is not finite"
    return next((reason for holds, reason in _conditions(certificate) if not holds), "")


def _numbers(part: Any) -> Iterator[float]:
    """Every number in nested tuples, words left out."""
    if isinstance(part, tuple):
        for item in part:
            yield from _numbers(item)
    elif part not in KINDS:
        yield part


def _conditions(c: Certificate) -> Iterator[tuple[bool, str]]:
    yield c.width == int(c.width) and c.width >= 4, "the width is at least 4"
    yield c.depth == int(c.depth) and 2 <= c.depth <= _DEEPEST, f"the depth lies between 2 and {_DEEPEST}"
    yield c.epsilon > 0, "epsilon is positive"
    yield c.readout.kind in KINDS, "the kind of readout is unknown"
    yield 0 <= c.readout.alignment <= 1 and 0 <= c.readout.exception < 1, "the alignment of the readout lies in [0, 1]"
    yield _LOWEST <= c.low < 1 < c.high <= 1 / _LOWEST, "the tube lies around 1"
    yield len(c.escapes) == 2 and all(e.tilt > 0 and len(e.tents) > 0 for e in c.escapes), "two sides of the tube"
    yield 0 <= c.a_low <= c.a_high and c.sigma_high >= 0 and 0 <= c.z_low <= c.z_high, "limits are ordered"
    yield c.gamma_low <= c.gamma_high, "limits of gamma are ordered"
    yield len(c.limit_tilts) == 7 and min(c.limit_tilts) > 0, "seven limits have positive exponents"
    yield 0 < c.overlap < 1 and c.top_floor > 0 and c.top_tilt > 0, "the parameters of the top are positive"
    yield c.upper.b >= 0, "b is not negative on the upper side"
    yield -1 < c.lower.b <= 0, "b lies in (-1, 0] on the lower side"
    yield 0 < c.lower.floor and 0 < c.lower.floor_tilt <= c.lower.horizon, "the floor y0 and its exponent are positive"
    for side in (c.upper, c.lower):
        yield side.horizon > 0, "the horizon T is positive"
        yield len(side.bracket_tilts) >= 2 and min(side.bracket_tilts) > 0, "two or more positive bracket exponents"
        yield len(side.chains) > 0, "each side has a chain"
        for chain in side.chains:
            yield chain.exponent > 0, "the exponent lambda is positive"
            yield 0 < len(chain.rates) == len(chain.log_weights), "each rate has a weight"
            yield min(chain.rates) >= 0 and max(chain.rates) <= side.horizon, "the rates lie in [0, T]"
            yield len(chain.backward) > 0, "a chain has backward functions"
            yield len(chain.forward) == len(chain.backward) + 1, "each backward function has its forward functions"
            yield all(len(tents) > 0 for tents in chain.forward), "each backward function has its forward functions"
