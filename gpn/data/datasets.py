"""Labelled data sets to train on, read from files in their published formats; nothing is ever downloaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpn.data.files import read_arrays, read_folder
from gpn.data.inputs import check_finite, check_labels, flattened, load_inputs, on_sphere
from gpn.engine.norms import FloatArray
from theory.errors import UsageError

IntArray = npt.NDArray[np.int64]
TEST_SHARE = 0.2
"""Share of the digits, which come without a test set, that is kept for the test."""

_NAMES = ("x_train", "y_train", "x_test", "y_test")
_ROWS = 4096  # samples that are checked together


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Dataset:
    """Samples with class labels, for training and for the test.

    Attributes:
        x_train, x_test: arrays (samples, features) of the type in which they were stored (pixels as bytes).
        y_train, y_test: int64 arrays (samples,) of classes 0..classes - 1.
        classes: how many classes there are.
        name: "digits" or the path.
    """

    x_train: npt.NDArray[Any]
    y_train: IntArray
    x_test: npt.NDArray[Any]
    y_test: IntArray
    classes: int
    name: str

    @property
    def arrays(self) -> tuple[npt.NDArray[Any], ...]:
        """All samples and labels: x_train, y_train, x_test, y_test."""
        return self.x_train, self.y_train, self.x_test, self.y_test

    @property
    def nbytes(self) -> int:
        """Bytes of all samples and labels."""
        return sum(array.nbytes for array in self.arrays)

    @property
    def features(self) -> int:
        """The length of a sample."""
        return int(self.x_train.shape[1])

    def __repr__(self) -> str:
        sizes = f"{len(self.x_train)} samples to train on, {len(self.x_test)} to test"
        return f"<Dataset {self.name}: {sizes}, {self.features} features, {self.classes} classes>"


def load_dataset(source: str | Path) -> Dataset:
    """Read a data set.

    Args:
        source: "digits", the 1797 handwritten digits that come with scikit-learn, of which a fifth, always the same,
            is kept for the test; a folder with MNIST or Fashion-MNIST (four IDX files, gzip or not) or with CIFAR-10
            (binary version, also in its folder cifar-10-batches-bin); or a .npz file with x_train, y_train, x_test
            and y_test.

    Raises:
        UsageError: nothing of the kind there, a wrong magic number, a truncated file, sizes or labels that do not fit.

    >>> load_dataset("digits")
    <Dataset digits: 1438 samples to train on, 359 to test, 64 features, 10 classes>
    """
    if source == "digits":
        return _digits()
    path = Path(source)
    if path.is_dir():
        return _checked(read_folder(path), str(path))
    return _npz(path)


def limited(data: Dataset, samples: int) -> Dataset:
    """Return a data set with at most so many samples to train on and to test; always the same ones.

    Args:
        data: the whole data set.
        samples: the most of each kind.

    >>> limited(load_dataset("digits"), 300)
    <Dataset digits: 300 samples to train on, 300 to test, 64 features, 10 classes>
    """
    train, test = (_chosen(len(x), samples) for x in (data.x_train, data.x_test))
    parts = (data.x_train[train], data.y_train[train], data.x_test[test], data.y_test[test])
    return Dataset(*parts, data.classes, data.name)


@dataclass(frozen=True, slots=True, eq=False)
class ThinShell:
    r"""Map from samples to inputs: each is scaled to the thin shell, if wanted about the mean of the training samples.

    $$x_0 = \sqrt{m}\, \frac{x - c}{|x - c|}, \qquad m = \max(n_0, n)$$

    For n_0 <= n features the first matrix, n x n_0 with orthonormal columns, gives |h_1|^2 = n. For more features than
    neurons its rows are orthonormal and |h_1|^2 = n on average over the draw (condition on the inputs of Lu, Gould,
    Ajanthan 2020, arXiv 2006.12169; the projection is derived in docs/training.md).

    Args:
        centre: c, array (features,), or None for 0.
        radius: sqrt(m).
    """

    centre: FloatArray | None
    radius: float

    @classmethod
    def of(cls, data: Dataset, width: int, *, centred: bool = False) -> "ThinShell":
        """Return the map for a data set and a width.

        Args:
            data: its training samples give the centre; all of its samples are checked.
            width: n, neurons in a layer.
            centred: whether the mean is subtracted.

        Raises:
            UsageError: a sample that is zero (after the mean is subtracted) and has no direction.
        """
        centre = data.x_train.mean(axis=0, dtype=np.float64) if centred else None
        shell = cls(centre, float(np.sqrt(max(data.features, width))))
        for what, samples in (("x_train", data.x_train), ("x_test", data.x_test)):
            for start in range(0, len(samples), _ROWS):
                bad = np.flatnonzero(~np.isfinite(shell(samples[start : start + _ROWS])).all(axis=1))
                if bad.size:
                    reason = "equals the mean of the training samples" if centred else "is zero"
                    raise UsageError(
                        f"sample {start + int(bad[0])} of {what} {reason}, so it cannot be scaled to the thin shell; "
                        "drop it"
                    )
        return shell

    def correlation(self, samples: npt.NDArray[Any]) -> float:
        """Return the mean correlation of two inputs, the squared length of the mean direction.

        Args:
            samples: array (samples, features).

        >>> ThinShell(None, 2.0).correlation(np.array([[3.0, 0.0], [0.0, 1.0]]))
        0.5
        """
        total = np.zeros(samples.shape[1])
        for start in range(0, len(samples), _ROWS):
            total += self(samples[start : start + _ROWS]).sum(axis=0)
        return float(total @ total) / (self.radius * len(samples)) ** 2

    def __call__(self, samples: npt.NDArray[Any]) -> FloatArray:
        """Map samples (rows) to inputs of a network."""
        rows = samples.astype(np.float64)
        if self.centre is not None:
            rows -= self.centre
        with np.errstate(invalid="ignore", divide="ignore"):
            return on_sphere(rows, self.radius)[0]


def _digits() -> Dataset:
    inputs = load_inputs("digits")
    labels = inputs.labels
    if labels is None:
        raise UsageError("the digits of this scikit-learn come without labels; install scikit-learn 1.5 or newer")
    order = np.random.default_rng(0).permutation(len(labels))
    test, train = np.split(order, [round(TEST_SHARE * len(order))])
    x = inputs.vectors
    return _checked([x[train], labels[train], x[test], labels[test]], "digits")


def _npz(path: Path) -> Dataset:
    loaded = read_arrays(path, "the data set", _NAMES)
    if isinstance(loaded, np.ndarray) or set(loaded) != set(_NAMES):
        held = "one array" if isinstance(loaded, np.ndarray) else f"only {', '.join(sorted(loaded))}"
        raise UsageError(f"{path} holds {held}; a data set is a .npz file with {', '.join(_NAMES)}")
    return _checked([loaded[name] for name in _NAMES], str(path))


def _checked(arrays: Sequence[npt.NDArray[Any]], name: str) -> Dataset:
    """What must hold for every source; the arrays in the order of `_NAMES`."""
    x_train, y_train, x_test, y_test = arrays
    x_train, x_test = flattened(x_train, "x_train"), flattened(x_test, "x_test")
    if x_train.shape[1] != x_test.shape[1]:
        raise UsageError(f"{name}: x_train has {x_train.shape[1]} features but x_test {x_test.shape[1]}")
    for what, samples in (("x_train", x_train), ("x_test", x_test)):
        if samples.dtype.kind == "f":
            check_finite(samples, f"{what} of {name}")
    labels = [_labels(y, len(x), what) for y, x, what in ((y_train, x_train, "train"), (y_test, x_test, "test"))]
    classes = int(labels[0].max()) + 1
    if classes < 2:
        raise UsageError(f"{name}: all labels to train on are 0; a classifier needs at least two classes")
    if labels[1].max() >= classes:
        raise UsageError(
            f"{name}: y_test has the label {labels[1].max()}, but y_train only labels from 0 to {classes - 1}"
        )
    return Dataset(x_train, labels[0], x_test, labels[1], classes, name)


def _labels(raw: npt.NDArray[Any], samples: int, part: str) -> IntArray:
    """Labels of one part, which may be of one class only."""
    if raw.size and raw.shape == (samples,) and raw.dtype.kind in "biu" and not raw.any():
        return raw.astype(np.int64)
    try:
        return check_labels(raw, samples)[0]
    except UsageError as error:
        raise UsageError(f"y_{part}: {error}") from None


def _chosen(size: int, samples: int) -> npt.NDArray[np.intp] | slice:
    if size <= samples:
        return slice(None)
    return np.sort(np.random.default_rng(2).permutation(size)[:samples])
