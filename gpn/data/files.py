"""Files of data in their published formats: NumPy's, the IDX files of MNIST, the binary version of CIFAR-10.

Nothing is ever downloaded, and no pickle is read: a data file cannot run code.
"""

import gzip
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from theory.errors import UsageError

_IDX_PARTS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
_IDX_MAGIC = {3: 0x0803, 1: 0x0801}  # unsigned bytes in three dimensions, and in one
_CIFAR_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_CIFAR_TEST = "test_batch.bin"
_CIFAR_PIXELS = 3 * 32 * 32


def read_arrays(
    path: Path, what: str, wanted: Sequence[str] | None = ("x_train", "y_train", "x", "y")
) -> npt.NDArray[Any] | dict[str, npt.NDArray[Any]]:
    """Read the array of a .npy file, or the wanted arrays of a .npz file, recognized by its first bytes.

    Args:
        path: the path of the file; pickles are not read.
        what: what it is for, as errors call it.
        wanted: names in a .npz file; those that it does not hold are left out. None for all that it holds.

    Raises:
        UsageError: not readable, or none of the wanted arrays in it.
    """
    with _reading(path, what), path.open("rb") as file:
        start = file.read(6)
        if not start.startswith((b"\x93NUMPY", b"PK\x03\x04")):
            raise UsageError(f"it begins with {start.decode('latin-1')!r}" if start else "it is empty")
        file.seek(0)
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            members = {name: loaded[name] for name in wanted or loaded.files if name in loaded.files}
            arrays = {name: array for name, array in members.items() if isinstance(array, np.ndarray)}
            if not arrays:
                held = ", ".join(map(repr, loaded.files[:10])) or "nothing"
                raise UsageError(f"it holds {held}, not arrays x_train (and y_train) or x (and y)")
            return arrays


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Every way in which reading a file can fail, as one sentence."""
    shown = repr(str(path)) if len(str(path)) <= 200 else f"...{str(path)[-200:]!r}"
    try:
        if path.exists() and not path.is_file():
            raise UsageError("it is not a file")
        yield
    except FileNotFoundError:
        near = ", did you mean digits?" if get_close_matches(path.name, ["digits"]) else ""
        raise UsageError(
            f"{what}: there is no file {shown}{near}; give 'digits', a .npy or .npz file, or a folder of MNIST or CIFAR"
        ) from None
    except MemoryError:
        raise UsageError(
            f"{what}: {shown} asks for more memory than there is; it is damaged, or give a part of it"
        ) from None
    except Exception as error:  # NumPy, zipfile and zlib raise many types on a damaged file
        raise UsageError(
            f"{what}: {shown} cannot be read as a .npy or .npz file of numbers ({one_line(error)}); "
            "write it with numpy.save or numpy.savez"
        ) from None


def one_line(error: Exception) -> str:
    """The reason of an error of a library in one short line."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if "allow_pickle" in reason:
        reason = "it holds Python objects, not numbers"
    elif isinstance(error, EOFError | zlib.error | zipfile.BadZipFile | struct.error) or reason.startswith("EOF"):
        reason = "it is damaged or cut short"
    text = " ".join(reason.split()) or type(error).__name__
    return text[:200]


def read_folder(path: Path) -> list[npt.NDArray[Any]]:
    """Read the data set whose files are in a folder, recognized by their names.

    Args:
        path: a folder with MNIST or Fashion-MNIST (four IDX files, gzip or not) or with CIFAR-10 (binary version, also
            in its folder cifar-10-batches-bin).

    Returns:
        x_train, y_train, x_test, y_test, arrays of bytes.

    Raises:
        UsageError: nothing of the kind there, a wrong magic number, or a truncated file.
    """
    files = [_find_idx(path, part) for part in _IDX_PARTS]
    if any(files):
        missing = [part for part, file in zip(_IDX_PARTS, files, strict=True) if file is None]
        if missing:
            raise UsageError(f"{path} lacks {', '.join(missing)} of the four IDX files {', '.join(_IDX_PARTS)}")
        # images have three dimensions, labels one
        return [_read_idx(file, 1 + 2 * (order % 2 == 0)) for order, file in enumerate(files) if file is not None]
    for folder in (path, path / "cifar-10-batches-bin"):
        if any((folder / name).exists() for name in (*_CIFAR_TRAIN, _CIFAR_TEST)):
            return [*_read_cifar(folder / name for name in _CIFAR_TRAIN), *_read_cifar([folder / _CIFAR_TEST])]
    if any(path.glob("**/data_batch_1")):
        raise UsageError(f"{path} holds the Python version of CIFAR-10, which is pickled; take the binary version")
    raise UsageError(
        f"{path} holds no data set: neither IDX files ({_IDX_PARTS[0]}-idx3-ubyte, ..., gzip or not) nor CIFAR-10 "
        f"({_CIFAR_TRAIN[0]}, ..., {_CIFAR_TEST})"
    )


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
            f"{path} is truncated: {len(content)} bytes are not a multiple of {length}, a label and its pixels"
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, length)
    if records[:, 0].max() > 9:
        wrong = int(np.argmax(records[:, 0] > 9))
        raise UsageError(f"{path} has the label {records[wrong, 0]} in record {wrong}; those of CIFAR-10 are 0 to 9")
    return records
