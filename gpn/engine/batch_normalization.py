r"""Batch normalization: preactivations standardized over the batch, between W_l and phi.

$$\hat h_i = \frac{h_i - m}{\sqrt{v + \epsilon}}, \quad m = \frac1k \sum_j h_j, \quad v = \frac1k \sum_j (h_j - m)^2,
\qquad g_i = \gamma \hat h_i + \beta$$

for each neuron on its own, i = 1..k over the batch (S. Ioffe, C. Szegedy 2015, arXiv 1502.03167).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpn.engine.norms import FloatArray, quiet
from theory.errors import UsageError

EPSILON = 1e-5
"""What is added to a variance before its root is taken; the default of PyTorch."""

MOMENTUM = 0.1
"""The share of the newest batch in the running mean and variance; the default of PyTorch."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BatchStatistics:
    """Record of a normalized layer that a forward pass keeps.

    Attributes:
        standardized: the standardized preactivations, array (batch, n).
        means: m, array (n,).
        deviations: sqrt(v + epsilon), array (n,).
    """

    standardized: FloatArray
    means: FloatArray
    deviations: FloatArray


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class BatchNormalization:
    r"""Batch normalization of one layer; its arrays may be changed in place (training).

    Args:
        means, variances: running statistics of the training batches, arrays (n,), used by `folded` alone.
        gains: \gamma, array (n,); None for 1, not trained (G. Yang et al. 2019, arXiv 1902.08129, at initialization).
        shifts: \beta, array (n,), given together with the gains; None for 0, not trained.
        epsilon: added to the variance, not negative. With 0 a neuron that is constant over the batch gives nan.

    Raises:
        UsageError: gains without shifts, shapes that differ, or an epsilon out of range.

    >>> layer = BatchNormalization.of_width(1, epsilon=0.0)
    >>> layer.normalize(np.array([[1.0], [3.0]]))[0]
    array([[-1.],
           [ 1.]])
    """

    means: FloatArray
    variances: FloatArray
    gains: FloatArray | None = None
    shifts: FloatArray | None = None
    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        if (self.gains is None) != (self.shifts is None):
            raise UsageError("batch normalization takes gains and shifts together, or neither")
        arrays = (self.means, self.variances, self.gains, self.shifts)
        shapes = [array.shape for array in arrays if array is not None]
        if len(set(shapes)) != 1 or len(shapes[0]) != 1:
            raise UsageError(f"the arrays of batch normalization must have one shape (n,), not {shapes}")
        if not 0 <= self.epsilon < float("inf"):
            raise UsageError(f"epsilon of batch normalization must be at least 0, not {self.epsilon!r}; usual is 1e-5")

    @classmethod
    def of_width(
        cls, width: int, *, affine: bool = False, epsilon: float = EPSILON, dtype: npt.DTypeLike = np.float64
    ) -> "BatchNormalization":
        """A fresh layer of n neurons: gain 1, shift 0, running mean 0 and variance 1.

        Args:
            width: n.
            affine: with gains and shifts to be trained.
            epsilon: added to the variance.
            dtype: of all arrays.
        """
        zeros, ones = np.zeros(width, dtype), np.ones(width, dtype)
        gains, shifts = (ones.copy(), zeros.copy()) if affine else (None, None)
        return cls(zeros, ones, gains, shifts, epsilon)

    @property
    def width(self) -> int:
        """The number of neurons n."""
        return len(self.means)

    def __repr__(self) -> str:
        return f"BatchNormalization(width={self.width}, affine={self.gains is not None}, epsilon={self.epsilon:g})"

    def normalize(self, h: FloatArray) -> tuple[FloatArray, BatchStatistics]:
        r"""Compute \gamma \hat h + \beta by the statistics of the batch itself.

        Args:
            h: array (batch, n), which is overwritten.

        Returns:
            What phi is applied to, an array (batch, n), and what the backward pass needs. Without gains and shifts
            the array is h, and the standardized one of the statistics as well.

        Raises:
            UsageError: a batch of one sample, whose deviation from its own mean is zero.
        """
        batch = len(h)
        if batch < 2:
            raise UsageError("batch normalization needs a batch of at least 2 samples: one alone has no variance")
        with quiet():
            # The variance from the centred values: E h^2 - (E h)^2 would cancel for a large mean.
            means = np.add.reduce(h, axis=0)
            means /= batch
            h -= means
            deviations = np.sqrt(np.einsum("ij,ij->j", h, h) / batch + self.epsilon)
            h /= deviations
            statistics = BatchStatistics(h, means, deviations)
            if self.gains is None or self.shifts is None:
                return h, statistics
            scaled = h * self.gains
            scaled += self.shifts
        return scaled, statistics

    def backward(self, d: FloatArray, statistics: BatchStatistics) -> tuple[FloatArray, FloatArray]:
        r"""Turn dE/dg into dE/dh in place, exactly: the mean and the variance depend on every sample.

        $$\frac{\partial E}{\partial h_i} = \frac{\gamma}{\sqrt{v + \epsilon}} \Bigl(d_i - \frac1k \sum_j d_j
        - \hat h_i \frac1k \sum_j d_j \hat h_j\Bigr), \qquad
        \frac{\partial E}{\partial \gamma} = \sum_j d_j \hat h_j, \quad
        \frac{\partial E}{\partial \beta} = \sum_j d_j$$

        Args:
            d: dE/dg, array (batch, n), which is overwritten by dE/dh.
            statistics: what `normalize` returned.

        Returns:
            dE/d gains and dE/d shifts, arrays (n,), of a loss summed over the batch.
        """
        with quiet():
            shifts = np.add.reduce(d, axis=0)
            gains = np.einsum("ij,ij->j", d, statistics.standardized)
            d -= shifts / len(d)
            d -= statistics.standardized * (gains / len(d))
            d *= (1.0 if self.gains is None else self.gains) / statistics.deviations
        return gains, shifts

    def track(self, statistics: BatchStatistics, momentum: float = MOMENTUM) -> None:
        r"""Move the running statistics towards those of a batch of k samples, in place.

        $$\bar m \leftarrow (1 - \mu) \bar m + \mu m, \qquad
        \bar v \leftarrow (1 - \mu) \bar v + \mu \frac{k}{k - 1} v$$

        (the unbiased variance, as in PyTorch.)

        Args:
            statistics: the statistics of the batch.
            momentum: \mu, the share of this batch.
        """
        batch = len(statistics.standardized)
        # The deviations contain epsilon, the running variances do not.
        variances = (np.square(statistics.deviations) - self.epsilon) * (batch / (batch - 1))
        for kept, newest in ((self.means, statistics.means), (self.variances, variances)):
            kept *= 1.0 - momentum
            kept += momentum * newest

    def folded(self, weights: FloatArray, biases: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        r"""The weights and biases of a layer without batch normalization that does the same by running statistics.

        $$W' = D W, \quad b' = D (b - \bar m) + \beta, \qquad D = \mathrm{diag}\, \gamma / \sqrt{\bar v + \epsilon}$$

        Args:
            weights: W, array (n, n_in).
            biases: b, array (n,), or None for 0.
        """
        scale = (1.0 if self.gains is None else self.gains) / np.sqrt(self.variances + self.epsilon)
        shift = 0.0 if self.shifts is None else self.shifts
        centre = -self.means if biases is None else biases - self.means
        return scale[:, None] * weights, scale * centre + shift


def layers(
    widths: Iterable[int], *, affine: bool = False, epsilon: float = EPSILON, dtype: npt.DTypeLike = np.float64
) -> tuple[BatchNormalization, ...]:
    """Fresh batch normalization for layers of the given widths n_1, ..., n_L; see `BatchNormalization.of_width`.

    >>> layers([3, 2])
    (BatchNormalization(width=3, affine=False, epsilon=1e-05), BatchNormalization(width=2, affine=False, epsilon=1e-05))
    """
    return tuple(BatchNormalization.of_width(n, affine=affine, epsilon=epsilon, dtype=dtype) for n in widths)
