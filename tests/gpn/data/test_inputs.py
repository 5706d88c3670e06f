"""Real input: what is read, what is refused and how it is said, and the scaling to the thin shell."""

import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpn.data.inputs import Inputs, load_inputs, to_thin_shell
from theory.errors import UsageError


class Malicious:
    """Unpickling this creates a file."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return open, (self.target, "w")


def saved(path, array):
    np.save(path, array)
    return path


def refused(*arguments):
    with pytest.raises(UsageError) as caught:
        load_inputs(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


# ------------------------------------------------------------------------------------------ what is read


def test_digits_are_the_bundled_images():
    inputs = load_inputs("digits")
    assert inputs.vectors.shape == (1797, 64)
    assert inputs.vectors.dtype == np.float64
    assert inputs.labels.shape == (1797,)
    assert (inputs.classes, inputs.name) == (10, "digits")
    assert inputs.vectors.min() == 0
    assert inputs.vectors.max() == 16
    assert np.bincount(inputs.labels).min() > 170
    assert "with replacement" in inputs.notes[0]
    assert "10 classes" in inputs.notes[1]
    assert repr(inputs) == "<Inputs digits: 1797 samples of 64 features, 10 classes>"


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert "pip install 'gpn-theory[train]'" in refused("digits")


def test_scikit_learn_is_imported_only_for_digits():
    code = "import gpn.data.inputs, sys; gpn.data.inputs.load_inputs([[1.0]]); print('sklearn' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize("dtype", ["float64", ">f8", "float32", "float16", "int8", "uint8", "int64", "bool"])
def test_npy_of_every_real_type(tmp_path, dtype):
    array = np.array([[1, 0, 1], [0, 1, 1]]).astype(dtype)
    inputs = load_inputs(saved(tmp_path / "x.npy", array))
    assert inputs.vectors.dtype == np.float64
    assert inputs.vectors.dtype.isnative
    np.testing.assert_array_equal(inputs.vectors, array.astype(float))
    assert inputs.labels is None
    assert inputs.classes == 0
    assert "no labels" in repr(inputs)


@pytest.mark.parametrize("shape", [(4, 2, 3), (4, 2, 3, 3)])
def test_images_are_flattened_row_by_row(tmp_path, shape):
    images = np.arange(1.0, np.prod(shape) + 1).reshape(shape)
    inputs = load_inputs(str(saved(tmp_path / "x.npy", np.asfortranarray(images))))
    np.testing.assert_array_equal(inputs.vectors.ravel(), images.ravel())
    assert inputs.vectors.shape == (4, np.prod(shape[1:]))
    assert "flattened" in inputs.notes[0]


def test_one_vector_is_one_sample(tmp_path):
    inputs = load_inputs(saved(tmp_path / "x.npy", np.arange(5.0)))
    assert inputs.vectors.shape == (1, 5)
    assert "one vector" in inputs.notes[0]


@pytest.mark.parametrize(("x", "y"), [("x_train", "y_train"), ("x", "y")])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_with_and_without_labels(tmp_path, x, y, save):
    vectors, labels = np.ones((3, 4), np.uint8), np.array([[0], [2], [1]])
    save(tmp_path / "both.npz", **{x: vectors, y: labels, "x_test": np.zeros((9, 9))})
    save(tmp_path / "alone.npz", **{x: vectors})
    both, alone = load_inputs(tmp_path / "both.npz"), load_inputs(tmp_path / "alone.npz")
    np.testing.assert_array_equal(both.labels, [0, 2, 1])
    assert both.classes == 3
    assert alone.labels is None
    assert both.name == str(tmp_path / "both.npz")


def test_a_npz_file_is_known_by_its_content(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.ones((2, 3)))
    os.rename(tmp_path / "data.npz", tmp_path / "data.npy")
    assert load_inputs(tmp_path / "data.npy").vectors.shape == (2, 3)


def test_given_labels_replace_those_of_the_data(tmp_path):
    path = saved(tmp_path / "y.npy", np.arange(1797) % 3)
    assert load_inputs("digits", path).classes == 3
    assert load_inputs("digits", np.arange(1797, dtype=np.uint8) % 4).classes == 4


def test_classes_that_do_not_occur_are_reported():
    inputs = load_inputs(np.ones((3, 2)), [1, 4, 4])
    assert inputs.classes == 5
    assert "5 classes" in inputs.notes[-1]


def test_the_callers_array_is_not_touched():
    array = np.array([[3.0, 4.0]])
    inputs = load_inputs(array)
    scaled, _ = to_thin_shell(array, 2)
    inputs.vectors[:] = 7
    scaled[:] = 7
    np.testing.assert_array_equal(array, [[3.0, 4.0]])


# ------------------------------------------------------------------------------------------ what is refused


def test_missing_file(tmp_path):
    assert "no file" in refused(tmp_path / "nowhere.npy")
    assert "give 'digits'" in refused("digit")


def test_a_folder_and_an_empty_path(tmp_path):
    assert "holds no data set" in refused(tmp_path)
    assert "not a file" in refused("")
    assert "null byte" in refused("a\0b")
    assert "File name too long" in refused("x" * 5000)


def test_unreadable_file(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.npy", np.ones((2, 2)))

    def forbidden(*_arguments):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", forbidden)  # a mode that forbids reading would not stop root
    assert "(Permission denied)" in refused(path)


def test_empty_and_foreign_files(tmp_path):
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.npy").write_text("1.0, 2.0\n3.0, 4.0\n")
    (tmp_path / "junk.npz").write_bytes(b"PK\x03\x04" + bytes(range(256)))
    assert "empty" in refused(tmp_path / "empty.npy")
    assert "begins with '1.0, 2'" in refused(tmp_path / "text.npy")
    assert "numpy.save" in refused(tmp_path / "text.npy")
    assert "cannot be read" in refused(tmp_path / "junk.npz")


@pytest.mark.parametrize("length", [7, 30, 130, 200, 128 + 8 * 11])
def test_truncated_npy(tmp_path, length):
    whole = saved(tmp_path / "x.npy", np.ones((3, 4))).read_bytes()
    assert len(whole) == 128 + 8 * 12
    (tmp_path / "cut.npy").write_bytes(whole[:length])
    assert "cannot be read" in refused(tmp_path / "cut.npy")


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("(1000000000000, 1000)", "more memory"),
        ("(100, 1000)", "cannot be read"),
        ("(1152921504606846976, 16)", "cannot be read"),
        ("(-3, 4)", "cannot be read"),
        ("(3, 'a')", "cannot be read"),
    ],
)
def test_a_header_that_promises_more_than_there_is(tmp_path, shape, words):
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': " + shape + ", }"
    header = header.ljust(117) + "\n"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    (tmp_path / "x.npy").write_bytes(start + np.ones(12).tobytes())
    assert words in refused(tmp_path / "x.npy")


def test_damaged_npz(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(50, 50)))
    whole = (tmp_path / "x.npz").read_bytes()
    for name, damaged in {
        "cut": whole[: len(whole) // 2],
        "flipped": whole[:500] + bytes(255 - byte for byte in whole[500:600]) + whole[600:],
    }.items():
        (tmp_path / f"{name}.npz").write_bytes(damaged)
        assert "cannot be read" in refused(tmp_path / f"{name}.npz")


def test_npz_without_the_wanted_names(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.ones((2, 2)))
    np.savez(tmp_path / "y.npz", y=np.ones(2, int))
    assert "'images'" in refused(tmp_path / "x.npz")
    assert "no inputs" in refused(tmp_path / "y.npz")
    with zipfile.ZipFile(tmp_path / "z.npz", "w") as archive:
        archive.writestr("x", "not an array")
    assert "'x'" in refused(tmp_path / "z.npz")


@pytest.mark.parametrize("kind", ["npy", "npz", "pickle"])
def test_pickled_objects_are_never_executed(tmp_path, kind):
    target, path = tmp_path / "executed", tmp_path / f"x.{kind}"
    content = np.array([[Malicious(target)]], dtype=object)
    if kind == "npy":
        np.save(path, content, allow_pickle=True)
    elif kind == "npz":
        np.savez(path, x=content)
    else:
        path.write_bytes(pickle.dumps(Malicious(target)))
    assert "cannot be read" in refused(path)
    assert not target.exists()
    refused("digits", path)
    assert not target.exists()


@pytest.mark.parametrize(
    "array",
    [np.ones((2, 2), complex), np.array([["a"]]), np.array([["2020-01-01"]], "M8[D]"), np.ones(2, "i4,f8")],
    ids=lambda array: array.dtype.kind,
)
def test_other_types_than_real_numbers(tmp_path, array):
    assert "real numbers" in refused(array)
    assert "real numbers" in refused(saved(tmp_path / "x.npy", array))


def test_objects_that_are_no_arrays():
    assert "as an array" in refused([[1.0], [1.0, 2.0]])
    assert "real numbers" in refused(None)
    assert "real numbers" in refused([[object()]])


@pytest.mark.parametrize("shape", [(), (0,), (0, 4), (4, 0), (3, 0, 2)])
def test_arrays_without_a_vector(tmp_path, shape):
    assert "vector" in refused(np.ones(shape))
    assert "vector" in refused(saved(tmp_path / "x.npy", np.ones(shape)))


def test_values_that_are_not_finite_are_counted_and_located(tmp_path):
    array = np.ones((4, 5))
    array[1, 3], array[2, 0], array[3, 4] = np.nan, np.inf, -np.inf
    message = refused(saved(tmp_path / "x.npy", array))
    assert "3 values (of 20)" in message
    assert "sample 1, feature 3" in message
    assert "20 values (of 20)" in refused(np.full((4, 5), np.nan))


@pytest.mark.skipif(np.finfo(np.longdouble).max <= np.finfo(float).max, reason="longdouble is float64 here")
def test_numbers_beyond_float64_count_as_infinite():
    assert "1 values (of 2)" in refused(np.array([[np.longdouble("1e400"), 1]]))


def test_zero_vectors_are_named():
    array = np.ones((9, 3))
    array[[0, 2, 3, 4, 5, 8]] = 0
    message = refused(array)
    assert "6 zero vectors of 9 (samples 0, 2, 3, 4, 5, ...)" in message
    assert "drop them" in message


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 1], "one for each"),
        (np.eye(3, dtype=int), "labels.argmax(axis=1)"),
        ([0.0, 1.0, 2.0], "labels.astype(int)"),
        (["a", "b", "c"], "whole numbers"),
        ([0, -1, 1], "from -1 to 1"),
        ([0, 1, 10**9], "between 0 and"),
        ([0, 0, 0], "single class"),
        (np.array([2**64 - 1, 0, 1], np.uint64), "between 0 and"),
        ([[0], [1, 2]], "array"),
        (None, None),
    ],
)
def test_labels_that_do_not_fit(labels, words):
    if labels is None:
        assert load_inputs(np.ones((3, 2)), None).labels is None
    else:
        assert words in refused(np.ones((3, 2)), labels)


def test_labels_in_a_npz_file(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.ones((2, 2)), y=[0, 1])
    assert ".npy" in refused("digits", tmp_path / "x.npz")


# ------------------------------------------------------------------------------------------ the thin shell

VECTORS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 6)),
    elements=st.floats(-1e300, 1e300, allow_subnormal=True),
).filter(lambda x: x.any(axis=1).all())


@settings(max_examples=150, deadline=None)
@given(VECTORS, st.integers(6, 10**6))
def test_scaled_vectors_lie_on_the_shell_in_the_same_direction(vectors, width):
    scaled, report = to_thin_shell(vectors, width)
    np.testing.assert_allclose((scaled**2).sum(axis=1), width, rtol=1e-14)
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    direction = vectors / largest
    alike = (scaled * direction).sum(axis=1) / np.sqrt((direction**2).sum(axis=1) * width)
    np.testing.assert_allclose(alike, 1, rtol=1e-14)
    assert 0 <= report.minimum <= report.median <= report.maximum
    again, second = to_thin_shell(scaled, width)
    np.testing.assert_allclose(again, scaled, rtol=1e-14)
    assert second.on_shell
    assert "lie on the thin shell" in second.text


def test_report_tells_where_the_inputs_lay():
    scaled, report = to_thin_shell([[3.0, 4.0], [0.0, 1.0], [2.0, 0.0]], 4)
    assert (report.minimum, report.median, report.maximum) == (0.25, 1.0, 6.25)
    assert not report.on_shell
    assert "do not lie on the thin shell" in report.text
    assert "0.25 and 6.25" in report.text
    assert scaled.shape == (3, 2)


def test_digits_fit_from_width_64_on():
    vectors = load_inputs("digits").vectors
    scaled, report = to_thin_shell(vectors, 64)
    np.testing.assert_allclose((scaled**2).sum(axis=1), 64)
    np.testing.assert_allclose(report.minimum, (vectors**2).sum(axis=1).min() / 64)


def test_more_features_than_neurons_are_projected_and_scaled():
    vectors = load_inputs("digits").vectors[:200]
    scaled, report = to_thin_shell(vectors, 16)
    assert scaled.shape == (200, 16)
    np.testing.assert_allclose((scaled**2).sum(axis=1), 16)
    assert "projected from 64 features to n random orthogonal directions" in report.text
    assert not report.on_shell
    np.testing.assert_array_equal(scaled, to_thin_shell(vectors, 16)[0])
    # A projection to 16 of 64 coordinates keeps a cosine c up to (1 - c^2)/4: Johnson and Lindenstrauss (1984).
    before, after = (x @ x.T for x in (to_thin_shell(vectors, 64)[0] / 8, scaled / 4))
    errors = (after - before)[np.triu_indices(200, 1)] / (1 - before[np.triu_indices(200, 1)] ** 2)
    assert np.sqrt(np.mean(errors**2)) < 0.35


def test_shell_refuses_what_cannot_be_scaled():
    for wrong in ([[0.0, 0.0]], [[np.nan, 1.0]], [1.0, 2.0], np.ones((0, 2))):
        with pytest.raises(UsageError):
            to_thin_shell(wrong, 4)


def test_a_path_like_and_a_text_give_the_same(tmp_path):
    path = saved(tmp_path / "x.npy", np.ones((2, 3)))
    first, second = load_inputs(path), load_inputs(str(path))
    assert isinstance(first, Inputs)
    assert isinstance(path, Path)
    assert first.name == second.name == str(path)
