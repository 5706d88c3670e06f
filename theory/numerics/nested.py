"""Integrals over two variables whose integrand is smooth between lines that bend: the inner rule follows the lines.

The outer variable is integrated by the adaptive rule of `theory.numerics.quadrature`. For each of its values the
inner interval is split where a line crosses it, so that every inner panel holds a smooth function.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from theory.numerics.arithmetic import FloatArray
from theory.numerics.quadrature import gauss_legendre, integrate

_COARSE, _FINE = 12, 16
_EPS = float(np.finfo(np.float64).eps)
_BLOCK = 400_000  # points evaluated together: a few megabytes for each intermediate array
_DEPTH = 14  # bisections towards a singular line


@dataclass(frozen=True, slots=True)
class Inner:
    """The inner interval.

    Args:
        edges: ascending ends of the panels, shape (panels + 1,).
        lines: maps outer values, shape (rows,), to the inner values at which the integrand is not smooth, shape
            (rows, lines); values outside the interval are ignored.
        graded: refine towards the lines, for integrands that are singular there.
    """

    edges: FloatArray
    lines: Callable[[FloatArray], FloatArray]
    graded: bool = False


Integrand = Callable[[FloatArray, FloatArray], FloatArray]


def nested_integrals(
    integrand: Integrand, edges: FloatArray, breakpoints: FloatArray, inner: Inner
) -> tuple[FloatArray, FloatArray]:
    """Integrate several functions of two variables together.

    Gauss-Legendre rules of 16 nodes on the inner panels; the error of the inner integrals is taken as the largest
    difference from 12 nodes, times the length of the outer interval, which overestimates it.

    Args:
        integrand: outer values (rows, 1) and inner values (rows, nodes) -> values (functions, rows, nodes).
        edges: ascending ends of the first outer panels.
        breakpoints: outer edges at which the inner integral may be singular.
        inner: the inner interval.

    Returns:
        Values and error bounds, one for each function.

    >>> flat = Inner(np.array([0.0, 1.0]), lambda x: x[:, None])
    >>> value, error = nested_integrals(lambda x, y: np.abs(x - y)[None], np.array([0.0, 1.0]), np.array([]), flat)
    >>> bool(abs(value[0] - 1 / 3) <= error[0] < 1e-14)
    True
    """
    worst: list[FloatArray] = []

    def outer(points: FloatArray) -> FloatArray:
        rows = points.ravel()
        count = (len(inner.edges) + inner.lines(rows[:1]).size * (2 * _DEPTH if inner.graded else 1)) * _FINE
        blocks = np.array_split(rows, max(1, rows.size * count // _BLOCK))
        pairs = [_inner_integrals(integrand, block, inner) for block in blocks if block.size]
        fine = np.concatenate([pair[0] for pair in pairs], axis=1)
        worst.append(np.max([pair[1] for pair in pairs], axis=0))
        return fine.reshape(len(fine), *points.shape)

    # Where the inner integrals cancel, all that is left of them is rounding, which no bisection resolves.
    floor = 0.5 * _EPS * _modulus(integrand, edges, inner)
    value, error = integrate(outer, edges, breakpoints, floor, 4 * len(edges))
    return value, error + np.max(worst, axis=0) * (edges[-1] - edges[0])


def _modulus(integrand: Integrand, edges: FloatArray, inner: Inner) -> FloatArray:
    """The double integrals of the moduli, by a coarse rule."""
    nodes, weights = gauss_legendre(_COARSE)
    half = 0.5 * np.diff(edges)[:, None]
    rows = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * nodes).ravel()
    moduli = _rule(lambda x, y: np.abs(integrand(x, y)), rows, inner, _COARSE)
    return np.asarray(np.nan_to_num(moduli @ (half * weights).ravel(), nan=0.0, posinf=0.0))


def _inner_integrals(integrand: Integrand, rows: FloatArray, inner: Inner) -> tuple[FloatArray, FloatArray]:
    """Inner integrals, shape (functions, rows), and their largest error over the rows."""
    fine, coarse = (_rule(integrand, rows, inner, order) for order in (_FINE, _COARSE))
    with np.errstate(all="ignore"):
        return fine, np.abs(fine - coarse).max(axis=1)


def _rule(integrand: Integrand, rows: FloatArray, inner: Inner, order: int) -> FloatArray:
    ends = _split(rows, inner)
    half = 0.5 * np.diff(ends, axis=1)[..., None]
    nodes, weights = gauss_legendre(order)
    points = (0.5 * (ends[:, 1:] + ends[:, :-1])[..., None] + half * nodes).reshape(len(rows), -1)
    values = integrand(rows[:, None], points)
    return np.asarray(np.einsum("frn,rn->fr", values, (half * weights).reshape(len(rows), -1)))


def _split(rows: FloatArray, inner: Inner) -> FloatArray:
    """Ends of the inner panels for each row, shape (rows, panels + 1); a line outside makes an empty panel."""
    low, high = inner.edges[0], inner.edges[-1]
    lines = inner.lines(rows)
    if inner.graded:
        distances = 0.25 * 0.5 ** np.arange(3 * _DEPTH)
        offsets = np.concatenate([[0.0], distances, -distances])
        lines = (lines[..., None] + (high - low) * offsets).reshape(len(rows), -1)
    grid = np.broadcast_to(inner.edges, (len(rows), len(inner.edges)))
    return np.sort(np.concatenate([grid, np.clip(lines, low, high)], axis=1), axis=1)
