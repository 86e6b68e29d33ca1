"""Packing in a uniform random order, in bounded memory."""

import warnings

import numpy as np
import pytest

import headrace as hr
from headrace.order import Permutation, stream_key
from headrace.packing import shuffling
from tests.files import gzip, images, write

N = 5000
IMAGES = images(N)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A gzip file of images and row numbers."""
    path = tmp_path_factory.mktemp("shuffle") / "in.h5"
    return hr.from_hdf5(write(path, image=gzip(IMAGES, 64), id=np.arange(N)), x="image", y="id")


def expected(data, seed):
    """The row numbers in the order of an exact shuffle."""
    return np.concatenate([y for _, y in data.batch(100, shuffle="exact", seed=seed)])


@pytest.mark.parametrize("memory", ["60kB", "100kB", "300kB", "20MB"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_the_order_is_that_of_an_exact_shuffle(data, tmp_path, memory, compression):
    """Whether everything fits in memory or goes through files, in few or many stretches."""
    chunk = "1kB" if compression else None
    packed = hr.pack(
        data,
        tmp_path / "out.h5",
        shuffle=True,
        seed=7,
        memory=memory if compression else max(memory, "3MB", key=hr.resources.parse_bytes),
        compression=compression,
        chunk=chunk,
    )
    x, y = packed[:]
    assert np.array_equal(y, expected(data, 7))
    assert np.array_equal(x, IMAGES[y])


def test_it_goes_through_files_where_it_has_to(data, tmp_path, monkeypatch):
    """The two ways make the same file; the scratch files are gone afterwards."""
    filled = []
    fill = shuffling.Scratch.fill
    monkeypatch.setattr(
        shuffling.Scratch, "fill", lambda self, advance: filled.append(fill(self, advance))
    )
    options = {"shuffle": True, "seed": 7, "compression": "gzip", "chunk": "2kB"}
    hr.pack(data, tmp_path / "a.h5", memory="50MB", **options)
    assert not filled
    hr.pack(data, tmp_path / "b.h5", memory="80kB", workers=3, **options)
    assert filled
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5"]


def test_map_functions_run_once_a_row(data, tmp_path):
    """In the first of two passes."""
    seen = []

    def note(x, y):
        seen.extend(y.tolist())
        return x, y

    hr.pack(
        data.map(note),
        tmp_path / "out.h5",
        shuffle=True,
        seed=0,
        memory="80kB",
        compression="gzip",
        chunk="2kB",
        workers=1,
    )
    counts = np.bincount(seen, minlength=N)
    # The first row is looked at for its form.
    assert counts.tolist() == [2, *[1] * (N - 1)]


def test_the_seed_decides(data, tmp_path):
    """Drawn where none is given, and noted in the file."""
    orders = set()
    for number in range(3):
        packed = hr.pack(data, tmp_path / f"{number}.h5", shuffle=True)
        orders.add(tuple(packed.only("id")[:][0].tolist()))
    assert len(orders) == 3


def test_any_run_of_rows_is_mixed(data, tmp_path):
    """Neighbours in the file were anywhere before: distances as of a uniform permutation."""
    packed = hr.pack(
        data,
        tmp_path / "out.h5",
        shuffle=True,
        seed=1,
        memory="80kB",
        compression="gzip",
        chunk=2000,
    )
    ids = packed.only("id")[:][0]
    distance = np.abs(np.diff(ids)).mean()
    # Of two independent places the mean is N/3, and its deviation N/sqrt(18 N).
    assert abs(distance - N / 3) < 5 * N / np.sqrt(18 * N)


def test_no_warning_about_mixing_and_a_bound_of_one(data, tmp_path):
    """The file says that its rows are mixed already; not for those in the order of the data."""
    options = {"compression": "gzip", "chunk": "10kB"}
    mixed = hr.pack(data, tmp_path / "a.h5", shuffle=True, seed=0, **options)
    plain = hr.pack(data, tmp_path / "b.h5", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = mixed.batch(64, shuffle=True, memory="150kB").report()
        assert report.shuffle["variance_bound"] == 1.0
        mixed.split(0.8, seed=0)[0].batch(64, shuffle=True, memory="150kB")
    with pytest.warns(UserWarning, match="headrace pack .* --shuffle"):
        plain.batch(64, shuffle=True, memory="150kB")
    with pytest.warns(UserWarning, match="shuffle=True mixes"):
        hr.concat(mixed, plain).batch(64, shuffle=True, memory="150kB")


@pytest.mark.parametrize("n", [1, 2, 3, 10, 4095, 4096, 100_003])
def test_a_permutation_can_be_undone(n):
    """Back and forth is where one was."""
    permutation = Permutation(n, stream_key(3, "rows"))
    places = np.arange(n)
    assert np.array_equal(permutation.inverse(permutation(places)), places)
    assert np.array_equal(permutation(permutation.inverse(places)), places)
