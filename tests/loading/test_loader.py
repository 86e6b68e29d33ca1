"""Loaders: every sample exactly once, in an order that nothing but seed and epoch decides."""

import gc
import subprocess
import sys
import threading
import tracemalloc
import warnings

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.errors import MemoryBudgetError, OptionError

SMALL = 40_000  # bytes: several windows for the files below

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes:UserWarning")


def dataset(images, **kwargs):
    return ps.from_hdf5(images.path, x="image", y=["label", "id"], **kwargs)


def ids_of(loader):
    """The ids of one epoch, batch by batch; checks that images and labels belong to them."""
    return [y[1].copy() for _, y in loader]


STORAGE = {
    "gzip": {},
    "contiguous": {"contiguous": True},
    "raw chunks": {"chunks": (16, 4, 4, 3)},
    "cut chunks": {"chunks": (10, 3, 4, 2), "compression": "gzip", "shuffle": True},
    "h5py": {"chunks": (16, 4, 4, 3), "compression": "lzf"},
}


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
    together = ids_of(loader)
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
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
    assert all(x.base is None for x, _ in batches)


# Memory.


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
    loader = dataset(make_images(1000)).batch(32, shuffle=True, seed=0, memory="10MB")
    for _ in range(3):
        list(loader)
    report = loader.report()
    assert report.shuffle["mode"] == "exact"
    assert report.resident == ("image", "label", "id")
    assert report.bytes_read <= loader._view.parts[0].source._file.identity.size


def test_weak_mixing_is_said_once_with_the_remedy(make_images):
    """Few blocks for a large batch: a warning at the user's line; none where all is well."""
    data = dataset(make_images(5000))
    with pytest.warns(UserWarning, match="blocks for batches of 64.*More memory=") as caught:
        data.batch(64, shuffle=True, memory=150_000)
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


# Ends and errors.


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("penstock")]


def test_nothing_is_left_after_many_epochs_and_abandoned_iterators(make_images):
    """A hundred of each: no thread, no descriptor."""
    loader = dataset(make_images(500)).batch(32, shuffle=True, memory=SMALL)
    list(loader)
    gc.collect()
    process = psutil.Process()
    descriptors = process.num_fds()
    for _ in range(100):
        list(loader)
    for _ in range(100):
        next(iter(loader))
    kept = [iter(loader) for _ in range(100)]
    gc.collect()
    assert len(kept) == 100
    assert threads() == []
    assert process.num_fds() == descriptors


def test_breaking_out_of_a_loop_ends_the_threads(make_images):
    """At once, not at the end of the program."""
    loader = dataset(make_images(5000)).batch(8, shuffle=True, memory=SMALL)
    for _ in loader:
        break
    assert threads() == []


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


def failing_at(row):
    def fail(x, y):
        if row in y[1]:
            raise ValueError(f"row {row} is bad")
        return x, y

    return fail


@pytest.mark.parametrize("workers", [1, 4])
def test_an_error_arrives_in_its_place(make_images, workers):
    """The batches before it come first, on every run; then the error; then nothing."""
    data = dataset(make_images(1000)).map(failing_at(500))
    iterator = iter(data.batch(32, memory=SMALL, workers=workers))
    for i in range(500 // 32):
        assert next(iterator)[1][1][0] == i * 32
    with pytest.raises(ValueError, match="row 500 is bad"):
        next(iterator)
    with pytest.raises(StopIteration):
        next(iterator)
    assert threads() == []


def test_an_error_names_file_field_and_rows(make_images):
    """A chunk that is damaged: the fast path and h5py both give up."""
    images = make_images(1000)
    import h5py

    with h5py.File(images.path) as file:
        info = file["image"].id.get_chunk_info(20)
    with images.path.open("r+b") as file:
        file.seek(info.byte_offset + 20)
        file.write(b"\xff" * 100)
    loader = dataset(images).batch(32, shuffle=True, memory=SMALL, seed=0)
    with pytest.raises(ps.errors.ReadError) as caught:
        list(loader)
    message = str(caught.value)
    assert "images.h5" in message
    assert "'image'" in message
    assert "320 to 335" in message
    assert threads() == []


def test_a_worker_that_exits_is_an_error_not_a_hang(make_images):
    """SystemExit in a map function would end the thread silently."""

    def leave(x, y):
        raise SystemExit(3)

    loader = dataset(make_images(100)).map(leave).batch(32)
    with pytest.raises(SystemExit):
        next(iter(loader))


def test_two_iterators_at_a_time_take_an_epoch_each(make_images):
    """Neither loses rows to the other."""
    loader = dataset(make_images(300)).batch(32, shuffle=True, seed=0, memory=SMALL)
    pairs = list(zip(loader, loader, strict=True))
    for side in (0, 1):
        rows = np.concatenate([pair[side][1][1] for pair in pairs])
        assert sorted(rows.tolist()) == list(range(300))
    assert not np.array_equal(pairs[0][0][1][1], pairs[0][1][1][1])


FORK = """
import os, sys, warnings
warnings.simplefilter("ignore")
import penstock as ps
loader = ps.from_hdf5(sys.argv[1], x="image").batch(32, memory=40_000)
iterator = iter(loader)
next(iterator)
child = os.fork()
if child == 0:
    try:
        next(iterator)
    except ps.PenstockError:
        os._exit(0 if len(list(loader)) == 32 else 2)
    os._exit(1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(list(iterator)))
"""


def test_an_iterator_from_before_a_fork_refuses_to_hang(make_images):
    """Its threads stayed in the parent, which goes on; a new iterator works in the child."""
    command = [sys.executable, "-c", FORK, make_images(1000).path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["0", "31"]


@pytest.mark.parametrize(
    "options",
    [
        *({"batch_size": value} for value in (0, -1, 1.5, True)),
        *({"shuffle": value} for value in ("yes", 1)),
        *({"seed": value} for value in (-1, 0.5)),
        *({"memory": value} for value in ("lots", 0, -5, "5 parsecs")),
        {"workers": 0},
    ],
)
def test_options_that_cannot_be_honoured_are_refused(make_images, options):
    """By name, with what came."""
    value = next(iter(options.values()))
    with pytest.raises(OptionError, match="Received: ") as caught:
        dataset(make_images(100)).batch(**options)
    assert repr(value) in str(caught.value)


def test_an_unknown_option_is_refused(make_images):
    """A misspelt keyword is no keyword."""
    with pytest.raises(TypeError, match="shufle"):
        dataset(make_images(100)).batch(32, shufle=True)


def test_no_rows_make_no_batches(make_images):
    """An empty part says so instead of training on nothing."""
    with pytest.raises(OptionError, match="no rows"):
        dataset(make_images(100)).take(0).batch(32)


# Class weights.


@pytest.mark.parametrize("form", ["numbers", "column", "one-hot"])
def test_class_weight_becomes_sample_weight(make_images, form):
    """Classes that are not named weigh 1, as in Keras."""
    images = make_images(100)

    def shape(x, y):
        return x, {"numbers": y, "column": y[:, None], "one-hot": np.eye(10)[y]}[form]

    data = ps.from_hdf5(images.path, x="image", y="label").map(shape)
    for _, y, weight in data.batch(32, class_weight={0: 2.0, 3: 0.5}):
        classes = y.argmax(-1) if form == "one-hot" else y.reshape(-1)
        expected = np.where(classes == 0, 2.0, np.where(classes == 3, 0.5, 1.0))
        assert weight.dtype == np.float32
        assert np.array_equal(weight, expected)


def test_class_weight_needs_one_y(make_images):
    """Refused where it has no meaning."""
    images = make_images(100)
    with pytest.raises(OptionError, match="no y"):
        list(ps.from_hdf5(images.path, x="image").batch(32, class_weight={0: 2}))
    with pytest.raises(OptionError, match="several"):
        list(dataset(images).batch(32, class_weight={0: 2}))


# Reports.


def test_report_says_where_time_and_memory_went(make_images):
    """Counts are exact, times are there, and it reads well."""
    loader = dataset(make_images(4000)).batch(32, shuffle=True, memory=40_000, seed=0)
    list(loader)
    report = loader.report()
    assert (report.samples, report.batches, report.epochs) == (4000, 125, 1)
    assert report.bytes_decoded == 4000 * (48 + 16)
    assert report.decode > 0
    assert report.read > 0
    assert 0 < report.wait_for_data <= report.seconds
    assert report.paths["image"]["path"] == "direct chunks"
    assert "gzip" in report.paths["image"]["reason"]
    assert report.shuffle["mode"] == "windows"
    blocks = report.shuffle["blocks_per_window"]
    assert report.shuffle["variance_bound"] == 1 + 31 / blocks
    text = str(report)
    for word in ("4,000", "waited for data", "direct chunks", "40.0 kB"):
        assert word in text
    import json

    assert json.loads(json.dumps(report.to_dict()))["samples"] == 4000
