"""HDF5Matrix by itself: what the old class had, and what it lacked."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr
from headrace import matrix as matrices
from headrace.errors import DataError, FieldNotFoundError, MissingFileError, OptionError
from tests.bad_input.refusal import refused
from tests.files import gzip, images, write

IMAGES = images(60)


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "cats.h5", image=gzip(IMAGES), label=np.arange(60) * 2)


@pytest.fixture(scope="module")
def label(tmp_path_factory):
    """Rows 10 to 49 of labels that are twice the row number."""
    path = write(tmp_path_factory.mktemp("matrix") / "cats.h5", label=np.arange(60) * 2)
    return hr.HDF5Matrix(path, "label", 10, 50)


def test_it_looks_like_an_array(path):
    matrix = hr.HDF5Matrix(path, "image", start=10, end=50)
    part = IMAGES[10:50]
    assert len(matrix) == 40
    for name in ("shape", "dtype", "ndim", "size", "nbytes"):
        assert getattr(matrix, name) == getattr(part, name), name
    assert (matrix.start, matrix.end) == (10, 50)
    assert hr.HDF5Matrix(path, "image").shape == IMAGES.shape


@pytest.mark.parametrize(
    "index",
    [
        *(0, 39, -1, np.int64(-40), slice(None), slice(3, -3, 7), slice(None, None, -2)),
        *(slice(30, 100), slice(50, 60), [3, 1, 1, -1], np.array([39, 0]), []),
        *(np.arange(40) % 3 == 0, np.array([True] * 40)),
    ],
    ids=repr,
)
def test_indices_read_what_numpy_reads(path, index):
    matrix = hr.HDF5Matrix(path, "image", start=10, end=50)
    expected = IMAGES[10:50][index]
    assert matrix[index].dtype == expected.dtype
    assert np.array_equal(matrix[index], expected)


@given(st.lists(st.integers(-40, 39)))
def test_any_rows_come_in_the_order_asked_for(label, rows):
    expected = (np.arange(10, 50) * 2)[np.array(rows, int)].tolist()
    for index in (rows, np.array(rows, int), range(len(rows)), iter(rows)):
        want = expected if not isinstance(index, range) else label[list(index)].tolist()
        assert label[index].tolist() == want


@pytest.mark.parametrize("index", [40, -41, [0, 40], "a", 1.5, None, np.zeros(39, bool), [0.5]])
def test_rows_outside_are_no_rows(label, index):
    with pytest.raises(IndexError):
        label[index]


def test_the_normalizer_is_applied_to_what_is_read(path):
    matrix = hr.HDF5Matrix(path, "image", 10, 50, normalizer=lambda x: x.mean(-1) / 255)
    assert matrix.shape == (40, 4, 4)
    assert matrix.dtype == np.float64
    assert matrix.nbytes == 40 * 16 * 8
    assert np.allclose(matrix[[5, 3]], IMAGES[[15, 13]].mean(-1) / 255)
    assert matrix[5].shape == (4, 4)


def test_it_runs_row_by_row(label):
    assert [int(value) for value in label] == (np.arange(10, 50) * 2).tolist()


def test_it_is_never_made_an_array_by_itself(label):
    for convert in (np.asarray, np.array, np.sum):
        with pytest.raises(TypeError, match=r"matrix\[:\]"):
            convert(label)


def test_matrices_of_one_dataset_share_its_index(path, tmp_path):
    train = hr.HDF5Matrix(path, "image", end=40)
    test = hr.HDF5Matrix(str(path), "image", start=40)
    assert train._source is test._source
    # A file of that name that was written since then is another one.
    write(tmp_path / "new.h5", image=IMAGES[::-1])
    (tmp_path / "new.h5").replace(path)
    assert (hr.HDF5Matrix(path, "image")[:] == IMAGES[::-1]).all()


def test_nothing_is_kept_of_matrices_that_are_gone(path):
    before = len(matrices._sources._opened)
    hr.HDF5Matrix(path, "image")
    assert len(matrices._sources._opened) == before


def test_it_can_be_closed(path):
    with hr.HDF5Matrix(path, "image") as matrix:
        assert (matrix[:3] == IMAGES[:3]).all()
    matrix.close()
    for use in (lambda: matrix[0], lambda: matrices.dataset_of(matrix, None, None)):
        with pytest.raises(ValueError, match="was closed"):
            use()
    assert matrix.shape == IMAGES.shape


def halved(values):
    return values / 2


def read(matrix):
    return matrix[[3, 1]]


def test_it_goes_to_other_processes(path):
    matrix = hr.HDF5Matrix(path, "label", 10, 50, halved)
    matrix[0]
    copy = pickle.loads(pickle.dumps(matrix))
    assert copy[[3, 1]].tolist() == [13, 11]
    with get_context("spawn").Pool(1) as pool:
        assert pool.apply(read, (matrix,)).tolist() == [13, 11]


def test_many_threads_read_at_once(path):
    matrix = hr.HDF5Matrix(path, "image")

    def check(seed):
        rows = np.random.default_rng(seed).integers(0, 60, 20)
        return (matrix[rows] == IMAGES[rows]).all()

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(check, range(100)))


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        (("none.h5", "image"), MissingFileError, "no file"),
        (("cats.h5", "photo"), FieldNotFoundError, "image"),
        (("cats.h5", "image", 50, 40), OptionError, "start < end"),
        (("cats.h5", "image", 0, 61), OptionError, "end <= 60"),
        (("cats.h5", "image", -5), OptionError, "start < end"),
        (("cats.h5", ["image"]), OptionError, "name of a dataset"),
        (("cats.h5", "image", 0, None, 255), OptionError, "normalizer"),
    ],
)
def test_what_cannot_be_meant_is_refused(path, arguments, error, words):
    name, *others = arguments
    with refused(error, words):
        hr.HDF5Matrix(path.parent / name, *others)


def test_an_open_file_is_refused_with_advice(path):
    with h5py.File(path) as file, refused(OptionError, "Pass its path"):
        hr.HDF5Matrix(file, "image")


def test_an_error_names_the_matrix(path):
    text = repr(hr.HDF5Matrix(path, "image", 10, 50))
    assert text == "<HDF5Matrix 'image', rows 10 to 49>"


def test_everything_is_read_by_the_idioms_of_h5py(path):
    matrix = hr.HDF5Matrix(path, "label", end=7)
    for all_of_it in (..., ()):
        assert (matrix[all_of_it] == matrix[:]).all()


@pytest.mark.parametrize("index", [(0, 1), (slice(0, 2), 0), (1,), {1, 2}, {1: 2}, "label", None])
def test_what_is_no_index_of_rows_is_refused(path, index):
    """NumPy means columns by the second of two, or nothing."""
    with pytest.raises(IndexError, match="Expected rows as an index"):
        hr.HDF5Matrix(path, "image")[index]


def test_it_is_never_compared_element_by_element(path):
    label, other = hr.HDF5Matrix(path, "label"), hr.HDF5Matrix(path, "label")
    assert label == label
    for value in (1, 1.5, np.int64(1), np.ones(3), other):
        with pytest.raises(TypeError, match="Compare rows that were read"):
            bool(label == value)
    assert label != "label"
    assert len({label, other}) == 2


@pytest.mark.parametrize(
    "normalizer,words",
    [
        (lambda values: None, "return an array. Received: a NoneType"),
        (lambda values: (values, values), "return an array. Received: a tuple"),
        (lambda values: values[:-1], "keep the 5 rows"),
        (lambda values: 3, "of shape ()"),
    ],
)
def test_normalizers_that_give_no_rows_are_errors(path, normalizer, words):
    matrix = hr.HDF5Matrix(path, "image", normalizer=normalizer)
    with refused(DataError, words):
        matrix[:5]
