"""Events of probability exactly 1/2, given all that was drawn before: fair coins, independent of each other.

Given what lies below, h_l is uniform on a sphere; given the forward pass and what lies above, the part of e_l across
x_l is uniform on a sphere of that subspace. A product with a known vector is then positive with probability 1/2, and a
function of the vector exceeds that of an independent draw from the same sphere with probability 1/2: the two may be
exchanged. As this holds whatever went before, the coins of all layers and networks are independent.

Differences within rounding are ties, which are left out; that is symmetric too, and so is an overflow.
"""

import numpy as np

from gpn.engine.evaluation import ElementwiseActivation
from gpn.engine.norms import FloatArray, quiet
from gpn.verification.engine.trace import Trace, dots, lengths

TIE = 1e-9
"""Relative difference that counts as a tie."""

Coins = dict[str, FloatArray]


def forward_coins(trace: Trace, activation: ElementwiseActivation, rng: np.random.Generator) -> Coins:
    """Return the coins of the preactivations by name, each (trials, L): 1, 0, or nan where there is none.

    "signal below": whether h_l points to the side of x_{l-1}; "matrix below": whether W_l turns h_{l-1} to the side to
    which W_{l-1} turned the same pair's signals, as a matrix that is used twice does; "length", "shape": whether
    |phi(h_l)|, or the sum of the fourth powers of h_l, exceeds that of an independent draw.

    Args:
        trace: of the networks.
        activation: phi.
        rng: for the independent draws.
    """
    with quiet():
        h, x = trace.h, trace.x
        fresh = _unit(rng.standard_normal(h.shape)) * lengths(h)[..., None]
        below, again = np.full(h.shape[:2], np.nan), np.full(h.shape[:2], np.nan)
        below[:, 1:] = _side(_cosine(h[:, 1:], x[:, :-1]))
        again[:, 2:] = _side(_cosine(h[:, 2:], h[:, 1:-1])) * _side(_cosine(x[:, 1:-1], x[:, :-2]))
        value, _ = activation.value_and_slope(fresh)
        coins = {"signal below": _heads(below), "matrix below": _heads(again)}
        return coins | {"length": exceeds(lengths(x), lengths(value)), "shape": exceeds(_shape(h), _shape(fresh))}


def backward_coins(trace: Trace, rng: np.random.Generator) -> Coins:
    """Return the coins of the directions v_l of e_l across x_l by name, each (trials, L), see `forward_coins`.

    "signal": whether v_l points to the side of h_l across x_l; "direction above": to that of v_{l+1}; "shape": whether
    the sum of the fourth powers of v_l exceeds that of an independent draw.

    Args:
        trace: of the networks.
        rng: for the independent draws.
    """
    with quiet():
        base = _unit(trace.x)
        v, fresh = direction(trace), _unit(across(rng.standard_normal(trace.e.shape), base))
        above = np.full(v.shape[:2], np.nan)
        above[:, :-1] = _side(_cosine(v[:, :-1], across(v[:, 1:], base[:, :-1])))
        signal = _side(dots(v, across(trace.h, base)) / lengths(trace.h))
        coins = {"signal": signal, "direction above": above}
        return {name: _heads(side) for name, side in coins.items()} | {"shape": exceeds(_shape(v), _shape(fresh))}


def direction(trace: Trace) -> FloatArray:
    """Return v_l, the unit vector of the part of e_l across x_l, (trials, L, n)."""
    return _unit(across(_unit(trace.e), _unit(trace.x)))


def across(vectors: FloatArray, base: FloatArray) -> FloatArray:
    """Return the parts of vectors that are orthogonal to unit vectors `base`, projected twice against rounding."""
    for _ in range(2):
        vectors = vectors - dots(vectors, base)[..., None] * base
    return vectors


def exceeds(drawn: FloatArray, fresh: FloatArray) -> FloatArray:
    """Return 1 where one of two numbers is larger, 0 where the other is, nan for a tie."""
    with quiet():
        tie = ~(np.abs(drawn - fresh) > TIE * np.maximum(drawn, fresh))
    return np.where(tie, np.nan, drawn > fresh)


def _unit(vectors: FloatArray) -> FloatArray:
    return vectors / lengths(vectors)[..., None]


def _cosine(one: FloatArray, other: FloatArray) -> FloatArray:
    return dots(one, other) / lengths(one) / lengths(other)


def _shape(vectors: FloatArray) -> FloatArray:
    return lengths(_unit(vectors) ** 2)


def _side(cosine: FloatArray) -> FloatArray:
    """The sign of a cosine, nan where it is 0 up to rounding."""
    return np.where(np.abs(cosine) > TIE, np.sign(cosine), np.nan)


def _heads(side: FloatArray) -> FloatArray:
    return np.where(np.isnan(side), np.nan, side > 0)
