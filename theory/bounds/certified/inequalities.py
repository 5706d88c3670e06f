"""Inequalities between functions of one number, decided by balls: a part of the checker of certificates."""

import heapq
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from flint import arb, arb_series

from theory.bounds.certified.formula import need, top

GRID = 4000
"""Intervals for a function of one number."""


Function = tuple[Sequence[Any], Sequence[Any]]
"""Slopes s_i and log weights w_i of sum_i e^{w_i + s_i (q - 1)}."""


def part(i: int, count: int) -> arb:
    """The i-th of so many intervals of equal length that cover [-1, 1]."""
    return (arb(2 * i - count) / count).union(arb(2 * i + 2 - count) / count)


def log_value(f: Function, q: arb_series) -> arb_series:
    """log f(q), and its derivatives where q is a series."""
    total = arb_series([0])
    for s, w in zip(*f, strict=True):
        total += (q * s + (w - s)).exp()
    return total.log()


def log_at(f: Function, q: Any) -> arb:
    """log f(q)."""
    value: arb = log_value(f, arb_series([arb(q)]))[0]
    return value


def supremum(log: Callable[[arb_series], arb_series], low: arb, high: arb, tolerance: arb) -> arb:
    """A bound on the supremum over an interval, by Taylor's formula on pieces that are halved as needed."""
    known, heap, count = arb("-inf"), list[tuple[float, int, arb, arb, arb]](), 0
    pieces = [(low, high)]
    while True:
        for left, right in pieces:
            middle, radius = ((left + right) / 2).mid(), ((right - left) * arb("0.500001")).upper()
            near, far = log(arb_series([middle, 1])), log(arb_series([arb(middle, radius), 1]))
            bound = (near[0] + abs(near[1]) * radius + abs(far[2]) * radius * radius).upper()
            bound = bound if bound.is_finite() else arb("inf")
            known = max(known, near[0].lower()) if near[0].is_finite() else known
            heapq.heappush(heap, (-float(bound), count := count + 1, bound, left, right))
        _, _, bound, left, right = heapq.heappop(heap)
        if bound.is_finite() and bound <= known + tolerance:
            return bound
        need(count < 4_000, "a supremum is not bounded within the tolerance")
        pieces = [(left, ((left + right) / 2).mid()), (((left + right) / 2).mid(), right)]


def excess(t: arb, theta: arb, loss: arb) -> arb:
    """log c of (5)."""
    need(bool(t < theta), "a bracket has an exponent above each rate")
    far = (loss - (1 - t / theta).log() / t).max(2 * loss)
    logs = [((t * (far - loss)).exp() - 1).log() - theta * far]
    for k in range(GRID if bool(loss > 0) else 0):
        y, before = 2 * loss * arb(k + 1) / GRID, 2 * loss * arb(k) / GRID
        logs.append(((t * y * y / (4 * loss)).exp() - 1).log() - theta * before)
    return top(logs)


def dominates(sign: int, power: arb, rates: list[arb], weights: list[arb], floor: arb) -> bool:
    """(4): below on cells, by a tangent and a chord, until the constant alone is enough; above the tangent of log."""
    if sign > 0:
        return len(rates) == 1 and bool(weights[0] >= power * (power / rates[0]).log() - power)
    last = top([floor, *((-w / power).exp() for w, t in zip(weights, rates, strict=True) if bool(t == 0))])
    edges = [floor.lower(), *((floor * (last / floor) ** (arb(k) / GRID)).mid() for k in range(1, GRID)), last]
    for p, r in pairwise(edges):
        parts = [(w - t * p).exp() for w, t in zip(weights, rates, strict=True)]
        total, slope = sum(parts, arb(0)), -sum((t * x for t, x in zip(rates, parts, strict=True)), arb(0))
        ends = total.log() + power * p.log(), total.log() + slope / total * (r - p) + power * r.log()
        if not all(bool(end >= 0) for end in ends):
            return False
    return any(bool(t == 0) for t in rates)
