"""Labelled data sets to train on, read from files in their published formats; nothing is ever downloaded."""

import gzip
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from gpn.engine.norms import FloatArray
from gpn.experiment.fingerprint import digest
from gpn.sampling.inputs import check_finite, check_labels, flattened, load_inputs, on_sphere, read_arrays
from theory.errors import UsageError

IntArray = npt.NDArray[np.int64]
TEST_SHARE = 0.2
"""Share of the digits, which come without a test set, that is kept for the test."""

_NAMES = ("x_train", "y_train", "x_test", "y_test")
_IDX_PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
_IDX_MAGIC = {3: 0x0803, 1: 0x0801}  # unsigned bytes in three dimensions, and in one
_CIFAR_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_CIFAR_TEST = "test_batch.bin"
_CIFAR_PIXELS = 3 * 32 * 32
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
    def digest(self) -> str:
        """Digest of all samples and labels, wherever they were read from."""
        return digest((self.x_train, self.y_train, self.x_test, self.y_test))

    @property
    def nbytes(self) -> int:
        """Bytes of all samples and labels."""
        return sum(array.nbytes for array in (self.x_train, self.y_train, self.x_test, self.y_test))

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
        return _folder(path)
    return _npz(path)


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


def _folder(path: Path) -> Dataset:
    """The data set whose files are in a folder, recognized by their names."""
    files = [_find_idx(path, part) for part in _IDX_PARTS]
    if any(files):
        missing = [part for part, file in zip(_IDX_PARTS, files, strict=True) if file is None]
        if missing:
            raise UsageError(f"{path} lacks {', '.join(missing)} of the four IDX files {', '.join(_IDX_PARTS)}")
        # images have three dimensions, labels one
        arrays = [_read_idx(file, 1 + 2 * (order % 2 == 0)) for order, file in enumerate(files) if file is not None]
        return _checked(arrays, str(path))
    for folder in (path, path / "cifar-10-batches-bin"):
        if any((folder / name).exists() for name in (*_CIFAR_TRAIN, _CIFAR_TEST)):
            arrays = [*_read_cifar(folder / name for name in _CIFAR_TRAIN), *_read_cifar([folder / _CIFAR_TEST])]
            return _checked(arrays, str(path))
    if any(path.glob("**/data_batch_1")):
        raise UsageError(f"{path} holds the Python version of CIFAR-10, which is pickled; take the binary version")
    raise UsageError(
        f"{path} holds no data set: neither IDX files ({_IDX_PARTS[0]}-idx3-ubyte, ..., gzip or not) nor CIFAR-10 "
        f"({_CIFAR_TRAIN[0]}, ..., {_CIFAR_TEST})"
    )


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


def _find_idx(folder: Path, part: str) -> Path | None:
    kind = "idx3" if part.endswith("images") else "idx1"
    names = [f"{part}{joint}{kind}-ubyte{ending}" for joint in "-." for ending in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_idx(path: Path, dimensions: int) -> npt.NDArray[Any]:
    """An array of unsigned bytes; see Y. LeCun, C. Cortes, C. Burges, The MNIST database of handwritten digits."""
    header = 4 * (1 + dimensions)
    try:
        with _opened(path) as file:
            start = file.read(header)
            if len(start) < header:
                raise UsageError(f"{path} is truncated: {len(start)} bytes, less than its header of {header}")
            magic, *sizes = struct.unpack(f">{1 + dimensions}I", start)
            if magic != _IDX_MAGIC[dimensions]:
                wanted = f"{_IDX_MAGIC[dimensions]:#06x} (unsigned bytes in {dimensions} dimensions)"
                raise UsageError(f"{path} begins with the magic number {magic:#06x}, not {wanted}")
            size = int(np.prod(sizes, dtype=object))
            content = _read_at_most(file, size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read or is truncated ({error})") from None
    if len(content) != size:
        state = "is truncated" if len(content) < size else "is longer than its header says"
        shape, there = " x ".join(map(str, sizes)), len(content) if len(content) < size else "more"
        raise UsageError(f"{path} {state}: {shape} = {size} bytes announced, {there} there")
    return np.frombuffer(content, dtype=np.uint8).reshape(sizes)


def _read_at_most(file: IO[bytes], size: int) -> bytes:
    """In pieces, so that a header that announces too much asks for no memory."""
    pieces, wanted = [], size
    while wanted > 0 and (piece := file.read(min(wanted, 2**24))):
        pieces.append(piece)
        wanted -= len(piece)
    return b"".join(pieces)


def _opened(path: Path) -> IO[bytes]:
    """The content of a file, unpacked if it begins as gzip does, whatever its name."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")  # type: ignore[return-value]


def _read_cifar(paths: Iterable[Path]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Records of one label and 3 x 32 x 32 pixels; see A. Krizhevsky, Learning multiple layers of features (2009)."""
    records = np.concatenate([_read_records(path) for path in paths])
    return records[:, 1:], records[:, 0]


def _read_records(path: Path) -> npt.NDArray[Any]:
    length = 1 + _CIFAR_PIXELS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}); CIFAR-10 has five batches and a test batch"
        ) from None
    if not content or len(content) % length:
        raise UsageError(
            f"{path} is truncated: {len(content)} bytes are no multiple of {length}, a label and its pixels"
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, length)
    if records[:, 0].max() > 9:
        wrong = int(np.argmax(records[:, 0] > 9))
        raise UsageError(f"{path} has the label {records[wrong, 0]} in record {wrong}; those of CIFAR-10 are 0 to 9")
    return records
