"""How a random weight matrix acts on one vector, and its transpose on another, in law and without the matrix.

In a network with independent Haar-orthogonal weights each matrix W acts twice on one input: forward on x, and
transposed on a d that depends on W through h = W x alone. Both results can be drawn directly:

    h = |x| g / |g|,   g ~ N(0, I_n),
    W^T d = alpha x + v,   alpha = <d, h> / |h|^2,

with v uniform on the sphere of radius sqrt(|d|^2 - alpha^2 |h|^2) in the orthogonal complement of x. For i.i.d.
N(0, s^2) entries h = s |x| g, and, with P the projection on x, W^T d = <d, h> / |x|^2 x + s |d| (I - P) g'.

A semi-orthogonal matrix is a part of a square one: the coordinates that are not seen enter by their squared length, a
chi-square number. A Gaussian bias makes h = W x + b, and <d, W x> is then drawn given h: no bias is ever written out.
All of this is exact in law, jointly over all layers, and costs O(n) per layer. A zero vector x (a layer that died)
tells nothing about W: then h = 0 and the term along x is absent. Proofs and sources: docs/matrix-free.md.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, TypeAlias

import numpy as np

from gpn.engine.norms import FloatArray
from gpn.engine.weights import Weights, is_orthogonal, orthogonal_scale, standard_deviation
from theory.errors import UsageError

ENSEMBLES = ("haar", "scaled_orthogonal", "gaussian", "he", "glorot")
"""The weights whose law is known without the matrix."""

LEAST_LENGTH = 1e-280
"""A vector shorter than this has underflowed and has no direction any more."""

_LEAST_ACROSS = 1e-50  # far below one rounding of the component along x; keeps a reciprocal finite


class Biased(NamedTuple):
    """What is known about W x once h = W x + b is drawn: <d, W x> = |x| (part <d, h> + rest z |d|), z by `Law.unseen`.

    Args:
        part, rest: arrays (trials,).
        inverse: 1 / |h|, (trials,).
    """

    part: FloatArray
    rest: FloatArray
    inverse: FloatArray


@dataclass(frozen=True, slots=True)
class Haar:
    r"""A gain times a Haar-orthogonal matrix (`columns` left out), or a semi-orthogonal one, one for each trial.

    With a = along, o = overlap: (I - P) g = g - o xhat has the squared length |g|^2 - o^2, so that
    c = sqrt((1 - a^2) / (|g|^2 - o^2)) and c k + c o = a, that is k = a / c - o.

    Attributes:
        rows, columns: n_out and n_in.
        gain: the factor.
    """

    rows: int
    columns: int | None = None
    gain: float = 1.0
    needs_squares: ClassVar[bool] = True  # whether the squared lengths of the normals are used at all

    @property
    def hidden(self) -> tuple[int, int]:
        """How many coordinates of a square matrix are not seen in W x, and in W^T d."""
        missing = self.rows - (self.columns or self.rows)
        return max(-missing, 0), max(missing, 0)

    def scaled(self, factor: float) -> "Haar":
        return replace(self, gain=self.gain * factor)

    def stretch(self, radius: FloatArray, squares: FloatArray, /) -> FloatArray:
        """Return the factors by which standard normals g become W x for |x| = radius, from squares = |g|^2."""
        scale: FloatArray = self.gain * radius / np.sqrt(squares)
        return scale

    def biased(
        self,
        deviation: float,
        radius: FloatArray,
        visible: FloatArray,
        squares: FloatArray,
        rng: np.random.Generator,
        /,
    ) -> tuple[FloatArray, Biased]:
        """Return the factors by which standard normals g become W x + b, and what is then known of W x.

        Args:
            deviation: the standard deviation of the entries of b.
            radius: |x|, array (trials,).
            visible, squares: |g|^2, and with the coordinates that are not seen, arrays (trials,).
        """
        size = self.stretch(radius, squares) * np.sqrt(visible)  # |W x|
        along = size + deviation * rng.standard_normal(len(size))  # <h, W x> / |W x|
        length = np.hypot(along, deviation * np.sqrt(chi_square(rng, self.rows - 1, len(size))))
        inverse = reciprocals(length)
        cosine, share = along * inverse, size * reciprocals(radius)
        rest = share * np.sqrt(np.maximum(1.0 - cosine * cosine, 0.0))
        return length / np.sqrt(visible), Biased(share * cosine * inverse, rest, inverse)

    def unseen(self, cosine: FloatArray, rng: np.random.Generator, /) -> FloatArray:
        """Draw z of `Biased`: <d, u>/|d| for a uniform unit vector u orthogonal to h, given the cosine of d and h."""
        z = rng.standard_normal(len(cosine))
        away = np.sqrt(z * z + chi_square(rng, self.rows - 2, len(z))) if self.rows > 1 else np.inf
        turned: FloatArray = z / away * np.sqrt(np.maximum(1.0 - cosine * cosine, 0.0))
        return turned

    def transposed(
        self, along: FloatArray, overlap: FloatArray, squares: FloatArray, /
    ) -> tuple[FloatArray, FloatArray]:
        r"""Return the numbers k and c > 0 for which W^T d has the law of |d| c (g + k \hat x), g standard normals.

        Args:
            along: <d, W x> / (|d| |x|), array (trials,).
            overlap: <g, xhat>, array (trials,).
            squares: |g|^2, with the coordinates that are not seen, array (trials,).
        """
        size = max(self.rows, self.columns or 1)
        along = along / self.gain
        across = np.maximum(1.0 - along * along, _LEAST_ACROSS)  # the share of |d|^2 that is orthogonal to x
        if size == 1:  # nothing is orthogonal to x, and rounding must not invent it
            across[overlap != 0.0] = _LEAST_ACROSS
        # The floor is about the rounding of the difference; it acts with probability 4e-8 at n = 2, 2e-15 at n = 3.
        rest = np.maximum(squares - overlap * overlap, 1e-15 * size)
        root = np.sqrt(rest / across)
        return along * root - overlap, self.gain / root


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Independent entries N(0, deviation^2); the methods mean the same as those of `Haar`."""

    deviation: float
    needs_squares: ClassVar[bool] = False
    hidden: ClassVar[tuple[int, int]] = (0, 0)

    def scaled(self, factor: float) -> "Gaussian":
        return Gaussian(self.deviation * factor)

    def stretch(self, radius: FloatArray, _squares: FloatArray, /) -> FloatArray:
        return self.deviation * radius

    def biased(
        self, deviation: float, radius: FloatArray, _visible: FloatArray, squares: FloatArray, _: np.random.Generator, /
    ) -> tuple[FloatArray, Biased]:
        size = self.stretch(radius, squares)
        both = np.hypot(size, deviation)
        share = size / both
        inverse = reciprocals(radius)
        return both, Biased(share * share * inverse, share * deviation * inverse, inverse)

    def unseen(self, cosine: FloatArray, rng: np.random.Generator, /) -> FloatArray:
        return rng.standard_normal(len(cosine))

    def transposed(
        self, along: FloatArray, overlap: FloatArray, _squares: FloatArray, /
    ) -> tuple[FloatArray, FloatArray]:
        return along * (1.0 / self.deviation) - overlap, np.full(len(along), self.deviation)


Law: TypeAlias = Haar | Gaussian


def check_ensemble(weights: Weights) -> str:
    """Check that the law of a matrix is known without the matrix, and give the name of its ensemble.

    Raises:
        UsageError: weights that are not in `ENSEMBLES`.
    """
    if not isinstance(weights, str) or weights not in ENSEMBLES:
        raise UsageError(
            f"matrix-free sampling knows the weights {', '.join(ENSEMBLES)}, not {weights!r}; for the other "
            "ensembles of gpn.engine.weights use method='dense' of gpn.simulate"
        )
    return weights


def law(weights: Weights, rows: int, columns: int) -> Law:
    """Give the law of a matrix of an ensemble.

    Args:
        weights: one of `ENSEMBLES`.
        rows, columns: n_out and n_in.

    Raises:
        UsageError: another ensemble.

    >>> law("he", 10, 8)
    Gaussian(deviation=0.5)
    """
    name = check_ensemble(weights)
    if is_orthogonal(name):
        return Haar(rows, columns, orthogonal_scale(name, rows, columns))
    return Gaussian(standard_deviation(name, rows, columns))


def chi_square(rng: np.random.Generator, degrees: int, trials: int) -> FloatArray:
    """The squared length of so many standard normals in each trial, without drawing them; 0 for none, or fewer.

    >>> chi_square(np.random.default_rng(0), 0, 2)
    array([0., 0.])
    """
    return rng.chisquare(degrees, trials) if degrees > 0 else np.zeros(trials)


def reciprocals(norms: FloatArray) -> FloatArray:
    """1 / norm, but finite for a zero vector: its products with it are zero, as if nothing lay along it.

    >>> reciprocals(np.array([2.0, 0.0]))
    array([5.e-001, 1.e+280])
    """
    return 1.0 / np.maximum(norms, LEAST_LENGTH)
