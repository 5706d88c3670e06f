"""Data sets: small files in the very formats that are published, and everything that can be wrong with them."""

import gzip
import pickle
import struct

import numpy as np
import pytest

from gpn.data.datasets import ThinShell, load_dataset
from gpn.data.inputs import load_inputs
from theory.errors import UsageError


def idx(array, magic=None):
    """An array of bytes in the IDX format."""
    start = 0x0800 + array.ndim if magic is None else magic
    return struct.pack(f">{1 + array.ndim}I", start, *array.shape) + array.tobytes()


def mnist(folder, *, joint="-", packed=False, samples=(12, 5)):
    """Four IDX files of 28 x 28 images; gives the arrays."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in zip(("train", "t10k"), samples, strict=True):
        arrays[part] = (
            rng.integers(0, 256, (count, 28, 28), dtype=np.uint8),
            np.arange(count, dtype=np.uint8) % 3,
        )
        for array, kind in zip(arrays[part], ("images", "labels"), strict=True):
            content = idx(array)
            name = f"{part}-{kind}{joint}idx{array.ndim}-ubyte" + (".gz" if packed else "")
            (folder / name).write_bytes(gzip.compress(content) if packed else content)
    return arrays


def cifar(folder, records=4):
    rng = np.random.default_rng(1)
    folder.mkdir(exist_ok=True)
    written = []
    for name in (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"):
        batch = rng.integers(0, 256, (records, 3073), dtype=np.uint8)
        batch[:, 0] = np.arange(records) % 10
        (folder / name).write_bytes(batch.tobytes())
        written.append(batch)
    return written


def npz(path, **changes):
    rng = np.random.default_rng(2)
    arrays = {
        "x_train": rng.standard_normal((6, 2, 2)),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": rng.standard_normal((3, 2, 2)),
        "y_test": np.array([2, 1, 0]),
    }
    arrays.update(changes)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def refused(source):
    with pytest.raises(UsageError) as error:
        load_dataset(source)
    return str(error.value)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("joint", ["-", "."])
def test_idx_files_are_read(tmp_path, packed, joint):
    arrays = mnist(tmp_path, joint=joint, packed=packed)
    data = load_dataset(tmp_path)
    np.testing.assert_array_equal(data.x_train, arrays["train"][0].reshape(12, 784))
    np.testing.assert_array_equal(data.y_train, arrays["train"][1])
    np.testing.assert_array_equal(data.x_test, arrays["t10k"][0].reshape(5, 784))
    np.testing.assert_array_equal(data.y_test, arrays["t10k"][1])
    assert (data.classes, data.features, data.x_train.dtype) == (3, 784, np.uint8)
    inputs = load_inputs(tmp_path)  # one reader: the samples to train on
    np.testing.assert_array_equal(inputs.vectors, data.x_train)
    np.testing.assert_array_equal(inputs.labels, data.y_train)


def test_damaged_idx_files_are_errors(tmp_path):
    mnist(tmp_path)
    images = tmp_path / "train-images-idx3-ubyte"
    good = images.read_bytes()
    for content, message in [
        (good[:-1], "is truncated: 12 x 28 x 28 = 9408 bytes announced, 9407 there"),
        (good + b"x", "longer"),
        (good[:7], "7 bytes"),
        (b"", "is truncated: 0 bytes"),
        (idx(np.zeros((12, 28, 28), np.uint8), magic=0x0D03), "magic number 0x0d03, not 0x0803"),
        (idx(np.zeros(12, np.uint8)) + bytes(20), "magic number 0x0801, not 0x0803"),
        (gzip.compress(good)[:-20], "is truncated"),
        (gzip.compress(good)[:40] + bytes(30), "truncated"),
        (idx(np.zeros((11, 28, 28), np.uint8)), "labels"),
    ]:
        images.write_bytes(content)
        assert message in refused(tmp_path)
    images.unlink()
    assert "train-images" in refused(tmp_path)


def test_a_header_that_announces_too_much_asks_for_no_memory(tmp_path):
    mnist(tmp_path)
    huge = struct.pack(">4I", 0x0803, 2**32 - 1, 2**32 - 1, 2**32 - 1) + bytes(100)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(huge)
    assert "bytes announced, 100 there" in refused(tmp_path)


@pytest.mark.parametrize("inside", ["", "cifar-10-batches-bin"])
def test_cifar_is_read(tmp_path, inside):
    batches = cifar(tmp_path / inside)
    data = load_dataset(tmp_path)
    np.testing.assert_array_equal(data.x_train, np.concatenate(batches[:5])[:, 1:])
    np.testing.assert_array_equal(data.y_train, np.concatenate(batches[:5])[:, 0])
    np.testing.assert_array_equal(data.x_test, batches[5][:, 1:])
    assert (data.features, data.classes) == (3072, 4)


def test_damaged_cifar_files_are_errors(tmp_path):
    cifar(tmp_path)
    batch = tmp_path / "data_batch_3.bin"
    good = batch.read_bytes()
    for content, message in [
        (good[:-1], "multiple of 3073"),
        (b"", "is truncated: 0 bytes"),
        (b"\x0b" + good[1:], "label 11"),
    ]:
        batch.write_bytes(content)
        assert message in refused(tmp_path)
    batch.unlink()
    assert "data_batch_3.bin" in refused(tmp_path)


def test_a_pickle_is_never_read(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps({}))
    assert "binary" in refused(tmp_path)
    assert "cannot be read" in refused(npz(tmp_path / "p.npz", x_train=np.array([{}], dtype=object)))


def test_npz_files_are_read(tmp_path):
    data = load_dataset(npz(tmp_path / "d.npz"))
    assert (data.x_train.shape, data.x_test.shape, data.classes) == ((6, 4), (3, 4), 3)
    ones = load_dataset(npz(tmp_path / "e.npz", y_test=np.zeros(3, dtype=int)))
    assert ones.classes == 3


def test_npz_files_with_wrong_arrays_are_errors(tmp_path):
    for changes, message in [
        ({"x_test": None}, "only x_train, y_test, y_train"),
        ({"x_test": np.ones((3, 5))}, "x_test 5"),
        ({"y_train": np.zeros(6, dtype=int)}, "two classes"),
        ({"y_test": np.array([0, 1, 3])}, "label 3"),
        ({"y_test": np.array([0.0, 1.0, 2.0])}, "float64"),
        ({"y_train": np.array([0, 1])}, "y_train"),
        ({"x_train": np.full((6, 2, 2), np.nan)}, "nan or infinite"),
        ({"x_train": np.array(["a"] * 6)}, "real numbers"),
        ({"x_train": np.empty((0, 4)), "y_train": np.empty(0, dtype=int)}, "no vector"),
    ]:
        assert message in refused(npz(tmp_path / "bad.npz", **changes))
    np.save(tmp_path / "one.npy", np.ones((3, 3)))
    assert "one array" in refused(tmp_path / "one.npy")
    assert "no file" in refused(tmp_path / "none.npz")
    (tmp_path / "empty").mkdir()
    assert "data set" in refused(tmp_path / "empty")


def test_the_test_digits_are_always_the_same_and_apart():
    first, second = load_dataset("digits"), load_dataset("digits")
    np.testing.assert_array_equal(first.x_test, second.x_test)
    assert len(first.x_train) + len(first.x_test) == 1797
    assert first.classes == len(np.unique(first.y_test)) == 10


@pytest.mark.parametrize("width", [4, 100])
@pytest.mark.parametrize("centred", [True, False])
def test_inputs_lie_on_the_thin_shell(tmp_path, width, centred):
    mnist(tmp_path)
    data = load_dataset(tmp_path)
    shell = ThinShell.of(data, width, centred=centred)
    x = shell(data.x_test)
    np.testing.assert_allclose((x**2).sum(axis=1), max(784, width), rtol=1e-12)
    for row, sample in zip(x, data.x_test.astype(float), strict=True):
        moved = sample - data.x_train.astype(float).mean(axis=0) if centred else sample
        np.testing.assert_allclose(row, moved * np.sqrt(784) / np.linalg.norm(moved), rtol=1e-10)


def test_a_zero_sample_is_an_error(tmp_path):
    x = np.arange(24.0).reshape(6, 4)
    x[3] = 0.0
    data = load_dataset(npz(tmp_path / "z.npz", x_train=x, x_test=np.ones((3, 4))))
    with pytest.raises(UsageError, match=r"sample 3 of x_train.*zero"):
        ThinShell.of(data, 8, centred=False)
    ThinShell.of(data, 8, centred=True)
