"""Data sets: NumPy's answers, splits without overlap, map, take and concat."""

import pickle

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr
from headrace.errors import DataError, OptionError

N = 203


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A gzip file of 203 rows, as arrays and as a data set of (image, label)."""
    path = tmp_path_factory.mktemp("data") / "images.h5"
    image = np.random.default_rng(0).integers(0, 256, (N, 4, 5), np.uint8)
    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=image, chunks=(16, 4, 5), compression="gzip")
        file["label"] = np.arange(N)
        file["weight"] = np.linspace(0, 1, N, dtype=np.float32)
        file["nested/age"] = np.arange(N, dtype=np.float64) * 2
    return path, image


@pytest.fixture(scope="module")
def data(images):
    return hr.from_hdf5(images[0], x="image", y="label")


rows = st.integers(-N, N - 1)


@given(index=st.one_of(rows, rows.map(np.int64)))
def test_an_integer_gives_numpys_sample(data, images, index):
    """Negative ones count from the end."""
    x, y = data[index]
    assert np.array_equal(x, images[1][index])
    assert y == np.arange(N)[index]


@given(index=st.slices(N))
def test_a_slice_gives_numpys_rows(data, images, index):
    """Any start, stop and step."""
    x, y = data[index]
    assert np.array_equal(x, images[1][index])
    assert x.dtype == np.uint8
    assert np.array_equal(y, np.arange(N)[index])


@given(index=st.lists(rows, max_size=60))
def test_a_list_gives_numpys_rows(data, images, index):
    """In any order, with duplicates and negative numbers; as list and as array."""
    for form in (index, np.array(index, np.int64)):
        x, y = data[form]
        assert np.array_equal(x, images[1][np.array(index, int)])
        assert np.array_equal(y, np.arange(N)[np.array(index, int)])


def test_a_mask_gives_the_rows_it_marks(data, images):
    """A boolean array of the data's length."""
    mask = np.arange(N) % 7 == 3
    assert np.array_equal(data[mask][0], images[1][mask])


@pytest.mark.parametrize(
    "index", [N, -N - 1, [0, N], np.array([[1, 2]]), (1, 2), 1.5, "1", [True, False], None, [0.5]]
)
def test_what_is_no_row_is_an_index_error(data, index):
    """NumPy raises IndexError too."""
    with pytest.raises(IndexError):
        data[index]


def test_a_loop_over_samples_ends(data):
    """Python's sequence protocol: for (x, y) in data."""
    assert [int(y) for _, y in data.take(5)] == [0, 1, 2, 3, 4]


def test_structures_reach_the_user_as_they_were_said(images):
    """Lists as tuples, dicts as dicts, weights third."""
    path, image = images
    data = hr.from_hdf5(
        path, x={"photo": "image", "age": "nested/age"}, y=["label"], sample_weight="weight"
    )
    x, y, weight = data[3:5]
    assert set(x) == {"photo", "age"}
    assert np.array_equal(x["photo"], image[3:5])
    assert np.array_equal(x["age"], [6.0, 8.0])
    assert isinstance(y, tuple)
    assert np.array_equal(y[0], [3, 4])
    assert weight.dtype == np.float32


def test_without_y_a_sample_is_a_tuple_of_x(images):
    """(x,), as Keras takes it."""
    data = hr.from_hdf5(images[0], x="image")
    assert isinstance(data[0], tuple)
    assert len(data[0]) == len(data[:3]) == 1


def test_spec_names_fields_and_their_places(data):
    """A mapping from name to shape and dtype."""
    assert list(data.spec) == ["image", "label"]
    assert data.spec["image"].shape == (4, 5)
    assert data.spec["image"].dtype == np.uint8
    assert (data.spec.x, data.spec.y, data.spec.sample_weight) == ("image", "label", None)
    assert data.spec.nbytes == 28
    assert str(data.spec) == "x: image (4, 5) uint8\ny: label () int64"


@pytest.mark.parametrize("start, end", [(0, None), (10, 50), (202, 203), (0, 1)])
def test_start_and_end_limit_the_rows(images, start, end):
    """As a slice would."""
    path, image = images
    data = hr.from_hdf5(path, x="image", start=start, end=end)
    assert np.array_equal(data[:][0], image[start:end])


sizes = st.one_of(
    st.floats(0.01, 0.99).map(lambda share: (share,)),
    st.lists(st.floats(0.01, 0.3), min_size=2, max_size=3).map(tuple),
    st.lists(st.integers(0, 60), min_size=1, max_size=3).map(tuple),
)


@given(n=st.integers(1, N), sizes=sizes, seed=st.one_of(st.none(), st.integers(0, 5)))
def test_split_is_disjoint_and_complete(data, n, sizes, seed):
    """For every n, also tiny ones; rows keep their order within a part."""
    if all(isinstance(size, int) for size in sizes) and sum(sizes) > n:
        sizes = (0,)
    parts = [part[:][1] for part in data.take(n).split(*sizes, seed=seed)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert all(np.all(np.diff(part) > 0) for part in parts)
    if seed is None:
        assert np.concatenate(parts).tolist() == list(range(n))


@given(n=st.integers(2, N), share=st.floats(0.001, 0.999), seed=st.integers(0, 3))
def test_a_split_leaves_no_part_empty_where_there_are_rows(data, n, share, seed):
    """Half a row is a row."""
    train, val = data.take(n).split(share, seed=seed)
    assert min(len(train), len(val)) >= 1
    assert abs(len(train) - share * n) <= 1


def test_split_is_the_same_for_the_same_seed(data):
    """And another for another."""
    one, same, other = (data.split(0.5, seed=s)[0][:][1].tolist() for s in (1, 1, 2))
    assert one == same != other


def test_random_split_is_spread_over_the_file(data):
    """Not a run of rows: on average neighbours land on either side."""
    train, _ = data.split(0.5, seed=0)
    labels = train[:][1]
    assert 35 < np.sum(labels < N // 2) < 67
    assert np.mean(np.diff(labels) == 1) < 0.7


@pytest.mark.parametrize(
    "sizes, seed",
    [
        *((bad, None) for bad in ((), (1.5,), (0.8, 0.4), (300,), (-1,))),
        *((bad, 0) for bad in ((0.5, 10), (True,), ("0.5",))),
        ((0.5,), -1),
        ((0.5,), "a"),
    ],
)
def test_split_refuses_what_it_cannot_honour(data, sizes, seed):
    """Shares above 1, too many rows, both at once, and seeds that are none."""
    with pytest.raises(OptionError):
        data.split(*sizes, seed=seed)


def test_tiny_shares_get_a_row_as_well(data):
    """Where there are enough."""
    assert [len(part) for part in data.take(10).split(0.5, 0.001)] == [5, 1, 4]


def test_split_takes_several_shares_and_counts(data):
    """What is left over makes one more part."""
    assert [len(p) for p in data.split(0.5, 0.25, 0.25)] == [102, 50, 51]
    assert [len(p) for p in data.split([100, 3])] == [100, 3, 100]
    assert [len(p) for p in data.split(200, 3)] == [200, 3]


def test_splits_of_splits_and_concats_read_the_right_rows(data, images):
    """Selections compose, also across data sets."""
    train, _ = data.split(0.7, seed=0)
    a, b = train.split(0.5, seed=1)
    both = hr.concat(b, a.take(7), data)
    labels = np.concatenate([b[:][1], a[:7][1], np.arange(N)])
    assert len(both) == len(labels)
    x, y = both[::-3]
    assert np.array_equal(y, labels[::-3])
    assert np.array_equal(x, images[1][labels[::-3]])
    c, d = both.split(0.3, seed=5)
    assert sorted([*c[:][1], *d[:][1]]) == sorted(labels)


def test_concat_refuses_different_fields(data, images):
    """Names, shapes and dtypes must agree."""
    with pytest.raises(OptionError, match="equal fields"):
        hr.concat(data, hr.from_hdf5(images[0], x="image"))
    with pytest.raises(OptionError, match="map"):
        hr.concat(data, data.map(lambda x, y: (x, y)))


def test_map_changes_batches_and_samples(data, images):
    """Functions run one after the other, and spec shows what comes out."""
    mapped = data.map(lambda x, y: (x.astype("float32") / 255, y)).map(
        lambda x, y: ({"a": x, "b": x.mean(axis=(1, 2))}, y % 2)
    )
    x, y = mapped[4]
    assert np.allclose(x["a"], images[1][4] / 255)
    assert y == 0
    assert mapped.spec["x.a"].dtype == np.float32
    assert mapped.spec["x.b"].shape == ()
    assert mapped.spec.x == {"a": "x.a", "b": "x.b"}
    assert len(mapped) == N


@pytest.mark.parametrize(
    "fn, message",
    [
        (lambda x, y: (x[:1], y), "keep the 5 rows"),
        (lambda x, y: (x, y.sum()), "keep the 5 rows"),
        (lambda x, y: (x, y, y, y), "a tuple of 4"),
        (lambda x, y: None, "returned None. Is a return missing"),
    ],
)
def test_map_functions_that_lose_rows_are_refused(data, fn, message):
    """Instead of training on pairs that do not belong together."""
    with pytest.raises(DataError, match=message):
        data.map(fn)[:5]


def test_a_map_function_may_take_the_batch_as_one_argument(data):
    """Or its parts; a function that can take neither is refused by name."""
    whole = data.map(lambda batch: (batch[0], batch[1] + 1))
    assert whole[:3][1].tolist() == [1, 2, 3]
    alone = data.map(lambda x, y: x).map(lambda x: x[:, 0])
    assert alone[:3][0].shape == (3, 5)
    with pytest.raises(OptionError, match=r"2 parts of a batch.*three\(a, b, c\)"):
        data.map(three)[:3]


def three(a, b, c):
    return a, b, c


def test_take_gives_the_first_rows(data):
    """All, if there are fewer; none for 0."""
    assert data.take(3)[:][1].tolist() == [0, 1, 2]
    assert len(data.take(10**6)) == N
    assert len(data.take(0)) == 0
    with pytest.raises(OptionError):
        data.take(-1)


def test_only_gives_other_fields_of_the_same_rows(data):
    """To count labels without reading images."""
    train, _ = data.split(0.5, seed=3)
    assert np.array_equal(train.only("label")[:][0], train[:][1])
    with pytest.raises(OptionError, match="no field 'nope'"):
        data.only("nope")


def test_only_reads_only_those_fields(data, images, tmp_path):
    """In batches too, and after data sets of labels alone were joined."""
    labels = data.only("label")
    loader = labels.batch(50)
    assert np.concatenate([x for (x,) in loader]).tolist() == list(range(N))
    assert loader.report().bytes_read <= N * 8
    assert list(loader.report().paths) == ["label"]
    both = hr.concat(labels, hr.from_hdf5(images[0], x="label"))
    assert sum(len(x) for (x,) in both.batch(50)) == 2 * N
    with pytest.raises(OptionError, match="at least one"):
        data.only()


def test_empty_parts_join_without_trace(data):
    """What a split left empty adds nothing."""
    nothing = data.split(0.5, seed=0)[0].take(0).take(0)
    assert hr.concat(nothing, data)[:][1].tolist() == list(range(N))
    assert sum(len(y) for _, y in hr.concat(nothing, data, nothing).batch(50)) == N
    assert len(hr.concat(nothing, nothing)) == 0


def test_a_data_set_survives_pickling(data):
    """As a path and an index, not as an open file."""
    train, _ = data.split(0.5, seed=3)
    again = pickle.loads(pickle.dumps(train))
    assert np.array_equal(again[::5][0], train[::5][0])
    assert len(pickle.dumps(data)) < 5000


def test_x_may_be_left_out_where_there_is_no_choice(images, tmp_path):
    """Else the error lists the choices."""
    with pytest.raises(KeyError, match="image, nested/age, weight"):
        hr.from_hdf5(images[0], y="label")
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"], file["b"] = np.zeros(4), np.ones(4)
    assert hr.from_hdf5(tmp_path / "two.h5", y="b").spec.x == "a"
    assert hr.open(tmp_path / "two.h5", y="b").spec.x == "a"
