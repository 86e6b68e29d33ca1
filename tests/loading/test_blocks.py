"""Blocks that do not line up, and rows that are read in runs."""

import h5py
import numpy as np
import pytest

import headrace as hr
from headrace.errors import MemoryBudgetError
from headrace.loading import budget
from tests.loading.helpers import STORAGE, dataset, ids_of

pytestmark = pytest.mark.filterwarnings("ignore:shuffle=True mixes:UserWarning")


def chunked(path, **heights):
    """20,000 rows of 300 bytes a field, each field in gzip chunks of its own height."""
    with h5py.File(path, "w") as file:
        for name, height in heights.items():
            rows = np.arange(20_000, dtype=np.uint32)[:, None].repeat(75, axis=1)
            file.create_dataset(name, data=rows, chunks=(height, 75), compression="gzip")
    return path


def run_epoch(loader):
    """One epoch; every field of every row says the same row number."""
    seen = []
    for x, y in loader:
        assert (x == x[:, :1]).all()
        assert (y == x).all()
        seen += x[:, 0].tolist()
    assert sorted(seen) == list(range(20_000))


def test_aligned_fields_decode_nothing_twice(tmp_path):
    path = chunked(tmp_path / "aligned.h5", x=16, y=16)
    loader = hr.from_hdf5(path, x="x", y="y").batch(32, shuffle=True, seed=0, memory="3MB")
    run_epoch(loader)
    assert loader.report().repeated == 0
    assert "repeated" not in str(loader.report())


def test_repeats_are_counted(tmp_path):
    """What is fetched in an epoch beyond the file is what the report says was repeated."""
    path = chunked(tmp_path / "crooked.h5", x=16, y=25)
    loader = hr.from_hdf5(path, x="x", y="y").batch(32, shuffle=True, seed=0, memory="3MB")
    run_epoch(loader)
    report = loader.report()
    with h5py.File(path) as file:
        stored = {n: file[n].id.get_storage_size() / file[n].id.get_num_chunks() for n in "xy"}
        total = sum(file[n].id.get_storage_size() for n in "xy")
    assert report.repeated > 0
    assert report.bytes_read == pytest.approx(total + report.repeated * stored["y"], rel=0.05)
    assert f"{report.repeated:,} blocks" in str(report)


@pytest.mark.parametrize("heights", [{"x": 16, "y": 25}, {"x": 64, "y": 50}])
def test_blocks_are_read_together_where_that_saves_decoding(tmp_path, monkeypatch, heights):
    """With enough memory to mix well, little is decoded twice; and less than block by block."""
    path = chunked(tmp_path / "crooked.h5", **heights)
    data = hr.from_hdf5(path, x="x", y="y")

    def repeated(batch_size):
        loader = data.batch(batch_size, shuffle=True, seed=0, memory="9MB")
        run_epoch(loader)
        return loader

    blocks_per_read = repeated(4)
    assert blocks_per_read.state_dict()["blocks_per_read"] > 1
    decoded = blocks_per_read.report().repeated * heights["y"] / 20_000 / 2
    assert decoded <= budget.REPEATED * 1.2
    monkeypatch.setattr(budget, "MOST_TOGETHER", 1)
    assert repeated(4).report().repeated > blocks_per_read.report().repeated


def test_the_blocks_read_together_are_part_of_the_position(tmp_path):
    """Another budget, which would read others together, goes on with those of the saved epoch."""
    path = chunked(tmp_path / "crooked.h5", x=16, y=25)
    data = hr.from_hdf5(path, x="x", y="y")
    loader = data.batch(8, shuffle=True, seed=3, memory="9MB")
    whole = [x[:, 0].tolist() for x, _ in data.batch(8, shuffle=True, seed=3, memory="9MB")]
    iterator = iter(loader)
    for _ in range(100):
        next(iterator)
    other = data.batch(8, shuffle=True, seed=3, memory="6MB")
    other.load_state_dict(loader.state_dict())
    assert [x[:, 0].tolist() for x, _ in other] == whole[100:]


@pytest.fixture
def little_ram(monkeypatch):
    """A machine whose page cache holds less than the data."""
    monkeypatch.setattr(budget, "machine_memory", lambda: 1_000_000)


@pytest.mark.parametrize("storage", ["contiguous", "raw chunks"])
def test_runs_of_rows_are_read_where_the_page_cache_is_too_small(make_images, storage, little_ram):
    """Every row once, in windows of many runs; the report says how well they mix."""
    images = make_images(120_000, **STORAGE[storage])
    loader = dataset(images).batch(2, shuffle=True, seed=0, memory="5MB")
    ids = np.concatenate(ids_of(loader))
    assert sorted(ids.tolist()) == list(range(120_000))
    shuffle = loader.report().shuffle
    assert shuffle["mode"] == "windows"
    assert shuffle["blocks_per_window"] >= 4 * 2
    assert loader.report().peak_bytes <= 5_000_000
    assert loader.report().repeated == 0


@pytest.mark.parametrize(
    "options, why",
    [
        ({"shuffle": "exact"}, "asked for"),
        ({"shuffle": True, "batch_size": 512}, "a window would mix too few runs"),
    ],
)
def test_single_rows_are_read_all_the_same(make_images, little_ram, options, why):
    """Where the caller, or the quality of the order, asks for it."""
    data = dataset(make_images(120_000, contiguous=True))
    loader = data.batch(**{"batch_size": 4, "seed": 0, "memory": "5MB", **options})
    assert loader.report().shuffle["mode"] == "exact", why


def test_single_rows_are_read_where_the_page_cache_is_large(make_images):
    data = dataset(make_images(120_000, contiguous=True))
    loader = data.batch(4, shuffle=True, seed=0, memory="5MB")
    assert loader.report().shuffle["mode"] == "exact"


def test_a_position_moves_between_machines(make_images, monkeypatch):
    """The epoch under way goes on as it began, in runs or row by row."""
    data = dataset(make_images(120_000, contiguous=True))

    def loader_with(ram):
        monkeypatch.setattr(budget, "machine_memory", lambda: ram)
        return data.batch(4, shuffle=True, seed=0, memory="5MB")

    for here, there in ((1_000_000, 10**12), (10**12, 1_000_000)):
        whole = ids_of(loader_with(here))
        loader = loader_with(here)
        iterator = iter(loader)
        for _ in range(1000):
            next(iterator)
        other = loader_with(there)
        other.load_state_dict(loader.state_dict())
        rest = ids_of(other)
        assert np.array_equal(np.concatenate(rest), np.concatenate(whole[1000:]))


def test_windows_of_another_budget_that_do_not_fit_are_refused(make_images, little_ram):
    data = dataset(make_images(120_000, contiguous=True))
    loader = data.batch(4, shuffle=True, seed=0, memory="7MB")
    next(iter(loader))
    with pytest.raises(MemoryBudgetError, match="windows of"):
        data.batch(4, shuffle=True, seed=0, memory="2MB").load_state_dict(loader.state_dict())
