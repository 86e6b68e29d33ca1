"""Epochs: every sample exactly once, in an order that nothing but seed and epoch decides."""

import itertools

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr
from headrace.errors import MemoryBudgetError, OptionError
from tests.loading.helpers import SMALL, STORAGE, dataset, ids_of

NUMBERS = itertools.count()

pytestmark = pytest.mark.filterwarnings("ignore:shuffle=True mixes:UserWarning")


@pytest.mark.parametrize("storage", STORAGE)
@pytest.mark.parametrize("shuffle", [True, False, "batch", "exact"])
@pytest.mark.parametrize("memory", [SMALL, "10MB"])
@pytest.mark.filterwarnings("ignore:shuffle='exact':UserWarning")
def test_an_epoch_holds_every_sample_once(make_images, storage, shuffle, memory):
    """On every read path, in every order, with all of it in memory or a part."""
    images = make_images(1003, **STORAGE[storage])
    loader = dataset(images).batch(32, shuffle=shuffle, seed=0, memory=memory)
    seen = []
    for x, (label, ids) in loader:
        assert np.array_equal(x, images.image[ids])
        assert np.array_equal(label, images.label[ids])
        assert x.flags.c_contiguous
        assert x.dtype == np.uint8
        seen.append(ids)
    assert [len(ids) for ids in seen] == [32] * 31 + [11]
    assert len(loader) == 32
    assert sorted(np.concatenate(seen).tolist()) == list(range(1003))
    in_order = np.concatenate(seen).tolist() == list(range(1003))
    assert in_order == (shuffle is False)


@settings(max_examples=40)
@given(
    n=st.integers(1, 300),
    batch_size=st.integers(1, 70),
    shuffle=st.sampled_from([True, False, "batch"]),
    drop=st.booleans(),
    chunk=st.integers(1, 40),
    extra=st.integers(0, 30_000),
    seed=st.integers(0, 3),
)
def test_batches_are_whole_for_every_size(
    make_images, n, batch_size, shuffle, drop, chunk, extra, seed
):
    """Any number of rows, any batch size, any chunk, the least memory that works and more."""
    images = make_images(n, chunks=(min(chunk, n), 4, 4, 3), compression="gzip")
    data = dataset(images)
    if drop and n < batch_size:
        with pytest.raises(OptionError, match="drop_remainder"):
            data.batch(batch_size, drop_remainder=True)
        return
    with pytest.raises(MemoryBudgetError) as caught:
        data.batch(batch_size, shuffle=shuffle, memory=1)
    least = int(str(caught.value).rsplit("memory=", 1)[1].rstrip("."))
    loader = data.batch(
        batch_size, shuffle=shuffle, drop_remainder=drop, memory=least + extra, seed=seed
    )
    ids = ids_of(loader)
    assert len(ids) == len(loader)
    assert all(len(batch) == batch_size for batch in ids[:-1])
    rows = np.concatenate(ids)
    expected = n // batch_size * batch_size if drop else n
    assert len(set(rows.tolist())) == len(rows) == expected


@pytest.mark.parametrize("storage", ["gzip", "contiguous"])
@pytest.mark.parametrize("shuffle", [True, "batch", False])
def test_order_does_not_depend_on_workers(make_images, storage, shuffle):
    """One thread or eight: the same batches."""
    data = dataset(make_images(1000, **STORAGE[storage]))
    orders = [
        np.concatenate(ids_of(data.batch(32, shuffle=shuffle, seed=5, memory=SMALL, workers=w)))
        for w in (1, 2, 8)
    ]
    assert np.array_equal(orders[0], orders[1])
    assert np.array_equal(orders[0], orders[2])


@pytest.mark.parametrize("storage", ["gzip", "contiguous"])
def test_each_epoch_has_its_own_order(make_images, storage):
    """Three epochs, three orders; another loader of the same seed repeats them."""
    data = dataset(make_images(1000, **STORAGE[storage]))
    runs = []
    for _ in range(2):
        loader = data.batch(32, shuffle=True, seed=5, memory=SMALL)
        runs.append([np.concatenate(ids_of(loader)).tolist() for _ in range(3)])
    assert runs[0] == runs[1]
    assert len({tuple(order) for order in runs[0]}) == 3


def test_threads_agree_with_the_synchronous_way(make_images):
    """`loader[i]` makes a batch in the calling thread: the same one that the threads make."""
    loader = dataset(make_images(1000)).batch(48, shuffle=True, seed=1, memory=SMALL)
    alone = [loader[i][1][1] for i in range(len(loader))]
    blocks_per_read = ids_of(loader)
    assert all(np.array_equal(a, b) for a, b in zip(alone, blocks_per_read, strict=True))
    assert np.array_equal(loader[-1][1][1], loader[len(loader) - 1][1][1])
    with pytest.raises(IndexError):
        loader[len(loader)]


def test_seed_none_is_drawn_once_and_kept(make_images):
    """So that it can be reported and used again."""
    data = dataset(make_images(300))
    one, other = data.batch(10, shuffle=True), data.batch(10, shuffle=True)
    assert one.seed != other.seed
    again = data.batch(10, shuffle=True, seed=one.seed)
    assert np.array_equal(np.concatenate(ids_of(one)), np.concatenate(ids_of(again)))


def test_batch_order_keeps_neighbours_together(make_images):
    """Keras 2's shuffle="batch": runs of neighbouring rows, in random order."""
    ids = ids_of(dataset(make_images(1000)).batch(32, shuffle="batch", seed=0, memory=SMALL))
    assert all(np.all(np.diff(batch) == 1) and batch[0] % 32 == 0 for batch in ids)
    assert [batch[0] for batch in ids] != sorted(batch[0] for batch in ids)


def test_split_and_concat_load_block_by_block(make_images):
    """Each chunk is decoded once per epoch, also where a split took rows out of it."""
    images = make_images(2000)
    train, _ = dataset(images).split(0.5, seed=0)
    loader = train.batch(32, shuffle=True, seed=0, memory=SMALL)
    ids = np.concatenate(ids_of(loader))
    assert sorted(ids.tolist()) == sorted(train[:][1][1].tolist())
    assert loader.report().bytes_read <= images.path.stat().st_size


def test_every_batch_is_memory_of_its_own(make_images):
    """A batch that was handed out never changes, and shares nothing with the next."""
    loader = dataset(make_images(1000)).batch(64, shuffle=True, seed=0, memory=SMALL)
    batches = list(loader)
    copies = [x.copy() for x, _ in batches]
    list(loader)
    assert all(np.array_equal(x, copy) for (x, _), copy in zip(batches, copies, strict=True))
    assert not any(np.shares_memory(a, b) for (a, _), (b, _) in itertools.pairwise(batches))


@settings(max_examples=25)
@given(
    n=st.integers(1, 400),
    chunks=st.tuples(*[st.integers(1, 60)] * 3),
    batch_size=st.integers(1, 50),
    shuffle=st.sampled_from([True, False, "batch"]),
    extra=st.integers(0, 20_000),
)
def test_fields_of_different_chunk_sizes_stay_side_by_side(
    tmp_path, n, chunks, batch_size, shuffle, extra
):
    """Images, masks and labels in chunks that do not line up, none of them kept in memory."""
    # A file that libhdf5 still has open, for what the collector has not found yet, stays as it is.
    path = tmp_path / f"fields{next(NUMBERS)}.h5"
    with h5py.File(path, "w") as file:
        for name, shape, rows in zip(("a", "b", "c"), ((3, 5), (4,), ()), chunks, strict=True):
            values = np.arange(n * max(1, np.prod(shape, dtype=int)), dtype=np.int32)
            options = {"chunks": (min(rows, n), *shape), "compression": "gzip"}
            file.create_dataset(name, data=values.reshape(n, *shape), **options)
    data = hr.from_hdf5(path, x=["a", "b"], y="c")
    with pytest.raises(MemoryBudgetError) as caught:
        data.batch(batch_size, shuffle=shuffle, memory=1)
    least = int(str(caught.value).rsplit("memory=", 1)[1].rstrip("."))
    loader = data.batch(batch_size, shuffle=shuffle, memory=least + extra, seed=0)
    rows = []
    for (a, b), c in loader:
        assert np.array_equal(a.reshape(-1, 15)[:, 0], c * 15)
        assert np.array_equal(b[:, 3], c * 4 + 3)
        rows.append(c)
    assert sorted(np.concatenate(rows).tolist()) == list(range(n))
    assert loader.report().peak_bytes <= loader.memory
