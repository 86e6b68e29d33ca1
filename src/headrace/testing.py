"""Contract tests for sources, to be subclassed by the tests of a new format.

They need pytest, and compare every way of reading a source with NumPy arrays.
"""

import gc
import os
import pickle
import stat
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headrace.errors import FieldNotFoundError
from headrace.sources import ReadStats, Source, run_reads, value_bytes
from headrace.spec import Field, Indices

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

_THREADS = 8
_SECONDS = 60
_GUARD = 0xA5


class SourceTests:
    """Tests that every `headrace.sources.Source` must pass.

    A subclass defines two fixtures of any scope: `source`, and `oracle`, a dict from field name
    to an array with all values of the field, of shape `(length, *field.shape)` and the field's
    dtype. Use at least two rows, since one row cannot show most errors. Values are compared as
    bytes, so that a NaN equals itself.

    Example:

    ```python
    class TestMySource(SourceTests):
        @pytest.fixture
        def oracle(self):
            return {"x": np.arange(100.0)}

        @pytest.fixture
        def source(self, oracle, tmp_path):
            np.save(tmp_path / "x.npy", oracle["x"])
            return MySource(tmp_path / "x.npy")
    ```
    """

    @pytest.fixture(scope="class")
    @classmethod
    def process(cls) -> Iterator[ProcessPoolExecutor]:
        """A spawned process that runs functions, started once for the class."""
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            yield pool

    def test_fields_are_those_of_the_oracle(self, source: Source, oracle: Arrays) -> None:
        """Fields have the name, sample shape, native dtype and length of the oracle."""
        expected = [Field(name, array.shape[1:], array.dtype) for name, array in oracle.items()]
        assert list(source.fields) == expected
        assert all(field.dtype == field.dtype.newbyteorder("=") for field in source.fields)
        assert {source.length} == {len(array) for array in oracle.values()}
        assert set(source.read_paths()) == set(oracle)

    def test_reads_all_rows(self, source: Source, oracle: Arrays) -> None:
        """One call reads all rows."""
        check_reads(source, oracle, np.arange(source.length))

    def test_reads_runs_of_rows(self, source: Source, oracle: Arrays) -> None:
        """Runs of rows that start and stop at, next to and between block edges."""
        for start, stop in _runs(source):
            check_reads(source, oracle, np.arange(start, stop))

    def test_reads_single_rows(self, source: Source, oracle: Arrays) -> None:
        """Single rows: the first, the last, and some others."""
        for row in _some_rows(source, 8):
            check_reads(source, oracle, np.array([row]))

    def test_reads_scattered_rows(self, source: Source, oracle: Arrays) -> None:
        """Ascending rows with gaps, from dense to sparse."""
        rng = np.random.default_rng(0)
        for share in (0.1, 0.5, 0.9):
            check_reads(source, oracle, np.flatnonzero(rng.random(source.length) < share))
        check_reads(source, oracle, np.arange(0, source.length, 2))

    def test_reads_no_rows(self, source: Source, oracle: Arrays) -> None:
        """Reading no rows is not an error."""
        check_reads(source, oracle, np.empty(0, np.int64))

    def test_reads_some_of_the_fields(self, source: Source, oracle: Arrays) -> None:
        """Each field alone, and all fields in reverse order."""
        rows = np.arange(source.length)
        for name in oracle:
            check_reads(source, {name: oracle[name]}, rows)
        check_reads(source, dict(reversed(oracle.items())), rows)

    def test_selects_fields_of_the_same_rows(self, source: Source, oracle: Arrays) -> None:
        """A selection of one field reads that field; an unknown name is an error."""
        for name, array in oracle.items():
            selected = source.select([name])
            assert name in [field.name for field in selected.fields]
            check_reads(selected, {name: array}, np.arange(source.length))
        with pytest.raises(FieldNotFoundError, match="no field 'no such field'"):
            source.select([*oracle, "no such field"])

    def test_reads_may_run_in_any_order(self, source: Source, oracle: Arrays) -> None:
        """The reads of one call are independent of each other."""
        rows = np.arange(source.length)
        guarded = _Guarded(oracle, rows)
        run_reads(source.reads(rows, guarded.out)[::-1])
        guarded.check()

    def test_reads_may_run_at_once(self, source: Source, oracle: Arrays) -> None:
        """The reads of one call, and of many calls, in eight threads."""
        rng = np.random.default_rng(1)
        every = np.arange(source.length)
        wanted = [every, *(np.flatnonzero(rng.random(source.length) < 0.5) for _ in range(7))]
        with ThreadPoolExecutor(_THREADS) as threads:
            guards = [_Guarded(oracle, rows) for rows in wanted]
            reads = [
                read
                for guarded, rows in zip(guards, wanted, strict=True)
                for read in source.reads(rows, guarded.out)
            ]
            for done in [threads.submit(read) for read in reads]:
                done.result(_SECONDS)
        for guarded in guards:
            guarded.check()

    def test_reads_rows_in_any_order(self, source: Source, oracle: Arrays) -> None:
        """Addressable fields: rows shuffled, backwards, repeated, and no rows."""
        check_any_order(source, oracle)

    def test_reads_rows_in_any_order_at_once(self, source: Source, oracle: Arrays) -> None:
        """Addressable fields, in eight threads."""
        with ThreadPoolExecutor(_THREADS) as threads:
            calls = [threads.submit(check_any_order, source, oracle, n) for n in range(_THREADS)]
            for done in calls:
                done.result(_SECONDS)

    def test_edges_cover_all_rows(self, source: Source, oracle: Arrays) -> None:
        """Block offsets ascend from 0 to the length, for each field and for all fields."""
        for names in ([name] for name in oracle) if len(oracle) > 1 else [list(oracle)]:
            _check_edges(source.block_offsets(names), source.length)
        _check_edges(source.block_offsets(list(oracle)), source.length)

    def test_scratch_is_a_number_of_bytes(self, source: Source, oracle: Arrays) -> None:
        """Scratch is never negative, and never smaller for more fields."""
        alone = [source.scratch([name]) for name in oracle]
        assert source.scratch(list(oracle)) >= max(alone) >= min(alone) >= 0

    def test_reads_after_a_pickle(self, source: Source, oracle: Arrays) -> None:
        """A pickled copy reads the same values, and has the same fields and read paths."""
        run_reads(source.reads(np.array([0]), _Guarded(oracle, np.array([0])).out))
        copy = pickle.loads(pickle.dumps(source))  # noqa: S301 - made on this line
        assert copy.fields == source.fields
        assert copy.read_paths() == source.read_paths()
        check_reads(copy, oracle, np.arange(source.length))

    def test_reads_in_another_process(
        self, source: Source, oracle: Arrays, process: ProcessPoolExecutor
    ) -> None:
        """A source that is sent to a spawned process reads the same values there."""
        process.submit(check_reads, source, oracle, np.arange(source.length)).result(_SECONDS)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    def test_reads_after_a_fork(
        self, source: Source, oracle: Arrays, process: ProcessPoolExecutor
    ) -> None:
        """After reading and a fork, parent and child read the same values as before."""
        failure = process.submit(_fork_and_read, source, oracle).result(_SECONDS)
        assert not failure, failure

    def test_names_the_files_that_it_reads(
        self, source: Source, process: ProcessPoolExecutor
    ) -> None:
        """`files()` has the absolute path of every file that reading opens.

        Writers rely on it to not replace an input.
        """
        named = source.files()
        assert all(Path(file).is_absolute() for file in named)
        assert len(named) == len(set(named))
        if source.opaque():
            return
        opened = process.submit(_opened_by, source).result(_SECONDS)
        assert opened <= {(status.st_dev, status.st_ino) for status in map(os.stat, named)}

    def test_fingerprint_is_stable(self, source: Source, process: ProcessPoolExecutor) -> None:
        """The fingerprint is the same on a second call and in another process."""
        first = source.fingerprint()
        assert first == source.fingerprint()
        assert first == process.submit(source.fingerprint).result(_SECONDS)


class _Guarded:
    """Output arrays with a guard row on either side, which must stay unchanged."""

    def __init__(self, oracle: Mapping[str, Array], rows: Indices) -> None:
        self._expected = {name: array[rows] for name, array in oracle.items()}
        self._whole = {}
        for name, array in self._expected.items():
            self._whole[name] = np.empty((len(rows) + 2, *array.shape[1:]), array.dtype)
            _bytes(self._whole[name])[:] = _GUARD
        self.out = {name: whole[1:-1] for name, whole in self._whole.items()}

    def check(self) -> None:
        """Checks that the output has the expected values, and the guard rows are unchanged."""
        for name, expected in self._expected.items():
            whole, values = self._whole[name], self.out[name]
            assert (_bytes(whole[:1]) == _GUARD).all(), f"{name}: wrote before the first row"
            assert (_bytes(whole[-1:]) == _GUARD).all(), f"{name}: wrote after the last row"
            if value_bytes(values) != value_bytes(expected):
                np.testing.assert_array_equal(values, expected, err_msg=name)
                raise AssertionError(f"{name}: equal values, but different bytes")


def check_reads(source: Source, oracle: Mapping[str, Array], rows: Indices) -> None:
    """Reads ascending rows, and compares them with the oracle."""
    guarded = _Guarded(oracle, rows)
    cost = run_reads(source.reads(rows, guarded.out))
    guarded.check()
    _check_cost(cost)


def check_any_order(source: Source, oracle: Mapping[str, Array], seed: int = 0) -> None:
    """Reads rows of the addressable fields in several orders; compares them with the oracle."""
    able = {name: array for name, array in oracle.items() if source.addressable([name])}
    assert source.addressable(list(oracle)) == (len(able) == len(oracle))
    if not able:
        return
    rng = np.random.default_rng(seed)
    n = source.length
    orders: Sequence[Indices] = (
        rng.permutation(n),
        np.arange(n)[::-1],
        rng.integers(0, n, 2 * n),
        np.full(3, n - 1),
        np.empty(0, np.int64),
    )
    for rows in orders:
        guarded = _Guarded(able, rows)
        _check_cost(source.read_rows(rows, guarded.out))
        guarded.check()


def _check_cost(cost: ReadStats) -> None:
    assert min(cost[:4]) >= 0
    assert not cost.bad


def _check_edges(offsets: Indices, length: int) -> None:
    assert offsets.dtype == np.int64
    assert offsets[0] == 0
    assert offsets[-1] == length
    assert (np.diff(offsets) > 0).all()


def _runs(source: Source) -> set[tuple[int, int]]:
    offsets = source.block_offsets([field.name for field in source.fields])
    marks = {0, source.length, source.length // 2}
    for edge in (offsets[1], offsets[-2], offsets[len(offsets) // 2]):
        marks |= {int(edge) + step for step in (-1, 0, 1)}
    inside = sorted(mark for mark in marks if 0 <= mark <= source.length)
    return {(a, b) for a in inside for b in inside if a < b}


def _some_rows(source: Source, count: int) -> list[int]:
    return sorted({*np.linspace(0, source.length - 1, count).astype(int).tolist()})


def _fork_and_read(source: Source, oracle: Arrays) -> str:
    """Reads, forks, and reads in both processes; returns the child's traceback, or ""."""
    _check_both(source, oracle)
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        try:
            _check_both(source, oracle)
        except BaseException:  # noqa: BLE001 - sent to the parent
            os.write(send, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        failure = pipe.read()
    os.waitpid(child, 0)
    _check_both(source, oracle)
    return failure


def _opened_by(source: Source) -> set[tuple[int, int]]:
    """Reads all rows, and returns the device and inode of each file that this opened."""
    gc.collect()  # closes the files of other tests' sources
    before = _open_files()
    names = [field.name for field in source.fields]
    out = {f.name: np.empty((source.length, *f.shape), f.dtype) for f in source.fields}
    run_reads(source.reads(np.arange(source.length), out))
    if source.addressable(names):
        source.read_rows(np.arange(source.length), out)
    return _open_files() - before


def _open_files() -> set[tuple[int, int]]:
    """Device and inode of each file that this process has open; empty without /proc."""
    found = set()
    for descriptor in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):
            status = descriptor.stat()
            if stat.S_ISREG(status.st_mode) and status.st_nlink:
                found.add((status.st_dev, status.st_ino))
    return found


def _check_both(source: Source, oracle: Arrays) -> None:
    check_reads(source, oracle, np.arange(source.length))
    check_any_order(source, oracle)


def _bytes(array: Array) -> npt.NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)
