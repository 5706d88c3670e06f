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
_LARGEST = 1e3  # of a number over the width, or over 1000: a sum in float64 absorbs what is added to far larger ones
_WIDEST = 10**15
ReadoutKind = Literal["random", "any", "aligned"]
KINDS = ("random", "any", "aligned")


@dataclass(frozen=True, slots=True)
class Readout:
    """What is known about the gradient e_L = dE/dx_L at the top.

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
class Mixture:
    """The function f(q) = sum_i e^{w_i + s_i (q-1)}, positive and log-convex.

    Args:
        slopes: s_i.
        log_weights: w_i.
    """

    slopes: tuple[float, ...]
    log_weights: tuple[float, ...]

    def log(self, q: FloatArray | float) -> FloatArray:
        """log f(q), without overflow."""
        logs = np.add(np.multiply.outer(self.slopes, np.asarray(q) - 1.0).T, self.log_weights).T
        return np.asarray(np.logaddexp.reduce(logs, axis=0))

    @property
    def bow(self) -> float:
        """A bound on (log f)'', which is a variance of the slopes: the square of half their range (Popoviciu 1935)."""
        return (0.5 * (max(self.slopes) - min(self.slopes))) ** 2


def tent(slope: float, bend: float) -> Mixture:
    """The function e^{slope (q-1)} cosh(bend (q-1))."""
    return Mixture((float(slope + bend), float(slope - bend)), (-float(np.log(2.0)),) * 2)


@dataclass(frozen=True, slots=True)
class Escape:
    """How the tube is left on one side from within it.

    Args:
        tilt: theta > 0, the exponent of f_0 = e^{theta (q-1)} above, e^{-theta (q-1)} below.
        functions: f_1, f_2, ...: each is to dominate the mean of the one before over one layer.
    """

    tilt: float
    functions: tuple[Mixture, ...]


@dataclass(frozen=True, slots=True)
class Reflection:
    """What Lemma E asks for beside the functions f: the potential D f + D^-a g of the running maximum.

    Args:
        power: a > 0.
        shares: weights theta_j > 0 of the nodes in the lower bound of their sum by a product, in any unit.
        functions: g_1, ..., g_J, the last of which serves all deeper layers.
    """

    power: float
    shares: tuple[float, ...]
    functions: tuple[Mixture, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """One exponent lambda: how powers become exponentials, and a dominating function for each layer.

    Args:
        exponent: lambda > 0.
        rates, log_weights: t_j and log w_j of sum_j w_j e^{t_j y} >= y^lambda (one node) on the upper side, of
            sum_j w_j e^{-t_j y} >= y^-lambda for y >= y0 on the lower.
        shifts: c_j, the tilt in the majorant of the mean of e^{+-t_j Y} over a uniform direction.
        functions: f_0, ..., f_J of the layers below the top; the last of them serves all deeper layers.
        sums: H_1, ..., H_J for the sum of all X_l in place of their maximum; the last serves all deeper layers.
        reflection: the second half of the potential of the maximum; both are unused for two layers.
    """

    exponent: float
    rates: tuple[float, ...]
    log_weights: tuple[float, ...]
    shifts: tuple[float, ...]
    functions: tuple[Mixture, ...]
    sums: tuple[Mixture, ...]
    reflection: Reflection


@dataclass(frozen=True, slots=True)
class Side:
    """What the bounds on large gradients (upper) or on small ones (lower) share.

    Args:
        b: weight of the alignment in V = P + b A^2: b >= 0 above, -1 < b <= 0 below.
        horizon: T, no rate of a chain is larger.
        spread, spread_shift: omega >= 1 and c of the bound omega max(1, 1/(1 - 2 c -+ 2 T s/(n - 1))) on the variances
            of a tilted direction.
        bracket_tilts: exponents of the bracket of Lemma A, one for each gamma of its grid, at least two.
        floor: y0 below (event E3); unused above.
        floor_tilt, floor_shift: Chernoff exponent of E3, at most T, and its c; unused above.
        chains: one for each exponent, at least one.
    """

    b: float
    horizon: float
    spread: float
    spread_shift: float
    bracket_tilts: tuple[float, ...]
    floor: float
    floor_tilt: float
    floor_shift: float
    chains: tuple[Chain, ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """Every parameter of the deep bound.

    Args:
        width, depth, epsilon: n, L and the deviation of the logarithm.
        readout: what is known about e_L.
        low, high: ends of the tube I of squared lengths, low < 1 < high.
        escapes: leaving I below and above.
        a_high: limit of a_h.
        sigma_high: limit of sigma_h.
        z_low, z_high: limits of the mean of phi'^2.
        gamma_low, gamma_high: limits of gamma_h.
        limit_tilts: Cramér exponents of these six limits, in this order.
        overlap: tau2, limit of the squared coordinate along D h of a random direction.
        top_floor, top_tilt, top_shift: limit of |D e_L|^2 below, its Chernoff exponent and its c (random readout).
        upper, lower: the two signs.
    """

    width: int
    depth: int
    epsilon: float
    readout: Readout
    low: float
    high: float
    escapes: tuple[Escape, Escape]
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
    top_shift: float
    upper: Side
    lower: Side


LIMITS = ("a_high", "sigma_high", "z_low", "z_high", "gamma_low", "gamma_high")
"""The six limits of a certificate, in the order of their exponents."""


def defect(certificate: Certificate) -> str:
    """Why a certificate is inadmissible whatever the activation, empty if it is not."""
    width, depth, epsilon, (_, *readout), *others = dataclasses.astuple(certificate)
    most = _LARGEST * max(width, 1e3)
    if not all(abs(number) <= most for number in _numbers((width, depth, epsilon, *readout, *others))):
        return f"the certificate holds a number that is not finite, or beyond {most:.0e}"
    return next((reason for holds, reason in _conditions(certificate) if not holds), "")


def _numbers(part: Any) -> Iterator[float]:
    """Every number in nested tuples."""
    if isinstance(part, tuple):
        for item in part:
            yield from _numbers(item)
    else:
        yield part


def _conditions(c: Certificate) -> Iterator[tuple[bool, str]]:
    yield isinstance(c.width, int) and 4 <= c.width <= _WIDEST, f"the width is a whole number from 4 to {_WIDEST}"
    yield isinstance(c.depth, int) and 2 <= c.depth <= _DEEPEST, f"the depth lies between 2 and {_DEEPEST}"
    yield c.epsilon > 0, "epsilon is positive"
    yield c.readout.kind in KINDS, "the kind of readout is unknown"
    yield 0 <= c.readout.alignment <= 1 and 0 <= c.readout.exception < 1, "the alignment of the readout lies in [0, 1]"
    yield _LOWEST <= c.low < 1 < c.high <= 1 / _LOWEST, "the tube lies around 1"
    yield len(c.escapes) == 2 and all(e.tilt > 0 and len(e.functions) > 0 for e in c.escapes), "two sides of the tube"
    yield c.a_high >= 0 and c.sigma_high >= 0 and 0 <= c.z_low <= c.z_high, "limits are ordered"
    yield c.gamma_low <= c.gamma_high, "limits of gamma are ordered"
    yield len(c.limit_tilts) == 6 and min(c.limit_tilts) > 0, "six limits have positive exponents"
    yield 0 < c.overlap < 1 and c.top_floor > 0 and c.top_tilt > 0, "the parameters of the top are positive"
    yield c.upper.b >= 0, "b is not negative on the upper side"
    yield -1 < c.lower.b <= 0, "b lies in (-1, 0] on the lower side"
    yield 0 < c.lower.floor and 0 < c.lower.floor_tilt <= c.lower.horizon, "the floor y0 and its exponent are positive"
    for side in (c.upper, c.lower):
        yield side.horizon > 0, "the horizon T is positive"
        yield side.spread >= 1, "omega is 1 or more"
        yield len(side.bracket_tilts) >= 2 and min(side.bracket_tilts) > 0, "two or more positive bracket exponents"
        yield len(side.chains) > 0, "each side has a chain"
        for chain in side.chains:
            yield chain.exponent > 0, "the exponent lambda is positive"
            yield 0 < len(chain.rates) == len(chain.log_weights) == len(chain.shifts), "each rate has a weight and a c"
            yield min(chain.rates) >= 0 and max(chain.rates) <= side.horizon, "the rates lie in [0, T]"
            yield len(chain.functions) > 1, "a chain has two or more functions"
            yield len(chain.functions) == len(chain.reflection.functions) + 1, "each f_k with k > 0 has its g_k"
            yield len(chain.functions) == len(chain.sums) + 1, "each f_k with k > 0 has its H_k"
            yield chain.reflection.power > 0, "the power a is positive"
            yield (
                len(chain.reflection.shares) == len(chain.rates) and min(chain.reflection.shares) > 0,
                "each rate has a share",
            )
            for functions in (chain.functions, chain.sums, chain.reflection.functions):
                yield alike(functions), "the functions of a chain have equally many terms"
    for escape in c.escapes:
        yield alike(escape.functions), "the functions of an escape have equally many terms"


def alike(functions: tuple[Mixture, ...]) -> bool:
    """Whether all have the same number of slopes and weights, at least one."""
    return (
        {len(f.slopes) for f in functions}
        == {len(f.log_weights) for f in functions}
        == {len(functions[0].slopes)} - {0}
    )
