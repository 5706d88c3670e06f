r"""The layers of a chain of semi-orthogonal matrices, and the inequalities of Lemma E for each of them.

W_l is :math:`n_l \times n_{l-1}`, :math:`\max(1, (n_l/n_{l-1})^{1/2})` times a matrix with orthonormal rows or columns.
Two facts make each layer a square one, of which some neurons are switched off (docs/rectangular-deep-bound.md, derived
for this project): forward, h_l is the first n_l coordinates of a vector uniform on a sphere in
:math:`\max(n_l, n_{l-1})` dimensions; backward, Lemma A holds in :math:`\max(n_l, n_{l+1})` dimensions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from theory.bounds.certificate import LIMITS, Certificate, Mixture, Side
from theory.bounds.grid import Nodes
from theory.bounds.layer_means import Kernel
from theory.bounds.moments import Setting, Sign
from theory.numerics.arithmetic import FloatArray


class Kind(NamedTuple):
    """What a layer needs to be told from others.

    Args:
        width: n_l.
        free: max(n_(l-1) - n_l, 0), the coordinates of W_l x that h_l does not hold.
        ambient: max(n_l, n_(l+1)); n_L for the last layer.
    """

    width: int
    free: int
    ambient: int

    @property
    def factor(self) -> float:
        """The square of the gain of the matrix above."""
        return self.ambient / self.width


def kinds_of(widths: Sequence[int]) -> tuple[Kind, ...]:
    """The kind of each of the layers 1, ..., L.

    >>> kinds_of([784, 256, 300])
    (Kind(width=256, free=528, ambient=300), Kind(width=300, free=0, ambient=300))
    """
    above = [*widths[2:], 0]
    return tuple(
        Kind(here, max(before - here, 0), max(here, after))
        for (before, here), after in zip(pairwise(widths), above, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for the pre-activation of one kind of layer on the good event.

    Args:
        low, high: limits of |h_l|^2/n_l.
        values: the six limits of a certificate, in its order.
        tilts: their Cramér exponents.
        brackets: factor of the exponents of the brackets above.
    """

    low: float
    high: float
    values: tuple[float, ...]
    tilts: tuple[float, ...]
    brackets: float = 1.0

    @staticmethod
    def of(c: Certificate) -> "Limits":
        """The limits of a certificate, for layers as it knows them."""
        return Limits(c.low, c.high, tuple(getattr(c, name) for name in LIMITS), c.limit_tilts)

    def put(self, c: Certificate) -> Certificate:
        """A certificate with these limits in place of its own."""
        changes: dict[str, Any] = dict(zip(LIMITS, self.values, strict=True))
        return replace(c, **changes, limit_tilts=self.tilts)


@dataclass(frozen=True, slots=True, eq=False)
class Layered(Kernel):
    """One `Kernel` for each kind of layer, the first of which are the fields of this one.

    Args:
        members: the kernels.
    """

    members: tuple[Kernel, ...]

    @staticmethod
    def of(members: Sequence[Kernel]) -> "Layered":
        """The kernels of all kinds in order."""
        return Layered(members[0].constants, members[0].exponents, tuple(members))

    def inverse_power(self, power: float, shares: FloatArray) -> "Layered":
        """As for one kernel, for each."""
        return Layered.of([member.inverse_power(power, shares) for member in self.members])


@dataclass(frozen=True, slots=True, eq=False)
class ChainSetting(Setting):
    """A certificate, and the activation evaluated for it, for a chain of layers.

    Args:
        layers: the kinds of the layers 1, ..., L.
        kinds: each of them once.
        limits: of each kind.
    """

    layers: tuple[Kind, ...] = ()
    kinds: tuple[Kind, ...] = ()
    limits: tuple[Limits, ...] = ()

    def costs(self, kernel: Kernel, inputs: Sequence[Mixture], outputs: Sequence[Mixture]) -> FloatArray:
        """sup over q in I of log(K f_in/f_out) for several steps at once, the largest of all kinds of layers."""
        return np.asarray(self.table(kernel, inputs, outputs).max(axis=0))

    def table(self, kernel: Kernel, inputs: Sequence[Mixture], outputs: Sequence[Mixture]) -> FloatArray:
        """The same for each kind of layer, (kinds, steps)."""
        members = kernel.members if isinstance(kernel, Layered) else (kernel,) * len(self.kinds)
        rows = []
        for kind, member in zip(self.kinds, members, strict=True):
            means, weights = member.means(self.nodes, kind.width, inputs, self.tube, kind.free)
            rows.append(means.suprema(weights, outputs))
        return np.stack(rows)

    def ladder(self, kernel: Kernel, functions: Sequence[Mixture], first: int, count: int) -> FloatArray:
        """As for square layers, each step over its own layer."""
        table, step = self.table(kernel, functions, (*functions[1:], functions[-1])), np.arange(count - 1)
        row = self.index[len(self.layers) - first - step - 1]
        return np.concatenate([[0.0], np.cumsum(table[row, np.minimum(step, table.shape[1] - 1)])])

    @property
    def index(self) -> np.ndarray:
        """Which of the kinds the layers 1, ..., L are of."""
        place = {kind: i for i, kind in enumerate(self.kinds)}
        return np.array([place[kind] for kind in self.layers])

    def each(self, sign: Sign, side: Side, majorant: Callable[[Setting, Side, float, float], Kernel]) -> Layered:
        """A majorant over the directions of a backward step, for each kind of layer.

        Args:
            sign, side: of the bound.
            majorant: of a square layer of the ambient width, given its setting, its side, the factor r of the rates
                and the factor of the tilts c; its terms are sums over all neurons, those switched off included.
        """
        found = []
        for kind, limits in zip(self.kinds, self.limits, strict=True):
            shrunk = (self.certificate.width - 1) / (kind.ambient - 1)
            inside = replace(
                self, certificate=embedded(limits.put(self.certificate), kind), nodes=_with_one_off(self.nodes)
            )
            scale = kind.factor**2 * self.certificate.width / kind.ambient * (limits.brackets if sign > 0 else 1.0)
            here = replace(
                side,
                horizon=kind.factor * side.horizon,
                spread_shift=shrunk * side.spread_shift,
                bracket_tilts=tuple(scale * tilt for tilt in side.bracket_tilts),
            )
            full = majorant(inside, here, kind.factor, shrunk)
            off = (kind.ambient - kind.width) * full.exponents[:, -1]
            found.append(Kernel(full.constants + off, full.exponents[:, :-1]))
        return Layered.of(found)


def embedded(c: Certificate, kind: Kind) -> Certificate:
    """The certificate for a square layer of the ambient width, whose last neurons are switched off."""
    share = kind.width / kind.ambient
    means = {name: share * getattr(c, name) for name in ("low", "high", "z_low", "z_high")}
    return replace(c, width=kind.ambient, **means)


def _with_one_off(nodes: Nodes) -> Nodes:
    """The nodes and one more, at which h, phi and phi' are 0: a neuron that is switched off."""
    z, value, slope = (np.append(part, 0.0) for part in (nodes.z, nodes.value, nodes.slope))
    return replace(nodes, z=z, value=value, slope=slope)
