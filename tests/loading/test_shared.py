"""One iterator in the hands of several threads, and of functions that are called while it works."""

import contextlib
import gc
import signal
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import headrace as hr
from headrace.errors import HeadraceError
from tests.loading.helpers import threads

ROWS, BATCH = 3000, 8
IDS = np.arange(ROWS)


class Items:
    """Batches of row numbers, one for each index."""

    def __init__(self, made=None):
        self._made = made

    def __len__(self):
        return ROWS // BATCH

    def __getitem__(self, index):
        if self._made:
            self._made(index)
        return (IDS[index * BATCH : (index + 1) * BATCH],)


def arrays_loader(made=None, rows=ROWS):
    data = hr.from_arrays(IDS[:rows])
    if made:
        data = data.map(lambda x: (made(x), x)[1])
    return data.batch(BATCH, shuffle=True, seed=1, memory="60kB", workers=2)


def items_loader(made=None):
    return hr.from_sequence(Items(made), workers=2, shuffle=True, seed=1)


LOADERS = pytest.mark.parametrize("make", [arrays_loader, items_loader])


def assert_threads_end():
    """Without the garbage collector's help."""
    for thread in threads():
        thread.join(10)
    assert threads() == []


def all_of(iterator):
    return [batch[0] for batch in iterator]


@LOADERS
@pytest.mark.parametrize("count", [2, 5])
def test_each_batch_goes_to_one_thread(make, count):
    """Threads that share an iterator get all rows of the epoch between them, each row once."""
    for _ in range(3):
        iterator = iter(make())
        with ThreadPoolExecutor(count) as pool:
            taken = [rows for some in pool.map(all_of, [iterator] * count) for rows in some]
        assert np.array_equal(np.sort(np.concatenate(taken)), IDS)
    assert_threads_end()


def test_the_position_counts_what_all_threads_took():
    """A state saved after the threads took 40 batches leads to batch 41."""
    loader = arrays_loader()
    iterator = iter(loader)
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: next(iterator)[0], range(40)))
    state = loader.state_dict()
    assert state["batch"] == 40
    other = arrays_loader()
    other.load_state_dict(state)
    rows = np.concatenate([*taken, *all_of(other)])
    assert np.array_equal(np.sort(rows), IDS)


def test_a_state_saved_by_another_thread_is_a_place_that_exists():
    """Epoch and batch are of one moment, whenever they are asked for."""
    loader = arrays_loader()
    done = threading.Event()
    states = []

    def save():
        while not done.is_set():
            state = loader.state_dict()
            states.append((state["epoch"], state["batch"]))

    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(save)
        for _ in range(3):
            all_of(loader)
        done.set()
        saving.result()
    assert states == sorted(states)
    assert all(batch < len(loader) for _, batch in states)


@LOADERS
def test_closing_ends_a_thread_that_waits(make):
    """It gets an error at once, or when the batch under way is made; then there are no more."""
    started, go_on = threading.Event(), threading.Event()

    def wait(_):
        started.set()
        go_on.wait(20)

    iterator = make(wait).stream()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, iterator)
        assert started.wait(20)
        closing = threading.Thread(target=iterator.close)
        closing.start()
        if make is items_loader:
            closing.join()
        go_on.set()
        with pytest.raises(HeadraceError, match=r"closed|stopped"):
            waiting.result(20)
        closing.join()
    with pytest.raises(StopIteration):
        next(iterator)
    assert_threads_end()


@LOADERS
def test_closing_at_any_moment_ends_every_thread(make):
    """Threads that take batches end with StopIteration or an error of ours, and none hangs."""
    for after in range(12):
        iterator = make().stream()
        taken = threading.Semaphore(0)

        def take(iterator=iterator, taken=taken):
            try:
                for _ in iterator:
                    taken.release()
            except HeadraceError as error:
                assert "Start a new one" in str(error)  # noqa: PT017 - in a thread
                return "closed"
            return "ended"

        with ThreadPoolExecutor(3) as pool:
            takers = [pool.submit(take) for _ in range(3)]
            for _ in range(after):
                taken.acquire()
            iterator.close()
            assert {one.result(20) for one in takers} <= {"closed", "ended"}


@pytest.mark.parametrize("of", ["iterator", "loader"])
def test_a_map_function_that_asks_its_own_loader_for_batches_is_an_error(of):
    """It would wait for itself, or start threads without end."""
    asked = {}

    def ask(_):
        next(asked["iterator"] if of == "iterator" else iter(asked["loader"]))

    asked["loader"] = arrays_loader(ask)
    asked["iterator"] = iter(asked["loader"])
    with pytest.raises(HeadraceError, match=r"loader of its own.*without this map\(\)"):
        next(asked["iterator"])
    assert threads() == []


def test_a_map_function_may_ask_another_loader():
    """Such as one that gives what each batch is compared with."""
    other = arrays_loader()
    loader = arrays_loader(lambda _: next(iter(other)), rows=40)
    assert np.array_equal(np.sort(np.concatenate(all_of(loader))), IDS[:40])


@LOADERS
def test_a_signal_handler_that_asks_for_a_batch_gets_an_error(make):
    """The thread that it interrupts is in the middle of taking one."""
    main, handled = threading.get_ident(), threading.Event()

    def strike(_):
        # A signal that arrives just before the thread waits is seen with the next one.
        while not handled.wait(0.01):
            signal.pthread_kill(main, signal.SIGUSR1)

    def ask(*_):
        if not handled.is_set():
            handled.set()
            next(iterator)

    iterator = iter(make(strike))
    before = signal.signal(signal.SIGUSR1, ask)
    try:
        with pytest.raises(HeadraceError, match="while it is fetching one"):
            next(iterator)
        # A signal that comes later would end this process.
        assert_threads_end()
    finally:
        signal.signal(signal.SIGUSR1, before)


@LOADERS
def test_an_error_ends_the_threads_even_if_it_is_kept(make):
    """Not when the collector finds the cycle of error, traceback, frame and iterator."""

    def fail(rows):
        if rows is not None and np.max(rows) > ROWS // 2:
            raise ValueError("too large")

    loader = make(fail if make is arrays_loader else lambda index: fail(index * BATCH))
    gc.disable()
    try:
        iterator = iter(loader)
        with pytest.raises(ValueError, match="too large") as caught:
            all_of(iterator)
        kept = caught.value
        assert_threads_end()
        assert kept.__traceback__ is not None
        with pytest.raises(StopIteration):
            next(iterator)
    finally:
        gc.enable()


class Slices:
    """Rows in slices, of which those behind the middle cannot be read."""

    shape = (ROWS,)

    def __init__(self, fails_at):
        self._fails_at = fails_at

    def __getitem__(self, index):
        if index.stop > self._fails_at:
            raise ValueError("too large")
        return IDS[index]


def failing_map(memory):
    def fail(x):
        raise ValueError("too large")

    return hr.from_arrays(IDS).map(fail).batch(BATCH, memory=memory, workers=2)


def failing_reads(memory):
    return hr.from_arrays(Slices(ROWS // 2)).batch(BATCH, memory=memory, workers=2)


def failing_exit(memory):
    def leave(x):
        raise SystemExit("too large")

    return hr.from_arrays(IDS).map(leave).batch(BATCH, memory=memory, workers=2)


def failing_items(memory):
    def fail(index):
        raise ValueError("too large")

    return hr.from_sequence(Items(fail), workers=2)


@pytest.mark.parametrize("memory", ["10MB", 800_000], ids=["all kept", "windows"])
@pytest.mark.parametrize("make", [failing_map, failing_reads, failing_exit, failing_items])
def test_memory_is_free_once_an_error_is_forgotten(make, memory):
    """The error refers to what it was raised in, and nothing of that to the error."""
    gc.collect()
    gc.disable()
    try:
        loader = make(memory)
        alive = weakref.ref(loader)
        with contextlib.suppress(ValueError, SystemExit, HeadraceError):
            all_of(loader)
        del loader
        assert_threads_end()
        assert alive() is None
    finally:
        gc.enable()
