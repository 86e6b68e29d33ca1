"""Fetching apart from decoding: many fetches are in flight, whatever the threads that decode."""

import threading
import time

import numpy as np
import pytest

from headrace.errors import ReadError
from headrace.loading.prefetch import threads as prefetch
from headrace.sources.zipped import Member, ZipSource
from tests.loading.faulty import FaultySource, dataset

SECONDS = 10
"""A fetch that waits for so long waits for others that never come."""


def rows_of(loader):
    return np.concatenate([y for _, y in loader]).tolist()


@pytest.mark.parametrize("memory", ["1MB", 14_000])
def test_as_many_fetches_are_in_flight_as_the_source_wants(memory):
    """With one thread that decodes: each fetch waits until four of them run."""
    together = threading.Barrier(4, timeout=SECONDS)
    source = FaultySource(400, fetch=lambda block: together.wait(), fetches=4)
    loader = dataset(source).batch(16, workers=1, memory=memory)
    assert rows_of(loader) == list(range(400))


def test_no_more_fetches_wait_than_the_source_wants():
    """Fetched and not yet decoded, or being fetched: their bytes are in the budget."""
    lock, now, most = threading.Lock(), [0], [0]

    class Counted(FaultySource):
        def read_rows(self, rows, out):
            with lock:
                now[0] -= 1
            return super().read_rows(rows, out)

    def fetch(block):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])

    loader = dataset(Counted(2000, fetch=fetch, fetches=3)).batch(16, workers=1, memory="1MB")
    assert rows_of(loader) == list(range(2000))
    assert most[0] <= 3


def test_each_block_is_fetched_once_an_epoch():
    fetched = []
    source = FaultySource(400, fetch=fetched.append, fetches=4)
    loader = dataset(source).batch(16, shuffle=True, seed=0, memory=14_000)
    assert sorted(rows_of(loader)) == list(range(400))
    assert sorted(fetched) == list(range(40))


def test_a_source_that_wants_none_is_fetched_by_the_workers():
    threads = set()
    source = FaultySource(400, fetch=lambda block: threads.add(threading.get_ident()))
    assert rows_of(dataset(source).batch(16, workers=1)) == list(range(400))
    assert len(threads) == 1


@pytest.mark.parametrize("fetches", [0, 4])
def test_the_order_does_not_depend_on_fetches(fetches):
    def order(fetches, fetch):
        source = FaultySource(400, fetch=fetch, fetches=fetches)
        return rows_of(dataset(source).batch(16, shuffle=True, seed=3, memory=14_000))

    assert order(fetches, lambda block: None) == order(0, None)


def test_an_error_of_a_fetch_is_relayed():
    """At its batch; the threads end, and a new loop starts anew."""

    def fetch(block):
        if block == 7:
            raise ReadError("block 7 of 'far' did not arrive: the store closed the connection")

    loader = dataset(FaultySource(400, fetch=fetch, fetches=4)).batch(16, memory="1MB")
    before = threading.active_count()
    for _ in range(2):
        with pytest.raises(ReadError, match="block 7 of 'far'"):
            rows_of(loader)
    assert threading.active_count() == before


def test_an_iterator_that_is_dropped_ends_its_fetches():
    begun, free = threading.Event(), threading.Event()

    def fetch(block):
        begun.set()
        if block > 30:
            free.wait(SECONDS)

    loader = dataset(FaultySource(800, fetch=fetch, fetches=4)).batch(16, memory=14_000)
    stream = iter(loader)
    next(stream)
    assert begun.is_set()
    free.set()
    del stream
    assert not [t for t in threading.enumerate() if t.name.startswith("headrace")]


def test_bad_rows_of_staged_reads_keep_their_numbers():
    """Behind other sources, and in blocks that different threads fetch."""
    far = FaultySource(200, [5, 150], fetch=lambda block: None, fetches=4)
    loader = dataset(FaultySource(30), far).batch(16, on_error="skip", max_bad=0.5)
    rows = rows_of(loader)
    assert [one["row"] for one in loader.report().bad["rows"]] == [35, 180]
    assert len(rows) == 230


def test_reads_of_another_source_do_not_hold_fetches_back():
    """Local reads of a zipped source come first, and wait here for fetches of the other one."""
    begun = threading.Event()

    class Local(FaultySource):
        def read_rows(self, rows, out):
            assert begun.wait(SECONDS), "no fetch began beside the local reads"
            return super().read_rows(rows, out)

    far = FaultySource(4000, fetch=lambda block: begun.set(), fetches=2)
    both = ZipSource([Member(Local(4000), {"x": "x"}), Member(far, {"y": "y"})])
    loader = dataset(both).batch(16, workers=1, memory=14_000)
    assert not loader.cached
    assert loader.budget.fetches
    assert rows_of(loader) == list(range(4000))


def test_threads_that_fetch_take_no_wake_up_meant_for_one_that_decodes(monkeypatch):
    """A thread that is not woken looks again only after ten minutes here."""
    monkeypatch.setattr(prefetch, "ABANDONED_SECONDS", 600)
    source = FaultySource(4000, fetch=lambda block: None, fetches=16)
    stream = iter(dataset(source).batch(16, workers=1, memory=14_000))
    rows = []

    def consume():
        for _, y in stream:
            rows.extend(y.tolist())
            # Most often all threads wait when the next batch is taken.
            until = time.monotonic() + 0.005
            while stream._running and stream._running[0]._running and time.monotonic() < until:
                time.sleep(0.0005)

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    consumer.join(SECONDS)
    assert rows == list(range(4000))
