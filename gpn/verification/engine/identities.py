r"""Equalities that hold in every network, whatever was drawn, up to rounding.

    |x_0| = sqrt(n),   |h_l| = |x_{l-1}|,   x_l = phi(h_l),
    |e_l| = |d_{l+1}|,   d_l = phi'(h_l) * e_l,   <e_l, x_l> = <d_{l+1}, h_{l+1}>,
    |dE/dW_l|_F = |d_l| |x_{l-1}|.

The equalities of lengths need orthogonal weights. The third line is that of e_l = W^T d_{l+1} and h_{l+1} = W x_l, for
any matrix W: it ties the two uses of a matrix together.
"""

import mpmath
import numpy as np

from gpn.engine.norms import FloatArray, quiet
from gpn.verification.engine.trace import Trace, dots, lengths
from theory.activations.activation import Activation
from theory.numerics.arithmetic import compile_expressions

ROUNDING = 1e-9
"""Relative error of a length or an inner product that counts as rounding: some 10^6 units of float64."""

FORMULA = 1e-6
"""Error of a value or a slope, relative to 1 and to itself, that counts as rounding: terms of a formula may cancel."""

_POINTS, _DIGITS = 24, 30


def deviations(trace: Trace) -> dict[str, FloatArray]:
    """Return how far each identity is missed, in units of what it equates, by name, each (trials, L).

    nan where a network overflowed, or died, so that nothing can be said; infinite where the engine gives no number.

    Args:
        trace: of the networks.
    """
    with quiet():
        found = {"forward": _forward(trace), "backward": _backward(trace), "gradient": _gradient(trace)}
    return {name: np.nan_to_num(values, nan=np.inf) * trace.usable for name, values in found.items()}


def formula_deviations(trace: Trace, activation: Activation) -> FloatArray:
    """Return how far phi and phi' at some preactivations are from their formula in 30 digits, (trials, L).

    nan where no preactivation was recorded, where it is next to a breakpoint, and where a number overflowed.

    Args:
        trace: of the networks.
        activation: phi, with its formula.
    """
    found = np.full(trace.h.shape[:2], np.nan)
    inner = np.asarray(activation.breakpoint_values)
    smooth = [piece if piece.kind == "smooth" else None for piece in activation.pieces]
    formulas = [piece and compile_expressions([piece.value, piece.slope], "mpmath") for piece in smooth]
    for place in np.linspace(0, trace.h.size - 1, _POINTS).astype(int):
        where = np.unravel_index(place, trace.h.shape)
        h = float(trace.h[where])
        formula = formulas[int(np.searchsorted(inner, h))] if np.isfinite(h) else None
        if formula and not (np.abs(inner - h) <= FORMULA * (1 + abs(h))).any():
            seen = [float(trace.x[where]), float(trace.slope[where])]
            if not np.isfinite(seen).all():
                continue
            with mpmath.workdps(_DIGITS):  # there nothing overflows
                pairs = zip(seen, map(mpmath.mpmathify, formula(mpmath.mpf(h))), strict=True)
                missed = max(float(abs(one - other) / (1 + abs(other))) for one, other in pairs)
            found[where[:2]] = np.fmax(found[where[:2]], missed)
    return found


def _forward(trace: Trace) -> FloatArray:
    value = _apart(trace.lengths[:, 1:], lengths(trace.x))
    value[:, 0] = np.maximum(value[:, 0], _apart(trace.lengths[:, 0], np.sqrt(trace.h.shape[-1])))
    return np.maximum(value, _apart(lengths(trace.h), trace.lengths[:, :-1])) if trace.haar else value


def _backward(trace: Trace) -> FloatArray:
    through = trace.slope * trace.e
    missed = lengths(trace.d - through) / lengths(through)
    up, down = dots(trace.e, trace.x)[:, :-1], (dots(trace.d, trace.h) / lengths(trace.d))[:, 1:]
    missed[:, :-1] = np.maximum(missed[:, :-1], np.abs(up - down) / lengths(trace.x)[:, :-1])
    if trace.haar:
        below = slice(0, None if trace.known_top else -1)
        missed[:, below] = np.maximum(missed[:, below], np.abs(lengths(trace.e) - 1)[:, below])
    return missed


def _gradient(trace: Trace) -> FloatArray:
    factors = np.log(lengths(trace.slope * trace.e))
    inputs = np.column_stack([trace.lengths[:, 0], lengths(trace.x)[:, :-1]])
    expected = np.cumsum(factors[:, ::-1], axis=1)[:, ::-1] + np.log(inputs / np.sqrt(trace.h.shape[-1]))
    missed: FloatArray = trace.log_gradients - expected
    return np.abs(missed) if trace.known_top else np.abs(missed - missed[:, -1:])


def _apart(one: FloatArray, other: FloatArray | float) -> FloatArray:
    apart: FloatArray = np.abs(one / other - 1)
    return apart
