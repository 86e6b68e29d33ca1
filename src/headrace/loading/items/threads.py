"""Worker threads that call the object, and the lock between batches and epoch callbacks."""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, NamedTuple

from headrace.errors import BatchTimeoutError, DataError
from headrace.forks import run_in_each_process
from headrace.loading.items.batch import (
    Batch,
    ItemIndices,
    batch_name,
    copy_shared_arrays,
    make_batch,
)
from headrace.loading.items.failures import as_error
from headrace.loading.timeouts import Deadline, stack_of_thread, timeout_error

Jobs = SimpleQueue["tuple[Future[Batch], ItemIndices, int] | None"]

WAY_OUT = "If batches need more time, give from_sequence() a longer timeout=, or None."


class _RunningBatch(NamedTuple):
    """A batch that is being made: its name, its thread, and its start time."""

    name: str
    thread: int
    since: float


class BatchLock:
    """A readers-writer lock: batches share it, `on_epoch_begin` and `on_epoch_end` hold it alone.

    Args:
        timeout: Seconds that one batch may take; None for no limit.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self.timeout = timeout
        run_in_each_process(self, BatchLock._reset)

    def _reset(self) -> None:
        """The threads that held the lock do not exist in a forked child."""
        self._changed = threading.Condition()
        self._running: dict[object, _RunningBatch] = {}
        self._is_exclusive = False

    @contextlib.contextmanager
    def shared(self, key: object, name: str) -> Iterator[None]:
        """Held while a batch is made; several threads may hold it at a time."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_exclusive)
            self._running[key] = _RunningBatch(name, threading.get_ident(), time.monotonic())
        try:
            yield
        finally:
            with self._changed:
                del self._running[key]
                self._changed.notify_all()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Held while no batch is being made.

        Raises:
            BatchTimeoutError: If a batch is not finished within the timeout.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._is_exclusive)
            self._is_exclusive = True
            try:
                deadline = Deadline(self.timeout)
                while not self._changed.wait_for(lambda: not self._running, deadline.step):
                    if deadline.is_over():
                        raise self._error(next(iter(self._running)))
            except BaseException:
                self._open()
                raise
        try:
            yield
        finally:
            with self._changed:
                self._open()

    def _open(self) -> None:
        self._is_exclusive = False
        self._changed.notify_all()

    def check(self, key: object) -> None:
        """Checks that the batch of a key has not taken longer than the timeout.

        Raises:
            BatchTimeoutError: If it has.
        """
        with self._changed:
            making = self._running.get(key)
            seconds = 0.0 if making is None else time.monotonic() - making.since
            if self.timeout is not None and seconds >= self.timeout:
                raise self._error(key)

    def _error(self, key: object) -> BatchTimeoutError:
        making = self._running[key]
        assert self.timeout is not None
        stack = stack_of_thread(making.thread)
        return timeout_error(f"making {making.name}", self.timeout, stack, WAY_OUT)


class WorkerThreads:
    """Calls the object in threads of this process.

    They are daemon threads: a program that ends does not wait for unused batches.
    """

    def __init__(self, items: Any, workers: int, lock: BatchLock) -> None:
        self._items = items
        self._lock = lock
        self._jobs: Jobs = SimpleQueue()
        self._workers = workers
        try:
            for number in range(workers):
                name = f"headrace-items-{number}"
                arguments = (items, lock, self._jobs)
                threading.Thread(target=_work, args=arguments, name=name, daemon=True).start()
        except BaseException:
            self.close()
            raise

    def submit(self, epoch: int, number: int, indices: ItemIndices) -> "Future[Batch]":  # noqa: ARG002
        future: Future[Batch] = Future()
        self._jobs.put((future, indices, number))
        return future

    def result(self, future: "Future[Batch]") -> Batch:
        deadline = Deadline(self._lock.timeout)
        try:
            while True:
                try:
                    return future.result(deadline.step)
                except TimeoutError:
                    # The object may have raised one itself.
                    if future.done():
                        return future.result()
                if deadline.is_over():
                    self._lock.check(future)
        finally:
            # An error refers to this frame, and the future to the error.
            del future

    def begin_epoch(self, epoch: int) -> None:  # noqa: ARG002 - threads share the object's own state
        with self._lock.exclusive():
            call(self._items, "on_epoch_begin")

    def end_epoch(self, epoch: int) -> None:  # noqa: ARG002
        with self._lock.exclusive():
            call(self._items, "on_epoch_end")

    def close(self) -> None:
        for _ in range(self._workers):
            self._jobs.put(None)


def call(items: Any, name: str) -> None:
    """Calls the object's `on_epoch_begin` or `on_epoch_end`.

    Raises:
        DataError: If it raises StopIteration. All other errors pass through.
    """
    try:
        getattr(items, name)()
    except StopIteration as error:
        raise DataError(f"{name}() raised StopIteration.") from error


def _work(items: Any, lock: BatchLock, jobs: Jobs) -> None:
    while (job := jobs.get()) is not None:
        future, indices, number = job
        if future.set_running_or_notify_cancel():
            name = batch_name(indices, number)
            # No error leaves this with block: contextlib sets attributes of it, which may fail.
            with lock.shared(future, name):
                try:
                    batch = copy_shared_arrays(make_batch(items, indices, number))
                except BaseException as error:  # noqa: BLE001 - relayed
                    future.set_exception(as_error(error, f"making {name}"))
                else:
                    future.set_result(batch)
                    del batch
        # Do not keep the batch alive until the next job comes.
        del job, future
