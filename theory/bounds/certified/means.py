r"""Means over one layer in ball arithmetic, from a formula: a part of the checker of certificates.

:math:`E\, e^{\sum_i \psi(h_i)}`, h uniform on the sphere :math:`|h|^2 = nq`, for all q of a tube at once. Nothing is
imported but python-flint, Python's library and the modules beside it. What is not decided is refused. The inequalities:
docs/deep-bound.md#certified.
"""

import ast
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

from flint import acb, acb_poly, arb, arb_mat, arb_series

from theory.bounds.certified.formula import Jet, need, run, top
from theory.bounds.certified.inequalities import Function, log_value, part, supremum

_RHO = 4  # of the Bernstein ellipses
Field = list[Any]  # a function of one neuron at all places of a `Line`
Kernel = list[tuple[arb, Field]]  # c_r and mu_r of sum_r exp(c_r + sum_i mu_r(h_i))


class Place(NamedTuple):
    """A node, a rectangle near the line or an interval of it, with phi and phi' there."""

    z: Any
    value: Any
    slope: Any


def plus(f: Field, factor: Any, g: Field) -> Field:
    return [x + factor * y for x, y in zip(f, g, strict=True)]


class Line:
    """phi on |z| <= R, and from it means over one layer, E exp(sum psi(h_i)) with h uniform on |h|^2 = nq."""

    def __init__(
        self, phi: dict[str, Any], rule: dict[str, Any], n: int, low: arb, high: arb, alive: Callable[[], None]
    ) -> None:
        self.n, self.low, self.high, self.rule, self.alive = n, low, high, rule, alive
        formulas, breaks = [ast.parse(text, mode="eval").body for text in phi["pieces"]], list(map(arb, phi["breaks"]))
        need(len(formulas) == len(breaks) + 1, "one formula more than breaks")
        for b, pair in zip(breaks, pairwise(formulas), strict=True):
            left, right = (run(formula, Jet(b, arb(1))).value for formula in pair)
            need(bool(left - right == 0), "phi is not seen to be continuous")
        edges, scale, shift = [arb(e) / 32 for e in rule["edges"]], arb(phi["scale"]), arb(phi["shift"])
        need(len(edges) > 1 and all(a < b for a, b in pairwise(edges)), "the edges are ordered")
        need(all(a == -b for a, b in zip(edges, reversed(edges), strict=True)), "the edges are symmetric")
        need(all(a < b for a, b in pairwise(breaks)) and all(b in edges[1:-1] for b in breaks), "breaks are edges")

        def place(formula: ast.expr, z: Any) -> Place:
            found = run(formula, Jet(z, arb(1)))
            return Place(z, scale * found.value + shift, scale * found.slope)

        self.order, self.end, self.reach = rule["order"], edges[-1], top([(n * high).sqrt(), edges[-1]])
        need(2 <= self.order <= 99, "2 to 99 nodes")
        need(bool(1 <= self.end) and bool(self.end <= 99), "the panels end between 1 and 99")
        need(bool(0 < rule["step"]) and 1 <= rule["frequencies"] <= 999, "the frequencies are 1 to 999, with a step")
        need(1 <= rule["cells"] <= 999, "the tube has 1 to 999 cells")
        roots = [arb.legendre_p_root(self.order, k, True) for k in range(self.order)]
        wide, tall = (arb(_RHO) + arb(1) / _RHO) / 2, (arb(_RHO) - arb(1) / _RHO) / 2
        parts = [(formulas[sum(1 for b in breaks if b <= a)], (a + b) / 2, (b - a) / 2) for a, b in pairwise(edges)]
        corners = [(wide * part(i, 4), tall * part(j, 4)) for i in range(4) for j in (2, 3)]
        nodes = [place(f, c + r * root) for f, c, r in parts for root, _ in roots]
        boxes = [place(f, acb(c + r * x, r * y)) for f, c, r in parts for x, y in corners]
        cells = [place(f, c + r * part(i, 8)) for f, c, r in parts for i in range(8)]
        self.weights, self.halves = [r * weight for *_, r in parts for _, weight in roots], [r for *_, r in parts]
        self.first, self.second, self.bulk = len(nodes), len(nodes) + len(boxes), len(nodes) + len(boxes) + len(cells)
        self.lengths, start = list[arb](), self.end
        while start < self.reach:
            further = min((start * arb("1.01")).upper(), self.reach)
            cells += [place(formulas[0], -start.union(further)), place(formulas[-1], start.union(further))]
            self.lengths += [further - start] * 2
            start = further
        self.places = nodes + boxes + cells
        self.square, self.size = self.field(lambda p: p.z * p.z), self.field(lambda p: p.value * p.value)
        self.steepest = top(p.slope * p.slope for p in cells)  # K^2
        self.step, self.last = rule["step"] / arb(n).sqrt(), int(rule["frequencies"])
        turns = [[(acb(0, self.step * j) * z).exp() for j in range(self.last + 1)] for z in self.square[: self.first]]
        self.waves = arb_mat([[w.real for w in row] + [w.imag for w in row] for row in turns])

    def field(self, f: Callable[[Place], Any]) -> Field:
        return [f(place) for place in self.places]

    def inversion(self, psi: Field, q: arb) -> tuple[arb, arb, list[acb], arb]:
        """m, log X(0), the X(jh)^n/X(0)^n with X(u) = E[e^{psi + (m + iu) z^2}; |z| <= R], and what lies beyond."""
        self.alive()
        m, n, norm, most = arb(self.tilt(psi, float(q))), self.n, (2 * arb.pi()).sqrt(), self.step * self.last
        logs = plus(psi, m - arb(1) / 2, self.square)
        cells, tail, squares = logs[self.second :], logs[self.bulk :], self.square[self.second : self.bulk]
        bulk = [x.lower().exp() for x in logs[self.second : self.bulk]]
        law = [w * x.exp() / norm for w, x in zip(self.weights, logs[: self.first], strict=True)]
        row = arb_mat([law]) * self.waves
        boxes = zip(logs[self.first : self.second], self.square[self.first : self.second], strict=True)
        sizes = [(x.real + most * abs(z.imag)).upper().exp() for x, z in boxes]
        error = sum((r * top(sizes[8 * i : 8 * i + 8]) for i, r in enumerate(self.halves)), arb(0))
        error *= arb(64) / 15 / arb(_RHO) ** (2 * self.order) / (1 - arb(_RHO) ** -2)
        error += sum((length * x.upper().exp() for length, x in zip(self.lengths, tail, strict=True)), arb(0))
        ball = arb(0, top([error / norm]))
        found = [acb(row[0, j] + ball, row[0, self.last + 1 + j] + ball) for j in range(self.last + 1)]
        mass, u, moduli = found[0].real, self.step * (self.last + 1), [arb(1)]
        need(bool(mass > 0), "a mean is not seen to be positive")
        both = [(x + y) / 2 for x, y in zip(bulk, reversed(bulk), strict=True)]
        for v in (q * k / 8 for k in (2, 3, 4, 5, 6, 8, 10, 13)):  # p(z) + p(-z) >= 2 delta N(0, v) on the bulk
            delta = -top(-x * (z.lower() / (2 * v)).exp() * v.sqrt() for x, z in zip(both, squares, strict=True))
            outside = (self.end / (2 * v).sqrt()).erfc()
            moduli.append(1 - delta / mass * (1 - 2 * outside - (1 + 4 * u * u * v * v) ** (arb(-1) / 4)))
        peak, copies = top(x.upper().exp() for x in cells) / norm / mass, self.reach**2 * self.step / arb.pi() + 1
        rest = max(min(top([x]) for x in moduli), arb(0)) ** (n - 4) * copies * 2 * (arb.pi() * peak) ** 2 / self.step
        return m, mass.log(), [(x / mass) ** n for x in found], top([rest])

    def tilt(self, psi: Field, q: float) -> float:
        """A tilt near the saddle, found in floats: any number is admissible."""
        squares, values = ([float(x) for x in field[: self.first]] for field in (self.square, psi))
        weights, m = [float(w) for w in self.weights], 0.5 - 0.5 / q
        for _ in range(200):
            logs = [x + (m - 0.5) * z for x, z in zip(values, squares, strict=True)]
            peak = max(logs)
            law = [w * math.exp(x - peak) for w, x in zip(weights, logs, strict=True)]
            mass, one, two = (sum(w * z**k for w, z in zip(law, squares, strict=True)) for k in range(3))
            gap = (one / mass - q) / (two / mass - (one / mass) ** 2)
            m -= max(min(gap, 0.1), -0.1)
            if abs(gap) <= 1e-4 or abs(m) >= 100:
                break
        return m

    def supremum(self, kernel: Kernel, below: Function = ((0,), (0,))) -> arb:
        """sup over q in I of log( sum_r e^{c_r} E exp(sum_i mu_r(h_i)) / f(q) )."""
        count, n, found = self.rule["cells"], self.n, list[arb]()
        turns = [acb(0, -j * n * self.step) for j in range(self.last + 1)]
        for left, right in pairwise([self.low + (self.high - self.low) * i / count for i in range(count + 1)]):
            q, terms = ((left + right) / 2).mid(), list[Any]()
            for constant, psi in kernel:
                m, log, powers, rest = self.inversion(psi, q)
                a = [(2 if j else 1) * x * (turns[j] * q).exp() for j, x in enumerate(powers)]
                rows = [[x * y**k / math.factorial(k) for x, y in zip(a, turns, strict=True)] for k in range(3)]
                terms.append((constant + n * (log - m * q), -n * m, [acb_poly(row) for row in rows], rest))
            base = max(level.mid() for level, *_ in terms)

            def log_sum(t: arb_series, q: arb = q, terms: list[Any] = terms, base: arb = base) -> arb_series:
                self.alive()
                x, total = t[0] - q, arb_series([0])
                wave = (turns[1] * x).exp()
                for level, slope, rates, rest in terms:
                    first, *others = (poly(wave).real for poly in rates)
                    total += arb_series([level - base + slope * x, slope]).exp() * arb_series([first + rest, *others])
                return total.log() + base - t.log() * (arb(n) / 2 - 1) + t * (arb(n) / 2) - log_value(below, t)

            found.append(supremum(log_sum, left, right, self.rule["tolerance"]))
        scale: arb = (self.step / (2 * arb.pi())).log() + arb(n) / 2 * arb(2).log() + (arb(n) / 2).lgamma()
        return top(found) + scale - (arb(n) / 2 - 1) * arb(n).log()
