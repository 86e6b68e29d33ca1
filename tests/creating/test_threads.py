"""Any number of threads write at a time."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import headrace as hr
from headrace.creating import store as store_module
from tests.creating.helpers import FIELDS, check_file, samples

THREADS = 8


def in_threads(function, count=THREADS):
    """Calls a function in as many threads at once; gives what came of it."""
    ready = threading.Barrier(count)

    def run(number):
        ready.wait()
        return function(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.parametrize("length", [None, THREADS * 60 * 5])
def test_every_batch_of_every_thread_is_there_whole(tmp_path, length, monkeypatch):
    """Once, at the rows that its thread was told; also while others flush."""
    monkeypatch.setattr(store_module, "SECONDS", 0.001)

    def write(number):
        written = {}
        for i in range(60):
            start = (number * 60 + i) * 5
            written[start] = writer.write(samples(start, 5))
            if i % 20 == number:
                writer.flush()
        return written

    with hr.create(tmp_path / "a.h5", FIELDS, length) as writer:
        told = {start: rows for written in in_threads(write) for start, rows in written.items()}
    image, label = samples(0, THREADS * 60 * 5)
    assert sorted(row for rows in told.values() for row in rows) == list(range(len(label)))
    place = np.empty(len(label), int)
    for start, rows in told.items():
        place[rows.start : rows.stop] = np.arange(start, start + 5)
    check_file(tmp_path / "a.h5", {"image": image[place], "label": label[place]})


@pytest.mark.parametrize("length", [None, 1000])
def test_threads_assign_rows_of_their_own(tmp_path, length):
    """In any order, in files that grow by that as well."""
    image, label = samples(0, 1000)

    def write(number):
        for start in range(number * 10, 1000, THREADS * 10):
            rows = np.arange(start, min(start + 10, 1000))[::-1]
            writer["image"][rows] = image[rows]
            writer["label"][start : start + 10] = label[start : start + 10]

    with hr.create(tmp_path / "a.h5", FIELDS, length) as writer:
        in_threads(write)
    check_file(tmp_path / "a.h5", {"image": image, "label": label})


def test_a_flush_waits_for_rows_that_are_under_way(tmp_path, monkeypatch):
    """So that no hole is noted before rows that came later."""
    begun, go_on = threading.Event(), threading.Event()
    with hr.create(tmp_path / "a.h5", {"x": "int64"}) as writer:
        files = writer._store._files
        put = files.put

        def slow_put(name, row, values):
            if row == 0:
                begun.set()
                assert go_on.wait(60)
            put(name, row, values)

        monkeypatch.setattr(files, "put", slow_put)
        slow = threading.Thread(target=writer.write, args=(np.arange(5),))
        slow.start()
        assert begun.wait(60)
        assert writer.write(np.arange(5, 9)) == range(5, 9)
        flush = threading.Thread(target=writer.flush)
        flush.start()
        with writer._store._lock:
            assert writer._store._changed.wait_for(lambda: writer._store._held_up, 60)
        assert flush.is_alive()
        go_on.set()
        slow.join()
        flush.join()
    check_file(tmp_path / "a.h5", {"x": np.arange(9)})


def test_a_flush_is_not_kept_waiting_by_rows_that_come_later(tmp_path, monkeypatch):
    """They wait for it, so that threads which always write do not keep it from its turn."""
    begun, go_on, flushed = threading.Event(), threading.Event(), threading.Event()
    with hr.create(tmp_path / "a.h5", {"x": "int64"}) as writer:
        store = writer._store
        put = store._files.put

        def slow_put(name, row, values):
            if row == 0:
                begun.set()
                assert go_on.wait(60)
            else:
                # Would be for ever, if the flush waited for these rows.
                assert flushed.wait(10)
            put(name, row, values)

        def flush():
            writer.flush()
            flushed.set()

        def run(function, *arguments):
            threads.append(pool.submit(function, *arguments))

        threads = []
        monkeypatch.setattr(store._files, "put", slow_put)
        with ThreadPoolExecutor(3) as pool:
            run(writer.write, [0, 1])
            assert begun.wait(60)
            run(flush)
            with store._lock:
                assert store._changed.wait_for(lambda: store._held_up, 60)
            run(writer.write, [2, 3])
            with store._lock:
                # Whoever could begin now would have: one who waits gives the lock away.
                store._changed.wait_for(lambda: len(store._under_way) > 1, 0.2)
            go_on.set()
        for thread in threads:
            thread.result()
    check_file(tmp_path / "a.h5", {"x": np.arange(4)})


def test_bytes_of_rows_whose_writing_failed_are_not_in_the_file(tmp_path, monkeypatch):
    """Not even behind its end."""
    batch = samples(0, 3000)
    with hr.create(tmp_path / "good.h5", FIELDS) as writer:
        writer.write(batch)
    with hr.create(tmp_path / "a.h5", FIELDS) as writer:
        writer.write(batch)
        put = writer._store._files.put

        def failing_put(name, row, values):
            put(name, row, values)
            if name == "label":
                raise KeyboardInterrupt

        monkeypatch.setattr(writer._store._files, "put", failing_put)
        with pytest.raises(KeyboardInterrupt):
            writer.write(batch)
        monkeypatch.undo()
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "good.h5").read_bytes()


def test_rows_whose_writing_failed_leave_no_hole_at_the_end(tmp_path, monkeypatch):
    """The next batch takes their place; behind others, they are missing."""
    with hr.create(tmp_path / "a.h5", {"x": "int64"}) as writer:
        writer.write([0, 1])
        put = writer._store._files.put

        def failing_put(name, row, values):
            if row == 4 and len(values) == 1:
                monkeypatch.undo()
                raise KeyboardInterrupt
            put(name, row, values)

        monkeypatch.setattr(writer._store._files, "put", failing_put)
        writer.write([2, 3])
        with pytest.raises(KeyboardInterrupt):
            writer.write([9])
        assert len(writer) == 4
        assert writer.write([4, 5]) == range(4, 6)
    check_file(tmp_path / "a.h5", {"x": np.arange(6)})


def test_nobody_writes_while_the_file_is_closed(tmp_path):
    """A thread that comes too late is told; what came before is there."""
    rows = []

    def write(number):
        try:
            while True:
                rows.append(writer.write([number] * 3))
                if len(rows) > 50 and number == 0:
                    writer.close()
        except hr.errors.OptionError as error:
            return "was closed" in str(error)

    writer = hr.create(tmp_path / "a.h5", {"x": "int64"})
    assert in_threads(write) == [True] * THREADS
    assert len(hr.from_hdf5(tmp_path / "a.h5")) == 3 * len(rows)
