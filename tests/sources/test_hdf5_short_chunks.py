"""Last chunks that are stored short: with the rows that exist, and no padding behind them."""

import re

import h5py
import numpy as np
import pytest

import headrace as hr
from headrace.errors import ReadError
from headrace.sources.hdf5 import HDF5Source
from tests.files import FILTERS, create, encoded
from tests.sources.storage import by_h5py, read

ROWS, HEIGHT = 100, 32
LEFT = ROWS % HEIGHT
VALUES = np.random.default_rng(0).integers(0, 50, (ROWS, 2, 32)).astype("i4")
TABLE = np.zeros(ROWS, np.dtype([("base", "S1"), ("scale", "<f4")], align=True))
TABLE["scale"] = np.arange(ROWS)


def store_short(path, values, filters, stored=LEFT, shape=None, first=0):
    """Writes rows as "x", the last chunk with `stored` rows, and none before row `first`."""
    chunk = (HEIGHT, *values.shape[1:])
    with h5py.File(path, "w") as file:
        create(file, "x", values[:0], chunks=chunk, filters=filters, maxshape=(None,) * values.ndim)
        file["x"].resize(shape or values.shape)
        for start in range(first, len(values), HEIGHT):
            rows = values[start : start + HEIGHT]
            if len(rows) < HEIGHT:
                pad = np.zeros((HEIGHT, *values.shape[1:]), values.dtype)
                pad[: len(rows)] = rows
                rows = pad[:stored]
            raw, mask = encoded(rows, filters)
            file["x"].id.write_direct_chunk((start, *(0 for _ in chunk[1:])), raw, filter_mask=mask)
    return path


@pytest.mark.parametrize("name", [name for name in FILTERS if "blosc2" not in name])
@pytest.mark.parametrize("before", [(), ("shuffle",)], ids=["", "shuffle +"])
@pytest.mark.parametrize("first", [0, 96])
def test_rows_of_a_short_last_chunk_are_read(path, name, before, first):
    """As h5py reads them, in threads, behind each filter; also where it is the only chunk."""
    filters = [FILTERS[one] for one in dict.fromkeys((*before, name))]
    store_short(path, VALUES, filters, first=first)
    source = HDF5Source(path, ["x"])
    assert source.read_paths()["x"].path == "direct chunks"
    rows = np.arange(first, ROWS)
    assert (read(source, rows) == VALUES[rows]).all()
    assert (by_h5py(path)[rows] == VALUES[rows]).all()
    assert (read(source, [97, 99]) == VALUES[[97, 99]]).all()


@pytest.mark.parametrize("name", [name for name in FILTERS if "blosc2" in name])
def test_what_the_plugin_of_libhdf5_refuses_is_read_beside_whole_chunks(path, name):
    """There is nothing to compare it with; its frame tells how long it is."""
    store_short(path, VALUES, [FILTERS[name]])
    assert (read(HDF5Source(path, ["x"])) == VALUES).all()


def test_an_epoch_over_a_short_last_chunk_has_all_rows(path):
    store_short(path, VALUES, [FILTERS["gzip"]])
    got = [x for (x,) in hr.from_hdf5(path, x="x").batch(7, memory="60kB")]
    assert (np.concatenate(got) == VALUES).all()


@pytest.mark.parametrize("name", ["x", "x['scale']", "x['base']"])
def test_members_of_compound_values_are_read(path, name):
    store_short(path, TABLE, [FILTERS["gzip"]])
    expected = TABLE if name == "x" else TABLE[name[3:-2]]
    got = read(HDF5Source(path, [name]))
    for part in expected.dtype.names or [...]:
        assert (got[part] == expected[part]).all()


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("stored", [1, LEFT - 1, LEFT + 1, HEIGHT - 1])
def test_a_chunk_of_any_other_length_is_damaged(path, name, stored):
    """libhdf5 would make up the rest from what is in memory."""
    store_short(path, VALUES, [FILTERS[name]], stored=stored)
    source = HDF5Source(path, ["x"])
    assert (read(source, np.arange(96)) == VALUES[:96]).all()
    where = re.escape(f"Rows 96 to 99 of 'x' in '{path}'") + ".*damaged"
    with pytest.raises(ReadError, match=where):
        read(source)


def test_a_chunk_before_the_last_one_is_not_short(path):
    """Nor is one that was the last before rows were added."""
    store_short(path, VALUES, [FILTERS["gzip"]], shape=(4 * HEIGHT, 2, 32))
    source = HDF5Source(path, ["x"])
    with pytest.raises(ReadError, match="Rows 96 to 127"):
        read(source)


def test_a_chunk_that_is_cut_on_other_axes_too(path):
    """It is as wide as any chunk, and ends with the last row."""
    values = np.arange(ROWS * 8, dtype="i4").reshape(ROWS, 8)
    store_short(path, values, [FILTERS["gzip"]], shape=(ROWS, 7))
    assert (read(HDF5Source(path, ["x"])) == values[:, :7]).all()
    assert (by_h5py(path) == values[:, :7]).all()
