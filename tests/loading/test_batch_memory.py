"""Memory of batches is used again once nothing refers to it, and never before."""

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace as hr
from headrace.loading.prefetch.memory import SMALLEST, BatchMemory
from headrace.loading.timing import Ledger
from headrace.spec import Field

ROWS = 64
FIELDS = [Field("x", (16, 16, 3), np.dtype(np.uint8)), Field("y", (), np.dtype(np.int64))]
LIMIT = 4 * ROWS * (FIELDS[0].nbytes + FIELDS[1].nbytes)


def memory(limit=LIMIT):
    return BatchMemory(FIELDS, limit, Ledger())


def address(array):
    return array.__array_interface__["data"][0]


HOLDERS = {
    "the array": lambda x: x,
    "a view": lambda x: x[3:, ::2],
    "a view of a view": lambda x: x[3:].reshape(-1)[5:].view(np.int8),
    "one row": lambda x: x[7],
    "a memoryview": lambda x: memoryview(x)[1:],
    "an exported buffer": lambda x: np.from_dlpack(x),
    "a field of numbers": lambda x: np.asarray(x, copy=None).T,
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_memory_that_is_referred_to_is_left_alone(holder):
    """Whatever refers to it, and although the array itself is gone."""
    pool = memory()
    arrays, blocks = pool.take(ROWS)
    held, where = HOLDERS[holder](arrays.pop("x")), address(blocks[0][1].array(1, FIELDS[0]))
    pool.give(blocks)
    del blocks
    others, _ = pool.take(ROWS)
    assert address(others["x"]) != where
    del held, others
    again, _ = pool.take(ROWS)
    assert address(again["x"]) == where


def test_small_arrays_come_from_the_allocator():
    """It has such pieces at hand."""
    arrays, blocks = memory().take(ROWS)
    assert [name for name, _ in blocks] == ["x"]
    assert arrays["y"].base is None
    assert arrays["y"].nbytes < SMALLEST


def test_memory_that_waits_is_bounded_and_counted():
    """No more than the limit, in the ledger as held."""
    ledger = Ledger()
    pool = BatchMemory(FIELDS, LIMIT, ledger)
    kept = []
    for _ in range(20):
        arrays, blocks = pool.take(ROWS)
        kept.append(arrays)
        pool.give(blocks)
        assert ledger.held <= LIMIT
    assert ledger.held > LIMIT // 2
    pool.clear()
    assert ledger.held == 0


def test_no_limit_no_reuse():
    """Arrays as NumPy makes them."""
    arrays, blocks = memory(0).take(ROWS)
    assert blocks == []
    assert arrays["x"].base is None


def test_arrays_begin_where_frameworks_want_them():
    """JAX takes arrays on the CPU without a copy if they begin at a multiple of 64 bytes."""
    arrays, _ = memory().take(ROWS)
    assert address(arrays["x"]) % 64 == 0
    assert arrays["x"].flags.c_contiguous
    assert arrays["x"].flags.writeable
    assert arrays["x"].dtype == np.uint8


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Rows large enough for their batches to be worth keeping."""
    path = tmp_path_factory.mktemp("memory") / "rows.h5"
    rows = np.arange(3000, dtype=np.uint16)[:, None].repeat(500, axis=1)
    with h5py.File(path, "w") as file:
        file.create_dataset("gzip", data=rows, chunks=(25, 500), compression="gzip")
        file["contiguous"] = rows
    return path


@pytest.mark.filterwarnings("ignore:shuffle=True mixes:UserWarning")
@pytest.mark.parametrize("field", ["gzip", "contiguous"])
@given(
    batch_size=st.integers(1, 200),
    every=st.integers(1, 7),
    keep=st.integers(0, 5),
    memory=st.sampled_from(["700KB", "2MB", "100MB"]),
)
def test_what_is_kept_does_not_change(path, field, batch_size, every, keep, memory):
    """A consumer that keeps some batches for a while, and slices of some for good."""
    loader = hr.from_hdf5(path, x=field).batch(batch_size, shuffle=True, seed=1, memory=memory)
    slices, recent, seen = [], [], []
    for number, (x,) in enumerate(loader):
        assert (x == x[:, :1]).all()
        seen += x[:, 0].tolist()
        recent = [*recent, (x, x.copy())][-keep:] if keep else []
        if number % every == 0:
            slices.append((x[len(x) // 2], int(x[len(x) // 2, 0])))
        assert all((held == copy).all() for held, copy in recent)
    assert all((row == value).all() for row, value in slices)
    assert sorted(seen) == list(range(3000))
    assert loader.report().peak_bytes <= loader.memory


def test_small_batches_are_made_together_and_fail_apart(path):
    """The batch whose map function fails is the one that raises; those before it arrive."""

    def fail_at(x):
        if (x[:, 0] == 1000).any():
            raise ValueError("row 1000")
        return x

    iterator = iter(hr.from_hdf5(path, x="contiguous").map(fail_at).batch(1, memory="64MB"))
    for row in range(1000):
        assert next(iterator)[0][0, 0] == row
    with pytest.raises(ValueError, match="row 1000"):
        next(iterator)
