"""How a random weight matrix acts on one vector, and its transpose on another, in law and without the matrix.

In a network with independent Haar-orthogonal weights each matrix W acts twice on one input: forward on x, and
transposed on a d that depends on W through h = W x alone. Both results can be drawn directly:

    h = |x| g / |g|,   g ~ N(0, I_n),
    W^T d = alpha x + v,   alpha = <d, h> / |h|^2,

with v uniform on the sphere of radius sqrt(|d|^2 - alpha^2 |h|^2) in the orthogonal complement of x. For i.i.d.
N(0, s^2) entries h = s |x| g, and, with P the projection on x, W^T d = <d, h> / |x|^2 x + s |d| (I - P) g'.

Both are exact in law, jointly over all layers, and cost O(n) per layer. A zero vector x (a layer that died) tells
nothing about W: then h = 0 and the term along x is absent. Proofs and sources: docs/matrix-free.md.
"""

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from gpn.engine.norms import FloatArray
from gpn.engine.weights import standard_deviation
from theory.errors import UsageError

ENSEMBLES = ("haar", "gaussian", "he", "glorot")
"""The weights whose law is known without the matrix."""

LEAST_LENGTH = 1e-280
"""A vector shorter than this has underflowed and has no direction any more."""

_LEAST_ACROSS = 1e-50  # far below one rounding of the component along x; keeps a reciprocal finite


@dataclass(frozen=True, slots=True)
class Haar:
    r"""A Haar-orthogonal matrix with rows of `width` entries (or its orthonormal columns), one for each trial.

    With a = along, o = overlap: (I - P) g = g - o xhat has the squared length |g|^2 - o^2, so that
    c = sqrt((1 - a^2) / (|g|^2 - o^2)) and c k + c o = a, that is k = a / c - o.
    """

    width: int
    needs_squares: ClassVar[bool] = True  # whether the squared lengths of the normals are used at all

    def stretch(self, radius: FloatArray, squares: FloatArray, /) -> FloatArray:
        """Return the factors by which standard normals g become W x for |x| = radius, from squares = |g|^2."""
        scale: FloatArray = radius / np.sqrt(squares)
        return scale

    def transposed(
        self, along: FloatArray, overlap: FloatArray, squares: FloatArray, /
    ) -> tuple[FloatArray, FloatArray]:
        r"""Return the numbers k and c > 0 for which W^T d has the law of |d| c (g + k \hat x), g standard normals.

        Args:
            along: <d, W x> / (|d| |x|), array (trials,).
            overlap: <g, xhat>, array (trials,).
            squares: |g|^2, array (trials,).
        """
        across = np.maximum(1.0 - along * along, _LEAST_ACROSS)  # the share of |d|^2 that is orthogonal to x
        if self.width == 1:  # nothing is orthogonal to x, and rounding must not invent it
            across[overlap != 0.0] = _LEAST_ACROSS
        # The floor is about the rounding of the difference; it acts with probability 4e-8 at n = 2, 2e-15 at n = 3.
        rest = np.maximum(squares - overlap * overlap, 1e-15 * self.width)
        root = np.sqrt(rest / across)
        return along * root - overlap, 1.0 / root


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Independent entries N(0, deviation^2); the methods mean the same as those of `Haar`."""

    deviation: float
    needs_squares: ClassVar[bool] = False

    def stretch(self, radius: FloatArray, _squares: FloatArray, /) -> FloatArray:
        return self.deviation * radius

    def transposed(
        self, along: FloatArray, overlap: FloatArray, _squares: FloatArray, /
    ) -> tuple[FloatArray, FloatArray]:
        return along * (1.0 / self.deviation) - overlap, np.full(len(along), self.deviation)


Law: TypeAlias = Haar | Gaussian


def check_ensemble(weights: str) -> None:
    """Check that the law of a matrix is known without the matrix.

    Raises:
        UsageError: weights that are not in `ENSEMBLES`.
    """
    if weights not in ENSEMBLES:
        raise UsageError(
            f"matrix-free sampling knows the weights {', '.join(ENSEMBLES)}, not {weights!r}; for the other "
            "ensembles of gpn.engine.weights use method='dense' of gpn.simulate"
        )


def law(weights: str, rows: int, columns: int) -> Law:
    """Give the law of a matrix of an ensemble.

    Args:
        weights: one of `ENSEMBLES`.
        rows, columns: n_out and n_in, n_in at most n_out for "haar".

    Raises:
        UsageError: another ensemble.

    >>> law("he", 10, 8)
    Gaussian(deviation=0.5)
    """
    check_ensemble(weights)
    return Haar(rows) if weights == "haar" else Gaussian(standard_deviation(weights, rows, columns))


def reciprocals(norms: FloatArray) -> FloatArray:
    """1 / norm, but finite for a zero vector: its products with it are zero, as if nothing lay along it.

    >>> reciprocals(np.array([2.0, 0.0]))
    array([5.e-001, 1.e+280])
    """
    return 1.0 / np.maximum(norms, LEAST_LENGTH)
