"""Real inputs x_0: reading vectors and labels, judging them, bringing them to the thin shell |x|^2 = width.

Trials and samples: each trial draws its own sample, uniformly and with replacement, by the generator of its
chunk. So trials are independent and identically distributed, as exact limits require, whatever the number of
samples.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpn.data.files import one_line, read_arrays, read_folder
from gpn.engine.norms import FloatArray
from gpn.engine.weights import haar
from theory.errors import UsageError

IntArray = npt.NDArray[np.int64]
Source = str | os.PathLike[str] | npt.ArrayLike
MAX_CLASSES = 100_000  # beyond this, labels are taken for something else, such as numbers of samples
_MEMBERS = (("x_train", "y_train"), ("x", "y"))
_ON_SHELL = 1e-6  # relative deviation of |x|^2 from the width that counts as rounding


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Vectors to feed into a network, with or without labels.

    Args:
        vectors: float64 array (samples, features): finite, no row zero.
        labels: int64 array (samples,) of classes 0..classes - 1, or None.
        classes: how many classes there are, 0 without labels.
        name: "digits", the path of the file, or "array".
        notes: what a reader of the results must know about them, one sentence each.
    """

    vectors: FloatArray
    labels: IntArray | None
    classes: int
    name: str
    notes: tuple[str, ...]

    @property
    def features(self) -> int:
        """How many numbers a vector has, and so the least width of a network that it fits into."""
        return int(self.vectors.shape[1])

    def __repr__(self) -> str:
        classes = f", {self.classes} classes" if self.classes else ", no labels"
        return f"<Inputs {self.name}: {len(self.vectors)} samples of {self.features} features{classes}>"


@dataclass(frozen=True, slots=True)
class ShellReport:
    """Extremes and median of |x|^2 / width before the vectors were projected and scaled."""

    width: int
    samples: int
    features: int
    minimum: float
    median: float
    maximum: float

    @property
    def on_shell(self) -> bool:
        """Whether all vectors had |x|^2 = width to begin with, up to rounding."""
        return self.features <= self.width and 1 - _ON_SHELL <= self.minimum <= self.maximum <= 1 + _ON_SHELL

    @property
    def text(self) -> str:
        """The report in one sentence."""
        if self.on_shell:
            return f"All {self.samples} inputs lie on the thin shell |x|^2 = n at width n = {self.width}."
        projected = ""
        if self.features > self.width:
            projected = f"projected from {self.features} features to n random orthogonal directions and "
        return (
            f"The inputs do not lie on the thin shell |x|^2 = n: at width n = {self.width}, |x|^2/n is "
            f"between {self.minimum:.4g} and {self.maximum:.4g}, median {self.median:.4g}; each was {projected}scaled "
            "to |x|^2 = n."
        )


def load_inputs(spec: Source, labels: Source | None = None) -> Inputs:
    """Read input vectors, and labels if there are any, from a bundled data set, a file or an array.

    Files are read by `numpy.load` with pickling disabled: a data file cannot run code.

    Args:
        spec: "digits", 1797 handwritten digits of 8 x 8 pixels (scikit-learn; Alpaydin and Kaynak 1998); the
            path of a .npy file or an array: (samples, features), (samples, height, width[, channels]),
            flattened row by row, or one vector (features,); the path of a .npz file with x_train and y_train,
            or x and y; a folder as for `gpn.data.files.read_folder`, whose training samples are taken.
        labels: path of a .npy file, or array, with one whole number for each sample, classes 0, 1, 2, ...;
            they replace those that come with `spec`.

    Raises:
        UsageError: not readable, not numbers, empty, not finite, a zero vector, or labels that do not fit.

    >>> load_inputs([[3.0, 4.0], [1.0, 0.0]], labels=[0, 1])
    <Inputs array: 2 samples of 2 features, 2 classes>
    """
    raw, own_labels, name = _read(spec)
    vectors, shape_notes = _vectors(raw, name)
    chosen = own_labels if labels is None else _read_labels(labels)
    numbers, classes = (None, 0) if chosen is None else check_labels(chosen, len(vectors))
    return Inputs(vectors, numbers, classes, name, (*shape_notes, *_notes(vectors, numbers, classes, name)))


def to_thin_shell(vectors: npt.ArrayLike, width: int) -> tuple[FloatArray, ShellReport]:
    r"""Scale each vector on its own to the thin shell of a network of width n.

    $$x \mapsto \sqrt{n}\, x / |x|, \qquad |x_0|^2 = n$$

    (the condition on inputs of Lu, Gould, Ajanthan 2020, arXiv 2006.12169). Vectors with fewer than n
    features are not padded: their first weight matrix is n x features with orthonormal columns, which has the
    same law as padding with zeros in front of a Haar matrix. Vectors with more than n features are projected first,
    by one Haar matrix with n orthonormal rows, always the same: the first layer of `gpn.train` does so too, which keeps
    |x| on average where here each is scaled to sqrt(n).

    Args:
        vectors: array (samples, features), finite, no row zero.
        width: n, the number of units of a layer.

    Returns:
        The scaled vectors, array (samples, min(features, n)), and the report of where they lay before.

    Raises:
        UsageError: a wrong shape, or a vector that cannot be scaled.

    >>> scaled, report = to_thin_shell([[3.0, 4.0], [1.0, 0.0]], width=4)
    >>> (scaled**2).sum(axis=1), report.minimum, report.maximum
    (array([4., 4.]), 0.25, 6.25)
    """
    x = np.asarray(vectors, dtype=np.float64)
    if x.ndim != 2 or not x.size:
        raise UsageError(f"the inputs have shape {x.shape}; they must be an array (samples, features)")
    _check_scalable(x, "the inputs")
    features = x.shape[1]
    scaled, norms = on_sphere(x, float(np.sqrt(width)))
    with np.errstate(over="ignore"):
        ratios = np.square(norms) / width
    report = ShellReport(width, len(x), features, *(float(f(ratios)) for f in (np.min, np.median, np.max)))
    if features > width:
        projection = haar(np.random.default_rng(0), width, features)
        scaled = on_sphere(scaled @ projection.T, float(np.sqrt(width)))[0]
    return scaled, report


def on_sphere(vectors: FloatArray, radius: float) -> tuple[FloatArray, FloatArray]:
    """Scale each row to one length, and give the lengths from before; a row of zeros gives nan.

    Args:
        vectors: array (samples, features).
        radius: the length.

    >>> on_sphere(np.array([[3e200, 4e200]]), 10.0)
    (array([[6., 8.]]), array([5.e+200]))
    """
    # Dividing by the largest entry first keeps the squares of very large or small entries in range.
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = vectors / largest
        norms = np.linalg.norm(scaled, axis=1, keepdims=True)
        lengths: FloatArray = (largest * norms)[:, 0]
    scaled *= radius / norms
    return scaled, lengths


def _read(spec: Source) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None, str]:
    """Raw vectors, the labels that come with them, and the name."""
    if isinstance(spec, str) and spec == "digits":
        return *_digits(), "digits"
    if not isinstance(spec, str | os.PathLike):
        return _as_array(spec, "the inputs"), None, "array"
    path, name = Path(spec), os.fspath(spec)
    if os.path.isdir(name):  # of names that no system takes it says no
        x_train, y_train, *_ = read_folder(path)
        return x_train, y_train, name
    loaded = read_arrays(path, "the inputs")
    if isinstance(loaded, np.ndarray):
        return loaded, None, name
    for vectors, labels in _MEMBERS:
        if vectors in loaded:
            return loaded[vectors], loaded.get(labels), name
    raise UsageError(f"the .npz file holds labels {', '.join(loaded)} but no inputs; it must hold x_train or x")


def _read_labels(labels: Source) -> npt.NDArray[Any]:
    if not isinstance(labels, str | os.PathLike):
        return _as_array(labels, "the labels")
    loaded = read_arrays(Path(labels), "the labels")
    if not isinstance(loaded, np.ndarray):
        raise UsageError(f"the labels in {os.fspath(labels)} are a .npz file; give them as a .npy file")
    return loaded


def _digits() -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UsageError(
            "the digits come with scikit-learn, which is not installed: pip install 'gpn-theory[train]', or give a "
            ".npy file"
        ) from None
    vectors, labels = load_digits(return_X_y=True)
    return np.asarray(vectors), np.asarray(labels)


def _as_array(values: npt.ArrayLike, what: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what} cannot be read as an array of numbers: {one_line(error)}") from None


def _vectors(raw: npt.NDArray[Any], name: str) -> tuple[FloatArray, tuple[str, ...]]:
    """Validated float64 vectors (samples, features), and what was done to their shape."""
    what = f"the inputs in {name}" if name not in {"digits", "array"} else "the inputs"
    matrix = flattened(raw, what)
    with np.errstate(over="ignore"):  # a longdouble beyond float64 becomes infinite and is reported as such
        vectors = np.array(matrix, dtype=np.float64)
    _check_scalable(vectors, what)
    notes: tuple[str, ...] = ()
    if raw.ndim == 1:
        notes = (f"The array of shape {raw.shape} was taken as one vector.",)
    elif raw.ndim > 2:
        notes = (f"Samples of shape {raw.shape[1:]} were flattened to vectors of {vectors.shape[1]} features.",)
    return vectors, notes


def flattened(raw: npt.NDArray[Any], what: str) -> npt.NDArray[Any]:
    """Check that an array holds real numbers, and make its samples rows (samples, features) of the same type.

    Raises:
        UsageError: another type, or no numbers at all.

    >>> flattened(np.zeros((5, 2, 3)), "the inputs").shape
    (5, 6)
    """
    if raw.dtype.kind not in "biuf":
        raise UsageError(f"{what} are of type {raw.dtype}; they must be real numbers (float, integer or boolean)")
    if raw.ndim == 0 or raw.size == 0:
        raise UsageError(
            f"{what} have shape {raw.shape}, which holds no vector; it must be (samples, features), "
            "(samples, height, width) or (features,)"
        )
    return raw.reshape(1, -1) if raw.ndim == 1 else raw.reshape(len(raw), -1)


def check_finite(vectors: npt.NDArray[Any], what: str) -> None:
    """Refuse an array (samples, features) that holds a nan or an infinite value.

    Raises:
        UsageError: how many there are, and where the first is.
    """
    finite = np.isfinite(vectors)
    if not finite.all():
        sample, feature = np.unravel_index(int(np.argmin(finite)), vectors.shape)
        raise UsageError(
            f"{what} hold {vectors.size - int(finite.sum())} values (of {vectors.size}) that are nan or "
            f"infinite, the first at sample {sample}, feature {feature}; drop or replace them"
        )


def _check_scalable(vectors: FloatArray, what: str) -> None:
    check_finite(vectors, what)
    zero = np.flatnonzero(~vectors.any(axis=1))
    if zero.size:
        rows = ", ".join(map(str, zero[:5])) + (", ..." if zero.size > 5 else "")
        raise UsageError(
            f"{what} hold {zero.size} zero vectors of {len(vectors)} (samples {rows}), which cannot be "
            "scaled to the thin shell; drop them"
        )


def check_labels(raw: npt.NDArray[Any], samples: int) -> tuple[IntArray, int]:
    """Check class labels 0, 1, 2, ..., one for each sample, and say how many classes there are.

    Raises:
        UsageError: another shape or type, negative numbers, or a single class.

    >>> check_labels(np.array([2, 0]), 2)
    (array([2, 0]), 3)
    """
    labels = raw.reshape(-1) if raw.ndim == 2 and raw.shape[1] == 1 else raw
    if labels.shape != (samples,):
        hint = "; for one-hot rows give labels.argmax(axis=1)" if raw.ndim == 2 else ""
        raise UsageError(f"the labels have shape {raw.shape} for {samples} samples; one for each is needed{hint}")
    if labels.dtype.kind not in "biu":
        raise UsageError(f"the labels are of type {labels.dtype}; they must be whole numbers: labels.astype(int)")
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= MAX_CLASSES:
        raise UsageError(f"the labels run from {least} to {most}; they must lie between 0 and {MAX_CLASSES - 1}")
    if most == 0:
        raise UsageError(
            "all labels are 0: the softmax cross-entropy of a single class has no gradient; "
            "at least two classes are needed"
        )
    return labels.astype(np.int64), most + 1


def _notes(vectors: FloatArray, labels: IntArray | None, classes: int, name: str) -> Iterator[str]:
    samples, features = vectors.shape
    yield (
        f"Inputs: {samples} samples of {features} features ({name}), each scaled on its own to the thin "
        "shell; every trial draws one of them at random, with replacement."
    )
    if labels is not None:
        present = len(np.unique(labels))
        absent = "" if present == classes else f", of which {present} occur"
        yield f"Labels: {classes} classes{absent}; the gradients are those of softmax cross-entropy."
