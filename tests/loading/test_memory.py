"""The byte budget: what is allocated, what is counted, and what is said of it."""

import gc
import tracemalloc
import warnings

import h5py
import numpy as np
import pytest

import headrace as hr
from headrace.errors import MemoryBudgetError
from headrace.loading import cache
from tests.files import write
from tests.loading.helpers import STORAGE, dataset, ids_of

pytestmark = pytest.mark.filterwarnings("ignore:shuffle=True mixes:UserWarning")


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("memory", [300_000, 1_000_000])
def test_real_allocations_stay_within_the_budget(make_images, storage, memory):
    """What NumPy allocates for samples, as tracemalloc sees it, plus what was counted."""
    data = dataset(make_images(20_000, **STORAGE[storage]))
    loader = data.batch(64, shuffle=True, seed=0, memory=memory)
    next(iter(loader))  # imports and indexes are no samples
    gc.collect()
    domain = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    tracemalloc.start()
    try:
        for _ in loader:
            arrays = tracemalloc.take_snapshot().filter_traces([domain]).statistics("filename")
            assert sum(s.size for s in arrays) <= memory * 1.05
            break
        peak = 0
        for i, _ in enumerate(loader):
            if i % 50 == 0:
                traces = tracemalloc.take_snapshot().filter_traces([domain])
                peak = max(peak, sum(s.size for s in traces.statistics("filename")))
    finally:
        tracemalloc.stop()
    assert 0 < peak <= memory
    assert 0 < loader.report().peak_bytes <= memory


def test_too_little_memory_says_the_least_that_works(make_images):
    """One byte less fails, that much works."""
    data = dataset(make_images(20_000))
    with pytest.raises(MemoryBudgetError) as caught:
        data.batch(32, shuffle=True, memory="5kB")
    least = int(str(caught.value).rsplit("memory=", 1)[1].rstrip("."))
    with pytest.raises(MemoryBudgetError):
        data.batch(32, shuffle=True, memory=least - 1)
    loader = data.batch(32, shuffle=True, memory=least)
    assert len(np.concatenate(ids_of(loader))) == 20_000
    assert loader.report().peak_bytes <= least


def test_data_that_fits_is_decoded_once(make_images):
    """Three epochs read the file once, and the shuffle is exact."""
    images = make_images(1000)
    loader = dataset(images).batch(32, shuffle=True, seed=0, memory="10MB")
    for _ in range(3):
        list(loader)
    report = loader.report()
    assert report.shuffle["mode"] == "exact"
    assert report.cached == ("image", "label", "id")
    assert report.bytes_read <= images.path.stat().st_size


def test_a_batch_larger_than_the_data_is_one_batch(make_images):
    """It takes the memory of the rows that are there."""
    loader = dataset(make_images(100)).batch(10**9, shuffle=True, memory="50kB")
    assert len(loader) == 1
    assert len(ids_of(loader)[0]) == 100
    with pytest.raises(MemoryBudgetError):
        dataset(make_images(300, "b.h5")).batch(300, memory="30kB")


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("shuffle", [True, "batch", "exact"])
@pytest.mark.filterwarnings("ignore:shuffle='exact':UserWarning")
def test_many_threads_stay_within_the_budget(make_images, storage, shuffle, workers):
    """Every order on every read path, also evaluated in row order, also over two sources."""
    images = make_images(2000, **STORAGE[storage])
    for data in (dataset(images), hr.concat(dataset(images), dataset(images).take(500))):
        loader = data.batch(64, shuffle=shuffle, seed=0, memory=60_000, workers=workers)
        list(loader)
        list(loader.stream(in_row_order=True))
        assert loader.report().peak_bytes <= 60_000


def test_looking_at_batches_holds_no_memory(make_images):
    """`loader[i]` gives its window back, and two iterators leave no more than one does."""
    loader = dataset(make_images(5000)).batch(8, shuffle=True, seed=0, memory=200_000)
    for i in range(5):
        assert len(loader[i][0]) == 8
    assert loader._ledger.held <= 200_000
    list(zip(loader, loader, strict=True))
    assert loader._ledger.held <= 200_000


def test_weak_mixing_is_said_once_with_the_remedy(make_images):
    """Few blocks for a large batch: a warning at the user's line; none where all is well."""
    data = dataset(make_images(5000))
    with pytest.warns(UserWarning, match="3[56] blocks .* for batches of 64.*memory=") as caught:
        data.batch(64, shuffle=True, memory=150_000, seed=0)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.batch(64, shuffle=True, memory="10MB")
        data.batch(64, shuffle=False, memory=150_000)


def test_exact_shuffle_of_blocks_warns_of_its_price(make_images):
    """It is honoured all the same."""
    data = dataset(make_images(5000))
    with pytest.warns(UserWarning, match="decodes a whole block"):
        loader = data.batch(64, shuffle="exact", memory=150_000, seed=0)
    assert sorted(np.concatenate(ids_of(loader)).tolist()) == list(range(5000))
    assert loader.report().shuffle["mode"] == "exact"


def test_memory_does_not_add_up(make_images):
    """Window memory is used again: epochs and abandoned iterators hold no more than one epoch."""
    loader = dataset(make_images(5000)).batch(8, shuffle=True, memory=200_000)
    list(loader)
    held = loader._ledger.held
    for _ in range(3):
        next(iter(loader))
        list(loader)
    # Windows of another epoch may be a few rows larger.
    assert loader._ledger.held <= held * 1.05
    assert loader.report().peak_bytes <= 200_000


def test_idle_threads_hold_nothing(tmp_path):
    """Rows of one byte: what is worked out about them is larger than they are."""
    rows = 3_000_000
    path = write(
        tmp_path / "x.h5",
        x={"data": np.zeros(rows, "u1"), "chunks": (16_384,), "compression": "gzip"},
    )
    budget = 2_400_000
    loader = hr.from_hdf5(path, x="x").batch(1024, shuffle=True, memory=budget, workers=8)
    stream = iter(loader)
    next(stream)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in stream:
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 1.5 * budget


@pytest.mark.parametrize("memory", [4_000_000, 12_000_000])
def test_numbers_of_rows_do_not_outgrow_the_budget(tmp_path, memory):
    """Rows of one byte, in windows and all in memory: a number of one takes eight."""
    rows = 5_000_000
    path = write(
        tmp_path / "x.h5",
        x={"data": np.zeros(rows, "u1"), "chunks": (16_384,), "compression": "gzip"},
    )
    loader = hr.from_hdf5(path, x="x").batch(1024, shuffle=True, memory=memory, workers=4)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    assert sum(len(x) for (x,) in loader) == rows
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 1.1 * memory


def test_large_chunks_do_not_take_the_threads_away(tmp_path):
    """Batches that are made ahead give way to a second thread."""
    path = write(
        tmp_path / "x.h5",
        x={"data": np.zeros((20_000, 512), "u1"), "chunks": (1000, 512), "compression": "gzip"},
    )
    for memory in (6_000_000, 8_000_000):
        loader = hr.from_hdf5(path, x="x").batch(32, shuffle=True, memory=memory, workers=2)
        assert not loader.report().cached
        assert loader.report().workers == 2


def test_each_block_of_a_resident_field_is_read_once(tmp_path, monkeypatch):
    """However the blocks of others lie, and however little is read at a time."""
    monkeypatch.setattr(cache, "PIECE_BYTES", 1 << 14)
    rows = 20_000
    image = np.random.default_rng(0).integers(0, 256, (rows, 32), np.uint8)
    path = write(
        tmp_path / "x.h5",
        image={"data": image, "chunks": (64, 32), "compression": "gzip"},
        mask={"data": image[:, :4], "chunks": (50, 4), "compression": "gzip"},
        label={"data": np.arange(rows), "chunks": (rows,), "compression": "gzip"},
    )
    loader = hr.from_hdf5(path, x=["image", "mask"], y="label").batch(256, memory="50MB")
    for (x, mask), y in loader:
        assert (x == image[y]).all()
        assert (mask == image[y, :4]).all()
    with h5py.File(path) as file:
        stored = sum(file[name].id.get_storage_size() for name in file)
    assert loader.report().cached == ("image", "mask", "label")
    assert loader.report().bytes_read == stored
