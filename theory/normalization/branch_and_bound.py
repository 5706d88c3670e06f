r"""Branch and bound for the supremum of |f| over several intervals, with proved ends.

An interval is split until the upper bound of the function on every part, from the mean value form

.. math:: f(I) \subseteq f(m) + f'(I)(I - m)

or from direct evaluation, is hardly above the largest value found at a point (Moore, Kearfott, Cloud 2009,
"Introduction to Interval Analysis", chapters 6 and 9).
"""

import heapq
import itertools
from collections.abc import Sequence

from flint import arb

from theory.balls.arithmetics import INTERVAL, REAL
from theory.balls.core import NotCertifiable, hull
from theory.balls.program import Program

_MOST_BOXES = 20_000  # of a formula of ordinary length, fewer of a longer one
_ORDINARY_SIZE = 40  # operations
_NARROWEST = 2.0**-80  # relative width at which splitting a box is given up
_POLE = 2.0**-30  # the same for a box without a finite bound


class _Key:
    """Total order on exact numbers."""

    def __init__(self, point: arb) -> None:
        self.point = point

    def __lt__(self, other: "_Key") -> bool:
        return bool(self.point < other.point)


class Patch:
    """A function and its derivative on real balls."""

    def __init__(self, program: Program) -> None:
        self.cost = max(1, program.size // _ORDINARY_SIZE)
        self._point, self._range = program.bind(REAL), program.bind(INTERVAL)

    def value(self, x: arb) -> arb:
        """A lower bound of |f(x)|, 0 where f has no finite value."""
        value = self._point(x)[0]
        lower: arb = value.abs_lower() if value.is_finite() else arb(0)
        return lower

    def bound(self, left: arb, right: arb) -> arb:
        """An upper bound of |f| on an interval, infinite where none is found."""
        box = hull(left, right)
        direct, slope = self._range(box)
        if not direct.is_finite():
            return arb.pos_inf()
        middle = box.mid()
        centred = self._point(middle)[0] + slope * (box - middle)
        bounds = [ball.abs_upper() for ball in (direct, centred) if ball.is_finite()]
        smallest: arb = min(bounds, key=_Key)
        return smallest


class Search:
    """Branch and bound for the largest modulus over several patches."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self._heap: list[tuple[_Key, int, arb, arb, Patch]] = []
        self._count = itertools.count()
        self._budget = _MOST_BOXES
        self._found = arb(0)  # the largest value that is proved to be taken
        self._ceiling = arb(0)  # upper bound on stretches that are not searched

    def add(self, patch: Patch, edges: Sequence[arb]) -> None:
        """Search a patch between consecutive edges."""
        for left, right in itertools.pairwise(edges):
            self._push(patch, left, right)

    def cover(self, bound: arb) -> None:
        """Take an upper bound on a stretch that is not searched."""
        self._ceiling = max(self._ceiling, bound.upper(), key=_Key)

    def reach(self, value: arb) -> None:
        """Take a value that is proved to be exceeded or approached."""
        if value.is_finite():
            self._found = max(self._found, value.lower(), key=_Key)

    def is_enough(self, bound: arb) -> bool:
        """Whether a stretch with this upper bound cannot matter."""
        return bool(bound <= self._found + self._found * arb(self.tolerance))

    @property
    def is_exhausted(self) -> bool:
        return self._budget <= 0

    def _push(self, patch: Patch, left: arb, right: arb) -> None:
        self._found = max(self._found, patch.value(((left + right) / 2).mid()), key=_Key)
        heapq.heappush(self._heap, (_Key(-patch.bound(left, right)), next(self._count), left, right, patch))

    def run(self) -> None:
        """Split boxes until the largest bound is within the tolerance, or the budget is spent."""
        while self._heap and not self.is_exhausted and not self.is_enough(-self._heap[0][0].point):
            _, _, left, right, patch = self._heap[0]
            narrowest = _NARROWEST if self._heap[0][0].point.is_finite() else _POLE
            if right - left <= narrowest * max(abs(left), abs(right), key=_Key):
                return
            heapq.heappop(self._heap)
            middle = ((left + right) / 2).mid()
            self._push(patch, left, middle)
            self._push(patch, middle, right)
            self._budget -= patch.cost

    def enclosure(self) -> arb:
        """The supremum as a ball, +inf if it is proved to be infinite."""
        if self._found == arb.pos_inf():
            return arb.pos_inf()
        tops = [-item[0].point for item in self._heap[:1]]
        top = max([self._found, self._ceiling, *tops], key=_Key)
        if not top.is_finite():
            raise NotCertifiable("no finite bound was found on some part of the interval")
        return hull(self._found, top)

    def diverge(self) -> None:
        """Record that the function is proved to be unbounded."""
        self._found = arb.pos_inf()
