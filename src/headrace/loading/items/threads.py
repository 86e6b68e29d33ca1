"""Threads that call a user-supplied object."""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, NamedTuple

from headrace.errors import BatchTimeoutError, DataError
from headrace.forks import run_in_each_process
from headrace.loading.items.failures import as_error
from headrace.loading.items.making import Batch, Wanted, let_go, make, name_of
from headrace.loading.timeouts import Deadline, stack_of_thread, timeout_error

Jobs = SimpleQueue["tuple[Future[Batch], Wanted, int] | None"]

WAY_OUT = "If batches need more time, give from_sequence() a longer timeout=, or None."


class _Making(NamedTuple):
    """A batch that is being made: its name, the thread that makes it, and since when."""

    name: str
    thread: int
    since: float


class Gate:
    """Keeps what an object does between epochs apart from the batches that it makes.

    Args:
        timeout: Seconds that one batch may take; None for no limit.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self.timeout = timeout
        run_in_each_process(self, Gate._begin_anew)

    def _begin_anew(self) -> None:
        """The threads that were inside do not exist in a forked child."""
        self._changed = threading.Condition()
        self._inside: dict[object, _Making] = {}
        self._shut = False

    @contextlib.contextmanager
    def inside(self, key: object, name: str) -> Iterator[None]:
        """While a batch is being made; many may be."""
        with self._changed:
            self._changed.wait_for(lambda: not self._shut)
            self._inside[key] = _Making(name, threading.get_ident(), time.monotonic())
        try:
            yield
        finally:
            with self._changed:
                del self._inside[key]
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """While no batch is being made.

        Raises:
            BatchTimeoutError: If one hangs.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._shut)
            self._shut = True
            try:
                patience = Deadline(self.timeout)
                while not self._changed.wait_for(lambda: not self._inside, patience.step):
                    if patience.is_over():
                        raise self._error(next(iter(self._inside)))
            except BaseException:
                self._open()
                raise
        try:
            yield
        finally:
            with self._changed:
                self._open()

    def _open(self) -> None:
        self._shut = False
        self._changed.notify_all()

    def check(self, key: object) -> None:
        """Makes sure that the batch of a key has not been in the making for too long.

        Raises:
            BatchTimeoutError: If it has.
        """
        with self._changed:
            making = self._inside.get(key)
            seconds = 0.0 if making is None else time.monotonic() - making.since
            if self.timeout is not None and seconds >= self.timeout:
                raise self._error(key)

    def _error(self, key: object) -> BatchTimeoutError:
        making = self._inside[key]
        assert self.timeout is not None
        stack = stack_of_thread(making.thread)
        return timeout_error(f"making {making.name}", self.timeout, stack, WAY_OUT)


class Threads:
    """Calls the object in threads of this process.

    They are daemons: a program that ends does not wait for batches that it will not use.
    """

    def __init__(self, items: Any, workers: int, gate: Gate) -> None:
        self._items = items
        self._gate = gate
        self._jobs: Jobs = SimpleQueue()
        self._workers = workers
        try:
            for number in range(workers):
                name = f"headrace-items-{number}"
                arguments = (items, gate, self._jobs)
                threading.Thread(target=_work, args=arguments, name=name, daemon=True).start()
        except BaseException:
            self.close()
            raise

    def submit(self, epoch: int, number: int, wanted: Wanted) -> "Future[Batch]":  # noqa: ARG002
        future: Future[Batch] = Future()
        self._jobs.put((future, wanted, number))
        return future

    def result(self, future: "Future[Batch]") -> Batch:
        patience = Deadline(self._gate.timeout)
        try:
            while True:
                try:
                    return future.result(patience.step)
                except TimeoutError:
                    # The object may have raised one itself.
                    if future.done():
                        return future.result()
                if patience.is_over():
                    self._gate.check(future)
        finally:
            # An error refers to this frame, and the future to the error.
            del future

    def begin(self, epoch: int) -> None:  # noqa: ARG002 - threads share the object's own state
        with self._gate.alone():
            call(self._items, "on_epoch_begin")

    def turn(self, epoch: int) -> None:  # noqa: ARG002
        with self._gate.alone():
            call(self._items, "on_epoch_end")

    def close(self) -> None:
        for _ in range(self._workers):
            self._jobs.put(None)


def call(items: Any, name: str) -> None:
    """Tells the object that an epoch begins or has ended.

    Raises:
        DataError: If it raises StopIteration; and whatever else it raises.
    """
    try:
        getattr(items, name)()
    except StopIteration as error:
        raise DataError(f"{name}() raised StopIteration.") from error


def _work(items: Any, gate: Gate, jobs: Jobs) -> None:
    while (job := jobs.get()) is not None:
        future, wanted, number = job
        if future.set_running_or_notify_cancel():
            name = name_of(wanted, number)
            # No error passes through the gate: it would set attributes of it, which may fail.
            with gate.inside(future, name):
                try:
                    batch = let_go(make(items, wanted, number))
                except BaseException as error:  # noqa: BLE001 - relayed
                    future.set_exception(as_error(error, f"making {name}"))
                else:
                    future.set_result(batch)
                    del batch
        # What was handed over is not kept until the next job comes.
        del job, future
