"""A fork while another thread holds a lock: the child gets it free."""

import ast
import os
import signal
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

import headrace as hr
from headrace import forks, matrix
from headrace.errors import HeadraceError
from headrace.loading.view import View
from headrace.sources import file as file_module
from headrace.sources import open_files as opened
from headrace.sources.read_ahead import ReadAhead
from tests import sequences

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning"),
]

IDS = np.arange(500)


@contextmanager
def held(lock):
    """Another thread holds the lock meanwhile."""
    taken, done = threading.Event(), threading.Event()

    def hold():
        with lock:
            taken.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


def in_child(function):
    """What a forked child makes of a function: its exit code, 7 if it returns True."""
    child = os.fork()
    if not child:
        signal.alarm(20)
        try:
            os._exit(7 if function() else 8)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def gives_all(loader):
    return np.array_equal(np.sort(np.concatenate([batch[0] for batch in loader])), IDS)


def refuses(iterator):
    try:
        next(iterator)
    except HeadraceError as error:
        return "before the process forked" in str(error)
    return False


class Lazy:
    """Rows that are read through slices, one at a time."""

    shape = IDS.shape

    def __getitem__(self, index):
        return IDS[index]


class Batches:
    """An object that is told of the ends of epochs."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return (IDS[index * 50 : index * 50 + 50],)

    def on_epoch_end(self):
        """Nothing; but nothing may be made meanwhile."""


def a_loader(tmp_path):
    np.save(tmp_path / "x.npy", IDS)
    return hr.from_arrays(tmp_path / "x.npy").batch(32, shuffle=True, seed=0, memory="30kB")


def a_loader_s(name):
    def make(tmp_path, stack):
        loader = a_loader(tmp_path)
        assert gives_all(loader)
        return getattr(loader, name)._lock, lambda: gives_all(loader)

    return make


def what_stays_in_memory(tmp_path, stack):
    loader = a_loader(tmp_path)
    return loader._cached._loading, lambda: gives_all(loader)


def an_iterator(tmp_path, stack):
    iterator = a_loader(tmp_path).stream()
    stack.callback(iterator.close)
    next(iterator)
    return iterator._taking, lambda: refuses(iterator)


def an_iterator_of_items(tmp_path, stack):
    iterator = hr.from_sequence(Batches()).stream()
    stack.callback(iterator.close)
    next(iterator)
    return iterator._taking, lambda: refuses(iterator)


def what_keeps_items_and_ends_of_epochs_apart(tmp_path, stack):
    loader = hr.from_sequence(Batches())
    return loader._lock._changed, lambda: gives_all(loader)


def an_item_in_the_making(tmp_path, stack):
    loader = hr.from_sequence(Batches())
    return loader._lock.shared(object(), "batch 0"), lambda: gives_all(loader)


def worker_processes(tmp_path, stack):
    loader = hr.from_sequence(sequences.Numbers(), processes=True, workers=1)
    stack.callback(loader.close)

    def ask():
        try:
            next(iter(loader))
        except HeadraceError as error:
            return "belong to the process" in str(error)
        return False

    return loader._processes._lock, ask


def the_opening_of_files(tmp_path, stack):
    loader = a_loader(tmp_path)
    return file_module._pool.lock, lambda: gives_all(loader)


def a_file_whose_reads_move_it(tmp_path, stack):
    (tmp_path / "bytes").write_bytes(b"1234")
    file = opened.SeekingFile(str(tmp_path / "bytes"))
    target = memoryview(bytearray(4))
    return file._reading, lambda: file.read_at(0, target) == 4


def slices_of_an_object(tmp_path, stack):
    data = hr.from_arrays(Lazy())
    (member,) = data.pipeline.view.parts[0].source._members
    return member.source._lock, lambda: np.array_equal(data[:][0], IDS)


def what_is_read_ahead(tmp_path, stack):
    ahead = ReadAhead(lambda rows: True, IDS, 8)
    return ahead._lock, lambda: ahead.reach(400) is None


def the_datasets_of_matrices(tmp_path, stack):
    with hr.create(tmp_path / "a.h5", {"x": "int64"}) as writer:
        writer.write((IDS,))

    def read():
        return np.array_equal(hr.HDF5Matrix(tmp_path / "a.h5", "x")[:], IDS)

    return matrix._sources._opening, read


def rows_being_written(tmp_path, stack):
    writer = stack.enter_context(hr.create(tmp_path / "a.h5", {"x": "int64"}))
    writer.write((IDS,))
    return writer._store._lock, lambda: len(writer) == len(IDS)


def a_property_that_is_worked_out_once(tmp_path, stack):
    data = hr.from_arrays(IDS)
    lock = vars(View)["_offsets"].lock
    return lock, lambda: len(hr.concat(data, data)) == 1000


HELD = [
    pytest.param(a_loader_s("_timing"), id="timing"),
    pytest.param(a_loader_s("_ledger"), id="ledger"),
    what_stays_in_memory,
    an_iterator,
    an_iterator_of_items,
    what_keeps_items_and_ends_of_epochs_apart,
    an_item_in_the_making,
    worker_processes,
    the_opening_of_files,
    a_file_whose_reads_move_it,
    slices_of_an_object,
    what_is_read_ahead,
    the_datasets_of_matrices,
    rows_being_written,
    pytest.param(
        a_property_that_is_worked_out_once,
        marks=pytest.mark.skipif(sys.version_info >= (3, 12), reason="there is no lock"),
    ),
]


@pytest.mark.parametrize("make", HELD)
def test_a_lock_that_is_held_at_a_fork_is_free_in_the_child(tmp_path, make):
    """The child does its work, or says at once why it cannot."""
    with ExitStack() as stack:
        lock, work = make(tmp_path, stack)
        with held(lock):
            assert in_child(work) == 7


def test_the_parent_keeps_its_locks(tmp_path):
    """A lock that is held there is held after the fork."""
    loader = a_loader(tmp_path)
    with held(loader._timing._lock):
        in_child(lambda: True)
        assert loader._timing._lock.locked()


def test_an_owner_that_is_gone_is_forgotten():
    """Nothing keeps it alive."""
    before = len(forks._owners)
    owners = [ReadAhead(lambda rows: True, IDS, 8) for _ in range(10)]
    assert len(forks._owners) == before + 10
    del owners
    assert len(forks._owners) == before


PACKAGE = Path(hr.__file__).parent

REFUSED_IN_A_CHILD = {
    "loading/prefetch/threads.py",
    "loading/items/process_pool.py",
    "loading/items/supervisor.py",
}
"""Where a child is told that the object is the parent's before any lock is touched."""


LOCKS = {f"threading.{name}" for name in ("Lock", "RLock", "Condition", "Semaphore", "Barrier")}


def test_every_lock_is_made_anew_in_a_child():
    """Locks are made in functions that `run_in_each_process` gets, and nowhere else."""
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).as_posix() in REFUSED_IN_A_CHILD:
            continue
        text = path.read_text()
        if "threading" not in text:
            continue
        tree = ast.parse(text)
        calls = [(node, ast.unparse(node.func)) for node in ast.walk(tree) if is_call(node)]
        given = {"_renew_cached_properties"} | {
            ast.unparse(node.args[1]).rpartition(".")[2]
            for node, name in calls
            if name == "run_in_each_process"
        }
        right = {
            call
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef) and function.name in given
            for call in ast.walk(function)
        }
        wrong = [node.lineno for node, name in calls if name in LOCKS and node not in right]
        assert not wrong, path


def is_call(node):
    return isinstance(node, ast.Call)
